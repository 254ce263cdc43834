//! `task list` and `task show`: print tasks and their runs.
//! Control characters in text from agents are escaped.

use std::path::Path;
use std::process::ExitCode;

use client::Client;
use model::problem::Problem;
use model::publication::{Checks, Publication};
use model::task::UpdateStrategy;
use printable::{printable, printable_line};
use protocol::RunView;
use protocol::{Page, TaskQuery, TaskView};

use crate::output::{Output, OutputFormat};
use crate::printer::Cell;
use crate::{ids, printer, progress};

/// The maximum length of a title or prompt, in characters.
const TITLE: usize = 60;

pub(crate) async fn list(client: &Client, query: &TaskQuery, format: OutputFormat) -> Result<ExitCode, Problem> {
    let page = client.list_tasks(query).await?;
    if format.is_json() {
        printer::json(&page)?;
        return Ok(ExitCode::SUCCESS);
    }
    listed(&page).print();
    Ok(ExitCode::SUCCESS)
}

fn listed(page: &Page<TaskView>) -> Output {
    let mut out = Output::default();
    let all: Vec<_> = page.items.iter().map(|task| task.task_id.to_string()).collect();
    let length = ids::shown_length(&all);
    let has_pulls = page.items.iter().any(|task| pull(task).is_some());
    let rows = page.items.iter().map(|task| {
        let mut row = vec![
            Cell::plain(&task.task_id.to_string()[..length]),
            if task.question.is_some() { Cell::plain("needs answer") } else { Cell::status(task.status.as_str()) },
            Cell::plain(task.env_name.as_ref().map_or("-", |name| name.as_str())),
            Cell::plain(task.runs.len().to_string()),
            Cell::plain(task.created_at.strftime("%Y-%m-%d %H:%M").to_string()),
        ];
        row.extend(has_pulls.then(|| Cell::plain(pull(task).unwrap_or_else(|| "-".to_owned()))));
        row.push(Cell::plain(printable_line(task.title.as_str(), TITLE)));
        row
    });
    if page.items.is_empty() {
        out.remark("No matching tasks.");
    } else {
        let mut heads = vec!["id", "status", "repository", "runs", "created (UTC)"];
        heads.extend(has_pulls.then_some("pull request"));
        heads.push("title");
        out.table(&heads, &rows.collect::<Vec<_>>());
    }
    if page.next_cursor.is_some() {
        out.remark("more tasks match: use --limit to list up to 200, or filter with --query and --status");
    }
    for damaged in &page.damaged {
        out.remark(format!("damaged: {}: {}", damaged.path, damaged.reason));
    }
    out
}

/// Summarizes a task's pull request, e.g. `#7 open, 1 failed`.
fn pull(task: &TaskView) -> Option<String> {
    let pull_request = task.publication.as_ref()?.pull_request.as_ref()?;
    let checks = pull_request.checks.as_ref().filter(|checks| **checks != Checks::default());
    let checks = checks.map_or_else(String::new, |checks| format!(", {}", checks.words()));
    Some(format!("#{} {}{checks}", pull_request.number, pull_request.state.as_str()))
}

pub(crate) fn show(task: &TaskView, mirror: &Path, format: OutputFormat) -> Result<ExitCode, Problem> {
    if format.is_json() {
        printer::json(task)?;
        return Ok(ExitCode::SUCCESS);
    }
    shown(task, mirror).print();
    Ok(ExitCode::SUCCESS)
}

