//! Sign-in with a password. Disabled unless a password is set.
//!
//! The password is stored as an Argon2id hash. Guesses are checked one at a time, and wrong guesses delay further guesses from all
//! clients. One-time links always work. Invariant: neither a password nor a guess is logged or stored.

use std::time::Instant;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use durable::blocking;
use model::ErrorCode;
use model::problem::{Problem, ProblemKind};
use model::secret::{LONGEST_PASSWORD_BYTES, SHORTEST_PASSWORD, Secret};
use model::tries::Tries;
use store::{Home, StoreError};
use tokio::sync::Mutex;

/// The password and the recent guesses.
pub struct Password {
    begun: Instant,
    state: Mutex<State>,
}

struct State {
    hash: Option<String>,
    tries: Tries,
}

impl Password {
    /// Reads the password's hash from a home.
    pub fn open(home: &Home) -> Result<Self, StoreError> {
        let hash = home.read_password_hash()?;
        Ok(Self { begun: Instant::now(), state: Mutex::new(State { hash, tries: Tries::default() }) })
    }

    /// Whether a password is set.
    pub async fn is_set(&self) -> bool {
        self.state.lock().await.hash.is_some()
    }

    /// Sets or removes the password.
    pub async fn set(&self, home: &Home, password: Option<Secret>) -> Result<(), Problem> {
        let mut state = self.state.lock().await;
        let hash = match password {
            Some(password) => Some(hashed(password).await?),
            None => None,
        };
        home.write_password_hash(hash.as_deref())?;
        *state = State { hash, tries: Tries::default() };
        Ok(())
    }

    /// Whether `guess` is the password.
    pub async fn is(&self, guess: Secret) -> Result<bool, Problem> {
        // Hold the lock while the guess is checked, so that only one guess is checked at a time.
        let mut state = self.state.lock().await;
        let Some(hash) = state.hash.clone() else { return Ok(false) };
        if let Some(wait) = state.tries.wait(self.begun.elapsed()) {
            let detail = format!("too many wrong passwords; try again in {} s", wait.as_secs() + 1);
            return Err(
                Problem::new(ErrorCode::TooManyGuesses, detail).hint("to sign in now, use a link: `codex-orchestrator sign-in`")
            );
        }
        let is_right = guess.expose().len() <= LONGEST_PASSWORD_BYTES && verified(guess, hash).await?;
        if is_right {
            state.tries.was_right();
        } else {
            state.tries.was_wrong(self.begun.elapsed());
            tracing::warn!("wrong password");
        }
        Ok(is_right)
    }
}

async fn hashed(password: Secret) -> Result<String, Problem> {
    let text = password.expose();
    if text.chars().count() < SHORTEST_PASSWORD || text.len() > LONGEST_PASSWORD_BYTES {
        let detail =
            format!("a password must have at least {SHORTEST_PASSWORD} characters and at most {LONGEST_PASSWORD_BYTES} bytes");
        return Err(Problem::new(ErrorCode::PasswordRefused, detail)
            .with_kind(ProblemKind::Unusable)
            .hint("a few unrelated words make a good password that is easy to type"));
    }
    blocking(move || {
        let hash = Argon2::default().hash_password(password.expose().as_bytes()).map_err(Problem::internal)?;
        Ok(hash.to_string())
    })
    .await
}

async fn verified(guess: Secret, hash: String) -> Result<bool, Problem> {
    blocking(move || {
        let hash = PasswordHash::new(&hash).map_err(|error| {
            Problem::internal(format!("cannot read the password hash: {error}"))
                .hint("set the password again: `codex-orchestrator password set`")
        })?;
        Ok(Argon2::default().verify_password(guess.expose().as_bytes(), &hash).is_ok())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text)
    }

    #[tokio::test]
    async fn a_password_is_kept_as_its_hash_and_survives_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        let password = Password::open(&home).expect("none yet");
        assert!(!password.is_set().await && !password.is(secret("")).await.expect("looked at"));
        password.set(&home, Some(secret("correct horse battery"))).await.expect("set");
        let text = fs_err::read_to_string(home.layout.password()).expect("written");
        assert!(text.starts_with("$argon2id$") && !text.contains("horse"), "{text}");
        let again = Password::open(&home).expect("read");
        assert!(again.is(secret("correct horse battery")).await.expect("looked at"));
        for wrong in ["", "correct horse", "correct horse battery "] {
            assert!(!again.is(secret(wrong)).await.expect("looked at"), "{wrong}");
        }
        again.set(&home, None).await.expect("removed");
        assert!(!again.is(secret("correct horse battery")).await.expect("looked at"));
        assert!(!Password::open(&home).expect("read").is_set().await);
    }

    #[tokio::test]
    async fn guesses_are_limited_also_for_who_knows_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        let password = Password::open(&home).expect("none yet");
        password.set(&home, Some(secret("correct horse battery"))).await.expect("set");
        for _ in 0..5 {
            assert!(!password.is(secret("guess")).await.expect("looked at"));
        }
        let refused = password.is(secret("correct horse battery")).await.expect_err("too soon");
        assert_eq!((refused.report.code.known(), refused.kind), (Some(ErrorCode::TooManyGuesses), ProblemKind::TooMany));
    }

    #[tokio::test]
    async fn short_and_endless_passwords_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        let password = Password::open(&home).expect("none yet");
        for bad in ["short".to_owned(), "x".repeat(1025)] {
            let refused = password.set(&home, Some(secret(&bad))).await.expect_err("refused");
            assert_eq!(refused.report.code, ErrorCode::PasswordRefused);
        }
        assert!(!password.is_set().await);
    }
}
