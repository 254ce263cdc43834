//! Decides which containers are ours: each has a folder with its name in the state folder, and a marker in that folder.
//!
//! The marker is written before the container is created, and no container can see it. Invariant: only markers and the mounts
//! that the container engine reports decide what is stopped or deleted. Labels do not: a container inherits the labels of its
//! image.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bollard::models::{ContainerInspectResponse, MountType};
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::inside;

/// The name of the marker in the folder of a run.
const FILE: &str = "run.json";

/// The maximum number of bytes that are read from a marker. Real markers are shorter.
const LIMIT: u64 = 64 * 1024;

/// The record of one container, written before the container is created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
    /// The name of the container and of the folder.
    pub(crate) container: String,
    /// The image of the container.
    pub(crate) image: String,
    /// The caller's labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// The name of the image in which the changes to the root file system are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) keep_as: Option<String>,
}

impl Marker {
    /// Returns the record of a container that leaves nothing to keep.
    pub(crate) fn new(container: &str, image: &str, labels: BTreeMap<String, String>) -> Self {
        Self { container: container.to_owned(), image: image.to_owned(), labels, keep_as: None }
    }

    /// Writes the marker to the folder of a run, atomically.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer(&mut file, self)?;
        // The engine's record of the container survives a power failure, so the marker must too.
        file.as_file().sync_data()?;
        file.persist(folder.join(FILE)).map(drop).map_err(|error| error.error)
    }

    /// Reads the marker in a folder. A file of another user or with another container's name does not count.
    pub(crate) fn read(folder: &Path) -> io::Result<Option<Self>> {
        let Some(file) = open_plain(&folder.join(FILE))? else { return Ok(None) };
        if file.metadata()?.uid() != rustix::process::geteuid().as_raw() {
            return Ok(None);
        }
        let mut text = Vec::new();
        file.take(LIMIT).read_to_end(&mut text)?;
        let marker = serde_json::from_slice::<Self>(&text).ok();
        Ok(marker.filter(|marker| folder.file_name().is_some_and(|name| name == marker.container.as_str())))
    }

    /// Returns whether the container has all of these labels.
    pub(crate) fn has(&self, wanted: &BTreeMap<String, String>) -> bool {
        wanted.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }
}

/// Returns whether a folder contains a marker, even one that another user wrote.
pub(crate) fn has_any(folder: &Path) -> bool {
    fs_err::symlink_metadata(folder.join(FILE)).is_ok()
}

