//! The account of sFlow's sources of samples. Each interface that samples numbers what it takes, and
//! counts what it had to leave out; so it is known how many samples were lost, whichever datagrams they
//! were in. That is the difference of what a source's numbers say and what arrived: neither order nor
//! lateness matters to it, and copies and restarts are told from the datagrams' own numbers (`loss.rs`).

use hashbrown::HashMap;
use serde_json::{Map, Value};
use weir_netflow::sflow::{DataSource, FlowSample};

/// Sources accounted of each exporter.
pub const SOURCES_MAX: usize = 256;
/// A number that far from the last one is none of its line: the source began anew by itself.
const REACH: u32 = 1 << 20;

/// The sources of one exporter.
#[derive(Debug, Default)]
pub struct Samples {
    sources: HashMap<DataSource, Line>,
    /// Flow samples that arrived.
    taken: u64,
    /// Those lost on lines that ended.
    lost_before: u64,
    /// Samples that the exporter said it had to leave out.
    drops: u64,
}

/// A source's numbers from one start to the next.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// The latest number.
    newest: u32,
    /// Numbers from the first to it.
    numbers: u64,
    /// Samples that arrived.
    arrived: u64,
    /// What it said last it had left out.
    drops: u32,
}

impl Line {
    fn begin(sample: &FlowSample<'_>) -> Self {
        Self {
            newest: sample.sequence,
            numbers: 1,
            arrived: 1,
            drops: sample.drops,
        }
    }

    fn lost(&self) -> u64 {
        self.numbers.saturating_sub(self.arrived)
    }
}

impl Samples {
    /// Accounts a flow sample. False if there is no room for its source.
    pub fn take(&mut self, sample: &FlowSample<'_>) -> bool {
        self.taken += 1;
        let is_full = self.sources.len() >= SOURCES_MAX;
        let Some(line) = self.sources.get_mut(&sample.source) else {
            if !is_full {
                self.sources.insert(sample.source, Line::begin(sample));
            }
            return !is_full;
        };
        let ahead = sample.sequence.wrapping_sub(line.newest);
        let behind = line.newest.wrapping_sub(sample.sequence);
        if ahead.min(behind) > REACH {
            self.lost_before += line.lost();
            *line = Line::begin(sample);
            return true;
        }
        line.arrived += 1;
        if ahead <= REACH {
            line.numbers += u64::from(ahead);
            line.newest = sample.sequence;
            let more = sample.drops.wrapping_sub(line.drops);
            // One that falls began anew.
            self.drops += if more.cast_signed() > 0 {
                more.into()
            } else {
                0
            };
            line.drops = sample.drops;
        }
        true
    }

    /// The exporter began anew, and with it all numbers.
    pub fn restart(&mut self) {
        self.lost_before = self.lost();
        self.sources.clear();
    }

    /// Samples that did not arrive.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let lost = self.sources.values().map(Line::lost).sum::<u64>();
        self.lost_before + lost
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
            uptime_ms: 1,
        };
        let octets = made::datagram(&header, &[made::flow_sample(&taken, &[])]);
        let datagram = sflow::decode(&octets).unwrap();
        match datagram.samples().next() {
            Some(Sample::Flow(sample)) => samples.take(&sample),
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
    }
}
