//! Makes the caller the owner of files that root created in a container. Otherwise, the caller could not change or delete them.
//!
//! A short-lived container does this, because root in a container can change owners. Invariant: it follows no links, enters no
//! other file system, and also reaches files whose paths are too long for a system call.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig};
use clap::Args;
use uuid::Uuid;

use crate::connect::connect;
use crate::failure::Failure;
use crate::folder::RunFolder;
use crate::ledger::Marker;
use crate::one_shot::{one_shot, run_to_end, script_body};
use crate::run::{check_image, machine};
use crate::settings::{Caller, CodexHome, ContainerUser, Settings};
use crate::spec::{Machine, bind, bind_read_only};
use crate::{image, inside, labels, remains, settings};
use model::ErrorCode;

/// The script that changes the owner. Its arguments are the new owner, and `root` or `anyone` for the current owner.
const SCRIPT: &str = include_str!("give_back.sh");

/// Whose files to give back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// Only root's files, because the caller's folder may also contain files of other users.
    Root,
    /// All files, in a folder that only the caller and the caller's containers write to.
    Anyone,
}

/// Which files to give back, and to whom.
struct Gift<'a> {
    root: &'a Path,
    image: &'a str,
    labels: &'a BTreeMap<String, String>,
    owner: String,
    from: From,
    folders: Vec<&'a Path>,
}

/// Gives back the files that Codex created as root. Does nothing if Codex ran as the caller, or if the caller is root.
pub(crate) async fn after_run(docker: &Docker, settings: &Settings, machine: &Machine) -> Result<(), Failure> {
    if settings.user == ContainerUser::Caller || settings.caller.uid == 0 {
        return Ok(());
    }
    let mut folders: Vec<&Path> = settings.folder.iter().map(PathBuf::as_path).collect();
    match &settings.codex_home {
        Some(CodexHome::Shared { folder, .. }) => folders.push(folder),
        Some(CodexHome::Private { sessions, auth, .. }) => {
            folders.push(sessions);
            folders.extend(auth.as_deref());
        }
        Some(CodexHome::Missing { .. }) | None => {}
    }
    let owner = format!("{}:{}", settings.caller.uid, settings.caller.gid);
    let (root, image, labels) = (settings.root.as_path(), settings.image.as_str(), &settings.labels);
    give(docker, machine, Gift { root, image, labels, owner, from: From::Root, folders }).await
}

/// Gives back everything in the output folder of a run.
pub(crate) async fn outputs(docker: &Docker, machine: &Machine, folder: &RunFolder) -> Result<(), Failure> {
    let marker = Marker::read(folder.path()).map_err(|error| unusable(folder.path(), &error))?;
    let (Some(marker), Some(root)) = (marker, folder.path().parent()) else { return Ok(()) };
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let (out, owner) = (folder.path().join("out"), format!("{uid}:{gid}"));
    let (image, labels) = (marker.image.as_str(), &marker.labels);
    give(docker, machine, Gift { root, image, labels, owner, from: From::Anyone, folders: vec![&out] }).await
}

/// The arguments of `give-back`.
#[derive(Debug, Args)]
pub(crate) struct GiveBackArguments {
    /// Folder to change
    folder: PathBuf,
    /// Image of the container
    #[arg(long, env = "IMAGE_NAME", default_value = image::DEFAULT_IMAGE)]
    image: String,
    /// Label for the container; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = settings::label_argument)]
    labels: Vec<(String, String)>,
}

/// Gives back everything in a folder.
pub(crate) async fn folder(
    environment: &BTreeMap<String, String>,
    caller: &Caller,
    arguments: &GiveBackArguments,
) -> Result<(), Failure> {
    let folder = arguments.folder.as_path();
    let real = fs_err::canonicalize(folder).map_err(|error| unusable(folder, &error))?;
    if real != folder || !real.is_dir() {
        return Err(unusable(folder, &"not an absolute path to a folder, or the path contains symbolic links"));
    }
    let docker = connect(environment).await?;
    check_image(&docker, &arguments.image).await?;
    let machine = machine(&docker, environment).await?;
    let (root, owner) = (settings::state_root(environment)?, format!("{}:{}", caller.uid, caller.gid));
    let labels = arguments.labels.iter().cloned().collect();
    let gift =
        Gift { root: &root, image: &arguments.image, labels: &labels, owner, from: From::Anyone, folders: vec![real.as_path()] };
    give(&docker, &machine, gift).await
}

fn unusable(folder: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(ErrorCode::GiveBack, format!("cannot change the owner of the files in `{}`: {why}", folder.display()))
}

async fn give(docker: &Docker, machine: &Machine, gift: Gift<'_>) -> Result<(), Failure> {
    if machine.rootless {
        return Ok(());
    }
    let name = format!("codex-give-back-{}", Uuid::now_v7().simple());
    let marker = Marker::new(&name, gift.image, gift.labels.clone());
    let run = RunFolder::hold(gift.root, &marker)?;
    run.clear()?;
    run.put("script", SCRIPT.as_bytes())?;
    let mut mounts = vec![bind_read_only(&run.path().join("in"), inside::IN)];
    mounts.extend(gift.folders.iter().enumerate().map(|(n, path)| bind(path, &format!("/given/{n}"))));
    let from = match gift.from {
        From::Root => "root",
        From::Anyone => "anyone",
    };
    let words = ["/bin/sh".to_owned(), format!("{}/script", inside::IN), gift.owner, from.to_owned()];
    let body = ContainerCreateBody {
        entrypoint: Some(words.to_vec()),
        host_config: Some(HostConfig { mounts: Some(mounts), ..one_shot(machine, run.path()) }),
        labels: Some(labels::of_container(&run.path().to_string_lossy(), gift.labels)),
        ..script_body(gift.image)
    };
    let ended = run_to_end(docker, &name, body, std::future::pending()).await;
    if remains::is_gone(docker, &run).await {
        remains::remove_files(&run);
    }
    match ended? {
        0 => Ok(()),
        code => Err(Failure::new(
            ErrorCode::GiveBack,
            format!("could not change the owner of files: the container exited with code {code}"),
        )),
    }
}

#[cfg(test)]
mod tests;
