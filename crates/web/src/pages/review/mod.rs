//! The review page: the changes of a task, of one run, or since the last review, and comments on lines that become the next prompt.
//! Large files load when a user opens them. The browser remembers which files are viewed, until their changes differ.

mod comments;
mod file;

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, Query};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use engine::{Changes, PictureSide, Review, ReviewPart, ReviewState, User};
use git::{Binary, Reading, Standing, Whitespace};
use markup::hunks::{RemainingLimits, View};
use markup::visible;
use maud::{Markup, html};
use model::diff::{Diff, FileDiff, Picture, PictureKind};
use model::ids::RunNumber;
use model::problem::Problem;
use printable::printable_line;
use protocol::RunView;
use protocol::{ResumeTask, TaskView};
use serde::Deserialize;

pub(super) use file::on_demand;

use super::answer::{Answer, Page, PageProblem, see, see_sent};
use super::layout::{self, NavItem};
use super::session::form_token;
use super::session::{Signed, SignedFields, SignedForm};
use super::{assets, form};
use crate::caller::AsUser;

/// Files with more changed lines than this load when they are opened.
const FOLDED_LINES: u64 = 400;

/// The size of the lines in a page, in bytes. Files beyond it load when they are opened.
const PAGE_BYTES: usize = 200_000;

/// The most lines of a file that are shown.
const MOST_LINES: usize = 20_000;

/// The most pages of a diff that are searched for the files of one form's comments.
const COMMENTED_PAGES: usize = 20;

/// The images of a diff, by the keys of their paths.
type Pictures = BTreeMap<String, Picture>;

#[derive(Deserialize)]
pub(crate) struct ReviewQuery {
    run: Option<u32>,
    /// `viewed` shows the changes since they were marked as viewed.
    since: Option<String>,
    /// `split` or `unified`.
    view: Option<String>,
    /// `ignore` hides changes in whitespace.
    space: Option<String>,
    /// The key of the only file to show.
    path: Option<String>,
    /// The page of files, starting at 1.
    page: Option<usize>,
    /// `text` shows a binary file as text.
    binary: Option<String>,
    /// `old` or `new`, for an image.
    side: Option<String>,
}

/// Returns the requested view, otherwise unified on phones and split elsewhere.
fn view_of(asked: Option<&str>, headers: &HeaderMap) -> View {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match asked {
        Some("split") => View::Split,
        Some("unified") => View::Unified,
        Some(_) | None if agent.contains("Mobi") => View::Unified,
        Some(_) | None => View::Split,
    }
}

/// The changes of a task to show, and how to show them.
#[derive(Debug, Clone)]
pub(super) struct ShownChanges {
    task: String,
    changes: Changes,
    sides: View,
    ignores_space: bool,
}

impl ShownChanges {
    fn new(task: &str, which: &ReviewQuery, headers: &HeaderMap) -> Self {
        let changes = match (which.run, which.since.as_deref()) {
            (Some(run), _) => Changes::Run(RunNumber(run)),
            (None, Some("viewed")) => Changes::SinceViewed,
            (None, _) => Changes::All,
        };
        let ignores_space = which.space.as_deref() == Some("ignore");
        Self { task: task.to_owned(), changes, sides: view_of(which.view.as_deref(), headers), ignores_space }
    }

    /// Selects the changes of one run.
    pub(super) fn of_run(task: &str, run: u32) -> Self {
        Self { task: task.to_owned(), changes: Changes::Run(RunNumber(run)), sides: View::Split, ignores_space: false }
    }

    /// Selects the unified view.
    pub(super) fn unified(self) -> Self {
        Self { sides: View::Unified, ..self }
    }

    /// Returns the URL of a part of the page: a path below the changes, and more query parameters.
    pub(super) fn address(&self, below: &str, more: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        match self.changes {
            Changes::All => {}
            Changes::Run(run) => drop(query.append_pair("run", &run.0.to_string())),
            Changes::SinceViewed => drop(query.append_pair("since", "viewed")),
        }
        query.append_pair("view", if self.sides == View::Split { "split" } else { "unified" });
        if self.ignores_space {
            query.append_pair("space", "ignore");
        }
        query.extend_pairs(more);
        format!("/tasks/{}/changes{below}?{}", self.task, query.finish())
    }

