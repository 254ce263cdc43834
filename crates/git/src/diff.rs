//! Diffs between two commits of a mirror: complete patches and statistics.
//!
//! Worktrees are never compared: everything is read from the mirror, where no agent writes. A patch is byte for byte what `git
//! apply` accepts, including binary files and changed submodule commits. `compare` creates the diffs that people read.
//! Invariant: sizes are checked before content is read, and exceeding a limit is an error.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use model::diff::Omitted;
use model::ids::ObjectId;
use model::visible::plain_name;
use process::{RunProgramError, Stdout};

use super::budget::{FILE_BYTES, PAGE, PAGE_MEMORY, PATCH_FILE_BYTES, PATCH_MEMORY, QUICK};
use super::changed::ChangedFile;
use super::diff_tree::DiffError;
use super::mirror::{Mirror, is_ancestor};
use super::program::{GitDir, answer};

/// How much a file changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStat {
    /// The path; invalid UTF-8 is replaced.
    pub path: String,
    /// The old path, if the file was renamed.
    pub old_path: Option<String>,
    /// The number of added and removed lines, or `None` for a binary file.
    pub lines: Option<(u64, u64)>,
}

/// How much changed between two commits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiffStat {
    /// All changed files, ordered by path.
    pub files: Vec<FileStat>,
}

impl DiffStat {
    /// Returns the number of added lines in all text files.
    pub fn added(&self) -> u64 {
        self.files.iter().filter_map(|file| file.lines).map(|(added, _)| added).sum()
    }

    /// Returns the number of removed lines in all text files.
    pub fn removed(&self) -> u64 {
        self.files.iter().filter_map(|file| file.lines).map(|(_, removed)| removed).sum()
    }

    /// Parses `--numstat -z`: `added TAB removed TAB path NUL`, or for a rename an empty path, then old NUL new NUL.
    fn parse(listing: &str) -> Self {
        let mut pieces = listing.split('\0');
        let mut files = Vec::new();
        while let Some(piece) = pieces.next() {
            let mut fields = piece.splitn(3, '\t');
            let (Some(added), Some(removed), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
            let lines = added.parse().ok().zip(removed.parse().ok());
            let (old_path, path) = match path {
                "" => (pieces.next().map(str::to_owned), pieces.next().unwrap_or_default()),
                path => (None, path),
            };
            files.push(FileStat { path: path.to_owned(), old_path, lines });
        }
        Self { files }
    }
}

/// Whether whitespace changes count as changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Whitespace {
    /// Whitespace counts. Patches that will be applied need this.
    #[default]
    Counts,
    /// Whitespace is ignored. Such a diff is only for reading and cannot be applied.
    Ignored,
}

/// The relation of a commit to another commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The other commit is a descendant of this commit.
    Before,
    /// The commit exists, but the other commit is not a descendant.
    Elsewhere,
    /// The repository no longer contains the commit.
    Gone,
}

impl Mirror {
    /// Returns the relation of `commit` to the commit `of`.
    pub async fn standing(&self, commit: &ObjectId, of: &ObjectId) -> Result<Standing, RunProgramError> {
        let command = || self.git().command(GitDir::Mirror(self.path())).deadline(PAGE).memory(PAGE_MEMORY);
        let there = command().args(["cat-file", "-e", &format!("{commit}^{{commit}}")]).run().await?.status.success();
        Ok(match there {
            false => Standing::Gone,
            true if is_ancestor(command(), commit, of).await? => Standing::Before,
            true => Standing::Elsewhere,
        })
    }

    /// Returns the content of a file, which may have at most `max` bytes.
    pub async fn content(&self, id: &ObjectId, max: usize) -> Result<Vec<u8>, DiffError> {
        let size = self.content_sizes(std::slice::from_ref(id)).await?.first().copied().flatten();
        if size.is_some_and(|size| size > max as u64) {
            return Err(DiffError::TooLarge { max });
        }
        let command = self.git().command(GitDir::Mirror(self.path())).args(["cat-file", "blob", id.as_str()]);
        let command = command.deadline(PAGE).memory(PAGE_MEMORY);
        Ok(command.stdout(Stdout::Capture { max }).run_ok().await?.stdout)
    }

