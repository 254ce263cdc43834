//! `env setup`: shows, changes and runs the setup of a repository's environment.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use client::Client;
use model::ErrorCode;
use model::ids::EnvironmentId;
use model::problem::Problem;
use model::setup::{SetupPhase, SetupScript};
use model::size::bytes;
use printable::printable;
use protocol::{DescriptionOrigin, EditSetup, RunSetupQuery, SetupAttemptView, SetupView};

use super::env_trust::{self, Choice};
use crate::args::{EditSetupArguments, SetupCommand};
use crate::output::OutputFormat;
use crate::{ids, printer};

/// Why the description of an environment has no effect.
const NO_EFFECT: &str = "the description has no effect, because the worker does not run Codex in containers";

/// What the description of an environment does with the public script.
const ONLY_CACHES: &str =
    "the worker is not the built-in one, so the description has no effect, except that each task keeps the folders in [cache]";

/// What the description of an environment does if its setup runs on the server's machine.
const ON_HOST: &str = "the setup script runs on the machine of the server, without isolation, once in the worktree of each new task; \
                       the rest of the description has no effect: image, tools, services, cache, keep, files and network";

/// How often the output of a running setup is read.
const PERIOD: Duration = Duration::from_millis(500);

/// How much of the end of an output is looked for in the next one, in bytes.
const KNOWN_END_BYTES: usize = 4 << 10;

