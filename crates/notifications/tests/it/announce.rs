//! Changes of tasks: who is notified, and what stays secret.

use jiff::Timestamp;
use model::ErrorCode;
use model::notice::{NoticeGroup, NoticeSettings};
use model::run::{RunError, RunOutcome};
use model::task::TaskRecord;
use notifications::NoticeTarget;
use testkit::push::PushService;

use crate::support::{Hook, SESSION, Stage, announce, ended, ntfy, webhook};

#[tokio::test]
async fn every_receiver_is_notified_with_a_link_and_without_output_of_the_agent() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut first, mut second, mut service) = (Hook::start().await, Hook::start().await, PushService::start().await);
    let fixed = NoticeSettings {
        ntfy_url: Some(first.url().to_owned()),
        public_url: Some("https://box.example/".to_owned()),
        ..webhook(second.url(), None)
    };
    let stage = Stage::open(folder.path(), fixed);
    stage.subscribe(&service, "phone", SESSION);
    announce(&stage, 1);
    let task = "00000000-0000-0000-0000-000000000001";
    let (by_ntfy, by_webhook, pushed) = (first.next().await, second.next().await, service.next().await);
    assert_eq!(by_ntfy.header("tags").as_deref(), Some("white_check_mark"));
    assert_eq!(by_ntfy.header("click"), Some(format!("https://box.example/tasks/{task}")));
    let sent = by_webhook.json();
    assert_eq!([&sent["event"], &sent["task_id"], &sent["environment"], &sent["title"]], ["finished", task, "app", "Task 1"]);
    assert_eq!(pushed.message["path"], format!("/tasks/{task}"));
    assert_eq!((pushed.headers["ttl"].as_str(), pushed.headers["urgency"].as_str()), ("86400", "normal"));
    assert_eq!(pushed.headers["topic"], task.replace('-', ""), "a newer message about the task replaces this one");
    let all = format!("{by_ntfy:?} {by_webhook:?} {pushed:?}");
    assert!(!all.contains("The secret"), "{all}");
    stage.settle().await;
    assert!(stage.notifications.view().outcomes.values().all(|outcome| outcome.why_not.is_none()));
}

#[tokio::test]
async fn each_outcome_has_its_own_symbol_and_urgency() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut hook, mut service) = (Hook::start().await, PushService::start().await);
    let stage = Stage::open(folder.path(), ntfy(hook.url()));
    stage.subscribe(&service, "phone", SESSION);
    let error = || RunError::new(ErrorCode::Internal, "The secret reason");
    for (n, outcome, tag, urgency) in [
        (1, RunOutcome::Completed, "white_check_mark", "normal"),
        (2, RunOutcome::Failed(error()), "x", "high"),
        (3, RunOutcome::Interrupted(error()), "zap", "high"),
    ] {
        let [before, after] = ended(n, outcome);
        stage.announce(&before, &after, "app");
        let (heard, pushed) = (hook.next().await, service.next().await);
        assert_eq!(heard.header("tags").as_deref(), Some(tag));
        assert_eq!(pushed.headers["urgency"], urgency, "{tag}");
        assert!(!format!("{heard:?} {pushed:?}").contains("The secret"), "{tag}");
    }
}

#[tokio::test]
async fn a_change_that_needs_no_notification_sends_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hook = Hook::start().await;
    let stage = Stage::open(folder.path(), ntfy(hook.url()));
    let [before, after] = ended(1, RunOutcome::Stopped);
    stage.announce(&before, &after, "app");
    stage.announce(&after, &after, "app");
    let [before, mut removed] = ended(2, RunOutcome::Completed);
    removed.removing = true;
    stage.announce(&before, &removed, "app");
    stage.settle().await;
    assert!(hook.already().is_empty() && stage.notifications.view().outcomes.is_empty());
}

#[tokio::test]
async fn a_group_that_is_turned_off_is_dropped() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hook = Hook::start().await;
    let fixed = NoticeSettings { tell: Some([NoticeGroup::Failed].into()), ..ntfy(hook.url()) };
    let stage = Stage::open(folder.path(), fixed);
    announce(&stage, 1);
    stage.settle().await;
    assert!(hook.already().is_empty());
    let [before, after] = ended(2, RunOutcome::Failed(RunError::new(ErrorCode::Internal, "x")));
    stage.announce(&before, &after, "app");
    assert_eq!(hook.next().await.header("title").as_deref(), Some("Task 2"));
}

#[tokio::test]
async fn without_a_receiver_nothing_is_sent_or_held() {
    let folder = tempfile::tempdir().expect("a folder");
    let quiet = NoticeSettings { quiet_hours: Some(crate::support::quiet_now(&[])), ..NoticeSettings::default() };
    let stage = Stage::open(folder.path(), quiet);
    assert!(!stage.notifications.has_receivers());
    announce(&stage, 1);
    assert!(stage.tracker.is_empty(), "nothing is being sent");
    assert_eq!(stage.notifications.view().held, 0);
}

