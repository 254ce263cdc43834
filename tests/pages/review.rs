//! Reviewing: coloured lines, comments that quote their code, changes since the last review, images, and large files that
//! load when they are opened. The tests use a phone, and a desktop with only the keyboard.

use serde_json::{Value, json};
use testkit::browser::{DESK, PHONE, Screen};

use super::Visit;

/// Images of 2×2 and 3×3 pixels.
const TWO: &str = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEElEQVR4nGP4z8AARAwQCgAf7gP9i18U1AAAAABJRU5ErkJggg==";
const THREE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAMAAAADCAIAAADZSiLoAAAAD0lEQVR4nGNg+M8ARVhYAIaXCPjDmz7KAAAAAElFTkSuQmCC";

impl Visit {
    async fn changes(&mut self, task: &str, query: &str) {
        self.open(&format!("/tasks/{task}/changes{query}")).await;
        self.browser.until("document.readyState === 'complete' && document.querySelector('form.review')").await;
    }

    async fn value(&mut self, expression: &str) -> Value {
        self.browser.value(expression).await
    }

    /// Waits for a task's second run, and returns its prompt.
    async fn second_prompt(&mut self, task: &str) -> String {
        self.browser.until("document.querySelectorAll('.run-head').length === 2").await;
        let task = self.home.wait_for(&format!("/api/v1/tasks/{task}"), |task| task["runs"][1].is_object()).await;
        task["runs"][1]["prompt"].as_str().expect("a prompt").to_owned()
    }
}

#[tokio::test]
async fn on_a_phone_two_lines_are_commented_on_and_sent_together() {
    let mut stage = Visit::new().await;
    stage.browser.look(PHONE).await;
    let task = stage.task("begin; printf 'fn one() {}\\nfn two() {}\\nfn three() {}\\n' > work.rs; end done").await;
    stage.changes(&task, "").await;
    assert_eq!(stage.value("document.querySelector('tr.add .hl-keyword').textContent").await, "fn");
    stage.browser.click("tr.add .code").await;
    assert_eq!(stage.value("document.querySelector('.note .where').textContent").await, "work.rs:1");
    stage.browser.write(".note textarea", "Why one?").await;
    stage.value("document.querySelectorAll('tr.add')[1].querySelector('.code').click()").await;
    assert_eq!(stage.value("document.querySelectorAll('.note').length").await, 2);
    stage.value("document.querySelectorAll('tr.add')[2].querySelector('.code').click()").await;
    assert_eq!(
        stage.value("document.querySelectorAll('.note').length").await,
        2,
        "an empty comment box is replaced by the next one"
    );
    stage.browser.type_text("Three is too many.").await;
    let words = "document.querySelector('.composer button').textContent";
    assert_eq!(stage.value(words).await, "Send 2 comments");
    stage.changes(&task, "").await;
    assert_eq!(stage.value(words).await, "Send 2 comments", "drafts survive a reload");
    assert_eq!(
        stage.value("document.querySelectorAll('tr.add')[2].nextSibling.querySelector('textarea').value").await,
        "Three is too many."
    );
    let wide = stage.value("document.documentElement.scrollWidth").await;
    assert!(wide.as_u64().is_some_and(|wide| wide <= 390), "the page does not scroll sideways: {wide}");
    stage.browser.click(".composer button").await;
    assert_eq!(
        stage.second_prompt(&task).await,
        "Comments on your changes. Address each of them.\n\nwork.rs, line 1:\n> +fn one() {}\n\nWhy one?\n\n\
         work.rs, line 3:\n> +fn three() {}\n\nThree is too many."
    );
    stage.changes(&task, "").await;
    assert_eq!(stage.value(words).await, "Send comments", "a sent comment is no longer a draft");
    stage.content();
}

