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
    assert!(supported(frame.link));
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
