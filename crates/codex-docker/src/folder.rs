//! The folder of a run: the container's input and output, the marker, and the lock of the process that supervises the run.
//!
//! `in/` is mounted read-only. The agent can write to `out/`, so a process opens the files there only once, without following
//! links. A container whose lock no process holds is an orphan.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use remove_tree::remove_tree;
use rustix::fs::OFlags;

use crate::failure::Failure;
use crate::inside;
use crate::ledger::{Marker, open_plain};
use crate::seccomp;
use model::ErrorCode;

/// The script that starts Codex in a container.
const ENTRY_SCRIPT: &str = include_str!("entry.sh");

/// The script that login shells in the container run.
const PROFILE_SCRIPT: &str = include_str!("profile.sh");

/// The file that the supervising process locks.
const LOCK: &str = "lock";

/// The size limit for a file on stdin: four times the longest prompt that Codex accepts.
const STDIN_LIMIT: u64 = 4 << 20;

/// The folder of a run, locked by this process.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    _lock: File,
}

/// The open files that Codex writes to.
#[derive(Debug)]
pub(crate) struct Outputs {
    pub(crate) stdout: File,
    pub(crate) stderr: File,
}

/// The result of an attempt to lock a folder.
enum Locked {
    Ours(RunFolder),
    Held,
    Removed,
}

/// Where Codex's stdin comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stdin {
    /// A file, which is copied into the folder.
    File,
    /// The container gets no input on stdin.
    Nothing,
    /// A stream, which is passed on.
    Stream,
    /// A named pipe, which the container opens itself.
    Pipe,
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::new(ErrorCode::StateFolder, format!("cannot use the run's folder `{}`: {error}", path.display()))
        .hint("make sure that the folder is writable and has free space, or set CODEX_DOCKER_STATE to another folder")
}

impl RunFolder {
    /// Creates the folder of a container in a state folder, locks it, and writes its marker.
    pub(crate) fn hold(root: &Path, marker: &Marker) -> Result<Self, Failure> {
        let path = root.join(&marker.container);
        let unusable = |error: io::Error| failed(&path, &error);
        private_folder(root).map_err(unusable)?;
        // The engine reports mount sources as it received them. Resolve links now, so that paths can be compared later.
        let path = fs_err::canonicalize(root).map_err(unusable)?.join(&marker.container);
        let held = loop {
            private_folder(&path).map_err(unusable)?;
            match Self::lock(&path).map_err(unusable)? {
                Locked::Ours(held) => break held,
                // Another process removed the folder before it could be locked.
                Locked::Removed => {}
                Locked::Held => {
                    let message = format!("another codex-docker is using `{}`", path.display());
                    return Err(Failure::new(ErrorCode::RunIsHeld, message)
                        .hint("set a different CONTAINER_NAME, or wait until that run has ended"));
                }
            }
        };
        marker.write(&held.path).map_err(unusable)?;
        Ok(held)
    }

    /// Locks the folder of a run. Returns `None` if another process holds the lock or the folder is gone.
    pub(crate) fn take(path: &Path) -> io::Result<Option<Self>> {
        match Self::lock(path)? {
            Locked::Ours(held) => Ok(Some(held)),
            Locked::Held | Locked::Removed => Ok(None),
        }
    }

