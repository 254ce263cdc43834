//! The login of Codex for runs with the orchestrator's own Codex home: an API key, or an account.
//!
//! Codex works with copies of an account's login. A container's copy has no refresh token, and it is never read back: tokens
//! are renewed by a Codex process that runs no agent. No value of a login is ever shown.

mod account;
mod renewal;

use std::io;
use std::path::PathBuf;

use store::{CodexHome, FoundCopy, LoginCopy};

pub(crate) use account::Due;
use account::{CopyState, TOKENS};
use jiff::Timestamp;
use model::ErrorCode;
use model::problem::Problem;
use model::run::RunError;
use model::secret::Secret;
use serde_json::{Value, json};

/// The maximum length of a key in bytes.
const KEY_LIMIT_BYTES: usize = 4096;

/// A stored login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// An API key of the model.
    ApiKey(Secret),
    /// An account, whose tokens Codex renews.
    Account {
        /// The tokens, which must be masked.
        tokens: Vec<Secret>,
    },
}

/// A copy of the login that was put aside.
#[derive(Debug, PartialEq, Eq)]
pub struct RefusedLogin {
    /// What was wrong with the copy.
    pub why: String,
    /// The folder where the copy is kept.
    pub kept: PathBuf,
}

impl Login {
    /// Returns the stored login, if there is one.
    pub fn stored(home: &CodexHome) -> io::Result<Option<Self>> {
        home.read_login()?.map(|text| Self::parse(&text).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))).transpose()
    }

    /// Parses Codex's `auth.json`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let file: Value = serde_json::from_slice(text).ok()?;
        let named = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(Secret::new);
        let tokens: Vec<_> = TOKENS.iter().filter_map(|name| named(&file["tokens"][name])).collect();
        if !tokens.is_empty() && file["auth_mode"] != "apikey" {
            return Some(Self::Account { tokens });
        }
        named(&file["OPENAI_API_KEY"]).map(Self::ApiKey)
    }

    /// Stores a key in Codex's format.
    pub fn store_key(home: &CodexHome, key: &str) -> Result<(), Problem> {
        let key = key.trim();
        let plain = key.bytes().all(|byte| byte.is_ascii_graphic());
        if !plain || key.len() < model::secret::SHORTEST_SECRET_BYTES || key.len() > KEY_LIMIT_BYTES {
            return Err(Problem::new(ErrorCode::KeyUnusable, "standard input does not contain an API key")
                .hint("pass one word, e.g. printenv OPENAI_API_KEY | codex-orchestrator login --with-api-key"));
        }
        home.write_login(in_a_file(key).to_string().as_bytes()).map_err(|error| not_stored(&error))
    }

    /// Stores a copy of a login that Codex keeps elsewhere. An account's login is stored without the unused API key that some
    /// versions of Codex store next to it.
    pub fn store_copy(home: &CodexHome, text: &[u8]) -> Result<Self, Problem> {
        let (login, file) = Self::in_its_form(text).ok_or_else(|| {
            Problem::new(ErrorCode::LoginUnusable, "this is not a Codex login")
                .hint("pass the path of the `auth.json` of a Codex CLI that is logged in, or of its folder")
        })?;
        home.write_login(&file).map_err(|error| not_stored(&error))?;
        Ok(login)
    }

    /// Returns a login, and the content of the file that it is stored as.
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

    /// Adopts the login of an older version that shared it between containers. This happens once, and the folder is not trusted
    /// afterwards. Returns the adopted login.
    pub fn adopt(home: &CodexHome) -> io::Result<Option<Self>> {
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

    /// Gives a copy of the login to a Codex process that is about to start. Anything else in its place is put aside.
    pub fn lend(home: &CodexHome, copy: &LoginCopy, now: Timestamp) -> io::Result<Option<RefusedLogin>> {
        let refused = Self::settle(home, copy, now)?;
        if let Some(login) = home.read_login()? {
            copy.put(&as_lent(&login, copy))?;
        }
        Ok(refused)
    }

    /// Removes the copy of a container that has ended. A changed copy is put aside.
    pub fn take_back(home: &CodexHome, copy: &LoginCopy, now: Timestamp) -> io::Result<Option<RefusedLogin>> {
        let refused = Self::settle(home, copy, now)?;
        copy.remove_or_put_aside()?;
        Ok(refused)
    }

    /// Updates the copy of a running container with renewed tokens, if they belong to the same account.
    pub fn pass_on(home: &CodexHome, copy: &LoginCopy) -> io::Result<()> {
        let (Some(login), Some(lent)) = (home.read_login()?, copy.lent()?) else { return Ok(()) };
        let current = as_lent(&login, copy);
        let (Ok(one), Ok(other)) = (serde_json::from_slice(&lent), serde_json::from_slice(&current)) else { return Ok(()) };
        if lent != current && account::is_same_account(&one, &other) { copy.put(&current) } else { Ok(()) }
    }

    /// Stores the tokens that a Codex process without an agent renewed in its own file. Returns whether tokens were stored.
    pub fn renew(home: &CodexHome, renewed: &LoginCopy, now: Timestamp) -> io::Result<bool> {
        let (Some(login), Ok(Some(found))) = (home.read_login()?, renewed.read()) else { return Ok(false) };
        match compared(&login, &found, now) {
            Ok(CopyState::Newer(newer)) => home.renew_login(&login, newer.to_string().as_bytes()),
            Ok(CopyState::Same | CopyState::Older) | Err(_) => Ok(false),
        }
    }

    /// Returns how urgent it is to renew the tokens.
    pub fn due(home: &CodexHome, now: Timestamp) -> io::Result<Due> {
        let login = home.read_login()?.and_then(|login| serde_json::from_slice(&login).ok());
        Ok(login.map_or(Due::No, |login| account::due(&login, now)))
    }

    /// Puts aside whatever is in the place of a copy, unless it is a valid copy.
    fn settle(home: &CodexHome, copy: &LoginCopy, now: Timestamp) -> io::Result<Option<RefusedLogin>> {
        let Some(login) = home.read_login()? else { return Ok(None) };
        let why = match copy.look()? {
            FoundCopy::Nothing => return Ok(None),
            FoundCopy::Foreign(why) => why,
            FoundCopy::File(found) if copy.is_for_a_container() => {
                // Somebody may have logged in with a different account since, so compare with the login that was lent.
                let lent = copy.lent()?.unwrap_or_else(|| as_lent(&login, copy));
                match compared(&lent, &found, now) {
                    Ok(CopyState::Same) => return Ok(None),
                    Ok(CopyState::Older | CopyState::Newer(_)) => "its tokens were replaced".to_owned(),
                    Err(why) => why.to_owned(),
                }
            }
            FoundCopy::File(found) => match compared(&login, &found, now) {
                Ok(CopyState::Same | CopyState::Older) => return Ok(None),
                Ok(CopyState::Newer(newer)) => {
                    home.renew_login(&login, newer.to_string().as_bytes())?;
                    return Ok(None);
                }
                Err(why) => why.to_owned(),
            },
        };
        Ok(Some(RefusedLogin { why, kept: copy.put_aside()? }))
    }

    /// Returns the error of a stored login that cannot be read.
    pub(crate) fn unreadable(error: &io::Error) -> RunError {
        RunError::new(ErrorCode::LoginUnreadable, format!("could not read the stored Codex login: {error}"))
            .hint("log in again: codex-orchestrator login")
    }

    /// Returns all values that must not be shown.
    pub fn secrets(&self) -> &[Secret] {
        match self {
            Self::ApiKey(key) => std::slice::from_ref(key),
            Self::Account { tokens } => tokens,
        }
    }

    /// Describes the login.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::ApiKey(_) => "an API key",
            Self::Account { .. } => "a ChatGPT account",
        }
    }
}

/// Returns the login as it is written to a copy.
fn as_lent(login: &[u8], copy: &LoginCopy) -> Vec<u8> {
    match serde_json::from_slice(login) {
        Ok(file) if copy.is_for_a_container() => account::without_renewal(&file).to_string().into_bytes(),
        Ok(_) | Err(_) => login.to_owned(),
    }
}

/// Returns a key in Codex's format.
fn in_a_file(key: &str) -> Value {
    json!({ "auth_mode": "apikey", "OPENAI_API_KEY": key })
}

fn compared(login: &[u8], copy: &[u8], now: Timestamp) -> Result<CopyState, &'static str> {
    let login = serde_json::from_slice(login).map_err(|_| "the login cannot be read")?;
    let copy = serde_json::from_slice(copy).map_err(|_| "it is not a login")?;
    account::compare(&login, &copy, now)
}

fn not_stored(error: &io::Error) -> Problem {
    Problem::new(ErrorCode::LoginNotStored, format!("could not store the login: {error}"))
        .hint("check that the home directory is writable and has free space")
}

#[cfg(test)]
mod tests;
