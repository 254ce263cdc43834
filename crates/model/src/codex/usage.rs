//! Counts the tokens that a run used.
//!
//! At the end of each turn, current versions of Codex report the total of the whole thread, and version 0.75.0 reports the total of
//! its process. Only [`UsageReport::of_run`] and [`UsageReport::total_after`] depend on this difference.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Token counts as reported by Codex, without sub-agents and reviews.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Usage {
    /// Input tokens, including cached ones.
    pub input_tokens: u64,
    /// Input tokens that came from the cache.
    pub cached_input_tokens: u64,
    /// Tokens written to the cache. Older versions of Codex do not report them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_input_tokens: Option<u64>,
    /// Output tokens, including reasoning.
    pub output_tokens: u64,
    /// Output tokens used for reasoning.
    pub reasoning_output_tokens: u64,
}

/// The scope of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageScope {
    /// All tokens since the thread started.
    Thread,
    /// All tokens of this process.
    Process,
}

/// The token usage in a `turn.completed` event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageReport {
    /// The counts as Codex reported them.
    pub figures: Usage,
    /// The scope of the counts.
    pub scope: UsageScope,
}

impl Usage {
    /// Returns the counts minus those of `baseline`, but never less than zero.
    #[must_use]
    pub fn since(&self, baseline: &Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_sub(baseline.input_tokens),
            cached_input_tokens: self.cached_input_tokens.saturating_sub(baseline.cached_input_tokens),
            cache_write_input_tokens: self
                .cache_write_input_tokens
                .map(|tokens| tokens.saturating_sub(baseline.cache_write_input_tokens.unwrap_or_default())),
            output_tokens: self.output_tokens.saturating_sub(baseline.output_tokens),
            reasoning_output_tokens: self.reasoning_output_tokens.saturating_sub(baseline.reasoning_output_tokens),
        }
    }

    /// Returns the sum of both usages.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let cache_writes = [self.cache_write_input_tokens, other.cache_write_input_tokens];
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            cached_input_tokens: self.cached_input_tokens.saturating_add(other.cached_input_tokens),
            cache_write_input_tokens: cache_writes.into_iter().flatten().reduce(u64::saturating_add),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            reasoning_output_tokens: self.reasoning_output_tokens.saturating_add(other.reasoning_output_tokens),
        }
    }

    /// Returns whether any count is smaller than in `baseline`, which never happens to a running total.
    fn falls_below(&self, baseline: &Self) -> bool {
        let cache_write_fell = match (self.cache_write_input_tokens, baseline.cache_write_input_tokens) {
            (Some(now), Some(before)) => now < before,
            (Some(_) | None, None) | (None, Some(_)) => false,
        };
        self.input_tokens < baseline.input_tokens
            || self.cached_input_tokens < baseline.cached_input_tokens
            || self.output_tokens < baseline.output_tokens
            || self.reasoning_output_tokens < baseline.reasoning_output_tokens
            || cache_write_fell
    }
}

impl UsageReport {
    /// Parses the object under `usage`. Returns `None` if its values are not counts.
    pub(super) fn read(usage: &Value) -> Option<Self> {
        let object = usage.as_object()?;
        let newer = object.contains_key("reasoning_output_tokens") || object.contains_key("cache_write_input_tokens");
        let scope = if newer { UsageScope::Thread } else { UsageScope::Process };
        let figures = Usage::deserialize(usage).ok()?;
        Some(Self { figures, scope })
    }

    /// Returns the usage of this run. `baseline` is the usage of the thread before the run: the previous run's
    /// [`total_after`](Self::total_after), or zero for the first run.
    ///
    /// A report below the baseline is not the thread's total, but comes from a review or a replaced thread. It is counted as is.
    #[must_use]
    pub fn of_run(&self, baseline: &Usage) -> Usage {
        match self.scope {
            UsageScope::Process => self.figures,
            UsageScope::Thread if self.figures.falls_below(baseline) => self.figures,
            UsageScope::Thread => self.figures.since(baseline),
        }
    }

