//! `demo`: shows the product in under a minute, without an account, a container engine or an installed Codex CLI.
//!
//! The Codex CLI, git, the server, the keeper and the API are real. Only the model is scripted.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use client::Client;
use config::Config;
use model::ids::RunNumber;
use model::problem::Problem;
use process::ProcessIdentity;
use process::{CommandSpec, Tool};
use protocol::{CreateEnvironment, CreateTask, DiffQuery, ResumeTask, TaskQuery};
use scripted_model::{Item, Script, ScriptedModel, Turn};
use tokio::signal::unix::{SignalKind, signal};

use super::{demo_codex, env, env_setup, task, task_diff};
use crate::args::{Arguments, DemoArguments};
use crate::follow::{self, RunFormat};
use crate::output::{Output, OutputFormat};
use crate::{printer, server};

const FIRST: &str = "The test fails. Find out why and fix it.";
const SECOND: &str = "Thanks. Now write a README that explains how to run the test.";

/// The sample repository: a greeting with a typo, and a test that finds it.
const GREET: &str = "#!/bin/sh\n# Prints a greeting.\necho \"Helo, $1!\"\n";
const TEST: &str = "#!/bin/sh\n# Fails if the greeting is wrong.\nexpected=\"Hello, Ada!\"\nfound=$(sh greet.sh Ada)\n\
    if [ \"$found\" = \"$expected\" ]; then echo \"ok\"; else echo \"expected '$expected', found '$found'\"; exit 1; fi\n";

/// The description of the sample's environment.
const ENVIRONMENT: &str = "# Runs once. All tasks start from its result.\n[setup]\nrun = \"apt-get install -y shellcheck\"\n";

/// How long the scripted model pauses before each answer, so that people can follow.
const PACE: Duration = Duration::from_millis(250);

/// The time limit for each git command.
const GIT_LIMIT: Duration = Duration::from_mins(1);

pub(crate) async fn run(arguments: &Arguments, demo: &DemoArguments) -> Result<ExitCode, Problem> {
    let begun = Instant::now();
    let config = server::config(arguments)?;
    let home = config.home.join("demo");
    // From here on, a signal ends the demo, not the process.
    let mut interrupts = signal(SignalKind::interrupt()).map_err(Problem::internal)?;
    let mut terminations = signal(SignalKind::terminate()).map_err(Problem::internal)?;
    let interrupted = async {
        tokio::select! {
            _ = interrupts.recv() => {}
            _ = terminations.recv() => {}
        }
    };
    let outcome = tokio::select! {
        outcome = play(&config, &home) => outcome.map(Some),
        () = interrupted => Ok(None),
    };
    if matches!(outcome, Ok(None)) {
        printer::remark("\nstopping the run and the demo server …");
    }
    if demo.keep && matches!(outcome, Ok(Some(_))) {
        printer::remark("\nThe demo server is still running. The scripted model is not, so new runs will fail.");
    } else {
        clear_away(&home).await?;
    }
    let Some(code) = outcome? else { return Ok(ExitCode::from(follow::STOPPED)) };
    farewell(&home, begun.elapsed()).print();
    Ok(code)
}

/// Runs the demo. The future can be dropped at any time.
async fn play(config: &Config, home: &Path) -> Result<ExitCode, Problem> {
    printer::line("Codex Orchestrator demo. The Codex CLI, git and this program are real.");
    printer::line("The model is scripted: it plays back prepared answers, and no data leaves this machine.");
    clear_away(home).await?;
    start_over(home)?;
    step(1, "Find or install the Codex CLI");
    let bin = demo_codex::folder(config).await?;
    step(2, "Create a sample repository with a failing test");
    let sample = sample(config, home).await?;
    step(3, "Start a separate server whose Codex CLI uses the scripted model");
    let model = ScriptedModel::start(script()).map_err(Problem::internal)?;
    start_server(config, home, &bin, &model).await?;
    show(&server::client_of(home).await?, &sample).await
}

