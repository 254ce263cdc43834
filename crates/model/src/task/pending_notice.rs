//! A notification that is not sent yet, as the record of a task keeps it.

use serde::{Deserialize, Serialize};

use crate::notice_kind::NoticeKind;

/// A notification that is recorded but not sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingNotice {
    /// The number of the notification within the task. Numbers are never reused.
    pub number: u32,
    /// The reason.
    pub event: NoticeKind,
    /// The text: a sentence for people.
    pub text: String,
}
