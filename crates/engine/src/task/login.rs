//! The Codex login of older versions, which containers shared.
//!
//! Its folder is removed when no run can still use it.

use super::tasks::Tasks;

impl Tasks {
    /// Removes the folder that an older version shared between containers, once no run can still use the folder. Blocks.
    pub(crate) fn remove_shared_login(&self) {
        if self.table.all().iter().any(|slot| slot.record().last_run().is_active()) {
            return;
        }
        if let Err(error) = self.codex_home.shared_copy().remove_or_put_aside() {
            tracing::warn!(%error, "could not remove the login folder of an older version");
        }
    }
}