#[tokio::test]
async fn a_receiver_that_fails_does_not_affect_the_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let (bad, mut good, mut service) = (Hook::start().await, Hook::start().await, PushService::start().await);
    bad.answer(400, &[]);
    let fixed = NoticeSettings { webhook_url: Some(bad.url().to_owned()), ..ntfy(good.url()) };
    let stage = Stage::open(folder.path(), fixed);
    let broken = stage.subscribe(&service, "broken", "session-2");
    service.refuse(&[403]);
    assert!(stage.notifications.send_test(NoticeTarget::Device(broken)).await.is_ok());
    let fine = stage.subscribe(&service, "fine", SESSION);
    announce(&stage, 1);
    stage.settle().await;
    good.next().await;
    let devices = [service.next().await.device, service.next().await.device];
    assert!(devices.contains(&"fine".to_owned()) && devices.contains(&"broken".to_owned()), "{devices:?}");
    assert_eq!(stage.why_not(&NoticeTarget::Webhook).as_deref(), Some("the webhook responded with 400 Bad Request"));
    assert_eq!((stage.why_not(&NoticeTarget::Ntfy), stage.why_not(&NoticeTarget::Device(fine))), (None, None));
}

#[tokio::test]
async fn a_lasting_refusal_is_not_repeated() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hook = Hook::start().await;
    let stage = Stage::open(folder.path(), ntfy(hook.url()));
    let mut check = async |n: u128, status: u16, headers: &[(&'static str, &str)]| {
        hook.answer(status, headers);
        announce(&stage, n);
        stage.settle().await;
        assert_eq!(hook.already().len(), 1, "{status} {headers:?}");
        assert!(stage.why_not(&NoticeTarget::Ntfy).is_some());
    };
    check(1, 400, &[]).await;
    check(2, 401, &[]).await;
    check(3, 404, &[]).await;
    check(4, 410, &[]).await;
    check(5, 400, &[("retry-after", "1")]).await;
    // A notification that arrives later than this is not useful.
    check(6, 503, &[("retry-after", "301")]).await;
    check(7, 429, &[("retry-after", "18446744073709551615")]).await;
}

#[tokio::test]
async fn an_overloaded_receiver_gets_the_notification_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut hook, mut service) = (Hook::start().await, PushService::start().await);
    hook.answer(503, &[("retry-after", "1")]);
    service.refuse(&[429]);
    let stage = Stage::open(folder.path(), webhook(hook.url(), Some("hush")));
    let id = stage.subscribe(&service, "phone", SESSION);
    announce(&stage, 1);
    let first = hook.next().await;
    hook.answer(200, &[]);
    let second = hook.next().await;
    assert_eq!((first.body, first.headers), (second.body, second.headers), "the signature is the same");
    service.next().await;
    stage.settle().await;
    assert_eq!((service.asked(), hook.already().len()), (2, 0));
    assert_eq!((stage.why_not(&NoticeTarget::Webhook), stage.why_not(&NoticeTarget::Device(id))), (None, None));
}

#[tokio::test]
async fn stopping_the_server_does_not_wait_for_a_receiver() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("the loopback has a free port");
    let url = format!("http://{}/hook", listener.local_addr().expect("it is bound"));
    let stage = Stage::open(folder.path(), ntfy(&url));
    announce(&stage, 1);
    // The connection is open, but nobody responds.
    let _connection = listener.accept().await.expect("the server connects");
    let begun = std::time::Instant::now();
    stage.stop().await;
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "the time limit of a request is longer");
}

#[tokio::test]
async fn the_outcome_has_the_time_of_the_last_notification() {
    let folder = tempfile::tempdir().expect("a folder");
    let hook = Hook::start().await;
    let stage = Stage::open(folder.path(), ntfy(hook.url()));
    let before = Timestamp::now();
    announce(&stage, 1);
    stage.settle().await;
    let at = stage.notifications.view().outcomes[&NoticeTarget::Ntfy].at;
    assert!((before..=Timestamp::now()).contains(&at), "{at}");
}

#[tokio::test]
async fn a_title_in_any_script_is_readable_in_json_and_ascii_in_a_header() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut by_ntfy, mut by_webhook) = (Hook::start().await, Hook::start().await);
    let stage = Stage::open(
        folder.path(),
        NoticeSettings { ntfy_url: Some(by_ntfy.url().to_owned()), ..webhook(by_webhook.url(), None) },
    );
    let title = model::names::Title::parse("Füge 日本 hinzu").expect("a title");
    let [before, after] = ended(1, RunOutcome::Completed).map(|task| TaskRecord { title: title.clone(), ..task });
    stage.announce(&before, &after, "app");
    assert_eq!(by_ntfy.next().await.header("title").as_deref(), Some("F?ge ?? hinzu"));
    assert_eq!(by_webhook.next().await.json()["title"], "Füge 日本 hinzu");
}
