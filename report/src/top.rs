//! `weir top`: who has most, by any element and by several orders.
#![expect(clippy::cast_precision_loss, reason = "parts of a whole to one place")]

use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::{
    answer::{self, Answer, Cell, Column, Form, Part, Shape, Table},
    csv,
    data::Coverage,
    element::{self, Element},
    gather::{Counts, Gathering, Group, Row, Total, gather},
    joined,
    question::{Misasked, Question, Source},
    ranking::{Order, Ranking, Sorting, direction},
};

/// What `weir top` is asked.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    source: Source,
    /// What flows are gathered by: srcip, dstport, proto … as nfdump's -s; `srcip/24` cuts addresses,
    /// `srcip:p` splits by protocol, `srcip/bytes/flows` orders twice; may be repeated
    #[arg(short = 's', long, value_name = "ELEMENT", default_value = "srcip", value_parser = Statistic::parse)]
    by: Vec<Statistic>,
    /// What decides who has most: octets (if nothing is said), packets, flows, bps, pps, bpp, duration or
    /// distinct(ELEMENT), or what left: obytes, opackets, obps, opps or obpp; with `:a` behind it who has least;
    /// tstart or tend: who came or ended first; several with commas between
    #[arg(long, value_name = "ORDER", value_delimiter = ',')]
    order: Vec<String>,
    /// Count different values of this element; may be repeated, or several with commas between
    #[arg(long, value_name = "ELEMENT", value_delimiter = ',', value_parser = Element::parse)]
    distinct: Vec<Element>,
    /// Lines shown; 0: all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: usize,
    #[command(flatten)]
    shape: Shape,
}

/// A statistic as nfdump's -s has it: an element, whether it is split by protocol, and its orders.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Statistic {
    name: String,
    keys: Vec<Element>,
    orders: Vec<String>,
}

impl Statistic {
    fn parse(text: &str) -> Result<Self, String> {
        if text.contains(',') {
            return Err(format!(
                "each is a table of its own: --by may be repeated, and `weir group --by {text}` gathers by all of them"
            ));
        }
        let mut parts = text.split('/');
        let mut name = parts.next().unwrap_or_default().to_owned();
        let mut orders = Vec::new();
        for part in parts {
            // Prefix lengths stand before orders.
            if orders.is_empty() && part.bytes().all(|digit| digit.is_ascii_digit()) {
                name = format!("{name}/{part}");
            } else {
                orders.push(part.to_owned());
            }
        }
        let (element, is_split) = match name.strip_suffix(":p") {
            Some(element) => (element, true),
            None => (&name[..], false),
        };
        let mut keys = Vec::new();
        if is_split {
            keys.push(Element::parse("proto")?);
        }
        keys.push(Element::parse(element)?);
        Ok(Self { name, keys, orders })
    }
}

impl Statistic {
    /// Its own orders, or those that are for all.
    fn orders_or<'a>(&'a self, shared: &'a [String]) -> &'a [String] {
        if self.orders.is_empty() {
            shared
        } else {
            &self.orders
        }
    }
}

impl Options {
    /// How many tables there are.
    fn tables(&self, shared: &[String]) -> usize {
        let tables = self.by.iter();
        tables
            .map(|statistic| statistic.orders_or(shared).len())
            .sum()
    }

    /// Refuses orders that no element is shown by.
    fn check_orders(&self) -> Result<()> {
        let mut elements = self.by.iter();
        if !self.order.is_empty() && elements.all(|statistic| !statistic.orders.is_empty()) {
            bail!(Misasked(format!(
                "--order is for elements without orders of their own: leave it out, or the orders behind `{}/`",
                self.by[0].name
            )));
        }
        Ok(())
    }
}

