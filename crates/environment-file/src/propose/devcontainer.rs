//! Reads `devcontainer.json`: the image, the commands that create the container's content, and features that are languages.
//!
//! The format is described at <https://containers.dev/implementors/json_reference/>.

use serde_json::Value;

use super::files::Files;
use super::jsonc;
use super::scripts;
use super::sketch::Sketch;

/// The paths of the file, and the folders that its own paths are relative to.
const PATHS: &[(&str, &str)] = &[(".devcontainer/devcontainer.json", ".devcontainer"), (".devcontainer.json", "")];

/// The commands that create the container's content, in the order in which they run.
const COMMANDS: &[&str] = &["onCreateCommand", "updateContentCommand", "postCreateCommand"];

/// Where official features are published.
const FEATURES: &str = "ghcr.io/devcontainers/features/";

/// The worktree in a container, which `${containerWorkspaceFolder}` means here.
const WORKTREE: &str = "/workspace/worktree";

/// Features of tools that every image of Codex contains.
const INCLUDED: &[&str] = &["common-utils", "git", "git-lfs", "sshd"];

pub(super) fn read(files: Files<'_>) -> Option<Sketch> {
    let (path, folder) = PATHS.iter().find(|(path, _)| files.has(path))?;
    let text = files.text(path)?;
    let mut sketch = Sketch::new(path);
    let Some(config) = jsonc::object(text) else {
        sketch.note(format!("`{path}` was not used, because it is not valid JSON."));
        return Some(sketch);
    };
    image(&mut sketch, &config, folder);
    for name in COMMANDS {
        commands(&mut sketch, name, &config[*name]);
    }
    features(&mut sketch, &config["features"]);
    for variables in ["containerEnv", "remoteEnv"] {
        let names: Vec<String> =
            config[variables].as_object().into_iter().flatten().map(|(name, _)| format!("`{name}`")).collect();
        if !names.is_empty() {
            let names = names.join(", ");
            sketch.note(format!("`{variables}` in `{path}` was not taken over. Add {names} to the repository's variables."));
        }
    }
    sketch.note_unused(&config, &["dockerComposeFile"], "Describe its services in `[services]`.");
    sketch.note_unused(&config, &["initializeCommand"], "Nothing runs on the server's machine.");
    sketch.note_unused(&config, &["postStartCommand", "postAttachCommand"], "A task's run starts only Codex and the services.");
    let options = ["runArgs", "mounts", "workspaceMount", "privileged", "capAdd", "securityOpt"];
    sketch.note_unused(&config, &options, "The options of the container are settings of the repository.");
    sketch.note_unused(&config, &["remoteUser", "containerUser"], "The container's user is a setting of the repository.");
    Some(sketch)
}

fn image(sketch: &mut Sketch, config: &Value, folder: &str) {
    let build = &config["build"];
    // `dockerFile` and `context` at the top level are the older form.
    let dockerfile = build["dockerfile"].as_str().or_else(|| config["dockerFile"].as_str());
    if let Some(dockerfile) = dockerfile {
        let context = build["context"].as_str().or_else(|| config["context"].as_str());
        sketch.built_image(folder, dockerfile, context);
        sketch.note_unused(build, &["args", "target", "cacheFrom", "options"], "Set defaults in the Dockerfile.");
    } else if let Some(name) = config["image"].as_str() {
        sketch.named_image(name);
    }
}

/// Adds a command: a text for the shell, a list of arguments, or an object of both.
fn commands(sketch: &mut Sketch, name: &str, value: &Value) {
    if let Some(entries) = value.as_object() {
        for entry in entries.values() {
            command(sketch, name, entry);
        }
    } else {
        command(sketch, name, value);
    }
}

fn command(sketch: &mut Sketch, name: &str, value: &Value) {
    let text = match value {
        Value::Null => return,
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let words: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            words.and_then(|words| shlex::try_join(words).ok())
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    };
    let text = text.map(|text| text.replace("${containerWorkspaceFolder}", WORKTREE));
    match text.filter(|text| !text.contains('\0')) {
        Some(text) if text.trim().is_empty() => {}
        Some(text) if is_template(&text) => sketch.note(format!(
            "A command of `{name}` was not taken over, because it contains variables of the dev container: {text}"
        )),
        Some(text) => {
            sketch.add_keys(scripts::files(&text.replace(&format!("{WORKTREE}/"), "./")));
            sketch.command(&scripts::isolated(&text));
        }
        None => sketch.note(format!("A command of `{name}` in `{}` was not taken over. Use a text.", sketch.source)),
    }
}

fn is_template(text: &str) -> bool {
    ["${containerWorkspaceFolder", "${localWorkspaceFolder", "${localEnv:", "${containerEnv:", "${devcontainerId}"]
        .iter()
        .any(|variable| text.contains(variable))
}

