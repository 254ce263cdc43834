//! Reads the files of other applications that run coding agents: the Codex app, Conductor, emdash and Cursor.
//!
//! All of them name a script that prepares a worktree. Scripts that start servers or clean up are not taken over.

use serde_json::Value;

use super::files::Files;
use super::jsonc;
use super::scripts;
use super::sketch::Sketch;

const CODEX: &str = ".codex/environments/environment.toml";
const CONDUCTOR: &str = "conductor.json";
const EMDASH: &str = ".emdash.json";
const CURSOR: &str = ".cursor/environment.json";

/// Why scripts that do not prepare a worktree are not used.
const ONLY_SETUP: &str = "Only the setup runs before a task.";

/// Reads the local environment of the Codex app: the setup script for Linux, or else the one for all systems.
pub(super) fn codex(files: Files<'_>) -> Option<Sketch> {
    let text = files.text(CODEX)?;
    let mut sketch = Sketch::new(CODEX);
    let Some(config) = toml::from_str::<Value>(text).ok().filter(Value::is_object) else {
        sketch.note(format!("`{CODEX}` was not used, because it is not valid TOML."));
        return Some(sketch);
    };
    let setup = &config["setup"];
    let linux = setup["linux"]["script"].as_str().filter(|script| !script.trim().is_empty());
    script(&mut sketch, linux.or_else(|| setup["script"].as_str()), &["CODEX_"]);
    sketch.note_unused(&config, &["cleanup", "actions"], ONLY_SETUP);
    Some(sketch)
}

/// Reads the file of Conductor.
pub(super) fn conductor(files: Files<'_>) -> Option<Sketch> {
    let (mut sketch, config) = json(files, CONDUCTOR)?;
    let all = &config["scripts"];
    script(&mut sketch, all["setup"].as_str(), &["CONDUCTOR_"]);
    sketch.note_unused(all, &["run", "archive"], ONLY_SETUP);
    Some(sketch)
}

/// Reads the file of emdash.
pub(super) fn emdash(files: Files<'_>) -> Option<Sketch> {
    let (mut sketch, config) = json(files, EMDASH)?;
    let all = &config["scripts"];
    script(&mut sketch, all["setup"].as_str(), &["EMDASH_"]);
    sketch.note_unused(all, &["run", "teardown"], ONLY_SETUP);
    sketch.note_unused(&config, &["shellSetup"], "Add its commands to the setup script.");
    sketch.note_unused(&config, &["preservePatterns"], "Store such files as secrets, and list them in `[files]`.");
    Some(sketch)
}

/// Reads the file of Cursor's cloud agents. Its paths are relative to its folder.
pub(super) fn cursor(files: Files<'_>) -> Option<Sketch> {
    let (mut sketch, config) = json(files, CURSOR)?;
    let build = &config["build"];
    if let Some(dockerfile) = build["dockerfile"].as_str() {
        sketch.built_image(".cursor", dockerfile, build["context"].as_str());
    }
    script(&mut sketch, config["install"].as_str(), &["CURSOR_"]);
    sketch.note_unused(&config, &["snapshot"], "A snapshot of Cursor cannot be used here.");
    sketch.note_unused(&config, &["start", "terminals"], "Describe databases and the like in `[services]`.");
    sketch.note_unused(&config, &["user"], "The container's user is a setting of the repository.");
    sketch.note_unused(&config, &["repositoryDependencies"], "The setup gets only this repository.");
    Some(sketch)
}

fn json(files: Files<'_>, path: &str) -> Option<(Sketch, Value)> {
    let text = files.text(path)?;
    let mut sketch = Sketch::new(path);
    let config = jsonc::object(text).unwrap_or_else(|| {
        sketch.note(format!("`{path}` was not used, because it is not valid JSON."));
        Value::Null
    });
    Some((sketch, config))
}

