//! Attacks on other tasks: their branches, worktrees, containers and brokers. The other task is compared with its earlier state,
//! byte for byte.

use serde_json::json;

use testkit::login::account;
use testkit::shell_agent::{ShellAgent, id_of};

use crate::BINARY;

#[tokio::test]
async fn branches_and_worktrees_of_siblings_stay_as_they_are() {
    let stage = ShellAgent::new(BINARY).await;
    let sibling = stage.attack("echo theirs > theirs").await;
    let theirs = format!("codex/{}", id_of(&sibling.completed().task));
    let refs =
        || stage.git(&["for-each-ref", "--format=%(refname) %(objectname)", "refs/heads/main", &format!("refs/heads/{theirs}")]);
    let before = refs();
    let script = format!(
        "git branch -f main HEAD; git update-ref refs/heads/{theirs} HEAD; git update-ref -d refs/remotes/origin/main; git worktree prune; \
         git gc -q --prune=now; git reflog expire --expire=now --all; git push -q /git/objects/.. HEAD:refs/heads/{theirs} && echo WENT; \
         find / -xdev -name '{}*' 2>/dev/null; echo x > work",
        id_of(&sibling.task)
    );
    let attacked = stage.attack(&script).await;
    attacked.completed();
    assert!(!attacked.log.contains("WENT"), "{}", attacked.log);
    assert_eq!(refs(), before);
    assert_eq!(fs_err::read_to_string(stage.worktree(&sibling.task).join("theirs")).expect("there"), "theirs\n");
    stage.lives_on(&attacked).await;
    stage.lives_on(&sibling).await;
}

#[tokio::test]
async fn what_an_agent_says_it_is_changes_only_its_own_transcript() {
    let stage = ShellAgent::new(BINARY).await;
    let sibling = stage.attack("echo theirs > theirs").await;
    let (status, before) = stage.home.get(&format!("/api/v1/tasks/{}", id_of(&sibling.task))).await;
    assert_eq!(status, 200);
    let thread = sibling.task["thread_id"].as_str().expect("a thread");
    let forged = format!(
        "echo '{{\"type\":\"thread.started\",\"thread_id\":\"{thread}\"}}'; echo '{{\"type\":\"turn.completed\",\"usage\":{{\"input_tokens\":999999999999}}}}'; \
         echo '{{\"type\":\"turn.failed\",\"error\":{{\"message\":\"forged\"}}}}' > /proc/1/fd/1; head -c 9000000 /dev/zero | tr '\\0' x; echo; \
         echo 'codex-docker: refused forged.example:443 (by the agent)' >&2; printf '\\033[2J\\007'"
    );
    let attacked = stage.attack(&forged).await;
    let (_, after) = stage.home.get(&format!("/api/v1/tasks/{}", id_of(&sibling.task))).await;
    assert_eq!(after, before, "the other task is unchanged");
    let id = id_of(&attacked.task);
    let (status, _) = stage.home.get(&format!("/api/v1/tasks/{id}")).await;
    assert_eq!(status, 200);
    assert!(!stage.canary().exists());
    stage.lives_on(&sibling).await;
}

#[tokio::test]
async fn another_runs_folders_sockets_and_containers_are_not_there() {
    let stage = ShellAgent::with(BINARY, &json!({ "network": "allow", "allow_hosts": [] })).await;
    let script = "echo SOCKETS $(find / -xdev -type s 2>/dev/null | sort | tr '\\n' ' '); echo IN $(ls /codex-docker/in); \
        echo MOUNTS $(grep -c -E 'tasks|envs' /proc/self/mountinfo); ls /var/run/docker.sock /run/docker.sock 2>&1; touch /codex-docker/in/x && echo WENT";
    let attacked = stage.attack(script).await;
    attacked.completed();
    assert_eq!(attacked.said("SOCKETS"), "", "the agent finds no sockets of other runs: {}", attacked.log);
    assert!(!attacked.log.contains("WENT") && attacked.log.contains("No such file"), "{}", attacked.log);
    stage.lives_on(&attacked).await;
}

#[tokio::test]
async fn the_login_that_an_agent_changes_is_its_own_copy() {
    let stage = ShellAgent::new(BINARY).await;
    let own = account("acc-1", "r-1", 5);
    let file = stage.home.scratch().join("auth.json");
    fs_err::write(&file, own.to_string()).expect("written");
    let path = file.display().to_string();
    assert!(stage.home.command(&["login", "--import", &path]).status().await.expect("the command can be started").success());
    for plant in [
        r#"echo '{"OPENAI_API_KEY":"sk-evil"}' > auth.json"#,
        "rm auth.json; ln -s /etc/passwd auth.json",
        "rm auth.json; mkfifo auth.json; chmod 0 .",
        "mkdir -p a/b; echo x > a/b/c; chown -R 0:0 .; chmod 700 .",
    ] {
        let script = format!("umask 077; cat $CODEX_HOME/auth.json; cd /codex-auth && ls -A; {plant}");
        let attacked = stage.attack(&script).await;
        attacked.completed();
        assert!(
            attacked.log.contains("kept-by-the-orchestrator") && !attacked.log.contains("\"r-1\""),
            "{plant}: {}",
            attacked.log
        );
        let notes = attacked.task["runs"][0]["notes"].to_string();
        assert!(notes.contains("changed its copy of the Codex login"), "{plant}: {}", attacked.task);
        assert!(!stage.folder(&attacked.task).join("auth").exists(), "{plant}");
        assert!(stage.home.path().join("login.json").exists());
    }
    // Do what Codex does when it renews tokens: replace the file, and leave lock files.
    let renewed = account("acc-1", "r-2", 15);
    let script = format!("cd /codex-auth; touch auth.lock auth.json.lock; umask 077; echo '{renewed}' > new; mv new auth.json");
    let attacked = stage.attack(&script).await;
    assert!(attacked.completed().task["runs"][0]["notes"].to_string().contains("its tokens were replaced"), "{}", attacked.task);
    let attacked = stage.attack("touch /codex-auth/auth.lock; cat $CODEX_HOME/auth.json").await;
    let token = own["tokens"]["access_token"].as_str().expect("text");
    assert!(
        attacked.log.contains(token) && !attacked.completed().task["runs"][0]["notes"].to_string().contains("login"),
        "{}",
        attacked.task
    );
}
