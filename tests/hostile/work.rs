//! Attacks on the commit of a run's work and on the next run: files that block git, files of several terabytes, a misleading index, and
//! changes in the agent repository.

use std::time::{Duration, Instant};

use testkit::shell_agent::{ShellAgent, id_of};

use crate::BINARY;

/// The time limit of a run, far less than git needs for a file of several terabytes.
const SOON: Duration = Duration::from_mins(1);

fn content(stage: &ShellAgent, task: &serde_json::Value, path: &str) -> String {
    stage.git(&["show", &format!("codex/{}:{path}", id_of(task))])
}

#[tokio::test]
async fn files_that_git_waits_for_are_moved_aside_and_named() {
    let stage = ShellAgent::new(BINARY).await;
    let script = "mkdir -p deep/er n/.git; mkfifo .gitignore .gitattributes .lfsconfig src/.gitignore deep/er/.gitmodules n/.git/HEAD; \
        mkdir trap; mkfifo trap/HEAD; mkdir link; echo 'gitdir: ../trap' > link/.git; \
        python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"deep/.mailmap\")'; \
        mkfifo /git/agent.git/refs/heads/pipe /git/agent.git/shallow; rm -f /git/agent.git/packed-refs; mkfifo /git/agent.git/packed-refs; echo x > work";
    let began = Instant::now();
    let attacked = stage.attack(script).await;
    attacked.completed();
    assert!(began.elapsed() < SOON, "the run ends soon: {:?}", began.elapsed());
    let committed = stage.committed(&attacked.task);
    assert!(committed.iter().any(|name| name == "work"), "{committed:?}");
    let notes = attacked.task["runs"][0]["notes"].to_string();
    assert!(notes.contains("`.gitignore` is a fifo") && notes.contains("`deep/er/.gitmodules`"), "{notes}");
    assert!(stage.worktree(&attacked.task).join("src/.gitignore.aside-1").exists());
    stage.lives_on(&attacked).await;
}

#[tokio::test]
async fn a_file_of_terabytes_is_left_out_and_costs_no_time() {
    let stage = ShellAgent::new(BINARY).await;
    let script =
        "truncate -s 3T big.bin; truncate -s 3T src/a.txt; for n in $(seq 50); do truncate -s 400G many-$n; done; echo x > work";
    let began = Instant::now();
    let attacked = stage.attack(script).await;
    attacked.completed();
    assert!(began.elapsed() < SOON, "the run ends soon: {:?}", began.elapsed());
    assert_eq!(content(&stage, &attacked.task, "src/a.txt"), "one\n", "the last version of the file is kept");
    assert_eq!(content(&stage, &attacked.task, "work"), "x\n");
    let notes = attacked.task["runs"][0]["notes"].to_string();
    assert!(
        notes.contains("`big.bin` (3.0 TiB)") && notes.contains("so the last version was kept: `src/a.txt` (3.0 TiB)"),
        "{notes}"
    );
    assert!(attacked.task["runs"][0]["notes"].as_array().is_some_and(|notes| notes.len() < 25), "{notes}");
    stage.lives_on(&attacked).await;
}

#[tokio::test]
async fn an_index_that_lies_hides_nothing_from_the_commit() {
    let stage = ShellAgent::new(BINARY).await;
    let script = "git update-index --assume-unchanged src/a.txt; git update-index --skip-worktree README.md; echo evil > src/a.txt; echo evil > README.md; \
        echo 'hidden*' > /git/agent.git/info/exclude; echo evil > hidden; git config core.fileMode false; chmod +x src/a.txt; git status --short";
    let attacked = stage.attack(script).await;
    attacked.completed();
    for path in ["src/a.txt", "README.md", "hidden"] {
        assert_eq!(content(&stage, &attacked.task, path), "evil\n", "{path}");
    }
    let listing = stage.git(&["ls-tree", &format!("codex/{}", id_of(&attacked.task)), "src/a.txt"]);
    assert!(listing.starts_with("100755"), "{listing}");
    stage.lives_on(&attacked).await;
}

#[tokio::test]
async fn nothing_planted_in_the_agents_repository_takes_effect_in_the_next_run() {
    let stage = ShellAgent::new(BINARY).await;
    let plant = "git config user.name Planted; echo own > own; git add own; git commit -qm mine; git stash list; \
        printf '#!/bin/sh\\necho ran >> /workspace/worktree/ran\\ncat\\n' > /git/agent.git/planted; chmod 755 /git/agent.git/planted; P=/git/agent.git/planted; \
        mkdir -p /git/agent.git/hooks /git/agent.git/info /git/agent.git/worktrees/w /git/agent.git/modules/m; \
        for h in pre-commit post-commit post-checkout reference-transaction post-index-change fsmonitor-watchman; do cp $P /git/agent.git/hooks/$h; done; \
        cp $P .hook; git config extensions.worktreeConfig true; printf '[core]\\n\\tfsmonitor = %s\\n' $P > /git/agent.git/config.worktree; \
        for key in core.fsmonitor core.pager core.editor diff.external filter.x.clean filter.x.smudge filter.x.process gpg.program; do git config $key $P; done; \
        git config core.hooksPath /git/agent.git/hooks; git config commit.gpgSign true; git config alias.st \"!$P\"; git config include.path /git/agent.git/more; \
        cp /git/agent.git/config /git/agent.git/more; printf '* filter=x diff=x\\n' > /git/agent.git/info/attributes; echo 'hidden*' > /git/agent.git/info/exclude; \
        echo /workspace/worktree/objects >> /git/agent.git/objects/info/alternates; echo ../elsewhere > /git/agent.git/commondir; rm -f ran; echo x > work; rm -f ran";
    let first = stage.attack(plant).await;
    first.completed();
    let look = "git status --short; echo more > more; echo y > hidden-not; git add -A; git commit -qm second; git checkout -q -b other; git checkout -q -; \
        git log --format='LOG %s' | head -4; git st 2>&1 | head -1; echo NAME $(git config user.name); \
        echo LEFT $(ls /git/agent.git | tr '\\n' ' '); echo ALTERNATES $(cat /git/agent.git/objects/info/alternates); test ! -e ran || echo RAN; echo over";
    let task = stage.resumed(&first.task, look).await;
    assert_eq!(task["status"], "completed", "{task}");
    let log = stage.home.text(&format!("/api/v1/tasks/{}/runs/2/log", id_of(&task))).await;
    assert!(log.contains("over") && !log.contains("RAN"), "{log}");
    assert!(
        log.contains("LOG second") && log.contains("LOG mine"),
        "the agent's repository has the commits of the first run: {log}"
    );
    assert!(log.contains("NAME Codex"), "{log}");
    assert!(log.contains("ALTERNATES /git/objects\n"), "{log}");
    for planted in ["hooks", "config.worktree", "modules", "worktrees", "planted", "commondir", "more"] {
        let left = log.lines().find_map(|line| line.strip_prefix("LEFT ")).expect("the log has the list of files");
        assert!(!left.split(' ').any(|name| name == planted), "{planted}: {left}");
    }
    let committed = stage.committed(&task);
    assert!(["own", "more", "hidden-not"].iter().all(|name| committed.iter().any(|found| found == name)), "{committed:?}");
}
