//! Updates of a task's branch from its base branch, and the prompt for the agent if git cannot merge them.
//!
//! An update moves the branch between two runs. Each run keeps the commit that it ended with, and an update records the commits
//! before and after it. This distinguishes the changes of a run from changes of the base.

use jiff::Timestamp;

use super::branch_update::Update;
use super::decision::{TaskDecision, TaskEffect, changed};
use super::record::TaskRecord;
use super::refusal::Refusal;
use crate::decision::Decision;
use crate::ids::{ObjectId, RunNumber};
use crate::merge::FileConflict;

/// The maximum number of files in the prompt.
const FILES_NAMED: usize = 200;

impl TaskRecord {
    /// Returns the base of the branch, if the branch may be moved now.
    pub fn can_update(&self) -> Result<&ObjectId, Refusal> {
        if self.removing {
            Err(Refusal::Removing)
        } else if self.last_run().is_active() {
            Err(Refusal::RunActive)
        } else if self.updating.is_some() {
            Err(Refusal::Updating)
        } else {
            self.base_sha.as_ref().ok_or(Refusal::NoBranch)
        }
    }

    /// Returns the tip of the branch before this run, once the task has a base.
    pub fn head_before(&self, number: RunNumber) -> Option<&ObjectId> {
        self.head_where(|run| run < number)
    }

    /// Returns the tip of the branch after all runs and updates.
    pub fn head(&self) -> Option<&ObjectId> {
        self.head_where(|_| true)
    }

    fn head_where(&self, counts: impl Fn(RunNumber) -> bool) -> Option<&ObjectId> {
        let committed = |run: &crate::run::RunRecord| Some((run.number, run.end()?.commit.clone()?));
        let last = self.runs.iter().rev().filter(|run| counts(run.number)).find_map(committed).map(|(number, _)| number);
        let moved = self.updates.iter().rev().find(|update| counts(update.after_run));
        match (last, moved) {
            // The update happened after this run.
            (Some(number), Some(update)) if update.after_run >= number => Some(&update.to_head),
            (Some(number), _) => self.run(number)?.end()?.commit.as_ref(),
            (None, Some(update)) => Some(&update.to_head),
            (None, None) => self.updates.first().map(|update| &update.from_base).or(self.base_sha.as_ref()),
        }
    }

    /// Whether the branch was rewritten after this run, before the next run.
    pub fn rewritten_after(&self, number: RunNumber) -> bool {
        self.updates.iter().any(|update| update.after_run == number && update.rewrote())
    }

    /// Whether the branch was moved after this run, before the next run.
    pub fn moved_after(&self, number: RunNumber) -> bool {
        self.updates.iter().any(|update| update.after_run == number && update.from_head != update.to_head)
    }

    /// Records an update. Recording it twice has no further effect.
    pub(super) fn note_update(&mut self, update: Update) {
        if self.updates.last() != Some(&update) {
            self.base_sha = Some(update.to_base.clone());
            self.release(&update.committed);
            self.updates.push(update);
        }
    }
}

/// Something that happened to an update of the branch.
#[derive(Debug, Clone, PartialEq)]
pub enum UpdateEvent {
    /// The branch was moved.
    Done(Box<Update>),
    /// The update that was under way did not move the branch.
    Abandoned,
    /// An update was started but not finished. If the record does not have it, an older version started it.
    Left(Box<Update>),
}

/// Decides what follows from an event of an update.
pub(super) fn updated(task: &TaskRecord, event: UpdateEvent, now: Timestamp) -> TaskDecision {
    let mut record = task.clone();
    let effects = match event {
        UpdateEvent::Done(update) => {
            record.note_update(*update);
            record.updating = None;
            vec![]
        }
        UpdateEvent::Abandoned => {
            record.updating = None;
            vec![]
        }
        UpdateEvent::Left(update) => {
            record.updating.get_or_insert(update);
            vec![TaskEffect::MoveBranch]
        }
    };
    if record == *task { Decision::keep(record, effects) } else { changed(record, now, effects) }
}

/// Writes the prompt that asks the agent to merge the base and resolve the conflicts.
pub fn hand_over_prompt(base_name: &str, base: &ObjectId, conflicts: &[FileConflict]) -> String {
    let files: Vec<_> =
        conflicts.iter().take(FILES_NAMED).map(|file| format!("- {} ({})\n", shown(&file.path), file.kind.as_str())).collect();
    let more = match conflicts.len().saturating_sub(FILES_NAMED) {
        0 => String::new(),
        more => format!("- and {more} more\n"),
    };
    format!(
        "Your branch conflicts with its base. Update your branch:\n\n\
         1. Run `git merge {base}`. This is the newest commit of `{base_name}`. It is already in this repository, so you do not need to \
         fetch anything.\n\
         2. Resolve all conflicts so that both your changes and the changes from the base work. Git found conflicts in these files:\n\n\
         {}{more}\n\
         3. Run the relevant tests and commit the merge. Do not rebase, and do not leave conflict markers.\n",
        files.concat()
    )
}

