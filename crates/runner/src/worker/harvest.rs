//! Exports an agent's work from its agent repository with `codex-docker harvest`, which writes a bundle that is then checked
//! and imported here. Also builds a repository's own image.
//!
//! Nothing in the output is trusted here. Invariant: these calls get access to the container engine, but no secret.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::Config;
use git::{Decision, Makers};
use model::commit::Limits;
use model::container::ImageUsage;
use model::ids::ObjectId;
use model::setup::{Build, ToolName, ToolVersion};
use model::sparse::Cone;
use process::{BaseEnvironment, CommandSpec, Redactor, RunProgramError, Stderr, Stdin, Stdout, Tool};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::image_log::ImageLog;
use super::request::ContainerFolders;
use super::variables::engine_environment;
use crate::setup::OnStep;

/// The time limit of an export: longer than its container may take.
const HARVEST_LIMIT: Duration = Duration::from_mins(8);

/// Exit codes of an export that cannot use what the agent left (its repository, its worktree or its objects), or that needs too
/// long to read it.
const UNUSABLE: [i32; 4] = [4, 5, 6, 8];

/// The exit code of an export that finds more in the worktree than a commit may contain.
const TOO_MUCH: i32 = 7;

/// The exit code of an export that has listed the new files, because the host must decide which of them to omit.
const UNDECIDED: i32 = 9;

/// The time limit of a build, which downloads packages over networks that may be slow.
const BUILD_LIMIT: Duration = Duration::from_mins(30);

/// The time limit of a cleanup: a few calls to the container engine.
const REAP_LIMIT: Duration = Duration::from_secs(30);

/// The time limit of requests about images: also a few calls to the container engine.
const IMAGE_LIMIT: Duration = Duration::from_secs(30);

/// The maximum size of an answer about images in bytes.
const ANSWER_LIMIT_BYTES: usize = 4 << 20;

/// The fields of `kept list --json` that are used here.
#[derive(Debug, Deserialize)]
pub(crate) struct KeptImage {
    pub(crate) id: String,
    pub(crate) names: BTreeSet<String>,
}

/// The fields of `image build --json` that are used here.
#[derive(Deserialize)]
struct Built {
    id: String,
}

/// What to export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HarvestMode {
    /// All work: the agent's own commits, and a commit of uncommitted changes.
    Work,
    /// Only the files of the worktree. The agent repository is put aside and replaced.
    Content,
    /// Nothing: update the agent's branch to the host's, unless something would be lost.
    Sync,
}

impl HarvestMode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Work => "harvest",
            Self::Content => "content",
            Self::Sync => "sync",
        }
    }
}

/// A request to export the work of a run.
#[derive(Debug)]
pub(crate) struct Harvest<'a> {
    /// What to export.
    pub mode: HarvestMode,
    /// The folders of the task's containers.
    pub folders: &'a ContainerFolders,
    /// The folder that the agent worked in.
    pub worktree: &'a Path,
    /// An empty folder for the output.
    pub out: &'a Path,
    /// The task's branch.
    pub branch: &'a str,
    /// The tip of the branch in the mirror.
    pub since: &'a ObjectId,
    /// The commit that the host replaced with a signed copy.
    pub replaced: Option<ObjectId>,
    /// The file with the commit message.
    pub message: &'a Path,
    /// The image, or `None` for the default image.
    pub image: Option<&'a str>,
    /// Submodules whose files the host wrote.
    pub submodules: Vec<String>,
    /// The folders that the worktree contains.
    pub cone: &'a Cone,
    /// The labels of the container, as `name=value`.
    pub labels: Vec<String>,
    /// The author and the committer of the commit.
    pub makers: &'a Makers,
    /// What the commit omits, and the file with the list for the container.
    pub omission: Omission<'a>,
}

/// What an exported commit omits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Omission<'a> {
    /// Nothing, because nothing is committed.
    Nothing,
    /// This is decided once the container has listed the new files, if that is necessary.
    Open(&'a Decision<'a>),
    /// The paths in this file.
    Listed(&'a Path),
}

