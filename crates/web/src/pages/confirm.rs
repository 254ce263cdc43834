//! Confirmation pages for actions that are hard to undo: they explain the consequences and ask again.
//! They work without scripts, and opening one changes nothing.

use maud::{Markup, html};

use super::layout::{self, NavItem};
use super::session::Signed;
use super::session::form_token;

/// The content of a confirmation page.
pub(super) struct Question<'a> {
    /// The title, as a question.
    pub(super) title: &'a str,
    /// The consequences.
    pub(super) follows: Markup,
    /// The URL of the form.
    pub(super) action: &'a str,
    /// The label of the button.
    pub(super) label: &'a str,
    /// The URL behind Cancel.
    pub(super) back: &'a str,
}

/// Renders a confirmation page.
pub(super) fn page(signed: &Signed, place: NavItem, question: &Question<'_>) -> Markup {
    let body = html! {
        h1 { (question.title) }
        (question.follows)
        form method="post" action=(question.action) {
            (form_token(signed))
            p.actions {
                button.danger type="submit" { (question.label) }
                a.button href=(question.back) { "Cancel" }
            }
        }
    };
    layout::page(question.title, place, &body)
}
