//! Selects what a run's commit leaves out and what it holds.
//!
//! Generated folders are omitted. Of the other files, everything within the limits is committed, and only the files beyond them are
//! held. Few new files in a folder come before many, so that a folder full of junk does not take the place of the work. Invariant: a
//! selection has at most [`LEFT_OUT_LIMIT`] paths, because git compares every file with each of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::generated::{GeneratedKind, generated, self_and_above};
use super::inventory::{FileState, FoundFile, Inventory};
use super::path_text::PathText;
use crate::untrusted::{COMMIT_LIMIT_BYTES, FILE_LIMIT_BYTES, LEFT_OUT_LIMIT, NEW_FILES_LIMIT};

/// The maximum total length of the paths in bytes. Git gets them as arguments.
const PATHS_LIMIT_BYTES: usize = 400_000;

/// What the commit of a run may add without asking. Changed files count towards the sizes, and files of Git LFS do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The maximum number of new files.
    pub files: u64,
    /// The maximum total size of new and changed files in bytes.
    pub bytes: u64,
    /// The maximum size of a new or changed file in bytes.
    pub file_bytes: u64,
}

impl Limits {
    /// The limits of every commit.
    pub const MOST: Self = Self { files: NEW_FILES_LIMIT, bytes: COMMIT_LIMIT_BYTES, file_bytes: FILE_LIMIT_BYTES };
}

/// What people decided about files of a task, and the limits of its repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choices {
    /// The limits.
    pub limits: Limits,
    /// Files that were placed in the worktree and contain secrets. They are never committed.
    #[serde(default)]
    pub placed: Vec<PathText>,
    /// Files and folders to commit in any case, except for placed files.
    #[serde(default)]
    pub commit: Vec<PathText>,
    /// Files and folders that are not committed.
    #[serde(default)]
    pub ignore: Vec<PathText>,
    /// Files and folders that wait for a decision.
    #[serde(default)]
    pub held: Vec<PathText>,
}

impl Default for Choices {
    fn default() -> Self {
        Self { limits: Limits::MOST, placed: vec![], commit: vec![], ignore: vec![], held: vec![] }
    }
}

/// Why files are omitted of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OmissionReason {
    /// A cache or a build folder, with a `CACHEDIR.TAG`, or the compiled files of Python.
    Cache,
    /// A virtual environment of Python.
    VirtualEnvironment,
    /// Packages that npm, pnpm or Yarn installed.
    Packages,
    /// The store of pnpm, from which it installs packages.
    PackageStore,
    /// Somebody decided to ignore the files.
    Ignored,
}

impl OmissionReason {
    /// Returns the reason in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::VirtualEnvironment => "virtual environment",
            Self::Packages => "installed packages",
            Self::PackageStore => "package store",
            Self::Ignored => "ignored",
        }
    }
}

impl From<GeneratedKind> for OmissionReason {
    fn from(kind: GeneratedKind) -> Self {
        match kind {
            GeneratedKind::Cache => Self::Cache,
            GeneratedKind::VirtualEnvironment => Self::VirtualEnvironment,
            GeneratedKind::Packages => Self::Packages,
            GeneratedKind::PackageStore => Self::PackageStore,
        }
    }
}

/// Files that a commit leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OmittedFiles {
    /// The path of the file, or of the folder with a slash at the end.
    #[schema(value_type = String)]
    pub path: PathText,
    /// Why the files are omitted.
    pub reason: OmissionReason,
    /// The number of files.
    pub files: u64,
    /// The total size of the files in bytes.
    pub bytes: u64,
}

/// Files that wait for a decision, because they are beyond the limits or contain a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HeldFiles {
    /// The path of the file, or of the folder with a slash at the end.
    #[schema(value_type = String)]
    pub path: PathText,
    /// The number of files.
    pub files: u64,
    /// The total size of the files in bytes.
    pub bytes: u64,
    /// Whether the file contains the value of a secret that was placed in a file of the worktree.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_secret: bool,
}

/// What a commit omits. It contains everything else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// The files that were placed in the worktree.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placed: Vec<PathText>,
    /// The files that are omitted.
    pub omitted: Vec<OmittedFiles>,
    /// The files that are held.
    pub held: Vec<HeldFiles>,
}

impl Selection {
    /// Returns the paths of everything that the commit omits.
    pub fn paths(&self) -> impl Iterator<Item = &PathText> {
        let omitted = self.omitted.iter().map(|files| &files.path).chain(self.held.iter().map(|held| &held.path));
        self.placed.iter().chain(omitted)
    }

