//! Proposes a description for a repository that has none, from the files that other tools use.
//!
//! The first file that configures an environment decides. Version files and lock files add what it does not mention: tools, key
//! files, kept folders and caches, and the commands if it has none. Invariant: a proposal is a valid description.

mod apps;
mod devcontainer;
mod elixir;
mod files;
mod go;
mod jsonc;
mod jvm;
mod node;
mod php;
mod python;
mod ruby;
mod rust;
pub(crate) mod scripts;
mod sketch;
mod tools;
mod versions;
mod workflow;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use model::setup::{Description, ImageChoice, Script, Setup};

use files::Files;
pub use files::{SOURCE_LIMIT_BYTES, SOURCES, limit_bytes};
use sketch::Sketch;

/// The image of a proposal if no file names one. It contains the languages.
const IMAGE: &str = "universal";

/// The maximum number of notes of a proposal.
const LIMIT_NOTES: usize = 40;

/// The maximum length of a note in characters.
const LIMIT_NOTE: usize = 300;

/// The readers of files that configure an environment. The first that finds something decides.
const CONFIGURED: &[fn(Files<'_>) -> Option<Sketch>] =
    &[devcontainer::read, apps::codex, apps::conductor, apps::emdash, apps::cursor, workflow::read];

/// The readers of files that say how a language's dependencies are installed. All of them are combined.
const LANGUAGES: &[fn(Files<'_>) -> Option<Sketch>] =
    &[node::read, python::read, rust::read, go::read, jvm::read, ruby::read, php::read, elixir::read];

/// A description for a repository that has none. It takes effect only after the repository's owner accepts it.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The description.
    pub description: Description,
    /// The path of the file that it is mainly based on.
    pub source: String,
    /// What was not taken over from the files, in sentences.
    pub notes: Vec<String>,
}

/// Proposes a description from the files of a repository: their texts by path, for the paths in [`SOURCES`] that exist.
///
/// `None` means that there is nothing to propose.
pub fn propose(files: &BTreeMap<String, String>) -> Option<Proposal> {
    let files = Files::new(files);
    let (configured, mut notes) = configured(files);
    let languages = combined(LANGUAGES.iter().filter_map(|read| read(files)));
    let mut versions = versions::read(files);

    let mut sketch = configured.unwrap_or_default();
    if sketch.commands.is_empty() {
        if !sketch.source.is_empty() && !languages.commands.is_empty() {
            sketch.note(format!("`{}` has no setup commands. They come from `{}`.", sketch.source, languages.source));
        }
        sketch.commands.clone_from(&languages.commands);
    }
    if languages.keys.is_empty() {
        // The commands may depend on any file. Without key files, each commit has its own snapshot.
        sketch.keys.clear();
        versions.keys.clear();
    }
    sketch.add(languages);
    if sketch.image.is_none() {
        let missing = std::mem::take(&mut sketch.missing);
        for language in missing {
            sketch.note(format!(
                "The image `{IMAGE}` does not contain {language}. Install it in the setup script, or use another image."
            ));
        }
        sketch.add(versions);
    } else if !versions.tools.is_empty() {
        sketch.note(format!(
            "`{}` was not used, because the image of `{}` contains its own tools.",
            versions.source, sketch.source
        ));
    }
    if !sketch.is_useful() {
        return None;
    }
    notes.append(&mut sketch.notes);
    notes.extend(files.too_large().map(|path| format!("`{path}` was not read, because it is larger than 256 KiB.")));
    Some(proposal(sketch, notes))
}

/// Returns what the first file that configures an environment says, and notes about the others.
fn configured(files: Files<'_>) -> (Option<Sketch>, Vec<String>) {
    let mut decisive: Option<Sketch> = None;
    let mut notes = Vec::new();
    for mut found in CONFIGURED.iter().filter_map(|read| read(files)) {
        match &decisive {
            Some(first) => notes.push(format!("`{}` was not used, because `{}` comes first.", found.source, first.source)),
            None if found.is_useful() => decisive = Some(found),
            None => notes.append(&mut found.notes),
        }
    }
    (decisive, notes)
}

/// Combines what the files of several languages say.
fn combined(languages: impl Iterator<Item = Sketch>) -> Sketch {
    let mut all = Sketch::default();
    for mut language in languages {
        all.commands.append(&mut language.commands);
        all.add(language);
    }
    all
}

fn proposal(sketch: Sketch, mut notes: Vec<String>) -> Proposal {
    let mut description = Description { image: sketch.image, tools: sketch.tools, ..Description::default() };
    description.image.get_or_insert_with(|| ImageChoice::Named(IMAGE.to_owned()));
    match scripts::joined(&sketch.commands).map(Script::new) {
        Some(Some(script)) => {
            description.setup = Some(Setup { keys: sketch.keys, ..Setup::new(script) });
        }
        Some(None) => notes.push("The setup commands were not taken over, because they are larger than 64 KiB.".to_owned()),
        None => {}
    }
    description.keep.paths = sketch.keep;
    description.cache.paths = sketch.cache;
    let mut seen = BTreeSet::new();
    let notes = notes.iter().map(|note| printable::printable_line(note, LIMIT_NOTE));
    let notes = notes.filter(|note| seen.insert(note.clone())).take(LIMIT_NOTES).collect();
    Proposal { description, source: sketch.source, notes }
}

#[cfg(test)]
mod tests;
