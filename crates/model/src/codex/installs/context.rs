//! What earlier commands of a script changed in its shell: the folder, variables and options.

use super::programs::assignment;
use super::reason::LeftOutInstallReason;
use super::split::{Link, SimpleCommand, Word, is_temporary};

/// The folder of the repository in the containers of runs and setups.
const WORKTREE: &str = "/workspace/worktree";

/// The maximum depth of a folder.
const MOST_FOLDERS: usize = 32;

/// The maximum length of the name of a folder in bytes.
const NAME_BYTES: usize = 255;

/// The maximum length of all commands that prepare the shell, in bytes. They are repeated for each command.
const PREPARED_BYTES: usize = 1000;

/// The state of a shell.
#[derive(Debug, Clone, Default)]
pub(super) struct Context {
    /// Commands that prepare the shell, such as `. .venv/bin/activate`. They run in the top-level folder.
    prepared: Vec<String>,
    /// The names of the folders below the worktree.
    folder: Vec<String>,
    /// Why the folder is not known.
    lost: Option<LeftOutInstallReason>,
    /// Why the variables are not known.
    unclear: Option<LeftOutInstallReason>,
    /// Whether the script ends at the first command that fails.
    pub(super) stops_at_failure: bool,
    /// Whether a pipeline fails if any of its commands fails.
    pub(super) is_pipe_checked: bool,
}

impl Context {
    /// Updates the state with a command.
    pub(super) fn take(&mut self, command: &SimpleCommand<'_>) {
        let Some((first, arguments)) = command.words.split_first() else { return };
        if matches!(command.link, Link::Pipe | Link::Background) {
            return;
        }
        match first.text.as_str() {
            "cd" | "pushd" => self.change_folder(arguments),
            "popd" => self.lost = Some(LeftOutInstallReason::Syntax),
            "export" => self.export(arguments),
            "." | "source" => self.source(first, arguments),
            "set" => self.set(arguments),
            _ => {}
        }
    }

    /// Returns why nothing can be proposed in this state.
    pub(super) fn reason(&self) -> Option<LeftOutInstallReason> {
        self.lost.or(self.unclear)
    }

    /// Returns a command so that it can run in the top-level folder, in a new shell.
    pub(super) fn wrapped(&self, command: &str) -> String {
        let mut parts = self.prepared.clone();
        if !self.folder.is_empty() {
            parts.push(format!("cd {}", quoted(&self.folder.join("/"))));
        }
        if parts.is_empty() {
            return command.to_owned();
        }
        parts.push(command.to_owned());
        format!("({})", parts.join(" && "))
    }

    /// Returns why a file or folder that a word names is not available in a setup. Words that are not paths are harmless.
    pub(super) fn check_path(&self, word: &str) -> Option<LeftOutInstallReason> {
        let path = word.split_once('=').map_or(word, |(_, value)| value);
        if is_temporary(path) {
            return Some(LeftOutInstallReason::TemporaryFile);
        }
        (path == ".." || path.starts_with("../")).then(|| self.resolve(path).err()).flatten()
    }

    fn change_folder(&mut self, arguments: &[Word<'_>]) {
        match arguments {
            [path] if path.is_variable => self.lost = Some(LeftOutInstallReason::Variable),
            [path] if self.lost.is_none() || path.text.starts_with('/') => match self.resolve(&path.text) {
                Ok(folder) => (self.folder, self.lost) = (folder, None),
                Err(reason) => self.lost = Some(reason),
            },
            [_] => {}
            _ => self.lost = Some(LeftOutInstallReason::OutsideRepository),
        }
    }

    /// Returns the folders on the way from the worktree to a path.
    fn resolve(&self, path: &str) -> Result<Vec<String>, LeftOutInstallReason> {
        let outside = LeftOutInstallReason::OutsideRepository;
        let (mut folder, rest) = if path.starts_with('/') {
            let rest = path.strip_prefix(WORKTREE).filter(|rest| rest.is_empty() || rest.starts_with('/')).ok_or(outside)?;
            (vec![], rest)
        } else if path.starts_with(['~', '$', '-']) || path.is_empty() {
            return Err(outside);
        } else {
            (self.folder.clone(), path)
        };
        for name in rest.split('/') {
            match name {
                "" | "." => {}
                ".." => drop(folder.pop().ok_or(outside)?),
                _ if folder.len() >= MOST_FOLDERS || name.len() > NAME_BYTES => return Err(LeftOutInstallReason::TooLong),
                name => folder.push(name.to_owned()),
            }
        }
        Ok(folder)
    }

    fn export(&mut self, arguments: &[Word<'_>]) {
        for word in arguments {
            if word.is_variable || assignment(&word.text).is_none() {
                self.unclear = Some(LeftOutInstallReason::Variable);
            }
        }
        self.prepare(format!("export {}", raw(arguments)));
    }

    fn source(&mut self, first: &Word<'_>, arguments: &[Word<'_>]) {
        let [file] = arguments else {
            self.unclear = Some(LeftOutInstallReason::Variable);
            return;
        };
        if file.is_variable {
            self.unclear = Some(LeftOutInstallReason::Variable);
        } else if is_temporary(&file.text) {
            self.unclear = Some(LeftOutInstallReason::TemporaryFile);
        } else if file.text.starts_with(['/', '~', '$']) {
            self.prepare(format!("{} {}", first.raw, file.raw));
        } else {
            match self.resolve(&file.text) {
                Ok(path) => self.prepare(format!("{} {}", first.raw, quoted(&format!("./{}", path.join("/"))))),
                Err(reason) => self.unclear = Some(reason),
            }
        }
    }

    fn prepare(&mut self, command: String) {
        if self.prepared.contains(&command) {
            return;
        }
        if self.prepared.iter().map(String::len).sum::<usize>() + command.len() > PREPARED_BYTES {
            self.unclear = Some(LeftOutInstallReason::TooLong);
        } else {
            self.prepared.push(command);
        }
    }

    fn set(&mut self, arguments: &[Word<'_>]) {
        for word in arguments {
            let is_option = |letter| word.text.starts_with('-') && word.text.contains(letter);
            self.stops_at_failure |= is_option('e') || word.text == "errexit";
            self.is_pipe_checked |= word.text == "pipefail";
        }
        if arguments.iter().any(|word| word.text.starts_with('+')) {
            (self.stops_at_failure, self.is_pipe_checked) = (false, false);
        }
    }
}

/// Returns words as they were written.
pub(super) fn raw(words: &[Word<'_>]) -> String {
    words.iter().map(|word| word.raw).collect::<Vec<_>>().join(" ")
}

/// Quotes a path. A path with NUL cannot exist.
fn quoted(path: &str) -> String {
    shlex::try_quote(path).map_or_else(|_| "''".to_owned(), std::borrow::Cow::into_owned)
}
