//! Images in prompts: which ones are accepted, where they are stored, what a worker gets, and what survives a kill.
//!
//! The worker runs its prompt as a script. The tests in `real_codex` and `container_codex` check how the real Codex handles images.

use std::path::PathBuf;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::pictures::{GIF, JPEG, PNG, WEBP, given, png_of};

use crate::stage::{Stage, id_of};

impl Stage {
    /// Returns the prompt of a worker that records its arguments and keeps its images.
    fn looks(&self, name: &str) -> String {
        let folder = self.home.scratch().join(name);
        let folder = folder.display();
        format!(
            "begin; mkdir -p {folder}; tr '\\0' '\\n' < /proc/$$/cmdline > {folder}/arguments; \
             sed -n 's/^--image=//p' {folder}/arguments | while read -r path; do cp \"$path\" {folder}/; done; end looked"
        )
    }

    /// Returns the images that this worker kept, in the order of its arguments.
    fn seen(&self, name: &str) -> Vec<Vec<u8>> {
        let folder = self.home.scratch().join(name);
        let told = fs_err::read_to_string(folder.join("arguments")).expect("the worker ran");
        let paths = told.lines().filter_map(|line| line.strip_prefix("--image=")).map(PathBuf::from);
        paths
            .map(|path| fs_err::read(folder.join(path.file_name().expect("a file"))).expect("the worker kept the image"))
            .collect()
    }

    async fn create(&self, prompt: &str, images: &[Value]) -> (u16, Value) {
        self.home.post("/api/v1/tasks", &json!({ "env_id": self.env, "prompt": prompt, "images": images })).await
    }
}

