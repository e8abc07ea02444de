//! Datagrams made beforehand, sent from memory at a rate, many a system call. What is sent again goes on
//! where it ended: with the next sequence numbers, and clocks that went on.
#![expect(
    clippy::cast_possible_truncation,
    reason = "counts below a small bound, as C types"
)]
#![expect(unsafe_code, reason = "a system call")]

use std::{
    io, mem,
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsRawFd as _,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use weir_exporter::{
    Version,
    batch::{BatchOptions, Batcher, Datagram},
};
use weir_netflow::{ExportTime, Layout, Optional};
use weir_sensor::clock::Now;

use crate::campus::{Campus, Family};

/// Datagrams given to the kernel by one system call.
const BATCH: usize = 16;
/// What the flows of a pass are spread over.
const SPAN_NS: u64 = 300_000_000_000;
/// The exporter has been up for this long.
const UPTIME_MS: u64 = 86_400_000;
/// A wait that is longer is slept, but for this much.
const SPIN_NS: u64 = 200_000;

/// A datagram, and the flows in it.
#[derive(Clone, Debug)]
pub struct Encoded {
    octets: Vec<u8>,
    flows: u64,
}

impl From<Datagram> for Encoded {
    fn from(datagram: Datagram) -> Self {
        Self {
            octets: datagram.octets,
            flows: datagram.tally.records,
        }
    }
}

/// A pass: datagrams that can be sent over and over.
#[derive(Debug)]
pub struct Replay {
    datagrams: Vec<Encoded>,
    places: Places,
    /// How far a pass takes the sequence number.
    units: u32,
    is_sent: bool,
}

/// Where a version's header has what changes.
#[derive(Clone, Copy, Debug)]
struct Places {
    sequence: usize,
    seconds: usize,
    uptime_ms: Option<usize>,
}

impl Places {
    const fn of(version: Version) -> Self {
        match version {
            Version::Ipfix => Self {
                sequence: 8,
                seconds: 4,
                uptime_ms: None,
            },
            Version::V9 => Self {
                sequence: 12,
                seconds: 8,
                uptime_ms: Some(4),
            },
            // v1 has no number: octets 16 to 19 are its first record's.
            Version::V1 | Version::V5 => Self {
                sequence: 16,
                seconds: 8,
                uptime_ms: Some(4),
            },
        }
    }
}

impl Replay {
    /// Flows of a campus, over the five minutes before an instant, as one exporter sends them.
    pub fn of_campus(version: Version, family: Family, flows: u64, now_ns: u64) -> Result<Self> {
        let now = ExportTime {
            unix_ns: now_ns - now_ns % 1_000_000_000,
            uptime_ms: UPTIME_MS,
        };
        let mut campus = Campus::new(family, 1);
        // v5 has AS numbers, prefix lengths and next hops whether it is asked to or not.
        let mut batcher = Batcher::new(BatchOptions {
            layout: Layout {
                optional: Optional::ROUTING,
                ..Layout::WEIR
            },
            ..BatchOptions::new(version)
        });
        let mut datagrams = Vec::new();
        for number in 0..flows {
            let exported_ns = now.unix_ns - SPAN_NS + SPAN_NS / flows * number;
            let full = batcher.push(&campus.flow(exported_ns), &now);
            datagrams.extend(full.map(Encoded::from));
        }
        datagrams.extend(batcher.flush(&now).map(Encoded::from));
        // The number that comes after the last one is the next datagram's.
        batcher.push(&campus.flow(now.unix_ns), &now);
        let after = batcher.flush(&now).context("a datagram of one record")?;
        let places = Places::of(version);
        let first = datagrams.first().context("no flows")?;
        let number = |octets: &[u8]| read(octets, places.sequence);
        let units = number(&after.octets).wrapping_sub(number(&first.octets));
        Ok(Self {
            datagrams,
            places,
            units,
            is_sent: false,
        })
    }

    /// Octets of all datagrams.
    pub fn octets(&self) -> u64 {
        let octets = self.datagrams.iter().map(|datagram| datagram.octets.len());
        octets.sum::<usize>() as u64
    }

    /// Flows of a pass.
    pub fn flows(&self) -> u64 {
        self.datagrams.iter().map(|datagram| datagram.flows).sum()
    }

    /// Sends whole datagrams until so many flows are sent, as often as it takes, or it is over.
    pub fn send(
        &mut self,
        sender: &mut Sender,
        flows: u64,
        mut go_on: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        loop {
            if mem::replace(&mut self.is_sent, true) {
                self.advance();
            }
            for batch in self.datagrams.chunks(BATCH) {
                if sender.flows >= flows {
                    return Ok(());
                }
                sender.send_batch(batch)?;
            }
            go_on()?;
        }
    }

    /// The next pass: a second later, and with the numbers after this one's.
    fn advance(&mut self) {
        let Places {
            sequence,
            seconds,
            uptime_ms,
        } = self.places;
        for Encoded { octets, .. } in &mut self.datagrams {
            add(octets, sequence, self.units);
            add(octets, seconds, 1);
            if let Some(uptime_ms) = uptime_ms {
                add(octets, uptime_ms, 1000);
            }
        }
    }
}

fn read(octets: &[u8], at: usize) -> u32 {
    let number = octets.get(at..).and_then(<[u8]>::first_chunk::<4>);
    number.map_or(0, |number| u32::from_be_bytes(*number))
}

/// Adds to a number in a header, modulo 2³².
fn add(octets: &mut [u8], at: usize, more: u32) {
    let number = read(octets, at).wrapping_add(more);
    if let Some(place) = octets.get_mut(at..at + 4) {
        place.copy_from_slice(&number.to_be_bytes());
    }
}

/// A socket at whose other end somebody listens on loopback, and a pace.
#[derive(Debug)]
pub struct Sender {
    socket: UdpSocket,
    /// Flows a second; 0: as fast as it goes.
    rate: u64,
    began_ns: u64,
    /// Flows sent.
    pub flows: u64,
}

impl Sender {
    /// To a port.
    pub fn new(port: u16, rate: u64) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("a socket to send from")?;
        socket.connect((Ipv4Addr::LOCALHOST, port))?;
        Ok(Self {
            socket,
            rate,
            began_ns: Now::read().monotonic_ns,
            flows: 0,
        })
    }

    /// Flows a second so far.
    pub fn flows_per_second(&self) -> u64 {
        let elapsed_ns = Now::read().monotonic_ns - self.began_ns;
        let flows = u128::from(self.flows) * 1_000_000_000;
        u64::try_from(flows / u128::from(elapsed_ns.max(1))).unwrap_or(u64::MAX)
    }

    /// Sends all of them at its pace.
    pub fn send(&mut self, datagrams: &[Encoded]) -> Result<()> {
        datagrams
            .chunks(BATCH)
            .try_for_each(|batch| self.send_batch(batch))
    }

    fn send_batch(&mut self, batch: &[Encoded]) -> Result<()> {
        self.wait();
        send_all(&self.socket, batch).context("sending to the collector: did it end?")?;
        self.flows += batch.iter().map(|datagram| datagram.flows).sum::<u64>();
        Ok(())
    }

    /// Until what was sent is what the rate allows.
    fn wait(&self) {
        let due_ns = u128::from(self.flows) * 1_000_000_000;
        let Some(due_ns) = due_ns.checked_div(u128::from(self.rate)) else {
            return;
        };
        let due_ns = self.began_ns + u64::try_from(due_ns).unwrap_or(u64::MAX / 2);
        loop {
            let left_ns = due_ns.saturating_sub(Now::read().monotonic_ns);
            match left_ns {
                0 => return,
                SPIN_NS.. => thread::sleep(Duration::from_nanos(left_ns - SPIN_NS / 2)),
                _ => std::hint::spin_loop(),
            }
        }
    }
}

