//! Finds strings and comments in source code, with the call or macro that a string belongs to.
//!
//! Pure: text in, texts out. It knows just enough of each language: quotes, escapes, comments and brackets.

use std::ops::RangeInclusive;

use super::{Text, TextKind};

/// A string or comment whose kind of text is not known yet.
enum Lexeme {
    /// The value of a string, and the names before the brackets around it, outermost first.
    Str(String, Vec<String>),
    /// A comment, with its markers.
    Comment(String),
}

/// Returns the strings and comments of Rust source code.
pub(super) fn rust(file: &str, content: &str) -> Vec<Text> {
    let product = product_lines(file, content);
    let is_help = file.contains("/args") && file.contains("/src/");
    let is_page = file.contains("web/src/pages") || file.contains("notice") || file.contains("notify");
    let mut texts = Vec::new();
    for (line, found) in Lexer::new(content, Language::Rust).all() {
        let is_test = !product.contains(&line);
        let surroundings = Surroundings { is_test, is_help, is_page };
        match found {
            Lexeme::Comment(comment) => {
                let is_doc = comment.starts_with("///") || comment.starts_with("//!");
                let kind = match (is_test, is_doc) {
                    (true, _) => TextKind::Test,
                    (false, true) if is_help && comment.starts_with("///") => TextKind::Help,
                    (false, true) => TextKind::DocComment,
                    (false, false) => TextKind::Comment,
                };
                let text = comment.trim_start_matches(['/', '!', '*']).trim().to_owned();
                texts.push(Text { kind, file: file.to_owned(), line, content: text });
            }
            Lexeme::Str(value, calls) => {
                if let Some(kind) = kind_of_string(&calls, surroundings)
                    && is_prose(&value, kind)
                {
                    texts.push(Text { kind, file: file.to_owned(), line, content: value });
                }
            }
        }
    }
    joined(texts, content)
}

/// Returns every string of Rust source code outside of tests, even if it does not read like language.
#[cfg(test)]
pub(super) fn product_strings(file: &str, content: &str) -> Vec<String> {
    let product = product_lines(file, content);
    let found = Lexer::new(content, Language::Rust).all().into_iter().filter(|(line, _)| product.contains(line));
    found
        .filter_map(|(_, found)| match found {
            Lexeme::Str(value, _) => Some(value),
            Lexeme::Comment(_) => None,
        })
        .collect()
}

/// Returns the lines of Rust source code before its inline tests. A file of tests has none.
pub(crate) fn product_lines(file: &str, content: &str) -> RangeInclusive<usize> {
    let is_test_file =
        ["tests/", "/tests", "benches/", "testkit/", "scripted-model/", "examples/"].iter().any(|part| file.contains(part))
            || file.ends_with("tests.rs");
    let is_inline = |at: &usize| content[*at..].lines().nth(1).is_some_and(|line| line.ends_with('{'));
    let mut modules = content.match_indices("#[cfg(test)]\nmod ").map(|(at, _)| at);
    let before_tests = modules.find(is_inline).map_or(usize::MAX, |at| content[..at].lines().count());
    1..=if is_test_file { 0 } else { before_tests }
}

/// Returns the strings and comments of JavaScript.
pub(super) fn script(file: &str, content: &str) -> Vec<Text> {
    let mut texts = Vec::new();
    for (line, found) in Lexer::new(content, Language::Script).all() {
        let (kind, text) = match found {
            Lexeme::Comment(comment) => (TextKind::Comment, comment.trim_matches(['/', '*', ' ']).to_owned()),
            Lexeme::Str(value, _) => (TextKind::Page, value),
        };
        if is_prose(&text, kind) {
            texts.push(Text { kind, file: file.to_owned(), line, content: text });
        }
    }
    joined(texts, content)
}

/// Returns the comments of CSS.
pub(super) fn style(file: &str, content: &str) -> Vec<Text> {
    let comments = script(file, content).into_iter().filter(|text| text.kind == TextKind::Comment);
    comments.collect()
}

