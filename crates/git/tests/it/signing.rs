//! Signatures of the commits that end runs, which git itself verifies. The agent never has the key.

use std::path::{Path, PathBuf};

use git::{CommitFilesRequest, Makers, Signature};
use model::commit::{PathText, SigningKey};
use process::{CommandSpec, Tool};

use crate::support::agent::Agent;
use crate::support::{Bench, base, snapshot_by, write};

/// Creates an SSH key, and returns its path.
async fn ssh_key(bench: &Bench) -> PathBuf {
    let (path, base) = (bench.path("key"), base(bench.folder.path()));
    let program = Tool::find("ssh-keygen", &base).expect("OpenSSH is installed");
    let command = CommandSpec::new(&program, &base, "/").args(["-q", "-t", "ed25519", "-N", "", "-C", "ada", "-f"]).arg(&path);
    command.run_ok().await.expect("the key is created");
    path
}

fn makers(key: &Path) -> Makers {
    let ada = Signature { name: "Ada".to_owned(), email: "ada@example.org".to_owned() };
    Makers { author: ada.clone(), committer: ada, signing_key: Some(SigningKey::Ssh(key.display().to_string())) }
}

/// Verifies the signature of a commit with git.
fn verify(bench: &Bench, key: &Path, commit: &str) -> String {
    let allowed = bench.path("allowed");
    let public = std::fs::read_to_string(key.with_extension("pub")).expect("the public key");
    std::fs::write(&allowed, format!("ada@example.org {public}")).expect("a file");
    let setting = format!("gpg.ssh.allowedSignersFile={}", allowed.display());
    let mirror = bench.mirror.path();
    bench.by_hand(mirror, &["-c", &setting, "verify-commit", commit]);
    bench.by_hand(mirror, &["-c", &setting, "show", "--no-patch", "--format=%G? %GS", commit])
}

#[tokio::test]
async fn the_commit_of_a_run_on_the_host_is_signed_and_repeating_it_changes_nothing() {
    let bench = Bench::new().await;
    let key = ssh_key(&bench).await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "work.txt", "1\n");
    let taken = snapshot_by(&worktree, "1", &makers(&key)).await.expect("committed");
    assert_eq!(verify(&bench, &key, taken.head.as_str()), "G ada@example.org");
    assert_eq!((&taken.notes, taken.commit.as_ref()), (&vec![], Some(&taken.head)));
    assert_eq!(snapshot_by(&worktree, "1", &makers(&key)).await.expect("committed"), taken);
    assert_eq!(bench.by_hand(bench.mirror.path(), &["fsck", "--strict", "--no-dangling"]), "");
}

#[tokio::test]
async fn the_commit_of_a_run_in_a_container_is_signed_on_the_host_and_the_next_run_builds_on_it() {
    let bench = Bench::new().await;
    let key = ssh_key(&bench).await;
    let agent = Agent { makers: makers(&key), ..Agent::new(&bench, "one").await };
    agent.commit("own.txt", "1\n");
    agent.write("work.txt", "1\n");
    let since = agent.tip();
    agent.harvest_since("1", &since).await;
    let taken = agent.try_import("1", &since).await.expect("imported");
    let head = taken.head.to_string();
    assert_eq!((agent.tip(), verify(&bench, &key, &head)), (head.clone(), "G ada@example.org".to_owned()));
    let own = bench.by_hand(bench.mirror.path(), &["show", "--no-patch", "--format=%G? %s", &format!("{head}^")]);
    assert_eq!(own, "N own.txt", "the agent's own commits stay as they are");
    assert_eq!(agent.try_import("1", &since).await.expect("imported"), taken, "importing it again changes nothing");

    let ended = agent.try_harvest("2", &head, &[("HARVEST_MODE", "sync")]).await;
    assert_eq!((ended.code, agent.git(&["rev-parse", "HEAD"])), (Some(0), head.clone()), "{}", ended.said);
    agent.write("more.txt", "2\n");
    agent.harvest_since("2", &head).await;
    let next = agent.try_import("2", &head).await.expect("imported");
    let parents = bench.by_hand(bench.mirror.path(), &["show", "--no-patch", "--format=%P %G?", next.head.as_str()]);
    assert_eq!(parents, format!("{head} N"), "git verifies only with a list of signers");
    assert_eq!(verify(&bench, &key, next.head.as_str()), "G ada@example.org");
    assert!(!bench.files_of(next.head.as_str()).iter().any(|file| file.contains("key")));
}

