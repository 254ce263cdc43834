//! Tests stored logins, and what happens to the copies that agents had. All files are in temporary folders, and Codex is not
//! started.

use std::path::Path;

use store::Layout;

use super::account::tests::{NOW, login};
use super::*;

fn home() -> (tempfile::TempDir, CodexHome) {
    let folder = tempfile::tempdir().expect("a folder");
    let home = CodexHome::open(&Layout::new(folder.path())).expect("made");
    (folder, home)
}

fn now() -> Timestamp {
    Timestamp::from_second(NOW).expect("a time")
}

/// Returns a home with an account, and the copy of a run.
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
        assert!(!problem.report.hints.is_empty() && (text.is_empty() || !problem.report.message.contains(text)), "{problem:?}");
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
    assert_eq!(home.read_login().expect("read"), Some(kept), "the stored login is unchanged");
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
fn renewed_tokens_are_stored_and_given_to_containers_that_are_running() {
    let (folder, home, copy) = lent();
    let renewed = LoginCopy::file(folder.path().join("renewed.json"));
    renewed.put(login("acc-1", "r-2", NOW + 500).to_string().as_bytes()).expect("put");
    assert!(Login::renew(&home, &renewed, now()).expect("looked"));
    assert_eq!(refresh_token(home.read_login().expect("read")), "r-2");
    assert_eq!(refresh_token(home.host_copy().read().expect("read")), "r-2", "the host gets the renewed token");
    Login::pass_on(&home, &copy).expect("looked");
    let given: Value = serde_json::from_slice(&copy.read().expect("read").expect("there")).expect("JSON");
    assert_eq!(given["tokens"]["access_token"], login("acc-1", "r-2", NOW + 500)["tokens"]["access_token"]);
    assert!(!given.to_string().contains("r-2"), "a container has no refresh token");
    assert_eq!(Login::take_back(&home, &copy, now()).expect("taken"), None);
    assert!(!copy.path().exists());
}

