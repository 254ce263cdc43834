//! Whole proposals, from the files of typical and hostile repositories.

use proptest::collection::btree_map;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::{format, parse};

/// Returns a proposal as text: its source, its notes and its description.
fn shown(files: &[(&str, &str)]) -> String {
    let texts = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    let Some(proposal) = propose(&texts) else { return "nothing".to_owned() };
    assert_eq!(parse(&format(&proposal.description)), Ok(proposal.description.clone()));
    let source = format!("source: {}", proposal.source);
    let comments: Vec<String> = [source].iter().chain(&proposal.notes).map(|note| format!("# {note}\n")).collect();
    format!("{}{}", comments.concat(), format(&proposal.description))
}

#[test]
fn a_repository_without_known_files_has_no_proposal() {
    assert_eq!(shown(&[]), "nothing");
    assert_eq!(shown(&[("pyproject.toml", "[tool.ruff]"), ("package.json", "{}"), ("conductor.json", "{")]), "nothing");
}

#[test]
fn several_languages_are_combined() {
    insta::assert_snapshot!(shown(&[
        ("package.json", r#"{"engines": {"node": "22"}, "packageManager": "pnpm@9.1.0"}"#),
        ("pnpm-lock.yaml", "importers:\n  .:\n    x: 1\n  web:\n    x: 1\n"),
        ("uv.lock", ""),
        (".python-version", "3.12"),
        ("Cargo.toml", "[workspace]"),
        ("Cargo.lock", ""),
        ("rust-toolchain.toml", "[toolchain]\nchannel = \"1.85\""),
        ("go.mod", "module a\ngo 1.24\n"),
        ("go.sum", ""),
    ]));
}

#[test]
fn a_dev_container_decides_and_lock_files_add_folders() {
    insta::assert_snapshot!(shown(&[
        (".devcontainer/devcontainer.json", r#"{"image": "node:22", "postCreateCommand": "bash .devcontainer/create.sh"}"#),
        (".cursor/environment.json", r#"{"install": "npm ci"}"#),
        ("package-lock.json", "{}"),
        ("package.json", "{}"),
        (".nvmrc", "20"),
    ]));
}

#[test]
fn a_dev_container_without_commands_uses_the_lock_files() {
    insta::assert_snapshot!(shown(&[
        (".devcontainer.json", r#"{"build": {"dockerfile": "Dockerfile.dev"}}"#),
        ("requirements.txt", "a"),
    ]));
}

#[test]
fn a_script_of_another_tool_runs_in_the_universal_image() {
    insta::assert_snapshot!(shown(&[
        (".codex/environments/environment.toml", "version = 1\n[setup]\nscript = '''\ncorepack enable\nyarn\n'''\n"),
        ("yarn.lock", "# yarn lockfile v1\n"),
        (".nvmrc", "22"),
    ]));
}

#[test]
fn commands_without_known_key_files_run_for_each_commit() {
    insta::assert_snapshot!(shown(&[("conductor.json", r#"{"scripts": {"setup": "./setup.sh"}}"#), (".nvmrc", "22")]));
}

#[test]
fn a_version_file_alone_chooses_a_tool() {
    insta::assert_snapshot!(shown(&[(".java-version", "21")]));
}

#[test]
fn projects_of_other_languages_need_another_image() {
    insta::assert_snapshot!(shown(&[("Gemfile.lock", ""), ("composer.lock", ""), ("mix.lock", "")]));
}

#[test]
fn an_empty_text_shows_that_a_file_exists() {
    let found = shown(&[("package-lock.json", ""), ("package.json", ""), ("bun.lockb", "")]);
    assert!(found.contains("run = \"npm ci\""), "{found}");
}

#[test]
fn what_is_too_large_is_noted() {
    let large = "x".repeat(SOURCE_LIMIT_BYTES + 1);
    let found = shown(&[("package.json", &large), ("package-lock.json", &large)]);
    assert!(found.contains("# `package.json` was not read, because it is larger than 256 KiB.\n"), "{found}");
    assert!(!found.contains("`package-lock.json` was not read"), "{found}");
    let script = serde_json::json!({"scripts": {"setup": "x".repeat(Script::LIMIT_BYTES + 1)}}).to_string();
    let found = shown(&[("conductor.json", &script)]);
    assert!(found.contains("# The setup commands were not taken over, because they are larger than 64 KiB.\n"), "{found}");
}

/// Returns texts that resemble the files of a repository.
fn texts() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        ",",
        ":",
        " ",
        "\n",
        "  ",
        "- ",
        "'",
        "=",
        "//",
        "/*",
        "*/",
        "#",
        "|",
        "&a ",
        "*a",
        "é",
        "\0",
        "\u{1b}",
        "\"image\"",
        "\"build\"",
        "\"dockerfile\"",
        "\"../x\"",
        "\"postCreateCommand\"",
        "\"features\"",
        "\"scripts\"",
        "\"setup\"",
        "\"install\"",
        "\"packageManager\"",
        "\"pnpm@9\"",
        "jobs:",
        "copilot-setup-steps:",
        "steps:",
        "run: x",
        "uses: a@b",
        "[tools]",
        "[setup]",
        "script",
        "node",
        "22",
        "importers:",
        "  a/b:",
        "\"a/node_modules/b\"",
        "<module>",
        "</module>",
        "../..",
        "go 1.24",
        "toolchain go1",
        "channel",
        "lts/*",
        "$(id)",
        "'''",
        "x",
    ];
    prop_oneof![
        proptest::collection::vec(select(PIECES), 0..40).prop_map(|pieces| pieces.concat()),
        any::<String>(),
        any::<JsonLike>().prop_map(|JsonLike(text)| text),
    ]
}

/// An object with the keys that readers look for, whose values have any type.
#[derive(Debug)]
struct JsonLike(String);

impl Arbitrary for JsonLike {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        const KEYS: &[&str] = &[
            "image",
            "build",
            "dockerfile",
            "context",
            "postCreateCommand",
            "onCreateCommand",
            "features",
            "version",
            "scripts",
            "setup",
            "install",
            "containerEnv",
            "packageManager",
            "engines",
            "node",
            "dependencies",
            "workspaces",
            "a",
        ];
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i32>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
            select(vec!["node:22", "../..", "Dockerfile", "npm ci", "cd a\nb", "22", "^1", "yarn@4.0.0"]).prop_map(Into::into),
        ];
        let value = leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                btree_map(select(KEYS), inner, 0..5).prop_map(|entries| serde_json::Value::Object(
                    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
                )),
            ]
        });
        value.prop_map(|value| Self(value.to_string())).boxed()
    }
}

proptest! {
    #[test]
    fn any_files_make_a_valid_proposal_or_none(files in btree_map(select(SOURCES).prop_map(str::to_owned), texts(), 0..6)) {
        if let Some(proposal) = propose(&files) {
            let text = format(&proposal.description);
            prop_assert_eq!(parse(&text), Ok(proposal.description), "{}", text);
            prop_assert!(files.contains_key(&proposal.source), "{}", proposal.source);
            let is_short = |note: &String| note.chars().count() <= LIMIT_NOTE && !note.contains(char::is_control);
            prop_assert!(proposal.notes.iter().all(is_short) && proposal.notes.len() <= LIMIT_NOTES);
        }
    }
}
