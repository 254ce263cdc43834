//! Reads the files of Go projects: `go.mod` and `go.sum`.
//!
//! The commands also compile the tests, whose results Go keeps in its build cache.

use super::files::Files;
use super::sketch::Sketch;

pub(super) fn read(files: Files<'_>) -> Option<Sketch> {
    if !files.has("go.mod") {
        return None;
    }
    let mut sketch = Sketch::new("go.mod");
    // No test has an empty name, so the last command only compiles them.
    sketch.add_commands(["go mod download", "go build ./...", "go test -run='^$' ./..."]);
    sketch.add_keys(["go.mod", "go.sum"].into_iter().filter(|path| files.has(path)));
    sketch.add_cache(["~/go/pkg/mod", "~/.cache/go-build"]);
    Some(sketch)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn modules_are_downloaded_and_tests_are_compiled() {
        let texts = |paths: &[&str]| -> BTreeMap<String, String> {
            paths.iter().map(|path| ((*path).to_owned(), String::new())).collect()
        };
        let module = texts(&["go.mod", "go.sum"]);
        let found = read(Files::new(&module)).expect("a Go project");
        assert_eq!(found.commands, ["go mod download", "go build ./...", "go test -run='^$' ./..."]);
        assert_eq!((found.keys.len(), found.cache.len(), found.keep.len()), (2, 2, 0));
        assert_eq!(read(Files::new(&texts(&["go.sum"]))), None);
    }
}
