//! Creates diffs for display: the changed files of a page with their lines, whatever an agent committed.
//!
//! Sizes are checked first. Only files within the limits are compared, and all others are listed with the reason, so a single
//! file can never block the review of the rest. Attributes are ignored, because an agent's `.gitattributes` could hide a file
//! as binary. Invariant: the answer contains every file of a listing.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;

use durable::blocking;
use model::diff::{Diff, DiffStats, FileDiff, LineLimits, Omitted};
use model::ids::ObjectId;
use process::Stdout;
use tokio::sync::Semaphore;

use super::budget::{
    BINARY_BYTES, BINARY_FILE_BYTES, DIFF_CONTENT_BYTES, DIFF_LINES, FILE_BYTES, PAGE, PAGE_LINES, PAGE_MEMORY, PAGE_PATCH_BYTES,
    SMALL_FILE_BYTES,
};
use super::changed::{ChangedFile, Listing};
use super::diff::{Whitespace, names};
use super::diff_tree::DiffError;
use super::mirror::Mirror;

/// The maximum number of parallel diffs. Each may use all the memory that a single diff may use.
static AT_ONCE: Semaphore = Semaphore::const_new(4);

/// The maximum number of attempts to compare parts of a page if the whole page cannot be compared at once.
const ATTEMPTS: u32 = 32;

/// How to treat files that git considers binary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Binary {
    /// Show the lines of a file if it is mostly text. Git considers a script binary if it contains a single NUL.
    #[default]
    IfText,
    /// Show their lines.
    AsText,
}

/// Options of a diff.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Whether to show whitespace changes.
    pub whitespace: Whitespace,
    /// How to treat binary files.
    pub binary: Binary,
}

/// Two commits and the files that differ between them.
struct Comparison<'a> {
    mirror: &'a Mirror,
    from: &'a ObjectId,
    to: &'a ObjectId,
    listing: &'a Listing,
    reading: Reading,
}

impl Mirror {
    /// Compares some of the files of a listing. The result has the order of the listing.
    pub async fn compare(
        &self,
        (from, to): (&ObjectId, &ObjectId),
        listing: &Listing,
        part: Range<usize>,
        reading: Reading,
    ) -> Result<Diff, DiffError> {
        self.compare_within((from, to), listing, part, reading, PAGE_LINES).await
    }

    /// Compares all files that differ between two commits. Files beyond the limits are listed without lines.
    pub async fn compare_all(
        &self,
        from: &ObjectId,
        to: &ObjectId,
        whitespace: Whitespace,
    ) -> Result<(Listing, Diff), DiffError> {
        let listing = self.changed_files(from, to).await?;
        let reading = Reading { whitespace, ..Reading::default() };
        let (mut all, mut bytes, mut lines) = (Diff::default(), 0, DIFF_LINES);
        for part in listing.pages() {
            bytes += listing.files[part.clone()]
                .iter()
                .filter(|file| file.why_not(FILE_BYTES).is_none())
                .map(ChangedFile::bytes)
                .sum::<u64>();
            let diff = if bytes > DIFF_CONTENT_BYTES {
                let files = listing.files[part].iter().map(|file| file.without_lines(Omitted::TooManyLines)).collect();
                Diff { files, stats: DiffStats::default() }
            } else {
                let limits = LineLimits { per_file: lines, total: lines };
                self.compare_within((from, to), &listing, part, reading, limits).await?
            };
            lines -= diff.files.iter().flat_map(|file| &file.hunks).map(|hunk| hunk.lines.len()).sum::<usize>().min(lines);
            all.stats.additions += diff.stats.additions;
            all.stats.deletions += diff.stats.deletions;
            all.files.extend(diff.files);
        }
        all.stats.files = all.files.len() as u64;
        Ok((listing, all))
    }

