//! Repacking makes mirrors smaller: it deletes unneeded objects after their grace period and keeps everything that may be needed.
//! The time is an argument, and `git fsck` checks that no needed object is missing.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use git::{ADMINISTRATION, Mirror, Needs, Pruning, RepackError, RepackRequest, Repacked, Retired, Unpacked, Unreachable};
use jiff::Timestamp;
use process::{CommandSpec, RunProgramError, Stdout, Tool};
use process::{ProcessIdentity, Signal, processes_with_environment};
use testkit::upstream::Upstream;
use tokio_util::sync::CancellationToken;

use crate::partial;
use crate::support::agent::Agent;
use crate::support::{Bench, PATIENCE, base, branch, committed, write};

const DAY: Duration = Duration::from_hours(24);

const BOTH: [Unpacked; 2] = [Unpacked::Cruft, Unpacked::Loose];

/// Repacks a mirror with a simulated date.
struct Clock {
    today: SystemTime,
    unpacked: Unpacked,
    needs: Arc<Mutex<Needs>>,
}

impl Clock {
    fn new(unpacked: Unpacked) -> Self {
        Self { today: Timestamp::now().into(), unpacked, needs: Arc::default() }
    }

    fn needs(&self, change: impl FnOnce(&mut Needs)) {
        change(&mut self.needs.lock().expect("nobody panicked"));
    }

    fn request(&self, day: u32) -> RepackRequest {
        let needs = Arc::clone(&self.needs);
        RepackRequest {
            now: self.today + DAY * day,
            grace: DAY * 14,
            needs: Arc::new(move || Ok(needs.lock().expect("nobody panicked").clone())),
            unpacked: Some(self.unpacked),
            cancel: CancellationToken::new(),
        }
    }

    async fn repack(&self, bench: &Bench, day: u32) -> Repacked {
        let repacked = bench.mirror.repack(&self.request(day)).await.expect("the mirror can be repacked");
        bench.by_hand(bench.mirror.path(), &["fsck", "--strict", "--no-dangling"]);
        repacked
    }
}

/// Returns bytes that cannot be compressed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    // The first values from a small seed are mostly zeros.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(next());
    }
    bytes.truncate(length);
    bytes
}

/// Creates a branch of the upstream with large files, on top of `main` or without a parent.
fn large_branch(upstream: &Upstream, name: &str, files: usize, bytes: usize) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("tree")).expect("a folder");
    let seed = name.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    for file in 0..files {
        // Generating noise is slow, so a megabyte of it is repeated.
        let block = noise(seed + file as u64, bytes.min(1 << 20));
        let content = block.repeat(bytes / block.len());
        std::fs::write(folder.path().join(format!("tree/{file}.bin")), content).expect("a file");
    }
    let (git_dir, tree) =
        (format!("--git-dir={}", upstream.path().display()), format!("--work-tree={}/tree", folder.path().display()));
    let git = |arguments: &[&str]| {
        let settings = ["-c", "core.compression=0", "-c", "user.name=u", "-c", "user.email=u@example.org"];
        let all: Vec<_> = [git_dir.as_str(), &tree].into_iter().chain(settings).chain(arguments.iter().copied()).collect();
        upstream.git_in(folder.path(), &all)
    };
    git(&["read-tree", "--empty"]);
    git(&["add", "--all", "."]);
    let commit = git(&["commit-tree", &git(&["write-tree"]), "-m", name]);
    git(&["read-tree", "--empty"]);
    upstream.point(&format!("refs/heads/{name}"), &commit);
    commit
}

/// Creates a mirror from which the last fetch deleted a branch of 2 MB. Also returns the commit of that branch.
async fn with_a_dropped_branch() -> (Bench, String) {
    let upstream = Upstream::new();
    let dropped = large_branch(&upstream, "big", 4, 512 << 10);
    let bench = Bench::of(upstream).await;
    bench.upstream.delete_branch("big");
    bench.fetch().await;
    (bench, dropped)
}

fn has(bench: &Bench, id: &str) -> bool {
    let asked = ["cat-file", "--batch-check"];
    let listed = bench.by_hand(bench.mirror.path(), &[&asked[..], &["--batch-all-objects"]].concat());
    listed.lines().any(|line| line.starts_with(id))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).expect("it exists").map(|entry| entry.expect("it can be read").path()).collect()
}

