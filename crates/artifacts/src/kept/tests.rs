//! Tests what is kept of folders whose content is hostile, and that interrupted work can be repeated.

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use fs_err as fs;
use model::artifact::{ArtifactKind, LeftOutReason};
use rustix::fs::{FileType, Mode};

use super::*;

const FIRST: Attempt = Attempt::FIRST;

/// A folder that an agent wrote to, and the folder of the run's artifacts.
struct Folders {
    root: tempfile::TempDir,
    from: PathBuf,
    into: PathBuf,
}

impl Folders {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let (from, into) = (root.path().join("run-001.artifacts-open"), root.path().join("run-001.artifacts"));
        fs::create_dir(&from).expect("created");
        Self { root, from, into }
    }

    fn write(&self, name: impl AsRef<Path>, content: &[u8]) {
        let path = self.from.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("created");
        fs::write(path, content).expect("written");
    }

    fn keep(&self, attempt: Attempt, limits: Limits) -> ArtifactList {
        let kept = keep(&self.from, &self.into, attempt, limits).expect("kept");
        assert!(!self.from.exists(), "the agent's folder is deleted");
        assert_eq!(ArtifactList::read(&self.into).expect("a list"), kept);
        kept
    }
}

fn paths(kept: &ArtifactList) -> Vec<&str> {
    kept.artifacts.iter().map(|artifact| artifact.path.as_str()).collect()
}

fn left_out(kept: &ArtifactList) -> Vec<(&str, LeftOutReason)> {
    kept.left_out.iter().map(|left| (left.path.as_str(), left.reason)).collect()
}

fn content(folders: &Folders, path: &str) -> Vec<u8> {
    let (_, mut file) = ArtifactList::open(&folders.into, path).expect("readable").expect("listed");
    let mut content = vec![];
    file.read_to_end(&mut content).expect("read");
    content
}

#[test]
fn regular_files_are_kept_and_everything_else_is_listed() {
    let folders = Folders::new();
    folders.write("log.txt", b"all good\n");
    folders.write("shots/a.png", b"\x89PNG\r\n\x1a\nrest");
    folders.write("report.xml", b"<testsuite/>");
    let secret = folders.root.path().join("secret");
    fs::write(&secret, "secret").expect("written");
    symlink(&secret, folders.from.join("link")).expect("a link");
    symlink(folders.root.path(), folders.from.join("folder-link")).expect("a link");
    rustix::fs::mknodat(CWD, folders.from.join("fifo"), FileType::Fifo, Mode::RWXU, 0).expect("a FIFO");
    std::os::unix::net::UnixListener::bind(folders.from.join("socket")).expect("a socket");
    fs::create_dir(folders.from.join("empty")).expect("created");

    let kept = folders.keep(FIRST, Limits::default());
    let expected =
        [("log.txt", 9, ArtifactKind::Text), ("report.xml", 12, ArtifactKind::Junit), ("shots/a.png", 12, ArtifactKind::Image)];
    let found: Vec<_> = kept.artifacts.iter().map(|found| (found.path.as_str(), found.bytes, found.kind)).collect();
    assert_eq!(found, expected);
    let names = ["fifo", "folder-link", "link", "socket"].map(|name| (name, LeftOutReason::NotAFile));
    assert_eq!(left_out(&kept), names);
    assert_eq!(content(&folders, "shots/a.png"), b"\x89PNG\r\n\x1a\nrest");
    for other in ["link", "0", "list.json", "../secret", "shots/../log.txt", ""] {
        assert!(ArtifactList::open(&folders.into, other).expect("readable").is_none(), "{other}");
    }
    assert_eq!(fs::read(secret).expect("still there"), b"secret");
}

