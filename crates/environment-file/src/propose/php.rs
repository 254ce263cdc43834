//! Reads the lock file of Composer.
//!
//! The packages are installed in the worktree, in `vendor`.

use super::files::Files;
use super::sketch::Sketch;

pub(super) fn read(files: Files<'_>) -> Option<Sketch> {
    if !files.has("composer.lock") {
        return None;
    }
    let mut sketch = Sketch::new("composer.lock");
    sketch.command("composer install --no-interaction");
    sketch.add_keys(["composer.json", "composer.lock"]);
    sketch.keep("vendor");
    // The folder depends on whether the system follows the XDG specification.
    sketch.add_cache(["~/.cache/composer", "~/.composer/cache"]);
    sketch.missing.push("PHP");
    Some(sketch)
}
