//! What was lost, from sequence numbers: a pure account of one exporter's one numbered stream.
//!
//! v5, v7, v8 and IPFIX number records (RFC 7011 section 3.1), v9 numbers datagrams (RFC 3954 section
//! 5.1), sFlow datagrams and each source's samples; a *unit* here is whichever it is. The number of the
//! next datagram is known from the last one:
//!
//! - A jump ahead leaves a *gap*: its units are lost until they arrive late after all. A datagram is
//!   *reordered* if one with a higher number came before it (RFC 4737 section 3.3), and a *duplicate* if
//!   its units were here already. Gaps are remembered, so that the two are told apart.
//! - A *restart* is seen by the exporter's boot time (clock minus sysUptime) or, if that is the same
//!   still, by a number that steps back although its datagram was sent later. It is not loss: what was
//!   lost before the first datagram that arrived, or after the last, nobody can tell.
//! - A gap is never a restart, however large. flow-capture calls every large one so, and reports none. Only what is
//!   far off in IPFIX and comes from another port is another session, which numbers by itself.
//! - What comes from several ports of one address is read in two ways at once: as one line of numbers, whose port
//!   changes, and as a line for each port (`loss/sessions.rs`). The plainer one is believed, and the first as long as
//!   neither is.
//! - Exporters mix units up: some number records in v9, or datagrams in v5 and IPFIX. One whose numbers move so for long
//!   is read so, and what was missing by the other reading was not lost (`loss/unit.rs`).
//! - A number that fits nothing known (far ahead, far behind, of another boot) may be forged or the
//!   network's mistake. It waits until a second one, right after it, agrees; else it was *doubtful*.
//!
//! In each account, datagrams = in order + gaps + reordered + duplicated + empty + doubtful. A doubtful
//! datagram's units may be counted as lost later: the account is exact where `doubtful` is 0.

mod sessions;
mod unit;

use weir_netflow::low32;

use self::{
    sessions::Sessions,
    unit::{Heard, Unit},
};

/// How an exporter numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// Each datagram is a unit: v9.
    Datagrams,
    /// Each sample of a source is a unit: sFlow. There are many sources.
    Samples,
    /// Each record is a unit, and a number counts those before its datagram: v5, v7, v8.
    Records,
    /// Likewise in IPFIX, but for exporters whose numbers count those of the datagram itself too
    /// (softflowd 1.1.0). Both are tried, and the one with fewer contradictions believed.
    RecordsEitherWay,
}

impl Numbering {
    /// That of an exporter which counts the unit that its version does not.
    fn other(self) -> Self {
        match self {
            Self::Datagrams => Self::RecordsEitherWay,
            Self::Samples => Self::Samples,
            Self::Records | Self::RecordsEitherWay => Self::Datagrams,
        }
    }
}

/// What the account needs of a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbered {
    /// Its sequence number.
    pub sequence: u32,
    /// Units in it.
    pub units: u32,
    /// Units there may be in it beyond those: in sets whose template is not known.
    pub units_unread: u32,
    /// The same of an exporter that counts the other unit, records in v9 and datagrams elsewhere, if that is known.
    pub other: Option<Units>,
    /// The exporter's clock when it was sent, milliseconds since 1970-01-01 UTC.
    pub sent_ms: u64,
    /// The exporter's sysUptime then, milliseconds modulo 2³²; IPFIX has none.
    pub uptime_ms: Option<u32>,
    /// The collector's clock when it arrived, milliseconds since 1970-01-01 UTC.
    pub arrived_ms: u64,
    /// The port it was sent from: another one may be another session's.
    pub port: u16,
}

/// Units of either kind, as in [`Numbered`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// In it.
    pub units: u32,
    /// There may be in it beyond those.
    pub units_unread: u32,
}

impl Units {
    /// Whether there may be so many in it.
    fn may_be(self, units: u32) -> bool {
        let unread = units.checked_sub(self.units);
        unread.is_some_and(|unread| unread <= self.units_unread)
    }
}

impl Numbered {
    /// The same by the other unit. One of which that is not known may hold any number.
    fn by_other_unit(&self) -> Self {
        let Units {
            units,
            units_unread,
        } = self.other.unwrap_or(Units {
            units: 0,
            units_unread: u16::MAX.into(),
        });
        Self {
            units,
            units_unread,
            other: Some(self.of_version()),
            ..*self
        }
    }

    /// Those of the unit that its version counts.
    fn of_version(&self) -> Units {
        Units {
            units: self.units,
            units_unread: self.units_unread,
        }
    }

