//! What to run: a program, its arguments, where, with which variables, reading and writing what, and for how long.
//!
//! A specification starts nothing. Its environment is a list: the captured base and what was added, never what this process
//! happens to have. The working directory must be given.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{BaseEnvironment, Redactor, Tool};

/// A child's stdin. It is always something that ends.
#[derive(Debug, Default)]
pub enum Stdin {
    /// Nothing to read.
    #[default]
    Null,
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// An open file, from where it stands.
    File(File),
}

/// Gets one line or record of stdout, without what ended it.
pub type OnLine<'a> = Box<dyn FnMut(&[u8]) + Send + 'a>;

/// Gets what a program says about its progress: a piece of stderr that ended with `\n` or `\r`.
pub type OnProgress<'a> = Box<dyn FnMut(&str) + Send + 'a>;

/// Where a child's stdout goes.
#[derive(Default)]
pub enum Stdout<'a> {
    /// Nowhere.
    #[default]
    Null,
    /// Into memory; a program that writes more than `max` bytes is ended, and that is an error.
    Capture {
        /// The most bytes that are taken.
        max: usize,
    },
    /// Into an open file, without a copy through this process.
    File(File),
    /// Line by line to a function.
    Lines(OnLine<'a>),
    /// To a function, piece by piece, where every piece ends with a NUL.
    Records(OnLine<'a>),
}

/// Where a child's stderr goes.
#[derive(Default)]
pub enum Stderr<'a> {
    /// Its last few KiB are kept for the error message.
    #[default]
    Tail,
    /// The same, and every piece of it goes to a function as well.
    Progress(OnProgress<'a>),
    /// Into an open file, without a copy through this process.
    File(File),
}

/// Whose signals a child gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Group {
    /// A process group of its own, which is ended as a whole.
    #[default]
    Own,
    /// This process's group, for a program that makes a session of its own.
    Inherited,
}

/// A program to run, built up step by step.
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
    /// Runs `tool` in `directory` with the common variables of `base`, no stdin, no stdout.
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

    /// One more argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// More arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// One more variable, or another value for it.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// More variables.
    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self {
        for (name, value) in variables {
            self = self.env(name, value);
        }
        self
    }

    /// Leaves a variable of the base out.
    pub fn env_remove(mut self, name: &str) -> Self {
        self.environment.remove(OsStr::new(name));
        self
    }

    /// What the program reads.
    pub fn stdin(mut self, stdin: Stdin) -> Self {
        self.stdin = stdin;
        self
    }

    /// Where its stdout goes.
    pub fn stdout(mut self, stdout: Stdout<'a>) -> Self {
        self.stdout = stdout;
        self
    }

    /// Where its stderr goes.
    pub fn stderr(mut self, stderr: Stderr<'a>) -> Self {
        self.stderr = stderr;
        self
    }

    /// How long it may take. Then it is ended.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// How many bytes of memory the program, and each program that it starts, may use.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Who may end it early.
    pub fn cancel(mut self, cancel: CancellationToken) -> Self {
        self.cancel = cancel;
        self
    }

    /// What is masked in its stderr, beside credentials in URLs.
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
