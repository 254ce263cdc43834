//! The table of all error codes, grouped by topic: the meaning, the code, the kinds of problem, and special HTTP statuses or retries.

use super::{Retry, Topic};
use crate::problem_kind::ProblemKind;

error_codes! {
    Request {
        /// The request has no valid token or session.
        Unauthenticated "unauthenticated" [Unauthenticated];
        /// The `Host` header names a host that this server does not serve.
        BadHost "bad_host" [Forbidden];
        /// The request has no usable `Host` header.
        MalformedHost "malformed_host" [Malformed];
        /// The request comes from a page of another origin.
        BadOrigin "bad_origin" [Forbidden];
        /// The request comes from a page of another site.
        CrossSite "cross_site" [Forbidden];
        /// No route of the API has this path.
        NoSuchRoute "no_such_route" [NotFound];
        /// No page has this address.
        NoSuchPage "no_such_page" [NotFound];
        /// The route exists, but does not support this method.
        MethodNotAllowed "method_not_allowed" [Malformed] => 405;
        /// The path is not valid UTF-8.
        MalformedPath "malformed_path" [Malformed];
        /// The value is not an ID (a UUID).
        MalformedId "malformed_id" [Malformed, Unusable, NotFound];
        /// The request's content type is not JSON.
        NotJson "not_json" [Malformed] => 415;
        /// The body is not valid JSON.
        MalformedBody "malformed_body" [Malformed];
        /// The body is valid JSON, but does not match the route's schema.
        UnusableBody "unusable_body" [Unusable];
        /// The body is larger than the route accepts.
        BodyTooLarge "body_too_large" [TooLarge];
        /// The body did not arrive in time.
        BodyTooSlow "body_too_slow" [Malformed] => 408;
        /// A query parameter is unknown or has an invalid value.
        UnusableQuery "unusable_query" [Unusable];
        /// The `Idempotency-Key` header is empty, too long or contains invalid characters.
        UnusableIdempotencyKey "unusable_idempotency_key" [Unusable];
        /// The idempotency key was already used for a different request.
        IdempotencyKeyReused "idempotency_key_reused" [Unusable];
        /// The `Last-Event-ID` header is not a number.
        UnusableEventId "unusable_event_id" [Unusable];
        /// The requested range starts after the end of the log.
        RangeOutside "range_outside" [Unusable] => 416;
        /// A form could not be read or has an invalid field.
        FormRefused "form_refused" [Unusable, Malformed];
        /// The sign-in link was already used, or has expired.
        CodeRefused "code_refused" [Unauthenticated];
        /// The password is wrong, or the new password does not meet the rules.
        PasswordRefused "password_refused" [Unauthenticated, Unusable];
        /// Too many wrong passwords were entered in a short time.
        TooManyGuesses "too_many_guesses" [TooMany];
        /// Something unexpected went wrong: a bug in this program, or a broken disk.
        Internal "internal" [Internal];
    }

    Value {
        /// The prompt is empty.
        PromptEmpty "prompt_empty" [Unusable];
        /// The prompt is larger than 1 MiB.
        PromptTooLarge "prompt_too_large" [TooLarge];
        /// The prompt contains characters that cannot be passed to Codex, or Codex rejected it.
        PromptRefused "prompt_refused" [Unusable];
        /// An image of the prompt is not a PNG, JPEG, GIF or WebP file, or an attached file is empty.
        ImageRefused "image_refused" [Unusable];
        /// An image or another file of the prompt is larger than 10 MiB.
        ImageTooLarge "image_too_large" [TooLarge];
        /// The images and other files of the prompt are larger than 20 MiB in total.
        ImagesTooLarge "images_too_large" [TooLarge];
        /// The prompt has more than 8 images or more than 8 other files.
        TooManyImages "too_many_images" [Unusable];
        /// The title is empty, too long or spans several lines.
        TitleRefused "title_refused" [Unusable];
        /// The text of the pull request contains characters that Git hosts reject.
        BodyRefused "body_refused" [Unusable];
        /// The name is not a valid branch name.
        BranchNameRefused "branch_name_refused" [Unusable];
        /// The value is not a branch, tag or commit ID.
        RefRefused "ref_refused" [Unusable];
        /// The repository URL is invalid, or its scheme is not supported.
        RepositoryUrlRefused "repository_url_refused" [Unusable];
        /// The URL contains a password, a token or a query.
        UrlHasCredentials "url_has_credentials" [Unusable];
        /// The model or reasoning effort is not valid.
        SettingRefused "setting_refused" [Unusable];
        /// The priority is not `low`, `normal` or `high`.
        PriorityRefused "priority_refused" [Unusable];
        /// The answer is not one of the choices.
        AnswerRefused "answer_refused" [Unusable];
        /// Another description of the repository's environment is in effect.
        DescriptionChanged "description_changed" [WrongState];
        /// The repository has no setup to run.
        NoSetup "no_setup" [WrongState];
        /// A setup of the repository is running, so none can start from the image.
        SetupRunning "setup_running" [WrongState];
        /// The description of the repository's environment is not valid.
        DescriptionRefused "description_refused" [Unusable];
        /// A variable has an invalid name or value.
        VariableRefused "variable_refused" [Unusable];
        /// A secret has an invalid name or value.
        SecretRefused "secret_refused" [Unusable];
        /// A container setting is invalid.
        ContainerRefused "container_refused" [Unusable];
        /// A setting for the runs of a repository or a task is invalid.
        RunsRefused "runs_refused" [Unusable];
        /// A setting for the commits of a repository is invalid.
        CommitsRefused "commits_refused" [Unusable];
        /// The paths of the files to commit are invalid.
        FilesRefused "files_refused" [Unusable];
        /// The worktree has no such new or changed files.
        FilesUnchanged "files_unchanged" [WrongState];
        /// A setting for submodules and large files is invalid.
        SourcesRefused "sources_refused" [Unusable];
        /// A pattern for trusted branches is invalid.
        BranchPatternRefused "branch_pattern_refused" [Unusable];
        /// The limit is not between 1 and 200.
        LimitRefused "limit_refused" [Unusable];
        /// The cursor was not returned by this list.
        CursorRefused "cursor_refused" [Unusable];
        /// The group is not `needs_you`, `running`, `queued` or `done`.
        GroupRefused "group_refused" [Unusable];
        /// The value of `archived` is not `no`, `only` or `any`.
        ArchivedRefused "archived_refused" [Unusable];
        /// The value is not a task status.
        StatusRefused "status_refused" [Unusable];
        /// A notification setting is invalid.
        NoticesRefused "notices_refused" [Unusable];
        /// The quiet hours are invalid.
        QuietHoursRefused "quiet_hours_refused" [Unusable];
        /// The browser sent an invalid push subscription.
        SubscriptionRefused "subscription_refused" [Unusable];
    }

    Repository {
        /// No repository has this ID.
        EnvironmentNotFound "environment_not_found" [NotFound];
        /// The repository has not been cloned, or its clone failed.
        EnvironmentNotReady "environment_not_ready" [WrongState];
        /// The repository of a removed task no longer exists.
        EnvironmentGone "environment_gone" [WrongState];
        /// The repository was removed while it was being cloned.
        Removed "removed" [WrongState];
        /// The repository could not be cloned.
        CloneFailed "clone_failed" [Unusable];
        /// The repository could not be fetched.
        FetchFailed "fetch_failed" [Unavailable] retry Backoff;
        /// The remote requires a login, but git has no credentials for it.
        AuthenticationNeeded "authentication_needed" [Unavailable];
        /// The remote says that the repository does not exist, or that you cannot read it.
        RepositoryNotFound "repository_not_found" [Unavailable];
        /// The remote's host cannot be reached.
        HostUnreachable "host_unreachable" [Unavailable];
        /// The remote's SSH host key is unknown.
        HostKeyUnknown "host_key_unknown" [Unavailable];
        /// The remote took too long.
        RemoteTimedOut "remote_timed_out" [Unavailable];
        /// The operation was canceled before it finished.
        Cancelled "cancelled" [Unavailable];
        /// The repository has no commits.
        RepositoryEmpty "repository_empty" [];
        /// The remote has no default branch.
        NoDefaultBranch "no_default_branch" [];
        /// The repository has no branch with this name.
        BranchNotFound "branch_not_found" [Unusable];
        /// The repository has no branch, tag or commit with this name.
        RefNotFound "ref_not_found" [Unusable];
        /// The repository's mirror is missing from the home directory.
        MirrorMissing "mirror_missing" [Unavailable, WrongState, Internal];
        /// The repository's mirror cannot be read.
        MirrorUnreadable "mirror_unreadable" [];
        /// The worker does not run Codex in containers, so it cannot start a shell in one.
        NoShell "no_shell" [WrongState];
        /// The repository has no shell with this ID.
        ShellNotFound "shell_not_found" [NotFound];
        /// A program still runs in the shell.
        ShellInUse "shell_in_use" [WrongState];
    }

    Task {
        /// No task has this ID.
        TaskNotFound "task_not_found" [NotFound];
        /// The task has no run with this number.
        RunNotFound "run_not_found" [NotFound];
        /// The run has no service with this name.
        ServiceNotFound "service_not_found" [NotFound];
        /// The run has no artifact with this path.
        ArtifactNotFound "artifact_not_found" [NotFound];
        /// The prompt has no image with this number, or the container image does not exist.
        ImageNotFound "image_not_found" [NotFound];
        /// The task still has an active run.
        RunActive "run_active" [WrongState];
        /// The task has no Codex thread to continue.
        NoThread "no_thread" [WrongState];
        /// The last run of the task did not fail, so it cannot be retried.
        NotFailed "not_failed" [WrongState];
        /// The task is being removed.
        TaskRemoving "task_removing" [WrongState];
        /// The task has no follow-up with this number.
        NoFollowUp "no_follow_up" [WrongState];
        /// The task already has the maximum number of follow-ups.
        TooManyFollowUps "too_many_follow_ups" [WrongState];
        /// The task has no open question.
        NoQuestion "no_question" [WrongState];
        /// The task now has a different question.
        QuestionChanged "question_changed" [WrongState];
        /// The task is still being removed.
        RemovalUnfinished "removal_unfinished" [Unavailable];
        /// The item is not in the trash.
        NotInTheTrash "not_in_the_trash" [NotFound];
        /// A removed task or repository could not be restored.
        RestoreFailed "restore_failed" [Unavailable];
        /// The record of the task or repository on disk cannot be read.
        Damaged "damaged" [WrongState];
    }

    Branch {
        /// The task has no branch yet.
        NoBranch "no_branch" [WrongState];
        /// The commit that the task started from is no longer available.
        CommitUnknown "commit_unknown" [Unusable];
        /// The diff could not be read.
        DiffUnavailable "diff_unavailable" [Unusable];
        /// The base branch does not exist.
        BaseNotFound "base_not_found" [WrongState];
        /// The task's branch was never pushed, so it cannot be updated from the remote.
        NotPushed "not_pushed" [WrongState];
        /// The task's branch has more commits than a rebase supports.
        TooManyCommits "too_many_commits" [Unusable];
        /// The task's branch conflicts with its base.
        UpdateConflicts "update_conflicts" [WrongState];
        /// Updating the branch took too long.
        UpdateTimedOut "update_timed_out" [Unavailable];
        /// The branch changed while it was being updated.
        BranchMoved "branch_moved" [WrongState];
        /// The update would overwrite untracked files in the worktree.
        FilesInTheWay "files_in_the_way" [WrongState];
        /// An earlier update of the worktree has not finished, or the worktree has uncommitted changes.
        WorktreeUnsettled "worktree_unsettled" [WrongState];
        /// Git is too old to update branches.
        GitTooOld "git_too_old" [Unavailable];
        /// The task has no commits to export.
        NoCommits "no_commits" [WrongState];
        /// The task has only merge commits, which cannot be exported as patches.
        OnlyMerges "only_merges" [WrongState];
    }

    PullRequest {
        /// The task has no changes to push.
        NothingToPublish "nothing_to_publish" [WrongState];
        /// The task's branch is missing from the mirror.
        BranchMissing "branch_missing" [];
        /// The branch could not be pushed.
        PushFailed "push_failed" [WrongState];
        /// The remote rejected the push.
        PushRejected "push_rejected" [WrongState];
        /// The remote's branch has commits that the task does not have.
        RemoteMoved "remote_moved" [WrongState];
        /// The base branch for the pull request is unknown.
        NoBaseBranch "no_base_branch" [WrongState];
        /// The task has no pull request, or none was requested.
        NoPullRequest "no_pull_request" [WrongState, Unusable];
        /// The pull request has no open comments and no failed checks.
        NoFeedback "no_feedback" [WrongState];
        /// No token for the Git host is set.
        NoForgeToken "no_forge_token" [WrongState];
        /// The Git host cannot be reached.
        ForgeUnreachable "forge_unreachable" [Unavailable];
        /// The Git host reported an internal error.
        ForgeUnavailable "forge_unavailable" [Unavailable];
        /// The Git host rejected the token.
        ForgeTokenRefused "forge_token_refused" [Unavailable];
        /// The token lacks a required permission.
        ForgeForbidden "forge_forbidden" [Unavailable];
        /// The Git host cannot find the repository.
        ForgeNotFound "forge_not_found" [Unavailable];
        /// The Git host rejected the request, or a setting for it is invalid.
        ForgeRefused "forge_refused" [Unusable, Unavailable];
        /// The rate limit of the Git host has been reached.
        ForgeRateLimited "forge_rate_limited" [Unavailable];
        /// The Git host's answer could not be read.
        ForgeUnreadable "forge_unreadable" [Unavailable];
    }

    Run {
        /// Codex is not logged in, or its login was rejected.
        Unauthorized "unauthorized" [];
        /// The account does not have permission to do this.
        Forbidden "forbidden" [];
        /// The account's usage limit is reached.
        UsageLimit "usage_limit" [] retry AtReset;
        /// The model provider received too many requests in a short time.
        RateLimited "rate_limited" [] retry SlowBackoff;
        /// The model provider is overloaded.
        Overloaded "overloaded" [] retry Backoff;
        /// The connection to the model provider failed.
        Network "network" [] retry Backoff;
        /// The conversation no longer fits into the model's context window.
        ContextWindow "context_window" [];
        /// The model does not exist, or the account is not allowed to use it.
        ModelNotFound "model_not_found" [];
        /// Codex no longer has the thread of the task.
        UnknownThread "unknown_thread" [];
        /// Another Codex process is working on the thread.
        ThreadBusy "thread_busy" [];
        /// Codex started a new thread instead of continuing the task's thread.
        ThreadChanged "thread_changed" [];
        /// Codex found no Git repository in the worktree.
        NotTrustedDirectory "not_trusted_directory" [];
        /// Codex's own settings are invalid.
        Config "config" [];
        /// The turn failed for another reason.
        TurnFailed "turn_failed" [];
        /// The run reached its time limit.
        TimeLimit "time_limit" [];
        /// The run's process ended without a result, for example because the machine restarted.
        Interrupted "interrupted" [];
        /// The worker program was not found.
        WorkerMissing "worker_missing" [];
        /// The worker failed.
        WorkerFailed "worker_failed" [];
        /// The worker was killed by a signal.
        WorkerKilled "worker_killed" [];
        /// The worker exited with code 0 but did not run a turn.
        NothingRan "nothing_ran" [];
        /// The worker exited before its turn ended.
        EndedWithoutResult "ended_without_result" [];
        /// The container engine could not be used.
        ContainerEngine "container_engine" [];
        /// The keeper, the supervisor process of the run, could not be started.
        KeeperFailed "keeper_failed" [];
        /// The worktree could not be created, read or written.
        WorktreeFailed "worktree_failed" [Internal];
        /// The branch does not contain the folder that agents of the repository start in.
        SubdirectoryMissing "subdirectory_missing" [];
        /// The changes of the run could not be committed.
        CommitFailed "commit_failed" [];
        /// An image of the prompt cannot be read.
        ImageUnreadable "image_unreadable" [Unusable];
        /// The session of the Codex thread cannot be read.
        SessionUnreadable "session_unreadable" [];
        /// The Codex login expired and could not be renewed.
        LoginExpired "login_expired" [];
        /// The container image of the repository could not be built.
        ImageFailed "image_failed" [];
        /// The setup of the repository failed.
        SetupFailed "setup_failed" [];
        /// The snapshot that the task uses is missing or damaged.
        SnapshotMissing "snapshot_missing" [];
        /// Codex's settings for the container are invalid or could not be written.
        CodexConfig "codex_config" [];
        /// The network setting of the repository requires an API key.
        NetworkNeedsKey "network_needs_key" [WrongState];
        /// The worker cannot restrict the network of containers.
        NetworkNotClosed "network_not_closed" [WrongState];
        /// The worker cannot mount folders of the home directory.
        WorkerCannotMount "worker_cannot_mount" [WrongState];
    }

    Server {
        /// The server cannot start tasks.
        NotReady "not_ready" [Unavailable];
        /// No worker can be used.
        NoWorker "no_worker" [Unavailable];
        /// The check of the container engine failed.
        CheckFailed "check_failed" [];
        /// The disk is full.
        DiskFull "disk_full" [Unavailable];
        /// Less disk space is free than `free_space_floor` requires.
        DiskLow "disk_low" [];
        /// The home directory cannot be used.
        HomeUnusable "home_unusable" [Unavailable];
        /// Another server uses this home directory.
        HomeInUse "home_in_use" [WrongState];
        /// A file in the home directory cannot be written.
        HomeNotWritable "home_not_writable" [Unavailable];
        /// The regular check found that the home directory is not writable.
        HomeUnwritable "home_unwritable" [];
        /// The configuration is invalid.
        ConfigUnusable "config_unusable" [Unusable];
        /// Git is missing, or too old.
        GitUnusable "git_unusable" [Unavailable];
        /// The value is not an API key.
        KeyUnusable "key_unusable" [Unusable];
        /// The file is not a Codex login.
        LoginUnusable "login_unusable" [Unusable];
        /// The Codex login cannot be read.
        LoginUnreadable "login_unreadable" [Unusable];
        /// The Codex login could not be stored.
        LoginNotStored "login_not_stored" [Unavailable];
        /// No notification receiver of this kind is configured.
        NoSuchReceiver "no_such_receiver" [WrongState, NotFound];
        /// Too many devices receive notifications.
        TooManyDevices "too_many_devices" [WrongState];
        /// A notification could not be delivered.
        NotTold "not_told" [Unavailable];
    }

    CommandLine {
        /// The command was called with missing or invalid arguments.
        Usage "usage" [Malformed, Unusable];
        /// More than one ID starts with these characters.
        AmbiguousId "ambiguous_id" [Unusable];
        /// The prompt cannot be read from stdin or a file.
        PromptUnreadable "prompt_unreadable" [Unusable];
        /// The prompt is not valid UTF-8.
        PromptNotUtf8 "prompt_not_utf8" [Unusable];
        /// The text of the pull request cannot be read from a file.
        BodyUnreadable "body_unreadable" [Unusable];
        /// The password cannot be read.
        PasswordUnreadable "password_unreadable" [Unusable];
        /// The file cannot be written.
        FileNotWritable "file_not_writable" [Unusable];
        /// The server does not listen on a TCP address, so it has no pages.
        NoPages "no_pages" [WrongState];
        /// The configured worker or Codex home does not use the stored login.
        LoginNotUsed "login_not_used" [WrongState];
        /// Codex did not complete the login.
        NotLoggedIn "not_logged_in" [Unavailable];
        /// Codex could not be installed for the demo.
        CodexNotInstalled "codex_not_installed" [Unavailable];
        /// The server cannot listen on its address.
        CannotListen "cannot_listen" [Unavailable];
        /// The server stopped answering.
        ServerLost "server_lost" [Unavailable];
        /// The server did not start.
        ServerNotStarted "server_not_started" [Unavailable];
        /// The server did not stop.
        ServerNotStopped "server_not_stopped" [Unavailable];
        /// The process that serves this home directory cannot be determined.
        ServerUnknown "server_unknown" [Unavailable];
        /// The server runs on another machine or in another container, and cannot be stopped from here.
        ServerOutOfReach "server_out_of_reach" [WrongState];
        /// A manually started server could not be stopped, so the service cannot start.
        ServerInTheWay "server_in_the_way" [WrongState];
        /// The user does not exist or has no home directory.
        NoSuchUser "no_such_user" [Unusable];
        /// The program was replaced or deleted while it was running.
        ProgramGone "program_gone" [WrongState];
        /// Systemd is not available.
        NoSystemd "no_systemd" [Unavailable];
        /// `systemctl` failed.
        SystemctlFailed "systemctl_failed" [Unavailable];
        /// A systemd unit with this name already exists, and was not created by this program.
        ForeignUnit "foreign_unit" [WrongState];
        /// The systemd unit cannot be read or written.
        UnitUnusable "unit_unusable" [Unavailable];
        /// A value cannot be written into a systemd unit.
        UnitUnwritable "unit_unwritable" [Unusable];
    }

    Container {
        /// No container engine was found.
        EngineMissing "engine_missing" [];
        /// The container engine is not running.
        EngineNotRunning "engine_not_running" [];
        /// This user does not have permission to use the container engine.
        EngineNoPermission "engine_no_permission" [];
        /// The container engine does not answer.
        EngineUnreachable "engine_unreachable" [];
        /// The container engine is too old.
        EngineTooOld "engine_too_old" [];
        /// The container engine gives the users of containers other IDs (`userns-remap`).
        EngineRemapsUsers "engine_remaps_users" [];
        /// The address of the container engine is not supported.
        EngineAddress "engine_address" [];
        /// The Docker context does not exist or has no endpoint.
        EngineContext "engine_context" [];
        /// A request to the container engine failed.
        EngineFailed "engine_failed" [];
        /// A variable of `codex-docker` has an invalid value.
        SettingUnusable "setting_unusable" [];
        /// The state directory of `codex-docker` is unknown.
        NoStateFolder "no_state_folder" [];
        /// The state directory of `codex-docker` cannot be used.
        StateFolder "state_folder" [];
        /// The current directory cannot be read.
        NoFolder "no_folder" [];
        /// The directory for the exported changes cannot be used.
        OutFolder "out_folder" [];
        /// The Codex home for the container cannot be used.
        CodexHome "codex_home" [];
        /// A directory to mount does not exist.
        MountMissing "mount_missing" [];
        /// Standard input cannot be read.
        StdinUnreadable "stdin_unreadable" [];
        /// The file on standard input is larger than 4 MiB.
        StdinTooLarge "stdin_too_large" [];
        /// The terminal cannot be used.
        Terminal "terminal" [];
        /// Signals cannot be received.
        NoSignals "no_signals" [];
        /// Threads cannot be started.
        NoThreads "no_threads" [];
        /// The output of the container cannot be followed.
        OutputFailed "output_failed" [];
        /// Another process runs a container with this name.
        RunIsHeld "run_is_held" [];
        /// A container with this name already exists and belongs to something else.
        NameTaken "name_taken" [];
        /// The container was not created by `codex-docker`.
        NotOurs "not_ours" [];
        /// The network for the container could not be created or inspected.
        NetworkFailed "network_failed" [];
        /// The container could not be created.
        ContainerNotCreated "container_not_created" [];
        /// The container could not be started.
        ContainerNotStarted "container_not_started" [];
        /// A layer could not be prepared.
        LayerFailed "layer_failed" [];
        /// The setup took too long.
        SetupTimeLimit "setup_time_limit" [];
        /// The result of the setup could not be stored.
        SetupNotStored "setup_not_stored" [];
        /// The result of the setup contains a secret of the setup.
        SetupLeaksSecret "setup_leaks_secret" [];
        /// A service of a run could not be started.
        ServiceFailed "service_failed" [];
        /// A service of a run did not become ready in time.
        ServiceNotReady "service_not_ready" [];
        /// A helper container could not be run.
        ContainerFailed "container_failed" [];
        /// The owner of files that were created as root could not be changed back to you.
        GiveBack "give_back" [];
        /// The commit message for the export cannot be read.
        MessageUnreadable "message_unreadable" [];
        /// The export was stopped before it finished.
        HarvestStopped "harvest_stopped" [];
        /// The export took too long.
        HarvestTimeLimit "harvest_time_limit" [];
        /// The broker requires an API key.
        BrokerNeedsKey "broker_needs_key" [];
        /// The broker requires a session directory.
        BrokerNeedsSessions "broker_needs_sessions" [];
        /// The container image does not exist.
        ImageMissing "image_missing" [];
        /// The image name is invalid.
        ImageName "image_name" [];
        /// No prebuilt image is published for this project.
        ImageNotPublished "image_not_published" [];
        /// Codex, git or socat is missing from the image.
        ImageIncomplete "image_incomplete" [];
        /// The files of the repository cannot be used to build the image.
        ImageContext "image_context" [];
        /// The tool, its version or its source is not known.
        ToolUnknown "tool_unknown" [];
        /// A server's TLS certificate is not trusted.
        ImageTls "image_tls" [];
        /// The network could not be reached while building or pulling the image.
        ImageNoNetwork "image_no_network" [];
        /// The image is built for a different processor architecture.
        ImageOtherMachine "image_other_machine" [];
        /// The base image is not based on Debian.
        BaseUnsuitable "base_unsuitable" [];
        /// The Codex version does not exist.
        CodexVersionUnknown "codex_version_unknown" [];
        /// Codex is not available for this processor architecture.
        CodexNotForMachine "codex_not_for_machine" [];
        /// The Dockerfile cannot be read.
        DockerfileUnreadable "dockerfile_unreadable" [];
        /// The Dockerfile is invalid.
        DockerfileInvalid "dockerfile_invalid" [];
        /// The Dockerfile requires Docker's newer builder, `BuildKit`.
        DockerfileBuildkit "dockerfile_buildkit" [];
        /// The certificate file cannot be read or is invalid.
        CaFile "ca_file" [];
        /// The address of the npm registry is invalid.
        RegistryAddress "registry_address" [];
    }

    Broker {
        /// The request does not have the run's token.
        InvalidRunToken "invalid_run_token" [] => 401;
        /// The broker does not allow this route of the model provider's API.
        NotPassedOn "not_passed_on" [] => 403;
        /// The run has used up its token budget.
        BudgetExceeded "budget_exceeded" [] => 400;
        /// The request cannot be checked because of its encoding or its format.
        RequestNotChecked "request_not_checked" [] => 400 | 415;
        /// The repository's settings do not allow the requested hosted tool.
        HostedToolsDenied "hosted_tools_denied" [] => 403;
        /// The request did not arrive in time.
        RequestTimeout "request_timeout" [] => 408;
        /// The request is too large.
        RequestTooLong "request_too_long" [] => 413;
        /// The connection closed before the whole request arrived.
        RequestBrokenOff "request_broken_off" [] => 400;
        /// The model provider's API cannot be reached.
        ModelUnreachable "model_unreachable" [] => 502;
        /// The model provider's answer is compressed, so it cannot be checked.
        ModelAnswerEncoded "model_answer_encoded" [] => 502;
        /// The run has already ended.
        RunOver "run_over" [] => 502;
    }
}