fn farewell(home: &Path, took: Duration) -> Output {
    let mut out = Output::default();
    let home = home.display();
    out.line(format!("\nDone in {:.0} s. To look at the result (this starts the demo server again):", took.as_secs_f64()));
    out.line(format!("  codex-orchestrator --home {home} task list"));
    out.line(format!("  codex-orchestrator --home {home} sign-in    (prints a link to the pages)"));
    out.line(format!("  ls {home}/tasks/*"));
    out.line("To use your own repository and account:");
    out.line("  codex-orchestrator doctor");
    out.line("  codex-orchestrator env add https://host/owner/repo.git --name app");
    out.line("  codex-orchestrator task create --env app --follow \"PROMPT\"");
    out
}

fn step(number: u8, what: &str) {
    printer::line(format!("\n[{number}] {what}"));
}

fn file_problem(path: &Path, error: &std::io::Error) -> Problem {
    Problem::internal(format!("could not write `{}`: {error}", path.display()))
}

/// Deletes the files of an earlier demo from the demo's home directory.
fn start_over(home: &Path) -> Result<(), Problem> {
    for name in ["envs", "tasks", "trash", "sample", "codex-home", "server.log"] {
        let path = home.join(name);
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(file_problem(&path, &error)),
            _ => {}
        }
    }
    server::private_folder(&home.join("sample")).map_err(|error| file_problem(home, &error))
}

async fn sample(config: &Config, home: &Path) -> Result<PathBuf, Problem> {
    let sample = home.join("sample");
    let files = [("greet.sh", GREET), ("test.sh", TEST), (".codex-orchestrator/environment.toml", ENVIRONMENT)];
    for (name, text) in files {
        let path = sample.join(name);
        let folder = path.parent().unwrap_or(&sample);
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text));
        written.map_err(|error| file_problem(&path, &error))?;
    }
    let git = Tool::find("git", &config.base_environment)
        .map_err(|_| Problem::internal("`git` not found on PATH").hint("install git 2.39 or later"))?;
    let first = [&["init", "--quiet"][..], &["add", "."], &["commit", "--quiet", "--message", "A greeting"]];
    for arguments in first {
        // Ignore the user's git configuration: hooks, signing and templates.
        CommandSpec::new(&git, &config.base_environment, &sample)
            .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")])
            .args(["-c", "user.name=Demo", "-c", "user.email=demo@localhost", "-c", "init.defaultBranch=main"])
            .args(arguments)
            .deadline(GIT_LIMIT)
            .run_ok()
            .await
            .map_err(Problem::internal)?;
    }
    printer::remark(format!("  {}", sample.display()));
    Ok(sample)
}

fn script() -> Script {
    let fix = Turn::containing(FIRST)
        .step([Item::commentary("I'll look at the project first."), Item::shell("ls && cat greet.sh test.sh")])
        .step([Item::shell("sh test.sh")])
        .step([
            Item::commentary("The greeting has a typo."),
            Item::replace_line("greet.sh", "echo \"Helo, $1!\"", "echo \"Hello, $1!\""),
        ])
        .step([Item::shell("sh test.sh")])
        .step([Item::final_answer("`greet.sh` said \"Helo\" instead of \"Hello\". I fixed it, and the test passes.")]);
    let readme = Turn::containing(SECOND)
        .step([Item::add_file("README.md", "# Greeting\n\n`sh greet.sh NAME` prints a greeting. `sh test.sh` runs the test.\n")])
        .step([Item::shell("cat README.md && sh test.sh")])
        .step([Item::final_answer("I added `README.md`, which explains how to run the script and its test.")]);
    Script::new().turn(fix).turn(readme).pace(PACE)
}

