//! The artifacts of a run: the files that the agent left for people, with images, texts and test reports.
//!
//! All content is hostile. It is shown as escaped text or as an image whose format was detected; other files are only downloaded.
//! Invariant: the size of a page is limited, whatever a file contains.

use axum::extract::{Path, Query};
use axum::http::HeaderMap;
use axum::response::Response;
use engine::{ArtifactText, User};
use markup::junit::{TestReport, test_report};
use markup::{text, visible};
use maud::{Markup, html};
use model::artifact::{Artifact, ArtifactKind};
use model::ids::RunNumber;
use model::problem::Problem;
use protocol::{ArtifactsView, RunView};
use serde::Deserialize;

use super::answer::{Answer, Page, PageProblem};
use super::layout::{self, NavItem, size};
use super::review::on_demand;
use super::session::Signed;
use crate::api::artifacts::send;
use crate::caller::AsUser;

/// The part of a text file that is shown, in bytes.
const TEXT_BYTES: u64 = 64 << 10;

/// The largest test report that is shown as a table, in bytes.
const REPORT_BYTES: u64 = 4 << 20;

/// The most images that a page loads. The others are links.
const IMAGES: usize = 30;

/// The longest name of a file that is shown, in bytes.
const NAME_BYTES: usize = 300;

/// The file that a request is about.
#[derive(Deserialize)]
pub(crate) struct ArtifactQuery {
    path: String,
}

/// Renders the artifacts of a run as a folded list that loads when it is opened, or nothing if the run has none.
pub(super) fn folded(task: &str, run: &RunView) -> Markup {
    html! {
        @if run.artifacts > 0 {
            details.artifacts {
                summary { "Artifacts (" (run.artifacts) ")" }
                (on_demand(&format!("/tasks/{task}/runs/{}/artifacts", run.number.0), "Show artifacts"))
            }
        }
    }
}

/// Responds with the artifacts of a run: as a fragment for htmx, or as a page.
pub(crate) async fn list(_: Signed, AsUser(user): AsUser, Path((id, run)): Path<(String, u32)>, headers: HeaderMap) -> Answer {
    let found = user.artifacts(&id, RunNumber(run)).await?;
    let list = listed(&format!("/tasks/{id}/runs/{run}"), &found);
    Ok(fragment_or_page(&headers, &id, &format!("Artifacts of run {run}"), list))
}

/// Responds with the content of a text file or a test report: as a fragment for htmx, or as a page.
pub(crate) async fn show(
    _: Signed,
    AsUser(user): AsUser,
    Path((id, run)): Path<(String, u32)>,
    Query(ArtifactQuery { path }): Query<ArtifactQuery>,
    headers: HeaderMap,
) -> Answer {
    let shown = shown(&user, &id, RunNumber(run), &path).await?;
    Ok(fragment_or_page(&headers, &id, "Artifact", shown))
}

/// Sends an artifact byte for byte.
pub(crate) async fn file(
    _: Signed,
    AsUser(user): AsUser,
    Path((id, run)): Path<(String, u32)>,
    Query(ArtifactQuery { path }): Query<ArtifactQuery>,
) -> Result<Response, PageProblem> {
    Ok(send(user.artifact(&id, RunNumber(run), &path).await?).await?)
}

fn fragment_or_page(headers: &HeaderMap, task: &str, title: &str, content: Markup) -> Page {
    if headers.contains_key("hx-request") {
        return Page(content);
    }
    let body = html! {
        p { a href={ "/tasks/" (task) } { "← Back to task" } }
        h1 { (title) }
        (content)
    };
    Page(layout::page(title, NavItem::Tasks, &body))
}

/// Returns the address of an artifact below that of its run.
fn address(run: &str, page: &str, artifact: &Artifact) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("path", artifact.path.as_str()).finish();
    format!("{run}/{page}?{query}")
}

fn listed(run: &str, found: &ArtifactsView) -> Markup {
    let name = |path: &str| visible::text(&model::visible::Visible::short_name(path, NAME_BYTES));
    let is_image = |artifact: &&Artifact| artifact.kind == ArtifactKind::Image;
    html! {
        @if found.artifacts.is_empty() { p.quiet { "No artifacts." } }
        ul.plain.artifacts {
            @for artifact in &found.artifacts {
                @let file = address(run, "artifact/file", artifact);
                li {
                    a href=(file) { code { (name(artifact.path.as_str())) } } " " span.quiet { (size(artifact.bytes)) }
                    @let label = match artifact.kind {
                        ArtifactKind::Text => Some("Show text"),
                        ArtifactKind::Junit => Some("Show test results"),
                        ArtifactKind::Image | ArtifactKind::Other => None,
                    };
                    @if let Some(label) = label {
                        details { summary { (label) } (on_demand(&address(run, "artifact", artifact), label)) }
                    }
                }
            }
        }
        @if found.artifacts.iter().any(|artifact| is_image(&artifact)) {
            ul.images {
                @for artifact in found.artifacts.iter().filter(is_image).take(IMAGES) {
                    @let file = address(run, "artifact/file", artifact);
                    li { a href=(file) { img src=(file) alt=(model::visible::plain_name(artifact.path.as_str())) loading="lazy" decoding="async"; } }
                }
            }
        }
        @if !found.left_out.is_empty() {
            p.note { "Not kept:" }
            ul.plain {
                @for left in &found.left_out { li { code { (name(left.path.as_str())) } " " span.quiet { (left.reason.words()) } } }
                @if found.more_left_out > 0 { li { "at least " (found.more_left_out) " more" } }
            }
        }
    }
}

