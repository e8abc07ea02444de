//! `-r FILE`: a capture through the same walk, table, policy and export as live packets. Packet
//! time is the clock.

use std::{mem, ops::ControlFlow, path::Path, thread};

use anyhow::{Result, anyhow};
use crossbeam::channel::{Sender, bounded};
use weir_sensor_common::{
    Counter, Extra, Fields, Slot, Unmetered, Walked,
    slot::Sighting,
    table::{self, Outcome, Shape, WAYS, account_at, fetch_home, fetch_tags, find},
    tunnel::Tunnels,
};

use crate::{
    capture::{self, End, Frame},
    clock::Now,
    expiry::{Reason, Timeouts},
    export::Export,
    extras::Extras,
    fragments::Fragments,
    mapping::Mapping,
    prefilter::{FileFilter, run::Packet as Filterable},
    record::Recorder,
    signals::Interrupt,
    statistics::Statistics,
    sweep::{Sweep, Take, Taken},
    table::Table,
};

/// A gap between two packets after which nothing is held any more: a flow of the greatest age ([`crate::expiry`])
/// would else be older than slots' clocks can tell.
const GAP_MAX_NS: u64 = 6 * 86_400 * 1_000_000_000;
/// A clock that is set back more often tells no time; each time costs a look at the whole table.
const SET_BACK_MAX: u32 = 10_000;
/// The file's clock was set back if so many packets, one after the other, lie so far behind it. Fewer may be another
/// interface's, whose clock is a little slow.
const BEHIND_PACKETS: u32 = 1024;
const BEHIND_NS: u64 = 10 * 1_000_000_000;

/// Packets in a batch from the reading thread, and batches under way.
const BATCH: usize = 512;
const BATCHES_MAX: usize = 16;

/// A packet as the reading thread hands it over.
#[derive(Clone, Copy)]
struct Packet {
    unix_ns: u64,
    /// Whether its link layer is known, if that was asked.
    supported: bool,
    /// Its flow, or what counts that it is in none.
    walked: Result<Walked, Counter>,
}

/// Packets, and what lies beside each, if anything was asked for.
struct Batch {
    packets: Vec<Packet>,
    extras: Vec<Extra>,
}

impl Batch {
    fn new() -> Self {
        Self {
            packets: Vec::with_capacity(BATCH),
            extras: Vec::new(),
        }
    }
}

/// What is read of each packet.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Tunnels that are entered.
    pub tunnels: Tunnels,
    /// What is read beside the key; what the key needs must be among it.
    pub extra: Fields,
    /// One packet in so many is metered, at least 1.
    pub sampling: u32,
}

/// Reads the file, walks each frame's headers.
fn read(
    path: &Path,
    reading: Reading,
    interrupt: &Interrupt,
    mut filter: Option<FileFilter>,
    sender: &Sender<Batch>,
) -> Result<End> {
    let mut batch = Batch::new();
    let end = capture::read_until(path, Some(interrupt), |frame| {
        let wanted = match wants(filter.as_mut(), &frame) {
            Ok(wanted) => wanted,
            Err(reason) => return ControlFlow::Break(reason),
        };
        let walked = if wanted {
            capture::walk(&frame, reading.tunnels).map_err(counter)
        } else {
            Err(Counter::Filtered)
        };
        if reading.extra != Fields::NONE {
            batch.extras.push(extra(&frame, walked, reading.extra));
        }
        batch.packets.push(Packet {
            unix_ns: frame.unix_ns,
            supported: !wanted || capture::supported(frame.link),
            walked,
        });
        if batch.packets.len() == BATCH {
            let full = std::mem::replace(&mut batch, Batch::new());
            // It fails only if the other thread is gone.
            let _ = sender.send(full);
        }
        ControlFlow::Continue(())
    });
    let _ = sender.send(batch);
    end
}

/// Whether the filter wants a frame; without one all are wanted.
fn wants(filter: Option<&mut FileFilter>, frame: &Frame<'_>) -> Result<bool, String> {
    let Some(filter) = filter else {
        return Ok(true);
    };
    let captured = &frame.captured;
    let packet = Filterable {
        octets: captured.octets,
        wire_octets: u32::try_from(captured.wire_octets).unwrap_or(u32::MAX),
    };
    filter.wants(frame.link.0, packet)
}

fn extra(frame: &Frame<'_>, walked: Result<Walked, Counter>, which: Fields) -> Extra {
    let mut extra = capture::extra(frame, which);
    if let Ok(walked) = walked
        && which.has(Fields::FLOW_LABEL)
    {
        extra.flow_label = walked.flow_label;
    }
    extra
}

/// Packets accounted at a time: as many cache misses as a processor has under way.
const QUEUE: usize = 16;