    /// Returns the paths without slashes at the end, each followed by a NUL, as the export container reads them.
    pub fn as_list(&self) -> Vec<u8> {
        self.paths().flat_map(|path| [path.name(), b"\0".to_vec()].concat()).collect()
    }

    /// Whether the commit omits nothing.
    pub fn is_empty(&self) -> bool {
        self.placed.is_empty() && self.omitted.is_empty() && self.held.is_empty()
    }

    /// Returns the files of an inventory that the commit contains.
    pub fn committed<'i>(&self, inventory: &'i Inventory) -> Vec<&'i FoundFile> {
        let left_out: Vec<_> = self.paths().cloned().collect();
        let left_out = Paths::new(&left_out);
        inventory.files.iter().filter(|file| left_out.covering(&file.path).is_none()).collect()
    }
}

/// Why nothing can be selected: the files beyond the limits are in too many places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{files} new files in too many folders")]
pub struct TooManyFiles {
    /// The number of files beyond the limits.
    pub files: u64,
}

/// Selects what a commit omits.
pub fn select(inventory: &Inventory, choices: &Choices) -> Result<Selection, TooManyFiles> {
    let [placed, commit, ignore, held] =
        [&choices.placed, &choices.commit, &choices.ignore, &choices.held].map(|paths| Paths::new(paths));
    let generated: BTreeMap<_, _> =
        generated(inventory).into_iter().filter(|(folder, _)| !commit.touches(folder)).take(LEFT_OUT_LIMIT).collect();
    let mut omitted: BTreeMap<(FileFate, PathText), Sum> = BTreeMap::new();
    let mut open = Vec::new();
    for file in &inventory.files {
        let place = if let Some(path) = placed.covering(&file.path) {
            (FileFate::Placed, path.clone())
        } else if commit.covering(&file.path).is_some() {
            continue;
        } else if let Some(path) = ignore.covering(&file.path) {
            (FileFate::Omitted(OmissionReason::Ignored), path.clone())
        } else if let Some(path) = held.covering(&file.path) {
            (FileFate::Held, path.clone())
        } else if let Some((folder, kind)) = self_and_above(&file.path).find_map(|above| generated.get_key_value(above)) {
            (FileFate::Omitted((*kind).into()), folder_text(folder))
        } else if inventory.with_secrets.contains(&file.path) {
            (FileFate::HasSecret, PathText::new(&file.path))
        } else {
            open.push(file);
            continue;
        };
        omitted.entry(place).or_default().add(file);
    }
    let with_secrets = omitted.keys().filter(|(fate, _)| *fate == FileFate::HasSecret).count();
    if with_secrets > 0 && omitted.len() > LEFT_OUT_LIMIT {
        return Err(TooManyFiles { files: with_secrets as u64 });
    }
    let room = Room {
        paths: LEFT_OUT_LIMIT.saturating_sub(omitted.len()),
        bytes: PATHS_LIMIT_BYTES.saturating_sub(omitted.keys().map(|(_, path)| path.as_str().len()).sum()),
    };
    for (path, sum) in beyond_limits(&open, inventory, choices.limits, room)? {
        omitted.insert((FileFate::Held, path), sum);
    }
    let mut selection = Selection::default();
    for ((place, path), Sum { files, bytes }) in omitted {
        match place {
            FileFate::Omitted(reason) => selection.omitted.push(OmittedFiles { path, reason, files, bytes }),
            FileFate::Placed => selection.placed.push(path),
            FileFate::Held => selection.held.push(HeldFiles { path, files, bytes, has_secret: false }),
            FileFate::HasSecret => selection.held.push(HeldFiles { path, files, bytes, has_secret: true }),
        }
    }
    Ok(selection)
}

/// Where a file goes that is not committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum FileFate {
    Placed,
    Omitted(OmissionReason),
    Held,
    HasSecret,
}

/// How many further paths a selection may have.
#[derive(Debug, Clone, Copy)]
struct Room {
    paths: usize,
    bytes: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    files: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, file: &FoundFile) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(file.size);
    }
}

/// Chosen files and folders, by their paths without a slash at the end.
struct Paths<'p>(BTreeMap<Vec<u8>, &'p PathText>);

impl<'p> Paths<'p> {
    fn new(paths: &'p [PathText]) -> Self {
        Self(paths.iter().map(|path| (path.name(), path)).collect())
    }

    /// Returns the chosen path that is this path, or that contains it.
    fn covering(&self, path: &[u8]) -> Option<&'p PathText> {
        self_and_above(path).find_map(|above| self.0.get(above).filter(|chosen| chosen.covers(path)).copied())
    }

    /// Whether a chosen path is this folder, contains it, or is below it.
    fn touches(&self, folder: &[u8]) -> bool {
        let below = [folder, b"/"].concat();
        self.covering(folder).is_some() || self.0.range(below.clone()..).next().is_some_and(|(next, _)| next.starts_with(&below))
    }
}

