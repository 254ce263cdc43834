//! Fetches from a mirror's remote.
//!
//! A fetch moves the refs that follow the remote. `fetch_error` explains failures. Invariant: a fetch never moves a task branch,
//! and a branch that an agent has checked out survives the prune.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use process::{CommandSpec, Finished, Stderr, Stdin};
use tokio_util::sync::CancellationToken;

use super::admin;
use super::contents::Contents;
use super::fetch_error::FetchError;
use super::gate::FetchTicket;
use super::history;
use super::locks::remove_stale_locks;
use super::mirror::Mirror;
use super::program::{Git, GitDir, QUICK};
use super::progress::Progress;

/// Runs a command that contacts a remote.
pub(super) async fn run_network(command: CommandSpec<'_>) -> Result<Finished, FetchError> {
    Ok(command.run_ok().await?)
}

impl Mirror {
    /// Returns when a fetch that started after this call has completed. Concurrent calls share a fetch. `cancel` ends the fetch
    /// for all callers that share it, so use it only when the program ends. A caller that no longer needs the fetch drops the
    /// future.
    pub async fn fetch_fresh(&self, deadline: Duration, cancel: CancellationToken) -> Result<(), Arc<FetchError>> {
        let mirror = self.clone();
        self.gate().fresh(move || async move { mirror.fetch_now(deadline, cancel).await }).await
    }

    /// Returns a ticket for this moment, for [`Mirror::fetch_since`].
    pub fn fetch_ticket(&self) -> FetchTicket {
        self.gate().ticket()
    }

    /// Like [`Mirror::fetch_fresh`], but a fetch that started after the ticket was created is enough.
    pub async fn fetch_since(
        &self,
        ticket: FetchTicket,
        deadline: Duration,
        cancel: CancellationToken,
    ) -> Result<(), Arc<FetchError>> {
        let mirror = self.clone();
        self.gate().since(ticket, move || async move { mirror.fetch_now(deadline, cancel).await }).await
    }

    /// Performs one fetch. The caller holds the writer's lock.
    async fn fetch_now(&self, deadline: Duration, cancel: CancellationToken) -> Result<(), FetchError> {
        let standing = branches_stood_on(self).await?;
        let fetched = match self.fetch_once(deadline, &cancel).await {
            Err(error) if error.is_about_a_lock() => {
                let removed = remove_stale_locks(self.path())?;
                tracing::warn!(?removed, "removed stale Git locks; fetching again");
                self.fetch_once(deadline, &cancel).await
            }
            fetched => fetched,
        };
        self.fetching().send_replace(None);
        keep_branches_stood_on(self.git(), self.path(), &standing).await?;
        fetched
    }

    async fn fetch_once(&self, deadline: Duration, cancel: &CancellationToken) -> Result<(), FetchError> {
        let tell = |piece: &str| {
            if let Some(step) = Progress::parse(piece) {
                self.fetching().send_replace(Some(step));
            }
        };
        let command = self.git().network_command(GitDir::Mirror(self.path())).await?;
        // A branch of the remote may be checked out in a worktree. Without `--update-head-ok`, that would stop the whole fetch.
        let command = command.args(["fetch", "--prune", "--update-head-ok", "--no-tags", "--no-write-fetch-head"]);
        let wanted = self.wanted_history();
        let deepening = wanted.map(|wanted| history::deepening(self.path(), wanted)).transpose()?.flatten();
        let command = command.args(["--no-recurse-submodules", "--no-auto-maintenance", "--progress"]);
        let contents = self.wanted_contents().unwrap_or(Contents::OfUsedCommits).fetch_options(self.path());
        let command = command.args(deepening.as_ref()).args(contents).arg("origin").stderr(Stderr::Progress(Box::new(tell)));
        run_network(command.deadline(deadline).cancel(cancel.clone())).await?;
        if let Some(wanted) = wanted.filter(|_| deepening.is_some()) {
            history::note(self.path(), wanted)?;
        }
        if !contents.is_empty() {
            return self.forget_partial().await;
        }
        // The server reads files of the default branch at any time.
        match self.resolve_branch(&self.default_branch().await?).await? {
            Some(tip) => self.complete(&tip, cancel).await,
            None => Ok(()),
        }
    }
}

/// Returns the branches, except task branches, that are checked out in worktrees, as `<ref> <commit>`. An agent may have
/// created them.
async fn branches_stood_on(mirror: &Mirror) -> Result<Vec<(String, String)>, FetchError> {
    let mut refs = admin::refs_stood_on(mirror.path())?;
    refs.retain(|name| name.starts_with("refs/heads/") && !name.starts_with("refs/heads/codex/"));
    let commits = mirror.commits_of(&refs).await?;
    let present = refs.into_iter().zip(commits).filter_map(|(name, commit)| Some((name, commit?.to_string())));
    Ok(present.collect())
}

/// Restores branches that the prune deleted although a worktree uses them. Without its branch, the worktree's next commit would
/// have no parent.
async fn keep_branches_stood_on(git: &Git, mirror: &Path, standing: &[(String, String)]) -> Result<(), FetchError> {
    for (name, commit) in standing {
        let exists = git.command(GitDir::Mirror(mirror)).args(["show-ref", "--verify", "--quiet", name]).run().await?;
        if !exists.status.success() {
            let command = git.command(GitDir::Mirror(mirror)).args(["update-ref", "--stdin"]).deadline(QUICK);
            command.stdin(Stdin::Bytes(format!("create {name} {commit}\n").into_bytes())).run_ok().await?;
        }
    }
    Ok(())
}
