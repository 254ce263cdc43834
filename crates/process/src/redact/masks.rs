//! Finds secret values in a text, in the forms in which they usually appear.
//!
//! A value is found if it appears literally, line by line, in a JSON string (even nested in another one), percent-encoded, and
//! in Base64. Any other form is not found, such as a reversed, hexadecimal or split value. Invariant: the time and memory for a
//! text depend on its length, not on the number of secrets.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use secret_forms::{SHORTEST_PART, encoded};

use super::{MASK, SHORTEST_SECRET};

/// The maximum length of the start of a value that is searched for. If the start is found, the following bytes of the value are
/// masked too.
const SEARCHED_BYTES: usize = 64;

/// The maximum number of values and forms to search for. Values come first.
const MOST_FORMS: usize = 20_000;

/// The maximum number of nested levels of JSON strings to decode.
const MOST_LEVELS: usize = 3;

/// The maximum length of a word with escapes that is held back, because it may be the start of a value.
const UNSETTLED_BYTES: usize = 4 * 1024;

/// The maximum number of comparisons per byte of a text.
const MOST_COMPARISONS: usize = 16;

/// The values to find.
#[derive(Clone, Default)]
pub(super) struct Masks(Option<Arc<Finder>>);

struct Finder {
    forms: Vec<String>,
    search: AhoCorasick,
}

impl Masks {
    pub(super) fn new(secrets: &[String]) -> Self {
        let forms = forms(secrets);
        if forms.is_empty() {
            return Self(None);
        }
        let searched = forms.iter().map(|form| &form.as_bytes()[..form.len().min(SEARCHED_BYTES)]);
        let search = AhoCorasick::builder().kind(Some(AhoCorasickKind::ContiguousNFA)).build(searched);
        let search = search.expect("the number and length of forms are within the limits of a search");
        Self(Some(Arc::new(Finder { forms, search })))
    }

    /// Returns the text without the values.
    pub(super) fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let Some(finder) = &self.0 else { return Cow::Borrowed(text) };
        let found = finder.find(text);
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut masked = String::with_capacity(text.len());
        let mut behind = 0;
        for range in found {
            masked.push_str(&text[behind..text.floor_char_boundary(range.start)]);
            masked.push_str(MASK);
            behind = text.ceil_char_boundary(range.end);
        }
        masked.push_str(&text[behind..]);
        Cow::Owned(masked)
    }

    /// Returns the length of the start of a growing text that is not the start of a value.
    pub(super) fn settled(&self, text: &str) -> usize {
        let Some(finder) = &self.0 else { return text.len() };
        let starts = |form: &String| {
            let longest = (form.len() - 1).min(text.len());
            (1..=longest).rev().find(|length| text.as_bytes().ends_with(&form.as_bytes()[..*length])).unwrap_or(0)
        };
        let open = finder.forms.iter().map(starts).max().unwrap_or(0);
        let length = text.floor_char_boundary(text.len() - open);
        // A value with escapes is recognized only as a whole.
        let word = text[..length].rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let escapes = text[word..length].contains('\\') && length - word < UNSETTLED_BYTES;
        if escapes { text.floor_char_boundary(word) } else { length }
    }
}

impl Finder {
    /// Returns the ranges of values, in order and without overlaps.
    fn find(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = vec![];
        self.find_in(text.as_bytes(), |range| found.push(range));
        let mut opened: Vec<UnescapedText> = vec![];
        for _ in 0..MOST_LEVELS {
            let Some(next) = UnescapedText::new(opened.last().map_or(text.as_bytes(), |outer| &outer.bytes)) else { break };
            opened.push(next);
            let outside = |at: usize| opened.iter().rev().fold(at, |at, opened| opened.outside(at));
            let inside = opened.last().map_or(&[][..], |opened| &opened.bytes);
            self.find_in(inside, |range| found.push(outside(range.start)..outside(range.end)));
        }
        found.sort_unstable_by_key(|range| range.start);
        let mut apart: Vec<Range<usize>> = vec![];
        for range in found {
            add(&mut apart, range);
        }
        apart
    }

    /// Finds values in the text. Overlapping values become one range.
    fn find_in(&self, text: &[u8], on_range: impl FnMut(Range<usize>)) {
        let mut ranges: Vec<Range<usize>> = vec![];
        let mut effort = text.len().saturating_mul(MOST_COMPARISONS);
        for found in self.search.find_overlapping_iter(text) {
            let form = self.forms[found.pattern()].as_bytes();
            let (rest, of_form) = (&text[found.end()..], &form[found.len()..]);
            let more = if effort > 0 {
                rest.iter().zip(of_form).take_while(|(one, other)| one == other).count()
            } else {
                // A repetitive value can start at every position. Masking too much is better than searching forever.
                rest.len().min(of_form.len())
            };
            effort = effort.saturating_sub(more);
            add(&mut ranges, found.start()..found.end() + more);
        }
        ranges.into_iter().for_each(on_range);
    }
}

