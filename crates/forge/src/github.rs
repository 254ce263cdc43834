//! GitHub, both github.com and Enterprise: the REST API of 2022-11-28, and one GraphQL query that has no REST equivalent.
//! Source: <https://docs.github.com/en/rest>. The tests check every request and response against GitHub's own description.

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

/// The maximum number of logs of failed checks that are fetched.
const MOST_LOGS: usize = 5;

/// Queries unresolved conversations, which REST does not support.
const THREADS: &str = "query($owner: String!, $name: String!, $number: Int!) { repository(owner: $owner, name: $name) { \
    pullRequest(number: $number) { reviewThreads(first: 100) { nodes { isResolved path line \
    comments(first: 50) { nodes { author { login } body } } } } } } }";

pub(super) struct GitHub {
    api: Api,
    graphql: Api,
    place: ForgePlace,
}

/// A pull request in GitHub's format, which Forgejo also uses.
#[derive(Deserialize)]
pub(super) struct Pull {
    number: u64,
    html_url: String,
    title: String,
    body: Option<String>,
    state: String,
    #[serde(default)]
    draft: bool,
    merged_at: Option<Timestamp>,
    created_at: Timestamp,
    mergeable: Option<bool>,
    pub(super) base: Branch,
    pub(super) head: Branch,
}

#[derive(Deserialize)]
pub(super) struct Branch {
    #[serde(rename = "ref")]
    pub(super) name: String,
    sha: String,
    /// The repository of the branch. Only Forgejo returns this field.
    pub(super) repo_id: Option<i64>,
}

#[derive(Deserialize)]
struct CheckRuns {
    check_runs: Vec<CheckRun>,
}

#[derive(Deserialize)]
struct CheckRun {
    id: u64,
    name: String,
    status: String,
    conclusion: Option<String>,
    html_url: Option<String>,
    app: Option<App>,
    output: Option<Output>,
}

#[derive(Deserialize)]
struct App {
    slug: Option<String>,
}

#[derive(Deserialize)]
struct Output {
    summary: Option<String>,
    text: Option<String>,
}

#[derive(Deserialize)]
struct Review {
    user: Option<User>,
    state: String,
    body: String,
}

#[derive(Deserialize)]
pub(super) struct User {
    pub(super) login: String,
}

impl Pull {
    pub(super) fn into_found(self) -> Result<FoundPullRequest, ForgeError> {
        let body = self.body.clone().unwrap_or_default();
        Ok(FoundPullRequest { pull_request: self.into_pull_request()?, body })
    }

    pub(super) fn into_pull_request(self) -> Result<PullRequest, ForgeError> {
        let state = match (self.merged_at, self.state.as_str()) {
            (Some(_), _) => PullRequestState::Merged,
            (None, "open") => PullRequestState::Open,
            (None, _) => PullRequestState::Closed,
        };
        Ok(PullRequest {
            number: self.number,
            url: self.html_url,
            title: self.title,
            state,
            draft: self.draft,
            base: BranchName::parse(&self.base.name).map_err(|problem| ForgeError::Unreadable(problem.report.message))?,
            head_sha: self.head.sha.parse().ok(),
            created_at: self.created_at,
            mergeable: self.mergeable,
            checks: None,
            reviews: None,
        })
    }
}

impl CheckRun {
    fn has_failed(&self) -> bool {
        matches!(self.conclusion.as_deref(), Some("failure" | "timed_out" | "cancelled" | "action_required" | "startup_failure"))
    }

    fn is_pending(&self) -> bool {
        self.status != "completed"
    }
}

impl GitHub {
    pub(super) fn new(place: &ForgePlace, token: &Secret, calls: &Arc<Calls>) -> Result<Self, ForgeError> {
        let fixed = [("accept", "application/vnd.github+json"), ("x-github-api-version", "2022-11-28")];
        let bearer = ("authorization", "Bearer ");
        // On Enterprise, the GraphQL API is next to `/api/v3`.
        let base = place.api_url.as_str();
        let base = base.strip_suffix("/v3").unwrap_or(base);
        let base = model::forge::ApiUrl::parse(base).map_err(|problem| ForgeError::Unreadable(problem.report.message))?;
        let api = Api::new(&place.api_url, token, bearer, &fixed, calls)?;
        Ok(Self { api, graphql: Api::new(&base, token, bearer, &fixed, calls)?, place: place.clone() })
    }

