//! The settings of the page, and those of `config.toml` that take precedence.

use model::ErrorCode;
use model::notice::NoticeSettings;
use model::secret::Secret;

use crate::support::{Stage, ntfy, webhook};

#[tokio::test]
async fn settings_of_the_page_take_effect_at_once_and_survive_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = Stage::open(folder.path(), NoticeSettings::default());
    assert!(!first.notifications.has_receivers());
    let page = NoticeSettings { public_url: Some("https://box.example".to_owned()), ..ntfy("https://ntfy.example/topic") };
    first.notifications.edit(|_| page.clone()).expect("saved");
    assert!(first.notifications.has_receivers());
    assert_eq!(first.notifications.public_url(), page.public_url);
    first.stop().await;
    let second = Stage::open(folder.path(), NoticeSettings::default());
    assert_eq!(second.notifications.view().settings, page);
    second.notifications.edit(|_| NoticeSettings::default()).expect("saved");
    assert!(!second.notifications.has_receivers());
}

#[tokio::test]
async fn settings_of_the_file_take_precedence_and_are_not_copied_to_the_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let fixed = ntfy("https://file.example/topic");
    let first = Stage::open(folder.path(), fixed.clone());
    first
        .notifications
        .edit(|page| {
            assert_eq!(*page, NoticeSettings::default(), "an edit starts with the settings of the page");
            NoticeSettings { ntfy_url: Some("https://page.example/topic".to_owned()), ..webhook("https://hook.example/", None) }
        })
        .expect("saved");
    let view = first.notifications.view();
    assert_eq!(view.fixed, fixed);
    assert_eq!(view.settings.ntfy_url, fixed.ntfy_url);
    assert_eq!(view.settings.webhook_url.as_deref(), Some("https://hook.example/"));
    first.stop().await;
    let without_file = Stage::open(folder.path(), NoticeSettings::default());
    let settings = without_file.notifications.view().settings;
    assert_eq!(settings.ntfy_url.as_deref(), Some("https://page.example/topic"));
}

#[tokio::test]
async fn an_invalid_setting_is_named_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let stage = Stage::open(folder.path(), NoticeSettings::default());
    let good = ntfy("https://ntfy.example/topic");
    stage.notifications.edit(|_| good.clone()).expect("saved");
    let check = |bad: NoticeSettings, name: &str| {
        let refused = stage.notifications.edit(|_| bad).expect_err("invalid");
        assert_eq!(refused.report.code, ErrorCode::NoticesRefused);
        assert!(refused.report.message.starts_with(&format!("`{name}` ")), "{}", refused.report.message);
        assert_eq!(stage.notifications.view().settings, good);
        assert_eq!(stage.home.read_notice_settings(), (good.clone(), None));
    };
    check(ntfy("ntfy.sh/topic"), "ntfy_url");
    check(ntfy("http://ntfy.sh/topic"), "ntfy_url");
    check(webhook("ftp://hook.example", None), "webhook_url");
    check(webhook("https://hook.example", Some("")), "webhook_secret");
    check(webhook("https://hook.example/?***", None), "webhook_url");
    let secret = NoticeSettings { webhook_secret: Some(Secret::new("x".repeat(1025))), ..NoticeSettings::default() };
    check(secret, "webhook_secret");
    check(NoticeSettings { public_url: Some("box.example".to_owned()), ..NoticeSettings::default() }, "public_url");
}

#[tokio::test]
async fn settings_that_cannot_be_saved_do_not_take_effect() {
    let folder = tempfile::tempdir().expect("a folder");
    let stage = Stage::open(folder.path(), NoticeSettings::default());
    fs_err::create_dir(stage.home.layout.notices()).expect("a folder blocks the file");
    stage.notifications.edit(|_| ntfy("https://ntfy.example/topic")).expect_err("not saved");
    assert!(!stage.notifications.has_receivers());
}

#[tokio::test]
async fn a_damaged_file_is_ignored_and_reported_until_the_page_is_saved() {
    for text in ["", "{", "[]", r#"{"schema":1}"#, r#"{"schema":1,"content":{"unknown":1}}"#] {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Stage::open(folder.path(), NoticeSettings::default());
        let file = first.home.layout.notices();
        fs_err::write(&file, text).expect("written");
        first.stop().await;
        let stage = Stage::open(folder.path(), NoticeSettings::default());
        assert_eq!(stage.notifications.view().settings, NoticeSettings::default());
        let damaged = stage.notifications.view().damaged;
        assert!(matches!(&damaged[..], [one] if one.path.ends_with("/notices.json")), "{text}: {damaged:?}");
        assert_eq!(fs_err::read_to_string(&file).expect("there"), text, "the file is unchanged");
        stage.notifications.edit(|_| ntfy("https://ntfy.example/topic")).expect("saved");
        assert!(stage.notifications.view().damaged.is_empty(), "{text}");
    }
}
