//! Tests the forms about tasks: a new one, follow-ups, several tasks at once, and the list with its filters.
//!
//! The repository is paused, so every run waits in the queue.

use testkit::pictures::png_of;

use super::*;

/// Returns the value of a field of a page.
fn value<'a>(page: &'a str, name: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!(r#"name="{name}" value=""#)).unwrap_or_else(|| panic!("{name}: {page}"));
    rest.split('"').next().expect("a value")
}

/// Returns the path of the task that a form created.
fn task_of(reply: &Reply) -> String {
    assert_eq!(reply.status, 303, "{}", reply.body);
    reply.header("location").to_owned()
}

impl Stage {
    /// Returns the number of tasks.
    fn tasks(&self) -> usize {
        self.user().tasks(&protocol::TaskQuery::default()).expect("a list").items.len()
    }
}

#[tokio::test]
async fn an_invalid_field_of_a_new_task_is_named_and_everything_that_was_typed_is_kept() {
    let (stage, env) = Stage::with_repository().await;
    let key = value(stage.get("/tasks/new").await.page(200), "key").to_owned();
    let long = "a".repeat(300);
    for (name, wrong, field) in [
        ("prompt", "", "prompt"),
        ("prompt", " \r\n ", "prompt"),
        ("prompt", "a\0b", "prompt"),
        ("ref", "no-such-branch", "ref"),
        ("ref", "a..b", "ref"),
        ("ref", "-x", "ref"),
        ("title", "two\nlines", "title"),
        ("title", &long, "title"),
        ("model", "-m", "model"),
        ("model", "a b", "model"),
        ("effort", "a b", "model"),
        ("priority", "urgent", "priority"),
    ] {
        let usual = [
            ("env_id", env.as_str()),
            ("key", &key),
            ("prompt", "Fix \"this\" & <that>\r\nnow"),
            ("ref", "main"),
            ("title", "A title"),
        ];
        let fields: Vec<_> = usual.into_iter().filter(|(usual, _)| *usual != name).chain([(name, wrong)]).collect();
        let again = stage.post("/tasks", &fields).await;
        let page = again.page(422);
        assert!(
            page.contains("Please fix this first:") && page.contains(&format!("href=\"#{field}\"")),
            "{name}={wrong:?}: {page}"
        );
        if name != "prompt" {
            assert!(page.contains("Fix &quot;this&quot; &amp; &lt;that&gt;\nnow</textarea>"), "{page}");
        }
        assert_eq!(value(page, "key"), key, "sending it again is the same request");
        assert!(page.contains(&format!("id=\"{field}-wrong\"")) || ["prompt", "model", "priority"].contains(&field), "{page}");
    }
    assert_eq!(stage.tasks(), 0, "nothing was created");
    let unknown = stage.post("/tasks", &[("env_id", "01a201f5-b7dd-79a1-8a6e-7e6639f5c650"), ("prompt", "x")]).await;
    assert!(unknown.page(404).contains("no repository has the ID"), "{}", unknown.body);
}

#[tokio::test]
async fn the_same_form_creates_one_task_and_a_changed_one_another() {
    let (stage, env) = Stage::with_repository().await;
    let fields = |prompt: &'static str| [("env_id", env.clone()), ("key", "k1".to_owned()), ("prompt", prompt.to_owned())];
    let send = async |prompt| {
        let fields = fields(prompt);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        stage.post("/tasks", &fields).await
    };
    let (first, again) = tokio::join!(send("one"), send("one"));
    assert_eq!(task_of(&first), task_of(&again), "a double tap");
    assert!(first.header("set-cookie").starts_with("orch_sent=new; Path=/; Max-Age=3600; SameSite=Strict"));
    assert_ne!(task_of(&send("two").await), task_of(&first));
    let without_key = [("env_id", env.as_str()), ("prompt", "one")];
    assert_ne!(task_of(&stage.post("/tasks", &without_key).await), task_of(&stage.post("/tasks", &without_key).await));
    assert_eq!(stage.tasks(), 4);
}

