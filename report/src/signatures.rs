//! Saved patterns: those that are shipped, and the operator's own, as TOML (`signatures/shipped.toml` says
//! how).

use anyhow::{Context as _, Result, bail};
use toml::{Table, Value};

use crate::{
    filter::{Filter, error::nearest},
    gather::Counts,
};

/// What is shipped.
pub const SHIPPED: &str = include_str!("../signatures/shipped.toml");

/// Words of a pattern.
const KEYS: [&str; 6] = [
    "filter",
    "about",
    "by",
    "targets",
    "flows",
    "flows_per_minute",
];

/// Who is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Who sends it.
    Source,
    /// Whom it hits.
    Destination,
}

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Its name.
    pub name: String,
    /// What it is, in a sentence.
    pub about: String,
    /// What one flow is like, as it was written.
    pub text: String,
    /// The same, understood.
    pub filter: Filter,
    /// Who is listed.
    pub by: By,
    /// Different other ends, at least.
    pub targets: u64,
    /// Flows, at least.
    pub flows: u64,
    /// Flows a minute, at least: from the first to the last, or in a burst ([`Self::burst`]).
    pub flows_per_minute: u64,
}

impl Signature {
    /// Whether so many flows are what it is about. Those that come seldom over all of their time may have a burst.
    #[must_use]
    pub fn is_met_by(&self, counts: &Counts, has_burst: impl FnOnce() -> bool) -> bool {
        const MINUTE_MS: u64 = 60_000;
        let minutes = counts.duration_ms().div_ceil(MINUTE_MS).max(1);
        let targets = counts.distinct.first().copied().unwrap_or(0);
        targets >= self.targets
            && counts.flows >= self.flows
            && (counts.flows / minutes >= self.flows_per_minute || has_burst())
    }

    /// Minutes that flows enough take, if there are so many a minute, and how many are a burst within them. What else a
    /// host did in a week makes such flows no fewer. None of a pattern that asks for no rate.
    #[must_use]
    pub fn burst(&self) -> Option<(u64, u64)> {
        let minutes = self.flows.div_ceil(self.flows_per_minute.max(1)).max(1);
        let flows = self.flows_per_minute.saturating_mul(minutes);
        (flows > 0).then_some((minutes, flows))
    }
}

/// Reads patterns; `parse` understands filters.
///
/// # Errors
/// What is wrong, and in which pattern.
pub fn read(text: &str, parse: impl Fn(&str) -> Result<Filter>) -> Result<Vec<Signature>> {
    let table: Table = text.parse().context("this is no TOML")?;
    let signature = |(name, value): (&String, &Value)| -> Result<Signature> {
        let place = || format!("signature {name}");
        let Value::Table(words) = value else {
            bail!("`{name}` stands outside a pattern: begin with [NAME]");
        };
        signature(name, words, &parse).with_context(place)
    };
    table.iter().map(signature).collect()
}

fn signature(
    name: &str,
    words: &Table,
    parse: &impl Fn(&str) -> Result<Filter>,
) -> Result<Signature> {
    for word in words.keys() {
        if !KEYS.contains(&word.as_str()) {
            match nearest(word, KEYS) {
                Some(meant) => bail!("`{word}` means nothing here; did you mean `{meant}`?"),
                None => bail!("`{word}` means nothing here: there are {}", KEYS.join(", ")),
            }
        }
    }
    let text = |word: &str| -> Result<Option<&str>> {
        match words.get(word) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => bail!("`{word}` is text, between quotes"),
        }
    };
    let number = |word: &str, otherwise: u64| -> Result<u64> {
        match words.get(word) {
            None => Ok(otherwise),
            Some(Value::Integer(number)) if *number >= 0 => Ok(number.unsigned_abs()),
            Some(_) => bail!("`{word}` is a whole number"),
        }
    };
    let filter = text("filter")?.context("a `filter` is missing")?;
    Ok(Signature {
        name: name.to_owned(),
        about: text("about")?.unwrap_or_default().to_owned(),
        text: filter.to_owned(),
        filter: parse(filter)?,
        by: match text("by")? {
            None | Some("source") => By::Source,
            Some("destination") => By::Destination,
            Some(other) => bail!("`by` is \"source\" or \"destination\", and not \"{other}\""),
        },
        targets: number("targets", 1)?,
        flows: number("flows", 1)?,
        flows_per_minute: number("flows_per_minute", 0)?,
    })
}

