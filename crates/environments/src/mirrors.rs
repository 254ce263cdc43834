//! Opens the mirrors of repositories, and repairs what a killed server or a power cut left in them.

use std::sync::Arc;

use git::{Mirror, WorktreeError};
use model::environment::EnvironmentStatus;

use crate::environments::{EnvironmentSlot, Environments, try_to_follow_settings};

impl Environments {
    /// Opens all mirrors that are not open.
    pub async fn open_mirrors(self: &Arc<Self>) {
        for slot in self.all() {
            self.open_mirror(&slot).await;
        }
    }

    /// Opens the mirror of a repository, unless it is open or is being cloned.
    pub(crate) async fn open_mirror(self: &Arc<Self>, slot: &EnvironmentSlot) {
        if slot.mirror().is_some() || slot.record().status == EnvironmentStatus::Cloning {
            return;
        }
        let mirror = match Mirror::open(&self.git, &self.home.layout.mirror(slot.id)) {
            Ok(mirror) => mirror,
            Err(error) => {
                if slot.is_newly_unusable(error.to_string()) {
                    tracing::error!(environment = %slot.id, %error, "repository has no usable mirror");
                }
                return;
            }
        };
        match mirror.recover().await {
            Ok(recovered) if recovered.removed.is_empty() => {}
            Ok(recovered) => tracing::info!(environment = %slot.id, removed = ?recovered.removed, "removed stale Git locks"),
            Err(error) => tracing::warn!(environment = %slot.id, %error, "could not remove stale Git locks"),
        }
        if self.boot.is_first_start
            && let Err(error) = self.clear_after_reboot(&mirror).await
        {
            tracing::error!(environment = %slot.id, %error, "could not clean up a mirror after a reboot");
        }
        slot.set_mirror(mirror.clone());
        try_to_follow_settings(slot).await;
        match durable::blocking(move || mirror.landings()).await {
            Ok(landings) if landings.is_empty() => {}
            Ok(landings) => {
                if let Some(tenants) = self.tenants() {
                    tenants.continue_updates(landings).await;
                }
            }
            Err(error) => tracing::error!(environment = %slot.id, %error, "could not look for interrupted branch updates"),
        }
    }

    /// Removes the locks of processes from before the last boot, and files that a power cut has emptied.
    async fn clear_after_reboot(&self, mirror: &Mirror) -> Result<(), WorktreeError> {
        let locks = mirror.remove_all_locks().await?;
        let is_unclean = self.boot.unclean_stop.as_ref().is_some_and(|stop| stop.boot_id == self.boot.boot_id);
        if is_unclean {
            let removed = mirror.remove_blank_files().await?;
            let discarded = mirror.discard_torn_administrations().await?;
            let broken = mirror.delete_broken_refs().await?;
            if !removed.is_empty() || discarded > 0 || !broken.is_empty() {
                let path = mirror.path().display();
                tracing::warn!(mirror = %path, ?removed, discarded, ?broken, "removed empty files that a power cut left");
            }
        }
        if !locks.is_empty() {
            tracing::info!(mirror = %mirror.path().display(), ?locks, "removed Git locks from before the last boot");
        }
        Ok(())
    }
}
