//! Reads the entries of an index or a tree that git lists: submodules, conflicts, and paths that are in use.
//!
//! No command is built here, and no file is opened. Invariant: paths are kept byte for byte.

use std::collections::BTreeMap;

use process::{CommandSpec, RunProgramError, Stdout};

/// The mode of a submodule in a tree or an index.
const GITLINK: &[u8] = b"160000";

/// The relevant entries of an index or a tree.
#[derive(Default)]
pub(super) struct Entries {
    /// Submodules: their commits, by path.
    pub(super) gitlinks: BTreeMap<Vec<u8>, String>,
    /// Whether there are unresolved merge conflicts.
    pub(super) has_conflicts: bool,
    /// Watched paths that something else uses now: a file of that name, or files below or above it.
    pub(super) taken: Vec<Vec<u8>>,
}

impl Entries {
    /// Parses `mode id stage TAB path` of an index, or `mode type id TAB path` of a tree.
    pub(super) fn read(&mut self, record: &[u8], watched: &[Vec<u8>]) {
        let Some(tab) = record.iter().position(|&byte| byte == b'\t') else { return };
        let (fields, path) = (&record[..tab], &record[tab + 1..]);
        let mut fields = fields.split(|&byte| byte == b' ');
        let (Some(mode), Some(second), Some(third)) = (fields.next(), fields.next(), fields.next()) else { return };
        let is_tree = second.len() < 40;
        self.has_conflicts |= !is_tree && third != b"0";
        if mode == GITLINK {
            let id = if is_tree { third } else { second };
            self.gitlinks.insert(path.to_vec(), String::from_utf8_lossy(id).into_owned());
        } else {
            let in_the_way = watched.iter().filter(|watched| is_same_or_below(path, watched) || is_same_or_below(watched, path));
            self.taken.extend(in_the_way.cloned());
        }
    }
}

fn is_same_or_below(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Returns the submodules in a listing of a tree: their commits, by path, for paths that are valid UTF-8.
pub(super) async fn gitlinks_in(listing: CommandSpec<'_>) -> Result<BTreeMap<String, String>, RunProgramError> {
    let mut found = Entries::default();
    listing.stdout(Stdout::Records(Box::new(|record| found.read(record, &[])))).run_ok().await?;
    Ok(found.gitlinks.into_iter().filter_map(|(path, commit)| Some((String::from_utf8(path).ok()?, commit))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submodules_and_conflicts_are_read_from_an_index() {
        let mut entries = Entries::default();
        let id = "a".repeat(40);
        entries.read(format!("100644 {id} 0\tfile").as_bytes(), &[]);
        assert!(entries.gitlinks.is_empty() && !entries.has_conflicts);
        entries.read(format!("160000 {id} 0\tlibs/a b").as_bytes(), &[]);
        entries.read(format!("100644 {id} 2\tfile").as_bytes(), &[]);
        assert_eq!(entries.gitlinks.get(b"libs/a b".as_slice()), Some(&id));
        assert!(entries.has_conflicts);
    }

    #[test]
    fn submodules_are_read_from_a_tree() {
        let mut entries = Entries::default();
        let id = "b".repeat(40);
        entries.read(format!("160000 commit {id}\tsub").as_bytes(), &[]);
        entries.read(format!("100644 blob {id}\tfile").as_bytes(), &[]);
        assert_eq!(entries.gitlinks.get(b"sub".as_slice()), Some(&id));
        assert!(!entries.has_conflicts && entries.gitlinks.len() == 1);
    }

    #[test]
    fn a_watched_path_is_taken_by_files_at_below_and_above_it() {
        let taken = |path: &str| {
            let mut entries = Entries::default();
            entries.read(format!("100644 {} 0\t{path}", "c".repeat(40)).as_bytes(), &[b"libs/sub".to_vec()]);
            !entries.taken.is_empty()
        };
        assert!(taken("libs/sub") && taken("libs/sub/file") && taken("libs"));
        assert!(!taken("libs/subway") && !taken("libs/other") && !taken("lib"));
    }
}
