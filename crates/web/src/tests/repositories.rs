//! Tests the forms about repositories, the trash and the settings: valid and invalid values, secrets, and confirmations.
//!
//! The remotes are folders of the machine, with real clones and fetches.

use super::*;

/// Returns what the repository's form sends: the current values of all its fields.
fn current(page: &str) -> Vec<(String, String)> {
    let (_, form) = page.split_once("<form class=\"stack\"").expect("the page has a form");
    let form = form.split("</form>").next().expect("the form ends");
    let plain = |text: &str| text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
    let attribute = |tag: &str, name: &str| Some(plain(tag.split_once(&format!(" {name}=\""))?.1.split('"').next()?));
    let mut fields = vec![];
    for piece in form.split('<').skip(1) {
        let Some((tag, text)) = piece.split_once('>') else { continue };
        let value = match tag.split(' ').next() {
            Some("input") if tag.contains("type=\"checkbox\"") && !tag.contains(" checked") => continue,
            Some("input") => attribute(tag, "value").unwrap_or_default(),
            Some("textarea") => plain(text),
            Some("option") if tag.contains(" selected") => {
                let last: &mut (String, String) = fields.last_mut().expect("a select");
                last.1 = attribute(tag, "value").unwrap_or_default();
                continue;
            }
            Some("select") => String::new(),
            _ => continue,
        };
        fields.extend(attribute(tag, "name").filter(|name| name != "form_token").map(|name| (name, value)));
    }
    fields
}

impl Stage {
    /// Sends a repository's form with these changes to its current values.
    async fn edit(&self, env: &str, changes: &[(&str, &str)]) -> Reply {
        let path = format!("/environments/{env}");
        let fields = current(self.get(&path).await.page(200));
        let kept = fields.iter().filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        let fields: Vec<_> = kept.map(|(name, value)| (name.as_str(), value.as_str())).chain(changes.iter().copied()).collect();
        self.post(&path, &fields).await
    }
}

#[tokio::test]
async fn a_repository_that_cannot_be_added_is_explained_next_to_its_field() {
    let stage = Stage::new().await;
    let upstream = stage.upstream.url();
    for (name, wrong, field) in [
        ("repo_url", "", "repo_url"),
        ("repo_url", "ext::sh -c id", "repo_url"),
        ("repo_url", "https://me:hunter2@host/x.git", "repo_url"),
        ("repo_url", "-oProxyCommand=id", "repo_url"),
        ("default_branch", "a..b", "default_branch"),
        ("default_branch", "-x", "default_branch"),
        ("name", "two\nlines", "name"),
        ("variables", "no equals sign", "variables"),
        ("variables", "GIT_DIR=/x\nA", "variables"),
        ("image", "-v", "image"),
    ] {
        let usual = [("repo_url", upstream.as_str()), ("name", "<b>app</b>")];
        let fields: Vec<_> = usual.into_iter().filter(|(usual, _)| *usual != name).chain([(name, wrong)]).collect();
        let again = stage.post("/environments", &fields).await;
        let page = again.page(422);
        assert!(
            page.contains("Please fix this first:") && page.contains(&format!("href=\"#{field}\"")),
            "{name}={wrong}: {page}"
        );
        assert!(!page.contains("<b>") && page.contains("No repositories yet."), "{page}");
        let folded = page.contains("<details class=\"group\" open>");
        assert_eq!(folded, ["name", "variables", "image"].contains(&field), "the field with the error is visible: {name}");
    }
}

#[tokio::test]
async fn a_hostile_name_is_text_everywhere_and_unchanged_in_its_field() {
    let stage = Stage::new().await;
    let name = "<b>\u{202e}app</b>";
    let env = stage.add_repository(&json!({ "repo_url": stage.upstream.url(), "name": name })).await;
    stage.task(&env, "Fix it").await;
    for path in ["/environments", "/", "/tasks/new", "/settings", &format!("/environments/{env}/remove")] {
        let page = stage.get(path).await;
        assert!(page.page(200).contains("&lt;b&gt;app&lt;/b&gt;"), "{path}: {}", page.body);
        assert!(!page.body.contains("<b>") && !page.body.contains('\u{202e}'), "{path}: {}", page.body);
    }
    let form = current(stage.get(&format!("/environments/{env}")).await.page(200));
    assert!(form.iter().any(|(field, value)| field == "name" && value == name), "saving the form does not rename it: {form:?}");
}

