//! The key of a snapshot, and the name of an image: hashes of everything that their content depends on.
//!
//! Pure. Invariant: equal inputs have equal hashes, on every machine.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::description::{Description, Script, Setup, ToolName, ToolVersion};
use super::digest::hash;
use super::image::ImageChoice;
use super::paths::{CachePath, KeepPath};
use crate::ids::ObjectId;
use crate::schema::{described, text};
use crate::sparse::SparsePath;
use std::collections::{BTreeMap, BTreeSet};

/// The version of this hash. A change makes all existing snapshots unused.
const VERSION: u32 = 1;

/// The name of a snapshot: 64 hexadecimal digits. Snapshots with equal keys have equal content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SnapshotKey(String);

described!(SnapshotKey, text("The name of a snapshot: 64 hexadecimal digits.", "^[0-9a-f]{64}$"));

impl SnapshotKey {
    /// Parses 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hash = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_hash.then(|| Self(text.to_owned()))
    }

    /// Returns the key that identifies a description that cannot be used.
    pub fn of_text(text: &str) -> Self {
        Self(hash(&text))
    }

    /// Returns the digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first 12 digits, for people and for names of images.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl fmt::Display for SnapshotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SnapshotKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("a snapshot's key has 64 hexadecimal digits"))
    }
}

/// How often the owner of a repository asked for a setup that starts from the image. All keys contain this number, so no earlier snapshot is
/// used or updated any more, except by the tasks that have it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SetupEdition(u32);

impl SetupEdition {
    /// Whether the owner never asked for such a setup.
    pub fn is_first(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the next edition.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A file that a snapshot depends on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct KeyFile {
    /// The path in the repository.
    pub path: KeepPath,
    /// The Git object with its content, or `None` if the commit does not contain it.
    pub object: Option<ObjectId>,
}

/// Everything that a snapshot's content depends on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KeyInputs<'a> {
    /// The description.
    pub description: &'a Description,
    /// The ID of the image that the setup starts from.
    pub image: &'a str,
    /// The user of the container.
    pub user: &'a str,
    /// The key files at the commit of the default branch.
    pub files: &'a [KeyFile],
    /// The commit, if the description names no key files.
    pub commit: Option<&'a ObjectId>,
    /// The folders that the setup's worktree contains, if it does not contain all of them.
    pub folders: &'a [SparsePath],
    /// The edition of the repository's setups.
    pub edition: SetupEdition,
}

/// What is hashed of a description: all that has an effect on the result, in a fixed order.
#[derive(Serialize)]
struct Hashed<'a> {
    version: u32,
    image: &'a str,
    user: &'a str,
    tools: &'a BTreeMap<ToolName, ToolVersion>,
    script: Option<&'a Script>,
    keep: &'a BTreeSet<KeepPath>,
    cache: &'a BTreeSet<CachePath>,
    files: &'a [KeyFile],
    commit: Option<&'a ObjectId>,
    // Keys of worktrees with all folders are those of earlier versions.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    folders: &'a [SparsePath],
    // So are keys of repositories whose owner never asked for a setup from the image.
    #[serde(skip_serializing_if = "SetupEdition::is_first")]
    edition: SetupEdition,
}

impl KeyInputs<'_> {
    /// Returns the key.
    pub fn key(&self) -> SnapshotKey {
        SnapshotKey(hash(&Hashed {
            version: VERSION,
            image: self.image,
            user: self.user,
            tools: &self.description.tools,
            script: self.description.setup.as_ref().map(|Setup { run, .. }| run),
            keep: &self.description.keep.paths,
            cache: &self.description.cache.paths,
            files: self.files,
            commit: self.commit,
            folders: self.folders,
            edition: self.edition,
        }))
    }

    /// Returns the key of the snapshot's family: all snapshots that differ only in their key files or their commit.
    pub fn family(&self) -> SnapshotKey {
        KeyInputs { files: &[], commit: None, ..self.clone() }.key()
    }
}

/// Everything that the content of an image depends on that is created for a repository.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImageInputs<'a> {
    /// The image in the description.
    pub choice: Option<&'a ImageChoice>,
    /// The ID of the image that it extends, unless it is built from a Dockerfile.
    pub base: Option<&'a str>,
    /// The Git objects that the Dockerfile uses.
    pub objects: &'a [ObjectId],
    /// The tools that are added.
    pub tools: &'a BTreeMap<ToolName, ToolVersion>,
}

