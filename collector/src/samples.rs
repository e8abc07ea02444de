//! The account of sFlow's sources of samples. Each interface that samples numbers what it takes, and
//! counts what it had to leave out; so it is known how many samples were lost, whichever datagrams they
//! were in. A source's numbers are accounted like those of datagrams (`loss.rs`), with the clocks of the datagram
//! that a sample came in: late samples, also ones from before the first, copies and a line card that began anew
//! are no loss and hide none.

use hashbrown::HashMap;
use serde_json::{Map, Value};
use weir_netflow::sflow::{DataSource, FlowSample};

use crate::loss::{Numbered, Numbering, Sequence, Step};

/// Sources accounted of each exporter.
const SOURCES_MAX: usize = 256;

/// The sources of one exporter.
#[derive(Debug, Default)]
pub struct Samples {
    sources: HashMap<DataSource, Line>,
    /// Flow samples that arrived.
    taken: u64,
    /// Those lost before the exporter began anew.
    lost_before: u64,
    /// Samples that the exporter said it had to leave out.
    drops: u64,
}

/// A source's numbers.
#[derive(Debug)]
struct Line {
    sequence: Sequence,
    /// What it said last it had left out.
    drops: u32,
}

impl Samples {
    /// Accounts a flow sample that came in this datagram; false if there are too many sources for this one.
    pub fn take(&mut self, sample: &FlowSample<'_>, datagram: &Numbered) -> bool {
        self.taken += 1;
        let is_full = self.sources.len() >= SOURCES_MAX;
        if is_full && !self.sources.contains_key(&sample.source) {
            return false;
        }
        let new = || Line {
            sequence: Sequence::new(Numbering::Samples),
            drops: sample.drops,
        };
        let line = self.sources.entry(sample.source).or_insert_with(new);
        let step = line.sequence.step(&Numbered {
            sequence: sample.sequence,
            units: 1,
            units_unread: 0,
            other: None,
            ..*datagram
        });
        match step {
            Step::InOrder | Step::Gap(_) => {
                let more = sample.drops.wrapping_sub(line.drops);
                // One that falls began anew.
                self.drops += if more.cast_signed() > 0 {
                    more.into()
                } else {
                    0
                };
                line.drops = sample.drops;
            }
            Step::Restart => line.drops = sample.drops,
            Step::Late | Step::Duplicate | Step::Empty | Step::Doubtful => {}
        }
        true
    }

    /// The exporter began anew, and with it all numbers; or there is no room for them.
    pub fn restart(&mut self) {
        self.lost_before = self.lost();
        // Cleared, it would keep its memory.
        self.sources = HashMap::new();
    }

    /// Sources that are accounted.
    #[must_use]
    pub fn sources(&self) -> usize {
        self.sources.len()
    }

