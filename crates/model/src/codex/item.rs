//! The pieces of work inside a turn: messages, commands, file changes, tool calls, plans.
//!
//! A field that an item cannot do without (a command's `command`) and that is missing or of another type makes the whole item
//! `Unknown`; an optional field of another type counts as missing. Texts are moved out of the JSON, never copied.

use serde_json::{Map, Value};

/// A piece of work of the agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// `item_0`, `item_1`, … within one process; of the two ids of a `web_search` the last. Empty when there was none.
    pub id: String,
    /// What it is.
    pub kind: ItemKind,
}

/// What a piece of work is.
#[derive(Debug, Clone, PartialEq)]
pub enum ItemKind {
    /// The agent speaks. The last one of a turn is its answer.
    AgentMessage {
        /// Markdown in practice.
        text: String,
    },
    /// A summary of what the agent thought.
    Reasoning {
        /// Markdown in practice.
        text: String,
    },
    /// A command in a shell.
    CommandExecution(CommandExecution),
    /// Files were written, made or deleted.
    FileChange(FileChange),
    /// A call of a tool of an MCP server.
    McpToolCall(McpToolCall),
    /// Work with sub-agents.
    CollabToolCall(CollabToolCall),
    /// A search on the web.
    WebSearch {
        /// What was searched for; may be empty while the search runs.
        query: String,
        /// The action as the model asked for it.
        action: Option<Value>,
    },
    /// The agent's plan.
    TodoList {
        /// In the order of the plan.
        items: Vec<TodoItem>,
    },
    /// A warning of Codex itself. Not fatal.
    Error {
        /// Codex's own words.
        message: String,
    },
    /// An item that this version does not understand, whole.
    Unknown(Value),
}

/// How far a piece of work is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemStatus {
    /// It runs.
    InProgress,
    /// It succeeded.
    Completed,
    /// It failed.
    Failed,
    /// It was not allowed to run.
    Declined,
    /// Another word, or none (then empty).
    Other(String),
}

/// A command in a shell, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandExecution {
    /// As Codex started it, usually wrapped as `/bin/bash -lc '…'`; see [`unwrap_shell`](super::unwrap_shell).
    pub command: String,
    /// stdout and stderr as they came, up to 1 MiB; Codex cuts the middle out of more. Empty while it runs.
    pub aggregated_output: String,
    /// `None` while it runs, and when it never ran.
    pub exit_code: Option<i64>,
    /// How far it is.
    pub status: ItemStatus,
}

impl CommandExecution {
    /// Whether it succeeded; `None` while that is not known.
    pub fn ok(&self) -> Option<bool> {
        match (&self.status, self.exit_code) {
            (ItemStatus::Failed | ItemStatus::Declined, Some(_) | None) => Some(false),
            (ItemStatus::InProgress | ItemStatus::Completed | ItemStatus::Other(_), Some(code)) => Some(code == 0),
            (ItemStatus::Completed, None) => Some(true),
            (ItemStatus::InProgress | ItemStatus::Other(_), None) => None,
        }
    }
}

/// Files that the agent changed with its patch tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// In the order of the patch.
    pub changes: Vec<PathChange>,
    /// Whether the patch could be applied.
    pub status: ItemStatus,
}

/// One changed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathChange {
    /// Absolute, as the agent sees it.
    pub path: String,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// What happened to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Add,
    /// It is gone.
    Delete,
    /// It has other content.
    Update,
    /// Another word, or none (then empty).
    Other(String),
}

/// A call of a tool of an MCP server.
#[derive(Debug, Clone, PartialEq)]
pub struct McpToolCall {
    /// The name of the server in Codex's configuration.
    pub server: String,
    /// The name of the tool.
    pub tool: String,
    /// What the model passed; `Null` when nothing.
    pub arguments: Value,
    /// `{content[], structured_content}`.
    pub result: Option<Value>,
    /// Why it failed, when the call itself did.
    pub error: Option<String>,
    /// How far it is.
    pub status: ItemStatus,
}

/// Work with sub-agents: `spawn_agent`, `wait`, …
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollabToolCall {
    /// What is done.
    pub tool: String,
    /// The thread that does it.
    pub sender_thread_id: String,
    /// The threads it is done to.
    pub receiver_thread_ids: Vec<String>,
    /// What the sub-agent is asked to do.
    pub prompt: Option<String>,
    /// What is known of the sub-agents.
    pub agents: Vec<AgentState>,
    /// How far it is.
    pub status: ItemStatus,
}

/// What is known of a sub-agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentState {
    /// Its thread.
    pub thread_id: String,
    /// Codex's word: `pending_init`, `completed`, …
    pub status: String,
    /// Its last message.
    pub message: Option<String>,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TodoItem {
    /// What is to be done.
    pub text: String,
    /// Whether it is done. "In progress" is not told.
    pub completed: bool,
}

