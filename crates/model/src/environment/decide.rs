//! Decides what follows from a request or an event about a repository.
//!
//! All functions are total and do no I/O. The caller writes the record first and then performs the effects.

use jiff::Timestamp;

use super::record::{EnvironmentRecord, EnvironmentStatus};
use crate::decision::Decision;
use crate::names::{BranchName, RepositoryUrl};
use crate::run::RunError;
use crate::setup::{SetupEdition, SetupGoal, SetupOutcome, SetupSettings, SetupState};

/// An action to perform. Every action is idempotent: performing it twice is harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvironmentEffect {
    /// Ensure that the repository is cloned. Results in `Cloned` or `CloneFailed`.
    Clone,
    /// Ensure that the mirror follows the recorded settings: its default branch, and how much history it has.
    FollowSettings,
    /// Ensure that the repository's tasks are removed and that its clone has ended. Results in `Vacated`.
    Vacate,
    /// Tell everybody that the repository is gone.
    CleanUp,
    /// Ensure that the setup that the record calls running has run. Results in `SetupEnded`.
    SetUp,
    /// Send the notification that the setup failed. Results in `SetupNotified`.
    Notify,
}

/// Something that happened to a repository.
#[derive(Debug, Clone, PartialEq)]
pub enum EnvironmentEvent {
    /// Somebody added the repository.
    Created(Box<EnvironmentRecord>),
    /// Somebody restored the repository from the trash.
    Restored(Box<EnvironmentRecord>),
    /// The mirror is complete.
    Cloned {
        /// The branch that tasks start from.
        default_branch: BranchName,
    },
    /// The clone failed. Nothing of it is left.
    CloneFailed(RunError),
    /// The server that was cloning the repository has ended.
    CloneLost,
    /// A removal was started but not finished.
    RemovalLeft,
    /// The tasks of the removed repository are gone, and nothing works on its mirror any more.
    Vacated,
    /// A task needs a snapshot that does not exist.
    SetupWanted(SetupGoal),
    /// The description of the environment cannot be used.
    SetupRefused {
        /// Identifies the description.
        goal: SetupGoal,
        /// What is wrong.
        error: RunError,
    },
    /// A setup ended.
    SetupEnded {
        /// The number of the attempt.
        number: u32,
        /// How it ended.
        outcome: SetupOutcome,
    },
    /// The server that ran a setup has ended.
    SetupLost,
    /// The notification that a setup failed was sent.
    SetupNotified {
        /// The number of the attempt.
        number: u32,
    },
    /// The server that was sending a notification has ended.
    SetupNoticeLeft,
}

/// A request from a user.
#[derive(Debug, Clone, PartialEq)]
pub enum EnvironmentRequest {
    /// Replace the settings. The status, the error and the times of the given record are ignored.
    Edit(Box<EnvironmentRecord>),
    /// Allow submodules from these URLs.
    AllowSources(Vec<RepositoryUrl>),
    /// Retry a failed clone. Repeating the request is harmless.
    Retry,
    /// Remove the repository's tasks and then the repository. Repeating the request is harmless.
    Remove,
    /// Replace the owner's decisions about the setup.
    EditSetup(SetupSettings),
    /// Run a setup, even if one with this key failed or was skipped. A running setup continues.
    SetUp {
        /// What the setup is for.
        goal: SetupGoal,
        /// The edition of its key.
        edition: SetupEdition,
    },
    /// Start tasks without the setup that failed. Repeating the request is harmless.
    SkipSetup,
}

/// A new record of a repository and the effects that follow from it.
pub type EnvironmentDecision = Decision<EnvironmentRecord, EnvironmentEffect>;

fn changed(record: EnvironmentRecord, now: Timestamp, effects: Vec<EnvironmentEffect>) -> EnvironmentDecision {
    Decision::keep(EnvironmentRecord { updated_at: now, ..record }, effects)
}

