//! The end of a run whose agent damaged everything within its reach: its configuration is ignored, and its work is still
//! exported. The script and git are real. Only the container is missing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use git::ImportError;

use crate::support::Bench;
use crate::support::agent::{Agent, raw};

/// A function that damages an agent repository.
type Spoil<'a> = &'a dyn Fn(&Path);

#[tokio::test]
async fn nothing_of_the_agents_configuration_is_run() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let (trap, sign) = (bench.path("trap"), bench.path("sprung"));
    std::fs::write(&trap, format!("#!/bin/sh\ntouch '{}'\ncat\n", sign.display())).expect("a file");
    std::fs::set_permissions(&trap, std::fs::Permissions::from_mode(0o755)).expect("the file belongs to the test");
    let script = trap.display().to_string();
    for name in ["core.fsmonitor", "filter.evil.clean", "filter.evil.smudge", "diff.external", "gpg.program"] {
        agent.git(&["config", name, &script]);
    }
    std::fs::create_dir_all(agent.twin.join("hooks")).expect("a folder");
    for hook in ["reference-transaction", "post-index-change", "pre-commit"] {
        std::fs::copy(&trap, agent.twin.join("hooks").join(hook)).expect("a file");
    }
    agent.write(".gitattributes", "* filter=evil diff=evil\n");
    agent.write("a.txt", "1\n");
    agent.git(&["status"]);
    assert!(std::fs::remove_file(&sign).is_ok(), "the trap works");
    let since = agent.tip();
    agent.harvest_since("1", &since).await;
    agent.try_import("1", &since).await.expect("the import succeeds");
    assert!(!sign.exists());
    assert_eq!(bench.content_of(&agent.tip(), "a.txt"), "1");
}

#[tokio::test]
async fn a_spoiled_repository_is_put_in_order_and_the_work_comes_out() {
    let bench = Bench::new().await;
    let remove = |path: &Path| if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    let cases: [(&str, Spoil<'_>); 12] = [
        ("no-head", &|twin| remove(&twin.join("HEAD")).expect("removed")),
        ("bad-head", &|twin| std::fs::write(twin.join("HEAD"), "nonsense\n").expect("written")),
        ("folder-for-head", &|twin| {
            remove(&twin.join("HEAD")).expect("removed");
            std::fs::create_dir(twin.join("HEAD")).expect("a folder");
        }),
        ("bad-config", &|twin| std::fs::write(twin.join("config"), "[core\n\u{1}").expect("written")),
        ("no-config", &|twin| remove(&twin.join("config")).expect("removed")),
        ("no-refs", &|twin| remove(&twin.join("refs")).expect("removed")),
        ("refs-in-the-way", &|twin| {
            remove(&twin.join("refs/heads/codex")).expect("removed");
            std::fs::write(twin.join("refs/heads/codex"), "x\n").expect("written");
        }),
        ("bad-index", &|twin| std::fs::write(twin.join("index"), "nonsense").expect("written")),
        ("bad-packed-refs", &|twin| std::fs::write(twin.join("packed-refs"), "nonsense\n").expect("written")),
        ("alternates-elsewhere", &|twin| std::fs::write(twin.join("objects/info/alternates"), "/nowhere\n").expect("written")),
        ("no-objects", &|twin| remove(&twin.join("objects")).expect("removed")),
        ("locks", &|twin| {
            for lock in ["index.lock", "HEAD.lock", "config.lock", "packed-refs.lock", "refs/heads/codex/locks.lock"] {
                std::fs::write(twin.join(lock), "").expect("written");
            }
        }),
    ];
    for (task, spoil) in cases {
        let agent = Agent::new(&bench, task).await;
        agent.write("a.txt", "1\n");
        spoil(&agent.twin);
        let taken = agent.end_run("1").await;
        assert_eq!(bench.files_of(taken.head.as_str()), ["README.md", "a.txt"], "{task}");
        assert_eq!(agent.status(), (String::new(), String::new()), "{task}: the agent can continue");
    }
}

#[tokio::test]
async fn commits_whose_objects_are_gone_are_left_behind_and_told() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let base = agent.tip();
    agent.commit("a.txt", "unlike anything else\n");
    let blob = agent.git(&["rev-parse", "HEAD:a.txt"]);
    std::fs::remove_file(agent.twin.join("objects").join(&blob[..2]).join(&blob[2..])).expect("it exists");
    let taken = agent.end_run("1").await;
    assert_eq!(bench.commit_of(&format!("{}^", taken.head)), base);
    assert_eq!(bench.files_of(taken.head.as_str()), ["README.md", "a.txt"]);
    let notes = taken.notes;
    assert!(matches!(notes.as_slice(), [note] if note.contains("damaged")), "{notes:?}");
}

