//! Conversions between the values of settings and text.
//!
//! Forms, command-line flags and `env config` use these conversions. JSON uses serde.

use serde::{Deserialize, Deserializer};

use crate::names::shown;
use crate::problem::Problem;

/// A value in a record.
pub(crate) trait Stored: Default + PartialEq {
    /// Returns the value as text: one item per list element, or none for the default.
    fn texts(&self) -> Vec<String>;

    /// Returns whether JSON omits the value.
    fn is_omitted(&self) -> bool {
        *self == Self::default()
    }
}

/// A single value that can be written as text.
pub(crate) trait Text: PartialEq {
    /// Returns the value as a user would type it.
    fn text(&self) -> String;
}

impl<T: Text> Stored for Option<T> {
    fn texts(&self) -> Vec<String> {
        self.iter().map(Text::text).collect()
    }
}

impl<T: Text> Stored for Vec<T> {
    fn texts(&self) -> Vec<String> {
        self.iter().map(Text::text).collect()
    }
}

impl Stored for u32 {
    fn texts(&self) -> Vec<String> {
        if self.is_omitted() { vec![] } else { vec![self.text()] }
    }
}

impl Stored for bool {
    fn texts(&self) -> Vec<String> {
        if self.is_omitted() { vec![] } else { vec![self.text()] }
    }
}

impl Text for bool {
    fn text(&self) -> String {
        if *self { "on" } else { "off" }.to_owned()
    }
}

/// Implements [`Text`] for types with a suitable `Display`.
macro_rules! text_by_display {
    ($($type:ty),+) => {
        $(impl $crate::settings::Text for $type {
            fn text(&self) -> String {
                self.to_string()
            }
        })+
    };
}

/// Implements [`Text`] for types with `as_str`.
macro_rules! text_by_as_str {
    ($($type:ty),+) => {
        $(impl $crate::settings::Text for $type {
            fn text(&self) -> String {
                self.as_str().to_owned()
            }
        })+
    };
}

pub(crate) use text_by_as_str;

text_by_display!(String, u32, u64, f64, crate::names::Setting, crate::names::RepositoryUrl);

/// A value in a request.
pub(crate) trait Requested: Sized {
    /// Parses the value of the setting `key`. An empty list requests the default and returns `None`.
    fn from_texts(key: &str, texts: &[String], refused: fn(String) -> Problem) -> Result<Option<Self>, Problem>;
}

fn single<'a>(key: &str, texts: &'a [String], refused: fn(String) -> Problem) -> Result<Option<&'a str>, Problem> {
    match texts {
        [] => Ok(None),
        [text] => Ok(Some(text)),
        several => Err(refused(format!("`{key}` accepts one value, but {} were given", several.len()))),
    }
}

impl Requested for String {
    fn from_texts(key: &str, texts: &[String], refused: fn(String) -> Problem) -> Result<Option<Self>, Problem> {
        Ok(single(key, texts, refused)?.map(str::to_owned))
    }
}

impl Requested for Vec<String> {
    fn from_texts(_: &str, texts: &[String], _: fn(String) -> Problem) -> Result<Option<Self>, Problem> {
        Ok((!texts.is_empty()).then(|| texts.to_vec()))
    }
}

impl Requested for bool {
    fn from_texts(key: &str, texts: &[String], refused: fn(String) -> Problem) -> Result<Option<Self>, Problem> {
        match single(key, texts, refused)? {
            None => Ok(None),
            Some("on" | "yes" | "true") => Ok(Some(true)),
            Some("off" | "no" | "false") => Ok(Some(false)),
            Some(other) => Err(refused(format!("invalid value `{}` for `{key}`", shown(other))).hint("use `on` or `off`")),
        }
    }
}

macro_rules! requested_numbers {
    ($($type:ty),+) => {
        $(impl Requested for $type {
            fn from_texts(key: &str, texts: &[String], refused: fn(String) -> Problem) -> Result<Option<Self>, Problem> {
                let parse = |text: &str| {
                    text.trim().parse().map_err(|_| refused(format!("invalid number `{}` for `{key}`", shown(text))))
                };
                single(key, texts, refused)?.map(parse).transpose()
            }
        })+
    };
}

requested_numbers!(u32, u64, f64);

/// Deserializes a field of a merge patch: `null` becomes `Some(None)`, and an absent field stays `None`.
pub fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
