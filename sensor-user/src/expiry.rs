//! When a flow is over: a pure function of its counters, its ages and the timeouts (`timeouts`). Nothing here
//! touches a table or a clock.
//!
//! softflowd's cascade with its names, made unidirectional; the first rule that applies decides.

mod limits;
mod timeouts;

pub use limits::{Counted, Limits};
pub use timeouts::{Time, Timeouts};

use weir_netflow::EndReason;
use weir_sensor_common::walk::number::{ICMP, ICMPV6, TCP, UDP};

use timeouts::SECOND_NS;

/// Defines the reasons once: variant, name in statistics, reason on the wire.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal => $end:ident,)*) => {
        /// Why a flow was taken out of the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason { $($(#[doc = $doc])* $variant,)* }

        impl Reason {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in statistics: softflowd's where it has one.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// As it is exported.
            #[must_use]
            pub const fn end_reason(self) -> EndReason {
                match self { $(Self::$variant => EndReason::$end,)* }
            }
        }
    };
}

reasons! {
    /// TCP, idle.
    Tcp = "tcp" => IdleTimeout,
    /// TCP, some time after RST.
    TcpRst = "tcp.rst" => EndOfFlow,
    /// TCP, some time after FIN.
    TcpFin = "tcp.fin" => EndOfFlow,
    /// UDP, idle.
    Udp = "udp" => IdleTimeout,
    /// ICMP or ICMPv6, idle.
    Icmp = "icmp" => IdleTimeout,
    /// Another protocol, idle.
    General = "general" => IdleTimeout,
    /// Alive longer than the active timeout.
    Active = "maxlife" => ActiveTimeout,
    /// Counters near what 32-bit formats hold.
    OverOctets = "over_2_gib" => LackOfResources,
    /// Pushed out of a full table.
    Forced = "maxflows" => LackOfResources,
    /// The sensor stopped, or was told to export everything.
    Flushed = "flushed" => ForcedEnd,
}

/// A flow as the policy sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// IP protocol.
    pub protocol: u8,
    /// TCP flags seen.
    pub tcp_flags: u8,
    /// Octets so far.
    pub octets: u64,
    /// Packets so far.
    pub packets: u64,
    /// Nanoseconds since its first packet.
    pub age_ns: u64,
    /// Nanoseconds since its last packet.
    pub idle_ns: u64,
}

/// Exported at this many octets or packets: half of what 32-bit formats and slots hold.
const COUNT_MAX: u64 = 1 << 31;
/// Exported at this age whatever the timeouts say: slots' clocks wrap after 52 days, NetFlow's after
/// 49.
const AGE_MAX_NS: u64 = 45 * 86_400 * SECOND_NS;
const FIN: u8 = 0x01;
const RST: u8 = 0x04;

/// The reason why the flow is over, if it is.
#[must_use]
pub fn expired(flow: &State, timeouts: &Timeouts) -> Option<Reason> {
    if flow.octets >= COUNT_MAX || flow.packets >= COUNT_MAX {
        return Some(Reason::OverOctets);
    }
    if flow.age_ns >= AGE_MAX_NS || (timeouts.active_ns != 0 && flow.age_ns >= timeouts.active_ns) {
        return Some(Reason::Active);
    }
    let (timeout_ns, reason) = idle_rule(flow.protocol, flow.tcp_flags, timeouts);
    (flow.idle_ns >= timeout_ns).then_some(reason)
}

/// How long a flow has if no packet of it comes; 0 if it was idle or alive too long.
#[must_use]
#[inline]
pub fn remaining_ns(flow: &State, timeouts: &Timeouts) -> u64 {
    let (timeout_ns, _) = idle_rule(flow.protocol, flow.tcp_flags, timeouts);
    let idle_ns = timeout_ns.saturating_sub(flow.idle_ns);
    match timeouts.active_ns {
        0 => idle_ns,
        active_ns => idle_ns.min(active_ns.saturating_sub(flow.age_ns)),
    }
}

fn idle_rule(protocol: u8, tcp_flags: u8, timeouts: &Timeouts) -> (u64, Reason) {
    if protocol == TCP && tcp_flags & RST != 0 && timeouts.tcp_rst_ns != 0 {
        return (timeouts.tcp_rst_ns, Reason::TcpRst);
    }
    if protocol == TCP && tcp_flags & FIN != 0 && timeouts.tcp_fin_ns != 0 {
        return (timeouts.tcp_fin_ns, Reason::TcpFin);
    }
    match protocol {
        TCP if timeouts.tcp_ns != 0 => (timeouts.tcp_ns, Reason::Tcp),
        UDP if timeouts.udp_ns != 0 => (timeouts.udp_ns, Reason::Udp),
        ICMP | ICMPV6 if timeouts.icmp_ns != 0 => (timeouts.icmp_ns, Reason::Icmp),
        _ => (timeouts.general_ns, Reason::General),
    }
}

