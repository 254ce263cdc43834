//! Notifies the supervisor that started the server (`sd_notify(3)`) that the server is ready, is alive, or is stopping.
//! Without `NOTIFY_SOCKET`, it does nothing.
//!
//! Programs that the server starts do not inherit `NOTIFY_SOCKET`, because each program gets an explicit list of variables.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use config::Config;
use model::problem::Problem;
use protocol::ServerStatus;
use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::server;

/// A connection to the supervisor, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Supervisor {
    socket: Option<UnixDatagram>,
    /// The interval within which the supervisor expects a sign of life.
    patience: Option<Duration>,
}

impl Supervisor {
    /// Connects to the supervisor of this process. Logs a warning if it cannot be reached.
    pub(crate) fn of(config: &Config) -> Self {
        let text = |name: &str| config.environment.get(std::ffi::OsStr::new(name)).and_then(|value| value.to_str());
        let Some(name) = text("NOTIFY_SOCKET") else { return Self::default() };
        let socket = match connect(name) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(%error, socket = name, "could not notify systemd");
                return Self::default();
            }
        };
        let is_ours = text("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(std::process::id()));
        let patience = text("WATCHDOG_USEC").filter(|_| is_ours).and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
        Self { socket: Some(socket), patience: patience.map(Duration::from_micros) }
    }

    /// Reports that the server is ready.
    pub(crate) fn ready(&self, status: &str) {
        self.notify(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// Reports that the server is stopping.
    pub(crate) fn stopping(&self) {
        self.notify(&[NotifyState::Stopping, NotifyState::Status("stopping; runs continue")]);
    }

    /// Sends a sign of life twice per interval, as long as the server answers requests.
    ///
    /// To find out, it sends a request to the server's socket, as any client does. The signs of life stop if the server accepts no
    /// connections, if the runtime is stuck, or if a lock of the engine is never released.
    pub(crate) async fn say_that_it_lives(&self, home: &Path, until: &CancellationToken) {
        let Some(patience) = self.patience else { return };
        let mut ticks = tokio::time::interval(patience / 2);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while until.run_until_cancelled(ticks.tick()).await.is_some() {
            match until.run_until_cancelled(ask(home)).await {
                Some(Ok(_)) => self.notify(&[NotifyState::Watchdog]),
                Some(Err(problem)) => tracing::error!(%problem, "the server does not answer its own health check"),
                None => return,
            }
        }
    }

    /// Sends a message. [`sd_notify::notify`] is not used, because it reads the process environment and its socket blocks.
    fn notify(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        let lines: Vec<_> = states.iter().map(NotifyState::to_string).collect();
        if let Err(error) = socket.send(lines.join("\n").as_bytes()) {
            tracing::warn!(%error, "could not notify systemd");
        }
    }
}

/// Opens a new connection, to test that the server still accepts connections.
async fn ask(home: &Path) -> Result<ServerStatus, Problem> {
    server::client_of(home).await?.show_status().await
}

/// Connects to a socket. A name that starts with `@` is in the abstract namespace.
fn connect(name: &str) -> io::Result<UnixDatagram> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // A supervisor that does not read its socket must not block the server.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use testkit::fake_server::Answer;

    use super::*;

    fn supervisor(variables: &[(&str, &str)]) -> Supervisor {
        let mut config = Config::for_home(Path::new("/nowhere"));
        config.environment = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Supervisor::of(&config)
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes).expect("a message arrived");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn a_supervisor_is_notified_at_a_path_or_in_the_abstract_namespace() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let at_path = UnixDatagram::bind(&path).expect("the path is free");
        supervisor(&[("NOTIFY_SOCKET", path.to_str().expect("text"))]).ready("serving");
        assert_eq!(heard(&at_path), "READY=1\nSTATUS=serving");
        let name = format!("codex-orchestrator-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let abstracted = UnixDatagram::bind_addr(&address).expect("the name is free");
        supervisor(&[("NOTIFY_SOCKET", &format!("@{name}"))]).stopping();
        assert_eq!(heard(&abstracted), "STOPPING=1\nSTATUS=stopping; runs continue");
    }

    #[test]
    fn without_a_supervisor_nothing_is_sent() {
        assert!(supervisor(&[("WATCHDOG_USEC", "1000")]).socket.is_none());
        supervisor(&[]).ready("serving");
        supervisor(&[("NOTIFY_SOCKET", "/nowhere/notify")]).ready("serving");
        supervisor(&[("NOTIFY_SOCKET", "nonsense")]).stopping();
    }

    #[test]
    fn a_watchdog_for_another_process_is_ignored() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let _bound = UnixDatagram::bind(&path).expect("the path is free");
        let patience = |variables: &[(&str, &str)]| {
            let socket = [("NOTIFY_SOCKET", path.to_str().expect("text"))];
            supervisor(&[&socket[..], variables].concat()).patience
        };
        assert_eq!(patience(&[("WATCHDOG_USEC", "30000000")]), Some(Duration::from_secs(30)));
        let own = std::process::id().to_string();
        assert_eq!(patience(&[("WATCHDOG_USEC", "500"), ("WATCHDOG_PID", &own)]), Some(Duration::from_micros(500)));
        assert_eq!(patience(&[("WATCHDOG_USEC", "500"), ("WATCHDOG_PID", "1")]), None);
        for nonsense in ["0", "", "soon", "-1"] {
            assert_eq!(patience(&[("WATCHDOG_USEC", nonsense)]), None, "{nonsense:?}");
        }
    }

    #[tokio::test]
    async fn a_sign_of_life_is_sent_only_if_the_server_answers() {
        let stage = crate::tests::stage::Stage::new().await;
        let status = || {
            Answer::json(serde_json::json!({
                "version": "1", "pid": 1, "home": "/", "worker": { "name": "host", "program": null, "problem": null, "hints": [] },
                "git": "", "started_at": "2026-01-01T00:00:00Z", "listen": null, "environments": 0, "tasks": 0, "active_runs": 0,
            }))
        };
        let stuck = Answer::problem(500, "internal", "a lock is never released");
        stage.on("GET /api/v1/status", status()).on("GET /api/v1/status", stuck).on("GET /api/v1/status", status());
        let path = stage.path("notify");
        let bound = tokio::net::UnixDatagram::bind(&path).expect("the path is free");
        let supervisor = supervisor(&[("NOTIFY_SOCKET", path.to_str().expect("text")), ("WATCHDOG_USEC", "20000")]);
        let until = CancellationToken::new();
        let home = stage.server.socket().parent().expect("a folder");
        let two_signs = async {
            for _ in 0..2 {
                let mut bytes = [0; 64];
                let length = bound.recv(&mut bytes).await.expect("a message");
                assert_eq!(&bytes[..length], b"WATCHDOG=1");
            }
            let asked = stage.requests().len();
            until.cancel();
            asked
        };
        let (asked, ()) = tokio::join!(two_signs, supervisor.say_that_it_lives(home, &until));
        assert!(asked >= 3, "a server that does not answer gives no sign of life: {asked} requests");
    }

    #[tokio::test]
    async fn without_a_watchdog_nobody_is_asked() {
        let stage = crate::tests::stage::Stage::new().await;
        supervisor(&[]).say_that_it_lives(stage.server.socket().parent().expect("a folder"), &CancellationToken::new()).await;
        assert_eq!(stage.requests(), [""; 0]);
    }
}