    fn lock(path: &Path) -> io::Result<Locked> {
        if !fs_err::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
            return match fs_err::symlink_metadata(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Locked::Removed),
                Err(error) => Err(error),
                Ok(_) => Err(io::Error::new(io::ErrorKind::NotADirectory, "not a folder")),
            };
        }
        let file = path.join(LOCK);
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let mut options = fs_err::File::options();
        options.create(true).truncate(false).write(true).mode(0o600).custom_flags(flags);
        let lock = match options.open(&file) {
            Ok(lock) => lock.into_parts().0,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Locked::Removed),
            Err(error) => return Err(error),
        };
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(Locked::Held),
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => {}
        }
        // The previous holder may have removed the folder. In that case, this lock is on a deleted file.
        let is_there = fs_err::symlink_metadata(&file).is_ok_and(|found| is_same(&found, &lock));
        Ok(if is_there { Locked::Ours(Self { path: path.to_owned(), _lock: lock }) } else { Locked::Removed })
    }

    /// Returns whether a process holds the lock of this folder. If the lock cannot be read, it counts as held.
    pub(crate) fn is_held(path: &Path) -> bool {
        match open_plain(&path.join(LOCK)) {
            Ok(Some(lock)) => lock.try_lock().is_err(),
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// Returns the path of the folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of an input file.
    pub(crate) fn input(&self, name: &str) -> PathBuf {
        self.path.join("in").join(name)
    }

    /// Removes the files of an earlier container with this name and writes the scripts again.
    pub(crate) fn clear(&self) -> Result<(), Failure> {
        self.try_clear().map_err(|error| failed(&self.path, &error))
    }

    fn try_clear(&self) -> io::Result<()> {
        for name in ["in", "out"] {
            remove_tree(&self.path.join(name)).map_err(|error| error.source)?;
            private_folder(&self.path.join(name))?;
        }
        private_folder(&self.input("sockets"))?;
        fs_err::write(self.path.join(seccomp::FILE), seccomp::PROFILE)?;
        fs_err::write(self.input(inside::PROFILE), PROFILE_SCRIPT)?;
        fs_err::write(self.input(inside::ENTRY), ENTRY_SCRIPT)
    }

    /// Writes an input file.
    pub(crate) fn put(&self, name: &str, content: &[u8]) -> Result<(), Failure> {
        let path = self.input(name);
        let written = fs_err::File::options().create(true).truncate(true).write(true).mode(0o600).open(&path);
        let written = written.and_then(|mut file| io::Write::write_all(&mut file, content));
        written.map_err(|error| failed(&path, &error))
    }

    /// Writes a file that is not mounted into the container.
    pub(crate) fn put_private(&self, name: &str, content: &str) -> Result<(), Failure> {
        self.put(&format!("../{name}"), content.as_bytes())
    }

    /// Writes the variables as a shell script, which the entry script sources.
    pub(crate) fn put_variables(&self, variables: &BTreeMap<String, String>) -> Result<(), Failure> {
        let lines = variables.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value)));
        self.put(inside::VARIABLES, lines.collect::<String>().as_bytes())
    }

    /// Copies a file on stdin into the folder, where the container can read it.
    pub(crate) fn put_stdin(&self, stdin: impl AsFd) -> Result<(), Failure> {
        let unreadable = |error: io::Error| Failure::new(ErrorCode::StdinUnreadable, format!("cannot read stdin: {error}"));
        let file = File::from(stdin.as_fd().try_clone_to_owned().map_err(unreadable)?);
        let mut content = Vec::new();
        file.take(STDIN_LIMIT + 1).read_to_end(&mut content).map_err(unreadable)?;
        if content.len() as u64 > STDIN_LIMIT {
            return Err(Failure::new(ErrorCode::StdinTooLarge, "the file on stdin is larger than 4 MiB")
                .hint("Codex accepts prompts of up to 1 MiB"));
        }
        self.put(inside::STDIN, &content)
    }

    /// Creates the files that Codex writes to.
    pub(crate) fn make_outputs(&self) -> Result<Outputs, Failure> {
        self.outputs(|name| {
            let mut options = fs_err::File::options();
            options.create_new(true).read(true).write(true).mode(0o600).open(name)
        })
    }

    /// Opens the files that a container already writes to. The agent may have replaced them with anything.
    pub(crate) fn open_outputs(&self) -> Result<Outputs, Failure> {
        self.outputs(|name| {
            let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let file = fs_err::File::options().read(true).custom_flags(flags.bits().cast_signed()).open(name)?;
            if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
        })
    }

    fn outputs(&self, open: impl Fn(PathBuf) -> io::Result<fs_err::File>) -> Result<Outputs, Failure> {
        let one = |name: &str| {
            let path = self.path.join("out").join(name);
            open(path.clone()).map(|file| file.into_parts().0).map_err(|error| failed(&path, &error))
        };
        Ok(Outputs { stdout: one("stdout")?, stderr: one("stderr")? })
    }

    /// Removes the folder after its container is gone. The marker is removed last, so that `reap` can try again.
    pub(crate) fn remove(&self) -> io::Result<()> {
        for name in ["in", "out"] {
            remove_tree(&self.path.join(name)).map_err(|error| error.source)?;
        }
        remove_tree(&self.path).map_err(|error| error.source)
    }
}

fn is_same(found: &std::fs::Metadata, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    file.metadata().is_ok_and(|held| (held.dev(), held.ino()) == (found.dev(), found.ino()))
}

/// Creates a folder that only its owner can enter, and its parent folders.
pub(crate) fn private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a small file atomically. Afterwards, it is on disk.
pub(crate) fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    io::Write::write_all(&mut file, content)?;
    file.as_file().sync_data()?;
    file.persist(path).map_err(|error| error.error)?;
    fs_err::File::open(folder)?.sync_all()
}