pub(crate) async fn run(client: &Client, command: &SetupCommand, format: OutputFormat) -> Result<ExitCode, Problem> {
    match command {
        SetupCommand::Show { env, toml } => {
            let id = ids::environment(client, &env.env).await?;
            let setup = client.show_setup(id).await?;
            if *toml {
                let proposed = setup.proposal.map(|proposal| proposal.text);
                let text = setup.description.map(|description| description.text).or(proposed);
                printer::bytes(text.unwrap_or_default().as_bytes());
            } else {
                show(&setup, &env.env, format)?;
            }
        }
        SetupCommand::Edit(arguments) => {
            let id = ids::environment(client, &arguments.env.env).await?;
            let description = new_description(arguments)?;
            let edit = EditSetup { description: Some(description), ..EditSetup::default() };
            show(&client.edit_setup(id, &edit).await?, &arguments.env.env, format)?;
        }
        SetupCommand::Accept { env } => {
            let id = ids::environment(client, &env.env).await?;
            let proposal = client.show_setup(id).await?.proposal.ok_or_else(|| {
                Problem::new(ErrorCode::NoSetup, format!("nothing is proposed for `{}`", env.env))
                    .hint(format!("write a description: codex-orchestrator env setup edit {}", env.env))
            })?;
            let edit = EditSetup { description: Some(Some(proposal.text)), ..EditSetup::default() };
            show(&client.edit_setup(id, &edit).await?, &env.env, format)?;
        }
        SetupCommand::Approve { env } => {
            let id = ids::environment(client, &env.env).await?;
            let description = client
                .show_setup(id)
                .await?
                .description
                .ok_or_else(|| Problem::new(ErrorCode::NoSetup, format!("`{}` has no description to approve", env.env)))?;
            let edit = EditSetup { approve: Some(description.hash.to_string()), ..EditSetup::default() };
            show(&client.edit_setup(id, &edit).await?, &env.env, format)?;
        }
        SetupCommand::Diff { env, branch } => env_trust::diff(client, &env.env, branch, format).await?,
        SetupCommand::AcceptBranch { env, branch, undo } => {
            let choice = if *undo { Choice::TakeBack } else { Choice::Accept };
            show(&env_trust::accept(client, &env.env, branch, choice, format).await?, &env.env, format)?;
        }
        SetupCommand::Trust { env, branches, .. } => {
            let id = ids::environment(client, &env.env).await?;
            let edit = EditSetup { trust: Some(branches.clone()), ..EditSetup::default() };
            show(&client.edit_setup(id, &edit).await?, &env.env, format)?;
        }
        SetupCommand::Run { env, fresh } => {
            let id = ids::environment(client, &env.env).await?;
            client.run_setup(id, &RunSetupQuery { fresh: *fresh }).await?;
            return follow(client, id, &env.env, format).await;
        }
        SetupCommand::Skip { env } => {
            let id = ids::environment(client, &env.env).await?;
            show(&client.skip_setup(id).await?, &env.env, format)?;
        }
        SetupCommand::Log { env, follow: true } => {
            let id = ids::environment(client, &env.env).await?;
            if client.show_setup(id).await?.last.is_some() {
                follow(client, id, &env.env, format).await?;
            }
        }
        SetupCommand::Log { env, follow: false } => {
            let id = ids::environment(client, &env.env).await?;
            printer::bytes(client.show_setup_log(id).await?.as_bytes());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the new description, or `None` for the repository's own.
fn new_description(asked: &EditSetupArguments) -> Result<Option<String>, Problem> {
    asked.file.as_deref().map(read).transpose()
}

fn read(path: &Path) -> Result<String, Problem> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    text.map_err(|error| Problem::new(ErrorCode::DescriptionRefused, format!("could not read the description: {error}")))
}

/// Prints the output of a running setup until it ends.
async fn follow(client: &Client, id: EnvironmentId, name: &str, format: OutputFormat) -> Result<ExitCode, Problem> {
    let mut printed = String::new();
    let mut tick = tokio::time::interval(PERIOD);
    loop {
        tick.tick().await;
        let setup = client.show_setup(id).await?;
        let ended = setup.last.as_ref().filter(|last| last.phase != SetupPhase::Running);
        if !format.is_json() {
            let mut log = client.show_setup_log(id).await?;
            if ended.is_none() {
                log.truncate(whole_lines(&log));
            }
            printer::bytes(added(&printed, &log).as_bytes());
            printed = log;
        }
        let Some(last) = ended else { continue };
        let code = if last.phase == SetupPhase::Ready { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        if format.is_json() {
            printer::json(&setup)?;
        } else {
            attempt_lines(last, name).iter().for_each(printer::styled);
        }
        return Ok(code);
    }
}

/// Returns the length of the complete lines of an output. The last line can still change: it may end in the middle of a character, or of a
/// secret that is masked once it is complete.
fn whole_lines(log: &str) -> usize {
    log.rfind(['\n', '\r']).map_or(0, |end| end + 1)
}

/// Returns what was added to an output. The server omits the start of a long output.
fn added<'a>(before: &str, now: &'a str) -> &'a str {
    if let Some(added) = now.strip_prefix(before) {
        return added;
    }
    let end = &before[before.ceil_char_boundary(before.len().saturating_sub(KNOWN_END_BYTES))..];
    now.rfind(end).map_or(now, |at| &now[at + end.len()..])
}

/// Prints the setup of a repository.
pub(super) async fn show_current(client: &Client, id: EnvironmentId, name: &str, format: OutputFormat) -> Result<(), Problem> {
    show(&client.show_setup(id).await?, name, format)
}

fn show(setup: &SetupView, name: &str, format: OutputFormat) -> Result<(), Problem> {
    if format.is_json() {
        return printer::json(setup);
    }
    lines(setup, name).iter().for_each(printer::styled);
    Ok(())
}

fn lines(setup: &SetupView, name: &str) -> Vec<String> {
    let mut lines = vec![];
    let indented =
        |text: &str| text.lines().map(|line| format!("  {}", printable(line)).trim_end().to_owned()).collect::<Vec<_>>();
    if let Some(description) = &setup.description {
        let origin = match description.origin {
            DescriptionOrigin::Settings => "the settings of this server",
            DescriptionOrigin::Repository => ".codex-orchestrator/environment.toml in the default branch",
        };
        lines.push(format!("description  from {origin}"));
        lines.extend(indented(&description.text));
        if !description.secrets.is_empty() {
            let names: Vec<_> = description.secrets.iter().map(model::names::VariableName::as_str).collect();
            let word = if description.approved { "gets" } else { "does not get" };
            lines.push(format!("secrets      the description {word} {}", names.join(", ")));
            if !description.approved {
                lines.push(format!("hint         to release them: codex-orchestrator env setup approve {name}"));
            }
        }
    }
    if let Some(error) = &setup.error {
        lines.push(format!("error        {}", printable(&error.message)));
    }
    if let Some(proposal) = &setup.proposal {
        lines.push(format!("proposal     derived from {}", printable(&proposal.source)));
        lines.extend(indented(&proposal.text));
        lines.extend(proposal.notes.iter().map(|note| format!("note         {}", printable(note))));
        lines.push(format!("hint         to use it: codex-orchestrator env setup accept {name}"));
    }
    if lines.is_empty() {
        lines.push("The repository has no description, and its files do not suggest one.".to_owned());
        lines.push(format!("hint         write one: codex-orchestrator env setup edit {name}"));
    }
    if !setup.applies && (setup.description.is_some() || setup.error.is_some()) {
        lines.push(format!("note         {}", effect(setup)));
    }
    if !setup.trusted.is_empty() {
        let names: Vec<_> = setup.trusted.iter().map(model::sources::BranchPattern::as_str).collect();
        lines.push(format!("trusted      {}", names.join(", ")));
    }
    lines.extend(setup.accepted.iter().map(|branch| format!("accepted     the description on {branch}, for its tasks")));
    if let Some(last) = &setup.last {
        lines.extend(attempt_lines(last, name));
    }
    lines.extend(setup.snapshots.iter().map(|snapshot| {
        let (key, commit) = (snapshot.key.short(), snapshot.commit.short());
        let files = printer::plural(usize::try_from(snapshot.files).unwrap_or(usize::MAX), "file");
        let base = snapshot.base.as_ref().map(|base| format!(", on {}", printable(base))).unwrap_or_default();
        format!("snapshot     {key} of {commit}{base}, {files}, {}, {}", bytes(snapshot.bytes), snapshot.created_at)
    }));
    lines
}

/// Returns what a description does that the worker does not apply.
fn effect(setup: &SetupView) -> &'static str {
    match (setup.runs_on_host, setup.keeps_caches) {
        (true, _) => ON_HOST,
        (false, true) => ONLY_CACHES,
        (false, false) => NO_EFFECT,
    }
}

