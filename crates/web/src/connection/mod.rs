//! The open TCP connections, and the choice of one to close when there are too many.
//!
//! A connection is trusted if its latest request had a valid session or token. All others are strangers, which have a smaller limit. At
//! the limit, a new connection replaces the stranger that has been idle the longest. Connections that wait for a request or its body are
//! idle, so incomplete requests are closed first. Invariant: a trusted connection is never closed for another one, and there are never
//! more connections than the limits allow.
//!
//! * [`stall`]: closes strangers that do not read their responses.
//!
//! Connections over the unix socket have no limits.

pub(crate) mod stall;

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A stranger whose response takes longer than this can be closed for a new connection.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);

/// The limits for connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The most connections in total.
    pub(crate) all: usize,
    /// The most connections of strangers.
    pub(crate) strangers: usize,
}

impl Limits {
    /// Returns limits with a quarter for strangers.
    pub(crate) fn of(all: usize) -> Self {
        let all = all.max(8);
        Self { all, strangers: all / 4 }
    }

    fn trusted(self) -> usize {
        self.all - self.strangers
    }
}

/// The open TCP connections of all listeners.
#[derive(Clone)]
pub(crate) struct Connections(Arc<Inner>);

struct Inner {
    limits: Limits,
    state: Mutex<State>,
    /// Notified when a connection is closed.
    closed: Notify,
}

#[derive(Default)]
struct State {
    opened: u64,
    entries: BTreeMap<u64, Entry>,
}

/// Whether the latest request of a connection had a valid session or token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    Trusted,
    Stranger,
}

struct Entry {
    trust: Trust,
    doing: Activity,
    evicted: CancellationToken,
}

/// The activity of a connection, and the time at which it started.
#[derive(Debug, Clone, Copy)]
enum Activity {
    /// The connection waits for a request or for the rest of one.
    Idle(Instant),
    /// The server is answering a complete request.
    Answering(Instant),
}

impl State {
    fn count(&self, trust: Trust) -> usize {
        self.entries.values().filter(|entry| entry.trust == trust).count()
    }

    /// Returns the stranger to close: the one that has been idle the longest, otherwise one whose response takes too long.
    fn victim(&self, now: Instant) -> Option<&Entry> {
        let strangers = || self.entries.values().filter(|entry| entry.trust == Trust::Stranger && !entry.evicted.is_cancelled());
        let idle = strangers().filter_map(|entry| match entry.doing {
            Activity::Idle(since) => Some((since, entry)),
            Activity::Answering(_) => None,
        });
        let slow = strangers().filter_map(|entry| match entry.doing {
            Activity::Answering(since) if now.duration_since(since) > LONGEST_ANSWER => Some((since, entry)),
            Activity::Answering(_) | Activity::Idle(_) => None,
        });
        idle.min_by_key(|(since, _)| *since).or_else(|| slow.min_by_key(|(since, _)| *since)).map(|(_, entry)| entry)
    }
}

/// The result of trying to admit a connection.
enum Admission {
    Open(Connection),
    /// Another connection is being closed. Try again when it has closed.
    Wait,
    /// All connections are in use.
    Refused,
}

impl Connections {
    pub(crate) fn new(limits: Limits) -> Self {
        Self(Arc::new(Inner { limits, state: Mutex::default(), closed: Notify::new() }))
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Every statement leaves the state consistent, even if another thread panicked.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a new connection, after closing another one if necessary. Returns `None` if none can be closed.
    pub(crate) async fn admit(&self) -> Option<Connection> {
        loop {
            let mut closed = pin!(self.0.closed.notified());
            closed.as_mut().enable();
            match self.try_admit() {
                Admission::Open(connection) => return Some(connection),
                Admission::Wait => closed.await,
                Admission::Refused => return None,
            }
        }
    }

    fn try_admit(&self) -> Admission {
        let mut state = self.locked();
        let now = Instant::now();
        let limits = self.0.limits;
        if state.count(Trust::Stranger) < limits.strangers && state.entries.len() < limits.all {
            state.opened += 1;
            let (id, evicted) = (state.opened, CancellationToken::new());
            state.entries.insert(id, Entry { trust: Trust::Stranger, doing: Activity::Idle(now), evicted: evicted.clone() });
            return Admission::Open(Connection { caller: Caller { all: self.clone(), id }, evicted });
        }
        // Close one connection at a time, so that no more are closed than necessary.
        if state.entries.values().any(|entry| entry.evicted.is_cancelled()) {
            return Admission::Wait;
        }
        match state.victim(now) {
            Some(victim) => {
                victim.evicted.cancel();
                Admission::Wait
            }
            None => Admission::Refused,
        }
    }
}

/// An admitted connection. Dropping it frees its place.
pub(crate) struct Connection {
    caller: Caller,
    evicted: CancellationToken,
}

impl Connection {
    /// Returns the client of the connection.
    pub(crate) fn caller(&self) -> Caller {
        self.caller.clone()
    }

