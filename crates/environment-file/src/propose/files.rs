//! The files of a repository that a proposal can be made from.
//!
//! Invariant: no reader uses a file that is not in [`SOURCES`], because the caller reads only those.

use std::collections::BTreeMap;

/// The maximum size of a file whose content is parsed, in bytes.
pub const SOURCE_LIMIT_BYTES: usize = 256 * 1024;

/// The maximum size of a lock file whose lines are searched, in bytes.
const LOCK_LIMIT_BYTES: usize = 8 * 1024 * 1024;

/// The paths of all files that a proposal can be made from. Read them from the repository's default branch.
///
/// The existence of a file also matters: pass an empty text for a file that is larger than its [`limit_bytes`], or is not UTF-8.
pub const SOURCES: &[&str] = &[
    ".devcontainer/devcontainer.json",
    ".devcontainer.json",
    ".codex/environments/environment.toml",
    "conductor.json",
    ".emdash.json",
    ".cursor/environment.json",
    ".github/workflows/copilot-setup-steps.yml",
    ".github/workflows/copilot-setup-steps.yaml",
    ".nvmrc",
    ".node-version",
    ".python-version",
    ".tool-versions",
    "mise.toml",
    ".mise.toml",
    "rust-toolchain.toml",
    "rust-toolchain",
    "go.mod",
    "package.json",
    ".java-version",
    "package-lock.json",
    "npm-shrinkwrap.json",
    "pnpm-lock.yaml",
    "yarn.lock",
    "bun.lock",
    "bun.lockb",
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    "pnpm-workspace.yaml",
    "uv.lock",
    "poetry.lock",
    "Pipfile.lock",
    "Pipfile",
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-test.txt",
    "requirements-tests.txt",
    "requirements_dev.txt",
    "requirements_test.txt",
    "dev-requirements.txt",
    "test-requirements.txt",
    "pyproject.toml",
    "setup.py",
    "setup.cfg",
    "Cargo.toml",
    "Cargo.lock",
    "go.sum",
    "pom.xml",
    "mvnw",
    "build.gradle",
    "build.gradle.kts",
    "settings.gradle",
    "settings.gradle.kts",
    "gradle/wrapper/gradle-wrapper.properties",
    "gradlew",
    "Gemfile",
    "Gemfile.lock",
    "composer.json",
    "composer.lock",
    "mix.exs",
    "mix.lock",
];

/// The files that are not parsed: their lines are searched, or only their existence matters.
const NOT_PARSED: &[&str] = &[
    "package-lock.json",
    "npm-shrinkwrap.json",
    "pnpm-lock.yaml",
    "yarn.lock",
    "bun.lock",
    "bun.lockb",
    "uv.lock",
    "poetry.lock",
    "Pipfile.lock",
    "Cargo.lock",
    "go.sum",
    "Gemfile.lock",
    "composer.lock",
    "mix.lock",
];

/// Returns the number of bytes of a file that can be used.
pub fn limit_bytes(path: &str) -> usize {
    if NOT_PARSED.contains(&path) { LOCK_LIMIT_BYTES } else { SOURCE_LIMIT_BYTES }
}

/// The files of a repository.
#[derive(Debug, Clone, Copy)]
pub(super) struct Files<'a>(&'a BTreeMap<String, String>);

impl<'a> Files<'a> {
    pub(super) fn new(texts: &'a BTreeMap<String, String>) -> Self {
        Self(texts)
    }

    /// Whether the file exists.
    pub(super) fn has(self, path: &str) -> bool {
        self.whole(path).is_some()
    }

    /// Returns the text of a file, unless it is too large to be parsed.
    pub(super) fn text(self, path: &str) -> Option<&'a str> {
        self.whole(path).filter(|text| text.len() <= SOURCE_LIMIT_BYTES).map(|text| text.trim_start_matches('\u{feff}'))
    }

    /// Returns the text of a file of any size, for readers that only search its lines.
    pub(super) fn whole(self, path: &str) -> Option<&'a str> {
        debug_assert!(SOURCES.contains(&path), "`{path}` must be in `SOURCES`");
        self.0.get(path).map(String::as_str)
    }

    /// Returns the files that are too large to be parsed.
    pub(super) fn too_large(self) -> impl Iterator<Item = &'a str> {
        let is_too_large = |(path, text): &(&String, &String)| {
            text.len() > SOURCE_LIMIT_BYTES && SOURCES.contains(&path.as_str()) && !NOT_PARSED.contains(&path.as_str())
        };
        self.0.iter().filter(is_too_large).map(|(path, _)| path.as_str())
    }
}

/// Returns the path that a relative path refers to in a folder of the repository, or `None` if it leads out of the repository.
/// The repository itself is `.`.
pub(super) fn resolved(folder: &str, relative: &str) -> Option<String> {
    if relative.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(relative.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(if parts.is_empty() { ".".to_owned() } else { parts.join("/") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_is_listed_once() {
        let unique: std::collections::BTreeSet<_> = SOURCES.iter().collect();
        assert_eq!(unique.len(), SOURCES.len());
        for path in NOT_PARSED {
            assert!(SOURCES.contains(path), "{path}");
        }
    }

    #[test]
    fn a_lock_file_can_be_larger() {
        assert!(limit_bytes("package-lock.json") > limit_bytes("package.json"));
    }

    #[test]
    fn a_large_file_is_not_parsed() {
        let texts = |size: usize| BTreeMap::from([("package.json".to_owned(), "x".repeat(size))]);
        let (small, large) = (texts(SOURCE_LIMIT_BYTES), texts(SOURCE_LIMIT_BYTES + 1));
        assert!(Files::new(&small).text("package.json").is_some() && Files::new(&small).too_large().next().is_none());
        assert!(Files::new(&large).text("package.json").is_none() && Files::new(&large).has("package.json"));
        assert_eq!(Files::new(&large).too_large().collect::<Vec<_>>(), ["package.json"]);
    }

    #[test]
    fn a_relative_path_stays_in_the_repository() {
        let check = |folder: &str, relative: &str, expect: Option<&str>| {
            assert_eq!(resolved(folder, relative).as_deref(), expect, "{folder} {relative}");
        };
        check(".devcontainer", "Dockerfile", Some(".devcontainer/Dockerfile"));
        check(".devcontainer", "../docker/./dev", Some("docker/dev"));
        check(".devcontainer", "..", Some("."));
        check("", "./Dockerfile", Some("Dockerfile"));
        check(".devcontainer", "../..", None);
        check(".devcontainer", "/etc/passwd", None);
    }
}
