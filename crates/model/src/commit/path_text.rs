//! A path in a worktree as text, without loss: any bytes can be a file name on Linux, but records and the API are text.
//!
//! Ordinary names stay as they are. Others are quoted like in the output of git. Invariant: the text of a path always leads back to
//! the same bytes.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error_code::ErrorCode;
use crate::names::shown;
use crate::problem::Problem;

/// The maximum length of a path in bytes. Git cannot open longer ones.
const LIMIT_BYTES: usize = 4096;

/// A path below the root of a worktree. The path of a folder ends with a slash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
pub struct PathText(String);

impl PathText {
    /// Creates the text of a path.
    pub fn new(path: &[u8]) -> Self {
        match std::str::from_utf8(path) {
            Ok(text) if !text.starts_with('"') && !text.chars().any(char::is_control) => Self(text.to_owned()),
            Ok(_) | Err(_) => Self(quoted(path)),
        }
    }

    /// Parses a text that somebody entered: the path of a file or folder below the root.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let path = Self(text.to_owned());
        let bytes = path.bytes();
        let name = bytes.strip_suffix(b"/").unwrap_or(&bytes);
        let is_usable = !name.is_empty()
            && name.len() <= LIMIT_BYTES
            && !name.contains(&0)
            && name.split(|&byte| byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."));
        if is_usable {
            return Ok(Self::new(&bytes));
        }
        Err(Problem::new(ErrorCode::FilesRefused, format!("invalid path `{}`", shown(text)))
            .hint("use a path from the root of the worktree, as listed by `codex-orchestrator task show`"))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the path.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match self.0.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(inner) => Cow::Owned(unquoted(inner.as_bytes())),
            None => Cow::Borrowed(self.0.as_bytes()),
        }
    }

    /// Returns the path without the slash that marks a folder.
    pub fn name(&self) -> Vec<u8> {
        let bytes = self.bytes();
        bytes.strip_suffix(b"/").unwrap_or(&bytes).to_vec()
    }

    /// Whether this is the path itself, or a folder that contains it.
    pub fn covers(&self, path: &[u8]) -> bool {
        let bytes = self.bytes();
        if bytes.ends_with(b"/") { path.starts_with(&bytes) || *path == bytes[..bytes.len() - 1] } else { *path == *bytes }
    }
}

impl fmt::Display for PathText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn quoted(path: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => text.extend(['\\', character]),
                control if control.is_control() => {
                    let mut bytes = [0; 4];
                    text.extend(control.encode_utf8(&mut bytes).bytes().map(octal));
                }
                plain => text.push(plain),
            }
        }
        text.extend(chunk.invalid().iter().copied().map(octal));
    }
    text.push('"');
    text
}

fn octal(byte: u8) -> String {
    format!("\\{byte:03o}")
}

fn unquoted(mut rest: &[u8]) -> Vec<u8> {
    let mut path = Vec::new();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match (first, digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()), after.first()) {
            (b'\\', Some(byte), _) => {
                path.push(byte);
                rest = &after[3..];
            }
            (b'\\', None, Some(&escaped)) => {
                path.push(escaped);
                rest = &after[1..];
            }
            _ => {
                path.push(first);
                rest = after;
            }
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_comes_back_from_its_text() {
        let check = |path: &[u8], text: &str| {
            let written = PathText::new(path);
            assert_eq!((written.as_str(), &*written.bytes()), (text, path));
            assert_eq!(PathText::parse(text).map(|read| read.bytes().into_owned()), Ok(path.to_vec()));
        };
        check(b"src/main.rs", "src/main.rs");
        check("día/日本.txt".as_bytes(), "día/日本.txt");
        check(b"a b\\c", "a b\\c");
        check(b"caf\xe9/", r#""caf\351/""#);
        check(b"\"quoted\"", r#""\"quoted\"""#);
        check(b"new\nline\\1", r#""new\012line\\1""#);
        for first in 1..=255_u8 {
            for second in [first, b'1', b'"', b'\\', b'n'] {
                let path = [first, second, b'7', b'7', b'7'];
                assert_eq!(*PathText::new(&path).bytes(), path);
            }
        }
    }

    #[test]
    fn only_paths_below_the_root_are_accepted() {
        for text in ["", "/", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/.", r#""\000""#, r#""""#] {
            assert!(PathText::parse(text).is_err(), "{text}");
        }
        for text in ["a", "a/", ".venv/", "..a/b..", r#""a"#, "-x"] {
            assert!(PathText::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_folder_covers_what_is_below_it_and_a_file_only_itself() {
        let check = |text: &str, path: &str, expect: bool| assert_eq!(PathText(text.to_owned()).covers(path.as_bytes()), expect);
        check("a/", "a/b/c", true);
        check("a/", "a", true);
        check("a/", "ab", false);
        check("a", "a", true);
        check("a", "a/b", false);
    }
}
