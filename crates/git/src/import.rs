//! Imports an agent's work: a bundle from its container becomes commits on the task's branch.
//!
//! An agent wrote everything in the folder. Files are opened without following links, their size is limited, and the objects
//! are checked separately from the mirror's own objects. An import moves only the task's branch, only forward, and never reads
//! the worktree. Invariant: a rejected import leaves the mirror's objects and refs unchanged.

use std::io;
use std::path::Path;

use model::bundle::HarvestReport;
use model::commit::{Selection, SigningKey};
use model::ids::ObjectId;
use process::{CommandSpec, RunProgramError, Stdin};
use secret_forms::SecretSearch;

use super::admin;
use super::commit_object::CommitObject;
use super::fetch_error::telling_lines;
use super::import_error::ImportError;
use super::incoming::{Bundle, Incoming, Quarantine};
use super::makers::Makers;
use super::message::RunTrailers;
use super::mirror::is_ancestor;
use super::program::{GitDir, LONG, answer, branch_ref};
use super::secrets::secret_in_new_objects;
use super::sign_error::SignError;
use super::snapshot::{Snapshot, unsigned};
use super::worktree::Worktree;

/// Larger files are checked piece by piece, without holding them in memory.
const STREAMED_FROM: &str = "64m";

/// The maximum size of a single allocation by git. A few bytes of a pack can claim any size.
const ALLOCATION_LIMIT: &str = "1g";

/// A request to import the work of a run.
#[derive(Debug, Clone, Copy)]
pub struct ImportRequest<'a> {
    /// The folder with the files from the container: `result`, and `bundle` if there is something new.
    pub out: &'a Path,
    /// The tip of the branch when the run started. The imported commits must be based on it.
    pub since: &'a ObjectId,
    /// The message of the run's commit.
    pub message: &'a str,
    /// Identifies the run, to distinguish its commit from the agent's own commits.
    pub trailers: RunTrailers<'a>,
    /// The maximum size of a bundle in bytes.
    pub limit_bytes: u64,
    /// The folder with the large files of the agent repository.
    pub lfs_objects: &'a Path,
    /// The expected author and committer of the run's commit, and the key that signs it.
    pub makers: &'a Makers,
    /// What the exported commit omits by decision.
    pub selection: &'a Selection,
    /// The secrets that no commit may contain.
    pub secrets: Option<&'a SecretSearch>,
}

impl Worktree {
    /// Imports the work of a run. Call this only if no process of the run is left. Importing the same work twice is harmless.
    pub async fn import(&self, request: ImportRequest<'_>) -> Result<Snapshot, ImportError> {
        let branch = branch_ref(&self.branch);
        let Incoming { report, bundle } = self.read_incoming(&request, &branch).await?;
        let missing = self.take_large_files(&request).await?;
        let (tip, prerequisites) = self.what_is_known(&branch, bundle.as_ref()).await?;
        admin::clear_locks(self.mirror.path(), &self.admin, &self.branch)?;
        let head = report.head.clone();
        let is_signed_already = tip.is_some() && self.replaced_by_signing().await?.as_ref() == Some(&head);
        let head = if let Some(tip) = tip.clone().filter(|_| is_signed_already) {
            tip
        } else if tip.as_ref() == Some(&head) {
            head
        } else if let Some(bundle) = bundle {
            if let Some(commit) = prerequisites {
                return Err(ImportError::UnknownPrerequisite { commit });
            }
            self.take_in(bundle, &head, &request, tip.as_ref()).await?;
            head
        } else if let Some(tip) = tip.filter(|_| head == *request.since) {
            tip
        } else {
            return Err(ImportError::Missing { file: "bundle" });
        };
        let is_of_run = self.is_commit_of(&head, &request).await?;
        let HarvestReport { dropped: dropped_gitlinks, unreadable, mut notes, .. } = report;
        notes.extend(missing);
        let head = match &request.makers.signing_key {
            Some(key) if is_of_run && !is_signed_already => match self.sign(&head, request.makers, key).await? {
                Ok(signed) => signed,
                Err(error) => {
                    notes.push(unsigned(&error));
                    head
                }
            },
            Some(_) | None => head,
        };
        self.bring_along(&head).await?;
        let commit = is_of_run.then(|| head.clone());
        let selection = request.selection.clone();
        Ok(Snapshot { commit, head, dropped_gitlinks, unreadable, notes, selection })
    }

