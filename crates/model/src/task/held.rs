//! Files beyond the limits of a run's commit. They wait in the worktree until somebody decides whether to commit or ignore them.
//!
//! Other files of later runs are committed in the meantime. Invariant: nobody decides about files that they have not seen, because the
//! number changes whenever the files do.

use jiff::Timestamp;

use super::decision::{TaskDecision, changed};
use super::held_changes::HeldChanges;
use super::record::TaskRecord;
use super::refusal::Refusal;
use crate::commit::{HeldFiles, PathText};
use crate::ids::Attempt;

impl TaskRecord {
    /// Returns the held files, if the question about them has this number.
    pub fn held(&self, number: Option<u32>) -> Result<&HeldChanges, Refusal> {
        match &self.held {
            None => Err(Refusal::NothingHeld),
            Some(held) if number.is_some_and(|number| number != held.number) => Err(Refusal::QuestionChanged),
            Some(held) => Ok(held),
        }
    }

    /// Records which files the last run left uncommitted, if that is known. If they are the same as before, the question stays the
    /// same.
    pub(super) fn hold(&mut self, paths: impl Into<Option<Vec<HeldFiles>>>, now: Timestamp) {
        let Some(mut paths) = paths.into() else { return };
        // Files that are already held are not searched again.
        let known = self.held.iter().flat_map(|held| &held.paths).filter(|held| held.has_secret);
        for held in known {
            paths.iter_mut().filter(|now| now.path == held.path).for_each(|now| now.has_secret = true);
        }
        let is_same = self.held.as_ref().is_some_and(|held| held.paths == paths);
        if is_same {
            return;
        }
        let run = self.last_run();
        let Attempt(number) = run.attempt;
        let sum = |count: fn(&HeldFiles) -> u64| paths.iter().map(count).fold(0, u64::saturating_add);
        let (files, bytes) = (sum(|held| held.files), sum(|held| held.bytes));
        let held = HeldChanges { number, run: run.number, files, bytes, paths, asked_at: now };
        self.held = Some(Box::new(held)).filter(|held| !held.paths.is_empty());
    }

    /// Records that these files were committed after a run.
    pub(super) fn release(&mut self, committed: &[PathText]) {
        self.ignored_paths.retain(|path| !committed.contains(path));
        if let Some(held) = &mut self.held {
            held.paths.retain(|held| !committed.contains(&held.path));
        }
        if self.held.as_ref().is_some_and(|held| held.paths.is_empty()) {
            self.held = None;
        }
    }
}

/// Decides that the held files are not committed, by this run or any later one.
pub(super) fn ignore(task: &TaskRecord, number: Option<u32>, now: Timestamp) -> Result<TaskDecision, Refusal> {
    let mut record = task.clone();
    record.ignored_paths.extend(task.held(number)?.paths());
    record.ignored_paths.sort();
    record.ignored_paths.dedup();
    record.held = None;
    Ok(changed(record, now, vec![]))
}

#[cfg(test)]
mod tests {
    use super::super::question::Answer;
    use super::super::request::{TaskRequest, request};
    use super::super::{TaskGroup, samples};
    use super::*;
    use crate::ids::RunNumber;

    fn files(path: &str) -> HeldFiles {
        HeldFiles { path: PathText::new(path.as_bytes()), files: 2, bytes: 10, has_secret: false }
    }

    fn holding(paths: &[&str]) -> TaskRecord {
        let mut task = samples::completed();
        task.seen_run = 1;
        task.hold(paths.iter().map(|path| files(path)).collect::<Vec<_>>(), samples::now());
        task
    }

    #[test]
    fn a_task_with_held_files_needs_somebody_and_the_status_stays() {
        let task = holding(&["a", "b/"]);
        let held = task.held(None).expect("files are held");
        assert_eq!((held.files, held.bytes, held.run), (4, 20, RunNumber(1)));
        assert_eq!((TaskGroup::of(&task), task.status().as_str()), (TaskGroup::NeedsYou, "completed"));
        assert_eq!(TaskGroup::of(&holding(&[])), TaskGroup::Done);
    }

    #[test]
    fn a_decision_is_about_the_files_that_were_seen() {
        let mut task = holding(&["a", "b/"]);
        let ignore = |task: &TaskRecord, number| request(task, TaskRequest::Answer(number, Answer::Ignore), samples::later());
        assert_eq!(ignore(&task, Some(99)), Err(Refusal::QuestionChanged));
        let before = task.clone();
        task.hold(vec![files("a"), files("b/")], samples::later());
        assert_eq!(task, before, "the same files are the same question");
        let number = task.held(None).expect("files are held").number;
        let ignored = ignore(&task, Some(number)).expect("the request is accepted").record;
        assert_eq!((&ignored.held, ignored.ignored_paths.len()), (&None, 2));
        assert_eq!(ignore(&ignored, Some(number)), Err(Refusal::NothingHeld));
        assert_eq!(ignore(&samples::completed(), None), Err(Refusal::NothingHeld));
    }

    #[test]
    fn other_files_are_another_question_and_gone_files_are_none() {
        let mut task = holding(&["a"]);
        let first = task.held(None).expect("files are held").number;
        task.runs[0].attempt = Attempt(7);
        task.hold(vec![files("a"), files("c")], samples::later());
        assert_ne!(task.held(None).expect("files are held").number, first);
        task.hold(vec![], samples::later());
        assert_eq!(task.held, None);
    }

    #[test]
    fn what_was_committed_is_neither_held_nor_ignored() {
        let mut task = holding(&["a", "b/"]);
        task.ignored_paths = vec![PathText::new(b"c"), PathText::new(b"d")];
        task.release(&[PathText::new(b"a"), PathText::new(b"c")]);
        assert_eq!(task.held(None).expect("files are held").paths(), [PathText::new(b"b/")]);
        assert_eq!(task.ignored_paths, [PathText::new(b"d")]);
        task.release(&[PathText::new(b"b/")]);
        assert_eq!(task.held, None);
    }
}
