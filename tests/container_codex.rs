//! The real Codex CLI in real containers, with the agent repository, the broker, the export and resumed runs. Only the model is
//! scripted.
//!
//! The model's API is on the host's loopback interface, which no container can reach, so every request comes through the broker.

use rustix::process::Signal;
use scripted_model::{Item, Script, ScriptedModel, Turn};
use serde_json::{Value, json};
use testkit::docker;
use testkit::pictures::{self, JPEG, PNG, data_url, given};

use crate::stage::{Setup, Stage, completed, id_of};

/// The ways in which Codex is run.
const DRIVERS: [&str; 2] = ["app-server", "exec"];

/// The key that no container may see.
const KEY: &str = "sk-test-0123456789-never-inside";

/// Starts a server whose containers have the real Codex and this model.
async fn stage(script: Script) -> Stage {
    setup(script, docker::codex_image()).start().await
}

pub(crate) fn setup(script: Script, image: String) -> Setup {
    let model = ScriptedModel::start(script).expect("the scripted model starts");
    let setup = Stage::setup().worker("codex-docker").set("IMAGE_NAME", image).set("CODEX_API_KEY", KEY);
    setup.set("CODEX_DOCKER_MODEL_URL", model.url()).set("CODEX_DOCKER_FREE_DISK", "100m").model(model)
}

