//! General advice for each error code. Messages usually have hints that fit the situation better.
//!
//! If a run failed in Codex or the worker, its record contains this advice as hints.

use super::ErrorCode;

impl ErrorCode {
    /// Returns what to do next, the most useful hint first.
    #[expect(clippy::too_many_lines, clippy::match_same_arms, reason = "this is a table in the order of the codes")]
    pub fn advice(self) -> &'static [&'static str] {
        match self {
            Self::Unauthenticated => &["send the token from the home directory as `Authorization: Bearer TOKEN`"],
            Self::BadHost => &["add the host to `allowed_hosts` in config.toml, then restart the server"],
            Self::MalformedHost => &["send exactly one `Host` header with the server's name and port"],
            Self::BadOrigin | Self::CrossSite => &["open the server's own pages, or send requests without an `Origin` header"],
            Self::NoSuchRoute | Self::MethodNotAllowed | Self::UnusableBody | Self::UnusableQuery => {
                &["see `GET /api/v1/openapi.json` for all routes and their parameters"]
            }
            Self::NoSuchPage => &["start from the list of tasks"],
            Self::MalformedPath => &["percent-encode the path as UTF-8"],
            Self::MalformedId => &["use a complete ID of 36 characters, as shown in lists"],
            Self::NotJson => &["send the header `Content-Type: application/json`"],
            Self::MalformedBody => &["send one JSON object in UTF-8"],
            Self::BodyTooLarge => &["put long text in a file in the repository"],
            Self::BodyTooSlow | Self::RequestTimeout => &["send the request again over a faster connection"],
            Self::UnusableIdempotencyKey => &["use 1 to 200 visible ASCII characters, such as a UUID"],
            Self::IdempotencyKeyReused => &["use a new key for each new request"],
            Self::UnusableEventId => &["send the `id` of the last event that you received"],
            Self::RangeOutside => &["follow the run's `events` to receive new lines"],
            Self::FormRefused => &["go back, reload the page and submit the form again"],
            Self::CodeRefused => &["run `codex-orchestrator sign-in` for a new link"],
            Self::PasswordRefused => &["try again, or run `codex-orchestrator sign-in` for a sign-in link"],
            Self::TooManyGuesses => &["wait a few minutes, or run `codex-orchestrator sign-in` for a sign-in link"],
            Self::Internal => &["check the server's log"],

            Self::PromptEmpty | Self::Usage => &["see the command's `--help`"],
            Self::PromptTooLarge => &["put long text in a file in the repository, and refer to it in the prompt"],
            Self::PromptRefused => &["use 1 to 1,048,576 characters of UTF-8 text without NUL characters"],
            Self::ImageRefused | Self::ImageTooLarge | Self::ImagesTooLarge | Self::TooManyImages => &[crate::image::TAKEN],
            Self::TitleRefused => &["use one line of up to 200 bytes"],
            Self::BodyRefused => &["remove the NUL characters"],
            Self::BranchNameRefused => &["use a name that `git check-ref-format --branch` accepts"],
            Self::RefRefused => &["use a branch, a tag or a commit ID; expressions such as `main~2` are not supported"],
            Self::RepositoryUrlRefused => &["use an https, ssh or file URL, or an absolute path"],
            Self::UrlHasCredentials => {
                &["remove the credentials or the query from the URL, and set up a git credential helper or an SSH key"]
            }
            Self::SettingRefused => &["use the name of a model, or a reasoning effort such as `low` or `high`"],
            Self::PriorityRefused => &["use `low`, `normal` or `high`"],
            Self::AnswerRefused => &["use one of the choices in the message"],
            Self::DescriptionChanged => &["read the description again, and approve its new hash"],
            Self::NoSetup => &["describe one: codex-orchestrator env setup edit ENV"],
            Self::SetupRunning => &["wait until the setup has ended: codex-orchestrator env setup log --follow ENV"],
            Self::DescriptionRefused => &["fix the description, then try again"],
            Self::VariableRefused => {
                &["use only letters, digits and `_` in names, and do not use names that this program sets itself"]
            }
            Self::SecretRefused => &["use only letters, digits and `_` in names, and one line of text as the value"],
            Self::ContainerRefused
            | Self::RunsRefused
            | Self::CommitsRefused
            | Self::SourcesRefused
            | Self::BranchPatternRefused => &["see the settings reference for valid values"],
            Self::FilesRefused | Self::FilesUnchanged => {
                &["list the files that can be committed with `codex-orchestrator task show`"]
            }
            Self::LimitRefused => &["use a number from 1 to 200"],
            Self::CursorRefused => &["send `next_cursor` of the previous page unchanged"],
            Self::GroupRefused => &["use `needs_you`, `running`, `queued` or `done`"],
            Self::ArchivedRefused => &["use `no`, `only` or `any`"],
            Self::StatusRefused => &["use one of the statuses in `codex-orchestrator task list --help`"],
            Self::NoticesRefused => &["correct the value in the notification settings"],
            Self::QuietHoursRefused => &["enter a start, an end and a time zone such as `Europe/Berlin`"],
            Self::SubscriptionRefused => &["reload the page and turn on notifications again"],

            Self::EnvironmentNotFound | Self::EnvironmentGone => &["run `codex-orchestrator env list` to see all repositories"],
            Self::EnvironmentNotReady => {
                &["wait for the clone to finish, or fix its error and run `codex-orchestrator env retry`"]
            }
            Self::Removed => &["add the repository again"],
            Self::CloneFailed | Self::FetchFailed => &["fix the problem that git reports, then try again"],
            Self::AuthenticationNeeded => &["set up an SSH key or a git credential helper for the user that runs the server"],
            Self::RepositoryNotFound => &["check the URL, and check that your login can read the repository"],
            Self::HostUnreachable => &["check the network and the host name, then try again"],
            Self::HostKeyUnknown => &["connect once with `ssh -T` to confirm the key, then try again"],
            Self::RemoteTimedOut => &["try again, or raise `clone_time_limit` or `fetch_time_limit` in config.toml"],
            Self::Cancelled => &["try again"],
            Self::RepositoryEmpty => &["push a first commit, then add the repository again"],
            Self::NoDefaultBranch | Self::BranchNotFound => &["use one of the existing branches"],
            Self::RefNotFound => &["run `codex-orchestrator env refs` to see the branches and tags"],
            Self::MirrorMissing => &["restore the home directory from a backup, or add the repository again"],
            Self::MirrorUnreadable => &["check the permissions and the disk of the home directory"],
            Self::NoShell => &["choose the built-in worker: ORCH_WORKER=codex-docker"],
            Self::ShellNotFound => &["it has ended; start another one with `codex-orchestrator env shell`"],
            Self::ShellInUse => &["exit the shell; the server then removes its files"],

            Self::TaskNotFound => &["run `codex-orchestrator task list` to see all tasks"],
            Self::RunNotFound | Self::ServiceNotFound | Self::NoFollowUp | Self::NoQuestion => {
                &["run `codex-orchestrator task show` to see the task"]
            }
            Self::ArtifactNotFound => &["run `codex-orchestrator task artifacts` to list the artifacts of a run"],
            Self::ImageNotFound => &["check the number or the name; a private container image requires `docker login`"],
            Self::RunActive => &["wait for the run to finish, or stop it with `codex-orchestrator task stop`"],
            Self::NoThread => &["run the task again with `codex-orchestrator task retry`"],
            Self::NotFailed => &["continue with a new prompt: `codex-orchestrator task resume`"],
            Self::TaskRemoving | Self::RemovalUnfinished => &["wait a moment; `codex-orchestrator trash` lists removed tasks"],
            Self::TooManyFollowUps => &["wait until some of them have run, or combine them into one prompt"],
            Self::QuestionChanged => &["read the new question with `codex-orchestrator task show`, then answer it"],
            Self::NotInTheTrash | Self::RestoreFailed => &["run `codex-orchestrator trash` to see what can be restored"],
            Self::Damaged => &["restore the file from a backup, or move its folder away, then restart the server"],

            Self::NoBranch => &["retry the task, or create a new one"],
            Self::CommitUnknown | Self::DiffUnavailable => &["reload the page, or run `codex-orchestrator task diff`"],
            Self::BaseNotFound => &["set an existing default branch: `codex-orchestrator env edit --default-branch`"],
            Self::NotPushed => &["push the branch first: `codex-orchestrator task push`"],
            Self::TooManyCommits => &["merge the base instead: `codex-orchestrator task update --merge`"],
            Self::UpdateConflicts => &["ask Codex to resolve the conflicts: `codex-orchestrator task update --hand-over`"],
            Self::UpdateTimedOut | Self::BranchMoved => &["try again"],
            Self::FilesInTheWay => &["resume the task and ask Codex to commit, move or delete these files"],
            Self::WorktreeUnsettled => &["resume the task, so that the next run commits the changes, then try again"],
            Self::GitTooOld | Self::GitUnusable => &["install git 2.39 or newer"],
            Self::NoCommits => &["wait for a run that changes something"],
            Self::OnlyMerges => &["export a bundle instead: `codex-orchestrator task bundle`"],

            Self::NothingToPublish => &["wait for a run that changes something"],
            Self::BranchMissing => &["retry the task, or create a new one"],
            Self::PushFailed | Self::PushRejected => {
                &["fix the reported problem and push again; nothing has changed on the remote"]
            }
            Self::RemoteMoved => &[
                "to keep the other commits, run `codex-orchestrator task update --onto-remote`",
                "to replace them, run `codex-orchestrator task push --force-with-lease`",
            ],
            Self::NoBaseBranch => &["set the default branch: `codex-orchestrator env edit --default-branch`"],
            Self::NoPullRequest => &["create one: `codex-orchestrator task push --pull-request`"],
            Self::NoFeedback => &["wait for comments or checks, or resume the task with your own prompt"],
            Self::NoForgeToken | Self::ForgeTokenRefused => {
                &["create a token, then set ORCH_GITHUB_TOKEN or run `codex-orchestrator env edit --forge-token-file`"]
            }
            Self::ForgeUnreachable | Self::ForgeUnavailable | Self::ForgeRateLimited => {
                &["try again later; the branch is already pushed"]
            }
            Self::ForgeForbidden => &["give the token permission to read and write pull requests"],
            Self::ForgeNotFound => {
                &["set the repository's current name: `codex-orchestrator env edit --forge-project OWNER/NAME`"]
            }
            Self::ForgeRefused => &["fix the reported problem, then try again"],
            Self::ForgeUnreadable => &["check the API address: `codex-orchestrator env edit --forge-api`"],

            Self::Unauthorized => &["run `codex-orchestrator login`, or set CODEX_API_KEY for the server", "then retry the task"],
            Self::Forbidden => &["check the account's plan, region and permissions, or use another account"],
            Self::UsageLimit => &["wait for the limit to reset, buy more credits, or use another account, then retry the task"],
            Self::RateLimited => &["wait a minute, then retry the task; run fewer tasks at once"],
            Self::Overloaded => &["wait a minute, then retry the task, or choose another model"],
            Self::Network => {
                &["check that this machine can reach the model provider, directly or through a proxy, then retry the task"]
            }
            Self::ContextWindow => &["create a new task that starts from this task's branch"],
            Self::ModelNotFound => &["resume the task with another model, or without a model to use Codex's default"],
            Self::UnknownThread => &[
                "check that CODEX_HOME has not changed since the earlier runs and still contains `sessions/`",
                "or create a new task that starts from this task's branch",
            ],
            Self::ThreadBusy => &["stop the other Codex process, then retry the task"],
            Self::ThreadChanged => &[
                "the agent did not see the earlier conversation; check that CODEX_HOME has not changed since the earlier runs",
                "its changes are on the task's branch",
            ],
            Self::NotTrustedDirectory => &["the worktree is damaged; create the task again"],
            Self::Config => &["check `config.toml` in CODEX_HOME, and the variables that it refers to"],
            Self::TurnFailed | Self::WorkerFailed => &["check the run's log and stderr, then retry the task"],
            Self::TimeLimit => &["raise the time limit, or split the task", "retry the task to continue where it stopped"],
            Self::Interrupted => &["retry the task to continue where it stopped; its changes so far are kept"],
            Self::WorkerMissing => &[
                "install the worker, or choose another one with ORCH_WORKER",
                "run `codex-orchestrator doctor` to check the setup",
            ],
            Self::WorkerKilled => &["retry the task to continue where it stopped"],
            Self::NothingRan => &["run the worker manually to see what it does", "check the run's stderr"],
            Self::EndedWithoutResult => &["check the run's stderr", "retry the task to continue where it stopped"],
            Self::ContainerEngine => &[
                "start the container engine, and check that this user has permission to use it",
                "run `codex-orchestrator doctor` to check the setup",
            ],
            Self::SubdirectoryMissing => &[
                "change the repository's folder: `codex-orchestrator env edit <repository> --subdirectory <folder>`, or `default` for the top-level folder",
                "or start the task from a branch that contains the folder",
            ],
            Self::KeeperFailed | Self::WorktreeFailed => {
                &["check that the home directory is writable and has free space, then retry the task"]
            }
            Self::CommitFailed => &["the changes are in the task's worktree; the next run commits them"],
            Self::ImageUnreadable => &["check the file, then try again"],
            Self::SessionUnreadable => &["check the permissions and the disk of the home directory, then retry the task"],
            Self::LoginExpired => &["log in again: codex-orchestrator login"],
            Self::ImageFailed => &["fix the Dockerfile, then retry the task"],
            Self::SetupFailed => {
                &["read the log: codex-orchestrator env setup log ENV", "then run it again: codex-orchestrator env setup run ENV"]
            }
            Self::SnapshotMissing => &["refresh the task's environment, then resume the task"],
            Self::CodexConfig => &["check `config.toml` in the Codex home that the worker mounts"],
            Self::NetworkNeedsKey => &["log in with an API key, or allow network access in the repository's settings"],
            Self::NetworkNotClosed => &["use the built-in worker, or allow network access in the repository's settings"],
            Self::WorkerCannotMount => &["set ORCH_HOME to a path without `:` and `=`"],

            Self::NotReady | Self::NoWorker | Self::CheckFailed => &["run `codex-orchestrator doctor` to check the setup"],
            Self::DiskFull | Self::DiskLow => {
                &["free disk space; `codex-orchestrator disk` shows what uses it, and `codex-orchestrator gc` empties the trash"]
            }
            Self::HomeUnusable => &["fix the reported problem, or choose another directory with ORCH_HOME"],
            Self::HomeInUse => &["use that server, stop it, or choose another directory with ORCH_HOME"],
            Self::HomeNotWritable | Self::HomeUnwritable => {
                &["make the home directory writable for the user that runs the server"]
            }
            Self::ConfigUnusable => &["correct the value in config.toml or in the environment variable"],
            Self::KeyUnusable => &["pass the key on standard input: `codex-orchestrator login --with-api-key < key.txt`"],
            Self::LoginUnusable | Self::LoginUnreadable => &["log in again: codex-orchestrator login"],
            Self::LoginNotStored => &["check that the home directory is writable and has free space, then log in again"],
            Self::NoSuchReceiver => &["set up a receiver on the notification settings page"],
            Self::TooManyDevices => &["remove a device first"],
            Self::NotTold => &["check the receiver's URL, and that this machine can reach it"],

            Self::AmbiguousId => &["use more characters of the ID"],
            Self::PromptUnreadable | Self::BodyUnreadable => &["check the file's path and permissions"],
            Self::PromptNotUtf8 => &["convert the prompt to UTF-8"],
            Self::PasswordUnreadable => &["run the command in a terminal, or pass the password on standard input"],
            Self::FileNotWritable => &["check the path, its permissions and the free disk space"],
            Self::NoPages => &["set `listen` in config.toml, then restart the server"],
            Self::LoginNotUsed => &["log in with the worker's own program, or remove the setting that replaces the stored login"],
            Self::NotLoggedIn => &["check Codex's messages above, or log in with an API key"],
            Self::CodexNotInstalled => &["install Codex yourself: `npm install -g @openai/codex`"],
            Self::CannotListen => &["choose another address with `listen`, or stop the program that uses it"],
            Self::ServerLost => &["check the server's log, then start it with `codex-orchestrator up`; tasks are not lost"],
            Self::ServerNotStarted => &["check the server's log"],
            Self::ServerNotStopped => &["wait, or check the server's log; running tasks are not affected"],
            Self::ServerUnknown | Self::ServerOutOfReach => &["stop the server where it was started"],
            Self::ServerInTheWay => &["stop that process, then try again"],
            Self::NoSuchUser => &["create the user, or specify another one"],
            Self::ProgramGone => &["run the command again"],
            Self::NoSystemd => &["start the server with `codex-orchestrator up` instead"],
            Self::SystemctlFailed => &["check `journalctl` for details"],
            Self::ForeignUnit => &["move or rename the unit, then try again"],
            Self::UnitUnusable => &["check the permissions of the unit's directory"],
            Self::UnitUnwritable => &["use values without control characters"],

            Self::EngineMissing => &["install Docker or Podman, or set DOCKER_HOST to the socket of a running container engine"],
            Self::EngineNotRunning => &["start the container engine: `sudo systemctl start docker`"],
            Self::EngineNoPermission => {
                &["add yourself to the group that owns the socket, then log in again", "or use a rootless container engine"]
            }
            Self::EngineUnreachable | Self::EngineFailed => &["run `docker version` to check the container engine"],
            Self::EngineTooOld => &["install Docker 19.03 or newer, or Podman 4 or newer"],
            Self::EngineRemapsUsers => &[
                "remove `userns-remap` from the container engine's settings and restart the engine",
                "or use a rootless container engine",
            ],
            Self::EngineAddress => &["use a local container engine: `unix:///path` or `tcp://127.0.0.1:PORT`"],
            Self::EngineContext => &["run `docker context ls` to see the available contexts"],
            Self::SettingUnusable => &["see the environment contract for valid values"],
            Self::NoStateFolder => &["set CODEX_DOCKER_STATE to a directory that you own"],
            Self::StateFolder => &["check that you own the directory and that the disk has free space"],
            Self::NoFolder => &["change to an existing directory"],
            Self::OutFolder | Self::CodexHome => &["use a directory that you can write to"],
            Self::MountMissing => &["create the directory, or specify another one"],
            Self::StdinUnreadable | Self::MessageUnreadable => &["check the file's path and permissions"],
            Self::StdinTooLarge => &["pass a smaller prompt, or pipe it instead of redirecting a file"],
            Self::Terminal | Self::NoSignals | Self::NoThreads | Self::OutputFailed => {
                &["check the limits of this user (`ulimit -a`), then try again"]
            }
            Self::RunIsHeld | Self::NameTaken => &["set another CONTAINER_NAME, or wait until the other container has finished"],
            Self::NotOurs => &["use the name of a container that `codex-docker list` shows"],
            Self::NetworkFailed => &["run `docker network ls`, and remove networks that you no longer use"],
            Self::ContainerNotCreated | Self::ContainerNotStarted | Self::ContainerFailed => {
                &["fix the problem that the container engine reports"]
            }
            Self::LayerFailed => &["check that the directory is writable and that the disk has free space"],
            Self::SetupTimeLimit => &["raise the time limit of the setup, or make the script faster"],
            Self::SetupNotStored => {
                &["check that the directory is writable and that the disk has free space, then run the setup again"]
            }
            Self::SetupLeaksSecret => &["change the script so that it removes the secret from the files that it leaves"],
            Self::ServiceFailed => &[
                "check the image and the variables of the service",
                "if its image is missing, run the setup of the repository again, which downloads it",
            ],
            Self::ServiceNotReady => &["check the image, the variables and the `ready` command of the service"],
            Self::GiveBack => &["change the owner with `sudo chown -R`"],
            Self::HarvestStopped | Self::HarvestTimeLimit => &["export again; the changes are still in the worktree"],
            Self::BrokerNeedsKey => &["set CODEX_API_KEY"],
            Self::BrokerNeedsSessions => &["mount a directory for the sessions"],
            Self::ImageMissing => &["build the image: `codex-orchestrator codex-docker image build`"],
            Self::ImageName => &["use lower case, as in `registry.example.com/team/image:tag`"],
            Self::ImageNotPublished => &["build the image: `codex-orchestrator codex-docker image build`"],
            Self::ImageIncomplete => &["start your Dockerfile with `ARG CODEX_DOCKER_IMAGE` and `FROM ${CODEX_DOCKER_IMAGE}`"],
            Self::ImageContext => &["list files that the Dockerfile does not need in `.dockerignore`"],
            Self::ToolUnknown => &["use a form like `node=22`; the tools are `node`, `python`, `go`, `rust` and `java`"],
            Self::ImageTls => &["specify your network's certificates with `--ca-file`"],
            Self::ImageNoNetwork => {
                &["check that the container engine and its containers can reach the network, directly or through a proxy"]
            }
            Self::ImageOtherMachine => &["use a base image for this machine's architecture"],
            Self::BaseUnsuitable => &["use a base image such as `debian:bookworm-slim`, or your own Dockerfile"],
            Self::CodexVersionUnknown => &["run `npm view @openai/codex versions` to see all versions"],
            Self::CodexNotForMachine => &["use an amd64 or arm64 machine"],
            Self::DockerfileUnreadable => &["check the file's path and permissions"],
            Self::DockerfileInvalid => &["see https://docs.docker.com/reference/dockerfile"],
            Self::DockerfileBuildkit => &[
                "build the image with `docker build` and set it as the container image of the repository",
                "or avoid BuildKit features",
            ],
            Self::CaFile => &["specify an existing PEM file"],
            Self::RegistryAddress => &["use an http or https URL without a password"],

            Self::InvalidRunToken => &["use the token from the container's environment"],
            Self::NotPassedOn | Self::HostedToolsDenied => {
                &["if the agent needs it, allow it in the repository's container settings"]
            }
            Self::BudgetExceeded => &["raise the token budget of the repository, then retry the task"],
            Self::RequestNotChecked => &["send plain JSON"],
            Self::RequestTooLong | Self::RequestBrokenOff => &["retry the task"],
            Self::ModelUnreachable => &["check that this machine can reach the model provider"],
            Self::ModelAnswerEncoded => &["use a model provider that respects `Accept-Encoding: identity`"],
            Self::RunOver => &["retry the task"],
        }
    }
}