    /// The same with the number of those before it, if what it says counts itself too.
    fn counted_before(&self) -> Self {
        Self {
            sequence: self.sequence.wrapping_sub(self.units),
            ..*self
        }
    }
}

/// What became of one datagram's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The first one seen, or the expected one.
    InOrder,
    /// This many units before it are missing.
    Gap(u64),
    /// It arrived after a higher one.
    Late,
    /// It was here before.
    Duplicate,
    /// It has no units, and so nothing that could be missing or here before.
    Empty,
    /// It fits nothing known yet, or is too old to tell.
    Doubtful,
    /// The exporter started anew.
    Restart,
}

impl Step {
    fn is_gap(self) -> bool {
        matches!(self, Self::Gap(_))
    }
}

/// Units and datagrams, since the collector started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Units missing for good or still: gaps less what arrived late.
    pub lost: u64,
    /// Datagrams that arrived after a higher one.
    pub reordered: u64,
    /// Datagrams that arrived again.
    pub duplicated: u64,
    /// Times the exporter started anew.
    pub restarts: u64,
    /// Datagrams whose number said nothing.
    pub doubtful: u64,
}

impl Counts {
    /// Adds those of another stream, or of the same one's next connection.
    pub fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.reordered += other.reordered;
        self.duplicated += other.duplicated;
        self.restarts += other.restarts;
        self.doubtful += other.doubtful;
    }
}

/// Gaps remembered, the latest ones; what is missing in older ones stays lost.
pub const GAPS_MAX: usize = 256;
/// The same of each source of samples.
const GAPS_OF_SOURCE_MAX: usize = 64;
/// How far from the expected number a single datagram is believed: some 4,096 datagrams.
const REACH_DATAGRAMS: u32 = 1 << 12;
const REACH_RECORDS: u32 = 1 << 17;
/// Many samples of one source may be lost while its datagrams still follow each other.
const REACH_SAMPLES: u32 = 1 << 20;
/// Nobody loses that many and is then near zero: numbers that began anew, with the wrap in between.
const LEAP_UNITS: i32 = 1 << 28;
/// How far apart two estimates of one boot time may be: v9 headers have whole seconds.
const BOOT_TOLERANCE_MS: u32 = 1500;
/// How much the order of numbers and the order of clocks may disagree: whole seconds again.
const ORDER_TOLERANCE_MS: u64 = 1000;

/// The account of one stream.
#[derive(Clone, Debug)]
pub struct Sequence {
    numbering: Numbering,
    /// Whether it is by the unit of its version.
    unit: Unit,
    /// Counts by the unit that was believed before.
    counts_before: Counts,
    /// Counts when the first datagram came that speaks for the other unit.
    counts_of_run: Counts,
    /// All its datagrams as one line of numbers.
    whole: Numbers,
    /// The same as a line for each port, from the second port on.
    sessions: Option<Box<Sessions>>,
    /// Whether there may be such lines.
    has_sessions: bool,
}

impl Sequence {
    /// Nothing heard yet.
    #[must_use]
    pub fn new(numbering: Numbering) -> Self {
        Self {
            numbering,
            unit: Unit::default(),
            counts_before: Counts::default(),
            counts_of_run: Counts::default(),
            whole: Numbers::of(numbering),
            sessions: None,
            // A source's samples are told apart by its number already, and sources are many.
            has_sessions: numbering != Numbering::Samples,
        }
    }

    /// Whether its numbers count the unit that its version does not: records in v9, datagrams elsewhere.
    #[must_use]
    pub fn counts_other_unit(&self) -> bool {
        self.unit.is_other()
    }

    /// Accounts a datagram.
    pub fn step(&mut self, datagram: &Numbered) -> Step {
        match self.unit.hear(datagram) {
            Heard::Nothing => {}
            Heard::Begins => self.counts_of_run = self.counts(),
            Heard::Turns => {
                self.counts_before = self.counts_of_run;
                self.whole = Numbers::of(if self.unit.is_other() {
                    self.numbering.other()
                } else {
                    self.numbering
                });
                self.sessions = None;
            }
        }
        if self.unit.is_other() {
            return self.account(&datagram.by_other_unit());
        }
        self.account(datagram)
    }

