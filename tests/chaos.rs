//! A short storm: one whose seed is always the same, and one whose seed is new each time and printed when it fails.
//! `cargo xtask chaos` is the long one; `docs/reliability.md` has its figures.

use testkit::chaos::{Agent, Storm};

const BINARY: &str = env!("CARGO_BIN_EXE_codex-orchestrator");

async fn survives(seed: u64, kills: u32) {
    rages(Storm {
        binary: BINARY.to_owned(),
        seed,
        agent: Agent::Script,
        kills,
        kills_a_round: kills,
        with_disk: true,
        own_engine: false,
    })
    .await;
}

async fn rages(storm: Storm) {
    let account = storm.rage().await;
    assert!(account.violations.is_empty(), "{account}");
    assert!(account.kills() >= storm.kills && account.runs.values().sum::<u32>() > 0, "it was no storm: {account}");
}

#[tokio::test]
async fn a_short_storm_loses_nothing() {
    survives(1, 30).await;
}

#[tokio::test]
async fn a_short_storm_that_nobody_has_seen_before_loses_nothing() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    survives(u64::from(now.subsec_nanos()) ^ now.as_secs(), 30).await;
}

#[tokio::test]
async fn a_short_storm_over_the_real_codex_in_real_containers_loses_nothing() {
    let binary = BINARY.to_owned();
    rages(Storm { binary, seed: 1, agent: Agent::Codex, kills: 8, kills_a_round: 8, with_disk: false, own_engine: false }).await;
}
