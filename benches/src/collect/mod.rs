//! weir-collector beside nfcapd on the same datagrams: the highest rate at which every flow sent is in the
//! files, processor time a flow at 70 % of it (until the window has it, and with Parquet), octets at rest,
//! memory, and windows that close a hundred times a minute.
//!
//! Datagrams are made beforehand from a campus's flows and sent from memory over loopback by the first
//! CPU; who collects has the second, and a receive buffer of the same size. All take turns, trial by trial.
//! Processor time is the process's, user and system. What the kernel does to bring a datagram from one
//! socket to the other is done by the sender's softirq, and is shown apart.

mod collectors;
mod figures;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use weir_benches::live::{
    machine::MachineTime,
    search::{Bounds, Search},
    trial,
};
use weir_exporter::Version;
use weir_sensor::clock::Now;
use weir_store::system;
use weir_tests::wire;

pub use self::collectors::{Nfcapd, Who, binary, nfdump_flows};
use self::{
    collectors::Running,
    figures::{Figures, Outcome},
};
use crate::{
    Run,
    bars::{Bar, Report},
    buffer::BufferLimit,
    campus::Family,
    interrupt,
    progress::Progress,
    replay::{Replay, Sender},
};

const SENDER_CPU: usize = 0;
const COLLECTOR_CPU: usize = 1;
/// Of the highest rate without loss, for processor time and rotations.
const SHARE_PERCENT: u64 = 70;
/// Longer than any trial, so that no window closes in one.
const NO_ROTATION_MS: u64 = 86_400_000;
/// No window is shorter.
const ROTATION_MIN_MS: u64 = 100;
/// A hundred windows a minute.
const ROTATION_MS: u64 = 600;
/// Windows of a trial that searches for the rate.
const ROTATIONS_TRIED: u64 = 10;
/// Octets that a flow takes in an open window and beside it while that is closed, with room to spare.
const FLOW_OCTETS_MAX: u64 = 180;

/// What is sent, and what is held against it.
struct Case {
    name: &'static str,
    version: Version,
    family: Family,
    /// Million flows a second of a core into the open window.
    bar: Bar,
    /// Whether it is also sent while windows close a hundred times a minute.
    rotates: bool,
    is_quick: bool,
}

const fn case(name: &'static str, version: Version, family: Family, is_quick: bool) -> Case {
    let (bar, rotates) = match version {
        Version::V5 => (Bar::at_least(4.5, 8.0), true),
        _ => (Bar::at_least(3.5, 6.0), false),
    };
    Case {
        name,
        version,
        family,
        bar,
        rotates,
        is_quick,
    }
}

static CASES: [Case; 5] = [
    case("v5", Version::V5, Family::V4, true),
    Case {
        rotates: true,
        ..case("v9, IPv4", Version::V9, Family::V4, false)
    },
    case("v9, IPv6", Version::V9, Family::V6, true),
    case("IPFIX, IPv4", Version::Ipfix, Family::V4, false),
    case("IPFIX, IPv6", Version::Ipfix, Family::V6, false),
];

/// How much of it.
#[derive(Clone, Copy, Debug)]
struct Effort {
    /// Flows of a pass.
    flows: u64,
    precision_percent: u64,
    trials_max: u32,
    /// The receive buffers hold some 400,000 flows: a trial has to send many times that.
    trial: Duration,
    cpu_rounds: u64,
    /// Windows that close, one each [`ROTATION_MS`].
    rotations: u64,
}

const FULL: Effort = Effort {
    flows: 3_000_000,
    precision_percent: 10,
    trials_max: 6,
    trial: Duration::from_secs(2),
    cpu_rounds: 2,
    rotations: 100,
};
const QUICK: Effort = Effort {
    flows: 500_000,
    precision_percent: 25,
    trials_max: 5,
    trial: Duration::from_secs(1),
    cpu_rounds: 1,
    rotations: 10,
};

