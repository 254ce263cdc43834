//! Exports an agent's work from its repository, in a short-lived container without a network or secrets.
//!
//! If the agent planted a program in its repository, the program can only run in that container, where there is nothing to
//! steal and no network. The result is an untrusted bundle, which the caller must check.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bollard::models::{ContainerCreateBody, HostConfig, Mount};
use clap::Args;
use uuid::Uuid;

use crate::connect::connect;
use crate::failure::Failure;
use crate::folder::{RunFolder, private_folder};
use crate::ledger::Marker;
use crate::one_shot::{TIME_LIMIT, one_shot, run_to_end, say_what_it_said, script_body};
use crate::run::{Stops, check_image, machine};
use crate::spec::{bind, bind_read_only, objects_inside};
use crate::{image, inside, labels, settings};
use model::ErrorCode;
use model::sparse::{Cone, SparsePath};
use model::untrusted::{COMMIT_LIMIT_BYTES, FILE_LIMIT_BYTES, NEW_FILES_LIMIT};

/// The script that commits uncommitted changes, writes the bundle, and gives files back to their owner.
const HARVEST_SCRIPT: &str = include_str!("harvest.sh");

/// The exit code for an exceeded time limit. The caller can try again with a new agent repository.
const TIMED_OUT: u8 = 8;

/// The arguments of `harvest`.
#[derive(Debug, Args)]
pub(crate) struct HarvestArguments {
    /// Worktree of the agent
    #[arg(long)]
    worktree: PathBuf,
    /// Repository of the agent
    #[arg(long)]
    git_dir: PathBuf,
    /// Folder of Git objects that the agent's repository borrows; may be repeated
    #[arg(long, required = true)]
    objects: Vec<PathBuf>,
    /// Output folder; must be empty or not exist
    #[arg(long)]
    out: PathBuf,
    /// Branch of the task
    #[arg(long)]
    branch: String,
    /// Commit that the branch points to in the caller's repository
    #[arg(long)]
    since: String,
    /// Commit that the caller replaced with a signed copy
    #[arg(long, value_name = "COMMIT")]
    replaced: Option<String>,
    /// File that contains the commit message
    #[arg(long)]
    message: PathBuf,
    /// New owner of the files
    #[arg(long, value_name = "UID:GID")]
    owner: Option<String>,
    /// Folder with the task's sessions, whose files get the same owner
    #[arg(long)]
    sessions: Option<PathBuf>,
    /// Submodule that the caller checked out, whose files are not committed; may be repeated
    #[arg(long = "submodule", value_name = "PATH")]
    submodules: Vec<String>,
    /// Folder that the worktree contains, if it does not contain all of them; may be repeated
    #[arg(long = "folder", value_name = "FOLDER", value_parser = SparsePath::parse)]
    folders: Vec<SparsePath>,
    /// File with NUL-terminated paths that are omitted of the commit. Without it, the export stops with exit code 9 and writes
    /// `inventory` if there is something to decide
    #[arg(long)]
    leave_out: Option<PathBuf>,
    /// When to stop and list the new files: only if some may be generated or are beyond the limits, or always
    #[arg(long, value_parser = ["beyond-limits", "always"], default_value = "beyond-limits")]
    ask: String,
    /// Number of new files that are committed without asking
    #[arg(long, default_value_t = NEW_FILES_LIMIT)]
    max_new_files: u64,
    /// Total size of new and changed files that is committed without asking, in bytes
    #[arg(long, default_value_t = COMMIT_LIMIT_BYTES)]
    max_bytes: u64,
    /// Size of a new or changed file that is committed without asking, in bytes
    #[arg(long, default_value_t = FILE_LIMIT_BYTES)]
    max_file_bytes: u64,
    /// Export commits and files (`harvest`), export only the current files (`content`), or move the agent's branch to the commit in
    /// `--since` (`sync`)
    #[arg(long, value_parser = ["harvest", "content", "sync"], default_value = "harvest")]
    mode: String,
    /// Author name for the commit
    #[arg(long, default_value = "Codex")]
    author_name: String,
    /// Author email address for the commit
    #[arg(long, default_value = "codex@localhost")]
    author_email: String,
    /// Committer name for the commit [default: the author]
    #[arg(long)]
    committer_name: Option<String>,
    /// Committer email address for the commit [default: that of the author]
    #[arg(long)]
    committer_email: Option<String>,
    /// Image of the container
    #[arg(long, env = "IMAGE_NAME", default_value = image::DEFAULT_IMAGE)]
    image: String,
    /// Label for the container; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = settings::label_argument)]
    labels: Vec<(String, String)>,
}

