//! `weir signature --live`: who matches saved patterns by what is going on: the flows that are open at the
//! sensor, and the records that arrive at the collector. It looks again and again, and tells of whom it finds.

use std::{
    collections::{HashMap, HashSet},
    io::{self, Write as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Error, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use weir_service::control::{self, Unclear};
use weir_store::read;

use crate::{
    answer::{Cell, Column, Table},
    clock, covered,
    data::Coverage,
    element::KeyValue,
    filter::Filter,
    live::{self, arrivals::Arrivals, look::Narrowed, sensor::Sensor},
    local_names,
    output::Output,
    question::{Misasked, Source},
    reading::Reading,
    sightings::{KEPT_NS, Match, Sightings},
    signature,
    signatures::Signature,
    text,
};

/// Where open flows stand among the columns: behind the flows that they are among.
const OPEN_PLACE: usize = 6;

/// How it looks.
#[derive(Debug, Args)]
pub struct Live {
    /// Look at what is going on instead, until Ctrl-C: at open flows of the sensor, and at what arrived in the
    /// directory (-r) in the last five minutes
    #[arg(long = "live", id = "live", conflicts_with_all = ["list", "check", "scaled"])]
    is_wanted: bool,
    /// Control socket of the sensor, with --live (left out: that of the one there is, if any)
    #[arg(short = 'c', long, value_name = "PATH", requires = "live")]
    control: Option<PathBuf>,
    /// Time between looks, as in 500ms or 2s, with --live
    #[arg(short = 'i', long, value_name = "TIME", default_value = "2s", requires = "live", value_parser = live::interval)]
    interval: Duration,
    /// Print who matches now, and end, with --live
    #[arg(long, requires = "live")]
    once: bool,
}

impl Live {
    /// Whether it is to look at what is going on.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.is_wanted
    }
}

/// Tells of hosts when they begin to match, until the process is ended; with `--once` of those that do now. Of those
/// that one look finds so many of each signature are told (0: all), and how many more there are.
///
/// # Errors
/// If there is nothing to look at, or the output is closed.
pub fn run(
    options: &Live,
    source: &Source,
    signatures: Vec<Signature>,
    asked: Filter,
    lines: usize,
) -> Result<Coverage> {
    local_names::load(&source.names, &source.library.join("names"))?;
    let [directory] = &source.directories[..] else {
        bail!(Misasked(
            "--live looks at one directory: say -r once".to_owned()
        ));
    };
    let mut watch = Watch::open(options.control.as_deref(), directory)?;
    let links = links(directory);
    let mut sightings = Sightings::new(signatures, asked);
    if options.once {
        watch.look(&mut sightings);
        let matches = sightings.matches();
        let shown = first_of_each(&matches, lines);
        let table = table(&sightings, &shown)?;
        let mut output = Output::new(&Reading::default(), !source.json);
        table.print_as(&mut output, source.json)?;
        output.finish()?;
        tell_more(matches.len() - shown.len());
        // What is printed is not of all that was asked for.
        let Some(trouble) = watch.trouble else {
            return Ok(Coverage {
                unreadable: links,
                ..Coverage::default()
            });
        };
        covered::report_partial(&links);
        return Err(Error::msg(trouble));
    }
    covered::report_partial(&links);
    eprintln!("weir: looking at {}; Ctrl-C ends it", watch.name);
    let mut told = HashSet::new();
    let mut amiss = None;
    loop {
        watch.look(&mut sightings);
        tell_new(watch.trouble.as_deref(), &mut amiss);
        let matches = sightings.matches();
        let is_new = |found: &&Match| !told.contains(&(found.signature, found.host));
        let fresh: Vec<Match> = matches.iter().filter(is_new).cloned().collect();
        let shown = first_of_each(&fresh, lines);
        tell(&sightings, &shown, source.json)?;
        tell_more(fresh.len() - shown.len());
        // Who does not match any more is told of when it does again.
        told = matches
            .iter()
            .map(|found| (found.signature, found.host))
            .collect();
        thread::sleep(options.interval);
    }
}

/// Symbolic links in the directory that lead to what is not looked at. Why a directory cannot be listed is told by the
/// look.
fn links(directory: &Path) -> Vec<(PathBuf, String)> {
    let files = read::list(directory).unwrap_or_default();
    let root: Vec<PathBuf> = directory.canonicalize().into_iter().collect();
    let says = "it is a symbolic link, which is not followed: name with -r where it leads, in a run of its own";
    let links = files.links_elsewhere(&root);
    links.map(|link| (link.clone(), says.to_owned())).collect()
}

/// Says what is amiss, unless that was so at the look before.
fn tell_new(trouble: Option<&str>, before: &mut Option<String>) {
    // Numbers in it change with each look; what it is about is in its first words.
    let about: Option<String> = trouble.map(|sentence| sentence.chars().take(20).collect());
    if let Some(sentence) = trouble
        && *before != about
    {
        eprintln!("weir: {sentence}");
    }
    *before = about;
}

/// How many hosts are not shown.
fn tell_more(more: usize) {
    if more > 0 {
        eprintln!("weir: {more} hosts more match: -n 0 shows all");
    }
}

/// The first hosts of each signature, so many; 0: all.
fn first_of_each(matches: &[Match], lines: usize) -> Vec<Match> {
    let mut shown: HashMap<usize, usize> = HashMap::new();
    let is_shown = |found: &&Match| {
        let shown = shown.entry(found.signature).or_default();
        *shown += 1;
        lines == 0 || *shown <= lines
    };
    matches.iter().filter(is_shown).cloned().collect()
}

/// What is looked at.
struct Watch {
    sensor: Option<Sensor>,
    arrivals: Option<Arrivals>,
    /// Its name for people.
    name: String,
    /// What was amiss at the last look.
    trouble: Option<String>,
}

impl Watch {
    /// The sensor at a socket, or the one there is, and a directory, as far as they are there.
    fn open(socket: Option<&Path>, directory: &Path) -> Result<Self> {
        let sensor = match socket {
            Some(socket) => {
                Sensor::look_for(socket).map_err(Error::msg)?;
                Some(socket.to_owned())
            }
            None => match control::find() {
                Ok(found) => Some(found).filter(|found| Sensor::look_for(found).is_ok()),
                Err(Unclear::NoSensor) => None,
                Err(unclear) => bail!(unclear),
            },
        };
        if sensor.is_none() && !directory.is_dir() {
            bail!(
                "there is nothing to look at: {}, and {} is no directory, which -r DIR names",
                Unclear::NoSensor,
                directory.display()
            );
        }
        let sensor = sensor.map(|path| Sensor { path });
        // What arrived counts for so long, also in windows that are closed by now.
        let unix_ns = clock::unix_ns().max(0).unsigned_abs();
        let since_ns = unix_ns.saturating_sub(KEPT_NS);
        let arrivals = directory
            .is_dir()
            .then(|| Arrivals::since(directory.to_owned(), since_ns));
        let places = [
            sensor.as_ref().map(|sensor| sensor.path.as_path()),
            arrivals.as_ref().map(|_| directory),
        ];
        let places: Vec<_> = places.into_iter().flatten().collect();
        let names: Vec<_> = places
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        Ok(Self {
            sensor,
            arrivals,
            name: names.join(" and "),
            trouble: None,
        })
    }

    /// Looks once.
    fn look(&mut self, sightings: &mut Sightings) {
        let mut trouble = None;
        let now_ns = clock::monotonic_ns();
        if let Some(sensor) = &self.sensor {
            match sensor.table(Narrowed::default()) {
                Ok(told) => {
                    let shown = told.table.flows.len() as u64;
                    if shown < told.flows {
                        trouble = Some(format!(
                            "the sensor told the largest {} of its {} open flows: the others are seen when they \
                             arrive at the collector (-r DIR)",
                            text::count(shown),
                            text::count(told.flows)
                        ));
                    }
                    sightings.table(&told.table.flows, now_ns);
                }
                Err(sentence) => {
                    // What was open then is not known to be so now.
                    sightings.table(&[], now_ns);
                    trouble = Some(sentence);
                }
            }
        }
        if let Some(arrivals) = &mut self.arrivals {
            let unix_ns = clock::unix_ns().max(0).unsigned_abs();
            let unread = arrivals.read(|flow| {
                sightings.arrived(flow, now_ns, unix_ns.saturating_sub(flow.received_ns));
            });
            trouble = trouble.or(unread);
        }
        sightings.forget(now_ns);
        self.trouble = trouble;
    }
}

/// Who matches.
fn table(sightings: &Sightings, matches: &[Match]) -> Result<Table> {
    let mut table = Table {
        columns: signature::columns(),
        ..Table::default()
    };
    let open = Column::numbers("open_flows", "Open");
    table.columns.insert(OPEN_PLACE, open);
    for found in matches {
        let known = &sightings.signatures()[found.signature];
        let key = KeyValue::Address(found.host);
        let mut row = signature::row(known, &key, &found.counts)?;
        row.insert(OPEN_PLACE, Cell::Count(found.open));
        table.rows.push(row);
    }
    Ok(table)
}

/// Prints a line, or an object, for each.
fn tell(sightings: &Sightings, fresh: &[Match], as_json: bool) -> Result<()> {
    if fresh.is_empty() {
        return Ok(());
    }
    let table = table(sightings, fresh)?;
    let now_ns = clock::unix_ns();
    let mut output = io::stdout().lock();
    if as_json {
        for mut object in objects(&table) {
            object["time"] = json!(text::time_json(now_ns));
            writeln!(output, "{object}")?;
        }
    } else {
        for row in &table.rows {
            let cells: Vec<String> = row.iter().map(Cell::text).collect();
            let [name, host, first, _, targets, flows, open, _, octets] = &cells[..] else {
                continue;
            };
            writeln!(
                output,
                "{}  {name}: {host}, {targets} other ends in {flows} flows ({open} open), {octets} octets, since \
                 {first}",
                text::time_to_second(now_ns)
            )?;
        }
    }
    output.flush()?;
    Ok(())
}

fn objects(table: &Table) -> Vec<Value> {
    match table.json() {
        Value::Array(objects) => objects,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::gather::Counts;

    #[test]
    fn links_to_what_is_not_looked_at_are_named() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let place = |name: &str| folder.path().join(name);
        fs::create_dir(place("date=2026-11-21")).unwrap();
        symlink(place("date=2026-11-21"), place("latest")).unwrap();
        assert!(links(folder.path()).is_empty());
        symlink(elsewhere.path(), place("site=b")).unwrap();
        let named = links(folder.path());
        let [(path, says)] = &named[..] else {
            panic!("{named:?}");
        };
        assert_eq!(path, &place("site=b"));
        assert!(says.contains("is not followed"), "{says}");
        // A sensor may be looked at without a directory.
        assert!(links(&place("none")).is_empty());
    }

    #[test]
    fn so_many_hosts_of_each_signature_are_shown() {
        let found = |signature, host| Match {
            signature,
            host,
            counts: Counts::default(),
            open: 0,
        };
        let matches = [found(0, 1), found(1, 2), found(0, 3), found(0, 4)];
        let hosts = |lines| -> Vec<u128> {
            let shown = first_of_each(&matches, lines);
            shown.iter().map(|found| found.host).collect()
        };
        assert_eq!(hosts(1), [1, 2]);
        assert_eq!(hosts(2), [1, 2, 3]);
        assert_eq!(hosts(0), [1, 2, 3, 4]);
    }
}
