//! Decides which refusals are reported: each host and port once, up to a limit.
//! Pure. The limit bounds the memory and the number of lines if a container tries many hosts.

use std::collections::HashSet;

/// The maximum number of hosts that are reported.
const TOLD: usize = 1000;

/// The reason that is reported with the last host.
const LAST: &str = "further hosts are not reported";

/// A host that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// The host, as it was requested.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Why it was refused.
    pub reason: &'static str,
}

/// The hosts that were reported.
#[derive(Debug, Default)]
pub(super) struct ReportedHosts {
    hosts: HashSet<(String, u16)>,
}

impl ReportedHosts {
    /// Returns the refusal to report, or `None` if it was already reported.
    pub(super) fn news(&mut self, refusal: &Refusal) -> Option<Refusal> {
        if self.hosts.len() >= TOLD || !self.hosts.insert((refusal.host.clone(), refusal.port)) {
            return None;
        }
        let reason = if self.hosts.len() == TOLD { LAST } else { refusal.reason };
        Some(Refusal { reason, ..refusal.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(host: &str, port: u16, reason: &'static str) -> Refusal {
        Refusal { host: host.to_owned(), port, reason }
    }

    #[test]
    fn a_host_is_told_of_once_for_each_port_whatever_the_reasons() {
        let mut told = ReportedHosts::default();
        let first = refusal("a", 443, "one");
        assert_eq!(told.news(&first), Some(first.clone()));
        assert_eq!(told.news(&first), None);
        assert_eq!(told.news(&refusal("a", 443, "another")), None);
        assert!(told.news(&refusal("a", 80, "one")).is_some() && told.news(&refusal("b", 443, "one")).is_some());
    }

    #[test]
    fn after_many_it_says_that_there_are_more_and_then_nothing() {
        let mut told = ReportedHosts::default();
        let said: Vec<Refusal> =
            (0..3 * TOLD).filter_map(|n| told.news(&refusal(&format!("host-{n}"), 443, "not listed"))).collect();
        assert_eq!(said.len(), TOLD);
        assert!(said[..TOLD - 1].iter().all(|refusal| refusal.reason == "not listed"));
        assert_eq!(said[TOLD - 1].reason, LAST);
    }
}