    /// Imports large files before the branch moves, because a commit in the mirror must have its large files.
    async fn take_large_files(&self, request: &ImportRequest<'_>) -> io::Result<Vec<String>> {
        let (from, mirror) = (request.lfs_objects.to_owned(), self.mirror.path().to_owned());
        let secrets = request.secrets.cloned();
        let taken = tokio::task::spawn_blocking(move || super::lfs::take_objects(&from, &mirror, secrets.as_ref())).await;
        taken.map_err(io::Error::other)?
    }

    /// Puts a signed copy of the run's commit on the branch, unless an agent made the commit. The original stays in the mirror,
    /// because the agent repository has it.
    async fn sign(
        &self,
        commit: &ObjectId,
        makers: &Makers,
        key: &SigningKey,
    ) -> Result<Result<ObjectId, SignError>, RunProgramError> {
        let read = self.mirror.git().command(GitDir::Mirror(self.mirror.path())).args(["cat-file", "commit", commit.as_str()]);
        let object = CommitObject::parse(answer(read).await?.into_bytes());
        if !object.is_some_and(|object| object.is_by(&makers.author, &makers.committer)) {
            return Ok(Ok(commit.clone()));
        }
        let signed = match self.mirror.signed(commit, key).await {
            Ok(signed) => signed,
            Err(error) => return Ok(Err(error)),
        };
        let moves = format!("update {} {signed} {commit}\nupdate {} {commit}\n", branch_ref(&self.branch), self.unsigned_ref());
        let _writer = self.mirror.writer().await;
        let command = self.mirror.git().command(GitDir::Mirror(self.mirror.path())).args(["update-ref", "--stdin", "-m"]);
        command.arg("codex-orchestrator: signed").stdin(Stdin::Bytes(moves.into_bytes())).run_ok().await?;
        Ok(Ok(signed))
    }

    /// Returns the commit that the tip of the branch replaced when it was signed, if it was the last one that was signed.
    pub async fn replaced_by_signing(&self) -> Result<Option<ObjectId>, RunProgramError> {
        Ok(self.mirror.commits_of(&[self.unsigned_ref()]).await?.into_iter().next().flatten())
    }

    fn unsigned_ref(&self) -> String {
        format!("refs/orchestrator/kept/{}/unsigned", self.branch.strip_prefix("codex/").unwrap_or(&self.branch))
    }

    async fn read_incoming(&self, request: &ImportRequest<'_>, branch: &str) -> Result<Incoming, ImportError> {
        let (out, branch, limit) = (request.out.to_owned(), branch.to_owned(), request.limit_bytes);
        let read = tokio::task::spawn_blocking(move || Incoming::read(&out, &branch, limit)).await;
        read.map_err(io::Error::other)?
    }

    /// Returns the tip of the branch, and the first commit that the bundle is based on and the mirror does not have.
    async fn what_is_known(
        &self,
        branch: &str,
        bundle: Option<&Bundle>,
    ) -> Result<(Option<ObjectId>, Option<ObjectId>), RunProgramError> {
        let needed = bundle.map_or(&[][..], |bundle| &bundle.prerequisites);
        let mut names = vec![branch.to_owned()];
        names.extend(needed.iter().map(ObjectId::to_string));
        let mut commits = self.mirror.commits_of(&names).await?.into_iter();
        let tip = commits.next().flatten();
        let unknown = needed.iter().zip(commits).find(|(_, known)| known.is_none());
        Ok((tip, unknown.map(|(id, _)| id.clone())))
    }