/// Answers it.
///
/// # Errors
/// If the filter or an order does not fit, the query fails, or the output is closed.
pub async fn run(options: &Options) -> Result<Coverage> {
    let usual = vec!["octets".to_owned()];
    let is_usual = options.order.is_empty();
    let shared = if is_usual { &usual } else { &options.order };
    options.check_orders()?;
    let question = options.source.question()?;
    let mut answer = Answer {
        is_quiet: options.shape.quiet,
        ..Answer::default()
    };
    let form = options.shape.form(&options.source);
    let is_csv = form == Form::Csv;
    let mut lines = Vec::new();
    let mut statistics = Vec::new();
    let is_one = options.tables(shared) == 1;
    let mut whole = Counts::default();
    for statistic in &options.by {
        let Ranked {
            gathering,
            orders,
            total,
            rankings,
        } = ranked(statistic, statistic.orders_or(shared), &question, options).await?;
        whole = gathering.whole(&total).unwrap_or_default();
        for ((sorting, order_name), ranking) in orders.iter().zip(rankings) {
            let groups = ranking.finish();
            if is_csv {
                csv::statistic(&mut lines, &gathering, &groups, &whole);
                continue;
            }
            let shown = Shown {
                gathering: &gathering,
                order: sorting.order,
                whole: &whole,
                total: &total,
            };
            let mut table = shown.table(&groups);
            statistics.push(shown.json(&statistic.name, order_name, &table));
            if !is_one {
                table.title = format!("Top {} by {order_name}", statistic.name);
            }
            answer.parts.push(Part::Table(shown.printed(table)));
        }
    }
    if is_csv {
        if !options.shape.quiet {
            csv::summary(&mut lines, &whole);
        }
        let coverage = &question.coverage;
        answer::print_lines(&lines, coverage, whole.flows, options.shape.quiet)?;
        return Ok(question.coverage);
    }
    answer.flows = whole.flows;
    let mut keep = |name: &str, value| answer.json.insert(name.to_owned(), value);
    keep("statistics", Value::Array(statistics));
    let Counts {
        octets,
        packets,
        flows,
        ..
    } = whole;
    keep(
        "total",
        json!({ "octets": octets, "packets": packets, "flows": flows }),
    );
    let is_json = form == Form::Json;
    answer.print(&question.coverage, is_json)?;
    Ok(question.coverage)
}

/// A statistic, by each of its orders.
struct Ranked {
    gathering: Gathering,
    orders: Vec<(Sorting, String)>,
    total: Total,
    rankings: Vec<Ranking>,
}

async fn ranked(
    statistic: &Statistic,
    orders: &[String],
    question: &Question,
    options: &Options,
) -> Result<Ranked> {
    let mut distinct = options.distinct.clone();
    let orders = orders_of(orders, &mut distinct)?;
    let needs_times = |(sorting, _): &(Sorting, String)| sorting.order.needs_times();
    let needs_out = orders.iter().any(|(sorting, _)| sorting.order.needs_out());
    let gathering = Gathering {
        keys: statistic.keys.clone(),
        distinct,
        times: options.shape.form(&options.source) == Form::Csv || orders.iter().any(needs_times),
        out: needs_out.then(|| joined::out_counts(options.source.scaled)),
        having: None,
    };
    let sortings = orders.iter().map(|(sorting, _)| *sorting);
    let rankings = sortings.map(|sorting| Ranking::sorted(sorting, options.lines));
    let mut rankings: Vec<_> = rankings.collect();
    let offer = |row: &Row<'_>| rankings.iter_mut().for_each(|ranking| ranking.offer(row));
    let total = gather(question.flows.clone(), &gathering, offer).await?;
    Ok(Ranked {
        gathering,
        orders,
        total,
        rankings,
    })
}

