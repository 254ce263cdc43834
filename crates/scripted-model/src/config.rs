//! A Codex configuration with the scripted model as the only provider.
//!
//! Every tested version of Codex accepts this configuration and ignores unknown keys. Codex then connects only to the model: it does
//! not check for updates, send telemetry, or download a plugin catalog. It needs neither a key nor a login.

use std::fmt::Write;
use std::time::Duration;

/// The settings that a test can change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodexConfig {
    base_url: String,
    model: String,
    retries: Option<u32>,
    idle_timeout: Option<Duration>,
    env_key: Option<String>,
}

/// Returns a `config.toml` for Codex with the model server at `base_url` (see [`crate::ScriptedModel::url`]).
pub fn codex_config(base_url: &str) -> String {
    CodexConfig::new(base_url).to_toml()
}

impl CodexConfig {
    /// Creates a configuration with Codex's default retries and time limits.
    pub fn new(base_url: impl Into<String>) -> Self {
        Self { base_url: base_url.into(), model: "gpt-5.5".to_owned(), retries: None, idle_timeout: None, env_key: None }
    }

    /// Sets the model. The tools that Codex offers depend on the model.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = model.into();
        self
    }

    /// Sets the number of retries for requests (default: four) and for streams (default: five).
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = Some(retries);
        self
    }

    /// Sets the time after which Codex gives up on a silent stream.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// Sets the name of the environment variable with the API key. Codex fails if the variable is not set.
    pub fn env_key(mut self, variable: impl Into<String>) -> Self {
        self.env_key = Some(variable.into());
        self
    }

    /// Returns the text of `config.toml`.
    pub fn to_toml(&self) -> String {
        let mut text = format!(
            "model = {model}\nmodel_provider = \"scripted\"\ncheck_for_update_on_startup = false\n\n\
             [analytics]\nenabled = false\n\n\
             [features]\nplugins = false\nshell_snapshot = false\nunbounded_connection_retries = false\n\n\
             [tools.update_plan]\nenabled = true\n\n\
             [model_providers.scripted]\nname = \"scripted\"\nbase_url = {url}\nwire_api = \"responses\"\n",
            model = quoted(&self.model),
            url = quoted(&self.base_url),
        );
        let mut line = |key: &str, value: String| {
            writeln!(text, "{key} = {value}").expect("writing to a string cannot fail");
        };
        if let Some(retries) = self.retries {
            line("request_max_retries", retries.to_string());
            line("stream_max_retries", retries.to_string());
        }
        if let Some(timeout) = self.idle_timeout {
            line("stream_idle_timeout_ms", timeout.as_millis().to_string());
        }
        if let Some(variable) = &self.env_key {
            line("env_key", quoted(variable));
        }
        text
    }
}

/// Returns a TOML basic string. TOML accepts all escapes of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_leaves_codex_its_own_patience() {
        let text = codex_config("http://127.0.0.1:1/v1");
        assert!(text.contains("base_url = \"http://127.0.0.1:1/v1\"\n"), "{text}");
        for absent in ["max_retries", "idle_timeout", "env_key"] {
            assert!(!text.contains(absent), "{absent} in {text}");
        }
    }

    #[test]
    fn what_is_asked_for_stands_in_the_providers_table() {
        let config = CodexConfig::new("http://x/v1").model("gpt-6").retries(0).idle_timeout(Duration::from_secs(5)).env_key("K");
        let text = config.to_toml();
        let (_, provider) = text.split_once("[model_providers.scripted]").expect("the table exists");
        let expect = "\nname = \"scripted\"\nbase_url = \"http://x/v1\"\nwire_api = \"responses\"\nrequest_max_retries = 0\n\
                      stream_max_retries = 0\nstream_idle_timeout_ms = 5000\nenv_key = \"K\"\n";
        assert_eq!(provider, expect);
        assert!(text.starts_with("model = \"gpt-6\"\n"), "{text}");
    }

    #[test]
    fn quotes_in_a_value_do_not_end_it() {
        assert_eq!(quoted("a\"b\\c"), r#""a\"b\\c""#);
    }
}
