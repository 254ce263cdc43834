//! The operations of the HTTP API as methods of [`Client`], with the names, methods and paths of `docs/openapi.json`.
//!
//! Each row becomes one method, so no command spells out a path. A test compares every row with the document.

use std::fmt::Display;

use model::diff::Diff;
use model::problem::Problem;
use protocol::{
    AnswerTask, CollectGarbage, ConflictsQuery, ConflictsView, CreateEnvironment, CreateTask, DiffQuery, DiskView,
    EditEnvironment, EnvironmentView, FeedQuery, Finding, FollowQuery, GarbageCollected, LogQuery, Page, PublicationView,
    PublishTask, QueueView, RefsQuery, RefsView, ResumeTask, ServerStatus, SetPassword, SignInLink, TaskQuery, TaskView,
    TrashItem, UpdateTask, UpdateView,
};
use reqwest::{Method, Response};

use super::{Client, checked, json, nothing, stream, url, with_query};

/// Generates one method of [`Client`] per row: `name(path parameters) METHOD "path" ?Query {Body} => Answer, how to read it;`
macro_rules! operations {
    ($(
        $(#[$doc:meta])*
        $name:ident($($parameter:ident),*) $method:ident $path:literal $(?$query:ty)? $({$body:ty})? => $answer:ty, $read:ident;
    )*) => {
        impl Client {
            $(
                $(#[$doc])*
                pub(crate) async fn $name(
                    &self,
                    $($parameter: impl Display,)*
                    $(query: &$query,)?
                    $(body: &$body,)?
                ) -> Result<$answer, Problem> {
                    let url = url($path, &[$(&$parameter),*]);
                    $(let url = with_query::<$query>(url, query)?;)?
                    let request = self.http.request(Method::$method, url);
                    $(let request = request.json::<$body>(body);)?
                    $read(checked(request).await?).await
                }
            )*
        }

        #[cfg(test)]
        const ROWS: &[tests::Row] = &[$(
            tests::Row {
                name: stringify!($name),
                method: stringify!($method),
                path: $path,
                parameters: &[$(stringify!($parameter)),*],
                body: tests::first(&[$(stringify!($body))?]),
                answer: stringify!($answer),
            },
        )*];
    };
}

operations! {
    /// Asks whether a task can start now. If not, the error lists every reason.
    readyz() GET "/readyz" => Response, stream;
    /// Returns the state of the server.
    show_status() GET "/api/v1/status" => ServerStatus, json;
    /// Checks everything that tasks need. Takes up to a minute.
    run_doctor() GET "/api/v1/doctor" => Page<Finding>, json;
    /// Opens the stream of all state changes.
    follow_changes() GET "/api/v1/events" ?FeedQuery => Response, stream;
    /// Creates a one-time sign-in link for a browser.
    create_sign_in_link() POST "/api/v1/sign-in-links" => SignInLink, json;
    /// Sets the password of the pages.
    set_password() PUT "/api/v1/password" {SetPassword} => (), nothing;
    /// Removes the password of the pages.
    remove_password() DELETE "/api/v1/password" => (), nothing;

    /// Adds a repository and starts cloning it.
    create_environment() POST "/api/v1/envs" {CreateEnvironment} => EnvironmentView, json;
    /// Lists all repositories.
    list_environments() GET "/api/v1/envs" => Page<EnvironmentView>, json;
    /// Returns a repository.
    show_environment(env_id) GET "/api/v1/envs/{env_id}" => EnvironmentView, json;
    /// Changes the settings of a repository.
    edit_environment(env_id) PATCH "/api/v1/envs/{env_id}" {EditEnvironment} => EnvironmentView, json;
    /// Moves a repository and its tasks to the trash.
    remove_environment(env_id) DELETE "/api/v1/envs/{env_id}" => (), nothing;
    /// Restores a repository from the trash.
    restore_environment(env_id) POST "/api/v1/envs/{env_id}/restore" => EnvironmentView, json;
    /// Fetches from the remote of a repository.
    fetch_environment(env_id) POST "/api/v1/envs/{env_id}/fetch" => EnvironmentView, json;
    /// Clones a repository again after its clone failed.
    retry_environment(env_id) POST "/api/v1/envs/{env_id}/retry" => EnvironmentView, json;
    /// Lists the branches and tags of a repository.
    list_refs(env_id) GET "/api/v1/envs/{env_id}/refs" ?RefsQuery => RefsView, json;

    /// Creates a task.
    create_task() POST "/api/v1/tasks" {CreateTask} => TaskView, json;
    /// Lists tasks, one page at a time.
    list_tasks() GET "/api/v1/tasks" ?TaskQuery => Page<TaskView>, json;
    /// Returns a task.
    show_task(task_id) GET "/api/v1/tasks/{task_id}" => TaskView, json;
    /// Adds a run with a new prompt to a task.
    resume_task(task_id) POST "/api/v1/tasks/{task_id}/resume" {ResumeTask} => TaskView, json;
    /// Adds a run to a task whose last run failed or was interrupted.
    retry_task(task_id) POST "/api/v1/tasks/{task_id}/retry" => TaskView, json;
    /// Answers the question of a task.
    answer_task(task_id) POST "/api/v1/tasks/{task_id}/answer" {AnswerTask} => TaskView, json;
    /// Asks the active run of a task to stop.
    stop_task(task_id) POST "/api/v1/tasks/{task_id}/stop" => TaskView, json;
    /// Archives a finished task.
    archive_task(task_id) POST "/api/v1/tasks/{task_id}/archive" => TaskView, json;
    /// Moves an archived task back to the lists.
    unarchive_task(task_id) POST "/api/v1/tasks/{task_id}/unarchive" => TaskView, json;
    /// Moves a task to the trash.
    remove_task(task_id) DELETE "/api/v1/tasks/{task_id}" => (), nothing;
    /// Restores a task from the trash.
    restore_task(task_id) POST "/api/v1/tasks/{task_id}/restore" => TaskView, json;
    /// Returns the changes of a task or of one run, as JSON.
    show_diff(task_id) GET "/api/v1/tasks/{task_id}/diff" ?DiffQuery => Diff, json;
    /// Returns the changes of a task or of one run as a patch, if the query asks for that format.
    show_patch(task_id) GET "/api/v1/tasks/{task_id}/diff" ?DiffQuery => Response, stream;
    /// Updates the branch of a task from its base branch.
    update_task(task_id) POST "/api/v1/tasks/{task_id}/update" {UpdateTask} => UpdateView, json;
    /// Lists the files in which a task conflicts with its base branch and with other tasks.
    task_conflicts(task_id) GET "/api/v1/tasks/{task_id}/conflicts" ?ConflictsQuery => ConflictsView, json;
    /// Downloads the commits of a task as a git bundle.
    task_bundle(task_id) GET "/api/v1/tasks/{task_id}/bundle" => Response, stream;
    /// Downloads the commits of a task as patches for `git am`.
    task_patches(task_id) GET "/api/v1/tasks/{task_id}/patches" => Response, stream;

    /// Opens the log of a run.
    read_log(task_id, n) GET "/api/v1/tasks/{task_id}/runs/{n}/log" ?LogQuery => Response, stream;
    /// Opens the stream of a run's log lines.
    follow_run(task_id, n) GET "/api/v1/tasks/{task_id}/runs/{n}/events" ?FollowQuery => Response, stream;

    /// Returns the queue.
    show_queue() GET "/api/v1/queue" => QueueView, json;
    /// Adds a follow-up to a task.
    add_follow_up(task_id) POST "/api/v1/tasks/{task_id}/follow-ups" {ResumeTask} => TaskView, json;
    /// Replaces a follow-up that has not started.
    replace_follow_up(task_id, number) PUT "/api/v1/tasks/{task_id}/follow-ups/{number}" {ResumeTask} => TaskView, json;
    /// Removes a follow-up that has not started.
    remove_follow_up(task_id, number) DELETE "/api/v1/tasks/{task_id}/follow-ups/{number}" => TaskView, json;
    /// Starts the next follow-up of a task whose last run did not complete.
    continue_task(task_id) POST "/api/v1/tasks/{task_id}/continue" => TaskView, json;

    /// Pushes the branch of a task, and creates or updates its pull request.
    push_task(task_id) POST "/api/v1/tasks/{task_id}/push" {PublishTask} => TaskView, json;
    /// Returns the pull request of a task, or a preview of it.
    show_publication(task_id) GET "/api/v1/tasks/{task_id}/publication" => PublicationView, json;
    /// Sends review comments and the logs of failed checks to Codex.
    send_feedback(task_id) POST "/api/v1/tasks/{task_id}/feedback" => TaskView, json;

    /// Lists the trash.
    list_trash() GET "/api/v1/trash" => Page<TrashItem>, json;
    /// Deletes expired items from the trash permanently, and repacks mirrors.
    collect_garbage() POST "/api/v1/gc" {CollectGarbage} => GarbageCollected, json;
    /// Measures disk usage.
    show_disk() GET "/api/v1/disk" => DiskView, json;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    /// One row of the list of operations, as text.
    pub(super) struct Row {
        pub(super) name: &'static str,
        pub(super) method: &'static str,
        pub(super) path: &'static str,
        pub(super) parameters: &'static [&'static str],
        pub(super) body: Option<&'static str>,
        pub(super) answer: &'static str,
    }

    pub(super) const fn first(texts: &[&'static str]) -> Option<&'static str> {
        match texts {
            [] => None,
            [first, ..] => Some(first),
        }
    }

    fn contract() -> Value {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        serde_json::from_str(&fs_err::read_to_string(path).expect("the document")).expect("JSON")
    }

    /// Returns the name of a schema without `View`: `Page<TaskView>` and `#/components/schemas/Page_Task` are both `PageTask`.
    fn plain(name: &str) -> String {
        let name = name.rsplit('/').next().unwrap_or_default().replace("View", "");
        name.chars().filter(char::is_ascii_alphanumeric).collect()
    }

    fn schema(content: &Value) -> Option<String> {
        content["application/json"]["schema"]["$ref"].as_str().map(plain)
    }

    #[test]
    fn every_method_is_an_operation_of_the_document() {
        let contract = contract();
        for row in super::ROWS {
            let operation = &contract["paths"][row.path][row.method.to_ascii_lowercase()];
            // `show_patch` calls the operation `show_diff` with another format.
            let id = if row.name == "show_patch" { "show_diff" } else { row.name };
            assert_eq!(operation["operationId"], id, "{} {}", row.method, row.path);
            let placeholders: Vec<_> = row.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
            assert_eq!(placeholders, row.parameters, "{id}");
            assert_eq!(schema(&operation["requestBody"]["content"]), row.body.map(plain), "body of {id}");
            let answers = operation["responses"].as_object().expect("responses").iter();
            let mut answers = answers.filter(|(status, _)| status.starts_with('2')).map(|(_, answer)| schema(&answer["content"]));
            let expect = (!matches!(row.answer, "()" | "Response")).then(|| plain(row.answer));
            assert!(expect.is_none() || answers.all(|answer| answer == expect), "answer of {id}");
        }
    }

    #[test]
    fn every_operation_of_the_document_has_a_method() {
        let contract = contract();
        let paths = contract["paths"].as_object().expect("paths");
        let operations = paths.values().flat_map(|item| item.as_object().expect("operations").values());
        let ids: BTreeSet<_> = operations.map(|operation| operation["operationId"].as_str().expect("an id")).collect();
        let methods: BTreeSet<_> = super::ROWS.iter().map(|row| row.name).collect();
        let without: Vec<_> = ids.difference(&methods).collect();
        // `Client::answers` requests `/healthz` itself. The command line reads neither the metrics nor the document.
        assert_eq!(without, [&"healthz", &"metrics", &"show_contract"]);
    }
}