    /// Checks everything in a bundle, then moves it into the mirror and moves the branch.
    async fn take_in(
        &self,
        bundle: Bundle,
        head: &ObjectId,
        request: &ImportRequest<'_>,
        tip: Option<&ObjectId>,
    ) -> Result<(), ImportError> {
        let quarantine = Quarantine::new(self.mirror.path())?;
        self.unpack(bundle, &quarantine, request.limit_bytes).await?;
        let kind = answer(self.checking(&quarantine).args(["cat-file", "-t", head.as_str()])).await;
        if kind.map_err(|error| refused(error, |words| ImportError::Incomplete { words }))? != "commit" {
            return Err(ImportError::NotACommit { id: head.clone() });
        }
        let walk = self.checking(&quarantine).args(["rev-list", "--objects", "--quiet", head.as_str(), "--not", "--all"]);
        walk.deadline(LONG).run_ok().await.map_err(|error| refused(error, |words| ImportError::Incomplete { words }))?;
        for known in std::iter::once(request.since).chain(tip.filter(|tip| *tip != request.since)) {
            if !is_ancestor(self.checking(&quarantine), known, head).await? {
                return Err(ImportError::NotADescendant { head: head.clone(), tip: known.clone() });
            }
        }
        if let Some(search) = request.secrets {
            let (git, folder) = (|| self.checking(&quarantine), self.mirror.path());
            let secret = secret_in_new_objects(search, git, head, request.message, folder).await?;
            if let Some(secret) = secret {
                return Err(ImportError::Secret { secret });
            }
        }
        let _writer = self.mirror.writer().await;
        quarantine.migrate(self.mirror.path())?;
        Ok(self.move_branch(head, tip).await?)
    }

    /// Unpacks the objects into quarantine and checks each of them.
    async fn unpack(&self, bundle: Bundle, quarantine: &Quarantine, limit_bytes: u64) -> Result<(), ImportError> {
        let settings = [("core.bigFileThreshold".to_owned(), STREAMED_FROM.to_owned())];
        let command = self.mirror.git().command_with(GitDir::Mirror(self.mirror.path()), &settings);
        let command = quarantine.inside(command).args(["index-pack", "--stdin", "--fix-thin", "--strict"]);
        let command = command.arg(format!("--max-input-size={limit_bytes}")).env("GIT_ALLOC_LIMIT", ALLOCATION_LIMIT);
        let done = command.stdin(Stdin::File(bundle.pack)).deadline(LONG).run_ok().await;
        done.map(drop).map_err(|error| refused(error, |words| ImportError::BadObjects { words }))
    }

    fn checking<'a>(&self, quarantine: &Quarantine) -> CommandSpec<'a> {
        quarantine.inside(self.mirror.git().command(GitDir::Mirror(self.mirror.path())))
    }

    /// Sets the worktree's HEAD and index to the branch, without reading the worktree's files.
    async fn bring_along(&self, head: &ObjectId) -> Result<(), ImportError> {
        self.stand_on_branch().await?;
        let read_tree = || self.mirror.git().command(self.git_dir()).args(["read-tree", "--reset", head.as_str()]);
        if let Err(error) = read_tree().run_ok().await {
            tracing::warn!(%error, "could not update a worktree's index; creating a new one");
            admin::ignore_missing(fs_err::remove_file(self.admin.join("index")))?;
            read_tree().run_ok().await?;
        }
        self.hide_absent().await?;
        Ok(admin::clear_unfinished(&self.admin)?)
    }

    /// Whether this commit contains what the run left uncommitted, as opposed to a commit of the agent.
    async fn is_commit_of(&self, head: &ObjectId, request: &ImportRequest<'_>) -> Result<bool, RunProgramError> {
        if head == request.since {
            return Ok(false);
        }
        let object = self.mirror.git().command(GitDir::Mirror(self.mirror.path())).args(["cat-file", "commit", head.as_str()]);
        let object = answer(object).await?;
        Ok(object.split_once("\n\n").is_some_and(|(_, message)| request.trailers.are_in(message)))
    }
}

/// Converts git's complaint about objects into an error of the import. Returns all other errors unchanged.
fn refused(error: RunProgramError, kind: impl FnOnce(String) -> ImportError) -> ImportError {
    match error {
        RunProgramError::Failed { stderr_tail, .. } => kind(telling_lines(&stderr_tail)),
        RunProgramError::NotFound { .. }
        | RunProgramError::DirectoryMissing { .. }
        | RunProgramError::Spawn { .. }
        | RunProgramError::Io { .. }
        | RunProgramError::TimedOut { .. }
        | RunProgramError::Cancelled { .. }
        | RunProgramError::OutputTooLarge { .. } => ImportError::Program(error),
    }
}