#[test]
fn copies_belong_to_the_server_and_cannot_be_run() {
    let folders = Folders::new();
    folders.write("tool", b"#!/bin/sh\n");
    fs::set_permissions(folders.from.join("tool"), std::fs::Permissions::from_mode(0o6777)).expect("ours");
    folders.keep(FIRST, Limits::default());
    let mode = fs::metadata(folders.into.join("0")).expect("a copy").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn limits_apply_to_the_number_and_to_apparent_sizes() {
    let folders = Folders::new();
    fs::File::create(folders.from.join("a-sparse")).expect("created").set_len(1 << 40).expect("sparse");
    folders.write("b", &[b'b'; 60]);
    folders.write("c", &[b'c'; 60]);
    folders.write("d", &[b'd'; 40]);
    folders.write("e", b"");
    let limits = Limits { files: 2, file_bytes: 80, total_bytes: 100 };
    let kept = folders.keep(FIRST, limits);
    assert_eq!(paths(&kept), ["b", "d"]);
    let expected = [("a-sparse", LeftOutReason::TooLarge), ("c", LeftOutReason::TotalTooLarge), ("e", LeftOutReason::TooMany)];
    assert_eq!(left_out(&kept), expected);
}

#[test]
fn any_name_is_listed_without_loss_and_is_never_the_name_of_a_copy() {
    let folders = Folders::new();
    let names: [&[u8]; 5] = [b"\xff\xfe", b"a\x1b[31m\nb", b"..x", "\u{202e}gnp".as_bytes(), b"list.json"];
    for name in names {
        folders.write(OsStr::from_bytes(name), name);
    }
    let kept = folders.keep(FIRST, Limits::default());
    let mut found: Vec<_> = kept.artifacts.iter().map(|artifact| artifact.path.bytes().into_owned()).collect();
    found.sort();
    let mut expected = names.map(<[u8]>::to_vec);
    expected.sort();
    assert_eq!(found, expected);
    for artifact in &kept.artifacts {
        assert_eq!(content(&folders, artifact.path.as_str()), *artifact.path.bytes());
    }
    let mut on_disk: Vec<_> =
        fs::read_dir(&folders.into).expect("there").map(|entry| entry.expect("an entry").file_name()).collect();
    on_disk.sort();
    assert_eq!(on_disk, ["0", "1", "2", "3", "4", "list.json"]);
}

#[test]
fn deep_folders_and_many_entries_are_left_out() {
    let folders = Folders::new();
    let deep: PathBuf = (0..40).map(|_| "d").collect();
    folders.write(deep.join("file"), b"x");
    folders.write("n".repeat(200), b"x");
    let long: PathBuf = (0..6).map(|_| "l".repeat(200)).collect();
    folders.write(long.join("file"), b"x");
    for number in 0..150 {
        symlink("x", folders.from.join(format!("x{number:03}"))).expect("a link");
    }
    let kept = folders.keep(FIRST, Limits::default());
    assert_eq!(kept.artifacts.len(), 1);
    assert_eq!(kept.left_out.len() as u64 + kept.more_left_out, 152);
    let reasons = kept.left_out.iter().filter(|left| left.reason == LeftOutReason::LongPath);
    assert_eq!(reasons.count(), 2);
}

#[test]
fn folders_that_nobody_may_read_are_kept_too() {
    let folders = Folders::new();
    folders.write("closed/file", b"x");
    fs::set_permissions(folders.from.join("closed"), std::fs::Permissions::from_mode(0o000)).expect("ours");
    assert_eq!(paths(&folders.keep(FIRST, Limits::default())), ["closed/file"]);
}

#[test]
fn keeping_is_repeated_without_loss_and_a_later_attempt_replaces_the_files() {
    let folders = Folders::new();
    folders.write("one", b"1");
    // An earlier server stopped while it copied.
    fs::create_dir(unfinished(&folders.into)).expect("created");
    fs::write(unfinished(&folders.into).join("0"), "half").expect("written");
    let first = folders.keep(FIRST, Limits::default());
    assert_eq!(paths(&first), ["one"]);
    // An earlier server stopped while it deleted the folder of the agent.
    folders.write("two", b"2");
    assert_eq!(folders.keep(FIRST, Limits::default()), first);
    fs::create_dir(&folders.from).expect("created");
    assert_eq!(folders.keep(FIRST.next(), Limits::default()), first, "nothing new");
    folders.write("three", b"3");
    assert_eq!(paths(&folders.keep(FIRST.next(), Limits::default())), ["three"]);
    assert_eq!(content(&folders, "three"), b"3");
}

#[test]
fn without_files_nothing_is_kept() {
    let folders = Folders::new();
    assert_eq!(folders.keep(FIRST, Limits::default()), ArtifactList::default());
    assert!(!folders.into.exists() && !unfinished(&folders.into).exists());
    assert_eq!(folders.keep(FIRST, Limits::default()), ArtifactList::default(), "no folder at all");
}
