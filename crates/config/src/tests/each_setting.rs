//! Each setting: its default, its value in the file, in a variable and in a flag, and what is refused.
//!
//! `Debug` of a [`Config`] shows every field, so a setting that changes a second field is noticed.

use std::os::unix::ffi::OsStringExt as _;

use model::notice::NoticeGroup;

use super::*;

/// Returns the fields that a file changes, as `Debug` shows them.
fn changed_by(toml: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let shown = |toml: &str| {
        let config = load(folder.path(), toml, &[], &Overrides::default()).expect(toml);
        let config = Config { home: "/home".into(), environment: BTreeMap::new(), ..config };
        format!("{config:#?}").replace(&folder.path().display().to_string(), "/home")
    };
    let (before, after) = (shown(""), shown(toml));
    // Only fields at the first level count, with everything below them.
    let fields = |text: &str| {
        let mut fields: Vec<String> = vec![];
        for line in text.lines().skip(1) {
            let is_field = line.strip_prefix("    ").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
            match fields.last_mut() {
                Some(last) if !is_field => last.push_str(line.trim()),
                Some(_) | None => fields.push(line.trim().to_owned()),
            }
        }
        fields
    };
    let before = fields(&before);
    fields(&after).into_iter().filter(|field| !before.contains(field)).collect()
}

#[test]
fn each_setting_of_the_file_changes_its_own_field_and_no_other() {
    let check = |toml: &str, field: &str| {
        let changed = changed_by(toml);
        assert!(matches!(&changed[..], [one] if one.starts_with(&format!("{field}: "))), "{toml}: {changed:?}");
    };
    check("listen = \"off\"", "listen");
    check("allowed_hosts = [\"box.lan\"]", "allowed_hosts");
    check("worker = \"host\"", "worker");
    check("codex_home = \"/srv/codex\"", "codex_home");
    check("image = \"x:1\"", "image");
    check("model_url = \"http://127.0.0.1:1/v1\"", "model_url");
    check("broker = false", "broker");
    check("driver = \"exec\"", "driver");
    check("codex_config = \"/etc/codex.toml\"", "codex_config");
    check("container_program = [\"/bin/x\"]", "container_program");
    check("pass_environment = [\"A\"]", "pass_environment");
    check("max_parallel_runs = 9999", "max_parallel_runs");
    check("free_space_floor = \"2g\"", "free_space_floor");
    check("resume_interrupted = true", "resume_interrupted");
    check("run_time_limit = \"1s\"", "run_time_limit");
    check("turn_end_grace = \"1s\"", "turn_end_grace");
    check("stop_grace = \"1s\"", "stop_grace");
    check("github_token = \"t\"", "github_token");
    check("github_repo = \"me/app\"", "github_project");
    check("github_api_url = \"https://ghe.example/api/v3\"", "github_api_url");
    check("forge_poll_interval = \"1s\"", "forge_poll_interval");
    check("clone_time_limit = \"1s\"", "clone_time_limit");
    check("fetch_time_limit = \"1s\"", "fetch_time_limit");
    check("push_time_limit = \"1s\"", "push_time_limit");
    check("snapshot_limit = \"1g\"", "snapshot_limit");
    check("trash_days = 1", "trash_time");
    check("prune_days = 15", "prune_time");
    check("[notify]\nntfy_url = \"https://ntfy.example/x\"", "notices");
    check("[notify]\nntfy_plain_http = true", "notices");
    check("[notify]\nwebhook_url = \"https://hook.example/x\"", "notices");
    check("[notify]\nwebhook_secret = \"hush\"", "notices");
    check("[notify]\nwebhook_plain_http = true", "notices");
    check("[notify]\npublic_url = \"https://box.example\"", "notices");
    check("[notify]\ntell = []", "notices");
    check("[notify.quiet_hours]\nfrom = \"22:00\"\nto = \"07:00\"\nzone = \"UTC\"", "notices");
}

#[test]
fn a_value_that_equals_the_default_changes_nothing() {
    let check = |toml: &str| assert_eq!(changed_by(toml), [""; 0], "{toml}");
    check("listen = \"127.0.0.1:8080\"");
    check("broker = true");
    check("run_time_limit = \"120m\"");
    check("free_space_floor = \"1024m\"");
    check("snapshot_limit = \"20g\"");
    check("trash_days = 30");
    check("[notify]");
    check("[notify.quiet_hours]");
}

