//! Reads the files that name the versions of languages, such as `.nvmrc` and `.tool-versions`.
//!
//! The first file that names a tool decides. A range that several versions satisfy names none.

use serde_json::Value;

use super::files::Files;
use super::jsonc;
use super::sketch::Sketch;
use super::tools;

/// Files that contain only the version of one tool.
const SINGLE: &[(&str, &str)] = &[(".nvmrc", "node"), (".node-version", "node"), (".python-version", "python")];

/// Returns the versions of all tools that the repository names.
pub(super) fn read(files: Files<'_>) -> Sketch {
    let mut all = Sketch::default();
    let single = |(path, tool): &(&str, &str)| single(files, path, tool);
    SINGLE.iter().filter_map(single).for_each(|sketch| all.add(sketch));
    let others: &[fn(Files<'_>) -> Option<Sketch>] = &[tool_versions, mise, rust_toolchain, go_mod, package, java];
    others.iter().filter_map(|read| read(files)).for_each(|sketch| all.add(sketch));
    all
}

fn java(files: Files<'_>) -> Option<Sketch> {
    single(files, ".java-version", "java")
}

fn single(files: Files<'_>, path: &str, tool: &str) -> Option<Sketch> {
    let version = lines(files.text(path)?).next()?;
    let mut sketch = Sketch::new(path);
    sketch.tool(tool, version);
    sketch.key(path);
    Some(sketch)
}

/// Returns the lines of a text without comments and empty lines.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split('#').next().unwrap_or(line).trim()).filter(|line| !line.is_empty())
}

fn tool_versions(files: Files<'_>) -> Option<Sketch> {
    let text = files.text(".tool-versions")?;
    let mut sketch = Sketch::new(".tool-versions");
    for line in lines(text) {
        if let Some((name, versions)) = line.split_once(char::is_whitespace) {
            sketch.tool(name, versions.split_whitespace().next().unwrap_or_default());
        }
    }
    sketch.key(".tool-versions");
    Some(sketch)
}

/// Reads the tools of mise. A tool has a version, several versions, or options.
fn mise(files: Files<'_>) -> Option<Sketch> {
    let path = ["mise.toml", ".mise.toml"].into_iter().find(|path| files.has(path))?;
    let mut sketch = Sketch::new(path);
    let Ok(config) = toml::from_str::<Value>(files.text(path)?) else {
        sketch.note(format!("`{path}` was not used, because it is not valid TOML."));
        return Some(sketch);
    };
    for (name, value) in config["tools"].as_object().into_iter().flatten() {
        let first = value.as_array().and_then(|values| values.first()).unwrap_or(value);
        let version = first.as_str().or_else(|| first["version"].as_str()).map(str::to_owned);
        sketch.tool(name, &version.or_else(|| first.as_i64().map(|number| number.to_string())).unwrap_or_default());
    }
    sketch.key(path);
    Some(sketch)
}

/// Reads the toolchain of rustup. The older file without an extension may contain only the name of the toolchain.
fn rust_toolchain(files: Files<'_>) -> Option<Sketch> {
    let path = ["rust-toolchain.toml", "rust-toolchain"].into_iter().find(|path| files.has(path))?;
    let text = files.text(path)?;
    let mut sketch = Sketch::new(path);
    let config = toml::from_str::<Value>(text).unwrap_or_default();
    let channel = config["toolchain"]["channel"].as_str();
    if let Some(channel) = channel.or_else(|| lines(text).next().filter(|line| !line.contains(['[', '=', '"']))) {
        sketch.tool("rust", channel);
    }
    sketch.key(path);
    Some(sketch)
}

/// Reads the version of Go: the toolchain, or else the version of the language.
fn go_mod(files: Files<'_>) -> Option<Sketch> {
    let text = files.text("go.mod")?;
    let mut sketch = Sketch::new("go.mod");
    let lines: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or(line).trim()).collect();
    let toolchain = lines.iter().find_map(|line| line.strip_prefix("toolchain go"));
    let language = || lines.iter().find_map(|line| line.strip_prefix("go ").map(str::trim));
    if let Some(version) = toolchain.or_else(language) {
        sketch.tool("go", version);
    }
    Some(sketch)
}

/// Reads the version of Node in `engines`. The package manager is part of the commands.
fn package(files: Files<'_>) -> Option<Sketch> {
    let package = jsonc::object(files.text("package.json")?)?;
    let mut sketch = Sketch::new("package.json");
    let version = package["engines"]["node"].as_str().and_then(tools::of_range)?;
    sketch.tool("node", &version);
    Some(sketch)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn versions(files: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let texts: BTreeMap<String, String> = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        let found = read(Files::new(&texts));
        (found.tools.iter().map(|(name, version)| format!("{name} {version}")).collect(), found.notes)
    }

    #[test]
    fn each_file_names_its_tool() {
        let check = |path: &str, text: &str, expect: &[&str]| {
            let (tools, notes) = versions(&[(path, text)]);
            assert_eq!(
                (tools.as_slice(), notes.len()),
                (expect.iter().map(|&t| t.to_owned()).collect::<Vec<_>>().as_slice(), 0),
                "{text}"
            );
        };
        check(".nvmrc", "v22.1.0\n", &["node 22.1.0"]);
        check(".node-version", "# LTS\n22\n", &["node 22"]);
        check(".python-version", "3.12.1\n3.11\n", &["python 3.12.1"]);
        check(".java-version", "temurin-21\n", &["java 21"]);
        check(".tool-versions", "nodejs 22.1.0 20\ngolang 1.24 # comment\n", &["go 1.24", "node 22.1.0"]);
        check(
            "mise.toml",
            "[tools]\nnode = 22\npython = [\"3.12\"]\ngo = { version = \"1.24\" }\n",
            &["go 1.24", "node 22", "python 3.12"],
        );
        check("rust-toolchain.toml", "[toolchain]\nchannel = \"1.85\"\n", &["rust 1.85"]);
        check("rust-toolchain", "nightly-2026-01-01\n", &["rust nightly-2026-01-01"]);
        check("rust-toolchain", "[toolchain]\nchannel = \"beta\"\n", &["rust beta"]);
        check("rust-toolchain.toml", "[toolchain]\npath = \"x\"\n", &[]);
        check("go.mod", "module a\n\ngo 1.23 // x\n", &["go 1.23"]);
        check("go.mod", "module a\ngo 1.23\ntoolchain go1.24.1\n", &["go 1.24.1"]);
        check("package.json", r#"{"engines": {"node": "^22.1"}}"#, &["node 22"]);
        check("package.json", r#"{"engines": {"node": ">=18"}}"#, &[]);
    }

    #[test]
    fn the_first_file_decides() {
        let (tools, _) = versions(&[(".nvmrc", "22"), (".node-version", "20"), (".tool-versions", "node 18\npython 3.12")]);
        assert_eq!(tools, ["node 22", "python 3.12"]);
    }

    #[test]
    fn other_tools_and_names_of_versions_are_noted() {
        let (tools, notes) = versions(&[(".nvmrc", "lts/*"), (".tool-versions", "terraform 1.5"), ("mise.toml", "[")]);
        assert_eq!(tools, [""; 0]);
        insta::assert_snapshot!(notes.join("\n"), @"
        The version `lts/*` of `node` in `.nvmrc` was not taken over. Name a version in `[tools]`.
        `terraform` in `.tool-versions` was not taken over. `[tools]` can choose `go`, `java`, `node`, `python`, `rust`.
        `mise.toml` was not used, because it is not valid TOML.
        ");
    }
}
