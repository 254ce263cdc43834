//! The step between a wish and a deed that cannot simply be taken back: a page that says what follows, and asks once more.
//! It needs no script, and does nothing by itself.

use maud::{Markup, html};

use super::layout::{self, Place, form_token};
use super::session::Signed;

/// What is asked.
pub(super) struct Question<'a> {
    /// As a question.
    pub(super) title: &'a str,
    /// What follows.
    pub(super) follows: Markup,
    /// Where the form goes.
    pub(super) action: &'a str,
    /// The words on the button.
    pub(super) words: &'a str,
    /// Where who thinks better of it goes.
    pub(super) back: &'a str,
}

/// The page.
pub(super) fn page(signed: &Signed, place: Place, question: &Question<'_>) -> Markup {
    let body = html! {
        h1 { (question.title) }
        (question.follows)
        form method="post" action=(question.action) {
            (form_token(signed))
            p.actions {
                button.danger type="submit" { (question.words) }
                a.button href=(question.back) { "No, go back" }
            }
        }
    };
    layout::page(question.title, place, &body)
}
