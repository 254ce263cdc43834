//! `task answer`: answers a task's question, such as whether to fetch submodules. `task commit`: commits files that a run omitted.
//! The URLs come from the author of the branch, so invisible characters in them are marked.

use std::process::ExitCode;

use client::Client;
use model::commit::PathText;
use model::ids::TaskId;
use model::problem::Problem;
use model::size;
use model::submodule::visible;
use model::task::{Answer, HeldChanges, Question};
use model::visible::plain_name;
use protocol::{AnswerTask, CommitFiles};

use crate::args::{AnswerArguments, AnswerWord, CommitArguments};
use crate::output::OutputFormat;
use crate::{ids, printer};

/// The maximum number of paths that are listed.
const MOST_PATHS: usize = 20;

pub(crate) async fn answer(client: &Client, asked: &AnswerArguments, format: OutputFormat) -> Result<ExitCode, Problem> {
    let id = ids::task(client, &asked.task.task).await?;
    // The request names the question that is open now, in case the task asks another one in the meantime.
    let before = client.show_task(id).await?;
    let (answer, open) = match asked.answer {
        AnswerWord::Fetch => (Answer::Fetch, before.question.as_ref().map(|question| question.number)),
        AnswerWord::Skip => (Answer::Skip, before.question.as_ref().map(|question| question.number)),
        AnswerWord::Commit => (Answer::Commit, before.held.as_ref().map(|held| held.number)),
        AnswerWord::Ignore => (Answer::Ignore, before.held.as_ref().map(|held| held.number)),
    };
    let body = AnswerTask { answer, question: asked.question.or(open) };
    let now = client.answer_task(id, &body).await?;
    if format.is_json() {
        printer::json(&now)?;
        return Ok(ExitCode::SUCCESS);
    }
    let urls = before.question.iter().flat_map(|question| &question.urls).map(visible);
    let held = before.held.iter().flat_map(|held| &held.paths).map(|held| shown(&held.path));
    match answer {
        Answer::Fetch => urls.for_each(|url| printer::line(format!("Allowed {url}"))),
        Answer::Skip => urls.for_each(|url| printer::line(format!("Skipped {url}"))),
        Answer::Commit => held.for_each(|path| printer::line(format!("Committed {path}"))),
        Answer::Ignore => held.for_each(|path| printer::line(format!("Ignored {path}"))),
    }
    match answer {
        Answer::Fetch | Answer::Skip => printer::remark(format!("follow it: codex-orchestrator task logs --follow {id}")),
        Answer::Commit | Answer::Ignore => printer::remark(format!("see the changes: codex-orchestrator task diff {id}")),
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn commit(client: &Client, asked: &CommitArguments, format: OutputFormat) -> Result<ExitCode, Problem> {
    let id = ids::task(client, &asked.task.task).await?;
    let now = client.commit_files(id, &CommitFiles { paths: asked.paths.clone() }).await?;
    if format.is_json() {
        printer::json(&now)?;
        return Ok(ExitCode::SUCCESS);
    }
    let committed = now.updates.last().map(|update| update.committed.as_slice()).unwrap_or_default();
    for path in committed {
        printer::line(format!("Committed {}", shown(path)));
    }
    printer::remark(format!("see the changes: codex-orchestrator task diff {id}"));
    Ok(ExitCode::SUCCESS)
}

fn shown(path: &PathText) -> String {
    plain_name(path.as_str().as_bytes())
}

/// Formats a file or folder of a worktree, with how much it contains.
pub(crate) fn described(path: &PathText, files: u64, bytes: u64) -> String {
    let files = printer::plural(usize::try_from(files).unwrap_or(usize::MAX), "file");
    format!("{} ({files}, {})", shown(path), size::bytes(bytes))
}

/// Formats the held files of a task and the commands that decide about them.
pub(crate) fn held_lines(held: &HeldChanges, id: TaskId) -> Vec<String> {
    let has_secrets = held.paths.iter().any(|held| held.has_secret);
    let why = if has_secrets { "which contain secrets or exceed the limits" } else { "which exceed the limits" };
    let mut lines = vec![format!("{:<8} commit these files, {why}?", "question")];
    lines.extend(held.paths.iter().take(MOST_PATHS).map(|held| {
        let secret = if held.has_secret { ", contains a secret" } else { "" };
        format!("{:<8} {}{secret}", "", described(&held.path, held.files, held.bytes))
    }));
    let more = held.paths.len().saturating_sub(MOST_PATHS);
    lines.extend((more > 0).then(|| format!("{:<8} and {more} more", "")));
    lines.push(format!("{:<8} codex-orchestrator task answer {id} commit   (or ignore)", "answer"));
    lines
}

/// Formats a question and the command that answers it.
pub(crate) fn lines(question: &Question, id: TaskId) -> Vec<String> {
    let mut lines = vec![format!("{:<8} fetch submodules from these URLs?", "question")];
    lines.extend(question.urls.iter().map(|url| format!("{:<8} {}", "", visible(url))));
    lines.push(format!("{:<8} codex-orchestrator task answer {id} fetch   (or skip)", "answer"));
    lines
}
