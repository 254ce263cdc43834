//! Tests the broker between every tested version of the real Codex CLI and a scripted model. The test forwards connections to the
//! broker's socket, as `socat` does in a container.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use codex_docker::proxy::broker::{Broker, BrokerAccount, BrokerSettings, new_token};
use model::container::HostedTools;
use scripted_model::{CodexConfig, Item, Script, ScriptedModel, Turn};
use testkit::codex::{CodexCli, CodexHome, Outcome};
use tokio::net::{TcpListener, UnixStream};

const KEY: &str = "sk-the-real-key";

/// A model with ordinary tools, and one for which newer versions of Codex send the tools in the conversation.
const MODEL: &str = "gpt-5.5";
const CODE_MODEL: &str = "gpt-6.2-sol";

struct Brokered {
    broker: Broker,
    model: ScriptedModel,
    home: CodexHome,
    removed: Arc<Mutex<Vec<String>>>,
    folder: tempfile::TempDir,
}

impl Brokered {
    async fn new(script: Script, budget: Option<u64>, hosted_tools: HostedTools) -> Self {
        Self::asking(MODEL, script, budget, hosted_tools).await
    }

    /// Starts a stage on which Codex uses this model.
    async fn asking(name: &str, script: Script, budget: Option<u64>, hosted_tools: HostedTools) -> Self {
        let model = ScriptedModel::start(script).expect("the scripted model starts");
        let folder = tempfile::tempdir().expect("a folder");
        let (socket, token) = (folder.path().join("broker"), new_token());
        let removed: Arc<Mutex<Vec<String>>> = Arc::default();
        let told = Arc::clone(&removed);
        let settings = BrokerSettings {
            socket: socket.clone(),
            upstream: model.url(),
            api_key: KEY.to_owned(),
            token: token.clone(),
            budget,
            hosted_tools,
            tell_removed: Box::new(move |what| told.lock().expect("sound").push(what.to_owned())),
        };
        let broker = Broker::start(settings).expect("the broker starts");
        let home =
            CodexHome::with_config(&CodexConfig::new(format!("http://127.0.0.1:{}/v1", forward(socket).await)).model(name));
        let mut config = std::fs::OpenOptions::new().append(true).open(home.path().join("config.toml")).expect("the file exists");
        // The provider's table is at the end of the file.
        writeln!(config, "experimental_bearer_token = \"{token}\"").expect("written");
        Self { broker, model, home, removed, folder }
    }

    async fn run(&self, codex: &CodexCli, prompt: &str) -> Outcome {
        codex.exec(&self.home, self.folder.path(), prompt).await
    }
}

/// Forwards connections from a port to the socket, as `socat` does in a container. Returns the port.
async fn forward(socket: PathBuf) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut here, _)) = listener.accept().await {
            let Ok(mut there) = UnixStream::connect(&socket).await else { break };
            tokio::spawn(async move {
                // Both sides may close the connection at any time.
                let _ended = tokio::io::copy_bidirectional(&mut here, &mut there).await;
            });
        }
    });
    port
}

fn two_steps() -> Script {
    Script::new().turn(Turn::containing("work").step([Item::shell("echo worked")]).says("done"))
}

#[tokio::test]
async fn codex_asks_for_nothing_that_is_refused_and_never_sees_the_key() {
    for codex in CodexCli::tested() {
        let version = codex.version_number();
        let stage = Brokered::new(two_steps(), None, HostedTools::Allow).await;
        let outcome = stage.run(&codex, "work").await;
        assert_eq!(outcome.messages().last().map(String::as_str), Some("done"), "{version}: {outcome:?}");
        let BrokerAccount { requests, refused, input_tokens, output_tokens } = stage.broker.account();
        assert!(requests >= 2 && input_tokens > 0 && output_tokens > 0, "{version}");
        assert_eq!(refused, 0, "{version}");
        for request in stage.model.requests() {
            assert_eq!(request.headers["authorization"], format!("Bearer {KEY}"), "{version}");
        }
        assert!(!format!("{outcome:?}").contains(KEY), "{version}");
    }
}

#[tokio::test]
async fn codex_works_where_hosted_tools_are_denied_and_nothing_else_of_its_requests_is_removed() {
    for (codex, name) in CodexCli::tested().into_iter().flat_map(|codex| [(codex.clone(), MODEL), (codex, CODE_MODEL)]) {
        let version = format!("{} {name}", codex.version_number());
        let stage = Brokered::asking(name, two_steps(), None, HostedTools::Deny).await;
        let outcome = stage.run(&codex, "work").await;
        assert_eq!(outcome.messages().last().map(String::as_str), Some("done"), "{version}: {outcome:?}");
        let BrokerAccount { requests, refused, input_tokens, .. } = stage.broker.account();
        assert!(requests >= 2 && refused == 0 && input_tokens > 0, "{version}");
        let bodies: Vec<_> = stage.model.requests().into_iter().filter(|request| request.method == "POST").collect();
        assert!(bodies.iter().all(|request| !request.body.to_string().contains("\"web_search\"")), "{version}");
        assert!(bodies.iter().any(|request| request.body.to_string().contains("worked")), "{version}: the tool's output passes");
        // Unlike the settings in a container, these settings do not switch off the web search.
        let removed = stage.removed.lock().expect("sound").clone();
        assert!(removed.iter().all(|what| what == "the hosted tool `web_search`"), "{version}: {removed:?}");
        let searches = codex.version_number() == model::CODEX_VERSION && name == MODEL;
        assert!(!searches || removed.len() == 1, "{version}: {removed:?}");
    }
}

#[tokio::test]
async fn codex_gives_up_at_once_and_says_that_the_budget_is_used_up() {
    for codex in CodexCli::tested() {
        let version = codex.version_number();
        let stage = Brokered::new(two_steps(), Some(1), HostedTools::Deny).await;
        let outcome = stage.run(&codex, "work").await;
        let failure = outcome.failure().unwrap_or_else(|| panic!("{version}: {outcome:?}"));
        assert!(failure.contains("budget of 1 tokens is used up"), "{version}: {failure}");
        assert_ne!(outcome.exit_code, Some(0), "{version}");
        // One request was passed on and one was refused. Codex did not retry.
        let asked = stage.model.requests().iter().filter(|request| request.method == "POST").count();
        assert_eq!((asked, stage.broker.account().refused), (1, 1), "{version}");
    }
}
