//! Faults around the servers: disks, remotes, clocks, and slow clients.
//!
//! All faults end with their round, except a wrong clock: it stays wrong until the next change.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;

use super::shared::ANSWER;
use super::world::World;
use crate::upstream::Upstream;

/// The maximum number of slow clients.
const SLOW: usize = 12;

/// The offsets that a clock can have.
const CLOCKS: [&str; 7] = ["+0", "+3m", "-7m", "-1h", "+40d", "-3650d", "+3650d"];

impl World {
    pub(super) fn move_a_remote(&mut self) {
        let here = |upstream: &Upstream| upstream.path().to_owned();
        let gone = |upstream: &Upstream| upstream.path().with_extension("away");
        if let Some(away) = self.away.take() {
            fs_err::rename(gone(&self.upstreams[away]), here(&self.upstreams[away])).expect("the file belongs to the test");
            return;
        }
        self.account.did("move a remote away");
        let away = self.random.usize(..self.upstreams.len());
        fs_err::rename(here(&self.upstreams[away]), gone(&self.upstreams[away])).expect("the file belongs to the test");
        self.away = Some(away);
    }

    /// Adds a commit to the remotes and then makes them hang or disconnect. If they already do, makes them work again.
    pub(super) async fn trouble_the_remotes(&mut self) {
        if self.remotes.is_bad {
            return self.ease_the_remotes();
        }
        let (hangs, bytes) = (self.random.bool(), self.random.u32(..1_500));
        if self.away.is_none() {
            let text = bytes.to_string();
            for upstream in &self.upstreams {
                upstream.commit("main", &[("news.txt", &text)], "news");
            }
        }
        self.remotes.is_bad = true;
        if hangs {
            self.account.did("let the remotes hang");
            self.remotes.behave("hangs");
        } else {
            self.account.did("let the remotes disconnect");
            self.remotes.behave(&format!("breaks {bytes}"));
        }
        self.create().await;
    }

    pub(super) fn ease_the_remotes(&mut self) {
        self.remotes.behave("well");
        self.remotes.is_bad = false;
    }

    pub(super) async fn trouble_the_disk(&mut self, read_only: bool) {
        let Some(disk) = &mut self.disk else { return };
        if read_only {
            disk.forbid_writing();
            self.account.did("make the disk read-only");
        } else {
            self.ballast = Some(disk.fill());
            self.account.did("fill the disk");
        }
        for _ in 0..3 {
            self.create().await;
        }
        if read_only {
            self.resume("resume").await;
            self.stop().await;
            let pause = self.random.u64(..200);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        if self.random.bool() {
            self.kill_server().await;
        }
        self.ease_the_disk();
    }

    pub(super) fn ease_the_disk(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.allow_writing();
        }
        if let Some(ballast) = self.ballast.take() {
            fs_err::remove_file(ballast).expect("the file belongs to the test");
        }
    }

    /// Gives the next servers a different clock. Does nothing if `faketime` is not installed.
    pub(super) async fn change_the_clock(&mut self) {
        let clock = self.random.choice(CLOCKS).unwrap_or_default();
        let library = ["x86_64", "aarch64"].map(|machine| format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1"));
        let Some(library) = library.into_iter().find(|path| Path::new(path).exists()) else { return };
        self.account.did("change the clock");
        self.home.set("LD_PRELOAD", library);
        self.home.set("DONT_FAKE_MONOTONIC", "1");
        self.home.set("FAKETIME", clock);
        self.kill_server().await;
    }

    /// Starts a client that disconnects in the middle of a stream.
    pub(super) async fn read_a_little(&mut self) {
        self.account.did("read a little and disconnect");
        let answer = self.home.request(Method::GET, "/api/v1/events").timeout(ANSWER).send().await;
        if let Ok(mut answer) = answer {
            let _piece = tokio::time::timeout(Duration::from_millis(20), answer.chunk()).await;
        }
    }

    /// Starts a client that reads slowly and never finishes. It reads the events of an active run, or of the server if no run is active.
    pub(super) async fn read_slowly(&mut self) {
        self.account.did("read slowly");
        for answer in &mut self.slow {
            let _piece = tokio::time::timeout(Duration::from_millis(2), answer.chunk()).await;
        }
        if self.slow.len() == SLOW {
            self.slow.remove(0);
        }
        let path = match self.any(|task| task["active"] == true).await {
            Some(id) => format!("/api/v1/tasks/{id}/runs/1/events"),
            None => "/api/v1/events".to_owned(),
        };
        if let Ok(Ok(answer)) = tokio::time::timeout(ANSWER, self.home.request(Method::GET, &path).send()).await {
            self.slow.push(answer);
        }
    }
}
