//! Moves the folders that a setup left to the staging folder, in a short-lived container, because they belong to several users. Before
//! an update, copies the folders of the earlier result in the same way.
//!
//! Invariant: the earlier result is mounted read-only.

use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, Mount};
use bollard::query_parameters::{CreateContainerOptionsBuilder, DownloadFromContainerOptionsBuilder};
use model::ErrorCode;
use serde::Serialize;
use uuid::Uuid;

use super::secrets::{ArchiveSearch, Leak};
use crate::connect::refused;
use crate::failure::Failure;
use crate::folder::{RunFolder, private_folder};
use crate::ledger::{Marker, open_plain};
use crate::one_shot::{one_shot, run_to_end, say_what_it_said, script_body};
use crate::settings::Settings;
use crate::spec::{Machine, bind, bind_read_only};
use crate::{housekeeping, inside, labels, remains};

/// The script that moves the folders.
const SCRIPT: &str = include_str!("stage.sh");

/// The script that copies the folders of an earlier result.
const COPY_SCRIPT: &str = include_str!("unstage.sh");

/// Below the staging folder: the folders of the caches during the setup.
pub(super) const LAYERS: &str = ".layers";

/// The maximum number of bytes of the script's report.
const REPORT_LIMIT: u64 = 1 << 20;

/// A folder that a setup left, as in `result.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct StagedFolder {
    /// The path that was specified.
    pub(super) path: String,
    /// The number of files, without folders.
    pub(super) files: u64,
    /// The disk space in bytes.
    pub(super) bytes: u64,
}

/// The folders that a setup left. A folder that does not exist is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Staged {
    pub(super) keep: Vec<Option<StagedFolder>>,
    pub(super) cache: Vec<Option<StagedFolder>>,
}

/// The folders of a setup.
pub(super) struct Stage<'a> {
    pub(super) docker: &'a Docker,
    pub(super) settings: &'a Settings,
    pub(super) machine: &'a Machine,
    pub(super) staging: &'a Path,
    pub(super) keep: &'a [String],
    pub(super) cache: &'a [String],
}

pub(super) fn not_stored(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(ErrorCode::SetupNotStored, format!("could not store the result of the setup: {error}"))
        .hint("make sure that the staging folder is writable and has free space")
}

impl Stage<'_> {
    /// Copies the folders of an earlier result to where the script expects them.
    pub(super) async fn copy_from(&self, earlier: &Path) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(ErrorCode::SetupNotStored, format!("could not copy the earlier result: {error}"))
                .hint("make sure that the staging folder is writable and has free space")
        };
        for number in 0..self.cache.len() {
            let data = self.staging.join(LAYERS).join(number.to_string()).join(crate::layers::DATA);
            private_folder(&data).map_err(|error| failed(&error))?;
            let mode = std::fs::Permissions::from_mode(0o755);
            fs_err::set_permissions(&data, mode).map_err(|error| failed(&error))?;
        }
        let earlier = bind_read_only(earlier, "/from");
        match self.script("codex-unstage", COPY_SCRIPT, vec![earlier]).await?.0 {
            0 => Ok(()),
            code => Err(failed(&format!("its container exited with code {code}"))),
        }
    }

    /// Moves the folders and returns what was moved.
    pub(super) async fn collect(&self) -> Result<Staged, Failure> {
        match self.script("codex-stage", SCRIPT, vec![]).await? {
            (0, report) => Ok(self.staged(&report.map_err(|error| not_stored(&error))?)),
            (code, _) => Err(not_stored(&format!("the container that moves the folders exited with code {code}"))),
        }
    }

    /// Runs a script in a container with the staging folder, and returns its exit code and its report.
    async fn script(&self, prefix: &str, script: &str, mounts: Vec<Mount>) -> Result<(u8, io::Result<String>), Failure> {
        let (name, folder) = self.folder(prefix)?;
        folder.put("script", script.as_bytes())?;
        let lines: String = self.keep.iter().flat_map(|path| [path.as_str(), "\n"]).collect();
        folder.put("keep", lines.as_bytes())?;
        let body = self.body(&folder, mounts, script_body(&self.settings.image));
        let ended = run_to_end(self.docker, &name, body, std::future::pending()).await;
        say_what_it_said(&folder.path().join("out"));
        let report = read_report(&folder.path().join("out/staged"));
        housekeeping::clear(self.docker, self.machine, &folder).await;
        Ok((ended?, report))
    }

    fn staged(&self, report: &str) -> Staged {
        let of = |kind: &str, paths: &[String]| {
            let named = paths.iter().enumerate().map(|(number, path)| {
                let start = format!("{kind} {number} ");
                let mut numbers = report.lines().find_map(|line| line.strip_prefix(&start))?.split_whitespace();
                let mut next = || numbers.next()?.parse::<u64>().ok();
                let (files, kibibytes) = (next()?, next()?);
                Some(StagedFolder { path: path.clone(), files, bytes: kibibytes.saturating_mul(1024) })
            });
            named.collect()
        };
        Staged { keep: of("keep", self.keep), cache: of("cache", self.cache) }
    }

    /// Searches the moved folders for secrets. The engine reads them, because only root can.
    pub(super) async fn search(&self, secrets: &ArchiveSearch) -> Result<Option<Leak>, Failure> {
        let (name, folder) = self.folder("codex-search")?;
        let body = self.body(&folder, vec![], script_body(&self.settings.image));
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let failed = |error| refused(ErrorCode::ContainerFailed, &format!("could not create the container `{name}`"), &error);
        self.docker.create_container(Some(options), body).await.map_err(failed)?;
        let mut found = Ok(None);
        for part in ["/staging/keep", "/staging/cache"] {
            let options = DownloadFromContainerOptionsBuilder::new().path(part).build();
            found = secrets.in_stream(self.docker.download_from_container(&name, Some(options)), |_| true).await;
            if !matches!(found, Ok(None)) {
                break;
            }
        }
        remains::remove(self.docker, &name).await?;
        housekeeping::clear(self.docker, self.machine, &folder).await;
        found.map_err(|error| not_stored(&error))
    }

    fn folder(&self, prefix: &str) -> Result<(String, RunFolder), Failure> {
        let name = format!("{prefix}-{}", Uuid::now_v7().simple());
        let marker = Marker::new(&name, &self.settings.image, self.settings.labels.clone());
        let folder = RunFolder::hold(&self.settings.root, &marker)?;
        folder.clear()?;
        Ok((name, folder))
    }

    fn body(&self, folder: &RunFolder, more: Vec<Mount>, body: ContainerCreateBody) -> ContainerCreateBody {
        let own = [
            bind_read_only(&folder.path().join("in"), inside::IN),
            bind(&folder.path().join("out"), inside::OUT),
            bind(self.staging, "/staging"),
        ];
        let mounts = own.into_iter().chain(more).collect();
        ContainerCreateBody {
            host_config: Some(HostConfig { mounts: Some(mounts), ..one_shot(self.machine, folder.path()) }),
            labels: Some(labels::of_container(&folder.path().to_string_lossy(), &self.settings.labels)),
            ..body
        }
    }
}

fn read_report(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    if let Some(file) = open_plain(path)? {
        file.take(REPORT_LIMIT).read_to_string(&mut text)?;
    }
    Ok(text)
}
