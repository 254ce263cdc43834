//! The page of a repository's setup: the description of its environment, the last setup, its output and the snapshots.

use axum::extract::{Path, Query};
use axum::response::Response;
use engine::User;
use maud::{Markup, html};
use model::problem::Problem;
use model::setup::{SetupPhase, SetupScript};
use model::size::bytes;
use printable::{printable, printable_line};
use protocol::{
    DescriptionOrigin, DescriptionView, EditSetup, EnvironmentView, Progress, ProposalView, RunSetupQuery, SetupAttemptView,
    SetupView,
};
use serde::Deserialize;

use super::answer::{Answer, Page, PageProblem, see};
use super::layout::{self, NavItem, age};
use super::live;
use super::session::{Signed, SignedForm, button_form, form_token};
use super::setup_branches::{self, NOT_APPLIED, ON_HOST, ONLY_CACHES};
use crate::caller::AsUser;

/// The size of the end of the output that the page shows, in bytes.
const OUTPUT_BYTES: usize = 64 * 1024;

/// The question before a setup that starts from the image.
const FRESH: &str = "Set the environment up again from the image? New tasks wait until the setup has ended. Earlier results are not used any more, except by the tasks that have them.";

/// The form with the text of a description.
#[derive(Debug, Deserialize)]
pub(crate) struct DescriptionForm {
    description: String,
}

/// The form that approves a description.
#[derive(Debug, Deserialize)]
pub(crate) struct ApprovalForm {
    hash: String,
}

pub(crate) async fn show(signed: Signed, AsUser(user): AsUser, Path(id): Path<String>) -> Answer {
    let live = live::address(&user);
    let one = user.environment(&id)?;
    let setup = user.setup(&id).await?;
    let output = output(&user, &id).await?;
    let text = setup.description.as_ref().map(|description| description.text.clone()).unwrap_or_default();
    Ok(Page(page(&signed, &one, &setup, &output, &live, &Draft { text: &text, problem: None })))
}

/// What the form shows: the description, or what the user typed and why it was rejected.
struct Draft<'a> {
    text: &'a str,
    problem: Option<&'a Problem>,
}

async fn output(user: &User, id: &str) -> Result<String, Problem> {
    let log = user.setup_log(id).await?;
    let from = log.ceil_char_boundary(log.len().saturating_sub(OUTPUT_BYTES));
    Ok(log[from..].to_owned())
}

fn page(signed: &Signed, one: &EnvironmentView, setup: &SetupView, output: &str, live: &str, draft: &Draft<'_>) -> Markup {
    let path = |rest: &str| format!("/environments/{}/setup{rest}", one.env_id);
    let body = html! {
        p { a href={ "/environments/" (one.env_id) } { "← " (layout::name(&one.name)) } }
        h1 { "Environment" }
        p.quiet { "The setup installs what tasks need. It runs once for each version of its inputs, in the default branch. New tasks start from its result." }
        div #list data-live=(live) {
            @if !setup.applies { p.warning { (effect(setup)) } }
            @if let Some(last) = &setup.last { (attempt(signed, last, one.progress.as_ref(), &path)) }
            @if let Some(error) = &setup.error { p.error { (printable(&error.message)) } }
            @if let Some(proposal) = &setup.proposal { (proposed(signed, proposal, &path)) }
            @if let Some(description) = &setup.description { (described(signed, description, &path)) }
            @if setup.last.is_none() && setup.description.is_some() && setup.applies {
                div.actions { (button_form(signed, &path("/run"), "Run setup", "primary", None)) }
            }
            @if !output.is_empty() {
                details.group #output open[setup.last.as_ref().is_some_and(|last| last.phase != SetupPhase::Ready)] {
                    summary { "Output of the last setup" }
                    pre { (printable(output)) }
                }
            }
            (snapshots(setup))
            @if setup.applies {
                p.quiet { "To try the environment by hand, run this command on the machine of the server: "
                    code { "codex-orchestrator env shell " (one.env_id) } }
            }
        }
        form.stack method="post" action=(path("")) {
            (form_token(signed))
            @if let Some(problem) = draft.problem { p.error role="alert" { (printable(&problem.report.message)) } }
            h2 { label for="description" { "Description as TOML" } }
            textarea.code #description name="description" rows="14" spellcheck="false" { (draft.text) }
            p.quiet { "If you save it, the settings of this server contain the description, and the file in the repository has no effect. To use the file again, save an empty text." }
            button.primary type="submit" { "Save" }
        }
        (setup_branches::section(signed, setup, &path))
    };
    layout::page(&format!("Environment of {}", layout::name(&one.name)), NavItem::Environments, &body)
}

/// Returns what a description does that the worker does not apply.
fn effect(setup: &SetupView) -> &'static str {
    match (setup.runs_on_host, setup.keeps_caches) {
        (true, _) => ON_HOST,
        (false, true) => ONLY_CACHES,
        (false, false) => NOT_APPLIED,
    }
}

