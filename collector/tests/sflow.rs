//! sFlow without a socket: samples as flows, what of them is not, and what was lost.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value;
use weir_collector::exporters::{Exporters, Refused, Settings, Source};
use weir_netflow::{FlowRecord, Malformed, fixed, v1};
use weir_store::{others::Other, schema::StoredFlow};
use weir_tests::sflow::{self as made, Header, Taken};

const NOW_NS: u64 = 1_700_000_000_000_000_000;
const MS_NS: u64 = 1_000_000;
const TAKEN: Taken = Taken {
    sequence: 1,
    ifindex: 5,
    rate: 1000,
    drops: 0,
    interfaces: [5, 6],
};

fn source() -> Source {
    Source {
        address: Ipv4Addr::new(192, 0, 2, 9).to_ipv6_mapped(),
        port: 6343,
        session: 0,
    }
}

fn datagram(sequence: u32, uptime_ms: u32, samples: &[Vec<u8>]) -> Vec<u8> {
    let header = Header {
        agent: Ipv4Addr::new(192, 0, 2, 9),
        sub_agent: 3,
        sequence,
        uptime_ms,
    };
    made::datagram(&header, samples)
}

fn take(exporters: &mut Exporters, at_ns: u64, octets: &[u8]) -> Vec<StoredFlow> {
    let mut flows = Vec::new();
    exporters
        .datagram(octets, &source(), at_ns, &mut flows)
        .unwrap();
    flows
}

fn exporters() -> Exporters {
    Exporters::new(Settings::default())
}

/// A sample of a frame's first octets.
fn sample(sequence: u32, host: u8) -> Vec<u8> {
    let taken = Taken { sequence, ..TAKEN };
    made::flow_sample(
        &taken,
        &[made::header_record(1, 1518, &made::frame(host, 1234))],
    )
}

fn account(exporters: &Exporters) -> Value {
    let mut accounts = exporters.accounts();
    assert_eq!(accounts.len(), 1);
    accounts.remove(0).1
}

#[test]
fn a_frame_is_walked_as_the_sensor_walks_it() {
    let records = [
        made::header_record(1, 1518, &made::frame(1, 1234)),
        made::record(made::EXTENDED_SWITCH, &[7, 0, 200, 0]),
        made::record(made::EXTENDED_GATEWAY, &[1, 0, 64_496, 64_497, 0, 0, 0, 0]),
        made::record(1007, &[9]),
    ];
    let octets = datagram(1, 5000, &[made::expanded_flow_sample(&TAKEN, &records)]);
    let flows = take(&mut exporters(), NOW_NS, &octets);
    assert_eq!(flows.len(), 1);
    let expected = FlowRecord {
        source: Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped(),
        destination: Ipv4Addr::new(198, 51, 100, 7).to_ipv6_mapped(),
        source_port: 1234,
        destination_port: 443,
        protocol: 6,
        tos: 0xb8,
        tcp_flags: 0x18,
        octets: 1500,
        packets: 1,
        start_ns: NOW_NS,
        end_ns: NOW_NS,
        ingress_ifindex: 5,
        egress_ifindex: 6,
        source_as: 64_497,
        destination_as: 64_496,
        vlan: 100,
        sampling_interval: 1000,
        source_mac: [2, 0, 0, 0, 0, 0x11],
        destination_mac: [2, 0, 0, 0, 0, 0x22],
        ..FlowRecord::default()
    };
    assert_eq!(flows[0].record, expected);
    assert_eq!((flows[0].version, flows[0].source_id), (105, 3));
    let others: Vec<_> = flows[0].others.iter().collect();
    let other = |enterprise, element, octets: &'static [u8]| Other {
        enterprise,
        element,
        octets,
    };
    assert_eq!(
        others,
        [other(0, 59, &[0, 200]), other(14_706, 1007, &[0, 0, 0, 9])]
    );
}

