//! The queue: limits, order, pauses, problems that block it, follow-ups and retries, with real servers that start and stop.
//!
//! The worker runs its prompt as a script, which can wait for files.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::stage::{Setup, Stage};

/// Sets up a stage with a limit of parallel runs.
fn limited(limit: usize) -> Setup {
    Stage::setup().set("ORCH_MAX_PARALLEL_RUNS", limit.to_string())
}

impl Stage {
    fn file(&self, name: &str) -> PathBuf {
        self.home.scratch().join(name)
    }

    /// Creates a task that records in a file that it has started, and ends when another file exists.
    async fn waiting(&self, name: &str) -> String {
        self.home.task(&self.env, &self.prompt(name)).await
    }

    fn prompt(&self, name: &str) -> String {
        let (order, end) = (self.file("order"), self.file(&format!("end-{name}")));
        format!("echo {name} >> {}; begin; await {}; end {name}", order.display(), end.display())
    }

    fn end(&self, name: &str) {
        fs_err::write(self.file(&format!("end-{name}")), "").expect("written");
    }

    /// Returns the tasks that have started, in order.
    fn order(&self) -> Vec<String> {
        let order = fs_err::read_to_string(self.file("order")).unwrap_or_default();
        order.lines().map(str::to_owned).collect()
    }

    async fn status_is(&self, task: &str, status: &str) -> Value {
        self.home.wait_for(&format!("/api/v1/tasks/{task}"), |task| task["status"] == status).await
    }

    /// Waits until the task is at this position.
    async fn place_is(&self, task: &str, position: usize, waits_for: &str) -> Value {
        let is_there = |task: &Value| task["queue"]["position"] == position && task["queue"]["waits_for"] == waits_for;
        self.home.wait_for(&format!("/api/v1/tasks/{task}"), is_there).await
    }

    async fn follow_up(&self, task: &str, prompt: &str) -> Value {
        let (status, answer) = self.home.post(&format!("/api/v1/tasks/{task}/follow-ups"), &json!({ "prompt": prompt })).await;
        assert_eq!(status, 201, "{answer}");
        answer
    }
}

#[tokio::test]
async fn no_more_run_than_may_and_the_first_in_is_the_first_out_across_restarts() {
    let mut stage = limited(1).start().await;
    let first = stage.waiting("a").await;
    stage.status_is(&first, "running").await;
    let second = stage.waiting("b").await;
    let third = stage.waiting("c").await;
    let (status, urgent) = stage
        .home
        .post("/api/v1/tasks", &json!({ "env_id": stage.env, "prompt": stage.prompt("urgent"), "priority": "high" }))
        .await;
    assert_eq!(status, 201, "{urgent}");
    let urgent = urgent["task_id"].as_str().expect("the task has an ID").to_owned();
    stage.place_is(&urgent, 1, "turn").await;
    stage.place_is(&second, 2, "turn").await;
    stage.place_is(&third, 3, "turn").await;
    stage.home.kill().await;
    stage.home.start().await;
    stage.place_is(&third, 3, "turn").await;
    let (_, queue) = stage.home.get("/api/v1/queue").await;
    assert_eq!((&queue["running"], &queue["max_parallel_runs"]), (&json!(1), &json!(1)));
    let listed: Vec<_> = queue["items"].as_array().expect("a list").iter().map(|item| item["task_id"].as_str()).collect();
    assert_eq!(listed, [Some(urgent.as_str()), Some(second.as_str()), Some(third.as_str())]);
    let list = stage.home.get("/api/v1/tasks?group=queued").await.1;
    let listed = list["items"].as_array().expect("a list").iter();
    let listed: Vec<_> = listed.map(|task| (task["task_id"].as_str(), task["queue"]["position"].as_u64())).collect();
    let in_order = [(urgent.as_str(), 1), (second.as_str(), 2), (third.as_str(), 3)];
    assert_eq!(
        listed,
        in_order.map(|(task, place)| (Some(task), Some(place))),
        "tasks are listed in the order of their positions"
    );
    // A stopped run leaves the queue, and the others move up.
    let (_, stopped) = stage.home.post(&format!("/api/v1/tasks/{second}/stop"), &json!({})).await;
    assert_eq!(stopped["status"], "stopped");
    stage.place_is(&third, 2, "turn").await;
    for name in ["a", "urgent", "c"] {
        stage.end(name);
    }
    for task in [&first, &urgent, &third] {
        assert_eq!(stage.home.settled(task).await["status"], "completed");
    }
    assert_eq!(stage.order(), ["a", "urgent", "c"]);
    assert_eq!(stage.home.get("/api/v1/queue").await.1["items"], json!([]));
}

