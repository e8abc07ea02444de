//! `weir-bench`: send frames, search for the highest rate without loss, measure processor time.
#![expect(clippy::cast_precision_loss, reason = "figures are rounded anyway")]

mod options;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use serde_json::json;
use weir_benches::{
    interrupt,
    live::{
        generator::{Generator, Order},
        trial::{self, Goal, Outcome},
    },
};
use weir_tests::wire;

use crate::options::{Command, Cost, Generate, Options, Search};

fn main() -> ExitCode {
    let command = Options::parse().command;
    let result = interrupt::listen()
        .map_err(Into::into)
        .and_then(|()| match command {
            Command::Generate(options) => generate(&options),
            Command::Search(options) => search(&options),
            Command::Cpu(options) => cost(&options),
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn generate(options: &Generate) -> Result<()> {
    let traffic = &options.traffic;
    let plan = traffic.plan(options.rate, options.new_flows)?;
    wire::pin(traffic.cpu).with_context(|| format!("there is no CPU {}", traffic.cpu))?;
    let sent = Generator::new(&options.interface, &plan)?.send(&Order {
        packets: options.packets,
        rate: options.rate,
        most_ns: u64::MAX,
    })?;
    let seconds = sent.elapsed_ns as f64 / 1e9;
    let cpu_ns = sent.cpu_ns / sent.packets.max(1) as f64;
    if traffic.json {
        let object = json!({ "packets": sent.packets, "transmitted": sent.transmitted, "seconds": seconds, "mpps": mpps(sent.pps()), "cpu_ns_per_packet": cpu_ns });
        println!("{object}");
        return Ok(());
    }
    println!(
        "sent {} packets in {seconds:.3} s: {:.3} Mpps, {cpu_ns:.1} ns of CPU a packet",
        sent.packets,
        mpps(sent.pps()),
    );
    let interface = &options.interface;
    match sent.packets.abs_diff(sent.transmitted) {
        0 => println!("{interface} counts them all as sent"),
        difference => println!(
            "{interface} counts {} as sent: {difference} were dropped on the way out, or others sent too",
            sent.transmitted
        ),
    }
    Ok(())
}

fn search(options: &Search) -> Result<()> {
    let json = options.trial.traffic.json;
    let setup = options.trial.setup(0, 0)?;
    let pair = trial::pair()?;
    let mut trials = Vec::new();
    let found = trial::search(&pair, &setup, Goal::Recorded, |wanted_pps, outcome| {
        if json {
            trials.push(object(wanted_pps, outcome));
        } else {
            println!("{}", line(wanted_pps, outcome));
        }
        Ok(())
    })?;
    let (highest, limit) = (found.highest_pps(), found.generator_is_limit);
    if json {
        let object = json!({ "receiver": setup.receiver.name(), "trials": trials, "zero_loss_mpps": highest.map(mpps), "generator_is_limit": limit });
        println!("{object:#}");
        return Ok(());
    }
    let name = setup.receiver.name();
    match highest {
        Some(pps) if limit => println!(
            "{name}: no loss at {:.3} Mpps, which is all the generator makes",
            mpps(pps)
        ),
        Some(pps) => println!("{name}: highest rate without loss {:.3} Mpps", mpps(pps)),
        None => println!("{name}: packets were lost at every rate tried"),
    }
    Ok(())
}

fn cost(options: &Cost) -> Result<()> {
    let setup = options.trial.setup(options.rate, options.new_flows)?;
    let pair = trial::pair()?;
    let cost = trial::cost(&pair, &setup, options.floor, options.rounds)?;
    if options.trial.traffic.json {
        let object = json!({ "receiver": setup.receiver.name(), "floor": options.floor.name(), "all_ns_per_packet": cost.all_ns, "floor_ns_per_packet": cost.floor_ns, "own_ns_per_packet": cost.own_ns(), "lost": cost.lost });
        println!("{object}");
        return Ok(());
    }
    println!(
        "{}: {:.0} ns of CPU a packet, of which {:.0} ns are there with {}: {:.0} ns its own",
        setup.receiver.name(),
        cost.all_ns,
        cost.floor_ns,
        options.floor.name(),
        cost.own_ns(),
    );
    if cost.lost > 0 {
        println!(
            "{} packets were lost, so it did less than its work: lower --rate",
            cost.lost
        );
    }
    Ok(())
}

fn line(wanted_pps: u64, outcome: &Outcome) -> String {
    let wanted = match wanted_pps {
        0 => "as fast as it goes".to_owned(),
        pps => format!("wanted {:.3} Mpps", mpps(pps)),
    };
    format!(
        "{wanted}: {} packets at {:.3} Mpps, {} lost ({} of them in no counter), {:.0} ns of CPU a packet in all",
        outcome.sent.packets,
        mpps(outcome.sent.pps()),
        outcome.lost,
        outcome.unaccounted,
        outcome.ns_per_packet(),
    )
}

fn object(wanted_pps: u64, outcome: &Outcome) -> serde_json::Value {
    json!({ "wanted_mpps": mpps(wanted_pps), "mpps": mpps(outcome.sent.pps()), "packets": outcome.sent.packets, "lost": outcome.lost, "unaccounted": outcome.unaccounted, "cpu_ns_per_packet": outcome.ns_per_packet() })
}

fn mpps(pps: u64) -> f64 {
    pps as f64 / 1e6
}