    fn account(&mut self, datagram: &Numbered) -> Step {
        if self.has_sessions
            && self.sessions.is_none()
            && let Some(port) = self.whole.port()
            && port != datagram.port
        {
            self.sessions = Some(Box::new(Sessions::beside(&self.whole, port)));
        }
        let step = self.whole.step(datagram);
        let Some(sessions) = &mut self.sessions else {
            return step;
        };
        let step_of_session = sessions.step(datagram);
        if sessions.judge(&self.whole) {
            step_of_session
        } else {
            step
        }
    }

    /// Counts so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = self.counts_before;
        match &self.sessions {
            Some(sessions) if sessions.are_believed() => counts.add(&sessions.counts()),
            _ => counts.add(&self.whole.believed().counts),
        }
        counts
    }
}

/// One line of numbers, which in IPFIX may count in either way.
#[derive(Clone, Debug)]
struct Numbers {
    account: Account,
    /// The same, if numbers count the datagram itself too.
    account_after: Option<Box<Account>>,
}

impl Numbers {
    fn of(numbering: Numbering) -> Self {
        let (reach, gaps_max) = match numbering {
            Numbering::Datagrams => (REACH_DATAGRAMS, GAPS_MAX),
            Numbering::Samples => (REACH_SAMPLES, GAPS_OF_SOURCE_MAX),
            Numbering::Records | Numbering::RecordsEitherWay => (REACH_RECORDS, GAPS_MAX),
        };
        let either_way = numbering == Numbering::RecordsEitherWay;
        Self::new(Bounds { reach, gaps_max }, either_way)
    }

    fn new(bounds: Bounds, either_way: bool) -> Self {
        let account = Account {
            bounds,
            line: None,
            doubt: None,
            counts: Counts::default(),
            gaps_met: 0,
            overlaps: 0,
        };
        Self {
            account_after: either_way.then(|| Box::new(account.clone())),
            account,
        }
    }

    fn step(&mut self, datagram: &Numbered) -> Step {
        let step = self.account.step(datagram);
        let Some(account_after) = &mut self.account_after else {
            return step;
        };
        let step_after = account_after.step(&datagram.counted_before());
        if self.believed_after().is_some() {
            step_after
        } else {
            step
        }
    }

    /// The account of numbers that count the datagram itself too, if that is the way.
    fn believed_after(&self) -> Option<&Account> {
        let after = self.account_after.as_deref();
        after.filter(|after| after.contradictions() < self.account.contradictions())
    }

    fn believed(&self) -> &Account {
        self.believed_after().unwrap_or(&self.account)
    }

    /// The port of the newest datagram.
    fn port(&self) -> Option<u16> {
        self.account.line.as_ref().map(|line| line.newest.port)
    }

    /// Whether a datagram begins right where the newest one ended.
    fn is_continued_by(&self, datagram: &Numbered) -> bool {
        self.believed_after().map_or_else(
            || self.account.is_continued_by(datagram),
            |after| after.is_continued_by(&datagram.counted_before()),
        )
    }
}

/// A number that fits nothing known, and how often it came again.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    first: Numbered,
    copies: u64,
}

/// How far numbers are believed, and how many gaps are remembered.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    reach: u32,
    gaps_max: usize,
}

#[derive(Clone, Debug)]
struct Account {
    bounds: Bounds,
    line: Option<Line>,
    doubt: Option<Doubt>,
    counts: Counts,
    /// Gaps, those that were filled since included.
    gaps_met: u64,
    /// Datagrams that began before the one before them ended, and ended after it.
    overlaps: u64,
}

impl Account {
    fn step(&mut self, datagram: &Numbered) -> Step {
        let Bounds { reach, .. } = self.bounds;
        let Some(line) = &mut self.line else {
            self.line = Some(Line::begin(datagram, self.bounds));
            return Step::InOrder;
        };
        if follows(&line.newest, low32(line.next), datagram, reach) {
            let begins_before = ahead(low32(line.next), datagram.sequence) < 0;
            let step = line.take(datagram, &mut self.counts);
            self.gaps_met += u64::from(step.is_gap());
            self.overlaps += u64::from(begins_before && step == Step::InOrder);
            if matches!(step, Step::InOrder | Step::Gap(_)) {
                // Two that agree must come one right after the other.
                self.doubt = None;
            }
            return step;
        }
        let fresh = Doubt {
            first: *datagram,
            copies: 0,
        };
        let doubt = match self.doubt {
            Some(doubt) if doubt.is_copy(datagram) => Doubt {
                copies: doubt.copies + 1,
                ..doubt
            },
            Some(doubt) if doubt.is_followed_by(datagram, reach) => {
                return self.believe(doubt, datagram);
            }
            _ => fresh,
        };
        self.doubt = Some(doubt);
        self.counts.doubtful += 1;
        Step::Doubtful
    }

