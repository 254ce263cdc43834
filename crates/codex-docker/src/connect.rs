//! The connection to a container engine, and advice if it does not respond.
//!
//! The address follows Docker's rules: `DOCKER_HOST`, then the current Docker context, then the default socket. If that socket
//! does not exist, Podman's socket is used. The engine must run on this machine, because it mounts local folders.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, Docker};
use serde::Deserialize;

use crate::failure::Failure;
use model::ErrorCode;

/// The time limit for a response of the engine, in seconds. Under load, starting a container takes several seconds.
const TIMEOUT_SECONDS: u64 = 120;

/// Docker's default socket.
const USUAL: &str = "/var/run/docker.sock";

/// The oldest supported API version (Docker 19.03).
const OLDEST_API: (usize, usize) = (1, 40);

/// The address of a container engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The address, in the format of `DOCKER_HOST`.
    pub(crate) host: String,
    /// A description of where the address comes from.
    pub(crate) chosen_by: String,
}

/// Connects to the container engine, and checks that it responds and is not too old.
pub async fn connect(environment: &BTreeMap<String, String>) -> Result<Docker, Failure> {
    let endpoint = endpoint(environment)?;
    let docker = client(&endpoint)?;
    let docker = docker.negotiate_version().await.map_err(|error| unreachable(&endpoint, &error))?;
    let version = docker.client_version();
    if (version.major_version, version.minor_version) < OLDEST_API {
        let message =
            format!("the container engine at {} is too old: it has API {version}, but API 1.40 is required", endpoint.host);
        return Err(Failure::new(ErrorCode::EngineTooOld, message).hint("install Docker 19.03 or newer, or Podman 4 or newer"));
    }
    Ok(docker)
}

fn client(endpoint: &Endpoint) -> Result<Docker, Failure> {
    let connected = if let Some(path) = endpoint.host.strip_prefix("unix://") {
        Docker::connect_with_unix(path, TIMEOUT_SECONDS, API_DEFAULT_VERSION)
    } else if endpoint.host.starts_with("tcp://") || endpoint.host.starts_with("http://") {
        Docker::connect_with_http(&endpoint.host, TIMEOUT_SECONDS, API_DEFAULT_VERSION)
    } else {
        let message = format!("cannot use the container engine `{}` (from {})", endpoint.host, endpoint.chosen_by);
        return Err(Failure::new(ErrorCode::EngineAddress, message)
            .hint("use an engine that runs on this machine and can mount local folders: unix:///path or tcp://127.0.0.1:port"));
    };
    connected.map_err(|error| unreachable(endpoint, &error))
}

/// Returns the failure for an engine that did not respond, with hints for the cause.
fn unreachable(endpoint: &Endpoint, error: &Error) -> Failure {
    let at = format!("{} (from {})", endpoint.host, endpoint.chosen_by);
    match io_kind(error).or_else(|| socket_kind(endpoint)) {
        Some(ErrorKind::PermissionDenied) => {
            Failure::new(ErrorCode::EngineNoPermission, format!("permission denied: cannot use the container engine at {at}"))
                .hint("join the group that owns the socket: sudo usermod -aG docker \"$USER\", then log out and in again")
                .hint("or use a rootless engine and set DOCKER_HOST to its socket")
        }
        Some(ErrorKind::NotFound) => Failure::new(ErrorCode::EngineMissing, format!("container engine not found at {at}"))
            .hint("install Docker (Debian: apt-get install docker.io) or Podman, and start it")
            .hint("or set DOCKER_HOST to the socket of a running engine"),
        Some(ErrorKind::ConnectionRefused) => {
            Failure::new(ErrorCode::EngineNotRunning, format!("the container engine at {at} is not running"))
                .hint("start it: sudo systemctl start docker")
        }
        _ => Failure::new(ErrorCode::EngineUnreachable, format!("the container engine at {at} does not respond: {error}"))
            .hint("check the engine with `docker version`; if that fails too, restart the engine"),
    }
}

