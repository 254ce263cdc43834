//! `config.toml` as a whole: where it is, its tables, and how an error in it reads.

use super::*;

fn message(toml: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let problem = load(folder.path(), toml, &[], &Overrides::default()).expect_err(toml);
    assert_eq!(problem.report.code, model::ErrorCode::ConfigUnusable);
    let home = folder.path().display().to_string();
    let hints = problem.report.hints.join(" | ");
    format!("{} | {hints}", problem.report.message).replace(&home, "HOME")
}

fn home_without_a_file() -> (tempfile::TempDir, BTreeMap<OsString, OsString>) {
    let folder = tempfile::tempdir().expect("a folder");
    let variables = [("ORCH_HOME".into(), folder.path().into())].into_iter().collect();
    (folder, variables)
}

#[test]
fn a_missing_file_or_home_means_the_defaults() {
    let (folder, variables) = home_without_a_file();
    let config = Config::from_environment(&Overrides::default(), variables).expect("valid");
    assert_eq!(config.run_time_limit, Duration::from_hours(2));
    let missing = Overrides { home: Some(folder.path().join("not/yet")), ..Overrides::default() };
    let config = Config::from_environment(&missing, BTreeMap::new()).expect("the home is created later");
    assert_eq!(config.home, folder.path().join("not/yet"));
    fs_err::write(folder.path().join("file"), "").expect("written");
    let below_a_file = Overrides { home: Some(folder.path().join("file")), ..Overrides::default() };
    Config::from_environment(&below_a_file, BTreeMap::new()).expect("the home reports this itself when it is opened");
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_and_not_the_defaults() {
    let (folder, variables) = home_without_a_file();
    let path = folder.path().join("config.toml");
    fs_err::create_dir(&path).expect("made");
    let problem = Config::from_environment(&Overrides::default(), variables.clone()).expect_err("a folder");
    assert!(problem.report.message.starts_with(&format!("could not read `{}`", path.display())), "{problem:?}");
    fs_err::remove_dir(&path).expect("removed");
    fs_err::write(&path, b"image = \"\xff\"").expect("written");
    let problem = Config::from_environment(&Overrides::default(), variables).expect_err("not UTF-8");
    assert!(problem.report.message.starts_with("could not read"), "{problem:?}");
}

#[test]
fn a_file_that_is_not_toml_is_reported_with_the_line() {
    let check = |toml: &str, line: usize| {
        let found = message(toml);
        assert!(found.starts_with(&format!("`HOME/config.toml` is not valid TOML: line {line}: ")), "{toml}: {found}");
        assert!(found.ends_with("print a sample with all settings: codex-orchestrator config sample"), "{found}");
    };
    check("listen", 1);
    check("image = \"a\"\nlisten = 127.0.0.1", 2);
    check("image = \"a\"\n\n\nimage = \"b\"", 4);
    check("[notify]\n[notify]", 2);
    check("image = \"a", 1);
    check("{}", 1);
}

#[test]
fn the_same_setting_can_be_written_as_a_table_or_with_dots() {
    let folder = tempfile::tempdir().expect("a folder");
    let url =
        |toml: &str| load(folder.path(), toml, &[], &Overrides::default()).expect(toml).notices.ntfy_url.unwrap_or_default();
    for toml in [
        "[notify]\nntfy_url = \"https://n.example/x\"",
        "notify.ntfy_url = \"https://n.example/x\"",
        "notify = { ntfy_url = \"https://n.example/x\" }",
        "[ notify ]\n\"ntfy_url\" = '''https://n.example/x'''",
        "\u{feff}[notify]\nntfy_url = \"https://n.example/x\"",
        "# a comment\r\n[notify]\r\nntfy_url = \"https://n.example/x\"\r\n",
    ] {
        assert_eq!(url(toml), "https://n.example/x", "{toml}");
    }
}

#[test]
fn an_unknown_setting_is_named_with_its_table() {
    let check = |toml: &str, name: &str, hint: Option<&str>| {
        let found = message(toml);
        assert!(found.starts_with(&format!("unknown setting `{name}` in `HOME/config.toml` | ")), "{toml}: {found}");
        let hint = hint.map(|key| format!("did you mean `{key}`?"));
        assert_eq!(found.contains("did you mean"), hint.is_some(), "{found}");
        assert!(hint.is_none_or(|hint| found.contains(&hint)), "{found}");
    };
    check("lsten = \"off\"", "lsten", Some("listen"));
    check("Listen = \"off\"", "Listen", Some("listen"));
    check("[notify]\nntfi_url = \"x\"", "notify.ntfi_url", Some("notify.ntfy_url"));
    check("[notify.quiet_hours]\nform = \"22:00\"", "notify.quiet_hours.form", Some("notify.quiet_hours.from"));
    check("completely_different = 1", "completely_different", None);
    check("[server]\nlisten = \"off\"", "server", None);
    check("ORCH_HOME = \"/x\"", "ORCH_HOME", None);
    check("home = \"/x\"", "home", Some("codex_home"));
}

#[test]
fn a_value_of_another_type_is_shown_as_it_is_written() {
    let check = |toml: &str, expect: &str| {
        let found = message(toml);
        assert!(found.starts_with(expect), "{toml}: {found}");
    };
    check("run_time_limit = 5", "invalid duration `5` for `run_time_limit` | use a form like 30s, 5m or 2h");
    check("broker = \"off\"", "invalid boolean `off` for `broker` | use true or false, without quotes");
    check("trash_days = true", "invalid number of days `true` for `trash_days` | use a whole number, e.g. 30");
    check("prune_days = 1", "invalid number of days `1` for `prune_days` | use 14 or more days");
    check("max_parallel_runs = 10001", "invalid number `10001` for `max_parallel_runs` | use a number from 1 to 10000");
    check("worker = [\"a\"]", "invalid string `[\"a\"]` for `worker` | use a string in quotes");
    check("allowed_hosts = \"a\"", "invalid list of strings `a` for `allowed_hosts` | use a list of strings");
    check("codex_home = 7", "invalid path `7` for `codex_home` | use a path in quotes");
    check("free_space_floor = \"1 cup\"", "invalid size `1 cup` for `free_space_floor` | use a form like 512m or 4g");
    check(
        "container_program = [\"x\"]",
        "invalid list of strings `[\"x\"]` for `container_program` | start with the absolute path",
    );
    check("model_url = 1", "invalid URL `1` for `model_url` | use a URL in quotes");
}

#[test]
fn a_long_or_strange_value_is_shortened_and_made_harmless() {
    let long = message(&format!("run_time_limit = \"{}\"", "x".repeat(61)));
    assert!(long.starts_with(&format!("invalid duration `{}` for", "x".repeat(60))), "{long}");
    let escape = message("run_time_limit = \"\\u001b[31m5\\n\"");
    assert!(escape.starts_with("invalid duration `[31m5` for") && !escape.contains('\u{1b}'), "{escape:?}");
}

#[test]
fn a_secret_is_never_part_of_an_error() {
    let check = |toml: &str, name: &str| {
        let found = message(toml);
        assert!(found.contains(name) && !found.contains("hunter"), "{toml}: {found}");
    };
    check("github_token = [\"hunter2\"]", "invalid secret for `github_token`");
    check("[notify]\nwebhook_secret = [\"hunter2\"]", "invalid secret for `notify.webhook_secret`");
}

#[test]
fn the_first_invalid_setting_is_reported_and_a_flag_hides_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let flag = Overrides { listen: Some("off".to_owned()), ..Overrides::default() };
    load(folder.path(), "listen = \"nonsense\"", &[], &flag).expect("the value in the file is not used");
    load(folder.path(), "max_parallel_runs = 0", &[("ORCH_MAX_PARALLEL_RUNS", "3")], &flag).expect("not used either");
    load(folder.path(), "", &[("ORCH_WORKER", "host"), ("ORCH_LISTEN", "nonsense")], &Overrides::default()).expect_err("used");
}

