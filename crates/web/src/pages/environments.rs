//! Repositories: add one, see how it is, fetch it, change what its runs get, remove it.
//! A secret is written and never shown; a field for one that is left empty changes nothing.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use model::api::{CreateEnvironment, EnvironmentView, FetchView};
use model::codex::{printable, printable_line};
use model::container::EditContainer;
use model::environment::EnvironmentStatus;
use model::names::{BranchName, RepositoryUrl, Title};
use model::problem::Problem;

use super::confirm::{self, Question};
use super::environment_form::{self, Defaults, field_of};
use super::form::{self, Field, Form, Kind, Typed, Wrong};
use super::layout::{self, Place, age, button_form, form_token};
use super::session::{Signed, SignedForm};
use super::{Answer, Page, PageProblem, live, refs, see};
use crate::router::Api;

/// How long a page waits for a fetch before it shows that one is under way.
const FETCH_PATIENCE: Duration = Duration::from_secs(3);

pub(crate) async fn list(signed: Signed, State(api): State<Api>) -> Answer {
    Ok(Page(list_page(&signed, &api, Form { typed: &Typed::default(), wrong: &Wrong::default() })))
}

fn list_page(signed: &Signed, api: &Api, form: Form<'_>) -> Markup {
    let live = live::address(api);
    let page = api.engine.environments();
    let body = html! {
        h1 { "Repositories" }
        div #list data-live=(live) {
            @if page.items.is_empty() { p.empty { "There is none yet. Tasks are cut from one: add it below." } }
            ul.tasks {
                @for one in &page.items {
                    li.task { a href={ "/environments/" (one.env_id) } {
                        span.title { (printable_line(one.name.as_str(), 120)) }
                        (status(one))
                        span.facts { (one.repo_url) " · " (tasks(one.tasks)) @if one.runs.paused { " · paused" } }
                        @if let Some(error) = &one.error { span.said.error { (printable_line(&error.message, 300)) } }
                    } }
                }
            }
            @for damaged in &page.damaged { p.warning { "Damaged and left as it is: " code { (damaged.path) } " " (damaged.reason) } }
        }
        h2 { "Add one" }
        form.stack method="post" action="/environments" {
            (form_token(signed))
            (form.wrong.summary())
            (form.field(Field::new("repo_url", "Address", Kind::Code).empty("https://host/owner/repo.git").required()
                .help("https, ssh, git@host:path, or a path on the server's machine. No password in it.")))
            (form.field(Field::new("default_branch", "Branch that tasks start from", Kind::Code).empty("the remote's default")))
            details.group open[form.wrong.any(&["name", "variables", "image"])] {
                summary { "More" }
                (form.field(Field::new("name", "Name", Kind::Words).empty("the repository's")))
                (form.field(Field::new("variables", "Variables for the agent", Kind::Lines).empty("NAME=VALUE").help("One on a line. Secrets are set once it is there.")))
                (form.field(Field::new("image", "Image of its containers", Kind::Code).empty("the server's")))
            }
            button.primary type="submit" { "Add" }
        }
    };
    layout::page("Repositories", Place::Environments, &body)
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
            span aria-hidden="true" { (shape) } " " (environment.status.as_str())
            @if let Some(progress) = &environment.progress {
                " · " (progress.phase) @if let Some(percent) = progress.percent { " " (percent) " %" }
            }
        }
    }
}

pub(crate) async fn add(State(api): State<Api>, SignedForm(signed, typed): SignedForm<Typed>) -> Result<Response, PageProblem> {
    let mut wrong = Wrong::default();
    wrong.check("repo_url", RepositoryUrl::parse(typed.text("repo_url")));
    let default_branch = typed.given("default_branch");
    default_branch.as_deref().and_then(|branch| wrong.check("default_branch", BranchName::parse(branch)));
    typed.given("name").and_then(|name| wrong.check("name", Title::parse(&name)));
    let container = EditContainer { image: Some(typed.given("image")), ..EditContainer::default() };
    wrong.check("image", model::container::ContainerSettings::default().edited(container.clone()));
    let new = CreateEnvironment {
        repo_url: typed.text("repo_url").to_owned(),
        default_branch,
        name: typed.given("name"),
        variables: environment_form::read_variables(&typed, &mut wrong),
        container: Some(container),
        ..CreateEnvironment::default()
    };
    if wrong.is_empty() {
        match api.engine.create_environment(new).await {
            Ok(view) => return Ok(see(&format!("/environments/{}", view.env_id))),
            Err(problem) => note(&mut wrong, problem)?,
        }
    }
    Ok(form::again(list_page(&signed, &api, Form { typed: &typed, wrong: &wrong })))
}

/// A value that cannot be used is said in the form; anything else is a page of its own.
fn note(wrong: &mut Wrong, problem: Problem) -> Result<(), PageProblem> {
    if problem.kind != model::problem::ProblemKind::Unusable {
        return Err(problem.into());
    }
    wrong.add(field_of(&problem), problem);
    Ok(())
}

pub(crate) async fn show(signed: Signed, State(api): State<Api>, Path(id): Path<String>) -> Answer {
    let live = live::address(&api);
    let one = api.engine.environment(&id)?;
    let typed = environment_form::filled(&one);
    Ok(Page(one_page(&signed, &api, &one, &live, Form { typed: &typed, wrong: &Wrong::default() }).await))
}

