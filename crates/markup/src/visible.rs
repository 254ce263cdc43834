//! Markup for untrusted names and lines, with a style for each mark that stands for a hidden character.
//! `model::visible` creates the marks. Nothing is removed here.

use maud::{Markup, html};
use model::visible::{Mark, Visible};

/// The longest name in a list, in bytes. Longer names are cut, and a mark shows it.
const NAME_BYTES: usize = 1_000;

/// Returns the class of a mark. The same letters in ordinary text have no class.
pub fn class(mark: Mark) -> &'static str {
    match mark {
        Mark::Hidden => "unseen",
        Mark::LineEnd => "line-end",
        Mark::Cut => "cut",
    }
}

/// Renders a text with its marks.
pub fn text(text: &Visible) -> Markup {
    html! {
        @for (piece, mark) in text.pieces() {
            @if let Some(mark) = mark { span class=(class(mark)) { (piece) } } @else { (piece) }
        }
    }
}

/// Renders a name, such as a path.
pub fn name(name: impl AsRef<[u8]>) -> Markup {
    text(&Visible::short_name(name, NAME_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_differs_from_the_same_letters() {
        assert_eq!(name("a\u{1b}␛").into_string(), "a<span class=\"unseen\">␛</span>␛");
        assert_eq!(name("<b>\n").into_string(), "&lt;b&gt;<span class=\"unseen\">␊</span>");
    }
}
