//! Parses the output of `git merge-tree` for two commits: the merged tree, and the files that conflict.
//!
//! The output must be in the format of `-z --name-only`. Unknown kinds of conflicts become [`ConflictKind::Other`], and paths that
//! are not UTF-8 contain replacement characters.

use serde::{Deserialize, Serialize};

use crate::ids::ObjectId;

/// The kind of conflict in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConflictKind {
    /// Both sides changed the same lines.
    Content,
    /// Both sides changed a binary file.
    Binary,
    /// Both sides added the file with different content.
    AddAdd,
    /// One side changed the file, and the other side deleted it.
    ModifyDelete,
    /// One side renamed the file, and the other side deleted it.
    RenameDelete,
    /// Both sides renamed the file differently, or renamed two files to the same name.
    RenameRename,
    /// A renamed folder or file blocks something else.
    Rename,
    /// A file on one side is a folder on the other.
    FileFolder,
    /// The file types differ, such as a link and a regular file.
    Mode,
    /// A submodule points to a different commit on each side.
    Submodule,
    /// Any other conflict.
    Other,
}

impl ConflictKind {
    /// Returns the kind as display text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Binary => "binary",
            Self::AddAdd => "add/add",
            Self::ModifyDelete => "modify/delete",
            Self::RenameDelete => "rename/delete",
            Self::RenameRename => "rename/rename",
            Self::Rename => "rename",
            Self::FileFolder => "file/folder",
            Self::Mode => "mode",
            Self::Submodule => "submodule",
            Self::Other => "other",
        }
    }

    /// Parses the kind in git's message, such as `CONFLICT (modify/delete)`.
    fn of(message: &str) -> Option<Self> {
        let (words, _) = message.strip_prefix("CONFLICT (")?.split_once(')')?;
        Some(match words {
            "content" | "contents" => Self::Content,
            "binary" => Self::Binary,
            "add/add" => Self::AddAdd,
            "modify/delete" => Self::ModifyDelete,
            "rename/delete" => Self::RenameDelete,
            "rename/rename" => Self::RenameRename,
            "file/directory" | "directory/file" => Self::FileFolder,
            "distinct modes" | "distinct types" => Self::Mode,
            words if words.contains("submodule") => Self::Submodule,
            words if words.contains("rename") || words.contains("file location") || words.contains("implicit dir") => {
                Self::Rename
            }
            _ => Self::Other,
        })
    }
}

/// A file with a conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FileConflict {
    /// The path. Invalid UTF-8 is replaced.
    pub path: String,
    /// The kind of conflict.
    pub kind: ConflictKind,
}

/// The result of merging two commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The merged tree. It contains conflict markers if there are conflicts.
    pub tree: ObjectId,
    /// The files that a person or an agent must merge.
    pub conflicts: Vec<FileConflict>,
}

impl Merged {
    /// Parses git's output for a merge without conflicts. Returns `None` if it is malformed.
    pub fn parse_clean(answer: &[u8]) -> Option<Self> {
        let tree = pieces(answer).next()?.trim_end().parse().ok()?;
        Some(Self { tree, conflicts: vec![] })
    }

    /// Parses git's output for a merge with conflicts. Returns `None` if it is malformed.
    pub fn parse_conflicts(answer: &[u8]) -> Option<Self> {
        let mut pieces = pieces(answer);
        let tree = pieces.next()?.trim_end().parse().ok()?;
        let mut paths: Vec<String> = pieces.by_ref().take_while(|path| !path.is_empty()).collect();
        let mut kinds: Vec<(Vec<String>, ConflictKind)> = vec![];
        while let Some(number) = pieces.next().and_then(|number| number.trim().parse::<usize>().ok()) {
            let concerned: Vec<String> = pieces.by_ref().take(number).collect();
            let _short = pieces.next();
            let Some(message) = pieces.next() else { break };
            kinds.extend(ConflictKind::of(message.trim_start()).map(|kind| (concerned, kind)));
        }
        if paths.is_empty() {
            // The conflict does not belong to an entry of the tree, for example because a folder was renamed in two ways.
            paths.extend(kinds.iter().filter_map(|(concerned, _)| concerned.first().cloned()));
        }
        paths.sort();
        paths.dedup();
        let kind_of = |path: &String| kinds.iter().find(|(concerned, _)| concerned.contains(path)).map(|(_, kind)| *kind);
        let conflicts = paths.into_iter().map(|path| FileConflict { kind: kind_of(&path).unwrap_or(ConflictKind::Other), path });
        Some(Self { tree, conflicts: conflicts.collect() })
    }
}

