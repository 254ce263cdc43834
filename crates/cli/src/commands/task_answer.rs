//! `task answer`: what a task asks before its run can start, and the answer.
//! The URLs come from whoever wrote the branch, so that nothing in them may hide.

use std::process::ExitCode;

use model::api::AnswerTask;
use model::problem::Problem;
use model::submodule::visible;
use model::task::{Answer, Question};

use super::task::view;
use crate::args::{AnswerArguments, AnswerWord};
use crate::client::Client;
use crate::{ids, printer};

pub(crate) async fn answer(client: &Client, asked: &AnswerArguments, json: bool) -> Result<ExitCode, Problem> {
    let id = ids::task(client, &asked.task).await?;
    // What is answered is what is shown here, even if the task asks something else by then.
    let open = view(client, &id).await?.meta.question;
    let answer = match asked.answer {
        AnswerWord::Fetch => Answer::Fetch,
        AnswerWord::Skip => Answer::Skip,
    };
    let body = AnswerTask { answer, question: asked.question.or(open.as_ref().map(|question| question.number)) };
    let now = client.answer_task(&id, &body).await?;
    if json {
        printer::json(&now)?;
        return Ok(ExitCode::SUCCESS);
    }
    let word = match answer {
        Answer::Fetch => "Allowed",
        Answer::Skip => "Skipped",
    };
    for url in open.iter().flat_map(|question| &question.urls) {
        printer::line(format!("{word} {}", visible(url)));
    }
    printer::remark(format!("follow it: codex-orchestrator task logs --follow {id}"));
    Ok(ExitCode::SUCCESS)
}

/// A question and how to answer it, for people.
pub(crate) fn lines(question: &Question, id: &str) -> Vec<String> {
    let mut lines = vec![format!("{:<8} needs your answer: fetch submodules from these URLs?", "asks")];
    lines.extend(question.urls.iter().map(|url| format!("{:<8} {}", "", visible(url))));
    lines.push(format!("{:<8} codex-orchestrator task answer {id} fetch   (or skip)", "answer"));
    lines
}
