//! Strokes and words of a picture, in SVG.

use std::fmt::Write as _;

use super::axis::Axis;

/// Width of a picture, in its own units. Phones show it at some 0.6 of that.
pub(super) const WIDTH: f64 = 560.0;
/// Where pictures begin and end beside the names of their values.
pub(super) const ACROSS: [f64; 2] = [80.0, WIDTH - 14.0];

/// A picture that comes about.
pub(super) struct Drawing {
    svg: String,
    height: f64,
}

/// How text lies to its place.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Drawing {
    pub(super) fn new(height: f64) -> Self {
        Self { svg: String::new(), height }
    }

    fn put(&mut self, markup: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        self.svg.write_fmt(markup).unwrap_or_default();
    }

    pub(super) fn line(&mut self, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
        self.put(format_args!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\n"
        ));
    }

    /// Words of ours: they are not escaped.
    pub(super) fn text(&mut self, class: &str, [x, y]: [f64; 2], anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.put(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>\n"
        ));
    }

    pub(super) fn path(&mut self, class: &str, path: &str) {
        self.put(format_args!("<path class=\"{class}\" d=\"{path}\"/>\n"));
    }

    /// A point that says what it is where it is pointed at.
    pub(super) fn point(&mut self, [x, y]: [f64; 2], title: &str) {
        self.put(format_args!(
            "<circle class=\"point\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{title}</title></circle>\n"
        ));
    }

    /// Lines across at the marks of an axis that goes up, their names beside them, and what it is above.
    pub(super) fn axis_up(&mut self, axis: &Axis, top: f64, title: &str, name: fn(f64) -> String) {
        for mark in &axis.marks {
            let y = axis.place(*mark);
            self.line("grid", [ACROSS[0], y], [ACROSS[1], y]);
            self.text("mark", [ACROSS[0] - 8.0, y + 4.5], Anchor::End, &name(*mark));
        }
        self.text("title", [4.0, top - 18.0], Anchor::Start, title);
    }

    /// Names of the marks of an axis that goes across, and what it is below.
    pub(super) fn axis_across(&mut self, axis: &Axis, bottom: f64, title: &str, name: fn(f64) -> String) {
        self.line("grid", [ACROSS[0], bottom], [ACROSS[1], bottom]);
        for mark in &axis.marks {
            let x = axis.place(*mark);
            self.line("grid", [x, bottom], [x, bottom + 5.0]);
            self.text("mark", [x, bottom + 21.0], Anchor::Middle, &name(*mark));
        }
        self.text("title", [ACROSS[1], bottom + 43.0], Anchor::End, title);
    }

    /// The picture with what it shows, in words.
    pub(super) fn finish(self, label: &str) -> String {
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{label}\">\n{}</svg>\n",
            self.height, self.svg
        )
    }
}
