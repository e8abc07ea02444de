//! Reading times: when flows were seen, and stretches of time that they were active in.

use super::{
    Rule,
    ast::{Comparison, Field, Filter, Test},
    condition::{Read, Words},
    error::Misread,
    times,
};

impl Words<'_, '_> {
    /// `first seen`, `last seen`, `received`, and stretches of time: `last 2h`, `since`, `until`,
    /// `from … to …`, `today`, `yesterday`. A flow is in one if a part of it is.
    pub(super) fn time(&mut self, word: &str) -> Read {
        let now_ns = self.around.now_ns;
        let today_ns = now_ns.saturating_sub(now_ns.rem_euclid(times::DAY_NS));
        self.at += 1;
        match word {
            "today" => Ok(active(Some(today_ns), None)),
            "yesterday" => {
                let from_ns = today_ns.saturating_sub(times::DAY_NS);
                Ok(active(Some(from_ns), Some(today_ns)))
            }
            "since" => Ok(active(Some(self.instant()?), None)),
            "until" | "before" => Ok(active(None, Some(self.instant()?))),
            "from" => {
                let from_ns = self.instant()?;
                if !self.take(&["to", "until"]) {
                    return self.refuse("`to` fits here");
                }
                let at = self.here();
                let to_ns = self.instant()?;
                if to_ns <= from_ns {
                    return Err(Misread::new(
                        at,
                        "this is not after the beginning: a time alone is today's (of the day before: yesterday 23:00)",
                    ));
                }
                Ok(active(Some(from_ns), Some(to_ns)))
            }
            _ if self.take(&["seen"]) => {
                let field = if word == "first" {
                    Field::Start
                } else {
                    Field::End
                };
                self.compared_time(field)
            }
            "received" => self.compared_time(Field::Received),
            "last" => {
                let at = self.here();
                let text = self.value("`seen` or a stretch of time such as 2h or 1h30m")?;
                // `last hour` is one; a letter alone may be a slip.
                let one_ns = || times::unit_ns(&text).filter(|_| text.len() > 2);
                match self.stretch(&text).or_else(one_ns) {
                    Some(span_ns) => Ok(active(Some(now_ns.saturating_sub(span_ns)), None)),
                    None => Err(Misread::new(at, self.no_stretch(&text))),
                }
            }
            _ => self.unknown("`seen` fits here", &["seen"]),
        }
    }

    /// A comparison with a time.
    fn compared_time(&mut self, field: Field) -> Read {
        let comparison = self.comparison().unwrap_or(Comparison::Equal);
        let at_ms = self.instant()?.div_euclid(1_000_000);
        Ok(Test::Time {
            field,
            comparison,
            at_ms,
        }
        .into())
    }

    /// A stretch of time of which the first word was taken; several one behind the other add up (`1h 30m`).
    fn stretch(&mut self, text: &str) -> Option<i64> {
        let mut span_ns = self.part(text)?;
        while let Some(word) = self.written() {
            let before = self.at;
            self.at += 1;
            let Some(part_ns) = self.part(word) else {
                self.at = before;
                break;
            };
            span_ns = span_ns.checked_add(part_ns)?;
        }
        Some(span_ns)
    }

    /// What fits in the place of a stretch of time whose first word was taken.
    fn no_stretch(&self, text: &str) -> &'static str {
        let is_number = text.starts_with(|first: char| first.is_ascii_digit());
        if is_number && (text.ends_with('M') || self.written() == Some("M")) {
            "M may mean minutes or months: write 1m, or 30d"
        } else {
            "`seen` or a stretch of time such as 2h or 1h30m fits here"
        }
    }

    /// A part of one, in one word or two, of which the first was taken.
    fn part(&mut self, text: &str) -> Option<i64> {
        if let Some(span_ns) = times::duration_ns(text) {
            return Some(span_ns);
        }
        let number: i64 = text.parse().ok().filter(|number| *number >= 0)?;
        let unit_ns = times::unit_ns(self.written()?)?;
        self.at += 1;
        number.checked_mul(unit_ns)
    }

    /// A time, in one word or several.
    fn instant(&mut self) -> Read<i64> {
        const WHAT: &str = "a time such as 2026-11-21T14:00, 14:00, yesterday or 2h ago";
        let (begin, now_ns) = (self.at, self.around.now_ns);
        let at = self.here();
        let text = self.value(WHAT)?;
        // As nfdump's -t has it: 2026/11/21.14:00:00.
        if self
            .peek()
            .is_some_and(|piece| piece.as_rule() == Rule::length)
        {
            return self
                .refuse("a day has hyphens here, and a T before the time: 2026-11-21T14:00");
        }
        if let Some(span_ns) = self.stretch(&text)
            && self.take(&["ago"])
        {
            return Ok(now_ns.saturating_sub(span_ns));
        }
        self.at = begin + 1;
        let clock = self.word().filter(|word| word.contains(':'));
        if let Some(clock) = clock
            && let Some(time_ns) = times::instant_ns(&format!("{text} {clock}"), now_ns)
        {
            self.at += 1;
            return Ok(time_ns);
        }
        times::instant_ns(&text, now_ns)
            .ok_or_else(|| Misread::new(at, format!("{WHAT} fits here")))
    }
}

/// Flows of which a part lies in a stretch of time.
fn active(from_ns: Option<i64>, to_ns: Option<i64>) -> Filter {
    let test = |field, comparison, at_ns: i64| -> Filter {
        let at_ms = at_ns.div_euclid(1_000_000);
        Test::Time {
            field,
            comparison,
            at_ms,
        }
        .into()
    };
    let from = from_ns.map(|from_ns| test(Field::End, Comparison::GreaterOrEqual, from_ns));
    let to = to_ns.map(|to_ns| test(Field::Start, Comparison::Less, to_ns));
    Filter::All(from.into_iter().chain(to).collect())
}
