//! Tests what is checked before a run, what is asked of the engine, and the files that a container gets.
//!
//! The engine plays a script, and no container starts.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

use serde_json::json;

use super::*;
use crate::settings::{Caller, ContainerUser};
use crate::tests::{Answer, ScriptedEngine, about, found, missing, refusal};

/// A folder with a worktree and a state folder, and the settings of runs in them.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["work", "state"] {
            fs_err::create_dir(folder.path().join(name)).expect("a new folder");
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn settings(&self, pairs: &[(&str, &str)]) -> Settings {
        let state = self.path("state");
        let fixed = [("HOME", "/nowhere"), ("CONTAINER_NAME", "run"), ("CODEX_DOCKER_STATE", state.as_str())];
        let fixed = fixed.into_iter().chain([("CODEX_DOCKER_FREE_DISK", "1m")]);
        let environment = fixed.chain(pairs.iter().copied()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let caller = Caller { folder: self.folder.path().join("work"), uid: 1000, gid: 100 };
        Settings::read(&environment, caller).expect("the settings are valid")
    }
}

#[test]
fn what_a_run_cannot_do_without_must_exist() {
    let place = Place::new();
    for name in ["git", "objects", "images"] {
        fs_err::create_dir(place.folder.path().join(name)).expect("a new folder");
    }
    let (git, objects, images) = (place.path("git"), place.path("objects"), place.path("images"));
    let gone = place.path("gone");
    let twice = format!("{objects}:{gone}");
    for (pairs, expected) in [
        (vec![], None),
        (
            vec![
                ("CODEX_DOCKER_GIT_DIR", git.as_str()),
                ("CODEX_DOCKER_GIT_OBJECTS", &objects),
                ("CODEX_DOCKER_IMAGES", &images),
            ],
            None,
        ),
        (vec![("CODEX_DOCKER_GIT_DIR", gone.as_str()), ("CODEX_DOCKER_GIT_OBJECTS", &objects)], Some("mount source")),
        (vec![("CODEX_DOCKER_GIT_DIR", git.as_str()), ("CODEX_DOCKER_GIT_OBJECTS", &twice)], Some("mount source")),
        (vec![("CODEX_DOCKER_IMAGES", gone.as_str())], Some("mount source")),
    ] {
        let checked = check(&mut place.settings(&pairs));
        let expected = expected.map_or(Ok(()), |what| Err(format!("{what} `{gone}` not found")));
        assert_eq!(checked.map_err(|failure| failure.message), expected, "{pairs:?}");
    }
    let mut settings = place.settings(&[]);
    settings.folder = Some(gone.clone().into());
    let failure = check(&mut settings).expect_err("the working directory does not exist");
    assert_eq!(
        (failure.code.known(), failure.message),
        (Some(ErrorCode::MountMissing), format!("working directory `{gone}` not found"))
    );
    assert_eq!(failure.hints, ["create it, or specify another path"]);
}

#[test]
fn an_optional_mount_that_does_not_exist_is_left_out() {
    let place = Place::new();
    let (work, gone) = (place.path("work"), place.path("gone"));
    let both = format!("{work}:{gone}");
    let maps = format!("{gone}=/a:{work}=/b:{gone}=/c");
    let mut settings = place.settings(&[
        ("CODEX_MOUNT_PATHS_RO", &both),
        ("CODEX_MOUNT_MAPS", &maps),
        ("CODEX_HOME", &gone),
        ("CODEX_ARTIFACTS_DIR", &gone),
    ]);
    check(&mut settings).expect("the run can start");
    let targets: Vec<_> = settings.mounts.iter().map(|wish| (wish.target.as_str(), wish.read_only)).collect();
    assert_eq!(targets, [(work.as_str(), true), ("/b", false)]);
    assert_eq!(settings.codex_home, Some(CodexHome::Missing { inside: gone }), "Codex still gets its own home");
}