/// Adds a script. The application sets variables whose names start with these prefixes.
fn script(sketch: &mut Sketch, script: Option<&str>, prefixes: &[&str]) {
    let Some(script) = script.filter(|script| !script.trim().is_empty() && !script.contains('\0')) else { return };
    for name in scripts::variables(script, prefixes) {
        sketch.note(format!(
            "The script in `{}` uses the variable `{name}`, which is not set here. Change the script.",
            sketch.source
        ));
    }
    sketch.add_keys(scripts::files(script));
    sketch.command(script);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::setup::{Build, ImageChoice, KeepPath};

    use super::*;

    fn sketch(read: fn(Files<'_>) -> Option<Sketch>, path: &str, text: &str) -> Sketch {
        let texts = BTreeMap::from([(path.to_owned(), text.to_owned())]);
        read(Files::new(&texts)).expect("the file exists")
    }

    #[test]
    fn the_codex_app_has_a_script_for_linux() {
        let common = "version = 1\nname = \"x\"\n[setup]\nscript = '''\nnpm ci\nnpm run build\n'''\n";
        assert_eq!(sketch(codex, CODEX, common).commands, ["npm ci\nnpm run build\n"]);
        let linux = format!("{common}[setup.linux]\nscript = \"apt-get update\"\n[[actions]]\nname = \"Run\"\n");
        let found = sketch(codex, CODEX, &linux);
        assert_eq!(found.commands, ["apt-get update"]);
        insta::assert_snapshot!(found.notes.join("\n"), @"`actions` in `.codex/environments/environment.toml` was not taken over. Only the setup runs before a task.");
        assert!(!sketch(codex, CODEX, "[setup]\nscript = \"\"\n").is_useful());
    }

    #[test]
    fn conductor_has_a_setup_script() {
        let text = r#"{"scripts": {"setup": "./conductor-setup.sh; cp $CONDUCTOR_ROOT_PATH/.env .env", "run": "npm run dev"}}"#;
        let found = sketch(conductor, CONDUCTOR, text);
        assert_eq!(found.keys.iter().map(KeepPath::as_str).collect::<Vec<_>>(), ["conductor-setup.sh"]);
        insta::assert_snapshot!(found.notes.join("\n"), @"
        The script in `conductor.json` uses the variable `CONDUCTOR_ROOT_PATH`, which is not set here. Change the script.
        `run` in `conductor.json` was not taken over. Only the setup runs before a task.
        ");
    }

    #[test]
    fn emdash_has_a_setup_script_and_files_that_git_ignores() {
        let text =
            r#"{"preservePatterns": [".env"], "shellSetup": "nvm use", "scripts": {"setup": "pnpm install", "teardown": "x"}}"#;
        let found = sketch(emdash, EMDASH, text);
        assert_eq!(found.commands, ["pnpm install"]);
        insta::assert_snapshot!(found.notes.join("\n"), @"
        `teardown` in `.emdash.json` was not taken over. Only the setup runs before a task.
        `shellSetup` in `.emdash.json` was not taken over. Add its commands to the setup script.
        `preservePatterns` in `.emdash.json` was not taken over. Store such files as secrets, and list them in `[files]`.
        ");
    }

    #[test]
    fn cursor_has_an_image_and_an_install_command() {
        let text = r#"{"build": {"dockerfile": "Dockerfile", "context": ".."}, "install": "npm ci", "start": "dockerd", "terminals": []}"#;
        let found = sketch(cursor, CURSOR, text);
        let build = Build { dockerfile: ".cursor/Dockerfile".to_owned(), context: ".".to_owned() };
        assert_eq!((found.image, found.commands), (Some(ImageChoice::Build { build }), vec!["npm ci".to_owned()]));
        insta::assert_snapshot!(found.notes.join("\n"), @"`start` in `.cursor/environment.json` was not taken over. Describe databases and the like in `[services]`.");
    }

    #[test]
    fn a_broken_file_is_noted() {
        for (read, path) in
            [(codex as fn(Files<'_>) -> Option<Sketch>, CODEX), (conductor, CONDUCTOR), (emdash, EMDASH), (cursor, CURSOR)]
        {
            let found = sketch(read, path, "{");
            assert!(!found.is_useful() && found.notes[0].starts_with(&format!("`{path}` was not used")), "{:?}", found.notes);
        }
    }
}
