//! What was lost, from sequence numbers: a pure account of one exporter's one numbered stream.
//!
//! v5 numbers records, v9 datagrams; a *unit* here is whichever it is. The next datagram's number
//! is known from the last one. A jump ahead leaves a *gap*, lost until something that fits it
//! arrives late; a step back that fits no gap is a duplicate. A restart is seen by the exporter's
//! boot time (wall clock minus sysUptime): it moved, so the numbers begin anew and nothing is
//! lost. A gap with the same boot time is loss, however large: that is where flow-capture, which
//! calls every large gap a restart, reports none.

/// What became of one datagram's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The first one seen, or the expected one.
    InOrder,
    /// This many units before it are missing.
    Gap(u32),
    /// It arrived late and fills (part of) a gap.
    Late,
    /// It was here before.
    Duplicate,
    /// The exporter started anew.
    Restart,
}

/// Gaps remembered, the latest ones; older ones stay lost.
const GAPS_MAX: usize = 256;
/// How far apart two estimates of one boot time may be, in milliseconds: v9 headers have whole
/// seconds, and a clock may be stepped a little.
const BOOT_TOLERANCE_MS: u32 = 3000;
/// A number this close to zero after a larger one looks like a beginning.
const BEGINNING_UNITS: u32 = 2;

/// The account of one stream.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    next: Option<u32>,
    boot_ms: u32,
    /// Missing numbers: first, and how many.
    gaps: Vec<(u32, u32)>,
    /// Counts so far.
    pub counts: Counts,
}

/// Units, since the collector started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Missing for good or still: gaps less what arrived late.
    pub lost: u64,
    /// Datagrams that arrived late.
    pub reordered: u64,
    /// Datagrams that arrived again.
    pub duplicated: u64,
    /// Times the exporter started anew.
    pub restarts: u64,
}

impl Sequence {
    /// Accounts a datagram that carries the number `sequence` and `units` units (1 where datagrams
    /// are numbered), from an exporter that booted at `boot_ms` (modulo 2³²).
    pub fn step(&mut self, sequence: u32, units: u32, boot_ms: u32) -> Step {
        let Some(next) = self.next else {
            self.resume(sequence, units, boot_ms);
            return Step::InOrder;
        };
        let ahead = sequence.wrapping_sub(next).cast_signed();
        let moved = boot_ms
            .wrapping_sub(self.boot_ms)
            .cast_signed()
            .unsigned_abs()
            > BOOT_TOLERANCE_MS;
        if ahead == 0 {
            self.resume(sequence, units, boot_ms);
            return Step::InOrder;
        }
        if moved {
            return self.restart(sequence, units, boot_ms);
        }
        if ahead > 0 {
            self.open_gap(next, ahead.unsigned_abs());
            self.resume(sequence, units, boot_ms);
            return Step::Gap(ahead.unsigned_abs());
        }
        self.step_back(sequence, units, boot_ms)
    }

    fn step_back(&mut self, sequence: u32, units: u32, boot_ms: u32) -> Step {
        if self.fill_gap(sequence, units) {
            self.counts.reordered += 1;
            return Step::Late;
        }
        // The boot time may be the same although the exporter restarted (it may count from the
        // machine's boot); a beginning far behind is one.
        let behind = self.next.unwrap_or(0).wrapping_sub(sequence);
        if sequence <= BEGINNING_UNITS && behind > u32::try_from(GAPS_MAX).unwrap_or(u32::MAX) {
            return self.restart(sequence, units, boot_ms);
        }
        self.counts.duplicated += 1;
        Step::Duplicate
    }

    fn restart(&mut self, sequence: u32, units: u32, boot_ms: u32) -> Step {
        self.counts.restarts += 1;
        self.gaps.clear();
        self.resume(sequence, units, boot_ms);
        Step::Restart
    }

