//! Fault cases C5 and C10 to C14: what the collector believes and remembers of exporters, without a socket.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use weir_collector::{
    exporter::{LATE_RECORDS_MAX, TEMPLATES_MAX, WAITING_MAX_NS, WAITING_OCTETS_MAX},
    exporters::{Exporters, Refused, Settings, Source},
    shards::Shards,
    sums::OTHERS,
};
use weir_netflow::{
    ExportTime, FlowRecord, low32,
    v9::{self, FLOWS_V4},
};
use weir_store::{account, schema::StoredFlow};

const NOW_NS: u64 = 1_700_000_000_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

fn source(number: u32) -> Source {
    Source {
        address: Ipv4Addr::from_bits(0x0a00_0000 + number).to_ipv6_mapped(),
        port: 2055,
        session: 0,
    }
}

fn header(domain: u32, sequence: u32) -> v9::Header {
    v9::Header {
        count: 1,
        time: ExportTime {
            unix_ns: NOW_NS,
            uptime_ms: 1_000_000,
        },
        sequence,
        source_id: domain,
    }
}

fn datagram(domain: u32, sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let header = v9::encode_header(&header(domain, sequence));
    [&header[..], &sets.concat()].concat()
}

fn set(id: u16, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 4).unwrap();
    [&id.to_be_bytes()[..], &length.to_be_bytes(), body].concat()
}

