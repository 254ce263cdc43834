//! One writer per mirror, and fetches that are joined.
//!
//! Whoever asks for a fresh fetch is served by one that began after the asking, so any number of requests at one moment lead
//! to at most two fetches: the one under way, which serves none of them, and one for them all.
//! Invariant: nobody who waits depends on somebody else still waiting; whoever is left drives the fetch on.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, WeakShared};
use tokio::sync::OwnedMutexGuard;

use super::fetch::FetchError;

/// What a joined fetch came to.
type Outcome = Result<(), Arc<FetchError>>;

/// The right to write to a mirror: fetch, make or drop a worktree, move refs. One at a time.
#[derive(Debug)]
pub struct WriterGuard {
    _guard: OwnedMutexGuard<()>,
}

/// Guards one mirror.
#[derive(Default)]
pub struct FetchGate {
    writer: Arc<tokio::sync::Mutex<()>>,
    /// The fetch that has not begun yet. Held weakly: when nobody waits for it any more, it must not keep its place.
    waiting: Arc<Mutex<Option<WeakShared<BoxFuture<'static, Outcome>>>>>,
}

impl FetchGate {
    /// Waits for the right to write.
    pub async fn writer(&self) -> WriterGuard {
        WriterGuard { _guard: self.writer.clone().lock_owned().await }
    }

    /// Returns when a fetch that began after this call has ended. `fetch` is used only if nobody else's can be joined.
    pub async fn fresh<F>(&self, fetch: impl FnOnce() -> F + Send + 'static) -> Outcome
    where
        F: Future<Output = Result<(), FetchError>> + Send + 'static,
    {
        let joined = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(joined) = waiting.as_ref().and_then(WeakShared::upgrade) {
                joined
            } else {
                let begun = self.begin(fetch).shared();
                *waiting = begun.downgrade();
                begun
            }
        };
        joined.await
    }

    fn begin<F>(&self, fetch: impl FnOnce() -> F + Send + 'static) -> BoxFuture<'static, Outcome>
    where
        F: Future<Output = Result<(), FetchError>> + Send + 'static,
    {
        let (writer, waiting) = (self.writer.clone(), self.waiting.clone());
        async move {
            let _writer = writer.lock_owned().await;
            // From here on it cannot serve who comes later.
            waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
            fetch().await.map_err(Arc::new)
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

    /// Counts fetches; the first one waits until it is let go.
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
                    release.await.expect("the test lets it go");
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
        assert!(poll_immediate(&mut first).await.is_none(), "it has begun and waits");
        assert_eq!(remote.count(), 1);
        let mut later: Vec<_> = (0..25).map(|_| Box::pin(gate.fresh(remote.fetch()))).collect();
        for request in &mut later {
            assert!(poll_immediate(request).await.is_none(), "the fetch under way is too old for it");
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
        assert!(poll_immediate(&mut abandoned).await.is_none(), "it stands in the queue");
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
        assert!(one.await.is_err() && two.await.is_err(), "the second one joined the first");
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
}
