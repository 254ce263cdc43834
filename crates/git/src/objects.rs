//! Counts the bytes of a mirror's objects, and how many of them no ref needs any more.
//!
//! This module only reads. After a repack, unreachable objects are in cruft packs, and a `.mtimes` file records since when.
//! Invariant: an object that git still counts as reachable is never counted here as unreachable.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use process::{RunProgramError, Stdin, Stdout};

use super::mirror::Mirror;
use super::program::{ANSWER_LIMIT_BYTES, GitDir, answer};
use super::unreachable::Unreachable;

/// The time limit for counting. In a large repository git has to walk millions of objects.
const COUNTING: Duration = Duration::from_secs(10);

/// The size of a pack without objects: a header of 12 bytes and a checksum of at least 20.
const PACK_FRAME_BYTES: u64 = 32;

/// The size of the header of a `.mtimes` file: signature, version and hash kind, 4 bytes each.
const MTIMES_HEADER_BYTES: usize = 12;

/// Why objects could not be counted.
#[derive(Debug, thiserror::Error)]
pub enum CountObjectsError {
    /// Git failed.
    #[error(transparent)]
    Program(#[from] RunProgramError),
    /// Files could not be read.
    #[error("could not read the mirror's objects: {0}")]
    Files(#[from] io::Error),
}

/// The files below a mirror's `objects`.
#[derive(Debug, Default)]
pub(super) struct ObjectFiles {
    /// Packs of objects that were reachable when they were written.
    pub(super) packs: Vec<PathBuf>,
    /// Packs of unreachable objects.
    pub(super) cruft: Vec<PathBuf>,
    /// Loose objects.
    pub(super) loose: Vec<PathBuf>,
    /// The total size of packs and loose objects in bytes.
    pub(super) bytes: u64,
}

impl ObjectFiles {
    /// Lists the files. Files that disappear in the meantime are omitted.
    pub(super) fn list(mirror: &Path) -> io::Result<Self> {
        let mut found = Self::default();
        for entry in fs_err::read_dir(mirror.join("objects"))? {
            let folder = entry?.path();
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_fan_out = name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            if name != "pack" && !is_fan_out {
                continue;
            }
            for entry in fs_err::read_dir(&folder)? {
                let entry = entry?;
                let path = entry.path();
                let is_temporary = entry.file_name().as_encoded_bytes().first() == Some(&b'.')
                    || entry.file_name().as_encoded_bytes().starts_with(b"tmp_");
                let is_object = if is_fan_out { true } else { path.extension().is_some_and(|extension| extension == "pack") };
                if is_temporary || !is_object {
                    continue;
                }
                match entry.metadata() {
                    Ok(metadata) => found.bytes += metadata.len(),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
                let kind = match (is_fan_out, path.with_extension("mtimes").exists()) {
                    (true, _) => &mut found.loose,
                    (false, true) => &mut found.cruft,
                    (false, false) => &mut found.packs,
                };
                kind.push(path);
            }
        }
        Ok(found)
    }
}

impl Mirror {
    /// Counts the objects that no ref needs. `cutoff` is the start of the grace period.
    pub async fn unreachable(&self, cutoff: SystemTime) -> Result<Unreachable, CountObjectsError> {
        let files = self.object_files().await?;
        let walk = self.git().command(GitDir::Mirror(self.path())).args(["rev-list", "--objects", "--disk-usage"]);
        // A partial mirror lacks objects on purpose.
        let walk = walk.args(self.is_partial().then_some("--missing=allow-promisor"));
        let walk = walk.args(["--all", "--reflog", "--indexed-objects"]).deadline(COUNTING);
        let reachable: u64 = answer(walk).await?.trim().parse().unwrap_or(u64::MAX);
        let frames = PACK_FRAME_BYTES * (files.packs.len() + files.cruft.len()) as u64;
        let bytes = files.bytes.saturating_sub(reachable.saturating_add(frames));
        let counted = Unreachable { bytes, expired: self.expired(&files, cutoff).await?.min(bytes) };
        self.last_count().store(counted);
        Ok(counted)
    }

    /// Like [`Mirror::unreachable`], but may return a count that is up to a minute old.
    pub async fn recent_unreachable(&self, cutoff: SystemTime) -> Result<Unreachable, CountObjectsError> {
        match self.last_count().recent() {
            Some(counted) => Ok(counted),
            None => self.unreachable(cutoff).await,
        }
    }

    /// Returns the total size of all objects in bytes.
    pub async fn object_bytes(&self) -> io::Result<u64> {
        Ok(self.object_files().await?.bytes)
    }

    /// Whether all reachable objects are in one pack.
    pub async fn is_packed(&self) -> io::Result<bool> {
        let files = self.object_files().await?;
        Ok(files.packs.len() <= 1 && files.loose.is_empty())
    }

    /// Forgets the last count, because objects or refs have changed.
    pub fn forget_count(&self) {
        self.last_count().forget();
    }

    pub(super) async fn object_files(&self) -> io::Result<ObjectFiles> {
        let mirror = self.path().to_owned();
        tokio::task::spawn_blocking(move || ObjectFiles::list(&mirror)).await.map_err(io::Error::other)?
    }

    /// Returns the size of objects in cruft packs that became unreachable before the cutoff and may be deleted. A partial mirror keeps
    /// them.
    pub(super) async fn expired(&self, files: &ObjectFiles, cutoff: SystemTime) -> Result<u64, CountObjectsError> {
        let mut bytes = 0;
        if self.is_partial() {
            return Ok(bytes);
        }
        for pack in &files.cruft {
            let index = File::open(pack.with_extension("idx"))?;
            let command = self.git().command(GitDir::Mirror(self.path())).arg("show-index").stdin(Stdin::File(index));
            let listed = command.stdout(Stdout::Capture { max: ANSWER_LIMIT_BYTES }).run_ok().await?.text();
            let mtimes = fs_err::read(pack.with_extension("mtimes"))?;
            bytes += expired_in(&listed, &mtimes, fs_err::metadata(pack)?.len(), cutoff);
        }
        Ok(bytes)
    }
}

/// Sums up the sizes of objects that are older than the cutoff. `listed` has a line `offset id …` for each object, in the order
/// of the times in `mtimes`.
fn expired_in(listed: &str, mtimes: &[u8], pack_bytes: u64, cutoff: SystemTime) -> u64 {
    let cutoff = cutoff.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let times = mtimes.get(MTIMES_HEADER_BYTES..).unwrap_or_default();
    let times = times.chunks_exact(4).map(|bytes| u64::from(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])));
    let offsets = listed.lines().filter_map(|line| line.split(' ').next()?.parse::<u64>().ok());
    let mut objects: Vec<(u64, u64)> = offsets.zip(times).collect();
    objects.sort_unstable();
    let ends = objects.iter().skip(1).map(|(offset, _)| *offset).chain([pack_bytes.saturating_sub(PACK_FRAME_BYTES - 12)]);
    objects.iter().zip(ends).filter(|((_, time), _)| *time < cutoff).map(|((offset, _), end)| end.saturating_sub(*offset)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_past_the_cutoff_are_counted_by_their_size_in_the_pack() {
        let listed = "112 aaaa (1)\n12 bbbb (2)\n62 cccc (3)\n";
        let mut mtimes = b"MTME\0\0\0\x01\0\0\0\x01".to_vec();
        for time in [100_u32, 300, 200] {
            mtimes.extend(time.to_be_bytes());
        }
        mtimes.extend([0; 40]);
        let expired = |cutoff| expired_in(listed, &mtimes, 220, SystemTime::UNIX_EPOCH + Duration::from_secs(cutoff));
        assert_eq!([expired(100), expired(101), expired(201), expired(301)], [0, 88, 138, 188]);
        assert_eq!(expired_in("", &[], 32, SystemTime::UNIX_EPOCH), 0);
    }
}
