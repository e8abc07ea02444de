//! Figures beside their bars in the blueprint (section 7), and the table that shows them.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// What a table says above its lines.
const HEAD: &str = "\
Where a floor stands, the bar is that of the blueprint's machine. The floor is what an empty program, \
generator and wire without a receiver, or the reading of a file come to here in the same run; in \
brackets, there. On another machine the ratios (×, %) and the counts are what to go by. A missed must \
is a miss all the same.";

/// What a figure is held against.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    must: Option<f64>,
    aim: Option<f64>,
    at_least: bool,
    floor: Option<Floor>,
}

/// What the machine leaves of an absolute bar: the figure of nothing at all, in its unit.
#[derive(Clone, Copy, Debug)]
struct Floor {
    here: f64,
    blueprint: f64,
}

impl Bar {
    /// Not to be exceeded.
    pub const fn at_most(must: f64, aim: f64) -> Self {
        Self {
            must: Some(must),
            aim: Some(aim),
            at_least: false,
            floor: None,
        }
    }

    /// To be reached.
    pub const fn at_least(must: f64, aim: f64) -> Self {
        Self {
            at_least: true,
            ..Self::at_most(must, aim)
        }
    }

    /// An aim alone: missing it is no miss.
    pub const fn aim_at_most(aim: f64) -> Self {
        Self {
            must: None,
            ..Self::at_most(aim, aim)
        }
    }

    /// The blueprint's machine's, with the floor measured here and the one measured there.
    pub const fn with_floor(self, here: f64, blueprint: f64) -> Self {
        Self {
            floor: Some(Floor { here, blueprint }),
            ..self
        }
    }

    fn is_met(&self, figure: f64, bar: f64) -> bool {
        if self.at_least {
            figure >= bar
        } else {
            figure <= bar
        }
    }

    fn text(&self, bar: Option<f64>) -> String {
        let sign = if self.at_least { '≥' } else { '≤' };
        bar.map_or_else(|| "–".to_owned(), |bar| format!("{sign} {bar}"))
    }
}

/// A figure and its bar.
#[derive(Debug)]
struct Line {
    what: String,
    unit: &'static str,
    figure: Option<f64>,
    bar: Bar,
    note: String,
}

impl Line {
    fn verdict(&self) -> &'static str {
        let Some(figure) = self.figure else {
            return "not measured";
        };
        let is_met = |bar: Option<f64>| bar.is_some_and(|bar| self.bar.is_met(figure, bar));
        if self.bar.must.is_some() && !is_met(self.bar.must) {
            "MISSED"
        } else if is_met(self.bar.aim) {
            "aim"
        } else if self.bar.must.is_some() {
            "must"
        } else {
            "aim missed"
        }
    }

    /// A must that was not measured although its bench ran is none that was met.
    fn is_missed(&self) -> bool {
        self.bar.must.is_some() && matches!(self.verdict(), "MISSED" | "not measured")
    }
}

/// What a bench found.
#[derive(Debug, Default)]
pub struct Report {
    lines: Vec<Line>,
    context: Vec<(String, f64, &'static str)>,
}

impl Report {
    /// A figure with a bar; none if it could not be measured.
    pub fn bar(
        &mut self,
        what: impl Into<String>,
        unit: &'static str,
        figure: impl Into<Option<f64>>,
        bar: Bar,
        note: impl Into<String>,
    ) {
        self.lines.push(Line {
            what: what.into(),
            unit,
            figure: figure.into(),
            bar,
            note: note.into(),
        });
    }

    /// A figure without a bar: what others need in the same run.
    pub fn context(&mut self, what: impl Into<String>, figure: f64, unit: &'static str) {
        self.context.push((what.into(), figure, unit));
    }

    /// The musts that were missed, a sentence each.
    pub fn misses(&self) -> Vec<String> {
        let missed = self.lines.iter().filter(|line| line.is_missed());
        let sentence = |line: &Line| {
            let (figure, must) = (number(line.figure), line.bar.text(line.bar.must));
            format!("{}: {figure} {}, must {must}", line.what, line.unit)
        };
        missed.map(sentence).collect()
    }

