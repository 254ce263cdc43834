//! Asks a runner until it answers.
//!
//! Invariant: a request without an answer is repeated, and nothing is concluded from it.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::seam::Unreachable;

/// The time before the first repetition. Each further wait is twice as long.
const SHORTEST: Duration = Duration::from_millis(50);

/// The maximum time between two repetitions: short for a person who waits.
const LONGEST: Duration = Duration::from_secs(5);

/// The waits between repetitions of a request.
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: SHORTEST }
    }
}

impl Backoff {
    /// Returns how long to wait now.
    pub fn longer(&mut self) -> Duration {
        let longer = (self.next * 2).min(LONGEST);
        std::mem::replace(&mut self.next, longer)
    }

    /// Starts again with the shortest wait, because there was an answer.
    pub fn reset(&mut self) {
        self.next = SHORTEST;
    }
}

/// Asks until there is an answer. Returns `None` if the request is cancelled first. A request that was sent is never cut short.
pub async fn until_reached<'a, T>(
    cancel: &CancellationToken,
    mut ask: impl FnMut() -> BoxFuture<'a, Result<T, Unreachable>>,
) -> Option<T> {
    let mut backoff = Backoff::default();
    let mut is_first = true;
    loop {
        match ask().await {
            Ok(answer) => return Some(answer),
            // One message is enough for a runner that stays away.
            Err(unreachable) if std::mem::replace(&mut is_first, false) => {
                tracing::warn!(reason = unreachable.reason, "could not reach the runner; asking again");
            }
            Err(_) => {}
        }
        cancel.run_until_cancelled(tokio::time::sleep(backoff.longer())).await?;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn waits_get_longer_up_to_a_limit_and_start_again_after_an_answer() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..9).map(|_| backoff.longer().as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        backoff.reset();
        assert_eq!(backoff.longer(), SHORTEST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_repeated_until_it_is_answered_or_cancelled() {
        let asked = AtomicU32::new(0);
        let ask = || -> BoxFuture<'_, Result<u32, Unreachable>> {
            Box::pin(async {
                let count = asked.fetch_add(1, Ordering::SeqCst);
                if count < 3 { Err(Unreachable::new("no connection")) } else { Ok(count) }
            })
        };
        assert_eq!(until_reached(&CancellationToken::new(), ask).await, Some(3));
        let cancelled = CancellationToken::new();
        cancelled.cancel();
        asked.store(0, Ordering::SeqCst);
        assert_eq!(until_reached(&cancelled, ask).await, None);
        assert_eq!(asked.load(Ordering::SeqCst), 1, "a cancelled request is still sent once");
    }
}
