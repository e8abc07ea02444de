//! The reading thread of `-r`: from the file's frames to packets as the table accounts them.

use std::{mem, ops::ControlFlow, path::Path};

use anyhow::Result;
use crossbeam::channel::{Receiver, Sender};
use weir_netflow::low32;
use weir_sensor_common::{
    Counter, Extra, Fields, Unmetered, Walked,
    counters::COUNTERS_MAX,
    slot::{Sighting, TICK_SHIFT},
    table::Shape,
};

use super::Reading;
use crate::{
    capture::{self, End, Frame},
    fragments::Fragments,
    prefilter::{FileFilter, run::Packet as Filterable},
    signals::Interrupt,
};

/// Packets in a batch, and batches under way.
const BATCH: usize = 512;
pub(super) const BATCHES_MAX: usize = 16;

/// Packets as they are handed over.
pub(super) struct Batch {
    /// When each was captured, nanoseconds since 1970-01-01 UTC.
    pub times_ns: Vec<u64>,
    /// Each as the table takes it; of 0 packets where it is in no flow.
    pub sightings: Vec<Sighting>,
    /// What lies beside each, if anything was asked for.
    pub extras: Vec<Extra>,
    /// What was counted of these packets.
    pub counted: Counted,
}

impl Batch {
    fn new() -> Self {
        Self {
            times_ns: Vec::with_capacity(BATCH),
            sightings: Vec::with_capacity(BATCH),
            extras: Vec::new(),
            counted: Counted::default(),
        }
    }

    /// Empties it, to be used again: its memory is in a cache.
    pub(super) fn clear(&mut self) {
        self.times_ns.clear();
        self.sightings.clear();
        self.extras.clear();
        self.counted = Counted::default();
    }
}

/// What was counted of the packets that were read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    pub counters: [u64; COUNTERS_MAX as usize],
    pub unsupported_link_packets: u64,
}

impl Counted {
    fn add(&mut self, counter: Counter, count: u64) {
        let value = &mut self.counters[counter as usize];
        *value = value.saturating_add(count);
    }
}

/// What becomes of frames before the table.
pub(super) struct Reader {
    reading: Reading,
    shape: Shape,
    fragments: Fragments,
    filter: Option<FileFilter>,
    /// Packets to be left out before the next one that is metered.
    leave_out: u32,
    batch: Batch,
}

impl Reader {
    pub(super) fn new(
        reading: Reading,
        shape: Shape,
        fragments: Fragments,
        filter: Option<FileFilter>,
    ) -> Self {
        Self {
            reading,
            shape,
            fragments,
            filter,
            leave_out: 0,
            batch: Batch::new(),
        }
    }

    /// Reads the file to its end, or until a signal interrupts it; batches that were accounted come back through `used`.
    ///
    /// # Errors
    /// If the file cannot be read at all.
    pub(super) fn run(
        mut self,
        path: &Path,
        interrupt: &Interrupt,
        sender: &Sender<Batch>,
        used: &Receiver<Batch>,
    ) -> Result<End> {
        let end = capture::read_until(path, Some(interrupt), |frame| {
            self.frame(&frame)?;
            if self.batch.times_ns.len() == BATCH {
                self.hand_over(sender, used)?;
            }
            ControlFlow::Continue(())
        })?;
        // Nothing comes after it.
        let _ = self.hand_over(sender, used);
        Ok(end)
    }

    /// Gives the other thread what was read; breaks off if that is gone, since a pipe may never end.
    pub(super) fn hand_over(
        &mut self,
        sender: &Sender<Batch>,
        used: &Receiver<Batch>,
    ) -> ControlFlow<String> {
        let next = used.try_recv().unwrap_or_else(|_| Batch::new());
        let full = mem::replace(&mut self.batch, next);
        if sender.send(full).is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break("nobody accounts what is read".to_owned())
        }
    }

    fn frame(&mut self, frame: &Frame<'_>) -> ControlFlow<String> {
        let walked = match self.metered(frame) {
            Ok(walked) => walked,
            Err(reason) => return ControlFlow::Break(reason),
        };
        let mut extra = Extra::default();
        let asked_for = self.reading.extra != Fields::NONE;
        if let Some(walked) = &walked
            && asked_for
        {
            extra = capture::extra(frame, self.reading.extra);
            if self.reading.extra.has(Fields::FLOW_LABEL) {
                extra.flow_label = walked.flow_label;
            }
        }
        if asked_for {
            self.batch.extras.push(extra);
        }
        let unix_ns = frame.unix_ns;
        self.batch.times_ns.push(unix_ns);
        self.batch.sightings.push(match walked {
            Some(walked) => Sighting {
                key: walked.key,
                hash: if asked_for {
                    self.shape.hash_with(&walked.key, 0, &extra.macs)
                } else {
                    self.shape.hash(&walked.key, 0)
                },
                octets: walked.octets,
                tick: low32(unix_ns >> TICK_SHIFT),
                packets: 1,
                tcp_flags: walked.tcp_flags,
                hook: 0,
            },
            None => Sighting::default(),
        });
        ControlFlow::Continue(())
    }

    /// The packet in a frame if it is in a flow, else what says why not is counted. As in the kernel: of what a filter
    /// keeps one in so many is metered.
    ///
    /// # Errors
    /// A sentence, if the filter cannot be asked.
    fn metered(&mut self, frame: &Frame<'_>) -> Result<Option<Walked>, String> {
        let wanted = self.wants(frame)?;
        self.batch.counted.add(Counter::Packets, 1);
        if !wanted {
            self.batch.counted.add(Counter::Filtered, 1);
            return Ok(None);
        }
        if self.leave_out > 0 {
            self.leave_out -= 1;
            self.batch.counted.add(Counter::SampledOut, 1);
            return Ok(None);
        }
        let mut walked = match self.walk(frame) {
            Ok(walked) => walked,
            Err(reason) => {
                let unsupported = !capture::supported(frame);
                self.batch.counted.unsupported_link_packets += u64::from(unsupported);
                self.batch.counted.add(reason.counter(), 1);
                return Ok(None);
            }
        };
        // softflowd's count goes on only with packets that it metered or left out.
        self.leave_out = self.reading.sampling.saturating_sub(1);
        self.fragments.join(&mut walked);
        self.batch.counted.add(Counter::IpOctets, walked.octets);
        let is_fragment = walked.fragment != 0;
        self.batch
            .counted
            .add(Counter::Fragments, u64::from(is_fragment));
        Ok(Some(walked))
    }

    fn walk(&self, frame: &Frame<'_>) -> Result<Walked, Unmetered> {
        let walked = capture::walk(frame, self.reading.tunnels)?;
        if self.reading.v4_only && walked.key.is_v6() {
            return Err(Unmetered::NonIp);
        }
        Ok(walked)
    }

    /// Whether the filter wants a frame; without one all are wanted.
    fn wants(&mut self, frame: &Frame<'_>) -> Result<bool, String> {
        let Some(filter) = &mut self.filter else {
            return Ok(true);
        };
        let captured = &frame.captured;
        let packet = Filterable {
            octets: captured.octets,
            wire_octets: u32::try_from(captured.wire_octets).unwrap_or(u32::MAX),
        };
        filter.wants(frame.link.0, packet)
    }
}
