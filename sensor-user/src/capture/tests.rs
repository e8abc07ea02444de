use weir_sensor_common::FlowKey;

use super::*;

/// A UDP datagram of 33 octets, from port 4660 to 53.
const V4: [u8; 33] = [
    0x45, 0, 0, 33, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x34, 0, 53, 0, 13,
    0, 0, 1, 2, 3, 4, 5,
];

fn walk_behind(link: i32, header: &[u8], packet: &[u8]) -> Result<Walked, Unmetered> {
    let octets = [header, packet].concat();
    let frame = Frame {
        captured: Captured::whole(&octets),
        link: Linktype(link),
        unix_ns: 0,
    };
    let walked = walk(&frame, Tunnels::NONE);
    assert!(supported(&frame));
    walked
}

/// Whether that datagram is found behind a header.
fn assert_found(link: i32, header: &[u8]) {
    let found = walk_behind(link, header, &V4).map(|walked| (walked.key, walked.octets));
    let key = FlowKey {
        source: FlowKey::v4_mapped([192, 0, 2, 1]),
        destination: FlowKey::v4_mapped([192, 0, 2, 2]),
        attributes: FlowKey::pack(0x1234, 53, number::UDP, 0, 0),
    };
    assert_eq!(found, Ok((key, 33)), "link type {link}, {header:02x?}");
}

#[test]
fn ppp_is_framed_as_hdlc_or_as_cisco_has_it_or_not_at_all() {
    for link in [9, 50] {
        assert_found(link, &[0xff, 3, 0, 0x21]);
        assert_found(link, &[0, 0x21]);
        assert_found(link, &[0x21]);
        assert_found(link, &[0x0f, 0, 0x08, 0]);
        assert_found(link, &[0x8f, 0, 0x08, 0]);
        // Its keepalives.
        let found = walk_behind(link, &[0x8f, 0, 0x80, 0x35], &V4);
        assert_eq!(found, Err(Unmetered::NonIp));
    }
}

#[test]
fn files_may_begin_in_the_middle_of_what_links_put_around_a_packet() {
    assert_found(51, &[0x11, 0, 0, 7, 0, 35, 0, 0x21]);
    assert_found(100, &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]);
    assert_found(219, &[0, 1, 0, 64, 0, 2, 0x01, 64]);
    for direction in [0, 1] {
        assert_found(204, &[direction, 0xff, 3, 0, 0x21]);
        assert_found(205, &[direction, 0x0f, 0, 8, 0]);
        assert_found(206, &[direction, 0x18, 0x41, 3, 0xcc]);
    }
    let ethernet = [&[0xee_u8; 16][..], &[8, 0]].concat();
    assert_found(240, &ethernet);
    // What they have besides IP.
    let others: [(i32, &[u8]); 4] = [
        (51, &[0x11, 0, 0, 7, 0, 35, 0xc0, 0x21]),
        (100, &[0xfe, 0xfe, 3, 0x83]),
        (219, &[0, 1, 0x01, 64, 0, 0, 0, 0]),
        (204, &[0, 0xff, 3, 0xc0, 0x21]),
    ];
    for (link, header) in others {
        let found = walk_behind(link, header, &V4);
        assert_eq!(found, Err(Unmetered::NonIp), "link type {link}");
    }
    assert_eq!(walk_behind(219, &[0; 3], &[]), Err(Unmetered::TooShort));
}

#[test]
fn frames_with_a_switch_chips_tag_or_of_infiniband_have_an_ethertype_behind_it() {
    for (link, before) in [(242, 40), (281, 16), (282, 16), (284, 16), (285, 20)] {
        let start = vec![0xee_u8; before];
        let payload = if link == 242 { 4 } else { 2 };
        assert_found(link, &[&start[..], &[8, 0, 0, 0][..payload]].concat());
    }
    let tagged = [&[0xee_u8; 16][..], &[0x81, 0, 0, 7, 8, 0]].concat();
    let found = walk_behind(284, &tagged, &V4);
    assert_eq!(found.map(|walked| walked.key.vlan()), Ok(7));
}

#[test]
fn what_other_systems_put_before_a_packet_is_passed_over() {
    assert_found(109, &[0xee; 12]);
    assert_found(226, &[0xee; 24]);
    // A header of 61 octets, filled up.
    assert_found(117, &[&[61_u8, 2][..], &[0xee; 62]].concat());
    let fddi = [&[0x50_u8][..], &[0xee; 12], &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]].concat();
    assert_found(10, &fddi);
    let found = walk_behind(10, &fddi[..13], &V4);
    assert_eq!(found, Err(Unmetered::NonIp), "no LLC");
}

