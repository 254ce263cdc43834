//! The seam between a server and its runner: what crosses it, and what happens if an answer is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use git::Mirror;
use model::ids::{EnvironmentId, RunNumber};
use model::run::RunError;
use model::secret::Secret;
use process::Redactor;
use runner::spec::{FileRef, SecretRef};
use runner::{RunKey, RunSpec, Supply};

use crate::bench::{Bench, Ending, SECRET, block_on, eventually, first};
use crate::fake::Fault;

#[test]
fn a_run_elsewhere_ends_like_one_on_this_machine() {
    let bench = Bench::new(1, 0, None);
    let server = bench.server();
    let repository = bench.add_repository(&server);
    let task = server.task(&repository, "do it");
    let done = server.until(&task, "completed");
    server.run(async |_| eventually("the run is forgotten", || bench.host.runs().is_empty()).await);
    assert_eq!(done.thread_id.map(|thread| thread.to_string()), Some(task.clone()));
    assert_eq!(done.runs[0].usage.map(|usage| usage.input_tokens), Some(10));
    block_on(bench.check_run(&done));
    let ledger = bench.host.ledger();
    assert_eq!(ledger.given[&first(&task)], ["do it", SECRET], "references are resolved when the run starts");
    server.end(Ending::ShutDown);
}

#[test]
fn what_is_stored_elsewhere_contains_no_secret_and_no_path_of_the_server() {
    let bench = Bench::new(2, 0, None);
    let server = bench.server();
    let repository = bench.add_repository(&server);
    let task = server.task(&repository, "wait");
    server.until(&task, "running");
    let spec = bench.host.stored_spec(first(&task)).expect("the run is stored");
    let text = serde_json::to_string(&spec).expect("the description can be serialized");
    let home = bench.layout().home().display().to_string();
    assert!(text.contains("TOKEN") && !text.contains(SECRET) && !text.contains(&home), "{text}");
    server.run(async |user| user.stop_task(&task).await.expect("accepted"));
    server.until(&task, "stopped");
    server.end(Ending::ShutDown);
}

#[test]
fn a_lost_answer_to_a_start_does_not_start_the_run_twice() {
    for fault in [Fault::LostAnswer, Fault::LostRequest, Fault::Restart, Fault::LateRequest(Duration::from_millis(120))] {
        let bench = Bench::new(3, 0, None);
        let server = bench.server();
        let repository = bench.add_repository(&server);
        // The sweep at the start of the server may take the first order, or not.
        bench.host.order([None, Some(fault), Some(fault), Some(fault)]);
        let task = server.task(&repository, "do it");
        let done = server.until(&task, "completed");
        server.run(async |_| eventually("the run is forgotten", || bench.host.runs().is_empty()).await);
        block_on(bench.check_run(&done));
        assert_eq!(bench.host.ledger().faults, 3, "{fault:?}");
        server.end(Ending::ShutDown);
    }
}

#[test]
fn nothing_is_concluded_while_the_runner_cannot_be_reached() {
    let bench = Bench::new(4, 0, None);
    let server = bench.server();
    let repository = bench.add_repository(&server);
    let task = server.task(&repository, "do it");
    server.until(&task, "running");
    server.end(Ending::Killed);
    bench.host.go_away();
    // The run ends while nobody can see it.
    let ended = || bench.host.ledger().written.values().any(|log| log.ends_with(b"}}\n"));
    block_on(eventually("the agent ends", ended));
    for ending in [Ending::ShutDown, Ending::Killed] {
        let server = bench.server();
        let changed =
            server.run_within(Duration::from_millis(400), async |user| crate::bench::until(user, &task, "completed").await);
        assert!(changed.is_none(), "the outcome is unknown");
        assert_eq!(server.run(async |user| user.task(&task).expect("there").status.as_str()), "running");
        server.end(ending);
    }
    let server = bench.server();
    bench.host.come_back();
    let done = server.until(&task, "completed");
    server.run(async |_| eventually("the run is forgotten", || bench.host.runs().is_empty()).await);
    block_on(bench.check_run(&done));
    server.end(Ending::ShutDown);
}

