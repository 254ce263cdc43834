//! Images and other files that are attached to prompts: their formats, their file names, and their form in records.
//!
//! The format of an image is detected from the bytes; the given name is only displayed. Invariant: an [`ImageName`] is sixteen hexadecimal
//! digits and the extension of its format, so it never leads out of its folder.

mod form;

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use printable::printable_line;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::{KnownFormat, SchemaFormat};

use crate::error_code::ErrorCode;
use crate::problem::Problem;
use crate::schema::{text, text_in_requests};

/// The maximum size of an image in bytes.
pub const IMAGE_LIMIT_BYTES: usize = 10 << 20;

/// The maximum total size of the images of a prompt, in bytes.
pub const IMAGES_LIMIT_BYTES: usize = 20 << 20;

/// The maximum number of images of a prompt, and of its other files.
pub const MOST_IMAGES: usize = 8;

/// The pattern of a content in Base64.
const BASE64: &str = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/][AQgw]==)$";

/// The maximum length of a displayed name, in characters.
const NAME_LIMIT: usize = 120;

/// The accepted files, as a hint for error messages.
pub(crate) const TAKEN: &str =
    "attach up to 8 images (PNG, JPEG, GIF or WebP) and up to 8 other files, 10 MiB each and 20 MiB in total";

/// An accepted image format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "these are the names of the formats")]
pub enum ImageKind {
    Png,
    Jpeg,
    Gif,
    Webp,
    /// Not an image: a file that the agent reads itself.
    Other,
}

impl ImageKind {
    const ALL: [Self; 5] = [Self::Png, Self::Jpeg, Self::Gif, Self::Webp, Self::Other];

    /// Whether the model can see the file as an image.
    pub fn is_image(self) -> bool {
        self != Self::Other
    }

    /// Returns the file extension.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::Gif => "gif",
            Self::Webp => "webp",
            Self::Other => "bin",
        }
    }

    /// Returns the format with this file extension.
    pub fn of_ending(ending: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.ending() == ending)
    }

    /// Detects the format from the first bytes, regardless of the file's name. The image may be incomplete.
    pub fn of_content(bytes: &[u8]) -> Option<Self> {
        form::kind(bytes)
    }

    /// Returns the media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
            Self::Other => "application/octet-stream",
        }
    }
}

/// The name of an image file: the first 64 bits of its SHA-256 and the extension of its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ImageName {
    digest: u64,
    kind: ImageKind,
}

impl ImageName {
    /// Returns the name for these bytes.
    pub fn of(bytes: &[u8], kind: ImageKind) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        let first = digest.as_ref().iter().take(8);
        Self { digest: first.fold(0, |digest, byte| digest << 8 | u64::from(*byte)), kind }
    }

    /// Returns the format.
    pub fn kind(self) -> ImageKind {
        self.kind
    }

    /// Whether this is the name for these bytes.
    pub fn is_of(self, bytes: &[u8]) -> bool {
        Self::of(bytes, self.kind) == self
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}", self.digest, self.kind.ending())
    }
}

/// An error for text that is not a valid image name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an image name must be sixteen hexadecimal digits and `.png`, `.jpg`, `.gif`, `.webp` or `.bin`")]
pub struct ImageNameError;

impl FromStr for ImageName {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        let (digits, ending) = text.split_once('.').ok_or(ImageNameError)?;
        let kind = ImageKind::of_ending(ending).ok_or(ImageNameError)?;
        let is_ours = digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let digest = is_ours.then(|| u64::from_str_radix(digits, 16).ok()).flatten().ok_or(ImageNameError)?;
        Ok(Self { digest, kind })
    }
}

impl Serialize for ImageName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ImageName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An image or another file that is attached to a prompt, in the form of records and the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Image)]
pub struct ImageFile {
    /// The file name in the folder `images` of the task. It ends with `.bin` if the file is not an image.
    #[schema(value_type = String)]
    pub file: ImageName,
    /// The display name: one printable line.
    pub name: String,
    /// The size in bytes.
    pub bytes: u64,
}

/// An image in a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GivenImage {
    /// The display name.
    pub name: String,
    /// The content in Base64.
    #[schema(value_type = ImageContent)]
    pub data: ImageBytes,
}

/// A file in a request that the agent reads itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GivenFile {
    /// The display name.
    pub name: String,
    /// The content in Base64.
    #[schema(value_type = FileContent)]
    pub data: ImageBytes,
}

text_in_requests!(
    /// A file of 1 byte to 10 MiB, in Base64.
    pub(crate) FileContent,
    |description| {
        text(description, BASE64).format(Some(SchemaFormat::KnownFormat(KnownFormat::Byte)))
    }
);

