//! Tests the parsers for bundles and reports from a container: any input gives a value or an error. No files and no git are needed.

use model::bundle::{BundleError, BundleHeader, HEADER_LIMIT_BYTES, HarvestReport, ReportError};
use proptest::prelude::*;

const NAME: &str = "refs/heads/codex/01a201f5-b7dd-79a1-8a6e-7e6639f5c650";

fn id(digit: char) -> String {
    String::from(digit).repeat(40)
}

fn parse(text: &str) -> Result<BundleHeader, BundleError> {
    BundleHeader::parse(text.as_bytes())
}

#[test]
fn a_header_is_read_up_to_the_pack() {
    let text = format!("# v2 git bundle\n-{} start\n-{}\n{} {NAME}\n\n", id('a'), id('b'), id('c'));
    let header = parse(&format!("{text}PACK\n\n more")).expect("the bundle is valid");
    assert_eq!(header.length, text.len());
    assert_eq!(header.prerequisites.iter().map(ToString::to_string).collect::<Vec<_>>(), [id('a'), id('b')]);
    assert_eq!(header.only(NAME).expect("the bundle contains only the requested ref").to_string(), id('c'));
}

#[test]
fn version_3_may_name_its_object_format_and_nothing_else() {
    let long = "d".repeat(64);
    let header =
        parse(&format!("# v3 git bundle\n@object-format=sha256\n-{long} x\n{long} {NAME}\n\n")).expect("the bundle is valid");
    assert_eq!(header.only(NAME).expect("the bundle contains the ref").to_string(), long);
    parse(&format!("# v3 git bundle\n@object-format=sha1\n{} {NAME}\n\n", id('a'))).expect("the bundle is valid");
    for capability in ["filter=blob:none", "object-format=md5", "", "what\u{1b}[2J"] {
        let refused = parse(&format!("# v3 git bundle\n@{capability}\n{} {NAME}\n\n", id('a')))
            .expect_err("the capability is not supported");
        assert!(matches!(refused, BundleError::Capability { .. }), "{refused}");
        assert!(!refused.to_string().contains('\u{1b}'));
    }
    let late = parse(&format!("# v3 git bundle\n{} {NAME}\n@object-format=sha256\n\n", id('a')))
        .expect_err("the capability comes after the first ref");
    assert_eq!(late, BundleError::Line { number: 3 });
    let in_v2 = parse(&format!("# v2 git bundle\n@object-format=sha1\n{} {NAME}\n\n", id('a')))
        .expect_err("version 2 has no capabilities");
    assert_eq!(in_v2, BundleError::Line { number: 2 });
}

#[test]
fn exactly_one_ref_of_exactly_that_name_is_taken() {
    let check = |refs: &str, found: &str| {
        let header = parse(&format!("# v2 git bundle\n{refs}\n")).expect("the header is valid");
        let refused = header.only(NAME).expect_err("the bundle contains another ref").to_string();
        assert!(refused.contains(found), "{refused}");
    };
    let (a, b) = (id('a'), id('b'));
    check("", "0 refs");
    check(&format!("{a} {NAME}\n{b} {NAME}\n"), "2 refs");
    check(&format!("{a} refs/heads/main\n"), "`refs/heads/main`");
    check(&format!("{a} {NAME} \n"), "650 `");
    check(&format!("{a} {NAME}/x\n"), "650/x`");
    check(&format!("{a}  {NAME}\n"), "` refs/");
    check(&format!("{a} HEAD\u{1b}[2J\n"), "HEAD\u{fffd}[2J");
}

#[test]
fn lines_that_mean_nothing_are_refused_by_number() {
    let a = id('a');
    for line in
        ["x", "-x", &a, &format!("{a} "), &format!("{a}{NAME}"), &format!("{} {NAME}", "A".repeat(40)), "--upload-pack=x y"]
    {
        let refused = parse(&format!("# v2 git bundle\n{line}\n\n")).expect_err("the line is malformed");
        assert_eq!(refused, BundleError::Line { number: 2 }, "{line}");
    }
    let behind = parse(&format!("# v2 git bundle\n{a} {NAME}\n-{a} x\n\n")).expect_err("prerequisites must come first");
    assert_eq!(behind, BundleError::Line { number: 3 });
}

#[test]
fn what_does_not_end_is_refused() {
    for text in ["", "# v2 git bundle", "# v1 git bundle\n\n", "PACK", "# v4 git bundle\n\n", "\n"] {
        assert_eq!(parse(text), Err(BundleError::NotABundle), "{text:?}");
    }
    assert_eq!(parse("# v2 git bundle\n"), Err(BundleError::Endless));
    let endless = format!("# v2 git bundle\n-{} {}", id('a'), "x".repeat(2 * HEADER_LIMIT_BYTES));
    assert_eq!(parse(&format!("{endless}\n\n")), Err(BundleError::Endless));
}

