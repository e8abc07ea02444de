//! What is told besides records, between them.

use std::collections::HashMap;

use weir_netflow::{
    announce, ipfix,
    set::{Definition, Set},
    template::Template,
    v9,
};

use super::*;

fn said() -> Announcement {
    let interfaces = (1..=100).map(|ifindex| announce::Interface {
        ifindex,
        name: format!("eth{ifindex}"),
        description: format!("port {ifindex}"),
    });
    Announcement {
        records: 7,
        interfaces: interfaces.collect(),
        ..Announcement::default()
    }
}

/// Fault case X4: announcements between datagrams of flows, also while one is open, in as many
/// datagrams as they take.
#[test]
fn x04_announcements_have_numbers_of_their_own() {
    for (version, octets_max) in [
        (Version::V9, 1432),
        (Version::V9, 512),
        (Version::Ipfix, 1432),
        (Version::Ipfix, 512),
    ] {
        let mut batcher = Batcher::new(BatchOptions {
            datagram_octets_max: octets_max,
            ..BatchOptions::new(version)
        });
        let mut datagrams = Vec::new();
        for number in 1..=100 {
            datagrams.extend(batcher.push(&flow(number), &at(number)));
            if number % 40 == 5 {
                let mut parts = batcher.parts(&said());
                while let Some(datagram) = batcher.announce(&mut parts, &at(number)) {
                    assert_eq!(datagram.tally, Tally::default());
                    datagrams.push(datagram);
                }
            }
        }
        datagrams.extend(batcher.flush(&at(100)));
        let (mut known, mut expected) = (HashMap::new(), 0);
        let (mut announced, mut flows, mut longest) = (0, 0, 0);
        for Datagram { octets, .. } in &datagrams {
            longest = longest.max(octets.len());
            let (sets, sequence, claimed) = if version == Version::V9 {
                let header = v9::decode_header(octets).unwrap();
                let sets = v9::decode_sets(octets).unwrap();
                (sets, header.sequence, Some(usize::from(header.count)))
            } else {
                let sequence = ipfix::decode_header(octets).unwrap().sequence;
                (ipfix::decode_sets(octets).unwrap(), sequence, None)
            };
            let (mut defined, mut records) = (0, 0);
            for set in sets {
                match set {
                    Set::Templates(new) => {
                        defined += new.len();
                        let new = new.iter().filter_map(Definition::template);
                        known.extend(new.map(|one| (one.id(), one.clone())));
                    }
                    Set::Data { id, octets } => {
                        let template: &Template = &known[&id];
                        let count = template.record_count(octets).unwrap();
                        records += count;
                        if template.is_options() {
                            // How packets were chosen comes with the templates, and is no announcement.
                            let of_sampling =
                                |record| options::read(template, record).sampling.is_some();
                            let mut records = template.records(octets);
                            announced += if records.any(of_sampling) { 0 } else { count };
                        } else {
                            flows += count;
                        }
                    }
                    Set::Reserved => panic!("a reserved set"),
                }
            }
            assert_eq!(sequence as usize, expected, "{version:?}");
            expected += if version == Version::V9 { 1 } else { records };
            assert!(claimed.is_none_or(|count| count == defined + records));
        }
        assert_eq!((announced, flows), (3 * (3 + 100 + 100), 100));
        assert!(longest <= octets_max && longest > octets_max / 2);
    }
}

#[test]
fn an_announcement_that_was_taken_back_leaves_its_number() {
    for version in [Version::V9, Version::Ipfix] {
        let mut batcher = Batcher::new(BatchOptions::new(version));
        assert!(batcher.push(&flow(1), &at(1)).is_none());
        let mut parts = batcher.parts(&said());
        let datagram = batcher.announce(&mut parts, &at(1)).unwrap();
        assert_eq!(batcher.take_back(datagram, 700), [flow(1)]);
        assert_eq!(batcher.sequence, 0);
        let datagram = batcher.announce(&mut parts, &at(1)).unwrap();
        assert!(datagram.octets.len() <= 700);
    }
    let mut without = Batcher::new(BatchOptions::new(Version::V5));
    let mut parts = without.parts(&said());
    assert!(without.announce(&mut parts, &at(1)).is_none());
}
