//! The reasons for notifications, and the groups in which they can be turned on or off.

use serde::{Deserialize, Serialize};

/// The reason for a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// The last run completed, and no follow-up starts.
    Finished,
    /// The last run failed.
    Failed,
    /// The last run was interrupted.
    Interrupted,
    /// The task asks a question, or its pull request has failing checks, conflicts or requested changes.
    NeedsYou,
    /// A summary of several notifications from quiet hours.
    Summary,
    /// A test notification from the settings page.
    Test,
}

/// A group of notifications that can be turned on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeGroup {
    /// A task completed.
    Finished,
    /// A task failed or was interrupted.
    Failed,
    /// A task or its pull request needs attention.
    NeedsYou,
}

impl NoticeGroup {
    /// All groups.
    pub const ALL: [Self; 3] = [Self::Finished, Self::Failed, Self::NeedsYou];
}

impl NoticeKind {
    /// Returns the group. Summaries and tests have no group.
    pub fn group(self) -> Option<NoticeGroup> {
        match self {
            Self::Finished => Some(NoticeGroup::Finished),
            Self::Failed | Self::Interrupted => Some(NoticeGroup::Failed),
            Self::NeedsYou => Some(NoticeGroup::NeedsYou),
            Self::Summary | Self::Test => None,
        }
    }

    /// Returns the name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::NeedsYou => "needs_you",
            Self::Summary => "summary",
            Self::Test => "test",
        }
    }
}
