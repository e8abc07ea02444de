//! `weir host`: what a host did: with whom, by what, when, and where the data has gaps.

use std::net::IpAddr;

use anyhow::Result;
use clap::Args;
use datafusion::prelude::{Expr, col, lit, when};
use serde_json::json;

use crate::{
    answer::{Answer, Cell, Column, Table},
    bins::{Bin, Bins, bar},
    data::Coverage,
    filter::{
        self, Filter,
        ast::{Field, Test},
        plan::plan,
        ranges::{self, Ranges},
        sets::Items,
    },
    gather::{Gathering, gather},
    leading::Leading,
    question::{Question, Source},
    series, text,
    two_way::{
        Direction, Ends, Exchanged, address_cell, exchanged_cells, exchanged_columns,
        exchanged_in_all, service_cells, two_way,
    },
};

/// Characters of the longest bar.
const BAR_WIDTH: u64 = 20;

/// What `weir host` is asked.
#[derive(Debug, Args)]
pub struct Options {
    /// The host's address or name; a network (10.1.0.0/24) or a range of addresses, whose hosts are told apart
    #[arg(value_name = "HOST", value_parser = Hosts::parse)]
    hosts: Hosts,
    #[command(flatten)]
    source: Source,
    /// Length of an interval of the time line, as 5m or 1h
    #[arg(long, value_name = "TIME", value_parser = series::length)]
    every: Option<i64>,
    /// Peers shown; 0: all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    lines: usize,
}

/// Whom it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hosts {
    /// As it was asked.
    text: String,
    members: Ranges,
}

impl Hosts {
    /// An address, a network, a range of addresses, or a name as the system resolves it.
    fn parse(text: &str) -> Result<Self, String> {
        let members = Items::Addresses.item(text, filter::resolve)?;
        Ok(Self {
            text: text.to_owned(),
            members: Ranges::new(members),
        })
    }

    fn is_one(&self) -> bool {
        matches!(self.members.pairs(), [(first, last)] if first == last)
    }

    /// As it was asked; of a name its addresses, too.
    fn title(&self) -> String {
        let is_address = self.text.parse::<IpAddr>().is_ok();
        match self.members.singles() {
            Some(addresses) if !is_address => {
                let each = addresses.iter();
                let each = each.map(|address| text::address(&ranges::octets_of(*address)));
                format!("{} ({})", self.text, each.collect::<Vec<_>>().join(", "))
            }
            _ => self.text.clone(),
        }
    }
}

/// Answers it.
///
/// # Errors
/// If the filter does not fit, the query fails, or the output is closed.
pub async fn run(options: &Options) -> Result<Coverage> {
    let of_host = |field: Field| -> Filter {
        let ranges = options.hosts.members.clone();
        Test::Within { field, ranges }.into()
    };
    let sent = of_host(Field::SourceAddress);
    let received = of_host(Field::DestinationAddress);
    let either = Filter::Any(vec![sent.clone(), received.clone()]);
    let asked = options.source.asked()?.and(either);
    let question = options.source.question_of(asked)?;
    let (sent, received) = (plan(&sent), plan(&received));
    let mut answer = Answer::default();
    peers(options, &question, &sent, &received, &mut answer).await?;
    time_line(options, &question, sent, received, &mut answer).await?;
    gaps(&question.coverage, &mut answer);
    answer.print(&question.coverage, options.source.json)?;
    Ok(question.coverage)
}

/// With whom, and by what: the port of the two that is lower names the service.
async fn peers(
    options: &Options,
    question: &Question,
    sent: &Expr,
    received: &Expr,
    answer: &mut Answer,
) -> Result<()> {
    let lower =
        when(col("src_port").lt(col("dst_port")), col("src_port")).otherwise(col("dst_port"))?;
    let direction = |predicate: &Expr, sent: bool| Direction {
        predicate: predicate.clone(),
        near: if sent { "src_addr" } else { "dst_addr" },
        far: if sent { "dst_addr" } else { "src_addr" },
        port: lower.clone(),
        label: lit(""),
        flows: col("flows"),
        sent,
    };
    let directions = [direction(sent, true), direction(received, false)];
    let mut leading: Leading<Ends, Exchanged> = Leading::new(options.lines);
    let mut total = Exchanged::default();
    let mut number = 0u64;
    two_way(&question.flows, directions, |ends, exchanged| {
        total.add(&exchanged);
        number += 1;
        leading.offer(exchanged.octets(), || (ends, exchanged));
    })
    .await?;
    let is_one = options.hosts.is_one();
    answer.flows = if is_one {
        total.sent_flows.saturating_add(total.received_flows)
    } else {
        // What they exchange with one another was sent and received by one of them.
        let all = gather(question.flows.clone(), &Gathering::default(), |_| {}).await?;
        all.counts.flows
    };
    let leading = leading.finish();
    let mut columns = Vec::new();
    if !is_one {
        columns.push(Column::words("host", "Host"));
    }
    columns.extend([
        Column::words("peer", "Peer"),
        Column::words("protocol", "Protocol"),
        Column::words("service", "Service"),
    ]);
    let words = columns.len();
    columns.extend(exchanged_columns());
    let mut table = Table {
        title: format!("{} exchanged with", options.hosts.title()),
        columns,
        ..Table::default()
    };
    for (ends, exchanged) in &leading {
        let mut row = Vec::new();
        if !is_one {
            row.push(address_cell(&ends.near)?);
        }
        row.push(address_cell(&ends.far)?);
        row.extend(service_cells(ends)?);
        row.extend(exchanged_cells(exchanged));
        table.rows.push(row);
    }
    let shown = leading.len() as u64;
    let hidden = number.saturating_sub(shown);
    table.foot = vec![exchanged_in_all(words, &total, hidden)];
    answer.table("peers", table);
    answer.json.insert("peers_in_all".to_owned(), json!(number));
    Ok(())
}

