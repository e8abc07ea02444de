//! The export thread itself: whose turn it is, what is due, and what time it is.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use crossbeam::channel::{Receiver, RecvTimeoutError};
use weir_netflow::{ExportTime, FlowRecord};

use super::{
    Clock, Exported, Message, Shared,
    lane::{Lane, WAITING_NS},
    said::Said,
};
use crate::clock::Now;

/// A datagram leaves when its first record has waited this long.
const DELAY_MAX_NS: u64 = 250_000_000;

/// How long is waited for collectors with what is exported last, in all. With a second for each at its very end that is
/// half of what a service manager gives a daemon to stop (90 s, in the units 120), however many there are by the options.
pub(super) const LAST_WAITING: Duration = Duration::from_secs(30);

/// The thread's end of the channel.
pub(super) struct Exporter {
    /// One of them is on, at least.
    pub lanes: Vec<Lane>,
    /// Whose turn it is, if they take turns.
    pub turn: Option<usize>,
    pub shared: Arc<Shared>,
    pub clock: Clock,
    /// The time that came with the latest records.
    pub latest: ExportTime,
}

impl Exporter {
    /// Sends what comes, until nobody is at the other end.
    pub fn run(&mut self, receiver: &Receiver<Message>) {
        self.lanes.iter_mut().for_each(Lane::begin);
        self.share();
        self.choose(&self.now());
        loop {
            self.publish();
            match receiver.recv_timeout(self.patience()) {
                Ok(Message::Records(time, records)) => {
                    // What is open belongs to its own time, which a capture file may leave far
                    // behind.
                    if self.clock == Clock::Packets {
                        self.flush_if_due(&time, self.latest);
                    }
                    self.latest = time;
                    self.tell_again_if_wanted();
                    let now = self.now();
                    self.announce_if_due(&now);
                    for record in &records {
                        self.export(record, &now);
                    }
                }
                Ok(Message::Lanes(is_on, lanes)) => self.switch(&is_on, lanes),
                Ok(Message::Flush(done)) => {
                    self.flush(|_| true, self.now());
                    self.publish();
                    drop(done);
                }
                Ok(Message::Last) => self.begin_last(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = self.now();
            self.flush_if_due(&now, now);
        }
        let (now, said) = (self.now(), self.said());
        for lane in self.lanes.iter_mut().filter(|lane| lane.is_on) {
            lane.finish(&said, &now);
        }
    }

    /// Nobody waits behind what comes from here on.
    fn begin_last(&mut self) {
        let on = self.lanes.iter().filter(|lane| lane.is_on).count();
        let share = LAST_WAITING / u32::try_from(on.max(1)).unwrap_or(u32::MAX);
        for lane in self.lanes.iter_mut().filter(|lane| lane.is_on) {
            lane.begin_last(share);
        }
    }

    fn said(&self) -> Said {
        self.shared.said().clone()
    }

    fn announce_if_due(&mut self, now: &ExportTime) {
        let is_due = |lane: &Lane| lane.is_on && lane.announcement_is_due(now);
        if !self.lanes.iter().any(is_due) {
            return;
        }
        let said = self.said();
        for lane in &mut self.lanes {
            if is_due(lane) {
                lane.announce(&said, now);
            }
        }
    }

    fn export(&mut self, record: &FlowRecord, now: &ExportTime) {
        let Some(turn) = self.turn else {
            for lane in self.lanes.iter_mut().filter(|lane| lane.is_on) {
                lane.export(record, now);
            }
            return;
        };
        let lane = &mut self.lanes[turn];
        let before = lane.datagrams();
        lane.export(record, now);
        if lane.datagrams() != before {
            self.pass_turn();
        }
    }

    /// The next one's turn comes with the next datagram.
    fn pass_turn(&mut self) {
        let Some(turn) = self.turn else {
            return;
        };
        let count = self.lanes.len();
        let mut others = (1..count).map(|step| (turn + step) % count);
        let next = others.find(|lane| self.lanes[*lane].is_on);
        self.turn = Some(next.unwrap_or(turn));
    }

    /// Switches lanes on and off, and adds some.
    fn switch(&mut self, is_on: &[bool], lanes: Vec<Lane>) {
        let (now, said) = (self.now(), self.said());
        for (lane, is_on) in self.lanes.iter_mut().zip(is_on) {
            lane.switch(*is_on, &said, &now);
        }
        let known = self.lanes.len();
        self.lanes.extend(lanes.into_iter().map(Lane::late));
        self.lanes.iter_mut().skip(known).for_each(Lane::begin);
        if self.turn.is_some_and(|turn| !self.lanes[turn].is_on) {
            self.pass_turn();
        }
        self.share();
        self.choose(&now);
    }

    /// Chooses the lane that stands for all, of those that are on: the same as long as it is. If they take turns
    /// it takes all of them.
    fn choose(&mut self, now: &ExportTime) {
        let stands = |lane: &Lane| lane.is_on && lane.stands_for_all();
        let chosen = self.lanes.iter().position(stands);
        let chosen = chosen.or_else(|| self.lanes.iter().position(|lane| lane.is_on));
        let in_turn = self.turn.is_some();
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            lane.stand_for_all(in_turn || chosen == Some(number), now);
        }
    }

    /// Where several collectors share the thread none of them has the others wait for long. A file's packets
    /// wait for all of them.
    fn share(&mut self) {
        let on = self.lanes.iter().filter(|lane| lane.is_on).count() as u64;
        let is_shared = on > 1 && self.clock == Clock::Live;
        for lane in &mut self.lanes {
            lane.waits_each_ns = if is_shared { on * WAITING_NS } else { 0 };
        }
    }

    /// The account of each lane.
    pub fn exported(&self) -> Vec<Exported> {
        let lanes = self.lanes.iter();
        let exported = lanes.map(|lane| lane.exported(self.turn.is_some()));
        exported.collect()
    }

    fn publish(&self) {
        let shared = self.shared.exported.lock();
        *shared.unwrap_or_else(PoisonError::into_inner) = self.exported();
    }

    fn tell_again_if_wanted(&mut self) {
        if self.shared.telling_wanted.swap(false, Ordering::Relaxed) {
            self.lanes.iter_mut().for_each(Lane::tell_again);
        }
    }

    /// How long the open datagrams may still wait.
    fn patience(&self) -> Duration {
        const FOREVER: Duration = Duration::from_secs(3600);
        let opened_ns = self.lanes.iter().filter_map(Lane::opened_ns);
        match (self.clock, opened_ns.min()) {
            (Clock::Live, Some(opened_ns)) => Duration::from_nanos(
                (opened_ns + DELAY_MAX_NS)
                    .saturating_sub(self.now().unix_ns)
                    .min(DELAY_MAX_NS),
            ),
            _ => FOREVER,
        }
    }

    fn now(&self) -> ExportTime {
        match self.clock {
            Clock::Live => Now::read().export_time(),
            Clock::Packets => self.latest,
        }
    }

    /// Sends the open datagrams that have waited long enough, stamped with `stamp`.
    fn flush_if_due(&mut self, now: &ExportTime, stamp: ExportTime) {
        // A clock set back must not make it wait for long either.
        let has_waited = |opened_ns: u64| now.unix_ns.abs_diff(opened_ns) >= DELAY_MAX_NS;
        self.flush(has_waited, stamp);
    }

    /// Sends the open datagrams that were opened at such a time, stamped with `stamp`.
    fn flush(&mut self, is_due: impl Fn(u64) -> bool, stamp: ExportTime) {
        let mut is_over = false;
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            if lane.opened_ns().is_some_and(&is_due) {
                lane.flush(&stamp);
                is_over |= self.turn == Some(number);
            }
        }
        if is_over {
            self.pass_turn();
        }
    }
}
