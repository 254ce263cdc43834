//! Reads the lock file of Bundler.
//!
//! The gems are installed outside of the worktree, so they become part of the snapshot's image.

use super::files::Files;
use super::sketch::Sketch;

pub(super) fn read(files: Files<'_>) -> Option<Sketch> {
    if !files.has("Gemfile.lock") {
        return None;
    }
    let mut sketch = Sketch::new("Gemfile.lock");
    sketch.command("bundle install");
    sketch.add_keys(["Gemfile", "Gemfile.lock"]);
    sketch.missing.push("Ruby");
    Some(sketch)
}
