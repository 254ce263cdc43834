//! Tests the streams of the server and the progress of a thread through a script.
//!
//! Each test sends requests like Codex and reads the events. `faults.rs` tests the faults.

use std::time::{Duration, Instant};

use scripted_model::{Item, SCENARIOS, Script, Turn, Usage};
use serde_json::json;

use crate::support::{Answer, Ask, start};

#[tokio::test]
async fn a_plain_answer_has_the_events_of_the_api_in_order() {
    let model = start(Script::new());
    let answer = Ask::new("SCENARIO:plain").answer(&model.url()).await;
    let expect = [
        "response.created",
        "response.output_item.added",
        "response.output_text.delta",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(answer.kinds(), expect);
    assert_eq!(answer.text(), "Hello from the scripted model.");
    assert!(answer.whole);
}

#[tokio::test]
async fn deltas_add_up_to_the_message() {
    let model = start(Script::new().turn(Turn::always().says("é".repeat(10_000))));
    let answer = Ask::new("anything").answer(&model.url()).await;
    let deltas: String = answer.events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(deltas, answer.text());
}

#[tokio::test]
async fn reasoning_comes_in_parts() {
    let model = start(Script::new());
    let answer = Ask::new("SCENARIO:reason").answer(&model.url()).await;
    let parts: Vec<&str> = answer.items()[0]["summary"]
        .as_array()
        .expect("a summary is a list")
        .iter()
        .filter_map(|part| part["text"].as_str())
        .collect();
    assert_eq!(parts, ["**Thinking**\n\nabout it", "second part"]);
    let added = |kind: &&str| *kind == "response.reasoning_summary_part.added";
    assert_eq!(answer.kinds().into_iter().filter(added).count(), 2);
}

#[tokio::test]
async fn a_turn_walks_on_with_every_tool_output_and_a_new_message_starts_the_next() {
    let script = Script::new()
        .turn(Turn::nth(1).step([Item::shell("cargo test")]).step([Item::shell("cargo fmt")]).says("All green."))
        .turn(Turn::nth(2).says("You are welcome."));
    let model = start(script);
    let url = model.url();
    let called = |answer: &Answer| answer.items()[0]["arguments"].as_str().map(str::to_owned);

    let ask = Ask::new("fix the tests");
    assert_eq!(called(&ask.answer(&url).await).as_deref(), Some(r#"{"cmd":"cargo test"}"#));
    let ask = ask.with_output();
    assert_eq!(called(&ask.answer(&url).await).as_deref(), Some(r#"{"cmd":"cargo fmt"}"#));
    let ask = ask.with_output();
    assert_eq!(ask.answer(&url).await.text(), "All green.");
    assert_eq!(ask.then("thank you").answer(&url).await.text(), "You are welcome.");
}

#[tokio::test]
async fn a_request_that_is_repeated_gets_the_same_answer() {
    let model = start(Script::new().turn(Turn::always().step([Item::shell("true")]).says("second")));
    let ask = Ask::new("go").with_output();
    for _ in 0..2 {
        assert_eq!(ask.answer(&model.url()).await.text(), "second");
    }
}

#[tokio::test]
async fn usage_is_estimated_or_as_the_script_says() {
    let said = Usage { input: 1200, cached_input: 1000, output: 50, reasoning: 20 };
    let expect = json!({
        "input_tokens": 1200, "input_tokens_details": {"cached_tokens": 1000},
        "output_tokens": 50, "output_tokens_details": {"reasoning_tokens": 20}, "total_tokens": 1250,
    });
    let usage = async |script| {
        let model = start(script);
        let answer = Ask::new("hello").answer(&model.url()).await;
        answer.events.last().expect("a last event")["response"]["usage"].clone()
    };
    assert_eq!(usage(Script::new().usage(said)).await, expect);
    let estimated = usage(Script::new()).await;
    assert!(estimated["input_tokens"].as_u64().is_some_and(|tokens| tokens > 10), "{estimated}");
    assert!(estimated["output_tokens"].as_u64().is_some_and(|tokens| tokens > 5), "{estimated}");
}

#[tokio::test]
async fn a_pace_makes_each_item_take_its_time() {
    let pace = Duration::from_millis(60);
    let model = start(Script::new().pace(pace).turn(Turn::always().step([Item::message("a"), Item::message("b")])));
    let began = Instant::now();
    Ask::new("go").answer(&model.url()).await;
    assert!(began.elapsed() >= pace * 2, "{:?}", began.elapsed());
}

#[tokio::test]
async fn every_scenario_that_ends_by_itself_answers_each_step() {
    let model = start(Script::new());
    let endless = ["hang", "hang_headers", "long", "long_slow"];
    for name in SCENARIOS.into_iter().filter(|name| !endless.contains(name)) {
        let response = Ask::new(&format!("SCENARIO:{name}")).post(&model.url()).await;
        let fails = name.starts_with("e4") || name.starts_with("e5");
        assert_eq!(response.status().is_success(), !fails, "{name}");
        if !fails {
            assert!(Answer::read(response).await.events.len() > 1, "{name}");
        }
    }
}

#[tokio::test]
async fn requests_are_kept_and_can_be_waited_for() {
    let model = start(Script::new());
    let url = model.url();
    let later = tokio::spawn(async move { Ask::new("first").then("second").answer(&url).await.events.len() });
    let request = model.request_where(|request| request.user_messages().len() == 2).await;
    assert_eq!(request.user_messages(), ["first", "second"]);
    assert_eq!(request.thread_id(), Some("thread"));
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/responses"));
    assert_eq!(request.headers["content-type"], "application/json");
    assert!(later.await.expect("the task with the request does not panic") > 1);
    assert_eq!(model.requests(), [request]);
}

#[test]
fn a_test_that_blocks_is_still_answered() {
    let model = start(Script::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let answer = runtime.block_on(async { Ask::new("hello").answer(&model.url()).await });
    assert!(answer.whole);
}
