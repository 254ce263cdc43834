//! Reads the files given with `--image`, so that a missing file is reported before any request.
//! The server checks the images again by the same rules.

use std::io::{self, Read as _};
use std::path::Path;

use model::ErrorCode;
use model::image::{GivenImage, IMAGE_LIMIT_BYTES, ImageBytes, parse_all};
use model::problem::Problem;

/// Reads the image files in the given order.
pub(crate) fn read(files: &[impl AsRef<Path>]) -> Result<Vec<GivenImage>, Problem> {
    let images = files.iter().map(|file| read_one(file.as_ref())).collect::<Result<Vec<_>, _>>()?;
    parse_all(images.clone())?;
    Ok(images)
}

fn read_one(file: &Path) -> Result<GivenImage, Problem> {
    let unreadable = |error: io::Error| {
        let detail = format!("could not read the image `{}`: {error}", file.display());
        Problem::new(ErrorCode::ImageUnreadable, detail).hint("use --image FILE once for each image")
    };
    // One byte over the limit, to detect files that are too large.
    let limit = u64::try_from(IMAGE_LIMIT_BYTES).unwrap_or(u64::MAX) + 1;
    let mut bytes = vec![];
    std::fs::File::open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(unreadable)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(GivenImage { name, data: ImageBytes(bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_invalid_image_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("shot.png");
        let refused = read(&[&missing]).expect_err("the file is missing");
        assert_eq!(refused.report.code, ErrorCode::ImageUnreadable);
        assert!(refused.report.message.contains("shot.png"), "{refused}");
        assert_eq!(read(&[folder.path()]).expect_err("a folder").report.code, ErrorCode::ImageUnreadable);
        fs_err::write(&missing, "<svg/>").expect("written");
        assert_eq!(read(&[&missing]).expect_err("no image").report.code, ErrorCode::ImageRefused);
        fs_err::write(&missing, vec![0; IMAGE_LIMIT_BYTES + 5]).expect("written");
        assert_eq!(read(&[&missing]).expect_err("too large").report.code, ErrorCode::ImageTooLarge);
    }

    #[test]
    fn files_are_read_in_their_order() {
        let fixture = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures").join(name);
        let images = read(&[fixture("dot.png"), fixture("dot.gif")]).expect("images");
        assert_eq!(images.iter().map(|image| image.name.as_str()).collect::<Vec<_>>(), ["dot.png", "dot.gif"]);
    }

    #[test]
    fn too_many_images_are_refused_before_any_request() {
        let dot = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/dot.png");
        let most = model::image::MOST_IMAGES;
        assert_eq!(read(&vec![&dot; most]).map(|images| images.len()), Ok(most));
        assert!(read(&vec![&dot; most + 1]).is_err());
        assert_eq!(read(&[] as &[&Path]), Ok(vec![]));
    }

    #[test]
    fn only_the_name_of_a_file_is_sent() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("my shot \u{202e}.png");
        std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/dot.png"), &file).expect("copied");
        let images = read(&[&file]).expect("an image");
        assert_eq!(images[0].name, "my shot \u{202e}.png", "the folder is private");
    }
}
