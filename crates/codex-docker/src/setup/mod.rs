//! Runs a setup script in a container, and stores its result: folders, and an image with the other changes.
//!
//! The script runs in a container like that of a run, without Codex, a login, or an agent's files. Invariant: there is either a whole
//! result or none. A container that a killed setup left is never continued; `reap` or the next setup of the same name removes it.

mod output;
mod secrets;
mod stage;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ChangeType, FilesystemChange};
use bollard::query_parameters::{DownloadFromContainerOptionsBuilder, RemoveImageOptions};
use clap::Args;
use model::{ErrorCode, WORKER_CUT_OFF};
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use self::secrets::{ArchiveSearch, Leak};
use self::stage::{Stage, Staged, StagedFolder, not_stored};
use crate::connect::{connect, refused};
use crate::failure::{EXIT_FAILED, Failure};
use crate::folder::{Stdin, write_durably};
use crate::keep::{self, ChangeSearch, KeepOrder, mount_points};
use crate::run::{End, PreparedRun, Stops, Watch, attach, check, check_image, find, launch, machine, network_for};
use crate::services::Services;
use crate::settings::layers::inside_path;
use crate::settings::{Caller, Settings, image_name};
use crate::spec::{self, Machine, Talk};
use crate::{disk, housekeeping, remains};

/// The path of the checkout in the container.
const WORKTREE: &str = "/workspace/worktree";

/// The variable with the names of the variables that are secrets of the setup.
const SECRETS: &str = "CODEX_DOCKER_SETUP_SECRETS";

/// Variables of a run that a setup ignores.
const IGNORED: [&str; 12] = [
    "CODEX_API_KEY",
    "CODEX_ACCESS_TOKEN",
    "CODEX_ARTIFACTS_DIR",
    "CODEX_DOCKER_AUTH",
    "CODEX_DOCKER_BROKER",
    "CODEX_DOCKER_CONFIG",
    "CODEX_DOCKER_IMAGES",
    "CODEX_DOCKER_KEEP_AS",
    "CODEX_DOCKER_LAYERS",
    "CODEX_DOCKER_SESSIONS",
    "CODEX_HOME",
    "CODEX_WORKSPACE_DIR",
];

/// The number of changed files up to which each is read separately. Otherwise, the whole root file system is read.
const FEW_FILES: usize = 100;

/// How often the free disk space is checked.
const DISK_LOOK: Duration = Duration::from_secs(1);

/// How long the rest of the output may take after the container has ended.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(5);

/// The arguments of `setup`.
#[derive(Debug, Args)]
pub(crate) struct SetupArguments {
    /// Folder that the script runs in, which must be `checkout` in the staging folder
    #[arg(long, value_name = "DIR")]
    checkout: PathBuf,
    /// Folder for the result
    #[arg(long, value_name = "DIR")]
    staging: PathBuf,
    /// Script to run
    #[arg(long, value_name = "FILE")]
    script: PathBuf,
    /// Folder in the checkout that is part of the result; may be repeated
    #[arg(long, value_name = "PATH")]
    keep: Vec<String>,
    /// Absolute path of another folder in the container that is part of the result, or a path that starts with `~/`; may be repeated
    #[arg(long, value_name = "PATH")]
    cache: Vec<String>,
    /// Folder with an earlier result of a setup with the same folders, which the script updates; it does not change
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Maximum duration of the script in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    time_limit: u64,
    /// Name of the image for changes elsewhere in the container
    #[arg(long, value_name = "NAME:TAG")]
    keep_as: Option<String>,
}

/// The result of a setup, as `result.json` in the staging folder contains it.
#[derive(Debug, Serialize)]
struct SetupResult<'a> {
    /// The ID of the image, if the script changed anything outside of the folders.
    image: Option<&'a str>,
    keep: &'a [Option<StagedFolder>],
    cache: &'a [Option<StagedFolder>],
    /// How long the setup took.
    seconds: f64,
}

/// How a setup ended without a result.
enum NoResult {
    /// The script failed with this exit code.
    Script(u8),
    Failed(Failure),
}

impl From<Failure> for NoResult {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A setup that is running.
struct Setup<'a> {
    docker: &'a Docker,
    machine: &'a Machine,
    arguments: &'a SetupArguments,
    settings: Settings,
    secrets: Option<ArchiveSearch>,
    started: Instant,
}

