//! Compares two texts as a diff of one file.

use model::diff::Diff;
use similar::TextDiff;

/// How many unchanged lines surround a change.
const CONTEXT: usize = 3;

/// Returns how a text changes, as a diff of a file with this name. Line breaks in the name are not allowed.
pub fn compared(name: &str, before: &str, after: &str) -> Diff {
    let lines = TextDiff::from_lines(before, after);
    let hunks = lines.unified_diff().context_radius(CONTEXT).header(&format!("a/{name}"), &format!("b/{name}")).to_string();
    if hunks.is_empty() {
        return Diff::default();
    }
    Diff::parse(format!("diff --git a/{name} b/{name}\n{hunks}").as_bytes())
}

#[cfg(test)]
mod tests {
    use model::diff::DiffLineKind;
    use proptest::prelude::*;

    use super::*;

    /// Returns the lines of a diff: `+` before those that were added, `-` before those that were removed.
    fn shown(before: &str, after: &str) -> Vec<String> {
        let diff = compared("a.toml", before, after);
        let lines = diff.files.iter().flat_map(|file| &file.hunks).flat_map(|hunk| &hunk.lines);
        let sign = |kind| match kind {
            DiffLineKind::Context => " ",
            DiffLineKind::Added => "+",
            DiffLineKind::Removed => "-",
        };
        lines.map(|line| format!("{}{}", sign(line.kind), line.visible(100).text())).collect()
    }

    #[test]
    fn changed_lines_are_shown_with_their_surroundings() {
        assert_eq!(shown("a\nb\n", "a\nc\n"), [" a", "-b", "+c"]);
        assert_eq!(shown("", "a\n"), ["+a"]);
        assert_eq!(shown("a\n", "a\n"), Vec::<String>::new());
        assert_eq!(shown("a", "a\n"), ["-a", "+a"]);
        let many = (0..20).map(|number| number.to_string()).collect::<Vec<_>>().join("\n");
        assert_eq!(shown(&format!("{many}\n"), &format!("{many}\nx\n")), [" 17", " 18", " 19", "+x"]);
    }

    proptest! {
        #[test]
        fn any_change_is_one_file(before in "[a-c\n\\-+@ \r]{0,40}", after in "[a-c\n\\-+@ \r]{0,40}") {
            let diff = compared("a.toml", &before, &after);
            prop_assert_eq!(diff.files.len(), usize::from(before != after));
            let lines = |kind| diff.files.iter().flat_map(|file| &file.hunks).flat_map(|hunk| &hunk.lines).filter(|line| line.kind == kind).count();
            let count = |kind| u64::try_from(lines(kind)).unwrap_or(u64::MAX);
            prop_assert_eq!((diff.stats.additions, diff.stats.deletions), (count(DiffLineKind::Added), count(DiffLineKind::Removed)));
        }
    }
}