/// Adds a range that ends after all others, or is within the last one.
fn add(ranges: &mut Vec<Range<usize>>, mut range: Range<usize>) {
    while let Some(last) = ranges.last()
        && last.end >= range.start
    {
        range = range.start.min(last.start)..range.end.max(last.end);
        ranges.pop();
    }
    ranges.push(range);
}

/// Returns the forms to search for. Forms of complete values come first, so that a large number of lines cannot displace them.
fn forms(secrets: &[String]) -> Vec<String> {
    let whole = || secrets.iter().filter(|secret| secret.len() >= SHORTEST_SECRET);
    let mut forms: Vec<String> = whole().cloned().collect();
    for secret in whole() {
        let opened = UnescapedText::new(secret.as_bytes()).map(|opened| String::from_utf8_lossy(&opened.bytes).into_owned());
        for text in std::iter::once(secret).chain(&opened) {
            if text.lines().nth(1).is_some() {
                forms.extend(text.lines().map(|line| line.trim().to_owned()).filter(|line| line.len() >= SHORTEST_PART));
            }
        }
    }
    for secret in whole() {
        forms.extend(encoded(secret));
    }
    let mut known = std::collections::HashSet::new();
    forms.retain(|form| known.insert(form.clone()));
    forms.truncate(MOST_FORMS);
    forms
}

/// A text in which the escapes of JSON strings are decoded.
struct UnescapedText {
    bytes: Vec<u8>,
    /// The positions after each escape: in `bytes`, and in the original text.
    behind: Vec<(u32, u32)>,
}

impl UnescapedText {
    /// Returns `None` if the text has no escape sequence.
    fn new(text: &[u8]) -> Option<Self> {
        let first = text.iter().position(|byte| *byte == b'\\')?;
        let mut opened = Self { bytes: Vec::with_capacity(text.len()), behind: vec![] };
        opened.bytes.extend_from_slice(&text[..first]);
        let mut at = first;
        while at < text.len() {
            if text[at] != b'\\' {
                opened.bytes.push(text[at]);
                at += 1;
                continue;
            }
            let (character, length) = escape(&text[at..]);
            let mut utf8 = [0; 4];
            opened.bytes.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
            at += length;
            // Texts are never 4 GiB long, because lines are bounded.
            if let (Ok(inside), Ok(outside)) = (u32::try_from(opened.bytes.len()), u32::try_from(at)) {
                opened.behind.push((inside, outside));
            }
        }
        Some(opened)
    }

    /// Returns the position in the original text.
    fn outside(&self, inside: usize) -> usize {
        let known = self.behind.partition_point(|(behind, _)| *behind as usize <= inside);
        match known.checked_sub(1).map(|last| self.behind[last]) {
            Some((behind, outside)) => outside as usize + (inside - behind as usize),
            None => inside,
        }
    }
}

/// Decodes an escape at the start of a text, and returns its length. An unknown escape is a literal backslash.
fn escape(text: &[u8]) -> (char, usize) {
    let Some(letter) = text.get(1) else { return ('\\', 1) };
    let simple = match letter {
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'"' | b'\\' | b'/' => char::from(*letter),
        b'u' => return unicode_escape(text),
        _ => return ('\\', 1),
    };
    (simple, 2)
}