/// Accepts a request, or returns `None` if the repository is being removed and the request does not fit.
pub fn request(record: &EnvironmentRecord, asked: EnvironmentRequest, now: Timestamp) -> Option<EnvironmentDecision> {
    let record = record.clone();
    Some(match (asked, record.status) {
        (EnvironmentRequest::Edit(edited), _) => {
            let (status, error, created_at) = (record.status, record.error, record.created_at);
            let (setup, setup_state) = (record.setup, record.setup_state);
            let edited = EnvironmentRecord { env_id: record.env_id, status, error, created_at, setup, setup_state, ..*edited };
            changed(edited, now, vec![EnvironmentEffect::FollowSettings])
        }
        (EnvironmentRequest::AllowSources(urls), _) => {
            let mut record = record;
            record.sources.allow(&urls);
            changed(record, now, vec![])
        }
        (EnvironmentRequest::EditSetup(setup), _) => changed(EnvironmentRecord { setup, ..record }, now, vec![]),
        (EnvironmentRequest::SetUp { goal, edition }, EnvironmentStatus::Ready) => {
            let state = record.setup_state.start(goal, edition, now);
            set_up(record, state, now)
        }
        (EnvironmentRequest::SkipSetup, EnvironmentStatus::Ready) => match record.setup_state.skip() {
            Some(setup_state) => changed(EnvironmentRecord { setup_state, ..record }, now, vec![]),
            None => Decision::keep(record, vec![]),
        },
        (
            EnvironmentRequest::SetUp { .. } | EnvironmentRequest::SkipSetup,
            EnvironmentStatus::Cloning | EnvironmentStatus::Failed | EnvironmentStatus::Removing,
        )
        | (EnvironmentRequest::Retry, EnvironmentStatus::Removing) => return None,
        (EnvironmentRequest::Retry, EnvironmentStatus::Failed) => {
            let record = EnvironmentRecord { status: EnvironmentStatus::Cloning, error: None, ..record };
            changed(record, now, vec![EnvironmentEffect::Clone])
        }
        (EnvironmentRequest::Retry, EnvironmentStatus::Cloning | EnvironmentStatus::Ready) => Decision::keep(record, vec![]),
        (EnvironmentRequest::Remove, EnvironmentStatus::Removing) => Decision::keep(record, vec![EnvironmentEffect::Vacate]),
        // A repository that was never cloned has no tasks and nothing on disk.
        (EnvironmentRequest::Remove, EnvironmentStatus::Failed) => {
            let record = EnvironmentRecord { status: EnvironmentStatus::Removing, updated_at: now, ..record };
            Decision::trash(record, vec![EnvironmentEffect::CleanUp])
        }
        (EnvironmentRequest::Remove, EnvironmentStatus::Cloning | EnvironmentStatus::Ready) => {
            let record = EnvironmentRecord { status: EnvironmentStatus::Removing, ..record };
            changed(record, now, vec![EnvironmentEffect::Vacate])
        }
    })
}

/// Decides what follows from an event about a repository that does not exist: it is added or restored, or nothing happens.
pub fn begin(event: EnvironmentEvent, now: Timestamp) -> Option<EnvironmentDecision> {
    match event {
        EnvironmentEvent::Created(record) => Some(Decision::keep(*record, vec![EnvironmentEffect::Clone])),
        EnvironmentEvent::Restored(record) => {
            let record = EnvironmentRecord { status: EnvironmentStatus::Ready, error: None, ..*record };
            Some(changed(record, now, vec![EnvironmentEffect::FollowSettings]))
        }
        EnvironmentEvent::Cloned { .. }
        | EnvironmentEvent::CloneFailed(_)
        | EnvironmentEvent::CloneLost
        | EnvironmentEvent::RemovalLeft
        | EnvironmentEvent::Vacated
        | EnvironmentEvent::SetupWanted(_)
        | EnvironmentEvent::SetupRefused { .. }
        | EnvironmentEvent::SetupEnded { .. }
        | EnvironmentEvent::SetupLost
        | EnvironmentEvent::SetupNotified { .. }
        | EnvironmentEvent::SetupNoticeLeft => None,
    }
}

