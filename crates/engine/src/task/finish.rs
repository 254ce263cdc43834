//! Finishes a run: determines its outcome from the log and the keeper's exit record, commits its work, and records the result.
//!
//! The code is the same for a run that has just ended and for one that ended while no server was running. Finishing a
//! run twice creates only one commit.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use durable::crash::{self, CrashPoint};
use git::Snapshot;
use jiff::Timestamp;
use model::ErrorCode;
use model::codex::{Exit, JournalSummary, ProcessEnd, Verdict, classify};
use model::diff::DiffStats;
use model::ids::Attempt;
use model::run::{RunEnd, RunError, RunOutcome, RunRecord};
use model::task::{TaskEvent, TaskRecord};
use printable::printable_line;
use process::Redactor;
use runner::journal::Tail;
use runner::keeper::{self, ExitRecord, KeeperState, RunFiles};
use runner::worker::engine_environment;
use tokio_util::sync::CancellationToken;

use super::commit::Committed;
use super::contained::{WorkLocation, refusals, work_location};
use super::follow::event_of;
use super::session::NEW_THREAD;
use crate::counters::COUNTED;
use crate::inner::{Inner, TaskSlot};
use crate::spine::Mailbox as _;

/// How much of stderr's end is searched for the reason of a failure, in bytes.
const STDERR_TAIL_BYTES: u64 = 16 * 1024;

/// The time limit for counting the changes of a task.
const COUNT_LIMIT: Duration = Duration::from_secs(20);

/// The maximum length of a note in characters. Agents choose the file names in notes.
const NOTE_LENGTH: usize = 300;

impl Inner {
    pub(super) async fn finish(self: &Arc<Self>, slot: &Arc<TaskSlot>, attempt: Attempt) {
        let number = slot.record().last_run().number;
        let files = RunFiles::new(&self.home.layout.logs(slot.id), number);
        let cancel = slot.begin_work(attempt, &self.cancel);
        match self.finished(slot, attempt, &files, &cancel).await {
            // The server is stopping, and the next one finishes the run.
            Ok(None) => {}
            Ok(Some(end)) => {
                let log_bytes = fs_err::metadata(files.journal()).map_or(0, |found| found.len());
                COUNTED.run(&end, log_bytes);
                self.post(slot, TaskEvent::RunFinished { attempt, end: Box::new(end) }).await;
            }
            // Leave the run as it is: recovery finishes it as soon as the disk is readable again.
            Err(error) => tracing::error!(task = %slot.id, %error, "could not finish a run; recovery retries"),
        }
    }

    /// Returns the result of the run, or `None` if the server stops before its work is committed.
    async fn finished(
        self: &Arc<Self>,
        slot: &Arc<TaskSlot>,
        attempt: Attempt,
        files: &RunFiles,
        cancel: &CancellationToken,
    ) -> std::io::Result<Option<RunEnd>> {
        let exit = self.end_of(files, attempt).await?;
        crash::point(CrashPoint::RunEnded);
        let (summary, news) = summarize(files, attempt).await?;
        for event in news {
            self.post(slot, event).await;
        }
        let task = slot.record();
        let run = task.last_run();
        let stderr = tail_of(files.stderr()).await?;
        let redactor = self.redactor(task.env_id);
        let outcome = judge(run, exit.as_ref(), &summary, &stderr, &redactor);
        let last_message = summary.last_message.as_deref().map(|message| redactor.mask(message).into_owned());
        let location = work_location(files).await?;
        let is_torn = is_from_another_boot(files, exit.as_ref()).await?;
        if is_torn {
            let journal = files.journal();
            durable::blocking(move || cut_zeros(&journal)).await?;
        }
        let outcome = if is_torn { without_power(outcome) } else { outcome };
        let login = self.take_login_back(&task).await;
        let refused = if location == WorkLocation::AgentRepository { refusals(files, &redactor).await? } else { vec![] };
        let checked = if is_torn { cancel.run_until_cancelled(self.check_cut_off(&task)).await } else { None };
        let checked = checked.unwrap_or_default();
        let of_worker = self.notes_on_worker(files, location, &redactor).await?;
        let commit = self.commit_in_time(&task, last_message.as_deref(), location, cancel).await;
        if matches!(commit, Committed::ServerStops) {
            return Ok(None);
        }
        crash::point(CrashPoint::Committed);
        let session = self.secure_session(slot, run.thread_id.or(task.thread_id)).await;
        self.put_on_disk(slot, &task, files).await?;
        let before = task.usage_before(run.number).copied();
        let report = summary.usage();
        let mut end = RunEnd {
            outcome,
            started_at: exit.as_ref().and_then(|exit| exit.started_at),
            finished_at: exit.as_ref().map_or_else(Timestamp::now, |exit| exit.finished_at),
            exit_code: exit.as_ref().and_then(ExitRecord::code),
            commit: None,
            usage: report.map(|report| report.of_run(&before.unwrap_or_default())),
            usage_total: report.map(|report| report.total_after(&before.unwrap_or_default())).or(before),
            last_message,
            notes: [self.notes_on_worktree(&task), new_thread(run), of_worker, login, refused, checked, session].concat(),
            changes: None,
        };
        match commit {
            Committed::Done(Ok(snapshot)) => committed(&task, &mut end, &snapshot),
            Committed::Done(Err(error)) => uncommitted(&mut end, error),
            Committed::Stopped | Committed::ServerStops => stopped_uncommitted(&mut end),
        }
        if end.outcome == RunOutcome::Completed && end.commit.is_none() {
            end.notes.extend(self.note_on_sandbox(slot).await);
        }
        end.changes = cancel.run_until_cancelled(self.size_of_changes(&task, &end)).await.flatten();
        Ok(Some(end))
    }

