//! Describes a command: the program, its arguments, directory, variables, input, outputs and limits.
//!
//! Creating a description starts no program. Its environment is the captured base plus added variables, never this process's
//! own environment. The working directory is always explicit.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{BaseEnvironment, Redactor, Tool};

/// A child's stdin, which is always finite.
#[derive(Debug, Default)]
pub enum Stdin {
    /// The program reads nothing.
    #[default]
    Null,
    /// The program reads these bytes.
    Bytes(Vec<u8>),
    /// The program reads an open file, from its current position.
    File(File),
}

/// Receives a line or record of stdout, without its terminator.
pub type OnLine<'a> = Box<dyn FnMut(&[u8]) + Send + 'a>;

/// Receives a progress message: a piece of stderr that ended with `\n` or `\r`.
pub type OnProgress<'a> = Box<dyn FnMut(&str) + Send + 'a>;

/// Where a child's stdout goes.
#[derive(Default)]
pub enum Stdout<'a> {
    /// The output is discarded.
    #[default]
    Null,
    /// Into memory. A program that writes more than `max` bytes is stopped, and an error is returned.
    Capture {
        /// The maximum number of bytes.
        max: usize,
    },
    /// Directly into an open file.
    File(File),
    /// To a function, line by line.
    Lines(OnLine<'a>),
    /// To a function, record by record, where each record ends with a NUL.
    Records(OnLine<'a>),
}

/// Where a child's stderr goes.
#[derive(Default)]
pub enum Stderr<'a> {
    /// The last few KiB are kept for an error message.
    #[default]
    Tail,
    /// Like `Tail`, and every piece also goes to a function.
    Progress(OnProgress<'a>),
    /// Directly into an open file.
    File(File),
}

/// The process group of a child.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Group {
    /// The child's own process group. If the child is ended, the whole group is ended.
    #[default]
    Own,
    /// This process's group, for a program that creates its own session.
    Inherited,
}

/// A command, built step by step.
pub struct CommandSpec<'a> {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) directory: PathBuf,
    pub(super) environment: BTreeMap<OsString, OsString>,
    pub(super) stdin: Stdin,
    pub(super) stdout: Stdout<'a>,
    pub(super) stderr: Stderr<'a>,
    pub(super) group: Group,
    pub(super) deadline: Option<Duration>,
    pub(super) memory: Option<u64>,
    pub(super) cancel: CancellationToken,
    pub(super) redactor: Redactor,
}

impl<'a> CommandSpec<'a> {
    /// Creates a command that runs `tool` in `directory` with the common variables of `base`, and without stdin and stdout.
    pub fn new(tool: &Tool, base: &BaseEnvironment, directory: impl Into<PathBuf>) -> Self {
        let mut environment = base.common();
        environment.insert("LANG".into(), "C.UTF-8".into());
        Self {
            program: tool.path().to_owned(),
            arguments: Vec::new(),
            directory: directory.into(),
            environment,
            stdin: Stdin::default(),
            stdout: Stdout::default(),
            stderr: Stderr::default(),
            group: Group::default(),
            deadline: None,
            memory: None,
            cancel: CancellationToken::new(),
            redactor: Redactor::default(),
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets a variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Sets variables.
    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self {
        for (name, value) in variables {
            self = self.env(name, value);
        }
        self
    }

    /// Removes a variable that comes from the base environment.
    pub fn env_remove(mut self, name: &str) -> Self {
        self.environment.remove(OsStr::new(name));
        self
    }

    /// Sets stdin.
    pub fn stdin(mut self, stdin: Stdin) -> Self {
        self.stdin = stdin;
        self
    }

    /// Sets where stdout goes.
    pub fn stdout(mut self, stdout: Stdout<'a>) -> Self {
        self.stdout = stdout;
        self
    }

    /// Sets where stderr goes.
    pub fn stderr(mut self, stderr: Stderr<'a>) -> Self {
        self.stderr = stderr;
        self
    }

    /// Sets the time limit. The program is stopped when the limit is reached.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Limits the memory of the program and of each program that it starts, in bytes.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Sets a token that ends the program early.
    pub fn cancel(mut self, cancel: CancellationToken) -> Self {
        self.cancel = cancel;
        self
    }

    /// Sets what is masked in stderr, besides credentials in URLs.
    pub fn redact(mut self, redactor: Redactor) -> Self {
        self.redactor = redactor;
        self
    }

    /// Leaves the child in this process's group, so that it can call `setsid` itself.
    pub fn in_inherited_group(mut self) -> Self {
        self.group = Group::Inherited;
        self
    }
}