fn shown(task: &TaskView, mirror: &Path) -> Output {
    let mut out = Output::default();
    let meta = task;
    let id = meta.task_id;
    let name = task.env_name.as_ref().map_or("-", |name| name.as_str());
    out.line(format!("{:<8} {id}", "task"));
    out.line(format!("{:<8} {}", "title", printable_line(meta.title.as_str(), 200)));
    out.styled(format!("{:<8} {}", "status", printer::status(meta.status.as_str())));
    for (label, value) in [
        ("env", format!("{name} ({})", meta.env_id)),
        ("branch", meta.branch.to_string()),
        ("base", format!("{} ({})", meta.base_sha.as_ref().map_or("-", |sha| sha.short()), meta.git_ref)),
        ("created", meta.created_at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()),
        ("thread", meta.thread_id.map_or_else(|| "-".to_owned(), |thread| thread.to_string())),
    ] {
        out.line(format!("{label:<8} {value}"));
    }
    if let Some(update) = meta.updates.last() {
        let word = match update.strategy {
            _ if !update.committed.is_empty() => "files committed,",
            UpdateStrategy::Rebase => "rebased",
            UpdateStrategy::Merge => "base merged,",
        };
        let (from, to) = (update.from_base.short(), update.to_base.short());
        out.line(format!("{:<8} {word} from {from} to {to} after run {}", "updated", update.after_run.0));
    }
    if let Some(question) = &meta.question {
        for text in super::task_answer::lines(question, id) {
            out.line(text);
        }
    } else if let Some(place) = &task.queue {
        out.line(format!("{:<8} number {}, waiting for {}", "queue", place.position, progress::reason(place)));
    }
    for text in meta.held.iter().flat_map(|held| super::task_answer::held_lines(held, id)) {
        out.line(text);
    }
    if let Some(activity) = &task.activity {
        out.line(format!("{:<8} {activity}", "now"));
    }
    meta.runs.iter().for_each(|run| show_run(&mut out, run));
    meta.publication.iter().for_each(|publication| show_publication(&mut out, publication));
    for follow_up in &meta.follow_ups {
        let images = match follow_up.images.len() {
            0 => String::new(),
            some => format!(", with {}", printer::plural(some, "file")),
        };
        let prompt = printable_line(follow_up.prompt.as_str(), TITLE);
        out.line(format!("\nfollow-up {}  waiting  {prompt}{images}", follow_up.number));
    }
    out.line(String::new());
    if task.active {
        out.line(format!("follow:   codex-orchestrator task logs --follow {id}"));
        out.line(format!("stop:     codex-orchestrator task stop {id}"));
        if meta.thread_id.is_some() {
            out.line(format!("add:      codex-orchestrator task follow-up add {id} \"What to do next\""));
        }
    } else if !meta.follow_ups.is_empty() {
        out.line(format!("next:     codex-orchestrator task follow-up start {id}"));
        out.line(format!("log:      codex-orchestrator task logs {id}"));
    } else {
        out.line(format!("log:      codex-orchestrator task logs {id}"));
        out.line(format!("diff:     codex-orchestrator task diff {id}"));
        if meta.runs.iter().any(|run| run.commit.is_some()) {
            out.line(format!("fetch:    git fetch {} {}", shell_word(mirror), meta.branch));
        }
        if meta.thread_id.is_some() {
            out.line(format!("continue: codex-orchestrator task resume {id} \"What to do next\""));
        }
        if meta.publication.is_none() && meta.runs.iter().any(|run| run.commit.is_some()) {
            out.line(format!("push:     codex-orchestrator task push {id}"));
        }
    }
    out
}

fn show_publication(out: &mut Output, publication: &Publication) {
    let sha = publication.pushed_sha.as_ref().map_or("-", |sha| sha.short());
    out.styled(format!("\npushed   {}  {sha}", printer::status(publication.status.as_str())));
    let mut field = |name: &str, value: String| out.line(format!("  {name:<12} {value}"));
    for (name, value) in publication.pull_request.iter().flat_map(super::task_publish::lines) {
        field(name, value);
    }
    if let Some(error) = &publication.error {
        field("error", format!("{}: {}", error.code, printable(&error.message)));
        error.hints.iter().for_each(|hint| field("hint", hint.clone()));
    }
    publication.note.iter().for_each(|note| field("note", printable(note).into_owned()));
}

/// Quotes a path for the shell if it contains special characters.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    shlex::Quoter::new().allow_nul(true).quote(&text).expect("every text can be quoted").into_owned()
}

