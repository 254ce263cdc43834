//! The pages of repositories: add, show, fetch, edit and remove them.
//! Secrets can be set but are never shown. An empty secret field keeps the stored value.

use engine::User;
use std::time::Duration;

use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use model::environment::EnvironmentStatus;
use model::names::RepositoryUrl;
use model::problem::Problem;
use printable::{printable, printable_line};
use protocol::settings;
use protocol::{EnvironmentView, FetchView};

use super::answer::{Answer, Page, PageProblem, see};
use super::confirm::{self, Question};
use super::environment_form::{self, Defaults, field_of};
use super::form::{self, Field, FormErrors, FormState, FormValues, TextKind};
use super::layout::{self, NavItem, age};
use super::session::{Signed, SignedForm};
use super::session::{button_form, form_token};
use super::{live, refs};
use crate::caller::AsUser;

/// The settings that the form for a new repository hides at first.
const MORE: [&str; 3] = ["name", "variables", "image"];

/// How long a request waits for a fetch before it shows that the fetch is in progress.
const FETCH_PATIENCE: Duration = Duration::from_secs(3);

pub(crate) async fn list(signed: Signed, AsUser(user): AsUser) -> Answer {
    Ok(Page(list_page(&signed, &user, FormState { typed: &FormValues::default(), wrong: &FormErrors::default() })))
}

fn list_page(signed: &Signed, user: &User, form: FormState<'_>) -> Markup {
    let live = live::address(user);
    let page = user.environments();
    let body = html! {
        h1 { "Repositories" }
        div #list data-live=(live) {
            @if page.items.is_empty() { p.empty { "No repositories yet. Add one to start your first task." } }
            ul.tasks {
                @for one in &page.items {
                    li.task { a href={ "/environments/" (one.env_id) } {
                        span.title { (layout::name(&one.name)) }
                        (status(one))
                        span.facts { (one.repo_url) " · " (tasks(one.tasks)) @if one.runs.paused { " · paused" } }
                        @if let Some(error) = &one.error { span.said.error { (printable_line(&error.message, 300)) } }
                    } }
                }
            }
            @for damaged in &page.damaged { p.warning { (layout::damaged(damaged)) } }
        }
        h2 { "Add repository" }
        form.stack method="post" action="/environments" {
            (form_token(signed))
            (form.wrong.summary())
            (form.field(Field::new("repo_url", "Repository URL", TextKind::Code).empty("https://host/owner/repo.git").required()
                .help("An https or ssh URL, git@host:path, or a path on the server's machine. Do not include a password.")))
            (environment_form::new_field(form, "default_branch"))
            details.group open[form.wrong.any(&MORE)] {
                summary { "More options" }
                @for key in MORE { (environment_form::new_field(form, key)) }
            }
            button.primary type="submit" { "Add repository" }
        }
    };
    layout::page("Repositories", NavItem::Environments, &body)
}

fn tasks(count: usize) -> String {
    if count == 1 { "1 task".to_owned() } else { format!("{count} tasks") }
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
            span aria-hidden="true" { (shape) } " " (layout::capitalized(environment.status.as_str()))
            @if let Some(progress) = &environment.progress {
                " · " (progress.phase) @if let Some(percent) = progress.percent { " " (percent) "%" }
            }
        }
    }
}

pub(crate) async fn add(
    AsUser(user): AsUser,
    SignedForm(signed, typed): SignedForm<FormValues>,
) -> Result<Response, PageProblem> {
    let mut wrong = FormErrors::default();
    wrong.check("repo_url", RepositoryUrl::parse(typed.text("repo_url")));
    let keys: Vec<&str> = MORE.into_iter().chain(["default_branch"]).collect();
    let edit = environment_form::read_new(&typed, &keys, &mut wrong);
    let new = settings::create(typed.text("repo_url").to_owned(), edit);
    if wrong.is_empty() {
        match user.create_environment(new).await {
            Ok(view) => return Ok(see(&format!("/environments/{}", view.env_id))),
            Err(problem) => note(&mut wrong, problem)?,
        }
    }
    Ok(form::again(list_page(&signed, &user, FormState { typed: &typed, wrong: &wrong })))
}

/// Shows an invalid value in the form. Other problems get a separate page.
fn note(wrong: &mut FormErrors, problem: Problem) -> Result<(), PageProblem> {
    if problem.kind != model::problem::ProblemKind::Unusable {
        return Err(problem.into());
    }
    wrong.add(field_of(&problem), problem);
    Ok(())
}

pub(crate) async fn show(signed: Signed, AsUser(user): AsUser, Path(id): Path<String>) -> Answer {
    let live = live::address(&user);
    let one = user.environment(&id)?;
    let typed = environment_form::filled(&one);
    Ok(Page(one_page(&signed, &user, &one, &live, FormState { typed: &typed, wrong: &FormErrors::default() }).await))
}

