//! Shows untrusted text completely and safely: nothing is removed, and nothing affects the display.
//!
//! Control characters, characters that change the direction of text, and other invisible characters become visible marks: `␛` for a
//! control character with a symbol, `<U+202E>` for others, and `<0xFF>` for a byte that is not UTF-8. Pages and terminals style marks
//! differently from the same letters in a file. For output without styles, [`Visible::plain`] also escapes those letters. Invariant:
//! different bytes never look the same.
//!
//! The crate `printable` is for the output of programs, where escape sequences are noise. It removes text, so do not use it for files.

use std::fmt::Write as _;
use std::ops::Range;

use crate::size::bytes as size;

/// The maximum number of combining characters in a row. Longer stacks can cover adjacent lines.
const MOST_COMBINING: usize = 3;

/// The maximum length of a path key in characters. Longer paths are identified by a digest.
const KEY_CHARS: usize = 4_000;

/// The kind of a text, which decides which characters need a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// A line without its newline. Tabs are kept, and a final carriage return belongs to the line ending.
    Line,
    /// The last line of a file without a final newline. A carriage return is like any other character.
    LastLine,
    /// A name, such as a path, in which tabs are unusual.
    Name,
}

/// The meaning of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// An invisible character, or one that affects other characters.
    Hidden,
    /// The carriage return of a CRLF line ending.
    LineEnd,
    /// The rest of a text that is too long to show.
    Cut,
}

/// A text with its marks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Visible {
    text: String,
    marks: Vec<(Range<usize>, Mark)>,
}

impl Visible {
    /// Creates the visible form of a text. A mark replaces everything after `limit` bytes.
    pub fn new(bytes: &[u8], of: Of, limit: usize) -> Self {
        let mut shown = Self::default();
        let kept = cut(bytes, limit);
        let line_end = of == Of::Line && kept.len() == bytes.len() && kept.last() == Some(&b'\r');
        let body = if line_end { &kept[..kept.len() - 1] } else { kept };
        let mut before = Before::default();
        for chunk in body.utf8_chunks() {
            let mut rest = chunk.valid().chars().peekable();
            while let Some(character) = rest.next() {
                let is_hidden = before.is_hidden(character, rest.peek().copied(), of);
                if is_hidden { shown.mark(Mark::Hidden, &name(character)) } else { shown.text.push(character) }
            }
            for byte in chunk.invalid() {
                shown.mark(Mark::Hidden, &format!("<0x{byte:02X}>"));
                before = Before::default();
            }
        }
        if line_end {
            shown.mark(Mark::LineEnd, "␍");
        }
        if kept.len() < bytes.len() {
            shown.mark(Mark::Cut, &format!("… {} not shown", size((bytes.len() - kept.len()) as u64)));
        }
        shown
    }

    /// Creates the visible form of a complete name.
    pub fn name(name: impl AsRef<[u8]>) -> Self {
        Self::new(name.as_ref(), Of::Name, usize::MAX)
    }

    /// Creates the visible form of the first `limit` bytes of a name.
    pub fn short_name(name: impl AsRef<[u8]>, limit: usize) -> Self {
        Self::new(name.as_ref(), Of::Name, limit)
    }

    /// Returns the text, including its marks.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the ranges of the marks, in order.
    pub fn marks(&self) -> &[(Range<usize>, Mark)] {
        &self.marks
    }

    /// Returns the ranges of all pieces of the text, in order, with the marks.
    pub fn ranges(&self) -> impl Iterator<Item = (Range<usize>, Option<Mark>)> {
        let mut at = 0;
        let ends = self.marks.iter().flat_map(|(range, mark)| [(range.start, None), (range.end, Some(*mark))]);
        ends.chain([(self.text.len(), None)]).filter_map(move |(end, mark)| {
            let piece = at..end;
            at = end;
            (!piece.is_empty()).then_some((piece, mark))
        })
    }

    /// Returns all pieces of the text, in order, with the marks.
    pub fn pieces(&self) -> impl Iterator<Item = (&str, Option<Mark>)> {
        self.ranges().map(|(range, mark)| (&self.text[range], mark))
    }

