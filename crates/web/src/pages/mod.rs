//! The web pages: start tasks, follow them and review changes, on a phone or a desktop. Links and forms work without scripts, and
//! scripts add live updates.
//!
//! * [`sign_in`], [`session`], [`cookie`], [`back`]: signing in, form tokens, and the redirect after signing in.
//! * [`answer`]: responses with a page or an error page, and redirects.
//! * [`layout`], [`assets`], [`browser`]: parts that all pages share. [`lost`]: URLs without a page.
//! * [`tasks`], [`selected`], [`new_task`], [`task`], [`review`], [`environments`], [`settings`],
//!   [`trash`], [`notices`]: one file per page and its forms.
//! * [`upload`], [`images`]: uploading and showing images. [`artifacts`]: the files that agents left.
//! * [`installed`]: what agents installed, for the description of the environment.
//! * [`form`], [`environment_form`], [`refs`], [`confirm`]: form fields with errors, suggestions, and confirmation pages.
//! * [`steps`]: the steps of a run before its agent starts.
//! * [`entry`], [`timing`], [`live`]: the transcript and live updates.
//!
//! A page is a function from views of the API to markup. Text of agents always stays text: it never becomes markup, the name of an
//! attribute, a link that runs a script, or a style.

pub(crate) mod answer;
mod artifacts;
mod assets;
pub(crate) mod back;
mod browser;
mod confirm;
mod cookie;
mod entry;
mod environment_form;
mod environments;
mod form;
#[cfg(test)]
mod hostile_tests;
mod images;
mod installed;
mod layout;
mod live;
pub(crate) mod lost;
mod new_task;
mod notices;
mod question;
mod refs;
mod review;
mod selected;
pub(crate) mod session;
mod settings;
mod setup;
mod setup_branches;
mod sign_in;
mod steps;
mod task;
mod task_environment;
mod tasks;
mod timing;
mod trash;
pub(crate) mod upload;
#[cfg(test)]
mod wording;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use tower_http::compression::CompressionLayer;

use crate::extract::TEXT_BODY_LIMIT;
use crate::state::Api;

/// Returns the routes of all pages. Their handlers check the session themselves.
pub(crate) fn routes() -> Router<Api> {
    let texts = DefaultBodyLimit::max(TEXT_BODY_LIMIT);
    Router::new()
        .route("/", get(tasks::list))
        .route("/live", get(live::list))
        .route("/sign-in", get(sign_in::page).post(sign_in::sign_in).layer(DefaultBodyLimit::max(sign_in::FORM_LIMIT)))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/tasks/new", get(new_task::page))
        .route("/tasks/new/refs", get(refs::list))
        .route("/tasks", post(new_task::create).layer(DefaultBodyLimit::max(upload::FORM_LIMIT)))
        .route("/tasks/selected", post(selected::act).layer(texts))
        .route("/tasks/{id}", get(task::page))
        .route("/tasks/{id}/live", get(live::task))
        .route("/tasks/{id}/runs/{n}/older", get(task::older))
        .route("/tasks/{id}/runs/{n}/output", get(task::output))
        .route("/tasks/{id}/runs/{n}/log", get(task::log))
        .route("/tasks/{id}/runs/{n}/services/{name}", get(task::service_log))
        .route("/tasks/{id}/runs/{n}/artifacts", get(artifacts::list))
        .route("/tasks/{id}/runs/{n}/artifact", get(artifacts::show))
        .route("/tasks/{id}/runs/{n}/artifact/file", get(artifacts::file))
        .route("/tasks/{id}/say", post(task::say).layer(DefaultBodyLimit::max(upload::FORM_LIMIT)))
        .route("/tasks/{id}/images/{name}", get(images::file))
        .route("/tasks/{id}/stop", get(task::ask_stop).post(task::stop))
        .route("/tasks/{id}/continue", post(task::go_on))
        .route("/tasks/{id}/retry", post(task::retry))
        .route("/tasks/{id}/answer", post(question::answer))
        .route("/tasks/{id}/commit", post(question::commit_files))
        .route("/tasks/{id}/follow-ups/{number}", post(task::edit).layer(texts))
        .route("/tasks/{id}/follow-ups/{number}/remove", post(task::forget))
        .route("/tasks/{id}/archive", post(task::archive))
        .route("/tasks/{id}/refresh-environment", get(task_environment::ask_refresh).post(task_environment::refresh))
        .route("/tasks/{id}/installed", get(installed::page))
        .route("/tasks/{id}/remove", get(task::ask_remove).post(task::remove))
        .route("/tasks/{id}/push", post(task::push).layer(texts))
        .route("/tasks/{id}/update", post(task::update))
        .route("/tasks/{id}/feedback", post(task::feedback))
        .route("/tasks/{id}/changes", get(review::page).post(review::comment).layer(texts))
        .route("/tasks/{id}/changes/part", get(review::part))
        .route("/tasks/{id}/changes/image", get(review::image))
        .route("/tasks/{id}/changes/viewed", post(review::viewed))
        .route("/environments", get(environments::list).post(environments::add).layer(texts))
        .route("/environments/{id}", get(environments::show).post(environments::edit).layer(texts))
        .route("/environments/{id}/fetch", post(environments::fetch))
        .route("/environments/{id}/setup", get(setup::show).post(setup::edit).layer(texts))
        .route("/environments/{id}/setup/approve", post(setup::approve))
        .route("/environments/{id}/setup/run", post(setup::run))
        .route("/environments/{id}/setup/skip", post(setup::skip))
        .route("/environments/{id}/setup/trust", post(setup_branches::trust))
        .route("/environments/{id}/setup/diff", get(setup_branches::diff))
        .route("/environments/{id}/setup/accept", post(setup_branches::accept))
        .route("/environments/{id}/retry", post(environments::retry))
        .route("/environments/{id}/remove", get(environments::ask_remove).post(environments::remove))
        .route("/settings", get(settings::page))
        .route("/settings/notices", get(notices::page).post(notices::save))
        .route("/settings/notices/{receiver}/test", post(notices::test))
        .route("/settings/notices/devices", post(notices::subscribe))
        .route("/settings/notices/devices/{id}/test", post(notices::test_device))
        .route("/settings/notices/devices/{id}/remove", post(notices::remove))
        .route("/settings/check", get(settings::check))
        .route("/trash", get(trash::page))
        .route("/trash/tasks/{id}/restore", post(trash::restore_task))
        .route("/trash/environments/{id}/restore", post(trash::restore_environment))
        .route("/trash/delete", get(trash::ask_delete).post(trash::delete))
        .route("/settings/sessions/{id}/revoke", post(settings::revoke))
        .route("/manifest.webmanifest", get(assets::manifest))
        .route("/sw.js", get(assets::service_worker))
        .route("/assets/{name}", get(assets::file))
        .method_not_allowed_fallback(lost::no_method)
        .layer(from_fn(lost::as_page))
        // The layer does not compress event streams or responses that are already compressed.
        .layer(CompressionLayer::new())
}
