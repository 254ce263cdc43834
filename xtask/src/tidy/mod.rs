//! `cargo xtask tidy`: the project's own rules about its files, which no other tool checks.
//!
//! `source.rs` contains the rules about a source file, `declarations.rs` those about functions and types, `links.rs` those about
//! links between documents, `walls.rs` those about dependencies between crates, and `cycles.rs` those about imports within a crate.
//! The command reads files and never changes them.

mod cycles;
mod declarations;
mod links;
mod log;
mod pin;
mod proof;
mod source;
mod walls;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::{console, texts};

/// Folders that are not checked.
const SKIPPED: [&str; 4] = ["target", ".git", "node_modules", "vendor"];

/// Documents that must not repeat the pinned Codex version, because nobody would remember to update them.
const PINLESS: [&str; 3] = ["README.md", "CONTRIBUTING.md", "docs/codex-docker.md"];

/// Why the check failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TidyError {
    #[error("could not read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Texts(#[from] texts::ReadError),
    #[error("could not read the dependencies of the crates from cargo: {0}")]
    Metadata(String),
    #[error("{} does not define `CODEX_VERSION`", pin::PLACE)]
    NoPin,
    #[error("{}", .0.join("\n"))]
    Untidy(Vec<String>),
}

/// Checks every rule and lists all violations.
pub(crate) fn run(root: &Path) -> Result<(), TidyError> {
    let files = files(root, "rs")?;
    let exists = |path: &Path| root.join(path).exists();
    let model = read(&root.join(pin::PLACE))?;
    let Some(pinned) = pin::version(&model) else { return Err(TidyError::NoPin) };
    let mut complaints = Vec::new();
    let mut lengths = Vec::new();
    let mut functions = HashSet::new();
    let mut events = Vec::new();
    let mut sources = BTreeMap::new();
    for file in &files {
        let text = read(file)?;
        let name = file.strip_prefix(root).unwrap_or(file).display().to_string();
        lengths.push(text.lines().count());
        functions.extend(proof::functions(&text));
        if log::is_product(&name) {
            events.extend(log::events(&text));
        }
        let pins = if name == pin::PLACE { vec![] } else { pin::complaints(&text, pinned) };
        complaints.extend(source::complaints(&text).into_iter().chain(pins).map(|complaint| format!("{name}{complaint}")));
        let product: String = text.split_inclusive('\n').take(*texts::product_lines(&name, &text).end()).collect();
        complaints.extend(declarations::complaints(&product).into_iter().map(|complaint| format!("{name}{complaint}")));
        if !name.starts_with("xtask/") {
            complaints.extend(links::mentioned(&name, &text, exists));
        }
        sources.insert(name, text);
    }
    for name in PINLESS {
        let pins = pin::complaints(&read(&root.join(name))?, pinned);
        complaints.extend(pins.into_iter().map(|complaint| format!("{name}{complaint}")));
    }
    for name in proof::DOCUMENTS {
        let missing = proof::complaints(&read(&root.join(name))?, &functions);
        complaints.extend(missing.into_iter().map(|complaint| format!("{name}{complaint}")));
    }
    let log = log::complaints(&read(&root.join(log::DOCUMENT))?, &events);
    complaints.extend(log.into_iter().map(|complaint| format!("{}{complaint}", log::DOCUMENT)));
    complaints.extend(links::complaints(&documents(root)?, exists));
    complaints.extend(walls::complaints(root)?);
    complaints.extend(cycles::complaints(&sources));
    complaints.extend(changelog_complaints(root));
    complaints.extend(texts::complaints(&texts::collect(root, root)?));
    if !complaints.is_empty() {
        return Err(TidyError::Untidy(complaints));
    }
    lengths.sort_unstable();
    let median = lengths.get(lengths.len() / 2).copied().unwrap_or_default();
    let longest = lengths.last().copied().unwrap_or_default();
    console::say(&format!("    {} Rust files, median {median} lines, longest {longest}", lengths.len()));
    Ok(())
}

/// Returns a complaint if the changelog is missing or has no section for the next release.
fn changelog_complaints(root: &Path) -> Option<String> {
    let changelog = read(&root.join("CHANGELOG.md")).unwrap_or_default();
    let has_unreleased = changelog.lines().any(|line| line.starts_with("## [Unreleased]"));
    (!has_unreleased).then(|| "CHANGELOG.md: missing section `## [Unreleased]`".to_owned())
}

/// Reads all Markdown files. The keys are their paths below the root.
fn documents(root: &Path) -> Result<BTreeMap<String, String>, TidyError> {
    let named = |path: PathBuf| Ok((path.strip_prefix(root).unwrap_or(&path).display().to_string(), read(&path)?));
    files(root, "md")?.into_iter().map(named).collect()
}

/// Returns the files with this extension below a folder, sorted.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, TidyError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| TidyError::Read { path, source }
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(at(folder))? {
        let entry = entry.map_err(at(folder))?;
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type().map_err(at(&path))?.is_dir() {
            if !SKIPPED.iter().any(|skipped| name == *skipped) {
                found.extend(files(&path, extension)?);
            }
        } else if path.extension().is_some_and(|its| its == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<String, TidyError> {
    std::fs::read_to_string(path).map_err(|source| TidyError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_built_or_fetched_are_not_judged() {
        let root = tempfile::tempdir().expect("the folder can be created");
        for file in ["a/b.rs", "a/target/c.rs", "target/d.rs", "vendor/e.rs", "f.rs", "g.txt"] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder can be created");
            std::fs::write(path, "").expect("the file can be written");
        }
        let found = files(root.path(), "rs").expect("the folder can be read");
        assert_eq!(found, [root.path().join("a/b.rs"), root.path().join("f.rs")]);
    }

    #[test]
    fn a_changelog_without_the_section_for_the_next_release_is_named() {
        let root = tempfile::tempdir().expect("the folder can be created");
        let check = |text: &str| {
            std::fs::write(root.path().join("CHANGELOG.md"), text).expect("the file can be written");
            changelog_complaints(root.path()).is_none()
        };
        assert!(changelog_complaints(root.path()).is_some(), "the changelog does not exist yet");
        assert!(check("# Changelog\n\n## [Unreleased]\n"));
        assert!(!check("# Changelog\n\n## [0.1.0]\n"));
    }
}
