//! Sessions of Codex after a crash or after an agent changed them, and what the last turn was allowed to do.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use fs_err as fs;
use model::ids::ThreadId;
use proptest::prelude::*;
use runner::worker::{Session, SessionFolder, was_read_only};

const THREAD: &str = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650";

fn thread() -> ThreadId {
    THREAD.parse().expect("an ID")
}

/// Writes the session of the thread at this path below a folder.
fn put(folder: &Path, below: &str, content: &[u8]) -> PathBuf {
    let path = folder.join(below).join(format!("rollout-2026-11-28T10-00-00-{THREAD}.jsonl"));
    fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    fs::write(&path, content).expect("written");
    path
}

fn of_task() -> (tempfile::TempDir, PathBuf, SessionFolder) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sessions");
    fs::create_dir(&path).expect("made");
    let sessions = SessionFolder::OfTask(path.clone());
    (folder, path, sessions)
}

#[test]
fn a_session_is_found_at_any_depth_that_codex_uses() {
    for (below, expect) in [
        ("", Session::Intact),
        ("2026", Session::Intact),
        ("2026/11/28", Session::Intact),
        ("2026/11/28/x", Session::Intact),
        ("2026/11/28/x/y", Session::Missing),
    ] {
        let (_folder, path, sessions) = of_task();
        put(&path, below, b"{}\n");
        assert_eq!(sessions.repair(thread()).expect("readable"), expect, "{below}");
    }
}

#[test]
fn of_several_sessions_of_a_thread_the_newest_is_used() {
    let (_folder, path, sessions) = of_task();
    put(&path, "2025/12/31", b"{\"torn");
    put(&path, "2026/01/01", b"{\"whole\":1}\n");
    assert_eq!(sessions.repair(thread()).expect("readable"), Session::Intact);
}

#[test]
fn only_the_exact_thread_is_found() {
    let (_folder, path, sessions) = of_task();
    for name in [format!("{THREAD}.jsonl"), format!("rollout-{THREAD}.jsonl.zst"), format!("rollout-{THREAD}0.jsonl")] {
        fs::write(path.join(name), "{}\n").expect("written");
    }
    assert_eq!(sessions.repair(thread()).expect("readable"), Session::Missing);
    fs::write(path.join(format!("-{THREAD}.jsonl")), "{}\n").expect("written");
    assert_eq!(sessions.repair(thread()).expect("readable"), Session::Intact);
}

#[test]
fn a_cut_session_is_whole_afterwards() {
    let (_folder, path, sessions) = of_task();
    let session = put(&path, "2026", b"{\"a\":1}\n{\"b\":2}\n{\"c\"");
    assert_eq!(sessions.repair(thread()).expect("readable"), Session::Cut(16));
    assert_eq!(sessions.repair(thread()).expect("readable"), Session::Intact, "a second look changes nothing");
    assert_eq!(fs::read(&session).expect("there"), b"{\"a\":1}\n{\"b\":2}\n");
}

#[test]
fn a_long_session_is_cut_at_the_right_byte() {
    // The session is read in pieces of 256 KiB, so lines cross the border between two of them.
    let line = format!("{{\"text\":\"{}\"}}\n", "x".repeat(100_000));
    let whole = line.repeat(7);
    for torn in ["{\"torn", "\0\0\0", "\0\n", "{\"a\":\"\0\"}\n"] {
        let (_folder, path, sessions) = of_task();
        let session = put(&path, "", format!("{whole}{torn}").as_bytes());
        assert_eq!(sessions.repair(thread()).expect("readable"), Session::Cut(whole.len() as u64), "{torn:?}");
        assert_eq!(fs::metadata(&session).expect("there").len(), whole.len() as u64);
    }
}

#[test]
fn a_missing_folder_has_no_session_and_is_secure() {
    for sessions in [SessionFolder::OfTask("/nowhere/sessions".into()), SessionFolder::Shared("/nowhere/sessions".into())] {
        assert_eq!(sessions.repair(thread()).expect("no folder"), Session::Missing);
        assert!(sessions.secure(Some(thread())).expect("no folder").is_empty());
        assert!(!sessions.is_replaced(thread()).expect("no folder"));
        sessions.sync(Some(thread())).expect("no folder");
        sessions.sync(None).expect("no folder");
    }
}

#[test]
fn syncing_accepts_what_an_agent_left_behind() {
    let (folder, path, sessions) = of_task();
    put(&path, "2026/11/28", b"{}\n");
    symlink("/dev/zero", path.join("link")).expect("linked");
    for sessions in [sessions, SessionFolder::Shared(path.clone())] {
        sessions.sync(Some(thread())).expect("synced");
        sessions.sync(None).expect("synced");
    }
    assert!(folder.path().exists());
}

#[test]
fn at_most_five_moved_files_are_listed() {
    let check = |count: usize, last: Option<&str>| {
        let (_folder, path, sessions) = of_task();
        for n in 0..count {
            symlink("/dev/zero", path.join(format!("link-{n}"))).expect("linked");
        }
        let notes = sessions.secure(None).expect("secured");
        assert_eq!(notes.len(), count.min(5) + usize::from(last.is_some()), "{notes:?}");
        assert_eq!(notes.get(5).map(String::as_str), last);
        assert_eq!(fs::read_dir(&path).expect("there").count(), 0);
    };
    check(0, None);
    check(5, None);
    check(6, Some("moved aside 1 more such files from the Codex sessions"));
    check(9, Some("moved aside 4 more such files from the Codex sessions"));
}

