//! Connections: both directions of a 5-tuple in one line, as nfdump's `-B` has them.

use anyhow::Result;
use datafusion::prelude::{Expr, col, lit};
use serde_json::json;

use crate::{
    answer::{Answer, Column, Table},
    element::Element,
    leading::Leading,
    question::Question,
    two_way::{
        Direction, Ends, Exchanged, exchanged_cells, exchanged_columns, exchanged_in_all, two_way,
    },
};

/// The answer of connections, those with most octets first.
///
/// # Errors
/// If the query fails.
pub async fn connections(question: &Question, lines: usize) -> Result<Answer> {
    let mut leading: Leading<Ends, Exchanged> = Leading::new(lines);
    let mut total = Exchanged::default();
    let mut number = 0_u64;
    let directions = [direction(true), direction(false)];
    two_way(&question.flows, directions, |ends, exchanged| {
        total.add(&exchanged);
        number += 1;
        leading.offer(exchanged.octets(), || (ends, exchanged));
    })
    .await?;
    let leading = leading.finish();
    let hidden = number.saturating_sub(leading.len() as u64);
    let mut answer = Answer {
        flows: total.sent_flows.saturating_add(total.received_flows),
        ..Answer::default()
    };
    answer.table("connections", table(&leading, &total, hidden)?);
    let number = json!(number);
    answer.json.insert("connections_in_all".to_owned(), number);
    Ok(answer)
}

/// What clients send, or what they receive.
fn direction(sent: bool) -> Direction {
    let of_client = from_client();
    let (near, far) = if sent {
        ("src_addr", "dst_addr")
    } else {
        ("dst_addr", "src_addr")
    };
    let (client, server) = if sent {
        ("src_port", "dst_port")
    } else {
        ("dst_port", "src_port")
    };
    Direction {
        predicate: if sent { of_client } else { !of_client },
        near,
        far,
        port: col(server),
        label: col(client),
        flows: col("flows"),
        sent,
    }
}

/// Whether a flow comes from the client: the server has the lower port, and of two equal ones the higher
/// address. So each flow and its answers agree on who is who. ICMP's ports are a type and a code: who sends it is
/// the client.
fn from_client() -> Expr {
    let is_icmp = col("protocol").in_list(vec![lit(1u8), lit(58u8)], false);
    let higher = col("src_port").gt(col("dst_port"));
    let same = col("src_port").eq(col("dst_port"));
    let lower_address = col("src_addr").lt_eq(col("dst_addr"));
    is_icmp.or(higher).or(same.and(lower_address))
}

fn table(leading: &[(Ends, Exchanged)], total: &Exchanged, hidden: u64) -> Result<Table> {
    let element = |name: &str| Element::parse(name).map_err(anyhow::Error::msg);
    let (protocol, address, port) = (element("proto")?, element("srcip")?, element("srcport")?);
    let row = |(ends, exchanged): &(Ends, Exchanged)| {
        let mut row = vec![
            protocol.cell(&ends.protocol),
            address.cell(&ends.near),
            port.cell(&ends.label),
            address.cell(&ends.far),
            port.cell(&ends.port),
        ];
        row.extend(exchanged_cells(exchanged));
        row
    };
    let mut columns = vec![
        Column::words("proto", "Protocol"),
        Column::words("client", "Client"),
        Column::words("client_port", "Port"),
        Column::words("server", "Server"),
        Column::words("server_port", "Port"),
    ];
    let foot = exchanged_in_all(columns.len(), total, hidden);
    columns.extend(exchanged_columns());
    Ok(Table {
        columns,
        rows: leading.iter().map(row).collect(),
        foot: vec![foot],
        ..Table::default()
    })
}
