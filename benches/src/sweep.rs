//! What user space pays: a look at every slot, a grace period, and the whole sensor with a million
//! live flows and nothing else to do.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use weir_benches::live::{generator::Order, trial};
use weir_sensor::{
    clock::Now,
    expiry::Timeouts,
    grace,
    sweep::{Sweep, Take},
    table::Table,
};
use weir_sensor_common::{
    FlowKey, KeyMask,
    hash::Seed,
    slot::Sighting,
    table::{Shape, account},
};

use crate::{
    bars::{Bar, Report},
    cpu::{median, thread_ns},
    sensor::{self, Sensor, of},
    veth,
};

const SLOTS: u32 = 1 << 21;
const ROUNDS: usize = 9;
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

/// A table of our own, swept by this thread.
fn scan(report: &mut Report) -> Result<()> {
    let shape = Shape {
        bucket_mask: SLOTS / 8 - 1,
        seed: Seed::new([3, 1, 4, 1, 5]),
        key_mask: KeyMask::FULL.0,
    };
    let mut table = Table::anonymous(shape)?;
    let now = Now::read();
    for flow in 0..SLOTS / 2 {
        let key = FlowKey {
            source: [0, u64::from(flow)],
            ..FlowKey::default()
        };
        let sighting = Sighting {
            key,
            hash: shape.hash(&key, 0),
            octets: 60,
            tick: now.tick(),
            packets: 1,
            ..Sighting::default()
        };
        account(&mut table.local(&mut Vec::new()), &shape, &sighting);
    }
    let timeouts = Timeouts::default();
    let figures = (0..ROUNDS).map(|_| {
        // It remembers no bucket yet, and looks at all.
        let mut sweep = Sweep::default();
        let before = thread_ns();
        sweep.close(&table, &now, Take::Expired(&timeouts));
        (thread_ns() - before) / 1e6
    });
    let figure = median(figures.collect());
    report.bar(
        "scan of 2M slots",
        "ms",
        figure,
        Bar::at_most(12.0, 6.0),
        "",
    );
    Ok(())
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
