//! What is swept is what was put in, each once, whichever CPUs saw it.

use super::*;
use crate::table;
use weir_sensor_common::{
    KeyMask,
    hash::Seed,
    table::{Outcome, Shape, account},
    walk::number::{TCP, UDP},
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

/// A packet may stand for 65,535 (a guest says how small its card is to cut them), so that a slot's
/// 32 bits are full before the sweep comes by.
#[test]
fn more_packets_than_a_slot_can_count_are_all_counted() {
    const BUFFERS: u64 = 200_000;
    let shape = shape(100);
    let mut table = Table::anonymous(shape).unwrap();
    let mut evicted = Vec::new();
    let buffer = Sighting {
        packets: u16::MAX,
        ..sighting(7, &at(0))
    };
    for _ in 0..BUFFERS {
        account(&mut table.local(&mut evicted), &shape, &buffer).unwrap();
    }
    let (mut sweep, mut packets, mut octets) = (Sweep::default(), 0, 0);
    sweep.close(&table, &at(0), Take::Everything);
    sweep.collect(&mut table, |flow| {
        packets += flow.packets;
        octets += flow.octets;
    });
    assert!(evicted.is_empty());
    assert_eq!(packets, BUFFERS * u64::from(u16::MAX));
    assert_eq!(octets, BUFFERS * 100);
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

/// Buckets are left out only while nothing in them can be over: what a sweep that remembers
/// takes is what one takes that looks at every slot.
#[test]
fn a_bucket_is_looked_at_when_a_flow_in_it_is_over() {
    let shape = shape(64);
    let (mut table, mut other) = (
        Table::anonymous(shape).unwrap(),
        Table::anonymous(shape).unwrap(),
    );
    let mut timeouts = Timeouts::default();
    for setting in ["udp=700ms", "tcp=900ms", "tcp.fin=150ms", "active=3s"] {
        timeouts.set(setting).unwrap();
    }
    let (mut sweep, mut random, mut reasons) = (Sweep::default(), 7u32, Vec::new());
    for ms in 0..30_000u64 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Some come each few milliseconds, some once in a second.
        let flow = random >> 27 & random >> 22;
        let mut sighting = sighting(flow, &at(ms));
        let protocol = if flow & 1 == 0 { UDP } else { TCP };
        sighting.key.attributes = FlowKey::pack(1, 2, protocol, 0, 0);
        sighting.hash = shape.hash(&sighting.key, 0);
        sighting.tcp_flags = u8::from(protocol == TCP && random & 0xf00 == 0);
        for table in [&mut table, &mut other] {
            account(&mut table.local(&mut Vec::new()), &shape, &sighting).unwrap();
        }
        if ms % 40 == 39 {
            let take = Take::Expired(&timeouts);
            let (mut found, mut all) = (Vec::new(), Vec::new());
            sweep.close(&table, &at(ms), take);
            sweep.collect(&mut table, |flow| found.push(flow));
            let mut anew = Sweep::default();
            anew.close(&other, &at(ms), take);
            anew.collect(&mut other, |flow| all.push(flow));
            assert_eq!(found, all, "at {ms} ms");
            assert_eq!(sweep.fullest(), anew.fullest());
            reasons.extend(found.iter().map(|flow| flow.reason));
        }
    }
    for reason in [Reason::Udp, Reason::Tcp, Reason::TcpFin, Reason::Active] {
        assert!(reasons.contains(&reason), "none is over by {reason:?}");
    }
}

#[test]
fn a_sweep_knows_when_it_would_find_nothing() {
    const SECONDS: u64 = 200;
    let shape = shape(64);
    let (mut table, mut other) = (
        Table::anonymous(shape).unwrap(),
        Table::anonymous(shape).unwrap(),
    );
    let timeouts = Timeouts::default();
    let take = Take::Expired(&timeouts);
    let (mut sweep, mut looks) = (Sweep::default(), 0);
    let (mut found, mut all) = (Vec::new(), Vec::new());
    for second in 0..SECONDS {
        let now = at(1000 * second);
        if second == 0 || second == 7 {
            let packet = sighting(7 + u32::from(second == 0), &now);
            for table in [&mut table, &mut other] {
                account(&mut table.local(&mut Vec::new()), &shape, &packet).unwrap();
            }
        }
        if sweep.can_find(&now) {
            looks += 1;
            sweep.close(&table, &now, take);
            sweep.collect(&mut table, |flow| found.push((second, flow)));
        }
        let mut anew = Sweep::default();
        anew.close(&other, &now, take);
        anew.collect(&mut other, |flow| all.push((second, flow)));
    }
    assert_eq!((found.len(), &found), (2, &all));
    assert!(looks < SECONDS / 2, "{looks}");
    // By a clock that was set back it has to look.
    assert!(sweep.can_find(&at(0)));
}

/// A flow's parts are closed together, each in the region where it is.
#[test]
fn the_fullest_region_is_without_what_was_closed_in_it() {
    let shape = shape(100);
    let mut table = Table::anonymous(shape).unwrap();
    for (flows, ms) in [(0..10, 0), (10..15, 60_000)] {
        for flow in flows {
            let sighting = sighting(flow, &at(ms));
            account(&mut table.local(&mut Vec::new()), &shape, &sighting).unwrap();
        }
    }
    let mut table = table.seen_by(3).unwrap();
    let mut sweep = Sweep::default();
    let timeouts = Timeouts::default();
    let closed = sweep.close(&table, &at(61_010), Take::Expired(&timeouts));
    assert_eq!(closed, 3 * 10);
    assert_eq!(sweep.fullest(), 5);
    let mut packets = Vec::new();
    sweep.collect(&mut table, |flow| packets.push(flow.packets));
    assert_eq!(packets, [3; 10]);
    assert_eq!(sweep.close(&table, &at(61_010), Take::Everything), 3 * 5);
    assert_eq!(sweep.fullest(), 0);
}

/// One direction is reset and the other goes on for a while: both are over together, one after the
/// other. A flow that nothing answers is over by itself, and a FIN alone ends none.
#[test]
fn directions_are_taken_together() {
    let shape = shape(100);
    let mut table = Table::anonymous(shape).unwrap();
    let packet = |key: FlowKey, tcp_flags: u8, ms: u64| Sighting {
        key,
        hash: shape.hash(&key, 0),
        octets: 100,
        tick: at(ms).tick(),
        packets: 1,
        tcp_flags,
        ..Sighting::default()
    };
    let key = |last: u8| FlowKey {
        source: FlowKey::v4_mapped([10, 0, 0, last]),
        destination: FlowKey::v4_mapped([192, 0, 2, 1]),
        attributes: FlowKey::pack(1, 2, TCP, 0, 0),
    };
    for packet in [
        packet(key(1), 0x02, 0),
        packet(pair::reversed(&key(1)), 0x14, 10),
        packet(key(1), 0x10, 3000),
        packet(key(2), 0x11, 0),
    ] {
        account(&mut table.local(&mut Vec::new()), &shape, &packet).unwrap();
    }
    let timeouts = Timeouts::default();
    let mut sweep = Sweep::new(true);
    let mut taken = Vec::new();
    for ms in [1000, 5500, 7000, 8100] {
        sweep.close(&table, &at(ms), Take::Expired(&timeouts));
        sweep.collect(&mut table, |flow| taken.push((ms, flow)));
    }
    let found: Vec<_> = taken.iter().map(|(ms, flow)| (*ms, flow.reason)).collect();
    assert_eq!(found, [(8100, Reason::TcpRst); 2]);
    assert_eq!(taken[0].1.key, pair::reversed(&taken[1].1.key));
    taken.clear();
    sweep.close(&table, &at(61_000), Take::Expired(&timeouts));
    sweep.collect(&mut table, |flow| taken.push((61_000, flow)));
    assert_eq!((taken.len(), taken[0].1.reason), (1, Reason::Tcp));
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

/// What else is to be done is done between them; both directions and all parts of them are of one turn.
#[test]
fn no_turn_ends_within_a_conversation() {
    const CONVERSATIONS: u32 = 50;
    let shape = shape(50_000);
    let mut table = Table::anonymous(shape).unwrap();
    for flow in 0..CONVERSATIONS {
        let there = sighting(flow, &at(0));
        let key = pair::reversed(&there.key);
        let hash = shape.hash(&key, 0);
        for sighting in [there, Sighting { key, hash, ..there }] {
            account(&mut table.local(&mut Vec::new()), &shape, &sighting).unwrap();
        }
    }
    let mut table = table.seen_by(3).unwrap();
    let mut sweep = Sweep::new(true);
    let mut turns = 0;
    let closed = sweep.close_in_turns(&table, &at(0), Take::Everything, || turns += 1);
    assert_eq!(closed, 3 * 2 * CONVERSATIONS as usize);
    assert_eq!(turns, table.buckets() / TURN_BUCKETS * 3);
    assert!(turns > 3);
    let mut conversations = 0;
    loop {
        let mut taken = Vec::new();
        let more = sweep.collect_some(&mut table, 1, |flow| taken.push(flow));
        let [one, other] = &taken[..] else {
            panic!("{taken:?}");
        };
        assert_eq!((one.packets, other.packets), (3, 3));
        assert_eq!(one.key, pair::reversed(&other.key));
        conversations += 1;
        if !more {
            break;
        }
    }
    assert_eq!(conversations, CONVERSATIONS);
}

/// Ticks of a millisecond wrap after 50 days, and a flow may be 45 days old.
#[test]
fn the_older_of_two_parts_is_the_one_that_lies_farther_back() {
    const DAY: u32 = 86_400_000;
    let part = |first_tick: u32, last_tick: u32| {
        let sighting = Sighting {
            tick: first_tick,
            ..sighting(7, &at(0))
        };
        Taken {
            last_tick,
            ..Taken::of_packet(&sighting, Reason::Active)
        }
    };
    for began in [0, DAY, u32::MAX - 3 * DAY] {
        let day = |days: u32| began.wrapping_add(days * DAY);
        let parts = [part(day(0), day(44)), part(day(30), day(45))];
        for [mut one, other] in [parts, [parts[1], parts[0]]] {
            one.add(&other);
            assert_eq!((one.first_tick, one.last_tick), (day(0), day(45)));
        }
    }
}