    /// A second datagram agrees with the doubtful one: what it said is so.
    fn believe(&mut self, doubt: Doubt, second: &Numbered) -> Step {
        let Doubt { first, copies } = doubt;
        self.doubt = None;
        self.counts.doubtful -= 1 + copies;
        self.counts.duplicated += copies;
        let bounds = self.bounds;
        let line = self.line.get_or_insert_with(|| Line::begin(&first, bounds));
        let ahead = ahead(low32(line.next), first.sequence);
        let begins_anew = ahead < 0
            || has_moved(&line.newest, ahead, &first)
            || (first.uptime_ms.is_none() && first.port != line.newest.port)
            || (ahead > LEAP_UNITS && first.sequence <= bounds.reach);
        let step = if begins_anew {
            *line = Line::begin(&first, bounds);
            self.counts.restarts += 1;
            Step::Restart
        } else {
            line.take(&first, &mut self.counts)
        };
        let step_of_second = line.take(second, &mut self.counts);
        self.gaps_met += u64::from(step.is_gap()) + u64::from(step_of_second.is_gap());
        step
    }

    /// Datagrams that did not come as the ones before them had it.
    fn surprises(&self) -> u64 {
        let Counts {
            lost: _,
            reordered,
            duplicated,
            restarts,
            doubtful,
        } = self.counts;
        self.gaps_met + reordered + duplicated + restarts + doubtful
    }

    /// What speaks against its way to count. How much is missing does not: in the wrong way a gap may look smaller.
    fn contradictions(&self) -> u64 {
        self.surprises() + self.overlaps
    }

    /// See [`Numbers::is_continued_by`]. Where it ended is known but for what could not be read.
    fn is_continued_by(&self, datagram: &Numbered) -> bool {
        self.line.as_ref().is_some_and(|line| {
            let ahead = u32::try_from(ahead(low32(line.next), datagram.sequence));
            ahead.is_ok_and(|ahead| ahead <= line.newest.units_unread)
        })
    }
}

impl Doubt {
    fn is_copy(&self, datagram: &Numbered) -> bool {
        let Numbered {
            sequence, units, ..
        } = self.first;
        units > 0 && (datagram.sequence, datagram.units) == (sequence, units)
    }

    fn is_followed_by(&self, datagram: &Numbered, reach: u32) -> bool {
        let next = self.first.sequence.wrapping_add(self.first.units);
        follows(&self.first, next, datagram, reach)
    }
}

/// Units from the expected number to this one, modulo 2³² and nearest to zero.
fn ahead(next: u32, sequence: u32) -> i32 {
    sequence.wrapping_sub(next).cast_signed()
}

/// Whether a single datagram is believed to continue after `newest`, where `next` is expected.
fn follows(newest: &Numbered, next: u32, datagram: &Numbered, reach: u32) -> bool {
    let ahead = ahead(next, datagram.sequence);
    if ahead == 0 {
        return true;
    }
    ahead.unsigned_abs() <= reach
        && !has_moved(newest, ahead, datagram)
        && !is_out_of_time(newest, ahead, datagram)
}

/// Whether the exporter's boot time is another one. It is estimated by the exporter's clock, which may
/// have been stepped, and by the collector's, which datagrams that waited in a buffer reach late: a
/// restart moves both. A sysUptime that stands still says nothing.
fn has_moved(newest: &Numbered, ahead: i32, datagram: &Numbered) -> bool {
    match (newest.uptime_ms, datagram.uptime_ms) {
        (Some(before), Some(now)) if before != now => {
            let moved = |clock_before: u64, clock_now: u64| {
                let boot_before = low32(clock_before).wrapping_sub(before);
                let boot_now = low32(clock_now).wrapping_sub(now);
                boot_now
                    .wrapping_sub(boot_before)
                    .cast_signed()
                    .unsigned_abs()
            };
            let by_exporter = moved(newest.sent_ms, datagram.sent_ms);
            let by_collector = moved(newest.arrived_ms, datagram.arrived_ms);
            by_exporter.min(by_collector) > BOOT_TOLERANCE_MS
        }
        // Address translators change ports too: only a number that steps back makes it a session.
        (None, None) => ahead < 0 && datagram.port != newest.port,
        _ => false,
    }
}