fn unicode_escape(text: &[u8]) -> (char, usize) {
    let digits = |from: usize| {
        let digits = text.get(from..from + 4).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let Some(first) = digits(2) else { return ('\\', 1) };
    if (0xd800..0xdc00).contains(&first)
        && text.get(6..8) == Some(b"\\u")
        && let Some(second) = digits(8).filter(|second| (0xdc00..0xe000).contains(second))
        && let Some(character) = char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00))
    {
        return (character, 12);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 6)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use base64::Engine as _;
    use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};

    use super::*;

    fn check(secret: &str, text: &str, expect: &str) {
        assert_eq!(Masks::new(&[secret.to_owned()]).mask(text), expect);
    }

    const KEY: &str = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\n9w0BAQEFAASCBKcwggSj\nab==\n-----END KEY-----\n";

    #[test]
    fn a_value_is_found_in_strings_of_json_however_they_are_written() {
        check("hunter2", r#"{"text":"h\u0075nter2 \u0068\u0075\u006e\u0074\u0065\u0072\u0032"}"#, r#"{"text":"*** ***"}"#);
        check("a/b \"c\" \u{e4}", r#"{"x":"a\/b \"c\" \u00e4"}"#, r#"{"x":"***"}"#);
        check("x\u{1f980}yz", r#"["x\ud83e\udd80yz!"]"#, r#"["***!"]"#);
        let once = serde_json::Value::from("say \"hunter 2\u{1}\"\n").to_string();
        let twice = serde_json::Value::from(once.as_str()).to_string();
        let thrice = serde_json::Value::from(twice.as_str()).to_string();
        for text in [&once, &twice, &thrice] {
            let masked = Masks::new(&["hunter 2\u{1}".to_owned()]).mask(text).into_owned();
            assert!(masked.contains("***") && !masked.contains("hunter"), "{masked}");
            assert!(serde_json::from_str::<serde_json::Value>(&masked).is_ok(), "{masked}");
        }
    }

    #[test]
    fn each_line_of_a_key_is_found_alone_indented_or_with_a_carriage_return() {
        check(KEY, "  MIIEvQIBADANBgkqhkiG\r\n> 9w0BAQEFAASCBKcwggSj", "  ***\r\n> ***");
        check(KEY, r#"{"o":"MIIEvQIBADANBgkqhkiG\r\n9w0BAQEFAASCBKcwggSj\n"}"#, r#"{"o":"***\r\n***\n"}"#);
        check(KEY, &format!("all: {KEY}."), "all: ***.");
        check(KEY, "ab== is too short to distinguish from other text", "ab== is too short to distinguish from other text");
        let in_json = serde_json::json!({ "private_key": KEY }).to_string();
        check(&in_json, "\tMIIEvQIBADANBgkqhkiG", "\t***");
    }

    #[test]
    fn the_start_of_a_value_waits_for_the_rest() {
        let masks = Masks::new(&["hunter2".to_owned(), KEY.to_owned()]);
        let settled = |text: &str| text[..masks.settled(text)].to_owned();
        assert_eq!(settled("plain text\n"), "plain text\n");
        assert_eq!(settled("token: hunt"), "token: ");
        assert_eq!(settled("token: hunter2"), "token: hunter2");
        assert_eq!(settled("the end h"), "the end ");
        assert_eq!(settled("line MIIEvQIBADANB"), "line ");
        assert_eq!(settled(r"say h\u0075"), "say ");
        assert_eq!(Masks::new(&[]).settled("hunt"), 4);
        // However a text is cut, no part of a value is shown.
        let text = format!("a hunter2 b {KEY} c");
        for cut in 0..text.len() {
            let first = masks.settled(&text[..cut]);
            let shown = masks.mask(&text[..first]).into_owned() + &masks.mask(&text[first..]);
            assert_eq!(shown.replace("******", "***"), "a *** b *** c", "{cut}");
        }
    }

    #[test]
    fn a_value_is_found_percent_encoded_and_in_base64() {
        check("p&ss w/rd", "?a=p%26ss%20w%2Frd&b=p%26ss+w%2frd", "?a=***&b=***");
        let secret = "sk-a-long-secret?>~value";
        for before in ["", "u", "us", "user:"] {
            for after in ["", "\n", "rest"] {
                let plain = format!("{before}{secret}{after}");
                for encoded in [BASE64_STANDARD_NO_PAD.encode(&plain), BASE64_URL_SAFE_NO_PAD.encode(&plain)] {
                    let masked = Masks::new(&[secret.to_owned()]).mask(&encoded).into_owned();
                    let left = masked.replace(MASK, "").len();
                    assert!(masked.contains(MASK) && left <= 4 * (before.len() + after.len()).div_ceil(3) + 8, "{masked}");
                }
            }
        }
        let wrapped: Vec<_> = BASE64_STANDARD_NO_PAD.encode(KEY.repeat(3)).as_bytes().chunks(76).map(<[u8]>::to_vec).collect();
        for line in &wrapped[..wrapped.len() - 1] {
            let masked = Masks::new(&[KEY.repeat(3)]).mask(&String::from_utf8_lossy(line)).into_owned();
            assert_eq!(masked, MASK);
        }
    }

    #[test]
    fn values_that_overlap_are_masked_as_a_whole() {
        let masks = Masks::new(&["abcd1234".to_owned(), "1234wxyz".to_owned(), "wxyz".to_owned()]);
        assert_eq!(masks.mask("-abcd1234wxyz- wxyzwxyz"), "-***- ***");
        assert_eq!(masks.mask("abcd123 4wxy"), "abcd123 4wxy");
    }

    #[test]
    fn a_long_value_is_masked_as_far_as_it_goes() {
        let secret = "x".repeat(30) + &"0123456789".repeat(50);
        check(&secret, &format!("({secret})"), "(***)");
        check(&secret, &format!("({}!)", &secret[..300]), "(***!)");
    }

    #[test]
    fn a_hundred_secrets_and_a_long_line_take_a_moment() {
        let key =
            |n: usize| (0..20).map(|line: usize| format!("{n:04}-{line:04}-{}\n", "k".repeat(40))).collect::<Vec<_>>().concat();
        let secrets: Vec<_> = (0..100).map(key).collect();
        let started = Instant::now();
        let masks = Masks::new(&secrets);
        let built = started.elapsed();
        for piece in ["\\u0061", "\\n", "0001-0001-", "x", "\\\\\\\\"] {
            let line = piece.repeat(2 * 1024 * 1024 / piece.len());
            let started = Instant::now();
            let _masked = masks.mask(&line);
            assert!(started.elapsed() < Duration::from_secs(15), "{piece}: {:?}", started.elapsed());
        }
        assert!(built < Duration::from_secs(5), "{built:?}");
        let (masks, started) = (Masks::new(&["x".repeat(32 * 1024)]), Instant::now());
        assert_eq!(masks.mask(&"x".repeat(1024 * 1024)), MASK);
        assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    }
}
