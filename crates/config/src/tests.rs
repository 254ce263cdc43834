//! Tests of reading all settings together: precedence, derived values and errors.
//!
//! The environment of this process plays no part.

mod each_setting;
mod file;

use super::*;

fn load(folder: &Path, toml: &str, environment: &[(&str, &str)], overrides: &Overrides) -> Result<Config, Problem> {
    fs_err::write(folder.join("config.toml"), toml).expect("written");
    let mut variables: BTreeMap<OsString, OsString> =
        environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
    variables.insert("ORCH_HOME".into(), folder.into());
    Config::from_environment(overrides, variables)
}

#[test]
fn flags_override_variables_and_those_override_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let toml = "worker = \"file\"\nlisten = \"127.0.0.1:1\"\nrun_time_limit = \"90m\"";
    let all = load(folder.path(), toml, &[("ORCH_WORKER", "variable")], &Overrides::default()).expect("valid");
    assert_eq!((all.worker.as_deref(), all.run_time_limit), (Some("variable"), Duration::from_mins(90)));
    assert_eq!(all.listen, Some(SocketAddr::from(([127, 0, 0, 1], 1))));
    let flag = Overrides { worker: Some("flag".to_owned()), listen: Some("off".to_owned()), home: None };
    let flagged = load(folder.path(), toml, &[("ORCH_WORKER", "variable")], &flag).expect("valid");
    assert_eq!((flagged.worker.as_deref(), flagged.listen), (Some("flag"), None));
}

#[test]
fn host_names_whose_cookies_other_ports_get_are_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let names = |toml: &str| load(folder.path(), toml, &[], &Overrides::default()).expect("valid").names_for_every_port();
    assert_eq!(names(""), [""; 0]);
    assert_eq!(names("listen = \"0.0.0.0:80\"\nallowed_hosts = [\"localhost:9000\", \"[::1]:9000\", \"a.localhost\"]"), [""; 0]);
    assert_eq!(
        names("listen = \"10.0.0.7:8080\"\nallowed_hosts = [\"box.lan:8080\", \"[fd00::1]\"]"),
        ["10.0.0.7", "box.lan", "[fd00::1]"]
    );
    let public = "allowed_hosts = [\"Box.example\", \"b.example\"]\n[notify]\npublic_url = \"https://box.example:8443/x\"";
    assert_eq!(names(public), ["b.example"]);
    assert_eq!(names("allowed_hosts = [\"box.lan\"]\n[notify]\npublic_url = \"http://box.lan\""), ["box.lan"]);
}

#[test]
fn the_default_home_is_the_users() {
    let home = home_path(None, None, Some(&OsString::from("/home/me"))).expect("HOME is set");
    assert_eq!(home, Path::new("/home/me/.codex-orchestrator"));
    assert!(home_path(None, None, None).is_err());
}

#[test]
fn an_invalid_setting_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    for (toml, named) in [
        ("wroker = \"host\"", "wroker"),
        ("[notify]\nntfy = \"https://ntfy.sh/x\"", "notify.ntfy"),
        ("stop_grace = \"soon\"", "stop_grace"),
        ("stop_grace = \"0s\"", "stop_grace"),
        ("listen = \"8080\"", "8080"),
        ("max_parallel_runs = 0", "0"),
        ("free_space_floor = \"some\"", "free_space_floor"),
        ("prune_days = 13", "prune_days"),
        ("listen = ", "line 1"),
        ("broker = \"yes\"", "broker"),
        ("driver = \"fast\"", "fast"),
        ("[notify.quiet_hours]\nfrom = \"22:00\"", "quiet hours"),
        ("[notify]\nntfy_url = \"ntfy.sh/topic\"", "ntfy_url"),
        ("[notify]\ntell = [\"all\"]", "all"),
        ("[notify.quiet_hours]\nfrom = \"22:00\"\nto = \"07:00\"\nzone = \"Mars/Olympus\"", "Mars/Olympus"),
        ("container_program = []", "container_program"),
        ("container_program = [\"codex-docker\"]", "container_program"),
    ] {
        let problem = load(folder.path(), toml, &[], &Overrides::default()).expect_err(toml);
        assert!(problem.report.message.contains(named) && problem.report.code == model::ErrorCode::ConfigUnusable, "{problem:?}");
    }
}

