//! Follows open pull requests: sends one request per Git host and tick.
//!
//! [`model::publication::follow`] decides what to request, and changes become events of the task. No requests are sent about
//! pull requests that are merged or closed, or that are old and not watched.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use config::Config;
use environments::Publishing;
use forge::{Forge, ForgeError};
use jiff::Timestamp;
use model::forge::ForgePlace;
use model::publication::follow::{FOLLOWED_FOR, FollowedPullRequest, Question, next_question};
use model::publication::{PullRequest, PullRequestState};
use model::secret::Secret;
use model::task::{PublicationEvent, TaskEvent};
use spine::{Common, Mailbox as _};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::task::{TaskSlot, Tasks};

/// A followed pull request of a task.
struct Subject {
    slot: Arc<TaskSlot>,
    pull_request: PullRequest,
    is_watched: bool,
}

/// Follows the pull requests of tasks.
pub(crate) struct PullRequests {
    config: Arc<Config>,
    tasks: Arc<Tasks>,
    publishing: Arc<Publishing>,
    tracker: TaskTracker,
    cancel: CancellationToken,
}

impl PullRequests {
    /// Creates the follower of a server's pull requests.
    pub(crate) fn new(common: Common, tasks: Arc<Tasks>, publishing: Arc<Publishing>) -> Self {
        let Common { config, tracker, cancel, .. } = common;
        Self { config, tasks, publishing, tracker, cancel }
    }

    /// Sends periodic requests until the server stops.
    pub(crate) fn keep_following(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        self.tracker.spawn(async move {
            let mut tick = tokio::time::interval(inner.config.forge_poll_interval);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while inner.cancel.run_until_cancelled(tick.tick()).await.is_some() {
                if inner.cancel.run_until_cancelled(inner.follow_once()).await.is_none() {
                    return;
                }
            }
        });
    }

    async fn follow_once(self: &Arc<Self>) {
        let mut places: HashMap<(ForgePlace, String), (Secret, Vec<Subject>)> = HashMap::new();
        for slot in self.tasks.table.all() {
            let Some((subject, place, token)) = self.subject(&slot) else { continue };
            let key = (place, token.expose().to_owned());
            places.entry(key).or_insert_with(|| (token, vec![])).1.push(subject);
        }
        for ((place, _), (token, subjects)) in places {
            self.ask_one(&place, &token, &subjects).await;
        }
    }

    fn subject(&self, slot: &Arc<TaskSlot>) -> Option<(Subject, ForgePlace, Secret)> {
        let record = slot.record();
        let pull_request = record.publication.as_ref()?.pull_request.clone()?;
        let is_watched = self.publishing.following.is_watched(slot.id);
        let age = Duration::try_from(Timestamp::now().duration_since(pull_request.created_at)).unwrap_or_default();
        if record.removing || pull_request.state != PullRequestState::Open || !(is_watched || age < FOLLOWED_FOR) {
            return None;
        }
        let (place, token) = self.publishing.place(slot.env_id)?;
        Some((Subject { slot: Arc::clone(slot), pull_request, is_watched }, place, token?))
    }

    async fn ask_one(self: &Arc<Self>, place: &ForgePlace, token: &Secret, subjects: &[Subject]) {
        let followed: Vec<_> = subjects
            .iter()
            .map(|subject| FollowedPullRequest {
                number: subject.pull_request.number,
                is_watched: subject.is_watched,
                has_pending_checks: subject.pull_request.checks.as_ref().is_none_or(|checks| checks.pending > 0),
            })
            .collect();
        let age = |question| self.publishing.following.age(place, question);
        let Some(question) = next_question(&followed, age) else { return };
        let asked = match self.publishing.forges.client(place, token) {
            Ok(forge) => self.ask_forge(forge.as_ref(), question, subjects).await,
            Err(error) => Err(error),
        };
        // After a failure, the request also waits for its next turn.
        self.publishing.following.note_request(place, question);
        if let Err(error) = asked {
            tracing::warn!(forge = place.api_url.host(), project = %place.project, %error, "could not query the Git host");
        }
    }

    async fn ask_forge(self: &Arc<Self>, forge: &dyn Forge, question: Question, subjects: &[Subject]) -> Result<(), ForgeError> {
        let of = |number: u64| subjects.iter().filter(move |subject| subject.pull_request.number == number);
        match question {
            Question::List => {
                for seen in forge.newest().await?.into_iter().flatten() {
                    for subject in of(seen.number) {
                        self.saw(&subject.slot, seen.clone()).await;
                    }
                }
            }
            Question::Details(number) | Question::Checks(number) | Question::Reviews(number) => {
                for subject in of(number) {
                    self.look_at(forge, &subject.slot, question).await?;
                }
            }
        }
        Ok(())
    }

    /// Sends a request about a task's pull request, and records what is new.
    async fn look_at(self: &Arc<Self>, forge: &dyn Forge, slot: &Arc<TaskSlot>, question: Question) -> Result<(), ForgeError> {
        let record = slot.record();
        let Some(known) = record.publication.as_ref().and_then(|publication| publication.pull_request.clone()) else {
            return Ok(());
        };
        let number = known.number;
        let seen = match question {
            Question::List => None,
            Question::Details(_) => forge.details(number).await?,
            Question::Checks(_) => match &known.head_sha {
                Some(sha) => forge.checks(number, sha).await?.map(|checks| PullRequest { checks: Some(checks), ..known }),
                None => None,
            },
            Question::Reviews(_) => forge.reviews(number).await?.map(|reviews| PullRequest { reviews: Some(reviews), ..known }),
        };
        if let Some(seen) = seen {
            self.saw(slot, seen).await;
        }
        Ok(())
    }

    async fn saw(self: &Arc<Self>, slot: &Arc<TaskSlot>, seen: PullRequest) {
        self.tasks.post(slot, TaskEvent::Publication(PublicationEvent::Seen { pull_request: Box::new(seen) })).await;
    }

    /// Refreshes a task's pull request because somebody is looking at it, and follows it for a while.
    pub(crate) async fn watch(self: &Arc<Self>, slot: &Arc<TaskSlot>) {
        self.publishing.following.watch(slot.id);
        let Some((subject, place, token)) = self.subject(slot) else { return };
        if !self.publishing.following.begins_refresh(slot.id) {
            return;
        }
        let number = subject.pull_request.number;
        for question in [Question::Details(number), Question::Checks(number), Question::Reviews(number)] {
            let asked = match self.publishing.forges.client(&place, &token) {
                Ok(forge) => self.look_at(forge.as_ref(), slot, question).await,
                Err(error) => Err(error),
            };
            self.publishing.following.note_request(&place, question);
            if let Err(error) = asked {
                tracing::warn!(task = %slot.id, %error, "could not query the Git host");
                return;
            }
        }
    }
}
