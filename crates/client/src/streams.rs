//! The event streams of the API as typed events: the feed of all changes, and the log of a run.
//!
//! Each stream knows the query that resumes after its last event. Events and kinds of later versions are not errors.

use std::collections::VecDeque;

use model::codex::CodexEvent;
use model::problem::Problem;
use protocol::{FeedEvent, FeedQuery, FollowQuery, ProblemView, RunDelta, RunEnded};
use reqwest::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::answer::{broken, lost, malformed};
use crate::sse::{Event, Parser};

/// The feed of all changes of state, which does not end.
#[derive(Debug)]
pub struct Feed {
    events: Events,
    position: FeedQuery,
}

/// A change of state, with its number in the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The number of the change.
    pub number: u64,
    /// What changed.
    pub event: AnyFeedEvent,
}

/// A change of a kind that this version knows, or any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnyFeedEvent {
    /// A change of a known kind.
    Known(FeedEvent),
    /// The name of a kind that only a later version knows, or whose fields only a later version can read.
    Unknown(String),
}

impl Feed {
    /// Waits for the next change. A feed that the server closed is an error: resume it from its position.
    ///
    /// The future can be dropped at any time without losing a change.
    pub async fn next(&mut self) -> Result<Change, Problem> {
        let Some(event) = self.events.next().await? else {
            return Err(lost(&"it closed the event stream"));
        };
        let change = Change { number: position(&event)?, event: AnyFeedEvent::parse(&event.data)? };
        self.position.after = Some(change.number);
        Ok(change)
    }

    /// Returns the query that resumes the feed after the last change that was received.
    ///
    /// Before the first change, this is the query that opened the feed. If that query has no number, changes can be missed in the
    /// meantime, so read the state again.
    pub fn position(&self) -> FeedQuery {
        self.position
    }
}

impl AnyFeedEvent {
    fn parse(data: &str) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct LaterEvent {
            #[serde(rename = "type")]
            name: String,
        }
        match (serde_json::from_str(data), serde_json::from_str::<LaterEvent>(data)) {
            (Ok(event), _) => Ok(Self::Known(event)),
            (Err(_), Ok(later)) => Ok(Self::Unknown(later.name)),
            (Err(error), Err(_)) => Err(malformed(&error)),
        }
    }
}

/// The log of a run, line by line until the run ends.
#[derive(Debug)]
pub struct RunStream {
    events: Events,
    position: FollowQuery,
}

/// An event in the stream of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEvent {
    /// A line of the log.
    Line(LogLine),
    /// Text of an item that is not complete yet.
    Delta(RunDelta),
    /// The run has ended. No event follows.
    Ended(RunEnded),
}

/// A line of a run's log, as Codex wrote it. Secrets are masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The offset in the log after the line, in bytes.
    pub offset: u64,
    text: String,
}

impl LogLine {
    /// Parses the line.
    pub fn event(&self) -> CodexEvent {
        CodexEvent::parse(self.text.as_bytes())
    }

    /// Returns the line as it is in the log. A terminal may interpret its control characters.
    pub fn raw(&self) -> &str {
        &self.text
    }
}

impl RunStream {
    /// Waits for the next event. A stream that the server closed before the run ended is an error: resume it from its position.
    ///
    /// The future can be dropped at any time without losing an event.
    pub async fn next(&mut self) -> Result<RunEvent, Problem> {
        while let Some(event) = self.events.next().await? {
            match event.name.as_str() {
                "message" => {
                    let offset = position(&event)?;
                    self.position.offset = Some(offset);
                    return Ok(RunEvent::Line(LogLine { offset, text: event.data }));
                }
                "delta" => return Ok(RunEvent::Delta(parsed(&event.data)?)),
                "end" => return Ok(RunEvent::Ended(parsed(&event.data)?)),
                "problem" => return Err(parsed::<ProblemView>(&event.data)?.into()),
                // Ignore the events of later versions.
                _ => {}
            }
        }
        Err(lost(&"it closed the stream before the run ended"))
    }

    /// Returns the query that resumes the stream after the last line that was received.
    pub fn position(&self) -> FollowQuery {
        self.position
    }
}

/// Returns the feed in a response.
pub(crate) async fn feed(answer: Response) -> Result<Feed, Problem> {
    Ok(Feed { position: asked(&answer)?, events: Events::of(answer) })
}

/// Returns the stream of a run in a response.
pub(crate) async fn run(answer: Response) -> Result<RunStream, Problem> {
    Ok(RunStream { position: asked(&answer)?, events: Events::of(answer) })
}

/// Returns the query of the request, which is the position before the first event.
fn asked<Q: DeserializeOwned>(answer: &Response) -> Result<Q, Problem> {
    serde_urlencoded::from_str(answer.url().query().unwrap_or_default()).map_err(Problem::internal)
}

fn position(event: &Event) -> Result<u64, Problem> {
    let id = event.id.as_ref().and_then(|id| id.parse().ok());
    id.ok_or_else(|| malformed(&"an event has no position"))
}

fn parsed<T: DeserializeOwned>(data: &str) -> Result<T, Problem> {
    serde_json::from_str(data).map_err(|error| malformed(&error))
}

/// The events of a response.
#[derive(Debug)]
struct Events {
    answer: Response,
    parser: Parser,
    /// Events that were received and not returned yet.
    ready: VecDeque<Event>,
}

impl Events {
    fn of(answer: Response) -> Self {
        Self { answer, parser: Parser::default(), ready: VecDeque::new() }
    }

    /// Returns the next event, or `None` if the server closed the stream.
    async fn next(&mut self) -> Result<Option<Event>, Problem> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let Some(chunk) = self.answer.chunk().await.map_err(|error| broken(&error))? else {
                return Ok(None);
            };
            self.ready.extend(self.parser.feed(&chunk));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_later_versions_are_not_errors() {
        let check = |data: &str, expect: AnyFeedEvent| assert_eq!(AnyFeedEvent::parse(data), Ok(expect), "{data}");
        check(r#"{"type":"queue","waiting":2}"#, AnyFeedEvent::Known(FeedEvent::Queue { waiting: 2 }));
        check(r#"{"type":"reset"}"#, AnyFeedEvent::Known(FeedEvent::Reset));
        check(r#"{"type":"weather","sunny":true}"#, AnyFeedEvent::Unknown("weather".to_owned()));
        check(r#"{"type":"queue","waiting":"many"}"#, AnyFeedEvent::Unknown("queue".to_owned()));
        for data in ["", "1", "{}", r#"{"type":1}"#, r#"{"type":"queue""#] {
            let problem = AnyFeedEvent::parse(data).expect_err("the format is not that of the API");
            assert!(problem.report.message.starts_with("could not read the server's answer: "), "{problem}");
        }
    }

    #[test]
    fn a_position_is_a_number() {
        let at = |id: Option<&str>| position(&Event { id: id.map(str::to_owned), ..Event::default() });
        assert_eq!(at(Some("1760000000000000")), Ok(1_760_000_000_000_000));
        for id in [None, Some(""), Some("-1"), Some("0x7"), Some("7 ")] {
            assert!(at(id).is_err(), "{id:?}");
        }
    }
}
