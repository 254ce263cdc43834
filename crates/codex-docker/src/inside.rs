//! Where things are inside a container. One list for the body of the request, the script in it, and the configuration of Codex.
//! Names only; what they mean is said where they are used.

/// The script, the variables and the sockets: read-only.
pub(crate) const IN: &str = "/codex-docker/in";

/// What comes out: the agent can write here.
pub(crate) const OUT: &str = "/codex-docker/out";

/// The images of a prompt, read-only.
pub(crate) const IMAGES: &str = "/codex-docker/images";

/// The agent's own repository.
pub(crate) const GIT_DIR: &str = "/git/agent.git";

/// Where the agent's repository borrows objects, read-only. Its alternates name this path; further ones get a number.
pub(crate) const OBJECTS: &str = "/git/objects";

/// Codex's home, where it is the container's own.
pub(crate) const CODEX_HOME: &str = "/codex";

/// The folder with the login of an account.
pub(crate) const AUTH: &str = "/codex-auth";

/// The port of the broker, on the container's own loopback.
pub(crate) const BROKER_PORT: u16 = 8317;

/// The port of the proxy that knows the list of allowed hosts.
pub(crate) const PROXY_PORT: u16 = 8318;

/// Below [`IN`]: the script that the container runs.
pub(crate) const ENTRY: &str = "entry.sh";

/// Below [`IN`]: the script that restores the image's PATH in login shells.
pub(crate) const PROFILE: &str = "profile.sh";

/// Where login shells look for [`PROFILE`]. They read the scripts of this folder in order, and this one last.
pub(crate) const PROFILE_SCRIPT: &str = "/etc/profile.d/zz-codex-docker.sh";

/// Below [`IN`]: the variables, as shell words.
pub(crate) const VARIABLES: &str = "variables";

/// Below [`IN`]: what goes in the place of the worktree's `.git` file.
pub(crate) const GIT_FILE: &str = "git-file";

/// Below [`IN`]: Codex's settings.
pub(crate) const CONFIG: &str = "config.toml";

/// Below [`IN`]: what Codex reads on stdin, where that is not a stream.
pub(crate) const STDIN: &str = "stdin";

/// Below [`IN`]: the sockets of the broker and the proxy.
pub(crate) const BROKER_SOCKET: &str = "sockets/broker";

/// See [`BROKER_SOCKET`].
pub(crate) const PROXY_SOCKET: &str = "sockets/proxy";