fn show_run(out: &mut Output, run: &RunView) {
    let status = serde_json::to_value(run.status).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default();
    out.styled(format!("\nrun {}    {}  {}", run.number.0, printer::status(&status), printable_line(run.prompt.as_str(), TITLE)));
    let mut field = |name: &str, value: String| out.line(format!("  {name:<9} {value}"));
    for image in &run.images {
        let what = if image.file.kind().is_image() { "image" } else { "file" };
        field(what, format!("{} (images/{})", printable_line(&image.name, TITLE), image.file));
    }
    if let (Some(start), Some(end)) = (run.started_at, run.finished_at) {
        field("took", format!("{:.1} s", end.duration_since(start).as_secs_f64()));
    }
    if !run.times.is_empty() {
        field("phases", run.times.to_string());
    }
    if let Some(usage) = &run.usage {
        field("tokens", format!("{} in ({} cached), {} out", usage.input_tokens, usage.cached_input_tokens, usage.output_tokens));
    }
    if let Some(commit) = &run.commit {
        field("commit", commit.short().to_owned());
    }
    if let Some(error) = &run.error {
        field("error", format!("{}: {}", error.code, printable(&error.message)));
        error.hints.iter().for_each(|hint| field("hint", hint.clone()));
    }
    run.notes.iter().for_each(|note| field("note", printable(note).into_owned()));
    for left in &run.omitted {
        let what = super::task_answer::described(&left.path, left.files, left.bytes);
        field("omitted", format!("{what}: {}", left.reason.words()));
    }
    if run.artifacts > 0 {
        field("artifacts", printer::plural(run.artifacts as usize, "file"));
    }
    if let Some(message) = &run.last_message {
        for (n, text) in printable(message).lines().enumerate() {
            field(if n == 0 { "message" } else { "" }, text.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tests::samples::{self, completed_run, publication, run, task, thread};

    fn text(task: &TaskView) -> String {
        shown(task, Path::new("/home/me/.codex-orchestrator/envs/e/mirror")).plain()
    }

    #[test]
    fn a_queued_task_says_what_it_waits_for() {
        let queued =
            task(&[run(1, "queued", json!({}))], json!({ "queue": { "position": 2, "waits_for": "environment_limit" } }));
        insta::assert_snapshot!("task-show-queued", text(&queued));
        let question = json!({ "number": 1, "urls": ["https://example.com/lib.git"], "asked_at": "2026-03-01T12:00:01Z" });
        let asks = task(
            &[run(1, "queued", json!({}))],
            json!({ "question": question, "queue": { "position": 1, "waits_for": "answer" } }),
        );
        insta::assert_snapshot!("task-show-question", text(&asks));
    }

    #[test]
    fn held_and_omitted_files_are_listed_with_the_command_that_decides() {
        let held = json!({
            "number": 3, "run": 1, "files": 6322, "bytes": 12_000_009, "asked_at": "2026-03-01T12:00:01Z",
            "paths": [{ "path": "junk/", "files": 6321, "bytes": 12_000_000 }, { "path": "a\u{202e}b", "files": 1, "bytes": 9 }],
        });
        let mut ended = completed_run();
        ended["omitted"] = json!([{ "path": ".venv/", "reason": "virtual_environment", "files": 15, "bytes": 1_200_000 }]);
        insta::assert_snapshot!("task-show-held", text(&task(&[ended], json!({ "held": held }))));
    }

    #[test]
    fn attached_files_are_named_as_what_they_are() {
        let file = |file: &str, name: &str| json!({ "file": file, "name": name, "bytes": 7 });
        let mut ended = completed_run();
        ended["images"] = json!([file("ba7816bf8f01cfea.png", "a.png"), file("ba7816bf8f01cfea.bin", "report.csv")]);
        let shown = text(&task(&[ended], json!({})));
        assert!(shown.contains("image     a.png (images/ba7816bf8f01cfea.png)"), "{shown}");
        assert!(shown.contains("file      report.csv (images/ba7816bf8f01cfea.bin)"), "{shown}");
    }

    #[test]
    fn held_files_with_a_secret_say_so() {
        let held = json!({
            "number": 3, "run": 1, "files": 1, "bytes": 9, "asked_at": "2026-03-01T12:00:01Z",
            "paths": [{ "path": "copy.txt", "files": 1, "bytes": 9, "has_secret": true }],
        });
        let shown = text(&task(&[completed_run()], json!({ "held": held })));
        assert!(shown.contains("which contain secrets or exceed the limits?"), "{shown}");
        assert!(shown.contains("copy.txt (1 file, 9 bytes), contains a secret"), "{shown}");
    }

    #[test]
    fn a_running_task_shows_what_codex_does_and_what_comes_next() {
        let follow_up = json!({ "number": 1, "prompt": "Then write a test", "asked_at": "2026-03-01T12:00:30Z" });
        let running = run(1, "running", json!({ "started_at": "2026-03-01T12:00:03Z" }));
        let fields = json!({
            "thread_id": thread()["thread_id"], "activity": "runs `cargo test`", "follow_ups": [follow_up],
        });
        insta::assert_snapshot!("task-show-running", text(&task(&[running], fields)));
    }

    #[test]
    fn a_completed_task_shows_its_result_and_the_next_steps() {
        insta::assert_snapshot!("task-show-completed", text(&task(&[completed_run()], thread())));
    }

    #[test]
    fn a_failed_task_shows_the_error_and_the_follow_ups_that_wait() {
        let error =
            json!({ "code": "unauthorized", "message": "Codex is not logged in", "hints": ["log in: codex-orchestrator login"] });
        let failed = run(1, "failed", json!({ "error": error, "finished_at": "2026-03-01T12:01:00Z", "exit_code": 1 }));
        let follow_up = json!({ "number": 1, "prompt": "Then write a test", "asked_at": "2026-03-01T12:00:30Z" });
        insta::assert_snapshot!("task-show-failed", text(&task(&[failed], json!({ "follow_ups": [follow_up] }))));
    }

    #[test]
    fn a_published_task_shows_its_pull_request() {
        let update = json!({
            "after_run": 1, "strategy": "rebase", "from_base": samples::commit('a'), "to_base": samples::commit('b'),
            "from_head": samples::commit('d'), "to_head": samples::commit('c'), "at": "2026-03-01T12:04:00Z",
        });
        let fields = json!({ "thread_id": thread()["thread_id"], "publication": publication(), "updates": [update] });
        insta::assert_snapshot!("task-show-published", text(&task(&[completed_run()], fields)));
    }

    #[test]
    fn a_list_shows_status_and_pull_request_of_each_task() {
        let published = task(&[completed_run()], json!({ "publication": publication() }));
        let damaged = json!({ "id": "x", "path": "tasks/x/meta.json", "reason": "invalid JSON", "hints": [] });
        let page = samples::from(json!({ "items": [published], "next_cursor": "next", "damaged": [damaged] }));
        insta::assert_snapshot!("task-list", listed(&page).plain());
        let empty = samples::from(json!({ "items": [], "next_cursor": null }));
        insta::assert_snapshot!("task-list-empty", listed(&empty).plain());
    }

    #[test]
    fn a_path_is_one_word_for_a_shell() {
        assert_eq!(shell_word(Path::new("/home/a/envs/x/mirror")), "/home/a/envs/x/mirror");
        assert_eq!(shell_word(Path::new("/a b/c=$d")), "'/a b/c=$d'");
        assert_eq!(shell_word(Path::new("/a b/it's")), r#""/a b/it's""#);
        assert_eq!(shell_word(Path::new("/it's $5")), r#""/it's "'$5'"#);
    }

    #[test]
    fn long_and_wide_titles_are_cut_and_aligned() {
        let long = task(&[run(1, "running", json!({}))], json!({ "title": "日本語 ".repeat(20) }));
        let short = task(&[run(1, "queued", json!({})), run(2, "queued", json!({}))], json!({ "env_name": null, "title": "x" }));
        let text = listed(&samples::from(json!({ "items": [long, short], "next_cursor": null }))).plain();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].ends_with('…') && lines[1].contains("日本語 日本語"), "{text}");
        let start = |line: &str, word: &str| line.find(word).expect("the column exists");
        assert_eq!(start(lines[0], "TITLE"), start(lines[2], "x"), "{text}");
        assert!(lines[2].contains("  -           2     "), "a removed repository has no name: {text}");
        assert!(!text.contains("PULL REQUEST"), "no task has one: {text}");
    }

    #[test]
    fn a_task_that_asks_needs_an_answer() {
        let question = json!({ "number": 1, "urls": ["https://example.com/lib.git"], "asked_at": "2026-03-01T12:00:01Z" });
        let asks = task(&[run(1, "queued", json!({}))], json!({ "question": question }));
        let text = listed(&samples::from(json!({ "items": [asks], "next_cursor": null }))).plain();
        assert!(text.lines().nth(1).is_some_and(|line| line.contains("  needs answer  ")), "{text}");
    }

    #[test]
    fn a_pull_request_without_checks_is_only_its_state() {
        let with = |checks: serde_json::Value| {
            let mut publication = publication();
            publication["pull_request"]["checks"] = checks;
            pull(&task(&[completed_run()], json!({ "publication": publication })))
        };
        assert_eq!(with(json!(null)).as_deref(), Some("#7 open"));
        assert_eq!(with(json!({ "passed": 0, "failed": [], "pending": 0 })).as_deref(), Some("#7 open"));
        assert_eq!(with(json!({ "passed": 2, "failed": [], "pending": 0 })).as_deref(), Some("#7 open, 2 passed"));
        assert_eq!(pull(&task(&[completed_run()], json!({}))), None);
    }

    #[test]
    fn a_message_of_several_lines_is_indented_and_cannot_forge_a_field() {
        let message = "First line\n  commit    forged\u{1b}[2J\r\nlast";
        let text = text(&task(&[run(1, "completed", json!({ "last_message": message }))], json!({})));
        for line in ["  message   First line", "              commit    forged", "            last"] {
            assert!(text.lines().any(|found| found == line), "{line:?}: {text}");
        }
    }

    #[test]
    fn a_task_without_a_commit_has_nothing_to_fetch_or_push() {
        let nothing = text(&task(&[run(1, "stopped", json!({}))], json!({})));
        assert!(nothing.contains("diff:     codex-orchestrator task diff"), "{nothing}");
        for line in ["fetch:", "push:", "continue:", "stop:"] {
            assert!(!nothing.lines().any(|found| found.starts_with(line)), "{line} {nothing}");
        }
        let active = text(&task(&[run(1, "preparing", json!({}))], json!({})));
        assert!(
            active.contains("stop:     ") && !active.contains("add:      "),
            "without a thread there is nothing to add to: {active}"
        );
    }

    #[test]
    fn a_merge_of_the_base_is_not_called_a_rebase() {
        let update = json!({
            "after_run": 2, "strategy": "merge", "from_base": samples::commit('a'), "to_base": samples::commit('b'),
            "from_head": samples::commit('d'), "to_head": samples::commit('c'), "at": "2026-03-01T12:04:00Z",
        });
        let text = text(&task(&[completed_run()], json!({ "updates": [update] })));
        assert!(text.contains("updated  base merged, from aaaaaaaaaaaa to bbbbbbbbbbbb after run 2"), "{text}");
    }

    #[test]
    fn a_failed_push_shows_its_error_and_hints() {
        let mut failed = publication();
        failed["status"] = json!("failed");
        failed["error"] =
            json!({ "code": "push_rejected", "message": "the remote has newer commits", "hints": ["update first"] });
        failed["note"] = json!("the pull request is still open");
        let text = text(&task(&[completed_run()], json!({ "publication": failed })));
        for line in [
            "  error        push_rejected: the remote has newer commits",
            "  hint         update first",
            "  note         the pull request is still open",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?}: {text}");
        }
    }
}
