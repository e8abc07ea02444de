//! What comes from several ports of one address, read as sessions side by side: line cards of a router or processes of a
//! host, each with numbers of its own (RFC 7011 section 3.1; a session of UDP is its addresses and ports). Before IPFIX
//! there are no sessions, and yet there are several softflowd or pmacct on a host, which all say the same domain. Ports
//! change for other reasons, too: address translators give new ones, and what restarts takes one. So each datagram goes by
//!
//! - the line of its port;
//! - if there is none, the line that it continues to the unit, which has moved to this port;
//! - else it is a *stranger*, doubtful until a second one from its port agrees: then they begin a line.
//!
//! Beside it all datagrams are read as one line, as before the second port. Of two such readings that is right which
//! finds fewer *surprises*: gaps, and what is late, a copy, doubtful or anew. One line whose port changes has none for
//! that, and here each change is one, or two if it begins a line; sessions side by side have none here, and each turn
//! from one to another is one there. Counts fall when sessions come to be believed: what was missing was none.
//!
//! Lines and strangers are bounded, however many ports there are. The line that was silent the longest makes room; its
//! counts stay.

use std::collections::VecDeque;

use super::{Bounds, Counts, Doubt, Numbered, Numbers, Step};

/// Sessions of an exporter's domain that are followed, and strangers.
pub(super) const SESSIONS_MAX: usize = 16;
/// Gaps remembered of each; those of all are about as many as one line has.
const GAPS_OF_SESSION_MAX: usize = 31;
/// A line that begins is no plainer than one late datagram, which may look like one: a gap, and what fills it.
const BEGINNING: u64 = 2;
/// A line that moves to another port.
const MOVE: u64 = 1;
/// One line is believed until it has more surprises than that, and twice those of the sessions.
const SURPRISES_MIN: u64 = 4;

/// What came from several ports, as sessions.
#[derive(Clone, Debug)]
pub(super) struct Sessions {
    pub(super) known: Vec<Session>,
    /// Those that nothing agreed with yet, one of a port, as they came.
    pub(super) strangers: VecDeque<Doubt>,
    /// Counts of strangers, and of sessions that made room.
    others: Counts,
    /// All surprises but those of `known`.
    surprises: u64,
    /// Surprises there were before the second port.
    surprises_before: u64,
    /// Datagrams heard.
    heard: u64,
    are_believed: bool,
    /// Those of each, and whether its numbers may count in either way.
    bounds: Bounds,
    either_way: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Session {
    port: u16,
    numbers: Numbers,
    /// Which datagram was its newest.
    heard: u64,
}

impl Sessions {
    /// What came from one port so far is the first session's.
    pub(super) fn beside(whole: &Numbers, port: u16) -> Self {
        Self {
            known: vec![Session {
                port,
                numbers: whole.clone(),
                heard: 0,
            }],
            strangers: VecDeque::new(),
            others: Counts::default(),
            surprises: 0,
            surprises_before: whole.believed().surprises(),
            heard: 0,
            are_believed: false,
            bounds: Bounds {
                gaps_max: GAPS_OF_SESSION_MAX,
                ..whole.account.bounds
            },
            either_way: whole.account_after.is_some(),
        }
    }

    /// Accounts a datagram.
    pub(super) fn step(&mut self, datagram: &Numbered) -> Step {
        self.heard += 1;
        let port = datagram.port;
        if let Some(at) = self.position(|session| session.port == port) {
            return self.hear(at, datagram);
        }
        let stranger = self.take_stranger(port);
        if let Some(stranger) = stranger
            && is_followed(&stranger, datagram, self.bounds.reach)
        {
            return self.begin(stranger, datagram);
        }
        if let Some(at) = self.position(|session| session.numbers.is_continued_by(datagram)) {
            self.known[at].port = port;
            self.surprises += MOVE;
            return self.hear(at, datagram);
        }
        let stranger = match stranger {
            Some(stranger) if stranger.is_copy(datagram) => Doubt {
                copies: stranger.copies + 1,
                ..stranger
            },
            _ => Doubt {
                first: *datagram,
                copies: 0,
            },
        };
        if self.strangers.len() >= SESSIONS_MAX {
            self.strangers.pop_front();
        }
        self.strangers.push_back(stranger);
        self.others.doubtful += 1;
        self.surprises += 1;
        Step::Doubtful
    }

    /// Counts of all sessions.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = self.others;
        for session in &self.known {
            counts.add(&session.numbers.believed().counts);
        }
        counts
    }

    /// Whether sessions are what came, after this datagram.
    pub(super) fn are_believed(&self) -> bool {
        self.are_believed
    }

    /// Settles whether sessions are what came, or one line. They are believed as long as they are no less plain.
    pub(super) fn judge(&mut self, whole: &Numbers) -> bool {
        let since = |surprises: u64| surprises.saturating_sub(self.surprises_before);
        let here = since(self.surprises());
        let there = since(whole.believed().surprises());
        self.are_believed = if self.are_believed {
            here <= there
        } else {
            2 * here + SURPRISES_MIN < there
        };
        self.are_believed
    }

    fn surprises(&self) -> u64 {
        let known = self.known.iter();
        let known = known.map(|session| session.numbers.believed().surprises());
        self.surprises + known.sum::<u64>()
    }

    fn position(&self, is_it: impl FnMut(&Session) -> bool) -> Option<usize> {
        self.known.iter().position(is_it)
    }

    fn hear(&mut self, at: usize, datagram: &Numbered) -> Step {
        let session = &mut self.known[at];
        session.heard = self.heard;
        session.numbers.step(datagram)
    }

    fn take_stranger(&mut self, port: u16) -> Option<Doubt> {
        let mut strangers = self.strangers.iter();
        let at = strangers.position(|stranger| stranger.first.port == port)?;
        self.strangers.remove(at)
    }

    /// A second datagram agrees with a stranger: they are a session's first.
    fn begin(&mut self, stranger: Doubt, second: &Numbered) -> Step {
        let Doubt { first, copies } = stranger;
        self.others.doubtful -= 1 + copies;
        self.others.duplicated += copies;
        // The first one was a surprise; copies still are.
        self.surprises -= 1;
        self.surprises += BEGINNING;
        self.make_room();
        let mut numbers = Numbers::new(self.bounds, self.either_way);
        numbers.step(&first);
        let step = numbers.step(second);
        self.known.push(Session {
            port: second.port,
            numbers,
            heard: self.heard,
        });
        step
    }

    fn make_room(&mut self) {
        if self.known.len() < SESSIONS_MAX {
            return;
        }
        let silent = (0..self.known.len()).min_by_key(|at| self.known[*at].heard);
        if let Some(at) = silent {
            let forgotten = self.known.swap_remove(at);
            let account = forgotten.numbers.believed();
            self.others.add(&account.counts);
            self.surprises += account.surprises();
        }
    }
}

/// Whether a datagram, which is no copy, is one of a stranger's session, in whichever way that counts.
fn is_followed(stranger: &Doubt, datagram: &Numbered, reach: u32) -> bool {
    if stranger.is_copy(datagram) {
        return false;
    }
    let counted_before = Doubt {
        first: stranger.first.counted_before(),
        ..*stranger
    };
    stranger.is_followed_by(datagram, reach)
        || counted_before.is_followed_by(&datagram.counted_before(), reach)
}
