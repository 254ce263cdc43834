//! Recognizes images that browsers can show, by their name before the content is read and by their first bytes afterwards. The media
//! type of a response comes from this list, never from the file name.

use crate::image::ImageKind;

/// A changed image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// The path, or the old path if the file was deleted.
    pub path: String,
    /// The size before the change in bytes, or `None` if the file is new.
    pub old_bytes: Option<u64>,
    /// The size after the change in bytes, or `None` if the file was deleted.
    pub new_bytes: Option<u64>,
}

/// An image format that every browser can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureKind {
    /// A format that prompts also accept.
    Image(ImageKind),
    /// SVG (`image/svg+xml`).
    Svg,
}

impl PictureKind {
    /// Returns the format for a file name.
    pub fn of_name(path: &str) -> Option<Self> {
        let (_, end) = path.rsplit_once('.')?;
        Some(match end.to_ascii_lowercase().as_str() {
            "svg" => Self::Svg,
            "jpeg" => Self::Image(ImageKind::Jpeg),
            end => Self::Image(ImageKind::of_ending(end).filter(|kind| kind.is_image())?),
        })
    }

    /// Returns the format for the first bytes of a file.
    pub fn of_content(bytes: &[u8]) -> Option<Self> {
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
        let is_svg = text.starts_with(b"<svg") || (text.starts_with(b"<?xml") && text.windows(4).any(|part| part == b"<svg"));
        ImageKind::of_content(bytes).map(Self::Image).or(is_svg.then_some(Self::Svg))
    }

    /// Returns the media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Image(kind) => kind.media_type(),
            Self::Svg => "image/svg+xml",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_what_its_first_bytes_say() {
        for (bytes, kind) in [
            (b"\x89PNG\r\n\x1a\n....".as_slice(), Some(PictureKind::Image(ImageKind::Png))),
            (b"\xff\xd8\xff\xe0", Some(PictureKind::Image(ImageKind::Jpeg))),
            (b"GIF89a", Some(PictureKind::Image(ImageKind::Gif))),
            (b"RIFF\x01\x02\x03\x04WEBPVP8 ", Some(PictureKind::Image(ImageKind::Webp))),
            (b"\xef\xbb\xbf <svg xmlns='x'>", Some(PictureKind::Svg)),
            (b"<?xml version='1.0'?>\n<svg>", Some(PictureKind::Svg)),
            (b"<?xml version='1.0'?><html>", None),
            (b"<html><svg>", None),
            (b"RIFF", None),
            (b"", None),
        ] {
            assert_eq!(PictureKind::of_content(bytes), kind, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_name_says_whether_to_ask() {
        for (path, kind) in [
            ("a/b.PNG", Some("image/png")),
            ("x.jpeg", Some("image/jpeg")),
            ("x.svg", Some("image/svg+xml")),
            ("png", None),
            ("x.html", None),
        ] {
            assert_eq!(PictureKind::of_name(path).map(PictureKind::media_type), kind, "{path}");
        }
    }
}
