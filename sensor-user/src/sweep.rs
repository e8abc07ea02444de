//! The sweep: looks at each bucket in which a flow can be over, closes those that are, and after a
//! grace period takes them out, whole, one record a flow whatever number of CPUs saw it.

use std::mem;

use weir_sensor_common::{
    Extra, FlowKey, KeyMask, Slot, SlotWords as _, handover,
    slot::{Sighting, SlotPtr},
};

use crate::{
    clock::{Now, ticks_since},
    expiry::{Counted, Limits, Reason, State, Timeouts, expired},
    pair,
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
    /// What was read of its first packet beside the key.
    pub extra: Extra,
}

/// What two parts of one flow have in common: the key's words as far as they tell flows apart, the
/// observation point, and the MAC addresses if they do.
pub type Identity = ([u64; 5], u8, [u32; 3]);

impl Taken {
    /// A slot's flow, without what lies beside the slot.
    #[inline]
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
            extra: Extra::default(),
        }
    }

    /// The same with what lies beside it.
    #[inline]
    #[must_use]
    pub fn with(self, extra: Extra) -> Self {
        Self { extra, ..self }
    }

    /// A packet that was in no slot yet, without what lies beside it.
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
            extra: Extra::default(),
        }
    }

    /// What other parts of this flow have, too.
    #[must_use]
    pub fn identity(&self, key_mask: KeyMask) -> Identity {
        let mut words = self.key.words();
        words[4] &= key_mask.0;
        let macs = if key_mask.has_macs() {
            self.extra.macs
        } else {
            [0; 3]
        };
        (words, self.hook, macs)
    }

    /// Adds another part of the same flow.
    pub fn add(&mut self, part: &Self) {
        self.octets = self.octets.saturating_add(part.octets);
        self.packets = self.packets.saturating_add(part.packets);
        self.tcp_flags |= part.tcp_flags;
        if ticks_between(self.last_tick, part.last_tick) > 0 {
            self.last_tick = part.last_tick;
        }
        // By how far each lies behind the last: a flow may last longer than half of the ticks' range.
        let before_last = |tick: u32| self.last_tick.wrapping_sub(tick);
        if before_last(part.first_tick) > before_last(self.first_tick) {
            self.first_tick = part.first_tick;
            self.key = part.key;
            self.extra = part.extra;
        }
    }

    /// As the policy sees it.
    #[inline]
    #[must_use]
    pub fn state(&self, now: &Now) -> State {
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
    /// Of the same conversation as the ticket before it.
    joins: bool,
}

/// Takes flows out of a table. [`Sweep::close`], a grace period, [`Sweep::collect`].
///
/// A bucket is looked at only when a flow in it can be over: each look tells when that is at the
/// soonest. Flows that are opened meanwhile, or see a FIN, last longer than that by themselves.
#[derive(Debug, Default)]
pub struct Sweep {
    tickets: Vec<Ticket>,
    /// So many of them were collected.
    collected: usize,
    /// Slots in use in the region that is looked at.
    live: u64,
    /// Slots in use in each region, without those that were closed.
    left: Vec<u64>,
    /// When each bucket is to be looked at again, by the monotonic clock, region after region.
    due_ns: Vec<u64>,
    /// When the first of them is.
    next_ns: u64,
    /// When they were looked at last, by the monotonic clock.
    looked_ns: u64,
    /// What it was reckoned with.
    timeouts: Option<Timeouts>,
    /// Both directions of a conversation are taken together, when it is over.
    pairs: bool,
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

impl<'a> Take<'a> {
    fn timeouts(self) -> Option<&'a Timeouts> {
        match self {
            Self::Expired(timeouts) => Some(timeouts),
            Self::Interface(_) | Self::Everything => None,
        }
    }
}

/// What is the same for all flows of one [`Sweep::close`].
struct Round<'a> {
    table: &'a Table,
    now: &'a Now,
    tick: u32,
    take: Take<'a>,
    /// Unless flows are taken whether they are over or not.
    limits: Option<Limits>,
}

