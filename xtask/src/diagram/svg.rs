//! Renders a diagram as SVG, with colors for light and dark themes.
//!
//! Pure: the same diagram always produces the same bytes.

use std::fmt::Write as _;

use super::parse::{Arrow, Diagram, Frame};

/// The background is part of the image, because the theme of a page can differ from that of the system.
const STYLE: &str = "\
  :root { --page: #ffffff; --ink: #1f2328; --soft: #59636e; --line: #6e7781; --group: #f6f8fa; --edge: #d1d9e0; --step: #0550ae; --on-step: #ffffff;
    --person: #fff8c5; --server: #ddf4ff; --run: #dafbe1; --agent: #ffebe9; --file: #fbefff; --remote: #eaeef2; }
  @media (prefers-color-scheme: dark) {
    :root { --page: #0d1117; --ink: #f0f6fc; --soft: #9198a1; --line: #9198a1; --group: #151b23; --edge: #3d444d; --step: #79c0ff; --on-step: #0d1117;
      --person: #3b2300; --server: #0c2d6b; --run: #033a16; --agent: #5d0f12; --file: #3c1e70; --remote: #262c36; }
  }
  text { font: 12px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; fill: var(--soft); }
  .head { font-size: 14px; font-weight: 600; fill: var(--ink); }
  .label { fill: var(--ink); paint-order: stroke; stroke: var(--page); stroke-width: 4px; stroke-linejoin: round; }
  .number { font-weight: 700; fill: var(--on-step); text-anchor: middle; }
  .middle { text-anchor: middle; }
  .page { fill: var(--page); } .group { fill: var(--group); stroke: var(--edge); } .step { fill: var(--step); }
  .arrow { fill: none; stroke: var(--line); stroke-width: 1.6; marker-end: url(#tip); } .tip { fill: var(--line); }
  .box { stroke: var(--edge); }
";

/// The kinds of boxes that have their own color.
const KINDS: [&str; 6] = ["person", "server", "run", "agent", "file", "remote"];

/// The height of a line of text.
const LINE: i32 = 16;

/// Returns the SVG document of a diagram.
pub(super) fn render(diagram: &Diagram) -> String {
    let Diagram { width, height, .. } = diagram;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-labelledby=\"title description\">\n<title id=\"title\">{}</title>\n<desc id=\"description\">{}</desc>\n<style>\n{STYLE}",
        escaped(&diagram.title),
        escaped(&diagram.description),
    );
    for kind in KINDS {
        line(&mut out, format_args!("  .{kind} {{ fill: var(--{kind}); }}"));
    }
    line(
        &mut out,
        format_args!(
            "</style>\n<marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"6\" markerHeight=\"6\" \
             orient=\"auto\"><path class=\"tip\" d=\"M0 0 8 4 0 8z\"/></marker>\n\
             <rect class=\"page\" width=\"{width}\" height=\"{height}\" rx=\"12\"/>\n\
             <text class=\"head\" x=\"24\" y=\"36\">{}</text>",
            escaped(&diagram.title)
        ),
    );
    for group in &diagram.groups {
        rect(&mut out, group, "group", 12);
        text(&mut out, "head", group.x + 16, group.y + 24, group.lines.first());
        text(&mut out, "sub", group.x + 16, group.y + 24 + LINE, group.lines.get(1));
    }
    for frame in &diagram.boxes {
        rect(&mut out, frame, &format!("box {}", frame.kind), 8);
        let lines = i32::try_from(frame.lines.len()).unwrap_or(i32::MAX / LINE);
        let (middle, mut y) = (frame.x + frame.width / 2, frame.y + (frame.height - lines * LINE) / 2 + 12);
        for (at, content) in frame.lines.iter().enumerate() {
            text(&mut out, if at == 0 { "head middle" } else { "middle" }, middle, y, Some(content));
            y += LINE + 1;
        }
    }
    for arrow in &diagram.arrows {
        line(&mut out, format_args!("<path class=\"arrow\" d=\"{}\"/>", path(&points(arrow))));
    }
    for arrow in &diagram.arrows {
        label(&mut out, arrow);
    }
    for note in &diagram.notes {
        for (at, content) in (0..).zip(&note.lines) {
            text(&mut out, "note", note.x, note.y + at * LINE, Some(content));
        }
    }
    out.push_str("</svg>\n");
    out
}

/// Returns the corners of an arrow, with at most three segments.
fn points(arrow: &Arrow) -> Vec<(i32, i32)> {
    let (from, to) = (arrow.from, arrow.to);
    let mut points = vec![(from.x, from.y)];
    match (from.is_horizontal, to.is_horizontal) {
        (true, true) => {
            let x = arrow.bend.unwrap_or(i32::midpoint(from.x, to.x));
            points.extend([(x, from.y), (x, to.y)]);
        }
        (false, false) => {
            let y = arrow.bend.unwrap_or(i32::midpoint(from.y, to.y));
            points.extend([(from.x, y), (to.x, y)]);
        }
        (true, false) => points.push((to.x, from.y)),
        (false, true) => points.push((from.x, to.y)),
    }
    points.push((to.x, to.y));
    points.dedup();
    let is_straight = |(x, y): &(i32, i32)| points.iter().all(|point| point.0 == *x) || points.iter().all(|point| point.1 == *y);
    if points.first().is_some_and(is_straight) {
        points.drain(1..points.len() - 1);
    }
    points
}

fn path(points: &[(i32, i32)]) -> String {
    let corners: Vec<String> = points.iter().map(|(x, y)| format!("{x} {y}")).collect();
    format!("M{}", corners.join("L"))
}

/// Writes the label of an arrow at the middle of its longest segment. A leading number is drawn in a circle.
fn label(out: &mut String, arrow: &Arrow) {
    let points = points(arrow);
    let length = |pair: &&[(i32, i32)]| (pair[0].0 - pair[1].0).abs() + (pair[0].1 - pair[1].1).abs();
    let Some(longest) = points.windows(2).max_by_key(length).filter(|_| !arrow.label.is_empty()) else { return };
    let (x, y) = (i32::midpoint(longest[0].0, longest[1].0), i32::midpoint(longest[0].1, longest[1].1));
    let is_vertical = longest[0].0 == longest[1].0;
    let (number, words) = arrow.label.split_once(' ').unwrap_or((arrow.label.as_str(), ""));
    line(out, format_args!("<circle class=\"step\" cx=\"{x}\" cy=\"{y}\" r=\"10\"/>"));
    text(out, "number", x, y + 4, Some(&number.to_owned()));
    if words.is_empty() {
        return;
    }
    let words = words.to_owned();
    if is_vertical {
        text(out, "label", x + 15, y + 4, Some(&words));
    } else {
        text(out, "label middle", x, y - 15, Some(&words));
    }
}

fn rect(out: &mut String, frame: &Frame, class: &str, radius: i32) {
    let Frame { x, y, width, height, .. } = frame;
    line(
        out,
        format_args!("<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"{radius}\"/>"),
    );
}

fn text(out: &mut String, class: &str, x: i32, y: i32, content: Option<&String>) {
    if let Some(content) = content {
        line(out, format_args!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", escaped(content)));
    }
}

fn line(out: &mut String, content: std::fmt::Arguments<'_>) {
    writeln!(out, "{content}").expect("writing to a string cannot fail");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::parse::diagram;
    use super::*;

    #[test]
    fn a_small_diagram_has_its_boxes_arrows_and_texts() {
        let source = "canvas 300 100\ntitle A & B\nbox a run 10 10 100 40 : A\nbox b file 200 40 80 40 : <B>\narrow a right b left : 1 go\n";
        let svg = render(&diagram(source).expect("the source is valid"));
        for part in
            ["A &amp; B", "&lt;B&gt;", "class=\"box file\"", "d=\"M110 30L155 30L155 60L200 60\"", ">1</text>", ">go</text>"]
        {
            assert!(svg.contains(part), "{part}: {svg}");
        }
    }
}
