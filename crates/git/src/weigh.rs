//! Checks the size of the files in a worktree before git reads any of them for a commit.
//!
//! A sparse file costs an agent nothing, but costs git its full length, so sizes are compared first. Files that are too large
//! stay in the worktree, are omitted from the commit, and are reported. Invariant: git reads no files here except `.gitignore`
//! and `.gitattributes`.

use std::collections::BTreeSet;

use model::commit::{PathText, Selection, self_and_above};
use model::ids::ObjectId;
use model::size::bytes as shown_size;
use model::untrusted::{
    COMMIT_LIMIT_BYTES, FILE_LIMIT_BYTES, LEFT_OUT_LIMIT, LFS_FILE_LIMIT_BYTES, LFS_LIMIT_BYTES, NEW_FILES_LIMIT,
};
use model::visible::plain_name;
use process::{RunProgramError, Stdin, Stdout};

use super::decision::Decision;
use super::plain_file::{is_below_a_link, plain_size};
use super::snapshot_error::SnapshotError;
use super::trusted_index::TrustedIndex;

/// The maximum number of omitted files that are listed.
const NAMED_LIMIT: usize = 20;

/// A file that certainly differs from the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heavy {
    pub(super) path: Vec<u8>,
    pub(super) size: u64,
    /// The mode and the object in the commit, or `None` for a new file.
    pub(super) entry: Option<(String, String)>,
}

/// The paths that git must not add.
#[derive(Debug, Default)]
pub(super) struct Weighed {
    /// The files that are omitted from the commit.
    pub(super) left_out: Vec<Heavy>,
    /// Nested repositories that git found.
    pub(super) nested: Vec<Vec<u8>>,
    /// What the commit omits by decision.
    pub(super) selection: Selection,
    /// Files of the commit whose changes are omitted by decision.
    pub(super) kept_back: Vec<Heavy>,
}

/// The limits of a commit.
#[derive(Debug, Clone, Copy)]
struct Limits {
    file: u64,
    total: u64,
}

const PLAIN: Limits = Limits { file: FILE_LIMIT_BYTES, total: COMMIT_LIMIT_BYTES };

const LARGE: Limits = Limits { file: LFS_FILE_LIMIT_BYTES, total: LFS_LIMIT_BYTES };

impl TrustedIndex<'_> {
    /// Checks the files that differ from the commit, except those below `except` and those that the commit omits by decision.
    pub(super) async fn weigh(&self, except: &[Vec<u8>], decision: &Decision<'_>) -> Result<Weighed, SnapshotError> {
        let mut heavy = self.changed_sizes(&self.commit).await?;
        let mut new = self.new_files(except).await?;
        let mut weighed = Weighed { nested: std::mem::take(&mut new.nested), ..Weighed::default() };
        let except: Vec<_> = except.iter().chain(&weighed.nested).cloned().collect();
        weighed.selection = self.selection(decision, &new, &heavy, &except).await?;
        let mut files = new.files;
        let omitted: BTreeSet<Vec<u8>> = weighed.selection.paths().map(PathText::name).collect();
        files.retain(|(path, _)| !self_and_above(path).any(|above| omitted.contains(above)));
        if files.len() as u64 > NEW_FILES_LIMIT {
            return Err(SnapshotError::TooMuch { what: format!("{} new files", files.len()) });
        }
        // A folder that is omitted may contain files of the commit, whose changes are committed.
        weighed.kept_back = heavy.iter().filter(|heavy| omitted.contains(&heavy.path)).cloned().collect();
        heavy.retain(|heavy| !omitted.contains(&heavy.path));
        heavy.extend(files.into_iter().filter_map(|(path, size)| Some(Heavy { path, size: size?, entry: None })));
        let is_light = heavy.iter().all(|heavy| heavy.size <= PLAIN.file)
            && heavy.iter().fold(0_u64, |sum, heavy| sum.saturating_add(heavy.size)) <= PLAIN.total;
        if is_light {
            return Ok(weighed);
        }
        let large = if self.worktree.mirror.git().has_lfs() { self.stored_by_lfs(&heavy).await? } else { BTreeSet::new() };
        weighed.left_out = too_heavy(heavy, |path| large.contains(path));
        if weighed.left_out.len() > LEFT_OUT_LIMIT {
            let bytes = weighed.left_out.iter().fold(0_u64, |sum, heavy| sum.saturating_add(heavy.size));
            let what = format!("{} oversized files ({})", weighed.left_out.len(), shown_size(bytes));
            return Err(SnapshotError::TooMuch { what });
        }
        Ok(weighed)
    }

    /// Returns the files of the commit that are now too large to compare.
    pub(super) async fn weigh_changed(&self) -> Result<Vec<Heavy>, SnapshotError> {
        let heavy = self.changed_sizes(&self.commit).await?;
        let large = if self.worktree.mirror.git().has_lfs() { self.stored_by_lfs(&heavy).await? } else { BTreeSet::new() };
        Ok(too_heavy(heavy, |path| large.contains(path)))
    }

    /// Returns the files of the commit whose size has changed.
    async fn changed_sizes(&self, commit: &ObjectId) -> Result<Vec<Heavy>, SnapshotError> {
        let root = self.worktree.root()?;
        let mut heavy = Vec::new();
        let on_record = |record: &[u8]| {
            let Some(listed) = Listed::parse(record) else { return };
            match plain_size(&root, listed.path) {
                Some(size) if size != listed.size && !is_below_a_link(&root, listed.path) => {
                    let entry = Some((listed.mode.to_owned(), listed.id.to_owned()));
                    heavy.push(Heavy { path: listed.path.to_vec(), size, entry });
                }
                Some(_) | None => {}
            }
        };
        let command = self.command().args(["ls-tree", "-r", "-l", "-z", "--full-tree", commit.as_str()]);
        command.stdout(Stdout::Records(Box::new(on_record))).run_ok().await?;
        Ok(heavy)
    }

    /// Returns the paths that git-lfs stores.
    pub(super) async fn stored_by_lfs(&self, heavy: &[Heavy]) -> Result<BTreeSet<Vec<u8>>, RunProgramError> {
        let paths: Vec<u8> = heavy.iter().flat_map(|heavy| heavy.path.iter().copied().chain([0])).collect();
        let (mut fields, mut found) = (Vec::new(), BTreeSet::new());
        let on_record = |record: &[u8]| {
            fields.push(record.to_vec());
            if let [path, _, value] = fields.as_mut_slice() {
                if value == b"lfs" {
                    found.insert(std::mem::take(path));
                }
                fields.clear();
            }
        };
        let command = self.command().args(["check-attr", "-z", "--stdin", "filter"]).stdin(Stdin::Bytes(paths));
        command.stdout(Stdout::Records(Box::new(on_record))).run_ok().await?;
        Ok(found)
    }
}

