//! Reads `.dockerignore`, with the rules of Docker: the last pattern that matches a path, or a folder above it, decides.
//!
//! Pure. Patterns become regular expressions whose time is linear, because they come from a repository.

use regex::Regex;

/// The maximum size of a `.dockerignore` in bytes.
pub(super) const LIMIT_BYTES: u64 = 256 * 1024;

/// The patterns of a `.dockerignore`.
#[derive(Debug, Default)]
pub(super) struct Ignored {
    patterns: Vec<(Effect, Regex)>,
}

/// What a pattern does to the paths that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    LeaveOut,
    Keep,
}

impl Ignored {
    /// Reads the patterns. Returns the first invalid pattern as the error.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let lines = text.trim_start_matches('\u{feff}').lines().filter(|line| !line.starts_with('#'));
        let lines = lines.map(str::trim).filter(|line| !line.is_empty());
        let patterns = lines.filter_map(|line| {
            let (effect, pattern) = match line.strip_prefix('!') {
                Some(kept) => (Effect::Keep, kept.trim()),
                None => (Effect::LeaveOut, line),
            };
            let pattern = cleaned(pattern);
            // A pattern for the folder itself has no effect.
            let regex = (!pattern.is_empty()).then(|| Regex::new(&expression(&pattern)))?;
            Some(regex.map(|regex| (effect, regex)).map_err(|_| line.to_owned()))
        });
        Ok(Self { patterns: patterns.collect::<Result<_, _>>()? })
    }

    /// Whether the path is omitted. It is relative, without a final `/`.
    pub(super) fn leaves_out(&self, path: &str) -> bool {
        let matches = |regex: &Regex| {
            let folders = path.match_indices('/').map(|(end, _)| &path[..end]);
            folders.chain([path]).any(|one| regex.is_match(one))
        };
        let last = self.patterns.iter().rev().find(|(_, regex)| matches(regex));
        last.is_some_and(|(effect, _)| *effect == Effect::LeaveOut)
    }
}

/// Removes `.`, `..` and empty parts from a pattern, as for a path below the root.
fn cleaned(pattern: &str) -> String {
    let mut parts = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Returns the regular expression of a pattern.
fn expression(pattern: &str) -> String {
    let mut out = "^".to_owned();
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '*' if rest.next_if_eq(&'*').is_some() => {
                rest.next_if_eq(&'/');
                out.push_str(if rest.peek().is_none() { ".*" } else { "(.*/)?" });
            }
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '\\' => out.push_str(&regex::escape(&rest.next().unwrap_or('\\').to_string())),
            '[' => class(&mut out, &mut rest),
            c => out.push_str(&regex::escape(&c.to_string())),
        }
    }
    out + "$"
}

/// Adds a class of characters, such as `[a-z]` or `[^0-9]`. Without its end, the expression is invalid.
fn class(out: &mut String, rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    out.push('[');
    if rest.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    for c in rest.by_ref() {
        match c {
            ']' => return out.push(']'),
            '-' => out.push('-'),
            c => out.push_str(&regex::escape(&c.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(patterns: &str, path: &str, expected: bool) {
        let ignored = Ignored::parse(patterns).expect("the patterns are valid");
        assert_eq!(ignored.leaves_out(path), expected, "{patterns:?} {path}");
    }

    #[test]
    fn the_examples_in_dockers_documentation_match_what_they_should() {
        check("*/temp*", "somedir/temporary.txt", true);
        check("*/temp*", "somedir/temp", true);
        check("*/temp*", "temp", false);
        check("*/*/temp*", "somedir/subdir/temporary.txt", true);
        check("temp?", "tempa", true);
        check("temp?", "temp", false);
        check("**/*.go", "main.go", true);
        check("**/*.go", "a/b/c/main.go", true);
        check("*.md\n!README.md", "README.md", false);
        check("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true);
        check("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", false);
        check("# comment\n\n  node_modules  ", "node_modules/a/b.js", true);
    }

    #[test]
    fn a_folder_takes_its_content_with_it_unless_that_is_kept() {
        check("/build/", "build/x", true);
        check("build", "src/build/x", false);
        check("**/build", "src/build/x", true);
        check("*\n!src", "src/a/b.c", false);
        check("*\n!src", "other", true);
        check("a/**", "a/b/c", true);
        check("a/**", "a", false);
        check("./a/../b", "b", true);
        check(".", "anything", false);
        check("[a-c].txt", "b.txt", true);
        check("[^a-c].txt", "b.txt", false);
        check("a+b.txt", "aab.txt", false);
        check(r"\*", "x", false);
    }

    #[test]
    fn an_invalid_pattern_is_named() {
        assert_eq!(Ignored::parse("ok\n[a").expect_err("a class without an end"), "[a");
    }

    proptest! {
        #[test]
        fn any_text_is_read_in_time(text in "[!*?./\\[\\]a-c\n-]{0,200}", path in "[a-c./]{0,50}") {
            if let Ok(ignored) = Ignored::parse(&text) {
                let _: bool = ignored.leaves_out(&path);
            }
        }
    }
}
