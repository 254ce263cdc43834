//! Repositories: add one, see how it is, change what its runs get, remove it.
//! A secret is written and never shown; a field for one that is left empty changes nothing.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};
use model::api::{CreateEnvironment, EditEnvironment, EnvironmentView};
use model::environment::EnvironmentStatus;
use model::forge::EditForge;
use model::policy::EditRunPolicy;
use model::problem::{Problem, ProblemKind};
use model::secret::Secret;
use serde::Deserialize;

use super::layout::{self, Place, button_form, form_token};
use super::session::{Signed, SignedForm};
use super::{Answer, Page, PageProblem, see};
use crate::router::Api;

pub(crate) async fn list(signed: Signed, State(api): State<Api>) -> Answer {
    let page = api.engine.environments();
    let body = html! {
        h1 { "Repositories" }
        div #list data-live="/live" {
            ul.tasks {
                @for one in &page.items {
                    li.task { a href={ "/environments/" (one.env_id) } {
                        span.title { (one.name) }
                        (status(one))
                        span.facts { (one.repo_url) " · " (one.tasks) @if one.tasks == 1 { " task" } @else { " tasks" } }
                        @if let Some(error) = &one.error { span.said.error { (error.message) } }
                    } }
                }
            }
            @for damaged in &page.damaged { p.warning { "Damaged and left as it is: " code { (damaged.path) } " " (damaged.reason) } }
        }
        h2 { "Add one" }
        form.stack method="post" action="/environments" {
            (form_token(&signed))
            label for="url" { "Address" }
            input #url name="repo_url" type="text" required placeholder="https://host/owner/repo.git" autocapitalize="off" autocomplete="off" spellcheck="false" inputmode="url";
            label for="branch" { "Branch that tasks start from" }
            input #branch name="default_branch" type="text" placeholder="the remote's default" autocapitalize="off" spellcheck="false";
            button.primary type="submit" { "Add" }
        }
    };
    Ok(Page(layout::page("Repositories", Place::Environments, &body)))
}

