//! The services, the image and the tools of a description in real containers. Only the description of the default branch counts.
//!
//! The server, container engine, images and git are real. A shell replaces Codex and runs its prompt.

use serde_json::{Value, json};
use testkit::TestHome;
use testkit::docker::{Sandbox, docker, postgres_image, redis_image, try_docker};
use testkit::shell_agent::{ShellAgent, id_of, postgres_client_image};
use testkit::upstream::Upstream;

use crate::BINARY;
use crate::container_setup::{log_of, said, setup, until_phase, upstream};

/// The image of the shell that replaces Codex.
const SHELL: &str = "codex-docker-test/shell:1";

/// Describes Redis as a service, and a setup that uses it.
fn with_redis() -> String {
    let setup = r#"[setup]
run = "printf 'SET seeded yes\\r\\nGET seeded\\r\\n' | socat -t 2 - TCP:cache:6379 > /opt/seen"
"#;
    format!("{setup}\n[services.cache]\nimage = \"{}\"\nports = [6379]\n", redis_image())
}

/// Writes to the service and prints what it had before.
const TALK: &str = "echo BEFORE $(printf 'GET written\\r\\n' | socat -t 2 - TCP:localhost:6379 | tr -d '\\r\\n'); \
                    echo SET $(printf 'SET written yes\\r\\n' | socat -t 2 - TCP:cache:6379 | tr -d '\\r\\n');";

#[tokio::test]
async fn an_agent_and_a_setup_reach_services_which_are_those_of_the_default_branch() {
    let stage = ShellAgent::on(BINARY, upstream(&with_redis()), &json!({})).await;
    let first = stage.attack(&format!("{TALK} echo SEEN $(tail -n 1 /opt/seen)")).await;
    first.completed();
    assert_eq!((first.said("BEFORE"), first.said("SET"), first.said("SEEN")), ("$-1", "+OK", "yes"), "{}", first.log);
    assert_eq!(first.task["runs"][0]["services"], json!(["cache"]));
    let id = id_of(&first.task);
    let log = stage.home.text(&format!("/api/v1/tasks/{id}/runs/1/services/cache/log")).await;
    assert!(log.contains("Ready to accept connections"), "{log}");
    // The description changes on the branch of another task, and on the default branch.
    let changed = "[services.cache]\nimage = \"codex-docker-test/missing:1\"\n";
    stage.upstream.commit("evil", &[(".codex-orchestrator/environment.toml", changed)], "other services");
    let request = json!({ "env_id": stage.env, "prompt": TALK, "ref": "evil" });
    let (status, created) = stage.home.post("/api/v1/tasks", &request).await;
    assert_eq!(status, 201, "{created}");
    let hostile = stage.home.settled(&id_of(&created)).await;
    assert_eq!((&hostile["status"], &hostile["runs"][0]["services"]), (&json!("completed"), &json!(["cache"])), "{hostile}");
    stage.upstream.commit("main", &[(".codex-orchestrator/environment.toml", changed)], "other services");
    let resumed = stage.resumed(&first.task, TALK).await;
    assert_eq!(resumed["status"], "completed", "{resumed}");
    let log = log_of(&stage, &first.task, 2).await;
    assert_eq!((said(&log, "BEFORE"), said(&log, "SET")), ("$-1", "+OK"), "each run has new services: {log}");
    nothing_runs(&id);
}

#[tokio::test]
async fn services_work_without_a_network_and_end_with_a_run_that_is_stopped_or_killed() {
    let description = format!("[services.cache]\nimage = \"{}\"\nports = [6379]\n", redis_image());
    let container = json!({ "network": "allow", "allow_hosts": ["example.com"] });
    let mut stage = ShellAgent::on(BINARY, upstream(&description), &container).await;
    let limited = stage.attack(TALK).await;
    assert_eq!(limited.completed().said("SET"), "+OK", "{}", limited.log);
    let task = stage.home.task(&stage.env, "sleep 1000").await;
    let begun = |view: &Value| view["status"] == "running" && view["runs"][0]["turn_started"] == true;
    stage.home.wait_for(&format!("/api/v1/tasks/{task}"), begun).await;
    // A server that was killed finds the run and its services again.
    stage.home.kill().await;
    stage.home.start().await;
    stage.home.wait_for(&format!("/api/v1/tasks/{task}"), begun).await;
    let filter = format!("label=codex-docker.label.task={task}");
    let running = docker(&["ps", "--quiet", "--filter", &filter]);
    assert_eq!(running.lines().count(), 3, "the agent, the service and the owner of their network: {running}");
    let (status, answer) = stage.home.post(&format!("/api/v1/tasks/{task}/stop"), &json!({})).await;
    assert!(status < 300, "{answer}");
    let view = stage.home.settled(&task).await;
    assert_eq!(view["status"], "stopped", "{view}");
    nothing_runs(&task);
}

