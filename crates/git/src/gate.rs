//! Allows one writer per mirror, and lets callers share fetches.
//!
//! A request for a fresh fetch is served by a fetch that started after the request. So any number of simultaneous requests lead
//! to at most two fetches: the running one, which serves none of them, and one for all of them. Invariant: no caller depends on
//! another caller that still waits; any remaining caller drives the fetch.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, WeakShared};
use jiff::Timestamp;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use super::fetch_error::FetchError;

/// The result of a shared fetch.
type Outcome = Result<(), Arc<FetchError>>;

/// The right to write to a mirror: to fetch, create or remove a worktree, or move refs. Only one exists at a time.
#[derive(Debug)]
pub struct WriterGuard {
    _guard: OwnedMutexGuard<()>,
}

/// A point in the sequence of a mirror's fetches. Any fetch that starts later is fresh enough for the holder of the ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchTicket(u64);

/// Allows one writer of a mirror at a time, and shares its fetches.
#[derive(Default)]
pub struct FetchGate {
    writer: Arc<tokio::sync::Mutex<()>>,
    fetches: Arc<Mutex<Fetches>>,
    /// Cancels the work of a writer that yields to others.
    yielding: Arc<Mutex<CancellationToken>>,
}

type Joined = WeakShared<BoxFuture<'static, Outcome>>;

/// Fetches are numbered in the order in which they start. References to them are weak, so that an abandoned fetch does not keep
/// its place.
#[derive(Default)]
struct Fetches {
    /// The number of started fetches.
    begun: u64,
    /// The number of the newest successful fetch.
    succeeded: u64,
    /// The running fetch.
    current: Option<(u64, Joined)>,
    /// The next fetch, which has not started yet.
    waiting: Option<Joined>,
    /// The newest fetch that has ended.
    last: Option<LastFetch>,
}

/// A fetch that has ended.
#[derive(Debug, Clone)]
pub struct LastFetch {
    /// When the fetch ended.
    pub at: Timestamp,
    /// Why the fetch failed, or `None` if it succeeded.
    pub error: Option<Arc<FetchError>>,
}

fn ask_to_yield(yielding: &Mutex<CancellationToken>) {
    yielding.lock().unwrap_or_else(PoisonError::into_inner).cancel();
}

