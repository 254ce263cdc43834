//! Parses additional mounts: folders and files of the host, and named volumes. Pure.
//!
//! The formats are those of the public script with the same name. Whether a source exists is checked later.

use std::path::{Path, PathBuf};

use super::values::{absolute, mapped, unusable};
use crate::failure::Failure;

/// A folder or file of the host to mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountWish {
    /// The variable that requests the mount.
    pub variable: &'static str,
    /// The path on the host.
    pub source: PathBuf,
    /// The path in the container.
    pub target: String,
    /// Whether the mount is read-only.
    pub read_only: bool,
}

/// A named volume of the engine to mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeWish {
    /// The name of the volume.
    pub volume: String,
    /// A folder in the volume. The default is the whole volume.
    pub folder: Option<String>,
    /// The path in the container.
    pub target: String,
    /// Whether the mount is read-only.
    pub read_only: bool,
}

/// Parses the mounts of folders and files.
pub(super) fn mounts<'a>(
    get: &impl Fn(&str) -> Option<&'a str>,
    base: &Path,
    home_inside: &str,
) -> Result<Vec<MountWish>, Failure> {
    let mut mounts = Vec::new();
    for (variable, read_only) in [("CODEX_MOUNT_PATHS", false), ("CODEX_MOUNT_PATHS_RO", true)] {
        for path in get(variable).unwrap_or_default().split(':').filter(|path| !path.is_empty()) {
            let source = absolute(variable, path, base)?;
            mounts.push(MountWish { variable, target: source.to_string_lossy().into_owned(), source, read_only });
        }
    }
    for (variable, read_only) in [("CODEX_MOUNT_MAPS", false), ("CODEX_MOUNT_MAPS_RO", true)] {
        for (source, target) in mapped(variable, get(variable).unwrap_or_default(), base)? {
            mounts.push(MountWish { variable, source, target, read_only });
        }
    }
    let variable = "CODEX_ARTIFACTS_DIR";
    if let Some(path) = get(variable) {
        let source = absolute(variable, path, base)?;
        // The public script mounts the folder in the home directory. Earlier versions of this program mounted it at its own path.
        let own = source.to_string_lossy().into_owned();
        for target in [format!("{home_inside}/.artifacts"), own] {
            mounts.push(MountWish { variable, source: source.clone(), target, read_only: false });
        }
    }
    Ok(mounts)
}

/// Parses named volumes: `volume[/folder]=/path[:ro]`, separated by commas.
pub(super) fn volumes<'a>(get: &impl Fn(&str) -> Option<&'a str>) -> Result<Vec<VolumeWish>, Failure> {
    let variable = "CODEX_VOLUME_MOUNTS";
    let wishes = get(variable).unwrap_or_default().split(',').filter(|wish| !wish.is_empty());
    wishes.map(|wish| volume(wish).ok_or_else(|| unusable(variable, wish, "`volume[/folder]=/path[:ro]`"))).collect()
}

fn volume(wish: &str) -> Option<VolumeWish> {
    let (source, target) = wish.split_once('=')?;
    let (target, read_only) = target.strip_suffix(":ro").map_or((target, false), |target| (target, true));
    let (volume, folder) = source.split_once('/').map_or((source, None), |(volume, folder)| (volume, Some(folder)));
    let folder = folder.filter(|folder| !folder.is_empty()).map(str::to_owned);
    (!volume.is_empty() && target.starts_with('/')).then(|| VolumeWish {
        volume: volume.to_owned(),
        folder,
        target: target.to_owned(),
        read_only,
    })
}
