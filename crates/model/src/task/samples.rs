//! Sample tasks in every phase, for the tests of this module. Every sample is a record that could exist on disk.

use jiff::Timestamp;

use super::record::{NewRun, NewTask, TaskRecord};
use crate::codex::Usage;
use crate::error_code::AnyCode;
use crate::ids::{EnvironmentId, ObjectId, TaskId, ThreadId};
use crate::image::{ImageFile, ImageKind, ImageName};
use crate::names::{Prompt, RefName, RepositoryUrl, Title};
use crate::publication::{Publication, PublicationStatus, Publish, PullRequest};
use crate::run::{RunEnd, RunError, RunOutcome, RunPhase};

pub(crate) fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().expect("the time is valid")
}

pub(crate) fn later() -> Timestamp {
    "2026-01-02T03:05:00Z".parse().expect("the time is valid")
}

pub(crate) fn sha(digit: char) -> ObjectId {
    digit.to_string().repeat(40).parse().expect("the object ID is valid")
}

pub(crate) fn thread(n: u128) -> ThreadId {
    ThreadId::from_uuid(uuid::Uuid::from_u128(n))
}

/// Returns an image with this name.
pub(crate) fn image(name: &str) -> ImageFile {
    ImageFile { file: ImageName::of(name.as_bytes(), ImageKind::Png), name: name.to_owned(), bytes: 7 }
}

pub(crate) fn new_run(prompt: &str) -> NewRun {
    NewRun {
        prompt: Prompt::parse(prompt).expect("the prompt is valid"),
        images: vec![],
        model: None,
        effort: None,
        priority: crate::queue::Priority::Normal,
        idempotency_key: None,
    }
}

pub(crate) fn queued() -> TaskRecord {
    let new = NewTask {
        env_id: EnvironmentId::from_uuid(uuid::Uuid::from_u128(7)),
        repo_url: RepositoryUrl::parse("/srv/repo").expect("the URL is valid"),
        git_ref: RefName::parse("main").expect("the ref is valid"),
        title: Title::parse("Fix it").expect("the title is valid"),
        driver: None,
        run: new_run("Fix it"),
        idempotency_key: Some("key".to_owned()),
    };
    TaskRecord::new(TaskId::from_uuid(uuid::Uuid::from_u128(1)), new, now())
}

fn in_phase(phase: RunPhase) -> TaskRecord {
    let mut task = queued();
    task.runs[0].phase = phase;
    task
}

pub(crate) fn preparing() -> TaskRecord {
    in_phase(RunPhase::Preparing)
}

pub(crate) fn running() -> TaskRecord {
    in_phase(RunPhase::Running)
}

pub(crate) fn stopping() -> TaskRecord {
    in_phase(RunPhase::Stopping)
}

pub(crate) fn success() -> RunEnd {
    RunEnd {
        outcome: RunOutcome::Completed,
        started_at: Some(now()),
        finished_at: later(),
        exit_code: Some(0),
        commit: Some(sha('b')),
        usage: Some(Usage::default()),
        usage_total: Some(Usage::default()),
        last_message: Some("done".to_owned()),
        changes: None,
        omitted: vec![],
        artifacts: 0,
        installed: false,
        notes: vec!["a note".to_owned()],
    }
}

fn ended(outcome: RunOutcome) -> TaskRecord {
    let mut task = in_phase(RunPhase::Ended(Box::new(RunEnd { outcome, ..success() })));
    task.base_sha = Some(sha('a'));
    task.thread_id = Some(thread(1));
    task.runs[0].thread_id = Some(thread(1));
    task.runs[0].turn_started = true;
    task.runs[0].started_at = Some(now());
    task
}

pub(crate) fn completed() -> TaskRecord {
    ended(RunOutcome::Completed)
}

pub(crate) fn one_of_each_phase() -> Vec<TaskRecord> {
    let error = || RunError::new(AnyCode::parse("lost"), "gone").hint("resume it");
    let mut removing = completed();
    removing.removing = true;
    vec![
        queued(),
        preparing(),
        running(),
        stopping(),
        completed(),
        ended(RunOutcome::Failed(error())),
        ended(RunOutcome::Stopped),
        ended(RunOutcome::Interrupted(error())),
        removing,
    ]
}

/// Returns a finished, published task with this pull request.
pub(crate) fn published(pull_request: PullRequest) -> TaskRecord {
    let mut task = completed();
    task.publication = Some(Box::new(Publication {
        attempt: 1,
        status: PublicationStatus::Done,
        asked: Publish::default(),
        asked_at: now(),
        error: None,
        note: None,
        pushed_sha: None,
        pushed_at: None,
        remote_sha: None,
        compare_url: None,
        pull_request: Some(pull_request),
    }));
    task
}
