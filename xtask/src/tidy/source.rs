//! Rules for a Rust source file: its length, its module comment, and forbidden text.
//!
//! Pure: text in, complaints out. The forbidden text is listed in `forbidden.txt`, so that this file does not contain it.

/// The maximum number of lines in a file.
const MAX_LINES: usize = 600;

/// The minimum number of lines of a module comment.
const MIN_OPENING: usize = 1;

/// The rules: each line contains a forbidden text and the reason, separated by a tab.
const FORBIDDEN: &str = include_str!("forbidden.txt");

/// Returns complaints about a file. Each starts with `:<line>: ` or `: `, so that the caller can put the name of the file before it.
pub(super) fn complaints(text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_LINES {
        complaints.push(format!(": has {lines} lines, more than {MAX_LINES}; split it"));
    }
    let opening = text.lines().take_while(|line| line.starts_with("//!")).count();
    if opening < MIN_OPENING {
        let wanted = "start with `//!` lines that describe the module and its invariant";
        complaints.push(format!(":1: {wanted}"));
    }
    for (number, line) in text.lines().enumerate() {
        for (word, reason) in FORBIDDEN.lines().filter_map(|rule| rule.split_once('\t')) {
            if line.contains(word) {
                complaints.push(format!(":{}: `{word}`: {reason}", number + 1));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENING: &str = "//! It owns this.\n//! It never does that.\n";

    #[test]
    fn a_tidy_file_has_no_complaints() {
        assert_eq!(complaints(&format!("{OPENING}\nfn main() {{}}\n")), Vec::<String>::new());
    }

    #[test]
    fn a_file_opens_with_words() {
        let check = |text: &str| {
            let found = complaints(text);
            assert!(matches!(found.as_slice(), [one] if one.starts_with(":1: start with")), "{text:?}: {found:?}");
        };
        check("fn main() {}\n");
        check("");
    }

    #[test]
    fn a_file_may_be_as_long_as_the_limit_and_no_longer() {
        let file = |lines: usize| format!("{OPENING}{}", "\n".repeat(lines - OPENING.lines().count()));
        assert_eq!(complaints(&file(MAX_LINES)), Vec::<String>::new());
        assert_eq!(complaints(&file(MAX_LINES + 1)), [": has 601 lines, more than 600; split it"]);
    }

    #[test]
    fn every_forbidden_word_is_found_on_its_line() {
        let rules: Vec<_> = FORBIDDEN.lines().map(|rule| rule.split_once('\t').expect("each rule has a reason")).collect();
        assert!(rules.len() > 5, "the list is not empty");
        for (word, reason) in rules {
            let found = complaints(&format!("{OPENING}let x = {word};\n"));
            assert_eq!(found, [format!(":3: `{word}`: {reason}")]);
        }
    }
}
