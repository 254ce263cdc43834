//! Notifications that wait for quiet hours to end.
//!
//! A test ends quiet hours by turning them off on the page.

use std::sync::Arc;

use model::ErrorCode;
use model::notice::{Notice, NoticeGroup, NoticeSettings};
use model::run::{RunError, RunOutcome};
use serde_json::json;

use crate::support::{Hook, Stage, announce, ended, ntfy, quiet_now};

/// Starts quiet hours on the page.
fn begin_quiet(stage: &Stage, let_through: &[NoticeGroup]) {
    let hours = quiet_now(let_through);
    let edit = |page: &NoticeSettings| NoticeSettings { quiet_hours: Some(hours), ..page.clone() };
    stage.notifications.edit(edit).expect("saved");
}

fn end_quiet(stage: &Stage) {
    let edit = |page: &NoticeSettings| NoticeSettings { quiet_hours: None, ..page.clone() };
    stage.notifications.edit(edit).expect("saved");
}

/// Waits until no notification is held.
async fn until_dropped(stage: &Stage) {
    let notifications = Arc::clone(&stage.notifications);
    let waiting = tokio::task::spawn_blocking(move || {
        testkit::until(std::time::Duration::from_mins(1), "the notifications are dropped", || notifications.view().held == 0);
    });
    waiting.await.expect("no panic");
}

#[tokio::test]
async fn notifications_are_held_until_quiet_hours_end_and_sent_as_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hook = Hook::start().await;
    let stage =
        Stage::open(folder.path(), NoticeSettings { webhook_url: Some(hook.url().to_owned()), ..NoticeSettings::default() });
    begin_quiet(&stage, &[]);
    for n in 1..=3 {
        announce(&stage, n);
    }
    stage.settle().await;
    assert_eq!(stage.notifications.view().held, 3);
    assert!(stage.notifications.view().quiet_until.is_some() && hook.already().is_empty());
    stage.notifications.keep_sending_held();
    end_quiet(&stage);
    let sent = hook.next().await.json();
    let expect = json!({
        "event": "summary", "environment": "", "title": "3 notifications from quiet hours", "text": "Tasks: 3 finished.",
    });
    assert_eq!(sent, expect);
    until_dropped(&stage).await;
    assert_eq!(stage.home.read_held_notices(), (vec![], None));
    stage.stop().await;
    assert!(hook.already().is_empty(), "the summary is sent once");
}

#[tokio::test]
async fn a_single_held_notification_is_sent_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hook = Hook::start().await;
    let stage = Stage::open(folder.path(), ntfy(hook.url()));
    stage.notifications.keep_sending_held();
    begin_quiet(&stage, &[]);
    announce(&stage, 1);
    let held = Arc::clone(&stage.notifications);
    let holding = tokio::task::spawn_blocking(move || {
        testkit::until(std::time::Duration::from_mins(1), "the notification is held", || held.view().held == 1);
    });
    holding.await.expect("no panic");
    end_quiet(&stage);
    let heard = hook.next().await;
    assert_eq!(heard.header("title").as_deref(), Some("Task 1"));
    assert_eq!(heard.text(), "Run 1 completed.");
    stage.stop().await;
}

#[tokio::test]
async fn a_group_that_is_let_through_is_sent_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hook = Hook::start().await;
    let stage = Stage::open(folder.path(), ntfy(hook.url()));
    begin_quiet(&stage, &[NoticeGroup::Failed]);
    announce(&stage, 1);
    let [before, after] = ended(2, RunOutcome::Failed(RunError::new(ErrorCode::Internal, "x")));
    stage.announce(&before, &after, "app");
    stage.settle().await;
    let sent: Vec<_> = hook.already().iter().filter_map(|heard| heard.header("title")).collect();
    assert_eq!(sent, ["Task 2"]);
    assert_eq!(stage.notifications.view().held, 1);
}

