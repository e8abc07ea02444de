//! What is passed on beside the files: datagrams as they come ([`crate::repeat`]), flows encoded anew
//! ([`crate::forward`]), and flows for other programs ([`crate::tap`]). None of it holds up receiving.
//!
//! With `--anonymise` files and taps have other addresses ([`crate::crypto_pan`]); what goes to other
//! collectors has not: they get what exporters said.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::PathBuf,
};

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value};
use weir_service::metrics::{Labels, Page};
use weir_store::schema::StoredFlow;

use crate::{
    crypto_pan::{self, CryptoPan},
    forward::{self, Forward, ForwardTo},
    repeat::{Datagrams, Repeater, TARGETS_MAX, Targets},
    tap::{self, Shape, Tap},
};

/// Targets of `--forward` there may be.
const FORWARDS_MAX: usize = 16;
/// Discard's: a route does not ask which.
const ANY_PORT: u16 = 9;

/// What is passed on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Passing {
    /// Send each datagram on to up to 16 others, unchanged
    #[arg(long, value_name = "ADDR:PORT", value_delimiter = ',')]
    pub repeat: Vec<SocketAddr>,

    /// Have repeated datagrams come from the exporter's own address and port (needs CAP_NET_RAW)
    #[arg(long, requires = "repeat")]
    pub repeat_source: bool,

    /// Send flows on, encoded as v5, v9 or ipfix; with a filter, those it keeps (may be repeated)
    #[arg(long = "forward", value_name = "v9:ADDR:PORT[=FILTER]")]
    pub forwards: Vec<ForwardTo>,

    /// Append each flow to FILE as a line of JSON (`-`: standard output)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Append each flow to FILE as goflow2's protobuf, length-delimited (`-`: standard output)
    #[arg(long, value_name = "FILE")]
    pub protobuf: Option<PathBuf>,

    /// Change the addresses that are written, by Crypto-PAn with the key in KEYFILE
    #[arg(long, value_name = "KEYFILE")]
    pub anonymise: Option<PathBuf>,
}

impl Passing {
    /// What is wrong with it, as a sentence; `listen` is where this collector does. Nothing of it is opened.
    #[must_use]
    pub fn refusal(&self, listen: &[SocketAddr]) -> Option<String> {
        let forwards = self.forwards.iter().map(|to| to.address);
        let mut targets = self.repeat.iter().copied().chain(forwards);
        let is_here = |target: &SocketAddr| listen.iter().any(|own| is_own(*own, *target));
        if let Some(target) = targets.find(is_here) {
            return Some(format!(
                "{target} is where this collector listens: what it passes on would come back for ever"
            ));
        }
        let (repeats, forwards) = (self.repeat.len(), self.forwards.len());
        if repeats > TARGETS_MAX {
            return Some(format!(
                "--repeat has {repeats} targets: {TARGETS_MAX} are possible"
            ));
        }
        if forwards > FORWARDS_MAX {
            return Some(format!(
                "--forward is given {forwards} times: {FORWARDS_MAX} are possible"
            ));
        }
        let is_shared = self.json.is_some() && self.json == self.protobuf;
        is_shared.then(|| {
            "--json and --protobuf need a file each: lines and messages do not mix".to_owned()
        })
    }
}

/// Sockets and files of all of it; no thread has been started. They are opened with the privileges the
/// collector was started with, which its threads must not have.
pub struct Opened {
    repeater: Option<Targets>,
    forwards: Vec<forward::Opened>,
    taps: Vec<tap::Opened>,
    anonymiser: Option<CryptoPan>,
}

impl Opened {
    /// Opens what the options name, with which nothing is wrong ([`Passing::refusal`]).
    ///
    /// # Errors
    /// If a target, file or key cannot be used.
    pub fn open(options: &Passing) -> Result<Self> {
        // A key that cannot be used must not leave flows half written.
        let anonymiser = options.anonymise.as_deref().map(crypto_pan::open);
        let anonymiser = anonymiser.transpose()?;
        let shapes = [
            (Shape::Json, &options.json),
            (Shape::Protobuf, &options.protobuf),
        ];
        let taps = shapes.into_iter().filter_map(|(shape, path)| {
            let path = path.as_deref()?;
            Some(Tap::open(shape, path))
        });
        Ok(Self {
            repeater: Targets::open(&options.repeat, options.repeat_source)?,
            forwards: options
                .forwards
                .iter()
                .map(Forward::open)
                .collect::<Result<_>>()?,
            taps: taps.collect::<Result<_>>()?,
            anonymiser,
        })
    }

    /// Starts the threads, once there are no privileges left to inherit.
    ///
    /// # Errors
    /// If a thread cannot be had.
    pub fn start(self) -> Result<Onward> {
        let forwards = self.forwards.into_iter().map(Forward::start);
        let taps = self.taps.into_iter().map(Tap::start);
        Ok(Onward {
            repeater: self.repeater.map(Repeater::start).transpose()?,
            forwards: forwards.collect::<Result<_>>()?,
            taps: taps.collect::<Result<_>>()?,
            anonymiser: self.anonymiser,
        })
    }
}

/// All of it, under way.
#[derive(Debug, Default)]
pub struct Onward {
    repeater: Option<Repeater>,
    forwards: Vec<Forward>,
    taps: Vec<Tap>,
    anonymiser: Option<CryptoPan>,
}

impl Onward {
    /// Whether datagrams are repeated.
    #[must_use]
    pub fn repeats(&self) -> bool {
        self.repeater.is_some()
    }

    /// Whether anything is done with flows.
    #[must_use]
    pub fn passes(&self) -> bool {
        !self.forwards.is_empty() || !self.taps.is_empty() || self.anonymiser.is_some()
    }