/// A template with this id and these fields: type and octets.
fn template(id: u16, fields: &[(u16, u16)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(u16::try_from(fields.len()).unwrap().to_be_bytes());
    for (element, octets) in fields {
        body.extend(element.to_be_bytes());
        body.extend(octets.to_be_bytes());
    }
    set(v9::TEMPLATE_SET, &body)
}

fn flow_template() -> Vec<u8> {
    let mut body = Vec::new();
    FLOWS_V4.encode_definition(&mut body);
    set(v9::TEMPLATE_SET, &body)
}

/// A set of one flow of so many packets.
fn flow(packets: u64) -> Vec<u8> {
    let record = FlowRecord {
        packets,
        octets: 100 * packets,
        ..FlowRecord::default()
    };
    let mut body = Vec::new();
    FLOWS_V4.encode_record(&mut body, &record, &header(0, 0).time);
    set(FLOWS_V4.id, &body)
}

fn exporters() -> Exporters {
    Exporters::new(Settings::default())
}

/// The packets of the flows that come out.
fn take(exporters: &mut Exporters, source: &Source, at_ns: u64, octets: &[u8]) -> Vec<u64> {
    let mut flows = Vec::new();
    exporters
        .datagram(octets, source, at_ns, &mut flows)
        .unwrap();
    packets(&flows)
}

fn packets(flows: &[StoredFlow]) -> Vec<u64> {
    flows.iter().map(|flow| flow.record.packets).collect()
}

#[test]
fn c10_only_exporters_on_the_list_are_listened_to() {
    let mut exporters = Exporters::new(Settings {
        allowed: vec![
            "10.0.0.0/24".parse().unwrap(),
            "2001:db8::/32".parse().unwrap(),
        ],
        ..Settings::default()
    });
    let octets = datagram(0, 0, &[flow_template(), flow(7)]);
    assert_eq!(take(&mut exporters, &source(1), NOW_NS, &octets), [7]);
    let beyond = exporters.datagram(&octets, &source(256), NOW_NS, &mut Vec::new());
    assert_eq!(beyond, Err(Refused::NotAllowed));
    let v6 = Source {
        address: "2001:db8::7".parse().unwrap(),
        ..source(0)
    };
    assert_eq!(take(&mut exporters, &v6, NOW_NS, &octets), [7]);
    let counted = exporters.statistics;
    assert_eq!((counted.datagrams, counted.not_allowed), (3, 1));
    assert_eq!(exporters.heard_count(), 2);
}

/// Fault case C17: an exporter that tells no rate has the collector's, one that tells one its own, unless that
/// is overruled; what changes holds from the next datagram on.
#[test]
fn c17_rates_that_are_not_told_or_not_believed() {
    const INTERVAL: (u16, u16) = (34, 4);
    const PACKETS: (u16, u16) = (2, 4);
    let settings = |default_one_in, forced_one_in| Settings {
        default_one_in,
        forced_one_in,
        ..Settings::default()
    };
    let told = |one_in: u32| {
        let record = [&1u32.to_be_bytes()[..], &one_in.to_be_bytes()].concat();
        set(300, &record)
    };
    let shards = Shards::new(&settings(1, None), 2);
    let mut sequence = 0;
    let mut rates = || {
        let sets = [
            flow_template(),
            template(300, &[PACKETS, INTERVAL]),
            flow(1),
            told(1),
            told(50),
        ];
        let octets = datagram(0, sequence, &sets);
        sequence += 1;
        let mut flows = Vec::new();
        shards
            .datagram(&octets, &source(1), NOW_NS, &mut flows)
            .unwrap();
        let rates = flows.iter().map(|flow| flow.record.sampling_interval);
        rates.collect::<Vec<_>>()
    };
    assert_eq!(rates(), [1, 1, 50]);
    shards.take_over(&settings(1000, None));
    assert_eq!(rates(), [1000, 1, 50]);
    shards.take_over(&settings(1000, Some(7)));
    assert_eq!(rates(), [7, 7, 7]);
    shards.take_over(&settings(1, None));
    assert_eq!(rates(), [1, 1, 50]);
}

#[test]
fn c10_an_exporter_is_held_to_its_port_until_it_is_silent() {
    let mut exporters = Exporters::new(Settings {
        pin_port: true,
        ..Settings::default()
    });
    let other = Source {
        port: 4000,
        ..source(1)
    };
    let octets = |sequence| datagram(0, sequence, &[flow_template(), flow(7)]);
    take(&mut exporters, &source(1), NOW_NS, &octets(0));
    let poison = datagram(0, 900, &[template(FLOWS_V4.id, &[(2, 4)])]);
    let refused = exporters.datagram(&poison, &other, NOW_NS + SECOND_NS, &mut Vec::new());
    let expected = Refused::OtherPort {
        port: 4000,
        held: 2055,
    };
    assert_eq!(refused, Err(expected));
    // Neither its template nor its number was taken.
    let next = datagram(0, 1, &[flow(8)]);
    assert_eq!(
        take(&mut exporters, &source(1), NOW_NS + 2 * SECOND_NS, &next),
        [8]
    );
    assert_eq!(
        (exporters.lost(), exporters.statistics.other_port),
        ((0, 0), 1)
    );
    // Another domain may have another port; and a restarted exporter too, after a while.
    take(
        &mut exporters,
        &other,
        NOW_NS + SECOND_NS,
        &datagram(1, 0, &[]),
    );
    let later_ns = NOW_NS + 303 * SECOND_NS;
    assert_eq!(take(&mut exporters, &other, later_ns, &octets(2)), [7]);
}

/// Strangers come once each. Memory does not grow, and who is known stays known.
#[test]
fn c11_a_hundred_thousand_spoofed_exporters_push_out_no_known_one() {
    let settings = Settings::default();
    let mut exporters = Exporters::new(settings.clone());
    let known = source(1);
    for sequence in 0..32 {
        take(
            &mut exporters,
            &known,
            NOW_NS,
            &datagram(3, sequence, &[flow_template()]),
        );
    }
    for number in 0..100_000 {
        let octets = datagram(number, 7, &[flow_template(), set(300, &[1; 64])]);
        take(&mut exporters, &source(1000 + number), NOW_NS, &octets);
    }
    assert_eq!(exporters.heard_count(), settings.exporters_max);
    let counted = exporters.statistics;
    assert_eq!(
        counted.exporters_forgotten,
        100_001 - settings.exporters_max as u64
    );
    // What waited for a template went with its exporter, and was counted.
    exporters.finish();
    assert_eq!(exporters.statistics.unknown_template_sets, 100_000);
    // One datagram of the known one was lost meanwhile.
    let octets = datagram(3, 33, &[flow(5)]);
    assert_eq!(take(&mut exporters, &known, NOW_NS, &octets), [5]);
    assert_eq!(exporters.lost(), (0, 1));
}

#[test]
fn c11_template_ids_without_end_leave_the_ones_in_use() {
    let mut exporters = exporters();
    take(
        &mut exporters,
        &source(1),
        NOW_NS,
        &datagram(0, 0, &[flow_template()]),
    );
    let mut sequence = 1;
    for id in (256..=u16::MAX).filter(|id| *id != FLOWS_V4.id) {
        let octets = datagram(0, sequence, &[template(id, &[(8, 4), (12, 4)])]);
        take(&mut exporters, &source(1), NOW_NS, &octets);
        sequence += 1;
        if id % 512 == 0 {
            let octets = datagram(0, sequence, &[flow(u64::from(id))]);
            assert_eq!(
                take(&mut exporters, &source(1), NOW_NS, &octets),
                [u64::from(id)]
            );
            sequence += 1;
        }
    }
    let account = &exporters.accounts()[0].1;
    assert_eq!(account["templates"], TEMPLATES_MAX);
    let all = u64::from(u16::MAX) - 255;
    assert_eq!(exporters.statistics.templates, all);
    assert_eq!(
        exporters.statistics.templates_forgotten,
        all - TEMPLATES_MAX as u64
    );
    // Also if they are large.
    let large: Vec<_> = (0..1000).map(|_| (8, 4)).collect();
    for id in 256..1256 {
        let octets = datagram(0, sequence, &[template(id, &large)]);
        take(&mut exporters, &source(1), NOW_NS, &octets);
        sequence += 1;
    }
    assert_eq!(exporters.accounts()[0].1["templates"], 65);
}

#[test]
fn c11_large_templates_of_many_exporters_take_a_bounded_room() {
    let settings = Settings {
        template_fields_max: 100_000,
        ..Settings::default()
    };
    let mut exporters = Exporters::new(settings);
    let large: Vec<_> = (0..1000).map(|_| (8, 4)).collect();
    for number in 0..500 {
        let octets = datagram(0, 0, &[template(256, &large)]);
        take(&mut exporters, &source(number), NOW_NS, &octets);
    }
    assert_eq!(exporters.heard_count(), 100);
}

/// Two datagrams by which nfcapd 1.7.1 never ends: records of no octets, and a lot of them.
#[test]
fn c05_records_of_no_octets_are_none() {
    let mut exporters = exporters();
    let of_nothing = template(256, &[(8, 0), (12, 0), (2, 0)]);
    take(
        &mut exporters,
        &source(1),
        NOW_NS,
        &datagram(0, 0, &[of_nothing]),
    );
    let octets = datagram(0, 1, &[set(256, &vec![0; 60_000])]);
    assert!(take(&mut exporters, &source(1), NOW_NS, &octets).is_empty());
    assert_eq!(exporters.accounts()[0].1["templates"], 0);
    exporters.finish();
    let counted = exporters.statistics;
    assert_eq!(
        (counted.templates_refused, counted.unknown_template_sets),
        (1, 1)
    );
}

#[test]
fn c12_data_waits_for_its_template() {
    let mut exporters = exporters();
    let early = datagram(0, 0, &[flow(1), flow(2)]);
    assert!(take(&mut exporters, &source(1), NOW_NS, &early).is_empty());
    // Others' templates are none of its.
    let other = datagram(1, 0, &[flow_template()]);
    assert!(take(&mut exporters, &source(1), NOW_NS, &other).is_empty());
    assert!(
        take(
            &mut exporters,
            &source(2),
            NOW_NS,
            &datagram(0, 0, &[flow_template()])
        )
        .is_empty()
    );
    let mut flows = Vec::new();
    let octets = datagram(0, 1, &[flow(3), flow_template(), flow(4)]);
    exporters
        .datagram(&octets, &source(1), NOW_NS + SECOND_NS, &mut flows)
        .unwrap();
    assert_eq!(packets(&flows), [1, 2, 3, 4]);
    // Each was received when it was received.
    let received: Vec<_> = flows.iter().map(|flow| flow.received_ns - NOW_NS).collect();
    assert_eq!(received, [0, 0, SECOND_NS, SECOND_NS]);
    let counted = exporters.statistics;
    assert_eq!((counted.records, counted.late_template_sets), (4, 3));
    exporters.finish();
    assert_eq!(exporters.statistics.unknown_template_sets, 0);
}

#[test]
fn c12_what_waits_is_bounded_in_octets_and_time() {
    let mut exporters = exporters();
    let body = vec![7; 1000];
    let mut sequence = 0;
    let mut send = |exporters: &mut Exporters, at_ns: u64, count: usize| {
        for _ in 0..count {
            let octets = datagram(0, sequence, &[set(400, &body)]);
            take(exporters, &source(1), at_ns, &octets);
            sequence += 1;
        }
    };
    let fit = WAITING_OCTETS_MAX / (1000 + 128);
    send(&mut exporters, NOW_NS, fit + 10);
    let counted = exporters.statistics;
    assert_eq!(
        (
            counted.unknown_template_sets,
            counted.unknown_template_octets
        ),
        (10, 10_000)
    );
    exporters.expire(NOW_NS + WAITING_MAX_NS);
    assert_eq!(exporters.statistics.unknown_template_sets, 10);
    exporters.expire(NOW_NS + WAITING_MAX_NS + 1);
    assert_eq!(exporters.statistics.unknown_template_sets, 10 + fit as u64);
    // There is room again.
    send(&mut exporters, NOW_NS, 1);
    assert_eq!(exporters.accounts()[0].1["waiting_sets"], 1);
}

#[test]
fn c12_all_exporters_together_wait_within_a_bound() {
    let mut exporters = Exporters::new(Settings {
        waiting_octets_max: 10 * 228,
        ..Settings::default()
    });
    for number in 0..100 {
        let octets = datagram(0, 0, &[set(400, &[1; 100])]);
        take(&mut exporters, &source(number), NOW_NS, &octets);
    }
    assert_eq!(exporters.statistics.unknown_template_sets, 90);
}

#[test]
fn c12_empty_sets_do_not_wait() {
    let mut exporters = exporters();
    let sets: Vec<_> = (0..16_000).map(|_| set(400, &[])).collect();
    take(&mut exporters, &source(1), NOW_NS, &datagram(0, 0, &sets));
    assert_eq!(exporters.accounts()[0].1["waiting_sets"], 0);
    assert_eq!(exporters.statistics.unknown_template_sets, 16_000);
}

/// How long templates take that nothing waits for, beside so many sets that wait for another one.
#[expect(clippy::disallowed_methods, reason = "it is about time")]
fn time_of_templates(waiting: usize) -> Duration {
    let mut exporters = exporters();
    let sets: Vec<_> = (0..waiting).map(|_| set(u16::MAX, &[1])).collect();
    take(&mut exporters, &source(1), NOW_NS, &datagram(0, 0, &sets));
    assert_eq!(exporters.accounts()[0].1["waiting_sets"], waiting);
    let began = Instant::now();
    for part in 0..8 {
        let ids = 256 + part * 5000;
        let templates: Vec<_> = (ids..ids + 5000)
            .map(|id| template(id, &[(4, 1)]))
            .collect();
        let octets = datagram(0, 1 + u32::from(part), &templates);
        take(&mut exporters, &source(1), NOW_NS, &octets);
    }
    assert_eq!(exporters.statistics.templates, 40_000);
    began.elapsed()
}

/// When each template looked at every set that waited, these took seconds.
#[test]
fn c12_templates_find_their_sets_without_looking_at_all() {
    let (alone, beside) = (time_of_templates(0), time_of_templates(8000));
    assert!(beside < 5 * alone, "{beside:?}, and alone {alone:?}");
}

#[test]
fn c12_what_waited_makes_no_million_records_at_once() {
    let mut exporters = exporters();
    let body = vec![7; 60_000];
    for number in 0..10u16 {
        let octets = datagram(0, number.into(), &[set(300 + number, &body)]);
        take(&mut exporters, &source(1), NOW_NS, &octets);
    }
    let templates: Vec<_> = (300..310).map(|id| template(id, &[(4, 1)])).collect();
    let flows = take(
        &mut exporters,
        &source(1),
        NOW_NS,
        &datagram(0, 10, &templates),
    );
    assert_eq!(flows.len(), 120_000);
    assert!(flows.len() as u64 <= LATE_RECORDS_MAX + 65_536);
    let counted = exporters.statistics;
    let sets = (counted.late_template_sets, counted.late_sets_refused);
    assert_eq!((sets, counted.late_records), ((2, 8), 120_000));
    // The next datagram may have as many again.
    take(
        &mut exporters,
        &source(1),
        NOW_NS,
        &datagram(0, 11, &[set(999, &body)]),
    );
    let octets = datagram(0, 12, &[template(999, &[(4, 1)])]);
    assert_eq!(
        take(&mut exporters, &source(1), NOW_NS, &octets).len(),
        60_000
    );
}

/// The same id: of two domains, of two exporters, of one exporter that changes its port.
#[test]
fn c13_templates_are_of_an_exporter_and_a_domain() {
    let mut exporters = exporters();
    let packets_4 = datagram(0, 0, &[template(256, &[(2, 4)])]);
    let packets_2 = datagram(9, 0, &[template(256, &[(2, 2)])]);
    take(&mut exporters, &source(1), NOW_NS, &packets_4);
    take(&mut exporters, &source(1), NOW_NS, &packets_2);
    take(
        &mut exporters,
        &source(2),
        NOW_NS,
        &datagram(0, 0, &[template(256, &[(2, 1)])]),
    );
    let data = |domain| datagram(domain, 1, &[set(256, &[0, 0, 0, 5])]);
    assert_eq!(take(&mut exporters, &source(1), NOW_NS, &data(0)), [5]);
    assert_eq!(take(&mut exporters, &source(1), NOW_NS, &data(9)), [0, 5]);
    assert_eq!(
        take(&mut exporters, &source(2), NOW_NS, &data(0)),
        [0, 0, 0, 5]
    );
    let moved = Source {
        port: 9,
        ..source(1)
    };
    assert_eq!(
        take(
            &mut exporters,
            &moved,
            NOW_NS,
            &datagram(0, 2, &[set(256, &[0, 0, 1, 0])])
        ),
        [256]
    );
    assert_eq!(exporters.lost(), (0, 0));
}

/// Templates come again, in another order and then with their fields in another: each set is read by the latest.
#[test]
fn c13_templates_sent_again_in_another_order_stay_what_they_are() {
    let mut exporters = exporters();
    let mut sequence = 0;
    let mut send = |exporters: &mut Exporters, sets: &[Vec<u8>]| {
        let octets = datagram(0, sequence, sets);
        sequence += 1;
        take(exporters, &source(1), NOW_NS, &octets)
    };
    let packets_4 = template(256, &[(2, 4), (1, 4)]);
    let packets_2 = template(257, &[(2, 2)]);
    let data = [
        set(256, &[0, 0, 0, 5, 0, 0, 0, 200]),
        set(257, &[0, 6, 0, 7]),
    ];
    send(&mut exporters, &[packets_4.clone(), packets_2.clone()]);
    assert_eq!(send(&mut exporters, &data), [5, 6, 7]);
    send(&mut exporters, &[packets_2, packets_4]);
    assert_eq!(send(&mut exporters, &data), [5, 6, 7]);
    send(&mut exporters, &[template(256, &[(1, 4), (2, 4)])]);
    assert_eq!(send(&mut exporters, &data), [200, 6, 7]);
    assert_eq!(exporters.accounts()[0].1["templates"], 2);
    assert_eq!(exporters.lost(), (0, 0));
}

/// Fault case C15: what came twice is stored once, whether its template is known or not.
#[test]
fn c15_copies_are_left_out_unless_they_are_asked_for() {
    let with_template = datagram(0, 0, &[flow_template(), flow(7)]);
    let octets = datagram(0, 1, &[flow(8)]);
    let mut exporters = exporters();
    assert_eq!(
        take(&mut exporters, &source(1), NOW_NS, &with_template),
        [7]
    );
    assert_eq!(take(&mut exporters, &source(1), NOW_NS, &octets), [8]);
    for copy in [&octets, &with_template, &octets] {
        assert!(take(&mut exporters, &source(1), NOW_NS, copy).is_empty());
    }
    // The same number, and something else in it: who knows.
    let other = datagram(0, 1, &[flow(9)]);
    assert_eq!(take(&mut exporters, &source(1), NOW_NS, &other), [9]);
    // The same of another exporter is its own.
    assert_eq!(
        take(&mut exporters, &source(2), NOW_NS, &with_template),
        [7]
    );
    let counted = exporters.statistics;
    assert_eq!((counted.datagrams, counted.copied_datagrams), (7, 3));
    let accounts = exporters.accounts();
    let mut accounts = accounts.iter().map(|(_, account)| account);
    let account = accounts.find(|account| account["exporter"] == "10.0.0.1");
    assert_eq!(account.unwrap()["duplicated"], 4);

    let mut all = Exporters::new(Settings {
        keep_copies: true,
        ..Settings::default()
    });
    for octets in [&with_template, &octets, &octets] {
        assert_eq!(take(&mut all, &source(1), NOW_NS, octets).len(), 1);
    }
    assert_eq!(all.statistics.copied_datagrams, 0);
}

#[test]
fn c12_a_copy_does_not_wait_for_the_template_again() {
    let mut exporters = exporters();
    let early = datagram(0, 0, &[flow(1)]);
    for _ in 0..3 {
        assert!(take(&mut exporters, &source(1), NOW_NS, &early).is_empty());
    }
    let template = datagram(0, 1, &[flow_template()]);
    assert_eq!(take(&mut exporters, &source(1), NOW_NS, &template), [1]);
}

#[test]
fn c09_another_layout_counts_from_the_next_set_on() {
    let mut exporters = exporters();
    let octets = datagram(
        0,
        0,
        &[
            template(256, &[(2, 4)]),
            set(256, &[0, 0, 0, 5]),
            template(256, &[(2, 2)]),
            set(256, &[0, 6, 0, 7]),
        ],
    );
    assert_eq!(take(&mut exporters, &source(1), NOW_NS, &octets), [5, 6, 7]);
}

#[test]
fn c14_reserved_sets_are_counted_and_passed_by() {
    let mut exporters = exporters();
    let octets = datagram(
        0,
        0,
        &[set(2, &[1; 8]), set(255, &[]), flow_template(), flow(1)],
    );
    assert_eq!(take(&mut exporters, &source(1), NOW_NS, &octets), [1]);
    assert_eq!(exporters.statistics.reserved_sets, 2);
}

#[test]
fn templates_outlive_the_collector() {
    let settings = Settings::default();
    let first = Shards::new(&settings, 4);
    for number in 0..50 {
        let octets = datagram(number, 0, &[flow_template()]);
        first
            .datagram(&octets, &source(number), NOW_NS, &mut Vec::new())
            .unwrap();
    }
    assert!(first.take_changed());
    let remembered = first.remembered();
    assert_eq!(remembered.len(), 50);
    assert!(!first.take_changed(), "nothing changed since");
    // The same again is no change.
    first
        .datagram(
            &datagram(7, 1, &[flow_template()]),
            &source(7),
            NOW_NS,
            &mut Vec::new(),
        )
        .unwrap();
    assert!(!first.take_changed());

    let second = Shards::new(&settings, 1);
    second.remember(remembered);
    assert_eq!(second.heard_and_lost(), (0, 0, 0));
    let mut flows = Vec::new();
    second
        .datagram(
            &datagram(49, 900, &[flow(3)]),
            &source(49),
            NOW_NS,
            &mut flows,
        )
        .unwrap();
    assert_eq!(packets(&flows), [3]);
    // The first number heard is no gap.
    assert_eq!(second.heard_and_lost(), (1, 0, 0));
}

/// However many threads share them, all exporters that there may be have a place, and one with many templates
/// pushes out nobody, itself least of all.
#[test]
fn c11_exporters_have_their_places_with_many_sockets() {
    const EXPORTERS: u32 = 4096;
    let shards = Shards::new(&Settings::default(), 64);
    let bring = |number: u32, sequence: u32, sets: &[Vec<u8>]| {
        let octets = datagram(0, sequence, sets);
        let mut flows = Vec::new();
        shards
            .datagram(&octets, &source(number), NOW_NS, &mut flows)
            .unwrap();
        packets(&flows)
    };
    for number in 0..EXPORTERS {
        assert_eq!(bring(number, 0, &[flow_template(), flow(1)]), [1]);
    }
    // 60 templates of 100 fields each.
    for id in 400..460 {
        bring(7, u32::from(id) - 399, &[template(id, &[(210, 1); 100])]);
    }
    for number in 0..EXPORTERS {
        let sequence = if number == 7 { 61 } else { 1 };
        assert_eq!(bring(number, sequence, &[flow(2)]), [2], "{number}");
    }
    let (heard, ..) = shards.heard_and_lost();
    assert_eq!(heard, EXPORTERS as usize);
    assert_eq!(shards.statistics().exporters_forgotten, 0);
}

#[test]
fn a_connection_takes_its_templates_with_it() {
    let mut exporters = exporters();
    let of_session = |session| Source {
        session,
        ..source(1)
    };
    let with_template = datagram(0, 0, &[flow_template(), flow(1)]);
    assert_eq!(
        take(&mut exporters, &of_session(5), NOW_NS, &with_template),
        [1]
    );
    let without = datagram(0, 1, &[flow(2)]);
    assert!(take(&mut exporters, &of_session(6), NOW_NS, &without).is_empty());
    assert!(exporters.remembered().is_empty());
    exporters.end_session(5);
    exporters.end_session(6);
    assert_eq!(exporters.heard_count(), 0);
    assert_eq!(exporters.statistics.unknown_template_sets, 1);
}

/// A connection's counts outlive it in its stream's line, whichever connection they were of; the lines of
/// connections that ended are bounded, and what has none any more is in the last one.
#[test]
fn what_connections_brought_is_told_when_they_have_ended() {
    let settings = Settings {
        ended_max: 3,
        ..Settings::default()
    };
    let shards = Shards::new(&settings, 1);
    let bring = |number: u32, session: u64, sequence: u32| {
        let source = Source {
            session,
            ..source(number)
        };
        let octets = datagram(9, sequence, &[flow_template(), flow(session)]);
        let mut flows = Vec::new();
        shards
            .datagram(&octets, &source, NOW_NS, &mut flows)
            .unwrap();
        assert_eq!(flows.len(), 1);
    };
    let end = |number: u32, session: u64| shards.end_session(source(number).address, session);
    // Two connections after each other, one of which lost something, and a third that lasts.
    for sequence in [0, 1, 4] {
        bring(1, 5, sequence);
    }
    end(1, 5);
    bring(1, 6, 700);
    end(1, 6);
    bring(1, 7, 0);
    let told = |name: &str| -> Vec<serde_json::Value> {
        let accounts = shards.accounts();
        let accounts = accounts.as_array().unwrap().iter();
        accounts.map(|account| account[name].clone()).collect()
    };
    assert_eq!(told("datagrams"), [5]);
    assert_eq!(told("lost"), [2]);
    assert_eq!(told("records"), [5]);
    // Those of the connection that lasts.
    assert_eq!(told("templates"), [1]);
    assert_eq!(shards.heard_and_lost(), (1, 0, 2));
    // Many others come and go.
    for number in 2..10 {
        bring(number, 100 + u64::from(number), 0);
        end(number, 100 + u64::from(number));
    }
    assert_eq!(told("datagrams"), [1, 1, 1, 1, 9]);
    assert_eq!(told("exporter")[4], OTHERS);
    assert_eq!(told("lost").last().unwrap(), &2);
    let counts = shards.counts();
    let in_files = counts.as_array().unwrap().iter();
    assert_eq!(
        in_files
            .filter(|account| account["exporter"] == OTHERS)
            .count(),
        0
    );
}

/// What a file says was lost in its time is the sum over an exporter's connections, also those that ended or
/// began in it.
#[test]
fn a_files_share_is_of_all_connections_of_an_exporter() {
    let shards = Shards::new(&Settings::default(), 1);
    let bring = |session: u64, sequence: u32| {
        let source = Source {
            session,
            ..source(1)
        };
        let octets = datagram(9, sequence, &[flow_template(), flow(session)]);
        shards
            .datagram(&octets, &source, NOW_NS, &mut Vec::new())
            .unwrap();
    };
    bring(5, 0);
    bring(6, 100);
    let before = shards.counts();
    // Two of the one are missing, three of the other.
    bring(5, 3);
    bring(6, 104);
    shards.end_session(source(1).address, 6);
    bring(7, 0);
    let share = account::since(&shards.counts(), &before);
    let share = share.as_array().unwrap();
    assert_eq!(share.len(), 1, "{share:?}");
    assert_eq!(share[0]["datagrams"], 3);
    assert_eq!(share[0]["lost"], 5);
}

/// Fault case C7 among them: what no column has is kept octet by octet, also a list that holds itself.
#[test]
fn c07_what_no_column_has_is_kept_within_bounds() {
    let fields = [(2, 4), (95, 4), (291, 300), (59, 2)];
    let list = [[3, 1, 35, 0, 0].repeat(60), vec![7, 9]].concat();
    let body = [&[0, 0, 0, 7, 3, 0, 0, 80][..], &list].concat();
    let octets = datagram(0, 0, &[template(300, &fields), set(300, &body)]);
    let (mut exporters, mut flows) = (exporters(), Vec::new());
    exporters
        .datagram(&octets, &source(1), NOW_NS, &mut flows)
        .unwrap();
    assert_eq!(packets(&flows), [7]);
    let kept: Vec<_> = flows[0]
        .others
        .iter()
        .map(|other| (other.element, other.octets.len()))
        .collect();
    assert_eq!(kept, [(95, 4), (291, 256), (59, 2)]);
    // The one that was cut.
    assert_eq!(exporters.statistics.values_not_stored, 1);
}

/// Each datagram is applied, or in the counter that says why not.
#[test]
fn every_datagram_has_a_place() {
    let mut exporters = Exporters::new(Settings {
        allowed: vec!["10.0.0.0/8".parse().unwrap()],
        pin_port: true,
        ..Settings::default()
    });
    let stranger = Source {
        address: Ipv6Addr::LOCALHOST,
        ..source(0)
    };
    let other_port = Source {
        port: 1,
        ..source(1)
    };
    let good = datagram(0, 0, &[]);
    let mut applied = 0;
    for (source, octets) in [
        (source(1), good.clone()),
        (stranger, good.clone()),
        (other_port, good.clone()),
        (source(1), Vec::new()),
        (source(1), vec![0]),
        (source(1), vec![0, 9]),
        (source(1), vec![0, 99, 1, 2]),
        (source(1), [&good[..], &[1, 0, 0, 3]].concat()),
        (source(1), vec![7; 65_507]),
    ] {
        let result = exporters.datagram(&octets, &source, NOW_NS, &mut Vec::new());
        applied += u64::from(result.is_ok());
    }
    let counted = exporters.statistics;
    let refused = [
        counted.unknown_version,
        counted.malformed,
        counted.not_allowed,
        counted.other_port,
    ];
    assert_eq!((applied, refused), (1, [2, 4, 1, 1]));
    assert_eq!(counted.datagrams, applied + refused.iter().sum::<u64>());
    assert_eq!(
        low32(counted.datagram_octets),
        65_507 + 20 * 3 + 1 + 2 + 4 + 24
    );
}