    async fn review(&self, user: &User, part: &ReviewPart, binary: Binary) -> Result<Review, Problem> {
        let whitespace = if self.ignores_space { Whitespace::Ignored } else { Whitespace::Counts };
        user.review(&self.task, self.changes, part, Reading { whitespace, binary }).await
    }

    /// Returns the images of the changes, if these files contain any.
    async fn images(&self, user: &User, files: &[FileDiff]) -> Result<Pictures, Problem> {
        if files.iter().all(|file| PictureKind::of_name(file.path()).is_none()) {
            return Ok(Pictures::new());
        }
        let images = user.changed_pictures(&self.task, self.changes).await?;
        Ok(images.into_iter().map(|image| (image.path.clone(), image)).collect())
    }
}

pub(crate) async fn page(
    signed: Signed,
    AsUser(user): AsUser,
    Path(id): Path<String>,
    Query(which): Query<ReviewQuery>,
    headers: HeaderMap,
) -> Answer {
    let view = user.task(&id)?;
    let asked = ShownChanges::new(&id, &which, &headers);
    let state = user.review_state(&id).await?;
    let part = match &which.path {
        Some(path) => ReviewPart::PageOf(path.clone()),
        None => ReviewPart::Page(which.page.unwrap_or(1).saturating_sub(1)),
    };
    let mut review = asked.review(&user, &part, Binary::IfText).await?;
    if let Some(path) = &which.path {
        review.diff.files.retain(|file| file.key() == *path);
    }
    let images = asked.images(&user, &review.diff.files).await?;
    let is_last = which.path.is_none() && review.page + 1 >= review.pages;
    let head = html! {
        (head(&view, &asked, &state, &review))
        // The button is on the last page.
        @if is_last { (mark_all(&asked, &state, &review.diff, &signed)) }
    };
    let more = if which.path.is_none() {
        pages(&asked, &review)
    } else {
        html! {}
    };
    let diff = review.diff;
    let files = {
        let (asked, extent) = (asked.clone(), if which.path.is_some() { Extent::OneFile } else { Extent::Page });
        aside(move || files(&diff, &images, &asked, extent)).await?
    };
    let body = html! {
        (head)
        form.review method="post" action=(asked.address("", &[])) data-review data-draft={ (id) "-review" } {
            (form_token(&signed))
            input type="hidden" name="key" value=(form::new_key());
            @if let Some(head) = &state.head { input type="hidden" name="head" value=(head); }
            (files)
            (more)
            table.diff.lost { tbody { tr hidden { td {} } } }
            template #note { (note(asked.sides)) }
            div.composer {
                label.visually-hidden for="comments" { "Summary" }
                textarea #comments name="comments" rows="2" data-grow data-send placeholder="Summary (optional)" {}
                button.primary type="submit" { "Send comments" }
            }
        }
        button #selected.pill type="button" hidden { "Comment on selection" }
    };
    let title = format!("Changes · {}", printable_line(view.title.as_str(), 100));
    Ok(Page(layout::page_with_scripts(&[assets::review_script()], &title, NavItem::Tasks, &body)))
}

