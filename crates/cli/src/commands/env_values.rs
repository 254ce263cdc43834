//! What `env add` and `env edit` take: variables, secrets and the container, from the command line to the words of the API.
//! No secret is ever an argument: it comes from this command's environment or from a file.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::str::FromStr;

use model::ErrorCode;
use model::container::{ContainerSettings, EditContainer, HostPattern};
use model::forge::{EditForge, ForgeSettings};
use model::policy::{EditRunPolicy, RunPolicy};
use model::problem::Problem;
use model::secret::Secret;
use model::sources::{EditSources, SourceSettings};
use model::submodule::visible;

use crate::args::{ContainerArguments, ForgeArguments, RunsArguments, SecretArguments, SourcesArguments};

/// The word that takes back what was set before.
const DEFAULT: &str = "default";

fn refused(code: ErrorCode, detail: impl Into<String>) -> Problem {
    Problem::new(code, detail)
}

/// `NAME=VALUE` each.
pub(super) fn variables(texts: &[String]) -> Result<BTreeMap<String, String>, Problem> {
    let parse = |text: &String| {
        let (name, value) = text.split_once('=').ok_or_else(|| {
            refused(ErrorCode::VariableRefused, "a variable is written NAME=VALUE").hint("as in --var RUST_LOG=debug")
        })?;
        Ok((name.to_owned(), value.to_owned()))
    };
    texts.iter().map(parse).collect()
}

/// From this command's environment, and from files.
pub(super) fn secrets(asked: &SecretArguments) -> Result<BTreeMap<String, Secret>, Problem> {
    let from_environment = asked.from_environment.iter().map(|name| from_environment(name, |name| std::env::var_os(name)));
    from_environment.chain(asked.from_files.iter().map(|text| from_file(text))).collect()
}

