//! The `config.toml` for a private Codex home, which exists only in the container.
//!
//! Pure: turns the user's settings into the text of the file. It always switches off telemetry, update checks and unlimited
//! retries. If there is a broker, it becomes the model provider. If hosted tools are denied, Codex does not offer them to the
//! model.

use model::ErrorCode;
use model::container::HostedTools;
use toml::{Table, Value};

use crate::failure::Failure;
use crate::inside;

/// The variable with the run's token for the broker.
pub(crate) const TOKEN_VARIABLE: &str = "CODEX_DOCKER_RUN_TOKEN";

/// The name of the broker among Codex's model providers.
const PROVIDER: &str = "codex-docker";

/// The setting with additional instructions for the model.
const INSTRUCTIONS: &str = "developer_instructions";

/// Features that are always off.
const FEATURES: &[&str] = &["plugins", "unbounded_connection_retries", "apps"];

/// Features that let the model's API run tools.
const HOSTED_FEATURES: &[&str] = &["image_generation", "standalone_web_search"];

/// Former names of features for hosted tools. They are removed rather than set to `false`: old versions have them off by default,
/// and newer versions warn about the names.
const OLD_HOSTED_FEATURES: &[&str] = &["web_search", "web_search_cached", "web_search_request"];

/// How Codex reaches the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ModelRoute {
    /// Codex sends its requests to the model provider.
    Direct,
    /// Codex sends its requests to the broker.
    Broker,
}

/// Returns the text of `config.toml`.
pub(crate) fn config(base: Option<&str>, route: ModelRoute, hosted_tools: HostedTools) -> Result<String, Failure> {
    let mut table: Table = base.unwrap_or_default().parse().map_err(|error: toml::de::Error| {
        Failure::new(ErrorCode::CodexConfig, format!("invalid Codex configuration: {}", error.message()))
            .hint("set CODEX_DOCKER_CONFIG to a valid config.toml of Codex")
    })?;
    table.insert("check_for_update_on_startup".to_owned(), Value::Boolean(false));
    table.insert("cli_auth_credentials_store".to_owned(), Value::String("file".to_owned()));
    below(&mut table, "analytics").insert("enabled".to_owned(), Value::Boolean(false));
    let features = below(&mut table, "features");
    features.extend(FEATURES.iter().map(|name| ((*name).to_owned(), Value::Boolean(false))));
    // The broker must read each request to remove hosted tools. It refuses compressed ones.
    features.insert("enable_request_compression".to_owned(), Value::Boolean(false));
    if hosted_tools == HostedTools::Deny {
        without_hosted_tools(&mut table);
        if let Some(profiles) = table.get_mut("profiles").and_then(Value::as_table_mut) {
            profiles.iter_mut().filter_map(|(_, profile)| profile.as_table_mut()).for_each(without_hosted_tools);
        }
    }
    if route == ModelRoute::Broker {
        table.insert("model_provider".to_owned(), Value::String(PROVIDER.to_owned()));
        let address = format!("http://127.0.0.1:{}/v1", inside::BROKER_PORT);
        let fields = [("name", PROVIDER), ("base_url", &address), ("env_key", TOKEN_VARIABLE), ("wire_api", "responses")];
        let provider: Table = fields.into_iter().map(|(key, value)| (key.to_owned(), Value::String(value.to_owned()))).collect();
        below(&mut table, "model_providers").insert(PROVIDER.to_owned(), Value::Table(provider));
    }
    Ok(table.to_string())
}

/// Adds a note for the agent to the text of a `config.toml`, after the user's own instructions.
pub(crate) fn with_note(text: &str, note: &str) -> Result<String, Failure> {
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| {
        Failure::new(ErrorCode::CodexConfig, format!("invalid Codex configuration: {}", error.message()))
    })?;
    let own = table.get(INSTRUCTIONS).and_then(Value::as_str).filter(|own| !own.trim().is_empty());
    let all = own.map_or_else(|| note.to_owned(), |own| format!("{}\n\n{note}", own.trim_end()));
    table.insert(INSTRUCTIONS.to_owned(), Value::String(all));
    Ok(table.to_string())
}

