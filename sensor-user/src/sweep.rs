//! The sweep: looks at every slot, closes the flows that are over, and after a grace period takes
//! them out, whole, one record a flow whatever number of CPUs saw it.

use weir_sensor_common::{FlowKey, Slot, SlotWords as _, handover, slot::Sighting};

use crate::{
    clock::Now,
    expiry::{Reason, State, Timeouts, expired},
    table::{Place, Table},
};

/// A flow taken out of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its key.
    pub key: FlowKey,
    /// Where it was seen.
    pub hook: u8,
    /// Its octets.
    pub octets: u64,
    /// Its packets.
    pub packets: u64,
    /// Its first packet.
    pub first_tick: u32,
    /// Its last packet.
    pub last_tick: u32,
    /// TCP flags of all packets.
    pub tcp_flags: u8,
    /// Why it was taken.
    pub reason: Reason,
}

impl Taken {
    /// A slot's flow.
    #[must_use]
    pub fn of(slot: &Slot, reason: Reason) -> Self {
        Self {
            key: slot.key,
            hook: slot.hook,
            octets: slot.octets,
            packets: u64::from(slot.packets),
            first_tick: slot.first_tick,
            last_tick: slot.last_tick,
            tcp_flags: slot.tcp_flags,
            reason,
        }
    }

    /// A packet that was in no slot yet.
    #[must_use]
    pub fn of_packet(sighting: &Sighting, reason: Reason) -> Self {
        Self {
            key: sighting.key,
            hook: sighting.hook,
            octets: sighting.octets,
            packets: u64::from(sighting.packets),
            first_tick: sighting.tick,
            last_tick: sighting.tick,
            tcp_flags: sighting.tcp_flags,
            reason,
        }
    }

    /// Whether the slot holds a part of this flow. It may not, although it did when it was closed:
    /// the kernel may have put another flow there just before.
    fn is_of(&self, slot: &Slot, key_mask: u64) -> bool {
        let mut difference = self.key.words();
        for (mine, other) in difference.iter_mut().zip(slot.key.words()) {
            *mine ^= other;
        }
        difference[4] &= key_mask;
        difference == [0; 5] && self.hook == slot.hook
    }

    /// Adds what another CPU saw of the same flow.
    fn merge(&mut self, slot: &Slot) {
        self.add(&Self::of(slot, self.reason));
    }

    /// Adds another part of the same flow.
    pub fn add(&mut self, part: &Self) {
        self.octets = self.octets.saturating_add(part.octets);
        self.packets = self.packets.saturating_add(part.packets);
        self.tcp_flags |= part.tcp_flags;
        if ticks_between(part.first_tick, self.first_tick) > 0 {
            self.first_tick = part.first_tick;
            self.key = part.key;
        }
        if ticks_between(self.last_tick, part.last_tick) > 0 {
            self.last_tick = part.last_tick;
        }
    }

    fn state(&self, now: &Now) -> State {
        State {
            protocol: self.key.protocol(),
            tcp_flags: self.tcp_flags,
            octets: self.octets,
            packets: self.packets,
            age_ns: now.since(self.first_tick),
            idle_ns: now.since(self.last_tick),
        }
    }
}

/// From `earlier` to `later`, negative if it is the other way round.
fn ticks_between(earlier: u32, later: u32) -> i32 {
    later.wrapping_sub(earlier).cast_signed()
}

/// A closed slot.
#[derive(Clone, Copy, Debug)]
struct Ticket {
    place: Place,
    closed: handover::Closed,
    reason: Reason,
    /// Part of the same flow as the ticket before it.
    continues: bool,
}

/// Takes flows out of a table. [`Sweep::close`], a grace period, [`Sweep::collect`].
#[derive(Debug, Default)]
pub struct Sweep {
    tickets: Vec<Ticket>,
    live: u64,
    fullest: u64,
}

/// Which flows to take.
#[derive(Clone, Copy, Debug)]
pub enum Take<'a> {
    /// Those that are over.
    Expired(&'a Timeouts),
    /// Those seen at the interface of this number.
    Interface(u8),
    /// All.
    Everything,
}

