//! The layers of a task, which contain what its runs changed outside of the worktree, and the refreshes that start new ones.
//!
//! Invariant: different generations have different names, so that no run finds layers of another one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a set of layers of a task, counted from 0. Layers contain what the task's runs changed outside of the worktree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LayerGeneration(pub u32);

impl LayerGeneration {
    /// Whether these are the layers of a task that was never refreshed.
    pub fn is_first(&self) -> bool {
        *self == Self::default()
    }

    /// Returns a name for something that belongs to these layers.
    pub fn name(self, prefix: &str) -> String {
        if self.is_first() { prefix.to_owned() } else { format!("{prefix}-{self}") }
    }
}

impl fmt::Display for LayerGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The refreshes of a task's environment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Refreshes {
    /// The current layers.
    pub generation: LayerGeneration,
    /// Whether the next run takes the newest environment.
    pub is_due: bool,
    /// Whether layers of earlier generations may still exist.
    pub has_leftovers: bool,
}

impl Refreshes {
    /// Whether the environment was never refreshed.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_generation_has_its_own_names() {
        assert_eq!([LayerGeneration(0).name("upper"), LayerGeneration(2).name("upper")], ["upper", "upper-2"]);
    }
}
