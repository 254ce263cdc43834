//! Tests the objects of single paths in a commit, with the real Git.

use crate::support::Bench;

#[tokio::test]
async fn each_path_has_its_object_or_none() {
    let bench = Bench::new().await;
    let commit = bench.upstream.commit("main", &[("lock", "1\n"), ("a/b c", "x\n"), ("same", "1\n")], "files");
    bench.fetch().await;
    let commit = commit.parse().expect("an object ID");
    let paths = ["lock", "missing", "a", "a/b c", "same", "a/missing", ".git"];
    let found = bench.mirror.objects_at(&commit, &paths).await.expect("git answers");
    let there: Vec<_> = found.iter().map(Option::is_some).collect();
    assert_eq!(there, [true, false, true, true, true, false, false]);
    assert_eq!(found[0], found[4], "the same content is the same object");
    assert_eq!(bench.mirror.objects_at(&commit, &[]).await.expect("nothing is asked"), []);
    let unknown = "1".repeat(40).parse().expect("an object ID");
    assert_eq!(bench.mirror.objects_at(&unknown, &["lock"]).await.expect("git answers"), [None]);
}
