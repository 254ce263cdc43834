//! Talks to Codex's app server: writes requests into its stdin, and translates its messages into the log of the run.
//!
//! The server writes its messages to a file, and its stdin is a named pipe that it opened itself, so it never depends on the keeper.
//! An agent that runs as the same user can write to this pipe, or fill it. Invariants: a full pipe never blocks the keeper, and the log
//! is always the beginning of the translation.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use durable::crash::{self, CrashPoint};
use fs_err::os::unix::fs::OpenOptionsExt as _;
use model::codex::app_server::{Conversation, ConversationState, Opening, Translator, failure};
use model::codex::{Line, LineContent};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::files::RunFiles;
use crate::journal::{FolderWatch, Interest, Tail};
use crate::worker::AppServerCall;

/// A running app server.
pub(super) struct AppServer {
    commands: mpsc::UnboundedSender<Command>,
    state: watch::Receiver<ConversationState>,
    task: JoinHandle<LogState>,
}

/// What a new app server gets as its stdin and its stdout.
pub(super) struct Ends {
    pub(super) stdin: File,
    pub(super) stdout: File,
}

/// Whether the log is the translation of all messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogState {
    Complete,
    /// The rest must be added, because a file could not be read or written.
    Incomplete,
}

enum Command {
    Interrupt,
    Fail(String),
    Finish,
}

/// Reads the messages and answers them.
struct Talk {
    files: RunFiles,
    /// `None` after the messages could not be read.
    tail: Option<Tail>,
    interest: Interest,
    conversation: Conversation,
    translator: Translator,
    stdin: pipe::Sender,
    /// What is not written to the pipe yet.
    outgoing: Vec<u8>,
    /// `None` after the log could not be written. It is completed after the run.
    log: Option<tokio::fs::File>,
    size_limit: u64,
    /// Whether the turn was given up. Its end is in the messages, but there may be others before it.
    has_given_up: bool,
    commands: mpsc::UnboundedReceiver<Command>,
    state: watch::Sender<ConversationState>,
}

impl AppServer {
    /// Creates the files for a server that is about to start, and starts to talk to it.
    pub(super) fn start(call: &AppServerCall, files: &RunFiles) -> io::Result<(Self, Ends)> {
        let prompt = fs_err::read_to_string(files.prompt())?;
        remove_files(files)?;
        mknodat(CWD, files.pipe(), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        // Both ends are open in both directions, so no end of the pipe ever sees that the other one is closed.
        let stdin = fs_err::File::options().read(true).write(true).open(files.pipe())?.into_parts().0;
        let stdout = fs_err::File::options().create(true).append(true).mode(0o600).open(files.messages())?.into_parts().0;
        let log = fs_err::File::options().create(true).append(true).mode(0o600).open(files.journal())?.into_parts().0;
        let opening = Opening {
            resumes: call.resumes,
            sandbox: call.sandbox,
            prompt,
            images: call.images.clone(),
            model: call.model.as_ref().map(ToString::to_string),
            effort: call.effort.as_ref().map(ToString::to_string),
        };
        let (conversation, first) = Conversation::new(opening);
        let (commands, orders) = mpsc::unbounded_channel();
        let (state, states) = watch::channel(conversation.state().clone());
        let watch: Arc<FolderWatch> = FolderWatch::new();
        let mut talk = Talk {
            interest: watch.watch(files.folder()),
            tail: Some(Tail::from(files.messages(), 0)),
            files: files.clone(),
            conversation,
            translator: Translator::default(),
            stdin: pipe::OpenOptions::new().read_write(true).open_sender(files.pipe())?,
            outgoing: vec![],
            log: Some(tokio::fs::File::from_std(log)),
            size_limit: call.messages_limit_bytes,
            has_given_up: false,
            commands: orders,
            state,
        };
        talk.send(&first);
        Ok((Self { commands, state: states, task: tokio::spawn(talk.run()) }, Ends { stdin, stdout }))
    }

    /// Waits until the state changes, and returns it. Cancel-safe.
    pub(super) async fn changed(&mut self) -> ConversationState {
        if self.state.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.state.borrow_and_update().clone()
    }

    /// Whether the server has not answered yet.
    pub(super) fn is_silent(&self) -> bool {
        *self.state.borrow() == ConversationState::Initializing
    }

    /// Interrupts the turn, if one is running.
    pub(super) fn interrupt(&self) -> bool {
        let is_working = *self.state.borrow() == ConversationState::Working;
        is_working && self.commands.send(Command::Interrupt).is_ok()
    }

    /// Ends the turn with an error of the keeper.
    pub(super) fn fail(&self, reason: String) {
        // The task may have ended already.
        let _ended = self.commands.send(Command::Fail(reason));
    }

    /// Completes the log after the server has ended.
    pub(super) async fn finish(self, files: &RunFiles) -> LogState {
        let _ended = self.commands.send(Command::Finish);
        let log = self.task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "the translation of the app server's messages ended unexpectedly");
            LogState::Incomplete
        });
        if let Err(error) = remove_if_there(&files.pipe()) {
            tracing::warn!(%error, "could not remove the app server's pipe");
        }
        log
    }
}

