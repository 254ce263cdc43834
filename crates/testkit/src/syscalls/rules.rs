//! The rules for the order in which data must reach the disk.
//!
//! 1. A state file's data is synced before the file is renamed into place, so that a power cut leaves the old or the new content.
//! 2. The thread that renamed a state file syncs its folder before it answers a client or renames the next one.
//! 3. A record is renamed into place after everything that it refers to: a run's end after its log, its stderr, its exit record, the
//!    session of its thread, and the objects and refs of the mirror; a base commit and a ready mirror after the mirror's files.
//! 4. A client is told that something was created (201) only after its record and all parent folders were synced.
//! 5. A task is restored from the trash after the refs of its mirror were synced.
//! 6. A repository's record says that a setup is ready after the record of its snapshot and the output of the setup were synced, and that
//!    it failed after its output was synced.
//! 7. At the end of the trace, every state file would survive a power cut.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::disk::{Disk, Effect};

pub(super) struct Rules {
    home: PathBuf,
    disk: Disk,
    /// State files that a thread has renamed into place and whose folder may not be synced yet, with the ID of the thread.
    renamed: Vec<(u32, PathBuf)>,
    /// The last version of each task's record, by task ID.
    tasks: BTreeMap<String, Value>,
    /// Repositories whose record says that they are ready.
    ready: BTreeSet<PathBuf>,
    /// Records of which at least one version would survive.
    survive: BTreeSet<PathBuf>,
    violations: Vec<String>,
    /// The missing syncs that were already reported. Each is reported only once, for the first record that it endangers.
    reported: BTreeSet<String>,
}

impl Rules {
    pub(super) fn new(home: &Path) -> Self {
        Self {
            home: home.to_owned(),
            disk: Disk::new(home),
            renamed: vec![],
            tasks: BTreeMap::new(),
            ready: BTreeSet::new(),
            survive: BTreeSet::new(),
            violations: vec![],
            reported: BTreeSet::new(),
        }
    }

    /// Handles the start of a call: everything that the call relies on must be on the disk.
    pub(super) fn begins(&mut self, pid: u32, effect: &Effect, line: usize) {
        match effect {
            Effect::Rename { from, to } => {
                if self.is_state_file(to) && !self.disk.is_folder(from) {
                    self.folders_are_synced_by(pid, line);
                }
                self.data_is_synced(from, to, line);
                self.what_it_refers_to_is_synced(from, to, line);
            }
            Effect::Link { from, to } => self.data_is_synced(from, to, line),
            Effect::Send(bytes) if bytes.starts_with(b"HTTP/1.1 ") => {
                self.folders_are_synced_by(pid, line);
                if bytes.starts_with(b"HTTP/1.1 201") {
                    self.created_survives(&String::from_utf8_lossy(bytes), line);
                }
            }
            _ => {}
        }
    }

    /// Handles the end of a call and applies its effect.
    pub(super) fn ends(&mut self, pid: u32, effect: &Effect, begun: usize, ended: usize) {
        self.disk.apply(effect, begun, ended);
        match effect {
            Effect::Rename { to, .. } if self.is_state_file(to) && !self.disk.is_folder(to) => {
                self.renamed.push((pid, to.clone()));
                self.notes_record(to);
            }
            Effect::Sync(_) | Effect::SyncAll => {
                let disk = &self.disk;
                let (synced, rest) =
                    std::mem::take(&mut self.renamed).into_iter().partition(|(_, path)| disk.unsynced_name(path).is_none());
                self.renamed = rest;
                let synced: Vec<(u32, PathBuf)> = synced;
                self.survive.extend(synced.into_iter().map(|(_, path)| path));
            }
            _ => {}
        }
    }

    /// Returns the violations.
    pub(super) fn finish(mut self) -> Vec<String> {
        let state: Vec<PathBuf> =
            self.disk.files(&self.home).filter(|path| self.is_state_file(path)).map(Path::to_owned).collect();
        for path in state {
            self.report(&path, &format!("at the end, {} would not survive a power cut", self.disk.name(&path)));
        }
        self.violations
    }

