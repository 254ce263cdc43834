//! `serve`: the server in the foreground, until SIGINT or SIGTERM. Runs go on without it.
//! The one command that has an engine instead of a client.

use std::process::ExitCode;

use clap::ValueEnum as _;
use engine::{Config, Engine, Overrides};
use model::api::ProblemView;
use model::problem::{Problem, ProblemKind};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{USAGE, log_filter};
use crate::args::{Arguments, LogFormat, ServeArguments};
use crate::printer;
use crate::supervisor::Supervisor;

/// As many open files as the server and its children may have; the same as in the service's unit.
const MOST_OPEN_FILES: u64 = 65_536;

pub(crate) async fn run(arguments: &Arguments, serve: &ServeArguments) -> Result<ExitCode, Problem> {
    let format = serve.log_format.map_or_else(chosen_format, Ok)?;
    log(format);
    let served = until_stopped(arguments, serve).await;
    if let Err(problem) = &served
        && serve.announce
    {
        // Whoever started this server reads it from the pipe, and shows it to a person.
        printer::line(serde_json::to_string(&ProblemView::from(problem)).map_err(Problem::internal)?);
    }
    match (served, format) {
        // Whoever reads the log as JSON reads only the log.
        (Err(problem), LogFormat::Json) => {
            tracing::error!(code = %problem.code, hints = problem.hints.join("; "), "{problem}");
            Ok(ExitCode::FAILURE)
        }
        (served, LogFormat::Json | LogFormat::Text) => served,
    }
}

async fn until_stopped(arguments: &Arguments, serve: &ServeArguments) -> Result<ExitCode, Problem> {
    let config =
        Config::load(&Overrides { home: arguments.home.clone(), listen: serve.listen.clone(), worker: serve.worker.clone() })?;
    let open_files = raise_open_files();
    let shutdown = CancellationToken::new();
    stop_on_signals(&shutdown)?;
    let engine = Engine::start(config.clone()).await.map_err(|error| error.problem)?;
    let listeners = web::bind(&engine.socket_path(), config.listen).await.map_err(|error| {
        let problem = Problem::new(ProblemKind::Unavailable, "cannot_listen", error.to_string());
        error.hints().into_iter().fold(problem, Problem::hint)
    })?;
    if let Some(address) = listeners.address() {
        engine.set_listen(address);
    }
    for name in config.names_for_every_port() {
        tracing::warn!(name, "browsers send the session cookie for this host name to every port; see docs/https.md");
    }
    let listen = announce(&engine, serve.announce);
    let supervisor = Supervisor::of(&config);
    supervisor.ready(&format!("serving on {listen}"));
    let options = web::ServeOptions { allowed_hosts: config.allowed_hosts.clone(), ..web::ServeOptions::default() };
    // Connections leave room for what the server itself opens, such as the pipes of git.
    let options = web::ServeOptions { most_connections: options.most_connections.min(open_files / 2), ..options };
    let serving = async {
        let served = web::serve(engine.clone(), listeners, options, shutdown.clone()).await;
        shutdown.cancel();
        served
    };
    let supervised = async {
        supervisor.say_that_it_lives(&config.home, &shutdown).await;
        shutdown.cancelled().await;
        supervisor.stopping();
    };
    let (served, ()) = tokio::join!(serving, supervised);
    engine.shutdown().await;
    served.map_err(|error| Problem::internal(format!("could not go on serving: {error}")))?;
    Ok(ExitCode::SUCCESS)
}

/// Raises this process's limit of open files, as far as the system lets it. Returns the limit.
///
/// A login shell often has a limit of 1024, which a server with many connections and runs can reach. Children inherit the limit that
/// the service has too (docs/systemd.md): it does not harm those that use `select`, unless they open more than 1024 files themselves.
fn raise_open_files() -> usize {
    let limits = getrlimit(Resource::Nofile);
    let possible = limits.maximum.map_or(MOST_OPEN_FILES, |hard| hard.min(MOST_OPEN_FILES));
    // None is no limit.
    let now = limits.current.unwrap_or(u64::MAX);
    if now >= possible {
        return usize::try_from(now).unwrap_or(usize::MAX);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(possible), ..limits }) {
        Ok(()) => usize::try_from(possible).unwrap_or(usize::MAX),
        Err(error) => {
            tracing::warn!(%error, limit = now, "could not raise the limit on open files");
            usize::try_from(now).unwrap_or(usize::MAX)
        }
    }
}

/// What `ORCH_LOG_FORMAT` says. An empty variable is none.
fn chosen_format() -> Result<LogFormat, Problem> {
    match std::env::var("ORCH_LOG_FORMAT") {
        Ok(text) if !text.is_empty() => LogFormat::from_str(&text, false).map_err(|_| {
            Problem::new(ProblemKind::Unusable, USAGE, format!("`{text}` is no form of a log"))
                .hint("set ORCH_LOG_FORMAT to text or json")
        }),
        Ok(_) | Err(_) => Ok(LogFormat::default()),
    }
}

fn log(format: LogFormat) {
    let filter = log_filter(LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    match format {
        LogFormat::Text => tracing_subscriber::registry().with(filter).with(lines).init(),
        LogFormat::Json => {
            tracing_subscriber::registry().with(filter).with(lines.json().flatten_event(true)).init();
            // A panic's own words are no JSON.
            std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
        }
    }
}

fn stop_on_signals(shutdown: &CancellationToken) -> Result<(), Problem> {
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut signals = signal(kind).map_err(Problem::internal)?;
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            signals.recv().await;
            tracing::info!("stopping; runs continue under their keepers");
            shutdown.cancel();
        });
    }
    Ok(())
}

/// Says where the server is and which worker it uses; to whoever started it in the background, on one line. Returns where.
fn announce(engine: &Engine, to_starter: bool) -> String {
    let status = engine.status();
    let listen = status.listen.as_deref().map_or_else(|| "the socket only".to_owned(), |address| format!("http://{address}"));
    match &status.worker.problem {
        None => tracing::info!(listen, home = status.home, worker = status.worker.name, "serving"),
        Some(problem) => tracing::warn!(listen, home = status.home, problem, "serving, but tasks cannot start"),
    }
    if to_starter {
        printer::line(format!("serving on {listen}"));
    }
    listen
}
