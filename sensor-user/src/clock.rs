//! The one file that reads clocks. Everywhere else time is an argument.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the file that reads clocks"
)]
#![expect(unsafe_code, reason = "a system call")]

use std::sync::atomic::{AtomicI64, Ordering};

use weir_netflow::ExportTime;
use weir_sensor_common::slot::TICK_SHIFT;

/// The exporter's boot on the monotonic clock, as sysUptime counts it; the largest number while
/// nobody has asked. It is this process's start: so collectors see a restart. It is put a second
/// early, since a flow's first tick may have begun before, and earlier still if flows of a sensor
/// that died are exported.
static BOOTED_NS: AtomicI64 = AtomicI64::new(i64::MAX);
const BEFORE_NS: i64 = 1_000_000_000;
/// Boot times nearer than this may look like one to a collector: v9's clock has whole seconds.
const RESTART_NS: i64 = 5_000_000_000;

/// How far a slot's tick may be ahead of the clock read here: the rest of the 50 days is behind. A sweep looks by the
/// clock that it began with, and in a flood to a slow collector it takes minutes; these are hours.
const AHEAD_TICKS: u32 = 1 << 24;

/// The ticks that slots are stamped with, laid along the monotonic clock: tick `tick` began at
/// `began_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticks {
    tick: u32,
    began_ns: u64,
    length_ns: u64,
}

impl Default for Ticks {
    /// Ticks cut from nanoseconds: those of the exact clock and of capture files.
    fn default() -> Self {
        Self {
            tick: 0,
            began_ns: 0,
            length_ns: 1 << TICK_SHIFT,
        }
    }
}

impl Ticks {
    /// The timer's ticks, as of now: `look` asks the kernel program for its tick. The kernel counts
    /// a jiffy and sets its coarse clock in one interrupt, so that clock says when the tick began,
    /// if none came in between.
    ///
    /// # Errors
    /// What `look` says.
    pub fn of_timer<E>(mut look: impl FnMut() -> Result<u32, E>) -> Result<Self, E> {
        const LOOKS_MAX: u32 = 4;
        let mut ticks = Self::default();
        for _ in 0..LOOKS_MAX {
            ticks = Self {
                began_ns: read(libc::CLOCK_MONOTONIC_COARSE),
                tick: look()?,
                length_ns: resolution(libc::CLOCK_MONOTONIC_COARSE).max(1),
            };
            if read(libc::CLOCK_MONOTONIC_COARSE) == ticks.began_ns {
                break;
            }
        }
        Ok(ticks)
    }

    /// The tick at a time, and when it began.
    fn at(&self, monotonic_ns: u64) -> (u32, u64) {
        let since = monotonic_ns.saturating_sub(self.began_ns) / self.length_ns;
        (
            self.tick.wrapping_add(weir_netflow::low32(since)),
            self.began_ns + since * self.length_ns,
        )
    }
}

/// One instant on the clocks that matter here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds since boot.
    pub monotonic_ns: u64,
    /// Wall clock, nanoseconds since 1970-01-01 UTC.
    pub unix_ns: u64,
    /// What is exported as sysUptime.
    pub uptime_ms: u64,
    /// What slots are stamped with.
    pub ticks: Ticks,
}

impl Now {
    /// Reads the clocks.
    #[must_use]
    pub fn read() -> Self {
        let monotonic_ns = read(libc::CLOCK_MONOTONIC);
        let uptime_ns = signed(monotonic_ns).saturating_sub(booted_ns_at(monotonic_ns));
        Self {
            monotonic_ns,
            unix_ns: read(libc::CLOCK_REALTIME),
            uptime_ms: u64::try_from(uptime_ns).unwrap_or(0) / 1_000_000,
            ticks: Ticks::default(),
        }
    }

    /// The same instant, for slots stamped with these ticks.
    #[must_use]
    pub fn with_ticks(self, ticks: Ticks) -> Self {
        Self { ticks, ..self }
    }

