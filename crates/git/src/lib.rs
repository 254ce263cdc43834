//! Git operations: mirrors, worktrees, snapshots of an agent's changes, and diffs.
//!
//! This crate builds the argument lists; `process` starts the programs. Everything in a worktree may be hostile. Therefore git
//! always gets an explicit, trusted `GIT_DIR`, never follows a worktree's own `.git`, runs no hooks, enters no nested
//! repository, and runs no filter except git-lfs. Invariant: this crate never makes a commit unreachable that a task branch
//! ever had.

mod admin;
mod blank;
mod budget;
mod changed;
mod changes;
mod clone;
mod commit_object;
mod compare;
mod diff;
mod entries;
mod fetch;
mod fetch_error;
mod gate;
mod import;
mod import_error;
mod incoming;
mod land;
mod large_files;
mod lfs;
mod lfs_home;
mod locks;
mod message;
mod mirror;
mod needed;
mod objects;
mod on_disk;
mod outgoing;
mod plain_file;
mod program;
mod progress;
mod push;
mod rebuild;
mod refs;
mod remove_tree;
mod repack;
mod replay;
mod retire;
mod settings;
mod snapshot;
mod snapshot_error;
mod special;
mod staging;
mod submodules;
mod torn;
mod trusted_index;
mod twin;
mod unreachable;
mod weigh;
mod worktree;

pub use changed::{ChangedFile, Content, Listing};
pub use clone::{CloneError, CloneRequest, Cloned};
pub use compare::{Binary, Reading};
pub use diff::{DiffError, DiffStat, FileStat, Standing, Whitespace};
pub use fetch_error::FetchError;
pub use gate::{FetchGate, FetchTicket, LastFetch, WriterGuard};
pub use import::ImportRequest;
pub use import_error::ImportError;
pub use land::named;
pub use land::{LandError, Landing};
pub use locks::{RecoverMirrorError, Recovered};
pub use message::{CommitMessage, RunTrailers};
pub use mirror::{BranchMissing, Mirror, OpenMirrorError, VerifyBranchError};
pub use needed::Needs;
pub use objects::CountObjectsError;
pub use on_disk::note_other_content;
pub use outgoing::OwnCommits;
pub use program::{DiscoverGitError, Git, GitVersion};
pub use progress::{OnProgress, Progress, ProgressPhase};
pub use push::{PushError, PushRequest};
pub use remove_tree::{RemoveTreeError, remove_tree};
pub use repack::{CollectNeeds, Pruning, RepackError, RepackRequest, Repacked, Unpacked};
pub use replay::{ReplayError, ReplayRequest, Replayed};
pub use retire::{ADMINISTRATION, Retired};
pub use snapshot::{Signature, Snapshot, SnapshotRequest};
pub use snapshot_error::SnapshotError;
pub use torn::{Compared, Work};
pub use twin::BORROWED;
pub use twin::{TwinError, TwinSpec};
pub use unreachable::Unreachable;
pub use worktree::{RemovedWorktree, Worktree, WorktreeError, WorktreeSpec};
