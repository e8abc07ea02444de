//! A trial: a receiver at one end of a veth pair, the generator at the other, and the account.

use std::{path::Path, thread, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use weir_tests::{
    netns::{self, Pair},
    wire,
};

use super::{
    generator::{Generator, Order, Plan, Sent},
    machine::MachineTime,
    receiver::{Place, Receiver},
    search::{Bounds, Search},
    sequence::Distribution,
};
use crate::cpu::median;

/// For what is still in a capture ring: the slowest empties the largest in less.
const SETTLE: Duration = Duration::from_millis(500);
/// Room for flows where their number has no bound.
const FLOOD_ROOM: u32 = 1 << 20;

/// What is tried.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Who receives.
    pub receiver: Receiver,
    /// What is sent.
    pub plan: Plan,
    /// Packets a second; 0: as fast as it goes.
    pub rate: u64,
    /// How long.
    pub length: Duration,
    /// The generator's CPU; softirqs of the receiving end run there too.
    pub generator_cpu: usize,
    /// The receiving process's.
    pub receiver_cpu: Option<usize>,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// What the generator did.
    pub sent: Sent,
    /// Packets that are in no record of the receiver's, or in too many.
    pub lost: u64,
    /// Those of them that are in no counter of its either.
    pub unaccounted: u64,
    /// Records it made, of the flows sent beforehand too, if it says so.
    pub records: Option<u64>,
    /// Busy time of all CPUs.
    pub busy_ns: u64,
}

impl Outcome {
    /// Busy time a packet sent.
    #[must_use]
    pub fn ns_per_packet(&self) -> f64 {
        self.busy_ns as f64 / self.sent.packets.max(1) as f64
    }
}

/// When a trial has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Every packet is in a record.
    Recorded,
    /// Every packet is in a record or in a counter with a name, which weir-sensor alone has: what a
    /// flood may cost is detail, not totals.
    Accounted,
}

impl Goal {
    /// Whether the trial has.
    #[must_use]
    pub fn is_met(self, outcome: &Outcome) -> bool {
        match self {
            Self::Recorded => outcome.lost == 0,
            Self::Accounted => outcome.unaccounted == 0,
        }
    }
}

/// What a search found.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The trial with the highest rate that passed, if one did.
    pub best: Option<Outcome>,
    /// Whether that is all the generator makes.
    pub generator_is_limit: bool,
}

impl Found {
    /// The highest rate that passed, if one did.
    #[must_use]
    pub fn highest_pps(&self) -> Option<u64> {
        self.best.map(|outcome| outcome.sent.pps())
    }
}

/// Processor time a packet, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Of generator, wire and receiver.
    pub all_ns: f64,
    /// Of the same without the receiver.
    pub floor_ns: f64,
    /// Packets lost in all trials: if there are any, the receiver did less work than it should.
    pub lost: u64,
}

impl Cost {
    /// The receiver's own, its part of the softirq included.
    #[must_use]
    pub fn own_ns(&self) -> f64 {
        self.all_ns - self.floor_ns
    }
}

/// Two namespaces for trials. The receiving end has GRO on: it is what makes a veth take redirected
/// frames when no XDP program is on it, and so it is the same for all receivers.
///
/// # Errors
/// Without root, iproute2 or ethtool.
pub fn pair() -> Result<Pair> {
    if !netns::possible() {
        bail!("trials make network namespaces: run as root, with iproute2 installed");
    }
    let pair = Pair::new("g")?;
    let mut command = pair.command_in_b(Path::new("ethtool"));
    let status = command.args(["-K", &pair.b, "gro", "on"]).status()?;
    if !status.success() {
        bail!("ethtool cannot switch GRO on: install ethtool");
    }
    Ok(pair)
}

/// Does something in a thread of its own, which may change its namespace and its CPU: processes that
/// are started elsewhere do not inherit them.
///
/// # Errors
/// Those of what it does.
pub fn apart<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let died = |_| Err(anyhow!("a thread died"));
        scope.spawn(work).join().unwrap_or_else(died)
    })
}

/// Runs a trial.
///
/// # Errors
/// If either side fails; lost packets are no error.
pub fn run(pair: &Pair, setup: &Setup) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    apart(|| run_here(pair, setup, folder.path()))
        .with_context(|| format!("trial of {}", setup.receiver.name()))
}

