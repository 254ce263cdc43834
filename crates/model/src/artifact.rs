//! Artifacts: files that an agent leaves outside of the repository, such as screenshots and test reports.
//!
//! Pure. The kind of a file follows from its first bytes and never from its name. Invariant: the kind only decides how a file is
//! displayed, so a wrong kind is harmless.

use serde::{Deserialize, Serialize};

use crate::commit::PathText;
use crate::image::ImageKind;

/// The folder in a container for artifacts.
pub const ARTIFACTS_INSIDE: &str = "/artifacts";

/// The maximum number of artifacts of a run.
pub const ARTIFACTS_LIMIT: usize = 200;

/// The maximum size of an artifact in bytes.
pub const ARTIFACT_LIMIT_BYTES: u64 = 100 << 20;

/// The maximum total size of the artifacts of a run in bytes.
pub const ARTIFACTS_LIMIT_BYTES: u64 = 200 << 20;

/// How many bytes of a file determine its kind.
pub const KIND_BYTES: usize = 8 << 10;

/// The kind of an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    /// A PNG, JPEG, GIF or WebP image.
    Image,
    /// Text in UTF-8.
    Text,
    /// A test report in the XML format of `JUnit`.
    Junit,
    /// Any other file.
    Other,
}

impl ArtifactKind {
    /// Detects the kind from the first [`KIND_BYTES`] of a file.
    pub fn of_start(start: &[u8]) -> Self {
        if ImageKind::of_content(start).is_some() {
            return Self::Image;
        }
        let Some(text) = text_of_start(start) else { return Self::Other };
        if is_junit(text) { Self::Junit } else { Self::Text }
    }

    /// Returns the kind as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Text => "text",
            Self::Junit => "junit",
            Self::Other => "other",
        }
    }
}

/// Returns the text that a file starts with. A character may be cut off at the end.
fn text_of_start(start: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() && start.len() >= KIND_BYTES => {
            std::str::from_utf8(start.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    (!text.contains('\0')).then_some(text)
}

/// Whether the first element of an XML document is `testsuites` or `testsuite`.
fn is_junit(text: &str) -> bool {
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    loop {
        let end = if rest.starts_with("<?") {
            "?>"
        } else if rest.starts_with("<!--") {
            "-->"
        } else {
            break;
        };
        let Some((_, after)) = rest.split_once(end) else { return false };
        rest = after.trim_start();
    }
    let Some(name) = rest.strip_prefix('<') else { return false };
    let name = name.split(|c: char| c.is_whitespace() || matches!(c, '>' | '/')).next();
    matches!(name, Some("testsuites" | "testsuite"))
}

/// A file that an agent left for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Artifact {
    /// The path below `/artifacts`. Unusual names are quoted like in the output of git.
    pub path: PathText,
    /// The size in bytes.
    pub bytes: u64,
    /// The kind.
    pub kind: ArtifactKind,
}

/// Why a file was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeftOutReason {
    /// It is a link, a FIFO, a socket or a device.
    NotAFile,
    /// The run has too many artifacts.
    TooMany,
    /// The file is larger than the limit.
    TooLarge,
    /// The artifacts together are larger than the limit.
    TotalTooLarge,
    /// The path is too long, or the folder is too deep.
    LongPath,
    /// The file could not be read.
    Unreadable,
}

impl LeftOutReason {
    /// Returns the reason as text for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::NotAFile => "not a regular file",
            Self::TooMany => "more than 200 files",
            Self::TooLarge => "larger than 100 MiB",
            Self::TotalTooLarge => "more than 200 MiB in total",
            Self::LongPath => "the path is too long",
            Self::Unreadable => "could not be read",
        }
    }
}

/// A file that was not kept. It no longer exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LeftOut {
    /// The path below `/artifacts`.
    pub path: PathText,
    /// Why the file was not kept.
    pub reason: LeftOutReason,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_of_a_file_determine_its_kind() {
        let check = |start: &[u8], expect| assert_eq!(ArtifactKind::of_start(start), expect, "{start:?}");
        check(b"\x89PNG\r\n\x1a\n", ArtifactKind::Image);
        check(b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", ArtifactKind::Text);
        check(b"<html>", ArtifactKind::Text);
        check("größer\n".as_bytes(), ArtifactKind::Text);
        check(b"", ArtifactKind::Text);
        check(b"a\0b", ArtifactKind::Other);
        check(b"\xff\xfe", ArtifactKind::Other);
        check(b"end \xc3", ArtifactKind::Other);
        for report in [
            "<testsuite>",
            "<testsuites/>",
            "\u{feff}<?xml version='1.0'?>\n<!-- <a> -->\n<testsuites name='x'>",
            "<testsuite name='x'",
        ] {
            check(report.as_bytes(), ArtifactKind::Junit);
        }
        for other in ["<testsuitex>", "<?xml ", "<!-- ", "testsuite", "<!DOCTYPE x><testsuite>", "<a><testsuite/></a>"] {
            check(other.as_bytes(), ArtifactKind::Text);
        }
    }

    #[test]
    fn a_character_may_be_cut_off_only_where_the_bytes_were_cut_off() {
        let mut start = vec![b'a'; KIND_BYTES - 1];
        start.push(0xc3);
        assert_eq!(ArtifactKind::of_start(&start), ArtifactKind::Text);
        start[0] = 0xff;
        assert_eq!(ArtifactKind::of_start(&start), ArtifactKind::Other);
    }

    #[test]
    fn the_reasons_name_the_limits() {
        assert!(LeftOutReason::TooMany.words().contains(&ARTIFACTS_LIMIT.to_string()));
        assert!(LeftOutReason::TooLarge.words().contains(&format!("{} MiB", ARTIFACT_LIMIT_BYTES >> 20)));
        assert!(LeftOutReason::TotalTooLarge.words().contains(&format!("{} MiB", ARTIFACTS_LIMIT_BYTES >> 20)));
    }
}
