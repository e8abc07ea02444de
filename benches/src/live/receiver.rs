//! Who receives: how each is started, and how many packets it says it counted.
//!
//! Packets that a capture ring dropped are not counted. For those that use libpcap, what it
//! received without what it dropped is the count: softflowd is given blocks of the ring only once
//! they are full, so its own count lags behind when the traffic ends.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, EbpfLoader,
    programs::{Xdp, XdpMode},
};
use clap::ValueEnum;
use serde_json::Value;
use weir_sensor::kernel;
use weir_tests::{
    netns::Pair,
    process::{self, Daemon},
};

/// A receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Receiver {
    /// weir-sensor; packets go on to the network stack
    Weir,
    /// weir-sensor with --drop: packets end where they were metered
    WeirDrop,
    /// softflowd
    Softflowd,
    /// nfpcapd
    Nfpcapd,
    /// pmacctd with its NetFlow probe
    Pmacctd,
    /// Nobody: packets go to the network stack, which has no use for them
    Stack,
    /// Nobody: packets are dropped as they arrive
    Drop,
}

/// Where a receiver works, and how large it is to be.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// It is at end `b`.
    pub pair: &'a Pair,
    /// For its files.
    pub folder: &'a Path,
    /// Flows it has room for.
    pub flows: u32,
    /// The CPU its process stays on.
    pub cpu: Option<usize>,
}

/// What a receiver says of the packets that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Packets that are in records, or will be.
    pub recorded: u64,
    /// Packets that are in records, or in counters that say why not.
    pub accounted: u64,
    /// Records made of them, by a receiver that says so.
    pub records: Option<u64>,
}

impl Counted {
    /// By a receiver that has one number only.
    fn all(packets: u64) -> Self {
        Self {
            recorded: packets,
            accounted: packets,
            records: None,
        }
    }
}

/// A receiver at work; it ends when dropped.
pub struct Running<'a> {
    receiver: Receiver,
    place: Place<'a>,
    process: Option<Daemon>,
    _nobody: Option<Ebpf>,
}

impl Receiver {
    /// Its name, as people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Weir => "weir-sensor",
            Self::WeirDrop => "weir-sensor --drop",
            Self::Softflowd => "softflowd",
            Self::Nfpcapd => "nfpcapd",
            Self::Pmacctd => "pmacctd",
            Self::Stack => "no receiver",
            Self::Drop => "no receiver, dropping",
        }
    }

    /// Whether it keeps flows, so that known ones cost it less than new ones.
    #[must_use]
    pub fn keeps_flows(self) -> bool {
        !matches!(self, Self::Stack | Self::Drop)
    }

    /// Starts it, and waits until it receives. To be called in the namespace of end `b`.
    ///
    /// # Errors
    /// If it is not installed, or does not start.
    pub fn start(self, place: Place<'_>) -> Result<Running<'_>> {
        let (mut process, mut nobody) = (None, None);
        match self {
            Self::Stack => {}
            Self::Drop => nobody = Some(drop_all(&place)?),
            Self::Weir | Self::WeirDrop | Self::Softflowd | Self::Nfpcapd | Self::Pmacctd => {
                let log = place.folder.join("log");
                let mut daemon = Daemon::start(self.command(&place)?, &log)?;
                daemon.wait_for(self.ready())?;
                process = Some(daemon);
            }
        }
        Ok(Running {
            receiver: self,
            place,
            process,
            _nobody: nobody,
        })
    }

    /// What it says when it is ready.
    fn ready(self) -> &'static str {
        match self {
            Self::Weir | Self::WeirDrop => "metering",
            Self::Softflowd => "starting data collection",
            Self::Nfpcapd => "Startup nfpcapd",
            Self::Pmacctd => "Exporting flows to",
            Self::Stack | Self::Drop => "",
        }
    }

    /// Its command line: room for the flows, no timeouts that come within a trial, no collector.
    fn command(self, place: &Place<'_>) -> Result<Command> {
        let Place {
            pair,
            folder,
            flows,
            cpu,
        } = place;
        let file = |name: &str| folder.join(name).display().to_string();
        let room = u64::from(*flows) * 2;
        let interface = &pair.b;
        let (program, arguments) = match self {
            Self::Weir | Self::WeirDrop => {
                let drop = if self == Self::WeirDrop {
                    " --drop"
                } else {
                    ""
                };
                let json = file("json");
                let arguments = format!(
                    "-i {interface} -c none --direction in -N -m {flows} --statistics-json {json}{drop}"
                );
                (weir_sensor()?, arguments)
            }
            Self::Softflowd => (
                "softflowd".to_owned(),
                format!("-d -i {interface} -v 9 -m {room} -c {}", file("control")),
            ),
            Self::Nfpcapd => (
                "nfpcapd".to_owned(),
                format!(
                    "-i {interface} -w {} -e 3600,3600 -B {}",
                    folder.display(),
                    room.max(1 << 19)
                ),
            ),
            _ => {
                let text = format!(
                    "daemonize: false\npcap_interface: {interface}\nplugins: nfprobe\naggregate: src_host, dst_host, src_port, dst_port, proto, tos\nnfprobe_receiver: 127.0.0.1:9\nnfprobe_maxflows: {room}\nplugin_pipe_size: 67108864\nplugin_buffer_size: 65536\n"
                );
                fs::write(file("pmacctd.conf"), text)?;
                ("pmacctd".to_owned(), format!("-f {}", file("pmacctd.conf")))
            }
        };
        let mut command = match cpu {
            Some(cpu) => {
                let mut command = pair.command_in_b(Path::new("taskset"));
                command.args(["-c", &cpu.to_string(), &program]);
                command
            }
            None => pair.command_in_b(Path::new(&program)),
        };
        command.args(arguments.split(' '));
        Ok(command)
    }
}

