//! `task artifacts`: lists the files that the agent left for people, and downloads them.
//!
//! The paths come from an agent. Invariant: files are only created below the given folder, through no link, and no file is replaced.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::ExitCode;

use client::Client;
use model::ErrorCode;
use model::artifact::Artifact;
use model::commit::PathText;
use model::ids::{RunNumber, TaskId};
use model::problem::Problem;
use model::size;
use model::visible::plain_name;
use protocol::ArtifactsView;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;

use super::task_prompt::last_run;
use crate::args::ArtifactsArguments;
use crate::ids;
use crate::output::{Output, OutputFormat};
use crate::printer::{self, Cell};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

pub(super) async fn run(client: &Client, asked: &ArtifactsArguments, format: OutputFormat) -> Result<ExitCode, Problem> {
    let id = ids::task(client, &asked.task.task).await?;
    let run = match asked.run {
        Some(run) => RunNumber(run),
        None => last_run(&client.show_task(id).await?),
    };
    let found = client.list_artifacts(id, run).await?;
    if let Some(folder) = &asked.download {
        download(client, (id, run), &found.artifacts, folder).await?;
    }
    if format.is_json() {
        printer::json(&found)?;
    } else {
        listed(run, &found, asked.download.as_deref()).print();
    }
    Ok(ExitCode::SUCCESS)
}

fn listed(run: RunNumber, found: &ArtifactsView, downloaded: Option<&Path>) -> Output {
    let mut output = Output::default();
    if found.artifacts.is_empty() {
        output.remark(format!("run {} has no artifacts", run.0));
    } else {
        let rows: Vec<_> = found.artifacts.iter().map(row).collect();
        output.table(&["PATH", "SIZE", "KIND"], &rows);
    }
    for left in &found.left_out {
        output.remark(format!("not kept: {} ({})", plain_name(left.path.as_str()), left.reason.words()));
    }
    if found.more_left_out > 0 {
        output.remark(format!("not kept: at least {} more", found.more_left_out));
    }
    if let Some(folder) = downloaded {
        let files = printer::plural(found.artifacts.len(), "file");
        output.remark(format!("downloaded {files} to {}", folder.display()));
    }
    output
}

fn row(artifact: &Artifact) -> Vec<Cell> {
    vec![
        Cell::plain(plain_name(artifact.path.as_str())),
        Cell::plain(size::bytes(artifact.bytes)),
        Cell::plain(artifact.kind.as_str()),
    ]
}

/// Downloads artifacts into a folder, which is created if it does not exist.
async fn download(client: &Client, (task, run): (TaskId, RunNumber), artifacts: &[Artifact], into: &Path) -> Result<(), Problem> {
    std::fs::create_dir_all(into).map_err(|error| unwritable(into, &error))?;
    let root = openat(CWD, into, FOLDER, Mode::empty()).map_err(|error| unwritable(into, &error.into()))?;
    for artifact in artifacts {
        // The list comes from a server, so its paths are checked again.
        let path = PathText::parse(artifact.path.as_str())?;
        let shown = into.join(OsStr::from_bytes(&path.name()));
        let mut target = Target::create(&root, &path).map_err(|error| unwritable(&shown, &error))?;
        let mut content = client.read_artifact(task, run, artifact.path.clone()).await?;
        while let Some(chunk) = content.chunk().await? {
            target.file.write_all(&chunk).map_err(|error| unwritable(&shown, &error))?;
        }
        target.is_complete = true;
    }
    Ok(())
}

fn unwritable(path: &Path, error: &io::Error) -> Problem {
    let problem = Problem::new(ErrorCode::FileNotWritable, format!("could not write `{}`: {error}", path.display()));
    match error.kind() {
        io::ErrorKind::AlreadyExists => problem.hint("choose a new folder: existing files are never replaced"),
        _ => problem,
    }
}

/// A new file. It is removed again if it is not completed.
struct Target {
    folder: OwnedFd,
    name: Vec<u8>,
    file: File,
    is_complete: bool,
}

impl Target {
    /// Creates a file and the folders above it. Follows no links below the root.
    fn create(root: &OwnedFd, path: &PathText) -> io::Result<Self> {
        let name = path.name();
        let mut parts: Vec<_> = name.split(|byte| *byte == b'/').collect();
        let last = parts.pop().unwrap_or_default();
        let mut folder = root.try_clone()?;
        for part in parts {
            match mkdirat(&folder, part, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            folder = openat(&folder, part, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&folder, last, flags, Mode::from_raw_mode(0o666))?;
        Ok(Self { folder, name: last.to_vec(), file: file.into(), is_complete: false })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.is_complete
            && let Err(error) = unlinkat(&self.folder, self.name.as_slice(), AtFlags::empty())
        {
            printer::remark(format!("could not remove an incomplete file: {error}"));
        }
    }
}