/// How many buckets ahead slots are fetched: they are in main memory, and looking at one takes longer than what a
/// processor does ahead by itself.
const AHEAD: u32 = 8;

/// Buckets looked at in a turn: a fraction of a millisecond, also if each flow in them is closed.
const TURN_BUCKETS: u32 = 1 << 11;

/// A flow in the table: the first of its slots, and a copy of that.
type Found = (Place, Slot);

impl Sweep {
    /// A sweep that takes both directions of a conversation together and one after the other, once
    /// it is over; if not `pairs`, each flow by itself.
    #[must_use]
    pub fn new(pairs: bool) -> Self {
        Self {
            pairs,
            ..Self::default()
        }
    }

    /// Closes flows; returns the number of slots closed. If it is 0 there is nothing to wait for.
    pub fn close(&mut self, table: &Table, now: &Now, take: Take<'_>) -> usize {
        self.close_in_turns(table, now, take, || ())
    }

    /// The same, and does something else in between: where most flows of a large table are closed, that takes a
    /// tenth of a second.
    pub fn close_in_turns(
        &mut self,
        table: &Table,
        now: &Now,
        take: Take<'_>,
        mut between: impl FnMut(),
    ) -> usize {
        self.tickets.clear();
        self.collected = 0;
        self.left.clear();
        self.reckon_anew_if_other(table, take, now);
        self.next_ns = u64::MAX;
        let round = Round {
            table,
            now,
            tick: now.tick(),
            take,
            limits: take
                .timeouts()
                .map(|timeouts| Limits::of(timeouts, now.tick_length_ns())),
        };
        let mut looked = 0u32;
        for region in 0..table.regions() {
            self.live = 0;
            // Ways of the buckets that were fetched and are not looked at yet.
            let mut fetched = [0; AHEAD as usize];
            for step in 0..table.buckets() + AHEAD {
                let ways = self.fetch(&round, region, step);
                let ways = mem::replace(&mut fetched[(step % AHEAD) as usize], ways);
                let Some(bucket) = step.checked_sub(AHEAD) else {
                    continue;
                };
                if !self.look(&round, region, bucket, ways) {
                    continue;
                }
                looked += 1;
                if looked == TURN_BUCKETS {
                    looked = 0;
                    between();
                }
            }
            self.left.push(self.live);
        }
        // Only now: a flow's parts in other regions are closed with the first.
        for ticket in &self.tickets {
            let left = &mut self.left[ticket.place.region as usize];
            *left = left.saturating_sub(1);
        }
        self.tickets.len()
    }

    /// Whether a flow can be over by now; else [`Sweep::close`] finds none by the timeouts it had last.
    #[must_use]
    pub fn can_find(&self, now: &Now) -> bool {
        now.monotonic_ns >= self.next_ns || self.is_set_back(now)
    }

    fn is_set_back(&self, now: &Now) -> bool {
        now.monotonic_ns < self.looked_ns
    }

    /// Slots in use in each region after the last [`Sweep::close`].
    #[must_use]
    pub fn left(&self) -> &[u64] {
        &self.left
    }

    /// Those of the fullest.
    #[must_use]
    pub fn fullest(&self) -> u64 {
        self.left.iter().copied().max().unwrap_or(0)
    }

    /// Also by a clock that was set back, as a capture file's may be: by the old one nothing is due yet.
    fn reckon_anew_if_other(&mut self, table: &Table, take: Take<'_>, now: &Now) {
        let timeouts = take.timeouts().copied();
        let buckets = table.regions() as usize * table.buckets() as usize;
        let is_set_back = self.is_set_back(now);
        self.looked_ns = now.monotonic_ns;
        if timeouts != self.timeouts || buckets != self.due_ns.len() || is_set_back {
            self.due_ns.clear();
            self.due_ns.resize(buckets, 0);
            self.timeouts = timeouts;
        }
    }

