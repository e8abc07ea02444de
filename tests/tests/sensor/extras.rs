//! What records carry beside the usual, and track level `ether`: from frames, by each way they come
//! in, to what a collector reads.

use std::net::Ipv4Addr;

use weir_netflow::FlowRecord;
use weir_tests::{
    traffic::{self, flood_frame},
    wire::{self, Wire},
};

use crate::world::{COLLECTOR, Sink, World, expect, inside, of};

/// The frame with another end of its source MAC address.
fn from_host(host: u8, mut frame: Vec<u8>) -> Vec<u8> {
    frame[11] = host;
    frame
}

/// What a collector reads of these frames, by each way in.
fn meter(
    world: &World,
    arguments: &str,
    frames: &[Vec<u8>],
) -> Vec<(&'static str, Vec<FlowRecord>)> {
    let run = |way: &'static str| {
        let sink = Sink::open(&world.pair.b);
        let found = if way == "file" {
            world.read_capture(arguments, frames, |_| 1_700_000_000_000_000)
        } else {
            // Nothing is sent from there.
            let line = format!("--direction in --xdp {way} -n {COLLECTOR} {arguments}");
            let sensor = world.sensor(&line);
            world.send(frames);
            world.stop(sensor)
        };
        expect(&found, &format!("packets={}", frames.len()));
        let mut records = sink.decode().records;
        records.sort_by_key(|record| record.packets);
        (way, records)
    };
    ["file", "native", "generic", "off"].map(run).into()
}

#[test]
fn at_track_level_ether_mac_addresses_tell_flows_apart() {
    let world = World::new("xmac");
    let frames: Vec<_> = (0..40)
        .map(|number| from_host(if number % 4 == 0 { 7 } else { 9 }, flood_frame(1)))
        .collect();
    for (way, records) in meter(&world, "-T ether", &frames) {
        let found: Vec<_> = records
            .iter()
            .map(|record| (record.packets, record.source_mac, record.destination_mac))
            .collect();
        let destination = [2, 0, 0, 0, 0, 2];
        let expected = [
            (10, [2, 0, 0, 0, 0, 7], destination),
            (30, [2, 0, 0, 0, 0, 9], destination),
        ];
        assert_eq!(found, expected, "{way}");
    }
    for (way, records) in meter(&world, "-T vlan", &frames) {
        let found: Vec<_> = records
            .iter()
            .map(|record| (record.packets, record.source_mac))
            .collect();
        assert_eq!(found, [(40, [0; 6])], "{way}");
    }
}

#[test]
fn every_field_that_is_asked_for_arrives_and_no_other() {
    let world = World::new("xall");
    let frames = vec![traffic::layered_frame(); 5];
    let optional = |record: &FlowRecord| FlowRecord {
        source_mac: record.source_mac,
        destination_mac: record.destination_mac,
        inner_vlan: record.inner_vlan,
        mpls_labels: record.mpls_labels,
        flow_label: record.flow_label,
        outer_source: record.outer_source,
        outer_destination: record.outer_destination,
        ..FlowRecord::default()
    };
    let all = FlowRecord {
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, 2],
        inner_vlan: 4,
        mpls_labels: [0x12_3450, 0x00_0101, 0, 0],
        flow_label: 0xc_def1,
        outer_source: Ipv4Addr::new(203, 0, 113, 1).to_ipv6_mapped(),
        outer_destination: Ipv4Addr::new(203, 0, 113, 2).to_ipv6_mapped(),
        ..FlowRecord::default()
    };
    let some = FlowRecord {
        inner_vlan: all.inner_vlan,
        flow_label: all.flow_label,
        ..FlowRecord::default()
    };
    for (fields, expected) in [
        ("--fields mac,inner-vlan,mpls,flow-label,outer", all),
        ("-v 10 --fields mac,inner-vlan,mpls,flow-label,outer", all),
        ("-T ether --fields inner-vlan,mpls,flow-label,outer", all),
        ("--fields inner-vlan,flow-label", some),
        ("", FlowRecord::default()),
    ] {
        let arguments = format!("--tunnels vxlan {fields}");
        for (way, records) in meter(&world, &arguments, &frames) {
            let [record] = records[..] else {
                panic!("{way}: {records:?}")
            };
            assert_eq!(
                (record.packets, record.vlan, record.source.octets()),
                (5, 3, [0x20; 16]),
                "{way}"
            );
            assert_eq!(optional(&record), expected, "{way} {fields}");
        }
    }
}

