//! Parses single values: sizes, counts, lists, paths and names. Each error names the variable and shows the expected form.
//! Pure: this module does not check whether a path exists.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use model::ErrorCode;

/// Returns the error for an invalid value, with the expected form as a hint.
pub(super) fn unusable(name: &str, value: &str, form: &str) -> Failure {
    Failure::new(ErrorCode::SettingUnusable, format!("invalid {name}: `{}`", value.escape_debug())).hint(format!("use {form}"))
}

/// Splits a comma-separated list.
pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Parses a size such as `512m`, `4g` or a number of bytes. The minimum is 1 MiB.
pub(super) fn bytes(name: &str, text: &str) -> Result<u64, Failure> {
    let parsed = model::size::parse_size(text);
    parsed.filter(|bytes| *bytes >= 1 << 20).ok_or_else(|| unusable(name, text, "a size of at least 1m, e.g. 512m or 4g"))
}

/// Parses a number of processors, which may have a fraction.
pub(super) fn cpus(name: &str, text: &str) -> Result<f64, Failure> {
    let parsed = text.trim().parse::<f64>().ok().filter(|cpus| cpus.is_finite() && (0.01..=4096.0).contains(cpus));
    parsed.ok_or_else(|| unusable(name, text, "a number of processors, e.g. 2 or 0.5"))
}

/// Parses a number of processes. With fewer than 64, Codex cannot start its tools.
pub(super) fn count(name: &str, text: &str) -> Result<u32, Failure> {
    let parsed = text.trim().parse::<u32>().ok().filter(|count| (64..=4_000_000).contains(count));
    parsed.ok_or_else(|| unusable(name, text, "a number of processes (at least 64)"))
}

/// Parses a positive integer.
pub(super) fn whole(name: &str, text: &str) -> Result<u64, Failure> {
    text.trim()
        .parse::<u64>()
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| unusable(name, text, "a whole number greater than 0"))
}

/// Resolves a path relative to the caller's folder. Line breaks are refused.
pub(super) fn absolute(name: &str, text: &str, base: &Path) -> Result<PathBuf, Failure> {
    if text.contains(['\0', '\n']) {
        return Err(unusable(name, text, "a path without line breaks"));
    }
    Ok(base.join(text))
}

/// Parses pairs of the form `host=container`, separated by colons.
pub(super) fn mapped(name: &str, text: &str, base: &Path) -> Result<Vec<(PathBuf, String)>, Failure> {
    let pairs = text.split(':').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let parts = pair.split_once('=').filter(|(source, target)| !source.is_empty() && target.starts_with('/'));
            let (source, target) =
                parts.ok_or_else(|| unusable(name, pair, "`host=container`, with an absolute path in the container"))?;
            Ok((absolute(name, source, base)?, target.to_owned()))
        })
        .collect()
}

/// Parses labels of the form `key=value`, separated by commas.
pub(super) fn labels(name: &str, text: &str) -> Result<BTreeMap<String, String>, Failure> {
    list(text).map(|item| label(name, item)).collect()
}

/// Parses a label of the form `key=value`.
pub(crate) fn label(name: &str, text: &str) -> Result<(String, String), Failure> {
    let known = |key: &&str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let parts = text.split_once('=').filter(|(key, _)| known(key));
    let (key, value) = parts.ok_or_else(|| unusable(name, text, "`key=value`"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Checks the name of a container against the rules of container engines.
pub(super) fn container_name(name: &str) -> Result<(), Failure> {
    let mut bytes = name.bytes();
    let starts = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let goes_on = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if starts && goes_on && name.len() <= 128 {
        Ok(())
    } else {
        Err(unusable("CONTAINER_NAME", name, "up to 128 letters, digits, `-`, `_` and `.`, starting with a letter or digit"))
    }
}

/// Parses the name of an image with a tag.
pub(crate) fn image_name(variable: &str, name: &str) -> Result<String, Failure> {
    let valid = split_image_name(name).map(|_| name.to_owned());
    valid.ok_or_else(|| unusable(variable, name, "a name in lower case with a tag, e.g. team/app:1"))
}

/// Splits the name of an image into its repository and tag.
pub(crate) fn split_image_name(name: &str) -> Option<(&str, &str)> {
    let (repository, tag) = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'))?;
    let is_lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_./:".contains(&byte);
    let in_tag = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_valid = !repository.is_empty() && !tag.is_empty() && tag.len() <= 128;
    (is_valid && repository.bytes().all(is_lower) && tag.bytes().all(in_tag)).then_some((repository, tag))
}

/// Returns whether a shell accepts this as the name of a variable.
pub(super) fn is_variable_name(name: &str) -> bool {
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    starts && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
