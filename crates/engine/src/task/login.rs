//! The Codex login of older versions, which containers shared.
//!
//! It is adopted once, and its folder is removed when no run can still use it.

use runner::worker::Login;
use store::CodexHome;

use crate::inner::Inner;

impl Inner {
    /// Adopts the login of an older version. Blocks.
    pub(crate) fn adopt_login(home: &CodexHome) -> std::io::Result<()> {
        if let Some(login) = Login::adopt(home)? {
            tracing::warn!(
                login = login.describe(),
                "recorded the existing Codex login; if you are not sure that it is yours, log in again: codex-orchestrator login"
            );
        }
        Ok(())
    }

    /// Removes the folder that an older version shared between containers, once no run can still use the folder. Blocks.
    pub(crate) fn remove_shared_login(&self) {
        if self.tasks.all().iter().any(|slot| slot.record().last_run().is_active()) {
            return;
        }
        if let Err(error) = self.codex_home.shared_copy().remove_or_put_aside() {
            tracing::warn!(%error, "could not remove the login folder of an older version");
        }
    }
}
