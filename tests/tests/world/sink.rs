//! A collector that keeps every datagram, and what the datagrams say.

use std::{
    collections::HashMap,
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use weir_netflow::{
    FlowRecord, Malformed, TimeBase, data, fixed, ipfix, options,
    set::{Definition, Set},
    template::Template,
    v9,
};
use weir_tests::{
    sent::{Datagrams, receive},
    wire,
};

use super::{COLLECTOR, DELIVERED, inside};

/// A collector that keeps datagrams as they are.
pub struct Sink {
    told: Arc<AtomicBool>,
    thread: thread::JoinHandle<Datagrams>,
}

impl Sink {
    /// Listens at [`COLLECTOR`] in a namespace.
    pub fn open(namespace: &str) -> Self {
        Self::at(namespace, COLLECTOR)
    }

    /// Listens at an address in a namespace.
    pub fn at(namespace: &str, address: &str) -> Self {
        let told = Arc::new(AtomicBool::new(false));
        let told_too = Arc::clone(&told);
        let socket = inside(namespace, || UdpSocket::bind(address).unwrap());
        socket.set_read_timeout(Some(DELIVERED)).unwrap();
        wire::enlarge_buffer(&socket).unwrap();
        let thread = thread::spawn(move || receive(&socket, &told_too));
        Self { told, thread }
    }

    /// What came; nobody sends any more.
    pub fn close(self) -> Datagrams {
        self.told.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }

    pub fn decode(self) -> Decoded {
        Decoded::of(&self.close())
    }
}

type Templates = HashMap<u16, Template>;

/// What a collector that starts without templates makes of datagrams.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The directions of a record that has both are two.
    pub records: Vec<FlowRecord>,
    /// Of each datagram: its sequence number, the count it claims, and what was found in it. IPFIX
    /// claims no count, and numbers data records: both are those found. v1 has no number: 0.
    pub counts: Vec<(u32, usize, usize)>,
    /// Records of options, and those of them that say how packets were chosen.
    pub announced: usize,
    pub of_sampling: usize,
    /// What they told last of what was counted, by [`options::COUNTERS`]' names.
    pub counters: HashMap<&'static str, u64>,
    /// What they told interfaces are called, by ifIndex.
    pub interfaces: HashMap<u32, String>,
    /// Datagrams that came before their templates.
    pub unreadable: usize,
}

impl Decoded {
    pub fn of(datagrams: &[Vec<u8>]) -> Self {
        let (mut decoded, mut templates) = (Self::default(), HashMap::new());
        for datagram in datagrams {
            let counts = match u16::from_be_bytes([datagram[0], datagram[1]]) {
                v9::VERSION => decoded.v9(datagram, &mut templates),
                ipfix::VERSION => decoded.ipfix(datagram, &mut templates),
                _ => decoded.fixed(datagram),
            };
            decoded.counts.push(counts);
        }
        decoded
    }

    fn fixed(&mut self, datagram: &[u8]) -> (u32, usize, usize) {
        let found = fixed::decode(datagram).unwrap();
        let before = self.records.len();
        found.for_each(|record| self.records.push(record));
        let claimed = u16::from_be_bytes([datagram[2], datagram[3]]);
        let count = self.records.len() - before;
        (found.sequence.unwrap_or(0), claimed.into(), count)
    }

    fn v9(&mut self, datagram: &[u8], templates: &mut Templates) -> (u32, usize, usize) {
        let header = v9::decode_header(datagram).unwrap();
        let sets = v9::decode_sets(datagram);
        let (defined, data) = self.sets(sets, header.time_base(), templates);
        (header.sequence, header.count.into(), defined + data)
    }

    fn ipfix(&mut self, datagram: &[u8], templates: &mut Templates) -> (u32, usize, usize) {
        let header = ipfix::decode_header(datagram).unwrap();
        let sets = ipfix::decode_sets(datagram);
        let (_, data) = self.sets(sets, header.time_base(None), templates);
        (header.sequence, data, data)
    }

    /// Takes the sets; the numbers of templates and of data records in them.
    fn sets(
        &mut self,
        sets: Result<Vec<Set<'_>>, Malformed>,
        base: TimeBase,
        templates: &mut Templates,
    ) -> (usize, usize) {
        let (mut defined, mut data, mut readable) = (0, 0, true);
        for set in sets.unwrap() {
            match set {
                Set::Templates(new) => {
                    defined += new.len();
                    for definition in new {
                        let Definition::Template(template) = definition else {
                            panic!("{definition:?}");
                        };
                        templates.insert(template.id(), template);
                    }
                }
                Set::Data { id, octets } => match templates.get(&id) {
                    Some(template) => {
                        data += template.record_count(octets).unwrap();
                        if template.is_options() {
                            self.take_options(template, octets);
                            continue;
                        }
                        for record in data::records(template, octets, base) {
                            self.records.push(record.flow);
                            self.records.extend(record.reverse());
                        }
                    }
                    None => readable = false,
                },
                Set::Reserved => panic!("a reserved set"),
            }
        }
        self.unreadable += usize::from(!readable);
        (defined, data)
    }

    fn take_options(&mut self, template: &Template, octets: &[u8]) {
        for record in template.records(octets) {
            let said = options::read(template, record);
            self.announced += 1;
            self.of_sampling += usize::from(said.sampling.is_some());
            for ((_, name), count) in options::COUNTERS.into_iter().zip(said.counters) {
                self.counters.extend(count.map(|count| (name, count)));
            }
            if let Some(interface) = said.interface {
                let name = options::text(interface.name);
                self.interfaces.insert(interface.ifindex, name);
            }
        }
    }

    /// Packets and octets of all records.
    pub fn sums(&self) -> (u64, u64) {
        let records = self.records.iter();
        records.fold((0, 0), |(packets, octets), record| {
            (packets + record.packets, octets + record.octets)
        })
    }
}