#[tokio::test]
async fn without_a_repository_or_the_hosts_objects_it_fails_with_a_code_of_its_own() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let since = agent.tip();
    let unknown = agent.try_harvest("1", &"a".repeat(40), &[]).await;
    assert_eq!(unknown.code, Some(3), "{}", unknown.said);
    assert_eq!(agent.try_harvest("1", &since, &[("HARVEST_MODE", "eat")]).await.code, Some(2));
    std::fs::rename(&agent.twin, bench.path("away")).expect("it exists");
    for replace in [&|| (), &|| symlink("/etc", &agent.twin).expect("a link") as _] as [&dyn Fn(); 2] {
        replace();
        let gone = agent.try_harvest("1", &since, &[]).await;
        assert_eq!(gone.code, Some(4), "{}", gone.said);
        assert!(!agent.out.join("result").exists());
    }
}

#[tokio::test]
async fn names_of_any_bytes_and_odd_files_are_no_trouble() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let names: [&[u8]; 7] = [b"new\nline", b"inv\xffalid", b"-n", b"sp ace", b"x\n160000 y", b"folder/\nfile", b"\n/\n"];
    for name in names {
        let path = agent.tree().join(OsStr::from_bytes(name));
        std::fs::create_dir_all(path.parent().expect("the path has a parent")).expect("a folder");
        std::fs::write(path, "1\n").expect("a file");
    }
    let long = "l".repeat(255);
    agent.write(&long, "1\n");
    symlink("/etc/passwd", agent.tree().join("link")).expect("a link");
    drop(std::os::unix::net::UnixListener::bind(agent.tree().join("socket")).expect("a socket"));
    rustix::fs::mknodat(rustix::fs::CWD, agent.tree().join("fifo"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .expect("a fifo");
    let taken = agent.end_run("1").await;
    assert_eq!(bench.files_of(taken.head.as_str()).len(), 1 + names.len() + 2);
    assert_eq!(agent.status().0, "");
}

#[tokio::test]
async fn ten_thousand_files_are_one_commit() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    for number in 0..10_000 {
        agent.write(&format!("d{}/f{number}", number % 100), &format!("{number}\n"));
    }
    let taken = agent.end_run("1").await;
    assert_eq!(bench.files_of(taken.head.as_str()).len(), 10_001);
}

#[tokio::test]
async fn no_file_keeps_rights_of_its_owner_and_nothing_is_followed() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let outside = bench.path("outside");
    std::fs::write(&outside, "x").expect("a file");
    let mode = |path: &Path| std::fs::symlink_metadata(path).expect("it exists").permissions().mode() & 0o7777;
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("the file belongs to the test");
    };
    set(&outside, 0o4755);
    for name in ["bin/evil", "bin/new\nline"] {
        agent.write(name, "x\n");
        set(&agent.tree().join(name), 0o6755);
    }
    symlink(&outside, agent.tree().join("link")).expect("a link");
    symlink(&outside, agent.twin.join("link")).expect("a link");
    std::fs::write(agent.twin.join("tool"), "x").expect("a file");
    set(&agent.twin.join("tool"), 0o4755);
    let me = std::fs::metadata(&outside).expect("it exists");
    let owner = if me.uid() == 0 { "12345:54321".to_owned() } else { format!("{}:{}", me.uid(), me.gid()) };
    let since = agent.tip();
    let ended = agent.try_harvest("1", &since, &[("HARVEST_OWNER", &owner)]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert_eq!((mode(&agent.tree().join("bin/evil")), mode(&agent.tree().join("bin/new\nline"))), (0o755, 0o755));
    assert_eq!((mode(&agent.twin.join("tool")), mode(&outside)), (0o755, 0o4755));
    if me.uid() == 0 {
        for path in [agent.tree().join("bin/evil"), agent.tree().join("link"), agent.twin.join("HEAD"), agent.out.join("result")]
        {
            let found = std::fs::symlink_metadata(&path).expect("it exists");
            assert_eq!((found.uid(), found.gid()), (12345, 54321), "{}", path.display());
        }
        assert_eq!(std::fs::metadata(&outside).expect("it exists").uid(), 0);
    }
}

