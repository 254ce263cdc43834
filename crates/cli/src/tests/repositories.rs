//! `env`: the requests that each command sends, the progress of a clone, and what people and programs read.
//! Values of settings are tested next to `env_values` and `env_config`.

use serde_json::{Value, json};
use testkit::fake_server::{Answer, Ending};

use super::samples::{ENV, change, environment, page};
use super::stage::Stage;

fn of_env(method: &str, action: &str) -> String {
    format!("{method} /api/v1/envs/{ENV}{action}")
}

/// A stage with the repository `app`.
async fn with_app() -> Stage {
    let stage = Stage::new().await;
    stage.on("GET /api/v1/envs", Answer::json(page(&[environment(json!({}))])));
    stage.on(&of_env("GET", ""), Answer::json(environment(json!({}))));
    stage
}

fn cloning(phase: &str) -> Answer {
    Answer::json(environment(json!({ "status": "cloning", "progress": { "phase": phase, "percent": 1 } })))
}

#[tokio::test]
async fn add_waits_for_the_clone_and_shows_each_phase_once() {
    let stage = Stage::new().await;
    let feed: String = (1..9).map(change).collect();
    stage.on("GET /api/v1/events", Answer::events(&[&feed], Ending::Open)).on("POST /api/v1/envs", cloning("Starting"));
    for phase in ["Receiving objects", "Receiving objects", "Resolving deltas"] {
        stage.on(&of_env("GET", ""), cloning(phase));
    }
    stage.on(&of_env("GET", ""), Answer::json(environment(json!({}))));
    let words = ["env", "add", "https://github.com/me/app.git", "--name", "app", "--memory", "4g", "--var", "CI=1"];
    let (stdout, stderr) = stage.run(&words).await.ok();
    assert_eq!(stdout, format!("Added app ({ENV})\n"));
    assert_eq!(stderr, "Receiving objects …\nResolving deltas …\n");
    let expect = json!({
        "repo_url": "https://github.com/me/app.git", "name": "app", "container": { "memory": "4g" }, "variables": { "CI": "1" },
    });
    let mut sent = stage.sent();
    sent.as_object_mut().expect("an object").retain(|name, _| expect.get(name).is_some());
    assert_eq!(sent, expect);
    assert_eq!(stage.requests()[..2], ["GET /api/v1/events", "POST /api/v1/envs"], "the feed is open before the clone starts");
}

#[tokio::test]
async fn a_clone_that_fails_is_an_error_with_hints() {
    let stage = Stage::new().await;
    let error = json!({ "code": "clone_failed", "message": "repository\u{1b}[2J not found", "hints": ["check the URL"] });
    stage.on("GET /api/v1/events", Answer::events(&[], Ending::Open)).on("POST /api/v1/envs", cloning("Starting"));
    stage.on(&of_env("GET", ""), Answer::json(environment(json!({ "status": "failed", "error": error }))));
    let said = stage.run(&["env", "add", "https://github.com/me/app.git"]).await.failed(1);
    assert_eq!(said, "error: repository not found\nhint:  check the URL\n");
    stage.on(&of_env("GET", ""), Answer::json(environment(json!({ "status": "removing" }))));
    let said = stage.run(&["env", "add", "https://github.com/me/app.git"]).await.failed(1);
    assert_eq!(said, "error: the repository was removed during the clone\n");
}

#[tokio::test]
async fn a_server_that_is_lost_during_a_clone_is_reported() {
    let stage = Stage::new().await;
    stage.on("GET /api/v1/events", Answer::events(&[&change(1)], Ending::Broken)).on("POST /api/v1/envs", cloning("Starting"));
    stage.on(&of_env("GET", ""), cloning("Receiving objects"));
    let said = stage.run(&["env", "add", "https://github.com/me/app.git"]).await.failed(1);
    assert!(said.starts_with("Receiving objects …\nerror: the server does not answer: "), "{said}");
}

