//! Private registries in real containers: a setup installs packages with passwords from secret files, and nothing else has them.
//!
//! The server, container engine, git, npm, pip and both registries are real. A shell replaces Codex and runs its prompt.

use serde_json::json;
use testkit::registries::registries_image;
use testkit::shell_agent::ShellAgent;
use testkit::upstream::Upstream;

use crate::BINARY;
use crate::container_files::{approve, notes};
use crate::container_setup::setup;

/// The password of the registries, and its form in the settings of npm.
const PASSWORD: &str = "registry-secret-4711";
const AUTH: &str = "cmVhZGVyOnJlZ2lzdHJ5LXNlY3JldC00NzEx";

/// The setup first checks that the registries refuse strangers.
const SETUP: &str = r#"
[setup]
run = """
set -e
cd /tmp
if npm install --userconfig /dev/null --registry http://localhost:4873/ @private/thing; then exit 3; fi
if PIP_CONFIG_FILE=/dev/null pip download --no-input --index-url http://localhost:8080/simple/ private-thing; then exit 4; fi
cd "$OLDPWD"
npm install --no-audit --no-fund
pip install --no-input --requirement requirements.txt
"""

[keep]
paths = ["node_modules"]

[files]
"~/.npmrc" = { secret = "NPMRC", only = "setup" }
"~/.config/pip/pip.conf" = { secret = "PIP_CONF", only = "setup" }
"~/.cargo/credentials.toml" = { secret = "CARGO_CREDENTIALS" }
"~/.m2/settings.xml" = { secret = "MAVEN_SETTINGS" }
"#;

const CARGO: &str = "[registries.private]\ntoken = \"cargo-secret-0815\"\n";
const MAVEN: &str = "<settings><servers><server><password>maven-secret-2342</password></server></servers></settings>\n";

fn upstream() -> Upstream {
    let image = registries_image();
    let ready = "curl -s -o /dev/null http://localhost:4873/ && curl -s -o /dev/null http://localhost:8080/";
    let service =
        format!("[services.registries]\nimage = \"{image}\"\nready = \"{ready}\"\nready_seconds = 120\nports = [4873, 8080]\n");
    let upstream = Upstream::new();
    let files = [
        (".codex-orchestrator/environment.toml", &*format!("image = \"{image}\"\n{SETUP}\n{service}")),
        (".gitignore", "node_modules\n"),
        ("package.json", r#"{ "name": "app", "version": "1.0.0", "dependencies": { "@private/thing": "1.0.0" } }"#),
        ("requirements.txt", "private-thing==1.0\n"),
        ("README.md", "hello\n"),
    ];
    upstream.commit("main", &files, "a start");
    upstream
}

#[tokio::test]
async fn packages_of_private_registries_are_installed_with_secret_files_that_only_the_setup_has() {
    let stage = ShellAgent::on(BINARY, upstream(), &json!({})).await;
    let secrets = json!({ "secrets": {
        "NPMRC": format!("registry=http://localhost:4873/\n//localhost:4873/:_auth={AUTH}\n"),
        "PIP_CONF": format!("[global]\nindex-url = http://reader:{PASSWORD}@localhost:8080/simple/\n"),
        "CARGO_CREDENTIALS": CARGO,
        "MAVEN_SETTINGS": MAVEN,
    } });
    let (status, answer) = stage.home.patch(&format!("/api/v1/envs/{}", stage.env), &secrets).await;
    assert_eq!(status, 200, "{answer}");
    approve(&stage).await;
    let look = "echo NPM $(node -p 'require(\"@private/thing\")'); \
                echo PIP $(python3 -c 'import private_thing; print(private_thing.SOURCE)'); \
                echo LEFT $(cat ~/.npmrc ~/.config/pip/pip.conf 2> /dev/null); \
                echo AGAIN $(npm view --registry http://localhost:4873/ @private/thing > /dev/null 2>&1 || echo refused); \
                echo CARGO $(cat ~/.cargo/credentials.toml); echo MAVEN $(cat ~/.m2/settings.xml); \
                echo work > work.txt";
    let first = stage.attack(look).await;
    let log = stage.home.text(&format!("/api/v1/envs/{}/setup/log", stage.env)).await;
    assert_eq!(setup(&stage).await["last"]["phase"], "ready", "{log}");
    first.completed();
    assert_eq!(first.said("NPM"), "from the private npm registry", "{}", first.log);
    assert_eq!(first.said("PIP"), "from the private pip registry", "{}", first.log);
    assert_eq!((first.said("LEFT"), first.said("AGAIN")), ("", "refused"), "{}", first.log);
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!((first.said("CARGO"), first.said("MAVEN")), (&*words(CARGO), &*words(MAVEN)), "{}", first.log);
    assert!(stage.committed(&first.task).iter().any(|path| path == "work.txt"), "{}", notes(&first.task["runs"][0]));
    let shown = log + &stage.git(&["log", "--all", "--patch", "--text"]);
    for secret in [PASSWORD, AUTH, "cargo-secret-0815", "maven-secret-2342"] {
        assert!(!shown.contains(secret), "{secret}");
    }
}
