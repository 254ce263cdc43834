//! Writes the files of submodules into a new worktree, if the host may fetch them.
//!
//! Anyone who can push a branch, and every agent, can put any URL into a `.gitmodules`. Invariant: files are fetched only from
//! URLs that a branch trusted by the owner contains or that a person has allowed.
//!
//! Each submodule is fetched into a temporary repository, and its files are written without that repository, so that git never
//! finds a repository in a worktree. Call this while the worktree is being created, before an agent has seen it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use model::ids::ObjectId;
use model::names::RepositoryUrl;
use model::sources::SourceSettings;
use model::submodule::{Sources, Submodule, canonical, submodules, visible};
use process::{RunProgramError, Stdin, Stdout};
use tokio_util::sync::CancellationToken;

use super::admin;
use super::entries::gitlinks_in;
use super::large_files::download;
use super::mirror::{Mirror, is_task_branch};
use super::program::{GitDir, LONG, answer, branch_ref};
use super::worktree::Worktree;
use super::worktree_error::WorktreeError;

/// The list of submodules whose files were written.
const LIST: &str = "codex-orchestrator-submodules";

/// The maximum size of a `.gitmodules`, in bytes.
const CONFIG_LIMIT_BYTES: usize = 1 << 20;

/// The maximum number of different `.gitmodules` files of trusted branches that are read.
const MOST_CONFIGS: usize = 100;

/// The submodules of a commit.
enum RecordedSubmodules {
    /// All submodules, each with its recorded commit.
    Listed(Vec<(Submodule, String)>),
    /// The submodules are unknown, for this reason.
    Unknown(String),
}

fn not_allowed(url: &RepositoryUrl) -> String {
    format!("`{}` is not in the `.gitmodules` of a trusted branch, and nobody has allowed it", visible(url))
}

impl Mirror {
    /// Returns the URLs that submodules are fetched from without asking: those of the default branch, those of trusted
    /// branches, and those that somebody allowed.
    pub async fn trusted_sources(&self, settings: &SourceSettings) -> Result<Sources, RunProgramError> {
        let mut sources = Sources::default();
        let Some(origin) = self.origin().await? else { return Ok(sources) };
        let listed = self.git().command(GitDir::Mirror(self.path())).args(["for-each-ref", "--format=%(refname)", "refs/heads/"]);
        let listed = answer(listed).await?;
        let is_trusted = |name: &&str| {
            let branch = name.strip_prefix("refs/heads/").unwrap_or_default();
            !is_task_branch(branch) && settings.trusted_branches.iter().any(|pattern| pattern.matches(branch))
        };
        let default = branch_ref(&self.default_branch().await?);
        let branches = std::iter::once(default.as_str()).chain(listed.lines().filter(is_trusted));
        let branches: Vec<_> = branches.collect();
        if self.is_partial() {
            self.fetch_gitmodules(&branches).await?;
        }
        let asked: Vec<_> = branches.iter().map(|branch| format!("{branch}:.gitmodules\n")).collect();
        let blobs =
            self.git().command(GitDir::Mirror(self.path())).args(["cat-file", "--batch-check=%(objecttype) %(objectname)"]);
        let blobs = answer(blobs.stdin(Stdin::Bytes(asked.concat().into_bytes()))).await?;
        let mut seen = BTreeSet::new();
        for blob in blobs.lines().filter_map(|line| line.strip_prefix("blob ")) {
            if seen.insert(blob) && seen.len() <= MOST_CONFIGS {
                match self.gitmodules(blob).await {
                    Ok(config) => sources.trust_all(&config, &origin),
                    Err(error) => tracing::warn!(%error, "could not read `.gitmodules` of a trusted branch"),
                }
            }
        }
        settings.allowed_urls.iter().cloned().for_each(|url| sources.trust(url));
        Ok(sources)
    }

    /// Fetches the `.gitmodules` of branches into a partial mirror. Without it, no URL of a branch is trusted.
    async fn fetch_gitmodules(&self, branches: &[&str]) -> Result<(), RunProgramError> {
        let branches: Vec<_> = branches.iter().take(MOST_CONFIGS).map(|&branch| branch.to_owned()).collect();
        let mut files = Vec::new();
        for commit in self.commits_of(&branches).await?.into_iter().flatten() {
            let listed = self.git().command(GitDir::Mirror(self.path())).args(["ls-tree", commit.as_str(), "--", ".gitmodules"]);
            // The format is `mode type id TAB path`.
            let listed = answer(listed).await?;
            files.extend(listed.split_ascii_whitespace().nth(2).map(str::to_owned));
        }
        if let Err(error) = self.fetch_objects(files, &CancellationToken::new()).await {
            tracing::warn!(%error, "could not fetch `.gitmodules` of a trusted branch");
        }
        Ok(())
    }

    /// Returns the URLs of a commit's submodules that could be fetched but are not trusted yet.
    pub async fn untrusted_urls(&self, commit: &ObjectId, sources: &Sources) -> Result<Vec<RepositoryUrl>, RunProgramError> {
        let RecordedSubmodules::Listed(found) = self.submodules_of(commit).await? else { return Ok(vec![]) };
        let urls = found.into_iter().filter_map(|(submodule, _)| submodule.source.ok()).filter(|url| sources.get(url).is_none());
        let urls: BTreeMap<_, _> = urls.map(|url| (canonical(&url), url)).collect();
        Ok(urls.into_values().collect())
    }

