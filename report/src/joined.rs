//! Both directions of a connection as one line, as nfdump's `-b` and `-B` have them. Flows of one 5-tuple and
//! of its reverse are gathered by the engine, which spills what memory does not hold; only TCP and UDP have a
//! reverse, since ICMP's ports are no ports.

use anyhow::{Result, bail};
use datafusion::{
    common::tree_node::{Transformed, TreeNode as _},
    functions_aggregate::expr_fn::{bit_or, max, min, sum},
    prelude::{DataFrame, Expr, col, lit, when},
};

use crate::{
    filter::{Filter, plan},
    format::Format,
    functions,
    others::{self, OtherKind},
    question::Misasked,
};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Where nfdump's `-B` takes ports to be of other kinds: well known, registered (as Linux and as IANA end
/// them), and neither.
const BOUNDS: [u16; 3] = [1024, 32_768, 49_152];

/// What a line of both directions has; counters without a word are those of the direction that began.
const COLUMNS: [&str; 14] = [
    "flow_start",
    "flow_end",
    "protocol",
    "src_addr",
    "dst_addr",
    "src_port",
    "dst_port",
    "tcp_flags",
    "tos",
    "packets",
    "octets",
    OUT_PACKETS,
    OUT_OCTETS,
    FLOWS,
];
/// Packets of the other direction.
pub const OUT_PACKETS: &str = "out_packets";
/// Octets of the other direction.
pub const OUT_OCTETS: &str = "out_octets";
/// Flows that were gathered.
const FLOWS: &str = "flows";

/// Which direction comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// The one that began.
    Begun,
    /// The one to the server, where the ports tell which that is; else the one that began.
    ToServer,
}

/// The columns that a format's lines are made of, of flows or of both directions.
///
/// # Errors
/// If a token shows what a line of both directions has not.
pub fn columns(format: &Format, is_joined: bool) -> Result<Vec<Expr>> {
    let mut columns = format.columns();
    if is_joined {
        if let Some(missing) = columns.iter().find(|column| !COLUMNS.contains(column)) {
            bail!(Misasked(format!(
                "a line of both directions has no `{missing}`, which is each flow's own: leave out the tokens \
                 that show it, or -b and -B"
            )));
        }
        columns.extend([OUT_PACKETS, OUT_OCTETS, FLOWS]);
    }
    Ok(columns.into_iter().map(col).collect())
}

/// Packets and octets of a flow that left, as its exporter counted them apart from what came in (v9's OUT counters).
#[must_use]
pub fn out_counts(is_scaled: bool) -> [Expr; 2] {
    let counts = ["24", "23"].map(|key| others::other_expression(OtherKind::Number, [key, key]));
    if is_scaled {
        counts.map(|count| functions::scaled_expression(count, col("sampling_interval")))
    } else {
        counts
    }
}

/// The same as columns, where a line is one flow.
#[must_use]
pub fn out_columns(is_scaled: bool) -> [Expr; 2] {
    let [packets, octets] = out_counts(is_scaled);
    [packets.alias(OUT_PACKETS), octets.alias(OUT_OCTETS)]
}

/// A condition on flows as one on flows whose octets and packets are scaled: what left is, too.
///
/// # Errors
/// If the engine does not take the expression.
pub fn scaled(predicate: Expr) -> Result<Expr> {
    let counts = out_counts(false).into_iter().zip(out_counts(true));
    replaced(predicate, &counts.collect::<Vec<_>>())
}

/// An expression with others in the place of parts of it.
fn replaced(whole: Expr, pairs: &[(Expr, Expr)]) -> Result<Expr> {
    // From the inside out, so that nothing is looked for in what was put in.
    let replace = |part: Expr| {
        let found = pairs.iter().find(|(known, _)| *known == part);
        Ok(match found {
            Some((_, other)) => Transformed::yes(other.clone()),
            None => Transformed::no(part),
        })
    };
    Ok(whole.transform_up(replace)?.data)
}

