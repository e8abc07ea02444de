//! `weir` beside nfdump on the same flows, and DuckDB on Weir's own files: thirty days, five questions, with
//! the files in the page cache and without. Where all engines say how many flows an answer is of, they must
//! agree, or nothing is measured. Then what is felt at a terminal: the first row, text, and opening a
//! directory of a thousand files.

mod archive;
mod engines;

use anyhow::{Result, ensure};

use self::{
    archive::Archive,
    engines::{Answer, ENGINES, Engine, Programs, QUESTIONS, Question},
};
use crate::{
    Run,
    bars::{Bar, Report},
    collect::Nfcapd,
    cpu::median,
    interrupt,
    progress::Progress,
    table::median_ratio,
};

/// Flows of the archive, unless told otherwise.
const FLOWS: u64 = 20_000_000;
const QUICK_FLOWS: u64 = 2_000_000;
/// Lines of text, or all there are.
const LINES: u64 = 5_000_000;

/// How often everybody takes a turn, and how often without the page cache.
#[derive(Clone, Copy, Debug)]
struct Effort {
    warm: usize,
    cold: usize,
}

/// What is at work.
struct Bench {
    archive: Archive,
    programs: Programs,
    effort: Effort,
    progress: Progress,
}

/// Seconds of each engine, in each round.
type Seconds = [Vec<f64>; ENGINES.len()];

pub fn measure(report: &mut Report, run: &Run) -> Result<()> {
    let (flows, effort) = if run.quick {
        (QUICK_FLOWS, Effort { warm: 2, cold: 1 })
    } else {
        (FLOWS, Effort { warm: 5, cold: 3 })
    };
    let programs = Programs::find()?;
    let nfcapd = Nfcapd::find()?;
    let archive = Archive::make(run.flows.unwrap_or(flows), &nfcapd)?;
    let flows = archive.flows as f64;
    report.context("flows, over 30 days", flows, "flows");
    let (weir, nfdump) = archive.octets;
    for (name, octets) in [("weir's files", weir), ("nfcapd's files, lz4", nfdump)] {
        report.context(name, octets as f64 / flows, "octets/flow");
    }
    let bench = Bench {
        archive,
        programs,
        effort,
        progress: Progress::new(QUESTIONS.len() as u64 + 1)?,
    };
    for question in QUESTIONS {
        bench.measure_question(report, question)?;
        bench.progress.step(1);
    }
    bench.at_the_terminal(report)
}

impl Bench {
    fn measure_question(&self, report: &mut Report, question: Question) -> Result<()> {
        let name = question.name();
        // Who reads the files first reads them from disk: that round is nobody's.
        self.round(question, None, false)?;
        let mut warm = Seconds::default();
        for _ in 0..self.effort.warm {
            self.round(question, Some(&mut warm), false)?;
        }
        let mut cold = Seconds::default();
        for _ in 0..self.effort.cold {
            self.round(question, Some(&mut cold), true)?;
        }
        let rate = |seconds: &[f64]| {
            let per_second = |seconds: &f64| self.archive.flows as f64 / seconds / 1e6;
            (!seconds.is_empty()).then(|| median(seconds.iter().map(per_second).collect()))
        };
        if let Some(bar) = question.bar() {
            let note = format!("cold {:.1}", rate(&cold[0]).unwrap_or(f64::NAN));
            report.bar(name, "M flows/s", rate(&warm[0]), bar, note);
        }
        for (seconds, how) in [(&warm, "warm"), (&cold, "cold")] {
            for (engine, own) in ENGINES.iter().zip(seconds) {
                let Some(rate) = rate(own) else { continue };
                let who = engine.name();
                report.context(format!("{name}, {how}: {who}"), rate, "M flows/s");
                if *engine != Engine::Weir {
                    let times = median_ratio(own, &seconds[0]);
                    report.context(format!("{name}, {how}: weir / {who}"), times, "×");
                }
            }
        }
        Ok(())
    }

    /// Each engine in turn.
    fn round(
        &self,
        question: Question,
        mut seconds: Option<&mut Seconds>,
        is_cold: bool,
    ) -> Result<()> {
        let mut answers: Vec<(Engine, Answer)> = Vec::new();
        for (index, engine) in ENGINES.into_iter().enumerate() {
            interrupt::go_on()?;
            let how = if is_cold { ", cold" } else { "" };
            let what = format!("{}: {}{how}", question.name(), engine.name());
            self.progress.begin(what.clone());
            if is_cold {
                engines::drop_caches()?;
                self.programs.warm_up()?;
            }
            let Some(answer) = self.programs.ask(engine, question, &self.archive)? else {
                continue;
            };
            if let Some(seconds) = &mut seconds {
                seconds[index].push(answer.seconds);
                self.progress
                    .say(&format!("query: {what}: {:.2} s", answer.seconds));
            }
            answers.push((engine, answer));
        }
        ensure!(
            answers
                .windows(2)
                .all(|pair| pair[0].1.flows == pair[1].1.flows),
            "{}: the answers differ: {answers:?}",
            question.name()
        );
        Ok(())
    }

    fn at_the_terminal(&self, report: &mut Report) -> Result<()> {
        self.progress.begin("first row, text, a thousand files");
        let rounds = |work: &dyn Fn() -> Result<f64>| -> Result<f64> {
            let mut figures = Vec::new();
            for _ in 0..self.effort.warm {
                interrupt::go_on()?;
                figures.push(work()?);
            }
            Ok(median(figures))
        };
        let (programs, archive) = (&self.programs, &self.archive);
        let first_row = rounds(&|| programs.first_row_ms(&archive.weir))?;
        report.bar(
            "first row of `flows`",
            "ms",
            first_row,
            Bar::at_most(100.0, 100.0),
            "from its start, through a pipe",
        );
        let lines = LINES.min(archive.flows);
        let rate = |seconds: f64| lines as f64 / seconds / 1e6;
        report.bar(
            "text: csv",
            "M lines/s",
            rate(rounds(&|| programs.csv_s(Engine::Weir, archive, lines))?),
            Bar::at_least(3.0, 3.0),
            format!("{lines} lines to /dev/null, reading included"),
        );
        let nfdump = rate(rounds(&|| programs.csv_s(Engine::Nfdump, archive, lines))?);
        report.context("text: the same columns, nfdump", nfdump, "M lines/s");
        report.bar(
            "one flow of a directory of a thousand files",
            "s",
            rounds(&|| programs.open_s(&archive.small))?,
            Bar::at_most(1.0, 0.5),
            "all of the process",
        );
        self.progress.step(1);
        Ok(())
    }
}