/// The table and what it feeds.
pub struct Offline {
    table: Table,
    shape: Shape,
    evicted: Vec<Slot>,
    queue: Vec<Sighting>,
    /// Beside the evicted, and beside the queue, if anything was asked for.
    evicted_extras: Vec<Extra>,
    queue_extras: Vec<Extra>,
    fragments: Fragments,
    reading: Reading,
    filter: Option<FileFilter>,
    sweep: Sweep,
    timeouts: Timeouts,
    recorder: Recorder,
    export: Export,
    statistics: Statistics,
    now: Now,
    first_ns: Option<u64>,
    swept_ns: u64,
    /// Packets, one after the other, that lie far behind the clock.
    behind: u32,
    /// How often the clock was set back.
    set_back: u32,
    /// Packets to be left out before the next one that is metered.
    leave_out: u32,
}

impl Offline {
    /// An empty table.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn new(
        shape: Shape,
        fragments: Fragments,
        reading: Reading,
        timeouts: Timeouts,
        recorder: Recorder,
        export: Export,
    ) -> Result<Self> {
        let mut table = Table::anonymous(shape)?;
        if reading.extra != Fields::NONE {
            let slots = (shape.bucket_mask as usize + 1) * WAYS as usize;
            table = table.with_extras(Extras::new(Mapping::anonymous(slots)?));
        }
        let statistics = Statistics {
            tells_conversations: export.tells_conversations(),
            ..Statistics::default()
        };
        Ok(Self {
            table,
            shape,
            evicted: Vec::new(),
            queue: Vec::with_capacity(QUEUE),
            evicted_extras: Vec::new(),
            queue_extras: Vec::new(),
            fragments,
            reading,
            filter: None,
            sweep: Sweep::new(export.wants_pairs()),
            timeouts,
            recorder,
            export,
            statistics,
            now: Now::default(),
            first_ns: None,
            swept_ns: 0,
            behind: 0,
            set_back: 0,
            leave_out: 0,
        })
    }

    /// With a filter: what it does not want is counted, and in no flow.
    #[must_use]
    pub fn with_filter(self, filter: Option<FileFilter>) -> Self {
        Self { filter, ..self }
    }

    /// Reads the file to its end, or until a signal interrupts it, and exports everything. Reading and
    /// walking headers is one thread's work, this one accounts, and the exporter has its own.
    ///
    /// # Errors
    /// If the file cannot be read at all, or a thread died.
    pub fn run(mut self, path: &Path, interrupt: &Interrupt) -> Result<(Statistics, End)> {
        let (sender, receiver) = bounded(BATCHES_MAX);
        let (reading, filter) = (self.reading, self.filter.take());
        let end = thread::scope(|scope| {
            let reader = scope.spawn(move || read(path, reading, interrupt, filter, &sender));
            for Batch { packets, extras } in receiver {
                for (index, packet) in packets.into_iter().enumerate() {
                    self.packet(packet, extras.get(index));
                }
            }
            let died = |_| {
                Err(anyhow!(
                    "the reading thread died: its last words are above, please report them"
                ))
            };
            reader.join().unwrap_or_else(died)
        })?;
        self.take(false);
        self.export.note_losses(&self.statistics, &self.now);
        (self.statistics.export, self.statistics.export_died) = self.export.finish(&self.now);
        Ok((self.statistics, end))
    }

    #[inline]
    fn packet(&mut self, packet: Packet, extra: Option<&Extra>) {
        self.tell_time(packet.unix_ns);
        self.statistics.add(Counter::Packets, 1);
        // As in the kernel: of what a filter keeps one in so many is metered.
        if packet.walked.as_ref().err() == Some(&Counter::Filtered) {
            self.statistics.add(Counter::Filtered, 1);
            return;
        }
        if self.leave_out > 0 {
            self.leave_out -= 1;
            self.statistics.add(Counter::SampledOut, 1);
            return;
        }
        match packet.walked {
            Ok(mut walked) => {
                // softflowd's count goes on only with packets that it metered or left out.
                self.leave_out = self.reading.sampling.saturating_sub(1);
                self.fragments.join(&mut walked);
                self.metered(&walked, packet.unix_ns, extra);
            }
            Err(counter) => {
                self.statistics.unsupported_link_packets += u64::from(!packet.supported);
                self.statistics.add(counter, 1);
            }
        }
    }

    /// Queues the packet, as the kernel program does (see `weir_sensor_common::stage`).
    fn metered(&mut self, walked: &Walked, unix_ns: u64, extra: Option<&Extra>) {
        self.statistics.add(Counter::IpOctets, walked.octets);
        self.queue_extras.extend(extra);
        self.statistics
            .add(Counter::Fragments, u64::from(walked.fragment != 0));
        self.queue.push(Sighting {
            key: walked.key,
            hash: match extra {
                Some(extra) => self.shape.hash_with(&walked.key, 0, &extra.macs),
                None => self.shape.hash(&walked.key, 0),
            },
            octets: walked.octets,
            tick: Now::of_packet(unix_ns, 0).tick(),
            packets: 1,
            tcp_flags: walked.tcp_flags,
            hook: 0,
        });
        if self.queue.len() == QUEUE {
            self.account_queue();
        }
    }

    fn account_queue(&mut self) {
        let (shape, queue) = (&self.shape, &self.queue);
        let region = self.table.local(&mut self.evicted);
        for sighting in queue {
            fetch_home(&region, shape, sighting.hash);
        }
        // As in the kernel program: no branch waits for what was fetched, and only flows that are not at home need
        // their tags.
        let mut likely = [0; QUEUE];
        let (mut strays, mut away) = ([0; QUEUE], 0);
        for (index, sighting) in queue.iter().enumerate() {
            likely[index] = shape.home(sighting.hash);
            strays[away] = index;
            away += table::strays(&region, shape, sighting).unwrap_or(0) as usize;
        }
        let strays = &strays[..away];
        for index in strays {
            fetch_tags(&region, shape, queue[*index].hash);
        }
        for index in strays {
            if let Some(slot) = find(&region, shape, queue[*index].hash) {
                likely[*index] = slot;
            }
        }
        let mut queue = mem::take(&mut self.queue);
        for (index, (sighting, likely)) in queue.drain(..).zip(likely).enumerate() {
            self.account(&sighting, index, likely);
        }
        self.queue = queue;
        self.queue_extras.clear();
    }

    fn account(&mut self, sighting: &Sighting, index: usize, likely: u32) {
        let mut region = self.table.local(&mut self.evicted);
        if let Some(extra) = self.queue_extras.get(index) {
            region = region.with(extra, &mut self.evicted_extras);
        }
        let accounted = account_at(&mut region, &self.shape, sighting, likely);
        match accounted.map(|accounted| accounted.outcome) {
            Some(Outcome::Updated) => return,
            Some(Outcome::Created) => {}
            Some(Outcome::CreatedEvicting) => self.evict(),
            // This table's evictions never fail, and no slot stays closing between packets.
            Some(Outcome::CreatedLosing | Outcome::Busy) | None => {
                self.statistics.add(Counter::LostBusyPackets, 1);
                self.statistics
                    .add(Counter::LostBusyOctets, sighting.octets);
                return;
            }
        }
        self.statistics.add(Counter::FlowsCreated, 1);
    }

    fn evict(&mut self) {
        let mut extras = self.evicted_extras.drain(..);
        for slot in self.evicted.drain(..) {
            let extra = extras.next().unwrap_or_default();
            let taken = Taken::of(&slot, Reason::Forced).with(extra);
            self.statistics.add(Counter::FlowsEvicted, 1);
            let (export, statistics) = (&mut self.export, &mut self.statistics);
            self.recorder.hand_on(&taken, &self.now, export, statistics);
        }
    }

    /// Packets may be out of order; the clock is not, unless the file's own was set back.
    fn tell_time(&mut self, unix_ns: u64) {
        let Some(first_ns) = self.first_ns else {
            self.first_ns = Some(unix_ns);
            self.swept_ns = unix_ns;
            self.now = Now::of_packet(unix_ns, unix_ns);
            return;
        };
        // Uptime counts from before the earliest packet, whenever it comes: no flow begins before that.
        let first_ns = first_ns.min(unix_ns);
        self.first_ns = Some(first_ns);
        let before_ns = self.now.unix_ns;
        if unix_ns > before_ns {
            self.behind = 0;
            if unix_ns - before_ns > GAP_MAX_NS {
                self.take(false);
            }
        } else if self.is_set_back(before_ns - unix_ns) {
            self.behind = 0;
            // What was seen by the old clock is exported by it.
            self.take(false);
            self.swept_ns = unix_ns;
        } else {
            self.now = Now::of_packet(before_ns, first_ns);
            return;
        }
        self.now = Now::of_packet(unix_ns, first_ns);
        if unix_ns - self.swept_ns >= self.timeouts.sweep_interval_ns() {
            self.swept_ns = unix_ns;
            self.take(true);
        }
    }

    /// Whether a packet that lies so far behind the clock says that it was set back.
    fn is_set_back(&mut self, behind_ns: u64) -> bool {
        self.behind = if behind_ns > BEHIND_NS {
            self.behind + 1
        } else {
            0
        };
        let is_set_back = behind_ns > GAP_MAX_NS || self.behind >= BEHIND_PACKETS;
        self.set_back += u32::from(is_set_back && self.set_back <= SET_BACK_MAX);
        is_set_back && self.set_back <= SET_BACK_MAX
    }

    fn take(&mut self, expired_only: bool) {
        self.account_queue();
        let Self {
            table,
            sweep,
            timeouts,
            recorder,
            export,
            statistics,
            now,
            ..
        } = self;
        let take = if expired_only {
            Take::Expired(timeouts)
        } else {
            Take::Everything
        };
        if sweep.close(table, now, take) > 0 {
            sweep.collect(table, |taken| {
                recorder.hand_on(&taken, now, export, statistics);
            });
        }
        export.hand_over(now);
    }
}

/// The counter for a reason.
#[must_use]
pub fn counter(reason: Unmetered) -> Counter {
    match reason {
        Unmetered::NonIp => Counter::NonIp,
        Unmetered::TooShort => Counter::TooShort,
        Unmetered::BadIp => Counter::BadIp,
        Unmetered::TooDeep => Counter::TooDeep,
    }
}