#[tokio::test]
async fn a_local_repository_is_sent_with_its_absolute_path() {
    let stage = Stage::new().await;
    stage
        .on("GET /api/v1/events", Answer::events(&[], Ending::Open))
        .on("POST /api/v1/envs", Answer::json(environment(json!({}))));
    stage.on(&of_env("GET", ""), Answer::json(environment(json!({}))));
    let here = std::env::current_dir().expect("a folder").canonicalize().expect("it exists");
    for (url, expect) in
        [(".", here.to_str().expect("text")), ("no/such/folder", "no/such/folder"), ("git@host:me/app", "git@host:me/app")]
    {
        assert_eq!(stage.run(&["--json", "env", "add", url]).await.json()["name"], "app");
        assert_eq!(stage.sent()["repo_url"], expect);
    }
}

#[tokio::test]
async fn an_invalid_setting_is_reported_before_any_request() {
    let stage = Stage::new().await;
    let said = stage.run(&["env", "add", "https://github.com/me/app.git", "--cpus", "many"]).await.failed(1);
    assert!(said.starts_with("error: ") && said.contains("many"), "{said}");
    let said = stage.run(&["env", "add", "https://github.com/me/app.git", "--secret-file", "TOKEN"]).await.failed(2);
    assert!(said.starts_with("error: `--secret-file` needs a name and a file\n"), "{said}");
    assert_eq!(stage.requests(), [""; 0]);
}

#[tokio::test]
async fn secrets_and_tokens_come_from_files_and_are_not_printed() {
    let stage = with_app().await;
    stage.on(&of_env("PATCH", ""), Answer::json(environment(json!({ "secrets": ["KEY"], "has_forge_token": true }))));
    let (key, token) = (stage.path("key"), stage.path("token"));
    fs_err::write(&key, "hunter2\n").expect("written");
    fs_err::write(&token, "  ghp_secret \n").expect("written");
    let key = format!("KEY={}", key.display());
    let words =
        ["env", "edit", "app", "--secret-file", &key, "--no-secret", "OLD", "--forge-token-file", token.to_str().expect("text")];
    let ran = stage.run(&words).await;
    assert!(!format!("{ran:?}").contains("hunter2") && !format!("{ran:?}").contains("ghp_secret"), "{ran:?}");
    let sent = stage.sent();
    assert_eq!(sent["secrets"], json!({ "KEY": "hunter2", "OLD": null }));
    assert_eq!(sent["forge"]["token"], "ghp_secret");
    stage.run(&["env", "edit", "app", "--no-forge-token"]).await.ok();
    assert_eq!(stage.sent()["forge"], json!({ "token": null }), "the token is deleted");
}

#[tokio::test]
async fn setting_a_dockerfile_waits_for_the_image_and_shows_each_step() {
    let building = |step: &str| {
        let phase = format!("Building the image: {step}");
        Answer::json(environment(json!({ "progress": { "phase": phase, "percent": 1 } })))
    };
    let error = json!({ "code": "image_failed", "message": "could not build the repository's image", "hints": ["fix `/D`"] });
    let feed: String = (1..9).map(change).collect();
    for (end, code, told) in [
        (json!({}), 0, ""),
        (
            json!({ "image_error": error }),
            1,
            "error: the settings were changed, but could not build the repository's image\nhint:  fix `/D`\n",
        ),
    ] {
        let stage = Stage::new().await;
        stage.on("GET /api/v1/envs", Answer::json(page(&[environment(json!({}))])));
        stage.on("GET /api/v1/events", Answer::events(&[&feed], Ending::Open)).on(&of_env("PATCH", ""), building("[1/2] FROM x"));
        for step in ["[1/2] FROM x", "[2/2] RUN y"] {
            stage.on(&of_env("GET", ""), building(step));
        }
        stage.on(&of_env("GET", ""), Answer::json(environment(end)));
        let ran = stage.run(&["env", "edit", ENV, "--dockerfile", "/D"]).await;
        let steps = "Building the image: [1/2] FROM x …\nBuilding the image: [2/2] RUN y …\n";
        assert_eq!(
            (ran.stderr.clone(), ran.code == std::process::ExitCode::SUCCESS),
            (format!("{steps}{told}"), code == 0),
            "{ran:?}"
        );
    }
    let stage = with_app().await;
    stage.on(&of_env("PATCH", ""), Answer::json(environment(json!({ "image_error": error }))));
    stage.run(&["env", "edit", ENV, "--memory", "4g"]).await.ok();
}

