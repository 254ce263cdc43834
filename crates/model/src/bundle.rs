//! Parses exports from an agent's container: the header of a git bundle, and the export report.
//!
//! The agent controls both, so they are parsed byte by byte and nothing in them is trusted. This module does not access files or
//! repositories. Invariant: every input results in a value or an error, and text from the input is never used as an option or
//! a path.

use std::str::{FromStr, from_utf8};

use crate::ids::ObjectId;

/// The maximum size of a header in bytes. Prerequisites contain commit subjects, which an agent can make arbitrarily long.
pub const HEADER_LIMIT_BYTES: usize = 1 << 20;

/// The maximum size of an export report in bytes.
pub const REPORT_LIMIT_BYTES: usize = 4 << 20;

/// The maximum number of remarks of each kind in a report. An agent can cause any number of remarks.
const REMARKS_LIMIT: usize = 100;

/// The maximum length of a remark in characters.
const REMARK_LENGTH: usize = 4096;

/// The first field of a report.
const REPORT_FORMAT: &[u8] = b"harvest 1";

/// The last field of a complete report.
const REPORT_END: &[u8] = b"end";

/// The header of a bundle: its prerequisites and its refs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleHeader {
    /// Commits that the receiver must already have.
    pub prerequisites: Vec<ObjectId>,
    /// The refs, with their full names.
    pub refs: Vec<(ObjectId, Vec<u8>)>,
    /// The length of the header in bytes. The pack starts here.
    pub length: usize,
}

/// Why a bundle is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The input does not start like a bundle.
    #[error("not a git bundle of version 2 or 3")]
    NotABundle,
    /// The input ends inside the header, or the header is too long.
    #[error("the header does not end within {HEADER_LIMIT_BYTES} bytes")]
    Endless,
    /// The bundle requires an unknown capability, such as omitted objects.
    #[error("the bundle requires `{capability}`, which is not supported")]
    Capability {
        /// The capability.
        capability: String,
    },
    /// A header line is malformed.
    #[error("line {number} of the header is malformed")]
    Line {
        /// The line number, counted from 1.
        number: usize,
    },
    /// The bundle contains refs other than the requested one.
    #[error("the bundle contains {found}; expected only `{expected}`")]
    Refs {
        /// The refs in the bundle.
        found: String,
        /// The requested ref.
        expected: String,
    },
}

impl BundleHeader {
    /// Parses the header at the start of a bundle. `start` may extend into the pack.
    pub fn parse(start: &[u8]) -> Result<Self, BundleError> {
        let mut lines = HeaderLines { rest: &start[..start.len().min(HEADER_LIMIT_BYTES)], number: 0, length: 0 };
        let has_capabilities = match lines.next() {
            Some(b"# v2 git bundle") => false,
            Some(b"# v3 git bundle") => true,
            Some(_) | None => return Err(BundleError::NotABundle),
        };
        let mut header = Self { prerequisites: Vec::new(), refs: Vec::new(), length: 0 };
        let mut digits = 40;
        while let Some(line) = lines.next() {
            let unknown = BundleError::Line { number: lines.number };
            match line {
                [] => {
                    header.length = lines.length;
                    return Ok(header);
                }
                [b'@', capability @ ..] if has_capabilities && header.is_empty() => digits = object_digits(capability)?,
                [b'-', rest @ ..] if header.refs.is_empty() => {
                    let (id, _subject) = split_id(rest, digits).ok_or(unknown)?;
                    header.prerequisites.push(id);
                }
                line => {
                    let (id, name) = split_id(line, digits).filter(|(_, name)| !name.is_empty()).ok_or(unknown)?;
                    header.refs.push((id, name.to_vec()));
                }
            }
        }
        Err(BundleError::Endless)
    }

    /// Returns the commit of the only ref, which must have exactly this name.
    pub fn only(&self, name: &str) -> Result<&ObjectId, BundleError> {
        let found = match self.refs.as_slice() {
            [(id, found)] if found == name.as_bytes() => return Ok(id),
            [(_, found)] => format!("`{}`", remark(found)),
            refs => format!("{} refs", refs.len()),
        };
        Err(BundleError::Refs { found, expected: name.to_owned() })
    }