impl Running<'_> {
    /// Ends it and says how many packets it counted, of those that arrived.
    ///
    /// # Errors
    /// If it died meanwhile, or its words are not understood.
    pub fn stop(mut self, arrived: u64) -> Result<Counted> {
        let counted = match self.process.take() {
            Some(process) => self.stop_process(process)?,
            None => Some(Counted::all(arrived)),
        };
        let name = self.receiver.name();
        counted.with_context(|| format!("{name} did not say how many packets it counted"))
    }

    fn stop_process(&self, mut process: Daemon) -> Result<Option<Counted>> {
        const PATIENCE: Duration = Duration::from_secs(60);
        let mut answer = String::new();
        match self.receiver {
            Receiver::Softflowd => {
                answer = self.softflowctl("statistics")?;
                self.softflowctl("exit")?;
            }
            // It says how many packets it received on SIGINT only.
            Receiver::Pmacctd => process.signal(libc::SIGINT),
            _ => process.signal(libc::SIGTERM),
        }
        let status = process.wait(PATIENCE)?;
        let log = process.log();
        // softflowd calls an end that it was told to make, without export, a failure.
        if !status.success() && self.receiver != Receiver::Softflowd {
            bail!("{} ended with {status}:\n{log}", self.receiver.name());
        }
        let packets = match self.receiver {
            Receiver::Weir | Receiver::WeirDrop => {
                let json = fs::read_to_string(self.place.folder.join("json"))?;
                return Ok(counted_by_weir(&json));
            }
            Receiver::Softflowd => counted_by_softflowd(&answer),
            Receiver::Nfpcapd => number_after(&log, "Total: Processed:"),
            _ => counted_by_pmacctd(&log),
        };
        Ok(packets.map(Counted::all))
    }

    fn softflowctl(&self, word: &str) -> Result<String> {
        let mut command = Command::new("softflowctl");
        command.arg("-c").arg(self.place.folder.join("control"));
        let output = command.arg(word).output().context("softflowctl")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Path of weir-sensor, as cargo built it beside this program.
///
/// # Errors
/// If it was not built.
pub fn weir_sensor() -> Result<String> {
    let path = process::binaries()?.join("weir-sensor");
    if !path.exists() {
        bail!(
            "{} is missing: `cargo build --release --package weir-sensor` makes it, `cargo xtask bench` does both",
            path.display()
        );
    }
    Ok(path.display().to_string())
}

/// Drops what arrives at end `b`, in the driver.
fn drop_all(place: &Place<'_>) -> Result<Ebpf> {
    let mut ebpf = EbpfLoader::new().load(kernel::object())?;
    let program: &mut Xdp = ebpf
        .program_mut("weir_drop")
        .context("a program of the feature `generator`")?
        .try_into()?;
    program.load()?;
    program.attach(&place.pair.b, XdpMode::Driver)?;
    Ok(ebpf)
}

/// What the sensor's account says; what it cannot explain is in neither number.
fn counted_by_weir(json: &str) -> Option<Counted> {
    let statistics: Value = serde_json::from_str(json).ok()?;
    let count = |name: &str| statistics[name].as_u64();
    let unexplained = statistics["unexplained_packets"].as_i64()?.unsigned_abs();
    let lost = count("ring_full_packets")? + count("table_busy_packets")?;
    Some(Counted {
        recorded: count("ip_packets")?.checked_sub(lost + unexplained)?,
        accounted: count("packets")?.checked_sub(unexplained)?,
        records: Some(count("records")?),
    })
}

fn counted_by_softflowd(statistics: &str) -> Option<u64> {
    let received = number_after(statistics, "Packets received by libpcap:")?;
    received.checked_sub(number_after(statistics, "Packets dropped by libpcap:")?)
}

fn counted_by_pmacctd(log: &str) -> Option<u64> {
    let received = number_after(log, "received_packets=")?;
    let counted = received.checked_sub(number_after(log, "dropped_packets=")?)?;
    // The pipe to its probe overflowed: it does not say how many packets were lost, at least one.
    let lost = u64::from(log.contains("Missing data detected"));
    counted.checked_sub(lost)
}

/// The number that follows a label.
#[must_use]
pub fn number_after(text: &str, label: &str) -> Option<u64> {
    let (_, rest) = text.split_once(label)?;
    let rest = rest.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_digit());
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peers_words_are_understood() {
        let softflowd = "Packets processed: 1724\nPackets received by libpcap: 3001\nPackets dropped by libpcap: 1\nPackets dropped by interface: 0\n";
        assert_eq!(counted_by_softflowd(softflowd), Some(3000));
        let nfpcapd = "Processed: 7, skipped: 0, short caplen: 0, unknown: 0\nTotal: Processed: 12, skipped: 0, short caplen: 0, unknown: 0\n";
        assert_eq!(number_after(nfpcapd, "Total: Processed:"), Some(12));
        let pmacctd = "NOTICE ( default/core ): [lo,0] received_packets=40 dropped_packets=2";
        assert_eq!(counted_by_pmacctd(pmacctd), Some(38));
        let overflow = format!("WARN ( default/core ): Missing data detected (…).\n{pmacctd}");
        assert_eq!(counted_by_pmacctd(&overflow), Some(37));
        assert_eq!(counted_by_pmacctd("it crashed"), None);
    }

    #[test]
    fn weirs_losses_are_not_in_records_and_what_it_cannot_explain_is_nowhere() {
        let counted = |unexplained: i64| {
            let json = format!(
                r#"{{"packets": 100, "ip_packets": 99, "ring_full_packets": 3, "table_busy_packets": 2, "records": 7, "unexplained_packets": {unexplained}}}"#
            );
            let counted = counted_by_weir(&json)?;
            Some((counted.recorded, counted.accounted, counted.records))
        };
        assert_eq!(counted(0), Some((94, 100, Some(7))));
        assert_eq!(counted(1), Some((93, 99, Some(7))));
        assert_eq!(counted(-1), Some((93, 99, Some(7))));
        assert_eq!(counted_by_weir("{}"), None);
    }
}
