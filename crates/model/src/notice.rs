//! Notifications that a task has ended or needs attention.
//! They are computed from the records before and after a change. `settings` and `quiet` decide when to send them, and `push` is for
//! browsers.

mod push;
mod quiet;
mod settings;

pub use push::{EndpointError, PushEndpoint, PushMessage, PushTerms};
pub use quiet::{QuietError, QuietHours};
use serde::{Deserialize, Serialize};
pub use settings::{BadSetting, Delivery, NoticeSettings, PlainHttp, shown_address, summary};

use crate::ids::TaskId;
use crate::publication::PullRequest;
use crate::run::RunStatus;
use crate::task::TaskRecord;

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

/// A notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The reason.
    pub event: NoticeKind,
    /// The task's ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// The name of the task's repository.
    pub environment: String,
    /// The task's title.
    pub title: String,
    /// The text: a sentence for people.
    pub text: String,
    /// The URL of the task's page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Notice {
    /// Returns a test notification.
    pub fn test(public_url: Option<&str>) -> Self {
        Self {
            event: NoticeKind::Test,
            task_id: None,
            environment: String::new(),
            title: "Codex Orchestrator".to_owned(),
            text: "This is a test. Notifications work.".to_owned(),
            url: public_url.map(str::to_owned),
        }
    }

    /// Returns the path of the page that the notification links to.
    pub fn path(&self) -> String {
        match (self.event, self.task_id) {
            (_, Some(task)) => format!("/tasks/{task}"),
            (NoticeKind::Test, None) => "/settings/notices".to_owned(),
            (_, None) => "/".to_owned(),
        }
    }
}

/// Returns the notification for a change of a task, if there is one.
pub fn notice(before: &TaskRecord, after: &TaskRecord, environment: &str, public_url: Option<&str>) -> Option<Notice> {
    if after.removing {
        return None;
    }
    let (event, text) = ended(before, after).or_else(|| needs_somebody(before, after))?;
    Some(Notice {
        event,
        task_id: Some(after.task_id),
        environment: environment.to_owned(),
        title: after.title.to_string(),
        text,
        url: public_url.map(|base| format!("{}/tasks/{}", base.trim_end_matches('/'), after.task_id)),
    })
}

/// Returns the notification for the end of the last run, or `None` if a user stopped the run.
fn ended(before: &TaskRecord, after: &TaskRecord) -> Option<(NoticeKind, String)> {
    if !before.last_run().is_active() || after.last_run().is_active() {
        return None;
    }
    let number = after.last_run().number.0;
    match after.last_run().status() {
        RunStatus::Completed => Some((NoticeKind::Finished, format!("Run {number} completed."))),
        RunStatus::Failed => Some((NoticeKind::Failed, format!("Run {number} failed."))),
        RunStatus::Interrupted => Some((NoticeKind::Interrupted, format!("Run {number} was interrupted."))),
        RunStatus::Stopped | RunStatus::Queued | RunStatus::Preparing | RunStatus::Running | RunStatus::Stopping => None,
    }
}

fn needs_somebody(before: &TaskRecord, after: &TaskRecord) -> Option<(NoticeKind, String)> {
    if before.question != after.question && after.question.is_some() {
        return Some((NoticeKind::NeedsYou, "Decide whether to fetch submodules before the run starts.".to_owned()));
    }
    let of = |task: &TaskRecord| task.publication.as_ref().and_then(|publication| publication.pull_request.clone());
    let now = of(after)?;
    let then = of(before);
    let is_new = |is_so: &dyn Fn(&PullRequest) -> bool| is_so(&now) && !then.as_ref().is_some_and(is_so);
    let what = if is_new(&|it| it.checks.as_ref().is_some_and(|checks| !checks.failed.is_empty())) {
        "has failing checks"
    } else if is_new(&|it| it.mergeable == Some(false)) {
        "has conflicts"
    } else if is_new(&|it| it.reviews.as_ref().is_some_and(|reviews| !reviews.changes_requested.is_empty())) {
        "has a review that requests changes"
    } else {
        return None;
    };
    Some((NoticeKind::NeedsYou, format!("Pull request #{} {what}.", now.number)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publication::samples::pull_request;
    use crate::task::samples;

    fn told(before: &TaskRecord, after: &TaskRecord) -> Option<NoticeKind> {
        notice(before, after, "app", Some("https://box.example/")).map(|notice| notice.event)
    }

    #[test]
    fn the_end_of_a_run_is_told_once() {
        let (running, completed) = (samples::running(), samples::completed());
        assert_eq!(told(&running, &completed), Some(NoticeKind::Finished));
        assert_eq!(told(&completed, &completed), None);
        assert_eq!(told(&running, &running), None);
        let found = notice(&running, &completed, "app", Some("https://box.example/")).expect("there is a notification");
        assert_eq!(found.url, Some(format!("https://box.example/tasks/{}", completed.task_id)));
        let all = samples::one_of_each_phase();
        let events: Vec<_> = all.iter().filter_map(|after| told(&running, after)).collect();
        assert_eq!(events, [NoticeKind::Finished, NoticeKind::Failed, NoticeKind::Interrupted]);
    }

    #[test]
    fn a_question_is_told_once() {
        let mut asking = samples::queued();
        let urls = vec![crate::names::RepositoryUrl::parse("/srv/other").expect("the URL is valid")];
        asking.question = Some(crate::task::Question { number: 2, urls, asked_at: samples::now() });
        assert_eq!(told(&samples::preparing(), &asking), Some(NoticeKind::NeedsYou));
        assert_eq!((told(&asking, &asking), told(&asking, &samples::queued())), (None, None));
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
        let mut all: Vec<_> = pairs.iter().filter_map(|(before, after)| notice(before, after, "app", None)).collect();
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

    #[test]
    fn red_checks_conflicts_and_wishes_are_told_when_they_are_new() {
        let published = |change: &dyn Fn(&mut PullRequest)| {
            let mut found = PullRequest { mergeable: Some(true), checks: None, reviews: None, ..pull_request() };
            change(&mut found);
            samples::published(found)
        };
        let fine = published(&|_| {});
        let red = published(&|it| it.checks = pull_request().checks);
        let conflict = published(&|it| it.mergeable = Some(false));
        assert_eq!((told(&fine, &red), told(&fine, &conflict)), (Some(NoticeKind::NeedsYou), Some(NoticeKind::NeedsYou)));
        assert_eq!((told(&red, &red), told(&fine, &fine), told(&samples::completed(), &fine)), (None, None, None));
    }
}
