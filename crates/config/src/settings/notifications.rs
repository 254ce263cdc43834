//! The settings of notifications. The page *Notifications* can set those that the file does not set.
//!
//! Values are only collected here. They are checked together when all settings are read.

use model::notice::NoticeSettings;

use super::{Draft, Section, Setting, UNSET};
use crate::value::{Invalid, RawValue, ValueForm};

/// Stores a setting of `[notify]`. The page *Notifications* can set those that the file does not set.
fn notify(draft: &mut Draft, key: &str, given: &RawValue) -> Result<(), Invalid> {
    let table = toml::Table::from_iter([(key.to_owned(), given.toml()?)]);
    let parsed: NoticeSettings = table.try_into().map_err(|error| Invalid::Rule(error.message().to_owned()))?;
    draft.config.notices = parsed.over(&draft.config.notices);
    Ok(())
}

fn quiet_hours(draft: &mut Draft, key: &str, given: &RawValue) -> Result<(), Invalid> {
    draft.quiet_hours.insert(key.to_owned(), given.toml()?);
    Ok(())
}

/// How people are notified.
pub(super) const NOTIFICATIONS: Section = Section {
    title: "Notifications",
    settings: &[
        Setting::new("notify.ntfy_url", ValueForm::Url, UNSET, "An ntfy topic that receives notifications.", |draft, given| {
            notify(draft, "ntfy_url", given)
        })
        .unset("set on the page *Notifications*")
        .example("\"https://ntfy.sh/a-topic-nobody-guesses\""),
        Setting::new(
            "notify.ntfy_plain_http",
            ValueForm::Boolean,
            UNSET,
            "Allow `http://` for ntfy in a private network.",
            |draft, given| notify(draft, "ntfy_plain_http", given),
        )
        .unset("set on the page *Notifications*")
        .example("true"),
        Setting::new(
            "notify.webhook_url",
            ValueForm::Url,
            UNSET,
            "A URL that receives each notification as JSON in a POST request.",
            |draft, given| notify(draft, "webhook_url", given),
        )
        .unset("set on the page *Notifications*")
        .example("\"https://example.org/hook\""),
        Setting::new(
            "notify.webhook_secret",
            ValueForm::Secret,
            UNSET,
            "A secret that signs the requests to the webhook.",
            |draft, given| notify(draft, "webhook_secret", given),
        )
        .unset("set on the page *Notifications*"),
        Setting::new(
            "notify.webhook_plain_http",
            ValueForm::Boolean,
            UNSET,
            "Allow `http://` for the webhook in a private network.",
            |draft, given| notify(draft, "webhook_plain_http", given),
        )
        .unset("set on the page *Notifications*")
        .example("true"),
        Setting::new(
            "notify.public_url",
            ValueForm::Url,
            UNSET,
            "The URL at which browsers reach the pages. Notifications link to it.",
            |draft, given| notify(draft, "public_url", given),
        )
        .unset("set on the page *Notifications*")
        .example("\"https://codex.example.org\""),
        Setting::new(
            "notify.tell",
            ValueForm::List,
            UNSET,
            "Which notifications to send: any of `finished`, `failed` and `needs_you`.",
            |draft, given| notify(draft, "tell", given),
        )
        .unset("set on the page *Notifications*")
        .example("[\"finished\", \"failed\", \"needs_you\"]"),
    ],
};

/// When notifications wait.
pub(super) const QUIET_HOURS: Section = Section {
    title: "Quiet hours",
    settings: &[
        Setting::new(
            "notify.quiet_hours.from",
            ValueForm::Time,
            UNSET,
            "Start of the quiet hours. Notifications wait until they end.",
            |draft, given| quiet_hours(draft, "from", given),
        )
        .unset("set on the page *Notifications*")
        .example("\"22:00\""),
        Setting::new("notify.quiet_hours.to", ValueForm::Time, UNSET, "End of the quiet hours.", |draft, given| {
            quiet_hours(draft, "to", given)
        })
        .unset("set on the page *Notifications*")
        .example("\"07:00\""),
        Setting::new("notify.quiet_hours.zone", ValueForm::Text, UNSET, "Time zone of the quiet hours.", |draft, given| {
            quiet_hours(draft, "zone", given)
        })
        .unset("set on the page *Notifications*")
        .example("\"Europe/Berlin\""),
        Setting::new(
            "notify.quiet_hours.let_through",
            ValueForm::List,
            UNSET,
            "Which notifications to send during quiet hours: any of `finished`, `failed` and `needs_you`.",
            |draft, given| quiet_hours(draft, "let_through", given),
        )
        .unset("nothing")
        .example("[\"needs_you\"]"),
    ],
};
