//! What to send to an app server: the handshake, the thread, one turn, and answers to what the server asks.
//!
//! Invariant: a thread is started without `cwd`. With it, Codex would trust the repository's own `.codex/config.toml` and run the MCP
//! servers in it. Without it, Codex works in the folder in which the server was started.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::version::CodexVersion;
use super::{OLDEST_APP_SERVER, failed, id, response, text};
use crate::ids::ThreadId;

/// The error code of JSON-RPC for an unknown method.
const METHOD_NOT_FOUND: i32 = -32601;

/// Codex's sandbox for the commands of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SandboxMode {
    /// None, because a container is the sandbox.
    DangerFullAccess,
    /// Commands can write only to the folder of the server.
    WorkspaceWrite,
}

/// The turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The thread to continue, or `None` for a new one.
    pub resumes: Option<ThreadId>,
    /// Codex's sandbox.
    pub sandbox: SandboxMode,
    /// The prompt.
    pub prompt: String,
    /// The paths of the images, as Codex sees them.
    pub images: Vec<String>,
    /// The model, or `None` for Codex's default.
    pub model: Option<String>,
    /// The reasoning effort, or `None` for Codex's default.
    pub effort: Option<String>,
}

/// The state of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConversationState {
    /// Waiting for the response to `initialize`. Nothing has happened yet.
    Initializing,
    /// This server cannot run the turn, for this reason. Nothing has happened.
    Unsupported(String),
    /// The thread or the turn is starting.
    Opening,
    /// The turn is running.
    Working,
    /// The turn has ended, or could not start.
    Ended,
}

/// One turn of a thread.
#[derive(Debug)]
pub struct Conversation {
    opening: Opening,
    state: ConversationState,
    thread: Option<String>,
    turn: Option<String>,
}

impl Conversation {
    /// Creates a conversation, and returns its first message.
    pub fn new(opening: Opening) -> (Self, Value) {
        let name = "codex-orchestrator";
        let initialize = json!({
            "method": "initialize",
            "id": id::INITIALIZE,
            "params": {
                "clientInfo": { "name": name, "title": "Codex Orchestrator", "version": env!("CARGO_PKG_VERSION") },
                "capabilities": { "experimentalApi": true },
            },
        });
        (Self { opening, state: ConversationState::Initializing, thread: None, turn: None }, initialize)
    }

    /// Returns the state.
    pub fn state(&self) -> &ConversationState {
        &self.state
    }

    /// Takes the next message of the server, and returns the messages to send.
    pub fn receive(&mut self, message: &Value) -> Vec<Value> {
        if failed(message).is_some() {
            self.state = ConversationState::Ended;
            return vec![];
        }
        if let Some(method) = text(message, "method") {
            return match message.get("id") {
                Some(request) => vec![answer(method, request)],
                None => self.notified(method, message),
            };
        }
        if let Some(result) = response(message, id::INITIALIZE) {
            return self.initialized(result);
        }
        if let Some(result) = response(message, id::THREAD) {
            return self.opened(result);
        }
        if let Some(result) = response(message, id::TURN) {
            self.started(result);
        }
        vec![]
    }

    /// Returns the message that interrupts the running turn, or `None` if there is none.
    pub fn interrupt(&self) -> Option<Value> {
        let (thread, turn) = (self.thread.as_ref()?, self.turn.as_ref()?);
        let params = json!({ "threadId": thread, "turnId": turn });
        (self.state == ConversationState::Working)
            .then(|| json!({ "method": "turn/interrupt", "id": id::INTERRUPT, "params": params }))
    }

    fn initialized(&mut self, result: Result<&Value, String>) -> Vec<Value> {
        if self.state != ConversationState::Initializing {
            return vec![];
        }
        if let Err(reason) = result.and_then(supported) {
            self.state = ConversationState::Unsupported(reason);
            return vec![];
        }
        self.state = ConversationState::Opening;
        let mut params = json!({ "approvalPolicy": "never", "sandbox": self.opening.sandbox });
        let method = match self.opening.resumes {
            None => "thread/start",
            Some(thread) => {
                params["threadId"] = thread.to_string().into();
                // Without the turns: their text can be larger than any limit, and nobody reads it.
                params["excludeTurns"] = true.into();
                "thread/resume"
            }
        };
        vec![json!({ "method": "initialized" }), json!({ "method": method, "id": id::THREAD, "params": params })]
    }

