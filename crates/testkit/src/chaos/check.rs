//! The invariants that must hold whenever no task is active, whatever happened before. The checks look at files, processes and
//! the server's answers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use reqwest::Method;
use serde_json::Value;

use super::containers::Containers;
use super::shared::{folders, git};
use super::world::World;
use crate::pictures;
use crate::process::has_ended;

impl World {
    /// Checks all invariants and records violations.
    pub(super) async fn check(&mut self) {
        let mut wrong = vec![];
        self.account.runs.clear();
        self.account.lines = 0;
        let mut tasks = BTreeMap::new();
        let mut cursor = String::new();
        loop {
            let Some((200, page)) =
                self.ask(Method::GET, &format!("/api/v1/tasks?limit=200&archived=any{cursor}"), &Value::Null).await
            else {
                self.account.violations.push(format!("the server does not list its tasks: {}", self.home.log()));
                return;
            };
            if let Some(damaged) = page["damaged"].as_array().filter(|damaged| !damaged.is_empty()) {
                wrong.push(format!("damaged: {damaged:?}"));
            }
            for task in page["items"].as_array().into_iter().flatten() {
                tasks.insert(task["task_id"].as_str().unwrap_or_default().to_owned(), task.clone());
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        for task in tasks.values() {
            for run in task["runs"].as_array().into_iter().flatten() {
                *self.account.runs.entry(run["status"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
            }
        }
        self.acknowledged_is_there(&tasks, &mut wrong);
        for task in tasks.values() {
            self.logs_are_whole(task, &mut wrong);
            self.committed_once(task, &mut wrong);
        }
        for file in folders(&self.home.scratch().join("ran")) {
            let times = std::fs::read_to_string(&file).unwrap_or_default().lines().count();
            if times > 1 {
                wrong.push(format!("{} ran {times} times", file.display()));
            }
        }
        wrong.extend(self.left());
        self.mirrors_are_sound(&mut wrong);
        self.account.violations.extend(wrong);
    }

    fn acknowledged_is_there(&self, tasks: &BTreeMap<String, Value>, wrong: &mut Vec<String>) {
        for (id, told) in &self.told {
            let Some(task) = tasks.get(id) else {
                if !told.removed {
                    wrong.push(format!("the task {id} was acknowledged and is gone"));
                } else if !self.home.path().join("trash").join(id).is_dir() {
                    wrong.push(format!("the task {id} was removed and is not in the trash"));
                }
                continue;
            };
            let everything = format!("{} {}", task["runs"], task["follow_ups"]);
            for name in &told.prompts {
                if !everything.contains(&format!("end {name}\"")) && !everything.contains(&format!("end {name}.\"")) {
                    wrong.push(format!("the prompt {name} of the task {id} was acknowledged and is gone"));
                }
            }
            if told.archived.is_some_and(|archived| archived != task["archived_at"].is_string()) {
                wrong.push(format!("`archived: {:?}` of the task {id} was acknowledged, and is not true", told.archived));
            }
            self.images_are_whole(task, &told.images, wrong);
            for run in task["runs"].as_array().into_iter().flatten() {
                let number = run["number"].as_u64().unwrap_or_default();
                let status = run["status"].as_str().unwrap_or_default();
                if told.stopped.contains(&number) && !matches!(status, "stopped" | "interrupted" | "completed" | "failed") {
                    wrong.push(format!("the stop of run {number} of {id} was acknowledged, and it is {status}"));
                }
            }
        }
    }

    /// Checks that every image of the task is unchanged, and that every acknowledged prompt still has its image.
    fn images_are_whole(&self, task: &Value, acknowledged: &BTreeSet<String>, wrong: &mut Vec<String>) {
        let id = task["task_id"].as_str().unwrap_or_default();
        let asked = [&task["runs"], &task["follow_ups"]].into_iter().filter_map(Value::as_array).flatten();
        let images: Vec<&Value> = asked.filter_map(|asked| asked["images"].as_array()).flatten().collect();
        for image in &images {
            let path = self.home.path().join("tasks").join(id).join("images").join(image["file"].as_str().unwrap_or_default());
            let size = image["bytes"].as_u64().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default();
            if std::fs::read(&path).ok() != Some(pictures::png_of(size)) {
                wrong.push(format!("the image {} has changed", path.display()));
            }
        }
        for name in acknowledged {
            if !images.iter().any(|image| image["name"] == name.as_str()) {
                wrong.push(format!("the image of {name} in {id} was acknowledged and is gone"));
            }
        }
    }

    /// Checks that the log of every run is complete: each line of the worker is there once and in order.
    fn logs_are_whole(&mut self, task: &Value, wrong: &mut Vec<String>) {
        let id = task["task_id"].as_str().unwrap_or_default();
        for run in task["runs"].as_array().into_iter().flatten() {
            let prompt = run["prompt"].as_str().unwrap_or_default();
            let Some(name) = name_in(prompt) else { continue };
            let path = self.home.path().join("tasks").join(id).join(run["log"].as_str().unwrap_or_default());
            let log = std::fs::read_to_string(&path).unwrap_or_default();
            let complete = &log[..log.rfind('\n').map_or(0, |at| at + 1)];
            let status = run["status"].as_str().unwrap_or_default();
            self.account.lines += if self.containers.is_some() {
                codex_wrote_it(&path, complete, wrong)
            } else {
                // A power cut loses the last lines of a run that it interrupts.
                let must_be_whole = self.cut.is_none() || status == "completed";
                let written = if must_be_whole { self.counted_by(name) } else { 0 };
                script_wrote_it(&path, complete, name, written, wrong)
            };
            let over = complete.lines().any(|line| line.contains("\"turn.completed\""));
            if status == "completed" && !over {
                wrong.push(format!("run {} of {id} is completed, but its turn is not", run["number"]));
            }
        }
    }

    /// Returns the number of lines that the worker of a prompt has written.
    fn counted_by(&self, name: &str) -> u64 {
        let count = std::fs::read_to_string(self.home.scratch().join("counts").join(name)).unwrap_or_default();
        count.trim().parse().unwrap_or(0)
    }

    fn committed_once(&self, task: &Value, wrong: &mut Vec<String>) {
        let (id, env) = (task["task_id"].as_str().unwrap_or_default(), task["env_id"].as_str().unwrap_or_default());
        let (Some(base), Some(branch)) = (task["base_sha"].as_str(), task["branch"].as_str()) else { return };
        let mirror = self.home.path().join("envs").join(env).join("mirror");
        let Ok(history) =
            git(&mirror, &["log", "--format=%(trailers:key=Run,valueonly,separator=%x2C)", &format!("{base}..{branch}")])
        else {
            // The task has no branch if its run failed before the worktree was created.
            return;
        };
        for run in task["runs"].as_array().into_iter().flatten() {
            let number = run["number"].to_string();
            let times = history.lines().filter(|line| **line == number).count();
            if times > 1 {
                wrong.push(format!("run {number} of {id} is committed {times} times"));
            }
            let Some(name) = run["prompt"].as_str().and_then(name_in) else { continue };
            let work = git(&mirror, &["show", &format!("{branch}:{name}.txt")]);
            if run["status"] == "completed" && work.as_deref() != Ok(name) {
                wrong.push(format!("run {number} of {id} is completed, but its work is not on its branch: {work:?}"));
            }
            if work.as_ref().is_ok_and(|work| work.lines().count() > 1) {
                wrong.push(format!("the command of run {number} of {id} ran more than once"));
            }
            // Uncommitted work is not lost: the next run commits the content of the worktree.
            let folder = self.home.path().join("tasks").join(id);
            let later = task["runs"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|later| later["number"].as_u64() > run["number"].as_u64() && later["status"] == "completed");
            let waits = || {
                let file = std::fs::read_to_string(folder.join(format!("worktree/{name}.txt")));
                !later && file.is_ok_and(|work| work.trim_end() == name)
            };
            let log = || std::fs::read_to_string(folder.join(run["log"].as_str().unwrap_or_default())).unwrap_or_default();
            if self.containers.is_some() && log().contains("\"exit_code\":0") && work.as_deref() != Ok(name) && !waits() {
                wrong.push(format!("the command of run {number} of {id} did its work, but the work is lost"));
            }
        }
    }

    /// Returns everything that is left behind: processes of runs and their children, hanging fetches, and containers.
    pub(super) fn left(&self) -> Vec<String> {
        let home = self.home.scratch().display().to_string();
        let fetch = self.remotes.program().display().to_string();
        let worktrees = self.home.path().join("tasks");
        let mut left = vec![];
        for process in folders(Path::new("/proc")) {
            let number = process.file_name().and_then(|name| name.to_str()?.parse().ok());
            if number.is_none_or(has_ended) {
                continue;
            }
            let Ok(environment) = std::fs::read(process.join("environ")) else { continue };
            let is_a_runs = environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(b"ORCH_RUN="));
            let is_here = std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&worktrees))
                || String::from_utf8_lossy(&environment).contains(&home);
            let command = std::fs::read_to_string(process.join("cmdline")).unwrap_or_default().replace('\0', " ");
            if (is_a_runs && is_here) || command.contains(&fetch) {
                left.push(format!("{} is left: {command}", process.display()));
            }
        }
        let containers = self.containers.iter().flat_map(Containers::all);
        left.extend(containers.map(|container| format!("the container {container} is left")));
        left
    }

    fn mirrors_are_sound(&self, wrong: &mut Vec<String>) {
        for env in &self.envs {
            let mirror = self.home.path().join("envs").join(env).join("mirror");
            if let Err(words) = git(&mirror, &["fsck", "--strict", "--no-dangling"]) {
                wrong.push(format!("{}: {words}", mirror.display()));
            }
            let mut folder = vec![mirror.clone()];
            while let Some(next) = folder.pop() {
                for path in folders(&next) {
                    if path.extension().is_some_and(|extension| extension == "lock") {
                        wrong.push(format!("{} is left", path.display()));
                    }
                    if path.is_dir() && !path.is_symlink() {
                        folder.push(path);
                    }
                }
            }
        }
    }
}

/// Returns the name of a prompt, which is its last word.
fn name_in(prompt: &str) -> Option<&str> {
    prompt.rsplit(' ').next().map(|name| name.trim_end_matches('.')).filter(|name| name.starts_with('p'))
}

/// Checks that the numbered lines are in order and that none is missing that the worker wrote. Returns their number.
fn script_wrote_it(path: &Path, log: &str, name: &str, written: u64, wrong: &mut Vec<String>) -> u64 {
    let mut expected = 0_u64;
    for line in log.lines().filter(|line| line.contains(&format!("\"{name} "))) {
        expected += 1;
        if !line.contains(&format!("\"{name} {expected}\"")) {
            wrong.push(format!("{}: line {expected} of {name} is `{line}`", path.display()));
            break;
        }
    }
    if expected < written {
        wrong.push(format!("{}: {expected} lines of {name}, and its worker wrote {written}", path.display()));
    }
    expected
}

/// Checks that every line is JSON and that unique events occur only once. Returns the number of lines.
fn codex_wrote_it(path: &Path, log: &str, wrong: &mut Vec<String>) -> u64 {
    let mut said = BTreeSet::new();
    for line in log.lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            wrong.push(format!("{}: `{line}` is not JSON", path.display()));
            continue;
        };
        let kind = event["type"].as_str().unwrap_or_default();
        let once = kind.starts_with("turn.") || matches!(kind, "thread.started" | "item.started" | "item.completed");
        if once && !said.insert(format!("{kind} {}", event["item"]["id"])) {
            wrong.push(format!("{}: written twice: `{line}`", path.display()));
        }
    }
    log.lines().count() as u64
}
