//! The settings of a Codex whose home is the container's own.
//!
//! Pure: from the settings to start from to the text of `config.toml`. What would call home or wait for ever is off, whatever
//! the settings to start from say, and a broker is the only model provider where there is one.

use toml::{Table, Value};

use crate::failure::Failure;
use crate::inside;

/// The variable with the run's own token for the broker.
pub(crate) const TOKEN_VARIABLE: &str = "CODEX_DOCKER_RUN_TOKEN";

/// The name of the broker among Codex's model providers.
const PROVIDER: &str = "codex-docker";

/// Switches that are ours to set.
const FEATURES: &[&str] = &["plugins", "unbounded_connection_retries", "apps"];

/// The text of `config.toml`.
pub(crate) fn config(base: Option<&str>, has_broker: bool) -> Result<String, Failure> {
    let mut table: Table = base.unwrap_or_default().parse().map_err(|error: toml::de::Error| {
        Failure::new("codex_config", format!("the settings for Codex cannot be understood: {}", error.message()))
            .hint("CODEX_DOCKER_CONFIG must name a config.toml as Codex takes it")
    })?;
    table.insert("check_for_update_on_startup".to_owned(), Value::Boolean(false));
    table.insert("cli_auth_credentials_store".to_owned(), Value::String("file".to_owned()));
    below(&mut table, "analytics").insert("enabled".to_owned(), Value::Boolean(false));
    let features = below(&mut table, "features");
    features.extend(FEATURES.iter().map(|name| ((*name).to_owned(), Value::Boolean(false))));
    if has_broker {
        table.insert("model_provider".to_owned(), Value::String(PROVIDER.to_owned()));
        let address = format!("http://127.0.0.1:{}/v1", inside::BROKER_PORT);
        let fields = [("name", PROVIDER), ("base_url", &address), ("env_key", TOKEN_VARIABLE), ("wire_api", "responses")];
        let provider: Table = fields.into_iter().map(|(key, value)| (key.to_owned(), Value::String(value.to_owned()))).collect();
        below(&mut table, "model_providers").insert(PROVIDER.to_owned(), Value::Table(provider));
    }
    Ok(table.to_string())
}

/// The table of this name, made where it is missing or something else.
fn below<'a>(table: &'a mut Table, name: &str) -> &'a mut Table {
    let entry = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
    if !entry.is_table() {
        *entry = Value::Table(Table::new());
    }
    entry.as_table_mut().expect("it was just made one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_calls_home_is_off_whatever_was_said() {
        let base = "model = \"m\"\ncheck_for_update_on_startup = true\nfeatures = 3\n[analytics]\nenabled = true\n";
        let made: Table = config(Some(base), false).expect("sound").parse().expect("toml");
        assert_eq!(made["model"].as_str(), Some("m"));
        assert_eq!(made["check_for_update_on_startup"].as_bool(), Some(false));
        assert_eq!(made["analytics"]["enabled"].as_bool(), Some(false));
        assert_eq!(made["features"]["unbounded_connection_retries"].as_bool(), Some(false));
        assert!(!made.contains_key("model_provider"));
    }

    #[test]
    fn a_broker_is_the_only_way_to_the_model() {
        let base = "model_provider = \"mine\"\n[model_providers.mine]\nbase_url = \"http://x\"\n";
        let made: Table = config(Some(base), true).expect("sound").parse().expect("toml");
        assert_eq!(made["model_provider"].as_str(), Some(PROVIDER));
        let provider = &made["model_providers"][PROVIDER];
        assert_eq!(provider["base_url"].as_str(), Some("http://127.0.0.1:8317/v1"));
        assert_eq!(provider["env_key"].as_str(), Some(TOKEN_VARIABLE));
        assert!(made["model_providers"]["mine"].is_table(), "the rest is as it was");
    }

    #[test]
    fn settings_that_are_none_are_refused() {
        assert_eq!(config(Some("model = "), false).expect_err("torn").code, "codex_config");
    }
}
