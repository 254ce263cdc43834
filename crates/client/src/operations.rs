//! The operations of the HTTP API as methods of [`Client`], with the names, methods and paths of `docs/openapi.json`.
//!
//! Each row becomes one method, so nothing else spells out a path. A test compares every row with the document.

use model::commit::PathText;
use model::diff::Diff;
use model::ids::{EnvironmentId, RunNumber, ShellId, TaskId};
use model::problem::Problem;
use model::setup::ServiceName;
use protocol::{
    AcceptDescription, AnswerTask, ArtifactsView, CollectGarbage, CommitFiles, ConflictsQuery, ConflictsView, CreateEnvironment,
    CreateTask, DiffFormat, DiffQuery, DiskView, EditEnvironment, EditSetup, EnvironmentView, FeedQuery, Finding, FollowQuery,
    GarbageCollected, InstalledQuery, InstalledView, LogQuery, OpenShell, Page, PublicationView, PublishTask, QueueView,
    RefsQuery, RefsView, ResumeTask, RunSetupQuery, ServerStatus, SetPassword, SetupDiffQuery, SetupDiffView, SetupView,
    ShellView, SignInLink, TaskQuery, TaskView, TrashItem, UpdateTask, UpdateView,
};
use reqwest::Method;
use serde_json::Value;

use crate::answer::{Download, download, json, nothing, sent, text};
use crate::connection::{Client, with_query};
use crate::streams::{Feed, RunStream, feed, run};