    fn opened(&mut self, result: Result<&Value, String>) -> Vec<Value> {
        if self.state != ConversationState::Opening || self.thread.is_some() {
            return vec![];
        }
        let Some(thread) = result.ok().and_then(|result| text(result.get("thread")?, "id")) else {
            self.state = ConversationState::Ended;
            return vec![];
        };
        self.thread = Some(thread.to_owned());
        let images = self.opening.images.iter().map(|path| json!({ "type": "localImage", "path": path }));
        let prompt = json!({ "type": "text", "text": std::mem::take(&mut self.opening.prompt) });
        let input: Vec<_> = std::iter::once(prompt).chain(images).collect();
        let mut params = json!({ "threadId": thread, "input": input });
        for (key, value) in [("model", &self.opening.model), ("effort", &self.opening.effort)] {
            if let Some(value) = value {
                params[key] = value.as_str().into();
            }
        }
        vec![json!({ "method": "turn/start", "id": id::TURN, "params": params })]
    }

    fn started(&mut self, result: Result<&Value, String>) {
        if self.state != ConversationState::Opening || self.thread.is_none() {
            return;
        }
        self.turn = result.ok().and_then(|result| text(result.get("turn")?, "id")).map(str::to_owned);
        self.state = if self.turn.is_some() { ConversationState::Working } else { ConversationState::Ended };
    }

    fn notified(&mut self, method: &str, message: &Value) -> Vec<Value> {
        let params = message.get("params").unwrap_or(&Value::Null);
        let is_ours = self.thread.is_some() && text(params, "threadId") == self.thread.as_deref();
        if is_ours && method == "turn/completed" {
            self.state = ConversationState::Ended;
        }
        vec![]
    }
}

/// Returns why a turn cannot run on this server.
fn supported(result: &Value) -> Result<(), String> {
    // The name of the client, the version of Codex, and the system: `name/VERSION (…)`.
    let agent = text(result, "userAgent").and_then(|agent| agent.split('/').nth(1)).unwrap_or_default();
    let (version, oldest) = (CodexVersion::parse(agent), CodexVersion::parse(OLDEST_APP_SERVER));
    match version {
        Some(version) if Some(version) >= oldest => Ok(()),
        Some(version) => {
            Err(format!("the app server of Codex {version} is too old; {OLDEST_APP_SERVER} is the oldest supported one"))
        }
        None => Err("the app server does not say which version of Codex it belongs to".to_owned()),
    }
}

