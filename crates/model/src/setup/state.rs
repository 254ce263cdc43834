//! The setup of a repository, as the repository's record contains it, and what may happen next.
//!
//! At most one setup of a repository runs at a time. While it runs, and after it has failed, new tasks of the repository wait.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::description::{Description, DescriptionHash};
use super::key::{SetupEdition, SnapshotKey};
use super::snapshot::SetupScript;
use crate::ids::ObjectId;
use crate::names::{BranchName, VariableName};
use crate::report::RunError;
use crate::sources::BranchPattern;

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
    /// Branches whose descriptions apply to the tasks that start from them.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub trusted: BTreeSet<BranchPattern>,
    /// Descriptions on other branches that apply to the tasks of these branches.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub accepted: BTreeMap<BranchName, DescriptionHash>,
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

/// What a setup is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetupGoal {
    /// The key of the snapshot, or what identifies a description that cannot be used.
    pub key: SnapshotKey,
    /// The commit that the setup runs in.
    pub commit: ObjectId,
    /// The branch of the commit, or `None` for the default branch.
    pub branch: Option<BranchName>,
}

/// What a setup that the owner asks for starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetupStart {
    /// An earlier result, if there is a suitable one, or else the image. If the result for the same inputs exists, it stays.
    Earlier,
    /// The image.
    Image,
}

/// A setup that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupAttempt {
    /// The number of the attempt within the repository. Numbers are never reused.
    pub number: u32,
    /// The key of the snapshot.
    pub key: SnapshotKey,
    /// The commit that it runs in.
    pub commit: ObjectId,
    /// The branch of the commit, or `None` for the default branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<BranchName>,
    /// The phase.
    pub phase: SetupPhase,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The script that created the snapshot, once it is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<SetupScript>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RunError>,
    /// Whether the notification that it failed is not sent yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_notice_due: bool,
}

/// How a setup ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetupOutcome {
    /// The snapshot with this key is complete, and this script created it. The key may differ from that of the attempt, if images were
    /// missing when it was computed.
    Ready(SnapshotKey, SetupScript),
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
    /// Earlier setups that the owner skipped, newest last. The answer to one branch is not lost when another one is set up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<SnapshotKey>,
    /// The edition of all keys.
    #[serde(default, skip_serializing_if = "SetupEdition::is_first")]
    pub edition: SetupEdition,
}

