//! `task answer`: answers a task's question, such as whether to fetch submodules.
//! The URLs come from the author of the branch, so invisible characters in them are marked.

use std::process::ExitCode;

use client::Client;
use model::ids::TaskId;
use model::problem::Problem;
use model::submodule::visible;
use model::task::{Answer, Question};
use protocol::AnswerTask;

use crate::args::{AnswerArguments, AnswerWord};
use crate::output::OutputFormat;
use crate::{ids, printer};

pub(crate) async fn answer(client: &Client, asked: &AnswerArguments, format: OutputFormat) -> Result<ExitCode, Problem> {
    let id = ids::task(client, &asked.task.task).await?;
    // The request names the question that is open now, in case the task asks another one in the meantime.
    let open = client.show_task(id).await?.question;
    let answer = match asked.answer {
        AnswerWord::Fetch => Answer::Fetch,
        AnswerWord::Skip => Answer::Skip,
    };
    let body = AnswerTask { answer, question: asked.question.or(open.as_ref().map(|question| question.number)) };
    let now = client.answer_task(id, &body).await?;
    if format.is_json() {
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

/// Formats a question and the command that answers it.
pub(crate) fn lines(question: &Question, id: TaskId) -> Vec<String> {
    let mut lines = vec![format!("{:<8} fetch submodules from these URLs?", "question")];
    lines.extend(question.urls.iter().map(|url| format!("{:<8} {}", "", visible(url))));
    lines.push(format!("{:<8} codex-orchestrator task answer {id} fetch   (or skip)", "answer"));
    lines
}
