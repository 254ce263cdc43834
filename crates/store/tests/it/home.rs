//! The home: its lock, its token, the name of its pages, and what makes it unusable.

use std::sync::{Arc, Barrier};

use fs_err as fs;
use model::ErrorCode;
use model::problem::Problem;
use store::{Home, OpenHomeError, free_bytes, holder, private_folder};

use crate::support::{block, mode};

#[test]
fn of_several_servers_that_start_at_once_one_gets_the_home() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("home");
    let barrier = Arc::new(Barrier::new(4));
    let opened: Vec<_> = std::thread::scope(|scope| {
        let open = |_| {
            let (path, barrier) = (&path, Arc::clone(&barrier));
            scope.spawn(move || {
                barrier.wait();
                Home::open(path)
            })
        };
        let threads: Vec<_> = (0..4).map(open).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let homes: Vec<_> = opened.iter().filter_map(|opened| opened.as_ref().ok()).collect();
    assert_eq!(homes.len(), 1, "{opened:?}");
    let others = opened.iter().filter_map(|opened| opened.as_ref().err());
    assert!(others.into_iter().all(|error| matches!(error, OpenHomeError::Held { .. })), "{opened:?}");
    assert_eq!(fs::read_to_string(path.join("token")).expect("there").trim(), homes[0].token);
}

#[test]
fn a_token_of_32_characters_is_kept_and_a_shorter_one_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |text: &str, is_kept: bool| {
        fs::write(folder.path().join("token"), text).expect("written");
        let home = Home::open(folder.path()).expect("a home");
        assert_eq!(home.token == text.trim(), is_kept, "{text:?}");
        assert!(home.token.len() >= 32 && !home.token.contains(char::is_whitespace), "{}", home.token);
        assert_eq!(fs::read_to_string(home.layout.token()).expect("there").trim(), home.token);
    };
    check("", false);
    check(&" ".repeat(64), false);
    check(&"x".repeat(31), false);
    check(&"x".repeat(32), true);
    check(&format!("\n{}\r\n", "x".repeat(32)), true);
}

#[test]
fn two_homes_have_different_tokens_and_names() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let [one, two] = folders.each_ref().map(|folder| Home::open(folder.path()).expect("a home"));
    assert!(one.token != two.token && one.pages_host != two.pages_host);
    assert!(one.token.bytes().all(|byte| byte.is_ascii_hexdigit()));
}

#[test]
fn a_home_with_a_folder_in_place_of_a_file_is_unusable() {
    for name in ["lock", "token", "pages-host"] {
        let folder = tempfile::tempdir().expect("a folder");
        block(&folder.path().join(name));
        let error = Home::open(folder.path()).expect_err(name);
        assert!(matches!(error, OpenHomeError::Unusable { .. }), "{name}: {error:?}");
        let problem = Problem::from(error);
        assert_eq!(problem.report.code, ErrorCode::HomeUnusable);
        let path = folder.path().display().to_string();
        assert!(problem.report.message.starts_with(&format!("cannot use the home directory `{path}`: ")), "{problem:?}");
        assert_eq!(problem.report.hints, ["set ORCH_HOME to another folder"]);
    }
}

#[test]
fn a_home_with_a_file_in_place_of_a_folder_is_unusable_and_free_again() {
    for name in ["envs", "tasks", "trash"] {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(name), "").expect("written");
        Home::open(folder.path()).expect_err(name);
        assert_eq!(holder(folder.path()).expect("readable"), None, "{name}: the lock is released");
        fs::remove_file(folder.path().join(name)).expect("removed");
        Home::open(folder.path()).expect("a home");
    }
}

#[test]
fn a_token_that_is_not_text_is_an_error_and_unchanged() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    fs::write(&token, b"\xff\xfe").expect("written");
    Home::open(folder.path()).expect_err("not text");
    assert_eq!(fs::read(&token).expect("there"), b"\xff\xfe");
}

#[test]
fn a_lock_file_with_other_content_names_no_holder() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |text: &str| {
        fs::write(folder.path().join("lock"), text).expect("written");
        assert_eq!(holder(folder.path()).expect("readable"), None, "{text:?}");
    };
    check("");
    check("process ");
    check("process -1");
    check("process 0");
    check("process 99999999999999999999");
    check("process x");
    check("4711");
    check(&format!("Process {}", std::process::id()));
    let home = Home::open(folder.path()).expect("the content does not matter if nobody holds the lock");
    assert_eq!(fs::read_to_string(home.layout.lock()).expect("there"), format!("process {}\n", std::process::id()));
}

#[test]
fn a_lock_file_that_is_not_text_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("lock"), b"\xff").expect("written");
    holder(folder.path()).expect_err("not text");
}

#[test]
fn the_permissions_of_others_are_removed_and_those_of_the_owner_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("folder");
    let check = |before: u32, after: u32| {
        fs::create_dir_all(&path).expect("made");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(before)).expect("ours");
        private_folder(&path).expect("private");
        assert_eq!(mode(&path), after, "{before:o}");
    };
    check(0o777, 0o700);
    check(0o700, 0o700);
    check(0o500, 0o500);
    check(0o550, 0o500);
    check(0o701, 0o700);
}

#[test]
fn a_private_folder_is_not_made_in_place_of_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "content").expect("written");
    private_folder(&file).expect_err("a file");
    assert_eq!(fs::read_to_string(&file).expect("there"), "content");
}

#[test]
fn a_probe_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::open(folder.path()).expect("a home");
    let names = || fs::read_dir(folder.path()).expect("read").count();
    let before = names();
    for _ in 0..2 {
        home.probe().expect("writable");
    }
    assert_eq!(names(), before);
}

#[test]
fn probes_at_the_same_time_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::open(folder.path()).expect("a home");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..200).for_each(|_| home.probe().expect("writable")));
        }
    });
}

#[test]
fn a_probe_fails_if_no_file_can_be_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::open(folder.path()).expect("a home");
    block(&folder.path().join("probe"));
    let error = home.probe().expect_err("blocked");
    assert!(error.to_string().starts_with(&format!("could not write `{}`: ", folder.path().display())), "{error}");
    assert!(!error.is_permission_denied());
}

#[test]
fn free_space_is_known_for_existing_paths_only() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(free_bytes(folder.path()).expect("known") > 0);
    let missing = free_bytes(&folder.path().join("missing")).expect_err("unknown");
    assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
}