/// Connects to the Unix socket to learn the kind of error, which some clients do not report.
fn socket_kind(endpoint: &Endpoint) -> Option<ErrorKind> {
    let path = endpoint.host.strip_prefix("unix://")?;
    std::os::unix::net::UnixStream::connect(path).err().map(|error| error.kind())
}

/// Returns the kind of the I/O error that caused this error, if there is one.
pub(crate) fn io_kind(error: &Error) -> Option<ErrorKind> {
    // This variant passes on the sources of its error, but not the error itself.
    if let Error::IOError { err } = error {
        return Some(err.kind());
    }
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = source {
        if let Some(found) = current.downcast_ref::<std::io::Error>() {
            return Some(found.kind());
        }
        source = current.source();
    }
    None
}

/// Returns whether the engine did not respond, so that the state of the container is unknown.
pub(crate) fn is_silence(error: &Error) -> bool {
    !matches!(error, Error::DockerResponseServerError { .. } | Error::JsonDataError { .. } | Error::JsonSerdeError { .. })
}

/// Returns the HTTP status of the engine's response, if there was one.
pub(crate) fn status_of(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Returns a failure that starts with `what` and ends with the engine's message.
pub(crate) fn refused(code: ErrorCode, what: &str, error: &Error) -> Failure {
    let words = match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        other => other.to_string(),
    };
    Failure::new(code, format!("{what}: {}", words.trim()))
}

fn endpoint(environment: &BTreeMap<String, String>) -> Result<Endpoint, Failure> {
    let get = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    if let Some(host) = get("DOCKER_HOST") {
        return Ok(Endpoint { host: host.clone(), chosen_by: "DOCKER_HOST".to_owned() });
    }
    let folder = get("DOCKER_CONFIG").map(PathBuf::from).or_else(|| get("HOME").map(|home| Path::new(home).join(".docker")));
    let chosen = get("DOCKER_CONTEXT").cloned().or_else(|| current_context(folder.as_deref()?));
    if let Some(name) = chosen.filter(|name| name != "default") {
        let found = folder.as_deref().and_then(|folder| context_host(folder, &name));
        let missing = || {
            Failure::new(ErrorCode::EngineContext, format!("the Docker context `{name}` does not exist or has no address"))
                .hint("list the contexts with `docker context ls`, or go back to the default with `docker context use default`")
        };
        return Ok(Endpoint { host: found.ok_or_else(missing)?, chosen_by: format!("the Docker context `{name}`") });
    }
    if !Path::new(USUAL).exists() {
        let rootless = get("XDG_RUNTIME_DIR").map(|folder| Path::new(folder).join("podman/podman.sock"));
        let podman = rootless.into_iter().chain([PathBuf::from("/run/podman/podman.sock")]).find(|path| path.exists());
        if let Some(path) = podman {
            return Ok(Endpoint { host: format!("unix://{}", path.display()), chosen_by: "Podman's default".to_owned() });
        }
    }
    Ok(Endpoint { host: format!("unix://{USUAL}"), chosen_by: "Docker's default".to_owned() })
}

fn current_context(folder: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct ConfigFile {
        #[serde(rename = "currentContext")]
        current_context: Option<String>,
    }
    let text = fs_err::read(folder.join("config.json")).ok()?;
    serde_json::from_slice::<ConfigFile>(&text).ok()?.current_context
}