fn folder_text(folder: &[u8]) -> PathText {
    PathText::new(&[folder, b"/"].concat())
}

/// Returns the files beyond the limits: their paths, or the paths of folders if all new files in them are held.
fn beyond_limits(
    open: &[&FoundFile],
    inventory: &Inventory,
    limits: Limits,
    room: Room,
) -> Result<BTreeMap<PathText, Sum>, TooManyFiles> {
    // Larger files cannot be committed at all, so there is nothing to decide. Git LFS has its own limits.
    let counts = |file: &&&FoundFile| file.state != FileState::Large && file.size <= FILE_LIMIT_BYTES;
    let files: Vec<&FoundFile> = open.iter().filter(counts).copied().collect();
    let new: BTreeSet<&[u8]> = inventory.new_folders.iter().map(Vec::as_slice).collect();
    let group_of = |file: &FoundFile| self_and_above(&file.path).skip(1).find(|above| new.contains(above)).map(<[u8]>::to_vec);
    let mut groups: BTreeMap<Vec<u8>, Vec<&FoundFile>> = BTreeMap::new();
    for file in &files {
        groups.entry(group_of(file).unwrap_or_else(|| file.path.clone())).or_default().push(file);
    }
    let mut order: Vec<_> = groups.iter_mut().collect();
    for (_, group) in &mut order {
        group.sort_by(|one, other| (one.size, &one.path).cmp(&(other.size, &other.path)));
    }
    let is_new = |group: &[&FoundFile]| group.iter().any(|file| file.state == FileState::New);
    // Changes of existing files come first, then small groups of new files.
    order.sort_by_cached_key(|(name, group)| {
        (is_new(group), group.len(), group.iter().fold(0_u64, |sum, file| sum.saturating_add(file.size)), (*name).clone())
    });
    let mut taken = Sum::default();
    let mut held: BTreeMap<Vec<u8>, Vec<&FoundFile>> = BTreeMap::new();
    for (name, group) in order {
        let mut beyond = Vec::new();
        for &file in group.iter() {
            let count = taken.files + u64::from(file.state == FileState::New);
            let bytes = taken.bytes.saturating_add(file.size);
            if file.size <= limits.file_bytes && bytes <= limits.bytes && count <= limits.files {
                taken = Sum { files: count, bytes };
            } else {
                beyond.push(file);
            }
        }
        if beyond.len() == group.len() && is_folder(name, group) {
            held.insert([name.as_slice(), b"/"].concat(), beyond);
        } else {
            held.extend(beyond.into_iter().map(|file| (file.path.clone(), vec![file])));
        }
    }
    let files = if room.fits(held.keys()) { held } else { by_folder(&held, &files, &new, room)? };
    let sum_of = |files: Vec<&FoundFile>| {
        files.into_iter().fold(Sum::default(), |mut sum, file| {
            sum.add(file);
            sum
        })
    };
    Ok(files.into_iter().map(|(path, files)| (PathText::new(&path), sum_of(files))).collect())
}

fn is_folder(name: &[u8], group: &[&FoundFile]) -> bool {
    group.iter().all(|file| file.path.len() > name.len())
}

impl Room {
    fn fits<'p>(self, mut paths: impl ExactSizeIterator<Item = &'p Vec<u8>>) -> bool {
        paths.len() <= self.paths
            && paths.try_fold(0, |sum: usize, path| Some(sum + path.len()).filter(|&sum| sum <= self.bytes)).is_some()
    }
}

