//! Filter expressions by each way that packets come in, and what is told of what they leave out.

use std::fs;

use serde_json::Value;
use weir_tests::{process::succeed, traffic};

use crate::world::{World, assert_account, bpf::Bpf, expect, of};

/// A UDP packet to port 53, whose payload is 7, in a VLAN or in none; the last octet of its source MAC
/// address is 14.
fn frame(vlan: Option<u16>) -> Vec<u8> {
    let udp = [0x12, 0x34, 0, 53, 0, 9, 0, 0, 7];
    let packet = traffic::ipv4([192, 0, 2, 77], [198, 51, 100, 1], 17, &udp);
    let mut frame = traffic::ethernet(vlan, 0x0800, &packet);
    frame[11] = 14;
    frame
}

/// Ten of each.
fn frames() -> Vec<Vec<u8>> {
    let vlans = [Some(5), Some(6), None];
    vlans
        .iter()
        .flat_map(|vlan| vec![frame(*vlan); 10])
        .collect()
}

/// The account of what was metered of the frames.
fn meter(world: &World, way: &str, filter: &str) -> Value {
    if way == "file" {
        return file(world, filter);
    }
    // A small table's programs are verified faster, and there are many starts.
    let line = format!("--xdp {way} --direction in -m 1000 {filter}");
    let sensor = world.sensor(&line);
    world.send(&frames());
    world.stop(sensor)
}

fn file(world: &World, filter: &str) -> Value {
    let path = world.path("pcap");
    let frames = frames();
    let frames = frames.iter().map(Vec::as_slice);
    fs::write(
        &path,
        traffic::capture_file(frames, |_| 1_700_000_000_000_000),
    )
    .unwrap();
    let mut command = world.command("weir-sensor");
    command.args(["--statistics-json", "-", "-r"]).arg(path);
    command.args(filter.split_whitespace());
    let found = serde_json::from_str(&succeed(&mut command)).unwrap();
    assert_account(&found);
    found
}

/// Where tc sees received packets the kernel has taken the tag out of the frame; the filter sees it
/// where it was.
#[test]
fn tags_are_where_they_were_on_the_wire() {
    let world = World::new("fvl");
    for (filter, wanted) in [
        ("vlan 5", 10),
        ("vlan and udp port 53", 20),
        ("udp port 53", 10),
        // At fixed offsets: across the tag's end, and behind it.
        ("ether[14:4] = 0x00050800", 10),
        ("ether[11:4] = 0x0e810000", 20),
        ("ether[12:2] = 0x0800", 10),
        // At offsets that are computed: in the tag, and behind it.
        ("ether[ether[11]:2] = 5", 10),
        ("vlan 6 and udp[8] = 7", 10),
        ("len = 60", 30),
        ("ip6", 0),
    ] {
        for way in ["file", "native", "off"] {
            let found = meter(&world, way, filter);
            let (seen, left_out) = (of(&found, "packets"), of(&found, "filtered_packets"));
            assert_eq!((seen, left_out), (30, 30 - wanted), "{way}: {filter}");
            expect(&found, &format!("ip_packets={wanted}"));
        }
    }
}

#[test]
fn the_direction_is_the_interfaces() {
    let world = World::new("fdi");
    for (filter, wanted) in [("inbound", 30), ("outbound", 0)] {
        for way in ["native", "off"] {
            let found = meter(&world, way, filter);
            expect(&found, &format!("ip_packets={wanted}"));
        }
    }
    // Files do not tell.
    fs::write(
        world.path("pcap"),
        traffic::capture_file(frames().iter().map(Vec::as_slice), |_| 0),
    )
    .unwrap();
    let mut command = world.command("weir-sensor");
    command.arg("-r").arg(world.path("pcap")).arg("inbound");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("direction"),
        "{said}"
    );
}

/// As with softflowd, whose packets libpcap has filtered before it samples them.
#[test]
fn what_is_left_is_sampled() {
    let world = World::new("fsm");
    let sensor = world.sensor("--direction in --sampling 5 vlan");
    world.send(&frames());
    let found = world.stop(sensor);
    expect(
        &found,
        "packets=30 filtered_packets=10 sampled_out_packets=16 ip_packets=4",
    );
}

/// The next sensor's filter goes for what its programs see, whatever the last one's was.
#[test]
fn a_filter_ends_with_its_sensor() {
    let world = World::new("fpn");
    let bpf = Bpf::mount(&world);
    for (filter, wanted) in [("vlan 5", 10), ("", 30), ("vlan", 20)] {
        let sensor = world.sensor(&format!("--direction in --pin {} {filter}", bpf.pin()));
        world.send(&frames());
        let found = world.stop(sensor);
        expect(&found, &format!("packets=30 ip_packets={wanted}"));
    }
}

#[test]
fn a_filter_that_is_wrong_is_refused_before_anything_is_attached() {
    let world = World::new("fno");
    for (filter, words) in [
        ("tcp porf 80", "syntax error"),
        ("ip and ip6", "rejects all packets"),
        ("len / 0 = 1", "division by zero"),
    ] {
        let mut command = world.command("weir-sensor");
        command.args(["-i", &world.pair.b, "-c", "none"]);
        let output = command.args(filter.split(' ')).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(words) && said.contains(filter), "{said}");
        assert!(!said.contains("metering"), "{said}");
    }
}