    /// The ways of a bucket that are taken; has their slots fetched if they are to be looked at.
    #[inline(always)]
    fn fetch(&self, round: &Round<'_>, region: u32, bucket: u32) -> u8 {
        let &Round { table, now, .. } = round;
        if bucket >= table.buckets() {
            return 0;
        }
        let taken = table.taken(region, bucket);
        if self.is_due(due(table, region, bucket), now) {
            table.fetch_slots(region, bucket, taken);
        }
        taken
    }

    /// Returns whether a flow in the bucket could be over, and so each was looked at.
    #[inline(always)]
    fn look(&mut self, round: &Round<'_>, region: u32, bucket: u32, taken: u8) -> bool {
        let &Round { table, now, .. } = round;
        let index = due(table, region, bucket);
        self.live += u64::from(taken.count_ones());
        if !self.is_due(index, now) {
            self.next_ns = self.next_ns.min(self.due_ns[index]);
            return false;
        }
        let mut remaining_ticks = round.limits.as_ref().map_or(0, Limits::shortest_ticks);
        for place in table.places(region, bucket, taken) {
            remaining_ticks = remaining_ticks.min(self.consider(round, place));
        }
        // The tick of now may be almost over.
        let remaining_ns = u64::from(remaining_ticks.saturating_sub(1)) * now.tick_length_ns();
        self.due_ns[index] = now.monotonic_ns.saturating_add(remaining_ns);
        self.next_ns = self.next_ns.min(self.due_ns[index]);
        true
    }

    #[inline]
    fn is_due(&self, index: usize, now: &Now) -> bool {
        now.monotonic_ns >= self.due_ns[index]
    }

    /// Closes the flow if it is to be taken; else returns how long it has.
    #[inline(always)]
    fn consider(&mut self, round: &Round<'_>, place: Place) -> u32 {
        let slot = round.table.slot(place);
        if !handover::is_live(&slot) {
            return 0;
        }
        let Some(limits) = &round.limits else {
            self.take_anyway(round, place);
            return 0;
        };
        // Most slots end here.
        let remaining_ticks = limits.remaining_ticks(counted(slot, round.tick));
        if remaining_ticks == 0 {
            self.take_if_over(round, place, limits);
        }
        remaining_ticks
    }

    fn take_anyway(&mut self, round: &Round<'_>, place: Place) {
        let words = round.table.copy(place);
        if let Take::Interface(number) = round.take
            && words.hook >> 1 != number
        {
            return;
        }
        let partner = self.partner(round.table, place, &words);
        self.close_conversation(round.table, (place, words), partner, Reason::Flushed);
    }

    /// Other CPUs may have seen later packets of it, and the other direction may go on. Where a conversation is
    /// over, one of its directions is so by itself.
    fn take_if_over(&mut self, round: &Round<'_>, place: Place, limits: &Limits) {
        let &Round { table, now, .. } = round;
        let words = table.copy(place);
        let partner = self.partner(table, place, &words);
        let state = whole(table, place, &words).state(now);
        let state = match &partner {
            Some((place, words)) => pair::both(&state, &whole(table, *place, words).state(now)),
            None if self.pairs => pair::alone(&state),
            None => state,
        };
        if let Some(reason) = expired(&state, limits.timeouts()) {
            self.close_conversation(table, (place, words), partner, reason);
        }
    }

    /// The other direction, if it is wanted and there: where this one was seen, as on a mirror port;
    /// else where packets go the other way, as on a host, unless this direction was seen there, too.
    fn partner(&self, table: &Table, place: Place, words: &Slot) -> Option<Found> {
        if !self.pairs || words.key.source == words.key.destination {
            return None;
        }
        let macs = table.extra(place).macs;
        let (reversed, turned) = (pair::reversed(&words.key), pair::turned(macs));
        let find = |key: FlowKey, hook: u8, macs: &[u32; 3]| {
            let wanted = Slot {
                key,
                hook,
                ..*words
            };
            let mut regions = 0..table.regions();
            regions.find_map(|region| table.find(region, &wanted, macs))
        };
        let other_way = words.hook ^ 1;
        let found = find(reversed, words.hook, &turned).or_else(|| {
            let found = find(reversed, other_way, &turned)?;
            find(words.key, other_way, &macs).is_none().then_some(found)
        });
        found.map(|place| (place, table.copy(place)))
    }

