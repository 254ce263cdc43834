//! The rules between several values of a description.
//!
//! Rules for a single value are in its type in `model::setup`.

use std::collections::{BTreeMap, BTreeSet};

use model::container::ContainerNetwork;
use model::setup::{CachePath, Description, FilePath, KeepPath, Service, ServiceName, Setup};

/// Two values that contradict each other.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// The keys that lead to the value.
    pub(crate) place: Vec<String>,
    /// The item of the list or table at that place.
    pub(crate) item: Option<String>,
    /// What is wrong, and what to write instead.
    pub(crate) message: String,
}

impl Conflict {
    fn at(place: &[&str], item: Option<&str>, message: String) -> Self {
        Self { place: place.iter().map(|&key| key.to_owned()).collect(), item: item.map(str::to_owned), message }
    }
}

/// Returns the first conflict in a description.
pub(crate) fn conflict(description: &Description) -> Option<Conflict> {
    hosts(description.setup.as_ref())
        .or_else(|| maintain(description))
        .or_else(|| keep(description))
        .or_else(|| cache(description))
        .or_else(|| files(description))
        .or_else(|| description.services.iter().find_map(|(name, service)| service_alone(name, service)))
        .or_else(|| size(&description.services))
        .or_else(|| ports(&description.services))
}

fn hosts(setup: Option<&Setup>) -> Option<Conflict> {
    let setup = setup?;
    let has_no_effect = !setup.allow_hosts.is_empty() && setup.network != ContainerNetwork::Allow;
    let network = setup.network.as_str();
    let message = format!("`allow_hosts` has no effect while the network is `{network}`; add `network = \"allow\"`");
    has_no_effect.then(|| Conflict::at(&["setup", "allow_hosts"], None, message))
}

fn maintain(description: &Description) -> Option<Conflict> {
    let message = "`[maintain]` updates what `[setup]` installed; add `[setup]`, or remove `[maintain]`".to_owned();
    (description.maintain.is_some() && description.setup.is_none()).then(|| Conflict::at(&["maintain"], None, message))
}

fn keep(description: &Description) -> Option<Conflict> {
    let paths = description.keep.paths.iter().map(KeepPath::as_str).collect();
    let (outer, inner) = nested(&paths)?;
    let message = format!("`{inner}` is in `{outer}`, which is already kept; remove one of them");
    Some(Conflict::at(&["keep", "paths"], Some(inner), message))
}

fn cache(description: &Description) -> Option<Conflict> {
    let paths = description.cache.paths.iter().map(CachePath::as_str).collect();
    let (outer, inner) = nested(&paths)?;
    let message = format!("`{inner}` is in `{outer}`, which is already a cache; remove one of them");
    Some(Conflict::at(&["cache", "paths"], Some(inner), message))
}

/// The maximum number of files.
const MOST_FILES: usize = 50;

/// A file cannot be a folder at the same time.
fn files(description: &Description) -> Option<Conflict> {
    if description.files.len() > MOST_FILES {
        let message = format!("`[files]` has more than {MOST_FILES} files; put files without secrets into the image");
        return Some(Conflict::at(&["files"], None, message));
    }
    let files: BTreeSet<&str> = description.files.keys().map(FilePath::as_str).collect();
    let keeps = description.keep.paths.iter().map(|path| (path.as_str(), "keep"));
    let caches = description.cache.paths.iter().map(|path| (path.as_str(), "cache"));
    for (folder, section) in keeps.chain(caches) {
        if let Some(file) = files.get(folder).copied().or_else(|| folder_in(&files, folder)) {
            let message =
                format!("`{file}` is a file, but `{folder}` in `[{section}]` is a folder; rename or remove one of them");
            return Some(Conflict::at(&["files"], Some(file), message));
        }
    }
    let (outer, inner) = nested(&files)?;
    let message = format!("`{outer}` is a file, so `{inner}` cannot be in it; rename or remove one of them");
    Some(Conflict::at(&["files"], Some(inner), message))
}

/// The longest time that a service may take to become ready, in seconds.
const MOST_READY_SECONDS: u32 = 3600;

/// The maximum size of the variables and commands of all services in bytes.
const SERVICES_LIMIT_BYTES: usize = 16 * 1024;

fn size(services: &BTreeMap<ServiceName, Service>) -> Option<Conflict> {
    let env = services.values().flat_map(|service| &service.env).map(|(name, value)| name.as_str().len() + value.len());
    let ready = services.values().filter_map(|service| service.ready.as_ref()).map(String::len);
    let limit = SERVICES_LIMIT_BYTES / 1024;
    let message =
        format!("the variables and commands of all services have more than {limit} KiB; put large files into the image");
    (env.chain(ready).sum::<usize>() > SERVICES_LIMIT_BYTES).then(|| Conflict::at(&["services"], None, message))
}

fn service_alone(name: &ServiceName, service: &Service) -> Option<Conflict> {
    let place = ["services", name.as_str()];
    let is_host_name =
        |text: &str| !text.ends_with('-') && text != "localhost" && !text.bytes().any(|byte| byte.is_ascii_uppercase());
    if !is_host_name(name.as_str()) {
        let message = format!("`{name}` cannot be the name of a service; use lower-case letters, digits and `-`, such as `db`");
        return Some(Conflict::at(&["services"], Some(name.as_str()), message));
    }
    if service.ready_seconds.get() > MOST_READY_SECONDS {
        let message =
            format!("the service `{name}` has more than {MOST_READY_SECONDS} seconds to become ready; use a smaller number");
        return Some(Conflict::at(&[place[0], place[1], "ready_seconds"], None, message));
    }
    if let Some((variable, _)) = service.env.iter().find(|(_, value)| value.contains('\0')) {
        let message = format!("the variable `{variable}` of the service `{name}` contains a NUL character; remove it");
        return Some(Conflict::at(&[place[0], place[1], "env"], Some(variable.as_str()), message));
    }
    None
}

