//! Explains why a build or a download failed, based on the messages of the engine.
//!
//! Pure. An unknown message is shown unchanged, with the last lines of the failed step.

use std::collections::VecDeque;

use bollard::errors::Error;

use super::context::CHECK;
use super::progress::shortened;
use crate::failure::Failure;
use model::ErrorCode;

/// The number of lines of a failed step that are shown.
const TAIL: usize = 8;

/// The number of characters of a line that are shown.
const LINE: usize = 200;

/// The current step of a build, and the last lines of its output.
#[derive(Debug, Default)]
pub(super) struct BuildOutput {
    step: Option<String>,
    lines: VecDeque<String>,
}

impl BuildOutput {
    /// Records the start of a step.
    pub(super) fn step(&mut self, step: &str) {
        self.step = Some(step.to_owned());
        self.lines.clear();
    }

    /// Records a line of output.
    pub(super) fn line(&mut self, line: &str) {
        if self.lines.len() == TAIL {
            self.lines.pop_front();
        }
        self.lines.push_back(shortened(line, LINE));
    }
}

/// A known problem: the messages of engines and programs that indicate it, and the explanation for the user.
struct Trouble {
    code: ErrorCode,
    said: &'static [&'static str],
    what: &'static str,
    hints: &'static [&'static str],
}

/// The known problems. The first match counts. The messages are in lower case.
const TROUBLES: &[Trouble] = &[
    Trouble {
        code: ErrorCode::DiskFull,
        said: &["no space left on device", "disk quota exceeded", "you don't have enough free space"],
        what: "the container engine's disk is full",
        hints: &[
            "show disk usage with `docker system df`; remove unused data with `docker system prune`",
            "building an image needs about 3 GB in the engine's folder (DockerRootDir in `docker info`)",
        ],
    },
    Trouble {
        code: ErrorCode::ImageTls,
        said: &[
            "certificate signed by unknown authority",
            "ssl certificate problem",
            "certificate verification failed",
            "unable to get local issuer certificate",
            "self-signed certificate",
        ],
        what: "a server's certificate is not trusted",
        hints: &[
            "if your network intercepts TLS, pass its certificates: codex-orchestrator codex-docker image build --ca-file /etc/ssl/certs/ca-certificates.crt",
            "if pulling the base image failed, add the certificates to the engine's machine and restart the engine",
        ],
    },
    Trouble {
        code: ErrorCode::ImageNoNetwork,
        said: &[
            "temporary failure resolving",
            "temporary failure in name resolution",
            "could not resolve host",
            "no such host",
            "server misbehaving",
            "network is unreachable",
            "no route to host",
            "connection refused",
            "connection timed out",
            "i/o timeout",
            "tls handshake timeout",
            "client.timeout exceeded",
            "request canceled while waiting for connection",
            "failed to connect to",
            "unable to connect to",
        ],
        what: "cannot reach the network",
        hints: &[
            "check that containers can reach the network: docker run --rm debian:bookworm-slim apt-get update",
            "if your network requires a proxy, configure it in Docker: https://docs.docker.com/engine/daemon/proxy",
            "to use an npm mirror, pass --npm-registry; to build on a local image, pass --base",
        ],
    },
    Trouble {
        code: ErrorCode::CodexVersionUnknown,
        said: &["has no codex ", "this is not codex "],
        what: "Codex version not found",
        hints: &[
            "list the published versions with `npm view @openai/codex versions`",
            "or omit --codex-version to use the tested version",
        ],
    },
    Trouble {
        code: ErrorCode::CodexNotForMachine,
        said: &["there is no codex for "],
        what: "Codex supports only amd64 and arm64",
        hints: &["use an engine on a machine with one of these processors"],
    },
    Trouble {
        code: ErrorCode::BaseUnsuitable,
        said: &["apt-get: not found", "dpkg: not found", "exec: \"/bin/sh\"", "no command specified"],
        what: "the base image is not based on Debian",
        hints: &[
            "use another base, e.g. --base debian:bookworm-slim or --base ubuntu:24.04",
            "or use your own Dockerfile with --dockerfile",
        ],
    },
    Trouble {
        code: ErrorCode::ImageOtherMachine,
        said: &["exec format error", "no matching manifest for", "does not match the specified platform"],
        what: "the base image is for another kind of processor",
        hints: &["use --base with an image for this machine's processor"],
    },
    Trouble {
        code: ErrorCode::ImageName,
        said: &["invalid reference format", "invalid tag", "invalid repository name"],
        what: "invalid image name",
        hints: &["use a name in lower case, e.g. registry.example.com/team/image:tag"],
    },
    Trouble {
        code: ErrorCode::ImageNotFound,
        said: &[
            "pull access denied",
            "manifest unknown",
            "not found: manifest",
            "repository does not exist",
            "no such image",
            "name unknown",
        ],
        what: "image not found, or it requires a login",
        hints: &[
            "check the name; list local images with `docker images`",
            "if it requires a login, run `docker login` and `docker pull`, then try again",
        ],
    },
    Trouble {
        code: ErrorCode::DockerfileInvalid,
        said: &["dockerfile parse error", "unknown instruction", "the dockerfile cannot be empty", "file with no instructions"],
        what: "invalid Dockerfile",
        hints: &["see https://docs.docker.com/reference/dockerfile for the syntax"],
    },
    Trouble {
        code: ErrorCode::DockerfileBuildkit,
        said: &["requires buildkit"],
        what: "the Dockerfile needs BuildKit, which is not supported here",
        hints: &[
            "build the image yourself with `DOCKER_BUILDKIT=1 docker build -t NAME FOLDER`, then set IMAGE_NAME",
            "or avoid RUN --mount, COPY --chmod and here-documents",
        ],
    },
];