/// Both directions of each connection in a row of [`COLUMNS`].
///
/// # Errors
/// If the engine does not take the plan.
pub fn joined(flows: DataFrame, first: First) -> Result<DataFrame> {
    let gathered = sides(flows)?.aggregate(
        ["protocol", "near_addr", "far_addr", "near_port", "far_port"]
            .map(col)
            .to_vec(),
        vec![
            min(col("flow_start")).alias("flow_start"),
            max(col("flow_end")).alias("flow_end"),
            min(col("there_start")).alias("there_start"),
            min(col("back_start")).alias("back_start"),
            bit_or(col("there_flags")).alias("there_flags"),
            bit_or(col("back_flags")).alias("back_flags"),
            min(col("there_tos")).alias("there_tos"),
            min(col("back_tos")).alias("back_tos"),
            sum(col("there_packets")).alias("there_packets"),
            sum(col("back_packets")).alias("back_packets"),
            sum(col("there_octets")).alias("there_octets"),
            sum(col("back_octets")).alias("back_octets"),
            sum(col(FLOWS)).alias(FLOWS),
        ],
    )?;
    let is_back = is_back(first);
    let either = |back: Expr, there: Expr| when(is_back.clone(), back).otherwise(there);
    let ends = |near: &str, far: &str| either(col(far), col(near));
    // Of the other direction, where there is no flow of this one.
    let known =
        |own: &str, other: &str| when(col(own).is_not_null(), col(own)).otherwise(col(other));
    let of_first = |back: &str, there: &str| either(known(back, there)?, known(there, back)?);
    let count = |back: &str, there: &str| {
        let [back, there] = [back, there].map(|name| functions::sum_expression(col(name)));
        either(back, there)
    };
    Ok(gathered.select(vec![
        col("flow_start"),
        col("flow_end"),
        col("protocol"),
        ends("near_addr", "far_addr")?.alias("src_addr"),
        ends("far_addr", "near_addr")?.alias("dst_addr"),
        ends("near_port", "far_port")?.alias("src_port"),
        ends("far_port", "near_port")?.alias("dst_port"),
        of_first("back_flags", "there_flags")?.alias("tcp_flags"),
        of_first("back_tos", "there_tos")?.alias("tos"),
        count("back_packets", "there_packets")?.alias("packets"),
        count("back_octets", "there_octets")?.alias("octets"),
        count("there_packets", "back_packets")?.alias(OUT_PACKETS),
        count("there_octets", "back_octets")?.alias(OUT_OCTETS),
        col(FLOWS),
    ])?)
}

/// Lines of [`joined`] that fit a filter; what left is what the other direction has.
///
/// # Errors
/// If it looks at what such a line has not.
pub fn fitting(lines: DataFrame, filter: &Filter) -> Result<DataFrame> {
    let columns = [OUT_PACKETS, OUT_OCTETS].map(col);
    let counts = out_counts(false).into_iter().zip(columns);
    let predicate = replaced(plan::plan(filter), &counts.collect::<Vec<_>>())?;
    let columns = predicate.column_refs().into_iter();
    let missing = columns
        .map(|column| column.name().to_owned())
        .find(|column| !COLUMNS.contains(&column.as_str()));
    if let Some(missing) = missing {
        bail!(Misasked(format!(
            "a line of both directions has no `{missing}`, which is each flow's own: ask for it in the filter of \
             flows"
        )));
    }
    Ok(lines.filter(predicate)?)
}

/// Flows with a near and a far end, which are the same ones for both directions: the near end has the higher
/// port, and of two equal ones the lower address. `there` is what the near end sends, `back` what it gets.
fn sides(flows: DataFrame) -> Result<DataFrame> {
    let lower = col("src_port").lt(col("dst_port"));
    let same = col("src_port").eq(col("dst_port"));
    let has_ports = col("protocol")
        .eq(lit(TCP))
        .or(col("protocol").eq(lit(UDP)));
    let turned = has_ports.and(lower.or(same.and(col("src_addr").gt(col("dst_addr")))));
    let end = |own: &str, other: &str| when(turned.clone(), col(other)).otherwise(col(own));
    let count = |name: &str, is_back: bool| {
        let (back, there) = if is_back {
            (col(name), lit(0u64))
        } else {
            (lit(0u64), col(name))
        };
        let counted = when(turned.clone(), back).otherwise(there)?;
        Ok::<_, anyhow::Error>(functions::addend_expression(counted))
    };
    // Null in the other direction.
    let there = |name: &str| when(!turned.clone(), col(name)).end();
    let back = |name: &str| when(turned.clone(), col(name)).end();
    let columns = vec![
        col("protocol"),
        end("src_addr", "dst_addr")?.alias("near_addr"),
        end("dst_addr", "src_addr")?.alias("far_addr"),
        end("src_port", "dst_port")?.alias("near_port"),
        end("dst_port", "src_port")?.alias("far_port"),
        col("flow_start"),
        col("flow_end"),
        there("flow_start")?.alias("there_start"),
        back("flow_start")?.alias("back_start"),
        there("tcp_flags")?.alias("there_flags"),
        back("tcp_flags")?.alias("back_flags"),
        there("tos")?.alias("there_tos"),
        back("tos")?.alias("back_tos"),
        count("packets", false)?.alias("there_packets"),
        count("packets", true)?.alias("back_packets"),
        count("octets", false)?.alias("there_octets"),
        count("octets", true)?.alias("back_octets"),
        col(FLOWS),
    ];
    Ok(flows.select(columns)?)
}

