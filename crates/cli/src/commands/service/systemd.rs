//! Finds the systemd of this machine, calls `systemctl`, and reads and writes the unit file.
//! It never changes a unit that another program or person wrote.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Output;

use model::ErrorCode;
use model::problem::Problem;
use tokio::process::Command;

use super::unit::{MARK, NAME};

/// The folder that exists if systemd is the init system of this machine (`sd_booted(3)`).
const BOOTED: &str = "/run/systemd/system";

/// The kind of systemd instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manager {
    User,
    System,
}

/// A systemd instance and the path of our unit in it.
#[derive(Debug)]
pub(super) struct Systemd {
    systemctl: PathBuf,
    manager: Manager,
    pub(super) unit: PathBuf,
}

/// The state of the unit.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct UnitState {
    /// `active`, `inactive`, `failed`, `activating`, …
    pub(super) active: String,
    /// `enabled`, `disabled`, or empty if the unit does not exist.
    pub(super) enabled: String,
    /// The process ID of the server while it is running.
    pub(super) pid: Option<u32>,
    /// How many times systemd has restarted the server automatically.
    pub(super) restarts: u32,
}

impl Systemd {
    /// Finds the systemd of this machine. `path` is the value of `PATH`.
    pub(super) fn find(manager: Manager, units: &Path, path: &std::ffi::OsStr) -> Result<Self, Problem> {
        Self::find_at(manager, units, path, Path::new(BOOTED))
    }

    fn find_at(manager: Manager, units: &Path, path: &std::ffi::OsStr, booted: &Path) -> Result<Self, Problem> {
        let missing = |why: String| {
            Problem::new(ErrorCode::NoSystemd, why)
                .hint("run `codex-orchestrator serve` under another supervisor")
                .hint("make sure that the supervisor sends SIGTERM only to the server, not to the runs, which are its children")
        };
        let found = std::env::split_paths(path).map(|folder| folder.join("systemctl")).find(|program| program.is_file());
        let systemctl = found.ok_or_else(|| missing("systemd is not installed: `systemctl` not found on PATH".to_owned()))?;
        if !booted.is_dir() {
            return Err(missing(format!("systemd is not running on this machine: {} does not exist", booted.display())));
        }
        Ok(Self::at(systemctl, manager, units))
    }

    /// Returns the systemd instance that this `systemctl` controls.
    pub(super) fn at(systemctl: PathBuf, manager: Manager, units: &Path) -> Self {
        Self { systemctl, manager, unit: units.join(NAME) }
    }

    /// Returns the kind of systemd instance.
    pub(super) fn manager(&self) -> Manager {
        self.manager
    }

    /// Returns a command line that the user can type.
    pub(super) fn command_line(&self, words: &str) -> String {
        match self.manager {
            Manager::User => format!("systemctl --user {words}"),
            Manager::System => format!("systemctl {words}"),
        }
    }