#[tokio::test]
async fn they_reach_the_worker_with_every_kind_of_prompt_and_come_back_from_the_trash() {
    let stage = Stage::new().await;
    let images = [given("../../e\u{202e}vil\n.png", PNG), given("b.gif", GIF)];
    let (status, created) = stage.create(&stage.looks("first"), &images).await;
    assert_eq!(status, 201, "{created}");
    let id = id_of(&created);
    let named = |image: &Value| (image["name"].as_str().map(str::to_owned), image["bytes"].as_u64());
    let recorded: Vec<_> = created["runs"][0]["images"].as_array().expect("images").iter().map(named).collect();
    assert_eq!(recorded, [(Some("evil .png".to_owned()), Some(191)), (Some("b.gif".to_owned()), Some(42))]);
    stage.home.settled(id).await;
    assert_eq!(stage.seen("first"), [PNG, GIF]);

    let path = format!("/api/v1/tasks/{id}");
    let asked = json!({ "prompt": stage.looks("second"), "images": [given("c.jpg", JPEG)] });
    assert_eq!(stage.home.post(&format!("{path}/resume"), &asked).await.0, 201);
    stage.home.settled(id).await;
    assert_eq!(stage.seen("second"), [JPEG]);
    let told = fs_err::read_to_string(stage.home.scratch().join("second/arguments")).expect("the worker ran");
    let (image, resume) =
        (told.find("--image=").expect("the arguments contain an image"), told.find("\nresume\n").expect("a thread"));
    assert!(
        image < resume && told.ends_with("\n-\n"),
        "images come before `resume`, because the oldest Codex requires that: {told}"
    );

    let go = stage.home.scratch().join("go");
    let waits = json!({ "prompt": format!("begin; await {}; end x", go.display()) });
    assert_eq!(stage.home.post(&format!("{path}/resume"), &waits).await.0, 201);
    let follow_up = json!({ "prompt": "to be replaced", "images": [given("d.png", PNG), given("e.webp", WEBP)] });
    let (_, waiting) = stage.home.post(&format!("{path}/follow-ups"), &follow_up).await;
    assert_eq!(waiting["follow_ups"][0]["images"].as_array().map(Vec::len), Some(2), "{waiting}");
    let other = json!({ "prompt": stage.looks("third"), "images": [given("e.webp", WEBP)] });
    assert_eq!(stage.home.put(&format!("{path}/follow-ups/1"), &other).await.0, 200);
    fs_err::write(&go, "").expect("written");
    let done = stage.home.wait_for(&path, |task| task["runs"][3]["status"] == "completed").await;
    assert_eq!(stage.seen("third"), [WEBP]);

    assert_eq!(stage.home.delete(&path).await.0, 204);
    assert!(!stage.folder(id).join("images").exists());
    let (status, back) = stage.home.post(&format!("{path}/restore"), &json!({})).await;
    assert_eq!((status, &back["runs"]), (200, &done["runs"]));
    for (run, bytes) in [(0, PNG), (1, JPEG), (3, WEBP)] {
        let file = back["runs"][run]["images"][0]["file"].as_str().expect("a name");
        assert_eq!(fs_err::read(stage.folder(id).join("images").join(file)).expect("the image is restored"), bytes);
    }
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_before_anything_is_made() {
    let stage = Stage::new().await;
    let ten = 10 << 20;
    let nine: Vec<_> = (0..9).map(|n| given("a.png", &png_of(300 + n))).collect();
    let broken = json!({ "name": "a.png", "data": "YWJj*" });
    let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>";
    for (images, expected) in [
        (vec![broken], (422, "unusable_body")),
        (vec![json!({ "name": "a.png" })], (422, "unusable_body")),
        (vec![given("a.svg", svg)], (422, "image_refused")),
        (vec![given("a.png", &PNG[..100])], (422, "image_refused")),
        (vec![given("a.png", b"")], (422, "image_refused")),
        (nine, (422, "too_many_images")),
        (vec![given("a.png", &png_of(ten + 1))], (413, "image_too_large")),
        (vec![given("a.png", &png_of(ten)), given("b.png", &png_of(ten - 1)), given("c.gif", GIF)], (413, "images_too_large")),
    ] {
        let (status, problem) = stage.create("begin; end x", &images).await;
        assert_eq!((status, problem["code"].as_str()), (expected.0, Some(expected.1)), "{problem}");
        assert!(problem["hints"].as_array().is_some_and(|hints| !hints.is_empty()), "{problem}");
    }
    assert_eq!(stage.home.get("/api/v1/tasks").await.1["items"], json!([]));
    assert_eq!(fs_err::read_dir(stage.home.path().join("tasks")).expect("there").count(), 0);

    let (status, created) = stage.create("begin; end x", &[given("a.png", &png_of(ten)), given("b.png", &png_of(ten - 1))]).await;
    assert_eq!(status, 201, "images of exactly the limit are accepted: {created}");
    let id = id_of(&created);
    stage.home.settled(id).await;
    let files = || fs_err::read_dir(stage.folder(id).join("images")).expect("there").count();
    let refused = json!({ "prompt": "x", "images": [given("a.svg", svg)] });
    assert_eq!(stage.home.post(&format!("/api/v1/tasks/{id}/resume"), &refused).await.0, 422);
    let unknown = json!({ "prompt": "x", "images": [given("a.gif", GIF)] });
    assert_eq!(stage.home.put(&format!("/api/v1/tasks/{id}/follow-ups/7"), &unknown).await.0, 409);
    assert_eq!(files(), 2, "rejected images are not stored");
}

#[tokio::test]
async fn only_where_prompts_come_in_a_body_may_be_that_large() {
    let stage = Stage::new().await;
    let image = given("a.png", &png_of(10 << 20));
    let body = json!({ "repo_url": image["data"] });
    // The server may answer and close the connection before the client has sent everything.
    let asked = stage.home.request(Method::POST, "/api/v1/envs").json(&body).send().await;
    assert!(asked.is_err() || asked.is_ok_and(|answer| answer.status() == 413));
    assert_eq!(stage.create("begin; end x", &[image]).await.0, 201);
}

#[tokio::test]
async fn a_key_stands_for_the_prompt_with_its_images() {
    let stage = Stage::new().await;
    let ask = async |images: &[Value]| {
        let body = json!({ "env_id": stage.env, "prompt": "begin; end x", "images": images });
        let request = stage.home.request(Method::POST, "/api/v1/tasks").header("Idempotency-Key", "k").json(&body);
        let answer = request.send().await.expect("the server answers");
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.expect("JSON"))
    };
    let image = given("a.png", PNG);
    let (status, first) = ask(std::slice::from_ref(&image)).await;
    assert_eq!(status, 201, "{first}");
    let (status, again) = ask(std::slice::from_ref(&image)).await;
    assert_eq!((status, &again["task_id"]), (200, &first["task_id"]));
    for images in [vec![], vec![given("a.png", GIF)], vec![image.clone(), given("b.gif", GIF)], vec![given("b.png", PNG)]] {
        let (status, problem) = ask(&images).await;
        assert_eq!((status, &problem["code"]), (422, &json!("idempotency_key_reused")), "{problem}");
    }
}

#[tokio::test]
async fn a_server_that_dies_after_it_took_a_task_still_has_its_images() {
    let mut stage = Stage::setup().set("ORCH_CRASH_AT", "task-recorded").start().await;
    let body = json!({ "env_id": stage.env, "prompt": stage.looks("first"), "images": [given("a.png", PNG)] });
    let asked = stage.home.request(Method::POST, "/api/v1/tasks").json(&body).send().await;
    assert!(asked.is_err(), "the server is killed before it answers");
    stage.home.ended().await;
    stage.home.set("ORCH_CRASH_AT", "");
    stage.home.start().await;
    let (_, tasks) = stage.home.get("/api/v1/tasks").await;
    let done = stage.home.settled(id_of(&tasks["items"][0])).await;
    assert_eq!((&done["status"], stage.seen("first")), (&json!("completed"), vec![PNG.to_vec()]), "{done}");
}