/// Returns the engine's message from an error.
pub(super) fn words_of(error: &Error) -> String {
    match error {
        Error::DockerStreamError { error } => error.clone(),
        Error::DockerResponseServerError { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

/// Returns the failure for the engine's message. `doing` is the failed action, such as ``build `x:1` ``.
pub(super) fn explain(doing: &str, words: &str, heard: &BuildOutput) -> Failure {
    let step = heard.step.as_deref().unwrap_or_default();
    if words.contains(CHECK) || step.contains(CHECK) {
        return with_tail(
            Failure::new(ErrorCode::ImageIncomplete, format!("could not {doing}: Codex, git or socat is missing from the image")),
            heard,
        )
        .hint("start your Dockerfile with `ARG CODEX_DOCKER_IMAGE` and `FROM ${CODEX_DOCKER_IMAGE}`, which has all of them");
    }
    // The last lines of output say more than the engine, which only repeats the instruction and reports an exit code.
    let exited = words.contains("returned a non-zero code");
    let all = if exited { heard.lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n") } else { words.to_owned() };
    let lower = all.to_lowercase();
    let known = TROUBLES.iter().find(|trouble| trouble.said.iter().any(|said| lower.contains(said)));
    let Some(trouble) = known else {
        let why = if exited { exit_code(words) } else { shortened(words, 4 * LINE) };
        let at = if step.is_empty() { String::new() } else { format!(" (at `{}`)", shortened(step, 60)) };
        return with_tail(Failure::new(ErrorCode::ImageFailed, format!("could not {doing}: {why}{at}")), heard);
    };
    let failure = if exited {
        with_tail(Failure::new(trouble.code, format!("could not {doing}: {}", trouble.what)), heard)
    } else {
        Failure::new(trouble.code, format!("could not {doing}: {}: {}", trouble.what, shortened(words, 2 * LINE)))
    };
    trouble.hints.iter().fold(failure, |failure, hint| failure.hint(*hint))
}

fn exit_code(words: &str) -> String {
    let code = words.rsplit_once("non-zero code:").map_or("", |(_, code)| code.trim());
    format!("a command failed with exit code {code}")
}

fn with_tail(mut failure: Failure, heard: &BuildOutput) -> Failure {
    for line in heard.lines.iter().filter(|line| !line.is_empty()) {
        failure.message.push_str("\n  | ");
        failure.message.push_str(line);
    }
    failure
}

#[cfg(test)]
#[path = "trouble_tests.rs"]
mod tests;