    fn close_conversation(
        &mut self,
        table: &Table,
        flow: Found,
        partner: Option<Found>,
        reason: Reason,
    ) {
        let begin = self.tickets.len();
        self.close_flow(table, flow, reason);
        if let Some(partner) = partner {
            self.close_flow(table, partner, reason);
        }
        for ticket in self.tickets.iter_mut().skip(begin + 1) {
            ticket.joins = true;
        }
    }

    fn close_flow(&mut self, table: &Table, (place, words): Found, reason: Reason) {
        let mut continues = false;
        for part in std::iter::once(place).chain(others(table, place, &words)) {
            if let Some(closed) = handover::close(&table.slot(part)) {
                self.tickets.push(Ticket {
                    place: part,
                    closed,
                    reason,
                    continues,
                    joins: false,
                });
                continues = true;
            }
        }
    }

    /// Takes out what was closed. Only after a grace period since the last [`Sweep::close`].
    pub fn collect(&mut self, table: &mut Table, emit: impl FnMut(Taken)) {
        self.collect_some(table, usize::MAX, emit);
    }

    /// Takes out so many slots of it, and what belongs to the last conversation; returns whether there is more.
    pub fn collect_some(
        &mut self,
        table: &mut Table,
        slots: usize,
        mut emit: impl FnMut(Taken),
    ) -> bool {
        let key_mask = KeyMask(table.shape().key_mask);
        let mut flow: Option<Taken> = None;
        let begin = self.collected;
        while let Some(ticket) = self.tickets.get(self.collected) {
            if self.collected - begin >= slots && !ticket.joins {
                break;
            }
            self.collected += 1;
            if !ticket.continues
                && let Some(whole) = flow.take()
            {
                emit(whole);
            }
            // `None`: pushed out meanwhile, and counted where that happened.
            let Some(slot) = handover::collect(&table.slot(ticket.place), ticket.closed) else {
                continue;
            };
            let part = Taken::of(&slot, ticket.reason).with(table.extra(ticket.place));
            table.release(ticket.place);
            match &mut flow {
                // It may be another flow's, although it was this one's when it was closed: the
                // kernel may have put that there just before.
                Some(flow) if flow.identity(key_mask) == part.identity(key_mask) => {
                    flow.add(&part);
                }
                _ => flow.replace(part).into_iter().for_each(&mut emit),
            }
        }
        if let Some(whole) = flow {
            emit(whole);
        }
        self.collected < self.tickets.len()
    }
}

/// Where it is noted when a bucket is due.
#[inline]
fn due(table: &Table, region: u32, bucket: u32) -> usize {
    region as usize * table.buckets() as usize + bucket as usize
}

/// What one CPU saw of a flow.
#[inline]
fn counted(slot: SlotPtr, now_tick: u32) -> Counted {
    Counted {
        protocol: slot.protocol(),
        tcp_flags: slot.tcp_flags(),
        octets: slot.octets(),
        packets: slot.packets(),
        age_ticks: ticks_since(slot.first_tick(), now_tick),
        idle_ticks: ticks_since(slot.last_tick(), now_tick),
    }
}

/// What all CPUs saw of a flow.
fn whole(table: &Table, place: Place, words: &Slot) -> Taken {
    let mut flow = Taken::of(words, Reason::Flushed);
    for other in others(table, place, words) {
        flow.add(&Taken::of(&table.copy(other), Reason::Flushed));
    }
    flow
}

/// The flow's slots in the other CPUs' regions.
fn others<'a>(table: &'a Table, place: Place, words: &'a Slot) -> impl Iterator<Item = Place> + 'a {
    let macs = table.extra(place).macs;
    (0..table.regions())
        .filter(move |region| *region != place.region)
        .filter_map(move |region| table.find(region, words, &macs))
}

#[cfg(test)]
mod tests;
