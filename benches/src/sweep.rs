//! What user space pays: a look at every slot, and a grace period.

use anyhow::Result;
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
    bars::Report,
    cpu::{median, thread_ns},
};

const SLOTS: u32 = 1 << 21;
const ROUNDS: usize = 9;

pub fn measure(report: &mut Report) -> Result<()> {
    eprintln!("sweep: {SLOTS} slots, half of them live");
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
    let mut sweep = Sweep::default();
    let figures = (0..ROUNDS).map(|_| {
        let before = thread_ns();
        sweep.close(&table, &now, Take::Expired(&timeouts));
        (thread_ns() - before) / 1e6
    });
    report.at_most(
        "scan of 2M slots",
        "ms",
        median(figures.collect()),
        (12.0, 6.0),
        "",
    );
    Ok(grace_period(report)?)
}

/// Wall time: it is a wait.
fn grace_period(report: &mut Report) -> std::io::Result<()> {
    let mut figures = Vec::new();
    for _ in 0..ROUNDS {
        let before = Now::read();
        grace::wait()?;
        figures.push((Now::read().monotonic_ns - before.monotonic_ns) as f64 / 1e6);
    }
    report.context("grace period", median(figures), "ms");
    Ok(())
}