#[test]
fn secret_values_are_those_that_workers_could_print() {
    let folder = tempfile::tempdir().expect("a folder");
    let of = |toml: &str, variables: &[(&str, &str)]| {
        load(folder.path(), toml, variables, &Overrides::default()).expect("valid").secret_values()
    };
    assert_eq!(of("", &[("PATH", "/bin"), ("NPM_TOKEN", "n")]), [""; 0]);
    assert_eq!(of("pass_environment = [\"NPM_TOKEN\", \"MISSING\"]", &[("NPM_TOKEN", "n")]), ["n"]);
    let known = [("CODEX_API_KEY", "a"), ("CODEX_ACCESS_TOKEN", "b"), ("OPENAI_API_KEY", "c"), ("ORCH_GITHUB_TOKEN", "d")];
    assert_eq!(of("github_token = \"file\"", &known), ["a", "b", "c", "d"]);
    assert_eq!(of("github_token = \"file\"", &[]), ["file"]);
}

#[test]
fn the_environment_is_kept_for_workers() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = load(folder.path(), "", &[("A", "1"), ("EMPTY", "")], &Overrides::default()).expect("valid");
    let of = |name: &str| config.environment.get(OsStr::new(name)).and_then(|value| value.to_str());
    assert_eq!((of("A"), of("EMPTY"), of("MISSING")), (Some("1"), Some(""), None));
}

#[test]
fn a_local_address_shares_no_cookies_with_other_ports() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |listen: &str, hosts: &str, expect: &[&str]| {
        let toml = format!("listen = \"{listen}\"\nallowed_hosts = [{hosts}]");
        let found = load(folder.path(), &toml, &[], &Overrides::default()).expect("valid").names_for_every_port();
        assert_eq!(found, expect, "{toml}");
    };
    check("off", "", &[]);
    check("127.0.0.1:1", "", &[]);
    check("127.9.9.9:1", "", &[]);
    check("[::1]:1", "", &[]);
    check("[::]:1", "", &[]);
    check("[::ffff:127.0.0.1]:1", "", &[]);
    check("[::ffff:10.0.0.7]:1", "", &["10.0.0.7"]);
    check("[fd00::1]:1", "", &["fd00::1"]);
    check("off", "\"localhost\", \"127.0.0.1:1\", \"x.localhost:1\"", &[]);
    check("off", "\"box.lan:1\", \"box.lan:x\"", &["box.lan", "box.lan:x"]);
}
