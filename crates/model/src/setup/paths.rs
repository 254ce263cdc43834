//! Paths in a description. Each is parsed once, so that no path leads out of its folder or is mistaken for an option.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// The maximum length of a path in bytes.
const LIMIT_BYTES: usize = 300;

/// Why text is not a usable path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// The path is not relative to the repository, or leads out of it.
    #[error("`{0}` is not a path below the repository; use a path such as `node_modules` or `web/.venv`")]
    Keep(String),
    /// The path is not in a folder that can be cached.
    #[error("`{0}` cannot be a cache; use a path such as `~/.cache/go-build` or `/var/cache/apt`")]
    Cache(String),
    /// The path is not that of a file that can be placed.
    #[error("`{0}` cannot be a file; use a path below the repository such as `.env`, or one such as `~/.npmrc`")]
    File(String),
    /// The path is not a folder of a service.
    #[error("`{0}` cannot be a volume of a service; use an absolute path such as `/var/lib/postgresql/data`")]
    Volume(String),
}

/// A folder in the worktree that setup creates, such as `node_modules`. It is relative to the worktree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct KeepPath(String);

/// A folder of a container outside of the worktree: absolute, or below the user's home directory after `~/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct CachePath(String);

/// A file that is placed in a container: relative to the worktree, or outside of it with the rules of a [`CachePath`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct FilePath(String);

/// A folder of a service's container. It is absolute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct VolumePath(String);

/// Folders of a service's container that belong to the kernel or to `codex-docker`.
const RESERVED_IN_SERVICES: &[&str] = &["/proc", "/sys", "/dev", "/codex-docker"];

/// Folders of a container that belong to the kernel, to Codex or to a run. No cache can be in them, above them, or at them.
const RESERVED: &[&str] =
    &["/proc", "/sys", "/dev", "/run", "/tmp", "/codex-docker", "/codex", "/git", "/workspace", "/artifacts", "/context"];

/// Whether each part of a relative path names a file: no empty part, no `.`, no `..`.
fn is_plain(path: &str) -> bool {
    let odd = |c: char| c.is_control() || matches!(c, ',' | ':' | '\\' | '"' | '\'');
    !path.is_empty()
        && path.len() <= LIMIT_BYTES
        && !path.contains(odd)
        && !path.starts_with('-')
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && part.trim() == part)
}

impl KeepPath {
    /// Parses a path that is relative to the worktree. A final `/` is ignored.
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        let path = text.trim().trim_start_matches("./").trim_end_matches('/');
        let is_git = path.split('/').any(|part| part.eq_ignore_ascii_case(".git"));
        if is_plain(path) && !is_git { Ok(Self(path.to_owned())) } else { Err(InvalidPath::Keep(crate::names::shown(text))) }
    }

    /// Returns the path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl CachePath {
    /// Parses an absolute path, or a path after `~/`. A final `/` is ignored.
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        let refused = || InvalidPath::Cache(crate::names::shown(text));
        let path = text.trim().trim_end_matches('/');
        if path.strip_prefix("~/").is_some_and(is_plain) {
            return Ok(Self(path.to_owned()));
        }
        let below = path.strip_prefix('/').filter(|below| is_plain(below)).ok_or_else(refused)?;
        // A top-level folder contains programs of the image, which a layer would hide.
        let is_deep = below.contains('/');
        if is_deep && !is_in(path, RESERVED) { Ok(Self(path.to_owned())) } else { Err(refused()) }
    }

    /// Returns the path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FilePath {
    /// Parses a path that is relative to the worktree, absolute, or after `~/`.
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        let path = text.trim();
        let parsed = if path.starts_with(['~', '/']) {
            CachePath::parse(path).map(|path| path.0)
        } else {
            KeepPath::parse(path).map(|path| path.0)
        };
        // A folder is not a file.
        parsed.ok().filter(|_| !path.ends_with('/')).map(Self).ok_or_else(|| InvalidPath::File(crate::names::shown(text)))
    }

    /// Returns the path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the path relative to the worktree, or `None` if the file is outside of it.
    pub fn in_worktree(&self) -> Option<&str> {
        (!self.0.starts_with(['~', '/'])).then_some(&self.0)
    }
}

impl VolumePath {
    /// Parses an absolute path. A final `/` is ignored.
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        let path = text.trim().trim_end_matches('/');
        let is_below = path.strip_prefix('/').is_some_and(is_plain);
        if is_below && !is_in(path, RESERVED_IN_SERVICES) {
            Ok(Self(path.to_owned()))
        } else {
            Err(InvalidPath::Volume(crate::names::shown(text)))
        }
    }

    /// Returns the path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a path is one of these folders, or in one of them.
fn is_in(path: &str, folders: &[&str]) -> bool {
    folders.iter().any(|folder| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

macro_rules! readable {
    ($($name:ident)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

readable!(KeepPath CachePath FilePath VolumePath);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_kept_folder_is_below_the_worktree() {
        for (text, expected) in [
            ("node_modules", Some("node_modules")),
            ("./web/.venv/", Some("web/.venv")),
            (" target ", Some("target")),
            ("", None),
            (".", None),
            ("..", None),
            ("a/../b", None),
            ("/usr", None),
            ("a//b", None),
            (".git", None),
            ("sub/.GIT/hooks", None),
            ("-rf", None),
            ("a,b", None),
            ("a:b", None),
            ("a\nb", None),
        ] {
            assert_eq!(KeepPath::parse(text).ok().as_ref().map(KeepPath::as_str), expected, "{text:?}");
        }
    }

    #[test]
    fn a_cache_hides_neither_the_image_nor_the_run() {
        for (text, expected) in [
            ("~/.npm", Some("~/.npm")),
            ("~/.cache/go-build/", Some("~/.cache/go-build")),
            ("/var/cache/apt", Some("/var/cache/apt")),
            ("/opt/tools", Some("/opt/tools")),
            ("~", None),
            ("~/", None),
            ("~/../etc", None),
            ("/", None),
            ("/usr", None),
            ("/proc/self", None),
            ("/workspace/worktree", None),
            ("/codex/auth", None),
            ("/codex-docker/in", None),
            ("node_modules", None),
            ("/a/../proc", None),
        ] {
            assert_eq!(CachePath::parse(text).ok().as_ref().map(CachePath::as_str), expected, "{text:?}");
        }
    }

    #[test]
    fn a_volume_of_a_service_is_any_folder_of_its_own() {
        for (text, expected) in [
            ("/data", Some("/data")),
            ("/var/lib/postgresql/data/", Some("/var/lib/postgresql/data")),
            ("/devices", Some("/devices")),
            ("~/data", None),
            ("data", None),
            ("/", None),
            ("/dev", None),
            ("/codex-docker/in", None),
            ("/a/../proc", None),
        ] {
            assert_eq!(VolumePath::parse(text).ok().as_ref().map(VolumePath::as_str), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_parsed_path_is_read_as_it_was_written(text in "[~/.a-z_-]{0,20}") {
            if let Ok(path) = KeepPath::parse(&text) {
                prop_assert_eq!(KeepPath::parse(path.as_str()), Ok(path.clone()));
                prop_assert!(!path.as_str().starts_with('/') && !path.as_str().split('/').any(|part| part == ".."));
            }
            if let Ok(path) = CachePath::parse(&text) {
                prop_assert_eq!(CachePath::parse(path.as_str()), Ok(path.clone()));
            }
        }
    }
}
