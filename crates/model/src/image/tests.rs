//! Tests that images are accepted or rejected correctly. The samples are complete images from common programs, and broken images
//! are derived from them.

use proptest::prelude::*;

use super::*;
use crate::error_code::ErrorCode;
use crate::problem::ProblemKind;

const PNG: &[u8] = include_bytes!("../../../testkit/fixtures/dot.png");
const JPEG: &[u8] = include_bytes!("../../../testkit/fixtures/dot.jpg");
const GIF: &[u8] = include_bytes!("../../../testkit/fixtures/dot.gif");
const WEBP: &[u8] = include_bytes!("../../../testkit/fixtures/dot.webp");
const ALL: [(&[u8], ImageKind); 4] =
    [(PNG, ImageKind::Png), (JPEG, ImageKind::Jpeg), (GIF, ImageKind::Gif), (WEBP, ImageKind::Webp)];

fn given(name: &str, bytes: &[u8]) -> GivenImage {
    GivenImage { name: name.to_owned(), data: ImageBytes(bytes.to_vec()) }
}

fn refusal(name: &str, bytes: &[u8]) -> Problem {
    Image::parse(given(name, bytes)).expect_err(name)
}

#[test]
fn the_four_kinds_are_told_by_their_bytes_and_not_by_their_names() {
    for (bytes, kind) in ALL {
        for name in ["a.png", "a.jpg", "a.svg", "a"] {
            let image = Image::parse(given(name, bytes)).expect("the image is accepted");
            assert_eq!((image.file.file.kind(), image.file.name.as_str(), image.bytes.as_slice()), (kind, name, bytes));
            assert_eq!(image.file.bytes, bytes.len() as u64);
            assert!(image.file.file.is_of(bytes) && image.file.file.to_string().ends_with(kind.ending()));
        }
    }
}

#[test]
fn a_file_is_called_by_its_content() {
    let name = ImageName::of(b"abc", ImageKind::Png);
    assert_eq!(name.to_string(), "ba7816bf8f01cfea.png");
    assert_eq!("ba7816bf8f01cfea.png".parse(), Ok(name));
    for text in [
        "",
        ".png",
        "ba7816bf8f01cfea",
        "ba7816bf8f01cfea.svg",
        "BA7816BF8F01CFEA.png",
        "ba7816bf8f01cfe.png",
        "+a7816bf8f01cfea.png",
        "ba7816bf8f01cfea.png.png",
        "../ba7816bf8f01cfea.png",
        "ba7816bf8f01cfea.png/..",
        "ba7816bf8f01cfea.png\0",
    ] {
        assert_eq!(text.parse::<ImageName>(), Err(ImageNameError), "{text}");
    }
}

#[test]
fn what_is_no_image_of_these_kinds_is_refused_with_what_is_taken() {
    for bytes in [
        &b""[..],
        b"hello",
        b"<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>",
        b"<?xml version=\"1.0\"?><svg/>",
        b"BM\x46\0\0\0",
        b"II*\0",
        b"\0\0\0\x18ftypheic",
        b"%PDF-1.7",
        b"\x89PNG",
        b" \x89PNG\r\n\x1a\n",
        b"RIFF\x04\0\0\0WAVE",
    ] {
        let problem = refusal("photo.png", bytes);
        assert_eq!(
            (problem.report.code.known(), problem.kind),
            (Some(ErrorCode::ImageRefused), ProblemKind::Unusable),
            "{problem}"
        );
        assert!(problem.report.message.contains("photo.png") && problem.report.hints[0].contains("WebP"), "{problem:?}");
    }
}

#[test]
fn an_image_that_is_cut_anywhere_is_refused() {
    for (bytes, kind) in ALL {
        for length in 0..bytes.len() {
            refusal("a", &bytes[..length]);
        }
        assert!(form::is_whole(kind, bytes));
    }
}

#[test]
fn what_lies_behind_an_image_makes_it_no_other_thing() {
    for (bytes, kind) in ALL {
        let both = [bytes, b"<script>alert(1)</script>PK\x03\x04"].concat();
        assert_eq!(Image::parse(given("a.html", &both)).expect("the image is accepted").file.file.kind(), kind);
        let other_way_round = [b"<html>", bytes].concat();
        refusal("a.png", &other_way_round);
    }
}

#[test]
fn a_picture_without_a_picture_is_refused() {
    let mut empty = PNG.to_vec();
    empty[16..20].fill(0);
    refusal("a", &empty);
    refusal("a", b"\xff\xd8\xff\xd9");
    refusal("a", b"GIF89a\x01\0\x01\0\0\0\0\x3b");
    refusal("a", b"RIFF\x04\0\0\0WEBP");
}

