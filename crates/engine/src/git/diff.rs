//! Differences between two commits of a mirror.
//!
//! Never against a worktree: what is compared is in the mirror, where no agent writes. A patch is what `git apply` takes, byte
//! for byte, with binary files and changed submodule commits. Invariant: size is bounded, and too much is an error that says so.

use model::ids::ObjectId;

use super::mirror::Mirror;
use super::program::{LONG, Place, answer};
use super::snapshot::is_ancestor;
use crate::exec::{CommandSpec, RunProgramError, Stdin, Stdout};

/// Commits could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// The patch is larger than the caller takes.
    #[error("the difference is larger than {max} bytes")]
    TooLarge {
        /// How much is taken.
        max: usize,
    },
    /// Git could not compare them.
    #[error(transparent)]
    Program(RunProgramError),
}

impl From<RunProgramError> for DiffError {
    fn from(error: RunProgramError) -> Self {
        match error {
            RunProgramError::OutputTooLarge { max, .. } => Self::TooLarge { max },
            other => Self::Program(other),
        }
    }
}

/// How much a file changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStat {
    /// Where it is; bytes that are not UTF-8 are replaced.
    pub path: String,
    /// Where it was, if it was renamed.
    pub old_path: Option<String>,
    /// How many lines came and went; none for a binary file.
    pub lines: Option<(u64, u64)>,
}

/// How much changed between two commits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiffStat {
    /// Each file that changed, in order of its path.
    pub files: Vec<FileStat>,
}

impl DiffStat {
    /// How many lines came, in all text files.
    pub fn added(&self) -> u64 {
        self.files.iter().filter_map(|file| file.lines).map(|(added, _)| added).sum()
    }

    /// How many lines went, in all text files.
    pub fn removed(&self) -> u64 {
        self.files.iter().filter_map(|file| file.lines).map(|(_, removed)| removed).sum()
    }

    /// Reads `--numstat -z`: `added TAB removed TAB path NUL`, or for a rename an empty path, then old NUL new NUL.
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

/// Whether a change of blanks alone is a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Whitespace {
    /// It is, as for whoever applies a patch.
    #[default]
    Counts,
    /// It is not, for whoever reads one. Such a patch cannot be applied.
    Ignored,
}

/// A file's contents on both sides of a difference, by the ids of their objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedContent {
    /// Where it is, or was if it is gone; bytes that are not UTF-8 are replaced.
    pub path: String,
    /// What it held; none where it is new, or was no file.
    pub old: Option<ObjectId>,
    /// What it holds; none where it is gone, or is no file.
    pub new: Option<ObjectId>,
}

impl ChangedContent {
    /// Reads `--raw -z`: `:mode mode id id status NUL path NUL`, with a second path for a rename.
    fn parse(listing: &str) -> Vec<Self> {
        let mut pieces = listing.split('\0');
        let mut found = vec![];
        while let Some(piece) = pieces.next() {
            let fields: Vec<_> = piece.trim_start_matches(':').split(' ').collect();
            let &[old_mode, new_mode, old, new, status] = &fields[..] else { continue };
            let mut path = pieces.next().unwrap_or_default();
            if status.starts_with(['R', 'C']) {
                path = pieces.next().unwrap_or_default();
            }
            // 120000 is a link, 160000 a submodule, 000000 nothing.
            let content = |mode: &str, id: &str| id.parse().ok().filter(|_| mode.starts_with("100"));
            found.push(Self { path: path.to_owned(), old: content(old_mode, old), new: content(new_mode, new) });
        }
        found
    }
}

/// Where a commit stands as seen from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The other one was built on it.
    Before,
    /// It is there, and the other one was not built on it.
    Elsewhere,
    /// The repository has it no more.
    Gone,
}

impl Mirror {
    /// Where a commit stands as seen from another one.
    pub async fn standing(&self, commit: &ObjectId, of: &ObjectId) -> Result<Standing, RunProgramError> {
        let command = || self.git().command(Place::Mirror(self.path()));
        let there = command().args(["cat-file", "-e", &format!("{commit}^{{commit}}")]).run().await?.status.success();
        Ok(match there {
            false => Standing::Gone,
            true if is_ancestor(command(), commit, of).await? => Standing::Before,
            true => Standing::Elsewhere,
        })
    }

