//! The names that a mirror knows: branches and tags, the newest first, and how fresh they are.
//! It asks the mirror alone, never the remote.

use tokio::sync::watch;

use super::gate::LastFetch;
use super::mirror::Mirror;
use super::program::{Place, answer};
use super::progress::Progress;
use crate::exec::RunProgramError;

impl Mirror {
    /// The complete names of all branches and tags, task branches too, as of the last fetch: those with the newest commit first.
    pub async fn names(&self) -> Result<Vec<String>, RunProgramError> {
        let command = self.git().command(Place::Mirror(self.path()));
        let command = command.args(["for-each-ref", "--sort=refname", "--sort=-creatordate", "--format=%(refname)"]);
        let names = answer(command.args(["refs/heads/", "refs/tags/"])).await?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// How far the fetch is that is under way, as it goes on; none between fetches.
    pub fn fetch_progress(&self) -> watch::Receiver<Option<Progress>> {
        self.fetching().subscribe()
    }

    /// Whether a fetch is under way, and how the last one went.
    pub fn fetch_state(&self) -> (bool, Option<LastFetch>) {
        self.gate().state()
    }
}
