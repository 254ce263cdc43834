//! Published projects in five languages with their own tests, and images with their compilers.
//!
//! The sources come from the archives of package registries and of Debian, so that tests need no Git host. Each archive is downloaded once
//! into the build folder, and its SHA-256 is checked.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

use crate::docker::{build_image, build_image_from, codex_image, kept_image};
use crate::npm;
use crate::upstream::Upstream;

/// Where the compiler of a project comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compiler {
    /// The image of the product has it.
    InTheImage,
    /// Node.js and npm from npm's registry.
    Node,
    /// These packages of Debian.
    Debian(&'static str),
}

/// A published project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Project {
    /// The name and the version.
    pub name: &'static str,
    /// The language.
    pub language: &'static str,
    /// The URL of the sources.
    url: &'static str,
    /// The SHA-256 of the archive in hexadecimal.
    sha256: &'static str,
    compiler: Compiler,
    /// The script that installs its dependencies and builds it, or nothing if there is nothing to do before the tests.
    pub setup: &'static str,
    /// Its description of the environment, without the image and the setup.
    rest: &'static str,
    /// The command that runs its tests without a network.
    pub tests: &'static str,
    /// What the tests print if they pass.
    pub passed: &'static str,
}

/// C, without dependencies.
pub const CJSON: Project = Project {
    name: "cJSON 1.7.15",
    language: "C",
    url: "http://deb.debian.org/debian/pool/main/c/cjson/cjson_1.7.15.orig.tar.gz",
    sha256: "5308fd4bd90cef7aa060558514de6a1a4a0819974a26e6ed13973c5f624c24b2",
    compiler: Compiler::InTheImage,
    setup: "",
    rest: "",
    tests: "cmake -S . -B /tmp/build > /tmp/cmake.log && make -C /tmp/build -j2 > /tmp/make.log && ctest --test-dir /tmp/build",
    passed: "100% tests passed",
};

/// Python, with 50 packages in `uv.lock`.
pub const FLASK: Project = Project {
    name: "Flask 3.1.2",
    language: "Python",
    url: "https://files.pythonhosted.org/packages/dc/6d/cfe3c0fcc5e477df242b98bfe186a4c34357b4847e87ecaef04507332dab/flask-3.1.2.tar.gz",
    sha256: "bf656c15c80190ed628ad08cdfd3aaa35beb087855e2f494910aa3774cc4fd87",
    compiler: Compiler::InTheImage,
    setup: "uv sync --frozen",
    rest: "keys = [\"pyproject.toml\", \"uv.lock\"]\n[cache]\npaths = [\"~/.cache/uv\"]\n[keep]\npaths = [\".venv\"]\n",
    tests: "uv run --frozen --offline pytest -q",
    passed: "488 passed",
};

/// TypeScript, with 422 packages in `package-lock.json`.
pub const CSS_WHAT: Project = Project {
    name: "css-what 6.1.0",
    language: "TypeScript",
    url: "http://deb.debian.org/debian/pool/main/n/node-css-what/node-css-what_6.1.0.orig.tar.gz",
    sha256: "147df0eca9c4f1b06529a7ba22a7fe30a12de2bd419c226ed90dc6d19c6f8314",
    compiler: Compiler::Node,
    setup: "npm ci",
    rest: "keys = [\"package-lock.json\", \"package.json\"]\n[cache]\npaths = [\"~/.npm\"]\n[keep]\npaths = [\"node_modules\"]\n",
    tests: "npm run test:jest",
    passed: "934 passed, 934 total",
};

/// Go, without dependencies.
pub const TOML: Project = Project {
    name: "toml 1.2.0",
    language: "Go",
    url: "http://deb.debian.org/debian/pool/main/g/golang-toml/golang-toml_1.2.0.orig.tar.xz",
    sha256: "6d2c4df3fafa85b6d1437f1963dcd8a72e49cd167ed46fe950b309ca13ed3b50",
    compiler: Compiler::Debian("golang-go"),
    setup: "set -e\ngo mod download\ngo build ./...\ngo test -run='^$' ./...",
    rest: "keys = [\"go.mod\"]\n[cache]\npaths = [\"~/.cache/go-build\", \"~/go/pkg/mod\"]\n",
    tests: "go test ./...",
    passed: "github.com/BurntSushi/toml",
};

