//! Which worker the settings choose, and how the public script is recognized.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use config::Config;
use fs_err as fs;
use model::ErrorCode;
use model::ids::{Attempt, RunNumber};
use process::BaseEnvironment;
use runner::worker::{ContainerFolders, Worker, WorkerProblem, cannot_mount, emptied, engine_environment, own_image, run_mark};

fn program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    fs::write(path, text).expect("written");
    fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("ours");
}

fn config(folder: &Path, worker: &str) -> Config {
    let base = BaseEnvironment::default().with("PATH", folder);
    Config { worker: Some(worker.to_owned()), base_environment: base, ..Config::for_home(folder) }
}

/// Returns the worker that a program with this text is.
fn worker_of(name: &str, text: &[u8]) -> Worker {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    program(&path, "");
    fs::write(&path, text).expect("written");
    Worker::find(&config(folder.path(), &path.display().to_string())).expect("it exists")
}

/// The kind of worker that a program was recognized as.
#[derive(Debug, PartialEq, Eq)]
enum Recognized {
    Script,
    Custom,
}

fn recognized(name: &str, text: &[u8]) -> Recognized {
    if worker_of(name, text).uses_agent_repository() { Recognized::Script } else { Recognized::Custom }
}

#[test]
fn a_script_is_recognized_by_the_variable_that_it_reads_within_its_first_256_kib() {
    let check = |text: &[u8], expect: Recognized| {
        assert_eq!(recognized("worker", text), expect, "{} bytes", text.len());
    };
    check(b"#!/bin/sh\necho $CODEX_MOUNT_MAPS\n", Recognized::Script);
    check(b"#!/bin/sh\n# CODEX_MOUNT_MAPS_RO\n", Recognized::Script);
    check(b"#!/bin/sh\necho $CODEX_MOUNT\n", Recognized::Custom);
    check(b"CODEX_MOUNT_MAPS", Recognized::Custom);
    check(b"\n#!/bin/sh\nCODEX_MOUNT_MAPS", Recognized::Custom);
    check(b"#!\xff\nCODEX_MOUNT_MAPS", Recognized::Script);
    check(b"", Recognized::Custom);
    let padded = |length: usize| [b"#!".as_slice(), &vec![b'x'; length], b"CODEX_MOUNT_MAPS"].concat();
    check(&padded(256 * 1024 - 18), Recognized::Script);
    check(&padded(256 * 1024 - 17), Recognized::Custom);
}

#[test]
fn a_program_that_is_not_a_script_is_recognized_by_its_name() {
    assert_eq!(recognized("codex-docker", b"\x7fELF"), Recognized::Script);
    assert_eq!(recognized("codex-docker-2", b"\x7fELF"), Recognized::Custom);
    assert_eq!(recognized("codex-docker", b"#!/bin/sh\n"), Recognized::Custom);
}

#[test]
fn the_status_names_the_program_unless_it_is_the_built_in_one() {
    let folder = tempfile::tempdir().expect("a folder");
    program(&folder.path().join("codex"), "#!/bin/sh\n");
    program(&folder.path().join("mine"), "#!/bin/sh\n");
    let status = |worker: &str| {
        let status = Worker::find(&config(folder.path(), worker)).expect("there").status();
        (status.name, status.program.map(PathBuf::from))
    };
    assert_eq!(status("codex-docker"), ("codex-docker".to_owned(), None));
    assert_eq!(status("host"), ("host".to_owned(), Some(folder.path().join("codex"))));
    assert_eq!(status("mine"), ("mine".to_owned(), Some(folder.path().join("mine"))));
}

#[test]
fn a_program_that_cannot_be_started_is_not_a_worker() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("data"), "x").expect("written");
    fs::create_dir(folder.path().join("folder")).expect("made");
    for name in ["data", "folder", "missing", "", "a/b"] {
        let found = Worker::find(&config(folder.path(), name));
        assert_eq!(found.err(), Some(WorkerProblem::NotFound(name.to_owned())), "{name}");
    }
    assert_eq!(Worker::find(&config(folder.path(), "host")).err(), Some(WorkerProblem::NoCodex));
}

