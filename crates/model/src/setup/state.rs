//! The setup of a repository, as the repository's record contains it, and what may happen next.
//!
//! At most one setup of a repository runs at a time. While it runs, and after it has failed, new tasks of the repository wait.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::description::{Description, DescriptionHash};
use super::key::SnapshotKey;
use crate::ids::ObjectId;
use crate::names::VariableName;
use crate::report::RunError;

/// What the owner of the server decided about a repository's setup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SetupSettings {
    /// A description that is used instead of the one in the repository, as TOML.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own: Option<String>,
    /// Descriptions that get the secrets that they name.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub approved: BTreeSet<DescriptionHash>,
    /// Secrets that no agent gets, because an approved description uses them for the setup or as files.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub withheld: BTreeSet<VariableName>,
}

impl SetupSettings {
    /// Releases the secrets that a description names to its setup, and withholds them from agents.
    pub fn approve(&mut self, description: &Description) {
        self.approved.insert(description.hash());
        self.withheld.extend(description.secrets().cloned());
    }

    /// Whether the owner decided nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The phase of a setup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SetupPhase {
    /// The setup is running.
    Running,
    /// The snapshot is complete.
    Ready,
    /// The setup failed. New tasks wait for an answer.
    Failed,
    /// The setup failed, and tasks start without it.
    Skipped,
}

/// A setup that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupAttempt {
    /// The number of the attempt within the repository. Numbers are never reused.
    pub number: u32,
    /// The key of the snapshot.
    pub key: SnapshotKey,
    /// The commit of the default branch.
    pub commit: ObjectId,
    /// The phase.
    pub phase: SetupPhase,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RunError>,
}

/// How a setup ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetupOutcome {
    /// The snapshot with this key is complete. The key may differ from that of the attempt, if images were missing when it was computed.
    Ready(SnapshotKey),
    /// The setup failed, and nothing of it is left.
    Failed(RunError),
    /// The inputs changed before the setup ran, so nobody needs its snapshot.
    Outdated,
}

/// The setup of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupState {
    /// The last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<SetupAttempt>,
}

impl SetupState {
    /// Whether no setup was ever started.
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Returns the setup that is running.
    pub fn running(&self) -> Option<&SetupAttempt> {
        self.last.as_ref().filter(|attempt| attempt.phase == SetupPhase::Running)
    }

    /// Returns the phase that keeps new tasks waiting.
    pub fn holds(&self) -> Option<SetupPhase> {
        let phase = self.last.as_ref()?.phase;
        matches!(phase, SetupPhase::Running | SetupPhase::Failed).then_some(phase)
    }

    /// Returns the phase of the setup with this key.
    pub fn phase_of(&self, key: &SnapshotKey) -> Option<SetupPhase> {
        self.last.as_ref().filter(|attempt| attempt.key == *key).map(|attempt| attempt.phase)
    }

    /// Starts a setup that a task needs, unless it is running, or has failed and nobody answered yet. `None` means that nothing
    /// changes.
    pub(crate) fn want(&self, key: SnapshotKey, commit: ObjectId, now: Timestamp) -> Option<Self> {
        match self.phase_of(&key) {
            // The snapshot of a setup that is ready may have been deleted.
            Some(SetupPhase::Ready) | None if self.running().is_none() => Some(self.begun(key, commit, now)),
            Some(_) | None => None,
        }
    }

    /// Starts a setup that the owner asked for. A running one continues.
    pub(crate) fn start(&self, key: SnapshotKey, commit: ObjectId, now: Timestamp) -> Option<Self> {
        self.running().is_none().then(|| self.begun(key, commit, now))
    }

    fn begun(&self, key: SnapshotKey, commit: ObjectId, now: Timestamp) -> Self {
        let number = self.last.as_ref().map_or(0, |attempt| attempt.number) + 1;
        let phase = SetupPhase::Running;
        Self { last: Some(SetupAttempt { number, key, commit, phase, started_at: now, ended_at: None, error: None }) }
    }

    /// Records how an attempt ended. The end of another attempt changes nothing.
    pub(crate) fn end(&self, number: u32, outcome: SetupOutcome, now: Timestamp) -> Option<Self> {
        let running = self.running().filter(|attempt| attempt.number == number)?;
        let (phase, error, key) = match outcome {
            SetupOutcome::Ready(key) => (SetupPhase::Ready, None, key),
            SetupOutcome::Failed(error) => (SetupPhase::Failed, Some(error), running.key.clone()),
            SetupOutcome::Outdated => (SetupPhase::Skipped, None, running.key.clone()),
        };
        Some(Self { last: Some(SetupAttempt { key, phase, error, ended_at: Some(now), ..running.clone() }) })
    }

