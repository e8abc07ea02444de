//! Datagrams of the generator, read.

use proptest::prelude::*;
use weir_tests::sflow::{self as made, Taken};

use super::*;
use crate::FlowRecord;

const HEADER: made::Header = made::Header {
    agent: Ipv4Addr::new(192, 0, 2, 9),
    sub_agent: 3,
    sequence: 77,
    uptime_ms: 5000,
};
const TAKEN: Taken = Taken {
    sequence: 9,
    ifindex: 5,
    rate: 1000,
    drops: 2,
    interfaces: [5, 6],
};
const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const DESTINATION: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

fn datagram(samples: &[Vec<u8>]) -> Vec<u8> {
    made::datagram(&HEADER, samples)
}

/// The only sample of a datagram.
fn flow_sample(octets: &[u8]) -> FlowSample<'_> {
    let mut samples = decode(octets).unwrap().samples();
    match (samples.next(), samples.next()) {
        (Some(Sample::Flow(sample)), None) => sample,
        other => panic!("{other:?}"),
    }
}

#[test]
fn golden_header() {
    #[rustfmt::skip]
    let octets = [
        0, 0, 0, 5,         // version
        0, 0, 0, 1,         // address type
        192, 0, 2, 9,       // agent
        0, 0, 0, 3,         // sub-agent
        0, 0, 0, 77,        // sequence
        0, 0, 0x13, 0x88,   // 5000 ms
        0, 0, 0, 0,         // samples
    ];
    assert_eq!(datagram(&[]), octets);
    let header = decode(&octets).unwrap().header;
    let expected = Header {
        agent: mapped([192, 0, 2, 9]),
        sub_agent: 3,
        sequence: 77,
        uptime_ms: 5000,
        samples: 0,
    };
    assert_eq!(header, expected);
    assert!(is_version(&octets) && !is_version(&octets[1..]) && !is_version(&[0, 0, 0]));
}

#[test]
fn fields_of_a_packet_fill_a_flow() {
    let ends = [(SOURCE, 1234), (DESTINATION, 443)];
    let records = [
        made::ipv4_record(1500, ends),
        made::record(made::EXTENDED_SWITCH, &[100, 0, 200, 0]),
        made::record(
            made::EXTENDED_ROUTER,
            &[1, u32::from(Ipv4Addr::new(192, 0, 2, 254)), 24, 25],
        ),
        // Next hop, own AS, source, its peer; a path of a sequence and a set; communities, preference.
        made::record(
            made::EXTENDED_GATEWAY,
            &[
                1,
                SOURCE.to_bits(),
                64_496,
                64_497,
                64_498,
                2,
                2,
                2,
                7,
                8,
                1,
                1,
                9,
                0,
                100,
            ],
        ),
    ];
    for octets in [
        datagram(&[made::flow_sample(&TAKEN, &records)]),
        datagram(&[made::expanded_flow_sample(&TAKEN, &records)]),
    ] {
        let sample = flow_sample(&octets);
        let expected = FlowRecord {
            source: mapped(SOURCE.octets()),
            destination: mapped(DESTINATION.octets()),
            next_hop: mapped([192, 0, 2, 254]),
            bgp_next_hop: mapped(SOURCE.octets()),
            source_port: 1234,
            destination_port: 443,
            protocol: 6,
            tos: 0xb8,
            tcp_flags: 0x12,
            octets: 1500,
            packets: 1,
            ingress_ifindex: 5,
            egress_ifindex: 6,
            source_as: 64_497,
            destination_as: 9,
            source_mask: 24,
            destination_mask: 25,
            vlan: 100,
            sampling_interval: 1000,
            ..FlowRecord::default()
        };
        assert_eq!(sample.flow, expected);
        assert!(sample.is_ip && sample.header.is_none());
        assert_eq!((sample.sequence, sample.drops), (9, 2));
        assert_eq!(sample.source, DataSource { class: 0, index: 5 });
        assert_eq!((sample.post_vlan, sample.aside().count()), (200, 0));
    }
}

/// An agent says 0, and an empty path, of what its own AS originates.
#[test]
fn what_is_of_no_other_as_is_of_the_agents() {
    for (source, path, expected) in [
        (0, vec![0], (64_496, 64_496)),
        (0, vec![1, 2, 1, 7], (64_496, 7)),
        (64_497, vec![0], (64_497, 64_496)),
    ] {
        // Next hop, own AS, source, its peer; the path; no communities, preference.
        let words = [vec![1, 0, 64_496, source, 0], path, vec![0, 0]].concat();
        let record = made::record(made::EXTENDED_GATEWAY, &words);
        let octets = datagram(&[made::flow_sample(&TAKEN, &[record])]);
        let flow = flow_sample(&octets).flow;
        assert_eq!((flow.source_as, flow.destination_as), expected);
    }
}

