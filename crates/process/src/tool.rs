//! Finds a program on this machine: its path and, on request, its version.
//!
//! The search path was captured with the configuration, so children find the same program.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, FileType};

use super::{BaseEnvironment, CommandSpec, RunProgramError, Stdout};

/// The time limit for printing a version. This takes milliseconds, or a few seconds on a cold disk.
const VERSION_DEADLINE: Duration = Duration::from_secs(20);

/// The maximum size of a version line in bytes.
const VERSION_LIMIT_BYTES: usize = 64 * 1024;

/// A program on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    program: PathBuf,
    version: Option<String>,
}

/// The program was not found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{program}` not found on PATH")]
pub struct ToolNotFound {
    /// The name of the program.
    pub program: String,
}

impl Tool {
    /// Returns a program by its path, without searching. The path must be absolute, because children have a different working
    /// directory.
    pub fn at(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), version: None }
    }

    /// Searches the folders of PATH for `name`. An absolute path is used as it is.
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

    /// Runs the program with `arguments`, and keeps the first line of its output as its version.
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

    /// Returns the path.
    pub fn path(&self) -> &Path {
        &self.program
    }

    /// Returns the first line of the version output.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Returns the program's name, for messages.
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
