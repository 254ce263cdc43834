//! Contract tests: every tested version of the real Codex CLI with the scripted model.
//!
//! Each story is one test per version. `cargo xtask codex VERSION` runs the stories of `pinned` with any other version. Other tests
//! check how the product handles the output.

use scripted_model::{CodexConfig, Item, PlanStatus, Script, ScriptedModel, Turn, Usage};
use serde_json::json;
use tempfile::TempDir;
use testkit::codex::{CodexCli, CodexHome, Outcome};

/// A version of Codex with a model, a home and a working folder.
struct Rig {
    codex: CodexCli,
    model: ScriptedModel,
    home: CodexHome,
    worktree: TempDir,
}

impl Rig {
    fn new(codex: CodexCli, script: Script) -> Self {
        let model = ScriptedModel::start(script).expect("a free port");
        let home = CodexHome::with_config(&CodexConfig::new(model.url()).retries(2));
        Self { codex, model, home, worktree: tempfile::tempdir().expect("a temporary folder") }
    }

    async fn exec(&self, prompt: &str) -> Outcome {
        self.codex.exec(&self.home, self.worktree.path(), prompt).await
    }

    async fn resume(&self, thread_id: &str, prompt: &str) -> Outcome {
        self.codex.resume(&self.home, self.worktree.path(), thread_id, prompt).await
    }

    fn file(&self, name: &str) -> Option<String> {
        fs_err::read_to_string(self.worktree.path().join(name)).ok()
    }
}