/// Orders by their names; elements of `distinct(x)` are counted too.
fn orders_of(names: &[String], distinct: &mut Vec<Element>) -> Result<Vec<(Sorting, String)>> {
    let mut orders = Vec::new();
    for whole in names {
        let (name, is_ascending) = direction(whole);
        let counted = name
            .strip_prefix("distinct(")
            .and_then(|rest| rest.strip_suffix(')'));
        let order = match (Order::parse(name), counted) {
            (Some(order), _) => order,
            (None, Some(element)) => {
                let element = Element::parse(element).map_err(Misasked)?;
                let at = distinct.iter().position(|known| *known == element);
                Order::Distinct(at.unwrap_or_else(|| {
                    distinct.push(element);
                    distinct.len() - 1
                }))
            }
            (None, None) => bail!(Misasked(format!(
                "no order is called `{name}`: there are octets, packets, flows, bps, pps, bpp, obytes, opackets, obps, \
                 opps, obpp, duration, tstart, tend and distinct(ELEMENT)"
            ))),
        };
        orders.push((Sorting::of(order, is_ascending), whole.clone()));
    }
    Ok(orders)
}

/// One table of the answer.
struct Shown<'a> {
    gathering: &'a Gathering,
    order: Order,
    whole: &'a Counts,
    total: &'a Total,
}

