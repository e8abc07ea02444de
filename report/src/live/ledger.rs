//! The account of what is seen: flows by their 5-tuple, what of them is open at the sensor and what has
//! arrived at the collector, and how much that grew since the look before. Pure: times are arguments.

use std::{collections::HashMap, net::Ipv6Addr};

use weir_store::schema::StoredFlow;

/// How long a flow that is not open is shown after it last arrived, nanoseconds.
const KEPT_NS: u64 = 300_000_000_000;
/// Flows kept, at most; beyond it those go that arrived first.
const KEPT_MAX: usize = 100_000;

/// What tells flows apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// IP protocol.
    pub protocol: u8,
}

impl Tuple {
    /// A flow's.
    #[must_use]
    pub fn of(flow: &StoredFlow) -> Self {
        let record = &flow.record;
        Self {
            source: record.source,
            destination: record.destination,
            source_port: record.source_port,
            destination_port: record.destination_port,
            protocol: record.protocol,
        }
    }
}

/// A flow in the sensor's table.
#[derive(Clone, Debug)]
pub struct Open {
    /// What no other flow in the table has at that time.
    pub number: u64,
    /// The flow as it is so far.
    pub flow: StoredFlow,
}

/// The table at one time.
#[derive(Clone, Debug)]
pub struct Table {
    /// By the sensor's monotonic clock, nanoseconds.
    pub monotonic_ns: u64,
    /// By its wall clock, nanoseconds since 1970-01-01 UTC.
    pub unix_ns: u64,
    /// Its flows, or those with most.
    pub flows: Vec<Open>,
}

/// What grew in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Bits a second.
    pub bits: u64,
    /// Packets a second.
    pub packets: u64,
}

impl Rate {
    /// Both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            bits: self.bits.saturating_add(other.bits),
            packets: self.packets.saturating_add(other.packets),
        }
    }
}

/// A flow as it is shown: open and arrived parts together.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its sums.
    pub flow: StoredFlow,
    /// Whether the sensor still has it.
    pub is_open: bool,
    /// Since the look before; `None` if it was not seen then and may be older.
    pub rate: Option<Rate>,
}

/// Octets and packets.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    octets: u64,
    packets: u64,
}

impl Counts {
    fn of(flow: &StoredFlow) -> Self {
        Self {
            octets: flow.record.octets,
            packets: flow.record.packets,
        }
    }

    fn add(&mut self, other: Self) {
        self.octets = self.octets.saturating_add(other.octets);
        self.packets = self.packets.saturating_add(other.packets);
    }

    fn since(self, before: Self) -> Self {
        Self {
            octets: self.octets.saturating_sub(before.octets),
            packets: self.packets.saturating_sub(before.packets),
        }
    }

    fn in_a_second(self, span_ns: u64) -> Rate {
        let share = |count: u64, factor: u128| {
            let share = u128::from(count) * factor * 1_000_000_000 / u128::from(span_ns.max(1));
            u64::try_from(share).unwrap_or(u64::MAX)
        };
        Rate {
            bits: share(self.octets, 8),
            packets: share(self.packets, 1),
        }
    }
}

#[derive(Default)]
struct Entry {
    /// The sum of its flows in the table.
    open: Option<StoredFlow>,
    /// Numbers and counts of those, as of the last look at the table.
    parts: Vec<(u64, Counts)>,
    /// The sum of its records.
    arrived: Option<StoredFlow>,
    /// What arrived since the last look.
    fresh: Counts,
    /// When the last of them did, by the monotonic clock.
    arrived_ns: u64,
    /// It was open once: what arrives of it was seen before.
    was_open: bool,
    rate: Option<Rate>,
}

/// All flows that are known.
#[derive(Default)]
pub struct Ledger {
    flows: HashMap<Tuple, Entry>,
    /// Times of the last look at the table: monotonic, wall clock.
    table_ns: Option<(u64, u64)>,
    /// Monotonic time of the last look at what arrived.
    looked_ns: Option<u64>,
}

impl Ledger {
    /// Takes a record that has arrived.
    pub fn arrived(&mut self, flow: &StoredFlow, now_ns: u64) {
        let entry = self.flows.entry(Tuple::of(flow)).or_default();
        add(&mut entry.arrived, flow);
        entry.fresh.add(Counts::of(flow));
        entry.arrived_ns = now_ns;
        if self.flows.len() > 2 * KEPT_MAX {
            self.forget(now_ns);
        }
    }