#[test]
fn a_variable_overrides_the_file_for_every_setting_that_has_one() {
    let check = |variable: &str, value: &str, toml: &str, found: fn(&Config) -> String, expect: [&str; 2]| {
        let folder = tempfile::tempdir().expect("a folder");
        let with =
            |variables: &[(&str, &str)]| found(&load(folder.path(), toml, variables, &Overrides::default()).expect(variable));
        assert_eq!([with(&[]), with(&[(variable, value)])], expect, "{variable}");
        assert_eq!(with(&[(variable, "")]), expect[0], "{variable} is empty");
    };
    let listen = |config: &Config| format!("{:?}", config.listen);
    check("ORCH_LISTEN", "off", "listen = \"[::1]:1\"", listen, ["Some([::1]:1)", "None"]);
    let worker = |config: &Config| config.worker.clone().unwrap_or_default();
    check("ORCH_WORKER", "/bin/b", "worker = \"/bin/a\"", worker, ["/bin/a", "/bin/b"]);
    let codex_home = |config: &Config| config.codex_home.clone().unwrap_or_default().display().to_string();
    check("CODEX_HOME", "/b", "codex_home = \"/a\"", codex_home, ["/a", "/b"]);
    let image = |config: &Config| config.image.clone().unwrap_or_default();
    check("IMAGE_NAME", "b:1", "image = \"a:1\"", image, ["a:1", "b:1"]);
    let model_url = |config: &Config| config.model_url.clone().unwrap_or_default();
    check("CODEX_DOCKER_MODEL_URL", "http://b", "model_url = \"http://a\"", model_url, ["http://a", "http://b"]);
    let driver = |config: &Config| config.driver.as_str().to_owned();
    check("ORCH_DRIVER", "app-server", "driver = \"exec\"", driver, ["exec", "app-server"]);
    let most = |config: &Config| config.max_parallel_runs.to_string();
    check("ORCH_MAX_PARALLEL_RUNS", " 10000 ", "max_parallel_runs = 1", most, ["1", "10000"]);
    let floor = |config: &Config| config.free_space_floor.to_string();
    check("ORCH_FREE_SPACE_FLOOR", "3k", "free_space_floor = \"2k\"", floor, ["2048", "3072"]);
    let prepared = |config: &Config| config.prepared_worktrees.to_string();
    check("ORCH_PREPARED_WORKTREES", "3", "prepared_worktrees = 1", prepared, ["1", "3"]);
    let memory = |config: &Config| format!("{:?}", config.memory_for_runs);
    check("ORCH_MEMORY_FOR_RUNS", "3k", "memory_for_runs = \"2k\"", memory, ["Some(2048)", "Some(3072)"]);
    let token = |config: &Config| config.github_token.as_ref().map_or("", |token| token.expose()).to_owned();
    check("ORCH_GITHUB_TOKEN", "b", "github_token = \"a\"", token, ["a", "b"]);
    let project = |config: &Config| config.github_project.as_ref().map_or("", |project| project.as_str()).to_owned();
    check("ORCH_GITHUB_REPO", "b/b", "github_repo = \"a/a\"", project, ["a/a", "b/b"]);
    let api = |config: &Config| config.github_api_url.as_ref().map_or("", |url| url.as_str()).to_owned();
    check("ORCH_GITHUB_API_URL", "https://b", "github_api_url = \"https://a\"", api, ["https://a", "https://b"]);
}

#[test]
fn the_list_of_variables_above_is_complete() {
    let known = keyed().filter_map(|(_, _, setting)| setting.variable).count();
    assert_eq!(known, 13, "add the new variable to the test above");
}

#[test]
fn settings_without_a_variable_cannot_be_set_by_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let variables =
        [("ORCH_BROKER", "false"), ("ORCH_STOP_GRACE", "1s"), ("ORCH_TRASH_DAYS", "1"), ("ORCH_NOTIFY_NTFY_URL", "x")];
    let config = load(folder.path(), "", &variables, &Overrides::default()).expect("unknown variables are ignored");
    assert_eq!((config.broker, config.stop_grace, config.trash_time), (Broker::On, Duration::from_secs(10), 30 * DAY));
    assert_eq!(config.notices, NoticeSettings::default());
}

