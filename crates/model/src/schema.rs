//! The parts of JSON Schema patterns: each type that parses text describes the accepted text in the `OpenAPI` document with them.
//!
//! Patterns use only what Rust, JavaScript and Python understand in the same way: no `\s`, `\w` or `.`. A pattern counts characters, so
//! a type that limits bytes accepts fewer texts than its pattern if they contain characters outside of ASCII. Invariant: apart from that,
//! a pattern matches exactly the text that its type accepts. The tests of the types prove this with `tests::agree`.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaFormat, Type};

/// White space as removed by [`str::trim`], for a character class.
pub const SPACE: &str = r"\t-\r\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000";

/// Control characters, for a character class.
pub(crate) const CONTROL: &str = r"\x00-\x1f\x7f-\x9f";

/// Returns the schema of a text. `description` is a doc comment.
pub fn text(description: &str, pattern: impl Into<String>) -> ObjectBuilder {
    let description = description.trim();
    let description = (!description.is_empty()).then_some(description);
    ObjectBuilder::new().schema_type(Type::String).description(description).pattern(Some(pattern))
}

/// Returns the schema of a text with a format that is known by this name.
pub(crate) fn formatted(description: &str, format: &str, pattern: impl Into<String>) -> RefOr<Schema> {
    text(description, pattern).format(Some(SchemaFormat::Custom(format.to_owned()))).into()
}

/// Returns the schema of one of a few texts.
pub(crate) fn one_of(description: &str, values: &[&str]) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description.trim()))
        .enum_values(Some(values.iter().copied()))
        .into()
}

/// Returns the pattern of text that is trimmed, and then matches `core`.
pub(crate) fn trimmed(core: &str) -> String {
    format!("^[{SPACE}]*(?:{core})[{SPACE}]*$")
}

/// Returns the pattern of a printable line of at most `longest` characters after it is trimmed.
pub(crate) fn line(longest: usize) -> String {
    let (edge, inner) = (format!("[^{CONTROL}{SPACE}]"), longest.saturating_sub(2));
    trimmed(&format!("{edge}(?:[^{CONTROL}]{{0,{inner}}}{edge})?"))
}

/// Implements [`utoipa::ToSchema`] for a type whose schema is an expression. The doc comment describes the schema.
#[macro_export]
macro_rules! described {
    ($name:ty, $schema:expr) => {
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                $schema.into()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

/// Defines a type that only describes text in a request. The request itself contains a `String`, which the engine parses.
#[macro_export]
macro_rules! text_in_requests {
    ($(#[doc = $doc:literal])+ $vis:vis $name:ident, |$description:ident| $schema:expr) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy)]
        $vis struct $name;

        $crate::described!($name, {
            let $description = concat!($($doc, "\n"),+);
            $schema
        });
    };
}

pub use crate::{described, text_in_requests};

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use serde_json::Value;
    use utoipa::ToSchema;

    use super::*;

    /// Returns whether the schema of `T` allows a text.
    pub(crate) fn allows<T: ToSchema>() -> impl Fn(&str) -> bool {
        let schema = serde_json::to_value(T::schema()).expect("a schema is valid JSON");
        let validator = jsonschema::validator_for(&schema).expect("the schema is valid");
        move |text| validator.is_valid(&Value::from(text))
    }

    /// Checks that a parser accepts exactly the texts that the schema of `T` allows: `samples`, short samples in which a part is replaced, and
    /// texts that consist of `pieces`.
    pub(crate) fn agree<T: ToSchema>(accepts: impl Fn(&str) -> bool, samples: &[&str], pieces: &'static [&'static str]) {
        let allows = allows::<T>();
        let check = |text: &str| {
            assert_eq!(allows(text), accepts(text), "schema (left) and parser (right) disagree about {text:?}");
            accepts(text)
        };
        let accepted = samples.iter().filter(|sample| check(sample)).count();
        assert!(accepted > 0, "the parser accepts a sample");
        let piece = proptest::sample::select(pieces);
        let soup = proptest::collection::vec(piece.clone(), 0..12).prop_map(|pieces| pieces.concat());
        // Long samples test a limit, which patterns count in characters.
        let whole: Vec<String> = samples.iter().filter(|sample| sample.len() < 100).map(|&sample| sample.to_owned()).collect();
        let changed = (proptest::sample::select(whole), any::<prop::sample::Index>(), 0..3_usize, piece).prop_map(
            |(sample, at, removed, piece)| {
                let mut letters: Vec<char> = sample.chars().collect();
                let at = at.index(letters.len() + 1);
                let end = (at + removed).min(letters.len());
                letters.splice(at..end, piece.chars());
                letters.into_iter().collect::<String>()
            },
        );
        // With a fixed seed, every run checks the same texts.
        let rng_seed = proptest::test_runner::RngSeed::Fixed(1);
        let config = ProptestConfig { cases: 4000, failure_persistence: None, rng_seed, ..ProptestConfig::default() };
        proptest!(config, |(text in prop_oneof![soup, changed, any::<String>()])| { check(&text); });
    }

    #[test]
    fn the_classes_match_the_characters_of_rust() {
        for (class, expect) in [(SPACE, char::is_whitespace as fn(char) -> bool), (CONTROL, char::is_control)] {
            let schema = serde_json::json!({ "pattern": format!("^[{class}]$") });
            let validator = jsonschema::validator_for(&schema).expect("the pattern is valid");
            for letter in ('\0'..='\u{ffff}').chain(['🦀']) {
                assert_eq!(validator.is_valid(&Value::from(letter.to_string())), expect(letter), "{class} {letter:?}");
            }
        }
    }
}
