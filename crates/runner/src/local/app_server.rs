//! Remembers which repositories have a Codex without a usable app server, so that their next runs use `codex exec` at once.
//!
//! Nothing here is stored on disk: another image can have another Codex, so the app server is tried again after a while.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::ids::EnvironmentId;
use tokio::time::Instant;

/// How long to wait before the app server is tried again.
const TRY_AGAIN: Duration = Duration::from_hours(1);

/// Why the app servers of repositories cannot be used.
#[derive(Debug, Default)]
pub(super) struct UnusableAppServers(Mutex<HashMap<EnvironmentId, (Instant, String)>>);

impl UnusableAppServers {
    pub(super) fn add(&self, repository: EnvironmentId, reason: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(repository).or_insert_with(|| (Instant::now(), reason.to_owned()));
    }

    /// Returns why the app server of a repository cannot be used, if it was tried recently.
    pub(super) fn reason(&self, repository: EnvironmentId) -> Option<String> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (since, _)| since.elapsed() < TRY_AGAIN);
        known.get(&repository).map(|(_, reason)| reason.clone())
    }
}

/// Returns the note for a run that used `codex exec` instead.
pub(super) fn note(reason: &str) -> String {
    format!("Codex's app server could not be used: {reason}; this run used `codex exec`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_app_server_is_tried_again_after_an_hour() {
        let (servers, [one, other]) =
            (UnusableAppServers::default(), [1, 2].map(uuid::Uuid::from_u128).map(EnvironmentId::from_uuid));
        servers.add(one, "too old");
        assert_eq!((servers.reason(one).as_deref(), servers.reason(other)), (Some("too old"), None));
        tokio::time::advance(TRY_AGAIN / 2).await;
        servers.add(one, "still too old");
        assert_eq!(servers.reason(one).as_deref(), Some("too old"));
        tokio::time::advance(TRY_AGAIN / 2).await;
        assert_eq!(servers.reason(one), None);
    }
}
