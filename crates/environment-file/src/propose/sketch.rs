//! What one file, or the files of one language, say about an environment.
//!
//! Invariant: a sketch contains only valid values, and at most as many as a description can use.

use std::collections::{BTreeMap, BTreeSet};

use model::setup::{Build, CachePath, ImageChoice, KeepPath, ToolName, ToolVersion};
use serde_json::Value;

use super::files::resolved;
use super::tools::{self, ToolChoice};
use crate::check::folder_in;

/// The maximum number of kept folders, because each of them is mounted separately.
const LIMIT_KEEP: usize = 32;

/// The maximum number of notes about a file.
const LIMIT_NOTES: usize = 100;

/// The maximum number of key files.
const LIMIT_KEYS: usize = 64;

/// What one file, or the files of one language, say about an environment.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Sketch {
    /// The path of the file.
    pub(super) source: String,
    pub(super) image: Option<ImageChoice>,
    pub(super) tools: BTreeMap<ToolName, ToolVersion>,
    pub(super) commands: Vec<String>,
    pub(super) keys: BTreeSet<KeepPath>,
    pub(super) keep: BTreeSet<KeepPath>,
    pub(super) cache: BTreeSet<CachePath>,
    /// The languages that the image `universal` does not contain.
    pub(super) missing: Vec<&'static str>,
    /// What was not taken over.
    pub(super) notes: Vec<String>,
}

impl Sketch {
    pub(super) fn new(source: &str) -> Self {
        Self { source: source.to_owned(), ..Self::default() }
    }

    /// Whether the file says something that a description can use.
    pub(super) fn is_useful(&self) -> bool {
        self.image.is_some() || !self.commands.is_empty() || !self.tools.is_empty()
    }

    /// Adds what another file says, except for its image and its commands.
    pub(super) fn add(&mut self, other: Sketch) {
        if self.source.is_empty() {
            self.source = other.source;
        }
        for (name, version) in other.tools {
            self.tools.entry(name).or_insert(version);
        }
        self.add_keys(other.keys.iter().map(KeepPath::as_str));
        self.add_keep(other.keep.iter().map(KeepPath::as_str));
        self.add_cache(other.cache.iter().map(CachePath::as_str));
        self.missing.extend(other.missing);
        self.notes.extend(other.notes);
    }

    pub(super) fn command(&mut self, command: &str) {
        self.commands.push(command.replace("\r\n", "\n"));
    }