    /// Ends a look: what arrived was taken, and this is the table, if the sensor told it.
    pub fn look(&mut self, table: Option<&Table>, now_ns: u64) {
        self.rate_arrivals(now_ns);
        if let Some(table) = table {
            self.take_table(table);
        }
        self.forget(now_ns);
    }

    fn rate_arrivals(&mut self, now_ns: u64) {
        let span_ns = self.looked_ns.map(|before| now_ns.saturating_sub(before));
        for entry in self.flows.values_mut() {
            let fresh = std::mem::take(&mut entry.fresh);
            entry.rate = match span_ns {
                // What the table has told already is not told twice.
                Some(span_ns) if !entry.was_open => Some(fresh.in_a_second(span_ns)),
                _ => None,
            };
        }
        self.looked_ns = Some(now_ns);
    }

    fn take_table(&mut self, table: &Table) {
        let before = self.table_ns.replace((table.monotonic_ns, table.unix_ns));
        let mut parts_before = HashMap::new();
        for (tuple, entry) in &mut self.flows {
            entry.open = None;
            if !entry.parts.is_empty() {
                parts_before.insert(*tuple, std::mem::take(&mut entry.parts));
                entry.rate = None;
            }
        }
        for Open { number, flow } in &table.flows {
            let tuple = Tuple::of(flow);
            let entry = self.flows.entry(tuple).or_default();
            let counts = Counts::of(flow);
            add(&mut entry.open, flow);
            entry.parts.push((*number, counts));
            if !entry.was_open {
                entry.was_open = true;
                entry.rate = None;
            }
            let Some((before_ns, before_unix_ns)) = before else {
                continue;
            };
            let parts = parts_before.get(&tuple).map(Vec::as_slice);
            let mut known = parts.unwrap_or_default().iter();
            let grown = match known.find(|(other, _)| other == number) {
                Some((_, counts_before)) => Some(counts.since(*counts_before)),
                // All of it is new.
                None if flow.record.start_ns >= before_unix_ns => Some(counts),
                None => None,
            };
            if let Some(grown) = grown {
                let span_ns = table.monotonic_ns.saturating_sub(before_ns);
                let rate = grown.in_a_second(span_ns);
                entry.rate = Some(entry.rate.unwrap_or_default().plus(rate));
            }
        }
    }

    fn forget(&mut self, now_ns: u64) {
        let is_kept = |entry: &Entry| {
            entry.open.is_some() || now_ns.saturating_sub(entry.arrived_ns) < KEPT_NS
        };
        self.flows
            .retain(|_, entry| is_kept(entry) && (entry.open.is_some() || entry.arrived.is_some()));
        if self.flows.len() > KEPT_MAX {
            let closed = self.flows.values().filter(|entry| entry.open.is_none());
            let mut times: Vec<u64> = closed.map(|entry| entry.arrived_ns).collect();
            let excess = (self.flows.len() - KEPT_MAX).min(times.len());
            if excess > 0 {
                let (_, last, _) = times.select_nth_unstable(excess - 1);
                let last = *last;
                let mut left = excess;
                self.flows.retain(|_, entry| {
                    let goes = left > 0 && entry.open.is_none() && entry.arrived_ns <= last;
                    left -= usize::from(goes);
                    !goes
                });
            }
        }
    }

    /// All flows, in no order.
    pub fn flows(&self) -> impl Iterator<Item = Shown> + '_ {
        self.flows.values().filter_map(|entry| {
            let mut sum = entry.open.clone();
            if let Some(arrived) = &entry.arrived {
                add(&mut sum, arrived);
            }
            Some(Shown {
                flow: sum?,
                is_open: entry.open.is_some(),
                rate: entry.rate,
            })
        })
    }
}

