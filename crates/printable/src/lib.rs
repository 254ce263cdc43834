//! Makes text from an agent safe to print in a terminal.
//!
//! The output of an agent or its commands may contain escape sequences that move the cursor, change the title or write to the
//! clipboard. Printable text contains no control characters except newline and tab, no characters that change the direction of
//! text, and no colors.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Chars;

const ESCAPE: char = '\u{1b}';

/// Removes escape sequences and control characters. Newlines and tabs are kept, and a lone carriage return becomes a newline.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_harmless) { Cow::Borrowed(text) } else { Cow::Owned(strip(text)) }
}

/// Returns the printable text on one line: each run of whitespace becomes a single space, and text beyond `limit` characters is
/// replaced by `…`.
pub fn printable_line(text: &str, limit: usize) -> String {
    let text = printable(text);
    let mut line = String::new();
    let mut taken = 0;
    for word in text.split_whitespace() {
        if taken > 0 {
            line.push(' ');
            taken += 1;
        }
        for character in word.chars() {
            if taken >= limit {
                shorten(&mut line, limit);
                return line;
            }
            line.push(character);
            taken += 1;
        }
    }
    line
}

/// Cuts the line to the limit and appends `…`.
fn shorten(line: &mut String, limit: usize) {
    let keep = line.char_indices().nth(limit.saturating_sub(1)).map_or(line.len(), |(at, _)| at);
    line.truncate(keep);
    line.truncate(line.trim_end().len());
    line.push('…');
}

fn is_harmless(character: char) -> bool {
    !is_direction_control(character) && (!character.is_control() || matches!(character, '\n' | '\t'))
}

/// Returns whether the character is an embedding, override or isolate, which can make text appear in a different order.
fn is_direction_control(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn strip(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            ESCAPE => skip_escape(&mut rest),
            '\u{9b}' => skip_control_sequence(&mut rest),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_string(&mut rest),
            '\r' if rest.peek() == Some(&'\n') => {}
            '\r' => clean.push('\n'),
            _ if is_harmless(character) => clean.push(character),
            _ => {}
        }
    }
    clean
}

/// Skips the escape sequence after an escape character.
fn skip_escape(rest: &mut Peekable<Chars<'_>>) {
    match rest.peek() {
        Some('[') => {
            rest.next();
            skip_control_sequence(rest);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            rest.next();
            skip_string(rest);
        }
        Some(_) | None => {
            while rest.next_if(|character| matches!(character, ' '..='/')).is_some() {}
            rest.next_if(|character| matches!(character, '0'..='~'));
        }
    }
}

/// Skips the parameters and the final letter of a sequence such as `[1;31m`.
fn skip_control_sequence(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(|character| matches!(character, ' '..='?')).is_some() {}
    rest.next_if(|character| matches!(character, '@'..='~'));
}

