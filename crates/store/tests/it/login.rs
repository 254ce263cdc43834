//! The login of Codex and its copies: sizes, locks, races, and what an agent may have left in a copy's folder.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Barrier};

use fs_err as fs;
use store::{CodexHome, FoundCopy, LoginCopy, RefusedCopy, read_plain_file};

use crate::support::{block, home, mode, task_id, time};

/// The largest file that is read.
const LIMIT: usize = 256 * 1024;

fn codex() -> (tempfile::TempDir, CodexHome) {
    let (folder, home) = home();
    let codex = CodexHome::open(&home.layout).expect("made");
    (folder, codex)
}

fn copy() -> (tempfile::TempDir, LoginCopy) {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = LoginCopy::folder(folder.path().join("auth"));
    (folder, copy)
}

#[test]
fn a_plain_file_is_read_up_to_its_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    let check = |length: usize, is_read: bool| {
        fs::write(&path, vec![b'x'; length]).expect("written");
        let found = read_plain_file(&path);
        assert_eq!(found.as_ref().is_ok_and(|bytes| bytes.len() == length), is_read, "{length}");
        if let Err(error) = found {
            assert!(error.to_string().ends_with("is not a small regular file"), "{error}");
        }
    };
    check(0, true);
    check(LIMIT, true);
    check(LIMIT + 1, false);
}

#[test]
fn nothing_but_a_plain_file_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "x").expect("written");
    let (link, dangling) = (folder.path().join("link"), folder.path().join("dangling"));
    symlink(&file, &link).expect("linked");
    symlink("nowhere", &dangling).expect("linked");
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
    for path in [&link, &dangling, &socket, folder.path(), Path::new("/dev/null"), Path::new("/dev/zero")] {
        assert!(read_plain_file(path).is_err(), "{}", path.display());
    }
    let missing = read_plain_file(&folder.path().join("missing")).expect_err("missing");
    assert_eq!(missing.kind(), std::io::ErrorKind::NotFound, "a missing file differs from an unreadable one");
}

#[test]
fn a_login_that_is_empty_braces_means_logged_out() {
    let (_folder, codex) = codex();
    assert!(!codex.has_record());
    for (login, expect) in [("{}", None), (" {}\n", None), ("{ }", Some("{ }")), ("", Some("")), ("{\"a\":1}", Some("{\"a\":1}"))]
    {
        codex.write_login(login.as_bytes()).expect("written");
        assert!(codex.has_record());
        let found = codex.read_login().expect("read").map(|bytes| String::from_utf8(bytes).expect("text"));
        assert_eq!(found.as_deref(), expect, "{login:?}");
    }
}

#[test]
fn the_login_of_an_older_version_is_adopted_once() {
    let (_folder, codex) = codex();
    codex.shared_copy().put(b"{\"old\":1}").expect("written");
    assert_eq!(codex.read_login().expect("read").as_deref(), Some(&b"{\"old\":1}"[..]), "there is no record yet");
    codex.adopt_login(Some(b"{\"old\":1}")).expect("adopted");
    assert!(codex.has_record());
    assert_eq!(codex.host_copy().read().expect("read").as_deref(), Some(&b"{\"old\":1}"[..]));
    codex.shared_copy().put(b"{\"planted\":1}").expect("written");
    assert_eq!(codex.read_login().expect("read").as_deref(), Some(&b"{\"old\":1}"[..]));
}

#[test]
fn adopting_nothing_records_a_logout_and_keeps_the_copies() {
    let (_folder, codex) = codex();
    codex.host_copy().put(b"{\"host\":1}").expect("written");
    codex.adopt_login(None).expect("recorded");
    assert!(codex.has_record());
    assert_eq!(codex.read_login().expect("read"), None);
    assert_eq!(codex.host_copy().read().expect("read").as_deref(), Some(&b"{\"host\":1}"[..]));
}

