//! A program of the machine, found once: its path and, when asked, its version.
//!
//! The search path is the one that was captured with the configuration, so that what was found is what children find.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, FileType};

use super::{BaseEnvironment, CommandSpec, RunProgramError, Stdout};

/// A program that only prints its version takes milliseconds; a cold disk takes a few seconds.
const VERSION_DEADLINE: Duration = Duration::from_secs(20);

/// More than any version line has.
const VERSION_LIMIT_BYTES: usize = 64 * 1024;

/// A program of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    program: PathBuf,
    version: Option<String>,
}

/// There is no such program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{program}` was not found in the folders of PATH")]
pub struct ToolNotFound {
    /// What was looked for.
    pub program: String,
}

impl Tool {
    /// A program by its path, not looked for. The path must be absolute, since the working directory of a child is another.
    pub fn at(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), version: None }
    }

    /// Looks for `name` in the folders of PATH. A name with a `/` is taken as a path.
    pub fn find(name: impl AsRef<Path>, base: &BaseEnvironment) -> Result<Self, ToolNotFound> {
        let name = name.as_ref();
        let not_found = || ToolNotFound { program: name.display().to_string() };
        if name.is_absolute() {
            return if is_program(name) { Ok(Self::at(name)) } else { Err(not_found()) };
        }
        let folders = base.get("PATH").ok_or_else(not_found)?;
        std::env::split_paths(folders)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(name))
            .find(|program| is_program(program))
            .map(Self::at)
            .ok_or_else(not_found)
    }

    /// Asks the program for its version with `arguments` and keeps the first line of the answer.
    pub async fn ask_version(mut self, arguments: &[&str], base: &BaseEnvironment) -> Result<Self, RunProgramError> {
        let answer = CommandSpec::new(&self, base, "/")
            .args(arguments)
            .stdout(Stdout::Capture { max: VERSION_LIMIT_BYTES })
            .deadline(VERSION_DEADLINE)
            .run_ok()
            .await?;
        self.version = answer.text().lines().next().map(|line| line.trim().to_owned());
        Ok(self)
    }

    /// Where the program is.
    pub fn path(&self) -> &Path {
        &self.program
    }

    /// The first line of what it answered when it was asked for its version.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The program's name, for messages.
    pub fn name(&self) -> String {
        self.program.file_name().map_or_else(|| self.program.display().to_string(), |name| name.to_string_lossy().into_owned())
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.program.display().fmt(f)
    }
}

fn is_program(path: &Path) -> bool {
    let file = rustix::fs::stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    file && rustix::fs::access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(path: &str) -> BaseEnvironment {
        BaseEnvironment::default().with("PATH", path)
    }

    #[test]
    fn a_program_is_found_in_the_folders_of_path() {
        let tool = Tool::find("sh", &base("/nowhere:/usr/bin:/bin")).expect("a shell is part of every system");
        assert!(tool.path().is_absolute());
        assert_eq!(tool.name(), "sh");
    }

    #[test]
    fn what_is_not_there_or_cannot_be_run_is_not_found() {
        let folder = tempfile::tempdir().expect("a folder");
        fs_err::write(folder.path().join("plain"), "text").expect("a file");
        fs_err::create_dir(folder.path().join("folder")).expect("a folder");
        let base = base(&folder.path().display().to_string());
        for name in ["missing", "plain", "folder"] {
            assert_eq!(Tool::find(name, &base).expect_err(name).program, name);
        }
    }

    #[test]
    fn a_relative_folder_of_path_is_not_searched() {
        assert!(Tool::find("sh", &base("bin:.:usr/bin")).is_err());
    }

    #[tokio::test]
    async fn the_version_is_the_first_line_of_the_answer() {
        let base = base("/usr/bin:/bin");
        let shell = Tool::find("sh", &base).expect("a shell");
        let shell = shell.ask_version(&["-c", "echo tool 1.2; echo more"], &base).await.expect("it answers");
        assert_eq!(shell.version(), Some("tool 1.2"));
    }
}
