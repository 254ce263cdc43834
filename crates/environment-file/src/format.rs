//! Writes a description as TOML for people: sections in the order of the documentation, without values that are the default.
//!
//! Invariant: [`parse`](crate::parse()) reads the same description from the text.

use std::collections::BTreeMap;

use model::container::ContainerNetwork;
use model::setup::{
    Build, Description, FilePath, FileSource, ImageChoice, Maintain, Service, ServiceName, Setup, ToolName, ToolVersion,
};
use toml::Value;

/// The longest line of a list, in characters. A longer list has one line for each item.
const LINE: usize = 100;

/// Writes a description as TOML.
pub fn format(description: &Description) -> String {
    let Description { image, tools, setup, maintain, cache, keep, services, files } = description;
    let mut text = Text::default();
    if let Some(image) = image {
        text.value("image", &image_value(image));
    }
    tools_section(&mut text, tools);
    if let Some(setup) = setup {
        setup_section(&mut text, setup);
    }
    if let Some(maintain) = maintain {
        maintain_section(&mut text, maintain);
    }
    if !cache.paths.is_empty() {
        text.section("cache");
        text.list("paths", cache.paths.iter().map(|path| quoted(path.as_str())));
    }
    if !keep.paths.is_empty() {
        text.section("keep");
        text.list("paths", keep.paths.iter().map(|path| quoted(path.as_str())));
    }
    for (name, service) in services {
        service_section(&mut text, name, service);
    }
    files_section(&mut text, files);
    text.0
}

fn image_value(image: &ImageChoice) -> String {
    match image {
        ImageChoice::Named(name) => quoted(name),
        ImageChoice::Build { build: Build { dockerfile, context } } if context == Build::DEFAULT_CONTEXT => {
            format!("{{ build = {{ dockerfile = {} }} }}", quoted(dockerfile))
        }
        ImageChoice::Build { build: Build { dockerfile, context } } => {
            format!("{{ build = {{ dockerfile = {}, context = {} }} }}", quoted(dockerfile), quoted(context))
        }
    }
}

fn tools_section(text: &mut Text, tools: &BTreeMap<ToolName, ToolVersion>) {
    if !tools.is_empty() {
        text.section("tools");
    }
    for (name, version) in tools {
        text.value(&key(name.as_str()), &quoted(version.as_str()));
    }
}

fn setup_section(text: &mut Text, setup: &Setup) {
    let Setup { run, keys, secrets, network, allow_hosts, minutes } = setup;
    text.section("setup");
    text.value("run", &block(run.as_str()));
    text.list("keys", keys.iter().map(|path| quoted(path.as_str())));
    text.list("secrets", secrets.iter().map(|name| quoted(name.as_str())));
    if *network != ContainerNetwork::Open {
        text.value("network", &quoted(network.as_str()));
    }
    text.list("allow_hosts", allow_hosts.iter().map(|host| quoted(host.as_str())));
    if *minutes != Setup::DEFAULT_MINUTES {
        text.value("minutes", &minutes.to_string());
    }
}

fn maintain_section(text: &mut Text, maintain: &Maintain) {
    let Maintain { run, minutes } = maintain;
    text.section("maintain");
    text.value("run", &block(run.as_str()));
    if let Some(minutes) = minutes {
        text.value("minutes", &minutes.to_string());
    }
}

fn service_section(text: &mut Text, name: &ServiceName, service: &Service) {
    let Service { image, env, ready, ready_seconds, ports, volumes } = service;
    text.section(&format!("services.{}", key(name.as_str())));
    text.value("image", &quoted(image));
    if !env.is_empty() {
        let pairs: Vec<_> = env.iter().map(|(name, value)| format!("{} = {}", key(name.as_str()), quoted(value))).collect();
        text.value("env", &format!("{{ {} }}", pairs.join(", ")));
    }
    if let Some(ready) = ready {
        text.value("ready", &quoted(ready));
    }
    if *ready_seconds != Service::DEFAULT_READY_SECONDS {
        text.value("ready_seconds", &ready_seconds.to_string());
    }
    text.list("ports", ports.iter().map(u16::to_string));
    text.list("volumes", volumes.iter().map(|path| quoted(path.as_str())));
}

