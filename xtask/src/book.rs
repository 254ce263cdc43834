//! `cargo xtask book`: the documentation as a website, built by mdBook.
//!
//! Works on a copy, because the book also contains the documents at the root of the repository, and mdBook reads only one folder.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::console::{self, StepError};
use crate::tools::target_folder;

/// The documents at the root that belong to the book, in its order.
const ROOT_DOCUMENTS: [(&str, &str); 6] = [
    ("LOGGING.md", "Log fields"),
    ("CHANGELOG.md", "Changelog"),
    ("CONTRIBUTING.md", "Contributing"),
    ("ARCHITECTURE.md", "Map of the code"),
    ("SECURITY.md", "Report a vulnerability"),
    ("CODE_OF_CONDUCT.md", "Code of conduct"),
];

/// Why the book was not built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BookError {
    #[error("could not copy {path}: {source}")]
    Copy { path: PathBuf, source: io::Error },
    #[error("mdBook not found\nhint: install it: cargo install mdbook --locked")]
    NoMdBook,
    #[error("could not build the book: {0}")]
    Build(StepError),
}

/// Builds the book in `target/book`.
pub(crate) fn run(root: &Path) -> Result<(), BookError> {
    let target = target_folder(root);
    let (stage, book) = (target.join("book-source"), target.join("book"));
    copy_sources(root, &stage)?;
    let mut command = Command::new("mdbook");
    console::run(command.arg("build").arg(&stage).arg("--dest-dir").arg(&book)).map_err(|error| match error {
        StepError::Start { .. } => BookError::NoMdBook,
        failed @ StepError::Failed { .. } => BookError::Build(failed),
    })?;
    console::say(&format!("    {}", book.join("index.html").display()));
    Ok(())
}

/// Copies everything that mdBook reads to `stage`.
fn copy_sources(root: &Path, stage: &Path) -> Result<(), BookError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| BookError::Copy { path, source }
    };
    if stage.exists() {
        std::fs::remove_dir_all(stage).map_err(at(stage))?;
    }
    let docs = stage.join("docs");
    copy_folder(&root.join("docs"), &docs)?;
    std::fs::copy(root.join("book.toml"), stage.join("book.toml")).map_err(at(&root.join("book.toml")))?;
    let mut summary = std::fs::read_to_string(docs.join("SUMMARY.md")).map_err(at(&docs.join("SUMMARY.md")))?;
    summary.push_str("\n# Project\n\n");
    for (name, title) in ROOT_DOCUMENTS {
        let path = root.join(name);
        if path.exists() {
            let text = std::fs::read_to_string(&path).map_err(at(&path))?;
            std::fs::write(docs.join(name), text.replace("](docs/", "](")).map_err(at(&path))?;
            summary.extend(["- [", title, "](", name, ")\n"]);
        }
    }
    std::fs::write(docs.join("SUMMARY.md"), summary).map_err(at(&docs))
}

/// Copies a folder. In Markdown files, links to documents at the root become links within the folder.
fn copy_folder(from: &Path, to: &Path) -> Result<(), BookError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| BookError::Copy { path, source }
    };
    std::fs::create_dir_all(to).map_err(at(to))?;
    for entry in std::fs::read_dir(from).map_err(at(from))? {
        let entry = entry.map_err(at(from))?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &copy)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            let text = std::fs::read_to_string(&path).map_err(at(&path))?;
            let text =
                ROOT_DOCUMENTS.iter().fold(text, |text, (name, _)| text.replace(&format!("](../{name}"), &format!("]({name}")));
            std::fs::write(&copy, text).map_err(at(&copy))?;
        } else {
            std::fs::copy(&path, &copy).map_err(at(&path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_has_the_documents_at_the_root_and_their_links_work() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (root, stage) = (folder.path().join("root"), folder.path().join("stage"));
        let write = |name: &str, text: &str| {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a temporary folder");
            std::fs::write(path, text).expect("a temporary file");
        };
        write("book.toml", "");
        write("CHANGELOG.md", "[guide](docs/a.md)");
        write("docs/SUMMARY.md", "# Summary\n");
        write("docs/a.md", "[changes](../CHANGELOG.md#new) [code](../src)");
        write("docs/images/b.png", "png");
        copy_sources(&root, &stage).expect("copied");
        copy_sources(&root, &stage).expect("copied again");
        let read = |name: &str| std::fs::read_to_string(stage.join("docs").join(name)).expect("it was copied");
        assert_eq!(read("a.md"), "[changes](CHANGELOG.md#new) [code](../src)");
        assert_eq!(read("CHANGELOG.md"), "[guide](a.md)");
        assert_eq!(read("SUMMARY.md"), "# Summary\n\n# Project\n\n- [Changelog](CHANGELOG.md)\n");
        assert_eq!(read("images/b.png"), "png");
    }
}
