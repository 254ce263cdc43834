//! What kind of image bytes are, and whether all of it is there. Nothing is decoded: that is the model's business.
//!
//! Every step goes forward by at least one byte, and nothing is read beyond the end. What lies behind an image's end is nobody's
//! concern: it is always served, and handed on, as the image that it begins with.

use super::ImageKind;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG: &[u8] = b"\xff\xd8\xff";

/// The kind by the first bytes, whatever it is called.
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

/// Whether there is a picture in it, and its end.
pub(super) fn is_whole(kind: ImageKind, bytes: &[u8]) -> bool {
    let whole = match kind {
        ImageKind::Png => png(bytes),
        ImageKind::Jpeg => jpeg(bytes),
        ImageKind::Gif => gif(bytes),
        ImageKind::Webp => webp(bytes),
    };
    whole == Some(true)
}

/// Takes so many bytes from the front.
fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// Chunks from the header to the end, with data between them.
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

/// Segments from the start to the end, with a frame and a scan between them.
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
        // The data of a scan: it ends with a marker that neither stands for a byte of it nor restarts it.
        let is_next = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7);
        let next = rest.windows(2).position(is_next)?;
        if next > 0 && !has_scan {
            return None;
        }
        take(&mut rest, next)?;
    }
}

/// Blocks from the header to the trailer, with a picture between them.
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

/// Skips a table of colours, where these flags say that there is one.
fn colours(rest: &mut &[u8], flags: u8) -> Option<()> {
    let length = if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    take(rest, length).map(drop)
}

/// A container that is as long as it says, and begins with a picture or with what pictures follow.
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