#[test]
fn numbers_are_accepted_up_to_their_limits() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |toml: &str, is_valid: bool| {
        let found = load(folder.path(), toml, &[], &Overrides::default());
        assert_eq!(found.is_ok(), is_valid, "{toml}: {:?}", found.err());
    };
    check("max_parallel_runs = 0", false);
    check("max_parallel_runs = 1", true);
    check("max_parallel_runs = 10000", true);
    check("max_parallel_runs = 10001", false);
    check("max_parallel_runs = -1", false);
    check("max_parallel_runs = 1.0", false);
    check("max_parallel_runs = \"4\"", false);
    check("prune_days = 13", false);
    check("prune_days = 14", true);
    check("prune_days = 4294967295", true);
    check("prune_days = 4294967296", false);
    check("trash_days = 0", true);
    check("trash_days = -1", false);
    check("trash_days = 4294967295", true);
    check("trash_days = 9223372036854775807", false);
    check("trash_days = \"30d\"", false);
}

#[test]
fn an_address_is_an_ip_address_with_a_port_or_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |text: &str, expect: Option<&str>| {
        let found = load(folder.path(), &format!("listen = \"{text}\""), &[], &Overrides::default());
        let found = found.ok().map(|config| config.listen.map_or("off".to_owned(), |address| address.to_string()));
        assert_eq!(found.as_deref(), expect, "{text}");
    };
    check("off", Some("off"));
    check("0.0.0.0:0", Some("0.0.0.0:0"));
    check("[::]:65535", Some("[::]:65535"));
    check("127.0.0.1:65536", None);
    check("localhost:8080", None);
    check("127.0.0.1", None);
    check("::1:80", None);
    check("OFF", None);
    check("http://127.0.0.1:80", None);
}

#[test]
fn sizes_and_durations_need_their_unit() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |toml: &str, is_valid: bool| {
        let found = load(folder.path(), toml, &[], &Overrides::default());
        assert_eq!(found.is_ok(), is_valid, "{toml}");
    };
    check("free_space_floor = \"0\"", true);
    check("free_space_floor = \"1x\"", false);
    check("free_space_floor = \"-1g\"", false);
    check("free_space_floor = \"99999999999999999999g\"", false);
    check("free_space_floor = 1", false);
    check("run_time_limit = 3600", false);
    check("run_time_limit = \"3600\"", false);
    check("run_time_limit = \"0s\"", false);
    check("run_time_limit = \"1ms\"", true);
    check("run_time_limit = \"1d\"", false);
    check("run_time_limit = \"24h\"", true);
}

#[test]
fn a_path_in_a_variable_can_be_any_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = OsString::from_vec(b"/srv/\xff".to_vec());
    let variables = [("ORCH_HOME".into(), folder.path().into()), ("CODEX_HOME".into(), path.clone())];
    let config = Config::from_environment(&Overrides::default(), variables.into_iter().collect()).expect("valid");
    assert_eq!(config.codex_home, Some(PathBuf::from(path)));
}

#[test]
fn a_relative_codex_config_is_below_the_home_and_an_absolute_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let of = |path: &str| {
        let toml = format!("codex_config = \"{path}\"");
        load(folder.path(), &toml, &[], &Overrides::default()).expect("valid").codex_config.expect("set")
    };
    assert_eq!(of("a/b.toml"), folder.path().join("a/b.toml"));
    assert_eq!(of("/etc/b.toml"), Path::new("/etc/b.toml"));
}

#[test]
fn a_flag_overrides_a_variable_unless_it_is_empty() {
    let folder = tempfile::tempdir().expect("a folder");
    let variables = [("ORCH_LISTEN", "127.0.0.1:2"), ("ORCH_WORKER", "variable")];
    let check = |listen: Option<&str>, worker: Option<&str>, expect: (&str, &str)| {
        let flags = Overrides { home: None, listen: listen.map(str::to_owned), worker: worker.map(str::to_owned) };
        let config = load(folder.path(), "worker = \"file\"", &variables, &flags).expect("valid");
        let listen = config.listen.map(|address| address.port().to_string()).unwrap_or_default();
        assert_eq!((listen.as_str(), config.worker.as_deref()), (expect.0, Some(expect.1)), "{flags:?}");
    };
    check(None, None, ("2", "variable"));
    check(Some("127.0.0.1:3"), Some("flag"), ("3", "flag"));
    check(Some(""), Some(""), ("2", "variable"));
}

