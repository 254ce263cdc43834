//! The page of notifications: devices, receivers, tests and settings.
//! Settings in `config.toml` are shown but cannot be changed here. The webhook secret can be set but is never shown.

use engine::User;
use std::collections::BTreeSet;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use maud::{Markup, html};
use model::ErrorCode;
use model::notice::{NoticeGroup, NoticeSettings, PlainHttp, QuietHours, shown_address};
use model::problem::{Problem, ProblemKind};
use model::secret::Secret;
use notifications::{DeviceView, NoticeTarget, NoticesView, PushSubscription};
use serde::Deserialize;

use super::answer::{Answer, Page, PageProblem, see};
use super::layout::{self, NavItem, age};
use super::session::{Signed, SignedForm};
use super::session::{button_form, form_token};
use super::{assets, browser};
use crate::caller::AsUser;
use crate::state::Api;

const PAGE: &str = "/settings/notices";

pub(crate) async fn page(signed: Signed, State(api): State<Api>, AsUser(user): AsUser) -> Answer {
    let view = user.notifications().view();
    let body = html! {
        p { a href="/settings" { "← Settings" } }
        h1 { "Notifications" }
        p { "A notification contains the title of a task and a link, but no output of the agent." }
        @for damaged in &view.damaged {
            p.warning role="alert" { (layout::damaged(damaged)) }
            @for hint in &damaged.hints { p.hint { "→ " (hint) } }
        }
        @if let Some(until) = view.quiet_until {
            p.facts { "Notifications are paused until " (layout::moment(until)) ". " (view.held) " held." }
        }
        h2 #devices { "Devices" }
        (devices(&signed, &api, &user, &view)?)
        h2 #receivers { "Other receivers" }
        ul.plain {
            li { (receiver(&signed, &view, "ntfy", &NoticeTarget::Ntfy, view.settings.ntfy_url.as_deref())) }
            li { (receiver(&signed, &view, "webhook", &NoticeTarget::Webhook, view.settings.webhook_url.as_deref())) }
        }
        h2 #settings { "Settings" }
        (form(&signed, &view))
    };
    Ok(Page(layout::page_with_scripts(&[assets::notices_script()], "Notifications", NavItem::Settings, &body)))
}

fn devices(signed: &Signed, api: &Api, user: &User, view: &NoticesView) -> Result<Markup, Problem> {
    let own = signed.id(api);
    let has_own = view.devices.iter().any(|device| device.session == own);
    let is_known = |id: &str| view.devices.iter().any(|device| device.id == id);
    let gone = view.outcomes.iter().filter(|(target, _)| matches!(target, NoticeTarget::Device(id) if !is_known(id)));
    Ok(html! {
        ul.plain { @for one in &view.devices { li { (device(signed, view, one, &own)) } } }
        @if view.devices.is_empty() { p.quiet { "No devices receive notifications yet." } }
        @for (_, outcome) in gone {
            @if let Some(why) = &outcome.why_not { p.facts { "A device was removed " (age(outcome.at)) ": " (why) "." } }
        }
        form #subscribe method="post" action="/settings/notices/devices" {
            (form_token(signed))
            input type="hidden" name="server_key" value=(user.notifications().push_key()?);
            @for name in ["endpoint", "p256dh", "auth"] { input type="hidden" name=(name); }
            button.primary[!has_own] type="submit" hidden {
                @if has_own { "Subscribe this device again" } @else { "Turn on notifications for this device" }
            }
            output {}
        }
        noscript { p.quiet { "Turn on JavaScript to subscribe this browser." } }
        p #why-https .quiet hidden { "Browsers allow notifications only over HTTPS or on the same machine." }
        p #why-home .quiet hidden { "On iPhone and iPad, choose Share → Add to Home Screen, then open the app from the home screen and turn on notifications there." }
        p #why-push .quiet hidden { "This browser does not support push notifications." }
        p #why-denied .quiet hidden { "Notifications are blocked. Allow them for this site in the browser settings." }
        p.quiet { "Devices receive notifications while they are signed in." }
    })
}

fn device(signed: &Signed, view: &NoticesView, device: &DeviceView, session: &str) -> Markup {
    let is_own = device.session == session;
    let below = |action: &str| format!("{PAGE}/devices/{}/{action}", device.id);
    html! {
        span title=(device.label) { (browser::name(&device.label)) }
        @if is_own { " · this browser" }
        " · " (age(device.created_at)) " "
        span.facts { "via " (device.push_service) }
        " " (button_form(signed, &below("test"), if is_own { "Send test to this device" } else { "Send test" }, "small", None))
        " " (button_form(signed, &below("remove"), "Remove", "small", Some("Stop notifications to this device?")))
        (outcome(view, &NoticeTarget::Device(device.id.clone())))
    }
}