/// Returns a pathspec that excludes a path, whatever characters it contains.
pub(super) fn excluded(path: &[u8]) -> Vec<u8> {
    [b":(exclude,literal)", path].concat()
}

/// Accepts the smallest files first, and returns those that are too large or no longer fit.
fn too_heavy(mut heavy: Vec<Heavy>, is_stored_by_lfs: impl Fn(&Vec<u8>) -> bool) -> Vec<Heavy> {
    heavy.sort_by(|one, other| (one.size, &one.path).cmp(&(other.size, &other.path)));
    let (mut plain, mut large) = (0_u64, 0_u64);
    heavy.retain(|heavy| {
        let (limits, sum) = if is_stored_by_lfs(&heavy.path) { (LARGE, &mut large) } else { (PLAIN, &mut plain) };
        let with = sum.saturating_add(heavy.size);
        let fits = heavy.size <= limits.file && with <= limits.total;
        if fits {
            *sum = with;
        }
        !fits
    });
    heavy
}

/// Writes notes about omitted files.
pub(super) fn notes(left_out: &[Heavy]) -> Vec<String> {
    let (changed, new): (Vec<_>, Vec<_>) = left_out.iter().partition(|heavy| heavy.entry.is_some());
    let limits =
        format!("a commit may contain files of up to {}, and {} in total", shown_size(PLAIN.file), shown_size(PLAIN.total));
    let mut notes = Vec::new();
    for (files, what) in [(new, "too large to commit"), (changed, "too large to commit, so the last version was kept")] {
        if files.is_empty() {
            continue;
        }
        let named: Vec<_> = files
            .iter()
            .rev()
            .take(NAMED_LIMIT)
            .map(|heavy| format!("`{}` ({})", plain_name(&heavy.path), shown_size(heavy.size)))
            .collect();
        let more = files.len().saturating_sub(NAMED_LIMIT);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        notes.push(format!("{what}: {}{more}; left in the worktree ({limits})", named.join(", ")));
    }
    notes
}

/// A line of `ls-tree -l`: `mode type id size TAB path`.
struct Listed<'r> {
    mode: &'r str,
    id: &'r str,
    size: u64,
    path: &'r [u8],
}

impl<'r> Listed<'r> {
    /// Returns `None` for anything but a file, e.g. a submodule.
    fn parse(record: &'r [u8]) -> Option<Self> {
        let tab = record.iter().position(|&byte| byte == b'\t')?;
        let mut fields = std::str::from_utf8(&record[..tab]).ok()?.split_ascii_whitespace();
        let (mode, _, id, size) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        Some(Self { mode, id, size: size.parse().ok()?, path: &record[tab + 1..] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heavy(path: &str, size: u64) -> Heavy {
        Heavy { path: path.as_bytes().to_vec(), size, entry: None }
    }

    #[test]
    fn what_is_too_large_or_past_the_total_is_left_out_and_the_lightest_are_taken_first() {
        let files = vec![heavy("c", 3 << 40), heavy("b", 500 << 20), heavy("a", 500 << 20), heavy("small", 1 << 20)];
        let left: Vec<_> = too_heavy(files.clone(), |_| false).into_iter().map(|heavy| heavy.path).collect();
        assert_eq!(left, [b"b", b"c"]);
        let left: Vec<_> = too_heavy(files, |path| path != b"small").into_iter().map(|heavy| heavy.path).collect();
        assert_eq!(left, [b"c"], "git-lfs files have higher limits");
    }

    #[test]
    fn sizes_are_read_from_a_listing() {
        let id = "a".repeat(40);
        let record = format!("100644 blob {id}    1234\ta\tb");
        let listed = Listed::parse(record.as_bytes()).expect("a file");
        assert_eq!((listed.mode, listed.id, listed.size, listed.path), ("100644", id.as_str(), 1234, &b"a\tb"[..]));
        assert!(Listed::parse(format!("160000 commit {id}       -\tsub").as_bytes()).is_none());
    }

    #[test]
    fn the_largest_are_named_first_and_only_some_of_them() {
        let files: Vec<_> = (0..30).map(|number| heavy(&number.to_string(), number << 40)).collect();
        let [note] = notes(&files).try_into().expect("one note");
        assert!(note.starts_with("too large to commit: `29` (29.0 TiB), `28`") && note.contains(" and 10 more;"), "{note}");
        assert!(notes(&[]).is_empty());
    }
}
