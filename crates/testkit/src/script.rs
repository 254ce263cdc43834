//! A worker with the interface of the public `codex-docker` script, and an image that starts Codex like that script's image.
//!
//! The public script is not part of this repository. To run the tests with it, set `CODEX_DOCKER_SCRIPT` to its path. The worker
//! here only supports the variables that the product uses.

use std::path::{Path, PathBuf};

use crate::docker::Sandbox;
use crate::worker::program;

/// The variable with the path of the public script.
const REAL: &str = "CODEX_DOCKER_SCRIPT";

/// A stand-in for the public script. Its variables have the same meaning: mounts, a Codex home, and the names of variables for the
/// container.
const SCRIPT: &str = r#"#!/usr/bin/env bash
set -eu
options=(--rm -i --name "${CONTAINER_NAME:-codex-$$}")
mount() { if [ -e "$1" ]; then options+=(-v "$1:$2"); else echo "Warning: $3 host path '$1' not found; skipping mount." >&2; fi; }

home=${CODEX_HOME:-$HOME/.codex}
if [ -d "$home" ]; then options+=(-v "$home:${CODEX_HOME:-/root/.codex}"); else echo "Warning: Codex home '$home' not found" >&2; fi
[ -z "${CODEX_HOME:-}" ] || options+=(-e CODEX_HOME)

IFS=: read -ra maps <<< "${CODEX_MOUNT_MAPS:-}"
for map in "${maps[@]}"; do mount "${map%%=*}" "${map#*=}" CODEX_MOUNT_MAPS; done
IFS=: read -ra maps <<< "${CODEX_MOUNT_MAPS_RO:-}"
for map in "${maps[@]}"; do mount "${map%%=*}" "${map#*=}:ro" CODEX_MOUNT_MAPS_RO; done

# The public script passes the whole environment of its caller if no name is given.
[ -n "${CODEX_PASSTHROUGH_ENV:-}" ] || { echo "nothing was named" >&2; exit 2; }
IFS=, read -ra names <<< "$CODEX_PASSTHROUGH_ENV"
for name in "${names[@]}"; do options+=(-e "$name"); done
while IFS= read -rd '' pair; do
  case $pair in CODEX_CONTAINER_ENV_?*) options+=(-e "${pair#CODEX_CONTAINER_ENV_}") ;; esac
done < <(env -0)

inside=/workspace/$(basename "$PWD")
echo "Two lines that are not JSON,"
echo "  as the public script prints them"
docker run "${options[@]}" -v "$PWD:$inside" -w "$inside" "${IMAGE_NAME:-codex-docker-test/none:1}" "$@"
"#;

/// Returns the path of the public script or of a stand-in, which is written to a folder. The path is for `ORCH_WORKER`.
///
/// # Panics
/// If the folder cannot be written.
pub fn script_worker(folder: &Path) -> PathBuf {
    if let Some(real) = std::env::var_os(REAL).filter(|path| !path.is_empty()) {
        return real.into();
    }
    let path = folder.join("public-script");
    program(&path, SCRIPT);
    path
}

/// Builds an image whose entry point is Codex without its sandbox. Codex 0.75.0 does not apply this option to `exec`.
pub fn script_image(sandbox: &Sandbox, tag: &str, image: &str) -> String {
    let entry = r#"ENTRYPOINT ["codex", "--dangerously-bypass-approvals-and-sandbox"]"#;
    sandbox.build(tag, &format!("FROM {image}\n{entry}\n"))
}
