//! Live frames through a veth pair, all on one core: the generator, the wire, and weir-sensor, which
//! drops what it has metered (as on a mirror port). The receiving softirq runs on the generator's
//! core and pushes back, so the highest rate without loss is what one core does of all three. The
//! daemon has the other core: softirqs of a card come before it, but a generator that is a process
//! itself would give it half of its own.
//!
//! Under a flood no packet may be unaccounted for, but flows may share a counter: "a flood may cost
//! detail, never totals". How many flows had a record of their own is shown beside it.

use std::{num::NonZero, thread, time::Duration};

use anyhow::Result;
use weir_benches::live::{
    frame::{Kind, Sizes},
    generator::Plan,
    receiver::Receiver,
    sequence::Distribution,
    trial::{self, Found, Goal, Setup},
};
use weir_tests::netns::Pair;

use crate::{
    Run,
    bars::{Bar, Report},
    cpu::median,
    interrupt,
    progress::Progress,
};

/// A name, flows (none for a flood), and the bars (must, aim) in Mpps.
type Case = (&'static str, Option<u32>, (f64, f64));

const CASES: [Case; 3] = [
    ("64k flows", Some(1 << 16), (8.0, 11.0)),
    ("1M flows", Some(1 << 20), (2.5, 5.0)),
    ("flood", None, (6.0, 9.0)),
];
/// Generator and wire alone, on the blueprint's machine.
const BLUEPRINT_FLOOR_MPPS: f64 = 22.5;

pub fn measure(report: &mut Report, run: &Run) -> Result<()> {
    let rounds = if run.quick { 1 } else { 3 };
    let length = Duration::from_secs(if run.quick { 1 } else { 3 });
    let pair = trial::pair()?;
    // The flood has one search more.
    let progress = Progress::new(2 * rounds * CASES.len() as u64 + 1)?;
    for case in CASES {
        measure_case(report, &pair, length, rounds, case, &progress)?;
    }
    Ok(())
}

fn measure_case(
    report: &mut Report,
    pair: &Pair,
    length: Duration,
    rounds: u64,
    (name, flows, (must, aim)): Case,
    progress: &Progress,
) -> Result<()> {
    let search = |receiver: Receiver, goal| -> Result<Found> {
        interrupt::go_on()?;
        let what = format!("{name}, {}", receiver.name());
        progress.begin(what.clone());
        let setup = Setup {
            receiver_cpu: other_cpu(),
            ..setup(receiver, flows, length)
        };
        let found = trial::search(pair, &setup, goal, |_, outcome| {
            let pps = outcome.sent.pps() as f64 / 1e6;
            progress.begin(format!("{what}: the last trial was at {pps:.2} Mpps"));
            interrupt::go_on()
        })?;
        progress.say(&format!("veth: {what}: {:.2} Mpps", mpps(&found)));
        progress.step(1);
        Ok(found)
    };
    let goal = match flows {
        Some(_) => Goal::Recorded,
        None => Goal::Accounted,
    };
    let (mut rates, mut floors, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let found = search(Receiver::WeirDrop, goal)?;
        rates.push(mpps(&found));
        shares.push(records_percent(&found));
        floors.push(mpps(&search(Receiver::Drop, Goal::Recorded)?));
    }
    let note = if flows.is_some() {
        "every packet in a record".to_owned()
    } else {
        let all = mpps(&search(Receiver::WeirDrop, Goal::Recorded)?);
        let percent = median(shares);
        report.context(
            "flood: flows with a record of their own at that rate",
            percent,
            "%",
        );
        report.context("flood: all flows have one up to", all, "Mpps");
        format!(
            "every packet in a record or a named counter; {percent:.0} % of the flows in a record of their own, all of them up to {all:.2} Mpps"
        )
    };
    let bar = Bar::at_least(must, aim).with_floor(median(floors), BLUEPRINT_FLOOR_MPPS);
    report.bar(
        format!("nothing lost on one core, {name}"),
        "Mpps",
        median(rates),
        bar,
        note,
    );
    Ok(())
}

/// Not the generator's, if there is another.
fn other_cpu() -> Option<usize> {
    let cpus = thread::available_parallelism().map_or(1, NonZero::get);
    (cpus > 1).then_some(1)
}

fn mpps(found: &Found) -> f64 {
    found.highest_pps().unwrap_or(0) as f64 / 1e6
}

/// Records of a flood's best trial, in percent of its flows, which are its packets.
fn records_percent(found: &Found) -> f64 {
    found.best.map_or(0.0, |outcome| {
        let records = outcome.records.unwrap_or(0);
        records as f64 * 100.0 / outcome.sent.packets.max(1) as f64
    })
}

/// A trial with frames of 60 octets in so many flows, or each in a new one, as fast as it goes.
pub fn setup(receiver: Receiver, flows: Option<u32>, length: Duration) -> Setup {
    Setup {
        receiver,
        plan: plan(flows),
        rate: 0,
        length,
        generator_cpu: 0,
        receiver_cpu: None,
    }
}

/// Frames of 60 octets in so many flows, or each in a new one.
pub fn plan(flows: Option<u32>) -> Plan {
    let kind = Kind {
        destination: [2, 0, 0, 0, 0, 2],
        ipv6: false,
        vlan: None,
    };
    Plan {
        kind,
        sizes: Sizes(vec![(kind.octets_min(), 1)]),
        flows: flows.unwrap_or(1),
        distribution: if flows.is_some() {
            Distribution::Uniform
        } else {
            Distribution::Flood
        },
        fresh_share: 0.0,
        seed: 42,
    }
}
