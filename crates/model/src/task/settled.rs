//! What the result of a run says about its commit: what was committed and omitted, or why nothing was.
//!
//! Work that is not committed is never lost: it stays in the worktree, and the next run commits it.

use super::record::TaskRecord;
use crate::commit::{Choices, Limits, OmittedFiles, PathText};
use crate::error_code::ErrorCode;
use crate::ids::ObjectId;
use crate::run::{RunEnd, RunError, RunOutcome};
use crate::setup::FilePath;

impl TaskRecord {
    /// Returns what people decided about files of the task, with the limits of its repository.
    pub fn choices(&self, limits: Limits) -> Choices {
        let held = self.held.as_ref().map(|held| held.paths()).unwrap_or_default();
        let placed = self.placed_files.keys().filter_map(FilePath::in_worktree);
        let placed = placed.map(|path| PathText::new(path.as_bytes())).collect();
        Choices { limits, placed, commit: vec![], ignore: self.ignored_paths.clone(), held }
    }

    /// Records the tip of the branch after the last run, if the run moved it, and what its commit omitted.
    pub fn note_commit(&self, end: &mut RunEnd, head: &ObjectId, omitted: Vec<OmittedFiles>) {
        let before = self.head_before(self.last_run().number);
        end.commit = Some(head.clone()).filter(|head| Some(head) != before);
        end.omitted = omitted;
    }
}

impl RunEnd {
    /// Adjusts the result of a run whose work could not be committed.
    pub fn uncommitted(&mut self, error: RunError) {
        let note = format!("could not commit the changes: {}", error.message);
        self.notes.push(note.clone());
        if self.outcome == RunOutcome::Completed {
            self.outcome = RunOutcome::Failed(RunError {
                code: ErrorCode::CommitFailed.into(),
                message: note,
                hints: [error.hints, vec!["the changes are in the task's worktree; the next run commits them".to_owned()]]
                    .concat(),
            });
        }
    }

    /// Adjusts the result of a run that was stopped before its commit, because a stop does not wait for the commit.
    pub fn stopped_uncommitted(&mut self) {
        let note = "stopped before the changes were committed; they are in the task's worktree, and the next run commits them";
        self.notes.push(note.to_owned());
        if self.outcome == RunOutcome::Completed {
            self.outcome = RunOutcome::Stopped;
        }
    }
}

impl RunOutcome {
    /// Returns the outcome of a run that may have reported its end before its work was on the disk.
    #[must_use]
    pub fn without_power(self) -> Self {
        match self {
            Self::Completed => Self::Interrupted(RunError {
                code: ErrorCode::Interrupted.into(),
                message:
                    "the machine stopped before this run's changes were saved to disk; the last files that the run wrote may be \
                          missing"
                        .to_owned(),
                hints: vec!["review the changes, then retry the task".to_owned()],
            }),
            Self::Failed(_) | Self::Stopped | Self::Interrupted(_) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn work_that_is_not_committed_fails_a_run_that_completed() {
        let mut end = samples::success();
        end.uncommitted(RunError::new(ErrorCode::CommitFailed, "no space").hint("free up space"));
        let error = end.error().expect("the run failed");
        assert_eq!((error.message.as_str(), error.hints.len()), ("could not commit the changes: no space", 2));
        let mut stopped = RunEnd { outcome: RunOutcome::Stopped, ..samples::success() };
        stopped.uncommitted(RunError::new(ErrorCode::CommitFailed, "no space"));
        assert_eq!((stopped.outcome, stopped.notes.len()), (RunOutcome::Stopped, 2));
    }

    #[test]
    fn a_run_that_is_stopped_during_its_commit_is_stopped() {
        let mut end = samples::success();
        end.stopped_uncommitted();
        assert_eq!((end.outcome, end.notes.len()), (RunOutcome::Stopped, 2));
    }

    #[test]
    fn after_a_power_cut_a_completed_run_is_interrupted() {
        assert!(matches!(RunOutcome::Completed.without_power(), RunOutcome::Interrupted(_)));
        assert_eq!(RunOutcome::Stopped.without_power(), RunOutcome::Stopped);
    }

    #[test]
    fn only_a_tip_that_moved_is_the_commit_of_a_run() {
        let task = TaskRecord { base_sha: Some(samples::sha('a')), ..samples::running() };
        let check = |head: &ObjectId| {
            let mut end = samples::success();
            task.note_commit(&mut end, head, vec![]);
            end.commit
        };
        let base = task.base_sha.clone().expect("the sample has a base");
        assert_eq!((check(&base), check(&samples::sha('9'))), (None, Some(samples::sha('9'))));
    }
}