#[tokio::test]
async fn a_clone_that_failed_says_why_and_can_be_tried_again() {
    let stage = Stage::new().await;
    let nowhere = stage.folder.path().join("no-<such>-repository").display().to_string();
    let env = stage.add_repository(&json!({ "repo_url": nowhere, "name": "gone" })).await;
    for path in ["/environments".to_owned(), format!("/environments/{env}")] {
        let page = stage.get(&path).await;
        let page = page.page(200);
        assert!(page.contains("✕</span> Failed") && !page.contains("<such>"), "{page}");
    }
    let page = stage.get(&format!("/environments/{env}")).await.body;
    assert!(page.contains(&format!("/environments/{env}/retry")) && !page.contains("New task"), "{page}");
    let fetched = stage.post(&format!("/environments/{env}/fetch"), &[]).await;
    assert!(fetched.page(409).contains("the repository `gone` is failed"), "{}", fetched.body);
    let task = stage.post("/tasks", &[("env_id", &env), ("prompt", "x")]).await;
    assert!(task.page(409).contains("the repository `gone` is failed"), "{}", task.body);
    assert_eq!(
        stage.post(&format!("/environments/{env}/retry"), &[]).await.leads_to(),
        (303, format!("/environments/{env}").as_str())
    );
}

#[tokio::test]
async fn an_unchanged_form_changes_nothing_and_a_changed_one_only_what_was_changed() {
    let (stage, env) = Stage::with_repository().await;
    let view = || serde_json::to_value(stage.user().environment(&env).expect("it exists")).expect("JSON");
    let without_time = |mut view: Value| {
        view["updated_at"] = Value::Null;
        view
    };
    let before = without_time(view());
    assert_eq!(stage.edit(&env, &[]).await.leads_to(), (303, format!("/environments/{env}").as_str()));
    assert_eq!(without_time(view()), before);
    let changed = [
        ("variables", "A=1\r\nB=\"<x>\"\r\n"),
        ("memory", "4g"),
        ("network", "allow"),
        ("allow_hosts", "a.com\nb.com"),
        ("retries", "2"),
    ];
    assert_eq!(stage.edit(&env, &changed).await.status, 303);
    let after = view();
    assert_eq!((&after["variables"]["A"], &after["variables"]["B"]), (&json!("1"), &json!("\"<x>\"")));
    assert_eq!((&after["container"]["memory"], &after["container"]["allow_hosts"]), (&json!("4g"), &json!(["a.com", "b.com"])));
    assert_eq!((&after["runs"]["retries"], &after["runs"]["paused"], &after["name"]), (&json!(2), &json!(true), &json!("app")));
    assert_eq!(stage.edit(&env, &[]).await.status, 303, "the form repeats every value in a form that it accepts");
    assert_eq!(without_time(view()), without_time(after));
    assert_eq!(
        stage
            .edit(&env, &[("network", "open"), ("allow_hosts", ""), ("memory", ""), ("variables", ""), ("retries", "")])
            .await
            .status,
        303
    );
    assert_eq!(without_time(view())["container"], before["container"]);
}

#[tokio::test]
async fn invalid_settings_are_shown_again_and_nothing_is_saved() {
    let (stage, env) = Stage::with_repository().await;
    for (name, wrong, field) in [
        ("name", "", "name"),
        ("default_branch", "no-such-branch", "default_branch"),
        ("memory", "\"><script>", "memory"),
        ("cpus", "NaN", "cpus"),
        ("pids", "1", "pids"),
        ("network", "nowhere", "network"),
        ("allow_hosts", "a.com", "allow_hosts"),
        ("dockerfile", "relative", "dockerfile"),
        ("retries", "999", "retries"),
        ("forge_api", "ftp://x", "forge_api"),
        ("secret_name", "TOKEN", "secret_value"),
        ("secret_value", "hunter2", "secret_name"),
    ] {
        let again = stage.edit(&env, &[("paused", "yes"), (name, wrong)]).await;
        let page = again.page(422);
        assert!(
            page.contains(&format!("href=\"#{field}\"")) && page.contains(&format!("id=\"{field}-wrong\"")),
            "{name}={wrong}: {page}"
        );
        assert!(!page.contains("<script>") && !page.contains("hunter2"), "{name}: {page}");
        assert!(page.contains("aria-invalid=\"true\""), "{name}: {page}");
    }
    let view = stage.user().environment(&env).expect("it exists");
    assert!(view.secrets.is_empty() && view.name.as_str() == "app", "{view:?}");
}