    /// Returns whether the text contains hidden characters.
    pub fn has_hidden(&self) -> bool {
        self.marks.iter().any(|(_, mark)| *mark == Mark::Hidden)
    }

    /// Returns the text for output without styles. Letters that look like a mark are escaped, so the text stays unambiguous.
    pub fn plain(&self) -> String {
        let mut plain = String::with_capacity(self.text.len());
        for (piece, mark) in self.pieces() {
            if mark.is_some() {
                plain.push_str(piece);
                continue;
            }
            for (at, character) in piece.char_indices() {
                let begins_mark = character == '<' && ["<U+", "<0x"].iter().any(|mark| piece[at..].starts_with(mark));
                let is_picture = matches!(character, '\u{2400}'..='\u{243f}');
                if begins_mark || is_picture { plain.push_str(&code_point(character)) } else { plain.push(character) }
            }
        }
        plain
    }
}

/// Returns a complete and unambiguous name for output without styles.
pub fn plain_name(name: impl AsRef<[u8]>) -> String {
    Visible::name(name).plain()
}

/// Returns a key for a path in a URL or a form. Browsers return it unchanged, and different paths have different keys.
pub fn path_key(path: &[u8]) -> String {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'<';
    if path.len() <= KEY_CHARS && path.iter().all(is_plain) {
        return String::from_utf8_lossy(path).into_owned();
    }
    let plain = plain_name(path);
    if plain.chars().nth(KEY_CHARS).is_none() {
        return plain;
    }
    let mut key: String = plain.chars().take(200).collect();
    key.push('…');
    for byte in ring::digest::digest(&ring::digest::SHA256, path).as_ref() {
        let _ = write!(key, "{byte:02x}");
    }
    key
}

/// Returns whether a text contains characters that [`Visible`] marks as hidden.
pub fn has_hidden(bytes: &[u8], of: Of) -> bool {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
    let body = if of == Of::Line { bytes.strip_suffix(b"\r").unwrap_or(bytes) } else { bytes };
    if of != Of::Name && body.iter().all(is_plain) {
        return false;
    }
    let mut before = Before::default();
    body.utf8_chunks().any(|chunk| {
        let mut rest = chunk.valid().chars().peekable();
        while let Some(character) = rest.next() {
            if before.is_hidden(character, rest.peek().copied(), of) {
                return true;
            }
        }
        !chunk.invalid().is_empty()
    })
}

/// Returns at most `limit` bytes without a partial character at the end.
fn cut(bytes: &[u8], limit: usize) -> &[u8] {
    if bytes.len() <= limit {
        return bytes;
    }
    let is_inside = |at: &usize| bytes[*at] & 0xc0 == 0x80;
    let end = (limit.saturating_sub(3)..=limit).rev().find(|at| !is_inside(at)).unwrap_or(limit);
    &bytes[..end]
}

impl Visible {
    fn mark(&mut self, mark: Mark, shown: &str) {
        let start = self.text.len();
        self.text.push_str(shown);
        match self.marks.last_mut().filter(|(range, last)| range.end == start && *last == mark) {
            Some((range, _)) => range.end = self.text.len(),
            None => self.marks.push((start..self.text.len(), mark)),
        }
    }
}

/// The context before a character.
#[derive(Debug, Default)]
struct Before {
    /// The last character without a mark.
    character: Option<char>,
    combining: usize,
}

impl Before {
    /// Returns whether the next character needs a mark.
    fn is_hidden(&mut self, character: char, next: Option<char>, of: Of) -> bool {
        let is_hidden = match character {
            ' '..='~' => false,
            '\t' => of == Of::Name,
            '\u{fe0e}' | '\u{fe0f}' => !self.takes_variation(next),
            _ if is_combining(character) => {
                self.combining += 1;
                // At the start, the character would combine with the text before it on the page or in the terminal.
                self.character.is_none() || self.combining > MOST_COMBINING
            }
            _ => is_invisible(character),
        };
        if !is_combining(character) {
            self.combining = 0;
        }
        if is_hidden {
            self.character = None;
        } else if !is_combining(character) {
            self.character = Some(character);
        }
        is_hidden
    }