/// What is at work.
struct Bench {
    effort: Effort,
    nfcapd: Nfcapd,
    who: Vec<Who>,
    progress: Progress,
}

pub fn measure(report: &mut Report, run: &Run) -> Result<()> {
    let effort = if run.quick { QUICK } else { FULL };
    let nfcapd = Nfcapd::find()?;
    let mut who = vec![Who::Weir, Who::Lz4];
    who.extend(nfcapd.has_zstd.then_some(Who::Zstd));
    let quick = run.quick;
    let cases = || CASES.iter().filter(move |case| case.is_quick || !quick);
    let rotations = cases().filter(|case| case.rotates).count() as u64;
    let steps = cases().count() as u64 * who.len() as u64 * (1 + effort.cpu_rounds) + rotations;
    let bench = Bench {
        effort,
        nfcapd,
        who,
        progress: Progress::new(steps)?,
    };
    let _raised = BufferLimit::raise()?;
    for case in cases() {
        bench.measure_case(report, case)?;
    }
    if run.quick {
        bench
            .progress
            .say("collect: --quick leaves out three of five cases");
    }
    Ok(())
}

impl Bench {
    fn measure_case(&self, report: &mut Report, case: &Case) -> Result<()> {
        interrupt::go_on()?;
        self.progress
            .begin(format!("{}: making datagrams", case.name));
        let now_ns = Now::read().unix_ns;
        let mut replay = Replay::of_campus(case.version, case.family, self.effort.flows, now_ns)?;
        let wire_octets = replay.octets() as f64 / replay.flows() as f64;
        let mut figures = self.search(case, &mut replay)?;
        for _ in 0..self.effort.cpu_rounds {
            self.cpu_round(case, &mut replay, &mut figures)?;
        }
        figures::add(report, case, &self.nfcapd, &self.who, &figures);
        if case.family == Family::V4 {
            self.recompact(report, case, &mut replay, figures[0].highest)?;
        }
        report.context(
            format!("{}: in datagrams", case.name),
            wire_octets,
            "octets/flow",
        );
        if case.rotates {
            self.rotate(report, case, &mut replay, figures[0].highest)?;
        }
        Ok(())
    }

    /// All searches at once, a trial of each in turn.
    fn search(&self, case: &Case, replay: &mut Replay) -> Result<Vec<Figures>> {
        let bounds = |who: Who| Bounds {
            first_pps: if who == Who::Weir {
                3_000_000
            } else {
                1_000_000
            },
            precision_percent: self.effort.precision_percent,
            trials_max: self.effort.trials_max,
        };
        let mut searches: Vec<_> = self
            .who
            .iter()
            .map(|who| Search::new(bounds(*who)))
            .collect();
        let mut is_over = vec![false; searches.len()];
        while is_over.contains(&false) {
            for (index, who) in self.who.iter().enumerate() {
                let Some(rate) = searches[index].next_pps() else {
                    if !std::mem::replace(&mut is_over[index], true) {
                        self.progress.step(1);
                    }
                    continue;
                };
                let outcome = self.trial(case, *who, replay, rate)?;
                let is_lossless = outcome.is_lossless();
                searches[index].record(rate, outcome.per_second, is_lossless);
                let missing = outcome.sent.saturating_sub(outcome.left.flows);
                self.progress.say(&format!(
                    "collect: {}, {}: {:.2} M flows/s, {missing} not in the files, {} datagrams dropped by the kernel",
                    case.name,
                    who.name(),
                    outcome.per_second as f64 / 1e6,
                    outcome.kernel_drops
                ));
            }
        }
        let figures = searches.iter().map(|search| Figures {
            highest: search.highest_pps().unwrap_or(0),
            sender_is_limit: search.generator_is_limit(),
            ..Figures::default()
        });
        Ok(figures.collect())
    }

