//! Account logins in Codex's format, and a simulated provider that renews them. The tokens look like real ones but are
//! worthless.

use axum::Json;
use axum::Router;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

/// Returns the time in this number of days, in seconds since 1970.
fn in_days(days: i64) -> i64 {
    jiff::Timestamp::now().as_second() + days * 24 * 3600
}

/// Returns the login of an account with this refresh token. Its other tokens expire in this number of days.
pub fn account(account: &str, refresh: &str, days: i64) -> Value {
    let claims = json!({ "iss": "https://auth.openai.com", "sub": format!("user-of-{account}"), "exp": in_days(days),
        "https://api.openai.com/auth": { "chatgpt_account_id": account, "chatgpt_user_id": format!("user-of-{account}") } });
    let token = |name: &str| format!("e30.{}.{}", BASE64.encode(claims.to_string()), BASE64.encode(format!("{name}-{refresh}")));
    json!({
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": null,
        "tokens": { "id_token": token("id"), "access_token": token("access"), "refresh_token": refresh, "account_id": account },
        "last_refresh": "2026-01-01T00:00:00Z",
    })
}

/// A simulated provider that answers every request with the tokens of one login.
pub struct Renewer {
    url: String,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Renewer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Renewer {
    /// Starts the provider on the loopback interface.
    ///
    /// # Panics
    /// If the loopback has no free port.
    pub async fn start(login: &Value) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("the loopback has a free port");
        let url = format!("http://{}/oauth/token", listener.local_addr().expect("it is bound"));
        let tokens = login["tokens"].clone();
        let app = Router::new().fallback(move || async move { Json(tokens) });
        let server = tokio::spawn(async move { axum::serve(listener, app).await.expect("the server runs until it is dropped") });
        Self { url, server }
    }

    /// Returns the URL for `CODEX_REFRESH_TOKEN_URL_OVERRIDE`.
    pub fn url(&self) -> &str {
        &self.url
    }
}
