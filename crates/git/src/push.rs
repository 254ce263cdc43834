//! Pushes a task's branch to its remote, and explains failures.
//!
//! Only the task's own branch is ever pushed, and the commit is named by its ID. Commits of other people are replaced only if
//! the owner names them. A token reaches git through a credential helper and an environment variable. Invariant: the token
//! never appears in a URL or an argument list.

use std::collections::BTreeSet;
use std::time::Duration;

use model::ids::ObjectId;
use model::secret::Secret;
use process::{CommandSpec, Redactor, RunProgramError, Stdout};
use tokio_util::sync::CancellationToken;

use super::fetch::run_network;
use super::fetch_error::FetchError;
use super::large_files::{self, LargeFilesSettings};
use super::mirror::Mirror;
use super::program::{ANSWER_LIMIT_BYTES, Git, GitDir, LONG, answer, branch_ref};

/// The environment variable from which the credential helper reads the token.
const TOKEN_VARIABLE: &str = "CODEX_ORCHESTRATOR_GIT_TOKEN";

/// A credential helper that answers with the token. Its text is constant, and it stores nothing.
const HELPER: &str =
    "!f() { test \"$1\" = get && printf 'username=x-access-token\\npassword=%s\\n' \"$CODEX_ORCHESTRATOR_GIT_TOKEN\"; }; f";

/// The maximum number of the remote's lines in an error.
const WORDS_LIMIT_LINES: usize = 20;

/// A request to push a branch.
#[derive(Debug)]
pub struct PushRequest<'a> {
    /// The task's branch.
    pub branch: &'a str,
    /// The commit to push.
    pub sha: &'a ObjectId,
    /// The commit that the task started from.
    pub base: &'a ObjectId,
    /// The commit that this server pushed before, which it may replace.
    pub pushed: Option<&'a ObjectId>,
    /// A commit of somebody else that the owner wants to replace.
    pub replace: Option<&'a ObjectId>,
    /// A token, and the root of the https remotes that it may be sent to.
    pub token: Option<(&'a Secret, &'a str)>,
    /// The time limit.
    pub deadline: Duration,
    /// Cancels the push.
    pub cancel: CancellationToken,
}

/// Why the branch could not be pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The remote branch has a commit of somebody else.
    #[error("the remote branch has commits that do not belong to this task")]
    Moved {
        /// The commit, if it is known.
        remote: Option<ObjectId>,
    },
    /// The remote rejected the push.
    #[error("the remote rejected the push: {words}")]
    Rejected {
        /// The remote's message.
        words: String,
    },
    /// The remote could not be reached, or rejected the login.
    #[error(transparent)]
    Network(#[from] FetchError),
}

impl From<RunProgramError> for PushError {
    fn from(error: RunProgramError) -> Self {
        Self::Network(error.into())
    }
}

/// The result of an attempt.
enum Tried {
    /// The remote branch is at the commit.
    There,
    /// The remote branch is not an ancestor of the commit and is not at the commit to replace.
    InTheWay,
}

impl Mirror {
    /// Ensures that the remote branch is at the commit. Pushing twice is harmless.
    pub async fn push(&self, request: &PushRequest<'_>) -> Result<(), PushError> {
        self.push_large_files(request).await?;
        if let Tried::There = self.push_once(request, None).await? {
            return Ok(());
        }
        let remote = self.remote_commit(request).await?;
        let ours = [request.pushed, request.replace].into_iter().flatten().find(|known| remote.as_ref() == Some(*known));
        let Some(ours) = ours else { return Err(PushError::Moved { remote }) };
        match self.push_once(request, Some(ours)).await? {
            Tried::There => Ok(()),
            Tried::InTheWay => Err(PushError::Moved { remote: self.remote_commit(request).await? }),
        }
    }

    /// Fetches the task's branch from the remote with everything it needs, keeps it as `refs/orchestrator/pushed/…`, and
    /// returns its commit.
    pub async fn fetch_pushed(
        &self,
        branch: &str,
        token: Option<(&Secret, &str)>,
        deadline: Duration,
        cancel: CancellationToken,
    ) -> Result<Option<ObjectId>, FetchError> {
        let kept = format!("refs/orchestrator/pushed/{branch}");
        let ask = async |arguments: &[&str]| {
            let command = match token {
                None => self.git().network_command(GitDir::Mirror(self.path())).await?,
                Some((token, root)) => with_token(self.git(), GitDir::Mirror(self.path()), &[], token, root).await?,
            };
            let command = command.args(arguments).deadline(deadline).cancel(cancel.clone());
            run_network(command.stdout(Stdout::Capture { max: ANSWER_LIMIT_BYTES })).await
        };
        let _writer = self.writer().await;
        if ask(&["ls-remote", "origin", &branch_ref(branch)]).await?.text().trim().is_empty() {
            return Ok(None);
        }
        let refspec = format!("+{}:{kept}", branch_ref(branch));
        // Without an empty refmap, git would also move the mirror's own branch of that name, following the remote's settings.
        let quiet = ["--no-tags", "--no-prune", "--no-write-fetch-head", "--no-recurse-submodules", "--no-auto-maintenance"];
        ask(&[&["fetch", "--refmap="], &quiet[..], &["origin", &refspec]].concat()).await?;
        Ok(self.commits_of(&[kept]).await?.into_iter().flatten().next())
    }

