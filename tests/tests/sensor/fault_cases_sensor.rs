//! The fault cases of the sensor's packet side, S1 to S18: each is provoked for real, by every way
//! a frame can come in, and the account must hold.

use std::{
    fs, io,
    io::Write as _,
    net::{TcpListener, TcpStream},
    process::Command,
    thread,
    time::Duration,
};

use serde_json::Value;
use weir_exporter::{Batcher, Version, batch::BatchOptions};
use weir_netflow::{Direction, ExportTime, FlowRecord};
use weir_sensor::{clock::Now, table};
use weir_sensor_common::{
    FlowKey, KeyMask,
    hash::Seed,
    slot::Sighting,
    table::{Shape, account},
};
use weir_tests::{
    process::{Daemon, succeed},
    traffic::{self, flood_frames},
};

use crate::world::{
    COLLECTOR, Decoded, FrameOf, Sink, UNDER_WAY, World, bpf::Bpf, expect, inside, ip, json, kill,
    of, send_from,
};

/// Ways in: a capture file, and what `--xdp` takes.
const WAYS: &str = "file native generic off";

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];
const TCP: u8 = 6;
const UDP: u8 = 17;
const SECOND_NS: u64 = 1_000_000_000;
/// Frames of a flood from each of two CPUs.
const FLOOD_EACH: u32 = 150_000;

/// A UDP datagram from port 1000 to 53.
fn udp(payload: usize) -> Vec<u8> {
    let [high, low] = u16::try_from(8 + payload).unwrap().to_be_bytes();
    [&[0x03, 0xe8, 0, 53, high, low, 0, 0][..], &vec![0; payload]].concat()
}

/// 100 octets of IPv4.
fn plain() -> Vec<u8> {
    traffic::ipv4(A, B, UDP, &udp(72))
}

fn v4(packet: &[u8]) -> Vec<u8> {
    traffic::ethernet(None, 0x0800, packet)
}

fn v6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let packet = traffic::ipv6([0x20; 16], [0x21; 16], next_header, payload);
    traffic::ethernet(None, 0x86dd, &packet)
}

fn patched(mut octets: Vec<u8>, at: usize, with: &[u8]) -> Vec<u8> {
    octets[at..at + with.len()].copy_from_slice(with);
    octets
}

/// The beginning of a frame, without padding.
fn cut(frame: &[u8], octets: usize) -> Vec<u8> {
    frame[..octets].to_vec()
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<_> = items.collect();
    items.sort();
    items
}

/// Meters the frames by each way, ten times over where they are few: all must be accounted for, the
/// counters be as expected, and the records that leave be those that were counted.
fn meter(
    world: &World,
    ways: &str,
    arguments: &str,
    frames: &[Vec<u8>],
    expected: &str,
) -> Vec<(String, Vec<FlowRecord>)> {
    let times = if frames.len() < 10 { 10 } else { 1 };
    let frames = vec![frames; times].concat();
    let run = |way: &str| {
        eprintln!("by {way}: {arguments}");
        let sink = Sink::open(&world.pair.b);
        let found = if way == "file" {
            world.read_capture(arguments, &frames, |_| 1_700_000_000_000_000)
        } else {
            let sensor = world.sensor(&format!("--xdp {way} -n {COLLECTOR} {arguments}"));
            world.send(&frames);
            world.stop(sensor)
        };
        expect(&found, &format!("packets={} {expected}", frames.len()));
        let decoded = sink.decode();
        let (packets, octets) = decoded.sums();
        let counted = format!("packets_exported={packets} octets_exported={octets}");
        expect(&found, &counted);
        (way.to_owned(), decoded.records)
    };
    ways.split_whitespace().map(run).collect()
}

/// Floods a sensor; its account.
fn flooded(label: &str, arguments: &str, frame: FrameOf) -> Value {
    let world = World::new(label);
    let sensor = world.sensor(arguments);
    let reached = world.flood(FLOOD_EACH, frame);
    let found = world.stop(sensor);
    expect(&found, &format!("packets={reached}"));
    found
}