#[tokio::test]
async fn what_is_selected_is_commented_on_as_a_whole() {
    let mut stage = Visit::new().await;
    stage.upstream.commit("main", &[("work.txt", "one\ntwo\nthree\nfour\n")], "work");
    let task = stage.task("begin; printf 'one\n2\n3\nfour\nfive\n' > work.txt; echo x > other.txt; end done").await;
    // Select from the start of one line to the start of another.
    let select = |from: &str, to: &str| {
        format!(
            "(() => {{ const text = (words) => {{ const code = [...document.querySelectorAll('.diff .code')] \
             .find((it) => it.textContent.replace(/^[-−+ ]/, '') === words); \
             return document.createTreeWalker(code, NodeFilter.SHOW_TEXT).nextNode(); }}; \
             document.activeElement.blur(); getSelection().setBaseAndExtent(text('{from}'), 0, text('{to}'), 1); }})()"
        )
    };
    let pill = "!document.querySelector('#selected').hidden";
    let place = "document.querySelector('.note:focus-within .where').textContent";
    for (screen, query) in [(PHONE, ""), (DESK, "?view=split")] {
        stage.browser.look(screen).await;
        stage.changes(&task, query).await;
        assert_eq!(stage.value(pill).await, false, "the button is hidden while nothing is selected");
        for (from, to, expected) in [
            ("2", "five", "work.txt:2–5"),
            ("two", "three", "work.txt:2–3 (old)"),
            ("one", "3", "work.txt:1–3"),
            ("x", "x", "other.txt:1"),
        ] {
            stage.value(&select(from, to)).await;
            stage.browser.until(pill).await;
            let tap = "document.querySelector('#selected').dispatchEvent(new PointerEvent('pointerdown', { cancelable: true }))";
            assert_eq!(stage.value(tap).await, false, "the tap does not clear the selection");
            assert_eq!(stage.value(place).await, expected, "{query} {from} to {to}");
            stage.browser.until(&format!("!({pill})")).await;
        }
    }
    // On a keyboard, a key starts the comment. Text outside of a file's lines cannot be commented on.
    stage.value(&select("one", "four")).await;
    stage.browser.until(pill).await;
    stage.browser.press("c").await;
    assert_eq!(stage.value(place).await, "work.txt:1–4");
    stage.browser.press("Escape").await;
    stage.value("getSelection().selectAllChildren(document.querySelector('h1'))").await;
    assert_eq!(
        stage.value("new Promise((done) => setTimeout(done, 50)).then(() => document.querySelector('#selected').hidden)").await,
        true
    );
    stage.content();
}

#[tokio::test]
async fn at_a_desk_the_keyboard_is_enough() {
    let mut stage = Visit::new().await;
    stage.browser.look(DESK).await;
    let task = stage.task("begin; printf 'a\\nb\\nc\\n' > one.txt; echo x > two.txt; end done").await;
    stage.changes(&task, "").await;
    stage.browser.press("?").await;
    stage.browser.until("document.querySelector('#keys').open").await;
    stage.browser.press("Escape").await;
    stage.browser.until("!document.querySelector('#keys').open").await;
    stage.browser.press("j").await;
    assert_eq!(stage.value("document.querySelector('.chosen').dataset.path").await, "one.txt");
    for key in ["j", "j", "j", "k", "c"] {
        stage.browser.press(key).await;
    }
    assert_eq!(stage.value("document.querySelector('.note .where').textContent").await, "one.txt:2");
    stage.browser.type_text("j is a letter").await;
    for key in ["Escape", "j", "Shift+C"] {
        stage.browser.press(key).await;
    }
    assert_eq!(stage.value("document.querySelector('.note:focus-within .where').textContent").await, "one.txt:2–3");
    stage.browser.type_text("both").await;
    for key in ["Escape", "n", "x"] {
        stage.browser.press(key).await;
    }
    assert_eq!(
        stage.value("[...document.querySelectorAll('[data-viewed]')].map((it) => it.checked)").await,
        json!([false, true])
    );
    assert_eq!(stage.value("document.querySelector('#file-1 details').open").await, false);
    stage.browser.press("/").await;
    stage.browser.type_text("Thanks").await;
    stage.browser.press("Control+Enter").await;
    assert_eq!(
        stage.second_prompt(&task).await,
        "Comments on your changes. Address each of them.\n\none.txt, line 2:\n> +b\n\nj is a letter\n\n\
         one.txt, lines 2 to 3:\n> +b\n> +c\n\nboth\n\nThanks"
    );
    stage.content();
}

#[tokio::test]
async fn a_line_is_commented_on_by_its_number() {
    let mut stage = Visit::new().await;
    let task = stage.task("begin; echo new > README.md; end done").await;
    stage.changes(&task, "?view=unified").await;
    stage.browser.click(".by-number summary").await;
    stage.browser.write(".by-number input[name=first]", "1").await;
    stage.value("document.querySelector('.by-number select').value = 'old'").await;
    stage.browser.write(".by-number textarea", "Keep it.").await;
    stage.browser.click(".composer button").await;
    let prompt = stage.second_prompt(&task).await;
    assert!(prompt.contains("README.md, line 1 (before your changes):\n> -") && prompt.ends_with("\n\nKeep it."), "{prompt}");
    stage.content();
}

