//! Sign-in to the pages: one-time codes that a terminal shows, and the sessions of browsers.
//!
//! A code works for one browser and a few minutes, and becomes invalid when the server stops. A session lasts until it is
//! revoked or 90 days have passed, and is only valid at the host name where it started. Invariant: neither a code nor a
//! session's secret is stored; only hashes are compared.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use ring::digest::{SHA256, digest};
use store::{Home, SessionRecord, StoreError};

/// How long a code is valid.
const CODE_LIFE: Duration = Duration::from_mins(10);

/// How long a browser stays signed in, in days.
const SESSION_DAYS: i64 = 90;

/// The maximum number of valid codes.
const MOST_CODES: usize = 20;

/// The maximum number of sessions. A new session replaces the oldest one.
const MOST_SESSIONS: usize = 100;

/// The maximum length of a browser's name, in characters.
const LABEL_CHARS: usize = 120;

/// The valid codes and sessions.
pub struct Sessions {
    inner: Mutex<State>,
}

#[derive(Default)]
struct State {
    sessions: Vec<SessionRecord>,
    codes: Vec<(String, Instant)>,
}

/// A signed-in browser, as shown in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// The first digits of the session's hash.
    pub id: String,
    /// The name that the browser gave itself.
    pub label: String,
    /// When the browser signed in.
    pub created_at: Timestamp,
}

/// A browser that signs in.
#[derive(Debug, Clone, Copy)]
pub struct Browser<'a> {
    /// The name that it gives itself.
    pub label: &'a str,
    /// The host name at which it signs in, without a port.
    pub host: &'a str,
    /// When the browser signs in.
    pub now: Timestamp,
}

/// Returns the SHA-256 in hexadecimal digits.
fn hash(text: &str) -> String {
    hex::encode(digest(&SHA256, text.as_bytes()))
}

/// Returns more than 128 random bits from the system's generator.
fn secret() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

fn is_fresh(session: &SessionRecord, now: Timestamp) -> bool {
    now.duration_since(session.created_at) < SignedDuration::from_hours(24 * SESSION_DAYS)
}

impl Sessions {
    /// Reads the sessions from a home.
    pub fn open(home: &Home) -> Result<Self, StoreError> {
        let sessions = home.read_sessions()?;
        Ok(Self { inner: Mutex::new(State { sessions, codes: vec![] }) })
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // The guarded data is consistent after every statement, even if a holder panicked.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates a code.
    pub fn code(&self) -> String {
        let code = secret();
        let mut state = self.locked();
        state.codes.retain(|(_, made)| made.elapsed() < CODE_LIFE);
        let surplus = (state.codes.len() + 1).saturating_sub(MOST_CODES);
        state.codes.drain(..surplus);
        state.codes.push((hash(&code), Instant::now()));
        code
    }

    /// Whether a code is valid, without using it up.
    pub fn is_code(&self, code: &str) -> bool {
        let code = hash(code);
        self.locked().codes.iter().any(|(known, made)| *known == code && made.elapsed() < CODE_LIFE)
    }

    /// Returns the secret of a new session, if the code is valid. This uses up the code.
    pub fn redeem(&self, home: &Home, code: &str, browser: &Browser<'_>) -> Result<Option<String>, StoreError> {
        let mut state = self.locked();
        state.codes.retain(|(_, made)| made.elapsed() < CODE_LIFE);
        let code = hash(code);
        let Some(at) = state.codes.iter().position(|(known, _)| *known == code) else { return Ok(None) };
        state.codes.remove(at);
        Self::begin(&mut state, home, browser).map(Some)
    }

    /// Returns the secret of a new session, for a browser that has authenticated in another way.
    pub fn open_one(&self, home: &Home, browser: &Browser<'_>) -> Result<String, StoreError> {
        Self::begin(&mut self.locked(), home, browser)
    }

    fn begin(state: &mut State, home: &Home, browser: &Browser<'_>) -> Result<String, StoreError> {
        let (secret, now) = (secret(), browser.now);
        let label = browser.label.chars().filter(|c| !c.is_control()).take(LABEL_CHARS).collect();
        let mut sessions: Vec<_> = state.sessions.iter().filter(|session| is_fresh(session, now)).cloned().collect();
        sessions.push(SessionRecord { hash: hash(&secret), label, created_at: now, host: browser.host.to_owned() });
        let surplus = sessions.len().saturating_sub(MOST_SESSIONS);
        sessions.drain(..surplus);
        home.write_sessions(&sessions)?;
        state.sessions = sessions;
        Ok(secret)
    }

    /// Whether this is the secret of a session that is valid at this host name.
    pub fn is_open(&self, secret: &str, host: &str, now: Timestamp) -> bool {
        let hash = hash(secret);
        let fits = |session: &SessionRecord| session.hash == hash && session.host == host && is_fresh(session, now);
        self.locked().sessions.iter().any(fits)
    }

    /// Whether the session with this ID is valid.
    pub fn holds(&self, id: &str, now: Timestamp) -> bool {
        id.len() >= 12 && self.locked().sessions.iter().any(|session| session.hash.starts_with(id) && is_fresh(session, now))
    }

    /// Returns the signed-in browsers, newest first.
    pub fn list(&self) -> Vec<SessionView> {
        let sessions = self.locked().sessions.clone();
        let view = |session: SessionRecord| SessionView {
            id: session.hash[..12.min(session.hash.len())].to_owned(),
            label: session.label,
            created_at: session.created_at,
        };
        sessions.into_iter().rev().map(view).collect()
    }

    /// Returns the ID of the session with this secret, as listed by [`Sessions::list`].
    pub fn id_of(secret: &str) -> String {
        hash(secret)[..12].to_owned()
    }

    /// Ends a session. Ending it twice is harmless.
    pub fn revoke(&self, home: &Home, id: &str) -> Result<(), StoreError> {
        let mut state = self.locked();
        let kept: Vec<_> =
            state.sessions.iter().filter(|session| !session.hash.starts_with(id) || id.len() < 12).cloned().collect();
        home.write_sessions(&kept)?;
        state.sessions = kept;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "box.example";

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().expect("a time")
    }

    fn browser(label: &str) -> Browser<'_> {
        Browser { label, host: HOST, now: now() }
    }

