//! The verbs `image build`, `image pull` and `image status`.
//!
//! What is on stdout is for scripts: an image's name, or what it is. Progress is on stderr.

use std::path::PathBuf;

use bollard::Docker;
use clap::{Args, Subcommand};

use super::build::{Build, build};
use super::names::{CODEX_VERSION, DEFAULT_BASE, DEFAULT_IMAGE, DEFAULT_REGISTRY, image_of};
use super::progress::{Printer, spoken_size};
use super::pull::pull;
use super::status::{ImageStatus, Origin, exists, status};
use super::usage::{remove_unused, usage};
use super::{context, names};
use crate::failure::Failure;

/// What to do with the image.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Build it here: a Debian with git, ripgrep, build tools and the Codex CLI.
    Build(Box<BuildArguments>),
    /// Pull an image that somebody else built and published.
    Pull {
        /// The image to pull, e.g. registry.example.com/team/codex:1. No image of this project is published: build that one.
        #[arg(env = "IMAGE_NAME", value_name = "REFERENCE")]
        name: Option<String>,
    },
    /// Show what uses images, as JSON (for the orchestrator).
    #[command(hide = true)]
    Usage {
        /// Their IDs.
        ids: Vec<String>,
    },
    /// Remove an image by its ID, unless a container uses it (for the orchestrator).
    #[command(hide = true)]
    Remove {
        /// Its ID.
        id: String,
        /// A name that it may have. An image with any other name is kept.
        #[arg(long = "name", value_name = "NAME")]
        names: Vec<String>,
    },
    /// Say what the image is, and whether it is old.
    Status {
        /// Its name.
        #[arg(env = "IMAGE_NAME", default_value = DEFAULT_IMAGE)]
        name: String,
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
}

/// What to build.
#[derive(Debug, Args)]
pub struct BuildArguments {
    /// What to build it on: a Debian or one of its kin.
    #[arg(long, value_name = "IMAGE", default_value = DEFAULT_BASE)]
    base: String,
    /// The version of Codex.
    #[arg(long, value_name = "VERSION", default_value = CODEX_VERSION)]
    codex_version: String,
    /// Certificates to trust besides the usual ones, for networks that intercept TLS: a PEM file.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Where Codex comes from.
    #[arg(long, value_name = "URL", default_value = DEFAULT_REGISTRY)]
    npm_registry: String,
    /// What to call the image: `codex-docker:` and the version of Codex, unless this is given.
    #[arg(long, visible_alias = "name", value_name = "NAME")]
    tag: Option<String>,
    /// Your own Dockerfile instead of ours. It is built without a folder, so nothing can be copied from one. Begin it with
    /// `ARG CODEX_DOCKER_IMAGE` and `FROM ${CODEX_DOCKER_IMAGE}` to add to our image.
    #[arg(long, value_name = "FILE")]
    dockerfile: Option<PathBuf>,
    /// Begin from nothing.
    #[arg(long)]
    no_cache: bool,
    /// Print the image as JSON, with its ID.
    #[arg(long)]
    json: bool,
}

impl BuildArguments {
    fn build(&self) -> Result<Build, Failure> {
        let read = |path: &PathBuf| {
            fs_err::read_to_string(path).map_err(|error| {
                Failure::new("dockerfile_unreadable", format!("the Dockerfile cannot be read: {error}"))
                    .hint("name a file that is there")
            })
        };
        Ok(Build {
            tag: self.tag.clone().unwrap_or_else(|| image_of(&self.codex_version)),
            base: self.base.clone(),
            codex_version: self.codex_version.clone(),
            registry: self.npm_registry.trim_end_matches('/').to_owned(),
            certificates: self.ca_file.as_deref().map(context::certificates).transpose()?.unwrap_or_default(),
            dockerfile: self.dockerfile.as_ref().map(read).transpose()?,
            no_cache: self.no_cache,
        })
    }
}

impl ImageCommand {
    /// Refuses what no container engine could do, before one is asked.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self {
            Self::Pull { name } => published(name.as_deref()).map(drop),
            Self::Build(_) | Self::Usage { .. } | Self::Remove { .. } | Self::Status { .. } => Ok(()),
        }
    }
}

/// The image to pull. The default one is only ever built: no registry has it, and whatever a registry has by its name is not ours.
fn published(name: Option<&str>) -> Result<&str, Failure> {
    name.filter(|name| *name != DEFAULT_IMAGE).ok_or_else(|| {
        Failure::new("image_not_published", format!("cannot pull `{DEFAULT_IMAGE}`: no image of this project is published"))
            .hint("build it: codex-orchestrator codex-docker image build")
            .hint("or pull another image: codex-orchestrator codex-docker image pull REFERENCE, or set IMAGE_NAME")
    })
}

