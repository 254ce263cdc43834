//! The forms of single values: sizes, counts, lists, paths and names. Each refusal names the variable and shows the form.
//! Pure. No path is looked at, and no value is guessed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// A value that cannot be used, and the form it should have.
pub(super) fn unusable(name: &str, value: &str, form: &str) -> Failure {
    Failure::new("setting_unusable", format!("{name} is `{}`, which cannot be used", value.escape_debug()))
        .hint(format!("it takes {form}"))
}

/// Names or hosts with commas between them.
pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// `512m`, `4g`, or plain bytes; at least one mebibyte.
pub(super) fn bytes(name: &str, text: &str) -> Result<u64, Failure> {
    let parsed = model::size::parse_size(text);
    parsed.filter(|bytes| *bytes >= 1 << 20).ok_or_else(|| unusable(name, text, "a size of at least 1m, as in 512m or 4g"))
}

/// A number of processors, which need not be whole.
pub(super) fn cpus(name: &str, text: &str) -> Result<f64, Failure> {
    let parsed = text.trim().parse::<f64>().ok().filter(|cpus| cpus.is_finite() && (0.01..=4096.0).contains(cpus));
    parsed.ok_or_else(|| unusable(name, text, "a number of processors, as in 2 or 0.5"))
}

/// How many processes. Fewer than this and Codex itself cannot start its tools.
pub(super) fn count(name: &str, text: &str) -> Result<u32, Failure> {
    let parsed = text.trim().parse::<u32>().ok().filter(|count| (64..=4_000_000).contains(count));
    parsed.ok_or_else(|| unusable(name, text, "a number of processes, at least 64"))
}

/// A whole number above zero.
pub(super) fn whole(name: &str, text: &str) -> Result<u64, Failure> {
    text.trim().parse::<u64>().ok().filter(|count| *count > 0).ok_or_else(|| unusable(name, text, "a whole number above 0"))
}

/// A path, against the caller's folder. Engines take `:` for the end of a path, so it cannot be part of one.
pub(super) fn absolute(name: &str, text: &str, base: &Path) -> Result<PathBuf, Failure> {
    if text.contains(['\0', '\n']) {
        return Err(unusable(name, text, "a path without line breaks"));
    }
    Ok(base.join(text))
}

/// `host=container`, with `:` between several.
pub(super) fn mapped(name: &str, text: &str, base: &Path) -> Result<Vec<(PathBuf, String)>, Failure> {
    let pairs = text.split(':').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let parts = pair.split_once('=').filter(|(source, target)| !source.is_empty() && target.starts_with('/'));
            let (source, target) =
                parts.ok_or_else(|| unusable(name, pair, "`host=container` with an absolute path on the right"))?;
            Ok((absolute(name, source, base)?, target.to_owned()))
        })
        .collect()
}

/// `key=value` with commas between several.
pub(super) fn labels(name: &str, text: &str) -> Result<BTreeMap<String, String>, Failure> {
    list(text).map(|item| label(name, item)).collect()
}

/// One `key=value`.
pub(crate) fn label(name: &str, text: &str) -> Result<(String, String), Failure> {
    let known = |key: &&str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let parts = text.split_once('=').filter(|(key, _)| known(key));
    let (key, value) = parts.ok_or_else(|| unusable(name, text, "`key=value`"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// As engines want it.
pub(super) fn container_name(name: &str) -> Result<(), Failure> {
    let mut bytes = name.bytes();
    let starts = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let goes_on = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if starts && goes_on && name.len() <= 128 {
        Ok(())
    } else {
        Err(unusable("CONTAINER_NAME", name, "letters, digits, `-`, `_` and `.`"))
    }
}

/// What a shell takes for the name of a variable.
pub(super) fn is_variable_name(name: &str) -> bool {
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    starts && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
