//! The steps of a run before its agent starts: queued, fetching, preparing the workspace, starting Codex.
//! The steps are computed only from the task's record and the queue.

use std::cmp::Ordering;

use git::ProgressPhase;
use maud::{Markup, html};
use model::queue::{QueuePlace, WaitsFor};
use model::run::RunStatus;
use protocol::RunView;
use protocol::TaskView;

use super::layout::{self, moment, ordinal};

/// A step before the agent starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Queued,
    Fetching,
    Worktree,
    Starting,
}

const ALL: [(Step, &str); 4] = [
    (Step::Queued, "Queued"),
    (Step::Fetching, "Fetching"),
    (Step::Worktree, "Preparing workspace"),
    (Step::Starting, "Starting Codex"),
];

fn step(view: &TaskView, run: &RunView) -> Option<Step> {
    match run.status {
        RunStatus::Queued => Some(Step::Queued),
        RunStatus::Preparing => Some(preparing(view)),
        // Codex is starting until it reports its thread.
        RunStatus::Running if run.thread_id.is_none() => Some(Step::Starting),
        RunStatus::Running
        | RunStatus::Stopping
        | RunStatus::Completed
        | RunStatus::Failed
        | RunStatus::Stopped
        | RunStatus::Interrupted => None,
    }
}

/// Returns the step of a run that is being prepared. A task has no base commit while it fetches.
fn preparing(view: &TaskView) -> Step {
    let phase = view.progress.as_ref().map(|progress| progress.phase.as_str());
    let writes = [ProgressPhase::Updating, ProgressPhase::Filtering].iter().any(|writing| phase == Some(writing.as_str()));
    if view.base_sha.is_some() || writes { Step::Worktree } else { Step::Fetching }
}

/// Renders the steps of a task's last run. Renders nothing once its agent has started.
pub(super) fn steps(view: &TaskView) -> Markup {
    let at = view.runs.last().and_then(|run| step(view, run));
    html! {
        @if let Some(at) = at {
            ol.steps aria-label="Progress" {
                @for (one, label) in ALL {
                    @let (shape, class, word) = match one.cmp(&at) {
                        Ordering::Less => ("✓", "done", "done"),
                        Ordering::Equal => ("◔", "now", "in progress"),
                        Ordering::Greater => ("○", "to-come", "not started"),
                    };
                    li class=(class) aria-current=[(one == at).then_some("step")] {
                        span aria-hidden="true" { (shape) } " " (label) span.visually-hidden { ", " (word) }
                        @if one == at { (details(at, view)) }
                    }
                }
            }
            noscript { p.quiet { "Reload the page to see the progress." } }
        }
    }
}

fn details(at: Step, view: &TaskView) -> Markup {
    html! {
        @if at == Step::Queued {
            @if let Some(place) = &view.queue { " · " (waits(place, &view.env_name.as_ref().map_or_else(|| "this repository".to_owned(), layout::name))) }
            @if let Some(progress) = &view.progress { " · " (progress.phase) }
        } @else if let Some(progress) = &view.progress {
            " · " (progress.phase)
            @if let Some(percent) = progress.percent { " " (percent) "% " progress max="100" value=(percent) aria-label=(progress.phase) {} }
        }
    }
}

/// Renders a position in the queue and the reason for the wait, such as `2nd in queue: waiting for another run in axum`.
fn waits(place: &QueuePlace, repository: &str) -> Markup {
    html! {
        (ordinal(place.position)) " in queue: "
        @match place.waits_for {
            WaitsFor::Answer => "waiting for your answer",
            WaitsFor::Turn => "waiting for another run",
            WaitsFor::EnvironmentLimit => { "waiting for another run in " (repository) },
            WaitsFor::Memory => "waiting for memory that other runs and setups may use",
            WaitsFor::Setup => { "waiting for the setup of " (repository) }
            WaitsFor::SetupAnswer => { "the setup of " (repository) " failed" }
            WaitsFor::EnvironmentPaused => { "new runs in " (repository) " are paused" },
            WaitsFor::Time => @if let Some(at) = place.not_before { "starts after " (moment(at)) } @else { "waiting for its start time" },
            WaitsFor::Hold => @if let Some(hold) = &place.hold {
                (hold.detail) @for hint in &hold.hints { br; "→ " (hint) }
            } @else {
                "the queue is on hold"
            },
        }
    }
}
