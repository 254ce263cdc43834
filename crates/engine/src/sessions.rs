//! Signing in to the pages: one-time codes that a terminal shows, and the sessions of browsers.
//!
//! A code is good for one browser and a few minutes, and dies with the server. A session lasts until it is revoked or 90 days are
//! over. Invariant: neither a code nor a session's secret is kept; only their hashes are compared.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use ring::digest::{SHA256, digest};

use crate::store::{Home, SessionRecord, StoreError};

/// How long a code is good for.
const CODE_LIFE: Duration = Duration::from_mins(10);

/// How long a browser stays signed in.
const SESSION_DAYS: i64 = 90;

/// More codes than anybody asks for at once.
const MOST_CODES: usize = 20;

/// More browsers than anybody has; the oldest makes room.
const MOST_SESSIONS: usize = 100;

/// The most characters that are kept of what a browser calls itself.
const LABEL_CHARS: usize = 120;

/// Who is signed in, and who may.
pub(crate) struct Sessions {
    inner: Mutex<State>,
}

#[derive(Default)]
struct State {
    sessions: Vec<SessionRecord>,
    codes: Vec<(String, Instant)>,
}

/// A browser that is signed in, as the settings show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// The first digits of its hash.
    pub id: String,
    /// What the browser called itself.
    pub label: String,
    /// When it signed in.
    pub created_at: Timestamp,
}

/// SHA-256 in hexadecimal digits.
fn hash(text: &str) -> String {
    hex::encode(digest(&SHA256, text.as_bytes()))
}

/// 128 random bits and more, from the system's generator.
fn secret() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

fn is_fresh(session: &SessionRecord, now: Timestamp) -> bool {
    now.duration_since(session.created_at) < SignedDuration::from_hours(24 * SESSION_DAYS)
}

impl Sessions {
    pub(crate) fn open(home: &Home) -> Result<Self, StoreError> {
        let sessions = home.read_sessions()?;
        Ok(Self { inner: Mutex::new(State { sessions, codes: vec![] }) })
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // What is guarded here is whole after every statement, whoever panicked.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new code.
    pub(crate) fn code(&self) -> String {
        let code = secret();
        let mut state = self.locked();
        state.codes.retain(|(_, made)| made.elapsed() < CODE_LIFE);
        let surplus = (state.codes.len() + 1).saturating_sub(MOST_CODES);
        state.codes.drain(..surplus);
        state.codes.push((hash(&code), Instant::now()));
        code
    }

    /// The secret of a new session, if the code is good. It is not good a second time.
    pub(crate) fn redeem(&self, home: &Home, code: &str, label: &str, now: Timestamp) -> Result<Option<String>, StoreError> {
        let mut state = self.locked();
        state.codes.retain(|(_, made)| made.elapsed() < CODE_LIFE);
        let code = hash(code);
        let Some(at) = state.codes.iter().position(|(known, _)| *known == code) else { return Ok(None) };
        state.codes.remove(at);
        Self::begin(&mut state, home, label, now).map(Some)
    }

    /// The secret of a new session, for who showed otherwise that it may have one.
    pub(crate) fn open_one(&self, home: &Home, label: &str, now: Timestamp) -> Result<String, StoreError> {
        Self::begin(&mut self.locked(), home, label, now)
    }

    fn begin(state: &mut State, home: &Home, label: &str, now: Timestamp) -> Result<String, StoreError> {
        let secret = secret();
        let label = label.chars().filter(|c| !c.is_control()).take(LABEL_CHARS).collect();
        let mut sessions: Vec<_> = state.sessions.iter().filter(|session| is_fresh(session, now)).cloned().collect();
        sessions.push(SessionRecord { hash: hash(&secret), label, created_at: now });
        let surplus = sessions.len().saturating_sub(MOST_SESSIONS);
        sessions.drain(..surplus);
        home.write_sessions(&sessions)?;
        state.sessions = sessions;
        Ok(secret)
    }

    /// Whether this is the secret of a session that was not revoked.
    pub(crate) fn is_open(&self, secret: &str, now: Timestamp) -> bool {
        let hash = hash(secret);
        self.locked().sessions.iter().any(|session| session.hash == hash && is_fresh(session, now))
    }

    /// Whether the session of this id, as in the list, holds.
    pub(crate) fn holds(&self, id: &str, now: Timestamp) -> bool {
        id.len() >= 12 && self.locked().sessions.iter().any(|session| session.hash.starts_with(id) && is_fresh(session, now))
    }

    pub(crate) fn list(&self) -> Vec<SessionView> {
        let sessions = self.locked().sessions.clone();
        let view = |session: SessionRecord| SessionView {
            id: session.hash[..12.min(session.hash.len())].to_owned(),
            label: session.label,
            created_at: session.created_at,
        };
        sessions.into_iter().rev().map(view).collect()
    }

    /// The id of the session with this secret, as in the list.
    pub(crate) fn id_of(secret: &str) -> String {
        hash(secret)[..12].to_owned()
    }

    /// Ends a session. Ending it twice is fine.
    pub(crate) fn revoke(&self, home: &Home, id: &str) -> Result<(), StoreError> {
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

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().expect("a time")
    }

    #[test]
    fn a_code_signs_in_one_browser_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        let sessions = Sessions::open(&home).expect("none yet");
        let code = sessions.code();
        let secret = sessions.redeem(&home, &code, "Firefox\n", now()).expect("written").expect("a good code");
        assert!(sessions.is_open(&secret, now()));
        assert_eq!(sessions.redeem(&home, &code, "again", now()).expect("read"), None);
        assert_eq!(sessions.redeem(&home, "guessed", "x", now()).expect("read"), None);
        assert!(!sessions.is_open(&code, now()) && !sessions.is_open("", now()));
        let text = std::fs::read_to_string(home.layout.page_sessions()).expect("written");
        assert!(text.contains("Firefox") && !text.contains(&secret) && !text.contains(&code));
    }

    #[test]
    fn a_session_survives_a_restart_and_ends_when_it_is_revoked_or_old() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        let first = Sessions::open(&home).expect("none yet");
        let secret = first.redeem(&home, &first.code(), "phone", now()).expect("written").expect("good");
        let sessions = Sessions::open(&home).expect("read");
        assert!(sessions.is_open(&secret, now()) && sessions.holds(&Sessions::id_of(&secret), now()));
        let late = now() + SignedDuration::from_hours(24 * 91);
        assert!(
            !sessions.is_open(&secret, late) && !sessions.holds(&Sessions::id_of(&secret), late) && !sessions.holds("", now())
        );
        assert_eq!(sessions.list()[0].id, Sessions::id_of(&secret));
        sessions.revoke(&home, "").expect("nobody is meant");
        assert!(sessions.is_open(&secret, now()));
        sessions.revoke(&home, &Sessions::id_of(&secret)).expect("written");
        assert!(!sessions.is_open(&secret, now()) && sessions.list().is_empty());
    }
}
