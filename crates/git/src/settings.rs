//! Settings and variables of every git command, which keep it quiet, non-interactive and safe from the agent.
//!
//! Settings are passed in `GIT_CONFIG_COUNT` variables, which take precedence over every configuration file and can have any
//! name. The user's own configuration stays readable: credential helpers, `url.<base>.insteadOf`, `filter.lfs`.

use process::CommandSpec;

/// Settings that take precedence over all configuration files.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    // Run no program that a repository names.
    ("core.fsmonitor", "false"),
    ("core.hooksPath", "/dev/null"),
    ("core.askPass", ""),
    ("protocol.ext.allow", "never"),
    ("commit.gpgSign", "false"),
    ("tag.gpgSign", "false"),
    ("log.showSignature", "false"),
    ("credential.interactive", "false"),
    // Enter no nested repository.
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("diff.ignoreSubmodules", "all"),
    ("advice.addEmbeddedRepo", "false"),
    // A record names a commit only once its objects and its ref are on the disk. By default, git syncs neither loose objects
    // nor refs.
    ("core.fsync", "all"),
    ("core.fsyncMethod", "fsync"),
    // A fetch creates one pack instead of many files, so it is on the disk completely or not at all.
    ("transfer.unpackLimit", "1"),
    // Never clean up automatically while tasks run.
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    // Read and write larger files piece by piece. By default, git would load each of them into memory at once.
    ("core.bigFileThreshold", "32m"),
    // Use one format for output and for files on disk, whatever the user prefers.
    ("core.quotePath", "true"),
    ("core.safecrlf", "false"),
    ("core.splitIndex", "false"),
    ("core.untrackedCache", "false"),
    ("i18n.commitEncoding", "UTF-8"),
    ("i18n.logOutputEncoding", "UTF-8"),
    ("worktree.useRelativePaths", "false"),
    ("safe.bareRepository", "all"),
];

/// Settings of every git command that must not download or upload: if git starts git-lfs, it sends no requests. All transfers
/// go to a custom transfer agent that always fails.
pub(super) const OFFLINE: &[(&str, &str)] = &[
    ("lfs.url", "file:///dev/null"),
    ("lfs.pushUrl", "file:///dev/null"),
    ("lfs.standaloneTransferAgent", "codex-orchestrator-offline"),
    ("lfs.customTransfer.codex-orchestrator-offline.path", "false"),
    ("lfs.transfer.maxRetries", "1"),
    ("lfs.skipDownloadErrors", "true"),
];

/// Variables of every git command.
pub(super) const VARIABLES: &[(&str, &str)] = &[
    ("LC_ALL", "C"),
    ("GIT_TERMINAL_PROMPT", "0"),
    // If this is set but empty, git runs no program to ask for a password, not even the one that ssh would use.
    ("GIT_ASKPASS", ""),
    ("GCM_INTERACTIVE", "never"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_EDITOR", "false"),
    ("GIT_PAGER", "cat"),
    // This crate reads and locks files below refs/.
    ("GIT_DEFAULT_REF_FORMAT", "files"),
];

/// Allowed transports of a remote: those that `RepositoryUrl` accepts. Remote helpers could run any program.
pub(super) const NETWORK_PROTOCOLS: &str = "file:git:http:https:ssh";

/// Allowed transports of a command without a remote. `none` is not a transport, so nothing is allowed.
pub(super) const NO_PROTOCOLS: &str = "none";

/// The ssh command if the user has not set one: it never asks a question, and never waits for a dead host.
pub(super) const SSH_COMMAND: &str =
    "ssh -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=15 -o ServerAliveCountMax=4";

/// Adds [`SETTINGS`] and further settings to a command.
pub(super) fn configured<'a>(command: CommandSpec<'a>, more: &[(String, String)]) -> CommandSpec<'a> {
    let fixed = SETTINGS.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    let mut command = command.env("GIT_CONFIG_COUNT", (SETTINGS.len() + more.len()).to_string());
    for (number, (name, value)) in fixed.chain(more.iter().cloned()).enumerate() {
        command = command.env(format!("GIT_CONFIG_KEY_{number}"), name).env(format!("GIT_CONFIG_VALUE_{number}"), value);
    }
    command
}