#[test]
fn an_unreadable_login_can_be_removed_and_replaced() {
    let (folder, codex) = codex();
    let file = folder.path().join("login.json");
    symlink("/etc/passwd", &file).expect("linked");
    codex.read_login().expect_err("a link");
    assert!(codex.remove_login().expect("removed"), "there was something");
    assert_eq!(codex.read_login().expect("read"), None);
    assert!(fs::symlink_metadata(&file).expect("there").is_file(), "the link was replaced");
    fs::write(&file, vec![b'x'; LIMIT + 1]).expect("written");
    codex.read_login().expect_err("too large");
    codex.write_login(b"{\"a\":1}").expect("written");
    assert_eq!(codex.read_login().expect("read").as_deref(), Some(&b"{\"a\":1}"[..]));
}

#[test]
fn a_login_that_cannot_be_recorded_leaves_the_copy_of_the_host_alone() {
    let (folder, codex) = codex();
    codex.write_login(b"{\"a\":1}").expect("written");
    block(&folder.path().join("login.json"));
    codex.write_login(b"{\"a\":2}").expect_err("blocked");
    codex.renew_login(b"{\"a\":1}", b"{\"a\":2}").expect_err("blocked");
    codex.adopt_login(Some(b"{\"a\":2}")).expect_err("blocked");
    assert_eq!(codex.host_copy().read().expect("read").as_deref(), Some(&b"{\"a\":1}"[..]));
}

