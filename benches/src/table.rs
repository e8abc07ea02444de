//! Nanoseconds per packet of the loaded program, beside the same walk with a kernel hash map and
//! with no accounting, interleaved in one run.

use anyhow::Result;
use weir_sensor::kernel::ProgramOptions;
use weir_tests::wire;

use crate::{
    bars::{Bar, Report},
    cpu::median,
    testrun::{self, Flows, Object, Programs},
};

/// Addresses drawn beforehand.
const SEQUENCE: u32 = 1 << 22;
/// A program that does nothing, on the blueprint's machine.
const BLUEPRINT_NOOP_NS: f64 = 6.0;

/// One row of the blueprint's table.
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// Different flows; none for a flood.
    flows: Option<u32>,
    /// Slots of Weir's table, and places in the kernel's.
    slots: u32,
    bar_ns: (f64, f64),
    /// Weir's time over the hash map's.
    pub must_ratio: f64,
    /// What no commit may exceed: what was last measured on the slowest machine there is (an AMD one
    /// with guarded returns), and half as much again.
    pub gate_ratio: f64,
}

/// All rows. Tables are half full, as the blueprint's, but for one: so few flows in the table that a sensor has unless
/// it is told otherwise.
pub const CASES: [Case; 5] = [
    Case {
        name: "1k flows",
        flows: Some(1 << 10),
        slots: 1 << 11,
        bar_ns: (30.0, 15.0),
        must_ratio: 0.8,
        gate_ratio: 1.0,
    },
    Case {
        name: "1k flows in a table of the default size",
        flows: Some(1 << 10),
        slots: 1 << 18,
        bar_ns: (30.0, 15.0),
        must_ratio: 0.8,
        gate_ratio: 0.85,
    },
    Case {
        name: "64k flows",
        flows: Some(1 << 16),
        slots: 1 << 17,
        bar_ns: (60.0, 40.0),
        must_ratio: 0.5,
        gate_ratio: 0.56,
    },
    Case {
        name: "1M flows",
        flows: Some(1 << 20),
        slots: 1 << 21,
        bar_ns: (150.0, 90.0),
        must_ratio: 0.35,
        gate_ratio: 0.45,
    },
    Case {
        name: "flood into a full table",
        flows: None,
        slots: 1 << 20,
        bar_ns: (90.0, 50.0),
        must_ratio: 0.25,
        gate_ratio: 0.36,
    },
];

pub fn measure(report: &mut Report, quick: bool) -> Result<()> {
    const ROUNDS: usize = 9;
    const PROGRAMS: [&str; 4] = ["bench_weir", "bench_hash", "bench_walk", "bench_noop"];
    // As in the blueprint: other cases' tables have driven this one's out of the cache, and it has to come back.
    let packets = if quick { 200_000 } else { 2_000_000 };
    wire::pin(0)?;
    let mut loaded = CASES
        .iter()
        .map(|case| {
            eprintln!("table: {}", case.name);
            load(case, &PROGRAMS)
        })
        .collect::<Result<Vec<_>>>()?;
    // Round by round, so that a slow minute of the machine is not one case's.
    let mut figures: [[Vec<f64>; 4]; CASES.len()] = Default::default();
    for round in 1..=ROUNDS {
        eprintln!("table: round {round} of {ROUNDS}");
        for (programs, figures) in loaded.iter_mut().zip(&mut figures) {
            run_round(programs, &PROGRAMS, packets, figures)?;
        }
    }
    for (case, figures) in CASES.iter().zip(figures) {
        tell(report, case, figures);
    }
    Ok(())
}

/// Weir's time over a kernel hash map's; the median of rounds in each of which both ran.
pub fn ratio(case: &Case, packets: u32, rounds: usize) -> Result<f64> {
    const PROGRAMS: [&str; 2] = ["bench_weir", "bench_hash"];
    let mut loaded = load(case, &PROGRAMS)?;
    let mut figures: [Vec<f64>; 2] = Default::default();
    for _ in 0..rounds {
        run_round(&mut loaded, &PROGRAMS, packets, &mut figures)?;
    }
    Ok(median_ratio(&figures[0], &figures[1]))
}

fn tell(report: &mut Report, case: &Case, figures: [Vec<f64>; 4]) {
    let ratio = median_ratio(&figures[0], &figures[1]);
    let [weir, hash, walk, noop] = figures.map(median);
    let (name, (must, aim)) = (case.name, case.bar_ns);
    report.bar(
        format!("program, {name}"),
        "ns/packet",
        weir,
        Bar::at_most(must, aim).with_floor(noop, BLUEPRINT_NOOP_NS),
        format!("walk alone {walk:.0}, hash map {hash:.0}"),
    );
    report.bar(
        format!("program / hash map, {name}"),
        "×",
        ratio,
        Bar::at_most(case.must_ratio, case.must_ratio),
        "",
    );
    for (what, ns) in [
        ("walk alone, no table", walk),
        ("kernel hash map", hash),
        ("Weir's table over the walk", weir - walk),
        ("the hash map over the walk", hash - walk),
    ] {
        report.context(format!("{name}: {what}"), ns, "ns/packet");
    }
}

/// Loads these programs, and runs each until its table is filled.
fn load(case: &Case, names: &[&str]) -> Result<Programs> {
    let options = ProgramOptions {
        ring_flows: 1 << 16,
        ..ProgramOptions::new(testrun::shape(case.slots))
    };
    let flows = Flows {
        count: case.flows,
        sequence: SEQUENCE,
        places: case.slots,
    };
    let mut programs = Programs::load(Object::Whole, &options, flows, names)?;
    let fill = case.flows.map_or(SEQUENCE, |flows| {
        flows.saturating_mul(8).clamp(100_000, SEQUENCE)
    });
    for name in names {
        programs.run(name, fill)?;
    }
    Ok(programs)
}

/// Adds the nanoseconds a packet of each program in one round; a flood's flows are in no table before.
fn run_round(
    programs: &mut Programs,
    names: &[&str],
    packets: u32,
    figures: &mut [Vec<f64>],
) -> Result<()> {
    programs.renew()?;
    for (name, figures) in names.iter().zip(figures) {
        figures.push(programs.run(name, packets)?);
    }
    Ok(())
}

/// Of the rounds' ratios: a busy moment of the machine is in both of a round's figures.
pub fn median_ratio(figures: &[f64], others: &[f64]) -> f64 {
    let ratios = figures.iter().zip(others);
    median(ratios.map(|(figure, other)| figure / other).collect())
}
