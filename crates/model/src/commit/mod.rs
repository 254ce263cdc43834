//! What a run's commit contains: which new files belong to it, which are omitted, and which are held until somebody decides.
//!
//! The rules are written only here. The host applies them to a worktree that it commits itself, and to the list of files that the
//! export container reports. Invariant: no file is omitted silently, because each [`Selection`] lists everything that it omits.

mod generated;
mod inventory;
mod path_text;
mod select;
mod settings;

pub use generated::{
    COMPILED_FILE_PATTERN, GeneratedKind, MARKER_NAMES, MARKER_START_BYTES, STORED_FILE_PATTERN, folder_of_compiled,
    self_and_above,
};
pub use inventory::{FileState, FoundFile, Inventory, InventoryError, LIMIT_BYTES as INVENTORY_LIMIT_BYTES, Marker};
pub use path_text::PathText;
pub use select::{Choices, HeldFiles, Limits, OmissionReason, OmittedFiles, Selection, TooManyFiles, select};
pub use settings::{CommitSettings, EditCommits, Identity, SETTINGS, SigningKey};
