//! Branches whose descriptions of the environment apply to their tasks: the list of trusted branches, and how a branch changes the
//! description.
//!
//! Invariant: the page shows exactly the description that its button accepts.

use axum::extract::{Path, Query};
use axum::response::Response;
use markup::hunks::{RemainingLimits, View, hunk_part};
use markup::visible;
use maud::{Markup, html};
use model::diff::{Diff, FileDiff};
use model::sources::BranchPattern;
use protocol::{AcceptDescription, EditSetup, SetupDiffQuery, SetupDiffView, SetupView};
use serde::Deserialize;

use super::answer::{Answer, Page, PageProblem, see};
use super::layout::{self, NavItem};
use super::session::{Signed, SignedForm, form_token};
use crate::caller::AsUser;

/// The most lines of a description that the page shows.
const LINES: usize = 5_000;

/// What a page says if the worker does not apply descriptions.
pub(super) const NOT_APPLIED: &str =
    "Descriptions have no effect here, because the worker of this server does not run Codex in containers.";

/// What a page says if the setup runs on the server's machine.
pub(super) const ON_HOST: &str = "The setup script runs on the machine of the server, without isolation, once in the worktree of each new task. The rest of the description has no effect: image, tools, services, cache, keep, files and network.";

/// What a page says if the worker only keeps the folders in `[cache]`.
pub(super) const ONLY_CACHES: &str = "Descriptions have no effect here, because the worker of this server is not the built-in one, except that each task keeps the folders in [cache].";

/// The form with the trusted branches.
#[derive(Debug, Deserialize)]
pub(crate) struct TrustForm {
    #[serde(default)]
    branches: String,
}

/// The form that accepts the description of a branch, or takes this back.
#[derive(Debug, Deserialize)]
pub(crate) struct AcceptForm {
    branch: String,
    #[serde(default)]
    hash: String,
}

/// Renders the trusted branches, and a form to look at the description of another branch.
pub(super) fn section(signed: &Signed, setup: &SetupView, path: &impl Fn(&str) -> String) -> Markup {
    let trusted: Vec<_> = setup.trusted.iter().map(BranchPattern::as_str).collect();
    html! {
        h2 { "Branches" }
        p.quiet { "Tasks use the description on the default branch. A change on another branch has no effect until you allow it." }
        form.stack method="post" action=(path("/trust")) {
            (form_token(signed))
            label for="trusted" { "Trusted branches" }
            input #trusted name="branches" type="text" value=(trusted.join(" ")) placeholder="develop release/*";
            p.quiet { "Tasks that start from these branches use their descriptions. Separate several branches with spaces." }
            button type="submit" { "Save" }
        }
        @for branch in &setup.accepted {
            p { "The description on " a href={ (path("/diff")) "?branch=" (branch) } { code { (branch) } } " applies to the tasks of this branch." }
        }
        form.stack method="get" action=(path("/diff")) {
            label for="branch" { "Branch or task ID" }
            input #branch name="branch" type="text" required;
            button type="submit" { "Show changes" }
        }
    }
}

pub(crate) async fn trust(
    AsUser(user): AsUser,
    Path(id): Path<String>,
    SignedForm(_, form): SignedForm<TrustForm>,
) -> Result<Response, PageProblem> {
    let trust = form.branches.split_whitespace().map(str::to_owned).collect();
    user.edit_setup(&id, EditSetup { trust: Some(trust), ..EditSetup::default() }).await?;
    Ok(see(&format!("/environments/{id}/setup")))
}

pub(crate) async fn diff(
    signed: Signed,
    AsUser(user): AsUser,
    Path(id): Path<String>,
    Query(query): Query<SetupDiffQuery>,
) -> Answer {
    let one = user.environment(&id)?;
    let found = user.setup_diff(&id, &query.branch).await?;
    let back = format!("/environments/{}/setup", one.env_id);
    let body = html! {
        p { a href=(back) { "← Environment of " (layout::name(&one.name)) } }
        h1 { "Description on " code { (found.branch) } }
        (changes(&found))
        (effect(&signed, &found, &format!("{back}/accept")))
    };
    Ok(Page(layout::page("Description", NavItem::Environments, &body)))
}

/// Renders the changed lines of a description, and of the Dockerfile that it names, below the heading of each file.
pub(super) fn changed_lines(diff: &Diff, heading: impl Fn(&FileDiff) -> Markup) -> Markup {
    let left = RemainingLimits::new(LINES);
    html! {
        @for file in &diff.files {
            (heading(file))
            @if let Some(omitted) = file.omitted { p.warning { (omitted.reason(file.bytes)) } }
            @for hunk in &file.hunks {
                table.diff { tbody { (hunk_part(hunk, None, View::Unified, &left)) } }
            }
        }
    }
}

fn changes(found: &SetupDiffView) -> Markup {
    html! {
        @if found.diff.files.is_empty() { p { "This branch does not change the description." } }
        (changed_lines(&found.diff, |file| html! { h2 { code { (visible::name(file.path_bytes())) } } }))
        @if !found.diff.files.is_empty() && found.hash.is_none() { p.error { "The branch has no valid description." } }
    }
}

/// Renders the effect of the description, and the button that changes it. A description that is not shown completely cannot be accepted.
fn effect(signed: &Signed, found: &SetupDiffView, action: &str) -> Markup {
    let is_complete = !found.diff.files.is_empty() && found.diff.files.iter().all(|file| file.omitted.is_none());
    html! {
        @if found.replaced {
            p { "It has no effect, because the settings of this server contain a description." }
        } @else if found.trusted {
            p { "It applies to the tasks that start from this branch, because the branch is trusted." }
        } @else if found.accepted {
            p { "It applies to the tasks of this branch until it changes." }
            form.actions method="post" action=(action) {
                (form_token(signed))
                input type="hidden" name="branch" value=(found.branch);
                button type="submit" { "Use the description of the default branch again" }
            }
        } @else if let Some(hash) = found.hash.as_ref().filter(|_| is_complete) {
            p.warning { "It has no effect yet. If you accept it, it applies to the tasks of this branch until it changes. Its setup gets no secrets." }
            form method="post" action=(action) {
                (form_token(signed))
                input type="hidden" name="branch" value=(found.branch);
                input type="hidden" name="hash" value=(hash);
                button.primary type="submit" { "Accept for this branch" }
            }
        }
    }
}

pub(crate) async fn accept(
    AsUser(user): AsUser,
    Path(id): Path<String>,
    SignedForm(_, form): SignedForm<AcceptForm>,
) -> Result<Response, PageProblem> {
    let hash = Some(form.hash).filter(|hash| !hash.is_empty());
    user.accept_description(&id, AcceptDescription { branch: form.branch, hash }).await?;
    Ok(see(&format!("/environments/{id}/setup")))
}