    /// Returns the tip of the task's branch, if it exists.
    pub async fn tip(&self, branch: &str) -> Result<Option<ObjectId>, RunProgramError> {
        Ok(self.commits_of(&[branch_ref(branch)]).await?.into_iter().flatten().next())
    }

    /// Returns the text of a file in a commit, or `None` if it is missing, not text, or longer than `max` bytes.
    pub async fn text_of(&self, commit: &ObjectId, path: &str, max: usize) -> Option<String> {
        let command = self.git().command(GitDir::Mirror(self.path())).args(["cat-file", "blob", &format!("{commit}:{path}")]);
        let finished = command.stdout(Stdout::Capture { max }).run_ok().await.ok()?;
        Some(finished.text()).filter(|text| !text.contains('\u{fffd}'))
    }

    async fn push_once(&self, request: &PushRequest<'_>, replacing: Option<&ObjectId>) -> Result<Tried, PushError> {
        let target = branch_ref(request.branch);
        let mut command = self.remote_command(request).await?.args(["push", "--porcelain", "--no-verify", "--no-follow-tags"]);
        command = command.args(["--no-recurse-submodules", "--no-signed"]);
        if let Some(expected) = replacing {
            command = command.arg(format!("--force-with-lease={target}:{expected}"));
        }
        let command = command.args(["origin", &format!("{}:{target}", request.sha)]);
        let finished = command.stdout(Stdout::Capture { max: ANSWER_LIMIT_BYTES }).run().await?;
        if finished.status.success() {
            return Ok(Tried::There);
        }
        let (report, stderr) = (finished.text(), finished.stderr_tail.as_str());
        match refusal(&report, &target) {
            Some(why) if is_in_the_way(why) => Ok(Tried::InTheWay),
            Some(why) => Err(PushError::Rejected { words: words_of_remote(stderr, why) }),
            None => Err(PushError::Network(FetchError::from_words(stderr))),
        }
    }

    /// Returns the commit of the remote branch.
    async fn remote_commit(&self, request: &PushRequest<'_>) -> Result<Option<ObjectId>, PushError> {
        let command = self.remote_command(request).await?.args(["ls-remote", "origin", &branch_ref(request.branch)]);
        let finished = run_network(command.stdout(Stdout::Capture { max: ANSWER_LIMIT_BYTES })).await?;
        Ok(finished.text().split_whitespace().next().and_then(|id| id.parse().ok()))
    }

    /// Uploads the large files of the task's commits, which `git push` does not do.
    async fn push_large_files(&self, request: &PushRequest<'_>) -> Result<(), PushError> {
        if !self.git().has_lfs() {
            return Ok(());
        }
        let names = self.large_files(request.base, request.sha).await?;
        if names.is_empty() {
            return Ok(());
        }
        let rejected = |words: String| PushError::Rejected { words };
        let settings = match self.large_files_settings().await? {
            LargeFilesSettings::Allowed(settings) => settings,
            LargeFilesSettings::Refused(why) => return Err(rejected(format!("large files were not uploaded: {why}"))),
        };
        let home = large_files::ensure_home(self.git(), self.path())?;
        let git_dir = GitDir::LargeFiles { mirror: self.path(), home: &home };
        for names in names.into_iter().collect::<Vec<_>>().chunks(500) {
            let command =
                self.remote_command_at(git_dir, request, &settings).await?.args(["lfs", "push", "--object-id", "origin"]);
            let finished = command.args(names).run().await?;
            if !finished.status.success() {
                return Err(rejected(words_of_remote(&finished.stderr_tail, "could not upload large files")));
            }
        }
        Ok(())
    }