/// Switches hosted tools off with the settings of every supported version.
fn without_hosted_tools(table: &mut Table) {
    table.insert("web_search".to_owned(), Value::String("disabled".to_owned()));
    below(table, "tools").insert("web_search".to_owned(), Value::Boolean(false));
    let features = below(table, "features");
    features.extend(HOSTED_FEATURES.iter().map(|name| ((*name).to_owned(), Value::Boolean(false))));
    for name in OLD_HOSTED_FEATURES {
        features.remove(*name);
    }
}

/// Returns the table with this name. Creates the table if the entry does not exist or is something else.
fn below<'a>(table: &'a mut Table, name: &str) -> &'a mut Table {
    let entry = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
    if !entry.is_table() {
        *entry = Value::Table(Table::new());
    }
    entry.as_table_mut().expect("the entry is a table")
}

#[cfg(test)]
mod tests {
    use scripted_model::{CodexConfig, Script, ScriptedModel, Turn};
    use testkit::codex::{CodexCli, CodexHome};

    use super::*;

    #[test]
    fn what_calls_home_is_off_whatever_was_said() {
        let base = "model = \"m\"\ncheck_for_update_on_startup = true\nfeatures = 3\n[analytics]\nenabled = true\n";
        let made: Table = config(Some(base), ModelRoute::Direct, HostedTools::Allow).expect("sound").parse().expect("toml");
        assert_eq!(made["model"].as_str(), Some("m"));
        assert_eq!(made["check_for_update_on_startup"].as_bool(), Some(false));
        assert_eq!(made["analytics"]["enabled"].as_bool(), Some(false));
        assert_eq!(made["features"]["unbounded_connection_retries"].as_bool(), Some(false));
        assert!(!made.contains_key("model_provider") && !made.contains_key("web_search"));
    }

    #[test]
    fn hosted_tools_are_off_where_they_are_denied_whatever_was_said() {
        let base = "web_search = \"live\"\nprofile = \"p\"\n[tools]\nweb_search = true\nview_image = true\n\
                    [features]\nweb_search_request = true\n[profiles.p]\nweb_search = \"live\"\ntools.web_search = true\n";
        let made: Table = config(Some(base), ModelRoute::Broker, HostedTools::Deny).expect("sound").parse().expect("toml");
        for table in [&made, made["profiles"]["p"].as_table().expect("a profile")] {
            assert_eq!(table["web_search"].as_str(), Some("disabled"));
            assert_eq!(table["tools"]["web_search"].as_bool(), Some(false));
            assert_eq!(table["features"]["image_generation"].as_bool(), Some(false));
            assert!(table["features"].get("web_search_request").is_none());
        }
        assert_eq!(made["tools"]["view_image"].as_bool(), Some(true), "tools that run in the container are unchanged");
    }

    #[tokio::test]
    async fn codex_of_every_version_offers_no_hosted_tool_where_they_are_denied() {
        for codex in CodexCli::tested() {
            // With the second model, versions that know it send the tools in the conversation.
            for name in ["gpt-5.5", "gpt-6.2-sol"] {
                let script = Script::new().turn(Turn::containing("work").says("done"));
                let model = ScriptedModel::start(script).expect("the scripted model starts");
                let settings = CodexConfig::new(model.url()).model(name);
                let base = format!("web_search = \"live\"\n{}", settings.to_toml());
                let home = CodexHome::with_config(&settings);
                let text = config(Some(&base), ModelRoute::Direct, HostedTools::Deny).expect("sound");
                fs_err::write(home.path().join("config.toml"), text).expect("written");
                let folder = tempfile::tempdir().expect("a folder");
                let outcome = codex.exec(&home, folder.path(), "work").await;
                let version = codex.version_number();
                assert_eq!(outcome.messages().last().map(String::as_str), Some("done"), "{version} {name}: {outcome:?}");
                let asked = model.requests().into_iter().find(|request| request.method == "POST").expect("a request arrived");
                let asked = asked.body.to_string();
                assert!(asked.contains("\"type\":\"function\""), "{version} {name}");
                for hosted in ["\"web_search\"", "\"image_generation\"", "\"web_search_preview\""] {
                    assert!(!asked.contains(hosted), "{version} {name}: {hosted}");
                }
                assert!(!format!("{outcome:?}").contains("deprecated"), "{version} warns about the settings: {outcome:?}");
            }
        }
    }

