//! What the collector noted of each exporter when it closed a file: what came to be within it. Files of
//! the store's version 1 count from the collector's start only; their share is the difference to the file
//! before.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::text;

/// One stream of an exporter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stream {
    /// The exporter's address.
    pub exporter: String,
    /// Export version.
    pub version: u64,
    /// Observation domain.
    pub source_id: u64,
}

/// What an exporter's numbers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Records: v5, v7, v8, IPFIX.
    Records,
    /// Datagrams: v9, sFlow.
    Datagrams,
}

impl Unit {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Datagrams => "datagrams",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        [Self::Records, Self::Datagrams]
            .into_iter()
            .find(|unit| unit.name() == name)
    }
}

/// What was counted of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams received.
    pub datagrams: u64,
    /// Records decoded.
    pub records: u64,
    /// Lost on the way, in the stream's unit; what arrives late is taken back, so that a file's share
    /// may be negative.
    pub lost: i64,
    /// What is lost; `None` where it cannot be known (v1).
    pub lost_unit: Option<Unit>,
    /// Datagrams that arrived late.
    pub reordered: u64,
    /// Datagrams that arrived again.
    pub duplicated: u64,
    /// Times the exporter started anew.
    pub restarts: u64,
    /// Data sets that waited for their template when the file was closed.
    pub waiting_sets: u64,
}

/// The accounts of all streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts(BTreeMap<Stream, Counts>);

impl Accounts {
    /// Reads a file's note; what is not as expected is left out.
    #[must_use]
    pub fn parse(note: &str) -> Option<Self> {
        let list: Value = serde_json::from_str(note).ok()?;
        let streams = list.as_array()?.iter().filter_map(|stream| {
            let number = |name: &str| stream[name].as_u64();
            let key = Stream {
                exporter: text::plain(stream["exporter"].as_str()?),
                version: number("version")?,
                source_id: number("source_id")?,
            };
            let counts = Counts {
                datagrams: number("datagrams")?,
                records: number("records").unwrap_or(0),
                lost: stream["lost"].as_i64().unwrap_or(0),
                lost_unit: stream["lost_unit"].as_str().and_then(Unit::of_name),
                reordered: number("reordered").unwrap_or(0),
                duplicated: number("duplicated").unwrap_or(0),
                restarts: number("restarts").unwrap_or(0),
                waiting_sets: number("waiting_sets").unwrap_or(0),
            };
            Some((key, counts))
        });
        Some(Self(streams.collect()))
    }

    /// What came to be since an earlier account. A collector that started anew counts from zero.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let share = |(stream, now): (&Stream, &Counts)| {
            let before = before.0.get(stream).copied().unwrap_or_default();
            let counts = if now.datagrams < before.datagrams {
                *now
            } else {
                Counts {
                    datagrams: now.datagrams - before.datagrams,
                    records: now.records.saturating_sub(before.records),
                    lost: now.lost.saturating_sub(before.lost),
                    lost_unit: now.lost_unit,
                    reordered: now.reordered.saturating_sub(before.reordered),
                    duplicated: now.duplicated.saturating_sub(before.duplicated),
                    restarts: now.restarts.saturating_sub(before.restarts),
                    waiting_sets: now.waiting_sets,
                }
            };
            (stream.clone(), counts)
        };
        Self(self.0.iter().map(share).collect())
    }

    /// Adds the shares of another file.
    pub fn add(&mut self, other: &Self) {
        for (stream, counts) in &other.0 {
            let sum = self.0.entry(stream.clone()).or_default();
            *sum = Counts {
                datagrams: sum.datagrams.saturating_add(counts.datagrams),
                records: sum.records.saturating_add(counts.records),
                lost: sum.lost.saturating_add(counts.lost),
                lost_unit: counts.lost_unit,
                reordered: sum.reordered.saturating_add(counts.reordered),
                duplicated: sum.duplicated.saturating_add(counts.duplicated),
                restarts: sum.restarts.saturating_add(counts.restarts),
                waiting_sets: sum.waiting_sets.max(counts.waiting_sets),
            };
        }
    }

    /// Each stream and its counts, in a stable order.
    pub fn iter(&self) -> impl Iterator<Item = (&Stream, &Counts)> {
        self.0.iter()
    }

    /// Records and datagrams lost, and the exporters that lost some.
    #[must_use]
    pub fn lost(&self) -> (u64, u64, usize) {
        let (mut records, mut datagrams, mut exporters) = (0u64, 0u64, 0);
        for counts in self.0.values() {
            let lost = u64::try_from(counts.lost).unwrap_or(0);
            match counts.lost_unit {
                Some(Unit::Records) => records = records.saturating_add(lost),
                Some(Unit::Datagrams) => datagrams = datagrams.saturating_add(lost),
                None => {}
            }
            exporters += usize::from(lost > 0);
        }
        (records, datagrams, exporters)
    }

    /// Streams that have no numbers (v1): what they lost is not known.
    #[must_use]
    pub fn without_numbers(&self) -> usize {
        let heard = self.0.values().filter(|counts| counts.datagrams > 0);
        heard.filter(|counts| counts.lost_unit.is_none()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(datagrams: u64, lost: u64) -> Accounts {
        let note = format!(
            r#"[{{"exporter":"192.0.2.1","version":9,"source_id":7,"datagrams":{datagrams},"records":{datagrams},
                "templates":2,"lost":{lost},"lost_unit":"datagrams","reordered":0,"duplicated":0,"restarts":0}}]"#
        );
        Accounts::parse(&note).unwrap()
    }

    #[test]
    fn a_file_has_the_difference_to_the_one_before() {
        let files = [note(100, 3), note(150, 3), note(160, 2), note(20, 1)];
        let mut before = Accounts::default();
        let mut total = Accounts::default();
        let mut shares = Vec::new();
        for file in &files {
            let share = file.since(&before);
            shares.extend(
                share
                    .iter()
                    .map(|(_, counts)| (counts.datagrams, counts.lost)),
            );
            total.add(&share);
            before = file.clone();
        }
        // Late arrivals take back what was lost; after a restart all of the note is new.
        assert_eq!(shares, [(100, 3), (50, 0), (10, -1), (20, 1)]);
        assert_eq!(total.lost(), (0, 3, 1));
    }

    #[test]
    fn what_v1_lost_is_not_known() {
        let note = r#"[{"exporter":"192.0.2.1","version":1,"source_id":0,"datagrams":5,"lost":null,
            "lost_unit":null,"restarts":null}]"#;
        let accounts = Accounts::parse(note).unwrap();
        let (_, counts) = accounts.iter().next().unwrap();
        assert_eq!((counts.datagrams, counts.lost_unit), (5, None));
        assert_eq!(
            (accounts.lost(), accounts.without_numbers()),
            ((0, 0, 0), 1)
        );
    }

    #[test]
    fn notes_that_are_none_say_nothing() {
        for note in ["", "null", "{}", "17"] {
            assert_eq!(Accounts::parse(note), None, "{note}");
        }
        let empty = Some(Accounts::default());
        for note in [
            "[]",
            r#"[{"exporter":5}]"#,
            r#"[{"exporter":"x","version":-1}]"#,
        ] {
            assert_eq!(Accounts::parse(note), empty, "{note}");
        }
    }
}