/// Whether numbers and clocks contradict each other. What was sent later has no number from before,
/// unless the numbers began anew; what was sent earlier is not ahead.
fn is_out_of_time(newest: &Numbered, ahead: i32, datagram: &Numbered) -> bool {
    if ahead > 0 {
        return datagram.sent_ms + ORDER_TOLERANCE_MS < newest.sent_ms;
    }
    // One that reaches beyond the expected number overlaps: its exporter counts some units twice.
    let is_behind = ahead.unsigned_abs() >= datagram.units;
    is_behind && datagram.sent_ms > newest.sent_ms + ORDER_TOLERANCE_MS
}

/// Units that have not arrived, by position.
#[derive(Clone, Copy, Debug)]
struct Gap {
    first: u64,
    end: u64,
    /// Whether they count as lost: those before the first datagram do not.
    is_loss: bool,
}

/// The numbers of an exporter from one start to the next. A *position* is a number that does not wrap.
#[derive(Clone, Debug)]
struct Line {
    /// Position of the next unit.
    next: u64,
    /// The datagram that ended there.
    newest: Numbered,
    /// Ascending, and apart.
    gaps: Vec<Gap>,
    gaps_max: usize,
    /// Positions below are forgotten, or were never known.
    known_from: u64,
}

/// Positions begin here, so that none before the first is negative.
const FIRST_TURN: u64 = 1 << 32;

impl Line {
    fn begin(first: &Numbered, bounds: Bounds) -> Self {
        let at = FIRST_TURN + u64::from(first.sequence);
        let known_from = at - u64::from(bounds.reach);
        Self {
            next: at + u64::from(first.units),
            newest: *first,
            gaps: vec![Gap {
                first: known_from,
                end: at,
                is_loss: false,
            }],
            gaps_max: bounds.gaps_max,
            known_from,
        }
    }

    /// Accounts a datagram of this line.
    fn take(&mut self, datagram: &Numbered, counts: &mut Counts) -> Step {
        let ahead = ahead(low32(self.next), datagram.sequence);
        let at = self.next.saturating_add_signed(i64::from(ahead));
        let end = at + u64::from(datagram.units);
        if end > self.next || ahead == 0 {
            return self.move_on(datagram, at, end, counts);
        }
        if datagram.units == 0 {
            return Step::Empty;
        }
        let filled = self.fill(at, end);
        counts.lost -= filled.lost;
        if filled.units > 0 {
            counts.reordered += 1;
            Step::Late
        } else if at < self.known_from {
            counts.doubtful += 1;
            Step::Doubtful
        } else {
            counts.duplicated += 1;
            Step::Duplicate
        }
    }

    fn move_on(&mut self, datagram: &Numbered, at: u64, end: u64, counts: &mut Counts) -> Step {
        // Sets that could not be read may hold that many records: a jump over them is no gap.
        let first = self.next + u64::from(self.newest.units_unread);
        let missing = at.saturating_sub(first);
        if missing > 0 {
            self.gaps.push(Gap {
                first,
                end: at,
                is_loss: true,
            });
            counts.lost += missing;
        } else if at < self.next {
            counts.lost -= self.fill(at, self.next).lost;
        }
        self.forget_oldest();
        self.next = end;
        self.newest = *datagram;
        if missing > 0 {
            Step::Gap(missing)
        } else {
            Step::InOrder
        }
    }

    /// Takes what arrived out of the gaps it was missing in.
    fn fill(&mut self, at: u64, end: u64) -> Filled {
        let mut filled = Filled::default();
        let mut index = self.gaps.partition_point(|gap| gap.end <= at);
        while let Some(gap) = self.gaps.get(index).copied()
            && gap.first < end
        {
            let (from, to) = (gap.first.max(at), gap.end.min(end));
            filled.units += to - from;
            filled.lost += if gap.is_loss { to - from } else { 0 };
            self.gaps.remove(index);
            for part in [Gap { end: from, ..gap }, Gap { first: to, ..gap }] {
                if part.first < part.end {
                    self.gaps.insert(index, part);
                    index += 1;
                }
            }
        }
        self.forget_oldest();
        filled
    }

    fn forget_oldest(&mut self) {
        while self.gaps.len() > self.gaps_max {
            self.known_from = self.gaps.remove(0).end;
        }
    }
}

/// What a late datagram brought.
#[derive(Clone, Copy, Debug, Default)]
struct Filled {
    units: u64,
    /// Those of them that were counted as lost.
    lost: u64,
}

#[cfg(test)]
mod tests;
