//! Exporters and templates without end: memory does not grow, and who is known stays known.

use weir_collector::{
    exporter::TEMPLATES_MAX,
    exporters::{Exporters, Settings},
    shards::Shards,
};

use crate::{
    FLOWS_V4, NOW_NS, datagram, exporters, flow, flow_template, packets, set, source, take,
    template,
};

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
    assert_eq!(exporters.accounts()[0].1["templates"], 64);
}

/// Each takes some room, however few fields it has.
#[test]
fn c11_templates_of_many_exporters_take_a_bounded_room() {
    for (fields, template_fields_max) in [(984, 100_000), (1, 1700)] {
        let settings = Settings {
            template_fields_max,
            ..Settings::default()
        };
        let mut exporters = Exporters::new(settings);
        let fields: Vec<_> = (0..fields).map(|_| (8, 4)).collect();
        for number in 0..500 {
            let octets = datagram(0, 0, &[template(256, &fields)]);
            take(&mut exporters, &source(number), NOW_NS, &octets);
        }
        assert_eq!(exporters.heard_count(), 100);
    }
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
