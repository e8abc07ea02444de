//! Datagrams nobody meant: a clear error or records, bounded work, never a panic.

use proptest::prelude::*;
use weir_netflow::{v5, v9};

fn decode_v9(datagram: &[u8]) {
    let Ok(header) = v9::decode_header(datagram) else {
        return;
    };
    let Ok(sets) = v9::decode_sets(datagram) else {
        return;
    };
    let templates: Vec<_> = sets
        .iter()
        .filter_map(|set| match set {
            v9::Set::Templates(templates) => Some(templates.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    for set in &sets {
        if let v9::Set::Data { octets, .. } = set {
            for template in &templates {
                let records = v9::records(template, octets, &header).count();
                assert!(records <= octets.len());
                let _ = v9::sampling_interval(template, octets);
            }
        }
    }
}

proptest! {
    #[test]
    fn any_octets(octets in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = v5::decode(&octets).map(|datagram| datagram.records().count());
        decode_v9(&octets);
    }

    /// Sets whose headers are plausible and whose bodies are anything.
    #[test]
    fn plausible_sets(
        sets in prop::collection::vec(
            (prop::sample::select(vec![0u16, 1, 2, 256, 1024]), prop::collection::vec(0u8..20, 0..60), -3i32..4),
            0..8,
        ),
    ) {
        let mut datagram = vec![0, 9, 0, 1];
        datagram.resize(20, 0);
        for (id, body, error) in sets {
            let length = i32::try_from(body.len() + 4).unwrap_or(0) + error;
            datagram.extend_from_slice(&id.to_be_bytes());
            datagram.extend_from_slice(&u16::try_from(length).unwrap_or(0).to_be_bytes());
            datagram.extend_from_slice(&body);
        }
        decode_v9(&datagram);
    }
}