#[test]
fn a_working_directory_counts_as_mounted_if_it_is_at_above_or_below_a_mount() {
    let place = Place::new();
    let work = place.path("work");
    let map = |target: &str| format!("{work}={target}");
    for (maps, volumes, expected) in [
        (map("/srv/app"), "", true),
        (map("/srv"), "", true),
        (map("/srv/app/src"), "", true),
        (map("/srv/application"), "", false),
        (map("/other"), "", false),
        (String::new(), "cache=/srv/app", true),
        (String::new(), "cache=/srv/ap", false),
        (String::new(), "", false),
    ] {
        let settings =
            place.settings(&[("CODEX_WORKSPACE_DIR", "/srv/app"), ("CODEX_MOUNT_MAPS", &maps), ("CODEX_VOLUME_MOUNTS", volumes)]);
        assert_eq!(is_mounted(&settings), expected, "{maps} {volumes}");
    }
}

#[tokio::test]
async fn a_folder_of_a_volume_needs_an_engine_that_can_mount_it() {
    let place = Place::new();
    for (version, volumes, is_refused) in [
        ("1.45", "cache/a=/x", false),
        ("1.44", "cache/a=/x", true),
        ("1.44", "cache=/x", false),
        ("1.41", "whole=/w,cache/a/b=/x:ro", true),
        ("1.41", "", false),
    ] {
        let engine = ScriptedEngine::start(move |_| found(&json!({ "Version": "x", "ApiVersion": version })));
        let docker = crate::connect::connect(&engine.environment(Path::new("/state"))).await.expect("the engine is new enough");
        let checked = check_volumes(&docker, &place.settings(&[("CODEX_VOLUME_MOUNTS", volumes)]));
        let failure = checked.err();
        assert_eq!(failure.is_some(), is_refused, "{version} {volumes}");
        if let Some(failure) = failure {
            assert_eq!(failure.code, ErrorCode::EngineTooOld);
            assert!(failure.message.contains("`cache`") && failure.message.contains(version), "{failure:?}");
        }
    }
}

#[tokio::test]
async fn the_machine_is_as_the_engine_describes_it() {
    let docker = json!({ "ApiVersion": "1.47", "Components": [{ "Name": "Engine", "Version": "28" }] });
    let podman = json!({ "ApiVersion": "1.41", "Components": [{ "Name": "Podman Engine", "Version": "5" }] });
    let info = json!({ "MemTotal": 8_u64 << 30, "SecurityOptions": ["name=seccomp,profile=default"] });
    for (info, version, memory, rootless, seccomp) in [
        (info.clone(), docker.clone(), 8 << 30, false, Seccomp::Inline),
        (info, podman, 8 << 30, false, Seccomp::File),
        (json!({ "SecurityOptions": ["name=rootless", "name=cgroupns"] }), docker.clone(), 2 << 30, true, Seccomp::Engine),
        (json!({ "MemTotal": -1 }), docker.clone(), 2 << 30, false, Seccomp::Engine),
        (json!({}), json!({ "ApiVersion": "1.47" }), 2 << 30, false, Seccomp::Engine),
    ] {
        let story = format!("{info} {version}");
        let engine = ScriptedEngine::start(move |asked| if asked.line == "GET /info" { found(&info) } else { found(&version) });
        let seen = machine(&engine.docker, &BTreeMap::new()).await.expect("the engine answers");
        assert_eq!((seen.memory, seen.rootless, seen.seccomp), (memory, rootless, seccomp), "{story}");
        assert!(seen.open_files <= MANY_FILES && seen.processes.is_none_or(|most| most <= MANY_PROCESSES), "{seen:?}");
    }
    for answer in [refusal(500, "broken"), Answer::Silence] {
        let engine = ScriptedEngine::start(move |_| answer.clone());
        let failure = machine(&engine.docker, &BTreeMap::new()).await.expect_err("the engine says nothing");
        assert_eq!(failure.code, ErrorCode::EngineFailed);
    }
    let engine = ScriptedEngine::start(|asked| about(&asked.line).unwrap_or_else(missing));
    let wish = BTreeMap::from([(seccomp::VARIABLE.to_owned(), "none".to_owned())]);
    let failure = machine(&engine.docker, &wish).await.expect_err("there is no such profile");
    assert!(failure.code == ErrorCode::SettingUnusable && failure.message.contains("CODEX_DOCKER_SECCOMP"), "{failure:?}");
}

