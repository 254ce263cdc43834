//! Syntax highlighting: renders lines of code as spans with a few fixed classes.
//! The text never changes. Text that is too large, or that follows a very long line, is not highlighted.

use std::ops::Range;

use highlight::{Language, Piece, Token, Tokenizer};
use maud::{Markup, html};
use model::visible::{Mark, Visible};

use crate::visible;

/// The largest text that is highlighted, in bytes.
const TEXT_LIMIT_BYTES: usize = 200_000;

/// The longest line that is highlighted, in bytes. Highlighting stops at a longer line, which would need many spans.
const LINE_LIMIT_BYTES: usize = 1_000;

/// Returns the pieces of each line of a text. The result ends where highlighting stops.
pub fn colours<'a>(language: &'static Language, lines: impl Iterator<Item = &'a str> + Clone) -> Vec<Vec<Piece>> {
    if lines.clone().map(str::len).sum::<usize>() > TEXT_LIMIT_BYTES {
        return vec![];
    }
    let mut tokenizer = Tokenizer::new(language);
    lines.take_while(|line| line.len() <= LINE_LIMIT_BYTES).map(|line| tokenizer.line(line)).collect()
}

fn class(token: Token) -> &'static str {
    match token {
        Token::Comment => "hl-comment",
        Token::Text => "hl-string",
        Token::Number => "hl-number",
        Token::Keyword => "hl-keyword",
        Token::Function => "hl-function",
        Token::Type => "hl-type",
        Token::Attribute => "hl-attribute",
    }
}

/// Renders a line with its colours and emphasized ranges. Without pieces, the line has no colours.
pub fn line(text: &str, pieces: Option<&Vec<Piece>>, emphasized: &[Range<usize>]) -> Markup {
    parts(text, std::iter::once((0..text.len(), None)), pieces, emphasized)
}

/// Renders a line of a file with its colours, emphasized ranges and marks.
pub fn visible_line(line: &Visible, pieces: Option<&Vec<Piece>>, emphasized: &[Range<usize>]) -> Markup {
    parts(line.text(), line.ranges(), pieces, emphasized)
}

/// Renders a text part by part. `ranges` cover the whole text in order.
fn parts(
    text: &str,
    ranges: impl Iterator<Item = (Range<usize>, Option<Mark>)>,
    pieces: Option<&Vec<Piece>>,
    emphasized: &[Range<usize>],
) -> Markup {
    let plain = vec![(text.len(), None)];
    let pieces = pieces.unwrap_or(&plain);
    let mut parts = vec![];
    let mut emphasized = emphasized.iter().peekable();
    for (range, mark) in ranges {
        let mut at = range.start;
        while at < range.end {
            while emphasized.next_if(|range| range.end <= at).is_some() {}
            let (end, is_emphasized) = match emphasized.peek() {
                Some(next) if next.start <= at => (next.end.min(range.end), true),
                Some(next) => (next.start.min(range.end), false),
                None => (range.end, false),
            };
            parts.push((at..end, is_emphasized, mark));
            at = end;
        }
    }
    // Parts and pieces are both in order, so one pass over each is enough.
    let mut first = 0;
    html! {
        @for (part, is_emphasized, mark) in parts {
            @let () = while pieces.get(first).is_some_and(|(end, _)| *end <= part.start) { first += 1 };
            @let start = first.checked_sub(1).map_or(0, |before| pieces[before].0);
            @let shown = html! {
                @if let Some(mark) = mark { span class=(visible::class(mark)) { (text[part.clone()]) } }
                @else { (spans(text, &part, start, &pieces[first..])) }
            };
            @if is_emphasized { mark { (shown) } } @else { (shown) }
        }
    }
}