async fn shown(user: &User, id: &str, run: RunNumber, path: &str) -> Result<Markup, Problem> {
    let ArtifactText { artifact, text, bytes } = user.artifact_text(id, run, path, REPORT_BYTES).await?;
    let left = artifact.bytes.saturating_sub(bytes);
    let kind = artifact.kind;
    let made = tokio::task::spawn_blocking(move || match kind {
        ArtifactKind::Junit if left == 0 => match test_report(&text) {
            Ok(report) => tested(&report),
            Err(error) => {
                html! { p.error { "This is not a valid test report: " (printable::printable(&error.to_string())) } (plain(&text, left)) }
            }
        },
        ArtifactKind::Junit | ArtifactKind::Text => plain(&text, left),
        ArtifactKind::Image | ArtifactKind::Other => html! { p.quiet { "This file cannot be shown. Download it instead." } },
    });
    made.await.map_err(Problem::internal)
}

fn plain(content: &str, left: u64) -> Markup {
    let limit = usize::try_from(TEXT_BYTES).unwrap_or(usize::MAX);
    let (head, more) = text::head_of(content, limit);
    let left = left + more as u64;
    html! {
        pre.output { (text::output(head)) }
        @if left > 0 { p.quiet { (size(left)) " more. Download the file to see all of it." } }
    }
}

/// Renders a test report: a row for each suite, and the failing tests with their messages.
fn tested(report: &TestReport) -> Markup {
    html! {
        div.scroll {
            table.tests {
                thead { tr { th { "Suite" } th { "Tests" } th { "Failures" } th { "Errors" } th { "Skipped" } th { "Time" } } }
                tbody {
                    @for suite in &report.suites {
                        tr {
                            td { @if suite.name.is_empty() { "-" } @else { (visible::name(&suite.name)) } }
                            td { (suite.tests) }
                            td class=[(suite.failures > 0).then_some("failed")] { (suite.failures) }
                            td class=[(suite.errors > 0).then_some("failed")] { (suite.errors) }
                            td { (suite.skipped) }
                            td { @if let Some(seconds) = suite.seconds { (format!("{seconds:.3} s")) } @else { "-" } }
                        }
                    }
                }
            }
        }
        @if report.more_suites > 0 { p.quiet { "and " (report.more_suites) " more suites" } }
        @for failure in &report.failures {
            details.failure open[report.failures.len() == 1] {
                summary { span.mark aria-hidden="true" { "✕" } " " (visible::name(&failure.name)) }
                pre.output { (text::output(&failure.message)) }
            }
        }
        @if report.more_failures > 0 { p.quiet { "and " (report.more_failures) " more failing tests" } }
    }
}

#[cfg(test)]
mod tests {
    use model::artifact::{LeftOut, LeftOutReason};
    use model::commit::PathText;

    use super::*;

    fn artifact(path: &str, kind: ArtifactKind) -> Artifact {
        Artifact { path: PathText::new(path.as_bytes()), bytes: 2048, kind }
    }

    #[test]
    fn images_are_shown_and_texts_load_when_they_are_opened() {
        let found = ArtifactsView {
            artifacts: vec![
                artifact("shots/a b.png", ArtifactKind::Image),
                artifact("build.log", ArtifactKind::Text),
                artifact("report.xml", ArtifactKind::Junit),
                artifact("page.html.gz", ArtifactKind::Other),
            ],
            left_out: vec![LeftOut { path: PathText::new(b"passwd"), reason: LeftOutReason::NotAFile }],
            more_left_out: 2,
        };
        insta::assert_snapshot!(listed("/tasks/t/runs/2", &found).into_string().replace("<li>", "\n<li>"));
    }

    #[test]
    fn names_and_contents_do_not_break_out() {
        let hostile = "\"><script>alert(1)</script>\u{202e}\u{1b}[31m";
        let kinds = [ArtifactKind::Image, ArtifactKind::Text, ArtifactKind::Junit, ArtifactKind::Other];
        let left_out = vec![LeftOut { path: PathText::new(hostile.as_bytes()), reason: LeftOutReason::TooLarge }];
        let artifacts = kinds.map(|kind| artifact(hostile, kind)).to_vec();
        let list = listed("/tasks/t/runs/2", &ArtifactsView { artifacts, left_out, more_left_out: 0 });
        let escaped = hostile.replace('<', "&lt;").replace('"', "&quot;").replace('\u{1b}', "");
        let report = format!(
            "<testsuite name=\"{escaped}\"><testcase name=\"{escaped}\"><failure message=\"{escaped}\"/></testcase></testsuite>"
        );
        let report = tested(&test_report(&report).expect("valid XML"));
        for html in [list, report, plain(hostile, 0)] {
            let html = html.into_string();
            assert!(!html.contains("<script") && !html.contains('\u{1b}'), "{html}");
        }
    }

    #[test]
    fn a_test_report_is_a_table_with_the_failing_tests() {
        let report = test_report(
            "<testsuite name='unit' time='0.5'><testcase name='adds'/><testcase name='divides'><failure message='by zero'/></testcase></testsuite>",
        );
        insta::assert_snapshot!(tested(&report.expect("valid XML")).into_string());
    }

    #[test]
    fn a_long_text_is_cut() {
        let html = plain(&"a".repeat(100 << 10), 1000).into_string();
        assert!(html.len() < (66 << 10) && html.contains("more. Download"), "{}", html.len());
    }
}