impl Sweep {
    /// Closes flows; returns the number of slots closed. If it is 0 there is nothing to wait for.
    pub fn close(&mut self, table: &Table, now: &Now, take: Take<'_>) -> usize {
        self.tickets.clear();
        self.fullest = 0;
        for region in 0..table.regions() {
            let closed = self.tickets.len();
            self.live = 0;
            for index in 0..table.slots() {
                self.consider(table, Place { region, index }, now, take);
            }
            let left = self
                .live
                .saturating_sub((self.tickets.len() - closed) as u64);
            self.fullest = self.fullest.max(left);
        }
        self.tickets.len()
    }

    /// Slots in use in the fullest region after the last [`Sweep::close`].
    #[must_use]
    pub fn fullest(&self) -> u64 {
        self.fullest
    }

    #[inline]
    fn consider(&mut self, table: &Table, place: Place, now: &Now, take: Take<'_>) {
        let slot = table.slot(place);
        if !handover::is_live(&slot) {
            return;
        }
        self.live += 1;
        let words = slot.copy();
        let mut flow = Taken::of(&words, Reason::Flushed);
        let timeouts = match take {
            Take::Expired(timeouts) => timeouts,
            Take::Interface(number) if words.hook >> 1 != number => return,
            Take::Interface(_) | Take::Everything => {
                self.close_flow(table, place, &words, Reason::Flushed);
                return;
            }
        };
        if expired(&flow.state(now), timeouts).is_none() {
            return;
        }
        // Other CPUs may have seen later packets of it.
        for other in others(table, place, &words) {
            flow.merge(&table.slot(other).copy());
        }
        if let Some(reason) = expired(&flow.state(now), timeouts) {
            self.close_flow(table, place, &words, reason);
        }
    }

    fn close_flow(&mut self, table: &Table, place: Place, words: &Slot, reason: Reason) {
        let mut continues = false;
        for part in std::iter::once(place).chain(others(table, place, words)) {
            if let Some(closed) = handover::close(&table.slot(part)) {
                self.tickets.push(Ticket {
                    place: part,
                    closed,
                    reason,
                    continues,
                });
                continues = true;
            }
        }
    }

    /// Takes out what was closed. Only after a grace period since the last [`Sweep::close`].
    pub fn collect(&mut self, table: &mut Table, mut emit: impl FnMut(Taken)) {
        let key_mask = table.shape().key_mask;
        let mut flow: Option<Taken> = None;
        for ticket in self.tickets.drain(..) {
            if !ticket.continues
                && let Some(whole) = flow.take()
            {
                emit(whole);
            }
            // `None`: pushed out meanwhile, and counted where that happened.
            let Some(slot) = handover::collect(&table.slot(ticket.place), ticket.closed) else {
                continue;
            };
            table.release(ticket.place);
            match &mut flow {
                Some(flow) if flow.is_of(&slot, key_mask) => flow.merge(&slot),
                _ => {
                    let other = flow.replace(Taken::of(&slot, ticket.reason));
                    other.into_iter().for_each(&mut emit);
                }
            }
        }
        if let Some(whole) = flow {
            emit(whole);
        }
    }
}

