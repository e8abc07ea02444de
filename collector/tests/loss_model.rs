//! Datagrams numbered by either rule are dropped, doubled, delayed and begun anew as a seed says; what
//! the account reports must be what was done to them, to the unit.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use weir_collector::loss::{Counts, Numbered, Numbering, Sequence, Step};
use weir_tests::traffic::Random;

const DOMAINS: usize = 3;
const SEEDS: u64 = 300;

/// What a network does to datagrams, in percent; and how far it delays, in datagrams.
#[derive(Clone, Copy, Debug)]
struct Network {
    loss: u64,
    duplication: u64,
    delay: u64,
    delay_max: u64,
}

impl Network {
    fn draw(random: &mut Random) -> Self {
        Self {
            loss: pick(random, &[0, 2, 10, 30]),
            duplication: pick(random, &[0, 5, 20]),
            delay: pick(random, &[0, 10, 30]),
            delay_max: pick(random, &[0, 5, 40]),
        }
    }
}

fn pick(random: &mut Random, from: &[u64]) -> u64 {
    from[usize::try_from(random.below(from.len() as u64)).unwrap()]
}

fn percent(random: &mut Random, percent: u64) -> bool {
    random.below(100) < percent
}

/// An exporter's domain.
struct Exporter {
    numbering: Numbering,
    /// When it sends next, and when it booted, milliseconds.
    now_ms: u64,
    boot_ms: u64,
    /// The number of its next datagram; what is on the wire has 32 bits.
    number: u64,
}

/// A datagram on its way.
#[derive(Clone, Copy)]
struct Arrival {
    arrived_ms: u64,
    domain: usize,
    /// Which start of the exporter, and which of its datagrams.
    start: usize,
    index: usize,
    number: u64,
    datagram: Numbered,
}

impl Exporter {
    fn draw(numbering: Numbering, random: &mut Random) -> Self {
        let now_ms = 1_700_000_000_000;
        let uptime_ms = pick(random, &[5_000_000, u64::from(u32::MAX) - 200]);
        let before_wrap = (50 + random.below(100)) * numbering_units(numbering);
        let number = if random.below(2) == 0 {
            (1 << 32) - before_wrap
        } else {
            random.below(1000)
        };
        Self {
            numbering,
            now_ms,
            boot_ms: now_ms - uptime_ms,
            number,
        }
    }

    /// Sends some hundred datagrams; what arrives of them.
    fn run(&mut self, network: Network, random: &mut Random) -> Vec<Arrival> {
        let count = 200 + random.below(300);
        let burst = (random.below(2) == 0).then(|| 100 + random.below(count - 120));
        let mut arrivals = Vec::new();
        for index in 0..count {
            if burst == Some(index) {
                // Many are lost at once; what was delayed before arrives meanwhile.
                self.number += pick(random, &[10, 3000, 20_000]) * numbering_units(self.numbering);
                self.now_ms += 2000;
            }
            let units = match self.numbering {
                Numbering::Datagrams => 1,
                // Some carry only templates.
                _ if percent(random, 5) => 0,
                _ => 1 + random.below(30),
            };
            let mut copies = u64::from(!percent(random, network.loss));
            if copies > 0 && percent(random, network.duplication) {
                copies += 1 + random.below(2);
            }
            for copy in 0..copies {
                let delayed = copy > 0 || percent(random, network.delay);
                let delay = if delayed {
                    random.below(network.delay_max + 1)
                } else {
                    0
                };
                arrivals.push(self.arrival(index, units, delay));
            }
            self.number += units;
            self.now_ms += 1;
        }
        arrivals
    }

    fn arrival(&self, index: u64, units: u64, delay_ms: u64) -> Arrival {
        let sent_ms = match self.numbering {
            // v9 headers have whole seconds.
            Numbering::Datagrams => self.now_ms / 1000 * 1000,
            _ => self.now_ms,
        };
        let arrived_ms = self.now_ms + delay_ms;
        Arrival {
            arrived_ms,
            domain: 0,
            start: 0,
            index: usize::try_from(index).unwrap(),
            number: self.number,
            datagram: Numbered {
                sequence: weir_netflow::low32(self.number),
                units: u32::try_from(units).unwrap(),
                units_unread: 0,
                other: None,
                sent_ms,
                uptime_ms: Some(weir_netflow::low32(self.now_ms - self.boot_ms)),
                arrived_ms,
                port: 2055,
            },
        }
    }

    /// Ten seconds or a minute later its numbers begin anew; its boot time may be the same.
    fn restart(&mut self, random: &mut Random) {
        self.now_ms += pick(random, &[10_000, 60_000]);
        if percent(random, 60) {
            self.boot_ms = self.now_ms - pick(random, &[50, 1000, 200_000]);
        }
        self.number = random.below(3);
    }
}

/// Units of a datagram, about.
fn numbering_units(numbering: Numbering) -> u64 {
    match numbering {
        Numbering::Datagrams | Numbering::Samples => 1,
        Numbering::Records | Numbering::RecordsEitherWay => 15,
    }
}

