//! Changes that an agent tries to hide, and changes that are too large. A reviewer sees everything, or reads what is not shown and
//! why.

use std::fmt::Write as _;

use testkit::browser::{DESK, PHONE, Screen};

use super::Visit;

/// An expression for the changed lines as a reviewer sees them.
const TEXT: &str = "[...document.querySelectorAll('.diff .code')].map((it) => it.innerText).join('\\n')";

impl Visit {
    async fn hidden(&mut self, task: &str, query: &str) -> String {
        self.open(&format!("/tasks/{task}/changes{query}")).await;
        self.browser.until("document.readyState === 'complete' && document.querySelector('form.review')").await;
        self.browser.value(TEXT).await.as_str().expect("a text").to_owned()
    }
}

#[tokio::test]
async fn everything_that_runs_is_shown() {
    let mut stage = Visit::new().await;
    // These are control sequences, in `printf` notation, that make a terminal hide the code that follows them.
    let openers =
        ["\\033]", "\\033P", "\\033X", "\\033^", "\\033_", "\\302\\220", "\\302\\230", "\\302\\235", "\\302\\236", "\\302\\237"];
    let mut script = "begin; ".to_owned();
    for (n, opener) in openers.iter().enumerate() {
        let _ = write!(script, "printf \": '{opener}'; echo evil-{n}; : '\\007' done\\n\" >> run.sh; ");
        let _ = write!(script, "printf '/* {opener} */ evil_{n}(); /* \\007 */\\n' >> run.c; ");
    }
    script += "printf 'safe\\rrm -rf x\\nuser\\342\\200\\256txt\\nzero\\342\\200\\213width\\n␛ <U+202E> \\377\\n' >> odd.txt; ";
    script += "printf 'one\\r\\ntwo\\r\\n' > crlf.txt; printf 'echo a\\n# \\000\\necho after-nul\\n' > nul.sh; ";
    script += "printf '*.utf working-tree-encoding=UTF-7\\n*.c -diff\\n' > .gitattributes; echo 'x+AGE-' > a.utf; ";
    script += "echo x > \"$(printf 'na\\033]me\\nsecond')\"; sh run.sh > /dev/null; end done";
    let task = stage.task(&script).await;
    for (screen, view) in [(PHONE, "unified"), (Screen { dark: true, ..DESK }, "split")] {
        stage.browser.look(screen).await;
        let text = stage.hidden(&task, &format!("?view={view}")).await;
        for n in 0..openers.len() {
            assert!(
                text.contains(&format!("echo evil-{n}; : '␇' done")) && text.contains(&format!("*/ evil_{n}(); /*")),
                "{text}"
            );
        }
        for words in
            ["safe␍rm -rf x", "user<U+202E>txt", "zero<U+200B>width", "␛ <U+202E> <0xFF>", "one␍", "# ␀", "echo after-nul"]
        {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(!text.contains(['\u{1b}', '\u{9d}', '\u{202e}', '\u{200b}']));
        // Text that only looks like a mark is not styled as a mark.
        let marks = "[...document.querySelectorAll('[data-path=\"odd.txt\"] .unseen')].map((it) => it.textContent)";
        assert_eq!(stage.browser.value(marks).await, serde_json::json!(["␍", "<U+202E>", "<U+200B>", "<0xFF>"]));
        let flags = |path: &str| {
            format!(
                "[...document.querySelectorAll(`[data-path=\"{path}\"] summary .flag`)].map((it) => it.textContent).join('; ')"
            )
        };
        let hidden = "contains control or invisible characters";
        for (path, expected) in [
            ("run.sh", hidden),
            ("run.c", hidden),
            ("odd.txt", hidden),
            ("nul.sh", hidden),
            ("crlf.txt", ""),
            ("a.utf", "the file on disk differs from this text: encoding UTF-7"),
            ("na␛]me␊second", "the name contains control or invisible characters"),
        ] {
            assert_eq!(stage.browser.value(&flags(path)).await, expected, "{path}");
        }
        let wide = stage.browser.value("document.documentElement.scrollWidth <= innerWidth").await;
        assert_eq!(wide, true, "the page does not scroll sideways");
        stage.accessible().await;
    }
    stage.content();
}

#[tokio::test]
async fn a_worktree_that_says_something_else_is_noted() {
    let mut stage = Visit::new().await;
    let task = stage.task("begin; echo one > changed.sh; echo same > same.sh; echo two > linked.sh; end done").await;
    let tree = stage.home.path().join("tasks").join(&task).join("worktree");
    fs_err::write(tree.join("changed.sh"), "six\n").expect("a file");
    fs_err::remove_file(tree.join("linked.sh")).expect("the file exists");
    fs_err::os::unix::fs::symlink("same.sh", tree.join("linked.sh")).expect("a link");
    stage.hidden(&task, "").await;
    let flags =
        "[...document.querySelectorAll('.file')].map((it) => [it.dataset.path, it.querySelector('.flag')?.textContent ?? ''])";
    let other = "the file on disk differs from this text: the worktree contains a different version";
    assert_eq!(
        stage.browser.value(flags).await,
        serde_json::json!([["changed.sh", other], ["linked.sh", other], ["same.sh", ""]])
    );
    stage.content();
}

#[tokio::test]
async fn too_many_files_and_too_large_ones_leave_the_rest_usable() {
    let mut stage = Visit::new().await;
    let edit = serde_json::json!({ "commits": { "max_file_mb": 100 } });
    assert_eq!(stage.home.patch(&format!("/api/v1/envs/{}", stage.env), &edit).await.0, 200);
    let script = "begin; mkdir f; i=0; while [ $i -lt 600 ]; do i=$((i+1)); echo $i > f/$(printf %03d $i).txt; done; \
                  truncate -s 40M large.bin; echo last > z.txt; end done";
    let task = stage.task(script).await;
    stage.hidden(&task, "").await;
    let heads = "document.querySelectorAll('.file').length";
    assert_eq!(stage.browser.value(heads).await, 500);
    assert!(stage.text().await.contains("602 files (500 on this page)"));
    let size = stage.browser.value("performance.getEntriesByType('navigation')[0].decodedBodySize").await;
    assert!(size.as_u64().is_some_and(|size| size < 1_500_000), "{size}");
    assert_eq!(
        stage.browser.value("!!document.querySelector('[data-all-viewed]')").await,
        false,
        "the first page has no button that marks all changes as viewed"
    );
    let text = stage.hidden(&task, "?page=2").await;
    assert!(text.contains("last"), "{text}");
    assert_eq!(stage.browser.value(heads).await, 102);
    let note = "document.querySelector('[data-path=\"large.bin\"] .flag').textContent";
    assert_eq!(stage.browser.value(note).await, "40.0 MiB, too large to show");
    assert_eq!(stage.browser.value("!!document.querySelector('[data-all-viewed]')").await, true);
    // A comment can be on a file of any page.
    stage.browser.click("[data-path='z.txt'] tr.add .code, [data-path='z.txt'] td.add").await;
    stage.browser.write(".note textarea", "Why?").await;
    stage.browser.click(".composer button").await;
    stage.browser.until("document.querySelectorAll('.run-head').length === 2").await;
    let prompt = stage.home.wait_for(&format!("/api/v1/tasks/{task}"), |task| task["runs"][1].is_object()).await;
    assert!(prompt["runs"][1]["prompt"].as_str().is_some_and(|prompt| prompt.contains("z.txt, line 1:\n> +last\n\nWhy?")));
    stage.content();
}
