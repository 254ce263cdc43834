//! Derives the images of an environment from its description: the image of runs, and those of services.

use std::collections::BTreeSet;

use git::Mirror;
use model::environment::EnvironmentRecord;
use model::ids::ObjectId;
use model::setup::{Build, Description, ImageChoice, copies_files};
use runner::EnvironmentImages;
use runner::spec::ContainerSandbox;

use crate::plan::{PlanError, refused};

/// The maximum size of a Dockerfile in bytes.
const DOCKERFILE_LIMIT_BYTES: usize = 1 << 20;

/// Returns the images of an environment at a commit of the default branch. `container` is that of the repository's settings.
pub async fn images(
    mirror: &Mirror,
    repository: &EnvironmentRecord,
    commit: &ObjectId,
    description: &Description,
    container: ContainerSandbox,
) -> Result<EnvironmentImages, PlanError> {
    let objects = match &description.image {
        Some(ImageChoice::Build { build }) => objects(mirror, commit, description, build).await?,
        Some(ImageChoice::Named(_)) | None => vec![],
    };
    let services: BTreeSet<_> = description.services.values().map(|service| service.image.clone()).collect();
    Ok(EnvironmentImages {
        repository: repository.env_id,
        container,
        choice: description.image.clone(),
        commit: commit.clone(),
        objects,
        tools: description.tools.clone(),
        services,
    })
}

/// Returns the objects that a build depends on: the Dockerfile, and its context if it copies files.
async fn objects(
    mirror: &Mirror,
    commit: &ObjectId,
    description: &Description,
    build: &Build,
) -> Result<Vec<ObjectId>, PlanError> {
    let Build { dockerfile, context } = build;
    let refuse = |what: String| Err(refused(&environment_file::format(description), what));
    let folder = if context == Build::DEFAULT_CONTEXT { "" } else { context.as_str() };
    let found = mirror.objects_at(commit, &[dockerfile.as_str(), folder]).await?;
    let [Some(file), context_object] = found.as_slice() else {
        return refuse(format!("the Dockerfile `{dockerfile}` does not exist in the default branch"));
    };
    let Some(text) = mirror.text_of(commit, dockerfile, DOCKERFILE_LIMIT_BYTES).await else {
        return refuse(format!(
            "the Dockerfile `{dockerfile}` is not a text file of at most {} KiB",
            DOCKERFILE_LIMIT_BYTES / 1024
        ));
    };
    match context_object {
        None => refuse(format!("the folder `{context}` does not exist in the default branch")),
        Some(folder) if copies_files(&text) => Ok(vec![file.clone(), folder.clone()]),
        Some(_) => Ok(vec![file.clone()]),
    }
}
