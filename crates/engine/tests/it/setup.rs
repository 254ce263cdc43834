//! The setup of a repository, with a runner elsewhere: how often it runs, who waits for it, and who gets which secrets.

use model::setup::{SetupPhase, SnapshotKey};
use protocol::{EditSetup, SetupView};
use runner::RunKey;

use crate::bench::{Bench, Ending, SECRET, Server, block_on, eventually};

/// A description that installs dependencies with a secret.
const WITH_SECRET: &str = "[setup]\nrun = \"make deps\"\nsecrets = [\"TOKEN\"]\n";

/// A description whose setup fails.
const FAILING: &str = "[setup]\nrun = \"false\"\n";

fn describe(server: &Server, repository: &str, text: &str) -> SetupView {
    let edit = EditSetup { description: Some(Some(text.to_owned())), approve: None };
    server.run(async |user| user.edit_setup(repository, edit).await.expect("accepted"))
}

fn setup(server: &Server, repository: &str) -> SetupView {
    server.run(async |user| user.setup(repository).await.expect("the repository exists"))
}

fn until_phase(server: &Server, repository: &str, phase: SetupPhase) -> SetupView {
    server.run(async |user| {
        let mut feed = std::pin::pin!(user.feed(None));
        loop {
            let view = user.setup(repository).await.expect("the repository exists");
            if view.last.as_ref().is_some_and(|last| last.phase == phase) {
                return view;
            }
            futures_util::StreamExt::next(&mut feed).await;
        }
    })
}

/// Returns the attempt of a task that was started. An attempt that waited for a setup was not.
fn started(bench: &Bench, task: &str) -> Option<RunKey> {
    bench.host.ledger().starts.keys().find(|key| key.task.to_string() == task).copied()
}

fn snapshot_of(bench: &Bench, task: &str) -> Option<SnapshotKey> {
    let key = started(bench, task).expect("the run was started");
    bench.host.stored_spec(key).expect("the run is stored").snapshot
}

/// Returns the prompt and the secrets that a task's agent got.
fn given(bench: &Bench, task: &str) -> Vec<String> {
    bench.host.ledger().given[&started(bench, task).expect("the run was started")].clone()
}

fn until_setups(bench: &Bench, number: usize) {
    block_on(eventually("the setup starts", || bench.host.ledger().setups.len() == number));
}

#[test]
fn ten_tasks_wait_for_one_setup_and_start_from_its_snapshot() {
    let bench = Bench::new(21, 0, None);
    let server = bench.server();
    let repository = bench.add_repository(&server);
    describe(&server, &repository, WITH_SECRET);
    let tasks: Vec<_> = (0..10).map(|_| server.task(&repository, "wait")).collect();
    until_setups(&bench, 1);
    assert!(tasks.iter().all(|task| started(&bench, task).is_none()), "no task starts before the setup ends");
    bench.host.release_setup();
    let ready = until_phase(&server, &repository, SetupPhase::Ready);
    let key = ready.last.expect("it ran").key;
    server.until(&tasks[0], "running");
    assert_eq!(snapshot_of(&bench, &tasks[0]), Some(key));
    for task in &tasks {
        server.run(async |user| user.stop_task(task).await.expect("accepted"));
        server.until(task, "stopped");
    }
    let late = server.task(&repository, "do it");
    server.until(&late, "completed");
    assert_eq!(bench.host.ledger().setups.len(), 1, "the same inputs need no other setup");
    server.end(Ending::ShutDown);
}