/// Gives a batch to the kernel. A receiver whose buffer is full loses them, and counts.
fn send_all(socket: &UdpSocket, batch: &[Encoded]) -> io::Result<()> {
    // SAFETY: all zeros are valid for these structures of integers and pointers.
    let mut vectors: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
    // SAFETY: likewise.
    let mut messages: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
    let count = batch.len().min(BATCH);
    let headers = vectors.iter_mut().zip(&mut messages);
    for ((vector, message), datagram) in headers.zip(batch) {
        vector.iov_base = datagram.octets.as_ptr().cast_mut().cast();
        vector.iov_len = datagram.octets.len();
        message.msg_hdr.msg_iov = vector;
        message.msg_hdr.msg_iovlen = 1;
    }
    let mut sent = 0;
    while sent < count {
        let rest = &mut messages[sent..count];
        // SAFETY: each header points to a datagram that outlives the call, which only reads it.
        let result = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                rest.as_mut_ptr(),
                rest.len() as libc::c_uint,
                0,
            )
        };
        let Ok(more) = usize::try_from(result) else {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        };
        sent += more;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use weir_netflow::{
        data,
        set::{Definition, Set},
        v9,
    };

    use super::*;

    const NOW_NS: u64 = 1_795_237_200_000_000_000;

    /// The numbers of a pass go on in the next one as they did within it.
    #[test]
    fn a_second_pass_has_the_numbers_after_the_first() {
        for (version, family) in [
            (Version::V5, Family::V4),
            (Version::V9, Family::V6),
            (Version::Ipfix, Family::Both),
        ] {
            let mut replay = Replay::of_campus(version, family, 1000, NOW_NS).unwrap();
            assert_eq!(replay.flows(), 1000, "{version:?}");
            let at = Places::of(version).sequence;
            let numbers = |replay: &Replay| -> Vec<u32> {
                let datagrams = replay.datagrams.iter();
                datagrams
                    .map(|datagram| read(&datagram.octets, at))
                    .collect()
            };
            let first = numbers(&replay);
            assert!(first.is_sorted() && first.len() > 30);
            replay.advance();
            let second = numbers(&replay);
            assert!(second[0] > first[first.len() - 1], "{version:?}");
            let last = replay.datagrams.last().unwrap();
            let step = match version {
                Version::V9 => 1,
                _ => u32::try_from(last.flows).unwrap(),
            };
            assert_eq!(second[0], first[first.len() - 1] + step, "{version:?}");
        }
    }

    /// What v5 says of a flow v9 says, too: figures of both are of the same flows.
    #[test]
    fn records_say_what_v5_has_room_for() {
        let replay = Replay::of_campus(Version::V9, Family::V4, 100, NOW_NS).unwrap();
        let octets = &replay.datagrams[0].octets;
        let base = v9::decode_header(octets).unwrap().time_base();
        let (mut templates, mut flows) = (Vec::new(), Vec::new());
        for set in v9::decode_sets(octets).unwrap() {
            match set {
                Set::Templates(found) => templates.extend(found),
                Set::Data { id, octets } => {
                    let mut known = templates.iter().filter_map(Definition::template);
                    let template = known.find(|template| template.id() == id).unwrap();
                    if template.is_options() {
                        continue;
                    }
                    let records = data::records(template, octets, base);
                    flows.extend(records.map(|record| record.flow));
                }
                Set::Reserved => {}
            }
        }
        assert!(!flows.is_empty());
        for flow in flows {
            assert!(
                !flow.next_hop.is_unspecified() && flow.source_mask != 0,
                "{flow:?}"
            );
            assert!(flow.source_as != 0 || flow.destination_as != 0, "{flow:?}");
        }
    }

    #[test]
    fn clocks_go_on_together() {
        let mut replay = Replay::of_campus(Version::V9, Family::V4, 100, NOW_NS).unwrap();
        let time = |replay: &Replay| {
            let header = v9::decode_header(&replay.datagrams[0].octets).unwrap();
            header.time
        };
        let before = time(&replay);
        replay.advance();
        let after = time(&replay);
        assert_eq!(after.unix_ns - before.unix_ns, 1_000_000_000);
        assert_eq!(after.uptime_ms - before.uptime_ms, 1000);
    }

    #[test]
    fn all_is_sent_and_no_faster_than_wanted() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut replay = Replay::of_campus(Version::V5, Family::V4, 300, NOW_NS).unwrap();
        let mut sender = Sender::new(port, 3000).unwrap();
        // A pass and a part of the next, in whole batches of datagrams.
        replay.send(&mut sender, 301, || Ok(())).unwrap();
        assert_eq!(sender.flows, 600);
        assert!(sender.flows_per_second() < 6500);
        socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 2048];
        let came = std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count();
        assert_eq!(came, 2 * replay.datagrams.len());
    }
}
