//! A storm: many tasks, and random kills of servers, keepers and workers at random moments, disks that are full or read-only,
//! remotes that go away, hang or break off, clocks that are wrong, and clients that vanish or read slowly. After each round all must
//! be calm, and nothing that was acknowledged may be lost. A storm with power cuts also cuts the power of the home's disk.
//!
//! What is done is drawn from a seed. When it happens also depends on the machine, so the same seed is the same storm, not the same
//! instant. Everything is real but the agent; or, in a smaller storm with containers, everything but the model.

mod account;
mod check;
mod containers;
mod power;
mod records;
mod troubles;
mod world;

pub use account::Account;

use std::time::Duration;

use self::world::World;
use crate::power_disk::FileSystem;

/// Who does the work in a storm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agent {
    /// A script that does what its prompt says.
    Script,
    /// The real Codex CLI in real containers; the model is scripted. Containers are killed too.
    Codex,
}

/// How a storm is to be.
#[derive(Debug, Clone)]
pub struct Storm {
    /// The program whose servers and keepers are killed.
    pub binary: String,
    /// What everything is drawn from.
    pub seed: u64,
    /// Who does the work.
    pub agent: Agent,
    /// It continues for at least so many kills or, with power cuts, so many cuts.
    pub kills: u32,
    /// So many of them are in a round, after which all must be calm.
    pub kills_a_round: u32,
    /// Cuts the power of the home's disk, which has this file system. Only for a scripted agent. Needs root.
    pub power: Option<FileSystem>,
    /// Whether the home is a small disk that gets full. Needs root.
    pub with_disk: bool,
    /// Whether containers are in an engine of the storm's own, which is killed too. Needs root.
    pub own_engine: bool,
}

/// The longest pause between two deeds, in milliseconds.
const LONGEST_PAUSE: u64 = 60;

/// The same where containers have to come and go.
const LONGEST_PAUSE_WITH_CONTAINERS: u64 = 400;

impl Storm {
    /// Lets it rage. The account says what happened, and what is wrong.
    ///
    /// # Panics
    /// When the ground of it fails: no folder, no server that starts.
    pub async fn rage(&self) -> Account {
        let longest_pause = match self.agent {
            Agent::Script => LONGEST_PAUSE,
            Agent::Codex => LONGEST_PAUSE_WITH_CONTAINERS,
        };
        let mut world = World::new(self).await;
        while self.progress(&world) < self.kills && world.account.violations.is_empty() {
            let before = self.progress(&world);
            while self.progress(&world) < before + self.kills_a_round {
                world.deed().await;
                if self.power.is_some() && !world.account.violations.is_empty() {
                    // What a cut destroyed would only lead to more of the same.
                    return world.end().await;
                }
                let pause = world.random.u64(..longest_pause);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            world.calm().await;
            world.check().await;
            world.account.rounds += 1;
        }
        world.end().await
    }

    /// How far the storm is: kills or, with power cuts, cuts.
    fn progress(&self, world: &World) -> u32 {
        if self.power.is_some() { world.account.cuts() } else { world.account.kills() }
    }
}