async fn start_server(config: &Config, home: &Path, bin: &Path, model: &ScriptedModel) -> Result<(), Problem> {
    let codex_home = home.join("codex-home");
    server::private_folder(&codex_home).map_err(|error| file_problem(&codex_home, &error))?;
    let settings = scripted_model::codex_config(&model.url());
    let codex = bin.join("codex");
    write_settings(&codex_home, &settings)?;
    let mut worker = std::ffi::OsString::from("host");
    if !demo_codex::sandbox_works(config, &codex, &codex_home).await {
        printer::remark(
            "  Codex's sandbox does not work on this machine. The scripted commands are harmless and run without it.",
        );
        write_settings(&codex_home, &format!("sandbox_mode = \"danger-full-access\"\n{settings}"))?;
        worker = codex.into_os_string();
    }
    let mut path = bin.as_os_str().to_owned();
    if let Some(rest) = config.base_environment.get("PATH") {
        path.push(":");
        path.push(rest);
    }
    remember(home, &codex_home)?;
    let variables = [
        ("PATH", path.as_os_str()),
        ("CODEX_HOME", codex_home.as_os_str()),
        ("ORCH_WORKER", worker.as_os_str()),
        ("ORCH_LISTEN", OsStr::new("127.0.0.1:0")),
        ("ORCH_HOME", home.as_os_str()),
    ];
    server::start(home, &variables).await?;
    printer::remark(format!("  scripted model at {}, home {}", model.url(), home.display()));
    Ok(())
}

/// Writes the settings for later commands, so that they need no environment variables and use a free port.
fn remember(home: &Path, codex_home: &Path) -> Result<(), Problem> {
    let path = home.join("config.toml");
    let codex_home = serde_json::to_string(codex_home).map_err(Problem::internal)?;
    let settings = format!("listen = \"127.0.0.1:0\"\nworker = \"host\"\ncodex_home = {codex_home}\n");
    std::fs::write(&path, settings).map_err(|error| file_problem(&path, &error))
}

fn write_settings(codex_home: &Path, settings: &str) -> Result<(), Problem> {
    let path = codex_home.join("config.toml");
    std::fs::write(&path, settings).map_err(|error| file_problem(&path, &error))
}

/// Runs the steps of the demo through the API, as a person would on the command line.
async fn show(client: &Client, sample: &Path) -> Result<ExitCode, Problem> {
    step(4, "env add: add the repository, which creates a mirror for its tasks");
    let new = CreateEnvironment { repo_url: sample.display().to_string(), ..CreateEnvironment::default() };
    let environment = env::add(client, &new).await?;
    printer::remark(format!("  {} ({})", environment.name, environment.env_id));

    step(5, "env setup show: the repository describes the container that its tasks need");
    env_setup::show_current(client, environment.env_id, environment.name.as_str(), OutputFormat::Text).await?;
    printer::remark(
        "  Tasks usually run in such a container. This demo runs Codex without containers, so it does not need Docker.",
    );

    step(6, "task create --follow: Codex works on a branch in its own worktree");
    printer::line(format!("> {FIRST}"));
    let new = CreateTask { env_id: environment.env_id.to_string(), prompt: FIRST.to_owned(), ..CreateTask::default() };
    let task = client.create_task(&new).await?;
    let id = task.task_id;
    let first = follow::to_the_end(client, id, RunNumber(1), RunFormat::Transcript).await?;
    if first != ExitCode::SUCCESS {
        return Ok(first);
    }

    step(7, "task resume: continue the same thread with a new prompt");
    printer::line(format!("> {SECOND}"));
    let asked = ResumeTask { prompt: SECOND.to_owned(), ..ResumeTask::default() };
    let resumed = client.resume_task(id, &asked).await?;
    let second = follow::to_the_end(client, id, RunNumber(2), RunFormat::Transcript).await?;
    if second != ExitCode::SUCCESS {
        return Ok(second);
    }

    step(8, "task diff: show the changes; each run is one commit on the task's branch");
    task_diff::patch(client, id, &DiffQuery::default()).await?;
    printer::line(format!("\nThe commits are on the branch {} in the mirror, ready to push.", resumed.branch));
    Ok(second)
}

