//! Flows as rows: what is null, and which other schemas are taken for ours.

use arrow::array::{Array as _, AsArray as _};

use super::*;
use crate::others::{Gathering, Other};

fn flow() -> StoredFlow {
    StoredFlow {
        received_ns: 7,
        ..StoredFlow::default()
    }
}

#[test]
fn each_column_is_in_the_document() {
    let document = include_str!("../../../docs/columns.md");
    for field in schema().fields() {
        let name = field.name();
        // Four columns have one row, by the first and the last of them.
        let is_between = matches!(name.as_str(), "mpls_label_2" | "mpls_label_3");
        let row = format!("`{name}`");
        assert!(is_between || document.contains(&row), "{name}");
    }
}

#[test]
fn version_1_is_the_first_columns() {
    let earlier = earlier_schema();
    assert_eq!(earlier.fields().len(), EARLIER_COLUMNS);
    assert_eq!(
        earlier.field(EARLIER_COLUMNS - 1).name(),
        "sampling_interval"
    );
    let all = schema();
    let mut later = all.fields().iter().skip(EARLIER_COLUMNS);
    assert!(later.all(|field| field.is_nullable()));
    assert_eq!(foreign_column(&earlier), None);
    assert_eq!(foreign_column(&schema()), None);
    let less = Schema::new(earlier.fields()[1..].to_vec());
    assert_eq!(foreign_column(&less).as_deref(), Some("flow_start"));
    let mut other: Vec<_> = earlier.fields().to_vec();
    other.push(Arc::new(Field::new("src_mac", DataType::Utf8, true)));
    let other = foreign_column(&Schema::new(other));
    assert_eq!(other.as_deref(), Some("src_mac"));
}

#[test]
fn rows_of_version_1_have_nulls_in_the_columns_of_version_2() {
    let flows = [flow(), flow()];
    let earlier = earlier_batch(&flows).unwrap();
    let all = with_all_columns(&earlier).unwrap();
    // As they are made beside a flow that has something there.
    let mut more = flows.to_vec();
    more.push(flow());
    more[2].record.source_mac = [2, 0, 0, 0, 0, 1];
    let made = batch(&more).unwrap();
    assert_eq!(made.column_by_name("src_mac").unwrap().null_count(), 2);
    assert_eq!(all, made.slice(0, 2));
    let mut later = all.columns()[EARLIER_COLUMNS..].iter();
    assert!(later.all(|column| column.null_count() == 2));
}

#[test]
fn what_only_some_flows_have_is_null_in_the_others() {
    let mut gathering = Gathering::default();
    let octets: &[u8] = &[3, 0, 0, 80];
    for (enterprise, element) in [(0, 95), (6871, 14), (0, 95)] {
        let other = Other {
            enterprise,
            element,
            octets,
        };
        assert!(gathering.add(&other, octets.len()));
    }
    let some = StoredFlow {
        record: FlowRecord {
            source_mac: [2, 0, 0, 0, 0, 1],
            inner_vlan: 9,
            mpls_labels: [0x12_3451, 0, 0, 0],
            flow_label: 5,
            bgp_next_hop: Ipv6Addr::LOCALHOST,
            outer_source: Ipv6Addr::LOCALHOST,
            ..FlowRecord::default()
        },
        others: gathering.finish(),
        ..flow()
    };
    assert!(need_all_columns(&[flow(), some.clone()]) && !need_all_columns(&[flow()]));
    let rows = batch(&[flow(), some]).unwrap();
    for (name, nulls) in [
        ("src_mac", 1),
        ("dst_mac", 2),
        ("inner_vlan", 1),
        ("mpls_label_1", 1),
        ("mpls_label_2", 2),
        ("flow_label", 1),
        ("bgp_next_hop", 1),
        ("outer_src_addr", 1),
        ("outer_dst_addr", 2),
        ("others", 1),
    ] {
        let column = rows.column_by_name(name).unwrap();
        assert_eq!(column.null_count(), nulls, "{name}");
    }
    let others = rows.column_by_name("others").unwrap().as_map();
    let keys: Vec<_> = others.keys().as_string::<i32>().iter().flatten().collect();
    assert_eq!(keys, ["95", "6871.14", "95#2"]);
    assert_eq!(others.values().as_binary::<i32>().value(1), octets);
}
