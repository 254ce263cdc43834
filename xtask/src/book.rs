//! `cargo xtask book`: builds the documentation as a website with mdBook.
//!
//! It works on a copy, because the book also contains documents outside of `docs`, and mdBook reads only one folder.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::console::{self, StepError};
use crate::tools::target_folder;

/// The folder with the examples.
const EXAMPLES: &str = "examples";

/// The documents outside of `docs` that belong to the book, in the order of the book.
const OUTER_DOCUMENTS: [(&str, &str); 9] = [
    ("examples/README.md", "Examples"),
    ("examples/python/README.md", "Python client"),
    ("examples/github-action/README.md", "GitHub Action"),
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
        failed @ (StepError::Failed { .. } | StepError::Sources(_)) => BookError::Build(failed),
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
    copy_folder(&root.join("docs"), &docs, relinked_guide)?;
    if root.join(EXAMPLES).exists() {
        copy_folder(&root.join(EXAMPLES), &docs.join(EXAMPLES), relinked_outer)?;
    }
    std::fs::copy(root.join("book.toml"), stage.join("book.toml")).map_err(at(&root.join("book.toml")))?;
    let mut summary = std::fs::read_to_string(docs.join("SUMMARY.md")).map_err(at(&docs.join("SUMMARY.md")))?;
    summary.push_str("\n# Project\n\n");
    for (name, title) in OUTER_DOCUMENTS {
        if root.join(name).exists() {
            copy_document(&root.join(name), &docs.join(name), relinked_outer)?;
            summary.extend(["- [", title, "](", name, ")\n"]);
        }
    }
    std::fs::write(docs.join("SUMMARY.md"), summary).map_err(at(&docs))
}

/// Copies a folder and applies `relinked` to its documents.
fn copy_folder(from: &Path, to: &Path, relinked: fn(&str) -> String) -> Result<(), BookError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| BookError::Copy { path, source }
    };
    std::fs::create_dir_all(to).map_err(at(to))?;
    for entry in std::fs::read_dir(from).map_err(at(from))? {
        let entry = entry.map_err(at(from))?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &copy, relinked)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            copy_document(&path, &copy, relinked)?;
        } else {
            std::fs::copy(&path, &copy).map_err(at(&path))?;
        }
    }
    Ok(())
}

fn copy_document(from: &Path, to: &Path, relinked: fn(&str) -> String) -> Result<(), BookError> {
    let at = |source| BookError::Copy { path: from.to_owned(), source };
    let text = std::fs::read_to_string(from).map_err(at)?;
    // mdBook turns a README into `index.html`, but does not update the links to it.
    std::fs::write(to, relinked(&text).replace("/README.md)", "/index.md)")).map_err(at)
}

/// Changes the links from a document in `docs` to outer documents. In the book, both are in the same folder.
fn relinked_guide(text: &str) -> String {
    OUTER_DOCUMENTS.iter().fold(text.to_owned(), |text, (name, _)| text.replace(&format!("](../{name}"), &format!("]({name}")))
}

/// Changes the links from an outer document to `docs` in the same way.
fn relinked_outer(text: &str) -> String {
    text.replace("](docs/", "](").replace("../docs/", "../")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_has_the_documents_outside_of_docs_and_their_links_work() {
        let folder = tempfile::tempdir().expect("the folder can be created");
        let (root, stage) = (folder.path().join("root"), folder.path().join("stage"));
        let write = |name: &str, text: &str| {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder can be created");
            std::fs::write(path, text).expect("the file can be written");
        };
        write("book.toml", "");
        write("CHANGELOG.md", "[guide](docs/a.md)");
        write("examples/README.md", "[guide](../docs/a.md) [changes](../CHANGELOG.md) [script](curl.sh)");
        write("docs/SUMMARY.md", "# Summary\n");
        write("docs/a.md", "[changes](../CHANGELOG.md#new) [examples](../examples/README.md) [code](../src)");
        write("docs/images/b.png", "png");
        copy_sources(&root, &stage).expect("copied");
        copy_sources(&root, &stage).expect("copied again");
        let read = |name: &str| std::fs::read_to_string(stage.join("docs").join(name)).expect("the document was copied");
        assert_eq!(read("a.md"), "[changes](CHANGELOG.md#new) [examples](examples/index.md) [code](../src)");
        assert_eq!(read("examples/README.md"), "[guide](../a.md) [changes](../CHANGELOG.md) [script](curl.sh)");
        assert_eq!(read("CHANGELOG.md"), "[guide](a.md)");
        assert_eq!(
            read("SUMMARY.md"),
            "# Summary\n\n# Project\n\n- [Examples](examples/README.md)\n- [Changelog](CHANGELOG.md)\n"
        );
        assert_eq!(read("images/b.png"), "png");
    }
}
