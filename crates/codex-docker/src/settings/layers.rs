//! Parses the layers of a run: folders in the container that a task keeps between its runs. Pure.
//!
//! Invariant: a layer is never mounted at or above the worktree or a folder that this program mounts itself.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::values::unusable;
use crate::failure::Failure;
use crate::inside;

/// The variable with the layers.
pub(crate) const LAYERS: &str = "CODEX_DOCKER_LAYERS";

/// Folders in the container in which nothing else may be mounted.
const RESERVED: [&str; 8] = ["/codex-docker", "/git", inside::CODEX_HOME, inside::AUTH, inside::IMAGES, "/proc", "/sys", "/dev"];

/// A folder in the container whose content survives the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerWish {
    /// The absolute path in the container.
    pub target: String,
    /// The read-only folder on the host that the layer starts from.
    pub lower: Option<PathBuf>,
    /// The folder on the host that stores the layer's own files.
    pub upper: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LayerText {
    target: String,
    #[serde(default)]
    lower: Option<PathBuf>,
    upper: PathBuf,
}

/// Parses the layers and sorts them, so that each layer comes after the layers above it.
pub(super) fn layers<'a>(
    get: &impl Fn(&str) -> Option<&'a str>,
    home_inside: &str,
    workspace: &str,
) -> Result<Vec<LayerWish>, Failure> {
    let Some(text) = get(LAYERS) else { return Ok(vec![]) };
    let form = r#"a JSON array such as [{"target": "/workspace/app/node_modules", "lower": "/path", "upper": "/path"}]"#;
    let texts: Vec<LayerText> = serde_json::from_str(text).map_err(|_| unusable(LAYERS, text, form))?;
    let mut layers: Vec<LayerWish> = Vec::new();
    for wish in texts {
        let target = target(&wish.target, home_inside, workspace).ok_or_else(|| {
            let form = "an absolute path in the container, or one that starts with `~/`, in which nothing else is mounted";
            unusable(LAYERS, &wish.target, form)
        })?;
        let folders = wish.lower.iter().chain([&wish.upper]);
        if let Some(path) = folders.into_iter().find(|path| !path.is_absolute() || path.to_string_lossy().contains(['\0', '\n']))
        {
            return Err(unusable(LAYERS, &path.to_string_lossy(), "an absolute path without line breaks"));
        }
        if layers.iter().any(|other| other.target == target) {
            return Err(unusable(LAYERS, &wish.target, "each target only once"));
        }
        layers.push(LayerWish { target, lower: wish.lower, upper: wish.upper });
    }
    layers.sort_by(|one, other| Path::new(&one.target).cmp(Path::new(&other.target)));
    Ok(layers)
}

/// Returns the absolute path of a target, or `None` if nothing may be mounted there.
pub(super) fn target(text: &str, home_inside: &str, workspace: &str) -> Option<String> {
    let path = inside_path(text, home_inside)?;
    let target = Path::new(&path);
    let git = Path::new(workspace).join(".git");
    let free = RESERVED.iter().map(Path::new).all(|own| !target.starts_with(own) && !own.starts_with(target));
    let free = free && !Path::new(workspace).starts_with(target) && !target.starts_with(git);
    free.then_some(path)
}

/// Returns the absolute form of a path in the container, which may start with `~/`. Returns `None` for a path with `..` or a line
/// break.
pub(crate) fn inside_path(text: &str, home_inside: &str) -> Option<String> {
    if text.contains(['\0', '\n', '\r']) {
        return None;
    }
    let path = match text.strip_prefix("~/") {
        Some(rest) => Path::new(home_inside).join(rest.trim_start_matches('/')),
        None => PathBuf::from(text),
    };
    let is_plain = path.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
    let path: PathBuf = path.components().collect();
    (path.is_absolute() && is_plain).then(|| path.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<LayerWish>, Failure> {
        layers(&|name| (name == LAYERS).then_some(text), "/root", "/workspace/app")
    }

    #[test]
    fn layers_are_sorted_so_that_a_layer_comes_after_those_above_it() {
        let text = r#"[
            {"target": "/workspace/app/node_modules/x", "upper": "/t/2"},
            {"target": "~/.cargo", "lower": "/s/0", "upper": "/t/1"},
            {"target": "/workspace/app/node_modules/", "lower": "/s/1", "upper": "/t/3"},
            {"target": "/workspace/app/node_modules-old", "upper": "/t/4"}
        ]"#;
        let found = read(text).expect("valid");
        let targets: Vec<&str> = found.iter().map(|layer| layer.target.as_str()).collect();
        assert_eq!(
            targets,
            ["/root/.cargo", "/workspace/app/node_modules", "/workspace/app/node_modules/x", "/workspace/app/node_modules-old"]
        );
        assert_eq!((found[0].lower.as_deref(), found[1].upper.as_path()), (Some(Path::new("/s/0")), Path::new("/t/3")));
        assert_eq!(layers(&|_| None, "/root", "/workspace/app"), Ok(vec![]));
    }

    #[test]
    fn nothing_is_mounted_over_what_the_container_needs() {
        for target in [
            "/",
            "/workspace",
            "/workspace/app",
            "/workspace/app/.git",
            "/workspace/app/.git/hooks",
            "/codex-docker/in",
            "/git/agent.git",
            "/git",
            "/codex/sessions",
            "/codex-auth",
            "/proc/sys",
            "/dev",
            "/opt/../proc",
            "relative",
            "~",
            "~user/x",
            "~/../codex",
            "",
            "/a\\nb",
        ] {
            let failure = read(&format!(r#"[{{"target": "{target}", "upper": "/t"}}]"#)).expect_err(target);
            assert!(failure.message.starts_with("invalid CODEX_DOCKER_LAYERS"), "{failure:?}");
        }
    }

    #[test]
    fn invalid_layers_are_refused() {
        for text in [
            "",
            "{}",
            "[1]",
            r#"[{"target": "/x"}]"#,
            r#"[{"target": "/x", "upper": "t"}]"#,
            r#"[{"target": "/x", "upper": "/t", "lower": "s"}]"#,
            r#"[{"target": "/x", "upper": "/t", "mode": 1}]"#,
            r#"[{"target": "/x", "upper": "/t"}, {"target": "/x/", "upper": "/u"}]"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