#[tokio::test]
async fn an_environment_has_a_limit_of_its_own_and_can_be_paused() {
    let stage = limited(10).start().await;
    stage.edit(json!({ "runs": { "max_parallel_runs": 1 } })).await;
    let first = stage.waiting("a").await;
    stage.status_is(&first, "running").await;
    let second = stage.waiting("b").await;
    stage.place_is(&second, 1, "environment_limit").await;
    stage.edit(json!({ "runs": { "paused": true } })).await;
    stage.end("a");
    stage.home.settled(&first).await;
    stage.place_is(&second, 1, "environment_paused").await;
    stage.end("b");
    stage.edit(json!({ "runs": { "paused": false, "max_parallel_runs": null } })).await;
    assert_eq!(stage.home.settled(&second).await["status"], "completed");
    let (status, answer) = stage.home.patch(&format!("/api/v1/envs/{}", stage.env), &json!({ "runs": {"retries": 99} })).await;
    assert_eq!((status, &answer["code"]), (422, &json!("runs_refused")));
}

#[tokio::test]
async fn below_the_floor_of_free_space_runs_wait_and_say_why() {
    let mut stage = limited(10).start().await;
    stage.home.stop().await;
    stage.home.set("ORCH_FREE_SPACE_FLOOR", "1000000t");
    stage.home.start().await;
    let task = stage.waiting("a").await;
    stage.end("a");
    let waiting = stage.place_is(&task, 1, "hold").await;
    let hold = &waiting["queue"]["hold"];
    assert_eq!(hold["code"], "disk_low");
    assert!(
        hold["detail"].as_str().is_some_and(|detail| detail.contains("MiB"))
            && !hold["hints"].as_array().expect("hints").is_empty()
    );
    assert_eq!(stage.home.get("/api/v1/status").await.1["hold"]["code"], "disk_low");
    stage.home.stop().await;
    stage.home.set("ORCH_FREE_SPACE_FLOOR", "0");
    stage.home.start().await;
    assert_eq!(stage.home.settled(&task).await["status"], "completed");
}

#[tokio::test]
async fn follow_ups_run_one_after_the_other_and_outlive_the_server() {
    let mut stage = limited(10).start().await;
    let task = stage.waiting("a").await;
    stage.home.wait_for(&format!("/api/v1/tasks/{task}"), |task| task["runs"][0]["turn_started"] == true).await;
    for name in ["b", "wrong", "never"] {
        stage.follow_up(&task, &stage.prompt(name)).await;
        stage.end(name);
    }
    let path = format!("/api/v1/tasks/{task}/follow-ups");
    let (status, view) = stage.home.put(&format!("{path}/2"), &json!({ "prompt": stage.prompt("c") })).await;
    assert_eq!((status, view["follow_ups"][1]["number"].as_u64()), (200, Some(2)), "{view}");
    for _ in 0..2 {
        let (status, view) = stage.home.delete(&format!("{path}/3")).await;
        assert_eq!((status, view["follow_ups"].as_array().map(Vec::len)), (200, Some(2)), "{view}");
    }
    let (status, gone) = stage.home.put(&format!("{path}/3"), &json!({ "prompt": "x" })).await;
    assert_eq!((status, &gone["code"]), (409, &json!("no_follow_up")));
    stage.home.kill().await;
    stage.home.start().await;
    stage.end("c");
    stage.end("a");
    let done = stage.home.wait_for(&format!("/api/v1/tasks/{task}"), |task| task["runs"][2]["status"] == "completed").await;
    assert_eq!(stage.order(), ["a", "b", "c"]);
    assert_eq!((&done["runs"][1]["cause"], &done["follow_ups"]), (&json!("follow_up"), &Value::Null));
    assert_eq!(done["runs"][2]["thread_id"], done["thread_id"], "all runs continue the same thread");
}

