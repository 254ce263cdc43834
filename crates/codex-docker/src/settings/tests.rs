//! Tests for the environment variables that callers rely on.
//! A failure here means that a user's script may break.

use proptest::prelude::*;

use super::*;

fn caller() -> Caller {
    Caller { folder: PathBuf::from("/home/me/app"), uid: 1000, gid: 1000 }
}

fn read(pairs: &[(&str, &str)]) -> Result<Settings, Failure> {
    let mut environment: BTreeMap<String, String> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    environment.entry("HOME".to_owned()).or_insert("/home/nobody-there".to_owned());
    Settings::read(&environment, caller())
}

#[test]
fn by_hand_the_folder_is_mounted_under_its_name_with_nothing_of_the_callers_environment() {
    let settings = read(&[("AWS_SECRET_ACCESS_KEY", "x"), ("TERM", "xterm"), ("CODEX_API_KEY", "k")]).expect("sound");
    assert_eq!((settings.folder.as_deref(), settings.inside.as_str()), (Some(Path::new("/home/me/app")), "/workspace/app"));
    assert_eq!(settings.variables.keys().collect::<Vec<_>>(), ["CODEX_API_KEY", "TERM"]);
    assert_eq!((settings.network, settings.user, settings.codex_home), (Network::Open, ContainerUser::Root, None));
    assert!(settings.name.starts_with("codex-") && settings.state.starts_with("/home/nobody-there/.local/state/codex-docker"));
}

#[test]
fn two_containers_of_one_moment_have_two_names() {
    assert_ne!(read(&[]).expect("sound").name, read(&[]).expect("sound").name);
}

#[test]
fn the_public_half_of_the_contract_is_understood() {
    let settings = read(&[
        ("CONTAINER_NAME", "codex-t-run-001"),
        ("IMAGE_NAME", "mine:1"),
        ("CODEX_HOME", "/c"),
        ("CODEX_MOUNT_PATHS", "/a:rel"),
        ("CODEX_MOUNT_PATHS_RO", "/b"),
        ("CODEX_MOUNT_MAPS", "/x=/y:z=/w"),
        ("CODEX_MOUNT_MAPS_RO", "/p=/q"),
        ("CODEX_ARTIFACTS_DIR", "/art"),
        ("CODEX_CONTAINER_ENV_RUST_LOG", "debug"),
        ("CODEX_CONTAINER_ENV_not a name", "x"),
        ("CODEX_PASSTHROUGH_ENV", "MY_TOKEN, GONE"),
        ("MY_TOKEN", "t"),
        ("CODEX_API_KEY", "k"),
    ])
    .expect("sound");
    assert_eq!((settings.name.as_str(), settings.image.as_str()), ("codex-t-run-001", "mine:1"));
    assert_eq!(settings.codex_home, Some(CodexHome::Shared { folder: "/c".into(), inside: "/c".to_owned() }));
    let mounts: Vec<_> =
        settings.mounts.iter().map(|mount| format!("{}:{}:{}", mount.source.display(), mount.target, mount.read_only)).collect();
    assert_eq!(
        mounts,
        [
            "/a:/a:false",
            "/home/me/app/rel:/home/me/app/rel:false",
            "/b:/b:true",
            "/x:/y:false",
            "/home/me/app/z:/w:false",
            "/p:/q:true",
            "/art:/root/.artifacts:false",
            "/art:/art:false"
        ]
    );
    let variables: Vec<_> = settings.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(variables, ["MY_TOKEN=t", "RUST_LOG=debug"], "only the named variables are passed on, and no key");
}

#[test]
fn a_named_workspace_is_a_folder_of_the_container_and_the_callers_own_is_not_mounted() {
    let settings = read(&[("CODEX_WORKSPACE_DIR", "/srv/app")]).expect("sound");
    assert_eq!((settings.folder, settings.inside.as_str()), (None, "/srv/app"));
}

