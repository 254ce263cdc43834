//! Names and lines that somebody else wrote, with a style for every mark that stands for a character.
//! The marks themselves are made by `model::visible`; nothing is removed here.

use maud::{Markup, html};
use model::visible::{Mark, Visible};

/// A name in a list is cut after this many bytes, and says so.
const NAME_BYTES: usize = 1_000;

/// The class of a mark. The same letters in a text have none.
pub(super) fn class(mark: Mark) -> &'static str {
    match mark {
        Mark::Hidden => "unseen",
        Mark::LineEnd => "line-end",
        Mark::Cut => "cut",
    }
}

/// A text with its marks.
pub(super) fn text(text: &Visible) -> Markup {
    html! {
        @for (piece, mark) in text.pieces() {
            @if let Some(mark) = mark { span class=(class(mark)) { (piece) } } @else { (piece) }
        }
    }
}

/// A name, such as a path.
pub(super) fn name(name: impl AsRef<[u8]>) -> Markup {
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
