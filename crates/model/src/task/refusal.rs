//! Why a request about a task is rejected.
//!
//! A refusal changes nothing. Its problem says what to do instead.

use crate::error_code::ErrorCode;
use crate::problem::Problem;

/// Why a request is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A run is active.
    RunActive,
    /// Codex never reported a thread, so nothing can be continued.
    NoThread,
    /// The last run did not fail.
    NotFailed,
    /// The task is being removed.
    Removing,
    /// The follow-up does not exist or has already started.
    NoFollowUp,
    /// The task has the maximum number of follow-ups.
    TooManyFollowUps,
    /// The idempotency key belongs to a different request.
    KeyReused,
    /// No run of the task changed anything.
    NothingToPublish,
    /// The task has no branch yet.
    NoBranch,
    /// The branch changed after the update was planned.
    BranchMoved,
    /// The branch is being updated.
    Updating,
    /// The task has no open question.
    NoQuestion,
    /// No files of the task are held.
    NothingHeld,
    /// The open question is not the one that was answered.
    QuestionChanged,
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let conflict = |code, detail| Problem::new(code, detail);
        match refusal {
            Refusal::RunActive => conflict(ErrorCode::RunActive, "a run of this task is still active")
                .hint("wait until the run ends, or stop it with `codex-orchestrator task stop`"),
            Refusal::NoThread => conflict(ErrorCode::NoThread, "this task has no Codex thread to continue")
                .hint("the first run failed before Codex started a thread; retry it with `codex-orchestrator task retry`"),
            Refusal::NotFailed => conflict(ErrorCode::NotFailed, "nothing to retry: the last run of this task did not fail")
                .hint("to continue with a new prompt, use `codex-orchestrator task resume`"),
            Refusal::Removing => conflict(ErrorCode::TaskRemoving, "this task is being removed"),
            Refusal::NoFollowUp => conflict(ErrorCode::NoFollowUp, "follow-up not found: it has already started or was removed")
                .hint("list the waiting follow-ups with `codex-orchestrator task show`"),
            Refusal::TooManyFollowUps => {
                conflict(ErrorCode::TooManyFollowUps, "this task already has the maximum number of follow-ups")
                    .hint("wait until some of them have run, or combine several into one prompt")
            }
            Refusal::KeyReused => {
                let detail = "this idempotency key was already used for a different request to this task";
                Problem::new(ErrorCode::IdempotencyKeyReused, detail).hint("use a new key for each new request")
            }
            Refusal::NoQuestion => {
                conflict(ErrorCode::NoQuestion, "this task has no open question: it was answered, or the run was stopped")
            }
            Refusal::NothingHeld => conflict(
                ErrorCode::NoQuestion,
                "no files of this task are held: somebody has decided about them, or they were deleted",
            ),
            Refusal::QuestionChanged => conflict(ErrorCode::QuestionChanged, "this task now asks a different question")
                .hint("read the new question with `codex-orchestrator task show`, then answer it"),
            Refusal::BranchMoved => {
                conflict(ErrorCode::BranchMoved, "the task's branch changed during the update").hint("try again")
            }
            Refusal::Updating => {
                conflict(ErrorCode::BranchMoved, "the task's branch is being updated").hint("wait for the update, then try again")
            }
            Refusal::NothingToPublish => conflict(ErrorCode::NothingToPublish, "no run of this task has changed anything"),
            Refusal::NoBranch => conflict(ErrorCode::NoBranch, "this task has no branch and no worktree yet")
                .hint("the first run ended before they were created; retry the task, or create a new one"),
        }
    }
}
