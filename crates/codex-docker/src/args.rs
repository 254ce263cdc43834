//! What was asked for: one of our own verbs, or Codex with whatever arguments.
//!
//! Our verbs are none of Codex's. Everything else is Codex's, unread; after `--`, even a word that is one of our verbs.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use crate::give_back::GiveBackArguments;
use crate::harvest::HarvestArguments;
use crate::image::ImageCommand;
use crate::settings::label_argument;

/// Words that are ours when they come first.
const VERBS: &[&str] =
    &["list", "stop", "reap", "check", "harvest", "give-back", "image", "help", "--help", "-h", "--version", "-V"];

/// Codex in a container.
///
/// With any other arguments, Codex runs with them in a container, in this folder: `codex-docker exec "Fix the tests"`, or
/// `codex-docker` alone at a terminal. After `--`, every word is Codex's own.
#[derive(Debug, Parser)]
#[command(name = "codex-docker", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct OwnArguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const AFTER_HELP: &str = "\
What a container gets is set by variables; docs/codex-docker.md says what each does:
  IMAGE_NAME  CONTAINER_NAME  CODEX_HOME  CODEX_WORKSPACE_DIR  CODEX_ARTIFACTS_DIR
  CODEX_MOUNT_PATHS[_RO]  CODEX_MOUNT_MAPS[_RO]  CODEX_VOLUME_MOUNTS
  CODEX_CONTAINER_ENV_<NAME>  CODEX_PASSTHROUGH_ENV
  CODEX_DOCKER_USER  CODEX_DOCKER_NETWORK  CODEX_DOCKER_ALLOW_HOSTS
  CODEX_DOCKER_MEMORY  CODEX_DOCKER_CPUS  CODEX_DOCKER_PIDS  CODEX_DOCKER_FREE_DISK
  and, for programs, more that begin with CODEX_DOCKER_";

/// One of our own verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show the containers of codex-docker.
    List {
        /// For scripts.
        #[arg(long)]
        json: bool,
        /// Only those with this label; may be given several times.
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label_argument)]
        labels: Vec<(String, String)>,
    },
    /// End a container of codex-docker: SIGINT, and SIGKILL if that does not help. One that is gone is fine.
    Stop {
        /// Its name.
        name: String,
        /// Also end and remove a container that another program made, if it has this variable.
        #[arg(long = "variable", value_name = "NAME=VALUE", value_parser = label_argument)]
        variable: Option<(String, String)>,
    },
    /// End and remove the containers whose codex-docker was killed, and their files.
    Reap {
        /// Only those with this label; may be given several times.
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label_argument)]
        labels: Vec<(String, String)>,
        /// Do nothing where no engine answers.
        #[arg(long)]
        if_reachable: bool,
    },
    /// Say whether containers can be run: the engine, the image, and what to do.
    Check {
        /// For scripts.
        #[arg(long)]
        json: bool,
        /// The image that is wanted.
        #[arg(long, env = "IMAGE_NAME", default_value = crate::image::DEFAULT_IMAGE)]
        image: String,
    },
    /// Bring an agent's work out of its repository, as a bundle (for the orchestrator).
    Harvest(Box<HarvestArguments>),
    /// Make you the owner of a folder that a container's root wrote to (for the orchestrator).
    #[command(hide = true)]
    GiveBack(GiveBackArguments),
    /// Build, fetch or look at the image.
    Image {
        #[command(subcommand)]
        command: ImageCommand,
    },
}

/// What was asked for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// One of our verbs.
    Own(Box<OwnArguments>),
    /// Codex, with these arguments.
    Codex(Vec<String>),
    /// Help or the version, or arguments that make no sense.
    Said(clap::Error),
}

/// Reads the arguments, without the program's name.
pub(crate) fn read(arguments: Vec<OsString>) -> Asked {
    let first = arguments.first().and_then(|first| first.to_str());
    if first.is_some_and(|first| VERBS.contains(&first)) {
        let all = std::iter::once(OsString::from("codex-docker")).chain(arguments);
        return match OwnArguments::try_parse_from(all) {
            Ok(own) => Asked::Own(Box::new(own)),
            Err(said) => Asked::Said(said),
        };
    }
    let skipped = usize::from(first == Some("--"));
    // Arguments pass through an engine's JSON, which is text.
    let texts: Result<Vec<String>, OsString> = arguments.into_iter().skip(skipped).map(OsString::into_string).collect();
    match texts {
        Ok(texts) => Asked::Codex(texts),
        Err(argument) => {
            let message = format!("the argument `{}` is not UTF-8\n", argument.display());
            Asked::Said(clap::Error::raw(clap::error::ErrorKind::InvalidUtf8, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    fn asked(words: &[&str]) -> Asked {
        read(words.iter().map(OsString::from).collect())
    }

    #[test]
    fn everything_but_our_verbs_is_codexs() {
        for words in [&["exec", "--json", "-"][..], &[], &["resume", "x"], &["-m", "list"], &["login", "status"]] {
            let Asked::Codex(passed) = asked(words) else { panic!("{words:?}") };
            assert_eq!(passed, words);
        }
        let Asked::Codex(passed) = asked(&["--", "list"]) else { panic!("after `--` it is Codex's") };
        assert_eq!(passed, ["list"]);
    }

    #[test]
    fn our_verbs_are_read_and_nonsense_is_refused() {
        let Asked::Own(own) = asked(&["reap", "--label", "home=/h", "--label", "task=t", "--if-reachable"]) else {
            panic!("ours")
        };
        assert!(matches!(own.verb, Verb::Reap { if_reachable: true, ref labels } if labels.len() == 2));
        assert!(matches!(asked(&["reap", "--label", "home"]), Asked::Said(_)));
        assert!(matches!(asked(&["--help"]), Asked::Said(_)));
        assert!(matches!(read(vec![OsString::from_vec(vec![0xff])]), Asked::Said(_)));
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        OwnArguments::command().debug_assert();
    }
}