    async fn compare_within(
        &self,
        (from, to): (&ObjectId, &ObjectId),
        listing: &Listing,
        part: Range<usize>,
        reading: Reading,
        lines: LineLimits,
    ) -> Result<Diff, DiffError> {
        let comparison = Comparison { mirror: self, from, to, listing, reading };
        let (mut diff, mut parts, mut attempts, mut lines) = (Diff::default(), vec![part], ATTEMPTS, lines);
        while let Some(part) = parts.pop() {
            let compared = match comparison.part(part.clone(), FILE_BYTES, lines).await {
                Err(DiffError::TooLarge { .. } | DiffError::TooMuchMemory | DiffError::TooSlow) => {
                    comparison.part(part.clone(), SMALL_FILE_BYTES, lines).await
                }
                other => other,
            };
            attempts -= 1;
            let compared = match compared {
                // A small file is expensive if it is stored as a delta of a large file. Compare smaller parts, so that the
                // other files are still shown.
                Err(DiffError::TooLarge { .. } | DiffError::TooMuchMemory) if part.len() > 1 && attempts > 0 => {
                    let middle = part.start + part.len() / 2;
                    parts.extend([middle..part.end, part.start..middle]);
                    continue;
                }
                Err(DiffError::TooLarge { .. } | DiffError::TooMuchMemory | DiffError::TooSlow) => {
                    let files = listing.files[part].iter().map(|file| file.without_lines(Omitted::NotCompared)).collect();
                    Diff { files, stats: DiffStats::default() }
                }
                other => other?,
            };
            let kept = compared.files.iter().flat_map(|file| &file.hunks).map(|hunk| hunk.lines.len()).sum();
            lines.total = lines.total.saturating_sub(kept);
            diff.stats.additions += compared.stats.additions;
            diff.stats.deletions += compared.stats.deletions;
            diff.files.extend(compared.files);
            if attempts == 0 {
                let rest = parts.drain(..).rev().flat_map(|part| &listing.files[part]);
                diff.files.extend(rest.map(|file| file.without_lines(Omitted::NotCompared)));
            }
        }
        diff.stats.files = diff.files.len() as u64;
        Ok(diff)
    }
}

