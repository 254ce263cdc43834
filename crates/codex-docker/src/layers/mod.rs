//! The layers of a run: folders in the container that a task keeps between its runs.
//!
//! A layer with a read-only lower folder is an overlay, which the container engine mounts as an anonymous volume. So the host needs
//! no root, and removing the container removes the volume. Where the engine cannot mount it, the lower folder is copied. A layer
//! without a lower folder is a folder of the host, into which the engine copies the content of the image.
//!
//! Invariant: a layer is only mounted at a folder. In the worktree, a link could lead out of it.

mod mount_point;
mod probe;

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType, MountVolumeOptions, MountVolumeOptionsDriverConfig};
use model::ErrorCode;
use uuid::Uuid;

pub(crate) use self::mount_point::drop_unusable;
pub(crate) use self::probe::{LayerSupport, probe};
use crate::failure::Failure;
use crate::folder::{RunFolder, private_folder, write_durably};
use crate::ledger::Marker;
use crate::one_shot::{one_shot, run_to_end, say_what_it_said, script_body};
use crate::seccomp::EngineKind;
use crate::settings::{ContainerUser, LayerWish, Settings};
use crate::spec::{Machine, bind, bind_read_only};
use crate::{inside, labels, remains};

/// The script that copies a lower folder.
const COPY_SCRIPT: &str = include_str!("copy.sh");

/// Below the upper folder: the layer's files.
pub(crate) const DATA: &str = "data";

/// Below the upper folder: the work folder of the overlay.
const WORK: &str = "work";

/// Below the upper folder: a file that exists if the layer is a copy of its lower folder. It says whether the copy is complete.
const COPY: &str = "copy";

/// The content of [`COPY`] after the copy is complete.
const COMPLETE: &str = "complete\n";

/// How the container engine mounts layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LayerMethod {
    /// As anonymous volumes.
    Volumes,
    /// As folders of the host, after copying the lower folders.
    Folders,
}

impl LayerMethod {
    /// Returns the best method for the engine. Podman ignores the options of anonymous volumes, without an error.
    pub(crate) fn of(machine: &Machine) -> Self {
        match machine.kind {
            EngineKind::Docker => Self::Volumes,
            EngineKind::Podman => Self::Folders,
        }
    }
}

/// A layer that is ready to be mounted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layer {
    /// The path in the container.
    pub(crate) target: String,
    /// The mount.
    pub(crate) mount: Mount,
}

/// What to do about layers after the container engine refused to create or start a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Mount the layers as folders.
    UseFolders,
    /// Run without these layers, given by their targets.
    LeaveOut(Vec<String>),
    /// The layers are not the cause.
    None,
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(ErrorCode::LayerFailed, format!("cannot use the layer `{}`: {error}", path.display()))
        .hint("make sure that the folder is writable and has free space")
}

/// Creates the folders of all layers, copies lower folders if necessary, and returns the layers in the order of their mounts.
pub(crate) async fn prepare(
    docker: &Docker,
    settings: &Settings,
    machine: &Machine,
    method: LayerMethod,
) -> Result<Vec<Layer>, Failure> {
    let mut layers = Vec::new();
    for wish in &settings.layers {
        let data = wish.upper.join(DATA);
        let mount = match (&wish.lower, method) {
            (Some(lower), _) if wish.upper.join(COPY).exists() => {
                copy(docker, settings, machine, wish, lower).await?;
                bind(&data, &wish.target)
            }
            (Some(lower), LayerMethod::Volumes) => {
                create_folders(wish, lower_mode(lower)?).map_err(|error| unusable(&wish.upper, &error))?;
                overlay(lower, &wish.upper, &wish.target, machine, &settings.state)
            }
            (Some(lower), LayerMethod::Folders) => {
                set_aside(wish)?;
                copy(docker, settings, machine, wish, lower).await?;
                bind(&data, &wish.target)
            }
            (None, method) => {
                create_folders(wish, 0o755).map_err(|error| unusable(&wish.upper, &error))?;
                match method {
                    LayerMethod::Volumes => folder_volume(&data, &wish.target, &settings.state),
                    LayerMethod::Folders => bind(&data, &wish.target),
                }
            }
        };
        layers.push(Layer { target: wish.target.clone(), mount });
    }
    Ok(layers)
}