/// Renders the part above the files: links to other views, totals and the list of files.
fn head(view: &TaskView, asked: &ShownChanges, state: &ReviewState, review: &Review) -> Markup {
    let diff = &review.diff;
    let id = &asked.task;
    let link = |changes: Changes, label: &str| {
        let address = ShownChanges { changes, ..asked.clone() }.address("", &[]);
        html! { a href=(address) aria-current=[(changes == asked.changes).then_some("true")] { (label) } }
    };
    let other = if asked.sides == View::Split { View::Unified } else { View::Split };
    let label = if other == View::Split { "Split view" } else { "Unified view" };
    html! {
        p { a href={ "/tasks/" (id) } { "← " (printable_line(view.title.as_str(), 100)) } }
        h1 { "Changes" }
        nav.runs aria-label="Changes to show" {
            (link(Changes::All, "All changes"))
            (link(Changes::SinceViewed, "New since my last review"))
            @for run in &view.runs { (link(Changes::Run(run.number), &format!("Run {}", run.number.0))) }
            a.quiet href=(ShownChanges { sides: other, ..asked.clone() }.address("", &[])) { (label) }
            a.quiet href=(ShownChanges { ignores_space: !asked.ignores_space, ..asked.clone() }.address("", &[])) {
                @if asked.ignores_space { "Show whitespace changes" } @else { "Hide whitespace changes" }
            }
        }
        @if asked.changes == Changes::SinceViewed { (since(state)) }
        p.facts {
            (review.files) @if review.files == 1 { " file" } @else { " files" }
            @if review.pages > 1 { " (" (diff.files.len()) " on this page)" }
            ", +" (diff.stats.additions) " −" (diff.stats.deletions)
        }
        (pages(asked, review))
        @if diff.files.is_empty() { p.empty { (nothing(view, asked.changes)) } }
        ul.file-list {
            @for (n, file) in diff.files.iter().enumerate() {
                li { a href={ "#file-" (n) } { (visible::name(file.path_bytes())) } " " span.plus { "+" (file.additions) } " " span.minus { "−" (file.deletions) } }
            }
        }
    }
}

/// Renders links to the other pages of a large diff.
fn pages(asked: &ShownChanges, review: &Review) -> Markup {
    let link = |page: usize, label: &str| html! { a href=(asked.address("", &[("page", &page.to_string())])) { (label) } };
    html! {
        @if review.pages > 1 {
            nav.runs aria-label="Pages" {
                span { "Page " (review.page + 1) " of " (review.pages) }
                @if review.page > 0 { (link(review.page, "Previous page")) }
                @if review.page + 1 < review.pages { (link(review.page + 2, "Next page")) }
            }
        }
    }
}

/// Renders the button that marks all changes as viewed. A single run has no such button.
fn mark_all(asked: &ShownChanges, state: &ReviewState, diff: &Diff, signed: &Signed) -> Markup {
    let is_part = diff.files.is_empty() || matches!(asked.changes, Changes::Run(_));
    html! {
        @if let (Some(head), false) = (&state.head, is_part) {
            form.inline method="post" action={ "/tasks/" (asked.task) "/changes/viewed" } data-all-viewed {
                (form_token(signed))
                input type="hidden" name="head" value=(head);
                button type="submit" { "Mark all as viewed" }
            }
        }
    }
}

/// Explains what "New since my last review" compares.
fn since(state: &ReviewState) -> Markup {
    html! {
        p.quiet {
            @match state.viewed {
                None => "You have not reviewed these changes yet, so all of them are shown.",
                Some((_, Standing::Before)) => "Changes since you marked them as viewed or sent comments.",
                Some((_, Standing::Elsewhere)) => {
                    "The branch was rebased since your last review. This view compares the files then and now, so it also shows changes \
                     from the base branch."
                }
                Some((_, Standing::Gone)) => "The commit that you reviewed no longer exists, so all changes are shown.",
            }
        }
    }
}

/// Explains why the page shows no changes.
fn nothing(view: &TaskView, changes: Changes) -> &'static str {
    let is_under_way = |run: &RunView| run.finished_at.is_none();
    let runs = &view.runs;
    let waits = match changes {
        Changes::Run(number) => runs.iter().any(|run| run.number == number && is_under_way(run)),
        Changes::All | Changes::SinceViewed => runs.iter().any(is_under_way),
    };
    if waits { "No changes yet. They appear here when the run ends." } else { "No changes." }
}

/// How much of a diff is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// A page of files. Large files are folded.
    Page,
    /// One file, which is never folded.
    OneFile,
}

