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
    let found = arrived(&socket, &mut exporters, &NOW);
    (found, outlet.account())
}

/// What came so far, as a collector stores it.
fn arrived(socket: &UdpSocket, exporters: &mut Exporters, now: &ExportTime) -> Vec<StoredFlow> {
    let source = Source {
        address: Ipv4Addr::LOCALHOST.to_ipv6_mapped(),
        port: 9,
        session: 0,
    };
    let (mut found, mut buffer) = (Vec::new(), [0; 2048]);
    while let Ok(octets) = socket.recv(&mut buffer) {
        let octets = &buffer[..octets];
        let taken = exporters.datagram(octets, &source, now.unix_ns, &mut found);
        taken.unwrap();
    }
    found
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

/// Exporters' flows, each in a datagram of its own, and what the collector there finds of the latest.
struct OneByOne {
    socket: UdpSocket,
    outlet: Outlet,
    exporters: Exporters,
}

impl OneByOne {
    fn new(version: Version) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let outlet = Outlet::open(socket.local_addr().unwrap(), version, None).unwrap();
        Self {
            socket,
            outlet,
            exporters: Exporters::new(Settings::default()),
        }
    }

    /// A flow that comes so many seconds after the first: its domain there, and who exported it.
    fn at(&mut self, seconds: u32, exporter: Ipv6Addr, record: FlowRecord) -> (u32, Vec<u8>) {
        let now = ExportTime {
            unix_ns: NOW.unix_ns + u64::from(seconds) * 1_000_000_000,
            uptime_ms: NOW.uptime_ms + u64::from(seconds) * 1000,
        };
        let flow = Passed {
            exporter,
            ..passed(record)
        };
        self.outlet.push(&flow, &now);
        self.outlet.flush(&now);
        let found = arrived(&self.socket, &mut self.exporters, &now);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].record, record);
        let (domain, _, others) = told(&found[0]);
        let is_address = |name: &str| name == "130" || name == "131";
        let mut addresses = others.into_iter().filter(|(name, _)| is_address(name));
        let address = addresses.next().map(|(_, octets)| octets);
        (domain, address.unwrap_or_default())
    }

    /// To whoever receives it nothing happened.
    fn assert_nothing_amiss(&self) {
        for (_, counts) in self.exporters.counts() {
            for name in ["lost", "reordered", "duplicated", "restarts", "doubtful"] {
                assert_eq!(counts[name], 0, "{counts}");
            }
        }
    }
}

#[test]
fn a_domain_that_nothing_comes_for_becomes_another_exporters_and_its_numbers_go_on() {
    let exporters = u32::try_from(LANES_MAX - RATES_MAX).unwrap();
    let v6 = |number: u32| Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) + u128::from(number));
    let octets = |number: u32| v6(number).octets().to_vec();
    let sampled = FlowRecord {
        sampling_interval: 100,
        ..plain()
    };
    for version in [Version::V9, Version::Ipfix] {
        let mut there = OneByOne::new(version);
        // The first one's records are wider, and the last one's of another rate.
        assert_eq!(there.at(0, v6(0), rich(false)), (0, octets(0)));
        for number in 1..exporters - 1 {
            let found = there.at(0, v6(number), plain());
            assert_eq!(found, (number, octets(number)));
        }
        let found = there.at(0, v6(exporters - 1), sampled);
        assert_eq!(found, (exporters - 1, octets(exporters - 1)));
        // For one more there is no domain, and none is idle.
        assert_eq!(there.at(200, v6(1), plain()), (1, octets(1)));
        assert_eq!(there.at(299, v6(5000), plain()), (exporters, Vec::new()));
        assert_eq!(there.outlet.account().reused, 0);
        // Then there are, but for the one that was used meanwhile. The one that lost its domain gets another.
        assert_eq!(there.at(301, v6(5000), plain()), (0, octets(5000)));
        assert_eq!(there.at(301, v4(7), rich(false)), (2, vec![192, 0, 2, 7]));
        assert_eq!(there.at(301, v6(0), plain()), (3, octets(0)));
        assert_eq!(there.at(302, v6(1), plain()), (1, octets(1)));
        assert_eq!(there.at(302, v6(5000), rich(true)), (0, octets(5000)));
        // Rates stay with their domains: that of a new rate is new.
        let rate = |interval| FlowRecord {
            sampling_interval: interval,
            ..plain()
        };
        let found = there.at(302, v6(5001), rate(100));
        assert_eq!(found, (exporters - 1, octets(5001)));
        assert_eq!(
            there.at(302, v6(5002), rate(7)),
            (DOMAIN_STEP + 4, octets(5002))
        );
        let account = there.outlet.account();
        assert_eq!((account.reused, account.reduced), (4, 1), "{version}");
        there.assert_nothing_amiss();
    }
}