fn attempt_lines(last: &SetupAttemptView, name: &str) -> Vec<String> {
    let word = match last.phase {
        SetupPhase::Running => "running",
        SetupPhase::Ready if last.script == Some(SetupScript::Maintain) => "ready: updated an older snapshot",
        SetupPhase::Ready => "ready",
        SetupPhase::Failed => "failed",
        SetupPhase::Skipped => "skipped: tasks start without it",
    };
    let branch = last.branch.as_ref().map(|branch| format!(" on {branch}")).unwrap_or_default();
    let mut lines = vec![format!("setup        {word} (attempt {}, commit {}{branch})", last.number, last.commit.short())];
    lines.extend(last.error.iter().map(|error| format!("error        {}", printable(&error.message))));
    if last.phase == SetupPhase::Failed {
        lines.push(format!("hint         read its output: codex-orchestrator env setup log {name}"));
        lines.push(format!("hint         run it again: codex-orchestrator env setup run {name}"));
        lines.push(format!("hint         or start tasks without it: codex-orchestrator env setup skip {name}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn lines_of(value: Value) -> Vec<String> {
        lines(&serde_json::from_value(value).expect("a setup"), "app")
    }

    fn attempt(phase: &str) -> Value {
        let error =
            (phase == "failed").then(|| json!({ "code": "setup_failed", "message": "exit\u{1b}[31m code 7", "hints": [] }));
        json!({
            "number": 2, "key": "a".repeat(64), "commit": "b".repeat(40), "phase": phase, "error": error,
            "started_at": "2026-01-02T03:04:05Z", "ended_at": null,
        })
    }

    fn described(is_approved: bool) -> Value {
        json!({
            "text": "[setup]\nrun = \"make\"\n", "origin": "repository", "hash": "c".repeat(64), "secrets": ["NPM_TOKEN"],
            "approved": is_approved,
        })
    }

    fn setup(description: &Value, proposal: &Value, last: &Value) -> Value {
        json!({ "description": description, "error": null, "proposal": proposal, "last": last, "snapshots": [] })
    }

    #[test]
    fn only_new_output_is_printed_even_if_its_start_is_omitted() {
        assert_eq!(added("", "one\n"), "one\n");
        assert_eq!(added("one\n", "one\ntwo\n"), "two\n");
        let lines = |range: std::ops::Range<usize>| range.map(|n| format!("line é {n}\n")).collect::<Vec<_>>().concat();
        assert_eq!(added(&lines(0..2000), &lines(1000..2100)), lines(2000..2100));
        assert_eq!(added(&lines(0..2000), "all of it is new\n"), "all of it is new\n");
        let cut = "one\ntwo \u{fffd}";
        let shown = &cut[..whole_lines(cut)];
        assert_eq!((shown, added(shown, "one\ntwo é\n"), whole_lines("two")), ("one\n", "two é\n", 0));
    }

    #[test]
    fn a_description_without_an_effect_says_why() {
        let mut view = setup(&described(true), &Value::Null, &Value::Null);
        assert!(!lines_of(view.clone()).join("\n").contains("no effect"), "an older server does not say that it applies");
        view["applies"] = json!(false);
        let with_caches = json!({ "keeps_caches": true });
        let mut script = view.clone();
        script.as_object_mut().expect("an object").extend(with_caches.as_object().expect("an object").clone());
        assert!(lines_of(script).join("\n").contains("except that each task keeps the folders in [cache]"));
        let mut on_host = view.clone();
        on_host["runs_on_host"] = json!(true);
        assert!(lines_of(on_host).join("\n").contains("runs on the machine of the server, without isolation"));
        assert!(lines_of(view).join("\n").contains("the description has no effect, because the worker does not run"));
    }

    #[test]
    fn branches_that_decide_are_listed() {
        let mut last = attempt("ready");
        last["branch"] = json!("release/1");
        let mut setup = setup(&Value::Null, &Value::Null, &last);
        (setup["trusted"], setup["accepted"]) = (json!(["develop", "release/*"]), json!(["idea"]));
        let shown = lines_of(setup).join("\n");
        for part in
            ["trusted      develop, release/*", "the description on idea", "ready (attempt 2, commit bbbbbbbbbbbb on release/1)"]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }

    #[test]
    fn a_description_is_shown_with_what_it_does_not_get() {
        let shown = lines_of(setup(&described(false), &Value::Null, &Value::Null)).join("\n");
        for part in [
            "from .codex-orchestrator/environment.toml",
            "  run = \"make\"",
            "the description does not get NPM_TOKEN",
            "env setup approve app",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        let approved = lines_of(setup(&described(true), &Value::Null, &attempt("ready"))).join("\n");
        assert!(approved.contains("the description gets NPM_TOKEN") && !approved.contains("approve"), "{approved}");
        assert!(approved.ends_with("ready (attempt 2, commit bbbbbbbbbbbb)"), "{approved}");
        let mut update = attempt("ready");
        update["script"] = json!("maintain");
        let updated = lines_of(setup(&Value::Null, &Value::Null, &update)).join("\n");
        assert!(updated.ends_with("ready: updated an older snapshot (attempt 2, commit bbbbbbbbbbbb)"), "{updated}");
    }

    #[test]
    fn a_failed_setup_says_why_and_what_to_do() {
        let shown = lines_of(setup(&described(true), &Value::Null, &attempt("failed")));
        let end: Vec<_> = shown.iter().rev().take(5).rev().map(String::as_str).collect();
        assert_eq!(end[0], "setup        failed (attempt 2, commit bbbbbbbbbbbb)");
        assert!(end[1].starts_with("error        exit") && !end[1].contains('\u{1b}'), "{end:?}");
        for (line, verb) in end[2..].iter().zip(["log", "run", "skip"]) {
            assert!(line.contains(&format!("env setup {verb} app")), "{line}");
        }
    }

    #[test]
    fn a_repository_without_a_description_shows_a_proposal_or_how_to_write_one() {
        let proposal = json!({ "text": "[setup]\nrun = \"npm ci\"\n", "source": "package-lock.json", "notes": ["A note."] });
        let shown = lines_of(setup(&Value::Null, &proposal, &Value::Null)).join("\n");
        for part in ["derived from package-lock.json", "  run = \"npm ci\"", "A note.", "env setup accept app"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        let nothing = lines_of(setup(&Value::Null, &Value::Null, &Value::Null)).join("\n");
        assert!(nothing.contains("env setup edit app"), "{nothing}");
    }

    #[test]
    fn a_new_description_comes_from_a_file_or_is_reset() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "[setup]\n").expect("written");
        let asked = |path: Option<&Path>, reset| EditSetupArguments {
            env: crate::args::EnvArgument { env: "app".to_owned() },
            file: path.map(Path::to_owned),
            reset,
        };
        assert_eq!(new_description(&asked(Some(file.path()), false)), Ok(Some("[setup]\n".to_owned())));
        assert_eq!(new_description(&asked(None, true)), Ok(None));
        let missing = new_description(&asked(Some(Path::new("/no/such/file")), false)).expect_err("it does not exist");
        assert_eq!(missing.report.code, ErrorCode::DescriptionRefused);
    }
}
