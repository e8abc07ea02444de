//! Which groups lead: what is compared, and those that come first by it.

use crate::{
    element::KeyValue,
    functions,
    gather::{Counts, Group, Row},
    leading::Leading,
};

/// What decides which group comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Octets.
    Octets,
    /// Packets.
    Packets,
    /// Flows.
    Flows,
    /// Bits a second.
    Bps,
    /// Packets a second.
    Pps,
    /// Octets a packet.
    Bpp,
    /// Octets that left, where exporters count them apart.
    OutOctets,
    /// Packets, likewise.
    OutPackets,
    /// Bits a second, likewise.
    OutBps,
    /// Packets a second, likewise.
    OutPps,
    /// Octets a packet, likewise.
    OutBpp,
    /// Time from first to last packet.
    Duration,
    /// Time of the first packet.
    Start,
    /// Time of the last packet.
    End,
    /// Different values of the n-th element that is counted so.
    Distinct(usize),
}

impl Order {
    /// By its name: nfdump's, or Weir's.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "octets" | "bytes" | "ibyte" | "ibytes" => Self::Octets,
            "packets" | "ipkg" | "ipackets" => Self::Packets,
            "flows" => Self::Flows,
            "bps" | "ibps" => Self::Bps,
            "pps" | "ipps" => Self::Pps,
            "bpp" | "ibpp" => Self::Bpp,
            "obyte" | "obytes" => Self::OutOctets,
            "opkg" | "opackets" => Self::OutPackets,
            "obps" => Self::OutBps,
            "opps" => Self::OutPps,
            "obpp" => Self::OutBpp,
            "duration" => Self::Duration,
            "tstart" => Self::Start,
            "tend" => Self::End,
            _ => return None,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Octets => "octets",
            Self::Packets => "packets",
            Self::Flows => "flows",
            Self::Bps => "bps",
            Self::Pps => "pps",
            Self::Bpp => "bpp",
            Self::OutOctets => "out_octets",
            Self::OutPackets => "out_packets",
            Self::OutBps => "out_bps",
            Self::OutPps => "out_pps",
            Self::OutBpp => "out_bpp",
            Self::Duration => "duration",
            Self::Start => "first",
            Self::End => "last",
            Self::Distinct(_) => "distinct",
        }
    }

    /// Whether it needs first and last times.
    #[must_use]
    pub fn needs_times(self) -> bool {
        matches!(
            self,
            Self::Bps
                | Self::Pps
                | Self::OutBps
                | Self::OutPps
                | Self::Duration
                | Self::Start
                | Self::End
        )
    }

    /// Whether it needs what left.
    #[must_use]
    pub fn needs_out(self) -> bool {
        matches!(
            self,
            Self::OutOctets | Self::OutPackets | Self::OutBps | Self::OutPps | Self::OutBpp
        )
    }

    /// Whether the least comes first if nothing is said: of times the earliest.
    #[must_use]
    fn is_usually_ascending(self) -> bool {
        matches!(self, Self::Start | Self::End)
    }

    /// What it compares.
    #[must_use]
    pub fn measure(self, counts: &Counts) -> u64 {
        // Times before 1970 are no times.
        let time = |time_ns: i64| u64::try_from(time_ns).unwrap_or(0);
        match self {
            Self::Octets => counts.octets,
            Self::Packets => counts.packets,
            Self::Flows => counts.flows,
            Self::Bps => functions::bits_per_second(counts.octets, counts.duration_ms()),
            Self::Pps => functions::per_second(counts.packets, counts.duration_ms()),
            Self::Bpp => functions::octets_per_packet(counts.octets, counts.packets),
            Self::OutOctets => counts.out_octets,
            Self::OutPackets => counts.out_packets,
            Self::OutBps => functions::bits_per_second(counts.out_octets, counts.duration_ms()),
            Self::OutPps => functions::per_second(counts.out_packets, counts.duration_ms()),
            Self::OutBpp => functions::octets_per_packet(counts.out_octets, counts.out_packets),
            Self::Duration => counts.duration_ms(),
            Self::Start => time(counts.times_ns.0),
            Self::End => time(counts.times_ns.1),
            Self::Distinct(at) => counts.distinct.get(at).copied().unwrap_or(0),
        }
    }
}

