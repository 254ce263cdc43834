//! Finishes a run: determines its outcome from the log and the runner's exit record, commits its work, and records the result.
//!
//! The code is the same for a run that has just ended and for one that ended while no server was running. Finishing a
//! run twice creates only one commit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use durable::crash::{self, CrashPoint};
use git::Snapshot;
use jiff::Timestamp;
use model::codex::{Exit, JournalSummary, ProcessEnd, Verdict, classify};
use model::commit::HeldFiles;
use model::diff::DiffStats;
use model::ids::Attempt;
use model::run::{RunEnd, RunError, RunOutcome, RunRecord};
use model::run_times::milliseconds;
use model::task::{TaskEvent, TaskRecord};
use printable::printable_line;
use process::Redactor;
use runner::journal::Tail;
use runner::keeper::{ExitRecord, RunFiles};
use runner::{Integrity, RunKey, until_reached};
use spine::{COUNTED, Mailbox as _};
use tokio_util::sync::CancellationToken;

use super::commit::Committed;
use super::follow::event_of;
use super::journal_copy::cut_zeros;
use super::session::NEW_THREAD;
use super::spec::key_of;
use super::tasks::{TaskSlot, Tasks};

/// The time limit for counting the changes of a task.
const COUNT_LIMIT: Duration = Duration::from_secs(20);

/// The maximum length of a note in characters. Agents choose the file names in notes.
const NOTE_LENGTH: usize = 300;

impl Tasks {
    pub(super) async fn finish(self: &Arc<Self>, slot: &Arc<TaskSlot>, attempt: Attempt) {
        let key = key_of(&slot.record());
        let files = RunFiles::new(&self.home.layout.logs(slot.id), key.run);
        let cancel = slot.begin_work(attempt, &self.cancel);
        let started = Instant::now();
        match self.finished(slot, attempt, &files, &cancel).await {
            // The server is stopping, and the next one finishes the run. Otherwise, the runner did not answer.
            Ok(None) => self.revisit(slot.id),
            Ok(Some((end, held))) => {
                let log_bytes = fs_err::metadata(files.journal()).map_or(0, |found| found.len());
                COUNTED.run(&end, log_bytes);
                let commit_ms = Some(milliseconds(started.elapsed()));
                self.post(slot, TaskEvent::RunFinished { attempt, end: Box::new(end), held, commit_ms }).await;
                if let Some(run) = slot.record().run(key.run) {
                    COUNTED.phases(&run.times.phases);
                }
                self.forget_later(key);
            }
            // Leave the run as it is: recovery finishes it as soon as the disk is readable again.
            Err(error) => tracing::error!(task = %slot.id, %error, "could not finish a run; recovery retries"),
        }
    }

    /// Has the runner forget an attempt whose end is recorded. If the server stops first, the next sweep does this.
    fn forget_later(self: &Arc<Self>, key: RunKey) {
        let inner = Arc::clone(self);
        self.tracker.spawn(async move { until_reached(&inner.cancel, || inner.runner.forget(key)).await });
    }

