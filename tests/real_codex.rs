//! Every tested version of the real Codex CLI with a real server, keeper, worktree and commit. Only the model is
//! scripted.
//!
//! The scenarios are those of the scripted model. The worker is `host`, so Codex runs in its own sandbox.

use scripted_model::{CodexConfig, Script, ScriptedModel};
use serde_json::{Value, json};
use testkit::TestHome;
use testkit::codex::{CodexCli, CodexHome, OLDEST_CODEX_VERSION};
use testkit::login::{Renewer, account};
use testkit::pictures::{self, GIF, JPEG, PNG, WEBP, data_url, given};
use testkit::upstream::Upstream;

use crate::BINARY;
use crate::stage::Stage;

/// Returns all tested versions with the default driver, and the newest one with `codex exec`. The oldest one always uses `codex exec`.
fn tested() -> Vec<(CodexCli, &'static str)> {
    let default = CodexCli::tested().into_iter().map(|codex| (codex, "auto"));
    default.chain([(CodexCli::pinned(), "exec")]).collect()
}

/// Starts a server with this version of Codex and a scripted model. The Codex home is deleted after the stage.
async fn stage(codex: &CodexCli, driver: &str) -> (CodexHome, Stage) {
    let model = ScriptedModel::start(Script::new()).expect("the scripted model starts");
    let codex_home = CodexHome::with_config(&CodexConfig::new(model.url()).retries(2));
    let folder = codex.program().parent().expect("the program has a parent folder").display().to_string();
    let path = format!("{folder}:{}", std::env::var("PATH").expect("PATH is set"));
    let setup = Stage::setup().worker("host").set("PATH", path).set("CODEX_HOME", codex_home.path());
    let setup = setup.set("ORCH_DRIVER", driver);
    (codex_home, setup.model(model).start().await)
}

#[tokio::test]
async fn an_answer_commands_and_changes_come_back_and_the_thread_goes_on() {
    for (codex, driver) in tested() {
        let version = codex.version_number().to_owned();
        let (_codex_home, stage) = stage(&codex, driver).await;
        let plain = stage.run("SCENARIO:plain").await;
        assert_eq!(
            (&plain["status"], &plain["runs"][0]["last_message"]),
            (&json!("completed"), &json!("Hello from the scripted model.")),
            "{version}"
        );
        let patched = stage.resume(&plain, "SCENARIO:patch").await;
        assert_eq!(
            (&patched["status"], &patched["thread_id"]),
            (&json!("completed"), &plain["thread_id"]),
            "{version}: {patched}"
        );
        assert!(patched["runs"][1]["commit"].is_string(), "{version}: {patched}");
        let diff = stage
            .home
            .get(&format!("/api/v1/tasks/{}/diff?run=2", patched["task_id"].as_str().expect("the task has an ID")))
            .await
            .1;
        assert_eq!(diff["files"][0]["new_path"], "hello.txt", "{version}");
        for (scenario, mark) in [("SCENARIO:cmd_ok", "\"exit_code\":0"), ("SCENARIO:cmd_fail", "\"exit_code\":7")] {
            let task = stage.run(scenario).await;
            assert_eq!(task["status"], "completed", "{version} {scenario}: {task}");
            let log = stage
                .home
                .text(&format!("/api/v1/tasks/{}/runs/1/log", task["task_id"].as_str().expect("the task has an ID")))
                .await;
            assert!(log.contains(mark), "{version} {scenario}: {log}");
        }
    }
}

#[tokio::test]
async fn usage_of_a_resumed_run_is_its_own_in_every_version() {
    for (codex, driver) in tested() {
        let (_codex_home, stage) = stage(&codex, driver).await;
        let first = stage.run("SCENARIO:plain").await;
        let second = stage.resume(&first, "SCENARIO:plain").await;
        let input = |n: usize| second["runs"][n]["usage"]["input_tokens"].as_u64().expect("a figure");
        // Codex sends the history again, so the second request is slightly larger. The thread's total would be twice as large.
        let (first, second) = (input(0), input(1));
        assert!(first <= second && second < first + first / 2, "{}: {first} and {second}", codex.version_number());
    }
}

