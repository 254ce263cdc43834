//! Writes the sample of the server's settings to `docs/config.toml`.
//! `cargo xtask docs` runs this example. Do not edit the file by hand.

use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.toml");
    fs_err::write(file, config::sample())
}