fn run_here(pair: &Pair, setup: &Setup, folder: &Path) -> Result<Outcome> {
    let Setup {
        receiver,
        plan,
        rate,
        length,
        generator_cpu,
        receiver_cpu,
    } = setup;
    let flood = plan.distribution == Distribution::Flood;
    netns::enter(&pair.b)?;
    let running = receiver.start(Place {
        pair,
        folder,
        flows: if flood { FLOOD_ROOM } else { plan.flows },
        cpu: *receiver_cpu,
    })?;
    netns::enter(&pair.a)?;
    wire::pin(*generator_cpu)
        .with_context(|| format!("there is no CPU {generator_cpu} for the generator"))?;
    // Those sent beforehand count too: the receiver has one number for all.
    let (mut packets, mut arrived) = (0, 0);
    if !flood && receiver.keeps_flows() {
        let warm = send_each_flow_once(pair, plan, rate / 2)?;
        (packets, arrived) = (warm.packets, warm.transmitted);
    }
    let mut generator = Generator::new(&pair.a, plan)?;
    let before = MachineTime::read()?;
    let sent = generator.send(&order(*rate, *length))?;
    thread::sleep(SETTLE);
    let after = MachineTime::read()?;
    let counted = running.stop(arrived + sent.transmitted)?;
    packets += sent.packets;
    Ok(Outcome {
        sent,
        lost: packets.abs_diff(counted.recorded),
        unaccounted: packets.abs_diff(counted.accounted),
        records: counted.records,
        busy_ns: before.busy_ns_until(&after),
    })
}

/// So that a trial finds the flows in the receiver's table: new ones cost more than known ones,
/// hence half the rate.
fn send_each_flow_once(pair: &Pair, plan: &Plan, rate: u64) -> Result<Sent> {
    let once = Plan {
        distribution: Distribution::Flood,
        ..plan.clone()
    };
    let sent = Generator::new(&pair.a, &once)?.send(&Order {
        packets: u64::from(plan.flows),
        rate,
        most_ns: u64::MAX,
    })?;
    thread::sleep(SETTLE);
    Ok(sent)
}

fn order(rate: u64, length: Duration) -> Order {
    let ns = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
    let packets = u128::from(rate) * length.as_nanos() / 1_000_000_000;
    if rate == 0 {
        Order {
            packets: u64::MAX,
            rate,
            most_ns: ns,
        }
    } else {
        Order {
            packets: u64::try_from(packets).unwrap_or(u64::MAX),
            rate,
            // A generator that cannot keep the rate is stopped; what it did is what counts.
            most_ns: ns.saturating_add(ns / 2),
        }
    }
}

/// Searches for the highest rate at which the goal is met; each trial is shown with the rate that was
/// wanted.
///
/// # Errors
/// As [`run`], and what `show` says: it may end the search.
pub fn search(
    pair: &Pair,
    setup: &Setup,
    goal: Goal,
    mut show: impl FnMut(u64, &Outcome) -> Result<()>,
) -> Result<Found> {
    let mut search = Search::new(Bounds::FINE);
    let mut setup = setup.clone();
    let mut best: Option<Outcome> = None;
    while let Some(rate) = search.next_pps() {
        setup.rate = rate;
        let outcome = run(pair, &setup)?;
        show(rate, &outcome)?;
        let (pps, passed) = (outcome.sent.pps(), goal.is_met(&outcome));
        search.record(rate, pps, passed);
        if passed && best.is_none_or(|best| pps > best.sent.pps()) {
            best = Some(outcome);
        }
    }
    Ok(Found {
        best,
        generator_is_limit: search.generator_is_limit(),
    })
}

/// Medians over rounds, each with a trial of the receiver and one of the floor at the same rate.
///
/// # Errors
/// As [`run`].
pub fn cost(pair: &Pair, setup: &Setup, floor: Receiver, rounds: u32) -> Result<Cost> {
    let floor = Setup {
        receiver: floor,
        ..setup.clone()
    };
    let (mut all, mut nobody, mut lost) = (Vec::new(), Vec::new(), 0);
    for _ in 0..rounds.max(1) {
        let outcome = run(pair, setup)?;
        lost += outcome.lost;
        all.push(outcome.ns_per_packet());
        nobody.push(run(pair, &floor)?.ns_per_packet());
    }
    Ok(Cost {
        all_ns: median(all),
        floor_ns: median(nobody),
        lost,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_exact_where_there_is_a_rate() {
        let long = Duration::from_secs(3);
        assert_eq!(order(1000, long).packets, 3000);
        assert_eq!(order(1000, long).most_ns, 4_500_000_000);
        assert_eq!(order(1000, Duration::from_millis(1500)).packets, 1500);
        let unpaced = order(0, long);
        assert_eq!(
            (unpaced.packets, unpaced.most_ns),
            (u64::MAX, 3_000_000_000)
        );
    }

    #[test]
    fn the_floor_is_not_the_receivers_cost() {
        let cost = Cost {
            all_ns: 1500.0,
            floor_ns: 200.0,
            lost: 0,
        };
        assert!((cost.own_ns() - 1300.0).abs() < 1e-9);
    }
}
