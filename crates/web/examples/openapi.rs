//! Writes the contract of the API to `docs/openapi.json`: what `cargo xtask openapi` runs.
//!
//! It writes nothing else, and the file is never edited by hand.

use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let contract = web::openapi().to_pretty_json()?;
    std::fs::write(file, contract + "\n")
}