text_in_requests!(
    /// A PNG, JPEG, GIF or WebP image of at most 10 MiB, in Base64.
    pub(crate) ImageContent,
    |description| {
        text(description, BASE64).format(Some(SchemaFormat::KnownFormat(KnownFormat::Byte)))
    }
);

/// The content of an image. In JSON, it is encoded in Base64.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ImageBytes(pub Vec<u8>);

/// Prints the size instead of the content.
impl fmt::Debug for ImageBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for ImageBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for ImageBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text.as_bytes());
        bytes.map(Self).map_err(|error| serde::de::Error::custom(format!("an image's data is not Base64: {error}")))
    }
}

/// An accepted image: its record and its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The record.
    pub file: ImageFile,
    /// The content.
    pub bytes: Vec<u8>,
}

impl Image {
    /// Accepts an image that has a known format, is complete, and is not too large.
    pub fn parse(given: GivenImage) -> Result<Self, Problem> {
        let GivenImage { name, data: ImageBytes(bytes) } = given;
        let (plain, called) = names(&name, "the image");
        check_size(&called, &bytes)?;
        let refused = |why: &str| Problem::new(ErrorCode::ImageRefused, format!("{called} {why}")).hint(TAKEN);
        let kind = form::kind(&bytes).ok_or_else(|| refused("is not in a supported image format"))?;
        if !form::is_whole(kind, &bytes) {
            return Err(refused("is incomplete or damaged").hint("attach the file again, or save it with a different program"));
        }
        Ok(Self::new(bytes, kind, plain.unwrap_or_else(|| format!("image.{}", kind.ending()))))
    }

    /// Accepts any file that is not empty or too large.
    pub fn parse_file(given: GivenFile) -> Result<Self, Problem> {
        let GivenFile { name, data: ImageBytes(bytes) } = given;
        let (plain, called) = names(&name, "the file");
        check_size(&called, &bytes)?;
        Ok(Self::new(bytes, ImageKind::Other, plain.unwrap_or_else(|| "file".to_owned())))
    }

    fn new(bytes: Vec<u8>, kind: ImageKind, name: String) -> Self {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Self { file: ImageFile { file: ImageName::of(&bytes, kind), name, bytes: size }, bytes }
    }
}

/// Returns the display name, if there is one, and what to call the file in an error.
fn names(given: &str, otherwise: &str) -> (Option<String>, String) {
    let plain = Some(plain_name(given)).filter(|plain| !plain.is_empty());
    let called = plain.as_ref().map_or_else(|| otherwise.to_owned(), |plain| format!("`{plain}`"));
    (plain, called)
}

fn check_size(called: &str, bytes: &[u8]) -> Result<(), Problem> {
    if bytes.is_empty() {
        return Err(Problem::new(ErrorCode::ImageRefused, format!("{called} is empty")).hint(TAKEN));
    }
    if bytes.len() > IMAGE_LIMIT_BYTES {
        let detail = format!("{called} has {} bytes; the limit is {IMAGE_LIMIT_BYTES} (10 MiB)", bytes.len());
        return Err(Problem::new(ErrorCode::ImageTooLarge, detail).hint(TAKEN));
    }
    Ok(())
}

/// Accepts the images and other files of a prompt, in order. Duplicates are kept only once.
pub fn parse_all(images: Vec<GivenImage>, files: Vec<GivenFile>) -> Result<Vec<Image>, Problem> {
    let count = images.len().max(files.len());
    if count > MOST_IMAGES {
        let detail = format!("too many images or other files: {count}; the limit is {MOST_IMAGES} of each per prompt");
        return Err(Problem::new(ErrorCode::TooManyImages, detail).hint(TAKEN));
    }
    let sizes = images.iter().map(|image| image.data.0.len()).chain(files.iter().map(|file| file.data.0.len()));
    let together: usize = sizes.sum();
    let mut accepted: Vec<Image> = vec![];
    for image in images.into_iter().map(Image::parse).chain(files.into_iter().map(Image::parse_file)) {
        let image = image?;
        if !accepted.iter().any(|known| known.file.file == image.file.file) {
            accepted.push(image);
        }
    }
    if together > IMAGES_LIMIT_BYTES {
        let detail = format!("the images and files have {together} bytes in total; the limit is {IMAGES_LIMIT_BYTES} (20 MiB)");
        return Err(Problem::new(ErrorCode::ImagesTooLarge, detail).hint(TAKEN));
    }
    Ok(accepted)
}

/// Returns the records of accepted images.
pub fn files(images: &[Image]) -> Vec<ImageFile> {
    images.iter().map(|image| image.file.clone()).collect()
}

/// Removes the folders from a name and makes it one printable line.
fn plain_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain = printable_line(last, NAME_LIMIT);
    if plain.chars().all(|c| c == '.') { String::new() } else { plain }
}

#[cfg(test)]
mod tests;