fn status(environment: &EnvironmentView) -> Markup {
    let shape = match environment.status {
        EnvironmentStatus::Cloning => "◔",
        EnvironmentStatus::Ready => "✓",
        EnvironmentStatus::Failed => "✕",
        EnvironmentStatus::Removing => "◌",
    };
    html! {
        span class={ "status s-" (environment.status.as_str()) } {
            span aria-hidden="true" { (shape) } " " (environment.status.as_str())
            @if let Some(progress) = &environment.progress {
                " · " (progress.phase) @if let Some(percent) = progress.percent { " " (percent) " %" }
            }
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct AddForm {
    repo_url: String,
    #[serde(default)]
    default_branch: String,
}

pub(crate) async fn add(State(api): State<Api>, SignedForm(_, form): SignedForm<AddForm>) -> Result<Response, PageProblem> {
    let new = CreateEnvironment {
        repo_url: form.repo_url,
        default_branch: Some(form.default_branch).filter(|branch| !branch.trim().is_empty()),
        ..CreateEnvironment::default()
    };
    let view = api.engine.create_environment(new).await?;
    Ok(see(&format!("/environments/{}", view.env_id)))
}

pub(crate) async fn show(signed: Signed, State(api): State<Api>, Path(id): Path<String>) -> Answer {
    let one = api.engine.environment(&id)?;
    let variables: Vec<_> = one.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let variables = variables.join("\n");
    let ask = format!("Move this repository and its {} tasks to the trash?", one.tasks);
    let body = html! {
        p { a href="/environments" { "← Repositories" } }
        h1 { (one.name) }
        div #list data-live="/live" {
            p.facts { (status(&one)) " · " code { (one.repo_url) } }
            @if let Some(error) = &one.error {
                p.error { (error.message) }
                @for hint in &error.hints { p.hint { "→ " (hint) } }
            }
        }
        p.actions {
            a.button.primary href={ "/tasks/new?env=" (one.env_id) } { "New task here" }
            a.button href={ "/?env=" (one.env_id) } { (one.tasks) @if one.tasks == 1 { " task" } @else { " tasks" } }
        }
        form.stack method="post" action={ "/environments/" (one.env_id) } {
            (form_token(&signed))
            label for="name" { "Name" }
            input #name name="name" type="text" value=(one.name) required;
            label for="branch" { "Branch that tasks start from" }
            input #branch name="default_branch" type="text" value=(one.default_branch.as_ref().map_or("", |branch| branch.as_str())) autocapitalize="off" spellcheck="false";
            label for="variables" { "Variables for the agent, NAME=VALUE on a line" }
            textarea #variables name="variables" rows="3" data-grow spellcheck="false" { (variables) }
            label for="secret-name" { "Secret to set: its name and value. " @if !one.secrets.is_empty() { "There are: " } @for name in &one.secrets { code { (name) } " " } }
            div.pair {
                input #secret-name name="secret_name" type="text" placeholder="NAME" autocapitalize="off" autocomplete="off" spellcheck="false";
                input name="secret_value" type="password" placeholder="value" autocomplete="off" aria-label="The secret's value";
            }
            label for="max" { "Most runs at once" }
            input #max name="max_runs" type="number" min="1" max="1000" value=[one.runs.max_parallel_runs] placeholder="the server's own limit";
            label { input type="checkbox" name="paused" value="yes" checked[one.runs.paused]; " paused: no run begins" }
            label for="forge-token" { "Token of its forge" @if one.has_forge_token { " (there is one)" } }
            input #forge-token name="forge_token" type="password" placeholder="leave empty to keep" autocomplete="off";
            button.primary type="submit" { "Save" }
        }
        (button_form(&signed, &format!("/environments/{}/remove", one.env_id), "Remove this repository", "danger", Some(&ask)))
    };
    Ok(Page(layout::page(one.name.as_str(), Place::Environments, &body)))
}

#[derive(Deserialize)]
pub(crate) struct EditForm {
    name: String,
    #[serde(default)]
    default_branch: String,
    #[serde(default)]
    variables: String,
    #[serde(default)]
    secret_name: String,
    #[serde(default)]
    secret_value: String,
    #[serde(default)]
    max_runs: String,
    #[serde(default)]
    paused: String,
    #[serde(default)]
    forge_token: String,
}

pub(crate) async fn edit(
    State(api): State<Api>,
    Path(id): Path<String>,
    SignedForm(_, form): SignedForm<EditForm>,
) -> Result<Response, PageProblem> {
    let refused = |detail: String| Problem::new(ProblemKind::Unusable, "form_refused", detail).hint("go back and mend it");
    let mut variables = BTreeMap::new();
    for line in form.variables.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let pair = line.split_once('=').ok_or_else(|| refused("a variable is written NAME=VALUE".to_owned()))?;
        variables.insert(pair.0.to_owned(), pair.1.to_owned());
    }
    let max = match form.max_runs.trim() {
        "" => None,
        text => Some(text.parse().map_err(|_| refused("the most runs at once is a number".to_owned()))?),
    };
    let secrets = (!form.secret_name.trim().is_empty() && !form.secret_value.is_empty())
        .then(|| (form.secret_name.trim().to_owned(), Some(Secret::new(form.secret_value))));
    let token = form.forge_token.trim();
    let edit = EditEnvironment {
        name: Some(form.name),
        default_branch: Some(form.default_branch).filter(|branch| !branch.trim().is_empty()),
        variables: Some(variables),
        secrets: secrets.into_iter().collect(),
        runs: Some(EditRunPolicy {
            paused: Some(!form.paused.is_empty()),
            max_parallel_runs: Some(max),
            ..EditRunPolicy::default()
        }),
        forge: (!token.is_empty()).then(|| EditForge { token: Some(Some(Secret::new(token))), ..EditForge::default() }),
        ..EditEnvironment::default()
    };
    api.engine.edit_environment(&id, edit).await?;
    Ok(see(&format!("/environments/{id}")))
}

pub(crate) async fn remove(State(api): State<Api>, Path(id): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    api.engine.remove_environment(&id).await?;
    Ok(see("/environments"))
}
