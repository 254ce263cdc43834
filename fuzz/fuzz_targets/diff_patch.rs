//! Fuzzes the patch parser. It must not panic, no hunk may have more lines than its header announces, and the statistics must
//! match the parsed files.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::diff::{Diff, DiffLineKind};

fuzz_target!(|patch: &[u8]| {
    let diff = Diff::parse(patch);
    assert_eq!(diff.stats.files, diff.files.len() as u64);
    for hunk in diff.files.iter().flat_map(|file| &file.hunks) {
        let old = hunk.lines.iter().filter(|line| line.kind != DiffLineKind::Added).count() as u64;
        let new = hunk.lines.iter().filter(|line| line.kind != DiffLineKind::Removed).count() as u64;
        assert!(old <= hunk.old_lines && new <= hunk.new_lines);
    }
});
