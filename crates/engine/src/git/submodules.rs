//! Submodules in a new worktree: their files are there to read, where the host may fetch them.
//!
//! Each is fetched into a repository of its own that is thrown away, and its files are written without one, so that no git ever
//! finds a repository in a worktree. For when the worktree is being made and no agent has seen it yet.

use std::path::Path;

use model::names::RepositoryUrl;
use model::submodule::{Submodule, submodules};
use tokio_util::sync::CancellationToken;

use super::admin;
use super::large_files::download;
use super::program::{LONG, Place, answer};
use super::staging::gitlinks_in;
use super::worktree::{Worktree, WorktreeError};
use crate::durable;
use crate::exec::{RunProgramError, Stdout};

/// The list of those whose files are there.
const LIST: &str = "codex-orchestrator-submodules";

/// More than a `.gitmodules` has.
const CONFIG_LIMIT_BYTES: usize = 1 << 20;

impl Worktree {
    /// The submodules whose files the host put there.
    pub fn submodules(&self) -> std::io::Result<Vec<String>> {
        admin::list(&self.admin, LIST)
    }

    /// Fetches what may be fetched. Returns what a reader should know; none of it fails the worktree but being cancelled.
    pub(super) async fn fetch_submodules(&self, cancel: &CancellationToken) -> Result<Vec<String>, WorktreeError> {
        let git = self.mirror.git();
        let modules = format!("{}:.gitmodules", self.base);
        let place = || Place::Mirror(self.mirror.path());
        if !git.command(place()).args(["cat-file", "-e", &modules]).run().await?.status.success() {
            return Ok(vec![]);
        }
        let config = git.command(place()).args(["config", "--blob", &modules, "-z", "--list"]);
        let config = config.stdout(Stdout::Capture { max: CONFIG_LIMIT_BYTES }).run_ok().await;
        let config = match config {
            Ok(config) => config.text(),
            Err(error) => return Ok(vec![format!("submodules are empty: `.gitmodules` cannot be read: {error}")]),
        };
        let origin = answer(git.command(place()).args(["config", "--get", "remote.origin.url"])).await?;
        let Ok(origin) = RepositoryUrl::parse(&origin) else { return Ok(vec![]) };
        let listed = git.command(place()).args(["ls-tree", "-r", "-z", "--full-tree", self.base.as_str()]);
        let gitlinks = gitlinks_in(listed).await?;
        let (mut notes, mut fetched) = (vec![], vec![]);
        for Submodule { path, source } in submodules(&config, &origin, gitlinks.keys().map(String::as_str)) {
            let commit = gitlinks.get(&path).map(String::as_str).unwrap_or_default();
            let outcome = match source {
                Ok(url) => self.fetch_submodule(&path, &url, commit, cancel).await,
                Err(why) => Err(why),
            };
            if cancel.is_cancelled() {
                return Err(RunProgramError::Cancelled { program: git.tool().to_string() }.into());
            }
            match outcome {
                Ok(()) => {
                    notes.push(format!("the submodule `{path}` is there to read; changes in it are not committed"));
                    fetched.push(path);
                }
                Err(why) => notes.push(format!("the submodule `{path}` is empty: {why}")),
            }
        }
        admin::put_list(&self.admin, LIST, &fetched)?;
        // No commit of the mirror has these files: they could not be restored.
        let folders: Vec<_> = fetched.iter().map(|path| self.tree.join(path)).collect();
        let synced = tokio::task::spawn_blocking(move || folders.iter().try_for_each(|folder| durable::sync_tree(folder)));
        synced.await.map_err(std::io::Error::other)??;
        Ok(notes)
    }

    async fn fetch_submodule(
        &self,
        path: &str,
        url: &RepositoryUrl,
        commit: &str,
        cancel: &CancellationToken,
    ) -> Result<(), String> {
        let target = self.tree.join(path);
        // Its folder is there, and none above it is a link.
        if !admin::real_path(&target).is_ok_and(|real| real == target && real.is_dir()) {
            return Err("its folder is not there".to_owned());
        }
        let place = admin::trash(self.mirror.path());
        let folder =
            fs_err::create_dir_all(&place).and_then(|()| tempfile::Builder::new().prefix("submodule-").tempdir_in(place));
        let folder = folder.map_err(|error| error.to_string())?;
        self.export(folder.path(), &target, url, commit, cancel).await.map_err(|error| error.to_string())
    }

    async fn export(
        &self,
        repository: &Path,
        target: &Path,
        url: &RepositoryUrl,
        commit: &str,
        cancel: &CancellationToken,
    ) -> Result<(), RunProgramError> {
        let git = self.mirror.git();
        git.command(Place::Nowhere).args(["init", "--quiet", "--bare", "--"]).arg(repository).run_ok().await?;
        let place = || Place::Mirror(repository);
        let fetch = || async {
            let command = git.network_command(place()).await?.args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head"]);
            Ok::<_, RunProgramError>(command.deadline(LONG).cancel(cancel.clone()))
        };
        // Not every host gives a commit by its id; the branches have it then.
        let only_it = fetch().await?.args(["--depth=1", "--", url.as_str(), commit]).run_ok().await;
        if let Err(RunProgramError::Failed { .. }) = only_it {
            fetch().await?.args(["--", url.as_str(), "+refs/heads/*:refs/heads/*"]).run_ok().await?;
        } else {
            only_it?;
        }
        if let Ok(commit) = commit.parse() {
            // Its own large files are where it is from, whatever it says itself.
            let origin = [("remote.origin.url".to_owned(), url.as_str().to_owned())];
            download(git, repository, &commit, &origin, cancel).await?;
        }
        let place = Place::Worktree { mirror: repository, admin: repository, tree: target };
        let settings = git.filters(place).await?;
        let command = git.command_with(place, &settings);
        let command = command.args(["read-tree", "--reset", "-u", "--no-recurse-submodules", commit]);
        command.deadline(LONG).cancel(cancel.clone()).run_ok().await.map(drop)
    }
}
