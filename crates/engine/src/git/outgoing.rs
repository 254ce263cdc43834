//! A task's own commits on their way out of the mirror: as a bundle that `git fetch` takes, and as mails that `git am` takes.
//!
//! Both come out of git piece by piece and are held nowhere. Nobody's taste in patches, and no program that a configuration names,
//! has a say in them. Invariant: what goes out is reachable from the task's branch, and nothing before its base goes along.

use std::ffi::OsStr;
use std::io;

use bytes::Bytes;
use futures_util::Stream;
use model::ids::ObjectId;

use super::mirror::Mirror;
use super::program::{LONG, Place, answer, branch_ref};
use crate::exec::{CommandSpec, RunProgramError};

/// The form of the mails, whatever a configuration prefers.
const MAILS: [&str; 26] = [
    "--stdout",
    "--no-color",
    "--no-attach",
    "--no-cover-letter",
    "--no-signoff",
    "--no-thread",
    "--no-to",
    "--no-cc",
    "--no-add-header",
    "--no-from",
    "--no-base",
    "--no-notes",
    "--no-ext-diff",
    "--no-textconv",
    "--no-encode-email-headers",
    "--numbered",
    "--subject-prefix=PATCH",
    "--signature=",
    "--full-index",
    "--binary",
    "--find-renames",
    "--unified=3",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "--submodule=short",
    "--ignore-submodules=none",
];

/// How many commits a branch has of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnCommits {
    /// All of them.
    pub all: u32,
    /// Those that are no merges: a mail has one commit's changes to the one before it.
    pub plain: u32,
}

impl Mirror {
    /// How many commits the branch has that its base has not.
    pub async fn own_commits(&self, branch: &str, base: &ObjectId) -> Result<OwnCommits, RunProgramError> {
        let (name, not_base) = (branch_ref(branch), format!("^{base}"));
        let count = |merges: &'static str| {
            let command = self.git().command(Place::Mirror(self.path())).args(["rev-list", "--count", merges]);
            answer(command.args([name.as_str(), not_base.as_str(), "--"]))
        };
        let number = |text: String| text.parse().unwrap_or(0);
        Ok(OwnCommits { all: number(count("--min-parents=0").await?), plain: number(count("--no-merges").await?) })
    }

    /// How many commits the second one has that the first has not.
    pub async fn commits_between(&self, from: &ObjectId, to: &ObjectId) -> Result<u32, RunProgramError> {
        let command = self.git().command(Place::Mirror(self.path())).args(["rev-list", "--count", to.as_str()]);
        Ok(answer(command.args([format!("^{from}"), "--".to_owned()])).await?.parse().unwrap_or(0))
    }

    /// The branch and its own commits, as a bundle.
    pub async fn bundle_stream(
        &self,
        branch: &str,
        base: &ObjectId,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, RunProgramError> {
        self.bundle_into("-", branch, base).streamed().await
    }

    /// The branch's own commits but merges, the oldest first, as mails.
    pub async fn mail_stream(
        &self,
        branch: &str,
        base: &ObjectId,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, RunProgramError> {
        let command = self.git().command(Place::Mirror(self.path())).arg("format-patch").args(MAILS);
        command.args([branch_ref(branch), format!("^{base}"), "--".to_owned()]).deadline(LONG).streamed().await
    }

    /// What writes the branch's own commits as a bundle.
    pub(super) fn bundle_into(&self, file: impl AsRef<OsStr>, branch: &str, base: &ObjectId) -> CommandSpec<'static> {
        let command = self.git().command(Place::Mirror(self.path())).args(["bundle", "create", "--quiet"]).arg(file);
        command.args([branch_ref(branch), format!("^{base}")]).deadline(LONG)
    }
}