/// Removes the files of an app server that could not be used.
pub(super) fn remove_files(files: &RunFiles) -> io::Result<()> {
    remove_if_there(&files.pipe())?;
    remove_if_there(&files.messages())
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Kills this process if a test selected the point after which a conversation has this state.
fn crash_after(state: &ConversationState) {
    match state {
        ConversationState::Initializing | ConversationState::Unsupported(_) => {}
        ConversationState::Opening => crash::point(CrashPoint::AppServerAnswered),
        ConversationState::Working => crash::point(CrashPoint::TurnAccepted),
        ConversationState::Ended => crash::point(CrashPoint::TurnOver),
    }
}

impl Talk {
    async fn run(mut self) -> LogState {
        loop {
            self.read_on().await;
            let is_blocked = !self.write_on();
            tokio::select! {
                () = self.interest.changed() => {}
                command = self.commands.recv() => match command {
                    Some(Command::Interrupt) => {
                        if let Some(message) = self.conversation.interrupt() {
                            self.send(&message);
                        }
                    }
                    Some(Command::Fail(reason)) => self.fail(&reason),
                    Some(Command::Finish) | None => break,
                },
                ready = self.stdin.writable(), if is_blocked => {
                    if let Err(error) = ready {
                        self.give_up_writing(&error);
                    }
                }
            }
        }
        self.read_on().await;
        if self.log.is_some() && self.tail.is_some() { LogState::Complete } else { LogState::Incomplete }
    }

    /// Reads the messages up to the end of the file.
    async fn read_on(&mut self) {
        while let Some(tail) = &mut self.tail {
            let mut lines = vec![];
            let mut end = 0;
            let read = tail.read(|line: Line<'_>| {
                end = line.end;
                if let LineContent::Whole(text) = line.content
                    && let Ok(message) = serde_json::from_slice::<Value>(text)
                {
                    lines.push(message);
                }
            });
            match read.await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%error, "could not read the app server's messages; the run stops at the time limit");
                    self.tail = None;
                    return;
                }
            }
            for message in lines {
                self.receive(&message).await;
            }
            if end > self.size_limit && !self.has_given_up && *self.conversation.state() != ConversationState::Ended {
                let limit = self.size_limit >> 20;
                self.fail(&format!("the run was stopped because its output reached the limit of {limit} MiB"));
                // The server must end now: it may write faster than this reads, so that the end of the messages is never reached.
                self.has_given_up = true;
                self.state.send_replace(ConversationState::Ended);
            }
        }
    }

    async fn receive(&mut self, message: &Value) {
        crash::point(CrashPoint::MessageReceived);
        let events = self.translator.translate(message);
        self.append(&events).await;
        let replies = self.conversation.receive(message);
        let state = self.conversation.state();
        if *self.state.borrow() != *state {
            crash_after(state);
        }
        for reply in replies {
            self.outgoing.extend_from_slice(format!("{reply}\n").as_bytes());
        }
        self.state.send_if_modified(|known| {
            let is_new = known != state && !self.has_given_up;
            if !is_new {
                return false;
            }
            state.clone_into(known);
            true
        });
    }

    /// Appends events to the log.
    async fn append(&mut self, events: &[Value]) {
        let Some(log) = self.log.as_mut().filter(|_| !events.is_empty()) else { return };
        let text: Vec<u8> = events.iter().flat_map(|event| format!("{event}\n").into_bytes()).collect();
        let written = async {
            log.write_all(&text).await?;
            log.flush().await
        };
        if let Err(error) = written.await {
            tracing::warn!(%error, "could not write the log of the run; it is completed after the run");
            self.log = None;
        }
    }

    /// Writes our own line into the log of messages, from where it is read like the others.
    fn fail(&self, reason: &str) {
        // The server may be in the middle of a line.
        let line = format!("\n{}\n", failure(reason));
        let opened = fs_err::File::options().append(true).open(self.files.messages());
        if let Err(error) = opened.and_then(|mut file| file.write_all(line.as_bytes())) {
            tracing::error!(%error, reason, "could not record why the turn failed");
        }
    }

    fn send(&mut self, message: &Value) {
        self.outgoing.extend_from_slice(format!("{message}\n").as_bytes());
    }

    /// Writes as much to the pipe as fits, and returns whether this was everything.
    fn write_on(&mut self) -> bool {
        while !self.outgoing.is_empty() {
            match self.stdin.try_write(&self.outgoing) {
                Ok(written) => drop(self.outgoing.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.give_up_writing(&error),
            }
        }
        true
    }

    fn give_up_writing(&mut self, error: &io::Error) {
        tracing::error!(%error, "could not write to the app server");
        self.outgoing.clear();
    }
}
