//! `task bundle` and `task patch`: export a task's commits to a file or a pipe.
//! The data from the server is not changed, and a file gets its name only when it is complete.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use client::{Client, Download};
use model::ErrorCode;
use model::problem::Problem;
use tempfile::NamedTempFile;

use crate::{ids, printer};

pub(super) async fn bundle(client: &Client, task: &str, output: Option<&Path>) -> Result<ExitCode, Problem> {
    let id = ids::task(client, task).await?;
    if output.is_none() && printer::is_for_people() {
        return Err(Problem::new(ErrorCode::Usage, "cannot write a bundle to a terminal")
            .hint(format!("write it to a file: codex-orchestrator task bundle {id} -o task.bundle")));
    }
    export(client.task_bundle(id).await?, output).await?;
    if let Some(file) = output {
        printer::remark(format!("import it into your repository: git fetch {} codex/{id}", file.display()));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn patch(client: &Client, task: &str, output: Option<&Path>) -> Result<ExitCode, Problem> {
    let id = ids::task(client, task).await?;
    export(client.task_patches(id).await?, output).await?;
    if let Some(file) = output {
        printer::remark(format!("apply the commits to your branch: git am --keep-cr --keep-non-patch {}", file.display()));
    }
    Ok(ExitCode::SUCCESS)
}

async fn export(mut download: Download, output: Option<&Path>) -> Result<(), Problem> {
    let unwritable =
        |error: std::io::Error| Problem::new(ErrorCode::FileNotWritable, format!("could not write the file: {error}"));
    let mut into = output.map_or(Ok(Target::Stdout), Target::open).map_err(unwritable)?;
    while let Some(chunk) = download.chunk().await? {
        match &mut into {
            Target::Stdout => printer::bytes(&chunk),
            Target::New(file, _) => file.write_all(&chunk).map_err(unwritable)?,
            Target::Existing(file) => file.write_all(&chunk).map_err(unwritable)?,
        }
    }
    match into {
        Target::New(file, path) => file.persist(path).map(drop).map_err(|error| unwritable(error.error)),
        Target::Stdout | Target::Existing(_) => Ok(()),
    }
}

/// The destination of an export.
enum Target {
    Stdout,
    /// A new file, which gets its name when it is complete.
    New(NamedTempFile, PathBuf),
    /// An existing pipe or device, which cannot be replaced.
    Existing(File),
}

impl Target {
    fn open(path: &Path) -> std::io::Result<Self> {
        if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Ok(Self::Existing(File::options().write(true).open(path)?));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let readable = std::fs::Permissions::from_mode(0o666);
        Ok(Self::New(tempfile::Builder::new().prefix(".codex-").permissions(readable).tempfile_in(folder)?, path.to_owned()))
    }
}
