//! Reads the files of Rust projects: `Cargo.toml` and `Cargo.lock`.
//!
//! The commands also compile the tests, so that a task only compiles what it changes.

use serde_json::Value;

use super::files::Files;
use super::sketch::Sketch;

pub(super) fn read(files: Files<'_>) -> Option<Sketch> {
    let is_locked = files.has("Cargo.lock");
    if !files.has("Cargo.toml") && !is_locked {
        return None;
    }
    let manifest: Value = files.text("Cargo.toml").and_then(|text| toml::from_str(text).ok()).unwrap_or_default();
    let locked = if is_locked { " --locked" } else { "" };
    let workspace = if manifest["workspace"].is_object() { " --workspace" } else { "" };
    let mut sketch = Sketch::new(if is_locked { "Cargo.lock" } else { "Cargo.toml" });
    sketch.command(&format!("cargo fetch{locked}"));
    sketch.command(&format!("cargo build --tests{workspace}{locked}"));
    let keys = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "rust-toolchain"];
    sketch.add_keys(keys.into_iter().filter(|path| files.has(path)));
    sketch.keep("target");
    sketch.add_cache(["~/.cargo/registry", "~/.cargo/git"]);
    Some(sketch)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn dependencies_are_fetched_and_tests_are_compiled() {
        let check = |files: &[(&str, &str)], expect: &[&str]| {
            let texts: BTreeMap<String, String> =
                files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
            let found = read(Files::new(&texts)).map(|sketch| sketch.commands).unwrap_or_default();
            assert_eq!(found, expect, "{files:?}");
        };
        let package = ("Cargo.toml", "[package]\nname = \"a\"\n");
        check(&[package, ("Cargo.lock", "")], &["cargo fetch --locked", "cargo build --tests --locked"]);
        check(&[package], &["cargo fetch", "cargo build --tests"]);
        check(&[("Cargo.toml", "[workspace]")], &["cargo fetch", "cargo build --tests --workspace"]);
        check(&[("Cargo.toml", "[")], &["cargo fetch", "cargo build --tests"]);
        check(&[("rust-toolchain", "stable")], &[]);
    }
}
