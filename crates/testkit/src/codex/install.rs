//! Finds the native program of a version of the Codex CLI in its npm package. A missing package is installed into the build folder.

use std::path::{Path, PathBuf};

use crate::npm::{InstallError, ensure};

/// Returns the native program of this version.
pub(super) fn native_program(version: &str) -> Result<PathBuf, InstallError> {
    let platform = Platform::of_this_machine()?;
    ensure(&format!("@openai/codex@{version}"), &format!("codex-{version}"), |home| platform.program_in(home))
}

/// The names of a platform in npm and in Rust.
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

    /// Returns the path of the program: newer versions have a package for each platform, and older packages contain all platforms.
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
}
