//! Builds a repository's own image from its Dockerfile, which can copy files of the default branch.
//!
//! The files are those of the remote's last fetched commit, never those of a task. They are in a file without a name, which disappears
//! with this process. A Dockerfile that copies nothing gets no files.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use durable::blocking;
use git::Mirror;
use model::ErrorCode;
use model::ids::ObjectId;
use model::run::RunError;
use model::setup::copies_files;
use tokio_util::sync::CancellationToken;

use super::super::harvest::{Housekeeping, ImageBuild, ImageSource, own_image};
use super::{ImageRequest, Site};

/// Builds the image, if the repository has a Dockerfile. This is fast if nothing has changed.
pub(super) async fn build(site: Site<'_>, request: ImageRequest<'_>) -> Result<(), RunError> {
    let ImageRequest { repository, supply, on_step, cancel } = request;
    let Some(dockerfile) = supply.dockerfile(repository) else { return Ok(()) };
    let failed = |error: &dyn std::fmt::Display| {
        RunError::new(ErrorCode::ImageFailed, format!("could not build the repository's image: {error}"))
            .hint(format!("fix `{}`, then retry the task", dockerfile.display()))
    };
    let path = dockerfile.clone();
    // The program reports a Dockerfile that cannot be read.
    let text = blocking(move || fs_err::read_to_string(&path)).await.unwrap_or_default();
    let files = if copies_files(&text) {
        let mirror = supply.mirror(repository)?;
        Some(default_branch(&mirror, site.home.layout.home(), cancel).await.map_err(|error| failed(&error))?)
    } else {
        None
    };
    let image = own_image(repository);
    let housekeeping = Housekeeping::new(site.config, supply.redactor(repository));
    let source = ImageSource::Dockerfile { path: &dockerfile, files };
    let wanted = ImageBuild { source, tools: &BTreeMap::new(), image: &image, on_step, log: None };
    let built = housekeeping.build(wanted, cancel.clone()).await.map_err(|error| failed(&error))?;
    if let Some(id) = built {
        supply.image_built(repository, &image, id).await;
    }
    Ok(())
}

/// Returns the files of the default branch as a tar archive, in a file without a name.
async fn default_branch(mirror: &Mirror, folder: &Path, cancel: &CancellationToken) -> Result<File, String> {
    let branch = mirror.default_branch().await.map_err(|error| error.to_string())?;
    let commit = mirror.resolve_branch(&branch).await.map_err(|error| error.to_string())?;
    let commit = commit.ok_or_else(|| format!("the branch `{branch}` has no commit"))?;
    archive(mirror, &commit, folder, cancel).await
}

/// Returns the files of a commit as a tar archive, in a file without a name.
pub(crate) async fn archive(
    mirror: &Mirror,
    commit: &ObjectId,
    folder: &Path,
    cancel: &CancellationToken,
) -> Result<File, String> {
    let folder = folder.to_owned();
    let file = blocking(move || tempfile::tempfile_in(folder)).await.map_err(|error| error.to_string())?;
    let into = file.try_clone().map_err(|error| error.to_string())?;
    mirror.archive(commit, into, cancel.clone()).await.map_err(|error| error.to_string())?;
    Ok(file)
}