    /// A table for people.
    pub fn to_markdown(&self) -> String {
        let mut text = format!(
            "\n{HEAD}\n\n| what | unit | figure | must | aim | reached | floor | |\n|---|---|---:|---:|---:|---|---:|---|\n"
        );
        for line in &self.lines {
            let Line {
                what,
                unit,
                figure,
                bar,
                note,
            } = line;
            let floor = bar.floor.map_or_else(String::new, |floor| {
                format!("{:.1} ({})", floor.here, floor.blueprint)
            });
            let _ = writeln!(
                text,
                "| {what} | {unit} | {} | {} | {} | {} | {floor} | {note} |",
                number(*figure),
                bar.text(bar.must),
                bar.text(bar.aim),
                line.verdict()
            );
        }
        if !self.context.is_empty() {
            let _ = writeln!(text, "\nIn the same run:\n");
        }
        for (what, figure, unit) in &self.context {
            let _ = writeln!(text, "- {what}: {figure:.1} {unit}");
        }
        text
    }

    /// The same for programs.
    pub fn to_json(&self) -> Value {
        let bar = |line: &Line| {
            let Bar {
                must,
                aim,
                at_least,
                floor,
            } = line.bar;
            json!({
                "what": line.what,
                "unit": line.unit,
                "figure": line.figure,
                "must": must,
                "aim": aim,
                "at_least": at_least,
                "reached": line.verdict(),
                "floor": floor.map(|floor| floor.here),
                "blueprint_floor": floor.map(|floor| floor.blueprint),
                "note": line.note,
            })
        };
        let context = |(what, figure, unit): &(String, f64, &'static str)| json!({ "what": what, "figure": figure, "unit": unit });
        json!({
            "bars": self.lines.iter().map(bar).collect::<Vec<_>>(),
            "context": self.context.iter().map(context).collect::<Vec<_>>(),
        })
    }
}

/// Whole numbers are counts.
fn number(figure: Option<f64>) -> String {
    match figure {
        None => "–".to_owned(),
        Some(figure) if figure.fract() == 0.0 => format!("{figure:.0}"),
        Some(figure) => format!("{figure:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(figure: Option<f64>, bar: Bar) -> (&'static str, bool) {
        let mut report = Report::default();
        report.bar("it", "s", figure, bar, "");
        (report.lines[0].verdict(), !report.misses().is_empty())
    }

    #[test]
    fn a_must_that_is_missed_or_not_measured_is_a_miss() {
        let less = Bar::at_most(2.0, 1.0);
        assert_eq!(verdict(Some(2.1), less), ("MISSED", true));
        assert_eq!(verdict(Some(2.0), less), ("must", false));
        assert_eq!(verdict(Some(1.0), less), ("aim", false));
        assert_eq!(verdict(None, less), ("not measured", true));
        let more = Bar::at_least(1.0, 2.0).with_floor(9.0, 8.0);
        assert_eq!(verdict(Some(0.9), more), ("MISSED", true));
        assert_eq!(verdict(Some(1.0), more), ("must", false));
        assert_eq!(verdict(Some(2.0), more), ("aim", false));
        // A figure of a division by zero meets nothing.
        assert_eq!(verdict(Some(f64::NAN), less), ("MISSED", true));
    }

    #[test]
    fn an_aim_that_is_missed_is_none() {
        let bar = Bar::aim_at_most(2.0);
        assert_eq!(verdict(Some(2.1), bar), ("aim missed", false));
        assert_eq!(verdict(Some(1.9), bar), ("aim", false));
        assert_eq!(verdict(None, bar), ("not measured", false));
    }

    #[test]
    fn tables_show_the_floor_and_json_keeps_it() {
        let mut report = Report::default();
        let bar = Bar::at_most(30.0, 15.0).with_floor(27.94, 6.0);
        report.bar("program", "ns/packet", 70.858, bar, "a note");
        report.context("grace period", 8.04, "ms");
        let text = report.to_markdown();
        let line = "| program | ns/packet | 70.86 | ≤ 30 | ≤ 15 | MISSED | 27.9 (6) | a note |";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("- grace period: 8.0 ms"), "{text}");
        let json = report.to_json();
        assert_eq!(json["bars"][0]["blueprint_floor"], 6.0);
        assert_eq!(json["context"][0]["unit"], "ms");
    }
}