/// The number of skipped setups that are remembered.
const MOST_SKIPPED: usize = 50;

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
        let of_last = self.last.as_ref().filter(|attempt| attempt.key == *key).map(|attempt| attempt.phase);
        of_last.or_else(|| self.skipped.contains(key).then_some(SetupPhase::Skipped))
    }

    /// Starts a setup that a task needs, unless it is running, or has failed and nobody answered yet. `None` means that nothing
    /// changes.
    pub(crate) fn want(&self, goal: SetupGoal, now: Timestamp) -> Option<Self> {
        match self.phase_of(&goal.key) {
            // The snapshot of a setup that is ready may have been deleted.
            Some(SetupPhase::Ready) | None if self.running().is_none() => Some(self.begun(goal, now)),
            Some(_) | None => None,
        }
    }

    /// Returns the edition of a setup that the owner asks for.
    pub fn edition_for(&self, start: SetupStart) -> SetupEdition {
        match start {
            SetupStart::Earlier => self.edition,
            SetupStart::Image => self.edition.next(),
        }
    }

    /// Starts a setup of this edition that the owner asked for. A running one continues.
    pub(crate) fn start(&self, goal: SetupGoal, edition: SetupEdition, now: Timestamp) -> Option<Self> {
        self.running().is_none().then(|| Self { edition: self.edition.max(edition), ..self.begun(goal, now) })
    }

    fn begun(&self, goal: SetupGoal, now: Timestamp) -> Self {
        let SetupGoal { key, commit, branch } = goal;
        let number = self.last.as_ref().map_or(0, |attempt| attempt.number) + 1;
        let phase = SetupPhase::Running;
        let skipped_now = self.last.iter().filter(|last| last.phase == SetupPhase::Skipped).map(|last| last.key.clone());
        let mut skipped: Vec<_> = self.skipped.iter().cloned().chain(skipped_now).filter(|skipped| *skipped != key).collect();
        skipped.drain(..skipped.len().saturating_sub(MOST_SKIPPED));
        let (ended_at, script, error) = (None, None, None);
        let attempt =
            SetupAttempt { number, key, commit, branch, phase, started_at: now, ended_at, script, error, is_notice_due: false };
        Self { last: Some(attempt), skipped, edition: self.edition }
    }

    /// Records how an attempt ended. The end of another attempt changes nothing.
    pub(crate) fn end(&self, number: u32, outcome: SetupOutcome, now: Timestamp) -> Option<Self> {
        let running = self.running().filter(|attempt| attempt.number == number)?;
        let key = running.key.clone();
        let is_notice_due = matches!(outcome, SetupOutcome::Failed(_));
        let (phase, key, script, error) = match outcome {
            SetupOutcome::Ready(key, script) => (SetupPhase::Ready, key, Some(script), None),
            SetupOutcome::Failed(error) => (SetupPhase::Failed, key, None, Some(error)),
            SetupOutcome::Outdated => (SetupPhase::Skipped, key, None, None),
        };
        let attempt = SetupAttempt { phase, key, script, error, is_notice_due, ended_at: Some(now), ..running.clone() };
        Some(Self { last: Some(attempt), ..self.clone() })
    }

    /// Records that a description cannot be used. A running setup continues, and an answer to the same error stays valid.
    pub(crate) fn refuse(&self, goal: SetupGoal, error: RunError, now: Timestamp) -> Option<Self> {
        if self.running().is_some() || self.phase_of(&goal.key).is_some() {
            return None;
        }
        let begun = self.begun(goal, now);
        let number = begun.last.as_ref().map_or(0, |attempt| attempt.number);
        begun.end(number, SetupOutcome::Failed(error), now)
    }

    /// Lets tasks start without a setup that failed.
    pub(crate) fn skip(&self) -> Option<Self> {
        let failed = self.last.as_ref().filter(|attempt| attempt.phase == SetupPhase::Failed)?;
        let skipped = SetupAttempt { phase: SetupPhase::Skipped, is_notice_due: false, ..failed.clone() };
        Some(Self { last: Some(skipped), ..self.clone() })
    }

    /// Returns the failed setup whose notification is not sent yet.
    pub fn due_notice(&self) -> Option<&SetupAttempt> {
        self.last.as_ref().filter(|attempt| attempt.is_notice_due)
    }

    /// Records that the notification about an attempt was sent.
    pub(crate) fn notified(&self, number: u32) -> Option<Self> {
        let due = self.due_notice().filter(|attempt| attempt.number == number)?;
        let attempt = SetupAttempt { is_notice_due: false, ..due.clone() };
        Some(Self { last: Some(attempt), ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_code::ErrorCode;

    fn first() -> SetupEdition {
        SetupEdition::default()
    }

    fn key(digit: char) -> SnapshotKey {
        SnapshotKey::parse(&digit.to_string().repeat(64)).expect("a key")
    }

    fn commit() -> ObjectId {
        "c".repeat(40).parse().expect("an object ID")
    }

    fn goal(digit: char) -> SetupGoal {
        SetupGoal { key: key(digit), commit: commit(), branch: None }
    }

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn running(digit: char) -> SetupState {
        SetupState::default().want(goal(digit), now()).expect("it starts")
    }

    fn failed(digit: char) -> SetupState {
        let error = RunError::new(ErrorCode::SetupFailed, "exit code 1");
        running(digit).end(1, SetupOutcome::Failed(error), now()).expect("it was running")
    }

    #[test]
    fn ten_tasks_cause_one_setup() {
        let state = running('a');
        assert_eq!((state.phase_of(&key('a')), state.holds()), (Some(SetupPhase::Running), Some(SetupPhase::Running)));
        assert_eq!(state.want(goal('a'), now()), None);
        assert_eq!(state.want(goal('b'), now()), None, "another setup waits until this one has ended");
        let ready = state.end(1, SetupOutcome::Ready(key('a'), SetupScript::Maintain), now()).expect("it was running");
        assert_eq!(ready.last.as_ref().and_then(|last| last.script), Some(SetupScript::Maintain));
        assert_eq!((ready.phase_of(&key('a')), ready.phase_of(&key('b')), ready.holds()), (Some(SetupPhase::Ready), None, None));
    }

    #[test]
    fn a_failed_setup_holds_new_tasks_until_somebody_answers() {
        let state = failed('a');
        assert_eq!((state.holds(), state.want(goal('a'), now())), (Some(SetupPhase::Failed), None));
        let again = state.start(goal('a'), first(), now()).expect("the owner asked for it");
        assert_eq!((again.holds(), again.last.as_ref().map(|attempt| attempt.number)), (Some(SetupPhase::Running), Some(2)));
        let skipped = state.skip().expect("it failed");
        assert_eq!((skipped.holds(), skipped.phase_of(&key('a'))), (None, Some(SetupPhase::Skipped)));
        assert_eq!(skipped.want(goal('a'), now()), None, "the answer stays valid");
        assert!(skipped.want(goal('b'), now()).is_some(), "other inputs are another setup");
    }

    #[test]
    fn a_failure_is_notified_once_unless_somebody_answers_first() {
        let state = failed('a');
        assert_eq!((state.due_notice().map(|attempt| attempt.number), running('a').due_notice()), (Some(1), None));
        assert_eq!(state.notified(2), None, "another attempt");
        let notified = state.notified(1).expect("it is due");
        assert_eq!((notified.due_notice(), notified.holds(), notified.notified(1)), (None, Some(SetupPhase::Failed), None));
        assert_eq!(state.skip().expect("it failed").due_notice(), None);
        assert_eq!(state.start(goal('a'), first(), now()).expect("the owner asked for it").due_notice(), None);
        let text = serde_json::to_string(&state).expect("it can be serialized");
        assert_eq!(serde_json::from_str::<SetupState>(&text).expect("it can be read"), state);
    }

    #[test]
    fn an_answer_about_one_branch_is_not_lost_when_another_one_is_set_up() {
        let skipped = failed('a').skip().expect("it failed");
        let other = skipped.want(goal('b'), now()).expect("another setup");
        let ready = other.end(2, SetupOutcome::Ready(key('b'), SetupScript::Setup), now()).expect("it was running");
        assert_eq!((ready.phase_of(&key('a')), ready.want(goal('a'), now())), (Some(SetupPhase::Skipped), None));
        let again = ready.start(goal('a'), first(), now()).expect("the owner asked for it");
        assert_eq!((again.phase_of(&key('a')), again.skipped.len()), (Some(SetupPhase::Running), 0));
    }

    #[test]
    fn changed_inputs_start_a_new_setup_after_a_failure() {
        assert!(failed('a').want(goal('b'), now()).is_some());
    }

    #[test]
    fn the_end_of_an_older_attempt_changes_nothing() {
        let again = failed('a').start(goal('a'), first(), now()).expect("it starts");
        assert_eq!(again.end(1, SetupOutcome::Ready(key('a'), SetupScript::Setup), now()), None);
        assert!(again.end(2, SetupOutcome::Ready(key('a'), SetupScript::Setup), now()).is_some());
        assert_eq!(again.start(goal('b'), first(), now()), None, "a running setup continues");
        assert_eq!(again.skip(), None);
    }

    #[test]
    fn a_deleted_snapshot_is_made_again() {
        let ready = running('a').end(1, SetupOutcome::Ready(key('a'), SetupScript::Setup), now()).expect("it was running");
        assert!(ready.want(goal('a'), now()).is_some());
    }

    #[test]
    fn a_description_that_cannot_be_used_is_a_question_that_is_asked_once() {
        let error = RunError::new(ErrorCode::DescriptionRefused, "unknown field");
        let refused = SetupState::default().refuse(goal('a'), error.clone(), now()).expect("it is new");
        assert_eq!(refused.holds(), Some(SetupPhase::Failed));
        let skipped = refused.skip().expect("it failed");
        assert_eq!(skipped.refuse(goal('a'), error.clone(), now()), None);
        assert!(skipped.refuse(goal('b'), error.clone(), now()).is_some(), "another description is another question");
        assert_eq!(running('a').refuse(goal('b'), error, now()), None);
    }

    #[test]
    fn a_key_that_was_computed_without_an_image_is_replaced() {
        let ready = running('a').end(1, SetupOutcome::Ready(key('b'), SetupScript::Setup), now()).expect("it was running");
        assert_eq!((ready.phase_of(&key('a')), ready.phase_of(&key('b'))), (None, Some(SetupPhase::Ready)));
    }

    #[test]
    fn a_setup_from_the_image_is_a_new_edition_that_lasts() {
        let ready = running('a').end(1, SetupOutcome::Ready(key('a'), SetupScript::Setup), now()).expect("it was running");
        assert_eq!((ready.edition_for(SetupStart::Earlier), ready.edition_for(SetupStart::Image)), (first(), first().next()));
        let fresh = ready.start(goal('b'), ready.edition_for(SetupStart::Image), now()).expect("nothing runs");
        assert_eq!(
            (fresh.edition, fresh.start(goal('c'), first().next().next(), now())),
            (first().next(), None),
            "a running setup continues"
        );
        let ended = fresh.end(2, SetupOutcome::Ready(key('b'), SetupScript::Setup), now()).expect("it was running");
        let wanted = ended.want(goal('d'), now()).expect("other inputs");
        let failed = wanted.end(3, SetupOutcome::Failed(RunError::new(ErrorCode::SetupFailed, "no")), now());
        let skipped = failed.and_then(|failed| failed.skip()).expect("it failed");
        assert_eq!((wanted.edition, skipped.edition), (first().next(), first().next()));
        assert_eq!(
            skipped.start(goal('e'), first(), now()).expect("nothing runs").edition,
            first().next(),
            "no edition comes back"
        );
        let text = serde_json::to_string(&skipped).expect("it can be serialized");
        assert_eq!(serde_json::from_str::<SetupState>(&text).expect("it can be read"), skipped);
        assert!(!serde_json::to_string(&ready).expect("it can be serialized").contains("edition"), "as in earlier versions");
    }

    #[test]
    fn outdated_inputs_hold_nobody() {
        let outdated = running('a').end(1, SetupOutcome::Outdated, now()).expect("it was running");
        assert_eq!(outdated.holds(), None);
        assert!(outdated.want(goal('b'), now()).is_some());
    }
}
