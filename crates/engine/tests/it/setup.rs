//! The setup of a repository, with a runner elsewhere: how often it runs, who waits for it, and who gets which secrets.

use model::run_times::PhaseTimes;
use model::setup::{SetupPhase, SetupScript, SetupStart, SnapshotKey};
use model::task::LayerGeneration;
use protocol::{AcceptDescription, EditSetup, SetupView};
use runner::{RunKey, RunSpec, SetupSpec};

use crate::bench::{Bench, Ending, SECRET, Server, block_on, eventually};

/// A description that installs dependencies with a secret.
pub(crate) const WITH_SECRET: &str = "[setup]\nrun = \"make deps\"\nsecrets = [\"TOKEN\"]\n";

/// Another description.
const OTHER: &str = "[setup]\nrun = \"make other\"\n";

/// A description whose setup fails.
pub(crate) const FAILING: &str = "[setup]\nrun = \"false\"\n";

pub(crate) fn describe(server: &Server, repository: &str, text: &str) -> SetupView {
    let edit = EditSetup { description: Some(Some(text.to_owned())), ..EditSetup::default() };
    server.run(async |user| user.edit_setup(repository, edit).await.expect("accepted"))
}

fn setup(server: &Server, repository: &str) -> SetupView {
    server.run(async |user| user.setup(repository).await.expect("the repository exists"))
}