fn from_environment(name: &str, variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Result<(String, Secret), Problem> {
    if let Some((name, _)) = name.split_once('=') {
        // The value that stands there must not be repeated.
        return Err(Problem::new(
            ErrorCode::Usage,
            "a secret's value does not belong on a command line, where others can read it",
        )
        .hint(format!("give it by the environment: `read -rs {name}; export {name}`, then --secret {name}"))
        .hint(format!("or from a file: --secret-file {name}=FILE")));
    }
    let value = variable(name).ok_or_else(|| {
        refused(ErrorCode::SecretRefused, format!("`{name}` is not set in this command's environment"))
            .hint(format!("export it first, or give it from a file: --secret-file {name}=FILE"))
    })?;
    let value =
        value.into_string().map_err(|_| refused(ErrorCode::SecretRefused, format!("the value of `{name}` is not UTF-8")))?;
    Ok((name.to_owned(), Secret::new(value)))
}

fn from_file(text: &str) -> Result<(String, Secret), Problem> {
    let (name, path) = text.split_once('=').ok_or_else(|| {
        Problem::new(ErrorCode::Usage, "a secret from a file is written NAME=FILE").hint("as in --secret-file TOKEN=token.txt")
    })?;
    let read = if path == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    let mut value =
        read.map_err(|error| refused(ErrorCode::SecretRefused, format!("the secret `{name}` cannot be read: {error}")))?;
    // An editor ends the last line of a file; that is no part of the secret.
    if value.ends_with('\n') {
        value.pop();
    }
    Ok((name.to_owned(), Secret::new(value)))
}

/// What is to be changed of the container, if anything is.
pub(super) fn container(asked: &ContainerArguments) -> Result<Option<EditContainer>, Problem> {
    let edit = EditContainer {
        image: word(asked.image.as_deref()),
        dockerfile: word(asked.dockerfile.as_deref()).map(|path| path.map(|path| absolute(&path))),
        user: word(asked.user.as_deref()),
        network: word(asked.network.as_deref()),
        allow_hosts: match asked.allow_hosts.as_slice() {
            [] => None,
            [only] if only == DEFAULT => Some(None),
            hosts => Some(Some(hosts.to_vec())),
        },
        hosted_tools: word(asked.hosted_tools.as_deref()),
        memory: word(asked.memory.as_deref()),
        cpus: number("--cpus", asked.cpus.as_deref())?,
        pids: number("--pids", asked.pids.as_deref())?,
        token_budget: number("--token-budget", asked.token_budget.as_deref())?,
    };
    Ok(Some(edit).filter(|edit| *edit != EditContainer::default()))
}

/// What is to be changed of how its runs go, if anything is.
pub(super) fn runs(asked: &RunsArguments) -> Result<Option<EditRunPolicy>, Problem> {
    let resume_interrupted = match asked.resume_interrupted.as_deref() {
        None => None,
        Some(DEFAULT) => Some(None),
        Some("on") => Some(Some(true)),
        Some("off") => Some(Some(false)),
        Some(_) => return Err(refused(ErrorCode::RunsRefused, "--resume-interrupted is `on`, `off` or `default`")),
    };
    let max_parallel_runs = number("--max-runs", asked.max_runs.as_deref())?;
    let (model, effort) = (word(asked.model.as_deref()), word(asked.effort.as_deref()));
    let edit = EditRunPolicy { paused: None, max_parallel_runs, retries: asked.retries, resume_interrupted, model, effort };
    Ok(Some(edit).filter(|edit| *edit != EditRunPolicy::default()))
}

/// What is to be changed of its forge, if anything is.
pub(super) fn forge(asked: &ForgeArguments) -> Result<Option<EditForge>, Problem> {
    let token = match &asked.forge_token_file {
        Some(file) => {
            let (_, token) = from_file(&format!("forge_token={file}"))?;
            Some(Some(Secret::new(token.expose().trim())))
        }
        None => asked.no_forge_token.then_some(None),
    };
    let edit = EditForge {
        kind: word(asked.forge.as_deref()),
        project: word(asked.forge_project.as_deref()),
        api_url: word(asked.forge_api.as_deref()),
        token,
    };
    Ok(Some(edit).filter(|edit| *edit != EditForge::default()))
}

/// What is to be changed of the submodules that are fetched without asking, if anything is.
pub(super) fn sources(asked: &SourcesArguments) -> Option<EditSources> {
    let all = |texts: &[String]| match texts {
        [] => None,
        [only] if only == DEFAULT => Some(vec![]),
        texts => Some(texts.to_vec()),
    };
    let edit = EditSources { trusted_branches: all(&asked.trusted_branches), allowed_urls: all(&asked.allowed_urls) };
    Some(edit).filter(|edit| *edit != EditSources::default())
}

/// Which submodules are fetched without asking besides those of the default branch, for people.
pub(super) fn shown_sources(sources: &SourceSettings) -> Vec<(&'static str, String)> {
    let branches = sources.trusted_branches.iter().map(|branch| ("trusted", format!("submodules of {}", branch.as_str())));
    branches.chain(sources.allowed_urls.iter().map(|url| ("allowed", format!("submodules from {}", visible(url))))).collect()
}

/// What an environment says of its forge besides the defaults, for people.
pub(super) fn shown_forge(forge: &ForgeSettings, has_token: bool) -> Vec<(&'static str, String)> {
    let rows = [
        ("forge", forge.kind.map(|kind| kind.as_str().to_owned())),
        ("project", forge.project.as_ref().map(ToString::to_string)),
        ("forge API", forge.api_url.as_ref().map(|url| url.as_str().to_owned())),
        ("forge token", has_token.then(|| "(secret)".to_owned())),
    ];
    rows.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// What an environment says of its runs besides the defaults, for people.
pub(super) fn shown_runs(runs: &RunPolicy) -> Vec<(&'static str, String)> {
    let rows = [
        ("paused", runs.paused.then(|| "yes: no run begins".to_owned())),
        ("at once", runs.max_parallel_runs.map(|most| format!("at most {most}"))),
        ("retries", Some(runs.retries.to_string()).filter(|_| runs.retries > 0)),
        ("model", runs.model.as_ref().map(ToString::to_string)),
        ("effort", runs.effort.as_ref().map(ToString::to_string)),
        ("cut off", runs.resume_interrupted.map(|on| if on { "resumed by itself" } else { "left as it is" }.to_owned())),
    ];
    rows.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

#[expect(clippy::option_option, reason = "left out, the default again, and a value are three things")]
fn word(text: Option<&str>) -> Option<Option<String>> {
    text.map(|text| Some(text.to_owned()).filter(|text| text != DEFAULT))
}

#[expect(clippy::option_option, reason = "left out, the default again, and a value are three things")]
fn number<T: FromStr>(option: &str, text: Option<&str>) -> Result<Option<Option<T>>, Problem> {
    match text {
        None => Ok(None),
        Some(DEFAULT) => Ok(Some(None)),
        Some(text) => text.parse().map(|number| Some(Some(number))).map_err(|_| {
            refused(ErrorCode::ContainerRefused, format!("`{text}` is not a number for {option}"))
                .hint("or `default`, for what the server takes")
        }),
    }
}

/// A path is taken from where the person is, not from where the server is.
fn absolute(path: &str) -> String {
    std::path::absolute(Path::new(path)).map_or_else(|_| path.to_owned(), |path| path.display().to_string())
}

/// What an environment says of its containers besides the defaults, for people.
pub(super) fn shown(container: &ContainerSettings) -> Vec<(&'static str, String)> {
    let hosts: Vec<_> = container.allow_hosts.iter().map(HostPattern::as_str).collect();
    let network = match hosts.as_slice() {
        [] => container.network.as_str().to_owned(),
        hosts => format!("{} {}", container.network.as_str(), hosts.join(" ")),
    };
    let default = ContainerSettings::default();
    let rows = [
        ("image", container.image.clone()),
        ("dockerfile", container.dockerfile.clone()),
        ("user", Some(container.user.as_str().to_owned()).filter(|_| container.user != default.user)),
        ("network", Some(network).filter(|_| container.network != default.network)),
        ("hosted tools", container.hosted_tools.map(|wish| wish.as_str().to_owned())),
        ("memory", container.memory.clone()),
        ("cpus", container.cpus.map(|cpus| cpus.to_string())),
        ("pids", container.pids.map(|pids| pids.to_string())),
        ("tokens", container.token_budget.map(|tokens| format!("at most {tokens} a run"))),
    ];
    rows.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
        let problem = from_environment("TOKEN=hunter2", |_| None).expect_err("it is there for all to see");
        assert!(problem.report.code == ErrorCode::Usage && !format!("{problem:?}").contains("hunter2"), "{problem:?}");
        let missing = from_environment("TOKEN", |_| None).expect_err("not set");
        assert!(missing.report.message.contains("`TOKEN`") && !missing.report.hints.is_empty());
        let (name, value) = from_environment("TOKEN", |_| Some("hunter2".into())).expect("set");
        assert_eq!((name.as_str(), value.expose()), ("TOKEN", "hunter2"));
    }

    #[test]
    fn a_secret_from_a_file_loses_the_end_of_its_last_line_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, "-----BEGIN-----\nabc\n\n").expect("written");
        let (name, value) = from_file(&format!("KEY={}", path.display())).expect("there");
        assert_eq!((name.as_str(), value.expose()), ("KEY", "-----BEGIN-----\nabc\n"));
        assert!(from_file("KEY").is_err() && from_file("KEY=/no/such/file").is_err());
    }

    #[test]
    fn what_is_not_given_is_not_changed_and_default_takes_it_back() {
        assert_eq!(container(&ContainerArguments::default()).expect("nothing"), None);
        let asked = ContainerArguments {
            memory: Some("default".to_owned()),
            cpus: Some("1.5".to_owned()),
            pids: Some("default".to_owned()),
            allow_hosts: vec!["a.com".to_owned(), "b.com".to_owned()],
            ..ContainerArguments::default()
        };
        let edit = container(&asked).expect("sound").expect("something");
        assert_eq!((edit.memory, edit.cpus, edit.pids, edit.image), (Some(None), Some(Some(1.5)), Some(None), None));
        assert_eq!(edit.allow_hosts, Some(Some(vec!["a.com".to_owned(), "b.com".to_owned()])));
        let asked = ContainerArguments { cpus: Some("many".to_owned()), ..ContainerArguments::default() };
        assert!(container(&asked).expect_err("no number").report.message.contains("--cpus"));
    }

    #[test]
    fn people_are_shown_what_differs_from_the_defaults() {
        assert_eq!(shown(&ContainerSettings::default()), []);
        let edit = ContainerArguments {
            network: Some("allow".to_owned()),
            allow_hosts: vec!["a.com".to_owned()],
            hosted_tools: Some("allow".to_owned()),
            memory: Some("4g".to_owned()),
            ..ContainerArguments::default()
        };
        let edit = container(&edit).expect("sound").expect("something");
        let settings = ContainerSettings::default().edited(edit).expect("sound");
        let expected = [("network", "allow a.com"), ("hosted tools", "allow"), ("memory", "4g")];
        assert_eq!(shown(&settings), expected.map(|(name, value)| (name, value.to_owned())));
    }
}