/// Skips a title, a hyperlink or a clipboard write up to its terminator, or to the end of the line if there is none, so that an
/// unterminated sequence cannot hide the rest of the text.
fn skip_string(rest: &mut Peekable<Chars<'_>>) {
    while let Some(character) = rest.next_if(|character| *character != '\n') {
        if matches!(character, '\u{7}' | '\u{9c}') {
            return;
        }
        if character == ESCAPE && rest.next_if_eq(&'\\').is_some() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expect: &str) {
        assert_eq!(printable(text), expect, "{text:?}");
    }

    #[test]
    fn plain_text_is_not_copied() {
        assert!(matches!(printable("a\tb\nç 🦀 שלום"), Cow::Borrowed(_)));
    }

    #[test]
    fn sequences_disappear_and_the_text_between_them_stays() {
        check("\u{1b}[1;31mred\u{1b}[0m", "red");
        check("\u{1b}]0;owned\u{7}title", "title");
        check("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link");
        check("\u{1b}]52;c;aGk=\u{9c}clipboard", "clipboard");
        check("\u{9b}2Jclear", "clear");
        check("\u{90}q\u{1b}\\sixel", "sixel");
        check("\u{1b}(Bcharset\u{1b}c\u{1b}7", "charset");
        check("\u{1b}[?1049h\u{1b}[>4;1mscreen", "screen");
    }

    #[test]
    fn a_sequence_that_never_ends_hides_no_further_line() {
        check("\u{1b}]0;never\nnext", "\nnext");
        check("\u{1b}[12;\nnext", "\nnext");
        check("cut\u{1b}", "cut");
        check("cut\u{1b}[", "cut");
    }

    #[test]
    fn control_characters_go_and_carriage_returns_are_newlines() {
        check("a\r\nb", "a\nb");
        check("10%\r20%", "10%\n20%");
        check("bell\u{7} back\u{8} nul\0 del\u{7f}", "bell back nul del");
        check("user\u{202e}txt.exe\u{2066}", "usertxt.exe");
    }

    #[test]
    fn one_line_is_one_line_within_its_limit() {
        assert_eq!(printable_line("  a\n\tb\u{1b}[31m c ", 20), "a b c");
        assert_eq!(printable_line("äöüäöü", 6), "äöüäöü");
        assert_eq!(printable_line("äöüäöüx", 6), "äöüäö…");
        assert_eq!(printable_line("abcd efgh", 6), "abcd…");
        assert_eq!(printable_line("", 6), "");
    }

    #[test]
    fn each_kind_of_string_sequence_ends_at_its_terminator() {
        let starts = ["\u{1b}]", "\u{1b}P", "\u{1b}X", "\u{1b}^", "\u{1b}_", "\u{9d}", "\u{90}", "\u{98}", "\u{9e}", "\u{9f}"];
        for start in starts {
            for end in ["\u{7}", "\u{9c}", "\u{1b}\\"] {
                check(&format!("a{start}hidden{end}b"), "ab");
            }
            check(&format!("a{start}hidden\nb"), "a\nb");
            check(&format!("a{start}"), "a");
        }
    }

    #[test]
    fn an_escape_within_a_sequence_shows_none_of_its_letters() {
        check("\u{1b}[31\u{1b}[0mx", "x");
        check("\u{1b}\u{1b}[31mx", "x");
        check("\u{1b}]0;a\u{1b}[31mb\u{7}x", "x");
        check("\u{1b}#8x", "x");
        check("\u{1b}%Gx", "x");
        check("\u{1b}[\u{e4}x", "\u{e4}x");
    }

    #[test]
    fn every_direction_control_goes_and_the_letters_stay() {
        for control in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}') {
            check(&format!("a{control}b"), "ab");
        }
        for harmless in ['\u{2029}', '\u{202f}', '\u{2065}', '\u{206a}', '\u{200d}'] {
            let text = format!("a{harmless}b");
            check(&text, &text);
        }
    }

    #[test]
    fn a_line_is_cut_at_exactly_its_limit() {
        let check = |text: &str, limit: usize, expect: &str| assert_eq!(printable_line(text, limit), expect, "{text:?} {limit}");
        check("abc", 3, "abc");
        check("abcd", 3, "ab…");
        check("ab c", 3, "ab…");
        check("ab c", 4, "ab c");
        check("a b c", 4, "a b…");
        check("a", 1, "a");
        check("ab", 1, "…");
        check(" \n ", 1, "");
        check("\u{1b}[31mab\u{1b}[0m", 2, "ab");
    }

    proptest! {
        #[test]
        fn no_text_leaves_a_control_character(text in "[\u{1b}\u{7}\u{9b}\u{9c}\u{9d}\u{90}\\]\\[\\\\;PX0-9a-m \r\n\t\u{202e}é]{0,40}") {
            let clean = printable(&text);
            prop_assert!(clean.chars().all(is_harmless), "{clean:?}");
            prop_assert_eq!(printable(&clean), clean.clone(), "a second pass changes nothing");
            prop_assert!(clean.matches('\n').count() >= text.matches('\n').count(), "no line is hidden");
        }

        #[test]
        fn a_line_is_never_longer_than_its_limit(text in "[a-c \n\u{1b}é]{0,30}", limit in 1_usize..12) {
            let line = printable_line(&text, limit);
            prop_assert!(line.chars().count() <= limit, "{line:?}");
            prop_assert!(!line.contains('\n') && !line.contains("  ") && line.trim() == line);
        }
    }
}
