//! Checks right after a power cut that everything that a record refers to is on the disk, before a server starts.
//!
//! The checks read files and call git, and they change nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::seen::Ended;
use super::shared::{codex_home, folders, git, has_ended};
use super::world::World;

impl World {
    /// Reports everything that a record refers to and that is missing on the disk. `before` contains the runs that the server showed
    /// before the cut.
    pub(super) fn check_records(&mut self, before: &BTreeMap<(String, u64), Ended>) {
        let mut wrong = vec![];
        self.state_files_are_whole(&mut wrong);
        self.ready_mirrors_are_there(&mut wrong);
        let mut found = BTreeSet::new();
        for folder in folders(&self.home.path().join("tasks")) {
            let Some(task) = read_json(&folder.join("meta.json")) else { continue };
            let id = task["task_id"].as_str().unwrap_or_default();
            let mirror = self.home.path().join("envs").join(task["env_id"].as_str().unwrap_or_default()).join("mirror");
            if let Some(base) = task["base_sha"].as_str() {
                self.commit_is_there(&mirror, base, &format!("the base of the task {id}"), &mut wrong);
            }
            let last = task["runs"].as_array().map_or(0, Vec::len) as u64;
            for run in task["runs"].as_array().into_iter().flatten() {
                let number = run["number"].as_u64().unwrap_or_default();
                found.insert((id.to_owned(), number));
                let shown = before.get(&(id.to_owned(), number));
                let name = format!("run {number} of the task {id}, recorded as {}", run["status"]);
                if let Some(shown) = shown
                    && (shown.status.as_deref() != run["status"].as_str() || shown.commit.as_deref() != run["commit"].as_str())
                {
                    let (status, commit) = (&shown.status, &shown.commit);
                    wrong.push(format!(
                        "{name} with the commit {}, was shown before the cut as {status:?} with {commit:?}",
                        run["commit"]
                    ));
                }
                if has_ended(run) && !self.seen.has(id, number) {
                    self.account.after_cuts += 1;
                    let complaints = wrong.len();
                    self.log_is_complete(&folder, run, shown, &name, &mut wrong);
                    self.session_is_there(run, number == last, &name, &mut wrong);
                    self.commit_is_on_the_branch(&mirror, &task, run, &name, &mut wrong);
                    if wrong.len() == complaints {
                        self.seen.runs.insert((id.to_owned(), number));
                    }
                }
            }
        }
        for (id, number) in before.keys().filter(|run| !found.contains(run)) {
            if !self.told.get(id).is_some_and(|told| told.removed) {
                wrong.push(format!("run {number} of the task {id} was shown before the cut, but has no record after it"));
            }
        }
        let cuts = self.account.cuts();
        self.account.violations.extend(wrong.into_iter().map(|what| format!("after cut {cuts}: {what}")));
    }

    /// Checks that no state file is empty or contains only zeros, and that every record is JSON.
    fn state_files_are_whole(&self, wrong: &mut Vec<String>) {
        let mut waiting = vec![self.home.path()];
        while let Some(folder) = waiting.pop() {
            for path in folders(&folder) {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if path.is_symlink() || name.starts_with(".new-") {
                    continue;
                }
                if path.is_dir() {
                    // `git fsck` checks git's own files. A damaged worktree is restored from its branch.
                    if !matches!(name.as_str(), "mirror" | "worktree" | "agent.git" | "codex") {
                        waiting.push(path);
                    }
                    continue;
                }
                let is_record = path.extension().is_some_and(|extension| extension == "json");
                if !is_record && !matches!(name.as_str(), "token" | "repo.url" | "default_branch") {
                    continue;
                }
                let bytes = std::fs::read(&path).unwrap_or_default();
                let is_json = || serde_json::from_slice::<Value>(&bytes).is_ok();
                if bytes.iter().all(|byte| *byte == 0) {
                    wrong.push(format!("{} is empty: {} bytes, all of them zero", self.name_of(&path), bytes.len()));
                } else if is_record && !is_json() {
                    wrong.push(format!("{} is not JSON", self.name_of(&path)));
                }
            }
        }
    }

    /// Checks that the mirror of a ready repository is a git repository whose default branch has a commit.
    fn ready_mirrors_are_there(&self, wrong: &mut Vec<String>) {
        for folder in folders(&self.home.path().join("envs")) {
            let record = read_json(&folder.join("env.json"));
            if record.is_none_or(|record| record["status"] != "ready") {
                continue;
            }
            if let Err(words) = git(&folder.join("mirror"), &["rev-parse", "--verify", "HEAD^{commit}"]) {
                wrong.push(format!(
                    "{} is recorded as ready, but has no usable mirror: {}",
                    self.name_of(&folder),
                    words.trim_end()
                ));
            }
        }
    }

