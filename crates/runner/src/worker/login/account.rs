//! Decides whose account a login belongs to, and whether a change to a copy is a token renewal by Codex.
//!
//! Tokens are parsed but not verified: only the provider can do that. Real tokens of somebody else name a different account,
//! and invented tokens do not work. Invariant: an accepted copy differs from the login only in its tokens.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// The claim with the provider's account data.
const CLAIMS: &str = "https://api.openai.com/auth";

/// The names of the tokens.
pub(super) const TOKENS: [&str; 3] = ["id_token", "access_token", "refresh_token"];

/// The maximum lifetime of an access token. A token with a longer lifetime would prevent all later tokens from being accepted.
const LONGEST_LIFE: SignedDuration = SignedDuration::from_hours(24 * 90);

const HOUR: i64 = 3600;

/// Codex renews tokens that expire in less than five minutes, but it cannot do this in a container.
const LAST_MOMENT: i64 = 10 * 60;

/// The text that replaces the refresh token in a container.
const KEPT_OUTSIDE: &str = "kept-by-the-orchestrator";

/// The maximum length of the time of a renewal.
const LONGEST_TIME: usize = 64;

/// The owner of a token.
#[derive(Debug, PartialEq, Eq)]
struct Owner {
    issuer: Option<String>,
    account: Option<String>,
    user: Option<String>,
    subject: Option<String>,
}

/// The relation of a copy to the login that it was made from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CopyState {
    /// The copy has the same tokens.
    Same,
    /// The copy has different tokens of the account, which are not newer.
    Older,
    /// Codex renewed the tokens. The value is the login with the renewed tokens.
    Newer(Value),
}

/// How urgent it is to renew the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Not urgent, or the lifetime of the tokens is unknown.
    No,
    /// The tokens are still valid for now.
    Soon,
    /// The tokens could expire during a run that starts now.
    Now,
}

/// Returns when the tokens must be renewed.
pub(super) fn due(login: &Value, now: Timestamp) -> Due {
    let Some(claims) = login["tokens"]["access_token"].as_str().and_then(claims) else { return Due::No };
    let Some(expires) = claims["exp"].as_i64() else { return Due::No };
    let life = claims["iat"].as_i64().map(|issued| expires.saturating_sub(issued));
    let early = life.map_or(HOUR, |life| (life / 4).min(24 * HOUR));
    match expires.saturating_sub(now.as_second()) {
        left if left < LAST_MOMENT => Due::Now,
        left if left < early => Due::Soon,
        _ => Due::No,
    }
}

/// Returns the login for a container, where Codex uses the access token and cannot renew it.
pub(super) fn without_renewal(login: &Value) -> Value {
    let mut copy = login.clone();
    if let Some(token) = copy.get_mut("tokens").and_then(|tokens| tokens.get_mut("refresh_token")) {
        *token = KEPT_OUTSIDE.into();
    }
    copy
}

/// Whether two logins are for the same account.
pub(super) fn is_same_account(one: &Value, other: &Value) -> bool {
    let owner = |file: &Value| file["tokens"]["access_token"].as_str().and_then(claims).and_then(|claims| Owner::of(&claims));
    one["tokens"]["account_id"] == other["tokens"]["account_id"] && owner(one).is_some() && owner(one) == owner(other)
}

