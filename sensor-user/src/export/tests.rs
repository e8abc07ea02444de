//! Records through the thread, by carriers that fail in one way or another.

use std::{io, sync::atomic::AtomicU32, time::Duration};

use weir_exporter::{
    Version,
    batch::BatchOptions,
    destination::{Carrier, Rest, Sent},
};

use super::*;
use crate::pair::Pairing;

/// Takes some datagrams and panics at the next.
#[derive(Debug)]
struct Fuse {
    left: u32,
}

impl Carrier for Fuse {
    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], 2055).into()
    }

    fn send(&mut self, _octets: &[u8]) -> Sent {
        assert!(self.left > 0, "meant to happen: the fuse has burnt down");
        self.left -= 1;
        Sent::Yes { refusals: 0 }
    }

    fn allow_fragments(&mut self) {}
}

/// Takes so many octets at once.
#[derive(Debug)]
struct Narrow {
    octets_max: usize,
}

impl Carrier for Narrow {
    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], 2055).into()
    }

    fn send(&mut self, octets: &[u8]) -> Sent {
        if octets.len() <= self.octets_max {
            return Sent::Yes { refusals: 0 };
        }
        Sent::TooLong {
            refusals: 0,
            octets_max: self.octets_max,
        }
    }

    fn allow_fragments(&mut self) {
        self.octets_max = usize::MAX;
    }
}

/// Takes messages in two pieces; the second one's connection ends in between, if it `tears`.
#[derive(Debug)]
struct Pieces {
    tears: bool,
    sends: u32,
    rest: Rest,
}

impl Carrier for Pieces {
    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], 2055).into()
    }

    fn send(&mut self, _octets: &[u8]) -> Sent {
        self.sends += 1;
        self.rest = Rest::UnderWay;
        match self.sends {
            3 if self.tears => {
                self.rest = Rest::Cut;
                let error = io::ErrorKind::ConnectionReset.into();
                Sent::No { refusals: 1, error }
            }
            4 if self.tears => {
                self.rest = Rest::Left;
                Sent::Anew
            }
            _ => Sent::Yes { refusals: 0 },
        }
    }

    fn rest(&self) -> Rest {
        self.rest
    }

    fn allow_fragments(&mut self) {}

    fn finish(&mut self) {
        self.rest = Rest::Left;
    }
}

/// Takes everything, and notes how often it may wait again, and how long with the last.
#[derive(Clone, Debug, Default)]
struct Patient {
    sends: Arc<AtomicU32>,
    times: Arc<AtomicU32>,
    long: Arc<Mutex<Vec<Duration>>>,
}

impl Carrier for Patient {
    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], 2055).into()
    }

    fn send(&mut self, _octets: &[u8]) -> Sent {
        self.sends.fetch_add(1, Ordering::Relaxed);
        Sent::Yes { refusals: 0 }
    }

    fn allow_fragments(&mut self) {}

    fn may_wait_again(&mut self) {
        self.times.fetch_add(1, Ordering::Relaxed);
    }

    fn may_wait_long(&mut self, waiting: Duration) {
        self.long.lock().unwrap().push(waiting);
    }
}

fn v9() -> How {
    How::new(BatchOptions::new(Version::V9))
}

fn in_turn() -> How {
    How {
        in_turn: true,
        ..v9()
    }
}

fn export_by(carrier: impl Carrier + 'static) -> Export {
    let lane = Lane::new(v9().batch, Some(Box::new(carrier)));
    Export::spawn(vec![lane], &v9(), Clock::Live).unwrap()
}

fn push(export: &mut Export, records: u64) {
    let now = Now::read();
    for _ in 0..records {
        let record = FlowRecord {
            packets: 3,
            octets: 200,
            ..FlowRecord::default()
        };
        export.push(record, &now);
    }
    export.hand_over(&now);
}

#[test]
fn who_shares_the_thread_may_wait_again_now_and_then_only() {
    let counts = |others: u32, clock: Clock| {
        let patient = Patient::default();
        let mut lanes = vec![Lane::new(v9().batch, Some(Box::new(patient.clone())))];
        for _ in 0..others {
            let fuse = Fuse { left: u32::MAX };
            lanes.push(Lane::new(v9().batch, Some(Box::new(fuse))));
        }
        let mut export = Export::spawn(lanes, &v9(), clock).unwrap();
        push(&mut export, 5000);
        assert!(!export.finish(&Now::read()).1);
        let count = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
        (count(&patient.sends), count(&patient.times))
    };
    let (sends, times) = counts(1, Clock::Live);
    // A machine that is very slow takes seconds.
    assert!(times > 0 && times < sends / 4, "{times} of {sends}");
    for (others, clock) in [(0, Clock::Live), (1, Clock::Packets)] {
        let (sends, times) = counts(others, clock);
        assert_eq!(sends, times, "{others} {clock:?}");
    }
}

