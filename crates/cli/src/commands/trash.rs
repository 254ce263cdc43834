//! `trash`, `gc`, `disk`, `task restore` and `env restore`: manage the trash and disk usage.
//! These commands use only the API and the terminal, never files in the home directory.

use std::fmt::Display;
use std::process::ExitCode;
use std::str::FromStr;

use client::Client;
use model::ErrorCode;
use model::ids::{EnvironmentId, TaskId};
use model::near::near;
use model::problem::Problem;
use model::size::bytes as size;
use printable::printable_line;
use protocol::{
    BuiltImage, CollectGarbage, DiskView, GarbageCollected, ImageUse, MirrorRepack, Page, RepackState, TrashItem, TrashKind,
};

use crate::args::GcArguments;
use crate::output::{Output, OutputFormat};
use crate::printer::{Cell, plural};
use crate::{ids, printer};

/// The maximum length of a name, in characters.
const NAME: usize = 50;

/// The maximum number of tasks that `disk` lists.
const LARGEST: usize = 20;

pub(crate) async fn list(client: &Client, format: OutputFormat) -> Result<ExitCode, Problem> {
    let page = trash(client).await?;
    if format.is_json() {
        printer::json(&page)?;
    } else {
        listed(&page.items).print();
    }
    Ok(ExitCode::SUCCESS)
}

fn listed(items: &[TrashItem]) -> Output {
    let mut out = Output::default();
    if items.is_empty() {
        out.remark("The trash is empty.");
    } else {
        table(&mut out, items);
        out.remark("restore an item: codex-orchestrator task restore ID, or codex-orchestrator env restore ID");
    }
    out
}

async fn trash(client: &Client) -> Result<Page<TrashItem>, Problem> {
    client.list_trash().await
}

fn table(out: &mut Output, items: &[TrashItem]) {
    let all: Vec<_> = items.iter().map(|item| item.id.clone()).collect();
    let length = ids::shown_length(&all);
    let day = |time: jiff::Timestamp| time.strftime("%Y-%m-%d %H:%M").to_string();
    let rows = items.iter().map(|item| {
        vec![
            Cell::plain(item.id.get(..length).unwrap_or(&item.id)),
            Cell::plain(kind(item.kind)),
            Cell::plain(day(item.removed_at)),
            Cell::plain(day(item.expires_at)),
            Cell::plain(printable_line(&item.name, NAME)),
        ]
    });
    out.table(&["id", "kind", "removed (UTC)", "expires (UTC)", "name"], &rows.collect::<Vec<_>>());
}

fn kind(kind: TrashKind) -> &'static str {
    match kind {
        TrashKind::Task => "task",
        TrashKind::Environment => "env",
        TrashKind::Other => "folder",
    }
}

/// Finds an item among these by its name or a prefix of its ID. Returns its ID, or `None` if there is no such item.
fn find<T: FromStr>(items: &[TrashItem], wanted: &str, kind: TrashKind) -> Result<Option<T>, Problem>
where
    T::Err: Display,
{
    let mut found = items.iter().filter(|item| item.kind == kind && (item.id.starts_with(wanted) || item.name == wanted));
    match (found.next(), found.next()) {
        (Some(only), None) => only.id.parse().map(Some).map_err(Problem::internal),
        (Some(_), Some(_)) => Err(Problem::new(ErrorCode::AmbiguousId, format!("`{wanted}` matches several items in the trash"))
            .hint("use more characters of the ID")
            .hint("list the trash: codex-orchestrator trash")),
        (None, _) => Ok(None),
    }
}

/// Returns the error for an item that is neither in the trash nor outside it. `names` are those in the trash that could be meant.
fn not_restored<'a>(mut problem: Problem, wanted: &str, names: impl Iterator<Item = &'a str>) -> Problem {
    problem.report.hints = near(wanted, names, 1).into_iter().map(|name| format!("did you mean `{name}`?")).collect();
    problem.hint("list what can be restored: codex-orchestrator trash")
}

async fn removed_task(client: &Client, wanted: &str) -> Result<TaskId, Problem> {
    if let Some(id) = find(&trash(client).await?.items, wanted, TrashKind::Task)? {
        return Ok(id);
    }
    // The task may have been restored already, which is not an error.
    ids::task(client, wanted).await.map_err(|problem| not_restored(problem, wanted, std::iter::empty()))
}