impl Item {
    /// Understands the object under `item`.
    pub(super) fn understand(mut object: Map<String, Value>) -> Self {
        let id = object.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let kind = ItemKind::understand(&mut object).unwrap_or(ItemKind::Unknown(Value::Object(object)));
        Self { id, kind }
    }
}

impl ItemKind {
    /// `None`, with the object untouched, when it is not understood.
    fn understand(object: &mut Map<String, Value>) -> Option<Self> {
        let kind = object.get("type")?.as_str()?;
        Some(match kind {
            "agent_message" => Self::AgentMessage { text: take_text(object, "text")? },
            "reasoning" => Self::Reasoning { text: take_text(object, "text")? },
            "error" => Self::Error { message: take_text(object, "message")? },
            "command_execution" => Self::CommandExecution(CommandExecution {
                command: take_text(object, "command")?,
                aggregated_output: take_text(object, "aggregated_output").unwrap_or_default(),
                exit_code: object.get("exit_code").and_then(Value::as_i64),
                status: status(object),
            }),
            "file_change" => Self::FileChange(FileChange { changes: path_changes(object)?, status: status(object) }),
            "mcp_tool_call" => Self::McpToolCall(mcp_tool_call(object)?),
            "collab_tool_call" => Self::CollabToolCall(collab_tool_call(object)?),
            "web_search" => Self::WebSearch {
                query: take_text(object, "query").unwrap_or_default(),
                action: object.get_mut("action").map(Value::take).filter(|action| !action.is_null()),
            },
            "todo_list" => Self::TodoList { items: todo_items(object)? },
            _ => return None,
        })
    }
}

/// Moves a text out; `None`, with the object untouched, when there is none.
fn take_text(object: &mut Map<String, Value>, key: &str) -> Option<String> {
    match object.get_mut(key) {
        Some(Value::String(text)) => Some(std::mem::take(text)),
        Some(_) | None => None,
    }
}

fn text_of(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn status(object: &Map<String, Value>) -> ItemStatus {
    match object.get("status").and_then(Value::as_str).unwrap_or_default() {
        "in_progress" => ItemStatus::InProgress,
        "completed" => ItemStatus::Completed,
        "failed" => ItemStatus::Failed,
        "declined" => ItemStatus::Declined,
        other => ItemStatus::Other(other.to_owned()),
    }
}

fn path_changes(object: &Map<String, Value>) -> Option<Vec<PathChange>> {
    let change = |change: &Value| {
        let path = change.get("path")?.as_str()?.to_owned();
        let kind = match change.get("kind").and_then(Value::as_str).unwrap_or_default() {
            "add" => ChangeKind::Add,
            "delete" => ChangeKind::Delete,
            "update" => ChangeKind::Update,
            other => ChangeKind::Other(other.to_owned()),
        };
        Some(PathChange { path, kind })
    };
    object.get("changes")?.as_array()?.iter().map(change).collect()
}

fn mcp_tool_call(object: &mut Map<String, Value>) -> Option<McpToolCall> {
    let (server, tool) = (object.get("server")?.as_str()?.to_owned(), object.get("tool")?.as_str()?.to_owned());
    let error = object.get("error").filter(|error| !error.is_null());
    Some(McpToolCall {
        server,
        tool,
        error: error.map(|error| error.as_str().map_or_else(|| text_of(error, "message"), str::to_owned)),
        arguments: object.get_mut("arguments").map(Value::take).unwrap_or_default(),
        result: object.get_mut("result").map(Value::take).filter(|result| !result.is_null()),
        status: status(object),
    })
}

fn collab_tool_call(object: &mut Map<String, Value>) -> Option<CollabToolCall> {
    let tool = take_text(object, "tool")?;
    let receivers = object.get("receiver_thread_ids").and_then(Value::as_array);
    let agents = object.get("agents_states").and_then(Value::as_object);
    let agent = |(thread_id, state): (&String, &Value)| AgentState {
        thread_id: thread_id.clone(),
        status: text_of(state, "status"),
        message: state.get("message").and_then(Value::as_str).map(str::to_owned),
    };
    Some(CollabToolCall {
        tool,
        receiver_thread_ids: receivers.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
        agents: agents.into_iter().flatten().map(agent).collect(),
        status: status(object),
        sender_thread_id: take_text(object, "sender_thread_id").unwrap_or_default(),
        prompt: take_text(object, "prompt"),
    })
}

fn todo_items(object: &Map<String, Value>) -> Option<Vec<TodoItem>> {
    let step = |step: &Value| {
        let text = step.get("text")?.as_str()?.to_owned();
        Some(TodoItem { text, completed: step.get("completed").and_then(Value::as_bool).unwrap_or_default() })
    };
    object.get("items")?.as_array()?.iter().map(step).collect()
}