/// An order, and whether the least comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sorting {
    /// What is compared.
    pub order: Order,
    /// Whether the least comes first.
    pub is_ascending: bool,
}

impl Sorting {
    /// By its name: an order's, with nfdump's `:a` behind it for the least first, or `:d`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (name, is_ascending) = direction(name);
        Some(Self::of(Order::parse(name)?, is_ascending))
    }

    /// An order, and whether the least comes first, if that is said.
    #[must_use]
    pub fn of(order: Order, is_ascending: Option<bool>) -> Self {
        Self {
            order,
            is_ascending: is_ascending.unwrap_or(order.is_usually_ascending()),
        }
    }
}

/// An order's name without nfdump's `:a` or `:d`, and whether that says that the least comes first.
#[must_use]
pub fn direction(name: &str) -> (&str, Option<bool>) {
    match name.rsplit_once(':') {
        Some((name, "a")) => (name, Some(true)),
        Some((name, "d")) => (name, Some(false)),
        _ => (name, None),
    }
}

/// The groups that lead by one order.
#[derive(Debug)]
pub struct Ranking {
    sorting: Sorting,
    leading: Leading<Vec<KeyValue>, Counts>,
}

impl Ranking {
    /// An empty ranking of so many lines; 0: of all.
    #[must_use]
    pub fn sorted(sorting: Sorting, lines_max: usize) -> Self {
        Self {
            sorting,
            leading: Leading::new(lines_max),
        }
    }

    /// Takes a group that may lead.
    pub fn offer(&mut self, row: &Row<'_>) {
        let counts = &row.counts;
        let make = || (row.keys(), counts.clone());
        let measure = self.sorting.order.measure(counts);
        let leads_by = if self.sorting.is_ascending {
            u64::MAX - measure
        } else {
            measure
        };
        self.leading.offer(leads_by, make);
    }

    /// The groups that lead, the first one first; equal ones by their keys.
    #[must_use]
    pub fn finish(self) -> Vec<Group> {
        let leading = self.leading.finish().into_iter();
        leading
            .map(|(keys, counts)| Group { keys, counts })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_have_nfdumps_names_and_of_times_the_earliest_comes_first() {
        for (name, order, is_ascending) in [
            ("bytes", Order::Octets, false),
            ("ipkg:a", Order::Packets, true),
            ("opkg", Order::OutPackets, false),
            ("obytes", Order::OutOctets, false),
            ("tstart", Order::Start, true),
            ("tend", Order::End, true),
            ("tstart:d", Order::Start, false),
        ] {
            let expected = Sorting {
                order,
                is_ascending,
            };
            assert_eq!(Sorting::parse(name), Some(expected), "{name}");
        }
        assert_eq!(Sorting::parse("colour"), None);
    }

    #[test]
    fn what_left_is_ordered_by_itself() {
        let counts = Counts {
            octets: 1,
            packets: 1,
            out_octets: 3000,
            out_packets: 20,
            times_ns: (0, 2_000_000_000),
            ..Counts::default()
        };
        for (name, measure) in [
            ("obyte", 3000),
            ("opkg", 20),
            ("obps", 12_000),
            ("opps", 10),
            ("obpp", 150),
        ] {
            let order = Order::parse(name).unwrap();
            assert!(order.needs_out(), "{name}");
            assert_eq!(order.measure(&counts), measure, "{name}");
        }
    }

    #[test]
    fn times_before_1970_are_none() {
        let counts = Counts {
            times_ns: (-3, 20),
            ..Counts::default()
        };
        assert_eq!(Order::Start.measure(&counts), 0);
        assert_eq!(Order::End.measure(&counts), 20);
        assert!(Order::Start.needs_times() && Order::End.needs_times());
    }
}
