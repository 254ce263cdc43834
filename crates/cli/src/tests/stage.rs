//! Runs a command line like a shell does, with a server that gives prepared answers.
//! Nothing is printed: the output of the command is returned as text.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;
use client::Client;
use serde_json::Value;
use store::Layout;
use tempfile::TempDir;
use testkit::fake_server::{Answer, FakeServer};

use crate::args::Arguments;
use crate::commands;
use crate::printer::captured::{self, Reader};

/// A home directory with a server.
pub(crate) struct Stage {
    home: TempDir,
    pub(crate) server: FakeServer,
    pub(crate) client: Client,
}

/// What a command printed, and its exit code.
#[derive(Debug, PartialEq)]
pub(crate) struct Ran {
    pub(crate) code: ExitCode,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Returns what a command printed that ended with success.
    pub(crate) fn ok(self) -> (String, String) {
        assert_eq!(self.code, ExitCode::SUCCESS, "{self:?}");
        (self.stdout, self.stderr)
    }

    /// Returns the answer on stdout as JSON.
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.ok().0).expect("the answer is JSON")
    }

    /// Returns what a command printed on stderr that failed with this exit code. Its answer on stdout must be empty.
    pub(crate) fn failed(self, code: u8) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (ExitCode::from(code), ""), "{self:?}");
        self.stderr
    }
}

impl Stage {
    /// Starts the server.
    pub(crate) async fn new() -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let server = FakeServer::start(&Layout::new(home.path()).socket()).await;
        server.on("GET /healthz", Answer::raw(200, "text/plain", "ok"));
        let client = Client::at(server.socket()).await.expect("a client");
        Self { home, server, client }
    }

    /// Returns the path of a file next to the socket.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Prepares an answer to a request such as `GET /api/v1/status`.
    pub(crate) fn on(&self, request: &str, answer: Answer) -> &Self {
        self.server.on(request, answer);
        self
    }

    /// Runs a command whose output is read by a program.
    pub(crate) async fn run(&self, words: &[&str]) -> Ran {
        run(self.home.path(), words, Reader::Pipe).await
    }

    /// Runs a command whose output is read by a person.
    pub(crate) async fn run_in_terminal(&self, words: &[&str]) -> Ran {
        run(self.home.path(), words, Reader::Terminal).await
    }

    /// Returns the requests of the command line, except the question whether the server answers.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.server.lines().into_iter().filter(|line| line != "GET /healthz").collect()
    }

    /// Returns the body of the last request that had one.
    pub(crate) fn sent(&self) -> Value {
        let mut bodies = self.server.received().into_iter().map(|received| received.body).filter(|body| !body.is_null());
        bodies.next_back().expect("a request has a body")
    }
}

/// Runs a command in a home directory.
pub(crate) async fn run(home: &Path, words: &[&str], reader: Reader) -> Ran {
    let home = home.to_str().expect("the path is text");
    let words = [&["codex-orchestrator", "--home", home][..], words].concat();
    let arguments = Arguments::try_parse_from(&words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
    let command = async {
        match Box::pin(commands::answer(&arguments)).await {
            Ok(code) => code,
            Err(problem) => crate::fail(&problem),
        }
    };
    let (code, captured) = captured::during(reader, command).await;
    let text = |bytes| String::from_utf8(bytes).expect("the output is text");
    Ran { code, stdout: text(captured.stdout), stderr: text(captured.stderr) }
}
