//! S1 to S8, S12 and S13: frames of every kind, and what is counted of them.

use std::{
    io,
    io::Write as _,
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use weir_netflow::Direction;
use weir_tests::{traffic, wire};

use super::{A, B, TCP, UDP, WAYS, cut, meter, patched, plain, sorted, udp, v4, v6};
use crate::world::{COLLECTOR, Sink, World, expect, inside, ip, of, send_from};

#[test]
fn s01_mpls_stack_without_bottom_ends() {
    let mpls = |labels: usize, bottom: u8, rest: &[u8]| {
        let stack = patched(vec![0; 4 * labels], 4 * labels - 2, &[bottom]);
        traffic::ethernet(None, 0x8847, &[&stack[..], rest].concat())
    };
    let frames = [
        mpls(300, 0, &[]),
        mpls(256, 1, &plain()),
        mpls(10, 0, &[]),
        mpls(3, 1, &plain()),
    ];
    let expected =
        "too_deep_packets=20 too_short_packets=10 ip_packets=10 ip_octets=1000 records=1";
    meter(&World::new("s1"), WAYS, "", &frames, expected);
}

#[test]
fn s02_ipv6_header_chains_end_with_the_last_known_protocol() {
    // Extension headers of eight octets; the first octet names the next one.
    let chain = |headers: usize, next: u8, last: u8| {
        let chain = [next, 0, 1, 4, 0, 0, 0, 0].repeat(headers);
        patched(chain, 8 * (headers - 1), &[last])
    };
    let jumbo = [&[UDP, 0, 0xc2, 4, 0, 1, 0x11, 0x70][..], &udp(72)].concat(); // 70,000 octets
    let fragment = [&[UDP, 0, 0, 0, 0, 0, 0, 9][..], &udp(72)].concat();
    let frames = [
        v6(60, &[chain(175, 60, UDP), udp(0)].concat()),
        v6(0, &chain(100, 0, 0)),
        v6(60, &chain(1, UDP, UDP)),
        patched(v6(0, &jumbo), 18, &[0, 0]),
        v6(44, &fragment),
    ];
    let octets = 5 * 40 + 176 * 8 + 800 + 8 + 70_000 + 88;
    let expected = format!("ip_packets=50 ip_octets={} records=4", 10 * octets);
    for (way, records) in meter(&World::new("s2"), WAYS, "", &frames, &expected) {
        let flows = records.iter().map(|flow| (flow.protocol, flow.source_port));
        let expected = [(0, 0), (UDP, 0), (UDP, 1000), (60, 0)];
        assert_eq!(sorted(flows), expected, "{way}");
    }
}

#[test]
fn s03_ip_headers_that_contradict_themselves_are_counted() {
    let frames = [
        v4(&patched(plain(), 0, &[0x44])),       // IHL below 5
        v4(&patched(plain(), 0, &[0x65])),       // another version
        v4(&patched(plain(), 2, &[0, 10])),      // total length below the header's
        patched(v6(UDP, &udp(72)), 14, &[0x45]), // another version
        v4(&patched(plain(), 2, &[0xea, 0x60])), // total length 60,000, beyond the frame
        v4(&patched(plain(), 2, &[0, 0])),       // total length 0: the frame tells
    ];
    let expected = "bad_ip_packets=40 ip_packets=20 ip_octets=601000";
    meter(&World::new("s3"), WAYS, "", &frames, expected);
}

#[test]
fn s04_truncated_headers_cost_ports_and_runts_are_counted() {
    let frames = [
        v4(&traffic::ipv4(A, B, UDP, &[3, 0xe8])),
        v4(&traffic::ipv4(A, B, TCP, &[3, 0xe8, 0, 53])),
        cut(&v4(&plain()), 24),
        cut(&v6(UDP, &udp(0)), 53),
        cut(&v4(&plain()), 14),
    ];
    let world = World::new("s4");
    let expected = "too_short_packets=30 ip_packets=20 records=2";
    for (way, records) in meter(&world, WAYS, "", &frames, expected) {
        let flows = records.iter().map(|flow| (flow.protocol, flow.source_port));
        assert_eq!(sorted(flows), [(TCP, 1000), (UDP, 0)], "{way}");
    }
    // A frame whose tag is cut is dropped by the stack before tc sees it.
    let tagged = traffic::ethernet(Some(7), 0x0800, &plain());
    let runts = [cut(&tagged, 16), cut(&tagged, 18)];
    let (ways, expected) = ("file native generic", "too_short_packets=20 records=0");
    meter(&world, ways, "", &runts, expected);
}

#[test]
fn s05_tags_change_no_ip_count_wherever_they_are() {
    let tagged = |ethertype: u16, tags: &[u8]| {
        traffic::ethernet(None, ethertype, &[tags, &[8, 0], &plain()].concat())
    };
    let frames = [
        v4(&plain()),
        tagged(0x8100, &[0, 7]),
        tagged(0x88a8, &[0, 8, 0x81, 0, 0, 21]),
        tagged(0x88a8, &[0, 9, 0x81, 0, 0, 21, 0x81, 0, 0, 22]),
        tagged(0x9100, &[0, 10, 0x81, 0, 0, 21]),
    ];
    let world = World::new("s5");
    meter(&world, WAYS, "", &frames, "ip_octets=5000 records=1");
    // By tc the outermost tag is out of the frame already, as if the card had taken it.
    for (way, records) in meter(&world, WAYS, "-T vlan", &frames, "ip_octets=5000 records=5") {
        let vlans = records.iter().map(|flow| flow.vlan);
        assert_eq!(sorted(vlans), [0, 7, 8, 9, 10], "{way}");
    }
}

/// The frame in this VLAN.
fn in_vlan(vlan: u8, frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x81, 0, 0, vlan], &frame[12..]].concat()
}

