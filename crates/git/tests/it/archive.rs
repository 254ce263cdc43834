//! Tests archives of a commit's files, with the real Git.

use std::fs::File;
use std::io::{Read as _, Seek as _};

use tokio_util::sync::CancellationToken;

use crate::support::Bench;

#[tokio::test]
async fn an_archive_has_the_files_of_a_commit_and_not_those_of_a_later_one() {
    let bench = Bench::new().await;
    let branch = bench.mirror.default_branch().await.expect("the mirror has a branch");
    let commit = bench.mirror.resolve_branch(&branch).await.expect("git answers").expect("the branch exists");
    let mut file = tempfile::tempfile().expect("a file");
    let into: File = file.try_clone().expect("the file is open");
    bench.mirror.archive(&commit, into, CancellationToken::new()).await.expect("an archive");
    file.rewind().expect("the file is open");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("readable");
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("README.md") && text.contains("ustar"), "{} bytes", bytes.len());
    let missing = "1".repeat(40).parse().expect("an object ID");
    let into = tempfile::tempfile().expect("a file");
    bench.mirror.archive(&missing, into, CancellationToken::new()).await.expect_err("the commit does not exist");
}
