//! The question that a task asks before its run starts, the question about held files, and the forms with their answers.
//! The URLs come from an untrusted branch, so hidden characters in them are made visible.

use axum::extract::Path;
use axum::response::Response;
use maud::{Markup, html};
use model::ErrorCode;
use model::commit::PathText;
use model::problem::{Problem, ProblemKind};
use model::size;
use model::submodule::visible;
use model::task::Answer;
use model::visible::Visible;
use protocol::{AnswerTask, CommitFiles, TaskView};
use serde::Deserialize;

use super::answer::{PageProblem, see};
use super::layout;
use super::session::form_token;
use super::session::{Signed, SignedForm};
use crate::caller::AsUser;

/// The maximum number of paths that a page lists.
const MOST_PATHS: usize = 50;

/// Renders the open question of a task, if it has one.
pub(super) fn question(view: &TaskView, signed: &Signed) -> Markup {
    html! {
        @if let Some(question) = &view.question {
            section.note aria-labelledby="question" {
                h2 #question { @if question.urls.len() == 1 { "Fetch this submodule?" } @else { "Fetch these submodules?" } }
                p { "This branch has submodules from URLs that neither the default branch nor a trusted branch uses. The server would fetch them "
                    "with your credentials, and Codex could read them." }
                ul { @for url in &question.urls { li { code { (visible(url)) } } } }
                div.actions {
                    @for (answer, class, label) in [("fetch", "", "Fetch and start"), ("skip", "primary", "Start without them")] {
                        form.inline method="post" action={ "/tasks/" (view.task_id) "/answer" } {
                            (form_token(signed))
                            input type="hidden" name="question" value=(question.number);
                            input type="hidden" name="answer" value=(answer);
                            button class=(class) type="submit" { (label) }
                        }
                    }
                }
                p.quiet { "“Fetch and start” also allows these URLs for later tasks in this repository." }
            }
        }
    }
}

/// Renders the held files of a task, and what can be done with them.
pub(super) fn held(view: &TaskView, signed: &Signed) -> Markup {
    html! {
        @if let Some(held) = &view.held {
            section.note aria-labelledby="held" {
                @if held.paths.iter().any(|held| held.has_secret) {
                    h2 #held { "Commit " (layout::file_count(held.files)) " with secrets?" }
                    p { "Run " (held.run.0) " left files that contain secrets of the environment, or are beyond the limits of a commit (" (size::bytes(held.bytes))
                        "). Everything else is committed. These files stay in the worktree until you decide." }
                } @else {
                    h2 #held { "Commit " (layout::file_count(held.files)) " beyond the limits?" }
                    p { "Run " (held.run.0) " left more than a commit may add without asking (" (size::bytes(held.bytes)) "). Everything else is \
                        committed. These files stay in the worktree until you decide." }
                }
                ul {
                    @for files in held.paths.iter().take(MOST_PATHS) {
                        li { code { (Visible::name(files.path.as_str()).text()) } " · " (layout::file_count(files.files)) ", " (size::bytes(files.bytes))
                            @if files.has_secret { " · contains a secret" } }
                    }
                    @if held.paths.len() > MOST_PATHS { li { (held.paths.len() - MOST_PATHS) " more" } }
                }
                div.actions {
                    @for (answer, class, label) in [("commit", "", "Commit files"), ("ignore", "primary", "Ignore files")] {
                        form.inline method="post" action={ "/tasks/" (view.task_id) "/answer" } {
                            (form_token(signed))
                            input type="hidden" name="question" value=(held.number);
                            input type="hidden" name="answer" value=(answer);
                            button class=(class) type="submit" disabled[view.active && answer == "commit"] { (label) }
                        }
                    }
                }
                p.quiet { "Ignored files stay in the worktree, and later runs of this task do not commit them." }
            }
        }
    }
}

/// Renders what the commit of the last run omitted.
pub(super) fn omitted(view: &TaskView, signed: &Signed) -> Markup {
    let committed = |path: &PathText| view.updates.iter().any(|update| update.committed.contains(path));
    let last = view.runs.iter().rev().find(|run| run.finished_at.is_some());
    let omitted: Vec<_> = last.into_iter().flat_map(|run| &run.omitted).filter(|left| !committed(&left.path)).collect();
    html! {
        @if !omitted.is_empty() {
            details.note {
                summary { "Not committed: " (layout::file_count(omitted.iter().map(|left| left.files).sum())) " in generated or ignored folders" }
                ul {
                    @for left in omitted.iter().take(MOST_PATHS) {
                        li {
                            code { (Visible::name(left.path.as_str()).text()) } " · " (left.reason.words()) ", " (layout::file_count(left.files)) ", " (size::bytes(left.bytes)) " "
                            @if !view.active {
                                form.inline method="post" action={ "/tasks/" (view.task_id) "/commit" } {
                                    (form_token(signed))
                                    input type="hidden" name="path" value=(left.path);
                                    button.small type="submit" { "Commit anyway" }
                                }
                            }
                        }
                    }
                    @if omitted.len() > MOST_PATHS { li { (omitted.len() - MOST_PATHS) " more" } }
                }
            }
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct CommitForm {
    path: String,
}

pub(crate) async fn commit_files(
    AsUser(user): AsUser,
    Path(id): Path<String>,
    SignedForm(_, form): SignedForm<CommitForm>,
) -> Result<Response, PageProblem> {
    user.commit_files(&id, &CommitFiles { paths: vec![form.path] }).await?;
    Ok(see(&format!("/tasks/{id}")))
}

#[derive(Deserialize)]
pub(crate) struct AnswerForm {
    question: String,
    answer: String,
}

pub(crate) async fn answer(
    AsUser(user): AsUser,
    Path(id): Path<String>,
    SignedForm(_, form): SignedForm<AnswerForm>,
) -> Result<Response, PageProblem> {
    let unreadable = |_: std::num::ParseIntError| {
        Problem::new(ErrorCode::FormRefused, "invalid question number").with_kind(ProblemKind::Malformed)
    };
    let question = form.question.parse().map_err(unreadable)?;
    let asked = AnswerTask { answer: Answer::parse(&form.answer)?, question: Some(question) };
    user.answer_task(&id, &asked).await?;
    Ok(see(&format!("/tasks/{id}")))
}
