//! Lines and columns: flows, or the hosts and peers they are of, sorted. Pure.

use std::{cmp::Ordering, collections::HashMap, net::Ipv6Addr};

use weir_netflow::record::display_address;

use super::{
    ledger::{Rate, Shown, Tuple},
    look::Narrowed,
};
use crate::{answer::Cell, names, text::Align};

/// What the lines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// All flows.
    Flows,
    /// Hosts, with all they sent and received.
    Hosts,
    /// Those that a host talks with.
    Peers(Ipv6Addr),
    /// The flows between two hosts.
    Between(Ipv6Addr, Ipv6Addr),
}

impl Level {
    /// Its columns.
    #[must_use]
    pub fn columns(self) -> &'static [Column] {
        const FLOWS: &[Column] = &[
            Column::State,
            Column::Protocol,
            Column::Source,
            Column::Destination,
            Column::Bits,
            Column::PacketRate,
            Column::Octets,
            Column::Packets,
            Column::Flags,
            Column::Age,
            Column::Idle,
        ];
        const HOSTS: &[Column] = &[
            Column::Address,
            Column::Bits,
            Column::PacketRate,
            Column::Octets,
            Column::Packets,
            Column::Flows,
            Column::Open,
            Column::Age,
            Column::Idle,
        ];
        match self {
            Self::Flows | Self::Between(..) => FLOWS,
            Self::Hosts | Self::Peers(_) => HOSTS,
        }
    }

    /// Which flows the sensor is to tell: of a table with very many it tells those with most.
    #[must_use]
    pub fn narrowed(self) -> Narrowed {
        match self {
            Self::Flows | Self::Hosts => Narrowed::default(),
            Self::Peers(host) => Narrowed {
                host: Some(host),
                peer: None,
            },
            Self::Between(host, peer) => Narrowed {
                host: Some(host),
                peer: Some(peer),
            },
        }
    }

    /// Its name, above the lines.
    #[must_use]
    pub fn title(self) -> String {
        match self {
            Self::Flows => "flows".to_owned(),
            Self::Hosts => "hosts".to_owned(),
            Self::Peers(host) => format!("peers of {}", display_address(host)),
            Self::Between(host, peer) => format!(
                "flows of {} and {}",
                display_address(host),
                display_address(peer)
            ),
        }
    }
}

/// A line: a flow, or all flows of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The flow; of a host the source is its address, and the rest nothing.
    pub tuple: Tuple,
    /// Flows.
    pub flows: u64,
    /// Those that are open.
    pub open: u64,
    /// Since the look before.
    pub rate: Option<Rate>,
    /// Octets.
    pub octets: u64,
    /// Packets.
    pub packets: u64,
    /// Of all packets.
    pub tcp_flags: u16,
    /// First packet, nanoseconds since 1970-01-01 UTC.
    pub start_ns: u64,
    /// Last packet, likewise.
    pub end_ns: u64,
}

impl Line {
    fn of(shown: &Shown) -> Self {
        let record = &shown.flow.record;
        Self {
            tuple: Tuple::of(&shown.flow),
            flows: 1,
            open: u64::from(shown.is_open),
            rate: shown.rate,
            octets: record.octets,
            packets: record.packets,
            tcp_flags: record.tcp_flags,
            start_ns: record.start_ns,
            end_ns: record.end_ns,
        }
    }

    fn add(&mut self, other: &Self) {
        self.flows += other.flows;
        self.open += other.open;
        self.rate = match (self.rate, other.rate) {
            (Some(one), Some(other)) => Some(one.plus(other)),
            (one, other) => one.or(other),
        };
        self.octets = self.octets.saturating_add(other.octets);
        self.packets = self.packets.saturating_add(other.packets);
        self.tcp_flags |= other.tcp_flags;
        self.start_ns = self.start_ns.min(other.start_ns);
        self.end_ns = self.end_ns.max(other.end_ns);
    }
}

/// The lines of a level, sorted.
#[must_use]
pub fn lines<'a>(
    flows: impl Iterator<Item = &'a Shown>,
    level: Level,
    sort: Column,
    ascending: bool,
) -> Vec<Line> {
    let mut lines: Vec<Line> = match level {
        Level::Flows => flows.map(Line::of).collect(),
        Level::Between(host, peer) => {
            let lines = flows.map(Line::of);
            lines
                .filter(|Line { tuple, .. }| {
                    let ends = (tuple.source, tuple.destination);
                    ends == (host, peer) || ends == (peer, host)
                })
                .collect()
        }
        Level::Hosts => by_address(flows, |tuple| [Some(tuple.source), Some(tuple.destination)]),
        Level::Peers(host) => by_address(flows, |tuple| {
            let peer_of = |own: Ipv6Addr, other| (own == host).then_some(other);
            [
                peer_of(tuple.source, tuple.destination),
                peer_of(tuple.destination, tuple.source),
            ]
        }),
    };
    lines.sort_unstable_by(|one, other| {
        let order = sort.compare(one, other);
        let order = if ascending { order } else { order.reverse() };
        // The key decides between equals, so that lines do not jump.
        order.then_with(|| one.tuple.cmp(&other.tuple))
    });
    lines
}