#[tokio::test]
async fn failures_of_the_model_are_failures_of_the_run_with_a_reason() {
    for (codex, driver) in tested() {
        let (_codex_home, stage) = stage(&codex, driver).await;
        let version = codex.version_number();
        let refused = stage.run("SCENARIO:e401").await;
        assert_eq!(
            (&refused["status"], &refused["runs"][0]["error"]["code"]),
            (&json!("failed"), &json!("unauthorized")),
            "{version}: {refused}"
        );
        let cut = stage.run("SCENARIO:cut").await;
        assert_eq!((&cut["status"], &cut["runs"][0]["error"]["code"]), (&json!("failed"), &json!("network")), "{version}: {cut}");
        let recovered = stage.run("SCENARIO:e500x2").await;
        assert_eq!(recovered["status"], "completed", "{version}: {recovered}");
    }
}

#[tokio::test]
async fn the_model_is_shown_images_as_they_were_given_at_first_and_when_the_thread_goes_on() {
    for (codex, driver) in tested() {
        let (_codex_home, stage) = stage(&codex, driver).await;
        let version = codex.version_number();
        let images = [given("a.png", PNG), given("b, c.jpg", JPEG), given("d.webp", WEBP), given("e.gif", GIF)];
        let asked = json!({ "env_id": stage.env, "prompt": "SCENARIO:plain", "images": images });
        let (status, created) = stage.home.post("/api/v1/tasks", &asked).await;
        assert_eq!(status, 201, "{created}");
        let id = created["task_id"].as_str().expect("the task has an ID");
        let first = stage.home.settled(id).await;
        assert_eq!(first["status"], "completed", "{version}: {first}");
        let shown = pictures::shown(stage.model());
        let mut expected = vec![data_url("image/png", PNG), data_url("image/jpeg", JPEG)];
        let is_oldest = version == OLDEST_CODEX_VERSION;
        if !is_oldest {
            // The oldest Codex does not send the other formats and explains this to the model as text.
            expected.push(data_url("image/webp", WEBP));
        }
        assert_eq!(shown[..expected.len()], expected, "{version}");
        // Codex converts animated images to still images.
        let rest = &shown[expected.len()..];
        let pngs = rest.iter().filter(|image| image.starts_with("data:image/png;base64,")).count();
        assert_eq!((rest.len(), pngs), if is_oldest { (0, 0) } else { (1, 1) }, "{version}: {rest:?}");

        let asked = json!({ "prompt": "SCENARIO:plain", "images": [given("f.jpg", JPEG)] });
        let (status, answer) = stage.home.post(&format!("/api/v1/tasks/{id}/resume"), &asked).await;
        assert_eq!(status, 201, "{answer}");
        let second = stage.home.settled(id).await;
        assert_eq!((&second["status"], &second["thread_id"]), (&json!("completed"), &first["thread_id"]), "{version}: {second}");
        let again = pictures::shown(stage.model());
        assert_eq!(again.split_at(shown.len()), (&shown[..], &[data_url("image/jpeg", JPEG)][..]), "{version}");
    }
}

