//! Tests of the file format: what is written, what is read back, and what is rejected.
//!
//! Other programs read these files, so the tests name the fields that must stay.

use model::ErrorCode;
use model::ids::{Attempt, EnvironmentId, TaskId};
use model::image::{ImageFile, ImageKind, ImageName};
use model::names::Prompt;
use model::queue::Priority;
use model::run::{RunEnd, RunError, RunOutcome, RunPhase};
use model::task::{NewRun, NewTask};
use serde_json::json;

use super::*;

fn time(text: &str) -> Timestamp {
    text.parse().expect("the time is valid")
}

fn queued() -> TaskRecord {
    let run = NewRun {
        prompt: Prompt::parse("Fix it").expect("the prompt is valid"),
        images: vec![],
        model: None,
        effort: None,
        priority: Priority::Normal,
        idempotency_key: None,
    };
    let new = NewTask {
        env_id: EnvironmentId::from_uuid(uuid::Uuid::from_u128(7)),
        repo_url: RepositoryUrl::parse("/srv/repo").expect("the URL is valid"),
        git_ref: RefName::parse("main").expect("the ref is valid"),
        title: Title::parse("Fix it").expect("the title is valid"),
        driver: None,
        run,
        idempotency_key: Some("key".to_owned()),
    };
    TaskRecord::new(TaskId::from_uuid(uuid::Uuid::from_u128(1)), new, time("2026-01-02T03:04:05Z"))
}

fn in_phase(phase: RunPhase) -> TaskRecord {
    let mut task = queued();
    task.runs[0].phase = phase;
    task
}

fn ended(outcome: RunOutcome) -> TaskRecord {
    let thread = ThreadId::from_uuid(uuid::Uuid::from_u128(1));
    let mut task = in_phase(RunPhase::Ended(Box::new(RunEnd {
        outcome,
        started_at: Some(time("2026-01-02T03:04:05Z")),
        finished_at: time("2026-01-02T03:05:00Z"),
        exit_code: Some(0),
        commit: Some("b".repeat(40).parse().expect("the ID is valid")),
        usage: Some(model::codex::Usage::default()),
        usage_total: Some(model::codex::Usage::default()),
        last_message: Some("done".to_owned()),
        changes: None,
        omitted: vec![],
        artifacts: 0,
        installed: true,
        notes: vec!["a note".to_owned()],
    })));
    task.base_sha = Some("a".repeat(40).parse().expect("the ID is valid"));
    task.thread_id = Some(thread);
    task.runs[0].thread_id = Some(thread);
    task.runs[0].turn_started = true;
    task.runs[0].started_at = Some(time("2026-01-02T03:04:05Z"));
    task
}

fn completed() -> TaskRecord {
    ended(RunOutcome::Completed)
}

fn written(task: &TaskRecord) -> Value {
    serde_json::to_value(TaskFile::from(task)).expect("a record can be serialized")
}

fn read(value: Value) -> Result<TaskRecord, TaskFileError> {
    TaskRecord::try_from(serde_json::from_value::<TaskFile>(value).expect("the JSON is valid"))
}

#[test]
fn a_record_of_every_phase_is_read_as_it_was_written() {
    let error = || RunError::new(ErrorCode::KeeperFailed, "gone").hint("resume it");
    let removing = TaskRecord { removing: true, ..completed() };
    let records = [
        queued(),
        in_phase(RunPhase::Preparing),
        in_phase(RunPhase::Running),
        in_phase(RunPhase::Stopping),
        completed(),
        ended(RunOutcome::Failed(error())),
        ended(RunOutcome::Stopped),
        ended(RunOutcome::Interrupted(error())),
        removing,
    ];
    for record in records {
        let text = serde_json::to_string(&TaskFile::from(&record)).expect("a record can be serialized");
        let file: TaskFile = serde_json::from_str(&text).expect("written JSON can be parsed");
        assert_eq!(TaskRecord::try_from(file), Ok(record));
    }
}

#[test]
fn a_file_with_every_optional_field_is_read_and_written_unchanged() {
    let mut value = written(&completed());
    let sha = |digit: &str| digit.repeat(40);
    let extra = json!({
        "follow_ups": [{
            "number": 3, "prompt": "And then?", "model": "gpt", "effort": "high", "priority": "high", "idempotency_key": "f",
            "asked_at": "2026-01-02T03:06:00Z",
        }],
        "follow_ups_made": 3,
        "publication": {
            "attempt": 2, "status": "done", "asked": { "pull_request": true, "title": "A title" },
            "asked_at": "2026-01-02T03:07:00Z", "pushed_sha": sha("c"),
        },
        "seen_run": 1,
        "archived_at": "2026-01-02T03:08:00Z",
        "updates": [{
            "after_run": 1, "strategy": "rebase", "from_base": sha("a"), "to_base": sha("d"), "from_head": sha("b"),
            "to_head": sha("e"), "at": "2026-01-02T03:09:00Z",
        }],
        "question": { "number": 2, "urls": ["https://example.com/a.git"], "asked_at": "2026-01-02T03:10:00Z" },
        "skipped_urls": ["https://example.com/b.git"],
        "held": {
            "number": 4, "run": 1, "files": 2, "bytes": 9, "paths": [{ "path": "junk/", "files": 2, "bytes": 9 }],
            "asked_at": "2026-01-02T03:12:00Z",
        },
        "ignored_paths": ["\"caf\\351\""],
    });
    let run = json!({
        "resumes": "00000000-0000-0000-0000-000000000005", "lost_thread": "00000000-0000-0000-0000-000000000006",
        "priority": "low", "idempotency_key": "r", "cause": "follow_up", "not_before": "2026-01-02T03:11:00Z",
        "changes": { "files": 1, "additions": 2, "deletions": 3 }, "attempt": 4,
        "omitted": [{ "path": ".venv/", "reason": "virtual_environment", "files": 3, "bytes": 7 }],
    });
    let merge = |into: &mut Value, from: Value| {
        for (name, field) in from.as_object().expect("an object") {
            into[name] = field.clone();
        }
    };
    merge(&mut value, extra);
    merge(&mut value["runs"][0], run);
    let record = read(value.clone()).expect("the record is valid");
    assert_eq!(record.last_run().attempt, Attempt(4));
    let again = written(&record);
    // Optional parts of a publication are written as null, so only the fields that were given are compared.
    for (name, field) in value.as_object().expect("an object").iter().filter(|(name, _)| *name != "publication") {
        assert_eq!(&again[name], field, "{name}");
    }
    for name in ["attempt", "status", "asked", "asked_at", "pushed_sha"] {
        assert_eq!(again["publication"][name], value["publication"][name], "{name}");
    }
    assert_eq!(read(again), Ok(record));
}

