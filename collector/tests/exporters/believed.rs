//! Whose datagrams are taken, and what of them is believed.

use std::net::Ipv6Addr;

use weir_collector::{
    exporters::{Exporters, Refused, Settings, Source},
    shards::Shards,
};
use weir_netflow::low32;

use crate::{
    FLOWS_V4, NOW_NS, SECOND_NS, datagram, exporters, flow, flow_template, set, source, take,
    template,
};

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
