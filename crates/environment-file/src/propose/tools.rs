//! Which tools and versions from the files of other programs a description can choose.
//!
//! Pure tables: names and versions in, the same in the spelling of a description out.

use model::setup::{ToolName, ToolVersion};

/// The tools whose version a description can choose.
const TOOLS: &[&str] = &["go", "java", "node", "python", "rust"];

/// Other names of the tools.
const ALIASES: &[(&str, &str)] = &[("golang", "go"), ("nodejs", "node"), ("openjdk", "java"), ("python3", "python")];

/// What a description can make of the name and version of a tool.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ToolChoice {
    /// This version of this tool.
    Chosen(ToolName, ToolVersion),
    /// A description cannot choose the version of this tool.
    OtherTool,
    /// This is not a version, but for example a range or `latest`.
    OtherVersion,
}

/// Returns the tools whose version a description can choose, as words of a sentence.
pub(super) fn list() -> String {
    let names: Vec<String> = TOOLS.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// Returns the tool and the version in the spelling of a description.
pub(super) fn choice(name: &str, version: &str) -> ToolChoice {
    let name = name.trim().to_ascii_lowercase();
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name.as_str(), |(_, tool)| tool);
    let Some(tool) = TOOLS.contains(&name).then(|| ToolName::parse(name)).flatten() else { return ToolChoice::OtherTool };
    let version = version.trim();
    let version = match name {
        "java" => java(version),
        // A toolchain of rustup can also be a channel, such as `stable` or `nightly-2026-01-01`.
        "rust" if version == "latest" => Some("stable"),
        "rust" => Some(version),
        _ => plain(version),
    };
    match version.and_then(ToolVersion::parse) {
        Some(version) => ToolChoice::Chosen(tool, version),
        None => ToolChoice::OtherVersion,
    }
}

/// Returns a version that starts with a number. A `v` before it is ignored.
fn plain(version: &str) -> Option<&str> {
    let version = version.strip_prefix('v').unwrap_or(version);
    let version = version.strip_suffix(".x").or_else(|| version.strip_suffix(".*")).unwrap_or(version);
    version.starts_with(|c: char| c.is_ascii_digit()).then_some(version)
}

/// Returns the major version, such as `21` for `temurin-21.0.2` and `8` for `1.8`.
fn java(version: &str) -> Option<&str> {
    let number = version.rsplit('-').find(|part| part.starts_with(|c: char| c.is_ascii_digit()))?;
    let number = number.strip_prefix("1.").unwrap_or(number);
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number.get(..end).filter(|major| !major.is_empty())
}

/// Returns the version of a range that names one, such as `22` for `^22.1.0` or `20 || 22`.
pub(super) fn of_range(range: &str) -> Option<String> {
    let last = range.rsplit("||").next()?.trim();
    let (digits, kept) = match last.split_at_checked(1)? {
        ("^", rest) => (rest, 1),
        ("~", rest) => (rest, 2),
        ("=", rest) => (rest, usize::MAX),
        _ => (last, usize::MAX),
    };
    let parts: Vec<&str> = digits.trim().trim_start_matches('v').split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let numbers: Vec<&str> = parts.iter().copied().take_while(is_number).collect();
    let is_rest_open = parts.iter().skip(numbers.len()).all(|part| matches!(*part, "x" | "X" | "*"));
    let is_version = !numbers.is_empty() && is_rest_open;
    is_version.then(|| numbers.into_iter().take(kept).collect::<Vec<_>>().join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions_have_one_spelling() {
        let check = |name: &str, version: &str, expect: &str| match choice(name, version) {
            ToolChoice::Chosen(name, version) => assert_eq!(format!("{name} {version}"), expect),
            other => panic!("{name} {version}: {other:?}"),
        };
        check("node", "v22.1.0\n", "node 22.1.0");
        check("nodejs", "22.x", "node 22");
        check("Python", "3.13t", "python 3.13t");
        check("golang", "1.24", "go 1.24");
        check("java", "temurin-21.0.2+13.0.LTS", "java 21");
        check("java", "openjdk64-17.0.1", "java 17");
        check("java", "1.8", "java 8");
        check("java", "21.0.2-tem", "java 21");
        check("rust", "nightly-2026-01-01", "rust nightly-2026-01-01");
        check("rust", "latest", "rust stable");
    }

    #[test]
    fn other_tools_and_versions_are_not_chosen() {
        assert_eq!(choice("terraform", "1.5"), ToolChoice::OtherTool);
        for (name, version) in [
            ("node", "lts/*"),
            ("node", ">=18"),
            ("python", "pypy3.10"),
            ("java", "latest"),
            ("node", "22; rm"),
            ("rust", ""),
            ("java", "graalvm-"),
        ] {
            assert_eq!(choice(name, version), ToolChoice::OtherVersion, "{name} {version}");
        }
    }

    #[test]
    fn a_range_names_a_version_or_none() {
        let check = |range: &str, expect: Option<&str>| assert_eq!(of_range(range).as_deref(), expect, "{range}");
        check("22", Some("22"));
        check("22.x", Some("22"));
        check("^22.1.0", Some("22"));
        check("~22.1.0", Some("22.1"));
        check("=22.1.0", Some("22.1.0"));
        check("18 || 20 || 22", Some("22"));
        check("v22.1", Some("22.1"));
        check(">=18", None);
        check(">=18 <23", None);
        check("18 - 22", None);
        check("*", None);
        check("", None);
        check("é", None);
        check("22.1-beta", None);
    }
}