#[test]
fn the_callers_own_codex_home_is_where_the_user_of_the_container_has_it() {
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join(".codex");
    fs_err::create_dir(&folder).expect("made");
    for (user, inside) in [("root", "/root/.codex"), ("caller", "/home/agent/.codex")] {
        let settings = read(&[("HOME", &home.path().display().to_string()), ("CODEX_DOCKER_USER", user)]).expect("sound");
        assert_eq!(settings.codex_home, Some(CodexHome::Shared { folder: folder.clone(), inside: inside.to_owned() }));
    }
}

#[test]
fn volumes_have_a_name_perhaps_a_folder_and_a_path_in_the_container() {
    let settings = read(&[("CODEX_VOLUME_MOUNTS", "cache=/var/cache/x,,repo/a/b=/state:ro,whole/=/w")]).expect("sound");
    let found: Vec<_> = settings
        .volumes
        .iter()
        .map(|wish| (wish.volume.as_str(), wish.folder.as_deref(), wish.target.as_str(), wish.read_only))
        .collect();
    assert_eq!(
        found,
        [("cache", None, "/var/cache/x", false), ("repo", Some("a/b"), "/state", true), ("whole", None, "/w", false)]
    );
}

#[test]
fn behind_the_broker_the_key_stays_outside_even_when_it_is_named() {
    let private =
        [("CODEX_DOCKER_SESSIONS", "/t/sessions"), ("CODEX_API_KEY", "k"), ("CODEX_PASSTHROUGH_ENV", "CODEX_API_KEY,TERM")];
    let settings = read(&private).expect("sound");
    assert!(!settings.variables.contains_key("CODEX_API_KEY"));
    let broker = settings.broker.expect("on by default");
    assert!(broker.api_key == "k" && !format!("{broker:?}").contains("\"k\""));
    let off = read(&[&private[..], &[("CODEX_DOCKER_BROKER", "off")]].concat()).expect("sound");
    assert_eq!((off.variables.get("CODEX_API_KEY").map(String::as_str), off.broker), (Some("k"), None));
}

#[test]
fn the_agents_repository_and_its_objects_are_read() {
    let settings = read(&[("CODEX_DOCKER_GIT_DIR", "/t/agent.git"), ("CODEX_DOCKER_GIT_OBJECTS", "/m/objects:/n/objects")]);
    let twin = settings.expect("sound").twin.expect("named");
    assert_eq!((twin.git_dir, twin.objects), (PathBuf::from("/t/agent.git"), vec!["/m/objects".into(), "/n/objects".into()]));
}

#[test]
fn images_have_a_folder_of_their_own_whatever_its_name() {
    assert_eq!(read(&[]).expect("sound").images, None);
    let odd = "/h/a,b:c=d/images";
    assert_eq!(read(&[("CODEX_DOCKER_IMAGES", odd)]).expect("sound").images, Some(PathBuf::from(odd)));
}

#[test]
fn sizes_and_counts_have_their_usual_forms() {
    for (text, expected) in [("512m", 512 << 20), ("4g", 4 << 30), ("4GiB", 4 << 30), ("2097152", 2 << 20), ("1t", 1 << 40)] {
        assert_eq!(read(&[("CODEX_DOCKER_MEMORY", text)]).expect(text).limits.memory, Some(expected), "{text}");
    }
    let limits = read(&[("CODEX_DOCKER_CPUS", "1.5"), ("CODEX_DOCKER_PIDS", "256"), ("CODEX_DOCKER_FREE_DISK", "2g")])
        .expect("sound")
        .limits;
    assert_eq!((limits.cpus, limits.pids, limits.free_disk), (Some(1.5), 256, 2 << 30));
}

#[test]
fn hosted_tools_are_denied_without_an_open_network_unless_they_are_allowed() {
    for (network, said, expected) in [
        ("open", "", HostedTools::Allow),
        ("none", "", HostedTools::Deny),
        ("allow", "", HostedTools::Deny),
        ("none", "allow", HostedTools::Allow),
        ("open", "deny", HostedTools::Deny),
    ] {
        let settings = read(&[("CODEX_DOCKER_NETWORK", network), ("CODEX_DOCKER_HOSTED_TOOLS", said)]).expect("sound");
        assert_eq!(settings.hosted_tools, expected, "{network} {said}");
    }
}

