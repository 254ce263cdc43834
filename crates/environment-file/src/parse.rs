//! Parses the text of a description.
//!
//! Invariant: an error names the line of the mistake wherever there is one, and says what to write instead.

use std::ops::Range;

use model::error_code::ErrorCode;
use model::problem::Problem;
use model::setup::Description;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::check::{self, Conflict};

/// The maximum size of a description in bytes.
pub const LIMIT_BYTES: usize = 256 * 1024;

/// The maximum length of an error message in characters.
const LIMIT_MESSAGE: usize = 400;

/// Why a text is not a description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", .line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct InvalidDescription {
    /// The number of the line, counted from 1, or `None` if the mistake is not in a single line.
    pub line: Option<usize>,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl InvalidDescription {
    /// Returns the problem for a description in this file.
    pub fn into_problem(self, file: &str) -> Problem {
        Problem::new(ErrorCode::DescriptionRefused, format!("invalid environment description in `{file}`: {self}"))
    }
}

/// Parses a description. The text is TOML of at most [`LIMIT_BYTES`].
pub fn parse(text: &str) -> Result<Description, InvalidDescription> {
    if text.len() > LIMIT_BYTES {
        let message = format!("the description has {} bytes; use at most {LIMIT_BYTES} (256 KiB)", text.len());
        return Err(InvalidDescription { line: None, message });
    }
    let description: Description = toml::from_str(text).map_err(|error| invalid(text, error.message(), error.span()))?;
    match check::conflict(&description) {
        None => Ok(description),
        Some(Conflict { place, item, message }) => Err(invalid(text, &message, span(text, &place, item.as_deref()))),
    }
}

fn invalid(text: &str, message: &str, span: Option<Range<usize>>) -> InvalidDescription {
    let start = span.map(|span| named_item(text, message, &span).unwrap_or(span.start));
    let line = start.and_then(|start| text.get(..start)).map(|before| before.matches('\n').count() + 1);
    InvalidDescription { line, message: printable::printable_line(message, LIMIT_MESSAGE) }
}

/// Returns the position of the item of a list that the message quotes, because the position of an error in a list is that of the list.
fn named_item(text: &str, message: &str, span: &Range<usize>) -> Option<usize> {
    let list = text.get(span.clone()).filter(|value| value.starts_with('['))?;
    let item = message.split('`').nth(1)?;
    list.find(&format!("\"{item}\"")).map(|at| span.start + at)
}

/// Returns the position of a value: `place` are the keys that lead to it, and `item` is an item of a list, or a key.
fn span(text: &str, place: &[String], item: Option<&str>) -> Option<Range<usize>> {
    let document = DeTable::parse(text).ok()?;
    let (first, rest) = place.split_first()?;
    let mut value = document.get_ref().get(first.as_str())?;
    for key in rest {
        value = value.get_ref().as_table()?.get(key.as_str())?;
    }
    let item = item.and_then(|item| item_span(value.get_ref(), item));
    Some(item.unwrap_or_else(|| value.span()))
}

fn item_span(value: &DeValue<'_>, item: &str) -> Option<Range<usize>> {
    let is_item = |value: &DeValue<'_>| {
        // Paths were normalized when they were parsed.
        let is_text = |text: &str| text.trim().trim_start_matches("./").trim_end_matches('/') == item;
        value.as_str().is_some_and(is_text) || value.as_integer().is_some_and(|number| number.as_str() == item)
    };
    if let Some(table) = value.as_table() {
        return table.keys().find(|key| key.get_ref().trim_start_matches("./") == item).map(Spanned::span);
    }
    value.as_array()?.iter().find(|value| is_item(value.get_ref())).map(Spanned::span)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse(text).expect_err(text).to_string()
    }

    #[test]
    fn the_example_of_the_documentation_is_valid() {
        let document = include_str!("../../../docs/environment.md");
        let examples: Vec<&str> = document.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(!examples.is_empty());
        for example in examples {
            assert!(parse(example).is_ok(), "{example}: {}", refused(example));
        }
    }

    #[test]
    fn an_empty_text_describes_nothing() {
        assert_eq!(parse(""), Ok(Description::default()));
        assert_eq!(parse("# nothing\n"), Ok(Description::default()));
    }

    #[test]
    fn an_error_names_the_line() {
        let check = |text: &str, expect: &str| {
            let error = refused(text);
            assert!(error.starts_with(expect), "{text}\n{error}");
        };
        check("image = \"universal\"\n\n[setpu]\nrun = \"x\"\n", "line 3: unknown field `setpu`, expected one of `image`");
        check("[setup]\nrun = \"x\"\nminutes = 0\n", "line 3: ");
        check("[setup]\nrun = \"x\"\nnetwork = \"closed\"\n", "line 3: unknown variant `closed`, expected one of `open`");
        check("[setup]\nrun = \"\"\n", "line 2: a script must have");
        check("[setup]\nkeys = []\n", "line 1: missing field `run`");
        check("[setup]\nrun = \"x\n", "line 2: ");
        check("setup = \"x\"\n", "line 1: invalid type: string \"x\", expected the table `[setup]` with the key `run`");
        check("[keep]\nnode_modules = true\n", "line 2: unknown field `node_modules`, expected `paths`");
        check(
            "[files]\n\".env\" = \"A\"\n",
            "line 2: invalid type: string \"A\", expected a table such as `{ secret = \"DOTENV\" }`",
        );
        check("image = \"-v\"\n", "line 1: invalid image name `-v`");
        check("image = { build = { dockerfile = \"../x\" } }\n", "line 1: `../x` is not a path below the repository");
        check("\n[keep]\npaths = [\n  \"a\",\n  \"/b\",\n]\n", "line 5: `/b` is not a path");
        check("[services.\"a b\"]\nimage = \"x\"\n", "line 1: `a b` is not the name of a service");
    }

    #[test]
    fn a_conflict_names_the_line_of_its_item() {
        let check = |text: &str, line: usize| assert_eq!(parse(text).expect_err(text).line, Some(line), "{text}");
        check("[keep]\npaths = [\n  \"a\",\n  \"./a/b/\",\n]\n", 4);
        check("[cache]\npaths = [\n  \"~/.cache/pip\",\n  \"~/.cache\",\n]\n", 3);
        check("[services.a]\nimage = \"x\"\nports = [1]\n[services.b]\nimage = \"x\"\nports = [2,\n1]\n", 7);
        check("[maintain]\nrun = \"x\"\n", 1);
        check("[keep]\npaths = [\".env\"]\n[files]\n\n\".env\" = { secret = \"A\" }\n", 5);
    }

    #[test]
    fn a_large_text_is_refused_before_it_is_parsed() {
        let text = "#".repeat(LIMIT_BYTES);
        assert!(parse(&text).is_ok());
        assert_eq!(refused(&format!("{text}#")), "the description has 262145 bytes; use at most 262144 (256 KiB)");
    }

    #[test]
    fn a_problem_names_the_file() {
        let error = parse("x = 1").expect_err("an unknown key");
        let problem = error.into_problem(crate::PATH);
        assert_eq!(problem.report.code.known(), Some(ErrorCode::DescriptionRefused));
        let expect = "invalid environment description in `.codex-orchestrator/environment.toml`: line 1: unknown field `x`";
        assert!(problem.report.message.starts_with(expect), "{}", problem.report.message);
    }
}