    fn path(&self, rest: &str) -> String {
        format!("/repos/{}/{rest}", self.place.project)
    }

    async fn check_runs(&self, sha: &ObjectId) -> Result<Option<Vec<CheckRun>>, ForgeError> {
        let path = self.path(&format!("commits/{sha}/check-runs?per_page=100"));
        Ok(self.api.get_if_changed::<CheckRuns>(&path).await?.map(|found| found.check_runs))
    }

    async fn unresolved(&self, number: u64) -> Result<Vec<Comment>, ForgeError> {
        let (owner, name) = self.place.project.as_str().split_once('/').unwrap_or_default();
        let asked = json!({ "query": THREADS, "variables": { "owner": owner, "name": name, "number": number } });
        let answer: serde_json::Value = self.graphql.change(Method::POST, "/graphql", &asked).await?;
        let threads = &answer["data"]["repository"]["pullRequest"]["reviewThreads"]["nodes"];
        let Some(threads) = threads.as_array() else {
            return Err(ForgeError::Refused(format!("the host did not return the unresolved comments: {}", answer["errors"])));
        };
        let open = threads.iter().filter(|thread| thread["isResolved"] == false);
        let comments = open.flat_map(|thread| {
            let each = thread["comments"]["nodes"].as_array().into_iter().flatten();
            each.map(|comment| Comment {
                author: comment["author"]["login"].as_str().unwrap_or("somebody").to_owned(),
                path: thread["path"].as_str().map(str::to_owned),
                line: thread["line"].as_u64(),
                body: comment["body"].as_str().unwrap_or_default().to_owned(),
            })
        });
        Ok(comments.collect())
    }

    async fn log_of(&self, check: &CheckRun) -> Result<Option<String>, ForgeError> {
        // A check run of GitHub Actions is a job with the same ID.
        if check.app.as_ref().and_then(|app| app.slug.as_deref()) == Some("github-actions") {
            let log = self.api.text(&self.path(&format!("actions/jobs/{}/logs", check.id))).await?;
            if log.is_some() {
                return Ok(log);
            }
        }
        let said = check.output.iter().flat_map(|output| [output.summary.as_deref(), output.text.as_deref()]).flatten();
        let said = said.collect::<Vec<_>>().join("\n");
        Ok(Some(said).filter(|said| !said.trim().is_empty()))
    }
}

impl Forge for GitHub {
    fn find<'a>(&'a self, head: &'a BranchName) -> Answer<'a, Option<FoundPullRequest>> {
        Box::pin(async move {
            let head = format!("{}:{}", self.place.project.owner(), head.as_str());
            let path = self.path(&format!("pulls?state=open&head={}&per_page=10", escaped(&head)));
            let found: Vec<Pull> = self.api.get(&path).await?;
            found.into_iter().next().map(Pull::into_found).transpose()
        })
    }

    fn open<'a>(&'a self, new: &'a NewPullRequest) -> Answer<'a, PullRequest> {
        Box::pin(async move {
            let body = json!({ "title": new.title, "head": new.head, "base": new.base, "body": new.body, "draft": new.draft });
            changed_pull(&self.api, Method::POST, &self.path("pulls"), &body).await
        })
    }

    fn edit<'a>(&'a self, number: u64, edit: &'a EditPullRequest) -> Answer<'a, PullRequest> {
        Box::pin(async move {
            let path = self.path(&format!("pulls/{number}"));
            changed_pull(&self.api, Method::PATCH, &path, &edit.with_names("body", "")).await
        })
    }

