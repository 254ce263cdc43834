//! Checks that the pinned Codex version is written in only one place, from which everything else takes it.
//!
//! Pure: text in, complaints out. Older versions may be named anywhere, because they do not change.

/// The file that names the pinned version.
pub(super) const PLACE: &str = "crates/model/src/lib.rs";

/// Returns the pinned version in `text`, which is the content of [`PLACE`].
pub(super) fn version(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("pub const CODEX_VERSION: &str = \"")?;
    rest.split_once('"').map(|(version, _)| version)
}

/// Returns complaints about lines that repeat the pinned version.
pub(super) fn complaints(text: &str, version: &str) -> Vec<String> {
    let repeats = |line: &str| line.match_indices(version).any(|(at, _)| is_whole(line, at, version.len()));
    let numbered = text.lines().enumerate().filter(|(_, line)| repeats(line));
    numbered
        .map(|(number, _)| format!(":{}: repeats the pinned Codex version; use `model::CODEX_VERSION` ({PLACE})", number + 1))
        .collect()
}

/// Whether the match is a whole version, not part of a longer one such as `10.171.0` or `0.171.01`.
fn is_whole(line: &str, at: usize, length: usize) -> bool {
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    !digit(line[..at].chars().next_back()) && !digit(line[at + length..].chars().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinned_version_is_found() {
        assert_eq!(version("/// Pinned.\npub const CODEX_VERSION: &str = \"1.2.3\";\n"), Some("1.2.3"));
        assert_eq!(version("pub const OTHER: &str = \"1.2.3\";\n"), None);
    }

    #[test]
    fn a_second_place_that_names_the_version_is_reported() {
        assert_eq!(complaints("fn f() {}\nlet v = \"codex-cli 1.2.3\";\n", "1.2.3").len(), 1);
        assert!(complaints("fn f() {}\nlet v = \"codex-cli 1.2.3\";\n", "1.2.3")[0].starts_with(":2: "));
    }

    #[test]
    fn other_versions_may_be_named() {
        for text in ["0.75.0", "11.2.3", "1.2.30", ""] {
            assert_eq!(complaints(text, "1.2.3"), Vec::<String>::new(), "{text}");
        }
    }
}
