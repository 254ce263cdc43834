//! Tests that Codex's own requests pass unchanged, and that an agent's references to remote content are removed.
//! Such references contain `evil`, so that the tests can check that they are gone.

use hyper::header::HeaderValue;
use serde_json::{Value, json};

use super::*;

const PICTURE: &str = "data:image/png;base64,iVBORw0KGgo=";

/// Returns the request that is sent, and what is reported as removed.
fn sent(request: &Value) -> (Value, Vec<String>) {
    let checked = check("/v1/responses", request.to_string().as_bytes()).expect("the request can be checked");
    let body = serde_json::from_slice(&checked.body).expect("JSON");
    (body, checked.removed.iter().map(ToString::to_string).collect())
}

fn message(content: &Value) -> Value {
    json!({ "type": "message", "role": "user", "content": [content] })
}

#[test]
fn what_codex_sends_passes_unchanged() {
    let request = json!({
        "model": "gpt-5.5",
        "instructions": "Read https://example.com and //this",
        "input": [
            { "type": "additional_tools", "role": "developer", "tools": [
                { "type": "namespace", "name": "functions", "description": "d", "tools": [
                    { "type": "custom", "name": "exec", "description": "d", "format":
                        { "type": "grammar", "syntax": "lark", "definition": "https://x" } },
                    { "type": "function", "name": "wait", "strict": false, "parameters":
                        { "type": "object", "$schema": "https://json-schema.org/draft/2020-12/schema",
                          "properties": { "image_url": { "type": "string", "default": "https://x" }, "tools": { "type": "array" } } } } ] } ] },
            { "type": "message", "role": "developer", "content": [{ "type": "input_text", "text": "https://example.com" }] },
            { "role": "user", "content": "https://example.com" },
            message(&json!({ "type": "input_image", "image_url": PICTURE, "detail": "high" })),
            message(&json!({ "type": "input_file", "filename": "a.pdf", "file_data": "JVBERi0x" })),
            { "type": "reasoning", "id": "rs_1", "summary": [{ "type": "summary_text", "text": "t" }], "content": null, "encrypted_content": "e" },
            { "type": "function_call", "name": "shell", "arguments": "{\"url\":\"https://x\"}", "call_id": "c1" },
            { "type": "function_call_output", "call_id": "c1", "output": "https://example.com" },
            { "type": "function_call_output", "call_id": "c2", "output": [{ "type": "input_image", "image_url": PICTURE }] },
            { "type": "custom_tool_call", "call_id": "c3", "name": "apply_patch", "input": "https://x" },
            { "type": "custom_tool_call_output", "call_id": "c3", "output": "https://x" },
            { "type": "local_shell_call", "call_id": "c4", "status": "completed", "action":
                { "type": "exec", "command": ["curl", "https://x"], "timeout_ms": 1 } },
            { "type": "tool_search_call", "call_id": "c5", "execution": "client", "arguments": { "query": "https://x" } },
            { "type": "tool_search_output", "call_id": "c5", "tools": [{ "type": "function", "name": "f", "defer_loading": true }] },
            { "type": "web_search_call", "status": "completed", "action": { "type": "search", "query": "https://x" } },
            { "type": "compaction", "encrypted_content": "e" },
        ],
        "tools": [
            { "type": "function", "name": "exec_command", "description": "https://x", "strict": false, "parameters": {} },
            { "type": "local_shell" },
            { "type": "tool_search", "execution": "client", "description": "d", "parameters": {} },
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": true,
        "reasoning": { "effort": "medium", "summary": "auto" },
        "stream": true,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "019a",
        "service_tier": "priority",
        "text": { "verbosity": "low", "format": { "type": "json_schema", "name": "n", "strict": true, "schema": { "$ref": "#/$defs/a" } } },
        "client_metadata": { "x-codex-turn-metadata": "https://example.com/repository" },
        "store": false,
    });
    let (passed, removed) = sent(&request);
    assert!(removed.is_empty(), "{removed:?}");
    assert_eq!(passed, request);
}

#[test]
fn only_tools_of_the_container_are_offered() {
    let hosted = [
        json!({ "type": "web_search" }),
        json!({ "type": "web_search_preview_2025_03_11" }),
        json!({ "type": "mcp", "server_label": "x", "server_url": "https://evil.example", "require_approval": "never" }),
        json!({ "type": "mcp", "connector_id": "connector_gmail", "authorization": "x" }),
        json!({ "type": "code_interpreter", "container": { "type": "auto" } }),
        json!({ "type": "file_search", "vector_store_ids": ["vs_1"] }),
        json!({ "type": "image_generation" }),
        json!({ "type": "computer_use_preview" }),
        json!({ "type": "shell", "environment": { "type": "container_auto" } }),
        json!({ "type": "tool_search" }),
        json!({ "type": "tool_search", "execution": "server" }),
        json!({ "type": "Function" }),
        json!({ "type": ["function"] }),
        json!({ "type": null, "server_url": "https://evil.example" }),
        json!({ "server_url": "https://evil.example" }),
        json!("web_search"),
    ];
    let local = json!({ "type": "function", "name": "f" });
    for tool in hosted {
        let (nested, tool_output) = (json!([{ "type": "namespace", "name": "n", "tools": [tool] }]), json!([tool, local]));
        for request in [
            json!({ "tools": [tool, local] }),
            json!({ "tools": nested }),
            json!({ "input": [{ "type": "additional_tools", "tools": tool_output }] }),
            json!({ "input": [{ "type": "tool_search_output", "tools": nested }] }),
            json!({ "input": [{ "type": "configuration_update", "settings": { "tools": tool_output } }] }),
        ] {
            let (passed, removed) = sent(&request);
            assert!(!passed.to_string().contains("evil") && removed.len() == 1, "{request}: {passed} {removed:?}");
            let left = passed.to_string().matches("\"type\":\"function\"").count();
            assert_eq!(left, request.to_string().matches("\"name\":\"f\"").count(), "{request}: {passed}");
            assert!(!passed.to_string().contains("web_search"), "{passed}");
        }
    }
    let dressed =
        json!({ "tools": [{ "type": "function", "name": "f", "server_url": "https://evil.example", "container": "c" }] });
    let (passed, removed) = sent(&dressed);
    assert_eq!((&passed["tools"], removed.len()), (&json!([{ "type": "function", "name": "f" }]), 2));
    assert_eq!(sent(&json!({ "tools": { "type": "web_search" } })).0, json!({ "store": false }));
}

#[test]
fn no_tool_is_chosen_that_is_not_offered() {
    for (choice, expected) in [
        (json!("auto"), json!("auto")),
        (json!("required"), json!("required")),
        (json!("web_search"), json!("auto")),
        (json!({ "type": "function", "name": "f" }), json!({ "type": "function", "name": "f" })),
        (json!({ "type": "web_search_preview" }), json!("auto")),
        (json!({ "type": "mcp", "server_label": "evil" }), json!("auto")),
        (json!({ "type": "allowed_tools", "mode": "auto", "tools": [{ "type": "mcp" }] }), json!("auto")),
        (
            json!({ "type": "allowed_tools", "mode": "required", "x": 1, "tools": [{ "type": "mcp" }, { "type": "function", "name": "f" }] }),
            json!({ "type": "allowed_tools", "mode": "required", "tools": [{ "type": "function", "name": "f" }] }),
        ),
    ] {
        assert_eq!(sent(&json!({ "tool_choice": choice })).0["tool_choice"], expected, "{choice}");
    }
}

#[test]
fn content_is_in_the_request_and_never_fetched() {
    let not_data = "https://evil.example/a.png";
    for content in [
        json!({ "type": "input_image", "image_url": not_data }),
        json!({ "type": "input_image", "image_url": " https://evil.example" }),
        json!({ "type": "input_image", "image_url": "//evil.example/a" }),
        json!({ "type": "input_image", "image_url": "HTTPS://evil.example/data:image/png;base64,AAAA" }),
        json!({ "type": "input_image", "image_url": { "url": not_data } }),
        json!({ "type": "input_image", "image_url": [not_data] }),
        json!({ "type": "input_image", "Image_URL": not_data }),
        json!({ "type": "input_image", "file_id": "file-evil" }),
        json!({ "type": "input_image", "image_url": PICTURE, "file_id": "file-evil" }),
        json!({ "type": "input_image", "image_url": "sediment://file_evil" }),
        json!({ "type": "input_image", "image_url": "data:image/svg+xml;base64,evil" }),
        json!({ "type": "input_image", "image_url": "data:text/html,<img src='https://evil.example'>" }),
        json!({ "type": "input_image", "source": not_data }),
        json!({ "type": "input_file", "file_url": not_data }),
        json!({ "type": "input_file", "file_id": "file-evil" }),
        json!({ "type": "input_file", "file_data": not_data }),
        json!({ "type": "input_file", "filename": not_data, "file_data": "AAAA" }),
        json!({ "type": "input_audio", "audio_url": not_data }),
        json!({ "type": "input_audio", "input_audio": { "data": not_data } }),
        json!({ "type": "input_video", "video_url": not_data }),
    ] {
        for request in [
            json!({ "input": [message(&content)] }),
            json!({ "input": [{ "role": "user", "content": [content] }] }),
            json!({ "input": [{ "type": "function_call_output", "call_id": "c", "output": [content] }] }),
            json!({ "input": [{ "type": "custom_tool_call_output", "call_id": "c", "output": [content] }] }),
            json!({ "input": [{ "type": "agent_message", "content": [content] }] }),
        ] {
            let (passed, removed) = sent(&request);
            assert!(!passed.to_string().contains("evil") && !removed.is_empty(), "{request}: {passed}");
            assert!(passed.to_string().contains("[removed: "), "the model gets an explanation: {passed}");
        }
    }
}

#[test]
fn nothing_that_is_kept_elsewhere_is_named() {
    for (item, named) in [
        (json!({ "type": "item_reference", "id": "msg_evil" }), "item_reference"),
        (json!({ "id": "msg_evil" }), "``"),
        (json!({ "id": "msg_evil", "type": null }), "``"),
        (json!({ "id": "msg_evil", "role": "user" }), "``"),
        (json!({ "type": "mcp_approval_response", "approve": true, "approval_request_id": "evil" }), "mcp_approval_response"),
        (json!({ "type": "mcp_call", "server_label": "evil" }), "mcp_call"),
        (json!({ "type": "mcp_list_tools", "server_label": "evil", "tools": [] }), "mcp_list_tools"),
        (json!({ "type": "computer_call_output", "output": { "image_url": "https://evil" } }), "computer_call_output"),
        (json!({ "type": "code_interpreter_call", "container_id": "evil" }), "code_interpreter_call"),
        (json!({ "type": "image_generation_call", "id": "ig_evil" }), "image_generation_call"),
        (json!({ "type": "image_generation_call", "id": "ig_evil", "result": "https://evil" }), "image_generation_call"),
        (json!("evil"), "unknown"),
        (json!({ "type": "web_search_call", "action": { "type": "open_page", "url": "https://evil" } }), "url"),
        (json!({ "type": "message", "role": "user", "content": [], "anything": { "deep": ["https://evil"] } }), "deep"),
    ] {
        let (passed, removed) = sent(&json!({ "input": [item] }));
        assert!(
            !passed.to_string().contains("evil") && removed.iter().any(|line| line.contains(named)),
            "{item}: {passed} {removed:?}"
        );
    }
    let (passed, removed) = sent(&json!({ "input": [{ "role": "https://evil", "content": null }] }));
    assert!(passed["input"] == json!([]) && removed.iter().any(|line| line.contains("role")), "{passed} {removed:?}");
    for (field, value) in [
        ("previous_response_id", json!("resp_evil")),
        ("conversation", json!({ "id": "conv_evil" })),
        ("prompt", json!({ "id": "pmpt_evil" })),
        ("background", json!(true)),
        ("container", json!("evil")),
        ("tool_resources", json!({ "file_search": "evil" })),
        ("anything_new", json!("evil")),
        ("prompt_cache_key", json!("https://evil")),
        ("input", json!({ "image_url": "https://evil" })),
        ("instructions", json!([{ "type": "input_image", "image_url": "https://evil" }])),
    ] {
        let (passed, removed) = sent(&json!({ field: value }));
        assert_eq!(passed, json!({ "store": false }), "{field}");
        assert!(removed.iter().any(|line| line.contains(field)), "{removed:?}");
    }
    let (passed, removed) = sent(&json!({ "store": true }));
    assert_eq!((passed, removed.len()), (json!({ "store": false }), 1));
    let include = ["web_search_call.action.sources", "code_interpreter_call.outputs", "message.input_image.image_url"];
    let (passed, removed) = sent(&json!({ "include": include }));
    assert_eq!((&passed["include"], removed.len()), (&json!([]), 3));
    let elsewhere =
        json!({ "$ref": "https://evil", "properties": { "a": { "$dynamicRef": "//evil" }, "$ref": { "$ref": "#" } } });
    let here = json!({ "properties": { "a": {}, "$ref": { "$ref": "#" } } });
    let (passed, _) = sent(&json!({ "text": { "format": { "type": "json_schema", "schema": elsewhere } },
        "tools": [{ "type": "function", "parameters": elsewhere }] }));
    assert_eq!((&passed["text"]["format"]["schema"], &passed["tools"][0]["parameters"]), (&here, &here));
}

#[test]
fn what_cannot_be_checked_is_refused() {
    for body in ["", "x", "[]", "\"text\"", "null", r#"{"tools":[],"tools":[{"type":"mcp"}]}"#, r#"{"a":1} {"tools":[]}"#] {
        let error = check("/v1/responses", body.as_bytes()).expect_err(body);
        assert!(matches!(error, Unchecked::Unreadable(_)), "{body}: {error}");
    }
    for model in ["gpt-5-search-api", "gpt-4o-Search-preview", "o3-deep-research"] {
        let error = check("/v1/responses", json!({ "model": model }).to_string().as_bytes()).expect_err(model);
        assert_eq!(error, Unchecked::SearchModel, "{model}");
    }
    let compact = check("/v1/responses/compact", b"{}").expect("sound");
    assert_eq!(compact.body, b"{}", "this endpoint stores nothing");
}

#[test]
fn only_plain_json_is_read() {
    let check = |pairs: &[(&'static str, &'static str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        check_headers(&headers)
    };
    let json = ("content-type", "application/json");
    for fine in
        [vec![json], vec![("content-type", "Application/JSON; charset=UTF-8")], vec![json, ("content-encoding", "identity")]]
    {
        assert_eq!(check(&fine), Ok(()), "{fine:?}");
    }
    for encoding in ["zstd", "gzip", "br", "identity, gzip", "x", ""] {
        assert_eq!(check(&[json, ("content-encoding", encoding)]), Err(Unchecked::Encoded), "{encoding}");
    }
    for kind in ["text/plain", "multipart/form-data; boundary=x", "application/json; charset=utf-16", "application/jsonx", ""] {
        assert_eq!(check(&[("content-type", kind)]), Err(Unchecked::NotJson), "{kind}");
    }
    assert_eq!(check(&[]), Err(Unchecked::NotJson));
    assert_eq!(check(&[json, json]), Err(Unchecked::NotJson));
}

/// Any JSON, with the names and values that the rules care about.
fn anything() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let name = prop::sample::select(vec![
        "type",
        "tools",
        "tool_choice",
        "input",
        "content",
        "output",
        "image_url",
        "URL",
        "file_id",
        "file_data",
        "text",
        "role",
        "metadata",
        "format",
        "include",
        "parameters",
        "$ref",
        "server_url",
        "container",
        "result",
        "anything",
    ]);
    let word = prop::sample::select(vec![
        "function",
        "web_search",
        "mcp",
        "message",
        "input_image",
        "input_text",
        "namespace",
        "image_generation_call",
        "allowed_tools",
        "https://evil.example",
        "//evil.example",
        "evil:/x",
        "data:image/png;base64,AAAA",
        "data:image/svg+xml;base64,evil",
        "auto",
        "#/x",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())),
        ]
    })
}

