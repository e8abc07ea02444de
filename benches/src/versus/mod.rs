//! Weir beside softflowd, nfpcapd and pmacctd on the same live frames: the highest rate without
//! loss, then processor time a packet at 70 % of it, each round with a trial of nobody at the same
//! rate. The processor time is the receiver's own: what the network stack takes anyway is not in it.
//!
//! All take turns, trial by trial, so that a busy minute of the machine is everybody's. What is known
//! is written after each step ([`record`]), so that a run that is interrupted leaves it.

mod plot;
mod record;

use std::time::Duration;

use anyhow::Result;
use weir_benches::live::{
    receiver::Receiver,
    search::{Bounds, Search},
    trial::{self, Setup},
};
use weir_tests::netns::Pair;

use crate::{
    Run,
    bars::{Bar, Report},
    cpu::median,
    interrupt,
    progress::Progress,
    veth,
};

/// Who takes part; the last is Weir.
const RECEIVERS: [Receiver; N] = [
    Receiver::Softflowd,
    Receiver::Nfpcapd,
    Receiver::Pmacctd,
    Receiver::Weir,
];
const N: usize = 4;
const SOFTFLOWD: usize = 0;
const WEIR: usize = N - 1;
/// A name, flows, and the bars (must, aim) of softflowd's processor time over Weir's.
type Case = (&'static str, u32, Option<(f64, f64)>);
const CASES: [Case; 3] = [
    ("1k flows", 1 << 10, None),
    ("64k flows", 1 << 16, Some((15.0, 27.0))),
    ("1M flows", 1 << 20, Some((8.0, 15.0))),
];
const SHARE_PERCENT: u64 = 70;

/// How much of it.
#[derive(Clone, Copy, Debug)]
struct Effort {
    /// The last case takes the longest, since a million flows are opened before each trial.
    cases: usize,
    precision_percent: u64,
    trials_max: u32,
    /// A search's trial is as long as so many packets take, within bounds. What is still in a capture
    /// ring when the traffic ends (16 blocks of 128 KiB for libpcap, some 14,000 packets, of which
    /// softflowd is given full blocks only) was not too much for it: it must be few of them.
    packets: u64,
    length_ms: (u64, u64),
    /// Trials for processor time, which the kernel tells in ticks of 10 ms.
    cpu_rounds: u64,
    cpu_length: Duration,
}

const FULL: Effort = Effort {
    cases: 3,
    precision_percent: 10,
    trials_max: 8,
    packets: 1_000_000,
    length_ms: (1000, 3000),
    cpu_rounds: 3,
    cpu_length: Duration::from_secs(2),
};
const QUICK: Effort = Effort {
    cases: 2,
    precision_percent: 25,
    trials_max: 5,
    packets: 300_000,
    length_ms: (1000, 2000),
    cpu_rounds: 1,
    cpu_length: Duration::from_secs(2),
};

/// One receiver with one number of flows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Figures {
    /// 0: packets were lost at every rate tried.
    zero_loss_pps: u64,
    /// More than that the generator does not make.
    generator_is_limit: bool,
    /// Of all rounds so far.
    cpu_ns: Option<f64>,
    /// Packets lost in those.
    lost: u64,
}

/// By case and receiver, as far as it is known.
type Table = [[Option<Figures>; N]; CASES.len()];

/// What is at work.
struct Bench<'a> {
    run: &'a Run,
    pair: Pair,
    effort: Effort,
    progress: Progress,
}

/// Measures all, and writes `benches/record/versus.{md,json,svg}`.
pub fn measure(report: &mut Report, run: &Run) -> Result<()> {
    let effort = if run.quick { QUICK } else { FULL };
    let steps = effort.cases as u64 * N as u64 * (1 + effort.cpu_rounds);
    let bench = Bench {
        run,
        pair: trial::pair()?,
        effort,
        progress: Progress::new(steps)?,
    };
    let mut table = Table::default();
    for (index, case) in CASES.into_iter().enumerate().take(effort.cases) {
        bench.measure_case(report, &mut table, index)?;
        add(report, case, &table[index]);
        bench.write(report, &table)?;
    }
    if effort.cases < CASES.len() {
        bench.progress.say("versus: --quick leaves out 1M flows");
    }
    // The bar goes first.
    drop(bench);
    print!("{}", record::markdown(&table));
    Ok(())
}

