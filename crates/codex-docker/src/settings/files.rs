//! Parses the files with secrets that are placed in a container. Pure.
//!
//! The content is in variables, so it is neither in an argument nor in the request to the container engine.

use std::fmt;

use serde::Deserialize;

use super::layers::target;
use super::values::unusable;
use crate::failure::Failure;

/// The variable with the list of files.
pub(crate) const FILES: &str = "CODEX_DOCKER_FILES";

/// The prefix of the variables with their content.
const CONTENT_PREFIX: &str = "CODEX_DOCKER_FILE_";

/// A file that is placed in the container. It is read-only.
#[derive(Clone, PartialEq, Eq)]
pub struct FileWish {
    /// The absolute path in the container.
    pub target: String,
    /// The content.
    pub content: String,
}

/// Formats the file without its content.
impl fmt::Debug for FileWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileWish").field("target", &self.target).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    target: String,
    variable: String,
}

/// Parses the files.
pub(super) fn files<'a>(
    get: &impl Fn(&str) -> Option<&'a str>,
    home_inside: &str,
    workspace: &str,
) -> Result<Vec<FileWish>, Failure> {
    let Some(text) = get(FILES) else { return Ok(vec![]) };
    let form = r#"a JSON array such as [{"target": "~/.npmrc", "variable": "CODEX_DOCKER_FILE_NPMRC"}]"#;
    let texts: Vec<FileText> = serde_json::from_str(text).map_err(|_| unusable(FILES, text, form))?;
    let mut files: Vec<FileWish> = Vec::new();
    for FileText { target: wanted, variable } in texts {
        let target = target(&wanted, home_inside, workspace).ok_or_else(|| {
            unusable(
                FILES,
                &wanted,
                "an absolute path in the container, or one that starts with `~/`, in which nothing else is mounted",
            )
        })?;
        let is_ours = variable.starts_with(CONTENT_PREFIX);
        let content = get(&variable).filter(|_| is_ours).ok_or_else(|| {
            unusable(FILES, &variable, &format!("the name of a variable that is set and starts with {CONTENT_PREFIX}"))
        })?;
        let collides = |other: &FileWish| {
            let (one, other) = (std::path::Path::new(&target), std::path::Path::new(&other.target));
            one.starts_with(other) || other.starts_with(one)
        };
        if files.iter().any(collides) {
            return Err(unusable(FILES, &wanted, "each path only once, and no path below that of another file"));
        }
        files.push(FileWish { target, content: content.to_owned() });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<FileWish>, Failure> {
        let get = |name: &str| match name {
            FILES => Some(text),
            "CODEX_DOCKER_FILE_0" => Some("A=b\n"),
            "HOME" => Some("/root"),
            _ => None,
        };
        files(&get, "/root", "/workspace/app")
    }

    #[test]
    fn a_file_has_a_place_and_a_content_that_is_not_shown() {
        let text = r#"[{"target": "~/.npmrc", "variable": "CODEX_DOCKER_FILE_0"},
            {"target": "/workspace/app/.env", "variable": "CODEX_DOCKER_FILE_0"}]"#;
        let found = read(text).expect("valid");
        let targets: Vec<_> = found.iter().map(|file| (file.target.as_str(), file.content.as_str())).collect();
        assert_eq!(targets, [("/root/.npmrc", "A=b\n"), ("/workspace/app/.env", "A=b\n")]);
        assert!(!format!("{found:?}").contains("A=b"));
        assert_eq!(files(&|_| None, "/root", "/workspace/app"), Ok(vec![]));
    }

    #[test]
    fn invalid_files_are_refused() {
        let file = |target: &str, variable: &str| format!(r#"{{"target": "{target}", "variable": "{variable}"}}"#);
        let ours = "CODEX_DOCKER_FILE_0";
        for text in [
            "{}".to_owned(),
            r#"[{"target": "/x"}]"#.to_owned(),
            format!("[{}]", file("/workspace/app/.git/config", ours)),
            format!("[{}]", file("/codex-docker/in/x", ours)),
            format!("[{}]", file("relative", ours)),
            format!("[{}]", file("/etc/x", "HOME")),
            format!("[{}]", file("/etc/x", "CODEX_DOCKER_FILE_MISSING")),
            format!("[{},{}]", file("/etc/x", ours), file("/etc/x", ours)),
            format!("[{},{}]", file("/etc/x", ours), file("/etc/x/y", ours)),
        ] {
            let failure = read(&text).expect_err(&text);
            assert!(failure.message.starts_with("invalid CODEX_DOCKER_FILES"), "{failure:?}");
        }
    }
}