    /// Checks rule 1.
    fn data_is_synced(&mut self, from: &Path, to: &Path, line: usize) {
        // An unfinished clone is repeated. Rule 3 checks a finished clone.
        let is_ready = |mirror: &Path| mirror.parent().is_some_and(|folder| self.ready.contains(folder));
        let is_git_state = self.mirror_of(to).is_some_and(|mirror| is_ready(&mirror) && is_git_state(&mirror, to));
        if (is_git_state || self.is_state_file(to))
            && let Some(written) = self.disk.unsynced_data(from)
        {
            let name = self.disk.name(to);
            self.violations
                .push(format!("line {line} renames {name} into place; no fsync of its data after the write on line {written}"));
        }
    }

    /// Checks rule 2.
    fn folders_are_synced_by(&mut self, pid: u32, line: usize) {
        let (own, others) = std::mem::take(&mut self.renamed).into_iter().partition(|(thread, _)| *thread == pid);
        self.renamed = others;
        let own: Vec<(u32, PathBuf)> = own;
        for (_, path) in own {
            if let (Some(made), Some(folder)) = (self.disk.unsynced_name(&path), path.parent()) {
                let (folder, name) = (self.disk.name(folder), self.disk.name(&path));
                self.violations.push(format!(
                    "the thread that renamed {name} into place on line {made} did not fsync {folder} before it went on (line {line})"
                ));
            }
        }
    }

