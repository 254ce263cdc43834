//! Lists tasks in pages, newest first or in the order of the queue. Tasks are filtered in memory.
//!
//! A cursor is the age of the last task on the page, so that tasks created in the meantime cause no duplicates or gaps. A cursor
//! of the queue is the last task itself: if it has started in the meantime, so have the tasks before it, and the next page
//! starts at the front of the queue.

use std::collections::HashSet;
use std::sync::Arc;

use model::ErrorCode;
use model::ids::{EnvironmentId, TaskId};
use model::problem::Problem;
use model::task::TaskGroup;
use protocol::{Page, TaskFilter, TaskQuery, TaskView};
use spine::Age;

use super::tasks::{TaskSlot, TaskTable, Tasks};

/// The default number of tasks per page.
const DEFAULT_LIMIT: usize = 50;

/// The maximum number of tasks per page.
const MAX_LIMIT: usize = 200;

/// The prefix of a cursor of the queue.
const QUEUE_CURSOR: &str = "queue_";

impl Tasks {
    /// Returns a page for the query.
    pub(crate) fn page(&self, query: &TaskQuery) -> Result<Page<TaskView>, Problem> {
        page(&self.table, query, &self.queue.order(), |slot| self.view(slot))
    }

    /// Returns the tasks of a repository, oldest first.
    pub(crate) fn of_environment(&self, env_id: EnvironmentId) -> Vec<Arc<TaskSlot>> {
        self.table.matching(|slot| slot.env_id == env_id)
    }

    /// Returns the number of tasks of a repository.
    pub(crate) fn count_of_environment(&self, env_id: EnvironmentId) -> usize {
        self.table.count(|slot| slot.env_id == env_id)
    }
}

/// Returns a page for the query. `queue` contains the waiting tasks, the next one first.
fn page(
    table: &TaskTable,
    query: &TaskQuery,
    queue: &[TaskId],
    view: impl Fn(&Arc<TaskSlot>) -> TaskView,
) -> Result<Page<TaskView>, Problem> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if limit == 0 || limit > MAX_LIMIT {
        return Err(Problem::new(ErrorCode::LimitRefused, format!("the limit {limit} is not between 1 and {MAX_LIMIT}")));
    }
    let filter = TaskFilter::parse(query)?;
    let in_order_of_queue = filter.group() == Some(TaskGroup::Queued);
    let candidates = match query.cursor.as_deref() {
        cursor if in_order_of_queue => queued(table, queue, cursor.map(parse_queue_cursor).transpose()?),
        cursor => table.newest(cursor.map(parse_cursor).transpose()?),
    };
    let mut found = candidates.into_iter().filter(|slot| filter.matches(&slot.record()));
    let slots: Vec<_> = found.by_ref().take(limit).collect();
    let more = found.next().is_some();
    let next_cursor = slots.last().filter(|_| more).map(|slot| match filter.group() {
        Some(TaskGroup::Queued) => format!("{QUEUE_CURSOR}{}", slot.id),
        Some(TaskGroup::NeedsYou | TaskGroup::Running | TaskGroup::Done) | None => write_cursor(slot.age()),
    });
    Ok(Page { items: slots.iter().map(view).collect(), next_cursor, damaged: vec![] })
}

/// Returns the tasks in the order of the queue, after the task `after`. A run that was just queued has no place yet and comes
/// last.
fn queued(table: &TaskTable, queue: &[TaskId], after: Option<TaskId>) -> Vec<Arc<TaskSlot>> {
    let placed: HashSet<_> = queue.iter().collect();
    let without_place = table.newest(None).into_iter().rev().filter(|slot| !placed.contains(&slot.id));
    let mut all: Vec<_> = queue.iter().filter_map(|id| table.get(*id)).chain(without_place).collect();
    if let Some(last) = after.and_then(|after| all.iter().position(|slot| slot.id == after)) {
        all.drain(..=last);
    }
    all
}

fn write_cursor((created_at, id): Age<Tasks>) -> String {
    format!("{}_{id}", created_at.as_nanosecond())
}