fn attempt(signed: &Signed, last: &SetupAttemptView, progress: Option<&Progress>, path: &impl Fn(&str) -> String) -> Markup {
    let (shape, class, word) = match last.phase {
        SetupPhase::Running => ("◔", "s-running", "Setup is running"),
        SetupPhase::Ready if last.script == Some(SetupScript::Maintain) => {
            ("✓", "s-ready", "Update of an older snapshot is complete")
        }
        SetupPhase::Ready => ("✓", "s-ready", "Setup is complete"),
        SetupPhase::Failed => ("✕", "s-failed", "Setup failed"),
        SetupPhase::Skipped => ("◌", "s-queued", "Setup skipped"),
    };
    html! {
        p { span class={ "status " (class) } { span aria-hidden="true" { (shape) } " " (word) }
            span.facts { " · " code { (last.commit.short()) } @if let Some(branch) = &last.branch { " on " code { (branch) } } " · " (age(last.ended_at.unwrap_or(last.started_at)))
            @if let Some(progress) = progress.filter(|_| last.phase == SetupPhase::Running) { " · " (progress.phase) } } }
        @if let Some(error) = &last.error { p.error { (printable(&error.message)) } }
        @if last.phase == SetupPhase::Failed { p { "New tasks wait. Run the setup again, or start them without it." } }
        @if last.phase == SetupPhase::Skipped { p.quiet { "Tasks start without the setup until its inputs change." } }
        @if last.phase != SetupPhase::Running {
            div.actions {
                (button_form(signed, &path("/run"), "Run again", if last.phase == SetupPhase::Failed { "primary" } else { "" }, None))
                (button_form(signed, &path("/run?fresh=true"), "Run again from the image", "", Some(FRESH)))
                @if last.phase == SetupPhase::Failed { (button_form(signed, &path("/skip"), "Start tasks without it", "", None)) }
            }
        }
    }
}

fn proposed(signed: &Signed, proposal: &ProposalView, path: &impl Fn(&str) -> String) -> Markup {
    html! {
        h2 { "Proposal" }
        p { "Derived from " code { (printable_line(&proposal.source, 200)) } ". It has no effect until you use it." }
        pre { (proposal.text) }
        @for note in &proposal.notes { p.quiet { (printable_line(note, 400)) } }
        form method="post" action=(path("")) {
            (form_token(signed))
            input type="hidden" name="description" value=(proposal.text);
            button.primary type="submit" { "Use this description" }
        }
    }
}

fn described(signed: &Signed, description: &DescriptionView, path: &impl Fn(&str) -> String) -> Markup {
    let names: Vec<_> = description.secrets.iter().map(model::names::VariableName::as_str).collect();
    html! {
        p.facts {
            @match description.origin {
                DescriptionOrigin::Settings => "Described in the settings of this server",
                DescriptionOrigin::Repository => { "Described in " code { ".codex-orchestrator/environment.toml" } " of the default branch" }
            }
        }
        @if !names.is_empty() {
            @if description.approved {
                p { "Only the setup and the files of the environment get these secrets: " code { (names.join(", ")) } }
            } @else {
                p.warning { "The description names secrets that it does not get yet: " code { (names.join(", ")) } }
                form.actions method="post" action=(path("/approve")) {
                    (form_token(signed))
                    input type="hidden" name="hash" value=(description.hash);
                    button type="submit" { "Release the secrets" }
                }
            }
        }
    }
}

fn snapshots(setup: &SetupView) -> Markup {
    html! {
        @if !setup.snapshots.is_empty() {
            h2 { "Snapshots" }
            ul.plain {
                @for snapshot in &setup.snapshots {
                    li { code { (snapshot.key.short()) } span.facts { " · " (bytes(snapshot.bytes)) " in " (layout::file_count(snapshot.files)) " · " (age(snapshot.created_at))
                        @if let Some(earlier) = &snapshot.updated_from { " · updated from " code { (earlier.short()) } } } }
                }
            }
        }
    }
}

pub(crate) async fn edit(
    AsUser(user): AsUser,
    Path(id): Path<String>,
    SignedForm(signed, form): SignedForm<DescriptionForm>,
) -> Result<Response, PageProblem> {
    // Browsers send line breaks of forms as CRLF.
    let text = form.description.replace("\r\n", "\n");
    let own = Some(text.clone()).filter(|text| !text.trim().is_empty());
    match user.edit_setup(&id, EditSetup { description: Some(own), ..EditSetup::default() }).await {
        Ok(_) => Ok(see(&format!("/environments/{id}/setup"))),
        Err(problem) if problem.kind == model::problem::ProblemKind::Unusable => {
            let (live, one, setup) = (live::address(&user), user.environment(&id)?, user.setup(&id).await?);
            let output = output(&user, &id).await?;
            let draft = Draft { text: &text, problem: Some(&problem) };
            Ok(super::form::again(page(&signed, &one, &setup, &output, &live, &draft)))
        }
        Err(problem) => Err(problem.into()),
    }
}

pub(crate) async fn approve(
    AsUser(user): AsUser,
    Path(id): Path<String>,
    SignedForm(_, form): SignedForm<ApprovalForm>,
) -> Result<Response, PageProblem> {
    user.edit_setup(&id, EditSetup { approve: Some(form.hash), ..EditSetup::default() }).await?;
    Ok(see(&format!("/environments/{id}/setup")))
}

pub(crate) async fn run(
    AsUser(user): AsUser,
    Path(id): Path<String>,
    Query(query): Query<RunSetupQuery>,
    _: SignedForm<()>,
) -> Result<Response, PageProblem> {
    user.run_setup(&id, query.start()).await?;
    Ok(see(&format!("/environments/{id}/setup")))
}

pub(crate) async fn skip(AsUser(user): AsUser, Path(id): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    user.skip_setup(&id).await?;
    Ok(see(&format!("/environments/{id}/setup")))
}
