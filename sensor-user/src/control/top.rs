//! `top`: who has most in the live table, by a key. Memory is bounded: of very many values of a key
//! only those with most are kept, and the answer says so.

use std::fmt::Write as _;

use hashbrown::HashMap;

use super::{
    flows,
    order::Outlook,
    selection::Selection,
    task::Task,
    text::{Protocols, address},
    view::{Cursor, View},
};
use crate::{clock::Now, options::join, sweep::Taken};

/// Lines, if nothing else is said, and at most.
const LINES: usize = 10;
const LINES_MAX: usize = 10_000;
/// Values kept; beyond it the half with least goes.
const VALUES_MAX: usize = 1 << 15;

/// What flows are gathered by; the words are those of `weir top`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Source address.
    SourceAddress,
    /// Destination address.
    DestinationAddress,
    /// Source port.
    SourcePort,
    /// Destination port.
    DestinationPort,
    /// IP protocol.
    Protocol,
    /// ToS.
    Tos,
    /// VLAN id.
    Vlan,
    /// Interface and direction.
    Interface,
}

const KEYS: [(&str, &str, Key); 8] = [
    ("srcip", "Source address", Key::SourceAddress),
    ("dstip", "Destination address", Key::DestinationAddress),
    ("srcport", "Source port", Key::SourcePort),
    ("dstport", "Destination port", Key::DestinationPort),
    ("proto", "Protocol", Key::Protocol),
    ("tos", "ToS", Key::Tos),
    ("vlan", "VLAN", Key::Vlan),
    ("interface", "Interface", Key::Interface),
];

/// What they are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Octets.
    Octets,
    /// Packets.
    Packets,
    /// Flows.
    Flows,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    key: Key,
    sort: Sort,
    lines: usize,
    /// Which flows are meant, if not all are.
    filter: Option<String>,
}

impl Query {
    /// Understands the words behind `top`.
    ///
    /// # Errors
    /// The answer to words that are not understood.
    pub fn parse(mut words: &[&str]) -> Result<Self, String> {
        let mut query = Self {
            key: Key::SourceAddress,
            sort: Sort::Octets,
            lines: LINES,
            filter: None,
        };
        loop {
            words = match words {
                [] => return Ok(query),
                ["by", key, rest @ ..] => {
                    query.key = key_of(key)?;
                    rest
                }
                ["sort", sort, rest @ ..] => {
                    query.sort = sort_of(sort)?;
                    rest
                }
                [number, rest @ ..] if number.bytes().all(|octet| octet.is_ascii_digit()) => {
                    let lines = number.parse().unwrap_or(LINES_MAX);
                    query.lines = lines.clamp(1, LINES_MAX);
                    rest
                }
                [word @ ("by" | "sort")] => {
                    return Err(format!(
                        "Refused: nothing stands behind `{word}`: say `top [by KEY] [sort octets|packets|flows] [N] [FILTER]`\n"
                    ));
                }
                filter => {
                    query.filter = join(filter);
                    return Ok(query);
                }
            };
        }
    }
}

fn key_of(word: &str) -> Result<Key, String> {
    let found = KEYS.iter().find(|(name, _, _)| *name == word);
    found.map(|(_, _, key)| *key).ok_or_else(|| {
        let names: Vec<&str> = KEYS.iter().map(|(name, _, _)| *name).collect();
        format!(
            "Refused: there is no key `{}`: use {}\n",
            word.escape_debug(),
            names.join(", ")
        )
    })
}

fn sort_of(word: &str) -> Result<Sort, String> {
    match word {
        "octets" => Ok(Sort::Octets),
        "packets" => Ok(Sort::Packets),
        "flows" => Ok(Sort::Flows),
        _ => Err(format!(
            "Refused: `{}` cannot be sorted by: use octets, packets or flows\n",
            word.escape_debug()
        )),
    }
}

/// A value of the key, and what its flows have.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    octets: u64,
    packets: u64,
    flows: u64,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.octets = self.octets.saturating_add(other.octets);
        self.packets = self.packets.saturating_add(other.packets);
        self.flows += other.flows;
    }

    fn by(&self, sort: Sort) -> u64 {
        match sort {
            Sort::Octets => self.octets,
            Sort::Packets => self.packets,
            Sort::Flows => self.flows,
        }
    }
}