#[tokio::test]
async fn what_nothing_needs_is_deleted_two_weeks_after_it_was_found() {
    for unpacked in BOTH {
        let (bench, dropped) = with_a_dropped_branch().await;
        let clock = Clock::new(unpacked);
        // The files are old, but the objects in them became unreachable only now.
        let objects = bench.mirror.path().join("objects");
        for path in files(&objects).iter().flat_map(|folder| files(folder)) {
            let file = std::fs::File::open(path).expect("it exists");
            file.set_modified(clock.today - DAY * 365).expect("the file belongs to the test");
        }
        let counted = bench.mirror.unreachable(clock.today - DAY * 14).await.expect("the objects can be counted");
        assert!(counted.bytes > 2 << 20 && counted.expired == 0, "{counted:?}");
        for day in [0, 7, 13] {
            let repacked = clock.repack(&bench, day).await;
            assert_eq!(repacked.pruning, Pruning::NothingExpired, "{unpacked:?} {day}");
            assert!(has(&bench, &dropped) && repacked.after > 2 << 20, "{unpacked:?} {day} {repacked:?}");
        }
        let counted = bench.mirror.unreachable(clock.today + DAY).await.expect("the objects can be counted");
        assert!(counted.bytes > 2 << 20, "{counted:?}");
        assert_eq!(counted.expired > 2 << 20, unpacked == Unpacked::Cruft, "{counted:?}");
        let repacked = clock.repack(&bench, 15).await;
        assert_eq!(repacked.pruning, Pruning::Done);
        assert!(!has(&bench, &dropped), "{unpacked:?}");
        assert!(repacked.after < 100 << 10, "{unpacked:?} {repacked:?}");
        assert_eq!(bench.mirror.unreachable(clock.today).await.expect("the objects can be counted"), Unreachable::default());
        let again = clock.repack(&bench, 15).await;
        assert_eq!((again.pruning, again.after), (Pruning::NothingExpired, again.before), "a second repack changes nothing");
    }
}

#[tokio::test]
async fn an_object_that_is_needed_again_starts_a_new_grace_period() {
    for unpacked in BOTH {
        let (bench, dropped) = with_a_dropped_branch().await;
        let clock = Clock::new(unpacked);
        clock.repack(&bench, 0).await;
        bench.upstream.point("refs/heads/again", &dropped);
        bench.fetch().await;
        assert_eq!(clock.repack(&bench, 20).await.pruning, Pruning::NothingExpired);
        assert_eq!(bench.commit_of("refs/heads/again"), dropped);
        bench.upstream.delete_branch("again");
        bench.fetch().await;
        for day in [21, 34] {
            clock.repack(&bench, day).await;
            assert!(has(&bench, &dropped), "{unpacked:?} {day}");
        }
        clock.repack(&bench, 36).await;
        assert!(!has(&bench, &dropped), "{unpacked:?}");
    }
}

#[tokio::test]
async fn a_branch_that_comes_back_during_the_repack_keeps_its_objects() {
    for unpacked in BOTH {
        let (bench, dropped) = with_a_dropped_branch().await;
        let clock = Clock::new(unpacked);
        clock.repack(&bench, 0).await;
        bench.upstream.point("refs/heads/again", &dropped);
        // The branch comes back between packing and deleting, when its objects are past their grace period.
        let file = bench.mirror.path().join("refs/heads/again");
        let needs = Arc::new(move || {
            std::fs::write(&file, format!("{dropped}\n"))?;
            Ok(Needs::default())
        });
        let request = RepackRequest { needs, ..clock.request(20) };
        bench.mirror.repack(&request).await.expect("the mirror can be repacked");
        assert!(!bench.files_of("refs/heads/again").is_empty());
        bench.by_hand(bench.mirror.path(), &["fsck", "--strict", "--no-dangling"]);
    }
}