/// Every packet a new flow.
fn new_flow(cpu: u32, number: u32) -> Vec<u8> {
    traffic::flood_frame(cpu << 23 | number)
}

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

/// Whether a frame of [`mostly_new_flows`] is of a steady flow: one in sixteen, in no rhythm.
fn is_steady(number: u32) -> bool {
    number.wrapping_mul(2_654_435_761) >> 28 == 0
}

fn mostly_new_flows(cpu: u32, number: u32) -> Vec<u8> {
    if !is_steady(number) {
        return new_flow(cpu, number);
    }
    let [host, cpu] = [number % 10, cpu].map(|number| u8::try_from(number).unwrap());
    v4(&traffic::ipv4([10, 9, cpu, host], B, UDP, &udp(0)))
}

#[test]
fn s09_a_syn_flood_is_counted_and_other_flows_survive() {
    /// Two CPUs' for `-m 768`: so many flows of one packet may be there at the end besides.
    const SLOTS: u64 = 2 * 1024;
    let found = flooded("s9", "-m 768", mostly_new_flows);
    assert!(of(&found, "evicted_flows") > 1000, "{found:#}");
    let steady = (0..FLOOD_EACH).filter(|number| is_steady(*number)).count() as u64;
    let arrived = steady * of(&found, "packets") / u64::from(FLOOD_EACH);
    let at_the_end = of(&found, "expired.flushed.packets");
    let survived = at_the_end.saturating_sub(SLOTS);
    assert!(2 * survived > arrived, "{survived} of {arrived}");
}

#[test]
fn s10_collisions_chosen_for_one_seed_are_none_for_another() {
    let shape = Shape {
        bucket_mask: table::bucket_mask(768),
        seed: Seed::new([1, 2, 3, 4, 5]),
        key_mask: KeyMask::FULL.0,
    };
    // The flow of `traffic::flood_frame`.
    let sighting = |number: u32| {
        let [_, a, b, c] = number.to_be_bytes();
        let key = FlowKey {
            source: FlowKey::v4_mapped([11, a, b, c]),
            destination: FlowKey::v4_mapped([198, 51, 100, 1]),
            attributes: FlowKey::pack(1024, 80, TCP, 0, 0),
        };
        let mut sighting = Sighting::default();
        (sighting.key, sighting.hash) = (key, shape.hash(&key, 0));
        sighting
    };
    // Both their buckets are among the first eight of 128, which hold 64 flows.
    let collide = |number: &u32| {
        let buckets = shape.places(sighting(*number).hash).buckets;
        buckets.iter().all(|bucket| *bucket < 8)
    };
    let chosen: Vec<u32> = (0..1 << 20).filter(collide).take(400).collect();
    let (mut attacked, mut evicted) = (table::Table::anonymous(shape).unwrap(), Vec::new());
    for number in &chosen {
        let mut region = attacked.local(&mut evicted);
        account(&mut region, &shape, &sighting(*number)).unwrap();
    }
    assert!(evicted.len() > 300, "{} pushed out", evicted.len());
    let frames: Vec<_> = chosen.into_iter().map(traffic::flood_frame).collect();
    let expected = "records=400 evicted_flows=0";
    meter(&World::new("s10"), WAYS, "-m 768", &frames, expected);
}