/// Returns the text for the entry script: the layers that should belong to root, and their current owner. Package managers do not
/// use a cache that belongs to another user.
pub(crate) fn owners(settings: &Settings, machine: &Machine) -> Option<String> {
    let needs = settings.user == ContainerUser::Root && settings.caller.uid != 0 && !machine.rootless;
    let lines = settings.layers.iter().map(|wish| format!("{} {}\n", settings.caller.uid, wish.target));
    (needs && !settings.layers.is_empty()).then(|| lines.collect())
}

fn lower_mode(lower: &Path) -> Result<u32, Failure> {
    let found = fs_err::symlink_metadata(lower).map_err(|error| unusable(lower, &error))?;
    if found.is_dir() { Ok(found.mode() & 0o777) } else { Err(unusable(lower, &io::Error::other("not a folder"))) }
}

/// Creates the folders of a layer. A new data folder gets this mode.
fn create_folders(wish: &LayerWish, mode: u32) -> io::Result<()> {
    private_folder(&wish.upper)?;
    let data = wish.upper.join(DATA);
    match fs_err::create_dir(&data) {
        Ok(()) => fs_err::set_permissions(&data, std::fs::Permissions::from_mode(mode))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    if wish.lower.is_some() { private_folder(&wish.upper.join(WORK)) } else { Ok(()) }
}

/// Moves the files of an overlay aside, because without the overlay they are incomplete.
fn set_aside(wish: &LayerWish) -> Result<(), Failure> {
    let failed = |error: io::Error| unusable(&wish.upper, &error);
    let data = wish.upper.join(DATA);
    let is_used = match fs_err::read_dir(&data) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        // Root in a container made the folder private, so it is in use.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => true,
        Err(error) => return Err(failed(error)),
    };
    if is_used {
        let aside = wish.upper.join(format!("{DATA}.aside-{}", Uuid::now_v7().simple()));
        fs_err::rename(&data, &aside).map_err(failed)?;
        crate::say(&format!(
            "warning: the container engine can no longer mount overlays; what earlier runs changed in `{}` was moved to `{}`",
            wish.target,
            aside.display()
        ));
    }
    Ok(())
}

/// Copies a lower folder, unless a complete copy exists. A container does this, because the files belong to several users.
async fn copy(docker: &Docker, settings: &Settings, machine: &Machine, wish: &LayerWish, lower: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| unusable(&wish.upper, &error);
    let marker = wish.upper.join(COPY);
    if fs_err::read_to_string(&marker).is_ok_and(|text| text == COMPLETE) {
        return Ok(());
    }
    lower_mode(lower)?;
    private_folder(&wish.upper).map_err(failed)?;
    write_durably(&marker, b"started\n").map_err(failed)?;
    crate::say(&format!("copying the files of the snapshot to `{}`", wish.target));
    let name = format!("codex-layer-{}", Uuid::now_v7().simple());
    let labels = settings.labels.clone();
    let folder = RunFolder::hold(&settings.root, &Marker::new(&name, &settings.image, labels))?;
    folder.clear()?;
    folder.put("script", COPY_SCRIPT.as_bytes())?;
    let mounts = vec![
        bind_read_only(&folder.path().join("in"), inside::IN),
        bind(&folder.path().join("out"), inside::OUT),
        bind_read_only(lower, "/lower"),
        bind(&wish.upper, "/upper"),
    ];
    let body = ContainerCreateBody {
        host_config: Some(HostConfig { mounts: Some(mounts), ..one_shot(machine, folder.path()) }),
        labels: Some(labels::of_container(&folder.path().to_string_lossy(), &settings.labels)),
        ..script_body(&settings.image)
    };
    let ended = run_to_end(docker, &name, body, std::future::pending()).await;
    say_what_it_said(&folder.path().join("out"));
    if remains::is_gone(docker, &folder).await {
        remains::remove_files(&folder);
    }
    match ended? {
        0 => write_durably(&marker, COMPLETE.as_bytes()).map_err(failed),
        code => Err(failed(io::Error::other(format!("the container that copies its files exited with code {code}")))),
    }
}

