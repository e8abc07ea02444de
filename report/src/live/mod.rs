//! `weir live`: what is going on now, from the sensor's own table (flows that are still open) and from
//! the records that arrive at the collector (its open windows, read as they grow). A thread looks
//! (`look`: it asks `sensor`, reads `arrivals`, and keeps the account of both in `ledger`); the terminal
//! is served meanwhile: `state` is what a person did and sees, `grid` its lines, `screen` draws it.

pub mod arrivals;
mod grid;
pub mod ledger;
pub mod look;
mod screen;
pub mod sensor;
mod state;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use ratatui::crossterm::event::{self, Event};
use serde_json::json;

use crate::{
    answer::Cell,
    clock,
    data::Coverage,
    filter::{self, Filter, Surroundings, sets::Library, times},
    interrupt, local_names, output, question, text,
};
use grid::{Column, Level};
use look::{Look, Looker, Narrowed};
use state::State;

/// The longest time between a key and what it does.
const TICK: Duration = Duration::from_millis(100);

/// What `weir live` is asked.
#[derive(Debug, Args)]
pub struct Options {
    /// Control socket of the sensor, whose open flows are shown (without -r, too: that of the one there is)
    #[arg(short = 'c', long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Directory of the flows (the collector's -w): what arrives there is shown
    #[arg(short = 'r', long = "read", value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Time between looks, as in 500ms or 2s
    #[arg(short = 'i', long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// Begin with flows or with hosts
    #[arg(long, value_name = "WHAT", default_value = "flow", value_parser = ["flow", "host"])]
    by: String,
    /// Sort by this column: bps, pps, octets, packets, flows, age, idle …
    #[arg(long, value_name = "COLUMN", default_value = "bps", value_parser = Column::parse)]
    sort: Column,
    /// Print one table and end, as when the output is no terminal
    #[arg(long)]
    once: bool,
    /// Print an object for each look; with --once, one
    #[arg(long)]
    json: bool,
    /// Lines printed with --once and --json; 0: all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    lines: usize,
    /// Folder of named sets (sets/NAME)
    #[arg(long, value_name = "DIR", default_value = question::LIBRARY)]
    library: PathBuf,
    /// Only flows that fit, as in `src net 10.0.0.0/8 and not port 53`
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
}

/// A time between looks.
///
/// # Errors
/// What would fit.
pub fn interval(text: &str) -> Result<Duration, String> {
    const LEAST_NS: u64 = 100_000_000;
    times::duration_ns(text)
        .and_then(|ns| u64::try_from(ns).ok())
        .filter(|ns| *ns >= LEAST_NS)
        .map(Duration::from_nanos)
        .ok_or_else(|| "a time of 100ms at least fits here, such as 500ms or 2s".to_owned())
}

/// Answers it, until the person has enough.
///
/// # Errors
/// If the filter does not fit, there is nothing to look at, or the output is closed.
pub fn run(options: &Options) -> Result<Coverage> {
    let words = options.filter.join(" ");
    local_names::load(&[], &options.library.join("names"))?;
    let filter = parse(&words, &options.library, filter::resolve)?;
    let mut looker = Looker::open(options.control.as_deref(), options.directory.as_deref())?;
    let mut state = State::new(options.level(), options.sort, (words, filter));
    let is_terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
    if options.json || options.once || !is_terminal {
        print(options, &mut looker, &mut state)?;
    } else {
        terminal(options, looker, &mut state)?;
    }
    Ok(Coverage::default())
}

impl Options {
    fn level(&self) -> Level {
        match self.by.as_str() {
            "host" => Level::Hosts,
            _ => Level::Flows,
        }
    }
}

fn parse(
    text: &str,
    library: &std::path::Path,
    resolve: fn(&str) -> Vec<std::net::IpAddr>,
) -> Result<Filter, filter::Misunderstood> {
    let around = Surroundings {
        now_ns: clock::unix_ns(),
        library: &Library::new(library.to_owned()),
        resolve,
    };
    filter::parse(text, &around)
}