async fn removed_environment(client: &Client, wanted: &str) -> Result<EnvironmentId, Problem> {
    let items = trash(client).await?.items;
    if let Some(id) = find(&items, wanted, TrashKind::Environment)? {
        return Ok(id);
    }
    let names = items.iter().filter(|item| item.kind == TrashKind::Environment).map(|item| item.name.as_str());
    // The repository may have been restored already, which is not an error.
    ids::environment(client, wanted).await.map_err(|problem| not_restored(problem, wanted, names))
}

pub(crate) async fn restore_task(client: &Client, wanted: &str, format: OutputFormat) -> Result<ExitCode, Problem> {
    let id = removed_task(client, wanted).await?;
    let view = client.restore_task(id).await?;
    if format.is_json() {
        printer::json(&view)?;
    } else {
        printer::line(format!("Restored {} ({})", view.task_id, view.status.as_str()));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn restore_environment(client: &Client, wanted: &str, format: OutputFormat) -> Result<(), Problem> {
    let id = removed_environment(client, wanted).await?;
    let view = client.restore_environment(id).await?;
    if format.is_json() {
        return printer::json(&view);
    }
    printer::line(format!("Restored {} ({}) with {}", view.name, view.env_id, plural(view.tasks, "task")));
    Ok(())
}

pub(crate) async fn collect(client: &Client, asked: &GcArguments, format: OutputFormat) -> Result<ExitCode, Problem> {
    let older_than_days = if asked.all { Some(0) } else { asked.older_than };
    let body = CollectGarbage { older_than_days, id: None, dry_run: asked.dry_run };
    let done = client.collect_garbage(&body).await?;
    if format.is_json() {
        printer::json(&done)?;
        return Ok(if done.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    collected(&done, if asked.dry_run { Deletion::Planned } else { Deletion::Done }).print();
    Ok(if done.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether items were deleted, or would be.
#[derive(Debug, Clone, Copy)]
enum Deletion {
    Planned,
    Done,
}

fn collected(done: &GarbageCollected, deletion: Deletion) -> Output {
    let mut out = Output::default();
    if !done.items.is_empty() {
        table(&mut out, &done.items);
    }
    let (deleted, removed) = match deletion {
        Deletion::Planned => ("Would delete", "Would remove"),
        Deletion::Done => ("Deleted", "Removed"),
    };
    out.line(format!("{deleted} {} ({})", plural(done.items.len(), "item"), size(done.bytes)));
    for failed in &done.failed {
        out.line(format!("Could not delete {} ({}): {}", printable_line(&failed.name, NAME), failed.id, failed.detail));
    }
    for mirror in &done.mirrors {
        out.line(repacked(mirror));
    }
    for image in &done.images {
        out.line(format!("{removed} image {} ({})", printable_line(&image.name, NAME), image_size(image)));
    }
    for snapshot in &done.snapshots {
        let name = printable_line(snapshot.name.as_str(), NAME);
        out.line(format!("{deleted} snapshot {} of {name} ({})", snapshot.key.short(), size(snapshot.bytes)));
    }
    if done.prepared > 0 {
        out.line(format!("{deleted} prepared worktrees ({})", size(done.prepared)));
    }
    out.line(format!("Free: {}", size(done.free)));
    out
}

fn repacked(mirror: &MirrorRepack) -> String {
    let name = printable_line(mirror.name.as_str(), NAME);
    let kept = mirror.unreachable.filter(|bytes| *bytes > 0).map(size);
    match (mirror.state, mirror.after) {
        (RepackState::Planned, _) => {
            let kept = kept.map(|kept| format!(", {kept} of it unreachable")).unwrap_or_default();
            format!("Would repack the mirror of {name}: {}{kept}", size(mirror.before))
        }
        (RepackState::Running, _) => format!("Repacking the mirror of {name} in the background"),
        (RepackState::Failed, _) => format!("Could not repack the mirror of {name} (see the server's log)"),
        (RepackState::Done, after) => {
            let kept = kept.map(|kept| format!(" ({kept} unreachable, kept for now)")).unwrap_or_default();
            format!("Repacked the mirror of {name}: {} → {}{kept}", size(mirror.before), size(after.unwrap_or(mirror.before)))
        }
    }
}

fn image_size(image: &BuiltImage) -> String {
    image.bytes.map_or_else(|| "unknown size".to_owned(), size)
}

fn used_by(used_by: ImageUse) -> &'static str {
    match used_by {
        ImageUse::Repository => "repository",
        ImageUse::Container => "container",
        ImageUse::OtherName => "other name",
        ImageUse::Nothing => "nothing",
        ImageUse::Unknown => "unknown",
    }
}

pub(crate) async fn disk(client: &Client, format: OutputFormat) -> Result<ExitCode, Problem> {
    let disk = client.show_disk().await?;
    if format.is_json() {
        printer::json(&disk)?;
        return Ok(ExitCode::SUCCESS);
    }
    usage(&disk).print();
    Ok(ExitCode::SUCCESS)
}

fn usage(disk: &DiskView) -> Output {
    let mut out = Output::default();
    for (name, bytes) in [
        ("mirrors", disk.mirrors),
        ("unreachable", disk.unreachable),
        ("snapshots", disk.snapshots),
        ("worktrees", disk.worktrees),
        ("prepared", disk.prepared),
        ("logs", disk.logs),
        ("other", disk.other),
        ("trash", disk.trash),
        ("free", disk.free),
    ] {
        out.line(format!("{name:<11} {:>10}", size(bytes)));
    }
    out.line(format!("\nNo run starts while less than {} is free.", size(disk.floor)));
    let rows = disk.environments.iter().map(|environment| {
        vec![
            Cell::plain(printable_line(environment.name.as_str(), NAME)),
            Cell::plain(size(environment.mirror)),
            Cell::plain(environment.unreachable.map_or_else(|| "?".to_owned(), size)),
            Cell::plain(size(environment.snapshots)),
            Cell::plain(size(environment.prepared)),
            Cell::plain(size(environment.tasks)),
        ]
    });
    section(&mut out, &["repository", "mirror", "unreachable", "snapshots", "prepared", "tasks"], &rows.collect::<Vec<_>>());
    let rows = disk.images.iter().map(|image| {
        let name = printable_line(&image.name, 2 * NAME);
        vec![Cell::plain(name), Cell::plain(image_size(image)), Cell::plain(used_by(image.used_by))]
    });
    section(&mut out, &["image", "size", "used by"], &rows.collect::<Vec<_>>());
    let all: Vec<_> = disk.tasks.iter().map(|task| task.task_id.to_string()).collect();
    let length = ids::shown_length(&all);
    let rows = disk.tasks.iter().take(LARGEST).map(|task| {
        vec![
            Cell::plain(&task.task_id.to_string()[..length]),
            Cell::plain(size(task.bytes)),
            Cell::plain(size(task.worktree)),
            Cell::plain(size(task.logs)),
            Cell::plain(printable_line(task.title.as_str(), NAME)),
        ]
    });
    section(&mut out, &["task", "total", "worktree", "logs", "title"], &rows.collect::<Vec<_>>());
    out
}

/// Adds an empty line and a table, unless the table has no rows.
fn section(out: &mut Output, heading: &[&str], rows: &[Vec<Cell>]) {
    if !rows.is_empty() {
        out.line("");
        out.table(heading, rows);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::tests::samples;

    fn item(kind: &str) -> Value {
        json!({
            "kind": kind, "id": samples::TASK, "name": "Fix the failing test", "env_id": samples::ENV, "bytes": 4096,
            "removed_at": "2026-03-01T12:00:00Z", "expires_at": "2026-03-31T12:00:00Z",
        })
    }

    fn image(bytes: Option<u64>, used_by: &str) -> Value {
        json!({
            "image_id": "sha256:1", "name": "codex-orchestrator/app:1", "env_id": samples::ENV, "bytes": bytes,
            "built_at": "2026-03-01T12:00:00Z", "used_by": used_by,
        })
    }

    #[test]
    fn the_trash_says_how_to_restore() {
        let items: Vec<TrashItem> = samples::from(json!([item("task"), item("environment"), item("other")]));
        insta::assert_snapshot!("trash", listed(&items).plain());
        insta::assert_snapshot!("trash-empty", listed(&[]).plain());
    }

    #[test]
    fn a_collection_says_what_it_deleted() {
        let mirror = |state: &str, after: Option<u64>, unreachable: Option<u64>| {
            json!({
                "env_id": samples::ENV, "name": "app", "state": state, "before": 9_000_000, "after": after,
                "unreachable": unreachable,
            })
        };
        let done = samples::from(json!({
            "items": [item("task")], "bytes": 4096, "free": 5_000_000_000_u64,
            "failed": [{ "id": "x", "name": "old", "detail": "permission denied" }],
            "mirrors": [
                mirror("planned", None, Some(70_000)),
                mirror("running", None, None),
                mirror("done", Some(8_000_000), Some(70_000)),
                mirror("done", Some(8_000_000), None),
                mirror("failed", None, None),
            ],
            "images": [image(Some(1_500_000_000), "nothing"), image(None, "nothing")], "prepared": 60_000,
            "snapshots": [{
                "env_id": samples::ENV, "name": "app", "key": "3f2a".repeat(16), "bytes": 700_000_000,
                "created_at": "2026-03-01T12:00:00Z",
            }],
        }));
        insta::assert_snapshot!("gc", collected(&done, Deletion::Done).plain());
        insta::assert_snapshot!("gc-dry-run", collected(&done, Deletion::Planned).plain());
    }

    #[test]
    fn disk_usage_is_shown_by_kind_repository_and_task() {
        let uses = ["repository", "container", "other_name", "nothing", "unknown"];
        let images: Vec<_> = uses.iter().map(|used_by| image(Some(1_500_000_000), used_by)).collect();
        let disk = samples::from(json!({
            "free": 5_000_000_000_u64, "floor": 1_073_741_824, "mirrors": 9_000_000, "unreachable": 70_000, "snapshots": 600_000,
            "worktrees": 2_000_000, "prepared": 60_000, "logs": 300_000, "other": 40_000, "trash": 4096, "images": images,
            "environments": [
                { "env_id": samples::ENV, "name": "app", "mirror": 9_000_000, "unreachable": 70_000, "snapshots": 600_000, "prepared": 60_000, "tasks": 2_300_000 },
                { "env_id": samples::ENV, "name": "web", "mirror": 1_000_000, "unreachable": null, "tasks": 0 },
            ],
            "tasks": [{
                "task_id": samples::TASK, "env_id": samples::ENV, "title": "Fix the failing test", "bytes": 2_300_000,
                "worktree": 2_000_000, "logs": 300_000,
            }],
        }));
        insta::assert_snapshot!("disk", usage(&disk).plain());
    }

    #[test]
    fn an_item_is_found_by_name_or_prefix_among_its_kind() {
        let other = "0192f3a1-1111-7000-8000-000000000002";
        let mut second = item("task");
        second["id"] = json!(other);
        second["name"] = json!("Other");
        let items: Vec<TrashItem> = samples::from(json!([item("task"), second, item("environment"), item("other")]));
        let task = |wanted: &str| find::<TaskId>(&items, wanted, TrashKind::Task).map(|found| found.map(|id| id.to_string()));
        for (wanted, expect) in [
            ("Other", Some(other)),
            ("0192f3a1", Some(other)),
            (samples::TASK, Some(samples::TASK)),
            ("Oth", None),
            ("nothing", None),
        ] {
            assert_eq!(task(wanted), Ok(expect.map(str::to_owned)), "{wanted}");
        }
        let ambiguous = task("0192").expect_err("two tasks start with it");
        assert_eq!((ambiguous.report.code.known(), ambiguous.report.hints.len()), (Some(ErrorCode::AmbiguousId), 2));
        assert_eq!(find::<EnvironmentId>(&items, "Other", TrashKind::Environment), Ok(None), "tasks are not repositories");
    }

    #[test]
    fn an_unknown_item_suggests_a_similar_name() {
        let problem = || Problem::new(ErrorCode::EnvironmentNotFound, "not found").hint("a hint about lists");
        let hints = |names: &[&str]| not_restored(problem(), "webste", names.iter().copied()).report.hints;
        assert_eq!(
            hints(&["app", "website"]),
            ["did you mean `website`?", "list what can be restored: codex-orchestrator trash"]
        );
        assert_eq!(hints(&["app"]), ["list what can be restored: codex-orchestrator trash"]);
    }

    #[test]
    fn only_the_largest_tasks_are_listed() {
        let task = |number: u64| {
            json!({
                "task_id": format!("0192f3a0-1111-7000-8000-{number:012}"), "env_id": samples::ENV, "title": "日本 ".repeat(25),
                "bytes": number, "worktree": 0, "logs": 0,
            })
        };
        let tasks: Vec<_> = (0..40).map(task).collect();
        let disk = samples::from(json!({
            "free": 1, "floor": 1, "mirrors": 0, "unreachable": 0, "worktrees": 0, "logs": 0, "other": 0, "trash": 0,
            "environments": [], "images": [], "tasks": tasks,
        }));
        let text = usage(&disk).plain();
        let listed: Vec<_> = text.lines().filter(|line| line.starts_with("0192")).collect();
        assert_eq!(listed.len(), LARGEST);
        assert!(listed.iter().all(|line| line.ends_with('…')), "long titles are cut: {text}");
        let ids: std::collections::BTreeSet<_> = listed.iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(ids.len(), LARGEST, "each ID in the list is different: {text}");
    }
}