fn files(diff: &Diff, images: &Pictures, asked: &ShownChanges, extent: Extent) -> Markup {
    let (left, mut bytes) = (RemainingLimits::new(MOST_LINES), PAGE_BYTES);
    let mut inner = |file: &FileDiff| {
        if extent == Extent::OneFile || file.hunks.is_empty() {
            return Some(file::lines(file, images, asked, &left));
        }
        let is_large = bytes == 0 || left.is_nothing() || file.additions + file.deletions > FOLDED_LINES;
        let lines = (!is_large).then(|| file::lines(file, images, asked, &left))?;
        let rest = bytes.checked_sub(lines.0.len()).filter(|_| !left.is_nothing());
        bytes = rest.unwrap_or(0);
        rest.map(|_| lines)
    };
    html! {
        @for (n, file) in diff.files.iter().enumerate() {
            @let lines = inner(file);
            (file::part(n, file, images, asked, lines.as_ref()))
        }
    }
}

/// Renders the template of a comment box. The script inserts it below a line and sets its position.
fn note(sides: View) -> Markup {
    html! {
        tr.note {
            td colspan=(if sides == View::Split { 4 } else { 3 }) {
                @for name in ["path", "side", "first", "last"] { input type="hidden" name=(name); }
                label { span.where {} textarea name="text" rows="2" data-send {} }
                button.small type="button" data-drop { "Discard" }
            }
        }
    }
}

/// Responds with the lines of a file: as a fragment for htmx, or as a page.
pub(crate) async fn part(
    _: Signed,
    AsUser(user): AsUser,
    Path(id): Path<String>,
    Query(which): Query<ReviewQuery>,
    headers: HeaderMap,
) -> Result<Response, PageProblem> {
    let asked = ShownChanges::new(&id, &which, &headers);
    let path = which.path.unwrap_or_default();
    let (part, binary) = match which.binary.as_deref() {
        Some("text") => (ReviewPart::File(path.clone()), Binary::AsText),
        Some(_) | None => (ReviewPart::PageOf(path.clone()), Binary::IfText),
    };
    if !headers.contains_key("hx-request") {
        return Ok(see(&asked.address("", &[("path", &path)])));
    }
    let view = user.task(&id)?;
    let mut diff = asked.review(&user, &part, binary).await?.diff;
    diff.files.retain(|file| file.key() == path);
    let images = asked.images(&user, &diff.files).await?;
    let changes = asked.changes;
    let lines = aside(
        move || html! { @for file in &diff.files { (file::lines(file, &images, &asked, &RemainingLimits::new(MOST_LINES))) } },
    );
    let lines = lines.await?;
    Ok(Page(if lines.0.is_empty() {
        html! { p.quiet { (nothing(&view, changes)) } }
    } else {
        lines
    })
    .into_response())
}