/// Decides what follows from an event. An event that no longer fits changes nothing.
pub fn decide(record: &EnvironmentRecord, event: EnvironmentEvent, now: Timestamp) -> EnvironmentDecision {
    let record = record.clone();
    match (event, record.status) {
        (EnvironmentEvent::Cloned { default_branch }, EnvironmentStatus::Cloning) => {
            let default_branch = Some(default_branch);
            changed(EnvironmentRecord { status: EnvironmentStatus::Ready, error: None, default_branch, ..record }, now, vec![])
        }
        (EnvironmentEvent::CloneFailed(error), EnvironmentStatus::Cloning) => {
            changed(EnvironmentRecord { status: EnvironmentStatus::Failed, error: Some(error), ..record }, now, vec![])
        }
        (EnvironmentEvent::CloneLost, EnvironmentStatus::Cloning) => Decision::keep(record, vec![EnvironmentEffect::Clone]),
        (EnvironmentEvent::SetupWanted(goal), EnvironmentStatus::Ready) => {
            let state = record.setup_state.want(goal, now);
            set_up(record, state, now)
        }
        (EnvironmentEvent::SetupRefused { goal, error }, EnvironmentStatus::Ready) => {
            let state = record.setup_state.refuse(goal, error, now);
            set_up_ended(record, state, now)
        }
        (EnvironmentEvent::SetupEnded { number, outcome }, EnvironmentStatus::Ready) => {
            let state = record.setup_state.end(number, outcome, now);
            set_up_ended(record, state, now)
        }
        (EnvironmentEvent::SetupNotified { number }, _) => match record.setup_state.notified(number) {
            Some(setup_state) => Decision::keep(EnvironmentRecord { setup_state, ..record }, vec![]),
            None => Decision::keep(record, vec![]),
        },
        (EnvironmentEvent::SetupNoticeLeft, EnvironmentStatus::Ready) if record.setup_state.due_notice().is_some() => {
            Decision::keep(record, vec![EnvironmentEffect::Notify])
        }
        (EnvironmentEvent::SetupLost, EnvironmentStatus::Ready) if record.setup_state.running().is_some() => {
            Decision::keep(record, vec![EnvironmentEffect::SetUp])
        }
        (EnvironmentEvent::RemovalLeft, EnvironmentStatus::Removing) => Decision::keep(record, vec![EnvironmentEffect::Vacate]),
        (EnvironmentEvent::Vacated, EnvironmentStatus::Removing) => Decision::trash(record, vec![EnvironmentEffect::CleanUp]),
        (
            EnvironmentEvent::Created(_)
            | EnvironmentEvent::Restored(_)
            | EnvironmentEvent::Cloned { .. }
            | EnvironmentEvent::CloneFailed(_)
            | EnvironmentEvent::CloneLost
            | EnvironmentEvent::RemovalLeft
            | EnvironmentEvent::Vacated
            | EnvironmentEvent::SetupWanted(_)
            | EnvironmentEvent::SetupRefused { .. }
            | EnvironmentEvent::SetupEnded { .. }
            | EnvironmentEvent::SetupLost
            | EnvironmentEvent::SetupNoticeLeft,
            _,
        ) => Decision::keep(record, vec![]),
    }
}

/// Returns a repository whose setup starts, or the same repository if no setup starts.
fn set_up(record: EnvironmentRecord, state: Option<SetupState>, now: Timestamp) -> EnvironmentDecision {
    match state {
        Some(setup_state) => changed(EnvironmentRecord { setup_state, ..record }, now, vec![EnvironmentEffect::SetUp]),
        None => Decision::keep(record, vec![]),
    }
}

/// Returns a repository whose setup ended, or the same repository if the setup ended before. A failure is notified.
fn set_up_ended(record: EnvironmentRecord, state: Option<SetupState>, now: Timestamp) -> EnvironmentDecision {
    let Some(setup_state) = state else { return Decision::keep(record, vec![]) };
    let effects = setup_state.due_notice().map(|_| EnvironmentEffect::Notify).into_iter().collect();
    changed(EnvironmentRecord { setup_state, ..record }, now, effects)
}

/// Whether something about a repository may be unfinished.
pub fn is_unfinished(record: &EnvironmentRecord) -> bool {
    let state = &record.setup_state;
    let is_setting_up = record.status == EnvironmentStatus::Ready && (state.running().is_some() || state.due_notice().is_some());
    is_setting_up || matches!(record.status, EnvironmentStatus::Cloning | EnvironmentStatus::Removing)
}