    /// Returns the command that shows the server's log.
    pub(super) fn journal(&self) -> &'static str {
        match self.manager {
            Manager::User => "journalctl --user -u codex-orchestrator -n 50",
            Manager::System => "journalctl -u codex-orchestrator -n 50",
        }
    }

    /// Checks that systemd answers. Changes nothing.
    pub(super) async fn answers(&self) -> Result<(), Problem> {
        self.run(&["show", "--property=Version"]).await.map(drop).map_err(|problem| match self.manager {
            Manager::User => problem.hint("sudo and su do not start a user session: log in as that user, or use --system"),
            Manager::System => problem,
        })
    }

    /// Runs `systemctl` and returns its output.
    pub(super) async fn run(&self, words: &[&str]) -> Result<String, Problem> {
        let output = self.call(words).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        let detail = format!("`{}` failed ({}): {}", self.command_line(&words.join(" ")), output.status, text(&output.stderr));
        Err(Problem::new(ErrorCode::SystemctlFailed, detail))
    }

    async fn call(&self, words: &[&str]) -> Result<Output, Problem> {
        let mut command = Command::new(&self.systemctl);
        if self.manager == Manager::User {
            command.arg("--user");
        }
        let output = command.args(words).stdin(std::process::Stdio::null()).output().await;
        output.map_err(|error| {
            let detail = format!("could not start `{}`: {error}", self.systemctl.display());
            Problem::new(ErrorCode::SystemctlFailed, detail)
        })
    }

    /// Returns the state of the unit.
    pub(super) async fn state(&self) -> Result<UnitState, Problem> {
        let properties = "--property=ActiveState,UnitFileState,MainPID,NRestarts";
        let said = self.run(&["show", properties, NAME]).await?;
        let value = |key: &str| {
            let found = said.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            found.unwrap_or_default().to_owned()
        };
        Ok(UnitState {
            active: value("ActiveState"),
            enabled: value("UnitFileState"),
            pid: value("MainPID").parse().ok().filter(|pid| *pid > 0),
            restarts: value("NRestarts").parse().unwrap_or_default(),
        })
    }

    /// Returns the text of the unit file, if it exists. Fails if another program or person wrote it.
    pub(super) fn installed(&self) -> Result<Option<String>, Problem> {
        match std::fs::read_to_string(&self.unit) {
            Ok(text) if text.starts_with(MARK) => Ok(Some(text)),
            Ok(_) => {
                let detail = format!("{} was not created by this program, so it was not changed", self.unit.display());
                Err(Problem::new(ErrorCode::ForeignUnit, detail).hint("move the file elsewhere, then try again"))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.unusable(&error)),
        }
    }

    /// Writes the unit file atomically.
    pub(super) fn write(&self, text: &str) -> Result<(), Problem> {
        use std::os::unix::fs::PermissionsExt as _;
        let write = || {
            let folder = self.unit.parent().ok_or(io::ErrorKind::NotFound)?;
            std::fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            io::Write::write_all(&mut file, text.as_bytes())?;
            file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
            file.as_file().sync_all()?;
            file.persist(&self.unit).map_err(|error| error.error).map(drop)
        };
        write().map_err(|error| self.unusable(&error))
    }

    /// Removes the unit file, if it exists.
    pub(super) fn remove(&self) -> Result<(), Problem> {
        match std::fs::remove_file(&self.unit) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.unusable(&error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn unusable(&self, error: &io::Error) -> Problem {
        let detail = format!("cannot use `{}`: {error}", self.unit.display());
        let problem = Problem::new(ErrorCode::UnitUnusable, detail);
        match self.manager {
            Manager::User => problem,
            Manager::System => problem.hint("use sudo: only root can change system units"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake_systemd::FakeSystemd;
    use super::*;

    #[test]
    fn without_systemd_the_hint_says_what_to_do_instead() {
        let folder = tempfile::tempdir().expect("a folder");
        let find = |path: &str, booted: &Path| {
            let found = Systemd::find_at(Manager::User, folder.path(), path.as_ref(), booted);
            found.expect_err("systemd is missing")
        };
        let not_installed = find("/nowhere:/nowhere/else", folder.path());
        assert!(not_installed.report.message.contains("systemctl"), "{not_installed}");
        std::fs::write(folder.path().join("systemctl"), "").expect("written");
        let here = folder.path().to_str().expect("text");
        let not_booted = find(here, &folder.path().join("run/systemd/system"));
        assert!(not_booted.report.message.contains("run/systemd/system"), "{not_booted}");
        for problem in [not_installed, not_booted] {
            assert_eq!(problem.report.code, ErrorCode::NoSystemd);
            assert!(problem.report.hints[0].contains("codex-orchestrator serve"), "{problem:?}");
        }
    }

    #[tokio::test]
    async fn errors_of_systemctl_are_quoted() {
        let stage = FakeSystemd::new("echo 'Failed to connect to bus' >&2; exit 1");
        let problem = stage.systemd.answers().await.expect_err("the session is missing");
        assert!(
            problem.report.message.contains("systemctl --user show") && problem.report.message.contains("connect to bus"),
            "{problem}"
        );
        assert!(problem.report.hints[0].contains("--system"), "{problem:?}");
    }

    #[test]
    fn a_foreign_unit_is_not_changed() {
        let stage = FakeSystemd::new("exit 0");
        std::fs::create_dir_all(stage.systemd.unit.parent().expect("a folder")).expect("made");
        std::fs::write(&stage.systemd.unit, "[Service]\nExecStart=/usr/bin/other\n").expect("written");
        assert_eq!(stage.systemd.installed().expect_err("another program wrote the unit").report.code, ErrorCode::ForeignUnit);
    }
}