#[test]
fn a_codex_on_the_host_renews_its_tokens_itself() {
    let (_folder, home, _copy) = lent();
    home.host_copy().put(login("acc-1", "r-2", NOW + 500).to_string().as_bytes()).expect("put");
    assert_eq!(Login::lend(&home, &home.host_copy(), now()).expect("looked"), None);
    assert_eq!(refresh_token(home.read_login().expect("read")), "r-2");
    home.host_copy().put(br#"{"OPENAI_API_KEY":"sk-evil"}"#).expect("put");
    assert!(Login::lend(&home, &home.host_copy(), now()).expect("looked").is_some());
    assert_eq!(refresh_token(home.host_copy().read().expect("read")), "r-2");
}

#[test]
fn what_an_agent_makes_of_its_copy_stays_with_it() {
    // The last copy has tokens that look renewed. Only the provider can tell whether they are real.
    for evil in [
        json!({ "OPENAI_API_KEY": "sk-evil" }),
        login("acc-2", "r-evil", NOW + 500),
        login("acc-1", "r-evil", NOW + 100),
        login("acc-1", "r-evil", NOW + 500),
    ] {
        let (_folder, home, copy) = lent();
        let (before, own) = (home.read_login().expect("read"), copy.read().expect("read"));
        write(&copy, &evil);
        Login::pass_on(&home, &copy).expect("looked");
        let refused = Login::take_back(&home, &copy, now()).expect("taken").expect("refused");
        assert!(!refused.why.is_empty() && refused.kept.join("auth.json").exists(), "{refused:?}");
        assert_eq!(home.read_login().expect("read"), before, "{evil}");
        assert_eq!(Login::lend(&home, &copy, now()).expect("lent"), None);
        assert_eq!(copy.read().expect("read"), own, "the next run gets the right copy");
    }
}

#[test]
fn another_login_in_the_middle_of_a_run_is_no_fault_of_the_run() {
    let (_folder, home, copy) = lent();
    let own = copy.read().expect("read");
    Login::store_copy(&home, login("acc-2", "r-9", NOW + 100).to_string().as_bytes()).expect("a login");
    Login::pass_on(&home, &copy).expect("looked");
    assert_eq!(copy.read().expect("read"), own, "the run keeps its account");
    assert_eq!(Login::take_back(&home, &copy, now()).expect("taken"), None);
    assert_eq!(refresh_token(home.read_login().expect("read")), "r-9");
}

#[test]
fn the_login_of_an_older_version_is_taken_over_once() {
    let (_folder, home) = home();
    home.shared_copy().put(login("acc-1", "r-1", NOW + 100).to_string().as_bytes()).expect("put");
    assert_eq!(
        Login::stored(&home).expect("read").map(|login| login.describe()),
        Some("a ChatGPT account"),
        "the old login is found before it is adopted"
    );
    assert!(Login::adopt(&home).expect("adopted").is_some());
    // A container of that version is still running, and writes to the folder.
    for evil in [login("acc-1", "r-evil", NOW + 500), json!({ "OPENAI_API_KEY": "sk-evil" })] {
        write(&home.shared_copy(), &evil);
        assert_eq!(Login::adopt(&home).expect("looked"), None);
        assert_eq!(refresh_token(home.read_login().expect("read")), "r-1");
    }
}

#[test]
fn what_is_planted_where_nobody_is_logged_in_is_no_login() {
    let (_folder, home) = home();
    Login::adopt(&home).expect("there is no login to adopt");
    home.shared_copy().put(br#"{"OPENAI_API_KEY":"sk-evil"}"#).expect("put");
    Login::adopt(&home).expect("looked");
    assert_eq!(Login::stored(&home).expect("read"), None);
}

#[test]
fn a_login_that_is_not_an_object_is_never_used() {
    for text in ["[]", "7", "\"text\"", "null", "{", ""] {
        let (folder, home) = home();
        let copy = of_a_run(folder.path(), "auth");
        fs_err::write(folder.path().join("login.json"), text).expect("written");
        assert_eq!(Login::parse(text.as_bytes()), None, "{text}");
        Login::stored(&home).expect_err(text);
        assert_eq!(Login::due(&home, now()).expect("readable"), Due::No, "{text}");
        assert_eq!(Login::lend(&home, &copy, now()).expect("lent as it is"), None, "{text}");
        Login::pass_on(&home, &copy).expect("nothing to pass on");
        assert!(!Login::renew(&home, &home.host_copy(), now()).expect("nothing to renew"), "{text}");
    }
}

#[test]
fn a_key_next_to_tokens_decides_by_the_mode() {
    let check = |text: &str, expect: Option<&str>| {
        assert_eq!(Login::parse(text.as_bytes()).map(|login| login.describe()), expect, "{text}");
    };
    check(r#"{"OPENAI_API_KEY":"sk-1"}"#, Some("an API key"));
    check(r#"{"OPENAI_API_KEY":"sk-1","tokens":{"access_token":"a"}}"#, Some("a ChatGPT account"));
    check(r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-1","tokens":{"access_token":"a"}}"#, Some("an API key"));
    check(r#"{"auth_mode":"apikey","tokens":{"access_token":"a"}}"#, None);
    check(r#"{"OPENAI_API_KEY":"","tokens":{"access_token":""}}"#, None);
    check(r#"{"OPENAI_API_KEY":7}"#, None);
    check(r#"{"tokens":[]}"#, None);
}

#[test]
fn a_key_is_accepted_from_its_shortest_to_its_longest_form() {
    let (_folder, home) = home();
    let check = |length: usize, is_accepted: bool| {
        assert_eq!(Login::store_key(&home, &"k".repeat(length)).is_ok(), is_accepted, "{length}");
    };
    check(model::secret::SHORTEST_SECRET_BYTES - 1, false);
    check(model::secret::SHORTEST_SECRET_BYTES, true);
    check(KEY_LIMIT_BYTES, true);
    check(KEY_LIMIT_BYTES + 1, false);
}
