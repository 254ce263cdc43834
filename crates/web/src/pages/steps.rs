//! How far a run is before its agent says anything: queued, fetching, worktree, starting, each with a tick when it is done.
//! It is read from the record and the queue alone; nothing is guessed about time.

use std::cmp::Ordering;

use engine::git::ProgressPhase;
use maud::{Markup, html};
use model::api::TaskView;
use model::queue::{QueuePlace, WaitsFor};
use model::run::{RunFile, RunStatus};

use super::layout::age;

/// The step that a run is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Queued,
    Fetching,
    Worktree,
    Starting,
}

const ALL: [(Step, &str); 4] = [
    (Step::Queued, "queued"),
    (Step::Fetching, "newest commits"),
    (Step::Worktree, "worktree"),
    (Step::Starting, "start of Codex"),
];

fn step(view: &TaskView, run: &RunFile) -> Option<Step> {
    match run.status {
        RunStatus::Queued => Some(Step::Queued),
        RunStatus::Preparing => Some(preparing(view)),
        // The thread is the first that an agent says.
        RunStatus::Running if run.thread_id.is_none() => Some(Step::Starting),
        RunStatus::Running
        | RunStatus::Stopping
        | RunStatus::Completed
        | RunStatus::Failed
        | RunStatus::Stopped
        | RunStatus::Interrupted => None,
    }
}

/// A task without a commit to start from is on its way to one, until files are written.
fn preparing(view: &TaskView) -> Step {
    let phase = view.progress.as_ref().map(|progress| progress.phase.as_str());
    let writes = [ProgressPhase::Updating, ProgressPhase::Filtering].iter().any(|writing| phase == Some(writing.as_str()));
    if view.meta.base_sha.is_some() || writes { Step::Worktree } else { Step::Fetching }
}

/// The steps of a run that has not begun to speak; nothing for any other.
pub(super) fn steps(view: &TaskView) -> Markup {
    let at = view.meta.runs.last().and_then(|run| step(view, run));
    html! {
        @if let Some(at) = at {
            ol.steps aria-label="On the way" {
                @for (one, words) in ALL {
                    @let (shape, word) = match one.cmp(&at) {
                        Ordering::Less => ("✓", "done"),
                        Ordering::Equal => ("◔", "now"),
                        Ordering::Greater => ("○", "to come"),
                    };
                    li class=(word.replace(' ', "-")) aria-current=[(one == at).then_some("step")] {
                        span aria-hidden="true" { (shape) } " " (words) span.visually-hidden { ", " (word) }
                        @if one == at { (details(at, view)) }
                    }
                }
            }
            noscript { p.quiet { "Load the page again to see how far it is." } }
        }
    }
}

fn details(at: Step, view: &TaskView) -> Markup {
    html! {
        @if at == Step::Queued {
            @if let Some(place) = &view.queue { ": " (waits(place)) }
        } @else if let Some(progress) = &view.progress {
            ": " (progress.phase)
            @if let Some(percent) = progress.percent { " " (percent) " % " progress max="100" value=(percent) aria-label=(progress.phase) {} }
        }
    }
}

/// Where it is in the queue, and what for.
fn waits(place: &QueuePlace) -> Markup {
    html! {
        "number " (place.position) ", "
        @match place.waits_for {
            WaitsFor::Answer => "until you answer",
            WaitsFor::Turn => "until another run has ended",
            WaitsFor::EnvironmentLimit => "until another run of this repository has ended",
            WaitsFor::EnvironmentPaused => "until its repository is no longer paused",
            WaitsFor::Time => { "not before " @if let Some(at) = place.not_before { (age(at)) } @else { "its time" } },
            WaitsFor::Hold => {
                "held back"
                @if let Some(hold) = &place.hold { ": " (hold.detail) @for hint in &hold.hints { br; "→ " (hint) } }
            },
        }
    }
}
