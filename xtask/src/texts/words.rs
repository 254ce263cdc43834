//! Finds patterns that our writing guide rejects: words that a native technical writer would not use.
//!
//! Pure: texts in, complaints out. `words.txt` has a pattern, a suggestion and exceptions on each line, with tabs between them.

use regex::{Regex, RegexBuilder};

use super::{Text, TextKind};

const RULES: &str = include_str!("words.txt");

struct Rule {
    pattern: Regex,
    exceptions: Option<Regex>,
    suggestion: &'static str,
}

/// Returns one line for each rejected pattern, with its place, the words and a suggestion.
pub(crate) fn complaints(texts: &[Text]) -> Vec<String> {
    let rules = rules();
    let of_text = |text: &Text| -> Vec<String> {
        // Short strings in tests are often data.
        if text.kind == TextKind::Test && text.content.split_whitespace().count() < 3 {
            return Vec::new();
        }
        let prose = without_code(&text.content);
        let found = rules.iter().filter_map(|rule| Some((rule, rule.first_match(&prose)?)));
        found.map(|(rule, words)| format!("{}:{}: `{words}`: write `{}`", text.file, text.line, rule.suggestion)).collect()
    };
    texts.iter().flat_map(of_text).collect()
}

impl Rule {
    fn first_match<'t>(&self, text: &'t str) -> Option<&'t str> {
        let excepted: Vec<_> = self.exceptions.iter().flat_map(|exceptions| exceptions.find_iter(text)).collect();
        let is_excepted = |start: usize| excepted.iter().any(|exception| exception.range().contains(&start));
        self.pattern.find_iter(text).find(|found| !is_excepted(found.start())).map(|found| found.as_str())
    }
}

fn rules() -> Vec<Rule> {
    let whole_words = |pattern: &str| {
        RegexBuilder::new(&format!(r"\b(?:{pattern})\b")).case_insensitive(true).build().expect("every pattern is valid")
    };
    let rule = |line: &'static str| {
        let mut parts = line.split('\t');
        let pattern = whole_words(parts.next().unwrap_or_default());
        let suggestion = parts.next().expect("every pattern has a suggestion");
        Rule { pattern, suggestion, exceptions: parts.next().map(whole_words) }
    };
    RULES.lines().map(rule).collect()
}

/// Replaces inline code with a single letter, so that names of commands and fields are not judged.
fn without_code(text: &str) -> String {
    text.split('`').enumerate().map(|(at, part)| if at % 2 == 0 { part } else { "`X`" }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Vec<String> {
        let text = Text { kind: TextKind::Error, file: "a.rs".to_owned(), line: 3, content: text.to_owned() };
        complaints(&[text])
    }

    #[test]
    fn a_rejected_pattern_is_found_with_its_place_and_a_suggestion() {
        assert_eq!(check("the clone is made Anew"), ["a.rs:3: `Anew`: write `again`"]);
        assert_eq!(check("`x` is no duration"), ["a.rs:3: `is no`: write `is not a valid X, no X`"]);
    }

    #[test]
    fn code_and_exceptions_are_not_judged() {
        assert_eq!(check("run `anew` and `go on`; this is no longer needed"), Vec::<String>::new());
    }

    #[test]
    fn an_exception_does_not_hide_another_match() {
        assert_eq!(check("this is no longer needed, and that is none").len(), 1);
    }

    #[test]
    fn only_whole_words_are_judged() {
        assert_eq!(check("a recommendation for sphere and where"), Vec::<String>::new());
    }
}