#[tokio::test]
async fn list_and_show_print_repositories() {
    let stage = with_app().await;
    let (stdout, _) = stage.run(&["env", "list"]).await.ok();
    assert_eq!(
        stdout,
        "ID             NAME  STATUS  BRANCH  TASKS  REPOSITORY\n0192f3a0-0000  app   ready   main    2      https://github.com/me/app.git\n"
    );
    assert_eq!(stage.run(&["--json", "env", "list"]).await.json()["items"][0]["name"], "app");
    let (stdout, _) = stage.run(&["env", "show", "app"]).await.ok();
    assert!(stdout.contains(&format!("{:<12}{ENV}\n", "id")) && stdout.contains("status      ready\n"), "{stdout}");
    assert_eq!(stage.run(&["--json", "env", "show", ENV]).await.json()["env_id"], ENV);
}

#[tokio::test]
async fn an_empty_list_says_how_to_add_a_repository() {
    let stage = Stage::new().await;
    let damaged = json!([{ "id": "x", "path": "envs/x/meta.json", "reason": "invalid JSON", "hints": [] }]);
    stage.on("GET /api/v1/envs", Answer::json(page(&[])));
    stage.on("GET /api/v1/envs", Answer::json(json!({ "items": [], "next_cursor": null, "damaged": damaged })));
    let hint = "No repositories yet. Add one: codex-orchestrator env add https://host/owner/repo.git\n";
    assert_eq!(stage.run(&["env", "list"]).await.ok(), (String::new(), hint.to_owned()));
    let (_, stderr) = stage.run(&["env", "list"]).await.ok();
    assert_eq!(stderr, format!("{hint}damaged: envs/x/meta.json: invalid JSON\n"));
}

#[tokio::test]
async fn an_unknown_repository_is_an_error_with_a_suggestion() {
    let stage = with_app().await;
    for words in [&["env", "show", "appp"][..], &["env", "fetch", "appp"], &["task", "create", "--env", "appp", "x"]] {
        let said = stage.run(words).await.failed(1);
        assert!(
            said.starts_with("error: no repository named `appp`, and no ID that starts with it\nhint:  did you mean `app`?\n"),
            "{said}"
        );
    }
    assert!(stage.requests().iter().all(|line| line == "GET /api/v1/envs"), "nothing else is requested");
}

#[tokio::test]
async fn a_setting_is_listed_read_changed_and_reset() {
    let stage = with_app().await;
    stage.on(&of_env("PATCH", ""), Answer::json(environment(json!({ "container": { "memory": "4g" } }))));
    let (stdout, _) = stage.run(&["env", "config", "app"]).await.ok();
    assert!(stdout.contains("  memory = (default: "), "{stdout}");
    let (stdout, stderr) = stage.run(&["env", "config", "app", "memory"]).await.ok();
    assert!(stdout.is_empty() && stderr.starts_with("`memory` is not set. Default: "), "{stderr}");
    let (stdout, _) = stage.run(&["env", "config", "app", "memory", "4g"]).await.ok();
    assert!(stdout.starts_with("memory = 4g\n    "), "{stdout}");
    assert_eq!(stage.sent(), json!({ "container": { "memory": "4g" } }));
    stage.run(&["env", "config", "app", "memory", "--unset"]).await.ok();
    assert_eq!(stage.sent(), json!({ "container": { "memory": null } }));
    stage.run(&["env", "config", "app", "allow_hosts", "a.com", "*.b.com"]).await.ok();
    assert_eq!(stage.sent(), json!({ "container": { "allow_hosts": ["a.com", "*.b.com"] } }));
}

#[tokio::test]
async fn settings_are_also_json() {
    let stage = with_app().await;
    let all = stage.run(&["--json", "env", "config", "app"]).await.json();
    let keys: Vec<_> = all.as_array().into_iter().flatten().map(|setting| setting["key"].as_str().expect("a key")).collect();
    assert_eq!(keys.len(), protocol::settings::all().count());
    let one = stage.run(&["--json", "env", "config", "app", "memory"]).await.json();
    assert_eq!((&one["flag"], &one["is_set"], &one["value"]), (&json!("--memory"), &json!(false), &Value::Null));
    let said = stage.run(&["env", "config", "app", "memroy", "4g"]).await.failed(2);
    assert!(said.starts_with("error: no setting named `memroy`\nhint:  did you mean `memory`?\n"), "{said}");
}