impl Comparison<'_> {
    async fn part(&self, part: Range<usize>, limit: u64, lines: LineLimits) -> Result<Diff, DiffError> {
        let files = &self.listing.files[part];
        let (shown, named): (Vec<_>, Vec<_>) = files.iter().partition(|file| file.why_not(limit).is_none());
        let named = named.into_iter().map(|file| (file, file.why_not(limit).unwrap_or(Omitted::NotCompared)));
        let mut named: Vec<(&ChangedFile, Omitted)> = named.collect();
        let is_all = shown.len() == self.listing.files.len();
        let folders = if is_all { BTreeSet::new() } else { self.listing.folders() };
        let is_folder = |file: &&ChangedFile| names(file).any(|name| folders.contains(name));
        let (folders, shown): (Vec<_>, Vec<_>) = shown.into_iter().partition(is_folder);
        named.extend(folders.into_iter().map(|file| (file, Omitted::NotCompared)));
        let paths: Vec<&[u8]> = if is_all { vec![] } else { shown.iter().flat_map(|file| names(file)).collect() };
        let mut diff = if shown.is_empty() { Diff::default() } else { self.patch(&paths, &[], lines).await? };
        self.look_into_binary(&mut diff, limit, lines).await?;
        self.account_for(&mut diff, files, &named);
        self.mirror.note_files_on_disk(self.to, &mut diff).await;
        Ok(diff)
    }

    /// Returns the patch of some files, or of all files if `paths` is empty.
    async fn patch(&self, paths: &[&[u8]], options: &[&str], lines: LineLimits) -> Result<Diff, DiffError> {
        let format = ["-p", "--full-index", "--no-color", "--src-prefix=a/", "--dst-prefix=b/"];
        let command = self.mirror.diff_tree(self.from, "--find-renames", &format).args(options);
        let command = match self.reading.whitespace {
            Whitespace::Counts => command,
            Whitespace::Ignored => command.arg("--ignore-all-space"),
        };
        let command = command.args([self.from.as_str(), self.to.as_str(), "--"]).env("GIT_LITERAL_PATHSPECS", "1");
        let command = command.args(paths.iter().map(|path| OsStr::from_bytes(path)));
        let command = command.deadline(PAGE).memory(PAGE_MEMORY).stdout(Stdout::Capture { max: PAGE_PATCH_BYTES });
        let Ok(_turn) = AT_ONCE.acquire().await else { return Err(DiffError::TooSlow) };
        let patch = command.run_ok().await?.stdout;
        Ok(blocking(move || Diff::parse_within(&patch, lines)).await)
    }

    /// Compares binary files as text, because git considers a file with a NUL binary, but a shell still runs it.
    async fn look_into_binary(&self, diff: &mut Diff, limit: u64, lines: LineLimits) -> Result<(), DiffError> {
        let limit = match self.reading.binary {
            Binary::IfText => limit.min(BINARY_FILE_BYTES),
            Binary::AsText => limit,
        };
        let sizes: BTreeMap<_, _> = self.listing.files.iter().map(|file| (&file.path[..], file)).collect();
        let mut bytes = 0;
        let mut asked = BTreeMap::new();
        for (at, file) in diff.files.iter().enumerate().filter(|(_, file)| file.binary) {
            let path = file.path_bytes();
            let Some(changed) = sizes.get(&path[..]).filter(|changed| changed.why_not(limit).is_none()) else { continue };
            bytes += changed.bytes();
            if bytes > BINARY_BYTES {
                break;
            }
            asked.insert(path, at);
        }
        if asked.is_empty() {
            return Ok(());
        }
        let old_paths: Vec<_> = asked.values().filter_map(|at| diff.files[*at].old_path_bytes()).collect();
        let paths: Vec<&[u8]> = asked.keys().chain(&old_paths).map(Vec::as_slice).collect();
        for file in self.patch(&paths, &["--text"], lines).await?.files {
            let Some(at) = asked.get(&file.path_bytes()) else { continue };
            if self.reading.binary == Binary::AsText || !file.is_mostly_binary() {
                let binary = self.reading.binary == Binary::AsText && file.is_mostly_binary();
                diff.stats.additions += file.additions;
                diff.stats.deletions += file.deletions;
                diff.files[*at] = FileDiff { binary, ..file };
            }
        }
        Ok(())
    }

    /// Puts the files in the order of the listing, adds their sizes, and adds the files without lines.
    fn account_for(&self, diff: &mut Diff, files: &[ChangedFile], named: &[(&ChangedFile, Omitted)]) {
        let order: BTreeMap<_, _> =
            files.iter().enumerate().flat_map(|(at, file)| names(file).map(move |name| (name, at))).collect();
        // Git may have compared files of a folder that replaced a file on this page. Those files are on another page.
        diff.files.retain(|file| order.contains_key(&file.path_bytes()[..]));
        let there: BTreeSet<_> =
            diff.files.iter().flat_map(|file| [Some(file.path_bytes()), file.old_path_bytes()]).flatten().collect();
        let reasons: BTreeMap<_, _> = named.iter().map(|(file, omitted)| (&file.path[..], *omitted)).collect();
        for file in files.iter().filter(|file| !there.contains(&file.path)) {
            let omitted = reasons.get(&file.path[..]).copied().unwrap_or(match self.reading.whitespace {
                Whitespace::Ignored => Omitted::WhitespaceOnly,
                Whitespace::Counts => Omitted::NotCompared,
            });
            diff.files.push(file.without_lines(omitted));
        }
        for file in diff.files.iter_mut().filter(|file| file.omitted.is_none() || file.bytes.is_none()) {
            let changed = order.get(&file.path_bytes()[..]).map(|at| &files[*at]);
            file.bytes = changed.and_then(|changed| changed.new.as_ref().or(changed.old.as_ref())?.bytes);
        }
        diff.files.sort_by_key(|file| order.get(&file.path_bytes()[..]).copied());
        diff.stats.files = diff.files.len() as u64;
    }
}
