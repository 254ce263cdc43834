//! Mirrors that have all commits, but the contents of files only for the commits that are used. Git calls such a repository a partial clone.
//!
//! The contents of a commit's files are fetched before a worktree, a merge or an archive needs them. Nothing else fetches contents: git's own
//! requests for missing objects are turned off, because they would use the network at any time. Invariant: the mirror has the contents of
//! every commit that a task starts from.

use std::collections::BTreeSet;

use model::ids::ObjectId;
use process::{RunProgramError, Stdin, Stdout};
use tokio_util::sync::CancellationToken;

use super::admin::ignore_missing;
use super::contents::{FILTER, MARK, is_partial};
use super::fetch::run_network;
use super::fetch_error::FetchError;
use super::mirror::Mirror;
use super::program::{ANSWER_LIMIT_BYTES, GitDir, LONG};

/// The settings with which git remembers that the remote has the missing objects.
const SETTINGS: [&str; 3] = ["remote.origin.promisor", "remote.origin.partialclonefilter", "extensions.partialClone"];

impl Mirror {
    /// Whether the mirror may lack contents of files.
    pub fn is_partial(&self) -> bool {
        is_partial(self.path())
    }

    /// Makes sure that the mirror has the contents of a commit's files.
    pub async fn complete(&self, commit: &ObjectId, cancel: &CancellationToken) -> Result<(), FetchError> {
        if !self.is_partial() {
            return Ok(());
        }
        let mut files = BTreeSet::new();
        let on_record = |record: &[u8]| {
            // The format is `mode type id TAB path`.
            let fields = record.split(|&byte| byte == b'\t').next().map(String::from_utf8_lossy).unwrap_or_default();
            let mut fields = fields.split(' ').skip(1);
            if let (Some("blob"), Some(id)) = (fields.next(), fields.next()) {
                files.insert(id.to_owned());
            }
        };
        let listing = self.git().command(GitDir::Mirror(self.path())).deadline(LONG).cancel(cancel.clone());
        let listing = listing.args(["ls-tree", "-r", "-z", "--full-tree", commit.as_str()]);
        listing.stdout(Stdout::Records(Box::new(on_record))).run_ok().await?;
        self.fetch_objects(files.into_iter().collect(), cancel).await
    }

    /// Fetches those of these objects that the mirror does not have.
    pub(super) async fn fetch_objects(&self, ids: Vec<String>, cancel: &CancellationToken) -> Result<(), FetchError> {
        let lines = |ids: &[&str]| Stdin::Bytes(ids.iter().flat_map(|id| [id.as_bytes(), b"\n"].concat()).collect());
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let ask = self.git().command(GitDir::Mirror(self.path())).args(["cat-file", "--batch-check"]).stdin(lines(&ids));
        let known =
            ask.stdout(Stdout::Capture { max: ANSWER_LIMIT_BYTES }).deadline(LONG).cancel(cancel.clone()).run_ok().await?;
        let known = known.text();
        let missing: Vec<_> = known.lines().filter_map(|line| line.strip_suffix(" missing")).collect();
        if missing.is_empty() {
            return Ok(());
        }
        // The objects are named, so the remote does not need to know which commits the mirror has.
        let settings = [("fetch.negotiationAlgorithm".to_owned(), "noop".to_owned())];
        let command = self.git().network_command_with(GitDir::Mirror(self.path()), &settings).await?;
        let command = command.args(["fetch", FILTER, "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"]);
        let command = command.args(["--no-auto-maintenance", "--stdin", "origin"]).stdin(lines(&missing));
        run_network(command.deadline(LONG).cancel(cancel.clone())).await.map(drop)
    }

    /// Records that a fetch got all missing contents.
    pub(super) async fn forget_partial(&self) -> Result<(), FetchError> {
        for name in SETTINGS {
            let command = self.git().command(GitDir::Mirror(self.path())).args(["config", "--unset-all", name]);
            let ended = command.run().await?;
            // Exit code 5 means that the setting does not exist.
            if !matches!(ended.status.code(), Some(0 | 5)) {
                let program = self.git().tool().to_string();
                let error = RunProgramError::Failed { program, status: ended.status, stderr_tail: ended.stderr_tail };
                return Err(error.into());
            }
        }
        Ok(ignore_missing(fs_err::remove_file(self.path().join(MARK)))?)
    }
}
