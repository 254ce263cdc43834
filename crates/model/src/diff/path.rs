//! Parses paths in a patch. The paths have a prefix, and unusual paths are quoted like C strings.
//!
//! A path is a sequence of bytes, as in git.

/// Returns the two paths of a `diff --git` line, or `None` if the line is ambiguous because paths contain spaces.
pub(super) fn git_line_paths(rest: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    if rest.starts_with(b"\"") {
        let (old, after) = unquote(rest)?;
        let after = after.strip_prefix(b" ")?;
        let new = if after.starts_with(b"\"") { unquote(after)?.0 } else { after.to_vec() };
        return Some((without_prefix(&old), without_prefix(&new)));
    }
    if let Some(quote) = rest.windows(2).position(|pair| pair == b" \"") {
        let (new, _) = unquote(&rest[quote + 1..])?;
        return Some((without_prefix(&rest[..quote]), without_prefix(&new)));
    }
    // Without a rename, both names are the same, so the space between them is in the middle: `a/NAME b/NAME`.
    let middle = rest.len() / 2;
    if rest.get(middle) == Some(&b' ') {
        let (old, new) = (without_prefix(&rest[..middle]), without_prefix(&rest[middle + 1..]));
        if old == new {
            return Some((old, new));
        }
    }
    let blank = rest.windows(3).position(|pair| pair == b" b/")?;
    Some((without_prefix(&rest[..blank]), without_prefix(&rest[blank + 1..])))
}

/// Returns the path of a `---` or `+++` line, or `None` for `/dev/null`. Git ends a path that contains spaces with a tab.
pub(super) fn side_path(rest: &[u8]) -> Option<Vec<u8>> {
    if rest == b"/dev/null" {
        return None;
    }
    if rest.starts_with(b"\"") {
        return unquote(rest).map(|(path, _)| without_prefix(&path));
    }
    Some(without_prefix(rest.strip_suffix(b"\t").unwrap_or(rest)))
}

/// Returns the path of a `rename` or `copy` line, which has no prefix.
pub(super) fn bare_path(rest: &[u8]) -> Vec<u8> {
    unquote(rest).map_or_else(|| rest.to_vec(), |(path, _)| path)
}

fn without_prefix(path: &[u8]) -> Vec<u8> {
    path.strip_prefix(b"a/").or_else(|| path.strip_prefix(b"b/")).unwrap_or(path).to_vec()
}

pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Parses a C string at the start of `quoted`, and returns it with the text that follows. Returns `None` if there is no
/// complete string.
fn unquote(quoted: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = quoted.strip_prefix(b"\"")?;
    let mut path = Vec::new();
    loop {
        let (first, after) = rest.split_first()?;
        rest = after;
        match first {
            b'"' => return Some((path, rest)),
            b'\\' => {
                let (byte, after) = escaped(rest)?;
                path.push(byte);
                rest = after;
            }
            plain => path.push(*plain),
        }
    }
}

/// Parses an escape sequence without its backslash, and returns the byte and the text that follows.
fn escaped(rest: &[u8]) -> Option<(u8, &[u8])> {
    let (first, after) = rest.split_first()?;
    let byte = match first {
        b'a' => 0x07,
        b'b' => 0x08,
        b't' => b'\t',
        b'n' => b'\n',
        b'v' => 0x0b,
        b'f' => 0x0c,
        b'r' => b'\r',
        b'0'..=b'3' => {
            let digits = rest.get(..3).filter(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)))?;
            let byte = digits.iter().fold(0_u8, |byte, digit| byte.wrapping_mul(8).wrapping_add(digit - b'0'));
            return Some((byte, &rest[3..]));
        }
        other => *other,
    };
    Some((byte, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_paths_are_bytes_again() {
        assert_eq!(side_path(b"\"a/tab\\there\\303\\251\\\"q\\\"\\\\\"").as_deref(), Some("tab\thereé\"q\"\\".as_bytes()));
        assert_eq!(side_path(b"\"b/\\377\"").as_deref(), Some(&b"\xff"[..]));
        assert_eq!(bare_path(b"\"a/\\001\""), b"a/\x01");
        assert_eq!(bare_path(b"\"open"), b"\"open");
    }

    #[test]
    fn the_two_paths_of_a_git_line_are_told_apart() {
        for (line, old, new) in [
            ("a/x b/x", "x", "x"),
            ("a/x b/y b/x b/y", "x b/y", "x b/y"),
            ("a/a b/a b/a b/a", "a b/a", "a b/a"),
            ("a/one two b/one two", "one two", "one two"),
            ("a/old b/new", "old", "new"),
            ("\"a/\\t\" \"b/\\t\"", "\t", "\t"),
            ("a/plain \"b/\\t\"", "plain", "\t"),
            ("\"a/\\t\" b/plain", "\t", "plain"),
        ] {
            assert_eq!(git_line_paths(line.as_bytes()), Some((old.as_bytes().to_vec(), new.as_bytes().to_vec())), "{line}");
        }
        assert_eq!(git_line_paths(b"nonsense"), None);
        assert_eq!(git_line_paths(b""), None);
    }

    #[test]
    fn the_tab_behind_a_path_with_blanks_is_not_part_of_it() {
        assert_eq!(side_path(b"a/one two\t").as_deref(), Some(&b"one two"[..]));
        assert_eq!(side_path(b"/dev/null"), None);
    }
}
