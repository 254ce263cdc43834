//! Checks that every test that a document names as proof exists.
//!
//! Pure: text in, complaints out. Without this check, a renamed test would leave a claim without proof.

use std::collections::HashSet;

/// The documents that name tests as proof of their claims.
pub(super) const DOCUMENTS: [&str; 3] = ["docs/security.md", "docs/recovery.md", "docs/performance.md"];

/// The minimum number of words in the name of a test. Shorter names in backticks are settings, fields or modules.
const WORDS: usize = 4;

/// Returns the names of all functions that `source` defines.
pub(super) fn functions(source: &str) -> HashSet<String> {
    let names = source.split("fn ").skip(1).map(|rest| rest.split(|c: char| !is_name(c)).next().unwrap_or_default());
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Returns complaints about lines of `document` that name a missing test.
pub(super) fn complaints(document: &str, functions: &HashSet<String>) -> Vec<String> {
    let missing = |line: &str| -> Vec<String> {
        let quoted = line.split('`').skip(1).step_by(2).map(|text| text.rsplit("::").next().unwrap_or_default());
        quoted.filter(|name| is_test(name) && !functions.contains(*name)).map(str::to_owned).collect()
    };
    let numbered = document.lines().enumerate();
    numbered
        .flat_map(|(at, line)| missing(line).into_iter().map(move |name| format!(":{}: no test is named `{name}`", at + 1)))
        .collect()
}

fn is_name(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

fn is_test(name: &str) -> bool {
    name.chars().all(is_name) && name.split('_').filter(|word| !word.is_empty()).count() >= WORDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_a_document_names_must_exist() {
        let functions = functions("#[test]\nfn links_are_never_followed() {}\nasync fn the_key_stays_outside(x: u8) {}\n");
        assert_eq!(
            complaints("see `links_are_never_followed` and `proxy::the_key_stays_outside`", &functions),
            Vec::<String>::new()
        );
        assert_eq!(
            complaints("first\nsee `links_were_never_followed`", &functions),
            [":2: no test is named `links_were_never_followed`"]
        );
    }

    #[test]
    fn settings_and_text_outside_of_backticks_are_not_tests() {
        let text = "`public_url`, `CODEX_DOCKER_FREE_DISK`, `a/path_of_a_file.rs` and a_name_without_backticks";
        assert_eq!(complaints(text, &HashSet::new()), Vec::<String>::new());
    }
}
