//! `weir who`: who uses the services of a catalogue, with whom, and whether there was an answer.
//!
//! A catalogue is a file of lines `LABEL: FILTER`; the filter is of what the user sends. Those that are
//! shipped are in `report/who`; a file of the same name in the library comes first. What follows a `#`
//! is a comment.

use anyhow::{Context as _, Result, bail};
use clap::Args;
use datafusion::prelude::{Expr, bitwise_and, col, lit, when};
use serde_json::json;

use crate::{
    answer::{Answer, Cell, Column, Table},
    data::Coverage,
    element::KeyValue,
    filter::Filter,
    leading::Leading,
    question::{Misasked, Source},
    text,
    two_way::{
        Direction, Ends, Exchanged, address_cell, exchanged_cells, exchanged_in_all, service_cells,
        two_way,
    },
};

/// Catalogues that need no file.
const SHIPPED: [(&str, &str); 7] = [
    ("databases", include_str!("../who/databases")),
    ("dns", include_str!("../who/dns")),
    ("files", include_str!("../who/files")),
    ("mail", include_str!("../who/mail")),
    ("remote", include_str!("../who/remote")),
    ("vpn", include_str!("../who/vpn")),
    ("web", include_str!("../who/web")),
];

/// What `weir who` is asked.
#[derive(Debug, Args)]
pub struct Options {
    /// A catalogue: databases, dns, files, mail, remote, vpn, web, one of your own, or a file's path
    #[arg(value_name = "CATALOGUE")]
    catalogue: String,
    #[command(flatten)]
    source: Source,
    /// Only users in this set, as `@inside` or `[10.0.0.0/8]`
    #[arg(long, value_name = "SET")]
    inside: Option<String>,
    /// Lines shown; 0: all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    lines: usize,
}

/// A line of a catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    label: String,
    /// What the user sends.
    filter: Filter,
}

/// Answers it.
///
/// # Errors
/// If the catalogue or the filter does not fit, the query fails, or the output is closed.
pub async fn run(options: &Options) -> Result<Coverage> {
    let source = &options.source;
    let mut asked = source.asked()?;
    if let Some(inside) = &options.inside {
        let users = source.parse(&format!("src ip in {inside}"));
        asked = asked.and(users.context("--inside")?);
    }
    let mut rules = catalogue(options)?;
    for rule in &mut rules {
        rule.filter = rule.filter.clone().and(asked.clone());
    }
    let either = rules.iter().map(|rule| rule.filter.clone().connection());
    let question = source.question_of(Filter::Any(either.collect()))?;
    let direction = |sent| direction(&rules, sent, |filter| source.plan(filter));
    let directions = [direction(true)?, direction(false)?];
    let mut leading: Leading<Ends, Exchanged> = Leading::new(options.lines);
    let mut total = Exchanged::default();
    let mut all = 0;
    two_way(&question.flows, directions, |ends, exchanged| {
        // Answers to nobody are no use of a service.
        if exchanged.sent_flows > 0 {
            all += 1;
            total.add(&exchanged);
            leading.offer(exchanged.octets(), || (ends, exchanged));
        }
    })
    .await?;
    let leading = leading.finish();
    let mut answer = Answer {
        flows: total.sent_flows.saturating_add(total.received_flows),
        ..Answer::default()
    };
    answer.table("users", table(&leading, &total)?);
    let unanswered = leading
        .iter()
        .filter(|(_, exchanged)| exchanged.received_flows == 0);
    let unanswered = unanswered.count();
    let shown = leading.len() as u64;
    let more = match all - shown {
        0 => String::new(),
        more => format!("; {} lines more are not shown", text::count(more)),
    };
    let line = format!("{unanswered} of {shown} lines shown had no answer{more}");
    answer.line("unanswered", json!(unanswered), line);
    answer.json.insert("users_in_all".to_owned(), json!(all));
    answer.print(&question.coverage, source.json)?;
    Ok(question.coverage)
}

/// The rules of a catalogue.
fn catalogue(options: &Options) -> Result<Vec<Rule>> {
    let name = &options.catalogue;
    let own = options
        .source
        .library()
        .read("who", name)
        .map_err(Misasked)?;
    let shipped = || SHIPPED.iter().find(|(known, _)| known == name);
    let Some(text) = own.or_else(|| shipped().map(|(_, text)| (*text).to_owned())) else {
        let names = SHIPPED.map(|(name, _)| name).join(", ");
        bail!(Misasked(format!(
            "there is no catalogue `{name}` in {}/who; shipped are {names}",
            options.source.library.display()
        )));
    };
    rules(name, &text, |filter| options.source.parse(filter))
}

