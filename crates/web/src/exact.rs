//! Deserializes request bodies as the `OpenAPI` document describes them, where serde alone does not: a struct is a JSON object and never
//! an array, an enum is a string and never an object, and 3.0 is an integer.
//!
//! It only restricts and converts values; the types decide everything else. Invariant: nested values follow the same rules.

use std::fmt;

use serde::Deserialize;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Unexpected, Visitor};

/// A value that follows the rules of this module.
pub(crate) struct Exact<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Exact<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(Nested(deserializer)).map(Self)
    }
}

/// A deserializer, or a part of one, whose values follow the rules.
struct Nested<T>(T);

/// What a value must be in JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Anything,
    Object,
    Integer,
}

struct Rules<V> {
    visitor: V,
    expect: Expect,
}

/// A visitor of an enum that accepts only the name of a variant.
struct Variant<V>(V);

fn rules<V>(visitor: V, expect: Expect) -> Rules<V> {
    Rules { visitor, expect }
}

macro_rules! integers {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method(rules(visitor, Expect::Integer))
        })+
    };
}

macro_rules! others {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method(rules(visitor, Expect::Anything))
        })+
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Nested<D> {
    type Error = D::Error;

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    others! {
        deserialize_any deserialize_bool deserialize_f32 deserialize_f64 deserialize_char deserialize_str deserialize_string
        deserialize_bytes deserialize_byte_buf deserialize_option deserialize_unit deserialize_seq deserialize_map
        deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_unit_struct(name, rules(visitor, Expect::Anything))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_newtype_struct(name, rules(visitor, Expect::Anything))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple(length, rules(visitor, Expect::Anything))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple_struct(name, length, rules(visitor, Expect::Anything))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_struct(name, fields, rules(visitor, Expect::Object))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_str(Variant(visitor))
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Variant<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<V::Value, E> {
        self.0.visit_enum(StrDeserializer::new(text))
    }
}

macro_rules! visits {
    ($($method:ident($type:ty))+) => {
        $(fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.visitor.$method(value)
        })+
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Rules<V> {
    type Value = V::Value;

    visits! {
        visit_bool(bool) visit_i64(i64) visit_i128(i128) visit_u64(u64) visit_u128(u128) visit_char(char) visit_str(&str)
        visit_borrowed_str(&'de str) visit_string(String) visit_bytes(&[u8]) visit_borrowed_bytes(&'de [u8]) visit_byte_buf(Vec<u8>)
    }

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<V::Value, E> {
        let text = format!("{value:.0}");
        match (text.parse(), text.parse()) {
            (Ok(whole), _) if self.expect == Expect::Integer && value.fract() == 0.0 => self.visitor.visit_u64(whole),
            (_, Ok(whole)) if self.expect == Expect::Integer && value.fract() == 0.0 => self.visitor.visit_i64(whole),
            _ => self.visitor.visit_f64(value),
        }
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(Nested(deserializer))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_newtype_struct(Nested(deserializer))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        match self.expect {
            Expect::Object => Err(A::Error::invalid_type(Unexpected::Seq, &"a JSON object")),
            Expect::Anything | Expect::Integer => self.visitor.visit_seq(Nested(items)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Nested(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_enum(variant)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Nested<A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        self.0.next_element_seed(Nested(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Nested<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.0.next_value_seed(Nested(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Nested<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Nested(deserializer))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Colour {
        Red,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Point {
        x: i64,
        y: u32,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Shape {
        points: Vec<Point>,
        #[serde(default)]
        centre: Option<Point>,
        #[serde(default)]
        named: BTreeMap<String, Point>,
        #[serde(default)]
        colour: Option<Colour>,
        #[serde(default)]
        weight: f64,
    }

    fn read(json: &str) -> Result<Shape, String> {
        serde_json::from_str::<Exact<Shape>>(json).map(|Exact(shape)| shape).map_err(|error| error.to_string())
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let json = r#"{"points": [{"x": -1, "y": 2}], "centre": {"x": 1, "y": 2}, "named": {"a": {"x": 0, "y": 0}},
            "colour": "red", "weight": 1}"#;
        let plain: Shape = serde_json::from_str(json).expect("the JSON is valid");
        assert_eq!(read(json), Ok(plain));
    }

    #[test]
    fn arrays_are_not_objects_at_any_depth() {
        for json in [
            "[[]]",
            r#"{"points": [[1, 2]]}"#,
            r#"{"points": [], "centre": [1, 2]}"#,
            r#"{"points": [], "named": {"a": [1, 2]}}"#,
        ] {
            assert!(serde_json::from_str::<Shape>(json).is_ok(), "serde alone accepts {json}");
            let error = read(json).expect_err(json);
            assert!(error.starts_with("invalid type: sequence, expected a JSON object"), "{error}");
        }
    }

    #[test]
    fn enums_are_only_strings() {
        let json = r#"{"points": [], "colour": {"red": null}}"#;
        assert!(serde_json::from_str::<Shape>(json).is_ok(), "serde alone accepts it");
        assert!(read(json).expect_err("it is an object").starts_with("invalid type: map"));
        assert!(read(r#"{"points": [], "colour": "blue"}"#).expect_err("no such variant").starts_with("unknown variant `blue`"));
    }

    #[test]
    fn whole_numbers_are_integers() {
        let shape = read(r#"{"points": [{"x": -3.0, "y": 4.0}, {"x": 1e2, "y": 0}]}"#).expect("the numbers are whole");
        assert_eq!(shape.points, [Point { x: -3, y: 4 }, Point { x: 100, y: 0 }]);
        for number in ["0.5", "-1.0", "1e10", "1e300"] {
            assert!(read(&format!(r#"{{"points": [{{"x": 0, "y": {number}}}]}}"#)).is_err(), "{number}");
        }
    }
}
