//! Reads the files given with `--image` and `--attach`, so that a missing file is reported before any request.
//! The server checks the files again by the same rules.

use std::io::{self, Read as _};
use std::path::Path;

use model::ErrorCode;
use model::image::{GivenFile, GivenImage, IMAGE_LIMIT_BYTES, ImageBytes, ImageKind, parse_all};
use model::problem::Problem;

/// Reads images and other files in the given order. An image among the other files is treated as an image.
pub(crate) fn read(
    images: &[impl AsRef<Path>],
    files: &[impl AsRef<Path>],
) -> Result<(Vec<GivenImage>, Vec<GivenFile>), Problem> {
    let mut given = images.iter().map(|file| read_one(file.as_ref(), "--image")).collect::<Result<Vec<_>, _>>()?;
    let mut others = vec![];
    for file in files {
        let GivenImage { name, data } = read_one(file.as_ref(), "--attach")?;
        match ImageKind::of_content(&data.0) {
            Some(_) => given.push(GivenImage { name, data }),
            None => others.push(GivenFile { name, data }),
        }
    }
    parse_all(given.clone(), others.clone())?;
    Ok((given, others))
}

fn read_one(file: &Path, flag: &str) -> Result<GivenImage, Problem> {
    let unreadable = |error: io::Error| {
        let detail = format!("could not read `{}`: {error}", file.display());
        Problem::new(ErrorCode::ImageUnreadable, detail).hint(format!("use {flag} FILE once for each file"))
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

    fn images(files: &[impl AsRef<Path>]) -> Result<Vec<GivenImage>, Problem> {
        read(files, &[] as &[&Path]).map(|(images, _)| images)
    }

    #[test]
    fn any_file_can_be_attached_and_an_image_stays_an_image() {
        let folder = tempfile::tempdir().expect("a folder");
        let report = folder.path().join("report.csv");
        fs_err::write(&report, "a,b\n").expect("written");
        let dot = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/dot.png");
        let (images, files) = read(&[] as &[&Path], &[report.as_path(), &dot]).expect("both are accepted");
        assert_eq!((images[0].name.as_str(), files[0].name.as_str(), images.len() + files.len()), ("dot.png", "report.csv", 2));
        fs_err::write(&report, "").expect("written");
        assert_eq!(read(&[] as &[&Path], &[&report]).expect_err("empty").report.code, ErrorCode::ImageRefused);
        assert!(read(&[] as &[&Path], &[&dot; 9]).is_err());
    }

    #[test]
    fn a_missing_or_invalid_image_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("shot.png");
        let refused = images(&[&missing]).expect_err("the file is missing");
        assert_eq!(refused.report.code, ErrorCode::ImageUnreadable);
        assert!(refused.report.message.contains("shot.png"), "{refused}");
        assert_eq!(images(&[folder.path()]).expect_err("a folder").report.code, ErrorCode::ImageUnreadable);
        fs_err::write(&missing, "<svg/>").expect("written");
        assert_eq!(images(&[&missing]).expect_err("no image").report.code, ErrorCode::ImageRefused);
        fs_err::write(&missing, vec![0; IMAGE_LIMIT_BYTES + 5]).expect("written");
        assert_eq!(images(&[&missing]).expect_err("too large").report.code, ErrorCode::ImageTooLarge);
    }

    #[test]
    fn files_are_read_in_their_order() {
        let fixture = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures").join(name);
        let found = images(&[fixture("dot.png"), fixture("dot.gif")]).expect("images");
        assert_eq!(found.iter().map(|image| image.name.as_str()).collect::<Vec<_>>(), ["dot.png", "dot.gif"]);
    }

    #[test]
    fn too_many_images_are_refused_before_any_request() {
        let dot = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/dot.png");
        let most = model::image::MOST_IMAGES;
        assert_eq!(images(&vec![&dot; most]).map(|images| images.len()), Ok(most));
        assert!(images(&vec![&dot; most + 1]).is_err());
        assert_eq!(images(&[] as &[&Path]), Ok(vec![]));
    }

    #[test]
    fn only_the_name_of_a_file_is_sent() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("my shot \u{202e}.png");
        std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/dot.png"), &file).expect("copied");
        let found = images(&[&file]).expect("an image");
        assert_eq!(found[0].name, "my shot \u{202e}.png", "the folder is private");
    }
}
