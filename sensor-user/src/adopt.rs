//! What the tables of dead sensors hold becomes records of this one, and an entry in its account.

use std::io;

use crate::{
    clock::{self, Now, Ticks},
    export::Export,
    pin::Dead,
    record::Recorder,
    statistics::Statistics,
};

/// Exports the flows of dead sensors' tables. Their programs must have been replaced or taken off,
/// and a grace period be over; `timer` are the timer's ticks; `working` is called now and then. `recorder`
/// is this sensor's own: of all records `export` tells its sampling interval, and that this is not so of some of
/// these is said.
///
/// sysUptime's zero is moved back before any of these flows, so that a collector finds each First
/// and Last after it (NetFlow's 32 bits know no time before).
///
/// # Errors
/// If a grace period cannot be waited for.
pub fn adopt(
    dead: Vec<Dead>,
    timer: Ticks,
    recorder: &Recorder,
    export: &mut Export,
    statistics: &mut Statistics,
    working: impl Fn(),
) -> io::Result<()> {
    const OFTEN: u64 = 1 << 16;
    let now = Now::read();
    let began_ns = dead.iter().filter_map(|table| table.began_ns(now, timer));
    if let Some(oldest_ns) = began_ns.min() {
        let others_ns: Vec<i64> = dead.iter().map(Dead::booted_ns).collect();
        clock::boot_before(oldest_ns, &others_ns);
    }
    let now = Now::read();
    for table in dead {
        statistics.count_untold(&table.untold());
        let (interval, before) = (table.sampling().interval, statistics.adopted.records);
        let mut of_table = None;
        table.drain(|flow, origin| {
            statistics.count_adopted(&flow);
            if statistics.adopted.records.is_multiple_of(OFTEN) {
                working();
            }
            let of_table = of_table.get_or_insert_with(|| recorder.for_table(origin));
            let record = of_table.record(&flow, &origin.at(now, timer));
            export.push(record, &now);
        })?;
        let flows = statistics.adopted.records - before;
        let told = recorder.sampling_interval;
        if interval != told && flows > 0 {
            eprintln!(
                "weir-sensor: {flows} flows taken over were sampled 1 in {interval}, but collectors are told 1 in {told}: before you start with another rate, end with `weir-sensor --detach --pin`"
            );
        }
    }
    export.hand_over(&now);
    Ok(())
}
