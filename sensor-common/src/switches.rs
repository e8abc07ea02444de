//! What of the kernel program is switched on, in one word: a constant once the program is loaded.
//!
//! The verifier takes out what a constant rules out, but not the loads of the constant: a word for each option were two
//! instructions each for every packet. So they are one, and what the usual packet has to ask for is asked at once.

use crate::{extra::Fields, tunnel::Tunnels};

/// The options that are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches(pub u32);

impl Switches {
    /// All are off.
    pub const NONE: Self = Self(0);
    /// There are several interfaces: which one it is has to be looked up.
    pub const SEVERAL: Self = Self(1);
    /// The one interface has no Ethernet header (tunnels, PPP).
    pub const RAW: Self = Self(1 << 1);
    /// Packets pass a filter first, which user space makes of an expression.
    pub const FILTER: Self = Self(1 << 2);
    /// One packet in so many is metered.
    pub const SAMPLING: Self = Self(1 << 3);
    /// It is drawn at random, instead of counted off.
    pub const SAMPLING_RANDOM: Self = Self(1 << 4);
    /// Packets are stamped by the exact clock.
    pub const EXACT_CLOCK: Self = Self(1 << 5);
    /// Received frames end here instead of going on.
    pub const DROP: Self = Self(1 << 8);
    /// Later fragments inherit ports.
    pub const FRAGMENTS: Self = Self(1 << 9);
    /// IPv6 is counted as no IP.
    pub const V4_ONLY: Self = Self(1 << 10);
    /// Frames that are in no flow are logged.
    pub const DEBUG_LOG: Self = Self(1 << 11);

    const TUNNELS_SHIFT: u32 = 16;
    const FIELDS_SHIFT: u32 = 24;
    /// What makes a difference to the usual packet: the first octet's, tunnels and fields.
    const USUAL: u32 = 0xffff_00ff;

    /// This one if `on`, else none.
    #[must_use]
    pub const fn when(self, on: bool) -> Self {
        if on { self } else { Self::NONE }
    }

    /// Which tunnels are entered.
    #[must_use]
    pub const fn of_tunnels(tunnels: Tunnels) -> Self {
        Self((tunnels.0 as u32) << Self::TUNNELS_SHIFT)
    }

    /// What is read of a packet beside its key.
    #[must_use]
    pub const fn of_fields(fields: Fields) -> Self {
        Self((fields.0 as u32) << Self::FIELDS_SHIFT)
    }

    /// All of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it is on.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, switch: Self) -> bool {
        self.0 & switch.0 != 0
    }

    /// Whether nothing is on that makes a difference to the usual packet.
    #[inline(always)]
    #[must_use]
    pub const fn leave_the_usual(self) -> bool {
        self.0 & Self::USUAL == 0
    }

    /// Which tunnels are entered.
    #[inline(always)]
    #[must_use]
    pub const fn tunnels(self) -> Tunnels {
        Tunnels(self.0.to_le_bytes()[2])
    }

    /// What is read of a packet beside its key.
    #[inline(always)]
    #[must_use]
    pub const fn fields(self) -> Fields {
        Fields(self.0.to_le_bytes()[3])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_found_again() {
        let tunnels = Tunnels::GRE.and(Tunnels::GTPU);
        let fields = Fields::MAC.and(Fields::OUTER);
        let on = Switches::DROP
            .and(Switches::of_tunnels(tunnels))
            .and(Switches::of_fields(fields))
            .and(Switches::RAW.when(false));
        assert_eq!((on.tunnels(), on.fields()), (tunnels, fields));
        assert!(on.has(Switches::DROP) && !on.has(Switches::RAW));
    }

    #[test]
    fn the_usual_packet_is_left_alone_by_what_concerns_others() {
        let others = [
            Switches::DROP,
            Switches::FRAGMENTS,
            Switches::V4_ONLY,
            Switches::DEBUG_LOG,
        ];
        for other in others {
            assert!(other.leave_the_usual(), "{other:?}");
        }
        let own = [
            Switches::SEVERAL,
            Switches::RAW,
            Switches::FILTER,
            Switches::SAMPLING,
            Switches::SAMPLING_RANDOM,
            Switches::EXACT_CLOCK,
            Switches::of_tunnels(Tunnels::GTPU),
            Switches::of_fields(Fields::OUTER),
        ];
        for own in own {
            assert!(!own.leave_the_usual(), "{own:?}");
        }
    }
}
