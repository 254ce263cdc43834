//! Writes the reference of all settings to `docs/settings.md`.
//! `cargo xtask docs` runs this example. Do not edit the file by hand.

use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md");
    std::fs::write(file, web::settings_reference())
}
