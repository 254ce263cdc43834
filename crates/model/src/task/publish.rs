//! Publishing a task: which requests are allowed, and what follows from each step.
//!
//! Each step is idempotent, and is recorded before the next one starts. An interrupted publication continues at the first step
//! that is not recorded, and recognizes what is already done. Events of an older request change nothing.

use jiff::Timestamp;

use super::decision::{TaskDecision, TaskEffect, changed};
use super::record::TaskRecord;
use super::refusal::Refusal;
use crate::decision::Decision;
use crate::ids::ObjectId;
use crate::publication::{Publication, PublicationStatus, Publish, PullRequest};
use crate::run::{RunEnd, RunError, RunRecord};

/// Something that happened to a publication.
#[derive(Debug, Clone, PartialEq)]
pub enum PublicationEvent {
    /// The remote branch is at this commit.
    Pushed {
        /// The request that the event belongs to.
        attempt: u32,
        /// The commit.
        sha: ObjectId,
    },
    /// The pull request was found or created, and is open.
    Opened {
        /// The request that the event belongs to.
        attempt: u32,
        /// The pull request.
        pull_request: Box<PullRequest>,
        /// A note for people.
        note: Option<String>,
    },
    /// The server cannot open a pull request for this repository. A person must open it manually.
    LeftToHand {
        /// The request that the event belongs to.
        attempt: u32,
        /// The reason.
        note: String,
    },
    /// The publication failed.
    Failed {
        /// The request that the event belongs to.
        attempt: u32,
        /// The error.
        error: RunError,
        /// The commit on the remote branch that blocked the push.
        remote_sha: Option<ObjectId>,
    },
    /// The server that was working on the publication has ended.
    Left,
    /// The Git host reported the current state of the pull request.
    Seen {
        /// The pull request.
        pull_request: Box<PullRequest>,
    },
}

/// Accepts or rejects a request to publish. Repeating the same request while it is in progress changes nothing.
pub(super) fn publish(
    task: &TaskRecord,
    asked: Publish,
    compare_url: Option<String>,
    now: Timestamp,
) -> Result<TaskDecision, Refusal> {
    if task.removing {
        return Err(Refusal::Removing);
    }
    if task.last_run().is_active() {
        return Err(Refusal::RunActive);
    }
    if !task.runs.iter().filter_map(RunRecord::end).any(|RunEnd { commit, .. }| commit.is_some()) {
        return Err(Refusal::NothingToPublish);
    }
    let mut record = task.clone();
    let before = record.publication.take();
    if let Some(before) = before.as_ref().filter(|before| before.status.is_under_way() && before.asked == asked) {
        let effects = vec![TaskEffect::Publish { attempt: before.attempt }];
        return Ok(Decision::keep(task.clone(), effects));
    }
    let attempt = before.as_ref().map_or(1, |before| before.attempt.saturating_add(1));
    let (pushed_sha, pushed_at, remote_sha, pull_request) = before
        .map_or((None, None, None, None), |before| (before.pushed_sha, before.pushed_at, before.remote_sha, before.pull_request));
    record.publication = Some(Box::new(Publication {
        attempt,
        status: PublicationStatus::Pushing,
        asked,
        asked_at: now,
        error: None,
        note: None,
        pushed_sha,
        pushed_at,
        remote_sha,
        compare_url,
        pull_request,
    }));
    Ok(changed(record, now, vec![TaskEffect::Publish { attempt }]))
}

/// Decides what follows from an event of a publication.
pub(super) fn published(task: &TaskRecord, event: PublicationEvent, now: Timestamp) -> TaskDecision {
    let nothing = Decision::keep(task.clone(), vec![]);
    let mut record = task.clone();
    let Some(publication) = record.publication.as_deref_mut() else { return nothing };
    let fits = |attempt: u32| attempt == publication.attempt && publication.status.is_under_way();
    let effects = match event {
        PublicationEvent::Pushed { attempt, sha } if fits(attempt) => {
            publication.pushed_sha = Some(sha);
            publication.pushed_at = Some(now);
            publication.remote_sha = None;
            if publication.asked.pull_request {
                publication.status = PublicationStatus::Opening;
                vec![TaskEffect::Publish { attempt }]
            } else {
                publication.status = PublicationStatus::Done;
                vec![]
            }
        }
        PublicationEvent::Opened { attempt, pull_request, note } if fits(attempt) => {
            take_in(publication, *pull_request);
            publication.status = PublicationStatus::Done;
            publication.note = note;
            vec![]
        }
        PublicationEvent::LeftToHand { attempt, note } if fits(attempt) => {
            publication.status = PublicationStatus::Done;
            publication.note = Some(note);
            vec![]
        }
        PublicationEvent::Failed { attempt, error, remote_sha } if fits(attempt) => {
            publication.status = PublicationStatus::Failed;
            publication.error = Some(error);
            publication.remote_sha = remote_sha.or(publication.remote_sha.take());
            vec![]
        }
        PublicationEvent::Left if publication.status.is_under_way() => {
            return Decision { effects: vec![TaskEffect::Publish { attempt: publication.attempt }], ..nothing };
        }
        PublicationEvent::Seen { pull_request } => {
            let is_ours = publication.pull_request.as_ref().is_some_and(|known| known.number == pull_request.number);
            if !is_ours {
                return nothing;
            }
            take_in(publication, *pull_request);
            // If the Git host reports nothing new, the task does not change.
            if record == *task {
                return nothing;
            }
            vec![]
        }
        PublicationEvent::Pushed { .. }
        | PublicationEvent::Opened { .. }
        | PublicationEvent::LeftToHand { .. }
        | PublicationEvent::Failed { .. }
        | PublicationEvent::Left => return nothing,
    };
    changed(record, now, effects)
}

