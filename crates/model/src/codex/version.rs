//! Parses the output of `codex --version` and decides which versions are supported. An unreadable version is never treated as
//! the newest or the oldest one.

use std::fmt;

/// A released version, such as 0.169.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CodexVersion([u32; 3]);

impl CodexVersion {
    /// Parses a line such as `codex-cli 0.169.0`. A suffix such as `-alpha.1` is ignored.
    pub fn parse(line: &str) -> Option<Self> {
        let word = line.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
        let numbers = word.split(['-', '+']).next()?;
        let mut parts = numbers.split('.').map(|part| part.parse().ok());
        let version = Self([parts.next()??, parts.next()??, parts.next()??]);
        parts.next().is_none().then_some(version)
    }

    /// Returns whether the output and the sessions of this version are supported.
    pub fn is_usable(self) -> bool {
        Self::parse(crate::OLDEST_CODEX_VERSION).is_some_and(|oldest| self >= oldest)
    }
}

impl fmt::Display for CodexVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_codex_says_of_itself_is_read() {
        for (line, expect) in
            [("codex-cli 0.169.0", "0.169.0"), ("codex 0.75.0\n", "0.75.0"), ("codex-cli 1.0.0-alpha.3", "1.0.0")]
        {
            assert_eq!(CodexVersion::parse(line).expect(line).to_string(), expect);
        }
    }

    #[test]
    fn what_is_no_version_is_none() {
        for line in ["", "codex-cli", "codex-cli 0.169", "codex-cli 1.2.3.4", "codex-cli 1.x.3", "command not found"] {
            assert_eq!(CodexVersion::parse(line), None, "{line}");
        }
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        let usable = |line: &str| CodexVersion::parse(line).expect(line).is_usable();
        assert!(usable("codex-cli 0.75.0") && usable("codex-cli 0.169.0") && usable("codex-cli 1.0.0"));
        assert!(!usable("codex-cli 0.9.0") && !usable("codex-cli 0.74.9"));
    }

    #[test]
    fn the_pinned_version_is_usable() {
        assert!(CodexVersion::parse(crate::CODEX_VERSION).expect("the version is valid").is_usable());
    }
}