    /// The instant a captured packet gives: its time is the only clock there is. Uptime counts
    /// from the first packet, which comes a second after the start, as live: First and Last of 0
    /// would say that there are no times.
    #[must_use]
    pub fn of_packet(unix_ns: u64, first_unix_ns: u64) -> Self {
        Self {
            monotonic_ns: unix_ns,
            unix_ns,
            uptime_ms: unix_ns
                .saturating_sub(first_unix_ns)
                .saturating_add(BEFORE_NS.unsigned_abs())
                / 1_000_000,
            ticks: Ticks::default(),
        }
    }

    /// The tick slots are stamped with now.
    #[must_use]
    pub fn tick(&self) -> u32 {
        self.ticks.at(self.monotonic_ns).0
    }

    /// Nanoseconds a tick lasts: ages in slots are known to this.
    #[must_use]
    pub fn tick_length_ns(&self) -> u64 {
        self.ticks.length_ns
    }

    /// Nanoseconds since a slot's tick, see [`ticks_since`].
    #[must_use]
    pub fn since(&self, tick: u32) -> u64 {
        u64::from(ticks_since(tick, self.tick())) * self.ticks.length_ns
    }

    /// A slot's tick as wall-clock time.
    #[must_use]
    pub fn unix_ns_of(&self, tick: u32) -> u64 {
        let (_, began_ns) = self.ticks.at(self.monotonic_ns);
        let into_tick = self.monotonic_ns.saturating_sub(began_ns);
        let since = self.since(tick);
        self.unix_ns
            .saturating_sub(since.saturating_add(if since == 0 { 0 } else { into_tick }))
    }

    /// When something happened that `unix_ns` is the wall-clock time of, on the monotonic clock.
    #[must_use]
    pub fn monotonic_ns_of(&self, unix_ns: u64) -> u64 {
        let ago_ns = self.unix_ns.saturating_sub(unix_ns);
        self.monotonic_ns.saturating_sub(ago_ns)
    }

    /// As a datagram's header carries it.
    #[must_use]
    pub fn export_time(&self) -> ExportTime {
        ExportTime {
            unix_ns: self.unix_ns,
            uptime_ms: self.uptime_ms,
        }
    }
}

/// Ticks from a slot's to the current one. A slot's that is ahead (the program's clock may be finer than the one read
/// here, or later) is the current one.
#[inline]
#[must_use]
pub fn ticks_since(tick: u32, now: u32) -> u32 {
    let ticks = now.wrapping_sub(tick);
    if ticks > u32::MAX - AHEAD_TICKS {
        0
    } else {
        ticks
    }
}

/// sysUptime's zero on the monotonic clock, which has the machine's boot at 0.
#[must_use]
pub fn booted_ns() -> i64 {
    booted_ns_at(read(libc::CLOCK_MONOTONIC))
}

/// The same; the first who asks sets it.
fn booted_ns_at(monotonic_ns: u64) -> i64 {
    let booted_ns = BOOTED_NS.load(Ordering::Relaxed);
    if booted_ns < i64::MAX {
        return booted_ns;
    }
    let start_ns = signed(monotonic_ns) - BEFORE_NS;
    let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
    match BOOTED_NS.compare_exchange(i64::MAX, start_ns, success, failure) {
        Ok(_) => start_ns,
        Err(set_meanwhile_ns) => set_meanwhile_ns,
    }
}

/// Moves sysUptime's zero back before a flow that began at `oldest_ns` (monotonic), if it is not.
/// Before any datagram leaves. `others_ns` are the zeros of the sensors that such flows are from.
pub fn boot_before(oldest_ns: u64, others_ns: &[i64]) {
    if signed(oldest_ns) - BEFORE_NS < booted_ns() {
        let zero_ns = zero_before(signed(oldest_ns), others_ns);
        BOOTED_NS.fetch_min(zero_ns, Ordering::Relaxed);
    }
}

/// A zero a little before a time, and not near any of others': a restart is to be seen.
fn zero_before(oldest_ns: i64, others_ns: &[i64]) -> i64 {
    let mut zero_ns = oldest_ns - BEFORE_NS;
    let near = |zero_ns: i64, other_ns: i64| (zero_ns - other_ns).abs() < RESTART_NS;
    // Each is met once: it only goes back.
    while let Some(other_ns) = others_ns.iter().find(|other_ns| near(zero_ns, **other_ns)) {
        zero_ns = other_ns - RESTART_NS;
    }
    zero_ns
}

