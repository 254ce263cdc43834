//! Searches data for secret values, literally and in their encoded forms.

use std::io::{self, Read};

use aho_corasick::AhoCorasick;

use crate::encoded;

/// The minimum length of a value in bytes. Shorter ones also appear in other text.
pub const SHORTEST_VALUE: usize = 8;

/// The minimum length of a line in bytes that is searched for on its own. Shorter ones often appear in other files.
const SHORTEST_LINE: usize = 16;

/// The minimum length of an assigned value in bytes that is searched for on its own, if it has letters and digits.
const SHORTEST_ASSIGNED: usize = 12;

/// The maximum number of forms to search for. Whole values come first.
const MOST_FORMS: usize = 20_000;

/// The values to search for, each with a name.
#[derive(Debug, Clone)]
pub struct SecretSearch {
    search: AhoCorasick,
    /// The name of the secret for each form.
    names: Vec<String>,
}

/// Which parts of a value are searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// Only the whole value.
    Whole,
    /// The whole value, each of its longer lines, and what a line assigns, such as `value` in `key=value`.
    Lines,
}

impl SecretSearch {
    /// Returns a search for these secrets, by name, or `None` if none of them is long enough.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a str)>, parts: Parts) -> Option<Self> {
        // Files usually end with a line break, which is not part of a value elsewhere.
        let secrets: Vec<_> = secrets.into_iter().map(|(name, value)| (name, value.trim())).collect();
        let long = || secrets.iter().filter(|(_, value)| value.len() >= SHORTEST_VALUE);
        let mut forms: Vec<(&str, String)> = long().map(|&(name, value)| (name, value.to_owned())).collect();
        forms.extend(long().flat_map(|&(name, value)| encoded(value).into_iter().map(move |form| (name, form))));
        if parts == Parts::Lines {
            let parts = |value: &'a str| value.lines().flat_map(parts_of_line);
            forms.extend(long().flat_map(|&(name, value)| parts(value).map(move |part| (name, part.to_owned()))));
        }
        forms.retain(|(_, form)| form.len() >= SHORTEST_VALUE);
        forms.truncate(MOST_FORMS);
        let search = AhoCorasick::new(forms.iter().map(|(_, form)| form)).ok().filter(|_| !forms.is_empty())?;
        Some(Self { search, names: forms.into_iter().map(|(name, _)| name.to_owned()).collect() })
    }

    /// Returns the name of the first secret in these bytes.
    pub fn in_bytes(&self, bytes: &[u8]) -> Option<&str> {
        self.search.find(bytes).map(|found| self.names[found.pattern().as_usize()].as_str())
    }

    /// Returns the name of the first secret in a stream, without reading it into memory.
    pub fn in_stream(&self, stream: impl Read) -> io::Result<Option<&str>> {
        let found = self.search.stream_find_iter(stream).next().transpose()?;
        Ok(found.map(|found| self.names[found.pattern().as_usize()].as_str()))
    }
}

/// Returns the parts of a line that would reveal a secret: the line, and what it assigns.
fn parts_of_line(line: &str) -> impl Iterator<Item = &str> {
    let line = line.trim();
    let quotes = |c: char| matches!(c, '"' | '\'' | ',' | ';') || c.is_whitespace();
    let after = |mark: &str| line.split_once(mark).map(|(_, value)| value);
    let element = after(">").and_then(|rest| rest.split_once('<')).map(|(text, _)| text);
    let assigned = element.or_else(|| after("=").or_else(|| after(": "))).map(|value| value.trim_matches(quotes));
    let is_telling = |value: &&str| {
        let has = |kind: fn(&u8) -> bool| value.as_bytes().iter().any(kind);
        value.len() >= SHORTEST_ASSIGNED && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
    };
    Some(line).filter(|line| line.len() >= SHORTEST_LINE).into_iter().chain(assigned.filter(is_telling))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# settings\nAPI_TOKEN=tok-0123456789\nDEBUG=1\n";

    fn search(parts: Parts) -> SecretSearch {
        let secrets = [("NPM_TOKEN", "t0ken/with+signs?"), ("SHORT", "abc"), ("DOTENV", FILE)];
        SecretSearch::new(secrets, parts).expect("long values")
    }

    #[test]
    fn a_value_is_found_in_every_form() {
        for text in [
            "//registry/:_authToken=t0ken/with+signs?\n",
            "a=t0ken%2Fwith%2Bsigns%3F&b",
            "Authorization: Basic dXNlcjp0MGtlbi93aXRoK3NpZ25zPw==",
        ] {
            assert_eq!(search(Parts::Whole).in_bytes(text.as_bytes()), Some("NPM_TOKEN"), "{text}");
        }
        let far = format!("{}{FILE}", "x".repeat(200_000));
        assert_eq!(search(Parts::Whole).in_stream(far.as_bytes()).expect("readable"), Some("DOTENV"));
        assert_eq!(search(Parts::Lines).in_bytes(b"abc t0ken/with DEBUG=1"), None);
        assert!(SecretSearch::new([("A", " short \n")], Parts::Lines).is_none());
    }

    #[test]
    fn a_line_of_a_file_is_found_if_that_is_requested() {
        let line = b"  API_TOKEN=tok-0123456789\r\n";
        assert_eq!((search(Parts::Whole).in_bytes(line), search(Parts::Lines).in_bytes(line)), (None, Some("DOTENV")));
        assert_eq!(search(Parts::Lines).in_bytes(b"# settings"), None, "short lines appear in other files");
    }

    #[test]
    fn what_a_line_assigns_is_found_alone() {
        for (file, part) in [
            (FILE, Some("token = 'tok-0123456789'")),
            ("//registry.test/:_authToken=npm-secret-0815\n", Some("npm-secret-0815")),
            ("<server>\n  <password>pass-word-4711</password>\n</server>", Some("pass-word-4711")),
            ("password: \"pass-word-4711\",\nuser: me\n", Some("x pass-word-4711")),
            ("MODE=development-server\nSHORT=abc123\n", None),
        ] {
            let search = SecretSearch::new([("FILE", file)], Parts::Lines).expect("a long value");
            let text = part.unwrap_or("development-server abc123");
            assert_eq!(search.in_bytes(text.as_bytes()), part.map(|_| "FILE"), "{file}");
        }
    }
}