fn parse_queue_cursor(text: &str) -> Result<TaskId, Problem> {
    let parsed = text.strip_prefix(QUEUE_CURSOR).and_then(|id| id.parse().ok());
    parsed.ok_or_else(|| {
        Problem::new(ErrorCode::CursorRefused, "invalid cursor for the queue".to_owned())
            .hint("send `next_cursor` of the previous page unchanged")
    })
}

fn parse_cursor(text: &str) -> Result<Age<Tasks>, Problem> {
    let parsed = text.split_once('_').and_then(|(time, id)| {
        let time = jiff::Timestamp::from_nanosecond(time.parse().ok()?).ok()?;
        Some((time, id.parse::<TaskId>().ok()?))
    });
    parsed.ok_or_else(|| {
        Problem::new(ErrorCode::CursorRefused, "invalid cursor".to_owned())
            .hint("send `next_cursor` of the previous page unchanged")
    })
}

#[cfg(test)]
mod tests {
    use super::super::live::TaskLive;
    use model::names::{Prompt, RefName, RepositoryUrl, Title};
    use model::task::{NewRun, NewTask, TaskRecord};

    use super::*;

    fn table(titles: &[&str]) -> TaskTable {
        let table = TaskTable::default();
        for (n, title) in titles.iter().enumerate() {
            let n = u128::try_from(n).expect("few");
            let new = NewTask {
                env_id: EnvironmentId::from_uuid(uuid::Uuid::from_u128(n % 2)),
                repo_url: RepositoryUrl::parse("/srv/repo").expect("a URL"),
                git_ref: RefName::parse("main").expect("a ref"),
                title: Title::parse(title).expect("a title"),
                driver: None,
                run: NewRun {
                    prompt: Prompt::parse("Do it").expect("a prompt"),
                    images: vec![],
                    model: None,
                    effort: None,
                    priority: model::queue::Priority::Normal,
                    idempotency_key: None,
                },
                idempotency_key: None,
            };
            let at = jiff::Timestamp::from_second(1_000 + i64::try_from(n / 2).expect("few")).expect("a time");
            let live = TaskLive::new(new.env_id);
            table.insert(&TaskSlot::new(TaskRecord::new(TaskId::from_uuid(uuid::Uuid::from_u128(n)), new, at), live));
        }
        table
    }

    fn titles(table: &TaskTable, query: &TaskQuery) -> (Vec<String>, Option<String>) {
        let page = page(table, query, &[], |slot| TaskView::new(&slot.record(), None, None, None)).expect("a page");
        (page.items.iter().map(|task| task.title.to_string()).collect(), page.next_cursor)
    }

    #[test]
    fn pages_follow_each_other_newest_first_without_gaps() {
        let table = table(&["a", "b", "c", "d", "e"]);
        let mut seen = vec![];
        let mut query = TaskQuery { limit: Some(2), ..TaskQuery::default() };
        loop {
            let (page, next) = titles(&table, &query);
            seen.extend(page);
            if next.is_none() {
                break;
            }
            query.cursor = next;
        }
        assert_eq!(seen, ["e", "d", "c", "b", "a"]);
    }

    #[test]
    fn the_queue_is_listed_in_its_own_order_without_gaps() {
        let table = table(&["a", "b", "c", "d", "new"]);
        let id = |n: u128| TaskId::from_uuid(uuid::Uuid::from_u128(n));
        let page = |queue: &[TaskId], cursor: Option<String>| {
            let query = TaskQuery { limit: Some(2), group: Some("queued".to_owned()), cursor, ..TaskQuery::default() };
            let page =
                super::page(&table, &query, queue, |slot| TaskView::new(&slot.record(), None, None, None)).expect("a page");
            let titles: Vec<_> = page.items.iter().map(|task| task.title.to_string()).collect();
            (titles.join(" "), page.next_cursor)
        };
        let queue = [id(1), id(0), id(3), id(2)];
        let (first, cursor) = page(&queue, None);
        let (second, next) = page(&queue, cursor.clone());
        assert_eq!((first.as_str(), second.as_str()), ("b a", "d c"));
        assert_eq!(page(&queue, next), ("new".to_owned(), None));
        // The tasks of the first page have started in the meantime and left the queue.
        for gone in [id(0), id(1)] {
            table.remove(&table.get(gone).expect("there"));
        }
        assert_eq!(page(&[id(3), id(2)], cursor.clone()).0, "d c");
        let wrong = TaskQuery { cursor, ..TaskQuery::default() };
        let refused = super::page(&table, &wrong, &queue, |slot| TaskView::new(&slot.record(), None, None, None))
            .expect_err("another list's");
        assert_eq!(refused.report.code, ErrorCode::CursorRefused);
    }

