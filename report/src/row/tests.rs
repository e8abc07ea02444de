//! Each value as nfdump has it, and of its own columns alone.

use std::net::Ipv6Addr;

use arrow::array::RecordBatch;
use weir_netflow::{Direction, FlowRecord, element::NTOP_PEN, record::mapped_address};
use weir_store::{
    others::{Gathering, Other, Others},
    schema::{self, StoredFlow},
};

use super::*;
use crate::tokens::TOKENS;

fn others(elements: &[(u32, u16, Vec<u8>)]) -> Others {
    let mut gathering = Gathering::default();
    for (enterprise, element, octets) in elements {
        let other = Other {
            enterprise: *enterprise,
            element: *element,
            octets,
        };
        assert!(gathering.add(&other, octets.len()));
    }
    gathering.finish()
}

fn address(text: &str) -> Ipv6Addr {
    mapped_address(text.parse().unwrap())
}

/// A flow that has something in each place.
fn flow() -> StoredFlow {
    StoredFlow {
        record: FlowRecord {
            source: address("10.1.2.3"),
            destination: address("2001:db8::7"),
            source_port: 40_000,
            destination_port: 443,
            protocol: 6,
            tcp_flags: 0x1b,
            tos: 8,
            octets: 12_345,
            packets: 67,
            start_ns: 1_700_000_000_123_000_000,
            end_ns: 1_700_000_001_500_000_000,
            ingress_ifindex: 3,
            egress_ifindex: 4,
            source_as: 64_500,
            destination_as: 64_501,
            source_mask: 24,
            destination_mask: 48,
            vlan: 17,
            direction: Direction::Egress,
            sampling_interval: 100,
            next_hop: address("192.0.2.9"),
            bgp_next_hop: address("2001:db8::9"),
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 2],
            inner_vlan: 18,
            mpls_labels: [0x10, 0x20, 0x30, 0x41],
            flow_label: 99,
            outer_source: address("192.0.2.11"),
            outer_destination: address("192.0.2.12"),
            ..FlowRecord::default()
        },
        received_ns: 1_700_000_002_000_000_000,
        exporter: address("192.0.2.1"),
        source_id: 0x0203,
        version: 9,
        others: others(&[
            (0, 55, vec![5]),
            (0, 89, vec![64]),
            (0, 53, vec![64]),
            (0, 74, vec![0, 1, 0x41]),
            (0, 82, b"eth0\0\0".to_vec()),
            (0, 197, vec![0x40]),
            (0, 225, vec![198, 51, 100, 7]),
            (0, 282, address("2001:db8::5").octets().to_vec()),
            (0, 323, 1_700_000_003_250_u64.to_be_bytes().to_vec()),
            (NTOP_PEN, 84, vec![2]),
            (NTOP_PEN, 85, vec![0, 7]),
        ]),
    }
}

fn shown(batch: &RecordBatch, shown: Shown) -> String {
    let mut line = Vec::new();
    let columns = Columns::of(batch).unwrap();
    columns.show(shown, 0, 7, &mut line);
    String::from_utf8(line).unwrap()
}

/// Else the engine would read more than is asked for, or what is shown would be zeros.
#[test]
fn a_token_is_shown_of_its_own_columns_alone() {
    let whole = schema::batch(&[flow()]).unwrap();
    for token in &TOKENS {
        let names = token.4.columns().iter();
        let places: Vec<usize> = names
            .map(|name| whole.schema().index_of(name).unwrap())
            .collect();
        let part = whole.project(&places).unwrap();
        assert_eq!(shown(&part, token.4), shown(&whole, token.4), "{token:?}");
    }
}

#[test]
fn values_are_shown_as_nfdump_has_them() {
    let batch = schema::batch(&[flow()]).unwrap();
    for (token, expected) in [
        ("ts", "2023-11-14 22:13:20.123"),
        ("tsr", "1700000000.123"),
        ("td", "1.377"),
        ("sap", "10.1.2.3:40000"),
        ("dap", "[2001:db8::7]:443"),
        ("flg", "...AP.SF"),
        ("dir", "E"),
        ("bps", "71721"),
        ("bpp", "184"),
        ("sn", "10.1.2.0/24"),
        ("dn", "2001:db8::/48"),
        ("nh", "192.0.2.9"),
        ("eng", "2/3"),
        ("opkt", "0"),
        ("fl", "1"),
        ("it", "0"),
        ("cnt", "7"),
        ("mpls4", "4-0-1"),
        ("mpls", "1-0-0 2-0-0 3-0-0 4-0-1"),
        // What has no column is found by its number.
        ("dtos", "5"),
        ("fwd", "64"),
        ("mpls5", "20-0-1"),
        ("inam", "eth0"),
        ("xsa", "198.51.100.7"),
        ("nda", "2001:db8::5"),
        ("xsp", "0"),
        ("sc", ".."),
        ("gra", "192.0.2.1(..)"),
        ("ttl", "0 64"),
        ("frag", "DF--"),
        ("tevt", "2023-11-14 22:13:23.250"),
        ("ja4", "no ja4"),
        ("cl", "0.000"),
        ("sl", "2000.007"),
    ] {
        let found = TOKENS.iter().find(|known| known.0 == token).unwrap();
        assert_eq!(shown(&batch, found.4), expected, "{token}");
    }
}

#[test]
fn ports_of_icmp_are_type_and_code_and_flags_are_those_of_tcp() {
    let mut echo = flow();
    echo.record.protocol = 1;
    echo.record.destination_port = 8 * 256 + 3;
    let batch = schema::batch(&[echo]).unwrap();
    for (token, expected) in [
        (Shown::Port(1), "8.3"),
        (Shown::IcmpType, "8"),
        (Shown::IcmpCode, "3"),
        (Shown::Port(0), "40000"),
        (Shown::Flags, "........"),
    ] {
        assert_eq!(shown(&batch, token), expected);
    }
}
