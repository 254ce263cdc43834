//! Extracts the text of a page without its markup, for snapshots: everything that a person can read, hear or hover over.
//!
//! Only reads HTML in the form that this project writes: well-formed tags, and attributes in double quotes.

/// Elements that start on a new line.
const BLOCKS: &[&str] = &[
    "h1", "h2", "h3", "p", "li", "ul", "ol", "div", "form", "section", "header", "nav", "main", "dl", "dt", "details", "summary",
    "table", "tr", "caption", "label", "input", "textarea", "select", "option", "fieldset", "legend", "dialog", "figure", "pre",
    "title", "template", "noscript", "datalist",
];

/// Attributes whose values are shown to users.
const WORDS: &[&str] = &["placeholder", "title", "aria-label", "alt", "data-ask"];

/// Classes of spans that can be part of a word.
const MARKS: &[&str] = &["unseen", "line-end", "cut"];

/// Returns the text of a page, one line for each block. Buttons are in brackets, headings start with `#`, and attributes with text
/// are in braces.
pub fn words(html: &str) -> String {
    let mut page = Page::default();
    let mut rest = html;
    while let Some((text, tail)) = rest.split_once('<') {
        page.text(text);
        let end = end_of_tag(tail);
        let (tag, after) = (&tail[..end], tail.get(end + 1..).unwrap_or_default());
        rest = match tag {
            "script" | "style" => after,
            _ => {
                page.tag(tag);
                after
            }
        };
    }
    page.text(rest);
    page.line();
    page.lines.join("\n") + "\n"
}

/// Replaces text that differs between two runs of a test: IDs, times, and the known texts.
pub fn redacted(text: &str, known: &[(&str, &str)]) -> String {
    let mut text = text.to_owned();
    for (from, to) in known.iter().filter(|(from, _)| !from.is_empty()) {
        text = text.replace(from, to);
    }
    for (pattern, to) in [
        ("hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh", "ID"),
        ("dddd-dd-dd dd:dd UTC", "TIME"),
        ("dddd-dd-ddTdd:dd:ddZ", "TIME"),
        ("dddd-dd-dd", "DATE"),
        ("hhhhhhhh-hhhh…", "ID…"),
    ] {
        text = replaced(&text, pattern, to);
    }
    text
}

/// Replaces every part that matches a pattern: `d` is a digit and `h` a hexadecimal digit.
fn replaced(text: &str, pattern: &str, to: &str) -> String {
    let (mut shown, mut rest) = (String::new(), text);
    while let Some(first) = rest.chars().next() {
        if let Some(after) = behind(rest, pattern) {
            shown.push_str(to);
            rest = after;
        } else {
            shown.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    shown
}

/// Returns the rest of the text after a match of the pattern at its start.
fn behind<'a>(text: &'a str, pattern: &str) -> Option<&'a str> {
    let mut letters = text.chars();
    let all = pattern.chars().all(|wanted| match (wanted, letters.next()) {
        ('d', Some(found)) => found.is_ascii_digit(),
        ('h', Some(found)) => found.is_ascii_hexdigit(),
        (wanted, found) => found == Some(wanted),
    });
    all.then_some(letters.as_str())
}

/// Returns the end of a tag: the position of the first `>` that is not in a value.
fn end_of_tag(tag: &str) -> usize {
    let mut quoted = false;
    let end = tag.bytes().position(|byte| {
        quoted ^= byte == b'"';
        byte == b'>' && !quoted
    });
    end.unwrap_or(tag.len())
}

#[derive(Default)]
struct Page {
    lines: Vec<String>,
    current: String,
}

impl Page {
    fn line(&mut self) {
        let line = self.current.split_whitespace().collect::<Vec<_>>().join(" ");
        if !line.is_empty() {
            self.lines.push(line);
        }
        self.current.clear();
    }

    fn text(&mut self, text: &str) {
        let plain = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
        self.current.push_str(&plain);
    }

    fn tag(&mut self, tag: &str) {
        let (name, rest) = tag.split_once([' ', '\n']).unwrap_or((tag, ""));
        if let Some(name) = name.strip_prefix('/') {
            return self.end(name);
        }
        let attributes = attributes(rest);
        let value = |name: &str| attributes.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        if BLOCKS.contains(&name) {
            self.line();
        }
        match (name, value("type")) {
            ("input", Some("hidden")) => return,
            ("input", Some("checkbox")) => self.text(if value("checked").is_some() { "☑ " } else { "☐ " }),
            ("input", _) => self.text(&format!("⟨{}⟩", value("value").unwrap_or_default())),
            ("title", _) => self.text("title: "),
            ("h1", _) => self.text("# "),
            ("h2", _) => self.text("## "),
            ("h3", _) => self.text("### "),
            ("li", _) => self.text("- "),
            ("summary", _) => self.text("▸ "),
            ("option", _) => self.text(if value("selected").is_some() { "• " } else { "◦ " }),
            ("button", _) => self.text("["),
            ("textarea", _) => self.text("⟨"),
            ("td" | "dd" | "th" | "br" | "a", _) => self.text(" "),
            ("span", _) if value("class").is_some_and(|class| !class.starts_with("hl-") && !MARKS.contains(&class)) => {
                self.text(" ");
            }
            _ => {}
        }
        if matches!(name, "details" | "progress") {
            self.text(&format!("{name} "));
        }
        for (name, value) in attributes.iter().filter(|(name, value)| WORDS.contains(&name.as_str()) && !value.is_empty()) {
            self.text(&format!(" {{{name}: {value}}} "));
        }
        if value("hidden").is_some() {
            self.text(" {hidden} ");
        }
    }

    fn end(&mut self, name: &str) {
        match name {
            "button" => self.text("] "),
            "textarea" => self.text("⟩"),
            _ => {}
        }
        if BLOCKS.contains(&name) {
            self.line();
        }
    }
}

fn attributes(mut rest: &str) -> Vec<(String, String)> {
    let mut found = vec![];
    loop {
        rest = rest.trim_start();
        let end = rest.find(['=', ' ', '\n']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if name.is_empty() {
            return found;
        }
        let (value, after) = match after.strip_prefix("=\"").and_then(|after| after.split_once('"')) {
            Some((value, after)) => (value, after),
            None => ("", after),
        };
        found.push((name.to_owned(), value.to_owned()));
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_a_page_is_kept_and_no_markup() {
        let html = "<!DOCTYPE html><title>A &lt;b&gt;</title><nav aria-label=\"Main\"><a class=\"x\" href=\"/?a>b\">Tasks</a></nav>\
            <h1>One <code>two</code></h1><p>three\n four</p><form><input type=\"hidden\" value=\"secret\">\
            <label for=\"a\">Name</label><input id=\"a\" value=\"me\" placeholder=\"yours\">\
            <label><input type=\"checkbox\" checked> on</label><button type=\"submit\">Go</button></form>\
            <details open><summary>More</summary><ul><li>x</li></ul></details>";
        let expect = "title: A <b>\n{aria-label: Main} Tasks\n# One two\nthree four\nName\n⟨me⟩ {placeholder: yours}\n☑ on\n[Go]\n\
            details\n▸ More\n- x\n";
        assert_eq!(words(html), expect);
    }

    #[test]
    fn what_differs_between_runs_is_redacted() {
        let text = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650 since 2026-01-02 03:04 UTC at http://x:1234/a";
        assert_eq!(redacted(text, &[("http://x:1234", "URL")]), "ID since TIME at URL/a");
    }
}