#[tokio::test]
async fn secrets_are_set_replaced_and_deleted_and_never_shown() {
    let (stage, env) = Stage::with_repository().await;
    let secrets =
        || stage.user().environment(&env).expect("it exists").secrets.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        stage.edit(&env, &[("secret_name", "TOKEN"), ("secret_value", "hunter2-<b>"), ("forge_token", "glpat-1")]).await.status,
        303
    );
    assert_eq!(secrets(), ["TOKEN"]);
    for path in [format!("/environments/{env}"), "/environments".to_owned(), "/settings".to_owned()] {
        let page = stage.get(&path).await.body;
        assert!(!page.contains("hunter2") && !page.contains("glpat-1"), "{path}: {page}");
    }
    assert!(stage.get(&format!("/environments/{env}")).await.body.contains("A token is set."));
    assert_eq!(stage.edit(&env, &[]).await.status, 303);
    assert_eq!(secrets(), ["TOKEN"], "empty fields keep the secrets");
    assert!(stage.user().environment(&env).expect("it exists").has_forge_token);
    assert_eq!(stage.edit(&env, &[("forget:TOKEN", "yes"), ("forget_token", "yes")]).await.status, 303);
    assert!(secrets().is_empty() && !stage.user().environment(&env).expect("it exists").has_forge_token);
    let refused = stage.edit(&env, &[("secret_name", "1A"), ("secret_value", "hunter2")]).await;
    assert!(refused.page(422).contains("href=\"#secret_name\"") && !refused.body.contains("hunter2"));
}

#[tokio::test]
async fn a_fetch_shows_when_it_was_and_why_it_failed() {
    let (stage, env) = Stage::with_repository().await;
    let path = format!("/environments/{env}");
    assert!(stage.get(&path).await.page(200).contains("Fetched automatically before each task."));
    assert_eq!(stage.post(&format!("{path}/fetch"), &[]).await.leads_to(), (303, path.as_str()));
    assert!(stage.get(&path).await.page(200).contains("✓ Fetched "));
    stage.upstream.commit("feature<b>", &[("a", "b")], "x");
    assert_eq!(stage.post(&format!("{path}/fetch"), &[]).await.status, 303);
    let page = stage.get(&path).await.body;
    assert!(page.contains("feature&lt;b&gt;") && !page.contains("<b>"), "the new branch is suggested: {page}");
    std::fs::rename(stage.upstream.path(), stage.upstream.path().with_extension("away")).expect("it can be moved");
    assert_eq!(stage.post(&format!("{path}/fetch"), &[]).await.leads_to(), (303, path.as_str()));
    let page = stage.get(&path).await.body;
    assert!(page.contains("✕ Fetch failed ") && page.contains("→ "), "{page}");
}

#[tokio::test]
async fn a_repository_moves_to_the_trash_with_its_tasks_and_back_and_away_for_good() {
    let (stage, env) = Stage::with_repository().await;
    let (task, older) = (stage.task(&env, "Fix it").await, stage.task(&env, "Older <i>").await);
    assert_eq!(stage.post(&format!("/tasks/{older}/remove"), &[]).await.status, 303);
    let path = format!("/environments/{env}");
    let question = stage.get(&format!("{path}/remove")).await;
    assert!(question.page(200).contains("Remove app?") && question.body.contains("1 task</strong>"), "{}", question.body);
    assert_eq!(stage.user().environments().items.len(), 1, "opening the question changes nothing");
    assert_eq!(stage.post(&format!("{path}/remove"), &[]).await.leads_to(), (303, "/environments"));
    stage.get(&path).await.page(404);
    stage.get(&format!("/tasks/{task}")).await.page(404);
    let trash = stage.get("/trash").await;
    let page = trash.page(200);
    assert_eq!(page.matches("class=\"thing\"").count(), 3, "{page}");
    assert_eq!(page.matches("Restore its repository first: app").count(), 2, "{page}");
    assert!(page.contains("Older &lt;i&gt;") && page.contains(&format!("/trash/environments/{env}/restore")), "{page}");
    assert_eq!(
        stage.post(&format!("/trash/tasks/{older}/restore"), &[]).await.page(409).matches("restore the repository first").count(),
        1
    );
    assert_eq!(stage.post(&format!("/trash/environments/{env}/restore"), &[]).await.leads_to(), (303, path.as_str()));
    stage.get(&format!("/tasks/{task}")).await.page(200);
    stage.get(&format!("/tasks/{older}")).await.page(404);
    let one = stage.get(&format!("/trash/delete?id={older}")).await;
    let page = one.page(200);
    assert!(page.contains("You cannot undo this.") && page.contains(&format!("action=\"/trash/delete?id={older}\"")), "{page}");
    assert!(stage.get("/trash").await.page(200).contains(older.as_str()), "opening the question changes nothing");
    for unknown in ["x", "%22%3E%3Cscript%3E", "..%2f"] {
        assert!(!stage.get(&format!("/trash/delete?id={unknown}")).await.page(404).contains("<script>"), "{unknown}");
    }
    assert_eq!(stage.post(&format!("/trash/delete?id={older}"), &[]).await.leads_to(), (303, "/trash"));
    assert!(stage.get("/trash").await.page(200).contains("Trash is empty."));
    stage.get("/trash/delete").await.page(404);
}

