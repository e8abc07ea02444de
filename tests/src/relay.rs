//! A UDP relay between an exporter and collectors that drops, doubles and delays datagrams as a seed
//! says, and writes down what it did; and what a collector can know of that.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::traffic::Random;

/// When nothing has come for that long, nothing is held back any more.
pub const QUIET: Duration = Duration::from_millis(100);
/// How many datagrams may wait in the relay's own buffer: few enough for any buffer size.
const WAITING_MAX: usize = 64;

/// What befalls datagrams, in percent of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mishaps {
    /// They vanish.
    pub loss: u64,
    /// They arrive twice.
    pub duplication: u64,
    /// Up to `delay_max` others overtake them.
    pub delay: u64,
    /// Datagrams that may overtake one.
    pub delay_max: u64,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Datagrams that came in.
    pub taken: usize,
    /// Those that went out, by number, in the order in which they did.
    pub delivered: Vec<usize>,
}

/// A relay, on a thread of its own.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    told: Arc<AtomicBool>,
    taken: Arc<AtomicUsize>,
    thread: thread::JoinHandle<io::Result<Ledger>>,
}

impl Relay {
    /// Starts one on a loopback port; each datagram goes to all targets.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn start(targets: &[SocketAddr], mishaps: Mishaps, seed: u64) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(QUIET))?;
        let address = socket.local_addr()?;
        let told = Arc::new(AtomicBool::new(false));
        let taken = Arc::new(AtomicUsize::new(0));
        let thread = thread::spawn({
            let (told, taken) = (Arc::clone(&told), Arc::clone(&taken));
            let targets = targets.to_vec();
            move || run(&socket, &targets, mishaps, seed, &told, &taken)
        });
        Ok(Self {
            address,
            told,
            taken,
            thread,
        })
    }

    /// Waits until the relay, to which so many datagrams were sent, has taken all but a few: a busy machine
    /// then delays a test instead of overflowing the relay's buffer. Returns too if the relay is dead.
    pub fn keep_up(&self, sent: usize) {
        while sent > self.taken.load(Ordering::Relaxed) + WAITING_MAX && !self.thread.is_finished()
        {
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// Where it takes datagrams.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it once nothing comes any more.
    ///
    /// # Errors
    /// What the operating system said meanwhile.
    pub fn finish(self) -> io::Result<Ledger> {
        self.told.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| io::Error::other("the relay's thread died"))?
    }
}

fn run(
    socket: &UdpSocket,
    targets: &[SocketAddr],
    mishaps: Mishaps,
    seed: u64,
    told: &AtomicBool,
    taken: &AtomicUsize,
) -> io::Result<Ledger> {
    let mut fate = Fate::new(mishaps, seed);
    let mut ledger = Ledger::default();
    let mut buffer = vec![0; 65_536];
    loop {
        let due = match socket.recv(&mut buffer) {
            Ok(octets) => {
                ledger.taken += 1;
                taken.store(ledger.taken, Ordering::Relaxed);
                fate.take(&buffer[..octets])
            }
            Err(error) if is_quiet(&error) => {
                let due = fate.release();
                if due.is_empty() && told.load(Ordering::Relaxed) {
                    return Ok(ledger);
                }
                due
            }
            Err(error) => return Err(error),
        };
        for (number, datagram) in due {
            for target in targets {
                socket.send_to(&datagram, target)?;
            }
            ledger.delivered.push(number);
        }
    }
}

fn is_quiet(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// Decides what becomes of each datagram, and holds back those that are delayed.
struct Fate {
    mishaps: Mishaps,
    random: Random,
    next: usize,
    /// Copies by when they are due (after which datagram), by number, and which copy.
    held: BTreeMap<(usize, usize, u64), Vec<u8>>,
}

impl Fate {
    fn new(mishaps: Mishaps, seed: u64) -> Self {
        Self {
            mishaps,
            random: Random::new(seed),
            next: 0,
            held: BTreeMap::new(),
        }
    }

    /// Takes the next datagram; those that are due then, in order.
    fn take(&mut self, datagram: &[u8]) -> Vec<(usize, Vec<u8>)> {
        let number = self.next;
        self.next += 1;
        let Mishaps {
            loss,
            duplication,
            delay,
            delay_max,
        } = self.mishaps;
        let is_lost = self.is_one_of(loss);
        let is_doubled = self.is_one_of(duplication);
        let copies = if is_lost {
            0
        } else {
            1 + u64::from(is_doubled)
        };
        for copy in 0..copies {
            let late = if copy > 0 || self.is_one_of(delay) {
                usize::try_from(self.random.below(delay_max + 1)).unwrap_or(0)
            } else {
                0
            };
            self.held
                .insert((number + late, number, copy), datagram.to_vec());
        }
        let later = self.held.split_off(&(number + 1, 0, 0));
        numbered(std::mem::replace(&mut self.held, later))
    }

    /// All that is held back, in order.
    fn release(&mut self) -> Vec<(usize, Vec<u8>)> {
        numbered(std::mem::take(&mut self.held))
    }

    fn is_one_of(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }
}

fn numbered(held: BTreeMap<(usize, usize, u64), Vec<u8>>) -> Vec<(usize, Vec<u8>)> {
    let held = held.into_iter();
    held.map(|((_, number, _), datagram)| (number, datagram))
        .collect()
}

/// What a sender knows of a datagram it gave to the relay.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Which of its numbered streams it is of.
    pub stream: u32,
    /// How often that had begun anew.
    pub start: u32,
    /// Units in it: its records, or 1 where datagrams are numbered.
    pub units: u64,
}

