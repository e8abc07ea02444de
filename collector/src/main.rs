//! `weir-collector`: receive, account, write.

use std::{
    fs, io, io::Write as _, os::fd::AsRawFd as _, path::Path, process::ExitCode, time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;
use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use weir_collector::{
    clock,
    exporters::Exporters,
    options::Options,
    receive::Receiver,
    writer::{Message, Writer, Written},
};

const SIGNALS: Token = Token(0);
const SOCKET: Token = Token(1);
/// Batches taken before signals are looked at again.
const TURN_MAX: usize = 64;
/// Flows that go to the writer at once, and those of one more datagram.
const FLOWS_MAX: usize = 16_384;
/// Turns taken to empty the socket's buffer at the end.
const LAST_TURNS_MAX: usize = 64;
/// How often the exporters' accounts go to the writer, at most.
const ACCOUNT_INTERVAL: Duration = Duration::from_secs(1);
/// Log lines about malformed datagrams, in all; the counters tell the rest.
const MALFORMED_LINES_MAX: u32 = 10;

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-collector: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let (receiver, granted) = bind(options)?;
    let writer = Writer::start(&options.directory, options.rotation_s)?;
    eprintln!(
        "weir-collector: listening on {}, writing to {} every {} s",
        receiver.socket().local_addr()?,
        options.directory.display(),
        options.rotation_s
    );
    if granted < 4 << 20 {
        eprintln!(
            "weir-collector: the kernel grants a receive buffer of {} KiB only; `sysctl net.core.rmem_max=33554432` allows more",
            granted >> 10
        );
    }
    let mut collector = Collector {
        receiver,
        writer,
        exporters: Exporters::default(),
        malformed_lines: 0,
    };
    let outcome = collector.receive_until_told();
    let Collector {
        mut exporters,
        writer,
        receiver,
        ..
    } = collector;
    exporters.statistics.kernel_drops = receiver.kernel_drops;
    let _ = writer.sender.send(Message::Account(exporters.to_json()));
    let written = writer.finish()?;
    report(options, &exporters, &written)?;
    outcome
}

fn bind(options: &Options) -> Result<(Receiver, usize)> {
    match Receiver::bind(options.listen) {
        Ok(bound) => Ok(bound),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            bail!(
                "{} is taken by another program: `ss -ulpn` names it, -l takes another port",
                options.listen
            )
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            bail!(
                "no permission to listen on {}: take a port above 1023 with -l, or run as root",
                options.listen
            )
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on {}", options.listen)),
    }
}

struct Collector {
    receiver: Receiver,
    writer: Writer,
    exporters: Exporters,
    malformed_lines: u32,
}

impl Collector {
    fn receive_until_told(&mut self) -> Result<()> {
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(16);
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        poll.registry()
            .register(&mut signals, SIGNALS, Interest::READABLE)?;
        let socket = self.receiver.socket().as_raw_fd();
        poll.registry()
            .register(&mut SourceFd(&socket), SOCKET, Interest::READABLE)?;
        let (mut more, mut accounted_ns) = (false, 0);
        loop {
            let wait = if more {
                Duration::ZERO
            } else {
                ACCOUNT_INTERVAL
            };
            match poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(error.into());
                }
                _ => {}
            }
            let told = events.iter().any(|event| event.token() == SIGNALS)
                && signals.pending().next().is_some();
            more = self.turn()?;
            let now_ns = clock::unix_ns();
            if now_ns.abs_diff(accounted_ns) >= 1_000_000_000 {
                accounted_ns = now_ns;
                self.receiver.count_drops();
                self.send(Message::Account(self.exporters.to_json()))?;
            }
            if told {
                // What is in the socket's buffer has reached us; what comes after has not.
                for _ in 0..LAST_TURNS_MAX {
                    if !self.turn()? {
                        break;
                    }
                }
                self.receiver.count_drops();
                return Ok(());
            }
        }
    }

    /// Takes what is there; true if there may be more.
    fn turn(&mut self) -> Result<bool> {
        for _ in 0..TURN_MAX {
            let received_ns = clock::unix_ns();
            let mut flows = Vec::new();
            let Self {
                receiver,
                exporters,
                malformed_lines,
                writer,
            } = self;
            let taken = receiver
                .receive(|octets, address| {
                    if flows.len() >= FLOWS_MAX {
                        let batch = std::mem::take(&mut flows);
                        // It fails only if the thread died; the next send says so.
                        let _ = writer.sender.send(Message::Flows(batch));
                    }
                    if let Err(error) = exporters.datagram(octets, address, received_ns, &mut flows)
                        && *malformed_lines < MALFORMED_LINES_MAX
                    {
                        *malformed_lines += 1;
                        let address = weir_netflow::record::display_address(address);
                        eprintln!("weir-collector: {address}: {error}");
                    }
                })
                .context("receiving")?;
            if !flows.is_empty() {
                self.send(Message::Flows(flows))?;
            }
            if taken == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits while the writer is behind; the socket's buffer then fills, and the kernel counts.
    fn send(&self, message: Message) -> Result<()> {
        self.writer
            .sender
            .send(message)
            .context("the writing thread died")
    }
}

fn report(options: &Options, exporters: &Exporters, written: &Written) -> Result<()> {
    let statistics = exporters.statistics;
    let (lost_records, lost_datagrams) = exporters.lost();
    eprintln!(
        "weir-collector: {} datagrams from {} exporters, {} flows written; lost on the way: {lost_records} records (v5), {lost_datagrams} datagrams (v9); dropped by the kernel: {}; malformed: {}; not written: {}",
        statistics.datagrams,
        exporters.len(),
        written.flows,
        statistics.kernel_drops,
        statistics.malformed + statistics.unknown_version,
        written.flows_unwritten,
    );
    let Some(path) = &options.statistics_json else {
        return Ok(());
    };
    let mut object = statistics.to_json();
    if let (Value::Object(object), Value::Object(written)) = (&mut object, written.to_json()) {
        object.extend(written);
        object.insert("exporters".to_owned(), exporters.to_json());
    }
    let text = format!("{object:#}\n");
    if path == Path::new("-") {
        io::stdout().write_all(text.as_bytes())?;
        return Ok(());
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