/// Returns the comments that start with `#` at the beginning of a line, as in shell scripts, TOML, YAML and Python.
pub(super) fn hash_comments(file: &str, content: &str) -> Vec<Text> {
    let lines = content.lines().enumerate().filter_map(|(at, line)| {
        let comment = line.trim_start().strip_prefix('#')?;
        let text = comment.trim_start_matches('#').trim();
        (!comment.starts_with('!') && is_prose(text, TextKind::Comment)).then(|| Text {
            kind: TextKind::Comment,
            file: file.to_owned(),
            line: at + 1,
            content: text.to_owned(),
        })
    });
    joined(lines.collect(), content)
}

/// Joins comments of the same kind on adjacent lines that contain only comments. A list item remains a separate text.
fn joined(texts: Vec<Text>, content: &str) -> Vec<Text> {
    let lines: Vec<&str> = content.lines().collect();
    let is_comment_line = |line: usize| {
        let start = lines.get(line.saturating_sub(1)).map_or("", |line| line.trim_start());
        start.starts_with("//") || start.starts_with('#') && !start.starts_with("#[")
    };
    let mut result: Vec<(Text, usize)> = Vec::new();
    for text in texts {
        let is_item = text.content.starts_with(['*', '-', '|', '#']) || text.content.is_empty();
        match result.last_mut() {
            Some((before, last))
                if before.kind == text.kind
                    && *last + 1 == text.line
                    && is_comment_line(*last)
                    && is_comment_line(text.line)
                    && !is_item
                    && !before.content.is_empty() =>
            {
                before.content.push(' ');
                before.content.push_str(&text.content);
                *last = text.line;
            }
            _ => {
                let line = text.line;
                result.push((text, line));
            }
        }
    }
    result.into_iter().map(|(text, _)| text).filter(|text| !text.content.is_empty()).collect()
}

/// The kind of code around a string.
#[derive(Debug, Clone, Copy)]
struct Surroundings {
    is_test: bool,
    is_help: bool,
    is_page: bool,
}

/// Returns the kind of text that a string is, based on the calls and macros around it, or `None` if no user reads the string.
fn kind_of_string(calls: &[String], surroundings: Surroundings) -> Option<TextKind> {
    const LOGS: [&str; 5] = ["trace!", "debug!", "info!", "warn!", "error!"];
    const ERRORS: [&str; 18] = [
        "error",
        "hint",
        "hints",
        "unusable",
        "refused",
        "refusal",
        "wrong",
        "failed",
        "internal",
        "not_found",
        "invalid",
        "trouble",
        "malformed",
        "unavailable",
        "problem",
        "failure",
        "finding",
        "complaint",
    ];
    const TYPES: [&str; 7] = ["Problem", "RunError", "Failure", "Finding", "Blocker", "Report", "Trouble"];
    const CHECKS: [&str; 7] = ["assert!", "assert_eq!", "assert_ne!", "expect", "expect_err", "panic!", "unreachable!"];
    let name = |call: &str| call.rsplit("::").next().unwrap_or_default().to_owned();
    let any = |list: &[&str]| calls.iter().any(|call| list.contains(&name(call).as_str()));
    if surroundings.is_test {
        return any(&CHECKS).then_some(TextKind::Test);
    }
    let of_type = calls.iter().any(|call| {
        let mut parts = call.rsplit("::").skip(1);
        parts.next().is_some_and(|part| TYPES.contains(&part))
    });
    match () {
        () if any(&LOGS) => Some(TextKind::Output),
        () if any(&ERRORS) || of_type => Some(TextKind::Error),
        () if surroundings.is_help && any(&["arg", "command", "clap"]) => Some(TextKind::Help),
        () if surroundings.is_page || any(&["html!"]) => Some(TextKind::Page),
        () if any(&["expect"]) => Some(TextKind::Comment),
        () => Some(TextKind::Output),
    }
}