/// On Ethernet tags stand before LLC; these have no place there.
#[test]
fn behind_llc_of_other_link_layers_there_may_be_tags_or_a_bridged_frame() {
    let links = [
        (10, vec![0x50; 13]),
        (100, Vec::new()),
        (105, [&[8_u8, 1][..], &[0; 22]].concat()),
    ];
    let (tag, untagged) = ([0, 7, 8, 0], [8, 0]);
    for (link, start) in links {
        let snap = |organisation: [u8; 3], number: [u8; 2]| {
            [&start[..], &[0xaa, 0xaa, 3], &organisation, &number].concat()
        };
        let tagged = [&snap([0; 3], [0x81, 0])[..], &tag].concat();
        let found = walk_behind(link, &tagged, &V4);
        assert_eq!(found.map(|walked| walked.key.vlan()), Ok(7), "{link}");
        for kind in [1, 7] {
            let header = snap([0, 0x80, 0xc2], [0, kind]);
            let frame = [&header[..], &[0; 2], &[0xee; 12], &untagged].concat();
            assert_found(link, &frame);
            let found = walk_behind(link, &frame[..header.len() + 13], &[]);
            assert_eq!(found, Err(Unmetered::TooShort), "{link}");
        }
        // A bridge's own messages, and what another organisation numbers.
        for header in [snap([0, 0x80, 0xc2], [0, 14]), snap([0, 0, 12], [0x20, 0])] {
            assert_eq!(walk_behind(link, &header, &V4), Err(Unmetered::NonIp));
        }
    }
    assert_found(100, &[0xfe, 0xfe, 3, 0xcf, 0, 0x21]);
}

#[test]
fn frame_relay_has_a_protocol_or_an_ethertype() {
    let addresses: [&[u8]; 2] = [&[0x18, 0x41], &[0x18, 0x40, 0x02, 0x81]];
    for address in addresses {
        let behinds: [&[u8]; 4] = [
            &[3, 0xcc],
            &[3, 0, 0xcc],
            &[3, 0, 0x80, 0, 0, 0, 8, 0],
            &[8, 0],
        ];
        for behind in behinds {
            assert_found(107, &[address, behind].concat());
        }
        let ppp = &[3, 0xcf, 0, 0x21][..];
        assert_found(107, &[address, ppp].concat());
        let bridged = &[3, 0, 0x80, 0, 0x80, 0xc2, 0, 7][..];
        assert_found(107, &[address, bridged, &[0xee; 12], &[8, 0]].concat());
        // Link management, and a bridged frame of FDDI.
        let others: [&[u8]; 2] = [&[3, 8], &[3, 0, 0x80, 0, 0x80, 0xc2, 0, 4]];
        for behind in others {
            let found = walk_behind(107, &[address, behind].concat(), &V4);
            assert_eq!(found, Err(Unmetered::NonIp), "{behind:02x?}");
        }
    }
    assert_eq!(
        walk_behind(107, &[0x18, 0x40, 0x02, 0x80, 3, 0xcc], &V4),
        Err(Unmetered::NonIp),
        "an address without an end"
    );
}

/// An 802.11 header of so many octets, and LLC with an EtherType.
fn wireless_header(kind: u8, flags: u8, octets: usize) -> Vec<u8> {
    let mut header = vec![0; octets];
    header[..2].copy_from_slice(&[kind, flags]);
    header.extend([0xaa, 0xaa, 3, 0, 0, 0, 8, 0]);
    header
}

#[test]
fn data_over_wireless_is_read_if_it_is_neither_encrypted_nor_several_frames() {
    for (kind, flags, octets) in [
        (0x08, 0x01, 24),
        (0x08, 0x03, 30),
        (0x88, 0x02, 26),
        (0x88, 0x82, 30),
        (0x88, 0x03, 32),
    ] {
        assert_found(105, &wireless_header(kind, flags, octets));
    }
    // Management, nothing but a header, encrypted.
    for (kind, flags) in [(0x80, 0), (0x48, 0), (0x08, 0x40)] {
        let found = walk_behind(105, &wireless_header(kind, flags, 24), &V4);
        assert_eq!(found, Err(Unmetered::NonIp), "{kind:02x} {flags:02x}");
    }
    let mut several = wireless_header(0x88, 0, 26);
    several[24] = 0x80;
    assert_eq!(walk_behind(105, &several, &V4), Err(Unmetered::NonIp));
}

#[test]
fn what_the_radio_says_tells_whether_headers_are_padded() {
    let quality = wireless_header(0x88, 0x02, 26);
    let padded = wireless_header(0x88, 0x02, 28);
    // No field; flags alone; a timer before them; behind two words of fields.
    let radios = [
        vec![0, 0, 8, 0, 0, 0, 0, 0],
        vec![0, 0, 9, 0, 2, 0, 0, 0, 0x10],
        [&[0_u8, 0, 17, 0, 3, 0, 0, 0][..], &[0xff; 8], &[0x10]].concat(),
        [
            &[0_u8, 0, 25, 0, 3, 0, 0, 0x80, 1, 0, 0, 0][..],
            &[0xff; 12],
            &[0x10],
        ]
        .concat(),
    ];
    for (mut radio, has_flags) in radios.into_iter().zip([false, true, true, true]) {
        assert_found(127, &[&radio[..], &quality].concat());
        if has_flags {
            *radio.last_mut().unwrap() |= 0x20;
            assert_found(127, &[&radio[..], &padded].concat());
        }
    }
    // Words of fields without an end.
    let endless = [&[0_u8, 0, 0xff, 0xff][..], &[0xff; 400]].concat();
    assert_eq!(walk_behind(127, &endless, &V4), Err(Unmetered::TooShort));
}