/// Formats a path on one line, with `?` for control characters.
fn shown(path: &str) -> String {
    path.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::request::{TaskRequest, request};
    use super::super::{TaskEvent, UpdateStrategy, decide, samples};
    use super::*;
    use crate::merge::ConflictKind;
    use crate::policy::RunPolicy;
    use crate::run::{RunEnd, RunPhase};

    fn update(after_run: u32, from: (char, char), to: (char, char)) -> Update {
        Update {
            after_run: RunNumber(after_run),
            strategy: UpdateStrategy::Rebase,
            committed: vec![],
            from_base: samples::sha(from.0),
            from_head: samples::sha(from.1),
            to_base: samples::sha(to.0),
            to_head: samples::sha(to.1),
            at: samples::later(),
        }
    }

    fn updated(task: &TaskRecord, update: Update) -> TaskRecord {
        decide(task, TaskEvent::Update(UpdateEvent::Done(Box::new(update))), &RunPolicy::default(), samples::later()).record
    }

    /// Returns a task with run 1 from `a` to `b`, an update to `d` on base `c`, and run 2 to `e`.
    fn story() -> TaskRecord {
        let task = updated(&samples::completed(), update(1, ('a', 'b'), ('c', 'd')));
        let mut task = request(&task, TaskRequest::Resume(samples::new_run("more")), samples::later())
            .expect("the request is accepted")
            .record;
        let end = RunEnd { commit: Some(samples::sha('e')), started_at: None, ..samples::success() };
        task.runs[1].phase = RunPhase::Ended(Box::new(end));
        task
    }

    #[test]
    fn what_a_run_began_with_is_what_the_update_before_it_left() {
        let task = story();
        let sha = |c| Some(samples::sha(c));
        assert_eq!(task.head_before(RunNumber(1)).cloned(), sha('a'), "run 1 started at the original base");
        assert_eq!(task.head_before(RunNumber(2)).cloned(), sha('d'));
        assert_eq!((task.head_before(RunNumber(3)).cloned(), task.head().cloned()), (sha('e'), sha('e')));
        assert_eq!(task.base_sha, sha('c'));
        assert!(task.rewritten_after(RunNumber(1)) && task.moved_after(RunNumber(1)) && !task.moved_after(RunNumber(2)));
        let again = updated(&task, update(2, ('c', 'e'), ('f', '1')));
        assert_eq!((again.head().cloned(), again.head_before(RunNumber(2)).cloned()), (sha('1'), sha('d')));
        assert_eq!(updated(&again, update(2, ('c', 'e'), ('f', '1'))), again, "the update is recorded once");
    }

    #[test]
    fn a_task_whose_runs_changed_nothing_stands_on_its_base() {
        let mut task = samples::completed();
        task.runs[0].phase = RunPhase::Ended(Box::new(RunEnd { commit: None, ..samples::success() }));
        assert_eq!(task.head().cloned(), Some(samples::sha('a')));
        let task = updated(&task, update(1, ('a', 'a'), ('c', 'c')));
        assert_eq!(
            (task.head().cloned(), task.head_before(RunNumber(1)).cloned()),
            (Some(samples::sha('c')), Some(samples::sha('a')))
        );
        assert!(!task.rewritten_after(RunNumber(1)), "the task had no commits");
    }

    #[test]
    fn an_update_is_refused_while_a_run_is_active_and_before_there_is_a_branch() {
        for active in [samples::queued(), samples::preparing(), samples::running(), samples::stopping()] {
            assert_eq!(active.can_update(), Err(Refusal::RunActive));
        }
        let mut task = samples::completed();
        assert_eq!(task.can_update(), Ok(&samples::sha('a')));
        task.base_sha = None;
        assert_eq!(task.can_update(), Err(Refusal::NoBranch));
        task.removing = true;
        assert_eq!(task.can_update(), Err(Refusal::Removing));
    }

    #[test]
    fn the_prompt_reads_as_reviewed() {
        let conflicts = vec![FileConflict { path: "src/parser.rs".to_owned(), kind: ConflictKind::Content }; FILES_NAMED + 3];
        let prompt = hand_over_prompt("main", &samples::sha('c'), &conflicts);
        let line = "- src/parser.rs (content)\n";
        insta::assert_snapshot!("conflicts_prompt", prompt.replace(&line.repeat(FILES_NAMED - 1), "[…]\n"));
    }

    #[test]
    fn the_prompt_names_the_commit_and_the_files() {
        let file = |path: &str| FileConflict { path: path.to_owned(), kind: ConflictKind::Content };
        let prompt = hand_over_prompt("main", &samples::sha('c'), &[file("a.txt"), file("b\nc")]);
        assert!(
            prompt.contains(&format!("git merge {}", "c".repeat(40))) && prompt.contains("- a.txt (content)\n- b?c (content)\n")
        );
        let many = vec![file("x"); FILES_NAMED + 3];
        assert!(hand_over_prompt("main", &samples::sha('c'), &many).contains("- and 3 more\n"));
    }
}
