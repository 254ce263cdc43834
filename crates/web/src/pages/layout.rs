//! The frame of every page, with the head and the navigation, and small parts that several pages share.
//! Pages contain no inline styles and no inline scripts.

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};
use model::names::Title;
use model::task::TaskStatus;
use printable::printable_line;
use protocol::Damaged;

use super::assets;

/// The longest name of a repository in a page, in characters.
const NAME_CHARS: usize = 120;

/// The item of the navigation that a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NavItem {
    Tasks,
    New,
    Environments,
    Settings,
    /// The page belongs to no item, such as an error page.
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

/// Renders a page without navigation, for visitors who are not signed in.
pub(super) fn bare(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" { head { (head(title)) } body.bare { (body) } }
    }
}

/// Renders a page with navigation. `body` is its main part.
pub(super) fn page(title: &str, place: NavItem, body: &Markup) -> Markup {
    page_with(&[], title, place, body)
}

/// Renders a page that loads these scripts, given by URL, in addition to the ones on every page.
pub(super) fn page_with_scripts(scripts: &[String], title: &str, place: NavItem, body: &Markup) -> Markup {
    page_with(scripts, title, place, body)
}

fn page_with(scripts: &[String], title: &str, place: NavItem, body: &Markup) -> Markup {
    let link = |to: NavItem, href: &str, sign: &str, label: &str| {
        html! {
            a href=(href) aria-current=[(to == place).then_some("page")] { span.sign aria-hidden="true" { (sign) } span { (label) } }
        }
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                (head(title))
                // Only pages of signed-in users have a manifest: other visitors may be at a host name that should not be installed.
                link rel="manifest" href="/manifest.webmanifest" crossorigin="use-credentials";
                @for script in scripts { script src=(script) defer {} }
            }
            body {
                a.skip href="#main" { "Skip to content" }
                nav.around aria-label="Main" {
                    (link(NavItem::Tasks, "/", "☰", "Tasks"))
                    (link(NavItem::New, "/tasks/new", "+", "New"))
                    (link(NavItem::Environments, "/environments", "⌂", "Repositories"))
                    (link(NavItem::Settings, "/settings", "⚙", "Settings"))
                }
                p #connection role="status" hidden {}
                main #main tabindex="-1" { (body) }
                (keys())
            }
        }
    }
}

/// Renders the list of keyboard shortcuts, which the `?` key opens.
fn keys() -> Markup {
    let all = [
        ("j k", "Next or previous line or entry"),
        ("n p", "Next or previous file or entry"),
        ("Enter", "Open"),
        ("x", "Select a task, or mark a file as viewed"),
        ("c C", "Comment on this line, or on all lines since the last comment"),
        ("/", "Search or write"),
        ("Ctrl/⌘ + Enter", "Send"),
        ("Esc", "Leave the field"),
    ];
    html! {
        dialog #keys aria-label="Keyboard shortcuts" {
            dl { @for (key, label) in all { dt { kbd { (key) } } dd { (label) } } }
            form method="dialog" { button { "Close" } }
        }
    }
}

/// Renders a status as a symbol and a label.
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
    html! { span class={ "status s-" (status.as_str()) } { span aria-hidden="true" { (shape) } " " (capitalized(status.as_str())) } }
}

/// Returns a machine-readable word as a label: `running` becomes `Running`.
pub(super) fn capitalized(word: &str) -> String {
    let (first, rest) = word.split_at(word.len().min(1));
    first.to_ascii_uppercase() + rest
}

/// Formats a position: `1st`, `2nd`, `11th`.
pub(super) fn ordinal(n: usize) -> String {
    let end = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{n}{end}")
}

/// Formats the name of a repository on one line, without characters that hide or reorder text.
pub(super) fn name(name: &Title) -> String {
    printable_line(name.as_str(), NAME_CHARS)
}

/// Renders a warning about a file that cannot be read.
pub(super) fn damaged(damaged: &Damaged) -> Markup {
    html! { "Could not read " code { (damaged.path) } ", so it was left unchanged: " (damaged.reason) }
}

/// Formats a size on disk.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        ..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes / 1_048_576),
        _ => format!("{}.{} GiB", bytes / 1_073_741_824, bytes % 1_073_741_824 * 10 / 1_073_741_824),
    }
}

/// Renders the start of something that is in progress. A script replaces it with the elapsed time.
pub(super) fn since(at: Timestamp) -> Markup {
    html! { time datetime=(at.to_string()) data-age="for" { "since " (at.strftime("%Y-%m-%d %H:%M UTC").to_string()) } }
}

/// Formats a number of files.
pub(super) fn file_count(files: u64) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{files} files") }
}

/// Renders a time in the past. A script replaces it with an age, such as `5 min ago`.
pub(super) fn age(at: Timestamp) -> Markup {
    html! { time datetime=(at.to_string()) data-age { (at.strftime("%Y-%m-%d %H:%M UTC").to_string()) } }
}

/// Renders a time in full.
pub(super) fn moment(at: Timestamp) -> Markup {
    html! { time datetime=(at.to_string()) { (at.strftime("%Y-%m-%d %H:%M UTC").to_string()) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_ordinal_numbers() {
        let all = [1, 2, 3, 4, 11, 12, 13, 21, 22, 101, 111].map(ordinal);
        assert_eq!(all, ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "101st", "111th"]);
    }

    #[test]
    fn a_title_is_text() {
        let page = bare("<script>alert(1)</script>", &html! {}).into_string();
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && !page.contains("<script>alert"), "{page}");
    }
}