    /// Returns whether a variation selector belongs to the character before it.
    fn takes_variation(&self, next: Option<char>) -> bool {
        match self.character {
            Some('0'..='9' | '#' | '*') => next == Some('\u{20e3}'),
            Some('\u{a9}' | '\u{ae}' | '\u{203c}'..='\u{3299}' | '\u{1f000}'..='\u{1faff}') => true,
            Some(_) | None => false,
        }
    }
}

fn is_combining(character: char) -> bool {
    matches!(
        character,
        '\u{300}'..='\u{34e}' | '\u{350}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
            | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}'
    )
}

/// Returns whether a character is a control or format character, an ignorable character, an unusual space or a noncharacter.
pub fn is_invisible(character: char) -> bool {
    let is_listed = matches!(
        character,
        // Soft hyphen, grapheme joiner, Arabic letter mark, and invisible letters of Hangul, Khmer and Mongolian.
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{3164}' | '\u{ffa0}'
            // Spaces of all widths, and the spaces of Ogham and Braille.
            | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{205f}' | '\u{2800}'
            // Zero-width characters, directions, line and paragraph separators, invisible operators, and shaping.
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            // Variation selectors, the byte order mark, annotations, and the object replacement character.
            | '\u{fe00}'..='\u{fe0d}' | '\u{feff}' | '\u{fff0}'..='\u{fffc}'
            // Format controls of hieroglyphs, shorthand and music, tags, and further variation selectors.
            | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
            | '\u{fdd0}'..='\u{fdef}'
    );
    character.is_control() || is_listed || u32::from(character) & 0xfffe == 0xfffe
}

/// Returns the name of a character in a mark.
fn name(character: char) -> String {
    let picture = match character {
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(character)),
        '\u{7f}' => Some('␡'),
        _ => None,
    };
    picture.map_or_else(|| code_point(character), String::from)
}