/// Adds a part of a flow.
fn add(sum: &mut Option<StoredFlow>, part: &StoredFlow) {
    let Some(sum) = sum else {
        *sum = Some(part.clone());
        return;
    };
    let (record, other) = (&mut sum.record, &part.record);
    record.octets = record.octets.saturating_add(other.octets);
    record.packets = record.packets.saturating_add(other.packets);
    record.start_ns = record.start_ns.min(other.start_ns);
    record.end_ns = record.end_ns.max(other.end_ns);
    record.tcp_flags |= other.tcp_flags;
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use weir_netflow::FlowRecord;

    pub const SECOND_NS: u64 = 1_000_000_000;
    /// 2023-11-14 22:13:20 UTC.
    pub const START_NS: u64 = 1_700_000_000 * SECOND_NS;

    /// A flow of 10.0.0.`from` to 10.0.0.`to`, begun so many seconds after the start.
    pub fn flow(from: u8, to: u8, octets: u64, second: u64) -> StoredFlow {
        let address = |last| std::net::Ipv4Addr::new(10, 0, 0, last).to_ipv6_mapped();
        StoredFlow {
            record: FlowRecord {
                source: address(from),
                destination: address(to),
                source_port: 1000 + u16::from(from),
                destination_port: 80,
                protocol: 6,
                octets,
                packets: octets / 100,
                start_ns: START_NS + second * SECOND_NS,
                end_ns: START_NS + second * SECOND_NS,
                ..FlowRecord::default()
            },
            ..StoredFlow::default()
        }
    }

    fn table(second: u64, flows: &[(u64, StoredFlow)]) -> Table {
        let flows = flows.iter().map(|(number, flow)| Open {
            number: *number,
            flow: flow.clone(),
        });
        Table {
            monotonic_ns: 7 + second * SECOND_NS,
            unix_ns: START_NS + second * SECOND_NS,
            flows: flows.collect(),
        }
    }

    /// Octets, whether it is open, and bits a second of the only flow.
    fn only(ledger: &Ledger) -> (u64, bool, Option<u64>) {
        let shown: Vec<_> = ledger.flows().collect();
        let [shown] = &shown[..] else {
            panic!("{shown:?}");
        };
        let bits = shown.rate.map(|rate| rate.bits);
        (shown.flow.record.octets, shown.is_open, bits)
    }

    #[test]
    fn rates_are_what_open_flows_grew_by() {
        let mut ledger = Ledger::default();
        ledger.look(Some(&table(0, &[(1, flow(1, 2, 5000, 0))])), 0);
        assert_eq!(only(&ledger), (5000, true, None), "it may be of any age");
        ledger.look(Some(&table(2, &[(1, flow(1, 2, 6000, 0))])), 2 * SECOND_NS);
        assert_eq!(only(&ledger), (6000, true, Some(4000)));
        // Exported at the active timeout: the table has the rest as another flow.
        ledger.arrived(&flow(1, 2, 6000, 0), 3 * SECOND_NS);
        ledger.look(Some(&table(4, &[(2, flow(1, 2, 300, 3))])), 4 * SECOND_NS);
        assert_eq!(only(&ledger), (6300, true, Some(1200)));
        ledger.look(Some(&table(5, &[])), 5 * SECOND_NS);
        assert_eq!(only(&ledger), (6000, false, None));
        ledger.look(None, 400 * SECOND_NS);
        assert_eq!(ledger.flows().count(), 0);
    }

    #[test]
    fn a_flow_begun_since_the_last_look_has_all_of_it_as_rate() {
        let mut ledger = Ledger::default();
        ledger.look(Some(&table(0, &[])), 0);
        ledger.look(Some(&table(1, &[(1, flow(1, 2, 1000, 0))])), SECOND_NS);
        assert_eq!(only(&ledger), (1000, true, Some(8000)));
    }

    #[test]
    fn records_that_arrive_are_one_flow_and_rate_by_what_came() {
        let mut ledger = Ledger::default();
        ledger.arrived(&flow(1, 2, 700, 0), 0);
        ledger.look(None, 0);
        assert_eq!(only(&ledger), (700, false, None), "it was there before");
        ledger.arrived(&flow(1, 2, 1000, 1), SECOND_NS);
        ledger.arrived(&flow(1, 2, 500, 2), SECOND_NS);
        ledger.look(None, SECOND_NS);
        assert_eq!(only(&ledger), (2200, false, Some(12_000)));
        ledger.look(None, 2 * SECOND_NS);
        assert_eq!(only(&ledger), (2200, false, Some(0)));
    }

    #[test]
    fn memory_is_bounded_and_what_arrived_first_goes() {
        let mut ledger = Ledger::default();
        for number in 0..KEPT_MAX as u64 + 10 {
            let mut one = flow(1, 2, 100, 0);
            one.record.source = Ipv6Addr::from(u128::from(number));
            ledger.arrived(&one, number);
        }
        ledger.look(None, KEPT_MAX as u64 + 10);
        assert_eq!(ledger.flows().count(), KEPT_MAX);
        assert!(
            ledger
                .flows()
                .all(|shown| shown.flow.record.source >= Ipv6Addr::from(10))
        );
    }
}
