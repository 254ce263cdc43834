//! Parses the arguments of `codex-docker`: one of its commands, or arguments for Codex.
//!
//! The names of our commands do not clash with those of Codex. All other arguments, and everything after `--`, are
//! passed to Codex without being parsed.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use crate::give_back::GiveBackArguments;
use crate::harvest::HarvestArguments;
use crate::image::ImageCommand;
use crate::keep::KeptCommand;
use crate::settings::label_argument;
use crate::setup::SetupArguments;

/// The words that select one of our commands if they come first.
const VERBS: &[&str] = &[
    "shell",
    "list",
    "stop",
    "reap",
    "check",
    "harvest",
    "give-back",
    "kept",
    "setup",
    "image",
    "help",
    "--help",
    "-h",
    "--version",
    "-V",
];

/// Run Codex in a container, in the current folder
///
/// All arguments except the commands below are passed to Codex, e.g. `codex-docker exec "Fix the tests"`. Without arguments, Codex
/// starts an interactive session. All arguments after `--` are passed to Codex unchanged.
#[derive(Debug, Parser)]
#[command(name = "codex-docker", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct OwnArguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const AFTER_HELP: &str = "\
Environment variables configure the container (see docs/codex-docker.md):
  IMAGE_NAME  CONTAINER_NAME  CODEX_HOME  CODEX_WORKSPACE_DIR  CODEX_ARTIFACTS_DIR
  CODEX_MOUNT_PATHS[_RO]  CODEX_MOUNT_MAPS[_RO]  CODEX_VOLUME_MOUNTS
  CODEX_CONTAINER_ENV_<NAME>  CODEX_PASSTHROUGH_ENV
  CODEX_DOCKER_USER  CODEX_DOCKER_NETWORK  CODEX_DOCKER_ALLOW_HOSTS
  CODEX_DOCKER_MEMORY  CODEX_DOCKER_DISK  CODEX_DOCKER_CPUS  CODEX_DOCKER_PIDS  CODEX_DOCKER_FREE_DISK
  and, for programs, other variables that start with CODEX_DOCKER_";

/// The commands of `codex-docker`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start a shell or another program in the container that Codex would get
    ///
    /// Use it to look at the environment, or to try commands in it. Without a command, it starts a login shell.
    Shell {
        /// Folder to start in, below the current folder
        #[arg(long, value_name = "DIR")]
        cd: Option<String>,
        /// Program to start, with its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// List the containers of codex-docker
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Only include containers with this label; may be repeated
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label_argument)]
        labels: Vec<(String, String)>,
    },
    /// Stop a container, and kill it if it does not exit in time
    ///
    /// It is not an error if the container does not exist.
    Stop {
        /// Name of the container
        name: String,
        /// Also stop and remove a container that another program created, if it has this environment variable
        #[arg(long = "variable", value_name = "NAME=VALUE", value_parser = label_argument)]
        variable: Option<(String, String)>,
    },
    /// Remove containers and files that a killed codex-docker left behind
    Reap {
        /// Only include containers with this label; may be repeated
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label_argument)]
        labels: Vec<(String, String)>,
        /// Do nothing if the container engine is not available
        #[arg(long)]
        if_reachable: bool,
    },
    /// Check the container engine and the image, and suggest fixes
    Check {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Image to check
        #[arg(long, env = "IMAGE_NAME", default_value = crate::image::DEFAULT_IMAGE)]
        image: String,
        /// Also check whether layers can be stored in this folder, by mounting one in a short-lived container
        #[arg(long, value_name = "DIR")]
        layers_in: Option<std::path::PathBuf>,
    },
    /// Export an agent's commits from its repository as a bundle (used by the orchestrator)
    Harvest(Box<HarvestArguments>),
    /// Change the owner of files that root wrote in a container (used by the orchestrator)
    #[command(hide = true)]
    GiveBack(GiveBackArguments),
    /// List and remove the images with what runs installed (used by the orchestrator)
    #[command(hide = true)]
    Kept {
        #[command(subcommand)]
        command: KeptCommand,
    },
    /// Run a setup script in a container and store its result (used by the orchestrator)
    #[command(hide = true)]
    Setup(Box<SetupArguments>),
    /// Build, pull or inspect the image
    Image {
        #[command(subcommand)]
        command: ImageCommand,
    },
}

/// The parsed arguments.
#[derive(Debug)]
pub(crate) enum ParsedArguments {
    /// One of our commands.
    Own(Box<OwnArguments>),
    /// The arguments of Codex, starting with its subcommand if there is one.
    Codex(Vec<String>),
    /// Help, the version, or a usage error.
    Said(clap::Error),
}

/// Parses the arguments, without the program's name.
pub(crate) fn read(arguments: Vec<OsString>) -> ParsedArguments {
    let first = arguments.first().and_then(|first| first.to_str());
    if first.is_some_and(|first| VERBS.contains(&first)) {
        let all = std::iter::once(OsString::from("codex-docker")).chain(arguments);
        return match OwnArguments::try_parse_from(all) {
            Ok(own) => ParsedArguments::Own(Box::new(own)),
            Err(said) => ParsedArguments::Said(said),
        };
    }
    let skipped = usize::from(first == Some("--"));
    // Arguments are sent to the container engine as JSON, so they must be UTF-8.
    let texts: Result<Vec<String>, OsString> = arguments.into_iter().skip(skipped).map(OsString::into_string).collect();
    match texts {
        Ok(texts) => ParsedArguments::Codex(texts),
        Err(argument) => {
            let message = format!("the argument `{}` is not UTF-8\n", argument.display());
            ParsedArguments::Said(clap::Error::raw(clap::error::ErrorKind::InvalidUtf8, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    fn asked(words: &[&str]) -> ParsedArguments {
        read(words.iter().map(OsString::from).collect())
    }

    #[test]
    fn all_other_arguments_are_passed_to_codex() {
        for words in [&["exec", "--json", "-"][..], &[], &["resume", "x"], &["-m", "list"], &["login", "status"]] {
            let ParsedArguments::Codex(passed) = asked(words) else { panic!("{words:?}") };
            assert_eq!(passed, words);
        }
        let ParsedArguments::Codex(passed) = asked(&["--", "list"]) else { panic!("arguments after `--` are passed to Codex") };
        assert_eq!(passed, ["list"]);
    }

    #[test]
    fn our_commands_are_parsed_and_invalid_arguments_are_refused() {
        let ParsedArguments::Own(own) = asked(&["reap", "--label", "home=/h", "--label", "task=t", "--if-reachable"]) else {
            panic!("`reap` is one of our commands")
        };
        assert!(matches!(own.verb, Verb::Reap { if_reachable: true, ref labels } if labels.len() == 2));
        let ParsedArguments::Own(own) = asked(&["shell", "make", "-j2", "--", "test"]) else {
            panic!("`shell` is one of our commands")
        };
        assert!(matches!(own.verb, Verb::Shell { cd: None, ref command } if *command == ["make", "-j2", "--", "test"]));
        let ParsedArguments::Own(own) = asked(&["shell", "--cd", "web", "ls", "--cd"]) else { panic!("`--cd` is an option") };
        assert!(matches!(own.verb, Verb::Shell { cd: Some(ref cd), ref command } if cd == "web" && *command == ["ls", "--cd"]));
        assert!(matches!(asked(&["reap", "--label", "home"]), ParsedArguments::Said(_)));
        assert!(matches!(asked(&["--help"]), ParsedArguments::Said(_)));
        assert!(matches!(read(vec![OsString::from_vec(vec![0xff])]), ParsedArguments::Said(_)));
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        OwnArguments::command().debug_assert();
    }
}
