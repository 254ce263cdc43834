//! The files of a repository in a build context. They come as a tar archive, such as the output of `git archive`.
//!
//! The archive is not trusted: only files, folders and symbolic links below its root are passed on, within limits, and those that
//! `.dockerignore` lists are omitted. Invariant: nothing is written outside of an unnamed temporary file.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::{Component, Path, PathBuf};

use model::ErrorCode;
use tar::{Archive, Builder, Entry, EntryType};

use super::context::{self, DOCKERFILE_PATH, OWN_FOLDER, OwnFiles};
use super::ignore::{self, Ignored};
use crate::failure::Failure;

/// The maximum total size of the files in a context.
const LIMIT_BYTES: u64 = 512 << 20;

/// The maximum number of files and folders in a context.
const LIMIT_FILES: usize = 200_000;

/// The maximum size of a Dockerfile in bytes.
const DOCKERFILE_LIMIT_BYTES: u64 = 1 << 20;

/// The name of the file that lists what is omitted.
const IGNORE_FILE: &str = ".dockerignore";

/// The files of a repository that a Dockerfile may copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryFiles {
    /// A tar archive with the files of a commit.
    archive: PathBuf,
    /// The folder that is the root of the context. Empty for the whole repository.
    folder: String,
}

impl RepositoryFiles {
    /// Uses the files below a folder of an archive.
    pub fn new(archive: PathBuf, folder: &str) -> Result<Self, Failure> {
        let folder = plain(Path::new(folder)).ok_or_else(|| unusable(&format!("invalid folder `{folder}`")))?;
        Ok(Self { archive, folder })
    }

    /// Returns the text of a Dockerfile in the archive. Its path is relative to the repository, not to the folder.
    pub fn dockerfile(&self, path: &str) -> Result<String, Failure> {
        let unreadable = |why: &str| {
            Failure::new(ErrorCode::DockerfileUnreadable, format!("cannot read the Dockerfile `{path}` in the repository: {why}"))
                .hint("specify a path relative to the repository, e.g. docker/Dockerfile")
        };
        let wanted = plain(Path::new(path)).ok_or_else(|| unreadable("invalid path"))?;
        let found = self.text(&wanted, DOCKERFILE_LIMIT_BYTES)?;
        found.ok_or_else(|| unreadable("the file does not exist"))?.map_err(|why| unreadable(&why))
    }

    /// Packs the files that are not ignored, and our own files, into a temporary file.
    pub(super) fn pack(&self, own: &OwnFiles) -> Result<File, Failure> {
        let ignored = self.ignored()?;
        let failed = |error: io::Error| unusable(&format!("{error}"));
        let mut out = Builder::new(tempfile::tempfile().map_err(failed)?);
        let mut room = Room { bytes: LIMIT_BYTES, files: LIMIT_FILES };
        self.each(|path, mut entry| {
            let Some(inside) = self.inside(path) else { return Ok(()) };
            if inside.is_empty() || inside == IGNORE_FILE || is_ours(inside) || ignored.leaves_out(inside) {
                return Ok(());
            }
            room.take(entry.size())?;
            append(&mut out, inside, &mut entry).map_err(failed)
        })?;
        own.add_to(&mut out).map_err(failed)?;
        let mut file = out.into_inner().map_err(failed)?;
        file.rewind().map_err(failed)?;
        Ok(file)
    }

    fn ignored(&self) -> Result<Ignored, Failure> {
        let path = if self.folder.is_empty() { IGNORE_FILE.to_owned() } else { format!("{}/{IGNORE_FILE}", self.folder) };
        let Some(text) = self.text(&path, ignore::LIMIT_BYTES)? else { return Ok(Ignored::default()) };
        let text = text.map_err(|why| unusable(&format!("cannot read `{path}`: {why}")))?;
        Ignored::parse(&text).map_err(|pattern| unusable(&format!("invalid pattern `{pattern}` in `{path}`")))
    }

