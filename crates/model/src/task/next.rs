//! Decides what follows a run automatically: a retry, a resumption after an interruption, or the next follow-up.
//!
//! At most one of these follows a run, and nothing follows a stop: the person who stopped the task decides how it continues.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo, Timestamp};

use super::record::{NewRun, TaskRecord};
use crate::error_code::{ErrorCode, Retry};
use crate::names::Prompt;
use crate::policy::RunPolicy;
use crate::run::{RunCause, RunError, RunOutcome, RunRecord};

/// The wait before the first retry. It doubles with every further retry.
const FIRST_WAIT: Duration = Duration::from_secs(30);

/// The maximum wait before a retry if no reset time is known.
const LONGEST_WAIT: Duration = Duration::from_mins(15);

/// The maximum time until a reset that a retry waits for. If the reset is later, a person decides.
const LONGEST_RESET: Duration = Duration::from_hours(8 * 24);

/// The maximum length of a duration in a message.
const LONGEST_DURATION_BYTES: usize = 64;

/// The maximum number of resumptions in a row. A run that crashes its machine must not be restarted forever.
const RESUMPTIONS: usize = 3;

/// Queues the run that follows the last run, which has just ended.
pub(super) fn go_on(task: &mut TaskRecord, policy: &RunPolicy, now: Timestamp) {
    if task.removing {
        return;
    }
    let Some(end) = task.last_run().end() else { return };
    match &end.outcome {
        RunOutcome::Completed if task.thread_id.is_some() => task.begin_follow_up(now),
        RunOutcome::Failed(error) => retry(task, &error.clone(), policy, now),
        RunOutcome::Interrupted(_) if policy.resume_interrupted == Some(true) => {
            if in_a_row(task, RunCause::Interruption) < RESUMPTIONS {
                again(task, RunCause::Interruption, &interrupted(None), None, now);
            }
        }
        RunOutcome::Completed | RunOutcome::Stopped | RunOutcome::Interrupted(_) => {}
    }
}

fn retry(task: &mut TaskRecord, error: &RunError, policy: &RunPolicy, now: Timestamp) {
    let before = in_a_row(task, RunCause::Retry);
    if before >= policy.retries as usize {
        return;
    }
    let told = reset_in(&error.message);
    let wait = match error.code.known().map_or(Retry::Never, ErrorCode::retry) {
        Retry::Backoff => told.unwrap_or(backoff(before)),
        Retry::SlowBackoff => told.unwrap_or(2 * backoff(before)),
        // Without a reset time, the limit may last a week.
        Retry::AtReset => match told {
            Some(told) => told,
            None => return,
        },
        Retry::Never => return,
    };
    if wait > LONGEST_RESET {
        return;
    }
    let not_before = now.checked_add(wait).ok();
    again(task, RunCause::Retry, &interrupted(Some(error.code.as_str())), None, now);
    task.last_run_mut().not_before = not_before;
}

/// Queues a retry that somebody requested. Returns whether there was something to retry, i.e. whether the last run failed or was
/// interrupted.
pub(super) fn retry_now(task: &mut TaskRecord, idempotency_key: Option<String>, now: Timestamp) -> bool {
    let note = match task.last_run().end().map(|end| &end.outcome) {
        Some(RunOutcome::Failed(error)) => interrupted(Some(error.code.as_str())),
        Some(RunOutcome::Interrupted(_)) => interrupted(None),
        Some(RunOutcome::Completed | RunOutcome::Stopped) | None => return false,
    };
    again(task, RunCause::Retry, &note, idempotency_key, now);
    true
}

/// Returns the note that asks the agent to continue an interrupted turn. The thread contains the original prompt.
fn interrupted(code: Option<&str>) -> String {
    let reason = code.map(|code| format!(" ({})", code.replace('_', " "))).unwrap_or_default();
    format!(
        "Your previous turn was interrupted{reason} before it finished. Review the current state of the working tree, then continue the original task."
    )
}

fn backoff(before: usize) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << before.min(10));
    doubled.min(LONGEST_WAIT)
}

/// Counts how many of the latest runs in a row have this cause.
fn in_a_row(task: &TaskRecord, cause: RunCause) -> usize {
    task.runs.iter().rev().take_while(|run| run.cause == cause).count()
}

/// Queues another run for the same prompt. If the thread already contains the prompt, the new run gets only a note to continue;
/// otherwise it gets the prompt and its images again.
fn again(task: &mut TaskRecord, cause: RunCause, note: &str, idempotency_key: Option<String>, now: Timestamp) {
    let asked = task.runs.iter().rev().find(|run| matches!(run.cause, RunCause::Asked | RunCause::FollowUp));
    let RunRecord { prompt, images, model, effort, priority, number, .. } = asked.unwrap_or(task.last_run()).clone();
    let began = task.thread_id.is_some() && task.runs.iter().any(|run| run.number >= number && run.turn_started);
    let (prompt, images) = match Prompt::parse(note) {
        Ok(note) if began => (note, vec![]),
        Ok(_) | Err(_) => (prompt, images),
    };
    task.queue(NewRun { prompt, images, model, effort, priority, idempotency_key }, cause, now);
}

