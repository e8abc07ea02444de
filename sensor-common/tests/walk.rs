//! The header walk on octets nobody meant: it ends, and what it says is consistent.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;
use weir_sensor_common::{
    Unmetered,
    fragment::{self, Memory},
    packet::Captured,
    tunnel::{self, Tunnels},
    walk,
};

fn frame(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn walked(frame: &[u8]) -> Result<walk::Walked, Unmetered> {
    walk::ethernet(&Captured::whole(frame))
}

const V4_UDP: [u8; 28] = [
    0x45, 0xb8, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, // version to checksum
    192, 0, 2, 1, 198, 51, 100, 7, // addresses
    0x12, 0x34, 0, 53, 0, 8, 0, 0, // UDP
];

proptest! {
    #[test]
    fn any_octets_end_the_walk(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = walked(&octets);
    }

    #[test]
    fn plausible_frames_end_the_walk(
        ethertype in prop::sample::select(vec![0x0800u16, 0x86dd, 0x8100, 0x88a8, 0x8847, 0x8864, 40]),
        octets in prop::collection::vec(prop::sample::select(vec![0u8, 1, 4, 0x45, 0x60, 0x81, 6, 17, 43, 44, 51, 60, 255]), 0..300),
    ) {
        let _ = walked(&frame(ethertype, &octets));
    }

    /// The short way knows no packet that the long way sees otherwise.
    #[test]
    fn both_ways_agree(
        start in prop::sample::select(vec![[0x45u8, 0, 0, 33], [0x45, 7, 0, 34], [0x45, 0, 5, 220], [0x46, 0, 0, 60], [0x45, 0, 0, 0]]),
        fragment in prop::sample::select(vec![[0u8, 0], [0x40, 0], [0x20, 0], [0, 1], [0x60, 9]]),
        protocol in prop::sample::select(vec![1u8, 6, 17, 47, 132]),
        rest in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let header = [&start[..], &[1, 2], &fragment, &[64, protocol, 0, 0], &rest].concat();
        let frame = frame(0x0800, &header);
        if let Some(plain) = walk::plain_v4(&Captured::whole(&frame)) {
            prop_assert_eq!(Ok(plain), walked(&frame));
        }
    }

    /// Every cut of a good packet is either the same flow, one without ports, or too short.
    #[test]
    fn a_cut_packet_keeps_its_addresses(cut in 0usize..42) {
        let whole = frame(0x0800, &V4_UDP);
        let expected = walked(&whole).unwrap();
        match walked(&whole[..cut]) {
            Ok(walked) => {
                prop_assert!(cut >= 34);
                prop_assert_eq!(walked.key.source, expected.key.source);
                prop_assert_eq!(walked.octets, 28);
            }
            Err(reason) => prop_assert_eq!(reason, Unmetered::TooShort),
        }
    }
}

#[test]
fn the_short_way_is_taken() {
    for protocol in [6, 17] {
        let mut packet = V4_UDP;
        (packet[3], packet[9]) = (60, protocol);
        let frame = frame(0x0800, &[&packet[..], &[0x5a; 40]].concat());
        let plain = walk::plain_v4(&Captured::whole(&frame)).unwrap();
        assert_eq!(Ok(plain), walked(&frame));
        assert_eq!(plain.tcp_flags, if protocol == 6 { 0x5a } else { 0 });
    }
}

#[test]
fn a_packet_is_the_same_flow_whatever_carries_it() {
    let plain = walked(&frame(0x0800, &V4_UDP)).unwrap();
    assert_eq!(
        (
            plain.key.source_port(),
            plain.key.destination_port(),
            plain.key.tos()
        ),
        (0x1234, 53, 0xb8)
    );
    let wrappings: [(u16, Vec<u8>); 6] = [
        (0x8100, vec![0x20, 100, 0x08, 0]),
        (0x88a8, vec![0, 5, 0x91, 0, 0, 6, 0x81, 0, 0, 7, 0x08, 0]),
        (0x8847, vec![0, 1, 0x10, 64, 0, 1, 0x11, 64]),
        (0x8864, vec![0x11, 0, 0, 1, 0, 30, 0, 0x21]),
        (0x8864, vec![0x11, 0, 0, 1, 0, 29, 0x21]),
        (36, vec![0xaa, 0xaa, 3, 0, 0, 0, 8, 0]),
    ];
    for (ethertype, wrapping) in wrappings {
        let found = walked(&frame(ethertype, &[&wrapping[..], &V4_UDP].concat())).unwrap();
        assert_eq!(found.octets, plain.octets, "{ethertype:#x}");
        assert_eq!(
            found.key.words()[..4],
            plain.key.words()[..4],
            "{ethertype:#x}"
        );
        assert_eq!(found.key.destination_port(), 53, "{ethertype:#x}");
    }
    let tagged = walked(&frame(
        0x8100,
        &[&[0xe0, 100, 0x08, 0][..], &V4_UDP].concat(),
    ))
    .unwrap();
    assert_eq!(tagged.key.vlan(), 100);
}

#[test]
fn repetitions_are_bounded() {
    let tags = [0x00, 0x01, 0x81, 0x00].repeat(walk::VLAN_TAGS_MAX + 1);
    assert_eq!(walked(&frame(0x8100, &tags)), Err(Unmetered::TooDeep));
    let labels = [0, 0, 0, 64].repeat(walk::MPLS_LABELS_MAX + 1);
    assert_eq!(walked(&frame(0x8847, &labels)), Err(Unmetered::TooDeep));
    let mut packet = vec![0x60, 0, 0, 0, 0x04, 0, 60, 64];
    packet.extend_from_slice(&[7; 32]);
    packet.extend_from_slice(&[60, 0, 0, 0, 0, 0, 0, 0].repeat(128));
    let chained = walked(&frame(0x86dd, &packet)).unwrap();
    assert_eq!(
        (
            chained.key.protocol(),
            chained.octets,
            chained.key.destination_port()
        ),
        (60, 1064, 0)
    );
}

/// RFC 8200 section 4.5: options may stand before the fragment header, in every piece, and behind it, in the first
/// one. A later piece then names options as its protocol, and belongs to the first one's flow all the same.
#[test]
fn pieces_belong_together_whatever_options_are_around_the_fragment_header() {
    const UDP: u8 = 17;
    const FRAGMENT: u8 = 44;
    const OPTIONS: u8 = 60;
    let v6 = |next: u8, parts: &[&[u8]]| {
        let payload = parts.concat();
        let [high, low] = u16::try_from(payload.len()).unwrap().to_be_bytes();
        let header = [0x60, 0, 0, 0, high, low, next, 64];
        frame(0x86dd, &[&header[..], &[7; 32], &payload].concat())
    };
    let options = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let piece = |next: u8, offset_and_more: u8| [next, 0, 0, offset_and_more, 0, 0, 0, 9];
    for before in [false, true] {
        for behind in [false, true] {
            let (ahead, next) = if before {
                (options(FRAGMENT).to_vec(), OPTIONS)
            } else {
                (Vec::new(), FRAGMENT)
            };
            let (begins_with, within) = if behind {
                (OPTIONS, options(UDP).to_vec())
            } else {
                (UDP, Vec::new())
            };
            let first = v6(next, &[&ahead, &piece(begins_with, 1), &within, &udp(53)]);
            let later = v6(next, &[&ahead, &piece(begins_with, 80), &[0xff; 80]]);
            let (first, mut later) = (walked(&first).unwrap(), walked(&later).unwrap());
            let ports = (first.key.source_port(), first.key.destination_port());
            assert_eq!((first.key.protocol(), ports), (UDP, (0x9999, 53)));
            assert_eq!(later.key.destination_port(), 0);
            let (keeps, kept) = fragment::memory(&first);
            let (recalls, recalled) = fragment::memory(&later);
            assert_eq!((keeps, recalls), (Memory::Keep, Memory::Recall));
            assert_eq!(kept, recalled, "{before} {behind}");
            fragment::inherit(&mut later, fragment::transport(&first));
            assert_eq!(later.key, first.key, "{before} {behind}");
        }
    }
    // IPv4 identifies pieces by their protocol as well (RFC 791 section 3.2).
    let mut tcp = V4_UDP;
    (tcp[6], tcp[9]) = (0x20, 6);
    let mut pieces = [V4_UDP, tcp].map(|packet| walked(&frame(0x0800, &packet)).unwrap());
    pieces[0].fragment = pieces[1].fragment;
    let [udp, tcp] = pieces.map(|piece| fragment::memory(&piece));
    assert_ne!(udp.1, tcp.1);
}

fn through(frame: &[u8], tunnels: Tunnels) -> walk::Walked {
    let packet = Captured::whole(frame);
    let network = walk::ethernet_link(&packet).unwrap();
    tunnel::walk(&packet, network, tunnels).unwrap()
}

/// An IPv4 packet around another header and payload.
fn around(protocol: u8, parts: &[&[u8]]) -> Vec<u8> {
    let payload = parts.concat();
    let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut packet = vec![
        0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, protocol, 0, 0,
    ];
    packet.extend_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend_from_slice(&payload);
    packet
}

fn udp(port: u16) -> [u8; 8] {
    let [high, low] = port.to_be_bytes();
    [0x99, 0x99, high, low, 0, 60, 0, 0]
}

/// Each kind, its IP protocol, and what follows the outer IP header.
fn tunnels(ethernet: &[u8]) -> [(Tunnels, u8, Vec<u8>); 9] {
    [
        (Tunnels::IPIP, 4, V4_UDP.to_vec()),
        (Tunnels::GRE, 47, [&[0, 0, 8, 0][..], &V4_UDP].concat()),
        (
            Tunnels::GRE,
            47,
            [&[0xb0, 0, 0x65, 0x58][..], &[0; 12], ethernet].concat(),
        ),
        (
            Tunnels::GRE,
            47,
            [&[0, 0, 0x88, 0x47, 0, 1, 0x11, 64][..], &V4_UDP].concat(),
        ),
        (
            Tunnels::VXLAN,
            17,
            [&udp(4789)[..], &[8, 0, 0, 0, 0, 0, 7, 0], ethernet].concat(),
        ),
        (
            Tunnels::GENEVE,
            17,
            [
                &udp(6081)[..],
                &[2, 0, 0x65, 0x58, 0, 0, 7, 0],
                &[0; 8],
                ethernet,
            ]
            .concat(),
        ),
        (
            Tunnels::GENEVE,
            17,
            [&udp(6081)[..], &[0, 0, 8, 0, 0, 0, 7, 0], &V4_UDP].concat(),
        ),
        (
            Tunnels::GTPU,
            17,
            [&udp(2152)[..], &[0x30, 0xff, 0, 28, 0, 0, 0, 1], &V4_UDP].concat(),
        ),
        (
            Tunnels::GTPU,
            17,
            [
                &udp(2152)[..],
                &[0x34, 0xff, 0, 36, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 0, 0],
                &V4_UDP,
            ]
            .concat(),
        ),
    ]
}

#[test]
fn each_tunnel_is_entered_on_request_only() {
    let ethernet = frame(0x0800, &V4_UDP);
    let plain = walked(&ethernet).unwrap();
    for (tunnel, protocol, header) in tunnels(&ethernet) {
        let outside = around(protocol, &[&header]);
        let frame = frame(0x0800, &outside);
        let inside = through(&frame, tunnel);
        assert_eq!(
            (inside.key, inside.octets),
            (plain.key, 28),
            "{tunnel:?} {header:?}"
        );
        let others = Tunnels(0x1f ^ tunnel.0);
        assert_eq!(
            through(&frame, others).key.protocol(),
            protocol,
            "{tunnel:?}"
        );
        // In one another; and whatever is cut off, the walk ends.
        let twice = around(4, &[&outside]);
        let all = Tunnels(0x1f);
        assert_eq!(through(&self::frame(0x0800, &twice), all).key, plain.key);
        for cut in 34..frame.len() {
            let _ = through(&frame[..cut], all);
        }
    }
}
