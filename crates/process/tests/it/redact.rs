//! Secrets and credentials never leave the output of a program, whatever surrounds them.

use std::borrow::Cow;

use process::{Redactor, redact_credentials};
use proptest::prelude::*;

fn check(text: &str, expect: &str) {
    assert_eq!(redact_credentials(text), expect, "{text}");
}

#[test]
fn the_user_of_an_http_url_is_masked_in_any_case() {
    check("http://t@h", "http://***@h");
    check("HTTPS://token@h", "HTTPS://***@h");
    check("Https://me:pw@h", "Https://***@h");
    check("git+https://token@h", "git+https://***@h");
}

#[test]
fn only_the_password_of_another_url_is_masked() {
    check("ssh://git@h", "ssh://git@h");
    check("ssh://git:@h", "ssh://git:***@h");
    check("ftp://me:pw@h/x", "ftp://me:***@h/x");
    check("postgres://me:pw@h:5432/db", "postgres://me:***@h:5432/db");
}

#[test]
fn every_url_of_a_text_is_masked() {
    check("https://a@h https://b@h", "https://***@h https://***@h");
    check("https://a@h,https://b@h", "https://***@h,https://***@h");
    check("x=https://h/y?u=https://t@h", "x=https://h/y?u=https://***@h");
    check(
        "'https://a@h'\"https://b@h\"<https://c@h>`https://d@h`",
        "'https://***@h'\"https://***@h\"<https://***@h>`https://***@h`",
    );
    check("https://a@h\nhttps://b@h", "https://***@h\nhttps://***@h");
}

#[test]
fn an_at_sign_that_is_not_after_a_user_stays() {
    check("https://h/me@example.org", "https://h/me@example.org");
    check("https://h?mail=me@example.org", "https://h?mail=me@example.org");
    check("https://h#me@x", "https://h#me@x");
    check("https://h:443/a@b", "https://h:443/a@b");
    check("https://h:/a@b", "https://h:/a@b");
    check("https://[::1]:8080/a@b", "https://[::1]:8080/a@b");
}

#[test]
fn a_password_with_any_delimiter_is_masked_up_to_its_host() {
    check("https://me:p/w@h/x", "https://***@h/x");
    check("https://me:p?w@h", "https://***@h");
    check("https://me:p#w@h", "https://***@h");
    check("https://me:p@w@h", "https://***@h");
}

#[test]
fn a_secret_of_four_bytes_is_masked_and_a_shorter_one_is_not() {
    let redactor = Redactor::new(["abc".to_owned(), "wxyz".to_owned(), "ää".to_owned()]);
    assert_eq!(redactor.mask("abc wxyz ää"), "abc *** ***");
    assert_eq!(format!("{redactor:?}"), "Redactor(2 secrets)");
}

#[test]
fn a_text_without_secrets_is_not_copied() {
    let redactor = Redactor::new(["hunter2".to_owned()]);
    for text in ["", "plain", "https://h/x", "hunter", "a\tb\nc"] {
        assert!(matches!(redactor.redact(text), Cow::Borrowed(found) if found == text), "{text}");
    }
}

#[test]
fn a_redactor_without_secrets_still_masks_urls_and_control_characters() {
    assert_eq!(Redactor::default().redact("https://t@h \u{1b}[31mred"), "https://***@h red");
    assert_eq!(Redactor::new([String::new()]).redact("x"), "x");
}

#[test]
fn secrets_next_to_each_other_are_masked() {
    let redactor = Redactor::new(["first".to_owned(), "second".to_owned()]);
    for text in ["firstsecond", "first second", "secondfirstsecond"] {
        let masked = redactor.mask(text).into_owned();
        assert!(!masked.contains("first") && !masked.contains("second"), "{text}: {masked}");
    }
}

proptest! {
    #[test]
    fn no_secret_is_left_in_any_text(secret in "[a-zA-Z0-9/+=_-]{6,20}", before in "[ -~\n]{0,20}", after in "[ -~\n]{0,20}") {
        let redactor = Redactor::new([secret.clone()]);
        let text = format!("{before}{secret}{after}");
        prop_assert!(!redactor.mask(&text).contains(&secret));
        prop_assert!(!redactor.redact(&text).contains(&secret));
    }

    #[test]
    fn masking_twice_changes_nothing_more(text in "[a-z:/@?# '.\n]{0,60}") {
        let once = redact_credentials(&text).into_owned();
        prop_assert_eq!(redact_credentials(&once).into_owned(), once);
    }

    #[test]
    fn a_token_in_a_url_is_never_left(token in "[a-zA-Z0-9_]{8,20}", path in "[a-z/]{0,10}") {
        for url in [format!("https://{token}@host/{path}"), format!("https://me:{token}@host/{path}"), format!("ssh://me:{token}@host")] {
            let text = format!("fatal: unable to access '{url}': 403");
            prop_assert!(!redact_credentials(&text).contains(&token));
        }
    }
}
