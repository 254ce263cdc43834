//! What a server tells the supervisor that started it, in the words of `sd_notify(3)`: that it is ready, that it lives, that
//! it stops. Without `NOTIFY_SOCKET` nobody asked, and nothing is said.
//!
//! The variables stay with the server: every program that it starts gets a listed environment, and they are on no list.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use engine::Config;
use model::api::ServerStatus;
use model::problem::Problem;
use tokio_util::sync::CancellationToken;

use crate::client::Client;

/// The supervisor, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Supervisor {
    door: Option<UnixDatagram>,
    /// Within what time it wants to hear that the server lives.
    patience: Option<Duration>,
}

impl Supervisor {
    /// The one that this process was started by. One that cannot be reached is as good as none.
    pub(crate) fn of(config: &Config) -> Self {
        let text = |name: &str| config.environment.get(std::ffi::OsStr::new(name)).and_then(|value| value.to_str());
        let Some(name) = text("NOTIFY_SOCKET") else { return Self::default() };
        let door = match connect(name) {
            Ok(door) => door,
            Err(error) => {
                tracing::warn!(%error, socket = name, "could not notify systemd");
                return Self::default();
            }
        };
        let is_ours = text("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(std::process::id()));
        let patience = text("WATCHDOG_USEC").filter(|_| is_ours).and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
        Self { door: Some(door), patience: patience.map(Duration::from_micros) }
    }

    /// The doors are open.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The server ends by itself, or because it was told to.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping; runs go on");
    }

    /// Says at half of the time that the supervisor gives, as long as the server answers its clients.
    ///
    /// It asks as any client does: at the socket, for what the engine has to look up. So it falls silent when nothing is accepted
    /// any more, when the runtime is stuck, and when a lock of the engine is never given back.
    pub(crate) async fn say_that_it_lives(&self, home: &Path, until: &CancellationToken) {
        let Some(patience) = self.patience else { return };
        let mut ticks = tokio::time::interval(patience / 2);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while until.run_until_cancelled(ticks.tick()).await.is_some() {
            match until.run_until_cancelled(ask(home)).await {
                Some(Ok(_)) => self.tell("WATCHDOG=1"),
                Some(Err(problem)) => tracing::error!(%problem, "the server does not answer its own health check"),
                None => return,
            }
        }
    }

    fn tell(&self, words: &str) {
        let Some(door) = &self.door else { return };
        if let Err(error) = door.send(words.as_bytes()) {
            tracing::warn!(%error, "could not notify systemd");
        }
    }
}

/// Over a connection of its own: an old one would say nothing of whether new ones are accepted.
async fn ask(home: &Path) -> Result<ServerStatus, Problem> {
    Client::of(home).await?.show_status().await
}

/// A name with `@` in front is one of the abstract namespace.
fn connect(name: &str) -> io::Result<UnixDatagram> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let door = UnixDatagram::unbound()?;
    door.connect_addr(&address)?;
    // A supervisor that does not read must not hold up the server.
    door.set_nonblocking(true)?;
    Ok(door)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supervisor(variables: &[(&str, &str)]) -> Supervisor {
        let mut config = Config::for_home(Path::new("/nowhere"));
        config.environment = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Supervisor::of(&config)
    }

    fn heard(door: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let length = door.recv(&mut bytes).expect("something was said");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn a_supervisor_is_told_at_a_path_and_in_the_abstract_namespace() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let at_path = UnixDatagram::bind(&path).expect("a free path");
        supervisor(&[("NOTIFY_SOCKET", path.to_str().expect("text"))]).ready("serving");
        assert_eq!(heard(&at_path), "READY=1\nSTATUS=serving");
        let name = format!("codex-orchestrator-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let abstracted = UnixDatagram::bind_addr(&address).expect("a free name");
        supervisor(&[("NOTIFY_SOCKET", &format!("@{name}"))]).stopping();
        assert!(heard(&abstracted).starts_with("STOPPING=1\n"));
    }

    #[test]
    fn without_a_supervisor_nothing_is_said_and_nothing_breaks() {
        assert!(supervisor(&[("WATCHDOG_USEC", "1000")]).door.is_none());
        supervisor(&[]).ready("serving");
        supervisor(&[("NOTIFY_SOCKET", "/nowhere/notify")]).ready("serving");
        supervisor(&[("NOTIFY_SOCKET", "nonsense")]).stopping();
    }

    #[test]
    fn a_watchdog_that_is_meant_for_another_process_is_not_ours() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let _door = UnixDatagram::bind(&path).expect("a free path");
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
}