    /// A trial of each at its own rate.
    fn cpu_round(&self, case: &Case, replay: &mut Replay, figures: &mut [Figures]) -> Result<()> {
        for (who, figures) in self.who.iter().zip(figures) {
            self.progress.step(1);
            if figures.highest == 0 {
                continue;
            }
            let rate = (figures.highest * SHARE_PERCENT / 100).max(1);
            let outcome = self.trial(case, *who, replay, rate)?;
            figures.add(&outcome);
        }
        Ok(())
    }

    fn trial(&self, case: &Case, who: Who, replay: &mut Replay, rate: u64) -> Result<Outcome> {
        let flows = u128::from(rate) * self.effort.trial.as_millis() / 1000;
        let flows = u64::try_from(flows)?.max(replay.flows());
        let collector = Running::start(who, &self.nfcapd, Some(COLLECTOR_CPU), NO_ROTATION_MS)?;
        self.send(case, collector, replay, rate, flows)
            .with_context(|| format!("{}, {}", case.name, who.name()))
    }

    /// Sends so many flows to a collector that was started, and ends it.
    fn send(
        &self,
        case: &Case,
        collector: Running,
        replay: &mut Replay,
        rate: u64,
        flows: u64,
    ) -> Result<Outcome> {
        interrupt::go_on()?;
        self.progress.begin(format!(
            "{}, {} at {:.2} M flows/s",
            case.name,
            collector.name(),
            rate as f64 / 1e6
        ));
        let (cpu_ns, machine) = (collector.cpu_ns()?, MachineTime::read()?);
        let port = collector.port;
        let sender = trial::apart(|| {
            wire::pin(SENDER_CPU)?;
            let mut sender = Sender::new(port, rate)?;
            replay.send(&mut sender, flows, interrupt::go_on)?;
            let per_second = sender.flows_per_second();
            Ok((sender.flows, per_second))
        });
        let (sent, per_second) = sender?;
        let kernel_drops = collector.drain()?;
        let open_ns = collector.cpu_ns()?.saturating_sub(cpu_ns);
        let busy_ns = machine.busy_ns_until(&MachineTime::read()?);
        let windows_open = collector.windows_open()?;
        Ok(Outcome {
            sent,
            per_second,
            kernel_drops,
            open_ns,
            beside_ns: busy_ns.saturating_sub(open_ns),
            memory_octets: collector.memory_octets()?,
            windows_open,
            left: collector.stop()?,
        })
    }

    /// What the flows take for good: one pass of them, whose windows are recompacted into one file.
    fn recompact(
        &self,
        report: &mut Report,
        case: &Case,
        replay: &mut Replay,
        highest: u64,
    ) -> Result<()> {
        let flows = replay.flows();
        let rate = (highest / 2).max(1);
        // Some three windows, unless they were shorter than one may be.
        let rotation_ms = (flows * 1000 / rate / 3).max(ROTATION_MIN_MS);
        let mut collector = Running::start(Who::Weir, &self.nfcapd, None, rotation_ms)?;
        collector.recompacts = true;
        let outcome = self.send(case, collector, replay, rate, flows)?;
        let octets = outcome.left.recompacted_octets;
        report.bar(
            format!("{}: at rest", case.name),
            "octets/flow",
            octets.map(|octets| octets as f64 / outcome.left.flows as f64),
            Bar::at_most(18.0, 15.0),
            "Parquet of several windows, recompacted into one file",
        );
        Ok(())
    }

