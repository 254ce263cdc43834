//! GitLab: merge requests in REST API v4. Source: <https://docs.gitlab.com/api/merge_requests/>. A project is named by its full
//! path, with escaped slashes.

use std::sync::Arc;

use jiff::Timestamp;
use model::forge::{ForgePlace, escaped};
use model::ids::ObjectId;
use model::names::BranchName;
use model::publication::feedback::{Comment, FailedCheck, Feedback};
use model::publication::{Checks, PullRequest, PullRequestState, Reviews};
use model::secret::Secret;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::api::Api;
use super::calls::Calls;
use super::{Answer, EditPullRequest, Forge, ForgeError, FoundPullRequest, NewPullRequest};

/// The prefix of a draft's title.
const DRAFT: &str = "Draft: ";

/// The maximum number of logs of failed jobs that are fetched.
const MOST_LOGS: usize = 5;

pub(super) struct GitLab {
    api: Api,
    project: String,
}

#[derive(Deserialize)]
struct MergeRequest {
    iid: u64,
    web_url: String,
    title: String,
    description: Option<String>,
    state: String,
    #[serde(default)]
    draft: bool,
    created_at: Timestamp,
    target_branch: String,
    source_project_id: Option<u64>,
    target_project_id: Option<u64>,
    sha: Option<String>,
    has_conflicts: Option<bool>,
    /// `unchecked` and `checking` mean that `has_conflicts` is outdated.
    merge_status: Option<String>,
}

#[derive(Deserialize)]
struct CommitStatus {
    id: u64,
    name: String,
    status: String,
    target_url: Option<String>,
    #[serde(default)]
    allow_failure: bool,
}

#[derive(Deserialize)]
struct Approvals {
    #[serde(default)]
    approved_by: Vec<Approval>,
}

#[derive(Deserialize)]
struct Approval {
    user: User,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
struct Discussion {
    notes: Vec<Note>,
}

#[derive(Deserialize)]
struct Note {
    body: String,
    author: User,
    #[serde(default)]
    system: bool,
    #[serde(default)]
    resolvable: bool,
    #[serde(default)]
    resolved: bool,
    position: Option<Position>,
}

#[derive(Deserialize)]
struct Position {
    new_path: Option<String>,
    new_line: Option<u64>,
}

impl MergeRequest {
    fn into_found(self) -> Result<FoundPullRequest, ForgeError> {
        let body = self.description.clone().unwrap_or_default();
        Ok(FoundPullRequest { pull_request: self.into_pull_request()?, body })
    }

    fn into_pull_request(self) -> Result<PullRequest, ForgeError> {
        let is_checked = self.merge_status.as_deref().is_some_and(|status| !matches!(status, "unchecked" | "checking"));
        Ok(PullRequest {
            number: self.iid,
            url: self.web_url,
            title: self.title,
            state: match self.state.as_str() {
                "merged" => PullRequestState::Merged,
                "closed" => PullRequestState::Closed,
                _ => PullRequestState::Open,
            },
            draft: self.draft,
            base: BranchName::parse(&self.target_branch).map_err(|problem| ForgeError::Unreadable(problem.report.message))?,
            head_sha: self.sha.and_then(|sha| sha.parse().ok()),
            created_at: self.created_at,
            mergeable: self.has_conflicts.filter(|_| is_checked).map(|conflicts| !conflicts),
            checks: None,
            reviews: None,
        })
    }
}

impl CommitStatus {
    fn has_failed(&self) -> bool {
        matches!(self.status.as_str(), "failed" | "canceled") && !self.allow_failure
    }

    fn is_pending(&self) -> bool {
        matches!(self.status.as_str(), "created" | "waiting_for_resource" | "preparing" | "pending" | "running" | "scheduled")
    }
}

impl GitLab {
    pub(super) fn new(place: &ForgePlace, token: &Secret, calls: &Arc<Calls>) -> Result<Self, ForgeError> {
        let api = Api::new(&place.api_url, token, ("private-token", ""), &[("accept", "application/json")], calls)?;
        let project = escaped(place.project.as_str()).replace('/', "%2F");
        Ok(Self { api, project })
    }

    fn path(&self, rest: &str) -> String {
        format!("/projects/{}/{rest}", self.project)
    }

