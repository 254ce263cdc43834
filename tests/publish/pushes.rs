//! What a push does to the remote, and what is reported if the remote rejects it. The remote is a real bare repository, with
//! real hooks.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::{done, failed, stage};
use crate::stage::Stage;

fn hook(stage: &Stage, name: &str, script: &str) {
    let path = stage.upstream.path().join("hooks").join(name);
    fs_err::create_dir_all(path.parent().expect("the hook has a parent folder")).expect("made");
    fs_err::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("ours");
}

#[tokio::test]
async fn a_branch_is_pushed_and_pushing_again_is_fine() {
    let stage = stage().await;
    let task = stage.with_work().await;
    let first = stage.push(&task, &json!({})).await;
    assert_eq!(done(&first)["pushed_sha"].as_str().map(str::to_owned), stage.remote_commit(&task));
    assert_eq!(stage.upstream.git(&["show", &format!("codex/{task}:work.txt")]).trim(), "work");
    assert_eq!(first["compare_url"], format!("{}/me/app/compare/main...codex/{task}?expand=1", stage.forge().api_url()));
    done(&stage.push(&task, &json!({})).await);
    let (status, _) = stage
        .home
        .post(&format!("/api/v1/tasks/{task}/resume"), &json!({ "prompt": "echo more > more.txt; begin; end more" }))
        .await;
    assert_eq!(status, 201);
    stage.home.settled(&task).await;
    let second = stage.push(&task, &json!({})).await;
    assert_ne!(done(&second)["pushed_sha"], first["pushed_sha"]);
    assert_eq!(stage.upstream.git(&["show", &format!("codex/{task}:more.txt")]).trim(), "more");
    assert!(stage.forge().pull_requests().is_empty(), "a push without a request for a pull request opens none");
}

#[tokio::test]
async fn only_the_tasks_own_branch_is_touched() {
    let stage = stage().await;
    let other = stage.with_work().await;
    let task = stage.with_work().await;
    let main = stage.upstream.commit_of("main");
    done(&stage.push(&task, &json!({})).await);
    assert_eq!(stage.upstream.git(&["for-each-ref", "--format=%(refname:short)"]), format!("codex/{task}\nmain"));
    assert_eq!((stage.upstream.commit_of("main"), stage.remote_commit(&other)), (main, None));
}

#[tokio::test]
async fn nothing_is_pushed_while_a_run_is_active_or_when_nothing_changed() {
    let stage = stage().await;
    let task = stage.home.task(&stage.env, "begin; sleep 1000").await;
    stage.home.wait_for(&format!("/api/v1/tasks/{task}"), |task| task["runs"][0]["turn_started"] == true).await;
    let path = format!("/api/v1/tasks/{task}/push");
    assert_eq!(stage.home.post(&path, &json!({})).await.1["code"], "run_active");
    stage.home.post(&format!("/api/v1/tasks/{task}/stop"), &json!({})).await;
    stage.home.settled(&task).await;
    assert_eq!(stage.home.post(&path, &json!({})).await.1["code"], "nothing_to_publish");
    assert_eq!(stage.home.post(&path, &json!({ "draft": true })).await.1["code"], "no_pull_request");
    assert_eq!(stage.remote_commit(&task), None);
}

#[tokio::test]
async fn what_somebody_else_pushed_is_replaced_only_when_it_was_seen_and_asked_for() {
    let stage = stage().await;
    let task = stage.with_work().await;
    done(&stage.push(&task, &json!({})).await);
    let ours = stage.remote_commit(&task);
    let theirs = stage.upstream.commit(&format!("codex/{task}"), &[("theirs.txt", "x\n")], "theirs");
    stage.home.post(&format!("/api/v1/tasks/{task}/resume"), &json!({ "prompt": "begin; echo 2 > two.txt; end two" })).await;
    stage.home.settled(&task).await;
    let moved = stage.push(&task, &json!({})).await;
    assert_eq!((failed(&moved).as_str(), &moved["remote_sha"]), ("remote_moved", &json!(theirs)), "{moved}");
    assert!(moved["error"]["hints"].to_string().contains("--force-with-lease"), "{moved}");
    let newer = stage.upstream.commit(&format!("codex/{task}"), &[("newer.txt", "x\n")], "newer, and not seen");
    let unseen = stage.push(&task, &json!({ "force_with_lease": true })).await;
    assert_eq!((failed(&unseen).as_str(), &unseen["remote_sha"]), ("remote_moved", &json!(newer)));
    assert_eq!(stage.remote_commit(&task).as_ref(), Some(&newer), "the newer commit is still on the remote");
    done(&stage.push(&task, &json!({ "force_with_lease": true })).await);
    assert!(stage.remote_commit(&task) != ours && stage.remote_commit(&task) != Some(newer));
}