fn add(report: &mut Report, (name, _, bars): Case, row: &[Option<Figures>; N]) {
    for (receiver, figures) in RECEIVERS.iter().zip(row) {
        let name = format!("{name}, {}", receiver.name());
        if let Some(figures) = figures {
            let mpps = figures.zero_loss_pps as f64 / 1e6;
            report.context(format!("{name}: no loss up to"), mpps, "Mpps");
        }
        if let Some(cpu_ns) = figures.and_then(|figures| figures.cpu_ns) {
            report.context(format!("{name}: CPU"), cpu_ns, "ns/packet");
        }
    }
    if let Some((must, aim)) = bars {
        report.bar(
            format!("CPU per packet, softflowd / Weir, {name}"),
            "×",
            ratio(row),
            Bar::at_least(must, aim),
            "both without what the network stack takes anyway",
        );
    }
}

/// softflowd's processor time over Weir's, if both are known and above zero, and Weir lost nothing for it.
fn ratio(row: &[Option<Figures>; N]) -> Option<f64> {
    let cpu_ns = |receiver: usize| row[receiver]?.cpu_ns.filter(|cpu_ns| *cpu_ns > 0.0);
    row[WEIR].filter(|figures| figures.lost == 0)?;
    Some(cpu_ns(SOFTFLOWD)? / cpu_ns(WEIR)?)
}

impl Bench<'_> {
    fn measure_case(&self, report: &Report, table: &mut Table, index: usize) -> Result<()> {
        let (name, flows, _) = CASES[index];
        let before = index.checked_sub(1).map(|index| table[index]);
        let searches = self.search(name, flows, before)?;
        for (figures, search) in table[index].iter_mut().zip(&searches) {
            *figures = Some(Figures {
                zero_loss_pps: search.highest_pps().unwrap_or(0),
                generator_is_limit: search.generator_is_limit(),
                ..Figures::default()
            });
        }
        self.write(report, table)?;
        let mut rounds_ns: [Vec<f64>; N] = Default::default();
        for _ in 0..self.effort.cpu_rounds {
            self.cpu_round(name, flows, &mut table[index], &mut rounds_ns)?;
            self.write(report, table)?;
        }
        Ok(())
    }

    /// All searches at once, a trial of each in turn.
    fn search(
        &self,
        name: &str,
        flows: u32,
        before: Option<[Option<Figures>; N]>,
    ) -> Result<[Search; N]> {
        let mut searches: [Search; N] = std::array::from_fn(|receiver| {
            Search::new(Bounds {
                first_pps: first_pps(RECEIVERS[receiver], before.and_then(|row| row[receiver])),
                precision_percent: self.effort.precision_percent,
                trials_max: self.effort.trials_max,
            })
        });
        let mut is_over = [false; N];
        while is_over != [true; N] {
            for (index, receiver) in RECEIVERS.into_iter().enumerate() {
                let Some(rate) = searches[index].next_pps() else {
                    if !std::mem::replace(&mut is_over[index], true) {
                        self.progress.step(1);
                    }
                    continue;
                };
                let setup = Setup {
                    rate,
                    ..veth::setup(receiver, Some(flows), self.effort.length(rate))
                };
                let what = format!("{name}, {}", receiver.name());
                let outcome = self.trial(&what, &setup, || trial::run(&self.pair, &setup))?;
                let (pps, lost) = (outcome.sent.pps(), outcome.lost);
                searches[index].record(rate, pps, lost == 0);
                let mpps = pps as f64 / 1e6;
                let line = format!("versus: {what}: {mpps:.3} Mpps, {lost} lost");
                self.progress.say(&line);
            }
        }
        Ok(searches)
    }

    /// A trial of each at its own rate, and one of nobody.
    fn cpu_round(
        &self,
        name: &str,
        flows: u32,
        row: &mut [Option<Figures>; N],
        rounds_ns: &mut [Vec<f64>; N],
    ) -> Result<()> {
        for (index, receiver) in RECEIVERS.into_iter().enumerate() {
            self.progress.step(1);
            let Some(figures) = row[index].as_mut().filter(|row| row.zero_loss_pps > 0) else {
                continue;
            };
            let setup = Setup {
                rate: (figures.zero_loss_pps * SHARE_PERCENT / 100).max(1),
                ..veth::setup(receiver, Some(flows), self.effort.cpu_length)
            };
            let what = format!("{name}, {}, CPU", receiver.name());
            let cost = self.trial(&what, &setup, || {
                trial::cost(&self.pair, &setup, Receiver::Stack, 1)
            })?;
            rounds_ns[index].push(cost.own_ns());
            figures.cpu_ns = Some(median(rounds_ns[index].clone()));
            figures.lost += cost.lost;
        }
        Ok(())
    }

    fn trial<T>(&self, what: &str, setup: &Setup, work: impl FnOnce() -> Result<T>) -> Result<T> {
        interrupt::go_on()?;
        let rate = match setup.rate {
            0 => "as fast as it goes".to_owned(),
            pps => format!("{:.3} Mpps", pps as f64 / 1e6),
        };
        self.progress.begin(format!("{what}, {rate}"));
        work()
    }

    fn write(&self, report: &Report, table: &Table) -> Result<()> {
        if self.run.record {
            record::write(report, table)?;
        }
        Ok(())
    }
}

