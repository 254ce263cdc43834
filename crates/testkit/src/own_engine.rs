//! A separate container engine that a test may kill. It has its own network, its own folders, and a small image without Codex.
//!
//! It does not affect the container engine that other tests use.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::process::has_ended;
use crate::until;

/// The time limit until an engine answers.
const START_LIMIT: Duration = Duration::from_mins(1);

/// The image that every such engine has: a shell and small tools, statically linked.
pub const SMALL_IMAGE: &str = "small:1";

/// A running engine.
pub struct OwnEngine {
    /// `None` after the engine was killed.
    place: Option<Place>,
    process: Child,
}

/// A killed engine. Its containers may still run.
pub struct KilledEngine {
    place: Place,
}

struct Place {
    folder: tempfile::TempDir,
    flags: Vec<String>,
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn host(&self) -> String {
        format!("unix://{}", self.path("engine.sock").display())
    }

    fn docker(&self) -> Command {
        let mut command = Command::new("docker");
        command.args(["--host", &self.host()]);
        command
    }

    /// Waits until the containerd of a killed engine has ended and deletes its PID file. Otherwise the next engine would wait for
    /// that process, even if it is a zombie.
    fn bury_containerd(&self) {
        let file = self.path("exec/containerd/containerd.pid");
        let pid = fs_err::read_to_string(&file).expect("the engine has started containerd");
        let pid = pid.trim().parse().expect("a process ID");
        until(START_LIMIT, "the engine's containerd has ended", || has_ended(pid));
        fs_err::remove_file(file).expect("a test's folder can be written");
    }

    /// Starts the engine in its own network namespace, because an engine without a bridge would remove the bridge of the machine.
    fn start(&self) -> Child {
        let log =
            std::fs::File::options().create(true).append(true).open(self.path("log")).expect("a test's folder can be written");
        let mut command = Command::new("unshare");
        command.args(["--net", "dockerd", "--bridge", "none", "--iptables=false", "--ip6tables=false", "--host", &self.host()]);
        for (flag, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            command.arg(flag).arg(self.path(name));
        }
        command.args(&self.flags).stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        let process = command.spawn().expect("dockerd is installed by `cargo xtask test`");
        until(START_LIMIT, "the test's own engine answers", || {
            self.docker().arg("info").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        });
        process
    }
}

impl OwnEngine {
    /// Starts an engine with these flags and imports the small image.
    pub fn start(flags: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), flags)
    }

    /// Starts an engine that stores its data on btrfs, so that it can limit the disk space of a container.
    pub fn on_btrfs() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (disk, data) = (folder.path().join("disk"), folder.path().join("data"));
        fs_err::create_dir(&data).expect("a test's folder can be written");
        let file = std::fs::File::create(&disk).expect("a test's folder can be written");
        file.set_len(1 << 30).expect("a sparse file");
        for (program, arguments) in [("mkfs.btrfs", &["--quiet"][..]), ("mount", &["-o", "loop"])] {
            let mut command = Command::new(program);
            command.args(arguments).arg(&disk).args((program == "mount").then_some(&data));
            let done = command.output().expect("the program is installed by `cargo xtask test`");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        Self::start_in(folder, &["--storage-driver", "btrfs"])
    }

    fn start_in(folder: tempfile::TempDir, flags: &[&str]) -> Self {
        let place = Place { folder, flags: flags.iter().map(|flag| (*flag).to_owned()).collect() };
        let process = place.start();
        import_small_image(&place.path("image"), &place.host());
        Self { place: Some(place), process }
    }

    /// Returns the value for `DOCKER_HOST`.
    pub fn host(&self) -> String {
        self.place.as_ref().expect("the engine was not killed").host()
    }

    /// Returns the name of the small image.
    pub fn small_image(&self) -> &'static str {
        SMALL_IMAGE
    }

    /// Copies an image from the engine of the machine.
    pub fn load(&self, image: &str) {
        let mut save = Command::new("docker").args(["save", image]).stdout(Stdio::piped()).spawn().expect("docker is installed");
        let from = save.stdout.take().expect("piped");
        let loaded =
            Command::new("docker").args(["--host", &self.host(), "load"]).stdin(from).output().expect("docker is installed");
        assert!(loaded.status.success() && save.wait().expect("ours").success(), "{loaded:?}");
    }

    /// Kills the engine but not its containers.
    pub fn killed(mut self) -> KilledEngine {
        self.process.kill().expect("the engine is our own child");
        self.process.wait().expect("the engine is our own child");
        let place = self.place.take().expect("the engine was not killed");
        place.bury_containerd();
        KilledEngine { place }
    }

    /// Kills the engine and starts it again.
    pub fn killed_and_started_again(self) -> Self {
        self.killed().started_again()
    }
}

impl KilledEngine {
    /// Starts the engine again with all its data.
    pub fn started_again(self) -> OwnEngine {
        let process = self.place.start();
        OwnEngine { place: Some(self.place), process }
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        let listed = place.docker().args(["ps", "--all", "--quiet"]).output();
        let ids = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        for id in ids.lines() {
            drop(place.docker().args(["rm", "--force", id]).output());
        }
        let pid = rustix::process::Pid::from_child(&self.process);
        if rustix::process::kill_process(pid, rustix::process::Signal::TERM).is_ok() {
            drop(self.process.wait());
        }
        unmount_below(place.folder.path());
    }
}

/// Unmounts everything below a folder that an engine has mounted, so that the folder can be deleted.
pub(crate) fn unmount_below(folder: &Path) {
    let mounts = fs_err::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut below: Vec<_> =
        mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|path| Path::new(path).starts_with(folder)).collect();
    below.sort_unstable();
    for path in below.iter().rev() {
        let _gone = rustix::mount::unmount(*path, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Creates the small image in a folder and imports it into an engine.
pub(crate) fn import_small_image(root: &Path, host: &str) {
    for folder in ["bin", "usr/local/sbin", "tmp", "proc", "etc", "root"] {
        fs_err::create_dir_all(root.join(folder)).expect("a test's folder can be written");
    }
    fs_err::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed by `cargo xtask test`");
    for name in ["sh", "sleep", "cat", "ls", "seq", "touch", "printf", "ln", "grep", "setsid", "dd"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).expect("a test's folder can be written");
    }
    let mut tar =
        Command::new("tar").arg("-C").arg(root).args(["-c", "."]).stdout(Stdio::piped()).spawn().expect("tar is installed");
    let from = tar.stdout.take().expect("piped");
    let imported = Command::new("docker")
        .args(["--host", host, "import", "-", SMALL_IMAGE])
        .stdin(from)
        .output()
        .expect("docker is installed");
    assert!(imported.status.success() && tar.wait().expect("ours").success(), "{imported:?}");
}
