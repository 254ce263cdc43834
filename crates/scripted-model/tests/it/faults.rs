//! Tests the faults of the server and its responses to invalid requests.
//!
//! The tests in `testkit` check how the real Codex handles each fault.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use scripted_model::{Fault, Script, ScriptedModel, StartError, Turn};
use serde_json::Value;

use crate::support::{Answer, Ask, client, start};

/// The time without data after which a stream counts as hanging. Other responses arrive much sooner.
const SILENCE: Duration = Duration::from_millis(200);

#[tokio::test]
async fn an_http_error_carries_its_status_and_body() {
    let model = start(Script::new());
    let check = async |name: &str, status: u16, message: &str| {
        let response = Ask::new(&format!("SCENARIO:{name}")).post(&model.url()).await;
        assert_eq!(response.status(), status, "{name}");
        assert_eq!(response.headers().contains_key("retry-after"), status == 429, "{name}");
        let body: Value = response.json().await.expect("an error is JSON");
        assert_eq!(body["error"]["message"], message, "{name}");
    };
    check("e400", 400, "bad thing").await;
    check("e401", 401, "Incorrect API key provided: sk-xxx").await;
    check("e404", 404, "The model `x` does not exist").await;
    check("e429usage", 429, "limit reached").await;
    check("e503", 503, "overloaded").await;
}

#[tokio::test]
async fn a_flaky_answer_fails_as_often_as_it_says_then_succeeds() {
    let model = start(Script::new());
    let ask = Ask::new("SCENARIO:e500x2");
    assert_eq!(ask.post(&model.url()).await.status(), 500);
    assert_eq!(ask.post(&model.url()).await.status(), 500);
    assert_eq!(ask.answer(&model.url()).await.text(), "recovered");
}

#[tokio::test]
async fn a_cut_breaks_the_connection_in_the_middle_of_a_message() {
    let model = start(Script::new());
    let answer = Ask::new("SCENARIO:cut").answer(&model.url()).await;
    assert!(!answer.whole, "the stream breaks, because a clean end would look like an answer");
    assert_eq!(answer.kinds().last(), Some(&"response.output_text.delta"));
}

#[tokio::test]
async fn a_stream_can_end_as_failed_or_incomplete() {
    let model = start(Script::new());
    let last = async |name: &str| {
        let answer = Ask::new(&format!("SCENARIO:{name}")).answer(&model.url()).await;
        answer.events.last().cloned().expect("a last event")
    };
    assert_eq!(last("failed_ctx").await["response"]["error"]["code"], "context_length_exceeded");
    let incomplete = last("incomplete").await;
    assert_eq!(incomplete["type"], "response.incomplete");
    assert_eq!(incomplete["response"]["incomplete_details"]["reason"], "max_output_tokens");
}

#[tokio::test]
async fn a_hanging_stream_sends_a_part_and_then_nothing() {
    let model = start(Script::new());
    let mut response = Ask::new("SCENARIO:hang").post(&model.url()).await;
    let mut chunks = 0;
    while let Ok(Ok(Some(_))) = tokio::time::timeout(SILENCE, response.chunk()).await {
        chunks += 1;
    }
    assert!(chunks > 0, "the server sends headers and the start of a message before it hangs");
    drop(model);
    assert!(response.chunk().await.is_err(), "the hanging stream breaks when the model is stopped");
}

#[tokio::test]
async fn a_model_that_hangs_before_its_headers_can_be_stopped() {
    let model = start(Script::new().turn(Turn::always().fault(Fault::HangBeforeHeaders)));
    let url = format!("{}/responses", model.url());
    let body = serde_json::json!({"input": []});
    let asking = tokio::spawn(client().post(url).json(&body).send());
    model.request_where(|_| true).await;
    assert!(!asking.is_finished());
    drop(model);
    assert!(asking.await.expect("the task with the request does not panic").is_err());
}

#[tokio::test]
async fn a_dropped_model_no_longer_listens() {
    let model = start(Script::new());
    let address = SocketAddr::from(([127, 0, 0, 1], model.port()));
    assert!(TcpStream::connect(address).is_ok());
    drop(model);
    assert!(TcpStream::connect(address).is_err());
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let model = start(Script::new());
    let address = SocketAddr::from(([127, 0, 0, 1], model.port()));
    let Err(error) = ScriptedModel::start_on(address, Script::new()) else { panic!("a second server cannot use the same port") };
    assert_eq!(error.to_string(), format!("could not listen on {address} for the scripted model"));
    assert!(matches!(error, StartError::Listen { .. }));
}

#[tokio::test]
async fn other_paths_and_methods_are_not_found_in_json() {
    let model = start(Script::new());
    let get = async |path: &str| {
        let response = client().get(format!("{}{path}", model.url())).send().await.expect("an answer");
        let status = response.status().as_u16();
        (status, response.json::<Value>().await.expect("an error is JSON")["error"]["code"].clone())
    };
    assert_eq!(get("/models").await, (404, "not_found".into()));
    assert_eq!(get("/responses").await, (404, "not_found".into()));
    let paths: Vec<String> = model.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/v1/models", "/v1/responses"]);
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused_and_kept_for_the_curious() {
    let model = start(Script::new());
    let url = format!("{}/responses", model.url());
    let response = client().post(url).body("not json").send().await.expect("an answer");
    assert_eq!(response.status(), 400);
    assert_eq!(model.requests()[0].body, "not json");
}

#[tokio::test]
async fn a_history_of_many_megabytes_is_read() {
    let model = start(Script::new());
    let answer: Answer = Ask::new(&"x".repeat(8 << 20)).answer(&model.url()).await;
    assert_eq!(answer.text(), "Hello from the scripted model.");
}
