//! Tests of the table: it is complete and consistent, and its generic code handles every kind of value.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use model::ErrorCode;

fn view() -> EnvironmentView {
    serde_json::from_value(json!({
        "env_id": "0199a0f0-0000-7000-8000-000000000001", "name": "app", "repo_url": "https://github.com/me/app.git",
        "default_branch": "main", "status": "ready", "error": null, "progress": null, "variables": {}, "tasks": 0,
        "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z",
    }))
    .expect("the view is valid")
}

/// A valid value for every setting that can be set as text.
const SAMPLES: &[(&str, &[&str])] = &[
    ("name", &["library"]),
    ("default_branch", &["next"]),
    ("paused", &["on"]),
    ("variables", &["CI=1", "MODE=a=b"]),
    ("image", &["mine:1"]),
    ("dockerfile", &["/srv/Dockerfile"]),
    ("user", &["caller"]),
    ("network", &["allow"]),
    ("allow_hosts", &["example.com", "*.example.org"]),
    ("context", &["library", "shared tools"]),
    ("hosted_tools", &["deny"]),
    ("memory", &["4g"]),
    ("disk", &["10g"]),
    ("cpus", &["1.5"]),
    ("pids", &["256"]),
    ("token_budget", &["5000"]),
    ("max_parallel_runs", &["3"]),
    ("retries", &["2"]),
    ("resume_interrupted", &["off"]),
    ("model", &["gpt-5.5"]),
    ("driver", &["app-server"]),
    ("subdirectory", &["services/api"]),
    ("setup_on_host", &["on"]),
    ("effort", &["high"]),
    ("max_new_files", &["500"]),
    ("max_commit_mb", &["50"]),
    ("max_file_mb", &["5"]),
    ("author", &["Ada Lovelace <ada@example.org>"]),
    ("committer", &["Bot <bot@example.org>"]),
    ("sign_off", &["on"]),
    ("co_author", &["Codex <codex@example.org>"]),
    ("signing_key", &["/home/me/.ssh/id_ed25519"]),
    ("depth", &["50"]),
    ("partial_clone", &["on"]),
    ("sparse_paths", &["docs", "services/api"]),
    ("trusted_branches", &["release/*"]),
    ("allowed_urls", &["https://example.com/owner/library.git"]),
    ("forge_kind", &["forgejo"]),
    ("forge_project", &["me/app"]),
    ("forge_api", &["https://git.example/api/v1"]),
];

fn texts(values: &[&str]) -> Vec<String> {
    values.iter().map(|&value| value.to_owned()).collect()
}

/// Returns the view after `edit`, as the API would return it.
fn edited(view: &EnvironmentView, edit: EditEnvironment) -> EnvironmentView {
    let mut edited = view.clone();
    edited.container = edited.container.edited(&edit.container.unwrap_or_default()).expect("the settings are valid");
    edited.runs = edited.runs.edited(&edit.runs.unwrap_or_default()).expect("the settings are valid");
    edited.commits = edited.commits.edited(&edit.commits.unwrap_or_default()).expect("the settings are valid");
    edited.sources = edited.sources.edited(&edit.sources.unwrap_or_default()).expect("the settings are valid");
    edited.forge = edited.forge.edited(&edit.forge.unwrap_or_default()).expect("the settings are valid");
    serde_json::from_value(serde_json::to_value(edited).expect("a view can be serialized")).expect("the view is valid")
}

#[test]
fn keys_and_flags_are_unique_and_found() {
    let mut names = BTreeSet::new();
    for setting in all() {
        assert!(names.insert(setting.key), "the key {} appears twice", setting.key);
        assert!(setting.flag == setting.key || names.insert(setting.flag), "the flag {} appears twice", setting.flag);
        for name in [setting.key.to_owned(), setting.key.replace('_', "-"), format!("--{}", setting.flag)] {
            assert_eq!(find(&name).map(|found| found.key), Some(setting.key), "{name}");
        }
    }
    assert!(find("memroy").is_none());
}

#[test]
fn every_setting_is_described() {
    for setting in all() {
        let summary = setting.summary();
        assert!(summary.starts_with(|c: char| c.is_ascii_uppercase() || c == '`'), "{summary}");
        assert!(!summary.ends_with('.') && !setting.label.is_empty() && !setting.default.is_empty(), "{}", setting.key);
        assert!(setting.details().is_empty() || setting.details().ends_with('.'), "{}", setting.key);
        assert!(!setting.input.is_list() || !setting.example.is_empty(), "{} needs an example", setting.key);
    }
}

#[test]
fn every_setting_can_be_set_shown_and_unset() {
    let sampled: BTreeSet<&str> = SAMPLES.iter().map(|(key, _)| *key).collect();
    for setting in all().filter(|setting| setting.input != Input::Secret) {
        assert!(sampled.contains(setting.key), "add a sample for {}", setting.key);
    }
    for (key, values) in SAMPLES {
        let setting = find(key).expect(key);
        let mut edit = EditEnvironment::default();
        setting.change(&mut edit, &texts(values)).expect(key);
        let json = serde_json::to_value(&edit).expect("an edit can be serialized");
        let pointer = format!("/{}", setting.field.replace('.', "/"));
        assert!(json.pointer(&pointer).is_some_and(|value| !value.is_null()), "{key}: {json}");
        if setting.group == Group::General && setting.required == Required::Yes || *key == "variables" {
            continue;
        }
        if *key == "allow_hosts" {
            find("network").expect("the setting exists").change(&mut edit, &texts(&["allow"])).expect("the settings are valid");
        }
        let with = edited(&view(), edit);
        assert_eq!(setting.current(&with), texts(values), "{key}");
        let mut unset = EditEnvironment::default();
        setting.change(&mut unset, &[]).expect(key);
        let json = serde_json::to_value(&unset).expect("an edit can be serialized");
        assert_eq!(json.pointer(&pointer), Some(&Value::Null), "{key}: {json}");
        assert_eq!(setting.current(&edited(&with, unset)), texts(&[]), "{key}");
    }
}

