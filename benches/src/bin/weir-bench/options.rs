//! The command line.

use std::{str::FromStr, time::Duration};

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use weir_benches::live::{
    frame::{Kind, Sizes},
    generator::{Plan, SEQUENCE},
    receiver::Receiver,
    sequence,
    trial::Setup,
};

/// Sends frames of many flows, and measures who receives them.
#[derive(Debug, Parser)]
#[command(name = "weir-bench", version)]
pub struct Options {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send frames out of an interface
    Generate(Generate),
    /// Find the highest rate at which a receiver loses nothing, over a veth pair of its own
    Search(Search),
    /// Measure the processor time a receiver takes for a packet, softirqs included
    Cpu(Cost),
}

/// `generate`.
#[derive(Debug, Args)]
pub struct Generate {
    /// Interface to send from; of a veth pair the other end receives
    #[arg(long, value_name = "IF")]
    pub interface: String,
    /// Frames to send, exactly
    #[arg(long, default_value_t = 10_000_000)]
    pub packets: u64,
    /// Frames a second (0: as fast as it goes)
    #[arg(long, value_name = "PPS", default_value_t = 0)]
    pub rate: u64,
    /// Besides, so many flows that were not sent before (needs --rate)
    #[arg(long, value_name = "PER_SECOND", default_value_t = 0)]
    pub new_flows: u32,
    #[command(flatten)]
    pub traffic: Traffic,
}

/// `search`.
#[derive(Debug, Args)]
pub struct Search {
    #[command(flatten)]
    pub trial: Trial,
}

/// `cpu`.
#[derive(Debug, Args)]
pub struct Cost {
    /// Frames a second, few enough that none is lost (0: as fast as it goes)
    #[arg(long, value_name = "PPS", default_value_t = 0)]
    pub rate: u64,
    /// Besides, so many flows that were not sent before (needs --rate)
    #[arg(long, value_name = "PER_SECOND", default_value_t = 0)]
    pub new_flows: u32,
    /// What the receiver is compared with
    #[arg(long, default_value = "stack")]
    pub floor: Receiver,
    /// Trials of either, in turn; the figures are medians
    #[arg(long, default_value_t = 3)]
    pub rounds: u32,
    #[command(flatten)]
    pub trial: Trial,
}

/// What trials have in common.
#[derive(Debug, Args)]
pub struct Trial {
    /// Who receives
    pub receiver: Receiver,
    /// Length of a trial
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// CPU of the receiving process (default: any)
    #[arg(long, value_name = "CPU")]
    pub receiver_cpu: Option<usize>,
    #[command(flatten)]
    pub traffic: Traffic,
}

/// What is sent.
#[derive(Debug, Args)]
pub struct Traffic {
    /// Where the frames go; left out: to nobody here, so that the stack drops them early
    #[arg(long, value_name = "MAC", default_value = "02:00:00:00:00:02")]
    pub destination_mac: Mac,
    /// Different flows
    #[arg(long, default_value_t = 1 << 16, value_parser = clap::value_parser!(u32).range(1..=i64::from(SEQUENCE)))]
    pub flows: u32,
    /// How often which flow is sent
    #[arg(long, default_value = "uniform")]
    pub distribution: Distribution,
    /// Exponent of zipf
    #[arg(long, default_value_t = 1.1, value_parser = exponent)]
    pub zipf_exponent: f64,
    /// Octets of the frames, or a mix as 60:7,576:4,1500:1 (default: as short as can be)
    #[arg(long, value_name = "OCTETS[:WEIGHT],…")]
    pub size: Option<Sizes>,
    /// IPv6, not IPv4
    #[arg(long)]
    pub ipv6: bool,
    /// With a VLAN tag
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(1..=4094))]
    pub vlan: Option<u16>,
    /// CPU of the generator
    #[arg(long, default_value_t = 0)]
    pub cpu: usize,
    /// The same seed gives the same order of flows
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `--distribution`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Distribution {
    /// All equally often
    Uniform,
    /// A few very often, most hardly ever
    Zipf,
    /// Each once: every packet is a new flow
    Flood,
}

