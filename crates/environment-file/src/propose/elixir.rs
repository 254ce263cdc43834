//! Reads the lock file of Mix.
//!
//! The commands also compile the project for its tests.

use super::files::Files;
use super::sketch::Sketch;

pub(super) fn read(files: Files<'_>) -> Option<Sketch> {
    if !files.has("mix.lock") {
        return None;
    }
    let mut sketch = Sketch::new("mix.lock");
    sketch.add_commands(["mix local.hex --force", "mix local.rebar --force", "mix deps.get", "MIX_ENV=test mix compile"]);
    sketch.add_keys(["mix.exs", "mix.lock"]);
    sketch.add_keep(["deps", "_build"]);
    sketch.cache("~/.hex/packages");
    sketch.missing.push("Elixir");
    Some(sketch)
}