fn receiver(signed: &Signed, view: &NoticesView, name: &str, target: &NoticeTarget, url: Option<&str>) -> Markup {
    html! {
        (name) " "
        @if url.is_some() {
            (button_form(signed, &format!("{PAGE}/{name}/test"), &format!("Send test to {name}"), "small", None))
            (outcome(view, target))
        } @else {
            span.quiet { "is not set up." }
        }
    }
}

/// Renders the outcome of the last notification to a receiver.
fn outcome(view: &NoticesView, target: &NoticeTarget) -> Markup {
    let Some(outcome) = view.outcomes.get(target) else { return html! {} };
    html! {
        @match &outcome.why_not {
            None => p.good.outcome role="status" { "✓ The last notification was sent " (age(outcome.at)) "." },
            Some(why) => p.error.outcome role="status" { "✕ The last notification failed " (age(outcome.at)) ": " (why) "." },
        }
    }
}

const FIXED: &str = " (set in config.toml)";

fn form(signed: &Signed, view: &NoticesView) -> Markup {
    let NoticesView { settings, fixed, .. } = view;
    let address = |id: &str, name: &str, label: &str, value: &Option<String>, fixed: bool, example: &str| {
        html! {
            label for=(id) { (label) @if fixed { (FIXED) } }
            input id=(id) name=(name) type="url" value=[value.as_deref().map(shown_address)] disabled[fixed] placeholder=(example) autocapitalize="off" autocomplete="off" spellcheck="false";
        }
    };
    let plain_http = |name: &str, allowed: PlainHttp, fixed: bool| {
        html! {
            label {
                input type="checkbox" name=(name) value="yes" checked[allowed == PlainHttp::PrivateNetwork] disabled[fixed];
                " Allow plain HTTP in private networks" @if fixed { (FIXED) }
            }
        }
    };
    let (has_secret, hours) = (settings.webhook_secret.is_some(), settings.quiet_hours.as_ref());
    // If finished tasks could also pass, quiet hours would have no effect. Keep the choice only if it is set already.
    let may_pass = |group: &NoticeGroup| *group != NoticeGroup::Finished || hours.is_some_and(|hours| hours.lets_through(*group));
    html! {
        form.stack method="post" action=(PAGE) {
            (form_token(signed))
            (address("ntfy", "ntfy_url", "ntfy URL", &settings.ntfy_url, fixed.ntfy_url.is_some(), "https://ntfy.sh/a-topic-nobody-guesses"))
            (plain_http("ntfy_plain_http", settings.ntfy_plain_http(), fixed.ntfy_plain_http.is_some()))
            (address("webhook", "webhook_url", "Webhook URL", &settings.webhook_url, fixed.webhook_url.is_some(), "https://hooks.example/codex"))
            (plain_http("webhook_plain_http", settings.webhook_plain_http(), fixed.webhook_plain_http.is_some()))
            label for="secret" { "Webhook signing secret" @if fixed.webhook_secret.is_some() { (FIXED) } @else if has_secret { " (set)" } }
            input #secret name="webhook_secret" type="password" disabled[fixed.webhook_secret.is_some()] placeholder=[has_secret.then_some("Leave empty to keep the secret")] autocomplete="off";
            @if has_secret && fixed.webhook_secret.is_none() {
                label { input type="checkbox" name="forget_secret" value="yes"; " Remove the secret" }
            }
            (address("public", "public_url", "Public URL of this server, for links in notifications", &settings.public_url, fixed.public_url.is_some(), "https://box.example"))
            fieldset disabled[fixed.tell.is_some()] {
                legend { "Notify me when a task" @if fixed.tell.is_some() { (FIXED) } }
                @for group in NoticeGroup::ALL {
                    label { input type="checkbox" name=(field("tell", group)) value="yes" checked[settings.tells(group)]; " " (word(group)) }
                }
            }
            fieldset disabled[fixed.quiet_hours.is_some()] {
                legend { "Quiet hours" @if fixed.quiet_hours.is_some() { (FIXED) } }
                p.quiet { "Notifications are paused between these times. You get one summary afterwards. Leave both empty to turn quiet hours off." }
                label for="from" { "From" }
                input #from name="from" type="time" value=[hours.map(QuietHours::from)];
                label for="to" { "To" }
                input #to name="to" type="time" value=[hours.map(QuietHours::to)];
                label for="zone" { "Time zone" }
                input #zone name="zone" type="text" value=[hours.map(QuietHours::zone)] placeholder="Europe/Berlin" autocapitalize="off" autocomplete="off" spellcheck="false";
                @for group in NoticeGroup::ALL.into_iter().filter(may_pass) {
                    label { input type="checkbox" name=(field("let", group)) value="yes" checked[hours.is_some_and(|hours| hours.lets_through(group))]; " Still notify me when a task " (word(group)) }
                }
            }
            button.primary type="submit" { "Save" }
        }
    }
}

