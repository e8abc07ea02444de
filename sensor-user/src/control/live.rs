//! `live`: the flows with most octets in the table, an object a line behind one with the sums of all
//! that fit, for `weir live`. Memory is bounded by the lines asked for.

use std::{fmt::Write as _, net::IpAddr};

use weir_netflow::record::mapped_address;

use super::{
    order::Outlook,
    task::Task,
    text::address,
    view::{Cursor, Seen, View},
};
use crate::clock::Now;

/// Lines, if nothing else is said, and at most.
const LINES: usize = 1000;
const LINES_MAX: usize = 10_000;
/// Of those, told before the thread turns to its clients again.
const TOLD_MAX: usize = 256;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// One end of the flows, and the other one.
    ends: [Option<[u8; 16]>; 2],
    lines: usize,
}

impl Query {
    /// Understands the words behind `live`: `[host A [peer B]] [N]`.
    ///
    /// # Errors
    /// The answer to words that are not understood.
    pub fn parse(mut words: &[&str]) -> Result<Self, String> {
        let mut query = Self {
            ends: [None; 2],
            lines: LINES,
        };
        loop {
            words = match words {
                [] => return Ok(query),
                ["host", host, rest @ ..] => {
                    query.ends[0] = Some(octets_of(host)?);
                    rest
                }
                ["peer", peer, rest @ ..] if query.ends[0].is_some() => {
                    query.ends[1] = Some(octets_of(peer)?);
                    rest
                }
                [number, rest @ ..] if number.bytes().all(|octet| octet.is_ascii_digit()) => {
                    let lines = number.parse().unwrap_or(LINES_MAX);
                    query.lines = lines.clamp(1, LINES_MAX);
                    rest
                }
                words => {
                    return Err(format!(
                        "Refused: `{}` is not understood: say `live [host A [peer B]] [N]`\n",
                        words.join(" ").escape_debug()
                    ));
                }
            };
        }
    }

    /// Whether a flow between these is asked for.
    fn fits(&self, source: [u8; 16], destination: [u8; 16]) -> bool {
        let is_one = |one: [u8; 16], other: [u8; 16]| {
            let [host, peer] = self.ends;
            host.is_none_or(|host| host == one) && peer.is_none_or(|peer| peer == other)
        };
        is_one(source, destination) || is_one(destination, source)
    }
}

/// An address, IPv4 as v4-mapped IPv6.
fn octets_of(word: &str) -> Result<[u8; 16], String> {
    let address: IpAddr = word
        .parse()
        .map_err(|_| format!("Refused: `{}` is no address\n", word.escape_debug()))?;
    Ok(mapped_address(address).octets())
}

/// The answer in the making.
pub struct Live {
    query: Query,
    outlook: Outlook,
    cursor: Cursor,
    /// When the look began: monotonic and wall clock, nanoseconds.
    begun_ns: Option<[u64; 2]>,
    /// Those with most, up to twice as many as are wanted.
    found: Vec<Seen>,
    /// What one must have to be among them.
    least: u64,
    flows: u64,
    packets: u64,
    octets: u64,
    /// How many were told, once the table was seen.
    told: Option<usize>,
}

impl Live {
    /// Begins.
    #[must_use]
    pub fn new(query: Query, outlook: Outlook) -> Self {
        Self {
            query,
            outlook,
            cursor: Cursor::default(),
            begun_ns: None,
            found: Vec::new(),
            least: 0,
            flows: 0,
            packets: 0,
            octets: 0,
            told: None,
        }
    }

    fn take(&mut self, seen: Seen) {
        let flow = &seen.flow;
        if !self
            .query
            .fits(flow.key.source_octets(), flow.key.destination_octets())
        {
            return;
        }
        self.flows += 1;
        self.packets = self.packets.saturating_add(flow.packets);
        self.octets = self.octets.saturating_add(flow.octets);
        if flow.octets >= self.least {
            self.found.push(seen);
            if self.found.len() >= 2 * self.query.lines {
                self.settle();
            }
        }
    }

    /// Those with most first; the others go.
    fn settle(&mut self) {
        let lines = self.query.lines;
        self.found
            .sort_unstable_by_key(|seen| (std::cmp::Reverse(seen.flow.octets), seen.number));
        self.found.truncate(lines);
        if self.found.len() == lines {
            self.least = self.found.last().map_or(0, |seen| seen.flow.octets);
        }
    }