    fn resume(&mut self, sequence: u32, units: u32, boot_ms: u32) {
        self.next = Some(sequence.wrapping_add(units));
        self.boot_ms = boot_ms;
    }

    fn open_gap(&mut self, first: u32, units: u32) {
        self.remember(first, units);
        self.counts.lost += u64::from(units);
    }

    /// Keeps a gap in mind; the oldest makes room.
    fn remember(&mut self, first: u32, units: u32) {
        if self.gaps.len() >= GAPS_MAX {
            self.gaps.remove(0);
        }
        self.gaps.push((first, units));
    }

    /// Takes a late datagram's numbers out of the gap they belong to.
    fn fill_gap(&mut self, sequence: u32, units: u32) -> bool {
        let Some(index) = self.gaps.iter().position(|(first, missing)| {
            let into = sequence.wrapping_sub(*first);
            into < *missing && units <= missing - into
        }) else {
            return false;
        };
        let (first, missing) = self.gaps.remove(index);
        let before = sequence.wrapping_sub(first);
        let after = missing - before - units;
        for part in [(first, before), (sequence.wrapping_add(units), after)] {
            if part.1 > 0 {
                self.remember(part.0, part.1);
            }
        }
        self.counts.lost -= u64::from(units);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: u32 = 1000;

    fn run(numbers: &[u32]) -> Counts {
        let mut sequence = Sequence::default();
        for number in numbers {
            sequence.step(*number, 1, BOOT);
        }
        sequence.counts
    }

    #[test]
    fn loss_is_exact_across_the_wrap() {
        assert_eq!(run(&[u32::MAX - 1, u32::MAX, 0, 1]), Counts::default());
        assert_eq!(run(&[u32::MAX - 1, 2, 3]).lost, 3);
    }

    #[test]
    fn what_arrives_late_is_not_lost() {
        let counts = run(&[0, 1, 5, 3, 2, 4, 6]);
        assert_eq!(
            counts,
            Counts {
                lost: 0,
                reordered: 3,
                duplicated: 0,
                restarts: 0
            }
        );
    }

    #[test]
    fn what_arrives_twice_is_a_duplicate() {
        let counts = run(&[0, 1, 1, 4, 2, 2, 5]);
        assert_eq!(
            counts,
            Counts {
                lost: 1,
                reordered: 1,
                duplicated: 2,
                restarts: 0
            }
        );
    }

    #[test]
    fn a_large_gap_is_loss_and_no_restart() {
        assert_eq!(
            run(&[0, 1_500_000]),
            Counts {
                lost: 1_499_999,
                ..Counts::default()
            }
        );
    }

    #[test]
    fn a_restart_is_no_loss() {
        let mut sequence = Sequence::default();
        sequence.step(70_000, 30, BOOT);
        assert_eq!(sequence.step(0, 30, BOOT + 60_000), Step::Restart);
        assert_eq!(sequence.step(30, 30, BOOT + 60_000), Step::InOrder);
        assert_eq!(
            sequence.counts,
            Counts {
                restarts: 1,
                ..Counts::default()
            }
        );
    }

    #[test]
    fn a_beginning_far_behind_is_a_restart_even_with_the_same_boot_time() {
        let mut sequence = Sequence::default();
        sequence.step(70_000, 30, BOOT);
        assert_eq!(sequence.step(0, 30, BOOT), Step::Restart);
        assert_eq!(sequence.counts.lost, 0);
    }

    #[test]
    fn records_are_counted_by_their_datagrams_sizes() {
        let mut sequence = Sequence::default();
        sequence.step(0, 30, BOOT);
        assert_eq!(sequence.step(60, 29, BOOT), Step::Gap(30));
        assert_eq!(sequence.step(89, 30, BOOT), Step::InOrder);
        assert_eq!(sequence.step(30, 30, BOOT), Step::Late);
        assert_eq!(
            sequence.counts,
            Counts {
                reordered: 1,
                ..Counts::default()
            }
        );
    }
}
