//! Records of repositories, which are several files: `env.json`, `repo.url`, `default_branch` and `secrets.json`.

use std::collections::BTreeMap;

use fs_err as fs;
use model::environment::EnvironmentRecord;
use model::names::{BranchName, RepositoryUrl};
use model::secret::Secret;
use serde_json::{Value, json};

use crate::support::{assert_no_temporary_file, block, env_id, environment, home, mode};

#[test]
fn every_part_of_a_repository_is_read_as_it_was_written() {
    let (_folder, home) = home();
    let check = |record: EnvironmentRecord| {
        home.put_environment(&record).expect("written");
        let found = home.read_environments().expect("read");
        assert_eq!((found.records, found.damaged), (vec![record], vec![]));
    };
    check(environment(1));
    check(EnvironmentRecord { former_secrets: vec![], ..environment(1) });
    check(EnvironmentRecord { secrets: BTreeMap::new(), ..environment(1) });
    check(EnvironmentRecord { secrets: BTreeMap::new(), former_secrets: vec![], ..environment(1) });
    check(EnvironmentRecord { secrets: BTreeMap::new(), former_secrets: vec![], forge_token: None, ..environment(1) });
    let url = RepositoryUrl::parse("git@example.org:me/other").expect("a URL");
    check(EnvironmentRecord { repo_url: url, default_branch: BranchName::parse("a/b").ok(), ..environment(1) });
}

#[test]
fn a_repository_without_a_known_branch_has_no_file_for_it() {
    let (_folder, home) = home();
    let record = EnvironmentRecord { default_branch: None, ..environment(1) };
    home.put_environment(&record).expect("written");
    assert!(!home.layout.environment(env_id(1)).join("default_branch").exists());
    assert_eq!(home.read_environments().expect("read").records, [record]);
}

#[test]
fn no_secret_is_in_the_readable_files() {
    let (_folder, home) = home();
    home.put_environment(&environment(1)).expect("written");
    let folder = home.layout.environment(env_id(1));
    for name in ["env.json", "repo.url", "default_branch"] {
        let text = fs::read_to_string(folder.join(name)).expect("there");
        assert!(!text.contains("hunter"), "{name}: {text}");
    }
    assert_eq!(mode(&folder.join("secrets.json")), 0o600);
}

#[test]
fn fields_of_another_version_survive_a_rewrite() {
    let (_folder, home) = home();
    home.put_environment(&environment(1)).expect("written");
    let path = home.layout.environment(env_id(1)).join("env.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&path).expect("there")).expect("JSON");
    value["color"] = json!(["green"]);
    fs::write(&path, value.to_string()).expect("written");
    let record = home.read_environments().expect("read").records.remove(0);
    home.put_environment(&record).expect("written");
    let rewritten: Value = serde_json::from_slice(&fs::read(&path).expect("there")).expect("JSON");
    assert_eq!(rewritten["color"], json!(["green"]));
}

#[test]
fn each_damaged_file_is_named_and_unchanged() {
    let check = |name: &str, text: &str, reason: &str| {
        let (_folder, home) = home();
        home.put_environment(&environment(1)).expect("written");
        home.put_environment(&environment(2)).expect("written");
        let path = home.layout.environment(env_id(1)).join(name);
        fs::write(&path, text).expect("written");
        let found = home.read_environments().expect("read");
        assert_eq!(found.records, [environment(2)], "{name} {text}");
        assert_eq!(found.damaged.len(), 1, "{name} {text}");
        let damaged = &found.damaged[0];
        assert_eq!((&*damaged.id, &*damaged.path), (&*env_id(1).to_string(), &*path.display().to_string()));
        assert!(damaged.reason.contains(reason) && !damaged.reason.contains("hunter"), "{name} {text}: {damaged:?}");
        assert_eq!(fs::read_to_string(&path).expect("there"), text);
    };
    check("env.json", "", "EOF");
    check("env.json", "{}", "missing field");
    check("env.json", r#"{"schema":2}"#, "a newer version wrote it (schema 2; this version supports 1)");
    check("env.json", r#"{"schema":1}"#, "missing field");
    check("repo.url", "", "");
    check("repo.url", "--upload-pack=evil", "");
    check("repo.url", "https://me:hunter2@example.org/repo", "");
    check("default_branch", "", "");
    check("default_branch", "-x", "");
    check("default_branch", "a..b", "");
    check("secrets.json", "", "its format is invalid");
    check("secrets.json", r#"{"schema":1,"secrets":{"TOKEN":"hunter2"}"#, "its format is invalid");
    check("secrets.json", r#"{"schema":1,"secrets":{"hunter 2":"x"}}"#, "its format is invalid");
    check("secrets.json", r#"{"schema":1,"secrets":"hunter2"}"#, "its format is invalid");
}

#[test]
fn a_file_that_is_a_folder_is_named() {
    for name in ["env.json", "repo.url", "default_branch", "secrets.json"] {
        let (_folder, home) = home();
        home.put_environment(&environment(1)).expect("written");
        let path = home.layout.environment(env_id(1)).join(name);
        block(&path);
        let found = home.read_environments().expect("read");
        assert!(found.records.is_empty(), "{name}");
        assert_eq!(found.damaged[0].path, path.display().to_string());
        home.put_environment(&environment(1)).expect_err("the folder is not replaced");
        assert_no_temporary_file(&home.layout.environment(env_id(1)));
    }
}

#[test]
fn a_missing_url_is_reported_and_a_missing_branch_is_not() {
    let (_folder, home) = home();
    home.put_environment(&environment(1)).expect("written");
    let folder = home.layout.environment(env_id(1));
    fs::remove_file(folder.join("default_branch")).expect("removed");
    assert_eq!(home.read_environments().expect("read").records[0].default_branch, None);
    fs::remove_file(folder.join("repo.url")).expect("removed");
    let found = home.read_environments().expect("read");
    assert!(found.damaged[0].path.ends_with("repo.url"), "{found:?}");
}

#[test]
fn a_record_in_the_folder_of_another_repository_is_damaged() {
    let (_folder, home) = home();
    home.put_environment(&environment(1)).expect("written");
    let copy = home.layout.environment(env_id(2));
    fs::rename(home.layout.environment(env_id(1)), &copy).expect("moved");
    let found = home.read_environments().expect("read");
    assert!(found.records.is_empty());
    let expect = format!("it belongs to another repository, {}", env_id(1));
    assert_eq!((found.damaged[0].id.clone(), found.damaged[0].reason.clone()), (env_id(2).to_string(), expect));
}

#[test]
fn a_folder_without_a_record_is_not_a_repository() {
    let (_folder, home) = home();
    fs::create_dir_all(home.layout.mirror(env_id(1))).expect("made");
    fs::write(home.layout.environments().join("file"), "").expect("written");
    let found = home.read_environments().expect("read");
    assert!(found.records.is_empty() && found.damaged.is_empty(), "{found:?}");
}

#[test]
fn secrets_of_an_earlier_version_are_read() {
    let (_folder, home) = home();
    home.put_environment(&environment(1)).expect("written");
    fs::write(home.layout.secrets(env_id(1)), r#"{"schema":1,"secrets":{"A":"1"}}"#).expect("written");
    let record = home.read_environments().expect("read").records.remove(0);
    assert_eq!(record.secrets.into_values().collect::<Vec<_>>(), [Secret::new("1")]);
    assert_eq!((record.former_secrets, record.forge_token), (vec![], None));
}
