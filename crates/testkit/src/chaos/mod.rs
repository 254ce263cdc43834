//! The chaos test: many tasks, and random kills of servers, keepers and workers, full and read-only disks, remotes that disappear, hang
//! or disconnect, wrong clocks, and clients that vanish or read slowly. After each round, all tasks must become inactive, and nothing
//! that was acknowledged may be lost. A test with power cuts also cuts the power of the home's disk.
//!
//! A seed determines the actions, but their timing also depends on the machine. Everything is real except the agent. In a smaller test
//! with containers, only the model is not real.

mod account;
mod check;
mod containers;
mod power;
mod records;
mod remotes;
mod seen;
mod shared;
mod troubles;
mod world;

pub use account::Account;

use std::time::Duration;

use self::world::World;
use crate::power_disk::FileSystem;

/// The agent of a chaos test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agent {
    /// A script that does what its prompt says.
    Script,
    /// The real Codex CLI in real containers, with a scripted model. Containers are killed too.
    Codex,
}

/// The configuration of a chaos test.
#[derive(Debug, Clone)]
pub struct Storm {
    /// The program whose servers and keepers are killed.
    pub binary: String,
    /// The seed of all random choices.
    pub seed: u64,
    /// The agent.
    pub agent: Agent,
    /// The minimum number of kills, or of power cuts in a test with power cuts.
    pub kills: u32,
    /// The number of kills in a round. After each round, all tasks must become inactive.
    pub kills_a_round: u32,
    /// The file system of the home's disk in a test with power cuts. Only for a scripted agent. Needs root.
    pub power: Option<FileSystem>,
    /// Whether the home is on a small disk that gets full. Needs root.
    pub with_disk: bool,
    /// Whether containers run in the test's own container engine, which is killed too. Needs root.
    pub own_engine: bool,
}

/// The longest pause between two actions, in milliseconds.
const LONGEST_PAUSE: u64 = 60;

/// The longest pause with containers, which need time to start and stop.
const LONGEST_PAUSE_WITH_CONTAINERS: u64 = 400;

impl Storm {
    /// Runs the test and returns a report of all actions and violations.
    ///
    /// # Panics
    /// If the setup fails, for example because the server does not start.
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
                    // After a violation, later checks would only report it again.
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

    /// Returns the number of power cuts in a test with power cuts, or else the number of kills.
    fn progress(&self, world: &World) -> u32 {
        if self.power.is_some() { world.account.cuts() } else { world.account.kills() }
    }
}
