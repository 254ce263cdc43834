//! The images that `cargo xtask test` has prepared, and a [`Sandbox`] for the containers and images of each test.
//!
//! Tests call the container engine with Docker's own client, not with the product. Everything that a test leaves is removed when its
//! [`Sandbox`] is dropped, even if the test fails. Nothing else in the engine is changed.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use uuid::Uuid;

use crate::codex::{OLDEST_CODEX_VERSION, TESTED_CODEX_VERSIONS};

/// A small Debian image to base others on. `cargo xtask test` creates it.
pub const BASE_IMAGE: &str = "codex-docker-test/base:1";

/// The certificates of this machine, for images that must reach the network in the same way as the machine.
pub const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The prefix that the product adds to a caller's own labels.
const CALLERS_LABEL: &str = "codex-docker.label.";

/// Returns the image with the pinned version of Codex, as the product built it.
///
/// # Panics
/// If the image does not exist.
pub fn codex_image() -> String {
    provisioned(codex_image_of(model::CODEX_VERSION))
}

/// Returns the image with the oldest supported version of Codex.
///
/// # Panics
/// If the image does not exist.
pub fn oldest_codex_image() -> String {
    provisioned(codex_image_of(OLDEST_CODEX_VERSION))
}

/// Returns an image for each tested version of Codex, newest first.
///
/// # Panics
/// If an image does not exist.
pub fn codex_images() -> [String; 3] {
    TESTED_CODEX_VERSIONS.map(|version| provisioned(codex_image_of(version)))
}

/// Returns the image to base others on.
///
/// # Panics
/// If the image does not exist.
pub fn base_image() -> String {
    provisioned(BASE_IMAGE.to_owned())
}

/// Returns the name of the image with this version of Codex, even if the image does not exist.
pub fn codex_image_of(version: &str) -> String {
    format!("codex-docker-test/codex:{version}")
}

/// Returns an image with the `PostgreSQL` of Debian, which listens on its loopback. It stores its data in `/data`. If the variable `FAIL`
/// is set, it prints the value and exits with code 3.
///
/// # Panics
/// If the image cannot be built.
pub fn postgres_image() -> String {
    debian_image(
        "codex-docker-test/postgres:1",
        "postgresql",
        "ENV PATH=/usr/lib/postgresql/15/bin:$PATH\n\
         RUN mkdir /data && chown postgres /data\n\
         USER postgres\n\
         CMD [\"/bin/sh\", \"-c\", \"[ -z \\\"$FAIL\\\" ] || { echo \\\"$FAIL\\\"; exit 3; }; \
         initdb -D /data/db > /dev/null && exec postgres -D /data/db -k /tmp\"]\n",
    )
}

/// Returns an image with the Redis of Debian, which listens on its loopback.
///
/// # Panics
/// If the image cannot be built.
pub fn redis_image() -> String {
    debian_image(
        "codex-docker-test/redis:1",
        "redis-server",
        "CMD [\"redis-server\", \"--save\", \"\", \"--appendonly\", \"no\"]\n",
    )
}

/// Builds an image with a package of Debian, unless the container engine has it. The image is kept for later tests.
fn debian_image(image: &str, package: &str, rest: &str) -> String {
    debian_image_on(BASE_IMAGE, image, package, rest)
}

/// Builds an image with a package of Debian on top of another image, unless the container engine has it.
pub(crate) fn debian_image_on(base: &str, image: &str, package: &str, rest: &str) -> String {
    let install = format!("apt-get install -y -qq --no-install-recommends {package}");
    let dockerfile = format!("FROM {base}\nRUN apt-get update -qq && {install} && rm -rf /var/lib/apt/lists/*\n{rest}");
    kept_image(image, || build_image(image, &dockerfile))
}

/// Builds an image, unless the container engine has it. Only one test builds it.
pub(crate) fn kept_image(image: &str, build: impl FnOnce()) -> String {
    let name = image.replace(['/', ':'], "-");
    let lock = std::fs::File::create(std::env::temp_dir().join(format!("{name}.lock"))).expect("a temporary file");
    lock.lock().expect("the file can be locked");
    if !try_docker(&["image", "inspect", image]).status.success() {
        build();
    }
    image.to_owned()
}

