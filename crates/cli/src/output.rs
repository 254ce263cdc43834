//! The output of a command as a value: its answer on stdout, remarks and hints on stderr.
//! Functions that build an output print nothing, so that tests can compare the whole text.

use printable::printable;

use crate::printer::{self, Cell};

/// The format in which a command prints its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputFormat {
    /// Text for people.
    Text,
    /// JSON, as in the HTTP API.
    Json,
}

impl OutputFormat {
    /// Whether the answer is printed as JSON.
    pub(crate) fn is_json(self) -> bool {
        match self {
            Self::Text => false,
            Self::Json => true,
        }
    }
}

/// The lines that a command prints, in order.
#[derive(Debug, Default)]
pub(crate) struct Output(Vec<Line>);

#[derive(Debug)]
enum Line {
    Answer(String),
    Remark(String),
    Hint(String),
}

impl Output {
    /// Adds a line to the answer on stdout. Control characters are removed.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) {
        self.styled(printable(text.as_ref()));
    }

    /// Adds a line with our own styles to the answer. All other text in it must already be printable.
    pub(crate) fn styled(&mut self, text: impl AsRef<str>) {
        self.0.push(Line::Answer(text.as_ref().to_owned()));
    }

    /// Adds a remark for people, on stderr.
    pub(crate) fn remark(&mut self, text: impl AsRef<str>) {
        self.0.push(Line::Remark(text.as_ref().to_owned()));
    }

    /// Adds a hint for people, on stderr.
    pub(crate) fn hint(&mut self, text: &str) {
        self.0.push(Line::Hint(text.to_owned()));
    }

    /// Adds a table to the answer.
    pub(crate) fn table(&mut self, heading: &[&str], rows: &[Vec<Cell>]) {
        self.0.extend(printer::aligned(heading, rows).into_iter().map(Line::Answer));
    }

    /// Prints all lines.
    pub(crate) fn print(&self) {
        for line in &self.0 {
            match line {
                Line::Answer(text) => printer::styled(text),
                Line::Remark(text) => printer::remark(text),
                Line::Hint(text) => printer::hint(text),
            }
        }
    }

    /// Returns the lines without colours. Lines for stderr are marked.
    #[cfg(test)]
    pub(crate) fn plain(&self) -> String {
        let lines = self.0.iter().flat_map(|line| match line {
            Line::Answer(text) => text.split('\n').map(str::to_owned).collect::<Vec<_>>(),
            Line::Remark(text) => printable(text).split('\n').map(|text| format!("stderr| {text}")).collect(),
            Line::Hint(text) => vec![format!("stderr| hint:  {text}")],
        });
        lines.map(|line| printable(&line).trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printer::captured::{self, Reader};

    #[tokio::test]
    async fn answers_and_remarks_go_to_their_own_streams_in_order() {
        let mut out = Output::default();
        out.line("one\ntwo");
        out.remark("a remark\u{1b}[2J");
        out.styled("\u{1b}[32mgreen\u{1b}[39m");
        out.table(&["a", "b"], &[vec![Cell::plain("1"), Cell::plain("2")]]);
        out.hint("a hint\u{7}");
        let ((), captured) = captured::during(Reader::Pipe, async { out.print() }).await;
        assert_eq!(captured.stdout, b"one\ntwo\ngreen\nA  B\n1  2\n");
        assert_eq!(captured.stderr, b"a remark\nhint:  a hint\n");
        assert_eq!(out.plain(), "one\ntwo\nstderr| a remark\ngreen\nA  B\n1  2\nstderr| hint:  a hint");
    }

    #[test]
    fn text_in_an_answer_cannot_forge_a_style() {
        let mut out = Output::default();
        out.line("\u{1b}[8mhidden\u{1b}[0m \u{202e}reversed");
        let Output(lines) = out;
        assert!(matches!(lines.as_slice(), [Line::Answer(text)] if text == "hidden reversed"), "{lines:?}");
    }
}