/// Whether a string reads like language rather than like a path, a command or a key.
fn is_prose(text: &str, kind: TextKind) -> bool {
    let words = text.split_whitespace().filter(|word| {
        let word = word.trim_matches(|c: char| c.is_ascii_punctuation());
        word.len() > 1 && word.chars().all(|c| c.is_alphabetic() || c == '\'' || c == '-')
    });
    let enough = match kind {
        TextKind::Page => 1,
        _ => 2,
    };
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    let is_code = has(&["::", "--", "/*", "<svg", "</", "=\"", "();"]) && !text.contains('`');
    let is_header_or_selector = kind == TextKind::Page && has(&["; Path=", "max-age=", "={", ", .", "'none'", "\" + "]);
    words.count() >= enough
        && !is_code
        && !is_header_or_selector
        && text.trim().contains(' ')
        && text.chars().any(char::is_lowercase)
}

/// The language that the lexer reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Language {
    Rust,
    Script,
}

/// Reads source code character by character.
struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    language: Language,
    /// The names before the open brackets.
    calls: Vec<String>,
    /// The last path that was read, e.g. `Problem::new` or `info!`.
    path: String,
}

impl<'a> Lexer<'a> {
    fn new(content: &'a str, language: Language) -> Self {
        Self { rest: content, line: 1, language, calls: Vec::new(), path: String::new() }
    }

    fn all(mut self) -> Vec<(usize, Lexeme)> {
        let mut found = Vec::new();
        while let Some(first) = self.rest.chars().next() {
            let line = self.line;
            if self.rest.starts_with("//") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                found.push((line, Lexeme::Comment(self.take(end).to_owned())));
            } else if self.rest.starts_with("/*") {
                let end = self.rest.find("*/").map_or(self.rest.len(), |end| end + 2);
                found.push((line, Lexeme::Comment(single_spaced(self.take(end)))));
            } else if let Some(hashes) = self.raw_string() {
                let quote = self.rest.find('"').unwrap_or_default() + 1;
                self.take(quote);
                let close = format!("\"{}", "#".repeat(hashes));
                let end = self.rest.find(&close).unwrap_or(self.rest.len());
                let value = self.take(end).to_owned();
                self.take(close.len().min(self.rest.len()));
                found.push((line, Lexeme::Str(single_spaced(&value), self.calls())));
            } else if first == '"' || self.language == Language::Script && (first == '\'' || first == '`') {
                let value = self.quoted(first);
                found.push((line, Lexeme::Str(single_spaced(&value), self.calls())));
            } else if first == '\'' {
                self.char_or_lifetime();
            } else {
                self.code(first);
            }
        }
        found
    }

    /// Returns the number of `#` if a raw string starts here.
    fn raw_string(&self) -> Option<usize> {
        let ends_a_name = self.path.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        let after = self.rest.strip_prefix("br").or_else(|| self.rest.strip_prefix('r'))?;
        let hashes = after.len() - after.trim_start_matches('#').len();
        (self.language == Language::Rust && !ends_a_name && after[hashes..].starts_with('"')).then_some(hashes)
    }

    /// Returns the calls around the next text, and the name that a value is assigned to, as in `#[arg(help = "…")]`.
    fn calls(&self) -> Vec<String> {
        self.calls.iter().filter(|call| !call.is_empty()).cloned().collect()
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        self.line += taken.matches('\n').count();
        taken
    }

    /// Returns the value of a string with escapes. A `\` at the end of a line joins the line with the next one.
    fn quoted(&mut self, quote: char) -> String {
        self.take(1);
        let mut value = String::new();
        while let Some(c) = self.rest.chars().next() {
            self.take(c.len_utf8());
            if c == quote {
                break;
            }
            if c != '\\' {
                value.push(c);
                continue;
            }
            let Some(escaped) = self.rest.chars().next() else { break };
            self.take(escaped.len_utf8());
            match escaped {
                '\n' => {
                    let blank = self.rest.len() - self.rest.trim_start().len();
                    self.take(blank);
                }
                'n' | 't' | 'r' => value.push(' '),
                other => value.push(other),
            }
        }
        value
    }

    fn char_or_lifetime(&mut self) {
        let mut chars = self.rest.chars().skip(1);
        let (first, second) = (chars.next(), chars.next());
        if first == Some('\\') {
            let end = self.rest[2..].char_indices().skip(1).find(|(_, c)| *c == '\'').map_or(self.rest.len(), |(at, _)| at + 3);
            self.take(end);
        } else if second == Some('\'') {
            self.take(2 + first.map_or(0, char::len_utf8));
        } else {
            self.take(1);
        }
    }

    fn code(&mut self, first: char) {
        match first {
            '(' | '[' | '{' => self.calls.push(std::mem::take(&mut self.path)),
            ')' | ']' | '}' => {
                self.calls.pop();
                self.path.clear();
            }
            c if c.is_alphanumeric() || matches!(c, '_' | ':' | '!') => self.path.push(c),
            c if c.is_whitespace() => {
                if self.path.ends_with(|c: char| c.is_alphanumeric()) {
                    self.path.push(' ');
                }
                self.path = self.path.split(' ').next_back().unwrap_or_default().to_owned();
            }
            _ => self.path.clear(),
        }
        self.take(first.len_utf8());
    }
}

