//! Forgejo and Gitea: pull requests in API v1, whose answers resemble GitHub's. Source: <https://codeberg.org/api/swagger>.
//! Their lists cannot be filtered by branch, so the newest pull requests are searched.

use std::sync::Arc;

use model::forge::ForgePlace;
use model::ids::ObjectId;
use model::names::BranchName;
use model::publication::feedback::{Comment, FailedCheck, Feedback};
use model::publication::{Checks, PullRequest, Reviews};
use model::secret::Secret;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::api::Api;
use super::calls::Calls;
use super::github::{Pull, User, changed_pull, last_words, newest_pulls, one_pull};
use super::{Answer, EditPullRequest, Forge, ForgeError, FoundPullRequest, NewPullRequest};

/// The prefix of a draft's title.
const DRAFT: &str = "WIP: ";

/// The maximum number of pages of 50 open pull requests that are searched.
const MOST_PAGES: usize = 20;

/// The number of reviews and statuses that are requested: the most that Forgejo returns by default. Without a limit, it returns 30.
const MOST_ITEMS: usize = 50;

pub(super) struct Forgejo {
    api: Api,
    place: ForgePlace,
}

#[derive(Deserialize)]
struct CombinedStatus {
    /// `None` if the commit has no statuses.
    statuses: Option<Vec<Status>>,
}

#[derive(Deserialize)]
struct Status {
    context: String,
    #[serde(rename = "status")]
    state: String,
    target_url: Option<String>,
    description: Option<String>,
}

#[derive(Deserialize)]
struct Review {
    id: u64,
    user: Option<User>,
    state: String,
    #[serde(default)]
    body: String,
    #[serde(default)]
    dismissed: bool,
    #[serde(default)]
    comments_count: u64,
}

#[derive(Deserialize)]
struct ReviewComment {
    user: Option<User>,
    body: String,
    path: Option<String>,
    position: Option<u64>,
    /// Who resolved the comment.
    resolver: Option<User>,
}

impl Status {
    fn has_failed(&self) -> bool {
        matches!(self.state.as_str(), "failure" | "error")
    }
}

impl Forgejo {
    pub(super) fn new(place: &ForgePlace, token: &Secret, calls: &Arc<Calls>) -> Result<Self, ForgeError> {
        let api = Api::new(&place.api_url, token, ("authorization", "token "), &[("accept", "application/json")], calls)?;
        Ok(Self { api, place: place.clone() })
    }

    fn path(&self, rest: &str) -> String {
        format!("/repos/{}/{rest}", self.place.project)
    }

    fn reviews_path(&self, number: u64) -> String {
        self.path(&format!("pulls/{number}/reviews?limit={MOST_ITEMS}"))
    }

    fn status(&self, sha: &ObjectId) -> String {
        self.path(&format!("commits/{sha}/status?limit={MOST_ITEMS}"))
    }
}

impl Forge for Forgejo {
    fn find<'a>(&'a self, head: &'a BranchName) -> Answer<'a, Option<FoundPullRequest>> {
        Box::pin(async move {
            for page in 1..=MOST_PAGES {
                let path = self.path(&format!("pulls?state=open&sort=recentupdate&limit=50&page={page}"));
                let found: Vec<Pull> = self.api.get(&path).await?;
                if found.is_empty() {
                    break;
                }
                // Anyone can open a pull request from a branch of the same name in a fork.
                let is_ours = |pull: &Pull| pull.head.name == head.as_str() && pull.head.repo_id == pull.base.repo_id;
                if let Some(ours) = found.into_iter().find(is_ours) {
                    return ours.into_found().map(Some);
                }
            }
            Ok(None)
        })
    }

    fn open<'a>(&'a self, new: &'a NewPullRequest) -> Answer<'a, PullRequest> {
        Box::pin(async move {
            let title = if new.draft { format!("{DRAFT}{}", new.title) } else { new.title.clone() };
            let body = json!({ "title": title, "head": new.head, "base": new.base, "body": new.body });
            changed_pull(&self.api, Method::POST, &self.path("pulls"), &body).await
        })
    }

    fn edit<'a>(&'a self, number: u64, edit: &'a EditPullRequest) -> Answer<'a, PullRequest> {
        Box::pin(async move {
            let path = self.path(&format!("pulls/{number}"));
            changed_pull(&self.api, Method::PATCH, &path, &edit.with_names("body", DRAFT)).await
        })
    }

    fn newest(&self) -> Answer<'_, Option<Vec<PullRequest>>> {
        Box::pin(async move { newest_pulls(&self.api, &self.path("pulls?state=all&sort=recentupdate&limit=50")).await })
    }

    fn details(&self, number: u64) -> Answer<'_, Option<PullRequest>> {
        Box::pin(async move { one_pull(&self.api, &self.path(&format!("pulls/{number}"))).await })
    }

    fn checks<'a>(&'a self, _number: u64, sha: &'a ObjectId) -> Answer<'a, Option<Checks>> {
        Box::pin(async move {
            let found: Option<CombinedStatus> = self.api.get_if_changed(&self.status(sha)).await?;
            Ok(found.map(|found| {
                let mut checks = Checks::default();
                for status in found.statuses.into_iter().flatten() {
                    match status.state.as_str() {
                        "pending" => checks.pending += 1,
                        _ if status.has_failed() => checks.failed.push(status.context),
                        _ => checks.passed += 1,
                    }
                }
                checks
            }))
        })
    }

    fn reviews(&self, number: u64) -> Answer<'_, Option<Reviews>> {
        Box::pin(async move {
            let found: Option<Vec<Review>> = self.api.get_if_changed(&self.reviews_path(number)).await?;
            Ok(found.map(|found| {
                last_words(found.into_iter().filter_map(|review| {
                    let verdict = match (review.dismissed, review.state.as_str()) {
                        (true, _) => None,
                        (false, "APPROVED") => Some(true),
                        (false, "REQUEST_CHANGES") => Some(false),
                        (false, _) => return None,
                    };
                    Some((review.user?.login, verdict))
                }))
            }))
        })
    }

    fn feedback<'a>(&'a self, pull_request: &'a PullRequest) -> Answer<'a, Feedback> {
        Box::pin(async move {
            let number = pull_request.number;
            let who = |user: Option<User>| user.map_or_else(|| "somebody".to_owned(), |user| user.login);
            let reviews: Vec<Review> = self.api.get(&self.reviews_path(number)).await?;
            let mut comments = vec![];
            for review in reviews.into_iter().filter(|review| !review.dismissed) {
                if review.comments_count > 0 {
                    let path = self.path(&format!("pulls/{number}/reviews/{}/comments", review.id));
                    let found: Vec<ReviewComment> = self.api.get(&path).await?;
                    comments.extend(found.into_iter().filter(|comment| comment.resolver.is_none()).map(|comment| Comment {
                        author: who(comment.user),
                        path: comment.path,
                        line: comment.position,
                        body: comment.body,
                    }));
                }
                if review.state == "REQUEST_CHANGES" && !review.body.is_empty() {
                    comments.push(Comment { author: who(review.user), path: None, line: None, body: review.body });
                }
            }
            let mut checks = vec![];
            if let Some(sha) = &pull_request.head_sha {
                let found: CombinedStatus = self.api.get(&self.status(sha)).await?;
                let failed = found.statuses.into_iter().flatten().filter(Status::has_failed);
                // The API does not provide logs.
                checks.extend(failed.map(|status| FailedCheck {
                    name: status.context,
                    url: status.target_url,
                    log: status.description.filter(|said| !said.is_empty()),
                }));
            }
            Ok(Feedback { comments, checks })
        })
    }
}
