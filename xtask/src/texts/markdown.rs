//! Finds the prose of Markdown documents: headings, paragraphs, list items and cells of tables.
//!
//! Pure: text in, texts out. Code blocks are omitted; inline code keeps its backticks.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::{Text, TextKind};

/// Returns the texts of a document.
pub(super) fn paragraphs(file: &str, content: &str) -> Vec<Text> {
    let mut texts = Vec::new();
    let mut current = String::new();
    let mut start = 0;
    let mut is_code = false;
    for (event, range) in Parser::new_ext(content, Options::ENABLE_TABLES).into_offset_iter() {
        match event {
            Event::Start(Tag::CodeBlock(_)) => is_code = true,
            Event::End(TagEnd::CodeBlock) => is_code = false,
            Event::Text(text) if !is_code => {
                if current.is_empty() {
                    start = range.start;
                }
                current.push_str(&text);
            }
            Event::Code(code) => {
                if current.is_empty() {
                    start = range.start;
                }
                current.push('`');
                current.push_str(&code);
                current.push('`');
            }
            Event::SoftBreak | Event::HardBreak => current.push(' '),
            Event::Start(Tag::Item | Tag::Paragraph | Tag::Heading { .. } | Tag::TableCell)
            | Event::End(TagEnd::Item | TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::TableCell) => {
                let text = std::mem::take(&mut current);
                if text.contains(' ') {
                    let line = content[..start].matches('\n').count() + 1;
                    texts.push(Text { kind: TextKind::Document, file: file.to_owned(), line, content: text });
                }
            }
            _ => {}
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_left_out_and_everything_else_is_found_with_its_line() {
        let content = "# A title\n\nOne `git` paragraph\nin two lines.\n\n* an item\n  * a nested one\n\n```sh\nnot this\n```\n\n| a cell | b |\n|---|---|\n| more text | c |\n";
        let found: Vec<_> = paragraphs("a.md", content).into_iter().map(|text| (text.line, text.content)).collect();
        let expected = [
            (1, "A title"),
            (3, "One `git` paragraph in two lines."),
            (6, "an item"),
            (7, "a nested one"),
            (13, "a cell"),
            (15, "more text"),
        ];
        assert_eq!(found, expected.map(|(line, text)| (line, text.to_owned())));
    }
}
