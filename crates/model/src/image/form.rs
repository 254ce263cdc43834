//! Detects the format of an image, and whether the image is complete. Nothing is decoded; the model does that.
//!
//! Every step moves forward by at least one byte and never reads beyond the end. Data after the end of the image is ignored:
//! the file is always treated as the image that it starts with.

use super::ImageKind;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG: &[u8] = b"\xff\xd8\xff";

/// Detects the format from the first bytes, regardless of the file's name.
pub(super) fn kind(bytes: &[u8]) -> Option<ImageKind> {
    if bytes.starts_with(PNG) {
        Some(ImageKind::Png)
    } else if bytes.starts_with(JPEG) {
        Some(ImageKind::Jpeg)
    } else if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") {
        Some(ImageKind::Gif)
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Some(ImageKind::Webp)
    } else {
        None
    }
}

/// Returns whether the image contains picture data and is complete.
pub(super) fn is_whole(kind: ImageKind, bytes: &[u8]) -> bool {
    let whole = match kind {
        ImageKind::Png => png(bytes),
        ImageKind::Jpeg => jpeg(bytes),
        ImageKind::Gif => gif(bytes),
        ImageKind::Webp => webp(bytes),
        ImageKind::Other => None,
    };
    whole == Some(true)
}

/// Takes `length` bytes from the front.
fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// Reads the chunks of a PNG image: the header, data and the end.
fn png(bytes: &[u8]) -> Option<bool> {
    let mut rest = bytes.strip_prefix(PNG)?;
    let mut has_data = false;
    let mut is_first = true;
    loop {
        let length = number(take(&mut rest, 4)?);
        let kind = take(&mut rest, 4)?;
        let body = take(&mut rest, length)?;
        take(&mut rest, 4)?;
        match kind {
            b"IHDR" if is_first && length == 13 && number(&body[..4]) > 0 && number(&body[4..8]) > 0 => {}
            _ if is_first => return None,
            b"IDAT" => has_data = true,
            b"IEND" => return Some(has_data),
            _ => {}
        }
        is_first = false;
    }
}

/// Reads the segments of a JPEG image: the start, a frame, a scan and the end.
fn jpeg(bytes: &[u8]) -> Option<bool> {
    let mut rest = bytes.strip_prefix(b"\xff\xd8")?;
    let (mut has_frame, mut has_scan) = (false, false);
    loop {
        let mut marker = take(&mut rest, 2)?[1];
        while marker == 0xff {
            marker = take(&mut rest, 1)?[0];
        }
        match marker {
            0xd9 => return Some(has_frame && has_scan),
            0x01 | 0xd0..=0xd7 => {}
            _ => {
                let length = number(take(&mut rest, 2)?).checked_sub(2)?;
                let body = take(&mut rest, length)?;
                has_frame |=
                    matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) && number(body.get(3..5)?) > 0;
                has_scan |= marker == 0xda;
            }
        }
        // The data of a scan ends at a marker. Escaped bytes and restart markers do not end the data.
        let is_next = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7);
        let next = rest.windows(2).position(is_next)?;
        if next > 0 && !has_scan {
            return None;
        }
        take(&mut rest, next)?;
    }
}

/// Reads the blocks of a GIF image: the header, a picture and the trailer.
fn gif(bytes: &[u8]) -> Option<bool> {
    let mut rest = bytes.get(6..)?;
    let screen = take(&mut rest, 7)?;
    colours(&mut rest, screen[4])?;
    let mut has_picture = false;
    loop {
        match take(&mut rest, 1)?[0] {
            0x3b => return Some(has_picture),
            0x21 => {
                take(&mut rest, 1)?;
            }
            0x2c => {
                let picture = take(&mut rest, 9)?;
                colours(&mut rest, picture[8])?;
                take(&mut rest, 1)?;
                has_picture = true;
            }
            _ => return None,
        }
        while let length @ 1.. = number(take(&mut rest, 1)?) {
            take(&mut rest, length)?;
        }
    }
}

/// Skips a color table, if the flags announce one.
fn colours(rest: &mut &[u8], flags: u8) -> Option<()> {
    let length = if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    take(rest, length).map(drop)
}

/// Checks a WebP container: it must be complete, and its first chunk must be a picture or an extended header.
fn webp(bytes: &[u8]) -> Option<bool> {
    let mut size = bytes.get(4..8)?.to_vec();
    size.reverse();
    let mut rest = bytes.get(12..number(&size).checked_add(8)?)?;
    let kind = take(&mut rest, 4)?;
    let mut length = take(&mut rest, 4)?.to_vec();
    length.reverse();
    take(&mut rest, number(&length))?;
    Some(matches!(kind, b"VP8 " | b"VP8L" | b"VP8X"))
}
