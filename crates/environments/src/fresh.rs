//! The content of a repository: fetching on request, listing branches and tags, and checking that a ref exists. Callers
//! share a running fetch, and nothing here updates a task's branch.

use std::sync::Arc;
use std::time::Duration;

use git::Mirror;
use model::ErrorCode;
use model::names::RefName;
use model::near::near;
use model::problem::{Problem, ProblemKind};
use printable::printable_line;
use protocol::{RefItem, RefKind, RefsQuery, RefsView};

use crate::environments::{EnvironmentSlot, Environments, try_to_follow_settings};
use crate::failures::{missing_history, not_ready};

/// The maximum number of branches and tags in a list: more than anyone reads, and few enough for a page.
const MOST_REFS: usize = 2000;

/// How long to search for an unknown name on the remote.
const REF_PATIENCE: Duration = Duration::from_secs(20);

/// The maximum length of a name in a message, in characters.
const SHOWN: usize = 100;

/// The maximum number of suggested names.
const PROPOSED: usize = 5;

impl Environments {
    /// Fetches from the remote. The fetch continues even if the caller stops waiting, and simultaneous requests share a fetch.
    pub async fn fetch_environment(self: &Arc<Self>, slot: &Arc<EnvironmentSlot>) -> Result<(), Problem> {
        let mirror = slot.mirror().ok_or_else(|| not_ready(&slot.record()))?;
        let (inner, slot) = (Arc::clone(self), Arc::clone(slot));
        let fetched = self.tracker.spawn(async move {
            inner.publish(&slot);
            try_to_follow_settings(&slot).await;
            let fetched = mirror.fetch_fresh(inner.config.fetch_time_limit, inner.cancel.clone()).await;
            inner.publish(&slot);
            fetched
        });
        let fetched = fetched.await.map_err(Problem::internal)?;
        fetched.map_err(|error| error.to_run_error().into_problem(ProblemKind::Unavailable))
    }

    /// Returns the branches and tags that a task can start from, as of the last fetch.
    pub async fn refs(&self, slot: &EnvironmentSlot, query: &RefsQuery) -> Result<RefsView, Problem> {
        let mut items = items(&known(slot)?).await?;
        items.retain(|item| query.tasks || !is_of_a_task(item));
        if let Some(wanted) = query.q.as_deref().map(str::to_lowercase) {
            items.retain(|item| item.name.to_lowercase().contains(&wanted));
        }
        let truncated = items.len() > MOST_REFS;
        items.truncate(MOST_REFS);
        Ok(RefsView { items, truncated, default_branch: slot.record().default_branch.clone() })
    }

    /// Checks whether a task could start from this ref. An unknown name is searched for on the remote. If the remote does not
    /// answer in time, the check passes, and the task fails later if the ref does not exist.
    pub async fn check_ref(self: &Arc<Self>, slot: &Arc<EnvironmentSlot>, name: &str) -> Result<(), Problem> {
        let name = RefName::parse(name)?;
        let mirror = known(slot)?;
        if mirror.resolve_ref(name.as_str()).await.map_err(Problem::internal)?.is_some() {
            return Ok(());
        }
        let Ok(fetched) = tokio::time::timeout(REF_PATIENCE, self.fetch_environment(slot)).await else { return Ok(()) };
        if mirror.resolve_ref(name.as_str()).await.map_err(Problem::internal)?.is_some() {
            return Ok(());
        }
        let mut items = items(&mirror).await?;
        items.retain(|item| !is_of_a_task(item));
        let near = near(name.as_str(), items.iter().map(|item| item.name.as_str()), PROPOSED);
        let detail = format!("branch, tag or commit `{}` not found in the repository", printable_line(name.as_str(), SHOWN));
        let mut problem = Problem::new(ErrorCode::RefNotFound, detail);
        problem = missing_history(&mirror).into_iter().fold(problem, Problem::hint);
        if !near.is_empty() {
            let near: Vec<_> = near.into_iter().map(|name| format!("`{}`", printable_line(name, SHOWN))).collect();
            problem = problem.hint(format!("similar names: {}", near.join(", ")));
        }
        Err(match fetched {
            Ok(()) => problem,
            Err(failed) => problem.hint(format!("could not fetch new commits: {}", failed.report.message)),
        })
    }
}

fn known(slot: &EnvironmentSlot) -> Result<Mirror, Problem> {
    slot.mirror().ok_or_else(|| not_ready(&slot.record()))
}

async fn items(mirror: &Mirror) -> Result<Vec<RefItem>, Problem> {
    let names = mirror.names().await.map_err(Problem::internal)?;
    Ok(names.iter().filter_map(|name| item(name)).collect())
}

fn item(name: &str) -> Option<RefItem> {
    let of = |prefix: &str, kind| name.strip_prefix(prefix).map(|name| RefItem { name: name.to_owned(), kind });
    // A name that is not valid UTF-8 cannot be requested.
    let item = of("refs/heads/", RefKind::Branch).or_else(|| of("refs/tags/", RefKind::Tag))?;
    (!item.name.contains(char::REPLACEMENT_CHARACTER)).then_some(item)
}

fn is_of_a_task(item: &RefItem) -> bool {
    item.kind == RefKind::Branch && (item.name == "codex" || item.name.starts_with("codex/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_branch_or_a_tag() {
        let kind = |name: &str| item(name).map(|item| (item.name, item.kind));
        assert_eq!(kind("refs/heads/a/b"), Some(("a/b".to_owned(), RefKind::Branch)));
        assert_eq!(kind("refs/tags/v1"), Some(("v1".to_owned(), RefKind::Tag)));
        assert_eq!(kind("refs/orchestrator/removed/x"), None);
        assert_eq!(kind("refs/heads/\u{fffd}"), None, "a name that is not valid UTF-8 is skipped");
    }

    #[test]
    fn task_branches_are_told_apart_and_tags_are_not_branches() {
        let of_a_task = |name: &str| item(name).as_ref().is_some_and(is_of_a_task);
        assert!(of_a_task("refs/heads/codex/1") && of_a_task("refs/heads/codex"));
        assert!(!of_a_task("refs/heads/codex-2") && !of_a_task("refs/tags/codex/1"));
    }
}
