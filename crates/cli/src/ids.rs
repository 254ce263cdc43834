//! Finds a task or repository by a unique prefix of its ID (at least four characters), or a repository by its name.
//! Invariant: an ambiguous prefix is an error that lists the matches, never a guess.

use std::fmt::Display;

use client::Client;
use model::ErrorCode;
use model::ids::{EnvironmentId, TaskId};
use model::near::near;
use model::problem::Problem;
use protocol::{EnvironmentView, TaskQuery};

/// The minimum length of a prefix.
const SHORTEST: usize = 4;

/// The minimum length of an ID in a list. IDs start with a timestamp of this length, so a prefix from a list usually stays
/// unique when tasks are added.
const SHOWN: usize = 13;

/// Returns the ID of a task. A complete ID is returned without a request.
pub(crate) async fn task(client: &Client, text: &str) -> Result<TaskId, Problem> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let mut found = vec![];
    // Send no request for text that cannot be the start of an ID.
    let all =
        || TaskQuery { limit: Some(200), archived: Some("any".to_owned()), q: Some(text.to_owned()), ..TaskQuery::default() };
    let mut query = is_prefix(text).then(all);
    while let Some(asked) = query {
        let page = client.list_tasks(&asked).await?;
        found.extend(page.items.iter().map(|task| task.task_id).filter(|id| id.to_string().starts_with(text)));
        query = page.next_cursor.map(|next| TaskQuery { cursor: Some(next), ..all() });
    }
    only("task", text, found)?.ok_or_else(|| unknown_task(text))
}

/// Returns the ID of a repository.
pub(crate) async fn environment(client: &Client, text: &str) -> Result<EnvironmentId, Problem> {
    let page = client.list_environments().await?;
    let ids = |is_meant: &dyn Fn(&EnvironmentView) -> bool| -> Vec<EnvironmentId> {
        page.items.iter().filter(|env| is_meant(env)).map(|env| env.env_id).collect()
    };
    if let Some(named) = only("repository", text, ids(&|env| env.name.as_str() == text))? {
        return Ok(named);
    }
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let found = if is_prefix(text) { ids(&|env| env.env_id.to_string().starts_with(text)) } else { vec![] };
    let names: Vec<_> = page.items.iter().map(|env| env.name.as_str()).collect();
    only("repository", text, found)?.ok_or_else(|| unknown_environment(text, &names))
}

/// Whether an ID can start with this text.
fn is_prefix(text: &str) -> bool {
    let is_plain = text.chars().all(|c| c.is_ascii_hexdigit() && !c.is_ascii_uppercase() || c == '-');
    is_plain && (SHORTEST..=36).contains(&text.len())
}

/// Returns the start of the text that the user typed, without control characters.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

/// Returns the error for an unknown repository. `names` are the existing names, from which a similar one is suggested.
pub(crate) fn unknown_environment(text: &str, names: &[&str]) -> Problem {
    let detail = format!("no repository named `{}`, and no ID that starts with it", shown(text));
    let problem = Problem::new(ErrorCode::EnvironmentNotFound, detail);
    let problem = match near(text, names.iter().copied(), 1).first() {
        Some(name) => problem.hint(format!("did you mean `{name}`?")),
        None => problem,
    };
    let problem = if names.is_empty() { problem } else { problem.hint("list the repositories: codex-orchestrator env list") };
    short(text, problem.hint("add a repository: codex-orchestrator env add URL"))
}

fn unknown_task(text: &str) -> Problem {
    let detail = format!("no task has an ID that starts with `{}`", shown(text));
    let problem = Problem::new(ErrorCode::TaskNotFound, detail);
    short(text, problem.hint("list the tasks: codex-orchestrator task list").hint("list removed tasks: codex-orchestrator trash"))
}

/// Adds a hint if the text is too short to be accepted as a prefix.
fn short(text: &str, problem: Problem) -> Problem {
    let is_too_short = !text.is_empty() && text.len() < SHORTEST && text.chars().all(|c| c.is_ascii_hexdigit());
    if is_too_short { problem.hint(format!("use at least {SHORTEST} characters of an ID")) } else { problem }
}