#[test]
fn a_stop_reaches_a_run_whose_runner_was_away() {
    let bench = Bench::new(5, 0, None);
    let server = bench.server();
    let repository = bench.add_repository(&server);
    let task = server.task(&repository, "wait");
    server.until(&task, "running");
    bench.host.go_away();
    server.run(async |user| user.stop_task(&task).await.expect("accepted"));
    server.until(&task, "stopping");
    server.end(Ending::Killed);
    let server = bench.server();
    assert_eq!(server.run(async |user| user.task(&task).expect("there").status.as_str()), "stopping");
    bench.host.come_back();
    let stopped = server.until(&task, "stopped");
    server.run(async |_| eventually("the run is forgotten", || bench.host.runs().is_empty()).await);
    assert!(bench.host.ledger().stopped.contains(&first(&task)));
    block_on(bench.check_run(&stopped));
    server.end(Ending::ShutDown);
}

#[test]
fn a_stop_is_repeated_until_it_is_answered() {
    for fault in [Fault::LostRequest, Fault::LostAnswer, Fault::Away(Duration::from_millis(100))] {
        let bench = Bench::new(11, 0, None);
        let server = bench.server();
        let repository = bench.add_repository(&server);
        let task = server.task(&repository, "wait");
        server.until(&task, "running");
        bench.host.order([Some(fault), Some(fault)]);
        server.run(async |user| user.stop_task(&task).await.expect("accepted"));
        server.until(&task, "stopped");
        assert_eq!(bench.host.ledger().faults, 2, "{fault:?}");
        server.end(Ending::ShutDown);
    }
}

#[test]
fn a_stop_during_the_export_loses_no_work() {
    let bench = Bench::new(12, 0, None);
    let server = bench.server();
    let repository = bench.add_repository(&server);
    let task = server.task(&repository, "do it");
    server.until(&task, "running");
    // The end of the run is seen, but its work cannot be exported yet.
    bench.host.order([None, Some(Fault::Away(Duration::from_millis(400)))]);
    server.run(async |_| eventually("the export fails", || bench.host.ledger().faults == 1).await);
    server.run(async |user| user.stop_task(&task).await.expect("accepted"));
    let done = server.until(&task, "completed");
    server.run(async |_| eventually("the run is forgotten", || bench.host.runs().is_empty()).await);
    block_on(bench.check_run(&done));
    server.end(Ending::ShutDown);
}

#[test]
fn a_run_that_is_stopped_before_its_runner_got_it_never_starts() {
    let bench = Bench::new(6, 0, None);
    let server = bench.server();
    let repository = bench.add_repository(&server);
    bench.host.go_away();
    let task = server.task(&repository, "do it");
    server.until(&task, "preparing");
    server.run(async |user| user.stop_task(&task).await.expect("accepted"));
    bench.host.come_back();
    let stopped = server.until(&task, "stopped");
    assert!(stopped.runs[0].commit.is_none() && bench.host.ledger().starts.is_empty(), "{stopped:?}");
    server.end(Ending::ShutDown);
}

#[test]
fn a_runner_starts_no_more_runs_than_it_has_room_for() {
    let bench = Bench::new(7, 0, Some(1));
    let server = bench.server();
    let repository = bench.add_repository(&server);
    let tasks: Vec<_> = (0..3).map(|n| server.task(&repository, &format!("task {n}"))).collect();
    assert_eq!(server.run(async |user| user.queue().max_parallel_runs), 1);
    for task in &tasks {
        server.until(task, "completed");
    }
    assert_eq!(bench.host.ledger().most_alive, 1);
    server.end(Ending::ShutDown);
}

