//! `serve`: runs the server in the foreground until SIGINT or SIGTERM. Runs continue without it.
//! It is the only command that runs the engine itself. Most others are clients of the server.

use std::process::ExitCode;

use clap::ValueEnum as _;
use config::{Config, Overrides};
use engine::{Caller, Engine};
use model::ErrorCode;
use model::problem::Problem;
use protocol::ProblemView;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::log_filter;
use crate::args::{Arguments, LogFormat, ServeArguments};
use crate::printer;
use crate::supervisor::Supervisor;

/// The limit on open files for the server and its children. The systemd unit sets the same limit.
const MOST_OPEN_FILES: u64 = 65_536;

pub(crate) async fn run(arguments: &Arguments, serve: &ServeArguments) -> Result<ExitCode, Problem> {
    let format = serve.log_format.map_or_else(chosen_format, Ok)?;
    log(format);
    let served = until_stopped(arguments, serve).await;
    if let Err(problem) = &served
        && serve.announce
    {
        // The command that started this server reads the problem from the pipe.
        printer::line(serde_json::to_string(&ProblemView::from(problem)).map_err(Problem::internal)?);
    }
    match (served, format) {
        // With a JSON log, the error is logged as JSON instead of printed.
        (Err(problem), LogFormat::Json) => {
            tracing::error!(code = %problem.report.code, hints = problem.report.hints.join("; "), "{problem}");
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
        let problem = Problem::new(ErrorCode::CannotListen, error.to_string());
        error.hints().into_iter().fold(problem, Problem::hint)
    })?;
    if let Some(address) = listeners.address() {
        engine.set_listen(address);
    }
    for name in config.names_for_every_port() {
        tracing::warn!(name, "browsers send the session cookie for this host name to every port; see docs/https.md");
    }
    let listen = announce(&engine);
    if serve.announce {
        printer::line(format!("serving on {listen}"));
    }
    let supervisor = Supervisor::of(&config);
    supervisor.ready(&format!("serving on {listen}"));
    let options = web::ServeOptions { allowed_hosts: config.allowed_hosts.clone(), ..web::ServeOptions::default() };
    // Half of the open files are reserved for the server itself, e.g. for pipes to git.
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
    served.map_err(|error| Problem::internal(format!("the server stopped with an error: {error}")))?;
    Ok(ExitCode::SUCCESS)
}

/// Raises this process's limit on open files as far as the system allows. Returns the limit.
///
/// A login shell often has a limit of 1024, which a server with many connections and runs can reach. Children inherit the limit.
/// A higher limit is safe even for programs that use `select`, unless they open more than 1024 files.
fn raise_open_files() -> usize {
    let limits = getrlimit(Resource::Nofile);
    let possible = limits.maximum.map_or(MOST_OPEN_FILES, |hard| hard.min(MOST_OPEN_FILES));
    // `None` means unlimited.
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

/// Returns the format in `ORCH_LOG_FORMAT`.
fn chosen_format() -> Result<LogFormat, Problem> {
    format_of(std::env::var("ORCH_LOG_FORMAT").ok().as_deref())
}

/// Parses the name of a format. Without a name, returns the default.
fn format_of(name: Option<&str>) -> Result<LogFormat, Problem> {
    match name.filter(|name| !name.is_empty()) {
        Some(name) => LogFormat::from_str(name, false).map_err(|_| {
            Problem::new(ErrorCode::Usage, format!("invalid log format `{name}`")).hint("set ORCH_LOG_FORMAT to text or json")
        }),
        None => Ok(LogFormat::default()),
    }
}

fn log(format: LogFormat) {
    let filter = log_filter(LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    match format {
        LogFormat::Text => tracing_subscriber::registry().with(filter).with(lines).init(),
        LogFormat::Json => {
            tracing_subscriber::registry().with(filter).with(lines.json().flatten_event(true)).init();
            // The default panic message is not JSON.
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

/// Logs the server's address and worker. Returns the address.
fn announce(engine: &Engine) -> String {
    let status = engine.as_user(Caller::Program).status();
    let listen = status.listen.as_deref().map_or_else(|| "the socket only".to_owned(), |address| format!("http://{address}"));
    match &status.worker.problem {
        None => tracing::info!(listen, home = status.home, worker = status.worker.name, "serving"),
        Some(problem) => tracing::warn!(listen, home = status.home, problem, "serving, but tasks cannot start"),
    }
    listen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_log_format_is_a_usage_error() {
        for (name, expect) in [
            (None, LogFormat::Text),
            (Some(""), LogFormat::Text),
            (Some("text"), LogFormat::Text),
            (Some("json"), LogFormat::Json),
        ] {
            assert_eq!(format_of(name), Ok(expect), "{name:?}");
        }
        for name in ["JSON", "xml", " text"] {
            let problem = format_of(Some(name)).expect_err("unknown");
            assert_eq!((problem.report.code.known(), problem.report.hints.len()), (Some(ErrorCode::Usage), 1), "{name}");
        }
    }

    #[test]
    fn the_limit_on_open_files_is_raised_and_never_lowered() {
        let before = getrlimit(Resource::Nofile);
        let limit = raise_open_files();
        let after = getrlimit(Resource::Nofile);
        assert!(after.current >= before.current || after.current.is_none(), "{before:?} {after:?}");
        assert_eq!(after.maximum, before.maximum);
        assert_eq!(
            after.current.map(|current| usize::try_from(current).expect("it fits")),
            Some(limit).filter(|_| after.current.is_some())
        );
    }
}
