//! The definition of the command line: accepted words, conflicts, defaults and the errors of misspelled commands.
//! No command is run here.

use std::path::Path;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::args::{
    AfterStart, AnswerWord, Arguments, Command, ConfigCommand, EnvCommand, FollowUpCommand, LogFormat, PasswordCommand,
    ServiceCommand, TaskCommand,
};
use crate::output::OutputFormat;

fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from([&["codex-orchestrator"], words].concat())
}

fn command(words: &[&str]) -> Command {
    parse(words).unwrap_or_else(|error| panic!("{words:?}: {error}")).command
}

fn task(words: &[&str]) -> TaskCommand {
    match command(&[&["task"], words].concat()) {
        Command::Task(task) => task,
        other => panic!("{words:?}: {other:?}"),
    }
}

fn env(words: &[&str]) -> EnvCommand {
    match command(&[&["env"], words].concat()) {
        Command::Env(env) => env,
        other => panic!("{words:?}: {other:?}"),
    }
}

/// Asserts that the words are refused for this reason, and returns the message.
fn refused(words: &[&str], kind: ErrorKind) -> String {
    let error = parse(words).expect_err("the words are refused");
    assert_eq!(error.kind(), kind, "{words:?}: {error}");
    assert_eq!(error.exit_code(), 2, "{words:?}");
    error.to_string()
}

#[test]
fn global_options_are_accepted_before_and_after_the_command() {
    for words in
        [&["--json", "--home", "/h", "status"][..], &["status", "--json", "--home", "/h"], &["--json", "status", "--home=/h"]]
    {
        let arguments = parse(words).expect("the options are global");
        assert_eq!((arguments.format(), arguments.home.as_deref()), (OutputFormat::Json, Some(Path::new("/h"))), "{words:?}");
    }
    let arguments = parse(&["status"]).expect("the options are optional");
    assert_eq!((arguments.format(), arguments.home), (OutputFormat::Text, None));
    assert!(OutputFormat::Json.is_json() && !OutputFormat::Text.is_json());
}

#[test]
fn a_misspelled_command_is_an_error_with_a_suggestion() {
    assert!(refused(&["taks", "list"], ErrorKind::InvalidSubcommand).contains("'task'"));
    assert!(refused(&["task", "lst"], ErrorKind::InvalidSubcommand).contains("'list'"));
    assert!(refused(&["env", "add", "/x", "--memroy", "4g"], ErrorKind::UnknownArgument).contains("'--memory'"));
    refused(&["status", "extra"], ErrorKind::UnknownArgument);
    for words in [&[][..], &["task"], &["env"], &["task", "follow-up"], &["password"]] {
        refused(words, ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand);
    }
}

#[test]
fn missing_arguments_are_named() {
    let check = |words: &[&str], name: &str| {
        let message = refused(words, ErrorKind::MissingRequiredArgument);
        assert!(message.contains(name), "{words:?}: {message}");
    };
    check(&["task", "create", "prompt"], "--env <ENV>");
    check(&["task", "show"], "<TASK>");
    check(&["task", "archive"], "<TASK>...");
    check(&["task", "answer", "01a2"], "<ANSWER>");
    check(&["task", "follow-up", "replace", "01a2"], "<NUMBER>");
    check(&["env", "add"], "<URL>");
    check(&["env", "remove", "-y"], "<ENV>");
    check(&["completions"], "<SHELL>");
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    for words in [
        &["task", "create", "--env", "app", "--prompt-file", "f", "prompt"][..],
        &["task", "diff", "01a2", "--run", "1", "--since-viewed"],
        &["task", "update", "01a2", "--rebase", "--merge"],
        &["task", "push", "01a2", "--pr", "--body", "x", "--body-file", "f"],
        &["env", "edit", "app", "--forge-token-file", "f", "--no-forge-token"],
        &["env", "config", "app", "memory", "4g", "--unset"],
        &["gc", "--all", "--older-than", "3"],
        &["login", "--device", "--with-api-key"],
        &["login", "--with-api-key", "--import", "f"],
    ] {
        refused(words, ErrorKind::ArgumentConflict);
    }
}

#[test]
fn options_that_need_another_option_are_refused_without_it() {
    for words in [
        &["task", "push", "01a2", "--title", "x"][..],
        &["task", "push", "01a2", "--body", "x"],
        &["task", "push", "01a2", "--body-file", "x"],
        &["task", "push", "01a2", "--draft"],
        &["env", "config", "app", "--unset"],
        &["service", "install", "--run-as", "me"],
    ] {
        refused(words, ErrorKind::MissingRequiredArgument);
    }
}