#[tokio::test]
async fn since_somebody_looked_only_what_is_new_is_shown() {
    let mut stage = Visit::new().await;
    let task = stage.task("begin; echo one > one.txt; end done").await;
    let files = "[...document.querySelectorAll('.file')].map((it) => it.dataset.path)";
    stage.changes(&task, "?since=viewed").await;
    assert!(stage.text().await.contains("have not reviewed"), "the page says that the changes have not been reviewed");
    assert_eq!(stage.value(files).await, json!(["one.txt"]));
    let head = "document.querySelector('[data-all-viewed] [name=head]').value";
    stage.value(&format!("{head} = '{}'", "1".repeat(40))).await;
    stage.browser.click("[data-all-viewed] button").await;
    stage.browser.until("document.body.innerText.includes('the commit is not on this task')").await;
    stage.browser.complaints.clear();
    stage.changes(&task, "").await;
    stage.value("window.isBefore = true").await;
    stage.browser.click("[data-all-viewed] button").await;
    stage.browser.until("!window.isBefore && location.search === '' && document.querySelector('[data-viewed]')?.checked").await;
    stage.changes(&task, "?since=viewed").await;
    assert!(stage.text().await.contains("No changes."));
    stage.resume(&task, "begin; echo two > two.txt; end done").await;
    stage.changes(&task, "?since=viewed").await;
    assert_eq!(stage.value(files).await, json!(["two.txt"]));
    stage.changes(&task, "").await;
    assert_eq!(
        stage.value("[...document.querySelectorAll('[data-viewed]')].map((it) => it.checked)").await,
        json!([true, false])
    );
    let output =
        stage.home.command(&["task", "diff", "--since-viewed", &task]).output().await.expect("the command can be started");
    let patch = String::from_utf8_lossy(&output.stdout);
    assert!(patch.contains("two.txt") && !patch.contains("one.txt"), "{patch}");
    stage.upstream.commit("main", &[("other.txt", "x\n")], "elsewhere");
    let (status, answer) = stage.home.post(&format!("/api/v1/tasks/{task}/update"), &json!({})).await;
    assert!(status < 300, "{answer}");
    let newest = stage.upstream.commit_of("main");
    stage.home.wait_for(&format!("/api/v1/tasks/{task}"), |task| task["base_sha"].as_str() == newest.as_deref()).await;
    stage.changes(&task, "?since=viewed").await;
    let text = stage.text().await;
    assert!(text.contains("rebased since your last review"), "{text}");
    assert_eq!(stage.value(files).await, json!(["other.txt", "two.txt"]), "the page also shows changes from the base");
    stage.content();
}

#[tokio::test]
async fn pictures_stand_side_by_side_and_can_do_nothing() {
    let mut stage = Visit::new().await;
    let svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\" height=\"9\"><script>window.caught=1</script></svg>";
    let task = stage
        .task(&format!("begin; echo {TWO} | base64 -d > pic.png; echo '<html>' > fake.gif; echo '{svg}' > it.svg; end done"))
        .await;
    stage.resume(&task, &format!("begin; echo {THREE} | base64 -d > pic.png; end done")).await;
    stage.changes(&task, "?run=2").await;
    stage.browser.until("[...document.images].length === 2 && [...document.images].every((it) => it.complete)").await;
    assert_eq!(stage.value("[...document.images].map((it) => it.naturalWidth)").await, json!([2, 3]));
    let captions = stage.value("[...document.querySelectorAll('figcaption')].map((it) => it.textContent)").await;
    assert_eq!(captions, json!(["Before, 73 bytes", "After, 72 bytes"]));
    let asked = |path: &str, side: &str| {
        format!(
            "fetch('/tasks/{task}/changes/image?path=' + encodeURIComponent('{path}') + '&side={side}').then((it) => \
             [it.status, it.headers.get('content-type'), it.headers.get('content-security-policy')?.split(';')[0], it.headers.get('x-content-type-options')])"
        )
    };
    assert_eq!(stage.value(&asked("pic.png", "new")).await, json!([200, "image/png", "sandbox", "nosniff"]));
    assert_eq!(stage.value(&asked("it.svg", "new")).await, json!([200, "image/svg+xml", "sandbox", "nosniff"]));
    for (path, side) in [
        ("pic.png", "old"),
        ("fake.gif", "new"),
        ("../meta.json", "new"),
        ("/etc/passwd", "new"),
        ("", "new"),
        ("README.md", "old"),
    ] {
        assert_eq!(stage.value(&asked(path, side)).await[0], 404, "{path}");
    }
    let without = format!(
        "fetch('/tasks/{task}/changes/image?path=pic.png&side=new', {{ credentials: 'omit' }}).then((it) => it.url, () => 'refused')"
    );
    let signed_out = stage.value(&without).await;
    assert!(signed_out == "refused" || signed_out.as_str().is_some_and(|url| url.contains("/sign-in")), "{signed_out}");
    stage.browser.complaints.clear();
    stage.changes(&task, "?run=1").await;
    stage.browser.until("document.querySelector('img[alt*=svg]').complete").await;
    assert_eq!(stage.value("document.querySelector('img[alt*=svg]').naturalWidth").await, 9);
    assert_eq!(
        stage.value("document.querySelector('img[alt*=gif]')?.naturalWidth ?? 0").await,
        0,
        "a file that is not an image is not shown as an image"
    );
    assert_eq!(stage.value("window.caught ?? null").await, Value::Null);
}

