//! Which unit an exporter numbers. Its version says so, and yet some number records in v9, or datagrams in v5 and IPFIX.
//! Read by the unit of the version, each datagram of theirs is a gap, or came in part before.
//!
//! What tells it is how far the number moved from one datagram to the next: by as much as one of them has of the other
//! unit, and not of its own. Loss does that now and then, but not [`RUN`] times before it does the expected once; nor does
//! an exporter that has its datagrams go to several collectors in turn, whose numbers always move as far. Where records
//! wait for their template, nobody knows how many there are: as many as the number moved, perhaps.

use super::{Numbered, Units};

/// Datagrams that move as by the other unit, with none between that moves as by the one believed.
const RUN: u32 = 32;

/// The unit that is believed, and what speaks against it.
#[derive(Clone, Debug, Default)]
pub(super) struct Unit {
    is_other: bool,
    /// The newest datagram.
    last: Option<Numbered>,
    /// So many speak for the other one.
    run: u32,
    /// How far the number moved at first.
    moved: u32,
    /// Whether it then moved farther, or less far, or as only datagrams do.
    has_varied: bool,
}

/// What a datagram says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Nothing,
    /// The first that speaks for the other one.
    Begins,
    /// From this one on the other one is believed.
    Turns,
}

impl Unit {
    /// Whether it is not that of the version.
    pub fn is_other(&self) -> bool {
        self.is_other
    }

    /// Looks at a datagram.
    pub fn hear(&mut self, datagram: &Numbered) -> Heard {
        let Some(last) = self.last.replace(*datagram) else {
            return Heard::Nothing;
        };
        let (Some(other_before), Some(other)) = (last.other, datagram.other) else {
            return Heard::Nothing;
        };
        let moved = datagram.sequence.wrapping_sub(last.sequence);
        let of_version = [last.of_version(), datagram.of_version()];
        let of_other = [other_before, other];
        // Some count what is in the datagram itself.
        let is_by =
            |counted: [Units; 2]| counted.map(|Units { units, .. }| units == moved) != [false; 2];
        let (by_version, by_other) = (is_by(of_version), is_by(of_other));
        if by_version == by_other || last.port != datagram.port {
            return Heard::Nothing;
        }
        if by_other == self.is_other {
            self.run = 0;
            return Heard::Nothing;
        }
        let believed = if self.is_other { of_other } else { of_version };
        if believed.map(|counted| counted.may_be(moved)) != [false; 2] {
            return Heard::Nothing;
        }
        self.run += 1;
        if self.run == 1 {
            (self.moved, self.has_varied) = (moved, moved == 1);
            return Heard::Begins;
        }
        self.has_varied |= moved != self.moved;
        if self.run < RUN || !self.has_varied {
            return Heard::Nothing;
        }
        self.run = 0;
        self.is_other = !self.is_other;
        Heard::Turns
    }
}
