//! Text of agents as harmless markup: Markdown without HTML, and output with colours.
//!
//! Characters that hide or move text, such as bidirectional overrides, are shown as codes (`printable`). Only links to http, https and
//! mail addresses are kept. Images become links, since pages load nothing from other sites.

use std::cell::Cell;
use std::fmt;

use highlight::Language;
use maud::{Markup, PreEscaped, html};
use printable::{printable, printable_line};
use pulldown_cmark::{CodeBlockKind, CowStr, Event, Options, Parser, Tag, TagEnd};

use crate::colour;

/// The longest message that is rendered as Markdown.
const MARKDOWN_LIMIT_BYTES: usize = 200_000;

/// The limit for the markup of a message. A table of 5 KB can have a million cells.
const MARKUP_LIMIT_BYTES: usize = 256 * 1024;

/// The most Markdown events of a message.
const MOST_PIECES: usize = 30_000;

/// The most cells of tables. Each cell is at least two events.
const MOST_TABLE_CELLS: usize = MOST_PIECES / 2;

/// The deepest nesting of lists and quotations.
const DEEPEST: usize = 50;

/// Renders Markdown with coloured code. Text that exceeds a limit is shown unformatted.
pub fn markdown(text: &str) -> Markup {
    let text = printable(text);
    html! {
        @if let Some(formed) = formed(&text) { div.markdown { (PreEscaped(formed)) } } @else { pre.plain { (text) } }
    }
}

/// Renders Markdown. Returns `None` if it exceeds a limit.
fn formed(text: &str) -> Option<String> {
    if text.len() > MARKDOWN_LIMIT_BYTES || most_table_cells(text) > MOST_TABLE_CELLS {
        return None;
    }
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut events = Parser::new_ext(text, options).map(harmless);
    let (mut pieces, mut depth) = (0, 0_usize);
    let is_too_much = Cell::new(false);
    let shown = std::iter::from_fn(|| {
        let event = events.next()?;
        pieces += 1;
        match &event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        if pieces > MOST_PIECES || depth > DEEPEST {
            is_too_much.set(true);
            return None;
        }
        let language = match &event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                Language::named(info).map(|language| (language, info.clone()))
            }
            _ => None,
        };
        let Some((language, info)) = language else { return Some(event) };
        depth -= 1;
        let inside = events.by_ref().take_while(|event| !matches!(event, Event::End(TagEnd::CodeBlock)));
        let code: String =
            inside.filter_map(|event| if let Event::Text(text) = event { Some(text.into_string()) } else { None }).collect();
        Some(Event::Html(code_block(language, &info, &code).into_string().into()))
    });
    let mut html = BoundedBuffer(String::new());
    pulldown_cmark::html::write_html_fmt(&mut html, shown).ok()?;
    (!is_too_much.get()).then_some(html.0)
}

/// Returns an upper bound for the number of cells in tables.
///
/// The parser fills each row with empty cells and allocates all of them before the first event. Without this limit, a message of a few
/// kilobytes takes 13 MiB, and so does each thread that renders one, because the allocator keeps the memory of a thread.
fn most_table_cells(text: &str) -> usize {
    let (mut cells, mut columns) = (0_usize, 0);
    for line in text.lines() {
        if line.trim().is_empty() {
            columns = 0;
            continue;
        }
        cells = cells.saturating_add(columns);
        let is_delimiter_row = line.contains('-') && line.chars().all(|c| matches!(c, ' ' | '\t' | '|' | '-' | ':' | '>'));
        if is_delimiter_row {
            columns = columns.max(line.matches('|').count() + 1);
        }
    }
    cells
}

/// A buffer for markup that fails when it exceeds the limit.
struct BoundedBuffer(String);

