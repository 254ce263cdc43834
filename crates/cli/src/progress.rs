//! Shows the progress of a clone or a checkout on stderr: a bar in a terminal, otherwise a line for each phase.
//! The bar disappears when the operation ends.

use std::cell::RefCell;
use std::time::Duration;

use client::Client;
use indicatif::{ProgressBar, ProgressStyle};
use model::ids::{RunNumber, TaskId};
use model::problem::Problem;
use model::queue::{QueuePlace, WaitsFor};
use model::run::RunStatus;
use protocol::{FeedQuery, Progress, TaskView};

use crate::commands::task_answer;
use crate::printer;

/// A progress display.
pub(crate) struct Meter {
    bar: Option<ProgressBar>,
    last: RefCell<String>,
}

impl Meter {
    pub(crate) fn new() -> Self {
        let bar = printer::shows_progress().then(|| {
            let bar = ProgressBar::new(100);
            if let Ok(style) = ProgressStyle::with_template("{msg:<24} [{bar:32}] {pos:>3}%") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        Self { bar, last: RefCell::default() }
    }

    pub(crate) fn show(&self, progress: &Progress) {
        if let Some(bar) = &self.bar {
            bar.enable_steady_tick(Duration::from_millis(100));
            bar.set_message(progress.phase.clone());
            bar.set_position(progress.percent.unwrap_or_default().into());
        } else if *self.last.borrow() != progress.phase {
            printer::remark(format!("{} …", progress.phase));
            self.last.replace(progress.phase.clone());
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Shows the progress of creating a run's worktree until the run has started or ended.
pub(crate) async fn until_begun(client: &Client, task: TaskId, run: RunNumber) -> Result<(), Problem> {
    if !is_waiting(&client.show_task(task).await?, run) {
        return Ok(());
    }
    // Subscribe before reading the state again, so that no change is missed.
    let mut feed = client.follow_changes(&FeedQuery::default()).await?;
    let meter = Meter::new();
    let mut asked = None;
    loop {
        let now = client.show_task(task).await?;
        if !is_waiting(&now, run) {
            return Ok(());
        }
        let question = now.question.as_ref();
        if let Some(question) = question.filter(|question| asked.replace(question.number) != Some(question.number)) {
            task_answer::lines(question, task).iter().for_each(printer::remark);
        }
        now.progress.iter().for_each(|progress| meter.show(progress));
        if feed.next().await.is_err() {
            // Only the progress display stops. The caller notices if the server is gone.
            return Ok(());
        }
    }
}

fn is_waiting(task: &TaskView, run: RunNumber) -> bool {
    let found = task.runs.iter().find(|found| found.number == run);
    found.is_some_and(|run| match run.status {
        RunStatus::Queued | RunStatus::Preparing => true,
        RunStatus::Running
        | RunStatus::Stopping
        | RunStatus::Completed
        | RunStatus::Failed
        | RunStatus::Stopped
        | RunStatus::Interrupted => false,
    })
}

/// Describes what a run waits for.
pub(crate) fn reason(place: &QueuePlace) -> String {
    match place.waits_for {
        WaitsFor::Answer => "your answer".to_owned(),
        WaitsFor::Turn => "its turn".to_owned(),
        WaitsFor::EnvironmentLimit => "another run of its repository".to_owned(),
        WaitsFor::Memory => "memory that other runs and setups may use".to_owned(),
        WaitsFor::Setup => "the setup of its repository".to_owned(),
        WaitsFor::SetupAnswer => "an answer about the setup of its repository, which failed".to_owned(),
        WaitsFor::EnvironmentPaused => "its repository, which is paused".to_owned(),
        WaitsFor::Time => {
            place.not_before.map_or_else(|| "its start time".to_owned(), |time| time.strftime("%H:%M:%S UTC").to_string())
        }
        WaitsFor::Hold => place.hold.as_ref().map_or_else(|| "the server".to_owned(), |hold| hold.detail.clone()),
    }
}

#[cfg(test)]
mod tests {
    use model::ErrorCode;

    use super::*;

    #[test]
    fn without_a_terminal_each_phase_is_one_line() {
        let meter = Meter { bar: None, last: RefCell::default() };
        for (phase, percent) in [("Receiving objects", 1), ("Receiving objects", 99), ("Checking out files", 5)] {
            meter.show(&Progress { phase: phase.to_owned(), percent: Some(percent) });
            assert_eq!(*meter.last.borrow(), phase);
        }
    }

    #[test]
    fn the_reason_names_what_a_run_waits_for() {
        let place = |waits_for| QueuePlace {
            position: 1,
            waits_for,
            not_before: Some(jiff::Timestamp::UNIX_EPOCH),
            hold: Some(model::queue::Blocker { code: ErrorCode::DiskLow.into(), detail: "no room".to_owned(), hints: vec![] }),
        };
        assert_eq!(reason(&place(WaitsFor::Time)), "00:00:00 UTC");
        assert_eq!(reason(&place(WaitsFor::Hold)), "no room");
        assert!(reason(&place(WaitsFor::EnvironmentPaused)).contains("paused"));
    }

    #[test]
    fn every_reason_is_said_in_words() {
        let place = |waits_for| QueuePlace { position: 1, waits_for, not_before: None, hold: None };
        for (waits_for, expect) in [
            (WaitsFor::Answer, "your answer"),
            (WaitsFor::Turn, "its turn"),
            (WaitsFor::EnvironmentLimit, "another run of its repository"),
            (WaitsFor::Memory, "memory that other runs and setups may use"),
            (WaitsFor::EnvironmentPaused, "its repository, which is paused"),
            (WaitsFor::Time, "its start time"),
            (WaitsFor::Hold, "the server"),
        ] {
            assert_eq!(reason(&place(waits_for)), expect);
        }
    }

    #[test]
    fn only_a_run_that_has_not_started_is_waited_for() {
        let with = |status: &str| {
            crate::tests::samples::task(&[crate::tests::samples::run(1, status, serde_json::json!({}))], serde_json::json!({}))
        };
        for (status, expect) in [
            ("queued", true),
            ("preparing", true),
            ("running", false),
            ("stopping", false),
            ("completed", false),
            ("failed", false),
            ("stopped", false),
            ("interrupted", false),
        ] {
            assert_eq!(is_waiting(&with(status), RunNumber::FIRST), expect, "{status}");
        }
        assert!(!is_waiting(&with("queued"), RunNumber(2)), "a run that does not exist is not waited for");
    }
}
