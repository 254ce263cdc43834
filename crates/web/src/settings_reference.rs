//! The text of `docs/settings.md`, generated from the tables of settings.
//!
//! A test compares the committed file with the generated text.

/// Returns the reference of all settings as Markdown.
pub fn settings_reference() -> String {
    format!("# Settings\n\n{}\n{}", config::reference(), protocol::settings::reference())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_reference_is_up_to_date() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md");
        let committed = std::fs::read_to_string(file).unwrap_or_default();
        assert!(committed == settings_reference(), "docs/settings.md is out of date: run `cargo xtask docs`");
    }
}
