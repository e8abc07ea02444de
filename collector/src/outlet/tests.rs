//! What a collector finds of flows that are passed on, and what is counted of the rest.

use std::net::{Ipv4Addr, UdpSocket};

use weir_store::others::{Gathering, Other, Others};

use super::*;
use crate::exporters::{Exporters, Settings, Source};

const NOW: ExportTime = ExportTime {
    unix_ns: 1_795_237_200_000_000_000,
    uptime_ms: 86_400_000,
};

fn v4(last: u8) -> Ipv6Addr {
    Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped()
}

/// What v5 carries, but for the end's reason.
fn plain() -> FlowRecord {
    FlowRecord {
        source: v4(1),
        destination: v4(2),
        protocol: 6,
        packets: 7,
        octets: 700,
        start_ns: NOW.unix_ns - 2_000_000_000,
        end_ns: NOW.unix_ns - 1_000_000_000,
        end_reason: EndReason::EndOfFlow,
        ..FlowRecord::default()
    }
}

/// Of each family one flow that has a value in each place there is.
fn rich(v6: bool) -> FlowRecord {
    let address = |last: u8| {
        if v6 {
            Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) + u128::from(last))
        } else {
            v4(last)
        }
    };
    FlowRecord {
        v6,
        source: address(1),
        destination: address(2),
        next_hop: address(3),
        bgp_next_hop: address(4),
        source_as: 4_200_000_000,
        destination_as: 64_512,
        source_mask: 24,
        destination_mask: 15,
        vlan: 5,
        direction: Direction::Egress,
        ingress_ifindex: 70_000,
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, 2],
        inner_vlan: 6,
        mpls_labels: [0x12_3450, 0x00_0101, 0, 0],
        flow_label: if v6 { 0xf_edcb } else { 0 },
        outer_source: v4(5),
        outer_destination: v4(6),
        ..plain()
    }
}

fn passed(record: FlowRecord) -> Passed {
    Passed {
        record,
        has_others: false,
    }
}

/// What a collector makes of flows that are passed on, and what was counted.
fn there(version: Version, flows: &[Passed]) -> (Vec<FlowRecord>, Account) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut outlet = Outlet::open(socket.local_addr().unwrap(), version, None).unwrap();
    for flow in flows {
        outlet.push(flow, &NOW);
    }
    outlet.flush(&NOW);
    socket.set_nonblocking(true).unwrap();
    let mut exporters = Exporters::new(Settings::default());
    let source = Source {
        address: Ipv4Addr::LOCALHOST.to_ipv6_mapped(),
        port: 9,
        session: 0,
    };
    let (mut found, mut buffer) = (Vec::new(), [0; 2048]);
    while let Ok(octets) = socket.recv(&mut buffer) {
        let octets = &buffer[..octets];
        let taken = exporters.datagram(octets, &source, NOW.unix_ns, &mut found);
        taken.unwrap();
    }
    let found = found.into_iter().map(|flow| flow.record);
    (found.collect(), outlet.account())
}

#[test]
fn formats_with_templates_carry_all_that_a_flow_says() {
    let flows = [plain(), rich(false), plain(), rich(true)];
    for version in [Version::V9, Version::Ipfix] {
        let (found, account) = there(version, &flows.map(passed));
        assert_eq!(found, flows, "{version}");
        assert_eq!(account.reduced, 0);
        assert_eq!(account.export.records_exported.records, 4);
    }
}

#[test]
fn what_a_format_has_no_place_for_is_counted_and_the_rest_is_carried() {
    let bare = FlowRecord {
        end_reason: EndReason::Unknown,
        ..plain()
    };
    let (found, account) = there(Version::V5, &[passed(bare), passed(plain())]);
    assert_eq!((found, account.reduced), (vec![bare; 2], 1));
    let routed = FlowRecord {
        next_hop: v4(3),
        source_as: 65_535,
        source_mask: 24,
        ..bare
    };
    let (found, account) = there(Version::V5, &[passed(routed)]);
    assert_eq!((found, account.reduced), (vec![routed], 0));
    for more in [
        FlowRecord {
            source_as: 65_536,
            ..bare
        },
        FlowRecord {
            bgp_next_hop: v4(3),
            ..bare
        },
        FlowRecord {
            source_mac: [1; 6],
            ..bare
        },
        FlowRecord { vlan: 5, ..bare },
        FlowRecord {
            egress_ifindex: 65_536,
            ..bare
        },
        FlowRecord {
            tcp_flags: 0x112,
            ..bare
        },
        FlowRecord {
            sampling_interval: 20_000,
            ..bare
        },
    ] {
        let (found, account) = there(Version::V5, &[passed(more)]);
        assert_eq!((found.len(), account.reduced), (1, 1), "{more:?}");
    }
    // What cannot be carried at all is in that counter alone.
    let (found, account) = there(Version::V5, &[passed(rich(true))]);
    assert_eq!((found.len(), account.reduced), (0, 0));
    assert_eq!(account.export.records_unsupported.records, 1);
}

#[test]
fn elements_without_a_column_are_counted_as_left_behind() {
    let mut gathering = Gathering::default();
    let other = Other {
        enterprise: 0,
        element: 95,
        octets: &[1],
    };
    assert!(gathering.add(&other, 1));
    let flow = |others: Others| {
        Passed::from(&StoredFlow {
            record: plain(),
            others,
            ..StoredFlow::default()
        })
    };
    let flows = [flow(gathering.finish()), flow(Others::NONE)];
    for version in [Version::V9, Version::Ipfix] {
        let (found, account) = there(version, &flows);
        assert_eq!((found.len(), account.reduced), (2, 1), "{version}");
    }
}
