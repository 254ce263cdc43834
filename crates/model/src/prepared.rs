//! Prepared worktrees: worktrees that are checked out before a task needs them. Decides how many of them each repository has.
//!
//! This module decides only what to do next; `git` creates and moves the files. Invariant: the prepared worktrees of a home never
//! use more than the allowed space once every step is done, and none is created while disk space is low.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::ObjectId;

/// How long a prepared worktree that no task takes is kept.
pub const UNUSED: Duration = Duration::from_hours(7 * 24);

/// A worktree that is checked out before a task needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedWorktree {
    /// The commit whose files it contains.
    pub commit: ObjectId,
    /// Identifies the settings that the files were written with. With different settings, Git might write other content.
    pub written_with: String,
    /// The number of files.
    pub files: u64,
    /// The disk usage in bytes.
    pub bytes: u64,
    /// When its files last changed.
    pub made_at: Timestamp,
}

impl PreparedWorktree {
    /// Whether this worktree was not used for so long that it is deleted. If the clock was set back, its age counts as 0.
    pub fn is_older_than(&self, age: Duration, now: Timestamp) -> bool {
        Duration::try_from(now.duration_since(self.made_at)).unwrap_or_default() >= age
    }

    /// Whether it is worthwhile to change this worktree to another commit instead of writing all files again.
    pub fn is_worth_changing(&self, differing: u64) -> bool {
        differing <= self.files / 2
    }
}

/// Limits for the prepared worktrees of a home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreparedLimits {
    /// The maximum number for each repository.
    pub most: usize,
    /// The maximum disk usage of all of them, in bytes.
    pub bytes: u64,
    /// The disk space that must stay free, in bytes.
    pub floor: u64,
}

/// Disk space at the time of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// The free disk space, in bytes.
    pub free: u64,
    /// The disk usage of the prepared worktrees of other repositories, in bytes.
    pub others: u64,
}

/// What to do next for the prepared worktrees of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreparedStep {
    /// Nothing.
    Nothing,
    /// Delete the worktree with this index.
    Delete(usize),
    /// Change the worktree with this index to the newest commit.
    Renew(usize),
    /// Create another worktree.
    Create,
}

