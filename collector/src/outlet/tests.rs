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
        exporter: Ipv6Addr::UNSPECIFIED,
        has_others: false,
    }
}

/// What a collector makes of flows that are passed on, and what was counted.
fn there(version: Version, flows: &[Passed]) -> (Vec<FlowRecord>, Account) {
    let (found, account) = stored(version, flows);
    let found = found.into_iter().map(|flow| flow.record);
    (found.collect(), account)
}

/// The same, with what it stores beside records.
fn stored(version: Version, flows: &[Passed]) -> (Vec<StoredFlow>, Account) {
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
    (found, outlet.account())
}

/// Domain, packets, and what is in `others`.
fn told(flow: &StoredFlow) -> (u32, u64, Vec<(String, Vec<u8>)>) {
    let others = flow.others.named();
    let others = others.map(|(name, octets)| (name, octets.to_vec()));
    (flow.source_id, flow.record.packets, others.collect())
}

#[test]
fn who_exported_flows_first_is_told_with_them_however_often_they_are_passed_on() {
    let second: Ipv6Addr = "2001:db8::9".parse().unwrap();
    let mut flows = Vec::new();
    for (packets, exporter) in [
        (1, v4(7)),
        (2, second),
        (3, v4(7)),
        (4, Ipv6Addr::UNSPECIFIED),
    ] {
        flows.push(Passed {
            exporter,
            ..passed(FlowRecord { packets, ..plain() })
        });
    }
    let v4_told = vec![("130".to_owned(), vec![192, 0, 2, 7])];
    let v6_told = vec![("131".to_owned(), second.octets().to_vec())];
    for version in [Version::V9, Version::Ipfix] {
        let (found, account) = stored(version, &flows);
        let found_told: Vec<_> = found.iter().map(told).collect();
        let expected = [
            (0, 1, v4_told.clone()),
            (0, 3, v4_told.clone()),
            (1, 2, v6_told.clone()),
            (2, 4, Vec::new()),
        ];
        assert_eq!(found_told, expected, "{version}");
        assert_eq!(account.reduced, 0);
        // That collector passes them on, too.
        let again: Vec<_> = found[..3].iter().map(Passed::from).collect();
        let (found, account) = stored(version, &again);
        let found_told: Vec<_> = found.iter().map(told).collect();
        assert_eq!(found_told, expected[..3], "{version}");
        assert_eq!(account.reduced, 0);
    }
    // v5 has no place for it, and one domain.
    let bare = |flow: &Passed| Passed {
        record: FlowRecord {
            end_reason: EndReason::Unknown,
            ..flow.record
        },
        ..*flow
    };
    let flows: Vec<_> = flows.iter().map(bare).collect();
    let (found, account) = stored(Version::V5, &flows);
    assert!(
        found
            .iter()
            .all(|flow| flow.source_id == 0 && flow.others.is_empty())
    );
    assert_eq!((found.len(), account.reduced), (4, 0));
}

#[test]
fn flows_of_very_many_exporters_and_rates_leave_without_an_address_or_are_counted() {
    let exporters = LANES_MAX - RATES_MAX;
    let flow = |number: u32, interval| Passed {
        exporter: Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) + u128::from(number)),
        ..passed(FlowRecord {
            sampling_interval: interval,
            ..plain()
        })
    };
    let mut flows: Vec<_> = (0..)
        .take(exporters)
        .map(|number| flow(number, 1))
        .collect();
    flows.extend([flow(5000, 1), flow(5001, 1), flow(5000, 2), flow(3, 1)]);
    let (_, account) = stored(Version::Ipfix, &flows);
    assert_eq!(account.reduced, 3);
    assert_eq!(account.export.records_unsupported.records, 0);
    flows.extend((3..).take(RATES_MAX).map(|interval| flow(5002, interval)));
    let (_, account) = stored(Version::Ipfix, &flows);
    assert_eq!(account.export.records_unsupported.records, 2);
    assert_eq!(account.reduced, 3 + RATES_MAX as u64 - 2);
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