/// Sums by the addresses of a flow, each once.
fn by_address<'a>(
    flows: impl Iterator<Item = &'a Shown>,
    addresses: impl Fn(&Tuple) -> [Option<Ipv6Addr>; 2],
) -> Vec<Line> {
    let mut sums: HashMap<Ipv6Addr, Line> = HashMap::new();
    for shown in flows {
        let line = Line::of(shown);
        let [one, other] = addresses(&line.tuple);
        let other = other.filter(|other| Some(*other) != one);
        for address in one.into_iter().chain(other) {
            let tuple = Tuple {
                source: address,
                destination: Ipv6Addr::UNSPECIFIED,
                source_port: 0,
                destination_port: 0,
                protocol: 0,
            };
            let sum = sums.entry(address);
            sum.and_modify(|sum| sum.add(&line))
                .or_insert(Line { tuple, ..line });
        }
    }
    sums.into_values().collect()
}

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Open, or exported.
    State,
    /// IP protocol.
    Protocol,
    /// Source address and port.
    Source,
    /// Destination address and port.
    Destination,
    /// A host's address.
    Address,
    /// Bits a second.
    Bits,
    /// Packets a second.
    PacketRate,
    /// Octets.
    Octets,
    /// Packets.
    Packets,
    /// Flows.
    Flows,
    /// Open flows.
    Open,
    /// TCP flags.
    Flags,
    /// Time since the first packet.
    Age,
    /// Time since the last one.
    Idle,
}

/// Name, heading, alignment.
const COLUMNS: [(Column, &str, &str, Align); 14] = [
    (Column::State, "state", "State", Align::Left),
    (Column::Protocol, "proto", "Proto", Align::Left),
    (Column::Source, "src", "Source", Align::Left),
    (Column::Destination, "dst", "Destination", Align::Left),
    (Column::Address, "host", "Host", Align::Left),
    (Column::Bits, "bps", "bit/s", Align::Right),
    (Column::PacketRate, "pps", "pkt/s", Align::Right),
    (Column::Octets, "octets", "Octets", Align::Right),
    (Column::Packets, "packets", "Packets", Align::Right),
    (Column::Flows, "flows", "Flows", Align::Right),
    (Column::Open, "open", "Open", Align::Right),
    (Column::Flags, "flags", "Flags", Align::Left),
    (Column::Age, "age", "Age s", Align::Right),
    (Column::Idle, "idle", "Idle s", Align::Right),
];

impl Column {
    /// By its name.
    ///
    /// # Errors
    /// A sentence.
    pub fn parse(name: &str) -> Result<Self, String> {
        let found = COLUMNS.iter().find(|(_, known, ..)| *known == name);
        found.map(|(column, ..)| *column).ok_or_else(|| {
            let names = COLUMNS.map(|(_, name, ..)| name);
            format!("there are {}", names.join(", "))
        })
    }

    fn described(self) -> (&'static str, &'static str, Align) {
        let found = COLUMNS.iter().find(|(column, ..)| *column == self);
        found.map_or(("", "", Align::Left), |(_, name, heading, align)| {
            (*name, *heading, *align)
        })
    }