#[test]
fn headers_and_what_is_not_known_are_lent() {
    let frame = made::frame(1, 1234);
    let records = [
        made::header_record(1, 1518, &frame),
        made::record(1007, &[1, 2]),
        made::record(4413 << 12 | 1, &[7]),
    ];
    let octets = datagram(&[made::flow_sample(&TAKEN, &records)]);
    let sample = flow_sample(&octets);
    let expected = SampledHeader {
        protocol: 1,
        wire_octets: 1518,
        octets: &frame,
    };
    assert_eq!(sample.header, Some(expected));
    assert!(!sample.is_ip);
    let aside: Vec<_> = sample
        .aside()
        .map(|record| (record.enterprise, record.format, record.octets.len()))
        .collect();
    assert_eq!(aside, [(PEN, 1007, 8), (4413, 1, 4)]);
}

#[test]
fn interfaces_that_are_none_are_unknown() {
    let of = |word| {
        let taken = Taken {
            interfaces: [word, 7],
            ..TAKEN
        };
        let octets = datagram(&[made::flow_sample(&taken, &[])]);
        flow_sample(&octets).flow.ingress_ifindex
    };
    // Discarded, several, the switch itself.
    let found = [12, 0x4000_0002, 0x8000_0003, 0x3fff_ffff].map(of);
    assert_eq!(found, [12, 0, 0, 0]);
}

#[test]
fn other_samples_are_told_apart() {
    let samples = [
        made::counter_sample(1, 5),
        made::framed(5, &[0; 8]),
        made::framed(4413 << 12 | 1, &[]),
        made::flow_sample(&TAKEN, &[]),
    ];
    let octets = datagram(&samples);
    let found: Vec<_> = decode(&octets).unwrap().samples().collect();
    assert!(
        matches!(
            found[..],
            [
                Sample::Counters,
                Sample::Other,
                Sample::Other,
                Sample::Flow(_)
            ]
        ),
        "{found:?}"
    );
}

/// Fault case C3.
#[test]
fn c03_a_sample_beyond_the_datagram_spoils_it() {
    let mut octets = datagram(&[made::counter_sample(1, 5), made::counter_sample(2, 5)]);
    let second = 28 + 20;
    octets[second + 7] += 1;
    let expected = Malformed::Sample {
        number: 1,
        offset: second,
    };
    assert_eq!(decode(&octets).unwrap_err(), expected);
    // More samples than there are.
    octets[second + 7] -= 1;
    octets[27] = 3;
    assert!(matches!(
        decode(&octets).unwrap_err(),
        Malformed::Sample { number: 2, .. }
    ));
    octets[24..28].fill(0xff);
    decode(&octets).unwrap_err();
}

/// Fault case C6: a length in a record that goes beyond it spoils the sample, not those beside it.
#[test]
fn c06_a_record_beyond_its_sample_spoils_the_sample() {
    let long = made::record(made::SAMPLED_HEADER, &[1, 64, 0, 0xffff_fff0]);
    let path = made::record(made::EXTENDED_GATEWAY, &[1, 0, 1, 1, 1, 0xffff_ffff]);
    let sound = made::flow_sample(&TAKEN, &[made::ipv4_record(40, [(SOURCE, 1); 2])]);
    for record in [
        long,
        path,
        made::framed(1, &[0; 3]),
        vec![0, 0, 0, 1, 0, 0, 0, 9],
    ] {
        let octets = datagram(&[made::flow_sample(&TAKEN, &[record]), sound.clone()]);
        let found: Vec<_> = decode(&octets).unwrap().samples().collect();
        assert!(
            matches!(found[..], [Sample::Malformed, Sample::Flow(_)]),
            "{found:?}"
        );
    }
}

proptest! {
    #[test]
    fn anything_is_samples_or_an_error(octets in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut octets = octets;
        for claimed in [None, Some([0, 0, 0, 1])] {
            if octets.len() >= 28 {
                octets[..8].copy_from_slice(&[0, 0, 0, 5, 0, 0, 0, 1]);
                if let Some(claimed) = claimed {
                    octets[24..28].copy_from_slice(&claimed);
                }
            }
            if octets.len() >= 36 && claimed.is_some() {
                let left = u32::try_from(octets.len() - 36).unwrap_or(0);
                octets[28..32].copy_from_slice(&[0, 0, 0, 1]);
                octets[32..36].copy_from_slice(&left.to_be_bytes());
            }
            let Ok(datagram) = decode(&octets) else { continue };
            for sample in datagram.samples() {
                if let Sample::Flow(sample) = sample {
                    prop_assert!(sample.flow.sampling_interval > 0);
                    prop_assert!(sample.aside().count() <= octets.len());
                }
            }
        }
    }
}