fn rules(name: &str, text: &str, parse: impl Fn(&str) -> Result<Filter>) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let place = || format!("catalogue {name}, line {number}");
        let (label, filter) = line
            .split_once(':')
            .ok_or_else(|| Misasked(format!("{}: write LABEL: FILTER", place())))?;
        let filter = parse(filter).with_context(place)?;
        let label = label.trim().to_owned();
        rules.push(Rule { label, filter });
    }
    if rules.is_empty() {
        bail!(Misasked(format!("catalogue {name} has no line")));
    }
    Ok(rules)
}

/// What users send, or what they receive; `plan` makes conditions of filters.
fn direction(
    rules: &[Rule],
    sent: bool,
    plan: impl Fn(&Filter) -> Result<Expr>,
) -> Result<Direction> {
    let of_direction = |rule: &Rule| {
        if sent {
            rule.filter.clone()
        } else {
            rule.filter.swapped()
        }
    };
    let filters: Vec<Filter> = rules.iter().map(of_direction).collect();
    let mut labels = when(lit(false), lit(""));
    for (rule, filter) in rules.iter().zip(&filters) {
        labels = labels.when(plan(filter)?, lit(rule.label.clone()));
    }
    Ok(Direction {
        predicate: plan(&Filter::Any(filters))?,
        near: if sent { "src_addr" } else { "dst_addr" },
        far: if sent { "dst_addr" } else { "src_addr" },
        port: col(if sent { "dst_port" } else { "src_port" }),
        label: labels.otherwise(lit(""))?,
        flows: if sent { col("flows") } else { answers()? },
        sent,
    })
}

/// One for a flow that is an answer. One that has resets and no SYN refuses.
fn answers() -> Result<Expr> {
    const SYN: u16 = 0x02;
    const RST: u16 = 0x04;
    let bits = bitwise_and(col("tcp_flags"), lit(SYN | RST));
    let refuses = col("protocol").eq(lit(6u8)).and(bits.eq(lit(RST)));
    Ok(when(refuses, lit(0u64)).otherwise(col("flows"))?)
}

fn table(leading: &[(Ends, Exchanged)], total: &Exchanged) -> Result<Table> {
    let mut table = Table {
        columns: vec![
            Column::words("user", "User"),
            Column::words("what", "What"),
            Column::words("peer", "Peer"),
            Column::words("protocol", "Protocol"),
            Column::words("service", "Service"),
            Column::words("answered", "Answered"),
            Column::numbers("sent_octets", "Octets sent"),
            Column::numbers("received_octets", "Octets received"),
            Column::numbers("sent_flows", "Flows sent"),
            Column::numbers("answers", "Answers"),
            Column::words("first", "First (UTC)"),
            Column::words("last", "Last (UTC)"),
        ],
        ..Table::default()
    };
    for (ends, exchanged) in leading {
        let what = match &ends.label {
            KeyValue::Text(label) => label.clone(),
            _ => String::new(),
        };
        let mut row = vec![
            address_cell(&ends.near)?,
            Cell::Text(what),
            address_cell(&ends.far)?,
        ];
        row.extend(service_cells(ends)?);
        row.push(Cell::Flag(exchanged.received_flows > 0));
        row.extend(exchanged_cells(exchanged));
        table.rows.push(row);
    }
    table.foot = vec![exchanged_in_all(6, total, 0)];
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Misunderstood, Surroundings, parse, plan::plan, sets::Library};

    fn read(name: &str, text: &str) -> Result<Vec<Rule>> {
        let library = Library::new("/no/such/folder".into());
        let around = Surroundings {
            now_ns: 0,
            library: &library,
            resolve: |_| Vec::new(),
        };
        rules(name, text, |filter| Ok(parse(filter, &around)?))
    }

    #[test]
    fn what_is_shipped_is_understood() {
        for (name, text) in SHIPPED {
            let rules = read(name, text).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            assert!(rules.len() > 2, "{name}");
            for sent in [true, false] {
                assert!(direction(&rules, sent, |filter| Ok(plan(filter))).is_ok());
            }
        }
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, words) in [
            (
                "smtp: dst port 25\nimap dst port 143",
                "line 2: write LABEL: FILTER",
            ),
            ("# nothing\n\n", "has no line"),
            ("smtp: dst bort 25", "line 1"),
        ] {
            let error = read("own", text).unwrap_err();
            // The status is that of a wrong question, whatever is wrong with the line.
            assert!(error.is::<Misasked>() || error.is::<Misunderstood>());
            let error = format!("{error:#}");
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
