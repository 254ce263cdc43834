//! Browsers that subscribed to push notifications: their number, their sessions, and the end of a subscription.

use std::sync::{Arc, Barrier};

use model::ErrorCode;
use model::notice::NoticeSettings;
use notifications::NoticeTarget;
use testkit::push::PushService;

use crate::support::{SESSION, Stage, announce, locked};

#[tokio::test]
async fn an_expired_subscription_is_removed_from_memory_and_disk() {
    for status in [404, 410] {
        let folder = tempfile::tempdir().expect("a folder");
        let service = PushService::start().await;
        let stage = Stage::open(folder.path(), NoticeSettings::default());
        let gone = stage.subscribe(&service, "gone", SESSION);
        let stays = stage.subscribe(&service, "stays", "session-2");
        service.refuse(&[status]);
        stage.notifications.send_test(NoticeTarget::Device(gone.clone())).await.expect("the device exists");
        let ids: Vec<_> = stage.notifications.view().devices.into_iter().map(|device| device.id).collect();
        assert_eq!(ids, [stays], "{status}");
        assert_eq!(stage.home.read_devices().0.devices.len(), 1);
        assert!(stage.why_not(&NoticeTarget::Device(gone.clone())).is_some(), "the page shows what happened");
        let again = stage.notifications.send_test(NoticeTarget::Device(gone)).await.expect_err("it is gone");
        assert_eq!(again.report.code, ErrorCode::NoSuchReceiver);
    }
}

#[tokio::test]
async fn a_signed_out_browser_gets_nothing_even_before_its_device_is_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut service = PushService::start().await;
    let stage = Stage::open(folder.path(), NoticeSettings::default());
    let out = stage.subscribe(&service, "out", "session-out");
    stage.subscribe(&service, "in", "session-in");
    locked(&stage.signed_out).insert("session-out".to_owned());
    announce(&stage, 1);
    stage.settle().await;
    assert_eq!(service.next().await.device, "in");
    assert!(service.already().is_none());
    let refused = stage.notifications.send_test(NoticeTarget::Device(out)).await.expect_err("signed out");
    assert_eq!(refused.report.code, ErrorCode::NoSuchReceiver);
    assert_eq!(stage.notifications.view().devices.len(), 2);
    stage.notifications.forget_signed_out_devices().expect("saved");
    let sessions: Vec<_> = stage.notifications.view().devices.into_iter().map(|device| device.session).collect();
    assert_eq!(sessions, ["session-in"]);
}

#[tokio::test]
async fn a_removed_device_loses_its_outcome_and_removing_it_twice_is_harmless() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = PushService::start().await;
    let stage = Stage::open(folder.path(), NoticeSettings::default());
    let id = stage.subscribe(&service, "phone", SESSION);
    stage.notifications.send_test(NoticeTarget::Device(id.clone())).await.expect("the device exists");
    assert_eq!(stage.notifications.view().outcomes.len(), 1);
    for _ in 0..2 {
        stage.notifications.forget_device(&id).expect("saved");
        assert!(stage.notifications.view().devices.is_empty() && stage.notifications.view().outcomes.is_empty());
    }
    assert!(!stage.notifications.has_receivers());
}

#[tokio::test]
async fn the_view_shows_the_push_service_but_not_the_subscription() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = PushService::start().await;
    let stage = Stage::open(folder.path(), NoticeSettings::default());
    let wish = stage.wish(&service, "phone");
    stage.notifications.subscribe(SESSION.to_owned(), wish.clone()).expect("subscribed");
    let view = stage.notifications.view();
    assert_eq!((view.devices[0].label.as_str(), view.devices[0].session.as_str()), ("browser phone", SESSION));
    assert!(wish.endpoint.starts_with(&view.devices[0].push_service));
    let shown = format!("{view:?}");
    for secret in [&wish.auth, &wish.p256dh, &wish.endpoint] {
        assert!(!shown.contains(secret.as_str()), "{shown}");
    }
}

#[tokio::test]
async fn twenty_browsers_can_subscribe_and_each_can_do_so_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = PushService::start().await;
    let stage = Stage::open(folder.path(), NoticeSettings::default());
    for n in 0..20 {
        stage.subscribe(&service, &n.to_string(), &format!("session-{n}"));
    }
    let more = stage.notifications.subscribe("session-20".to_owned(), stage.wish(&service, "20"));
    assert_eq!(more.expect_err("there is no free place").report.code, ErrorCode::TooManyDevices);
    stage.subscribe(&service, "again", "session-7");
    let devices = stage.notifications.view().devices;
    assert_eq!(devices.len(), 20);
    assert_eq!(devices.last().map(|device| device.label.as_str()), Some("browser again"));
    stage.notifications.forget_device(&devices[0].id).expect("saved");
    stage.subscribe(&service, "20", "session-20");
}

