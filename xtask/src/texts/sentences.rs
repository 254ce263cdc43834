//! Splits a text into sentences.

/// Returns the sentences of `text` that have at least three words.
pub(super) fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    for (at, _) in text.char_indices().filter(|(_, c)| matches!(c, '.' | '?' | '!')) {
        let rest = &text[at + 1..];
        let next = rest.trim_start().chars().next();
        let ends = rest.starts_with(' ') && next.is_some_and(|next| next.is_uppercase() || matches!(next, '`' | '"' | '*'));
        if ends && !is_abbreviation(&text[start..=at]) {
            found.push(text[start..=at].trim());
            start = at + 1;
        }
    }
    found.push(text[start..].trim());
    found.retain(|sentence| sentence.split_whitespace().filter(|word| word.chars().any(char::is_alphabetic)).count() >= 3);
    found
}

fn is_abbreviation(sentence: &str) -> bool {
    ["e.g.", "i.e.", "etc.", "vs."].iter().any(|short| sentence.ends_with(short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_stop_inside_of_a_name_ends_nothing() {
        let text = "Reads config.toml first. Then e.g. Git is started! Too short. `git` 2.39 is enough";
        assert_eq!(sentences(text), ["Reads config.toml first.", "Then e.g. Git is started!", "`git` 2.39 is enough"]);
    }
}
