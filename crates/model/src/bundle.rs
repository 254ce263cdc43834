//! What comes out of an agent's container: the header of a git bundle, and what the harvest says it did.
//!
//! Both were written where an agent had its hands: they are read here, byte by byte, and believed nowhere. Nothing in here reads
//! a file or knows a repository. Invariant: any bytes end in a value or an error, and nothing of either is an option or a path.

use std::str::{FromStr, from_utf8};

use crate::ids::ObjectId;

/// The longest header that is read. Prerequisites carry subjects of commits, which an agent can make as long as it likes.
pub const HEADER_LIMIT_BYTES: usize = 1 << 20;

/// The longest report of a harvest that is read.
pub const REPORT_LIMIT_BYTES: usize = 4 << 20;

/// How many remarks of a kind are taken from a report. An agent can cause as many as it likes.
const REMARKS_LIMIT: usize = 100;

/// How much of one remark is taken, in characters.
const REMARK_LENGTH: usize = 4096;

/// The first field of a report.
const REPORT_FORMAT: &[u8] = b"harvest 1";

/// The last field of a report that is complete.
const REPORT_END: &[u8] = b"end";

/// The header of a bundle: what it needs, and what it brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleHeader {
    /// Commits that the receiver must have.
    pub prerequisites: Vec<ObjectId>,
    /// The refs in it, with their complete names as they stand there.
    pub refs: Vec<(ObjectId, Vec<u8>)>,
    /// How long the header is: here the pack begins.
    pub length: usize,
}

/// Something is no bundle that would be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// It does not begin like one.
    #[error("it is no git bundle of version 2 or 3")]
    NotABundle,
    /// It ends before its header does, or the header is longer than any honest one.
    #[error("its header does not end within {HEADER_LIMIT_BYTES} bytes")]
    Endless,
    /// It asks for something that is not known, such as objects being left out.
    #[error("it needs `{capability}`, which is not taken")]
    Capability {
        /// What it asks for.
        capability: String,
    },
    /// A line of the header means nothing.
    #[error("line {number} of its header is not understood")]
    Line {
        /// Which one, counted from 1.
        number: usize,
    },
    /// It brings other refs than the one that was asked for.
    #[error("it brings {found} instead of exactly `{expected}`")]
    Refs {
        /// What it brings.
        found: String,
        /// What was asked for.
        expected: String,
    },
}

impl BundleHeader {
    /// Reads the header at the start of a bundle. `start` may go on far into the pack.
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

    /// The commit of the one ref in it, which must have exactly this name.
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

/// The complete lines of a header, without their ends.
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

/// An id of this length, and what follows it after a space.
fn split_id(line: &[u8], digits: usize) -> Option<(ObjectId, &[u8])> {
    let (id, rest) = line.split_at_checked(digits)?;
    let id = ObjectId::from_str(from_utf8(id).ok()?).ok()?;
    match rest {
        [] => Some((id, rest)),
        [b' ', rest @ ..] => Some((id, rest)),
        _ => None,
    }
}

/// Text of others, for people: bounded, and without what steers a terminal.
fn remark(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().take(REMARK_LENGTH).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// What a harvest says it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HarvestReport {
    /// Where the task's branch is now in the agent's repository.
    pub head: ObjectId,
    /// Nested repositories that were left out.
    pub dropped: Vec<String>,
    /// What could not be read, in git's words.
    pub unreadable: Vec<String>,
    /// What else a person should know: what was put aside or could not be repaired.
    pub notes: Vec<String>,
}

/// A report of a harvest means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// It does not begin like one.
    #[error("it is no report of a harvest in a known format")]
    Format,
    /// It does not end like one.
    #[error("it is not complete")]
    Incomplete,
    /// It does not say where the branch is.
    #[error("it does not say which commit the branch is at")]
    NoHead,
    /// It has something that is not known.
    #[error("its field {number} is not understood")]
    Field {
        /// Which one, counted from 1.
        number: usize,
    },
}

impl HarvestReport {
    /// Reads `key value` fields, each ended by a NUL: `harvest 1`, `head <id>`, then any number of `dropped <path>`,
    /// `unreadable <words>` and `note <words>`, and `end`.
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
            notes.push(format!("{more} more of these are not named"));
        }
        Ok(Self { head: head.ok_or(ReportError::NoHead)?, dropped, unreadable, notes })
    }
}