#[tokio::test]
async fn a_label_is_one_line_of_at_most_120_characters() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = PushService::start().await;
    let stage = Stage::open(folder.path(), NoticeSettings::default());
    let check = |label: &str, expect: &str| {
        let mut wish = stage.wish(&service, "phone");
        wish.label = label.to_owned();
        stage.notifications.subscribe(SESSION.to_owned(), wish).expect("subscribed");
        assert_eq!(stage.notifications.view().devices[0].label, expect);
    };
    check("", "");
    check("a\r\nb\u{1b}[31m\u{7f}", "ab[31m");
    check(&"ä".repeat(120), &"ä".repeat(120));
    check(&"ä".repeat(121), &"ä".repeat(120));
}

#[tokio::test]
async fn keys_with_padding_are_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut service = PushService::start().await;
    let stage = Stage::open(folder.path(), NoticeSettings::default());
    let mut wish = stage.wish(&service, "phone");
    wish.auth.push_str("==");
    wish.p256dh.push('=');
    stage.notifications.subscribe(SESSION.to_owned(), wish).expect("subscribed");
    announce(&stage, 1);
    assert_eq!(service.next().await.message["title"], "Task 1");
}

#[tokio::test]
async fn the_key_is_stored_with_the_first_device() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = PushService::start().await;
    let first = Stage::open(folder.path(), NoticeSettings::default());
    let outdated = first.wish(&service, "phone");
    assert_eq!(first.notifications.push_key().expect("a key"), outdated.server_key, "the key stays the same");
    first.stop().await;
    let second = Stage::open(folder.path(), NoticeSettings::default());
    let refused = second.notifications.subscribe(SESSION.to_owned(), outdated).expect_err("the key was not stored");
    assert_eq!(refused.report.code, ErrorCode::SubscriptionRefused);
    second.subscribe(&service, "phone", SESSION);
    let key = second.notifications.push_key().expect("a key");
    let id = second.notifications.view().devices[0].id.clone();
    second.notifications.forget_device(&id).expect("saved");
    second.stop().await;
    let third = Stage::open(folder.path(), NoticeSettings::default());
    assert_eq!(third.notifications.push_key().expect("a key"), key, "the key outlives the devices");
}

#[tokio::test]
async fn a_device_still_receives_messages_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut service = PushService::start().await;
    let first = Stage::open(folder.path(), NoticeSettings::default());
    first.subscribe(&service, "phone", SESSION);
    first.stop().await;
    let second = Stage::open(folder.path(), NoticeSettings::default());
    announce(&second, 1);
    assert_eq!(service.next().await.device, "phone");
}

#[tokio::test]
async fn a_subscription_that_cannot_be_saved_does_not_exist() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = PushService::start().await;
    let stage = Stage::open(folder.path(), NoticeSettings::default());
    fs_err::create_dir(stage.home.layout.devices()).expect("a folder blocks the file");
    let wish = stage.wish(&service, "phone");
    stage.notifications.subscribe(SESSION.to_owned(), wish.clone()).expect_err("not saved");
    assert!(stage.notifications.view().devices.is_empty() && !stage.notifications.has_receivers());
    fs_err::remove_dir(stage.home.layout.devices()).expect("removed");
    stage.notifications.subscribe(SESSION.to_owned(), wish).expect("the same page can try again");
}

#[tokio::test]
async fn a_device_that_cannot_be_removed_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = PushService::start().await;
    let stage = Stage::open(folder.path(), NoticeSettings::default());
    let id = stage.subscribe(&service, "phone", SESSION);
    let file = stage.home.layout.devices();
    fs_err::remove_file(&file).expect("removed");
    fs_err::create_dir(&file).expect("a folder blocks the file");
    stage.notifications.forget_device(&id).expect_err("not saved");
    assert_eq!(stage.notifications.view().devices.len(), 1);
}

#[tokio::test]
async fn two_tabs_of_one_browser_become_one_device() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = PushService::start().await;
    let stage = Stage::open(folder.path(), NoticeSettings::default());
    let barrier = Arc::new(Barrier::new(4));
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (stage, service, barrier) = (&stage, &service, Arc::clone(&barrier));
            scope.spawn(move || {
                let wish = stage.wish(service, &format!("tab-{n}"));
                barrier.wait();
                stage.notifications.subscribe(SESSION.to_owned(), wish).expect("subscribed");
            });
        }
    });
    assert_eq!(stage.notifications.view().devices.len(), 1);
    assert_eq!(stage.home.read_devices().0.devices.len(), 1, "the file is the same");
}
