//! What user space pays: a look at every slot, a grace period, and the whole sensor with a million
//! live flows and nothing else to do.

use std::{hint::black_box, thread, time::Duration};

use anyhow::{Result, bail, ensure};
use aya::maps::Map;
use weir_benches::live::{generator::Order, trial};
use weir_sensor::{
    clock::Now,
    expiry::Timeouts,
    grace,
    kernel::{self, Kernel, ProgramOptions},
    sweep::{Sweep, Take},
};
use weir_sensor_common::table;
use weir_tests::wire;

use crate::{
    bars::{Bar, Report},
    batch,
    cpu::{median, thread_ns},
    sensor::{self, Sensor, of},
    testrun::{self, Flows, Object, Programs},
    veth,
};

/// Of all CPUs' regions together.
const SLOTS: u32 = 1 << 21;
/// Flows drawn beforehand.
const SEQUENCE: u32 = 1 << 23;
const PROGRAM: &str = "bench_weir";
const ROUNDS: usize = 9;
/// Over more than a second, since what else uses the memory of the machine changes.
const SCANS: u64 = 101;
const SCANS_A_BATCH: u64 = 10;
/// The same walk and a kernel's hash map.
const PEER: &str = "bench_hash";
/// Live flows of the whole sensor.
const LIVE: u32 = 1_000_000;
const FILL_PPS: u64 = 1_000_000;
/// Until nothing of the fill is left to do.
const SETTLE: Duration = Duration::from_secs(2);

pub fn measure(report: &mut Report, quick: bool) -> Result<()> {
    eprintln!("sweep: {SLOTS} slots, half of them live");
    scan(report)?;
    grace_period(report)?;
    let watched = Duration::from_secs(if quick { 3 } else { 10 });
    eprintln!("sweep: the sensor with {LIVE} live flows");
    share(report, watched)
}

/// The program's table, filled by test runs on each CPU and swept by this thread, by turns with a kernel's hash map
/// of as many entries.
fn scan(report: &mut Report) -> Result<()> {
    let cpus = kernel::cpus()?;
    let slots = SLOTS / cpus.next_power_of_two();
    let flows = Flows {
        count: Some(slots / 2),
        sequence: SEQUENCE,
        places: 1,
    };
    let options = ProgramOptions::new(testrun::shape(slots));
    let mut programs = Programs::load(Object::Whole, &options, flows, &[PROGRAM])?;
    for cpu in 0..cpus {
        wire::pin(cpu as usize)?;
        programs.run(PROGRAM, SEQUENCE.min(slots * 8))?;
    }
    let mut peer = peer()?;
    let kernel = programs.kernel();
    let ticks = kernel.settle()?;
    let now = Now::read().with_ticks(ticks);
    let (live, all) = (kernel.table.all_occupied().count(), slots * cpus);
    // Of so many drawn, a few are drawn never.
    ensure!(
        live > all as usize * 49 / 100,
        "{live} of {all} slots are taken"
    );
    let mut sweep = Sweep::default();
    let (mut scans, mut reads, mut batches) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..SCANS {
        // What it remembers of each bucket is for other timeouts: it looks at all.
        let timeouts = Timeouts {
            tcp_ns: Timeouts::softflowd().tcp_ns + round,
            ..Timeouts::softflowd()
        };
        let take = Take::Expired(&timeouts);
        let (scan_ms, closed) = timed(|| sweep.close(&kernel.table, &now, take));
        ensure!(closed == 0, "{closed} flows were over");
        scans.push(scan_ms);
        let slots = kernel.table.all_occupied();
        let ticks = slots.map(|place| kernel.table.slot(place).last_tick());
        let (read_ms, _) = timed(|| black_box(ticks.fold(0, |all, tick| all ^ tick)));
        reads.push(read_ms);
        if round % SCANS_A_BATCH == 0 {
            let (batch_ms, entries) = timed(|| entries(peer.kernel()));
            let entries = entries?;
            ensure!(
                entries.abs_diff(live as u64) * 50 < live as u64,
                "{entries} entries beside {live} live slots"
            );
            batches.push(batch_ms);
        }
    }
    // The blueprint's bar: 12 ms where a million entries took 270.
    let (scan_ms, batch_ms) = (median(scans), median(batches));
    report.bar(
        "scan of 2M slots",
        "ms",
        scan_ms,
        Bar::at_most(12.0, 6.0),
        format!("{all} slots of the program's table, {live} of them live"),
    );
    report.bar(
        "hash map read by batches / scan",
        "×",
        batch_ms / scan_ms,
        Bar::at_least(22.5, 45.0),
        format!("as many entries as live slots; the hash map {batch_ms:.0} ms"),
    );
    report.context("a word of each live slot read", median(reads), "ms");
    Ok(())
}

/// A kernel's hash map of as many entries as slots of all regions are live.
fn peer() -> Result<Programs> {
    let flows = Flows {
        count: Some(SLOTS / 2),
        sequence: SEQUENCE,
        places: SLOTS,
    };
    let options = ProgramOptions::new(testrun::shape(table::SLOTS_MIN));
    let mut programs = Programs::load(Object::Whole, &options, flows, &[PEER])?;
    programs.run(PEER, SEQUENCE)?;
    Ok(programs)
}

/// Reads the kernel's hash map; the number of its entries.
fn entries(kernel: &mut Kernel) -> Result<u64> {
    let Some(Map::HashMap(map)) = kernel.ebpf().map("BASELINE") else {
        bail!("map BASELINE");
    };
    batch::read_all(map)
}

/// What it took, in milliseconds of this thread, and what came of it.
fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let before = thread_ns();
    let outcome = work();
    ((thread_ns() - before) / 1e6, outcome)
}

/// Wall time: it is a wait.
fn grace_period(report: &mut Report) -> Result<()> {
    let mut figures = Vec::new();
    for _ in 0..ROUNDS {
        let before = Now::read();
        grace::wait()?;
        figures.push((Now::read().monotonic_ns - before.monotonic_ns) as f64 / 1e6);
    }
    report.context("grace period", median(figures), "ms");
    Ok(())
}

/// Processor time of the real process while it sweeps, each second, flows that do not expire.
fn share(report: &mut Report, watched: Duration) -> Result<()> {
    let pair = trial::pair()?;
    let sensor = Sensor::start(&pair, &format!("-m {LIVE} -t idle=1h -t active=0"))?;
    let order = Order {
        packets: u64::from(LIVE),
        rate: FILL_PPS,
        most_ns: u64::MAX,
    };
    let sent = sensor::send(&pair, &veth::plan(None), &order)?;
    thread::sleep(SETTLE);
    let (began, cpu_ns) = (Now::read(), sensor.cpu_ns()?);
    thread::sleep(watched);
    let elapsed_ns = Now::read().monotonic_ns - began.monotonic_ns;
    let cpu_ns = sensor.cpu_ns()? - cpu_ns;
    let account = sensor.stop()?;
    // All were live to the end, if each was flushed with the packet it was opened by.
    let records = of(&account, "records")?;
    ensure!(
        records == sent.packets && records == of(&account, "packets_exported")?,
        "{} packets of a flow each became {records} records: {account:#}",
        sent.packets
    );
    report.bar(
        "sensor sweeping 1M live flows each second, no traffic",
        "% of a core",
        cpu_ns as f64 * 100.0 / elapsed_ns as f64,
        Bar::at_most(2.0, 2.0),
        format!("process time, user and system, in {} s", watched.as_secs()),
    );
    Ok(())
}
