//! Following a log while it is written.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err as fs;
use model::codex::LineContent;
use proptest::prelude::*;
use runner::journal::{FolderWatch, Tail};

/// Far longer than a file event takes.
const LIMIT: Duration = Duration::from_mins(1);

/// Reads up to the end of the log. Returns the complete lines with the offsets after them.
async fn lines(tail: &mut Tail) -> Vec<(u64, String)> {
    let mut lines = vec![];
    while tail
        .read(|line| {
            let text = match line.content {
                LineContent::Whole(text) => String::from_utf8_lossy(text).into_owned(),
                other @ LineContent::Oversized { .. } => format!("{other:?}"),
            };
            lines.push((line.end, text));
        })
        .await
        .expect("the log can be read")
    {}
    lines
}

fn log() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run-001.jsonl");
    (folder, path)
}

fn append(path: &Path, text: &str) {
    let mut file = fs::File::options().create(true).append(true).open(path).expect("opened");
    file.write_all(text.as_bytes()).expect("written");
}

#[tokio::test]
async fn a_line_longer_than_a_read_is_passed_on_once_and_whole() {
    let (_folder, path) = log();
    let long = "x".repeat(200_000);
    append(&path, &format!("{long}\nshort\n"));
    let found = lines(&mut Tail::from(path, 0)).await;
    assert_eq!(found, [(200_001, long), (200_007, "short".to_owned())]);
}

#[tokio::test]
async fn empty_lines_and_bytes_that_are_not_text_keep_their_place() {
    let (_folder, path) = log();
    fs::write(&path, b"\n\xff\xfe\n\r\n\0\n").expect("written");
    let ends: Vec<_> = lines(&mut Tail::from(path, 0)).await.into_iter().map(|(end, _)| end).collect();
    assert!(ends.contains(&4) && ends.last() == Some(&8), "{ends:?}");
}

#[tokio::test]
async fn an_offset_at_or_after_the_end_waits_for_more() {
    let (_folder, path) = log();
    append(&path, "one\n");
    let (mut at_end, mut after_end) = (Tail::from(path.clone(), 4), Tail::from(path.clone(), 8));
    assert_eq!(lines(&mut at_end).await, []);
    assert_eq!(lines(&mut after_end).await, []);
    append(&path, "two\nthree\n");
    assert_eq!(lines(&mut at_end).await, [(8, "two".to_owned()), (14, "three".to_owned())]);
    assert_eq!(lines(&mut after_end).await, [(14, "three".to_owned())]);
}

#[tokio::test]
async fn a_log_that_cannot_be_read_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = Tail::from(folder.path().to_owned(), 0).read(|_| {}).await.expect_err("a folder is not a log");
    assert_ne!(error.kind(), std::io::ErrorKind::NotFound);
}

#[tokio::test]
async fn a_follower_is_woken_by_each_kind_of_change() {
    let folder = tempfile::tempdir().expect("a folder");
    let watch = FolderWatch::new();
    let mut interest = watch.watch(folder.path());
    let path = folder.path().join("file");
    let changes: [&dyn Fn(); 4] = [
        &|| append(&path, "a"),
        &|| append(&path, "b"),
        &|| fs::rename(&path, folder.path().join("renamed")).expect("moved"),
        &|| fs::remove_file(folder.path().join("renamed")).expect("removed"),
    ];
    for change in changes {
        change();
        tokio::time::timeout(LIMIT, interest.changed()).await.expect("the follower is woken");
    }
}

#[tokio::test]
async fn a_folder_can_be_watched_again_after_its_last_follower_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let watch = FolderWatch::new();
    for n in 0..3 {
        let mut interest = watch.watch(folder.path());
        fs::write(folder.path().join(n.to_string()), "x").expect("written");
        tokio::time::timeout(LIMIT, interest.changed()).await.expect("the follower is woken");
    }
}

#[tokio::test]
async fn a_folder_that_does_not_exist_is_polled() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut interest = FolderWatch::new().watch(&folder.path().join("missing"));
    tokio::time::pause();
    tokio::time::timeout(Duration::from_secs(2), interest.changed()).await.expect("the follower looks every second");
}

#[tokio::test]
async fn a_follower_of_a_deleted_folder_can_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    let below = folder.path().join("below");
    fs::create_dir(&below).expect("made");
    let watch = FolderWatch::new();
    let interest = watch.watch(&below);
    fs::remove_dir(&below).expect("removed");
    drop(interest);
    fs::create_dir(&below).expect("made");
    let mut again = watch.watch(&below);
    fs::write(below.join("file"), "x").expect("written");
    tokio::time::timeout(LIMIT, again.changed()).await.expect("the follower is woken");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_split_into_writes_gives_the_same_lines(pieces in proptest::collection::vec("[a\n]{0,6}", 0..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (_folder, path) = log();
        let mut tail = Tail::from(path.clone(), 0);
        let mut followed = vec![];
        for piece in &pieces {
            append(&path, piece);
            followed.extend(runtime.block_on(lines(&mut tail)));
        }
        let at_once = runtime.block_on(lines(&mut Tail::from(path, 0)));
        prop_assert_eq!(&followed, &at_once);
        let whole: String = pieces.concat();
        let end = whole.rfind('\n').map_or(0, |at| at as u64 + 1);
        prop_assert!(at_once.iter().all(|(at, _)| *at <= end));
    }
}