    /// Records that a description cannot be used. A running setup continues, and an answer to the same error stays valid.
    pub(crate) fn refuse(&self, key: SnapshotKey, commit: ObjectId, error: RunError, now: Timestamp) -> Option<Self> {
        if self.running().is_some() || self.phase_of(&key).is_some() {
            return None;
        }
        let begun = self.begun(key, commit, now);
        let number = begun.last.as_ref().map_or(0, |attempt| attempt.number);
        begun.end(number, SetupOutcome::Failed(error), now)
    }

    /// Lets tasks start without a setup that failed.
    pub(crate) fn skip(&self) -> Option<Self> {
        let failed = self.last.as_ref().filter(|attempt| attempt.phase == SetupPhase::Failed)?;
        Some(Self { last: Some(SetupAttempt { phase: SetupPhase::Skipped, ..failed.clone() }) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_code::ErrorCode;

    fn key(digit: char) -> SnapshotKey {
        SnapshotKey::parse(&digit.to_string().repeat(64)).expect("a key")
    }

    fn commit() -> ObjectId {
        "c".repeat(40).parse().expect("an object ID")
    }

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn running(digit: char) -> SetupState {
        SetupState::default().want(key(digit), commit(), now()).expect("it starts")
    }

    fn failed(digit: char) -> SetupState {
        let error = RunError::new(ErrorCode::SetupFailed, "exit code 1");
        running(digit).end(1, SetupOutcome::Failed(error), now()).expect("it was running")
    }

    #[test]
    fn ten_tasks_cause_one_setup() {
        let state = running('a');
        assert_eq!((state.phase_of(&key('a')), state.holds()), (Some(SetupPhase::Running), Some(SetupPhase::Running)));
        assert_eq!(state.want(key('a'), commit(), now()), None);
        assert_eq!(state.want(key('b'), commit(), now()), None, "another setup waits until this one has ended");
        let ready = state.end(1, SetupOutcome::Ready(key('a')), now()).expect("it was running");
        assert_eq!((ready.phase_of(&key('a')), ready.phase_of(&key('b')), ready.holds()), (Some(SetupPhase::Ready), None, None));
    }

    #[test]
    fn a_failed_setup_holds_new_tasks_until_somebody_answers() {
        let state = failed('a');
        assert_eq!((state.holds(), state.want(key('a'), commit(), now())), (Some(SetupPhase::Failed), None));
        let again = state.start(key('a'), commit(), now()).expect("the owner asked for it");
        assert_eq!((again.holds(), again.last.as_ref().map(|attempt| attempt.number)), (Some(SetupPhase::Running), Some(2)));
        let skipped = state.skip().expect("it failed");
        assert_eq!((skipped.holds(), skipped.phase_of(&key('a'))), (None, Some(SetupPhase::Skipped)));
        assert_eq!(skipped.want(key('a'), commit(), now()), None, "the answer stays valid");
        assert!(skipped.want(key('b'), commit(), now()).is_some(), "other inputs are another setup");
    }

    #[test]
    fn changed_inputs_start_a_new_setup_after_a_failure() {
        assert!(failed('a').want(key('b'), commit(), now()).is_some());
    }

    #[test]
    fn the_end_of_an_older_attempt_changes_nothing() {
        let again = failed('a').start(key('a'), commit(), now()).expect("it starts");
        assert_eq!(again.end(1, SetupOutcome::Ready(key('a')), now()), None);
        assert!(again.end(2, SetupOutcome::Ready(key('a')), now()).is_some());
        assert_eq!(again.start(key('b'), commit(), now()), None, "a running setup continues");
        assert_eq!(again.skip(), None);
    }

    #[test]
    fn a_deleted_snapshot_is_made_again() {
        let ready = running('a').end(1, SetupOutcome::Ready(key('a')), now()).expect("it was running");
        assert!(ready.want(key('a'), commit(), now()).is_some());
    }

    #[test]
    fn a_description_that_cannot_be_used_is_a_question_that_is_asked_once() {
        let error = RunError::new(ErrorCode::DescriptionRefused, "unknown field");
        let refused = SetupState::default().refuse(key('a'), commit(), error.clone(), now()).expect("it is new");
        assert_eq!(refused.holds(), Some(SetupPhase::Failed));
        let skipped = refused.skip().expect("it failed");
        assert_eq!(skipped.refuse(key('a'), commit(), error.clone(), now()), None);
        assert!(skipped.refuse(key('b'), commit(), error.clone(), now()).is_some(), "another description is another question");
        assert_eq!(running('a').refuse(key('b'), commit(), error, now()), None);
    }

    #[test]
    fn a_key_that_was_computed_without_an_image_is_replaced() {
        let ready = running('a').end(1, SetupOutcome::Ready(key('b')), now()).expect("it was running");
        assert_eq!((ready.phase_of(&key('a')), ready.phase_of(&key('b'))), (None, Some(SetupPhase::Ready)));
    }

    #[test]
    fn outdated_inputs_hold_nobody() {
        let outdated = running('a').end(1, SetupOutcome::Outdated, now()).expect("it was running");
        assert_eq!(outdated.holds(), None);
        assert!(outdated.want(key('b'), commit(), now()).is_some());
    }
}