/// Whether the far end's direction comes first.
fn is_back(first: First) -> Expr {
    let alone = col("there_start").is_null();
    let earlier = col("back_start").lt(col("there_start"));
    let begun = col("back_start").is_not_null().and(alone.or(earlier));
    match first {
        First::Begun => begun,
        // The near end has the higher port, so it is the client where the ports are of two kinds.
        First::ToServer => BOUNDS.into_iter().fold(begun, |begun, bound| {
            let far_below = col("far_port").lt(lit(bound));
            let near_above = col("near_port").gt_eq(lit(bound));
            begun.and(!(far_below.and(near_above)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, sync::Arc};

    use arrow::array::RecordBatch;
    use datafusion::{datasource::MemTable, prelude::SessionContext};
    use futures::{StreamExt as _, stream};
    use weir_netflow::FlowRecord;
    use weir_store::{
        others::Others,
        schema::{self, StoredFlow},
    };

    use super::*;
    use crate::{
        filter::{self, Surroundings, sets::Library},
        lines,
    };

    /// A flow of so many octets, begun so many seconds after another.
    fn flow(from: (u8, u16), to: (u8, u16), protocol: u8, octets: u64, second: u64) -> StoredFlow {
        let address = |last| Ipv4Addr::new(10, 0, 0, last).to_ipv6_mapped();
        StoredFlow {
            record: FlowRecord {
                source: address(from.0),
                destination: address(to.0),
                source_port: from.1,
                destination_port: to.1,
                protocol,
                tcp_flags: if octets > 1000 { 0x10 } else { 0x02 },
                octets,
                packets: octets / 100,
                start_ns: second * 1_000_000_000,
                end_ns: second * 1_000_000_000 + 500_000_000,
                ..FlowRecord::default()
            },
            received_ns: 0,
            exporter: address(1),
            source_id: 0,
            version: 9,
            others: Others::NONE,
        }
    }

    /// Lines of both directions, in order, and how many flows they are of.
    fn lines_of(flows: &[StoredFlow], first: First) -> (Vec<String>, u64) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let batch = schema::batch(flows).unwrap();
            let table = MemTable::try_new(schema::schema(), vec![vec![batch]]).unwrap();
            let context = SessionContext::new();
            let flows = context.read_table(Arc::new(table)).unwrap();
            let fields = schema::schema();
            let stored = fields.fields().iter().map(|field| col(field.name()));
            let columns: Vec<Expr> = stored.chain([lit(1u64).alias(FLOWS)]).collect();
            let flows = joined(flows.select(columns).unwrap(), first).unwrap();
            let tokens = "fmt:%pr %sap %dap %flg %ipkt %ibyt %opkt %obyt %fl %td";
            let format = Format::parse(tokens).unwrap();
            let flows = flows
                .select(super::columns(&format, true).unwrap())
                .unwrap();
            let batches: Vec<RecordBatch> = flows.collect().await.unwrap();
            let batches = stream::iter(batches).map(Ok);
            let mut text = Vec::new();
            let printed = lines::print(batches, format, String::new(), &mut text).await;
            let text = String::from_utf8(text).unwrap();
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            let mut lines: Vec<String> = text.lines().map(words).collect();
            lines.sort();
            (lines, printed.unwrap())
        })
    }

    #[test]
    fn both_directions_are_one_line_and_who_began_comes_first() {
        let flows = [
            flow((1, 40_000), (2, 80), TCP, 600, 10),
            flow((2, 80), (1, 40_000), TCP, 5000, 11),
            flow((1, 40_000), (2, 80), TCP, 400, 20),
            // An answer whose question is not here.
            flow((3, 53), (4, 50_000), UDP, 200, 5),
            // Equal ports, the higher address first.
            flow((9, 123), (8, 123), UDP, 100, 1),
            flow((8, 123), (9, 123), UDP, 300, 2),
            // No ports, so two lines.
            flow((1, 0), (2, 2048), 1, 100, 1),
            flow((2, 0), (1, 2048), 1, 100, 2),
        ];
        let (lines, gathered) = lines_of(&flows, First::Begun);
        assert_eq!(
            lines,
            [
                "ICMP 10.0.0.1:0 10.0.0.2:8.0 ........ 1 100 0 0 1 0.500",
                "ICMP 10.0.0.2:0 10.0.0.1:8.0 ........ 1 100 0 0 1 0.500",
                "TCP 10.0.0.1:40000 10.0.0.2:80 ......S. 10 1000 50 5000 3 10.500",
                "UDP 10.0.0.3:53 10.0.0.4:50000 ........ 2 200 0 0 1 0.500",
                "UDP 10.0.0.9:123 10.0.0.8:123 ........ 1 100 3 300 2 1.500",
            ]
        );
        assert_eq!(gathered, 8);
    }

    #[test]
    fn a_server_is_told_by_its_port_if_that_is_wanted() {
        let flows = [
            flow((3, 53), (4, 50_000), UDP, 200, 5),
            // Two ports of one kind tell nothing.
            flow((5, 40_000), (6, 40_001), UDP, 200, 5),
        ];
        let (lines, _) = lines_of(&flows, First::ToServer);
        assert_eq!(
            lines,
            [
                "UDP 10.0.0.4:50000 10.0.0.3:53 ........ 0 0 2 200 1 0.500",
                "UDP 10.0.0.5:40000 10.0.0.6:40001 ........ 2 200 0 0 1 0.500",
            ]
        );
    }

    /// How many lines of both directions fit.
    fn fitting_lines(flows: &[StoredFlow], filter: &str) -> Result<usize> {
        let library = Library::new("/no/such/folder".into());
        let around = Surroundings {
            now_ns: 0,
            library: &library,
            resolve: |_| Vec::new(),
        };
        let filter = filter::parse(filter, &around)?;
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let context = SessionContext::new();
            let flows = context.read_batch(schema::batch(flows).unwrap())?;
            let fields = schema::schema();
            let stored = fields.fields().iter().map(|field| col(field.name()));
            let columns: Vec<Expr> = stored.chain([lit(1u64).alias(FLOWS)]).collect();
            let lines = joined(flows.select(columns)?, First::Begun)?;
            Ok(super::fitting(lines, &filter)?.count().await?)
        })
    }

    #[test]
    fn lines_are_filtered_by_what_they_have() {
        let flows = [
            flow((1, 40_000), (2, 80), TCP, 600, 10),
            flow((2, 80), (1, 40_000), TCP, 5000, 11),
            flow((1, 40_000), (2, 80), TCP, 400, 20),
            // Nobody answered.
            flow((3, 50_000), (4, 53), UDP, 200, 5),
        ];
        for (filter, lines) in [
            ("any", 2),
            ("flows > 2", 1),
            ("bytes = 1000", 1),
            ("out bytes = 5000 and out packets 50", 1),
            ("out packets 0", 1),
            ("bytes > out bytes", 1),
            ("not dst port 53 and duration > 10000", 1),
            ("src ip 10.0.0.2", 0),
        ] {
            assert_eq!(fitting_lines(&flows, filter).unwrap(), lines, "{filter}");
        }
        let says = fitting_lines(&flows, "vlan 5").unwrap_err().to_string();
        assert!(says.contains("ask for it in the filter of flows"), "{says}");
    }

    #[test]
    fn what_is_each_flows_own_is_refused() {
        let columns = |format: &str| columns(&Format::parse(format).unwrap(), true);
        assert!(columns("bilong").is_ok() && columns("extended").is_ok());
        let says = columns("fmt:%sap %ra").unwrap_err().to_string();
        assert!(says.contains("has no `exporter`"), "{says}");
    }
}
