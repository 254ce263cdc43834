//! Rules for the declarations in product code: the parameters of functions and the names of types.
//!
//! Pure: source code in, complaints out. Tests are exempt: the caller passes only the code before them.

use std::sync::LazyLock;

use regex::Regex;

/// Names that say nothing about a type. A name must be clear where the type is used.
const VAGUE: [&str; 34] = [
    "Asked", "Counted", "Deed", "Door", "Ending", "Form", "Found", "Given", "Glance", "Heard", "Held", "Hold", "How", "Kept",
    "Kind", "Look", "Looked", "Made", "Marks", "Order", "Place", "Reason", "Said", "Seen", "Shown", "Thing", "Told", "Typed",
    "Way", "What", "When", "Which", "Who", "Wrong",
];

/// Methods with a boolean parameter that a library's trait prescribes.
const PRESCRIBED: [&str; 1] = ["visit_bool"];

static FUNCTION: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\bfn (\w+)").expect("the pattern is valid"));

static BOOLEAN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b(\w+): bool\b").expect("the pattern is valid"));

static TYPE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(?:struct|enum|union|trait|type) (\w+)").expect("the pattern is valid"));

/// Returns complaints about the declarations in the code. Each starts with `:<line>: `.
pub(super) fn complaints(code: &str) -> Vec<String> {
    let line_of = |at: usize| code[..at].matches('\n').count() + 1;
    let mut complaints = Vec::new();
    for declared in TYPE.captures_iter(code).filter_map(|found| found.get(1)) {
        let name = declared.as_str();
        if VAGUE.contains(&name) {
            complaints.push(format!(":{}: the type name `{name}` is vague; name what the type is", line_of(declared.start())));
        }
    }
    for function in FUNCTION.captures_iter(code) {
        let (Some(whole), name) = (function.get(0), &function[1]) else { continue };
        let Some(parameters) = parameters(&code[whole.end()..]) else { continue };
        let is_builder = name.starts_with("with_") && parameters.starts_with("mut self");
        if is_builder || PRESCRIBED.contains(&name) {
            continue;
        }
        if let Some(boolean) = BOOLEAN.captures(parameters) {
            let parameter = &boolean[1];
            let line = line_of(whole.start());
            complaints
                .push(format!(":{line}: `{name}` has the boolean parameter `{parameter}`; use an enum or split the function"));
        }
    }
    complaints
}

/// Returns the parameters of a function. The text starts after the function's name.
fn parameters(text: &str) -> Option<&str> {
    let mut depth = 0_u32;
    let mut start = None;
    for (at, byte) in text.bytes().enumerate() {
        match (byte, start) {
            (b'<', None) | (b'(', Some(_)) => depth += 1,
            (b'>', None) if !text[..at].ends_with('-') => depth = depth.checked_sub(1)?,
            (b'(', None) if depth == 0 => start = Some(at + 1),
            (b')', Some(start)) if depth == 0 => return text.get(start..at),
            (b')', Some(_)) => depth -= 1,
            (b'{' | b';', None) => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boolean_parameters_are_rejected() {
        let check = |code: &str, expect: &[&str]| {
            let found = complaints(code);
            let starts = found.iter().zip(expect).all(|(found, expect)| found.starts_with(expect));
            assert!(found.len() == expect.len() && starts, "{code}: {found:?}");
        };
        check("\nfn run(path: &Path, json: bool) {}", &[":2: `run` has the boolean parameter `json`;"]);
        check(
            "fn a<F: Fn(u8) -> bool>(\n    f: F,\n    is_last: bool,\n) -> bool {}\nasync fn b(&self, on: bool);",
            &[":1: `a` has the boolean parameter `is_last`;", ":5: `b` has the boolean parameter `on`;"],
        );
        check("fn is_plain(c: char) -> bool { let f = |on: bool| on; f(true) }", &[]);
        check("fn all(test: impl Fn(bool) -> bool, value: Option<bool>) {}", &[]);
        check("struct Options { json: bool }\nstatic CHOOSE: fn(bool) -> bool = f;", &[]);
        check("fn with_color(mut self, color: bool) -> Self {}\nfn visit_bool<E>(self, value: bool) -> Result<Json, E> {}", &[]);
    }
    #[test]
    fn vague_type_names_are_rejected() {
        for name in VAGUE {
            let found = complaints(&format!("/// Text.\npub(crate) struct {name}<'a> {{}}\n"));
            assert!(
                matches!(found.as_slice(), [one] if one.starts_with(&format!(":2: the type name `{name}` is vague"))),
                "{found:?}"
            );
        }
        let clear = "enum FormKind { Found, Told }\ntrait Orders {}\ntype Reasons = Vec<Reason>;\nimpl Look for Way {}";
        assert_eq!(complaints(clear), Vec::<String>::new());
    }
}