#[test]
fn an_unknown_setting_is_refused_with_the_nearest_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let problem = load(folder.path(), "stop_grase = \"5s\"", &[], &Overrides::default()).expect_err("no such setting");
    let path = folder.path().join("config.toml").display().to_string();
    assert_eq!(problem.report.message, format!("unknown setting `stop_grase` in `{path}`"));
    assert_eq!(problem.report.hints[0], "did you mean `stop_grace`?");
}

#[test]
fn an_invalid_value_is_named_as_it_was_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |toml: &str, variables: &[(&str, &str)], overrides: &Overrides, expect: &str| {
        let problem = load(folder.path(), toml, variables, overrides).expect_err(expect);
        assert_eq!((problem.report.code.as_str(), problem.report.message.as_str()), ("config_unusable", expect));
    };
    let none = Overrides::default();
    check("run_time_limit = \"5x\"", &[], &none, "invalid duration `5x` for `run_time_limit`");
    check("", &[("ORCH_MAX_PARALLEL_RUNS", "lots")], &none, "invalid number `lots` for `ORCH_MAX_PARALLEL_RUNS`");
    let flag = Overrides { listen: Some("8080".to_owned()), ..Overrides::default() };
    check("", &[], &flag, "invalid address `8080` for `--listen`");
    check("[notify]\ntell = [\"all\"]", &[], &none, "invalid list of strings `[\"all\"]` for `notify.tell`");
}

#[test]
fn an_empty_string_means_that_a_setting_is_not_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = load(folder.path(), "image = \"\"\nstop_grace = \"\"", &[("ORCH_LISTEN", "")], &Overrides::default());
    let empty = empty.expect("valid");
    assert_eq!((empty.image, empty.stop_grace), (None, Duration::from_secs(10)));
    assert_eq!(empty.listen, Some(SocketAddr::from(([127, 0, 0, 1], 8080))));
}

#[test]
fn every_default_is_valid_and_complete() {
    let config = Config::for_home(Path::new("/home"));
    assert_eq!(config.listen, Some(SocketAddr::from(([127, 0, 0, 1], 8080))));
    assert_eq!(config.container_program, [THIS_PROGRAM, "codex-docker"]);
    assert_eq!((config.trash_time, config.prune_time), (30 * DAY, 14 * DAY));
    assert_eq!((config.run_time_limit, config.clone_time_limit), (Duration::from_hours(2), Duration::from_hours(1)));
    assert_eq!((config.fetch_time_limit, config.push_time_limit), (Duration::from_mins(5), Duration::from_mins(10)));
    assert_eq!((config.turn_end_grace, config.stop_grace), (Duration::from_secs(10), Duration::from_secs(10)));
    assert_eq!(config.forge_poll_interval, model::publication::follow::TICK);
    assert_eq!((config.free_space_floor, config.broker), (1 << 30, Broker::On));
    assert!(config.max_parallel_runs >= 2 && !config.resume_interrupted);
}

#[test]
fn by_default_this_program_runs_containers_and_the_key_stays_outside() {
    let folder = tempfile::tempdir().expect("a folder");
    let plain = load(folder.path(), "", &[], &Overrides::default()).expect("valid");
    assert_eq!(plain.container_program, ["/proc/self/exe", "codex-docker"]);
    assert_eq!((plain.broker, plain.image, plain.model_url), (Broker::On, None, None));
    let toml = "broker = false\nimage = \"file:1\"\nmodel_url = \"http://m/v1\"\ncodex_config = \"codex.toml\"";
    let set = load(folder.path(), toml, &[("IMAGE_NAME", "variable:1")], &Overrides::default()).expect("valid");
    assert_eq!(
        (set.broker, set.image.as_deref(), set.model_url.as_deref()),
        (Broker::Off, Some("variable:1"), Some("http://m/v1"))
    );
    assert_eq!(set.codex_config, Some(folder.path().join("codex.toml")));
}

#[test]
fn variables_that_are_passed_on_are_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = load(
        folder.path(),
        "pass_environment = [\"MY_TOKEN\"]",
        &[("MY_TOKEN", "t1"), ("CODEX_API_KEY", "k1"), ("OTHER", "x")],
        &Overrides::default(),
    );
    assert_eq!(config.expect("valid").secret_values(), ["k1", "t1"]);
}
