//! Settings that do not belong to a group in the API: name, base branch, variables, secrets, and the Git host's token.

use std::collections::BTreeMap;

use model::ErrorCode;
use model::names::{BranchName, Title, VariableName};
use model::problem::Problem;
use model::settings::{Description, Group, Input, Required, Row};

use crate::{EditEnvironment, EnvironmentView};

/// Returns the problem for unsetting a setting that has no default.
pub(super) fn required(key: &str) -> Problem {
    Problem::new(ErrorCode::SettingRefused, format!("`{key}` cannot be empty or unset"))
}

fn single<'a>(key: &str, values: &'a [String]) -> Result<&'a str, Problem> {
    match values {
        [value] => Ok(value),
        several => {
            Err(Problem::new(ErrorCode::SettingRefused, format!("`{key}` accepts one value, but {} were given", several.len())))
        }
    }
}

/// Parses `NAME=VALUE` lines.
fn variables(lines: &[String]) -> Result<BTreeMap<String, String>, Problem> {
    let mut variables = BTreeMap::new();
    for line in lines {
        let (name, value) = line.split_once('=').ok_or_else(|| {
            Problem::new(ErrorCode::VariableRefused, "a variable needs a name and a value")
                .hint("use the form NAME=VALUE, e.g. RUST_LOG=debug")
        })?;
        let name = VariableName::parse(name.trim())?;
        if variables.insert(name.as_str().to_owned(), value.to_owned()).is_some() {
            return Err(Problem::new(ErrorCode::VariableRefused, format!("the variable `{name}` is given twice")));
        }
    }
    Ok(variables)
}

/// General settings, variables and secrets.
pub(super) const SETTINGS: &[Row<EnvironmentView, EditEnvironment>] = &[
    Row {
        description: Description {
            key: "name",
            flag: "name",
            group: Group::General,
            label: "Name",
            help: "Name of the repository in lists and on the command line",
            default: "the last part of the URL",
            example: "",
            input: Input::Words("NAME"),
            required: Required::Yes,
            field: "name",
        },
        current: |view| vec![view.name.as_str().to_owned()],
        change: |edit, key, values| {
            edit.name = Some(Title::parse(single(key, values)?)?.as_str().to_owned());
            Ok(())
        },
    },
    Row {
        description: Description {
            key: "default_branch",
            flag: "default-branch",
            group: Group::General,
            label: "Base branch",
            help: "Branch that tasks start from unless they name another one",
            default: "the remote's default branch",
            example: "",
            input: Input::Text("BRANCH"),
            required: Required::Yes,
            field: "default_branch",
        },
        current: |view| view.default_branch.iter().map(|branch| branch.as_str().to_owned()).collect(),
        change: |edit, key, values| {
            edit.default_branch = Some(BranchName::parse(single(key, values)?)?.as_str().to_owned());
            Ok(())
        },
    },
    Row {
        description: Description {
            key: "variables",
            flag: "var",
            group: Group::Variables,
            label: "Environment variables",
            help: "Environment variables for Codex, as `NAME=VALUE`\n\nTheir values are shown to anyone with access to this server. \
               Use secrets for passwords and tokens.",
            default: "none",
            example: "NAME=VALUE",
            input: Input::Lines("NAME=VALUE"),
            required: Required::No,
            field: "variables",
        },
        current: |view| view.variables.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        change: |edit, _, values| {
            edit.variables = Some(variables(values)?);
            Ok(())
        },
    },
    Row {
        description: Description {
            key: "secrets",
            flag: "secret",
            group: Group::Variables,
            label: "Secrets",
            help: "Environment variables for Codex whose values are never shown\n\nSecrets are masked in transcripts, errors and commit \
               messages. The raw log is not masked.",
            default: "none",
            example: "",
            input: Input::Secret,
            required: Required::No,
            field: "secrets",
        },
        current: |view| view.secrets.iter().map(|name| name.as_str().to_owned()).collect(),
        change: |_, _, _| {
            Err(Problem::new(ErrorCode::SecretRefused, "secrets cannot be changed here")
                .hint("to set a secret, export it and run `codex-orchestrator env edit ENV --secret NAME`")
                .hint("to delete a secret, run `codex-orchestrator env edit ENV --no-secret NAME`"))
        },
    },
];

/// The token for the Git host.
pub(super) const TOKENS: &[Row<EnvironmentView, EditEnvironment>] = &[Row {
    description: Description {
        key: "forge_token",
        flag: "forge-token-file",
        group: Group::GitHost,
        label: "Token",
        help: "Token for the Git host, used to push branches and open pull requests\n\nThe token is never shown.",
        default: "the server's token for GitHub, if any",
        example: "",
        input: Input::Secret,
        required: Required::No,
        field: "forge.token",
    },
    current: |view| if view.has_forge_token { vec!["(hidden)".to_owned()] } else { vec![] },
    change: |edit, _, values| {
        if !values.is_empty() {
            return Err(Problem::new(
                ErrorCode::SecretRefused,
                "a token cannot be given on the command line, where other users could read it",
            )
            .hint("run `codex-orchestrator env edit ENV --forge-token-file FILE`; `-` reads the token from stdin"));
        }
        edit.forge.get_or_insert_default().token = Some(None);
        Ok(())
    },
}];
