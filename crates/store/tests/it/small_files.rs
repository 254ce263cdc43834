//! The small files in a home: sessions, the password, built images, reviews, the last boot, and notifications.

use fs_err as fs;
use jiff::Timestamp;
use model::ErrorCode;
use model::ids::ObjectId;
use model::notice::{Notice, NoticeSettings, PushEndpoint};
use model::problem::Problem;
use model::secret::Secret;
use store::{Boot, BuiltImageRecord, DeviceRecord, Devices, Home, SessionRecord};

use crate::support::{assert_no_temporary_file, block, env_id, home, mode, task, task_id, time};

fn session(host: &str) -> SessionRecord {
    SessionRecord { hash: "ab".repeat(32), label: "Firefox".to_owned(), created_at: time(1), host: host.to_owned() }
}

#[test]
fn sessions_are_read_as_they_were_written() {
    let (_folder, home) = home();
    assert_eq!(home.read_sessions().expect("a missing file means no sessions"), []);
    let sessions = [session("localhost"), session("box.example")];
    home.write_sessions(&sessions).expect("written");
    assert_eq!(home.read_sessions().expect("read"), sessions);
    assert_eq!(mode(&home.layout.page_sessions()), 0o600);
    home.write_sessions(&[]).expect("written");
    assert_eq!(home.read_sessions().expect("read"), []);
}

#[test]
fn a_session_without_a_host_is_signed_out() {
    let (_folder, home) = home();
    let text = r#"{"schema":1,"sessions":[
        {"hash":"a","label":"old","created_at":"2026-01-02T03:04:05Z"},
        {"hash":"b","label":"new","created_at":"2026-01-02T03:04:05Z","host":"box.example","unknown":1}]}"#;
    fs::write(home.layout.page_sessions(), text).expect("written");
    let labels: Vec<_> = home.read_sessions().expect("read").into_iter().map(|session| session.label).collect();
    assert_eq!(labels, ["new"]);
}

#[test]
fn damaged_sessions_sign_out_everyone_and_stay_until_somebody_signs_in() {
    let (_folder, home) = home();
    for text in ["", "{", "null", r#"{"schema":1}"#, r#"{"schema":1,"sessions":[{}]}"#] {
        fs::write(home.layout.page_sessions(), text).expect("written");
        assert_eq!(home.read_sessions().expect("read"), [], "{text}");
        assert_eq!(fs::read_to_string(home.layout.page_sessions()).expect("there"), text);
    }
    home.write_sessions(&[session("localhost")]).expect("written");
    assert_eq!(home.read_sessions().expect("read").len(), 1);
    block(&home.layout.page_sessions());
    home.read_sessions().expect_err("a folder");
    home.write_sessions(&[]).expect_err("a folder");
}

#[test]
fn a_password_hash_is_kept_until_it_is_removed() {
    let (_folder, home) = home();
    assert_eq!(home.read_password_hash().expect("none"), None);
    home.write_password_hash(None).expect("nothing to remove");
    home.write_password_hash(Some("$argon2id$v=19$x")).expect("written");
    assert_eq!(home.read_password_hash().expect("read").as_deref(), Some("$argon2id$v=19$x"));
    assert_eq!(mode(&home.layout.password()), 0o600);
    home.write_password_hash(None).expect("removed");
    assert!(!home.layout.password().exists());
}

#[test]
fn an_unreadable_password_is_an_error_and_an_empty_one_is_none() {
    let (_folder, home) = home();
    for (text, expect) in [("", None), (" \n", None), (" x \n", Some("x"))] {
        fs::write(home.layout.password(), text).expect("written");
        assert_eq!(home.read_password_hash().expect("read").as_deref(), expect, "{text:?}");
    }
    fs::write(home.layout.password(), b"\xff").expect("written");
    home.read_password_hash().expect_err("without the error, the pages would have no password");
    block(&home.layout.password());
    home.read_password_hash().expect_err("a folder");
    home.write_password_hash(Some("x")).expect_err("a folder");
    home.write_password_hash(None).expect_err("a folder");
}

fn image(n: u32) -> BuiltImageRecord {
    BuiltImageRecord { image_id: format!("sha256:{n}"), name: "x:1".to_owned(), env_id: env_id(1), built_at: time(1) }
}

#[test]
fn built_images_keep_their_order_and_damage_is_an_error() {
    let (_folder, home) = home();
    let images = [image(2), image(1), image(3)];
    home.write_built_images(&images).expect("written");
    assert_eq!(home.read_built_images().expect("read"), images);
    for text in ["", "[]", r#"{"schema":1}"#, r#"{"schema":1,"images":[{"image_id":"x"}]}"#] {
        fs::write(home.layout.built_images(), text).expect("written");
        let error = home.read_built_images().expect_err(text);
        assert!(error.to_string().starts_with("could not read `"), "{error}");
        assert_eq!(fs::read_to_string(home.layout.built_images()).expect("there"), text);
    }
}

#[test]
fn a_review_is_kept_with_its_task_and_damage_counts_as_none() {
    let (_folder, home) = home();
    home.put_task(&task(1)).expect("written");
    let commit: ObjectId = "c".repeat(40).parse().expect("an ID");
    home.write_reviewed(task_id(1), &commit).expect("written");
    home.discard_task(task_id(1)).expect("moved");
    assert_eq!(home.read_reviewed(task_id(1)).expect("a task in the trash has no review"), None);
    home.put_task(&task(1)).expect("restored");
    assert_eq!(home.read_reviewed(task_id(1)).expect("read"), Some(commit));
    for text in ["", "{", r#"{"schema":1}"#, r#"{"schema":1,"commit":"main"}"#] {
        fs::write(home.layout.reviewed(task_id(1)), text).expect("written");
        assert_eq!(home.read_reviewed(task_id(1)).expect("read"), None, "{text}");
    }
    block(&home.layout.reviewed(task_id(1)));
    home.read_reviewed(task_id(1)).expect_err("a folder");
}