    /// Runs the work of the connection until it ends, or until another connection replaces it.
    pub(crate) async fn hold(self, work: impl Future<Output = ()>) {
        // The work owns the stream and is dropped before the place is freed.
        self.evicted.run_until_cancelled(work).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.caller.all.locked().entries.remove(&self.caller.id);
        self.caller.all.0.closed.notify_waiters();
    }
}

/// The client of a TCP connection, which is an extension of its requests.
#[derive(Clone)]
pub(crate) struct Caller {
    all: Connections,
    id: u64,
}

impl Caller {
    fn edit(&self, edit: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.all.locked().entries.get_mut(&self.id) {
            edit(entry);
        }
    }

    /// Records whether the latest request had a valid session or token.
    pub(crate) fn trust(&self, trust: Trust) {
        let mut state = self.all.locked();
        // Trusted clients beyond their limit stay strangers, so that there is always a place for both.
        let has_room = state.count(Trust::Trusted) < self.all.0.limits.trusted();
        if let Some(entry) = state.entries.get_mut(&self.id) {
            let has_room = has_room || entry.trust == Trust::Trusted;
            entry.trust = if has_room { trust } else { Trust::Stranger };
        }
    }

    pub(crate) fn is_trusted(&self) -> bool {
        self.all.locked().entries.get(&self.id).is_some_and(|entry| entry.trust == Trust::Trusted)
    }

    /// Records that a complete request has arrived.
    pub(crate) fn asked(&self) {
        self.edit(|entry| entry.doing = Activity::Answering(Instant::now()));
    }

    fn answered(&self) {
        self.edit(|entry| entry.doing = Activity::Idle(Instant::now()));
    }
}

/// The body of a response, which records when the response ends.
pub(crate) struct Answer {
    body: Body,
    caller: Caller,
}

impl Answer {
    pub(crate) fn of(body: Body, caller: Caller) -> Body {
        Body::new(Self { body, caller })
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.caller.answered();
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn connections(all: usize, strangers: usize) -> Connections {
        Connections::new(Limits { all, strangers })
    }

    /// Opens a connection without waiting.
    fn open(all: &Connections) -> Connection {
        all.admit().now_or_never().flatten().expect("the limit allows another connection")
    }

    /// Starts work on a connection that ends only when the connection is replaced.
    fn held(connection: Connection) -> tokio::task::JoinHandle<()> {
        tokio::spawn(connection.hold(std::future::pending()))
    }

    async fn tick() {
        tokio::time::advance(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_stranger_that_has_been_idle_for_longest_gives_way() {
        let all = connections(8, 3);
        let (first, second, third) = (open(&all), open(&all), open(&all));
        let first_caller = first.caller();
        tick().await;
        // The first connection has been answered since then, so the second one has been idle the longest.
        first_caller.asked();
        first_caller.answered();
        let (first, second, third) = (held(first), held(second), held(third));
        let fourth = all.admit().await.expect("an idle connection is replaced");
        second.await.expect("the task does not panic");
        assert!(!first.is_finished() && !third.is_finished());
        assert_eq!(all.locked().entries.len(), 3);
        drop(fourth);
    }

    #[tokio::test(start_paused = true)]
    async fn trusted_connections_never_give_way_and_strangers_never_take_their_share() {
        let all = connections(8, 2);
        let trusted: Vec<_> = (0..6).map(|_| open(&all)).inspect(|one| one.caller().trust(Trust::Trusted)).map(held).collect();
        for _ in 0..1000 {
            held(all.admit().await.expect("a stranger is replaced"));
        }
        let counts = |state: &State| (state.count(Trust::Trusted), state.count(Trust::Stranger));
        assert_eq!(counts(&all.locked()), (6, 2));
        assert!(trusted.iter().all(|one| !one.is_finished()));
        // A client beyond the limit stays a stranger, so that strangers can still sign in.
        let surplus = all.admit().await.expect("a stranger is replaced");
        surplus.caller().trust(Trust::Trusted);
        assert!(!surplus.caller().is_trusted());
        drop(trusted);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_answered_does_not_give_way_unless_it_takes_too_long() {
        let all = connections(8, 2);
        let (first, second) = (open(&all), open(&all));
        let callers = [first.caller(), second.caller()];
        callers.iter().for_each(Caller::asked);
        let (first, second) = (held(first), held(second));
        assert!(
            all.admit().now_or_never().expect("the answer is immediate").is_none(),
            "connections that wait for their response are not replaced"
        );
        tokio::time::advance(LONGEST_ANSWER + Duration::from_secs(1)).await;
        callers[1].asked();
        assert!(all.admit().await.is_some());
        first.await.expect("the task does not panic");
        assert!(!second.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_trusted_only_while_its_latest_request_was() {
        let all = connections(8, 2);
        let one = open(&all);
        one.caller().trust(Trust::Trusted);
        assert!(one.caller().is_trusted());
        // A proxy can send requests of strangers over the same connection.
        one.caller().trust(Trust::Stranger);
        assert!(!one.caller().is_trusted());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_over_when_its_body_is_gone() {
        let all = connections(8, 2);
        let one = open(&all);
        one.caller().asked();
        let body = Answer::of(Body::from("hello"), one.caller());
        assert_eq!(body.size_hint().exact(), Some(5));
        assert!(matches!(all.locked().entries[&1].doing, Activity::Answering(_)));
        drop(body);
        assert!(matches!(all.locked().entries[&1].doing, Activity::Idle(_)));
    }
}