#[tokio::test]
async fn a_model_is_the_environments_where_none_is_named_and_stays_with_the_task() {
    for (codex, driver) in tested() {
        let (_codex_home, stage) = stage(&codex, driver).await;
        let version = codex.version_number();
        let runs = json!({ "runs": { "model": "gpt-5.1-codex", "effort": "low" } });
        let (status, answer) = stage.home.patch(&format!("/api/v1/envs/{}", stage.env), &runs).await;
        assert_eq!(status, 200, "{version}: {answer}");
        let asked = || {
            let last = stage
                .model()
                .requests()
                .into_iter()
                .rev()
                .find(|request| request.method == "POST")
                .expect("the model received a request");
            (last.body["model"].clone(), last.body["reasoning"]["effort"].clone())
        };
        let first = stage.run("SCENARIO:plain").await;
        assert_eq!(asked(), (json!("gpt-5.1-codex"), json!("low")), "{version}: {first}");
        assert_eq!((&first["runs"][0]["model"], &first["runs"][0]["effort"]), (&json!("gpt-5.1-codex"), &json!("low")));

        // A later change of the repository's settings only affects later tasks.
        let runs = json!({ "runs": { "model": null, "effort": null } });
        stage.home.patch(&format!("/api/v1/envs/{}", stage.env), &runs).await;
        stage.resume(&first, "SCENARIO:plain").await;
        assert_eq!(asked(), (json!("gpt-5.1-codex"), json!("low")), "{version}");

        // A run with another model does not keep the effort.
        let id = first["task_id"].as_str().expect("the task has an ID");
        let other = json!({ "prompt": "SCENARIO:plain", "model": "gpt-5.1-codex-mini" });
        let (status, answer) = stage.home.post(&format!("/api/v1/tasks/{id}/resume"), &other).await;
        assert_eq!(status, 201, "{version}: {answer}");
        let third = stage.home.settled(id).await;
        assert_eq!(asked().0, json!("gpt-5.1-codex-mini"), "{version}");
        assert_eq!((&third["runs"][2]["model"], &third["runs"][2]["effort"]), (&json!("gpt-5.1-codex-mini"), &Value::Null));

        let later = stage.run("SCENARIO:plain").await;
        assert_eq!(later["runs"][0]["model"], Value::Null, "{version}: {later}");
    }
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_command_ends_it_and_the_thread_goes_on() {
    for (codex, driver) in tested() {
        let (_codex_home, stage) = stage(&codex, driver).await;
        let id = stage.home.task(&stage.env, "SCENARIO:cmd_sleep").await;
        let path = format!("/api/v1/tasks/{id}/runs/1/events");
        let mut events = stage.home.request(reqwest::Method::GET, &path).send().await.expect("a stream");
        let mut seen = String::new();
        while !seen.contains("command_execution") {
            let chunk = events.chunk().await.expect("the stream can be read").expect("the command starts");
            seen.push_str(&String::from_utf8_lossy(&chunk));
        }
        stage.home.post(&format!("/api/v1/tasks/{id}/stop"), &Value::Null).await;
        let stopped = stage.home.settled(&id).await;
        assert_eq!(stopped["status"], "stopped", "{}: {stopped}", codex.version_number());
        let left = process::processes_with_environment("ORCH_RUN", &format!("{id}/1/1")).expect("asked");
        assert!(left.is_empty(), "{left:?}");
        let resumed = stage.resume(&stopped, "SCENARIO:plain").await;
        assert_eq!((&resumed["status"], &resumed["thread_id"]), (&json!("completed"), &stopped["thread_id"]), "{resumed}");
    }
}

#[tokio::test]
async fn a_thread_that_codex_does_not_know_any_more_fails_clearly() {
    let (codex_home, stage) = stage(&CodexCli::pinned(), "auto").await;
    let task = stage.run("SCENARIO:plain").await;
    let sessions = codex_home.path().join("sessions");
    fs_err::remove_dir_all(&sessions).expect("ours");
    for entry in fs_err::read_dir(codex_home.path()).expect("there") {
        let path = entry.expect("read").path();
        if path.to_string_lossy().contains("sqlite") {
            fs_err::remove_file(path).expect("ours");
        }
    }
    let resumed = stage.resume(&task, "SCENARIO:plain").await;
    assert_eq!(
        (&resumed["status"], &resumed["runs"][1]["error"]["code"]),
        (&json!("failed"), &json!("unknown_thread")),
        "{resumed}"
    );
    assert_eq!(resumed["thread_id"], task["thread_id"]);
}

#[tokio::test]
async fn codex_renews_the_tokens_of_the_login_before_a_run() {
    for (codex, driver) in tested() {
        let version = codex.version_number();
        let renewer = Renewer::start(&account("acc-1", "r-2", 10)).await;
        let model = ScriptedModel::start(Script::new()).expect("the scripted model starts");
        let upstream = Upstream::new();
        let mut home = TestHome::new(BINARY);
        let folder = codex.program().parent().expect("the program has a parent folder").display().to_string();
        home.set("PATH", format!("{folder}:{}", std::env::var("PATH").expect("PATH is set")));
        home.set("ORCH_WORKER", "host");
        home.set("ORCH_DRIVER", driver);
        // The server has this variable, but runs do not.
        home.set("CODEX_REFRESH_TOKEN_URL_OVERRIDE", renewer.url());
        let config = CodexConfig::new(model.url()).to_toml() + "requires_openai_auth = true\n";
        fs_err::create_dir_all(home.path().join("codex")).expect("made");
        fs_err::write(home.path().join("codex/config.toml"), config).expect("written");
        home.start().await;
        let env = home.environment(&upstream.url()).await;
        let expired = home.scratch().join("auth.json");
        fs_err::write(&expired, account("acc-1", "r-1", 0).to_string()).expect("written");
        let words = ["login", "--import", &expired.display().to_string()];
        assert!(home.command(&words).status().await.expect("the command can be started").success());
        let task = home.task(&env, "SCENARIO:plain").await;
        let task = home.settled(&task).await;
        assert_eq!(task["status"], "completed", "{version}: {task}");
        assert!(!task["runs"][0]["notes"].to_string().contains("login"), "{version}: {task}");
        let login = fs_err::read(home.path().join("login.json")).expect("there");
        let login: Value = serde_json::from_slice(&login).expect("JSON");
        assert_eq!(login["tokens"]["refresh_token"], "r-2", "{version}");
    }
}
