//! Provides the container engine for the tests: one that is already running, or Debian's, which is started for this command.
//!
//! A container engine that was started here stops when this process ends for any reason. Before a normal end, containers that the tests
//! left behind are removed. An existing container engine is never changed.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{DockerError, docker, engine_answers, last_words};
use crate::{console, packages, tools};

/// How long dockerd may take to become ready. It usually takes one second.
const START_LIMIT: Duration = Duration::from_mins(1);

/// How long dockerd may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A container engine that the tests can use.
#[derive(Debug)]
pub(crate) struct Engine {
    /// The daemon, if it was started here, and the containers that existed before the tests.
    ours: Option<(Child, BTreeSet<String>)>,
}

/// Finds a running container engine, or starts one.
pub(crate) fn ensure(root: &Path) -> Result<Engine, DockerError> {
    if packages::on_path("docker") && engine_answers() {
        return Ok(Engine { ours: None });
    }
    if let Some(host) = std::env::var_os("DOCKER_HOST") {
        return Err(DockerError::Elsewhere(host.to_string_lossy().into_owned()));
    }
    if !packages::on_path("dockerd") {
        // On a kernel with AppArmor, containers cannot start without AppArmor's tools.
        packages::install(&["docker.io", "apparmor"])?;
    }
    // The client is a separate package in newer versions of Debian.
    if !packages::on_path("docker") {
        packages::install(&["docker-cli"])?;
    }
    if engine_answers() {
        return Ok(Engine { ours: None });
    }
    if !packages::is_root() {
        return Err(DockerError::NotRoot);
    }
    mount_cgroups()?;
    console::timed("start a container engine", || start(&tools::tools_folder(root)))
}

/// Mounts the control groups with Debian's script if they are not mounted, e.g. in a small virtual machine.
fn mount_cgroups() -> Result<(), DockerError> {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    if mounts.lines().any(|line| line.split(' ').nth(2).is_some_and(|kind| kind.starts_with("cgroup"))) {
        return Ok(());
    }
    packages::install(&["cgroupfs-mount"])?;
    Ok(console::run(&mut Command::new("cgroupfs-mount"))?)
}

fn start(tools: &Path) -> Result<Engine, DockerError> {
    let folder = |source| DockerError::Folder { path: tools.to_owned(), source };
    std::fs::create_dir_all(tools).map_err(folder)?;
    let log = tools.join("dockerd.log");
    let pid_file = tools.join("dockerd.pid");
    // No container engine answers, so the PID file is outdated. A different process may have this PID by now.
    std::fs::remove_file(&pid_file).ok();
    let ready = tempfile::tempdir().map_err(folder)?;
    let ready_path = ready.path().join("ready");
    let ready = UnixDatagram::bind(&ready_path).map_err(folder)?;
    ready.set_read_timeout(Some(Duration::from_millis(500))).map_err(folder)?;
    let output = File::create(&log).map_err(folder)?;
    let daemon = Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "dockerd", "--live-restore", "--pidfile"])
        .arg(&pid_file)
        .env("NOTIFY_SOCKET", &ready_path)
        .stdin(Stdio::null())
        .stderr(output.try_clone().map_err(folder)?)
        .stdout(output)
        .spawn()
        .map_err(|source| DockerError::Start { program: "dockerd", source })?;
    // From here on, the daemon is stopped if anything fails.
    let mut engine = Engine { ours: Some((daemon, BTreeSet::new())) };
    let not_ready = |why: String| DockerError::NotReady { why, said: last_words(&log), log: log.clone() };
    await_ready(engine.ours.as_mut().map(|(daemon, _)| daemon), &ready).map_err(not_ready)?;
    if !engine_answers() {
        return Err(not_ready("`docker info` failed".to_owned()));
    }
    if let Some((_, found)) = &mut engine.ours {
        *found = containers();
    }
    Ok(engine)
}

/// Waits for dockerd's ready message, as systemd does.
fn await_ready(daemon: Option<&mut Child>, ready: &UnixDatagram) -> Result<(), String> {
    let Some(daemon) = daemon else { return Ok(()) };
    let until = Instant::now() + START_LIMIT;
    let mut word = [0; 512];
    while Instant::now() < until {
        if let Ok(length) = ready.recv(&mut word)
            && word[..length].split(|&byte| byte == b'\n').any(|line| line == b"READY=1")
        {
            return Ok(());
        }
        match daemon.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => return Err(format!("it exited with {status}")),
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(format!("it was not ready after {START_LIMIT:?}"))
}

fn containers() -> BTreeSet<String> {
    let listed = docker(&["ps", "--all", "--quiet", "--no-trunc"]).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&listed).lines().map(str::to_owned).collect()
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some((daemon, found)) = self.ours.take() else { return };
        let left: Vec<String> = containers().difference(&found).cloned().collect();
        if !left.is_empty() {
            console::complain(&format!("removing containers that the tests left behind: {}", left.len()));
            tools::answers(docker(&["rm", "--force", "--volumes"]).args(&left));
        }
        stop(daemon);
    }
}

/// Stops a daemon: first with SIGTERM, then with SIGKILL.
fn stop(mut daemon: Child) {
    let pid = Pid::from_child(&daemon);
    let (ended, end) = mpsc::channel();
    let waiter = std::thread::spawn(move || {
        let status = daemon.wait();
        ended.send(()).ok();
        status
    });
    kill_process(pid, Signal::TERM).ok();
    if end.recv_timeout(STOP_LIMIT).is_err() {
        console::complain("the container engine does not stop; killing it");
        kill_process(pid, Signal::KILL).ok();
    }
    waiter.join().ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daemon(script: &str) -> Child {
        Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().expect("the shell starts")
    }

    fn listener(folder: &Path) -> UnixDatagram {
        let socket = UnixDatagram::bind(folder.join("ready")).expect("the socket can be created");
        socket.set_read_timeout(Some(Duration::from_millis(10))).expect("the timeout can be set");
        socket
    }

    #[test]
    fn a_daemon_that_says_so_is_ready() {
        let folder = tempfile::tempdir().expect("the folder can be created");
        let socket = listener(folder.path());
        let sender = UnixDatagram::unbound().expect("a socket");
        sender.send_to(b"STATUS=starting", folder.path().join("ready")).expect("sent");
        sender.send_to(b"STATUS=up\nREADY=1", folder.path().join("ready")).expect("sent");
        let mut running = daemon("read line");
        assert_eq!(await_ready(Some(&mut running), &socket), Ok(()));
        stop(running);
    }

    #[test]
    fn a_daemon_that_ends_early_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("the folder can be created");
        let ended = await_ready(Some(&mut daemon("exit 3")), &listener(folder.path()));
        assert_eq!(ended, Err("it exited with exit status: 3".to_owned()));
    }

    #[test]
    fn a_daemon_is_asked_to_end() {
        let folder = tempfile::tempdir().expect("the folder can be created");
        let trace = folder.path().join("trace");
        let started = folder.path().join("started");
        Command::new("mkfifo").arg(&started).status().expect("the pipe can be created");
        let (trap, ready) = (trace.display(), started.display());
        // The child reports itself, because a shell's child that runs no program yet loses signals.
        let child = format!("sh -c 'echo > {ready}; exec sleep 60'");
        let script = format!("trap 'echo asked > {trap}; kill $!; wait $!; exit 0' TERM; {child} & wait");
        let running = daemon(&script);
        std::fs::read(&started).expect("the daemon has set its trap");
        stop(running);
        assert_eq!(std::fs::read_to_string(trace).expect("the daemon wrote the trace"), "asked\n");
    }
}