fn take_in(publication: &mut Publication, seen: PullRequest) {
    publication.pull_request = Some(match publication.pull_request.take().filter(|known| known.number == seen.number) {
        Some(known) => known.updated(seen),
        None => seen,
    });
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::super::{TaskEvent, TaskRequest, decide, request};
    use super::*;
    use crate::error_code::ErrorCode;
    use crate::policy::RunPolicy;
    use crate::publication::samples::pull_request;

    const PUSH: TaskEffect = TaskEffect::Publish { attempt: 1 };

    fn wants(pull_request: bool) -> Publish {
        Publish { pull_request, ..Publish::default() }
    }

    fn asked(task: &TaskRecord, what: Publish) -> TaskDecision {
        request(task, TaskRequest::Publish(Box::new(what), None), samples::later()).expect("the request is accepted")
    }

    fn after(task: &TaskRecord, event: PublicationEvent) -> TaskDecision {
        decide(task, TaskEvent::Publication(event), &RunPolicy::default(), samples::later())
    }

    fn of(record: &TaskRecord) -> &Publication {
        record.publication.as_deref().expect("the task is published")
    }

    fn opened() -> PublicationEvent {
        PublicationEvent::Opened { attempt: 1, pull_request: Box::new(pull_request()), note: None }
    }

    #[test]
    fn a_push_and_a_pull_request_are_two_recorded_steps() {
        let begun = asked(&samples::completed(), wants(true));
        assert_eq!((of(&begun.record).status, &begun.effects[..]), (PublicationStatus::Pushing, &[PUSH][..]));
        let pushed = after(&begun.record, PublicationEvent::Pushed { attempt: 1, sha: samples::sha('b') });
        assert_eq!((of(&pushed.record).status, &pushed.effects[..]), (PublicationStatus::Opening, &[PUSH][..]));
        let done = after(&pushed.record, opened());
        assert_eq!((of(&done.record).status, done.effects), (PublicationStatus::Done, vec![]));
        assert_eq!(of(&done.record).pull_request.as_ref().map(|found| found.number), Some(7));
    }

    #[test]
    fn a_push_alone_is_done_when_it_arrived() {
        let begun = asked(&samples::completed(), wants(false));
        let pushed = after(&begun.record, PublicationEvent::Pushed { attempt: 1, sha: samples::sha('b') });
        assert_eq!((of(&pushed.record).status, pushed.effects), (PublicationStatus::Done, vec![]));
    }

    #[test]
    fn asking_for_the_same_twice_is_one_publication() {
        let begun = asked(&samples::completed(), wants(true)).record;
        let again = asked(&begun, wants(true));
        assert_eq!((&again.record, again.effects), (&begun, vec![PUSH]));
        let other = asked(&begun, wants(false));
        assert_eq!((of(&other.record).attempt, other.effects), (2, vec![TaskEffect::Publish { attempt: 2 }]));
        assert_eq!(after(&other.record, opened()).record, other.record, "events of the first request change nothing");
    }

    #[test]
    fn what_was_left_by_a_server_that_is_gone_goes_on() {
        let begun = asked(&samples::completed(), wants(true)).record;
        assert_eq!(after(&begun, PublicationEvent::Left).effects, vec![PUSH]);
        let failed = PublicationEvent::Failed {
            attempt: 1,
            error: RunError::new(ErrorCode::PushFailed, "y"),
            remote_sha: Some(samples::sha('e')),
        };
        let failed = after(&begun, failed).record;
        assert_eq!(after(&failed, PublicationEvent::Left).effects, vec![]);
        assert_eq!((of(&failed).status, of(&failed).remote_sha.as_ref()), (PublicationStatus::Failed, Some(&samples::sha('e'))));
        let again = asked(&failed, wants(true));
        assert_eq!((of(&again.record).attempt, of(&again.record).error.as_ref()), (2, None));
    }

    #[test]
    fn nothing_is_published_while_a_run_is_active_or_when_there_is_nothing() {
        let mut empty = samples::completed();
        empty.runs[0].phase = crate::run::RunPhase::Ended(Box::new(RunEnd { commit: None, ..samples::success() }));
        let mut removing = samples::completed();
        removing.removing = true;
        for (task, why) in
            [(samples::running(), Refusal::RunActive), (empty, Refusal::NothingToPublish), (removing, Refusal::Removing)]
        {
            let asked = TaskRequest::Publish(Box::default(), None);
            assert_eq!(request(&task, asked, samples::later()).expect_err("the request is rejected"), why);
        }
    }

    #[test]
    fn what_the_forge_says_changes_the_record_only_when_it_is_new() {
        let begun = asked(&samples::completed(), wants(true)).record;
        let pushed = after(&begun, PublicationEvent::Pushed { attempt: 1, sha: samples::sha('b') }).record;
        let done = after(&pushed, opened()).record;
        let same = after(&done, PublicationEvent::Seen { pull_request: Box::new(pull_request()) });
        assert_eq!((&same.record, same.effects), (&done, vec![]));
        let merged = PullRequest { state: crate::publication::PullRequestState::Merged, ..pull_request() };
        let seen = after(&done, PublicationEvent::Seen { pull_request: Box::new(merged.clone()) }).record;
        assert_eq!(of(&seen).pull_request.as_ref().map(|found| found.state), Some(merged.state));
        let foreign = PullRequest { number: 8, ..merged };
        assert_eq!(after(&done, PublicationEvent::Seen { pull_request: Box::new(foreign) }).record, done);
    }
}