#[test]
fn a_name_is_one_printable_line_without_folders() {
    let check = |name: &str, expect: &str| {
        assert_eq!(Image::parse(given(name, PNG)).expect("the image is accepted").file.name, expect, "{name}");
    };
    check("screen shot.png", "screen shot.png");
    check("../../etc/passwd", "passwd");
    check("C:\\Users\\me\\a.png", "a.png");
    check("..", "image.png");
    check("a/..", "image.png");
    check("", "image.png");
    check("a\u{202e}gnp.exe\u{2066}", "agnp.exe");
    check("a\n\u{1b}[31mb\0.png", "a b.png");
    check("\"><img src=x onerror=alert(1)>.png", "\"><img src=x onerror=alert(1)>.png");
    let long = Image::parse(given(&"ä".repeat(5000), PNG)).expect("the image is accepted").file.name;
    assert_eq!(long.chars().count(), NAME_LIMIT);
}

#[test]
fn too_much_is_told_from_just_enough() {
    let padded = |length: usize| {
        let mut bytes = PNG.to_vec();
        bytes.resize(length, 0);
        bytes
    };
    assert!(Image::parse(given("a", &padded(IMAGE_LIMIT_BYTES))).is_ok());
    assert_eq!(refusal("a", &padded(IMAGE_LIMIT_BYTES + 1)).report.code, ErrorCode::ImageTooLarge);
    let two = vec![given("a", &padded(IMAGE_LIMIT_BYTES)), given("b", &padded(IMAGE_LIMIT_BYTES - 1))];
    assert_eq!(parse_all(two.clone(), vec![]).expect("the images are accepted").len(), 2);
    let three = [two, vec![given("c", PNG)]].concat();
    let problem = parse_all(three, vec![]).expect_err("the images are too large in total");
    assert_eq!((problem.report.code.known(), problem.kind), (Some(ErrorCode::ImagesTooLarge), ProblemKind::TooLarge));
    let nine: Vec<_> = (0..9).map(|n| given("a", &padded(1000 + n))).collect();
    assert_eq!(parse_all(nine[..8].to_vec(), vec![]).expect("the images are accepted").len(), 8);
    assert_eq!(parse_all(nine, vec![]).expect_err("there are too many images").report.code, ErrorCode::TooManyImages);
}

#[test]
fn any_other_file_is_accepted_within_the_same_limits() {
    let file = |name: &str, bytes: &[u8]| GivenFile { name: name.to_owned(), data: ImageBytes(bytes.to_vec()) };
    let accepted =
        parse_all(vec![given("a.png", PNG)], vec![file("../data/report.csv", b"a,b"), file("", b"x"), file("copy", b"x")]);
    let accepted = accepted.expect("the files are accepted");
    let names: Vec<_> = accepted.iter().map(|file| (file.file.name.as_str(), file.file.file.kind())).collect();
    assert_eq!(names, [("a.png", ImageKind::Png), ("report.csv", ImageKind::Other), ("file", ImageKind::Other)]);
    assert_eq!(accepted[1].file.file.to_string().split_once('.').map(|(_, ending)| ending), Some("bin"));
    assert!(accepted[1].file.file.is_of(b"a,b"));
    assert_eq!(parse_all(vec![], vec![file("empty", b"")]).expect_err("empty").report.code, ErrorCode::ImageRefused);
    assert!(parse_all(vec![given("a.png", PNG)], vec![file("a", b"x"); 8]).is_ok(), "they are counted separately");
    assert_eq!(parse_all(vec![], vec![file("a", b"x"); 9]).expect_err("nine").report.code, ErrorCode::TooManyImages);
    let large = vec![file("a", &vec![0; IMAGE_LIMIT_BYTES]), file("b", &vec![1; IMAGE_LIMIT_BYTES])];
    assert!(parse_all(vec![], large.clone()).is_ok());
    assert_eq!(parse_all(vec![given("a.png", PNG)], large).expect_err("too large").report.code, ErrorCode::ImagesTooLarge);
}

#[test]
fn what_comes_twice_is_taken_once() {
    let images = parse_all(vec![given("a", PNG), given("b", GIF), given("c", PNG)], vec![]).expect("the image is accepted");
    assert_eq!(images.iter().map(|image| image.file.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn json_spells_bytes_in_base64() {
    let image = given("a", b"abc");
    let text = serde_json::to_string(&image).expect("the image can be serialized");
    assert_eq!(text, r#"{"name":"a","data":"YWJj"}"#);
    assert_eq!(serde_json::from_str::<GivenImage>(&text).expect("the JSON is valid"), image);
    for data in ["YWJ", "YW Jj", "YWJj*", "data:image/png;base64,YWJj"] {
        let broken = serde_json::json!({ "name": "a", "data": data });
        let error = serde_json::from_value::<GivenImage>(broken).expect_err(data).to_string();
        assert!(error.contains("not Base64"), "{error}");
    }
    assert!(!format!("{image:?}").contains("YWJj") && format!("{image:?}").contains("3 bytes"), "{image:?}");
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(head in 0_usize..4, cut in 0_usize..200, tail in proptest::collection::vec(any::<u8>(), 0..400)) {
        let (bytes, _) = ALL[head];
        let bytes = [&bytes[..cut.min(bytes.len())], &tail].concat();
        if let Ok(image) = Image::parse(given("a", &bytes)) {
            prop_assert!(image.file.file.is_of(&bytes));
        }
    }
}