fn pieces(answer: &[u8]) -> impl Iterator<Item = String> {
    answer.split(|&byte| byte == 0).map(|piece| String::from_utf8_lossy(piece).into_owned())
}

/// Lists up to `most` files in one line: `a.txt (content), b.txt (modify/delete) and 3 more`.
pub fn in_words(conflicts: &[FileConflict], most: usize) -> String {
    let named = conflicts.iter().take(most).map(|conflict| format!("`{}` ({})", conflict.path, conflict.kind.as_str()));
    let named: Vec<_> = named.collect();
    let more = conflicts.len().saturating_sub(most);
    if more == 0 { named.join(", ") } else { format!("{} and {more} more", named.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "2fe08b8e065527f0528fec0785f3b51bc394b193";

    fn parsed(pieces: &[&str]) -> Vec<FileConflict> {
        Merged::parse_conflicts(pieces.join("\0").as_bytes()).expect("git's output is valid").conflicts
    }

    #[test]
    fn conflicts_are_read_file_by_file_with_their_kind() {
        let conflicts = parsed(&[
            TREE,
            "add",
            "big",
            "big2",
            "big3",
            "del",
            "f",
            "",
            "1",
            "add",
            "Auto-merging",
            "Auto-merging add\n",
            "1",
            "add",
            "CONFLICT (contents)",
            "CONFLICT (add/add): Merge conflict in add\n",
            "3",
            "big",
            "big3",
            "big2",
            "CONFLICT (rename/rename)",
            "CONFLICT (rename/rename): big renamed to big3 in o and to big2 in t.\n",
            "1",
            "del",
            "CONFLICT (modify/delete)",
            "CONFLICT (modify/delete): del deleted in t and modified in o.\n",
            "1",
            "f",
            "CONFLICT (contents)",
            "CONFLICT (content): Merge conflict in f\n",
            "",
        ]);
        let told: Vec<_> = conflicts.iter().map(|conflict| (conflict.path.as_str(), conflict.kind.as_str())).collect();
        let expect = [
            ("add", "add/add"),
            ("big", "rename/rename"),
            ("big2", "rename/rename"),
            ("big3", "rename/rename"),
            ("del", "modify/delete"),
            ("f", "content"),
        ];
        assert_eq!(told, expect);
        assert_eq!(in_words(&conflicts, 2), "`add` (add/add), `big` (rename/rename) and 4 more");
        assert_eq!(in_words(&conflicts[5..], 2), "`f` (content)");
    }

    #[test]
    fn a_clean_merge_is_a_tree() {
        let merged = Merged::parse_clean(format!("{TREE}\0").as_bytes()).expect("git's output is valid");
        assert_eq!((merged.tree.as_str(), merged.conflicts), (TREE, vec![]));
    }

    #[test]
    fn what_is_not_known_is_a_conflict_all_the_same_and_nonsense_is_none() {
        assert_eq!(parsed(&[TREE, "x", ""]), [FileConflict { path: "x".to_owned(), kind: ConflictKind::Other }]);
        let unknown = parsed(&[TREE, "x", "", "1", "x", "CONFLICT (new)", "CONFLICT (new): something"]);
        assert_eq!(unknown[0].kind, ConflictKind::Other);
        let folder = parsed(&[TREE, "", "1", "dir", "CONFLICT (x)", "CONFLICT (directory rename split): Unclear"]);
        assert_eq!(folder, [FileConflict { path: "dir".to_owned(), kind: ConflictKind::Rename }]);
        assert_eq!(parsed(&[TREE, "x", "", "9", "x"]).len(), 1, "truncated output still contains the conflict");
        assert_eq!(Merged::parse_conflicts(b"fatal: no"), None);
    }
}