    pub(super) fn add_commands<'a>(&mut self, commands: impl IntoIterator<Item = &'a str>) {
        for command in commands {
            self.command(command);
        }
    }

    pub(super) fn add_keys<'a>(&mut self, paths: impl IntoIterator<Item = &'a str>) {
        for path in paths {
            self.key(path);
        }
    }

    pub(super) fn add_keep<'a>(&mut self, paths: impl IntoIterator<Item = &'a str>) {
        for path in paths {
            self.keep(path);
        }
    }

    pub(super) fn add_cache<'a>(&mut self, paths: impl IntoIterator<Item = &'a str>) {
        for path in paths {
            self.cache(path);
        }
    }

    /// Adds a file that the result of the commands depends on.
    pub(super) fn key(&mut self, path: &str) {
        if let Ok(path) = KeepPath::parse(path)
            && self.keys.len() < LIMIT_KEYS
        {
            self.keys.insert(path);
        }
    }

    /// Adds a folder of the worktree that the commands create. A folder in another one is kept with it.
    pub(super) fn keep(&mut self, path: &str) {
        let Ok(path) = KeepPath::parse(path) else { return };
        let paths: BTreeSet<&str> = self.keep.iter().map(KeepPath::as_str).collect();
        let is_kept = paths.contains(path.as_str()) || folder_in(&paths, path.as_str()).is_some();
        if is_kept {
            return;
        }
        self.keep.retain(|kept| folder_in(&BTreeSet::from([path.as_str()]), kept.as_str()).is_none());
        if self.keep.len() < LIMIT_KEEP {
            self.keep.insert(path);
        } else {
            self.note(format!("At most {LIMIT_KEEP} folders are kept. Others, such as `{path}`, are not."));
        }
    }

    /// Adds a folder outside of the worktree.
    pub(super) fn cache(&mut self, path: &str) {
        if let Ok(path) = CachePath::parse(path) {
            self.cache.insert(path);
        }
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        if self.notes.len() < LIMIT_NOTES {
            self.notes.push(note.into());
        }
    }

    /// Adds the version of a tool, unless the file already named one.
    pub(super) fn tool(&mut self, name: &str, version: &str) {
        match tools::choice(name, version) {
            ToolChoice::Chosen(name, version) => {
                self.tools.entry(name).or_insert(version);
            }
            ToolChoice::OtherTool => {
                self.note(format!("`{name}` in `{}` was not taken over. `[tools]` can choose {}.", self.source, tools::list()));
            }
            ToolChoice::OtherVersion => self.note(format!(
                "The version `{version}` of `{name}` in `{}` was not taken over. Name a version in `[tools]`.",
                self.source
            )),
        }
    }

    /// Sets an image with this name.
    pub(super) fn named_image(&mut self, name: &str) {
        match serde_json::from_value(Value::from(name)) {
            Ok(image) => self.image = Some(image),
            Err(_) => self.note(format!("The image `{name}` in `{}` was not taken over. Name an image.", self.source)),
        }
    }

    /// Sets an image that is built. The paths are relative to the folder of the file, or to the repository for the file of a root.
    pub(super) fn built_image(&mut self, folder: &str, dockerfile: &str, context: Option<&str>) {
        let dockerfile = resolved(folder, dockerfile).filter(|path| KeepPath::parse(path).is_ok());
        let context = resolved(folder, context.unwrap_or(".")).filter(|path| path == "." || KeepPath::parse(path).is_ok());
        match (dockerfile, context) {
            (Some(dockerfile), Some(context)) => {
                self.image = Some(ImageChoice::Build { build: Build { dockerfile, context } });
            }
            _ => {
                self.note(format!(
                    "The Dockerfile in `{}` was not taken over, because it is not in the repository.",
                    self.source
                ));
            }
        }
    }

    /// Notes keys of an object that were not taken over.
    pub(super) fn note_unused(&mut self, object: &Value, keys: &[&str], advice: &str) {
        let unused: Vec<String> = keys.iter().filter(|key| is_used(&object[**key])).map(|key| format!("`{key}`")).collect();
        if !unused.is_empty() {
            let verb = if unused.len() == 1 { "was" } else { "were" };
            self.note(format!("{} in `{}` {verb} not taken over. {advice}", unused.join(", "), self.source));
        }
    }
}

/// Whether a value says something.
fn is_used(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(_) => true,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_a_kept_folder_is_kept_with_it() {
        let mut sketch = Sketch::new("a");
        for path in ["a/b", "a", "a/c", "ab", "../x"] {
            sketch.keep(path);
        }
        let kept: Vec<_> = sketch.keep.iter().map(KeepPath::as_str).collect();
        assert_eq!(kept, ["a", "ab"]);
    }

    #[test]
    fn the_number_of_kept_folders_is_limited() {
        let mut sketch = Sketch::new("a");
        for number in 0..LIMIT_KEEP + 2 {
            sketch.keep(&format!("a{number}"));
        }
        assert_eq!((sketch.keep.len(), sketch.notes.len()), (LIMIT_KEEP, 2));
    }

    #[test]
    fn the_first_version_of_a_tool_stays() {
        let mut sketch = Sketch::new("a");
        for version in ["22", "20"] {
            sketch.tool("node", version);
        }
        let mut other = Sketch::new("b");
        other.tool("node", "18");
        other.tool("go", "1.24");
        sketch.add(other);
        let tools: Vec<String> = sketch.tools.iter().map(|(name, version)| format!("{name} {version}")).collect();
        assert_eq!((tools, sketch.source), (vec!["go 1.24".to_owned(), "node 22".to_owned()], "a".to_owned()));
    }

    #[test]
    fn an_image_that_cannot_be_used_is_a_note() {
        let mut sketch = Sketch::new("a");
        sketch.named_image("x:${variant}");
        sketch.built_image(".devcontainer", "../../Dockerfile", None);
        sketch.built_image(".devcontainer", "Dockerfile", Some("/"));
        assert_eq!((sketch.image.clone(), sketch.notes.len()), (None, 3));
        sketch.built_image(".devcontainer", "Dockerfile", Some(".."));
        let build = Build { dockerfile: ".devcontainer/Dockerfile".to_owned(), context: ".".to_owned() };
        assert_eq!(sketch.image, Some(ImageChoice::Build { build }));
    }
}