#[test]
fn a_tunnels_endpoints_are_told_where_one_was_entered() {
    let world = World::new("xtun");
    let (source, destination) = ([0x20; 16], [0x21; 16]);
    let udp = [3, 232, 0, 53, 0, 8, 0, 0];
    let packet = traffic::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 17, &udp);
    let in_v6 = traffic::ipv6(source, destination, 4, &packet);
    let plain = traffic::ethernet(None, 0x0800, &packet);
    let tunnelled = traffic::ethernet(None, 0x86dd, &in_v6);
    // The key is the same, and so they are one flow: the first packet's endpoints are kept.
    let tunnelled_first = [tunnelled.clone(), plain.clone()];
    for (frames, outer) in [
        (tunnelled_first, [source, destination]),
        ([plain, tunnelled], [[0; 16]; 2]),
    ] {
        for (way, records) in meter(&world, "--tunnels ipip --fields outer", &frames) {
            let [record] = records[..] else {
                panic!("{way}: {records:?}")
            };
            assert_eq!(record.packets, 2, "{way}");
            let found = [record.outer_source, record.outer_destination];
            assert_eq!(found.map(|address| address.octets()), outer, "{way}");
        }
    }
    let refused = world.start("--fields outer").unwrap_err().to_string();
    assert!(refused.contains("say which with --tunnels"), "{refused}");
}

/// Both CPUs see the same flows, which still are as many records as there are pairs of addresses.
#[test]
fn parts_of_several_cpus_are_put_together_by_mac_address() {
    const EACH: u32 = 50;
    let world = World::new("xcpu");
    let sink = Sink::open(&world.pair.b);
    let sensor = world.sensor(&format!("-T ether -n {COLLECTOR}"));
    for cpu in 0..2 {
        inside(&world.pair.a, || {
            wire::pin(cpu).unwrap();
            let wire = Wire::open(&world.pair.a).unwrap();
            for number in 0..3 * EACH {
                let host = number.to_le_bytes()[0] % 3;
                wire.send(&from_host(host, flood_frame(1))).unwrap();
            }
        });
    }
    let found = world.stop(sensor);
    expect(&found, &format!("packets={} records=3", 6 * EACH));
    let mut found: Vec<_> = sink
        .decode()
        .records
        .iter()
        .map(|record| (record.source_mac[5], record.packets))
        .collect();
    found.sort_unstable();
    let packets = u64::from(2 * EACH);
    assert_eq!(found, [(0, packets), (1, packets), (2, packets)]);
}

/// Flows pushed out of a full table take along what was read of their own packets.
#[test]
fn a_record_of_a_full_table_has_its_own_fields() {
    let world = World::new("xful");
    let frames: Vec<_> = (0..3000)
        .map(|number| {
            let mut frame = flood_frame(number);
            let (_, source) = frame.split_at(26);
            let source = [source[1], source[2], source[3]];
            frame[9..12].copy_from_slice(&source);
            frame
        })
        .collect();
    for arguments in [
        "-m 12 -T ether",
        "-m 12 --fields mac",
        "-m 6000 --fields mac",
    ] {
        let sink = Sink::open(&world.pair.b);
        let sensor = world.sensor(&format!("--direction in {arguments} -n {COLLECTOR}"));
        world.send(&frames);
        let found = world.stop(sensor);
        if arguments.contains("-m 12") {
            assert!(of(&found, "evicted_flows") > 1000, "{found:#}");
        }
        let decoded = sink.decode();
        assert_eq!(decoded.sums().0, 3000 - of(&found, "ring_full_packets"));
        for record in decoded.records {
            let address = record.source.octets();
            assert_eq!(record.source_mac[3..], address[13..], "{arguments}");
        }
    }
}

#[test]
fn netflow_v1_and_v5_go_without_and_say_so() {
    for version in [1, 5] {
        let world = World::new("xv5");
        let sink = Sink::open(&world.pair.b);
        let arguments =
            format!("--direction in -v {version} -T ether --fields mpls -n {COLLECTOR}");
        let mut sensor = world.sensor(&arguments);
        let said = format!("NetFlow v{version} has no place");
        sensor.wait_for(&said).unwrap();
        world.send(&[1, 2, 1].map(|host| from_host(host, flood_frame(1))));
        let found = world.stop(sensor);
        // The key is what was asked for, all the same.
        expect(&found, "packets=3 records=2");
        assert_eq!(sink.decode().sums().0, 3);
    }
}
