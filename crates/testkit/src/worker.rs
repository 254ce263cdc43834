//! Workers that run their prompt as a shell script.
//!
//! Every test defines in the prompt what the "agent" does. Only the format of the output lines comes from Codex. The stand-in for the
//! built-in worker creates no containers and records its calls.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The commands that a prompt can use in addition to those of the shell.
const WORDS: &str = r#"
resumed=
while [ $# -gt 0 ]; do
  if [ "$1" = resume ]; then resumed=$2; fi
  shift
done
thread_id=${resumed:-$(cat /proc/sys/kernel/random/uuid)}

thread() { printf '{"type":"thread.started","thread_id":"%s"}\n' "${1:-$thread_id}"; }
turn() { echo '{"type":"turn.started"}'; }
begin() { thread; turn; }
say() { printf '{"type":"item.completed","item":{"id":"item_0","type":"agent_message","text":"%s"}}\n' "$1"; }
usage() {
  printf '{"type":"turn.completed","usage":{"input_tokens":%s,"cached_input_tokens":0,"cache_write_input_tokens":0,' "$1"
  printf '"output_tokens":%s,"reasoning_output_tokens":0}}\n' "$2"
}
complete() { usage 100 10; }
end() { say "$1"; complete; }
failed() { printf '{"type":"error","message":"%s"}\n{"type":"turn.failed","error":{"message":"%s"}}\n' "$1" "$1"; exit 1; }
# Waits until a file appears, so that a test decides when the run continues.
await() { while [ ! -e "$1" ]; do sleep 0.02; done; }

eval "$(cat)"
"#;

/// A worker is called with `exec --json [...] [resume THREAD] -` and reads the prompt from stdin.
const WORKER: &str = "#!/bin/sh\n";

/// Replaces `codex-docker`. It writes each call to `calls` and the environment of the last run to `environment`. `check` prints
/// `check.json`, and `harvest` and `app-server` run the scripts with these names.
const CONTAINER: &str = r#"#!/bin/sh
here=$(dirname "$0")
printf '%s\n' "$*" >> "$here/calls"
[ "$1" = codex-docker ] && shift
case $1 in
  check) cat "$here/check.json"; exit 0 ;;
  reap) exit 0 ;;
  harvest) . "$here/harvest"; exit ;;
  image) exit 0 ;;
  app-server) . "$here/app-server"; exit ;;
esac
env | sort > "$here/environment"
"#;

/// The answer of `check` for a usable container engine with an image.
pub const USABLE: &str = r#"{"usable":true,"engine":{"version":"20.10.24","live_restore":true,"rootless":false},
"image":{"name":"codex-docker:test","codex_version":"0.169.0","built_for":null,"stale":false},"problem":null}"#;

/// Writes the worker script to a folder. Returns its path for `ORCH_WORKER`.
pub fn scripted_worker(folder: &Path) -> PathBuf {
    let path = folder.join("scripted-worker");
    program(&path, &[WORKER, WORDS].concat());
    path
}

/// A stand-in for the built-in worker, in its own folder.
#[derive(Debug)]
pub struct ScriptedContainers {
    folder: PathBuf,
}

impl ScriptedContainers {
    /// Installs the stand-in as `container_program` in the `config.toml` of a home that has no server yet.
    pub fn install(home: &crate::TestHome) -> Self {
        let folder = home.scratch().join("containers");
        fs_err::create_dir(&folder).expect("a test's folder can be written");
        let this = Self { folder };
        program(&this.program(), &[CONTAINER, WORDS].concat());
        this.answers(USABLE);
        this.put("app-server", "exit 1");
        this.harvests("echo 'nothing can be harvested here' >&2; exit 125");
        let config = format!("driver = \"exec\"\ncontainer_program = [\"{}\", \"codex-docker\"]\n", this.program().display());
        fs_err::write(home.path().join("config.toml"), config).expect("a test's home can be written");
        this
    }

    fn program(&self) -> PathBuf {
        self.folder.join("stand-in")
    }

    /// Sets the answer of `check`.
    pub fn answers(&self, check: &str) {
        self.put("check.json", check);
    }

    /// Makes `check` hang for the rest of the test.
    pub fn hangs(&self) {
        let path = self.folder.join("check.json");
        fs_err::remove_file(&path).expect("the file exists");
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe can be created");
    }

    /// Sets the shell commands of `harvest`.
    pub fn harvests(&self, script: &str) {
        self.put("harvest", script);
    }

    /// Sets the login that Codex writes when the server asks it to renew its current login.
    pub fn renews(&self, login: &serde_json::Value) {
        let script = format!(
            "read a; read b; read c; cat > \"$CODEX_HOME/auth.json\" <<'LOGIN'\n{login}\nLOGIN\necho '{{\"id\":2,\"result\":{{}}}}'; cat > /dev/null"
        );
        self.put("app-server", &script);
    }

    fn put(&self, name: &str, text: &str) {
        fs_err::write(self.folder.join(name), text).expect("a test's folder can be written");
    }

    /// Returns all calls so far, with arguments separated by spaces.
    pub fn calls(&self) -> Vec<String> {
        let text = fs_err::read_to_string(self.folder.join("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Returns a variable of the last run's environment.
    pub fn variable(&self, name: &str) -> Option<String> {
        let text = fs_err::read_to_string(self.folder.join("environment")).expect("a run has started");
        text.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
    }
}

pub(crate) fn program(path: &Path, script: &str) {
    fs_err::write(path, script).expect("a test's folder can be written");
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("the file belongs to the test");
}