async fn one_page(signed: &Signed, api: &Api, one: &EnvironmentView, live: &str, form: Form<'_>) -> Markup {
    let id = one.env_id.to_string();
    let defaults = Defaults::new(&api.engine.run_defaults(), &api.engine.status());
    let proposals = if one.status == EnvironmentStatus::Ready {
        refs::proposals(api, &id).await
    } else {
        html! {}
    };
    let body = html! {
        p { a href="/environments" { "← Repositories" } }
        h1 { (printable_line(one.name.as_str(), 120)) }
        div #list data-live=(live) { (state(signed, one)) }
        h2 { "Settings" }
        form.stack method="post" action={ "/environments/" (id) } {
            (form_token(signed))
            (environment_form::fields(form, one, &defaults, &proposals))
            button.primary type="submit" { "Save" }
        }
        p.actions { a.button.danger href={ "/environments/" (id) "/remove" } { "Remove this repository" } }
    };
    layout::page(one.name.as_str(), Place::Environments, &body)
}

/// How it is, and what can be done with it. Made anew while the page is open.
fn state(signed: &Signed, one: &EnvironmentView) -> Markup {
    let path = |rest: &str| format!("/environments/{}/{rest}", one.env_id);
    html! {
        p.facts { (status(one)) " · " code { (one.repo_url) } @if one.runs.paused { " · paused" } }
        @if one.status == EnvironmentStatus::Cloning {
            @let progress = one.progress.as_ref();
            progress max="100" value=[progress.and_then(|progress| progress.percent)] aria-label="How far the clone is" {}
            noscript { p.quiet { "Load the page again to see how far it is." } }
        }
        @if let Some(error) = &one.error {
            p.error { (printable(&error.message)) }
            @for hint in &error.hints { p.hint { "→ " (hint) } }
            (button_form(signed, &path("retry"), "Try again", "primary", None))
        }
        @if one.status == EnvironmentStatus::Ready { (fetch_state(&one.fetch)) }
        div.actions {
            @if one.status == EnvironmentStatus::Ready {
                a.button.primary href={ "/tasks/new?env=" (one.env_id) } { "New task here" }
                (button_form(signed, &path("fetch"), "Fetch now", "", None))
            }
            a.button href={ "/?env=" (one.env_id) } { (tasks(one.tasks)) }
        }
    }
}

fn fetch_state(fetch: &FetchView) -> Markup {
    html! {
        @if fetch.running {
            p #fetched { "◔ Being fetched" noscript { " (load the page again to see how it went)" } }
        } @else if let Some(at) = fetch.ended_at {
            @match &fetch.error {
                None => { p #fetched.facts { "✓ fetched " (age(at)) } }
                Some(error) => {
                    p #fetched.error { "✕ could not be fetched " (age(at)) ": " (printable(&error.message)) }
                    @for hint in &error.hints { p.hint { "→ " (hint) } }
                }
            }
        } @else {
            p #fetched.facts { "not fetched since the server started; each task begins with a fetch" }
        }
    }
}

pub(crate) async fn edit(
    State(api): State<Api>,
    Path(id): Path<String>,
    SignedForm(signed, typed): SignedForm<Typed>,
) -> Result<Response, PageProblem> {
    let mut wrong = Wrong::default();
    let mut edit = environment_form::read(&typed, &mut wrong);
    let live = live::address(&api);
    let one = api.engine.environment(&id)?;
    if edit.default_branch.as_deref() == one.default_branch.as_ref().map(BranchName::as_str) {
        // It need not be there any more for the rest to be changed.
        edit.default_branch = None;
    }
    if wrong.is_empty() {
        match api.engine.edit_environment(&id, edit).await {
            Ok(_) => return Ok(see(&format!("/environments/{id}"))),
            Err(problem) => note(&mut wrong, problem)?,
        }
    }
    Ok(form::again(one_page(&signed, &api, &one, &live, Form { typed: &typed, wrong: &wrong }).await))
}

/// Asks the remote for what is new. How it went is on the repository's page.
pub(crate) async fn fetch(State(api): State<Api>, Path(id): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    let asked = tokio::time::timeout(FETCH_PATIENCE, api.engine.fetch_environment(&id)).await;
    match asked {
        // A remote that cannot be read is told on the page that follows.
        Ok(Err(problem)) if api.engine.environment(&id)?.fetch.error.is_none() => Err(problem.into()),
        Ok(_) | Err(_) => Ok(see(&format!("/environments/{id}"))),
    }
}

pub(crate) async fn retry(State(api): State<Api>, Path(id): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    api.engine.retry_environment(&id).await?;
    Ok(see(&format!("/environments/{id}")))
}

pub(crate) async fn ask_remove(signed: Signed, State(api): State<Api>, Path(id): Path<String>) -> Result<Response, PageProblem> {
    let one = api.engine.environment(&id)?;
    let title = format!("Remove {}?", printable_line(one.name.as_str(), 120));
    let question = Question {
        title: &title,
        follows: html! {
            p { "It goes to the trash, and its " strong { (tasks(one.tasks)) } @if one.tasks == 1 { " goes" } @else { " go" } " with it; a run that is under way is ended." }
            p.quiet { "It comes back whole from the trash until it is deleted for good. The repository at its own address is not touched." }
        },
        action: &format!("/environments/{}/remove", one.env_id),
        words: "Remove it",
        back: &format!("/environments/{}", one.env_id),
    };
    Ok(Page(confirm::page(&signed, Place::Environments, &question)).into_response())
}

pub(crate) async fn remove(State(api): State<Api>, Path(id): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    api.engine.remove_environment(&id).await?;
    Ok(see("/environments"))
}