impl Effort {
    /// Length of a search's trial at a rate; 0 is as fast as it goes.
    fn length(&self, rate: u64) -> Duration {
        let (shortest_ms, longest_ms) = self.length_ms;
        let ms = (self.packets * 1000).checked_div(rate).unwrap_or(0);
        Duration::from_millis(ms.clamp(shortest_ms, longest_ms))
    }
}

/// Where a search begins: near what the receiver managed with fewer flows; Weir's with all that the
/// generator makes.
fn first_pps(receiver: Receiver, before: Option<Figures>) -> u64 {
    const FIRST_PPS: u64 = 1_000_000;
    const FEWER: u64 = 3;
    match before {
        _ if receiver == Receiver::Weir => 0,
        None => FIRST_PPS,
        Some(figures) => (figures.zero_loss_pps / FEWER).max(1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_are_long_enough_for_their_packets_within_bounds() {
        let ms = [0, 10_000_000, 500_000, 1000].map(|rate| FULL.length(rate).as_millis());
        assert_eq!(ms, [1000, 1000, 2000, 3000]);
    }

    #[test]
    fn searches_begin_near_what_was_found_before() {
        let before = Figures {
            zero_loss_pps: 900_000,
            ..Figures::default()
        };
        assert_eq!(first_pps(Receiver::Softflowd, Some(before)), 300_000);
        assert_eq!(first_pps(Receiver::Softflowd, None), 1_000_000);
        assert_eq!(first_pps(Receiver::Weir, Some(before)), 0);
        let nothing = Some(Figures::default());
        assert_eq!(first_pps(Receiver::Pmacctd, nothing), 1000);
    }

    #[test]
    fn there_is_a_ratio_only_of_times() {
        let took = |cpu_ns: Option<f64>| {
            Some(Figures {
                cpu_ns,
                ..Figures::default()
            })
        };
        let both = [took(Some(1200.0)), None, None, took(Some(60.0))];
        assert_eq!(ratio(&both), Some(20.0));
        let lossy = took(Some(60.0)).map(|figures| Figures { lost: 1, ..figures });
        for weir in [None, took(None), took(Some(-3.0)), took(Some(0.0)), lossy] {
            assert_eq!(ratio(&[took(Some(1200.0)), None, None, weir]), None);
        }
    }
}