/// Returns the address of a Docker context. The file is named after a hash of the context's name, so all files are read.
fn context_host(folder: &Path, name: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Context {
        #[serde(rename = "Name")]
        name: String,
        #[serde(rename = "Endpoints")]
        endpoints: BTreeMap<String, Address>,
    }
    #[derive(Deserialize)]
    struct Address {
        #[serde(rename = "Host")]
        host: Option<String>,
    }
    let folders = fs_err::read_dir(folder.join("contexts/meta")).ok()?;
    let files = folders.filter_map(|entry| fs_err::read(entry.ok()?.path().join("meta.json")).ok());
    let mut contexts = files.filter_map(|text| serde_json::from_slice::<Context>(&text).ok());
    contexts.find(|context| context.name == name)?.endpoints.remove("docker")?.host
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_engine_is_found_as_docker_finds_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let meta = folder.path().join("contexts/meta/0123");
        fs_err::create_dir_all(&meta).expect("made");
        let context = r#"{"Name":"rootless","Metadata":{},"Endpoints":{"docker":{"Host":"unix:///run/user/1000/docker.sock"}}}"#;
        fs_err::write(meta.join("meta.json"), context).expect("written");
        fs_err::write(folder.path().join("config.json"), r#"{"currentContext":"rootless"}"#).expect("written");
        let config = folder.path().to_str().expect("text");

        let by_context = endpoint(&environment(&[("DOCKER_CONFIG", config)])).expect("chosen");
        assert_eq!(by_context.host, "unix:///run/user/1000/docker.sock");
        let named = endpoint(&environment(&[("DOCKER_CONFIG", config), ("DOCKER_HOST", "unix:///x")])).expect("set");
        assert_eq!(named.host, "unix:///x");
        let back = endpoint(&environment(&[("DOCKER_CONFIG", config), ("DOCKER_CONTEXT", "default")])).expect("chosen");
        assert!(back.host.starts_with("unix://") && back.host != "unix:///run/user/1000/docker.sock");
        let gone = endpoint(&environment(&[("DOCKER_CONFIG", config), ("DOCKER_CONTEXT", "gone")]))
            .expect_err("the context does not exist");
        assert!(gone.code == ErrorCode::EngineContext && !gone.hints.is_empty());
    }

    #[tokio::test]
    async fn an_engine_of_long_ago_is_refused() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("engine.sock");
        let listener = tokio::net::UnixListener::bind(&socket).expect("bound");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("asked");
            let mut asked = [0; 1024];
            let _count = stream.read(&mut asked).await.expect("readable");
            let about = r#"{"Version":"17.06","ApiVersion":"1.30"}"#;
            let answer =
                format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{about}", about.len());
            stream.write_all(answer.as_bytes()).await.expect("open");
        });
        let host = format!("unix://{}", socket.display());
        let failure = connect(&environment(&[("DOCKER_HOST", &host)])).await.expect_err("too old");
        assert!(
            failure.code == ErrorCode::EngineTooOld && failure.message.contains("1.30") && !failure.hints.is_empty(),
            "{failure:?}"
        );
    }

    #[tokio::test]
    async fn every_kind_of_silence_says_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("engine.sock");
        drop(std::os::unix::net::UnixListener::bind(&socket).expect("bound"));
        let refused = format!("unix://{}", socket.display());
        let mut reports = Vec::new();
        for (host, code) in [
            ("unix:///nowhere/docker.sock", ErrorCode::EngineMissing),
            (refused.as_str(), ErrorCode::EngineNotRunning),
            ("ssh://me@host", ErrorCode::EngineAddress),
            ("tcp://127.0.0.1:1", ErrorCode::EngineNotRunning),
        ] {
            let failure = connect(&environment(&[("DOCKER_HOST", host)])).await.expect_err(host);
            assert_eq!(failure.code, code, "{failure:?}");
            reports.push(crate::report(&failure).replace(folder.path().to_str().expect("text"), "/FOLDER"));
        }
        insta::assert_snapshot!(reports.join("\n"));
    }

    #[test]
    fn files_of_docker_that_say_nothing_lead_to_the_default() {
        let default = endpoint(&environment(&[])).expect("chosen");
        for (config, context) in [
            (None, None),
            (Some("{"), None),
            (Some("[]"), None),
            (Some(r#"{"currentContext":null}"#), None),
            (Some(r#"{"currentContext":7}"#), None),
            (Some(r#"{"currentContext":"default"}"#), None),
            (Some(r#"{"auths":{}}"#), Some(r#"{"Name":"default","Endpoints":{"docker":{"Host":"unix:///trap"}}}"#)),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            if let Some(config) = config {
                fs_err::write(folder.path().join("config.json"), config).expect("writable");
            }
            if let Some(context) = context {
                let meta = folder.path().join("contexts/meta/00");
                fs_err::create_dir_all(&meta).expect("a new folder");
                fs_err::write(meta.join("meta.json"), context).expect("writable");
            }
            let chosen = endpoint(&environment(&[("DOCKER_CONFIG", folder.path().to_str().expect("text"))])).expect("chosen");
            assert_eq!(chosen, default, "{config:?} {context:?}");
        }
    }

    #[test]
    fn a_context_is_found_by_its_name_among_damaged_ones() {
        let home = tempfile::tempdir().expect("a folder");
        let meta = home.path().join(".docker/contexts/meta");
        for (folder, text) in [
            ("0", "{"),
            ("1", r#"{"Name":"other","Endpoints":{"docker":{"Host":"unix:///other"}}}"#),
            ("2", r#"{"Name":"mine","Endpoints":{"docker":{"Host":"unix:///mine"},"kubernetes":{}}}"#),
            ("3", r#"{"Name":"no-docker","Endpoints":{"kubernetes":{"Host":"unix:///k"}}}"#),
            ("4", r#"{"Name":"no-host","Endpoints":{"docker":{}}}"#),
        ] {
            fs_err::create_dir_all(meta.join(folder)).expect("a new folder");
            fs_err::write(meta.join(folder).join("meta.json"), text).expect("writable");
        }
        fs_err::write(meta.join("file"), "").expect("writable");
        let home = home.path().to_str().expect("text");
        let chosen = |context: &str| endpoint(&environment(&[("HOME", home), ("DOCKER_CONTEXT", context), ("DOCKER_HOST", "")]));
        let mine = chosen("mine").expect("it exists");
        assert_eq!((mine.host.as_str(), mine.chosen_by.as_str()), ("unix:///mine", "the Docker context `mine`"));
        for gone in ["Mine", "no-docker", "no-host", "../mine"] {
            let failure = chosen(gone).expect_err(gone);
            assert!(failure.message.contains(&format!("`{gone}`")), "{failure:?}");
        }
    }

    #[test]
    fn only_an_answer_of_the_engine_ends_its_silence() {
        let refusal = |status_code| Error::DockerResponseServerError { status_code, message: " no\n".to_owned() };
        let io = |kind| Error::from(std::io::Error::from(kind));
        for (error, silent, status, kind) in [
            (refusal(404), false, Some(404), None),
            (refusal(500), false, Some(500), None),
            (Error::RequestTimeoutError, true, None, None),
            (io(ErrorKind::BrokenPipe), true, None, Some(ErrorKind::BrokenPipe)),
            (io(ErrorKind::NotFound), true, None, Some(ErrorKind::NotFound)),
        ] {
            assert_eq!((is_silence(&error), status_of(&error), io_kind(&error)), (silent, status, kind), "{error:?}");
        }
        assert_eq!(refused(ErrorCode::EngineFailed, "could not look", &refusal(500)).message, "could not look: no");
    }

    #[tokio::test]
    async fn an_engine_that_answers_nonsense_is_not_used() {
        use crate::tests::{Answer, ScriptedEngine, found, refusal};
        for (answer, expected) in [
            (refusal(500, "broken"), ErrorCode::EngineUnreachable),
            (Answer::Said(200, "<html>".to_owned()), ErrorCode::EngineUnreachable),
            (found(&serde_json::json!({ "ApiVersion": "new" })), ErrorCode::EngineUnreachable),
            (found(&serde_json::json!({})), ErrorCode::EngineUnreachable),
            (found(&serde_json::json!({ "ApiVersion": "1.39" })), ErrorCode::EngineTooOld),
            (found(&serde_json::json!({ "ApiVersion": "0.99" })), ErrorCode::EngineTooOld),
        ] {
            let story = format!("{answer:?}");
            let engine = ScriptedEngine::start(move |_| answer.clone());
            let failure = connect(&engine.environment(Path::new("/state"))).await.map(drop).expect_err(&story);
            assert!(failure.code == expected && !failure.hints.is_empty(), "{story}: {failure:?}");
        }
        for version in ["1.40", "1.99", "2.0"] {
            let engine = ScriptedEngine::start(move |_| found(&serde_json::json!({ "ApiVersion": version })));
            let docker = connect(&engine.environment(Path::new("/state"))).await.expect(version);
            assert!(docker.client_version() <= *API_DEFAULT_VERSION, "{version}");
        }
    }
}
