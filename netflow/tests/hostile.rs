//! Datagrams nobody meant: a clear error or records, bounded work, never a panic.

use proptest::prelude::*;
use weir_netflow::{
    Malformed, TimeBase, data, fixed, ipfix, options,
    set::{Definition, Set},
    template::{Field, Template, VARIABLE},
    v9,
};

const BASE: TimeBase = TimeBase {
    export_ns: 1_700_000_000_000_000_000,
    uptime_ms: Some(5000),
};

/// Reads everything by every template there is.
fn read_all(sets: &Result<Vec<Set<'_>>, Malformed>) {
    let sets = sets.as_deref().unwrap_or_default();
    let definitions = sets.iter().filter_map(|set| match set {
        Set::Templates(found) => Some(found),
        _ => None,
    });
    let templates = definitions.flatten().filter_map(Definition::template);
    let templates: Vec<_> = templates.collect();
    for set in sets {
        if let Set::Data { octets, .. } = set {
            for template in &templates {
                read_by(template, octets);
            }
        }
    }
}

fn read_by(template: &Template, octets: &[u8]) {
    let mut count = 0;
    for record in data::records(template, octets, BASE) {
        count += 1;
        assert!(record.flow.start_ns <= record.flow.end_ns);
        assert!(record.flow.sampling_interval > 0);
        let reverse = record.reverse();
        assert!(reverse.is_none_or(|flow| flow.start_ns <= flow.end_ns));
        assert!(record.aside().count() <= Template::FIELDS_MAX);
    }
    assert!(count <= octets.len());
    // None: the last record goes beyond the set.
    assert!(
        template
            .record_count(octets)
            .is_none_or(|whole| whole == count)
    );
    for record in template.records(octets) {
        let said = options::read(template, record);
        if let Some(interface) = said.interface {
            assert!(!options::text(interface.name).contains(char::is_control));
        }
    }
}

fn read_fixed(octets: &[u8]) {
    if let Ok(datagram) = fixed::decode(octets) {
        let mut count = 0;
        datagram.for_each(|flow| {
            count += 1;
            assert!(flow.start_ns <= flow.end_ns);
        });
        assert_eq!(count, datagram.count);
    }
}

fn any_field() -> impl Strategy<Value = Field> {
    let enterprise = prop::sample::select(vec![0, 0, 0, 29_305, 9]);
    let octets = prop_oneof![0..20u16, Just(VARIABLE)];
    (enterprise, 1..400u16, octets).prop_map(|(enterprise, element, octets)| Field {
        enterprise,
        element,
        octets,
    })
}

proptest! {
    #[test]
    fn any_octets(octets in prop::collection::vec(any::<u8>(), 0..2000)) {
        read_fixed(&octets);
        read_all(&v9::decode_sets(&octets));
        read_all(&ipfix::decode_sets(&octets));
    }

    /// Headers that are right, and then anything.
    #[test]
    fn any_body(
        version in prop::sample::select(vec![1u8, 5, 7, 8]),
        aggregation in 0u8..16,
        body in prop::collection::vec(any::<u8>(), 24..2000),
    ) {
        let mut octets = vec![0, version];
        octets.extend_from_slice(&body);
        if version == 8 {
            octets[22..24].copy_from_slice(&[aggregation, 2]);
        }
        read_fixed(&octets);
    }

    /// Sets whose headers are plausible and whose bodies are anything.
    #[test]
    fn plausible_sets(
        sets in prop::collection::vec(
            (
                prop::sample::select(vec![0u16, 1, 2, 3, 256, 1024]),
                prop::collection::vec(0u8..20, 0..60),
                -3i32..4,
            ),
            0..8,
        ),
    ) {
        let mut body = Vec::new();
        for (id, octets, error) in sets {
            let length = i32::try_from(octets.len() + 4).unwrap_or(0) + error;
            body.extend_from_slice(&id.to_be_bytes());
            body.extend_from_slice(&u16::try_from(length).unwrap_or(0).to_be_bytes());
            body.extend_from_slice(&octets);
        }
        let mut datagram = vec![0, 9];
        datagram.resize(v9::HEADER_OCTETS, 0);
        datagram.extend_from_slice(&body);
        read_all(&v9::decode_sets(&datagram));
        let length = u16::try_from(ipfix::HEADER_OCTETS + body.len()).unwrap_or(0);
        let mut message = vec![0, 10];
        message.extend_from_slice(&length.to_be_bytes());
        message.resize(ipfix::HEADER_OCTETS, 0);
        message.extend_from_slice(&body);
        read_all(&ipfix::decode_sets(&message));
    }

    /// Templates that can be, of elements that mean something, over any octets.
    #[test]
    fn any_template(
        fields in prop::collection::vec(any_field(), 1..40),
        scope in prop::option::of(0usize..4),
        octets in prop::collection::vec(any::<u8>(), 0..1500),
    ) {
        if let Ok(template) = Template::new(256, scope, fields) {
            read_by(&template, &octets);
        }
    }
}
