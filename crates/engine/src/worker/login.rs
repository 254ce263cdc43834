//! How Codex is logged in, where it runs with the orchestrator's own Codex home: with an API key, or with an account.
//!
//! Codex works with copies of an account's login. A container's copy has no refresh token, and nothing of it is ever taken back: tokens
//! are renewed by a Codex that runs no agent. No value of a login is ever shown.

mod account;
mod renewal;

use std::io;
use std::path::PathBuf;

pub(crate) use account::Due;
use account::{Copied, TOKENS};
use jiff::Timestamp;
use model::problem::{Problem, ProblemKind};
use model::secret::Secret;
use serde_json::{Value, json};

use crate::store::{CodexHome, FoundCopy, LoginCopy};

/// Longer than any key.
const KEY_LIMIT_BYTES: usize = 4096;

/// A stored login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// A key of the model's API.
    ApiKey(Secret),
    /// An account, whose tokens Codex renews.
    Account {
        /// The tokens, to be masked.
        tokens: Vec<Secret>,
    },
}

/// A copy of the login that was put aside.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// What was wrong with it.
    pub(crate) why: String,
    /// Where it is kept.
    pub(crate) kept: PathBuf,
}

impl Login {
    /// The login that is stored, if there is one.
    pub fn stored(home: &CodexHome) -> io::Result<Option<Self>> {
        home.read_login()?.map(|text| Self::parse(&text).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))).transpose()
    }

    /// Reads what Codex keeps in `auth.json`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let file: Value = serde_json::from_slice(text).ok()?;
        let named = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(Secret::new);
        let tokens: Vec<_> = TOKENS.iter().filter_map(|name| named(&file["tokens"][name])).collect();
        if !tokens.is_empty() && file["auth_mode"] != "apikey" {
            return Some(Self::Account { tokens });
        }
        named(&file["OPENAI_API_KEY"]).map(Self::ApiKey)
    }

    /// Stores a key as Codex does.
    pub fn store_key(home: &CodexHome, key: &str) -> Result<(), Problem> {
        let key = key.trim();
        let plain = key.bytes().all(|byte| byte.is_ascii_graphic());
        if !plain || key.len() < model::secret::SHORTEST_SECRET_BYTES || key.len() > KEY_LIMIT_BYTES {
            return Err(Problem::new(ProblemKind::Unusable, "key_unusable", "what came on stdin is no API key")
                .hint("it is one word, as in: printenv OPENAI_API_KEY | codex-orchestrator login --with-api-key"));
        }
        home.write_login(in_a_file(key).to_string().as_bytes()).map_err(|error| not_stored(&error))
    }

    /// Stores a copy of what Codex keeps elsewhere. An account's login is stored without the API key that some versions of Codex
    /// keep beside it, which nothing uses.
    pub fn store_copy(home: &CodexHome, text: &[u8]) -> Result<Self, Problem> {
        let (login, file) = Self::in_its_form(text).ok_or_else(|| {
            Problem::new(ProblemKind::Unusable, "login_unusable", "that is no login of Codex")
                .hint("name the `auth.json` in the folder of a Codex that is logged in, or that folder")
        })?;
        home.write_login(&file).map_err(|error| not_stored(&error))?;
        Ok(login)
    }

    /// A login, and the file that it is stored as.
    fn in_its_form(text: &[u8]) -> Option<(Self, Vec<u8>)> {
        let login = Self::parse(text)?;
        let file = match &login {
            Self::ApiKey(key) => in_a_file(key.expose()),
            Self::Account { .. } => {
                let mut file: Value = serde_json::from_slice(text).ok()?;
                file["OPENAI_API_KEY"] = Value::Null;
                file
            }
        };
        Some((login, file.to_string().into_bytes()))
    }

    /// Takes over the login of a version that shared it between containers, once. From then on nothing in that folder is believed.
    /// Returns what was taken over.
    pub(crate) fn adopt(home: &CodexHome) -> io::Result<Option<Self>> {
        if home.has_record() {
            return Ok(None);
        }
        let found = match home.shared_copy().look()? {
            FoundCopy::File(text) => Self::in_its_form(&text),
            FoundCopy::Nothing => None,
            FoundCopy::Foreign(why) => {
                tracing::warn!(reason = why, "invalid login from an older version; log in again: codex-orchestrator login");
                None
            }
        };
        home.adopt_login(found.as_ref().map(|(_, file)| file.as_slice()))?;
        Ok(found.map(|(login, _)| login))
    }

    /// Gives a Codex that is about to start a copy of the login. Whatever else is in its place is put aside.
    pub(crate) fn lend(home: &CodexHome, copy: &LoginCopy, now: Timestamp) -> io::Result<Option<Refused>> {
        let refused = Self::settle(home, copy, now)?;
        if let Some(login) = home.read_login()? {
            copy.put(&as_lent(&login, copy))?;
        }
        Ok(refused)
    }

    /// Removes the copy that a container had, now that it has ended. One that was changed is put aside.
    pub(crate) fn take_back(home: &CodexHome, copy: &LoginCopy, now: Timestamp) -> io::Result<Option<Refused>> {
        let refused = Self::settle(home, copy, now)?;
        copy.remove_or_put_aside()?;
        Ok(refused)
    }

    /// Gives the copy of a container that is running the tokens that were renewed since, if they are of the same account.
    pub(crate) fn pass_on(home: &CodexHome, copy: &LoginCopy) -> io::Result<()> {
        let (Some(login), Some(lent)) = (home.read_login()?, copy.lent()?) else { return Ok(()) };
        let current = as_lent(&login, copy);
        let (Ok(one), Ok(other)) = (serde_json::from_slice(&lent), serde_json::from_slice(&current)) else { return Ok(()) };
        if lent != current && account::is_same_account(&one, &other) { copy.put(&current) } else { Ok(()) }
    }

    /// Stores the tokens that a Codex without an agent renewed in a file of its own. Returns whether it did.
    pub(crate) fn renew(home: &CodexHome, renewed: &LoginCopy, now: Timestamp) -> io::Result<bool> {
        let (Some(login), Ok(Some(found))) = (home.read_login()?, renewed.read()) else { return Ok(false) };
        match compared(&login, &found, now) {
            Ok(Copied::Newer(newer)) => home.renew_login(&login, newer.to_string().as_bytes()),
            Ok(Copied::Same | Copied::Older) | Err(_) => Ok(false),
        }
    }

    /// How urgent it is to renew the tokens.
    pub(crate) fn due(home: &CodexHome, now: Timestamp) -> io::Result<Due> {
        let login = home.read_login()?.and_then(|login| serde_json::from_slice(&login).ok());
        Ok(login.map_or(Due::No, |login| account::due(&login, now)))
    }

    /// Leaves nothing at the place of a copy but a sound one.
    fn settle(home: &CodexHome, copy: &LoginCopy, now: Timestamp) -> io::Result<Option<Refused>> {
        let Some(login) = home.read_login()? else { return Ok(None) };
        let why = match copy.look()? {
            FoundCopy::Nothing => return Ok(None),
            FoundCopy::Foreign(why) => why,
            FoundCopy::File(found) if copy.is_for_a_container() => {
                // Somebody may have logged in with another account since, which is not the copy's fault.
                let lent = copy.lent()?.unwrap_or_else(|| as_lent(&login, copy));
                match compared(&lent, &found, now) {
                    Ok(Copied::Same) => return Ok(None),
                    Ok(Copied::Older | Copied::Newer(_)) => "its tokens were replaced".to_owned(),
                    Err(why) => why.to_owned(),
                }
            }
            FoundCopy::File(found) => match compared(&login, &found, now) {
                Ok(Copied::Same | Copied::Older) => return Ok(None),
                Ok(Copied::Newer(newer)) => {
                    home.renew_login(&login, newer.to_string().as_bytes())?;
                    return Ok(None);
                }
                Err(why) => why.to_owned(),
            },
        };
        Ok(Some(Refused { why, kept: copy.put_aside()? }))
    }

    /// Every value of it that must not be shown.
    pub fn secrets(&self) -> &[Secret] {
        match self {
            Self::ApiKey(key) => std::slice::from_ref(key),
            Self::Account { tokens } => tokens,
        }
    }

    /// What it is, in words.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::ApiKey(_) => "an API key",
            Self::Account { .. } => "a ChatGPT account",
        }
    }
}

/// The login as it is put at the place of a copy.
fn as_lent(login: &[u8], copy: &LoginCopy) -> Vec<u8> {
    match serde_json::from_slice(login) {
        Ok(file) if copy.is_for_a_container() => account::without_renewal(&file).to_string().into_bytes(),
        Ok(_) | Err(_) => login.to_owned(),
    }
}

/// A key as Codex stores it.
fn in_a_file(key: &str) -> Value {
    json!({ "auth_mode": "apikey", "OPENAI_API_KEY": key })
}

fn compared(login: &[u8], copy: &[u8], now: Timestamp) -> Result<Copied, &'static str> {
    let login = serde_json::from_slice(login).map_err(|_| "the login cannot be read")?;
    let copy = serde_json::from_slice(copy).map_err(|_| "it is not a login")?;
    account::compare(&login, &copy, now)
}

fn not_stored(error: &io::Error) -> Problem {
    Problem::new(ProblemKind::Unavailable, "login_not_stored", format!("the login could not be stored: {error}"))
        .hint("the home must be writable and have room")
}

#[cfg(test)]
mod tests;