/// Exports the work and returns the exit code of the script.
pub(crate) async fn harvest(environment: &BTreeMap<String, String>, arguments: &HarvestArguments) -> Result<u8, Failure> {
    let docker = connect(environment).await?;
    check_image(&docker, &arguments.image).await?;
    let machine = machine(&docker, environment).await?;
    let unwritable = |error: std::io::Error| {
        Failure::new(ErrorCode::OutFolder, format!("cannot use the folder `{}`: {error}", arguments.out.display()))
            .hint("specify a folder that you can write to")
    };
    private_folder(&arguments.out).map_err(unwritable)?;
    let name = format!("codex-harvest-{}", Uuid::now_v7().simple());
    let (image, labels) = (arguments.image.clone(), arguments.labels.iter().cloned().collect());
    let folder = RunFolder::hold(&settings::state_root(environment)?, &Marker::new(&name, &image, labels))?;
    folder.clear()?;
    folder.put("script", HARVEST_SCRIPT.as_bytes())?;
    let message = fs_err::read(&arguments.message)
        .map_err(|error| Failure::new(ErrorCode::MessageUnreadable, format!("cannot read the commit message: {error}")))?;
    folder.put("message", &message)?;
    if let Some(paths) = &arguments.leave_out {
        let paths = fs_err::read(paths).map_err(|error| {
            Failure::new(ErrorCode::MessageUnreadable, format!("cannot read the paths to leave out: {error}"))
        })?;
        folder.put("leave-out", &paths)?;
    }
    let submodules: String = arguments.submodules.iter().flat_map(|path| [path.as_str(), "\0"]).collect();
    folder.put("submodules", submodules.as_bytes())?;
    let cone = Cone::of(arguments.folders.iter().cloned());
    if !cone.is_everything() {
        let expressions: Vec<_> = cone.expressions().iter().map(|expression| format!("^[^\t]*\t{expression}\n")).collect();
        folder.put("cone", expressions.concat().as_bytes())?;
        folder.put("patterns", cone.patterns().as_bytes())?;
    }
    folder.put(inside::GIT_FILE, format!("gitdir: {}\n", inside::GIT_DIR).as_bytes())?;
    let labels = labels::of_container(&folder.path().to_string_lossy(), &arguments.labels.iter().cloned().collect());
    let body = ContainerCreateBody {
        env: Some(arguments.environment()),
        host_config: Some(HostConfig { mounts: Some(arguments.mounts(&folder)), ..one_shot(&machine, folder.path()) }),
        labels: Some(labels),
        ..script_body(&arguments.image)
    };
    let mut stops =
        Stops::listen().map_err(|error| Failure::new(ErrorCode::NoSignals, format!("cannot receive signals: {error}")))?;
    let asked = async {
        stops.next().await;
        Failure::new(ErrorCode::HarvestStopped, "the export was stopped; the work is still in the worktree")
    };
    let ended = run_to_end(&docker, &name, body, asked).await;
    say_what_it_said(&arguments.out);
    crate::housekeeping::clear(&docker, &machine, &folder).await;
    match ended {
        Err(failure) if failure.code == TIME_LIMIT => {
            crate::say(&failure.to_string());
            Ok(TIMED_OUT)
        }
        ended => ended,
    }
}

impl HarvestArguments {
    fn environment(&self) -> Vec<String> {
        let mut pairs = vec![
            ("HARVEST_MODE", self.mode.clone()),
            ("HARVEST_WORKTREE", "/workspace/worktree".to_owned()),
            ("HARVEST_GIT_DIR", inside::GIT_DIR.to_owned()),
            ("HARVEST_OUT", inside::OUT.to_owned()),
            ("HARVEST_BRANCH", self.branch.clone()),
            ("HARVEST_SINCE", self.since.clone()),
            ("HARVEST_MESSAGE", format!("{}/message", inside::IN)),
            ("HARVEST_ASK", self.ask.clone()),
            ("HARVEST_RUN_FILES", self.max_new_files.to_string()),
            ("HARVEST_RUN_BYTES", self.max_bytes.to_string()),
            ("HARVEST_RUN_FILE_BYTES", self.max_file_bytes.to_string()),
            ("GIT_AUTHOR_NAME", self.author_name.clone()),
            ("GIT_AUTHOR_EMAIL", self.author_email.clone()),
            ("GIT_COMMITTER_NAME", self.committer_name.as_ref().unwrap_or(&self.author_name).clone()),
            ("GIT_COMMITTER_EMAIL", self.committer_email.as_ref().unwrap_or(&self.author_email).clone()),
        ];
        pairs.extend(self.replaced.iter().map(|commit| ("HARVEST_REPLACED", commit.clone())));
        pairs.extend(self.owner.iter().map(|owner| ("HARVEST_OWNER", owner.clone())));
        pairs.extend(self.sessions.iter().map(|_| ("HARVEST_SESSIONS", SESSIONS_INSIDE.to_owned())));
        pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    fn mounts(&self, folder: &RunFolder) -> Vec<Mount> {
        let mut mounts = vec![
            bind(&self.worktree, "/workspace/worktree"),
            bind_read_only(&folder.input(inside::GIT_FILE), "/workspace/worktree/.git"),
            bind(&self.git_dir, inside::GIT_DIR),
            bind_read_only(&folder.path().join("in"), inside::IN),
            bind(&self.out, inside::OUT),
        ];
        mounts.extend(self.objects.iter().enumerate().map(|(n, path)| bind_read_only(path, &objects_inside(n))));
        mounts.extend(self.sessions.iter().map(|path| bind(path, SESSIONS_INSIDE)));
        mounts
    }
}

/// The path of the folder with the sessions in the container.
const SESSIONS_INSIDE: &str = "/sessions";

#[cfg(test)]
mod tests;
