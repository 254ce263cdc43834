//! The message of a run's commit: a subject from the prompt, a body from the agent, and trailers that identify the run.
//!
//! Both texts come from outside, so they are sanitized: one short subject line, no NUL, bounded length. Invariant: the trailers
//! are the last paragraph, so nothing in the body can pass for them.

/// The maximum length of a subject line, in characters.
const SUBJECT_LIMIT: usize = 72;

/// The maximum size of the agent's last message, in bytes.
const BODY_LIMIT_BYTES: usize = 32 * 1024;

/// Identifies the run of a commit. The values are our own IDs and numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunTrailers<'a> {
    /// The task.
    pub task_id: &'a str,
    /// The run.
    pub run: &'a str,
    /// The Codex thread, if it is known.
    pub thread_id: Option<&'a str>,
}

/// The message of a run's commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitMessage<'a> {
    /// The prompt.
    pub subject: &'a str,
    /// The agent's last message.
    pub body: &'a str,
    /// The run.
    pub trailers: RunTrailers<'a>,
    /// Lines that name people, such as `Signed-off-by: NAME <EMAIL>`.
    pub people: &'a [String],
}

impl CommitMessage<'_> {
    /// Returns the complete message.
    pub fn text(&self) -> String {
        let RunTrailers { task_id, run, thread_id } = self.trailers;
        let mut trailers = vec![trailer("Task-Id", task_id), trailer("Run", run)];
        trailers.extend(thread_id.map(|thread_id| trailer("Thread-Id", thread_id)));
        trailers.extend(self.people.iter().map(|line| one_line(line)));
        let paragraphs = [subject(self.subject), body(self.body), trailers.join("\n")];
        let paragraphs: Vec<_> = paragraphs.into_iter().filter(|paragraph| !paragraph.is_empty()).collect();
        paragraphs.join("\n\n") + "\n"
    }
}

impl RunTrailers<'_> {
    /// Whether a commit's message ends with the trailers of this run.
    pub(super) fn are_in(&self, message: &str) -> bool {
        let last = message.trim_end().rsplit("\n\n").next().unwrap_or_default();
        let has = |trailer: String| last.lines().any(|line| line == trailer);
        has(trailer("Task-Id", self.task_id)) && has(trailer("Run", self.run))
    }
}

fn trailer(name: &str, value: &str) -> String {
    format!("{name}: {}", one_line(value))
}

fn one_line(text: &str) -> String {
    let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    printable.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn subject(text: &str) -> String {
    let line = text.lines().map(one_line).find(|line| !line.is_empty()).unwrap_or_else(|| "Codex run".to_owned());
    if line.chars().count() <= SUBJECT_LIMIT {
        return line;
    }
    let mut cut: String = line.chars().take(SUBJECT_LIMIT - 1).collect();
    cut.truncate(cut.trim_end().len());
    cut.push('…');
    cut
}

fn body(text: &str) -> String {
    let clean: String = text.replace("\r\n", "\n").chars().filter(|&c| c == '\n' || c == '\t' || !c.is_control()).collect();
    let clean = clean.trim();
    if clean.len() <= BODY_LIMIT_BYTES {
        return clean.to_owned();
    }
    let end = (0..=BODY_LIMIT_BYTES).rev().find(|&end| clean.is_char_boundary(end)).unwrap_or(0);
    format!("{}…", &clean[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRAILERS: RunTrailers<'_> = RunTrailers { task_id: "t-1", run: "2", thread_id: Some("th-9") };

    fn message(subject: &str, body: &str) -> String {
        CommitMessage { subject, body, trailers: TRAILERS, people: &[] }.text()
    }

    #[test]
    fn subject_body_and_trailers_stand_apart() {
        let expect = "Fix the parser\n\nDone.\n\nTwo files.\n\nTask-Id: t-1\nRun: 2\nThread-Id: th-9\n";
        assert_eq!(message("Fix the parser", "Done.\n\nTwo files.\n"), expect);
        assert_eq!(message("Fix", "  "), "Fix\n\nTask-Id: t-1\nRun: 2\nThread-Id: th-9\n");
    }

    #[test]
    fn a_subject_is_one_short_line() {
        assert_eq!(subject("\n\n  a\tb\u{7} c \nsecond"), "a b c");
        assert_eq!(subject(" \n\0\n"), "Codex run");
        let long = subject(&"ä".repeat(500));
        assert_eq!(long.chars().count(), SUBJECT_LIMIT);
        assert!(long.ends_with('…'));
        assert!(!subject(&format!("{} tail", "a".repeat(70))).contains(" …"));
    }

    #[test]
    fn a_body_is_bounded_and_without_control_characters() {
        assert_eq!(body("a\0b\u{1b}[31m\r\nc\td"), "ab[31m\nc\td");
        let long = body(&"ä".repeat(BODY_LIMIT_BYTES));
        assert!(long.len() <= BODY_LIMIT_BYTES + '…'.len_utf8() && long.ends_with('…'));
    }

    #[test]
    fn only_the_last_paragraph_says_which_run_it_was() {
        assert!(TRAILERS.are_in(&message("s", "b")));
        let other = CommitMessage {
            subject: "s",
            body: "Task-Id: t-1\nRun: 2",
            trailers: RunTrailers { run: "3", ..TRAILERS },
            people: &[],
        };
        assert!(!TRAILERS.are_in(&other.text()), "the agent cannot write trailers");
        assert!(!TRAILERS.are_in("Task-Id: t-1\nRun: 22\n"));
        assert!(!TRAILERS.are_in(""));
    }

    #[test]
    fn a_value_with_a_line_break_makes_no_second_trailer() {
        let trailers = RunTrailers { thread_id: Some("x\nRun: 9"), ..TRAILERS };
        let text = CommitMessage { subject: "s", body: "", trailers, people: &[] }.text();
        assert!(text.ends_with("Thread-Id: x Run: 9\n"), "{text}");
    }
}
