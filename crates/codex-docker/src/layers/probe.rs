//! Finds out whether the container engine can mount layers in a folder, with a real mount in a short-lived container.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, Mount};
use model::container::LayerFallback;
use serde::Serialize;
use uuid::Uuid;

use super::{DATA, LayerMethod, WORK, overlay};
use crate::failure::Failure;
use crate::folder::{RunFolder, private_folder};
use crate::ledger::Marker;
use crate::one_shot::{one_shot, run_to_end, script_body};
use crate::spec::{Machine, bind, bind_read_only};
use crate::{inside, labels, remains};

/// The script of the container: it reads a file of the lower folder, then changes, creates and deletes files.
const SCRIPT: &str = "set -e\n\
    [ \"$(cat /layer/changed)\" = lower ]\n\
    echo upper > /layer/changed\n\
    echo upper > /layer/new\n\
    rm /layer/deleted\n\
    rm -r /layer/folder\n\
    mkdir /layer/folder\n\
    [ -z \"$(ls /layer/folder)\" ]\n";

/// Whether layers work in a folder, as `check --json` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LayerSupport {
    /// The folder.
    pub(crate) folder: PathBuf,
    /// Whether the container engine can mount overlays in the folder.
    pub(crate) overlay: bool,
    /// Why it cannot.
    pub(crate) reason: Option<String>,
    /// What a run does instead of mounting an overlay.
    pub(crate) fallback: LayerFallback,
}

/// Mounts an overlay in the folder, uses it, and removes everything again.
pub(crate) async fn probe(docker: &Docker, machine: &Machine, root: &Path, image: &str, folder: &Path) -> LayerSupport {
    let mut support = LayerSupport { folder: folder.to_owned(), overlay: false, reason: None, fallback: LayerFallback::Copy };
    let place = match tempfile::Builder::new().prefix(".layers-").tempdir_in(folder) {
        Ok(place) => place,
        Err(error) => {
            support.reason = Some(format!("cannot write to `{}`: {error}", folder.display()));
            return support;
        }
    };
    if can_reflink(place.path()) {
        support.fallback = LayerFallback::Reflink;
    }
    match mount(docker, machine, root, image, place.path()).await {
        Ok(()) => support.overlay = true,
        Err(failure) => support.reason = Some(failure.message),
    }
    // The kernel uses a folder of the overlay that only root can empty.
    if fs_err::remove_dir_all(place.path()).is_err() {
        let mounts = vec![bind(place.path(), "/place")];
        if let Err(failure) = run_script(docker, machine, root, image, "rm -rf /place/*", mounts).await {
            crate::say(&failure.to_string());
        }
    }
    match place.close() {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            crate::say(&format!("could not remove a temporary folder: {error}"));
        }
        Ok(()) | Err(_) => {}
    }
    support
}

/// Returns whether two files in the folder can share their blocks.
fn can_reflink(folder: &Path) -> bool {
    let clone = || -> io::Result<()> {
        let [from, to] = ["from", "to"].map(|name| folder.join(name));
        fs_err::write(&from, "x")?;
        rustix::fs::ioctl_ficlone(fs_err::File::create(&to)?, fs_err::File::open(&from)?)?;
        Ok(())
    };
    clone().is_ok()
}

async fn mount(docker: &Docker, machine: &Machine, root: &Path, image: &str, place: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| super::unusable(place, &error);
    if LayerMethod::of(machine) == LayerMethod::Folders {
        return Err(failed(io::Error::other("Podman ignores the options of anonymous volumes")));
    }
    let (lower, upper) = (place.join("lower"), place.join("upper"));
    for path in [lower.join("folder"), upper.join(DATA), upper.join(WORK)] {
        private_folder(&path).map_err(failed)?;
    }
    for name in ["changed", "deleted", "folder/file"] {
        fs_err::write(lower.join(name), "lower\n").map_err(failed)?;
    }
    let code = run_script(docker, machine, root, image, SCRIPT, vec![overlay(&lower, &upper, "/layer", machine, root)]).await?;
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let is_unchanged = ["changed", "deleted", "folder/file"].iter().all(|name| read(lower.join(name)) == "lower\n");
    let is_written = ["changed", "new"].iter().all(|name| read(upper.join(DATA).join(name)) == "upper\n");
    match (code, is_unchanged, is_written) {
        (0, true, true) => Ok(()),
        (0, ..) => Err(failed(io::Error::other("the container engine mounted something other than an overlay"))),
        (code, ..) => Err(failed(io::Error::other(format!("the overlay cannot be used (exit code {code})")))),
    }
}

/// Runs a script in a short-lived container with these mounts, and returns its exit code.
async fn run_script(
    docker: &Docker,
    machine: &Machine,
    root: &Path,
    image: &str,
    script: &str,
    mounts: Vec<Mount>,
) -> Result<u8, Failure> {
    let name = format!("codex-probe-{}", Uuid::now_v7().simple());
    let run = RunFolder::hold(root, &Marker::new(&name, image, BTreeMap::new()))?;
    run.clear()?;
    run.put("script", script.as_bytes())?;
    let own = [bind_read_only(&run.path().join("in"), inside::IN), bind(&run.path().join("out"), inside::OUT)];
    let body = ContainerCreateBody {
        host_config: Some(HostConfig { mounts: Some(own.into_iter().chain(mounts).collect()), ..one_shot(machine, run.path()) }),
        labels: Some(labels::of_container(&run.path().to_string_lossy(), &BTreeMap::new())),
        ..script_body(image)
    };
    let ended = run_to_end(docker, &name, body, std::future::pending()).await;
    if remains::is_gone(docker, &run).await {
        remains::remove_files(&run);
    }
    ended
}
