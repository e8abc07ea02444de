//! `weir compare`: a period beside an earlier one of the same length: what is new, what has grown, what
//! is gone.

use std::collections::HashMap;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;

use crate::{
    answer::{Answer, Cell, Column, Part, Table},
    data::Coverage,
    element::{Element, KeyValue},
    filter::{
        Filter,
        ast::{Comparison, Field, Test},
        plan::plan,
    },
    gather::{Counts, Gathering, gather},
    leading::Leading,
    question::{Question, Source},
    series, text,
};

/// Groups of one period, at most: both periods are held in memory.
const GROUPS_MAX: usize = 4_000_000;

/// What `weir compare` is asked.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    source: Source,
    /// Length of the period, which ends with the newest flows, or at --now
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = series::length)]
    period: i64,
    /// How much earlier the other period was
    #[arg(long, value_name = "TIME", default_value = "1w", value_parser = series::length)]
    against: i64,
    /// What is compared; may be repeated
    #[arg(long, value_name = "ELEMENT", default_values = ["srcip", "dstport"], value_parser = Element::parse)]
    by: Vec<Element>,
    /// Lines of each kind shown; 0: all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: usize,
}

/// What one key had in both periods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Both {
    now: Period,
    then: Period,
}

/// What a key had in a period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Period {
    flows: u64,
    octets: u64,
}

impl From<&Counts> for Period {
    fn from(counts: &Counts) -> Self {
        Self {
            flows: counts.flows,
            octets: counts.octets,
        }
    }
}

/// Answers it.
///
/// # Errors
/// If the filter does not fit, the query fails, or the output is closed.
pub async fn run(options: &Options) -> Result<Coverage> {
    let asked = options.source.asked()?;
    // The newest flows decide where the period ends; the present does if it was said, or there are none.
    let newest = options.source.question_of(asked.clone())?;
    let newest_ns = newest.coverage.last_received_ns();
    let end_ns = options.source.now.or(newest_ns).unwrap_or(newest.now_ns);
    // Periods may be longer than there is time.
    let begin_ns = |end_ns: i64| end_ns.saturating_sub(options.period);
    let now = began(begin_ns(end_ns), end_ns.saturating_add(1_000_000));
    let then_ns = end_ns.saturating_sub(options.against);
    let then = began(begin_ns(then_ns), then_ns);
    let periods = Filter::Any(vec![now.clone(), then.clone()]);
    let question = options.source.question_of(asked.and(periods))?;
    let mut answer = Answer::default();
    tell_periods(options, end_ns, then_ns, &mut answer);
    let mut earlier_flows = 0;
    for element in &options.by {
        let (found, flows) = in_both(&question, element, [&now, &then]).await?;
        earlier_flows = flows[1];
        answer.flows = answer.flows.max(flows.iter().sum());
        report(element, &found, options.lines, &mut answer);
    }
    tell_if_unknown(earlier_flows, &mut answer);
    answer.print(&question.coverage, options.source.json)?;
    Ok(question.coverage)
}

/// Which periods stand beside one another, by their ends.
fn tell_periods(options: &Options, end_ns: i64, then_ns: i64, answer: &mut Answer) {
    let ends = |end_ns: i64| [end_ns.saturating_sub(options.period), end_ns];
    let ([from, to], [earlier_from, earlier_to]) = (ends(end_ns), ends(then_ns));
    let times = format!(
        "{} to {} UTC beside {} to {}",
        text::time_to_second(from),
        text::time_to_second(to),
        text::time_to_second(earlier_from),
        text::time_to_second(earlier_to),
    );
    let value = json!({
        "from": text::time_json(from),
        "to": text::time_json(to),
        "earlier_from": text::time_json(earlier_from),
        "earlier_to": text::time_json(earlier_to),
    });
    answer.line("periods", value, times);
}

/// Flows of the earlier period; without any, all would be new, and nobody would know why.
fn tell_if_unknown(earlier_flows: u64, answer: &mut Answer) {
    answer
        .json
        .insert("earlier_flows".to_owned(), json!(earlier_flows));
    if earlier_flows == 0 {
        let line =
            "no flow of the earlier period is kept, or fits: what is called new below need not be";
        let behind_periods = answer.parts.len().min(1);
        answer
            .parts
            .insert(behind_periods, Part::Lines(line.to_owned()));
    }
}