fn word(group: NoticeGroup) -> &'static str {
    match group {
        NoticeGroup::Finished => "finishes",
        NoticeGroup::Failed => "fails or is interrupted",
        NoticeGroup::NeedsYou => "needs my attention",
    }
}

fn field(of: &str, group: NoticeGroup) -> String {
    let name = match group {
        NoticeGroup::Finished => "finished",
        NoticeGroup::Failed => "failed",
        NoticeGroup::NeedsYou => "needs_you",
    };
    format!("{of}_{name}")
}

/// The fields of the form. Browsers do not send disabled fields, and these keep their stored values.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SettingsForm {
    ntfy_url: Option<String>,
    webhook_url: Option<String>,
    ntfy_plain_http: Option<String>,
    webhook_plain_http: Option<String>,
    webhook_secret: String,
    forget_secret: Option<String>,
    public_url: Option<String>,
    from: Option<String>,
    to: Option<String>,
    zone: String,
    tell_finished: Option<String>,
    tell_failed: Option<String>,
    tell_needs_you: Option<String>,
    let_finished: Option<String>,
    let_failed: Option<String>,
    let_needs_you: Option<String>,
}

fn ticked(finished: Option<&String>, failed: Option<&String>, needs_you: Option<&String>) -> BTreeSet<NoticeGroup> {
    let all = [(finished, NoticeGroup::Finished), (failed, NoticeGroup::Failed), (needs_you, NoticeGroup::NeedsYou)];
    all.into_iter().filter_map(|(tick, group)| tick.map(|_| group)).collect()
}

impl SettingsForm {
    fn quiet_hours(&self) -> Result<Option<QuietHours>, Problem> {
        let (from, to) = (self.from.as_deref().unwrap_or_default().trim(), self.to.as_deref().unwrap_or_default().trim());
        if from.is_empty() && to.is_empty() {
            return Ok(None);
        }
        let let_through = ticked(self.let_finished.as_ref(), self.let_failed.as_ref(), self.let_needs_you.as_ref());
        let hours = QuietHours::parse(from, to, &self.zone, let_through);
        hours.map(Some).map_err(|error| {
            Problem::new(ErrorCode::QuietHoursRefused, error.to_string()).hint("go back and correct the quiet hours")
        })
    }

    /// Returns the new settings of the page. Settings in `fixed` keep their stored values.
    fn over(self, hours: Option<QuietHours>, known: &NoticeSettings, fixed: &NoticeSettings) -> NoticeSettings {
        let address = |given: Option<String>, known: &Option<String>, is_fixed: bool| match given {
            // The form shows a URL without its query. An unchanged field keeps the whole URL.
            Some(given) if known.as_deref().is_some_and(|known| shown_address(known) == given.trim()) => known.clone(),
            Some(given) if !is_fixed => Some(given.trim().to_owned()).filter(|url| !url.is_empty()),
            Some(_) | None => known.clone(),
        };
        let tell = ticked(self.tell_finished.as_ref(), self.tell_failed.as_ref(), self.tell_needs_you.as_ref());
        let secret = match self.webhook_secret {
            _ if self.forget_secret.is_some() => None,
            given if given.is_empty() => known.webhook_secret.clone(),
            given => Some(Secret::new(given)),
        };
        let ticked = |tick: Option<String>, known: Option<bool>, fixed: Option<bool>| match fixed {
            Some(_) => known,
            None => tick.map(|_| true),
        };
        NoticeSettings {
            webhook_url: address(self.webhook_url, &known.webhook_url, fixed.webhook_url.is_some()),
            webhook_secret: secret,
            webhook_plain_http: ticked(self.webhook_plain_http, known.webhook_plain_http, fixed.webhook_plain_http),
            ntfy_plain_http: ticked(self.ntfy_plain_http, known.ntfy_plain_http, fixed.ntfy_plain_http),
            ntfy_url: address(self.ntfy_url, &known.ntfy_url, fixed.ntfy_url.is_some()),
            public_url: address(self.public_url, &known.public_url, fixed.public_url.is_some()),
            tell: if fixed.tell.is_some() { known.tell.clone() } else { Some(tell) },
            quiet_hours: if fixed.quiet_hours.is_some() { known.quiet_hours.clone() } else { hours },
        }
    }
}

