//! What is read beside the key: as the headers have it, in agreement with the walk, and from octets
//! nobody meant, too.

use proptest::prelude::*;
use weir_sensor_common::{
    Extra, Fields, FlowKey,
    extra::{self, LABELS_MAX},
    packet::Captured,
    tunnel::{self, Tunnels},
    walk,
};

const ALL: Fields = Fields(0x1f);
const DESTINATION: [u8; 6] = [2, 0, 0, 0, 0, 0xdd];
const SOURCE: [u8; 6] = [2, 0, 0, 0, 0, 0x55];

const V4_UDP: [u8; 28] = [
    0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, // version to checksum
    192, 0, 2, 1, 198, 51, 100, 7, // addresses
    0x12, 0x34, 0, 53, 0, 8, 0, 0, // UDP
];

fn v6_udp() -> Vec<u8> {
    let mut packet = vec![0x6a, 0xbc, 0xde, 0xf1, 0, 8, 17, 64];
    packet.extend_from_slice(&[0x20; 16]);
    packet.extend_from_slice(&[0x21; 16]);
    packet.extend_from_slice(&V4_UDP[20..]);
    packet
}

/// A frame: what stands between the MAC addresses and the packet, and the packet.
fn frame(between: &[u8], packet: &[u8]) -> Vec<u8> {
    [&DESTINATION[..], &SOURCE, between, packet].concat()
}

fn read(frame: &[u8]) -> Extra {
    extra::read(&Captured::whole(frame), false, 0, ALL)
}