/// The answer in the making.
pub struct Top {
    query: Query,
    selection: Selection,
    outlook: Outlook,
    cursor: Cursor,
    values: HashMap<u128, Sums>,
    all: Sums,
    /// Values that went for want of room.
    dropped: u64,
}

impl Top {
    /// Begins.
    ///
    /// # Errors
    /// A sentence about the filter.
    pub fn new(query: Query, outlook: Outlook) -> Result<Self, String> {
        Ok(Self {
            selection: Selection::of(query.filter.as_deref())?,
            query,
            outlook,
            cursor: Cursor::default(),
            values: HashMap::new(),
            all: Sums::default(),
            dropped: 0,
        })
    }

    fn sorted(&self) -> Vec<(u128, Sums)> {
        let mut values: Vec<_> = self
            .values
            .iter()
            .map(|(value, sums)| (*value, *sums))
            .collect();
        let sort = self.query.sort;
        // Values decide between equals, so that an answer can be had again.
        values.sort_unstable_by(|(one, a), (other, b)| {
            b.by(sort).cmp(&a.by(sort)).then(one.cmp(other))
        });
        values
    }

    fn make_room(&mut self) {
        let kept = VALUES_MAX / 2;
        self.dropped += (self.values.len() - kept) as u64;
        self.values = self.sorted().into_iter().take(kept).collect();
    }

    fn tell(&self, output: &mut String) {
        let heading = KEYS.iter().find(|(_, _, key)| *key == self.query.key);
        let heading = heading.map_or("", |(_, heading, _)| *heading);
        let protocols = Protocols::read();
        let _ = writeln!(
            output,
            "{heading:<40} {:>16} {:>12} {:>10}",
            "Octets", "Packets", "Flows"
        );
        let lines = self.sorted().into_iter().take(self.query.lines);
        let lines = lines.map(|(value, sums)| (self.name(value, &protocols), sums));
        for (name, sums) in lines.chain([("all".to_owned(), self.all)]) {
            let _ = writeln!(
                output,
                "{name:<40} {:>16} {:>12} {:>10}",
                sums.octets, sums.packets, sums.flows
            );
        }
        if self.dropped > 0 {
            let _ = writeln!(
                output,
                "approximate: {} values with little each were left out on the way",
                self.dropped
            );
        }
        if self.cursor.changing > 0 {
            let _ = writeln!(
                output,
                "{} flows were changing and are not counted",
                self.cursor.changing
            );
        }
    }

    fn name(&self, value: u128, protocols: &Protocols) -> String {
        let [.., low] = value.to_be_bytes();
        match self.query.key {
            Key::SourceAddress | Key::DestinationAddress => address(value.to_be_bytes()),
            Key::SourcePort | Key::DestinationPort | Key::Tos | Key::Vlan => value.to_string(),
            Key::Protocol => match protocols.name(low) {
                "Unknown" => value.to_string(),
                name => name.to_owned(),
            },
            Key::Interface => flows::place(low, &self.outlook.interfaces),
        }
    }
}

/// What a flow counts for.
fn value(key: Key, flow: &Taken) -> u128 {
    match key {
        Key::SourceAddress => u128::from_be_bytes(flow.key.source_octets()),
        Key::DestinationAddress => u128::from_be_bytes(flow.key.destination_octets()),
        Key::SourcePort => flow.key.source_port().into(),
        Key::DestinationPort => flow.key.destination_port().into(),
        Key::Protocol => flow.key.protocol().into(),
        Key::Tos => flow.key.tos().into(),
        Key::Vlan => flow.key.vlan().into(),
        Key::Interface => flow.hook.into(),
    }
}

