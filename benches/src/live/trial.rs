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
    search::Search,
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
    pub seconds: u64,
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
    /// Packets that the receiver did not count.
    pub lost: u64,
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

/// Runs a trial.
///
/// # Errors
/// If either side fails; lost packets are no error.
pub fn run(pair: &Pair, setup: &Setup) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    // In a thread of its own: it changes its namespace and its CPU.
    thread::scope(|scope| {
        let trial = scope.spawn(|| run_here(pair, setup, folder.path()));
        let died = |_| Err(anyhow!("the trial's thread died"));
        trial.join().unwrap_or_else(died)
    })
    .with_context(|| format!("trial of {}", setup.receiver.name()))
}

fn run_here(pair: &Pair, setup: &Setup, folder: &Path) -> Result<Outcome> {
    let Setup {
        receiver,
        plan,
        rate,
        seconds,
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
    let (mut packets, mut arrived) = (0, 0);
    if !flood {
        let warm = send_each_flow_once(pair, plan, rate / 2)?;
        (packets, arrived) = (warm.packets, warm.transmitted);
    }
    let mut generator = Generator::new(&pair.a, plan)?;
    let before = MachineTime::read()?;
    let sent = generator.send(&order(*rate, *seconds))?;
    thread::sleep(SETTLE);
    let after = MachineTime::read()?;
    let counted = running.stop(arrived + sent.transmitted)?;
    Ok(Outcome {
        sent,
        lost: (packets + sent.packets).saturating_sub(counted),
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

fn order(rate: u64, seconds: u64) -> Order {
    let ns = seconds.saturating_mul(1_000_000_000);
    if rate == 0 {
        Order {
            packets: u64::MAX,
            rate,
            most_ns: ns,
        }
    } else {
        Order {
            packets: rate.saturating_mul(seconds),
            rate,
            // A generator that cannot keep the rate is stopped; what it did is what counts.
            most_ns: ns.saturating_add(ns / 2),
        }
    }
}

/// Searches for the highest rate without loss; each trial is shown with the rate that was wanted.
///
/// # Errors
/// As [`run`].
pub fn search(pair: &Pair, setup: &Setup, mut show: impl FnMut(u64, &Outcome)) -> Result<Search> {
    let mut search = Search::default();
    let mut setup = Setup {
        rate: 0,
        ..setup.clone()
    };
    loop {
        let outcome = run(pair, &setup)?;
        show(setup.rate, &outcome);
        search.record(outcome.sent.pps(), outcome.lost == 0);
        match search.next_pps() {
            Some(rate) => setup.rate = rate,
            None => return Ok(search),
        }
    }
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
        assert_eq!(order(1000, 3).packets, 3000);
        assert_eq!(order(1000, 3).most_ns, 4_500_000_000);
        let unpaced = order(0, 3);
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