    /// Windows that close a hundred times a minute. Closing is work of its own: the collector has both CPUs, of which
    /// the sender needs one, so the rate at which it keeps up without loss is searched for anew. At a share of that
    /// nothing may be missing, by the files, by the kernel's count or by the exporter's numbers.
    fn rotate(
        &self,
        report: &mut Report,
        case: &Case,
        replay: &mut Replay,
        highest: u64,
    ) -> Result<()> {
        let rotations = self.effort.rotations;
        let what = format!(
            "{}: flows lost over {rotations} rotations, {} a minute",
            case.name,
            60_000 / ROTATION_MS
        );
        self.progress.step(1);
        let is_none = Bar::at_most(0.0, 0.0);
        if let Err(note) = has_room(highest, rotations) {
            report.bar(what, "flows", None, is_none, note);
            return Ok(());
        }
        let Some(highest) = self.search_rotating(case, replay, highest)? else {
            report.bar(
                what,
                "flows",
                None,
                is_none,
                "flows were lost at every rate",
            );
            return Ok(());
        };
        report.context(
            format!(
                "{}, weir-collector: no loss while windows close up to",
                case.name
            ),
            highest as f64 / 1e6,
            "M flows/s",
        );
        let outcome = self.rotate_at(case, replay, highest * SHARE_PERCENT / 100, rotations)?;
        let Outcome {
            sent,
            per_second,
            kernel_drops,
            memory_octets,
            left,
            ..
        } = outcome;
        ensure!(
            left.files >= rotations,
            "{} windows were closed, not {rotations}",
            left.files
        );
        // More in the files than was sent is no better.
        let lost = sent.abs_diff(left.flows).max(kernel_drops).max(left.lost);
        report.bar(
            what,
            "flows",
            lost as f64,
            is_none,
            format!(
                "{sent} sent at {:.2} M flows/s, {SHARE_PERCENT} % of the highest rate without loss while windows close; {} in {} files; {kernel_drops} datagrams dropped by the kernel, {} lost by their numbers; most memory {} MiB",
                per_second as f64 / 1e6,
                left.flows,
                left.files,
                left.lost,
                memory_octets >> 20
            ),
        );
        Ok(())
    }

    /// The highest rate without loss at which windows close as fast as they come, if there is one.
    fn search_rotating(&self, case: &Case, replay: &mut Replay, first: u64) -> Result<Option<u64>> {
        let mut search = Search::new(Bounds {
            first_pps: first,
            precision_percent: self.effort.precision_percent,
            trials_max: self.effort.trials_max,
        });
        while let Some(rate) = search.next_pps() {
            let outcome = self.rotate_at(case, replay, rate, ROTATIONS_TRIED)?;
            self.progress.say(&format!(
                "collect: {}, windows close: {:.2} M flows/s, {} datagrams dropped by the kernel, {} windows open in the end",
                case.name,
                outcome.per_second as f64 / 1e6,
                outcome.kernel_drops,
                outcome.windows_open
            ));
            // What falls behind in closing loses nothing yet, and would before long.
            let is_lasting = outcome.is_lossless() && outcome.keeps_up();
            search.record(rate, outcome.per_second, is_lasting);
        }
        Ok(search.highest_pps())
    }

    /// Sends at this rate for so many windows, and two that are not whole.
    fn rotate_at(
        &self,
        case: &Case,
        replay: &mut Replay,
        rate: u64,
        rotations: u64,
    ) -> Result<Outcome> {
        let flows = (rate * (rotations + 2) * ROTATION_MS / 1000).max(replay.flows());
        let collector = Running::start(Who::Weir, &self.nfcapd, None, ROTATION_MS)?;
        self.send(case, collector, replay, rate, flows)
            .with_context(|| format!("{}, rotations", case.name))
    }
}

/// Whether there is room for so many windows, if closing them falls behind; else why they are not tried.
fn has_room(rate: u64, rotations: u64) -> std::result::Result<(), String> {
    if rate == 0 {
        return Err("flows were lost at every rate".to_owned());
    }
    let folder = std::env::temp_dir();
    let needed = rate * rotations * ROTATION_MS / 1000 * FLOW_OCTETS_MAX;
    match system::free_octets(&folder) {
        Ok(free) if free >= needed => Ok(()),
        Ok(free) => Err(format!(
            "needs {} GiB in {} if closing falls behind: {} are free",
            needed >> 30,
            folder.display(),
            free >> 30
        )),
        Err(error) => Err(format!("free space of {}: {error}", folder.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_is_sent_by_a_version_that_can_carry_it() {
        for case in &CASES {
            assert!(case.version.has_templates() || case.family == Family::V4);
        }
    }
}
