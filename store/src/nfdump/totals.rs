//! What a file says it holds: the statistics in its appendix (`stat_record_t`, 18 numbers of 64 bits).

use weir_netflow::FlowRecord;

use super::{
    ICMP, ICMPV6,
    octets::{put_u64, u64},
};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Counts of all protocols, then of TCP, UDP, ICMP (both versions') and the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Flows.
    pub flows: [u64; 5],
    /// Octets.
    pub octets: [u64; 5],
    /// Packets.
    pub packets: [u64; 5],
    /// First packet of all flows, milliseconds since 1970-01-01 UTC.
    pub first_ms: u64,
    /// Last packet, likewise.
    pub last_ms: u64,
    /// Gaps in sequence numbers that nfcapd saw.
    pub sequence_failures: u64,
}

impl Totals {
    /// Octets of them in a file.
    pub(super) const OCTETS: usize = 18 * 8;

    /// Counts of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            // As nfdump has it; any flow is earlier.
            first_ms: i64::MAX.cast_unsigned(),
            ..Self::default()
        }
    }

    /// Counts a flow.
    pub fn add(&mut self, record: &FlowRecord) {
        let kind = match record.protocol {
            TCP => 1,
            UDP => 2,
            ICMP | ICMPV6 => 3,
            _ => 4,
        };
        for index in [0, kind] {
            self.flows[index] += 1;
            // Exporters choose these.
            self.octets[index] = self.octets[index].wrapping_add(record.octets);
            self.packets[index] = self.packets[index].wrapping_add(record.packets);
        }
        self.first_ms = self.first_ms.min(record.start_ns / 1_000_000);
        self.last_ms = self.last_ms.max(record.end_ns / 1_000_000);
    }

    pub(super) fn decode(octets: &[u8]) -> Option<Self> {
        if octets.len() < Self::OCTETS {
            return None;
        }
        let mut totals = Self {
            first_ms: u64(octets, 15 * 8),
            last_ms: u64(octets, 16 * 8),
            sequence_failures: u64(octets, 17 * 8),
            ..Self::default()
        };
        // The sums stand together, then the parts of each.
        let at = |number: usize| u64(octets, number * 8);
        for (index, counts) in [&mut totals.flows, &mut totals.octets, &mut totals.packets]
            .into_iter()
            .enumerate()
        {
            counts[0] = at(index);
            for part in 0..4 {
                counts[1 + part] = at(3 + 4 * index + part);
            }
        }
        Some(totals)
    }

    pub(super) fn encode(&self, octets: &mut Vec<u8>) {
        let counts = [&self.flows, &self.octets, &self.packets];
        for count in counts {
            put_u64(octets, count[0]);
        }
        for part in counts.into_iter().flat_map(|count| &count[1..]) {
            put_u64(octets, *part);
        }
        put_u64(octets, self.first_ms);
        put_u64(octets, self.last_ms);
        put_u64(octets, self.sequence_failures);
    }
}
