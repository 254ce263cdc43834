//! Finds a version of the Codex CLI in the build's folder, or puts it there with npm.
//!
//! `<target>/tools/codex-<version>/` appears by one rename, so it is whole or absent. Many test processes may ask at once: a
//! file lock lets one install while the others wait.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Why a version of Codex cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Codex is not built for this kind of machine.
    #[error("there is no native Codex for {0}")]
    Platform(String),
    /// npm is not there.
    #[error("could not start npm to install it (`apt-get install npm` brings it)")]
    NpmMissing(#[source] io::Error),
    /// npm tried and failed.
    #[error("`npm install {package}` failed: {stderr}")]
    Npm {
        /// What was to be installed.
        package: String,
        /// The last words of npm.
        stderr: String,
    },
    /// The package does not hold the program where it should.
    #[error("{package} was installed, but there is no native program in {folder}")]
    Layout {
        /// What was installed.
        package: String,
        /// Where.
        folder: PathBuf,
    },
    /// A file of the tools folder cannot be used.
    #[error(transparent)]
    Folder(#[from] io::Error),
}

/// The native program of this version.
pub(super) fn native_program(version: &str) -> Result<PathBuf, InstallError> {
    let platform = Platform::of_this_machine()?;
    let tools = target_dir().join("tools");
    let home = tools.join(format!("codex-{version}"));
    if let Some(program) = platform.program_in(&home) {
        return Ok(program);
    }
    fs_err::create_dir_all(&tools)?;
    let lock = File::create(tools.join(format!("codex-{version}.lock")))?;
    lock.lock()?;
    // Another process may have installed it while this one waited.
    if let Some(program) = platform.program_in(&home) {
        return Ok(program);
    }
    install(version, &tools, &home)?;
    platform.program_in(&home).ok_or_else(|| InstallError::Layout { package: package(version), folder: home })
}

/// The folder that Cargo builds this workspace into.
pub(super) fn target_dir() -> PathBuf {
    let beside_this_test = std::env::current_exe().ok().and_then(|program| {
        let tagged = |folder: &&Path| folder.join("CACHEDIR.TAG").is_file();
        program.ancestors().find(tagged).map(Path::to_owned)
    });
    beside_this_test.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"))
}

fn package(version: &str) -> String {
    format!("@openai/codex@{version}")
}

fn install(version: &str, tools: &Path, home: &Path) -> Result<(), InstallError> {
    let package = package(version);
    let half = tempfile::Builder::new().prefix(".installing-").tempdir_in(tools)?;
    let output = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", "--prefix"])
        .arg(half.path())
        .arg(&package)
        .current_dir(half.path())
        .stdin(Stdio::null())
        .output()
        .map_err(InstallError::NpmMissing)?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(InstallError::Npm { package, stderr });
    }
    if home.exists() {
        fs_err::remove_dir_all(home)?;
    }
    fs_err::rename(half.keep(), home)?;
    Ok(())
}

/// The names that npm and Rust have for one kind of machine.
struct Platform {
    npm: &'static str,
    triple: &'static str,
}

impl Platform {
    fn of_this_machine() -> Result<Self, InstallError> {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let (npm, triple) = match (os, arch) {
            ("linux", "x86_64") => ("linux-x64", "x86_64-unknown-linux-musl"),
            ("linux", "aarch64") => ("linux-arm64", "aarch64-unknown-linux-musl"),
            ("macos", "x86_64") => ("darwin-x64", "x86_64-apple-darwin"),
            ("macos", "aarch64") => ("darwin-arm64", "aarch64-apple-darwin"),
            _ => return Err(InstallError::Platform(format!("{os} on {arch}"))),
        };
        Ok(Self { npm, triple })
    }

    /// Where npm puts the program: newer versions have a package for each platform, older ones hold all of them.
    fn program_in(&self, home: &Path) -> Option<PathBuf> {
        let packages = home.join("node_modules/@openai");
        let newer = packages.join(format!("codex-{}/vendor/{}/bin/codex", self.npm, self.triple));
        let older = packages.join(format!("codex/vendor/{}/codex/codex", self.triple));
        [newer, older].into_iter().find(|program| program.is_file())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(home: &Path, path: &str) -> PathBuf {
        let file = home.join(path);
        fs_err::create_dir_all(file.parent().expect("the path has folders")).expect("a temporary folder");
        fs_err::write(&file, "").expect("a temporary file");
        file
    }

    #[test]
    fn both_layouts_of_the_package_are_known() {
        let platform = Platform { npm: "linux-x64", triple: "x86_64-unknown-linux-musl" };
        let check = |path: &str| {
            let home = tempfile::tempdir().expect("a temporary folder");
            assert_eq!(platform.program_in(home.path()), None);
            let file = touch(home.path(), path);
            assert_eq!(platform.program_in(home.path()), Some(file));
        };
        check("node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex");
        check("node_modules/@openai/codex/vendor/x86_64-unknown-linux-musl/codex/codex");
    }

    #[test]
    fn npms_wrapper_is_not_the_program() {
        let platform = Platform { npm: "linux-x64", triple: "x86_64-unknown-linux-musl" };
        let home = tempfile::tempdir().expect("a temporary folder");
        touch(home.path(), "node_modules/.bin/codex");
        touch(home.path(), "node_modules/@openai/codex/bin/codex.js");
        assert_eq!(platform.program_in(home.path()), None);
    }

    #[test]
    fn the_target_folder_is_the_one_this_test_was_built_into() {
        let program = std::env::current_exe().expect("a test has a program");
        assert!(program.starts_with(target_dir()), "{} is not in {}", program.display(), target_dir().display());
    }
}