/// A rate of 0 is none: what was said on the command line holds.
#[test]
fn a_rate_that_is_not_told_is_the_collectors() {
    let sample_at = |rate| {
        let taken = Taken { rate, ..TAKEN };
        let header = made::header_record(1, 1518, &made::frame(1, 1234));
        datagram(1, 5000, &[made::flow_sample(&taken, &[header])])
    };
    for (default_one_in, rate, expected) in [(1, 0, 1), (100, 0, 100), (100, 1, 1), (100, 7, 7)] {
        let mut exporters = Exporters::new(Settings {
            default_one_in,
            ..Settings::default()
        });
        let flows = take(&mut exporters, NOW_NS, &sample_at(rate));
        assert_eq!(flows[0].record.sampling_interval, expected, "{rate}");
    }
}

#[test]
fn fields_do_where_there_is_no_header_and_what_is_not_ip_is_counted() {
    let mut arp = made::frame(1, 1);
    (arp[16], arp[17]) = (0x08, 0x06);
    let v6: [(Ipv6Addr, u16); 2] = [
        ("2001:db8::1".parse().unwrap(), 1),
        ("::1".parse().unwrap(), 2),
    ];
    let of = |records: &[Vec<u8>]| made::flow_sample(&TAKEN, records);
    let samples = [
        of(&[made::ipv6_record(60, v6)]),
        of(&[made::header_record(1, 64, &arp)]),
        of(&[]),
        of(&[made::header_record(4, 64, &[0; 64])]),
        of(&[made::header_record(11, 1500, &made::frame(2, 7)[18..])]),
        made::counter_sample(1, 5),
        made::framed(4413 << 12, &[]),
        made::framed(1, &[0; 4]),
    ];
    let mut exporters = exporters();
    let flows = take(&mut exporters, NOW_NS, &datagram(1, 5000, &samples));
    let octets: Vec<_> = flows.iter().map(|flow| flow.record.octets).collect();
    assert_eq!(octets, [60, 1500]);
    assert!(flows[0].record.v6 && !flows[1].record.v6);
    let counted = exporters.statistics;
    assert_eq!((counted.flow_samples, counted.samples_not_ip), (5, 3));
    assert_eq!(
        counted.records,
        counted.flow_samples - counted.samples_not_ip
    );
    assert_eq!(
        (
            counted.counter_samples,
            counted.other_samples,
            counted.malformed_samples
        ),
        (1, 1, 1)
    );
}

/// Fault case C15: a gap and a late one, a copy, and a new boot; samples by their own numbers.
#[test]
fn c15_lost_datagrams_and_samples_are_told_and_a_restart_is_none() {
    let mut exporters = exporters();
    let send = |exporters: &mut Exporters, sequence: u32, second: u32, numbers: [u32; 2]| {
        let samples = numbers.map(|number| sample(number, 1));
        let at_ns = NOW_NS + u64::from(second) * 1000 * MS_NS;
        take(
            exporters,
            at_ns,
            &datagram(sequence, 100_000 + 1000 * second, &samples),
        );
    };
    for (sequence, second) in [(1, 0), (2, 1), (4, 3), (3, 2), (6, 5), (6, 5)] {
        send(
            &mut exporters,
            sequence,
            second,
            [2 * sequence, 2 * sequence + 1],
        );
    }
    let told = |exporters: &Exporters| {
        let account = account(exporters);
        [
            "lost",
            "reordered",
            "duplicated",
            "restarts",
            "samples_lost",
        ]
        .map(|name| account[name].as_u64().unwrap())
    };
    assert_eq!(account(&exporters)["lost_unit"], "datagrams");
    assert_eq!(account(&exporters)["sampling_one_in"]["interface 5"], 1000);
    assert_eq!(told(&exporters), [1, 1, 1, 0, 2]);
    assert_eq!(exporters.lost(), (0, 1));
    // Uptime and numbers begin anew.
    for (sequence, uptime_ms, second) in [(1, 1000, 60), (2, 2000, 61), (3, 3000, 62)] {
        let samples = [sample(sequence, 1)];
        let at_ns = NOW_NS + second * 1000 * MS_NS;
        take(
            &mut exporters,
            at_ns,
            &datagram(sequence, uptime_ms, &samples),
        );
    }
    assert_eq!(told(&exporters), [1, 1, 1, 1, 2]);
}

