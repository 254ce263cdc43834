//! The git program of this machine, and how it is called.
//!
//! Every call names its repository explicitly; nothing is discovered from a working directory, and nothing in here decides what
//! a call is for. Invariant: no git of ours asks a question, and none runs without limits on its time and memory.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::budget::work_memory;
pub(super) use super::budget::{LONG, QUICK};
use super::large_files::{self, OFFLINE};
use super::settings::{NETWORK_PROTOCOLS, NO_PROTOCOLS, SSH_COMMAND, VARIABLES, configured};
use crate::exec::{BaseEnvironment, CommandSpec, RunProgramError, Stdout, Tool, ToolNotFound};

/// The oldest git that knows every option that is used: `add --sparse` is the youngest.
const OLDEST: GitVersion = GitVersion { major: 2, minor: 34 };

/// The oldest git that the tests run with.
const OLDEST_TESTED: GitVersion = GitVersion { major: 2, minor: 39 };

/// More than the text of any answer that is taken into memory whole.
pub(super) const ANSWER_LIMIT_BYTES: usize = 64 << 20;

/// How long a git that a killed server left behind may take to end in peace, and then to be gone.
pub(super) const ENDING: Duration = Duration::from_secs(5);

/// Marks the processes of a mirror, so that those a killed server left behind are found.
pub(super) const MARK: &str = "CODEX_ORCHESTRATOR_MIRROR";

/// Git cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverGitError {
    /// It is not installed.
    #[error(transparent)]
    NotFound(#[from] ToolNotFound),
    /// It does not run.
    #[error(transparent)]
    Program(#[from] RunProgramError),
    /// It does not say which version it is.
    #[error("`git --version` answered `{answer}`, which names no version")]
    NoVersion {
        /// What it said.
        answer: String,
    },
    /// It is too old.
    #[error("git {found} is too old: {OLDEST} or newer is needed, {OLDEST_TESTED} or newer is tested")]
    TooOld {
        /// What is installed.
        found: GitVersion,
    },
}

/// A version of git, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GitVersion {
    /// The 2 of 2.39.
    pub major: u32,
    /// The 39 of 2.39.
    pub minor: u32,
}

impl GitVersion {
    /// Whether this version is among those that the tests run with. Older ones work as far as is known.
    pub fn is_tested(self) -> bool {
        self >= OLDEST_TESTED
    }

    /// Reads `git version 2.39.5 (Apple Git-154)`.
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

/// Which repository a command is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'p> {
    /// None: the command makes one or only talks to a remote.
    Nowhere,
    /// A bare mirror.
    Mirror(&'p Path),
    /// A worktree of a mirror, with the administration that the mirror keeps for it. Its own `.git` is not asked.
    Worktree { mirror: &'p Path, admin: &'p Path, tree: &'p Path },
    /// The place in a mirror where git-lfs may use the network: the mirror, without any commit's `.lfsconfig`.
    LargeFiles { mirror: &'p Path, home: &'p Path },
}

impl Git {
    /// Finds git, by name in PATH or where it is said to be, and checks its version.
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

    /// The version that was found.
    pub fn version(&self) -> GitVersion {
        self.inner.version
    }

    /// Where the program is.
    pub fn tool(&self) -> &Tool {
        &self.inner.tool
    }

    /// A command on a repository of this machine. It may use no network, and neither may a git-lfs that it starts.
    pub(super) fn command<'a>(&self, place: Place<'_>) -> CommandSpec<'a> {
        self.command_with(place, &[])
    }

    /// The same with more settings.
    pub(super) fn command_with<'a>(&self, place: Place<'_>, settings: &[(String, String)]) -> CommandSpec<'a> {
        let directory = match place {
            Place::Nowhere => Path::new("/"),
            Place::Mirror(mirror) => mirror,
            Place::Worktree { admin, .. } => admin,
            Place::LargeFiles { home, .. } => home,
        };
        let command = CommandSpec::new(&self.inner.tool, &self.inner.base, directory)
            .envs(self.inner.base.with_credentials())
            .envs(VARIABLES.iter().copied())
            .env("GIT_ALLOW_PROTOCOL", NO_PROTOCOLS)
            .env("GIT_NO_LAZY_FETCH", "1")
            .deadline(QUICK)
            .memory(work_memory());
        if let Place::LargeFiles { mirror, home } = place {
            let command = configured(command, settings).env(large_files::HOME_VARIABLE, home);
            return command.env("GIT_DIR", home).env("GIT_WORK_TREE", home).env(MARK, mirror);
        }
        let offline = OFFLINE.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        let settings: Vec<_> = offline.chain(settings.iter().cloned()).collect();
        let command = configured(command, &settings);
        match place {
            Place::Nowhere | Place::LargeFiles { .. } => command,
            Place::Mirror(mirror) => command.env("GIT_DIR", mirror).env("GIT_COMMON_DIR", mirror).env(MARK, mirror),
            Place::Worktree { mirror, admin, tree } => {
                let command = command.env(large_files::HOME_VARIABLE, large_files::home_of(mirror));
                command.env("GIT_DIR", admin).env("GIT_COMMON_DIR", mirror).env("GIT_WORK_TREE", tree).env(MARK, mirror)
            }
        }
    }

    /// A command that talks to a remote. It fails where a person would be asked something.
    pub(super) async fn network_command<'a>(&self, place: Place<'_>) -> Result<CommandSpec<'a>, RunProgramError> {
        self.network_command_with(place, &[]).await
    }

    /// The same with more settings.
    pub(super) async fn network_command_with<'a>(
        &self,
        place: Place<'_>,
        settings: &[(String, String)],
    ) -> Result<CommandSpec<'a>, RunProgramError> {
        let command = self.command_with(place, settings).env("GIT_ALLOW_PROTOCOL", NETWORK_PROTOCOLS);
        if self.user_chose_ssh(place).await? {
            // The user's own ssh command stays as it is. Where it would ask, the answer is a program that gives none.
            return Ok(command.env("SSH_ASKPASS", "/bin/false").env("SSH_ASKPASS_REQUIRE", "force"));
        }
        Ok(command.env("GIT_SSH_COMMAND", SSH_COMMAND).env("SSH_ASKPASS_REQUIRE", "never"))
    }

    async fn user_chose_ssh(&self, place: Place<'_>) -> Result<bool, RunProgramError> {
        if ["GIT_SSH_COMMAND", "GIT_SSH"].iter().any(|name| self.inner.base.get(name).is_some()) {
            return Ok(true);
        }
        Ok(self.command(place).args(["config", "--get", "core.sshCommand"]).run().await?.status.success())
    }

    /// Whether git-lfs is installed, so that large files are real files.
    pub(super) fn has_lfs(&self) -> bool {
        self.inner.has_lfs
    }
}

/// Asks a git command for one text.
pub(super) async fn answer(command: CommandSpec<'_>) -> Result<String, RunProgramError> {
    let finished = command.stdout(Stdout::Capture { max: ANSWER_LIMIT_BYTES }).run_ok().await?;
    Ok(finished.text().trim_end_matches('\n').to_owned())
}

/// `refs/heads/<branch>`: complete, so that no branch name can be an option or an expression.
pub(super) fn branch_ref(branch: &str) -> String {
    format!("refs/heads/{branch}")
}

/// A path with something put behind its name.
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