pub(crate) fn until_phase(server: &Server, repository: &str, phase: SetupPhase) -> SetupView {
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

/// Waits until Codex has reported its thread, so that the task can be resumed.
pub(crate) fn until_thread(server: &Server, task: &str) {
    server.run(async |user| {
        let mut feed = std::pin::pin!(user.feed(None));
        while user.task(task).expect("the task exists").thread_id.is_none() {
            futures_util::StreamExt::next(&mut feed).await;
        }
    });
}

/// Returns the last attempt of a task that was started. An attempt that waited for a setup was not.
fn started(bench: &Bench, task: &str) -> Option<RunKey> {
    bench.host.ledger().starts.keys().rfind(|key| key.task.to_string() == task).copied()
}

/// Returns the script of a setup.
fn script_of(spec: &SetupSpec) -> &str {
    spec.script.as_ref().map(model::setup::Script::as_str).unwrap_or_default()
}

/// Returns the description of the last run of a task.
fn spec_of(bench: &Bench, task: &str) -> RunSpec {
    bench.host.stored_spec(started(bench, task).expect("the run was started")).expect("the run is stored")
}

/// Continues a task with a run that works until it is stopped, then stops it. Returns the description of the run.
fn resumed(bench: &Bench, server: &Server, task: &str) -> RunSpec {
    let prompt = protocol::ResumeTask { prompt: "wait".to_owned(), ..protocol::ResumeTask::default() };
    server.run(async |user| user.resume_task(task, prompt, None).await.expect("accepted"));
    server.until(task, "running");
    let spec = spec_of(bench, task);
    server.run(async |user| user.stop_task(task).await.expect("accepted"));
    server.until(task, "stopped");
    spec
}

fn snapshot_of(bench: &Bench, task: &str) -> Option<SnapshotKey> {
    spec_of(bench, task).snapshot
}

/// Returns the prompt and the secrets that a task's agent got.
fn given(bench: &Bench, task: &str) -> Vec<String> {
    bench.host.ledger().given[&started(bench, task).expect("the run was started")].clone()
}

/// Returns how long the phases of a task's first run took.
fn times(server: &Server, task: &str) -> PhaseTimes {
    server.run(async |user| user.task(task).expect("the task exists")).runs[0].times.clone()
}

pub(crate) fn until_setups(bench: &Bench, number: usize) {
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
    assert!(times(&server, &tasks[0]).snapshot.is_some_and(|snapshot| !snapshot.hit), "it waited for the setup");
    for task in &tasks {
        server.run(async |user| user.stop_task(task).await.expect("accepted"));
        server.until(task, "stopped");
    }
    let late = server.task(&repository, "do it");
    server.until(&late, "completed");
    assert_eq!(bench.host.ledger().setups.len(), 1, "the same inputs need no other setup");
    let late = times(&server, &late);
    let phases: Vec<_> = late.durations().map(|(name, _)| name).collect();
    assert_eq!(phases, ["queued", "fetch", "worktree", "container", "codex", "commit"]);
    assert!(late.snapshot.is_some_and(|snapshot| snapshot.hit), "it did not wait");
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
    server.run(async |user| user.run_setup(&repository, SetupStart::Earlier).await.expect("accepted"));
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
fn a_failed_setup_is_notified_once_even_if_the_server_dies_meanwhile() {
    let elsewhere = tokio::runtime::Runtime::new().expect("a runtime");
    let mut webhook = elsewhere.block_on(testkit::receiver::Receiver::start());
    let bench = Bench::new(27, 0, None);
    // Nobody listens at the first address, so the notification stays due until the server dies.
    let gone = elsewhere.block_on(testkit::receiver::Receiver::start()).url().to_owned();
    let told = |url: &str| bench.server_with(|config| config.notices.webhook_url = Some(url.to_owned()));
    let server = told(&gone);
    let repository = bench.add_repository(&server);
    describe(&server, &repository, FAILING);
    let task = server.task(&repository, "do it");
    until_setups(&bench, 1);
    bench.host.release_setup();
    let number = until_phase(&server, &repository, SetupPhase::Failed).last.expect("it failed").number;
    server.end(Ending::Killed);
    let server = told(webhook.url());
    let notice: serde_json::Value = serde_json::from_str(&elsewhere.block_on(webhook.next()).body).expect("JSON");
    let expected = serde_json::json!({
        "id": format!("{repository}/setup/{number}"),
        "event": "needs_you",
        "env_id": repository,
        "environment": "upstream",
        "title": "upstream",
        "text": "The setup failed. New tasks wait until you retry or skip it.",
    });
    assert_eq!(notice, expected);
    server.run(async |user| user.skip_setup(&repository).await.expect("accepted"));
    server.until(&task, "completed");
    server.end(Ending::ShutDown);
    let server = told(webhook.url());
    let finished: serde_json::Value = serde_json::from_str(&elsewhere.block_on(webhook.next()).body).expect("JSON");
    assert_eq!((&finished["event"], webhook.already().is_none()), (&serde_json::json!("finished"), true), "it was sent once");
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
    let wrong = EditSetup { approve: Some("0".repeat(64)), ..EditSetup::default() };
    let problem = server.run(async |user| user.edit_setup(&repository, wrong).await.expect_err("another description"));
    assert_eq!(problem.report.code, model::ErrorCode::DescriptionChanged);
    let approve = EditSetup { approve: Some(description.hash.to_string()), ..EditSetup::default() };
    let approved = server.run(async |user| user.edit_setup(&repository, approve).await.expect("accepted"));
    assert!(approved.description.is_some_and(|description| description.approved));
    server.run(async |user| user.run_setup(&repository, SetupStart::Earlier).await.expect("accepted"));
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
fn a_task_keeps_its_snapshot_until_its_environment_is_refreshed() {
    let bench = Bench::new(26, 0, None);
    let server = bench.server();
    let repository = bench.add_repository(&server);
    describe(&server, &repository, WITH_SECRET);
    bench.host.release_setup();
    let task = server.task(&repository, "do it");
    let old = server.until(&task, "completed").snapshot.expect("it started from a snapshot");
    describe(&server, &repository, OTHER);
    bench.host.release_setup();
    let kept = resumed(&bench, &server, &task);
    assert_eq!((kept.snapshot, kept.layers), (Some(old.clone()), LayerGeneration(0)), "a newer description changes nothing");
    for _ in 0..2 {
        let view = server.run(async |user| user.refresh_environment(&task).await.expect("accepted"));
        assert_eq!((view.snapshot, view.environment_refreshed), (None, true));
    }
    let id = task.parse().expect("an ID");
    block_on(eventually("its layers are deleted", || bench.host.ledger().layers_discarded == [(id, LayerGeneration(1))]));
    let fresh = resumed(&bench, &server, &task);
    let new = setup(&server, &repository).last.expect("it ran").key;
    assert_ne!(new, old);
    assert_eq!((fresh.snapshot, fresh.layers), (Some(new.clone()), LayerGeneration(1)));
    assert_eq!(fresh.source.base, kept.source.base, "the branch stays where it is");
    let later = resumed(&bench, &server, &task);
    assert_eq!((later.snapshot, later.layers), (Some(new), LayerGeneration(1)), "it keeps the new snapshot");
    server.end(Ending::ShutDown);
}

#[test]
fn earlier_layers_are_deleted_by_the_next_server_if_the_runner_does_not_answer() {
    let bench = Bench::new(27, 0, None);
    let server = bench.server();
    let repository = bench.add_repository(&server);
    let task = server.task(&repository, "do it");
    server.until(&task, "completed");
    bench.host.go_away();
    server.run(async |user| user.refresh_environment(&task).await.expect("accepted"));
    server.end(Ending::Killed);
    assert_eq!(bench.host.ledger().layers_discarded, []);
    bench.host.come_back();
    let server = bench.server();
    let id = task.parse().expect("an ID");
    block_on(eventually("its layers are deleted", || bench.host.ledger().layers_discarded == [(id, LayerGeneration(1))]));
    let refused = server.task(&repository, "wait");
    server.until(&refused, "running");
    let problem = server.run(async |user| user.refresh_environment(&refused).await.expect_err("a run is active"));
    assert_eq!(problem.report.code, model::ErrorCode::RunActive);
    server.end(Ending::ShutDown);
}

#[test]
fn a_snapshot_is_updated_when_the_base_moves_and_set_up_again_if_that_fails() {
    let bench = Bench::new(28, 0, None);
    let server = bench.server();
    let repository = bench.add_repository(&server);
    let describe_with = |maintain: &str| {
        let text = format!("[setup]\nrun = \"make deps\"\nkeys = [\"lock\"]\n[maintain]\nrun = \"{maintain}\"\n");
        describe(&server, &repository, &text);
    };
    describe_with("make update");
    let run = |lock: &str, setups: usize| {
        bench.commit(&[("lock", lock)]);
        bench.host.release_setup();
        let task = server.task(&repository, "do it");
        let snapshot = server.until(&task, "completed").snapshot.expect("it started from a snapshot");
        let ran: Vec<_> = bench.host.ledger().setups.into_iter().map(|(spec, _)| spec).collect();
        assert_eq!(ran.len(), setups, "{lock}");
        let script = setup(&server, &repository).last.expect("it ran").script;
        (snapshot, ran.last().expect("it ran").clone(), script)
    };
    let (first, spec, script) = run("1", 1);
    assert_eq!((script_of(&spec), spec.update.clone(), script), ("make deps", None, Some(SetupScript::Setup)));
    let (second, spec, script) = run("2", 2);
    let update = spec.update.clone().expect("it is an update");
    assert_eq!((script_of(&spec), update.from, update.updates), ("make update", first, 1));
    assert_eq!((script, spec.key), (Some(SetupScript::Maintain), second));
    describe_with("false");
    bench.host.release_setup();
    let (third, spec, script) = run("3", 4);
    assert_eq!((script_of(&spec), spec.update.clone(), script), ("make deps", None, Some(SetupScript::Setup)));
    assert_eq!((spec.replaces.as_deref(), spec.key), (Some("the setup script exited with code 1"), third));
    server.end(Ending::ShutDown);
}

#[test]
fn a_setup_from_the_image_uses_no_earlier_result_and_changes_nothing_for_tasks_that_have_one() {
    let bench = Bench::new(32, 0, None);
    let server = bench.server();
    let repository = bench.add_repository(&server);
    bench.commit(&[("lock", "1")]);
    describe(&server, &repository, "[setup]\nrun = \"make deps\"\nkeys = [\"lock\"]\n[maintain]\nrun = \"make update\"\n");
    let completed = || {
        bench.host.release_setup();
        let task = server.task(&repository, "do it");
        (server.until(&task, "completed").snapshot.expect("it started from a snapshot"), task)
    };
    let last = || bench.host.ledger().setups.last().map(|(spec, _)| spec.clone()).expect("a setup ran");
    let run = |start| server.run(async |user| user.run_setup(&repository, start).await);
    let (first, task) = completed();
    run(SetupStart::Image).expect("accepted");
    until_setups(&bench, 2);
    let refused = run(SetupStart::Image).expect_err("it runs");
    assert_eq!(refused.report.code, model::ErrorCode::SetupRunning);
    run(SetupStart::Earlier).expect("the running one continues");
    let (second, _) = completed();
    assert_ne!(second, first);
    assert_eq!((script_of(&last()), last().update, last().key), ("make deps", None, second.clone()));
    assert_eq!(resumed(&bench, &server, &task).snapshot, Some(first), "a task keeps what it started with");
    bench.commit(&[("lock", "2")]);
    let (third, _) = completed();
    let update = last().update.expect("it is an update");
    assert_eq!((script_of(&last()), update.from, last().key), ("make update", second, third.clone()));
    assert_eq!(bench.host.ledger().setups.len(), 3);
    run(SetupStart::Image).expect("accepted");
    let (fourth, _) = completed();
    assert_eq!((script_of(&last()), last().update, fourth == third), ("make deps", None, false));
    server.end(Ending::ShutDown);
}

#[test]
fn the_description_of_a_branch_has_no_effect_before_the_owner_allows_it() {
    let bench = Bench::new(29, 0, None);
    let server = bench.server();
    let path = ".codex-orchestrator/environment.toml";
    let text = |script: &str| format!("[setup]\nrun = \"{script}\"\nkeys = [\"lock\"]\n");
    bench.commit(&[(path, &text("make main")), ("lock", "1")]);
    bench.commit_to("release/1", &[(path, &text("make release"))]);
    bench.commit_to("idea", &[(path, &text("make mischief")), ("Dockerfile", "FROM evil")]);
    let repository = bench.add_repository(&server);
    let scripts = || bench.host.ledger().setups.iter().map(|(spec, _)| script_of(spec).to_owned()).collect::<Vec<_>>();
    let run = |branch: &str| {
        bench.host.release_setup();
        let task = server.task_from(&repository, branch, "do it");
        (server.until(&task, "completed").snapshot, task)
    };
    let (of_main, _) = run("main");
    for branch in ["idea", "release/1"] {
        assert_eq!(run(branch).0, of_main, "{branch}");
    }
    assert_eq!(scripts(), ["make main"]);
    let trust = EditSetup { trust: Some(vec!["release/*".to_owned()]), ..EditSetup::default() };
    server.run(async |user| user.edit_setup(&repository, trust).await.expect("accepted"));
    assert_ne!(run("release/1").0, of_main);
    assert_eq!((run("idea").0, scripts()), (of_main.clone(), vec!["make main".to_owned(), "make release".to_owned()]));
    let shown = server.run(async |user| user.setup_diff(&repository, "idea").await.expect("the branch exists"));
    let hash = shown.hash.expect("it is valid").to_string();
    let wrong = AcceptDescription { branch: "idea".to_owned(), hash: Some("0".repeat(64)) };
    let problem = server.run(async |user| user.accept_description(&repository, wrong).await.expect_err("another description"));
    assert_eq!(problem.report.code, model::ErrorCode::DescriptionChanged);
    let accept = AcceptDescription { branch: "idea".to_owned(), hash: Some(hash) };
    server.run(async |user| user.accept_description(&repository, accept).await.expect("accepted"));
    let (of_idea, task) = run("idea");
    assert_eq!((of_idea == of_main, scripts().last().map(String::as_str)), (false, Some("make mischief")));
    bench.commit_to("idea", &[(path, &text("make worse"))]);
    assert_eq!(run("idea").0, of_main, "a changed description has no effect");
    assert_eq!(scripts().len(), 3);
    let take_back = AcceptDescription { branch: "idea".to_owned(), hash: None };
    let view = server.run(async |user| user.accept_description(&repository, take_back).await.expect("accepted"));
    assert_eq!((view.accepted, view.trusted.len()), (vec![], 1));
    assert_eq!(resumed(&bench, &server, &task).snapshot, of_idea, "a task keeps what it started with");
    server.end(Ending::ShutDown);
}

#[test]
fn a_task_keeps_the_services_that_it_started_with() {
    let bench = Bench::new(26, 0, None);
    let server = bench.server();
    let repository = bench.add_repository(&server);
    let described = "[services.db]\nimage = \"postgres:16\"\nports = [5432]\n\n[services.cache]\nimage = \"redis\"\n";
    let view = describe(&server, &repository, described);
    assert!(view.description.is_some());
    let task = server.task(&repository, "wait");
    server.until(&task, "running");
    let services_of = |key: RunKey| {
        let spec = bench.host.stored_spec(key).expect("the run is stored");
        spec.services.iter().map(|(name, service)| format!("{name}={}", service.image)).collect::<Vec<_>>()
    };
    until_thread(&server, &task);
    let first = started(&bench, &task).expect("the run was started");
    assert_eq!(services_of(first), ["cache=redis", "db=postgres:16"]);
    describe(&server, &repository, "[services.db]\nimage = \"postgres:17\"\n");
    server.end(Ending::Killed);
    let server = bench.server();
    server.run(async |user| user.stop_task(&task).await.expect("accepted"));
    server.until(&task, "stopped");
    let resumed = protocol::ResumeTask { prompt: "wait".to_owned(), ..protocol::ResumeTask::default() };
    server.run(async |user| user.resume_task(&task, resumed, None).await.expect("accepted"));
    let view = server.until(&task, "running");
    assert_eq!(view.runs[1].services.iter().map(model::setup::ServiceName::as_str).collect::<Vec<_>>(), ["cache", "db"]);
    let second = RunKey { run: view.runs[1].number, attempt: view.runs[1].attempt, ..first };
    assert_eq!(services_of(second), ["cache=redis", "db=postgres:16"], "also after a restart of the server");
    let other = server.task(&repository, "wait");
    server.until(&other, "running");
    assert_eq!(services_of(started(&bench, &other).expect("the run was started")), ["db=postgres:17"]);
    assert!(bench.host.ledger().setups.is_empty(), "services alone need no setup");
    let log = |run, name| server.run(async |user| user.service_log(&task, model::ids::RunNumber(run), name).await);
    assert_eq!(log(1, "db"), Ok(String::new()), "this runner stores no log");
    for (run, name) in [(1, "mail"), (1, "../db"), (3, "db")] {
        assert_eq!(log(run, name).expect_err("there is none").report.code, model::ErrorCode::ServiceNotFound, "{run} {name}");
    }
    server.end(Ending::ShutDown);
}

/// Takes images away from the fake machine.
fn lose_images(bench: &Bench, names: &[&str]) {
    bench.host.lose_images(names.iter().map(|name| (*name).to_owned()).collect());
}

#[test]
fn ten_tasks_wait_until_the_images_of_their_description_were_created_once() {
    let bench = Bench::new(27, 0, None);
    let server = bench.server();
    let repository = bench.add_repository(&server);
    lose_images(&bench, &["dev:1", "postgres:16"]);
    let described = "image = \"dev:1\"\n[setup]\nrun = \"make\"\n[services.db]\nimage = \"postgres:16\"\n";
    let view = describe(&server, &repository, described);
    assert!(view.description.is_some());
    let tasks: Vec<_> = (0..10).map(|_| server.task(&repository, "do it")).collect();
    until_setups(&bench, 1);
    bench.host.release_setup();
    for task in &tasks {
        server.until(task, "completed");
    }
    assert_eq!((bench.host.ledger().image_rounds, bench.host.ledger().setups.len()), (1, 1));
    let last = setup(&server, &repository).last.expect("it ran");
    assert_eq!((last.phase, last.number), (SetupPhase::Ready, 1));
    let snapshot = bench.host.ledger().snapshots.get(&last.key).cloned().expect("the record names the snapshot");
    assert_eq!(snapshot.base.as_deref(), Some("dev:1"));
    // The image of a service disappears later.
    lose_images(&bench, &["postgres:16"]);
    let later = server.task(&repository, "do it");
    until_setups(&bench, 2);
    bench.host.release_setup();
    server.until(&later, "completed");
    assert_eq!(bench.host.ledger().image_rounds, 2);
    server.end(Ending::ShutDown);
}

#[test]
fn an_image_that_does_not_exist_asks_once() {
    let bench = Bench::new(28, 0, None);
    let server = bench.server();
    let repository = bench.add_repository(&server);
    lose_images(&bench, &["no-such:1"]);
    describe(&server, &repository, "[services.db]\nimage = \"no-such:1\"\n");
    let tasks = [server.task(&repository, "do it"), server.task(&repository, "do it")];
    let failed = until_phase(&server, &repository, SetupPhase::Failed);
    assert_eq!(failed.last.and_then(|last| last.error).expect("it failed").message, "the image `no-such:1` does not exist");
    for task in &tasks {
        server.until(task, "queued");
    }
    server.run(async |user| user.skip_setup(&repository).await.expect("accepted"));
    for task in &tasks {
        server.until(task, "completed");
    }
    // Somebody provides the image.
    lose_images(&bench, &[]);
    let later = server.task(&repository, "do it");
    assert_eq!(server.until(&later, "completed").runs[0].services.len(), 1);
    assert!(bench.host.ledger().setups.is_empty(), "services alone need no setup");
    server.end(Ending::ShutDown);
}

#[test]
fn a_description_of_an_image_is_a_setup_without_a_script() {
    let bench = Bench::new(29, 0, None);
    let server = bench.server();
    let repository = bench.add_repository(&server);
    describe(&server, &repository, "[tools]\nnode = \"22\"\n");
    let task = server.task(&repository, "wait");
    until_setups(&bench, 1);
    assert_eq!(bench.host.ledger().setups[0].0.script, None);
    bench.host.release_setup();
    server.until(&task, "running");
    let key = snapshot_of(&bench, &task).expect("it starts from a snapshot");
    assert_eq!(bench.host.ledger().snapshots[&key].base.as_deref(), Some("image"));
    describe(&server, &repository, "image = \"other\"\n[tools]\nnode = \"22\"\n");
    let other = server.task(&repository, "wait");
    until_setups(&bench, 2);
    bench.host.release_setup();
    server.until(&other, "running");
    assert_ne!(snapshot_of(&bench, &other), Some(key), "another image is another snapshot");
    server.end(Ending::ShutDown);
}

#[test]
fn a_description_that_is_not_valid_is_rejected_or_asks_once() {
    let bench = Bench::new(25, 0, None);
    let server = bench.server();
    let repository = bench.add_repository(&server);
    let edit = EditSetup { description: Some(Some("[setpu]\n".to_owned())), ..EditSetup::default() };
    let problem = server.run(async |user| user.edit_setup(&repository, edit).await.expect_err("it is not valid"));
    assert_eq!(problem.report.code, model::ErrorCode::DescriptionRefused);
    let none =
        server.run(async |user| user.run_setup(&repository, SetupStart::Earlier).await.expect_err("there is nothing to run"));
    assert_eq!(none.report.code, model::ErrorCode::NoSetup);
    server.end(Ending::ShutDown);
}
