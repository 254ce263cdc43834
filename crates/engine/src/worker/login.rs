//! How Codex is logged in, where it runs with the orchestrator's own Codex home: a stored API key, or an account.
//! Only what Codex itself wrote, or would have written, is stored. No value of it is ever shown.

use std::io;

use model::problem::{Problem, ProblemKind};
use model::secret::Secret;
use serde_json::{Value, json};

use crate::store::CodexHome;

/// Longer than any key.
const KEY_LIMIT_BYTES: usize = 4096;

/// A stored login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// A key of the model's API.
    ApiKey(Secret),
    /// An account, whose tokens Codex renews by itself.
    Account {
        /// The tokens, to be masked.
        tokens: Vec<Secret>,
    },
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
        let tokens = ["id_token", "access_token", "refresh_token"].iter().filter_map(|name| named(&file["tokens"][name]));
        let tokens: Vec<_> = tokens.collect();
        if !tokens.is_empty() {
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
        let file = json!({ "auth_mode": "apikey", "OPENAI_API_KEY": key });
        home.write_login(file.to_string().as_bytes()).map_err(|error| not_stored(&error))
    }

    /// Stores a copy of what Codex keeps elsewhere.
    pub fn store_copy(home: &CodexHome, text: &[u8]) -> Result<Self, Problem> {
        let login = Self::parse(text).ok_or_else(|| {
            Problem::new(ProblemKind::Unusable, "login_unusable", "that is no login of Codex")
                .hint("name the `auth.json` in the folder of a Codex that is logged in, or that folder")
        })?;
        home.write_login(text).map_err(|error| not_stored(&error))?;
        Ok(login)
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

fn not_stored(error: &io::Error) -> Problem {
    Problem::new(ProblemKind::Unavailable, "login_not_stored", format!("the login could not be stored: {error}"))
        .hint("the home must be writable and have room")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Layout;

    fn home() -> (tempfile::TempDir, CodexHome) {
        let folder = tempfile::tempdir().expect("a folder");
        let home = CodexHome::open(&Layout::new(folder.path())).expect("made");
        (folder, home)
    }

    #[test]
    fn a_key_is_stored_in_the_form_that_codex_reads() {
        let (_folder, home) = home();
        assert_eq!(Login::stored(&home).expect("nothing"), None);
        Login::store_key(&home, "sk-test-1234\n").expect("a key");
        let stored = Login::stored(&home).expect("readable").expect("there");
        assert_eq!(stored, Login::ApiKey(Secret::new("sk-test-1234")));
        assert_eq!(stored.describe(), "an API key");
        let file: Value = serde_json::from_slice(&home.read_login().expect("read").expect("there")).expect("JSON");
        assert_eq!(file, json!({ "auth_mode": "apikey", "OPENAI_API_KEY": "sk-test-1234" }));
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        let (_folder, home) = home();
        for text in ["", "abc", "two words", "a\u{7}bcdef", &"x".repeat(KEY_LIMIT_BYTES + 1)] {
            let problem = Login::store_key(&home, text).expect_err("no key");
            assert!(!problem.hints.is_empty() && (text.is_empty() || !problem.detail.contains(text)), "{problem:?}");
        }
        assert_eq!(Login::stored(&home).expect("nothing"), None);
    }

    #[test]
    fn an_account_is_told_from_a_key_and_its_tokens_are_known_to_be_secret() {
        let (_folder, home) = home();
        let text = br#"{"auth_mode":"chatgpt","OPENAI_API_KEY":null,"tokens":{"id_token":"i-1","access_token":"a-1","refresh_token":"r-1","account_id":"x"}}"#;
        let login = Login::store_copy(&home, text).expect("a login");
        assert_eq!(login.secrets().iter().map(Secret::expose).collect::<Vec<_>>(), ["i-1", "a-1", "r-1"]);
        assert!(!format!("{login:?}").contains("a-1"), "{login:?}");
        assert_eq!(home.read_login().expect("read").as_deref(), Some(&text[..]), "byte for byte");
        for other in [&b"{}"[..], b"[]", b"not JSON", br#"{"OPENAI_API_KEY":null}"#] {
            assert!(Login::store_copy(&home, other).is_err());
        }
        assert_eq!(home.read_login().expect("read").as_deref(), Some(&text[..]), "what was there stays");
    }
}
