//! What waits in the queue because of setups and their images: for memory, or for an image of the settings.

use model::queue::WaitsFor;
use model::setup::{SetupPhase, SetupStart};
use runner::RunMemory;

use crate::bench::{Bench, Ending, Server};
use crate::setup::{FAILING, WITH_SECRET, describe, until_phase, until_setups, until_thread};

/// Waits until the task waits for this in the queue.
fn until_waiting(server: &Server, task: &str, waits_for: WaitsFor) {
    server.run(async |user| {
        let mut feed = std::pin::pin!(user.feed(None));
        while user.task(task).expect("the task exists").queue.is_none_or(|place| place.waits_for != waits_for) {
            futures_util::StreamExt::next(&mut feed).await;
        }
    });
}

/// Waits until the repository shows that its setup waits for memory.
fn until_setup_waits_for_memory(server: &Server, repository: &str) {
    server.run(async |user| {
        let mut feed = std::pin::pin!(user.feed(None));
        let waits = |progress: protocol::Progress| progress.phase.contains("memory");
        while !user.environment(repository).expect("the repository exists").progress.is_some_and(waits) {
            futures_util::StreamExt::next(&mut feed).await;
        }
    });
}

#[test]
fn a_setup_waits_for_memory_and_the_runs_behind_it_wait_for_the_setup() {
    let bench = Bench::new(30, 0, None);
    bench.host.limit_memory(RunMemory { total: 5 << 30, of_a_run: 3 << 30 });
    let server = bench.server();
    let repository = bench.add_repository(&server);
    let first = server.task(&repository, "wait");
    server.until(&first, "running");
    until_thread(&server, &first);
    let new = server.task(&repository, "do it");
    until_waiting(&server, &new, WaitsFor::Memory);
    describe(&server, &repository, WITH_SECRET);
    server.run(async |user| user.run_setup(&repository, SetupStart::Earlier).await.expect("accepted"));
    until_setup_waits_for_memory(&server, &repository);
    assert_eq!(bench.host.ledger().setups.len(), 0, "it does not fit next to the run");
    server.run(async |user| user.stop_task(&first).await.expect("accepted"));
    until_setups(&bench, 1);
    server.until(&first, "stopped");
    let prompt = protocol::ResumeTask { prompt: "wait".to_owned(), ..protocol::ResumeTask::default() };
    server.run(async |user| user.resume_task(&first, prompt, None).await.expect("accepted"));
    until_waiting(&server, &first, WaitsFor::Memory);
    bench.host.release_setup();
    until_phase(&server, &repository, SetupPhase::Ready);
    server.until(&first, "running");
    server.run(async |user| user.stop_task(&first).await.expect("accepted"));
    server.until(&new, "completed");
    server.end(Ending::ShutDown);
}

#[test]
fn a_setup_that_needs_more_memory_than_there_is_runs_alone() {
    let bench = Bench::new(31, 0, None);
    bench.host.limit_memory(RunMemory { total: 5 << 30, of_a_run: 3 << 30 });
    let server = bench.server();
    let repository = bench.add_repository(&server);
    let before = server.task(&repository, "wait");
    server.until(&before, "running");
    describe(&server, &repository, "[setup]\nrun = \"make\"\n[services.db]\nimage = \"postgres:16\"\n");
    let task = server.task(&repository, "do it");
    until_waiting(&server, &task, WaitsFor::Memory);
    server.run(async |user| user.run_setup(&repository, SetupStart::Earlier).await.expect("accepted"));
    until_setup_waits_for_memory(&server, &repository);
    until_waiting(&server, &task, WaitsFor::Setup);
    server.end(Ending::Killed);
    let server = bench.server();
    server.run(async |user| user.stop_task(&before).await.expect("accepted"));
    until_setups(&bench, 1);
    bench.host.release_setup();
    server.until(&task, "completed");
    server.end(Ending::ShutDown);
}

#[test]
fn a_missing_image_of_the_settings_holds_only_the_runs_that_would_use_it() {
    let bench = Bench::new(33, 0, None);
    let server = bench.server_with(|config| config.max_parallel_runs = 1);
    let (plain, described) = (bench.add_repository(&server), bench.add_repository(&server));
    describe(&server, &described, "image = \"dev:1\"\n");
    let active = server.task(&plain, "wait");
    server.until(&active, "running");
    let held = server.task(&plain, "do it");
    bench.host.lose_settings_image();
    let new = protocol::CreateTask { env_id: plain, prompt: "do it".to_owned(), ..protocol::CreateTask::default() };
    let refused = server.run(async |user| user.create_task(new, None).await.expect_err("its image is missing"));
    assert_eq!(refused.report.code, model::ErrorCode::NoWorker);
    let free = server.task(&described, "do it");
    server.run(async |user| user.stop_task(&active).await.expect("accepted"));
    bench.host.release_setup();
    server.until(&free, "completed");
    until_waiting(&server, &held, WaitsFor::Hold);
    // The task has a snapshot with an image.
    let resumed = protocol::ResumeTask { prompt: "go on".to_owned(), ..protocol::ResumeTask::default() };
    server.run(async |user| user.resume_task(&free, resumed, None).await.expect("accepted"));
    server.until(&free, "completed");
    describe(&server, &described, FAILING);
    let without = server.task(&described, "do it");
    bench.host.release_setup();
    until_phase(&server, &described, SetupPhase::Failed);
    server.run(async |user| user.skip_setup(&described).await.expect("accepted"));
    until_waiting(&server, &without, WaitsFor::Hold);
    let place = server.run(async |user| user.task(&without).expect("the task exists")).queue.expect("it waits");
    assert_eq!(place.hold.expect("there is a reason").detail, "the image of the settings is missing");
    bench.host.restore_settings_image();
    for task in [&held, &without] {
        server.until(task, "completed");
    }
    server.end(Ending::ShutDown);
}
