//! One example message for each code, for the reference.
//!
//! Each example is a message that the program can print, with realistic values. A test of `xtask` compares the examples with the
//! messages in the sources, and the messages of Codex with the words in `codex/trouble.rs`. Only the values in real messages differ.

use super::ErrorCode;

impl ErrorCode {
    /// Returns an example of a message with this code.
    #[expect(clippy::too_many_lines, reason = "this is a table with a row for each code")]
    pub fn example(self) -> &'static str {
        match self {
            Self::Unauthenticated => "authentication required",
            Self::BadHost => "host not allowed: box.example.org",
            Self::MalformedHost => "the request has several `Host` headers",
            Self::BadOrigin => "requests from pages of other origins are not allowed",
            Self::CrossSite => "requests from pages of other sites are not allowed",
            Self::NoSuchRoute => "route not found: /api/v1/nope",
            Self::NoSuchPage => "page not found: /nope",
            Self::MethodNotAllowed => "/api/v1/status does not support POST",
            Self::MalformedPath => "the path is not UTF-8",
            Self::MalformedId => "`nope` is not a task ID (a UUID)",
            Self::NotJson => "the request has no JSON content type",
            Self::MalformedBody => "invalid JSON: EOF while parsing an object at line 1 column 12",
            Self::UnusableBody => "invalid request body: missing field `prompt` at line 1 column 52",
            Self::BodyTooLarge => "the request body is too large",
            Self::BodyTooSlow => "the request body did not arrive in time",
            Self::UnusableQuery => "invalid query: invalid digit found in string",
            Self::UnusableIdempotencyKey => "the `Idempotency-Key` header must have 1 to 200 visible ASCII characters",
            Self::IdempotencyKeyReused => {
                "this idempotency key was used for a different request, which created task 0198c2f0-7a31-7c52-9d0e-3f4b6a81c2d5"
            }
            Self::UnusableEventId => "the `Last-Event-ID` header is not a number",
            Self::RangeOutside => "the log has only 4096 bytes",
            Self::FormRefused => "the form belongs to another session",
            Self::CodeRefused => "this sign-in link was already used or has expired",
            Self::PasswordRefused => "wrong password",
            Self::TooManyGuesses => "too many wrong passwords; try again in 30 s",
            Self::Internal => "internal server error",
            Self::PromptEmpty => "the prompt is empty",
            Self::PromptTooLarge => "the prompt has 1200000 bytes; the limit is 1048576 (1 MiB)",
            Self::PromptRefused => "the prompt contains a NUL character",
            Self::ImageRefused => "`notes.pdf` is not in a supported image format",
            Self::ImageTooLarge => "`screen.png` has 12582912 bytes; the limit is 10485760 (10 MiB)",
            Self::ImagesTooLarge => "the images and files have 25165824 bytes in total; the limit is 20971520 (20 MiB)",
            Self::TooManyImages => "too many images or other files: 9; the limit is 8 of each per prompt",
            Self::TitleRefused => "invalid title `Fix the login.Then add tests.`: use one line of 1 to 200 bytes",
            Self::BodyRefused => "the body contains a NUL character",
            Self::BranchNameRefused => "invalid branch name `a..b`",
            Self::RefRefused => "`main~2` is not a branch, tag or commit ID",
            Self::RepositoryUrlRefused => "the repository URL `ftp://example.org/app.git` has an unsupported scheme",
            Self::UrlHasCredentials => "the repository URL for `host` contains a password or token",
            Self::SettingRefused => "invalid model or effort `-x`",
            Self::PriorityRefused => "invalid priority; use `low`, `normal` or `high`",
            Self::AnswerRefused => "invalid answer; use `fetch` or `skip`, or `commit` or `ignore`",
            Self::DescriptionChanged => "this description is not the one in effect",
            Self::NoSetup => "`app` has no setup to run",
            Self::SetupRunning => "a setup of `app` is running",
            Self::DescriptionRefused => {
                "invalid environment description in `.codex-orchestrator/environment.toml`: unknown field `setpu`"
            }
            Self::VariableRefused => "invalid variable name `1X`",
            Self::SecretRefused => "the secret `TOKEN` is shorter than 8 bytes and cannot be masked",
            Self::ContainerRefused => "invalid memory limit `some`",
            Self::RunsRefused => "invalid number of retries: 99",
            Self::FilesRefused => "invalid path `a//b`",
            Self::FilesUnchanged => "the worktree has no such new or changed files",
            Self::CommitsRefused => "invalid name and email address `Ada`",
            Self::SourcesRefused => "too many trusted branches: at most 50 are accepted",
            Self::BranchPatternRefused => "invalid branch pattern `a b`",
            Self::LimitRefused => "the limit 500 is not between 1 and 200",
            Self::CursorRefused => "invalid cursor",
            Self::GroupRefused => "invalid group `mine`",
            Self::ArchivedRefused => "invalid value `yes` for `archived`",
            Self::StatusRefused => "invalid status `sleeping`",
            Self::NoticesRefused => "`ntfy_url` is not an http or https URL",
            Self::QuietHoursRefused => "invalid time zone `nowhere`; use a name like Europe/Berlin",
            Self::SubscriptionRefused => "invalid browser keys",
            Self::EnvironmentNotFound => "no repository has the ID 0198c2f0-7a31-7c52-9d0e-3f4b6a81c2d5",
            Self::EnvironmentNotReady => "the repository `app` is cloning",
            Self::EnvironmentGone => "the repository of task 0198c2f0-7a31-7c52-9d0e-3f4b6a81c2d5 does not exist",
            Self::Removed => "the repository was removed during the clone",
            Self::CloneFailed => "could not create the mirror's folder: Permission denied (os error 13)",
            Self::FetchFailed => "could not fetch: fatal: early EOF",
            Self::AuthenticationNeeded => {
                "the remote requires a login, but git does not have a valid one: fatal: could not read Username for 'https://git.example.org': terminal prompts disabled"
            }
            Self::RepositoryNotFound => "repository not found: fatal: repository 'https://git.example.org/me/ap.git/' not found",
            Self::HostUnreachable => {
                "cannot reach the remote's host: fatal: unable to access 'https://gti.example.org/me/app.git/': Could not resolve host: gti.example.org"
            }
            Self::HostKeyUnknown => "ssh does not trust the remote's host key: Host key verification failed.",
            Self::RemoteTimedOut => "the remote did not finish within 300 s",
            Self::Cancelled => "stopped before the worktree was created",
            Self::RepositoryEmpty => "the repository has no branches, so no task can start from it",
            Self::NoDefaultBranch => "the repository has no default branch; existing branches: `develop`, `release`",
            Self::BranchNotFound => "branch `mian` not found; existing branches: `develop`, `main`",
            Self::RefNotFound => "branch, tag or commit `mian` not found in the repository",
            Self::MirrorMissing => "the mirror of the repository 0198c2f0-7a31-7c52-9d0e-3f4b6a81c2d5 is missing",
            Self::MirrorUnreadable => "could not read the mirror: `/usr/bin/git` did not finish within 60 s and was stopped",
            Self::NoShell => "the worker does not run Codex in containers, so it cannot start a shell in one",
            Self::ShellNotFound => "`app` has no shell with this ID",
            Self::ShellInUse => "a program still runs in shell 0198c2f0-7a31-7c52-9d0e-3f4b6a81c2d5",
            Self::TaskNotFound => "no task has the ID 0198c2f0-7a31-7c52-9d0e-3f4b6a81c2d5",
            Self::RunNotFound => "task 0198c2f0-7a31-7c52-9d0e-3f4b6a81c2d5 has no run 7",
            Self::ServiceNotFound => "run 1 of task 0198c2f0-7a31-7c52-9d0e-3f4b6a81c2d5 has no service `db`",
            Self::ArtifactNotFound => "run 1 has no artifact `report.xml`",
            Self::ImageNotFound => "image not found in task 0198c2f0-7a31-7c52-9d0e-3f4b6a81c2d5",
            Self::RunActive => "a run of this task is still active",
            Self::NoThread => "this task has no Codex thread to continue",
            Self::NotFailed => "nothing to retry: the last run of this task did not fail",
            Self::TaskRemoving => "this task is being removed",
            Self::NoFollowUp => "follow-up not found: it has already started or was removed",
            Self::TooManyFollowUps => "this task already has the maximum number of follow-ups",
            Self::NoQuestion => "this task has no open question: it was answered, or the run was stopped",
            Self::QuestionChanged => "this task now asks a different question",
            Self::RemovalUnfinished => "the task 0198c2f0-7a31-7c52-9d0e-3f4b6a81c2d5 is still being removed",
            Self::NotInTheTrash => "item not found in the trash",
            Self::RestoreFailed => {
                "could not restore the task's branch: could not set up the worktree: No space left on device (os error 28)"
            }
            Self::Damaged => {
                "cannot read `/home/me/.codex-orchestrator/tasks/0198c2f0-7a31-7c52-9d0e-3f4b6a81c2d5/meta.json`: EOF while parsing a value at line 1 column 0"
            }
            Self::NoBranch => "this task has no branch and no worktree yet",
            Self::CommitUnknown => "the commit is not on this task's branch",
            Self::DiffUnavailable => "the diff took too long",
            Self::BaseNotFound => "the repository has no branch `release` or `main`",
            Self::NotPushed => "the remote has no branch `codex/0198c2f0-7a31-7c52-9d0e-3f4b6a81c2d5`",
            Self::TooManyCommits => "the branch has 1200 commits; at most 1000 can be rebased",
            Self::UpdateConflicts => "the task's branch conflicts with `main` at 1a2b3c4d5e6f: `src/lib.rs` (modify/delete)",
            Self::UpdateTimedOut => "git did not merge the commits within 10 minutes",
            Self::BranchMoved => "the task's branch changed during the update",
            Self::FilesInTheWay => "uncommitted files are in the way: `notes.txt`",
            Self::WorktreeUnsettled => {
                "cannot update the branch in this worktree: `rebase-merge` shows that an operation is in progress"
            }
            Self::GitTooOld => "git 2.36 cannot merge without a worktree: 2.38 or newer is needed",
            Self::NoCommits => "this task has no commits",
            Self::OnlyMerges => "the task's branch has only merge commits, which cannot be exported as patches",
            Self::NothingToPublish => "no run of this task has changed anything",
            Self::BranchMissing => "branch `codex/0198c2f0-7a31-7c52-9d0e-3f4b6a81c2d5` not found in the mirror",
            Self::PushFailed => "`/usr/bin/git` did not finish within 60 s and was stopped",
            Self::PushRejected => {
                "could not push `codex/0198c2f0-7a31-7c52-9d0e-3f4b6a81c2d5`: the remote rejected the push: protected branch hook declined"
            }
            Self::RemoteMoved => {
                "could not push `codex/0198c2f0-7a31-7c52-9d0e-3f4b6a81c2d5`: the remote branch has commits (1a2b3c4d5e6f) from outside this task"
            }
            Self::NoBaseBranch => "this repository has no default branch",
            Self::NoPullRequest => "this task has no pull request",
            Self::NoFeedback => "the pull request has no open comments and no failed checks",
            Self::NoForgeToken => "no token is set for the Git host of this task",
            Self::ForgeUnreachable => "GitHub: the host is unreachable: no response within 30 s",
            Self::ForgeUnavailable => "GitHub: the host returned status 502: the response is not valid JSON",
            Self::ForgeTokenRefused => "GitHub: the token was rejected: Bad credentials",
            Self::ForgeForbidden => "GitHub: the token does not allow this: Resource not accessible by personal access token",
            Self::ForgeNotFound => "GitHub: repository not found, or not visible to this token: Not Found",
            Self::ForgeRefused => "invalid repository name `app`",
            Self::ForgeRateLimited => "GitHub: the rate limit is used up until 2026-07-01T14:00:00Z",
            Self::ForgeUnreadable => "GitHub: unexpected response: too many redirects",
            Self::Unauthorized => {
                "unexpected status 401 Unauthorized: Incorrect API key provided: sk-xxx, url: https://api.openai.com/v1/responses"
            }
            Self::Forbidden => "unexpected status 403 Forbidden: forbidden",
            Self::UsageLimit => {
                "You’ve hit your usage limit. Visit https://chatgpt.com/settings/usage to purchase more credits or try again at Mar 17th, 2030 5:46 PM."
            }
            Self::RateLimited => "exceeded retry limit, last status: 429 Too Many Requests",
            Self::Overloaded => "Selected model is at capacity. Please try a different model.",
            Self::Network => {
                "stream disconnected before completion: Transport error: network error: error decoding response body"
            }
            Self::ContextWindow => {
                "Codex ran out of room in the model's context window. Start a new thread or clear earlier history before retrying."
            }
            Self::ModelNotFound => "The 'gpt-x' model is not supported when using Codex with a ChatGPT account.",
            Self::UnknownThread => {
                "thread/resume: thread/resume failed: no rollout found for thread id 019a2c1e-5b0f-7d3a-8c46-1e2f3a4b5c6d (code -32600)"
            }
            Self::ThreadBusy => "thread 019a2c1e-5b0f-7d3a-8c46-1e2f3a4b5c6d already has an active writer",
            Self::ThreadChanged => {
                "Codex started thread 019a2c20-11d4-7e6b-9a58-7c8d9e0f1a2b instead of continuing thread 019a2c1e-5b0f-7d3a-8c46-1e2f3a4b5c6d"
            }
            Self::NotTrustedDirectory => "Not inside a trusted directory and --skip-git-repo-check was not specified.",
            Self::Config => "Missing environment variable: `MY_KEY`.",
            Self::TurnFailed => "the turn failed, but Codex gave no reason",
            Self::TimeLimit => "the run reached its time limit before the turn finished",
            Self::Interrupted => "the run's process ended without a result",
            Self::WorkerMissing => "could not start the worker: could not run `/usr/local/bin/run-codex`: program not found",
            Self::WorkerFailed => "the turn completed, but the worker exited with code 101",
            Self::WorkerKilled => "the worker was killed by SIGKILL before the turn finished",
            Self::NothingRan => "the worker exited with code 0 without running a turn: usage: run-codex PROMPT",
            Self::EndedWithoutResult => "the worker exited with code 1 and gave no reason",
            Self::ContainerEngine => {
                "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
            }
            Self::KeeperFailed => {
                "could not start the run's keeper: could not write the files of the run: No space left on device (os error 28)"
            }
            Self::SubdirectoryMissing => "the branch does not contain the folder `services/api`",
            Self::WorktreeFailed => "could not sync the mirror to disk: No space left on device (os error 28)",
            Self::CommitFailed => "could not commit the changes: the commit took more than 900 seconds",
            Self::ImageUnreadable => "could not read `screen.png`: No such file or directory (os error 2)",
            Self::SessionUnreadable => {
                "could not read the Codex session of thread 019a2c1e-5b0f-7d3a-8c46-1e2f3a4b5c6d: Permission denied (os error 13)"
            }
            Self::LoginExpired => "the Codex login is about to expire and could not be renewed: Codex did not renew the tokens",
            Self::SetupFailed => "the setup script exited with code 1",
            Self::SnapshotMissing => "the snapshot 3f2a91c04d7e of the task's environment is missing",
            Self::ImageFailed => "could not build `codex-orchestrator`: a command failed with exit code 7 (at `RUN npm ci`)",
            Self::CodexConfig => "could not write Codex's settings for the container: No space left on device (os error 28)",
            Self::NetworkNeedsKey => "the network of `app` is `none`, but the broker is off",
            Self::NetworkNotClosed => "the network of `app` is `none`, but this worker cannot restrict the network of containers",
            Self::WorkerCannotMount => "this worker cannot mount `/srv/home:1`: the path contains `:` or `=`",
            Self::NotReady => "tasks cannot start: the worker `host` requires the Codex CLI, but `codex` is not on PATH",
            Self::NoWorker => "the worker `host` requires the Codex CLI, but `codex` is not on PATH",
            Self::CheckFailed => {
                "could not check whether containers can run: `/usr/local/bin/codex-docker` did not finish within 10 s and was stopped"
            }
            Self::DiskFull => {
                "could not write `/home/me/.codex-orchestrator/tasks/0198c2f0-7a31-7c52-9d0e-3f4b6a81c2d5/meta.json`: No space left on device (os error 28)"
            }
            Self::DiskLow => {
                "only 120 MiB are free on the disk of `/home/me/.codex-orchestrator`, less than the required 1024 MiB"
            }
            Self::HomeUnusable => "cannot use the home directory `/srv/home`: Permission denied (os error 13)",
            Self::HomeInUse => "another server already uses `/home/me/.codex-orchestrator` (process 4711)",
            Self::HomeNotWritable => {
                "could not write `/home/me/.codex-orchestrator/tasks/0198c2f0-7a31-7c52-9d0e-3f4b6a81c2d5/meta.json`: Permission denied (os error 13)"
            }
            Self::HomeUnwritable => {
                "could not write `/home/me/.codex-orchestrator`: failed to create file `/home/me/.codex-orchestrator/probe`: Read-only file system (os error 30)"
            }
            Self::ConfigUnusable => "invalid duration `5x` for `run_time_limit`",
            Self::GitUnusable => "git 2.25 is too old: install git 2.39 or newer (2.34 is the oldest that may work)",
            Self::KeyUnusable => "standard input does not contain an API key",
            Self::LoginUnusable => "this is not a Codex login",
            Self::LoginUnreadable => "could not read the Codex login: Permission denied (os error 13)",
            Self::LoginNotStored => "could not store the login: No space left on device (os error 28)",
            Self::NoSuchReceiver => "no notification receiver of this kind is configured",
            Self::TooManyDevices => "all 20 device subscriptions are in use",
            Self::NotTold => "could not notify ntfy: plain HTTP is only allowed on this machine",
            Self::Usage => "no prompt given",
            Self::AmbiguousId => "`01a2` matches 2 tasks",
            Self::PromptUnreadable => "could not read the prompt: No such file or directory (os error 2)",
            Self::PromptNotUtf8 => "the prompt is not UTF-8: invalid byte at position 17",
            Self::BodyUnreadable => "could not read the description: No such file or directory (os error 2)",
            Self::PasswordUnreadable => "could not read the password: stream did not contain valid UTF-8",
            Self::FileNotWritable => "could not write the file: Permission denied (os error 13)",
            Self::NoPages => "the server has no pages because it does not listen on a TCP address",
            Self::LoginNotUsed => "the worker is a custom program that has its own login",
            Self::NotLoggedIn => "Codex exited without logging in (exit status: 1)",
            Self::CodexNotInstalled => "no usable `codex` on PATH, and no `npm` to install it",
            Self::CannotListen => "127.0.0.1:8080 is in use by another program",
            Self::ServerLost => "the server does not answer: the event stream ended",
            Self::ServerNotStarted => "the server did not start: it exited immediately (exit status: 1)",
            Self::ServerNotStopped => "the server (process 4711) did not exit within 30 s",
            Self::ServerUnknown => "could not find the process that serves this home directory: Permission denied (os error 13)",
            Self::ServerOutOfReach => "a server answers for this home directory, but its process is not visible here",
            Self::ServerInTheWay => "could not stop the background server (process 4711): Operation not permitted (os error 1)",
            Self::NoSuchUser => "no home directory found for user `codex`",
            Self::ProgramGone => "this program was replaced or removed while it was running: /usr/local/bin/codex-orchestrator",
            Self::NoSystemd => "systemd is not installed: `systemctl` not found on PATH",
            Self::SystemctlFailed => {
                "`systemctl --user daemon-reload` failed (exit status: 1): Failed to connect to bus: No medium found"
            }
            Self::ForeignUnit => {
                "/home/me/.config/systemd/user/codex-orchestrator.service was not created by this program, so it was not changed"
            }
            Self::UnitUnusable => "cannot use `/etc/systemd/system/codex-orchestrator.service`: Permission denied (os error 13)",
            Self::UnitUnwritable => "a systemd unit cannot contain `/srv/a\\nb`",
            Self::EngineMissing => "container engine not found at unix:///var/run/docker.sock (from Docker's default)",
            Self::EngineNotRunning => {
                "the container engine at unix:///var/run/docker.sock (from Docker's default) is not running"
            }
            Self::EngineNoPermission => {
                "permission denied: cannot use the container engine at unix:///var/run/docker.sock (from Docker's default)"
            }
            Self::EngineUnreachable => {
                "the container engine at tcp://docker.example.org:2375 (from DOCKER_HOST) does not respond: Timeout error"
            }
            Self::EngineTooOld => {
                "the container engine at unix:///var/run/docker.sock is too old: it has API 1.38, but API 1.40 is required"
            }
            Self::EngineRemapsUsers => {
                "the container engine gives the users of containers other IDs (userns-remap), so a run could not use its folders"
            }
            Self::EngineAddress => "cannot use the container engine `ssh://me@example.org` (from DOCKER_HOST)",
            Self::EngineContext => "the Docker context `remote` does not exist or has no address",
            Self::EngineFailed => "could not list the containers: context deadline exceeded",
            Self::SettingUnusable => "invalid CODEX_DOCKER_NETWORK: `some`",
            Self::NoStateFolder => "neither XDG_STATE_HOME nor HOME is set",
            Self::StateFolder => {
                "cannot use the run's folder `/home/me/.local/state/codex-docker/codex-docker-1`: Permission denied (os error 13)"
            }
            Self::NoFolder => "cannot use the current folder: No such file or directory (os error 2)",
            Self::OutFolder => "cannot use the folder `/srv/out`: Permission denied (os error 13)",
            Self::CodexHome => "cannot use the folders of Codex: Permission denied (os error 13)",
            Self::MountMissing => "working directory `/srv/work` not found",
            Self::StdinUnreadable => "cannot read stdin: Is a directory (os error 21)",
            Self::StdinTooLarge => "the file on stdin is larger than 4 MiB",
            Self::Terminal => "could not attach to the container's terminal",
            Self::NoSignals => "cannot receive signals: Too many open files (os error 24)",
            Self::NoThreads => "could not start threads: Resource temporarily unavailable (os error 11)",
            Self::OutputFailed => "cannot follow the output: Too many open files (os error 24)",
            Self::RunIsHeld => "another codex-docker is using `/home/me/.local/state/codex-docker/codex-docker-1`",
            Self::NameTaken => "a container `codex-docker-1` already exists and does not belong to this run",
            Self::NotOurs => "the container `db` was not created by codex-docker",
            Self::NetworkFailed => {
                "could not create the network for containers: all predefined address pools have been fully subnetted"
            }
            Self::ContainerNotCreated => {
                "could not create the container `codex-docker-1`: No such image: codex-orchestrator:latest"
            }
            Self::ContainerNotStarted => {
                "could not start the container `codex-docker-1`: error mounting \"/srv/cache\" to rootfs at \"/cache\": no such file or directory"
            }
            Self::ContainerFailed => {
                "could not run the container `codex-harvest-0198c2f07a317c529d0e3f4b6a81c2d5`: No such image: codex-orchestrator:latest"
            }
            Self::LayerFailed => "cannot use the layer `/srv/tasks/1/upper/0`: Permission denied (os error 13)",
            Self::SetupTimeLimit => "the setup took more than 600 seconds",
            Self::SetupNotStored => "could not store the result of the setup: No space left on device (os error 28)",
            Self::SetupLeaksSecret => "the setup left the value of the secret `NPM_TOKEN` in `/root/.npmrc`",
            Self::ServiceFailed => "could not start the service `db`: No such image: postgres:16",
            Self::ServiceNotReady => "the service `db` was not ready after 60 seconds",
            Self::GiveBack => {
                "cannot change the owner of the files in `work`: not an absolute path to a folder, or the path contains symbolic links"
            }
            Self::MessageUnreadable => {
                "cannot read the commit message: failed to open file `/srv/message`: No such file or directory (os error 2)"
            }
            Self::HarvestStopped => "the export was stopped; the work is still in the worktree",
            Self::HarvestTimeLimit => "the container `codex-harvest-0198c2f07a317c529d0e3f4b6a81c2d5` took more than 5 minutes",
            Self::BrokerNeedsKey => "the broker needs an API key, but CODEX_API_KEY is not set",
            Self::BrokerNeedsSessions => "the broker needs a private Codex home, but CODEX_DOCKER_SESSIONS is not set",
            Self::ImageMissing => "image `codex-orchestrator` not found",
            Self::ImageName => "invalid image name `Capital`",
            Self::ImageNotPublished => "cannot pull `codex-orchestrator`: this project publishes no image",
            Self::ImageIncomplete => "could not build `codex-orchestrator`: Codex, git or socat is missing from the image",
            Self::ImageContext => "cannot use the repository's files for the build: it has more than 512 MB or 200000 files",
            Self::ToolUnknown => "unknown tool `ruby`",
            Self::ImageTls => {
                "could not pull `registry.example.org/team/image:1`: a server's certificate is not trusted: x509: certificate signed by unknown authority"
            }
            Self::ImageNoNetwork => {
                "could not build `codex-orchestrator`: cannot reach the network: dial tcp: lookup registry-1.docker.io: no such host"
            }
            Self::ImageOtherMachine => {
                "could not build `codex-orchestrator`: the base image is for another kind of processor: no matching manifest for linux/arm64/v8 in the manifest list entries"
            }
            Self::BaseUnsuitable => {
                "could not build `codex-orchestrator`: the base image is not based on Debian: exec: \"/bin/sh\": stat /bin/sh: no such file or directory"
            }
            Self::CodexVersionUnknown => "Codex version `9.9.9` not found at https://registry.npmjs.org",
            Self::CodexNotForMachine => "could not build `codex-orchestrator`: Codex supports only amd64 and arm64",
            Self::DockerfileUnreadable => {
                "cannot read the Dockerfile: failed to open file `Dockerfile.codex`: No such file or directory (os error 2)"
            }
            Self::DockerfileInvalid => {
                "could not build `codex-orchestrator`: invalid Dockerfile: dockerfile parse error on line 1: unknown instruction: FORM"
            }
            Self::DockerfileBuildkit => {
                "could not build `codex-orchestrator`: the Dockerfile needs BuildKit, which is not supported here: the --mount option requires BuildKit"
            }
            Self::CaFile => "no certificate found in `/etc/ssl/proxy.pem`",
            Self::RegistryAddress => {
                "invalid registry URL: it contains a user name or password, which would be stored in the image"
            }
            Self::InvalidRunToken => "invalid token for this run",
            Self::NotPassedOn => "POST /v1/files is not allowed: the broker passes on only the requests that Codex needs",
            Self::BudgetExceeded => "the run's budget of 500000 tokens is used up: the run has used 501234",
            Self::RequestNotChecked => "requests with a Content-Encoding are not accepted: send the body uncompressed",
            Self::HostedToolsDenied => "this repository's settings do not allow models that search the web",
            Self::RequestTimeout => "the request did not arrive in time",
            Self::RequestTooLong => "the request is larger than 128 MiB",
            Self::RequestBrokenOff => "the request was interrupted",
            Self::ModelUnreachable => "cannot reach the model's API at api.openai.com",
            Self::ModelAnswerEncoded => {
                "the model's API sent a compressed response, which cannot be checked; the request asked for an uncompressed one"
            }
            Self::RunOver => "the run has ended",
        }
    }
}
