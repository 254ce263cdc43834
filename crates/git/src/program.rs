//! The git program on this machine, and how it is called.
//!
//! Every call names its repository explicitly; nothing is discovered from a working directory. The callers decide what git
//! does. Invariant: no git call asks a question, and none runs without limits on time and memory.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use process::{BaseEnvironment, CommandSpec, RunProgramError, Stdout, Tool, ToolNotFound};

use super::budget::work_memory;
pub(super) use super::budget::{LONG, QUICK};
use super::lfs_home;
use super::settings::{NETWORK_PROTOCOLS, NO_PROTOCOLS, OFFLINE, SSH_COMMAND, VARIABLES, configured};

/// The oldest git version with all options that are used; `add --sparse` is the newest option.
const OLDEST: GitVersion = GitVersion { major: 2, minor: 34 };

/// The oldest git version that the tests run with.
const OLDEST_TESTED: GitVersion = GitVersion { major: 2, minor: 39 };

/// The maximum size of an answer that is read into memory, in bytes.
pub(super) const ANSWER_LIMIT_BYTES: usize = 64 << 20;

/// How long a leftover git process gets to exit on request, and again to disappear after it is killed.
pub(super) const ENDING: Duration = Duration::from_secs(5);

/// The environment variable that marks the processes of a mirror, so that processes of a killed server can be found.
pub(super) const MARK: &str = "CODEX_ORCHESTRATOR_MIRROR";

/// Why git cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverGitError {
    /// Git is not installed.
    #[error(transparent)]
    NotFound(#[from] ToolNotFound),
    /// Git cannot be run.
    #[error(transparent)]
    Program(#[from] RunProgramError),
    /// Git does not print a version.
    #[error("`git --version` printed `{answer}`, which is not a version")]
    NoVersion {
        /// The output of git.
        answer: String,
    },
    /// Git is too old.
    #[error("git {found} is too old: install git {OLDEST_TESTED} or newer ({OLDEST} is the oldest that may work)")]
    TooOld {
        /// The installed version.
        found: GitVersion,
    },
}

/// A version of git.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GitVersion {
    /// The major version, such as 2 in 2.39.
    pub major: u32,
    /// The minor version, such as 39 in 2.39.
    pub minor: u32,
}

impl GitVersion {
    /// Whether the tests cover this version. Older versions are expected to work.
    pub fn is_tested(self) -> bool {
        self >= OLDEST_TESTED
    }

    /// Parses `git version 2.39.5 (Apple Git-154)`.
    fn parse(answer: &str) -> Option<Self> {
        let mut numbers = answer.strip_prefix("git version ")?.split(|c: char| !c.is_ascii_digit());
        Some(Self { major: numbers.next()?.parse().ok()?, minor: numbers.next()?.parse().ok()? })
    }
}

impl fmt::Display for GitVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The git program. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Git {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    tool: Tool,
    version: GitVersion,
    has_lfs: bool,
    base: BaseEnvironment,
}

