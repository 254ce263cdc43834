//! Stored logins, and what becomes of the copies that agents had.

use std::path::Path;

use super::account::tests::{NOW, login};
use super::*;
use crate::store::Layout;

fn home() -> (tempfile::TempDir, CodexHome) {
    let folder = tempfile::tempdir().expect("a folder");
    let home = CodexHome::open(&Layout::new(folder.path())).expect("made");
    (folder, home)
}

fn now() -> Timestamp {
    Timestamp::from_second(NOW).expect("a time")
}

/// A home with an account, and the copy of a run.
fn lent() -> (tempfile::TempDir, CodexHome, LoginCopy) {
    let (folder, home) = home();
    Login::store_copy(&home, login("acc-1", "r-1", NOW + 100).to_string().as_bytes()).expect("a login");
    let copy = of_a_run(folder.path(), "auth");
    assert_eq!(Login::lend(&home, &copy, now()).expect("lent"), None);
    (folder, home, copy)
}

fn of_a_run(folder: &Path, name: &str) -> LoginCopy {
    LoginCopy::folder(folder.join(name))
}

fn refresh_token(text: Option<Vec<u8>>) -> String {
    let file: Value = serde_json::from_slice(&text.expect("there")).expect("JSON");
    file["tokens"]["refresh_token"].as_str().unwrap_or_default().to_owned()
}

fn write(copy: &LoginCopy, login: &Value) {
    fs_err::write(copy.path().join("auth.json"), login.to_string()).expect("written");
}

#[test]
fn a_key_is_stored_in_the_form_that_codex_reads() {
    let (_folder, home) = home();
    assert_eq!(Login::stored(&home).expect("nothing"), None);
    Login::store_key(&home, "sk-test-1234\n").expect("a key");
    let stored = Login::stored(&home).expect("readable").expect("there");
    assert_eq!(stored, Login::ApiKey(Secret::new("sk-test-1234")));
    assert_eq!(stored.describe(), "an API key");
    let file: Value = serde_json::from_slice(&home.read_login().expect("read").expect("there")).expect("JSON");
    assert_eq!(file, json!({ "auth_mode": "apikey", "OPENAI_API_KEY": "sk-test-1234" }));
}

#[test]
fn what_is_no_key_is_refused_and_not_repeated() {
    let (_folder, home) = home();
    for text in ["", "abc", "two words", "a\u{7}bcdef", &"x".repeat(KEY_LIMIT_BYTES + 1)] {
        let problem = Login::store_key(&home, text).expect_err("no key");
        assert!(!problem.hints.is_empty() && (text.is_empty() || !problem.detail.contains(text)), "{problem:?}");
    }
    assert_eq!(Login::stored(&home).expect("nothing"), None);
}

#[test]
fn an_account_is_told_from_a_key_and_its_tokens_are_known_to_be_secret() {
    let (_folder, home) = home();
    let text = br#"{"auth_mode":"chatgpt","OPENAI_API_KEY":null,"tokens":{"id_token":"i-1","access_token":"a-1","refresh_token":"r-1","account_id":"x"}}"#;
    let login = Login::store_copy(&home, text).expect("a login");
    assert_eq!(login.secrets().iter().map(Secret::expose).collect::<Vec<_>>(), ["i-1", "a-1", "r-1"]);
    assert!(!format!("{login:?}").contains("a-1"), "{login:?}");
    let kept = home.read_login().expect("read").expect("there");
    for other in [&b"{}"[..], b"[]", b"not JSON", br#"{"OPENAI_API_KEY":null}"#] {
        assert!(Login::store_copy(&home, other).is_err());
    }
    assert_eq!(home.read_login().expect("read"), Some(kept), "what was there stays");
}

#[test]
fn a_key_beside_an_accounts_tokens_is_not_kept() {
    let (_folder, home) = home();
    let mut file = login("acc-1", "r-1", NOW);
    file["OPENAI_API_KEY"] = json!("sk-of-the-account");
    Login::store_copy(&home, file.to_string().as_bytes()).expect("a login");
    let kept = home.read_login().expect("read").expect("there");
    assert!(!String::from_utf8_lossy(&kept).contains("sk-of-the-account"));
}