#[test]
fn what_makes_no_sense_is_named_with_the_form_it_should_have() {
    let mut reports = Vec::new();
    for (name, value) in [
        ("CONTAINER_NAME", "-x"),
        ("CONTAINER_NAME", "a b"),
        ("CODEX_DOCKER_USER", "somebody"),
        ("CODEX_DOCKER_NETWORK", "some"),
        ("CODEX_DOCKER_HOSTED_TOOLS", "some"),
        ("CODEX_DOCKER_MEMORY", "lots"),
        ("CODEX_DOCKER_MEMORY", "1k"),
        ("CODEX_DOCKER_MEMORY", "99999999999t"),
        ("CODEX_DOCKER_CPUS", "NaN"),
        ("CODEX_DOCKER_CPUS", "0"),
        ("CODEX_DOCKER_PIDS", "2"),
        ("CODEX_DOCKER_LABELS", "home"),
        ("CODEX_DOCKER_BROKER", "maybe"),
        ("CODEX_MOUNT_MAPS", "/a"),
        ("CODEX_MOUNT_MAPS", "/a=b"),
        ("CODEX_VOLUME_MOUNTS", "cache"),
        ("CODEX_VOLUME_MOUNTS", "=/x"),
        ("CODEX_VOLUME_MOUNTS", "/host=/x"),
        ("CODEX_VOLUME_MOUNTS", "cache=x:ro"),
        ("CODEX_WORKSPACE_DIR", "here"),
        ("CODEX_DOCKER_ALLOW_HOSTS", "https://x/y"),
    ] {
        let failure = read(&[(name, value)]).expect_err(value);
        assert!(failure.message.contains(name) && !failure.hints.is_empty(), "{failure:?}");
        reports.push(crate::report(&failure));
    }
    for pairs in [
        &[("CODEX_DOCKER_NETWORK", "none"), ("CODEX_DOCKER_ALLOW_HOSTS", "a.com")][..],
        &[("CODEX_DOCKER_BROKER", "on")],
        &[("CODEX_DOCKER_BROKER", "on"), ("CODEX_DOCKER_SESSIONS", "/s")],
        &[("HOME", "")],
    ] {
        reports.push(crate::report(&read(pairs).expect_err("the settings are contradictory or incomplete")));
    }
    insta::assert_snapshot!(reports.join("\n"));
}

/// The variables that have a certain form, which can be invalid.
const FORMS: &[&str] = &[
    "CONTAINER_NAME",
    "CODEX_WORKSPACE_DIR",
    "CODEX_MOUNT_PATHS",
    "CODEX_MOUNT_PATHS_RO",
    "CODEX_MOUNT_MAPS",
    "CODEX_MOUNT_MAPS_RO",
    "CODEX_VOLUME_MOUNTS",
    "CODEX_ARTIFACTS_DIR",
    "CODEX_HOME",
    "CODEX_PASSTHROUGH_ENV",
    "CODEX_DOCKER_ALLOW_HOSTS",
    "CODEX_DOCKER_AUTH",
    "CODEX_DOCKER_BROKER",
    "CODEX_DOCKER_CONFIG",
    "CODEX_DOCKER_CPUS",
    "CODEX_DOCKER_DISK",
    "CODEX_DOCKER_FREE_DISK",
    "CODEX_DOCKER_GIT_DIR",
    "CODEX_DOCKER_GIT_OBJECTS",
    "CODEX_DOCKER_HOSTED_TOOLS",
    "CODEX_DOCKER_IMAGES",
    "CODEX_DOCKER_LABELS",
    "CODEX_DOCKER_MEMORY",
    "CODEX_DOCKER_NETWORK",
    "CODEX_DOCKER_PIDS",
    "CODEX_DOCKER_SESSIONS",
    "CODEX_DOCKER_STATE",
    "CODEX_DOCKER_TOKEN_BUDGET",
    "CODEX_DOCKER_USER",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_value_is_accepted_or_named_with_its_variable_and_on_one_line(
        name in proptest::sample::select(FORMS),
        value in r"[-a-z0-9=:,./*\\\x00\n\x1b\u{202e} ]{0,12}",
    ) {
        match read(&[(name, value.as_str())]) {
            Ok(settings) => {
                prop_assert!(settings.state.starts_with(&settings.root) && settings.state.ends_with(&settings.name));
                prop_assert!(settings.inside.starts_with('/'));
                prop_assert!(settings.mounts.iter().all(|mount| mount.source.is_absolute() && mount.target.starts_with('/')));
                prop_assert!(settings.volumes.iter().all(|wish| !wish.volume.contains('/') && wish.target.starts_with('/')));
            }
            Err(failure) => {
                prop_assert!(failure.message.contains(name), "{failure:?}");
                prop_assert!(!failure.message.contains(['\n', '\0', '\x1b', '\u{202e}']), "{failure:?}");
                prop_assert!(!failure.hints.is_empty(), "{failure:?}");
            }
        }
    }

    #[test]
    fn a_container_never_gets_a_variable_that_was_not_asked_for(
        names in proptest::collection::btree_set("[A-Z_]{1,8}", 0..6),
        value in "[a-z]{1,4}",
    ) {
        let pairs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), value.as_str())).collect();
        let settings = read(&pairs).expect("no setting has such a short name");
        for name in settings.variables.keys() {
            prop_assert!(COMMON.contains(&name.as_str()), "{name}");
        }
    }
}

