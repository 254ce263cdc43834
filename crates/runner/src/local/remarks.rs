//! What `codex-docker` reports on stderr about a run: hosts that were rejected, content that was removed from requests, and the last
//! lines of a service that is not ready.
//!
//! An agent can cause any number of these lines, so the notes are limited.

use std::collections::BTreeSet;

use model::codex::LineContent;
use model::{NO_DISK_LIMIT, SERVICE_SAID};
use printable::printable_line;
use process::Redactor;

use crate::journal::Tail;
use crate::keeper::RunFiles;

/// The prefix of codex-docker's stderr lines about rejected hosts.
const REFUSED: &[u8] = b"codex-docker: refused ";

/// The prefix of codex-docker's stderr lines about content that was removed from requests to the model.
const REMOVED: &[u8] = b"codex-docker: removed ";

/// The prefix of all messages of codex-docker on stderr.
const OWN: &[u8] = b"codex-docker: ";

/// The maximum number of rejected hosts, and of removed items, in a run's notes.
const MAX_REFUSED: usize = 20;

/// The maximum number of different lines that are remembered. An agent can cause any number of lines.
const MAX_TOLD_APART: usize = 10_000;

/// The maximum length of a line about a rejected host or removed content, in characters.
const REFUSED_LENGTH: usize = 300;

/// Returns notes about hosts that were rejected, about content that was removed from requests to the model, and about services.
pub(super) async fn refusals(files: &RunFiles, redactor: &Redactor) -> std::io::Result<Vec<String>> {
    let [mut hosts, mut removed, mut services] = [DistinctLines::default(), DistinctLines::default(), DistinctLines::default()];
    let mut unlimited = None;
    let mut tail = Tail::from(files.stderr(), 0);
    while tail
        .read(|line| {
            let LineContent::Whole(line) = line.content else { return };
            if let Some(rest) = line.strip_prefix(REFUSED) {
                hosts.tell("the network refused", rest, redactor);
            } else if let Some(rest) = line.strip_prefix(REMOVED) {
                removed.tell("codex-docker removed", rest, redactor);
            } else if line.strip_prefix(OWN).is_some_and(|said| said.starts_with(NO_DISK_LIMIT.as_bytes())) {
                unlimited = Some("`disk` has no effect, because the container engine cannot limit disk space".to_owned());
            } else if let Some(rest) = line.strip_prefix(OWN).and_then(|said| said.strip_prefix(SERVICE_SAID.as_bytes())) {
                services.tell("from the log of the service", rest, redactor);
            }
        })
        .await?
    {}
    let more = hosts.more().map(|more| format!("the network refused {more} more hosts"));
    Ok([unlimited.into_iter().collect(), hosts.first, more.into_iter().collect(), removed.first, services.first].concat())
}

/// Lines of one kind, without duplicates.
#[derive(Default)]
struct DistinctLines {
    all: BTreeSet<String>,
    first: Vec<String>,
}

impl DistinctLines {
    fn tell(&mut self, how: &str, rest: &[u8], redactor: &Redactor) {
        if self.all.len() >= MAX_TOLD_APART {
            return;
        }
        let said = printable_line(&redactor.mask(&String::from_utf8_lossy(rest)), REFUSED_LENGTH);
        if self.all.insert(said.clone()) && self.first.len() < MAX_REFUSED {
            self.first.push(format!("{how} {said}"));
        }
    }

    fn more(&self) -> Option<usize> {
        Some(self.all.len() - self.first.len()).filter(|more| *more > 0)
    }
}

#[cfg(test)]
mod tests {
    use model::ids::RunNumber;

    use super::*;

    async fn refused(stderr: &str) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let files = RunFiles::new(folder.path(), RunNumber::FIRST);
        fs_err::write(files.stderr(), stderr).expect("written");
        refusals(&files, &Redactor::new(["hunter2".to_owned()])).await.expect("readable")
    }

    #[tokio::test]
    async fn each_refused_host_is_noted_once() {
        let line = "codex-docker: refused evil.example:443 (not on the list of allowed hosts)\n";
        let stderr = format!("{line}Codex: refused something\n{line}codex-docker: refused hunter2.example:80\nsomething else\n");
        let expected =
            ["the network refused evil.example:443 (not on the list of allowed hosts)", "the network refused ***.example:80"];
        assert_eq!(refused(&stderr).await, expected);
        assert!(refused("").await.is_empty());
    }

    #[tokio::test]
    async fn a_limit_of_the_disk_space_that_has_no_effect_is_noted_once() {
        let stderr = format!("codex-docker: {NO_DISK_LIMIT}--storage-opt is supported only for overlay over xfs\n");
        let expected = ["`disk` has no effect, because the container engine cannot limit disk space"];
        assert_eq!(refused(&stderr.repeat(2)).await, expected);
    }

    #[tokio::test]
    async fn what_was_removed_from_requests_to_the_model_is_noted_too() {
        let stderr = "codex-docker: removed the hosted tool `web_search` from requests to the model\ncodex-docker: refused a.example:443\n";
        let expected =
            ["the network refused a.example:443", "codex-docker removed the hosted tool `web_search` from requests to the model"];
        assert_eq!(refused(&stderr.repeat(2)).await, expected);
    }

    #[tokio::test]
    async fn the_last_words_of_a_service_are_noted() {
        let stderr = "codex-docker: the service `db`: FATAL: hunter2 is wrong\nerror: the service `db` ended with exit code 1\n";
        assert_eq!(refused(stderr).await, ["from the log of the service `db`: FATAL: *** is wrong"]);
    }

    #[tokio::test]
    async fn an_agent_that_tries_every_host_does_not_fill_the_notes() {
        let lines: Vec<_> = (0..30).map(|n| format!("codex-docker: refused h{n}.example:443")).collect();
        let notes = refused(&(lines.join("\n") + "\n")).await;
        assert_eq!(notes.len(), MAX_REFUSED + 1);
        assert_eq!(notes[MAX_REFUSED], "the network refused 10 more hosts");
        let long = format!("codex-docker: refused {}\u{1b}[2J\n", "x".repeat(10_000));
        assert!(refused(&long).await[0].chars().count() < 2 * REFUSED_LENGTH);
    }
}
