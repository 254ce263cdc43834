//! The state of a simulated Git host of any kind. The branches are those of the repository.

use std::collections::BTreeMap;

use super::{PROJECT, Repository, TOKEN, git};

/// A pull request.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields have the names that Git hosts use")]
pub struct PullRequest {
    pub number: u64,
    pub title: String,
    pub body: String,
    pub head: String,
    pub base: String,
    pub draft: bool,
    /// `open`, `closed` or `merged`.
    pub state: String,
    pub mergeable: Option<bool>,
    pub created_at: String,
}

/// A check of a commit.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields have the names that Git hosts use")]
pub struct Check {
    pub id: u64,
    pub sha: String,
    pub name: String,
    /// `None` while it is running.
    pub passed: Option<bool>,
    pub log: String,
}

/// A review of a pull request.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields have the names that Git hosts use")]
pub struct Review {
    pub number: u64,
    pub author: String,
    /// `APPROVED`, `CHANGES_REQUESTED` or `COMMENTED`.
    pub state: String,
    pub body: String,
}

/// A comment on a line.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields have the names that Git hosts use")]
pub struct Comment {
    pub number: u64,
    pub author: String,
    pub path: String,
    pub line: u64,
    pub body: String,
    pub resolved: bool,
}

pub(super) struct World {
    pub(super) repository: Repository,
    pub(super) project: String,
    pub(super) old_projects: Vec<String>,
    pub(super) token: String,
    pub(super) pull_requests: Vec<PullRequest>,
    pub(super) checks: Vec<Check>,
    pub(super) reviews: Vec<Review>,
    pub(super) comments: Vec<Comment>,
    /// The last known head of each pull request while it was open.
    heads: BTreeMap<u64, String>,
}

/// The reason why a pull request was not created.
pub(super) enum NotMade {
    NoBranch(&'static str),
    NoCommits,
    Exists(u64),
}

impl World {
    pub(super) fn new(repository: Repository) -> Self {
        Self {
            repository,
            project: PROJECT.to_owned(),
            old_projects: vec![],
            token: TOKEN.to_owned(),
            pull_requests: vec![],
            checks: vec![],
            reviews: vec![],
            comments: vec![],
            heads: BTreeMap::new(),
        }
    }

    pub(super) fn commit_of(&self, branch: &str) -> Option<String> {
        git(&self.repository, &["rev-parse", "--verify", "--quiet", &format!("refs/heads/{branch}")])
    }

    /// Returns the head commit of a pull request. While the pull request is open, this is the commit of its branch.
    pub(super) fn head_of(&mut self, pull_request: &PullRequest) -> String {
        match self.commit_of(&pull_request.head).filter(|_| pull_request.state == "open") {
            Some(head) => {
                self.heads.insert(pull_request.number, head.clone());
                head
            }
            None => self.heads.get(&pull_request.number).cloned().unwrap_or_else(|| "0".repeat(40)),
        }
    }

    /// Creates a pull request if its branches exist and differ and have no open pull request yet.
    pub(super) fn open(&mut self, title: &str, body: &str, head: &str, base: &str, draft: bool) -> Result<PullRequest, NotMade> {
        if self.commit_of(head).is_none() {
            return Err(NotMade::NoBranch("head"));
        }
        if self.commit_of(base).is_none() {
            return Err(NotMade::NoBranch("base"));
        }
        if let Some(open) = self.pull_requests.iter().find(|known| known.head == head && known.state == "open") {
            return Err(NotMade::Exists(open.number));
        }
        let range = format!("refs/heads/{base}..refs/heads/{head}");
        if git(&self.repository, &["rev-list", "--count", &range]).as_deref() == Some("0") {
            return Err(NotMade::NoCommits);
        }
        let made = PullRequest {
            number: self.pull_requests.len() as u64 + 1,
            title: title.to_owned(),
            body: body.to_owned(),
            head: head.to_owned(),
            base: base.to_owned(),
            draft,
            state: "open".to_owned(),
            mergeable: None,
            created_at: now(),
        };
        self.pull_requests.push(made.clone());
        Ok(made)
    }

    pub(super) fn log_of(&self, id: u64) -> String {
        self.checks.iter().find(|check| check.id == id).map(|check| check.log.clone()).unwrap_or_default()
    }
}

/// Returns the current time in the format of Git hosts.
fn now() -> String {
    let done = std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output();
    String::from_utf8_lossy(&done.expect("`date` is installed").stdout).trim().to_owned()
}
