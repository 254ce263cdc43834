//! Parses the text source of a diagram: boxes, groups and notes with coordinates, and arrows between boxes.
//!
//! Pure: text in, diagram out. All lengths are in pixels.

use std::str::{FromStr, SplitWhitespace};

use super::DiagramError;

/// A parsed diagram.
#[derive(Debug, Default)]
pub(super) struct Diagram {
    pub(super) width: i32,
    pub(super) height: i32,
    pub(super) title: String,
    /// Alternative text for people who cannot see the diagram.
    pub(super) description: String,
    pub(super) groups: Vec<Frame>,
    pub(super) boxes: Vec<Frame>,
    pub(super) notes: Vec<Frame>,
    pub(super) arrows: Vec<Arrow>,
}

/// A box, a group, or a note without a border.
#[derive(Debug, Clone, Default)]
pub(super) struct Frame {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) width: i32,
    pub(super) height: i32,
    /// The heading, followed by the lines of smaller text.
    pub(super) lines: Vec<String>,
}

/// An arrow between two boxes.
#[derive(Debug)]
pub(super) struct Arrow {
    pub(super) from: End,
    pub(super) to: End,
    /// The x or y coordinate of the middle segment.
    pub(super) bend: Option<i32>,
    pub(super) label: String,
}

/// The point at which an arrow starts or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) x: i32,
    pub(super) y: i32,
    /// Whether the arrow leaves or enters through the left or right side of the box.
    pub(super) is_horizontal: bool,
}

/// Parses the source of a diagram. Boxes must precede the arrows that use them.
pub(super) fn diagram(source: &str) -> Result<Diagram, DiagramError> {
    let mut diagram = Diagram::default();
    for (at, line) in source.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        statement(&mut diagram, line).map_err(|reason| DiagramError::Invalid { line: at + 1, reason })?;
    }
    Ok(diagram)
}

fn statement(diagram: &mut Diagram, line: &str) -> Result<(), String> {
    let (keyword, rest) = line.split_once(' ').unwrap_or((line, ""));
    let mut texts = rest.split(" :").map(|text| text.trim().to_owned());
    let values = texts.next().unwrap_or_default();
    let lines: Vec<String> = texts.filter(|text| !text.is_empty()).collect();
    let mut values = Values(values.split_whitespace());
    match keyword {
        "canvas" => (diagram.width, diagram.height) = (values.next()?, values.next()?),
        "title" => rest.clone_into(&mut diagram.title),
        "description" => rest.clone_into(&mut diagram.description),
        "group" => diagram.groups.push(values.frame(String::new(), "group".to_owned(), lines)?),
        "box" => {
            let (name, kind) = (values.next()?, values.next()?);
            diagram.boxes.push(values.frame(name, kind, lines)?);
        }
        "note" => {
            let (x, y) = (values.next()?, values.next()?);
            diagram.notes.push(Frame { x, y, lines, ..Frame::default() });
        }
        "arrow" => {
            let from = values.end(&diagram.boxes)?;
            let to = values.end(&diagram.boxes)?;
            let bend = values.0.next().map(number).transpose()?;
            diagram.arrows.push(Arrow { from, to, bend, label: lines.concat() });
        }
        other => return Err(format!("unknown keyword `{other}`")),
    }
    Ok(())
}

/// The values of a statement, separated by spaces.
struct Values<'a>(SplitWhitespace<'a>);

impl Values<'_> {
    fn next<T: FromStr>(&mut self) -> Result<T, String> {
        number(self.0.next().ok_or("missing value")?)
    }

    fn frame(&mut self, name: String, kind: String, lines: Vec<String>) -> Result<Frame, String> {
        Ok(Frame { name, kind, x: self.next()?, y: self.next()?, width: self.next()?, height: self.next()?, lines })
    }

    fn end(&mut self, boxes: &[Frame]) -> Result<End, String> {
        let (name, side) = (self.next::<String>()?, self.next::<String>()?);
        let found = boxes.iter().find(|frame| frame.name == name).ok_or_else(|| format!("unknown box `{name}`"))?;
        let (side, offset) = match side.find(['+', '-']) {
            Some(at) => (&side[..at], number(&side[at..])?),
            None => (side.as_str(), 0),
        };
        let (middle_x, middle_y) = (found.x + found.width / 2 + offset, found.y + found.height / 2 + offset);
        match side {
            "left" => Ok(End { x: found.x, y: middle_y, is_horizontal: true }),
            "right" => Ok(End { x: found.x + found.width, y: middle_y, is_horizontal: true }),
            "top" => Ok(End { x: middle_x, y: found.y, is_horizontal: false }),
            "bottom" => Ok(End { x: middle_x, y: found.y + found.height, is_horizontal: false }),
            other => Err(format!("invalid side `{other}`")),
        }
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("invalid value `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOXES: &str = "canvas 300 100\nbox a run 10 10 100 40 : A : first\nbox b run 200 10 80 60 : B\n";

    #[test]
    fn arrows_start_and_end_at_the_sides_of_boxes() {
        let diagram = diagram(&format!("{BOXES}arrow a right b left-5 150 : 1 go\n")).expect("the source is valid");
        let arrow = &diagram.arrows[0];
        assert_eq!(arrow.from, End { x: 110, y: 30, is_horizontal: true });
        assert_eq!(arrow.to, End { x: 200, y: 35, is_horizontal: true });
        assert_eq!((arrow.bend, arrow.label.as_str()), (Some(150), "1 go"));
        assert_eq!(diagram.boxes[0].lines, ["A", "first"]);
    }

    #[test]
    fn invalid_lines_are_reported_with_their_number() {
        let check = |line: &str, expect: &str| {
            let error = diagram(&format!("{BOXES}{line}\n")).expect_err("the line is invalid").to_string();
            assert!(error.ends_with(&format!(":4: {expect}")), "{error}");
        };
        check("arrow a right c left", "unknown box `c`");
        check("arrow a over b left", "invalid side `over`");
        check("box c run 1 2 x 4", "invalid value `x`");
        check("note 1", "missing value");
        check("circle 1 2", "unknown keyword `circle`");
    }
}
