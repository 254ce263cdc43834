//! Power cuts in a chaos test: the disk stops, all processes of the home die, the disk comes back, and the next server starts.
//!
//! A cut happens at a random moment or right after a run has ended, often while a request is in progress. The disk is checked
//! before the next server can repair anything.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::account::CUT;
use super::seen::Ended;
use super::shared::has_ended;
use super::world::World;

/// The maximum time between a request and the cut, in milliseconds.
const LONGEST_LEAD: u64 = 80;

/// How long a cut waits for a run to end. On a busy machine, a short run can take seconds.
const AN_END: Duration = Duration::from_secs(10);
/// How often a cut checks whether a run has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl World {
    /// Performs one action of a test with power cuts.
    pub(super) async fn deed_with_power_cuts(&mut self) {
        if self.away.is_some() && self.random.u32(..4) == 0 {
            return self.move_a_remote();
        }
        match self.random.u32(..100) {
            0..36 => self.create().await,
            36..48 => self.resume("resume").await,
            48..56 => self.resume("follow-ups").await,
            56..62 => self.stop().await,
            62..66 => self.remove().await,
            66..69 => self.restore().await,
            69..72 => self.archive().await,
            72..76 => self.kill_server().await,
            76..80 => self.kill_held("keeper"),
            80..84 => self.kill_held("worker"),
            84..86 => self.read_a_little().await,
            86..88 => self.move_a_remote(),
            88..90 => self.trouble_the_remotes().await,
            90..91 => self.change_the_clock().await,
            _ => self.cut_the_power().await,
        }
    }

    /// Cuts the power, checks the disk, and starts the next server.
    pub(super) async fn cut_the_power(&mut self) {
        if self.home.has_ended() {
            self.account.violations.push(format!("the server exited on its own: {}", self.home.log()));
            return;
        }
        if self.random.bool() {
            self.a_run_ends().await;
        }
        let before = self.ended_runs().await;
        let Some(mut disk) = self.power.take() else { return };
        self.account.did(CUT);
        let lead = Duration::from_millis(self.random.u64(..LONGEST_LEAD));
        let cut = tokio::spawn(async move {
            tokio::time::sleep(lead).await;
            // The disk stops before the processes: everything that is written from now on is lost, even if its writer still runs.
            tokio::task::spawn_blocking(move || {
                disk.cut();
                disk
            })
            .await
        });
        self.request_something().await;
        disk = cut.await.and_then(std::convert::identity).expect("the disk can be cut");
        self.home.power_off().await;
        self.slow.clear();
        disk.power_on(|| self.home.kill_everything());
        self.power = Some(disk);
        self.check_records(&before);
        if !self.account.violations.is_empty() {
            self.keep();
        }
        // Simulate a new boot, so that the server ignores the process IDs of earlier boots.
        self.home.set("ORCH_TEST_BOOT_ID", format!("after-cut-{}", self.account.cuts()));
        if !self.home.try_start().await {
            self.account.violations.push(format!("no server starts after a power cut: {}", self.home.log()));
        }
    }

    /// Sends a random request, which the cut may interrupt, or no request.
    async fn request_something(&mut self) {
        match self.random.u32(..10) {
            0 => self.create().await,
            1 => self.resume("resume").await,
            2 => self.resume("follow-ups").await,
            3 => self.stop().await,
            4 => self.remove().await,
            5 => self.restore().await,
            6 => self.archive().await,
            _ => {}
        }
    }

    /// Waits until another run has ended, but not longer than [`AN_END`], and only as long as a run is active.
    async fn a_run_ends(&mut self) {
        let ended = |tasks: &[Value]| tasks.iter().flat_map(runs_of).filter(|run| has_ended(run)).count();
        let is_any_active = |tasks: &[Value]| tasks.iter().flat_map(runs_of).any(|run| !has_ended(run));
        let (before, begun) = (ended(&self.tasks().await), Instant::now());
        while begun.elapsed() < AN_END {
            let tasks = self.tasks().await;
            if ended(&tasks) > before || !is_any_active(&tasks) {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Returns the runs that the server reports as ended.
    async fn ended_runs(&mut self) -> BTreeMap<(String, u64), Ended> {
        let mut ended = BTreeMap::new();
        for task in self.tasks().await {
            let id = task["task_id"].as_str().unwrap_or_default();
            for run in runs_of(&task).filter(|run| has_ended(run)) {
                let number = run["number"].as_u64().unwrap_or_default();
                let path = self.home.path().join("tasks").join(id).join(run["log"].as_str().unwrap_or_default());
                // There may be no log: the run may never have started, or the task may be moving to the trash.
                let log = if self.seen.has(id, number) { None } else { std::fs::read(path).ok() };
                let text = |field: &str| run[field].as_str().map(str::to_owned);
                ended.insert((id.to_owned(), number), Ended { status: text("status"), commit: text("commit"), log });
            }
        }
        ended
    }
}

fn runs_of(task: &Value) -> impl Iterator<Item = &Value> {
    task["runs"].as_array().into_iter().flatten()
}