#[test]
fn tokens_that_codex_renewed_are_kept_and_given_to_the_others() {
    let (folder, home, copy) = lent();
    let other = of_a_run(folder.path(), "other");
    Login::lend(&home, &other, now()).expect("lent");
    write(&copy, &login("acc-1", "r-2", NOW + 500));
    Login::renew(&home, &copy, now()).expect("looked");
    Login::renew(&home, &other, now()).expect("looked");
    assert_eq!(refresh_token(home.read_login().expect("read")), "r-2");
    assert_eq!(refresh_token(other.read().expect("read")), "r-2", "while it runs");
    write(&other, &login("acc-1", "r-3", NOW + 900));
    for copy in [&copy, &other] {
        assert_eq!(Login::take_back(&home, copy, now()).expect("taken"), None);
        assert!(!copy.path().exists());
    }
    assert_eq!(refresh_token(home.read_login().expect("read")), "r-3");
    assert_eq!(refresh_token(home.host_copy().read().expect("read")), "r-3", "for a Codex on the host");
}

#[test]
fn what_an_agent_makes_of_its_copy_stays_with_it() {
    for evil in [json!({ "OPENAI_API_KEY": "sk-evil" }), login("acc-2", "r-evil", NOW + 500), login("acc-1", "r-evil", NOW + 100)]
    {
        let (_folder, home, copy) = lent();
        let before = home.read_login().expect("read");
        write(&copy, &evil);
        Login::renew(&home, &copy, now()).expect("looked");
        let refused = Login::take_back(&home, &copy, now()).expect("taken").expect("refused");
        assert!(!refused.why.is_empty() && refused.kept.join("auth.json").exists(), "{refused:?}");
        assert_eq!(home.read_login().expect("read"), before, "{evil}");
        assert_eq!(Login::lend(&home, &copy, now()).expect("lent"), None);
        assert_eq!(copy.read().expect("read"), before, "the next run has the right one");
    }
}

#[test]
fn another_login_in_the_middle_of_a_run_is_no_fault_of_the_run() {
    let (_folder, home, copy) = lent();
    write(&copy, &login("acc-1", "r-2", NOW + 500));
    Login::store_copy(&home, login("acc-2", "r-9", NOW + 100).to_string().as_bytes()).expect("a login");
    Login::renew(&home, &copy, now()).expect("looked");
    assert_eq!(refresh_token(copy.read().expect("read")), "r-2", "the run keeps its account");
    assert_eq!(Login::take_back(&home, &copy, now()).expect("taken"), None);
    assert_eq!(refresh_token(home.read_login().expect("read")), "r-9");
}

#[test]
fn the_login_of_an_older_version_is_taken_over_once() {
    let (_folder, home) = home();
    home.shared_copy().put(login("acc-1", "r-1", NOW + 100).to_string().as_bytes()).expect("put");
    assert_eq!(Login::stored(&home).expect("read").map(|login| login.describe()), Some("a ChatGPT account"), "before the start");
    assert!(Login::adopt(&home, now()).expect("adopted").is_some());
    // A container of that version goes on: it renews tokens, or plants something.
    write(&home.shared_copy(), &login("acc-1", "r-2", NOW + 500));
    assert_eq!(Login::adopt(&home, now()).expect("looked"), None);
    assert_eq!(refresh_token(home.read_login().expect("read")), "r-2");
    write(&home.shared_copy(), &json!({ "OPENAI_API_KEY": "sk-evil" }));
    assert_eq!(Login::adopt(&home, now()).expect("looked"), None);
    assert_eq!(refresh_token(home.read_login().expect("read")), "r-2");
}

#[test]
fn what_is_planted_where_nobody_is_logged_in_is_no_login() {
    let (_folder, home) = home();
    Login::adopt(&home, now()).expect("nothing to take over");
    home.shared_copy().put(br#"{"OPENAI_API_KEY":"sk-evil"}"#).expect("put");
    Login::adopt(&home, now()).expect("looked");
    assert_eq!(Login::stored(&home).expect("read"), None);
}
