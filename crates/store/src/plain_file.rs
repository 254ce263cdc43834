//! Reads small files that other programs may have replaced, such as a login or a script.
//!
//! Nothing else at the path can block this process or lead it elsewhere.

use std::io::{self, Read as _};
use std::path::Path;

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::OFlags;

/// The maximum size of a file in bytes.
const LIMIT_BYTES: u64 = 256 * 1024;

/// Reads a small regular file. Does not follow links or open anything that could block.
pub fn read_plain_file(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = fs::File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > LIMIT_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("`{}` is not a small regular file", path.display())));
    }
    let mut bytes = Vec::new();
    file.take(LIMIT_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}
