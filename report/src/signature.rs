//! `weir signature`: what matches saved patterns, in all that is kept: who, since when, and who was first. With
//! `--live` (`signature_live.rs`) in what is going on.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use datafusion::prelude::DataFrame;
use serde_json::json;

use crate::{
    answer::{Answer, Cell, Column, Table},
    bursts,
    data::Coverage,
    element::{Element, KeyValue},
    filter::{Filter, error::nearest},
    gather::{Counts, Gathering, Group, gather},
    leading::Leading,
    output::Output,
    question::{Misasked, Source, read_named},
    signature_live,
    signatures::{self, By, Signature},
    text,
};

/// What `weir signature` is asked.
#[derive(Debug, Args)]
pub struct Options {
    /// Signatures with commas between, as slammer,mirai; `all`: all of them
    #[arg(value_name = "NAMES", required_unless_present_any = ["list", "check"])]
    wanted: Option<String>,
    #[command(flatten)]
    source: Source,
    /// Print the signatures there are, and look for none
    #[arg(long, conflicts_with_all = ["wanted", "lines", "check"])]
    list: bool,
    /// Only see whether the signatures in this file are understood
    #[arg(long, value_name = "FILE", conflicts_with_all = ["wanted", "lines"])]
    check: Option<PathBuf>,
    #[command(flatten)]
    live: signature_live::Live,
    /// Hosts of each signature shown, with --live at each look; 0: all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    lines: usize,
}

/// Hosts that match a signature.
struct Matches {
    signature: Signature,
    /// The first ones, with when they were first, nanoseconds since 1970-01-01 UTC.
    first: Vec<(i64, Group)>,
    /// How many there are.
    all: u64,
}

/// Answers it.
///
/// # Errors
/// If a signature or the filter does not fit, the query fails, or the output is closed.
pub async fn run(options: &Options) -> Result<Coverage> {
    if let Some(path) = &options.check {
        let read = read_file(&options.source, path)?;
        print(&listed(&read), options)?;
        return Ok(Coverage::default());
    }
    let known = known(&options.source)?;
    if options.list {
        print(&listed(&known), options)?;
        return Ok(Coverage::default());
    }
    let chosen = chosen(known, options.wanted.as_deref().unwrap_or("all"))?;
    let asked = options.source.asked()?;
    if options.live.is_wanted() {
        return signature_live::run(&options.live, &options.source, chosen, asked, options.lines);
    }
    let either = chosen.iter().map(|signature| signature.filter.clone());
    let either = Filter::Any(either.collect());
    let question = options.source.question_of(asked.and(either))?;
    let mut answer = Answer::default();
    let mut matches = Vec::new();
    for signature in chosen {
        let fitting = options.source.plan(&signature.filter)?;
        let flows = question.flows.clone().filter(fitting)?;
        matches.push(matching(flows, signature, options.lines).await?);
    }
    answer.flows = gather(question.flows.clone(), &Gathering::default(), |_| {})
        .await?
        .counts
        .flows;
    answer.table("matches", table(&matches)?);
    tell_firsts(&matches, &mut answer);
    answer.print(&question.coverage, options.source.json)?;
    Ok(question.coverage)
}

/// Who was first by each signature, and how many hosts match it.
fn tell_firsts(matches: &[Matches], answer: &mut Answer) {
    let firsts = matches.iter().filter_map(|found| {
        let (first_ns, group) = found.first.first()?;
        let host = host(&found.signature).ok()?.cell(group.keys.first()?);
        Some((found, host, *first_ns))
    });
    let firsts: Vec<_> = firsts.collect();
    let lines: Vec<String> = firsts
        .iter()
        .map(|(found, host, first_ns)| {
            let time = text::time_to_second(*first_ns);
            let shown = found.first.len() as u64;
            let more = match found.all - shown {
                0 => String::new(),
                _ => format!(
                    "; {} of {} hosts are shown",
                    text::count(shown),
                    text::count(found.all)
                ),
            };
            format!(
                "{}: {} was first, at {time} UTC{more}",
                found.signature.name,
                host.text()
            )
        })
        .collect();
    let value = firsts.iter().map(|(found, host, first_ns)| {
        json!({
            "signature": found.signature.name,
            "host": host.json(),
            "time": text::time_json(*first_ns),
            "hosts": found.all,
        })
    });
    let value = value.collect();
    if lines.is_empty() {
        answer.json.insert("first".to_owned(), value);
    } else {
        answer.line("first", value, lines.join("\n"));
    }
}

