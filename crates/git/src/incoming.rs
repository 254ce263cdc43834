//! Opens files from a container carefully, and provides a quarantine in which objects are checked before they enter the mirror.
//!
//! An agent wrote the files: no link is followed, only regular files are read, and their size is limited. Invariant: until the
//! objects are moved, they are in a folder that no ref and no other git process uses.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::Path;

use model::bundle::{BundleHeader, HEADER_LIMIT_BYTES, HarvestReport, REPORT_LIMIT_BYTES};
use model::ids::ObjectId;
use process::CommandSpec;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::admin;
use super::import_error::ImportError;

/// The file with the report of an export.
const REPORT: &str = "result";

/// The file with everything new since the host's last commit. It is missing if there is nothing new.
const BUNDLE: &str = "bundle";

/// The result of an export.
#[derive(Debug)]
pub(super) struct Incoming {
    /// The report.
    pub(super) report: HarvestReport,
    /// The bundle, if there is something new.
    pub(super) bundle: Option<Bundle>,
}

/// A bundle that contains exactly the requested ref.
#[derive(Debug)]
pub(super) struct Bundle {
    /// The commits that the bundle is based on.
    pub(super) prerequisites: Vec<ObjectId>,
    /// The file, positioned at the start of its pack.
    pub(super) pack: File,
}

impl Incoming {
    /// Reads a folder. The bundle may contain only `branch`, at the commit that the report names.
    pub(super) fn read(out: &Path, branch: &str, limit_bytes: u64) -> Result<Self, ImportError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = match openat(CWD, out, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Err(ImportError::Missing { file: REPORT }),
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(ImportError::NotAPlainFile { file: REPORT }),
            opened => opened.map_err(io::Error::from)?,
        };
        let report = plain_file(&folder, REPORT, REPORT_LIMIT_BYTES as u64)?.ok_or(ImportError::Missing { file: REPORT })?;
        let report = HarvestReport::parse(&read_up_to(&report, REPORT_LIMIT_BYTES)?)?;
        let Some(mut pack) = plain_file(&folder, BUNDLE, limit_bytes)? else { return Ok(Self { report, bundle: None }) };
        let header = BundleHeader::parse(&read_up_to(&pack, HEADER_LIMIT_BYTES)?)?;
        let found = header.only(branch)?;
        if *found != report.head {
            return Err(ImportError::WrongHead { found: found.clone(), expected: report.head });
        }
        pack.seek(SeekFrom::Start(header.length as u64))?;
        Ok(Self { report, bundle: Some(Bundle { prerequisites: header.prerequisites, pack }) })
    }
}

/// Opens a regular file of the folder, if it exists.
fn plain_file(folder: &OwnedFd, name: &'static str, limit: u64) -> Result<Option<File>, ImportError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match openat(folder, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        // The first error means a symbolic link, the second one a socket.
        Err(Errno::LOOP | Errno::NXIO) => return Err(ImportError::NotAPlainFile { file: name }),
        Err(error) => return Err(ImportError::Files(error.into())),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(ImportError::NotAPlainFile { file: name });
    }
    if metadata.len() > limit {
        return Err(ImportError::TooLarge { file: name, size: metadata.len(), limit });
    }
    Ok(Some(file))
}

fn read_up_to(file: &File, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A folder for objects that are not trusted yet. The folder is deleted with everything that was not moved out.
#[derive(Debug)]
pub(super) struct Quarantine {
    folder: tempfile::TempDir,
}

impl Quarantine {
    /// Creates the folder in the mirror's trash, where leftovers of a killed server are removed at the next start.
    pub(super) fn new(mirror: &Path) -> io::Result<Self> {
        let trash = admin::trash(mirror);
        fs_err::create_dir_all(&trash)?;
        let folder = tempfile::Builder::new().prefix("incoming-").tempdir_in(trash)?;
        fs_err::create_dir(folder.path().join("pack"))?;
        fs_err::create_dir(folder.path().join("info"))?;
        let mut known = mirror.join("objects").into_os_string();
        known.push("\n");
        fs_err::write(folder.path().join("info/alternates"), known.as_encoded_bytes())?;
        Ok(Self { folder })
    }

    /// Lets a git command on the mirror also read the objects in this folder, and write new ones to it.
    pub(super) fn inside<'a>(&self, command: CommandSpec<'a>) -> CommandSpec<'a> {
        command.env("GIT_OBJECT_DIRECTORY", self.folder.path())
    }

    /// The folder for packs that will be moved into the mirror.
    pub(super) fn packs(&self) -> std::path::PathBuf {
        self.folder.path().join("pack")
    }

    /// Moves the packs into the mirror. The index of each pack is moved last, because git finds the objects as soon as the
    /// index exists.
    pub(super) fn migrate(self, mirror: &Path) -> io::Result<()> {
        let packs = mirror.join("objects/pack");
        let mut names: Vec<_> =
            fs_err::read_dir(self.folder.path().join("pack"))?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        names.sort_by_key(|name| name.extension().is_some_and(|extension| extension == "idx"));
        for from in names {
            let to = packs.join(from.file_name().ok_or(io::ErrorKind::InvalidInput)?);
            // Packs are named by their content: an existing one is identical.
            if !to.exists() {
                fs_err::rename(from, to)?;
            }
        }
        durable::sync_folder(&packs)
    }
}
