//! Finds every text in this repository, with its place, its kind and its sentences.
//!
//! It reads files and never changes them. `lexer.rs` finds strings and comments in source code, `markdown.rs` finds prose in documents,
//! `words.rs` finds patterns that our writing guide rejects, and `sample.rs` draws sentences at random. `examples.rs` tests that the
//! examples of error codes are messages in the sources.

#[cfg(test)]
mod examples;
mod lexer;
mod markdown;
mod sample;
mod sentences;
mod words;

use std::io;
use std::path::{Path, PathBuf};

pub(crate) use lexer::product_lines;
pub(crate) use sample::sample;
pub(crate) use words::complaints;

/// Folders with generated files or with files of other projects.
const SKIPPED: [&str; 5] = ["target", ".git", "node_modules", "vendor", "snapshots"];

/// The kind of text that a sentence belongs to. A sample has the same number of sentences of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum TextKind {
    /// The help of a command or an option.
    Help,
    /// Errors and hints.
    Error,
    /// Pages, their scripts, and notifications.
    Page,
    /// What commands print, what the server logs, and prompts for the agent.
    Output,
    /// Documents for people.
    Document,
    /// Comments in source code.
    Comment,
    /// Doc comments.
    DocComment,
    /// Comments and messages in tests.
    Test,
}

impl TextKind {
    /// All kinds, in the order of a sample.
    pub(crate) const ALL: [Self; 8] =
        [Self::Help, Self::Error, Self::Page, Self::Output, Self::Document, Self::Comment, Self::DocComment, Self::Test];

    /// The heading of this kind in a sample.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Help => "Help",
            Self::Error => "Errors and hints",
            Self::Page => "Pages and notifications",
            Self::Output => "Output, logs and prompts",
            Self::Document => "Documents",
            Self::Comment => "Comments",
            Self::DocComment => "Doc comments",
            Self::Test => "Tests",
        }
    }
}

/// A piece of text: a string, a paragraph, or adjacent lines of a comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    /// The kind of the text.
    pub(crate) kind: TextKind,
    /// The path of the file, relative to the root of the repository.
    pub(crate) file: String,
    /// The line where the text starts, counted from 1.
    pub(crate) line: usize,
    /// The text, with single spaces instead of line breaks.
    pub(crate) content: String,
}

/// A file that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("could not read {path}: {source}")]
pub(crate) struct ReadError {
    path: PathBuf,
    source: io::Error,
}

/// Returns all texts below `folder`, a folder or file in the repository at `root`, ordered by file and line.
pub(crate) fn collect(root: &Path, folder: &Path) -> Result<Vec<Text>, ReadError> {
    let mut files = Vec::new();
    walk(folder, &mut files)?;
    files.sort();
    let mut texts = Vec::new();
    for path in files {
        let file = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let Some(read) = reader(&file) else { continue };
        let content = std::fs::read_to_string(&path).map_err(|source| ReadError { path: path.clone(), source })?;
        texts.extend(read(&file, &content));
    }
    Ok(texts)
}

type Reader = fn(&str, &str) -> Vec<Text>;

/// Returns the function that finds the texts of a file, based on the name of the file.
fn reader(file: &str) -> Option<Reader> {
    // Skip the list of rejected patterns, which must contain them, the keywords of languages, and texts that other projects wrote.
    let is_data = file.starts_with("xtask/src/texts/") || file.ends_with("highlight/src/languages.rs");
    if is_data || file.contains(".min.") || file == "CODE_OF_CONDUCT.md" {
        return None;
    }
    let extension = Path::new(file).extension().and_then(|extension| extension.to_str())?;
    match extension {
        "rs" => Some(lexer::rust),
        "js" => Some(lexer::script),
        "css" => Some(lexer::style),
        "sh" | "toml" | "yml" | "yaml" | "py" => Some(lexer::hash_comments),
        "md" => Some(markdown::paragraphs),
        _ => None,
    }
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), ReadError> {
    let at = |source| ReadError { path: folder.to_owned(), source };
    if folder.is_file() {
        files.push(folder.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(folder).map_err(at)? {
        let entry = entry.map_err(at)?;
        if SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
            continue;
        }
        if entry.file_type().map_err(at)?.is_dir() {
            walk(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Returns the names of the crates whose texts users can see, sorted: all except those for tests.
#[cfg(test)]
fn product_crates(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root.join("crates")).expect("the crates can be listed");
    let names = entries.map(|entry| entry.expect("the crates can be listed").file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| !["scripted-model", "testkit"].contains(&name.as_str())).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// Returns every error and hint of a crate, one per line. Without line numbers, the snapshot changes only if a text changes.
    fn errors_of(name: &str) -> String {
        let root = crate::root();
        let texts = collect(root, &root.join("crates").join(name).join("src")).expect("the sources can be read");
        let mut list = String::new();
        let mut file = "";
        for text in texts.iter().filter(|text| text.kind == TextKind::Error) {
            if text.file != file {
                file = &text.file;
                writeln!(list, "\n{file}").expect("writing to a string succeeds");
            }
            writeln!(list, "  {}", text.content).expect("writing to a string succeeds");
        }
        list
    }

    #[test]
    fn every_error_and_hint_reads_as_reviewed() {
        let lists: Vec<_> = product_crates(crate::root()).into_iter().map(|name| (errors_of(&name), name)).collect();
        let all: usize = lists.iter().map(|(list, _)| list.lines().count()).sum();
        assert!(all > 500, "the errors of the product are found: {all}");
        for (list, name) in lists.into_iter().filter(|(list, _)| !list.is_empty()) {
            insta::assert_snapshot!(format!("errors_{name}"), list);
        }
    }

    #[test]
    fn every_kind_of_text_is_found_in_this_repository() {
        let texts = collect(crate::root(), crate::root()).expect("the repository can be read");
        for kind in TextKind::ALL {
            assert!(texts.iter().filter(|text| text.kind == kind).count() > 50, "{kind:?}");
        }
    }
}
