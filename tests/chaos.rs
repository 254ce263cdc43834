//! Short chaos tests: one with a fixed seed, and one with a new seed each time, which a failure prints. `cargo xtask
//! chaos` runs the long test; `docs/reliability.md` has its results.

use testkit::chaos::{Agent, Storm};
use testkit::power_disk::FileSystem;

use crate::BINARY;

async fn survives(seed: u64, kills: u32) {
    rages(Storm {
        binary: BINARY.to_owned(),
        seed,
        agent: Agent::Script,
        kills,
        kills_a_round: kills,
        power: None,
        with_disk: true,
        own_engine: false,
    })
    .await;
}

async fn survives_power_cuts(kind: FileSystem, cuts: u32) {
    rages(Storm {
        binary: BINARY.to_owned(),
        seed: 1,
        agent: Agent::Script,
        kills: cuts,
        kills_a_round: cuts,
        power: Some(kind),
        with_disk: false,
        own_engine: false,
    })
    .await;
}

async fn rages(storm: Storm) {
    let account = storm.rage().await;
    assert!(account.violations.is_empty(), "{account}");
    let done = if storm.power.is_some() { account.cuts() } else { account.kills() };
    assert!(done >= storm.kills && account.runs.values().sum::<u32>() > 0, "the storm has enough kills and some runs: {account}");
    assert!(storm.power.is_none() || account.after_cuts > 0, "some runs end before a power cut: {account}");
}

#[tokio::test]
async fn a_short_storm_loses_nothing() {
    survives(1, 15).await;
}

#[tokio::test]
async fn a_short_storm_that_nobody_has_seen_before_loses_nothing() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    survives(u64::from(now.subsec_nanos()) ^ now.as_secs(), 15).await;
}

#[tokio::test]
async fn power_cuts_on_ext4_lose_nothing_that_was_recorded() {
    survives_power_cuts(FileSystem::Ext4, 8).await;
}

#[tokio::test]
async fn power_cuts_on_xfs_lose_nothing_that_was_recorded() {
    survives_power_cuts(FileSystem::Xfs, 3).await;
}

#[tokio::test]
async fn power_cuts_on_btrfs_lose_nothing_that_was_recorded() {
    survives_power_cuts(FileSystem::Btrfs, 2).await;
}

#[tokio::test]
async fn a_short_storm_over_the_real_codex_in_real_containers_loses_nothing() {
    rages(Storm {
        binary: BINARY.to_owned(),
        seed: 1,
        agent: Agent::Codex,
        kills: 8,
        kills_a_round: 8,
        power: None,
        with_disk: false,
        own_engine: false,
    })
    .await;
}