#[tokio::test]
async fn an_image_is_never_pulled_by_accident() {
    for (answer, expected) in [
        (found(&json!({ "Id": "sha256:1" })), None),
        (missing(), Some(ErrorCode::ImageMissing)),
        (refusal(500, "x"), Some(ErrorCode::EngineFailed)),
        (Answer::Silence, Some(ErrorCode::EngineFailed)),
    ] {
        let story = format!("{answer:?}");
        let engine = ScriptedEngine::start(move |_| answer.clone());
        let checked = check_image(&engine.docker, "team/codex:1").await;
        assert_eq!(checked.err().and_then(|failure| failure.code.known()), expected, "{story}");
        assert_eq!(engine.changes(), [""; 0]);
    }
}

fn read(run: &PreparedRun, name: &str) -> String {
    fs_err::read_to_string(run.path().join(name)).expect("the file was written")
}

fn mode(path: &Path) -> u32 {
    fs_err::metadata(path).expect("it exists").permissions().mode() & 0o777
}

#[test]
fn a_container_gets_its_variables_in_a_file_that_only_its_owner_reads() {
    let place = Place::new();
    let settings = place.settings(&[("CODEX_API_KEY", "sk-1"), ("CODEX_CONTAINER_ENV_QUOTED", "it's $HOME")]);
    let run = PreparedRun::hold(&settings).expect("nobody else uses the folder");
    let outputs = run.begin(&settings, Stdin::Nothing, Talk::Files).expect("the folder is writable");
    assert_eq!(
        read(&run, "in/variables"),
        "export CODEX_API_KEY=sk-1\nexport GIT_CONFIG_PARAMETERS=\"'safe.directory=*'\"\nexport QUOTED=\"it's \"'$HOME'\n\
         export npm_config_store_dir=/root/.local/share/pnpm/store\nexport pnpm_config_store_dir=/root/.local/share/pnpm/store\n"
    );
    assert_eq!(
        (mode(&run.path().join("in/variables")), mode(run.path()), mode(&run.path().join("token"))),
        (0o600, 0o700, 0o600)
    );
    assert_eq!(outputs.stdout.metadata().expect("open").len(), 0);
    for absent in ["in/git-file", "in/config.toml", "in/stdin"] {
        assert!(!run.path().join(absent).exists(), "{absent}");
    }
    for present in ["in/entry.sh", "in/profile.sh", "seccomp.json", "out/stdout", "out/stderr"] {
        assert!(run.path().join(present).is_file(), "{present}");
    }
}

#[test]
fn behind_a_broker_a_container_gets_a_token_that_stays_the_same_for_its_run() {
    let place = Place::new();
    let (sessions, auth) = (place.path("home/sessions"), place.path("home/auth"));
    let settings = place.settings(&[
        ("CODEX_API_KEY", "sk-1"),
        ("CODEX_DOCKER_SESSIONS", &sessions),
        ("CODEX_DOCKER_AUTH", &auth),
        ("CODEX_DOCKER_GIT_DIR", "/g"),
    ]);
    let run = PreparedRun::hold(&settings).expect("nobody else uses the folder");
    run.begin(&settings, Stdin::Nothing, Talk::Files).expect("the folder is writable");
    let token = read(&run, "token");
    assert!(token.len() >= 32);
    let variables = read(&run, "in/variables");
    assert!(variables.contains(&format!("export {TOKEN_VARIABLE}={token}\n")) && !variables.contains("sk-1"), "{variables}");
    assert_eq!(read(&run, "in/git-file"), "gitdir: /git/agent.git\n");
    assert!(read(&run, "in/config.toml").contains("base_url = \"http://127.0.0.1:8317/v1\""));
    for folder in [&sessions, &auth] {
        assert_eq!(mode(Path::new(folder)), 0o700, "{folder}");
    }
    drop(run);
    let again = PreparedRun::hold(&settings).expect("the first one is gone");
    assert_eq!(again.token, token, "a container that kept running still has this token");
    fs_err::write(again.path().join("token"), "short").expect("writable");
    drop(again);
    let fresh = PreparedRun::hold(&settings).expect("the second one is gone").token;
    assert!(fresh.len() >= 32 && fresh != token, "a torn file is not a token");
}

