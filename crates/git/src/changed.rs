//! Lists the files that differ between two commits with their sizes, before any content is read.
//!
//! Only trees and object headers are read, so this is cheap however large the files are. Renames are found only if the content
//! is unchanged. Invariant: every file that differs is listed, with its name byte for byte.

use std::collections::BTreeSet;
use std::ops::Range;

use durable::blocking;
use model::diff::{FileDiff, FileStatus, Omitted};
use model::ids::ObjectId;
use process::{RunProgramError, Stdin, Stdout};

use super::budget::{FILE_BYTES, LISTING_BYTES, NAME_BYTES, PAGE, PAGE_CONTENT_BYTES, PAGE_FILES, PAGE_MEMORY, PAGE_NAME_BYTES};
use super::diff_tree::DiffError;
use super::mirror::Mirror;
use super::program::{GitDir, answer};

/// The content of a file before or after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The object ID, or the commit ID for a submodule.
    pub id: ObjectId,
    /// The mode, as git writes it.
    pub mode: String,
    /// The size in bytes, or `None` for a missing object or a submodule.
    pub bytes: Option<u64>,
}

impl Content {
    /// Whether this is a regular file, not a link or a submodule.
    pub fn is_file(&self) -> bool {
        self.mode.starts_with("100")
    }

    fn is_submodule(&self) -> bool {
        self.mode == "160000"
    }
}

/// A file that differs between two commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedFile {
    /// The path, or the old path if the file was deleted.
    pub path: Vec<u8>,
    /// The old path, if the file was renamed.
    pub old_path: Option<Vec<u8>>,
    /// The content before, or `None` if the file is new.
    pub old: Option<Content>,
    /// The content after, or `None` if the file was deleted.
    pub new: Option<Content>,
}

impl ChangedFile {
    /// Parses `--raw -z`: `:mode mode id id status NUL path NUL`, with a second path for a rename.
    fn parse(listing: &[u8]) -> Vec<Self> {
        let mut pieces = listing.split(|byte| *byte == 0);
        let mut found = vec![];
        while let Some(piece) = pieces.next() {
            let Ok(text) = std::str::from_utf8(piece) else { continue };
            let fields: Vec<_> = text.trim_start_matches(':').split(' ').collect();
            let &[old_mode, new_mode, old, new, status] = &fields[..] else { continue };
            let mut path = pieces.next().unwrap_or_default().to_vec();
            let mut old_path = None;
            if status.starts_with(['R', 'C']) {
                old_path = Some(path);
                path = pieces.next().unwrap_or_default().to_vec();
            }
            let content = |mode: &str, id: &str| {
                let id = id.parse().ok().filter(|_| mode != "000000")?;
                Some(Content { id, mode: mode.to_owned(), bytes: None })
            };
            found.push(Self { path, old_path, old: content(old_mode, old), new: content(new_mode, new) });
        }
        found
    }

    fn contents(&self) -> impl Iterator<Item = &Content> {
        self.old.iter().chain(&self.new)
    }

    /// Returns the total size of both contents in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.contents().filter_map(|content| content.bytes).fold(0, u64::saturating_add)
    }

    pub(super) fn name_bytes(&self) -> usize {
        self.path.len() + self.old_path.as_ref().map_or(0, Vec::len)
    }

    /// Returns why the file cannot be compared within `limit`, or `None` if it can.
    pub(super) fn why_not(&self, limit: u64) -> Option<Omitted> {
        let sizes = || self.contents().filter(|content| !content.is_submodule()).map(|content| content.bytes);
        if sizes().any(|bytes| bytes.is_none()) || self.name_bytes() > NAME_BYTES {
            Some(Omitted::NotCompared)
        } else {
            sizes().flatten().any(|bytes| bytes > limit).then_some(Omitted::TooLarge)
        }
    }

    /// Returns the file without its lines.
    pub(super) fn without_lines(&self, omitted: Omitted) -> FileDiff {
        let kind = |content: &Content| content.mode.get(..3).map(str::to_owned);
        let status = match (&self.old, &self.new) {
            (None, _) => FileStatus::Added,
            (_, None) => FileStatus::Deleted,
            (Some(_), Some(_)) if self.old_path.is_some() => FileStatus::Renamed,
            (Some(old), Some(new)) if kind(old) != kind(new) => FileStatus::TypeChanged,
            (Some(old), Some(new)) if old.id == new.id => FileStatus::ModeChanged,
            (Some(_), Some(_)) => FileStatus::Modified,
        };
        let old_path = self.old.as_ref().map(|_| self.old_path.as_deref().unwrap_or(&self.path));
        let mode = |content: &Option<Content>| content.as_ref().map(|content| content.mode.clone());
        FileDiff {
            old_mode: mode(&self.old),
            new_mode: mode(&self.new),
            // Show the larger size, because it is the one that can exceed a limit.
            bytes: self.contents().filter_map(|content| content.bytes).max(),
            ..FileDiff::without_lines(status, old_path, self.new.as_ref().map(|_| &self.path[..]), omitted)
        }
    }
}

/// All files that differ between two commits, in git's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The files.
    pub files: Vec<ChangedFile>,
}

impl Listing {
    /// Splits the files into pages that can each be compared and shown at once.
    pub fn pages(&self) -> Vec<Range<usize>> {
        let mut pages: Vec<Range<usize>> = vec![];
        let (mut names, mut bytes) = (0, 0);
        for (at, file) in self.files.iter().enumerate() {
            let content = if file.why_not(FILE_BYTES).is_none() { file.bytes() } else { 0 };
            let name = file.name_bytes().min(NAME_BYTES);
            let fits = |page: &Range<usize>| {
                page.len() < PAGE_FILES && names + name <= PAGE_NAME_BYTES && bytes + content <= PAGE_CONTENT_BYTES
            };
            if let Some(page) = pages.last_mut().filter(|page| fits(page)) {
                page.end = at + 1;
                (names, bytes) = (names + name, bytes + content);
            } else {
                pages.push(at..at + 1);
                (names, bytes) = (name, content);
            }
        }
        pages
    }