#[tokio::test]
async fn an_agents_repository_keeps_what_it_borrows_for_as_long_as_it_is_there() {
    for unpacked in BOTH {
        let upstream = Upstream::new();
        let dropped = large_branch(&upstream, "big", 4, 512 << 10);
        let bench = Bench::of(upstream).await;
        let agent = Agent::new(&bench, "one").await;
        agent.git(&["branch", "idea", "origin/big"]);
        bench.upstream.delete_branch("big");
        bench.fetch().await;
        let clock = Clock::new(unpacked);
        clock
            .needs(|needs| needs.read(&bench.path("tasks/one/agent.git.borrowed")).expect("the list of borrowed objects exists"));
        for day in [0, 20, 40] {
            clock.repack(&bench, day).await;
            agent.git(&["fsck", "--strict", "--no-dangling"]);
            agent.git(&["cat-file", "-e", "idea:0.bin"]);
        }
        let counted = bench.mirror.unreachable(clock.today).await.expect("the objects can be counted");
        assert_eq!(counted, Unreachable::default(), "the agent repository still needs the objects");
        clock.needs(|needs| *needs = Needs::default());
        for day in [41, 54] {
            clock.repack(&bench, day).await;
            assert!(has(&bench, &dropped), "{unpacked:?} {day}");
        }
        clock.repack(&bench, 60).await;
        assert!(!has(&bench, &dropped), "{unpacked:?}");
        assert_eq!(bench.by_hand(bench.mirror.path(), &["for-each-ref", "refs/orchestrator/needed"]), "");
    }
}

#[tokio::test]
async fn a_repository_without_a_list_of_what_it_borrows_keeps_everything() {
    let (bench, dropped) = with_a_dropped_branch().await;
    let clock = Clock::new(Unpacked::Cruft);
    clock.repack(&bench, 0).await;
    clock.needs(|needs| needs.unlisted = Some(PathBuf::from("/t/agent.git")));
    assert_eq!(clock.repack(&bench, 20).await.pruning, Pruning::Withheld(PathBuf::from("/t/agent.git")));
    assert!(has(&bench, &dropped));
}

#[tokio::test]
async fn a_worktree_keeps_what_is_staged_or_under_way_and_comes_back_whole_from_the_trash() {
    for unpacked in BOTH {
        let bench = Bench::new().await;
        let worktree = bench.worktree("one").await;
        write(&worktree, "staged.txt", "staged and not committed\n");
        bench.by_hand(worktree.path(), &["add", "staged.txt"]);
        let tree = bench.by_hand(worktree.path(), &["write-tree"]);
        let merged = bench.by_hand(worktree.path(), &["commit-tree", &tree, "-m", "what is being merged"]);
        let admin = bench.mirror.path().join("worktrees/worktree");
        std::fs::write(admin.join("MERGE_HEAD"), format!("{merged}\n")).expect("written");
        std::fs::remove_file(admin.join("index")).expect("it was there");
        bench.by_hand(worktree.path(), &["read-tree", "HEAD"]);
        write(&worktree, "other.txt", "this as well\n");
        bench.by_hand(worktree.path(), &["add", "other.txt"]);
        let other = bench.by_hand(worktree.path(), &["rev-parse", ":other.txt"]);
        let clock = Clock::new(unpacked);
        for day in [0, 20] {
            clock.repack(&bench, day).await;
            assert!(has(&bench, &merged) && has(&bench, &other), "{unpacked:?} {day}");
        }
        let (tree, folder) = (bench.tree("one"), bench.path("trash-one"));
        std::fs::create_dir(&folder).expect("a folder");
        std::fs::rename(&tree, folder.join("worktree")).expect("moved");
        let branch = branch("one");
        let retired = Retired { branch: &branch, keep_as: "one", folder: &folder };
        bench.mirror.retire_worktree(&tree, retired).await.expect("the worktree is removed");
        clock.needs(|needs| needs.retired.push((folder.join(ADMINISTRATION), "one".to_owned())));
        for day in [21, 41, 61] {
            clock.repack(&bench, day).await;
            assert!(has(&bench, &merged) && has(&bench, &other), "{unpacked:?} {day}");
        }
        bench.mirror.restore_worktree(&tree, retired).await.expect("the worktree is restored");
        std::fs::rename(folder.join("worktree"), &tree).expect("moved");
        bench.worktree("one").await;
        assert_eq!(bench.by_hand(&tree, &["show", ":other.txt"]), "this as well");
        assert_eq!(bench.by_hand(&tree, &["show", "MERGE_HEAD:staged.txt"]), "staged and not committed");
    }
}

