//! Publishes a task: pushes the branch, then creates the pull request, and records each step.
//!
//! Each step first checks whether it is already done: a push compares commits, and an open pull request of the branch is
//! reused. So if a server is killed between a step and its record, the next server repeats it with the same result.

use std::sync::Arc;
use std::time::Duration;

use durable::crash::{self, CrashPoint};
use git::{Mirror, PushError, PushRequest};
use model::ErrorCode;
use model::forge::ForgePlace;
use model::ids::ObjectId;
use model::names::{BranchName, Prompt};
use model::problem::{Problem, ProblemKind};
use model::publication::text::{self, Changes};
use model::publication::{Publication, PublicationStatus, Publish};
use model::run::RunError;
use model::secret::Secret;
use model::task::{NewRun, PublicationEvent, TaskEvent, TaskRecord, TaskRequest};
use process::RunProgramError;
use protocol::{ForgeView, PublicationView, PublishTask};

use crate::environment::fetch_failed;
use crate::follow_pull_requests::place_of;
use crate::inner::{Inner, TaskSlot};
use crate::spine::Mailbox as _;
use forge::{EditPullRequest, Forge, ForgeError, NewPullRequest};

/// The paths of pull request templates, in the order in which GitHub looks for them.
const TEMPLATES: &[&str] = &[
    ".github/pull_request_template.md",
    ".github/PULL_REQUEST_TEMPLATE.md",
    "pull_request_template.md",
    "PULL_REQUEST_TEMPLATE.md",
    "docs/pull_request_template.md",
    "docs/PULL_REQUEST_TEMPLATE.md",
    ".gitlab/merge_request_templates/Default.md",
    ".forgejo/pull_request_template.md",
    ".gitea/pull_request_template.md",
];

/// The maximum size of a template in bytes.
const TEMPLATE_LIMIT_BYTES: usize = 64 << 10;

/// The maximum number of attempts per request if a Git host cannot be reached.
const TRIES: u32 = 3;

/// The time between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

impl Inner {
    /// Records the request. The push and the other steps follow later.
    pub(crate) async fn ask_to_publish(self: &Arc<Self>, slot: &Arc<TaskSlot>, asked: PublishTask) -> Result<(), Problem> {
        let record = slot.record();
        let found = record.publication.as_deref().and_then(|publication| publication.remote_sha.clone());
        let replace = found.filter(|_| asked.force_with_lease);
        let PublishTask { pull_request, title, body, draft, .. } = asked;
        let asked = Publish { pull_request, title, body, draft, replace }.checked()?;
        let mirror = self.mirror_of(slot.env_id).map_err(problem_of)?;
        let base = base_branch(&mirror, &record, self.default_branch(slot)).await;
        let compare_url = self.place(slot).zip(base).map(|((place, _), base)| place.compare_url(&base, &record.branch()));
        self.ask(slot, TaskRequest::Publish(Box::new(asked), compare_url)).await.map(drop)
    }

    /// Returns the state of the publication, and the text of a new pull request.
    pub(crate) async fn publication(self: &Arc<Self>, slot: &Arc<TaskSlot>) -> Result<PublicationView, Problem> {
        self.watch_pull_request(slot).await;
        let record = slot.record();
        let mirror = self.mirror_of(slot.env_id).map_err(problem_of)?;
        let base = base_branch(&mirror, &record, self.default_branch(slot)).await.ok_or_else(|| {
            Problem::new(ErrorCode::NoBaseBranch, "this repository has no default branch")
                .hint("set one: `codex-orchestrator env edit --default-branch`")
        })?;
        let (title, body) = self.proposal(&mirror, &record).await;
        let place = self.place(slot);
        let by_hand = by_hand(place.as_ref());
        let forge = place.map(|(place, _)| ForgeView {
            kind: place.kind,
            project: place.project.to_string(),
            compare_url: place.compare_url(&base, &record.branch()),
        });
        let publication = record.publication.as_deref().cloned();
        Ok(PublicationView { publication, forge, by_hand, base, head: record.branch(), title, body })
    }