/// Runs the setup and returns the exit code.
pub(crate) async fn setup(
    environment: &BTreeMap<String, String>,
    caller: Caller,
    arguments: &SetupArguments,
) -> Result<u8, Failure> {
    let started = Instant::now();
    let (mut settings, secrets) = read(environment, caller, arguments)?;
    let script = fs_err::read(&arguments.script).map_err(|error| {
        Failure::new(ErrorCode::MountMissing, format!("cannot read the setup script: {error}")).hint("specify an existing file")
    })?;
    let docker = connect(environment).await?;
    let machine = machine(&docker, environment).await?;
    check(&mut settings)?;
    check_image(&docker, &settings.image).await?;
    let prepared = PreparedRun::hold(&settings)?;
    prepared.path().clone_into(&mut settings.state);
    if find(&docker, &settings).await?.is_some() {
        remains::remove(&docker, &settings.name).await?;
    }
    drop(prepared.begin(&settings, Stdin::Nothing, Talk::Output)?);
    prepared.folder().put("setup", &script)?;
    prepared.put_layer_owners(&settings, &machine)?;
    let servers = prepared.servers(&settings)?;
    network_for(&docker, &settings, environment).await?;
    let mut stops =
        Stops::listen().map_err(|error| Failure::new(ErrorCode::NoSignals, format!("cannot receive signals: {error}")))?;
    let name = settings.name.clone();
    let mut services = Services::none(&docker, &machine);
    let mut setup = Setup { docker: &docker, machine: &machine, arguments, settings, secrets, started };
    let ended = tokio::select! {
        ended = async {
            if !setup.settings.services.is_empty() {
                services.start(&setup.settings).await?;
            }
            setup.perform(environment, &prepared).await
        } => ended,
        number = stops.next() => {
            crate::say("the setup was stopped");
            Err(NoResult::Script(128 + number))
        }
    };
    drop(servers);
    if let Err(failure) = remains::remove(&docker, &name).await {
        crate::say(&format!("{failure}; to try again, run `codex-docker reap`"));
    }
    services.end().await;
    housekeeping::clear(&docker, &machine, &prepared.into_folder()).await;
    match ended {
        Ok(()) => Ok(0),
        Err(NoResult::Script(code)) => {
            remove_image(&docker, arguments).await;
            Ok(code)
        }
        Err(NoResult::Failed(failure)) => {
            remove_image(&docker, arguments).await;
            Err(failure)
        }
    }
}

/// Removes the image of a setup that has no result.
async fn remove_image(docker: &Docker, arguments: &SetupArguments) {
    let Some(name) = &arguments.keep_as else { return };
    let removed = docker.remove_image(name, None::<RemoveImageOptions>, None).await;
    if let Err(error) = removed
        && crate::connect::status_of(&error) != Some(404)
    {
        crate::say(&format!("could not remove the image `{name}`: {error}"));
    }
}

/// Returns the settings of the container, and the secrets to search for.
fn read(
    environment: &BTreeMap<String, String>,
    caller: Caller,
    arguments: &SetupArguments,
) -> Result<(Settings, Option<ArchiveSearch>), Failure> {
    let usage = |message: &str, hint: &str| Failure::new(ErrorCode::Usage, message).hint(hint);
    if arguments.checkout != arguments.staging.join("checkout") || !arguments.staging.is_absolute() {
        return Err(usage(
            "`--checkout` is not the folder `checkout` in the staging folder",
            "use absolute paths such as --staging /s --checkout /s/checkout",
        ));
    }
    if arguments.from.as_ref().is_some_and(|from| !from.is_absolute() || from.starts_with(&arguments.staging)) {
        return Err(usage("invalid folder for `--from`", "use an absolute path outside of the staging folder"));
    }
    for path in &arguments.keep {
        let is_plain = inside_path(&format!("{WORKTREE}/{path}"), "/")
            .is_some_and(|whole| whole == format!("{WORKTREE}/{path}") && path != ".git" && !path.starts_with(".git/"));
        if !is_plain || path.is_empty() {
            return Err(usage(
                &format!("invalid path for `--keep`: `{}`", path.escape_debug()),
                "use a path in the checkout such as node_modules",
            ));
        }
    }
    arguments.keep_as.as_deref().map(|name| image_name("--keep-as", name)).transpose()?;
    let layers: Vec<serde_json::Value> = arguments.cache.iter().enumerate().map(|(number, target)| {
        serde_json::json!({ "target": target, "upper": arguments.staging.join(stage::LAYERS).join(number.to_string()) })
    }).collect();
    let mut own: BTreeMap<String, String> = environment
        .iter()
        .filter(|(name, _)| !IGNORED.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    own.entry("CODEX_PASSTHROUGH_ENV".to_owned()).or_default();
    own.insert("CODEX_WORKSPACE_DIR".to_owned(), WORKTREE.to_owned());
    if !layers.is_empty() {
        own.insert(crate::settings::layers::LAYERS.to_owned(), serde_json::Value::from(layers).to_string());
    }
    let mut settings = Settings::read(&own, caller)?;
    settings.folder = Some(arguments.checkout.clone());
    settings.codex_home = None;
    let names = environment.get(SECRETS).map(String::as_str).unwrap_or_default();
    let mut secrets = BTreeMap::new();
    for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let value = settings.variables.get(name).cloned().ok_or_else(|| {
            Failure::new(ErrorCode::SettingUnusable, format!("invalid {SECRETS}: the variable `{name}` is not set"))
                .hint(format!("set CODEX_CONTAINER_ENV_{name}"))
        })?;
        secrets.insert(name.to_owned(), value);
    }
    secrets.extend(settings.files.iter().map(|file| (file.target.clone(), file.content.clone())));
    Ok((settings, ArchiveSearch::new(&secrets)))
}