#[test]
fn the_files_of_a_run_are_committed_if_its_commits_are_rejected() {
    let bench = Bench::new(8, 0, None);
    let server = bench.server();
    let repository = bench.add_repository(&server);
    let task = server.task(&repository, "rewrite");
    let done = server.until(&task, "completed");
    server.run(async |_| eventually("the run is forgotten", || bench.host.runs().is_empty()).await);
    let note = done.runs[0].notes.iter().find(|note| note.starts_with("committed the files without the agent's own commits"));
    assert!(note.is_some(), "{:?}", done.runs[0].notes);
    block_on(bench.check_run(&done));
    server.end(Ending::ShutDown);
}

#[test]
fn what_a_removed_task_left_elsewhere_is_swept_up() {
    let bench = Bench::new(9, 0, None);
    let server = bench.server();
    let repository = bench.add_repository(&server);
    let task = server.task(&repository, "wait");
    server.until(&task, "running");
    server.end(Ending::Killed);
    // The record is lost, as if the home had been restored from an older backup.
    fs_err::remove_dir_all(bench.layout().task(task.parse().expect("an ID"))).expect("deleted");
    let server = bench.server();
    server.run(async |_| eventually("the run is swept up", || bench.host.runs().is_empty()).await);
    assert!(bench.host.ledger().stopped.contains(&first(&task)));
    server.end(Ending::ShutDown);
}

#[test]
fn every_reference_in_a_description_is_carried_unchanged() {
    let bench = Bench::new(10, 0, None);
    let server = bench.server();
    let repository = bench.add_repository(&server);
    let task = server.task(&repository, "wait");
    server.until(&task, "running");
    let plain = bench.host.stored_spec(first(&task)).expect("the run is stored");
    let supply = StoredSupply { mirror: bench.mirror_of(&plain) };
    let spec = RunSpec {
        key: RunKey { run: RunNumber(2), ..plain.key },
        account: Some("work".parse().expect("a reference")),
        snapshot: model::setup::SnapshotKey::parse(&"a".repeat(64)),
        services: BTreeMap::from([(
            model::setup::ServiceName::parse("db").expect("a name"),
            serde_json::from_str(r#"{"image": "postgres:16"}"#).expect("a service"),
        )]),
        context: vec![runner::spec::ContextSource {
            repository: plain.source.repository,
            folder: "library".into(),
            branch: "main".into(),
        }],
        files: BTreeMap::from([(
            model::setup::FilePath::parse("~/.netrc").expect("a path"),
            SecretRef { repository: plain.source.repository, name: model::names::VariableName::parse("NETRC").expect("a name") },
        )]),
        ..plain
    };
    let runner = bench.host.connect();
    block_on(async {
        runner.ensure_started(&spec, &supply).await.expect("started");
        assert_eq!(bench.host.stored_spec(spec.key), Some(spec.clone()));
        let remains = runner.ensure_ended(&spec, &supply).await.expect("ended");
        assert!(remains.exit.is_some_and(|exit| exit.stop_requested));
        // Everything that no server knows is swept up.
        runner.sweep(&BTreeSet::new()).await.expect("swept");
    });
    assert!(bench.host.runs().is_empty());
    server.end(Ending::Killed);
}

/// Resolves references without a server.
struct StoredSupply {
    mirror: Mirror,
}

impl Supply for StoredSupply {
    fn secret(&self, _reference: &SecretRef) -> Option<Secret> {
        Some(Secret::new(SECRET))
    }

    fn file<'a>(&'a self, _key: RunKey, _reference: &'a FileRef) -> BoxFuture<'a, io::Result<Vec<u8>>> {
        Box::pin(async { Ok(b"wait".to_vec()) })
    }

    fn mirror(&self, _repository: EnvironmentId) -> Result<Mirror, RunError> {
        Ok(self.mirror.clone())
    }

    fn dockerfile(&self, _repository: EnvironmentId) -> Option<PathBuf> {
        None
    }

    fn redactor(&self, _repository: EnvironmentId) -> Redactor {
        Redactor::default()
    }

    fn image_built<'a>(&'a self, _repository: EnvironmentId, _name: &'a str, _id: String) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}