    /// Checks rules 3, 5 and 6.
    fn what_it_refers_to_is_synced(&mut self, from: &Path, to: &Path, line: usize) {
        let folder = to.parent().unwrap_or(Path::new(""));
        let record = || serde_json::from_slice::<Value>(self.disk.content(from)).unwrap_or_default();
        if to.ends_with("env.json") && folder.parent() == Some(&self.home.join("envs")) {
            let now = record();
            if now["status"] == "ready" && !self.ready.contains(folder) {
                let needed = self.git_state(&folder.join("mirror"));
                self.require(&needed, line, &format!("{} says that the repository is ready", self.disk.name(to)));
            }
            let setup = &now["setup_state"]["last"];
            if setup["phase"] != "running" {
                let what = format!("{} says that its setup is {}", self.disk.name(to), setup["phase"]);
                self.require(&files_of_setup(&folder.join("snapshots"), setup), line, &what);
            }
        } else if to.ends_with("meta.json") && folder.parent() == Some(&self.home.join("tasks")) {
            let (now, id) = (record(), folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
            let before = self.tasks.get(&id).cloned().unwrap_or_default();
            let mirror = self.home.join("envs").join(now["env_id"].as_str().unwrap_or_default()).join("mirror");
            if now["base_sha"].is_string() && now["base_sha"] != before["base_sha"] {
                self.require(&self.git_state(&mirror), line, &format!("{} names its base commit", self.disk.name(to)));
            }
            for (number, run) in now["runs"].as_array().into_iter().flatten().enumerate() {
                if has_ended(run) && !has_ended(&before["runs"][number]) {
                    let needed = self.files_of_run(folder, run, &mirror);
                    let what = format!("{} says that run {} is {}", self.disk.name(to), run["number"], run["status"]);
                    self.require(&needed, line, &what);
                }
            }
        } else if from.starts_with(self.home.join("trash")) && to.parent() == Some(&self.home.join("tasks")) {
            let record: Value = serde_json::from_slice(self.disk.content(&from.join("meta.json"))).unwrap_or_default();
            let mirror = self.home.join("envs").join(record["env_id"].as_str().unwrap_or_default()).join("mirror");
            self.require(&self.git_state(&mirror), line, &format!("{} comes out of the trash", self.disk.name(to)));
        }
    }

    /// Checks rule 4.
    fn created_survives(&mut self, answer: &str, line: usize) {
        let records: Vec<PathBuf> = self.disk.files(&self.home).filter(|path| is_record(path)).map(Path::to_owned).collect();
        for record in records {
            let folder = record.parent().unwrap_or(Path::new(""));
            let id = folder.file_name().unwrap_or_default().to_string_lossy();
            // The answer may also name the task's repository, but only new records are checked.
            if !answer.contains(&*id) {
                continue;
            }
            let name = self.disk.name(&record);
            if !self.survive.contains(&record) {
                self.violations.push(format!("line {line} answers 201, and no version of {name} was synced with its folder"));
            }
            self.report(folder, &format!("line {line} answers 201 for {name}"));
        }
    }

    fn require(&mut self, needed: &[PathBuf], line: usize, what: &str) {
        for path in needed {
            self.report(path, &format!("line {line}: {what}"));
        }
    }

    fn report(&mut self, path: &Path, what: &str) {
        for missing in self.disk.missing(path) {
            if self.reported.insert(missing.clone()) {
                self.violations.push(format!("{what}: {missing}"));
            }
        }
    }

    fn notes_record(&mut self, path: &Path) {
        let record: Value = serde_json::from_slice(self.disk.content(path)).unwrap_or_default();
        if let Some(folder) = path.parent().filter(|_| path.ends_with("env.json") && record["status"] == "ready") {
            self.ready.insert(folder.to_owned());
        }
        if let Some(id) = record["task_id"].as_str().filter(|_| path.ends_with("meta.json")) {
            self.tasks.insert(id.to_owned(), record.clone());
        }
    }

    fn files_of_run(&self, task: &Path, run: &Value, mirror: &Path) -> Vec<PathBuf> {
        let log = task.join(run["log"].as_str().unwrap_or_default());
        let mut needed: Vec<PathBuf> = ["jsonl", "stderr", "exit.json"].map(|ending| log.with_extension(ending)).to_vec();
        if let Some(thread) = run["thread_id"].as_str() {
            let is_its_session = |path: &&Path| {
                path.components().any(|part| part.as_os_str() == "sessions")
                    && path.to_string_lossy().ends_with(&format!("{thread}.jsonl"))
            };
            needed.extend(self.disk.files(&self.home).filter(is_its_session).map(Path::to_owned));
        }
        if run["commit"].is_string() {
            needed.extend(self.git_state(mirror));
        }
        needed
    }

    /// Returns the files of a mirror that a power cut must not destroy.
    fn git_state(&self, mirror: &Path) -> Vec<PathBuf> {
        self.disk.files(mirror).filter(|path| is_git_state(mirror, path)).map(Path::to_owned).collect()
    }

    fn mirror_of(&self, path: &Path) -> Option<PathBuf> {
        let mut parts = path.strip_prefix(self.home.join("envs")).ok()?.components();
        let environment = parts.next()?;
        (parts.next()?.as_os_str() == "mirror").then(|| self.home.join("envs").join(environment).join("mirror"))
    }

    /// Returns whether this is one of the product's own state files. Times of log lines and files of an agent may be lost.
    fn is_state_file(&self, path: &Path) -> bool {
        let Ok(inside) = path.strip_prefix(&self.home) else { return false };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let elsewhere = |part: &std::ffi::OsStr| {
            ["mirror", "worktree", "agent.git", "times", "codex", "sessions", "containers", "harvest"]
                .iter()
                .any(|folder| part == *folder)
        };
        let is_in_trash = inside.starts_with("trash");
        let has_ending = path.extension().is_some_and(|ending| ending == "json" || (ending == "bundle" && is_in_trash));
        !name.starts_with('.')
            && (has_ending || matches!(&*name, "token" | "repo.url" | "default_branch"))
            && !inside.components().any(|part| elsewhere(part.as_os_str()))
    }
}

/// Returns the output of a setup that has ended, and the record of its snapshot.
fn files_of_setup(snapshots: &Path, setup: &Value) -> Vec<PathBuf> {
    let output = setup["number"].as_u64().map(|number| snapshots.join(format!("setup-{number:03}.log")));
    let key = setup["key"].as_str().filter(|_| setup["phase"] == "ready");
    output.into_iter().chain(key.map(|key| snapshots.join(key).join("snapshot.json"))).collect()
}

fn is_record(path: &Path) -> bool {
    path.ends_with("meta.json") || path.ends_with("env.json")
}

fn has_ended(run: &Value) -> bool {
    matches!(run["status"].as_str(), Some("completed" | "failed" | "stopped" | "interrupted"))
}

fn is_git_state(mirror: &Path, path: &Path) -> bool {
    let Ok(inside) = path.strip_prefix(mirror) else { return false };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_temporary = name.starts_with("tmp_") || path.extension().is_some_and(|ending| ending == "lock" || ending == "keep");
    let first = inside.components().next().map(|first| first.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
    !is_temporary && matches!(first.as_str(), "objects" | "refs" | "packed-refs" | "HEAD" | "config" | "shallow")
}
