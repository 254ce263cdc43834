//! Changes files in such a way that a kill or a power cut at any moment loses nothing that a record refers to.
//!
//! Functions here sync files and folders, replace files atomically, and mark the moments at which tests kill the process. This crate
//! decides nothing and knows no file formats. All functions block. Async code
//! calls them through [`blocking()`].

mod atomic;
mod blocking;
mod changed_tree;
pub mod crash;
mod free_name;
mod sync;

pub use atomic::write_atomically;
pub use blocking::blocking;
pub use changed_tree::ChangedTree;
pub use free_name::free_name;
pub use sync::{
    SyncedLength, create_folder, create_private_folder, rename, sync_file, sync_file_if_there, sync_file_system, sync_folder,
    sync_tree,
};