#[tokio::test]
async fn held_notifications_survive_a_restart_and_are_sent_by_the_next_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hook = Hook::start().await;
    let stage = Stage::open(folder.path(), ntfy(hook.url()));
    begin_quiet(&stage, &[]);
    announce(&stage, 1);
    announce(&stage, 2);
    stage.settle().await;
    stage.stop().await;
    let next = Stage::open(folder.path(), ntfy(hook.url()));
    assert_eq!(next.notifications.view().held, 2);
    next.notifications.keep_sending_held();
    end_quiet(&next);
    assert_eq!(hook.next().await.header("tags").as_deref(), Some("sunrise"));
    until_dropped(&next).await;
    next.stop().await;
    let last = Stage::open(folder.path(), ntfy(hook.url()));
    last.notifications.keep_sending_held();
    last.stop().await;
    assert!(hook.already().is_empty(), "what was sent is not sent again");
}

#[tokio::test]
async fn a_failed_summary_is_not_held_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hook = Hook::start().await;
    hook.answer(403, &[]);
    let stage = Stage::open(folder.path(), ntfy(hook.url()));
    stage.home.write_held_notices(&[Notice::test(None)]).expect("written");
    let home = folder.path().to_owned();
    stage.stop().await;
    let stage = Stage::open(&home, ntfy(hook.url()));
    stage.notifications.keep_sending_held();
    hook.next().await;
    until_dropped(&stage).await;
    assert!(stage.why_not(&notifications::NoticeTarget::Ntfy).is_some(), "the page shows the failure");
    stage.stop().await;
}

#[tokio::test]
async fn at_most_1000_notifications_are_held_and_the_oldest_are_dropped() {
    let folder = tempfile::tempdir().expect("a folder");
    let hook = Hook::start().await;
    let numbered = |n: usize| Notice { title: format!("old {n}"), ..Notice::test(None) };
    let stage = Stage::open(folder.path(), ntfy(hook.url()));
    stage.home.write_held_notices(&(0..999).map(numbered).collect::<Vec<_>>()).expect("written");
    stage.stop().await;
    let stage = Stage::open(folder.path(), ntfy(hook.url()));
    begin_quiet(&stage, &[]);
    let titles_after = async |n: u128| {
        announce(&stage, n);
        stage.settle().await;
        let held = stage.home.read_held_notices().0;
        (held.len(), held[0].title.clone(), held.last().expect("not empty").title.clone())
    };
    assert_eq!(titles_after(1).await, (1000, "old 0".to_owned(), "Task 1".to_owned()));
    assert_eq!(titles_after(2).await, (1000, "old 1".to_owned(), "Task 2".to_owned()));
}

#[tokio::test]
async fn a_notification_that_cannot_be_saved_is_not_held() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hook = Hook::start().await;
    let stage = Stage::open(folder.path(), ntfy(hook.url()));
    begin_quiet(&stage, &[]);
    fs_err::create_dir(stage.home.layout.held_notices()).expect("a folder blocks the file");
    announce(&stage, 1);
    stage.settle().await;
    assert_eq!(stage.notifications.view().held, 0, "the memory matches the file");
    fs_err::remove_dir(stage.home.layout.held_notices()).expect("removed");
    announce(&stage, 2);
    stage.settle().await;
    assert_eq!(stage.notifications.view().held, 1);
    assert!(hook.already().is_empty());
}

#[tokio::test]
async fn a_damaged_file_is_reported_and_replaced_by_the_next_held_notification() {
    let folder = tempfile::tempdir().expect("a folder");
    let hook = Hook::start().await;
    let first = Stage::open(folder.path(), ntfy(hook.url()));
    fs_err::write(first.home.layout.held_notices(), "[{").expect("written");
    first.stop().await;
    let stage = Stage::open(folder.path(), ntfy(hook.url()));
    let damaged = stage.notifications.view().damaged;
    assert!(matches!(&damaged[..], [one] if one.path.ends_with("held-notices.json")), "{damaged:?}");
    begin_quiet(&stage, &[]);
    assert_eq!(stage.notifications.view().damaged.len(), 1, "another file was written");
    announce(&stage, 1);
    stage.settle().await;
    assert!(stage.notifications.view().damaged.is_empty());
    assert_eq!(stage.home.read_held_notices().0.len(), 1);
}