    /// Sends review comments and failed checks to the agent, as a follow-up.
    pub(crate) async fn send_feedback(self: &Arc<Self>, slot: &Arc<TaskSlot>) -> Result<(), Problem> {
        let wrong = |code: ErrorCode, detail: &str| Problem::new(code, detail.to_owned());
        let record = slot.record();
        let known = record.publication.as_deref().and_then(|publication| publication.pull_request.clone());
        let pull_request = known.ok_or_else(|| {
            wrong(ErrorCode::NoPullRequest, "this task has no pull request")
                .hint("create one: `codex-orchestrator task push --pull-request`")
        })?;
        let Some((place, Some(token))) = self.place(slot) else {
            return Err(wrong(ErrorCode::NoForgeToken, "no token is set for the Git host of this task")
                .hint("set ORCH_GITHUB_TOKEN, or run `codex-orchestrator env edit --forge-token-file`"));
        };
        let redactor = self.redactor(slot.env_id);
        let refused = |error: ForgeError| {
            let error = error.to_run_error(place.kind);
            let message = redactor.redact(&error.message).into_owned();
            RunError { message, ..error }.into_problem(ProblemKind::Unavailable)
        };
        let forge = self.forges.client(&place, &token).map_err(refused)?;
        let feedback = forge.feedback(&pull_request).await.map_err(refused)?;
        if feedback.is_empty() {
            return Err(wrong(ErrorCode::NoFeedback, "the pull request has no open comments and no failed checks"));
        }
        let prompt = Prompt::parse(&redactor.mask(&feedback.prompt(&pull_request.url)))?;
        let priority = model::queue::Priority::Normal;
        let run = NewRun { prompt, images: vec![], model: None, effort: None, priority, idempotency_key: None };
        self.ask(slot, TaskRequest::FollowUp(run)).await.map(drop)
    }

    /// Performs the next step, if this request is still the latest one.
    pub(super) async fn publish(self: &Arc<Self>, slot: &Arc<TaskSlot>, attempt: u32) {
        let _one_at_a_time = slot.publishing.lock().await;
        // An update of the branch comes first, so that its result is pushed.
        let updated = self.finish_update(slot).await;
        let record = slot.record();
        let Some(publication) = record.publication.as_deref().filter(|publication| publication.attempt == attempt) else {
            return;
        };
        let event = match publication.status {
            PublicationStatus::Pushing => match updated {
                Ok(()) => self.push_branch(slot, &record, publication).await,
                Err(problem) => Err(RunError::from(problem).into()),
            },
            PublicationStatus::Opening => self.ensure_pull_request(slot, &record, publication).await,
            PublicationStatus::Done | PublicationStatus::Failed => return,
        };
        if self.cancel.is_cancelled() {
            // The server is stopping. The record has the progress, and the next server continues.
            return;
        }
        let event = event.unwrap_or_else(|PublishError { error, remote_sha }| {
            let message = self.redactor(slot.env_id).redact(&error.message).into_owned();
            PublicationEvent::Failed { attempt, error: RunError { message, ..error }, remote_sha }
        });
        self.post(slot, TaskEvent::Publication(event)).await;
    }

    async fn push_branch(
        &self,
        slot: &TaskSlot,
        record: &TaskRecord,
        publication: &Publication,
    ) -> Result<PublicationEvent, PublishError> {
        let mirror = self.mirror_of(slot.env_id)?;
        let branch = record.branch();
        let missing = || RunError::new(ErrorCode::BranchMissing, format!("branch `{branch}` not found in the mirror"));
        let unreadable = |error: RunProgramError| RunError::new(ErrorCode::PushFailed, error.to_string());
        let tip = mirror.tip(branch.as_str()).await.map_err(unreadable)?;
        let (sha, base) = (tip.ok_or_else(missing)?, record.base_sha.as_ref().ok_or_else(missing)?);
        let token = self.push_token(slot);
        let request = PushRequest {
            branch: branch.as_str(),
            sha: &sha,
            base,
            pushed: publication.pushed_sha.as_ref(),
            replace: publication.asked.replace.as_ref(),
            token: token.as_ref().map(|(token, root)| (token, root.as_str())),
            deadline: self.config.push_time_limit,
            cancel: self.cancel.clone(),
        };
        mirror.push(&request).await.map_err(|error| push_failed(error, &branch))?;
        crash::point(CrashPoint::Pushed);
        Ok(PublicationEvent::Pushed { attempt: publication.attempt, sha })
    }