#[test]
fn a_failed_setup_holds_new_tasks_until_the_owner_answers() {
    let bench = Bench::new(22, 0, None);
    let server = bench.server();
    let repository = bench.add_repository(&server);
    let before = server.task(&repository, "do it");
    server.until(&before, "completed");
    describe(&server, &repository, FAILING);
    let task = server.task(&repository, "do it");
    until_setups(&bench, 1);
    bench.host.release_setup();
    let failed = until_phase(&server, &repository, SetupPhase::Failed);
    let error = failed.last.and_then(|last| last.error).expect("it failed");
    assert_eq!(error.message, "the setup script exited with code 1");
    server.until(&task, "queued");
    let other = server.task(&repository, "do it");
    server.until(&other, "queued");
    // Tasks that started before need no setup.
    let resumed = protocol::ResumeTask { prompt: "go on".to_owned(), ..protocol::ResumeTask::default() };
    server.run(async |user| user.resume_task(&before, resumed, None).await.expect("accepted"));
    server.until(&before, "completed");
    server.run(async |user| user.run_setup(&repository).await.expect("accepted"));
    until_setups(&bench, 2);
    bench.host.release_setup();
    until_phase(&server, &repository, SetupPhase::Failed);
    server.run(async |user| user.skip_setup(&repository).await.expect("accepted"));
    for task in [&task, &other] {
        server.until(task, "completed");
    }
    assert_eq!(bench.host.ledger().setups.len(), 2, "the answer is valid until the inputs change");
    server.end(Ending::ShutDown);
}

#[test]
fn a_setup_whose_server_dies_runs_again() {
    for ending in [Ending::Killed, Ending::ShutDown] {
        let bench = Bench::new(23, 0, None);
        let server = bench.server();
        let repository = bench.add_repository(&server);
        describe(&server, &repository, WITH_SECRET);
        let task = server.task(&repository, "do it");
        until_setups(&bench, 1);
        server.end(ending);
        let server = bench.server();
        until_setups(&bench, 2);
        bench.host.release_setup();
        bench.host.release_setup();
        server.until(&task, "completed");
        let last = setup(&server, &repository).last.expect("it ran");
        assert_eq!((last.phase, last.number), (SetupPhase::Ready, 1), "{ending:?}");
        assert!(!bench.layout().new_snapshot(repository.parse().expect("an ID")).exists(), "the worktree is removed");
        server.end(Ending::ShutDown);
    }
}

#[test]
fn secrets_of_a_setup_are_released_by_the_owner_and_withheld_from_agents() {
    let bench = Bench::new(24, 0, None);
    let server = bench.server();
    let repository = bench.add_repository(&server);
    let view = describe(&server, &repository, WITH_SECRET);
    let description = view.description.expect("it is described");
    assert!(!description.approved);
    let task = server.task(&repository, "do it");
    until_setups(&bench, 1);
    bench.host.release_setup();
    server.until(&task, "completed");
    assert_eq!(bench.host.ledger().setups[0].1, [""; 0], "nobody approved the description");
    assert!(given(&bench, &task).contains(&SECRET.to_owned()), "it is still a secret of the agent");
    let wrong = EditSetup { description: None, approve: Some("0".repeat(64)) };
    let problem = server.run(async |user| user.edit_setup(&repository, wrong).await.expect_err("another description"));
    assert_eq!(problem.report.code, model::ErrorCode::DescriptionChanged);
    let approve = EditSetup { description: None, approve: Some(description.hash.to_string()) };
    let approved = server.run(async |user| user.edit_setup(&repository, approve).await.expect("accepted"));
    assert!(approved.description.is_some_and(|description| description.approved));
    server.run(async |user| user.run_setup(&repository).await.expect("accepted"));
    until_setups(&bench, 2);
    bench.host.release_setup();
    until_phase(&server, &repository, SetupPhase::Ready);
    assert_eq!(bench.host.ledger().setups[1].1, [SECRET]);
    let later = server.task(&repository, "do it");
    server.until(&later, "completed");
    assert_eq!(given(&bench, &later), ["do it"], "no agent gets a secret of the setup");
    server.end(Ending::ShutDown);
}

#[test]
fn a_description_that_is_not_valid_is_rejected_or_asks_once() {
    let bench = Bench::new(25, 0, None);
    let server = bench.server();
    let repository = bench.add_repository(&server);
    let edit = EditSetup { description: Some(Some("[setpu]\n".to_owned())), approve: None };
    let problem = server.run(async |user| user.edit_setup(&repository, edit).await.expect_err("it is not valid"));
    assert_eq!(problem.report.code, model::ErrorCode::DescriptionRefused);
    let none = server.run(async |user| user.run_setup(&repository).await.expect_err("there is nothing to run"));
    assert_eq!(none.report.code, model::ErrorCode::NoSetup);
    server.end(Ending::ShutDown);
}