/// Generates one method of [`Client`] per row: `name(path parameters) METHOD "path" ?Query {Body} => Answer, how to read it;`
///
/// The name of a function after the query changes the query before it is sent.
macro_rules! operations {
    ($(
        $(#[$doc:meta])*
        $name:ident($($parameter:ident: $segment:ty),*) $method:ident $path:literal
        $(?$query:ident $($adjust:ident)?)? $({$body:ty})? => $answer:ty, $read:ident;
    )*) => {
        impl Client {
            $(
                $(#[$doc])*
                pub async fn $name(
                    &self,
                    $($parameter: $segment,)*
                    $(query: &$query,)?
                    $(body: &$body,)?
                ) -> Result<$answer, Problem> {
                    let request = self.request(Method::$method, $path, &[$(&$parameter),*]);
                    $(
                        $(let query = &$adjust(query);)?
                        let request = with_query::<$query>(request, query)?;
                    )?
                    $(let request = request.json::<$body>(body);)?
                    $read(sent(request).await?).await
                }
            )*
        }

        #[cfg(test)]
        const ROWS: &[tests::Row] = &[$(
            tests::Row {
                name: stringify!($name),
                method: stringify!($method),
                path: $path,
                parameters: &[$((stringify!($parameter), stringify!($segment))),*],
                query: tests::first(&[$(tests::names::<$query>)?]),
                body: tests::first(&[$(stringify!($body))?]),
                answer: stringify!($answer),
            },
        )*];
    };
}

fn as_json(query: &DiffQuery) -> DiffQuery {
    DiffQuery { format: DiffFormat::Json, ..query.clone() }
}

fn as_patch(query: &DiffQuery) -> DiffQuery {
    DiffQuery { format: DiffFormat::Patch, ..query.clone() }
}

operations! {
    /// Asks whether the server answers. [`Client::answers`] also limits the time.
    healthz() GET "/healthz" => String, text;
    /// Asks whether a task can start now. If not, the error lists every reason.
    readyz() GET "/readyz" => String, text;
    /// Returns the metrics of the server as text.
    metrics() GET "/metrics" => String, text;
    /// Returns the description of this API, as in `docs/openapi.json`.
    show_contract() GET "/api/v1/openapi.json" => Value, json;
    /// Returns the state of the server.
    show_status() GET "/api/v1/status" => ServerStatus, json;
    /// Checks everything that tasks need. Takes up to a minute.
    run_doctor() GET "/api/v1/doctor" => Page<Finding>, json;
    /// Opens the stream of all state changes.
    follow_changes() GET "/api/v1/events" ?FeedQuery => Feed, feed;
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
    show_environment(env_id: EnvironmentId) GET "/api/v1/envs/{env_id}" => EnvironmentView, json;
    /// Changes the settings of a repository.
    edit_environment(env_id: EnvironmentId) PATCH "/api/v1/envs/{env_id}" {EditEnvironment} => EnvironmentView, json;
    /// Moves a repository and its tasks to the trash.
    remove_environment(env_id: EnvironmentId) DELETE "/api/v1/envs/{env_id}" => (), nothing;
    /// Restores a repository from the trash.
    restore_environment(env_id: EnvironmentId) POST "/api/v1/envs/{env_id}/restore" => EnvironmentView, json;
    /// Fetches from the remote of a repository.
    fetch_environment(env_id: EnvironmentId) POST "/api/v1/envs/{env_id}/fetch" => EnvironmentView, json;
    /// Clones a repository again after its clone failed.
    retry_environment(env_id: EnvironmentId) POST "/api/v1/envs/{env_id}/retry" => EnvironmentView, json;
    /// Lists the branches and tags of a repository.
    list_refs(env_id: EnvironmentId) GET "/api/v1/envs/{env_id}/refs" ?RefsQuery => RefsView, json;
    /// Returns the setup of a repository's environment.
    show_setup(env_id: EnvironmentId) GET "/api/v1/envs/{env_id}/setup" => SetupView, json;
    /// Replaces or approves the description of a repository's environment.
    edit_setup(env_id: EnvironmentId) PATCH "/api/v1/envs/{env_id}/setup" {EditSetup} => SetupView, json;
    /// Runs the setup of a repository.
    run_setup(env_id: EnvironmentId) POST "/api/v1/envs/{env_id}/setup/run" ?RunSetupQuery => SetupView, json;
    /// Compares the description of the environment on a branch with that of the default branch.
    show_setup_diff(env_id: EnvironmentId) GET "/api/v1/envs/{env_id}/setup/diff" ?SetupDiffQuery => SetupDiffView, json;
    /// Lets the description of a branch apply to the tasks of this branch.
    accept_description(env_id: EnvironmentId) POST "/api/v1/envs/{env_id}/setup/accept" {AcceptDescription} => SetupView, json;
    /// Lets tasks start without the setup that failed.
    skip_setup(env_id: EnvironmentId) POST "/api/v1/envs/{env_id}/setup/skip" => SetupView, json;
    /// Returns the output of the last setup.
    show_setup_log(env_id: EnvironmentId) GET "/api/v1/envs/{env_id}/setup/log" => String, text;
    /// Prepares a shell in the environment of a repository.
    open_shell(env_id: EnvironmentId) POST "/api/v1/envs/{env_id}/shells" {OpenShell} => ShellView, json;
    /// Removes a shell that has ended.
    close_shell(env_id: EnvironmentId, shell_id: ShellId) DELETE "/api/v1/envs/{env_id}/shells/{shell_id}" => (), nothing;

    /// Creates a task.
    create_task() POST "/api/v1/tasks" {CreateTask} => TaskView, json;
    /// Lists tasks, one page at a time.
    list_tasks() GET "/api/v1/tasks" ?TaskQuery => Page<TaskView>, json;
    /// Returns a task.
    show_task(task_id: TaskId) GET "/api/v1/tasks/{task_id}" => TaskView, json;
    /// Adds a run with a new prompt to a task.
    resume_task(task_id: TaskId) POST "/api/v1/tasks/{task_id}/resume" {ResumeTask} => TaskView, json;
    /// Adds a run to a task whose last run failed or was interrupted.
    retry_task(task_id: TaskId) POST "/api/v1/tasks/{task_id}/retry" => TaskView, json;
    /// Answers the question of a task.
    answer_task(task_id: TaskId) POST "/api/v1/tasks/{task_id}/answer" {AnswerTask} => TaskView, json;
    /// Commits files that runs omitted, or that are held.
    commit_files(task_id: TaskId) POST "/api/v1/tasks/{task_id}/commit" {CommitFiles} => TaskView, json;
    /// Asks the active run of a task to stop.
    stop_task(task_id: TaskId) POST "/api/v1/tasks/{task_id}/stop" => TaskView, json;
    /// Archives a finished task.
    archive_task(task_id: TaskId) POST "/api/v1/tasks/{task_id}/archive" => TaskView, json;
    /// Moves an archived task back to the lists.
    unarchive_task(task_id: TaskId) POST "/api/v1/tasks/{task_id}/unarchive" => TaskView, json;
    /// Lets the next run of a task start from the newest snapshot of its repository's environment.
    refresh_environment(task_id: TaskId) POST "/api/v1/tasks/{task_id}/environment/refresh" => TaskView, json;
    /// Moves a task to the trash.
    remove_task(task_id: TaskId) DELETE "/api/v1/tasks/{task_id}" => (), nothing;
    /// Restores a task from the trash.
    restore_task(task_id: TaskId) POST "/api/v1/tasks/{task_id}/restore" => TaskView, json;
    /// Returns the changes of a task or of one run as files and hunks, whatever format the query names.
    show_diff(task_id: TaskId) GET "/api/v1/tasks/{task_id}/diff" ?DiffQuery as_json => Diff, json;
    /// Downloads the changes of a task or of one run as a patch, whatever format the query names.
    show_patch(task_id: TaskId) GET "/api/v1/tasks/{task_id}/diff" ?DiffQuery as_patch => Download, download;
    /// Updates the branch of a task from its base branch.
    update_task(task_id: TaskId) POST "/api/v1/tasks/{task_id}/update" {UpdateTask} => UpdateView, json;
    /// Returns what the agents of a task installed, and a description of the environment with these commands.
    show_installed(task_id: TaskId) GET "/api/v1/tasks/{task_id}/installed" ?InstalledQuery => InstalledView, json;
    /// Lists the files in which a task conflicts with its base branch and with other tasks.
    task_conflicts(task_id: TaskId) GET "/api/v1/tasks/{task_id}/conflicts" ?ConflictsQuery => ConflictsView, json;
    /// Downloads the commits of a task as a git bundle.
    task_bundle(task_id: TaskId) GET "/api/v1/tasks/{task_id}/bundle" => Download, download;
    /// Downloads the commits of a task as patches for `git am`.
    task_patches(task_id: TaskId) GET "/api/v1/tasks/{task_id}/patches" => Download, download;

    /// Opens the log of a run.
    read_log(task_id: TaskId, n: RunNumber) GET "/api/v1/tasks/{task_id}/runs/{n}/log" ?LogQuery => Download, download;
    /// Returns the output of the setup that ran on the server's machine before a run.
    show_host_setup_log(task_id: TaskId, n: RunNumber) GET "/api/v1/tasks/{task_id}/runs/{n}/setup/log" => String, text;
    /// Returns the output of a service of a run.
    show_service_log(task_id: TaskId, n: RunNumber, service: ServiceName) GET "/api/v1/tasks/{task_id}/runs/{n}/services/{service}/log" => String, text;
    /// Lists the artifacts of a run.
    list_artifacts(task_id: TaskId, n: RunNumber) GET "/api/v1/tasks/{task_id}/runs/{n}/artifacts" => ArtifactsView, json;
    /// Downloads an artifact of a run.
    read_artifact(task_id: TaskId, n: RunNumber, path: PathText) GET "/api/v1/tasks/{task_id}/runs/{n}/artifacts/{path}" => Download, download;
    /// Opens the stream of a run's log lines.
    follow_run(task_id: TaskId, n: RunNumber) GET "/api/v1/tasks/{task_id}/runs/{n}/events" ?FollowQuery => RunStream, run;

    /// Returns the queue.
    show_queue() GET "/api/v1/queue" => QueueView, json;
    /// Adds a follow-up to a task.
    add_follow_up(task_id: TaskId) POST "/api/v1/tasks/{task_id}/follow-ups" {ResumeTask} => TaskView, json;
    /// Replaces a follow-up that has not started.
    replace_follow_up(task_id: TaskId, number: u32) PUT "/api/v1/tasks/{task_id}/follow-ups/{number}" {ResumeTask} => TaskView, json;
    /// Removes a follow-up that has not started.
    remove_follow_up(task_id: TaskId, number: u32) DELETE "/api/v1/tasks/{task_id}/follow-ups/{number}" => TaskView, json;
    /// Starts the next follow-up of a task whose last run did not complete.
    continue_task(task_id: TaskId) POST "/api/v1/tasks/{task_id}/continue" => TaskView, json;

    /// Pushes the branch of a task, and creates or updates its pull request.
    push_task(task_id: TaskId) POST "/api/v1/tasks/{task_id}/push" {PublishTask} => TaskView, json;
    /// Returns the pull request of a task, or a preview of it.
    show_publication(task_id: TaskId) GET "/api/v1/tasks/{task_id}/publication" => PublicationView, json;
    /// Sends review comments and the logs of failed checks to Codex.
    send_feedback(task_id: TaskId) POST "/api/v1/tasks/{task_id}/feedback" => TaskView, json;

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

    use utoipa::IntoParams;
    use utoipa::openapi::path::ParameterIn;

    use super::*;

    /// One row of the list of operations, as text.
    pub(super) struct Row {
        pub(super) name: &'static str,
        pub(super) method: &'static str,
        pub(super) path: &'static str,
        /// The name and the type of each parameter of the path.
        pub(super) parameters: &'static [(&'static str, &'static str)],
        /// Returns the names of the query's parameters.
        pub(super) query: Option<fn() -> BTreeSet<String>>,
        pub(super) body: Option<&'static str>,
        pub(super) answer: &'static str,
    }

    pub(super) const fn first<T: Copy>(values: &[T]) -> Option<T> {
        match values {
            [] => None,
            [first, ..] => Some(*first),
        }
    }

    pub(super) fn names<Q: IntoParams>() -> BTreeSet<String> {
        Q::into_params(|| Some(ParameterIn::Query)).into_iter().map(|parameter| parameter.name).collect()
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

    /// Returns the operation of the document that a row calls.
    fn id(row: &Row) -> &'static str {
        // Both methods call the operation with another format of its answer.
        if row.name == "show_patch" { "show_diff" } else { row.name }
    }

    /// Returns the names of an operation's parameters in this part of a request, in the order of the document.
    fn parameters<'a>(operation: &'a Value, part: &'a str) -> impl Iterator<Item = &'a str> {
        let all = operation["parameters"].as_array().into_iter().flatten();
        all.filter(move |parameter| parameter["in"] == part).map(|parameter| parameter["name"].as_str().expect("a name"))
    }

    #[test]
    fn every_method_is_an_operation_of_the_document() {
        let contract = contract();
        for row in ROWS {
            let operation = &contract["paths"][row.path][row.method.to_ascii_lowercase()];
            assert_eq!(operation["operationId"], id(row), "{} {}", row.method, row.path);
            let names: Vec<_> = row.parameters.iter().map(|(name, _)| *name).collect();
            assert_eq!(parameters(operation, "path").collect::<Vec<_>>(), names, "path of {}", row.name);
            let placeholders = row.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
            assert_eq!(placeholders.collect::<Vec<_>>(), names, "path of {}", row.name);
            let query = parameters(operation, "query").map(str::to_owned).collect();
            assert_eq!(row.query.map(|names| names()).unwrap_or_default(), query, "query of {}", row.name);
            assert_eq!(schema(&operation["requestBody"]["content"]), row.body.map(plain), "body of {}", row.name);
        }
    }

    #[test]
    fn headers_that_no_method_sends_have_a_reason() {
        const NOT_SENT: &[(&str, &str)] = &[
            ("Idempotency-Key", "a method sends its request once; only its caller could send it again"),
            ("Last-Event-ID", "the position in a stream is in the query"),
            ("Range", "a download is read from its start to its end"),
        ];
        let contract = contract();
        let paths = contract["paths"].as_object().expect("paths");
        let operations = paths.values().flat_map(|item| item.as_object().expect("operations").values());
        let headers: BTreeSet<_> = operations.flat_map(|operation| parameters(operation, "header")).collect();
        assert_eq!(headers, NOT_SENT.iter().map(|(name, _)| *name).collect());
    }

    #[test]
    fn ids_in_paths_have_their_own_types() {
        for (name, kind) in ROWS.iter().flat_map(|row| row.parameters) {
            let expect = match *name {
                "task_id" => "TaskId",
                "env_id" => "EnvironmentId",
                "shell_id" => "ShellId",
                "n" => "RunNumber",
                "service" => "ServiceName",
                "path" => "PathText",
                _ => "u32",
            };
            assert_eq!(*kind, expect, "{name}");
        }
    }

    #[test]
    fn every_answer_is_read_in_the_format_of_the_document() {
        let contract = contract();
        for row in ROWS {
            let operation = &contract["paths"][row.path][row.method.to_ascii_lowercase()];
            let answers = operation["responses"].as_object().expect("responses").iter();
            for (status, answer) in answers.filter(|(status, _)| status.starts_with('2')) {
                let content = &answer["content"];
                let formats: Vec<_> = content.as_object().into_iter().flatten().map(|(format, _)| format.as_str()).collect();
                let is = |start: &str| formats.iter().any(|format| format.starts_with(start));
                let agrees = match row.answer {
                    "()" => formats.is_empty(),
                    "String" => is("text/plain") || is("application/openmetrics-text"),
                    "Download" => !formats.is_empty() && !is("text/event-stream") && !is("text/plain"),
                    "Feed" | "RunStream" => formats == ["text/event-stream"],
                    "Value" => formats == ["application/json"],
                    view => schema(content) == Some(plain(view)),
                };
                assert!(agrees, "{} reads a {} from {status} {formats:?}", row.name, row.answer);
            }
        }
    }

    #[test]
    fn every_operation_of_the_document_has_a_method() {
        let contract = contract();
        let paths = contract["paths"].as_object().expect("paths");
        let operations = paths.values().flat_map(|item| item.as_object().expect("operations").values());
        let ids: BTreeSet<_> = operations.map(|operation| operation["operationId"].as_str().expect("an id")).collect();
        assert_eq!(ROWS.iter().map(id).collect::<BTreeSet<_>>(), ids);
    }

    #[test]
    fn the_format_of_a_diff_follows_from_the_method() {
        for format in [DiffFormat::Json, DiffFormat::Patch] {
            let query = DiffQuery { run: Some("2".to_owned()), since_viewed: true, format };
            assert_eq!(as_json(&query), DiffQuery { format: DiffFormat::Json, ..query.clone() });
            assert_eq!(as_patch(&query), DiffQuery { format: DiffFormat::Patch, ..query.clone() });
        }
    }
}