    async fn ensure_pull_request(
        &self,
        slot: &TaskSlot,
        record: &TaskRecord,
        publication: &Publication,
    ) -> Result<PublicationEvent, PublishError> {
        let attempt = publication.attempt;
        let place = self.place(slot);
        if let Some(why) = by_hand(place.as_ref()) {
            let note = match &publication.compare_url {
                Some(url) => format!("{why}; open the pull request yourself: {url}"),
                None => why,
            };
            return Ok(PublicationEvent::LeftToHand { attempt, note });
        }
        let Some((place, Some(token))) = place else {
            return Ok(PublicationEvent::LeftToHand { attempt, note: "no token is set for the Git host".to_owned() });
        };
        let mirror = self.mirror_of(slot.env_id)?;
        let base = base_branch(&mirror, record, self.default_branch(slot)).await;
        let base = base.ok_or_else(|| RunError::new(ErrorCode::NoBaseBranch, "this repository has no default branch"))?;
        let (title, body) = self.proposal(&mirror, record).await;
        let asked = &publication.asked;
        let new = NewPullRequest {
            head: record.branch(),
            base,
            title: asked.title.clone().unwrap_or(title),
            body: asked.body.clone().unwrap_or(body),
            draft: asked.draft,
        };
        let changes = self.changes(&mirror, record).await;
        let failed = |error: ForgeError| error.to_run_error(place.kind);
        let forge = self.forges.client(&place, &token).map_err(failed)?;
        let mut tries = 1;
        loop {
            match ensured(forge.as_ref(), &new, asked, record, changes).await {
                Ok(event) => {
                    crash::point(CrashPoint::PullRequestOpened);
                    return Ok(event.with_attempt(attempt));
                }
                // The request may have succeeded despite the error, so the next attempt checks this first.
                Err(error) if error.is_passing() && tries < TRIES && !self.cancel.is_cancelled() => {
                    tracing::warn!(task = %slot.id, %error, "the Git host did not respond; retrying");
                    tokio::time::sleep(PAUSE * tries).await;
                    tries += 1;
                }
                Err(error) => return Err(failed(error).into()),
            }
        }
    }

    async fn proposal(&self, mirror: &Mirror, record: &TaskRecord) -> (String, String) {
        let template = match &record.base_sha {
            Some(base) => template(mirror, base).await,
            None => None,
        };
        let body = text::body(record, self.changes(mirror, record).await, template.as_deref());
        let redactor = self.redactor(record.env_id);
        (redactor.mask(&text::title(record)).into_owned(), redactor.mask(&body).into_owned())
    }

    async fn changes(&self, mirror: &Mirror, record: &TaskRecord) -> Changes {
        let tip = mirror.tip(record.branch().as_str()).await.ok().flatten();
        let (Some(base), Some(tip)) = (&record.base_sha, tip) else { return Changes::default() };
        match mirror.stat(base, &tip).await {
            Ok(stat) => Changes { files: stat.files.len(), added: stat.added(), removed: stat.removed() },
            Err(error) => {
                tracing::warn!(task = %record.task_id, %error, "could not count a task's changes");
                Changes::default()
            }
        }
    }

    /// Returns the token for https remotes of the Git host, and their root URL.
    pub(super) fn push_token(&self, slot: &TaskSlot) -> Option<(Secret, String)> {
        let (place, token) = self.place(slot)?;
        Some((token?, place.web()))
    }

    fn place(&self, slot: &TaskSlot) -> Option<(ForgePlace, Option<Secret>)> {
        place_of(&self.config, &self.environments.get(slot.env_id)?.record())
    }

    fn default_branch(&self, slot: &TaskSlot) -> Option<BranchName> {
        self.environments.get(slot.env_id)?.record().default_branch.clone()
    }
}