async fn time_line(
    options: &Options,
    question: &Question,
    sent: Expr,
    received: Expr,
    answer: &mut Answer,
) -> Result<()> {
    let stretch = series::stretch_ns(&question.filter, &question.coverage, question.now_ns);
    let Some((from_ns, to_ns)) = stretch else {
        return Ok(());
    };
    let length_ns = options
        .every
        .unwrap_or_else(|| Bins::fitting_length_ns(from_ns, to_ns));
    let mut up = Bins::new(from_ns, to_ns, length_ns)?;
    let mut down = up.clone();
    series::fill(question.flows.clone().filter(sent)?, &mut up).await?;
    series::fill(question.flows.clone().filter(received)?, &mut down).await?;
    let both = up.spans.iter().zip(&down.spans);
    let most = both
        .clone()
        .map(|(up, down)| up.octets.max(down.octets))
        .max();
    let most = most.unwrap_or(0);
    // Stretches without traffic are told by the times of the lines around them.
    let idle = Bin::default();
    let busy = both
        .zip(0..)
        .filter(|((up, down), _)| [**up, **down] != [idle; 2]);
    let rows = busy.map(|((sent, received), at)| {
        vec![
            Cell::Time(up.start_of(at)),
            Cell::Count(sent.octets),
            Cell::Text(bar(sent.octets, most, BAR_WIDTH)),
            Cell::Count(received.octets),
            Cell::Text(bar(received.octets, most, BAR_WIDTH)),
            Cell::Count(sent.flows.saturating_add(received.flows)),
        ]
    });
    let table = Table {
        title: format!("Over time, {} a line", text::stretch(length_ns)),
        columns: vec![
            Column::words("from", "From (UTC)"),
            Column::numbers("sent_octets", "Octets sent"),
            Column::words("sent_bar", ""),
            Column::numbers("received_octets", "Octets received"),
            Column::words("received_bar", ""),
            Column::numbers("flows", "Flows begun"),
        ],
        rows: rows.collect(),
        ..Table::default()
    };
    answer.table("time_line", table);
    Ok(())
}

/// Stretches of which nothing can be said, because nothing was received.
fn gaps(coverage: &Coverage, answer: &mut Answer) {
    let gaps = coverage.gaps_ns();
    let lines: Vec<_> = gaps
        .iter()
        .map(|(from, to)| {
            format!(
                "{} was heard from {} to {} UTC: what happened then is not known",
                coverage.unheard(),
                text::time_to_second(*from),
                text::time_to_second(*to)
            )
        })
        .collect();
    let value = gaps
        .iter()
        .map(|(from, to)| json!({ "from": text::time_json(*from), "to": text::time_json(*to) }));
    let value = value.collect();
    if lines.is_empty() {
        answer.json.insert("gaps".to_owned(), value);
    } else {
        answer.line("gaps", value, lines.join("\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_addresses_networks_and_names() {
        let parsed = |text: &str| Hosts::parse(text).unwrap();
        assert!(parsed("10.1.0.7").is_one() && parsed("::1").is_one());
        assert_eq!(parsed("10.1.0.7").title(), "10.1.0.7");
        let network = parsed("10.1.0.0/24");
        assert!(!network.is_one());
        assert_eq!(network.title(), "10.1.0.0/24");
        // Every system knows itself by this name.
        let named = parsed("localhost").title();
        assert!(
            named.starts_with("localhost (") && named.contains('1'),
            "{named}"
        );
        for (text, words) in [
            ("10.1.0", "no IPv4 or IPv6 address"),
            ("10.1.0.0/33", "at most 32"),
        ] {
            let says = Hosts::parse(text).unwrap_err();
            assert!(says.contains(words), "{text}: {says}");
        }
    }
}