#[tokio::test]
async fn the_next_run_builds_on_the_signed_commit_even_if_the_agents_branch_was_not_moved() {
    let bench = Bench::new().await;
    let key = ssh_key(&bench).await;
    let agent = Agent { makers: makers(&key), ..Agent::new(&bench, "one").await };
    let mut since = agent.tip();
    for run in ["1", "2", "3"] {
        agent.write("work.txt", run);
        agent.harvest_since(run, &since).await;
        let head = agent.try_import(run, &since).await.expect("imported").head.to_string();
        let parents = bench.by_hand(bench.mirror.path(), &["show", "--no-patch", "--format=%P", &head]);
        assert_eq!((parents, verify(&bench, &key, &head)), (since, "G ada@example.org".to_owned()));
        since = head;
    }
}

#[tokio::test]
async fn an_agent_that_forges_the_trailers_of_its_run_gets_no_signature() {
    let bench = Bench::new().await;
    let key = ssh_key(&bench).await;
    let agent = Agent { makers: makers(&key), ..Agent::new(&bench, "one").await };
    agent.write("evil.txt", "1\n");
    agent.git(&["add", "."]);
    agent.git(&["commit", "--quiet", "-m", "Evil\n\nTask-Id: codex/one\nRun: 1"]);
    let since = agent.tip();
    agent.harvest_since("1", &since).await;
    let taken = agent.try_import("1", &since).await.expect("imported");
    let object = bench.by_hand(bench.mirror.path(), &["cat-file", "commit", taken.head.as_str()]);
    assert!(!object.contains("gpgsig"), "{object}");
}

#[tokio::test]
async fn a_key_that_cannot_be_used_leaves_the_commit_without_a_signature_and_a_note() {
    let bench = Bench::new().await;
    let missing = makers(&bench.path("missing"));
    let worktree = bench.worktree("host").await;
    write(&worktree, "work.txt", "1\n");
    let on_host = snapshot_by(&worktree, "1", &missing).await.expect("committed");
    let agent = Agent { makers: missing, ..Agent::new(&bench, "contained").await };
    agent.write("work.txt", "1\n");
    let since = agent.tip();
    agent.harvest_since("1", &since).await;
    let contained = agent.try_import("1", &since).await.expect("imported");
    for taken in [on_host, contained] {
        assert!(taken.notes.iter().any(|note| note.starts_with("the commit is not signed: ")), "{:?}", taken.notes);
        assert_eq!(bench.files_of(taken.head.as_str()), ["README.md", "work.txt"]);
    }
}

#[tokio::test]
async fn files_that_are_committed_later_are_signed_too() {
    let bench = Bench::new().await;
    let key = ssh_key(&bench).await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "late/a.txt", "1\n");
    write(&worktree, "other.txt", "1\n");
    let paths = [PathText::new(b"late/")];
    let head = worktree.base().clone();
    let makers = makers(&key);
    let request = CommitFilesRequest { head: &head, paths: &paths, placed: &[], message: "Commit late\n", makers: &makers };
    let commit = worktree.commit_files(request).await.expect("committed").expect("there is something to commit");
    assert_eq!(verify(&bench, &key, commit.as_str()), "G ada@example.org");
    assert_eq!(bench.files_of(commit.as_str()), ["README.md", "late/a.txt"], "only the chosen files are committed");
    assert_eq!(bench.commit_of("refs/heads/codex/one"), head.to_string(), "the branch is moved by the caller");
    let nothing = CommitFilesRequest { paths: &[PathText::new(b"missing")], ..request };
    assert_eq!(worktree.commit_files(nothing).await.expect("git succeeds"), None);
}
