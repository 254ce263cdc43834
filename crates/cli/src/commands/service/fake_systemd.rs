//! A fake `systemctl` for tests. It records its calls and then runs a script.
//! The machine's systemd is not used.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::systemd::{Manager, Systemd};

pub(super) struct FakeSystemd {
    folder: tempfile::TempDir,
    pub(super) systemd: Systemd,
}

impl FakeSystemd {
    /// Creates a user's systemd whose `systemctl` runs this shell script.
    pub(super) fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("systemctl");
        let calls = folder.path().join("calls");
        std::fs::write(&program, format!("#!/bin/sh\necho \"$*\" >> '{}'\n{script}\n", calls.display())).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("ours");
        std::fs::create_dir(folder.path().join("home")).expect("made");
        let units = folder.path().join("config/systemd/user");
        let systemd = Systemd::at(program, Manager::User, &units);
        Self { folder, systemd }
    }

    /// Returns the home directory of the server.
    pub(super) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub(super) fn calls(&self) -> Vec<String> {
        let calls = std::fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    pub(super) fn forget_calls(&self) {
        std::fs::write(self.folder.path().join("calls"), "").expect("written");
    }
}
