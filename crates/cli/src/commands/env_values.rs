//! Converts the settings, the secrets and the token in the arguments of `env add` and `env edit` to a request.
//! No secret is ever an argument: secrets come from this command's environment, from a file or from stdin.

use std::io::Read as _;
use std::path::Path;

use model::ErrorCode;
use model::problem::Problem;
use model::secret::Secret;
use protocol::EditEnvironment;
use protocol::settings::{Input, Required, Setting};

use crate::args::{SecretArguments, SettingArguments, TokenArguments};

/// The value that restores the default of a setting.
const DEFAULT: &str = "default";

/// Returns a request with every setting that was given as a flag.
pub(super) fn settings(given: &SettingArguments) -> Result<EditEnvironment, Problem> {
    let mut edit = EditEnvironment::default();
    for (setting, values) in &given.0 {
        change(&mut edit, setting, values)?;
    }
    Ok(edit)
}

/// Adds a setting to a request. The value `default` restores the default.
pub(super) fn change(edit: &mut EditEnvironment, setting: &Setting, values: &[String]) -> Result<(), Problem> {
    match values {
        [only] if only == DEFAULT && setting.required == Required::No => setting.change(edit, &[]),
        [path] if setting.input == Input::Path => setting.change(edit, &[absolute(path)]),
        values => setting.change(edit, values),
    }
}

/// Resolves a relative path against the current directory of this command, not of the server.
fn absolute(path: &str) -> String {
    std::path::absolute(Path::new(path)).map_or_else(|_| path.to_owned(), |path| path.display().to_string())
}

/// Adds secrets from this command's environment and from files to a request.
pub(super) fn set_secrets(edit: &mut EditEnvironment, given: &SecretArguments) -> Result<(), Problem> {
    let from_environment = given.from_environment.iter().map(|name| from_environment(name, |name| std::env::var_os(name)));
    for secret in from_environment.chain(given.from_files.iter().map(|text| from_file(text))) {
        let (name, value) = secret?;
        edit.secrets.insert(name, Some(value));
    }
    Ok(())
}

fn from_environment(name: &str, variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Result<(String, Secret), Problem> {
    if let Some((name, _)) = name.split_once('=') {
        // Do not repeat the value of the secret.
        return Err(Problem::new(
            ErrorCode::Usage,
            "a secret's value cannot be given on the command line, where other users could read it",
        )
        .hint(format!("export it first: `read -rs {name}; export {name}`, then use `--secret {name}`"))
        .hint(format!("or read it from a file: `--secret-file {name}=FILE`")));
    }
    let value = variable(name).ok_or_else(|| {
        Problem::new(ErrorCode::SecretRefused, format!("`{name}` is not set in this command's environment"))
            .hint(format!("export it first, or read it from a file: `--secret-file {name}=FILE`"))
    })?;
    let value = value
        .into_string()
        .map_err(|_| Problem::new(ErrorCode::SecretRefused, format!("the value of `{name}` is not valid UTF-8")))?;
    Ok((name.to_owned(), Secret::new(value)))
}

fn from_file(text: &str) -> Result<(String, Secret), Problem> {
    let (name, path) = text.split_once('=').ok_or_else(|| {
        Problem::new(ErrorCode::Usage, "`--secret-file` needs a name and a file")
            .hint("use the form NAME=FILE, e.g. `--secret-file TOKEN=token.txt`")
    })?;
    let read = if path == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    let mut value =
        read.map_err(|error| Problem::new(ErrorCode::SecretRefused, format!("could not read the secret `{name}`: {error}")))?;
    // Editors end the last line with a line break, which is not part of the secret.
    if value.ends_with('\n') {
        value.pop();
    }
    Ok((name.to_owned(), Secret::new(value)))
}

/// Adds a new token for the Git host to a request, or the deletion of the current token.
pub(super) fn set_token(edit: &mut EditEnvironment, given: &TokenArguments) -> Result<(), Problem> {
    let token = match &given.forge_token_file {
        Some(file) => {
            let (_, token) = from_file(&format!("forge_token={file}"))?;
            Some(Some(Secret::new(token.expose().trim())))
        }
        None => given.no_forge_token.then_some(None),
    };
    if token.is_some() {
        edit.forge.get_or_insert_default().token = token;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Arguments, Command, EnvCommand};

    /// Returns the request that `env edit app` sends with these flags.
    fn edit(flags: &[&str]) -> Result<EditEnvironment, Problem> {
        let arguments = Arguments::try_parse_from([&["codex-orchestrator", "env", "edit", "app"], flags].concat());
        match arguments.expect("valid flags").command {
            Command::Env(EnvCommand::Edit { settings: given, .. }) => settings(&given),
            other => panic!("unexpected command: {other:?}"),
        }
    }

    #[test]
    fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
        let problem = from_environment("TOKEN=hunter2", |_| None).expect_err("other users could read the value");
        assert!(problem.report.code == ErrorCode::Usage && !format!("{problem:?}").contains("hunter2"), "{problem:?}");
        let missing = from_environment("TOKEN", |_| None).expect_err("not set");
        assert!(missing.report.code == ErrorCode::SecretRefused && !missing.report.hints.is_empty());
        let (name, value) = from_environment("TOKEN", |_| Some("hunter2".into())).expect("set");
        assert_eq!((name.as_str(), value.expose()), ("TOKEN", "hunter2"));
    }

    #[test]
    fn a_secret_from_a_file_loses_only_its_last_line_break() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, "-----BEGIN-----\nabc\n\n").expect("written");
        let (name, value) = from_file(&format!("KEY={}", path.display())).expect("the file exists");
        assert_eq!((name.as_str(), value.expose()), ("KEY", "-----BEGIN-----\nabc\n"));
        assert!(from_file("KEY").is_err() && from_file("KEY=/no/such/file").is_err());
    }

    #[test]
    fn omitted_settings_are_not_changed_and_default_restores_the_default() {
        assert_eq!(edit(&[]), Ok(EditEnvironment::default()));
        let flags = [
            "--memory",
            "default",
            "--cpus",
            "1.5",
            "--allow-host",
            "a.com",
            "--allow-host",
            "b.com",
            "--trust-branch",
            "default",
        ];
        let edited = edit(&flags).expect("valid");
        let container = edited.container.expect("a change");
        assert_eq!((container.memory, container.cpus, container.image), (Some(None), Some(Some(1.5)), None));
        assert_eq!(container.allow_hosts, Some(Some(vec!["a.com".to_owned(), "b.com".to_owned()])));
        assert_eq!((edited.sources.expect("a change").trusted_branches, edited.runs), (Some(None), None));
        assert_eq!(edit(&["--name", "default"]).expect("valid").name.as_deref(), Some("default"));
    }

    #[test]
    fn paths_are_absolute_and_invalid_values_are_refused() {
        let dockerfile = edit(&["--dockerfile", "Dockerfile"]).expect("valid").container.expect("a change").dockerfile;
        assert!(dockerfile.flatten().is_some_and(|path| path.starts_with('/') && path.ends_with("/Dockerfile")));
        for flags in [["--cpus", "many"], ["--memory", "1m"], ["--max-runs", "0"], ["--resume-interrupted", "perhaps"]] {
            assert!(edit(&flags).is_err(), "{flags:?}");
        }
    }
}