#[test]
fn numbers_and_names_are_checked() {
    for words in [
        &["task", "logs", "01a2", "--run", "last"][..],
        &["task", "logs", "01a2", "--run", "-1"],
        &["task", "logs", "01a2", "--service", "../db"],
        &["task", "follow-up", "remove", "01a2", "first"],
        &["task", "answer", "01a2", "skip", "--question", "x"],
        &["task", "list", "-n", "many"],
        &["gc", "--older-than", "1.5"],
    ] {
        let error = parse(words).expect_err("not a valid value");
        assert!(matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::UnknownArgument), "{words:?}: {error}");
    }
}

#[test]
fn a_prompt_can_look_like_an_option_after_two_dashes() {
    let TaskCommand::Create { env, git_ref, title, run, .. } = task(&["create", "--env", "app", "--", "--follow"]) else {
        panic!("another command")
    };
    assert_eq!((env.as_str(), git_ref, title), ("app", None, None));
    assert_eq!((run.prompt.as_deref(), run.after_start(), run.images.len()), (Some("--follow"), AfterStart::Return, 0));
    let TaskCommand::Resume { run, .. } = task(&["resume", "01a2", "-f", "-"]) else { panic!("another command") };
    assert_eq!((run.prompt.as_deref(), run.after_start()), (Some("-"), AfterStart::Follow));
    refused(&["task", "create", "--env", "app", "--fix-it"], ErrorKind::UnknownArgument);
    refused(&["task", "create", "--env", "app", "two", "prompts"], ErrorKind::UnknownArgument);
}

#[test]
fn lists_are_separated_or_repeated() {
    let TaskCommand::List { status, limit, archived, .. } = task(&["list", "--status", "failed,stopped", "--status", "later"])
    else {
        panic!("another command")
    };
    assert_eq!(status, ["failed", "stopped", "later"], "the server decides which words it knows");
    assert_eq!((limit, archived), (50, false));
    let TaskCommand::Archive(tasks) = task(&["archive", "01a2", "01a3"]) else { panic!("another command") };
    assert_eq!(tasks.tasks, ["01a2", "01a3"]);
    let TaskCommand::Create { run, .. } = task(&["create", "--env", "app", "--image", "a", "--image", "b", "x"]) else {
        panic!("another command")
    };
    assert_eq!(run.images, [Path::new("a"), Path::new("b")]);
}

#[test]
fn values_that_the_server_checks_are_passed_on() {
    let words = ["create", "--env", "app", "--priority", "urgent", "--effort", "extreme", "-m", "gpt-99", "x"];
    let TaskCommand::Create { run, .. } = task(&words) else { panic!("another command") };
    let given = [&run.priority, &run.effort, &run.model].map(|value| value.as_deref());
    assert_eq!(given, [Some("urgent"), Some("extreme"), Some("gpt-99")]);
    let TaskCommand::List { group, .. } = task(&["list", "--group", "someday"]) else { panic!("another command") };
    assert_eq!(group.as_deref(), Some("someday"));
}

#[test]
fn known_values_are_suggested_in_help() {
    let help = parse(&["task", "list", "--help"]).expect_err("help is not a command");
    assert_eq!((help.kind(), help.exit_code()), (ErrorKind::DisplayHelp, 0));
    let help = help.to_string();
    for word in ["queued", "interrupted", "needs_you", "done"] {
        assert!(help.contains(word), "{word}: {help}");
    }
    let message = refused(&["task", "answer", "01a2", "perhaps"], ErrorKind::InvalidValue);
    assert!(message.contains("fetch") && message.contains("skip"), "{message}");
    assert!(refused(&["completions", "basic"], ErrorKind::InvalidValue).contains("bash"));
    assert!(refused(&["serve", "--log-format", "xml"], ErrorKind::InvalidValue).contains("json"));
}

#[test]
fn aliases_are_the_same_commands() {
    for words in [["pr", "01a2"], ["pull-request", "01a2"]] {
        assert!(matches!(task(&words), TaskCommand::PullRequest { task } if task.task == "01a2"), "{words:?}");
    }
    for flag in ["--pr", "--pull-request"] {
        assert!(matches!(task(&["push", "01a2", flag]), TaskCommand::Push(push) if push.pull_request), "{flag}");
    }
}

