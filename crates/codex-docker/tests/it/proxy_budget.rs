//! Tests the token budget: every response is counted, and a response that nobody waits for is canceled if possible.
//! The model's API is a real server on the loopback with scripted responses.

use model::ErrorCode;
use std::time::Duration;

use codex_docker::proxy::broker::BrokerAccount;
use http_body_util::BodyExt as _;

use crate::proxy_support::{Brokered, COMPLETED, KEY, ask, piece, speaking, text, whole};

const LIMIT: Duration = Duration::from_secs(20);

/// The number of concurrent requests.
const AT_ONCE: usize = 32;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

#[tokio::test]
async fn a_budget_that_is_used_up_is_said_and_the_model_is_not_asked() {
    let stage = Brokered::new(vec![], Some(150)).await;
    for _ in 0..2 {
        let response = stage.ask("x").await;
        assert_eq!(response.status(), 200);
        text(response).await;
    }
    let response = stage.ask("x").await;
    assert_eq!(response.status(), 400);
    let said = text(response).await;
    assert!(said.contains(ErrorCode::BudgetExceeded.as_str()) && said.contains("invalid_request_error"), "{said}");
    assert!(said.contains("150 tokens") && said.contains("used 200") && !said.contains(KEY), "{said}");
    assert_eq!(stage.model.count(), 2);
    assert_eq!(ask(&stage.socket, "GET /v1/models", &stage.token, "").await.status(), 200, "a request without cost is passed on");
    let account = stage.broker.account();
    assert_eq!((account.requests, account.refused), (3, 1));
}

#[tokio::test]
async fn an_answer_counts_from_the_moment_that_it_says_what_it_cost() {
    let (model, said) = speaking();
    let stage = Brokered::new(vec![said], Some(100)).await;
    model.says(COMPLETED);
    let mut response = stage.ask("x").await;
    piece(&mut response).await;
    assert_eq!(stage.ask("the answer before is still open").await.status(), 400);
    model.says(COMPLETED);
    drop(model);
    text(response).await;
    assert_eq!(stage.broker.account().input_tokens, 70, "the response is counted once");
}

#[tokio::test]
async fn an_answer_that_breaks_off_has_said_no_cost() {
    let (model, said) = speaking();
    let stage = Brokered::new(vec![said], Some(100)).await;
    model.says("data: {\"response\":{\"usage\":null}}\n\n");
    let mut response = stage.ask("x").await;
    piece(&mut response).await;
    model.dies();
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(stage.broker.account(), BrokerAccount { requests: 1, ..BrokerAccount::default() });
    assert_eq!(stage.ask("again").await.status(), 200);
}

#[tokio::test]
async fn an_answer_in_one_piece_counts_too() {
    let answer = "{\"output\":[],\"usage\":{\"input_tokens\":5,\"output_tokens\":6}}";
    let stage = Brokered::new(vec![whole(200, &JSON, answer)], None).await;
    assert_eq!(text(ask(&stage.socket, "POST /v1/responses/compact", &stage.token, "x").await).await, answer);
    let expected = BrokerAccount { requests: 1, refused: 0, input_tokens: 5, output_tokens: 6 };
    assert_eq!(stage.broker.account(), expected);
}

#[tokio::test]
async fn answers_are_asked_for_unpacked_or_they_could_not_be_counted() {
    let stage = Brokered::new(vec![], None).await;
    stage.ask("x").await;
    let asked = stage.model.asked.lock().expect("sound");
    assert_eq!(asked[0].headers["accept-encoding"], "identity", "{} {:?}", asked[0].what, asked[0].headers);
    assert_eq!(asked[0].body, "x");
}

#[tokio::test]
async fn with_a_budget_an_answer_is_paid_for_even_when_nobody_waits_for_its_end() {
    let (model, said) = speaking();
    let stage = Brokered::new(vec![said], Some(100)).await;
    model.says("data: all that I wanted to know\n\n");
    let mut response = stage.ask("x").await;
    piece(&mut response).await;
    drop(response);
    // The model continues, and the broker keeps reading.
    for _ in 0..100 {
        model.says("data: more\n\n");
    }
    model.says(COMPLETED);
    tokio::time::timeout(LIMIT, async {
        drop(model);
        while stage.broker.account().output_tokens == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the response is counted");
    assert_eq!(stage.ask("x").await.status(), 400);
}

#[tokio::test]
async fn without_a_budget_the_model_hears_at_once_that_nobody_listens() {
    let (model, said) = speaking();
    let stage = Brokered::new(vec![said], None).await;
    model.says("data: first\n\n");
    let mut response = stage.ask("x").await;
    piece(&mut response).await;
    drop(response);
    tokio::time::timeout(LIMIT, model.unheard()).await.expect("the model notices without sending more");
}

#[tokio::test]
async fn an_answer_in_the_background_ends_a_budget_that_could_not_be_kept() {
    let queued = || whole(200, &JSON, "{\"status\":\"queued\",\"usage\":null}");
    let stage = Brokered::new(vec![queued()], Some(1_000_000)).await;
    text(stage.ask("{\"background\":true}").await).await;
    let response = stage.ask("x").await;
    assert_eq!(response.status(), 400);
    let said = text(response).await;
    assert!(said.contains(ErrorCode::BudgetExceeded.as_str()) && said.contains("in the background"), "{said}");
    let free = Brokered::new(vec![queued()], None).await;
    text(free.ask("{\"background\":true}").await).await;
    assert_eq!(free.ask("x").await.status(), 200, "without a budget, the request is passed on");
}

#[tokio::test]
async fn requests_wait_for_their_turn_and_meet_the_budget_as_it_is_then() {
    let (models, answers): (Vec<_>, Vec<_>) = (0..AT_ONCE).map(|_| speaking()).unzip();
    let stage = Brokered::new(answers, Some(100)).await;
    let mut begun = futures_util::future::join_all((0..AT_ONCE).map(|_| async {
        let response = stage.ask("x").await;
        assert_eq!(response.status(), 200);
        response
    }))
    .await;
    let (waits, first) = tokio::join!(stage.ask("one too many"), async {
        // The test has a single thread, so the request reaches the broker in the meantime and waits there.
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        models[0].says(COMPLETED);
        let first = models.into_iter().next().expect("there is a first response");
        drop(first);
        text(begun.remove(0)).await
    });
    assert_eq!(first, COMPLETED);
    assert_eq!(waits.status(), 400, "the budget was used up while the request waited");
    assert_eq!(stage.model.count(), AT_ONCE);
}
