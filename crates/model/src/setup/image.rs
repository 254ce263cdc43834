//! The image in a description: a name, or a Dockerfile in the repository.
//!
//! Invariant: a name is never an option of a program, and a path never leads out of the repository.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::paths::KeepPath;
use crate::container::image_name;

/// The image of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ImageChoice {
    /// The name of an image. `slim` and `universal` are the images of `codex-docker`.
    Named(String),
    /// An image that is built from files of the repository.
    Build {
        /// The Dockerfile and its context.
        build: Build,
    },
}

/// An image that is built from files of the repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// The path of the Dockerfile, relative to the repository.
    #[serde(deserialize_with = "dockerfile")]
    pub dockerfile: String,
    /// The folder whose files the Dockerfile may copy, relative to the repository.
    #[serde(default = "Build::default_context", deserialize_with = "context")]
    pub context: String,
}

impl Build {
    /// The default context: the whole repository.
    pub const DEFAULT_CONTEXT: &str = ".";

    fn default_context() -> String {
        Self::DEFAULT_CONTEXT.to_owned()
    }
}

impl ImageChoice {
    /// The name of the image of `codex-docker` without languages.
    pub const SLIM: &str = "slim";
    /// The name of the image of `codex-docker` with languages.
    pub const UNIVERSAL: &str = "universal";
}

/// Whether a Dockerfile copies files from its build context. `COPY --from` copies from another image.
pub fn copies_files(dockerfile: &str) -> bool {
    dockerfile.lines().any(|line| {
        let mut words = line.split_whitespace();
        let copies = words.next().is_some_and(|word| word.eq_ignore_ascii_case("copy") || word.eq_ignore_ascii_case("add"));
        copies && !words.any(|word| word.starts_with("--from="))
    })
}

/// Reads the name of an image.
pub(super) fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    described_name(&String::deserialize(deserializer)?)
}

/// The start of the names of images that contain what tasks and setups installed.
const INTERNAL: &str = "codex-orchestrator-";

/// Checks the name of an image in a description. A repository cannot name the images of tasks and setups, which can be those of another
/// repository.
fn described_name<E: Error>(text: &str) -> Result<String, E> {
    let name = image_name(text).map_err(E::custom)?;
    if name.rsplit('/').next().is_some_and(|last| last.starts_with(INTERNAL)) {
        return Err(E::custom(format!("invalid image name `{name}`: names that start with `{INTERNAL}` are reserved")));
    }
    Ok(name)
}

/// Reads the path of a Dockerfile in the repository.
fn dockerfile<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let path = KeepPath::deserialize(deserializer)?;
    Ok(path.as_str().to_owned())
}

/// Reads a folder of the repository. `.` is the repository itself.
fn context<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if matches!(text.as_str(), "." | "./") {
        return Ok(Build::DEFAULT_CONTEXT.to_owned());
    }
    let path = KeepPath::parse(&text).map_err(Error::custom)?;
    Ok(path.as_str().to_owned())
}

/// The table with the key `build`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BuildTable {
    build: Build,
}

struct ImageVisitor;

impl<'de> Visitor<'de> for ImageVisitor {
    type Value = ImageChoice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an image, or `{ build = { dockerfile = \"Dockerfile\" } }`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ImageChoice, E> {
        described_name(text).map(ImageChoice::Named)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ImageChoice, A::Error> {
        let BuildTable { build } = BuildTable::deserialize(MapAccessDeserializer::new(map))?;
        Ok(ImageChoice::Build { build })
    }
}

impl<'de> Deserialize<'de> for ImageChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ImageVisitor)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_image_has_a_name_or_is_built() {
        let read = |value| serde_json::from_value::<ImageChoice>(value).map_err(|error| error.to_string());
        assert_eq!(read(json!("universal")), Ok(ImageChoice::Named("universal".to_owned())));
        let build = Build { dockerfile: "Dockerfile.dev".to_owned(), context: ".".to_owned() };
        for value in [json!({"dockerfile": "Dockerfile.dev"}), json!({"dockerfile": "./Dockerfile.dev", "context": "./"})] {
            assert_eq!(read(json!({"build": value})), Ok(ImageChoice::Build { build: build.clone() }));
        }
    }

    #[test]
    fn files_are_needed_only_by_a_dockerfile_that_copies_them() {
        let check = |text: &str, expected: bool| assert_eq!(copies_files(text), expected, "{text}");
        check("FROM x\nCOPY package.json /app/\n", true);
        check("FROM x\n  add . /app\n", true);
        check("FROM x\nCOPY --chown=1:1 a b\n", true);
        check("FROM x\nCOPY --from=build /a /b\n", false);
        check("FROM x\nRUN cp a b\n# COPY a b\n", false);
    }

    #[test]
    fn an_invalid_image_names_what_is_wrong() {
        let check = |value, expect: &str| {
            let error = serde_json::from_value::<ImageChoice>(value).expect_err(expect).to_string();
            assert!(error.contains(expect), "{error}");
        };
        check(json!("--privileged"), "invalid image name");
        check(json!("codex-orchestrator-task:1"), "are reserved");
        check(json!("docker.io/library/codex-orchestrator-setup:1-2"), "are reserved");
        check(json!(5), "the name of an image");
        check(json!({"dockerfile": "Dockerfile"}), "unknown field `dockerfile`");
        check(json!({"build": {"dockerfile": "../Dockerfile"}}), "../Dockerfile");
        check(json!({"build": {"dockerfile": "Dockerfile", "context": "/etc"}}), "/etc");
        check(json!({"build": {"context": "."}}), "missing field `dockerfile`");
    }
}