impl fmt::Write for BoundedBuffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > MARKUP_LIMIT_BYTES {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// Returns the plain text of a Markdown message in one line, cut to a number of characters.
pub fn words_of(text: &str, chars: usize) -> String {
    let (head, _) = head_of(text, chars * 8);
    let words = Parser::new(head).filter_map(|event| match event {
        Event::Text(text) | Event::Code(text) => Some(text.into_string()),
        Event::SoftBreak | Event::HardBreak | Event::End(TagEnd::Paragraph | TagEnd::Item | TagEnd::Heading(_)) => {
            Some(" ".to_owned())
        }
        _ => None,
    });
    printable_line(words.collect::<String>().trim(), chars)
}

fn code_block(language: &'static Language, info: &str, code: &str) -> Markup {
    let pieces = colour::colours(language, code.lines());
    html! {
        pre { code class={ "language-" (info.split(' ').next().unwrap_or_default()) } {
            @for (n, line) in code.lines().enumerate() { (colour::line(line, pieces.get(n), &[])) "\n" }
        } }
    }
}

/// Turns HTML into text, images into links, and unsafe URLs into `#`.
fn harmless(event: Event<'_>) -> Event<'_> {
    match event {
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        Event::Start(Tag::Link { link_type, dest_url, id, .. } | Tag::Image { link_type, dest_url, id, .. }) => {
            Event::Start(Tag::Link { link_type, dest_url: address(dest_url), title: CowStr::Borrowed(""), id })
        }
        Event::End(TagEnd::Image) => Event::End(TagEnd::Link),
        other => other,
    }
}

fn address(url: CowStr<'_>) -> CowStr<'_> {
    let lower = url.trim_start().to_ascii_lowercase();
    let is_harmless = ["http://", "https://", "mailto:"].iter().any(|scheme| lower.starts_with(scheme));
    if is_harmless { url } else { CowStr::Borrowed("#") }
}

/// Renders the output of a program with its colours.
pub fn output(text: &str) -> Markup {
    let slices = cansi::v3::categorise_text(text);
    html! {
        @for slice in &slices {
            @let class = classes(slice);
            @if class.is_empty() { (printable(slice.text)) } @else { span class=(class) { (printable(slice.text)) } }
        }
    }
}

fn classes(slice: &cansi::v3::CategorisedSlice<'_>) -> String {
    let colour = |colour: cansi::Color| match colour {
        cansi::Color::Black => "black",
        cansi::Color::Red => "red",
        cansi::Color::Green => "green",
        cansi::Color::Yellow => "yellow",
        cansi::Color::Blue => "blue",
        cansi::Color::Magenta => "magenta",
        cansi::Color::Cyan => "cyan",
        cansi::Color::White => "white",
        cansi::Color::BrightBlack => "bright-black",
        cansi::Color::BrightRed => "bright-red",
        cansi::Color::BrightGreen => "bright-green",
        cansi::Color::BrightYellow => "bright-yellow",
        cansi::Color::BrightBlue => "bright-blue",
        cansi::Color::BrightMagenta => "bright-magenta",
        cansi::Color::BrightCyan => "bright-cyan",
        cansi::Color::BrightWhite => "bright-white",
    };
    let mut classes = vec![];
    classes.extend(slice.fg.map(|found| format!("fg-{}", colour(found))));
    classes.extend(slice.bg.map(|found| format!("bg-{}", colour(found))));
    let is_bold = matches!(slice.intensity, Some(cansi::Intensity::Bold));
    for (is_so, class) in
        [(is_bold, "bold"), (slice.underline == Some(true), "underline"), (slice.italic == Some(true), "italic")]
    {
        classes.extend(is_so.then(|| class.to_owned()));
    }
    classes.join(" ")
}

/// Returns the beginning of a text, and the number of bytes after it.
pub fn head_of(text: &str, bytes: usize) -> (&str, usize) {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (&text[..end], text.len() - end)
}

/// Returns a piece of a text from an offset on, the offset of the next piece, and the number of bytes after the piece.
pub fn piece_of(text: &str, from: usize, bytes: usize) -> (&str, usize, usize) {
    let rest = &text[text.floor_char_boundary(from)..];
    let (piece, left) = head_of(rest, bytes);
    (piece, text.len() - left, left)
}

/// Returns the last lines of an output, and the number of bytes before them.
pub fn end_of(text: &str, lines: usize, bytes: usize) -> (&str, usize) {
    let mut from = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let tail = &text[from..];
    let trimmed = tail.trim_end_matches('\n');
    let cut = trimmed.rmatch_indices('\n').nth(lines.saturating_sub(1)).map_or(0, |(at, _)| at + 1);
    (&tail[cut..], from + cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_in_markdown_has_colours_and_stays_text() {
        let html = markdown("a\n\n~~~rust\nlet a = \"<b>\";\n\n// </code><script>\n~~~\n\n*b*").into_string();
        for part in [
            "<span class=\"hl-keyword\">let</span>",
            "&lt;b&gt;",
            "// &lt;/code&gt;&lt;script&gt;</span>\n</code></pre>",
            "<em>b</em>",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
        assert!(!html.contains("<script"), "{html}");
    }

    #[test]
    fn no_message_becomes_more_than_a_page_can_take() {
        let table = |columns: usize, rows: usize| {
            format!("|{}\n|{}\n{}", "a|".repeat(columns), "-|".repeat(columns), "|a\n".repeat(rows))
        };
        let long = "x".repeat(30_000);
        let references = format!("[a]: http://{long}\n\n{}", "[a] ".repeat(8_000));
        for (what, text, has_its_form) in [
            ("a small table", table(20, 50), Some(true)),
            ("a table of a million cells", table(1_000, 1_000), Some(false)),
            ("tables", format!("{}\n\n", table(60, 60)).repeat(10), None),
            ("quotations in each other", ">".repeat(60_000), Some(false)),
            ("quotations, line by line", "> > > > > > > > > a\n".repeat(3_000), Some(true)),
            ("lists in each other", (0..200).map(|n| " ".repeat(2 * n) + "* a\n").collect(), Some(false)),
            ("references", references, Some(false)),
            ("brackets", "[".repeat(60_000), None),
            ("images in links", "[![".repeat(20_000), None),
            ("emphasis", "*a_b".repeat(15_000), None),
            ("stars", "**a *".repeat(12_000), None),
            ("backticks", (1..340).map(|n| "`".repeat(n) + " ").collect(), None),
            ("code", format!("```rust\n{}\n```", "1 ".repeat(450).trim().to_owned() + "\n").repeat(60), None),
            ("entities", "&amp;<".repeat(10_000), None),
            ("footnotes", "[^a]: b\n[^a]".repeat(5_000), None),
        ] {
            let started = std::time::Instant::now();
            let html = markdown(&text).into_string();
            assert!(
                html.len() < 2 * MARKUP_LIMIT_BYTES && started.elapsed().as_secs() < 5,
                "{what}: {} {:?}",
                html.len(),
                started.elapsed()
            );
            assert!(has_its_form.is_none_or(|expect| expect == html.starts_with("<div")), "{what}: {}", html.len());
        }
    }

    #[test]
    fn markdown_has_its_form() {
        let html =
            markdown("# Done\n\n* **one** `code`\n\n```rust\nfn main() {}\n```\n\n[docs](https://example.org/x)").into_string();
        for part in [
            "<h1>Done</h1>",
            "<strong>one</strong>",
            "<code>code</code>",
            "<code class=\"language-rust\">",
            "href=\"https://example.org/x\"",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
    }

    #[test]
    fn nothing_of_an_agents_markdown_runs() {
        for planted in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "a <svg onload=alert(1)> b",
            "[x](javascript:alert(1))",
            "[x](  JaVaScRiPt:alert(1))",
            "[x](data:text/html,<script>alert(1)</script>)",
            "![x](javascript:alert(1))",
            "![x](https://evil.example/track.png)",
            "[x](https://e \"onmouseover=alert(1)\")",
            "<https://x/\" onclick=alert(1)>",
            "```\"><script>alert(1)</script>\nx\n```",
            "```a\" onmouseover=\"alert(1)\nx\n```",
        ] {
            let html = markdown(planted).into_string();
            let lower = html.to_lowercase();
            assert!(!lower.contains("<script") && !lower.contains("<img") && !lower.contains("<svg"), "{planted}: {html}");
            assert!(
                !lower.contains("\"javascript:") && !lower.contains("\"data:") && !lower.contains("href=\"  java"),
                "{planted}: {html}"
            );
            let tags = lower.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default());
            assert!(!tags.clone().any(|tag| tag.contains(" on")), "{planted}: {html}");
        }
        assert!(!markdown("a\u{202e}b\u{7}").into_string().contains(['\u{202e}', '\u{7}']));
    }

    #[test]
    fn colours_are_classes_and_other_escapes_are_harmless() {
        let html = output("\u{1b}[1;31mred\u{1b}[0m plain \u{1b}]0;title\u{7} \u{1b}[2J<b>").into_string();
        assert!(html.contains("<span class=\"fg-red bold\">red</span>") && html.contains("&lt;b&gt;"), "{html}");
        assert!(!html.contains('\u{1b}') && !html.contains('\u{7}'), "{html}");
        for odd in ["\u{1b}[", "\u{1b}[999999999999999999m", "\u{1b}[38;5;m", "\u{1b}", "ä\u{1b}[31", "\u{1b}[;;;m"] {
            assert!(!output(odd).into_string().contains('\u{1b}'), "{odd:?}");
        }
    }

    #[test]
    fn a_message_in_a_line_is_its_words() {
        assert_eq!(words_of("# Done\n\nIt is **fixed** in `a.rs`:\n\n* one\n* two\n", 80), "Done It is fixed in a.rs: one two");
        assert_eq!(words_of("a <b>b</b> \u{202e}c", 80), printable_line("a b \u{202e}c", 80));
        assert_eq!(words_of(&"word ".repeat(100), 10).chars().count(), 10);
    }

    #[test]
    fn cells_of_tables_are_counted_before_they_are_parsed() {
        assert_eq!(most_table_cells("|a|b|\n|-|-|\n|1|2|\n|3|4|\n\nno table\nat all\n"), 2 * 4);
        assert_eq!(most_table_cells("> a|b\n> :-|-:\n> 1\n"), 2);
        assert_eq!(most_table_cells("- a\n- b\n\n---\n\nc | d\n"), 0);
        let many = format!("|{}\n|{}\n{}", "a|".repeat(500), "-|".repeat(500), "|a\n".repeat(500));
        assert!(most_table_cells(&many) > MOST_TABLE_CELLS);
        assert!(markdown(&many).into_string().starts_with("<pre"));
        let report = format!("|a|b|c|d|e|f\n|-|-|-|-|-|-\n{}", "|1|2|3|4|5|6\n".repeat(500));
        assert!(most_table_cells(&report) < MOST_TABLE_CELLS);
    }

    #[test]
    fn of_a_long_text_the_beginning_is_shown() {
        assert_eq!((head_of("abc", 5), head_of("abcdef", 4)), (("abc", 0), ("abcd", 2)));
        assert_eq!(head_of("ää", 3), ("ä", 2), "no character is cut in two");
    }

    #[test]
    fn a_long_text_is_shown_piece_by_piece() {
        assert_eq!(piece_of("abcdef", 0, 4), ("abcd", 4, 2));
        assert_eq!(piece_of("abcdef", 4, 4), ("ef", 6, 0));
        assert_eq!(piece_of("abcdef", 99, 4), ("", 6, 0));
        assert_eq!(piece_of("\u{e4}\u{e4}", 1, 3), ("\u{e4}", 2, 2));
    }

    #[test]
    fn of_a_long_output_the_end_is_shown() {
        assert_eq!(end_of("a\nb\nc\n", 2, 100), ("b\nc\n", 2));
        assert_eq!(end_of("a\nb", 5, 100), ("a\nb", 0));
        assert_eq!(end_of("äää", 5, 3), ("ä", 4));
    }
}