#[test]
fn files_with_the_same_name_are_moved_to_different_places() {
    let (folder, path, sessions) = of_task();
    for below in ["a", "b", "c"] {
        fs::create_dir(path.join(below)).expect("made");
        symlink("/dev/zero", path.join(below).join("same")).expect("linked");
    }
    assert_eq!(sessions.secure(None).expect("secured").len(), 3);
    let mut names: Vec<_> = fs::read_dir(folder.path().join("sessions.aside"))
        .expect("there")
        .map(|entry| entry.expect("read").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    assert_eq!(names, ["same", "same-1", "same-2"]);
}

#[test]
fn a_session_of_1_gib_is_read_and_a_larger_one_is_moved_aside() {
    for (size, notes) in [(1_u64 << 30, 0), ((1 << 30) + 1, 1)] {
        let (_folder, path, sessions) = of_task();
        let session = put(&path, "2026", b"");
        fs::File::options().write(true).open(&session).expect("there").set_len(size).expect("sparse");
        let found = sessions.secure(Some(thread())).expect("secured");
        assert_eq!(found.len(), notes, "{size}: {found:?}");
        assert!(found.iter().all(|note| note.contains("is larger than 1 GiB")), "{found:?}");
    }
}

#[test]
fn other_files_of_a_task_stay_where_they_are() {
    let (_folder, path, sessions) = of_task();
    let session = put(&path, "2026/11/28", b"{}\n");
    fs::write(path.join("notes.txt"), "x").expect("written");
    fs::create_dir_all(path.join("a/b/c/d/e/f/g")).expect("made");
    assert!(sessions.secure(Some(thread())).expect("secured").is_empty());
    assert!(session.exists() && path.join("notes.txt").exists() && path.join("a/b/c/d/e/f/g").exists());
    assert!(!sessions.is_replaced(thread()).expect("readable"));
}

#[test]
fn a_folder_with_the_name_of_a_session_is_moved_with_everything_in_it() {
    let (folder, path, sessions) = of_task();
    let session = put(&path, "", b"");
    fs::remove_file(&session).expect("removed");
    fs::create_dir(&session).expect("made");
    symlink("/dev/zero", session.join("inside")).expect("linked");
    let notes = sessions.secure(Some(thread())).expect("what is inside was moved together with the folder");
    assert!(notes.iter().any(|note| note.contains("is a folder")), "{notes:?}");
    assert!(!session.exists());
    assert!(folder.path().join("sessions.aside").is_dir());
    assert!(sessions.secure(Some(thread())).expect("secured").is_empty(), "nothing is left to move");
    assert!(sessions.is_replaced(thread()).expect("readable"));
}

#[test]
fn the_turn_of_another_thread_or_of_a_link_does_not_count() {
    let read_only = b"{\"payload\":{\"sandbox_policy\":{\"type\":\"read-only\"}}}\n";
    let folder = tempfile::tempdir().expect("a folder");
    let session = put(folder.path(), "2026", read_only);
    assert!(was_read_only(folder.path(), thread()).expect("readable"));
    let other = "01a201f5-b7dd-79a1-8a6e-7e6639f5c651".parse().expect("an ID");
    assert!(!was_read_only(folder.path(), other).expect("readable"));
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&session, &elsewhere).expect("moved");
    symlink(&elsewhere, &session).expect("linked");
    assert!(!was_read_only(folder.path(), thread()).expect("readable"), "links are not followed");
}

#[test]
fn only_the_last_4_mib_of_a_session_are_searched_for_the_last_turn() {
    let line = "{\"payload\":{\"sandbox_policy\":{\"type\":\"read-only\"}}}\n";
    let check = |padding: usize, expect: bool| {
        let folder = tempfile::tempdir().expect("a folder");
        put(folder.path(), "", format!("{line}{}", "x".repeat(padding)).as_bytes());
        assert_eq!(was_read_only(folder.path(), thread()).expect("readable"), expect, "{padding}");
    };
    check((4 << 20) - line.len(), true);
    check((4 << 20) - line.len() + 1, false);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_repaired_session_is_the_longest_start_of_complete_lines(content in "[a\n\u{0}]{0,40}") {
        let (_folder, path, sessions) = of_task();
        let session = put(&path, "", content.as_bytes());
        let sound = &content[..content.find('\0').unwrap_or(content.len())];
        let whole = sound.rfind('\n').map_or(0, |at| at + 1);
        let expect = match whole {
            0 => Session::Missing,
            length if length == content.len() => Session::Intact,
            length => Session::Cut(length as u64),
        };
        prop_assert_eq!(sessions.repair(thread()).expect("readable"), expect.clone());
        let left = fs::read_to_string(&session).expect("there");
        let expect_left = if matches!(expect, Session::Cut(_)) { &content[..whole] } else { content.as_str() };
        prop_assert_eq!(left, expect_left);
    }
}
