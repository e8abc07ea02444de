//! Flows as goflow2 writes them: messages of its `flow.proto` (proto3, netsampler/goflow2), each behind its
//! length as a varint. Fields that Weir has nothing for are left out, which in proto3 means zero.

use std::net::Ipv6Addr;

use prost::Message as _;
use weir_netflow::sflow;
use weir_store::schema::StoredFlow;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// `flowpb.FlowMessage`, as far as Weir has it; the numbers are goflow2's.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FlowMessage {
    /// 1: sFlow v5, 2: NetFlow v5, 3: v9, 4: IPFIX, else 0.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// One packet in so many.
    #[prost(uint64, tag = "3")]
    pub sampling_rate: u64,
    /// Four or 16 octets, as those of the next.
    #[prost(bytes = "vec", tag = "6")]
    pub src_addr: Vec<u8>,
    /// Likewise.
    #[prost(bytes = "vec", tag = "7")]
    pub dst_addr: Vec<u8>,
    /// Octets.
    #[prost(uint64, tag = "9")]
    pub bytes: u64,
    /// Packets.
    #[prost(uint64, tag = "10")]
    pub packets: u64,
    /// The exporter.
    #[prost(bytes = "vec", tag = "11")]
    pub sampler_address: Vec<u8>,
    /// Empty if unknown.
    #[prost(bytes = "vec", tag = "12")]
    pub next_hop: Vec<u8>,
    /// Source AS.
    #[prost(uint32, tag = "14")]
    pub src_as: u32,
    /// Destination AS.
    #[prost(uint32, tag = "15")]
    pub dst_as: u32,
    /// Prefix length.
    #[prost(uint32, tag = "16")]
    pub src_net: u32,
    /// Likewise.
    #[prost(uint32, tag = "17")]
    pub dst_net: u32,
    /// ifIndex.
    #[prost(uint32, tag = "18")]
    pub in_if: u32,
    /// Likewise.
    #[prost(uint32, tag = "19")]
    pub out_if: u32,
    /// IP protocol.
    #[prost(uint32, tag = "20")]
    pub proto: u32,
    /// Source port.
    #[prost(uint32, tag = "21")]
    pub src_port: u32,
    /// Destination port.
    #[prost(uint32, tag = "22")]
    pub dst_port: u32,
    /// ToS or traffic class.
    #[prost(uint32, tag = "23")]
    pub ip_tos: u32,
    /// TCP flags.
    #[prost(uint32, tag = "26")]
    pub tcp_flags: u32,
    /// MAC addresses as numbers of 48 bits.
    #[prost(uint64, tag = "27")]
    pub src_mac: u64,
    /// Likewise.
    #[prost(uint64, tag = "28")]
    pub dst_mac: u64,
    /// VLAN id.
    #[prost(uint32, tag = "29")]
    pub vlan_id: u32,
    /// Ethernet's number of the IP version.
    #[prost(uint32, tag = "30")]
    pub etype: u32,
    /// ICMP type.
    #[prost(uint32, tag = "31")]
    pub icmp_type: u32,
    /// ICMP code.
    #[prost(uint32, tag = "32")]
    pub icmp_code: u32,
    /// IPv6 flow label.
    #[prost(uint32, tag = "37")]
    pub ipv6_flow_label: u32,
    /// Observation domain.
    #[prost(uint32, tag = "70")]
    pub observation_domain_id: u32,
    /// MPLS labels from the top.
    #[prost(uint32, repeated, tag = "81")]
    pub mpls_label: Vec<u32>,
    /// Empty if unknown.
    #[prost(bytes = "vec", tag = "100")]
    pub bgp_next_hop: Vec<u8>,
    /// Nanoseconds since 1970-01-01 UTC, as those of the next two.
    #[prost(uint64, tag = "110")]
    pub time_received_ns: u64,
    /// Likewise.
    #[prost(uint64, tag = "111")]
    pub time_flow_start_ns: u64,
    /// Likewise.
    #[prost(uint64, tag = "112")]
    pub time_flow_end_ns: u64,
}

