//! The field types both NetFlow v9 (RFC 3954 section 8) and IPFIX (IANA's information elements)
//! use for flows.

/// Field type number.
pub type Element = u16;

/// IN_BYTES / octetDeltaCount.
pub const OCTETS: Element = 1;
/// IN_PKTS / packetDeltaCount.
pub const PACKETS: Element = 2;
/// protocolIdentifier.
pub const PROTOCOL: Element = 4;
/// ipClassOfService.
pub const TOS: Element = 5;
/// tcpControlBits.
pub const TCP_FLAGS: Element = 6;
/// sourceTransportPort.
pub const SOURCE_PORT: Element = 7;
/// sourceIPv4Address.
pub const SOURCE_V4: Element = 8;
/// sourceIPv4PrefixLength.
pub const SOURCE_MASK_V4: Element = 9;
/// ingressInterface.
pub const INGRESS_IFINDEX: Element = 10;
/// destinationTransportPort.
pub const DESTINATION_PORT: Element = 11;
/// destinationIPv4Address.
pub const DESTINATION_V4: Element = 12;
/// destinationIPv4PrefixLength.
pub const DESTINATION_MASK_V4: Element = 13;
/// egressInterface.
pub const EGRESS_IFINDEX: Element = 14;
/// ipNextHopIPv4Address.
pub const NEXT_HOP_V4: Element = 15;
/// bgpSourceAsNumber.
pub const SOURCE_AS: Element = 16;
/// bgpDestinationAsNumber.
pub const DESTINATION_AS: Element = 17;
/// LAST_SWITCHED, sysUptime ms.
pub const END_UPTIME_MS: Element = 21;
/// FIRST_SWITCHED, sysUptime ms.
pub const START_UPTIME_MS: Element = 22;
/// OUT_BYTES / postOctetDeltaCount: what some exporters send in place of OCTETS.
pub const OUT_OCTETS: Element = 23;
/// OUT_PKTS / postPacketDeltaCount.
pub const OUT_PACKETS: Element = 24;
/// sourceIPv6Address.
pub const SOURCE_V6: Element = 27;
/// destinationIPv6Address.
pub const DESTINATION_V6: Element = 28;
/// sourceIPv6PrefixLength.
pub const SOURCE_MASK_V6: Element = 29;
/// destinationIPv6PrefixLength.
pub const DESTINATION_MASK_V6: Element = 30;
/// flowLabelIPv6.
pub const FLOW_LABEL: Element = 31;
/// ICMP_TYPE, type * 256 + code.
pub const ICMP_TYPE_V4: Element = 32;
/// SAMPLING_ALGORITHM.
pub const SAMPLING_ALGORITHM: Element = 35;
/// SAMPLING_INTERVAL.
pub const SAMPLING_INTERVAL: Element = 34;
/// FLOW_SAMPLER_RANDOM_INTERVAL.
pub const SAMPLER_INTERVAL: Element = 50;
/// SRC_MAC / sourceMacAddress.
pub const SOURCE_MAC: Element = 56;
/// RFC 3954's DST_MAC; IANA has it as postDestinationMacAddress.
pub const DESTINATION_MAC: Element = 57;
/// vlanId.
pub const VLAN: Element = 58;
/// ipVersion.
pub const IP_VERSION: Element = 60;
/// flowDirection.
pub const DIRECTION: Element = 61;
/// ipNextHopIPv6Address.
pub const NEXT_HOP_V6: Element = 62;
/// mplsTopLabelStackSection; those below it follow (mplsLabelStackSection2 …).
pub const MPLS_LABEL_1: Element = 70;
/// mplsLabelStackSection2.
pub const MPLS_LABEL_2: Element = 71;
/// mplsLabelStackSection3.
pub const MPLS_LABEL_3: Element = 72;
/// mplsLabelStackSection4.
pub const MPLS_LABEL_4: Element = 73;
/// IN_DST_MAC / destinationMacAddress.
pub const IN_DESTINATION_MAC: Element = 80;
/// OUT_SRC_MAC / postSourceMacAddress.
pub const OUT_SOURCE_MAC: Element = 81;
/// octetTotalCount.
pub const TOTAL_OCTETS: Element = 85;
/// packetTotalCount.
pub const TOTAL_PACKETS: Element = 86;
/// flowEndReason.
pub const END_REASON: Element = 136;
/// icmpTypeCodeIPv6.
pub const ICMP_TYPE_V6: Element = 139;
/// flowStartSeconds.
pub const START_S: Element = 150;
/// flowEndSeconds.
pub const END_S: Element = 151;
/// flowStartMilliseconds.
pub const START_MS: Element = 152;
/// flowEndMilliseconds.
pub const END_MS: Element = 153;
/// initiatorOctets (ASA).
pub const INITIATOR_OCTETS: Element = 231;
/// dot1qVlanId.
pub const DOT1Q_VLAN: Element = 243;
/// dot1qCustomerVlanId.
pub const CUSTOMER_VLAN: Element = 245;
/// initiatorPackets.
pub const INITIATOR_PACKETS: Element = 298;

// A tunnel's endpoints have no element of IANA's. These are nProbe's, which adds 57472 to its own
// numbers in v9: ntopng and Wireshark know them.

/// UNTUNNELED_IPV4_SRC_ADDR.
pub const OUTER_SOURCE_V4: Element = 57586;
/// UNTUNNELED_IPV4_DST_ADDR.
pub const OUTER_DESTINATION_V4: Element = 57588;
/// UNTUNNELED_IPV6_SRC_ADDR.
pub const OUTER_SOURCE_V6: Element = 57868;
/// UNTUNNELED_IPV6_DST_ADDR.
pub const OUTER_DESTINATION_V6: Element = 57869;