#[tokio::test]
async fn what_somebody_else_pushed_can_be_kept_and_built_upon() {
    let stage = stage().await;
    let task = stage.with_work().await;
    let update = format!("/api/v1/tasks/{task}/update");
    let onto_remote = json!({ "onto_remote": true });
    assert_eq!(stage.home.post(&update, &onto_remote).await.1["code"], "not_pushed");
    done(&stage.push(&task, &json!({})).await);
    stage.upstream.commit(&format!("codex/{task}"), &[("theirs.txt", "theirs\n")], "theirs");
    stage.home.post(&format!("/api/v1/tasks/{task}/resume"), &json!({ "prompt": "begin; echo 2 > two.txt; end two" })).await;
    stage.home.settled(&task).await;
    assert_eq!(failed(&stage.push(&task, &json!({})).await), "remote_moved");
    let (status, view) = stage.home.post(&update, &onto_remote).await;
    assert_eq!((status, &view["outcome"]), (200, &json!("updated")), "{view}");
    let base = view["task"]["base_sha"].as_str().map(str::to_owned);
    assert_eq!(base, stage.upstream.commit_of("main"), "commits from the remote branch do not change the base");
    done(&stage.push(&task, &json!({})).await);
    for (file, content) in [("work.txt", "work"), ("theirs.txt", "theirs"), ("two.txt", "2")] {
        assert_eq!(stage.upstream.git(&["show", &format!("codex/{task}:{file}")]).trim(), content);
    }
    assert_eq!(stage.home.post(&update, &onto_remote).await.1["outcome"], "current");
}

#[tokio::test]
async fn a_remote_that_refuses_is_repeated_in_its_own_words() {
    let stage = stage().await;
    let task = stage.with_work().await;
    hook(&stage, "pre-receive", "echo 'GH013: push declined due to a detected secret' >&2; exit 1");
    let refused = stage.push(&task, &json!({})).await;
    assert_eq!(failed(&refused), "push_rejected");
    let said = refused["error"]["message"].as_str().expect("words");
    assert!(
        said.contains("GH013: push declined due to a detected secret") && said.contains("pre-receive hook declined"),
        "{said}"
    );
    fs_err::remove_file(stage.upstream.path().join("hooks/pre-receive")).expect("ours");
    done(&stage.push(&task, &json!({})).await);
}

#[tokio::test]
async fn a_remote_that_is_away_is_said_and_comes_back() {
    let stage = stage().await;
    let task = stage.with_work().await;
    let away = stage.upstream.path().with_extension("away");
    fs_err::rename(stage.upstream.path(), &away).expect("ours");
    assert_eq!(failed(&stage.push(&task, &json!({})).await), "repository_not_found");
    fs_err::rename(&away, stage.upstream.path()).expect("ours");
    done(&stage.push(&task, &json!({})).await);
}

#[tokio::test]
async fn a_remote_that_hangs_is_given_up() {
    let mut stage = stage().await;
    let task = stage.with_work().await;
    stage.home.stop().await;
    fs_err::write(stage.home.path().join("config.toml"), "push_time_limit = \"700ms\"\n").expect("written");
    stage.home.start().await;
    hook(&stage, "pre-receive", "exec sleep 60");
    assert_eq!(failed(&stage.push(&task, &json!({})).await), "remote_timed_out");
    fs_err::remove_file(stage.upstream.path().join("hooks/pre-receive")).expect("ours");
}

#[tokio::test]
async fn over_http_git_gets_the_token_and_keeps_it_nowhere() {
    let mut stage = stage().await;
    stage.home.stop().await;
    // The user has a credential helper that would store all credentials that git gets.
    let (kept, config) = (stage.home.scratch().join("kept"), stage.home.scratch().join("gitconfig"));
    fs_err::write(&config, format!("[credential]\n\thelper = store --file={}\n", kept.display())).expect("written");
    stage.home.set("GIT_CONFIG_GLOBAL", &config);
    stage.home.start().await;
    stage.env = stage.home.environment(&format!("{}/me/app.git", stage.forge().api_url())).await;
    let task = stage.with_work().await;
    let published = stage.push(&task, &json!({ "pull_request": true })).await;
    assert_eq!(done(&published)["pull_request"]["number"], 1);
    assert_eq!(published["pushed_sha"].as_str().map(str::to_owned), stage.remote_commit(&task));
    assert!(!kept.exists(), "{}", fs_err::read_to_string(&kept).unwrap_or_default());
    stage.forge().set_token("ghp_another-token-of-the-same-owner");
    let (status, _) =
        stage.home.post(&format!("/api/v1/tasks/{task}/resume"), &json!({ "prompt": "begin; echo 2 > two; end 2" })).await;
    assert_eq!(status, 201);
    stage.home.settled(&task).await;
    let refused = stage.push(&task, &json!({})).await;
    assert_eq!(failed(&refused), "authentication_needed", "{refused}");
    assert!(!refused.to_string().contains(testkit::forge::TOKEN), "{refused}");
}

#[tokio::test]
async fn large_files_are_uploaded_with_the_branch() {
    let stage = stage().await;
    stage.upstream.commit("main", &[(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")], "large files");
    let task = stage.done("begin; echo large > a.bin; end large").await;
    done(&stage.push(&task, &json!({})).await);
    let pointer = stage.upstream.git(&["show", &format!("codex/{task}:a.bin")]);
    let name = pointer.lines().find_map(|line| line.strip_prefix("oid sha256:")).expect("a pointer").to_owned();
    let object = stage.upstream.path().join("lfs/objects").join(&name[..2]).join(&name[2..4]).join(&name);
    assert_eq!(fs_err::read_to_string(object).expect("the large file was uploaded"), "large\n");
}
