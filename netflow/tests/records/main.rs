//! Data records as flows: what vendors do with templates, each a case.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod aside;

use std::net::{Ipv4Addr, Ipv6Addr};

use weir_netflow::{
    Direction, FlowRecord, TimeBase,
    data::{DataRecord, records},
    element::{self, Element, REVERSE_PEN},
    template::{Field, Template, VARIABLE},
};

const BASE: TimeBase = TimeBase {
    export_ns: 1_700_000_000_000_000_000,
    uptime_ms: Some(100_000),
};
const V4: [u8; 4] = [192, 0, 2, 1];
const V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Has a record decoded that says these values.
fn decoded<R>(values: &[(Field, &[u8])], look: impl FnOnce(&DataRecord<'_>) -> R) -> R {
    let octets = values.iter().flat_map(|(_, value)| value.iter().copied());
    let octets: Vec<u8> = octets.collect();
    let fields = values.iter().map(|(field, value)| match field.octets {
        VARIABLE => *field,
        _ => Field {
            octets: u16::try_from(value.len()).unwrap(),
            ..*field
        },
    });
    let template = Template::new(256, None, fields.collect()).unwrap();
    assert_eq!(template.record_count(&octets), Some(1));
    look(&records(&template, &octets, BASE).next().unwrap())
}

fn flow(values: &[(Element, &[u8])]) -> FlowRecord {
    decoded(&plain(values), |record| record.flow)
}

/// The flow, and that of the other direction.
fn both(values: &[(Field, &[u8])]) -> (FlowRecord, Option<FlowRecord>) {
    decoded(values, |record| (record.flow, record.reverse()))
}

/// IANA's elements.
fn plain<'a>(values: &[(Element, &'a [u8])]) -> Vec<(Field, &'a [u8])> {
    let field = |(element, value): &(Element, &'a [u8])| (Field::new(*element, 0), *value);
    values.iter().map(field).collect()
}

#[test]
fn totals_are_not_added_to_deltas() {
    let both = flow(&[(85, &[1, 0]), (1, &[7]), (2, &[3]), (86, &[9])]);
    assert_eq!((both.octets, both.packets), (7, 3));
    assert_eq!(flow(&[(85, &[1, 0])]).octets, 256);
    // OUT_BYTES stands in for IN_BYTES of 0, wherever it stands.
    assert_eq!(flow(&[(23, &[5]), (1, &[0])]).octets, 5);
    assert_eq!(flow(&[(23, &[5]), (1, &[4])]).octets, 4);
}

#[test]
fn integers_of_any_width_are_read() {
    let found = flow(&[
        (1, &[1, 0, 0, 0, 0]),
        (2, &[2, 0, 0]),
        (6, &[0x01, 0x10]),
        (7, &[80]),
        (16, &[0, 1, 0, 0, 0]),
    ]);
    assert_eq!((found.octets, found.packets), (1 << 32, 2 << 16));
    assert_eq!((found.tcp_flags, found.source_port), (0x0110, 80));
    assert_eq!(found.source_as, 1 << 24);
}

/// As IOS sends them whose record says `transport tcp` or `transport udp`: each record has all, and fills those of its
/// protocol.
#[test]
fn ports_of_a_protocol_stand_in_for_ports() {
    let (zero, source, destination): (&[u8], &[u8], &[u8]) = (&[0; 2], &[0x30, 0x39], &[1, 0xbb]);
    let ports = |values: &[(Element, &[u8])]| {
        decoded(&plain(values), |record| {
            let flow = record.flow;
            let aside: Vec<_> = record.aside().map(|aside| aside.element).collect();
            (flow.source_port, flow.destination_port, aside)
        })
    };
    let of_udp = [(180, source), (181, destination), (182, zero), (183, zero)];
    assert_eq!(ports(&of_udp), (12_345, 443, vec![]));
    let of_tcp = [(180, zero), (181, zero), (182, source), (183, destination)];
    assert_eq!(ports(&of_tcp), (12_345, 443, vec![]));
    // Beside those of any protocol, wherever they stand, these go before unless they are zeros.
    let both = [(182, destination), (7, source), (11, zero), (183, source)];
    assert_eq!(ports(&both), (12_345, 12_345, vec![182]));
    let unfilled = [(182, source), (183, destination), (7, zero), (11, zero)];
    assert_eq!(ports(&unfilled), (12_345, 443, vec![]));
}

/// As routers that add flows up send them.
#[test]
fn a_prefix_stands_in_for_an_address() {
    let (v4, v6) = (Ipv4Addr::from(V4).to_ipv6_mapped(), Ipv6Addr::from(V6));
    let found = flow(&[(44, &V4), (45, &V4)]);
    assert_eq!((found.source, found.destination), (v4, v4));
    let found = flow(&[(169, &V6), (170, &[1; 16])]);
    assert_eq!((found.source, found.destination), ([1; 16].into(), v6));
    assert!(found.v6);
    let found = flow(&[(170, &[1; 16]), (27, &V6)]);
    assert_eq!(found.source, v6);
}

#[test]
fn templates_of_both_families_fill_one_with_zeros() {
    type Fields<'a> = &'a [(Element, &'a [u8])];
    let (mapped, v6) = (Ipv4Addr::from(V4).to_ipv6_mapped(), Ipv6Addr::from(V6));
    let zero = [0; 16];
    let cases: [(Fields<'_>, bool, Ipv6Addr); 6] = [
        (
            &[(8, &V4), (12, &V4), (27, &zero), (28, &zero)],
            false,
            mapped,
        ),
        (
            &[(27, &zero), (28, &zero), (8, &V4), (12, &V4)],
            false,
            mapped,
        ),
        (
            &[(8, &[0; 4]), (12, &[0; 4]), (27, &V6), (28, &V6)],
            true,
            v6,
        ),
        (
            &[(27, &V6), (28, &V6), (8, &[0; 4]), (12, &[0; 4])],
            true,
            v6,
        ),
        // From nowhere to a group, as routers are looked for.
        (&[(27, &zero), (28, &V6)], true, Ipv6Addr::UNSPECIFIED),
        // Mapped addresses of IPv4.
        (&[(27, &mapped.octets()), (60, &[4])], false, mapped),
    ];
    for (values, v6, source) in cases {
        let found = flow(values);
        assert_eq!((found.v6, found.source), (v6, source), "{values:?}");
    }
}

#[test]
fn masks_and_next_hops_are_those_of_the_family() {
    let zero = [0; 16];
    let found = flow(&[
        (8, &V4),
        (9, &[24]),
        (15, &[192, 0, 2, 254]),
        (27, &zero),
        (29, &[64]),
        (62, &zero),
    ]);
    let next_hop = Ipv4Addr::new(192, 0, 2, 254).to_ipv6_mapped();
    assert_eq!((found.source_mask, found.next_hop), (24, next_hop));
}

#[test]
fn icmp_types_are_found_in_each_place() {
    let cases: [&[(Element, &[u8])]; 8] = [
        &[(4, &[1]), (11, &[8, 1])],
        &[(4, &[1]), (32, &[8, 1]), (11, &[0, 0])],
        &[(11, &[0, 0]), (139, &[8, 1]), (4, &[58])],
        // IPv6 in the place of IPv4.
        &[(4, &[58]), (32, &[8, 1]), (139, &[0, 0])],
        &[(4, &[1]), (176, &[8]), (177, &[1]), (11, &[9, 9])],
        &[
            (4, &[58]),
            (178, &[8]),
            (179, &[1]),
            (176, &[0]),
            (177, &[0]),
        ],
        // Not ICMP: the field is there for others.
        &[(4, &[6]), (11, &[8, 1]), (32, &[3, 3])],
        &[(4, &[17]), (11, &[8, 1]), (176, &[3]), (177, &[3])],
    ];
    for values in cases {
        assert_eq!(flow(values).destination_port, 0x0801, "{values:?}");
    }
    // An echo reply is 0, whatever a port field beside it says (ASA puts the identifier there).
    let reply = flow(&[(4, &[1]), (176, &[0]), (177, &[0]), (11, &[0x44, 0x8d])]);
    assert_eq!(reply.destination_port, 0);
}

#[test]
fn times_are_told_in_many_ways() {
    let ntp = |unix_s: u64| ((unix_s + 2_208_988_800) << 32).to_be_bytes();
    let (start_s, end_s) = (1_699_999_990_u64, 1_699_999_995_u64);
    let ms = |seconds: u64| (seconds * 1000).to_be_bytes();
    let s = |seconds: u64| u32::try_from(seconds).unwrap().to_be_bytes();
    let u = |number: u32| number.to_be_bytes();
    let boot = ms(1_699_999_900);
    let pair = |unix_s: u64| (u128::from(unix_s) << 64).to_be_bytes();
    let cases: [&[(Element, &[u8])]; 11] = [
        &[(22, &u(90_000)), (21, &u(95_000))],
        &[(150, &s(start_s)), (151, &s(end_s))],
        &[(152, &ms(start_s)), (153, &ms(end_s))],
        &[(154, &ntp(start_s)), (155, &ntp(end_s))],
        &[(154, &pair(start_s)), (155, &pair(end_s))],
        &[(156, &ntp(start_s)), (157, &ntp(end_s))],
        &[(158, &u(10_000_000)), (159, &u(5_000_000))],
        // The boot time may come after the times that count from it.
        &[(22, &u(90_000)), (21, &u(95_000)), (160, &boot)],
        &[(152, &ms(start_s)), (161, &u(5000))],
        &[(161, &u(5000)), (153, &ms(end_s))],
        &[(152, &ms(start_s)), (323, &ms(end_s))],
    ];
    let expected = (start_s * 1_000_000_000, end_s * 1_000_000_000);
    for values in cases {
        decoded(&plain(values), |record| {
            let found = (record.flow.start_ns, record.flow.end_ns);
            assert_eq!((found, record.timed), (expected, true), "{values:?}");
        });
    }
    let below = (u128::from(end_s) << 64 | u128::from(250_000_u32)).to_be_bytes();
    let fraction = flow(&[(155, &below)]);
    assert_eq!(fraction.end_ns, expected.1 + 250_000_000);
    let event = flow(&[(323, &ms(end_s))]);
    assert_eq!((event.start_ns, event.end_ns), (expected.1, expected.1));
    let backwards = flow(&[(152, &ms(end_s)), (153, &ms(start_s))]);
    assert_eq!(backwards.end_ns, backwards.start_ns);
}

#[test]
fn a_record_without_times_has_the_exports_and_says_so() {
    let (zero, zero_pair): (&[u8], &[u8]) = (&[0; 8], &[0; 16]);
    for values in [
        &[(1, &[1][..])][..],
        &[(152, zero), (153, zero)],
        &[(156, zero), (157, zero)],
        &[(154, zero_pair), (155, zero_pair)],
    ] {
        decoded(&plain(values), |record| {
            assert_eq!(record.flow.start_ns, BASE.export_ns);
            assert!(!record.timed, "{values:?}");
        });
    }
    // Relative times of an exporter that has not said when it booted.
    let template = Template::new(256, None, vec![Field::new(22, 4), Field::new(21, 4)]);
    let (template, base) = (template.unwrap(), TimeBase::booted(BASE.export_ns, None));
    let record = records(&template, &[1; 8], base).next().unwrap();
    assert!(!record.timed);
    assert_eq!(record.flow.end_ns, BASE.export_ns);
}

#[test]
fn a_record_without_times_that_tells_how_long_it_lasted_ended_with_the_export() {
    let lasted = |found: FlowRecord| (found.end_ns - found.start_ns, found.end_ns);
    let duration = element::DURATION_MS;
    let found = flow(&[(duration, &[0, 0, 0x4e, 0x20])]);
    assert_eq!(lasted(found), (20_000_000_000, BASE.export_ns));
    // By sysUptimes of an exporter that has not said when it booted: across the wrap, and in the wrong order.
    let template = Template::new(256, None, vec![Field::new(22, 4), Field::new(21, 4)]).unwrap();
    let base = TimeBase::booted(BASE.export_ns, None);
    for (first, last, ms) in [(1000, 3500, 2500), (u32::MAX, 9, 10), (9, 8, 0)] {
        let octets = [first, last].map(u32::to_be_bytes).concat();
        let record = records(&template, &octets, base).next().unwrap();
        assert!(!record.timed);
        assert_eq!(lasted(record.flow), (ms * 1_000_000, BASE.export_ns));
    }
}

#[test]
fn a_rate_or_a_sampler_may_be_in_the_record() {
    assert_eq!(flow(&[(34, &[100])]).sampling_interval, 100);
    assert_eq!(flow(&[(50, &[100])]).sampling_interval, 100);
    assert_eq!(flow(&[(34, &[0])]).sampling_interval, 1);
    // Either may be 0 beside the other; of two that differ 34 holds, and the other is not lost.
    let both = |first: (Element, u8), second: (Element, u8)| {
        let octets = [[first.1], [second.1]];
        let values = [(first.0, &octets[0][..]), (second.0, &octets[1][..])];
        decoded(&plain(&values), |record| {
            let aside: Vec<Element> = record.aside().map(|aside| aside.element).collect();
            (record.flow.sampling_interval, aside)
        })
    };
    assert_eq!(both((34, 0), (50, 100)), (100, vec![]));
    assert_eq!(both((50, 100), (34, 0)), (100, vec![]));
    assert_eq!(both((34, 100), (50, 0)), (100, vec![]));
    assert_eq!(both((34, 100), (50, 100)), (100, vec![]));
    assert_eq!(both((34, 7), (50, 100)), (7, vec![50]));
    assert_eq!(both((50, 100), (34, 7)), (7, vec![50]));
    assert_eq!(flow(&[(306, &[9]), (305, &[1])]).sampling_interval, 10);
    let half = 0.5_f32.to_be_bytes();
    assert_eq!(flow(&[(311, &half)]).sampling_interval, 2);
    for element in [element::SAMPLER_ID, element::SELECTOR_ID] {
        let sampler = decoded(&plain(&[(element, &[0, 7])]), |record| record.sampler);
        assert_eq!(sampler, Some(7));
    }
}

fn reversed(element: Element) -> Field {
    Field {
        enterprise: REVERSE_PEN,
        ..Field::new(element, 0)
    }
}

#[test]
fn the_reverse_direction_is_a_record_of_its_own() {
    let mut values = plain(&[
        (8, &V4),
        (12, &[198, 51, 100, 7]),
        (7, &[0x12, 0x34]),
        (11, &[0, 80]),
        (4, &[6]),
        (1, &[100]),
        (2, &[2]),
        (6, &[0x1b]),
        (5, &[4]),
        (10, &[3]),
        (22, &[0, 0, 0x75, 0x30]),
        (21, &[0, 0, 0x79, 0x18]),
        (61, &[1]),
    ]);
    let counters: [(Field, &[u8]); 5] = [
        (reversed(1), &[200]),
        (reversed(2), &[3]),
        (reversed(6), &[0x12]),
        (reversed(5), &[8]),
        (reversed(22), &[0, 0, 0x76, 0x30]),
    ];
    assert_eq!(both(&values).1, None);
    values.extend(counters);
    let (forward, reverse) = both(&values);
    let expected = FlowRecord {
        source: forward.destination,
        destination: forward.source,
        source_port: 80,
        destination_port: 0x1234,
        octets: 200,
        packets: 3,
        tcp_flags: 0x12,
        tos: 8,
        ingress_ifindex: 0,
        egress_ifindex: 3,
        start_ns: forward.start_ns + 256_000_000,
        ..forward
    };
    assert_eq!(reverse, Some(expected));
    assert_eq!(
        (forward.octets, forward.direction),
        (100, Direction::Egress)
    );
}

#[test]
fn nothing_that_went_back_is_no_record() {
    let values: [(Field, &[u8]); 2] = [(Field::new(1, 0), &[9]), (reversed(1), &[0])];
    assert_eq!(both(&values).1, None);
}

#[test]
fn an_asas_responder_and_icmp_have_a_reverse() {
    let (forward, reverse) = both(&plain(&[(231, &[9]), (232, &[5])]));
    assert_eq!((forward.octets, reverse.unwrap().octets), (9, 5));
    let mut ping = plain(&[(4, &[1]), (7, &[0, 0]), (11, &[8, 0]), (2, &[1])]);
    ping.push((reversed(2), &[1]));
    let reply = both(&ping).1.unwrap();
    assert_eq!((reply.source_port, reply.destination_port), (0, 0));
    ping.push((reversed(32), &[3, 1]));
    let unreachable = both(&ping).1.unwrap();
    assert_eq!(unreachable.destination_port, 0x0301);
}

/// As Catalyst switches send it (wired AVC): by IPFIX under Cisco's number, by v9 with the bit that says so there.
#[test]
fn a_client_and_a_server_are_a_flow_and_its_reverse() {
    let server = [198, 51, 100, 7];
    let of_cisco: [(Element, &[u8]); 6] = [
        (12_236, &V4),
        (12_237, &server),
        (12_240, &[0x30, 0x39]),
        (12_241, &[1, 0xbb]),
        (8337, &[0, 90]),
        (8338, &[40]),
    ];
    for (enterprise, bit) in [(element::CISCO_PEN, 0), (0, 0x8000)] {
        // Packets and octets of both, as others send them; of octets these are without headers.
        let mut values = plain(&[
            (4, &[6]),
            (298, &[4]),
            (299, &[5]),
            (231, &[8]),
            (232, &[9]),
        ]);
        values.extend(of_cisco.map(|(number, value)| {
            let field = Field {
                enterprise,
                ..Field::new(number | bit, 0)
            };
            (field, value)
        }));
        let (forward, reverse) = both(&values);
        let reverse = reverse.unwrap();
        let ends = |flow: &FlowRecord| (flow.source, flow.source_port, flow.octets, flow.packets);
        let mapped = |address: [u8; 4]| Ipv4Addr::from(address).to_ipv6_mapped();
        assert_eq!(ends(&forward), (mapped(V4), 12_345, 40, 4));
        assert_eq!(ends(&reverse), (mapped(server), 443, 90, 5));
        assert_eq!((forward.v6, forward.destination_port), (false, 443));
    }
    // Under another enterprise they are somebody else's.
    let other = Field {
        enterprise: 637,
        ..Field::new(12_240, 0)
    };
    assert_eq!(both(&[(other, &[1, 1])]).0.source_port, 0);
}

#[test]
fn the_other_direction_of_a_tunnel_has_its_ends_in_their_places() {
    let mac = |last: u8| [2, 0, 0, 0, 0, last];
    let (source, destination) = (mac(1), mac(2));
    let (forward, reverse) = both(&[
        (Field::new(element::SOURCE_MAC, 0), &source),
        (Field::new(element::DESTINATION_MAC, 0), &destination),
        (Field::of_ntop(element::OUTER_SOURCE_V4, 0), &V4),
        (Field::new(element::FLOW_LABEL, 0), &[0, 0, 7]),
        (Field::new(element::INITIATOR_OCTETS, 0), &[1]),
        (Field::new(element::RESPONDER_OCTETS, 0), &[2]),
    ]);
    let reverse = reverse.unwrap();
    assert_eq!(
        (forward.source_mac, reverse.source_mac),
        (source, destination)
    );
    assert_eq!(forward.outer_source, Ipv4Addr::from(V4).to_ipv6_mapped());
    assert_eq!(reverse.outer_destination, forward.outer_source);
    assert_eq!((forward.flow_label, reverse.flow_label), (7, 0));
}

#[test]
fn a_code_point_is_a_tos_where_nothing_tells_the_rest_of_it() {
    assert_eq!(flow(&[(element::DSCP, &[46])]).tos, 0xb8);
    assert_eq!(flow(&[(element::DSCP, &[46]), (5, &[0xb9])]).tos, 0xb9);
    let (_, reverse) = both(&[(reversed(element::DSCP), &[10]), (reversed(2), &[1])]);
    assert_eq!(reverse.unwrap().tos, 40);
}

#[test]
fn physical_interfaces_stand_in_for_logical_ones() {
    let ends = |found: FlowRecord| (found.ingress_ifindex, found.egress_ifindex);
    assert_eq!(ends(flow(&[(252, &[7]), (253, &[8])])), (7, 8));
    let all = flow(&[(252, &[7]), (10, &[3]), (14, &[4]), (253, &[8])]);
    assert_eq!(ends(all), (3, 4));
}

#[test]
fn a_packet_in_a_tunnel_that_is_told_with_it_is_the_flow() {
    let destination = [198, 51, 100, 7];
    let found = flow(&[
        (27, &V6),
        (28, &V6),
        (7, &[0, 9]),
        (11, &[0, 9]),
        (29, &[48]),
        (4, &[4]),
        (5, &[0x20]),
        (31, &[0, 0, 7]),
        (8, &V4),
        (12, &destination),
        (7, &[0x12, 0x34]),
        (11, &[0, 53]),
        (4, &[17]),
        (2, &[3]),
    ]);
    let expected = FlowRecord {
        source: Ipv4Addr::from(V4).to_ipv6_mapped(),
        destination: Ipv4Addr::from(destination).to_ipv6_mapped(),
        source_port: 0x1234,
        destination_port: 53,
        protocol: 17,
        packets: 3,
        outer_source: Ipv6Addr::from(V6),
        outer_destination: Ipv6Addr::from(V6),
        start_ns: found.start_ns,
        end_ns: found.end_ns,
        ..FlowRecord::default()
    };
    assert_eq!(found, expected);
}

/// The template of a router is of its packets in a tunnel and in none.
#[test]
fn of_a_packet_in_no_tunnel_the_first_addresses_are_the_flows() {
    let (zero, destination) = ([0; 4], [198, 51, 100, 7]);
    let values = |inner: [&'static [u8]; 5]| {
        let outer: [(Element, &[u8]); 5] = [
            (8, &V4),
            (12, &destination),
            (7, &[0x12, 0x34]),
            (11, &[0, 53]),
            (4, &[17]),
        ];
        let elements = [27, 28, 7, 11, 4];
        let inner = elements.into_iter().zip(inner);
        let found = plain(&outer.into_iter().chain(inner).collect::<Vec<_>>());
        decoded(&found, |record| (record.flow, record.aside().count()))
    };
    let (found, aside) = values([&[0; 16], &[0; 16], &[0; 2], &[0; 2], &[0]]);
    let addresses = [V4, destination].map(|address| Ipv4Addr::from(address).to_ipv6_mapped());
    assert_eq!([found.source, found.destination], addresses);
    let ports = (found.source_port, found.destination_port);
    assert_eq!((ports, found.protocol), ((0x1234, 53), 17));
    assert_eq!(
        (found.v6, found.outer_source),
        (false, Ipv6Addr::UNSPECIFIED)
    );
    // The ports and the protocol of no packet.
    assert_eq!(aside, 3);
    let (found, aside) = values([&V6, &V6, &[0, 1], &[0, 2], &[6]]);
    assert_eq!(found.source, Ipv6Addr::from(V6));
    assert_eq!((found.outer_source, found.v6), (addresses[0], true));
    assert_eq!((found.source_port, found.protocol, aside), (1, 6, 3));
    // Neither is told.
    let none: [(Element, &[u8]); 6] = [
        (8, &zero),
        (12, &zero),
        (4, &[0]),
        (8, &zero),
        (12, &zero),
        (4, &[6]),
    ];
    assert_eq!(flow(&none).protocol, 0);
}

#[test]
fn next_hops_by_bgp_have_a_field_for_each_family() {
    let zero = [0; 4];
    let expected = Ipv4Addr::from(V4).to_ipv6_mapped();
    assert_eq!(flow(&[(18, &V4)]).bgp_next_hop, expected);
    let of_v6 = flow(&[(18, &zero), (63, &V6)]);
    assert_eq!(of_v6.bgp_next_hop, Ipv6Addr::from(V6));
}
