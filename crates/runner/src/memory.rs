//! How much memory the containers of all runs may use together, and how much one of them may use.
//!
//! Invariant: as many runs as can be active fit into the memory, unless a person or the minimum asks for more.

use std::ffi::OsStr;

use config::Config;
use model::container::ContainerSettings;
use model::size::parse_size;

/// The variable of the server that limits the memory of each container.
pub(crate) const VARIABLE: &str = "CODEX_DOCKER_MEMORY";

/// The share of the machine's memory that runs get, in percent. The rest is for the server, Git and the container engine.
const SHARE: u64 = 80;

/// The minimum limit of a run. Builds need some memory even if many runs are allowed.
const MINIMUM_BYTES: u64 = 1 << 30;

/// The memory of runs, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunMemory {
    /// The memory of all runs together.
    pub total: u64,
    /// The limit of a run whose repository sets none.
    pub of_a_run: u64,
}

impl RunMemory {
    /// Returns the memory of runs on a machine with this much memory.
    pub(crate) fn new(config: &Config, machine_bytes: u64) -> Self {
        let total = config.memory_for_runs.unwrap_or(machine_bytes / 100 * SHARE);
        let named = config.environment.get(OsStr::new(VARIABLE)).and_then(|text| parse_size(text.to_str()?));
        let share = total / u64::try_from(config.max_parallel_runs).unwrap_or(u64::MAX).max(1);
        Self { total, of_a_run: named.unwrap_or(share.max(MINIMUM_BYTES)) }
    }

    /// Returns what a run with these settings may use.
    pub fn needed(&self, settings: &ContainerSettings) -> u64 {
        settings.memory.as_deref().and_then(parse_size).unwrap_or(self.of_a_run)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn config(most: usize) -> Config {
        Config { max_parallel_runs: most, ..Config::for_home(Path::new("/home/o")) }
    }

    #[test]
    fn all_runs_together_never_exceed_the_machine() {
        for (most, total, of_a_run) in
            [(2, 80_000_000_000, 40_000_000_000), (10, 80_000_000_000, 8_000_000_000), (99, 80_000_000_000, GIB)]
        {
            assert_eq!(RunMemory::new(&config(most), 100_000_000_000), RunMemory { total, of_a_run }, "{most} runs");
        }
    }

    #[test]
    fn the_repository_decides_before_the_server_and_the_server_before_the_default() {
        let mut config = config(2);
        config.memory_for_runs = Some(12 * GIB);
        assert_eq!(RunMemory::new(&config, 100 * GIB), RunMemory { total: 12 * GIB, of_a_run: 6 * GIB });
        config.environment.insert(VARIABLE.into(), "3g".into());
        let memory = RunMemory::new(&config, 100 * GIB);
        assert_eq!(memory.needed(&ContainerSettings::default()), 3 * GIB);
        let own = ContainerSettings { memory: Some("512m".to_owned()), ..ContainerSettings::default() };
        assert_eq!(memory.needed(&own), 512 << 20);
    }
}
