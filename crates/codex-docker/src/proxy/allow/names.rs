//! Caches the addresses of host names, so that many connections need only one lookup.
//!
//! Connections that need the same name at the same time share a lookup. The system's resolver reports no TTL, so addresses are
//! kept for a fixed time, and failures only briefly. Invariant: a cached address is not a permission. The proxy checks the
//! address for every connection.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long addresses are cached.
const KEEP_ADDRESSES: Duration = Duration::from_mins(1);

/// How long a failure is cached, so that a client that retries immediately does not cause another lookup.
const KEEP_FAILURE: Duration = Duration::from_secs(3);

/// The maximum number of cached names. An entry such as `*.example.com` allows any number of names.
const NAMES: usize = 1000;

/// A running lookup.
pub(super) type RunningLookup = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

type Lookup = Box<dyn Fn(String) -> RunningLookup + Send + Sync>;

/// A cache of names and their addresses.
pub(super) struct Names {
    lookup: Lookup,
    known: Mutex<HashMap<String, Arc<Name>>>,
}

/// A cached name. Its lock is held during a lookup.
type Name = tokio::sync::Mutex<Option<Answer>>;

#[derive(Debug)]
struct Answer {
    until: Instant,
    addresses: Result<Vec<IpAddr>, String>,
}

/// Asks the system's resolver.
pub(super) fn ask_system(name: String) -> RunningLookup {
    Box::pin(async move {
        // The port does not affect the lookup.
        let found = tokio::net::lookup_host((name, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    })
}

impl Names {
    /// Creates a cache that uses this lookup.
    pub(super) fn new(lookup: impl Fn(String) -> RunningLookup + Send + Sync + 'static) -> Self {
        Self { lookup: Box::new(lookup), known: Mutex::default() }
    }

    /// Returns the addresses of a host, which can be an address itself.
    pub(super) async fn find(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        let name = self.name(host.strip_suffix('.').unwrap_or(host));
        let mut answer = name.lock().await;
        if let Some(known) = answer.as_ref().filter(|answer| answer.is_fresh()) {
            return known.addresses.clone();
        }
        let addresses = (self.lookup)(host.to_owned()).await.map_err(|error| error.to_string());
        let keep = if addresses.is_ok() { KEEP_ADDRESSES } else { KEEP_FAILURE };
        *answer = Some(Answer { until: Instant::now() + keep, addresses: addresses.clone() });
        addresses
    }

    fn name(&self, host: &str) -> Arc<Name> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = known.get(host) {
            return Arc::clone(name);
        }
        if known.len() >= NAMES {
            // Keep names with a lookup in progress, so that the lookup is still shared.
            known.retain(|_, name| Arc::strong_count(name) > 1);
        }
        Arc::clone(known.entry(host.to_owned()).or_default())
    }
}

impl Answer {
    fn is_fresh(&self) -> bool {
        Instant::now() < self.until
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Returns a cache and a counter of its lookups. Every name has the same address, except that names that start with `missing`
    /// are not found.
    fn counted() -> (Arc<Names>, Arc<AtomicUsize>) {
        let lookups = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&lookups);
        let names = Names::new(move |name| {
            count.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                tokio::task::yield_now().await;
                if name.starts_with("missing") { Err(io::Error::other("no such name")) } else { Ok(vec![[192, 0, 2, 1].into()]) }
            })
        });
        (Arc::new(names), lookups)
    }

    #[tokio::test]
    async fn connections_at_the_same_time_and_later_share_one_lookup() {
        let (names, lookups) = counted();
        let asked = (0..60).map(|_| {
            let names = Arc::clone(&names);
            tokio::spawn(async move { names.find("registry.example").await })
        });
        for answer in futures_util::future::join_all(asked.collect::<Vec<_>>()).await {
            assert_eq!(answer.expect("the lookup ends"), Ok(vec![IpAddr::from([192, 0, 2, 1])]));
        }
        names.find("registry.example.").await.expect("the same name");
        assert_eq!(lookups.load(Ordering::SeqCst), 1);
        names.find("other.example").await.expect("another name");
        assert_eq!(lookups.load(Ordering::SeqCst), 2);
        names.find("192.0.2.7").await.expect("an address");
        assert_eq!(lookups.load(Ordering::SeqCst), 2, "an address is not looked up");
    }

    #[tokio::test]
    async fn a_failure_is_shared_and_forgotten_sooner() {
        let (names, lookups) = counted();
        for _ in 0..3 {
            assert_eq!(names.find("missing.example").await, Err("no such name".to_owned()));
        }
        assert_eq!(lookups.load(Ordering::SeqCst), 1);
        names.find("found.example").await.expect("found");
        let kept = async |name: &str| names.name(name).lock().await.as_ref().expect("an answer").until - Instant::now();
        assert!(kept("missing.example").await <= KEEP_FAILURE && kept("found.example").await > Duration::from_secs(30));
    }

    #[tokio::test]
    async fn an_old_answer_is_looked_up_again() {
        let (names, lookups) = counted();
        names.find("a.example").await.expect("found");
        names.name("a.example").lock().await.as_mut().expect("an answer").until = Instant::now();
        names.find("a.example").await.expect("found");
        assert_eq!(lookups.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_client_that_makes_names_up_fills_no_memory() {
        let (names, _) = counted();
        for n in 0..3 * NAMES {
            names.find(&format!("{n}.example")).await.expect("found");
        }
        assert!(names.known.lock().expect("sound").len() <= NAMES);
    }
}
