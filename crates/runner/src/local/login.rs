//! A run's copy of the Codex login: provided before the run starts, kept current while it runs, and removed at its end.
//!
//! An agent can only write to its own copy. Even if it changes the copy, the login and all other runs keep the account that the
//! command `login` recorded.

use std::ffi::OsString;
use std::time::Duration;

use durable::blocking;
use jiff::Timestamp;
use model::ErrorCode;
use model::ids::{RunNumber, TaskId};
use model::run::RunError;
use store::{CodexHome, LoginCopy, RefusedCopy};

use super::LocalRunner;
use crate::spec::RunKey;
use crate::worker::{Due, LOGIN_FOLDER, Login, RefusedLogin};

/// The minimum and maximum time between two checks of the login while a run uses it.
const PAUSE: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_mins(5);

impl LocalRunner {
    /// Returns the stored login of Codex.
    pub(super) async fn login(&self) -> Result<Option<Login>, RunError> {
        let home = self.codex_home.clone();
        blocking(move || Login::stored(&home)).await.map_err(|error| Login::unreadable(&error))
    }

    /// Returns the place of a run's copy, or `None` if its worker has its own login.
    fn login_copy(&self, task: TaskId) -> Option<LoginCopy> {
        self.worker.as_ref().ok()?.login_copy(self.site(), task)
    }

    /// Creates the copy of the login for a run that is about to start.
    pub(super) async fn lend_login(&self, task: TaskId, environment: &[(OsString, OsString)]) -> Result<(), RunError> {
        let Some(copy) = self.login_copy(task) else { return Ok(()) };
        // A container that uses an API key gets no copy.
        if copy != self.codex_home.host_copy() && !environment.iter().any(|(name, _)| name == LOGIN_FOLDER) {
            return Ok(());
        }
        if let Err(error) = self.renew_login_if_due().await {
            if copy.is_for_a_container() {
                return Err(error);
            }
            // On the host, Codex renews the login itself.
            tracing::warn!(%task, error = error.message, "could not renew the Codex login before a run");
        }
        let home = self.codex_home.clone();
        blocking(move || {
            if let Some(refused) = Login::lend(&home, &copy, Timestamp::now())? {
                report(&home, &refused, None);
            }
            Ok(())
        })
        .await
        .map_err(|error: std::io::Error| {
            RunError::new(ErrorCode::LoginUnusable, format!("could not give the run the Codex login: {error}"))
                .hint("check that the home directory is writable and has free space, then retry the task")
        })
    }

    /// Removes the copy of a run that has ended. Returns a note if the run changed it.
    pub(super) async fn take_login_back(&self, key: RunKey) -> Vec<String> {
        let (id, run) = (key.task, key.run);
        let home = self.codex_home.clone();
        let of_run = LoginCopy::folder(self.home.layout.task_login(id));
        let of_host = self.login_copy(id).filter(|copy| *copy == home.host_copy());
        let taken = blocking(move || {
            let now = Timestamp::now();
            let mut refused = Login::take_back(&home, &of_run, now)?;
            if let Some(copy) = of_host {
                refused = Login::lend(&home, &copy, now)?.or(refused);
            }
            if let Some(refused) = refused {
                report(&home, &refused, Some((id, run)));
            }
            home.refused_copy()
        });
        match taken.await {
            // The end of a run may be processed twice, so use the report that was stored the first time.
            Ok(refused) => refused.filter(|it| (it.task_id, it.run) == (Some(id), Some(run))).iter().map(note).collect(),
            Err(error) => {
                tracing::warn!(task = %id, %error, "could not remove a run's copy of the login");
                vec![]
            }
        }
    }

    /// Renews the tokens while a container works with them, and passes them on to the container. Never returns.
    pub(super) async fn keep_login_current(&self, task: TaskId) {
        let in_container = |copy: &LoginCopy| copy.is_for_a_container() && copy.path().exists();
        let Some(copy) = self.login_copy(task).filter(in_container) else { return std::future::pending().await };
        let mut changes = self.watch.watch(self.home.layout.home());
        loop {
            if let Err(error) = self.renew_login_if_due().await {
                tracing::warn!(%task, error = error.message, "could not renew the Codex login during a run");
            }
            let (home, copy) = (self.codex_home.clone(), copy.clone());
            if let Err(error) = blocking(move || Login::pass_on(&home, &copy)).await {
                tracing::warn!(%task, %error, "could not pass renewed tokens to a run");
            }
            // Wait between two checks, because other files in the home change more often.
            tokio::time::sleep(PAUSE).await;
            let _either = tokio::time::timeout(LOOK, changes.changed()).await;
        }
    }

    /// Has Codex renew the tokens of the login before they expire, one attempt at a time. Fails only if the tokens are about
    /// to expire.
    async fn renew_login_if_due(&self) -> Result<(), RunError> {
        let Ok(worker) = &self.worker else { return Ok(()) };
        let _turn = self.login_turn.lock().await;
        let home = self.codex_home.clone();
        let due = blocking(move || Login::due(&home, Timestamp::now())).await;
        let due =
            due.map_err(|error| RunError::new(ErrorCode::LoginUnreadable, format!("could not read the Codex login: {error}")))?;
        if due == Due::No {
            return Ok(());
        }
        match worker.renew_login(&self.config, &self.codex_home).await {
            Ok(()) => Ok(()),
            Err(why) if due == Due::Now => Err(RunError::new(
                ErrorCode::LoginExpired,
                format!("the Codex login is about to expire and could not be renewed: {why}"),
            )
            .hint("log in again: codex-orchestrator login")),
            Err(why) => {
                tracing::warn!(reason = why, "could not renew the Codex login yet");
                Ok(())
            }
        }
    }
}

fn report(home: &CodexHome, refused: &RefusedLogin, run: Option<(TaskId, RunNumber)>) {
    let RefusedLogin { why, kept } = refused;
    let (task_id, run) = run.unzip();
    tracing::warn!(task = task_id.map(tracing::field::display), reason = why, kept = %kept.display(), "a run changed its copy of the Codex login; the login itself is unchanged");
    let refused = RefusedCopy { at: Timestamp::now(), task_id, run, why: why.clone(), kept: kept.clone() };
    if let Err(error) = home.report_refused_copy(&refused) {
        tracing::warn!(%error, "could not record a changed copy of the login");
    }
}

fn note(refused: &RefusedCopy) -> String {
    let RefusedCopy { why, kept, .. } = refused;
    format!(
        "this run changed its copy of the Codex login ({why}); the change was discarded, other runs are not affected, and the copy is kept as `{}`",
        kept.display()
    )
}