/// What becomes of the image's files at the mount point of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ImageContent {
    /// The engine copies them into a volume that is empty.
    Copied,
    /// They cannot be seen.
    Hidden,
}

/// Returns the mount of an overlay.
fn overlay(lower: &Path, upper: &Path, target: &str, machine: &Machine, run: &Path) -> Mount {
    let escaped = |path: PathBuf| {
        let mut text = String::new();
        for character in path.to_string_lossy().chars() {
            if matches!(character, '\\' | ',' | ':') {
                text.push('\\');
            }
            text.push(character);
        }
        text
    };
    let folders = [("lowerdir", lower.to_owned()), ("upperdir", upper.join(DATA)), ("workdir", upper.join(WORK))];
    let mut options: Vec<String> = folders.map(|(name, path)| format!("{name}={}", escaped(path))).to_vec();
    if machine.rootless {
        // Without root privileges, overlays cannot use attributes of the system.
        options.push("userxattr".to_owned());
    }
    local_volume(
        target,
        [("type", "overlay".to_owned()), ("device", "overlay".to_owned()), ("o", options.join(","))],
        ImageContent::Hidden,
        run,
    )
}

/// Returns the mount of a folder as a volume. If the folder is empty, the engine copies the content of the image into it.
fn folder_volume(data: &Path, target: &str, run: &Path) -> Mount {
    let device = data.to_string_lossy().into_owned();
    local_volume(target, [("type", "none".to_owned()), ("o", "bind".to_owned()), ("device", device)], ImageContent::Copied, run)
}

/// Returns the mount of an anonymous volume with these options, for the run with this folder.
fn local_volume(target: &str, options: [(&str, String); 3], content: ImageContent, run: &Path) -> Mount {
    let options: HashMap<String, String> = options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let driver = MountVolumeOptionsDriverConfig { name: Some("local".to_owned()), options: Some(options) };
    Mount {
        typ: Some(MountType::VOLUME),
        target: Some(target.to_owned()),
        read_only: Some(false),
        volume_options: Some(MountVolumeOptions {
            no_copy: Some(content == ImageContent::Hidden),
            driver_config: Some(driver),
            labels: Some(labels::of_volume(run)),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    }
}

/// Decides what to do about layers after the engine refused to create or start a container, by the engine's message.
pub(crate) fn remedy(layers: &[Layer], message: &str) -> Remedy {
    let message = message.to_lowercase();
    if layers.is_empty() || !["mount", "volume", "not a directory"].iter().any(|word| message.contains(word)) {
        return Remedy::None;
    }
    // In an image that an earlier run changed, something else than a folder can be at the path of a layer, or above it.
    if message.contains("not a directory") || message.contains("mounting") && message.contains("no such file") {
        let named = layers.iter().map(|layer| layer.target.clone()).filter(|target| message.contains(&target.to_lowercase()));
        let named: Vec<String> = named.collect();
        let all = || layers.iter().map(|layer| layer.target.clone()).collect();
        return Remedy::LeaveOut(if named.is_empty() { all() } else { named });
    }
    let is_volume = |layer: &Layer| layer.mount.typ == Some(MountType::VOLUME);
    if layers.iter().any(is_volume) { Remedy::UseFolders } else { Remedy::None }
}

#[cfg(test)]
mod tests;
