//! Signatures with a GPG key, which git itself verifies. Only the folder of GPG has the key, and the agent never has it.

use git::{Makers, Signature};
use model::commit::SigningKey;
use testkit::gpg::{EXPIRED, GpgHome, USABLE, WITH_PASSPHRASE};
use testkit::upstream::Upstream;

use crate::support::agent::Agent;
use crate::support::{Bench, snapshot_by, write};

/// A mirror whose git finds the keys of this home.
async fn bench(keys: &GpgHome) -> Bench {
    Bench::with_variable(Upstream::new(), "GNUPGHOME", keys.path()).await
}

fn makers(key: &str) -> Makers {
    let ada = Signature { name: "Ada".to_owned(), email: "ada@example.org".to_owned() };
    Makers { author: ada.clone(), committer: ada, signing_key: Some(SigningKey::Gpg(key.to_owned())) }
}

#[tokio::test]
async fn a_gpg_key_signs_the_commits_of_runs_on_the_host_and_in_a_container() {
    let keys = GpgHome::new();
    // The second key is not the default key of this home.
    let (other, key) = (keys.key(USABLE), keys.key(USABLE));
    assert_ne!(other, key);
    let bench = bench(&keys).await;
    // The end of a fingerprint is an ID, too.
    let (whole, short) = (makers(&key), makers(&key[24..]));
    let worktree = bench.worktree("host").await;
    write(&worktree, "work.txt", "1\n");
    let on_host = snapshot_by(&worktree, "1", &whole).await.expect("committed");
    let agent = Agent { makers: short, ..Agent::new(&bench, "contained").await };
    agent.write("work.txt", "1\n");
    let since = agent.tip();
    agent.harvest_since("1", &since).await;
    let contained = agent.try_import("1", &since).await.expect("imported");
    for taken in [&on_host, &contained] {
        assert_eq!(keys.verify(bench.mirror.path(), taken.head.as_str()), GpgHome::signed_by(&key));
        assert_eq!((&taken.notes, taken.commit.as_ref()), (&vec![], Some(&taken.head)));
    }
    assert_eq!(agent.try_import("1", &since).await.expect("imported"), contained, "importing it again changes nothing");
    assert_eq!(bench.by_hand(bench.mirror.path(), &["fsck", "--strict", "--no-dangling"]), "");
}

#[tokio::test]
async fn a_gpg_key_that_is_missing_expired_or_needs_a_passphrase_leaves_a_commit_without_a_signature_and_a_note() {
    let keys = GpgHome::new();
    keys.key(USABLE);
    let (locked, expired) = (keys.key(WITH_PASSPHRASE), keys.key(EXPIRED));
    keys.forget_passphrases();
    let bench = bench(&keys).await;
    let check = async |name: &str, key: &str, reason: &str| {
        let worktree = bench.worktree(&format!("{name}-host")).await;
        write(&worktree, "work.txt", "1\n");
        let on_host = snapshot_by(&worktree, "1", &makers(key)).await.expect("committed");
        let agent = Agent { makers: makers(key), ..Agent::new(&bench, &format!("{name}-contained")).await };
        agent.write("work.txt", "1\n");
        let since = agent.tip();
        agent.harvest_since("1", &since).await;
        for taken in [on_host, agent.try_import("1", &since).await.expect("imported")] {
            let note = taken.notes.iter().find(|note| note.starts_with("the commit is not signed: "));
            assert!(note.is_some_and(|note| note.contains("gpg") && note.contains(reason)), "{name}: {:?}", taken.notes);
            let object = bench.by_hand(bench.mirror.path(), &["cat-file", "commit", taken.head.as_str()]);
            assert!(!object.contains("gpgsig"), "{name}: no other key signs: {object}");
            assert_eq!(bench.files_of(taken.head.as_str()), ["README.md", "work.txt"]);
        }
    };
    check("missing", "0123456789ABCDEF", "No secret key").await;
    check("expired", &expired, "Unusable secret key").await;
    check("locked", &locked, "No pinentry").await;
}