/// What is shipped and what is in the library.
fn known(source: &Source) -> Result<Vec<Signature>> {
    let parse = |text: &str| source.parse(text);
    let mut known = signatures::read(signatures::SHIPPED, parse).context("what is shipped")?;
    let folder = source.library.join("signatures");
    let files = fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = files.map(|file| file.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
    paths.sort();
    for path in paths {
        signatures::add(&mut known, read_file(source, &path)?);
    }
    Ok(known)
}

fn read_file(source: &Source, path: &Path) -> Result<Vec<Signature>> {
    let text = read_named(path)?;
    signatures::read(&text, |filter| source.parse(filter))
        .with_context(|| Misasked(format!("in {}", path.display())))
}

/// Those that are asked for, in that order.
fn chosen(known: Vec<Signature>, names: &str) -> Result<Vec<Signature>> {
    if names == "all" {
        return Ok(known);
    }
    let mut chosen = Vec::new();
    for name in names.split(',') {
        if let Some(signature) = known.iter().find(|signature| signature.name == name) {
            chosen.push(signature.clone());
            continue;
        }
        let all = known.iter().map(|signature| signature.name.as_str());
        if let Some(meant) = nearest(name, all.clone()) {
            bail!(Misasked(format!(
                "no signature is called `{name}`; did you mean `{meant}`?"
            )));
        }
        let all: Vec<_> = all.collect();
        let all = all.join(", ");
        bail!(Misasked(format!(
            "no signature is called `{name}`: there are {all}"
        )));
    }
    Ok(chosen)
}

/// Signatures as a table.
fn listed(known: &[Signature]) -> Table {
    let row = |signature: &Signature| {
        vec![
            Cell::Text(signature.name.clone()),
            Cell::Text(signature.about.clone()),
            Cell::Text(signature.text.clone()),
            Cell::Number(signature.targets),
            Cell::Number(signature.flows),
            Cell::Number(signature.flows_per_minute),
        ]
    };
    Table {
        columns: vec![
            Column::words("signature", "Signature"),
            Column::words("about", "About"),
            Column::words("filter", "Filter"),
            Column::numbers("targets", "Targets"),
            Column::numbers("flows", "Flows"),
            Column::numbers("flows_per_minute", "A minute"),
        ],
        rows: known.iter().map(row).collect(),
        ..Table::default()
    }
}

/// Prints a table that no flows were read for.
fn print(table: &Table, options: &Options) -> Result<()> {
    let coverage = Coverage::default();
    let mut output = Output::new(&coverage.reading, !options.source.json);
    table.print_as(&mut output, options.source.json)?;
    output.finish()
}

/// Who is listed.
///
/// # Errors
/// Never: both elements are known.
fn host(signature: &Signature) -> Result<Element> {
    let name = match signature.by {
        By::Source => "srcip",
        By::Destination => "dstip",
    };
    Element::parse(name).map_err(anyhow::Error::msg)
}

/// Hosts that match by the flows that fit it, the first one first.
async fn matching(flows: DataFrame, signature: Signature, lines: usize) -> Result<Matches> {
    let other = match signature.by {
        By::Source => "dstip",
        By::Destination => "srcip",
    };
    let gathering = Gathering {
        keys: vec![host(&signature)?],
        distinct: vec![Element::parse(other).map_err(anyhow::Error::msg)?],
        times: true,
        ..Gathering::default()
    };
    let bursts = bursts::hosts(&flows, &signature).await?;
    let mut leading: Leading<Vec<_>, Counts> = Leading::new(lines);
    let mut all = 0;
    gather(flows, &gathering, |row| {
        let has_burst = || row.keys().first().is_some_and(|host| bursts.contains(host));
        if signature.is_met_by(&row.counts, has_burst) {
            all += 1;
            // Times before 1970 are no times.
            let first = row.counts.times_ns.0.max(0).unsigned_abs();
            leading.offer(u64::MAX - first, || (row.keys(), row.counts.clone()));
        }
    })
    .await?;
    let first = leading.finish().into_iter();
    let first = first.map(|(keys, counts)| (counts.times_ns.0, Group { keys, counts }));
    Ok(Matches {
        first: first.collect(),
        signature,
        all,
    })
}

/// Columns of a table of hosts that match.
pub fn columns() -> Vec<Column> {
    vec![
        Column::words("signature", "Signature"),
        Column::words("host", "Host"),
        Column::words("first", "First (UTC)"),
        Column::words("last", "Last (UTC)"),
        Column::numbers("targets", "Other ends"),
        Column::numbers("flows", "Flows"),
        Column::numbers("packets", "Packets"),
        Column::numbers("octets", "Octets"),
    ]
}

/// A host that matches, in these columns.
///
/// # Errors
/// Never: as [`host`].
pub fn row(signature: &Signature, key: &KeyValue, counts: &Counts) -> Result<Vec<Cell>> {
    let name = Cell::Text(signature.name.clone());
    let mut row = vec![name, host(signature)?.cell(key)];
    let (first_ns, last_ns) = counts.times_ns;
    row.extend([first_ns, last_ns].map(Cell::Time));
    let targets = counts.distinct.first().copied().unwrap_or(0);
    let counted = [targets, counts.flows, counts.packets, counts.octets];
    row.extend(counted.map(Cell::Count));
    Ok(row)
}

fn table(matches: &[Matches]) -> Result<Table> {
    let mut table = Table {
        columns: columns(),
        ..Table::default()
    };
    for Matches {
        signature, first, ..
    } in matches
    {
        for (_, Group { keys, counts }) in first {
            let key = keys.first().context("a host")?;
            table.rows.push(row(signature, key, counts)?);
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Signature {
        let everything = |_: &str| Ok(Filter::everything());
        signatures::read(text, everything).unwrap().remove(0)
    }

    #[test]
    fn names_choose_and_wrong_ones_are_told() {
        let known = vec![
            read("[mirai]\nfilter = 'any'"),
            read("[slammer]\nfilter = 'any'"),
        ];
        let chosen = |name: &str| chosen(known.clone(), name);
        assert_eq!(chosen("all").unwrap().len(), 2);
        assert_eq!(chosen("slammer,mirai").unwrap()[0].name, "slammer");
        let says = chosen("slamer").unwrap_err().to_string();
        assert!(says.contains("did you mean `slammer`?"), "{says}");
        let says = chosen("colour").unwrap_err().to_string();
        assert!(says.contains("there are mirai, slammer"), "{says}");
    }
}