#[test]
fn a_file_without_optional_fields_has_their_defaults() {
    let mut value = written(&queued());
    value["runs"][0].as_object_mut().expect("an object").remove("attempt");
    value["runs"][0].as_object_mut().expect("an object").remove("turn_started");
    let record = read(value).expect("the record is valid");
    assert_eq!((record.last_run().attempt, record.last_run().turn_started), (Attempt::FIRST, false));
    assert_eq!((record.follow_ups.len(), record.follow_ups_made, record.seen_run), (0, 0, 0));
}

#[test]
fn fields_of_another_version_are_kept() {
    let mut value = written(&queued());
    value["colour"] = "green".into();
    value["runs"][0]["mood"] = 7.into();
    let record = read(value.clone()).expect("unknown fields do not matter");
    assert_eq!(written(&record), value);
}

#[test]
fn images_are_in_the_file_where_there_are_some_and_never_point_outside_their_folder() {
    let mut task = completed();
    assert_eq!(written(&task)["runs"][0].get("images"), None);
    let image = ImageFile { file: ImageName::of(b"a.png", ImageKind::Png), name: "a.png".to_owned(), bytes: 7 };
    task.runs[0].images = vec![image.clone()];
    let value = written(&task);
    assert_eq!(value["runs"][0]["images"][0]["file"], image.file.to_string());
    assert_eq!(read(value.clone()), Ok(task));
    let mut elsewhere = value;
    elsewhere["runs"][0]["images"][0]["file"] = "../../meta.json".into();
    assert!(serde_json::from_value::<TaskFile>(elsewhere).is_err());
}

#[test]
fn the_file_has_every_field_that_others_rely_on() {
    let value = written(&queued());
    let of_task = [
        "schema",
        "task_id",
        "env_id",
        "repo_url",
        "title",
        "ref",
        "base_sha",
        "branch",
        "thread_id",
        "status",
        "created_at",
        "updated_at",
        "runs",
    ];
    let of_run = [
        "number",
        "log",
        "prompt",
        "model",
        "effort",
        "status",
        "queued_at",
        "started_at",
        "finished_at",
        "exit_code",
        "thread_id",
        "commit",
        "usage",
        "last_message",
        "error",
    ];
    for field in of_task {
        assert!(value.get(field).is_some(), "{field} is missing");
    }
    for field in of_run {
        assert!(value["runs"][0].get(field).is_some(), "{field} is missing in the run");
    }
    assert_eq!((&value["schema"], &value["runs"][0]["log"]), (&json!(1), &json!("logs/run-001.jsonl")));
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let mut value = written(&queued());
    value["schema"] = 2.into();
    assert_eq!(read(value), Err(TaskFileError::Newer { found: 2, known: 1 }));
}

#[test]
fn a_file_without_runs_or_with_contradictions_is_refused() {
    let refused = |task: &TaskRecord, change: &dyn Fn(&mut Value)| {
        let mut value = written(task);
        change(&mut value);
        read(value).expect_err("the file contradicts itself")
    };
    assert_eq!(refused(&queued(), &|value| value["runs"] = json!([])), TaskFileError::NoRuns);
    let twice = refused(&completed(), &|value| {
        let run = value["runs"][0].clone();
        value["runs"].as_array_mut().expect("a list").push(run);
    });
    assert_eq!(twice, TaskFileError::OutOfOrder(RunNumber(1)));
    let active = refused(&queued(), &|value| {
        let mut run = value["runs"][0].clone();
        run["number"] = 2.into();
        value["runs"].as_array_mut().expect("a list").push(run);
    });
    assert_eq!(active, TaskFileError::OutOfOrder(RunNumber(1)));
    let endless = refused(&completed(), &|value| value["runs"][0]["finished_at"] = Value::Null);
    assert_eq!(endless.to_string(), "run 001 has status Completed but no `finished_at`");
    let reasonless = refused(&completed(), &|value| value["runs"][0]["status"] = "failed".into());
    assert_eq!(reasonless.to_string(), "run 001 has status Failed but no `error`");
}
