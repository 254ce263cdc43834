//! `cargo xtask diagram`: renders the architecture diagram from its text source.
//!
//! It reads and writes only files in `docs/images`. The output depends only on the source, so a test can compare the two.

mod parse;
mod svg;

use std::io;
use std::path::{Path, PathBuf};

/// The text source of the diagram. Its comments describe the format.
const SOURCE: &str = "docs/images/architecture.diagram";

/// The rendered diagram.
const OUTPUT: &str = "docs/images/architecture.svg";

/// An error in the source of a diagram, or in reading or writing a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiagramError {
    #[error("could not read or write {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{SOURCE}:{line}: {reason}")]
    Invalid { line: usize, reason: String },
}

/// Renders the diagram and writes the SVG file.
pub(crate) fn run(root: &Path) -> Result<(), DiagramError> {
    let path = root.join(OUTPUT);
    std::fs::write(&path, rendered(root)?).map_err(|source| DiagramError::File { path, source })
}

fn rendered(root: &Path) -> Result<String, DiagramError> {
    let path = root.join(SOURCE);
    let text = std::fs::read_to_string(&path).map_err(|source| DiagramError::File { path, source })?;
    Ok(svg::render(&parse::diagram(&text)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_diagram_is_up_to_date() {
        let root = crate::root();
        let committed = std::fs::read_to_string(root.join(OUTPUT)).expect("the diagram is committed");
        assert!(rendered(root).expect("the source is valid") == committed, "run `cargo xtask diagram`");
    }
}