/// Returns the folders with a marker in a state folder, sorted by path. Links are not followed, and other folders are ignored.
pub(crate) fn marked(root: &Path) -> io::Result<Vec<(PathBuf, Marker)>> {
    let entries = match real(root)? {
        Some(root) => fs_err::read_dir(root)?.collect::<io::Result<Vec<_>>>()?,
        None => vec![],
    };
    let mut found = Vec::new();
    for entry in entries {
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let path = entry.path();
        match Marker::read(&path) {
            Ok(marker) => found.extend(marker.map(|marker| (path, marker))),
            Err(error) => crate::say(&format!("could not read the folder of a run: {error}")),
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

/// Resolves the links in the path of a state folder. Returns `None` if it does not exist.
pub(crate) fn real(root: &Path) -> io::Result<Option<PathBuf>> {
    match fs_err::canonicalize(root) {
        Ok(real) => Ok(Some(real)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the run folder that a container mounts. Images cannot declare bind mounts, so codex-docker created the container.
pub(crate) fn folder_of(container: &ContainerInspectResponse) -> Option<PathBuf> {
    let asked = container.host_config.iter().flat_map(|config| config.mounts.iter().flatten());
    let asked = asked.filter(|mount| mount.typ == Some(MountType::BIND) && mount.target.as_deref() == Some(inside::IN));
    let made = container.mounts.iter().flatten();
    let made = made.filter(|mount| mount.typ.as_deref() == Some("bind") && mount.destination.as_deref() == Some(inside::IN));
    let source =
        asked.filter_map(|mount| mount.source.as_deref()).chain(made.filter_map(|mount| mount.source.as_deref())).next()?;
    let source = Path::new(source);
    (source.file_name()? == "in").then(|| source.parent().map(Path::to_owned)).flatten()
}

/// Opens a regular file, without following links or waiting for a pipe. Returns `None` if it does not exist or is something else.
pub(crate) fn open_plain(path: &Path) -> io::Result<Option<File>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    match fs_err::File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(Some(file.into_parts().0).filter(|file| file.metadata().is_ok_and(|found| found.is_file()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // The path is a link or a socket.
        Err(error) if [Errno::LOOP, Errno::NXIO].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use bollard::models::{HostConfig, Mount, MountPoint};

    use super::*;

    fn marker(name: &str) -> Marker {
        Marker::new(name, "i:1", BTreeMap::from([("home".to_owned(), "/h".to_owned())]))
    }

    fn names(root: &Path) -> Vec<String> {
        marked(root).expect("readable").into_iter().map(|(_, marker)| marker.container).collect()
    }

    #[test]
    fn only_a_folder_with_a_marker_of_its_own_name_is_a_runs() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("state");
        assert!(names(&root).is_empty(), "the state folder does not exist yet");
        for name in ["run", "work", "renamed", "fifo", "linked-marker", "broken"] {
            fs_err::create_dir_all(root.join(name)).expect("made");
        }
        marker("run").write(&root.join("run")).expect("written");
        marker("another").write(&root.join("renamed")).expect("written");
        fs_err::write(root.join("broken").join(FILE), "{").expect("written");
        symlink(root.join("run").join(FILE), root.join("linked-marker").join(FILE)).expect("linked");
        rustix::fs::mkfifoat(rustix::fs::CWD, root.join("fifo").join(FILE), rustix::fs::Mode::RWXU).expect("made");
        assert_eq!(names(&root), ["run"]);
    }

    #[test]
    fn a_folder_that_was_replaced_by_a_link_is_not_a_runs() {
        let folder = tempfile::tempdir().expect("a folder");
        let (root, elsewhere) = (folder.path().join("state"), folder.path().join("elsewhere/run"));
        for path in [&root, &elsewhere] {
            fs_err::create_dir_all(path).expect("made");
        }
        marker("run").write(&elsewhere).expect("written");
        symlink(&elsewhere, root.join("run")).expect("linked");
        assert!(names(&root).is_empty());
        let linked = folder.path().join("linked-state");
        symlink(folder.path().join("elsewhere"), &linked).expect("linked");
        assert_eq!(names(&linked), ["run"], "the state folder itself may be a link");
    }

    #[test]
    fn a_marker_of_another_user_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run");
        fs_err::create_dir(&path).expect("made");
        marker("run").write(&path).expect("written");
        assert_eq!(Marker::read(&path).expect("readable"), Some(marker("run")));
        if rustix::process::geteuid().is_root() {
            rustix::fs::chown(path.join(FILE), Some(rustix::fs::Uid::from_raw(12345)), None).expect("root can change the owner");
            assert_eq!(Marker::read(&path).expect("readable"), None);
        }
    }

    #[test]
    fn labels_narrow_what_is_found() {
        let with = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        assert!(marker("run").has(&BTreeMap::new()) && marker("run").has(&with("home", "/h")));
        assert!(!marker("run").has(&with("home", "/other")) && !marker("run").has(&with("task", "t")));
    }

    #[test]
    fn a_volume_that_an_image_declares_is_not_a_mount_of_ours() {
        let point = |typ: &str, source: &str| MountPoint {
            typ: Some(typ.to_owned()),
            source: Some(source.to_owned()),
            destination: Some(inside::IN.to_owned()),
            ..MountPoint::default()
        };
        let with = |point| ContainerInspectResponse { mounts: Some(vec![point]), ..ContainerInspectResponse::default() };
        assert_eq!(folder_of(&with(point("volume", "/h/state/run/in"))), None);
        assert_eq!(folder_of(&with(point("bind", "/h/state/run"))), None);
        assert_eq!(folder_of(&with(point("bind", "/h/state/run/in"))), Some("/h/state/run".into()));
        let mount = Mount {
            typ: Some(MountType::BIND),
            source: Some("/h/state/run/in".to_owned()),
            target: Some(inside::IN.to_owned()),
            ..Mount::default()
        };
        let config = HostConfig { mounts: Some(vec![mount]), ..HostConfig::default() };
        let asked = ContainerInspectResponse { host_config: Some(config), ..ContainerInspectResponse::default() };
        assert_eq!(folder_of(&asked), Some("/h/state/run".into()));
    }
}