#[test]
fn with_what_is_exported_last_collectors_share_one_long_wait() {
    for others in [0, 2] {
        let patient = Patient::default();
        let mut lanes = vec![Lane::new(v9().batch, Some(Box::new(patient.clone())))];
        for _ in 0..others {
            let fuse = Fuse { left: u32::MAX };
            lanes.push(Lane::new(v9().batch, Some(Box::new(fuse))));
        }
        let mut export = Export::spawn(lanes, &v9(), Clock::Live).unwrap();
        export.begin_last();
        push(&mut export, 5000);
        assert!(!export.finish(&Now::read()).1);
        let long = patient.long.lock().unwrap().clone();
        assert_eq!(long, [exporter::LAST_WAITING / (others + 1)]);
        assert_eq!(patient.times.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn what_a_dead_thread_did_not_send_is_counted() {
    let mut export = export_by(Fuse { left: 2 });
    push(&mut export, 5000);
    while !export.is_dead() {
        thread::sleep(Duration::from_millis(1));
    }
    // More than the channel holds: nobody may wait for a dead thread.
    push(&mut export, 100_000);
    let (exported, died) = export.finish(&Now::read());
    let [Exported { counters, .. }] = exported[..] else {
        panic!("{exported:?}")
    };
    assert!(died && counters.datagrams_sent == 2);
    assert_eq!(counters.records.records, 105_000);
    let (sent, lost) = (counters.records_exported, counters.records_lost);
    assert!(sent.records > 0 && lost.records > 100_000, "{counters:?}");
    for some in [sent, lost] {
        let expected = (3 * some.records, 200 * some.records);
        assert_eq!((some.packets, some.octets), expected);
    }
    assert_eq!(sent.records + lost.records, 105_000);
}

#[test]
fn a_thread_that_dies_of_its_last_datagram_is_noticed() {
    let mut export = export_by(Fuse { left: 0 });
    push(&mut export, 1);
    let (exported, died) = export.finish(&Now::read());
    assert!(died);
    assert_eq!(exported[0].counters.records_lost.packets, 3);
}

#[test]
fn a_thread_that_lives_loses_nothing() {
    let mut export = export_by(Fuse { left: 1000 });
    push(&mut export, 5000);
    assert!(!export.is_dead());
    let (exported, died) = export.finish(&Now::read());
    assert!(!died);
    assert_eq!(exported[0].counters.records_exported.records, 5000);
    assert_eq!(exported[0].counters.records_lost, Tally::default());
}

/// Nothing else has them leave this soon: they are too few for a datagram, and not a second old.
#[test]
fn a_flush_has_records_leave_and_be_accounted_at_once() {
    let mut export = export_by(Fuse { left: 1 });
    push(&mut export, 5);
    export.flush(&Now::read());
    let counters = export.progress()[0].counters;
    assert_eq!(
        (counters.datagrams_sent, counters.records_exported.records),
        (1, 5)
    );
    // A thread that dies of it, or is dead, is not waited for.
    for _ in 0..2 {
        push(&mut export, 1);
        export.flush(&Now::read());
    }
    let (exported, died) = export.finish(&Now::read());
    assert!(died);
    assert_eq!(exported[0].counters.records_lost.records, 2);
}

#[test]
fn each_destination_gets_what_came_while_it_was_one() {
    let listen = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let (one, two) = (listen(), listen());
    let [first, second] = [&one, &two].map(|socket| socket.local_addr().unwrap());
    let mut export = Export::start(&[first], &v9(), Clock::Live).unwrap();
    let now = Now::read();
    push(&mut export, 100);
    let both = export.redirect(&[first, second], &now).unwrap();
    assert_eq!((both.added, both.ended), (vec![second], vec![]));
    push(&mut export, 10);
    let other = export.redirect(&[second], &now).unwrap();
    assert_eq!((other.added, other.ended), (vec![], vec![first]));
    push(&mut export, 1);
    let again = export.redirect(&[second, first], &now).unwrap();
    assert_eq!((again.added, again.ended), (vec![first], vec![]));
    push(&mut export, 1000);
    assert_eq!(
        export.redirect(&[second, first], &now).unwrap(),
        Redirected::default()
    );
    assert_eq!(export.known[0].total(export.given).records, 1110);
    assert_eq!(export.known[1].total(export.given).records, 1011);
    let (exported, died) = export.finish(&now);
    assert!(!died);
    let whole = Exported::whole(&exported);
    assert_eq!((whole.records.records, whole.records.packets), (1111, 3333));
    let sent = whole.records_exported.records + whole.records_unsent.records;
    assert_eq!((sent, exported.len()), (1111, 2));
    for (exported, (address, records)) in exported.iter().zip([(first, 1110), (second, 1011)]) {
        let counters = exported.counters;
        assert_eq!(exported.address, Some(address));
        assert!(exported.is_partial);
        assert_eq!(counters.records.records, records);
        let sent = counters.records_exported.records + counters.records_unsent.records;
        assert_eq!(sent, records);
    }
}

/// The account of the whole goes on when the only destination makes way for another, and if the thread dies then.
#[test]
fn the_whole_goes_on_with_another_destination() {
    for (left, dies) in [(1000, false), (10, true)] {
        let mut export = export_by(Fuse { left });
        let listener = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let other = listener.local_addr().unwrap();
        push(&mut export, 100);
        export.redirect(&[other], &Now::read()).unwrap();
        push(&mut export, 1000);
        export.flush(&Now::read());
        let told = Exported::whole(&export.progress());
        assert_eq!(told.records.records, 1100);
        let first = ([127, 0, 0, 1], 2055).into();
        export.redirect(&[other, first], &Now::read()).unwrap();
        push(&mut export, 10);
        export.redirect(&[first], &Now::read()).unwrap();
        push(&mut export, 5000);
        let (exported, died) = export.finish(&Now::read());
        assert_eq!(died, dies);
        let whole = Exported::whole(&exported);
        let sent = whole.records_exported.records + whole.records_unsent.records;
        assert_eq!(whole.records.records, 6110);
        assert_eq!(sent + whole.records_lost.records, 6110);
        assert_eq!(whole.records_lost.records > 0, dies);
    }
}

/// Fault case X4: whoever asks for templates, or has settings read again, has options data sent as well.
#[test]
fn x04_what_is_told_once_is_told_again_when_asked() {
    for (asks, announced) in [(false, 2), (true, 3)] {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let how = How {
            announces: true,
            ..v9()
        };
        let address = socket.local_addr().unwrap();
        let mut export = Export::start(&[address], &how, Clock::Live).unwrap();
        push(&mut export, 1);
        // What is told before the first records is there, so they are another batch than those after it.
        let mut buffer = [0; 2048];
        let (octets, _) = socket.recv_from(&mut buffer).unwrap();
        let mut told = usize::from(is_announcement(&buffer[..octets]));
        if asks {
            export.tell_again();
        }
        push(&mut export, 1);
        let (exported, _) = export.finish(&Now::read());
        for _ in 1..exported[0].counters.datagrams_sent {
            let (octets, _) = socket.recv_from(&mut buffer).unwrap();
            told += usize::from(is_announcement(&buffer[..octets]));
        }
        assert_eq!(told, announced, "{asks}");
    }
}

/// Whether a datagram of v9 defines options and nothing else, as each announcement does.
fn is_announcement(datagram: &[u8]) -> bool {
    use weir_netflow::{
        set::{Definition, Set},
        template::Template,
        v9,
    };
    let mut kinds = Vec::new();
    for set in v9::decode_sets(datagram).unwrap() {
        if let Set::Templates(new) = set {
            let new = new.iter().filter_map(Definition::template);
            kinds.extend(new.map(Template::is_options));
        }
    }
    !kinds.is_empty() && kinds.iter().all(|is_options| *is_options)
}

#[test]
fn directions_leave_together_or_in_one() {
    let now = Now::read();
    let record = |from: u16, to: u16| FlowRecord {
        source: [0, 0, 0, 0, 0, 0, 0, from].into(),
        destination: [0, 0, 0, 0, 0, 0, 0, to].into(),
        v6: true,
        packets: 1,
        octets: 100,
        ..FlowRecord::default()
    };
    for (pairing, records) in [
        (Pairing::Shared, 3 * 700),
        (Pairing::Biflow, 2 * 700),
        (Pairing::SoftflowdBiflow, 2 * 700),
    ] {
        let how = How {
            pairing: Some(pairing),
            ..How::new(BatchOptions::new(Version::Ipfix))
        };
        let mut export = Export::start(&[], &how, Clock::Live).unwrap();
        for number in 0..700 {
            export.push(record(2 * number + 2, 1), &now);
            export.push(record(1, 2 * number + 2), &now);
            export.push(record(2 * number + 3, 1), &now);
        }
        let (exported, _) = export.finish(&now);
        let counters = exported[0].counters;
        assert_eq!(counters.records.records, records, "{pairing:?}");
        assert_eq!(counters.records_exported.packets, 3 * 700);
        assert_eq!(counters.records_exported.octets, 300 * 700);
    }
}

#[test]
fn taking_turns_each_gets_a_share_and_together_all() {
    for (left, dies) in [(1000, false), (20, true)] {
        let lanes = (0..3).map(|_| Lane::new(v9().batch, Some(Box::new(Fuse { left }))));
        let mut export = Export::spawn(lanes.collect(), &in_turn(), Clock::Live).unwrap();
        push(&mut export, 5000);
        let (exported, died) = export.finish(&Now::read());
        assert_eq!(died, dies);
        let whole = Exported::whole(&exported);
        assert_eq!(
            (whole.records.records, whole.records.packets),
            (5000, 15_000)
        );
        let (sent, lost) = (whole.records_exported, whole.records_lost);
        assert_eq!(sent.records + lost.records, 5000);
        assert_eq!(lost.records > 0, dies);
        for one in exported {
            let datagrams = one.counters.datagrams_sent;
            assert!(datagrams * 3 + 6 > whole.datagrams_sent, "{whole:?}");
        }
    }
}

#[test]
fn turns_go_over_the_destinations_of_the_moment() {
    let listen = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let sockets = [listen(), listen(), listen()];
    let [one, two, three] = sockets
        .each_ref()
        .map(|socket| socket.local_addr().unwrap());
    let mut export = Export::start(&[one, two], &in_turn(), Clock::Live).unwrap();
    let now = Now::read();
    push(&mut export, 1000);
    export.redirect(&[two, three], &now).unwrap();
    push(&mut export, 1000);
    export.redirect(&[three], &now).unwrap();
    push(&mut export, 500);
    export.redirect(&[one, three], &now).unwrap();
    push(&mut export, 1000);
    let (exported, died) = export.finish(&now);
    assert!(!died && exported.len() == 3);
    let whole = Exported::whole(&exported);
    assert_eq!(
        (whole.records.records, whole.records.packets),
        (3500, 10_500)
    );
    let sent = whole.records_exported.records + whole.records_unsent.records;
    assert_eq!(sent, 3500);
    let [first, second, third] = [0, 1, 2].map(|lane| exported[lane].counters.records.records);
    // Of 2,000 each two had the half, and all was the third one's while it was alone.
    assert!(first > 800 && second > 800 && third > 1300, "{exported:?}");
}

/// A lane whose datagrams are full at no time has its turn, too.
#[test]
fn a_turn_ends_with_a_datagram_that_waited_long_enough() {
    let lanes = (0..2).map(|_| Lane::new(v9().batch, Some(Box::new(Fuse { left: 10 }))));
    let mut export = Export::spawn(lanes.collect(), &in_turn(), Clock::Packets).unwrap();
    for second in [0, 2, 4, 6] {
        let now = Now {
            unix_ns: 1_700_000_000_000_000_000 + second * 1_000_000_000,
            ..Now::default()
        };
        export.push(FlowRecord::default(), &now);
        export.hand_over(&now);
    }
    let (exported, died) = export.finish(&Now::default());
    assert!(!died);
    for one in exported {
        assert_eq!(one.counters.datagrams_sent, 2, "{one:?}");
    }
}

#[test]
fn a_narrow_path_loses_nothing() {
    for octets_max in [700, 100] {
        let mut export = export_by(Narrow { octets_max });
        push(&mut export, 5000);
        let (exported, _) = export.finish(&Now::read());
        let counters = exported[0].counters;
        assert_eq!(counters.records_exported.records, 5000);
        assert_eq!(counters.records_exported.packets, 3 * 5000);
        assert_eq!(counters.datagrams_shortened, 1);
        let mean = counters.datagram_octets / counters.datagrams_sent;
        assert!(mean <= 700, "{counters:?}");
    }
}

/// A message that was cut off was not sent, nor the one that found that out.
#[test]
fn messages_count_as_sent_once_all_of_them_left() {
    for (tears, unsent) in [(false, 0), (true, 2)] {
        let mut export = export_by(Pieces {
            tears,
            sends: 0,
            rest: Rest::Left,
        });
        push(&mut export, 5000);
        let (exported, died) = export.finish(&Now::read());
        let counters = exported[0].counters;
        assert!(!died && counters.datagrams_unsent == unsent, "{counters:?}");
        let (sent, lost) = (counters.records_exported, counters.records_unsent);
        assert_eq!(sent.records + lost.records, 5000);
        assert_eq!(lost.records > 0, tears);
        assert_eq!(counters.records_lost, Tally::default());
    }
}