#[test]
fn every_setting_has_a_flag_for_new_and_for_existing_repositories() {
    for setting in protocol::settings::all().filter(|setting| setting.input != protocol::settings::Input::Secret) {
        let flag = format!("--{}", setting.flag);
        for words in [&["env", "add", "/x"][..], &["env", "edit", "app"]] {
            let given = match command(&[words, &[&flag, "value"]].concat()) {
                Command::Env(EnvCommand::Add { settings, .. }) => settings,
                Command::Env(EnvCommand::Edit { settings, .. }) => *settings,
                other => panic!("{words:?}: {other:?}"),
            };
            let given: Vec<_> = given.0.iter().map(|(setting, values)| (setting.key, values.as_slice())).collect();
            assert_eq!(given, [(setting.key, &["value".to_owned()][..])], "{words:?} {flag}");
        }
        let twice = parse(&["env", "edit", "app", &flag, "one", &flag, "two"]);
        assert_eq!(twice.is_ok(), setting.input.is_list(), "only lists can be repeated: {flag}");
    }
}

#[test]
fn secrets_are_never_values_of_flags() {
    let EnvCommand::Edit { secrets, forgotten, token, .. } = env(&[
        "edit",
        "app",
        "--secret",
        "A",
        "--secret",
        "B",
        "--secret-file",
        "C=-",
        "--no-secret",
        "D",
        "--forge-token-file",
        "-",
    ]) else {
        panic!("another command")
    };
    assert_eq!(
        (secrets.from_environment.as_slice(), secrets.from_files.as_slice()),
        (&["A".to_owned(), "B".to_owned()][..], &["C=-".to_owned()][..])
    );
    assert_eq!(
        (forgotten.as_slice(), token.forge_token_file.as_deref(), token.no_forge_token),
        (&["D".to_owned()][..], Some("-"), false)
    );
    for flag in ["--forge-token", "--password", "--api-key"] {
        refused(&["env", "edit", "app", flag, "hunter2"], ErrorKind::UnknownArgument);
    }
}

#[test]
fn words_after_codex_docker_are_not_parsed() {
    for words in [&["codex-docker", "exec", "--json", "--home", "x", "-"][..], &["codex-docker", "--help"], &["codex-docker"]] {
        let Command::CodexDocker { arguments } = command(words) else { panic!("another command") };
        assert_eq!(arguments, words[1..], "{words:?}");
    }
}

#[test]
fn the_remaining_commands_have_their_options() {
    assert!(matches!(command(&["demo", "--keep"]), Command::Demo(demo) if demo.keep));
    assert!(matches!(command(&["sign-in", "--address", "box"]), Command::SignIn { address: Some(address) } if address == "box"));
    assert!(matches!(command(&["password", "set"]), Command::Password(PasswordCommand::Set)));
    assert!(matches!(command(&["config", "sample"]), Command::Config(ConfigCommand::Sample)));
    assert!(
        matches!(command(&["gc", "--older-than", "0", "--dry-run"]), Command::Gc(gc) if gc.older_than == Some(0) && gc.dry_run)
    );
    assert!(matches!(command(&["man", "--out", "/m"]), Command::Man(man) if man.out == Path::new("/m")));
    assert!(matches!(command(&["service", "status", "--system"]), Command::Service(ServiceCommand::Status { system: true })));
    let Command::Serve(serve) = command(&["serve", "--listen", "off", "--worker", "host", "--log-format", "json"]) else {
        panic!("another command")
    };
    assert_eq!(
        (serve.listen.as_deref(), serve.worker.as_deref(), serve.log_format),
        (Some("off"), Some("host"), Some(LogFormat::Json))
    );
    assert!(!serve.announce && matches!(command(&["serve", "--announce"]), Command::Serve(serve) if serve.announce));
    let Command::Service(ServiceCommand::Install(install)) =
        command(&["service", "install", "--system", "--run-as", "me", "--print"])
    else {
        panic!("another command")
    };
    assert!(install.system && install.print && install.run_as.as_deref() == Some("me"));
    assert!(matches!(task(&["answer", "01a2", "fetch"]), TaskCommand::Answer(answer) if answer.answer == AnswerWord::Fetch));
    assert!(matches!(
        task(&["follow-up", "remove", "01a2", "5"]),
        TaskCommand::FollowUp(FollowUpCommand::Remove { follow_up }) if follow_up.number == 5 && follow_up.task.task == "01a2"
    ));
    assert!(
        matches!(task(&["bundle", "01a2", "-o", "f"]), TaskCommand::Bundle { output, .. } if output.output.as_deref() == Some(Path::new("f")))
    );
    assert!(matches!(env(&["refs", "app", "v1"]), EnvCommand::Refs { text: Some(text), .. } if text == "v1"));
}

#[test]
fn the_version_is_the_one_of_the_package() {
    let version = parse(&["--version"]).expect_err("the version is not a command");
    assert_eq!(version.kind(), ErrorKind::DisplayVersion);
    assert_eq!(version.to_string(), format!("codex-orchestrator {}\n", env!("CARGO_PKG_VERSION")));
}
