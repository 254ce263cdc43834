//! What git is told on every call: the settings and variables that keep it quiet, non-interactive and out of the agent's hands.
//!
//! Settings travel in `GIT_CONFIG_COUNT` variables, which win over every configuration file and take any name.
//! The user's own configuration stays readable: credential helpers, `url.<base>.insteadOf`, `filter.lfs`.

use crate::exec::CommandSpec;

/// Settings that win over all configuration files.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    // Nothing that a repository may name is run.
    ("core.fsmonitor", "false"),
    ("core.hooksPath", "/dev/null"),
    ("core.askPass", ""),
    ("protocol.ext.allow", "never"),
    ("commit.gpgSign", "false"),
    ("tag.gpgSign", "false"),
    ("log.showSignature", "false"),
    ("credential.interactive", "false"),
    // No repository inside another one is entered.
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("diff.ignoreSubmodules", "all"),
    ("advice.addEmbeddedRepo", "false"),
    // A record names a commit only once its objects and its ref are on the disk. By default git syncs neither loose objects nor refs.
    ("core.fsync", "all"),
    ("core.fsyncMethod", "fsync"),
    // What a fetch brings is one pack, not many files: it is on the disk as a whole or not at all.
    ("transfer.unpackLimit", "1"),
    // Nothing is tidied away behind the back of a task.
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    // Larger files are read and written piece by piece. Git would load them whole.
    ("core.bigFileThreshold", "32m"),
    // One form of output and of files on disk, whatever the user prefers for themselves.
    ("core.quotePath", "true"),
    ("core.safecrlf", "false"),
    ("core.splitIndex", "false"),
    ("core.untrackedCache", "false"),
    ("i18n.commitEncoding", "UTF-8"),
    ("i18n.logOutputEncoding", "UTF-8"),
    ("worktree.useRelativePaths", "false"),
    ("safe.bareRepository", "all"),
];

/// Variables that every git gets.
pub(super) const VARIABLES: &[(&str, &str)] = &[
    ("LC_ALL", "C"),
    ("GIT_TERMINAL_PROMPT", "0"),
    // Set and empty: no program is asked for a password, nor the one that ssh would ask.
    ("GIT_ASKPASS", ""),
    ("GCM_INTERACTIVE", "never"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_EDITOR", "false"),
    ("GIT_PAGER", "cat"),
    // Files below refs/ are read and locked by this room.
    ("GIT_DEFAULT_REF_FORMAT", "files"),
];

/// Transports of a remote: those that `RepositoryUrl` takes. Remote helpers could run any program.
pub(super) const NETWORK_PROTOCOLS: &str = "file:git:http:https:ssh";

/// What a command without a remote may use: nothing, since `none` is no transport.
pub(super) const NO_PROTOCOLS: &str = "none";

/// How ssh is called when the user has no say in it: it never asks, and never waits for a dead host.
pub(super) const SSH_COMMAND: &str =
    "ssh -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=15 -o ServerAliveCountMax=4";

/// Gives git these settings, beside [`SETTINGS`].
pub(super) fn configured<'a>(command: CommandSpec<'a>, more: &[(String, String)]) -> CommandSpec<'a> {
    let fixed = SETTINGS.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    let mut command = command.env("GIT_CONFIG_COUNT", (SETTINGS.len() + more.len()).to_string());
    for (number, (name, value)) in fixed.chain(more.iter().cloned()).enumerate() {
        command = command.env(format!("GIT_CONFIG_KEY_{number}"), name).env(format!("GIT_CONFIG_VALUE_{number}"), value);
    }
    command
}
