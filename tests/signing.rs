//! Signatures of the commits that end runs, with a real GPG key that only the server's user has.
//!
//! The server, container engine, image and git are real. A shell replaces Codex and runs its prompt. The crate `git` tests what makes a
//! commit signed or unsigned.

use serde_json::{Value, json};
use testkit::TestHome;
use testkit::gpg::{GpgHome, USABLE, WITH_PASSPHRASE};
use testkit::shell_agent::ShellAgent;
use testkit::upstream::Upstream;

use crate::BINARY;

/// Prints what an agent that looks for the key finds, and leaves work to commit.
const SEARCH: &str = "echo WHERE \"$(env | grep -i gnupg)\"; echo KEYS $(find / -path /proc -prune -o -path /sys -prune -o \\( \
    -name 'S.gpg-agent*' -o -name 'private-keys*' \\) -print); date > work.txt";

async fn choose(stage: &ShellAgent, key: &str) {
    let edit = json!({ "commits": { "signing_key": key, "author": "Ada <ada@example.org>" } });
    let (status, answer) = stage.home.patch(&format!("/api/v1/envs/{}", stage.env), &edit).await;
    assert_eq!((status, &answer["commits"]["signing_key"]), (200, &json!(key)), "{answer}");
}

fn commit(run: &Value) -> &str {
    run["commit"].as_str().unwrap_or_else(|| panic!("the run has a commit: {run}"))
}

#[tokio::test]
async fn a_commit_from_a_container_is_signed_with_a_gpg_key_that_the_agent_cannot_find() {
    let keys = GpgHome::new();
    let (key, locked) = (keys.key(USABLE), keys.key(WITH_PASSPHRASE));
    keys.forget_passphrases();
    let mut home = TestHome::new(BINARY);
    home.set("GNUPGHOME", keys.path());
    let stage = ShellAgent::in_home(home, Upstream::new(), &json!({})).await;
    choose(&stage, &key).await;
    let first = stage.attack(SEARCH).await;
    first.completed();
    assert_eq!((first.said("WHERE"), first.said("KEYS")), ("", ""), "{}", first.log);
    assert_eq!(keys.verify(&stage.mirror(), commit(&first.task["runs"][0])), GpgHome::signed_by(&key));
    assert_eq!(first.task["runs"][0]["notes"], Value::Null, "{}", first.task);
    // The next run is based on the signed commit. Its key needs a passphrase.
    choose(&stage, &locked).await;
    let resumed = stage.resumed(&first.task, "date +%N > work.txt").await;
    let run = &resumed["runs"][1];
    assert_eq!(resumed["status"], "completed", "{resumed}");
    let notes = run["notes"].to_string();
    assert!(notes.contains("the commit is not signed: ") && notes.contains("No pinentry"), "{resumed}");
    let shown = stage.git(&["show", "--no-patch", "--format=%P", commit(run)]);
    assert_eq!(shown.trim(), commit(&first.task["runs"][0]));
    assert!(!stage.git(&["cat-file", "commit", commit(run)]).contains("gpgsig"), "no other key signs");
}
