//! Nanoseconds per packet of the loaded program, beside the same walk with a kernel hash map and
//! with no accounting, interleaved in one run. A test run of one frame; a prologue gives it the next
//! source address of a drawn sequence, so that each packet is a different flow's.
#![expect(unsafe_code, reason = "memory that the program reads")]

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, bail};
use aya::{
    maps::Map,
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use weir_sensor::{
    kernel::{self, Kernel, ProgramOptions},
    mapping::Mapping,
};
use weir_sensor_common::{KeyMask, hash::Seed, table::Shape};
use weir_tests::{
    traffic::{self, Random},
    wire,
};

use crate::{
    bars::Report,
    cpu::{median, thread_ns},
};

/// Addresses drawn beforehand.
const SEQUENCE: u32 = 1 << 22;
const ROUNDS: usize = 9;

/// One row of the blueprint's table.
struct Case {
    name: &'static str,
    /// Different flows; none for a flood.
    flows: Option<u32>,
    /// Slots of Weir's table, and places in the kernel's.
    slots: u32,
    bar_ns: (f64, f64),
    bar_ratio: f64,
}

const CASES: [Case; 4] = [
    Case {
        name: "1k flows",
        flows: Some(1 << 10),
        slots: 1 << 11,
        bar_ns: (30.0, 15.0),
        bar_ratio: 0.8,
    },
    Case {
        name: "64k flows",
        flows: Some(1 << 16),
        slots: 1 << 17,
        bar_ns: (60.0, 40.0),
        bar_ratio: 0.5,
    },
    Case {
        name: "1M flows",
        flows: Some(1 << 20),
        slots: 1 << 21,
        bar_ns: (150.0, 90.0),
        bar_ratio: 0.35,
    },
    Case {
        name: "flood into a full table",
        flows: None,
        slots: 1 << 20,
        bar_ns: (90.0, 50.0),
        bar_ratio: 0.25,
    },
];

const PROGRAMS: [&str; 4] = ["bench_weir", "bench_hash", "bench_walk", "bench_noop"];

pub fn measure(report: &mut Report, quick: bool) -> Result<()> {
    wire::pin(0)?;
    let packets = if quick { 200_000 } else { 1_000_000 };
    for case in &CASES {
        eprintln!("table: {}", case.name);
        let [weir, hash, walk, noop] = measure_case(case, packets)?;
        let name = case.name;
        report.at_most(
            format!("program, {name}"),
            "ns/packet",
            weir,
            case.bar_ns,
            format!("no-op {noop:.0}, walk alone {walk:.0}, hash map {hash:.0}"),
        );
        report.at_most(
            format!("program / hash map, {name}"),
            "×",
            weir / hash,
            (case.bar_ratio, case.bar_ratio),
            "",
        );
        report.context(format!("{name}: walk alone, no table"), walk, "ns/packet");
        report.context(format!("{name}: kernel hash map"), hash, "ns/packet");
        report.context(
            format!("{name}: Weir's table over the walk"),
            weir - walk,
            "ns/packet",
        );
        report.context(
            format!("{name}: the hash map over the walk"),
            hash - walk,
            "ns/packet",
        );
    }
    Ok(())
}

fn measure_case(case: &Case, packets: u32) -> Result<[f64; 4]> {
    let shape = Shape {
        bucket_mask: case.slots / 8 - 1,
        seed: Seed::new([17, 34, 51, 68, 85]),
        key_mask: KeyMask::FULL.0,
    };
    let options = ProgramOptions {
        stages: kernel::stages(&shape),
        ring_flows: 1 << 16,
        ..ProgramOptions::new(shape)
    };
    let mask: &'static u32 = Box::leak(Box::new(SEQUENCE - 1));
    let mut kernel = Kernel::load_with(&options, |loader| {
        loader
            .map_max_entries("SOURCES", SEQUENCE)
            .map_max_entries("BASELINE", case.slots);
        loader.override_global("SOURCES_MASK", mask, true);
    })?;
    draw(&mut kernel, case.flows)?;
    for name in PROGRAMS {
        program(&mut kernel, name)?.load()?;
    }
    let frame = traffic::flood_frame(0);
    let mut figures: [Vec<f64>; 4] = Default::default();
    // The first round fills the tables.
    let fill = case.flows.map_or(SEQUENCE, |flows| {
        flows.saturating_mul(8).clamp(100_000, SEQUENCE)
    });
    for round in 0..=ROUNDS {
        for (name, figures) in PROGRAMS.iter().zip(&mut figures) {
            let repeat = if round == 0 { fill } else { packets };
            let program = program(&mut kernel, name)?;
            let before = thread_ns();
            let result = program.test_run(TestRunOptions {
                data_in: Some(&frame),
                repeat,
                ..TestRunOptions::new()
            })?;
            if result.return_value != 2 {
                bail!("{name} did not pass the frame");
            }
            if round > 0 {
                figures.push((thread_ns() - before) / f64::from(repeat));
            }
        }
    }
    Ok(figures.map(median))
}

fn program<'a>(kernel: &'a mut Kernel, name: &str) -> Result<&'a mut Xdp> {
    Ok(kernel
        .ebpf()
        .program_mut(name)
        .context("a program of the feature `baseline`")?
        .try_into()?)
}

/// Fills the sequence: flows drawn evenly, or never the same one.
fn draw(kernel: &mut Kernel, flows: Option<u32>) -> Result<()> {
    let Some(Map::Array(map)) = kernel.ebpf().map("SOURCES") else {
        bail!("map SOURCES")
    };
    let sources: Mapping<u64> = Mapping::of_map(map.fd().as_fd(), SEQUENCE as usize)?;
    let mut random = Random::new(42);
    for index in 0..SEQUENCE {
        let flow = flows.map_or(u64::from(index), |flows| random.below(u64::from(flows)));
        // SAFETY: a valid element; no program runs yet.
        unsafe {
            sources
                .at(index as usize)
                .write_volatile(flow.wrapping_mul(0x9e37_79b1) & 0xffff_ffff);
        };
    }
    Ok(())
}
