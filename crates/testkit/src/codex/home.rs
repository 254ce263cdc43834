//! A `CODEX_HOME` for one test: a configuration for a scripted model, and nothing of this machine.
//!
//! It is in the build folder and is deleted when dropped, with everything that Codex stores about threads.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use scripted_model::CodexConfig;
use tempfile::TempDir;

use crate::npm::target_dir;

/// A temporary `CODEX_HOME`.
#[derive(Debug)]
pub struct CodexHome(TempDir);

impl CodexHome {
    /// Creates a home for the model at `url`, as returned by [`scripted_model::ScriptedModel::url`]. Codex retries as usual.
    pub fn for_model(url: &str) -> Self {
        Self::with_config(&CodexConfig::new(url))
    }

    /// Creates a home with this configuration.
    pub fn with_config(config: &CodexConfig) -> Self {
        // Not in the system's temporary folder, where Codex behaves slightly differently and prints a warning.
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

    /// Returns the stored threads of this home, one file each.
    pub fn rollouts(&self) -> Vec<PathBuf> {
        files_below(&self.path().join("sessions"))
    }

    /// Returns the complete environment of a Codex with this home: this variable, `HOME` and a `PATH`.
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
