//! Fuzzes the files of a repository that describe its environment, or that a description is proposed from. Any proposal must be a valid
//! description, and a description must be read as it was written.
//!
//! The text before the first line that starts with `@` is a description. Each such line is the path of a file, whose text follows.

#![no_main]

use std::collections::BTreeMap;

use environment_file::{SOURCES, format, parse, propose};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut parts = text.split("\n@");
    let description = parts.next().unwrap_or_default();
    if let Ok(description) = parse(description) {
        let written = format(&description);
        assert_eq!(parse(&written).as_ref(), Ok(&description), "{written}");
    }
    let named = |part: &str| {
        let (path, text) = part.split_once('\n').unwrap_or((part, ""));
        // A number chooses any of the paths, because the fuzzer finds no path letter by letter.
        let path = path.parse().ok().and_then(|number: usize| SOURCES.get(number)).map_or(path, |path| path);
        (path.to_owned(), text.to_owned())
    };
    let files: BTreeMap<String, String> = parts.map(named).collect();
    if let Some(proposal) = propose(&files) {
        let written = format(&proposal.description);
        assert_eq!(parse(&written).as_ref(), Ok(&proposal.description), "{written}");
        assert!(files.contains_key(&proposal.source), "{}", proposal.source);
        assert!(proposal.notes.iter().all(|note| !note.contains(char::is_control)), "{:?}", proposal.notes);
    }
});
