//! Attacks on git: commands that are planted where the host or the next run might use git. A planted command would create the
//! canary file, whose folder exists only on the host.

use serde_json::json;

use testkit::shell_agent::{ShellAgent, id_of};

use crate::BINARY;

/// Returns a script that writes the planted command. Only the host has the canary's folder.
fn planted(stage: &ShellAgent) -> String {
    let canary = stage.canary();
    format!(
        "printf '#!/bin/sh\\ntouch {0}\\ncat\\n' > /git/agent.git/planted; chmod 755 /git/agent.git/planted; cp /git/agent.git/planted planted\nP=/git/agent.git/planted\n",
        canary.display()
    )
}

#[tokio::test]
async fn planted_hooks_are_not_run() {
    let stage = ShellAgent::new(BINARY).await;
    let hooks = "mkdir -p /git/agent.git/hooks; for h in pre-commit post-commit post-checkout reference-transaction post-index-change \
        pre-push fsmonitor-watchman pre-receive update post-receive post-rewrite; do cp $P /git/agent.git/hooks/$h; cp $P $h; done; \
        git config core.hooksPath /git/agent.git/hooks; echo x > work";
    let attacked = stage.attack(&(planted(&stage) + hooks)).await;
    stage.lives_on(attacked.completed()).await;
}

#[tokio::test]
async fn planted_configuration_is_not_obeyed() {
    let stage = ShellAgent::new(BINARY).await;
    let config = "for key in core.fsmonitor core.sshCommand core.pager core.editor core.askPass diff.external diff.x.command diff.x.textconv \
        filter.x.clean filter.x.smudge filter.x.process merge.x.driver gpg.program credential.helper uploadpack.packObjectsHook \
        remote.origin.receivepack remote.origin.uploadpack alias.status; do git config $key $P; done; git config alias.status \"!$P\"; \
        git config commit.gpgsign true; git config protocol.ext.allow always; git config url.ext::$P.insteadOf https://; \
        printf '* filter=x diff=x merge=x\\n' > .gitattributes; mkdir -p /git/agent.git/info; cp .gitattributes /git/agent.git/info/attributes; echo x > work";
    let attacked = stage.attack(&(planted(&stage) + config)).await;
    attacked.completed();
    assert!(stage.committed(&attacked.task).iter().any(|name| name == "work"), "the work is committed");
    stage.lives_on(&attacked).await;
}

#[tokio::test]
async fn included_and_worktree_configuration_is_not_obeyed() {
    let stage = ShellAgent::new(BINARY).await;
    let config = "printf '[core]\\n\\tfsmonitor = %s\\n' $P > evil; git config include.path $PWD/evil; git config extensions.worktreeConfig true; \
        cp evil /git/agent.git/config.worktree; printf '[includeIf \"gitdir:/\"]\\n\\tpath = %s/evil\\n' $PWD >> /git/agent.git/config; echo x > work";
    let attacked = stage.attack(&(planted(&stage) + config)).await;
    stage.lives_on(attacked.completed()).await;
}

#[tokio::test]
async fn the_worktrees_git_file_cannot_be_replaced() {
    let stage = ShellAgent::new(BINARY).await;
    let script = "for try in 'rm -rf .git' 'mv .git aside' 'ln -sfn /tmp .git' 'mkdir .git' 'echo gitdir: /tmp > .git' 'mount --bind /tmp .git' \
        'umount .git' 'mv /workspace/worktree /workspace/other' 'rm -rf /workspace/worktree'; do eval \"$try\" && echo \"WENT $try\"; done; \
        echo x > work; cat .git";
    let attacked = stage.attack(script).await;
    attacked.completed();
    assert!(!attacked.log.contains("WENT"), "{}", attacked.log);
    assert!(attacked.log.contains("gitdir: /git/agent.git"), "{}", attacked.log);
    stage.lives_on(&attacked).await;
}

#[tokio::test]
async fn nested_repositories_are_left_out_and_not_entered() {
    let stage = ShellAgent::new(BINARY).await;
    let script = "for d in nested deep/er/nested src/sub; do mkdir -p $d; git -C $d init -q; git -C $d config core.fsmonitor $P; \
        git -C $d config filter.x.clean $P; echo '* filter=x' > $d/.gitattributes; cp $P $d/.git/hooks/post-commit; echo x > $d/f; \
        git -C $d add f .gitattributes; git -C $d -c user.name=a -c user.email=b -c core.fsmonitor= commit -qm x; done; echo x > work";
    let attacked = stage.attack(&(planted(&stage) + script)).await;
    attacked.completed();
    assert!(
        attacked.task["runs"][0]["notes"].to_string().contains("nested"),
        "the notes name the nested repositories: {}",
        attacked.task
    );
    stage.lives_on(&attacked).await;
}