/// Runs git in an agent repository repeatedly until `stop` receives a message. Returns the number of git commands.
async fn read_on(bench: &Bench, twin: PathBuf, mut stop: tokio::sync::oneshot::Receiver<()>) -> usize {
    let base = base(bench.folder.path());
    let git = Tool::find("git", &base).expect("git is installed");
    let mut read = 0;
    while stop.try_recv().is_err() {
        for arguments in [
            &["cat-file", "-e", "origin/big:0.bin"][..],
            &["log", "--all", "-p", "--binary"],
            &["rev-list", "--objects", "--all"],
        ] {
            let command = CommandSpec::new(&git, &base, &twin).env("GIT_DIR", &twin).args(arguments);
            let ended = command.stdout(Stdout::Capture { max: 256 << 20 }).deadline(PATIENCE).run_ok().await;
            ended.unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
            read += 1;
        }
    }
    read
}

#[tokio::test]
async fn an_agent_reads_on_while_the_mirror_is_repacked() {
    let upstream = Upstream::new();
    large_branch(&upstream, "big", 6, 1 << 20);
    let bench = Bench::of(upstream).await;
    let agent = Agent::new(&bench, "one").await;
    agent.commit("mine.txt", "1\n");
    let clock = Clock::new(Unpacked::Cruft);
    clock.needs(|needs| needs.read(&bench.path("tasks/one/agent.git.borrowed")).expect("the list of borrowed objects exists"));
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let work = async {
        for round in 0..6 {
            // Each round has new packs, dropped branches, and objects past their grace period.
            large_branch(&bench.upstream, &format!("topic-{round}"), 2, 256 << 10);
            bench.upstream.delete_branch("big");
            bench.fetch().await;
            bench.upstream.delete_branch(&format!("topic-{round}"));
            bench.fetch().await;
            bench.mirror.repack(&clock.request(round * 20)).await.expect("the mirror can be repacked");
        }
        stop.send(()).expect("the agent still reads");
    };
    let (read, ()) = tokio::join!(read_on(&bench, agent.twin.clone(), stopped), work);
    assert!(read > 3, "the agent ran git only {read} times");
    agent.end_run("1").await;
}