/// Declares each story as a test in a module with the name of the version.
macro_rules! stories {
    ($version:ident: $($story:ident),* $(,)?) => {
        mod $version {
            $(#[tokio::test] async fn $story() { super::$story(testkit::codex::CodexCli::$version()).await; })*
        }
    };
}

/// Declares the stories of every version, then those of `newer` versions only and those of the `oldest` version only.
macro_rules! with_every_version {
    ($($story:ident),*; newer: $($newer:ident),*; oldest: $($oldest:ident),* $(;)?) => {
        stories!(pinned: $($story,)* $($newer,)*);
        stories!(previous: $($story,)* $($newer,)*);
        stories!(oldest: $($story,)* $($oldest,)*);
    };
}

with_every_version![
    it_reports_its_version,
    a_plain_prompt_is_answered,
    a_command_is_run_and_its_output_goes_back,
    a_failing_command_does_not_fail_the_turn,
    a_patch_changes_the_worktree,
    a_plan_is_followed,
    a_resumed_thread_remembers_and_goes_on_with_the_script,
    an_interrupted_turn_can_be_followed_by_another,
    a_wrong_key_fails_the_turn,
    two_server_errors_are_overcome,
    a_stream_that_is_always_cut_fails_the_turn,
    a_misspelt_scenario_is_seen_at_once,
    usage_is_what_the_script_says;
    newer: an_unknown_thread_is_refused, a_model_that_is_reached_through_code_is_driven_too;
    oldest: an_unknown_thread_silently_becomes_another;
];

async fn a_plain_prompt_is_answered(codex: CodexCli) {
    let rig = Rig::new(codex, Script::new());
    let outcome = rig.exec("SCENARIO:plain").await;
    assert_eq!(outcome.exit_code, Some(0), "{outcome:?}");
    assert_eq!(outcome.kinds(), ["thread.started", "turn.started", "item.completed", "turn.completed"]);
    assert_eq!(outcome.messages(), ["Hello from the scripted model."]);
    let requests = rig.model.requests();
    assert_eq!(requests.len(), 1, "Codex sends exactly one request: {requests:?}");
    assert_eq!(requests[0].user_messages(), ["SCENARIO:plain"]);
    assert_eq!(requests[0].thread_id(), outcome.thread_id().as_deref());
}

async fn a_command_is_run_and_its_output_goes_back(codex: CodexCli) {
    let rig = Rig::new(codex, Script::new());
    let outcome = rig.exec("SCENARIO:cmd_ok").await;
    let [command] = &outcome.items("command_execution")[..] else { panic!("Codex runs exactly one command: {outcome:?}") };
    assert_eq!((&command["exit_code"], &command["status"]), (&json!(0), &json!("completed")));
    assert!(command["aggregated_output"].as_str().is_some_and(|output| output.contains("out\n")), "{command}");
    assert_eq!(outcome.messages(), ["done ok"]);
    assert_eq!(rig.model.requests().len(), 2);
}

async fn a_failing_command_does_not_fail_the_turn(codex: CodexCli) {
    let rig = Rig::new(codex, Script::new());
    let outcome = rig.exec("SCENARIO:cmd_fail").await;
    assert_eq!(outcome.items("command_execution")[0]["exit_code"], 7);
    assert_eq!((outcome.exit_code, outcome.messages()), (Some(0), vec!["done fail".to_owned()]));
}

async fn a_patch_changes_the_worktree(codex: CodexCli) {
    let rig = Rig::new(codex, Script::new());
    let outcome = rig.exec("SCENARIO:patch").await;
    let kinds: Vec<_> = outcome.items("file_change").iter().map(|item| item["changes"][0]["kind"].clone()).collect();
    assert_eq!(kinds, ["add", "update"], "{outcome:?}");
    assert_eq!(rig.file("hello.txt").as_deref(), Some("HELLO\nworld\n"));
}

async fn a_plan_is_followed(codex: CodexCli) {
    let first = Item::plan([("look", PlanStatus::InProgress), ("edit", PlanStatus::Pending)]);
    let last = Item::plan([("look", PlanStatus::Completed), ("edit", PlanStatus::Completed)]);
    let rig = Rig::new(codex, Script::new().turn(Turn::always().step([first]).step([last]).says("planned")));
    let outcome = rig.exec("go").await;
    let done = json!([{"text": "look", "completed": true}, {"text": "edit", "completed": true}]);
    assert_eq!(outcome.items("todo_list")[0]["items"], done, "{outcome:?}");
}

async fn a_resumed_thread_remembers_and_goes_on_with_the_script(codex: CodexCli) {
    let script = Script::new()
        .turn(Turn::nth(1).step([Item::shell("echo one > one.txt")]).says("first"))
        .turn(Turn::nth(2).step([Item::add_file("two.txt", "two\n")]).says("second"));
    let rig = Rig::new(codex, script);
    let first = rig.exec("begin").await;
    let thread_id = first.thread_id().expect("the thread has an ID");
    let second = rig.resume(&thread_id, "go on").await;
    assert_eq!(second.thread_id(), Some(thread_id), "{second:?}");
    assert_eq!((first.messages(), second.messages()), (vec!["first".to_owned()], vec!["second".to_owned()]));
    assert_eq!((rig.file("one.txt").as_deref(), rig.file("two.txt").as_deref()), (Some("one\n"), Some("two\n")));
    let requests = rig.model.requests();
    assert_eq!(requests.last().expect("a last request").user_messages(), ["begin", "go on"]);
    assert_eq!(rig.home.rollouts().len(), 1);
}

async fn an_interrupted_turn_can_be_followed_by_another(codex: CodexCli) {
    let rig = Rig::new(codex, Script::new().turn(Turn::nth(2).says("and on")));
    let worktree = rig.worktree.path();
    let mut running = rig.codex.start(&rig.home, worktree, &[], "SCENARIO:cmd_sleep").await;
    running.until("item.started").await;
    // The command must be running, because an earlier interrupt might not stop the turn.
    testkit::until(std::time::Duration::from_mins(1), "the command runs", || worktree.join("sleep.pid").exists());
    running.interrupt();
    let stopped = running.end().await;
    assert!(!stopped.kinds().contains(&"turn.completed".to_owned()), "{stopped:?}");
    let thread_id = stopped.thread_id().expect("the thread has an ID");
    let outcome = rig.resume(&thread_id, "go on").await;
    assert_eq!(outcome.messages(), ["and on"], "a note of Codex about the interrupt does not count as a prompt");
    let last = rig.model.requests().pop().expect("a last request");
    assert_eq!(last.user_messages(), ["SCENARIO:cmd_sleep", "go on"]);
}

async fn a_wrong_key_fails_the_turn(codex: CodexCli) {
    let outcome = Rig::new(codex, Script::new()).exec("SCENARIO:e401").await;
    assert_eq!(outcome.exit_code, Some(1));
    assert!(outcome.failure().is_some_and(|failure| failure.contains("401")), "{outcome:?}");
}

async fn two_server_errors_are_overcome(codex: CodexCli) {
    let rig = Rig::new(codex, Script::new());
    let outcome = rig.exec("SCENARIO:e500x2").await;
    assert_eq!((outcome.exit_code, outcome.messages()), (Some(0), vec!["recovered".to_owned()]), "{outcome:?}");
    assert_eq!(rig.model.requests().len(), 3);
}

async fn a_stream_that_is_always_cut_fails_the_turn(codex: CodexCli) {
    let rig = Rig::new(codex, Script::new());
    let outcome = rig.exec("SCENARIO:cut").await;
    assert_eq!(outcome.exit_code, Some(1));
    let failure = outcome.failure().expect("the turn failed");
    assert!(failure.contains("stream disconnected before completion"), "{failure}");
    assert_eq!(rig.model.requests().len(), 3, "Codex sends the request once and retries twice");
}

async fn a_misspelt_scenario_is_seen_at_once(codex: CodexCli) {
    let outcome = Rig::new(codex, Script::new()).exec("SCENARIO:plane").await;
    let failure = outcome.failure().expect("the turn failed");
    assert!(failure.contains("scenario `plane` not found"), "{failure}");
}

async fn usage_is_what_the_script_says(codex: CodexCli) {
    let said = Usage { input: 1200, cached_input: 1000, output: 50, reasoning: 20 };
    let outcome = Rig::new(codex, Script::new().usage(said)).exec("SCENARIO:cmd_ok").await;
    let completed = outcome.events().pop().expect("a last event");
    let usage = |field: &str| completed["usage"][field].as_u64();
    let both_requests = (Some(2400), Some(2000), Some(100));
    assert_eq!((usage("input_tokens"), usage("cached_input_tokens"), usage("output_tokens")), both_requests);
}

async fn an_unknown_thread_is_refused(codex: CodexCli) {
    let rig = Rig::new(codex, Script::new());
    let outcome = rig.resume("0199aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee", "go on").await;
    assert_eq!((outcome.exit_code, outcome.stdout.as_str()), (Some(1), ""));
    assert!(outcome.stderr.contains("no rollout found"), "{}", outcome.stderr);
}

async fn an_unknown_thread_silently_becomes_another(codex: CodexCli) {
    let unknown = "0199aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee";
    let rig = Rig::new(codex, Script::new());
    let outcome = rig.resume(unknown, "go on").await;
    assert_eq!(outcome.exit_code, Some(0));
    assert!(outcome.thread_id().is_some_and(|thread_id| thread_id != unknown), "{outcome:?}");
}

async fn a_model_that_is_reached_through_code_is_driven_too(codex: CodexCli) {
    let model = ScriptedModel::start(Script::new()).expect("a free port");
    let home = CodexHome::with_config(&CodexConfig::new(model.url()).model("gpt-6-sol"));
    let worktree = tempfile::tempdir().expect("a temporary folder");
    let outcome = codex.exec(&home, worktree.path(), "SCENARIO:patch").await;
    assert_eq!(outcome.messages(), ["patched"], "{outcome:?}");
    assert!(worktree.path().join("hello.txt").is_file());
    let tools = model.requests()[0].body["input"][0]["type"].clone();
    assert_eq!(tools, "additional_tools", "the model gets a single tool that runs code");
}

async fn it_reports_its_version(codex: CodexCli) {
    let output = tokio::process::Command::new(codex.program()).arg("--version").output().await;
    let said = String::from_utf8(output.expect("Codex starts").stdout).expect("a version is text");
    assert_eq!(said.trim(), format!("codex-cli {}", codex.version_number()));
}