    fn statuses(&self, sha: &ObjectId) -> String {
        self.path(&format!("repository/commits/{sha}/statuses?per_page=100"))
    }
}

impl Forge for GitLab {
    fn find<'a>(&'a self, head: &'a BranchName) -> Answer<'a, Option<FoundPullRequest>> {
        Box::pin(async move {
            let path = self.path(&format!("merge_requests?state=opened&source_branch={}&per_page=100", escaped(head.as_str())));
            let found: Vec<MergeRequest> = self.api.get(&path).await?;
            // Anyone can open a merge request from a branch of the same name in a fork.
            let ours = found.into_iter().find(|found| found.source_project_id == found.target_project_id);
            ours.map(MergeRequest::into_found).transpose()
        })
    }

    fn open<'a>(&'a self, new: &'a NewPullRequest) -> Answer<'a, PullRequest> {
        Box::pin(async move {
            let title = if new.draft { format!("{DRAFT}{}", new.title) } else { new.title.clone() };
            let body = json!({ "source_branch": new.head, "target_branch": new.base, "title": title, "description": new.body });
            let made: MergeRequest = self.api.change(Method::POST, &self.path("merge_requests"), &body).await?;
            made.into_pull_request()
        })
    }

    fn edit<'a>(&'a self, number: u64, edit: &'a EditPullRequest) -> Answer<'a, PullRequest> {
        Box::pin(async move {
            let body = edit.with_names("description", DRAFT);
            let path = self.path(&format!("merge_requests/{number}"));
            self.api.change::<MergeRequest>(Method::PUT, &path, &body).await?.into_pull_request()
        })
    }

    fn newest(&self) -> Answer<'_, Option<Vec<PullRequest>>> {
        Box::pin(async move {
            let path = self.path("merge_requests?state=all&order_by=updated_at&sort=desc&per_page=100");
            let found: Option<Vec<MergeRequest>> = self.api.get_if_changed(&path).await?;
            found.map(|found| found.into_iter().map(MergeRequest::into_pull_request).collect()).transpose()
        })
    }

    fn details(&self, number: u64) -> Answer<'_, Option<PullRequest>> {
        Box::pin(async move {
            let found: Option<MergeRequest> = self.api.get_if_changed(&self.path(&format!("merge_requests/{number}"))).await?;
            found.map(MergeRequest::into_pull_request).transpose()
        })
    }

    fn checks<'a>(&'a self, _number: u64, sha: &'a ObjectId) -> Answer<'a, Option<Checks>> {
        Box::pin(async move {
            let found: Option<Vec<CommitStatus>> = self.api.get_if_changed(&self.statuses(sha)).await?;
            Ok(found.map(|found| {
                let mut checks = Checks::default();
                for status in found {
                    if status.is_pending() {
                        checks.pending += 1;
                    } else if status.has_failed() {
                        checks.failed.push(status.name);
                    } else {
                        checks.passed += 1;
                    }
                }
                checks
            }))
        })
    }

    fn reviews(&self, number: u64) -> Answer<'_, Option<Reviews>> {
        Box::pin(async move {
            let path = self.path(&format!("merge_requests/{number}/approvals"));
            let found: Option<Approvals> = self.api.get_if_changed(&path).await?;
            Ok(found.map(|found| Reviews {
                approved: found.approved_by.into_iter().map(|approval| approval.user.username).collect(),
                changes_requested: vec![],
            }))
        })
    }

    fn feedback<'a>(&'a self, pull_request: &'a PullRequest) -> Answer<'a, Feedback> {
        Box::pin(async move {
            let path = self.path(&format!("merge_requests/{}/discussions?per_page=100", pull_request.number));
            let found: Vec<Discussion> = self.api.get(&path).await?;
            let open =
                found.into_iter().filter(|discussion| discussion.notes.iter().any(|note| note.resolvable && !note.resolved));
            let notes = open.flat_map(|discussion| discussion.notes).filter(|note| !note.system);
            let comments = notes
                .map(|note| {
                    let (path, line) = note.position.map_or((None, None), |position| (position.new_path, position.new_line));
                    Comment { author: note.author.username, path, line, body: note.body }
                })
                .collect();
            let mut checks = vec![];
            if let Some(sha) = &pull_request.head_sha {
                let found: Vec<CommitStatus> = self.api.get(&self.statuses(sha)).await?;
                for status in found.into_iter().filter(CommitStatus::has_failed) {
                    let log = if checks.len() < MOST_LOGS {
                        self.api.text(&self.path(&format!("jobs/{}/trace", status.id))).await?
                    } else {
                        None
                    };
                    checks.push(FailedCheck { name: status.name, url: status.target_url, log });
                }
            }
            Ok(Feedback { comments, checks })
        })
    }
}
