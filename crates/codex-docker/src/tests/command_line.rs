//! Tests the arguments of `codex-docker` and what it prints about failures.
//!
//! No command is performed here.

use std::ffi::OsString;

use clap::CommandFactory as _;

use crate::args::{OwnArguments, ParsedArguments, Verb, read};
use crate::failure::Failure;
use model::ErrorCode;

fn parsed(words: &[&str]) -> ParsedArguments {
    read(words.iter().map(OsString::from).collect())
}

fn own(words: &[&str]) -> Verb {
    match parsed(words) {
        ParsedArguments::Own(own) => own.verb,
        other => panic!("{words:?} is one of our commands: {other:?}"),
    }
}

fn refused(words: &[&str]) -> String {
    match parsed(words) {
        ParsedArguments::Said(said) => said.to_string(),
        other => panic!("{words:?} is refused: {other:?}"),
    }
}

#[test]
fn labels_are_parsed_at_the_first_equals_sign() {
    for (given, expected) in [
        ("home=/h", Some(("home", "/h"))),
        ("home=", Some(("home", ""))),
        ("a=b=c", Some(("a", "b=c"))),
        ("a-b_c.1=x y", Some(("a-b_c.1", "x y"))),
        ("home", None),
        ("=x", None),
        ("a b=x", None),
        ("a,b=x", None),
        ("\u{e4}=x", None),
        ("", None),
    ] {
        match (parsed(&["list", "--label", given]), expected) {
            (ParsedArguments::Own(own), Some((key, value))) => {
                let Verb::List { labels, json: false } = own.verb else { panic!("{given}") };
                assert_eq!(labels, [(key.to_owned(), value.to_owned())], "{given}");
            }
            (ParsedArguments::Said(said), None) => assert!(said.to_string().contains("use `key=value`"), "{said}"),
            (other, _) => panic!("{given}: {other:?}"),
        }
    }
}

#[test]
fn every_command_has_its_arguments() {
    assert!(matches!(own(&["list", "--json"]), Verb::List { json: true, labels } if labels.is_empty()));
    assert!(matches!(own(&["stop", "run"]), Verb::Stop { name, variable: None } if name == "run"));
    assert!(matches!(
        own(&["stop", "run", "--variable", "A=b"]),
        Verb::Stop { variable: Some((name, value)), .. } if (name.as_str(), value.as_str()) == ("A", "b")
    ));
    assert!(matches!(own(&["reap"]), Verb::Reap { labels, if_reachable: false } if labels.is_empty()));
    assert!(
        matches!(own(&["check", "--image", "x:1", "--json"]), Verb::Check { json: true, image, layers_in: None } if image == "x:1")
    );
    assert!(matches!(own(&["give-back", "/folder"]), Verb::GiveBack(_)));
    let harvest = ["harvest", "--worktree", "/w", "--git-dir", "/g", "--objects", "/o", "--out", "/out", "--branch", "b"];
    let rest = ["--since", "c", "--message", "/m"];
    assert!(matches!(own(&[&harvest[..], &rest].concat()), Verb::Harvest(_)));
}

#[test]
fn what_is_missing_or_unknown_is_named() {
    for (words, named) in [
        (&["stop"][..], "<NAME>"),
        (&["list", "--yaml"], "--yaml"),
        (&["list", "surplus"], "surplus"),
        (&["reap", "--label"], "--label"),
        (&["stop", "a", "--variable", "A"], "--variable"),
        (&["give-back"], "<FOLDER>"),
        (&["harvest", "--worktree", "/w"], "--git-dir"),
        (&["harvest", "--mode", "everything"], "harvest, content, sync"),
        (&["image", "build", "--no-such"], "--no-such"),
        (&["image", "shrink"], "shrink"),
        (&["image", "remove"], "<ID>"),
        (&["check", "--image"], "--image"),
    ] {
        let said = refused(words);
        assert!(said.starts_with("error: ") && said.contains(named) && said.contains("--help"), "{words:?}: {said}");
    }
}

#[test]
fn help_of_every_command_is_an_answer_and_not_an_error() {
    let command = OwnArguments::command();
    let names: Vec<String> = command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    for name in names {
        let ParsedArguments::Said(said) = parsed(&[&name, "--help"]) else { panic!("{name}") };
        assert_eq!(said.exit_code(), 0, "{name}");
    }
    let ParsedArguments::Said(said) = parsed(&["help"]) else { panic!("help") };
    let help = said.to_string();
    assert!(help.contains("CODEX_DOCKER_NETWORK") && !help.contains("give-back"), "commands for programs are hidden: {help}");
}

#[test]
fn only_the_first_word_makes_a_command_ours() {
    for words in [&["exec", "list"][..], &["--json", "list"], &["LIST"], &["list "], &["", "list"], &["--", "--help"]] {
        let ParsedArguments::Codex(passed) = parsed(words) else { panic!("{words:?}") };
        let expected: Vec<&str> = words.iter().copied().skip(usize::from(words[0] == "--")).collect();
        assert_eq!(passed, expected);
    }
    let ParsedArguments::Codex(passed) = parsed(&["--", "--", "x"]) else { panic!("`--` is passed on once") };
    assert_eq!(passed, ["--", "x"]);
}

#[test]
fn a_failure_is_printed_with_each_hint_on_its_own_line() {
    let failure = Failure::new(ErrorCode::Internal, "it broke");
    assert_eq!(crate::report(&failure), "error: it broke\n");
    let failure = failure.hint("try again").hint("or do not");
    assert_eq!(crate::report(&failure), "error: it broke\n  hint: try again\n  hint: or do not\n");
}
