//! Recognizes folders that programs generated: caches, virtual environments, installed packages and package stores.
//!
//! A folder's name proves nothing, because people choose names. Only the content of a file that the program writes does, or a layout
//! that nobody creates by hand. Invariant: a folder that contains a file of the commit is never recognized.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::inventory::{FileState, Inventory, Marker};

/// The number of bytes that are read from the start of a marker. No program writes its proof further down.
pub const MARKER_START_BYTES: usize = 16 << 10;

/// The names of the files that may prove what their folders are.
pub const MARKER_NAMES: [&str; 6] =
    ["CACHEDIR.TAG", "pyvenv.cfg", ".modules.yaml", ".package-lock.json", ".yarn-integrity", ".yarn-state.yml"];

/// An extended regular expression for a file in a pnpm store, which is named after the SHA-512 hash of its content.
pub const STORED_FILE_PATTERN: &str = "(^|/)files/[0-9a-f]{2}/[0-9a-f]{126}(-exec|-index\\.json)?$";

/// An extended regular expression for a file that Python compiled.
pub const COMPILED_FILE_PATTERN: &str = "(^|/)__pycache__/[^/]+\\.pyc$";

/// The name of the folders in which Python stores compiled files.
const COMPILED_FOLDER: &[u8] = b"__pycache__";

/// The end of the four bytes with which every compiled file of Python starts. See `importlib.util.MAGIC_NUMBER`.
const COMPILED_MAGIC: &[u8] = b"\r\n";

/// The length of the names in a pnpm store, after the two digits that name the folder.
const STORED_NAME_DIGITS: usize = 126;

/// What generated a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GeneratedKind {
    /// A cache or a build folder, with a `CACHEDIR.TAG`, or the compiled files of Python.
    Cache,
    /// A virtual environment of Python.
    VirtualEnvironment,
    /// Packages that npm, pnpm or Yarn installed.
    Packages,
    /// The store of pnpm, from which it installs packages.
    PackageStore,
}

/// What a marker must contain, apart from its name.
enum Proof {
    /// The file starts with this text.
    Start(&'static str),
    /// For each of these texts, a line starts with it, apart from spaces.
    Lines(&'static [&'static str]),
}

/// The proofs, by the name of the marker.
const PROOFS: [(&str, Proof, GeneratedKind); 6] = [
    // See https://bford.info/cachedir/: the signature is the MD5 hash of `.IsCacheDirectory`.
    (MARKER_NAMES[0], Proof::Start("Signature: 8a477f597d28d172789f06886806bc55"), GeneratedKind::Cache),
    (MARKER_NAMES[1], Proof::Lines(&["home = ", "include-system-site-packages = "]), GeneratedKind::VirtualEnvironment),
    // pnpm writes YAML or JSON, depending on its version.
    (MARKER_NAMES[2], Proof::Lines(&["layoutVersion: |\"layoutVersion\": "]), GeneratedKind::Packages),
    (MARKER_NAMES[3], Proof::Lines(&["\"lockfileVersion\": ", "\"packages\": "]), GeneratedKind::Packages),
    (MARKER_NAMES[4], Proof::Lines(&["\"systemParams\": ", "\"lockfileEntries\": "]), GeneratedKind::Packages),
    (MARKER_NAMES[5], Proof::Lines(&["__metadata:"]), GeneratedKind::Packages),
];

/// Returns the outermost generated folders, without a slash at the end.
pub(super) fn generated(inventory: &Inventory) -> BTreeMap<Vec<u8>, GeneratedKind> {
    let proven = inventory.markers.iter().filter_map(proven_by);
    let mut found: BTreeMap<_, _> = proven.chain(stores(inventory)).chain(compiled(inventory)).collect();
    let new: BTreeSet<&[u8]> = inventory.new_folders.iter().map(Vec::as_slice).collect();
    found.retain(|folder, _| !folder.is_empty() && self_and_above(folder).any(|above| new.contains(above)));
    let all: BTreeSet<Vec<u8>> = found.keys().cloned().collect();
    found.retain(|folder, _| !self_and_above(folder).skip(1).any(|above| all.contains(above)));
    found
}

/// Returns a path and all folders that contain it, from the inside out, without the root.
pub fn self_and_above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(path), |path| path.iter().rposition(|&byte| byte == b'/').map(|end| &path[..end]))
}

/// Returns the folder that a marker proves to be generated.
fn proven_by(marker: &Marker) -> Option<(Vec<u8>, GeneratedKind)> {
    let slash = marker.path.iter().rposition(|&byte| byte == b'/')?;
    let (folder, name) = (&marker.path[..slash], &marker.path[slash + 1..]);
    let (_, proof, kind) = PROOFS.iter().find(|(known, ..)| known.as_bytes() == name)?;
    let start = &marker.content[..marker.content.len().min(MARKER_START_BYTES)];
    let is_proven = match proof {
        Proof::Start(text) => start.starts_with(text.as_bytes()),
        Proof::Lines(texts) => texts.iter().all(|text| has_line(start, text)),
    };
    is_proven.then(|| (folder.to_vec(), *kind))
}

