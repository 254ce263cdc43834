//! Fuzzes the path from the output of `git diff` to the markup of a page. No line may become markup, lose a character or hide one,
//! and the size of the markup must be limited.
//!
//! The length of the input determines the limit of lines.

#![no_main]

mod html;

use highlight::Language;
use libfuzzer_sys::fuzz_target;
use markup::hunks::{RemainingLimits, View, hunk_part};
use model::diff::Diff;
use model::visible::is_invisible;

/// The longest line that is shown in full.
const LINE_BYTES: usize = 10_000;

fuzz_target!(|patch: &[u8]| {
    let diff = Diff::parse(patch);
    let most = if patch.len().is_multiple_of(4) { 3 } else { 20_000 };
    for file in &diff.files {
        let name = markup::visible::name(file.path_bytes()).into_string();
        assert!(!text_of(&name).contains(is_hidden), "{name:?}");
        for sides in [View::Unified, View::Split] {
            let left = RemainingLimits::new(most);
            for hunk in &file.hunks {
                let had = !left.is_nothing();
                let html = hunk_part(hunk, Language::of_file(file.path()), sides, &left).into_string();
                let rows = html.matches("<tr").count();
                assert!(rows <= most && rows <= hunk.lines.len(), "{html:?}");
                assert!(html.len() <= 500 * patch.len() + 1_000, "{} bytes from {}", html.len(), patch.len());
                let text = text_of(&html);
                assert!(!text.contains(is_hidden), "{text:?}");
                if had && !left.is_nothing() {
                    for line in &hunk.lines {
                        let shown = line.visible(LINE_BYTES);
                        assert!(text.contains(shown.text()), "{:?}: {text:?}", shown.text());
                    }
                }
            }
        }
    }
});

/// Returns whether a character must not be in markup. Tabs stay as they are.
fn is_hidden(character: char) -> bool {
    is_invisible(character) && character != '\t'
}

fn text_of(html: &str) -> String {
    html::text_of(html, &["tr", "td", "span", "mark"], |name, value| match name {
        "class" => value.is_some_and(|value| value.bytes().all(|byte| byte.is_ascii_lowercase() || b" -".contains(&byte))),
        "aria-hidden" => value == Some("true"),
        _ => false,
    })
}
