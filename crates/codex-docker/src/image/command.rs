//! The commands `image build`, `image pull` and `image status`.
//!
//! Results go to stdout, for scripts. Progress goes to stderr.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bollard::Docker;
use clap::{Args, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use super::build::{Build, build_until};
use super::names::{CODEX_VERSION, DEFAULT_BASE, DEFAULT_IMAGE, DEFAULT_PYPI_INDEX, DEFAULT_REGISTRY, image_of};
use super::progress::{Printer, spoken_size};
use super::pull::pull;
use super::repository::RepositoryFiles;
use super::status::{ImageStatus, Origin, status};
use super::tools::{self, Sources, Tool, ToolVersion, Tools};
use super::usage::{remove_unused, usage};
use super::{context, names};
use crate::failure::Failure;
use model::ErrorCode;
use model::container::image_name;

/// The subcommands of `image`.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Build the image: Debian with git, ripgrep, Python, build tools and the Codex CLI
    Build(Box<BuildArguments>),
    /// Pull an image that someone else published
    Pull {
        /// Image to pull, e.g. registry.example.com/team/codex:1. This project publishes no image; build one with `image build`
        #[arg(env = "IMAGE_NAME", value_name = "REFERENCE")]
        name: Option<String>,
    },
    /// Print the IDs of images as JSON, or `null` for an image that does not exist (used by the orchestrator)
    #[command(hide = true)]
    Ids {
        /// Names of the images
        names: Vec<String>,
    },
    /// Show what uses images, as JSON (used by the orchestrator)
    #[command(hide = true)]
    Usage {
        /// IDs of the images
        ids: Vec<String>,
    },
    /// Remove an image by its ID, unless a container uses it (used by the orchestrator)
    #[command(hide = true)]
    Remove {
        /// ID of the image
        id: String,
        /// A name that the image may have; an image with any other name is kept. May be repeated
        #[arg(long = "name", value_name = "NAME")]
        names: Vec<String>,
    },
    /// Show details of the image, and whether it is outdated
    Status {
        /// Name of the image
        #[arg(env = "IMAGE_NAME", default_value = DEFAULT_IMAGE)]
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// The content of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Flavor {
    /// Debian with git, ripgrep, Python, build tools and the Codex CLI
    Slim,
    /// Also Node.js, Python, Go, Rust and Java with their usual tools
    Universal,
}

/// The arguments of `image build`.
#[derive(Debug, Args)]
pub struct BuildArguments {
    /// Base image: Debian or a distribution based on it
    #[arg(long, value_name = "IMAGE", default_value = DEFAULT_BASE)]
    base: String,
    /// Version of Codex
    #[arg(long, value_name = "VERSION", default_value = CODEX_VERSION)]
    codex_version: String,
    /// PEM file with additional trusted certificates, for networks that intercept TLS
    #[arg(long, value_name = "FILE", env = "CODEX_DOCKER_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// npm registry to install Codex from
    #[arg(long, value_name = "URL", env = "CODEX_DOCKER_NPM_REGISTRY", default_value = DEFAULT_REGISTRY)]
    npm_registry: String,
    /// Index to install Python packages from
    #[arg(long, value_name = "URL", env = "CODEX_DOCKER_PYPI_INDEX", default_value = DEFAULT_PYPI_INDEX)]
    pypi_index: String,
    /// Content of the image
    #[arg(long, value_enum, default_value_t = Flavor::Slim)]
    flavor: Flavor,
    /// Install a language in this version, e.g. node=22 or rust=stable: node, python, go, rust or java. May be repeated
    #[arg(long = "tool", value_name = "NAME=VERSION")]
    tools: Vec<String>,
    /// Download tools from another source, e.g. `go=https://goproxy.example` or `node=npm+https://npm.example`. May be repeated
    #[arg(long = "source", value_name = "NAME=URL", env = "CODEX_DOCKER_TOOL_SOURCES", value_delimiter = ' ')]
    sources: Vec<String>,
    /// Name for the image [default: `codex-docker:` and the version of Codex, and `-universal` or `-tools` if it has languages]
    #[arg(long, visible_alias = "name", value_name = "NAME")]
    tag: Option<String>,
    /// Build this Dockerfile instead of the built-in one. To extend the built-in image, start with `ARG CODEX_DOCKER_IMAGE` and
    /// `FROM ${CODEX_DOCKER_IMAGE}`
    #[arg(long, value_name = "FILE")]
    dockerfile: Option<PathBuf>,
    /// Tar archive of a repository, e.g. from `git archive`, whose files the Dockerfile can copy. `.dockerignore` applies
    #[arg(long, value_name = "ARCHIVE")]
    context: Option<PathBuf>,
    /// Folder in the archive that contains the files
    #[arg(long, value_name = "FOLDER", default_value = ".", requires = "context")]
    context_folder: String,
    /// Build this Dockerfile in the archive instead of the built-in one. The path is relative to the repository
    #[arg(long, value_name = "PATH", requires = "context", conflicts_with = "dockerfile")]
    context_dockerfile: Option<String>,
    /// Extend this image instead of building the built-in Dockerfile. Codex, git and socat are added if they are missing, which requires
    /// Debian or a distribution based on it
    #[arg(long, value_name = "IMAGE", conflicts_with_all = ["dockerfile", "context", "base"])]
    from: Option<String>,
    /// Do not use the build cache
    #[arg(long)]
    no_cache: bool,
    /// Print the output of all steps
    #[arg(long)]
    verbose: bool,
    /// Print the image and its ID as JSON
    #[arg(long)]
    json: bool,
}

impl BuildArguments {
    fn build(&self) -> Result<Build, Failure> {
        let files = self.context.clone().map(|archive| RepositoryFiles::new(archive, &self.context_folder)).transpose()?;
        let dockerfile = match (&self.from, &self.dockerfile, &self.context_dockerfile, &files) {
            (Some(image), _, _, _) => Some(from_image(image)?),
            (None, Some(path), _, _) => Some(read(path)?),
            (None, None, Some(path), Some(files)) => Some(files.dockerfile(path)?),
            (None, None, _, _) => None,
        };
        if files.is_some() && dockerfile.is_none() {
            let failure = Failure::new(ErrorCode::ImageContext, "the built-in Dockerfile copies no files of a repository");
            return Err(failure.hint("also pass --dockerfile or --context-dockerfile"));
        }
        Ok(Build {
            tag: self.tag.clone().unwrap_or_else(|| format!("{}{}", image_of(&self.codex_version), self.suffix())),
            base: self.base.clone(),
            codex_version: self.codex_version.clone(),
            registry: self.npm_registry.trim_end_matches('/').to_owned(),
            certificates: self
                .ca_file
                .as_deref()
                .filter(|path| !path.as_os_str().is_empty())
                .map(context::certificates)
                .transpose()?
                .unwrap_or_default(),
            dockerfile,
            files,
            tools: self.tools()?,
            sources: Sources::default().with(self.sources.iter().map(String::as_str).filter(|text| !text.is_empty()))?,
            pypi_index: self.pypi_index.trim_end_matches('/').to_owned(),
            no_cache: self.no_cache,
        })
    }
}

impl BuildArguments {
    fn tools(&self) -> Result<BTreeMap<Tool, ToolVersion>, Failure> {
        let named = self.tools.iter().map(|text| tools::tool(text)).collect::<Result<_, _>>()?;
        Ok(match self.flavor {
            Flavor::Slim => named,
            Flavor::Universal => tools::universal(named),
        })
    }

    /// Returns the end of the default name.
    fn suffix(&self) -> &'static str {
        match self.flavor {
            Flavor::Universal => "-universal",
            Flavor::Slim if self.tools.is_empty() => "",
            Flavor::Slim => "-tools",
        }
    }
}

