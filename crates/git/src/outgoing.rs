//! Exports a task's own commits: as a bundle for `git fetch`, and as emails for `git am`.
//!
//! Both are streamed from git and never held in memory. The user's patch settings and configured programs have no effect.
//! Invariant: everything exported is reachable from the task's branch and not from its base.

use std::ffi::OsStr;
use std::io;

use bytes::Bytes;
use futures_util::Stream;
use model::ids::ObjectId;
use process::{CommandSpec, RunProgramError};

use super::mirror::Mirror;
use super::program::{GitDir, LONG, answer, branch_ref};

/// Options for the format of emails, which override the user's configuration.
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

/// The number of commits that the branch has and its base does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnCommits {
    /// The number of all these commits.
    pub all: u32,
    /// The number of commits that are not merges. An email can only describe a commit with a single parent.
    pub plain: u32,
}

impl Mirror {
    /// Counts the commits that the branch has and its base does not.
    pub async fn own_commits(&self, branch: &str, base: &ObjectId) -> Result<OwnCommits, RunProgramError> {
        let (name, not_base) = (branch_ref(branch), format!("^{base}"));
        let count = |merges: &'static str| {
            let command = self.git().command(GitDir::Mirror(self.path())).args(["rev-list", "--count", merges]);
            answer(command.args([name.as_str(), not_base.as_str(), "--"]))
        };
        let number = |text: String| text.parse().unwrap_or(0);
        Ok(OwnCommits { all: number(count("--min-parents=0").await?), plain: number(count("--no-merges").await?) })
    }

    /// Counts the commits that `to` has and `from` does not.
    pub async fn commits_between(&self, from: &ObjectId, to: &ObjectId) -> Result<u32, RunProgramError> {
        let command = self.git().command(GitDir::Mirror(self.path())).args(["rev-list", "--count", to.as_str()]);
        Ok(answer(command.args([format!("^{from}"), "--".to_owned()])).await?.parse().unwrap_or(0))
    }

    /// Streams the branch and its own commits as a bundle.
    pub async fn bundle_stream(
        &self,
        branch: &str,
        base: &ObjectId,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, RunProgramError> {
        self.bundle_into("-", branch, base).streamed().await
    }

    /// Streams the branch's own commits, except merges, as emails, oldest first.
    pub async fn mail_stream(
        &self,
        branch: &str,
        base: &ObjectId,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, RunProgramError> {
        let command = self.git().command(GitDir::Mirror(self.path())).arg("format-patch").args(MAILS);
        command.args([branch_ref(branch), format!("^{base}"), "--".to_owned()]).deadline(LONG).streamed().await
    }

    /// Builds the command that writes the branch's own commits to a bundle.
    pub(super) fn bundle_into(&self, file: impl AsRef<OsStr>, branch: &str, base: &ObjectId) -> CommandSpec<'static> {
        let command = self.git().command(GitDir::Mirror(self.path())).args(["bundle", "create", "--quiet"]).arg(file);
        command.args([branch_ref(branch), format!("^{base}")]).deadline(LONG)
    }
}