    /// Has datagrams repeated.
    pub fn repeat(&self, datagrams: Datagrams) {
        if let Some(repeater) = &self.repeater {
            repeater.offer(datagrams);
        }
    }

    /// Passes flows on; they are then as they are to be written.
    pub fn pass(&self, flows: &mut [StoredFlow]) {
        for forward in &self.forwards {
            forward.offer(flows);
        }
        if let Some(anonymiser) = &self.anonymiser {
            for flow in &mut *flows {
                anonymiser.anonymise(flow);
            }
        }
        for tap in &self.taps {
            tap.offer(flows);
        }
    }

    /// Tells how it goes, of each part that there is.
    pub fn add_to(&self, page: &mut Page) {
        let mut waiting: Vec<(String, u64)> = Vec::new();
        if let Some(repeater) = &self.repeater {
            waiting.push(("repeat".to_owned(), repeater.waiting()));
            repeater.add_to(page);
        }
        let mut forwards: Vec<(Labels, [u64; forward::COUNTS.len()])> = Vec::new();
        for (number, forward) in self.forwards.iter().enumerate() {
            waiting.push((format!("forward {number}"), forward.waiting()));
            forwards.push((labels(forward.address(), number), forward.counts()));
        }
        if !forwards.is_empty() {
            for (at, (name, help)) in forward::COUNTS.iter().enumerate() {
                let forwards = forwards.iter();
                let counts = forwards.map(|(labels, counts)| (labels.clone(), counts[at]));
                page.counters(name, help, counts);
            }
        }
        let (mut written, mut left_out) = (Vec::new(), Vec::new());
        for tap in &self.taps {
            let name = tap.shape().name();
            let labels: Labels = vec![("output", name.to_owned())];
            let counts = tap.counts();
            waiting.push((name.to_owned(), counts.0));
            written.push((labels.clone(), counts.1));
            left_out.push((labels, counts.2));
        }
        if !written.is_empty() {
            page.counters(
                "flows_written",
                "Flows written for other programs.",
                written,
            );
            page.counters(
                "flows_left_out",
                "Flows that were not written for them, since too many waited.",
                left_out,
            );
        }
        let waiting = waiting.into_iter().map(|(queue, waiting)| {
            let labels: Labels = vec![("queue", queue)];
            (labels, i64::try_from(waiting).unwrap_or(i64::MAX))
        });
        page.gauges(
            "passing_waiting",
            "Datagrams that wait to be repeated, or flows for others.",
            waiting,
        );
    }

    /// Ends it; the account of each part that there was.
    #[must_use]
    pub fn finish(self) -> Map<String, Value> {
        let mut account = Map::new();
        if let Some(repeater) = self.repeater {
            account.insert("repeat".to_owned(), repeater.finish());
        }
        if !self.forwards.is_empty() {
            let forwards = self.forwards.into_iter().map(Forward::finish).collect();
            account.insert("forward".to_owned(), forwards);
        }
        for tap in self.taps {
            let (name, taken) = tap.finish();
            account.insert(name.to_owned(), taken);
        }
        account
    }
}

/// What tells targets apart, of which two may have one address.
pub(crate) fn labels(target: SocketAddr, number: usize) -> Labels {
    vec![
        ("destination", target.to_string()),
        ("number", number.to_string()),
    ]
}

/// Whether what is sent to a target arrives where the collector listens, as far as addresses and routes tell.
fn is_own(listen: SocketAddr, target: SocketAddr) -> bool {
    if listen.port() != target.port() {
        return false;
    }
    let (ours, theirs) = (listen.ip().to_canonical(), target.ip().to_canonical());
    // A socket of `::` takes IPv4 too, and not the other way round.
    let is_for_any = ours.is_unspecified() && (ours.is_ipv6() || theirs.is_ipv4());
    let is_here = || theirs.is_loopback() || is_of_this_machine(theirs);
    ours == theirs || theirs.is_unspecified() || (is_for_any && is_here())
}

/// Whether an address is one of this machine's: what would be sent there had it as its source, too. Of several that an
/// interface has in one network that is so of the first only. Nothing is sent.
fn is_of_this_machine(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, ANY_PORT))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_passed_on_to_the_collector_itself() {
        for (listen, target, is_refused) in [
            ("[::]:2055", "127.0.0.1:2055", true),
            ("[::]:2055", "[::1]:2055", true),
            ("192.0.2.1:2055", "192.0.2.1:2055", true),
            ("192.0.2.1:2055", "0.0.0.0:2055", true),
            ("[::]:2055", "[::ffff:127.0.0.1]:2055", true),
            ("192.0.2.1:2055", "[::ffff:192.0.2.1]:2055", true),
            ("192.0.2.1:2055", "127.0.0.1:2055", false),
            ("0.0.0.0:2055", "[::1]:2055", false),
            ("[::]:2055", "127.0.0.1:2056", false),
            ("[::]:2055", "192.0.2.1:2055", false),
        ] {
            let (listen, target) = (listen.parse().unwrap(), target.parse().unwrap());
            let options = Passing {
                repeat: vec![target],
                ..Passing::default()
            };
            let listen = ["[::]:6343".parse().unwrap(), listen];
            assert_eq!(options.refusal(&listen).is_some(), is_refused, "{target}");
        }
    }

    #[test]
    fn this_machines_addresses_are_told_from_others() {
        for (address, is_ours) in [("127.0.0.1", true), ("192.0.2.1", false)] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(is_of_this_machine(address), is_ours, "{address}");
        }
    }
}