    /// Returns the usage of the thread after this run, which is the baseline of the next run.
    ///
    /// A replaced thread starts a new total. A review reports only zeros and leaves the total unchanged.
    #[must_use]
    pub fn total_after(&self, baseline: &Usage) -> Usage {
        let reports_nothing = self.figures.input_tokens == 0 && self.figures.output_tokens == 0;
        match self.scope {
            UsageScope::Process => baseline.plus(&self.figures),
            UsageScope::Thread if reports_nothing => *baseline,
            UsageScope::Thread => self.figures,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(usage: &Value) -> UsageReport {
        UsageReport::read(usage).expect("the usage is valid")
    }

    #[test]
    fn the_keys_tell_whether_a_report_counts_the_thread_or_the_process() {
        let newer = json!({"input_tokens": 1, "cached_input_tokens": 0, "output_tokens": 1, "reasoning_output_tokens": 0});
        assert_eq!(read(&newer).scope, UsageScope::Thread);
        assert_eq!(read(&json!({"cache_write_input_tokens": 3})).scope, UsageScope::Thread);
        assert_eq!(read(&json!({"input_tokens": 1, "output_tokens": 1})).scope, UsageScope::Process);
    }

    #[test]
    fn figures_that_are_not_counts_are_no_report() {
        for usage in
            [json!(null), json!([]), json!({"input_tokens": -1}), json!({"output_tokens": "7"}), json!({"input_tokens": 1.5})]
        {
            assert_eq!(UsageReport::read(&usage), None, "{usage}");
        }
    }

    #[test]
    fn a_total_is_charged_less_what_the_thread_took_before() {
        let total = read(&json!({"input_tokens": 4800, "cached_input_tokens": 4000, "cache_write_input_tokens": 9,
            "output_tokens": 200, "reasoning_output_tokens": 80, "news": true}));
        let before = Usage { input_tokens: 3600, cached_input_tokens: 3000, output_tokens: 150, ..Usage::default() };
        let run = total.of_run(&before);
        assert_eq!((run.input_tokens, run.cached_input_tokens, run.output_tokens), (1200, 1000, 50));
        assert_eq!((run.cache_write_input_tokens, run.reasoning_output_tokens), (Some(9), 80));
        assert_eq!(before.plus(&run), total.figures);
    }

    #[test]
    fn a_total_below_the_baseline_counts_as_it_is() {
        let before = Usage { input_tokens: 10, output_tokens: 10, ..Usage::default() };
        for usage in [
            json!({"input_tokens": 11, "output_tokens": 9, "reasoning_output_tokens": 1}),
            json!({"input_tokens": 0, "output_tokens": 0, "reasoning_output_tokens": 0}),
        ] {
            assert_eq!(read(&usage).of_run(&before), read(&usage).figures);
        }
        let written = Usage { cache_write_input_tokens: Some(5), ..Usage::default() };
        let less = read(&json!({"input_tokens": 3, "cache_write_input_tokens": 4}));
        assert_eq!(less.of_run(&written), less.figures);
    }

    #[test]
    fn a_process_report_is_never_reduced() {
        let report = read(&json!({"input_tokens": 100, "cached_input_tokens": 5, "output_tokens": 10}));
        let before = Usage { input_tokens: 50, ..Usage::default() };
        assert_eq!(report.of_run(&before), report.figures);
        assert_eq!(report.total_after(&before), before.plus(&report.figures));
    }

    #[test]
    fn the_total_after_a_run_is_the_baseline_of_the_next() {
        let before = Usage { input_tokens: 50, output_tokens: 5, ..Usage::default() };
        let newer = |input: u64| read(&json!({"input_tokens": input, "output_tokens": input / 10, "reasoning_output_tokens": 0}));
        assert_eq!(newer(80).total_after(&before), newer(80).figures);
        assert_eq!(newer(20).total_after(&before), newer(20).figures, "a different thread starts a new total");
        assert_eq!(newer(0).total_after(&before), before, "a review leaves the total unchanged");
    }

    #[test]
    fn figures_that_codex_did_not_tell_are_left_out() {
        let usage = Usage { input_tokens: 1, ..Usage::default() };
        let written = serde_json::to_value(usage).expect("the usage can be serialized");
        assert_eq!(
            written,
            json!({"input_tokens": 1, "cached_input_tokens": 0, "output_tokens": 0, "reasoning_output_tokens": 0})
        );
        assert_eq!(Usage::deserialize(&written).expect("the JSON is valid"), usage);
    }
}