#[tokio::test]
async fn after_a_stop_follow_ups_wait_until_somebody_says_go_on() {
    let stage = limited(10).start().await;
    let task = stage.waiting("a").await;
    stage.home.wait_for(&format!("/api/v1/tasks/{task}"), |task| task["runs"][0]["turn_started"] == true).await;
    stage.follow_up(&task, &stage.prompt("b")).await;
    stage.home.post(&format!("/api/v1/tasks/{task}/stop"), &json!({})).await;
    let stopped = stage.home.settled(&task).await;
    assert_eq!((stopped["status"].as_str(), stopped["follow_ups"].as_array().map(Vec::len)), (Some("stopped"), Some(1)));
    stage.end("b");
    let (status, answer) = stage.home.post(&format!("/api/v1/tasks/{task}/continue"), &json!({})).await;
    assert_eq!(status, 201, "{answer}");
    assert_eq!(stage.home.settled(&task).await["runs"][1]["status"], "completed");
    let (status, answer) = stage.home.post(&format!("/api/v1/tasks/{task}/continue"), &json!({})).await;
    assert_eq!((status, &answer["code"]), (409, &json!("no_follow_up")));
}

#[tokio::test]
async fn what_is_sent_again_under_its_key_is_done_once_also_after_a_restart() {
    let mut stage = limited(10).start().await;
    let task = stage.waiting("a").await;
    stage.home.wait_for(&format!("/api/v1/tasks/{task}"), |task| task["runs"][0]["turn_started"] == true).await;
    let sent = async |stage: &Stage, how: &str, key: &str, prompt: &str| {
        let request = stage.home.request(reqwest::Method::POST, &format!("/api/v1/tasks/{task}/{how}"));
        let answer =
            request.header("Idempotency-Key", key).json(&json!({ "prompt": prompt })).send().await.expect("the server answers");
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.expect("JSON"))
    };
    let (b, c) = (stage.prompt("b"), stage.prompt("c"));
    for _ in 0..2 {
        let (status, view) = sent(&stage, "follow-ups", "k1", &b).await;
        assert_eq!((status, view["follow_ups"].as_array().map(Vec::len)), (201, Some(1)), "the follow-up waits once: {view}");
    }
    let (status, problem) = sent(&stage, "follow-ups", "k1", &c).await;
    assert_eq!((status, &problem["code"]), (422, &json!("idempotency_key_reused")));
    stage.home.kill().await;
    stage.home.start().await;
    let (status, view) = sent(&stage, "follow-ups", "k1", &b).await;
    assert_eq!((status, view["follow_ups"].as_array().map(Vec::len)), (201, Some(1)), "{view}");
    stage.end("a");
    stage.home.wait_for(&format!("/api/v1/tasks/{task}"), |task| task["runs"][1]["turn_started"] == true).await;
    sent(&stage, "follow-ups", "k1", &b).await;
    // The repeated request also succeeds while its run is active and other resumes are rejected.
    let (status, view) = sent(&stage, "resume", "k1", &b).await;
    assert_eq!((status, view["runs"].as_array().map(Vec::len)), (201, Some(2)), "{view}");
    assert_eq!(sent(&stage, "resume", "k2", &c).await.0, 409);
    stage.end("b");
    let done = stage.home.settled(&task).await;
    assert_eq!((done["runs"].as_array().map(Vec::len), &done["runs"][1]["idempotency_key"]), (Some(2), &json!("k1")));
    assert_eq!(stage.order(), ["a", "b"]);
}

#[tokio::test]
async fn what_fails_for_a_passing_reason_is_tried_again_as_a_run_of_its_own() {
    let stage = limited(10).start().await;
    stage.edit(json!({ "runs": { "retries": 1 } })).await;
    let prompt = "begin; failed 'Rate limit reached. Please try again in 0.1s.'";
    let task = stage.home.task(&stage.env, prompt).await;
    let waiting = stage.place_is(&task, 1, "time").await;
    assert_eq!((&waiting["runs"][0]["status"], &waiting["runs"][0]["error"]["code"]), (&json!("failed"), &json!("rate_limited")));
    assert_eq!((&waiting["runs"][1]["cause"], waiting["queue"]["not_before"].is_string()), (&json!("retry"), true));
    // The second run gets a note to continue, which this worker does not understand, so it fails permanently.
    let done = stage.home.settled(&task).await;
    assert_eq!((done["runs"].as_array().map(Vec::len), &done["status"]), (Some(2), &json!("failed")));
    let usage = stage.home.task(&stage.env, "begin; failed 'You have hit your usage limit.'").await;
    assert_eq!(
        stage.home.settled(&usage).await["runs"].as_array().map(Vec::len),
        Some(1),
        "a usage limit without a reset time is not retried"
    );
}