fn locked(fetches: &Mutex<Fetches>) -> MutexGuard<'_, Fetches> {
    // The guarded data is consistent after every statement, even if a holder panicked.
    fetches.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FetchGate {
    /// Waits for the right to write.
    pub async fn writer(&self) -> WriterGuard {
        ask_to_yield(&self.yielding);
        WriterGuard { _guard: self.writer.clone().lock_owned().await }
    }

    /// Waits for the right to write, for work that can be repeated later. The token is cancelled as soon as another writer
    /// waits; the holder must then stop and drop the guard.
    pub async fn yielding_writer(&self) -> (WriterGuard, CancellationToken) {
        let token = CancellationToken::new();
        // Store the token before requesting the lock, so that no writer can queue up unnoticed.
        *self.yielding.lock().unwrap_or_else(PoisonError::into_inner) = token.clone();
        (WriterGuard { _guard: self.writer.clone().lock_owned().await }, token)
    }

    /// Returns a ticket for this moment.
    pub fn ticket(&self) -> FetchTicket {
        FetchTicket(locked(&self.fetches).begun)
    }

    /// Returns when a fetch that started after this call has ended. `fetch` is used only if there is no fetch to share.
    pub async fn fresh<F>(&self, fetch: impl FnOnce() -> F + Send + 'static) -> Outcome
    where
        F: Future<Output = Result<(), FetchError>> + Send + 'static,
    {
        self.since(self.ticket(), fetch).await
    }

    /// Returns when a fetch that started after the ticket's moment has ended, or immediately if one has already succeeded.
    pub async fn since<F>(&self, ticket: FetchTicket, fetch: impl FnOnce() -> F + Send + 'static) -> Outcome
    where
        F: Future<Output = Result<(), FetchError>> + Send + 'static,
    {
        let joined = {
            let mut fetches = locked(&self.fetches);
            if fetches.succeeded > ticket.0 {
                return Ok(());
            }
            let current = fetches.current.as_ref().filter(|(number, _)| *number > ticket.0);
            let joined = current.and_then(|(_, joined)| joined.upgrade());
            joined.or_else(|| fetches.waiting.as_ref().and_then(WeakShared::upgrade)).unwrap_or_else(|| {
                let begun = self.begin(fetch).shared();
                fetches.waiting = begun.downgrade();
                begun
            })
        };
        joined.await
    }

    /// Returns whether a fetch is running or waiting, and the last one that ended.
    pub fn state(&self) -> (bool, Option<LastFetch>) {
        let fetches = locked(&self.fetches);
        let lives = |joined: &Joined| joined.upgrade().is_some_and(|joined| joined.peek().is_none());
        let running =
            fetches.current.as_ref().is_some_and(|(_, joined)| lives(joined)) || fetches.waiting.as_ref().is_some_and(lives);
        (running, fetches.last.clone())
    }

    fn begin<F>(&self, fetch: impl FnOnce() -> F + Send + 'static) -> BoxFuture<'static, Outcome>
    where
        F: Future<Output = Result<(), FetchError>> + Send + 'static,
    {
        let (writer, fetches, yielding) = (self.writer.clone(), self.fetches.clone(), self.yielding.clone());
        async move {
            ask_to_yield(&yielding);
            let _writer = writer.lock_owned().await;
            let number = {
                let mut fetches = locked(&fetches);
                fetches.begun += 1;
                // From here on, this fetch serves only earlier requests.
                let number = fetches.begun;
                fetches.current = fetches.waiting.take().map(|joined| (number, joined));
                number
            };
            let outcome = fetch().await.map_err(Arc::new);
            let mut fetches = locked(&fetches);
            if outcome.is_ok() {
                fetches.succeeded = number;
            }
            fetches.last = Some(LastFetch { at: Timestamp::now(), error: outcome.as_ref().err().map(Arc::clone) });
            outcome
        }
        .boxed()
    }
}

impl std::fmt::Debug for FetchGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FetchGate").field("busy", &self.writer.try_lock().is_err()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::{join_all, poll_immediate};
    use tokio::sync::oneshot;

    use super::*;

    /// Counts fetches. A held fetch waits until it is released.
    #[derive(Default)]
    struct Remote {
        fetches: AtomicUsize,
    }

    impl Remote {
        fn fetch(self: &Arc<Self>) -> impl FnOnce() -> BoxFuture<'static, Result<(), FetchError>> + Send + use<> {
            let remote = self.clone();
            move || {
                remote.fetches.fetch_add(1, Ordering::SeqCst);
                async { Ok(()) }.boxed()
            }
        }

        fn held(
            self: &Arc<Self>,
            release: oneshot::Receiver<()>,
        ) -> impl FnOnce() -> BoxFuture<'static, Result<(), FetchError>> + Send + use<> {
            let remote = self.clone();
            move || {
                remote.fetches.fetch_add(1, Ordering::SeqCst);
                async move {
                    release.await.expect("the test releases the fetch");
                    Ok(())
                }
                .boxed()
            }
        }

        fn count(&self) -> usize {
            self.fetches.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn requests_at_one_moment_share_one_fetch() {
        let (gate, remote) = (FetchGate::default(), Arc::new(Remote::default()));
        let writer = gate.writer().await;
        let mut requests: Vec<_> = (0..25).map(|_| Box::pin(gate.fresh(remote.fetch()))).collect();
        for request in &mut requests {
            assert!(poll_immediate(request).await.is_none(), "the writer is busy");
        }
        drop(writer);
        assert!(join_all(requests).await.iter().all(Result::is_ok));
        assert_eq!(remote.count(), 1);
    }

    #[tokio::test]
    async fn a_fetch_under_way_serves_nobody_who_comes_later() {
        let (gate, remote) = (FetchGate::default(), Arc::new(Remote::default()));
        let (release, held) = oneshot::channel();
        let mut first = Box::pin(gate.fresh(remote.held(held)));
        assert!(poll_immediate(&mut first).await.is_none(), "the first fetch has started and waits");
        assert_eq!(remote.count(), 1);
        let mut later: Vec<_> = (0..25).map(|_| Box::pin(gate.fresh(remote.fetch()))).collect();
        for request in &mut later {
            assert!(poll_immediate(request).await.is_none(), "the running fetch started before this request");
        }
        release.send(()).expect("it waits");
        assert!(first.await.is_ok());
        assert!(join_all(later).await.iter().all(Result::is_ok));
        assert_eq!(remote.count(), 2);
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_others_served() {
        let (gate, remote) = (FetchGate::default(), Arc::new(Remote::default()));
        let (release, held) = oneshot::channel();
        let mut first = Box::pin(gate.fresh(remote.held(held)));
        assert!(poll_immediate(&mut first).await.is_none());
        let (mut leader, mut follower) = (Box::pin(gate.fresh(remote.fetch())), Box::pin(gate.fresh(remote.fetch())));
        assert!(poll_immediate(&mut leader).await.is_none() && poll_immediate(&mut follower).await.is_none());
        drop(leader);
        release.send(()).expect("it waits");
        assert!(first.await.is_ok() && follower.await.is_ok());
        assert_eq!(remote.count(), 2);
    }

    #[tokio::test]
    async fn a_fetch_that_nobody_waits_for_does_not_block_the_writer() {
        let (gate, remote) = (FetchGate::default(), Arc::new(Remote::default()));
        let writer = gate.writer().await;
        let mut abandoned = Box::pin(gate.fresh(remote.fetch()));
        assert!(poll_immediate(&mut abandoned).await.is_none(), "the fetch is in the queue");
        drop(abandoned);
        drop(writer);
        drop(gate.writer().await);
        assert!(gate.fresh(remote.fetch()).await.is_ok());
        assert_eq!(remote.count(), 1);
    }

    #[tokio::test]
    async fn a_failed_fetch_fails_all_it_would_have_served_and_nobody_after() {
        let (gate, remote) = (FetchGate::default(), Arc::new(Remote::default()));
        let failing = || async { Err(FetchError::Cancelled) };
        let writer = gate.writer().await;
        let (mut one, mut two) = (Box::pin(gate.fresh(failing)), Box::pin(gate.fresh(remote.fetch())));
        assert!(poll_immediate(&mut one).await.is_none() && poll_immediate(&mut two).await.is_none());
        drop(writer);
        assert!(one.await.is_err() && two.await.is_err(), "the second request joined the first fetch");
        assert!(gate.fresh(remote.fetch()).await.is_ok());
    }

    #[tokio::test]
    async fn a_fetch_waits_for_the_writer() {
        let (gate, remote) = (FetchGate::default(), Arc::new(Remote::default()));
        let writer = gate.writer().await;
        let mut fetch = Box::pin(gate.fresh(remote.fetch()));
        assert!(poll_immediate(&mut fetch).await.is_none());
        assert_eq!(remote.count(), 0);
        drop(writer);
        assert!(fetch.await.is_ok());
    }

    #[tokio::test]
    async fn whoever_asked_before_a_fetch_began_is_served_by_it_even_when_it_is_over() {
        let (gate, remote) = (FetchGate::default(), Arc::new(Remote::default()));
        let early = gate.ticket();
        gate.fresh(remote.fetch()).await.expect("it works");
        gate.since(early, remote.fetch()).await.expect("it works");
        assert_eq!(remote.count(), 1, "the fetch started after the ticket");
        gate.since(gate.ticket(), remote.fetch()).await.expect("it works");
        assert_eq!(remote.count(), 2, "the second ticket is newer than the first fetch");
    }

    #[tokio::test]
    async fn whoever_asked_before_a_fetch_began_joins_it_while_it_is_under_way() {
        let (gate, remote) = (FetchGate::default(), Arc::new(Remote::default()));
        let early = gate.ticket();
        let (release, released) = oneshot::channel();
        let mut first = Box::pin(gate.fresh(remote.held(released)));
        assert!(poll_immediate(&mut first).await.is_none());
        let mut second = Box::pin(gate.since(early, remote.fetch()));
        assert!(poll_immediate(&mut second).await.is_none());
        release.send(()).expect("somebody waits");
        first.await.expect("it works");
        second.await.expect("it works");
        assert_eq!(remote.count(), 1);
    }

    #[tokio::test]
    async fn a_writer_or_fetch_makes_a_yielding_writer_stop() {
        let (gate, remote) = (FetchGate::default(), Arc::new(Remote::default()));
        let (guard, token) = gate.yielding_writer().await;
        assert!(!token.is_cancelled(), "no other writer waits yet");
        let mut writer = Box::pin(gate.writer());
        assert!(poll_immediate(&mut writer).await.is_none());
        assert!(token.is_cancelled());
        drop(guard);
        drop(writer.await);
        let (guard, token) = gate.yielding_writer().await;
        assert!(!token.is_cancelled(), "an earlier writer's request does not count");
        let mut fetch = Box::pin(gate.fresh(remote.fetch()));
        assert!(poll_immediate(&mut fetch).await.is_none());
        assert!(token.is_cancelled());
        drop(guard);
        assert!(fetch.await.is_ok());
    }

    #[tokio::test]
    async fn a_writer_that_queues_behind_a_yielding_one_is_noticed() {
        let gate = FetchGate::default();
        let first = gate.writer().await;
        let mut yielding = Box::pin(gate.yielding_writer());
        assert!(poll_immediate(&mut yielding).await.is_none());
        let mut second = Box::pin(gate.writer());
        assert!(poll_immediate(&mut second).await.is_none());
        drop(first);
        let (guard, token) = yielding.await;
        assert!(token.is_cancelled(), "the second writer already waits");
        drop(guard);
        drop(second.await);
    }
}
