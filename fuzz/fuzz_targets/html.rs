//! Checks markup and returns its text. Shared by the targets that produce markup.
//!
//! It accepts only the form that our own code writes, so markup that came from the input fails the check.

/// The elements without an end tag.
const VOID: &[&str] = &["br", "hr", "input"];

/// Checks that markup is well-formed, has only allowed elements and attributes, and contains no other `<` or `&`. Returns its text.
pub fn text_of(html: &str, elements: &[&str], is_allowed: fn(&str, Option<&str>) -> bool) -> String {
    let mut text = String::new();
    let mut open: Vec<&str> = vec![];
    let mut rest = html;
    while let Some((before, after)) = rest.split_once('<') {
        text.push_str(&decoded(before));
        let (tag, after) = after.split_once('>').expect("each tag ends");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{html:?}");
            continue;
        }
        let tag = tag.strip_suffix('/').unwrap_or(tag).trim_end();
        let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(elements.contains(&name), "element {name:?}: {html:?}");
        while !attributes.is_empty() {
            let end = attributes.find([' ', '=']).unwrap_or(attributes.len());
            let (attribute, after) = attributes.split_at(end);
            let (value, after) = match after.strip_prefix("=\"") {
                Some(value) => value.split_once('"').map(|(value, after)| (Some(value), after)).expect("each value ends"),
                None => (None, after),
            };
            let value = value.map(decoded);
            assert!(is_allowed(attribute, value.as_deref()), "attribute {attribute:?} = {value:?}: {html:?}");
            attributes = after.trim_start();
        }
        if !VOID.contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}: {html:?}");
    text.push_str(&decoded(rest));
    text
}

/// Replaces entities. Only these may occur, and no character that has one may occur in another form.
fn decoded(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        decoded.push_str(before);
        let (entity, after) = after.split_once(';').expect("each entity ends");
        decoded.push(match entity {
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "amp" => '&',
            "#39" | "#x27" => '\'',
            other => panic!("entity {other:?}"),
        });
        rest = after;
    }
    decoded.push_str(rest);
    assert!(!text.contains(['<', '>']), "{text:?}");
    decoded
}