#[tokio::test]
async fn a_run_that_was_cut_off_goes_on_by_itself_where_that_is_wanted() {
    let mut stage = limited(10).config("resume_interrupted = true\n").start().await;
    let task = stage.home.task(&stage.env, "begin; sleep 1000").await;
    stage.home.wait_for(&format!("/api/v1/tasks/{task}"), |task| task["runs"][0]["turn_started"] == true).await;
    stage.home.kill().await;
    stage.home.cut_off(&task, 1);
    stage.home.start().await;
    let gone_on =
        stage.home.wait_for(&format!("/api/v1/tasks/{task}"), |task| task["runs"].as_array().map(Vec::len) == Some(2)).await;
    assert_eq!((&gone_on["runs"][0]["status"], &gone_on["runs"][1]["cause"]), (&json!("interrupted"), &json!("interruption")));
    assert_eq!(gone_on["runs"][1]["resumes"], gone_on["thread_id"]);
    assert!(
        gone_on["runs"][1]["prompt"]
            .as_str()
            .is_some_and(|prompt| prompt.starts_with("Your previous turn was interrupted before it finished.")),
        "{gone_on}"
    );
}

#[tokio::test]
async fn waiting_runs_are_not_counted_as_running() {
    let stage = limited(1).set("ORCH_LISTEN", "127.0.0.1:0").start().await;
    let first = stage.waiting("first").await;
    stage.home.wait_for(&format!("/api/v1/tasks/{first}"), |task| task["status"] == "running").await;
    let (second, third) = (stage.waiting("second").await, stage.waiting("third").await);
    let (_, status) = stage.home.get("/api/v1/status").await;
    assert_eq!((&status["active_runs"], &status["queued_runs"]), (&json!(1), &json!(2)), "{status}");
    let output = stage.home.command(&["status"]).output().await.expect("the command can be started");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 running, 2 queued"), "{output:?}");
    let (_, page) = testkit::pages::Pages::sign_in(&stage.home).await.get("/settings").await;
    assert!(page.contains("1 running, 2 queued"), "{page}");
    let metrics = stage.home.text("/metrics").await;
    for line in [
        "codex_orchestrator_queue_length 2",
        "codex_orchestrator_runs{status=\"running\"} 1",
        "codex_orchestrator_runs{status=\"queued\"} 2",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    stage.end("first");
    for (task, name) in [(&second, "second"), (&third, "third")] {
        stage.end(name);
        stage.home.settled(task).await;
    }
    let (_, status) = stage.home.get("/api/v1/status").await;
    assert_eq!((&status["active_runs"], &status["queued_runs"]), (&json!(0), &json!(0)), "{status}");
}

#[tokio::test]
async fn a_thousand_tasks_wait_and_none_is_lost_or_run_twice() {
    let stage = limited(8).start().await;
    let all = stage.file("all");
    stage.edit(json!({ "runs": { "paused": true } })).await;
    for n in 0..1000 {
        let prompt = format!("begin; echo {n} >> {}; end done", all.display());
        stage.home.task(&stage.env, &prompt).await;
    }
    stage.home.wait_for("/api/v1/queue", |queue| queue["items"].as_array().map(Vec::len) == Some(1000)).await;
    let (_, status) = stage.home.get("/api/v1/status").await;
    assert_eq!((status["queued_runs"].as_u64(), status["active_runs"].as_u64()), (Some(1000), Some(0)));
    assert!(!all.exists(), "no task starts while runs are paused");
    // Run only the last tasks: a thousand worktrees take long and prove nothing more.
    let (_, page) = stage.home.get("/api/v1/tasks?limit=200").await;
    for task in page["items"].as_array().expect("a page").iter().skip(20) {
        let id = task["task_id"].as_str().expect("the task has an ID");
        stage.home.post(&format!("/api/v1/tasks/{id}/stop"), &json!({})).await;
    }
    let kept: Vec<_> = page["items"].as_array().expect("a page")[..20].to_vec();
    let (_, queue) = stage.home.get("/api/v1/queue").await;
    for item in queue["items"].as_array().expect("a list").iter().take(800) {
        let id = item["task_id"].as_str().expect("the task has an ID");
        stage.home.post(&format!("/api/v1/tasks/{id}/stop"), &json!({})).await;
    }
    stage.edit(json!({ "runs": { "paused": false } })).await;
    for task in &kept {
        let id = task["task_id"].as_str().expect("the task has an ID");
        assert_eq!(stage.home.settled(id).await["status"], "completed");
    }
    let mut ran: Vec<u32> =
        fs_err::read_to_string(&all).expect("the tasks ran").lines().map(|line| line.parse().expect("a number")).collect();
    ran.sort_unstable();
    assert_eq!(ran, (980..1000).collect::<Vec<_>>());
}