/// Compares a copy with the login. The error describes a change that Codex does not make.
pub(super) fn compare(login: &Value, copy: &Value, now: Timestamp) -> Result<CopyState, &'static str> {
    if !copy["OPENAI_API_KEY"].is_null() && copy["OPENAI_API_KEY"] != login["OPENAI_API_KEY"] {
        return Err("it has another API key");
    }
    if copy["tokens"]["account_id"] != login["tokens"]["account_id"] {
        return Err("it is for another account");
    }
    if frame(copy) != frame(login) {
        return Err("its fields differ from those of the login");
    }
    let token = |file: &Value, name: &str| file["tokens"][name].as_str().unwrap_or_default().to_owned();
    let changed = |name: &str| token(copy, name) != token(login, name);
    if !TOKENS.into_iter().any(changed) {
        return Ok(CopyState::Same);
    }
    if TOKENS.into_iter().any(|name| token(copy, name).is_empty()) {
        return Err("it has no tokens");
    }
    for name in ["id_token", "access_token"] {
        let (before, after) = (claims(&token(login, name)), claims(&token(copy, name)));
        let (Some(before), Some(after)) = (before, after) else {
            return Err("its tokens do not name their account");
        };
        if Owner::of(&before) != Owner::of(&after) {
            return Err("its tokens are for another account");
        }
    }
    if !changed("access_token") {
        return Err("its tokens were replaced, but not renewed");
    }
    let expires = |file: &Value| claims(&token(file, "access_token"))?["exp"].as_i64();
    match (expires(login), expires(copy)) {
        (Some(before), Some(after)) if after <= before => Ok(CopyState::Older),
        (Some(_), Some(after)) if after <= now.saturating_add(LONGEST_LIFE).unwrap_or(now).as_second() => {
            let mut newer = login.clone();
            for name in TOKENS {
                newer["tokens"][name] = token(copy, name).into();
            }
            if let Some(time) = copy["last_refresh"].as_str().filter(|time| time.len() <= LONGEST_TIME) {
                newer["last_refresh"] = time.into();
            }
            Ok(CopyState::Newer(newer))
        }
        (Some(_), Some(_)) => Err("its tokens have an implausibly long lifetime"),
        (None, _) | (_, None) => Err("its tokens do not say when they expire"),
    }
}

/// Returns everything that Codex keeps unchanged when it renews tokens.
fn frame(file: &Value) -> Value {
    let mut frame = file.clone();
    if let Some(fields) = frame.as_object_mut() {
        fields.remove("last_refresh");
        // A value that was implied before may be explicit now.
        let is_implied = |name: &str, value: &Value| value.is_null() || (name == "auth_mode" && value == "chatgpt");
        fields.retain(|name, value| !is_implied(name, value));
        if let Some(tokens) = fields.get_mut("tokens").and_then(Value::as_object_mut) {
            tokens.retain(|name, value| !value.is_null() && !TOKENS.contains(&name.as_str()));
        }
    }
    frame
}

/// Parses the middle part of a token. Returns `None` if the text is not such a token.
fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    serde_json::from_slice(&BASE64.decode(payload.trim_end_matches('=')).ok()?).ok().filter(Value::is_object)
}

impl Owner {
    /// Returns `None` if the claims name no owner.
    fn of(claims: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let auth = &claims[CLAIMS];
        let owner = Self {
            issuer: text(&claims["iss"]),
            account: text(&auth["chatgpt_account_id"]),
            user: text(&auth["chatgpt_user_id"]).or_else(|| text(&auth["user_id"])),
            subject: text(&claims["sub"]),
        };
        (owner.account.is_some() || owner.subject.is_some()).then_some(owner)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in super::super) const NOW: i64 = 1_800_000_000;

    /// Creates a token of a user in an account. The other parts are not read here.
    pub(in super::super) fn token(account: &str, user: &str, expires: i64) -> String {
        let claims = json!({ "iss": "https://auth.openai.com", "sub": user, "exp": expires,
            CLAIMS: { "chatgpt_account_id": account, "chatgpt_user_id": user } });
        format!("e30.{}.c2ln", BASE64.encode(claims.to_string()))
    }

    pub(in super::super) fn login(account: &str, refresh: &str, expires: i64) -> Value {
        let token = |expires| token(account, "user-1", expires);
        json!({ "OPENAI_API_KEY": null, "last_refresh": "2027-01-01T00:00:00Z", "tokens": { "id_token": token(expires),
            "access_token": token(expires), "refresh_token": refresh, "account_id": account } })
    }

