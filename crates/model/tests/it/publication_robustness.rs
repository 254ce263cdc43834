//! Texts for pull requests and prompts with hostile parts: everything fits, and no part can be mistaken for another.

use model::error_code::ErrorCode;
use model::ids::{EnvironmentId, ObjectId, RunNumber, TaskId};
use model::merge::{ConflictKind, FileConflict};
use model::names::{PROMPT_LIMIT_BYTES, Prompt, RefName, RepositoryUrl, Title};
use model::policy::RunPolicy;
use model::publication::feedback::{Comment, FailedCheck, Feedback};
use model::publication::text::{Changes, body, one_line, renewed, title};
use model::publication::{BODY_LIMIT_CHARS, Publish, TITLE_LIMIT_CHARS};
use model::queue::Priority;
use model::run::{RunEnd, RunError, RunOutcome};
use model::task::{NewRun, NewTask, TaskEvent, TaskRecord, TaskRequest, decide, hand_over_prompt, request, with_summary};
use proptest::prelude::*;

const BEGIN: &str = "<!-- codex-orchestrator: this section is updated on every push -->";
const END: &str = "<!-- codex-orchestrator: end -->";

/// A word that hostile texts put after every kind of line break.
const HOSTILE: &str = "INJECTED";

fn now() -> jiff::Timestamp {
    "2026-01-02T03:04:05Z".parse().expect("the time is valid")
}

/// Generates text with line breaks, markers and long parts.
fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        6 => proptest::sample::select(vec![
            "\nINJECTED", "\rINJECTED", "\r\nINJECTED", "\u{2028}INJECTED", "\u{2029}INJECTED", "\u{b}INJECTED", "\u{85}INJECTED", BEGIN, END, "<!--",
            "-->", "<!-<!----->->", "|", "\\|", "`", "```\n", "\u{1b}[31m", "\u{1b}]0;title\u{7}", "\0", "é🦀", " ", "\t", "# heading\n", "> quote\n",
        ]).prop_map(str::to_owned),
        2 => ".{0,12}",
        1 => (1..30_000_usize).prop_map(|count| "ä".repeat(count)),
    ];
    proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

fn new_run(prompt: &str) -> NewRun {
    NewRun {
        prompt: Prompt::parse(prompt).unwrap_or_else(|_| Prompt::parse("Go on").expect("the prompt is valid")),
        images: vec![],
        model: None,
        effort: None,
        priority: Priority::Normal,
        idempotency_key: None,
    }
}

/// Creates a task whose runs have these prompts and answers.
fn task(turns: &[(String, String)]) -> TaskRecord {
    let first = turns.first().map_or("", |(prompt, _)| prompt.as_str());
    let new = NewTask {
        env_id: EnvironmentId::from_uuid(uuid::Uuid::from_u128(7)),
        repo_url: RepositoryUrl::parse("/srv/repo").expect("the URL is valid"),
        git_ref: RefName::parse("main").expect("the ref is valid"),
        title: Title::of_prompt(&new_run(first).prompt),
        driver: None,
        run: new_run(first),
        idempotency_key: None,
    };
    let mut task = TaskRecord::new(TaskId::from_uuid(uuid::Uuid::from_u128(1)), new, now());
    let policy = RunPolicy::default();
    for (number, (prompt, answer)) in turns.iter().enumerate() {
        if number > 0 {
            let asked = TaskRequest::Resume(new_run(prompt));
            task = request(&task, asked, now()).expect("the request is accepted").record;
        }
        let attempt = task.last_run().attempt;
        let thread_id = model::ids::ThreadId::from_uuid(uuid::Uuid::from_u128(3));
        let failed = RunError::new(ErrorCode::Config, answer.as_str());
        let outcome = if number % 3 == 2 { RunOutcome::Failed(failed) } else { RunOutcome::Completed };
        let end = RunEnd {
            outcome,
            started_at: Some(now()),
            finished_at: now(),
            exit_code: Some(0),
            commit: None,
            usage: None,
            usage_total: None,
            last_message: Some(answer.clone()),
            notes: vec![],
            changes: None,
            omitted: vec![],
            artifacts: 0,
            installed: false,
        };
        let events = [
            TaskEvent::Dequeued { attempt },
            TaskEvent::Launched { attempt, started_at: now() },
            TaskEvent::ThreadStarted { attempt, thread_id, seen_at: None },
            TaskEvent::TurnStarted { attempt },
            TaskEvent::RunFinished { attempt, end: Box::new(end), held: None, commit_ms: None },
        ];
        for event in events {
            task = decide(&task, event, &policy, now()).record;
        }
    }
    task
}

fn turns() -> impl Strategy<Value = Vec<(String, String)>> {
    proptest::collection::vec((text(), text()), 1..5)
}