    /// Returns the complete patch between two commits, of at most `max` bytes, as `git apply` accepts it.
    pub async fn patch(&self, from: &ObjectId, to: &ObjectId, max: usize) -> Result<Vec<u8>, DiffError> {
        let listing = self.changed_files(from, to).await?;
        if let Some(file) = listing.files.iter().find(|file| file.why_not(PATCH_FILE_BYTES) == Some(Omitted::TooLarge)) {
            let bytes = file.without_lines(Omitted::TooLarge).bytes.unwrap_or_default();
            return Err(DiffError::FileTooLarge { path: plain_name(&file.path), bytes });
        }
        let format = ["-p", "--full-index", "--binary", "--no-color", "--src-prefix=a/", "--dst-prefix=b/"];
        let command = self.diff_tree(from, "--find-renames", &format).deadline(QUICK).memory(PATCH_MEMORY);
        let command = command.args([from.as_str(), to.as_str(), "--"]).stdout(Stdout::Capture { max });
        Ok(command.run_ok().await?.stdout)
    }

    /// Returns how much changed between two commits. A file that is too large to compare has no line counts.
    pub async fn stat(&self, from: &ObjectId, to: &ObjectId) -> Result<DiffStat, DiffError> {
        let listing = self.changed_files(from, to).await?;
        let is_small = |file: &&ChangedFile| file.why_not(FILE_BYTES).is_none();
        let count = |paths: Vec<OsString>| async move {
            let command = self.diff_tree(from, "--find-renames", &["--numstat", "-z"]).env("GIT_LITERAL_PATHSPECS", "1");
            let command = command.args([from.as_str(), to.as_str(), "--"]).args(paths).deadline(QUICK).memory(PAGE_MEMORY);
            Ok::<_, DiffError>(DiffStat::parse(&answer(command).await?))
        };
        if listing.files.iter().all(|file| is_small(&file)) {
            return count(vec![]).await;
        }
        let (folders, mut all) = (listing.folders(), DiffStat::default());
        for part in listing.pages() {
            let files = &listing.files[part];
            let is_counted = |file: &&ChangedFile| is_small(file) && names(file).all(|name| !folders.contains(name));
            let (counted, named): (Vec<_>, Vec<_>) = files.iter().partition(is_counted);
            let paths: Vec<_> =
                counted.iter().flat_map(|file| names(file)).map(|name| OsStr::from_bytes(name).to_owned()).collect();
            if !paths.is_empty() {
                all.files.extend(count(paths).await?.files);
            }
            let text = |path: &Vec<u8>| String::from_utf8_lossy(path).into_owned();
            let uncounted =
                |file: &ChangedFile| FileStat { path: text(&file.path), old_path: file.old_path.as_ref().map(text), lines: None };
            all.files.extend(named.into_iter().map(uncounted));
        }
        Ok(all)
    }
}

/// Returns the old and the new name of a file.
pub(super) fn names(file: &ChangedFile) -> impl Iterator<Item = &[u8]> {
    std::iter::once(&file.path[..]).chain(file.old_path.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_is_read_with_renames_and_binary_files() {
        let stat = DiffStat::parse("1\t2\ta.txt\0-\t-\tpic.png\x003\t0\t\0old name\0new\tname\0");
        let file =
            |path: &str, old: Option<&str>, lines| FileStat { path: path.to_owned(), old_path: old.map(str::to_owned), lines };
        let expect =
            [file("a.txt", None, Some((1, 2))), file("pic.png", None, None), file("new\tname", Some("old name"), Some((3, 0)))];
        assert_eq!(stat.files, expect);
        assert_eq!((stat.added(), stat.removed()), (4, 2));
        assert_eq!(DiffStat::parse(""), DiffStat::default());
    }
}
