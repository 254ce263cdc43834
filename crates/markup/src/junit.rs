//! Reads test reports in the XML format of `JUnit`, which most test runners can write.
//!
//! The tests are counted, and the counts in attributes are ignored, because not all test runners agree on them. Invariant: entities of
//! the document are never expanded, and the memory for the result is limited, whatever the document contains.

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

/// The maximum number of suites that are listed.
const SUITES: usize = 100;

/// The maximum number of failing tests that are described.
const FAILURES: usize = 100;

/// The maximum number of elements inside each other.
const DEPTH: usize = 64;

/// The maximum length of a name in bytes.
const NAME_BYTES: usize = 300;

/// The maximum length of a message in bytes.
const MESSAGE_BYTES: usize = 4_000;

/// A test report.
#[derive(Debug, Default, PartialEq)]
pub struct TestReport {
    /// The suites that contain tests, in the order of the report.
    pub suites: Vec<Suite>,
    /// The failing tests, in the order of the report.
    pub failures: Vec<Failure>,
    /// The number of further suites.
    pub more_suites: usize,
    /// The number of further failing tests.
    pub more_failures: usize,
}

/// A suite, without the suites that it contains.
#[derive(Debug, Default, PartialEq)]
pub struct Suite {
    /// The name.
    pub name: String,
    /// The number of all tests.
    pub tests: usize,
    /// The number of tests that failed.
    pub failures: usize,
    /// The number of tests that ended with an error.
    pub errors: usize,
    /// The number of tests that were skipped.
    pub skipped: usize,
    /// The duration in seconds, if the report contains it.
    pub seconds: Option<f64>,
}

/// A test that did not pass.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// The name of the test, with that of its class.
    pub name: String,
    /// The message, and what follows it, such as a stack trace.
    pub message: String,
}

/// Why a text is not a test report.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TestReportError {
    /// The text is not valid XML.
    #[error("invalid XML: {0}")]
    Invalid(String),
    /// The elements are nested too deeply.
    #[error("the elements are nested too deeply")]
    TooDeep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Skipped,
    Failed,
    Error,
}

/// A test that is being read.
struct Case {
    name: String,
    outcome: Outcome,
    message: String,
    /// Whether the text at this position belongs to the message.
    is_in_message: bool,
}

/// The state while a report is read.
#[derive(Default)]
struct Reading {
    report: TestReport,
    /// The indexes of the suites around this position. A suite beyond the limit has none.
    open: Vec<Option<usize>>,
    case: Option<Case>,
}

/// Reads a test report.
pub fn test_report(text: &str) -> Result<TestReport, TestReportError> {
    let invalid = |error: quick_xml::Error| TestReportError::Invalid(error.to_string());
    let mut reader = Reader::from_str(text);
    let (mut reading, mut depth) = (Reading::default(), 0_usize);
    loop {
        match reader.read_event().map_err(invalid)? {
            Event::Start(element) => {
                depth += 1;
                if depth > DEPTH {
                    return Err(TestReportError::TooDeep);
                }
                reading.start(&element);
            }
            Event::Empty(element) => {
                reading.start(&element);
                reading.end(element.name().into_inner());
            }
            Event::End(element) => {
                depth -= 1;
                reading.end(element.name().into_inner());
            }
            Event::Text(text) => reading.say(&text.xml10_content()),
            Event::CData(text) => reading.say(&text.xml10_content()),
            Event::GeneralRef(reference) => {
                if let Some(character) = reference.resolve_char_ref().map_err(invalid)? {
                    reading.say(character.encode_utf8(&mut [0; 4]));
                } else {
                    reading.say(resolve_predefined_entity(&reference.into_inner()).unwrap_or("…"));
                }
            }
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            Event::Eof => break,
        }
    }
    // Suites that only contain other suites contain no tests directly.
    let mut report = reading.report;
    if report.suites.iter().any(|suite| suite.tests > 0) {
        report.suites.retain(|suite| suite.tests > 0);
    }
    Ok(report)
}