fn v4(address: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = address;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

#[test]
fn ethernet() {
    let frame = frame(&[8, 0], &V4_UDP);
    let found = read(&frame);
    assert_eq!(
        (found.source_mac(), found.destination_mac()),
        (SOURCE, DESTINATION)
    );
    assert_eq!((found.inner_vlan, found.labels), (0, [[0; 3]; LABELS_MAX]));
    let key = walk::ethernet(&Captured::whole(&frame)).unwrap().key;
    assert_eq!(
        [found.outer_source, found.outer_destination],
        [key.source, key.destination]
    );
    assert_eq!(found.tunnel(&key), None, "no tunnel was entered");
    // Nothing is read that was not asked for.
    let none = extra::read(&Captured::whole(&frame), false, 0, Fields::NONE);
    assert_eq!(none, Extra::default());
    // Without a link layer there are no MAC addresses.
    let raw = extra::read(&Captured::whole(&V4_UDP), true, 0, ALL);
    let expected = Extra {
        macs: [0; 3],
        ..found
    };
    assert_eq!(raw, expected);
}

#[test]
fn vlan_tags() {
    let tagged = frame(&[0x81, 0, 0x20, 100, 8, 0], &V4_UDP);
    let stacked = frame(&[0x88, 0xa8, 0x20, 100, 0x81, 0, 0xe1, 7, 8, 0], &V4_UDP);
    let of = |frame: &[u8], stripped| {
        let extra = extra::read(&Captured::whole(frame), false, stripped, ALL);
        (extra.inner_vlan != 0, extra.inner_vlan_id())
    };
    assert_eq!(of(&tagged, 0), (false, 0));
    assert_eq!(of(&stacked, 0), (true, 0x107));
    // The card took one more out.
    let stripped = 5 | FlowKey::TAGGED;
    assert_eq!(of(&tagged, stripped), (true, 100));
    assert_eq!(of(&stacked, stripped), (true, 100));
    assert_eq!(of(&frame(&[8, 0], &V4_UDP), stripped), (false, 0));
    // A priority tag is a tag, of id 0.
    let priority = frame(&[0x81, 0, 0, 9, 0x81, 0, 0xe0, 0, 8, 0], &V4_UDP);
    assert_eq!(of(&priority, 0), (true, 0));
}

#[test]
fn mpls_labels() {
    let labels = [
        [0x12u8, 0x34, 0x50, 64],
        [0, 1, 0, 64],
        [0, 2, 0, 64],
        [0, 3, 0, 64],
        [0, 4, 1, 64],
    ];
    for depth in 1..=labels.len() {
        let mut stack: Vec<u8> = labels[..depth].concat();
        stack[4 * depth - 2] |= 1;
        let between = [&[0x88, 0x47][..], &stack].concat();
        let found = read(&frame(&between, &V4_UDP));
        let expected: Vec<u32> = stack
            .chunks(4)
            .map(|entry| u32::from_be_bytes([0, entry[0], entry[1], entry[2]]))
            .chain([0; LABELS_MAX])
            .take(LABELS_MAX)
            .collect();
        assert_eq!(found.label_entries()[..], expected);
        // By way of PPPoE, the same.
        let session = [&[0x88, 0x64, 0x11, 0, 0, 1, 0, 40, 0x02, 0x81][..], &stack].concat();
        let by_ppp = read(&frame(&session, &V4_UDP));
        assert_eq!(by_ppp.labels, found.labels);
        assert_eq!(by_ppp.outer_source, found.outer_source);
    }
}

#[test]
fn the_flow_label_is_of_the_header_that_the_key_is_of() {
    let packet = v6_udp();
    let plain = frame(&[0x86, 0xdd], &packet);
    let walked = walk::ethernet(&Captured::whole(&plain)).unwrap();
    assert_eq!((walked.flow_label, walked.key.tos()), (0xc_def1, 0xab));
    // IPv6 in IPv4.
    let mut outside = V4_UDP[..20].to_vec();
    (outside[3], outside[9]) = (68, 41);
    let tunnelled = frame(&[8, 0], &[outside, packet].concat());
    let captured = Captured::whole(&tunnelled);
    let network = walk::ethernet_link(&captured).unwrap();
    let outer = tunnel::walk(&captured, network, Tunnels::NONE).unwrap();
    let inner = tunnel::walk(&captured, network, Tunnels::IPIP).unwrap();
    assert_eq!((outer.flow_label, inner.flow_label), (0, 0xc_def1));
    let found = read(&tunnelled);
    assert_eq!(found.tunnel(&outer.key), None);
    let endpoints = (v4([192, 0, 2, 1]), v4([198, 51, 100, 7]));
    assert_eq!(found.tunnel(&inner.key), Some(endpoints));
}

/// In VXLAN: the frame that was seen is the outer one; so are its MAC addresses and tags.
#[test]
fn the_outer_frame_is_the_one_that_was_seen() {
    let mut inside = frame(&[0x81, 0, 0, 9, 0x86, 0xdd], &v6_udp());
    inside[..12].fill(0xee);
    let length = u8::try_from(36 + inside.len()).unwrap();
    let mut packet = V4_UDP.to_vec();
    packet[3] = length;
    packet[22..26].copy_from_slice(&[0x12, 0xb5, 0, length - 20]);
    packet.extend_from_slice(&[8, 0, 0, 0, 0, 0, 7, 0]);
    packet.extend_from_slice(&inside);
    let whole = frame(&[0x88, 0xa8, 0, 3, 0x81, 0, 0, 4, 8, 0], &packet);
    let captured = Captured::whole(&whole);
    let network = walk::ethernet_link(&captured).unwrap();
    let inner = tunnel::walk(&captured, network, Tunnels::VXLAN).unwrap();
    assert_eq!(
        (inner.key.source_octets(), inner.key.vlan()),
        ([0x20; 16], 9)
    );
    let found = read(&whole);
    assert_eq!((found.source_mac(), found.inner_vlan_id()), (SOURCE, 4));
    let endpoints = (v4([192, 0, 2, 1]), v4([198, 51, 100, 7]));
    assert_eq!(found.tunnel(&inner.key), Some(endpoints));
}

/// Whatever is cut off, what is read is what the whole frame says, or nothing.
#[test]
fn a_cut_frame_says_nothing_else() {
    let betweens: [&[u8]; 5] = [
        &[8, 0],
        &[0x88, 0xa8, 0, 3, 0x81, 0, 0, 4, 8, 0],
        &[0x88, 0x47, 0, 1, 0, 64, 0, 2, 1, 64],
        &[0x86, 0xdd],
        &[0, 36, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0],
    ];
    for between in betweens {
        let packet = if between == [0x86, 0xdd] {
            v6_udp()
        } else {
            V4_UDP.to_vec()
        };
        let frame = frame(between, &packet);
        let whole = read(&frame);
        for cut in 0..frame.len() {
            let found = read(&frame[..cut]);
            assert!(found.macs == whole.macs || (cut < 12 && found.macs == [0; 3]));
            assert!([0, whole.inner_vlan].contains(&found.inner_vlan));
            assert!(found.labels == whole.labels || found.labels == [[0; 3]; LABELS_MAX]);
            assert!([[0; 2], whole.outer_source].contains(&found.outer_source));
            assert!([[0; 2], whole.outer_destination].contains(&found.outer_destination));
        }
    }
}

proptest! {
    #[test]
    fn any_octets_are_read(
        octets in prop::collection::vec(any::<u8>(), 0..200),
        raw in any::<bool>(),
        stripped in prop::sample::select(vec![0u16, FlowKey::TAGGED | 7]),
        which in 0u8..32,
    ) {
        let _ = extra::read(&Captured::whole(&octets), raw, stripped, Fields(which));
    }

    /// Where the walk finds an IP packet, its addresses, its tag and the second one are those read
    /// here; and fields do not depend on which others are asked for.
    #[test]
    fn it_agrees_with_the_walk(
        tags in prop::collection::vec((prop::sample::select(vec![0x8100u16, 0x88a8, 0x9100]), any::<u16>()), 0..10),
        labels in prop::collection::vec(any::<u32>(), 0..6),
        v6 in any::<bool>(),
        noise in prop::collection::vec((0usize..80, any::<u8>()), 0..3),
        cut in 0usize..120,
    ) {
        let mut between = Vec::new();
        for (ethertype, tci) in &tags {
            between.extend_from_slice(&ethertype.to_be_bytes());
            between.extend_from_slice(&tci.to_be_bytes());
        }
        between.extend_from_slice(match (labels.is_empty(), v6) {
            (false, _) => &[0x88, 0x47],
            (true, false) => &[8, 0],
            (true, true) => &[0x86, 0xdd],
        });
        for (index, label) in labels.iter().enumerate() {
            let bottom = u32::from(index + 1 == labels.len()) << 8;
            between.extend_from_slice(&(label & !0x100 | bottom).to_be_bytes());
        }
        let mut octets = frame(&between, &if v6 { v6_udp() } else { V4_UDP.to_vec() });
        for (at, octet) in noise {
            if let Some(place) = octets.get_mut(at) {
                *place = octet;
            }
        }
        octets.truncate(octets.len().saturating_sub(cut / 4));
        let captured = Captured::whole(&octets);
        let found = extra::read(&captured, false, 0, ALL);
        if let Ok(walked) = walk::ethernet(&captured) {
            prop_assert_eq!(found.outer_source, walked.key.source);
            prop_assert_eq!(found.outer_destination, walked.key.destination);
            let layers = walk::ethernet_layers(&captured).unwrap();
            prop_assert_eq!(layers.network.vlan & 0x0fff, walked.key.vlan());
            prop_assert_eq!(found.inner_vlan, layers.inner_vlan);
            if layers.labels_offset != 0 {
                prop_assert_eq!(&found.labels[0][..], &octets[layers.labels_offset..][..3]);
            }
        }
        for which in (0..5).map(|bit| Fields(1 << bit)) {
            let one = extra::read(&captured, false, 0, which);
            let kept = |field: Fields| which == field;
            let expected = Extra {
                macs: if kept(Fields::MAC) { found.macs } else { [0; 3] },
                inner_vlan: if kept(Fields::INNER_VLAN) { found.inner_vlan } else { 0 },
                labels: if kept(Fields::MPLS) { found.labels } else { [[0; 3]; LABELS_MAX] },
                ..Extra::default()
            };
            let outer = if kept(Fields::OUTER) { found } else { Extra::default() };
            let expected = Extra {
                outer_source: outer.outer_source,
                outer_destination: outer.outer_destination,
                ..expected
            };
            prop_assert_eq!(one, expected);
        }
    }
}
