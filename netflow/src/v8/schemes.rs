//! The fourteen layouts. The first fields of most are the same; they are written out, so that
//! each can be held beside its description.

use super::{Placed, Scheme};
use crate::element::{self, Element};

const fn at(offset: u16, octets: u16, element: Element) -> Placed {
    Placed {
        offset,
        octets,
        element,
    }
}

/// A field without a number: reserved, or the packets that a Catalyst found above a contract.
const NONE: Element = element::PADDING;

/// The schemes; number 1 is the first.
#[rustfmt::skip]
pub static SCHEMES: [Scheme; 14] = [
    Scheme { name: "as", fields: &[
        at(0, 4, element::FLOWS), at(4, 4, element::PACKETS), at(8, 4, element::OCTETS),
        at(12, 4, element::START_UPTIME_MS), at(16, 4, element::END_UPTIME_MS),
        at(20, 2, element::SOURCE_AS), at(22, 2, element::DESTINATION_AS),
        at(24, 2, element::INGRESS_IFINDEX), at(26, 2, element::EGRESS_IFINDEX),
    ] },
    Scheme { name: "protocol-port", fields: &[
        at(0, 4, element::FLOWS), at(4, 4, element::PACKETS), at(8, 4, element::OCTETS),
        at(12, 4, element::START_UPTIME_MS), at(16, 4, element::END_UPTIME_MS),
        at(20, 1, element::PROTOCOL), at(21, 3, NONE),
        at(24, 2, element::SOURCE_PORT), at(26, 2, element::DESTINATION_PORT),
    ] },
    Scheme { name: "source-prefix", fields: &[
        at(0, 4, element::FLOWS), at(4, 4, element::PACKETS), at(8, 4, element::OCTETS),
        at(12, 4, element::START_UPTIME_MS), at(16, 4, element::END_UPTIME_MS),
        at(20, 4, element::SOURCE_PREFIX_V4), at(24, 1, element::SOURCE_MASK_V4),
        at(25, 1, NONE), at(26, 2, element::SOURCE_AS),
        at(28, 2, element::INGRESS_IFINDEX), at(30, 2, NONE),
    ] },
    Scheme { name: "destination-prefix", fields: &[
        at(0, 4, element::FLOWS), at(4, 4, element::PACKETS), at(8, 4, element::OCTETS),
        at(12, 4, element::START_UPTIME_MS), at(16, 4, element::END_UPTIME_MS),
        at(20, 4, element::DESTINATION_PREFIX_V4), at(24, 1, element::DESTINATION_MASK_V4),
        at(25, 1, NONE), at(26, 2, element::DESTINATION_AS),
        at(28, 2, element::EGRESS_IFINDEX), at(30, 2, NONE),
    ] },
    Scheme { name: "prefix", fields: &[
        at(0, 4, element::FLOWS), at(4, 4, element::PACKETS), at(8, 4, element::OCTETS),
        at(12, 4, element::START_UPTIME_MS), at(16, 4, element::END_UPTIME_MS),
        at(20, 4, element::SOURCE_PREFIX_V4), at(24, 4, element::DESTINATION_PREFIX_V4),
        at(28, 1, element::DESTINATION_MASK_V4), at(29, 1, element::SOURCE_MASK_V4),
        at(30, 2, NONE), at(32, 2, element::SOURCE_AS), at(34, 2, element::DESTINATION_AS),
        at(36, 2, element::INGRESS_IFINDEX), at(38, 2, element::EGRESS_IFINDEX),
    ] },
    Scheme { name: "destination", fields: &[
        at(0, 4, element::DESTINATION_V4), at(4, 4, element::PACKETS), at(8, 4, element::OCTETS),
        at(12, 4, element::START_UPTIME_MS), at(16, 4, element::END_UPTIME_MS),
        at(20, 2, element::EGRESS_IFINDEX), at(22, 1, element::TOS), at(23, 1, element::POST_TOS),
        at(24, 4, NONE), at(28, 4, element::ROUTER_SHORTCUT),
    ] },
    Scheme { name: "source-destination", fields: &[
        at(0, 4, element::DESTINATION_V4), at(4, 4, element::SOURCE_V4),
        at(8, 4, element::PACKETS), at(12, 4, element::OCTETS),
        at(16, 4, element::START_UPTIME_MS), at(20, 4, element::END_UPTIME_MS),
        at(24, 2, element::EGRESS_IFINDEX), at(26, 2, element::INGRESS_IFINDEX),
        at(28, 1, element::TOS), at(29, 1, element::POST_TOS), at(30, 2, NONE),
        at(32, 4, NONE), at(36, 4, element::ROUTER_SHORTCUT),
    ] },
    Scheme { name: "full-flow", fields: &[
        at(0, 4, element::DESTINATION_V4), at(4, 4, element::SOURCE_V4),
        at(8, 2, element::DESTINATION_PORT), at(10, 2, element::SOURCE_PORT),
        at(12, 4, element::PACKETS), at(16, 4, element::OCTETS),
        at(20, 4, element::START_UPTIME_MS), at(24, 4, element::END_UPTIME_MS),
        at(28, 2, element::EGRESS_IFINDEX), at(30, 2, element::INGRESS_IFINDEX),
        at(32, 1, element::TOS), at(33, 1, element::PROTOCOL), at(34, 1, element::POST_TOS),
        at(35, 1, NONE), at(36, 4, NONE), at(40, 4, element::ROUTER_SHORTCUT),
    ] },
    Scheme { name: "as-tos", fields: &[
        at(0, 4, element::FLOWS), at(4, 4, element::PACKETS), at(8, 4, element::OCTETS),
        at(12, 4, element::START_UPTIME_MS), at(16, 4, element::END_UPTIME_MS),
        at(20, 2, element::SOURCE_AS), at(22, 2, element::DESTINATION_AS),
        at(24, 2, element::INGRESS_IFINDEX), at(26, 2, element::EGRESS_IFINDEX),
        at(28, 1, element::TOS), at(29, 3, NONE),
    ] },
    Scheme { name: "protocol-port-tos", fields: &[
        at(0, 4, element::FLOWS), at(4, 4, element::PACKETS), at(8, 4, element::OCTETS),
        at(12, 4, element::START_UPTIME_MS), at(16, 4, element::END_UPTIME_MS),
        at(20, 1, element::PROTOCOL), at(21, 1, element::TOS), at(22, 2, NONE),
        at(24, 2, element::SOURCE_PORT), at(26, 2, element::DESTINATION_PORT),
        at(28, 2, element::INGRESS_IFINDEX), at(30, 2, element::EGRESS_IFINDEX),
    ] },
    Scheme { name: "source-prefix-tos", fields: &[
        at(0, 4, element::FLOWS), at(4, 4, element::PACKETS), at(8, 4, element::OCTETS),
        at(12, 4, element::START_UPTIME_MS), at(16, 4, element::END_UPTIME_MS),
        at(20, 4, element::SOURCE_PREFIX_V4), at(24, 1, element::SOURCE_MASK_V4),
        at(25, 1, element::TOS), at(26, 2, element::SOURCE_AS),
        at(28, 2, element::INGRESS_IFINDEX), at(30, 2, NONE),
    ] },
    Scheme { name: "destination-prefix-tos", fields: &[
        at(0, 4, element::FLOWS), at(4, 4, element::PACKETS), at(8, 4, element::OCTETS),
        at(12, 4, element::START_UPTIME_MS), at(16, 4, element::END_UPTIME_MS),
        at(20, 4, element::DESTINATION_PREFIX_V4), at(24, 1, element::DESTINATION_MASK_V4),
        at(25, 1, element::TOS), at(26, 2, element::DESTINATION_AS),
        at(28, 2, element::EGRESS_IFINDEX), at(30, 2, NONE),
    ] },
    Scheme { name: "prefix-tos", fields: &[
        at(0, 4, element::FLOWS), at(4, 4, element::PACKETS), at(8, 4, element::OCTETS),
        at(12, 4, element::START_UPTIME_MS), at(16, 4, element::END_UPTIME_MS),
        at(20, 4, element::SOURCE_PREFIX_V4), at(24, 4, element::DESTINATION_PREFIX_V4),
        at(28, 1, element::DESTINATION_MASK_V4), at(29, 1, element::SOURCE_MASK_V4),
        at(30, 1, element::TOS), at(31, 1, NONE),
        at(32, 2, element::SOURCE_AS), at(34, 2, element::DESTINATION_AS),
        at(36, 2, element::INGRESS_IFINDEX), at(38, 2, element::EGRESS_IFINDEX),
    ] },
    Scheme { name: "prefix-port-tos", fields: &[
        at(0, 4, element::FLOWS), at(4, 4, element::PACKETS), at(8, 4, element::OCTETS),
        at(12, 4, element::START_UPTIME_MS), at(16, 4, element::END_UPTIME_MS),
        at(20, 4, element::SOURCE_PREFIX_V4), at(24, 4, element::DESTINATION_PREFIX_V4),
        at(28, 1, element::DESTINATION_MASK_V4), at(29, 1, element::SOURCE_MASK_V4),
        at(30, 1, element::TOS), at(31, 1, element::PROTOCOL),
        at(32, 2, element::SOURCE_PORT), at(34, 2, element::DESTINATION_PORT),
        at(36, 2, element::INGRESS_IFINDEX), at(38, 2, element::EGRESS_IFINDEX),
    ] },
];