#[test]
fn an_empty_value_counts_as_unset() {
    let empty: Vec<_> = FORMS.iter().map(|name| (*name, "")).collect();
    let (with, without) = (read(&empty).expect("nothing is set"), read(&[]).expect("nothing is set"));
    assert_eq!(
        Settings { name: String::new(), state: without.state.clone(), ..with },
        Settings { name: String::new(), ..without }
    );
}

#[test]
fn the_state_folder_has_a_default_that_only_absolute_paths_change() {
    for (pairs, expected) in [
        (vec![("XDG_STATE_HOME", "/x")], "/x/codex-docker"),
        (vec![("XDG_STATE_HOME", "relative")], "/home/nobody-there/.local/state/codex-docker"),
        (vec![("XDG_STATE_HOME", "")], "/home/nobody-there/.local/state/codex-docker"),
        (vec![("CODEX_DOCKER_STATE", "/s"), ("XDG_STATE_HOME", "/x")], "/s"),
        (vec![("CODEX_DOCKER_STATE", "below")], "/home/me/app/below"),
    ] {
        assert_eq!(read(&pairs).expect("valid").root, Path::new(expected), "{pairs:?}");
    }
    for home in ["", "relative"] {
        let failure = read(&[("HOME", home)]).expect_err("there is no home directory");
        assert_eq!(failure.code, ErrorCode::NoStateFolder);
    }
    let root = state_root(&BTreeMap::from([(STATE.to_owned(), "relative".to_owned())])).expect("resolved");
    assert!(root.is_absolute() && root.ends_with("relative"), "commands resolve it against their own folder");
    assert_eq!(state_root(&BTreeMap::new()).expect_err("nothing is set").code, ErrorCode::NoStateFolder);
}

#[test]
fn only_named_logins_pass_and_an_empty_list_names_none() {
    let logins = [("CODEX_API_KEY", "k"), ("CODEX_ACCESS_TOKEN", "t"), ("OPENAI_API_KEY", "o")];
    for (named, expected) in [
        (None, vec!["CODEX_ACCESS_TOKEN", "CODEX_API_KEY"]),
        (Some(""), vec![]),
        (Some(" , ,"), vec![]),
        (Some("OPENAI_API_KEY"), vec!["OPENAI_API_KEY"]),
        (Some("openai_api_key"), vec![]),
        (Some(" CODEX_API_KEY ,CODEX_API_KEY"), vec!["CODEX_API_KEY"]),
    ] {
        let pairs: Vec<_> = logins.into_iter().chain(named.map(|named| ("CODEX_PASSTHROUGH_ENV", named))).collect();
        let settings = read(&pairs).expect("valid");
        assert_eq!(settings.variables.keys().map(String::as_str).collect::<Vec<_>>(), expected, "{named:?}");
    }
}