/// Returns the next step for a repository whose newest commit is `tip`. `size` is the expected size of a new worktree in bytes.
pub fn next_step(own: &[PreparedWorktree], tip: &ObjectId, size: u64, space: Space, limits: PreparedLimits) -> PreparedStep {
    let used = own.iter().map(|one| one.bytes).fold(space.others, u64::saturating_add);
    let oldest = own.iter().enumerate().min_by_key(|(_, one)| one.made_at).map(|(index, _)| index);
    let is_too_much = own.len() > limits.most || used > limits.bytes || space.free < limits.floor;
    if let Some(oldest) = oldest.filter(|_| is_too_much) {
        return PreparedStep::Delete(oldest);
    }
    if let Some(stale) = own.iter().position(|one| one.commit != *tip) {
        return PreparedStep::Renew(stale);
    }
    let has_room = used.saturating_add(size) <= limits.bytes && space.free.saturating_sub(size) >= limits.floor;
    if own.len() < limits.most && has_room { PreparedStep::Create } else { PreparedStep::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PreparedLimits = PreparedLimits { most: 2, bytes: 100, floor: 50 };

    fn commit(digit: &str) -> ObjectId {
        digit.repeat(40).parse().expect("an ID")
    }

    fn one(digit: &str, bytes: u64, second: i64) -> PreparedWorktree {
        let made_at = Timestamp::from_second(second).expect("a time");
        PreparedWorktree { commit: commit(digit), written_with: String::new(), files: 10, bytes, made_at }
    }

    fn check(own: &[PreparedWorktree], space: Space, limits: PreparedLimits, expect: PreparedStep) {
        assert_eq!(next_step(own, &commit("a"), 30, space, limits), expect, "{own:?} {space:?} {limits:?}");
    }

    #[test]
    fn worktrees_are_created_up_to_each_limit() {
        let space = Space { free: 1000, others: 0 };
        check(&[], space, LIMITS, PreparedStep::Create);
        check(&[one("a", 30, 1)], space, LIMITS, PreparedStep::Create);
        check(&[one("a", 30, 1), one("a", 30, 2)], space, LIMITS, PreparedStep::Nothing);
        check(&[], Space { others: 70, ..space }, LIMITS, PreparedStep::Create);
        check(&[], Space { others: 71, ..space }, LIMITS, PreparedStep::Nothing);
        check(&[], Space { free: 80, ..space }, LIMITS, PreparedStep::Create);
        check(&[], Space { free: 79, ..space }, LIMITS, PreparedStep::Nothing);
        check(&[], space, PreparedLimits { most: 0, ..LIMITS }, PreparedStep::Nothing);
    }

    #[test]
    fn the_oldest_goes_first_when_there_are_too_many_or_space_is_low() {
        let (space, own) = (Space { free: 1000, others: 0 }, [one("b", 30, 5), one("a", 30, 3)]);
        check(&own, space, PreparedLimits { most: 1, ..LIMITS }, PreparedStep::Delete(1));
        check(&own[..1], space, PreparedLimits { most: 0, ..LIMITS }, PreparedStep::Delete(0));
        check(&own, Space { others: 41, ..space }, LIMITS, PreparedStep::Delete(1));
        check(&own, Space { free: 49, ..space }, LIMITS, PreparedStep::Delete(1));
        check(&[], Space { free: 49, others: 500 }, LIMITS, PreparedStep::Nothing);
    }

    #[test]
    fn existing_worktrees_follow_the_newest_commit_before_another_is_created() {
        let space = Space { free: 1000, others: 0 };
        check(&[one("b", 30, 1)], space, LIMITS, PreparedStep::Renew(0));
        check(&[one("a", 30, 1), one("b", 30, 2)], space, LIMITS, PreparedStep::Renew(1));
    }

    #[test]
    fn every_sequence_of_steps_ends_within_the_limits() {
        for (most, bytes, free) in [(0, 100, 1000), (1, 100, 1000), (3, 100, 1000), (3, 65, 1000), (3, 1000, 120), (3, 10, 1000)]
        {
            let limits = PreparedLimits { most, bytes, floor: 50 };
            let mut own = vec![one("b", 30, 1), one("b", 30, 2)];
            let mut steps = 0;
            loop {
                let used: u64 = own.iter().map(|one| one.bytes).sum();
                let space = Space { free: u64::saturating_sub(free, used), others: 0 };
                match next_step(&own, &commit("a"), 30, space, limits) {
                    PreparedStep::Nothing => break,
                    PreparedStep::Delete(index) => drop(own.remove(index)),
                    PreparedStep::Renew(index) => own[index].commit = commit("a"),
                    PreparedStep::Create => own.push(one("a", 30, 10)),
                }
                steps += 1;
                assert!(steps < 20, "{limits:?} never settles");
            }
            let used: u64 = own.iter().map(|one| one.bytes).sum();
            assert!(own.len() <= most && used <= bytes && free - used >= 50, "{limits:?}: {own:?}");
        }
    }

    #[test]
    fn a_worktree_is_changed_only_if_most_files_stay() {
        let ten = one("a", 30, 1);
        assert!(ten.is_worth_changing(5) && !ten.is_worth_changing(6));
    }

    #[test]
    fn an_unused_worktree_expires() {
        let made = one("a", 30, 1_000_000);
        let after = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).expect("a time");
        assert!(!made.is_older_than(UNUSED, after(7 * 86400 - 1)) && made.is_older_than(UNUSED, after(7 * 86400)));
        assert!(!made.is_older_than(UNUSED, after(-86400)), "the clock was set back");
        assert!(made.is_older_than(Duration::ZERO, after(-86400)));
    }
}