#[test]
fn every_choice_is_accepted_and_nothing_else() {
    for setting in all().filter(|setting| !setting.choices().is_empty()) {
        for choice in setting.choices() {
            setting.change(&mut EditEnvironment::default(), &texts(&[choice.value])).expect(choice.value);
        }
        let refused = setting.change(&mut EditEnvironment::default(), &texts(&["nonsense"]));
        assert!(!refused.expect_err(setting.key).report.hints.is_empty(), "{}", setting.key);
    }
}

#[test]
fn required_settings_and_secrets_cannot_be_unset_or_set_as_text() {
    for key in ["name", "default_branch", "secrets"] {
        assert!(find(key).expect(key).change(&mut EditEnvironment::default(), &[]).is_err(), "{key}");
    }
    for key in ["secrets", "forge_token"] {
        let problem = find(key).expect(key).change(&mut EditEnvironment::default(), &texts(&["hunter2"])).expect_err(key);
        assert!(!problem.report.hints.is_empty() && !format!("{problem:?}").contains("hunter2"), "{problem:?}");
    }
    let mut edit = EditEnvironment::default();
    find("forge_token").expect("the setting exists").change(&mut edit, &[]).expect("a token can be deleted");
    assert_eq!(edit.forge.expect("the token is changed").token, Some(None));
}

#[test]
fn single_values_and_lists_are_told_apart() {
    let problem = find("memory").expect("the setting exists").change(&mut EditEnvironment::default(), &texts(&["1g", "2g"]));
    assert_eq!(problem.expect_err("the setting accepts one value").report.code, ErrorCode::ContainerRefused);
    let split = |key: &str, text: &str| find(key).expect(key).input.split(text);
    assert_eq!(split("allow_hosts", "a.com, b.com\n\nc.com "), ["a.com", "b.com", "c.com"]);
    assert_eq!(split("variables", "A=1 2\n \nB=3"), ["A=1 2", "B=3"]);
    assert_eq!(split("memory", " 4g "), ["4g"]);
    assert_eq!(split("memory", "  "), texts(&[]));
}

#[test]
fn conflicts_name_the_setting_to_fix() {
    let with = |pairs: &[(&str, &str)]| {
        let mut edit = EditEnvironment::default();
        for (key, value) in pairs {
            find(key).expect(key).change(&mut edit, &texts(&[value])).expect(key);
        }
        conflict(&view(), &edit).map(|(key, _)| key)
    };
    assert_eq!(with(&[("allow_hosts", "a.com")]), Some("allow_hosts"));
    assert_eq!(with(&[("allow_hosts", "a.com"), ("network", "allow")]), None);
    assert_eq!(with(&[("image", "a"), ("dockerfile", "/d")]), Some("dockerfile"));
}

/// Checks that the JSON of records and requests does not change.
#[test]
fn the_json_of_every_setting_is_stable() {
    let mut edit = EditEnvironment::default();
    for (key, values) in SAMPLES.iter().filter(|(key, _)| *key != "dockerfile") {
        find(key).expect(key).change(&mut edit, &texts(values)).expect(key);
    }
    let json = json!({
        "name": "library", "default_branch": "next", "variables": { "CI": "1", "MODE": "a=b" },
        "container": { "image": "mine:1", "user": "caller", "network": "allow", "allow_hosts": ["example.com", "*.example.org"],
                       "context": ["library", "shared tools"], "hosted_tools": "deny", "memory": "4g", "disk": "10g", "cpus": 1.5, "pids": 256, "token_budget": 5000 },
        "runs": { "paused": true, "max_parallel_runs": 3, "retries": 2, "resume_interrupted": false, "model": "gpt-5.5",
                  "effort": "high", "driver": "app-server", "subdirectory": "services/api", "setup_on_host": true },
        "forge": { "kind": "forgejo", "project": "me/app", "api_url": "https://git.example/api/v1" },
        "commits": { "max_new_files": 500, "max_commit_mb": 50, "max_file_mb": 5, "author": "Ada Lovelace <ada@example.org>",
                     "committer": "Bot <bot@example.org>", "sign_off": true, "co_author": "Codex <codex@example.org>",
                     "signing_key": "/home/me/.ssh/id_ed25519" },
        "sources": { "depth": 50, "partial_clone": true, "sparse_paths": ["docs", "services/api"], "trusted_branches": ["release/*"], "allowed_urls": ["https://example.com/owner/library.git"] },
    });
    assert_eq!(serde_json::to_value(&edit).expect("an edit can be serialized"), json);
    let view = edited(&view(), edit);
    assert_eq!(
        json!({ "container": view.container, "runs": view.runs, "commits": view.commits, "forge": view.forge, "sources": view.sources }),
        json!({ "container": json["container"], "runs": json["runs"], "commits": json["commits"], "forge": json["forge"], "sources": json["sources"] }),
    );
}