/// Does it, and says on stdout what came of it.
pub async fn run(docker: &Docker, command: ImageCommand) -> Result<(), Failure> {
    let mut printer = Printer::stderr();
    match command {
        ImageCommand::Build(arguments) => {
            let (wanted, json) = (arguments.build()?, arguments.json);
            if let Some(ours) = wanted.needs_first()
                && !exists(docker, &ours.tag).await?
            {
                build_aloud(docker, &ours, &mut printer).await?;
            }
            let built = build_aloud(docker, &wanted, &mut printer).await?;
            drop(printer);
            crate::say(&format!("built `{}`, {}", built.name, spoken_size(built.size)));
            crate::answer(&if json { crate::json_of(&built)? } else { built.name });
        }
        ImageCommand::Usage { ids } => crate::answer(&crate::json_of(&usage(docker, &ids).await?)?),
        ImageCommand::Remove { id, names } => {
            let removed = remove_unused(docker, &id, &names).await?;
            crate::answer(if removed { "removed" } else { "kept" });
        }
        ImageCommand::Pull { name } => {
            let name = published(name.as_deref())?;
            crate::say(&format!("pulling `{name}`"));
            let fetched = pull(docker, name, |progress| printer.show(progress)).await?;
            drop(printer);
            crate::say(&format!("pulled `{name}`, {}: {}", spoken_size(fetched.size), judged(&fetched)));
            crate::answer(&fetched.name);
        }
        ImageCommand::Status { name, json } => {
            let found = status(docker, &name).await?;
            if json {
                crate::answer(&crate::json_of(&found)?);
            }
            let found = found.ok_or_else(|| missing(&name))?;
            if !json {
                crate::answer(&describe(&found).join("\n"));
            }
        }
    }
    Ok(())
}

async fn build_aloud(docker: &Docker, wanted: &Build, printer: &mut Printer) -> Result<ImageStatus, Failure> {
    match &wanted.dockerfile {
        None => crate::say(&format!("building `{}`: Codex {} on {}", wanted.tag, wanted.codex_version, wanted.base)),
        Some(_) => crate::say(&format!("building `{}` from your Dockerfile", wanted.tag)),
    }
    build(docker, wanted, |progress| printer.show(progress)).await
}

/// What to do without an image.
pub(crate) fn missing(name: &str) -> Failure {
    let failure = Failure::new("image_missing", format!("image `{name}` not found"));
    if name == names::DEFAULT_IMAGE {
        return failure.hint("build it: codex-orchestrator codex-docker image build");
    }
    failure
        .hint(format!("pull it: codex-orchestrator codex-docker image pull {name}"))
        .hint(format!("or build it: codex-orchestrator codex-docker image build --tag {name}"))
}

fn describe(image: &ImageStatus) -> [String; 6] {
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    [
        format!("image  {}", image.name),
        format!("id     {}", image.id),
        format!("size   {}", spoken_size(image.size)),
        format!("codex  {}", or_unknown(&image.codex_version)),
        format!("base   {}", or_unknown(&image.base)),
        format!("state  {}", judged(image)),
    ]
}

fn judged(image: &ImageStatus) -> &'static str {
    match (image.origin, image.stale) {
        (Origin::Foreign, _) => "made by somebody else: what is in it is not known",
        (Origin::Shipped | Origin::Custom, true) => "old: this program would build another one today",
        (Origin::Shipped, false) => "fresh",
        (Origin::Custom, false) => "fresh, from your own Dockerfile",
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: ImageCommand,
    }

    fn asked(words: &[&str]) -> Result<Build, Failure> {
        let line = Line::try_parse_from(["image", "build"].iter().chain(words)).expect("well-formed");
        let ImageCommand::Build(arguments) = line.command else { panic!("a build") };
        arguments.build()
    }

    #[test]
    fn nothing_has_to_be_said_to_build_the_usual_image() {
        assert_eq!(asked(&[]), Ok(Build::default()));
    }

    #[test]
    fn the_name_follows_the_version_unless_it_is_chosen() {
        assert_eq!(asked(&["--codex-version", "0.75.0"]).expect("read").tag, "codex-docker:0.75.0");
        assert_eq!(asked(&["--codex-version", "0.75.0", "--tag", "x:1"]).expect("read").tag, "x:1");
        assert_eq!(asked(&["--name", "x:2"]).expect("read").tag, "x:2");
        assert_eq!(asked(&["--npm-registry", "http://mirror/"]).expect("read").registry, "http://mirror");
    }

    #[test]
    fn the_default_image_is_built_and_never_pulled() {
        let pull = |name: Option<&str>| ImageCommand::Pull { name: name.map(str::to_owned) }.check();
        for name in [None, Some(DEFAULT_IMAGE)] {
            let failure = pull(name).expect_err("no registry has it");
            assert_eq!(failure.code, "image_not_published");
            assert!(failure.hints[0].contains("image build") && failure.hints[1].contains("REFERENCE"), "{failure:?}");
        }
        pull(Some("registry.example.com/team/codex:1")).expect("somebody may have published it");
    }

    #[test]
    fn only_an_image_that_can_be_pulled_is_recommended_to_be() {
        let hints = |name: &str| missing(name).hints.join("; ");
        assert!(!hints(DEFAULT_IMAGE).contains("pull"), "{}", hints(DEFAULT_IMAGE));
        assert!(hints("registry.example.com/codex:1").contains("image pull registry.example.com/codex:1"));
    }

    #[test]
    fn files_that_are_not_there_are_named() {
        assert_eq!(asked(&["--dockerfile", "/nowhere/Dockerfile"]).expect_err("not there").code, "dockerfile_unreadable");
        assert_eq!(asked(&["--ca-file", "/nowhere/ca"]).expect_err("not there").code, "ca_file");
    }
}