#[test]
fn with_listed_hosts_every_program_is_pointed_to_the_proxy() {
    let place = Place::new();
    for (network, expected) in [("allow", 8), ("none", 0), ("open", 0)] {
        let settings = place.settings(&[("CODEX_DOCKER_NETWORK", network)]);
        let run = PreparedRun::hold(&settings).expect("nobody else uses the folder");
        run.begin(&settings, Stdin::Nothing, Talk::Files).expect("the folder is writable");
        let written = read(&run, "in/variables");
        assert_eq!(written.lines().filter(|line| line.to_ascii_lowercase().contains("_proxy=")).count(), expected, "{network}");
        assert_eq!(written.matches("=http://127.0.0.1:8318\n").count(), expected.saturating_sub(2), "{network}");
    }
}

#[test]
fn settings_of_codex_that_cannot_be_read_stop_the_run_before_it_starts() {
    let place = Place::new();
    let (sessions, config) = (place.path("sessions"), place.path("config.toml"));
    let private = [("CODEX_DOCKER_SESSIONS", sessions.as_str()), ("CODEX_DOCKER_CONFIG", &config)];
    let begin = |settings: &Settings| {
        let run = PreparedRun::hold(settings).expect("nobody else uses the folder");
        run.begin(settings, Stdin::Nothing, Talk::Files).map(drop).map_err(|failure| failure.code.known())
    };
    assert_eq!(begin(&place.settings(&private)), Err(Some(ErrorCode::CodexHome)), "the file does not exist");
    fs_err::write(&config, "model = ").expect("writable");
    assert_eq!(begin(&place.settings(&private)), Err(Some(ErrorCode::CodexConfig)));
    fs_err::write(&config, "model = \"m\"\n").expect("writable");
    assert_eq!(begin(&place.settings(&private)), Ok(()));
    fs_err::remove_dir(&sessions).expect("empty");
    fs_err::write(&sessions, "").expect("writable");
    assert_eq!(begin(&place.settings(&private)), Err(Some(ErrorCode::CodexHome)), "a file contains no sessions");
}

#[tokio::test]
async fn the_servers_of_a_run_listen_in_its_folder_and_end_with_it() {
    let place = Place::new();
    let sessions = place.path("sessions");
    let settings = place.settings(&[
        ("CODEX_API_KEY", "sk-1"),
        ("CODEX_DOCKER_SESSIONS", &sessions),
        ("CODEX_DOCKER_ALLOW_HOSTS", "registry.example"),
    ]);
    let run = PreparedRun::hold(&settings).expect("nobody else uses the folder");
    run.begin(&settings, Stdin::Nothing, Talk::Files).expect("the folder is writable");
    let sockets = ["in/sockets/broker", "in/sockets/proxy"].map(|name| run.path().join(name));
    let servers = run.servers(&settings).expect("the servers start");
    for socket in &sockets {
        assert!(fs_err::metadata(socket).expect("it exists").file_type().is_socket(), "{}", socket.display());
    }
    drop(servers);
    assert!(sockets.iter().all(|socket| !socket.exists()));
    let plain = place.settings(&[("CODEX_DOCKER_NETWORK", "none")]);
    let _servers = run.servers(&plain).expect("there is nothing to start");
    assert!(sockets.iter().all(|socket| !socket.exists()));
    fs_err::remove_dir_all(run.path().join("in/sockets")).expect("it exists");
    let failure = run.servers(&settings).map(drop).expect_err("the folder of the sockets is gone");
    assert!(failure.code == ErrorCode::StateFolder && failure.hints[0].contains("CODEX_DOCKER_STATE"), "{failure:?}");
}

#[test]
fn a_disk_that_is_too_full_stops_the_run_before_it_starts() {
    let place = Place::new();
    let settings = place.settings(&[("CODEX_DOCKER_FREE_DISK", "8388607t")]);
    let failure = PreparedRun::hold(&settings).map(drop).expect_err("no disk is that large");
    assert_eq!((failure.code.known(), failure.hints.len()), (Some(ErrorCode::DiskFull), 2));
}

#[test]
fn the_locks_are_shared_by_all_state_folders_of_a_user() {
    let place = Place::new();
    let settings = place.settings(&[]);
    let home = BTreeMap::from([("HOME".to_owned(), "/home/me".to_owned())]);
    assert_eq!(locks(&settings, &home), Path::new("/home/me/.local/state/codex-docker/locks"));
    assert_eq!(locks(&settings, &BTreeMap::new()), Path::new(&place.path("state")).join("locks"), "without a home directory");
    assert_eq!(settings.user, ContainerUser::Root);
}
