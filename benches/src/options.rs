//! What the program's options cost: each by itself, and all of them while they are off, beside a
//! build of the same source that has none. They are constants when the program is loaded, so what an
//! option does is gone while it is off; the read of its constant is not.

use anyhow::Result;
use weir_sensor::kernel::ProgramOptions;
use weir_sensor_common::tunnel::Tunnels;
use weir_tests::wire;

use crate::{
    bars::{Bar, Report},
    cpu::median,
    table::median_ratio,
    testrun::{self, Flows, Object, Programs},
};

/// Few and hot: the cache is not what is measured.
const FLOWS: Flows = Flows {
    count: Some(1 << 10),
    sequence: 1 << 12,
    places: 1,
};
const SLOTS: u32 = 1 << 11;
const PROGRAM: &str = "bench_weir";
/// What a sensor attaches; `bench_weir` is the first of them with a prologue.
const STEPS: [&str; 5] = [
    "weir_ingress",
    "weir_ingress_walk",
    "weir_ingress_queue",
    "weir_ingress_fetch",
    "weir_ingress_account",
];
/// Off options may cost this much of the program without them.
const BAR: Bar = Bar::at_most(1.05, 1.05);

/// An option, switched on.
type Case = (&'static str, fn(&mut ProgramOptions));

const CASES: [Case; 10] = [
    ("nothing (a second time: the noise)", |_| {}),
    ("several interfaces", |options| options.several = true),
    ("sampling 1 in 100, which leaves out 99", |options| {
        options.sampling = 100;
    }),
    ("the same at random", |options| {
        options.sampling = 100;
        options.sampling_random = true;
    }),
    ("all tunnels", |options| options.tunnels = all_tunnels()),
    ("fragments", |options| options.fragments = 8192),
    ("exact clock", |options| options.exact_clock = true),
    ("debug log", |options| options.debug_log = true),
    ("--drop", |options| options.drop = true),
    ("the filter `tcp or udp`", |options| options.filter = true),
];

pub fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let (packets, rounds) = if quick { (200_000, 9) } else { (500_000, 41) };
    eprintln!("options: each on, all off, none at all");
    wire::pin(0)?;
    let off = off();
    let mut programs = vec![load(Object::Bare, &off)?, load(Object::Whole, &off)?];
    for (_, switch_on) in &CASES {
        let mut options = off;
        switch_on(&mut options);
        programs.push(load(Object::Whole, &options)?);
    }
    let lengths = [programs[0].length(&STEPS)?, programs[1].length(&STEPS)?];
    let figures = interleaved(&mut programs, packets, rounds)?;
    let (bare, off) = (&figures[0], &figures[1]);
    report.bar(
        "options that are off / no options, 1k flows",
        "×",
        median_ratio(off, bare),
        BAR,
        format!(
            "the five steps have {} and {} instructions, {} and {} octets of machine code",
            lengths[1].instructions,
            lengths[0].instructions,
            lengths[1].machine_octets,
            lengths[0].machine_octets
        ),
    );
    report.context("no options at all", median(bare.clone()), "ns/packet");
    report.context("all options off", median(off.clone()), "ns/packet");
    for ((name, _), on) in CASES.iter().zip(&figures[2..]) {
        let prices = on.iter().zip(off).map(|(on, off)| on - off);
        report.context(
            format!("{name}: more than all off"),
            median(prices.collect()),
            "ns/packet",
        );
    }
    Ok(())
}

/// Nanoseconds a packet of each in each round; every other round goes backwards, so that nobody
/// always comes after the same one.
fn interleaved(programs: &mut [Programs], packets: u32, rounds: usize) -> Result<Vec<Vec<f64>>> {
    for programs in &mut *programs {
        programs.run(PROGRAM, packets)?;
    }
    let mut figures = vec![Vec::new(); programs.len()];
    for round in 0..rounds {
        for turn in 0..programs.len() {
            let index = if round.is_multiple_of(2) {
                turn
            } else {
                programs.len() - 1 - turn
            };
            figures[index].push(programs[index].run(PROGRAM, packets)?);
        }
    }
    Ok(figures)
}

fn off() -> ProgramOptions {
    ProgramOptions {
        ring_flows: 1 << 10,
        ..ProgramOptions::new(testrun::shape(SLOTS))
    }
}

fn load(object: Object, options: &ProgramOptions) -> Result<Programs> {
    Programs::load(object, options, FLOWS, &[PROGRAM])
}

fn all_tunnels() -> Tunnels {
    let all = [
        Tunnels::IPIP,
        Tunnels::VXLAN,
        Tunnels::GENEVE,
        Tunnels::GTPU,
    ];
    all.into_iter().fold(Tunnels::GRE, Tunnels::and)
}
