//! Runs Codex or a shell in a container, from the settings to its exit code.
//!
//! | this process is killed … | left behind | next step |
//! |---|---|---|
//! | before the container is created | a folder that no process holds | the next run with this name or `reap` removes it |
//! | before the container starts | a container in state `created` | the next run with this name starts it, or `reap` removes it |
//! | while the container runs | the container, which keeps writing to its files | the next run with this name continues to copy the output, or `reap` stops it |
//! | after the container has exited | a container in state `exited` | the next run with this name uses its result and does not start it again |

mod end;
mod hold;
mod launch;
mod output;
mod prepare;
mod terminal;
mod watch;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::IsTerminal as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::PathBuf;

use bollard::Docker;
use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum, Mount};
use bollard::query_parameters::InspectContainerOptions;

pub(crate) use self::hold::Stops;
use self::launch::{Services, not_started, prepare_again, start, start_services};
pub(crate) use self::launch::{attach, launch, network_for};
pub(crate) use self::prepare::{PreparedRun, check, check_image, check_users, machine};
pub(crate) use self::watch::{End, Watch};
use crate::connect::{connect, refused, status_of};
use crate::failure::Failure;
use crate::folder::{Outputs, Stdin};
use crate::keep::ChangeSearch;
use crate::labels;
use crate::ledger;
use crate::settings::{Caller, Settings};
use crate::spec::{self, Talk};
use model::ErrorCode;
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::termios::tcgetwinsize;
use tokio::time::Instant;

/// What runs in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Program {
    /// Codex, with the arguments.
    Codex,
    /// The program that the arguments name, or a login shell.
    Shell {
        /// The folder to start in, below the working directory.
        start: String,
    },
}

/// Runs a program with these arguments and returns its exit code.
pub(crate) async fn run(
    environment: &BTreeMap<String, String>,
    caller: Caller,
    program: Program,
    arguments: &[String],
) -> Result<u8, Failure> {
    let mut settings = Settings::read(environment, caller)?;
    let (stdin, talk) = how_to_talk();
    settings.pipe = (stdin == Stdin::Pipe).then(named_pipe).flatten();
    prepare::check(&mut settings)?;
    let docker = connect(environment).await?;
    prepare::check_volumes(&docker, &settings)?;
    let machine = machine(&docker, environment).await?;
    check_image(&docker, &settings.image).await?;
    if let Some(name) = &settings.keep_as {
        match crate::keep::continues(&docker, name, &settings.image).await {
            Ok(continues) => settings.kept_image = Some(name.clone()).filter(|_| continues),
            Err(error) => crate::say(&format!("warning: what earlier runs installed is missing: {error}")),
        }
    }
    let prepared = PreparedRun::hold(&settings)?;
    prepared.path().clone_into(&mut settings.state);
    let found = find(&docker, &settings).await?;
    let found = prepare_again(&docker, &settings, found).await?;
    let mut services = Services::none(&docker, &machine);
    let begun = if let Some(found) = found {
        prepared.go_on(&found)?
    } else {
        let outputs = prepared.begin(&settings, stdin, talk)?;
        if let Program::Shell { start } = &program {
            prepared.put_shell(start)?;
        }
        Begun { outputs, offset: 0, status: ContainerStateStatusEnum::EMPTY }
    };
    let servers = prepared.servers(&settings)?;
    let (is_new, started) = (begun.status == ContainerStateStatusEnum::EMPTY, Instant::now());
    let attached = if begun.status == ContainerStateStatusEnum::EMPTY {
        network_for(&docker, &settings, environment).await?;
        if let Some(ended) = start_services(&settings, &mut services).await {
            not_started(&docker, &machine, services, prepared).await;
            return ended;
        }
        prepared.put_layer_owners(&settings, &machine)?;
        let body = |settings: &Settings, layers: &[Mount]| (spec::container(settings, &machine, talk, arguments, layers), talk);
        match launch(&docker, &mut settings, &machine, environment, body).await {
            Ok(attached) => attached,
            Err(failure) => {
                services.end().await;
                return Err(failure);
            }
        }
    } else {
        if !settings.services.is_empty() {
            services.go_on(&settings).await?;
        }
        let attached = attach(&docker, &settings.name, talk).await?;
        if begun.status == ContainerStateStatusEnum::CREATED {
            start(&docker, &settings, environment).await?;
        }
        attached
    };
    let ended = match talk {
        Talk::Terminal(..) => terminal::hold(&docker, &settings, attached).await?,
        Talk::Stream | Talk::Files | Talk::Output => hold::hold(&docker, &settings, begun, attached).await?,
    };
    drop(servers);
    let search = if is_new { ChangeSearch::after(started.elapsed()) } else { ChangeSearch::Complete };
    end::tidy(&docker, &settings, &machine, prepared, search).await;
    services.end().await;
    Ok(ended)
}

