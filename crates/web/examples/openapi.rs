//! Writes the description of the API to `docs/openapi.json`.
//!
//! `cargo xtask openapi` runs this example. Do not edit the file by hand.

use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let contract = web::openapi().to_pretty_json()?;
    std::fs::write(file, contract + "\n")
}
