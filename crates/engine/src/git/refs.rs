//! The names that a mirror knows: branches and tags, the newest first, and how fresh they are.
//! It asks the mirror alone, never the remote.

use super::gate::LastFetch;
use super::mirror::Mirror;
use super::program::{Place, answer};
use crate::exec::RunProgramError;

impl Mirror {
    /// The complete names of all branches and tags, task branches too, as of the last fetch: those with the newest commit first.
    pub async fn names(&self) -> Result<Vec<String>, RunProgramError> {
        let command = self.git().command(Place::Mirror(self.path()));
        let command = command.args(["for-each-ref", "--sort=refname", "--sort=-creatordate", "--format=%(refname)"]);
        let names = answer(command.args(["refs/heads/", "refs/tags/"])).await?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Whether a fetch is under way, and how the last one went.
    pub fn fetch_state(&self) -> (bool, Option<LastFetch>) {
        self.gate().state()
    }
}
