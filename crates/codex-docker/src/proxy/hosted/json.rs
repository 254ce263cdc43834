//! JSON with exactly one meaning: the order of keys is kept, and no key appears twice.
//!
//! Two parsers can read a text differently, for example if a key appears twice. The value that was parsed here is serialized
//! again before it is sent, so the next reader sees what was checked. The number of values is limited, to bound the memory.

use std::cell::Cell;
use std::fmt;

use indexmap::IndexMap;
use indexmap::map::Entry;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::Number;

/// The maximum number of values in one text. The longest conversations have a tenth of that.
const VALUES: usize = 400_000;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Json>),
    Object(Object),
}

/// An object whose keys are unique and ordered.
pub(super) type Object = IndexMap<String, Json>;

impl Json {
    /// Parses a text.
    pub(super) fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        let values = Cell::new(0);
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let json = Reader { values: &values }.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(json)
    }

    /// Returns the text if this is a string.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::List(_) | Self::Object(_) => None,
        }
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(values) => serializer.collect_seq(values),
            Self::Object(fields) => serializer.collect_map(fields),
        }
    }
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    values: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        self.values.set(self.values.get() + 1);
        if self.values.get() > VALUES {
            return Err(D::Error::custom(format!("more than {VALUES} values")));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Json, E> {
        Number::from_f64(value).map(Json::Number).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = access.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Json::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut fields = Object::new();
        while let Some(key) = access.next_key::<String>()? {
            match fields.entry(key) {
                // The error does not repeat the key, because an agent may have chosen it.
                Entry::Occupied(_) => return Err(A::Error::custom("a key appears twice in an object")),
                Entry::Vacant(place) => {
                    place.insert(access.next_value_seed(self)?);
                }
            }
        }
        Ok(Json::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_out_as_it_went_in() {
        for text in [
            r#"{"z":1,"a":[null,true,-5,18446744073709551615,1.5,"\u00e4\n"],"m":{"b":{},"a":[]}}"#,
            "[]",
            r#""text""#,
            r#"{"":0}"#,
        ] {
            let written = serde_json::to_string(&Json::parse(text.as_bytes()).expect(text)).expect("JSON");
            assert_eq!(written, text.replace("\\u00e4", "ä"), "{text}");
        }
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for text in [
            r#"{"tools":[],"tools":[1]}"#,
            r#"{"a":{"b":1,"c":2,"b":3}}"#,
            r#"{"tools":[],"tool\u0073":[1]}"#,
            "{} {}",
            "{}x",
            "{\"a\":1,}",
            "{'a':1}",
            "{\"a\":NaN}",
            "[1e999]",
            "[\"\\ud800\"]",
            "/* */{}",
            "\u{feff}{}",
            "",
        ] {
            assert!(Json::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(Json::parse(b"\"\xff\"").is_err());
        assert!(Json::parse("[".repeat(1000).as_bytes()).is_err(), "too deep");
        assert!(Json::parse(format!("[{}0]", "0,".repeat(VALUES)).as_bytes()).is_err(), "too many");
    }
}
