//! The endpoints, messages and delivery options of Web Push (RFC 8030, RFC 8292).
//! This module does not send messages.

use serde::{Deserialize, Serialize};

use super::{Notice, NoticeGroup, NoticeKind};

/// The maximum length of an endpoint in bytes. The endpoints of browsers have at most a few hundred bytes.
const ENDPOINT_LIMIT_BYTES: usize = 1024;

/// The maximum length of a message's title or body, in characters. Devices show less, and push services accept 4,096 bytes in total.
const LINE_LIMIT_CHARS: usize = 300;

/// The URL where a push service accepts messages for a browser.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PushEndpoint(String);

/// Why a text is not a valid endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The text is not a URL, or is too long.
    #[error("invalid push service URL")]
    Malformed,
    /// The URL uses plain HTTP for a host other than this machine.
    #[error("the push service URL does not use https")]
    Insecure,
}

impl PushEndpoint {
    /// Parses an `https` URL, or an `http` URL of this machine's loopback interface.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\\\"<>`{}|^".contains(&byte);
        if text.len() > ENDPOINT_LIMIT_BYTES || !text.bytes().all(is_plain) {
            return Err(EndpointError::Malformed);
        }
        let (scheme, rest) = text.split_once("://").ok_or(EndpointError::Malformed)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (host, port) = split_port(authority).ok_or(EndpointError::Malformed)?;
        let is_host = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-[]:".contains(&byte));
        if host.is_empty() || !is_host || port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return Err(EndpointError::Malformed);
        }
        match scheme {
            "https" => Ok(Self(text.to_owned())),
            "http" if ["127.0.0.1", "[::1]", "localhost"].contains(&host) => Ok(Self(text.to_owned())),
            "http" => Err(EndpointError::Insecure),
            _ => Err(EndpointError::Malformed),
        }
    }

    /// Returns the URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the scheme, host and port, which are part of a message's signature.
    pub fn origin(&self) -> String {
        let (scheme, rest) = self.0.split_once("://").unwrap_or_default();
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default().to_ascii_lowercase();
        let implied = if scheme == "https" { ":443" } else { ":80" };
        format!("{scheme}://{}", authority.strip_suffix(implied).unwrap_or(&authority))
    }
}

/// Splits an authority into host and port. An IPv6 address keeps its brackets.
pub(super) fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    let end = if authority.starts_with('[') { authority.find(']')? + 1 } else { authority.find(':').unwrap_or(authority.len()) };
    let (host, rest) = authority.split_at(end);
    if rest.is_empty() { Some((host, None)) } else { Some((host, Some(rest.strip_prefix(':')?))) }
}

impl TryFrom<String> for PushEndpoint {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        Self::parse(&text)
    }
}

impl From<PushEndpoint> for String {
    fn from(endpoint: PushEndpoint) -> Self {
        endpoint.0
    }
}

/// A message for a browser, before encryption.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PushMessage {
    /// The task's title.
    pub title: String,
    /// The notification's text.
    pub body: String,
    /// The path of the page that opens when the notification is tapped.
    pub path: String,
    /// The tag. A newer message with the same tag replaces the older one on the device.
    pub tag: String,
}

/// The delivery options of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushTerms {
    /// How long the push service keeps the message for a device that is offline, in seconds.
    pub ttl_seconds: u32,
    /// The urgency, which decides whether the message wakes a device in power-saving mode.
    pub urgency: &'static str,
    /// The topic, at most 32 characters. A newer message with the same topic replaces one that has not been delivered.
    pub topic: Option<String>,
}

impl PushMessage {
    /// Returns the message for a notification.
    pub fn new(notice: &Notice) -> Self {
        let line = |text: &str| text.chars().take(LINE_LIMIT_CHARS).collect();
        let tag = notice.task_id.map_or_else(|| notice.event.as_str().to_owned(), |task| task.to_string());
        Self { title: line(&notice.title), body: line(&notice.text), path: notice.path(), tag }
    }
}

impl PushTerms {
    /// Returns the delivery options of a notification. Tests are kept for one minute, others for one day. Failures, questions and
    /// tests are urgent.
    pub fn new(notice: &Notice) -> Self {
        let urgency = match (notice.event.group(), notice.event) {
            (Some(NoticeGroup::Failed | NoticeGroup::NeedsYou), _) | (None, NoticeKind::Test) => "high",
            (Some(NoticeGroup::Finished) | None, _) => "normal",
        };
        let ttl_seconds = if notice.event == NoticeKind::Test { 60 } else { 24 * 3600 };
        let topic = notice.task_id.map(|task| task.to_string().replace('-', ""));
        Self { ttl_seconds, urgency, topic }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TaskId;

    #[test]
    fn an_endpoint_is_https_or_on_this_machine() {
        for (text, origin) in [
            ("https://push.example/send/abc?x=1", "https://push.example"),
            ("https://Push.Example:443/x", "https://push.example"),
            ("https://push.example:8443", "https://push.example:8443"),
            ("http://127.0.0.1:9000/x", "http://127.0.0.1:9000"),
            ("http://[::1]:9000/x", "http://[::1]:9000"),
            ("http://localhost/x", "http://localhost"),
        ] {
            assert_eq!(PushEndpoint::parse(text).expect(text).origin(), origin);
        }
        for text in
            ["http://push.example/x", "http://127.0.0.1.evil.example/", "http://localhost.evil.example", "http://127.0.0.2/"]
        {
            assert_eq!(PushEndpoint::parse(text), Err(EndpointError::Insecure), "{text}");
        }
        let long = format!("https://push.example/{}", "x".repeat(1100));
        for text in [
            "",
            "x",
            "https://",
            "https:///x",
            "ftp://push.example/",
            "file:///etc/passwd",
            "https://me@push.example/",
            "http://localhost@evil.example/",
            "http://localhost\\@evil.example/",
            "https://a b/",
            "https://a:b/",
            "https://a:99999/",
            "https://[::1/",
            "https://[::1]x/",
            "https://\u{e9}.example/",
            &long,
        ] {
            assert_eq!(PushEndpoint::parse(text), Err(EndpointError::Malformed), "{text}");
        }
    }

    #[test]
    fn a_message_leads_to_its_task_and_replaces_an_older_one() {
        let task_id: TaskId = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650".parse().expect("the ID is valid");
        let notice = Notice { event: NoticeKind::Failed, task_id: Some(task_id), title: "x".repeat(900), ..Notice::test(None) };
        let message = PushMessage::new(&notice);
        assert_eq!((message.path, message.title.len()), (format!("/tasks/{task_id}"), 300));
        assert_eq!(message.tag, task_id.to_string());
        let terms = PushTerms::new(&notice);
        assert_eq!((terms.ttl_seconds, terms.urgency), (86400, "high"));
        assert_eq!(terms.topic.as_deref(), Some("01a201f5b7dd79a18a6e7e6639f5c650"));
        let test = Notice::test(Some("https://box.example"));
        assert_eq!(PushTerms::new(&test), PushTerms { ttl_seconds: 60, urgency: "high", topic: None });
        assert_eq!((PushMessage::new(&test).path.as_str(), PushMessage::new(&test).tag.as_str()), ("/settings/notices", "test"));
    }
}