    /// What the files that changed from one commit to another held and hold.
    pub async fn changed_contents(&self, from: &ObjectId, to: &ObjectId) -> Result<Vec<ChangedContent>, DiffError> {
        let command = self.diff_tree(&["--raw", "-z", "--no-abbrev"]).args([from.as_str(), to.as_str(), "--"]);
        Ok(ChangedContent::parse(&answer(command).await?))
    }

    /// How many bytes these contents have, in this order; none for one that is not there.
    pub async fn content_sizes(&self, contents: &[ObjectId]) -> Result<Vec<Option<u64>>, RunProgramError> {
        let asked = contents.iter().map(ObjectId::as_str).collect::<Vec<_>>().join("\n") + "\n";
        let command = self.git().command(Place::Mirror(self.path())).args(["cat-file", "--batch-check=%(objectsize)"]);
        let sizes = answer(command.stdin(Stdin::Bytes(asked.into_bytes()))).await?;
        Ok(sizes.lines().map(|line| line.parse().ok()).collect())
    }

    /// A content of at most `max` bytes.
    pub async fn content(&self, id: &ObjectId, max: usize) -> Result<Vec<u8>, DiffError> {
        let command = self.git().command(Place::Mirror(self.path())).args(["cat-file", "blob", id.as_str()]);
        Ok(command.stdout(Stdout::Capture { max }).run_ok().await?.stdout)
    }

    /// The patch that leads from one commit to another, of at most `max` bytes.
    pub async fn patch(&self, from: &ObjectId, to: &ObjectId, whitespace: Whitespace, max: usize) -> Result<Vec<u8>, DiffError> {
        let command = self.diff_tree(&["-p", "--full-index", "--binary", "--no-color", "--src-prefix=a/", "--dst-prefix=b/"]);
        let command = if whitespace == Whitespace::Ignored { command.arg("--ignore-all-space") } else { command };
        let command = command.args([from.as_str(), to.as_str(), "--"]).stdout(Stdout::Capture { max });
        Ok(command.run_ok().await?.stdout)
    }

    /// How much changed from one commit to another.
    pub async fn stat(&self, from: &ObjectId, to: &ObjectId) -> Result<DiffStat, DiffError> {
        let command = self.diff_tree(&["--numstat", "-z"]).args([from.as_str(), to.as_str(), "--"]);
        Ok(DiffStat::parse(&answer(command).await?))
    }

    /// The plumbing command does not read the user's taste in diffs. Submodules are compared by the commit they name, which
    /// needs nothing of the submodule itself.
    fn diff_tree<'a>(&self, options: &[&str]) -> CommandSpec<'a> {
        let command = self.git().command(Place::Mirror(self.path())).args(["diff-tree", "-r", "-M"]);
        let command = command.args(["--no-ext-diff", "--no-textconv", "--submodule=short", "--ignore-submodules=none"]);
        command.args(options).deadline(LONG)
    }
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

    #[test]
    fn contents_are_read_with_renames_and_without_links_and_submodules() {
        let (a, b, none) = ("a".repeat(40), "b".repeat(40), "0".repeat(40));
        let listing = format!(
            ":100644 100755 {a} {b} M\0one\0:000000 100644 {none} {b} A\0two\0:100644 100644 {a} {b} R90\0old\0new\0\
             :120000 100644 {a} {b} T\0link\0:160000 160000 {a} {b} M\0sub\0"
        );
        let content = |path: &str, old: Option<&str>, new: Option<&str>| {
            let id = |id: &str| id.parse().expect("an id");
            ChangedContent { path: path.to_owned(), old: old.map(id), new: new.map(id) }
        };
        let expect = [
            content("one", Some(&a), Some(&b)),
            content("two", None, Some(&b)),
            content("new", Some(&a), Some(&b)),
            content("link", None, Some(&b)),
            content("sub", None, None),
        ];
        assert_eq!(ChangedContent::parse(&listing), expect);
    }
}