/// What was done to a stream, as far as a receiver can know: between the first datagram that arrived
/// after a start and the last.
#[derive(Default)]
struct Truth {
    counts: Counts,
    start: usize,
    first: usize,
    /// Number of the unit after the first datagram, and units with higher numbers that arrived.
    base: u64,
    arrived: u64,
    /// The highest datagram that arrived, and the number after it.
    top: Option<(usize, u64)>,
    seen: Vec<bool>,
    lost_before: u64,
}

impl Truth {
    fn take(&mut self, arrival: &Arrival) {
        let units = u64::from(arrival.datagram.units);
        if arrival.start != self.start {
            let restarts = self.counts.restarts + 1;
            let counts = Counts {
                restarts,
                ..self.counts
            };
            *self = Self {
                counts,
                start: arrival.start,
                lost_before: counts.lost,
                ..Self::default()
            };
        }
        if self.seen.len() <= arrival.index {
            self.seen.resize(arrival.index + 1, false);
        }
        let again = std::mem::replace(&mut self.seen[arrival.index], true);
        let end = arrival.number + units;
        let Some((top, top_end)) = self.top else {
            self.first = arrival.index;
            self.base = end;
            self.top = Some((arrival.index, end));
            return;
        };
        if again {
            self.counts.duplicated += u64::from(units > 0);
            return;
        }
        if arrival.index > self.first {
            self.arrived += units;
        }
        if arrival.index < top {
            self.counts.reordered += u64::from(units > 0);
        } else {
            self.top = Some((arrival.index, end));
        }
        let reached = if arrival.index < top { top_end } else { end };
        self.counts.lost = self.lost_before + reached - self.base - self.arrived;
    }
}

/// Plays a seed: what was reported and what was done, for each domain.
fn play(seed: u64, numbering: Numbering) -> Vec<(Counts, Counts)> {
    let mut random = Random::new(seed);
    let network = Network::draw(&mut random);
    let mut arrivals = Vec::new();
    for domain in 0..DOMAINS {
        let mut exporter = Exporter::draw(numbering, &mut random);
        for start in 0..=usize::try_from(random.below(3)).unwrap() {
            if start > 0 {
                exporter.restart(&mut random);
            }
            let run = exporter.run(network, &mut random);
            arrivals.extend(run.into_iter().map(|arrival| Arrival {
                domain,
                start,
                ..arrival
            }));
        }
    }
    // Those that arrive together arrive in the order in which they were sent.
    arrivals.sort_by_key(|arrival| arrival.arrived_ms);
    let mut accounts: Vec<_> = (0..DOMAINS)
        .map(|_| (Sequence::new(numbering), Truth::default()))
        .collect();
    for arrival in &arrivals {
        let (sequence, truth) = &mut accounts[arrival.domain];
        sequence.step(&arrival.datagram);
        truth.take(arrival);
    }
    let counts = |(sequence, truth): &(Sequence, Truth)| (sequence.counts(), truth.counts);
    accounts.iter().map(counts).collect()
}

#[test]
fn c15_reported_is_what_was_done() {
    let mut done = Counts::default();
    for numbering in [Numbering::Datagrams, Numbering::Records] {
        for seed in 0..SEEDS {
            for (domain, (reported, truth)) in play(seed, numbering).into_iter().enumerate() {
                assert_eq!(
                    reported, truth,
                    "{numbering:?}, seed {seed}, domain {domain}"
                );
                done.lost += truth.lost;
                done.reordered += truth.reordered;
                done.duplicated += truth.duplicated;
                done.restarts += truth.restarts;
            }
        }
    }
    // The seeds did draw all of it.
    assert!(
        done.lost > 1_000_000 && done.reordered > 1000 && done.duplicated > 1000,
        "{done:?}"
    );
    assert!(done.restarts > 500, "{done:?}");
}

/// A stranger sends numbers from anywhere, one at a time: nothing but the doubtful count moves.
#[test]
fn c10_forged_numbers_between_real_ones_move_no_count() {
    for seed in 0..50 {
        let mut random = Random::new(seed);
        let mut exporter = Exporter::draw(Numbering::Records, &mut random);
        let mut sequence = Sequence::new(Numbering::Records);
        let mut forged = 0;
        for index in 0..300 {
            let real = exporter.arrival(index, 30, 0).datagram;
            assert_eq!(sequence.step(&real), Step::InOrder, "seed {seed}");
            exporter.number += 30;
            exporter.now_ms += 1;
            let sequence_far = real.sequence.wrapping_add(1 << 20);
            let far = u32::try_from(random.below(1 << 31)).unwrap();
            let step = sequence.step(&Numbered {
                sequence: sequence_far.wrapping_add(far),
                ..real
            });
            assert_eq!(step, Step::Doubtful, "seed {seed}");
            forged += 1;
        }
        let expected = Counts {
            doubtful: forged,
            ..Counts::default()
        };
        assert_eq!(sequence.counts(), expected, "seed {seed}");
    }
}