/// Whether a line starts with one of the texts, which are separated by `|`.
fn has_line(content: &[u8], texts: &str) -> bool {
    let mut lines = content.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_start);
    lines.any(|line| texts.split('|').any(|text| line.starts_with(text.as_bytes())))
}

/// Returns the folders that are pnpm stores: all of their files are named after hashes.
fn stores(inventory: &Inventory) -> impl Iterator<Item = (Vec<u8>, GeneratedKind)> {
    let mut is_store: BTreeMap<&[u8], bool> = BTreeMap::new();
    for file in inventory.files.iter().filter(|file| file.state == FileState::New) {
        let Some((folder, rest)) = below_files(&file.path) else { continue };
        *is_store.entry(folder).or_insert(true) &= is_stored_file(rest);
    }
    let found: Vec<_> = is_store.into_iter().filter(|(_, is_store)| *is_store).map(|(folder, _)| folder.to_vec()).collect();
    found.into_iter().map(|folder| (folder, GeneratedKind::PackageStore))
}

/// Returns the folder of a file that Python may have compiled: `__pycache__/<name>.pyc`.
pub fn folder_of_compiled(path: &[u8]) -> Option<&[u8]> {
    let slash = path.iter().rposition(|&byte| byte == b'/')?;
    let (folder, name) = (&path[..slash], &path[slash + 1..]);
    let is_named = folder == COMPILED_FOLDER || folder.strip_suffix(COMPILED_FOLDER).is_some_and(|above| above.ends_with(b"/"));
    (is_named && name.len() > 4 && name.ends_with(b".pyc")).then_some(folder)
}

/// Returns the folders in which Python stored compiled files, and nothing else is.
fn compiled(inventory: &Inventory) -> impl Iterator<Item = (Vec<u8>, GeneratedKind)> {
    let is_compiled = |marker: &&Marker| marker.content.get(2..4) == Some(COMPILED_MAGIC);
    let proven = inventory.markers.iter().filter(is_compiled).filter_map(|marker| folder_of_compiled(&marker.path));
    let mut found: BTreeSet<&[u8]> = proven.collect();
    for file in inventory.files.iter().filter(|file| folder_of_compiled(&file.path).is_none()) {
        for above in self_and_above(&file.path).skip(1) {
            found.remove(above);
        }
    }
    let found: Vec<_> = found.into_iter().map(|folder| (folder.to_vec(), GeneratedKind::Cache)).collect();
    found.into_iter()
}

/// Splits a path at its first folder named `files`: into the folder above it and the path below it.
fn below_files(path: &[u8]) -> Option<(&[u8], &[u8])> {
    const FILES: &[u8] = b"/files/";
    let at = path.windows(FILES.len()).position(|window| window == FILES)?;
    Some((&path[..at], &path[at + FILES.len()..]))
}

/// Whether a path below `files` is that of a stored file: `<2 digits>/<126 digits>`, and maybe a known suffix.
fn is_stored_file(path: &[u8]) -> bool {
    let are_digits = |digits: &[u8]| digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let Some((folder, rest)) = path.split_at_checked(2) else { return false };
    let Some((name, suffix)) = rest.strip_prefix(b"/").and_then(|rest| rest.split_at_checked(STORED_NAME_DIGITS)) else {
        return false;
    };
    are_digits(folder) && are_digits(name) && matches!(suffix, b"" | b"-exec" | b"-index.json")
}

#[cfg(test)]
mod tests {
    use super::super::inventory::FoundFile;
    use super::*;

    const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# a cache\n";
    const VENV: &str = "home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11.2\n";

    fn inventory(folders: &[&str], markers: &[(&str, &str)], files: &[String]) -> Inventory {
        let file = |path: &String| FoundFile { path: path.as_bytes().to_vec(), size: 1, state: FileState::New };
        let marker =
            |&(path, content): &(&str, &str)| Marker { path: path.as_bytes().to_vec(), content: content.as_bytes().to_vec() };
        Inventory {
            files: files.iter().map(file).collect(),
            new_folders: folders.iter().map(|folder| folder.as_bytes().to_vec()).collect(),
            markers: markers.iter().map(marker).collect(),
            ..Inventory::default()
        }
    }