    fn head(&self, output: &mut String) {
        let [monotonic_ns, unix_ns] = self.begun_ns.unwrap_or_default();
        let _ = writeln!(
            output,
            r#"{{"monotonic_ns":{monotonic_ns},"unix_ns":{unix_ns},"flows":{},"octets":{},"packets":{},"sampling_interval":{},"changing":{},"told":{}}}"#,
            self.flows,
            self.octets,
            self.packets,
            self.outlook.sampling_interval,
            self.cursor.changing,
            self.found.len()
        );
    }

    fn line(&self, seen: &Seen, now: &Now, output: &mut String) {
        let Seen { flow, number } = seen;
        let key = &flow.key;
        let interface = self.outlook.interfaces.get(usize::from(flow.hook >> 1));
        let _ = write!(
            output,
            r#"{{"number":{number},"src":"{}","dst":"{}","src_port":{},"dst_port":{},"proto":{},"#,
            address(key.source_octets()),
            address(key.destination_octets()),
            key.source_port(),
            key.destination_port(),
            key.protocol()
        );
        let _ = write!(
            output,
            r#""tos":{},"vlan":{},"flags":{},"octets":{},"packets":{},"#,
            key.tos(),
            key.vlan(),
            flow.tcp_flags,
            flow.octets,
            flow.packets
        );
        let _ = writeln!(
            output,
            r#""first_ns":{},"last_ns":{},"ifindex":{},"egress":{}}}"#,
            now.unix_ns_of(flow.first_tick),
            now.unix_ns_of(flow.last_tick),
            interface.map_or(0, |interface| interface.ifindex),
            flow.hook & 1 == 1
        );
    }
}

impl Task for Live {
    fn step(&mut self, view: &View, now: &Now, output: &mut String) -> bool {
        let now = now.with_ticks(self.outlook.ticks);
        if let Some(told) = self.told {
            let end = self.found.len().min(told + TOLD_MAX);
            for seen in &self.found[told..end] {
                self.line(seen, &now, output);
            }
            self.told = Some(end);
            return end < self.found.len();
        }
        self.begun_ns.get_or_insert([now.monotonic_ns, now.unix_ns]);
        let mut cursor = self.cursor;
        let more = view.look_on(&mut cursor, |seen| self.take(seen));
        self.cursor = cursor;
        if !more {
            self.settle();
            self.head(output);
            self.told = Some(0);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::control::{
        flows::tests::{outlook, told, words},
        view::tests::{Packet, at, view},
    };

    fn query(line: &str) -> Result<Query, String> {
        Query::parse(&words(line))
    }

    /// The sums, and the flows.
    fn live(line: &str) -> (Value, Vec<Value>) {
        let view = view(&[
            Packet([1, 9], [1000, 80], 6, 0, 100, 0),
            Packet([9, 1], [80, 1000], 6, 1, 700, 500),
            Packet([2, 9], [1000, 53], 17, 0, 150, 0),
        ]);
        let found = told(Live::new(query(line).unwrap(), outlook()), &view, &at(2000));
        let mut objects: Vec<Value> = found
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        (objects.remove(0), objects)
    }

    #[test]
    fn flows_with_most_octets_come_first_behind_the_sums() {
        let (sums, flows) = live("");
        assert_eq!((&sums["flows"], &sums["octets"]), (&3.into(), &950.into()));
        assert_eq!(sums["sampling_interval"], 10);
        let octets: Vec<_> = flows.iter().map(|flow| flow["octets"].clone()).collect();
        assert_eq!(octets, [700, 150, 100]);
        let first = &flows[0];
        assert_eq!(
            (&first["src"], &first["dst_port"], &first["egress"]),
            (&"10.0.0.9".into(), &1000.into(), &true.into())
        );
        assert_eq!(first["ifindex"], 2);
        let (sums, flows) = live("1");
        assert_eq!((&sums["flows"], &sums["told"]), (&3.into(), &1.into()));
        assert_eq!(flows.len(), 1);
    }

    #[test]
    fn a_host_and_its_peer_have_the_flows_between_them() {
        assert_eq!(live("host 10.0.0.9").1.len(), 3);
        assert_eq!(live("host 10.0.0.1").1.len(), 2);
        assert_eq!(live("host 10.0.0.9 peer 10.0.0.2").1.len(), 1);
        assert_eq!(live("host 10.0.0.7").0["flows"], 0);
        assert_eq!(query("99999999999999").unwrap().lines, LINES_MAX);
        for (line, words) in [
            ("host x", "`x` is no address"),
            ("peer 10.0.0.1", "host A"),
            ("tcp", "`tcp`"),
        ] {
            let refused = query(line).unwrap_err();
            assert!(
                refused.starts_with("Refused: ") && refused.contains(words),
                "{refused}"
            );
        }
    }
}