/// A request to build an image.
pub(crate) struct ImageBuild<'a> {
    /// What it is built from.
    pub source: ImageSource<'a>,
    /// Tools that are added.
    pub tools: &'a BTreeMap<ToolName, ToolVersion>,
    /// The name of the image.
    pub image: &'a str,
    /// Receives each step.
    pub on_step: OnStep<'a>,
    /// The file for all output.
    pub log: Option<File>,
}

/// What an image is built from.
pub(crate) enum ImageSource<'a> {
    /// The built-in Dockerfile, with this content: `slim` or `universal`.
    Shipped(&'a str),
    /// Another image.
    Extended(&'a str),
    /// A Dockerfile of this machine, and a tar archive with the files that it can copy.
    Dockerfile { path: &'a Path, files: Option<File> },
    /// A Dockerfile in a repository, and a tar archive with the files of the repository.
    Repository { files: File, build: &'a Build },
}

/// Why an agent's work could not be exported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HarvestError {
    /// The agent left its repository or its files in an unreadable state.
    #[error("{0}")]
    Unusable(String),
    /// The worktree contains more than a commit may contain.
    #[error("{0}")]
    TooMuch(String),
    /// The container has listed the new files, and what the commit omits must be decided.
    #[error("what the commit omits is not decided")]
    Undecided,
    /// The export could not be started, or did not finish.
    #[error(transparent)]
    Program(#[from] RunProgramError),
}

/// The exit code of a container that was killed, or that ran out of memory.
const KILLED: i32 = 128 + 9;

impl HarvestError {
    /// Whether the export was killed, so that another attempt may succeed.
    pub(crate) fn was_killed(&self) -> bool {
        use std::os::unix::process::ExitStatusExt as _;
        match self {
            Self::Program(RunProgramError::Failed { status, .. }) => status.signal().is_some() || status.code() == Some(KILLED),
            Self::Program(_) | Self::Unusable(_) | Self::TooMuch(_) | Self::Undecided => false,
        }
    }
}

/// Calls the container program for everything except runs.
pub(crate) struct Housekeeping {
    program: Vec<String>,
    environment: Vec<(OsString, OsString)>,
    redactor: Redactor,
}

impl Housekeeping {
    /// Calls the container program of the settings. The redactor masks what the program prints.
    pub(crate) fn new(config: &Config, redactor: Redactor) -> Self {
        Self { program: config.container_program.clone(), environment: engine_environment(config), redactor }
    }

    pub(super) fn command(&self) -> CommandSpec<'static> {
        let (program, prefix) =
            self.program.split_first().map_or(("codex-docker", &[][..]), |(first, rest)| (first.as_str(), rest));
        CommandSpec::new(&Tool::at(program), &BaseEnvironment::default(), "/")
            .args(prefix)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .redact(self.redactor.clone())
    }

    /// Exports the agent's work to the output folder.
    pub(crate) async fn harvest(&self, harvest: &Harvest<'_>, cancel: CancellationToken) -> Result<(), HarvestError> {
        let owner = format!("{}:{}", rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let command = self.command().args(["harvest", "--mode", harvest.mode.as_str(), "--worktree"]).arg(harvest.worktree);
        let command = command.arg("--git-dir").arg(&harvest.folders.twin).arg("--out").arg(harvest.out);
        let command = command.arg("--sessions").arg(&harvest.folders.sessions).arg("--message").arg(harvest.message);
        let command = command.args(["--branch", harvest.branch, "--since", harvest.since.as_str(), "--owner", &owner]);
        let command = harvest.folders.objects.iter().fold(command, |command, path| command.arg("--objects").arg(path));
        let command = command.args(harvest.image.iter().flat_map(|image| ["--image", image]));
        let command = command.args(harvest.submodules.iter().flat_map(|path| ["--submodule", path]));
        let command = command.args(harvest.cone.folders().flat_map(|folder| ["--folder", folder.as_str()]));
        let command = command.args(harvest.labels.iter().flat_map(|label| ["--label", label]));
        let command = command.args(harvest.replaced.iter().flat_map(|commit| ["--replaced", commit.as_str()]));
        let Makers { author, committer, signing_key: _ } = harvest.makers;
        let command = command.args(["--author-name", &author.name, "--author-email", &author.email]);
        let command = command.args(["--committer-name", &committer.name, "--committer-email", &committer.email]);
        let command = match harvest.omission {
            Omission::Nothing => command,
            Omission::Listed(file) => command.arg("--leave-out").arg(file),
            Omission::Open(decision) => {
                let Limits { files, bytes, file_bytes } = decision.choices.limits;
                let command = if decision.has_choices() { command.args(["--ask", "always"]) } else { command };
                let command = command.args(["--max-new-files", &files.to_string(), "--max-bytes", &bytes.to_string()]);
                command.args(["--max-file-bytes", &file_bytes.to_string()])
            }
        };
        match command.deadline(HARVEST_LIMIT).cancel(cancel).run_ok().await {
            Ok(_) => Ok(()),
            Err(RunProgramError::Failed { status, stderr_tail, .. })
                if status.code().is_some_and(|code| UNUSABLE.contains(&code)) =>
            {
                Err(HarvestError::Unusable(stderr_tail.trim_end().to_owned()))
            }
            Err(RunProgramError::Failed { status, stderr_tail, .. }) if status.code() == Some(TOO_MUCH) => {
                Err(HarvestError::TooMuch(stderr_tail.trim_end().to_owned()))
            }
            Err(RunProgramError::Failed { status, .. }) if status.code() == Some(UNDECIDED) => Err(HarvestError::Undecided),
            Err(error) => Err(error.into()),
        }
    }

    /// Builds a repository's own image, and returns its ID if the program reports it. This is fast if nothing has changed.
    pub(crate) async fn build(
        &self,
        wanted: ImageBuild<'_>,
        cancel: CancellationToken,
    ) -> Result<Option<String>, RunProgramError> {
        let ImageBuild { source, tools, image, mut on_step, log } = wanted;
        let mut log = log.map(ImageLog::new);
        let command = self.command().args(["image", "build", "--json", "--tag", image]);
        let command = match source {
            ImageSource::Shipped(flavor) => command.args(["--flavor", flavor]),
            ImageSource::Extended(base) => command.args(["--from", base]),
            ImageSource::Dockerfile { path, files: None } => command.arg("--dockerfile").arg(path),
            ImageSource::Dockerfile { path, files: Some(files) } => {
                command.arg("--dockerfile").arg(path).args(["--context", "/dev/stdin"]).stdin(Stdin::File(files))
            }
            ImageSource::Repository { files, build: Build { dockerfile, context } } => command
                .args(["--context", "/dev/stdin", "--context-dockerfile", dockerfile, "--context-folder", context])
                .stdin(Stdin::File(files)),
        };
        let command =
            tools.iter().fold(command, |command, (name, version)| command.args(["--tool", &format!("{name}={version}")]));
        let command = if log.is_some() { command.arg("--verbose") } else { command };
        let steps = Stderr::Progress(Box::new(move |line| {
            if let Some(log) = &mut log {
                log.add(line);
            }
            if let Some(step) = line.strip_prefix("codex-docker: ").filter(|step| step.starts_with('[')) {
                on_step(step.trim_end());
            }
        }));
        let command = command.stdout(Stdout::Capture { max: ANSWER_LIMIT_BYTES }).stderr(steps);
        let built = command.deadline(BUILD_LIMIT).cancel(cancel).run_ok().await?;
        Ok(serde_json::from_slice::<Built>(&built.stdout).ok().map(|built| built.id))
    }

    /// Pulls an image. The output goes to a file.
    pub(crate) async fn pull(&self, image: &str, log: File, cancel: CancellationToken) -> Result<(), RunProgramError> {
        let mut log = ImageLog::new(log);
        let output = Stderr::Progress(Box::new(move |line| {
            log.add(line);
        }));
        let command = self.command().args(["image", "pull", image]).stderr(output);
        command.deadline(BUILD_LIMIT).cancel(cancel).run_ok().await.map(drop)
    }

    /// Returns the IDs of those images that exist.
    pub(crate) async fn image_ids(&self, names: &[String]) -> Result<BTreeMap<String, String>, RunProgramError> {
        let command = self.command().args(["image", "ids"]).args(names);
        let asked = command.stdout(Stdout::Capture { max: ANSWER_LIMIT_BYTES }).deadline(IMAGE_LIMIT).run_ok().await?;
        let ids = serde_json::from_slice::<BTreeMap<String, Option<String>>>(&asked.stdout).map_err(|error| {
            RunProgramError::Io { program: self.program.first().cloned().unwrap_or_default(), source: error.into() }
        })?;
        Ok(ids.into_iter().filter_map(|(name, id)| Some((name, id?))).collect())
    }

    /// Returns what uses these images. Images that the container engine does not have are omitted.
    pub(crate) async fn image_usage(&self, ids: &BTreeSet<String>) -> Result<Vec<ImageUsage>, RunProgramError> {
        let command = self.command().args(["image", "usage"]).args(ids);
        self.parsed(command, "image usage").await
    }

    /// Runs a command that prints JSON, and returns its output.
    async fn parsed<T: DeserializeOwned>(&self, command: CommandSpec<'_>, name: &str) -> Result<T, RunProgramError> {
        let asked = command.stdout(Stdout::Capture { max: ANSWER_LIMIT_BYTES }).deadline(IMAGE_LIMIT).run_ok().await?;
        serde_json::from_slice(&asked.stdout).map_err(|_| RunProgramError::Failed {
            program: self.program.first().cloned().unwrap_or_default(),
            status: asked.status,
            stderr_tail: format!("could not parse the output of `{name}`"),
        })
    }

    /// Removes an image, unless a container uses it or it has any other name. Returns whether the image is gone.
    pub(crate) async fn remove_image(&self, id: &str, names: &BTreeSet<String>) -> Result<bool, RunProgramError> {
        let names = names.iter().flat_map(|name| ["--name", name.as_str()]);
        let command = self.command().args(["image", "remove", id]).args(names);
        let done = command.stdout(Stdout::Capture { max: ANSWER_LIMIT_BYTES }).deadline(IMAGE_LIMIT).run_ok().await?;
        Ok(done.text().trim() == "removed")
    }

    /// Makes this server's user the owner of a folder that a container's root wrote to.
    pub(crate) async fn give_back(&self, folder: &Path, image: Option<&str>, label: &str) -> Result<(), RunProgramError> {
        let command = self.command().arg("give-back").arg(folder).args(["--label", label]);
        let command = command.args(image.iter().flat_map(|image| ["--image", image]));
        command.deadline(HARVEST_LIMIT).run_ok().await.map(drop)
    }

    /// Returns the images with these labels that contain what runs and setups installed.
    pub(crate) async fn kept(&self, labels: &[String]) -> Result<Vec<KeptImage>, RunProgramError> {
        let command = self.command().args(["kept", "list", "--json"]).args(labels.iter().flat_map(|label| ["--label", label]));
        self.parsed(command, "kept list").await
    }

    /// Removes the images with these labels that contain what runs and setups installed, unless a container uses them. The image
    /// with the name `except` stays.
    pub(crate) async fn remove_kept(&self, labels: &[String], except: Option<&str>) -> Result<(), RunProgramError> {
        let command = self.command().args(["kept", "remove"]).args(labels.iter().flat_map(|label| ["--label", label]));
        let command = command.args(except.iter().flat_map(|name| ["--except", name]));
        command.deadline(IMAGE_LIMIT).run_ok().await.map(drop)
    }

    /// Ends and removes all abandoned containers with these labels.
    pub(crate) async fn reap(&self, labels: &[String]) -> Result<(), RunProgramError> {
        let command = self.command().args(["reap", "--if-reachable"]).args(labels.iter().flat_map(|label| ["--label", label]));
        command.deadline(REAP_LIMIT).run_ok().await.map(drop)
    }
}

/// Returns the name of the image that is built from a repository's own Dockerfile.
pub fn own_image(env_id: model::ids::EnvironmentId) -> String {
    format!("codex-orchestrator-env:{env_id}")
}

/// Replaces a folder with an empty one. The old folder may contain files of a different user, which can only be renamed.
pub fn emptied(folder: PathBuf) -> std::io::Result<PathBuf> {
    remove_tree::remove_tree(&folder).map_err(|error| error.source)?;
    std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&folder)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use model::commit::{Choices, PathText};
    use model::ids::TaskId;
    use model::sparse::SparsePath;
    use store::Layout;

    use super::*;

    const ID: &str = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650";

    /// A stand-in for codex-docker that records its arguments.
    fn housekeeping(folder: &Path, script: &str) -> Housekeeping {
        let program = folder.join("codex-docker");
        let script = format!(
            "#!/bin/sh\ncd {}\nprintf '%s\\n' \"$@\" > told; env | cut -d= -f1 | sort > names\n{script}\n",
            folder.display()
        );
        fs_err::write(&program, script).expect("written");
        fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("ours");
        let mut config = Config::for_home(folder);
        config.container_program = vec![program.display().to_string(), "codex-docker".to_owned()];
        config.base_environment = BaseEnvironment::default().with("PATH", "/usr/bin:/bin");
        for (name, value) in [("DOCKER_HOST", "unix:///d"), ("CODEX_API_KEY", "k-server")] {
            config.environment.insert(name.into(), value.into());
        }
        Housekeeping::new(&config, Redactor::new(["k-server".to_owned()]))
    }

    fn told(folder: &Path) -> String {
        fs_err::read_to_string(folder.join("told")).expect("the program was called").replace('\n', " ")
    }

    #[tokio::test]
    async fn a_harvest_is_told_everything_and_given_no_secret() {
        let folder = tempfile::tempdir().expect("a folder");
        let task: TaskId = ID.parse().expect("an id");
        let since = "1".repeat(40).parse().expect("the object ID is valid");
        let harvest = Harvest {
            mode: HarvestMode::Content,
            folders: &ContainerFolders::new(&Layout::new("/h"), task, Path::new("/m")),
            worktree: Path::new("/w"),
            out: Path::new("/o"),
            branch: "codex/x",
            since: &since,
            replaced: None,
            message: Path::new("/msg"),
            image: Some("mine:1"),
            submodules: vec!["libs/x".to_owned()],
            cone: &Cone::of([SparsePath::parse("services/api").expect("it is valid")]),
            labels: vec!["home=/h".to_owned(), "task=x".to_owned()],
            makers: &Makers::default(),
            omission: Omission::Listed(Path::new("/omitted")),
        };
        housekeeping(folder.path(), "").harvest(&harvest, CancellationToken::new()).await.expect("it works");
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let expected = format!(
            "codex-docker harvest --mode content --worktree /w --git-dir /h/tasks/{ID}/agent.git --out /o --sessions /h/tasks/{ID}/sessions --message /msg \
             --branch codex/x --since {since} --owner {uid}:{gid} --objects /m/objects --image mine:1 --submodule libs/x --folder services/api --label home=/h --label task=x \
             --author-name Codex --author-email codex@localhost --committer-name Codex --committer-email codex@localhost --leave-out /omitted "
        );
        assert_eq!(told(folder.path()), expected);
        let names = fs_err::read_to_string(folder.path().join("names")).expect("written");
        assert!(names.contains("DOCKER_HOST\n") && !names.contains("CODEX_API_KEY"), "{names}");
    }

    #[tokio::test]
    async fn a_repository_that_cannot_be_used_is_told_from_an_engine_that_does_not_answer() {
        let folder = tempfile::tempdir().expect("a folder");
        let task: TaskId = ID.parse().expect("an id");
        let since = "1".repeat(40).parse().expect("the object ID is valid");
        let folders = ContainerFolders::new(&Layout::new("/h"), task, Path::new("/m"));
        let path = Path::new("/x");
        let choices = Choices { ignore: vec![PathText::new(b"a")], ..Choices::default() };
        let decision = Decision { file: Some(path), choices: &choices, secrets: None };
        let harvest = Harvest {
            mode: HarvestMode::Work,
            folders: &folders,
            worktree: path,
            out: path,
            branch: "b",
            since: &since,
            replaced: None,
            message: path,
            image: None,
            submodules: vec![],
            cone: &Cone::default(),
            labels: vec![],
            makers: &Makers::default(),
            omission: Omission::Open(&decision),
        };
        for code in [4, 5, 6, 8] {
            let script = format!("echo 'harvest: it is a file' >&2; exit {code}");
            let unusable = housekeeping(folder.path(), &script).harvest(&harvest, CancellationToken::new()).await;
            assert!(matches!(&unusable, Err(HarvestError::Unusable(why)) if why.contains("it is a file")), "{unusable:?}");
        }
        let harvested =
            housekeeping(folder.path(), "echo '9 new files' >&2; exit 7").harvest(&harvest, CancellationToken::new()).await;
        assert!(matches!(&harvested, Err(HarvestError::TooMuch(why)) if why == "9 new files"), "{harvested:?}");
        let undecided = housekeeping(folder.path(), "exit 9").harvest(&harvest, CancellationToken::new()).await;
        assert!(matches!(undecided, Err(HarvestError::Undecided)), "{undecided:?}");
        let limits = "--ask always --max-new-files 500000 --max-bytes 1006632960 --max-file-bytes 536870912 ";
        assert!(told(folder.path()).ends_with(limits), "{}", told(folder.path()));
        let away = housekeeping(folder.path(), "exit 125").harvest(&harvest, CancellationToken::new()).await;
        assert!(matches!(away, Err(HarvestError::Program(_))), "{away:?}");
    }

    #[tokio::test]
    async fn what_it_says_when_it_fails_is_passed_on_without_secrets() {
        let folder = tempfile::tempdir().expect("a folder");
        let failing = housekeeping(folder.path(), "echo 'no engine, k-server' >&2; exit 125");
        let error = failing.reap(&["home=/h".to_owned()]).await.expect_err("it fails").to_string();
        assert!(error.contains("no engine, ***"), "{error}");
        assert_eq!(told(folder.path()), "codex-docker reap --if-reachable --label home=/h ");
    }

    #[tokio::test]
    async fn an_environments_own_image_is_built_from_its_dockerfile() {
        let folder = tempfile::tempdir().expect("a folder");
        let image = own_image(ID.parse().expect("an id"));
        let steps = std::sync::Mutex::new(vec![]);
        let build = async |script: &str, files: Option<File>| {
            let housekeeping = housekeeping(folder.path(), script);
            let on_step = Box::new(|step: &str| steps.lock().expect("sound").push(step.to_owned()));
            let source = ImageSource::Dockerfile { path: Path::new("/D"), files };
            let wanted = ImageBuild { source, tools: &BTreeMap::new(), image: &image, on_step, log: None };
            housekeeping.build(wanted, CancellationToken::new()).await.expect("it works")
        };
        assert_eq!(build(r#"echo '{"name":"x","id":"sha256:1"}'"#, None).await.as_deref(), Some("sha256:1"));
        let expected = format!("codex-docker image build --json --tag codex-orchestrator-env:{ID} --dockerfile /D ");
        assert_eq!(told(folder.path()), expected);
        assert_eq!(build("echo built", None).await, None, "without an ID the image is used and never removed");
        let archive = folder.path().join("files");
        fs_err::write(&archive, "the files").expect("written");
        let files = File::open(&archive).expect("readable");
        build("cat > got; echo 'codex-docker: building' >&2; echo 'codex-docker: [2/3] RUN x' >&2", Some(files)).await;
        assert!(told(folder.path()).ends_with("--dockerfile /D --context /dev/stdin "), "{}", told(folder.path()));
        assert_eq!(fs_err::read_to_string(folder.path().join("got")).expect("written"), "the files");
        assert_eq!(*steps.lock().expect("sound"), ["[2/3] RUN x"]);
    }

    #[tokio::test]
    async fn each_source_of_an_image_has_its_arguments_and_the_output_is_logged() {
        let folder = tempfile::tempdir().expect("a folder");
        let build = Build { dockerfile: "docker/Dockerfile".to_owned(), context: "app".to_owned() };
        let tools = [("go", "1.23"), ("node", "22")];
        let tools = tools.into_iter().filter_map(|(name, version)| Some((ToolName::parse(name)?, ToolVersion::parse(version)?)));
        let tools: BTreeMap<_, _> = tools.collect();
        let (archive, log) = (folder.path().join("files"), folder.path().join("log"));
        fs_err::write(&archive, "the files").expect("written");
        let files = || File::open(&archive).expect("readable");
        for (source, expected) in [
            (ImageSource::Shipped("universal"), "--flavor universal"),
            (ImageSource::Extended("node:22"), "--from node:22"),
            (
                ImageSource::Repository { files: files(), build: &build },
                "--context /dev/stdin --context-dockerfile docker/Dockerfile --context-folder app",
            ),
        ] {
            let file = File::create(&log).expect("writable");
            let wanted = ImageBuild { source, tools: &tools, image: "x:1", on_step: Box::new(|_| {}), log: Some(file) };
            let housekeeping = housekeeping(folder.path(), "echo 'codex-docker: [1/2] RUN x' >&2; echo '  out' >&2");
            housekeeping.build(wanted, CancellationToken::new()).await.expect("it works");
            let asked = format!("codex-docker image build --json --tag x:1 {expected} --tool go=1.23 --tool node=22 --verbose ");
            assert_eq!(told(folder.path()), asked);
            assert_eq!(fs_err::read_to_string(&log).expect("written"), "codex-docker: [1/2] RUN x\n  out\n");
        }
    }

    #[tokio::test]
    async fn images_are_found_by_their_names_or_pulled() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = ["a:1".to_owned(), "b:1".to_owned()];
        let ids =
            housekeeping(folder.path(), r#"echo '{"a:1":"sha256:1","b:1":null}'"#).image_ids(&names).await.expect("it works");
        assert_eq!(ids, BTreeMap::from([("a:1".to_owned(), "sha256:1".to_owned())]));
        assert_eq!(told(folder.path()), "codex-docker image ids a:1 b:1 ");
        assert!(housekeeping(folder.path(), "echo what").image_ids(&names).await.is_err());
        let log = folder.path().join("log");
        let file = File::create(&log).expect("writable");
        let pulling = housekeeping(folder.path(), "echo 'error: no such image' >&2; exit 125");
        let error = pulling.pull("a:1", file, CancellationToken::new()).await.expect_err("it does not exist").to_string();
        assert!(error.contains("no such image") && fs_err::read_to_string(&log).expect("written").contains("no such"), "{error}");
        assert_eq!(told(folder.path()), "codex-docker image pull a:1 ");
    }

    #[tokio::test]
    async fn an_image_is_removed_by_its_id_and_only_with_names_that_are_known() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = BTreeSet::from(["a:1".to_owned(), "b:1".to_owned()]);
        let remove = async |script: &str| housekeeping(folder.path(), script).remove_image("sha256:1", &names).await;
        assert!(remove("echo removed").await.expect("it works"));
        assert_eq!(told(folder.path()), "codex-docker image remove sha256:1 --name a:1 --name b:1 ");
        assert!(!remove("echo kept").await.expect("it works"));
        assert!(remove("exit 1").await.is_err());
        let ids = BTreeSet::from(["sha256:1".to_owned()]);
        let usage = r#"echo '[{"id":"sha256:1","size":7,"names":["a:1"],"containers":true}]'"#;
        let found = housekeeping(folder.path(), usage).image_usage(&ids).await.expect("it works");
        assert_eq!((found[0].size, found[0].containers), (7, true));
        assert_eq!(told(folder.path()), "codex-docker image usage sha256:1 ");
    }

    #[test]
    fn the_folder_for_what_comes_out_is_new_each_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("harvest");
        emptied(out.clone()).expect("made");
        fs_err::write(out.join("bundle"), "old").expect("written");
        emptied(out.clone()).expect("created again");
        assert_eq!(fs_err::read_dir(&out).expect("there").count(), 0);
        assert_eq!(fs_err::metadata(&out).expect("there").permissions().mode() & 0o777, 0o700);
    }
}
