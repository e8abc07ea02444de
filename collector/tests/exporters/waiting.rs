//! Data that comes before its template waits for it, within bounds.

use std::time::{Duration, Instant};

use weir_collector::{
    exporter::{LATE_RECORDS_MAX, WAITING_MAX_NS, WAITING_OCTETS_MAX},
    exporters::{Exporters, Settings},
};

use weir_netflow::{Sampling, v9};

use crate::{
    NOW_NS, SECOND_NS, datagram, exporters, flow, flow_template, packets, set, source, take,
    template,
};

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
    // What waited comes after all that its datagram says.
    assert_eq!(packets(&flows), [4, 1, 2, 3]);
    // Each was received when it was received.
    let received: Vec<_> = flows.iter().map(|flow| flow.received_ns - NOW_NS).collect();
    assert_eq!(received, [SECOND_NS, 0, 0, SECOND_NS]);
    let counted = exporters.statistics;
    assert_eq!((counted.records, counted.late_template_sets), (4, 3));
    exporters.finish();
    assert_eq!(exporters.statistics.unknown_template_sets, 0);
}

/// Exporters begin with all they have to say: templates, then the rate, in one datagram.
#[test]
fn c12_data_that_waited_has_the_rate_that_came_with_its_template() {
    let mut exporters = exporters();
    let early = datagram(0, 0, &[flow(1)]);
    assert!(take(&mut exporters, &source(1), NOW_NS, &early).is_empty());
    let sampling = Sampling {
        interval: 100,
        random: false,
    };
    let mut octets = datagram(0, 1, &[flow_template()]);
    v9::encode_sampling(&mut octets, &sampling, 0);
    let mut flows = Vec::new();
    exporters
        .datagram(&octets, &source(1), NOW_NS, &mut flows)
        .unwrap();
    let rates = flows.iter().map(|flow| flow.record.sampling_interval);
    assert_eq!(rates.collect::<Vec<_>>(), [100]);
}

/// The rate may have come before all templates did.
#[test]
fn c12_options_that_waited_are_read_before_data_that_did() {
    let mut exporters = exporters();
    let sampling = Sampling {
        interval: 100,
        random: false,
    };
    let mut options = Vec::new();
    v9::encode_sampling(&mut options, &sampling, 0);
    // A set of the template, and one of data.
    let length = usize::from(u16::from_be_bytes([options[2], options[3]]));
    let data = options.split_off(length);
    for (sequence, early) in [flow(1), data].into_iter().enumerate() {
        let octets = datagram(0, u32::try_from(sequence).unwrap(), &[early]);
        assert!(take(&mut exporters, &source(1), NOW_NS, &octets).is_empty());
    }
    let mut flows = Vec::new();
    let octets = datagram(0, 2, &[flow_template(), options]);
    exporters
        .datagram(&octets, &source(1), NOW_NS, &mut flows)
        .unwrap();
    let rates = flows.iter().map(|flow| flow.record.sampling_interval);
    assert_eq!(rates.collect::<Vec<_>>(), [100]);
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