/// Prints a table, or an object for each look. The first look is only for the rates of the second.
fn print(options: &Options, looker: &mut Looker, state: &mut State) -> Result<()> {
    looker.look(Narrowed::default());
    loop {
        thread::sleep(options.interval);
        state.take(Arc::new(looker.look(Narrowed::default())));
        let mut output = io::stdout().lock();
        if options.json {
            writeln!(output, "{}", document(state, options.lines))?;
        } else {
            let marks = output::marks(output.is_terminal(), output::BOLD);
            table(state, options.lines).print_marked(&mut output, marks)?;
            writeln!(output, "\n{}", state.summary())?;
        }
        output.flush()?;
        let is_last = options.once || !options.json;
        match &state.look.trouble {
            // What is printed is not all that was asked for.
            Some(trouble) if is_last => bail!("{trouble}"),
            Some(trouble) => eprintln!("weir: {trouble}"),
            None if is_last => return Ok(()),
            None => {}
        }
    }
}

fn table(state: &State, lines_max: usize) -> text::Table {
    let columns = state.level.columns();
    let headings = columns.iter();
    let mut table = text::Table::new(
        headings
            .map(|column| (column.heading().to_owned(), column.align()))
            .collect(),
    );
    for line in shown(state, lines_max) {
        let cells = columns
            .iter()
            .map(|column| column.cell(line, state.now_ns()));
        table.push(cells.map(|cell| cell.text()).collect());
    }
    table
}

fn shown(state: &State, lines_max: usize) -> &[grid::Line] {
    let most = if lines_max == 0 {
        usize::MAX
    } else {
        lines_max
    };
    &state.lines[..state.lines.len().min(most)]
}

fn document(state: &State, lines_max: usize) -> serde_json::Value {
    let columns = state.level.columns();
    let object = |line: &grid::Line| {
        let cells = columns.iter().map(|column| {
            let cell: Cell = column.cell(line, state.now_ns());
            (column.name().to_owned(), cell.json())
        });
        serde_json::Value::Object(cells.collect())
    };
    let lines: Vec<_> = shown(state, lines_max).iter().map(object).collect();
    json!({
        "time": text::time_json(state.now_ns()),
        "source": state.look.source,
        "open_flows": state.look.open_flows,
        "open_flows_told": state.look.told_flows,
        "sampling_interval_max": state.look.sampling_interval_max.max(1),
        "last_received": state.look.last_received_ns.map(text::time_json),
        "lines_in_all": state.lines.len(),
        "trouble": state.look.trouble,
        "lines": lines,
    })
}

/// Serves the terminal, and gives it back whatever happens: ratatui does at a panic.
fn terminal(options: &Options, looker: Looker, state: &mut State) -> Result<()> {
    // One look at most waits: the next is not begun before.
    let (looks_in, looks) = mpsc::sync_channel(1);
    let (narrow, narrowed) = mpsc::channel();
    let interval = options.interval;
    thread::Builder::new()
        .name("look".to_owned())
        .spawn(move || looker.follow(interval, &narrowed, &looks_in))
        .context("starting the thread that looks")?;
    // Whichever hears of a signal first gives the terminal back.
    interrupt::before_exit(ratatui::restore);
    let watched = ratatui::try_init().map_err(anyhow::Error::from);
    let watched = watched.and_then(|mut terminal| {
        // Names are not looked up while somebody types: that may take seconds.
        let parse = |text: &str| {
            parse(text, &options.library, |_| Vec::new()).map_err(|error| error.says().to_owned())
        };
        watch(&mut terminal, state, &looks, &narrow, &parse)
    });
    ratatui::restore();
    watched
}

fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    state: &mut State,
    looks: &Receiver<Look>,
    narrow: &Sender<Narrowed>,
    parse: &dyn Fn(&str) -> Result<Filter, String>,
) -> Result<()> {
    let mut narrowed = Narrowed::default();
    while !state.is_over && !interrupt::is_ending() {
        match looks.try_recv() {
            Ok(look) => state.take(Arc::new(look)),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => {
                bail!("the thread that looks has died: this is a bug")
            }
        }
        terminal.draw(|frame| screen::draw(frame, state))?;
        if event::poll(TICK)? {
            // All that was typed counts before the next drawing.
            loop {
                if let Event::Key(key) = event::read()?
                    && !key.is_release()
                {
                    state.key(key, parse);
                }
                if !event::poll(Duration::ZERO)? {
                    break;
                }
            }
        }
        let wanted = state.level.narrowed();
        if wanted != narrowed {
            narrowed = wanted;
            // The thread's death is noticed above.
            let _ = narrow.send(narrowed);
        }
    }
    Ok(())
}