    /// Syncs everything that the record of the run's end will refer to: its log, its session, its commit and its ref.
    async fn put_on_disk(&self, slot: &TaskSlot, task: &TaskRecord, files: &RunFiles) -> std::io::Result<()> {
        let of_run = files.clone();
        durable::blocking(move || {
            durable::sync_file_if_there(&of_run.journal())?;
            durable::sync_file_if_there(&of_run.stderr())?;
            durable::sync_folder(of_run.folder())
        })
        .await?;
        self.sync_session(slot, task.last_run().thread_id.or(task.thread_id)).await?;
        match self.mirror_of(task.env_id) {
            Ok(mirror) => mirror.sync().await,
            // Without a mirror, there is no commit to sync.
            Err(_) => Ok(()),
        }
    }

    /// Returns how much the branch differs from its base now, or `None` if git cannot tell. Lists work without this number.
    async fn size_of_changes(&self, task: &TaskRecord, end: &RunEnd) -> Option<DiffStats> {
        let (base, head) = (task.base_sha.as_ref()?, end.commit.as_ref().or(task.head())?);
        let mirror = self.mirror_of(task.env_id).ok()?;
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
        let found =
            self.mirror_of(task.env_id).ok().and_then(|mirror| mirror.find_worktree(&path, task.branch().as_str()).ok()?);
        found.map_or_else(Vec::new, |worktree| {
            worktree.notes().unwrap_or_else(|error| vec![format!("could not read the notes about the worktree: {error}")])
        })
    }

