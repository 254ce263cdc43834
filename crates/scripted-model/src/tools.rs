//! Finds a tool for each item among the tools that a client offers.
//!
//! The tools of Codex depend on its version and on the model: the shell tool has one of four names, patches have a separate tool or
//! go through the shell, or one JavaScript tool does everything. If no tool is suitable, the item becomes a message that says so.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{Item, PlanStatus, wire};

/// The tools of a request, by name. Tools without a name are listed by type.
pub(crate) struct Tools(BTreeMap<String, Value>);

impl Tools {
    /// Collects the tools in `tools` and in `additional_tools` items, including those in the `functions` namespace.
    pub(crate) fn offered(body: &Value) -> Self {
        let mut tools = Self(BTreeMap::new());
        tools.collect(&body["tools"]);
        for item in body["input"].as_array().into_iter().flatten() {
            if item["type"] == "additional_tools" {
                tools.collect(&item["tools"]);
            }
        }
        tools
    }

    /// Returns the output item for `item` with this client's tools.
    pub(crate) fn express(&self, item: &Item) -> Value {
        match item {
            Item::Message { text, phase } => wire::message(text, *phase),
            Item::LongMessage { words, .. } => wire::message(&words_of(*words).concat(), None),
            Item::Reasoning { parts } => wire::reasoning(parts),
            Item::Shell { command, wait } => {
                let wait = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
                self.shell(command, wait)
            }
            Item::Patch(patch) => self.patch(patch),
            Item::Plan(steps) => self.plan(steps),
            Item::WebSearch { query } => wire::web_search(query),
            Item::Call { tool, arguments } => wire::function_call(tool, arguments),
            Item::Raw(item) => item.clone(),
        }
    }

    fn collect(&mut self, tools: &Value) {
        for tool in tools.as_array().into_iter().flatten() {
            if tool["type"] == "namespace" && tool["name"] == "functions" {
                self.collect(&tool["tools"]);
            } else if let Some(name) = tool["name"].as_str().or(tool["type"].as_str()) {
                self.0.insert(name.to_owned(), tool.clone());
            }
        }
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn shell(&self, command: &str, wait_ms: Option<u64>) -> Value {
        let mut arguments = json!({"cmd": command});
        if let Some(wait_ms) = wait_ms {
            arguments["yield_time_ms"] = json!(wait_ms);
        }
        if self.has("exec_command") {
            wire::function_call("exec_command", &arguments.to_string())
        } else if self.has("shell_command") {
            wire::function_call("shell_command", &json!({"command": command}).to_string())
        } else if self.has("shell") {
            wire::function_call("shell", &json!({"command": ["bash", "-lc", command]}).to_string())
        } else if self.has("local_shell") {
            wire::local_shell_call(command)
        } else if self.has("exec") {
            let code = format!("const r = await tools.exec_command({arguments});\ntext(r.output ?? JSON.stringify(r));");
            wire::custom_call("exec", &code)
        } else {
            self.missing("runs a shell command")
        }
    }

    fn patch(&self, patch: &str) -> Value {
        if let Some(tool) = self.0.get("apply_patch") {
            if tool["type"] == "custom" {
                wire::custom_call("apply_patch", patch)
            } else {
                wire::function_call("apply_patch", &json!({"input": patch}).to_string())
            }
        } else if self.has("exec") {
            let patch = json!(patch);
            let code =
                format!("const r = await tools.apply_patch({patch});\ntext(typeof r === 'string' ? r : JSON.stringify(r));");
            wire::custom_call("exec", &code)
        } else {
            self.shell(&format!("apply_patch <<'EOF'\n{patch}\nEOF"), None)
        }
    }

    fn plan(&self, steps: &[(String, PlanStatus)]) -> Value {
        let plan: Vec<Value> = steps.iter().map(|(step, status)| json!({"step": step, "status": status.as_str()})).collect();
        let arguments = json!({"plan": plan}).to_string();
        if self.has("update_plan") {
            wire::function_call("update_plan", &arguments)
        } else if self.has("exec") {
            wire::custom_call("exec", &format!("await tools.update_plan({arguments});\ntext('ok');"))
        } else {
            self.missing("updates a plan")
        }
    }

    fn missing(&self, deed: &str) -> Value {
        let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
        wire::message(&format!("No tool {deed}. Available tools: {}.", names.join(", ")), None)
    }
}

/// Returns the words of a long message, each followed by a space.
pub(crate) fn words_of(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("word{number} ")).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn offered(names: &[&str]) -> Tools {
        let tools: Vec<Value> = names.iter().map(|name| json!({"type": "function", "name": name})).collect();
        Tools::offered(&json!({"tools": tools}))
    }