impl From<&StoredFlow> for FlowMessage {
    fn from(flow: &StoredFlow) -> Self {
        let record = &flow.record;
        let [icmp_type, icmp_code] = match record.protocol {
            ICMP | ICMPV6 => record.destination_port.to_be_bytes(),
            _ => [0; 2],
        };
        let labels = record.mpls_labels.iter().filter(|label| **label != 0);
        Self {
            kind: match u16::from(flow.version) {
                sflow::VERSION_NUMBER => 1,
                5 => 2,
                9 => 3,
                10 => 4,
                _ => 0,
            },
            sampling_rate: record.sampling_interval.into(),
            src_addr: octets(record.source),
            dst_addr: octets(record.destination),
            bytes: record.octets,
            packets: record.packets,
            sampler_address: octets(flow.exporter),
            next_hop: octets(record.next_hop),
            src_as: record.source_as,
            dst_as: record.destination_as,
            src_net: record.source_mask.into(),
            dst_net: record.destination_mask.into(),
            in_if: record.ingress_ifindex,
            out_if: record.egress_ifindex,
            proto: record.protocol.into(),
            src_port: record.source_port.into(),
            dst_port: record.destination_port.into(),
            ip_tos: record.tos.into(),
            tcp_flags: record.tcp_flags.into(),
            src_mac: mac(record.source_mac),
            dst_mac: mac(record.destination_mac),
            vlan_id: record.vlan.into(),
            etype: if record.v6 { 0x86dd } else { 0x0800 },
            icmp_type: icmp_type.into(),
            icmp_code: icmp_code.into(),
            ipv6_flow_label: record.flow_label,
            observation_domain_id: flow.source_id,
            // The label itself, without traffic class and bottom of stack.
            mpls_label: labels.map(|label| label >> 4).collect(),
            bgp_next_hop: octets(record.bgp_next_hop),
            time_received_ns: flow.received_ns,
            time_flow_start_ns: record.start_ns,
            time_flow_end_ns: record.end_ns,
        }
    }
}

/// An address in the octets of its family; none if there is no address.
fn octets(address: Ipv6Addr) -> Vec<u8> {
    if address.is_unspecified() {
        return Vec::new();
    }
    match address.to_ipv4_mapped() {
        Some(v4) => v4.octets().to_vec(),
        None => address.octets().to_vec(),
    }
}

fn mac([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// Appends a flow's message behind its length.
pub fn append(flow: &StoredFlow, octets: &mut Vec<u8>) {
    let message = FlowMessage::from(flow);
    // It fails only where there is no room, and a vector grows.
    let _ = message.encode_length_delimited(octets);
}

#[cfg(test)]
mod tests {
    use weir_netflow::FlowRecord;

    use super::*;

    fn flow() -> StoredFlow {
        StoredFlow {
            record: FlowRecord {
                source: "::ffff:192.0.2.1".parse().unwrap(),
                destination: "::ffff:192.0.2.2".parse().unwrap(),
                protocol: 1,
                destination_port: 0x0803,
                octets: 300,
                packets: 3,
                ..FlowRecord::default()
            },
            received_ns: 1,
            exporter: "::ffff:192.0.2.9".parse().unwrap(),
            source_id: 0,
            version: 9,
            others: weir_store::others::Others::NONE,
        }
    }

    /// goflow2's `FlowType` knows sFlow, and its field 100 is what the gateway record says.
    #[test]
    fn sflow_has_its_number_and_its_next_hop_by_bgp() {
        let mut flow = flow();
        [_, flow.version] = sflow::VERSION_NUMBER.to_be_bytes();
        flow.record.bgp_next_hop = "::ffff:192.0.2.7".parse().unwrap();
        let mut octets = Vec::new();
        append(&flow, &mut octets);
        assert_eq!(octets[1..3], [8, 1]);
        // 100 × 8 and 2 for octets, before the times.
        let next_hop: [u8; 7] = [0xa2, 6, 4, 192, 0, 2, 7];
        assert!(octets.windows(7).any(|some| some == next_hop));
        for (version, kind) in [(5, 2), (9, 3), (10, 4), (1, 0), (7, 0)] {
            flow.version = version;
            assert_eq!(FlowMessage::from(&flow).kind, kind, "version {version}");
        }
    }

    /// Octet by octet, as protobuf's encoding has it: so that the numbers are no longer ours alone.
    #[test]
    fn a_message_is_what_goflow2s_readers_expect() {
        let flow = flow();
        let mut octets = Vec::new();
        append(&flow, &mut octets);
        let expected = [
            &[8, 3][..],
            &[24, 1],
            &[50, 4, 192, 0, 2, 1],
            &[58, 4, 192, 0, 2, 2],
            &[72, 0xac, 2],
            &[80, 3],
            &[90, 4, 192, 0, 2, 9],
            // 20 × 8 and more takes two octets.
            &[0xa0, 1, 1],
            &[0xb0, 1, 0x83, 0x10],
            &[0xf0, 1, 0x80, 0x10],
            &[0xf8, 1, 8],
            &[0x80, 2, 3],
            &[0xf0, 6, 1],
        ]
        .concat();
        assert_eq!(usize::from(octets[0]), expected.len());
        assert_eq!(octets[1..], expected);
        let read = FlowMessage::decode_length_delimited(&octets[..]).unwrap();
        assert_eq!((read.bytes, read.icmp_type, read.icmp_code), (300, 8, 3));
    }
}