/// Adds the tools that are official features. A feature has options, or only a version.
fn features(sketch: &mut Sketch, features: &Value) {
    for (id, options) in features.as_object().into_iter().flatten() {
        let name = id.strip_prefix(FEATURES).unwrap_or(id);
        let name = name.split([':', '@']).next().unwrap_or(name);
        let version = options.as_str().or_else(|| options["version"].as_str()).unwrap_or("latest");
        if INCLUDED.contains(&name) || matches!(version, "none" | "os-provided") {
            continue;
        }
        sketch.tool(name, version);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::setup::{Build, ImageChoice, KeepPath};

    use super::*;

    fn sketch(text: &str) -> Sketch {
        let texts = BTreeMap::from([(".devcontainer/devcontainer.json".to_owned(), text.to_owned())]);
        read(Files::new(&texts)).expect("the file exists")
    }

    #[test]
    fn an_image_has_a_name_or_a_dockerfile() {
        let check = |text: &str, dockerfile: &str, context: &str| {
            let build = Build { dockerfile: dockerfile.to_owned(), context: context.to_owned() };
            assert_eq!(sketch(text).image, Some(ImageChoice::Build { build }), "{text}");
        };
        check(r#"{"build": {"dockerfile": "Dockerfile"}}"#, ".devcontainer/Dockerfile", ".devcontainer");
        check(r#"{"build": {"dockerfile": "../Dockerfile", "context": ".."}, "image": "x"}"#, "Dockerfile", ".");
        check(r#"{"dockerFile": "Dockerfile", "context": ".."}"#, ".devcontainer/Dockerfile", ".");
        let named = sketch(r#"{"image": "mcr.microsoft.com/devcontainers/python:1-3.12"}"#).image;
        assert_eq!(named, Some(ImageChoice::Named("mcr.microsoft.com/devcontainers/python:1-3.12".to_owned())));
    }

    #[test]
    fn the_file_at_the_root_is_relative_to_the_root() {
        let text = r#"{"build": {"dockerfile": "Dockerfile"}}"#.to_owned();
        let texts = BTreeMap::from([(".devcontainer.json".to_owned(), text)]);
        let build = Build { dockerfile: "Dockerfile".to_owned(), context: ".".to_owned() };
        assert_eq!(read(Files::new(&texts)).and_then(|sketch| sketch.image), Some(ImageChoice::Build { build }));
    }

    #[test]
    fn commands_run_in_the_order_of_their_phases() {
        let found = sketch(
            r#"{
                "postCreateCommand": {"a": "cd web && npm ci", "b": ["pip", "install", "a b"]},
                "updateContentCommand": ["make", "deps"],
                "onCreateCommand": "bash .devcontainer/create.sh",
            }"#,
        );
        let expect = ["bash .devcontainer/create.sh", "make deps", "(\ncd web && npm ci\n)", "pip install 'a b'"];
        assert_eq!(found.commands, expect);
        assert_eq!(found.keys.iter().map(KeepPath::as_str).collect::<Vec<_>>(), [".devcontainer/create.sh"]);
        assert_eq!(found.notes, [""; 0]);
    }

    #[test]
    fn a_command_that_only_a_dev_container_can_run_is_a_note() {
        let found = sketch(r#"{"postCreateCommand": "cp ${localWorkspaceFolder}/a b", "onCreateCommand": 5}"#);
        assert_eq!((found.commands.len(), found.notes.len()), (0, 2));
    }

    #[test]
    fn the_worktree_has_another_path() {
        let found = sketch(r#"{"onCreateCommand": "${containerWorkspaceFolder}/.devcontainer/create.sh"}"#);
        assert_eq!(found.commands, ["/workspace/worktree/.devcontainer/create.sh"]);
        assert_eq!(found.keys.iter().map(KeepPath::as_str).collect::<Vec<_>>(), [".devcontainer/create.sh"]);
    }

    #[test]
    fn features_are_tools_where_that_is_obvious() {
        let found = sketch(
            r#"{"image": "a", "features": {
                "ghcr.io/devcontainers/features/node:1": {"version": "22"},
                "ghcr.io/devcontainers/features/python:1": "3.12",
                "ghcr.io/devcontainers/features/go:1": {"version": "none"},
                "ghcr.io/devcontainers/features/rust:1": {},
                "ghcr.io/devcontainers/features/common-utils:2": {},
                "ghcr.io/devcontainers/features/docker-in-docker:2": {}
            }}"#,
        );
        let tools: Vec<String> = found.tools.iter().map(|(name, version)| format!("{name} {version}")).collect();
        assert_eq!(tools, ["node 22", "python 3.12", "rust stable"]);
        insta::assert_snapshot!(found.notes.join("\n"), @"`docker-in-docker` in `.devcontainer/devcontainer.json` was not taken over. `[tools]` can choose `go`, `java`, `node`, `python`, `rust`.");
    }

    #[test]
    fn what_is_not_taken_over_is_noted() {
        let found = sketch(
            r#"{
                "dockerComposeFile": "compose.yml", "initializeCommand": "x", "postStartCommand": "y", "runArgs": ["--gpus=all"],
                "containerEnv": {"A": "1"}, "remoteEnv": {"B": "2", "C": "3"}, "remoteUser": "vscode", "privileged": false,
                "build": {"dockerfile": "Dockerfile", "args": {"A": "1"}}, "customizations": {"vscode": {}}
            }"#,
        );
        insta::assert_snapshot!(found.notes.join("\n"));
    }

    #[test]
    fn a_broken_file_is_noted() {
        assert_eq!(sketch("{").notes, ["`.devcontainer/devcontainer.json` was not used, because it is not valid JSON."]);
    }
}
