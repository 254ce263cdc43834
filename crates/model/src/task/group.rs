//! Groups tasks for people: needs attention, running, queued or done. Lists are ordered by group, and the API returns the group,
//! so that all clients use the same names.

use serde::{Deserialize, Serialize};

use super::record::TaskRecord;
use super::status::TaskStatus;
use crate::publication::PullRequestState;

/// The group of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskGroup {
    /// The task asks a question or holds files, failed, was interrupted, finished but has not been viewed, could not be published, or its pull
    /// request has failed checks, conflicts or requested changes.
    NeedsYou,
    /// A run is active, or the task is being removed.
    Running,
    /// The run is waiting in the queue.
    Queued,
    /// The task has ended and has been viewed.
    Done,
}

impl TaskGroup {
    /// All groups, in the order of a list.
    pub const ALL: [Self; 4] = [Self::NeedsYou, Self::Running, Self::Queued, Self::Done];

    /// Returns the group of a task.
    pub fn of(task: &TaskRecord) -> Self {
        match task.status() {
            TaskStatus::Queued if task.question.is_some() => Self::NeedsYou,
            TaskStatus::Queued => Self::Queued,
            TaskStatus::Preparing | TaskStatus::Running | TaskStatus::Stopping | TaskStatus::Removing => Self::Running,
            TaskStatus::Failed | TaskStatus::Interrupted => Self::NeedsYou,
            TaskStatus::Completed | TaskStatus::Stopped if needs_somebody(task) => Self::NeedsYou,
            TaskStatus::Completed | TaskStatus::Stopped => Self::Done,
        }
    }

    /// Returns the name in the API and in page URLs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NeedsYou => "needs_you",
            Self::Running => "running",
            Self::Queued => "queued",
            Self::Done => "done",
        }
    }

    /// Returns the group with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|group| group.as_str() == text)
    }
}

/// Returns whether a task that has ended needs attention: nobody has viewed it, files are held, its pull request has conflicts or
/// failed checks, or a push failed.
fn needs_somebody(task: &TaskRecord) -> bool {
    let publication = task.publication.as_deref();
    let pull_request = publication.and_then(|publication| publication.pull_request.as_ref());
    let red = pull_request.filter(|found| found.state == PullRequestState::Open).is_some_and(|open| {
        let wants_changes = open.reviews.as_ref().is_some_and(|reviews| !reviews.changes_requested.is_empty());
        open.mergeable == Some(false) || wants_changes || open.checks.as_ref().is_some_and(|checks| !checks.failed.is_empty())
    });
    let merged = pull_request.is_some_and(|found| found.state == PullRequestState::Merged);
    let failed = publication.is_some_and(|publication| publication.error.is_some());
    red || failed || task.held.is_some() || (!merged && !task.is_seen())
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::publication::PullRequest;
    use crate::publication::samples::pull_request;

    #[test]
    fn every_phase_has_its_group() {
        let groups: Vec<_> = [samples::queued(), samples::preparing(), samples::running(), samples::stopping()]
            .iter()
            .chain(&samples::one_of_each_phase())
            .map(TaskGroup::of)
            .collect();
        assert_eq!(&groups[..4], [TaskGroup::Queued, TaskGroup::Running, TaskGroup::Running, TaskGroup::Running]);
        for group in TaskGroup::ALL {
            assert_eq!(TaskGroup::parse(group.as_str()), Some(group));
        }
        assert_eq!(TaskGroup::parse("asleep"), None);
    }

    #[test]
    fn what_ended_needs_somebody_until_it_is_seen() {
        let mut task = samples::completed();
        assert_eq!(TaskGroup::of(&task), TaskGroup::NeedsYou);
        task.seen_run = 1;
        assert_eq!(TaskGroup::of(&task), TaskGroup::Done);
    }

    #[test]
    fn a_red_pull_request_needs_somebody_though_all_was_seen() {
        let with = |change: &dyn Fn(&mut PullRequest)| {
            let mut found = PullRequest {
                mergeable: Some(true),
                checks: None,
                reviews: None,
                state: PullRequestState::Open,
                ..pull_request()
            };
            change(&mut found);
            let mut task = samples::published(found);
            task.seen_run = 1;
            TaskGroup::of(&task)
        };
        assert_eq!(with(&|_| {}), TaskGroup::Done);
        assert_eq!(with(&|it| it.mergeable = Some(false)), TaskGroup::NeedsYou);
        assert_eq!(with(&|it| it.checks = pull_request().checks), TaskGroup::NeedsYou);
        let merged = |it: &mut PullRequest| (it.state, it.mergeable) = (PullRequestState::Merged, Some(false));
        assert_eq!(with(&merged), TaskGroup::Done);
    }
}
