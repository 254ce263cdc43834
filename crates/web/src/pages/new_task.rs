//! The page that creates a task: repository, prompt, images and options.
//! The form contains a key, so that a double tap creates one task. Invalid forms are shown again with their values.

use axum::extract::Query;
use axum::response::Response;
use engine::User;
use maud::{Markup, html};
use model::ErrorCode;
use model::environment::EnvironmentStatus;
use model::problem::{Problem, ProblemKind};
use protocol::{CreateTask, TaskQuery};
use serde::Deserialize;

use super::answer::{Answer, Page, PageProblem, see_sent};
use super::form::{self, Field, FormErrors, FormState, FormValues, TextKind};
use super::layout::{self, NavItem};
use super::session::Signed;
use super::session::form_token;
use super::upload::{self, SignedUpload, Uploads};
use super::{assets, refs};
use crate::caller::AsUser;

/// The number of recent tasks that are searched for model names.
const LOOKED_THROUGH: usize = 200;

/// The most models that are suggested.
const MOST_MODELS: usize = 20;

/// The fields below "More options".
const MORE: &[&str] = &["title", "model", "effort", "priority", "driver"];

#[derive(Deserialize)]
pub(crate) struct Preset {
    env: Option<String>,
}

pub(crate) async fn page(signed: Signed, AsUser(user): AsUser, Query(preset): Query<Preset>) -> Answer {
    let mut typed = FormValues::default();
    typed.set("env_id", preset.env.unwrap_or_default());
    typed.set("key", form::new_key());
    Ok(Page(with_form(&signed, &user, FormState { typed: &typed, wrong: &FormErrors::default() }).await))
}

async fn with_form(signed: &Signed, user: &User, form: FormState<'_>) -> Markup {
    let environments = user.environments();
    let ready: Vec<_> = environments.items.iter().filter(|one| one.status == EnvironmentStatus::Ready).collect();
    let asked = form.typed.text("env_id");
    // Browsers select the first option by default.
    let chosen = ready.iter().find(|one| one.env_id.to_string() == asked).or_else(|| ready.first());
    let proposals = if let Some(one) = chosen {
        refs::proposals(user, &one.env_id.to_string()).await
    } else {
        html! {}
    };
    let body = html! {
        h1 { "New task" }
        @if let Some(chosen) = chosen {
            form.stack method="post" action="/tasks" enctype="multipart/form-data" data-draft="new" {
                (form_token(signed))
                input type="hidden" name="key" value=(form.typed.text("key"));
                (form.wrong.summary())
                label for="env_id" { "Repository" }
                select #env_id name="env_id" required hx-get="/tasks/new/refs" hx-target="#proposals" {
                    @for one in &ready { option value=(one.env_id) selected[one.env_id == chosen.env_id] { (layout::name(&one.name)) } }
                }
                label for="prompt" { "What should Codex do?" }
                textarea #prompt name="prompt" rows="5" required autofocus data-grow data-send { (form.typed.exact("prompt")) }
                (upload::field(&html! { "Add files" }))
                (form.field(Field::new("ref", "Base branch, tag or commit", TextKind::Code).empty("Default: the repository's base branch").list("refs")))
                div #proposals { (proposals) }
                details.group open[form.wrong.any(MORE)] {
                    summary { "More options" }
                    (form.field(Field::new("title", "Title", TextKind::Words).empty("Default: the first line of the prompt")))
                    (form.field(Field::new("model", "Model", TextKind::Code).empty("Default: from the repository or Codex").list("models")))
                    datalist #models { @for model in models(user) { option value=(model) {} } }
                    (form.choice("effort", "Reasoning effort", "",
                        &[("", "Default: from the repository or Codex"), ("low", "Low"), ("medium", "Medium"), ("high", "High"), ("xhigh", "Extra high")]))
                    (form.choice("priority", "Queue priority", "", &[("", "Normal"), ("high", "High"), ("low", "Low")]))
                    (form.choice("driver", "Driver", "", &[("", "Default: from the repository"), ("auto", "Automatic"), ("app-server", "Codex's app server"), ("exec", "codex exec")]))
                }
                button.primary type="submit" { "Start task" }
                p.quiet { "Press " kbd { "Ctrl" } " or " kbd { "⌘" } " + " kbd { "Enter" } " to start." }
            }
        } @else {
            p { "No repository is ready yet." }
            a.button.primary href="/environments" { "Go to repositories" }
        }
    };
    layout::page_with_scripts(&[assets::images_script()], "New task", NavItem::New, &body)
}

/// Returns the models that recent tasks asked for, without duplicates.
fn models(user: &User) -> Vec<String> {
    let query = TaskQuery { limit: Some(LOOKED_THROUGH), ..TaskQuery::default() };
    let mut models: Vec<String> = vec![];
    for task in user.tasks(&query).map(|page| page.items).unwrap_or_default() {
        for model in task.runs.iter().rev().filter_map(|run| run.model.as_ref()) {
            if models.len() < MOST_MODELS && !models.iter().any(|known| known == model.as_str()) {
                models.push(model.as_str().to_owned());
            }
        }
    }
    models
}

pub(crate) async fn create(
    AsUser(user): AsUser,
    SignedUpload(signed, typed, uploads): SignedUpload<FormValues>,
) -> Result<Response, PageProblem> {
    let Uploads { images, attachments } = uploads;
    let had_files = !images.is_empty() || !attachments.is_empty();
    let new = CreateTask {
        env_id: typed.text("env_id").to_owned(),
        prompt: typed.exact("prompt"),
        images,
        attachments,
        git_ref: typed.given("ref"),
        title: typed.given("title"),
        model: typed.given("model"),
        effort: typed.given("effort"),
        priority: typed.given("priority"),
        driver: typed.given("driver"),
    };
    let key = form::request_key(typed.text("key"), &new)?;
    match create_from(&user, new, key).await {
        Ok(path) => Ok(see_sent(&path, "new")),
        Err(problem) if problem.kind == ProblemKind::Unusable => {
            let mut wrong = FormErrors::default();
            let field = field_of(&problem);
            wrong.add(
                field,
                if had_files { problem.hint("choose the files again, because browsers do not keep them") } else { problem },
            );
            Ok(form::again(with_form(&signed, &user, FormState { typed: &typed, wrong: &wrong }).await))
        }
        Err(problem) => Err(problem.into()),
    }
}

async fn create_from(user: &User, new: CreateTask, key: Option<String>) -> Result<String, Problem> {
    if let Some(name) = &new.git_ref {
        // Report an unknown ref now, while the user can still correct it.
        user.check_ref(&new.env_id, name).await?;
    }
    let (view, _) = user.create_task(new, key).await?;
    Ok(format!("/tasks/{}", view.task_id))
}

fn field_of(problem: &Problem) -> &'static str {
    match problem.report.code.known() {
        Some(ErrorCode::RefRefused | ErrorCode::RefNotFound | ErrorCode::BranchNameRefused) => "ref",
        Some(ErrorCode::PromptEmpty | ErrorCode::PromptRefused) => "prompt",
        Some(ErrorCode::TitleRefused) => "title",
        Some(ErrorCode::SettingRefused) => "model",
        Some(ErrorCode::PriorityRefused) => "priority",
        Some(ErrorCode::RunsRefused) => "driver",
        _ => "",
    }
}