impl Shown<'_> {
    fn table(&self, groups: &[Group]) -> Table {
        let keys = self
            .gathering
            .keys
            .iter()
            .map(|key| Column::words(&key.name, &key.heading));
        let mut columns: Vec<_> = keys.collect();
        columns.push(Column::numbers("octets", "Octets"));
        columns.push(Column::numbers("packets", "Packets"));
        columns.push(Column::numbers("flows", "Flows"));
        for element in &self.gathering.distinct {
            let name = format!("distinct({})", element.name);
            columns.push(Column::numbers(&name, &name));
        }
        if self.own_column() {
            let name = self.order.name();
            columns.push(Column::numbers(name, name));
        }
        columns.push(Column::numbers("share", "%"));
        let rows: Vec<_> = groups.iter().map(|group| self.row(group)).collect();
        Table {
            title: String::new(),
            columns,
            rows,
            foot: self.foot(groups),
        }
    }

    /// Whether what it is ordered by has no column anyway.
    fn own_column(&self) -> bool {
        self.order.needs_times() || self.order.needs_out() || self.order == Order::Bpp
    }

    fn row(&self, group: &Group) -> Vec<Cell> {
        let mut row = element::cells(&self.gathering.keys, &group.keys);
        let counts = &group.counts;
        row.extend([counts.octets, counts.packets, counts.flows].map(Cell::Count));
        row.extend(counts.distinct.iter().copied().map(Cell::Count));
        if self.own_column() {
            let measure = self.order.measure(counts);
            row.push(match self.order {
                Order::Duration => Cell::Milliseconds(measure),
                Order::Start => Cell::Time(counts.times_ns.0),
                Order::End => Cell::Time(counts.times_ns.1),
                _ => Cell::Count(measure),
            });
        }
        row.push(self.share(counts));
        row
    }

    /// As people read it: a column of nothing is left out.
    fn printed(&self, mut table: Table) -> Table {
        if self.share(self.whole) == Cell::Empty {
            table.columns.pop();
            for row in table.rows.iter_mut().chain(&mut table.foot) {
                row.pop();
            }
        }
        table
    }

    /// What part of all octets, packets or flows it is; nothing for what does not add up.
    fn share(&self, counts: &Counts) -> Cell {
        let (part, whole) = match self.order {
            Order::Octets | Order::Bps | Order::Bpp => (counts.octets, self.whole.octets),
            Order::Packets | Order::Pps => (counts.packets, self.whole.packets),
            Order::Flows => (counts.flows, self.whole.flows),
            Order::OutOctets | Order::OutBps | Order::OutBpp => {
                (counts.out_octets, self.whole.out_octets)
            }
            Order::OutPackets | Order::OutPps => (counts.out_packets, self.whole.out_packets),
            Order::Duration | Order::Start | Order::End | Order::Distinct(_) => return Cell::Empty,
        };
        if whole == 0 {
            return Cell::Share(0.0);
        }
        Cell::Share(part as f64 / whole as f64)
    }

    /// What the groups that are not shown have, and all have.
    fn foot(&self, shown: &[Group]) -> Vec<Vec<Cell>> {
        let rest = self.rest(shown);
        let mut foot = Vec::new();
        if self.total.groups > shown.len() as u64 {
            let others = self.total.groups - shown.len() as u64;
            let label = format!("{} others", crate::text::count(others));
            foot.push(self.sums(label, &rest, self.share(&rest)));
        }
        foot.push(self.sums("all".to_owned(), self.whole, Cell::Empty));
        foot
    }

    fn sums(&self, label: String, counts: &Counts, share: Cell) -> Vec<Cell> {
        let mut row = vec![Cell::Text(label)];
        row.resize(self.gathering.keys.len(), Cell::Empty);
        row.extend([counts.octets, counts.packets, counts.flows].map(Cell::Count));
        row.resize(row.len() + self.gathering.distinct.len(), Cell::Empty);
        row.resize(row.len() + usize::from(self.own_column()), Cell::Empty);
        row.push(share);
        row
    }

    /// What is in the groups that are not shown, as parts of their sums.
    fn rest(&self, shown: &[Group]) -> Counts {
        let sum = |of: fn(&Counts) -> u64| {
            let shown = shown.iter().map(|group| of(&group.counts));
            of(&self.total.counts).saturating_sub(shown.fold(0, u64::saturating_add))
        };
        Counts {
            flows: sum(|counts| counts.flows),
            packets: sum(|counts| counts.packets),
            octets: sum(|counts| counts.octets),
            out_packets: sum(|counts| counts.out_packets),
            out_octets: sum(|counts| counts.out_octets),
            ..Counts::default()
        }
    }

    fn json(&self, name: &str, order: &str, table: &Table) -> Value {
        let mut rows = table.json();
        // One key is called so, whatever it is, as it was before there were several.
        if let ([key], Some(rows)) = (&self.gathering.keys[..], rows.as_array_mut()) {
            for row in rows.iter_mut().filter_map(Value::as_object_mut) {
                let mut renamed = Map::new();
                for (field, value) in std::mem::take(row) {
                    let is_key = field == key.name;
                    renamed.insert(if is_key { "key".to_owned() } else { field }, value);
                }
                *row = renamed;
            }
        }
        json!({
            "by": name,
            "order": order,
            "groups": self.total.groups,
            "rows": rows,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_nfdumps() {
        let parsed = |text: &str| Statistic::parse(text).unwrap();
        assert_eq!(parsed("srcip").keys.len(), 1);
        assert_eq!(parsed("srcip/bytes/flows").orders, ["bytes", "flows"]);
        assert_eq!(parsed("srcip/24/bytes").orders, ["bytes"]);
        assert_eq!(parsed("srcip/24/48/bytes").name, "srcip/24/48");
        assert_eq!(parsed("dstport:p/packets").keys.len(), 2);
        assert!(Statistic::parse("colour/bytes").is_err());
    }

    #[test]
    fn orders_may_count_different_values() {
        let names = [
            "bytes",
            "distinct(dstip)",
            "distinct(srcport)",
            "distinct(dstip)",
        ];
        let mut distinct = vec![Element::parse("srcport").unwrap()];
        let orders = orders_of(&names.map(str::to_owned), &mut distinct).unwrap();
        let orders: Vec<_> = orders
            .into_iter()
            .map(|(sorting, _)| sorting.order)
            .collect();
        assert_eq!(
            orders,
            [
                Order::Octets,
                Order::Distinct(1),
                Order::Distinct(0),
                Order::Distinct(1)
            ]
        );
        assert_eq!(distinct.len(), 2);
        let wrong = orders_of(&["colour".to_owned()], &mut distinct);
        assert!(wrong.unwrap_err().to_string().contains("there are octets"));
        // nfdump's :a has the least first, and :d is what is usual.
        let names = ["bytes:a", "flows:d", "distinct(dstip):a", "tstart"].map(str::to_owned);
        let orders = orders_of(&names, &mut distinct).unwrap();
        let ascending: Vec<_> = orders
            .iter()
            .map(|(sorting, _)| sorting.is_ascending)
            .collect();
        assert_eq!(ascending, [true, false, true, true]);
    }
}