/// Stops the runs of a demo and then its server, if it is running.
async fn clear_away(home: &Path) -> Result<(), Problem> {
    let client = server::client_of(home).await?;
    // Wait for a server that is still starting, so that it is stopped too.
    if !client.answers().await && (server::holder_settles(home, &client).await.is_err() || !client.answers().await) {
        return Ok(());
    }
    let statuses = "queued,preparing,running,stopping".to_owned();
    let active = client.list_tasks(&TaskQuery { status: Some(statuses), ..TaskQuery::default() }).await?;
    for left in active.items {
        task::stopped(&client, left.task_id).await?;
    }
    let status = client.show_status().await?;
    if let Some(identity) = ProcessIdentity::of(status.pid).map_err(Problem::internal)? {
        let ended = server::end(&identity).await;
        ended.map_err(|error| Problem::internal(format!("the demo server did not exit: {error}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_ends_with_the_next_steps() {
        insta::assert_snapshot!("demo-farewell", farewell(Path::new("/home/me/.codex-orchestrator/demo"), PACE * 100).plain());
    }

    #[test]
    fn starting_over_deletes_only_the_files_of_a_demo() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path().join("demo");
        for name in ["envs/x", "tasks/y", "trash", "sample/.git", "codex-home", "tools", "lock"] {
            std::fs::create_dir_all(home.join(name)).expect("made");
        }
        std::fs::write(home.join("server.log"), "old").expect("written");
        for _ in 0..2 {
            start_over(&home).expect("the files can be deleted");
            let mut names: Vec<_> =
                std::fs::read_dir(&home).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
            names.sort();
            assert_eq!(names, ["lock", "sample", "tools"]);
            assert_eq!(std::fs::read_dir(home.join("sample")).expect("a folder").count(), 0);
        }
    }

    #[test]
    fn later_commands_find_the_settings_of_the_demo() {
        let folder = tempfile::tempdir().expect("a folder");
        let codex_home = folder.path().join("with \"quotes\" and \\ in its name");
        remember(folder.path(), &codex_home).expect("written");
        let overrides = config::Overrides { home: Some(folder.path().to_owned()), ..config::Overrides::default() };
        let config = Config::load(&overrides).expect("the settings are valid");
        assert_eq!(config.listen.map(|address| address.port()), Some(0), "the demo uses any free port");
        assert_eq!(config.codex_home, Some(codex_home));
    }

    #[tokio::test]
    async fn the_sample_has_a_test_that_fails_until_the_typo_is_fixed() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("sample")).expect("made");
        let mut config = Config::for_home(folder.path());
        config.base_environment = process::BaseEnvironment::default().with("PATH", std::env::var_os("PATH").expect("a path"));
        let (sample, _) =
            crate::printer::captured::during(crate::printer::captured::Reader::Pipe, sample(&config, folder.path())).await;
        let sample = sample.expect("git works");
        let test = || {
            let output = std::process::Command::new("sh").arg("test.sh").current_dir(&sample).output().expect("sh works");
            (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        assert_eq!(test(), (false, "expected 'Hello, Ada!', found 'Helo, Ada!'\n".to_owned()));
        std::fs::write(sample.join("greet.sh"), GREET.replace("Helo", "Hello")).expect("written");
        assert_eq!(test(), (true, "ok\n".to_owned()));
        let head = std::fs::read_to_string(sample.join(".git/HEAD")).expect("a repository");
        assert_eq!(head, "ref: refs/heads/main\n", "the user's git configuration is ignored");
    }

    #[tokio::test]
    async fn nothing_is_cleared_away_if_no_demo_server_runs() {
        let folder = tempfile::tempdir().expect("a folder");
        clear_away(&folder.path().join("demo")).await.expect("there is nothing to stop");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
}
