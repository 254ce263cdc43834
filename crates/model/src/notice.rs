//! Notifications that a task has ended or needs attention.
//! The record of a task keeps them until they are sent. `settings` and `quiet` decide when to send them, and `push` is for
//! browsers.

mod push;
mod quiet;
mod settings;

pub use crate::notice_kind::{NoticeGroup, NoticeKind};
pub use push::{EndpointError, PushEndpoint, PushMessage, PushTerms};
pub use quiet::{QuietError, QuietHours};
use serde::{Deserialize, Serialize};
pub use settings::{BadSetting, Delivery, NoticeSettings, PlainHttp, shown_address, summary};

use crate::environment::EnvironmentRecord;
use crate::ids::{EnvironmentId, TaskId};
use crate::setup::SetupAttempt;
use crate::task::{PendingNotice, TaskRecord};

/// A notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The ID: the same notification has the same ID, even if it arrives twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The reason.
    pub event: NoticeKind,
    /// The task's ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// The repository's ID, if the notification is about the repository instead of a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_id: Option<EnvironmentId>,
    /// The name of the repository.
    pub environment: String,
    /// The title of the task, or the name of the repository.
    pub title: String,
    /// The text: a sentence for people.
    pub text: String,
    /// The URL of the page of the task or the repository's environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Notice {
    /// Returns a test notification.
    pub fn test(public_url: Option<&str>) -> Self {
        Self {
            id: None,
            event: NoticeKind::Test,
            task_id: None,
            env_id: None,
            environment: String::new(),
            title: "Codex Orchestrator".to_owned(),
            text: "This is a test. Notifications work.".to_owned(),
            url: public_url.map(str::to_owned),
        }
    }

    fn on(self, public_url: Option<&str>) -> Self {
        let url = public_url.map(|base| format!("{}{}", base.trim_end_matches('/'), self.path()));
        Self { url, ..self }
    }

    /// Returns the path of the page that the notification links to.
    pub fn path(&self) -> String {
        match (self.event, self.task_id, self.env_id) {
            (_, Some(task), _) => format!("/tasks/{task}"),
            (_, None, Some(repository)) => format!("/environments/{repository}/setup"),
            (NoticeKind::Test, None, None) => "/settings/notices".to_owned(),
            (_, None, None) => "/".to_owned(),
        }
    }
}

/// Returns a task's recorded notification, with everything that its receivers need.
pub fn notice(task: &TaskRecord, pending: &PendingNotice, environment: &str, public_url: Option<&str>) -> Notice {
    Notice {
        id: Some(format!("{}/{}", task.task_id, pending.number)),
        event: pending.event,
        task_id: Some(task.task_id),
        env_id: None,
        environment: environment.to_owned(),
        title: task.title.to_string(),
        text: pending.text.clone(),
        url: None,
    }
    .on(public_url)
}

/// Returns the notification that the setup of a repository failed, with everything that its receivers need.
pub fn setup_notice(repository: &EnvironmentRecord, failed: &SetupAttempt, public_url: Option<&str>) -> Notice {
    let branch = failed.branch.as_ref().map(|branch| format!(" of the branch `{branch}`")).unwrap_or_default();
    Notice {
        id: Some(format!("{}/setup/{}", repository.env_id, failed.number)),
        event: NoticeKind::NeedsYou,
        task_id: None,
        env_id: Some(repository.env_id),
        environment: repository.name.to_string(),
        title: repository.name.to_string(),
        text: format!("The setup{branch} failed. New tasks wait until you retry or skip it."),
        url: None,
    }
    .on(public_url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Decision;
    use crate::publication::PullRequest;
    use crate::publication::samples::pull_request;
    use crate::task::{samples, with_notice};

    fn told(before: &TaskRecord, after: &TaskRecord) -> Option<Notice> {
        let task = with_notice(before, Decision::keep(after.clone(), vec![])).record;
        task.notices.last().map(|pending| notice(&task, pending, "app", None))
    }

    #[test]
    fn a_notification_has_an_id_and_links_to_its_task() {
        let task = with_notice(&samples::running(), Decision::keep(samples::completed(), vec![])).record;
        let found = notice(&task, &task.notices[0], "app", Some("https://box.example/"));
        assert_eq!(found.url, Some(format!("https://box.example/tasks/{}", task.task_id)));
        assert_eq!(found.id, Some(format!("{}/1", task.task_id)));
    }

    #[test]
    fn every_notification_has_its_words() {
        let published = |change: &dyn Fn(&mut PullRequest)| {
            let mut found = PullRequest { mergeable: Some(true), checks: None, reviews: None, ..pull_request() };
            change(&mut found);
            samples::published(found)
        };
        let fine = published(&|_| {});
        let asks = |it: &mut PullRequest| {
            it.reviews = Some(crate::publication::Reviews { approved: vec![], changes_requested: vec!["ada".to_owned()] });
        };
        let mut asking = samples::queued();
        asking.question = Some(crate::task::Question { number: 2, urls: vec![], asked_at: samples::now() });
        let mut pairs: Vec<_> = samples::one_of_each_phase().into_iter().map(|after| (samples::running(), after)).collect();
        pairs.push((samples::preparing(), asking));
        pairs.push((fine.clone(), published(&|it| it.checks = pull_request().checks)));
        pairs.push((fine.clone(), published(&|it| it.mergeable = Some(false))));
        pairs.push((fine, published(&asks)));
        let mut all: Vec<_> = pairs.iter().filter_map(|(before, after)| told(before, after)).collect();
        let held: Vec<_> = all.clone();
        all.push(Notice::test(None));
        all.extend(summary(&held, None));
        all.extend(summary(&[&held[..1], &held[..1]].concat(), None));
        let words: Vec<_> = all.iter().map(|it| format!("{}: {} | {}", it.event.as_str(), it.title, it.text)).collect();
        insta::assert_snapshot!(words.join("\n"), @"
        finished: Fix it | Run 1 completed.
        failed: Fix it | Run 1 failed.
        interrupted: Fix it | Run 1 was interrupted.
        needs_you: Fix it | Decide whether to fetch submodules before the run starts.
        needs_you: Fix it | Pull request #7 has failing checks.
        needs_you: Fix it | Pull request #7 has conflicts.
        needs_you: Fix it | Pull request #7 has a review that requests changes.
        test: Codex Orchestrator | This is a test. Notifications work.
        summary: 7 notifications from quiet hours | Tasks: 4 need your attention, 2 failed or were interrupted, 1 finished.
        summary: 2 notifications from quiet hours | Tasks: 2 finished.
        ");
    }
}
