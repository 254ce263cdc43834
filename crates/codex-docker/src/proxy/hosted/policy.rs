//! The rules for requests: their fields, tools, conversation items and content.
//!
//! Pure. Each level has a list of what passes. In fields without their own rule, a text that is a URL is removed, unless
//! the field contains text for the model to read.

use std::collections::BTreeSet;

use super::json::{Json, Object};
use super::removed::Removed;

/// The fields of a request that pass. Codex sends most of them. The others only change how the model writes.
const FIELDS: &[&str] = &[
    "access_programs",
    "client_metadata",
    "context_management",
    "generate",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "metadata",
    "model",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "request_country",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

/// Tools that the caller runs itself. `tool_search` is another one, but only with `execution: client`. `namespace` contains
/// tools.
const LOCAL_TOOLS: &[&str] = &["apply_patch", "custom", "function", "local_shell", "namespace"];

/// The fields of a tool that pass.
const TOOL_FIELDS: &[&str] =
    &["defer_loading", "description", "execution", "format", "name", "output_schema", "parameters", "strict", "tools", "type"];

/// Conversation items that refer to nothing outside of the request.
const ITEMS: &[&str] = &[
    "additional_tools",
    "agent_message",
    "apply_patch_call",
    "apply_patch_call_output",
    "compaction",
    "compaction_summary",
    "compaction_trigger",
    "configuration_update",
    "context_compaction",
    "custom_tool_call",
    "custom_tool_call_output",
    "function_call",
    "function_call_output",
    "ghost_snapshot",
    "image_generation_call",
    "local_shell_call",
    "local_shell_call_output",
    "message",
    "reasoning",
    "tool_search_call",
    "tool_search_output",
    "web_search_call",
];

/// The types of content in a message or in a tool's output that pass.
const PARTS: &[&str] = &[
    "encrypted_content",
    "input_audio",
    "input_file",
    "input_image",
    "input_text",
    "output_text",
    "reasoning_text",
    "refusal",
    "summary_text",
    "text",
];

/// The types of content that are useless without their data.
const MEDIA: &[&str] = &["input_audio", "input_file", "input_image"];

/// The entries of `include` that pass.
const INCLUDES: &[&str] = &["message.output_text.logprobs", "reasoning.encrypted_content"];

/// Fields with text for or from the model, in which a URL is only text.
const WORDS: &[&str] = &[
    "arguments",
    "command",
    "definition",
    "description",
    "diff",
    "encrypted_content",
    "encrypted_function_args",
    "input",
    "instructions",
    "output",
    "pattern",
    "queries",
    "query",
    "refusal",
    "text",
];

/// Fields that refer to something outside of the request, whatever their value.
const REFERENCES: &[&str] = &[
    "authorization",
    "background",
    "connector_id",
    "container",
    "container_id",
    "conversation",
    "file_id",
    "file_ids",
    "headers",
    "previous_response_id",
    "prompt",
    "server_label",
    "vector_store_ids",
];

/// The replacement for removed content.
const IN_ITS_PLACE: &str = "[removed: this repository's settings do not allow remote files or URLs in requests to the model]";

/// Applies the rules to a request, and records what was removed.
#[derive(Debug, Default)]
pub(super) struct Policy {
    removed: BTreeSet<Removed>,
    /// The number of removals of any kind.
    cuts: usize,
}

impl Policy {
    /// Returns what was removed.
    pub(super) fn removed(self) -> Vec<Removed> {
        self.removed.into_iter().collect()
    }

    fn remove(&mut self, what: Removed) {
        self.cuts += 1;
        self.removed.insert(what);
    }

    /// Filters a request.
    pub(super) fn request(&mut self, request: Object, path: &str) -> Object {
        let mut kept = Object::new();
        for (key, value) in request {
            if !FIELDS.contains(&key.as_str()) {
                self.remove(Removed::Field(key));
                continue;
            }
            let value = match (key.as_str(), value) {
                // The API only stores these fields.
                ("client_metadata" | "metadata", Json::Object(fields)) => Some(Json::Object(texts(fields))),
                ("input", Json::List(items)) => Some(Json::List(items.into_iter().filter_map(|item| self.item(item)).collect())),
                ("instructions" | "input", value @ (Json::Text(_) | Json::Null)) => Some(value),
                ("tools", value) => self.tools(value),
                ("tool_choice", value) => Some(self.tool_choice(value)),
                ("include", value) => Some(self.include(value)),
                ("store", value) => {
                    if value == Json::Bool(true) {
                        self.remove(Removed::Field("store".to_owned()));
                    }
                    continue;
                }
                ("text", Json::Object(text)) => Some(Json::Object(self.text(text))),
                ("client_metadata" | "metadata" | "input" | "instructions" | "text", _) => None,
                (_, value) => self.plain(&key, value),
            };
            match value {
                Some(value) => {
                    kept.insert(key, value);
                }
                None => self.remove(Removed::Field(key)),
            }
        }
        // Without this field, the API would store the response.
        if path.ends_with("/responses") {
            kept.insert("store".to_owned(), Json::Bool(false));
        }
        kept
    }

    /// Filters a list of tools: those that do not run in the container are removed.
    fn tools(&mut self, tools: Json) -> Option<Json> {
        match tools {
            Json::List(tools) => Some(Json::List(tools.into_iter().filter_map(|tool| self.tool(tool)).collect())),
            Json::Null => Some(Json::Null),
            Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Object(_) => None,
        }
    }

    fn tool(&mut self, tool: Json) -> Option<Json> {
        let Json::Object(tool) = tool else {
            self.remove(Removed::Tool("unknown".to_owned()));
            return None;
        };
        let kind = text_of(&tool, "type").to_owned();
        let searches_here = kind == "tool_search" && text_of(&tool, "execution") == "client";
        if !LOCAL_TOOLS.contains(&kind.as_str()) && !searches_here {
            self.remove(Removed::Tool(kind));
            return None;
        }
        let mut kept = Object::new();
        for (key, value) in tool {
            let value = match key.as_str() {
                field if !TOOL_FIELDS.contains(&field) => None,
                "tools" => self.tools(value),
                "parameters" | "output_schema" => Some(schema(value)),
                _ => self.plain(&key, value),
            };
            match value {
                Some(value) => {
                    kept.insert(key, value);
                }
                None => self.remove(Removed::Field(key)),
            }
        }
        Some(Json::Object(kept))
    }

    /// Filters the choice of a tool. If the tool was removed, the choice becomes `auto`.
    fn tool_choice(&mut self, choice: Json) -> Json {
        let auto = || Json::Text("auto".to_owned());
        match choice {
            Json::Text(word) if matches!(word.as_str(), "auto" | "none" | "required") => Json::Text(word),
            Json::Null => Json::Null,
            Json::Object(mut choice) if text_of(&choice, "type") == "allowed_tools" => {
                let tools = choice.shift_remove("tools").and_then(|tools| self.tools(tools));
                let mode = text_of(&choice, "mode").to_owned();
                match tools {
                    Some(Json::List(tools)) if !tools.is_empty() && matches!(mode.as_str(), "auto" | "required") => {
                        let fields = [("type", Json::Text("allowed_tools".to_owned())), ("mode", Json::Text(mode))];
                        let fields = fields.into_iter().chain([("tools", Json::List(tools))]);
                        Json::Object(fields.map(|(key, value)| (key.to_owned(), value)).collect())
                    }
                    _ => auto(),
                }
            }
            Json::Object(choice) => self.tool(Json::Object(choice)).unwrap_or_else(auto),
            Json::Text(_) | Json::Bool(_) | Json::Number(_) | Json::List(_) => {
                self.remove(Removed::Field("tool_choice".to_owned()));
                auto()
            }
        }
    }

    fn include(&mut self, include: Json) -> Json {
        let Json::List(include) = include else { return Json::List(vec![]) };
        let kept = include.into_iter().filter(|one| {
            let name = one.as_text().unwrap_or_default();
            let passes = INCLUDES.contains(&name);
            if !passes {
                self.removed.insert(Removed::Include(name.to_owned()));
            }
            passes
        });
        Json::List(kept.collect())
    }

    /// Filters the format of the response, which can contain a schema.
    fn text(&mut self, text: Object) -> Object {
        let mut kept = Object::new();
        for (key, value) in text {
            let value = match (key.as_str(), value) {
                ("format", Json::Object(format)) => {
                    Some(Json::Object(format.into_iter().map(|(key, value)| (key, schema(value))).collect()))
                }
                (_, value) => self.plain(&key, value),
            };
            kept.extend(value.map(|value| (key, value)));
        }
        kept
    }

    fn item(&mut self, item: Json) -> Option<Json> {
        let Json::Object(item) = item else {
            self.remove(Removed::Item("unknown".to_owned()));
            return None;
        };
        let kind = match item.get("type") {
            // A message needs no type. Anything else without a type is a reference by ID.
            None | Some(Json::Null) if item.contains_key("role") && item.contains_key("content") => "message",
            _ => text_of(&item, "type"),
        };
        // The API looks up an image without data by its ID.
        let is_bare_picture = kind == "image_generation_call" && !item.get("result").is_some_and(is_data);
        if !ITEMS.contains(&kind) || is_bare_picture {
            self.remove(Removed::Item(kind.to_owned()));
            return None;
        }
        let is_typed = item.get("type").is_some_and(|kind| !matches!(kind, Json::Null));
        let kept = self.fields(item);
        // Without a role and content, a message without a type would be an item of an unknown kind.
        let is_message = kept.contains_key("role") && kept.contains_key("content");
        if !(is_typed || is_message) {
            return None;
        }
        Some(Json::Object(kept))
    }

    /// Filters the fields of an item or of an object in it.
    fn fields(&mut self, object: Object) -> Object {
        let mut kept = Object::new();
        for (key, value) in object {
            let value = match (key.as_str(), value) {
                ("content" | "output" | "summary", Json::List(parts)) => {
                    Some(Json::List(parts.into_iter().filter_map(|part| self.part(part)).collect()))
                }
                ("content" | "output" | "summary", value @ Json::Text(_)) => Some(value),
                ("tools", value) => self.tools(value),
                ("tool_choice", value) => Some(self.tool_choice(value)),
                (_, value) => self.plain(&key, value),
            };
            kept.extend(value.map(|value| (key, value)));
        }
        kept
    }

    fn part(&mut self, part: Json) -> Option<Json> {
        let part = match part {
            Json::Object(part) => part,
            text @ Json::Text(_) => return Some(text),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::List(_) => return None,
        };
        let kind = text_of(&part, "type").to_owned();
        let is_known = PARTS.contains(&kind.as_str());
        let before = self.cuts;
        let kept = self.fields(part);
        if is_known && (self.cuts == before || !MEDIA.contains(&kind.as_str())) {
            return Some(Json::Object(kept));
        }
        let is_input = kind.starts_with("input_");
        if !is_known {
            self.remove(Removed::Part(kind));
        }
        let instead = [("type", "input_text"), ("text", IN_ITS_PLACE)];
        let instead = instead.map(|(key, text)| (key.to_owned(), Json::Text(text.to_owned())));
        is_input.then(|| Json::Object(instead.into_iter().collect()))
    }

    /// Filters any other field. Returns `None` if it refers to something outside of the request.
    fn plain(&mut self, key: &str, value: Json) -> Option<Json> {
        let name = key.to_ascii_lowercase();
        let is_reference = REFERENCES.contains(&name.as_str());
        let names_address = ["url", "uri", "urls", "uris"].iter().any(|end| name.ends_with(end));
        let kept = match value {
            Json::Null => Some(Json::Null),
            _ if is_reference => None,
            Json::Text(text) if names_address => Some(Json::Text(text)).filter(is_data_url),
            Json::Text(text) if name == "file_data" => Some(Json::Text(text)).filter(is_data),
            _ if names_address => None,
            value @ (Json::Bool(_) | Json::Number(_)) => Some(value),
            Json::Text(text) => Some(Json::Text(text)).filter(|text| is_words(&name) || !is_address(text)),
            Json::List(values) => Some(Json::List(values.into_iter().filter_map(|value| self.plain(key, value)).collect())),
            Json::Object(object) => Some(Json::Object(self.fields(object))),
        };
        if kept.is_none() {
            self.remove(Removed::Reference(key.to_owned()));
        }
        kept
    }
}

fn text_of<'a>(object: &'a Object, key: &str) -> &'a str {
    object.get(key).and_then(Json::as_text).unwrap_or_default()
}