#[tokio::test]
async fn commits_that_the_host_refuses_are_put_aside_with_their_repository_and_stay_out() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let since = agent.tip();
    let empty = agent.object("tree", b"");
    let harmful = agent.object("tree", &[b"40000 .git\0".as_slice(), &raw(&empty)].concat());
    let commit = agent.git(&["commit-tree", &harmful, "-p", &since, "-m", "x"]);
    agent.git(&["update-ref", "refs/heads/codex/one", &commit]);
    agent.write("a.txt", "1\n");
    agent.write("b.txt", "0\n");
    agent.git(&["add", "b.txt"]);
    for name in ["index.new", "HEAD.new"] {
        symlink(bench.path("outside"), agent.twin.join(name)).expect("a link");
    }
    agent.harvest_since("1", &since).await;
    assert!(!bench.path("outside").exists(), "the export does not write through a link");
    let error = agent.try_import("1", &since).await.expect_err("the import is rejected");
    assert!(matches!(error, ImportError::BadObjects { .. }), "{error}");

    let aside = agent.begin_anew().await;
    agent.harvest_since("1", &since).await;
    let taken = agent.try_import("1", &since).await.expect("the content is imported");
    assert_eq!(taken.commit, Some(taken.head.clone()));
    assert_eq!(bench.commit_of(&format!("{}^", taken.head)), since);
    assert_eq!(bench.files_of(taken.head.as_str()), ["README.md", "a.txt", "b.txt"]);
    let aside = aside.to_str().expect("text");
    assert_eq!(agent.git(&["--git-dir", aside, "rev-parse", "codex/one^"]), commit);
    agent.write("b.txt", "1\n");
    let next = agent.end_run("2").await;
    assert_eq!(bench.commit_of(&format!("{}^", next.head)), taken.head.to_string());
}

#[tokio::test]
async fn files_that_the_host_refuses_are_left_out_of_their_content_and_named() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let since = agent.tip();
    agent.write(".gitmodules", "[submodule \"x\"]\n\tpath = x\n\turl = ext::sh\n\tupdate = !sh\n");
    fs_err::create_dir(agent.tree().join("below")).expect("made");
    symlink("/etc/passwd", agent.tree().join("below/.gitmodules")).expect("a link");
    agent.write("a.txt", "1\n");
    agent.harvest_since("1", &since).await;
    let error = agent.try_import("1", &since).await.expect_err("the import is rejected");
    assert!(matches!(error, ImportError::BadObjects { .. }), "{error}");

    agent.begin_anew().await;
    let ended = agent.try_harvest("1", &since, &[("HARVEST_MODE", "content")]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let taken = agent.try_import("1", &since).await.expect("the rest is imported");
    assert_eq!(bench.files_of(taken.head.as_str()), ["README.md", "a.txt"]);
    assert_eq!(taken.unreadable[0], "the host refuses .gitmodules");
    assert!(taken.unreadable.iter().any(|words| words.contains("below/.gitmodules")), "{:?}", taken.unreadable);
    assert!(agent.tree().join(".gitmodules").exists(), "the rejected file stays in the worktree");
}

#[tokio::test]
async fn of_a_repository_in_ruins_the_content_is_taken_by_way_of_a_new_one() {
    let everything: fn(&Path) = |twin| {
        fs_err::remove_dir_all(twin).expect("removed");
        fs_err::create_dir(twin).expect("made");
    };
    let objects: fn(&Path) = |twin| {
        for folder in fs_err::read_dir(twin.join("objects")).expect("there").map(|entry| entry.expect("readable").path()) {
            for file in fs_err::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable").path()) {
                fs_err::remove_file(&file).expect("removed");
                fs_err::write(&file, "garbage").expect("written");
            }
        }
    };
    let refs: fn(&Path) = |twin| {
        fs_err::remove_dir_all(twin.join("refs")).expect("removed");
        fs_err::write(twin.join("refs"), "garbage").expect("written");
    };
    for (n, ruin) in [everything, objects, refs].into_iter().enumerate() {
        let bench = Bench::new().await;
        let agent = Agent::new(&bench, "one").await;
        let since = agent.tip();
        agent.commit("a.txt", "1\n");
        agent.write("b.txt", "2\n");
        ruin(&agent.twin);
        agent.begin_anew().await;
        agent.harvest_since("1", &since).await;
        let taken = agent.try_import("1", &since).await.expect("taken in");
        assert_eq!(bench.files_of(taken.head.as_str()), ["README.md", "a.txt", "b.txt"], "{n}");
        agent.write("b.txt", "3\n");
        let next = agent.end_run("2").await;
        assert_eq!(bench.commit_of(&format!("{}^", next.head)), taken.head.to_string(), "{n}");
    }
}