impl ImageInputs<'_> {
    /// Returns 12 hexadecimal digits that identify the inputs, with the version of Codex.
    pub fn hash(&self) -> String {
        let mut digits = hash(&(crate::CODEX_VERSION, self));
        digits.truncate(12);
        digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(script: &str) -> Description {
        Description { setup: Some(Setup::new(Script::new(script).expect("a script"))), ..Description::default() }
    }

    fn object(digit: char) -> ObjectId {
        digit.to_string().repeat(40).parse().expect("an object ID")
    }

    fn file(digit: char) -> KeyFile {
        KeyFile { path: KeepPath::parse("go.sum").expect("a path"), object: Some(object(digit)) }
    }

    #[test]
    fn each_input_changes_the_key() {
        let (first, second) = (description("make deps"), description("make all"));
        let (files, others, commit) = ([file('a')], [file('b')], object('c'));
        let base = KeyInputs {
            description: &first,
            image: "sha256:1",
            user: "root",
            files: &files,
            commit: None,
            folders: &[],
            edition: SetupEdition(0),
        };
        let folders = [SparsePath::parse("app").expect("a folder")];
        let variants = [
            KeyInputs { description: &second, ..base.clone() },
            KeyInputs { image: "sha256:2", ..base.clone() },
            KeyInputs { user: "caller", ..base.clone() },
            KeyInputs { files: &others, ..base.clone() },
            KeyInputs { files: &[], ..base.clone() },
            KeyInputs { commit: Some(&commit), ..base.clone() },
            KeyInputs { folders: &folders, ..base.clone() },
            KeyInputs { edition: SetupEdition(1), ..base.clone() },
            KeyInputs { edition: SetupEdition(2), ..base.clone() },
        ];
        let keys: BTreeSet<_> = variants.iter().chain([&base]).map(KeyInputs::key).collect();
        assert_eq!(keys.len(), variants.len() + 1);
        assert_eq!(base.key(), base.clone().key());
        assert_eq!(SnapshotKey::parse(base.key().as_str()), Some(base.key()));
        assert_eq!(base.key().short().len(), 12);
        let is_related = |variant: &&KeyInputs<'_>| variant.family() == base.family();
        assert_eq!(variants.iter().filter(is_related).count(), 3, "those with other files or another commit");
        assert_ne!(base.family(), base.key());
    }

    #[test]
    fn secrets_and_limits_are_no_part_of_the_result() {
        let (plain, mut limited) = (description("make"), description("make"));
        if let Some(setup) = &mut limited.setup {
            setup.minutes = std::num::NonZeroU32::new(5).expect("not zero");
        }
        let key = |description| {
            let edition = SetupEdition::default();
            KeyInputs { description, image: "i", user: "root", files: &[], commit: None, folders: &[], edition }.key()
        };
        assert_eq!(key(&plain), key(&limited));
    }

    #[test]
    fn each_input_of_an_image_changes_its_hash() {
        let (choice, none, object) = (ImageChoice::Named("a".to_owned()), BTreeMap::new(), "a".repeat(40));
        let tools = [("node", "22")].map(|(name, version)| (ToolName::parse(name), ToolVersion::parse(version)));
        let tools = tools.into_iter().filter_map(|(name, version)| Some((name?, version?))).collect();
        let object = [object.parse().expect("an ID")];
        let base = ImageInputs { choice: Some(&choice), base: Some("sha256:1"), objects: &[], tools: &none };
        let variants = [
            ImageInputs { choice: None, ..base.clone() },
            ImageInputs { base: Some("sha256:2"), ..base.clone() },
            ImageInputs { objects: &object, ..base.clone() },
            ImageInputs { tools: &tools, ..base.clone() },
        ];
        let hashes: BTreeSet<_> = variants.iter().chain([&base]).map(ImageInputs::hash).collect();
        assert_eq!((hashes.len(), base.hash().len(), base.hash()), (variants.len() + 1, 12, base.clone().hash()));
    }
}
