//! Many tasks at once: 25 tasks of one environment start at the same moment from the newest commit, with at most two fetches.
//! The tests use real servers on temporary homes, real git, and a worker that runs its prompt as a script.

use std::collections::HashSet;

use futures_util::future::join_all;
use serde_json::json;
use testkit::TestHome;
use testkit::upstream::Upstream;

use crate::BINARY;

/// Creates a `git` script that records each fetch and then runs the real git. Returns the script's folder.
fn counting_git(home: &TestHome) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = home.scratch().join("bin");
    fs_err::create_dir(&folder).expect("made");
    let real = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    let real = real.iter().map(|folder| folder.join("git")).find(|git| git.is_file()).expect("git is on PATH");
    let count = home.scratch().join("fetches");
    let script = format!(
        "#!/bin/sh\nfor word; do if [ \"$word\" = fetch ]; then echo fetch >> {}; break; fi; done\nexec {} \"$@\"\n",
        count.display(),
        real.display()
    );
    let git = folder.join("git");
    fs_err::write(&git, script).expect("written");
    fs_err::set_permissions(&git, std::fs::Permissions::from_mode(0o755)).expect("ours");
    folder
}

#[tokio::test]
async fn twenty_five_tasks_at_once_start_from_the_newest_commit_with_at_most_two_fetches() {
    let upstream = Upstream::new();
    let mut home = TestHome::new(BINARY);
    let bin = counting_git(&home);
    let path = std::env::var("PATH").expect("PATH is set");
    home.set("PATH", format!("{}:{path}", bin.display()));
    home.set("ORCH_WORKER", testkit::worker::scripted_worker(home.scratch()));
    home.start().await;
    let env = home.environment(&upstream.url()).await;
    let newest = upstream.commit("main", &[("new.txt", "newest")], "the newest commit");
    let count = home.scratch().join("fetches");
    if count.exists() {
        fs_err::remove_file(&count).expect("ours");
    }

    let prompts: Vec<_> = (0..25).map(|n| format!("begin; cat new.txt; echo {n} > mine; end {n}")).collect();
    let tasks = join_all(prompts.iter().map(|prompt| home.task(&env, prompt))).await;
    let mut branches = HashSet::new();
    for task in &tasks {
        let ended = home.settled(task).await;
        assert_eq!((&ended["status"], &ended["base_sha"]), (&json!("completed"), &json!(newest)), "{ended}");
        branches.insert(ended["branch"].as_str().expect("a branch").to_owned());
    }
    assert_eq!(branches.len(), 25);
    let fetches = fs_err::read_to_string(&count).expect("at least one fetch is recorded").lines().count();
    assert!((1..=2).contains(&fetches), "{fetches} fetches");
}