fn code_point(character: char) -> String {
    format!("<U+{:04X}>", u32::from(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: impl AsRef<[u8]>) -> Visible {
        Visible::new(bytes.as_ref(), Of::Line, usize::MAX)
    }

    /// Returns the text with its marks in brackets.
    fn shown(visible: &Visible) -> String {
        visible.pieces().map(|(text, mark)| if mark.is_some() { format!("[{text}]") } else { text.to_owned() }).collect()
    }

    #[track_caller]
    fn check(bytes: impl AsRef<[u8]>, expect: &str) {
        assert_eq!(shown(&line(bytes.as_ref())), expect);
        assert_eq!(has_hidden(bytes.as_ref(), Of::Line), line(bytes.as_ref()).has_hidden(), "{expect}");
    }

    #[test]
    fn what_stands_between_escape_sequences_is_shown() {
        for opener in ["\u{1b}]", "\u{1b}P", "\u{1b}X", "\u{1b}^", "\u{1b}_"] {
            check(format!(": '{opener}'; evil; : '\u{7}'"), &format!(": '[␛]{}'; evil; : '[␇]'", &opener[1..]));
            check(format!("{opener}evil"), &format!("[␛]{}evil", &opener[1..]));
        }
        for opener in ['\u{90}', '\u{98}', '\u{9b}', '\u{9d}', '\u{9e}', '\u{9f}'] {
            check(format!("a{opener}evil\u{9c}b"), &format!("a[<U+{:04X}>]evil[<U+009C>]b", u32::from(opener)));
        }
        check("\u{1b}[2Jclear\u{1b}[1;31mred", "[␛][2Jclear[␛][1;31mred");
    }

    #[test]
    fn characters_that_hide_or_move_text_are_marked() {
        check("safe\rrm", "safe[␍]rm");
        check("ab\u{8}\u{8}x\0\u{7f}", "ab[␈␈]x[␀␡]");
        check("user\u{202e}txt\u{2066}", "user[<U+202E>]txt[<U+2066>]");
        check("a\u{200b}b\u{feff}c\u{ad}d\u{3164}e", "a[<U+200B>]b[<U+FEFF>]c[<U+00AD>]d[<U+3164>]e");
        check("// x\u{2028}evil()\u{85}more", "// x[<U+2028>]evil()[<U+0085>]more");
        check("a\u{e0041}\u{e0100}", "a[<U+E0041><U+E0100>]");
        check("a\u{2800}b\u{180e}c\u{61c}", "a[<U+2800>]b[<U+180E>]c[<U+061C>]");
    }

    #[test]
    fn text_of_all_languages_stays_as_it_is() {
        for text in [
            "fn a() {\tb }",
            "ç ñ 日本語\u{3000}。 שלום مرحبا",
            "e\u{301} a\u{a0}b",
            "❤\u{fe0f} 1\u{fe0f}\u{20e3} 🦀",
            "␛ <U+202E>",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn selectors_and_combining_characters_without_their_base_are_marked() {
        check("a\u{fe0f}1\u{fe0f}2", "a[<U+FE0F>]1[<U+FE0F>]2");
        check("😀\u{fe0f}\u{fe0f}\u{fe01}", "😀\u{fe0f}[<U+FE0F><U+FE01>]");
        check("\u{338}x", "[<U+0338>]x");
        check(format!("a{}", "\u{20dd}".repeat(5)), "a\u{20dd}\u{20dd}\u{20dd}[<U+20DD><U+20DD>]");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_told_apart() {
        check(b"a\xff\xfeb", "a[<0xFF><0xFE>]b");
        check(b"\xed\xa0\x80", "[<0xED><0xA0><0x80>]");
        check("\u{fffd}", "\u{fffd}");
    }

    #[test]
    fn the_carriage_return_of_a_line_end_is_no_warning() {
        let crlf = line("a\r");
        assert_eq!((crlf.text(), crlf.marks(), crlf.has_hidden()), ("a␍", &[(1..4, Mark::LineEnd)][..], false));
        assert!(line("a\r\r").has_hidden());
        assert!(Visible::new(b"a\r", Of::LastLine, 9).has_hidden() && has_hidden(b"a\r", Of::LastLine));
    }

    #[test]
    fn without_a_style_a_mark_still_differs_from_its_letters() {
        let plain = |text: &str| line(text).plain();
        assert_eq!(plain("\u{1b}\u{202e}"), "␛<U+202E>");
        assert_eq!(plain("␛<U+202E><0xFF>"), "<U+241B><U+003C>U+202E><U+003C>0xFF>");
        assert_eq!(plain("if a <U && b < 0x1 {}"), "if a <U && b < 0x1 {}");
    }

    #[test]
    fn what_is_cut_says_so_and_keeps_whole_characters() {
        let cut = Visible::new("aé🦀b".as_bytes(), Of::Line, 5);
        assert_eq!(shown(&cut), "aé[… 5 bytes not shown]");
        assert_eq!(shown(&Visible::new(&[0x80; 10], Of::Line, 4)), "[<0x80><0x80><0x80><0x80>][… 6 bytes not shown]");
        assert_eq!(shown(&Visible::new(b"\r\r", Of::Line, 1)), "[␍][… 1 byte not shown]");
    }

    #[test]
    fn names_that_differ_have_keys_that_differ() {
        let names: [&[u8]; 8] = [b"a b", b"a  b", b"a\tb", b"a\nb", b"a\xffb", b"a\xfeb", "a\u{200b}b".as_bytes(), b"a<0xFF>b"];
        let keys: std::collections::BTreeSet<_> = names.iter().map(|name| path_key(name)).collect();
        assert_eq!(keys.len(), names.len(), "{keys:?}");
        assert_eq!(path_key("src/é.rs".as_bytes()), "src/é.rs");
        let long = |end: &str| path_key(format!("{}{end}", "x".repeat(9_000)).as_bytes());
        assert!(long("a") != long("b") && long("a").len() < 300);
    }
}