    /// Checks that a completed run's log ends with a newline and contains the end of its turn, and that logs that were complete before
    /// the cut are unchanged. The log of an interrupted run may have zeros after its last newline, because ext4 extends a file before
    /// it writes the content.
    fn log_is_complete(&self, folder: &Path, run: &Value, shown: Option<&Ended>, name: &str, wrong: &mut Vec<String>) {
        let path = folder.join(run["log"].as_str().unwrap_or_default());
        let log = std::fs::read(&path).unwrap_or_default();
        let complete = &log[..log.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)];
        if let Some(before) = shown.and_then(|shown| shown.log.as_ref()).filter(|before| **before != log) {
            wrong.push(format!(
                "{name}: its log has changed since the cut: it had {} bytes and now has {} bytes",
                before.len(),
                log.len()
            ));
        }
        if complete.contains(&0) {
            wrong.push(format!("{name}: its log contains zeros: {}", self.name_of(&path)));
        }
        let ends_its_turn = String::from_utf8_lossy(complete).contains("\"turn.completed\"");
        if run["status"] == "completed" && !(ends_its_turn && complete.len() == log.len()) {
            wrong.push(format!("{name}: its log is not complete: {} ({} bytes)", self.name_of(&path), log.len()));
        }
    }

    /// Checks that a completed run can be resumed: Codex's session file has both lines of its turn. If the next run of the thread was
    /// active, the file may end with zeros or an incomplete line, which the server removes.
    fn session_is_there(&self, run: &Value, is_last: bool, name: &str, wrong: &mut Vec<String>) {
        let (Some(thread), true) = (run["thread_id"].as_str(), run["status"] == "completed") else { return };
        let folder = codex_home(&self.home).join("sessions/2026/01/01");
        let path = folder.join(format!("rollout-2026-01-01T00-00-00-{thread}.jsonl"));
        let session = std::fs::read_to_string(&path);
        let is_complete = |session: &str| {
            let complete = &session[..session.rfind('\n').map_or(0, |newline| newline + 1)];
            let turns = complete.lines().filter(|line| *line == "{}").count();
            turns >= 2 && (complete.len() == session.len() || !is_last)
        };
        if !session.as_deref().is_ok_and(is_complete) {
            let found = session.map_or_else(|error| error.to_string(), |session| format!("{} bytes", session.len()));
            wrong.push(format!("{name}: the session of its thread is not complete: {} ({found})", self.name_of(&path)));
        }
    }

    fn commit_is_there(&mut self, mirror: &Path, commit: &str, what: &str, wrong: &mut Vec<String>) -> bool {
        if self.seen.commits.contains(commit) {
            return true;
        }
        // This also reads the history, trees and files of the commit.
        let reads = git(mirror, &["rev-list", "--objects", "--quiet", commit]);
        match reads {
            Ok(_) => {
                self.seen.commits.insert(commit.to_owned());
                true
            }
            Err(words) => {
                wrong.push(format!("{what}: its commit {commit} is lost: {}", words.trim_end()));
                false
            }
        }
    }

    fn commit_is_on_the_branch(&mut self, mirror: &Path, task: &Value, run: &Value, name: &str, wrong: &mut Vec<String>) {
        let Some(commit) = run["commit"].as_str() else { return };
        if !self.commit_is_there(mirror, commit, name, wrong) {
            return;
        }
        // While a task is being removed or restored, its branch may have either name.
        let refs = ["heads/codex", "orchestrator/removed"]
            .map(|kind| format!("refs/{kind}/{}", task["task_id"].as_str().unwrap_or_default()));
        let mut words = vec![];
        for reference in refs {
            match git(mirror, &["merge-base", "--is-ancestor", commit, &reference]) {
                Ok(_) => return,
                Err(error) => words.push(format!("{reference}: {}", error.trim_end())),
            }
        }
        wrong.push(format!("{name}: its commit {commit} is not on the task's branch: {}", words.join("; ")));
    }

    fn name_of(&self, path: &Path) -> String {
        path.strip_prefix(self.home.path()).map_or_else(|_| path.to_owned(), Path::to_owned).display().to_string()
    }
}

fn read_json(path: &PathBuf) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}