fn signed(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

/// Processor time this process has used, in microseconds.
#[must_use]
pub fn processor_us() -> u64 {
    read(libc::CLOCK_PROCESS_CPUTIME_ID) / 1000
}

const ZERO: libc::timespec = libc::timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = ZERO;
    // SAFETY: the pointer is valid, and the clocks exist on every Linux.
    unsafe {
        libc::clock_gettime(clock, &raw mut time);
    }
    nanoseconds(&time)
}

fn resolution(clock: libc::clockid_t) -> u64 {
    let mut time = ZERO;
    // SAFETY: as above.
    unsafe {
        libc::clock_getres(clock, &raw mut time);
    }
    nanoseconds(&time)
}

fn nanoseconds(time: &libc::timespec) -> u64 {
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_wall_clock_times_across_their_wrap() {
        let now = Now {
            monotonic_ns: ((1 << 32) + 10) << TICK_SHIFT,
            unix_ns: 1_700_000_000_000_000_000,
            uptime_ms: 0,
            ticks: Ticks::default(),
        };
        assert_eq!(now.tick(), 10);
        assert_eq!(now.since(0xffff_fff0), 26 << TICK_SHIFT);
        assert_eq!(
            now.unix_ns_of(0xffff_fff0),
            now.unix_ns - (26 << TICK_SHIFT)
        );
        assert_eq!(now.since(11), 0);
        assert_eq!(now.unix_ns_of(11), now.unix_ns);
    }

    /// The shortest tick there is, a millisecond's.
    #[test]
    fn what_was_seen_since_the_clock_was_read_is_new_and_not_old() {
        const HOUR: u32 = 3_600_000;
        for now in [0_u32, 5, u32::MAX] {
            for ahead in [0, 1, 60_000, 4 * HOUR] {
                assert_eq!(ticks_since(now.wrapping_add(ahead), now), 0, "{ahead}");
            }
            // As old as a flow becomes, and as long again as a sensor may stand still.
            for ago in [1, HOUR, (45 * 24 + 100) * HOUR] {
                assert_eq!(ticks_since(now.wrapping_sub(ago), now), ago, "{ago}");
            }
        }
    }

    #[test]
    fn uptime_begins_before_the_oldest_flow_and_far_from_other_zeros() {
        const S: i64 = 1_000_000_000;
        assert_eq!(zero_before(100 * S, &[]), 99 * S);
        assert_eq!(zero_before(100 * S, &[20 * S, 94 * S]), 99 * S);
        assert_eq!(zero_before(100 * S, &[20 * S, 95 * S]), 90 * S);
        assert_eq!(zero_before(100 * S, &[93 * S, 98 * S]), 88 * S);
        // The machine has just booted.
        assert_eq!(zero_before(S / 2, &[-S]), -6 * S);
    }

    #[test]
    fn uptime_moves_back_at_once_and_never_ahead() {
        let before = Now::read();
        boot_before(before.monotonic_ns, &[]);
        assert!(Now::read().uptime_ms < before.uptime_ms + 60_000);
        let hour_ago_ns = before.monotonic_ns.saturating_sub(3_600_000_000_000);
        boot_before(hour_ago_ns, &[]);
        boot_before(before.monotonic_ns, &[]);
        let now = Now::read();
        let since_ms = (now.monotonic_ns - hour_ago_ns) / 1_000_000;
        assert!(now.uptime_ms >= since_ms, "{now:?}");
    }

    #[test]
    fn timer_ticks_are_counted_from_the_last_look() {
        let now = Now {
            monotonic_ns: 1_000_000_000,
            unix_ns: 1_700_000_000_000_000_000,
            uptime_ms: 0,
            ticks: Ticks {
                tick: u32::MAX,
                began_ns: 990_000_000,
                length_ns: 4_000_000,
            },
        };
        assert_eq!(now.tick(), 1);
        assert_eq!(now.since(u32::MAX), 8_000_000);
        assert_eq!(now.unix_ns_of(u32::MAX), now.unix_ns - 10_000_000);
        assert_eq!(now.since(2), 0);
    }
}