#[test]
fn before_wireless_frames_drivers_put_headers_of_their_own() {
    let frame = wireless_header(0x08, 0x01, 24);
    let prism = [&[0x44_u8, 0, 0, 0, 144, 0, 0, 0][..], &[0; 136]].concat();
    let avs = [&[0x80_u8, 0x21, 0x10, 1, 0, 0, 0, 64][..], &[0; 56]].concat();
    for (link, header) in [(119, &prism), (119, &avs), (163, &avs)] {
        assert_found(link, &[&header[..], &frame].concat());
    }
    // A length beyond all that was captured.
    let mut endless = [&avs[..], &frame, &V4].concat();
    endless[4..8].fill(0xff);
    let cut = Frame {
        captured: Captured::whole(&endless),
        link: Linktype(163),
        unix_ns: 0,
    };
    assert!(!supported(&cut));
}

#[test]
fn token_rings_frames_may_have_a_route() {
    let begin = |control: u8, source: u8| {
        [&[0x10, control][..], &[0xee; 6], &[source, 0, 0, 0, 0, 1]].concat()
    };
    let snap = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0];
    assert_found(6, &[&begin(0x40, 2)[..], &snap].concat());
    let route = [0x06, 0x30, 0, 1, 0, 2];
    let routed = [&begin(0x40, 0x82)[..], &route, &snap].concat();
    assert_found(6, &routed);
    let found = walk_behind(6, &routed[..14], &[]);
    assert_eq!(found, Err(Unmetered::TooShort), "no route");
    // The ring's own frames.
    let found = walk_behind(6, &[&begin(0, 2)[..], &snap].concat(), &V4);
    assert_eq!(found, Err(Unmetered::NonIp));
}

#[test]
fn the_payload_is_found_among_netfilters_attributes() {
    let little = [2, 0, 0, 0, 9, 0, 10, 0, b'e', b't', b'h', b'0', 0, 0, 0, 0];
    let big = [2, 0, 0, 0, 0, 9, 0, 10, b'e', b't', b'h', b'0', 0, 0, 0, 0];
    assert_found(239, &[&little[..], &[37, 0, 9, 0]].concat());
    assert_found(239, &[&big[..], &[0, 37, 0, 9]].concat());
    // A VLAN, which is attributes within one (19), and a mark (3) whose number is said to be big-endian.
    let little_flags = [
        12, 0, 19, 0x80, 8, 0, 1, 0, 8, 0, 0, 0, 8, 0, 3, 0x40, 0, 0, 0, 7,
    ];
    let big_flags = [
        0, 12, 0x80, 19, 0, 8, 0, 1, 8, 0, 0, 0, 0, 8, 0x40, 3, 0, 0, 0, 7,
    ];
    assert_found(239, &[&little[..], &little_flags, &[37, 0, 9, 0]].concat());
    assert_found(239, &[&big[..], &big_flags, &[0, 37, 0, 9]].concat());
    assert_found(239, &[&little[..], &[37, 0, 9, 0x80]].concat());
    assert_found(239, &[&big[..], &[0, 37, 0x80, 9]].concat());
    let found = walk_behind(239, &little, &[]);
    assert_eq!(found, Err(Unmetered::TooShort), "no payload");
    let found = walk_behind(239, &[2, 0, 0, 0, 0, 0, 1, 0], &V4);
    assert_eq!(
        found,
        Err(Unmetered::NonIp),
        "an attribute without a length"
    );
}

#[test]
fn the_link_layer_may_be_named_by_the_frame_itself() {
    let ethernet = [&[0xee_u8; 12][..], &[8, 0]].concat();
    let information = |link: u8| [0, 0, 12, 0, link, 0, 0, 0, 0xee, 0xee, 0xee, 0xee];
    assert_found(192, &[&information(1)[..], &ethernet].concat());
    assert_found(
        192,
        &[&information(105)[..], &wireless_header(8, 0, 24)].concat(),
    );
    let mut tap = [0_u8; 108];
    tap[..9].copy_from_slice(&[108, 0, 0, 0, 1, 0, 0, 0, 1]);
    for link in [149, 258] {
        assert_found(link, &[&tap[..], &ethernet].concat());
    }
    // No packet follows; what is named is unknown, or is not there.
    tap[4] = 0;
    let without = [&tap[..], &ethernet, &V4].concat();
    let unknown = information(231);
    let others: [(i32, &[u8]); 3] = [(149, &without), (192, &unknown), (192, &[0; 4])];
    for (link, octets) in others {
        let frame = Frame {
            captured: Captured::whole(octets),
            link: Linktype(link),
            unix_ns: 0,
        };
        assert!(!supported(&frame));
        assert_eq!(walk(&frame, Tunnels::NONE), Err(Unmetered::NonIp));
        assert_eq!(extra(&frame, Fields::MAC), Extra::default());
    }
}