/// A MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let octet = |part: &str| {
            let digits = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
            digits.then(|| u8::from_str_radix(part, 16).ok()).flatten()
        };
        let octets: Option<Vec<u8>> = text.split(':').map(octet).collect();
        octets
            .and_then(|octets| octets.try_into().ok())
            .map(Self)
            .ok_or_else(|| "write six octets, as 02:00:00:00:00:02".to_owned())
    }
}

impl Traffic {
    /// The plan, for a rate and so many new flows a second.
    pub fn plan(&self, rate: u64, new_flows: u32) -> Result<Plan> {
        let kind = Kind {
            destination: self.destination_mac.0,
            ipv6: self.ipv6,
            vlan: self.vlan,
        };
        let least = kind.octets_min();
        let sizes = self.size.clone().unwrap_or(Sizes(vec![(least, 1)]));
        if let Some((octets, _)) = sizes.0.iter().find(|(octets, _)| *octets < least) {
            bail!("--size {octets}: with these headers a frame has at least {least} octets");
        }
        if u64::from(new_flows) > rate {
            bail!(
                "--new-flows {new_flows}: they are part of the packets, so --rate must be as high at least"
            );
        }
        Ok(Plan {
            kind,
            sizes,
            flows: self.flows,
            distribution: match self.distribution {
                Distribution::Uniform => sequence::Distribution::Uniform,
                Distribution::Zipf => sequence::Distribution::Zipf(self.zipf_exponent),
                Distribution::Flood => sequence::Distribution::Flood,
            },
            fresh_share: f64::from(new_flows) / rate.max(1) as f64,
            seed: self.seed,
        })
    }
}

impl Trial {
    /// The setup, for a rate and so many new flows a second.
    pub fn setup(&self, rate: u64, new_flows: u32) -> Result<Setup> {
        Ok(Setup {
            receiver: self.receiver,
            plan: self.traffic.plan(rate, new_flows)?,
            rate,
            length: Duration::from_secs(self.seconds),
            generator_cpu: self.traffic.cpu,
            receiver_cpu: self.receiver_cpu,
        })
    }
}

fn exponent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(exponent) if exponent > 0.0 && exponent <= 10.0 => Ok(exponent),
        _ => Err("write a number above 0, at most 10".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(arguments: &str) -> Result<Plan> {
        let arguments = format!("weir-bench generate --interface x {arguments}");
        match Options::try_parse_from(arguments.split_whitespace())?.command {
            Command::Generate(generate) => generate.traffic.plan(generate.rate, generate.new_flows),
            _ => bail!("another command"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        <Options as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn the_shortest_frame_is_the_default() {
        assert_eq!(plan("").unwrap().sizes, Sizes(vec![(60, 1)]));
        assert_eq!(plan("--ipv6 --vlan 5").unwrap().sizes, Sizes(vec![(78, 1)]));
        assert!(plan("--ipv6 --size 60").is_err());
    }

    #[test]
    fn new_flows_are_a_share_of_the_rate() {
        let share = plan("--rate 1000 --new-flows 250").unwrap().fresh_share;
        assert!((share - 0.25).abs() < 1e-9);
        assert!(plan("--new-flows 1").is_err());
        assert!(plan("--rate 1000 --new-flows 1001").is_err());
    }

    #[test]
    fn a_search_has_no_rate_that_new_flows_were_part_of() {
        let line = |more: &str| format!("weir-bench search weir {more}");
        let parse = |line: String| Options::try_parse_from(line.split_whitespace());
        assert!(parse(line("")).is_ok());
        assert!(parse(line("--new-flows 5")).is_err());
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        let mac: Result<Mac, _> = "02:00:00:00:00:fe".parse();
        assert_eq!(mac, Ok(Mac([2, 0, 0, 0, 0, 0xfe])));
        for text in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:0",
            "02:00:00:00:00:00:00",
            "+2:00:00:00:00:00",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