    #[test]
    fn a_filter_takes_environment_status_and_text() {
        let table = table(&["Fix the parser", "Write docs", "fix the build"]);
        let text = TaskQuery { q: Some("FIX".to_owned()), ..TaskQuery::default() };
        assert_eq!(titles(&table, &text).0, ["fix the build", "Fix the parser"]);
        let env = Some(EnvironmentId::from_uuid(uuid::Uuid::from_u128(1)).to_string());
        assert_eq!(titles(&table, &TaskQuery { env, ..TaskQuery::default() }).0, ["Write docs"]);
        let status = |status: &str| TaskQuery { status: Some(status.to_owned()), ..TaskQuery::default() };
        assert_eq!(titles(&table, &status("queued,failed")).0.len(), 3);
        assert!(titles(&table, &status("failed")).0.is_empty());
    }

    #[test]
    fn a_query_that_makes_no_sense_is_refused() {
        let table = table(&["a"]);
        let refused = |query: TaskQuery| {
            page(&table, &query, &[], |slot| TaskView::new(&slot.record(), None, None, None))
                .expect_err("the query is invalid")
                .report
                .code
        };
        assert_eq!(refused(TaskQuery { limit: Some(0), ..TaskQuery::default() }), ErrorCode::LimitRefused);
        assert_eq!(refused(TaskQuery { limit: Some(201), ..TaskQuery::default() }), ErrorCode::LimitRefused);
        assert_eq!(refused(TaskQuery { group: Some("asleep".to_owned()), ..TaskQuery::default() }), ErrorCode::GroupRefused);
        assert_eq!(refused(TaskQuery { archived: Some("yes".to_owned()), ..TaskQuery::default() }), ErrorCode::ArchivedRefused);
        assert_eq!(refused(TaskQuery { cursor: Some("x".to_owned()), ..TaskQuery::default() }), ErrorCode::CursorRefused);
        assert_eq!(refused(TaskQuery { status: Some("asleep".to_owned()), ..TaskQuery::default() }), ErrorCode::StatusRefused);
        assert_eq!(refused(TaskQuery { env: Some("../x".to_owned()), ..TaskQuery::default() }), ErrorCode::MalformedId);
    }

    #[test]
    fn a_key_finds_its_task_until_the_task_is_removed() {
        let table = table(&[]);
        let new = NewTask {
            env_id: EnvironmentId::from_uuid(uuid::Uuid::from_u128(1)),
            repo_url: RepositoryUrl::parse("/srv/repo").expect("a URL"),
            git_ref: RefName::parse("main").expect("a ref"),
            title: Title::parse("t").expect("a title"),
            driver: None,
            run: NewRun {
                prompt: Prompt::parse("Do it").expect("a prompt"),
                images: vec![],
                model: None,
                effort: None,
                priority: model::queue::Priority::Normal,
                idempotency_key: None,
            },
            idempotency_key: Some("key".to_owned()),
        };
        let id = TaskId::from_uuid(uuid::Uuid::from_u128(9));
        let live = TaskLive::new(new.env_id);
        let slot = TaskSlot::new(TaskRecord::new(id, new, jiff::Timestamp::UNIX_EPOCH), live);
        table.insert(&slot);
        assert_eq!(table.by_key("key").map(|slot| slot.id), Some(id));
        table.remove(&slot);
        assert!(table.by_key("key").is_none() && table.get(id).is_none() && table.all().is_empty());
    }
}