#[tokio::test]
async fn images_of_a_prompt_are_served_as_nothing_but_images() {
    let (stage, env) = Stage::with_repository().await;
    let fields = [("env_id", env.as_str()), ("prompt", "Look at this")];
    let files: [(&str, &[u8]); 2] = [("a\u{202e}gnp.png", &png_of(400)), ("", b"")];
    let path = task_of(&stage.upload("/tasks", &fields, &files).await);
    let page = stage.get(&path).await;
    let page = page.page(200);
    let address = page.split("<img src=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a thumbnail");
    assert!(
        !page.contains('\u{202e}')
            && address.starts_with(&format!("{path}/images/"))
            && address.rsplit('.').next() == Some("png"),
        "{page}"
    );
    let image = stage.get(address).await;
    assert_eq!((image.status, image.header("content-type"), image.header("content-disposition")), (200, "image/png", "inline"));
    assert_eq!(image.header("content-security-policy"), "sandbox; default-src 'none'; frame-ancestors 'none'");
    let tag = image.header("etag").to_owned();
    let known = async |tag: &str| {
        let request = stage.browser("GET", address).header("if-none-match", tag).body(Body::empty()).expect("a request");
        let reply = stage.ask(request).await;
        (reply.status, reply.body.len())
    };
    assert_eq!(known(&tag).await, (304, 0));
    assert_eq!(known("\"other\"").await.0, 200);
    for other in ["0000000000000000.png", "..%2fmeta.json", "meta.json"] {
        assert_eq!(stage.get(&format!("{path}/images/{other}")).await.status, 404, "{other}");
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_refused_with_their_names_and_the_text_is_kept() {
    let (stage, env) = Stage::with_repository().await;
    let fields = [("env_id", env.as_str()), ("prompt", "Look at this")];
    let png = png_of(400);
    let many: Vec<(&str, &[u8])> = (0..40).map(|_| ("a.png", png.as_slice())).collect();
    for files in [&[("<script>.png", &png[..30])][..], &[("a.png", png.as_slice()), ("b.png", b"".as_slice())], &many] {
        let refused = stage.upload("/tasks", &fields, files).await;
        let page = refused.page(422);
        assert!(page.contains("Look at this</textarea>") && page.contains("choose the files again"), "{page}");
        assert!(!page.contains("<script>"), "{page}");
    }
    let mut request = stage.form("/tasks", String::new());
    request.headers_mut().insert(header::CONTENT_TYPE, "multipart/form-data; boundary=X".parse().expect("a type"));
    *request.body_mut() = "--X\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\ntorn".into();
    assert!(stage.ask(request).await.page(400).contains("could not read the form"));
    let nowhere = stage.upload("/tasks", &[("prompt", "x")], &[]).await;
    assert!(nowhere.page(422).contains("is not a repository ID"), "{}", nowhere.body);
    assert_eq!(stage.tasks(), 0);
}

#[tokio::test]
async fn any_file_can_be_attached_and_browsers_save_it() {
    let (stage, env) = Stage::with_repository().await;
    let svg: &[u8] = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";
    let png = png_of(400);
    let files = [("a.png", png.as_slice()), ("../a \"<b>\".svg", svg)];
    let path = task_of(&stage.upload("/tasks", &[("env_id", env.as_str()), ("prompt", "Look at this")], &files).await);
    let page = stage.get(&path).await;
    let page = page.page(200);
    let links = || page.split("/images/").skip(1).filter_map(|rest| rest.split_once('"'));
    let name = |ending: &str| {
        let (name, _) = links().find(|(name, _)| name.ends_with(ending)).unwrap_or_else(|| panic!("no {ending}: {page}"));
        format!("{path}/images/{name}")
    };
    let saved = stage.get(&name(".bin")).await;
    assert_eq!((saved.status, saved.body.as_bytes()), (200, svg));
    assert_eq!(saved.header("content-type"), "application/octet-stream");
    assert!(saved.header("content-disposition").starts_with("attachment; filename="), "{}", saved.header("content-disposition"));
    assert!(saved.header("content-security-policy").contains("sandbox"));
    assert_eq!(stage.get(&name(".png")).await.header("content-disposition"), "inline");
    assert!(!page.contains("<b>") && !page.contains(".bin\" alt"), "{page}");
}

#[tokio::test]
async fn a_form_with_too_many_bytes_is_read_to_its_end_and_refused_on_a_page() {
    let (stage, env) = Stage::with_repository().await;
    let large = vec![0; crate::pages::upload::FORM_LIMIT + 1];
    let refused = stage.upload("/tasks", &[("env_id", &env), ("prompt", "x")], &[("a.png", &large)]).await;
    assert!(refused.page(413).contains("the form is too large") && refused.body.contains("10 MiB"), "{}", refused.body);
}

#[tokio::test]
async fn a_follow_up_waits_can_be_changed_and_is_forgotten() {
    let (stage, env) = Stage::with_repository().await;
    let task = stage.task(&env, "First").await;
    let path = format!("/tasks/{task}");
    let say = async |prompt: &str, key: &str| stage.post(&format!("{path}/say"), &[("prompt", prompt), ("key", key)]).await;
    let sent = say("Then <b>this</b>\r\nand that", "k").await;
    assert_eq!(task_of(&sent), path);
    assert!(sent.header("set-cookie").starts_with(&format!("orch_sent={task};")), "the draft of this task is deleted");
    assert_eq!(task_of(&say("Then <b>this</b>\r\nand that", "k").await), path);
    assert_eq!(task_of(&say("And this", "k2").await), path);
    let waiting = async || {
        stage
            .user()
            .task(&task)
            .expect("it exists")
            .follow_ups
            .iter()
            .map(|one| one.prompt.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(waiting().await, ["Then <b>this</b>\nand that", "And this"]);
    let page = stage.get(&path).await;
    let page = page.page(200);
    assert!(page.contains("Next: Then &lt;b&gt;this") && page.contains("Then: And this"), "{page}");
    assert_eq!(stage.post(&format!("{path}/follow-ups/1"), &[("prompt", "Changed")]).await.leads_to(), (303, path.as_str()));
    assert_eq!(waiting().await, ["Changed", "And this"]);
    for (number, prompt, status) in [("1", "", 422), ("9", "x", 409), ("x", "x", 400), ("-1", "x", 400)] {
        let refused = stage.post(&format!("{path}/follow-ups/{number}"), &[("prompt", prompt)]).await;
        refused.page(status);
    }
    assert_eq!(waiting().await, ["Changed", "And this"]);
    assert_eq!(stage.post(&format!("{path}/follow-ups/1/remove"), &[]).await.status, 303);
    assert_eq!(waiting().await, ["And this"]);
    assert_eq!(stage.post(&format!("{path}/follow-ups/1/remove"), &[]).await.status, 303, "removing it twice is harmless");
    say("  ", "k3").await.page(422);
}

#[tokio::test]
async fn stopping_and_removing_ask_first_and_opening_the_question_changes_nothing() {
    let (stage, env) = Stage::with_repository().await;
    let task = stage.task(&env, "Fix it").await;
    let path = |rest: &str| format!("/tasks/{task}/{rest}");
    for (action, button) in [("stop", "Stop run"), ("remove", "Remove task")] {
        let page = stage.get(&path(action)).await;
        let page = page.page(200);
        assert!(
            page.contains(button) && page.contains(&format!("action=\"{}\"", path(action))) && page.contains("Cancel"),
            "{page}"
        );
    }
    assert!(stage.user().task(&task).expect("it exists").active);
    assert_eq!(stage.post(&path("archive"), &[]).await.page(409).matches("<h1>").count(), 1, "a run is active");
    assert_eq!(stage.post(&path("stop"), &[]).await.leads_to(), (303, format!("/tasks/{task}").as_str()));
    assert!(stage.get(&format!("/tasks/{task}")).await.page(200).contains("Create a new task instead."));
    assert_eq!(stage.post(&path("archive"), &[]).await.leads_to(), (303, "/"));
    assert_eq!(stage.post(&path("archive"), &[]).await.leads_to(), (303, format!("/tasks/{task}").as_str()), "unarchived");
    assert_eq!(stage.post(&path("remove"), &[]).await.leads_to(), (303, "/"));
    stage.get(&format!("/tasks/{task}")).await.page(404);
    let trash = stage.get("/trash").await;
    assert!(trash.page(200).contains(&format!("/trash/tasks/{task}/restore")));
    assert_eq!(
        stage.post(&format!("/trash/tasks/{task}/restore"), &[]).await.leads_to(),
        (303, format!("/tasks/{task}").as_str())
    );
    stage.get(&format!("/tasks/{task}")).await.page(200);
}

#[tokio::test]
async fn several_tasks_are_handled_at_once_and_each_refusal_is_named() {
    let (stage, env) = Stage::with_repository().await;
    let (one, two) = (stage.task(&env, "One <i>").await, stage.task(&env, "Two").await);
    let both = [("task", one.as_str()), ("task", &two)];
    let act = async |more: &[(&str, &str)]| stage.post("/tasks/selected", &[&both[..], more].concat()).await;
    let asked = act(&[("deed", "stop")]).await;
    let page = asked.page(200);
    assert!(
        page.contains("Stop the runs of these tasks?") && page.contains("One &lt;i&gt;") && page.contains("Stop 2 tasks"),
        "{page}"
    );
    assert!(page.contains(r#"name="sure" value="yes""#) && stage.user().task(&one).expect("it exists").active);
    let refused = act(&[("deed", "archive")]).await;
    let page = refused.page(200);
    assert!(page.contains("Could not archive 2 of 2 tasks") && page.contains("One &lt;i&gt;"), "{page}");
    assert_eq!(act(&[("deed", "stop"), ("sure", "yes")]).await.leads_to(), (303, "/"));
    assert_eq!(act(&[("deed", "archive")]).await.leads_to(), (303, "/"));
    assert!(!stage.get("/").await.page(200).contains(&one));
    assert!(stage.get("/?archived=only").await.page(200).contains(&one));
    assert_eq!(act(&[("deed", "unarchive")]).await.leads_to(), (303, "/?archived=only"));
    let gone = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650";
    let some = stage.post("/tasks/selected", &[("task", &one), ("task", gone), ("task", "<b>"), ("deed", "archive")]).await;
    let page = some.page(200);
    assert!(page.contains("Could not archive 2 of 3 tasks") && page.contains(gone) && !page.contains("<b>"), "{page}");
    assert!(stage.user().task(&one).expect("it exists").archived_at.is_some(), "the others are still handled");
    for nothing in [&[("deed", "stop")][..], &[("task", one.as_str())], &[("task", one.as_str()), ("deed", "explode")]] {
        assert_eq!(stage.post("/tasks/selected", nothing).await.leads_to(), (303, "/"), "{nothing:?}");
    }
    assert_eq!(act(&[("deed", "remove"), ("sure", "yes")]).await.leads_to(), (303, "/"));
    assert!(stage.get("/?archived=only").await.page(200).contains("No matching tasks."));
}

#[tokio::test]
async fn the_list_is_narrowed_by_its_url_and_says_why_it_is_empty() {
    let empty = Stage::new().await;
    assert!(empty.get("/").await.page(200).contains("Add a repository to start your first task."));
    assert!(empty.get("/tasks/new").await.page(200).contains("No repository is ready yet."));
    drop(empty);
    let (stage, env) = Stage::with_repository().await;
    assert!(stage.get("/").await.page(200).contains("No tasks."));
    let parser = stage.task(&env, "Fix the parser").await;
    let hostile = stage.task(&env, &format!("\u{202e}<img src=x onerror=alert(1)> {}", "long".repeat(60))).await;
    let stopped = stage.task(&env, "Stopped").await;
    assert_eq!(stage.post(&format!("/tasks/{stopped}/stop"), &[]).await.status, 303);
    stage.get(&format!("/tasks/{stopped}")).await.page(200);
    for (query, expected) in [
        ("", vec![&parser, &hostile, &stopped]),
        ("?q=PARSER", vec![&parser]),
        ("?q=nothing", vec![]),
        ("?status=stopped", vec![&stopped]),
        ("?status=queued,preparing,running,stopping", vec![&parser, &hostile]),
        ("?group=queued", vec![&parser, &hostile]),
        ("?group=done&q=stopped", vec![&stopped]),
        ("?group=unknown", vec![&parser, &hostile, &stopped]),
        ("?archived=only", vec![]),
        ("?env=01a201f5-b7dd-79a1-8a6e-7e6639f5c650", vec![]),
        ("?q=%22%3E%3Cscript%3E&env=%22%3E&status=&archived=", vec![]),
    ] {
        let reply = stage.get(&format!("/{query}")).await;
        if query.contains("env=%22") || (query.contains("env=01a2") && reply.status != 200) {
            assert!(!reply.body.contains("<script>"), "{query}: {}", reply.body);
            continue;
        }
        let page = reply.page(200);
        let shown: Vec<_> = [&parser, &hostile, &stopped].into_iter().filter(|id| page.contains(id.as_str())).collect();
        assert_eq!(shown, expected, "{query}");
        assert_eq!(page.contains("No matching tasks."), expected.is_empty(), "{query}");
        assert!(!page.contains("<img") && !page.contains('\u{202e}'), "{query}: {page}");
    }
    let all = stage.get("/").await;
    let page = all.page(200);
    let position = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"));
    assert!(position("Queued") < position(&parser) && position(&parser) < position(&hostile), "in the order of the queue");
    assert!(page.contains("1st in queue") && page.contains("2nd in queue"), "{page}");
    for (query, status) in [("?status=nonsense", 422), ("?cursor=nonsense", 422)] {
        stage.get(&format!("/{query}")).await.page(status);
    }
}

#[tokio::test]
async fn a_long_list_has_pages_that_keep_the_filters() {
    let (stage, env) = Stage::with_repository().await;
    for n in 0..53 {
        stage.task(&env, &format!("Task & number {n}")).await;
    }
    let first = stage.get("/?q=Task+%26").await;
    let page = first.page(200);
    assert!(page.contains("50+"), "{page}");
    let older = page
        .split("Older tasks")
        .next()
        .and_then(|before| before.rsplit("href=\"").next())
        .and_then(|rest| rest.split('"').next());
    let older = older.expect("a link").replace("&amp;", "&");
    assert!(older.starts_with("/?group=queued&cursor=") && older.ends_with("&q=Task%20%26"), "{older}");
    let second = stage.get(&older).await;
    let page = second.page(200);
    assert_eq!(page.matches("class=\"pick\"").count(), 3, "{page}");
    assert!(page.contains("← All tasks") && !page.contains("Older tasks"), "{page}");
}

#[tokio::test]
async fn models_of_recent_tasks_are_suggested_once() {
    let (stage, env) = Stage::with_repository().await;
    for (model, effort) in [("gpt-a", "high"), ("gpt-b", "low"), ("gpt-a", "low")] {
        let fields = [("env_id", env.as_str()), ("prompt", "x"), ("model", model), ("effort", effort), ("priority", "high")];
        task_of(&stage.post("/tasks", &fields).await);
    }
    let page = stage.get(&format!("/tasks/new?env={env}")).await;
    let page = page.page(200);
    assert_eq!(page.matches(r#"<option value="gpt-a">"#).count(), 1, "{page}");
    assert!(page.contains(r#"<option value="gpt-b">"#) && page.contains(r#"<option value="main">"#), "{page}");
    let elsewhere = stage.get("/tasks/new?env=%22%3E%3Cb%3E").await;
    assert!(!elsewhere.page(200).contains("\"><b>"), "an unknown repository selects the first one");
}