impl Task for Top {
    fn step(&mut self, view: &View, _: &Now, output: &mut String) -> bool {
        let Self {
            query,
            selection,
            cursor,
            values,
            all,
            ..
        } = self;
        let more = view.look_on(cursor, |seen| {
            if !selection.wants(&seen.flow) {
                return;
            }
            let sums = Sums {
                octets: seen.flow.octets,
                packets: seen.flow.packets,
                flows: 1,
            };
            all.add(&sums);
            let value = value(query.key, &seen.flow);
            values.entry(value).or_default().add(&sums);
        });
        if self.values.len() > VALUES_MAX {
            self.make_room();
        }
        if !more {
            self.tell(output);
        }
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{
        flows::tests::{outlook, spaced, told, words},
        view::tests::{Packet, at, view},
    };

    fn query(line: &str) -> Result<Query, String> {
        Query::parse(&words(line))
    }

    #[test]
    fn words_stand_in_any_order_and_the_last_of_a_kind_counts() {
        let expected = Query {
            key: Key::DestinationPort,
            sort: Sort::Flows,
            lines: 3,
            filter: None,
        };
        for line in [
            "by dstport sort flows 3",
            "3 sort flows by dstport",
            "9 by tos by dstport sort flows 3",
        ] {
            assert_eq!(query(line).as_ref(), Ok(&expected), "{line}");
        }
        assert_eq!(query("").unwrap().lines, LINES);
        assert_eq!(query("0").unwrap().lines, 1);
        assert_eq!(query("99999999999999999999999").unwrap().lines, LINES_MAX);
        for (line, words) in [
            ("by colour", "srcip, dstip"),
            ("by", "nothing stands behind `by`"),
            ("3 sort", "nothing stands behind `sort`"),
            ("sort size", "octets, packets or flows"),
        ] {
            let refused = query(line).unwrap_err();
            assert!(
                refused.starts_with("Refused: ") && refused.contains(words),
                "{refused}"
            );
        }
    }

    #[test]
    fn what_is_behind_them_is_a_filter() {
        let found = query("by dstport 3 src net 10.0.0.0/8 and port 53").unwrap();
        assert_eq!((found.key, found.lines), (Key::DestinationPort, 3));
        let filter = found.filter.as_deref();
        assert_eq!(filter, Some("src net 10.0.0.0/8 and port 53"));
        assert_eq!(
            top("by srcip tcp and dst port 80")[1..],
            ["10.0.0.1 200 2 2", "all 200 2 2"]
        );
        let refused = Top::new(query("by srcip porf 80").unwrap(), outlook());
        let sentence = refused.err().unwrap();
        assert!(sentence.contains("the filter `porf 80`"), "{sentence}");
    }

    fn top(line: &str) -> Vec<String> {
        let view = view(&[
            Packet([1, 9], [1000, 80], 6, 0, 100, 0),
            Packet([1, 9], [1001, 80], 6, 0, 100, 0),
            Packet([2, 9], [1000, 53], 17, 1, 150, 0),
            Packet([2, 9], [1000, 53], 17, 1, 150, 0),
        ]);
        let found = told(
            Top::new(query(line).unwrap(), outlook()).unwrap(),
            &view,
            &at(0),
        );
        found.lines().map(spaced).collect()
    }

    #[test]
    fn values_are_added_up_and_sorted() {
        assert_eq!(
            top("by srcip"),
            [
                "Source address Octets Packets Flows",
                "10.0.0.2 300 2 1",
                "10.0.0.1 200 2 2",
                "all 500 4 3"
            ]
        );
        assert_eq!(
            top("by srcip sort flows 1")[1..],
            ["10.0.0.1 200 2 2", "all 500 4 3"]
        );
        assert_eq!(top("by dstport 1")[1], "53 300 2 1");
        assert_eq!(
            top("by interface")[1..3],
            ["eth0 out 300 2 1", "eth0 in 200 2 2"]
        );
    }

    #[test]
    fn of_very_many_values_those_with_most_are_kept() {
        let mut top = Top::new(query("2").unwrap(), outlook()).unwrap();
        let many = VALUES_MAX as u128 + 1;
        let sums = |octets| Sums {
            octets,
            packets: 1,
            flows: 1,
        };
        top.values = (0..many).map(|value| (value, sums(1))).collect();
        top.values.insert(many - 1, sums(1000));
        top.make_room();
        assert_eq!(top.values.len(), VALUES_MAX / 2);
        assert_eq!(top.sorted()[0].0, many - 1);
        let mut output = String::new();
        top.tell(&mut output);
        assert!(output.contains("approximate: 16385 values"), "{output}");
    }
}