/// Adds patterns; one of a name that is known takes its place.
pub fn add(known: &mut Vec<Signature>, more: Vec<Signature>) {
    for signature in more {
        match known.iter_mut().find(|known| known.name == signature.name) {
            Some(known) => *known = signature,
            None => known.push(signature),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Surroundings, parse, sets::Library};

    fn understood(text: &str) -> Result<Vec<Signature>> {
        let library = Library::new("/no/such/folder".into());
        let around = Surroundings {
            now_ns: 0,
            library: &library,
            resolve: |_| Vec::new(),
        };
        read(text, |filter| Ok(parse(filter, &around)?))
    }

    #[test]
    fn what_is_shipped_is_understood_and_says_what_it_is() {
        let shipped = understood(SHIPPED).unwrap();
        assert!(shipped.len() > 10);
        for signature in &shipped {
            assert!(!signature.about.is_empty(), "{}", signature.name);
            // One flow proves nothing.
            let least = signature.targets.max(signature.flows);
            assert!(least > 1, "{}", signature.name);
            assert_ne!(signature.filter, Filter::everything(), "{}", signature.name);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, words) in [
            ("[a]\nabout = 'x'", "signature a: a `filter` is missing"),
            ("[a]\nfilter = 'dst bort 1'", "signature a: "),
            ("[a]\nfilter = 'tcp'\ntarget = 1", "did you mean `targets`?"),
            ("[a]\nfilter = 'tcp'\ncolour = 1", "there are filter, about"),
            (
                "[a]\nfilter = 'tcp'\nflows = -1",
                "`flows` is a whole number",
            ),
            ("[a]\nfilter = 1", "`filter` is text"),
            ("[a]\nfilter = 'tcp'\nby = 'port'", "not \"port\""),
            ("filter = 'tcp'", "begin with [NAME]"),
            ("[a", "this is no TOML"),
        ] {
            let says = format!("{:#}", understood(text).unwrap_err());
            assert!(says.contains(words), "{text}: {says}");
        }
    }

    #[test]
    fn ones_own_take_the_place_of_those_of_the_same_name() {
        let mut known = understood("[a]\nfilter = 'tcp'\n[b]\nfilter = 'udp'").unwrap();
        add(
            &mut known,
            understood("[b]\nfilter = 'icmp'\n[c]\nfilter = 'any'").unwrap(),
        );
        let names: Vec<_> = known
            .iter()
            .map(|known| (known.name.as_str(), known.text.as_str()))
            .collect();
        assert_eq!(names, [("a", "tcp"), ("b", "icmp"), ("c", "any")]);
    }

    #[test]
    fn all_thresholds_count() {
        let text = "[a]\nfilter = 'any'\ntargets = 3\nflows = 10\nflows_per_minute = 2";
        let signature = understood(text).unwrap().remove(0);
        let counts = |targets: u64, flows: u64, minutes: i64| Counts {
            flows,
            times_ns: (0, minutes * 60_000_000_000),
            distinct: vec![targets],
            ..Counts::default()
        };
        for (targets, flows, minutes, enough) in [
            (3, 10, 5, true),
            (2, 10, 5, false),
            (3, 9, 1, false),
            (3, 10, 6, false),
            (3, 10, 0, true),
        ] {
            let counts = counts(targets, flows, minutes);
            let found = signature.is_met_by(&counts, || false);
            assert_eq!(found, enough, "{targets} {flows} {minutes}");
            // A burst is no more ends and no more flows.
            let found = signature.is_met_by(&counts, || true);
            assert_eq!(found, targets == 3 && flows == 10);
        }
        for (flows, rate, burst) in [
            (10, 2, Some((5, 10))),
            (11, 2, Some((6, 12))),
            (1, 100, Some((1, 100))),
            (0, 3, Some((1, 3))),
            (30, 0, None),
        ] {
            let text = format!("[a]\nfilter = 'any'\nflows = {flows}\nflows_per_minute = {rate}");
            assert_eq!(understood(&text).unwrap()[0].burst(), burst, "{text}");
        }
    }
}