    /// Returns the submodules of a commit.
    async fn submodules_of(&self, commit: &ObjectId) -> Result<RecordedSubmodules, RunProgramError> {
        let git_dir = || GitDir::Mirror(self.path());
        let modules = format!("{commit}:.gitmodules");
        if !self.git().command(git_dir()).args(["cat-file", "-e", &modules]).run().await?.status.success() {
            return Ok(RecordedSubmodules::Listed(vec![]));
        }
        let config = match self.gitmodules(&modules).await {
            Ok(config) => config,
            Err(error) => return Ok(RecordedSubmodules::Unknown(format!("`.gitmodules` cannot be read: {error}"))),
        };
        let Some(origin) = self.origin().await? else { return Ok(RecordedSubmodules::Listed(vec![])) };
        let listed = self.git().command(git_dir()).args(["ls-tree", "-r", "-z", "--full-tree", commit.as_str()]);
        let gitlinks = gitlinks_in(listed).await?;
        let found = submodules(&config, &origin, gitlinks.keys().map(String::as_str));
        let with_commit = |submodule: Submodule| {
            let commit = gitlinks.get(&submodule.path).cloned().unwrap_or_default();
            (submodule, commit)
        };
        Ok(RecordedSubmodules::Listed(found.into_iter().map(with_commit).collect()))
    }

    /// Reads the settings in a `.gitmodules`. Includes of other files are not followed.
    async fn gitmodules(&self, blob: &str) -> Result<String, RunProgramError> {
        let config = self.git().command(GitDir::Mirror(self.path()));
        let config = config.args(["config", "--blob", blob, "--no-includes", "-z", "--list"]);
        Ok(config.stdout(Stdout::Capture { max: CONFIG_LIMIT_BYTES }).run_ok().await?.text())
    }

    async fn origin(&self) -> Result<Option<RepositoryUrl>, RunProgramError> {
        let origin = self.git().command(GitDir::Mirror(self.path())).args(["config", "--get", "remote.origin.url"]);
        Ok(RepositoryUrl::parse(&answer(origin).await?).ok())
    }
}

impl Worktree {
    /// Returns the submodules whose files the host wrote.
    pub fn submodules(&self) -> std::io::Result<Vec<String>> {
        admin::list(&self.admin, LIST)
    }

    /// Fetches the allowed submodules and returns notes for people. If a submodule cannot be fetched, a note says why.
    pub(super) async fn fetch_submodules(
        &self,
        sources: &Sources,
        cancel: &CancellationToken,
    ) -> Result<Vec<String>, WorktreeError> {
        let found: Vec<_> = match self.mirror.submodules_of(&self.base).await? {
            RecordedSubmodules::Listed(found) => {
                found.into_iter().filter(|(submodule, _)| self.cone.contains(submodule.path.as_bytes())).collect()
            }
            RecordedSubmodules::Unknown(why) => return Ok(vec![format!("submodules are empty: {why}")]),
        };
        if found.is_empty() {
            return Ok(vec![]);
        }
        let (mut notes, mut fetched) = (vec![], vec![]);
        for (Submodule { path, source }, commit) in found {
            let trusted = source.and_then(|url| sources.get(&url).cloned().ok_or_else(|| not_allowed(&url)));
            let outcome = match trusted {
                Ok(url) => self.fetch_submodule(&path, &url, &commit, cancel).await,
                Err(why) => Err(why),
            };
            if cancel.is_cancelled() {
                return Err(RunProgramError::Cancelled { program: self.mirror.git().tool().to_string() }.into());
            }
            match outcome {
                Ok(()) => {
                    notes.push(format!("the submodule `{path}` is read-only; changes in it are not committed"));
                    fetched.push(path);
                }
                Err(why) => notes.push(format!("the submodule `{path}` is empty: {why}")),
            }
        }
        admin::put_list(&self.admin, LIST, &fetched)?;
        // No commit of the mirror contains these files, so they could not be restored after a power cut.
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
        // Check that the submodule's folder exists and that no parent folder is a link.
        if !admin::real_path(&target).is_ok_and(|real| real == target && real.is_dir()) {
            return Err("its folder is missing".to_owned());
        }
        let trash = admin::trash(self.mirror.path());
        let folder =
            fs_err::create_dir_all(&trash).and_then(|()| tempfile::Builder::new().prefix("submodule-").tempdir_in(trash));
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
        git.command(GitDir::None).args(["init", "--quiet", "--bare", "--"]).arg(repository).run_ok().await?;
        let git_dir = || GitDir::Mirror(repository);
        let fetch = || async {
            let command = git.network_command(git_dir()).await?.args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head"]);
            Ok::<_, RunProgramError>(command.deadline(LONG).cancel(cancel.clone()))
        };
        // Some hosts do not serve a commit by its ID. In that case, fetch all branches, one of which must contain it.
        let only_it = fetch().await?.args(["--depth=1", "--", url.as_str(), commit]).run_ok().await;
        if let Err(RunProgramError::Failed { .. }) = only_it {
            fetch().await?.args(["--", url.as_str(), "+refs/heads/*:refs/heads/*"]).run_ok().await?;
        } else {
            only_it?;
        }
        if let Ok(commit) = commit.parse() {
            // The large files of a submodule come from the submodule's own remote, whatever its `.lfsconfig` says.
            let origin = [("remote.origin.url".to_owned(), url.as_str().to_owned())];
            download(git, repository, &commit, &origin, cancel).await?;
        }
        let git_dir = GitDir::Worktree { mirror: repository, admin: repository, tree: target };
        let settings = git.filters(git_dir).await?;
        let command = git.command_with(git_dir, &settings);
        let command = command.args(["read-tree", "--reset", "-u", "--no-recurse-submodules", commit]);
        command.deadline(LONG).cancel(cancel.clone()).run_ok().await.map(drop)
    }
}