#[tokio::test]
async fn gitlinks_and_submodules_that_were_committed_are_not_entered() {
    let stage = ShellAgent::new(BINARY).await;
    let script = "git init -q sub; git -C sub config core.fsmonitor $P; git -C sub -c user.name=a -c user.email=b -c core.fsmonitor= commit -q \
        --allow-empty -m x; git add sub; printf '[submodule \"s\"]\\n\\tpath = sub\\n\\turl = ext::%s\\n\\tupdate = !%s\\n\\tignore = none\\n' $P $P > .gitmodules; \
        git add .gitmodules; git commit -qm 'a submodule'; printf '[submodule \"../../x\"]\\n\\tpath = x\\n\\turl = -u%s\\n' $P >> .gitmodules; git commit -qam more; echo x > work";
    let attacked = stage.attack(&(planted(&stage) + script)).await;
    assert_eq!(attacked.task["status"], "completed", "{}", attacked.task);
    stage.lives_on(&attacked).await;
}

#[tokio::test]
async fn alternates_lead_to_nothing_of_the_host() {
    let stage = ShellAgent::new(BINARY).await;
    let script = "printf '/git/objects\\n/\\n/etc\\n/root/.codex\\n/proc/1/root\\n' > /git/agent.git/objects/info/alternates; \
        rm -rf /git/agent.git/objects/pack; ln -s /git/objects/pack /git/agent.git/objects/pack; echo x > work";
    let attacked = stage.attack(script).await;
    attacked.completed();
    assert!(!stage.mirror().join("objects/info/alternates").exists());
    stage.lives_on(&attacked).await;
}

#[tokio::test]
async fn the_mirrors_objects_cannot_be_written() {
    let stage = ShellAgent::new(BINARY).await;
    let before = stage.git(&["count-objects", "-v"]);
    let script = "for f in $(find /git/objects -type f | head -20); do echo garbage > $f && echo WENT $f; rm -f $f && echo WENT $f; done; \
        touch /git/objects/x && echo WENT; mv /git/objects /git/o && echo WENT; chmod -R 777 /git/objects && echo WENT; echo over";
    let attacked = stage.attack(script).await;
    attacked.completed();
    assert!(attacked.log.contains("over") && !attacked.log.contains("WENT"), "{}", attacked.log);
    assert_eq!(stage.git(&["count-objects", "-v"]), before);
    stage.lives_on(&attacked).await;
}

#[tokio::test]
async fn a_ruined_repository_still_gives_its_files() {
    for ruin in [
        "rm -rf /git/agent.git/*",
        "echo garbage > /git/agent.git/HEAD; echo garbage > /git/agent.git/config; echo garbage > /git/agent.git/index",
        "rm -rf /git/agent.git/refs /git/agent.git/packed-refs; ln -s /etc/passwd /git/agent.git/HEAD.lock; ln -sf /etc/passwd /git/agent.git/HEAD",
        "find /git/agent.git/objects -type f -exec sh -c 'chmod 644 $1; echo garbage > $1' x {} \\;",
    ] {
        let stage = ShellAgent::new(BINARY).await;
        let attacked = stage.attack(&format!("echo x > work; git add work; git commit -qm mine; echo y > more; {ruin}")).await;
        attacked.completed();
        let committed = stage.committed(&attacked.task);
        assert!(committed.iter().any(|name| name == "more"), "{ruin}: {committed:?} {}", attacked.task);
        stage.lives_on(&attacked).await;
    }
}

#[tokio::test]
async fn harmful_objects_do_not_reach_the_mirror() {
    let stage = ShellAgent::new(BINARY).await;
    let script = "b=$(echo evil | git hash-object -w --stdin); t=$(printf '100644 blob %s\\tconfig\\n' $b | git mktree); \
        t=$(printf '040000 tree %s\\t.git\\n' $t | git mktree); c=$(git commit-tree -p HEAD -m harmful $t); git reset -q --soft $c; echo x > work; echo $c";
    let attacked = stage.attack(script).await;
    assert!(stage.committed(&attacked.task).iter().all(|name| !name.contains(".git/")), "{:?}", stage.committed(&attacked.task));
    assert!(stage.worktree(&attacked.task).join(".git").is_file());
    stage.lives_on(&attacked).await;
}

#[tokio::test]
async fn a_forged_author_is_kept_as_the_agents_word_and_the_runs_commit_is_ours() {
    let stage = ShellAgent::new(BINARY).await;
    let script = "echo x > one; git add one; GIT_AUTHOR_DATE='1970-01-02 00:00:00 +0000' git -c user.name='The Owner' -c user.email=owner@example.com \
        commit -qm \"forged\n\nTask-Id: another\nRun: 99\"; echo y > two";
    let attacked = stage.attack(script).await;
    attacked.completed();
    let branch = format!("codex/{}", id_of(&attacked.task));
    let history = stage.git(&["log", "-2", "--format=%an|%s|%(trailers:key=Task-Id,valueonly,separator=%x2C)", &branch]);
    let lines: Vec<&str> = history.lines().collect();
    assert!(lines[0].starts_with("Codex|") && lines[0].ends_with(&id_of(&attacked.task)), "{history}");
    assert!(lines[1].starts_with("The Owner|forged|"), "{history}");
    assert_eq!(attacked.task["runs"][0]["commit"], json!(stage.git(&["rev-parse", &branch]).trim()));
    stage.lives_on(&attacked).await;
}
