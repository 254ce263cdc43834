//! Prepared worktrees: when a server creates them, which tasks get them, and when they are deleted. Runs execute elsewhere.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use protocol::CollectGarbage;

use crate::bench::{Bench, Ending, Server, block_on, eventually};

/// Returns the folders of a repository's prepared worktrees that a task can take.
fn ready(bench: &Bench, repository: &str) -> Vec<PathBuf> {
    let folder = bench.layout().prepared(repository.parse().expect("an ID"));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut ready: Vec<_> =
        entries.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ready"))).collect();
    ready.sort();
    ready
}

fn until_ready(bench: &Bench, repository: &str, number: usize) {
    block_on(eventually("worktrees are prepared", || ready(bench, repository).len() == number));
}

fn inode(folder: &Path) -> u64 {
    std::fs::metadata(folder.join("README.md")).expect("the file exists").ino()
}

fn worktree(bench: &Bench, task: &str) -> PathBuf {
    bench.layout().worktree(task.parse().expect("an ID"))
}

/// Returns how many worktrees were prepared in advance, and how many were not.
fn counted(server: &Server) -> (u64, u64) {
    let metrics = server.run(async |user| user.metrics().expect("metrics"));
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("codex_orchestrator_{name}_total ")));
        line.expect("it is a metric").parse().expect("a number")
    };
    (value("worktree_pool_hits"), value("worktree_pool_misses"))
}

fn collect(server: &Server, asked: &CollectGarbage) -> u64 {
    server.run(async |user| user.collect_garbage(asked, std::time::Duration::ZERO).await.expect("accepted").prepared)
}

#[test]
fn tasks_take_what_was_prepared_and_it_is_replaced() {
    let bench = Bench::new(31, 0, None);
    // Prepared worktrees are only used if most files stay.
    bench.push("main", &[("a.txt", "a\n"), ("b.txt", "b\n")]);
    let server = bench.server_with(|config| config.prepared_worktrees = 2);
    let repository = bench.add_repository(&server);
    until_ready(&bench, &repository, 2);
    let inodes: Vec<_> = ready(&bench, &repository).iter().map(|folder| inode(&folder.join("files"))).collect();
    bench.push("main", &[("newer.txt", "newer\n")]);
    let task = server.task(&repository, "do it");
    server.until(&task, "completed");
    assert!(inodes.contains(&inode(&worktree(&bench, &task))), "the files were moved");
    assert!(worktree(&bench, &task).join("newer.txt").exists(), "the task starts from the newest commit");
    assert_eq!(counted(&server), (1, 0));
    // The one that is left follows the newest commit, and another one is created.
    let is_new = |folder: &PathBuf| folder.join("files/newer.txt").exists();
    block_on(eventually("the worktrees are renewed", || {
        let ready = ready(&bench, &repository);
        ready.len() == 2 && ready.iter().all(is_new)
    }));
    let disk = server.run(async |user| user.disk().await);
    assert!(disk.prepared > 0 && disk.environments[0].prepared > 0, "{disk:?}");
    server.end(Ending::ShutDown);
}

#[test]
fn a_killed_server_leaves_prepared_worktrees_that_the_next_one_uses() {
    let bench = Bench::new(32, 0, None);
    let server = bench.server_with(|config| config.prepared_worktrees = 2);
    let repository = bench.add_repository(&server);
    until_ready(&bench, &repository, 2);
    server.end(Ending::Killed);
    let folder = bench.layout().prepared(repository.parse().expect("an ID"));
    std::fs::create_dir_all(folder.join("unfinished/files")).expect("a folder");
    std::fs::create_dir_all(bench.layout().all_prepared().join("of-a-repository-that-is-gone")).expect("a folder");
    let server = bench.server_with(|config| config.prepared_worktrees = 2);
    let task = server.task(&repository, "do it");
    server.until(&task, "completed");
    assert_eq!(counted(&server), (1, 0));
    block_on(eventually("what nobody needs is deleted", || {
        !folder.join("unfinished").exists() && std::fs::read_dir(bench.layout().all_prepared()).expect("readable").count() == 1
    }));
    server.end(Ending::ShutDown);
}

#[test]
fn nothing_is_prepared_if_it_is_turned_off_or_does_not_fit() {
    let bench = Bench::new(33, 0, None);
    let server = bench.server_with(|config| config.prepared_worktrees = 1);
    let repository = bench.add_repository(&server);
    until_ready(&bench, &repository, 1);
    server.end(Ending::ShutDown);
    let settings: [fn(&mut config::Config); 3] = [
        |config| config.prepared_worktrees = 0,
        |config| config.prepared_worktrees_space = 1,
        |config| config.free_space_floor = u64::MAX,
    ];
    for change in settings {
        let server = bench.server_with(change);
        server.run(async |user| user.fetch_environment(&repository).await.expect("fetched"));
        until_ready(&bench, &repository, 0);
        server.end(Ending::ShutDown);
        let server = bench.server_with(|config| config.prepared_worktrees = 1);
        server.run(async |user| user.fetch_environment(&repository).await.expect("fetched"));
        until_ready(&bench, &repository, 1);
        server.end(Ending::ShutDown);
    }
}

#[test]
fn a_collection_deletes_what_is_old_enough_and_a_removed_repository_keeps_nothing() {
    let bench = Bench::new(34, 0, None);
    let server = bench.server_with(|config| config.prepared_worktrees = 2);
    let repository = bench.add_repository(&server);
    until_ready(&bench, &repository, 2);
    let asked = |older_than_days, dry_run| CollectGarbage { older_than_days, id: None, dry_run };
    assert_eq!(collect(&server, &asked(None, false)), 0, "they are new");
    assert!(collect(&server, &asked(Some(0), true)) > 0);
    assert_eq!(ready(&bench, &repository).len(), 2, "a dry run deletes nothing");
    assert!(collect(&server, &asked(Some(0), false)) > 0);
    assert_eq!(ready(&bench, &repository).len(), 0);
    server.run(async |user| user.fetch_environment(&repository).await.expect("fetched"));
    until_ready(&bench, &repository, 2);
    server.run(async |user| user.remove_environment(&repository).await.expect("removed"));
    let folder = bench.layout().prepared(repository.parse().expect("an ID"));
    block_on(eventually("they are deleted", || !folder.exists()));
    server.end(Ending::ShutDown);
}