/// Finds the time in a message such as `try again in 1m30s`, `in 6 hours 5 minutes` or `in 0.2s`.
fn reset_in(message: &str) -> Option<Duration> {
    let message = message.to_ascii_lowercase();
    let (_, rest) = message.split_once("again in ")?;
    let words = rest.replace(" and ", " ");
    let words = &words[..words.floor_char_boundary(LONGEST_DURATION_BYTES)];
    // The message may continue after the time, so the longest beginning that is a duration counts.
    let is_end = |end: &usize| !words[*end..].starts_with(|next: char| next.is_ascii_alphanumeric());
    let mut ends = (1..=words.len()).rev().filter(|end| words.is_char_boundary(*end)).filter(is_end);
    let span = ends.find_map(|end| words[..end].parse::<Span>().ok())?;
    let time = Duration::try_from(span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?).ok()?;
    // Round up, and add one second, because the message may have rounded the time.
    Some(Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0) + 1))
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::run::{RunEnd, RunPhase, RunStatus};

    fn failed(code: ErrorCode, message: &str) -> RunOutcome {
        RunOutcome::Failed(RunError::new(code, message))
    }

    fn interrupted() -> RunOutcome {
        RunOutcome::Interrupted(RunError::new(ErrorCode::Interrupted, "gone"))
    }

    fn ended(outcome: RunOutcome) -> TaskRecord {
        let mut task = samples::completed();
        end(&mut task, outcome);
        task
    }

    fn end(task: &mut TaskRecord, outcome: RunOutcome) {
        let RunPhase::Ended(how) = samples::completed().runs.remove(0).phase else { panic!("the run has ended") };
        task.last_run_mut().phase = RunPhase::Ended(Box::new(RunEnd { outcome, ..*how }));
    }

    fn policy(retries: u32) -> RunPolicy {
        RunPolicy { retries, ..RunPolicy::default() }
    }

    fn seconds_to_wait(task: &TaskRecord) -> Option<i64> {
        let run = task.last_run();
        (run.status() == RunStatus::Queued)
            .then(|| run.not_before.map_or(0, |time| time.as_second() - samples::later().as_second()))
    }

    #[test]
    fn the_notes_to_the_agent_read_as_reviewed() {
        let notes = [super::interrupted(Some("network")), super::interrupted(None)];
        insta::assert_snapshot!("interrupted_turn_prompt", notes.join("\n---\n"));
    }

    #[test]
    fn what_passes_is_tried_again_as_often_as_was_asked() {
        let mut task = ended(failed(ErrorCode::Network, "stream disconnected"));
        for wait in [30, 60, 120] {
            go_on(&mut task, &policy(3), samples::later());
            assert_eq!((seconds_to_wait(&task), task.last_run().cause), (Some(wait), RunCause::Retry));
            assert!(task.last_run().prompt.as_str().ends_with("then continue the original task."));
            end(&mut task, failed(ErrorCode::Network, "stream disconnected"));
        }
        go_on(&mut task, &policy(3), samples::later());
        assert_eq!(task.runs.len(), 4, "the run is retried three times");
    }

    #[test]
    fn what_does_not_pass_is_not_tried_again_and_nothing_is_unless_asked() {
        for code in [
            ErrorCode::Unauthorized,
            ErrorCode::Config,
            ErrorCode::TimeLimit,
            ErrorCode::CommitFailed,
            ErrorCode::ContextWindow,
            ErrorCode::UsageLimit,
        ] {
            let mut task = ended(failed(code, "no"));
            go_on(&mut task, &policy(10), samples::later());
            assert_eq!(task.runs.len(), 1, "{code}");
        }
        for outcome in [failed(ErrorCode::Network, "x"), interrupted(), RunOutcome::Stopped, RunOutcome::Completed] {
            let mut task = ended(outcome);
            go_on(&mut task, &RunPolicy::default(), samples::later());
            assert_eq!(task.runs.len(), 1);
        }
    }

    #[test]
    fn a_time_is_found_in_a_message() {
        let check = |words: &str, expect: Option<u64>| {
            assert_eq!(reset_in(&format!("Please try again in {words}")).map(|time| time.as_secs()), expect, "{words}");
        };
        for words in ["20s", "20s.", "20 s, or later", "20 sec or so", "20 seconds. Visit https://x.example/5m.", "19.2s", "20s…"]
        {
            check(words, Some(21));
        }
        check("418ms", Some(2));
        check("418 milliseconds", Some(2));
        check("1m30s", Some(91));
        check("1 min 30 sec", Some(91));
        check("1.5 minutes", Some(91));
        check("1.5h", Some(5401));
        check("6 HOURS 5 Minutes", Some(6 * 3600 + 301));
        check("1 day, 2 hours, and 3 minutes", Some(26 * 3600 + 181));
        check("0s", Some(1));
        check(&format!("20s {}", "é".repeat(1000)), Some(21));
        for words in ["a while", "", "20", "5 moons", "3 months", "-5 minutes", "5 minutes ago", "99999999999999999999s"] {
            check(words, None);
        }
    }

    #[test]
    fn a_limit_is_waited_for_when_its_end_is_said() {
        for (code, message, wait) in [
            (ErrorCode::RateLimited, "Rate limit reached. Please try again in 20s.", Some(21)),
            (ErrorCode::RateLimited, "Please try again in 0.2s.", Some(2)),
            (ErrorCode::RateLimited, "Please try again in 1m30s.", Some(91)),
            (ErrorCode::RateLimited, "slow down", Some(60)),
            (
                ErrorCode::UsageLimit,
                "You've hit your usage limit. Try again in 3 days 4 hours 5 minutes.",
                Some(3 * 86400 + 4 * 3600 + 301),
            ),
            (ErrorCode::UsageLimit, "Try again in 1 hour and 2 minutes", Some(3721)),
            (ErrorCode::UsageLimit, "Try again at 3 PM", None),
            (ErrorCode::UsageLimit, "try again in 30 days", None),
            (ErrorCode::Network, "again in a while", Some(30)),
        ] {
            let mut task = ended(failed(code, message));
            go_on(&mut task, &policy(1), samples::later());
            assert_eq!(seconds_to_wait(&task), wait, "{message}");
        }
    }

    #[test]
    fn a_run_that_never_began_is_asked_the_same_again() {
        let mut task = ended(failed(ErrorCode::FetchFailed, "the remote does not answer"));
        task.thread_id = None;
        task.runs[0].turn_started = false;
        task.runs[0].images = vec![samples::image("a.png")];
        let asked = task.runs[0].prompt.clone();
        go_on(&mut task, &policy(1), samples::later());
        assert_eq!((&task.last_run().prompt, task.last_run().resumes), (&asked, None));
        assert_eq!(task.last_run().images, task.runs[0].images, "the thread does not contain the images");
    }

    #[test]
    fn what_was_cut_off_goes_on_if_that_is_wanted_but_not_for_ever() {
        let wanted = RunPolicy { resume_interrupted: Some(true), ..RunPolicy::default() };
        let mut task = ended(interrupted());
        for _ in 0..2 * RESUMPTIONS {
            go_on(&mut task, &wanted, samples::later());
            if task.last_run().is_active() {
                assert_eq!((task.last_run().cause, task.last_run().resumes), (RunCause::Interruption, task.thread_id));
                end(&mut task, interrupted());
            }
        }
        assert_eq!(task.runs.len(), 1 + RESUMPTIONS);
    }

    #[test]
    fn the_next_follow_up_runs_after_a_run_that_went_well_and_after_no_other() {
        let follow_up = |number: u32| crate::task::FollowUp {
            number,
            prompt: Prompt::parse(&format!("more {number}")).expect("the prompt is valid"),
            images: vec![samples::image(&format!("{number}.png"))],
            model: None,
            effort: None,
            priority: crate::queue::Priority::High,
            idempotency_key: None,
            asked_at: samples::now(),
        };
        let with = |outcome| {
            let mut task = ended(outcome);
            task.follow_ups = vec![follow_up(1), follow_up(2)];
            go_on(&mut task, &RunPolicy::default(), samples::later());
            task
        };
        let task = with(RunOutcome::Completed);
        let run = task.last_run();
        assert_eq!((run.prompt.as_str(), run.cause, task.follow_ups.len()), ("more 1", RunCause::FollowUp, 1));
        assert_eq!(run.images, [samples::image("1.png")]);
        for outcome in [RunOutcome::Stopped, failed(ErrorCode::Config, "x"), interrupted()] {
            assert_eq!(with(outcome).follow_ups.len(), 2, "follow-ups wait for a person");
        }
    }

    #[test]
    fn a_task_on_its_way_out_does_not_go_on() {
        let mut task = ended(failed(ErrorCode::Network, "x"));
        task.removing = true;
        go_on(&mut task, &policy(3), samples::later());
        assert_eq!(task.runs.len(), 1);
    }
}