    #[test]
    fn a_code_signs_in_one_browser_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        let sessions = Sessions::open(&home).expect("none yet");
        let code = sessions.code();
        assert!(sessions.is_code(&code) && sessions.is_code(&code) && !sessions.is_code("guessed"));
        let secret = sessions.redeem(&home, &code, &browser("Firefox\n")).expect("written").expect("the code is valid");
        assert!(sessions.is_open(&secret, HOST, now()) && !sessions.is_code(&code));
        assert_eq!(sessions.redeem(&home, &code, &browser("again")).expect("read"), None);
        assert_eq!(sessions.redeem(&home, "guessed", &browser("x")).expect("read"), None);
        assert!(!sessions.is_open(&code, HOST, now()) && !sessions.is_open("", HOST, now()));
        let text = std::fs::read_to_string(home.layout.page_sessions()).expect("written");
        assert!(text.contains("Firefox") && !text.contains(&secret) && !text.contains(&code));
    }

    #[test]
    fn a_session_survives_a_restart_and_ends_when_it_is_revoked_or_old() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        let first = Sessions::open(&home).expect("none yet");
        let secret = first.redeem(&home, &first.code(), &browser("phone")).expect("written").expect("good");
        let sessions = Sessions::open(&home).expect("read");
        assert!(sessions.is_open(&secret, HOST, now()) && sessions.holds(&Sessions::id_of(&secret), now()));
        let late = now() + SignedDuration::from_hours(24 * 91);
        assert!(
            !sessions.is_open(&secret, HOST, late)
                && !sessions.holds(&Sessions::id_of(&secret), late)
                && !sessions.holds("", now())
        );
        assert_eq!(sessions.list()[0].id, Sessions::id_of(&secret));
        sessions.revoke(&home, "").expect("an empty ID matches no session");
        assert!(sessions.is_open(&secret, HOST, now()));
        sessions.revoke(&home, &Sessions::id_of(&secret)).expect("written");
        assert!(!sessions.is_open(&secret, HOST, now()) && sessions.list().is_empty());
    }

    #[test]
    fn a_session_is_valid_only_at_the_name_where_it_began() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        let sessions = Sessions::open(&home).expect("none yet");
        let secret = sessions.open_one(&home, &browser("phone")).expect("written");
        assert!(sessions.is_open(&secret, HOST, now()));
        for other in ["", "localhost", "127.0.0.1", "box.example.evil.example", "BOX.example"] {
            assert!(!sessions.is_open(&secret, other, now()), "{other}");
        }
    }

    #[test]
    fn sessions_of_earlier_versions_have_no_name_and_are_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        let former = serde_json::json!({ "schema": 1, "sessions": [
            { "hash": hash("5ec2e7"), "label": "phone", "created_at": now() },
        ] });
        fs_err::write(home.layout.page_sessions(), former.to_string()).expect("written");
        let sessions = Sessions::open(&home).expect("read");
        assert!(sessions.list().is_empty());
        assert!(!sessions.is_open("5ec2e7", "", now()) && !sessions.is_open("5ec2e7", "localhost", now()));
    }
}