/// Holds whole folders if single files would be too many paths: first the new folders of the held files, then the folders above.
fn by_folder<'f>(
    held: &BTreeMap<Vec<u8>, Vec<&'f FoundFile>>,
    files: &[&'f FoundFile],
    new: &BTreeSet<&[u8]>,
    room: Room,
) -> Result<BTreeMap<Vec<u8>, Vec<&'f FoundFile>>, TooManyFiles> {
    let parent = |path: &[u8]| path.iter().rposition(|&byte| byte == b'/').map(|end| path[..end].to_vec());
    let name = |path: &[u8]| path.strip_suffix(b"/").unwrap_or(path).to_vec();
    let mut folders: BTreeSet<Vec<u8>> = BTreeSet::new();
    let too_many = || TooManyFiles { files: held.values().map(|files| files.len() as u64).sum() };
    for path in held.keys() {
        let path = name(path);
        let outermost = self_and_above(&path).find(|above| new.contains(above)).map(<[u8]>::to_vec);
        folders.insert(outermost.or_else(|| parent(&path)).ok_or_else(too_many)?);
    }
    loop {
        let outermost = |folder: &Vec<u8>| !self_and_above(folder).skip(1).any(|above| folders.contains(above));
        let kept: BTreeSet<Vec<u8>> = folders.iter().filter(|folder| outermost(folder)).cloned().collect();
        if room.fits(kept.iter()) {
            folders = kept;
            break;
        }
        folders = kept.iter().map(|folder| parent(folder).ok_or_else(too_many)).collect::<Result<_, _>>()?;
    }
    let mut all: BTreeMap<Vec<u8>, Vec<&FoundFile>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.state == FileState::New) {
        if let Some(folder) = self_and_above(&file.path).skip(1).find(|above| folders.contains(*above)) {
            all.entry([folder, b"/"].concat()).or_default().push(file);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::super::inventory::Marker;
    use super::*;

    fn file(path: &str, size: u64, state: FileState) -> FoundFile {
        FoundFile { path: path.as_bytes().to_vec(), size, state }
    }

    fn new_files(paths: impl IntoIterator<Item = String>) -> Vec<FoundFile> {
        paths.into_iter().map(|path| file(&path, 10, FileState::New)).collect()
    }

    fn inventory(folders: &[&str], files: Vec<FoundFile>) -> Inventory {
        let new_folders = folders.iter().map(|folder| folder.as_bytes().to_vec()).collect();
        Inventory { files, new_folders, ..Inventory::default() }
    }

    fn paths(texts: &[&str]) -> Vec<PathText> {
        texts.iter().map(|text| PathText::parse(text).expect("the path is valid")).collect()
    }

    fn limits(files: u64, bytes: u64, file_bytes: u64) -> Choices {
        Choices { limits: Limits { files, bytes, file_bytes }, ..Choices::default() }
    }

    #[track_caller]
    fn held(inventory: &Inventory, choices: &Choices) -> Vec<(String, u64)> {
        let selection = select(inventory, choices).expect("the paths fit");
        selection.held.into_iter().map(|held| (held.path.to_string(), held.files)).collect()
    }

    fn owned(expect: &[(&str, u64)]) -> Vec<(String, u64)> {
        expect.iter().map(|&(path, files)| (path.to_owned(), files)).collect()
    }

    #[test]
    fn everything_within_the_limits_is_committed() {
        let found = inventory(&["new"], vec![file("a", 10, FileState::Changed), file("new/b", 10, FileState::New)]);
        assert_eq!(select(&found, &limits(1, 20, 10)), Ok(Selection::default()));
        assert_eq!(select(&Inventory::default(), &limits(0, 0, 0)), Ok(Selection::default()));
    }

    #[test]
    fn only_the_files_beyond_the_limits_are_held() {
        let found = inventory(&[], new_files((0..5).map(|number| format!("f{number}"))));
        assert_eq!(held(&found, &limits(3, 1000, 100)), owned(&[("f3", 1), ("f4", 1)]));
        assert_eq!(held(&found, &limits(10, 35, 100)), owned(&[("f3", 1), ("f4", 1)]));
        let large = inventory(&[], vec![file("big", 200, FileState::New), file("small", 1, FileState::New)]);
        assert_eq!(held(&large, &limits(10, 1000, 100)), owned(&[("big", 1)]));
        let changed = inventory(&[], vec![file("big", 200, FileState::Changed), file("small", 1, FileState::New)]);
        assert_eq!(held(&changed, &limits(10, 1000, 100)), owned(&[("big", 1)]));
    }

    #[test]
    fn few_files_come_before_a_folder_full_of_them() {
        let mut files = new_files((0..50).map(|number| format!("junk/{number:02}")));
        files.extend([file("work.rs", 500, FileState::New), file("src/more.rs", 600, FileState::New)]);
        let found = inventory(&["junk"], files.clone());
        let held_files = held(&found, &limits(2, 10_000, 1000));
        assert_eq!(held_files, owned(&[("junk/", 50)]));
        let held_files = held(&found, &limits(50, 10_000, 1000));
        assert_eq!(held_files, owned(&[("junk/48", 1), ("junk/49", 1)]), "everything within the limit is committed");
    }

    #[test]
    fn changes_of_existing_files_come_first() {
        let found = inventory(&[], vec![file("a", 60, FileState::New), file("b", 60, FileState::Changed)]);
        assert_eq!(held(&found, &limits(10, 100, 100)), owned(&[("a", 1)]));
    }

    #[test]
    fn large_files_of_git_lfs_and_files_that_no_commit_may_contain_are_not_held() {
        let found = inventory(&[], vec![file("lfs", 1 << 30, FileState::Large), file("huge", 3 << 40, FileState::New)]);
        assert_eq!(held(&found, &limits(1, 10, 10)), []);
    }

    #[test]
    fn more_files_than_a_selection_can_name_are_held_by_folder() {
        let found = inventory(&["junk"], new_files((0..5000).map(|number| format!("junk/{number}"))));
        assert_eq!(held(&found, &limits(2000, 1 << 30, 100)), owned(&[("junk/", 5000)]));
        let among = inventory(&[], new_files((0..5000).map(|number| format!("data/{}/{number}", number % 2))));
        assert_eq!(held(&among, &limits(2000, 1 << 30, 100)), owned(&[("data/0/", 2500), ("data/1/", 2500)]));
        let spread = inventory(&[], new_files((0..5000).map(|number| format!("data/{number}/x"))));
        assert_eq!(held(&spread, &limits(2000, 1 << 30, 100)), owned(&[("data/", 5000)]));
        let at_root = inventory(&[], new_files((0..5000).map(|number| number.to_string())));
        assert_eq!(select(&at_root, &limits(2000, 1 << 30, 100)), Err(TooManyFiles { files: 3000 }));
    }

    #[test]
    fn a_placed_file_is_never_committed_and_a_file_with_its_secret_is_held() {
        let files = new_files([".env", "copy", "config/.env", "work"].map(str::to_owned));
        let secret = BTreeSet::from([b"copy".to_vec()]);
        let found = Inventory { with_secrets: secret, ..inventory(&["config"], files) };
        let choices = Choices { placed: paths(&[".env", "config/.env"]), ..limits(10, 100, 100) };
        let chosen = |choices: &Choices| {
            let selection = select(&found, choices).expect("the paths fit");
            let held = selection.held.iter().map(|held| (held.path.to_string(), held.has_secret)).collect::<Vec<_>>();
            let committed =
                selection.committed(&found).iter().map(|file| PathText::new(&file.path).to_string()).collect::<Vec<_>>();
            (selection.placed.iter().map(ToString::to_string).collect::<Vec<_>>(), held, committed)
        };
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let placed = texts(&[".env", "config/.env"]);
        assert_eq!(chosen(&choices), (placed.clone(), vec![("copy".to_owned(), true)], texts(&["work"])));
        let all = Choices { commit: paths(&["copy", "config/", ".env"]), ..choices.clone() };
        assert_eq!(chosen(&all), (placed.clone(), vec![], texts(&["copy", "work"])), "somebody decided about the copy");
        let ignored = Choices { ignore: paths(&["copy"]), ..choices };
        assert_eq!(chosen(&ignored), (placed, vec![], texts(&["work"])));
    }

    #[test]
    fn decisions_come_before_every_rule() {
        let tag = b"Signature: 8a477f597d28d172789f06886806bc55".to_vec();
        let files = new_files(["cache/CACHEDIR.TAG", "cache/a", "big/x", "big/y", "one", "two"].map(str::to_owned));
        let found = Inventory {
            markers: vec![Marker { path: b"cache/CACHEDIR.TAG".to_vec(), content: tag }],
            ..inventory(&["cache", "big"], files)
        };
        let chosen = |choices: &Choices| {
            let selection = select(&found, choices).expect("the paths fit");
            let left: Vec<_> = selection.omitted.iter().map(|it| (it.path.to_string(), it.reason, it.files, it.bytes)).collect();
            (left, selection.held.iter().map(|held| held.path.to_string()).collect::<Vec<_>>())
        };
        let cache = |reason| ("cache/".to_owned(), reason, 2, 20);
        assert_eq!(chosen(&limits(10, 100, 100)), (vec![cache(OmissionReason::Cache)], vec![]));
        let commit = Choices { commit: paths(&["cache/"]), ..limits(0, 0, 0) };
        assert_eq!(chosen(&commit).0, [], "what somebody wants to commit needs no room");
        assert_eq!(chosen(&Choices { commit: paths(&["cache/a"]), ..limits(10, 100, 100) }).0, []);
        let ignore = Choices {
            ignore: paths(&["cache/", "one", "gone"]),
            held: paths(&["big/", "two", "gone too"]),
            ..limits(10, 100, 100)
        };
        let ignored = ("one".to_owned(), OmissionReason::Ignored, 1, 10);
        assert_eq!(chosen(&ignore), (vec![cache(OmissionReason::Ignored), ignored], vec!["big/".to_owned(), "two".to_owned()]));
    }
}