    /// Returns the exit record. If the keeper left none, the remaining processes of its run are ended first.
    async fn end_of(&self, files: &RunFiles, attempt: Attempt) -> std::io::Result<Option<ExitRecord>> {
        let seen = files.clone();
        let state = durable::blocking(move || keeper::observe(&seen, attempt)).await?;
        match state {
            KeeperState::Gone { exit: Some(exit), .. } => Ok(Some(exit)),
            KeeperState::Gone { exit: None, .. } | KeeperState::NeverStarted | KeeperState::Alive(_) => {
                keeper::end_leftovers(files, attempt, &engine_environment(&self.config)).await?;
                Ok(None)
            }
        }
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

/// Whether the run ended or was interrupted in an earlier boot, so that its work may not be on the disk.
async fn is_from_another_boot(files: &RunFiles, exit: Option<&ExitRecord>) -> std::io::Result<bool> {
    if exit.is_some_and(|exit| exit.work_on_disk) {
        return Ok(false);
    }
    let files = files.clone();
    durable::blocking(move || keeper::is_of_another_boot(&files)).await
}

/// Removes zeros at the end of a log. A file system may extend a file before it writes the content, so a power cut can leave
/// zeros. Readers ignore an incomplete line.
fn cut_zeros(journal: &Path) -> std::io::Result<()> {
    let log = match fs_err::OpenOptions::new().read(true).write(true).open(journal) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        log => log?.into_parts().0,
    };
    let length = log.metadata()?.len();
    let mut kept = length;
    let mut piece = vec![0; 64 << 10];
    // Read in pieces, starting at the end, because a log can be larger than the memory.
    while kept > 0 {
        let start = kept.saturating_sub(piece.len() as u64);
        let read = &mut piece[..usize::try_from(kept - start).map_err(std::io::Error::other)?];
        log.read_exact_at(read, start)?;
        if let Some(last) = read.iter().rposition(|&byte| byte != 0) {
            kept = start + last as u64 + 1;
            break;
        }
        kept = start;
    }
    if kept < length { log.set_len(kept) } else { Ok(()) }
}

/// Adjusts the outcome of a run that may have reported its end before its work was on the disk.
fn without_power(outcome: RunOutcome) -> RunOutcome {
    match outcome {
        RunOutcome::Completed => RunOutcome::Interrupted(RunError {
            code: ErrorCode::Interrupted.into(),
            message:
                "the machine stopped before this run's changes were saved to disk; the last files that the run wrote may be missing"
                    .to_owned(),
            hints: vec!["review the changes, then retry the task".to_owned()],
        }),
        RunOutcome::Failed(_) | RunOutcome::Stopped | RunOutcome::Interrupted(_) => outcome,
    }
}

fn new_thread(run: &RunRecord) -> Vec<String> {
    run.lost_thread.map(|_| NEW_THREAD.to_owned()).into_iter().collect()
}

fn committed(task: &TaskRecord, end: &mut RunEnd, snapshot: &Snapshot) {
    let before = task.head_before(task.last_run().number);
    end.commit = Some(snapshot.head.clone()).filter(|head| Some(head) != before);
    let nested = snapshot.dropped_gitlinks.iter().map(|path| format!("not committed: `{path}` is a nested repository"));
    let unreadable = snapshot.unreadable.iter().map(|words| format!("not committed: {words}"));
    let notes = snapshot.notes.iter().cloned().chain(nested).chain(unreadable);
    end.notes.extend(notes.map(|note| printable_line(&note, NOTE_LENGTH)));
}

/// Uncommitted work stays in the worktree, and the next run's commit includes it.
fn uncommitted(end: &mut RunEnd, error: RunError) {
    let note = format!("could not commit the changes: {}", error.message);
    end.notes.push(note.clone());
    if end.outcome == RunOutcome::Completed {
        end.outcome = RunOutcome::Failed(RunError {
            code: ErrorCode::CommitFailed.into(),
            message: note,
            hints: [error.hints, vec!["the changes are in the task's worktree; the next run commits them".to_owned()]].concat(),
        });
    }
}

/// Adjusts the result of a run that was stopped before its commit, because a stop does not wait for the commit.
fn stopped_uncommitted(end: &mut RunEnd) {
    let note = "stopped before the changes were committed; they are in the task's worktree, and the next run commits them";
    end.notes.push(note.to_owned());
    if end.outcome == RunOutcome::Completed {
        end.outcome = RunOutcome::Stopped;
    }
}

/// Summarizes the whole log, and returns the events about the thread and turn that the record may not include yet.
async fn summarize(files: &RunFiles, attempt: Attempt) -> std::io::Result<(JournalSummary, Vec<TaskEvent>)> {
    let mut summary = JournalSummary::default();
    let mut news = vec![];
    let mut tail = Tail::from(files.journal(), 0);
    while tail
        .read(|line| {
            let event = line.event();
            news.extend(event_of(&event, attempt));
            summary.observe(&event);
        })
        .await?
    {}
    Ok((summary, news))
}

async fn tail_of(path: std::path::PathBuf) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
    let mut file = match tokio::fs::File::open(&path).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let length = file.metadata().await?.len();
    file.seek(std::io::SeekFrom::Start(length.saturating_sub(STDERR_TAIL_BYTES))).await?;
    let mut bytes = vec![];
    file.take(STDERR_TAIL_BYTES).read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_zeros_at_the_end_of_a_log_are_cut_off() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = folder.path().join("log");
        cut_zeros(&journal).expect("a missing log is not an error");
        let long = vec![b'x'; 100_000];
        for (before, after) in [
            (&b"one\n"[..], &b"one\n"[..]),
            (b"one\n{\"t", b"one\n{\"t"),
            (b"one\n\0\0\0", b"one\n"),
            (b"one\n\0\0two\n\0", b"one\n\0\0two\n"),
            (b"\0\0", b""),
            (b"", b""),
            (&[long.clone(), vec![0; 200_000]].concat(), &long),
        ] {
            fs_err::write(&journal, before).expect("written");
            cut_zeros(&journal).expect("cut");
            assert_eq!(fs_err::read(&journal).expect("there"), after);
        }
    }
}
