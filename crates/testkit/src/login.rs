//! Logins as Codex stores them for an account, and what renews them in the place of the provider.
//! The tokens have the form of real ones and open nothing.

use axum::Json;
use axum::Router;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

/// Seconds since 1970 in a year that tests do not live to see, and not so far away that a token could not last until then.
fn in_days(days: i64) -> i64 {
    jiff::Timestamp::now().as_second() + days * 24 * 3600
}

/// The login of an account. Its tokens expire in so many days, and the refresh token is `refresh`.
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

/// What renews tokens in the place of the provider: it answers every request with those of one login.
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
    /// Starts to listen on the loopback.
    ///
    /// # Panics
    /// When the loopback has no free port.
    pub async fn start(login: &Value) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("the loopback has a free port");
        let url = format!("http://{}/oauth/token", listener.local_addr().expect("it is bound"));
        let tokens = login["tokens"].clone();
        let app = Router::new().fallback(move || async move { Json(tokens) });
        let server = tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves until it is dropped") });
        Self { url, server }
    }

    /// For `CODEX_REFRESH_TOKEN_URL_OVERRIDE`.
    pub fn url(&self) -> &str {
        &self.url
    }
}