#[test]
fn the_same_boot_is_never_a_first_start_whatever_ended_before() {
    let (_folder, home) = home();
    let check = |boot_id: &str, is_first: bool, is_unclean: bool| {
        let boot = home.read_boot(boot_id, time(1)).expect("readable");
        assert_eq!((boot.is_first_start, boot.unclean_stop.is_some()), (is_first, is_unclean), "{boot_id}");
        boot
    };
    let a = check("a", false, false);
    home.begin_boot(&a).expect("written");
    home.end_boot(&a).expect("written");
    check("a", false, false);
    let b = check("b", true, false);
    home.begin_boot(&b).expect("written");
    check("b", false, false);
    check("c", true, true);
}

#[test]
fn a_boot_file_of_another_version_counts_as_an_unclean_stop() {
    let (_folder, home) = home();
    for text in ["null", "[]", r#"{"schema":1,"boot_id":"x"}"#, r#"{"schema":1,"boot_id":7,"is_clean":true}"#] {
        fs::write(home.layout.boot(), text).expect("written");
        let boot = home.read_boot("a", time(5)).expect("readable");
        assert!(boot.is_first_start, "{text}");
        let stop = boot.unclean_stop.expect(text);
        assert_eq!((stop.boot_id.as_str(), stop.noticed_at), ("a", time(5)));
    }
    let newer = r#"{"schema":9,"boot_id":"a","is_clean":false,"new":1}"#;
    fs::write(home.layout.boot(), newer).expect("written");
    assert!(home.read_boot("a", time(5)).expect("readable").unclean_stop.is_none(), "known fields are enough");
    block(&home.layout.boot());
    home.read_boot("a", time(5)).expect_err("a folder");
}

fn device(n: u32) -> DeviceRecord {
    DeviceRecord {
        id: n.to_string(),
        endpoint: PushEndpoint::parse(&format!("https://push.example/{n}")).expect("an endpoint"),
        p256dh: "p".to_owned(),
        auth: Secret::new("a"),
        label: "Phone".to_owned(),
        session: "s".to_owned(),
        created_at: Timestamp::UNIX_EPOCH,
    }
}

#[test]
fn devices_are_read_as_they_were_written() {
    let (_folder, home) = home();
    let devices = Devices { key: Some(Secret::new("key")), devices: vec![device(2), device(1)] };
    home.write_devices(&devices).expect("written");
    assert_eq!(home.read_devices(), (devices, None));
}

#[test]
fn one_invalid_device_makes_the_file_damaged_instead_of_losing_the_device() {
    let (_folder, home) = home();
    home.write_devices(&Devices { key: None, devices: vec![device(1), device(2)] }).expect("written");
    let text = fs::read_to_string(home.layout.devices()).expect("there");
    let changed = text.replace("https://push.example/2", "http://push.example/2");
    fs::write(home.layout.devices(), &changed).expect("written");
    let (devices, damaged) = home.read_devices();
    assert_eq!(devices, Devices::default());
    let damaged = damaged.expect("reported");
    assert!(damaged.reason.contains("does not use https") && damaged.path.ends_with("devices.json"), "{damaged:?}");
    assert_eq!(fs::read_to_string(home.layout.devices()).expect("there"), changed);
}

#[test]
fn an_error_of_a_notification_file_never_shows_a_secret() {
    let (_folder, home) = home();
    let settings = NoticeSettings { webhook_secret: Some(Secret::new("hunter2")), ..NoticeSettings::default() };
    home.write_notice_settings(&settings).expect("written");
    let text = fs::read_to_string(home.layout.notices()).expect("there");
    for changed in [&text[..text.len() - 3], &text.replace("\"hunter2\"", "{\"hunter2\": 1}")] {
        fs::write(home.layout.notices(), changed).expect("written");
        let damaged = home.read_notice_settings().1.expect("reported");
        assert!(!format!("{damaged:?}").contains("hunter"), "{damaged:?}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_and_unchanged() {
    type Write = fn(&Home) -> Result<(), store::StoreError>;
    let check = |path: fn(&Home) -> std::path::PathBuf, write: Write| {
        let (folder, home) = home();
        block(&path(&home));
        let error = write(&home).expect_err("a folder is not replaced");
        assert!(error.to_string().starts_with(&format!("could not write `{}`: ", path(&home).display())), "{error}");
        assert!(!error.is_permission_denied());
        assert_eq!(Problem::from(error).report.code, ErrorCode::Internal);
        assert!(path(&home).join("blocked").is_dir());
        assert_no_temporary_file(folder.path());
    };
    check(|home| home.layout.page_sessions(), |home| home.write_sessions(&[]));
    check(|home| home.layout.password(), |home| home.write_password_hash(Some("x")));
    check(|home| home.layout.built_images(), |home| home.write_built_images(&[image(1)]));
    check(|home| home.layout.notices(), |home| home.write_notice_settings(&NoticeSettings::default()));
    check(|home| home.layout.devices(), |home| home.write_devices(&Devices::default()));
    check(|home| home.layout.held_notices(), |home| home.write_held_notices(&[Notice::test(None)]));
    let boot: Write = |home| home.begin_boot(&Boot { boot_id: "a".to_owned(), is_first_start: false, unclean_stop: None });
    check(|home| home.layout.boot(), boot);
}
