//! What the program counts, per CPU, by reason. Each packet moves [`Counter::Packets`] and, if it
//! is in no flow, exactly one reason why. The rest are the IP packets ([`ip_packets`]): each is in a
//! flow, or in one of the `Lost…` counters.

/// Defines the counters once: index, name as exported, meaning.
macro_rules! counters {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*) => {
        /// Index of a counter in a CPU's [`Block`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Counter { $($(#[doc = $doc])* $variant,)* }

        impl Counter {
            /// Every counter, in index order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name under which statistics show it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it counts, as a sentence.
            #[must_use]
            pub const fn help(self) -> &'static str {
                let text = match self { $(Self::$variant => concat!($($doc),*),)* };
                text.trim_ascii()
            }
        }
    };
}

counters! {
    /// Frames the program saw.
    Packets = "packets",
    /// Octets of the IP packets by their length fields.
    IpOctets = "ip_octets",
    /// Packets left out by sampling.
    SampledOut = "sampled_out_packets",
    /// Packets that leave, and were metered where they came in.
    AlreadyMetered = "already_metered_packets",
    /// Frames that carry no IP (ARP, LLDP, unknown tunnels …).
    NonIp = "non_ip_packets",
    /// Frames that end before their IP header does.
    TooShort = "too_short_packets",
    /// Frames whose EtherType says IP but whose header contradicts itself.
    BadIp = "bad_ip_packets",
    /// Frames with more VLAN tags or MPLS labels than the walk follows.
    TooDeep = "too_deep_packets",
    /// Packets whose next step the kernel did not run, see the program's `main.rs`.
    StepMissing = "step_missing_packets",
    /// Flows opened in the table.
    FlowsCreated = "flows",
    /// Flows pushed out of a full table and handed over through the CPU's ring.
    FlowsEvicted = "evicted_flows",
    /// Flows pushed out while that ring was full: their packets and octets follow.
    LostRingFlows = "ring_full_flows",
    /// Packets of those.
    LostRingPackets = "ring_full_packets",
    /// Octets of those.
    LostRingOctets = "ring_full_octets",
    /// Packets that found the slots they tried in the middle of a hand-over.
    LostBusyPackets = "table_busy_packets",
    /// Octets of those.
    LostBusyOctets = "table_busy_octets",
    /// Pieces of fragmented packets; they are in flows like all others.
    Fragments = "fragment_packets",
    /// Packets that the filter expression does not match.
    Filtered = "filtered_packets",
}

/// Room for counters in a [`Block`].
pub const COUNTERS_MAX: u32 = 24;

/// One CPU's counters; three cache lines, one writer.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Indexed by [`Counter`].
    pub values: [u64; COUNTERS_MAX as usize],
}

const _: () = assert!(size_of::<Block>() == 192 && Counter::ALL.len() <= COUNTERS_MAX as usize);

/// The packets that are in no flow, by reason.
pub const UNMETERED: [Counter; 8] = [
    Counter::Filtered,
    Counter::SampledOut,
    Counter::AlreadyMetered,
    Counter::NonIp,
    Counter::TooShort,
    Counter::BadIp,
    Counter::TooDeep,
    Counter::StepMissing,
];

/// Packets with a usable IP header. Of counters that are read while the program goes on a reason may be
/// newer than the packets: then it is none, and not two to the 64th less one.
#[must_use]
pub fn ip_packets(values: &[u64; COUNTERS_MAX as usize]) -> u64 {
    UNMETERED
        .iter()
        .fold(values[Counter::Packets as usize], |packets, reason| {
            packets.saturating_sub(values[*reason as usize])
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_that_are_in_no_flow_are_taken_off_and_never_more_than_there_were() {
        let mut values = [0; COUNTERS_MAX as usize];
        values[Counter::Packets as usize] = 10;
        values[Counter::Filtered as usize] = 6;
        values[Counter::NonIp as usize] = 1;
        assert_eq!(ip_packets(&values), 3);
        values[Counter::TooShort as usize] = 4;
        assert_eq!(ip_packets(&values), 0);
    }
}
