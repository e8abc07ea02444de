//! What is said to collectors besides records: what was lost before it became any, and what interfaces are
//! called.

use weir_exporter::ExportCounters;
use weir_netflow::announce::{Announcement, Interface, Lost};
use weir_sensor_common::Counter;

use crate::{interface, statistics::Statistics};

/// What is known at the exporter's end of the rest of the sensor.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    ignored: Lost,
    not_exported: Lost,
    /// What interfaces are called, by the numbers that records have.
    pub interfaces: Vec<(u32, String)>,
}

impl Said {
    /// Notes what the account says of losses, as of a time in milliseconds since 1970-01-01 UTC. Packets
    /// whose next step the kernel did not run have octets that nobody counted.
    pub fn note_losses(&mut self, statistics: &Statistics, now_ms: u64) {
        let of = |counter| statistics.get(counter);
        self.ignored = self.ignored.grown(
            0,
            of(Counter::LostBusyPackets).saturating_add(of(Counter::StepMissing)),
            of(Counter::LostBusyOctets),
            now_ms,
        );
        self.not_exported = self.not_exported.grown(
            of(Counter::LostRingFlows),
            of(Counter::LostRingPackets),
            of(Counter::LostRingOctets),
            now_ms,
        );
    }

    /// What a collector is told that was sent so much, and of which so much was lost on the way to it.
    pub fn announcement(&self, counters: &ExportCounters, unsent: Lost) -> Announcement {
        let interfaces = self.interfaces.iter().map(|(ifindex, name)| Interface {
            ifindex: *ifindex,
            name: name.clone(),
            description: interface::description(name).unwrap_or_default(),
        });
        Announcement {
            process: std::process::id(),
            messages: counters.datagrams_sent,
            records: counters.records_exported.records,
            octets: counters.datagram_octets,
            ignored: self.ignored,
            not_sent: self.not_exported.and(unsent),
            interfaces: interfaces.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault case X6: what a full ring cost is told with what a socket did.
    #[test]
    fn x06_losses_of_either_end_are_told() {
        let mut statistics = Statistics::default();
        for (counter, count) in [
            (Counter::LostRingFlows, 3),
            (Counter::LostRingPackets, 30),
            (Counter::LostRingOctets, 3000),
            (Counter::LostBusyPackets, 2),
            (Counter::LostBusyOctets, 200),
            (Counter::StepMissing, 1),
            (Counter::SampledOut, 1000),
        ] {
            statistics.add(counter, count);
        }
        let mut said = Said {
            interfaces: vec![(7, "no such interface".to_owned())],
            ..Said::default()
        };
        said.note_losses(&statistics, 5);
        said.note_losses(&statistics, 6);
        let unsent = Lost::default().grown(1, 2, 80, 4);
        let counters = ExportCounters {
            datagrams_sent: 9,
            ..ExportCounters::default()
        };
        let told = said.announcement(&counters, unsent);
        assert_eq!((told.ignored.packets, told.ignored.octets), (3, 200));
        assert_eq!((told.ignored.first_ms, told.ignored.last_ms), (5, 5));
        let expected = Lost {
            flows: 4,
            packets: 32,
            octets: 3080,
            first_ms: 4,
            last_ms: 5,
        };
        assert_eq!((told.not_sent, told.messages), (expected, 9));
        let interface = Interface {
            ifindex: 7,
            name: "no such interface".to_owned(),
            description: String::new(),
        };
        assert_eq!(told.interfaces, [interface]);
    }
}
