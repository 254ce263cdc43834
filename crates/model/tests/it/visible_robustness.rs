//! Tests the marks with any bytes of a file: nothing is lost or affects the terminal or page, and different bytes look different.

use model::visible::{Of, Visible, has_hidden, is_invisible};
use proptest::collection::vec;
use proptest::prelude::*;

/// Generates bytes that often contain marks, the letters of marks, and parts of characters.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just("<U+".as_bytes()),
        Just(b"<0x".as_slice()),
        Just(b"1B>".as_slice()),
        Just("␛".as_bytes()),
        Just(b"\x1b]".as_slice()),
        Just(b"\r".as_slice()),
        Just(b"\t".as_slice()),
        Just(b"\xff".as_slice()),
        Just(b"\xc2".as_slice()),
        Just("\u{9b}".as_bytes()),
        Just("\u{202e}".as_bytes()),
        Just("\u{fe0f}".as_bytes()),
        Just("\u{301}".as_bytes()),
        Just("é🦀".as_bytes()),
    ];
    let part = prop_oneof![3 => part.prop_map(<[u8]>::to_vec), 1 => vec(any::<u8>(), 0..3)];
    vec(part, 0..6).prop_map(|parts| parts.concat())
}

/// Generates a line, the last line of a file, or a name.
fn of() -> impl Strategy<Value = Of> {
    prop_oneof![Just(Of::Line), Just(Of::LastLine), Just(Of::Name)]
}

proptest! {
    #[test]
    fn different_bytes_look_different(one in bytes(), other in bytes(), of in of()) {
        let shown = [&one, &other].map(|bytes| Visible::new(bytes, of, usize::MAX));
        prop_assert_eq!(shown[0].plain() == shown[1].plain(), one == other);
        prop_assert_eq!(shown[0] == shown[1], one == other);
    }

    #[test]
    fn what_is_shown_acts_on_nothing_and_is_all_there(bytes in bytes(), of in of(), limit in 0_usize..30) {
        let shown = Visible::new(&bytes, of, usize::MAX);
        prop_assert!(shown.text().chars().all(|letter| letter == '\t' || !is_invisible(letter)));
        prop_assert_eq!(shown.has_hidden(), has_hidden(&bytes, of));
        prop_assert_eq!(shown.pieces().map(|(text, _)| text).collect::<String>(), shown.text());
        let printable: Vec<_> = bytes.iter().filter(|byte| byte.is_ascii_graphic()).copied().collect();
        let rest: Vec<_> = shown.pieces().filter(|(_, mark)| mark.is_none()).flat_map(|(text, _)| text.bytes()).collect();
        prop_assert_eq!(rest.into_iter().filter(u8::is_ascii_graphic).collect::<Vec<_>>(), printable);
        let cut = Visible::new(&bytes, of, limit);
        prop_assert!(bytes.len() <= limit || cut.text().ends_with(" not shown"));
    }
}