#[test]
fn without_a_container_program_there_is_no_built_in_worker() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config { container_program: vec![], ..config(folder.path(), "codex-docker") };
    let problem = Worker::find(&config).expect_err("no program").to_problem();
    assert_eq!(problem.report.code, ErrorCode::NoWorker);
}

#[test]
fn each_problem_says_what_is_missing_and_what_to_do() {
    let shown = |problem: &WorkerProblem| {
        let problem = problem.to_problem();
        (problem.report.message, problem.report.hints.len())
    };
    let no_codex = "the worker `host` requires the Codex CLI, but `codex` is not on PATH";
    assert_eq!(shown(&WorkerProblem::NoCodex), (no_codex.to_owned(), 2));
    assert_eq!(shown(&WorkerProblem::NotFound("/x".to_owned())), ("worker `/x` not found".to_owned(), 1));
}

#[test]
fn the_script_cannot_mount_a_path_with_a_separator() {
    let check = |path: &str, is_refused: bool| {
        let problem = cannot_mount(Path::new(path));
        assert_eq!(problem.is_some(), is_refused, "{path}");
        assert!(problem.is_none_or(|problem| problem.report.code == ErrorCode::WorkerCannotMount));
    };
    check("/home/me/.codex-orchestrator", false);
    check("/home/me,you/a b", false);
    check("/home/a:b", true);
    check("/home/a=b", true);
}

#[test]
fn a_mark_names_the_task_the_run_and_the_attempt() {
    let task = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650";
    assert_eq!(run_mark(task.parse().expect("an ID"), RunNumber(12), Attempt(3)), format!("{task}/12/3"));
    assert_eq!(own_image(task.parse().expect("an ID")), format!("codex-orchestrator-env:{task}"));
}

#[test]
fn the_container_program_gets_no_key_and_no_other_variable() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path(), "codex-docker");
    for name in ["DOCKER_HOST", "XDG_RUNTIME_DIR", "CODEX_API_KEY", "CODEX_ACCESS_TOKEN", "ORCH_GITHUB_TOKEN", "SECRET"] {
        config.environment.insert(name.into(), "value".into());
    }
    config.pass_environment = vec!["SECRET".to_owned()];
    let environment = engine_environment(&config);
    let has = |name: &str| environment.iter().any(|(known, _)| known == name);
    for name in ["DOCKER_HOST", "XDG_RUNTIME_DIR", "CODEX_DOCKER_STATE", "CODEX_DOCKER_FORMER_STATE", "PATH"] {
        assert!(has(name), "{name}: {environment:?}");
    }
    for name in ["CODEX_API_KEY", "CODEX_ACCESS_TOKEN", "ORCH_GITHUB_TOKEN", "SECRET"] {
        assert!(!has(name), "{name}: {environment:?}");
    }
}

#[test]
fn the_folders_of_a_container_belong_to_its_task_except_for_the_shared_state() {
    let task = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650";
    let folders = ContainerFolders::new(&store::Layout::new("/h"), task.parse().expect("an ID"), Path::new("/h/envs/e/mirror"));
    let own = Path::new("/h/tasks").join(task);
    for folder in [&folders.sessions, &folders.twin, &folders.auth, &folders.overlays] {
        assert!(folder.starts_with(&own), "{}", folder.display());
    }
    assert_eq!(folders.state, Path::new("/h/containers"));
    assert_eq!(folders.objects, [PathBuf::from("/h/envs/e/mirror/objects")]);
}

#[test]
fn emptying_replaces_a_file_or_a_link_with_a_folder_and_follows_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, outside) = (folder.path().join("out"), folder.path().join("outside"));
    fs::create_dir(&outside).expect("made");
    fs::write(outside.join("precious"), "x").expect("written");
    std::os::unix::fs::symlink(&outside, &path).expect("linked");
    assert_eq!(emptied(path.clone()).expect("emptied"), path);
    assert!(!path.is_symlink() && path.is_dir() && outside.join("precious").exists());
    fs::remove_dir(&path).expect("removed");
    fs::write(&path, "x").expect("written");
    emptied(path.clone()).expect("emptied");
    assert!(path.is_dir());
    emptied(folder.path().join("missing/out")).expect_err("the folder above is not created");
}