    fn is_empty(&self) -> bool {
        self.prerequisites.is_empty() && self.refs.is_empty()
    }
}

/// The complete lines of a header, without line ends.
struct HeaderLines<'h> {
    rest: &'h [u8],
    number: usize,
    length: usize,
}

impl<'h> HeaderLines<'h> {
    fn next(&mut self) -> Option<&'h [u8]> {
        let end = self.rest.iter().position(|&byte| byte == b'\n')?;
        let line = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        self.number += 1;
        self.length += end + 1;
        Some(line)
    }
}

fn object_digits(capability: &[u8]) -> Result<usize, BundleError> {
    match capability {
        b"object-format=sha1" => Ok(40),
        b"object-format=sha256" => Ok(64),
        other => Err(BundleError::Capability { capability: remark(other) }),
    }
}

/// Splits off an ID of the given length and the space after it.
fn split_id(line: &[u8], digits: usize) -> Option<(ObjectId, &[u8])> {
    let (id, rest) = line.split_at_checked(digits)?;
    let id = ObjectId::from_str(from_utf8(id).ok()?).ok()?;
    match rest {
        [] => Some((id, rest)),
        [b' ', rest @ ..] => Some((id, rest)),
        _ => None,
    }
}

/// Makes untrusted text safe to display: limits its length and removes terminal control sequences.
fn remark(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().take(REMARK_LENGTH).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The report of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HarvestReport {
    /// The commit that the task's branch points to in the agent repository.
    pub head: ObjectId,
    /// Nested repositories that were omitted.
    pub dropped: Vec<String>,
    /// Files that could not be read, with git's messages.
    pub unreadable: Vec<String>,
    /// Other notes for people: files that were moved aside or could not be repaired.
    pub notes: Vec<String>,
}

/// Why a report is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// The input does not start like a report.
    #[error("not an export report in a known format")]
    Format,
    /// The input does not end like a report.
    #[error("the report is incomplete")]
    Incomplete,
    /// The report does not name the branch's commit.
    #[error("the report does not name the branch's commit")]
    NoHead,
    /// The report contains an unknown field.
    #[error("field {number} of the report is malformed")]
    Field {
        /// The field number, counted from 1.
        number: usize,
    },
}

impl HarvestReport {
    /// Parses fields of the form `key value`, each ended by a NUL: `harvest 1`, `head <id>`, then any number of `dropped
    /// <path>`, `unreadable <words>` and `note <words>`, and `end`.
    pub fn parse(report: &[u8]) -> Result<Self, ReportError> {
        let report = report.strip_suffix(b"\0").ok_or(ReportError::Incomplete)?;
        let mut fields: Vec<&[u8]> = report.split(|&byte| byte == 0).collect();
        if fields.first() != Some(&REPORT_FORMAT) {
            return Err(ReportError::Format);
        }
        if fields.pop() != Some(REPORT_END) {
            return Err(ReportError::Incomplete);
        }
        let mut head = None;
        let (mut dropped, mut unreadable, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        let mut more = 0_usize;
        for (number, field) in fields.into_iter().enumerate().skip(1) {
            let unknown = ReportError::Field { number: number + 1 };
            let space = field.iter().position(|&byte| byte == b' ').ok_or_else(|| unknown.clone())?;
            let value = &field[space + 1..];
            let remarks = match &field[..space] {
                b"head" if head.is_none() => {
                    head = Some(from_utf8(value).ok().and_then(|id| id.parse().ok()).ok_or(unknown)?);
                    continue;
                }
                b"dropped" => &mut dropped,
                b"unreadable" => &mut unreadable,
                b"note" => &mut notes,
                _ => return Err(unknown),
            };
            if remarks.len() < REMARKS_LIMIT {
                remarks.push(remark(value));
            } else {
                more += 1;
            }
        }
        if more > 0 {
            notes.push(format!("{more} more notes are not listed"));
        }
        Ok(Self { head: head.ok_or(ReportError::NoHead)?, dropped, unreadable, notes })
    }
}