    /// Returns the objects that pointers in these commits name and that the mirror has.
    async fn large_files(&self, base: &ObjectId, sha: &ObjectId) -> Result<BTreeSet<String>, RunProgramError> {
        let range = format!("{base}..{sha}");
        let listing = ["log", "--format=", "--raw", "--no-abbrev", "--no-renames", "-m", "--diff-filter=AM", &range, "--"];
        let listed = answer(self.git().command(GitDir::Mirror(self.path())).args(listing).deadline(LONG)).await?;
        let blobs: BTreeSet<&str> = listed.lines().filter_map(|line| line.split(' ').nth(3)).collect();
        if blobs.is_empty() {
            return Ok(BTreeSet::new());
        }
        let blobs = blobs.into_iter().map(str::to_owned).collect();
        let pointers = large_files::pointers_in(self.git(), self.path(), blobs).await?;
        let here = pointers.into_iter().filter(|(_, pointer)| pointer.is_here(self.path()));
        Ok(here.map(|(_, pointer)| pointer.oid).collect())
    }

    async fn remote_command<'a>(&self, request: &PushRequest<'_>) -> Result<CommandSpec<'a>, RunProgramError> {
        self.remote_command_at(GitDir::Mirror(self.path()), request, &[]).await
    }

    async fn remote_command_at<'a>(
        &self,
        git_dir: GitDir<'_>,
        request: &PushRequest<'_>,
        settings: &[(String, String)],
    ) -> Result<CommandSpec<'a>, RunProgramError> {
        let (deadline, cancel) = (request.deadline, request.cancel.clone());
        let command = match request.token {
            None => self.git().network_command_with(git_dir, settings).await?,
            Some((token, root)) => with_token(self.git(), git_dir, settings, token, root).await?,
        };
        Ok(command.deadline(deadline).cancel(cancel))
    }
}

/// Adds the token to a command. The user's own helpers are not used for these remotes, so none of them stores the token.
async fn with_token<'a>(
    git: &Git,
    git_dir: GitDir<'_>,
    settings: &[(String, String)],
    token: &Secret,
    root: &str,
) -> Result<CommandSpec<'a>, RunProgramError> {
    let key = format!("credential.{root}.helper");
    let helper = [(key.clone(), String::new()), (key, HELPER.to_owned())];
    let settings: Vec<_> = settings.iter().cloned().chain(helper).collect();
    let command = git.network_command_with(git_dir, &settings).await?;
    Ok(command.env(TOKEN_VARIABLE, token.expose()).redact(Redactor::new([token.expose().to_owned()])))
}

/// Returns why the remote ref was rejected, from a line of `push --porcelain`: `!`, the refspec, and the reason.
fn refusal<'r>(report: &'r str, target: &str) -> Option<&'r str> {
    report.lines().find_map(|line| {
        let mut fields = line.split('\t');
        let is_refused = fields.next() == Some("!") && fields.next().is_some_and(|refspec| refspec.ends_with(target));
        is_refused.then(|| fields.next().unwrap_or_default())
    })
}

/// Whether git itself rejected a push because it would lose commits. `[remote rejected]` comes from the remote.
fn is_in_the_way(why: &str) -> bool {
    why.starts_with("[rejected]")
}

/// Returns the remote's message without its prefix, or else git's reason.
fn words_of_remote(stderr: &str, why: &str) -> String {
    let said = stderr.lines().filter_map(|line| line.trim_end().strip_prefix("remote:")).map(str::trim);
    let said: Vec<&str> = said.filter(|line| !line.is_empty()).collect();
    let said = &said[said.len().saturating_sub(WORDS_LIMIT_LINES)..];
    let why = why.trim_start_matches("[remote rejected]").trim();
    if said.is_empty() { why.to_owned() } else { format!("{} {why}", said.join("\n")).trim_end().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "To /srv/repo\n!\tdeadbeef:refs/heads/codex/a\t[remote rejected] (pre-receive hook declined)\nDone\n";

    #[test]
    fn a_refusal_is_read_from_the_report() {
        let why = refusal(REPORT, "refs/heads/codex/a").expect("the remote rejected the push");
        assert!(!is_in_the_way(why));
        let stderr = "remote: error: no secrets here        \nremote: \nremote: see https://x\nerror: failed to push\n";
        assert_eq!(words_of_remote(stderr, why), "error: no secrets here\nsee https://x (pre-receive hook declined)");
        assert_eq!(words_of_remote("", why), "(pre-receive hook declined)");
        assert_eq!(refusal(REPORT, "refs/heads/codex/b"), None);
    }

    #[test]
    fn what_would_lose_commits_is_told_from_what_the_remote_does_not_want() {
        for why in ["[rejected] (non-fast-forward)", "[rejected] (fetch first)", "[rejected] (stale info)"] {
            assert!(is_in_the_way(why), "{why}");
        }
        for why in ["[remote rejected] (protected branch hook declined)", "[remote failure]"] {
            assert!(!is_in_the_way(why), "{why}");
        }
    }
}