/// Keeps only the text values.
fn texts(fields: Object) -> Object {
    fields.into_iter().filter(|(_, value)| value.as_text().is_some()).collect()
}

fn is_words(name: &str) -> bool {
    WORDS.contains(&name)
}

/// Returns whether a text contains the data itself: a `data:` URL or Base64.
fn is_data(value: &Json) -> bool {
    is_data_url(value) || value.as_text().is_some_and(is_base64)
}

fn is_base64(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=-_\r\n".contains(&byte))
}

/// Returns whether a text is a `data:` URL that cannot refer to anything else. Images in markup, such as SVG, can refer to other
/// images.
fn is_data_url(value: &Json) -> bool {
    let data = value.as_text().and_then(|text| text.strip_prefix("data:")?.split_once(";base64,"));
    data.is_some_and(|(kind, data)| {
        let kind = kind.to_ascii_lowercase();
        let is_markup = ["svg", "html", "xml"].iter().any(|markup| kind.contains(markup));
        kind.len() < 100 && !is_markup && is_base64(data)
    })
}

/// Returns whether the whole text is a URL, with or without a scheme.
fn is_address(value: &Json) -> bool {
    let text = value.as_text().unwrap_or_default().trim_start();
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let after = text.get(scheme.len()..).unwrap_or_default();
    text.starts_with("//") || text.starts_with("\\\\") || (is_scheme && (after.starts_with(":/") || after.starts_with(":\\")))
}

/// Removes references to other documents from a JSON Schema.
fn schema(value: Json) -> Json {
    match value {
        Json::Object(fields) => {
            let lies_elsewhere = |key: &str, value: &Json| {
                matches!(key, "$ref" | "$dynamicRef" | "$recursiveRef") && value.as_text().is_some_and(|to| !to.starts_with('#'))
            };
            let kept = fields.into_iter().filter(|(key, value)| !lies_elsewhere(key, value));
            Json::Object(kept.map(|(key, value)| (key, schema(value))).collect())
        }
        Json::List(values) => Json::List(values.into_iter().map(schema).collect()),
        value @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_)) => value,
    }
}
