//! Suggestions for the base of a task: the branches and tags of a repository, newest first.
//! Names with hidden characters are not suggested, but users can still type them.

use axum::extract::Query;
use engine::User;
use maud::{Markup, html};
use printable::printable_line;
use protocol::{RefItem, RefKind, RefsQuery, RefsView};
use serde::Deserialize;

use super::answer::{Answer, Page};
use super::session::Signed;
use crate::caller::AsUser;

/// The longest name that is suggested.
const LONGEST: usize = 200;

#[derive(Deserialize)]
pub(crate) struct Of {
    #[serde(default)]
    env_id: String,
}

/// Responds with the suggestions for the selected repository.
pub(crate) async fn list(_: Signed, AsUser(user): AsUser, Query(Of { env_id }): Query<Of>) -> Answer {
    Ok(Page(proposals(&user, &env_id).await))
}

/// Renders the list of suggestions for a field. The list is empty if the repository cannot be read.
pub(super) async fn proposals(user: &User, env_id: &str) -> Markup {
    let found = user.refs(env_id, &RefsQuery::default()).await;
    if let Err(problem) = &found {
        tracing::debug!(environment = env_id, %problem, "could not list branches to suggest");
    }
    options(found.ok().as_ref())
}

fn options(found: Option<&RefsView>) -> Markup {
    html! {
        datalist #refs {
            @for RefItem { name, kind } in found.iter().flat_map(|found| &found.items).filter(|item| shows_itself(&item.name)) {
                option value=(name) { @match kind { RefKind::Branch => {}, RefKind::Tag => { "tag" } } }
            }
        }
        @if found.is_some_and(|found| found.truncated) { p.quiet { "Only the newest branches and tags are suggested. You can type any other name." } }
    }
}

fn shows_itself(name: &str) -> bool {
    printable_line(name, LONGEST) == name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_stays_a_value_and_one_that_hides_itself_is_left_out() {
        let item = |name: &str, kind| RefItem { name: name.to_owned(), kind };
        let found = RefsView {
            items: vec![
                item("\"><img/src=x>", RefKind::Branch),
                item("safe\u{202e}niam", RefKind::Branch),
                item("v1", RefKind::Tag),
            ],
            truncated: true,
            default_branch: None,
        };
        let html = options(Some(&found)).into_string();
        assert!(html.contains(r#"value="&quot;&gt;&lt;img/src=x&gt;""#) && !html.contains("<img"), "{html}");
        assert!(!html.contains("niam") && html.contains(r#"<option value="v1">tag</option>"#), "{html}");
        assert!(html.contains("can type any other name"));
    }
}