    /// Returns the result of the run, or `None` if this is cancelled before its work is committed.
    async fn finished(
        self: &Arc<Self>,
        slot: &Arc<TaskSlot>,
        attempt: Attempt,
        files: &RunFiles,
        cancel: &CancellationToken,
    ) -> std::io::Result<Option<(RunEnd, Option<Vec<HeldFiles>>)>> {
        let spec = self.started_spec(&slot.record()).map_err(|error| std::io::Error::other(error.message))?;
        let Some(remains) = until_reached(cancel, || self.runner.ensure_ended(&spec, self.as_ref())).await else {
            return Ok(None);
        };
        if self.complete_journal(slot, spec.key, cancel).await.is_none() {
            return Ok(None);
        }
        let exit = remains.exit.as_ref();
        let (summary, news) = summarize(files, attempt).await?;
        for event in news {
            self.post(slot, event).await;
        }
        let task = slot.record();
        let run = task.last_run();
        let redactor = self.redaction.redactor(task.env_id);
        let outcome = judge(run, exit, &summary, &remains.stderr, &redactor);
        let last_message = summary.last_message.as_deref().map(|message| redactor.mask(message).into_owned());
        let is_torn = remains.integrity == Integrity::Torn;
        if is_torn {
            let journal = files.journal();
            durable::blocking(move || cut_zeros(&journal)).await?;
        }
        let outcome = if is_torn { outcome.without_power() } else { outcome };
        let checked = if is_torn { cancel.run_until_cancelled(self.check_cut_off(&task)).await } else { None };
        let checked = checked.unwrap_or_default();
        let commit = self.commit_in_time(&task, last_message.as_deref(), remains.work, cancel).await;
        if matches!(commit, Committed::Later) {
            return Ok(None);
        }
        crash::point(CrashPoint::Committed);
        let session = self.secure_session(slot, run.thread_id.or(task.thread_id)).await;
        self.put_on_disk(slot, &task, files).await?;
        let before = task.usage_before(run.number).copied();
        let report = summary.usage();
        let mut end = RunEnd {
            outcome,
            started_at: exit.and_then(|exit| exit.started_at),
            finished_at: exit.map_or_else(Timestamp::now, |exit| exit.finished_at),
            exit_code: exit.and_then(ExitRecord::code),
            commit: None,
            usage: report.map(|report| report.of_run(&before.unwrap_or_default())),
            usage_total: report.map(|report| report.total_after(&before.unwrap_or_default())).or(before),
            last_message,
            notes: [
                self.notes_on_worktree(&task),
                self.note_on_files(&task),
                self.notes_on_context(&task),
                new_thread(run),
                remains.notes,
                checked,
                session,
            ]
            .concat(),
            changes: None,
            omitted: vec![],
            artifacts: remains.artifacts,
            installed: summary.has_installs,
        };
        let mut held = None;
        match commit {
            Committed::Done(Ok(snapshot)) => held = Some(committed(&task, &mut end, snapshot)),
            Committed::Done(Err(error)) => end.uncommitted(error),
            Committed::Stopped | Committed::Later => end.stopped_uncommitted(),
        }
        if end.outcome == RunOutcome::Completed && end.commit.is_none() {
            end.notes.extend(self.note_on_sandbox(slot).await);
        }
        end.notes.extend(cancel.run_until_cancelled(self.note_on_description(&task, &end)).await.flatten());
        end.changes = cancel.run_until_cancelled(self.size_of_changes(&task, &end)).await.flatten();
        Ok(Some((end, held)))
    }

    /// Syncs everything that the record of the run's end will refer to: its log, its session, its commit and its ref.
    async fn put_on_disk(&self, slot: &TaskSlot, task: &TaskRecord, files: &RunFiles) -> std::io::Result<()> {
        let (of_run, worktree) = (files.clone(), self.home.layout.worktree(task.task_id));
        durable::blocking(move || {
            // Files that a commit omits are only in the worktree.
            if of_run.omitted().exists() || of_run.omitted_from_files().exists() {
                durable::sync_file_system(&worktree)?;
            }
            durable::sync_file_if_there(&of_run.journal())?;
            durable::sync_file_if_there(&of_run.stderr())?;
            durable::sync_folder(of_run.folder())
        })
        .await?;
        self.sync_session(slot, task.last_run().thread_id.or(task.thread_id)).await?;
        match self.environments.mirror_of(task.env_id) {
            Ok(mirror) => mirror.sync().await,
            // Without a mirror, there is no commit to sync.
            Err(_) => Ok(()),
        }
    }

    /// Returns a note if a run changed the description of the environment, which has no effect on its own.
    async fn note_on_description(&self, task: &TaskRecord, end: &RunEnd) -> Option<String> {
        let (before, after) = (task.head_before(task.last_run().number)?, end.commit.as_ref()?);
        let mirror = self.environments.mirror_of(task.env_id).ok()?;
        match setups::is_described_alike(&mirror, before, after).await {
            Ok(true) => None,
            Ok(false) => Some(format!(
                "this run changed the description of the environment, which has no effect until it is merged or accepted; to review it, run \
                 `codex-orchestrator env setup diff {} {}`",
                task.env_id, task.task_id
            )),
            Err(error) => {
                tracing::warn!(task = %task.task_id, %error, "could not compare descriptions of the environment");
                None
            }
        }
    }

    /// Returns a note if the files of the environment were not placed, because the owner has not approved their description.
    fn note_on_files(&self, task: &TaskRecord) -> Vec<String> {
        let Some(files) = &task.environment.files else { return vec![] };
        let Some(repository) = self.environments.get(task.env_id).map(|environment| environment.record()) else { return vec![] };
        match &files.description {
            Some(hash) if repository.setup.approved.contains(hash) => vec![],
            Some(_) => vec![format!(
                "the files in `[files]` of the environment description are missing, because it is not approved; to approve it, run \
                 `codex-orchestrator env setup approve {}`",
                task.env_id
            )],
            None => vec!["the files in `[files]` are missing, because the description of this branch gets no secrets".to_owned()],
        }
    }