/// Why a task could not be published.
struct PublishError {
    error: RunError,
    /// The commit of the branch on the remote, if somebody else moved the branch.
    remote_sha: Option<ObjectId>,
}

impl From<RunError> for PublishError {
    fn from(error: RunError) -> Self {
        Self { error, remote_sha: None }
    }
}

/// The result of creating or updating a pull request, without the number of the attempt.
struct Ensured {
    pull_request: model::publication::PullRequest,
    note: Option<String>,
}

impl Ensured {
    fn with_attempt(self, attempt: u32) -> PublicationEvent {
        PublicationEvent::Opened { attempt, pull_request: Box::new(self.pull_request), note: self.note }
    }
}

/// Finds or creates the open pull request of the branch, with the requested text.
async fn ensured(
    forge: &dyn Forge,
    new: &NewPullRequest,
    asked: &Publish,
    record: &TaskRecord,
    changes: Changes,
) -> Result<Ensured, ForgeError> {
    let Some(found) = forge.find(&new.head).await? else {
        return Ok(Ensured { pull_request: forge.open(new).await?, note: None });
    };
    let renewed = || text::renewed(&found.body, record, changes);
    let edit = EditPullRequest {
        title: asked.title.clone().filter(|title| *title != found.pull_request.title),
        body: asked.body.clone().or_else(renewed).filter(|body| *body != found.body),
        is_draft: found.pull_request.draft,
    };
    let is_new_text = edit.title.is_some() || edit.body.is_some();
    let number = found.pull_request.number;
    let pull_request = if is_new_text { forge.edit(number, &edit).await? } else { found.pull_request };
    let stays_open = asked.draft && !pull_request.draft;
    let note = stays_open.then(|| "the pull request was already open; it stays ready for review".to_owned());
    Ok(Ensured { pull_request, note })
}

/// Returns why a person has to open the pull request.
fn by_hand(place: Option<&(ForgePlace, Option<Secret>)>) -> Option<String> {
    match place {
        None => Some("unknown Git host; set it with `codex-orchestrator env edit --forge --forge-project`".to_owned()),
        Some((place, None)) => Some(format!("no token is set for {}", place.kind.name())),
        Some((_, Some(_))) => None,
    }
}

/// Returns the target branch of a pull request: the branch that the task started from, or else the repository's default
/// branch.
async fn base_branch(mirror: &Mirror, record: &TaskRecord, default: Option<BranchName>) -> Option<BranchName> {
    let named = BranchName::parse(record.git_ref.as_str()).ok();
    match named {
        Some(branch) if mirror.verify_branch(branch.as_str()).await.is_ok() => Some(branch),
        Some(_) | None => default,
    }
}

async fn template(mirror: &Mirror, base: &ObjectId) -> Option<String> {
    for path in TEMPLATES {
        if let Some(text) = mirror.text_of(base, path, TEMPLATE_LIMIT_BYTES).await {
            return Some(text);
        }
    }
    None
}

fn problem_of(error: RunError) -> Problem {
    error.into_problem(ProblemKind::WrongState)
}

fn push_failed(error: PushError, branch: &BranchName) -> PublishError {
    match error {
        PushError::Moved { remote } => {
            let there = remote.as_ref().map_or_else(String::new, |sha| format!(" ({})", &sha.as_str()[..12]));
            let message = format!("could not push `{branch}`: the remote branch has commits{there} from outside this task");
            let error = RunError::new(ErrorCode::RemoteMoved, message)
                .hint("to keep them, rebase this task onto them: `codex-orchestrator task update --onto-remote`")
                .hint("to replace them, force the push: `codex-orchestrator task push --force-with-lease`");
            PublishError { error, remote_sha: remote }
        }
        PushError::Rejected { words } => {
            let error = RunError::new(
                ErrorCode::PushRejected,
                format!("could not push `{branch}`: the remote rejected the push: {words}"),
            )
            .hint("fix the reported problem, then push again; nothing has changed on the remote");
            error.into()
        }
        PushError::Network(error) => fetch_failed(&error).into(),
    }
}