/// Also by tc, where the kernel has taken the outer one out of the frame.
#[test]
fn s05_a_tag_inside_a_tunnel_is_that_of_the_packet_inside() {
    let vxlan = |inside: &[u8]| {
        let header = [8, 0, 0, 0, 0, 0, 1, 0];
        let payload = [&[3, 0xe8, 0x12, 0xb5, 0, 0, 0, 0][..], &header, inside].concat();
        v4(&traffic::ipv4(A, B, UDP, &payload))
    };
    let frames = [
        in_vlan(5, &vxlan(&in_vlan(6, &v4(&plain())))),
        in_vlan(5, &vxlan(&v4(&plain()))),
        vxlan(&in_vlan(7, &v4(&plain()))),
    ];
    let (world, options) = (World::new("s5t"), "-T vlan --tunnels vxlan");
    for (way, records) in meter(&world, WAYS, options, &frames, "ip_octets=3000 records=3") {
        let vlans = records.iter().map(|flow| flow.vlan);
        assert_eq!(sorted(vlans), [5, 6, 7], "{way}");
    }
}

#[test]
fn s06_padding_and_trailers_are_no_octets() {
    let syn = traffic::flood_frame(1);
    assert_eq!(syn.len(), 60, "40 octets of IP, and padding");
    let frames = [syn.clone(), [syn, vec![0xee; 100]].concat()];
    let expected = "ip_packets=20 ip_octets=800 records=1";
    meter(&World::new("s6"), WAYS, "", &frames, expected);
}

/// A piece of a packet: identification, offset in units of eight octets, whether more follow.
fn piece(from: u8, protocol: u8, id: u16, offset: u16, more: bool) -> Vec<u8> {
    let payload = if offset == 0 { udp(72) } else { vec![0xff; 80] };
    let field = offset | if more { 0x2000 } else { 0 };
    let words = [id.to_be_bytes(), field.to_be_bytes()].concat();
    let packet = traffic::ipv4([10, 0, 0, from], B, protocol, &payload);
    v4(&patched(packet, 4, &words))
}

