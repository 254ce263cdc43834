//! A feed of numbered state changes for watchers. The lists are authoritative; the feed only says when to read them again.
//!
//! Publishing never waits for a reader. A reader that is too far behind, or whose number is from a different server, gets a
//! [`FeedEvent::Reset`] and continues from now on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{Stream, StreamExt as _};
use protocol::FeedEvent;
use tokio::sync::Notify;

use crate::counters::COUNTED;

/// How many changes are kept for readers that reconnect: several minutes of a busy server, in well under a megabyte.
const KEPT: usize = 4096;

/// The feed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Feed {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    events: Mutex<KeptEvents>,
    published: Notify,
}

#[derive(Debug)]
struct KeptEvents {
    /// The number of the next event.
    next: u64,
    events: VecDeque<FeedEvent>,
}

impl KeptEvents {
    fn first(&self) -> u64 {
        self.next - self.events.len() as u64
    }
}

impl Feed {
    /// Creates a feed whose numbers start after `start`. Servers use the time in microseconds, so that numbers only grow.
    pub fn starting_after(start: u64) -> Self {
        let kept = KeptEvents { next: start + 1, events: VecDeque::new() };
        Self { shared: Arc::new(Shared { events: Mutex::new(kept), published: Notify::new() }) }
    }

    /// Tells all readers about a change.
    pub fn publish(&self, event: FeedEvent) {
        {
            let mut kept = self.kept();
            kept.next += 1;
            kept.events.push_back(event);
            if kept.events.len() > KEPT {
                kept.events.pop_front();
            }
        }
        self.shared.published.notify_waiters();
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, KeptEvents> {
        // The queue is consistent even if another publisher panicked.
        self.shared.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of the newest change. A client that then reads the lists and follows from this number misses no change.
    pub fn last(&self) -> u64 {
        self.kept().next - 1
    }

    /// Streams the changes after number `after`, or from now on, for a client. Never ends on its own.
    pub fn after(&self, after: Option<u64>) -> impl Stream<Item = (u64, FeedEvent)> + Send + use<> {
        let open = COUNTED.stream();
        self.follow(after).inspect(move |_| {
            let _counted = &open;
        })
    }

    /// Streams the changes after number `after`, or from now on. Never ends on its own.
    pub fn follow(&self, after: Option<u64>) -> impl Stream<Item = (u64, FeedEvent)> + Send + use<> {
        let feed = self.clone();
        let mut position = after.map_or_else(|| feed.kept().next, |number| number.saturating_add(1));
        async_stream::stream! {
            loop {
                let published = feed.shared.published.notified();
                tokio::pin!(published);
                published.as_mut().enable();
                let batch = feed.batch(position);
                for (number, event) in batch {
                    position = number + 1;
                    yield (number, event);
                }
                if position >= feed.kept().next {
                    published.await;
                }
            }
        }
    }

    fn batch(&self, position: u64) -> Vec<(u64, FeedEvent)> {
        let kept = self.kept();
        if position < kept.first() || position > kept.next {
            return vec![(kept.next - 1, FeedEvent::Reset)];
        }
        let skip = usize::try_from(position - kept.first()).unwrap_or(usize::MAX);
        (position..).zip(kept.events.iter().skip(skip).cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use model::ids::TaskId;

    use super::*;

    fn removed(n: u128) -> FeedEvent {
        FeedEvent::TaskRemoved { task_id: TaskId::from_uuid(uuid::Uuid::from_u128(n)) }
    }

    #[tokio::test]
    async fn who_follows_from_the_newest_number_hears_what_comes_next() {
        let feed = Feed::starting_after(10);
        assert_eq!(feed.last(), 10);
        feed.publish(removed(1));
        let seen = feed.last();
        feed.publish(removed(2));
        let events: Vec<_> = feed.after(Some(seen)).take(1).collect().await;
        assert_eq!(events, [(12, removed(2))]);
    }

    #[tokio::test]
    async fn a_reader_gets_what_is_published_from_now_on() {
        let feed = Feed::starting_after(100);
        feed.publish(removed(1));
        let mut reader = Box::pin(feed.after(None));
        feed.publish(removed(2));
        assert_eq!(reader.next().await, Some((102, removed(2))));
    }

    #[tokio::test]
    async fn a_reader_that_comes_back_misses_nothing() {
        let feed = Feed::starting_after(0);
        (1..=5).for_each(|n| feed.publish(removed(n)));
        let seen: Vec<_> = feed.after(Some(3)).take(2).collect().await;
        assert_eq!(seen, vec![(4, removed(4)), (5, removed(5))]);
    }

    #[tokio::test]
    async fn a_reader_that_was_away_too_long_is_told_to_look_anew() {
        let feed = Feed::starting_after(0);
        (0..KEPT as u128 + 10).for_each(|n| feed.publish(removed(n)));
        let mut reader = Box::pin(feed.after(Some(2)));
        let (number, event) = reader.next().await.expect("an event");
        assert_eq!(event, FeedEvent::Reset);
        feed.publish(removed(7));
        assert_eq!(reader.next().await, Some((number + 1, removed(7))));
    }

    #[tokio::test]
    async fn numbers_of_another_server_mean_a_reset() {
        let feed = Feed::starting_after(50);
        for foreign in [3, 900] {
            assert_eq!(Box::pin(feed.after(Some(foreign))).next().await, Some((50, FeedEvent::Reset)));
        }
    }

    #[tokio::test]
    async fn a_waiting_reader_wakes_when_something_is_published() {
        let feed = Feed::starting_after(0);
        let reader = tokio::spawn({
            let feed = feed.clone();
            async move { Box::pin(feed.after(Some(0))).next().await }
        });
        tokio::task::yield_now().await;
        feed.publish(removed(1));
        assert_eq!(reader.await.expect("no panic"), Some((1, removed(1))));
    }
}