/// Returns the Dockerfile that adds nothing to an image.
fn from_image(image: &str) -> Result<String, Failure> {
    let name = image_name(image).map_err(|problem| Failure::new(ErrorCode::ImageName, problem.to_string()))?;
    Ok(format!("FROM {name}\n"))
}

fn read(path: &PathBuf) -> Result<String, Failure> {
    fs_err::read_to_string(path).map_err(|error| {
        Failure::new(ErrorCode::DockerfileUnreadable, format!("cannot read the Dockerfile: {error}"))
            .hint("specify an existing file")
    })
}

impl ImageCommand {
    /// Fails for a command that cannot succeed, before connecting to a container engine.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self {
            Self::Pull { name } => published(name.as_deref()).map(drop),
            Self::Build(_) | Self::Ids { .. } | Self::Usage { .. } | Self::Remove { .. } | Self::Status { .. } => Ok(()),
        }
    }
}

/// Returns the image to pull. The default image is never pulled: it is not published, so an image with its name is not ours.
fn published(name: Option<&str>) -> Result<&str, Failure> {
    name.filter(|name| *name != DEFAULT_IMAGE).ok_or_else(|| {
        Failure::new(ErrorCode::ImageNotPublished, format!("cannot pull `{DEFAULT_IMAGE}`: this project publishes no image"))
            .hint("build it: codex-orchestrator codex-docker image build")
            .hint("or pull another image: codex-orchestrator codex-docker image pull REFERENCE, or set IMAGE_NAME")
    })
}