    fn newest(&self) -> Answer<'_, Option<Vec<PullRequest>>> {
        Box::pin(
            async move { newest_pulls(&self.api, &self.path("pulls?state=all&sort=updated&direction=desc&per_page=100")).await },
        )
    }

    fn details(&self, number: u64) -> Answer<'_, Option<PullRequest>> {
        Box::pin(async move { one_pull(&self.api, &self.path(&format!("pulls/{number}"))).await })
    }

    fn checks<'a>(&'a self, _number: u64, sha: &'a ObjectId) -> Answer<'a, Option<Checks>> {
        Box::pin(async move {
            let Some(found) = self.check_runs(sha).await? else { return Ok(None) };
            let mut checks = Checks::default();
            for check in found {
                if check.is_pending() {
                    checks.pending += 1;
                } else if check.has_failed() {
                    checks.failed.push(check.name);
                } else {
                    checks.passed += 1;
                }
            }
            Ok(Some(checks))
        })
    }

    fn reviews(&self, number: u64) -> Answer<'_, Option<Reviews>> {
        Box::pin(async move {
            let path = self.path(&format!("pulls/{number}/reviews?per_page=100"));
            let found: Option<Vec<Review>> = self.api.get_if_changed(&path).await?;
            Ok(found.map(|found| {
                last_words(found.into_iter().filter_map(|review| {
                    let verdict = match review.state.as_str() {
                        "APPROVED" => Some(true),
                        "CHANGES_REQUESTED" => Some(false),
                        "DISMISSED" => None,
                        // A comment does not change an earlier verdict.
                        _ => return None,
                    };
                    Some((review.user?.login, verdict))
                }))
            }))
        })
    }

    fn feedback<'a>(&'a self, pull_request: &'a PullRequest) -> Answer<'a, Feedback> {
        Box::pin(async move {
            let number = pull_request.number;
            let reviews: Vec<Review> = self.api.get(&self.path(&format!("pulls/{number}/reviews?per_page=100"))).await?;
            let wanting = reviews.into_iter().filter(|review| review.state == "CHANGES_REQUESTED" && !review.body.is_empty());
            let mut comments: Vec<Comment> = wanting
                .map(|review| Comment {
                    author: review.user.map_or_else(|| "somebody".to_owned(), |user| user.login),
                    path: None,
                    line: None,
                    body: review.body,
                })
                .collect();
            comments.extend(self.unresolved(number).await?);
            let mut checks = vec![];
            if let Some(sha) = &pull_request.head_sha {
                let found: CheckRuns = self.api.get(&self.path(&format!("commits/{sha}/check-runs?per_page=100"))).await?;
                for check in found.check_runs.iter().filter(|check| check.has_failed()) {
                    let log = if checks.len() < MOST_LOGS { self.log_of(check).await? } else { None };
                    checks.push(FailedCheck { name: check.name.clone(), url: check.html_url.clone(), log });
                }
            }
            Ok(Feedback { comments, checks })
        })
    }
}

/// Parses a pull request that was created or changed.
pub(super) async fn changed_pull(
    api: &Api,
    method: Method,
    path: &str,
    body: &impl serde::Serialize,
) -> Result<PullRequest, ForgeError> {
    api.change::<Pull>(method, path, body).await?.into_pull_request()
}

/// Returns a list of pull requests, or `None` if it has not changed.
pub(super) async fn newest_pulls(api: &Api, path: &str) -> Result<Option<Vec<PullRequest>>, ForgeError> {
    let found: Option<Vec<Pull>> = api.get_if_changed(path).await?;
    found.map(|found| found.into_iter().map(Pull::into_pull_request).collect()).transpose()
}

/// Returns a pull request, or `None` if it has not changed.
pub(super) async fn one_pull(api: &Api, path: &str) -> Result<Option<PullRequest>, ForgeError> {
    let found: Option<Pull> = api.get_if_changed(path).await?;
    found.map(Pull::into_pull_request).transpose()
}

/// Returns the latest verdict of each reviewer: approved, changes requested, or withdrawn.
pub(super) fn last_words(verdicts: impl Iterator<Item = (String, Option<bool>)>) -> Reviews {
    let mut last = std::collections::BTreeMap::new();
    last.extend(verdicts);
    let of = |wanted: bool| last.iter().filter(|(_, verdict)| **verdict == Some(wanted)).map(|(who, _)| who.clone()).collect();
    Reviews { approved: of(true), changes_requested: of(false) }
}