    #[test]
    fn a_note_follows_the_users_own_instructions() {
        let instructions = |base: &str| {
            let table: Table = with_note(base, "note").expect("sound").parse().expect("toml");
            table["developer_instructions"].as_str().expect("text").to_owned()
        };
        assert_eq!(instructions("model = \"m\""), "note");
        assert_eq!(instructions("developer_instructions = \"\""), "note");
        assert_eq!(instructions("developer_instructions = \"own\\n\""), "own\n\nnote");
        assert_eq!(with_note("model = ", "note").expect_err("torn").code, ErrorCode::CodexConfig);
    }

    #[tokio::test]
    async fn codex_of_every_version_passes_the_note_to_the_model() {
        let note = "About your environment:\n- You work in a \"container\".\n";
        for codex in CodexCli::tested() {
            let script = Script::new().turn(Turn::containing("work").says("done"));
            let model = ScriptedModel::start(script).expect("the scripted model starts");
            let settings = CodexConfig::new(model.url());
            let home = CodexHome::with_config(&settings);
            let text = config(Some(&settings.to_toml()), ModelRoute::Direct, HostedTools::Allow).expect("sound");
            let text = with_note(&text, note).expect("sound");
            fs_err::write(home.path().join("config.toml"), text).expect("written");
            let folder = tempfile::tempdir().expect("a folder");
            let outcome = codex.exec(&home, folder.path(), "work").await;
            let version = codex.version_number();
            assert_eq!(outcome.messages().last().map(String::as_str), Some("done"), "{version}: {outcome:?}");
            let asked = model.requests().into_iter().find(|request| request.method == "POST").expect("a request arrived");
            let input = asked.body["input"].as_array().expect("a list").clone();
            let is_note =
                |item: &&serde_json::Value| item["role"] == "developer" && item["content"].to_string().contains("About your env");
            let found: Vec<_> = input.iter().filter(is_note).collect();
            assert_eq!(found.len(), 1, "{version}: {input:?}");
            let texts: Vec<_> =
                found[0]["content"].as_array().expect("a list").iter().filter_map(|part| part["text"].as_str()).collect();
            assert!(texts.iter().any(|text| text.contains(note.trim_end())), "{version}: {texts:?}");
        }
    }

    #[test]
    fn a_broker_is_the_only_way_to_the_model() {
        let base = "model_provider = \"mine\"\n[model_providers.mine]\nbase_url = \"http://x\"\n";
        let made: Table = config(Some(base), ModelRoute::Broker, HostedTools::Allow).expect("sound").parse().expect("toml");
        assert_eq!(made["model_provider"].as_str(), Some(PROVIDER));
        let provider = &made["model_providers"][PROVIDER];
        assert_eq!(provider["base_url"].as_str(), Some("http://127.0.0.1:8317/v1"));
        assert_eq!(provider["env_key"].as_str(), Some(TOKEN_VARIABLE));
        assert!(made["model_providers"]["mine"].is_table(), "the other providers are unchanged");
    }

    #[test]
    fn settings_that_are_none_are_refused() {
        assert_eq!(
            config(Some("model = "), ModelRoute::Direct, HostedTools::Allow).expect_err("torn").code,
            ErrorCode::CodexConfig
        );
    }
}
