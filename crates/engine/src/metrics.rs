//! Figures for Prometheus: what is now, from the records in memory; what happened since this server started, counted where it
//! happens.
//!
//! A scrape reads no file. Invariant: nothing in here decides anything.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::sync::atomic::AtomicU64;

use model::run::{RunEnd, RunPhase};
use model::task::TaskEvent;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::inner::Inner;

type Labels = Vec<(&'static str, String)>;

/// What happened since this process started. Programs are started from everywhere, so there is one for all.
pub(crate) static COUNTED: LazyLock<Counted> = LazyLock::new(Counted::default);

/// Counters of a server.
pub(crate) struct Counted {
    programs: Family<Labels, Counter>,
    recovered: Family<Labels, Counter>,
    forges: Family<Labels, Counter>,
    run_seconds: Histogram,
    wait_seconds: Histogram,
    log_bytes: Counter,
    streams: Gauge<i64, std::sync::atomic::AtomicI64>,
}

impl Default for Counted {
    fn default() -> Self {
        Self {
            programs: Family::default(),
            recovered: Family::default(),
            forges: Family::default(),
            // From 1 s to 9 h.
            run_seconds: Histogram::new(exponential_buckets(1.0, 2.0, 16)),
            wait_seconds: Histogram::new(exponential_buckets(0.1, 2.0, 18)),
            log_bytes: Counter::default(),
            streams: Gauge::default(),
        }
    }
}

impl Counted {
    /// A program that was run to its end, by what it was asked to do.
    pub(crate) fn program(&self, name: &str, verb: &str, outcome: &'static str) {
        let labels = vec![("program", name.to_owned()), ("verb", verb.to_owned()), ("outcome", outcome.to_owned())];
        self.programs.get_or_create(&labels).inc();
    }

    /// A call of a forge that was answered.
    pub(crate) fn forge(&self, host: &str, method: &reqwest::Method, status: u16) {
        let labels = vec![("host", host.to_owned()), ("method", method.to_string()), ("status", status.to_string())];
        self.forges.get_or_create(&labels).inc();
    }

    /// What recovery concluded.
    pub(crate) fn recovery(&self, event: &TaskEvent) {
        let word = match event {
            TaskEvent::Dequeued { .. } => "dequeued",
            TaskEvent::Prepared { .. } => "prepared",
            TaskEvent::Asked { .. } => "asked",
            TaskEvent::PreparationFailed { .. } => "preparation_failed",
            TaskEvent::PreparationLost { .. } => "preparation_lost",
            TaskEvent::Launched { .. } => "adopted",
            TaskEvent::ThreadStarted { .. } => "thread_started",
            TaskEvent::TurnStarted { .. } => "turn_started",
            TaskEvent::KeeperGone { .. } => "keeper_gone",
            TaskEvent::RunFinished { .. } => "run_finished",
            TaskEvent::SessionLost { .. } => "session_lost",
            TaskEvent::WorktreeChecked { .. } => "worktree_checked",
            TaskEvent::Updated(_) => "updated",
            TaskEvent::RemovalLeft => "removal_left",
            TaskEvent::Publication(_) => "publication_left",
        };
        self.recovered.get_or_create(&vec![("event", word.to_owned())]).inc();
    }

    /// A run that has ended, with what it wrote.
    pub(crate) fn run(&self, end: &RunEnd, log_bytes: u64) {
        if let Some(started_at) = end.started_at {
            self.run_seconds.observe(end.finished_at.duration_since(started_at).as_secs_f64());
        }
        self.log_bytes.inc_by(log_bytes);
    }

    /// A run that began after it had waited.
    pub(crate) fn waited(&self, seconds: f64) {
        self.wait_seconds.observe(seconds);
    }

    /// A stream that is open for as long as the value lives.
    pub(crate) fn stream(&'static self) -> OpenStream {
        self.streams.inc();
        OpenStream(self)
    }
}

/// A stream that somebody reads.
pub(crate) struct OpenStream(&'static Counted);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.dec();
    }
}

impl Inner {
    /// Everything, in the text format of `OpenMetrics`.
    pub(crate) fn exposition(&self) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("codex_orchestrator");
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program", version);
        let gauge = |registry: &mut Registry, name: &str, help: &str, value: u64| {
            let gauge = Gauge::<i64, std::sync::atomic::AtomicI64>::default();
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        };
        let mut runs: BTreeMap<&str, u64> = BTreeMap::new();
        let (mut tasks, mut waiting) = (0, 0);
        for slot in self.tasks.all() {
            let record = slot.record();
            tasks += 1;
            waiting += u64::from(record.last_run().phase == RunPhase::Queued);
            for run in &record.runs {
                *runs.entry(run.status().as_str()).or_default() += 1;
            }
        }
        gauge(&mut registry, "environments", "Environments that exist", self.environments.all().len() as u64);
        gauge(&mut registry, "tasks", "Tasks that exist", tasks);
        gauge(&mut registry, "queue_length", "Runs that wait", waiting);
        gauge(&mut registry, "queue_held", "Whether something holds the whole queue", u64::from(self.queue.hold().is_some()));
        let by_status = Family::<Labels, Gauge<u64, AtomicU64>>::default();
        for (status, count) in runs {
            by_status.get_or_create(&vec![("status", status.to_owned())]).set(count);
        }
        registry.register("runs", "Runs by status", by_status);
        let counted = &*COUNTED;
        registry.register("queue_wait_seconds", "How long runs waited", counted.wait_seconds.clone());
        registry.register("run_duration_seconds", "How long runs took", counted.run_seconds.clone());
        registry.register("recovery_actions", "What recovery concluded", counted.recovered.clone());
        registry.register(
            "program_calls",
            "Programs that were run, git among them, by verb and outcome",
            counted.programs.clone(),
        );
        registry.register("forge_calls", "Calls of forges, by host, method and status", counted.forges.clone());
        registry.register("log_bytes", "What ended runs wrote to their logs", counted.log_bytes.clone());
        registry.register("open_streams", "Streams that somebody reads", counted.streams.clone());
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}