    /// Returns notes about repositories that the agent could not read, because they do not exist.
    fn notes_on_context(&self, task: &TaskRecord) -> Vec<String> {
        let Some(repository) = self.environments.record(task.env_id) else { return vec![] };
        let unknown = self.context_of(&repository).1;
        unknown
            .into_iter()
            .map(|name| format!("the agent could not read the repository `{name}`, because it does not exist"))
            .collect()
    }

    /// Returns how much the branch differs from its base now, or `None` if git cannot tell. Lists work without this number.
    async fn size_of_changes(&self, task: &TaskRecord, end: &RunEnd) -> Option<DiffStats> {
        let (base, head) = (task.base_sha.as_ref()?, end.commit.as_ref().or(task.head())?);
        let mirror = self.environments.mirror_of(task.env_id).ok()?;
        // A hostile agent's commits may take long to compare, and nothing should wait for this number.
        let stat = tokio::time::timeout(COUNT_LIMIT, mirror.stat(base, head)).await.map_err(|_| "it took too long".to_owned());
        let stat = stat.and_then(|stat| stat.map_err(|error| error.to_string()));
        let stat =
            stat.inspect_err(|error| tracing::warn!(task = %task.task_id, error, "could not count a run's changes")).ok()?;
        Some(DiffStats { files: stat.files.len() as u64, additions: stat.added(), deletions: stat.removed() })
    }

    /// Returns notes about the creation of the worktree. Only the first run reports them.
    fn notes_on_worktree(&self, task: &TaskRecord) -> Vec<String> {
        if task.runs.len() > 1 {
            return vec![];
        }
        let path = self.home.layout.worktree(task.task_id);
        let found = self
            .environments
            .mirror_of(task.env_id)
            .ok()
            .and_then(|mirror| mirror.find_worktree(&path, task.branch().as_str()).ok()?);
        found.map_or_else(Vec::new, |worktree| {
            worktree.notes().unwrap_or_else(|error| vec![format!("could not read the notes about the worktree: {error}")])
        })
    }
}

fn judge(run: &RunRecord, exit: Option<&ExitRecord>, summary: &JournalSummary, stderr: &str, redactor: &Redactor) -> RunOutcome {
    let asked = run.status() == model::run::RunStatus::Stopping;
    // If the machine, and not this server, told the keeper to stop, the run was interrupted.
    let seen = exit.filter(|exit| asked || !exit.stop_requested);
    let process = ProcessEnd {
        exit: seen.map_or(Exit::Lost, ExitRecord::exit),
        stop_requested: asked,
        expected_thread: run.resumes.map(|thread| thread.to_string()),
    };
    let redacted = |report: RunError| RunError { message: redactor.redact(&report.message).into_owned(), ..report };
    match classify(summary, &process, stderr) {
        Verdict::Completed => RunOutcome::Completed,
        Verdict::Stopped => RunOutcome::Stopped,
        Verdict::Failed(report) => RunOutcome::Failed(redacted(report)),
        Verdict::Interrupted(report) => RunOutcome::Interrupted(redacted(report)),
    }
}

fn new_thread(run: &RunRecord) -> Vec<String> {
    run.lost_thread.map(|_| NEW_THREAD.to_owned()).into_iter().collect()
}

/// Adds the result of the commit to that of the run. Returns the files that the commit holds.
fn committed(task: &TaskRecord, end: &mut RunEnd, snapshot: Snapshot) -> Vec<HeldFiles> {
    task.note_commit(end, &snapshot.head, snapshot.selection.omitted);
    let nested = snapshot.dropped_gitlinks.iter().map(|path| format!("not committed: `{path}` is a nested repository"));
    let unreadable = snapshot.unreadable.iter().map(|words| format!("not committed: {words}"));
    let notes = snapshot.notes.into_iter().chain(nested).chain(unreadable);
    end.notes.extend(notes.map(|note| printable_line(&note, NOTE_LENGTH)));
    snapshot.selection.held
}

/// Summarizes the whole log, and returns the events about the thread and turn that the record may not include yet.
async fn summarize(files: &RunFiles, attempt: Attempt) -> std::io::Result<(JournalSummary, Vec<TaskEvent>)> {
    let mut summary = JournalSummary::default();
    let mut news = vec![];
    let mut tail = Tail::from(files.journal(), 0);
    while tail
        .read(|line| {
            let event = line.event();
            news.extend(event_of(&event, attempt, None));
            summary.observe(&event);
        })
        .await?
    {}
    Ok((summary, news))
}
