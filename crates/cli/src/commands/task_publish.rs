//! `task push`, `task pull-request` and `task feedback`: push branches and manage pull requests.
//! `task push` waits until the server is done. The server continues if the command is stopped.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use client::Client;
use model::ErrorCode;
use model::ids::TaskId;
use model::problem::{Problem, ProblemKind};
use model::publication::{Publication, PublicationStatus, PullRequest};
use printable::{printable, printable_line};
use protocol::{FeedQuery, PublicationView, PublishTask, TaskView};

use crate::args::PushArguments;
use crate::output::{Output, OutputFormat};
use crate::{ids, printer};

/// Pushes the branch and opens the pull request if requested. Waits until both are done.
pub(super) async fn push(client: &Client, asked: &PushArguments, format: OutputFormat) -> Result<ExitCode, Problem> {
    let id = ids::task(client, &asked.task.task).await?;
    let publish = PublishTask {
        pull_request: asked.pull_request,
        title: asked.title.clone(),
        body: match &asked.body_file {
            Some(file) => Some(body(file)?),
            None => asked.body.clone(),
        },
        draft: asked.draft,
        force_with_lease: asked.force_with_lease,
    };
    // Subscribe before sending the request, so that the end of the push is not missed.
    let mut feed = client.follow_changes(&FeedQuery::default()).await?;
    let mut now = client.push_task(id, &publish).await?;
    loop {
        let Some(publication) = now.publication.as_deref() else {
            return Err(Problem::internal("the server has no record of the push"));
        };
        if !publication.status.is_under_way() {
            if format.is_json() {
                printer::json(&now)?;
            } else {
                pushed(&now, publication).print();
            }
            return outcome(publication, format);
        }
        feed.next().await?;
        now = client.show_task(id).await?;
    }
}

fn outcome(publication: &Publication, format: OutputFormat) -> Result<ExitCode, Problem> {
    match (&publication.error, format) {
        (None, _) => Ok(ExitCode::SUCCESS),
        (Some(_), OutputFormat::Json) => Ok(ExitCode::FAILURE),
        (Some(error), OutputFormat::Text) => Err(error.clone().into_problem(ProblemKind::WrongState)),
    }
}

fn pushed(task: &TaskView, publication: &Publication) -> Output {
    let mut out = Output::default();
    if let Some(sha) = publication.pushed_sha.as_ref().filter(|_| publication.status == PublicationStatus::Done) {
        out.line(format!("Pushed {} ({})", task.branch, sha.short()));
    }
    if let Some(pull_request) = &publication.pull_request {
        out.line(&pull_request.url);
    }
    if let Some(note) = &publication.note {
        out.remark(printable(note));
    } else if let (None, Some(url)) = (&publication.pull_request, &publication.compare_url) {
        out.remark(format!("open a pull request: {url}"));
    }
    out
}

fn body(file: &Path) -> Result<String, Problem> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(file).map(|read| text = read)
    };
    read.map(|()| text)
        .map_err(|error| Problem::new(ErrorCode::BodyUnreadable, format!("could not read the description: {error}")))
}