    /// Samples that did not arrive.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let lost = self
            .sources
            .values()
            .map(|line| line.sequence.counts().lost);
        self.lost_before + lost.sum::<u64>()
    }

    /// As entries of a JSON object.
    pub fn add_to_json(&self, object: &mut Map<String, Value>) {
        for (name, count) in [
            ("sources", self.sources.len() as u64),
            ("samples", self.taken),
            ("samples_lost", self.lost()),
            ("drops", self.drops),
        ] {
            object.insert(name.to_owned(), Value::from(count));
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_netflow::sflow::{self, Sample};
    use weir_tests::sflow::{self as made, Taken};

    use super::*;

    fn take(samples: &mut Samples, ifindex: u32, sequence: u32, drops: u32) -> bool {
        take_at(samples, 1_000, ifindex, sequence, drops)
    }

    /// One that was sent so many milliseconds after the exporter's boot.
    fn take_at(
        samples: &mut Samples,
        uptime_ms: u32,
        ifindex: u32,
        sequence: u32,
        drops: u32,
    ) -> bool {
        let taken = Taken {
            sequence,
            ifindex,
            rate: 100,
            drops,
            interfaces: [1, 2],
        };
        let header = made::Header {
            agent: std::net::Ipv4Addr::LOCALHOST,
            sub_agent: 0,
            sequence: 1,
            uptime_ms,
        };
        let numbered = Numbered {
            sequence: 1,
            units: 1,
            units_unread: 0,
            other: None,
            sent_ms: u64::from(uptime_ms),
            uptime_ms: Some(uptime_ms),
            arrived_ms: u64::from(uptime_ms),
            port: 6343,
        };
        let octets = made::datagram(&header, &[made::flow_sample(&taken, &[])]);
        let datagram = sflow::decode(&octets).unwrap();
        match datagram.samples().next() {
            Some(Sample::Flow(sample)) => samples.take(&sample, &numbered),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn c15_lost_are_those_that_never_came_in_whatever_order() {
        let mut samples = Samples::default();
        for sequence in [u32::MAX - 1, u32::MAX, 2, 0, 3, 7, 5] {
            assert!(take(&mut samples, 1, sequence, 0));
        }
        // 1, 4 and 6.
        assert_eq!(samples.lost(), 3);
        // Another source is another line.
        for sequence in [10, 11, 12] {
            take(&mut samples, 2, sequence, 0);
        }
        assert_eq!(samples.lost(), 3);
    }

    /// Each late sample is one that did arrive, and takes no other's place: neither one from before the first
    /// nor one that came twice.
    #[test]
    fn c15_a_late_sample_hides_no_loss() {
        let mut samples = Samples::default();
        for sequence in [10, 9, 8, 12] {
            take(&mut samples, 1, sequence, 0);
        }
        assert_eq!(samples.lost(), 1);
        for sequence in [8, 12, 14, 12] {
            take(&mut samples, 1, sequence, 0);
        }
        // 11 and 13.
        assert_eq!(samples.lost(), 2);
        take(&mut samples, 1, 11, 0);
        assert_eq!(samples.lost(), 1);
    }

    /// Its numbers are near those it had, and were there before: only the time tells.
    #[test]
    fn c15_a_source_that_begins_anew_by_itself_hides_no_loss() {
        let mut samples = Samples::default();
        for sequence in 1..=100 {
            take_at(&mut samples, 1_000 + sequence, 1, sequence, 0);
        }
        // The second after it agrees with the first; 3 is missing.
        for (uptime_ms, sequence) in [(60_000, 1), (61_000, 2), (62_000, 4)] {
            take_at(&mut samples, uptime_ms, 1, sequence, 0);
        }
        assert_eq!(samples.lost(), 1);
        // One of before, which comes late, fits nothing and changes nothing.
        take_at(&mut samples, 1_050, 1, 100, 0);
        take_at(&mut samples, 63_000, 1, 5, 0);
        assert_eq!(samples.lost(), 1);
    }

    #[test]
    fn c15_a_restart_is_not_loss() {
        let mut samples = Samples::default();
        for sequence in [1_000, 1_002] {
            take(&mut samples, 1, sequence, 0);
        }
        samples.restart();
        take(&mut samples, 1, 1, 0);
        take(&mut samples, 1, 2, 0);
        assert_eq!(samples.lost(), 1);
        // A line card alone began anew.
        take(&mut samples, 2, 3_000_000_000, 0);
        take(&mut samples, 2, 1, 0);
        take(&mut samples, 2, 3, 0);
        assert_eq!(samples.lost(), 2);
    }

    #[test]
    fn what_the_exporter_left_out_is_told_since_it_was_first_heard() {
        let mut samples = Samples::default();
        for (sequence, drops) in [(1, 50), (2, 50), (4, 53), (3, 51), (5, 60)] {
            take(&mut samples, 1, sequence, drops);
        }
        let mut object = Map::new();
        samples.add_to_json(&mut object);
        let expected =
            serde_json::json!({ "sources": 1, "samples": 5, "samples_lost": 0, "drops": 10 });
        assert_eq!(Value::Object(object), expected);
    }

    #[test]
    fn sources_are_bounded() {
        let mut samples = Samples::default();
        for ifindex in 0..1000 {
            let is_accounted = take(&mut samples, ifindex, 1, 0);
            assert_eq!(is_accounted, ifindex < 256);
        }
        // Those that are known stay accounted.
        assert!(take(&mut samples, 7, 3, 0));
        assert_eq!((samples.sources(), samples.lost()), (256, 1));
    }
}