/// Returns the response to a request of the server. Nothing is approved: Codex asks only for what its settings do not allow.
fn answer(method: &str, request: &Value) -> Value {
    let result = match method {
        "item/commandExecution/requestApproval" | "item/fileChange/requestApproval" => json!({ "decision": "decline" }),
        "mcpServer/elicitation/request" => json!({ "action": "decline" }),
        _ => {
            let error = json!({ "code": METHOD_NOT_FOUND, "message": format!("unknown method `{method}`") });
            return json!({ "id": request, "error": error });
        }
    };
    json!({ "id": request, "result": result })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THREAD: &str = "01a222d7-e29f-7f03-b726-25fb17df6d4b";

    fn opening(resumes: Option<ThreadId>) -> Opening {
        Opening {
            resumes,
            sandbox: SandboxMode::WorkspaceWrite,
            prompt: "Fix it".to_owned(),
            images: vec!["/i/a.png".to_owned()],
            model: Some("gpt-5.5".to_owned()),
            effort: None,
        }
    }

    fn initialized(version: &str) -> Value {
        json!({ "id": id::INITIALIZE, "result": { "userAgent": format!("codex-orchestrator/{version} (Debian 12; x86_64)") } })
    }

    fn opened() -> Value {
        json!({ "id": id::THREAD, "result": { "thread": { "id": THREAD } } })
    }

    fn started() -> Value {
        json!({ "id": id::TURN, "result": { "turn": { "id": "t1", "status": "inProgress" } } })
    }

    fn completed(thread: &str) -> Value {
        json!({ "method": "turn/completed", "params": { "threadId": thread, "turn": { "id": "t1", "status": "completed" } } })
    }

    #[test]
    fn a_turn_runs_from_the_handshake_to_its_end() {
        let (mut conversation, first) = Conversation::new(opening(None));
        assert_eq!((&first["method"], &first["params"]["capabilities"]["experimentalApi"]), (&json!("initialize"), &json!(true)));
        let sent = conversation.receive(&initialized(crate::CODEX_VERSION));
        assert_eq!(sent[0], json!({ "method": "initialized" }));
        let expected = json!({ "approvalPolicy": "never", "sandbox": "workspace-write" });
        assert_eq!((&sent[1]["method"], &sent[1]["params"]), (&json!("thread/start"), &expected), "no `cwd`");
        assert_eq!(conversation.interrupt(), None);
        let sent = conversation.receive(&opened());
        let input = json!([{ "type": "text", "text": "Fix it" }, { "type": "localImage", "path": "/i/a.png" }]);
        assert_eq!(sent[0]["params"], json!({ "threadId": THREAD, "input": input, "model": "gpt-5.5" }));
        assert_eq!(conversation.receive(&started()), Vec::<Value>::new());
        assert_eq!(conversation.state(), &ConversationState::Working);
        let interrupt = conversation.interrupt().expect("a turn is running");
        assert_eq!(interrupt["params"], json!({ "threadId": THREAD, "turnId": "t1" }));
        conversation.receive(&completed("01a222d7-0000-7f03-b726-25fb17df6d4b"));
        assert_eq!(conversation.state(), &ConversationState::Working, "the turn of a sub-agent ended");
        conversation.receive(&completed(THREAD));
        assert_eq!((conversation.state(), conversation.interrupt()), (&ConversationState::Ended, None));
    }

    #[test]
    fn a_thread_is_continued_without_its_turns() {
        let (mut conversation, _) = Conversation::new(opening(THREAD.parse().ok()));
        let sent = conversation.receive(&initialized("0.169.0"));
        assert_eq!(sent[1]["method"], "thread/resume");
        let expected =
            json!({ "approvalPolicy": "never", "sandbox": "workspace-write", "threadId": THREAD, "excludeTurns": true });
        assert_eq!(sent[1]["params"], expected);
    }

    #[test]
    fn an_old_an_unknown_and_a_refusing_server_cannot_run_the_turn() {
        let error = json!({ "id": id::INITIALIZE, "error": { "code": -32600, "message": "no" } });
        let silent = json!({ "id": id::INITIALIZE, "result": {} });
        for (message, reason) in [(initialized("0.75.0"), "0.75.0 is too old"), (error, "no"), (silent, "does not say")] {
            let (mut conversation, _) = Conversation::new(opening(None));
            assert_eq!(conversation.receive(&message), Vec::<Value>::new());
            let ConversationState::Unsupported(told) = conversation.state() else { panic!("{conversation:?}") };
            assert!(told.contains(reason), "{told}");
        }
    }

    #[test]
    fn a_thread_or_a_turn_that_cannot_start_is_the_end() {
        let refused = |id: &str| json!({ "id": id, "error": { "code": -32600, "message": "no rollout found" } });
        let (mut conversation, _) = Conversation::new(opening(None));
        conversation.receive(&initialized(crate::CODEX_VERSION));
        conversation.receive(&refused(id::THREAD));
        assert_eq!(conversation.state(), &ConversationState::Ended);
        let (mut conversation, _) = Conversation::new(opening(None));
        conversation.receive(&initialized(crate::CODEX_VERSION));
        conversation.receive(&opened());
        conversation.receive(&refused(id::TURN));
        assert_eq!(conversation.state(), &ConversationState::Ended);
    }

    #[test]
    fn nothing_is_approved_and_unknown_requests_get_the_protocols_error() {
        let (mut conversation, _) = Conversation::new(opening(None));
        let mut answer = |method: &str| conversation.receive(&json!({ "method": method, "id": 7, "params": {} })).remove(0);
        assert_eq!(answer("item/commandExecution/requestApproval"), json!({ "id": 7, "result": { "decision": "decline" } }));
        assert_eq!(answer("mcpServer/elicitation/request"), json!({ "id": 7, "result": { "action": "decline" } }));
        assert_eq!(answer("item/new")["error"]["code"], METHOD_NOT_FOUND);
    }

    proptest! {
        #[test]
        fn no_message_causes_a_panic_or_a_second_turn(order in proptest::collection::vec(0_usize..6, 0..12)) {
            let messages = [initialized(crate::CODEX_VERSION), opened(), started(), completed(THREAD), json!([1]), json!({ "id": 5 })];
            let (mut conversation, _) = Conversation::new(opening(None));
            let sent: Vec<_> = order.iter().flat_map(|n| conversation.receive(&messages[*n])).collect();
            prop_assert!(sent.iter().filter(|message| message["method"] == "turn/start").count() <= 1);
        }
    }
}
