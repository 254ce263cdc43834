//! Homes and sample records.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jiff::Timestamp;
use model::container::ContainerSettings;
use model::environment::{EnvironmentRecord, EnvironmentStatus};
use model::ids::{EnvironmentId, TaskId};
use model::names::{BranchName, Prompt, RefName, RepositoryUrl, Title, VariableName};
use model::secret::Secret;
use model::task::{NewRun, NewTask, TaskRecord};
use store::Home;

pub(crate) fn home() -> (tempfile::TempDir, Home) {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::open(folder.path()).expect("a home");
    (folder, home)
}

pub(crate) fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("a time")
}

pub(crate) fn task_id(n: u128) -> TaskId {
    TaskId::from_uuid(uuid::Uuid::from_u128(n))
}

pub(crate) fn env_id(n: u128) -> EnvironmentId {
    EnvironmentId::from_uuid(uuid::Uuid::from_u128(n))
}

pub(crate) fn task(n: u128) -> TaskRecord {
    let new = NewTask {
        env_id: env_id(7),
        repo_url: RepositoryUrl::parse("/srv/repo").expect("a URL"),
        git_ref: RefName::parse("main").expect("a ref"),
        title: Title::parse(&format!("Task {n}")).expect("a title"),
        driver: None,
        run: NewRun {
            prompt: Prompt::parse("Do it").expect("a prompt"),
            images: vec![],
            model: None,
            effort: None,
            priority: model::queue::Priority::Normal,
            idempotency_key: None,
        },
        idempotency_key: None,
    };
    TaskRecord::new(task_id(n), new, time(1))
}

pub(crate) fn environment(n: u128) -> EnvironmentRecord {
    EnvironmentRecord {
        env_id: env_id(n),
        name: Title::parse("repo").expect("a name"),
        repo_url: RepositoryUrl::parse("https://example.org/me/repo").expect("a URL"),
        default_branch: Some(BranchName::parse("main").expect("a branch")),
        status: EnvironmentStatus::Ready,
        error: None,
        variables: BTreeMap::new(),
        secrets: BTreeMap::from([(VariableName::parse("TOKEN").expect("a name"), Secret::new("hunter2"))]),
        former_secrets: vec![Secret::new("hunter1")],
        container: ContainerSettings::default(),
        runs: model::policy::RunPolicy::default(),
        forge: model::forge::ForgeSettings::default(),
        commits: model::commit::CommitSettings::default(),
        sources: model::sources::SourceSettings::default(),
        setup: model::setup::SetupSettings::default(),
        setup_state: model::setup::SetupState::default(),
        forge_token: Some(Secret::new("hunter3")),
        created_at: time(1),
        updated_at: time(2),
        extra: serde_json::Map::new(),
    }
}

/// Returns the permissions of a file or folder.
pub(crate) fn mode(path: &Path) -> u32 {
    fs_err::metadata(path).expect("it exists").permissions().mode() & 0o777
}

/// Replaces a file with a folder that is not empty, so that the file can be neither read nor written.
pub(crate) fn block(path: &Path) {
    if path.is_file() {
        fs_err::remove_file(path).expect("removed");
    }
    fs_err::create_dir_all(path.join("blocked")).expect("made");
}

/// Asserts that no temporary file is left in a folder.
#[track_caller]
pub(crate) fn assert_no_temporary_file(folder: &Path) {
    let names: Vec<_> = fs_err::read_dir(folder).expect("read").map(|entry| entry.expect("read").file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().starts_with(".new-")), "{names:?}");
}
