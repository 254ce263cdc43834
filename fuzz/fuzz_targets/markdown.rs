//! Fuzzes the markup of messages and of program output. It must be well-formed, load nothing, run nothing, and have a limited size.
//!
//! Links may only lead to http, https and mail addresses. The parts of long texts must add up to the whole text.

#![no_main]

mod html;

use libfuzzer_sys::fuzz_target;
use markup::text::{end_of, head_of, markdown, output, piece_of, words_of};

/// The elements of Markdown.
const ELEMENTS: &[&str] = &[
    "a",
    "blockquote",
    "br",
    "code",
    "del",
    "div",
    "em",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "input",
    "li",
    "ol",
    "p",
    "pre",
    "span",
    "strong",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "tr",
    "ul",
];

fuzz_target!(|text: &str| {
    let html = markdown(text).into_string();
    assert!(html.len() <= 256 * 1024 + 6 * text.len() + 100, "{} bytes from {}", html.len(), text.len());
    html::text_of(&html, ELEMENTS, is_allowed);
    html::text_of(&output(text).into_string(), &["span"], is_allowed);
    let words = words_of(text, 100);
    assert!(words.chars().count() <= 101 && !words.contains(char::is_control), "{words:?}");
    parts(text);
});

fn parts(text: &str) {
    let (head, left) = head_of(text, 10);
    assert_eq!(head.len() + left, text.len());
    let (end, skipped) = end_of(text, 3, 50);
    assert_eq!(&text[skipped..], end);
    assert!(end.len() <= 50 && end.trim_end_matches('\n').matches('\n').count() < 3, "{end:?}");
    let (mut whole, mut from) = (String::new(), 0);
    loop {
        let (piece, next, left) = piece_of(text, from, 7);
        whole.push_str(piece);
        assert_eq!(next + left, text.len());
        if left == 0 {
            break;
        }
        assert!(next > from, "each piece contains at least one character");
        from = next;
    }
    assert_eq!(whole, text);
}

fn is_allowed(name: &str, value: Option<&str>) -> bool {
    match (name, value) {
        ("class", Some(_)) | ("disabled" | "checked", None | Some("")) => true,
        ("type", Some(value)) => value == "checkbox",
        ("start", Some(value)) => value.parse::<u64>().is_ok(),
        ("style", Some(value)) => matches!(value, "text-align: left" | "text-align: center" | "text-align: right"),
        ("href", Some(value)) => {
            let lower = value.trim_start().to_ascii_lowercase();
            value == "#" || ["http://", "https://", "mailto:"].iter().any(|scheme| lower.starts_with(scheme))
        }
        _ => false,
    }
}
