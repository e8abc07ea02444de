//! The field types that NetFlow v9 (RFC 3954 section 8) and IPFIX (IANA's information elements) have
//! in common and that are used here, in the order of their numbers.

/// Field type number.
pub type Element = u16;

/// The private enterprise number under which an element is the same one of the reverse direction
/// (RFC 5103 section 6.1).
pub const REVERSE_PEN: u32 = 29_305;
/// Cisco's private enterprise number.
pub const CISCO_PEN: u32 = 9;
/// ntop's private enterprise number.
pub const NTOP_PEN: u32 = 35_632;

/// IN_BYTES / octetDeltaCount.
pub const OCTETS: Element = 1;
/// IN_PKTS / packetDeltaCount.
pub const PACKETS: Element = 2;
/// FLOWS / deltaFlowCount: flows that were aggregated into the record.
pub const FLOWS: Element = 3;
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
/// bgpNextHopIPv4Address.
pub const BGP_NEXT_HOP_V4: Element = 18;
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
/// ICMP_TYPE / icmpTypeCodeIPv4, type * 256 + code.
pub const ICMP_TYPE_V4: Element = 32;
/// SAMPLING_INTERVAL.
pub const SAMPLING_INTERVAL: Element = 34;
/// SAMPLING_ALGORITHM.
pub const SAMPLING_ALGORITHM: Element = 35;
/// TOTAL_BYTES_EXP / exportedOctetTotalCount.
pub const EXPORTED_OCTETS: Element = 40;
/// TOTAL_PKTS_EXP / exportedMessageTotalCount.
pub const EXPORTED_MESSAGES: Element = 41;
/// TOTAL_FLOWS_EXP / exportedFlowRecordTotalCount.
pub const EXPORTED_FLOWS: Element = 42;
/// ipv4RouterSc: the router that a Catalyst switch spares the work.
pub const ROUTER_SHORTCUT: Element = 43;
/// sourceIPv4Prefix.
pub const SOURCE_PREFIX_V4: Element = 44;
/// destinationIPv4Prefix.
pub const DESTINATION_PREFIX_V4: Element = 45;
/// FLOW_SAMPLER_ID.
pub const SAMPLER_ID: Element = 48;
/// FLOW_SAMPLER_RANDOM_INTERVAL.
pub const SAMPLER_INTERVAL: Element = 50;
/// postIpClassOfService.
pub const POST_TOS: Element = 55;
/// SRC_MAC / sourceMacAddress.
pub const SOURCE_MAC: Element = 56;
/// RFC 3954's DST_MAC; IANA has it as postDestinationMacAddress.
pub const DESTINATION_MAC: Element = 57;
/// vlanId.
pub const VLAN: Element = 58;
/// postVlanId: DST_VLAN.
pub const POST_VLAN: Element = 59;
/// ipVersion.
pub const IP_VERSION: Element = 60;
/// flowDirection.
pub const DIRECTION: Element = 61;
/// ipNextHopIPv6Address.
pub const NEXT_HOP_V6: Element = 62;
/// bgpNextHopIPv6Address.
pub const BGP_NEXT_HOP_V6: Element = 63;
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
/// IF_NAME / interfaceName.
pub const INTERFACE_NAME: Element = 82;
/// IF_DESC / interfaceDescription.
pub const INTERFACE_DESCRIPTION: Element = 83;
/// octetTotalCount: since the flow began, not since its last report.
pub const TOTAL_OCTETS: Element = 85;
/// packetTotalCount.
pub const TOTAL_PACKETS: Element = 86;
/// layer2packetSectionOffset.
pub const LAYER2_SECTION_OFFSET: Element = 102;
/// layer2packetSectionSize: octets of LAYER2_SECTION that are of the packet.
pub const LAYER2_SECTION_OCTETS: Element = 103;
/// layer2packetSectionData: what FRAME_SECTION is called in v9.
pub const LAYER2_SECTION: Element = 104;
/// exporterIPv4Address.
pub const EXPORTER_V4: Element = 130;
/// exporterIPv6Address.
pub const EXPORTER_V6: Element = 131;
/// flowEndReason.
pub const END_REASON: Element = 136;
/// icmpTypeCodeIPv6.
pub const ICMP_TYPE_V6: Element = 139;
/// meteringProcessId.
pub const METERING_PROCESS: Element = 143;
/// exportingProcessId.
pub const EXPORTING_PROCESS: Element = 144;
/// templateId.
pub const TEMPLATE_ID: Element = 145;
/// observationDomainId.
pub const OBSERVATION_DOMAIN: Element = 149;
/// flowStartSeconds.
pub const START_S: Element = 150;
/// flowEndSeconds.
pub const END_S: Element = 151;
/// flowStartMilliseconds.
pub const START_MS: Element = 152;
/// flowEndMilliseconds.
pub const END_MS: Element = 153;
/// flowStartMicroseconds, NTP's format.
pub const START_US: Element = 154;
/// flowEndMicroseconds.
pub const END_US: Element = 155;
/// flowStartNanoseconds, NTP's format.
pub const START_NS: Element = 156;
/// flowEndNanoseconds.
pub const END_NS: Element = 157;
/// flowStartDeltaMicroseconds: before the export.
pub const START_DELTA_US: Element = 158;
/// flowEndDeltaMicroseconds.
pub const END_DELTA_US: Element = 159;
/// systemInitTimeMilliseconds: what sysUptimes count from.
pub const BOOT_MS: Element = 160;
/// flowDurationMilliseconds.
pub const DURATION_MS: Element = 161;
/// ignoredPacketTotalCount.
pub const IGNORED_PACKETS: Element = 164;
/// ignoredOctetTotalCount.
pub const IGNORED_OCTETS: Element = 165;
/// notSentFlowTotalCount.
pub const NOT_SENT_FLOWS: Element = 166;
/// notSentPacketTotalCount.
pub const NOT_SENT_PACKETS: Element = 167;
/// notSentOctetTotalCount.
pub const NOT_SENT_OCTETS: Element = 168;
/// destinationIPv6Prefix.
pub const DESTINATION_PREFIX_V6: Element = 169;
/// sourceIPv6Prefix.
pub const SOURCE_PREFIX_V6: Element = 170;
/// icmpTypeIPv4.
pub const ICMP_KIND_V4: Element = 176;
/// icmpCodeIPv4.
pub const ICMP_CODE_V4: Element = 177;
/// icmpTypeIPv6.
pub const ICMP_KIND_V6: Element = 178;
/// icmpCodeIPv6.
pub const ICMP_CODE_V6: Element = 179;
/// udpSourcePort.
pub const UDP_SOURCE_PORT: Element = 180;
/// udpDestinationPort.
pub const UDP_DESTINATION_PORT: Element = 181;
/// tcpSourcePort.
pub const TCP_SOURCE_PORT: Element = 182;
/// tcpDestinationPort.
pub const TCP_DESTINATION_PORT: Element = 183;
/// ipDiffServCodePoint: the upper six bits of TOS.
pub const DSCP: Element = 195;
/// paddingOctets.
pub const PADDING: Element = 210;
/// initiatorOctets (ASA).
pub const INITIATOR_OCTETS: Element = 231;
/// responderOctets.
pub const RESPONDER_OCTETS: Element = 232;
/// biflowDirection.
pub const BIFLOW_DIRECTION: Element = 239;
/// dot1qVlanId.
pub const DOT1Q_VLAN: Element = 243;
/// dot1qCustomerVlanId.
pub const CUSTOMER_VLAN: Element = 245;
/// ingressPhysicalInterface: the port, where ingressInterface may be a part of it or several.
pub const INGRESS_PHYSICAL: Element = 252;
/// egressPhysicalInterface.
pub const EGRESS_PHYSICAL: Element = 253;
/// initiatorPackets.
pub const INITIATOR_PACKETS: Element = 298;
/// responderPackets.
pub const RESPONDER_PACKETS: Element = 299;
/// selectorId: IPFIX's sampler id.
pub const SELECTOR_ID: Element = 302;
/// selectorAlgorithm.
pub const SELECTOR_ALGORITHM: Element = 304;
/// samplingPacketInterval: packets taken in a row.
pub const SAMPLING_PACKETS: Element = 305;
/// samplingPacketSpace: packets left out after those.
pub const SAMPLING_SPACE: Element = 306;
/// samplingSize: packets drawn …
pub const SAMPLING_SIZE: Element = 309;
/// samplingPopulation: … out of so many.
pub const SAMPLING_POPULATION: Element = 310;
/// samplingProbability.
pub const SAMPLING_PROBABILITY: Element = 311;
/// dataLinkFrameSize: octets of the frame that FRAME_SECTION is the beginning of.
pub const FRAME_OCTETS: Element = 312;
/// ipHeaderPacketSection: a packet's first octets, from the IP header on.
pub const PACKET_SECTION: Element = 313;
/// dataLinkFrameSection: a frame's first octets.
pub const FRAME_SECTION: Element = 315;
/// observationTimeSeconds: when an event was seen.
pub const OBSERVED_S: Element = 322;
/// observationTimeMilliseconds.
pub const OBSERVED_MS: Element = 323;
/// observationTimeMicroseconds.
pub const OBSERVED_US: Element = 324;
/// observationTimeNanoseconds.
pub const OBSERVED_NS: Element = 325;
/// originalExporterIPv4Address.
pub const ORIGINAL_EXPORTER_V4: Element = 403;
/// originalExporterIPv6Address.
pub const ORIGINAL_EXPORTER_V6: Element = 404;
/// dataLinkFrameType: what FRAME_SECTION may be of, a bit each.
pub const FRAME_TYPES: Element = 408;
/// sectionOffset: octets before a section.
pub const SECTION_OFFSET: Element = 409;
/// sectionExportedOctets: octets of a section that are of the packet.
pub const SECTION_OCTETS: Element = 410;