/// What was done to one stream, as far as a receiver can know: nobody can tell what was lost before the
/// first datagram that arrived after a start, or after the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// Units that never arrived.
    pub lost: u64,
    /// Datagrams that arrived after one that was sent later (RFC 4737).
    pub reordered: u64,
    /// Datagrams that arrived again.
    pub duplicated: u64,
    /// Times it began anew.
    pub restarts: u64,
    /// Units that arrived, once each.
    pub arrived: u64,
}

impl Ledger {
    /// What was done to each stream; `sent` are the datagrams that came in, in order.
    #[must_use]
    pub fn truths(&self, sent: &[Sent]) -> BTreeMap<u32, Truth> {
        let mut arrivals: BTreeMap<(u32, u32), Vec<usize>> = BTreeMap::new();
        for number in &self.delivered {
            let Sent { stream, start, .. } = sent[*number];
            arrivals.entry((stream, start)).or_default().push(*number);
        }
        let mut truths: BTreeMap<u32, Truth> = BTreeMap::new();
        for ((stream, start), numbers) in arrivals {
            let truth = truths.entry(stream).or_default();
            truth.restarts += u64::from(start > 0);
            let (first, mut top) = (numbers[0], numbers[0]);
            let mut seen = BTreeSet::new();
            for number in numbers {
                if !seen.insert(number) {
                    truth.duplicated += 1;
                } else if number < top {
                    truth.reordered += 1;
                }
                top = top.max(number);
            }
            let units = |number: usize| sent[number].units;
            truth.arrived += seen.iter().map(|number| units(*number)).sum::<u64>();
            let lost = (first..top).filter(|number| {
                (sent[*number].stream, sent[*number].start) == (stream, start)
                    && !seen.contains(number)
            });
            truth.lost += lost.map(units).sum::<u64>();
        }
        truths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_told_from_the_ledger() {
        let one = |start, units| Sent {
            stream: 7,
            start,
            units,
        };
        let other = Sent {
            stream: 8,
            start: 0,
            units: 100,
        };
        let sent = [
            one(0, 1),
            one(0, 2),
            other,
            one(0, 4),
            one(0, 8),
            one(1, 16),
            one(1, 32),
        ];
        // 0 and 6 never arrive, and nobody can know; 3 does not, and 2 is another's.
        let ledger = Ledger {
            taken: 7,
            delivered: vec![4, 1, 4, 1, 5],
        };
        let expected = Truth {
            lost: 0,
            reordered: 1,
            duplicated: 2,
            restarts: 1,
            arrived: 2 + 8 + 16,
        };
        assert_eq!(ledger.truths(&sent)[&7], expected);
        let ledger = Ledger {
            taken: 7,
            delivered: vec![1, 4, 2],
        };
        let expected = Truth {
            lost: 4,
            arrived: 10,
            ..Truth::default()
        };
        assert_eq!(ledger.truths(&sent)[&7], expected);
        assert_eq!(ledger.truths(&sent)[&8].lost, 0);
    }

    #[test]
    fn mishaps_happen_as_often_as_they_should() {
        let mishaps = Mishaps {
            loss: 10,
            duplication: 20,
            delay: 30,
            delay_max: 5,
        };
        let mut fate = Fate::new(mishaps, 3);
        let mut delivered = Vec::new();
        for number in 0..10_000u32 {
            delivered.extend(fate.take(&number.to_be_bytes()));
        }
        delivered.extend(fate.release());
        for (number, datagram) in &delivered {
            assert_eq!(datagram[..], u32::try_from(*number).unwrap().to_be_bytes());
        }
        let numbers: Vec<_> = delivered.iter().map(|(number, _)| *number).collect();
        let ledger = Ledger {
            taken: 10_000,
            delivered: numbers.clone(),
        };
        let sent = vec![
            Sent {
                stream: 0,
                start: 0,
                units: 1,
            };
            10_000
        ];
        let truth = ledger.truths(&sent)[&0];
        assert!((900..1100).contains(&truth.lost), "{truth:?}");
        assert!((1600..2000).contains(&truth.duplicated), "{truth:?}");
        assert!((1200..1700).contains(&truth.reordered), "{truth:?}");
        // None is held back for longer than it should be.
        let mut top = 0;
        for number in numbers {
            assert!(number + 5 >= top);
            top = top.max(number);
        }
    }

    #[test]
    fn a_relay_delivers_to_all_and_without_mishaps_everything() {
        let targets: Vec<_> = (0..2)
            .map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
            .collect();
        let addresses: Vec<_> = targets
            .iter()
            .map(|target| target.local_addr().unwrap())
            .collect();
        let relay = Relay::start(&addresses, Mishaps::default(), 1).unwrap();
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for number in 0..50u8 {
            sender.send_to(&[number], relay.address()).unwrap();
        }
        let ledger = relay.finish().unwrap();
        assert_eq!(ledger.taken, 50);
        assert_eq!(ledger.delivered, (0..50).collect::<Vec<_>>());
        for target in targets {
            let mut buffer = [0; 8];
            for number in 0..50u8 {
                assert_eq!(target.recv(&mut buffer).unwrap(), 1);
                assert_eq!(buffer[0], number);
            }
        }
    }
}
