//! The command line.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
};

use clap::{ArgGroup, Parser, ValueEnum};
use weir_exporter::Version;
use weir_sensor_common::KeyMask;

use crate::{expiry::Timeouts, kernel::AttachMode};

/// Meters network traffic in the kernel's receive path and exports it as NetFlow.
#[derive(Debug, Parser)]
#[command(name = "weir-sensor", version, group = ArgGroup::new("source").required(true).args(["interface", "read"]))]
pub struct Options {
    /// Interface to meter, live
    #[arg(short = 'i', long, value_name = "IF", help_heading = "Source")]
    pub interface: Option<String>,

    /// Capture file to meter (pcap or pcapng, gzip or not; `-` is standard input)
    #[arg(short = 'r', long, value_name = "FILE", help_heading = "Source")]
    pub read: Option<PathBuf>,

    /// How the program is attached; left out: native, else generic
    #[arg(long, value_name = "MODE", help_heading = "Source")]
    pub xdp: Option<XdpMode>,

    /// Collector to send to; without it flows are metered and counted only
    #[arg(short = 'n', long, value_name = "HOST:PORT", help_heading = "Export")]
    pub collector: Option<String>,

    /// NetFlow version
    #[arg(
        short = 'v',
        long,
        value_name = "VERSION",
        default_value = "9",
        help_heading = "Export"
    )]
    pub netflow_version: NetflowVersion,

    /// A timeout: tcp, tcp.rst, tcp.fin, udp, icmp, general, idle (all classes), active (or
    /// maxlife), expint; times as 90, 1h30m, 500ms, 0 for none
    #[arg(
        short = 't',
        long = "timeout",
        value_name = "NAME=TIME",
        help_heading = "Flows"
    )]
    pub timeouts: Vec<String>,

    /// Flows the table holds, on each CPU (default: a million over all CPUs, between 32,768 and
    /// 131,072 on each)
    #[arg(short = 'm', long = "max-flows", value_name = "FLOWS", value_parser = clap::value_parser!(u32).range(1..=100_000_000), help_heading = "Flows")]
    pub max_flows: Option<u32>,

    /// What tells flows apart
    #[arg(
        short = 'T',
        long = "track",
        value_name = "LEVEL",
        default_value = "full",
        ignore_case = true,
        help_heading = "Flows"
    )]
    pub track: Track,

    /// Stamp flows with the exact clock instead of the timer's (dearer; see ARCHITECTURE.md)
    #[arg(long, help_heading = "Flows")]
    pub exact_clock: bool,

    /// Octets of each CPU's ring for flows pushed out of a full table (a power of two, at least 4096)
    #[arg(long, value_name = "OCTETS", default_value_t = 2 << 20, value_parser = ring_octets, help_heading = "Flows")]
    pub ring: u32,

    /// Write every counter to FILE at exit, as JSON (`-`: standard output)
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub statistics_json: Option<PathBuf>,

    /// Print the kernel program's debug log
    #[arg(long, help_heading = "Output")]
    pub debug_log: bool,
}

/// `--xdp`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum XdpMode {
    /// In the driver, or not at all
    Native,
    /// In the network stack
    Generic,
}

impl From<XdpMode> for AttachMode {
    fn from(mode: XdpMode) -> Self {
        match mode {
            XdpMode::Native => Self::Native,
            XdpMode::Generic => Self::Generic,
        }
    }
}

/// `-v`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum NetflowVersion {
    /// NetFlow v5: IPv4 only, 32-bit counters
    #[value(name = "5")]
    V5,
    /// NetFlow v9
    #[value(name = "9")]
    V9,
}

impl From<NetflowVersion> for Version {
    fn from(version: NetflowVersion) -> Self {
        match version {
            NetflowVersion::V5 => Self::V5,
            NetflowVersion::V9 => Self::V9,
        }
    }
}

/// `-T`: softflowd's names, each level adding to the one before it.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Track {
    /// Addresses
    Ip,
    /// … and protocol
    Proto,
    /// … and ports (the same as full)
    Port,
    /// Addresses, protocol, ports
    Full,
    /// … and the outermost VLAN tag
    Vlan,
    /// … and ToS
    Tos,
}

impl From<Track> for KeyMask {
    fn from(track: Track) -> Self {
        match track {
            Track::Ip => Self::IP,
            Track::Proto => Self::PROTO,
            Track::Port | Track::Full => Self::FULL,
            Track::Vlan => Self::VLAN,
            Track::Tos => Self::TOS,
        }
    }
}

impl Options {
    /// The timeouts, defaults and settings.
    ///
    /// # Errors
    /// A sentence about the first setting that cannot be.
    pub fn timeouts(&self) -> Result<Timeouts, String> {
        let mut timeouts = Timeouts::default();
        for setting in &self.timeouts {
            timeouts
                .set(setting)
                .map_err(|error| format!("-t {setting}: {error}"))?;
        }
        Ok(timeouts)
    }

    /// The collector's address.
    ///
    /// # Errors
    /// A sentence: not HOST:PORT, or no such host.
    pub fn address(&self) -> Result<Option<SocketAddr>, String> {
        let Some(collector) = &self.collector else {
            return Ok(None);
        };
        match collector.to_socket_addrs() {
            Ok(mut addresses) => addresses
                .next()
                .map(Some)
                .ok_or_else(|| format!("-n {collector}: the host has no address")),
            Err(error) => Err(format!(
                "-n {collector}: write HOST:PORT, as 192.0.2.1:2055 or [2001:db8::1]:2055 ({error})"
            )),
        }
    }

    /// Flows a CPU's table holds.
    #[must_use]
    pub fn flows_per_cpu(&self, cpus: u32) -> u32 {
        const IN_ALL: u32 = 1 << 20;
        self.max_flows
            .unwrap_or_else(|| (IN_ALL / cpus.max(1)).clamp(1 << 15, 1 << 17))
    }
}

fn ring_octets(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(octets) if octets.is_power_of_two() && octets >= 4096 => Ok(octets),
        _ => Err("write a power of two, at least 4096".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Options as clap::CommandFactory>::command().debug_assert();
    }
}