async fn one_page(signed: &Signed, user: &User, one: &EnvironmentView, live: &str, form: FormState<'_>) -> Markup {
    let id = one.env_id.to_string();
    let defaults = Defaults::new(&user.run_defaults(), &user.status());
    let proposals = if one.status == EnvironmentStatus::Ready {
        refs::proposals(user, &id).await
    } else {
        html! {}
    };
    let body = html! {
        p { a href="/environments" { "← Repositories" } }
        h1 { (layout::name(&one.name)) }
        div #list data-live=(live) { (state(signed, one)) }
        h2 { "Settings" }
        form.stack method="post" action={ "/environments/" (id) } {
            (form_token(signed))
            (environment_form::fields(form, one, &defaults, &proposals))
            button.primary type="submit" { "Save" }
        }
        p.actions { a.button.danger href={ "/environments/" (id) "/remove" } { "Remove repository" } }
    };
    layout::page(&layout::name(&one.name), NavItem::Environments, &body)
}

/// Renders the state and actions of a repository. A script reloads this part while the page is open.
fn state(signed: &Signed, one: &EnvironmentView) -> Markup {
    let path = |rest: &str| format!("/environments/{}/{rest}", one.env_id);
    html! {
        p.facts { (status(one)) " · " code { (one.repo_url) } @if one.runs.paused { " · paused" } }
        @if one.status == EnvironmentStatus::Cloning {
            @let progress = one.progress.as_ref();
            progress max="100" value=[progress.and_then(|progress| progress.percent)] aria-label="Clone progress" {}
            noscript { p.quiet { "Reload the page to see the progress." } }
        }
        @if let Some(error) = &one.error {
            p.error { (printable(&error.message)) }
            @for hint in &error.hints { p.hint { "→ " (hint) } }
            (button_form(signed, &path("retry"), "Try again", "primary", None))
        }
        @if let Some(error) = &one.image_error {
            p #image-error.error { (printable(&error.message)) }
            @for hint in &error.hints { p.hint { "→ " (printable(hint)) } }
        }
        @if one.status == EnvironmentStatus::Ready { (fetch_state(&one.fetch)) }
        div.actions {
            @if one.status == EnvironmentStatus::Ready {
                a.button.primary href={ "/tasks/new?env=" (one.env_id) } { "New task" }
                (button_form(signed, &path("fetch"), "Fetch now", "", None))
                a.button href=(path("setup")) { "Environment" }
            }
            a.button href={ "/?env=" (one.env_id) } { (tasks(one.tasks)) }
        }
    }
}

fn fetch_state(fetch: &FetchView) -> Markup {
    html! {
        @if fetch.running {
            p #fetched { "◔ Fetching…" noscript { " Reload the page to see the result." } }
        } @else if let Some(at) = fetch.ended_at {
            @match &fetch.error {
                None => { p #fetched.facts { "✓ Fetched " (age(at)) } }
                Some(error) => {
                    p #fetched.error { "✕ Fetch failed " (age(at)) ": " (printable(&error.message)) }
                    @for hint in &error.hints { p.hint { "→ " (hint) } }
                }
            }
        } @else {
            p #fetched.facts { "Fetched automatically before each task." }
        }
    }
}

pub(crate) async fn edit(
    AsUser(user): AsUser,
    Path(id): Path<String>,
    SignedForm(signed, typed): SignedForm<FormValues>,
) -> Result<Response, PageProblem> {
    let mut wrong = FormErrors::default();
    let live = live::address(&user);
    let one = user.environment(&id)?;
    let edit = environment_form::read(&typed, &one, &mut wrong);
    if wrong.is_empty() {
        match user.edit_environment(&id, edit).await {
            Ok(_) => return Ok(see(&format!("/environments/{id}"))),
            Err(problem) => note(&mut wrong, problem)?,
        }
    }
    Ok(form::again(one_page(&signed, &user, &one, &live, FormState { typed: &typed, wrong: &wrong }).await))
}

/// Fetches from the remote. The repository's page shows the result.
pub(crate) async fn fetch(AsUser(user): AsUser, Path(id): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    let asked = tokio::time::timeout(FETCH_PATIENCE, user.fetch_environment(&id)).await;
    match asked {
        // The next page shows a fetch that failed.
        Ok(Err(problem)) if user.environment(&id)?.fetch.error.is_none() => Err(problem.into()),
        Ok(_) | Err(_) => Ok(see(&format!("/environments/{id}"))),
    }
}

pub(crate) async fn retry(AsUser(user): AsUser, Path(id): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    user.retry_environment(&id).await?;
    Ok(see(&format!("/environments/{id}")))
}

pub(crate) async fn ask_remove(signed: Signed, AsUser(user): AsUser, Path(id): Path<String>) -> Result<Response, PageProblem> {
    let one = user.environment(&id)?;
    let title = format!("Remove {}?", layout::name(&one.name));
    let question = Question {
        title: &title,
        follows: html! {
            p { "The repository and its " strong { (tasks(one.tasks)) } " move to the trash. Active runs are stopped." }
            p.quiet { "You can restore everything until it is permanently deleted. The remote repository does not change." }
        },
        action: &format!("/environments/{}/remove", one.env_id),
        label: "Remove repository",
        back: &format!("/environments/{}", one.env_id),
    };
    Ok(Page(confirm::page(&signed, NavItem::Environments, &question)).into_response())
}

pub(crate) async fn remove(AsUser(user): AsUser, Path(id): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    user.remove_environment(&id).await?;
    Ok(see("/environments"))
}