/// Returns the events that must have happened if this process does not work on the repository.
pub fn reconcile(record: &EnvironmentRecord) -> Vec<EnvironmentEvent> {
    match record.status {
        EnvironmentStatus::Cloning => vec![EnvironmentEvent::CloneLost],
        EnvironmentStatus::Removing => vec![EnvironmentEvent::RemovalLeft],
        EnvironmentStatus::Ready if record.setup_state.running().is_some() => vec![EnvironmentEvent::SetupLost],
        EnvironmentStatus::Ready if record.setup_state.due_notice().is_some() => vec![EnvironmentEvent::SetupNoticeLeft],
        EnvironmentStatus::Ready | EnvironmentStatus::Failed => vec![],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::decision::Retention;
    use crate::error_code::ErrorCode;
    use crate::ids::EnvironmentId;
    use crate::names::Title;
    use crate::setup::{SetupScript, SnapshotKey};

    const ALL: [EnvironmentStatus; 4] =
        [EnvironmentStatus::Cloning, EnvironmentStatus::Ready, EnvironmentStatus::Failed, EnvironmentStatus::Removing];

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().expect("the time is valid")
    }

    fn failure() -> RunError {
        RunError::new(ErrorCode::CloneFailed, "no answer")
    }

    fn main() -> BranchName {
        BranchName::parse("main").expect("the branch is valid")
    }

    fn record(status: EnvironmentStatus) -> EnvironmentRecord {
        EnvironmentRecord {
            env_id: EnvironmentId::from_uuid(uuid::Uuid::from_u128(7)),
            name: Title::parse("app").expect("the name is valid"),
            repo_url: RepositoryUrl::parse("/srv/repo").expect("the URL is valid"),
            default_branch: None,
            status,
            error: Some(failure()).filter(|_| status == EnvironmentStatus::Failed),
            variables: BTreeMap::new(),
            secrets: BTreeMap::new(),
            former_secrets: vec![],
            container: crate::container::ContainerSettings::default(),
            runs: crate::policy::RunPolicy::default(),
            forge: crate::forge::ForgeSettings::default(),
            commits: crate::commit::CommitSettings::default(),
            sources: crate::sources::SourceSettings::default(),
            setup: crate::setup::SetupSettings::default(),
            setup_state: crate::setup::SetupState::default(),
            forge_token: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            extra: serde_json::Map::new(),
        }
    }

    fn after(status: EnvironmentStatus, event: EnvironmentEvent) -> EnvironmentDecision {
        decide(&record(status), event, now())
    }

    fn asked(status: EnvironmentStatus, asked: EnvironmentRequest) -> Option<EnvironmentDecision> {
        request(&record(status), asked, now())
    }

    #[test]
    fn a_repository_is_cloned_and_then_ready() {
        let created =
            begin(EnvironmentEvent::Created(Box::new(record(EnvironmentStatus::Cloning))), now()).expect("it exists now");
        assert_eq!(created.effects, [EnvironmentEffect::Clone]);
        let ready = decide(&created.record, EnvironmentEvent::Cloned { default_branch: main() }, now());
        assert_eq!((ready.record.status, ready.record.default_branch), (EnvironmentStatus::Ready, Some(main())));
        assert_eq!((ready.effects, ready.record.updated_at), (vec![], now()));
    }

    #[test]
    fn a_failed_clone_is_retried_on_request_and_its_error_goes() {
        let failed = after(EnvironmentStatus::Cloning, EnvironmentEvent::CloneFailed(failure()));
        assert_eq!((failed.record.status, &failed.record.error), (EnvironmentStatus::Failed, &Some(failure())));
        let again = request(&failed.record, EnvironmentRequest::Retry, now()).expect("the request is accepted");
        assert_eq!((again.record.status, again.record.error), (EnvironmentStatus::Cloning, None));
        assert_eq!(again.effects, [EnvironmentEffect::Clone]);
        for harmless in [EnvironmentStatus::Cloning, EnvironmentStatus::Ready] {
            assert_eq!(asked(harmless, EnvironmentRequest::Retry), Some(Decision::keep(record(harmless), vec![])));
        }
        assert_eq!(asked(EnvironmentStatus::Removing, EnvironmentRequest::Retry), None);
    }

    fn goal() -> SetupGoal {
        let key = SnapshotKey::parse(&"a".repeat(64)).expect("the key is valid");
        SetupGoal { key, commit: "c".repeat(40).parse().expect("the ID is valid"), branch: None }
    }

    #[test]
    fn a_setup_runs_once_and_is_repeated_after_its_server_dies() {
        let wanted = EnvironmentEvent::SetupWanted(goal());
        let running = after(EnvironmentStatus::Ready, wanted.clone());
        assert_eq!((running.effects.as_slice(), is_unfinished(&running.record)), (&[EnvironmentEffect::SetUp][..], true));
        assert_eq!(decide(&running.record, wanted.clone(), now()), Decision::keep(running.record.clone(), vec![]));
        assert_eq!(reconcile(&running.record), [EnvironmentEvent::SetupLost]);
        let again = decide(&running.record, EnvironmentEvent::SetupLost, now());
        assert_eq!((again.record, again.effects), (running.record.clone(), vec![EnvironmentEffect::SetUp]));
        let outcome = SetupOutcome::Ready(goal().key, SetupScript::Setup);
        let ended = EnvironmentEvent::SetupEnded { number: 1, outcome };
        let ready = decide(&running.record, ended, now());
        assert!(ready.effects.is_empty() && !is_unfinished(&ready.record) && reconcile(&ready.record).is_empty());
        for status in [EnvironmentStatus::Cloning, EnvironmentStatus::Failed, EnvironmentStatus::Removing] {
            assert_eq!(after(status, wanted.clone()), Decision::keep(record(status), vec![]), "{status:?}");
        }
    }

    #[test]
    fn the_owner_answers_a_failed_setup() {
        let running = after(EnvironmentStatus::Ready, EnvironmentEvent::SetupWanted(goal()));
        let outcome = SetupOutcome::Failed(failure());
        let ended = decide(&running.record, EnvironmentEvent::SetupEnded { number: 1, outcome }, now());
        assert_eq!(ended.effects, [EnvironmentEffect::Notify]);
        let failed = ended.record;
        let skipped = request(&failed, EnvironmentRequest::SkipSetup, now()).expect("the request is accepted");
        assert_eq!((skipped.record.setup_state.holds(), skipped.effects), (None, vec![]));
        let asked = EnvironmentRequest::SetUp { goal: goal(), edition: SetupEdition::default() };
        let again = request(&failed, asked.clone(), now()).expect("the request is accepted");
        assert_eq!((again.effects, again.record.setup_state.running().is_some()), (vec![EnvironmentEffect::SetUp], true));
        assert_eq!(request(&record(EnvironmentStatus::Removing), asked, now()), None);
        assert_eq!(request(&record(EnvironmentStatus::Cloning), EnvironmentRequest::SkipSetup, now()), None);
    }

    #[test]
    fn the_notification_of_a_failed_setup_is_not_lost() {
        let error = failure();
        let refused = after(EnvironmentStatus::Ready, EnvironmentEvent::SetupRefused { goal: goal(), error });
        assert_eq!((refused.effects, is_unfinished(&refused.record)), (vec![EnvironmentEffect::Notify], true));
        assert_eq!(reconcile(&refused.record), [EnvironmentEvent::SetupNoticeLeft]);
        let again = decide(&refused.record, EnvironmentEvent::SetupNoticeLeft, now());
        assert_eq!(again.effects, [EnvironmentEffect::Notify]);
        let sent = decide(&again.record, EnvironmentEvent::SetupNotified { number: 1 }, now()).record;
        assert!(!is_unfinished(&sent) && reconcile(&sent).is_empty());
        for left in [EnvironmentEvent::SetupNoticeLeft, EnvironmentEvent::SetupNotified { number: 1 }] {
            assert_eq!(decide(&sent, left, now()), Decision::keep(sent.clone(), vec![]));
        }
    }

    #[test]
    fn an_edit_of_the_settings_leaves_the_setup_alone() {
        let running = after(EnvironmentStatus::Ready, EnvironmentEvent::SetupWanted(goal())).record;
        let edit = EnvironmentRequest::Edit(Box::new(record(EnvironmentStatus::Ready)));
        let edited = request(&running, edit, now()).expect("the request is accepted").record;
        assert_eq!((&edited.setup, &edited.setup_state), (&running.setup, &running.setup_state));
        let setup = SetupSettings { own: Some("[setup]".to_owned()), ..SetupSettings::default() };
        let changed = request(&running, EnvironmentRequest::EditSetup(setup.clone()), now()).expect("the request is accepted");
        assert_eq!((changed.record.setup, changed.record.setup_state), (setup, running.setup_state));
    }

    #[test]
    fn a_removal_ends_in_the_trash_after_everything_has_left() {
        for status in [EnvironmentStatus::Cloning, EnvironmentStatus::Ready] {
            let removing = asked(status, EnvironmentRequest::Remove).expect("the request is accepted");
            assert_eq!((removing.record.status, removing.retention), (EnvironmentStatus::Removing, Retention::Keep));
            assert_eq!(removing.effects, [EnvironmentEffect::Vacate]);
            let gone = decide(&removing.record, EnvironmentEvent::Vacated, now());
            assert_eq!((gone.retention, gone.effects), (Retention::Trash, vec![EnvironmentEffect::CleanUp]));
        }
        let never_cloned = asked(EnvironmentStatus::Failed, EnvironmentRequest::Remove).expect("the request is accepted");
        assert_eq!(never_cloned.retention, Retention::Trash);
        let twice = asked(EnvironmentStatus::Removing, EnvironmentRequest::Remove).expect("the request is accepted");
        assert_eq!((twice.record, twice.effects), (record(EnvironmentStatus::Removing), vec![EnvironmentEffect::Vacate]));
    }

    #[test]
    fn a_restored_repository_is_ready_again() {
        let restored = begin(EnvironmentEvent::Restored(Box::new(record(EnvironmentStatus::Removing))), now());
        assert_eq!(restored.map(|decision| decision.record.status), Some(EnvironmentStatus::Ready));
        for event in [EnvironmentEvent::CloneLost, EnvironmentEvent::Vacated, EnvironmentEvent::RemovalLeft] {
            assert_eq!(begin(event, now()), None, "a repository that does not exist");
        }
    }

    #[test]
    fn an_edit_changes_settings_and_nothing_else() {
        for status in ALL {
            let name = Title::parse("other").expect("the name is valid");
            let edited = EnvironmentRecord { name: name.clone(), created_at: now(), ..record(EnvironmentStatus::Ready) };
            let decision = asked(status, EnvironmentRequest::Edit(Box::new(edited))).expect("the request is accepted");
            assert_eq!((decision.record.status, decision.record.name), (status, name));
            assert_eq!((decision.record.error, decision.record.created_at), (record(status).error, Timestamp::UNIX_EPOCH));
        }
        let urls = vec![RepositoryUrl::parse("/srv/other").expect("the URL is valid")];
        let decision = asked(EnvironmentStatus::Ready, EnvironmentRequest::AllowSources(urls)).expect("the request is accepted");
        assert_ne!(decision.record.sources, record(EnvironmentStatus::Ready).sources);
    }

    #[test]
    fn an_event_that_does_not_fit_changes_nothing() {
        for status in ALL {
            for event in [
                EnvironmentEvent::Cloned { default_branch: main() },
                EnvironmentEvent::CloneFailed(failure()),
                EnvironmentEvent::CloneLost,
                EnvironmentEvent::RemovalLeft,
                EnvironmentEvent::Vacated,
            ] {
                let fits = match &event {
                    EnvironmentEvent::Vacated | EnvironmentEvent::RemovalLeft => status == EnvironmentStatus::Removing,
                    _ => status == EnvironmentStatus::Cloning,
                };
                let is_nothing = after(status, event.clone()) == Decision::keep(record(status), vec![]);
                assert_eq!(is_nothing, !fits, "{status:?} {event:?}");
            }
        }
    }

    #[test]
    fn what_a_dead_server_left_is_found_in_every_state() {
        for status in ALL {
            let events = reconcile(&record(status));
            assert_eq!(events.is_empty(), !is_unfinished(&record(status)));
            for event in events {
                assert_ne!(after(status, event).effects, [], "{status:?}");
            }
        }
    }
}