/// Returns the only match, if any. Several matches are an error that lists them.
fn only<T: Display>(what: &str, text: &str, mut found: Vec<T>) -> Result<Option<T>, Problem> {
    if found.len() > 1 {
        let several = if what == "repository" { "repositories" } else { "tasks" };
        let detail = format!("`{text}` matches {} {several}", found.len());
        let problem = Problem::new(ErrorCode::AmbiguousId, detail).hint("use more characters of one of these IDs:");
        return Err(found.iter().take(5).fold(problem, |problem, id| problem.hint(id.to_string())));
    }
    Ok(found.pop())
}

/// Returns the prefix length at which all these IDs differ.
pub(crate) fn shown_length(ids: &[String]) -> usize {
    let mut sorted: Vec<_> = ids.iter().collect();
    sorted.sort();
    let shared = |pair: &[&String]| pair[0].bytes().zip(pair[1].bytes()).take_while(|(a, b)| a == b).count() + 1;
    sorted.windows(2).map(shared).max().unwrap_or(0).clamp(SHOWN, 36)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_an_id_can_start_with_is_looked_up() {
        for text in ["", "abc", "../etc", "ABCD", "zzzz", "01a2\n", &"a".repeat(37)] {
            assert!(!is_prefix(text), "{text:?}");
        }
        assert!(is_prefix("01a2") && is_prefix("01a20685-f510-7660-94a2-000000000000"));
    }

    #[test]
    fn an_ambiguous_prefix_lists_the_candidates() {
        let problem = only("task", "01a2", vec!["01a2b".to_owned(), "01a2c".to_owned()]).expect_err("two");
        assert_eq!(
            (problem.report.code.known(), problem.report.message.as_str()),
            (Some(ErrorCode::AmbiguousId), "`01a2` matches 2 tasks")
        );
        assert!(problem.report.hints.contains(&"01a2c".to_owned()), "{problem:?}");
        assert_eq!(only::<TaskId>("task", "01a2", vec![]), Ok(None));
    }

    #[test]
    fn an_unknown_repository_is_refused_with_the_nearest_name() {
        let problem = unknown_environment("appp", &["app", "website"]);
        assert_eq!(problem.report.message, "no repository named `appp`, and no ID that starts with it");
        assert_eq!(
            problem.report.hints,
            [
                "did you mean `app`?",
                "list the repositories: codex-orchestrator env list",
                "add a repository: codex-orchestrator env add URL",
            ]
        );
        assert_eq!(unknown_environment("nope", &["app"]).report.hints.len(), 2, "no name is similar");
        assert_eq!(unknown_environment("nope", &[]).report.hints, ["add a repository: codex-orchestrator env add URL"]);
        assert!(unknown_environment("abc", &[]).report.hints[1].contains("4 characters"), "the text could be an ID");
    }

    #[test]
    fn an_unknown_task_is_refused_without_its_control_characters() {
        let problem = unknown_task("zz\u{1b}[2J");
        assert_eq!(
            (problem.report.code.known(), problem.report.message.as_str()),
            (Some(ErrorCode::TaskNotFound), "no task has an ID that starts with `zz[2J`")
        );
        assert!(problem.report.hints[0].contains("task list"), "{problem:?}");
    }

    #[test]
    fn lists_show_enough_characters_to_distinguish_ids() {
        let ids = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let [one, other] = ["01a20685-f510-7660-94a2", "01a20685-f510-7660-94a3"];
        assert_eq!(shown_length(&ids(&[one, other])), 23, "the IDs were created in the same millisecond");
        assert_eq!(shown_length(&ids(&["a", "b"])), 13);
        assert_eq!(shown_length(&[]), 13);
    }

    #[test]
    fn the_shown_part_of_an_id_can_be_typed_again() {
        let ids: Vec<_> = (0..50).map(|number| format!("0192f3a0-1111-7000-8000-0000000000{number:02}")).collect();
        let length = shown_length(&ids);
        for id in &ids {
            let shown = &id[..length];
            assert!(is_prefix(shown) && ids.iter().filter(|other| other.starts_with(shown)).count() == 1, "{shown}");
        }
        assert_eq!(shown_length(&[ids[0].clone(), ids[0].clone()]), 36, "an ID that is listed twice is complete");
    }

    #[test]
    fn long_text_in_an_error_is_cut() {
        let problem = unknown_task(&"z".repeat(5000));
        assert!(problem.report.message.len() < 150, "{problem}");
        let problem = unknown_environment(&"z\n".repeat(5000), &["app"]);
        assert!(problem.report.message.len() < 150 && !problem.report.message.contains('\n'), "{problem}");
    }
}