/// Renders a part of a line. `start` is the start of the first piece.
fn spans(text: &str, part: &Range<usize>, start: usize, pieces: &[Piece]) -> Markup {
    let starts = std::iter::once(start).chain(pieces.iter().map(|(end, _)| *end));
    let within = starts.zip(pieces).take_while(|(start, _)| *start < part.end);
    html! {
        @for (start, (end, token)) in within {
            @let shown = &text[start.max(part.start)..(*end).min(part.end)];
            @if let Some(token) = token { span class=(class(*token)) { (shown) } } @else { (shown) }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(language: &str, text: &str) -> String {
        let pieces = colours(Language::named(language).expect("the language is known"), text.split('\n'));
        let lines = text.split('\n').enumerate().map(|(n, text)| line(text, pieces.get(n), &[]).into_string());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Returns the text of markup.
    fn without_tags(html: &str) -> String {
        let text: String = html.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text)).collect();
        text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
    }

    #[test]
    fn code_has_colours_by_what_it_means() {
        let html = shown("rust", "// <b>\nlet x = f(\"a\", 3);");
        assert_eq!(
            html,
            "<span class=\"hl-comment\">// &lt;b&gt;</span>\n<span class=\"hl-keyword\">let</span> x = <span class=\"hl-function\">f</span>(\
             <span class=\"hl-string\">&quot;a&quot;</span>, <span class=\"hl-number\">3</span>);"
        );
    }

    #[test]
    fn what_is_large_stays_plain() {
        let count = |text: &str| colours(Language::named("rust").expect("known"), text.split('\n')).len();
        assert_eq!(count("fn a() {}\nfn b() {}"), 2);
        assert_eq!(
            count(&format!("fn a() {{}}\n{}\nfn b() {{}}", "x".repeat(2_000))),
            1,
            "highlighting stops at a line that is too long"
        );
        assert_eq!(count(&"fn a() {}\n".repeat(30_000)), 0);
    }

    #[test]
    fn marks_and_colours_are_nested_properly() {
        let text = "let name = \"<b>\";";
        let pieces = colours(Language::named("rust").expect("known"), std::iter::once(text));
        let html = line(text, pieces.first(), &[2..13, 15..16]).into_string();
        assert_eq!(
            html,
            "<span class=\"hl-keyword\">le</span><mark><span class=\"hl-keyword\">t</span> name = \
             <span class=\"hl-string\">&quot;&lt;</span></mark><span class=\"hl-string\">b&gt;</span>\
             <mark><span class=\"hl-string\">&quot;</span></mark>;"
        );
    }

    #[test]
    fn marks_are_shown_within_colours_and_emphasis() {
        let emphasized: [Range<usize>; 1] = std::array::from_fn(|_| 1..8);
        let shown = Visible::new("/* \u{1b}] */ x();".as_bytes(), model::visible::Of::Line, 100);
        let pieces = colours(Language::named("c").expect("known"), std::iter::once(shown.text()));
        assert_eq!(
            visible_line(&shown, pieces.first(), &emphasized).into_string(),
            "<span class=\"hl-comment\">/</span><mark><span class=\"hl-comment\">* </span></mark><mark><span class=\"unseen\">␛</span></mark>\
             <mark><span class=\"hl-comment\">] </span></mark><span class=\"hl-comment\">*/</span> \
             <span class=\"hl-function\">x</span>();"
        );
    }

    proptest! {
        #[test]
        fn the_text_stays_what_it_was(
            text in "([a-z(){}\"'/*<>&;#=\\\\ é\u{1F600}\t\n]|fn |let |//|/\\*|</script>|<!--){0,80}",
            cuts in proptest::collection::vec(0_usize..40, 4),
        ) {
            for language in ["rust", "html", "markdown", "sh", "js", "python", "yaml"] {
                prop_assert_eq!(without_tags(&shown(language, &text)), text.clone());
            }
            let first = text.split('\n').next().unwrap_or_default();
            let at = |n: usize| (0..=first.len().min(n)).rev().find(|at| first.is_char_boundary(*at)).unwrap_or(0);
            let mut cuts: Vec<_> = cuts.into_iter().map(at).collect();
            cuts.sort_unstable();
            let pieces = colours(Language::named("html").expect("known"), std::iter::once(first));
            let html = line(first, pieces.first(), &[cuts[0]..cuts[1], cuts[2]..cuts[3]]).into_string();
            prop_assert_eq!(without_tags(&html), first);
            prop_assert_eq!(html.matches("<mark>").count(), html.matches("</mark>").count());
        }
    }
}
