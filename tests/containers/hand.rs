//! A user who calls `codex-docker`, with separate folders and environment variables. No variable of the test machine is passed
//! on, and the folder and the containers are removed afterwards.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use testkit::docker::{self, Sandbox};
use testkit::until;

use crate::BINARY;

/// The script that replaces Codex and runs its argument in a shell.
const SHELL_FOR_CODEX: &str = "#!/bin/sh\nexec /bin/sh -c \"$1\"\n";

/// The ID of a user without rights on the machine.
pub(crate) const USER: u32 = 54321;

/// A user who calls `codex-docker`.
pub(crate) struct Hand {
    folder: tempfile::TempDir,
    sandbox: Sandbox,
    image: String,
    variables: Vec<(String, String)>,
}

impl Hand {
    /// Creates a user whose containers have the real Codex.
    pub(crate) fn new() -> Self {
        let image = docker::codex_image();
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["work", "home", "shim"] {
            fs_err::create_dir(folder.path().join(name)).expect("the folder can be created");
        }
        Self { folder, sandbox: Sandbox::new(), image, variables: vec![] }
    }

    /// Creates a user whose containers have a shell in place of Codex.
    pub(crate) fn with_shell() -> Self {
        let hand = Self::new();
        let shim = hand.folder.path().join("shim/codex");
        fs_err::write(&shim, SHELL_FOR_CODEX).expect("written");
        fs_err::set_permissions(&shim, std::fs::Permissions::from_mode(0o755)).expect("ours");
        let map = format!("{}=/usr/local/sbin/codex", shim.display());
        hand.with("CODEX_MOUNT_MAPS_RO", &map)
    }

    /// Adds an environment variable.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Returns the folder that the container mounts.
    pub(crate) fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Returns the user's home directory.
    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Returns the name of a container that is removed at the end of the test.
    pub(crate) fn name(&self, story: &str) -> String {
        self.sandbox.container(story)
    }

    /// Gives the container a fixed name.
    pub(crate) fn named(self, story: &str) -> Self {
        let name = self.name(story);
        self.with("CONTAINER_NAME", &name)
    }

    /// Returns the folder that contains all of the user's files.
    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the `codex-docker` command with an empty stdin, without starting it.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(BINARY);
        command.arg("codex-docker").args(arguments).current_dir(self.work()).env_clear().stdin(Stdio::null());
        command.env("PATH", "/usr/bin:/bin").env("HOME", self.home()).env("IMAGE_NAME", &self.image);
        command.env("CODEX_DOCKER_LABELS", self.sandbox.label()).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs `codex-docker` and waits until it ends.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Said {
        Said::of(&self.command(arguments).output().expect("`codex-docker` can be started"))
    }

    /// Starts `codex-docker` with pipes for its output.
    pub(crate) fn start(&self, script: &str) -> Running {
        let child = self.command([script]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Running::of(child.expect("`codex-docker` can be started"))
    }

    /// Builds an image that is removed at the end of the test.
    pub(crate) fn build(&self, tag: &str, dockerfile: &str) -> String {
        self.sandbox.build(tag, dockerfile)
    }

    /// Returns a name for an image that is removed at the end of the test.
    pub(crate) fn image(&self, tag: &str) -> String {
        self.sandbox.image(tag)
    }

    /// Starts a run and kills its `codex-docker`, which abandons the container. Returns the container's name.
    pub(crate) fn orphan(&self) -> String {
        let before = self.containers();
        let mut orphan = self.start("echo begun; sleep 1000000");
        orphan.line();
        orphan.signal(rustix::process::Signal::KILL);
        orphan.end();
        self.containers().into_iter().find(|name| !before.contains(name)).expect("the abandoned container keeps running")
    }

    /// Runs `codex-docker` as user 54321, who owns all folders and may use the container engine.
    pub(crate) fn run_as_plain_user<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Said {
        for path in [self.root(), &self.work(), &self.home()] {
            rustix::fs::chown(path, Some(rustix::fs::Uid::from_raw(USER)), Some(rustix::fs::Gid::from_raw(USER)))
                .expect("tests run as root");
        }
        let command = self.command(arguments);
        let mut as_user = Command::new("setpriv");
        let user = USER.to_string();
        as_user.args(["--reuid", &user, "--regid", &user, "--groups", &docker::socket_group(), "--"]);
        as_user.arg(command.get_program()).args(command.get_args()).current_dir(self.work()).env_clear();
        as_user.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Said::of(&as_user.output().expect("`setpriv` can be started"))
    }

    /// Returns the label of this user's containers. The engine may also run containers of other users.
    pub(crate) fn label(&self) -> String {
        self.sandbox.label()
    }

    /// Returns the names of this user's containers.
    pub(crate) fn containers(&self) -> Vec<String> {
        let said = self.run(["list", "--json", "--label", &self.label()]);
        let listed: Vec<serde_json::Value> = serde_json::from_str(&said.stdout).expect("a list");
        listed.iter().map(|one| one["name"].as_str().expect("a name").to_owned()).collect()
    }

    /// Returns the folder with the files of runs, unless a test chooses a different one.
    pub(crate) fn state(&self) -> PathBuf {
        self.home().join(".local/state/codex-docker")
    }

    /// Returns the names of the folders that earlier runs left.
    pub(crate) fn folders(&self) -> Vec<String> {
        let Ok(found) = fs_err::read_dir(self.state()) else { return vec![] };
        let names = found.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned());
        names.filter(|name| name != "locks").collect()
    }
}

/// The result of a call of `codex-docker`.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Checks that the call succeeded, and returns its stdout.
    #[track_caller]
    pub(crate) fn well(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:?}");
        &self.stdout
    }
}

/// A running call of `codex-docker`.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn of(mut child: Child) -> Self {
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, stdout }
    }

    /// Waits for the next line of stdout.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("readable");
        assert!(line.ends_with('\n'), "the call prints a whole line before it ends: {line:?}");
        line.trim_end().to_owned()
    }

    /// Sends a signal to `codex-docker`.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the signal can be sent");
    }

    /// Waits until the call ends, and returns the remaining output.
    pub(crate) fn end(mut self) -> Said {
        let mut stdout = String::new();
        let mut stderr = String::new();
        self.stdout.read_to_string(&mut stdout).expect("readable");
        if let Some(mut from) = self.child.stderr.take() {
            from.read_to_string(&mut stderr).expect("readable");
        }
        Said { code: self.child.wait().expect("ours").code(), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A failed test can leave the process running. Killing a process that has ended fails, which does no harm.
        if self.child.kill().is_ok() {
            let _ended = self.child.wait();
        }
    }
}

/// The time limit of every wait, far longer than needed.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);

/// Waits until a file exists.
#[track_caller]
pub(crate) fn await_file(path: &Path) {
    until(LIMIT, &format!("`{}` exists", path.display()), || path.exists());
}