    fn compared(copy: &Value) -> Result<CopyState, &'static str> {
        let now = Timestamp::from_second(NOW).expect("a time");
        compare(&login("acc-1", "r-1", NOW + 100), copy, now)
    }

    #[test]
    fn codex_renewing_its_tokens_is_accepted() {
        assert_eq!(compared(&login("acc-1", "r-1", NOW + 100)), Ok(CopyState::Same));
        let mut renewed = login("acc-1", "r-2", NOW + 500);
        renewed["last_refresh"] = json!("2027-02-01T00:00:00Z");
        renewed["auth_mode"] = json!("chatgpt");
        let Ok(CopyState::Newer(newer)) = compared(&renewed) else { panic!("not accepted") };
        assert_eq!((&newer["tokens"], &newer["last_refresh"]), (&renewed["tokens"], &renewed["last_refresh"]));
        assert_eq!(newer["auth_mode"], Value::Null, "all other fields are those of the login");
        assert_eq!(compared(&login("acc-1", "r-0", NOW + 50)), Ok(CopyState::Older));
    }

    #[test]
    fn whatever_else_changes_is_refused() {
        let changed = |change: &dyn Fn(&mut Value)| {
            let mut copy = login("acc-1", "r-2", NOW + 500);
            change(&mut copy);
            compared(&copy).is_err()
        };
        assert!(!changed(&|_| {}));
        let others = |user: &str, account: &str| json!(token(account, user, NOW + 500));
        for (what, change) in [
            ("a key", &(|it: &mut Value| it["OPENAI_API_KEY"] = json!("sk-evil")) as &dyn Fn(&mut Value)),
            ("only an API key", &|it| *it = json!({ "OPENAI_API_KEY": "sk-evil" })),
            ("another mode", &|it| it["auth_mode"] = json!("apikey")),
            ("another account", &|it| *it = login("acc-2", "r-2", NOW + 500)),
            ("the name of another account", &|it| it["tokens"]["account_id"] = json!("acc-2")),
            ("another account in the ID token", &|it| it["tokens"]["id_token"] = others("user-1", "acc-2")),
            ("another account in the access token", &|it| it["tokens"]["access_token"] = others("user-1", "acc-2")),
            ("another user", &|it| it["tokens"]["access_token"] = others("user-2", "acc-1")),
            ("another way to log in", &|it| it["personal_access_token"] = json!("pat-evil")),
            ("an additional field of the tokens", &|it| it["tokens"]["x"] = json!("y")),
            ("text that is not a token", &|it| it["tokens"]["access_token"] = json!("opaque")),
            ("no refresh token", &|it| it["tokens"]["refresh_token"] = Value::Null),
            ("only the refresh token", &|it| {
                *it = login("acc-1", "r-evil", NOW + 100);
            }),
            ("tokens that never expire", &|it| *it = login("acc-1", "r-2", NOW + 400 * 24 * 3600)),
            ("nothing", &|it| *it = json!({})),
            ("a list", &|it| *it = json!([])),
        ] {
            assert!(changed(change), "{what}");
        }
    }

    #[test]
    fn tokens_are_renewed_before_they_expire() {
        let due_with = |left: i64| due(&login("acc-1", "r-1", NOW + left), Timestamp::from_second(NOW).expect("a time"));
        assert_eq!([due_with(-5), due_with(500), due_with(3000), due_with(4000)], [Due::Now, Due::Now, Due::Soon, Due::No]);
        assert_eq!(due(&json!({ "OPENAI_API_KEY": "sk-1" }), Timestamp::UNIX_EPOCH), Due::No);
    }

    #[test]
    fn a_container_gets_no_refresh_token() {
        let copy = without_renewal(&login("acc-1", "r-1", NOW));
        assert!(!copy.to_string().contains("r-1") && copy["tokens"]["account_id"] == "acc-1", "{copy}");
        assert_eq!(without_renewal(&json!({ "OPENAI_API_KEY": "sk-1" })), json!({ "OPENAI_API_KEY": "sk-1" }));
    }

    #[test]
    fn a_login_whose_owner_cannot_be_read_is_never_renewed() {
        let now = Timestamp::from_second(NOW).expect("a time");
        let opaque = |token: &str| json!({ "tokens": { "id_token": token, "access_token": token, "refresh_token": "r" } });
        assert_eq!(compare(&opaque("a"), &opaque("a"), now), Ok(CopyState::Same));
        assert!(compare(&opaque("a"), &opaque("b"), now).is_err());
    }

    #[test]
    fn each_border_of_urgency_is_where_it_should_be() {
        let now = Timestamp::from_second(NOW).expect("a time");
        let check = |left: i64, life: Option<i64>, expect: Due| {
            let expires = NOW + left;
            let claims = json!({ "exp": expires, "iat": life.map(|life| expires - life) });
            let token = format!("e30.{}.c2ln", BASE64.encode(claims.to_string()));
            assert_eq!(due(&json!({ "tokens": { "access_token": token } }), now), expect, "{left} {life:?}");
        };
        check(599, None, Due::Now);
        check(600, None, Due::Soon);
        check(3599, None, Due::Soon);
        check(3600, None, Due::No);
        // A quarter of the lifetime, but at most a day.
        check(999, Some(4000), Due::Soon);
        check(1000, Some(4000), Due::No);
        check(86_399, Some(864_000), Due::Soon);
        check(86_400, Some(864_000), Due::No);
        check(i64::MIN / 2, None, Due::Now);
        check(700, Some(-4000), Due::No);
    }

    #[test]
    fn tokens_that_say_nothing_about_their_lifetime_are_not_due() {
        for token in ["", "x", "a.b", "a.b.c.d", "e30.e30.x", "e30.W10.x", "e30.!!!.x", "e30.eyJleHAiOiJzb29uIn0.x"] {
            let login = json!({ "tokens": { "access_token": token } });
            assert_eq!(due(&login, Timestamp::from_second(NOW).expect("a time")), Due::No, "{token}");
        }
        for login in [json!(null), json!([]), json!("x"), json!({ "tokens": [] }), json!({ "tokens": { "access_token": 7 } })] {
            assert_eq!(due(&login, Timestamp::from_second(NOW).expect("a time")), Due::No, "{login}");
        }
    }

    #[test]
    fn a_renewed_token_may_live_for_ninety_days_and_no_longer() {
        let longest = 90 * 24 * 3600;
        assert!(matches!(compared(&login("acc-1", "r-2", NOW + longest)), Ok(CopyState::Newer(_))));
        let expect = Err("its tokens have an implausibly long lifetime");
        assert_eq!(compared(&login("acc-1", "r-2", NOW + longest + 1)), expect);
        assert_eq!(compared(&login("acc-1", "r-2", i64::MAX)), expect);
        assert_eq!(compared(&login("acc-1", "r-2", NOW + 100)), Err("its tokens were replaced, but not renewed"));
        assert_eq!(compared(&login("acc-1", "r-2", i64::MIN)), Ok(CopyState::Older));
    }

    #[test]
    fn the_time_of_a_renewal_is_copied_only_if_it_is_short_text() {
        let check = |time: Value, is_copied: bool| {
            let mut renewed = login("acc-1", "r-2", NOW + 500);
            renewed["last_refresh"] = time.clone();
            let Ok(CopyState::Newer(newer)) = compared(&renewed) else { panic!("not accepted: {time}") };
            assert_eq!(newer["last_refresh"] == time, is_copied, "{time}");
        };
        check(json!("2027-02-01T00:00:00Z"), true);
        check(json!("x".repeat(64)), true);
        check(json!("x".repeat(65)), false);
        check(json!(7), false);
        check(json!({ "deep": [] }), false);
    }

    #[test]
    fn the_same_account_needs_an_owner_in_both_logins() {
        let (one, renewed) = (login("acc-1", "r-1", NOW), login("acc-1", "r-2", NOW + 500));
        assert!(is_same_account(&one, &renewed));
        assert!(!is_same_account(&one, &login("acc-2", "r-1", NOW)));
        let anonymous = json!({ "tokens": { "access_token": "e30.e30.x" } });
        assert!(!is_same_account(&anonymous, &anonymous), "an unknown owner equals nobody");
        assert!(!is_same_account(&json!([]), &json!([])));
    }
}