/// The git directory that a command works on.
#[derive(Debug, Clone, Copy)]
pub(super) enum GitDir<'p> {
    /// No git directory: the command creates one or only contacts a remote.
    None,
    /// A bare mirror.
    Mirror(&'p Path),
    /// A worktree of a mirror, with the mirror's files about it. The worktree's own `.git` is not used.
    Worktree { mirror: &'p Path, admin: &'p Path, tree: &'p Path },
    /// The home of git-lfs in a mirror, which hides the `.lfsconfig` of every commit. Commands may use the network there.
    LargeFiles { mirror: &'p Path, home: &'p Path },
}

impl Git {
    /// Finds git, in PATH or at the given path, and checks its version.
    pub async fn discover(base: BaseEnvironment, program: Option<&Path>) -> Result<Self, DiscoverGitError> {
        let tool = Tool::find(program.unwrap_or(Path::new("git")), &base)?.ask_version(&["--version"], &base).await?;
        let answer = tool.version().unwrap_or_default().to_owned();
        let version = GitVersion::parse(&answer).ok_or(DiscoverGitError::NoVersion { answer })?;
        if version < OLDEST {
            return Err(DiscoverGitError::TooOld { found: version });
        }
        let has_lfs = Tool::find("git-lfs", &base).is_ok();
        Ok(Self { inner: Arc::new(Inner { tool, version, has_lfs, base }) })
    }

    /// Returns the version.
    pub fn version(&self) -> GitVersion {
        self.inner.version
    }

    /// Returns the variables that git and the programs around it get.
    pub(super) fn base(&self) -> &BaseEnvironment {
        &self.inner.base
    }

    /// Returns the program.
    pub fn tool(&self) -> &Tool {
        &self.inner.tool
    }

    /// Builds a command on a local repository. Neither the command nor a git-lfs that it starts may use the network.
    pub(super) fn command<'a>(&self, git_dir: GitDir<'_>) -> CommandSpec<'a> {
        self.command_with(git_dir, &[])
    }

    /// Like [`Git::command`], with additional settings.
    pub(super) fn command_with<'a>(&self, git_dir: GitDir<'_>, settings: &[(String, String)]) -> CommandSpec<'a> {
        let directory = match git_dir {
            GitDir::None => Path::new("/"),
            GitDir::Mirror(mirror) => mirror,
            GitDir::Worktree { admin, .. } => admin,
            GitDir::LargeFiles { home, .. } => home,
        };
        let command = CommandSpec::new(&self.inner.tool, &self.inner.base, directory)
            .envs(self.inner.base.with_credentials())
            .envs(VARIABLES.iter().copied())
            .env("GIT_ALLOW_PROTOCOL", NO_PROTOCOLS)
            .env("GIT_NO_LAZY_FETCH", "1")
            .deadline(QUICK)
            .memory(work_memory());
        if let GitDir::LargeFiles { mirror, home } = git_dir {
            let command = configured(command, settings).env(lfs_home::HOME_VARIABLE, home);
            return command.env("GIT_DIR", home).env("GIT_WORK_TREE", home).env(MARK, mirror);
        }
        let offline = OFFLINE.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        let settings: Vec<_> = offline.chain(settings.iter().cloned()).collect();
        let command = configured(command, &settings);
        match git_dir {
            GitDir::None | GitDir::LargeFiles { .. } => command,
            GitDir::Mirror(mirror) => command.env("GIT_DIR", mirror).env("GIT_COMMON_DIR", mirror).env(MARK, mirror),
            GitDir::Worktree { mirror, admin, tree } => {
                let command = command.env(lfs_home::HOME_VARIABLE, lfs_home::home_of(mirror));
                command.env("GIT_DIR", admin).env("GIT_COMMON_DIR", mirror).env("GIT_WORK_TREE", tree).env(MARK, mirror)
            }
        }
    }

    /// Builds a command that contacts a remote. It fails instead of asking a question.
    pub(super) async fn network_command<'a>(&self, git_dir: GitDir<'_>) -> Result<CommandSpec<'a>, RunProgramError> {
        self.network_command_with(git_dir, &[]).await
    }

    /// Like [`Git::network_command`], with additional settings.
    pub(super) async fn network_command_with<'a>(
        &self,
        git_dir: GitDir<'_>,
        settings: &[(String, String)],
    ) -> Result<CommandSpec<'a>, RunProgramError> {
        let command = self.command_with(git_dir, settings).env("GIT_ALLOW_PROTOCOL", NETWORK_PROTOCOLS);
        if self.user_chose_ssh(git_dir).await? {
            // Keep the user's own ssh command. If it asks a question, `/bin/false` is called and gives no answer.
            return Ok(command.env("SSH_ASKPASS", "/bin/false").env("SSH_ASKPASS_REQUIRE", "force"));
        }
        Ok(command.env("GIT_SSH_COMMAND", SSH_COMMAND).env("SSH_ASKPASS_REQUIRE", "never"))
    }

    async fn user_chose_ssh(&self, git_dir: GitDir<'_>) -> Result<bool, RunProgramError> {
        if ["GIT_SSH_COMMAND", "GIT_SSH"].iter().any(|name| self.inner.base.get(name).is_some()) {
            return Ok(true);
        }
        Ok(self.command(git_dir).args(["config", "--get", "core.sshCommand"]).run().await?.status.success())
    }

    /// Whether git-lfs is installed, so that large files are real files.
    pub(super) fn has_lfs(&self) -> bool {
        self.inner.has_lfs
    }
}

/// Runs a git command and returns its output as text.
pub(super) async fn answer(command: CommandSpec<'_>) -> Result<String, RunProgramError> {
    let finished = command.stdout(Stdout::Capture { max: ANSWER_LIMIT_BYTES }).run_ok().await?;
    Ok(finished.text().trim_end_matches('\n').to_owned())
}

/// Returns `refs/heads/<branch>`: a complete name that cannot be an option or an expression.
pub(super) fn branch_ref(branch: &str) -> String {
    format!("refs/heads/{branch}")
}

/// Appends a suffix to the file name of a path.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = path.file_name().unwrap_or(OsStr::new("folder")).to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_every_vendors_answer() {
        let check = |answer: &str, major: u32, minor: u32| {
            assert_eq!(GitVersion::parse(answer), Some(GitVersion { major, minor }), "{answer}");
        };
        check("git version 2.39.5", 2, 39);
        check("git version 2.39.5 (Apple Git-154)", 2, 39);
        check("git version 2.47.3.windows.1", 2, 47);
        check("git version 3.0.rc1", 3, 0);
        assert_eq!(GitVersion::parse("hub version 2.14"), None);
        assert_eq!(GitVersion::parse("git version unknown"), None);
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert!(GitVersion { major: 2, minor: 9 } < OLDEST);
        assert!(GitVersion { major: 3, minor: 0 }.is_tested());
        assert!(!OLDEST.is_tested());
    }

    #[test]
    fn a_suffix_goes_behind_the_name() {
        assert_eq!(with_suffix(Path::new("/a/mirror"), ".partial"), Path::new("/a/mirror.partial"));
    }
}