/// The bit of FRAME_TYPES for IEEE 802.3.
pub const FRAME_TYPE_ETHERNET: u64 = 1;

// Of connections, Cisco's AVC tells who began them (the client) and who answered. These are Cisco's (of CISCO_PEN; in v9
// the uppermost bit, which says so in IPFIX, is a part of their numbers).

/// serverBytesNetwork: octets of the server's packets, from the IP header on.
pub const SERVER_OCTETS: Element = 8337;
/// clientBytesNetwork.
pub const CLIENT_OCTETS: Element = 8338;
/// clientIPv4Address.
pub const CLIENT_V4: Element = 12_236;
/// serverIPv4Address.
pub const SERVER_V4: Element = 12_237;
/// clientIPv6Address.
pub const CLIENT_V6: Element = 12_238;
/// serverIPv6Address.
pub const SERVER_V6: Element = 12_239;
/// clientTransportPort.
pub const CLIENT_PORT: Element = 12_240;
/// serverTransportPort.
pub const SERVER_PORT: Element = 12_241;

// A tunnel's endpoints have no element of IANA's. These are ntop's (of NTOP_PEN; v9 adds 57472 to their
// numbers): ntopng and Wireshark know them.

/// UNTUNNELED_IPV4_SRC_ADDR.
pub const OUTER_SOURCE_V4: Element = 114;
/// UNTUNNELED_IPV4_DST_ADDR.
pub const OUTER_DESTINATION_V4: Element = 116;
/// UNTUNNELED_IPV6_SRC_ADDR.
pub const OUTER_SOURCE_V6: Element = 396;
/// UNTUNNELED_IPV6_DST_ADDR.
pub const OUTER_DESTINATION_V6: Element = 397;

/// Whether one of IANA's elements is a packet's first octets.
#[must_use]
pub const fn is_section(element: Element) -> bool {
    matches!(element, LAYER2_SECTION | PACKET_SECTION | FRAME_SECTION)
}
