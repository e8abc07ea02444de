//! Templates: whose they are, what is read by them, and that they outlive the process.

use weir_collector::{
    exporters::{Exporters, Settings, Source},
    shards::Shards,
};

use crate::{
    NOW_NS, datagram, exporters, flow, flow_template, packets, set, source, take, template,
};

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