fn ports(services: &BTreeMap<ServiceName, Service>) -> Option<Conflict> {
    let mut owners: BTreeMap<u16, &ServiceName> = BTreeMap::new();
    for (name, service) in services {
        for port in &service.ports {
            let message = match owners.insert(*port, name) {
                _ if *port == 0 => format!("the service `{name}` cannot have port 0; use a number from 1 to 65535"),
                Some(owner) => {
                    format!("the services `{owner}` and `{name}` both have port {port}; give each service its own port")
                }
                None => continue,
            };
            return Some(Conflict::at(&["services", name.as_str(), "ports"], Some(&port.to_string()), message));
        }
    }
    None
}

/// Returns a path, and another one that is below it.
fn nested<'a>(paths: &BTreeSet<&'a str>) -> Option<(&'a str, &'a str)> {
    paths.iter().find_map(|inner| folder_in(paths, inner).map(|outer| (outer, *inner)))
}

/// Returns the path that a path is below, if it is in the set.
pub(crate) fn folder_in<'a>(paths: &BTreeSet<&'a str>, inner: &str) -> Option<&'a str> {
    inner.match_indices('/').find_map(|(at, _)| paths.get(&inner[..at]).copied())
}

#[cfg(test)]
mod tests {
    use crate::parse;

    fn check(text: &str, expect: &str) {
        let error = parse(text).expect_err(text).message;
        assert_eq!(error, expect, "{text}");
    }

    #[test]
    fn hosts_need_the_network_that_uses_them() {
        check(
            "[setup]\nrun = \"x\"\nallow_hosts = [\"a.example\"]",
            "`allow_hosts` has no effect while the network is `open`; add `network = \"allow\"`",
        );
        let valid = "[setup]\nrun = \"x\"\nnetwork = \"allow\"\nallow_hosts = [\"a.example\"]";
        assert!(parse(valid).is_ok());
    }

    #[test]
    fn only_a_setup_can_be_maintained() {
        check(
            "maintain = { run = \"x\" }",
            "`[maintain]` updates what `[setup]` installed; add `[setup]`, or remove `[maintain]`",
        );
        assert!(parse("maintain = { run = \"x\" }\nsetup = { run = \"x\" }").is_ok());
    }

    #[test]
    fn a_folder_is_kept_once() {
        check("keep.paths = [\"a/b/c\", \"a\"]", "`a/b/c` is in `a`, which is already kept; remove one of them");
        check("cache.paths = [\"~/.a\", \"~/.a/b\"]", "`~/.a/b` is in `~/.a`, which is already a cache; remove one of them");
        assert!(parse("keep.paths = [\"a\", \"a-b\", \"ab/c\"]\ncache.paths = [\"~/.a/b\", \"~/.a/c\"]").is_ok());
    }

    #[test]
    fn a_file_is_not_a_folder() {
        let both = |file: &str, keep: &str| format!("keep.paths = [\"{keep}\"]\nfiles.\"{file}\" = {{ secret = \"A\" }}");
        let expect = "`a` is a file, but `a` in `[keep]` is a folder; rename or remove one of them";
        check(&both("a", "a"), expect);
        check(&both("a", "a/b"), &expect.replace("but `a`", "but `a/b`"));
        assert!(parse(&both("a/b", "a")).is_ok(), "a file can be in a kept folder");
        check(
            "files.\"a\" = { secret = \"A\" }\nfiles.\"a/b\" = { secret = \"A\" }",
            "`a` is a file, so `a/b` cannot be in it; rename or remove one of them",
        );
    }

    #[test]
    fn each_service_has_its_own_ports() {
        let two =
            |a: &str, b: &str| format!("[services]\na = {{ image = \"x\", ports = {a} }}\nb = {{ image = \"x\", ports = {b} }}");
        check(&two("[5432]", "[1, 5432]"), "the services `a` and `b` both have port 5432; give each service its own port");
        check(&two("[0]", "[]"), "the service `a` cannot have port 0; use a number from 1 to 65535");
        assert!(parse(&two("[5432]", "[5433]")).is_ok());
    }

    #[test]
    fn a_service_can_be_started() {
        let one = |name: &str, rest: &str| format!("[services.{name}]\nimage = \"x\"\n{rest}");
        for name in ["DB", "db-", "localhost"] {
            let expect =
                format!("`{name}` cannot be the name of a service; use lower-case letters, digits and `-`, such as `db`");
            check(&one(name, ""), &expect);
        }
        check(
            &one("db", "ready_seconds = 3601"),
            "the service `db` has more than 3600 seconds to become ready; use a smaller number",
        );
        check(
            &one("db", "env = { A = \"\\u0000\" }"),
            "the variable `A` of the service `db` contains a NUL character; remove it",
        );
        check(
            &one("db", &format!("ready = \"{}\"", "x".repeat(16 * 1024 + 1))),
            "the variables and commands of all services have more than 16 KiB; put large files into the image",
        );
        assert!(parse(&one("db-1", "ready_seconds = 3600\nvolumes = [\"/data\"]\nenv = { A = \"b\" }")).is_ok());
    }

    #[test]
    fn many_paths_are_checked_quickly() {
        let paths: Vec<String> = (0..20_000).map(|number| format!("\"a/{number}\"")).collect();
        assert!(parse(&format!("keep.paths = [{}]", paths.join(","))).is_ok());
    }
}