    #[test]
    fn a_command_takes_the_shell_that_is_there() {
        let check = |tools: &[&str], expect: &str| {
            let call = offered(tools).express(&Item::shell("ls"));
            let said = call["arguments"].as_str().or(call["input"].as_str()).unwrap_or_default();
            assert_eq!(format!("{} {said}", call["name"].as_str().unwrap_or_default()), expect);
        };
        check(&["exec_command", "exec"], r#"exec_command {"cmd":"ls"}"#);
        check(&["shell_command"], r#"shell_command {"command":"ls"}"#);
        check(&["shell"], r#"shell {"command":["bash","-lc","ls"]}"#);
        check(&["exec"], "exec const r = await tools.exec_command({\"cmd\":\"ls\"});\ntext(r.output ?? JSON.stringify(r));");
    }

    #[test]
    fn a_local_shell_has_a_call_of_its_own() {
        let tools = Tools::offered(&json!({"tools": [{"type": "local_shell"}]}));
        let call = tools.express(&Item::shell("ls"));
        assert_eq!((&call["type"], &call["action"]["command"][2]), (&json!("local_shell_call"), &json!("ls")));
    }

    #[test]
    fn a_bound_on_waiting_reaches_the_tool_that_knows_it() {
        let call = offered(&["exec_command"]).express(&Item::shell_within("sleep 9", Duration::from_secs(1)));
        assert_eq!(call["arguments"], json!(r#"{"cmd":"sleep 9","yield_time_ms":1000}"#));
    }

    #[test]
    fn a_patch_goes_through_the_shell_where_no_tool_takes_it() {
        let call = offered(&["shell_command"]).express(&Item::add_file("a.txt", "one\ntwo\n"));
        let arguments: Value =
            serde_json::from_str(call["arguments"].as_str().expect("arguments are text")).expect("arguments are JSON");
        let expect = "apply_patch <<'EOF'\n*** Begin Patch\n*** Add File: a.txt\n+one\n+two\n*** End Patch\nEOF";
        assert_eq!(arguments["command"], expect);
    }

    #[test]
    fn a_patch_is_free_text_or_json_as_the_tool_wants() {
        let custom = Tools::offered(&json!({"tools": [{"type": "custom", "name": "apply_patch"}]}));
        assert_eq!(custom.express(&Item::patch("P"))["input"], "P");
        assert_eq!(offered(&["apply_patch"]).express(&Item::patch("P"))["arguments"], r#"{"input":"P"}"#);
        let call = offered(&["exec"]).express(&Item::patch("P"));
        assert!(call["input"].as_str().is_some_and(|code| code.starts_with("const r = await tools.apply_patch(\"P\")")));
    }

    #[test]
    fn tools_are_found_inside_the_input_and_its_namespace() {
        let body = json!({"input": [{"type": "additional_tools", "tools": [
            {"type": "namespace", "name": "functions", "tools": [{"type": "custom", "name": "exec"}]},
        ]}]});
        assert_eq!(Tools::offered(&body).express(&Item::shell("ls"))["name"], "exec");
    }

    #[test]
    fn a_missing_tool_is_said_and_named() {
        let answer = offered(&["view_image"]).express(&Item::plan([("look", PlanStatus::Pending)]));
        assert_eq!(answer["content"][0]["text"], "No tool updates a plan. Available tools: view_image.");
    }

    #[test]
    fn a_plan_is_sent_whole() {
        let plan = Item::plan([("look", PlanStatus::Completed), ("edit", PlanStatus::InProgress)]);
        let expect = r#"{"plan":[{"status":"completed","step":"look"},{"status":"in_progress","step":"edit"}]}"#;
        assert_eq!(offered(&["update_plan"]).express(&plan)["arguments"], expect);
    }
}