    #[track_caller]
    fn check(inventory: &Inventory, expect: &[(&str, GeneratedKind)]) {
        let found: Vec<_> = generated(inventory)
            .into_iter()
            .map(|(folder, kind)| (String::from_utf8(folder).expect("the names are text"), kind))
            .collect();
        let expect: Vec<_> = expect.iter().map(|&(folder, kind)| (folder.to_owned(), kind)).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn what_programs_write_is_recognized() {
        let check = |marker: &str, content: &str, kind| {
            let folder = marker.rsplit_once('/').expect("a folder").0;
            check(&inventory(&[folder], &[(marker, content)], &[]), &[(folder, kind)]);
        };
        check("target/CACHEDIR.TAG", TAG, GeneratedKind::Cache);
        check("a/.venv/pyvenv.cfg", VENV, GeneratedKind::VirtualEnvironment);
        check("node_modules/.modules.yaml", "hoistPattern:\n  - '*'\nlayoutVersion: 5\n", GeneratedKind::Packages);
        check("node_modules/.modules.yaml", "{\n  \"layoutVersion\": 5,\n}\n", GeneratedKind::Packages);
        let lock = "{\n  \"name\": \"a\",\n  \"lockfileVersion\": 3,\n  \"requires\": true,\n  \"packages\": {\n";
        check("node_modules/.package-lock.json", lock, GeneratedKind::Packages);
        let yarn = "{\n  \"systemParams\": \"linux-x64-115\",\n  \"lockfileEntries\": {}\n}";
        check("node_modules/.yarn-integrity", yarn, GeneratedKind::Packages);
        check("node_modules/.yarn-state.yml", "# Warning\n\n__metadata:\n  version: 1\n", GeneratedKind::Packages);
    }

    #[test]
    fn a_name_alone_proves_nothing() {
        for (marker, content) in [
            ("target/CACHEDIR.TAG", ""),
            ("target/CACHEDIR.TAG", " Signature: 8a477f597d28d172789f06886806bc55"),
            (".venv/pyvenv.cfg", "home = /usr/bin\n"),
            ("node_modules/.modules.yaml", "layout: 5\n"),
            ("node_modules/.package-lock.json", "{\"packages\": 1}"),
            ("node_modules/package.json", TAG),
            ("CACHEDIR.TAG", TAG),
        ] {
            let folder = marker.rsplit_once('/').map_or("", |(folder, _)| folder);
            check(&inventory(&[folder], &[(marker, content)], &[]), &[]);
        }
    }

    #[test]
    fn a_folder_with_files_of_the_commit_is_not_generated() {
        check(&inventory(&[], &[("src/CACHEDIR.TAG", TAG)], &[]), &[]);
        check(&inventory(&["src/new"], &[("src/CACHEDIR.TAG", TAG)], &[]), &[]);
        check(&inventory(&["src/new"], &[("src/newer/CACHEDIR.TAG", TAG)], &[]), &[]);
    }

    #[test]
    fn only_the_outermost_folders_are_listed() {
        let markers = [("a/CACHEDIR.TAG", TAG), ("a/b/.venv/pyvenv.cfg", VENV), ("ab/CACHEDIR.TAG", TAG)];
        let expect = [("a", GeneratedKind::Cache), ("ab", GeneratedKind::Cache)];
        check(&inventory(&["a", "ab"], &markers, &[]), &expect);
    }

    #[test]
    fn compiled_files_of_python_are_recognized_by_their_start() {
        let files = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
        let magic = ("src/__pycache__/a.cpython-311.pyc", "x\r\r\nrest");
        let all = files(&["src/__pycache__/a.cpython-311.pyc", "src/__pycache__/b.cpython-311.pyc"]);
        let expect = [("src/__pycache__", GeneratedKind::Cache)];
        check(&inventory(&["src/__pycache__"], &[magic], &all), &expect);
        check(&inventory(&["src"], &[magic], &[all.clone(), files(&["src/a.py"])].concat()), &expect);
        check(&inventory(&["src/__pycache__"], &[magic], &[all.clone(), files(&["src/__pycache__/notes.txt"])].concat()), &[]);
        check(&inventory(&["src/__pycache__"], &[magic], &[all.clone(), files(&["src/__pycache__/b/c.pyc"])].concat()), &[]);
        check(&inventory(&["src/__pycache__"], &[("src/__pycache__/a.cpython-311.pyc", "my own text")], &all), &[]);
        check(&inventory(&["src/pycache"], &[("src/pycache/a.pyc", "x\r\r\n")], &files(&["src/pycache/a.pyc"])), &[]);
        check(&inventory(&[], &[magic], &all), &[]);
        for path in ["__pycache__/.pyc", "a__pycache__/b.pyc", "__pycache__/a.py", "__pycache__"] {
            assert_eq!(folder_of_compiled(path.as_bytes()), None, "{path}");
        }
        assert_eq!(folder_of_compiled(b"__pycache__/a.pyc"), Some(COMPILED_FOLDER));
    }

    #[test]
    fn a_pnpm_store_is_recognized_by_its_layout() {
        let hash = "0f".repeat(63);
        let stored = |store: &str, suffix: &str| format!("{store}/files/a0/{hash}{suffix}");
        let files = [stored(".pnpm-store/v10", ""), stored(".pnpm-store/v10", "-exec"), ".pnpm-store/v10/index/x".to_owned()];
        check(&inventory(&[".pnpm-store"], &[], &files), &[(".pnpm-store/v10", GeneratedKind::PackageStore)]);
        let with_work = [stored("store/v3", "-index.json"), "store/v3/files/a0/notes.txt".to_owned()];
        check(&inventory(&["store"], &[], &with_work), &[]);
        check(&inventory(&["store"], &[], &["store/files/a0/b1".to_owned()]), &[]);
        check(&inventory(&["files"], &[], &[format!("files/a0/{hash}")]), &[]);
    }
}