/// `conservation.rs` has it with a collector besides.
#[test]
fn s11_a_full_ring_is_counted() {
    let found = flooded("s11", "-m 768 --ring 4096", new_flow);
    assert!(of(&found, "ring_full_packets") > 1000, "{found:#}");
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

/// The id of the sensor's XDP link, which the kernel tells of each descriptor.
fn xdp_link(world: &World) -> String {
    let folder = world.process().join("fdinfo");
    let files = fs::read_dir(folder).unwrap().flatten();
    let mut texts = files.map(|file| fs::read_to_string(file.path()).unwrap_or_default());
    let text = texts.find(|text| text.contains("link_type:\txdp")).unwrap();
    let id = text.lines().find_map(|line| line.strip_prefix("link_id:"));
    id.unwrap().trim().to_owned()
}

#[test]
fn s14_the_interface_goes_comes_back_and_changes_its_name() {
    let world = World::new("s14");
    let (a, b) = (&world.pair.a, &world.pair.b);
    let frames = flood_frames(0..100);
    let mut sensor = world.sensor("");
    let mut says = |sentence: &str| sensor.wait_for(sentence).unwrap();
    world.send(&frames);

    ip(b, &format!("link set {b} down"));
    ip(b, &format!("link set {b} up"));
    world.wait_until_up(a, b);
    world.send(&frames);

    succeed(Command::new("bpftool").args(["link", "detach", "id", &xdp_link(&world)]));
    says(&format!("the program was taken off {b}: attached again"));
    world.send(&frames);

    ip(a, &format!("link del {a}"));
    says(&format!("{b} is gone"));
    let pair = format!("link add {a} type veth peer name {b} netns {b}");
    ip(a, &pair);
    for end in [a, b] {
        ip(end, &format!("link set {end} arp off up"));
    }
    says(&format!("{b} is back: attached again"));
    world.wait_until_up(a, b);
    world.send(&frames);

    ip(b, &format!("link set {b} down"));
    ip(b, &format!("link set {b} name {b}x"));
    ip(b, &format!("link set {b}x up"));
    says(&format!("{b} was renamed to {b}x"));
    world.wait_until_up(a, &format!("{b}x"));
    world.send(&frames);

    expect(&world.stop(sensor), "ip_packets=500 ip_octets=20000");
}

/// Without `--pin`, `crash.rs` has it.
#[test]
fn s15_a_killed_sensor_blocks_nothing_and_with_pin_loses_nothing() {
    let world = World::new("s15");
    let b = &world.pair.b;
    let has_program = || ip(b, &format!("link show {b}")).contains("xdp");
    let frames = flood_frames(0..300);
    let bpf = Bpf::mount(&world);
    let arguments = format!("-n {COLLECTOR} -t idle=1h --pin {}", bpf.pin());
    let sink = Sink::open(b);
    let first = world.sensor(&arguments);
    world.send(&frames);
    kill(first);
    assert!(has_program(), "the program goes on metering");
    world.send(&frames);
    let second = world.sensor(&arguments);
    world.send(&frames);
    let found = world.stop(second);
    expect(
        &found,
        "packets=300 adopted_packets=600 adopted_octets=24000",
    );

    kill(world.sensor(&arguments));
    assert!(has_program());
    let (before, _) = world.pair.received_and_dropped().unwrap();
    world.send(&frames);
    thread::sleep(UNDER_WAY);
    let (after, _) = world.pair.received_and_dropped().unwrap();
    assert_eq!(after - before, 300, "traffic passes");
    let mut detach = world.command("weir-sensor");
    succeed(detach.args(["-n", COLLECTOR, "--detach", "--pin", &bpf.pin()]));
    assert!(!has_program(), "--detach takes it off");
    assert_eq!(sink.decode().sums(), (1200, 48_000), "all four times");
}

#[test]
fn s16_a_million_flows_leave_at_the_end_and_none_is_lost() {
    let world = World::new("s16");
    let mut command = world.command("weir-collector");
    let (flows, statistics) = (world.path("flows"), world.path("collector.json"));
    command.args(["-l", COLLECTOR, "-w"]).arg(flows);
    command.arg("--statistics-json").arg(&statistics);
    let mut collector = Daemon::start(command, &world.path("collector.log")).unwrap();
    collector.wait_for("listening").unwrap();
    let sensor = world.sensor(&format!("-n {COLLECTOR} -m 700000 -t idle=1h"));
    let flows = world.flood(500_000, new_flow);
    assert!(flows > 500_000, "only {flows} frames came through");
    let found = world.stop(sensor);
    expect(
        &found,
        &format!("records={flows} expired.flushed.records={flows}"),
    );
    thread::sleep(UNDER_WAY);
    assert!(collector.stop().unwrap().success());
    let collected = json(&statistics);
    let expected = format!("records={flows} packets={flows} kernel_drops=0");
    expect(&collected, &expected);
    assert_eq!(collected["exporters"][0]["lost"], 0, "{collected:#}");
}

fn instant(monotonic_s: u64, unix_s: u64) -> Now {
    Now {
        monotonic_ns: monotonic_s * SECOND_NS,
        unix_ns: unix_s * SECOND_NS,
        uptime_ms: monotonic_s * 1000,
        ..Now::default()
    }
}

/// A record as a collector reads it that was batched at one time and sent at another.
fn sent(version: Version, record: &FlowRecord, at: ExportTime, sent: ExportTime) -> FlowRecord {
    let mut batcher = Batcher::new(BatchOptions::new(version));
    assert!(batcher.push(record, &at).is_none());
    let datagram = batcher.flush(&sent).unwrap().octets;
    Decoded::of(&[datagram]).records[0]
}

#[test]
fn s17_a_stepped_clock_makes_no_negative_durations() {
    let close = |a_ns: u64, b_s: u64| a_ns.abs_diff(b_s * SECOND_NS) < 5_000_000;
    let (first, last) = (instant(1000, 50_000), instant(1009, 50_009));
    // Set back, left alone, set ahead; and a night's sleep, which the monotonic clock leaves out.
    for now_s in [50_010 - 3600, 50_010, 50_010 + 3600, 50_010 + 8 * 3600] {
        let now = instant(1010, now_s);
        let record = FlowRecord {
            start_ns: now.unix_ns_of(first.tick()),
            end_ns: now.unix_ns_of(last.tick()),
            ..FlowRecord::default()
        };
        assert!(close(record.end_ns - record.start_ns, 9), "{record:?}");
        assert!(close(now.unix_ns - record.start_ns, 10), "{record:?}");
        for later_s in [now_s - 3600, now_s + 3600] {
            let later = instant(1011, later_s).export_time();
            for version in [Version::V1, Version::V5, Version::V9] {
                let found = sent(version, &record, now.export_time(), later);
                let in_order = found.start_ns <= found.end_ns && found.end_ns <= later.unix_ns;
                assert!(in_order, "{version:?} {later:?}: {found:?}");
            }
        }
    }
}

#[test]
fn s18_uptime_and_header_clocks_wrap_and_durations_do_not() {
    const WRAP: u64 = 1 << 32;
    let uptimes = [WRAP - 5000, WRAP + 5000];
    let times = [(1 << 31) - 2, (1 << 31) + 5, WRAP - 2, WRAP + 1000];
    let versions = [Version::V1, Version::V5, Version::V9];
    for (uptime_ms, unix_s) in uptimes.into_iter().flat_map(|ms| times.map(|s| (ms, s))) {
        let unix_ns = unix_s * SECOND_NS;
        let now = ExportTime { unix_ns, uptime_ms };
        let record = FlowRecord {
            start_ns: unix_ns - 20 * SECOND_NS,
            end_ns: unix_ns - SECOND_NS,
            ..FlowRecord::default()
        };
        for found in versions.map(|version| sent(version, &record, now, now)) {
            let start_ns = (unix_s - 20) % WRAP * SECOND_NS;
            assert_eq!(found.start_ns, start_ns, "{now:?}");
            assert_eq!(found.end_ns, start_ns + 19 * SECOND_NS, "{now:?}");
        }
    }
}

/// No datagram may hold flows further apart than its clock wraps.
#[test]
fn s18_a_capture_from_2038_to_2106_keeps_its_times() {
    const TIMES_S: [u64; 2] = [1 << 31, (1 << 32) - 1];
    let unix_us = |index: u64| TIMES_S[usize::from(index > 0)] * 1_000_000;
    let world = World::new("s18");
    let frames = flood_frames(0..2);
    for version in ["-v 1", "-v 5", "-v 9", "-v 10"] {
        let sink = Sink::open(&world.pair.b);
        world.read_capture(version, &frames, unix_us);
        let records = sink.decode().records;
        let starts_s = records.iter().map(|flow| flow.start_ns / SECOND_NS);
        assert_eq!(sorted(starts_s), TIMES_S, "{version}");
    }
}
