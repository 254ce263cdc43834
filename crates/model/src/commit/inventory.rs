//! The list of files in a worktree that a commit could add or change, from the host's own git or from the export container.
//!
//! The container's list is untrusted: it is parsed byte by byte, and nothing in it is used as an option or opened as a path.
//! Invariant: every input results in a list or an error.

use std::collections::BTreeSet;
use std::str::{FromStr, from_utf8};

/// The maximum size of the list from an export container in bytes.
pub const LIMIT_BYTES: u64 = 512 << 20;

/// The first field of the list.
const FORMAT: &[u8] = b"inventory 1";

/// The last field of a complete list.
const END: &[u8] = b"end";

/// How a file differs from the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    /// The commit does not have the file.
    New,
    /// The commit has a different version of the file.
    Changed,
    /// Git LFS stores the file, so its content will not be part of the commit.
    Large,
}

/// A file that a commit could add or change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// The path from the root of the worktree.
    pub path: Vec<u8>,
    /// The size in bytes.
    pub size: u64,
    /// How the file differs from the commit.
    pub state: FileState,
}

/// A new file that may prove what its folder is, with its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The path from the root of the worktree.
    pub path: Vec<u8>,
    /// The content. Files that are not regular files, or are too large, are not listed.
    pub content: Vec<u8>,
}

/// What a commit could add or change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The files that are new or changed.
    pub files: Vec<FoundFile>,
    /// The outermost folders that contain no file of the commit, without a slash at the end.
    pub new_folders: Vec<Vec<u8>>,
    /// New files that may prove what their folders are.
    pub markers: Vec<Marker>,
    /// The paths of files that contain the value of a placed secret. The host finds them.
    pub with_secrets: BTreeSet<Vec<u8>>,
}

/// Why the list of an export container is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InventoryError {
    /// The input does not start like a list.
    #[error("not a list of files in a known format")]
    Format,
    /// The input does not end like a list.
    #[error("the list of files is incomplete")]
    Incomplete,
    /// The list contains an unknown field.
    #[error("field {number} of the list of files is malformed")]
    Field {
        /// The field number, counted from 1.
        number: usize,
    },
}

impl Inventory {
    /// Parses fields that each end with a NUL: `inventory 1`, then any number of `new <size> <path>`, `changed <size> <path>`,
    /// `large <size> <path>`, `folder <path>` and `marker <path>` with the content in the next field, and `end`.
    pub fn parse(list: &[u8]) -> Result<Self, InventoryError> {
        let list = list.strip_suffix(b"\0").ok_or(InventoryError::Incomplete)?;
        let list = list.strip_prefix(FORMAT).and_then(|rest| rest.strip_prefix(b"\0")).ok_or(InventoryError::Format)?;
        let list = list.strip_suffix(END).ok_or(InventoryError::Incomplete)?;
        let mut inventory = Self::default();
        if list.is_empty() {
            return Ok(inventory);
        }
        let list = list.strip_suffix(b"\0").ok_or(InventoryError::Incomplete)?;
        let mut fields = list.split(|&byte| byte == 0).enumerate();
        while let Some((number, field)) = fields.next() {
            let malformed = || InventoryError::Field { number: number + 2 };
            let (key, value) = split(field).ok_or_else(malformed)?;
            let state = match key {
                b"new" => FileState::New,
                b"changed" => FileState::Changed,
                b"large" => FileState::Large,
                b"folder" => {
                    inventory.new_folders.push(value.to_vec());
                    continue;
                }
                b"marker" => {
                    let (_, content) = fields.next().ok_or_else(malformed)?;
                    inventory.markers.push(Marker { path: value.to_vec(), content: content.to_vec() });
                    continue;
                }
                _ => return Err(malformed()),
            };
            let (size, path) = split(value).ok_or_else(malformed)?;
            let size = from_utf8(size).ok().and_then(|size| u64::from_str(size).ok()).ok_or_else(malformed)?;
            inventory.files.push(FoundFile { path: path.to_vec(), size, state });
        }
        Ok(inventory)
    }
}

/// Splits a field at its first space.
fn split(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = field.iter().position(|&byte| byte == b' ')?;
    Some((&field[..space], &field[space + 1..])).filter(|(_, value)| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_field_by_field() {
        let list =
            b"inventory 1\0new 5 a b\n\0changed 6 c\0large 7 d\0folder x/y\0marker x/y/CACHEDIR.TAG\0two\nlines\0marker e\0\0end\0";
        let read = Inventory::parse(list).expect("the list is valid");
        let files: Vec<_> = read.files.iter().map(|file| (file.path.as_slice(), file.size, file.state)).collect();
        let expect: [(&[u8], _, _); 3] =
            [(b"a b\n", 5, FileState::New), (b"c", 6, FileState::Changed), (b"d", 7, FileState::Large)];
        assert_eq!(files, expect);
        assert_eq!(read.new_folders, [b"x/y"]);
        let markers: Vec<_> = read.markers.iter().map(|marker| (marker.path.as_slice(), marker.content.as_slice())).collect();
        assert_eq!(markers, [(&b"x/y/CACHEDIR.TAG"[..], &b"two\nlines"[..]), (b"e", b"")]);
        assert_eq!(Inventory::parse(b"inventory 1\0end\0"), Ok(Inventory::default()));
    }

    #[test]
    fn anything_else_is_rejected() {
        let check = |list: &[u8], expect: InventoryError| assert_eq!(Inventory::parse(list), Err(expect), "{list:?}");
        check(b"", InventoryError::Incomplete);
        check(b"inventory 2\0end\0", InventoryError::Format);
        check(b"inventory 1\0new 5 a\0", InventoryError::Incomplete);
        check(b"inventory 1\0new 5 aend\0", InventoryError::Incomplete);
        for field in [&b"new"[..], b"new 5", b"new x a", b"new -1 a", b"new 99999999999999999999 a", b"old 5 a", b"marker a", b""]
        {
            let list = [b"inventory 1\0", field, b"\0end\0"].concat();
            check(&list, InventoryError::Field { number: 2 });
        }
    }
}
