//! Builds a repository's own image from its Dockerfile, which can copy files of the default branch.
//!
//! The files are those of the remote's last fetched commit, never those of a task. They are in a file without a name, which disappears
//! with this process. A Dockerfile that copies nothing gets no files.

use std::fs::File;
use std::path::Path;

use durable::blocking;
use git::Mirror;
use model::ErrorCode;
use model::run::RunError;
use tokio_util::sync::CancellationToken;

use super::super::harvest::{Housekeeping, ImageBuild, own_image};
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
    let wanted = ImageBuild { dockerfile: &dockerfile, image: &image, files, on_step };
    let built = housekeeping.build(wanted, cancel.clone()).await.map_err(|error| failed(&error))?;
    if let Some(id) = built {
        supply.image_built(repository, &image, id).await;
    }
    Ok(())
}

/// Whether a Dockerfile copies files from its build context. `COPY --from` copies from another image.
fn copies_files(dockerfile: &str) -> bool {
    dockerfile.lines().any(|line| {
        let mut words = line.split_whitespace();
        let copies = words.next().is_some_and(|word| word.eq_ignore_ascii_case("copy") || word.eq_ignore_ascii_case("add"));
        copies && !words.any(|word| word.starts_with("--from="))
    })
}

/// Returns the files of the default branch as a tar archive, in a file without a name.
async fn default_branch(mirror: &Mirror, folder: &Path, cancel: &CancellationToken) -> Result<File, String> {
    let branch = mirror.default_branch().await.map_err(|error| error.to_string())?;
    let commit = mirror.resolve_branch(&branch).await.map_err(|error| error.to_string())?;
    let commit = commit.ok_or_else(|| format!("the branch `{branch}` has no commit"))?;
    let folder = folder.to_owned();
    let file = blocking(move || tempfile::tempfile_in(folder)).await.map_err(|error| error.to_string())?;
    let into = file.try_clone().map_err(|error| error.to_string())?;
    mirror.archive(&commit, into, cancel.clone()).await.map_err(|error| error.to_string())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_needed_only_by_a_dockerfile_that_copies_them() {
        let check = |text: &str, expected: bool| assert_eq!(copies_files(text), expected, "{text}");
        check("FROM x\nCOPY package.json /app/\n", true);
        check("FROM x\n  add . /app\n", true);
        check("FROM x\nCOPY --chown=1:1 a b\n", true);
        check("FROM x\nCOPY --from=build /a /b\n", false);
        check("FROM x\nRUN cp a b\n# COPY a b\n", false);
    }
}