/// Two hosts of one address, in two VLANs, whose packets have one identification.
#[test]
fn s07_fragments_of_one_vlan_have_no_ports_of_another() {
    let other = patched(piece(1, UDP, 7, 0, true), 34, &[7, 0xd0]);
    let last = piece(1, UDP, 7, 10, false);
    let frames = [
        in_vlan(5, &piece(1, UDP, 7, 0, true)),
        in_vlan(6, &other),
        in_vlan(5, &last),
        in_vlan(6, &last),
    ];
    let expected = "records=2 fragment_packets=40";
    for (way, records) in meter(&World::new("s7v"), WAYS, "-T vlan", &frames, expected) {
        let flows = records.iter().map(|flow| (flow.vlan, flow.source_port));
        assert_eq!(sorted(flows), [(5, 1000), (6, 2000)], "{way}");
    }
}

#[test]
fn s07_fragments_follow_the_documented_rule_and_take_no_memory() {
    let options = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let frames = [
        piece(1, UDP, 7, 0, true),
        piece(1, UDP, 7, 10, true),
        piece(1, UDP, 7, 1, true), // over both
        piece(1, UDP, 7, 20, false),
        piece(3, UDP, 9, 20, false), // its first piece was never seen
        patched(piece(4, TCP, 8, 0, true), 16, &[0, 28]), // eight octets of TCP
        v6(44, &[&[UDP, 0, 0, 1, 0, 0, 0, 9][..], &udp(72)].concat()),
        v6(
            44,
            &[&[UDP, 0, 0, 80, 0, 0, 0, 9][..], &[0xff; 80]].concat(),
        ),
        // Options before the fragment header and behind it, which later pieces name as their protocol.
        v6(
            60,
            &[
                &options(44)[..],
                &[60, 0, 0, 1, 0, 0, 0, 10],
                &options(UDP),
                &udp(72),
            ]
            .concat(),
        ),
        v6(
            60,
            &[&options(44)[..], &[60, 0, 0, 80, 0, 0, 0, 10], &[0xff; 80]].concat(),
        ),
    ];
    let world = World::new("s7");
    for (rule, flows, without_ports) in [("on", 4, 1), ("off", 7, 4)] {
        let rule = format!("--fragments {rule}");
        let expected = format!("records={flows} fragment_packets=10");
        for (way, records) in meter(&world, WAYS, &rule, &frames, &expected) {
            let portless = records.iter().filter(|flow| flow.source_port == 0).count();
            assert_eq!(portless, without_ports, "{way}: {records:#?}");
        }
    }
    let ids: Vec<_> = (0..20_000).map(|id| piece(1, UDP, id, 0, true)).collect();
    let sensor = world.sensor("");
    let before = world.peak_kib();
    world.send(&ids);
    let after = world.peak_kib();
    assert!(after < before + (16 << 10), "{before} KiB became {after}");
    expect(&world.stop(sensor), "ip_packets=20000 records=1");
}

#[test]
fn s08_directions_and_families_are_not_merged() {
    let mapped = |[a, b, c, d]: [u8; 4]| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, a, b, c, d];
    let v6_alike = traffic::ipv6(mapped(A), mapped(B), UDP, &udp(72));
    let frames = [
        v4(&patched(patched(plain(), 16, &A), 22, &[0x03, 0xe8])), // from A to A, 1000 to 1000
        v4(&plain()),
        v4(&traffic::ipv4(B, A, UDP, &udp(72))),
        traffic::ethernet(None, 0x86dd, &v6_alike),
    ];
    let world = World::new("s8");
    for (way, records) in meter(&world, WAYS, "", &frames, "ip_packets=40 records=4") {
        let flows = records.iter().map(|flow| (flow.v6, flow.packets));
        let expected = [(false, 10), (false, 10), (false, 10), (true, 10)];
        assert_eq!(sorted(flows), expected, "{way}");
    }
    // The same packets received and sent are two flows, and counted once each.
    for way in ["native", "off"] {
        let sink = Sink::open(&world.pair.b);
        let sensor = world.sensor(&format!("-n {COLLECTOR} --xdp {way}"));
        let frames = vec![v4(&plain()); 50];
        world.send(&frames);
        send_from(&world.pair.b, &frames);
        expect(&world.stop(sensor), "ip_packets=100 records=2");
        let records = sink.decode().records;
        let sent = records
            .iter()
            .map(|flow| flow.direction == Direction::Egress);
        assert_eq!(sorted(sent), [false, true], "{way}");
        assert!(records.iter().all(|flow| flow.packets == 50), "{way}");
    }
}

