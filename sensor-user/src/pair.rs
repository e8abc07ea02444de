//! Both directions of a conversation as softflowd has them: over at one time, and in records that have
//! start and end in common, or in one record (RFC 5103). Pure functions; the sweep finds who belongs
//! together, and hands them over one after the other.

use weir_netflow::{FlowRecord, Reverse};
use weir_sensor_common::{
    FlowKey, KeyMask,
    walk::number::{ICMP, ICMPV6},
};

use crate::expiry::State;

/// What becomes of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// Two records with start and end in common, the lower address's first: softflowd's.
    Shared,
    /// One record, of whose directions the first is the one that began.
    Biflow,
    /// One record, of whose directions the first is the lower address's: softflowd's.
    SoftflowdBiflow,
}

impl Pairing {
    /// Whether both directions are in one record.
    #[must_use]
    pub const fn is_biflow(self) -> bool {
        matches!(self, Self::Biflow | Self::SoftflowdBiflow)
    }

    /// The record or records of both directions.
    #[must_use]
    pub fn of_both(self, one: FlowRecord, other: FlowRecord) -> (FlowRecord, Option<FlowRecord>) {
        let start_ns = one.start_ns.min(other.start_ns);
        let end_ns = one.end_ns.max(other.end_ns);
        let is_tie = one.start_ns == other.start_ns;
        let swap = match self {
            Self::Shared | Self::SoftflowdBiflow => other.source < one.source,
            // Times are of a few milliseconds: a client's port is mostly the higher one.
            Self::Biflow if is_tie => other.source_port > one.source_port,
            Self::Biflow => other.start_ns < one.start_ns,
        };
        let [first, second] = if swap { [other, one] } else { [one, other] };
        let [first, second] = [first, second].map(|record| FlowRecord {
            start_ns,
            end_ns,
            ..record
        });
        if self == Self::Shared {
            return (first, Some(second));
        }
        let reverse = Some(Reverse {
            is_arbitrary: is_tie,
            ..reverse_of(&second)
        });
        (FlowRecord { reverse, ..first }, None)
    }

    /// The record of a flow that nothing answered. softflowd's first direction is the lower address's
    /// even if all went the other way; of ICMP the type would be lost then.
    #[must_use]
    pub fn of_one(self, record: FlowRecord) -> FlowRecord {
        let is_icmp = matches!(record.protocol, ICMP | ICMPV6);
        if self != Self::SoftflowdBiflow || is_icmp || record.source <= record.destination {
            return record;
        }
        FlowRecord {
            source: record.destination,
            destination: record.source,
            source_port: record.destination_port,
            destination_port: record.source_port,
            source_mac: record.destination_mac,
            destination_mac: record.source_mac,
            outer_source: record.outer_destination,
            outer_destination: record.outer_source,
            tos: 0,
            tcp_flags: 0,
            octets: 0,
            packets: 0,
            reverse: Some(reverse_of(&record)),
            ..record
        }
    }
}

fn reverse_of(record: &FlowRecord) -> Reverse {
    Reverse {
        octets: record.octets,
        packets: record.packets,
        tos: record.tos,
        tcp_flags: record.tcp_flags,
        is_arbitrary: false,
    }
}

/// Whether two records are the directions of one conversation, by what tells flows apart. Where a VLAN tag or MAC
/// addresses do not, each direction may have its own: a router has another address for what it is sent than for what
/// it sends, if it shares that one (RFC 5798), and XDP does not see a tag that tc does. A host's with itself is none:
/// which of two ports is the lower one decides nothing. Nor are those of two interfaces: the table is looked through for
/// pairs of one, and a record has room for one.
#[must_use]
pub fn are_partners(one: &FlowRecord, other: &FlowRecord, key_mask: KeyMask) -> bool {
    let mac = |address: [u8; 6]| key_mask.has_macs().then_some(address);
    let vlan = |record: &FlowRecord| key_mask.has_vlan().then_some(record.vlan);
    let ends = |record: &FlowRecord| {
        let from = (record.source, record.source_port, mac(record.source_mac));
        let to = (
            record.destination,
            record.destination_port,
            mac(record.destination_mac),
        );
        (from, to)
    };
    // It is one of the two, or both.
    let interface = |record: &FlowRecord| record.ingress_ifindex.max(record.egress_ifindex);
    let (from, to) = ends(other);
    one.source != one.destination
        && interface(one) == interface(other)
        && ends(one) == (to, from)
        && (one.protocol, one.v6, vlan(one)) == (other.protocol, other.v6, vlan(other))
}

/// Both directions as the policy sees them. A connection has ended when both have said so.
#[must_use]
pub fn both(one: &State, other: &State) -> State {
    State {
        protocol: one.protocol,
        tcp_flags: (one.tcp_flags | other.tcp_flags) & !FIN | one.tcp_flags & other.tcp_flags & FIN,
        octets: one.octets.max(other.octets),
        packets: one.packets.max(other.packets),
        age_ns: one.age_ns.max(other.age_ns),
        idle_ns: one.idle_ns.min(other.idle_ns),
    }
}

/// A direction whose other one was not seen.
#[must_use]
pub fn alone(state: &State) -> State {
    State {
        tcp_flags: state.tcp_flags & !FIN,
        ..*state
    }
}

const FIN: u8 = 0x01;

/// The key of the other direction.
#[must_use]
pub fn reversed(key: &FlowKey) -> FlowKey {
    const PORTS: u64 = 0xffff_ffff;
    let [a, b, c, d, ..] = key.attributes.to_le_bytes();
    let ports = u32::from_le_bytes([c, d, a, b]);
    FlowKey {
        source: key.destination,
        destination: key.source,
        attributes: key.attributes & !PORTS | u64::from(ports),
    }
}

