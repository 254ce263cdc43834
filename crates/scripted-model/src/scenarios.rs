//! The table of scenarios for `SCENARIO:<name>` markers, from a plain answer to a broken stream.
//!
//! The scenarios are for tests in which the content does not matter. They write only to the working directory.

use std::time::Duration;

use serde_json::json;

use crate::PlanStatus::{Completed, InProgress, Pending};
use crate::{Fault, Item, Turn};

/// The name of a scenario and a function that returns its turn.
type Scenario = (&'static str, fn() -> Turn);

/// The names of all scenarios, in the order of the table.
pub const SCENARIOS: [&str; TABLE.len()] = {
    let mut names = [""; TABLE.len()];
    let mut index = 0;
    while index < TABLE.len() {
        names[index] = TABLE[index].0;
        index += 1;
    }
    names
};

const TABLE: &[Scenario] = &[
    // Answers
    ("plain", greeting),
    ("reason", || {
        let parts = ["**Thinking**\n\nabout it", "second part"].map(str::to_owned).to_vec();
        Turn::always().step([Item::Reasoning { parts }, Item::message("Reasoned answer.")])
    }),
    ("twomsg", || Turn::always().step([Item::message("first message"), Item::message("second message")])),
    ("web", || Turn::always().step([Item::web_search("codex docs"), Item::message("searched")])),
    ("long", || Turn::always().step([Item::LongMessage { words: 300, every: Duration::from_millis(20) }])),
    ("long_slow", || Turn::always().step([Item::LongMessage { words: 600, every: Duration::from_millis(100) }])),
    ("huge_msg", || Turn::always().says("x".repeat(300_000))),
    ("json", || Turn::always().says(r#"{"answer":"42","ok":true}"#)),
    // Commands
    ("cmd_ok", || Turn::always().step([Item::shell("echo out; echo err >&2")]).says("done ok")),
    ("cmd_fail", || Turn::always().step([Item::shell("echo before; exit 7")]).says("done fail")),
    ("cmd_big", || Turn::always().step([Item::shell("seq 1 200000")]).says("done big")),
    ("cmd_sleep", || {
        let sleep = Item::shell_within("echo $$ > ./sleep.pid; sleep 60; echo slept", Duration::from_secs(30));
        // After an interrupt ends the command, the oldest Codex may send another request before it ends the turn. Therefore the
        // answer is slow.
        let slow = Item::LongMessage { words: 600, every: Duration::from_millis(100) };
        Turn::always().step([sleep]).step([slow])
    }),
    ("parallel", || Turn::always().step(["echo a", "echo b", "echo c"].map(Item::shell)).says("three done")),
    ("stream_out", || {
        let ticks = "for i in 1 2 3 4; do echo tick $i; sleep 0.5; done";
        Turn::always().step([Item::shell_within(ticks, Duration::from_secs(5))]).says("ticks done")
    }),
    ("bg", || {
        let stays = Item::shell_within("echo $$ > ./bg.pid; echo started; sleep 300", Duration::from_secs(1));
        Turn::always().step([stays]).says("left it running")
    }),
    ("bg_nohup", || {
        let daemon = "nohup setsid sleep 301 >/dev/null 2>&1 & echo $! > ./bg.pid; echo started";
        Turn::always().step([Item::shell(daemon)]).says("daemonized")
    }),
    ("unknown_tool", || Turn::always().step([Item::call("no_such_tool", r#"{"a":1}"#)]).says("after unknown tool")),
    ("bad_args", || Turn::always().step([Item::call("exec_command", "{not json")]).says("after bad args")),
    // Files and plans
    ("patch", || {
        let update = "*** Begin Patch\n*** Update File: hello.txt\n@@\n-hello\n+HELLO\n world\n*** End Patch";
        Turn::always().step([hello()]).step([Item::patch(update)]).says("patched")
    }),
    ("patch_bad", || Turn::always().step([Item::replace_line("nosuch.txt", "x", "y")]).says("patch failed")),
    ("plan", || {
        Turn::always()
            .step([Item::plan([("one", InProgress), ("two", Pending)])])
            .step([Item::plan([("one", Completed), ("two", InProgress)])])
            .step([Item::plan([("one", Completed), ("two", Completed)])])
            .says("planned")
    }),
    ("multi", || {
        let look = Item::commentary("I will look around first.");
        Turn::always()
            .step([Item::reasoning("**Plan**\n\nfirst"), look, Item::shell("ls -a")])
            .step([Item::plan([("look", Completed), ("edit", InProgress)])])
            .step([Item::reasoning("**Edit**"), hello()])
            .step([Item::shell("cat hello.txt && false")])
            .step([Item::final_answer("Final answer: all done.")])
    }),
    // API errors
    ("e400", || Turn::always().fault(Fault::http(400, "invalid_request_error", "bad thing"))),
    ("e401", || Turn::always().fault(wrong_key())),
    ("e401once", || Turn::always().flaky(wrong_key(), 1, [Item::message("ok after 401")])),
    ("e403", || Turn::always().fault(Fault::http(403, "forbidden", "forbidden"))),
    ("e404", || Turn::always().fault(Fault::http(404, "model_not_found", "The model `x` does not exist"))),
    ("e429", || Turn::always().fault(Fault::http(429, "rate_limit_exceeded", "Rate limit reached. Please try again in 1.5s."))),
    ("e429quota", || Turn::always().fault(Fault::http(429, "insufficient_quota", "You exceeded your current quota"))),
    ("e429usage", || {
        let body = json!({"error": {"type": "usage_limit_reached", "message": "limit reached", "plan_type": "pro",
            "resets_in_seconds": 3600, "resets_at": 1_900_000_000}});
        Turn::always().fault(Fault::Http { status: 429, body })
    }),
    ("e500", || Turn::always().fault(Fault::http(500, "server_error", "boom"))),
    ("e500x2", || Turn::always().flaky(Fault::http(500, "server_error", "boom"), 2, [Item::message("recovered")])),
    ("e503", || Turn::always().fault(Fault::http(503, "server_is_overloaded", "overloaded"))),
    // Broken streams
    ("failed_event", || {
        let message = "Rate limit reached for gpt. Please try again in 0.2s.";
        Turn::always().fault(Fault::failed("rate_limit_exceeded", message))
    }),
    ("failed_ctx", || {
        let message = "Your input exceeds the context window of this model.";
        Turn::always().fault(Fault::failed("context_length_exceeded", message))
    }),
    ("failed_quota", || Turn::always().fault(Fault::failed("insufficient_quota", "You exceeded your current quota."))),
    ("incomplete", || Turn::always().fault(Fault::Incomplete)),
    ("cut", || Turn::always().fault(Fault::Cut)),
    ("cut1", || Turn::always().flaky(Fault::Cut, 1, [Item::message("after reconnect")])),
    ("hang", || Turn::always().fault(Fault::Hang)),
    ("hang_headers", || Turn::always().fault(Fault::HangBeforeHeaders)),
];

/// Returns the turn of a scenario.
pub(crate) fn named(name: &str) -> Option<Turn> {
    TABLE.iter().find(|(known, _)| *known == name).map(|(_, turn)| turn())
}

/// Returns the turn for a message without a marker that matches no turn of the script.
pub(crate) fn greeting() -> Turn {
    Turn::always().says("Hello from the scripted model.")
}

fn hello() -> Item {
    Item::add_file("hello.txt", "hello\nworld\n")
}

fn wrong_key() -> Fault {
    Fault::http(401, "invalid_api_key", "Incorrect API key provided: sk-xxx")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_can_be_written_in_a_marker() {
        let unique: BTreeSet<&str> = SCENARIOS.into_iter().collect();
        assert_eq!(unique.len(), SCENARIOS.len());
        for name in SCENARIOS {
            assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{name}");
        }
    }

    #[test]
    fn a_name_that_is_not_in_the_table_has_no_turn() {
        assert_eq!(named("plane"), None);
        assert!(named("plain").is_some());
    }
}
