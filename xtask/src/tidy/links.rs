//! Checks the links between documents: each must lead to an existing file and heading, and each index must list every document.
//!
//! Pure, except that it checks whether a path exists. Links to other sites are not checked.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use regex::Regex;

/// The table of contents of the book, and the index for readers on a Git host.
const INDEXES: [&str; 2] = ["docs/SUMMARY.md", "docs/README.md"];

/// The first document that a visitor reads, which must stay short.
const FIRST: &str = "README.md";

/// The maximum number of words in the first document.
const MOST_WORDS: usize = 900;

/// The anchors and the links of one document.
#[derive(Debug, Default)]
struct Page {
    anchors: HashSet<String>,
    links: Vec<Link>,
}

#[derive(Debug, PartialEq, Eq)]
struct Link {
    line: usize,
    target: String,
}

/// Returns complaints about broken links, documents that an index omits, and a README that is too long.
///
/// `documents` maps the path of each Markdown file below the root to its text. `exists` returns whether a path below the root exists.
pub(super) fn complaints(documents: &BTreeMap<String, String>, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let pages: BTreeMap<&str, Page> = documents.iter().map(|(name, text)| (name.as_str(), page(text))).collect();
    let mut complaints = Vec::new();
    for (name, page) in &pages {
        for link in &page.links {
            if let Some(complaint) = broken(name, &link.target, &pages, &exists) {
                complaints.push(format!("{name}:{}: {complaint}", link.line));
            }
        }
    }
    for index in INDEXES {
        complaints.extend(omitted(index, &pages));
    }
    let words = documents.get(FIRST).map_or(0, |text| text.split_whitespace().count());
    if words > MOST_WORDS {
        complaints.push(format!("{FIRST}: has {words} words, more than {MOST_WORDS}"));
    }
    complaints
}

/// Returns complaints about documents that the source code of `file` mentions but that do not exist.
pub(super) fn mentioned(file: &str, source: &str, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let mention = Regex::new(r"\bdocs/[a-z0-9-]+\.md\b").expect("the pattern is valid");
    let lines = source.lines().enumerate();
    lines
        .flat_map(|(at, line)| mention.find_iter(line).map(move |found| (at + 1, found.as_str())))
        .filter(|(_, path)| !exists(Path::new(path)))
        .map(|(line, path)| format!("{file}:{line}: mentions {path}, which does not exist"))
        .collect()
}

/// Returns the reason why a link is broken, if it is.
fn broken(from: &str, target: &str, pages: &BTreeMap<&str, Page>, exists: &impl Fn(&Path) -> bool) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() { Some(PathBuf::from(from)) } else { resolved(from, file) };
    let Some(path) = path else { return Some(format!("the link `{target}` leads out of the repository")) };
    if !exists(&path) {
        return Some(format!("the link `{target}` leads to a file that does not exist"));
    }
    let page = path.to_str().and_then(|path| pages.get(path))?;
    (!anchor.is_empty() && !page.anchors.contains(anchor))
        .then(|| format!("the link `{target}` leads to a heading that does not exist"))
}

/// Resolves a relative link. Returns `None` if it leads out of the repository.
fn resolved(from: &str, file: &str) -> Option<PathBuf> {
    let mut path = Path::new(from).parent()?.to_owned();
    for part in Path::new(file).components() {
        match part {
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

fn omitted(index: &str, pages: &BTreeMap<&str, Page>) -> Vec<String> {
    let Some(page) = pages.get(index) else { return vec![format!("{index}: does not exist")] };
    let listed: HashSet<PathBuf> = page.links.iter().filter_map(|link| resolved(index, &link.target)).collect();
    let documents = pages.keys().filter(|name| name.starts_with("docs/") && !INDEXES.contains(*name));
    let missing = documents.filter(|name| !listed.contains(Path::new(name)));
    missing.map(|name| format!("{index}: does not list {name}")).collect()
}

fn page(text: &str) -> Page {
    let mut page = Page::default();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut heading: Option<String> = None;
    let options = Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES;
    for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                let base = slug(&heading.take().unwrap_or_default());
                let count = seen.entry(base.clone()).and_modify(|count| *count += 1).or_default();
                page.anchors.insert(if *count == 0 { base } else { format!("{base}-{count}") });
            }
            Event::Text(part) | Event::Code(part) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&part);
                }
            }
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                let line = text[..range.start].matches('\n').count() + 1;
                page.links.push(Link { line, target: dest_url.into_string() });
            }
            _ => {}
        }
    }
    page
}

/// Returns the anchor that Git hosts and mdBook give to a heading.
fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks documents that are complete except for `text`, the content of `docs/a.md`.
    fn check(text: &str) -> Vec<String> {
        let index = "[a](a.md) [b](b.md)";
        let documents = [
            ("README.md", "[docs](docs/README.md)"),
            ("docs/README.md", index),
            ("docs/SUMMARY.md", index),
            ("docs/a.md", text),
            ("docs/b.md", "# B\n## On `x`, and y\n## Twice\n## Twice\n"),
        ];
        let documents: BTreeMap<_, _> = documents.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        let files = documents.keys().cloned().chain(["docs/a.png".to_owned(), "LICENSE".to_owned()]).collect::<HashSet<_>>();
        complaints(&documents, |path| path.to_str().is_some_and(|path| files.contains(path)))
    }

    #[test]
    fn links_to_files_and_headings_that_exist_are_fine() {
        let none: [&str; 0] = [];
        assert_eq!(check("# A\n[b](b.md) [c](#a) [d](b.md#on-x-and-y) [e](b.md#twice-1) ![f](a.png) [g](../LICENSE)"), none);
        assert_eq!(check("[other](https://example.org/x.md) `[not a link](c.md)`"), none);
    }

    #[test]
    fn broken_links_are_named_with_their_line() {
        assert_eq!(check("\n[b](c.md)"), ["docs/a.md:2: the link `c.md` leads to a file that does not exist"]);
        assert_eq!(check("[b](b.md#c)"), ["docs/a.md:1: the link `b.md#c` leads to a heading that does not exist"]);
        assert_eq!(check("[b](#c)"), ["docs/a.md:1: the link `#c` leads to a heading that does not exist"]);
        assert_eq!(check("[b](../../x)"), ["docs/a.md:1: the link `../../x` leads out of the repository"]);
    }

    #[test]
    fn a_document_that_an_index_omits_is_named() {
        let documents = [("docs/README.md", "[a](a.md)"), ("docs/SUMMARY.md", ""), ("docs/a.md", "")];
        let documents: BTreeMap<_, _> = documents.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        assert_eq!(complaints(&documents, |_| true), ["docs/SUMMARY.md: does not list docs/a.md"]);
    }

    #[test]
    fn a_readme_that_is_too_long_is_named() {
        let text = |words| BTreeMap::from([(FIRST.to_owned(), "word ".repeat(words))]);
        let of =
            |words| complaints(&text(words), |_| true).into_iter().filter(|line| line.starts_with(FIRST)).collect::<Vec<_>>();
        assert!(of(MOST_WORDS).is_empty());
        assert_eq!(of(MOST_WORDS + 1), ["README.md: has 901 words, more than 900"]);
    }

    #[test]
    fn documents_that_source_code_mentions_must_exist() {
        let source = "// see docs/https.md\nlet path = \"docs/gone.md\";";
        let exists = |path: &Path| path == Path::new("docs/https.md");
        assert_eq!(mentioned("a.rs", source, exists), ["a.rs:2: mentions docs/gone.md, which does not exist"]);
    }
}