/// A datagram from before the first one, and one so far ahead that it is doubtful until the next agrees: their
/// samples did arrive.
#[test]
fn c15_samples_of_late_and_of_doubtful_datagrams_hide_and_make_no_loss() {
    let mut exporters = exporters();
    for (sequence, second) in [(11, 11), (10, 10), (13, 13), (10_000, 20), (10_001, 21)] {
        let at_ns = NOW_NS + u64::from(second) * 1000 * MS_NS;
        let octets = datagram(sequence, 100_000 + 1000 * second, &[sample(sequence, 1)]);
        take(&mut exporters, at_ns, &octets);
    }
    let account = account(&exporters);
    let of = |name: &str| account[name].as_u64().unwrap();
    // 12, and 14 to 9,999.
    assert_eq!((of("lost"), of("samples_lost")), (9_987, 9_987));
    assert_eq!((of("doubtful"), of("reordered"), of("samples")), (0, 1, 5));
}

/// One exporter's sources that are too many are counted. Those of all are bounded, too, and the ones of exporters that
/// were not heard the longest make room: nobody keeps others from having theirs accounted.
#[test]
fn sources_are_bounded_over_all_exporters() {
    let settings = Settings {
        sources_max: 300,
        exporters_max: 3,
        ..Settings::default()
    };
    let mut exporters = Exporters::new(settings);
    let mut sequence = 0;
    let mut send = |exporters: &mut Exporters, number: u8, ifindexes: std::ops::Range<u32>| {
        let of = |ifindex| made::flow_sample(&Taken { ifindex, ..TAKEN }, &[]);
        let samples: Vec<_> = ifindexes.map(of).collect();
        let source = Source {
            address: Ipv4Addr::new(192, 0, 2, number).to_ipv6_mapped(),
            ..source()
        };
        sequence += 1;
        let octets = datagram(sequence, 5000, &samples);
        exporters
            .datagram(&octets, &source, NOW_NS, &mut Vec::new())
            .unwrap();
        let counted = exporters.statistics;
        (counted.samples_unnumbered, counted.sources_forgotten)
    };
    let sources = |exporters: &Exporters| -> Vec<_> {
        let accounts = exporters.accounts();
        let of = accounts
            .iter()
            .map(|(_, account)| account["sources"].as_u64());
        of.map(Option::unwrap).collect()
    };
    assert_eq!(send(&mut exporters, 1, 0..20), (0, 0));
    assert_eq!(send(&mut exporters, 2, 0..250), (0, 0));
    assert_eq!(send(&mut exporters, 1, 0..20), (0, 0));
    // 300 are all there may be; the second one was not heard the longest.
    assert_eq!(send(&mut exporters, 3, 0..30), (0, 0));
    assert_eq!(send(&mut exporters, 3, 30..31), (0, 250));
    assert_eq!(sources(&exporters), [20, 0, 31]);
    assert_eq!(send(&mut exporters, 1, 0..300), (44, 250));
    // An exporter that goes gives its own back.
    assert_eq!(send(&mut exporters, 4, 0..10), (44, 250));
    assert_eq!(sources(&exporters), [256, 31, 10]);
}

/// A boot shows also by datagrams of which nothing else is used.
#[test]
fn sources_of_before_a_boot_leave_their_room_whatever_shows_it() {
    let mut exporters = Exporters::new(Settings {
        sources_max: 1,
        ..Settings::default()
    });
    let at_ns = |second: u32| NOW_NS + u64::from(second) * 1000 * MS_NS;
    let before = datagram(100, 100_000, &[sample(1, 1)]);
    take(&mut exporters, at_ns(0), &before);
    for second in [1, 2] {
        let mut octets = datagram(second, 1000 * second, &[]);
        // A sample that is not there.
        octets[27] = 1;
        let refused = exporters.datagram(&octets, &source(), at_ns(60 + second), &mut Vec::new());
        assert!(
            matches!(refused, Err(Refused::Malformed(Malformed::Sample { .. }))),
            "{refused:?}"
        );
    }
    let after = datagram(3, 3000, &[sample(1, 1)]);
    take(&mut exporters, at_ns(63), &after);
    let account = account(&exporters);
    assert_eq!(
        (&account["restarts"], &account["sources"]),
        (&Value::from(1), &Value::from(1))
    );
    assert_eq!(exporters.statistics.samples_unnumbered, 0);
}