/// The container of this run, which may not exist yet.
pub(crate) struct Begun {
    outputs: Outputs,
    /// The number of bytes of Codex's output that were already copied.
    offset: u64,
    /// The state in which the container was found, or empty if there was no container.
    status: ContainerStateStatusEnum,
}

/// Chooses how input and output reach Codex: through a terminal if this process has one, otherwise through files or a stream.
fn how_to_talk() -> (Stdin, Talk) {
    let stdin = std::io::stdin();
    if stdin.is_terminal() && std::io::stdout().is_terminal() {
        let size = tcgetwinsize(std::io::stdout().as_fd());
        let (rows, columns) = size.map_or((0, 0), |size| (size.ws_row, size.ws_col));
        return (Stdin::Stream, Talk::Terminal(rows, columns));
    }
    match kind_of(stdin.as_fd()) {
        Some(Stdin::Stream) => (Stdin::Stream, Talk::Stream),
        Some(kind @ (Stdin::File | Stdin::Pipe)) => (kind, Talk::Files),
        Some(Stdin::Nothing) | None => (Stdin::Nothing, Talk::Files),
    }
}

/// Returns the kind of stdin. A terminal counts as nothing, because stdout is not a terminal.
fn kind_of(stdin: BorrowedFd<'_>) -> Option<Stdin> {
    let file = File::from(stdin.try_clone_to_owned().ok()?);
    let kind = file.metadata().ok()?.file_type();
    Some(match () {
        () if kind.is_file() => Stdin::File,
        () if kind.is_fifo() && is_read_and_written(&file) && named_pipe().is_some() => Stdin::Pipe,
        () if kind.is_fifo() || kind.is_socket() => Stdin::Stream,
        () => Stdin::Nothing,
    })
}

/// Whether a file is open for reading and writing. Only a caller that wants this opens a pipe in this way.
fn is_read_and_written(file: &File) -> bool {
    fcntl_getfl(file).is_ok_and(|flags| flags.contains(OFlags::RDWR))
}

/// Returns the path of the named pipe that is stdin.
fn named_pipe() -> Option<PathBuf> {
    let path = fs_err::read_link("/proc/self/fd/0").ok()?;
    let (named, open) = (fs_err::metadata(&path).ok()?, fs_err::metadata("/proc/self/fd/0").ok()?);
    ((named.dev(), named.ino()) == (open.dev(), open.ino())).then_some(path)
}

/// Finds the container of this run, if an earlier codex-docker was killed. Fails if the name belongs to another container.
pub(crate) async fn find(docker: &Docker, settings: &Settings) -> Result<Option<ContainerInspectResponse>, Failure> {
    let found = match docker.inspect_container(&settings.name, None::<InspectContainerOptions>).await {
        Ok(found) => found,
        Err(error) if status_of(&error) == Some(404) => return Ok(None),
        Err(error) => return Err(refused(ErrorCode::EngineFailed, "could not inspect the container", &error)),
    };
    let has = found.config.as_ref().and_then(|config| config.labels.clone()).unwrap_or_default();
    let wanted = labels::of_container(&settings.state.to_string_lossy(), &settings.labels);
    let is_ours = ledger::folder_of(&found).is_some_and(|folder| folder == settings.state);
    if is_ours && wanted.iter().all(|(key, value)| has.get(key) == Some(value)) {
        return Ok(Some(found));
    }
    Err(Failure::new(
        ErrorCode::NameTaken,
        format!("a container `{}` already exists and does not belong to this run", settings.name),
    )
    .hint("set a different CONTAINER_NAME, or remove the container with `docker rm`"))
}

#[cfg(test)]
mod tests;
