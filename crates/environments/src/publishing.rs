//! Pushes branches and opens pull requests. The steps are recorded by the tasks that they belong to.
//!
//! Each step first checks whether it is already done: a push compares commits, and an open pull request of the branch is reused. So a
//! step that is repeated has the same result.

use std::sync::Arc;
use std::time::Duration;

use config::Config;
use durable::crash::{self, CrashPoint};
use forge::{EditPullRequest, Following, Forge, ForgeError, Forges, NewPullRequest};
use git::{Mirror, PushError, PushRequest};
use model::ErrorCode;
use model::environment::EnvironmentRecord;
use model::forge::{ForgePlace, GitHubDefaults};
use model::ids::{EnvironmentId, ObjectId};
use model::names::BranchName;
use model::publication::text::{self, Changes};
use model::publication::{Publication, Publish};
use model::run::RunError;
use model::secret::Secret;
use model::task::{PublicationEvent, TaskRecord};
use process::RunProgramError;
use spine::Common;
use tokio_util::sync::CancellationToken;

use crate::environments::Environments;
use crate::redaction::Redaction;

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

/// Pushes branches and opens pull requests.
pub struct Publishing {
    /// The clients of Git hosts.
    pub forges: Forges,
    /// When to ask Git hosts about pull requests again.
    pub following: Following,
    config: Arc<Config>,
    environments: Arc<Environments>,
    redaction: Arc<Redaction>,
    cancel: CancellationToken,
}

impl Publishing {
    /// Creates the publishing of a server.
    pub fn new(common: Common, environments: Arc<Environments>, redaction: Arc<Redaction>) -> Self {
        let Common { config, cancel, .. } = common;
        Self { forges: Forges::default(), following: Following::default(), config, environments, redaction, cancel }
    }

    /// Returns the repository on its Git host and the token for it, if there are any.
    pub fn place(&self, env_id: EnvironmentId) -> Option<(ForgePlace, Option<Secret>)> {
        place_of(&self.config, self.environments.record(env_id)?.as_ref())
    }

    /// Returns the token for https remotes of the Git host, and their root URL.
    pub fn push_token(&self, env_id: EnvironmentId) -> Option<(Secret, String)> {
        let (place, token) = self.place(env_id)?;
        Some((token?, place.web()))
    }

    /// Returns the default branch of a repository.
    pub fn default_branch(&self, env_id: EnvironmentId) -> Option<BranchName> {
        self.environments.record(env_id)?.default_branch.clone()
    }

    /// Pushes the branch of a task.
    pub async fn push_branch(&self, record: &TaskRecord, publication: &Publication) -> Result<PublicationEvent, PublishError> {
        let mirror = self.environments.mirror_of(record.env_id)?;
        let branch = record.branch();
        let missing = || RunError::new(ErrorCode::BranchMissing, format!("branch `{branch}` not found in the mirror"));
        let unreadable = |error: RunProgramError| RunError::new(ErrorCode::PushFailed, error.to_string());
        let tip = mirror.tip(branch.as_str()).await.map_err(unreadable)?;
        let (sha, base) = (tip.ok_or_else(missing)?, record.base_sha.as_ref().ok_or_else(missing)?);
        let token = self.push_token(record.env_id);
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

    /// Finds or opens the pull request of a task, or explains how a person can open it.
    pub async fn ensure_pull_request(
        &self,
        record: &TaskRecord,
        publication: &Publication,
    ) -> Result<PublicationEvent, PublishError> {
        let attempt = publication.attempt;
        let place = self.place(record.env_id);
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
        let mirror = self.environments.mirror_of(record.env_id)?;
        let base = base_branch(&mirror, record, self.default_branch(record.env_id)).await;
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
                    tracing::warn!(task = %record.task_id, %error, "the Git host did not respond; retrying");
                    tokio::time::sleep(PAUSE * tries).await;
                    tries += 1;
                }
                Err(error) => return Err(failed(error).into()),
            }
        }
    }

    /// Returns the title and the text of a new pull request, with masked secrets.
    pub async fn proposal(&self, mirror: &Mirror, record: &TaskRecord) -> (String, String) {
        let template = match &record.base_sha {
            Some(base) => template(mirror, base).await,
            None => None,
        };
        let body = text::body(record, self.changes(mirror, record).await, template.as_deref());
        let redactor = self.redaction.redactor(record.env_id);
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
}

/// Why a task could not be published.
pub struct PublishError {
    /// The error for the record.
    pub error: RunError,
    /// The commit of the branch on the remote, if somebody else moved the branch.
    pub remote_sha: Option<ObjectId>,
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
pub fn by_hand(place: Option<&(ForgePlace, Option<Secret>)>) -> Option<String> {
    match place {
        None => Some("unknown Git host; set it with `codex-orchestrator env edit --forge --forge-project`".to_owned()),
        Some((place, None)) => Some(format!("no token is set for {}", place.kind.name())),
        Some((_, Some(_))) => None,
    }
}

/// Returns the target branch of a pull request: the branch that the task started from, or else the repository's default
/// branch.
pub async fn base_branch(mirror: &Mirror, record: &TaskRecord, default: Option<BranchName>) -> Option<BranchName> {
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
        PushError::Network(error) => error.to_run_error().into(),
    }
}

/// Returns the repository on its Git host and the token for it, if there are any.
fn place_of(config: &Config, environment: &EnvironmentRecord) -> Option<(ForgePlace, Option<Secret>)> {
    let defaults = GitHubDefaults { project: config.github_project.clone(), api_url: config.github_api_url.clone() };
    let place = ForgePlace::find(&environment.repo_url, &environment.forge, &defaults)?;
    let token = environment.forge_token.clone().or_else(|| config.github_token.clone().filter(|_| place.is_default_github));
    Some((place, token))
}