#[tokio::test]
async fn a_death_between_images_and_their_record_leaves_a_file_that_nobody_names() {
    let mut stage = Stage::setup().set("ORCH_CRASH_AT", "images-written").start().await;
    let (_, created) = stage.create(&stage.looks("first"), &[given("a.png", PNG)]).await;
    let id = id_of(&created);
    stage.home.settled(id).await;
    let path = format!("/api/v1/tasks/{id}/resume");
    let body = json!({ "prompt": stage.looks("second"), "images": [given("b.gif", GIF)] });
    assert!(stage.home.request(Method::POST, &path).json(&body).send().await.is_err(), "the server is killed before it answers");
    stage.home.ended().await;
    stage.home.set("ORCH_CRASH_AT", "");
    stage.home.start().await;
    let (_, task) = stage.home.get(&format!("/api/v1/tasks/{id}")).await;
    assert_eq!((task["runs"].as_array().map(Vec::len), &task["status"]), (Some(1), &json!("completed")), "{task}");
    assert_eq!(fs_err::read_dir(stage.folder(id).join("images")).expect("there").count(), 2);
    assert_eq!(stage.home.post(&path, &body).await.0, 201, "the request can be repeated");
    assert_eq!(stage.home.settled(id).await["status"], "completed");
    assert_eq!(stage.seen("second"), [GIF]);
}

#[tokio::test]
async fn a_run_whose_image_is_gone_fails_and_says_so() {
    let stage = Stage::new().await;
    let go = stage.home.scratch().join("go");
    let (_, created) = stage.create(&format!("begin; await {}; end x", go.display()), &[]).await;
    let id = id_of(&created);
    let follow_up = json!({ "prompt": "begin; end x", "images": [given("a.png", PNG)] });
    let (_, waiting) = stage.home.post(&format!("/api/v1/tasks/{id}/follow-ups"), &follow_up).await;
    let file = waiting["follow_ups"][0]["images"][0]["file"].as_str().expect("a name").to_owned();
    fs_err::write(stage.folder(id).join("images").join(file), &PNG[1..]).expect("written");
    fs_err::write(&go, "").expect("written");
    let path = format!("/api/v1/tasks/{id}");
    let failed = stage.home.wait_for(&path, |task| task["runs"][1]["status"] == "failed").await;
    assert_eq!(failed["runs"][1]["error"]["code"], "image_unreadable", "{failed}");
}

#[tokio::test]
async fn the_command_line_takes_files() {
    let stage = Stage::new().await;
    let file = |name: &str, bytes: &[u8]| {
        let path = stage.home.scratch().join(name);
        fs_err::write(&path, bytes).expect("written");
        path.display().to_string()
    };
    let (png, gif, text) = (file("a b.png", PNG), file("b.gif", GIF), file("c.png", b"hello"));
    let said = async |arguments: &[&str]| {
        let output = stage.home.command(arguments).output().await.expect("the command can be started");
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let looks = stage.looks("first");
    let (code, out) = said(&["task", "create", "--env", &stage.env, "--image", &png, "--image", &gif, "-f", "--", &looks]).await;
    assert_eq!((code, stage.seen("first")), (Some(0), vec![PNG.to_vec(), GIF.to_vec()]), "{out}");
    let (_, tasks) = stage.home.get("/api/v1/tasks").await;
    let id = id_of(&tasks["items"][0]);
    let looks = stage.looks("second");
    let (code, out) = said(&["task", "resume", "--image", &gif, "-f", id, &looks]).await;
    assert_eq!((code, stage.seen("second")), (Some(0), vec![GIF.to_vec()]), "{out}");
    let (_, shown) = said(&["task", "show", id]).await;
    assert!(shown.contains("image     a b.png (images/"), "{shown}");
    for (image, word) in [(text.as_str(), "not in a supported image format"), ("/nowhere/x.png", "/nowhere/x.png")] {
        let (code, out) = said(&["task", "resume", "--image", image, id, "x"]).await;
        assert!(code != Some(0) && out.contains(word) && out.contains("hint"), "{out}");
    }
    assert_eq!(stage.home.get(&format!("/api/v1/tasks/{id}")).await.1["runs"].as_array().map(Vec::len), Some(2));
}