/// Refreshes and shows the pull request, or previews it before it is opened.
pub(super) async fn pull_request(client: &Client, task: &str, format: OutputFormat) -> Result<ExitCode, Problem> {
    let id = ids::task(client, task).await?;
    let view = client.show_publication(id).await?;
    if format.is_json() {
        printer::json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    shown(&view, id).print();
    Ok(ExitCode::SUCCESS)
}

fn shown(view: &PublicationView, id: TaskId) -> Output {
    let mut out = Output::default();
    if let Some(pull_request) = view.publication.as_ref().and_then(|publication| publication.pull_request.as_ref()) {
        lines(pull_request).for_each(|(name, value)| out.line(format!("{name:<12} {value}")));
        return out;
    }
    out.line(format!("No pull request yet. Preview of a pull request from {} into {}:", view.head, view.base));
    out.line(format!("\n{}\n\n{}\n", printable_line(&view.title, 256), printable(&view.body)));
    match (&view.by_hand, &view.forge) {
        (Some(why), Some(forge)) => {
            out.remark(format!("{why}; push the branch, then open the pull request by hand: {}", forge.compare_url));
        }
        (Some(why), None) => out.remark(why),
        (None, _) => out.hint(&format!("open it: codex-orchestrator task push --pull-request {id}")),
    }
    out
}

/// Returns the fields of a pull request as labels and values.
pub(super) fn lines(pull_request: &PullRequest) -> impl Iterator<Item = (&'static str, String)> {
    let draft = if pull_request.draft { " (draft)" } else { "" };
    let mergeable = match pull_request.mergeable {
        Some(true) => "yes",
        Some(false) => "no, it has conflicts",
        None => "unknown",
    };
    let reviews = pull_request.reviews.as_ref().map(|reviews| {
        let of = |who: &[String], word: &str| (!who.is_empty()).then(|| format!("{word} {}", who.join(", ")));
        let said = [of(&reviews.approved, "approved by"), of(&reviews.changes_requested, "changes requested by")];
        let said: Vec<_> = said.into_iter().flatten().collect();
        if said.is_empty() { "none".to_owned() } else { printable_line(&said.join("; "), 300) }
    });
    let failed = pull_request.checks.as_ref().filter(|checks| !checks.failed.is_empty());
    [
        ("pull request", Some(format!("#{} {}", pull_request.number, pull_request.url))),
        ("title", Some(printable_line(&pull_request.title, 256))),
        ("state", Some(format!("{}{draft}", pull_request.state.as_str()))),
        ("into", Some(pull_request.base.to_string())),
        ("mergeable", Some(mergeable.to_owned())),
        ("checks", pull_request.checks.as_ref().map(model::publication::Checks::words)),
        ("failed", failed.map(|checks| printable_line(&checks.failed.join(", "), 300))),
        ("reviews", reviews),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}

/// Sends review comments and failed checks to the agent.
pub(super) async fn feedback(client: &Client, task: &str, format: OutputFormat) -> Result<ExitCode, Problem> {
    let id = ids::task(client, task).await?;
    let now = client.send_feedback(id).await?;
    if format.is_json() {
        printer::json(&now)?;
    } else {
        printer::line(format!("Sent the review comments and failed checks to Codex ({id})"));
        printer::remark(format!("follow it: codex-orchestrator task logs --follow {id}"));
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tests::samples::{self, completed_run, publication, task};

    fn view(publication: Option<&serde_json::Value>, forge: &serde_json::Value, by_hand: Option<&str>) -> PublicationView {
        samples::from(json!({
            "publication": publication, "head": "codex/0192f3a0", "base": "main", "title": "Fix the failing test",
            "body": "The test passes now.", "forge": forge, "by_hand": by_hand,
        }))
    }

    #[test]
    fn a_pull_request_is_shown_or_previewed() {
        insta::assert_snapshot!(
            "task-pull-request",
            shown(&view(Some(&publication()), &json!(null), None), samples::task_id()).plain()
        );
        insta::assert_snapshot!("task-pull-request-preview", shown(&view(None, &json!(null), None), samples::task_id()).plain());
        let why = Some("no token is set for github.com");
        insta::assert_snapshot!("task-pull-request-by-hand", shown(&view(None, &json!(null), why), samples::task_id()).plain());
    }

    #[test]
    fn a_push_says_where_the_pull_request_is() {
        let with = |publication: serde_json::Value| {
            let view = task(&[completed_run()], json!({ "publication": publication }));
            let publication = view.publication.clone().expect("the task has a publication");
            pushed(&view, &publication).plain()
        };
        let mut only_pushed = publication();
        only_pushed["pull_request"] = json!(null);
        only_pushed["compare_url"] = json!("https://github.com/me/app/compare/main...codex/1?expand=1");
        insta::assert_snapshot!("task-push", format!("{}\n\n{}", with(publication()), with(only_pushed)));
    }

    #[test]
    fn a_pull_request_shows_only_what_is_known() {
        let mut view = publication();
        for field in ["checks", "reviews", "mergeable"] {
            view["pull_request"][field] = serde_json::Value::Null;
        }
        view["pull_request"]["draft"] = json!(false);
        let of = |view: &serde_json::Value| -> Vec<(&'static str, String)> {
            let publication: Publication = samples::from(view.clone());
            lines(publication.pull_request.as_ref().expect("a pull request")).collect()
        };
        let known = of(&view);
        assert_eq!(
            known.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            ["pull request", "title", "state", "into", "mergeable"]
        );
        assert_eq!((known[2].1.as_str(), known[4].1.as_str()), ("open", "unknown"));
        view["pull_request"]["mergeable"] = json!(false);
        view["pull_request"]["reviews"] = json!({ "approved": [], "changes_requested": [] });
        let known = of(&view);
        assert_eq!(known[4].1, "no, it has conflicts");
        assert_eq!(known.last().map(|(name, value)| (*name, value.as_str())), Some(("reviews", "none")));
    }

    #[test]
    fn long_lists_of_checks_and_reviewers_are_cut() {
        let mut view = publication();
        let names: Vec<_> = (0..200).map(|number| format!("check {number}")).collect();
        view["pull_request"]["checks"]["failed"] = json!(names);
        view["pull_request"]["reviews"]["approved"] = json!(names);
        let publication: Publication = samples::from(view);
        let lines: Vec<_> = lines(publication.pull_request.as_ref().expect("a pull request")).collect();
        for name in ["failed", "reviews"] {
            let value = lines.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_str()).expect(name);
            assert!(value.chars().count() <= 300 && value.ends_with('…'), "{name}: {value}");
        }
    }

    #[test]
    fn a_push_that_failed_is_an_error_only_for_people() {
        let mut failed = publication();
        failed["error"] = json!({ "code": "push_rejected", "message": "no", "hints": ["pull"] });
        let failed: Publication = samples::from(failed);
        let problem = outcome(&failed, OutputFormat::Text).expect_err("people read the error");
        assert_eq!((problem.kind, problem.report.hints.as_slice()), (ProblemKind::WrongState, &["pull".to_owned()][..]));
        assert_eq!(outcome(&failed, OutputFormat::Json), Ok(ExitCode::FAILURE));
        assert_eq!(outcome(&samples::from(publication()), OutputFormat::Text), Ok(ExitCode::SUCCESS));
    }

    #[test]
    fn a_note_replaces_the_link_to_open_a_pull_request() {
        let mut only_pushed = publication();
        only_pushed["pull_request"] = json!(null);
        only_pushed["compare_url"] = json!("https://github.com/me/app/compare/x");
        only_pushed["note"] = json!("no token is set");
        let view = task(&[completed_run()], json!({ "publication": only_pushed }));
        let text = pushed(&view, view.publication.as_deref().expect("a publication")).plain();
        assert!(text.ends_with("\nstderr| no token is set") && !text.contains("compare"), "{text}");
    }
}