/// Rust, with 67 packages in `Cargo.lock`.
pub const HEXYL: Project = Project {
    name: "hexyl 0.16.0",
    language: "Rust",
    url: "https://static.crates.io/crates/hexyl/hexyl-0.16.0.crate",
    sha256: "43d56dd04872b6c6d429f18d2e03df95f853feb618c7cd8bf22d0e6851ce5ef8",
    compiler: Compiler::Debian("rustc-web cargo-web"),
    setup: "set -e\ncargo fetch --locked\ncargo build --tests --locked",
    rest: "keys = [\"Cargo.lock\", \"Cargo.toml\"]\n[cache]\npaths = [\"~/.cargo/git\", \"~/.cargo/registry\"]\n[keep]\npaths = [\"target\"]\n",
    // Three of the tests compare colors, and Codex turns colors off.
    tests: "env -u NO_COLOR cargo test --locked --offline",
    passed: "38 passed; 0 failed",
};

/// All projects.
pub const ALL: [Project; 5] = [CJSON, FLASK, CSS_WHAT, TOML, HEXYL];

impl Project {
    /// Returns an image with Codex and the project's compiler.
    ///
    /// # Panics
    /// If the image cannot be built.
    pub fn image(&self) -> String {
        let (base, image) = (codex_image(), format!("codex-docker-test/{}:1", self.language.to_lowercase()));
        match self.compiler {
            Compiler::InTheImage => base,
            Compiler::Node => kept_image(&image, || build_with_node(&base, &image)),
            Compiler::Debian(packages) => kept_image(&image, || {
                let install = format!("apt-get install -y -qq --no-install-recommends {packages} > /dev/null");
                let clean = "rm -rf /var/lib/apt/lists/*";
                build_image(&image, &format!("FROM {base}\nRUN apt-get update -qq && {install} && {clean}\n"));
            }),
        }
    }

    /// Returns the description of its environment, with its image.
    pub fn description(&self) -> String {
        let image = format!("image = \"{}\"\n", self.image());
        if self.setup.is_empty() {
            return image;
        }
        format!("{image}[setup]\nrun = '''\n{}\n'''\n{}", self.setup, self.rest)
    }

    /// Returns an upstream with the project and its description in one commit.
    ///
    /// # Panics
    /// If the sources cannot be downloaded or are not the expected ones.
    pub fn upstream(&self) -> Upstream {
        let folder = tempfile::tempdir().expect("a folder");
        // Python knows the formats of all archives.
        done(Command::new("python3").args(["-m", "tarfile", "-e"]).arg(self.archive()).arg(folder.path()));
        let mut entries = fs_err::read_dir(folder.path()).expect("readable");
        let sources = entries.next().expect("the archive has one folder").expect("readable").path();
        let described = sources.join(".codex-orchestrator");
        fs_err::create_dir(&described).expect("writable");
        fs_err::write(described.join("environment.toml"), self.description()).expect("writable");
        let upstream = Upstream::new();
        upstream.commit_folder("main", &sources, "a published version");
        upstream
    }

    fn archive(&self) -> PathBuf {
        let folder = npm::target_dir().join("tools/projects");
        fs_err::create_dir_all(&folder).expect("writable");
        let archive = folder.join(self.url.rsplit('/').next().unwrap_or_default());
        if sha256(&archive).is_none_or(|found| found != self.sha256) {
            let new = tempfile::NamedTempFile::new_in(&folder).expect("writable");
            done(
                Command::new("curl")
                    .args(["--silent", "--show-error", "--fail", "--location", "--retry", "3", "--output"])
                    .arg(new.path())
                    .arg(self.url),
            );
            assert_eq!(sha256(new.path()).as_deref(), Some(self.sha256), "{}", self.url);
            new.persist(&archive).expect("writable");
        }
        archive
    }
}

/// Builds an image with Node.js and npm on top of another one.
fn build_with_node(base: &str, image: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    npm::copy_to(folder.path());
    let dockerfile = folder.path().join("Dockerfile");
    let text = format!(
        "FROM {base}\nCOPY node /usr/local/bin/node\nCOPY npm /usr/local/lib/node_modules/npm\n\
         RUN chmod +x /usr/local/bin/node /usr/local/lib/node_modules/npm/bin/npm-cli.js \
         && ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm\n"
    );
    fs_err::write(&dockerfile, text).expect("writable");
    build_image_from(folder.path(), &dockerfile, image);
}

fn sha256(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    Some(Sha256::digest(bytes).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
}

#[track_caller]
fn done(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("the program is installed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
