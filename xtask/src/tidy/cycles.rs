//! Checks that no files of a crate import each other in a cycle.
//!
//! A module and its submodules may import each other: they form one unit. Tests may import anything. The check reads `use`
//! declarations and paths that start with `crate`, `self` or `super`. It does not resolve re-exports or macros.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

/// The path of a module below its crate, which is empty for the root.
type Module = Vec<String>;

static USE: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^\s*(?:pub(?:\([a-z ]+\))? )?use ([^;]+);"));
static PATH: LazyLock<Regex> = LazyLock::new(|| regex(r"\b(?:crate|self|super)(?:::\w+)+"));
static COMMENT: LazyLock<Regex> = LazyLock::new(|| regex("//.*"));
static TESTS: LazyLock<Regex> = LazyLock::new(|| regex(r"(?s)#\[cfg\(test\)\]\nmod \w+ \{.*"));

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is valid")
}

/// Returns a complaint for each cycle. `sources` are Rust files with their paths below the root, such as `crates/web/src/guard.rs`.
pub(super) fn complaints(sources: &BTreeMap<String, String>) -> Vec<String> {
    let mut crates: BTreeMap<&str, BTreeMap<Module, &str>> = BTreeMap::new();
    for (name, text) in sources {
        if let Some((folder, file)) = name.split_once("/src/")
            && let Some(module) = module(file)
        {
            crates.entry(folder).or_default().insert(module, text);
        }
    }
    let named = |folder: &str, cycle: &BTreeSet<Module>| {
        let names: Vec<_> = cycle.iter().map(|module| module.join("::")).collect();
        format!("{folder}: these modules import each other in a cycle: {}", names.join(", "))
    };
    let of_crate = |(folder, files): (&&str, &BTreeMap<Module, &str>)| {
        cycles(files).iter().map(|cycle| named(folder, cycle)).collect::<Vec<_>>()
    };
    crates.iter().flat_map(of_crate).collect()
}

/// Returns the module of a file below `src/`, or `None` for a file of tests.
fn module(file: &str) -> Option<Module> {
    let path = file.strip_suffix(".rs")?;
    let path = path.strip_suffix("/mod").unwrap_or(path);
    let module: Module = if matches!(path, "lib" | "main") { vec![] } else { path.split('/').map(str::to_owned).collect() };
    (!module.iter().any(|name| name == "tests")).then_some(module)
}

fn cycles(files: &BTreeMap<Module, &str>) -> BTreeSet<BTreeSet<Module>> {
    let imports: BTreeMap<&Module, BTreeSet<Module>> =
        files.iter().map(|(module, text)| (module, imports(module, text, files))).collect();
    let reached = imports.keys().map(|module| (*module, reachable(module, &imports)));
    let reached: BTreeMap<&Module, BTreeSet<&Module>> = reached.collect();
    let in_cycle = reached.iter().filter(|(module, reach)| reach.contains(**module));
    in_cycle
        .map(|(module, reach)| reach.iter().filter(|other| reached[**other].contains(module)).map(|m| (*m).clone()).collect())
        .collect()
}

/// Returns the modules that a module imports directly or through others.
fn reachable<'a>(module: &Module, imports: &'a BTreeMap<&Module, BTreeSet<Module>>) -> BTreeSet<&'a Module> {
    let mut found = BTreeSet::new();
    let mut left: Vec<&Module> = imports[module].iter().collect();
    while let Some(next) = left.pop() {
        if found.insert(next) {
            left.extend(&imports[next]);
        }
    }
    found
}

/// Returns the modules that the text of a module refers to, except for the modules above and below it.
fn imports(module: &Module, text: &str, files: &BTreeMap<Module, &str>) -> BTreeSet<Module> {
    let text = COMMENT.replace_all(text, "");
    let text = TESTS.replace(&text, "");
    let declared = USE.captures_iter(&text).flat_map(|found| expand(&found[1]));
    let written = USE.replace_all(&text, "");
    let written = PATH.find_iter(&written).map(|found| found.as_str().to_owned());
    let found = declared.chain(written).filter_map(|path| target(module, &path, files));
    found.filter(|other| !module.starts_with(other) && !other.starts_with(module)).collect()
}

/// Returns the paths of a `use` declaration: `a::{b, c::d}` becomes `a::b` and `a::c::d`.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((prefix, group)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap_or(tree).trim().to_owned()];
    };
    let group = group.strip_suffix('}').unwrap_or(group);
    let mut depth = 0_usize;
    let parts = group.split(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    let parts = parts.filter(|part| !part.trim().is_empty());
    parts.flat_map(expand).map(|path| format!("{}{path}", prefix.trim())).collect()
}

/// Returns the file that a path in a module leads to, or `None` if the path starts in another crate.
fn target(module: &Module, path: &str, files: &BTreeMap<Module, &str>) -> Option<Module> {
    let mut names = path.split("::").peekable();
    let mut at = match *names.peek()? {
        "crate" => vec![],
        "self" | "super" => module.clone(),
        _ => return None,
    };
    while let Some(name) = names.next_if(|name| matches!(*name, "crate" | "self" | "super")) {
        if name == "super" {
            at.pop();
        }
    }
    for name in names {
        at.push(name.to_owned());
        if !files.contains_key(&at) {
            at.pop();
            break;
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)]) -> Vec<String> {
        complaints(&files.iter().map(|(name, text)| (format!("crates/a/src/{name}"), (*text).to_owned())).collect())
    }

    #[test]
    fn files_that_import_each_other_are_named() {
        let named = |names: &str| vec![format!("crates/a: these modules import each other in a cycle: {names}")];
        assert_eq!(
            check(&[("b.rs", "use crate::c::C;"), ("c.rs", "use crate::d::{e, f::G};"), ("d.rs", "use super::b;")]),
            named("b, c, d")
        );
        assert_eq!(
            check(&[("b/mod.rs", "fn f() { crate::c::g() }"), ("c.rs", "use crate::{\n    b::{self, X as Y},\n};")]),
            named("b, c")
        );
        assert_eq!(
            check(&[("b/c.rs", "use super::d::X;"), ("b/d.rs", "pub(super) use super::c::Y;"), ("b.rs", "")]),
            named("b::c, b::d")
        );
    }

    #[test]
    fn files_in_one_direction_submodules_and_tests_are_fine() {
        for files in [
            [("b.rs", "use crate::c::C;"), ("c.rs", "use other::b::B;")],
            [("b.rs", "mod c;\nuse self::c::C;"), ("b/c.rs", "use super::B;")],
            [("b.rs", "use crate::c;"), ("c.rs", "// use crate::b;\n#[cfg(test)]\nmod tests {\n    use crate::b;\n}\n")],
            [("b.rs", "use crate::c;"), ("c/tests.rs", "use crate::b;")],
            [("lib.rs", "mod b;\nuse crate::b::B;"), ("b.rs", "use crate::VALUE;")],
        ] {
            assert_eq!(check(&files), Vec::<String>::new(), "{files:?}");
        }
    }
}