/// Returns every text in a field that could be an address, and the types of everything that is offered as a tool.
fn reachable(value: &Value, field: &str, found: &mut Vec<String>) {
    const TEXT_FIELDS: [&str; 4] = ["content", "input", "output", "text"];
    let is_read =
        |text: &str| !TEXT_FIELDS.contains(&field) && (field.to_lowercase().ends_with("url") || !text.starts_with("data:"));
    match value {
        Value::String(text) if text.contains("evil") && is_read(text) => found.push(format!("{field}: {text}")),
        Value::Array(values) => values.iter().for_each(|value| reachable(value, field, found)),
        Value::Object(fields) => {
            // Descriptions of parameters, and what the API only stores, refer to nothing.
            let read = fields.iter().filter(|(name, _)| !matches!(name.as_str(), "parameters" | "format" | "metadata"));
            read.for_each(|(name, value)| reachable(value, name, found));
            let is_hosted = |kind: &Value| matches!(kind.as_str(), Some("web_search" | "mcp"));
            if field == "tools" && fields.get("type").is_none_or(is_hosted) {
                found.push(format!("a tool: {value}"));
            }
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2000))]

    #[test]
    fn no_request_however_it_is_built_reaches_beyond_itself_and_a_second_check_changes_nothing(
        input in anything(),
        tools in anything(),
        choice in anything(),
        other in anything(),
    ) {
        let request = json!({ "input": input, "tools": tools, "tool_choice": choice, "reasoning": other, "unknown": other });
        let (passed, _) = sent(&request);
        let mut found = Vec::new();
        reachable(&passed, "", &mut found);
        proptest::prop_assert!(found.is_empty(), "{}\n{}\n{:?}", request, passed, found);
        let (again, removed) = sent(&passed);
        proptest::prop_assert_eq!(&again, &passed);
        proptest::prop_assert!(removed.is_empty(), "{}: {:?}", passed, removed);
    }
}
