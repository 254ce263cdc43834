//! Paths and ports inside a container, shared by the request to the engine, the entry script and Codex's configuration.
//! Names only, no logic.

/// The read-only folder with the script, the variables and the sockets.
pub(crate) const IN: &str = "/codex-docker/in";

/// The folder for Codex's output. The agent can write to it.
pub(crate) const OUT: &str = "/codex-docker/out";

/// The read-only folder with the images of a prompt.
pub(crate) const IMAGES: &str = "/codex-docker/images";

/// The agent repository.
pub(crate) const GIT_DIR: &str = "/git/agent.git";

/// The first folder of read-only objects that the agent repository borrows, as in its alternates file. Other folders have a number.
pub(crate) const OBJECTS: &str = "/git/objects";

/// The private Codex home.
pub(crate) const CODEX_HOME: &str = "/codex";

/// The folder with the login of an account.
pub(crate) const AUTH: &str = "/codex-auth";

/// The port of the broker on the container's loopback.
pub(crate) const BROKER_PORT: u16 = 8317;

/// The port of the allowlist proxy on the container's loopback.
pub(crate) const PROXY_PORT: u16 = 8318;

/// Below [`IN`]: the script that the container runs.
pub(crate) const ENTRY: &str = "entry.sh";

/// Below [`IN`]: the script that restores the image's PATH in login shells.
pub(crate) const PROFILE: &str = "profile.sh";

/// Where [`PROFILE`] is mounted. Login shells read the scripts in this folder in alphabetical order, so this one comes last.
pub(crate) const PROFILE_SCRIPT: &str = "/etc/profile.d/zz-codex-docker.sh";

/// Below [`IN`]: the variables, as a shell script.
pub(crate) const VARIABLES: &str = "variables";

/// Below [`IN`]: the file that is mounted over the worktree's `.git`.
pub(crate) const GIT_FILE: &str = "git-file";

/// Below [`IN`]: the layers that the entry script gives to root, each after the ID of its owner.
pub(crate) const LAYER_OWNERS: &str = "layer-owners";

/// Below [`IN`]: the paths of placed files that git ignores, as patterns.
pub(crate) const IGNORED_FILES: &str = "ignored-files";

/// Below [`IN`]: the start of the names of placed files.
pub(crate) const PLACED_FILE: &str = "file-";

/// Below [`IN`]: Codex's settings.
pub(crate) const CONFIG: &str = "config.toml";

/// Below [`IN`]: Codex's stdin, unless it is a stream.
pub(crate) const STDIN: &str = "stdin";

/// The named pipe that is Codex's stdin.
pub(crate) const PIPE: &str = "/codex-docker/stdin";

/// Below [`IN`]: the folder that Codex starts in, below the working directory.
pub(crate) const START_FOLDER: &str = "start-folder";

/// Below [`IN`]: exists if a shell or another program runs instead of Codex.
pub(crate) const SHELL: &str = "shell";

/// Below [`IN`]: the socket of the broker.
pub(crate) const BROKER_SOCKET: &str = "sockets/broker";

/// Below [`IN`]: the socket of the allowlist proxy.
pub(crate) const PROXY_SOCKET: &str = "sockets/proxy";