/// Waits until a git process with this argument works on the mirror.
async fn until_git_is_at(mirror: &Mirror, argument: &str) -> ProcessIdentity {
    let mark = mirror.path().display().to_string();
    let is_it = |process: &ProcessIdentity| {
        let line = std::fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(argument)
    };
    // The start of another process cannot be awaited, so it is polled.
    let mut often = tokio::time::interval(Duration::from_millis(2));
    let found = async {
        loop {
            often.tick().await;
            let found = processes_with_environment("CODEX_ORCHESTRATOR_MIRROR", &mark).expect("/proc can be read");
            if let Some(found) = found.into_iter().find(is_it) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("git starts in time")
}

fn left_over(mirror: &Path) -> Vec<PathBuf> {
    let is_temporary = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(".tmp") || name.starts_with("tmp_")
    };
    files(&mirror.join("objects/pack")).into_iter().filter(is_temporary).collect()
}

/// Creates a mirror of 200 MB with objects of two deleted branches. On day 20, only the small branch is past its grace period.
async fn large_mirror(clock: &Clock) -> Bench {
    let upstream = Upstream::new();
    for (name, value) in [("core.compression", "0"), ("pack.compression", "0"), ("core.bigFileThreshold", "1m")] {
        upstream.git(&["config", name, value]);
    }
    large_branch(&upstream, "small", 1, 64 << 10);
    large_branch(&upstream, "large", 20, 10 << 20);
    let bench = Bench::of(upstream).await;
    bench.upstream.delete_branch("small");
    bench.fetch().await;
    bench.mirror.repack(&clock.request(0)).await.expect("the mirror can be repacked");
    bench.upstream.delete_branch("large");
    bench.fetch().await;
    bench
}

async fn new_task(bench: &Bench, task: &str) -> Duration {
    let start = Instant::now();
    bench.fetch().await;
    bench.worktree(task).await;
    start.elapsed()
}

#[tokio::test]
async fn a_new_task_does_not_wait_for_a_repack() {
    let clock = Clock::new(Unpacked::Cruft);
    let bench = large_mirror(&clock).await;
    let mut alone = vec![new_task(&bench, "a").await, new_task(&bench, "b").await, new_task(&bench, "c").await];
    alone.sort();
    let mirror = bench.mirror.clone();
    let request = clock.request(20);
    let repack = tokio::spawn(async move { mirror.repack(&request).await });
    until_git_is_at(&bench.mirror, "pack-objects").await;
    let packing = new_task(&bench, "d").await;
    until_git_is_at(&bench.mirror, "--cruft-expiration").await;
    let pruning = new_task(&bench, "e").await;
    let repacked = repack.await.expect("no panic").expect("the mirror can be repacked");
    assert_eq!(repacked.pruning, Pruning::Done, "the repack succeeds after it is retried");
    assert!(repacked.after > 200 << 20, "the objects of the large branch are still in their grace period");
    for waited in [packing, pruning] {
        assert!(waited <= alone[1] + Duration::from_secs(1), "{waited:?} instead of {alone:?}");
    }
    assert_eq!(left_over(bench.mirror.path()), Vec::<PathBuf>::new());
    bench.by_hand(bench.mirror.path(), &["fsck", "--strict", "--no-dangling"]);
}

#[tokio::test]
async fn what_a_killed_repack_leaves_is_removed_and_nothing_is_lost() {
    let clock = Clock::new(Unpacked::Cruft);
    let bench = large_mirror(&clock).await;
    let before = bench.by_hand(bench.mirror.path(), &["cat-file", "--batch-check", "--batch-all-objects"]);
    for argument in ["pack-objects", "--cruft-expiration"] {
        let (mirror, request) = (bench.mirror.clone(), clock.request(13));
        let request = RepackRequest { grace: if argument == "pack-objects" { request.grace } else { DAY * 8 }, ..request };
        let repack = tokio::spawn(async move { mirror.repack(&request).await });
        until_git_is_at(&bench.mirror, argument).await;
        let mark = bench.mirror.path().display().to_string();
        // All git processes are killed, so that none of them can clean up, as in a power failure.
        for process in processes_with_environment("CODEX_ORCHESTRATOR_MIRROR", &mark).expect("/proc can be read") {
            process.signal(Signal::KILL).expect("the process belongs to the test");
        }
        let ended = repack.await.expect("no panic");
        assert!(matches!(ended, Err(RepackError::Program(RunProgramError::Failed { .. }))), "{argument}: {ended:?}");
        std::fs::write(bench.mirror.path().join("objects/pack/.tmp-77-pack-1.pack"), "half").expect("written");
        bench.mirror.recover().await.expect("the mirror can be recovered");
        assert_eq!(left_over(bench.mirror.path()), Vec::<PathBuf>::new());
        bench.by_hand(bench.mirror.path(), &["fsck", "--strict", "--no-dangling"]);
    }
    let after = bench.by_hand(bench.mirror.path(), &["cat-file", "--batch-check", "--batch-all-objects"]);
    assert_eq!(before, after);
    clock.repack(&bench, 20).await;
}

#[tokio::test]
async fn a_mirror_that_is_never_at_rest_is_repacked_when_it_has_very_many_packs() {
    let bench = Bench::new().await;
    assert!(!bench.mirror.has_very_many_packs().await.expect("counted"));
    for number in 0..100 {
        std::fs::write(bench.mirror.path().join(format!("objects/pack/pack-{number}.pack")), "").expect("written");
    }
    assert!(bench.mirror.has_very_many_packs().await.expect("counted"));
}

#[tokio::test]
async fn a_partial_mirror_keeps_its_contents_and_misses_nothing() {
    for unpacked in BOTH {
        let bench = Bench::partial(partial::upstream()).await;
        let clock = Clock::new(unpacked);
        let worktree = bench.worktree("one").await;
        // Git counts this file as unreachable, because the remote has a file with the same content.
        write(&worktree, "new", "own\n");
        committed(&worktree, "1").await;
        let contents = || ["main:file", "main:same", "main~1:file", "other:own"].map(|name| partial::has(&bench, name));
        for day in [0, 20] {
            clock.repack(&bench, day).await;
            assert_eq!(contents(), [true, true, false, true], "{unpacked:?}");
        }
        bench.mirror.unreachable(clock.today).await.expect("the objects can be counted");
        partial::toggle(&bench);
        bench.worktree("three").await;
        write(&worktree, "new", "more\n");
        committed(&worktree, "2").await;
    }
}