#[test]
fn a_rate_that_nothing_comes_for_gives_its_place_to_another() {
    assert_eq!(usize::try_from(DOMAIN_STEP), Ok(LANES_MAX));
    let nobody = Ipv6Addr::UNSPECIFIED;
    for version in [Version::V5, Version::V9, Version::Ipfix] {
        let rate = |interval| FlowRecord {
            sampling_interval: interval,
            end_reason: if version.has_templates() {
                EndReason::EndOfFlow
            } else {
                EndReason::Unknown
            },
            ..plain()
        };
        let mut there = OneByOne::new(version);
        for domain in 0..DOMAIN_STEP {
            let found = there.at(0, nobody, rate(domain + 1));
            assert_eq!(found, (domain, Vec::new()), "{version}");
        }
        // For one more there is no place, and none is idle.
        there.outlet.push(&passed(rate(5000)), &NOW);
        let unsupported = there.outlet.account().export.records_unsupported;
        assert_eq!(unsupported.records, 1);
        assert_eq!(there.at(200, nobody, rate(1)), (0, Vec::new()));
        // Then there are, but for the one that was used meanwhile.
        let found = there.at(301, nobody, rate(5000));
        assert_eq!(found, (DOMAIN_STEP + 1, Vec::new()), "{version}");
        let found = there.at(301, nobody, rate(2));
        assert_eq!(found, (DOMAIN_STEP + 2, Vec::new()), "{version}");
        assert_eq!(there.at(301, nobody, rate(1)), (0, Vec::new()));
        let account = there.outlet.account();
        assert_eq!(account.export.records_unsupported.records, 1);
        there.assert_nothing_amiss();
    }
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

/// A record of a datagram may say anything, and would be four billion of v5.
#[test]
fn counts_that_would_take_very_many_records_are_counted() {
    let flow = |octets, packets| {
        passed(FlowRecord {
            octets,
            packets,
            ..plain()
        })
    };
    let most = u64::from(u32::MAX);
    let flows = [
        flow(u64::MAX, 7),
        flow(700, u64::MAX),
        flow(10 * most, 7_000_000_000),
        flow((PARTS_A_SECOND - 8) * most + 1, 7_000_000_000),
        flow(1, 1),
    ];
    for version in [Version::V1, Version::V5] {
        let (found, account) = there(version, &flows);
        assert_eq!(found.len(), 11, "{version:?}");
        let octets: u64 = found.iter().map(|record| record.octets).sum();
        assert_eq!(octets, 10 * most + 1);
        let export = account.export;
        assert_eq!(export.records_unsupported.records, 3);
        assert_eq!(export.records_split, 9);
    }
    let (found, account) = there(Version::V9, &flows);
    assert_eq!(found.len(), flows.len());
    assert_eq!(account.export.records_unsupported.records, 0);
}

/// In a second there may be so many more, and in the next one again.
#[test]
fn large_flows_of_one_leave_room_for_others() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut outlet = Outlet::open(socket.local_addr().unwrap(), Version::V5, None).unwrap();
    let large = passed(FlowRecord {
        octets: PARTS_A_SECOND / 2 * u64::from(u32::MAX),
        ..plain()
    });
    let mut push = |after_ns: u64| {
        let now = ExportTime {
            unix_ns: NOW.unix_ns + after_ns,
            ..NOW
        };
        outlet.push(&large, &now);
        outlet.account().export.records_unsupported.records
    };
    assert_eq!([push(0), push(1), push(999_999_999)], [0, 0, 1]);
    assert_eq!([push(SECOND_NS), push(SECOND_NS + 1)], [1, 1]);
}

/// Exporters' clocks may be anywhere, before the first and after the last time that sysUptime's 32 bits tell.
#[test]
fn times_that_sys_uptime_cannot_tell_are_told_by_the_wall_clock_or_counted() {
    const HOUR_NS: u64 = 3_600_000_000_000;
    let at = |start_ns: u64| FlowRecord {
        start_ns,
        end_ns: start_ns + 1_000_000,
        end_reason: EndReason::Unknown,
        ..plain()
    };
    let strange = [
        at(NOW.unix_ns + HOUR_NS),
        at(NOW.unix_ns - 50 * 24 * HOUR_NS),
        at(1_000_000_000),
        // Before what sysUptime counts from, that of this machine.
        at(NOW.unix_ns - 25 * HOUR_NS),
    ];
    // Of a clock that is a little ahead it is now.
    let usual = [at(NOW.unix_ns - HOUR_NS), at(NOW.unix_ns + 500_000_000)];
    let flows = [&usual[..], &strange[..]].concat();
    let flows: Vec<_> = flows.into_iter().map(passed).collect();
    let spans = |found: &[FlowRecord]| -> Vec<_> {
        let spans = found.iter().map(|record| (record.start_ns, record.end_ns));
        spans.collect()
    };
    for version in [Version::V9, Version::Ipfix] {
        let (found, account) = there(version, &flows);
        let expected: Vec<_> = flows.iter().map(|flow| flow.record).collect();
        let is_exact = |number: &usize| version == Version::Ipfix || *number != 1;
        for number in (0..flows.len()).filter(is_exact) {
            assert_eq!(
                spans(&found)[number],
                spans(&expected)[number],
                "{version:?}"
            );
        }
        let exporters = account.export.records_exported.records;
        assert_eq!((exporters, account.reduced), (6, 0));
    }
    let (_, account) = there(Version::V5, &flows);
    assert_eq!(account.reduced, strange.len() as u64);
    // Once is enough: those after it are told in the same way, in the same datagrams.
    let (found, account) = there(Version::V9, &[&flows[2..], &flows[..1]].concat());
    assert_eq!(spans(&found)[4], spans(&usual)[0]);
    assert_eq!(account.export.datagrams_sent, 1);
}
