//! Tests for the environment variables that callers rely on.
//! A failure here means that a user's script may break.

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