#[test]
fn s12_counts_beyond_32_bits_are_split_where_the_format_needs_it() {
    // Packets that claim 65,535 octets each, and no sweep in between.
    let packet = traffic::ipv4(A, B, UDP, &[0; 40]);
    let frames = vec![v4(&patched(packet, 2, &[0xff, 0xff])); 70_000];
    let world = World::new("s12");
    for (version, split) in [(5, 1), (9, 0)] {
        let arguments = format!("-v {version} -t expint=30 -t tcp.rst=60 -t tcp.fin=60");
        let expected = format!("ip_octets={} records_split={split}", 70_000u64 * 65_535);
        for (way, records) in meter(&world, "file native off", &arguments, &frames, &expected) {
            assert_eq!(records.len(), 1 + split, "{way} v{version}");
        }
    }
}

/// Has the namespaces' kernels move octets over TCP, cut and merged as they like.
fn transfer(world: &World, octets: usize) {
    const PATIENCE: Duration = Duration::from_secs(20);
    let listener = inside(&world.pair.b, || TcpListener::bind("10.66.0.2:0").unwrap());
    let address = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    let mut sender = inside(&world.pair.a, connect);
    let (mut receiver, _) = listener.accept().unwrap();
    sender.set_write_timeout(Some(PATIENCE)).unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let sending = thread::spawn(move || sender.write_all(&vec![0; octets]));
    let moved = io::copy(&mut receiver, &mut io::sink()).unwrap();
    sending.join().unwrap().unwrap();
    assert_eq!(moved, octets as u64);
}

/// As a guest sends them: how long the pieces are is known, but not how many.
#[test]
fn s13_pieces_that_only_have_a_length_are_counted() {
    const PAYLOAD: u16 = 1448;
    let segment = [
        &[
            0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0,
        ][..],
        &[0; 2 * PAYLOAD as usize],
    ]
    .concat();
    let frame = traffic::ethernet(None, 0x0800, &traffic::ipv4(A, B, TCP, &segment));
    let world = World::new("s13u");
    let sensor = world.sensor("--xdp off");
    inside(&world.pair.a, || {
        wire::send_uncut(&world.pair.a, &frame, 14 + 20, PAYLOAD).unwrap();
    });
    let octets = 2 * (20 + 20 + PAYLOAD);
    expect(
        &world.stop(sensor),
        &format!("packets=2 ip_packets=2 ip_octets={octets} records=1"),
    );
}

#[test]
fn s13_jumbo_and_merged_frames_have_their_octets() {
    const OCTETS: u64 = 8 << 20;
    let world = World::new("s13");
    let ends = [(&world.pair.a, 1), (&world.pair.b, 2)];
    for (end, _) in ends {
        ip(end, &format!("link set {end} mtu 9000"));
    }
    let v4 = v4(&traffic::ipv4(A, B, UDP, &udp(8972)));
    let jumbo = [v4, v6(UDP, &udp(8000))];
    let expected = "ip_packets=20 ip_octets=170480 records=2";
    meter(&world, WAYS, "", &jumbo, expected);
    for (end, number) in ends {
        ip(end, &format!("link set {end} mtu 1500 arp on"));
        ip(end, &format!("addr add 10.66.0.{number}/24 dev {end}"));
    }
    for way in ["native", "generic", "off"] {
        let sensor = world.sensor(&format!("--xdp {way}"));
        transfer(&world, usize::try_from(OCTETS).unwrap());
        let found = world.stop(sensor);
        // Headers and acknowledgements come on top.
        let octets = of(&found, "ip_octets");
        assert!(octets > OCTETS && octets < OCTETS / 4 * 5, "{found:#}");
    }
}
