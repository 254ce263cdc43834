//! The token usage that a response reports.
//!
//! The usage is estimated from sizes, with the proportions of the real API: it grows with the history, and most of the input is
//! cached.

use serde_json::{Value, json};

/// The average size of a token in English text and code.
const BYTES_PER_TOKEN: usize = 4;

/// The number of tokens in a block of the API's prompt cache.
const CACHE_BLOCK: u64 = 128;

/// The token counts of one response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Input tokens.
    pub input: u64,
    /// Input tokens that were cached.
    pub cached_input: u64,
    /// Output tokens.
    pub output: u64,
    /// Output tokens of the model's reasoning.
    pub reasoning: u64,
}

impl Usage {
    /// Estimates the usage of a request and its output items.
    pub(crate) fn estimate(body: &Value, output: &[Value]) -> Self {
        let newest = body["input"].as_array().and_then(|items| items.last());
        let input = tokens(body);
        let seen_before = input.saturating_sub(newest.map_or(0, tokens));
        let reasoning = output.iter().filter(|item| item["type"] == "reasoning").map(tokens).sum();
        Self { input, cached_input: seen_before / CACHE_BLOCK * CACHE_BLOCK, output: output.iter().map(tokens).sum(), reasoning }
    }

    /// Returns the `usage` object of the API.
    pub(crate) fn to_wire(self) -> Value {
        json!({
            "input_tokens": self.input, "input_tokens_details": {"cached_tokens": self.cached_input},
            "output_tokens": self.output, "output_tokens_details": {"reasoning_tokens": self.reasoning},
            "total_tokens": self.input + self.output,
        })
    }
}

fn tokens(value: &Value) -> u64 {
    u64::try_from(value.to_string().len().div_ceil(BYTES_PER_TOKEN)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    #[test]
    fn usage_grows_with_the_history_and_most_of_it_is_cached() {
        let history = |messages: usize| json!({"instructions": "x".repeat(9000), "input": vec![json!("hello"); messages]});
        let answer = [wire::message("Hi.", None)];
        let (first, later) = (Usage::estimate(&history(1), &answer), Usage::estimate(&history(100), &answer));
        assert!(later.input > first.input, "{later:?} after {first:?}");
        for usage in [first, later] {
            assert!(usage.cached_input <= usage.input && usage.cached_input > usage.input / 2, "{usage:?}");
            assert_eq!(usage.cached_input % CACHE_BLOCK, 0);
        }
    }

    #[test]
    fn only_reasoning_counts_as_reasoning() {
        let items = [wire::reasoning(&["think".into()]), wire::message("Hi.", None)];
        let usage = Usage::estimate(&json!({}), &items);
        assert_eq!(usage.reasoning, tokens(&items[0]));
        assert_eq!(usage.output, tokens(&items[0]) + tokens(&items[1]));
    }

    #[test]
    fn the_total_is_input_and_output() {
        let usage = Usage { input: 1200, cached_input: 1000, output: 50, reasoning: 20 };
        assert_eq!(usage.to_wire()["total_tokens"], 1250);
    }
}