    /// Returns the text of a file in the archive, or why it is not usable. `None` means that the file does not exist.
    fn text(&self, wanted: &str, limit: u64) -> Result<Option<Result<String, String>>, Failure> {
        let mut found = None;
        self.each(|path, entry| {
            if path == wanted {
                found = Some(match entry.header().entry_type() {
                    EntryType::Regular if entry.size() > limit => Err(format!("it is larger than {} KiB", limit / 1024)),
                    EntryType::Regular => {
                        let mut text = String::new();
                        entry.take(limit).read_to_string(&mut text).map(|_| text).map_err(|error| error.to_string())
                    }
                    _ => Err("it is not a regular file".to_owned()),
                });
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Visits the files, folders and symbolic links of the archive. Everything else is skipped.
    fn each(&self, mut visit: impl FnMut(&str, Entry<'_, File>) -> Result<(), Failure>) -> Result<(), Failure> {
        let unreadable = |error: io::Error| unusable(&format!("cannot read `{}`: {error}", self.archive.display()));
        let mut archive = Archive::new(File::open(&self.archive).map_err(unreadable)?);
        for entry in archive.entries().map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let kind = entry.header().entry_type();
            let is_known = matches!(kind, EntryType::Regular | EntryType::Directory | EntryType::Symlink);
            // The engine reads names as UTF-8.
            let path = entry.path().ok().and_then(|path| plain(&path));
            if let Some(path) = path.filter(|_| is_known) {
                visit(&path, entry)?;
            }
        }
        Ok(())
    }

    /// Returns the path relative to the folder.
    fn inside<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.folder.is_empty() {
            return Some(path);
        }
        path.strip_prefix(&self.folder)?.strip_prefix('/')
    }
}

/// How much more fits into a context.
struct Room {
    bytes: u64,
    files: usize,
}

impl Room {
    fn take(&mut self, bytes: u64) -> Result<(), Failure> {
        let left = self.bytes.checked_sub(bytes).zip(self.files.checked_sub(1));
        let Some((bytes, files)) = left else {
            let message = format!("it has more than {} MB or {LIMIT_FILES} files", LIMIT_BYTES >> 20);
            return Err(unusable(&message).hint("list folders that the Dockerfile does not need in .dockerignore"));
        };
        *self = Self { bytes, files };
        Ok(())
    }
}

fn unusable(why: &str) -> Failure {
    Failure::new(ErrorCode::ImageContext, format!("cannot use the repository's files for the build: {why}"))
}

fn is_ours(path: &str) -> bool {
    path == DOCKERFILE_PATH || path.split('/').next() == Some(OWN_FOLDER)
}

/// Returns a relative path without `.` and `..`. The root is empty.
fn plain(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

/// Appends a file without its owner and time, so that the same files are always in the same cache of the builder.
fn append(out: &mut Builder<File>, path: &str, entry: &mut Entry<'_, File>) -> io::Result<()> {
    let kind = entry.header().entry_type();
    let mode = entry.header().mode()?;
    let mode = if kind == EntryType::Directory || mode & 0o100 != 0 { 0o755 } else { 0o644 };
    let mut header = context::header(kind, mode, 0);
    if kind == EntryType::Symlink {
        let target = entry.link_name()?.unwrap_or_default().into_owned();
        return out.append_link(&mut header, path, target);
    }
    if kind == EntryType::Regular {
        header.set_size(entry.size());
    }
    out.append_data(&mut header, path, entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes an archive with these entries: a path, and a text, `/` for a folder, or `-> target` for a link.
    fn archive(entries: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("files.tar");
        let mut out = Builder::new(File::create(&path).expect("writable"));
        for (name, content) in entries {
            if let Some(target) = content.strip_prefix("-> ") {
                out.append_link(&mut context::header(EntryType::Symlink, 0o777, 0), name, target).expect("written");
            } else if *content == "/" {
                out.append_data(&mut context::header(EntryType::Directory, 0o700, 0), name, io::empty()).expect("written");
            } else {
                let mut header = context::header(EntryType::Regular, 0o600, content.len() as u64);
                // The path is written as it is, even if it leads out of the archive.
                header.as_gnu_mut().expect("a GNU header").name[..name.len()].copy_from_slice(name.as_bytes());
                header.set_cksum();
                out.append(&header, content.as_bytes()).expect("written");
            }
        }
        out.finish().expect("written");
        (folder, path)
    }

    fn packed(files: &RepositoryFiles) -> Vec<String> {
        let file = files.pack(&OwnFiles::default()).expect("it can be packed");
        let mut archive = Archive::new(file);
        let entries = archive.entries().expect("an archive").map(|entry| {
            let entry = entry.expect("an entry");
            let link = entry.link_name().expect("a link").map(|target| format!(" -> {}", target.display())).unwrap_or_default();
            format!("{}{link}", entry.path().expect("a path").display())
        });
        entries.filter(|path| path != IGNORE_FILE && path != DOCKERFILE_PATH).collect()
    }

    #[test]
    fn what_is_not_ignored_is_in_the_context() {
        let (_folder, path) = archive(&[
            (".dockerignore", "notes\n*.log\n"),
            ("package.json", "{}"),
            ("notes/a.txt", "a"),
            ("x.log", "x"),
            ("src/", "/"),
            ("src/a.js", "a"),
            ("src/b.js", "-> a.js"),
        ]);
        let files = RepositoryFiles::new(path, ".").expect("a folder");
        assert_eq!(packed(&files), ["package.json", "src", "src/a.js", "src/b.js -> a.js"]);
    }

    #[test]
    fn a_folder_can_be_the_context_and_the_dockerfile_outside_of_it() {
        let (_folder, path) = archive(&[
            ("docker/Dockerfile", "FROM y\n"),
            ("app/.dockerignore", "b\n"),
            ("app/a", "a"),
            ("app/b", "b"),
            ("apple", "c"),
        ]);
        let files = RepositoryFiles::new(path, "./app/").expect("a folder");
        assert_eq!(packed(&files), ["a"]);
        assert_eq!(files.dockerfile("docker/Dockerfile"), Ok("FROM y\n".to_owned()));
    }

    #[test]
    fn nothing_leads_out_of_the_context_or_replaces_our_files() {
        let (_folder, path) = archive(&[
            ("../evil", "x"),
            ("/etc/evil", "x"),
            ("a/../../evil", "x"),
            (".codex-docker.Dockerfile", "FROM evil"),
            (".codex-docker/tools/node.sh", "evil"),
            ("ok", "x"),
        ]);
        let files = RepositoryFiles::new(path.clone(), "").expect("a folder");
        assert_eq!(packed(&files), ["ok"]);
        for folder in ["..", "/etc", "a/../../b"] {
            assert_eq!(
                RepositoryFiles::new(path.clone(), folder).expect_err("it leads out").code,
                ErrorCode::ImageContext,
                "{folder}"
            );
        }
    }

    #[test]
    fn a_dockerfile_is_a_regular_file_of_the_repository() {
        let (_folder, path) = archive(&[("link", "-> /etc/passwd"), ("folder", "/")]);
        let files = RepositoryFiles::new(path, "").expect("a folder");
        for path in ["link", "folder", "gone", "../x", "/etc/passwd"] {
            assert_eq!(files.dockerfile(path).expect_err("it is refused").code, ErrorCode::DockerfileUnreadable, "{path}");
        }
    }

    #[test]
    fn a_context_is_bounded_and_its_ignored_files_do_not_count() {
        let mut room = Room { bytes: 10, files: 2 };
        assert_eq!(room.take(10), Ok(()));
        assert_eq!(room.take(1).expect_err("too many bytes").code, ErrorCode::ImageContext);
        assert_eq!(room.take(0), Ok(()));
        let failure = room.take(0).expect_err("too many files");
        assert!(failure.hints[0].contains(".dockerignore"), "{failure:?}");
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = |path| RepositoryFiles::new(path, "").expect("a folder");
        assert_eq!(files(folder.path().join("gone")).pack(&OwnFiles::default()).expect_err("gone").code, ErrorCode::ImageContext);
        let text = folder.path().join("text");
        fs_err::write(&text, "x".repeat(2000)).expect("written");
        assert_eq!(files(text).pack(&OwnFiles::default()).expect_err("no archive").code, ErrorCode::ImageContext);
        let (_folder, path) = archive(&[(".dockerignore", "[a")]);
        let failure = files(path).pack(&OwnFiles::default()).expect_err("an invalid pattern");
        assert!(failure.message.contains("`[a`"), "{failure:?}");
    }
}
