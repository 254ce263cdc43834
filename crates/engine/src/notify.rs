//! Telling people that something of theirs has ended or needs them: a signed webhook, and ntfy.
//!
//! What is told is decided by [`model::notice`]. A receiver that does not answer is tried three times and holds up nothing.
//! Invariant: a notice has a title and a link, and nothing of what an agent printed.

use std::sync::Arc;
use std::time::Duration;

use model::notice::{Notice, NoticeKind, notice};
use model::problem::{Problem, ProblemKind};
use model::secret::Secret;
use model::task::TaskRecord;

use crate::engine::Inner;

/// How often a receiver is tried.
const TRIES: u32 = 3;

/// How long is waited after the first try; three times as long after the next.
const PAUSE: Duration = Duration::from_secs(2);

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who is told, as `[notify]` of `config.toml` says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receivers {
    /// Gets each notice as JSON.
    pub webhook_url: Option<String>,
    /// Signs what the webhook gets.
    pub webhook_secret: Option<Secret>,
    /// A topic of ntfy, such as `https://ntfy.sh/my-topic`.
    pub ntfy_url: Option<String>,
    /// How a browser reaches the pages, for the links.
    pub public_url: Option<String>,
}

impl Receivers {
    /// Whether anybody is told.
    pub fn are_none(&self) -> bool {
        self.webhook_url.is_none() && self.ntfy_url.is_none()
    }
}

impl Inner {
    /// Tells what follows from a change of a task, if anybody wants to know it.
    pub(crate) fn tell(self: &Arc<Self>, before: &TaskRecord, after: &TaskRecord) {
        if self.config.receivers.are_none() {
            return;
        }
        let environment = self.environments.get(after.env_id).map(|slot| slot.record().name.to_string()).unwrap_or_default();
        let Some(notice) = notice(before, after, &environment, self.config.receivers.public_url.as_deref()) else { return };
        let inner = Arc::clone(self);
        self.tracker.spawn(async move {
            let told = inner.send(&notice);
            if let Some(Err(problem)) = inner.cancel.run_until_cancelled(told).await {
                tracing::warn!(%problem, "somebody could not be told");
            }
        });
    }

    /// Tells everybody something to try whether they hear it.
    pub(crate) async fn tell_for_a_test(&self) -> Result<(), Problem> {
        if self.config.receivers.are_none() {
            return Err(Problem::new(ProblemKind::WrongState, "no_receivers", "nobody is told anything")
                .hint("set `webhook_url` or `ntfy_url` under `[notify]` in config.toml, and start the server anew"));
        }
        self.send(&Notice::test(self.config.receivers.public_url.as_deref())).await
    }

    async fn send(&self, notice: &Notice) -> Result<(), Problem> {
        let receivers = &self.config.receivers;
        let webhook = async {
            match &receivers.webhook_url {
                Some(url) => tried("the webhook", || receivers.webhook(url, notice)).await,
                None => Ok(()),
            }
        };
        let ntfy = async {
            match &receivers.ntfy_url {
                Some(url) => tried("ntfy", || Receivers::ntfy(url, notice)).await,
                None => Ok(()),
            }
        };
        let (webhook, ntfy) = tokio::join!(webhook, ntfy);
        webhook.and(ntfy)
    }
}

impl Receivers {
    fn webhook(&self, url: &str, notice: &Notice) -> Result<reqwest::RequestBuilder, Problem> {
        let body = serde_json::to_vec(notice).map_err(Problem::internal)?;
        let mut request = client()?.post(url).header("content-type", "application/json");
        if let Some(secret) = &self.webhook_secret {
            request = request.header("x-codex-orchestrator-signature", format!("sha256={}", signature(secret, &body)));
        }
        Ok(request.body(body))
    }

    fn ntfy(url: &str, notice: &Notice) -> Result<reqwest::RequestBuilder, Problem> {
        let mut request = client()?.post(url).header("title", header_text(&notice.title)).header("tags", notice.event.tag());
        if let Some(link) = &notice.url {
            request = request.header("click", header_text(link));
        }
        Ok(request.body(notice.text.clone()))
    }
}

fn client() -> Result<reqwest::Client, Problem> {
    // An error means that another part of this process came first, with the same one.
    let _decided = rustls::crypto::ring::default_provider().install_default();
    let built = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build();
    built.map_err(Problem::internal)
}

/// HMAC-SHA256 in hexadecimal digits.
fn signature(secret: &Secret, body: &[u8]) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.expose().as_bytes());
    let tag = ring::hmac::sign(&key, body);
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

/// What a header takes; ntfy reads UTF-8 there as RFC 2047 writes it, and plain ASCII needs nothing.
fn header_text(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii() && !c.is_control() { c } else { '?' }).collect()
}

async fn tried(whom: &str, request: impl Fn() -> Result<reqwest::RequestBuilder, Problem>) -> Result<(), Problem> {
    let mut pause = PAUSE;
    let mut tries = 1;
    loop {
        let answer = request()?.send().await.and_then(reqwest::Response::error_for_status);
        match answer {
            Ok(_) => return Ok(()),
            Err(_) if tries < TRIES => {
                tokio::time::sleep(pause).await;
                (tries, pause) = (tries + 1, pause * 3);
            }
            Err(error) => {
                // Its address may have a secret in it.
                let detail = format!("{whom} could not be told: {}", error.without_url());
                return Err(Problem::new(ProblemKind::Unavailable, "not_told", detail)
                    .hint("is the address under `[notify]` in config.toml right, and reachable from here?"));
            }
        }
    }
}

impl NoticeTag for NoticeKind {
    fn tag(self) -> &'static str {
        match self {
            Self::Finished => "white_check_mark",
            Self::Failed => "x",
            Self::Interrupted => "zap",
            Self::NeedsYou => "warning",
            Self::Test => "wave",
        }
    }
}

/// What ntfy shows as a picture.
trait NoticeTag {
    fn tag(self) -> &'static str;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_others_compute() {
        // The second example of RFC 4231.
        let expect = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature(&Secret::new("Jefe"), b"what do ya want for nothing?"), expect);
    }

    #[test]
    fn a_header_is_one_line_of_ascii() {
        assert_eq!(header_text("Fix \u{1f980}\r\nX: y"), "Fix ???X: y");
    }
}
