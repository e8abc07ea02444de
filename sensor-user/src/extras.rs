//! Side arrays from user space: what was read of packets beside their keys, at the places that the
//! table's slots, the rings' entries and the queues' packets have in theirs.
#![expect(unsafe_code, reason = "memory that the kernel writes")]

use weir_sensor_common::Extra;

use crate::mapping::Mapping;

/// A side array; none if nothing was asked for.
#[derive(Debug, Default)]
pub struct Extras(Option<Mapping<Extra>>);

impl Extras {
    /// Over memory that is there.
    #[must_use]
    pub fn new(mapping: Mapping<Extra>) -> Self {
        Self(Some(mapping))
    }

    /// Octets of memory.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.0.as_ref().map_or(0, Mapping::octets)
    }

    /// What lies at a place; torn while a program may write it. All zero if nothing was asked for.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> Extra {
        match &self.0 {
            // SAFETY: a valid element; volatile because the kernel may write it.
            Some(mapping) => unsafe { mapping.at(index).read_volatile() },
            None => Extra::default(),
        }
    }

    /// Puts something at a place, where this thread is the side that meters.
    #[inline]
    pub fn set(&mut self, index: usize, extra: &Extra) {
        if let Some(mapping) = &self.0 {
            // SAFETY: a valid element that only this thread touches.
            unsafe { mapping.at(index).write(*extra) };
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_sensor_common::{
        FlowKey, KeyMask,
        hash::Seed,
        slot::Sighting,
        table::{Outcome, Shape, account, account_at, find},
    };

    use super::*;
    use crate::{
        clock::Now,
        expiry::Reason,
        sweep::{Sweep, Take, Taken},
        table::Table,
    };

    const SHAPE: Shape = Shape {
        bucket_mask: 15,
        seed: Seed::new([1, 22, 333, 4444, 55_555]).with_macs([666_666, 7_777_777]),
        key_mask: KeyMask::ETHER.0,
    };
    const SLOTS: usize = 128;

    fn at(ms: u64) -> Now {
        Now::of_packet(1_700_000_000_000_000_000 + ms * 1_000_000, 0)
    }

    fn table() -> Table {
        let extras = Extras::new(Mapping::anonymous(SLOTS).unwrap());
        Table::anonymous(SHAPE).unwrap().with_extras(extras)
    }

    fn frame(host: u32) -> Extra {
        Extra {
            macs: [0x0202_0202, host << 16, host],
            flow_label: host,
            ..Extra::default()
        }
    }

    fn key(flow: u8) -> FlowKey {
        FlowKey {
            source: FlowKey::v4_mapped([10, 0, 0, flow]),
            ..FlowKey::default()
        }
    }

    struct Meter {
        table: Table,
        evicted: Vec<(Vec<weir_sensor_common::Slot>, Vec<Extra>)>,
    }

    impl Meter {
        fn packet(&mut self, flow: u8, extra: &Extra, now: &Now) -> Outcome {
            let key = key(flow);
            let sighting = Sighting {
                key,
                hash: SHAPE.hash_with(&key, 0, &extra.macs),
                octets: 100,
                tick: now.tick(),
                packets: 1,
                ..Sighting::default()
            };
            let mut evicted = (Vec::new(), Vec::new());
            let mut region = self.table.local(&mut evicted.0).with(extra, &mut evicted.1);
            let likely = find(&region, &SHAPE, sighting.hash).unwrap();
            let accounted = account_at(&mut region, &SHAPE, &sighting, likely).unwrap();
            assert_eq!(evicted.0.len(), evicted.1.len());
            self.evicted.push(evicted);
            accounted.outcome
        }

        fn take(&mut self, now: &Now) -> Vec<Taken> {
            let mut sweep = Sweep::default();
            sweep.close(&self.table, now, Take::Everything);
            let mut taken = Vec::new();
            sweep.collect(&mut self.table, |flow| taken.push(flow));
            taken
        }
    }

    /// Packets by what flows have beside the key, in the order of its flow labels.
    fn packets_of(taken: &[Taken]) -> Vec<(Extra, u64)> {
        let flows = taken.iter().map(|flow| (flow.extra, flow.packets));
        let mut flows: Vec<_> = flows.collect();
        flows.sort_by_key(|(extra, _)| extra.flow_label);
        flows
    }

    #[test]
    fn mac_addresses_tell_flows_apart_where_they_are_in_the_key() {
        let mut meter = Meter {
            table: table(),
            evicted: Vec::new(),
        };
        let hosts = [frame(1), frame(2), frame(3)];
        for (ms, packets) in [(0, 1), (5, 2), (9, 3)] {
            for extra in &hosts {
                let outcome = meter.packet(7, extra, &at(ms));
                let expected = if packets == 1 {
                    Outcome::Created
                } else {
                    Outcome::Updated
                };
                assert_eq!(outcome, expected);
            }
        }
        let found = packets_of(&meter.take(&at(10)));
        assert_eq!(found, hosts.map(|extra| (extra, 3)));
        assert!(meter.take(&at(10)).is_empty());
    }

    /// Where the hash is the same, the comparison decides: no two frames are taken for one.
    #[test]
    fn one_hash_for_all_does_not_mix_them() {
        let mut meter = Meter {
            table: table(),
            evicted: Vec::new(),
        };
        for round in 0..3u64 {
            for host in 0..10 {
                let (key, extra) = (key(7), frame(host));
                let sighting = Sighting {
                    key,
                    hash: 0x1234_5678_9abc_def0,
                    octets: 100,
                    tick: at(round).tick(),
                    packets: 1,
                    ..Sighting::default()
                };
                let mut evicted = (Vec::new(), Vec::new());
                let mut region = meter
                    .table
                    .local(&mut evicted.0)
                    .with(&extra, &mut evicted.1);
                account(&mut region, &SHAPE, &sighting).unwrap();
                assert!(evicted.0.is_empty());
            }
        }
        let found = packets_of(&meter.take(&at(10)));
        let expected: Vec<_> = (0..10).map(|host| (frame(host), 3)).collect();
        assert_eq!(found, expected);
    }

    /// Each packet is in one record, whose MAC addresses are its own, also when the table overflows.
    #[test]
    fn what_is_pushed_out_takes_its_own_along() {
        let mut meter = Meter {
            table: table(),
            evicted: Vec::new(),
        };
        let (mut sent, mut counted) = (vec![0u64; 400], vec![0u64; 400]);
        let mut random = 1u32;
        for ms in 0..5000u64 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let host = (random >> 8) % 400;
            sent[host as usize] += 1;
            assert_ne!(meter.packet(9, &frame(host), &at(ms)), Outcome::Busy);
        }
        let mut count = |flow: &Taken| {
            let host = flow.extra.flow_label;
            assert_eq!(flow.extra, frame(host));
            counted[host as usize] += flow.packets;
        };
        let mut pushed_out = 0;
        for (slots, extras) in &meter.evicted {
            for (slot, extra) in slots.iter().zip(extras) {
                count(&Taken::of(slot, Reason::Forced).with(*extra));
                pushed_out += 1;
            }
        }
        assert!(pushed_out > 1000, "{pushed_out}");
        meter.take(&at(5000)).iter().for_each(&mut count);
        assert_eq!(counted, sent);
    }

    #[test]
    fn fields_that_are_not_in_the_key_are_of_the_first_packet() {
        let shape = Shape {
            key_mask: KeyMask::FULL.0,
            ..SHAPE
        };
        let extras = Extras::new(Mapping::anonymous(SLOTS).unwrap());
        let mut table = Table::anonymous(shape).unwrap().with_extras(extras);
        let key = key(1);
        for host in [5, 6, 7] {
            let extra = frame(host);
            let sighting = Sighting {
                key,
                hash: shape.hash_with(&key, 0, &extra.macs),
                octets: 100,
                tick: at(0).tick(),
                packets: 1,
                ..Sighting::default()
            };
            let mut evicted = (Vec::new(), Vec::new());
            let mut region = table.local(&mut evicted.0).with(&extra, &mut evicted.1);
            account(&mut region, &shape, &sighting).unwrap();
        }
        let mut meter = Meter {
            table,
            evicted: Vec::new(),
        };
        let taken = meter.take(&at(1));
        assert_eq!((taken.len(), taken[0].packets), (1, 3));
        assert_eq!(taken[0].extra, frame(5));
    }
}