/// Runs the command and prints its result.
pub async fn run(docker: &Docker, command: ImageCommand) -> Result<(), Failure> {
    let mut printer = Printer::stderr();
    match command {
        ImageCommand::Build(arguments) => {
            let (wanted, json) = (arguments.build()?, arguments.json);
            if arguments.verbose {
                printer = Printer::verbose();
            }
            if let Some(ours) = wanted.needs_first() {
                let found = status(docker, &ours.tag).await?;
                if found.is_none_or(|found| found.stale && wanted.needs_current_image()) {
                    build_aloud(docker, &ours, &mut printer).await?;
                }
            }
            let built = match &arguments.from {
                Some(image) => extend_aloud(docker, image, &wanted, &mut printer).await?,
                None => build_aloud(docker, &wanted, &mut printer).await?,
            };
            drop(printer);
            crate::say(&format!("built `{}`, {}", built.name, spoken_size(built.size)));
            crate::answer(&if json { crate::json_of(&built)? } else { built.name });
        }
        ImageCommand::Ids { names } => {
            let mut ids = BTreeMap::new();
            for name in names {
                let id = status(docker, &name).await?.map(|found| found.id);
                ids.insert(name, id);
            }
            crate::answer(&crate::json_of(&ids)?);
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

/// Extends an image: checks it, adds Codex if it is missing, and then adds the tools.
async fn extend_aloud(docker: &Docker, image: &str, wanted: &Build, printer: &mut Printer) -> Result<ImageStatus, Failure> {
    let plain = Build { tools: Tools::new(), ..wanted.clone() };
    crate::say(&format!("building `{}` on `{image}`", wanted.tag));
    let built = match build_shown(docker, &plain, printer).await {
        Err(failure) if failure.code == ErrorCode::ImageIncomplete => {
            crate::say(&format!("adding Codex to `{image}`"));
            let with_codex = Build { base: image.to_owned(), dockerfile: None, ..plain };
            build_shown(docker, &with_codex, printer).await?
        }
        built => built?,
    };
    if wanted.tools.is_empty() {
        return Ok(built);
    }
    crate::say(&format!("adding {}", tools::described(&wanted.tools)));
    let with_tools = Build { dockerfile: Some(from_image(&wanted.tag)?), ..wanted.clone() };
    build_shown(docker, &with_tools, printer).await
}

async fn build_aloud(docker: &Docker, wanted: &Build, printer: &mut Printer) -> Result<ImageStatus, Failure> {
    let tools = tools::described(&wanted.tools);
    let with_tools = if tools.is_empty() { tools } else { format!(", with {tools}") };
    match &wanted.dockerfile {
        None => crate::say(&format!("building `{}`: Codex {} on {}{with_tools}", wanted.tag, wanted.codex_version, wanted.base)),
        Some(_) => crate::say(&format!("building `{}` from your Dockerfile{with_tools}", wanted.tag)),
    }
    build_shown(docker, wanted, printer).await
}

/// Builds an image until a signal arrives, and shows the steps.
async fn build_shown(docker: &Docker, wanted: &Build, printer: &mut Printer) -> Result<ImageStatus, Failure> {
    let mut stops = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    let stop = async {
        let [interrupt, terminate] = &mut stops;
        match (interrupt, terminate) {
            (Ok(interrupt), Ok(terminate)) => tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            },
            (Err(error), _) | (_, Err(error)) => {
                return Failure::new(ErrorCode::NoSignals, format!("cannot receive signals: {error}"));
            }
        }
        Failure::new(ErrorCode::ImageFailed, format!("the build of `{}` was stopped", wanted.tag))
    };
    build_until(docker, wanted, stop, |progress| printer.show(progress)).await
}

/// Returns the failure for a missing image.
pub(crate) fn missing(name: &str) -> Failure {
    let failure = Failure::new(ErrorCode::ImageMissing, format!("image `{name}` not found"));
    if name == names::DEFAULT_IMAGE {
        return failure.hint("build it: codex-orchestrator codex-docker image build");
    }
    failure
        .hint(format!("pull it: codex-orchestrator codex-docker image pull {name}"))
        .hint(format!("or build it: codex-orchestrator codex-docker image build --tag {name}"))
}

fn describe(image: &ImageStatus) -> Vec<String> {
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let tools = image.tools.as_ref().map(|tools| format!("tools  {tools}"));
    let mut lines = vec![
        format!("image  {}", image.name),
        format!("id     {}", image.id),
        format!("size   {}", spoken_size(image.size)),
        format!("codex  {}", or_unknown(&image.codex_version)),
        format!("base   {}", or_unknown(&image.base)),
        format!("state  {}", judged(image)),
    ];
    lines.splice(5..5, tools);
    lines
}

fn judged(image: &ImageStatus) -> &'static str {
    match (image.origin, image.stale) {
        (Origin::Foreign, _) => "unknown: built by another program",
        (Origin::Shipped | Origin::Custom, true) => "out of date: build it again to update it",
        (Origin::Shipped, false) => "up to date",
        (Origin::Custom, false) => "up to date, from your Dockerfile",
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
    fn an_image_with_languages_has_another_name() {
        let wanted = |words: &[&str]| {
            let wanted = asked(words).expect("read");
            (wanted.tag.trim_start_matches(DEFAULT_IMAGE).to_owned(), tools::described(&wanted.tools))
        };
        assert_eq!(wanted(&["--tool", "node=22", "--tool", "go=1.23"]), ("-tools".to_owned(), "node=22 go=1.23".to_owned()));
        let (tag, tools) = wanted(&["--flavor", "universal", "--tool", "node=22"]);
        assert!(tag == "-universal" && tools.contains("node=22") && tools.contains("rust=stable"), "{tag} {tools}");
        assert_eq!(asked(&["--tool", "ruby=3"]).expect_err("unknown").code, ErrorCode::ToolUnknown);
        assert_eq!(asked(&["--source", "go=ftp://x"]).expect_err("no URL").code, ErrorCode::RegistryAddress);
    }

    #[test]
    fn an_image_is_extended_by_its_name() {
        let wanted = asked(&["--from", "node:22", "--tool", "go=1.23", "--tag", "x:1"]).expect("read");
        assert_eq!((wanted.dockerfile.as_deref(), tools::described(&wanted.tools).as_str()), (Some("FROM node:22\n"), "go=1.23"));
        assert_eq!(asked(&["--from", "x\nRUN evil"]).expect_err("not a name").code, ErrorCode::ImageName);
        assert!(Line::try_parse_from(["image", "build", "--from", "x", "--base", "y"]).is_err());
    }

    #[test]
    fn the_built_in_dockerfile_uses_no_files_of_a_repository() {
        assert_eq!(asked(&["--context", "/x.tar"]).expect_err("no Dockerfile").code, ErrorCode::ImageContext);
        assert_eq!(asked(&["--context", "/x.tar", "--context-folder", ".."]).expect_err("outside").code, ErrorCode::ImageContext);
    }

    #[test]
    fn the_default_image_is_built_and_never_pulled() {
        let pull = |name: Option<&str>| ImageCommand::Pull { name: name.map(str::to_owned) }.check();
        for name in [None, Some(DEFAULT_IMAGE)] {
            let failure = pull(name).expect_err("the default image is not published");
            assert_eq!(failure.code, ErrorCode::ImageNotPublished);
            assert!(failure.hints[0].contains("image build") && failure.hints[1].contains("REFERENCE"), "{failure:?}");
        }
        pull(Some("registry.example.com/team/codex:1")).expect("another image may be published");
    }

    #[test]
    fn only_an_image_that_can_be_pulled_is_recommended_to_be() {
        let hints = |name: &str| missing(name).hints.join("; ");
        assert!(!hints(DEFAULT_IMAGE).contains("pull"), "{}", hints(DEFAULT_IMAGE));
        assert!(hints("registry.example.com/codex:1").contains("image pull registry.example.com/codex:1"));
    }

    #[test]
    fn files_that_are_not_there_are_named() {
        assert_eq!(asked(&["--dockerfile", "/nowhere/Dockerfile"]).expect_err("not there").code, ErrorCode::DockerfileUnreadable);
        assert_eq!(asked(&["--ca-file", "/nowhere/ca"]).expect_err("not there").code, ErrorCode::CaFile);
    }

    #[test]
    fn images_and_their_absence_are_readable() {
        let image = ImageStatus {
            name: "x:1".to_owned(),
            id: "sha256:0".to_owned(),
            size: 1_200_000_000,
            origin: Origin::Shipped,
            codex_version: Some("0.75.0".to_owned()),
            base: None,
            tools: Some("node=22".to_owned()),
            built_for: None,
            stale: true,
        };
        let states = [
            judged(&ImageStatus { stale: false, ..image.clone() }),
            judged(&ImageStatus { origin: Origin::Custom, stale: false, ..image.clone() }),
            judged(&ImageStatus { origin: Origin::Foreign, stale: false, ..image.clone() }),
        ];
        let failures =
            [missing(DEFAULT_IMAGE), missing("team/codex:1"), published(None).expect_err("the default image is not published")];
        let failures = failures.map(|failure| crate::report(&failure).replace(CODEX_VERSION, "VERSION"));
        insta::assert_snapshot!([describe(&image).join("\n"), states.join("\n"), failures.join("\n")].join("\n\n"));
    }
}