impl Reading {
    fn start(&mut self, element: &BytesStart<'_>) {
        match element.name().into_inner() {
            "testsuite" => {
                let index = self.report.suites.len();
                if index < SUITES {
                    let seconds = attribute(element, "time").and_then(|time| time.trim().parse().ok());
                    let seconds = seconds.filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0);
                    let name = attribute(element, "name").unwrap_or_default();
                    self.report.suites.push(Suite { name, seconds, ..Suite::default() });
                    self.open.push(Some(index));
                } else {
                    self.report.more_suites += 1;
                    self.open.push(None);
                }
            }
            "testcase" => {
                let class = attribute(element, "classname").filter(|class| !class.is_empty());
                let name = attribute(element, "name").unwrap_or_default();
                let name = class.map_or_else(|| name.clone(), |class| format!("{class} › {name}"));
                self.case = Some(Case { name, outcome: Outcome::Passed, message: String::new(), is_in_message: false });
            }
            tag @ ("failure" | "error" | "skipped") => {
                let Some(case) = &mut self.case else { return };
                match tag {
                    "skipped" if case.outcome == Outcome::Passed => case.outcome = Outcome::Skipped,
                    "skipped" => {}
                    tag => {
                        case.outcome = if tag == "error" { Outcome::Error } else { Outcome::Failed };
                        let message = attribute(element, "message").or_else(|| attribute(element, "type"));
                        push(&mut case.message, message.as_deref().unwrap_or_default(), MESSAGE_BYTES);
                        case.is_in_message = true;
                        push(&mut case.message, "\n", MESSAGE_BYTES);
                    }
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: &str) {
        match tag {
            "testsuite" => drop(self.open.pop()),
            "failure" | "error" => {
                if let Some(case) = &mut self.case {
                    case.is_in_message = false;
                }
            }
            "testcase" => {
                if let Some(case) = self.case.take() {
                    self.count(case);
                }
            }
            _ => {}
        }
    }

    fn say(&mut self, text: &str) {
        if let Some(case) = self.case.as_mut().filter(|case| case.is_in_message) {
            push(&mut case.message, text, MESSAGE_BYTES);
        }
    }

    fn count(&mut self, case: Case) {
        if self.open.is_empty() && self.report.suites.is_empty() {
            self.report.suites.push(Suite::default());
        }
        let index = self.open.last().copied().unwrap_or(Some(0));
        if let Some(suite) = index.and_then(|index| self.report.suites.get_mut(index)) {
            suite.tests += 1;
            match case.outcome {
                Outcome::Passed => {}
                Outcome::Skipped => suite.skipped += 1,
                Outcome::Failed => suite.failures += 1,
                Outcome::Error => suite.errors += 1,
            }
        }
        match case.outcome {
            Outcome::Passed | Outcome::Skipped => {}
            Outcome::Failed | Outcome::Error if self.report.failures.len() < FAILURES => {
                self.report.failures.push(Failure { name: case.name, message: case.message.trim().to_owned() });
            }
            Outcome::Failed | Outcome::Error => self.report.more_failures += 1,
        }
    }
}

/// Returns the value of an attribute, up to the limit for names or messages.
fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let mut attributes = element.attributes();
    // The check for equal names takes quadratic time.
    let found = attributes.with_checks(false).flatten().find(|attribute| attribute.key.into_inner() == name)?;
    let value = found.normalized_value(XmlVersion::Implicit1_0).unwrap_or(found.value);
    let mut text = String::new();
    push(&mut text, &value, if name == "message" { MESSAGE_BYTES } else { NAME_BYTES });
    Some(text)
}

/// Appends a text up to a total length.
fn push(text: &mut String, more: &str, limit: usize) {
    let left = limit.saturating_sub(text.len());
    text.push_str(&more[..more.floor_char_boundary(left)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite(name: &str, [tests, failures, errors, skipped]: [usize; 4], seconds: Option<f64>) -> Suite {
        Suite { name: name.to_owned(), tests, failures, errors, skipped, seconds }
    }

    fn failure(name: &str, message: &str) -> Failure {
        Failure { name: name.to_owned(), message: message.to_owned() }
    }

    #[test]
    fn tests_are_counted_and_failures_have_their_messages() {
        let report = test_report(
            r#"<?xml version="1.0"?><!-- a comment -->
            <testsuites tests="99"><testsuite name="outer" time="1.5">
              <testcase classname="math" name="adds" time="0.1"/>
              <testcase classname="math" name="divides"><failure message="by &lt;zero&gt;" type="T">at &amp; <![CDATA[<line> 1]]>&#33;</failure></testcase>
              <testcase name="breaks"><error type="Panic"/><system-out>noise</system-out></testcase>
              <testcase name="later"><skipped message="no"/></testcase>
              <testsuite name="inner"><testcase name="x"/></testsuite>
            </testsuite><testsuite name="empty"/></testsuites>"#,
        );
        let expected = TestReport {
            suites: vec![suite("outer", [4, 1, 1, 1], Some(1.5)), suite("inner", [1, 0, 0, 0], None)],
            failures: vec![failure("math › divides", "by <zero>\nat & <line> 1!"), failure("breaks", "Panic")],
            ..TestReport::default()
        };
        assert_eq!(report, Ok(expected));
    }

    #[test]
    fn entities_of_the_document_are_not_expanded() {
        let bomb = r#"<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;"><!ENTITY f SYSTEM "file:///etc/passwd">]>
            <testsuite name="&b;"><testcase name="x"><failure message="&f;">&b;&f;</failure></testcase></testsuite>"#;
        let report = test_report(bomb).expect("valid XML");
        assert_eq!(report.suites[0].name, "&b;");
        assert_eq!(report.failures, [failure("x", "&f;\n……")]);
    }

    #[test]
    fn the_result_is_limited() {
        let long = "é".repeat(10_000);
        let case = format!("<testcase name='{long}'><failure message='{long}'>{long}</failure></testcase>");
        let many = format!("<testsuites>{}</testsuites>", format!("<testsuite name='{long}'>{case}</testsuite>").repeat(150));
        let report = test_report(&many).expect("valid XML");
        assert_eq!((report.suites.len(), report.more_suites), (100, 50));
        assert_eq!((report.failures.len(), report.more_failures), (100, 50));
        assert_eq!((report.suites[0].name.len(), report.failures[0].message.len()), (NAME_BYTES, MESSAGE_BYTES));
        assert_eq!(test_report(&"<a>".repeat(100)), Err(TestReportError::TooDeep));
    }

    #[test]
    fn a_text_that_is_not_xml_is_an_error_and_a_report_that_breaks_off_is_read() {
        for text in ["<testsuite></a>", "<testsuite", "<a>&#xFFFFFFFF;</a>", "<testsuite></testsuite></testsuite>"] {
            assert!(matches!(test_report(text), Err(TestReportError::Invalid(_))), "{text}");
        }
        assert_eq!(test_report("plain").expect("no elements"), TestReport::default());
        let cut = test_report("<testsuite name='a'><testcase name='x'/><testcase name='y'>").expect("a part of a report");
        assert_eq!(cut.suites, [suite("a", [1, 0, 0, 0], None)]);
        let alone = test_report("<testcase name='x'/>").expect("valid XML");
        assert_eq!(alone.suites, [suite("", [1, 0, 0, 0], None)]);
        for time in ["NaN", "inf", "-1", "x"] {
            let report = test_report(&format!("<testsuite time='{time}'/>")).expect("valid XML");
            assert_eq!(report.suites[0].seconds, None, "{time}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "(<(/?)(testsuite|testcase|failure|a)( (name|time)='[&a;]*')?(/?)>|[&a;<>!]){0,40}") {
            drop(test_report(&text));
        }
    }
}