/// The uptime wraps after 49.7 days.
#[test]
fn c15_a_wrap_of_the_uptime_is_no_restart() {
    let mut exporters = exporters();
    for second in 0..20u32 {
        let uptime_ms = 0u32.wrapping_sub(10_000).wrapping_add(1000 * second);
        let at_ns = NOW_NS + u64::from(second) * 1000 * MS_NS;
        let octets = datagram(u32::MAX.wrapping_add(second), uptime_ms, &[]);
        take(&mut exporters, at_ns, &octets);
    }
    let account = account(&exporters);
    for name in ["lost", "reordered", "duplicated", "restarts", "doubtful"] {
        assert_eq!(account[name], 0, "{name}");
    }
}

/// Fault cases C1 and C3.
#[test]
fn c01_c03_other_versions_and_what_goes_beyond_are_refused() {
    let mut exporters = exporters();
    let mut refused = |octets: &[u8]| {
        let result = exporters.datagram(octets, &source(), NOW_NS, &mut Vec::new());
        result.unwrap_err()
    };
    let version = Refused::Malformed(Malformed::Version { version: 0 });
    assert_eq!(refused(&[0, 0, 0, 4, 0, 0, 0, 1]), version);
    let octets = datagram(1, 1, &[sample(1, 1)]);
    let beyond = refused(&octets[..octets.len() - 1]);
    assert!(matches!(
        beyond,
        Refused::Malformed(Malformed::Sample { number: 0, .. })
    ));
    assert_eq!(
        refused(&octets[..20]),
        Refused::Malformed(Malformed::TooShort { octets: 20 })
    );
    // That which has a number was heard.
    assert_eq!(exporters.heard_count(), 1);
    assert_eq!(
        (
            exporters.statistics.malformed,
            exporters.statistics.unknown_version
        ),
        (2, 1)
    );
}

/// Fault case C2: a datagram whose samples go beyond it did arrive. Its samples did not.
#[test]
fn c02_a_datagram_that_was_cut_off_is_malformed_and_not_lost() {
    let mut exporters = exporters();
    for number in 1..=4 {
        let octets = datagram(number, 5000 + number, &[sample(number, 1)]);
        let at_ns = NOW_NS + u64::from(number) * MS_NS;
        if number == 2 {
            let cut_off = &octets[..octets.len() - 4];
            let taken = exporters.datagram(cut_off, &source(), at_ns, &mut Vec::new());
            taken.unwrap_err();
        } else {
            assert_eq!(take(&mut exporters, at_ns, &octets).len(), 1);
        }
    }
    assert_eq!(exporters.statistics.malformed, 1);
    let account = account(&exporters);
    let of = |name: &str| account[name].as_u64().unwrap();
    assert_eq!((of("datagrams"), of("lost"), of("samples_lost")), (4, 0, 1));
}

/// Version 1 has no numbers: what was lost is not known, which is not 0.
#[test]
fn what_v1_lost_is_not_known() {
    let header = v1::Header {
        count: 1,
        time: weir_netflow::ExportTime {
            unix_ns: NOW_NS,
            uptime_ms: 1000,
        },
    };
    let mut octets = v1::encode_header(&header).to_vec();
    v1::encode_record(&mut octets, &FlowRecord::default(), &header.time);
    assert!(fixed::decode(&octets).is_ok());
    let mut exporters = exporters();
    assert_eq!(take(&mut exporters, NOW_NS, &octets).len(), 1);
    let account = account(&exporters);
    for name in ["lost", "lost_unit", "reordered", "duplicated", "restarts"] {
        assert_eq!(account[name], Value::Null, "{name}");
    }
    assert_eq!(account["datagrams"], 1);
}
