//! Builds a repository's own image as soon as its Dockerfile is set, so that the first task does not wait for it.
//!
//! The steps and a failure exist only in memory. A task builds the image again if this has failed, or if the server was restarted.

use std::sync::Arc;

use environments::EnvironmentSlot;
use model::environment::EnvironmentStatus;
use protocol::Progress;

use super::Tasks;

impl Tasks {
    /// Starts to build the image of a repository whose Dockerfile was changed. A build of the earlier Dockerfile is stopped. While a
    /// repository is cloned, nothing is built.
    pub(crate) fn build_image(self: &Arc<Self>, slot: &Arc<EnvironmentSlot>) {
        let record = slot.record();
        if record.status != EnvironmentStatus::Ready {
            return;
        }
        let cancel = slot.image.start(&self.cancel);
        let is_set = record.container.dockerfile.is_some();
        slot.set_progress(is_set.then(|| Progress { phase: "Building the image".to_owned(), percent: None }));
        self.environments.publish(slot);
        if !is_set {
            return;
        }
        let (tasks, slot) = (Arc::clone(self), Arc::clone(slot));
        self.tracker.spawn(async move {
            let on_step = Box::new(|step: &str| {
                if !cancel.is_cancelled() {
                    slot.set_progress(Some(progress(step)));
                    tasks.environments.publish(&slot);
                }
            });
            let built = tasks.runner.build_image(slot.id, &*tasks, on_step, &cancel).await;
            // A later build shows its own progress.
            if !cancel.is_cancelled() {
                slot.set_progress(None);
                slot.image.end(built.err());
                tasks.environments.publish(&slot);
            }
        });
    }
}

/// Reads a step such as `[3/9] RUN npm ci`.
pub(super) fn progress(step: &str) -> Progress {
    let numbers = step.strip_prefix('[').and_then(|rest| rest.split_once(']')).and_then(|(numbers, _)| numbers.split_once('/'));
    let numbers = numbers.and_then(|(number, total)| Some((number.parse::<u32>().ok()?, total.parse::<u32>().ok()?)));
    let done = numbers.and_then(|(number, total)| (number.saturating_sub(1) * 100).checked_div(total));
    let percent = done.and_then(|done| u8::try_from(done.min(100)).ok());
    Progress { phase: format!("Building the image: {step}"), percent }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_before_the_current_one_are_done() {
        let percent = |step: &str| progress(step).percent;
        assert_eq!((percent("[1/4] FROM x"), percent("[4/4] RUN y")), (Some(0), Some(75)));
        assert_eq!((percent("[0/0] x"), percent("[a/b] x"), percent("x")), (None, None, None));
        assert_eq!(progress("[1/4] FROM x").phase, "Building the image: [1/4] FROM x");
    }
}