#[test]
fn of_two_renewals_of_the_same_login_one_wins() {
    let (_folder, codex) = codex();
    codex.write_login(b"old").expect("written");
    let barrier = Arc::new(Barrier::new(4));
    let renewed: Vec<_> = std::thread::scope(|scope| {
        let renew = |n: u32| {
            let (codex, barrier) = (&codex, Arc::clone(&barrier));
            scope.spawn(move || {
                barrier.wait();
                (n, codex.renew_login(b"old", format!("new {n}").as_bytes()).expect("written"))
            })
        };
        let threads: Vec<_> = (0..4).map(renew).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let winners: Vec<_> = renewed.iter().filter(|(_, won)| *won).map(|(n, _)| format!("new {n}").into_bytes()).collect();
    assert_eq!(winners.len(), 1, "{renewed:?}");
    assert_eq!(codex.read_login().expect("read"), Some(winners[0].clone()));
    assert_eq!(codex.host_copy().read().expect("read"), Some(winners[0].clone()), "the copy is that of the winner");
}

#[test]
fn the_report_about_a_refused_copy_stays_until_the_next_login() {
    let (folder, codex) = codex();
    assert_eq!(codex.refused_copy().expect("none"), None);
    let refused = RefusedCopy {
        at: time(1),
        task_id: Some(task_id(1)),
        run: Some(model::ids::RunNumber(2)),
        why: "it is not a small regular file".to_owned(),
        kept: folder.path().join("auth-refused-1"),
    };
    codex.report_refused_copy(&refused).expect("written");
    assert_eq!(codex.refused_copy().expect("read"), Some(refused.clone()));
    assert!(codex.renew_login(b"x", b"y").is_ok_and(|renewed| !renewed));
    assert!(codex.refused_copy().expect("read").is_some(), "a renewal is not a login");
    codex.write_login(b"{\"a\":1}").expect("written");
    assert_eq!(codex.refused_copy().expect("none"), None);
    codex.report_refused_copy(&refused).expect("written");
    codex.remove_login().expect("removed");
    assert_eq!(codex.refused_copy().expect("none"), None);
    fs::write(folder.path().join("login-refused.json"), "{").expect("written");
    codex.refused_copy().expect_err("damaged");
}

#[test]
fn a_logout_puts_foreign_files_of_the_shared_folder_aside() {
    let (_folder, codex) = codex();
    codex.shared_copy().put(b"{}").expect("written");
    let shared = codex.shared_copy().path().to_owned();
    fs::write(shared.join("config.toml"), "planted").expect("written");
    codex.remove_login().expect("removed");
    assert!(!shared.exists());
    let aside = shared.with_file_name("auth-refused-1");
    assert_eq!(fs::read_to_string(aside.join("config.toml")).expect("kept as it was"), "planted");
}

#[test]
fn a_copy_in_its_own_folder_is_lent_and_one_of_the_host_is_not() {
    let (folder, copy) = copy();
    copy.put(b"{\"a\":1}").expect("put");
    assert!(copy.is_for_a_container());
    fs::write(copy.path().join("auth.json"), "{\"b\":1}").expect("the agent can write here");
    assert_eq!(copy.lent().expect("read").as_deref(), Some(&b"{\"a\":1}"[..]), "the agent cannot change this");
    assert_eq!(copy.read().expect("read").as_deref(), Some(&b"{\"b\":1}"[..]));
    assert_eq!(mode(copy.path()), 0o700);
    let host = LoginCopy::file(folder.path().join("host.json"));
    host.put(b"{}").expect("put");
    assert!(!host.is_for_a_container());
    assert_eq!(host.lent().expect("nothing"), None);
    assert_eq!(host.look().expect("looked"), FoundCopy::File(b"{}".to_vec()), "other files in its folder do not matter");
    host.remove().expect("removed");
    assert_eq!((host.look().expect("looked"), host.read().expect("read")), (FoundCopy::Nothing, None));
}

#[test]
fn each_foreign_thing_has_its_own_reason() {
    let check = |plant: fn(&Path), expect: &str| {
        let (_folder, copy) = copy();
        copy.put(b"{}").expect("put");
        plant(copy.path());
        assert_eq!(copy.look().expect("looked"), FoundCopy::Foreign(expect.to_owned()));
    };
    check(|auth| fs::write(auth.join("auth.json.bak"), "").expect("written"), "there are other files next to it");
    check(|auth| fs::create_dir(auth.join("auth.lock")).expect("made"), "there are other files next to it");
    check(|auth| fs::write(auth.join("auth.json"), vec![0; LIMIT + 1]).expect("written"), "it is not a small regular file");
    check(
        |auth| {
            fs::remove_dir_all(auth).expect("removed");
            fs::write(auth, "a file in place of the folder").expect("written");
        },
        "the folder cannot be read (not a directory)",
    );
}

#[test]
fn an_empty_folder_contains_no_copy_and_is_removed() {
    let (_folder, copy) = copy();
    fs::create_dir(copy.path()).expect("made");
    assert_eq!(copy.look().expect("looked"), FoundCopy::Nothing);
    copy.remove_or_put_aside().expect("removed");
    assert!(!copy.path().exists());
    copy.remove_or_put_aside().expect("nothing to do");
}

#[test]
fn a_copy_is_not_removed_with_files_that_appeared_meanwhile() {
    let (_folder, copy) = copy();
    copy.put(b"{}").expect("put");
    fs::write(copy.path().join("late"), "x").expect("written");
    copy.remove().expect_err("the folder is not empty");
    assert!(copy.path().join("late").exists());
}

#[test]
fn a_copy_is_put_aside_under_the_first_free_number() {
    let (folder, copy) = copy();
    copy.put_aside().expect_err("nothing to move");
    fs::create_dir(folder.path().join("auth-refused-1")).expect("made");
    symlink("nowhere", folder.path().join("auth-refused-2")).expect("linked");
    copy.put(b"{}").expect("put");
    assert_eq!(copy.put_aside().expect("moved"), folder.path().join("auth-refused-3"));
    let host = LoginCopy::file(folder.path().join("host.json"));
    symlink("/etc/passwd", folder.path().join("host.json")).expect("linked");
    let aside = host.put_aside().expect("moved");
    assert_eq!(aside, folder.path().join("host-refused-1"));
    assert!(fs::symlink_metadata(&aside).expect("there").is_symlink(), "the link itself was moved");
}