pub(crate) async fn save(AsUser(user): AsUser, SignedForm(_, form): SignedForm<SettingsForm>) -> Result<Response, PageProblem> {
    let fixed = user.notifications().view().fixed;
    let hours = form.quiet_hours()?;
    user.notifications().edit(|known| form.over(hours, known, &fixed))?;
    Ok(see(PAGE))
}

pub(crate) async fn test(AsUser(user): AsUser, Path(receiver): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    let target = match receiver.as_str() {
        "ntfy" => NoticeTarget::Ntfy,
        "webhook" => NoticeTarget::Webhook,
        _ => {
            return Err(Problem::new(ErrorCode::NoSuchReceiver, "notification receiver not found")
                .with_kind(ProblemKind::NotFound)
                .into());
        }
    };
    user.notifications().send_test(target).await?;
    Ok(see("/settings/notices#receivers"))
}

pub(crate) async fn test_device(
    AsUser(user): AsUser,
    Path(id): Path<String>,
    _: SignedForm<()>,
) -> Result<Response, PageProblem> {
    user.notifications().send_test(NoticeTarget::Device(id)).await?;
    Ok(see("/settings/notices#devices"))
}

pub(crate) async fn remove(AsUser(user): AsUser, Path(id): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    user.notifications().forget_device(&id)?;
    Ok(see("/settings/notices#devices"))
}

#[derive(Debug, Deserialize)]
pub(crate) struct DeviceForm {
    endpoint: String,
    p256dh: String,
    auth: String,
    server_key: String,
}

pub(crate) async fn subscribe(
    State(api): State<Api>,
    AsUser(user): AsUser,
    headers: HeaderMap,
    SignedForm(signed, form): SignedForm<DeviceForm>,
) -> Result<Response, PageProblem> {
    let DeviceForm { endpoint, p256dh, auth, server_key } = form;
    let label = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("Unknown browser").to_owned();
    signed.subscribe(&api, &user, PushSubscription { endpoint, p256dh, auth, server_key, label })?;
    Ok(see("/settings/notices#devices"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> NoticeSettings {
        NoticeSettings { ntfy_url: Some(url.to_owned()), webhook_secret: Some(Secret::new("hush")), ..NoticeSettings::default() }
    }

    #[test]
    fn an_empty_secret_keeps_the_old_one_and_what_the_file_says_is_left_alone() {
        let known = settings("https://page");
        let form = SettingsForm { ntfy_url: Some(String::new()), tell_failed: Some("yes".to_owned()), ..SettingsForm::default() };
        let saved = form.over(None, &known, &NoticeSettings::default());
        assert_eq!((&saved.ntfy_url, &saved.webhook_secret), (&None, &known.webhook_secret));
        assert_eq!(saved.tell, Some([NoticeGroup::Failed].into()));
        let form = SettingsForm { ntfy_url: Some("https://other".to_owned()), ..SettingsForm::default() };
        assert_eq!(form.over(None, &known, &settings("https://file")).ntfy_url, known.ntfy_url);
        let form = SettingsForm { forget_secret: Some("yes".to_owned()), ..SettingsForm::default() };
        assert_eq!(form.over(None, &known, &NoticeSettings::default()).webhook_secret, None);
    }

    #[test]
    fn an_address_with_a_query_comes_back_as_it_was_shown_and_stays_whole() {
        let known = settings("https://hooks.example/x?token=hush");
        let form = |given: &str| SettingsForm { ntfy_url: Some(given.to_owned()), ..SettingsForm::default() };
        let saved = form("https://hooks.example/x?***").over(None, &known, &NoticeSettings::default());
        assert_eq!(saved.ntfy_url, known.ntfy_url);
        let saved = form("https://other.example/x?***").over(None, &known, &NoticeSettings::default());
        assert!(saved.check().is_err(), "a URL without its query is invalid");
    }

    #[test]
    fn quiet_hours_are_none_whole_or_refused() {
        let form = |from: &str, zone: &str| SettingsForm {
            from: Some(from.to_owned()),
            to: Some("07:00".to_owned()),
            zone: zone.to_owned(),
            let_needs_you: Some("yes".to_owned()),
            ..SettingsForm::default()
        };
        assert_eq!(SettingsForm::default().quiet_hours().expect("none"), None);
        let hours = form("22:00", "Europe/Berlin").quiet_hours().expect("sound").expect("some");
        assert!(hours.lets_through(NoticeGroup::NeedsYou) && !hours.lets_through(NoticeGroup::Failed));
        assert_eq!(
            form("22:00", "nowhere").quiet_hours().expect_err("an unknown time zone is rejected").report.code,
            ErrorCode::QuietHoursRefused
        );
        assert_eq!(
            form("", "UTC").quiet_hours().expect_err("quiet hours without a start are rejected").report.code,
            ErrorCode::QuietHoursRefused
        );
    }
}