#[tokio::test]
async fn a_large_file_comes_when_it_is_opened() {
    let mut stage = Visit::new().await;
    let task = stage.task("begin; seq 1 20000 > big.txt; echo x > small.txt; end done").await;
    stage.changes(&task, "?view=unified").await;
    let size = stage.value("fetch(location.href).then((it) => it.text()).then((it) => it.length)").await;
    assert!(size.as_u64().is_some_and(|size| size < 300_000), "{size}");
    assert_eq!(stage.value("document.querySelectorAll('tr.add').length").await, 1);
    stage.browser.click("#file-0 summary").await;
    stage.browser.until("document.querySelectorAll('#file-0 tr.add').length === 20000").await;
    stage.value("document.querySelectorAll('#file-0 tr.add')[14999].querySelector('.code').click()").await;
    assert_eq!(stage.value("document.querySelector('.note .where').textContent").await, "big.txt:15000");
    stage.changes(&task, "/part?view=unified&path=big.txt").await;
    assert_eq!(
        stage.value("document.querySelectorAll('#file-0 tr.add').length").await,
        20000,
        "without scripts, the lines are on a separate page"
    );
    stage.content();
}

#[tokio::test]
async fn a_transcript_shows_what_changed_in_a_file_when_it_is_opened() {
    let mut stage = Visit::new().await;
    let go = stage.home.scratch().join("go");
    let change = json!({ "type": "item.completed", "item": { "id": "item_1", "type": "file_change", "status": "completed",
        "changes": [{ "path": "/x/worktree/a b.rs", "kind": "add" }] } });
    let prompt = format!("begin\ncat <<'LINE'\n{change}\nLINE\necho 'fn a() {{}}' > 'a b.rs'\nawait {}\nend done", go.display());
    let task = stage.home.task(&stage.env, &prompt).await;
    stage.open(&format!("/tasks/{task}")).await;
    stage.browser.click(".files summary").await;
    stage.browser.until("document.querySelector('.files details')?.innerText.includes('when the run ends')").await;
    fs_err::write(&go, "").expect("written");
    stage.home.settled(&task).await;
    stage.open(&format!("/tasks/{task}")).await;
    stage.browser.click(".files summary").await;
    stage.browser.until("document.querySelector('.files tr.add .hl-function')?.textContent === 'a'").await;
    stage.content();
}

#[tokio::test]
async fn a_review_with_colours_is_usable_for_everybody() {
    let mut stage = Visit::new().await;
    let code = |word: &str| format!("// {word}\n#[test]\nfn f(a: Str) -> u8 {{ call(\"text\", 42, 'c') }}\nlet {word} = 1;\n");
    let task = stage.task(&format!("begin; cat > a.rs <<'CODE'\n{}CODE\nend done", code("one"))).await;
    stage
        .resume(&task, &format!("begin; cat > a.rs <<'CODE'\n{}CODE\necho {TWO} | base64 -d > pic.png; end done", code("two")))
        .await;
    for (screen, view) in [
        (PHONE, "unified"),
        (Screen { dark: true, ..DESK }, "split"),
        (DESK, "split"),
        (Screen { dark: true, ..PHONE }, "unified"),
    ] {
        stage.browser.look(screen).await;
        stage.changes(&task, &format!("?run=2&view={view}")).await;
        let coloured = stage.value("['del', 'add'].map((it) => document.querySelector(`.${it} .hl-comment`)?.textContent)").await;
        assert_eq!(coloured, json!(["// ", "// "]));
        stage.browser.click(".diff .code").await;
        stage.value("document.querySelector('.by-number').open = true").await;
        stage.accessible().await;
        stage.value("document.querySelector('#keys').showModal()").await;
        stage.accessible().await;
    }
    stage.content();
}
