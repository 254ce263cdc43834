//! How the environment of a repository's runs is set up: tools, dependencies, caches and services.
//!
//! * [`Description`]: what the repository, or the owner of the server, asks for. Parsing text is up to the caller.
//! * [`paths`](CachePath): folders in a container, parsed once.
//! * [`SnapshotKey`]: names the result of a setup. Equal keys mean equal results.
//! * [`Snapshot`]: the result of a setup.
//! * [`TakenEnvironment`]: what a task takes from the environment of its repository.
//! * [`BranchTrust`]: which branches decide about the environment of tasks.
//! * [`SetupState`]: the setup of a repository as its record contains it, and what may happen next.

mod description;
mod digest;
mod image;
mod key;
mod paths;
mod retention;
mod snapshot;
mod state;
mod taken;
mod trust;

pub use description::{
    Cache, Description, DescriptionHash, DescriptionText, FilePhase, FileSource, Keep, Maintain, Script, Service, ServiceName,
    Setup, ToolName, ToolVersion,
};
pub use image::{Build, ImageChoice, copies_files};
pub use key::{ImageInputs, KeyFile, KeyInputs, SetupEdition, SnapshotKey};
pub use paths::{CachePath, FilePath, InvalidPath, KeepPath, VolumePath};
pub use retention::needed_snapshots;
pub use snapshot::{FolderContent, LayerTarget, SetupScript, Snapshot, SnapshotFolder};
pub use state::{SetupAttempt, SetupGoal, SetupOutcome, SetupPhase, SetupSettings, SetupStart, SetupState};
pub use taken::{TakenEnvironment, TakenFiles};
pub use trust::{BranchTrust, SetupBasis, TrustedPattern, trusted_pattern};