#[test]
fn the_home_comes_from_the_flag_the_variable_or_the_user() {
    let check = |flag: Option<&str>, variable: Option<&str>, user: Option<&str>, expect: Option<&str>| {
        let (variable, user) = (variable.map(OsString::from), user.map(OsString::from));
        let found = home_path(flag.map(Path::new), variable.as_ref(), user.as_ref());
        assert_eq!(found.ok().as_deref(), expect.map(Path::new), "{flag:?} {variable:?} {user:?}");
    };
    check(Some("/flag"), Some("/variable"), Some("/user"), Some("/flag"));
    check(None, Some("/variable"), Some("/user"), Some("/variable"));
    check(None, None, Some("/user"), Some("/user/.codex-orchestrator"));
    check(None, None, None, None);
    check(Some(""), None, Some("/user"), None);
    let here = std::env::current_dir().expect("a folder");
    let relative = home_path(Some(Path::new("a/../b")), None, None).expect("a path");
    assert!(relative.is_absolute() && relative.starts_with(here), "{}", relative.display());
}

#[test]
fn a_notification_setting_of_the_file_has_its_own_type() {
    let folder = tempfile::tempdir().expect("a folder");
    let notices = |toml: &str| load(folder.path(), toml, &[], &Overrides::default()).map(|config| config.notices);
    let tell = notices("[notify]\ntell = [\"failed\", \"needs_you\", \"failed\"]").expect("valid").tell;
    assert_eq!(tell, Some([NoticeGroup::Failed, NoticeGroup::NeedsYou].into()));
    assert_eq!(notices("[notify]\ntell = []").expect("valid").tell, Some([].into()), "an empty list turns off everything");
    assert_eq!(notices("[notify]\nntfy_plain_http = false").expect("valid").ntfy_plain_http, Some(false));
    for bad in ["ntfy_plain_http = \"yes\"", "tell = \"failed\"", "ntfy_url = 7", "webhook_secret = [\"a\"]", "tell = [7]"] {
        notices(&format!("[notify]\n{bad}")).expect_err(bad);
    }
}

#[test]
fn plain_http_is_checked_with_the_setting_that_allows_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |toml: &str, expect: Result<(), &str>| {
        let found = load(folder.path(), &format!("[notify]\n{toml}"), &[], &Overrides::default());
        match (found, expect) {
            (Ok(_), Ok(())) => {}
            (Err(problem), Err(name)) => assert!(problem.report.message.starts_with(name), "{problem:?}"),
            (found, _) => panic!("{toml}: {found:?}"),
        }
    };
    check("ntfy_url = \"http://127.0.0.1/x\"", Ok(()));
    check("ntfy_url = \"http://ntfy.lan/x\"", Err("`notify.ntfy_url` must start with https://"));
    check("ntfy_url = \"http://ntfy.lan/x\"\nntfy_plain_http = true", Ok(()));
    check("ntfy_url = \"http://ntfy.lan/x\"\nwebhook_plain_http = true", Err("`notify.ntfy_url` must start with https://"));
    check("webhook_url = \"http://hook.lan/x\"\nwebhook_plain_http = true", Ok(()));
    check("webhook_secret = \"x\"", Ok(()));
    check("public_url = \"box\"", Err("`notify.public_url` is not an http or https URL"));
}

#[test]
fn quiet_hours_are_complete_or_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |toml: &str, expect: Option<&str>| {
        let found = load(folder.path(), &format!("[notify.quiet_hours]\n{toml}"), &[], &Overrides::default());
        let shown = found
            .ok()
            .and_then(|config| config.notices.quiet_hours)
            .map(|hours| format!("{}-{} {}", hours.from(), hours.to(), hours.zone()));
        assert_eq!(shown.as_deref(), expect, "{toml}");
    };
    check("from = \"22:00\"\nto = \"07:00\"\nzone = \"Europe/Berlin\"", Some("22:00-07:00 Europe/Berlin"));
    check("from = \"9:5\"\nto = \"23:59\"\nzone = \"UTC\"\nlet_through = [\"failed\"]", Some("09:05-23:59 UTC"));
    check("from = \"22:00\"\nto = \"22:00\"\nzone = \"UTC\"", None);
    check("from = \"24:00\"\nto = \"07:00\"\nzone = \"UTC\"", None);
    check("to = \"07:00\"\nzone = \"UTC\"", None);
    check("from = \"22:00\"\nto = \"07:00\"", None);
    check("zone = \"UTC\"", None);
    check("from = 22\nto = \"07:00\"\nzone = \"UTC\"", None);
    check("from = \"22:00\"\nto = \"07:00\"\nzone = \"UTC\"\nlet_through = [\"all\"]", None);
}
