//! Notifications about a task that are not sent yet. The record keeps them, so a server that dies before it sends a notification
//! does not lose it.

use super::decision::{TaskDecision, TaskEffect};
use super::pending_notice::PendingNotice;
use super::record::TaskRecord;
use crate::notice_kind::NoticeKind;
use crate::publication::PullRequest;
use crate::run::RunStatus;

/// The maximum number of pending notifications. The oldest are dropped first.
const MOST_PENDING: usize = 20;

/// Adds the notification about a decision to its record, if there is one.
#[must_use]
pub fn with_notice(before: &TaskRecord, mut decision: TaskDecision) -> TaskDecision {
    let Some((event, text)) = news(before, &decision.record) else { return decision };
    let record = &mut decision.record;
    record.notices_made = record.notices_made.saturating_add(1);
    record.notices.push(PendingNotice { number: record.notices_made, event, text });
    let surplus = record.notices.len().saturating_sub(MOST_PENDING);
    record.notices.drain(..surplus);
    decision.effects.push(TaskEffect::Notify);
    decision
}

/// Returns the reason and the text of the notification for a change of a task, if there is one.
fn news(before: &TaskRecord, after: &TaskRecord) -> Option<(NoticeKind, String)> {
    if after.removing {
        return None;
    }
    holds(before, after).or_else(|| ended(before, after)).or_else(|| needs_somebody(before, after))
}

/// Returns the notification about files that the last run left, if they are new.
fn holds(before: &TaskRecord, after: &TaskRecord) -> Option<(NoticeKind, String)> {
    let held = after.held.as_ref().filter(|held| before.held.as_ref().is_none_or(|then| then.number != held.number))?;
    let (files, number) = (if held.files == 1 { "1 file".to_owned() } else { format!("{} files", held.files) }, held.run.0);
    let which = if held.paths.iter().any(|held| held.has_secret) { "with secrets" } else { "beyond the limits" };
    Some((NoticeKind::NeedsYou, format!("Run {number} has ended. Decide whether to commit {files} {which}.")))
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
    use crate::decision::Decision;
    use crate::publication::samples::pull_request;
    use crate::task::samples;

    fn told(before: &TaskRecord, after: &TaskRecord) -> Option<NoticeKind> {
        let decision = with_notice(before, Decision::keep(after.clone(), vec![]));
        assert_eq!(decision.effects.is_empty(), decision.record.notices.is_empty(), "what is recorded is sent");
        decision.record.notices.last().map(|notice| notice.event)
    }

    #[test]
    fn the_end_of_a_run_is_told_once() {
        let (running, completed) = (samples::running(), samples::completed());
        assert_eq!(told(&running, &completed), Some(NoticeKind::Finished));
        assert_eq!(told(&completed, &completed), None);
        assert_eq!(told(&running, &running), None);
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
    fn held_files_are_told_once() {
        let mut holding = samples::completed();
        let files = crate::commit::HeldFiles { path: crate::commit::PathText::new(b"a/"), files: 2, bytes: 1, has_secret: false };
        holding.hold(vec![files], samples::now());
        assert_eq!(told(&samples::running(), &holding), Some(NoticeKind::NeedsYou));
        assert_eq!((told(&holding, &holding), told(&holding, &samples::completed())), (None, None));
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

    #[test]
    fn numbers_are_never_reused_and_only_the_newest_are_kept() {
        let mut task = samples::running();
        for _ in 0..MOST_PENDING + 3 {
            let completed = TaskRecord { runs: samples::completed().runs, ..task.clone() };
            task = TaskRecord { runs: task.runs.clone(), ..with_notice(&task, Decision::keep(completed, vec![])).record };
        }
        let numbers: Vec<_> = task.notices.iter().map(|notice| notice.number).collect();
        assert_eq!((numbers.len(), numbers[0], numbers[MOST_PENDING - 1]), (MOST_PENDING, 4, 23));
    }

    #[test]
    fn a_task_that_is_being_removed_tells_nothing() {
        let removing = TaskRecord { removing: true, ..samples::completed() };
        assert_eq!(told(&samples::running(), &removing), None);
    }
}