#[test]
fn a_variable_with_the_prefix_wins_over_one_that_is_passed_on() {
    let settings =
        read(&[("TERM", "outer"), ("CODEX_CONTAINER_ENV_TERM", "inner"), ("CODEX_CONTAINER_ENV_EMPTY", "")]).expect("valid");
    assert_eq!((settings.variables["TERM"].as_str(), settings.variables["EMPTY"].as_str()), ("inner", ""));
    for name in [
        "CODEX_CONTAINER_ENV_",
        "CODEX_CONTAINER_ENV_1A",
        "CODEX_CONTAINER_ENV_A-B",
        "CODEX_CONTAINER_ENV_A;B",
        "CODEX_CONTAINER_ENV_\u{c4}",
    ] {
        assert!(read(&[(name, "x")]).expect("ignored").variables.is_empty(), "{name}");
    }
}

#[test]
fn limits_end_where_an_engine_would_fail() {
    let valid = |name: &str, value: &str| read(&[(name, value)]).is_ok();
    for (name, fine, wrong) in [
        ("CODEX_DOCKER_CPUS", ["0.01", " 2 ", "4096"], ["0.009", "4096.1", "inf"]),
        ("CODEX_DOCKER_PIDS", ["64", " 100 ", "4000000"], ["63", "4000001", "-1"]),
        ("CODEX_DOCKER_MEMORY", ["1m", "1048576", "3g"], ["1048575", "0", "-1g"]),
        ("CODEX_DOCKER_DISK", ["1m", "5g", "1t"], ["0", "1b", "g"]),
        ("CODEX_DOCKER_FREE_DISK", ["1m", "5g", "1t"], ["0", "1b", "g"]),
        ("CODEX_DOCKER_LABELS", ["a=b", "a=b,c=", " a=b , "], ["a", "=b", "a=b,c"]),
        ("CONTAINER_NAME", ["a", "0_.-", "A.b"], [".a", "a/b", "\u{e4}"]),
    ] {
        for value in fine {
            assert!(valid(name, value), "{name}={value}");
        }
        for value in wrong {
            assert!(!valid(name, value), "{name}={value}");
        }
    }
    assert!(valid("CONTAINER_NAME", &"a".repeat(128)) && !valid("CONTAINER_NAME", &"a".repeat(129)));
}

#[test]
fn a_budget_is_a_positive_number_and_needs_a_broker_to_be_read() {
    let private = [("CODEX_DOCKER_SESSIONS", "/s"), ("CODEX_API_KEY", "k")];
    let with = |value: &'static str| read(&[&private[..], &[("CODEX_DOCKER_TOKEN_BUDGET", value)]].concat());
    assert_eq!(with(" 5000 ").expect("valid").broker.expect("a broker").token_budget, Some(5000));
    assert_eq!(with("18446744073709551615").expect("valid").broker.expect("a broker").token_budget, Some(u64::MAX));
    for value in ["0", "-1", "1.5", "18446744073709551616", "many"] {
        assert!(with(value).expect_err(value).message.contains("CODEX_DOCKER_TOKEN_BUDGET"), "{value}");
    }
    let broker = read(&private).expect("valid").broker.expect("a broker");
    assert_eq!((broker.token_budget, broker.model_url.as_str()), (None, "https://api.openai.com/v1"));
}

#[test]
fn a_name_has_a_repository_in_lower_case_and_a_tag() {
    for (name, expected) in [
        ("kept:t1", Some(("kept", "t1"))),
        ("a.b:5000/c/d_e:T-1.x", Some(("a.b:5000/c/d_e", "T-1.x"))),
        ("kept", None),
        ("a:5000/c", None),
        ("Kept:1", None),
        ("kept:", None),
        (":1", None),
        ("kept:a b", None),
        ("kept@sha256:1", None),
    ] {
        assert_eq!(split_image_name(name), expected, "{name}");
    }
}
