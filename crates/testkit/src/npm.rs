//! Installs each package once, from npm's registry into the build folder.
//!
//! `<target>/tools/<name>/` is created with a single rename, so it is complete or missing. If several test processes need a package
//! at once, a file lock lets one of them install it while the others wait.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Why a package cannot be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Codex does not support this platform.
    #[error("there is no native Codex for {0}")]
    Platform(String),
    /// npm is not installed.
    #[error("could not start npm\nhint: install it: apt-get install npm")]
    NpmMissing(#[source] io::Error),
    /// The registry does not have this version of the package.
    #[error("npm does not have {package}\nhint: list the published versions: npm view @openai/codex versions")]
    NotPublished {
        /// The package and its version.
        package: String,
    },
    /// npm failed.
    #[error("`npm install {package}` failed: {stderr}")]
    Npm {
        /// The package.
        package: String,
        /// The end of npm's output.
        stderr: String,
    },
    /// The package does not have the expected content.
    #[error("{package} was installed, but the expected files are not in {folder}")]
    Layout {
        /// The package.
        package: String,
        /// The folder.
        folder: PathBuf,
    },
    /// A file in the tools folder cannot be used.
    #[error(transparent)]
    Folder(#[from] io::Error),
}

/// Returns the path that `find` returns for an installed package. Installs the package if it is missing.
pub(crate) fn ensure(package: &str, name: &str, find: impl Fn(&Path) -> Option<PathBuf>) -> Result<PathBuf, InstallError> {
    ensure_with(&json!({}), package, name, find)
}

/// Like [`ensure`], with the content of the `package.json` that npm starts from.
fn ensure_with(
    manifest: &Value,
    package: &str,
    name: &str,
    find: impl Fn(&Path) -> Option<PathBuf>,
) -> Result<PathBuf, InstallError> {
    let tools = target_dir().join("tools");
    let home = tools.join(name);
    if let Some(found) = find(&home) {
        return Ok(found);
    }
    fs_err::create_dir_all(&tools)?;
    let lock = File::create(tools.join(format!("{name}.lock")))?;
    lock.lock()?;
    // Another process may have installed the package in the meantime.
    if let Some(found) = find(&home) {
        return Ok(found);
    }
    install(manifest, package, &tools, &home)?;
    find(&home).ok_or_else(|| InstallError::Layout { package: package.to_owned(), folder: home })
}

/// Returns GitHub's published API description (`OpenAPI` 3.0) from `@octokit/openapi`.
pub fn github_description() -> Result<PathBuf, InstallError> {
    const VERSION: &str = "23.0.2";
    ensure(&format!("@octokit/openapi@{VERSION}"), &format!("github-api-{VERSION}"), |home| {
        let file = home.join("node_modules/@octokit/openapi/generated/api.github.com.json");
        Some(file).filter(|file| file.is_file())
    })
}

/// Returns the `node_modules` folder of Verdaccio, a private registry for npm.
pub(crate) fn verdaccio() -> Result<PathBuf, InstallError> {
    const VERSION: &str = "6.10.4";
    // Verdaccio names a dependency by a tag, which not every mirror of the registry has.
    let manifest = json!({ "overrides": { "node-fetch": "2.7.0" } });
    ensure_with(&manifest, &format!("verdaccio@{VERSION}"), &format!("verdaccio-{VERSION}"), |home| {
        let folder = home.join("node_modules");
        Some(folder).filter(|folder| folder.join("verdaccio/bin/verdaccio").is_file())
    })
}

/// Returns the program of Node.js for containers.
pub(crate) fn node() -> Result<PathBuf, InstallError> {
    const VERSION: &str = "22.23.5";
    let machine = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => return Err(InstallError::Platform(other.to_owned())),
    };
    let name = format!("node-linux-{machine}");
    ensure(&format!("{name}@{VERSION}"), &format!("{name}-{VERSION}"), |home| {
        let program = home.join("node_modules").join(&name).join("bin/node");
        Some(program).filter(|program| program.is_file())
    })
}

/// Returns the folder of npm for containers.
pub(crate) fn npm() -> Result<PathBuf, InstallError> {
    const VERSION: &str = "10.9.9";
    ensure(&format!("npm@{VERSION}"), &format!("npm-{VERSION}"), |home| {
        let folder = home.join("node_modules/npm");
        Some(folder).filter(|folder| folder.join("bin/npm-cli.js").is_file())
    })
}

/// Copies Node.js and npm to the folder for a build of an image, as `node` and `npm`.
pub(crate) fn copy_to(folder: &Path) {
    copy(&node().expect("npm has Node.js"), &folder.join("node"));
    copy(&npm().expect("npm has itself"), &folder.join("npm"));
}

/// Copies a file or a folder.
pub(crate) fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-r").arg(from).arg(to).status().expect("cp is installed");
    assert!(done.success(), "{} is copied", from.display());
}

/// Returns the folder into which Cargo builds this workspace.
pub(crate) fn target_dir() -> PathBuf {
    let beside_this_test = std::env::current_exe().ok().and_then(|program| {
        let tagged = |folder: &&Path| folder.join("CACHEDIR.TAG").is_file();
        program.ancestors().find(tagged).map(Path::to_owned)
    });
    beside_this_test.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"))
}

fn install(manifest: &Value, package: &str, tools: &Path, home: &Path) -> Result<(), InstallError> {
    let half = tempfile::Builder::new().prefix(".installing-").tempdir_in(tools)?;
    fs_err::write(half.path().join("package.json"), manifest.to_string())?;
    let output = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", "--prefix"])
        .arg(half.path())
        .arg(package)
        .current_dir(half.path())
        .stdin(Stdio::null())
        .output()
        .map_err(InstallError::NpmMissing)?;
    if !output.status.success() {
        return Err(failure(package, String::from_utf8_lossy(&output.stderr).trim()));
    }
    if home.exists() {
        fs_err::remove_dir_all(home)?;
    }
    fs_err::rename(half.keep(), home)?;
    Ok(())
}

fn failure(package: &str, stderr: &str) -> InstallError {
    let package = package.to_owned();
    if ["code ETARGET", "code E404"].iter().any(|code| stderr.contains(code)) {
        InstallError::NotPublished { package }
    } else {
        InstallError::Npm { package, stderr: stderr.to_owned() }
    }
}

/// Returns the accessibility rules of `axe-core`, as a single script.
pub fn accessibility_rules() -> Result<PathBuf, InstallError> {
    const VERSION: &str = "4.14.1";
    ensure(&format!("axe-core@{VERSION}"), &format!("axe-core-{VERSION}"), |home| {
        let file = home.join("node_modules/axe-core/axe.min.js");
        Some(file).filter(|file| file.is_file())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_not_published_is_told_from_other_failures() {
        let said = "npm error code ETARGET\nnpm error notarget No matching version found for @openai/codex@9.9.9.";
        assert!(matches!(failure("@openai/codex@9.9.9", said), InstallError::NotPublished { .. }));
        assert!(matches!(failure("@openai/codex@9.9.9", "npm error code ECONNREFUSED"), InstallError::Npm { .. }));
    }

    #[test]
    fn the_target_folder_is_the_one_this_test_was_built_into() {
        let program = std::env::current_exe().expect("the path of the test program is known");
        assert!(program.starts_with(target_dir()), "{} is not in {}", program.display(), target_dir().display());
    }
}
