//! What the program counts, per CPU, by reason. Each packet moves [`Counter::Packets`] and then
//! either [`Counter::IpPackets`] or exactly one reason why it is in no flow.

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
        }
    };
}

counters! {
    /// Frames the program saw.
    Packets = "packets",
    /// Packets with a usable IP header: each is in a flow, or in one of the `Lost…` counters.
    IpPackets = "ip_packets",
    /// Their octets by the IP length fields.
    IpOctets = "ip_octets",
    /// Frames that carry no IP (ARP, LLDP, unknown tunnels …).
    NonIp = "non_ip_packets",
    /// Frames that end before their IP header does.
    TooShort = "too_short_packets",
    /// Frames whose EtherType says IP but whose header contradicts itself.
    BadIp = "bad_ip_packets",
    /// Frames with more VLAN tags or MPLS labels than the walk follows.
    TooDeep = "too_deep_packets",
    /// Flows opened in the table.
    FlowsCreated = "flows",
    /// Flows pushed out of a full table and handed over through the ring buffer.
    FlowsEvicted = "evicted_flows",
    /// Flows pushed out while the ring buffer was full: their packets and octets follow.
    LostRingFlows = "ring_full_flows",
    /// Packets of those.
    LostRingPackets = "ring_full_packets",
    /// Octets of those.
    LostRingOctets = "ring_full_octets",
    /// Packets that found the slots they tried in the middle of a hand-over.
    LostBusyPackets = "table_busy_packets",
    /// Octets of those.
    LostBusyOctets = "table_busy_octets",
}

/// One CPU's counters; two cache lines, one writer.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Indexed by [`Counter`].
    pub values: [u64; 16],
}

const _: () = assert!(size_of::<Block>() == 128 && Counter::ALL.len() <= 16);
