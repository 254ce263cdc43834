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

    /// Returns the secret that is read from a file with these bytes.
    fn secret_in_file(bytes: &[u8]) -> Result<String, Problem> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a=b");
        std::fs::write(&path, bytes).expect("written");
        from_file(&format!("KEY={}", path.display())).map(|(_, value)| value.expose().to_owned())
    }

    #[test]
    fn a_secret_in_a_file_keeps_every_other_character() {
        let check = |bytes: &[u8], expect: &str| assert_eq!(secret_in_file(bytes).as_deref(), Ok(expect), "{bytes:?}");
        check(b"", "");
        check(b"\n", "");
        check(b"no line break", "no line break");
        check(b"  spaces \n", "  spaces ");
        check(b"windows\r\n", "windows\r");
        check(b"a=b\nc\n", "a=b\nc");
        check("ключ\n".as_bytes(), "ключ");
        let problem = secret_in_file(b"\xff\xfe\n").expect_err("not text");
        assert!(problem.report.message.starts_with("could not read the secret `KEY`: "), "{problem}");
    }

    #[test]
    fn an_error_about_a_file_names_the_secret_and_not_its_value() {
        let missing = from_file("TOKEN=/no/such/file").expect_err("the file is missing");
        assert_eq!(
            (missing.report.code.known(), missing.report.message.contains("`TOKEN`")),
            (Some(ErrorCode::SecretRefused), true)
        );
        let folder = from_file("TOKEN=/").expect_err("a folder");
        assert_eq!(folder.report.code, ErrorCode::SecretRefused);
        let no_name = from_file("hunter2").expect_err("no name");
        assert!(no_name.report.code == ErrorCode::Usage && !format!("{no_name:?}").contains("hunter2"), "{no_name:?}");
    }

    #[test]
    fn a_variable_that_is_not_text_is_refused() {
        use std::os::unix::ffi::OsStringExt as _;
        let problem = from_environment("TOKEN", |_| Some(std::ffi::OsString::from_vec(b"a\xff".to_vec()))).expect_err("not text");
        assert_eq!(problem.report.message, "the value of `TOKEN` is not valid UTF-8");
        let (_, empty) = from_environment("TOKEN", |_| Some("".into())).expect("an empty value is a value");
        assert_eq!(empty.expose(), "");
    }

    #[test]
    fn a_token_loses_the_white_space_around_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let token = |given: &TokenArguments| {
            let mut edit = EditEnvironment::default();
            set_token(&mut edit, given)
                .map(|()| edit.forge.map(|forge| forge.token.map(|token| token.map(|token| token.expose().to_owned()))))
        };
        let file = |text: &str| {
            std::fs::write(&path, text).expect("written");
            TokenArguments { forge_token_file: Some(path.display().to_string()), no_forge_token: false }
        };
        assert_eq!(token(&file("\n ghp_x \r\n\n")), Ok(Some(Some(Some("ghp_x".to_owned())))));
        assert_eq!(token(&TokenArguments { forge_token_file: None, no_forge_token: true }), Ok(Some(Some(None))));
        assert_eq!(token(&TokenArguments::default()), Ok(None), "the token stays as it is");
        let missing = TokenArguments { forge_token_file: Some("/no/such/file".to_owned()), no_forge_token: false };
        assert_eq!(token(&missing).expect_err("the file is missing").report.code, ErrorCode::SecretRefused);
    }

    #[test]
    fn the_last_of_two_secrets_with_one_name_is_sent() {
        let folder = tempfile::tempdir().expect("a folder");
        let files: Vec<_> = ["one", "two"]
            .map(|text| {
                let path = folder.path().join(text);
                std::fs::write(&path, text).expect("written");
                format!("KEY={}", path.display())
            })
            .into();
        let mut edit = EditEnvironment::default();
        set_secrets(&mut edit, &SecretArguments { from_environment: vec![], from_files: files }).expect("both can be read");
        assert_eq!(
            edit.secrets.get("KEY").map(|value| value.as_ref().map(|value| value.expose().to_owned())),
            Some(Some("two".to_owned()))
        );
        let unset = SecretArguments { from_environment: vec!["NO_SUCH_VARIABLE_HERE".to_owned()], from_files: vec![] };
        assert_eq!(set_secrets(&mut edit, &unset).expect_err("not set").report.code, ErrorCode::SecretRefused);
    }

    #[test]
    fn lists_are_replaced_and_default_empties_them() {
        let container = |flags: &[&str]| edit(flags).expect("valid").container.expect("a change").allow_hosts;
        assert_eq!(container(&["--allow-host", "a.com"]), Some(Some(vec!["a.com".to_owned()])));
        assert_eq!(container(&["--allow-host", "default"]), Some(None));
        let both = container(&["--allow-host", "default", "--allow-host", "a.com"]);
        assert_eq!(
            both,
            Some(Some(vec!["default".to_owned(), "a.com".to_owned()])),
            "only a single `default` restores the default"
        );
    }

    #[test]
    fn an_error_about_a_value_names_the_setting() {
        for (flags, key) in [
            (&["--cpus", "many"][..], "cpus"),
            (&["--memory", "lots"], "memory"),
            (&["--pids=-1"], "pids"),
            (&["--network", "maybe"], "network"),
            (&["--allow-host", "https://a.com/x"], "a.com"),
            (&["--var", "NOVALUE"], "NAME=VALUE"),
            (&["--var", "1BAD=x"], "1BAD"),
        ] {
            let problem = edit(flags).expect_err("the value is invalid");
            let text = format!("{} {}", problem.report.message, problem.report.hints.join(" "));
            assert!(text.contains(key), "{flags:?}: {text}");
            assert!(!problem.report.message.ends_with('.'), "{text}");
        }
    }
}
