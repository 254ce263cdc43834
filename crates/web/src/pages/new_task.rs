//! Handing work over: which repository, what to do, and how.
//! The form carries a key, so that a double tap makes one task.

use axum::extract::{Query, State};
use axum::response::Response;
use maud::html;
use model::api::CreateTask;
use model::environment::EnvironmentStatus;
use serde::Deserialize;

use super::layout::{self, Place, form_token};
use super::session::Signed;
use super::upload::{self, SignedUpload};
use super::{Answer, Page, PageProblem, see};
use crate::router::Api;

#[derive(Deserialize)]
pub(crate) struct Preset {
    env: Option<String>,
}

pub(crate) async fn page(signed: Signed, State(api): State<Api>, Query(preset): Query<Preset>) -> Answer {
    let environments = api.engine.environments();
    let ready: Vec<_> = environments.items.iter().filter(|one| one.status == EnvironmentStatus::Ready).collect();
    let key = uuid::Uuid::new_v4();
    let body = html! {
        h1 { "New task" }
        @if ready.is_empty() {
            p { "There is no repository yet that is ready." }
            a.button.primary href="/environments" { "Repositories" }
        } @else {
            form.stack method="post" action="/tasks" enctype="multipart/form-data" data-draft="new" {
                (form_token(&signed))
                input type="hidden" name="key" value=(key);
                label for="env" { "Repository" }
                select #env name="env_id" required {
                    @for one in &ready {
                        @let id = one.env_id.to_string();
                        option value=(id) selected[preset.env.as_deref() == Some(id.as_str())] { (one.name) }
                    }
                }
                label for="prompt" { "What should Codex do?" }
                textarea #prompt name="prompt" rows="5" required autofocus data-grow data-send {}
                (upload::field(&html! { "Add images" }))
                details {
                    summary { "More" }
                    label for="ref" { "Branch, tag or commit to start from" }
                    input #ref name="ref" type="text" placeholder="the default branch" autocapitalize="off" autocomplete="off" spellcheck="false";
                    label for="title" { "Title" }
                    input #title name="title" type="text" placeholder="the first line of what you ask";
                    label for="model" { "Model" }
                    input #model name="model" type="text" placeholder="Codex's own choice" autocapitalize="off" spellcheck="false";
                    label for="effort" { "Reasoning effort" }
                    select #effort name="effort" {
                        @for (value, words) in [("", "Codex's own choice"), ("low", "low"), ("medium", "medium"), ("high", "high"), ("xhigh", "very high")] {
                            option value=(value) { (words) }
                        }
                    }
                    label for="priority" { "Priority in the queue" }
                    select #priority name="priority" {
                        @for (value, words) in [("", "normal"), ("high", "high"), ("low", "low")] { option value=(value) { (words) } }
                    }
                }
                button.primary type="submit" { "Hand it over" }
                p.quiet { kbd { "Ctrl" } " or " kbd { "⌘" } " + " kbd { "Enter" } " sends it" }
            }
        }
    };
    Ok(Page(layout::page("New task", Place::New, &body)))
}

#[derive(Deserialize)]
pub(crate) struct NewTaskForm {
    env_id: String,
    prompt: String,
    #[serde(default)]
    key: String,
    #[serde(default, rename = "ref")]
    git_ref: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    model: String,
    #[serde(default)]
    effort: String,
    #[serde(default)]
    priority: String,
}

/// A field that was left empty.
fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.trim().is_empty())
}

pub(crate) async fn create(
    State(api): State<Api>,
    SignedUpload(form, images): SignedUpload<NewTaskForm>,
) -> Result<Response, PageProblem> {
    let new = CreateTask {
        env_id: form.env_id,
        // Browsers send line ends of two characters.
        prompt: form.prompt.replace("\r\n", "\n"),
        images,
        git_ref: given(form.git_ref),
        title: given(form.title),
        model: given(form.model),
        effort: given(form.effort),
        priority: given(form.priority),
    };
    let (view, _) = api.engine.create_task(new, given(form.key)).await?;
    Ok(see(&format!("/tasks/{}", view.meta.task_id)))
}