#[test]
fn a_report_says_what_was_left_out() {
    let report = format!("harvest 1\0head {}\0dropped a\nb\0unreadable error: x\0note y z\0dropped c\0end\0", id('a'));
    let report = HarvestReport::parse(report.as_bytes()).expect("the report is valid");
    assert_eq!(report.head.to_string(), id('a'));
    assert_eq!((report.dropped, report.unreadable), (vec!["a\u{fffd}b".to_owned(), "c".to_owned()], vec!["error: x".to_owned()]));
    assert_eq!(report.notes, ["y z"]);
}

#[test]
fn a_report_is_complete_or_none() {
    let check = |report: &str, expect: &ReportError| {
        assert_eq!(HarvestReport::parse(report.as_bytes()).as_ref(), Err(expect), "{report:?}");
    };
    let head = format!("head {}", id('a'));
    check("", &ReportError::Incomplete);
    check("end\0", &ReportError::Format);
    check("harvest 1\0", &ReportError::Incomplete);
    check(&format!("harvest 1\0{head}\0"), &ReportError::Incomplete);
    check(&format!("harvest 1\0{head}\0end"), &ReportError::Incomplete);
    check(&format!("harvest 2\0{head}\0end\0"), &ReportError::Format);
    check("harvest 1\0end\0", &ReportError::NoHead);
    check("harvest 1\0head x\0end\0", &ReportError::Field { number: 2 });
    check(&format!("harvest 1\0{head}\0{head}\0end\0"), &ReportError::Field { number: 3 });
    check(&format!("harvest 1\0{head}\0nospace\0end\0"), &ReportError::Field { number: 3 });
    check(&format!("harvest 1\0{head}\0else x\0end\0"), &ReportError::Field { number: 3 });
}

#[test]
fn remarks_without_end_are_cut() {
    let many = format!("dropped {}\0", "x".repeat(10_000)).repeat(2000);
    let report =
        HarvestReport::parse(format!("harvest 1\0head {}\0{many}end\0", id('a')).as_bytes()).expect("the report is valid");
    assert_eq!((report.dropped.len(), report.dropped[0].len()), (100, 4096));
    assert_eq!(report.notes, ["1900 more notes are not listed"]);
}

proptest! {
    #[test]
    fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = (BundleHeader::parse(&bytes).is_ok(), HarvestReport::parse(&bytes).is_ok());
    }

    #[test]
    fn anything_behind_a_beginning_ends_and_the_pack_begins_after_an_empty_line(
        version in 2..4_u8,
        lines in proptest::collection::vec("(-|@)?[0-9a-f]{0,41}( [ -~]{0,20})?", 0..8),
        rest in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let text = [format!("# v{version} git bundle\n{}\n\n", lines.join("\n")).as_bytes(), &rest].concat();
        if let Ok(header) = BundleHeader::parse(&text) {
            prop_assert_eq!(&text[header.length - 2..header.length], b"\n\n");
            prop_assert!(header.prerequisites.len() + header.refs.len() <= lines.len());
        }
    }

    #[test]
    fn what_was_written_is_read(
        needed in proptest::collection::vec("[0-9a-f]{40}", 0..5),
        brought in proptest::collection::vec(("[0-9a-f]{40}", "[!-~]{1,30}"), 0..5),
    ) {
        let needed_lines = needed.iter().map(|id| format!("-{id} a subject\n")).collect::<Vec<_>>().concat();
        let brought_lines = brought.iter().map(|(id, name)| format!("{id} {name}\n")).collect::<Vec<_>>().concat();
        let header = parse(&format!("# v2 git bundle\n{needed_lines}{brought_lines}\nPACK")).expect("the bundle is valid");
        prop_assert_eq!(header.prerequisites.iter().map(ToString::to_string).collect::<Vec<_>>(), needed);
        let refs: Vec<_> = header.refs.iter().map(|(id, name)| (id.to_string(), String::from_utf8_lossy(name).into_owned())).collect();
        prop_assert_eq!(refs, brought);
    }

    #[test]
    fn remarks_are_read_as_they_were_written_and_steer_no_terminal(words in proptest::collection::vec("[^\u{0}]{0,50}", 0..10)) {
        let fields = words.iter().map(|word| format!("note {word}\0")).collect::<Vec<_>>().concat();
        let report = HarvestReport::parse(format!("harvest 1\0head {}\0{fields}end\0", id('a')).as_bytes()).expect("the report is valid");
        prop_assert_eq!(report.notes.len(), words.len());
        for (read, written) in report.notes.iter().zip(&words) {
            prop_assert!(!read.chars().any(char::is_control));
            prop_assert_eq!(read.chars().count(), written.chars().count());
        }
    }
}