/// The MAC addresses of the other direction's frames, see [`weir_sensor_common::Extra::macs`].
#[must_use]
pub fn turned(macs: [u32; 3]) -> [u32; 3] {
    const ADDRESS_OCTETS: usize = 6;
    let mut frame = macs.map(u32::to_ne_bytes);
    frame.as_flattened_mut().rotate_left(ADDRESS_OCTETS);
    frame.map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn record(from: u8, to: u8, ports: (u16, u16), packets: u64, start_ns: u64) -> FlowRecord {
        let address = |last| Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped();
        FlowRecord {
            source: address(from),
            destination: address(to),
            source_port: ports.0,
            destination_port: ports.1,
            protocol: 6,
            packets,
            octets: 100 * packets,
            start_ns,
            end_ns: start_ns + 10,
            ..FlowRecord::default()
        }
    }

    #[test]
    fn partners_are_each_others_reverse() {
        let one = record(1, 2, (10, 20), 1, 0);
        let are_partners =
            |one: &FlowRecord, other: &FlowRecord| are_partners(one, other, KeyMask::FULL);
        assert!(are_partners(&one, &record(2, 1, (20, 10), 9, 7)));
        for other in [
            one,
            record(2, 1, (10, 20), 1, 0),
            record(3, 1, (20, 10), 1, 0),
            FlowRecord {
                protocol: 17,
                ..record(2, 1, (20, 10), 1, 0)
            },
            FlowRecord {
                ingress_ifindex: 7,
                ..record(2, 1, (20, 10), 1, 0)
            },
        ] {
            assert!(!are_partners(&one, &other), "{other:?}");
        }
        let own = record(1, 1, (10, 20), 1, 0);
        assert!(!are_partners(&own, &record(1, 1, (20, 10), 1, 0)));
    }

    /// As behind routers that share an address, or where a card takes tags out of what it receives.
    #[test]
    fn a_direction_has_the_tag_and_the_addresses_of_its_own_frames() {
        let one = FlowRecord {
            source_mac: [1; 6],
            destination_mac: [2; 6],
            vlan: 7,
            ..record(1, 2, (10, 20), 1, 0)
        };
        let turned = FlowRecord {
            source_mac: [2; 6],
            destination_mac: [1; 6],
            vlan: 7,
            ..record(2, 1, (20, 10), 1, 0)
        };
        let other_tag = FlowRecord { vlan: 0, ..turned };
        let other_mac = FlowRecord {
            source_mac: [3; 6],
            ..turned
        };
        for (other, masks) in [
            (turned, &[KeyMask::FULL, KeyMask::VLAN, KeyMask::ETHER][..]),
            (other_tag, &[KeyMask::FULL]),
            (other_mac, &[KeyMask::FULL, KeyMask::VLAN]),
        ] {
            for key_mask in [KeyMask::FULL, KeyMask::VLAN, KeyMask::ETHER] {
                let expected = masks.contains(&key_mask);
                let found = are_partners(&one, &other, key_mask);
                assert_eq!(found, expected, "{other:?} {key_mask:?}");
            }
        }
    }

    #[test]
    fn shared_records_have_their_times_in_common_and_the_lower_first() {
        let (low, high) = (record(1, 2, (10, 20), 3, 50), record(2, 1, (20, 10), 4, 40));
        let (first, second) = Pairing::Shared.of_both(high, low);
        let second = second.unwrap();
        assert_eq!((first.packets, second.packets), (3, 4));
        for record in [first, second] {
            assert_eq!((record.start_ns, record.end_ns), (40, 60));
        }
    }

    #[test]
    fn a_biflow_has_both_and_begins_with_who_began() {
        let (low, high) = (record(1, 2, (10, 20), 3, 50), record(2, 1, (20, 10), 4, 40));
        for (pairing, packets, other) in [(Pairing::Biflow, 4, 3), (Pairing::SoftflowdBiflow, 3, 4)]
        {
            let (both, none) = pairing.of_both(low, high);
            assert!(none.is_none());
            assert_eq!(
                (both.packets, both.reverse.unwrap().packets),
                (packets, other)
            );
            assert_eq!((both.start_ns, both.end_ns), (40, 60));
        }
        let turned = Pairing::SoftflowdBiflow.of_one(high);
        assert_eq!((turned.source, turned.source_port), (low.source, 10));
        assert_eq!((turned.packets, turned.reverse.unwrap().octets), (0, 400));
        assert_eq!(Pairing::SoftflowdBiflow.of_one(low), low);
        assert_eq!(Pairing::Biflow.of_one(high), high);
    }

    #[test]
    fn both_have_to_end_a_connection_and_either_resets_it() {
        let state = |tcp_flags, idle_ns| State {
            protocol: 6,
            tcp_flags,
            octets: 1,
            packets: 1,
            age_ns: 2 * idle_ns,
            idle_ns,
        };
        assert_eq!(both(&state(0x01, 5), &state(0x10, 9)).tcp_flags, 0x10);
        assert_eq!(both(&state(0x11, 5), &state(0x01, 9)).tcp_flags, 0x11);
        assert_eq!(both(&state(0x04, 5), &state(0x10, 9)).tcp_flags, 0x14);
        let found = both(&state(0, 5), &state(0, 9));
        assert_eq!((found.idle_ns, found.age_ns), (5, 18));
        assert_eq!(alone(&state(0x15, 5)).tcp_flags, 0x14);
    }
}