fn single_spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(content: &str) -> Vec<(TextKind, usize, String)> {
        rust("crates/engine/src/a.rs", content).into_iter().map(|text| (text.kind, text.line, text.content)).collect()
    }

    fn one(kind: TextKind, line: usize, text: &str) -> (TextKind, usize, String) {
        (kind, line, text.to_owned())
    }

    #[test]
    fn adjacent_lines_of_a_comment_are_one_text() {
        let source = "/// Returns the size\n/// in bytes.\n///\n/// A second paragraph.\nfn a() {} // an own comment\n// and another one\n";
        assert_eq!(
            found(source),
            [
                one(TextKind::DocComment, 1, "Returns the size in bytes."),
                one(TextKind::DocComment, 4, "A second paragraph."),
                one(TextKind::Comment, 5, "an own comment"),
                one(TextKind::Comment, 6, "and another one"),
            ]
        );
    }

    #[test]
    fn a_string_is_known_by_the_call_around_it() {
        let source = "\
#[error(\"could not read {0}\")]
struct A;
fn a(x: &'static str) {
    info!(run = 1, \"run finished early\");
    Problem::new(Code::A, format!(\"no task named `{x}`\")).hint(\"list the tasks\");
    let path = \"git/config\"; let quote = '\"'; let escape = '\\'';
    print(r#\"two \"quoted\" words\"#);
}
#[cfg(test)]
mod tests {
    fn a() { check(\"not a text\"); value.expect(\"the file is there\"); }
}
";
        assert_eq!(
            found(source),
            [
                one(TextKind::Error, 1, "could not read {0}"),
                one(TextKind::Output, 4, "run finished early"),
                one(TextKind::Error, 5, "no task named `{x}`"),
                one(TextKind::Error, 5, "list the tasks"),
                one(TextKind::Output, 7, "two \"quoted\" words"),
                one(TextKind::Test, 11, "the file is there"),
            ]
        );
    }

    #[test]
    fn a_string_over_several_lines_is_one_text() {
        let source = "fn a() { say(\"the first line \\\n    and the second\"); }\n";
        assert_eq!(found(source), [one(TextKind::Output, 1, "the first line and the second")]);
    }

    #[test]
    fn comments_of_scripts_and_settings_are_found() {
        let texts = hash_comments("a.sh", "#!/bin/sh\n# Start the worker\n# and wait.\nexec x # not at the start\n");
        assert_eq!(texts.iter().map(|text| text.content.as_str()).collect::<Vec<_>>(), ["Start the worker and wait."]);
        let texts =
            script("a.js", "// Load the list again.\nshow('Could not load the list'); f('x');\n/* The next\n   part. */\n");
        let texts: Vec<_> = texts.iter().map(|text| (text.kind, text.content.as_str())).collect();
        let expected = [
            (TextKind::Comment, "Load the list again."),
            (TextKind::Page, "Could not load the list"),
            (TextKind::Comment, "The next part."),
        ];
        assert_eq!(texts, expected);
    }
}
