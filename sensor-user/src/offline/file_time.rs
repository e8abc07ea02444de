//! The clock of a capture file: its packets' times, in so far as they are believed.

use crate::{clock::Now, expiry::Timeouts};

/// A gap between two packets after which nothing is held any more: a flow of the greatest age ([`crate::expiry`])
/// would else be older than slots' clocks can tell.
const GAP_MAX_NS: u64 = 6 * 86_400 * 1_000_000_000;
/// A clock that is set back more often tells no time; each time costs a look at the whole table.
const SET_BACK_MAX: u32 = 10_000;
/// The file's clock was set back if so many packets, one after the other, lie so far behind it. Fewer may be another
/// interface's, whose clock is a little slow.
const BEHIND_PACKETS: u32 = 1024;
const BEHIND_NS: u64 = 10 * 1_000_000_000;

/// What is to be done before a packet is accounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// As of this instant.
    pub now: Now,
    /// Whether all flows are taken out of the table; else those that are over.
    pub everything: bool,
}

/// Packets may be out of order; this clock is not, unless the file's own was set back.
#[derive(Debug)]
pub(super) struct FileTime {
    /// How often the table is looked at.
    interval_ns: u64,
    /// Whether there was a packet.
    began: bool,
    /// The earliest packet's time, whenever it came: no flow begins before it, and uptime does.
    first_ns: u64,
    latest_ns: u64,
    sweep_due_ns: u64,
    /// Packets, one after the other, that lie far behind the clock.
    behind: u32,
    /// How often the clock was set back.
    set_back: u32,
}

impl FileTime {
    pub(super) fn new(timeouts: &Timeouts) -> Self {
        Self {
            interval_ns: timeouts.sweep_interval_ns(),
            began: false,
            first_ns: 0,
            latest_ns: 0,
            sweep_due_ns: 0,
            behind: 0,
            set_back: 0,
        }
    }

    pub(super) fn now(&self) -> Now {
        if self.began {
            Now::of_packet(self.latest_ns, self.first_ns)
        } else {
            Now::default()
        }
    }

    /// A packet of this time comes.
    #[inline]
    pub(super) fn tell(&mut self, unix_ns: u64) -> Option<Due> {
        // Nearly always.
        if self.latest_ns <= unix_ns && unix_ns < self.sweep_due_ns {
            self.latest_ns = unix_ns;
            self.behind = 0;
            return None;
        }
        self.tell_unusual(unix_ns)
    }

    fn tell_unusual(&mut self, unix_ns: u64) -> Option<Due> {
        let before = self.now();
        if !self.began {
            self.began = true;
            self.first_ns = unix_ns;
            self.go_on_from(unix_ns);
            return None;
        }
        self.first_ns = self.first_ns.min(unix_ns);
        let everything = if unix_ns > self.latest_ns {
            unix_ns - self.latest_ns > GAP_MAX_NS
        } else if self.is_set_back(self.latest_ns - unix_ns) {
            true
        } else {
            return None;
        };
        self.behind = 0;
        self.go_on_from(unix_ns);
        // What was seen by the old clock is exported by it.
        let now = if everything { before } else { self.now() };
        Some(Due { now, everything })
    }

    fn go_on_from(&mut self, unix_ns: u64) {
        self.latest_ns = unix_ns;
        self.sweep_due_ns = unix_ns.saturating_add(self.interval_ns);
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
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;
    const START_NS: u64 = 1_700_000_000 * SECOND_NS;

    fn begun() -> FileTime {
        let mut time = FileTime::new(&Timeouts::default());
        assert_eq!((time.now(), time.tell(START_NS)), (Now::default(), None));
        time
    }

    #[test]
    fn a_look_is_due_each_interval_and_earlier_packets_do_not_turn_the_clock_back() {
        let mut time = begun();
        let interval_ns = time.interval_ns;
        assert_eq!(time.tell(START_NS + interval_ns - 1), None);
        assert_eq!(time.tell(START_NS - 5), None);
        assert_eq!(
            time.now(),
            Now::of_packet(START_NS + interval_ns - 1, START_NS - 5)
        );
        let now = Now::of_packet(START_NS + interval_ns, START_NS - 5);
        let everything = false;
        let due = Some(Due { now, everything });
        assert_eq!(time.tell(START_NS + interval_ns), due);
        assert_eq!(time.tell(START_NS + interval_ns), None);
        assert_eq!(time.tell(START_NS + 2 * interval_ns - 1), None);
    }

    #[test]
    fn after_a_gap_and_when_the_clock_was_set_back_everything_is_due_by_the_old_clock() {
        let mut time = begun();
        let due = |unix_ns| {
            let now = Now::of_packet(unix_ns, START_NS);
            let everything = true;
            Some(Due { now, everything })
        };
        let later_ns = START_NS + GAP_MAX_NS + 1;
        assert_eq!(time.tell(later_ns), due(START_NS));
        let back_ns = later_ns - BEHIND_NS - 1;
        for _ in 1..BEHIND_PACKETS {
            assert_eq!(time.tell(back_ns), None);
        }
        assert_eq!(time.tell(back_ns), due(later_ns));
        assert_eq!(time.now().unix_ns, back_ns);
        assert_eq!(time.tell(back_ns + 1), None);
    }

    #[test]
    fn a_clock_that_is_set_back_again_and_again_is_believed_so_often() {
        let mut time = begun();
        let mut looks = 0;
        for _ in 0..2 * SET_BACK_MAX {
            for unix_ns in [START_NS + 2 * GAP_MAX_NS, START_NS] {
                looks += u32::from(time.tell(unix_ns).is_some());
            }
        }
        // Forth and back; the last time it stays forth.
        assert_eq!(looks, 2 * SET_BACK_MAX + 1);
    }
}