#[tokio::test]
async fn an_agent_without_a_network_queries_a_database_and_nothing_of_it_outlives_the_run() {
    let service =
        format!("image = \"{}\"\nready = \"pg_isready -h 127.0.0.1\"\nports = [5432]\nvolumes = [\"/data\"]\n", postgres_image());
    let description = format!("image = \"{}\"\n[services.db]\n{service}", postgres_client_image());
    let mut home = TestHome::new(BINARY);
    home.set("CODEX_API_KEY", "sk-test-0123456789");
    let stage = ShellAgent::in_home(home, upstream(&description), &json!({ "network": "none" })).await;
    let ask = "ask() { psql -h db -U postgres -At -c \"$1\" 2>&1; };";
    let script = format!(
        "{ask} echo TABLE $(ask 'CREATE TABLE kept (n int)'); echo ROWS $(ask 'INSERT INTO kept SELECT generate_series(1, 100)'); \
         echo SUM $(ask 'SELECT sum(n) FROM kept'); echo NETWORK $(tail -n +3 /proc/net/dev | cut -d: -f1)"
    );
    let first = stage.attack(&script).await;
    first.completed();
    let said_first = ["TABLE", "ROWS", "SUM", "NETWORK"].map(|mark| first.said(mark));
    assert_eq!(said_first, ["CREATE TABLE", "INSERT 0 100", "5050", "lo"], "{}", first.log);
    let id = id_of(&first.task);
    nothing_runs(&id);
    // The next run has a new database. A stop ends it in the middle of a query.
    let waits = format!("{ask} echo SUM $(ask 'SELECT sum(n) FROM kept'); ask 'SELECT pg_sleep(1000)'");
    let (status, answer) = stage.home.post(&format!("/api/v1/tasks/{id}/resume"), &json!({ "prompt": waits })).await;
    assert_eq!(status, 201, "{answer}");
    let filter = format!("label=codex-docker.label.task={id}");
    let containers = || docker(&["ps", "--quiet", "--filter", &filter]);
    let is_asked = || {
        let asked = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()";
        let query = ["psql", "-h", "127.0.0.1", "-U", "postgres", "-At", "-c", asked];
        containers().lines().any(|container| try_docker(&[&["exec", container], &query[..]].concat()).stdout == b"1\n")
    };
    testkit::until(std::time::Duration::from_mins(1), "the database is asked", is_asked);
    let found = containers();
    assert_eq!(found.lines().count(), 3, "the agent, the database and the owner of their network: {found}");
    let shown = |format: &str| {
        let all = found.lines().map(|container| docker(&["inspect", "--format", format, container])).collect::<String>();
        all.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let volumes = shown("{{range .Mounts}}{{.Name}} {{end}}");
    let namespaces = shown("{{.NetworkSettings.SandboxKey}}");
    // The container engine deletes the file of a namespace later than the namespace itself, which is mounted over the file.
    let is_mounted = |path: &String| {
        let (_, name) = path.rsplit_once('/').expect("the path of a file");
        fs_err::read_to_string("/proc/self/mounts").expect("Linux lists mounts").contains(&format!("/netns/{name} "))
    };
    assert!(!volumes.is_empty() && !namespaces.is_empty() && namespaces.iter().all(is_mounted), "{volumes:?} {namespaces:?}");
    let (status, answer) = stage.home.post(&format!("/api/v1/tasks/{id}/stop"), &json!({})).await;
    assert!(status < 300, "{answer}");
    let view = stage.home.settled(&id).await;
    assert_eq!(view["status"], "stopped", "{view}");
    nothing_runs(&id);
    for volume in volumes {
        assert!(!try_docker(&["volume", "inspect", &volume]).status.success(), "the volume `{volume}` is removed");
    }
    assert!(!namespaces.iter().any(is_mounted), "the network namespaces are removed: {namespaces:?}");
    let missing = "relation \"kept\" does not exist";
    let log = log_of(&stage, &first.task, 2).await;
    assert!(said(&log, "SUM").contains(missing), "{log}");
    for (run, has_error) in [(1, false), (2, true)] {
        let log = stage.home.text(&format!("/api/v1/tasks/{id}/runs/{run}/services/db/log")).await;
        assert!(log.contains("ready to accept connections"), "{run}: {log}");
        assert_eq!(log.contains(missing), has_error, "{run}: {log}");
    }
}

#[tokio::test]
async fn a_service_that_is_not_ready_fails_the_run_with_the_end_of_its_log() {
    let service = format!("image = \"{}\"\nready = \"false\"\nready_seconds = 2\n", redis_image());
    let stage = ShellAgent::on(BINARY, upstream(&format!("[services.cache]\n{service}")), &json!({})).await;
    let failed = stage.attack("echo never").await;
    let run = &failed.task["runs"][0];
    assert_eq!(run["error"]["code"], "service_not_ready", "{run}");
    assert_eq!(run["error"]["message"], "the service `cache` was not ready after 2 seconds", "{run}");
    let noted = run["notes"].to_string();
    assert!(noted.contains("from the log of the service `cache`: ") && noted.contains("Ready to accept connections"), "{noted}");
    let path = format!("/api/v1/tasks/{}/runs/1/services/cache/log", id_of(&failed.task));
    assert!(stage.home.text(&path).await.contains("Ready to accept connections"));
    nothing_runs(&id_of(&failed.task));
}

/// Checks that no container of a task is left.
#[track_caller]
fn nothing_runs(task: &str) {
    let filter = format!("label=codex-docker.label.task={task}");
    assert_eq!(docker(&["ps", "--all", "--quiet", "--filter", &filter]), "", "no container of the task is left");
}

#[tokio::test]
async fn runs_exports_and_later_runs_use_the_image_of_the_description() {
    let sandbox = Sandbox::new();
    let stage = ShellAgent::on(BINARY, upstream(""), &json!({})).await;
    let image = sandbox.build("own", &format!("FROM {SHELL}\nRUN echo own > /opt/own\n"));
    let describe = |text: String| {
        stage.upstream.commit("main", &[(".codex-orchestrator/environment.toml", &text)], "a description");
    };
    describe(format!("image = \"{image}\"\n"));
    let first = stage.attack("cat /opt/own; echo OWN $(cat /opt/own); echo work > work").await;
    first.completed();
    assert_eq!(first.said("OWN"), "own", "{}", first.log);
    assert!(stage.committed(&first.task).iter().any(|path| path == "work"), "the work was exported");
    let view = setup(&stage).await;
    assert_eq!(view["last"]["phase"], json!("ready"), "{view}");
    // A Dockerfile of the default branch copies a file. A task keeps the image that it started with.
    stage.upstream.commit("main", &[("Dockerfile.dev", &format!("FROM {SHELL}\nCOPY lock /opt/lock\n"))], "a Dockerfile");
    describe("image = { build = { dockerfile = \"Dockerfile.dev\" } }\n".to_owned());
    let built = stage.attack("echo LOCK $(cat /opt/lock)").await;
    assert_eq!(built.completed().said("LOCK"), "1", "{}", built.log);
    let log = stage.home.text(&format!("/api/v1/envs/{}/setup/log", stage.env)).await;
    assert!(log.contains("COPY lock /opt/lock"), "the build is in the log: {log}");
    let resumed = stage.resumed(&first.task, "echo OWN $(cat /opt/own)").await;
    assert_eq!(resumed["status"], "completed", "{resumed}");
    assert_eq!(said(&log_of(&stage, &first.task, 2).await, "OWN"), "own");
    // Another branch cannot change the image, and a changed file is another image.
    let evil = [("Dockerfile.dev", "FROM codex-docker-test/missing:1\n"), ("lock", "evil\n")];
    stage.upstream.commit("evil", &evil, "another image");
    let request = json!({ "env_id": stage.env, "prompt": "echo LOCK $(cat /opt/lock)", "ref": "evil" });
    let (status, created) = stage.home.post("/api/v1/tasks", &request).await;
    assert_eq!(status, 201, "{created}");
    let hostile = stage.home.settled(&id_of(&created)).await;
    assert_eq!(hostile["status"], "completed", "{hostile}");
    assert_eq!(said(&log_of(&stage, &hostile, 1).await, "LOCK"), "1");
    stage.upstream.commit("main", &[("lock", "2\n")], "newer");
    let newer = stage.attack("echo LOCK $(cat /opt/lock)").await;
    assert_eq!(newer.completed().said("LOCK"), "2", "{}", newer.log);
}

#[tokio::test]
async fn a_task_with_a_described_image_needs_none_of_the_settings() {
    let sandbox = Sandbox::new();
    let mut stage = ShellAgent::on(BINARY, upstream(""), &json!({})).await;
    let image = sandbox.build("own", &format!("FROM {SHELL}\nRUN echo own > /opt/own\n"));
    let description = format!("image = \"{image}\"\n\n[setup]\nrun = \"cp /opt/own /opt/made\"\n");
    stage.upstream.commit("main", &[(".codex-orchestrator/environment.toml", &description)], "a description");
    stage.home.stop().await;
    stage.home.set("IMAGE_NAME", "codex-docker-test/missing:1");
    stage.home.start().await;
    let plain = Upstream::new();
    let plain = stage.home.environment(&plain.file_url()).await;
    let (status, refused) = stage.home.post("/api/v1/tasks", &json!({ "env_id": plain, "prompt": "true" })).await;
    assert_eq!((status, &refused["code"]), (503, &json!("no_worker")), "{refused}");
    let first = stage.attack("echo MADE $(cat /opt/made); echo work > work").await;
    assert_eq!(first.completed().said("MADE"), "own", "{}", first.log);
    assert!(stage.committed(&first.task).iter().any(|path| path == "work"), "the work was exported");
    let resumed = stage.resumed(&first.task, "true").await;
    assert_eq!(resumed["status"], "completed", "{resumed}");
}

#[tokio::test]
async fn an_image_that_cannot_be_created_asks_once_and_says_what_to_do() {
    let stage = ShellAgent::on(BINARY, upstream("image = \"codex-docker-test/missing:1\"\n"), &json!({})).await;
    let waiting = [stage.home.task(&stage.env, "echo A").await, stage.home.task(&stage.env, "echo B").await];
    let failed = until_phase(&stage, "failed").await;
    let error = &failed["last"]["error"];
    assert_eq!(error["code"], "image_failed", "{failed}");
    assert!(error["message"].to_string().contains("`codex-docker-test/missing:1` does not exist on this machine"), "{error}");
    assert!(error["hints"].to_string().contains("docker pull codex-docker-test/missing:1"), "{error}");
    for task in &waiting {
        let (_, view) = stage.home.get(&format!("/api/v1/tasks/{task}")).await;
        assert_eq!((&view["status"], &view["queue"]["waits_for"]), (&json!("queued"), &json!("setup_answer")), "{view}");
    }
    let (status, answer) = stage.home.post(&format!("/api/v1/envs/{}/setup/skip", stage.env), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    for task in &waiting {
        assert_eq!(stage.home.settled(task).await["status"], "completed");
    }
}

#[tokio::test]
async fn tools_are_installed_once_for_all_tasks_and_their_image_is_collected() {
    let mut home = TestHome::new(BINARY);
    home.set("CODEX_DOCKER_TOOL_SOURCES", "node=npm+https://registry.npmjs.org");
    let description = "[tools]\nnode = \"22\"\n\n[setup]\nrun = \"node --version > /opt/version\"\n";
    let stage = ShellAgent::in_home(home, upstream(description), &json!({})).await;
    let script = "echo NODE $(node --version) $(cat /opt/version)";
    let tasks = [stage.home.task(&stage.env, script).await, stage.home.task(&stage.env, script).await];
    for task in &tasks {
        let view = stage.home.settled(task).await;
        let log = log_of(&stage, &view, 1).await;
        assert_eq!(view["status"], "completed", "{view} {log}");
        let versions: Vec<_> = said(&log, "NODE").split(' ').collect();
        assert!(versions.len() == 2 && versions[0].starts_with("v22.") && versions[0] == versions[1], "{log}");
    }
    let view = setup(&stage).await;
    assert_eq!(view["last"]["number"], 1, "{view}");
    let log = stage.home.text(&format!("/api/v1/envs/{}/setup/log", stage.env)).await;
    assert!(log.contains("node.sh 22"), "the installation is in the log: {log}");
    let images = || docker(&["images", "--quiet", &format!("codex-orchestrator-env:{}-*", stage.env)]);
    let (_, unused) = stage.home.post("/api/v1/gc", &json!({})).await;
    assert_eq!(images().lines().count(), 1, "a snapshot starts with it: {unused}");
    let (status, answer) = stage.home.delete(&format!("/api/v1/envs/{}", stage.env)).await;
    assert_eq!(status, 204, "{answer}");
    let (status, answer) = stage.home.post("/api/v1/gc", &json!({ "older_than_days": 0 })).await;
    assert_eq!((status, images().as_str()), (200, ""), "{answer}");
}
