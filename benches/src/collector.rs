//! A collector as plain as can be: one thread, one datagram a system call, a receive buffer of the
//! system's default size. It parses headers and counts; what the kernel dropped at its socket, the
//! kernel says.

use std::{
    collections::HashMap,
    fs,
    io::ErrorKind,
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use weir_netflow::{
    set::{Definition, Set},
    template::Template,
    v9,
};
use weir_sensor::clock::Now;
use weir_tests::netns;

/// Where it listens: on the loopback of its namespace.
pub const ADDRESS: &str = "127.0.0.1:2055";
const PORT: u16 = 2055;
/// Longer than a datagram is under way.
const UNDER_WAY: Duration = Duration::from_millis(300);

/// A collector at work.
pub struct Collector {
    awaited: u64,
    shared: Arc<Shared>,
    thread: thread::JoinHandle<Result<Received>>,
}

/// What others may look at meanwhile.
#[derive(Default)]
struct Shared {
    told: AtomicBool,
    records: AtomicU64,
    latest_ns: AtomicU64,
}

/// What came.
#[derive(Debug, Default)]
pub struct Received {
    /// Datagrams.
    pub datagrams: u64,
    /// Flow records in them.
    pub records: u64,
    /// Datagrams that no decoder understands, or that came before their templates.
    pub unreadable: u64,
    /// Datagrams missing by the sequence numbers of those that came.
    pub missing: u64,
    /// Datagrams the kernel dropped for want of room in the receive buffer.
    pub kernel_drops: u64,
    /// When the first came, on the monotonic clock.
    pub first_ns: Option<u64>,
    /// When as many records had come as were awaited.
    pub complete_ns: Option<u64>,
    awaited: u64,
    next_sequence: Option<u32>,
    templates: HashMap<u16, Template>,
}

impl Collector {
    /// Listens at [`ADDRESS`] in a namespace; when so many records have come, that is noted.
    pub fn open(namespace: &str, awaited: u64) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (shared_too, namespace) = (Arc::clone(&shared), namespace.to_owned());
        let (opened, is_open) = mpsc::channel();
        let thread = thread::spawn(move || {
            // The thread stays in the namespace: what it reads in /proc is that one's.
            let socket = netns::enter(&namespace).and_then(|()| {
                let socket = UdpSocket::bind(ADDRESS).with_context(|| ADDRESS.to_owned())?;
                socket.set_read_timeout(Some(UNDER_WAY))?;
                Ok(socket)
            });
            // It fails only if nobody waits for it.
            let _ = opened.send(socket.is_ok());
            read(&socket?, &shared_too, awaited)
        });
        if is_open.recv() != Ok(true) {
            return Err(match thread.join() {
                Ok(Err(error)) => error,
                _ => anyhow!("the collector's thread died"),
            });
        }
        Ok(Self {
            awaited,
            shared,
            thread,
        })
    }

    /// Whether the records awaited have come, or something has and nothing since `pause`.
    pub fn is_done(&self, pause: Duration) -> bool {
        let latest_ns = self.shared.latest_ns.load(Ordering::Relaxed);
        let since_ns = Now::read().monotonic_ns.saturating_sub(latest_ns);
        let is_quiet = latest_ns > 0 && u128::from(since_ns) > pause.as_nanos();
        is_quiet || self.shared.records.load(Ordering::Relaxed) >= self.awaited
    }

    /// What came; nobody sends any more.
    pub fn close(self) -> Result<Received> {
        self.shared.told.store(true, Ordering::Relaxed);
        let died = |_| Err(anyhow!("the collector's thread died"));
        self.thread.join().unwrap_or_else(died)
    }
}

fn read(socket: &UdpSocket, shared: &Arc<Shared>, awaited: u64) -> Result<Received> {
    let mut received = Received {
        awaited,
        ..Received::default()
    };
    let mut buffer = vec![0; 1 << 16];
    loop {
        match socket.recv(&mut buffer) {
            Ok(octets) => {
                let now_ns = Now::read().monotonic_ns;
                received.take(&buffer[..octets], now_ns);
                shared.records.store(received.records, Ordering::Relaxed);
                shared.latest_ns.store(now_ns, Ordering::Relaxed);
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                // Told to, or left alone.
                if shared.told.load(Ordering::Relaxed) || Arc::strong_count(shared) == 1 {
                    break;
                }
            }
            Err(error) => return Err(error).context("the collector's socket"),
        }
    }
    // The number that SO_RXQ_OVFL hands out with the next datagram, after which there is none.
    let sockets = fs::read_to_string("/proc/thread-self/net/udp")?;
    received.kernel_drops =
        drops_in(&sockets, PORT).context("the kernel does not show the socket")?;
    Ok(received)
}

impl Received {
    fn take(&mut self, datagram: &[u8], now_ns: u64) {
        self.datagrams += 1;
        self.first_ns.get_or_insert(now_ns);
        if self.parse(datagram).is_none() {
            self.unreadable += 1;
        }
        if self.records >= self.awaited {
            self.complete_ns.get_or_insert(now_ns);
        }
    }

