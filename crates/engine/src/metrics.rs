//! Metrics for Prometheus: gauges computed from the records in memory, and counters since the server started.
//!
//! A scrape reads no file. Invariant: no decision depends on a metric.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use environments::{Environments, Publishing};
use model::run::RunPhase;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use spine::{COUNTED, Labels, Queue};

use crate::task::TaskTable;

/// Returns all metrics in the `OpenMetrics` text format.
pub(crate) fn exposition(
    all_tasks: &TaskTable,
    environments: &Environments,
    queue: &Queue,
    publishing: &Publishing,
) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("codex_orchestrator");
    let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "Version of the program", version);
    let gauge = |registry: &mut Registry, name: &str, help: &str, value: u64| {
        let gauge = Gauge::<i64, std::sync::atomic::AtomicI64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    };
    let mut runs: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut tasks, mut waiting) = (0, 0);
    for slot in all_tasks.all() {
        let record = slot.record();
        tasks += 1;
        waiting += u64::from(record.last_run().phase == RunPhase::Queued);
        for run in &record.runs {
            *runs.entry(run.status().as_str()).or_default() += 1;
        }
    }
    gauge(&mut registry, "environments", "Number of repositories", environments.all().len() as u64);
    gauge(&mut registry, "tasks", "Number of tasks", tasks);
    gauge(&mut registry, "queue_length", "Number of queued runs", waiting);
    gauge(
        &mut registry,
        "queue_held",
        "1 if no run can start, for example because the disk is full; otherwise 0",
        u64::from(queue.hold().is_some()),
    );
    let by_status = Family::<Labels, Gauge<u64, AtomicU64>>::default();
    for (status, count) in runs {
        by_status.get_or_create(&vec![("status", status.to_owned())]).set(count);
    }
    registry.register("runs", "Number of runs, by status", by_status);
    let counted = &*COUNTED;
    registry.register("queue_wait_seconds", "Time that runs waited in the queue", counted.wait_seconds.clone());
    registry.register("run_duration_seconds", "Duration of finished runs", counted.run_seconds.clone());
    registry.register("run_phase_seconds", "Duration of the phases of finished runs, by phase", counted.phase_seconds.clone());
    registry.register("recovery_actions", "Events that recovery added to tasks, by event", counted.recovered.clone());
    let programs = Family::<Labels, Counter>::default();
    for (call, times) in process::calls() {
        let labels = vec![("program", call.program), ("verb", call.verb), ("outcome", call.outcome.to_owned())];
        programs.get_or_create(&labels).inc_by(times);
    }
    registry.register("program_calls", "Finished programs, such as Git, by program, verb and outcome", programs);
    let forges = Family::<Labels, Counter>::default();
    for (call, times) in publishing.forges.calls() {
        let labels = vec![("host", call.host), ("method", call.method), ("status", call.status.to_string())];
        forges.get_or_create(&labels).inc_by(times);
    }
    registry.register("forge_calls", "Responses from Git hosts, by host, method and status", forges);
    registry.register("log_bytes", "Bytes that finished runs wrote to their logs", counted.log_bytes.clone());
    registry.register("worktree_pool_hits", "New worktrees that were prepared in advance", counted.pool_hits.clone());
    registry.register("worktree_pool_misses", "New worktrees whose files were all written", counted.pool_misses.clone());
    registry.register("open_streams", "Number of open event streams", counted.streams.clone());
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}