    /// Its name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.described().0
    }

    /// What is above it.
    #[must_use]
    pub fn heading(self) -> &'static str {
        self.described().1
    }

    /// How it is aligned.
    #[must_use]
    pub fn align(self) -> Align {
        self.described().2
    }

    /// Its value of a line. `now_ns`: nanoseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn cell(self, line: &Line, now_ns: i64) -> Cell {
        let since = |then_ns: u64| {
            let now_ns = u64::try_from(now_ns).unwrap_or(0);
            Cell::Milliseconds(now_ns.saturating_sub(then_ns) / 1_000_000)
        };
        let tuple = &line.tuple;
        match self {
            Self::State if line.open > 0 => Cell::Text("open".to_owned()),
            Self::State => Cell::Text("export".to_owned()),
            Self::Protocol => Cell::Text(names::protocol_name(tuple.protocol)),
            Self::Source => endpoint(tuple.source, tuple.source_port),
            Self::Destination => endpoint(tuple.destination, tuple.destination_port),
            Self::Address => Cell::Text(display_address(tuple.source).to_string()),
            Self::Bits => line.rate.map_or(Cell::Empty, |rate| Cell::Count(rate.bits)),
            Self::PacketRate => line
                .rate
                .map_or(Cell::Empty, |rate| Cell::Count(rate.packets)),
            Self::Octets => Cell::Count(line.octets),
            Self::Packets => Cell::Count(line.packets),
            Self::Flows => Cell::Count(line.flows),
            Self::Open => Cell::Count(line.open),
            Self::Flags if tuple.protocol == 6 => {
                Cell::Text(crate::text::tcp_flags(line.tcp_flags))
            }
            Self::Flags => Cell::Empty,
            Self::Age => since(line.start_ns),
            Self::Idle => since(line.end_ns),
        }
    }

    fn compare(self, one: &Line, other: &Line) -> Ordering {
        let (a, b) = (&one.tuple, &other.tuple);
        match self {
            Self::State | Self::Open => one.open.cmp(&other.open),
            Self::Protocol => a.protocol.cmp(&b.protocol),
            Self::Source | Self::Address => {
                (a.source, a.source_port).cmp(&(b.source, b.source_port))
            }
            Self::Destination => {
                (a.destination, a.destination_port).cmp(&(b.destination, b.destination_port))
            }
            // Where no rate is known octets decide, as at the first look.
            Self::Bits => (one.rate.map(|rate| rate.bits), one.octets)
                .cmp(&(other.rate.map(|rate| rate.bits), other.octets)),
            Self::PacketRate => (one.rate.map(|rate| rate.packets), one.packets)
                .cmp(&(other.rate.map(|rate| rate.packets), other.packets)),
            Self::Octets => one.octets.cmp(&other.octets),
            Self::Packets => one.packets.cmp(&other.packets),
            Self::Flows => one.flows.cmp(&other.flows),
            Self::Flags => one.tcp_flags.cmp(&other.tcp_flags),
            // The oldest has the greatest age.
            Self::Age => other.start_ns.cmp(&one.start_ns),
            Self::Idle => other.end_ns.cmp(&one.end_ns),
        }
    }
}

fn endpoint(address: Ipv6Addr, port: u16) -> Cell {
    Cell::Text(std::net::SocketAddr::new(display_address(address), port).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::ledger::tests::flow;

    fn shown(from: u8, to: u8, octets: u64, bits: Option<u64>) -> Shown {
        Shown {
            flow: flow(from, to, octets, 0),
            is_open: from == 1,
            rate: bits.map(|bits| Rate { bits, packets: 1 }),
        }
    }

    /// Column by column.
    fn told(flows: &[Shown], level: Level, sort: Column, columns: [Column; 3]) -> Vec<String> {
        let lines = lines(flows.iter(), level, sort, false);
        let cells = |line: &Line| columns.map(|column| column.cell(line, 0).text()).join(" ");
        lines.iter().map(cells).collect()
    }

    #[test]
    fn levels_lead_from_hosts_to_their_flows() {
        let flows = [
            shown(1, 2, 500, Some(10)),
            shown(2, 1, 300, None),
            shown(3, 2, 900, Some(5)),
            shown(4, 4, 100, None),
        ];
        let columns = [Column::Address, Column::Octets, Column::Open];
        assert_eq!(
            told(&flows, Level::Hosts, Column::Octets, columns),
            [
                "10.0.0.2 1,700 1",
                "10.0.0.3 900 0",
                "10.0.0.1 800 1",
                "10.0.0.4 100 0"
            ]
        );
        let host = flows[0].flow.record.destination;
        assert_eq!(
            told(&flows, Level::Peers(host), Column::Bits, columns),
            ["10.0.0.1 800 1", "10.0.0.3 900 0"]
        );
        let peer = flows[0].flow.record.source;
        let columns = [Column::State, Column::Source, Column::Bits];
        assert_eq!(
            told(&flows, Level::Between(host, peer), Column::Octets, columns),
            ["open 10.0.0.1:1001 10", "export 10.0.0.2:1002 "]
        );
        assert_eq!(
            told(&flows, Level::Flows, Column::Bits, columns)[0],
            "open 10.0.0.1:1001 10"
        );
    }

    #[test]
    fn columns_have_names() {
        for (column, name, ..) in COLUMNS {
            assert_eq!(Column::parse(name), Ok(column));
        }
        assert!(Column::parse("colour").unwrap_err().contains("bps, pps"));
    }
}