    /// Counts records; `None` if not all could be.
    fn parse(&mut self, datagram: &[u8]) -> Option<()> {
        let header = v9::decode_header(datagram).ok()?;
        let expected = self.next_sequence.unwrap_or(header.sequence);
        let ahead = header.sequence.wrapping_sub(expected);
        // Half of the numbers are behind: those of a datagram that comes late.
        if ahead < 1 << 31 {
            self.missing += u64::from(ahead);
            self.next_sequence = Some(header.sequence.wrapping_add(1));
        }
        let mut whole = Some(());
        for set in v9::decode_sets(datagram).ok()? {
            match set {
                Set::Templates(found) => {
                    let templates = found.iter().filter_map(Definition::template);
                    self.templates
                        .extend(templates.map(|template| (template.id(), template.clone())));
                }
                Set::Data { id, octets } => match self.templates.get(&id) {
                    Some(template) if template.is_options() => {}
                    Some(template) => match template.record_count(octets) {
                        Some(count) => self.records += count as u64,
                        None => whole = None,
                    },
                    None => whole = None,
                },
                Set::Reserved => whole = None,
            }
        }
        whole
    }
}

/// The last column of a port's line in `/proc/net/udp`.
pub fn drops_in(sockets: &str, port: u16) -> Option<u64> {
    line_of(sockets, port)?
        .split_whitespace()
        .last()?
        .parse()
        .ok()
}

/// Octets that wait in a port's receive buffer, from the same line.
pub fn queued_in(sockets: &str, port: u16) -> Option<u64> {
    let queues = line_of(sockets, port)?.split_whitespace().nth(4)?;
    let (_, received) = queues.split_once(':')?;
    u64::from_str_radix(received, 16).ok()
}

fn line_of(sockets: &str, port: u16) -> Option<&str> {
    let ending = format!(":{port:04X}");
    sockets.lines().find(|line| {
        let local = line.split_whitespace().nth(1);
        local.is_some_and(|local| local.ends_with(&ending))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_netflow::{ExportTime, Layout, set};

    /// A datagram of some records of the IPv4 template, with it or without.
    fn datagram(sequence: u32, templates: bool, records: usize) -> Vec<u8> {
        let header = v9::Header {
            count: 0,
            time: ExportTime {
                unix_ns: 0,
                uptime_ms: 0,
            },
            sequence,
            source_id: 0,
        };
        let mut datagram = v9::encode_header(&header).to_vec();
        let mut set = |id: u16, body: &[u8]| {
            let octets = u16::try_from(set::HEADER_OCTETS + body.len()).unwrap();
            datagram.extend_from_slice(&id.to_be_bytes());
            datagram.extend_from_slice(&octets.to_be_bytes());
            datagram.extend_from_slice(body);
        };
        let flows = v9::templates(&Layout::WEIR).v4;
        if templates {
            let mut definition = Vec::new();
            flows.encode_definition(&mut definition);
            set(v9::TEMPLATE_SET, &definition);
        }
        set(flows.id, &vec![0; records * flows.record_octets()]);
        datagram
    }

    #[test]
    fn records_and_gaps_are_counted() {
        let mut received = Received {
            awaited: 5,
            ..Received::default()
        };
        received.take(&datagram(7, true, 3), 100);
        assert_eq!((received.records, received.complete_ns), (3, None));
        received.take(&datagram(8, false, 2), 200);
        received.take(&datagram(11, false, 1), 300);
        // One is late, the next is in order again.
        received.take(&datagram(9, false, 1), 400);
        received.take(&datagram(12, false, 1), 500);
        assert_eq!((received.datagrams, received.records), (5, 8));
        assert_eq!((received.missing, received.unreadable), (2, 0));
        assert_eq!(received.first_ns, Some(100));
        assert_eq!(received.complete_ns, Some(200));
    }

    #[test]
    fn what_cannot_be_read_is_counted_as_such() {
        let mut received = Received::default();
        received.take(&[0; 3], 1);
        received.take(&datagram(0, false, 2), 2);
        assert_eq!((received.unreadable, received.records), (2, 0));
    }

    #[test]
    fn the_kernels_drops_are_the_last_column_of_the_ports_line() {
        let sockets = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n  102: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 11 2 0000000000000000 9\n 2055: 0100007F:0807 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 12 2 0000000000000000 252\n";
        assert_eq!(drops_in(sockets, 2055), Some(252));
        assert_eq!(drops_in(sockets, 68), Some(9));
        assert_eq!(drops_in(sockets, 2056), None);
        assert_eq!(queued_in(sockets, 2055), Some(0));
        let full = sockets.replace("00000000:00000000 00:", "00000000:00000D00 00:");
        assert_eq!(queued_in(&full, 2055), Some(0xd00));
    }
}
