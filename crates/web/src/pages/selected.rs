//! Deeds for several tasks at once: put away, bring back, stop, remove.
//! What ends or removes something is asked about first, on a page of its own. One that cannot be done holds up no other.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use model::codex::printable_line;
use model::problem::Problem;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::layout::{self, Place, form_token};
use super::session::{Signed, SignedForm};
use super::{Page, PageProblem, see};
use crate::router::Api;

/// More tasks than a page of the list has.
const MOST: usize = 500;

/// What can be done with all that are selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Deed {
    Archive,
    Unarchive,
    Stop,
    Remove,
}

impl Deed {
    /// What is asked before it is done, if anything.
    fn question(self) -> Option<&'static str> {
        match self {
            Self::Archive | Self::Unarchive => None,
            Self::Stop => Some("End the runs of these tasks?"),
            Self::Remove => Some("Move these tasks to the trash?"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Unarchive => "unarchive",
            Self::Stop => "stop",
            Self::Remove => "remove",
        }
    }
}

/// What was selected, and what is to be done. The same name comes once for each task.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    tasks: Vec<String>,
    deed: Option<Deed>,
    is_sure: bool,
}

impl<'de> Deserialize<'de> for Selection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Selection;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("the fields of a form")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Selection, A::Error> {
                let mut selection = Selection::default();
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "task" => selection.tasks.push(map.next_value()?),
                        "deed" => selection.deed = Some(map.next_value()?),
                        "sure" => selection.is_sure = map.next_value::<String>()? == "yes",
                        _ => _ = map.next_value::<String>()?,
                    }
                }
                Ok(selection)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// What can be done with the tasks that are ticked in the list.
pub(super) fn bar(signed: &Signed, archived: bool) -> Markup {
    html! {
        form #selected.selected method="post" action="/tasks/selected" aria-label="With the selected tasks" {
            (form_token(signed))
            @if archived {
                button name="deed" value="unarchive" { "Bring back" }
            } @else {
                button name="deed" value="archive" { "Archive" }
                button name="deed" value="stop" { "Stop" }
            }
            button.danger name="deed" value="remove" { "Remove" }
        }
    }
}

pub(crate) async fn act(
    State(api): State<Api>,
    SignedForm(signed, selection): SignedForm<Selection>,
) -> Result<Response, PageProblem> {
    let Some(deed) = selection.deed.filter(|_| !selection.tasks.is_empty()) else { return Ok(see("/")) };
    let tasks = &selection.tasks[..selection.tasks.len().min(MOST)];
    if let Some(question) = deed.question().filter(|_| !selection.is_sure) {
        return Ok(ask(&api, &signed, deed, question, tasks).into_response());
    }
    let mut refused = vec![];
    for id in tasks {
        let done = match deed {
            Deed::Archive => api.engine.archive_task(id).await.map(drop),
            Deed::Unarchive => api.engine.unarchive_task(id).await.map(drop),
            Deed::Stop => api.engine.stop_task(id).await.map(drop),
            Deed::Remove => api.engine.remove_task(id).await,
        };
        if let Err(problem) = done {
            refused.push((id, problem));
        }
    }
    if refused.is_empty() {
        return Ok(see(if deed == Deed::Unarchive { "/?archived=only" } else { "/" }));
    }
    Ok(told(&api, deed, tasks.len(), &refused).into_response())
}

fn title(api: &Api, id: &str) -> String {
    api.engine.task(id).map_or_else(|_| printable_line(id, 60), |view| printable_line(view.meta.title.as_str(), 120))
}

fn ask(api: &Api, signed: &Signed, deed: Deed, question: &str, tasks: &[String]) -> Page {
    let body = html! {
        h1 { (question) }
        ul { @for id in tasks { li { (title(api, id)) } } }
        form method="post" action="/tasks/selected" {
            (form_token(signed))
            input type="hidden" name="deed" value=(deed.name());
            input type="hidden" name="sure" value="yes";
            @for id in tasks { input type="hidden" name="task" value=(id); }
            div.actions {
                button.danger type="submit" { "Yes, " (deed.name()) " " (tasks.len()) }
                a.button href="/" { "No" }
            }
        }
    };
    Page(layout::page(question, Place::Tasks, &body))
}

fn told(api: &Api, deed: Deed, all: usize, refused: &[(&String, Problem)]) -> Page {
    let body = html! {
        h1 { (refused.len()) " of " (all) " could not be done: " (deed.name()) }
        ul {
            @for (id, problem) in refused {
                li { a href={ "/tasks/" (id) } { (title(api, id)) } ": " (problem.detail) }
            }
        }
        p { a.button href="/" { "All tasks" } }
    };
    Page(layout::page("Not all of it was done", Place::Tasks, &body))
}

#[cfg(test)]
mod tests {
    use axum::extract::Query;

    use super::*;

    #[test]
    fn a_form_names_many_tasks() {
        #[derive(Deserialize)]
        struct Form {
            form_token: String,
            #[serde(flatten)]
            selection: Selection,
        }
        let read = |text: &str| {
            let address = format!("/?{text}").parse().expect("an address");
            Query::<Form>::try_from_uri(&address).map(|Query(form)| form)
        };
        let form = read("form_token=t&task=a&task=b&deed=stop&sure=yes&x=1").expect("a form");
        assert_eq!((form.form_token.as_str(), form.selection.tasks.len()), ("t", 2));
        assert_eq!((form.selection.deed, form.selection.is_sure), (Some(Deed::Stop), true));
        assert!(read("form_token=t&deed=explode").is_err());
        let nothing = read("form_token=t").expect("a form").selection;
        assert!(nothing.tasks.is_empty() && nothing.deed.is_none() && !nothing.is_sure);
    }
}
