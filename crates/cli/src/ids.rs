//! Shortened ids: any unique prefix of four characters or more, and an environment's name.
//! Invariant: what several ids begin with is an error that names them, never a guess.

use model::api::{EnvironmentView, Page, TaskView};
use model::problem::{Problem, ProblemKind};

use crate::client::Client;

/// The fewest characters of an id.
const SHORTEST: usize = 4;

/// The fewest characters that lists show. New ids begin with the time, and that many hold all of it: what a list shows is then
/// also told apart from what it does not show.
const SHOWN: usize = 13;

/// The full id of a task.
pub(crate) async fn task(client: &Client, text: &str) -> Result<String, Problem> {
    if text.len() == 36 {
        return Ok(checked(text)?.to_owned());
    }
    let prefix = checked(text)?;
    let mut found = vec![];
    let mut cursor = String::new();
    loop {
        let page: Page<TaskView> = client.get(&format!("/api/v1/tasks?limit=200&archived=any&q={prefix}{cursor}")).await?;
        found.extend(page.items.iter().map(|task| task.meta.task_id.to_string()).filter(|id| id.starts_with(prefix)));
        match page.next_cursor {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return only("task", prefix, found),
        }
    }
}

/// The full id of an environment.
pub(crate) async fn environment(client: &Client, text: &str) -> Result<String, Problem> {
    let page: Page<EnvironmentView> = client.get("/api/v1/envs").await?;
    let named: Vec<_> = page.items.iter().filter(|env| env.name.as_str() == text).map(|env| env.env_id.to_string()).collect();
    if !named.is_empty() {
        return only("environment", text, named);
    }
    if text.len() == 36 {
        return Ok(checked(text)?.to_owned());
    }
    let prefix = checked(text)?;
    let found = page.items.iter().map(|env| env.env_id.to_string()).filter(|id| id.starts_with(prefix)).collect();
    only("environment", prefix, found)
}

fn checked(text: &str) -> Result<&str, Problem> {
    let plain = text.chars().all(|c| c.is_ascii_hexdigit() && !c.is_ascii_uppercase() || c == '-');
    if plain && text.len() >= SHORTEST && text.len() <= 36 {
        return Ok(text);
    }
    let shown: String = text.chars().filter(|c| !c.is_control()).take(60).collect();
    let detail = format!("`{shown}` is no id, nor the first {SHORTEST} or more characters of one");
    Err(Problem::new(ProblemKind::Malformed, "malformed_id", detail).hint("`task list` and `env list` show the ids"))
}

fn only(what: &'static str, text: &str, mut found: Vec<String>) -> Result<String, Problem> {
    if found.len() > 1 {
        let detail = format!("`{text}` could be any of {} {what}s", found.len());
        let problem = Problem::new(ProblemKind::Unusable, "ambiguous_id", detail).hint("give more characters");
        return Err(found.iter().take(5).fold(problem, |problem, id| problem.hint(id.clone())));
    }
    found.pop().ok_or_else(|| Problem::not_found(what, text))
}

/// How many characters tell all these ids apart.
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
    fn what_is_no_beginning_of_an_id_is_refused() {
        for text in ["", "abc", "../etc", "ABCD", "zzzz", "01a2\n", &"a".repeat(37)] {
            assert_eq!(checked(text).expect_err("no id").code, "malformed_id");
        }
        assert_eq!(checked("01a2"), Ok("01a2"));
    }

    #[test]
    fn an_ambiguous_beginning_names_the_candidates() {
        let problem = only("task", "01a2", vec!["01a2b".to_owned(), "01a2c".to_owned()]).expect_err("two");
        assert!(problem.code == "ambiguous_id" && problem.hints.contains(&"01a2c".to_owned()), "{problem:?}");
        assert_eq!(only("task", "01a2", vec![]).expect_err("none").code, "task_not_found");
    }

    #[test]
    fn lists_show_as_many_characters_as_tell_apart() {
        let ids = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let [one, other] = ["01a20685-f510-7660-94a2", "01a20685-f510-7660-94a3"];
        assert_eq!(shown_length(&ids(&[one, other])), 23, "of the same millisecond");
        assert_eq!(shown_length(&ids(&["a", "b"])), 13);
        assert_eq!(shown_length(&[]), 13);
    }
}