#[cfg(test)]
mod tests {
    use super::{timeouts::tests::timeouts, *};

    fn flow(protocol: u8, tcp_flags: u8, age_s: u64, idle_s: u64) -> State {
        State {
            protocol,
            tcp_flags,
            octets: 100,
            packets: 1,
            age_ns: age_s * SECOND_NS,
            idle_ns: idle_s * SECOND_NS,
        }
    }

    #[test]
    fn each_class_has_its_timeout_and_the_boundary_expires() {
        let timeouts = timeouts(&[
            "tcp=10",
            "udp=20",
            "icmp=30",
            "general=40",
            "tcp.rst=2",
            "tcp.fin=3",
            "active=100",
        ]);
        let cases = [
            (flow(6, 0x10, 50, 9), None),
            (flow(6, 0x10, 50, 10), Some(Reason::Tcp)),
            (flow(6, 0x14, 50, 1), None),
            (flow(6, 0x15, 50, 2), Some(Reason::TcpRst)),
            (flow(6, 0x11, 50, 3), Some(Reason::TcpFin)),
            (flow(17, 0, 50, 20), Some(Reason::Udp)),
            (flow(1, 0, 50, 30), Some(Reason::Icmp)),
            (flow(58, 0, 50, 29), None),
            (flow(47, 0, 50, 39), None),
            (flow(47, 0, 50, 40), Some(Reason::General)),
            (flow(17, 0, 99, 0), None),
            (flow(17, 0, 100, 0), Some(Reason::Active)),
        ];
        for (flow, reason) in cases {
            assert_eq!(expired(&flow, &timeouts), reason, "{flow:?}");
        }
    }

    #[test]
    fn what_remains_is_the_shorter_of_idle_and_active() {
        let timeouts = timeouts(&["udp=20", "active=100"]);
        let remaining =
            |age_s, idle_s| remaining_ns(&flow(17, 0, age_s, idle_s), &timeouts) / SECOND_NS;
        assert_eq!((remaining(10, 5), remaining(95, 5)), (15, 5));
        assert_eq!((remaining(50, 20), remaining(100, 0)), (0, 0));
        let endless = Timeouts {
            active_ns: 0,
            ..Timeouts::softflowd()
        };
        assert_eq!(remaining_ns(&flow(6, 0, 10, 0), &endless), 3600 * SECOND_NS);
    }

    #[test]
    fn a_timeout_of_zero_leaves_the_next_rule() {
        let timeouts = timeouts(&["tcp.rst=0", "tcp.fin=0", "tcp=0", "active=0", "general=70"]);
        assert_eq!(expired(&flow(6, 0x05, 1_000_000, 69), &timeouts), None);
        assert_eq!(
            expired(&flow(6, 0x05, 1_000_000, 70), &timeouts),
            Some(Reason::General)
        );
    }

    #[test]
    fn counts_near_32_bits_expire_at_once() {
        for (octets, packets) in [(1 << 31, 1), (100, 1 << 31)] {
            assert_eq!(
                expired(
                    &State {
                        octets,
                        packets,
                        ..flow(6, 0, 0, 0)
                    },
                    &Timeouts::default()
                ),
                Some(Reason::OverOctets)
            );
        }
        assert_eq!(
            expired(
                &State {
                    octets: (1 << 31) - 1,
                    ..flow(6, 0, 0, 0)
                },
                &Timeouts::default()
            ),
            None
        );
    }

    #[test]
    fn where_no_flow_is_idle_it_is_over_by_age_only() {
        let timeouts = timeouts(&["udp=20", "active=100"]).never_idle();
        for (protocol, tcp_flags) in [(6, 0x05), (6, 0x10), (17, 0), (1, 0), (47, 0)] {
            let idle =
                |age_s, idle_s| expired(&flow(protocol, tcp_flags, age_s, idle_s), &timeouts);
            assert_eq!(idle(99, 99), None, "{protocol}");
            assert_eq!(idle(100, 99), Some(Reason::Active), "{protocol}");
        }
        assert_eq!(timeouts.sweep_interval_ns(), SECOND_NS);
    }
}