    /// Returns the paths that changed from a file to a folder, or the reverse. Git interprets such a path as everything in the
    /// folder.
    pub(super) fn folders(&self) -> BTreeSet<&[u8]> {
        let paths: BTreeSet<&[u8]> =
            self.files.iter().flat_map(|file| [Some(&file.path), file.old_path.as_ref()]).flatten().map(Vec::as_slice).collect();
        let is_folder = |path: &&&[u8]| {
            let below = [path, &b"/"[..]].concat();
            paths.range(below.as_slice()..).next().is_some_and(|next| next.starts_with(&below))
        };
        paths.iter().filter(is_folder).copied().collect()
    }
}

impl Mirror {
    /// Lists the files that differ between two commits, with their sizes.
    pub async fn changed_files(&self, from: &ObjectId, to: &ObjectId) -> Result<Listing, DiffError> {
        let command = self.diff_tree(from, "--find-renames=100%", &["--raw", "-z", "--no-abbrev"]);
        let command = command.args([from.as_str(), to.as_str(), "--"]).deadline(PAGE).memory(PAGE_MEMORY);
        let listing = command.stdout(Stdout::Capture { max: LISTING_BYTES }).run_ok().await?;
        let mut files = blocking(move || ChangedFile::parse(&listing.stdout)).await;
        let mut contents: Vec<_> = files.iter_mut().flat_map(|file| [&mut file.old, &mut file.new]).flatten().collect();
        contents.retain(|content| !content.is_submodule());
        let ids: BTreeSet<_> = contents.iter().map(|content| content.id.clone()).collect();
        let ids: Vec<_> = ids.into_iter().collect();
        let sizes = self.content_sizes(&ids).await?;
        for content in contents {
            content.bytes = ids.binary_search(&content.id).ok().and_then(|at| sizes.get(at).copied().flatten());
        }
        Ok(Listing { files })
    }

    /// Returns the sizes of these contents in the same order, with `None` for missing ones.
    pub async fn content_sizes(&self, contents: &[ObjectId]) -> Result<Vec<Option<u64>>, RunProgramError> {
        if contents.is_empty() {
            return Ok(vec![]);
        }
        let asked = contents.iter().map(ObjectId::as_str).collect::<Vec<_>>().join("\n") + "\n";
        let command = self.git().command(GitDir::Mirror(self.path())).args(["cat-file", "--batch-check=%(objectsize)"]);
        let command = command.deadline(PAGE).memory(PAGE_MEMORY);
        let sizes = answer(command.stdin(Stdin::Bytes(asked.into_bytes()))).await?;
        Ok(sizes.lines().map(|line| line.parse().ok()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, bytes: u64) -> ChangedFile {
        let content = Content { id: "a".repeat(40).parse().expect("an id"), mode: "100644".to_owned(), bytes: Some(bytes) };
        ChangedFile { path: path.as_bytes().to_vec(), old_path: None, old: None, new: Some(content) }
    }

    #[test]
    fn a_listing_is_read_with_renames_links_and_submodules() {
        let (a, b, none) = ("a".repeat(40), "b".repeat(40), "0".repeat(40));
        let listing = format!(
            ":100644 100755 {a} {b} M\0one\0:000000 100644 {none} {b} A\0two\0:100644 100644 {a} {a} R100\0old\0new\0\
             :120000 100644 {a} {b} T\0link\0:160000 160000 {a} {b} M\0sub\0:100644 000000 {a} {none} D\0:gone\0"
        );
        let files = ChangedFile::parse(listing.as_bytes());
        let told = |file: &ChangedFile| {
            let id = |content: &Option<Content>| content.as_ref().map_or("-", |content| &content.id.as_str()[..1]).to_owned();
            let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
            let status = file.without_lines(Omitted::TooLarge).status;
            format!("{} {:?} {}{} {status:?}", text(&file.path), file.old_path.as_deref().map(text), id(&file.old), id(&file.new))
        };
        assert_eq!(
            files.iter().map(told).collect::<Vec<_>>(),
            [
                "one None ab Modified",
                "two None -b Added",
                "new Some(\"old\") aa Renamed",
                "link None ab TypeChanged",
                "sub None ab Modified",
                ":gone None a- Deleted"
            ]
        );
    }

    #[test]
    fn pages_are_bounded_by_files_content_and_names() {
        let pages = |files: Vec<ChangedFile>| Listing { files }.pages();
        assert!(pages(vec![]).is_empty());
        assert_eq!(pages((0..1001).map(|n| file(&n.to_string(), 1)).collect()), [0..500, 500..1000, 1000..1001]);
        assert_eq!(pages((0..10).map(|n| file(&n.to_string(), 4 << 20)).collect()), [0..4, 4..8, 8..10]);
        let not_compared = pages((0..10).map(|n| file(&n.to_string(), 3 << 40)).collect());
        assert_eq!(not_compared.len(), 1, "files that are not compared do not count toward a page's size");
        assert_eq!(pages((0..10).map(|n| file(&format!("{n}{}", "x".repeat(30_000)), 1)).collect()), [0..4, 4..8, 8..10]);
    }

    #[test]
    fn a_file_that_became_a_folder_is_known() {
        let listing = Listing { files: ["a", "a-b", "a/b", "c/d", "c/d/e", "f"].map(|path| file(path, 1)).to_vec() };
        assert_eq!(listing.folders().into_iter().collect::<Vec<_>>(), [&b"a"[..], b"c/d"]);
    }
}
