//! One run of Codex in a container, from the settings to Codex's exit code.
//!
//! | we die … | what is left | what follows |
//! |---|---|---|
//! | before the container is made | a folder that nobody holds | the next run of this name clears it, or `reap` |
//! | before it is started | a container `created`, held by nobody | the next run of this name starts it, or `reap` removes it |
//! | while it runs | it runs on, and writes to its files | the next run of this name goes on with its output, or `reap` ends it |
//! | after its end | a container `exited` | the next run of this name takes its result and never runs it again |

mod end;
mod hold;
mod output;
mod prepare;
mod terminal;
mod watch;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::IsTerminal as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileTypeExt as _;

use bollard::Docker;
use bollard::container::AttachContainerResults;
use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, InspectContainerOptions, StartContainerOptions,
};

pub(crate) use self::hold::Stops;
use self::prepare::Prepared;
pub(crate) use self::prepare::{check_image, machine};
pub(crate) use self::watch::{End, Watch};
use crate::connect::{connect, refused, status_of};
use crate::failure::Failure;
use crate::folder::{Outputs, Stdin};
use crate::labels;
use crate::ledger;
use crate::network;
use crate::settings::{Caller, Network, Settings};
use crate::slots;
use crate::spec::{self, Talk};
use rustix::termios::tcgetwinsize;

/// Runs Codex with these arguments; returns its exit code.
pub(crate) async fn run(environment: &BTreeMap<String, String>, caller: Caller, arguments: &[String]) -> Result<u8, Failure> {
    let mut settings = Settings::read(environment, caller)?;
    let (stdin, talk) = how_to_talk();
    prepare::check(&mut settings)?;
    let docker = connect(environment).await?;
    prepare::check_volumes(&docker, &settings)?;
    let machine = machine(&docker, environment).await?;
    check_image(&docker, &settings.image).await?;
    let prepared = Prepared::hold(&settings)?;
    prepared.path().clone_into(&mut settings.state);
    let found = find(&docker, &settings).await?;
    let begun = match found {
        Some(found) => prepared.go_on(&found)?,
        None => Begun { outputs: prepared.begin(&settings, stdin)?, offset: 0, status: ContainerStateStatusEnum::EMPTY },
    };
    let servers = prepared.servers(&settings)?;
    if begun.status == ContainerStateStatusEnum::EMPTY {
        if settings.network == Network::Open {
            network::ensure(&docker, &prepare::locks(&settings, environment)).await?;
        }
        let body = spec::container(&settings, &machine, talk, arguments);
        let options = CreateContainerOptionsBuilder::new().name(&settings.name).build();
        docker.create_container(Some(options), body).await.map_err(|error| not_created(&settings, &error))?;
    }
    let attached = attach(&docker, &settings.name, talk).await?;
    if matches!(begun.status, ContainerStateStatusEnum::EMPTY | ContainerStateStatusEnum::CREATED) {
        start(&docker, &settings, environment).await?;
    }
    let ended = match talk {
        Talk::Terminal(..) => terminal::hold(&docker, &settings, attached).await?,
        Talk::Stream | Talk::Files => hold::hold(&docker, &settings, begun, attached).await?,
    };
    drop(servers);
    end::tidy(&docker, &settings, &machine, prepared).await;
    Ok(ended)
}

/// A container of this run, made now or found.
pub(crate) struct Begun {
    outputs: Outputs,
    /// How much of its output was handed on already.
    offset: u64,
    /// As it was found; empty if there was none.
    status: ContainerStateStatusEnum,
}

/// At a terminal, Codex gets one. Otherwise what it says goes through files, and what it reads is a file or a stream.
fn how_to_talk() -> (Stdin, Talk) {
    let stdin = std::io::stdin();
    if stdin.is_terminal() && std::io::stdout().is_terminal() {
        let size = tcgetwinsize(std::io::stdout().as_fd());
        let (rows, columns) = size.map_or((0, 0), |size| (size.ws_row, size.ws_col));
        return (Stdin::Stream, Talk::Terminal(rows, columns));
    }
    match kind_of(stdin.as_fd()) {
        Some(Stdin::Stream) => (Stdin::Stream, Talk::Stream),
        Some(Stdin::File) => (Stdin::File, Talk::Files),
        Some(Stdin::Nothing) | None => (Stdin::Nothing, Talk::Files),
    }
}

/// What is at the other end of stdin. A terminal without a terminal to answer on is nothing.
fn kind_of(stdin: BorrowedFd<'_>) -> Option<Stdin> {
    let file = File::from(stdin.try_clone_to_owned().ok()?);
    let kind = file.metadata().ok()?.file_type();
    Some(match () {
        () if kind.is_file() => Stdin::File,
        () if kind.is_fifo() || kind.is_socket() => Stdin::Stream,
        () => Stdin::Nothing,
    })
}

/// The container of this run from an earlier codex-docker that did not bring it to its end.
async fn find(docker: &Docker, settings: &Settings) -> Result<Option<ContainerInspectResponse>, Failure> {
    let found = match docker.inspect_container(&settings.name, None::<InspectContainerOptions>).await {
        Ok(found) => found,
        Err(error) if status_of(&error) == Some(404) => return Ok(None),
        Err(error) => return Err(refused("engine_failed", "the container could not be looked at", &error)),
    };
    let has = found.config.as_ref().and_then(|config| config.labels.clone()).unwrap_or_default();
    let wanted = labels::of_container(&settings.state.to_string_lossy(), &settings.labels);
    let is_ours = ledger::folder_of(&found).is_some_and(|folder| folder == settings.state);
    if is_ours && wanted.iter().all(|(key, value)| has.get(key) == Some(value)) {
        return Ok(Some(found));
    }
    Err(Failure::new("name_taken", format!("there is a container `{}` already, and it is not this run's", settings.name))
        .hint("set another CONTAINER_NAME, or remove that one with `docker rm`"))
}

fn not_created(settings: &Settings, error: &bollard::errors::Error) -> Failure {
    let failure = refused("container_not_created", &format!("the container `{}` could not be made", settings.name), error);
    match status_of(error) {
        Some(409) => failure.hint("somebody made one of this name a moment ago; try again"),
        _ => failure.hint("the engine's words say why; `docker info` and free disk are the first things to look at"),
    }
}

/// Attaches before the start, so that nothing is missed. Output is attached only at a terminal.
async fn attach(docker: &Docker, container: &str, talk: Talk) -> Result<Option<AttachContainerResults>, Failure> {
    let output = match talk {
        Talk::Files => return Ok(None),
        Talk::Terminal(..) => true,
        Talk::Stream => false,
    };
    let options = AttachContainerOptionsBuilder::new().stdin(true).stdout(output).stderr(output).stream(true).build();
    let attached = docker.attach_container(container, Some(options)).await;
    attached.map(Some).map_err(|error| refused("engine_failed", "the container's stdin could not be reached", &error))
}

async fn start(docker: &Docker, settings: &Settings, environment: &BTreeMap<String, String>) -> Result<(), Failure> {
    let locks = prepare::locks(settings, environment);
    let _turn = slots::to_start(&locks).await.map_err(|error| {
        Failure::new("state_folder", format!("`{}` cannot be written: {error}", locks.display())).hint("its owner must be you")
    })?;
    docker.start_container(&settings.name, None::<StartContainerOptions>).await.map_err(|error| {
        refused("container_not_started", &format!("the container `{}` could not be started", settings.name), &error).hint(
            "the engine's words say why; a limit that the machine cannot keep and an image without /bin/sh are the usual reasons",
        )
    })
}