#[tokio::test]
async fn the_settings_say_whether_tasks_can_run_and_what_uses_the_disk() {
    let (stage, env) = Stage::with_repository().await;
    stage.task(&env, "Large <b>task</b>").await;
    let page = stage.get("/settings").await;
    let page = page.page(200);
    for expected in [
        "✓ Ready to run tasks.",
        "/bin/true",
        "Largest tasks",
        "Large &lt;b&gt;task",
        "Firefox on Linux",
        "Notifications are off.",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    let checked = stage.get("/settings/check").await;
    let page = checked.page(200);
    assert!(page.contains("id=\"findings\"") && page.contains("Run checks again") && page.contains("<strong>"), "{page}");
}

#[tokio::test]
async fn notification_settings_are_saved_whole_or_refused_with_the_reason() {
    let stage = Stage::new().await;
    let path = "/settings/notices";
    let fields = [
        ("ntfy_url", "https://ntfy.example/topic?auth=hunter2"),
        ("webhook_url", ""),
        ("webhook_secret", "hush-hush"),
        ("tell_failed", "yes"),
        ("from", "22:00"),
        ("to", "07:00"),
        ("zone", "Europe/Berlin"),
        ("let_failed", "yes"),
        ("public_url", "https://box.example"),
    ];
    assert_eq!(stage.post(path, &fields).await.leads_to(), (303, path));
    let page = stage.get(path).await;
    let page = page.page(200);
    assert!(!page.contains("hunter2") && !page.contains("hush-hush"), "{page}");
    for expected in [
        "https://ntfy.example/topic?***",
        "value=\"22:00\"",
        "value=\"Europe/Berlin\"",
        "Leave empty to keep the secret",
        "No devices receive notifications yet.",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    assert!(stage.get("/settings").await.page(200).contains("Notifications are on."));
    for (name, wrong) in [
        ("ntfy_url", "http://ntfy.example/topic"),
        ("ntfy_url", "javascript:alert(1)"),
        ("webhook_url", "https://***@hooks.example"),
        ("public_url", "ftp://box.example"),
        ("zone", "Nowhere/<b>"),
        ("from", "25:00"),
        ("to", ""),
    ] {
        let fields: Vec<_> = fields.iter().copied().filter(|(usual, _)| *usual != name).chain([(name, wrong)]).collect();
        let refused = stage.post(path, &fields).await;
        assert_eq!(refused.status, 422, "{name}={wrong}: {}", refused.body);
        assert!(!refused.page(422).contains("<b>"), "{name}={wrong}: {}", refused.body);
    }
    assert!(stage.get(path).await.page(200).contains("https://ntfy.example/topic?***"), "nothing was changed");
    stage.post("/settings/notices/carrier-pigeon/test", &[]).await.page(404);
    stage.post("/settings/notices/webhook/test", &[]).await.page(409);
    for (form, status) in [("devices/x/test", 409), ("devices/x/remove", 303)] {
        let reply = stage.post(&format!("{path}/{form}"), &[]).await;
        assert_eq!(reply.status, status, "{form}: {}", reply.body);
    }
    let device = [("endpoint", "http://127.0.0.1/x"), ("p256dh", "x"), ("auth", "y"), ("server_key", "z")];
    let refused = stage.post(&format!("{path}/devices"), &device).await;
    assert!(refused.page(422).contains("invalid browser keys"), "{}", refused.body);
    assert!(stage.get(path).await.page(200).contains("No devices receive notifications yet."));
}