/// Sends an image of a diff. Its type comes from its first bytes, and its policy allows nothing even if the image is opened directly.
pub(crate) async fn image(
    _: Signed,
    AsUser(user): AsUser,
    Path(id): Path<String>,
    Query(which): Query<ReviewQuery>,
    headers: HeaderMap,
) -> Result<Response, PageProblem> {
    let asked = ShownChanges::new(&id, &which, &headers);
    let side = if which.side.as_deref() == Some("old") { PictureSide::Old } else { PictureSide::New };
    let (kind, bytes) = user.changed_picture(&id, asked.changes, &which.path.unwrap_or_default(), side).await?;
    let mut response = bytes.into_response();
    let fixed = [
        (header::CONTENT_TYPE, kind.media_type()),
        (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
        (header::CONTENT_DISPOSITION, "inline"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

#[derive(Deserialize)]
pub(crate) struct ViewedForm {
    head: String,
}

/// Marks the changes of a page as viewed.
pub(crate) async fn viewed(
    AsUser(user): AsUser,
    Path(id): Path<String>,
    SignedForm(_, ViewedForm { head }): SignedForm<ViewedForm>,
) -> Result<Response, PageProblem> {
    user.mark_viewed(&id, &head).await?;
    Ok(see(&format!("/tasks/{id}/changes")))
}

/// Sends all comments as one follow-up, and marks the changes as viewed.
pub(crate) async fn comment(
    AsUser(user): AsUser,
    Path(id): Path<String>,
    Query(which): Query<ReviewQuery>,
    headers: HeaderMap,
    SignedFields(_, fields): SignedFields,
) -> Result<Response, PageProblem> {
    let value = |name: &str| fields.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value.as_str());
    let asked = ShownChanges::new(&id, &which, &headers);
    let comments = comments::comments(&fields);
    let diff = commented(&user, &asked, &comments).await?;
    let prompt = comments::prompt(&diff, &comments, value("comments"));
    let follow_up = ResumeTask { prompt, ..ResumeTask::default() };
    let key = form::request_key(value("key"), &follow_up)?;
    user.add_follow_up(&id, follow_up, key).await?;
    if !matches!(asked.changes, Changes::Run(_))
        && let Err(problem) = user.mark_viewed(&id, value("head")).await
    {
        tracing::warn!(task = id, %problem, "could not record that a task's changes were viewed");
    }
    Ok(see_sent(&format!("/tasks/{id}"), &format!("{id}-review")))
}

/// Returns a diff that includes the files of the comments.
async fn commented(user: &User, asked: &ShownChanges, comments: &[comments::Comment]) -> Result<Diff, Problem> {
    let mut diff = Diff::default();
    let mut found = BTreeSet::new();
    for _ in 0..COMMENTED_PAGES {
        let Some(comment) = comments.iter().find(|comment| !found.contains(comment.path())) else { break };
        let review = asked.review(user, &ReviewPart::PageOf(comment.path().to_owned()), Binary::IfText).await?;
        found.insert(comment.path().to_owned());
        found.extend(review.diff.files.iter().map(FileDiff::key));
        diff.files.extend(review.diff.files);
    }
    Ok(diff)
}

/// Runs work on a thread for blocking work.
async fn aside(work: impl FnOnce() -> Markup + Send + 'static) -> Result<Markup, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Problem::internal(format!("could not show the changes: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_each_other_at_a_desk_and_below_each_other_on_a_phone() {
        let of = |asked, agent: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::USER_AGENT, agent.parse().expect("a header"));
            view_of(asked, &headers)
        };
        assert_eq!(of(None, "Mozilla/5.0 (X11; Linux x86_64) Firefox/140"), View::Split);
        assert_eq!(of(None, "Mozilla/5.0 (iPhone) Mobile/15E148 Safari"), View::Unified);
        assert_eq!(of(Some("split"), "Mobile"), View::Split);
    }

    #[test]
    fn an_address_says_what_is_asked_for() {
        let asked = ShownChanges { changes: Changes::SinceViewed, ignores_space: true, ..ShownChanges::of_run("t", 1).unified() };
        assert_eq!(
            asked.address("/part", &[("path", "a b&c")]),
            "/tasks/t/changes/part?since=viewed&view=unified&space=ignore&path=a+b%26c"
        );
        assert_eq!(
            ShownChanges { changes: Changes::All, ..ShownChanges::of_run("t", 1) }.address("", &[]),
            "/tasks/t/changes?view=split"
        );
    }

    #[test]
    fn twenty_thousand_lines_are_a_small_page_and_come_when_they_are_opened() {
        let lines = "+let some = line(of, code);\n".repeat(20_000);
        let one = format!("diff --git a/f.rs b/f.rs\n--- a/f.rs\n+++ b/f.rs\n@@ -0,0 +1,20000 @@\n{lines}");
        let few = "+let some = line(of, code);\n".repeat(300);
        let file = |n: u32| format!("diff --git a/{n}.rs b/{n}.rs\n--- a/{n}.rs\n+++ b/{n}.rs\n@@ -0,0 +1,300 @@\n{few}");
        let many = (0..66).map(file).collect::<Vec<_>>().concat();
        for patch in [one, many] {
            let html = files(&Diff::parse(patch.as_bytes()), &Pictures::new(), &ShownChanges::of_run("t", 1), Extent::Page)
                .into_string();
            assert!(html.len() < 300_000 && html.contains("hx-get"), "{}", html.len());
        }
    }
}
