//! The repeater: each datagram that comes goes on to others, unchanged, from a thread of its own. A target
//! has a socket of its own that never waits, so that one that is dead costs the others nothing.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use weir_service::metrics::Page;

use crate::{
    aside::{Aside, Pieces},
    exporters::Source,
    onward::labels,
    socket, spoof,
};

/// Targets there may be.
pub const TARGETS_MAX: usize = 16;
/// Batches of datagrams that wait: some 6 MiB of usual ones, 256 MiB if each has 64 KiB.
const BATCHES_MAX: usize = 16;

/// Datagrams that came together, one after the other.
#[derive(Debug, Default)]
pub struct Datagrams {
    octets: Vec<u8>,
    ends: Vec<(Source, usize)>,
}

impl Datagrams {
    /// Appends one.
    pub fn push(&mut self, octets: &[u8], source: &Source) {
        self.octets.extend_from_slice(octets);
        self.ends.push((*source, self.octets.len()));
    }

    fn each(&self, mut take: impl FnMut(&Source, &[u8])) {
        let mut start = 0;
        for (source, end) in &self.ends {
            take(source, &self.octets[start..*end]);
            start = *end;
        }
    }
}

/// Where datagrams go on to, and what became of them.
#[derive(Debug)]
struct Target {
    address: SocketAddr,
    socket: UdpSocket,
    /// Whether packets have the exporter's address as their source.
    is_spoofed: bool,
    sent: AtomicU64,
    failed: AtomicU64,
    is_told: AtomicBool,
}

impl Target {
    fn open(address: SocketAddr, is_spoofed: bool) -> Result<Self> {
        let socket = if is_spoofed {
            raw(address)?
        } else {
            own(address).with_context(|| format!("cannot repeat to {address}"))?
        };
        Ok(Self {
            address,
            socket,
            is_spoofed,
            sent: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            is_told: AtomicBool::new(false),
        })
    }

    fn send(&self, source: &Source, datagram: &[u8]) {
        let sent = if self.is_spoofed {
            self.send_spoofed(source, datagram)
        } else {
            self.socket.send_to(datagram, self.address).map(|_| ())
        };
        match sent {
            Ok(()) => self.sent.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                // Once: the counters tell the rest.
                if !self.is_told.swap(true, Ordering::Relaxed) {
                    eprintln!(
                        "weir-collector: cannot repeat to {}: {error}; counting what does not leave",
                        self.address
                    );
                }
                self.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }

    fn send_spoofed(&self, source: &Source, datagram: &[u8]) -> io::Result<()> {
        let Some(packet) = spoof::packet(source, self.address, datagram) else {
            return Err(io::Error::other(
                "the exporter's address is of the other family, or the datagram too long",
            ));
        };
        // The port is in the packet; in an address of a raw socket it would be a protocol.
        let to = SocketAddr::new(self.address.ip(), 0);
        self.socket.send_to(&packet, to).map(|_| ())
    }
}

/// A socket with an address of this machine. It is not connected: what a target answers is none of ours.
fn own(target: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match target {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn raw(target: SocketAddr) -> Result<UdpSocket> {
    socket::raw(target.is_ipv6()).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => anyhow::anyhow!(
            "no permission to send with the exporters' addresses: --repeat-source needs CAP_NET_RAW (`setcap cap_net_raw+ep` on the program, or AmbientCapabilities=CAP_NET_RAW in its unit)"
        ),
        _ => anyhow::Error::new(error).context(format!("cannot repeat to {target}")),
    })
}

/// Targets with their sockets; nothing is sent yet.
#[derive(Debug)]
pub struct Targets(Arc<[Target]>);

impl Targets {
    /// Opens the sockets, which may take privileges; none if there are no targets.
    ///
    /// # Errors
    /// If there are too many targets, or a socket cannot be had.
    pub fn open(addresses: &[SocketAddr], is_spoofed: bool) -> Result<Option<Self>> {
        if addresses.is_empty() {
            return Ok(None);
        }
        let targets = addresses
            .iter()
            .map(|address| Target::open(*address, is_spoofed))
            .collect::<Result<_>>()?;
        Ok(Some(Self(targets)))
    }
}

/// The repeater's near end.
#[derive(Debug)]
pub struct Repeater {
    targets: Arc<[Target]>,
    aside: Aside<Datagrams>,
}

impl Repeater {
    /// Starts its thread.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(Targets(targets): Targets) -> Result<Self> {
        let theirs = Arc::clone(&targets);
        let aside = Aside::start("repeat", BATCHES_MAX, move |batches: Pieces<Datagrams>| {
            for datagrams in batches {
                datagrams.each(|source, datagram| {
                    for target in &*theirs {
                        target.send(source, datagram);
                    }
                });
            }
        })?;
        Ok(Self { targets, aside })
    }

    /// Gives it datagrams; it never waits.
    pub fn offer(&self, datagrams: Datagrams) {
        let count = datagrams.ends.len() as u64;
        if count > 0 {
            self.aside.offer(count, || datagrams);
        }
    }

    /// Datagrams that wait.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.aside.waiting()
    }

    /// Tells what became of them so far.
    pub fn add_to(&self, page: &mut Page) {
        let mut add = |name: &str, help: &str, count: &dyn Fn(&Target) -> u64| {
            let targets = self.targets.iter().enumerate();
            let counts =
                targets.map(|(number, target)| (labels(target.address, number), count(target)));
            page.counters(name, help, counts);
        };
        add("repeat_sent", "Datagrams sent on.", &|target| {
            target.sent.load(Ordering::Relaxed)
        });
        add(
            "repeat_failed",
            "Datagrams that could not be sent on.",
            &|target| target.failed.load(Ordering::Relaxed),
        );
        add(
            "repeat_left_out",
            "Datagrams that were not sent on, since too many waited.",
            &|_| self.aside.left_out(),
        );
    }

    /// Ends it; the account of each target.
    #[must_use]
    pub fn finish(self) -> Value {
        let Self { targets, aside, .. } = self;
        let offered = aside.finish();
        let account = |target: &Target| {
            let sent = target.sent.load(Ordering::Relaxed);
            let failed = target.failed.load(Ordering::Relaxed);
            json!({
                "target": target.address.to_string(),
                "repeat_sent": sent,
                "repeat_failed": failed,
                "repeat_left_out": offered.saturating_sub(sent + failed),
            })
        };
        targets.iter().map(account).collect()
    }
}
