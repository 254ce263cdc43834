//! Git operations: mirrors, worktrees, snapshots of an agent's changes, and diffs.
//!
//! This crate builds the argument lists; `process` starts the programs. Everything in a worktree may be hostile. Therefore git
//! always gets an explicit, trusted `GIT_DIR`, never follows a worktree's own `.git`, runs no hooks, enters no nested
//! repository, and runs no filter except git-lfs. Invariant: this crate never makes a commit unreachable that a task branch
//! ever had.

// The git program: limits, settings, and how it is called.
mod budget;
mod lfs_home;
mod program;
mod progress;
mod settings;

// Files: those of git about a worktree, and those that an agent can replace.
mod admin;
mod advice;
mod archive;
mod partial;
mod plain_file;
mod remove_tree;

// A mirror: cloning, fetching, and what it contains.
mod clone;
mod contents;
mod fetch;
mod fetch_error;
mod gate;
mod history;
mod large_files;
mod locks;
mod mirror;
mod refs;
mod tree_objects;

// The objects of a mirror: how large they are, and which ones are kept.
mod needed;
mod objects;
mod repack;
mod unreachable;

// Worktrees: how they are prepared, created, removed, and repaired after a power cut.
mod blank;
mod checkout;
mod prepared;
mod rebuild;
mod retire;
mod submodules;
mod torn;
mod worktree;
mod worktree_error;

// Commits of what an agent left in a worktree.
mod commit_files;
mod decision;
mod entries;
mod inventory;
mod makers;
mod message;
mod sign_error;
mod signing;
mod snapshot;
mod snapshot_error;
mod sparse;
mod special;
mod staging;
mod trusted_index;
mod weigh;

// The agent repository, which a container sees instead of the mirror, and the import of its commits.
mod import;
mod import_error;
mod incoming;
mod lfs;
mod secrets;
mod twin;

// Diffs between commits.
mod changed;
mod compare;
mod diff;
mod diff_tree;
mod on_disk;

// Branches: updates to their base, and pushes.
mod changes;
mod commit_object;
mod land;
mod outgoing;
mod push;
mod replay;

pub use changed::{ChangedFile, Content, Listing};
pub use clone::{CloneError, CloneRequest, Cloned};
pub use commit_files::CommitFilesRequest;
pub use compare::{Binary, Reading};
pub use contents::Contents;
pub use decision::{Decision, DecisionError};
pub use diff::{DiffStat, FileStat, Standing, Whitespace};
pub use diff_tree::DiffError;
pub use fetch_error::FetchError;
pub use gate::{FetchGate, FetchTicket, LastFetch, WriterGuard};
pub use history::History;
pub use import::ImportRequest;
pub use import_error::ImportError;
pub use land::named;
pub use land::{LandError, Landing};
pub use locks::{RecoverMirrorError, Recovered};
pub use makers::{Makers, Signature};
pub use message::{CommitMessage, RunTrailers};
pub use mirror::{BranchMissing, Mirror, OpenMirrorError, VerifyBranchError};
pub use needed::Needs;
pub use objects::CountObjectsError;
pub use on_disk::note_other_content;
pub use outgoing::OwnCommits;
pub use prepared::{CommitSize, Pool, Prepared, Start};
pub use program::{DiscoverGitError, Git, GitVersion};
pub use progress::{OnProgress, Progress, ProgressPhase};
pub use push::{PushError, PushRequest};
pub use remove_tree::{RemoveTreeError, remove_tree};
pub use repack::{CollectNeeds, Pruning, RepackError, RepackRequest, Repacked, Unpacked};
pub use replay::{ReplayError, ReplayRequest, Replayed};
pub use retire::{ADMINISTRATION, Retired};
pub use sign_error::SignError;
pub use snapshot::{Snapshot, SnapshotRequest};
pub use snapshot_error::SnapshotError;
pub use torn::{Compared, Work};
pub use twin::BORROWED;
pub use twin::{TwinError, TwinSpec};
pub use unreachable::Unreachable;
pub use worktree::{RemovedWorktree, Worktree, WorktreeSpec};
pub use worktree_error::WorktreeError;
