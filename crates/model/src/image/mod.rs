//! Images that go along with a prompt: which are taken, what they are called on disk, and how a record spells them.
//!
//! Pure. What an image is, its bytes alone say; what somebody called it is only shown. Invariant: an [`ImageName`] is sixteen
//! hexadecimal digits and the ending of its kind, so it leads nowhere but into the folder that it is looked for in.

mod form;

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codex::printable_line;
use crate::problem::{Problem, ProblemKind};

/// The most bytes that one image may have.
pub const IMAGE_LIMIT_BYTES: usize = 10 << 20;

/// The most bytes that all images of one prompt may have together.
pub const IMAGES_LIMIT_BYTES: usize = 20 << 20;

/// The most images of one prompt.
pub const MOST_IMAGES: usize = 8;

/// The longest name that is shown, in characters.
const NAME_LIMIT: usize = 120;

/// What is taken, as every refusal says.
const TAKEN: &str = "PNG, JPEG, GIF and WebP are taken: up to 8 images, 10 MiB each and 20 MiB together";

/// The kinds of images that are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the formats' own names")]
pub enum ImageKind {
    Png,
    Jpeg,
    Gif,
    Webp,
}

impl ImageKind {
    const ALL: [Self; 4] = [Self::Png, Self::Jpeg, Self::Gif, Self::Webp];

    /// What its file's name ends with.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::Gif => "gif",
            Self::Webp => "webp",
        }
    }

    /// The kind whose files end with this.
    pub fn of_ending(ending: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.ending() == ending)
    }

    /// What bytes are by the first of them, whatever they are called. All of an image need not be there.
    pub fn of_content(bytes: &[u8]) -> Option<Self> {
        form::kind(bytes)
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
        }
    }
}

/// The name of an image's file: the first 64 bits of its SHA-256, and the ending of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ImageName {
    digest: u64,
    kind: ImageKind,
}

impl ImageName {
    /// The name of an image with these bytes.
    pub fn of(bytes: &[u8], kind: ImageKind) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        let first = digest.as_ref().iter().take(8);
        Self { digest: first.fold(0, |digest, byte| digest << 8 | u64::from(*byte)), kind }
    }

    /// What kind of image it is.
    pub fn kind(self) -> ImageKind {
        self.kind
    }

    /// Whether these are the bytes that it is the name of.
    pub fn is_of(self, bytes: &[u8]) -> bool {
        Self::of(bytes, self.kind) == self
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}", self.digest, self.kind.ending())
    }
}

/// A text that names no image of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name of an image is sixteen hexadecimal digits and `.png`, `.jpg`, `.gif` or `.webp`")]
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

/// An image of a prompt, as a record and the API spell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Image)]
pub struct ImageFile {
    /// The name of its file, below `images` in the task's folder.
    #[schema(value_type = String)]
    pub file: ImageName,
    /// What whoever gave it called it: one printable line.
    pub name: String,
    /// How large it is.
    pub bytes: u64,
}

/// An image as a request brings it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GivenImage {
    /// What it is called, to be shown.
    pub name: String,
    /// Its bytes, in Base64.
    #[schema(value_type = String, format = Byte)]
    pub data: ImageBytes,
}

/// The bytes of an image, which JSON spells in Base64.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ImageBytes(pub Vec<u8>);

/// Their number alone.
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

/// An image that was taken: what a record says of it, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What a record says of it.
    pub file: ImageFile,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Image {
    /// Takes one that is of a known kind, whole, and not too large.
    pub fn parse(given: GivenImage) -> Result<Self, Problem> {
        let GivenImage { name, data: ImageBytes(bytes) } = given;
        let plain = plain_name(&name);
        let called = if plain.is_empty() { "the image".to_owned() } else { format!("`{plain}`") };
        let refused = |why: &str| Problem::new(ProblemKind::Unusable, "image_refused", format!("{called} {why}")).hint(TAKEN);
        if bytes.is_empty() {
            return Err(refused("is empty"));
        }
        if bytes.len() > IMAGE_LIMIT_BYTES {
            let detail = format!("{called} has {} bytes; at most {IMAGE_LIMIT_BYTES} (10 MiB) are taken", bytes.len());
            return Err(Problem::new(ProblemKind::TooLarge, "image_too_large", detail).hint(TAKEN));
        }
        let kind = form::kind(&bytes).ok_or_else(|| refused("is no image of a kind that is taken"))?;
        if !form::is_whole(kind, &bytes) {
            return Err(refused("is cut off or damaged").hint("give the file anew, or save it anew with another program"));
        }
        let name = if plain.is_empty() { format!("image.{}", kind.ending()) } else { plain };
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(Self { file: ImageFile { file: ImageName::of(&bytes, kind), name, bytes: size }, bytes })
    }
}

/// Takes the images of one prompt, in their order. One that comes twice is taken once.
pub fn parse_all(given: Vec<GivenImage>) -> Result<Vec<Image>, Problem> {
    if given.len() > MOST_IMAGES {
        let detail = format!("there are {} images; at most {MOST_IMAGES} go along with a prompt", given.len());
        return Err(Problem::new(ProblemKind::Unusable, "too_many_images", detail).hint(TAKEN));
    }
    let together: usize = given.iter().map(|image| image.data.0.len()).sum();
    let mut images: Vec<Image> = vec![];
    for image in given {
        let image = Image::parse(image)?;
        if !images.iter().any(|known| known.file.file == image.file.file) {
            images.push(image);
        }
    }
    if together > IMAGES_LIMIT_BYTES {
        let detail = format!("the images have {together} bytes together; at most {IMAGES_LIMIT_BYTES} (20 MiB) are taken");
        return Err(Problem::new(ProblemKind::TooLarge, "images_too_large", detail).hint(TAKEN));
    }
    Ok(images)
}

/// What records say of images that were taken.
pub fn files(images: &[Image]) -> Vec<ImageFile> {
    images.iter().map(|image| image.file.clone()).collect()
}

/// A name without its folders, in one printable line.
fn plain_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain = printable_line(last, NAME_LIMIT);
    if plain.chars().all(|c| c == '.') { String::new() } else { plain }
}

#[cfg(test)]
mod tests;
