//! Installs the system programs that the tests need, or names the missing ones.
//!
//! It uses only Debian's `apt-get`, only as root, and only for missing programs. Nothing else on the machine is changed.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::console::{self, StepError};
use crate::tools;

/// The programs and files that the tests need, each with the Debian package that contains it.
const NEEDS: &[(Need, &str)] = &[
    (Need::Program("git"), "git"),
    (Need::Program("node"), "nodejs"),
    (Need::Program("npm"), "npm"),
    (Need::Program("ps"), "procps"),
    (Need::Program("c++"), "g++"),
    (Need::Program("bash"), "bash"),
    (Need::Program("curl"), "curl"),
    (Need::Program("jq"), "jq"),
    (Need::Program("python3"), "python3"),
    (Need::PythonModule("ensurepip"), "python3-venv"),
    (Need::Program("git-lfs"), "git-lfs"),
    (Need::Program("gpg"), "gpg"),
    (Need::Program("gpg-agent"), "gpg-agent"),
    (Need::Program("gpgconf"), "gpgconf"),
    (Need::Program("faketime"), "faketime"),
    (Need::Program("strace"), "strace"),
    (Need::Program("gdb"), "gdb-minimal"),
    (Need::Program("mkfs.ext4"), "e2fsprogs"),
    (Need::Program("mkfs.xfs"), "xfsprogs"),
    (Need::Program("mkfs.btrfs"), "btrfs-progs"),
    (Need::Program("losetup"), "mount"),
    (Need::Program("podman"), "podman"),
    (Need::Program("catatonit"), "catatonit"),
    (Need::Program("systemd-analyze"), "systemd"),
    (Need::Program("chromium"), "chromium"),
    (Need::Program("chromium-headless-shell"), "chromium-headless-shell"),
    (Need::File("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"), "fonts-dejavu-core"),
    (Need::File("/bin/busybox"), "busybox-static"),
    (Need::File("/etc/ssl/certs/ca-certificates.crt"), "ca-certificates"),
];

/// How to check whether a package is installed.
#[derive(Debug, Clone, Copy)]
enum Need {
    /// A program on `PATH`.
    Program(&'static str),
    /// A module of Python.
    PythonModule(&'static str),
    /// A file, which is only checked on Linux.
    File(&'static str),
}

/// Why the tests do not have what they need.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackagesError {
    #[error("the tests need packages that are not installed\nhint: run `sudo {0}`, then try again")]
    NotRoot(String),
    #[error("the tests need programs that are not installed: {0}\nhint: install them, then try again")]
    NoApt(String),
    #[error("could not install what the tests need: {0}")]
    Apt(#[from] StepError),
}

/// Installs missing packages, or explains how to install them.
pub(crate) fn ensure() -> Result<(), PackagesError> {
    let missing: Vec<&str> = NEEDS.iter().filter(|(need, _)| !need.is_met()).map(|(_, package)| *package).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

/// Installs these packages, or explains how to install them.
pub(crate) fn install(packages: &[&str]) -> Result<(), PackagesError> {
    if !on_path("apt-get") {
        return Err(PackagesError::NoApt(packages.join(", ")));
    }
    if !is_root() {
        return Err(PackagesError::NotRoot(install_line(packages)));
    }
    console::timed(&format!("install {}", packages.join(", ")), || {
        console::run(apt_get().arg("update"))?;
        console::run(apt_get().args(INSTALL).args(packages))?;
        Ok(())
    })
}

/// Whether a program is on `PATH`.
pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

const INSTALL: [&str; 3] = ["install", "--yes", "--no-install-recommends"];

fn install_line(packages: &[&str]) -> String {
    format!("apt-get {} {}", INSTALL.join(" "), packages.join(" "))
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.arg("--quiet").env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Whether this process may install packages and start a container engine.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

impl Need {
    fn is_met(self) -> bool {
        match self {
            Self::Program(program) => on_path(program),
            Self::PythonModule(module) => tools::answers(Command::new("python3").args(["-c", &format!("import {module}")])),
            Self::File(file) => !cfg!(target_os = "linux") || Path::new(file).exists(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_there_is_found() {
        assert!(on_path("sh"));
        assert!(!on_path("no-such-program"));
    }

    #[test]
    fn whoever_is_not_root_gets_the_exact_command() {
        let error = PackagesError::NotRoot(install_line(&["git", "npm"]));
        let expect = "the tests need packages that are not installed\n\
            hint: run `sudo apt-get install --yes --no-install-recommends git npm`, then try again";
        assert_eq!(error.to_string(), expect);
    }
}
