//! The question that a task asks before its run starts, and the form with its two answers.
//! The URLs come from an untrusted branch, so hidden characters in them are made visible.

use axum::extract::Path;
use axum::response::Response;
use maud::{Markup, html};
use model::ErrorCode;
use model::problem::{Problem, ProblemKind};
use model::submodule::visible;
use model::task::Answer;
use protocol::{AnswerTask, TaskView};
use serde::Deserialize;

use super::answer::{PageProblem, see};
use super::session::form_token;
use super::session::{Signed, SignedForm};
use crate::caller::AsUser;

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
