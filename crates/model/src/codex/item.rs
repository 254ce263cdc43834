//! The items of a turn, such as messages, commands, file changes, tool calls and plans.
//!
//! If a required field (such as a command's `command`) is missing or has the wrong type, the whole item becomes `Unknown`. An
//! optional field of the wrong type counts as missing. Texts are moved out of the JSON, never copied.

use serde_json::{Map, Value};

/// An item of a turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The item's ID: `item_0`, `item_1`, … within one process. For a `web_search`, which has two IDs, the last one. May be empty.
    pub id: String,
    /// The kind of item, with its data.
    pub kind: ItemKind,
}

/// The kind of an item.
#[derive(Debug, Clone, PartialEq)]
pub enum ItemKind {
    /// A message from the agent. The last message of a turn is the agent's answer.
    AgentMessage {
        /// The text, which is Markdown in practice.
        text: String,
    },
    /// A summary of the agent's reasoning.
    Reasoning {
        /// The text, which is Markdown in practice.
        text: String,
    },
    /// A shell command.
    CommandExecution(CommandExecution),
    /// Files that were created, changed or deleted.
    FileChange(FileChange),
    /// An MCP tool call.
    McpToolCall(McpToolCall),
    /// Work with sub-agents.
    CollabToolCall(CollabToolCall),
    /// A web search.
    WebSearch {
        /// The query, which may be empty while the search runs.
        query: String,
        /// The action as the model requested it.
        action: Option<Value>,
    },
    /// The agent's plan.
    TodoList {
        /// The steps, in order.
        items: Vec<TodoItem>,
    },
    /// A non-fatal warning from Codex itself.
    Error {
        /// Codex's message.
        message: String,
    },
    /// An unknown item, with all of its JSON.
    Unknown(Value),
}

/// The status of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemStatus {
    /// Running.
    InProgress,
    /// Succeeded.
    Completed,
    /// Failed.
    Failed,
    /// Not allowed to run.
    Declined,
    /// Any other status. Empty if there is no status.
    Other(String),
}

/// A shell command and its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandExecution {
    /// The command as Codex started it, usually wrapped as `/bin/bash -lc '…'`; see [`unwrap_shell`](super::unwrap_shell).
    pub command: String,
    /// stdout and stderr, interleaved, up to 1 MiB. Codex removes the middle of longer output. Empty while the command runs.
    pub aggregated_output: String,
    /// The exit code, or `None` if the command is running or never ran.
    pub exit_code: Option<i64>,
    /// The status.
    pub status: ItemStatus,
}

impl CommandExecution {
    /// Returns whether the command succeeded, or `None` if this is not known yet.
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
    /// The changed files, in the order of the patch.
    pub changes: Vec<PathChange>,
    /// Whether the patch was applied.
    pub status: ItemStatus,
}

/// A changed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathChange {
    /// The absolute path, as seen by the agent.
    pub path: String,
    /// The kind of change.
    pub kind: ChangeKind,
}

/// The kind of change to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// Added.
    Add,
    /// Deleted.
    Delete,
    /// Changed.
    Update,
    /// Any other kind. Empty if there is no kind.
    Other(String),
}

/// An MCP tool call.
#[derive(Debug, Clone, PartialEq)]
pub struct McpToolCall {
    /// The name of the server in Codex's configuration.
    pub server: String,
    /// The name of the tool.
    pub tool: String,
    /// The arguments from the model; `Null` if there are none.
    pub arguments: Value,
    /// The result, in the form `{content[], structured_content}`.
    pub result: Option<Value>,
    /// The error message, if the call itself failed.
    pub error: Option<String>,
    /// The status.
    pub status: ItemStatus,
}

/// Work with sub-agents: `spawn_agent`, `wait`, …
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollabToolCall {
    /// The action.
    pub tool: String,
    /// The thread that performs the action.
    pub sender_thread_id: String,
    /// The threads that the action is performed on.
    pub receiver_thread_ids: Vec<String>,
    /// The prompt for the sub-agent.
    pub prompt: Option<String>,
    /// The known states of the sub-agents.
    pub agents: Vec<AgentState>,
    /// The status.
    pub status: ItemStatus,
}

/// The state of a sub-agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentState {
    /// The ID of the sub-agent's thread.
    pub thread_id: String,
    /// The status as Codex reports it: `pending_init`, `completed`, …
    pub status: String,
    /// The sub-agent's last message.
    pub message: Option<String>,
}

/// A step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TodoItem {
    /// The description of the step.
    pub text: String,
    /// Whether the step is done. Codex does not report which step is in progress.
    pub completed: bool,
}

impl Item {
    /// Parses the object under `item`.
    pub(super) fn understand(mut object: Map<String, Value>) -> Self {
        let id = object.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let kind = ItemKind::understand(&mut object).unwrap_or(ItemKind::Unknown(Value::Object(object)));
        Self { id, kind }
    }
}

impl ItemKind {
    /// Parses the object. If its kind is unknown, returns `None` and leaves the object unchanged.
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

/// Moves a text out of the object. If the object has no text under `key`, returns `None` and leaves the object unchanged.
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