impl Stage {
    /// Returns the containers of this home, in any state.
    fn own_containers(&self) -> Vec<String> {
        let filter = format!("label=codex-docker.label.home={}", self.home.path().display());
        let found = docker::docker(&["ps", "--all", "--format", "{{.Names}}", "--filter", &filter]);
        found.lines().map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn an_answer_commands_and_changes_come_back_and_the_thread_goes_on_in_a_fresh_container() {
    for image in [docker::codex_image(), docker::oldest_codex_image()] {
        let stage = setup(Script::new(), image.clone()).start().await;
        let plain = stage.run("SCENARIO:plain").await;
        assert_eq!(completed(&plain)["runs"][0]["last_message"], "Hello from the scripted model.", "{image}");
        let patched = stage.resume(&plain, "SCENARIO:patch").await;
        assert_eq!(completed(&patched)["thread_id"], plain["thread_id"], "{image}");
        assert!(patched["runs"][1]["commit"].is_string(), "{image}: {patched}");
        let diff = stage.home.get(&format!("/api/v1/tasks/{}/diff?run=2", id_of(&plain))).await.1;
        assert_eq!(diff["files"][0]["new_path"], "hello.txt", "{image}: {diff}");
        for (scenario, mark) in [("SCENARIO:cmd_ok", "\"exit_code\":0"), ("SCENARIO:cmd_fail", "\"exit_code\":7")] {
            let task = stage.run(scenario).await;
            let log = stage.log(completed(&task), 1).await;
            assert!(log.contains(mark), "{image} {scenario}: {log}");
        }
        assert!(stage.own_containers().is_empty(), "{image}: {:?}", stage.own_containers());
    }
}

#[tokio::test]
async fn images_reach_the_model_out_of_a_folder_that_the_container_can_only_read() {
    for (image, user) in [(docker::codex_image(), "caller"), (docker::oldest_codex_image(), "root")] {
        let script = Script::new().turn(
            Turn::containing("look around")
                .step([Item::shell(
                    "ls /codex-docker/images && cat /codex-docker/images/* | wc -c; \
             touch /codex-docker/images/x || echo refused; ls /workspace/worktree",
                )])
                .says("done"),
        );
        let stage = setup(script, image.clone()).container(&json!({ "user": user })).start().await;
        let asked = json!({ "env_id": stage.env, "prompt": "SCENARIO:plain", "images": [given("../a.png", PNG)] });
        let (status, created) = stage.home.post("/api/v1/tasks", &asked).await;
        assert_eq!(status, 201, "{created}");
        let id = id_of(&created);
        let first = stage.home.settled(id).await;
        let notes = completed(&first)["runs"][0]["notes"].as_array().cloned().unwrap_or_default();
        let is_about_driver = |note: &&Value| note.as_str().is_some_and(|note| note.contains("this run used `codex exec`"));
        assert_eq!(notes.iter().find(|note| !is_about_driver(note)), None, "{first}");
        assert_eq!(pictures::shown(stage.model()), [data_url("image/png", PNG)], "{image} {user}");

        let asked = json!({ "prompt": "look around", "images": [given("b.jpg", JPEG)] });
        let (status, answer) = stage.home.post(&format!("/api/v1/tasks/{id}/resume"), &asked).await;
        assert_eq!(status, 201, "{answer}");
        let second = stage.home.settled(id).await;
        let expected = [data_url("image/png", PNG), data_url("image/jpeg", JPEG)];
        assert_eq!(pictures::shown(stage.model()), expected, "{image} {user}: {second}");
        let log = stage.log(completed(&second), 2).await;
        let size = (PNG.len() + JPEG.len()).to_string();
        assert!(log.contains("refused") && log.contains(&size), "{image} {user}: {log}");
        assert_eq!(second["runs"][1]["commit"], Value::Null, "the worktree contains no images: {second}");

        // Later runs of the thread can open the images again.
        let third = stage.resume(&second, "look around").await;
        assert!(stage.log(completed(&third), 3).await.contains(&size), "{image} {user}");
    }
}

#[tokio::test]
async fn the_key_never_enters_the_container_and_the_model_gets_it_all_the_same() {
    let look = Item::shell(
        "env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; cat /codex/config.toml; ls -la /codex; grep -rs \"sk-te\"\"st\" /codex /codex-docker /tmp /root /run; echo looked",
    );
    let stage = stage(Script::new().turn(Turn::containing("look around").step([look]).says("done"))).await;
    let task = stage.run("look around").await;
    let log = stage.log(completed(&task), 1).await;
    assert!(log.contains("looked") && !log.contains("sk-test"), "{log}");
    for secret in ["ORCH_HOME", "ORCH_WORKER"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
    let asked: Vec<_> = stage.model().requests().into_iter().filter(|request| request.method == "POST").collect();
    assert!(!asked.is_empty());
    for request in asked {
        assert_eq!(request.headers["authorization"], format!("Bearer {KEY}"));
    }
}

#[tokio::test]
async fn the_agent_uses_git_as_usual_and_its_commits_arrive_as_they_are() {
    let commands = "set -e; git status --short; git log --oneline | head -1; echo one > one; git add one; \
        git -c user.name='A Gent' -c user.email=a@gent commit -qm 'my own commit'; git checkout -qb side; echo two > two; git add two; \
        git stash -q; git checkout -q -; git stash pop -q; git branch --list; git diff --cached --stat; echo all went well";
    for image in [docker::codex_image(), docker::oldest_codex_image()] {
        let script = Script::new().turn(Turn::containing("use git").step([Item::shell(commands)]).says("done"));
        uses_git_as_usual(setup(script, image).start().await).await;
    }
}

async fn uses_git_as_usual(stage: Stage) {
    let task = stage.run("use git").await;
    let log = stage.log(completed(&task), 1).await;
    assert!(log.contains("went well\\n"), "{log}");
    let mirror = stage.home.path().join("envs").join(&stage.env).join("mirror");
    let branch = format!("codex/{}", id_of(&task));
    let git = |arguments: &[&str]| {
        let done =
            std::process::Command::new("git").arg("--git-dir").arg(&mirror).args(arguments).output().expect("git can be started");
        assert!(done.status.success(), "{done:?}");
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    let history = git(&["log", "--format=%an <%ae> %s", "-2", &branch]);
    assert_eq!(history.lines().nth(1), Some("A Gent <a@gent> my own commit"), "{history}");
    assert_eq!(git(&["ls-tree", "--name-only", &branch]).lines().filter(|name| ["one", "two"].contains(name)).count(), 2);
    assert!(git(&["log", "-1", "--format=%(trailers:key=Run,valueonly)", &branch]).trim() == "1");
    git(&["fsck", "--strict"]);
    drop(stage.upstream);
}

#[tokio::test]
async fn root_and_caller_both_leave_files_that_are_the_callers() {
    use std::os::unix::fs::MetadataExt as _;
    for user in ["root", "caller"] {
        let make = Item::shell("mkdir -p d && echo x > d/f && id -u");
        let script = Script::new().turn(Turn::containing("make").step([make]).says("done"));
        let stage = setup(script, docker::codex_image()).container(&json!({ "user": user })).start().await;
        let task = stage.run("make a file").await;
        completed(&task);
        let worktree = stage.home.path().join("tasks").join(id_of(&task)).join("worktree");
        let file = fs_err::metadata(worktree.join("d/f")).expect("made");
        assert_eq!(file.uid(), rustix::process::getuid().as_raw(), "{user}");
        assert!(task["runs"][0]["commit"].is_string(), "{user}: {task}");
    }
}

#[tokio::test]
async fn without_a_network_codex_still_reaches_its_model_and_nothing_else() {
    let look =
        Item::shell("ls /sys/class/net; curl -sS -m 5 http://169.254.169.254/ ; curl -sS -m 5 https://example.com; echo looked");
    let script = || Script::new().turn(Turn::containing("look").step([look.clone()]).says("done"));
    let none = setup(script(), docker::codex_image()).container(&json!({ "network": "none" })).start().await;
    let task = none.run("look at the network").await;
    let log = none.log(completed(&task), 1).await;
    assert!(log.contains("looked") && log.contains("\"aggregated_output\":\"lo\\n"), "{log}");

    let asked: Vec<_> = none.model().requests().into_iter().filter(|request| request.method == "POST").collect();
    let is_hosted = |request: &scripted_model::Request| request.body.to_string().contains("\"web_search\"");
    assert!(!asked.is_empty() && !asked.iter().any(is_hosted), "Codex offers the model none of the provider's tools");

    let wish = json!({ "network": "allow", "allow_hosts": ["allowed.invalid"] });
    let allow = setup(script(), docker::codex_image()).container(&wish).start().await;
    let task = allow.run("look at the network").await;
    let notes = completed(&task)["runs"][0]["notes"].to_string();
    assert!(notes.contains("example.com:443") && notes.contains("not on the list"), "the notes name the refused host: {task}");
}

#[tokio::test]
async fn an_agent_without_a_network_does_not_get_one_from_the_provider_unless_its_repository_allows_it() {
    let ask = Item::shell(
        "token=$(cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | sed -n 's/^CODEX_DOCKER_RUN_TOKEN=//p' | head -1); \
         curl -sS -m 10 http://127.0.0.1:8317/v1/responses -H \"Authorization: Bearer $token\" -H 'Content-Type: application/json' -d \
         '{\"model\":\"m\",\"input\":\"fetch\",\"tools\":[{\"type\":\"mcp\",\"server_label\":\"x\",\"server_url\":\"https://evil.example\"}]}'",
    );
    let script = || Script::new().turn(Turn::containing("ask the provider").step([ask.clone()]).says("done"));
    for (wish, reaches) in [
        (json!({ "network": "none" }), false),
        (json!({ "network": "allow", "allow_hosts": [] }), false),
        (json!({ "network": "none", "hosted_tools": "allow" }), true),
    ] {
        let stage = setup(script(), docker::codex_image()).container(&wish).start().await;
        let task = stage.run("ask the provider").await;
        let notes = completed(&task)["runs"][0]["notes"].to_string();
        let own: Vec<_> = stage.model().requests().into_iter().filter(|request| request.body["input"] == "fetch").collect();
        assert_eq!(own.len(), 1, "{wish}: the agent's own request reaches the model: {task}");
        assert_eq!(own[0].body["tools"].to_string().contains("evil.example"), reaches, "{wish}: {:?}", own[0].body);
        assert_eq!(notes.contains("codex-docker removed the hosted tool `mcp`"), !reaches, "{wish}: {notes}");
    }
}

#[tokio::test]
async fn commands_have_the_path_of_the_image() {
    let script = || {
        let commands = Item::shell("mytool && ls / > /dev/null && echo \"PATH=$PATH\"");
        Script::new().turn(Turn::containing("use the tool").step([commands]).says("done"))
    };
    let sandbox = docker::Sandbox::new();
    for (number, image) in docker::codex_images().into_iter().enumerate() {
        let dockerfile = format!(
            "FROM {image}\nRUN mkdir -p /opt/tool/bin && printf '#!/bin/sh\\necho my tool works\\n' > /opt/tool/bin/mytool \\\n\
             && chmod +x /opt/tool/bin/mytool\nENV PATH=/opt/tool/bin:$PATH\n"
        );
        let own = sandbox.build(&format!("path-{number}"), &dockerfile);
        // Users differ in the image, not in Codex, so one version is enough for the other user.
        let users: &[&str] = if number == 0 { &["root", "caller"] } else { &["caller"] };
        for user in users {
            let stage = setup(script(), own.clone()).container(&json!({ "user": user })).start().await;
            let task = stage.run("use the tool").await;
            let log = stage.log(completed(&task), 1).await;
            assert!(log.contains("my tool works") && log.contains("\"exit_code\":0"), "{image} {user}: {log}");
            assert!(log.contains("/opt/tool/bin:/usr/local/sbin:"), "{image} {user}: {log}");
        }
    }
}

#[tokio::test]
async fn an_agent_starts_in_the_folder_of_its_project_and_can_change_the_others() {
    for image in [docker::codex_image(), docker::oldest_codex_image()] {
        let look = || [Item::shell("echo \"IN=<$PWD>\"; echo new >> made; git -C .. log --oneline | wc -l; echo x >> ../beside")];
        let script = Script::new()
            .turn(Turn::containing("first turn").step(look()).says("done"))
            .turn(Turn::containing("second turn").step(look()).says("done"));
        let stage = setup(script, image.clone()).start().await;
        stage.upstream.commit("main", &[("services/api/main.c", "int x;\n")], "a project");
        stage.edit(json!({ "runs": { "subdirectory": "services/api/" } })).await;
        let task = stage.run("first turn").await;
        let inside = "IN=</workspace/worktree/services/api>";
        assert!(stage.log(completed(&task), 1).await.contains(inside), "{image}");
        let resumed = stage.resume(&task, "second turn").await;
        assert!(stage.log(completed(&resumed), 2).await.contains(inside), "{image}");
        let diff = stage.home.get(&format!("/api/v1/tasks/{}/diff", id_of(&task))).await.1;
        let files: Vec<_> = diff["files"].as_array().into_iter().flatten().map(|file| &file["new_path"]).collect();
        assert_eq!(files, ["services/api/made", "services/beside"], "{image}");
        stage.edit(json!({ "runs": { "subdirectory": "services/web" } })).await;
        let failed = stage.resume(&task, "third turn").await;
        assert_eq!(failed["runs"][2]["error"]["code"], "subdirectory_missing", "{image}: {failed}");
    }
}

#[tokio::test]
async fn an_image_without_a_path_of_its_own_keeps_the_usual_one_and_what_its_profile_adds() {
    let sandbox = docker::Sandbox::new();
    let with_profile =
        format!("FROM {}\nRUN echo 'PATH=/opt/front:$PATH:/opt/back' > /etc/profile.d/additions.sh\n", docker::codex_image());
    let usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    for (image, expected) in [
        (docker::codex_image(), usual.to_owned()),
        (sandbox.build("additions", &with_profile), format!("/opt/front:{usual}:/opt/back")),
    ] {
        let show = Item::shell("echo \"PATH=<$PATH>\"; command -v ls git rg");
        let stage = setup(Script::new().turn(Turn::containing("look").step([show]).says("done")), image).start().await;
        let task = stage.run("look at the path").await;
        let log = stage.log(completed(&task), 1).await;
        assert!(log.contains(&format!("{expected}>")) && log.contains("\"exit_code\":0"), "{expected}: {log}");
    }
}

#[tokio::test]
async fn a_budget_that_is_used_up_ends_the_turn_with_the_reason() {
    let script =
        Script::new().turn(Turn::containing("spend").step([Item::shell("echo 1")]).step([Item::shell("echo 2")]).says("done"));
    let stage = setup(script, docker::codex_image()).container(&json!({ "token_budget": 1 })).start().await;
    let task = stage.run("spend tokens").await;
    assert_eq!(task["status"], "failed", "{task}");
    let message = task["runs"][0]["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("budget of 1 tokens is used up"), "{task}");
}

#[tokio::test]
async fn stopped_in_the_middle_of_a_command_and_resumed() {
    let long = Item::shell("touch /workspace/worktree/begun; sleep 1000000");
    let script = Script::new()
        .turn(Turn::containing("take long").step([long]).says("never"))
        .turn(Turn::containing("go on").says("went on"));
    let stage = stage(script).await;
    for driver in DRIVERS {
        stage.edit(json!({ "runs": { "driver": driver } })).await;
        let task = stage.home.task(&stage.env, "take long").await;
        let begun = stage.home.path().join("tasks").join(&task).join("worktree/begun");
        testkit::until(std::time::Duration::from_mins(1), "the command runs", || begun.exists());
        stage.home.post(&format!("/api/v1/tasks/{task}/stop"), &json!({})).await;
        let stopped = stage.home.settled(&task).await;
        assert_eq!(stopped["status"], "stopped", "{driver}: {stopped}");
        assert!(stopped["runs"][0]["commit"].is_string(), "{driver}: the stopped run's work is committed: {stopped}");
        assert!(stage.own_containers().is_empty(), "{driver}: {:?}", stage.own_containers());
        let resumed = stage.resume(&stopped, "go on").await;
        assert_eq!(completed(&resumed)["runs"][1]["last_message"], "went on", "{driver}");
    }
}

#[tokio::test]
async fn a_killed_worker_or_keeper_leaves_no_container_and_loses_no_work() {
    for (driver, who) in DRIVERS.iter().flat_map(|driver| [(driver, "worker"), (driver, "keeper")]) {
        let long = Item::shell("echo half > /workspace/worktree/half; touch /workspace/worktree/begun; sleep 1000000");
        let script = Script::new()
            .turn(Turn::containing("take long").step([long]).says("never"))
            .turn(Turn::containing("go on").says("went on"));
        let stage = stage(script).await;
        stage.edit(json!({ "runs": { "driver": driver } })).await;
        let task = stage.home.task(&stage.env, "take long").await;
        let folder = stage.home.path().join("tasks").join(&task);
        testkit::until(std::time::Duration::from_mins(1), "the command runs", || folder.join("worktree/begun").exists());
        let record = fs_err::read(folder.join("logs/run-001.keeper.json")).expect("the keeper has written its record");
        let record: Value = serde_json::from_slice(&record).expect("JSON");
        let pid = i32::try_from(record[who]["pid"].as_u64().expect("a pid")).expect("a pid");
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).expect("a pid"), Signal::KILL)
            .expect("the signal can be sent");
        let ended = stage.home.settled(&task).await;
        assert!(["failed", "interrupted"].contains(&ended["status"].as_str().expect("a word")), "{driver} {who}: {ended}");
        assert!(ended["runs"][0]["commit"].is_string(), "{driver} {who}: the run's work is committed: {ended}");
        assert!(stage.own_containers().is_empty(), "{driver} {who}: {:?}", stage.own_containers());
        let resumed = stage.resume(&ended, "go on").await;
        assert_eq!(completed(&resumed)["runs"][1]["last_message"], "went on", "{driver} {who}");
    }
}

#[tokio::test]
async fn ten_tasks_at_once_each_end_on_their_own_branch() {
    let write = Item::shell("cat /proc/sys/kernel/random/uuid > mine");
    let stage = stage(Script::new().turn(Turn::containing("write").step([write]).says("done"))).await;
    let mut tasks = vec![];
    for n in 0..10 {
        let new = json!({ "env_id": stage.env, "prompt": format!("write {n}"), "driver": DRIVERS[n % DRIVERS.len()] });
        let (status, created) = stage.home.post("/api/v1/tasks", &new).await;
        assert_eq!(status, 201, "{created}");
        tasks.push(id_of(&created).to_owned());
    }
    let mut commits = std::collections::BTreeSet::new();
    for task in tasks {
        let ended = stage.home.settled(&task).await;
        commits.insert(completed(&ended)["runs"][0]["commit"].as_str().expect("a commit").to_owned());
    }
    assert_eq!(commits.len(), 10);
    assert!(stage.own_containers().is_empty());
}

#[tokio::test]
async fn an_image_that_was_built_for_a_repository_goes_when_no_repository_uses_it_and_no_other_image_does() {
    let sandbox = docker::Sandbox::new();
    let stage = setup(Script::new(), docker::codex_image()).start().await;
    let dockerfile = stage.home.scratch().join("Dockerfile");
    let write = |tool: &str| {
        let text = format!("FROM {}\nRUN echo {tool} {} > /tool\n", docker::codex_image(), sandbox.label());
        fs_err::write(&dockerfile, text).expect("written");
    };
    let edit = async |container: Value| {
        let (status, answer) = stage.home.patch(&format!("/api/v1/envs/{}", stage.env), &json!({ "container": container })).await;
        assert_eq!(status, 200, "{answer}");
    };
    let images = async || stage.home.get("/api/v1/disk").await.1["images"].as_array().expect("a list").clone();
    let collect = async |body: Value| stage.home.post("/api/v1/gc", &body).await.1["images"].as_array().expect("a list").clone();
    let exists = |name: &str| docker::try_docker(&["image", "inspect", name]).status.success();
    assert!(images().await.is_empty(), "the list has no images that this home did not build");
    edit(json!({ "dockerfile": dockerfile })).await;
    let env = format!("/api/v1/envs/{}", stage.env);
    let failed = stage.home.wait_for(&env, |env| env["progress"].is_null()).await;
    let message = failed["image_error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("cannot read the Dockerfile"), "the image is built as soon as the Dockerfile is set: {failed}");
    write("first");
    completed(&stage.run("SCENARIO:plain").await);
    let built = images().await;
    assert_eq!(
        (built.len(), &built[0]["used_by"], &built[0]["env_id"]),
        (1, &json!("repository"), &json!(stage.env)),
        "{built:?}"
    );
    let first = built[0]["image_id"].as_str().expect("the image has an ID").to_owned();
    assert!(built[0]["bytes"].as_u64() > Some(0) && exists(&first));
    // The first image also has a manual tag, so it is kept when a new image replaces it.
    let by_hand = sandbox.image("by-hand");
    docker::docker(&["tag", &first, &by_hand]);
    write("second");
    completed(&stage.run("SCENARIO:plain").await);
    let built = images().await;
    let uses: Vec<_> = built.iter().map(|image| image["used_by"].as_str().expect("a word")).collect();
    assert_eq!(uses, ["repository", "other_name"], "{built:?}");
    let second = built[0]["image_id"].as_str().expect("the image has an ID").to_owned();
    assert_eq!(collect(json!({})).await, Vec::<Value>::new(), "no image in use is removed");
    edit(json!({ "dockerfile": null })).await;
    let said = collect(json!({ "dry_run": true })).await;
    assert_eq!((said.len(), &said[0]["image_id"]), (1, &json!(second)), "{said:?}");
    assert!(exists(&second), "a dry run removes no image");
    assert_eq!(collect(json!({})).await, said);
    assert!(!exists(&second) && exists(&first) && exists(&docker::codex_image()));
    docker::docker(&["rmi", &by_hand]);
    assert_eq!(collect(json!({})).await, Vec::<Value>::new(), "the first image was removed with its last tag");
    assert!(images().await.is_empty());
}

#[tokio::test]
async fn a_dockerfile_copies_files_of_the_default_branch_and_never_those_of_a_task() {
    let sandbox = docker::Sandbox::new();
    let script =
        Script::new().turn(Turn::containing("change").step([Item::shell("echo evil > README.md; cat /copied")]).says("done"));
    let stage = setup(script, docker::codex_image()).start().await;
    let dockerfile = stage.home.scratch().join("Dockerfile");
    let text = format!("FROM {}\nCOPY README.md /copied\nRUN echo {} > /label\n", docker::codex_image(), sandbox.label());
    fs_err::write(&dockerfile, text).expect("written");
    let edit = json!({ "container": { "dockerfile": dockerfile } });
    let env = format!("/api/v1/envs/{}", stage.env);
    assert_eq!(stage.home.patch(&env, &edit).await.0, 200);
    let built = stage.home.wait_for(&env, |env| env["progress"].is_null()).await;
    assert_eq!(built["image_error"], Value::Null, "{built}");
    let image = format!("codex-orchestrator-env:{}", stage.env);
    let copied = || sandbox.run(&image, "0:0", "cat /copied");
    let before = copied();
    for _ in 0..2 {
        completed(&stage.run("change the file").await);
        assert_eq!(copied(), before, "the task's branch has another content");
    }
    docker::docker(&["rmi", "--force", &image]);
}

#[tokio::test]
async fn a_session_that_was_replaced_by_a_pipe_is_moved_aside_and_the_task_continues_in_a_new_thread() {
    for image in [docker::codex_image(), docker::oldest_codex_image()] {
        let stage = setup(Script::new(), image.clone()).start().await;
        let first = stage.run("SCENARIO:plain").await;
        completed(&first);
        let folder = stage.home.path().join("tasks").join(id_of(&first)).join("sessions");
        let thread = first["thread_id"].as_str().expect("a thread").to_owned();
        let session = session_of(&folder, &thread).expect("Codex has written a session");
        fs_err::remove_file(&session).expect("the file exists");
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &session, rustix::fs::FileType::Fifo, mode, 0).expect("the pipe can be created");
        let second = stage.resume(&first, "SCENARIO:patch").await;
        completed(&second);
        assert_eq!(second["runs"][1]["lost_thread"], json!(thread), "{image}: {second}");
        assert_ne!(second["thread_id"], first["thread_id"], "{image}");
        assert!(session_of(&folder, &thread).is_none(), "{image}: the replaced session is no longer in the sessions folder");
        let third = stage.resume(&second, "SCENARIO:plain").await;
        assert_eq!(completed(&third)["thread_id"], second["thread_id"], "{image}: the new thread continues");
    }
}

/// Finds the session file of a thread, even if it is not a regular file.
fn session_of(folder: &std::path::Path, thread: &str) -> Option<std::path::PathBuf> {
    fs_err::read_dir(folder).expect("readable").find_map(|entry| {
        let entry = entry.expect("readable");
        let is_it = entry.file_name().to_string_lossy().ends_with(&format!("-{thread}.jsonl"));
        if is_it {
            return Some(entry.path());
        }
        entry.file_type().expect("readable").is_dir().then(|| session_of(&entry.path(), thread)).flatten()
    })
}
