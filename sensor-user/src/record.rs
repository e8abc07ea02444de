//! A taken flow as a record: ticks become times, the hook an interface.

use std::net::Ipv6Addr;

use weir_netflow::{Direction, FlowRecord, Optional};
use weir_sensor_common::{Fields, KeyMask};

use crate::{clock::Now, export::Export, pin::Origin, statistics::Statistics, sweep::Taken};

/// What a record says besides the flow itself.
#[derive(Clone, Debug)]
pub struct Recorder {
    /// ifIndex by interface number, see `Slot::hook`.
    pub ifindexes: Vec<u32>,
    /// Numbers given by the operator, to be exported instead.
    pub ifindexes_given: Vec<Option<u32>>,
    /// Which attributes tell flows apart; ports and protocol are left out of records if they do
    /// not.
    pub key_mask: KeyMask,
    /// One packet in so many was metered.
    pub sampling_interval: u32,
    /// As softflowd has it: both interfaces of a record are the one where its packets were seen (else
    /// the one that is not known is 0), and where ports do not tell flows apart they have no TCP flags.
    pub as_softflowd: bool,
}

impl Recorder {
    /// For flows of another sensor's table, whose interfaces have the numbers that this one's have.
    #[must_use]
    pub fn for_table(&self, origin: &Origin) -> Self {
        let ifindexes = origin.ifindexes.iter();
        Self {
            ifindexes: ifindexes.map(|ifindex| self.number_of(*ifindex)).collect(),
            ifindexes_given: Vec::new(),
            key_mask: origin.key_mask,
            sampling_interval: origin.sampling.interval,
            as_softflowd: false,
        }
    }

    /// What an interface is exported under: its ifIndex, unless the operator gave it a number.
    fn number_of(&self, ifindex: u32) -> u32 {
        let mut numbers = self.ifindexes.iter().zip(&self.ifindexes_given);
        let given = numbers.find(|(known, _)| **known == ifindex);
        given.and_then(|(_, given)| *given).unwrap_or(ifindex)
    }

    /// Counts a flow that was taken out of the table and gives its record to the export. Returns whether it is
    /// the other direction of the one before it.
    pub fn hand_on(
        &self,
        taken: &Taken,
        now: &Now,
        export: &mut Export,
        statistics: &mut Statistics,
    ) -> bool {
        let record = self.record(taken, now);
        statistics.count_taken(taken);
        let is_other_direction = export.push(record, now);
        let summary = &mut statistics.summary;
        summary.count(&record, taken.reason, is_other_direction);
        is_other_direction
    }

    /// The record of a flow, as of now.
    #[must_use]
    pub fn record(&self, taken: &Taken, now: &Now) -> FlowRecord {
        let key = &taken.key;
        let number = usize::from(taken.hook >> 1);
        let given = self.ifindexes_given.get(number).copied().flatten();
        let ifindex = given.or_else(|| self.ifindexes.get(number).copied());
        let ifindex = ifindex.unwrap_or(0);
        let egress = taken.hook & 1 == 1;
        let extra = &taken.extra;
        let tunnel = extra.tunnel(key).unwrap_or_default();
        let ports = self.key_mask.0 & 0xffff != 0;
        let protocol = self.key_mask != KeyMask::IP;
        FlowRecord {
            source: Ipv6Addr::from(key.source_octets()),
            destination: Ipv6Addr::from(key.destination_octets()),
            v6: key.is_v6(),
            source_port: if ports { key.source_port() } else { 0 },
            destination_port: if ports { key.destination_port() } else { 0 },
            protocol: if protocol { key.protocol() } else { 0 },
            tos: key.tos(),
            tcp_flags: if ports || !self.as_softflowd {
                u16::from(taken.tcp_flags)
            } else {
                0
            },
            octets: taken.octets,
            packets: taken.packets,
            start_ns: now.unix_ns_of(taken.first_tick),
            end_ns: now.unix_ns_of(taken.last_tick),
            ingress_ifindex: if egress && !self.as_softflowd {
                0
            } else {
                ifindex
            },
            egress_ifindex: if egress || self.as_softflowd {
                ifindex
            } else {
                0
            },
            vlan: key.vlan(),
            direction: if egress {
                Direction::Egress
            } else {
                Direction::Ingress
            },
            sampling_interval: self.sampling_interval,
            end_reason: taken.reason.end_reason(),
            source_mac: extra.source_mac(),
            destination_mac: extra.destination_mac(),
            inner_vlan: extra.inner_vlan_id(),
            mpls_labels: extra.label_entries(),
            flow_label: extra.flow_label,
            outer_source: Ipv6Addr::from(tunnel.0),
            outer_destination: Ipv6Addr::from(tunnel.1),
            ..FlowRecord::default()
        }
    }
}

/// The same fields, as records carry them.
#[must_use]
pub fn optional(fields: Fields) -> Optional {
    [
        (Fields::MAC, Optional::MAC),
        (Fields::INNER_VLAN, Optional::INNER_VLAN),
        (Fields::MPLS, Optional::MPLS),
        (Fields::FLOW_LABEL, Optional::FLOW_LABEL),
        (Fields::OUTER, Optional::OUTER),
    ]
    .into_iter()
    .filter(|(field, _)| fields.has(*field))
    .fold(Optional::NONE, |all, (_, optional)| all.and(optional))
}

#[cfg(test)]
mod tests {
    use weir_netflow::Sampling;

    use super::*;

    #[test]
    fn flows_taken_over_have_the_numbers_that_were_given_to_their_interfaces() {
        let recorder = Recorder {
            ifindexes: vec![2, 5],
            ifindexes_given: vec![None, Some(7)],
            key_mask: KeyMask::FULL,
            sampling_interval: 1,
            as_softflowd: false,
        };
        let origin = Origin {
            ifindexes: vec![5, 2, 9],
            exact_clock: false,
            key_mask: KeyMask::VLAN,
            sampling: Sampling {
                interval: 10,
                random: false,
            },
        };
        let of_table = recorder.for_table(&origin);
        assert_eq!(of_table.ifindexes, [7, 2, 9]);
        let found = (of_table.key_mask, of_table.sampling_interval);
        assert_eq!(found, (KeyMask::VLAN, 10));
    }
}