fn files_section(text: &mut Text, files: &BTreeMap<FilePath, FileSource>) {
    if !files.is_empty() {
        text.section("files");
    }
    for (path, FileSource { secret, only }) in files {
        let only = only.map_or_else(String::new, |phase| format!(", only = {}", quoted(phase.as_str())));
        text.value(&quoted(path.as_str()), &format!("{{ secret = {}{only} }}", quoted(secret.as_str())));
    }
}

/// The text that was written so far.
#[derive(Default)]
struct Text(String);

impl Text {
    fn section(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.extend(["[", name, "]\n"]);
    }

    fn value(&mut self, key: &str, value: &str) {
        self.0.extend([key, " = ", value, "\n"]);
    }

    /// Writes a list, unless it is empty.
    fn list(&mut self, key: &str, items: impl Iterator<Item = String>) {
        let items: Vec<String> = items.collect();
        let line = items.join(", ");
        if line.chars().count() > LINE {
            self.value(key, &format!("[\n    {},\n]", items.join(",\n    ")));
        } else if !items.is_empty() {
            self.value(key, &format!("[{line}]"));
        }
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Returns a key, in quotes if it needs them.
fn key(text: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !text.is_empty() && text.chars().all(is_bare) { text.to_owned() } else { quoted(text) }
}

/// Returns a script of several lines as such, if nothing in it needs an escape sequence.
fn block(script: &str) -> String {
    let is_literal = script.chars().all(|c| c == '\n' || c == '\t' || !c.is_control());
    let is_block = script.contains('\n') && is_literal && !script.contains("'''") && !script.ends_with('\'');
    if is_block { format!("'''\n{script}'''") } else { quoted(script) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::num::NonZeroU32;

    use model::container::HostPattern;
    use model::names::VariableName;
    use model::setup::{Cache, CachePath, FilePhase, Keep, KeepPath, Script, VolumePath};
    use proptest::collection::{btree_map, btree_set, vec};
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::{check, parse};

    #[test]
    fn a_description_is_written_for_people() {
        let text = r#"
            files = { "web/.env" = { secret = "DOTENV" }, "~/.npmrc" = { secret = "NPMRC", only = "setup" } }
            image = { build = { dockerfile = "Dockerfile.dev", context = "docker" } }
            keep = { paths = ["node_modules", ".venv"] }
            maintain = { run = "pnpm install --offline", minutes = 5 }
            cache.paths = [
                "~/.cache/go-build", "~/.cargo/registry", "~/.cargo/git", "~/.local/share/pnpm", "~/.cache/pip", "/var/cache/apt",
            ]
            [setup]
            run = "set -e\npnpm install --frozen-lockfile\n"
            keys = ["pnpm-lock.yaml"]
            secrets = ["NPM_TOKEN"]
            network = "allow"
            allow_hosts = ["registry.npmjs.org"]
            minutes = 20
            [tools]
            node = "22"
            "a.b" = "1"
            [services.db]
            image = "postgres:16"
            env = { POSTGRES_PASSWORD = "x" }
            ready = "pg_isready"
            ready_seconds = 30
            ports = [5432]
            volumes = ["/var/lib/postgresql/data"]
        "#;
        insta::assert_snapshot!(format(&parse(text).expect("valid")));
    }

    #[test]
    fn defaults_are_not_written() {
        assert_eq!(format(&Description::default()), "");
        let text = "[setup]\nrun = \"make\"\n\n[services.a]\nimage = \"b\"\n";
        assert_eq!(format(&parse(text).expect("valid")), text);
    }

    fn keep_paths() -> impl Strategy<Value = BTreeSet<KeepPath>> {
        btree_set("[a-z.]{1,4}(/[a-zé #=]{1,6})?".prop_filter_map("a path", |text| KeepPath::parse(&text).ok()), 0..4)
    }

    fn cache_paths() -> impl Strategy<Value = BTreeSet<CachePath>> {
        btree_set("(~|/var)/[a-z.]{1,9}(/[a-z]{1,30})?".prop_filter_map("a path", |text| CachePath::parse(&text).ok()), 0..6)
    }

    fn variables() -> impl Strategy<Value = BTreeSet<VariableName>> {
        btree_set("[A-Z]{1,5}".prop_filter_map("a name", |text| VariableName::parse(&text).ok()), 0..3)
    }

    fn scripts() -> impl Strategy<Value = Script> {
        prop_oneof![any::<String>(), "[a-z'\"\n\r\t\\\\$ \u{1}\u{7f}é]{1,20}"].prop_filter_map("a script", Script::new)
    }

    fn minutes() -> impl Strategy<Value = NonZeroU32> {
        (1..100_u32).prop_filter_map("a number", NonZeroU32::new)
    }

    fn images() -> impl Strategy<Value = ImageChoice> {
        let build = (select(vec!["Dockerfile", "docker/Dockerfile dev"]), select(vec![".", "docker"]));
        prop_oneof![
            select(vec!["universal", "a.example:5000/b@sha256:00"]).prop_map(|name| ImageChoice::Named(name.to_owned())),
            build.prop_map(|(dockerfile, context)| {
                ImageChoice::Build { build: Build { dockerfile: dockerfile.to_owned(), context: context.to_owned() } }
            }),
        ]
    }

    fn setups() -> impl Strategy<Value = Setup> {
        let network = select(vec![ContainerNetwork::Open, ContainerNetwork::None, ContainerNetwork::Allow]);
        let hosts = vec("[a-z]{1,9}[.]example".prop_filter_map("a host", |text| HostPattern::parse(&text).ok()), 0..3);
        (scripts(), keep_paths(), variables(), network, hosts, minutes()).prop_map(
            |(run, keys, secrets, network, allow_hosts, minutes)| Setup { run, keys, secrets, network, allow_hosts, minutes },
        )
    }

    fn services() -> impl Strategy<Value = BTreeMap<ServiceName, Service>> {
        let env = (variables(), any::<String>())
            .prop_map(|(names, value)| names.into_iter().map(|name| (name, value.clone())).collect());
        let ports = btree_set(1..6_u16, 0..2);
        let volumes = btree_set("/[a-z.]{1,9}".prop_filter_map("a path", |text| VolumePath::parse(&text).ok()), 0..3);
        let service = (env, option::of(any::<String>()), minutes(), ports, volumes).prop_map(
            |(env, ready, ready_seconds, ports, volumes)| Service {
                image: "a:1".to_owned(),
                env,
                ready,
                ready_seconds,
                ports,
                volumes,
            },
        );
        btree_map("[a-z0-9-]{0,3}[a-z0-9]".prop_filter_map("a name", |text| ServiceName::parse(&text)), service, 0..3)
    }

    fn descriptions() -> impl Strategy<Value = Description> {
        let tool = "[a-z0-9._-]{1,5}".prop_filter_map("a tool", |text| ToolName::parse(&text));
        let version = "[0-9][0-9a-z.+*-]{0,5}".prop_filter_map("a version", |text| ToolVersion::parse(&text));
        let maintain = (scripts(), option::of(minutes())).prop_map(|(run, minutes)| Maintain { run, minutes });
        let phase = option::of(select(vec![FilePhase::Setup, FilePhase::Run]));
        let files = (keep_paths(), cache_paths(), variables(), phase).prop_map(|(inside, outside, names, only)| {
            let paths = inside.iter().map(KeepPath::as_str).chain(outside.iter().map(CachePath::as_str));
            let paths = paths.map(|path| FilePath::parse(path).expect("a path of a folder is one of a file"));
            paths.zip(names).map(|(path, secret)| (path, FileSource { secret, only })).collect()
        });
        let parts = (
            option::of(images()),
            btree_map(tool, version, 0..3),
            option::of(setups()),
            option::of(maintain),
            cache_paths(),
            keep_paths(),
            services(),
            files,
        );
        parts
            .prop_map(|(image, tools, setup, maintain, cache, keep, services, files)| {
                let (cache, keep) = (Cache { paths: cache }, Keep { paths: keep });
                Description { image, tools, setup, maintain, cache, keep, services, files }
            })
            .prop_filter("no conflict", |description| check::conflict(description).is_none())
    }

    proptest! {
        #[test]
        fn a_description_is_read_as_it_was_written(description in descriptions()) {
            let text = format(&description);
            prop_assert_eq!(parse(&text), Ok(description), "{}", text);
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in any::<String>()) {
            if let Ok(description) = parse(&text) {
                prop_assert_eq!(parse(&format(&description)), Ok(description));
            }
        }
    }
}