impl Setup<'_> {
    /// Runs the script and stores its result.
    async fn perform(&mut self, environment: &BTreeMap<String, String>, prepared: &PreparedRun) -> Result<(), NoResult> {
        let (docker, machine) = (self.docker, self.machine);
        if let Some(earlier) = &self.arguments.from {
            self.stage().copy_from(earlier).await?;
        }
        let attached = launch(docker, &mut self.settings, machine, environment, |settings, layers| {
            (spec::container(settings, machine, Talk::Output, &[], layers), Talk::Output)
        })
        .await?;
        let end = self.follow(attached).await?;
        self.check_end(&end)?;
        let stage = self.stage();
        if let Some(secrets) = &self.secrets {
            // The folders are still where the container mounts them, so the engine can read its root file system.
            refuse(self.search_root(secrets).await?)?;
        }
        let staged = stage.collect().await?;
        if let Some(secrets) = &self.secrets {
            refuse(stage.search(secrets).await?.map(|leak| self.at_original_place(leak)))?;
        }
        let image = match &self.arguments.keep_as {
            Some(name) => {
                let order =
                    KeepOrder { folder: prepared.folder(), container: &self.settings.name, name, search: ChangeSearch::Complete };
                keep::keep(docker, order).await.map_err(|error| not_stored(&error))?
            }
            None => None,
        };
        self.write_result(image.as_deref(), &staged).await.map_err(|error| not_stored(&error))?;
        Ok(())
    }

    fn stage(&self) -> Stage<'_> {
        let SetupArguments { staging, keep, cache, .. } = self.arguments;
        Stage { docker: self.docker, settings: &self.settings, machine: self.machine, staging, keep, cache }
    }

    /// Passes on the output until the container ends. Fails if the script exceeds the time limit, or if the disk is almost full.
    async fn follow(&self, attached: Option<bollard::container::AttachContainerResults>) -> Result<End, Failure> {
        let copying = |attached: Option<_>, room: u64| {
            tokio::spawn(async move {
                match attached {
                    Some(attached) => output::copy(attached, room, &mut tokio::io::stdout()).await,
                    None => room,
                }
            })
        };
        let mut copier = copying(attached, output::LIMIT);
        let mut room = None;
        let mut watch = Watch::new(self.docker, &self.settings.name);
        let limit = Duration::from_secs(self.arguments.time_limit);
        let deadline = Instant::now() + limit;
        let mut look = interval(DISK_LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = loop {
            tokio::select! {
                end = watch.step() => match (end, room) {
                    (Some(end), _) => break end,
                    // The container engine has restarted. What was printed in the meantime is lost.
                    (None, Some(left)) => {
                        if let Ok(attached) = attach(self.docker, &self.settings.name, Talk::Output).await {
                            copier = copying(attached, left);
                            room = None;
                        }
                    }
                    (None, None) => {}
                },
                left = &mut copier, if room.is_none() => room = Some(left.unwrap_or(0)),
                _ = look.tick() => disk::check(&self.arguments.staging, self.settings.limits.free_disk)?,
                () = sleep_until(deadline) => {
                    let message = format!("the setup took more than {} seconds", limit.as_secs());
                    return Err(Failure::new(ErrorCode::SetupTimeLimit, message)
                        .hint("raise the time limit of the setup, or make the script faster"));
                }
            }
        };
        if room.is_none() && tokio::time::timeout(OUTPUT_PATIENCE, copier).await.is_err() {
            crate::say("could not pass on all output of the setup");
        }
        Ok(end)
    }

    fn check_end(&self, end: &End) -> Result<(), NoResult> {
        match end {
            End::Exited { code: 0, .. } => Ok(()),
            End::Exited { code, out_of_memory, words, .. } => {
                let code = u8::try_from(*code).unwrap_or(EXIT_FAILED);
                if !words.is_empty() {
                    crate::say(&format!("the container engine reports: {words}"));
                }
                if *out_of_memory {
                    let limit = self.settings.limits.memory.map_or_else(String::new, |bytes| format!(" of {} MiB", bytes >> 20));
                    crate::say(&format!(
                        "the setup exceeded its memory limit{limit}; to raise the limit, set CODEX_DOCKER_MEMORY"
                    ));
                }
                crate::say(&format!("the setup script failed with exit code {code}"));
                Err(NoResult::Script(code))
            }
            End::Gone => {
                crate::say("the container was removed while the setup was running");
                Err(NoResult::Script(WORKER_CUT_OFF))
            }
        }
    }

    /// Returns a leak with the path that the file had before it was moved.
    fn at_original_place(&self, leak: Leak) -> Leak {
        let mut parts = leak.path.splitn(3, '/');
        let (kind, number, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next());
        let paths = if kind == "keep" { &self.arguments.keep } else { &self.arguments.cache };
        let folder = number.parse::<usize>().ok().and_then(|number| paths.get(number));
        let path = folder.map(|folder| match rest.filter(|rest| !rest.is_empty()) {
            Some(rest) => format!("{folder}/{rest}"),
            None => folder.clone(),
        });
        Leak { path: path.unwrap_or(leak.path), ..leak }
    }

    /// Searches the changed files of the root file system.
    async fn search_root(&self, secrets: &ArchiveSearch) -> Result<Option<Leak>, Failure> {
        let name = &self.settings.name;
        let failed =
            |error| refused(ErrorCode::EngineFailed, &format!("could not list the changes of the container `{name}`"), &error);
        let changes = self.docker.container_changes(name).await.map_err(failed)?.unwrap_or_default();
        let mounts = remains::inspect(self.docker, name).await?.as_ref().map(mount_points).unwrap_or_default();
        let is_mounted = |path: &str| mounts.iter().any(|mount| Path::new(path).starts_with(mount));
        let is_there = |change: &FilesystemChange| change.kind != ChangeType::_2;
        let paths: BTreeSet<String> = changes.into_iter().filter(is_there).map(|change| change.path).collect();
        let is_folder =
            |path: &String| paths.range(format!("{path}/")..).next().is_some_and(|next| next.starts_with(&format!("{path}/")));
        let files: Vec<String> = paths.iter().filter(|path| !is_folder(path) && !is_mounted(path)).cloned().collect();
        if files.len() <= FEW_FILES {
            for file in files {
                let options = DownloadFromContainerOptionsBuilder::new().path(&file).build();
                let archive = self.docker.download_from_container(name, Some(options));
                if let Some(leak) = secrets.in_stream(Box::pin(archive), |_| true).await.map_err(|error| not_stored(&error))? {
                    // The paths in the archive start with the name of the file.
                    let folder = Path::new(&file).parent().unwrap_or(Path::new("/"));
                    return Ok(Some(Leak { path: folder.join(&leak.path).to_string_lossy().into_owned(), ..leak }));
                }
            }
            return Ok(None);
        }
        let wanted: HashSet<String> = paths.into_iter().map(|path| path.trim_matches('/').to_owned()).collect();
        let exported = self.docker.export_container(name);
        let is_wanted = move |path: &str| wanted.contains(path.trim_start_matches("./").trim_matches('/'));
        let found = secrets.in_stream(Box::pin(exported), is_wanted).await.map_err(|error| not_stored(&error))?;
        Ok(found.map(|leak| Leak { path: format!("/{}", leak.path), ..leak }))
    }

    /// Writes the result, after everything that it names is on disk.
    async fn write_result(&self, image: Option<&str>, staged: &Staged) -> std::io::Result<()> {
        let seconds = (self.started.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        let result = SetupResult { image, keep: &staged.keep, cache: &staged.cache, seconds };
        let text = serde_json::to_vec(&result)?;
        let staging = self.arguments.staging.clone();
        tokio::task::spawn_blocking(move || {
            rustix::fs::sync();
            write_durably(&staging.join("result.json"), &text)
        })
        .await
        .map_err(std::io::Error::other)?
    }
}

/// Fails if a secret was found.
fn refuse(leak: Option<Leak>) -> Result<(), Failure> {
    let Some(Leak { secret, path }) = leak else { return Ok(()) };
    Err(Failure::new(ErrorCode::SetupLeaksSecret, format!("the setup left the value of the secret `{secret}` in `{path}`"))
        .hint("change the script so that it removes the secret from the files that it leaves"))
}

#[cfg(test)]
mod tests;