/// Quotes a value as a single word for a shell.
fn quoted(value: &str) -> Cow<'_, str> {
    shlex::Quoter::new().allow_nul(true).quote(value).expect("every text can be quoted")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker() -> Marker {
        Marker::new("run", "i:1", BTreeMap::new())
    }

    fn run(root: &Path) -> RunFolder {
        RunFolder::hold(root, &marker()).expect("free")
    }

    #[test]
    fn a_run_has_one_holder_and_is_an_orphan_without_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run");
        assert!(!RunFolder::is_held(&path), "the folder does not exist yet");
        let held = run(folder.path());
        assert!(RunFolder::is_held(&path) && RunFolder::take(&path).expect("there").is_none());
        assert_eq!(RunFolder::hold(folder.path(), &marker()).expect_err("held").code, ErrorCode::RunIsHeld);
        drop(held);
        assert!(!RunFolder::is_held(&path));
        let taken = RunFolder::take(&path).expect("there").expect("free");
        taken.remove().expect("removed");
        assert!(!path.exists() && RunFolder::take(&path).expect("readable").is_none());
    }

    #[test]
    fn a_link_in_the_place_of_a_runs_folder_or_lock_leads_nowhere() {
        let folder = tempfile::tempdir().expect("a folder");
        let (root, precious) = (folder.path().join("state"), folder.path().join("precious"));
        for path in [&root, &precious] {
            fs_err::create_dir(path).expect("made");
        }
        std::os::unix::fs::symlink(&precious, root.join("run")).expect("linked");
        assert_eq!(RunFolder::hold(&root, &marker()).expect_err("a link").code, ErrorCode::StateFolder);
        assert!(RunFolder::take(&root.join("run")).is_err());
        fs_err::remove_file(root.join("run")).expect("removed");
        fs_err::create_dir(root.join("run")).expect("made");
        std::os::unix::fs::symlink(precious.join("lock"), root.join("run/lock")).expect("linked");
        assert_eq!(RunFolder::hold(&root, &marker()).expect_err("a link").code, ErrorCode::StateFolder);
        assert_eq!(fs_err::read_dir(&precious).expect("there").count(), 0, "the link was not followed");
    }

    #[test]
    fn the_marker_is_there_before_anything_else_and_goes_last() {
        let folder = tempfile::tempdir().expect("a folder");
        let held = run(folder.path());
        assert_eq!(Marker::read(held.path()).expect("readable"), Some(marker()));
        held.clear().expect("made");
        assert!(held.input(inside::ENTRY).exists());
        assert!(
            !held.path().join("in/run.json").exists() && !held.path().join("out/run.json").exists(),
            "the container cannot see the marker"
        );
        held.remove().expect("removed");
        assert!(!held.path().exists());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test compares what a shell reads")]
    fn variables_reach_a_shell_as_they_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = run(folder.path());
        run.clear().expect("made");
        let check = |value: &str| {
            run.put_variables(&BTreeMap::from([("V".to_owned(), value.to_owned())])).expect("written");
            let script = format!(". '{}'; printf %s \"$V\"", run.input(inside::VARIABLES).display());
            let said = std::process::Command::new("/bin/sh").args(["-c", &script]).output().expect("a shell");
            assert_eq!(String::from_utf8_lossy(&said.stdout), value);
        };
        check("it's \"a\" $HOME `x`\\ line\nand \u{e9}");
        check("");
        check("plain");
        check("# a=b; c~ *?[x]{y,z} !^ \\'\t\r\n");
    }

    #[test]
    fn what_an_agent_put_in_place_of_its_output_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = run(folder.path());
        run.clear().expect("made");
        drop(run.make_outputs().expect("made"));
        let stdout = folder.path().join("run/out/stdout");
        fs_err::remove_file(&stdout).expect("there");
        std::os::unix::fs::symlink("/etc/passwd", &stdout).expect("made");
        assert_eq!(run.open_outputs().expect_err("a link").code, ErrorCode::StateFolder);
        fs_err::remove_file(&stdout).expect("there");
        rustix::fs::mkfifoat(rustix::fs::CWD, &stdout, rustix::fs::Mode::RWXU).expect("made");
        assert_eq!(run.open_outputs().expect_err("the output is a FIFO").code, ErrorCode::StateFolder);
    }

    #[test]
    fn a_file_on_stdin_is_kept_up_to_its_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = run(folder.path());
        run.clear().expect("made");
        let prompt = folder.path().join("prompt");
        fs_err::write(&prompt, "fix it").expect("written");
        run.put_stdin(File::open(&prompt).expect("there")).expect("kept");
        assert_eq!(fs_err::read(run.input(inside::STDIN)).expect("there"), b"fix it");
        fs_err::write(&prompt, vec![b'x'; 5 << 20]).expect("written");
        assert_eq!(run.put_stdin(File::open(&prompt).expect("there")).expect_err("too much").code, ErrorCode::StdinTooLarge);
    }
}
