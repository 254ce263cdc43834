//! What every page has: the head, the way around, and small parts that several pages show.
//! No style and no script stands in a page.

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};
use model::task::TaskStatus;

use super::assets;
use super::session::Signed;

/// Where a page is in the way around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Tasks,
    New,
    Environments,
    Settings,
    /// Nowhere in particular, such as a page about an error.
    Elsewhere,
}

fn head(title: &str) -> Markup {
    html! {
        meta charset="utf-8";
        meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover";
        meta name="color-scheme" content="light dark";
        meta name="htmx-config" content=r#"{"includeIndicatorCSS":false,"allowEval":false,"history":false}"#;
        title { (title) " · Codex Orchestrator" }
        link rel="stylesheet" href=(assets::style());
        link rel="icon" href=(assets::icon()) type="image/svg+xml";
        link rel="apple-touch-icon" href=(assets::touch_icon());
        script src=(assets::htmx()) defer {}
        script src=(assets::script()) defer {}
    }
}

/// A page without the way around: for who is not signed in, and for problems.
pub(super) fn bare(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" { head { (head(title)) } body.bare { (body) } }
    }
}

/// A page. `body` is its main part.
pub(super) fn page(title: &str, place: Place, body: &Markup) -> Markup {
    page_with(&[], title, place, body)
}

/// A page that loads scripts besides the ones that every page loads, by their addresses.
pub(super) fn page_with_scripts(scripts: &[String], title: &str, place: Place, body: &Markup) -> Markup {
    page_with(scripts, title, place, body)
}

fn page_with(scripts: &[String], title: &str, place: Place, body: &Markup) -> Markup {
    let link = |to: Place, href: &str, sign: &str, words: &str| {
        html! {
            a href=(href) aria-current=[(to == place).then_some("page")] { span.sign aria-hidden="true" { (sign) } span { (words) } }
        }
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                (head(title))
                // Only where somebody is signed in: elsewhere the address may not be the one to install.
                link rel="manifest" href="/manifest.webmanifest" crossorigin="use-credentials";
                @for script in scripts { script src=(script) defer {} }
            }
            body {
                a.skip href="#main" { "To the content" }
                nav.around aria-label="Around" {
                    (link(Place::Tasks, "/", "☰", "Tasks"))
                    (link(Place::New, "/tasks/new", "+", "New"))
                    (link(Place::Environments, "/environments", "⌂", "Repositories"))
                    (link(Place::Settings, "/settings", "⚙", "Health"))
                }
                p #connection role="status" hidden {}
                main #main tabindex="-1" { (body) }
                (keys())
            }
        }
    }
}

/// What the keys do. Shown by `?`, which takes a script, as the keys do.
fn keys() -> Markup {
    let all = [
        ("j k", "next line or entry, and the one before"),
        ("n p", "next file or entry, and the one before"),
        ("Enter", "open"),
        ("x", "mark a file as viewed"),
        ("c C", "comment on a line, or on all from the last comment's line to this one"),
        ("/", "search or write"),
        ("Ctrl ⌘ + Enter", "send"),
        ("Esc", "leave a text"),
    ];
    html! {
        dialog #keys aria-label="Keys" {
            dl { @for (key, words) in all { dt { kbd { (key) } } dd { (words) } } }
            form method="dialog" { button { "Close" } }
        }
    }
}

/// A form that sends one thing, as a button.
pub(super) fn button_form(signed: &Signed, action: &str, words: &str, class: &str, ask: Option<&str>) -> Markup {
    html! {
        form.inline method="post" action=(action) data-ask=[ask] {
            (form_token(signed))
            button class=(class) type="submit" { (words) }
        }
    }
}

/// What every form carries.
pub(super) fn form_token(signed: &Signed) -> Markup {
    html! { input type="hidden" name="form_token" value=(signed.form_token()); }
}

/// A status as word and shape.
pub(super) fn status(status: TaskStatus) -> Markup {
    let shape = match status {
        TaskStatus::Queued => "◷",
        TaskStatus::Preparing => "◔",
        TaskStatus::Running => "●",
        TaskStatus::Stopping | TaskStatus::Removing => "◌",
        TaskStatus::Completed => "✓",
        TaskStatus::Failed => "✕",
        TaskStatus::Stopped => "■",
        TaskStatus::Interrupted => "⚡",
    };
    html! { span class={ "status s-" (status.as_str()) } { span aria-hidden="true" { (shape) } " " (status.as_str()) } }
}

/// A size on disk, in words.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        ..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes / 1_048_576),
        _ => format!("{}.{} GiB", bytes / 1_073_741_824, bytes % 1_073_741_824 * 10 / 1_073_741_824),
    }
}

/// Since when something goes on: as a time span where a script runs, else in full.
pub(super) fn since(at: Timestamp) -> Markup {
    html! { time datetime=(at.to_string()) data-age="for" { "since " (at.strftime("%Y-%m-%d %H:%M UTC").to_string()) } }
}

/// A moment: as an age where a script runs, else in full.
pub(super) fn age(at: Timestamp) -> Markup {
    html! { time datetime=(at.to_string()) data-age { (at.strftime("%Y-%m-%d %H:%M UTC").to_string()) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_text() {
        let page = bare("<script>alert(1)</script>", &html! {}).into_string();
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && !page.contains("<script>alert"), "{page}");
    }
}
