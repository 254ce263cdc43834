//! A `CODEX_HOME` for one test, with a configuration for a scripted model and no settings of this machine.
//!
//! The folder is in the build folder. It is deleted when its value is dropped, with everything that Codex stores about threads.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use scripted_model::CodexConfig;
use tempfile::TempDir;

use crate::npm::target_dir;

/// A temporary `CODEX_HOME`.
#[derive(Debug)]
pub struct CodexHome(TempDir);

impl CodexHome {
    /// Creates a home for the model at `url`, as returned by [`scripted_model::ScriptedModel::url`]. Codex retries as often as usual.
    pub fn for_model(url: &str) -> Self {
        Self::with_config(&CodexConfig::new(url))
    }

    /// Creates a home with this configuration.
    pub fn with_config(config: &CodexConfig) -> Self {
        // Codex behaves slightly differently in the system's temporary folder, and prints a warning.
        let homes = target_dir().join("tmp");
        fs_err::create_dir_all(&homes).expect("the build's folder can be written");
        let home = tempfile::Builder::new().prefix("codex-home-").tempdir_in(homes).expect("a temporary folder");
        fs_err::write(home.path().join("config.toml"), config.to_toml()).expect("a new folder can be written");
        Self(home)
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Returns the files of all stored threads of this home, one file for each thread.
    pub fn rollouts(&self) -> Vec<PathBuf> {
        files_below(&self.path().join("sessions"))
    }

    /// Returns the complete environment of a Codex with this home: `CODEX_HOME`, `HOME` and `PATH`.
    pub fn environment(&self) -> [(&'static str, OsString); 3] {
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        [("CODEX_HOME", self.path().into()), ("HOME", self.path().into()), ("PATH", path)]
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.expect("a folder of Codex can be read").path())
        .flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] })
        .collect()
}