/// The flow's slots in the other CPUs' regions.
fn others<'a>(table: &'a Table, place: Place, words: &'a Slot) -> impl Iterator<Item = Place> + 'a {
    (0..table.regions())
        .filter(move |region| *region != place.region)
        .filter_map(move |region| table.find(region, words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table;
    use weir_sensor_common::{
        KeyMask,
        hash::Seed,
        table::{Outcome, Shape, account},
    };

    fn shape(flows: u32) -> Shape {
        Shape {
            bucket_mask: table::bucket_mask(flows),
            seed: Seed::new([11, 22, 33, 44, 55]),
            key_mask: KeyMask::FULL.0,
        }
    }

    fn sighting(flow: u32, now: &Now) -> Sighting {
        let key = FlowKey {
            source: FlowKey::v4_mapped(flow.to_be_bytes()),
            destination: FlowKey::v4_mapped([192, 0, 2, 1]),
            attributes: FlowKey::pack(1, 2, 17, 0, 0),
        };
        Sighting {
            key,
            // The shape's size does not enter the hash.
            hash: shape(1).hash(&key, 0),
            octets: 100,
            tick: now.tick(),
            packets: 1,
            ..Sighting::default()
        }
    }

    fn at(ms: u64) -> Now {
        Now::of_packet(1_700_000_000_000_000_000 + ms * 1_000_000, 0)
    }

    /// Every packet is in one record, whatever is swept when; an oracle counts by flow.
    #[test]
    fn nothing_is_lost_between_sweeps_and_evictions() {
        let shape = shape(48);
        let mut table = Table::anonymous(shape).unwrap();
        let mut evicted = Vec::new();
        let mut sweep = Sweep::default();
        let mut counted = vec![0u64; 256];
        let mut packets = vec![0u64; 256];
        let (mut timeouts, mut random) = (Timeouts::default(), 1u32);
        timeouts.set("idle=200ms").unwrap();
        let mut count = |taken: Taken| {
            let [.., flow] = taken.key.source_octets();
            counted[usize::from(flow)] += taken.packets;
            assert_eq!(taken.octets, 100 * taken.packets);
        };
        for ms in 0..20_000u64 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Mostly few flows; now and then more than the table holds.
            let flow = (random >> 24) & if ms % 1000 < 100 { 0xff } else { 0x0f };
            packets[flow as usize] += 1;
            let accounted = account(
                &mut table.local(&mut evicted),
                &shape,
                &sighting(flow, &at(ms)),
            )
            .unwrap();
            assert_ne!(accounted.outcome, Outcome::Busy);
            if ms % 7 == 0 {
                sweep.close(&table, &at(ms), Take::Expired(&timeouts));
                sweep.collect(&mut table, &mut count);
            }
        }
        sweep.close(&table, &at(20_000), Take::Everything);
        sweep.collect(&mut table, &mut count);
        assert!(!evicted.is_empty(), "the table never was full");
        for slot in &evicted {
            count(Taken::of(slot, Reason::Forced));
        }
        assert_eq!(sweep.close(&table, &at(20_000), Take::Everything), 0);
        assert_eq!(counted, packets);
    }

    #[test]
    fn a_table_holds_as_many_flows_as_it_was_asked_for() {
        for flows in [12, 1000, 65_536] {
            let shape = shape(flows);
            let mut table = Table::anonymous(shape).unwrap();
            let mut evicted = Vec::new();
            for flow in 0..flows {
                account(
                    &mut table.local(&mut evicted),
                    &shape,
                    &sighting(flow, &at(0)),
                )
                .unwrap();
            }
            assert!(
                evicted.len() * 1000 <= flows as usize,
                "{} of {flows} evicted",
                evicted.len()
            );
        }
    }

    #[test]
    fn an_idle_flow_keeps_its_times_and_reason() {
        let shape = shape(100);
        let mut table = Table::anonymous(shape).unwrap();
        for ms in [0, 500, 1000] {
            account(
                &mut table.local(&mut Vec::new()),
                &shape,
                &sighting(7, &at(ms)),
            )
            .unwrap();
        }
        let mut sweep = Sweep::default();
        assert_eq!(
            sweep.close(&table, &at(60_990), Take::Expired(&Timeouts::default())),
            0
        );
        assert_eq!(
            sweep.close(&table, &at(61_010), Take::Expired(&Timeouts::default())),
            1
        );
        let mut taken = Vec::new();
        sweep.collect(&mut table, |flow| taken.push(flow));
        let [flow] = taken[..] else {
            panic!("{taken:?}")
        };
        assert_eq!((flow.packets, flow.reason), (3, Reason::Udp));
        assert_eq!(
            (flow.first_tick, flow.last_tick),
            (at(0).tick(), at(1000).tick())
        );
    }
}