fn changes() -> impl Strategy<Value = Changes> {
    (any::<usize>(), any::<u64>(), any::<u64>()).prop_map(|(files, added, removed)| Changes { files, added, removed })
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split(['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_body_fits_and_has_one_section(turns in turns(), changes in changes(), template in proptest::option::of("[a-z \\n#]{0,80}"), long in any::<bool>()) {
        let task = task(&turns);
        let template = template.map(|text| if long { text.repeat(5_000) } else { text });
        let body = body(&task, changes, template.as_deref());
        prop_assert!(body.chars().count() <= BODY_LIMIT_CHARS);
        prop_assert_eq!((body.matches(BEGIN).count(), body.matches(END).count()), (1, 1));
        prop_assert_eq!((body.matches("<!--").count(), body.matches("-->").count()), (2, 2));
        prop_assert!(body.ends_with(END));
        prop_assert_eq!(renewed(&body, &task, changes), None, "the section is up to date");
        let rows = body.lines().filter(|line| line.starts_with("| ") && !line.contains("Status")).count();
        prop_assert!(rows >= turns.len());
        let publish = Publish { pull_request: true, title: Some(title(&task)), body: Some(body.replace('\0', "")), ..Publish::default() };
        prop_assert_eq!(publish.clone().checked(), Ok(publish), "the Git host accepts the text");
    }

    #[test]
    fn what_people_wrote_around_the_section_is_kept(
        turns in turns(), more in turns(), before in "[a-z<!> \\n-]{0,30}", after in text(), changes in changes(), other in changes()
    ) {
        let old = format!("{before}{}{after}", body(&task(&turns), changes, None));
        let task = task(&more);
        let section = body(&task, other, None);
        let new = format!("{before}{section}{after}");
        let expected = (new != old && new.chars().count() <= BODY_LIMIT_CHARS).then_some(new);
        prop_assert_eq!(renewed(&old, &task, other), expected);
    }

    #[test]
    fn a_title_is_one_line(text in text()) {
        let line = one_line(&text);
        prop_assert!(!line.chars().any(char::is_control) && lines(&line).count() == 1, "{:?}", line);
        prop_assert!(line.trim() == line && !line.contains("  "), "{:?}", line);
        prop_assert_eq!(one_line(&line), line.as_str());
        let asked = Publish { pull_request: true, title: Some(text.clone()), ..Publish::default() };
        let is_taken = asked.checked().is_ok();
        prop_assert_eq!(is_taken, (1..=TITLE_LIMIT_CHARS).contains(&line.chars().count()));
    }

    #[test]
    fn what_others_wrote_in_a_review_is_quoted(
        comments in proptest::collection::vec((text(), proptest::option::of(text()), any::<Option<u64>>(), text()), 0..5),
        checks in proptest::collection::vec((text(), proptest::option::of(text()), proptest::option::of(text())), 0..5),
        url in text(),
    ) {
        let comments = comments.into_iter();
        let comments = comments.map(|(author, path, line, body)| Comment { author: format!("@{author}"), path, line, body }).collect();
        let checks = checks.into_iter();
        let checks = checks.map(|(name, url, log)| FailedCheck { name: format!("ci {name}"), url, log }).collect();
        let prompt = Feedback { comments, checks }.prompt(&url);
        prop_assert!(prompt.starts_with("Your work is in review at "));
        prop_assert!(lines(&prompt).all(|line| !line.starts_with(HOSTILE)), "{:?}", prompt);
        prop_assert!(!prompt.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{:?}", prompt);
        prop_assert!(prompt.len() <= PROMPT_LIMIT_BYTES && Prompt::parse(&prompt).is_ok());
    }

    #[test]
    fn a_path_with_a_conflict_is_one_line(paths in proptest::collection::vec(text(), 0..5), count in 0..300_usize) {
        let files = paths.iter().map(|path| FileConflict { path: path.clone(), kind: ConflictKind::Content });
        let many = (0..count).map(|number| FileConflict { path: format!("file {number}"), kind: ConflictKind::Other });
        let conflicts: Vec<_> = files.chain(many).collect();
        let base: ObjectId = "a".repeat(40).parse().expect("the object ID is valid");
        let prompt = hand_over_prompt("main", &base, &conflicts);
        let listed = prompt.lines().filter(|line| line.starts_with("- ")).count();
        prop_assert_eq!(listed, if conflicts.len() > 200 { 201 } else { conflicts.len() });
        prop_assert!(prompt.lines().all(|line| !line.starts_with(HOSTILE)), "{:?}", prompt);
    }

    #[test]
    fn a_summary_is_short_and_ends_with_the_whole_request(turns in proptest::collection::vec((text(), text()), 1..16)) {
        let task = task(&turns);
        let summary = with_summary(&task);
        let current = task.last_run().prompt.as_str();
        let end = format!("## Current request\n\n{current}\n");
        prop_assert!(summary.ends_with(&end));
        let rest = summary.len() - end.len();
        prop_assert!(rest < 4 * 2 * 9 * 4_000 + 9 * 200 + 500, "{}", rest);
        let requests = (1..turns.len()).filter(|number| summary.contains(&format!("\n\n## Request {number}\n\n"))).count();
        prop_assert_eq!(requests, (turns.len() - 1).min(9));
        prop_assert!(task.run(RunNumber(1)).is_some());
    }
}