#[tokio::test]
async fn a_value_with_invisible_characters_is_shown_with_marks() {
    let stage = Stage::new().await;
    let env = environment(json!({ "variables": { "MODE": "a\u{202e}b\u{1b}[2J" } }));
    stage.on("GET /api/v1/envs", Answer::json(page(std::slice::from_ref(&env)))).on(&of_env("GET", ""), Answer::json(env));
    for words in [&["env", "config", "app", "variables"][..], &["env", "config", "app"], &["env", "show", "app"]] {
        let (stdout, _) = stage.run(words).await.ok();
        assert!(stdout.contains("MODE=a<U+202E>b<U+001B>[2J"), "{stdout}");
    }
}

#[tokio::test]
async fn fetch_retry_and_pause_report_the_new_state() {
    let stage = with_app().await;
    let paused = environment(json!({ "runs": { "paused": true } }));
    stage.on(&of_env("POST", "/fetch"), Answer::json(environment(json!({})))).on(&of_env("POST", "/retry"), cloning("Starting"));
    stage.on(&of_env("PATCH", ""), Answer::json(paused));
    assert_eq!(stage.run(&["env", "fetch", "app"]).await.ok().0, "app is up to date\n");
    assert!(stage.run(&["env", "retry", "app"]).await.ok().0.contains("cloning"));
    for (word, paused) in [("pause", true), ("unpause", false)] {
        assert!(stage.run(&["env", word, "app"]).await.ok().0.lines().any(|line| line.split_whitespace().eq(["paused", "on"])));
        assert_eq!(stage.sent(), json!({ "runs": { "paused": paused } }));
    }
}

#[tokio::test]
async fn a_fetch_that_fails_is_the_servers_error() {
    let stage = with_app().await;
    stage.on(&of_env("POST", "/fetch"), Answer::problem(503, "fetch_failed", "could not resolve host"));
    assert_eq!(
        stage.run(&["env", "fetch", "app"]).await.failed(1),
        "error: could not resolve host\nhint:  a hint about fetch_failed\n"
    );
}

#[tokio::test]
async fn refs_are_listed_and_can_be_filtered() {
    let stage = with_app().await;
    let item = |kind: &str, name: &str| json!({ "kind": kind, "name": name, "commit": super::samples::commit('a'), "committed_at": null });
    let some = json!({ "items": [item("branch", "main"), item("tag", "v1\u{202e}x")], "truncated": true });
    stage
        .on(&of_env("GET", "/refs"), Answer::json(some))
        .on(&of_env("GET", "/refs"), Answer::json(json!({ "items": [], "truncated": false })));
    let (stdout, stderr) = stage.run(&["env", "refs", "app"]).await.ok();
    assert_eq!(stdout, "WHAT    NAME\nbranch  main\ntag     v1x\n");
    assert_eq!(stderr, "Only the newest 2 are shown. Add part of a name to see others.\n");
    assert_eq!(stage.run(&["env", "refs", "app", "v 2"]).await.ok(), (String::new(), "No branches or tags found.\n".to_owned()));
    let lines: Vec<_> = stage.requests().into_iter().filter(|line| line.contains("/refs")).collect();
    assert_eq!(lines, [of_env("GET", "/refs?tasks=false"), of_env("GET", "/refs?q=v+2&tasks=false")]);
}

#[tokio::test]
async fn remove_with_yes_asks_nothing() {
    let stage = with_app().await;
    stage.on(&of_env("DELETE", ""), Answer::nothing());
    assert_eq!(stage.run(&["env", "remove", "app", "-y"]).await.ok().0, "Removed app and 2 tasks\n");
    assert_eq!(stage.requests(), ["GET /api/v1/envs".to_owned(), of_env("GET", ""), of_env("DELETE", "")]);
}
