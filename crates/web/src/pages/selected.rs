//! Actions on several tasks at once: archive, unarchive, stop, remove.
//! Stopping and removing need a confirmation. If an action fails for one task, it continues with the others.

use axum::response::{IntoResponse, Response};
use engine::User;
use maud::{Markup, html};
use model::problem::Problem;
use printable::printable_line;

use super::answer::{Page, PageProblem, see};
use super::layout::{self, NavItem};
use super::session::form_token;
use super::session::{Signed, SignedFields};
use crate::caller::AsUser;

/// The most tasks per request, more than a page of the list has.
const MOST: usize = 500;

/// An action on the selected tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SelectionAction {
    Archive,
    Unarchive,
    Stop,
    Remove,
}

impl SelectionAction {
    const ALL: [Self; 4] = [Self::Archive, Self::Unarchive, Self::Stop, Self::Remove];

    /// Returns the question that confirms the action, if it needs one.
    fn question(self) -> Option<&'static str> {
        match self {
            Self::Archive | Self::Unarchive => None,
            Self::Stop => Some("Stop the runs of these tasks?"),
            Self::Remove => Some("Move these tasks to the trash?"),
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Archive => "Archive",
            Self::Unarchive => "Unarchive",
            Self::Stop => "Stop",
            Self::Remove => "Remove",
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

/// The selected tasks and the action.
#[derive(Debug, Default)]
struct Selection {
    tasks: Vec<String>,
    deed: Option<SelectionAction>,
    is_sure: bool,
}

impl Selection {
    /// Reads the fields of a form. The field `task` is repeated for each task.
    fn of(fields: Vec<(String, String)>) -> Self {
        let mut selection = Self::default();
        for (name, value) in fields {
            match name.as_str() {
                "task" => selection.tasks.push(value),
                "deed" => selection.deed = SelectionAction::ALL.into_iter().find(|deed| deed.name() == value),
                "sure" => selection.is_sure = value == "yes",
                _ => {}
            }
        }
        selection
    }
}

/// The actions that are available for the listed tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SelectionActions {
    Listed,
    Archived,
}

/// Renders the bar with actions for the selected tasks.
pub(super) fn bar(signed: &Signed, actions: SelectionActions) -> Markup {
    html! {
        form #selected.selected method="post" action="/tasks/selected" aria-label="Actions for selected tasks" {
            (form_token(signed))
            @if actions == SelectionActions::Archived {
                button name="deed" value="unarchive" { "Unarchive" }
            } @else {
                button name="deed" value="archive" { "Archive" }
                button name="deed" value="stop" { "Stop" }
            }
            button.danger name="deed" value="remove" { "Remove" }
        }
    }
}

pub(crate) async fn act(AsUser(user): AsUser, SignedFields(signed, fields): SignedFields) -> Result<Response, PageProblem> {
    let selection = Selection::of(fields);
    let Some(deed) = selection.deed.filter(|_| !selection.tasks.is_empty()) else { return Ok(see("/")) };
    let tasks = &selection.tasks[..selection.tasks.len().min(MOST)];
    if let Some(question) = deed.question().filter(|_| !selection.is_sure) {
        return Ok(ask(&user, &signed, deed, question, tasks).into_response());
    }
    let mut refused = vec![];
    for id in tasks {
        let done = match deed {
            SelectionAction::Archive => user.archive_task(id).await.map(drop),
            SelectionAction::Unarchive => user.unarchive_task(id).await.map(drop),
            SelectionAction::Stop => user.stop_task(id).await.map(drop),
            SelectionAction::Remove => user.remove_task(id).await,
        };
        if let Err(problem) = done {
            refused.push((id, problem));
        }
    }
    if refused.is_empty() {
        return Ok(see(if deed == SelectionAction::Unarchive { "/?archived=only" } else { "/" }));
    }
    Ok(told(&user, deed, tasks.len(), &refused).into_response())
}

fn counted(tasks: usize) -> String {
    if tasks == 1 { "1 task".to_owned() } else { format!("{tasks} tasks") }
}

fn title(user: &User, id: &str) -> String {
    user.task(id).map_or_else(|_| printable_line(id, 60), |view| printable_line(view.title.as_str(), 120))
}

fn ask(user: &User, signed: &Signed, deed: SelectionAction, question: &str, tasks: &[String]) -> Page {
    let body = html! {
        h1 { (question) }
        ul { @for id in tasks { li { (title(user, id)) } } }
        form method="post" action="/tasks/selected" {
            (form_token(signed))
            input type="hidden" name="deed" value=(deed.name());
            input type="hidden" name="sure" value="yes";
            @for id in tasks { input type="hidden" name="task" value=(id); }
            div.actions {
                button.danger type="submit" { (deed.label()) " " (counted(tasks.len())) }
                a.button href="/" { "Cancel" }
            }
        }
    };
    Page(layout::page(question, NavItem::Tasks, &body))
}

fn told(user: &User, deed: SelectionAction, all: usize, refused: &[(&String, Problem)]) -> Page {
    let body = html! {
        h1 { "Could not " (deed.name()) " " (refused.len()) " of " (counted(all)) }
        ul {
            @for (id, problem) in refused {
                li { a href={ "/tasks/" (id) } { (title(user, id)) } ": " (problem.report.message) }
            }
        }
        p { a.button href="/" { "Go to tasks" } }
    };
    Page(layout::page("Action failed for some tasks", NavItem::Tasks, &body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_names_many_tasks() {
        let read = |fields: &[(&str, &str)]| {
            Selection::of(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        let all = read(&[("form_token", "t"), ("task", "a"), ("task", "b"), ("deed", "stop"), ("sure", "yes")]);
        assert_eq!((all.tasks, all.deed, all.is_sure), (vec!["a".to_owned(), "b".to_owned()], Some(SelectionAction::Stop), true));
        let odd = read(&[("deed", "explode"), ("sure", "maybe")]);
        assert!(odd.tasks.is_empty() && odd.deed.is_none() && !odd.is_sure);
    }
}
