//! The branches and tags of a mirror, newest first, and when they were fetched. Reads only the mirror, never the remote.

use process::RunProgramError;
use tokio::sync::watch;

use super::gate::LastFetch;
use super::mirror::Mirror;
use super::program::{GitDir, answer};
use super::progress::Progress;

impl Mirror {
    /// Returns the complete names of all branches and tags, including task branches, as of the last fetch, sorted by the date
    /// of their commits, newest first.
    pub async fn names(&self) -> Result<Vec<String>, RunProgramError> {
        let command = self.git().command(GitDir::Mirror(self.path()));
        let command = command.args(["for-each-ref", "--sort=refname", "--sort=-creatordate", "--format=%(refname)"]);
        let names = answer(command.args(["refs/heads/", "refs/tags/"])).await?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Watches the progress of the running fetch; `None` between fetches.
    pub fn fetch_progress(&self) -> watch::Receiver<Option<Progress>> {
        self.fetching().subscribe()
    }

    /// Returns whether a fetch is running, and the result of the last one.
    pub fn fetch_state(&self) -> (bool, Option<LastFetch>) {
        self.gate().state()
    }
}