/// What each value of an element had now and then, and how many flows that were in each.
async fn in_both(
    question: &Question,
    element: &Element,
    [now, then]: [&Filter; 2],
) -> Result<(HashMap<KeyValue, Both>, [u64; 2])> {
    let mut found: HashMap<KeyValue, Both> = HashMap::new();
    let gathering = Gathering {
        keys: vec![element.clone()],
        ..Gathering::default()
    };
    let mut flows = [0; 2];
    let periods = [(now, true), (then, false)];
    for ((period, is_now), flows) in periods.into_iter().zip(&mut flows) {
        let frame = question.flows.clone().filter(plan(period))?;
        let mut too_many = false;
        let total = gather(frame, &gathering, |row| {
            let key = row.keys().pop().unwrap_or(KeyValue::None);
            too_many |= found.len() >= GROUPS_MAX;
            if too_many {
                return;
            }
            let both = found.entry(key).or_default();
            let period = if is_now {
                &mut both.now
            } else {
                &mut both.then
            };
            *period = Period::from(&row.counts);
        })
        .await?;
        if too_many {
            bail!(
                "more than {GROUPS_MAX} of `{}` differ: a filter would help",
                element.name
            );
        }
        *flows = total.counts.flows / gathering.sides();
    }
    Ok((found, flows))
}

/// Flows that began in a stretch of time.
fn began(from_ns: i64, to_ns: i64) -> Filter {
    let test = |comparison, at_ns: i64| -> Filter {
        let at_ms = at_ns.div_euclid(1_000_000);
        let field = Field::Start;
        Test::Time {
            field,
            comparison,
            at_ms,
        }
        .into()
    };
    test(Comparison::GreaterOrEqual, from_ns).and(test(Comparison::Less, to_ns))
}

/// How much of a change there is, if it is of a kind.
type Measure<'a> = &'a dyn Fn(&Both) -> Option<u64>;

fn report(element: &Element, found: &HashMap<KeyValue, Both>, lines: usize, answer: &mut Answer) {
    let is_new = |both: &Both| both.then.flows == 0;
    let is_gone = |both: &Both| both.now.flows == 0;
    let grown = |both: &Both| both.now.octets.saturating_sub(both.then.octets);
    let name = element.heading.to_lowercase();
    let kinds: [(&str, &str, Measure<'_>); 3] = [
        ("new", "New", &|both| {
            is_new(both).then_some(both.now.octets)
        }),
        ("grown", "Grown", &|both| {
            let is_both = !is_new(both) && !is_gone(both);
            Some(grown(both)).filter(|octets| is_both && *octets > 0)
        }),
        ("gone", "Gone", &|both| {
            is_gone(both).then_some(both.then.octets)
        }),
    ];
    for (kind, heading, measure) in kinds {
        let mut leading: Leading<KeyValue, Both> = Leading::new(lines);
        let mut number = 0u64;
        for (key, both) in found {
            if let Some(measure) = measure(both) {
                number += 1;
                leading.offer(measure, || (key.clone(), *both));
            }
        }
        let leading = leading.finish();
        let mut table = Table {
            title: format!("{heading} by {name}: {}", text::count(number)),
            columns: vec![
                Column::words("key", &element.heading),
                Column::numbers("octets", "Octets"),
                Column::numbers("octets_before", "Before"),
                Column::numbers("octets_change", "Change"),
                Column::numbers("flows", "Flows"),
                Column::numbers("flows_before", "Before"),
            ],
            ..Table::default()
        };
        for (key, both) in leading {
            let Both { now, then } = both;
            table.rows.push(vec![
                element.cell(&key),
                Cell::Count(now.octets),
                Cell::Count(then.octets),
                Cell::Change(i128::from(now.octets) - i128::from(then.octets)),
                Cell::Count(now.flows),
                Cell::Count(then.flows),
            ]);
        }
        answer.table(&format!("{kind}_{}", element.name), table);
    }
}