#[track_caller]
pub(crate) fn build_image(image: &str, dockerfile: &str) {
    let mut command = Command::new("docker");
    command.env("DOCKER_BUILDKIT", "0").args(["build", "--quiet", "--tag", image, "-"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("docker is installed");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    stdin.write_all(dockerfile.as_bytes()).expect("docker reads the Dockerfile");
    drop(stdin);
    let built = child.wait_with_output().expect("docker can be awaited");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

/// Builds an image from a Dockerfile and the files in a folder.
#[track_caller]
pub(crate) fn build_image_from(folder: &std::path::Path, dockerfile: &std::path::Path, image: &str) {
    let mut command = Command::new("docker");
    command.env("DOCKER_BUILDKIT", "0").args(["build", "--quiet", "--tag", image, "--file"]).arg(dockerfile).arg(folder);
    let built = command.stdin(Stdio::null()).output().expect("docker is installed");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

fn provisioned(image: String) -> String {
    let found = try_docker(&["image", "inspect", "--format", "{{.Id}}", &image]);
    assert!(
        found.status.success(),
        "this test needs a container engine with the image `{image}`: run `cargo xtask test`, which sets up both\n{}",
        String::from_utf8_lossy(&found.stderr)
    );
    image
}

/// Returns the group that may use the socket of the container engine.
///
/// # Panics
/// If no container engine runs.
pub fn socket_group() -> String {
    std::os::unix::fs::MetadataExt::gid(&fs_err::metadata("/var/run/docker.sock").expect("the container engine runs")).to_string()
}

/// Runs Docker's own client and returns its stdout.
///
/// # Panics
/// If the client fails.
#[track_caller]
pub fn docker(arguments: &[&str]) -> String {
    let output = try_docker(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`docker {}` ended with {}: {stderr}", arguments.join(" "), output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs Docker's own client and returns its result.
///
/// # Panics
/// If the program is not installed.
pub fn try_docker(arguments: &[&str]) -> Output {
    let run = Command::new("docker").args(arguments).stdin(Stdio::null()).output();
    run.unwrap_or_else(|error| panic!("could not start `docker` ({error}): run `cargo xtask test`, which sets it up"))
}

/// The containers and images of one test, which are removed when this value is dropped.
#[derive(Debug)]
pub struct Sandbox {
    id: String,
}

impl Sandbox {
    /// Creates an empty sandbox.
    #[expect(clippy::new_without_default, reason = "every sandbox is different")]
    pub fn new() -> Self {
        Self { id: Uuid::now_v7().simple().to_string() }
    }

    /// Returns the label for containers that the product creates, for `CODEX_DOCKER_LABELS` and `--label`.
    pub fn label(&self) -> String {
        format!("test={}", self.id)
    }

    /// Returns a name for an image that is removed with this sandbox.
    pub fn image(&self, tag: &str) -> String {
        format!("codex-docker-test/{}:{tag}", self.id)
    }

    /// Returns a name for a container that is removed with this sandbox, even if it does not have the label.
    pub fn container(&self, name: &str) -> String {
        format!("test-{}-{name}", self.id)
    }

    /// Builds an image from a Dockerfile without a build context and returns its name.
    ///
    /// # Panics
    /// If the image cannot be built.
    #[track_caller]
    pub fn build(&self, tag: &str, dockerfile: &str) -> String {
        let image = self.image(tag);
        build_image(&image, dockerfile);
        image
    }

    /// Returns the IDs of all containers of this sandbox, even if they are not running.
    pub fn containers(&self) -> Vec<String> {
        let label = format!("label={CALLERS_LABEL}{}", self.label());
        let name = format!("name=^/?test-{}-", self.id);
        let mut found: Vec<String> = [label, name]
            .iter()
            .flat_map(|filter| lines(&try_docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", filter])))
            .collect();
        found.sort();
        found.dedup();
        found
    }

    /// Runs a script with `sh` in a new container without a network and returns its output.
    ///
    /// # Panics
    /// If the script fails.
    #[track_caller]
    pub fn run(&self, image: &str, user: &str, script: &str) -> String {
        let name = self.container(&Uuid::now_v7().simple().to_string());
        docker(&["run", "--rm", "--init", "--network=none", "--name", &name, "--user", user, image, "sh", "-c", script])
    }

    fn clear(&self) {
        let reference = format!("reference=codex-docker-test/{}", self.id);
        // Remove images by name, not by ID, because an image may also have a name that is not ours.
        let images = lines(&try_docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", &reference]));
        for (remove, found) in [("rm", self.containers()), ("rmi", images)] {
            if !found.is_empty() {
                let arguments: Vec<&str> = [remove, "--force"].into_iter().chain(found.iter().map(String::as_str)).collect();
                try_docker(&arguments);
            }
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // A panic here would hide the panic that says why a test failed.
        if Command::new("docker").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok() {
            self.clear();
        }
    }
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}
