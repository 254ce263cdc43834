//! Counters since the server started, for metrics. Every part of a server may count.
//!
//! They are global because events are counted in many places. Invariant: no decision depends on a counter.

use std::sync::LazyLock;

use model::run::RunEnd;
use model::run_times::PhaseTimes;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// The labels of a counter: names and values.
pub type Labels = Vec<(&'static str, String)>;

/// The counters of this process.
pub static COUNTED: LazyLock<Counters> = LazyLock::new(Counters::default);

/// The counters and histograms of a server.
pub struct Counters {
    /// Events that recovery found, by event.
    pub recovered: Family<Labels, Counter>,
    /// The duration of finished runs.
    pub run_seconds: Histogram,
    /// How long runs waited in the queue.
    pub wait_seconds: Histogram,
    /// The duration of the phases of finished runs, by phase.
    pub phase_seconds: Family<Labels, Histogram>,
    /// The size of the logs of finished runs.
    pub log_bytes: Counter,
    /// New worktrees that got the files of a prepared one.
    pub pool_hits: Counter,
    /// New worktrees whose files were all written.
    pub pool_misses: Counter,
    /// Open event streams.
    pub streams: Gauge<i64, std::sync::atomic::AtomicI64>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            recovered: Family::default(),
            // Buckets from 1 s to 9 h.
            run_seconds: Histogram::new(exponential_buckets(1.0, 2.0, 16)),
            wait_seconds: Histogram::new(exponential_buckets(0.1, 2.0, 18)),
            // Buckets from 0.05 s to 7 h.
            phase_seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.05, 2.0, 20))),
            log_bytes: Counter::default(),
            pool_hits: Counter::default(),
            pool_misses: Counter::default(),
            streams: Gauge::default(),
        }
    }
}

impl Counters {
    /// Counts an event that recovery found.
    pub fn recovery(&self, event: &'static str) {
        self.recovered.get_or_create(&vec![("event", event.to_owned())]).inc();
    }

    /// Records a finished run and the size of its log.
    pub fn run(&self, end: &RunEnd, log_bytes: u64) {
        if let Some(started_at) = end.started_at {
            self.run_seconds.observe(end.finished_at.duration_since(started_at).as_secs_f64());
        }
        self.log_bytes.inc_by(log_bytes);
    }

    /// Records how long the phases of a finished run took.
    pub fn phases(&self, times: &PhaseTimes) {
        for (phase, millis) in times.durations() {
            let histogram = self.phase_seconds.get_or_create(&vec![("phase", phase.to_owned())]);
            histogram.observe(std::time::Duration::from_millis(millis).as_secs_f64());
        }
    }

    /// Records how long a run waited in the queue.
    pub fn waited(&self, seconds: f64) {
        self.wait_seconds.observe(seconds);
    }

    /// Counts a stream as open until the returned value is dropped.
    pub fn stream(&'static self) -> OpenStream {
        self.streams.inc();
        OpenStream(self)
    }
}

/// An open event stream. Dropping it decrements the gauge.
pub struct OpenStream(&'static Counters);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.dec();
    }
}
