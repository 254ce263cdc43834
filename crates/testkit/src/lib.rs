//! Shared parts of the tests: homes with real servers, a real upstream repository, scripted workers, the pinned versions of the Codex
//! CLI, and images and containers.
//!
//! Only tests use this crate. Everything is real except the model and the agent of a scripted worker.

pub mod browser;
pub mod chaos;
pub mod codex;
pub mod contract;
pub mod docker;
pub mod fake_server;
pub mod forge;
pub mod gpg;
mod home;
pub mod lfs_server;
pub mod login;
pub mod npm;
pub mod own_engine;
pub mod own_podman;
pub mod pages;
pub mod pictures;
pub mod power_disk;
pub mod process;
pub mod projects;
pub mod push;
pub mod receiver;
pub mod registries;
pub mod script;
pub mod shell_agent;
pub mod small_disk;
pub mod syscalls;
pub mod upstream;
pub mod words;
pub mod worker;

use std::net::SocketAddr;

pub use home::{PREPARED_WORKTREES, TestHome};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Returns a builder of an HTTP client. It trusts no certificates, and resolves names below `localhost` to this machine, like
/// browsers.
pub fn http_client() -> reqwest::ClientBuilder {
    // Only the first call has an effect, and all calls install the same provider.
    drop(rustls::crypto::ring::default_provider().install_default());
    // A test may block its thread for so long that the server closes an idle connection, so connections are not reused.
    reqwest::Client::builder().no_proxy().tls_certs_only([]).pool_max_idle_per_host(0).dns_resolver(BrowserNames)
}

struct BrowserNames;

impl Resolve for BrowserNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = if name.as_str().ends_with(".localhost") {
                vec![SocketAddr::from(([127, 0, 0, 1], 0))]
            } else {
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect()
            };
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}

/// Returns the resident memory of a process in MiB, including shared pages of its program, as reported by Linux.
///
/// # Panics
///
/// If the process does not exist.
pub fn resident_mib(pid: u32) -> f64 {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux reports the resident memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).expect("a number") / 1024.0
}

/// Waits until a condition holds. For conditions whose changes cause no event.
///
/// # Panics
/// If the condition does not hold within the limit.
#[track_caller]
pub fn until(limit: std::time::Duration, what: &str, is_so: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < limit, "timed out waiting until {what}");
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
}
