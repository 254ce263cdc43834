//! A Podman service with Docker's API. It has its own storage and the same small image as [`crate::own_engine`].
//!
//! By default, Podman raises resource limits. The configuration prevents that, because root may not raise them on some machines.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::own_engine::import_small_image;
use crate::until;

/// The time limit until Podman answers.
const START_LIMIT: Duration = Duration::from_mins(1);

/// Podman's configuration.
const SETTINGS: &str = "[containers]\ndefault_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]\n\
    [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n";

/// A Podman service. It ends when this value is dropped.
pub struct OwnPodman {
    folder: tempfile::TempDir,
    service: Child,
}

impl OwnPodman {
    /// Starts a service and imports the small image.
    ///
    /// # Panics
    /// If Podman is not installed or does not start.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = folder.path().join("containers.conf");
        fs_err::write(&settings, SETTINGS).expect("a test's folder can be written");
        let log = std::fs::File::create(folder.path().join("log")).expect("a test's folder can be written");
        let mut command = Self::podman(folder.path());
        command.args(["system", "service", "--time", "0", &format!("unix://{}", folder.path().join("socket").display())]);
        let service = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let podman = Self { service: service.expect("podman is installed by `cargo xtask test`"), folder };
        until(START_LIMIT, "Podman answers", || {
            let mut ask = Command::new("docker");
            ask.args(["--host", &podman.host(), "info"]).stdout(Stdio::null()).stderr(Stdio::null());
            ask.status().is_ok_and(|status| status.success())
        });
        import_small_image(&podman.folder.path().join("image"), &podman.host());
        podman
    }

    fn podman(folder: &std::path::Path) -> Command {
        let mut command = Command::new("podman");
        command.arg("--root").arg(folder.join("root")).arg("--runroot").arg(folder.join("run"));
        command.env("CONTAINERS_CONF", folder.join("containers.conf"));
        command
    }

    /// Returns the value for `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("socket").display())
    }
}

impl Drop for OwnPodman {
    fn drop(&mut self) {
        let mut remove = Self::podman(self.folder.path());
        let _removed =
            remove.args(["rm", "--all", "--force", "--time", "0"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if self.service.kill().is_ok() {
            let _ended = self.service.wait();
        }
        crate::own_engine::unmount_below(self.folder.path());
    }
}
