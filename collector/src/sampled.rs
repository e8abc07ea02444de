//! sFlow's datagrams as flows: `weir-netflow` cuts the samples, and the packet's first octets go through
//! the header walk that the sensor has (`weir-sensor-common`), so that both know one kind of packet.
//!
//! A sample is a flow of one packet, unscaled, with the rate beside it, as elsewhere; the account has the
//! rates by interface. It tells no time; its
//! datagram is sent within a second, so the time of arrival is its own. Octets are those of the IP length.

use std::hash::BuildHasher as _;

use weir_netflow::{
    FlowRecord,
    options::Sampler,
    sflow::{self, FlowSample, Sample, SampledHeader, header_protocol},
};
use weir_sensor_common::{
    Fields, Unmetered, extra,
    packet::{Captured, Packet as _},
    walk::{self, Layers, NetworkProtocol, number},
};
use weir_store::others::{Gathering, Other, Others};

use crate::{
    decode::{self, Arrived, NS_PER_MS},
    exporter::{Exporter, RATE_NOT_TOLD},
    exporters::{Exporters, Refused},
    keeping::{Sink, Stream},
    loss::{Numbered, Step},
    statistics::Statistics,
};

/// A sysUptime that falls by more than this, milliseconds, is of another boot: datagrams come late by less.
const UPTIME_FALL_MAX_MS: i32 = 10_000;

/// An exporter that tells its uptime and no time: the clock that goes by it.
#[derive(Clone, Copy, Debug, Default)]
pub struct UptimeClock {
    /// The uptime at which it was read last, and what it showed, milliseconds.
    read: Option<(u32, u64)>,
}

impl UptimeClock {
    /// What the clock shows at an uptime. At first, and after a boot, that is the collector's time.
    fn at_ms(&self, uptime_ms: u32, arrived_ms: u64) -> u64 {
        match self.read {
            Some((uptime_before, shown)) => {
                let passed = uptime_ms.wrapping_sub(uptime_before).cast_signed();
                if passed < -UPTIME_FALL_MAX_MS {
                    arrived_ms
                } else {
                    shown.saturating_add_signed(passed.into())
                }
            }
            None => arrived_ms,
        }
    }
}

impl Exporters {
    /// Takes a datagram of sFlow.
    pub(crate) fn sflow(
        &mut self,
        arrived: &Arrived<'_>,
        sink: &mut impl Sink,
    ) -> Result<Option<Step>, Refused> {
        let Arrived {
            octets,
            source,
            received_ns,
        } = *arrived;
        let header = sflow::decode_header(octets)?;
        let key = arrived.key(sflow::VERSION_NUMBER, header.sub_agent);
        let (hash, keep_copies) = (self.hasher.hash_one(octets), self.settings.keep_copies);
        let mut stream = Stream::new(key, self.settings.rates());
        let exporter = self.heard(key, source, received_ns)?;
        let before = exporter.held();
        let arrived_ms = received_ns / NS_PER_MS;
        let sent_ms = exporter.clock.at_ms(header.uptime_ms, arrived_ms);
        let numbered = Numbered {
            sequence: header.sequence,
            units: 1,
            units_unread: 0,
            other: None,
            sent_ms,
            uptime_ms: Some(header.uptime_ms),
            arrived_ms,
            port: source.port,
        };
        let datagram = match sflow::decode(octets) {
            Ok(datagram) => datagram,
            // It was not lost on the way: its number counts, nothing else of it.
            Err(error) => {
                let step = exporter.sequence.step(&numbered);
                note_time(exporter, step, (header.uptime_ms, sent_ms));
                let after = exporter.held();
                self.hold(before, after);
                return Err(error.into());
            }
        };
        if !keep_copies && let Some(step) = decode::step_of_copy(exporter, hash, &numbered) {
            self.statistics.copied_datagrams += 1;
            return Ok(Some(step));
        }
        let step = decode::step(exporter, hash, &numbered);
        note_time(exporter, step, (header.uptime_ms, sent_ms));
        // Copies are no arrivals. Of a doubtful datagram each sample's own number says what it is.
        let is_arrival = step != Step::Duplicate;
        let mut counted = Statistics::default();
        let mut gathering = Gathering::default();
        for sample in datagram.samples() {
            *kind(&sample, &mut counted) += 1;
            let Sample::Flow(sample) = sample else {
                continue;
            };
            if is_arrival && !exporter.samples.take(&sample, &numbered) {
                counted.samples_unnumbered += 1;
            }
            if sample.source.class == 0 && sample.is_rate_told {
                let sampler = Sampler::Interface(sample.source.index);
                exporter
                    .announced
                    .set_rate(sampler, sample.flow.sampling_interval);
            }
            let Some(record) = record(&sample, received_ns) else {
                counted.samples_not_ip += 1;
                continue;
            };
            exporter.records += 1;
            let others = others(&sample, &mut gathering, &mut counted);
            sink.flows().push(stream.flow(&record, received_ns, others));
        }
        let after = exporter.held();
        self.statistics.add(&counted);
        stream.add_to(&mut self.statistics);
        self.hold(before, after);
        Ok(Some(step))
    }
}

/// Reads an exporter's clock on by a datagram that is its latest; after a boot sources number anew.
fn note_time(exporter: &mut Exporter, step: Step, read: (u32, u64)) {
    if step == Step::Restart {
        exporter.samples.restart();
    }
    if matches!(step, Step::InOrder | Step::Gap(_) | Step::Restart) {
        exporter.clock.read = Some(read);
    }
}

/// The counter of a sample's kind.
fn kind<'a>(sample: &Sample<'_>, counted: &'a mut Statistics) -> &'a mut u64 {
    match sample {
        Sample::Flow(_) => &mut counted.flow_samples,
        Sample::Counters => &mut counted.counter_samples,
        Sample::Other => &mut counted.other_samples,
        Sample::Malformed => &mut counted.malformed_samples,
    }
}

/// What a sample's records have no place for, by their numbers.
fn others(sample: &FlowSample<'_>, gathering: &mut Gathering, counted: &mut Statistics) -> Others {
    let mut keep = |enterprise: u32, element: u16, octets: &[u8]| {
        let kept = octets.len().min(weir_netflow::data::ASIDE_OCTETS_MAX);
        let other = Other {
            enterprise,
            element,
            octets: &octets[..kept],
        };
        let is_whole = gathering.add(&other, octets.len());
        counted.values_not_stored += u64::from(!is_whole);
    };
    if sample.post_vlan != 0 {
        let vlan = sample.post_vlan.to_be_bytes();
        keep(0, weir_netflow::element::POST_VLAN, &vlan);
    }
    for record in sample.aside() {
        keep(record.enterprise, record.format, record.octets);
    }
    gathering.finish()
}

/// A sample as a flow: by the packet's first octets, else by its fields; none if it is not IP.
fn record(sample: &FlowSample<'_>, received_ns: u64) -> Option<FlowRecord> {
    let told = sample.flow.sampling_interval;
    let flow = FlowRecord {
        start_ns: received_ns,
        end_ns: received_ns,
        sampling_interval: if sample.is_rate_told {
            told
        } else {
            RATE_NOT_TOLD
        },
        ..sample.flow
    };
    let by_header = sample.header.and_then(|header| walked(&header, &flow).ok());
    by_header.or_else(|| sample.is_ip.then_some(flow))
}

/// Fills the flow of a record in with what the first octets of its packet say (`DataRecord::sampled_header`). False if
/// that is no IP packet; the flow is then as it was.
pub(crate) fn fill(flow: &mut FlowRecord, header: &SampledHeader<'_>) -> bool {
    let Ok(said) = walked(header, flow) else {
        return false;
    };
    let octets = if flow.octets == 0 {
        said.octets
    } else {
        flow.octets
    };
    *flow = FlowRecord {
        octets,
        packets: flow.packets.max(1),
        ..said
    };
    true
}

/// What the packet's first octets say, over what is known of it.
fn walked(header: &SampledHeader<'_>, flow: &FlowRecord) -> Result<FlowRecord, Unmetered> {
    let packet = Captured {
        octets: header.octets,
        wire_octets: header.wire_octets,
    };
    let (layers, is_ethernet) = layers(&packet, header.protocol)?;
    let walked = walk::network(&packet, layers.network)?;
    let which = Fields::MAC.and(Fields::INNER_VLAN).and(Fields::MPLS);
    let extra = extra::of_layers(&packet, Ok(layers), is_ethernet, 0, which);
    let or_known = |said: [u8; 6], known| if is_ethernet { said } else { known };
    let key = &walked.key;
    Ok(FlowRecord {
        source: key.source_octets().into(),
        destination: key.destination_octets().into(),
        v6: key.is_v6(),
        source_port: key.source_port(),
        destination_port: key.destination_port(),
        protocol: key.protocol(),
        tos: key.tos(),
        tcp_flags: walked.tcp_flags.into(),
        octets: walked.octets,
        // The switch may have taken the tag off before it took the sample.
        vlan: if key.vlan() == 0 {
            flow.vlan
        } else {
            key.vlan()
        },
        source_mac: or_known(extra.source_mac(), flow.source_mac),
        destination_mac: or_known(extra.destination_mac(), flow.destination_mac),
        inner_vlan: extra.inner_vlan_id(),
        mpls_labels: extra.label_entries(),
        flow_label: walked.flow_label,
        ..*flow
    })
}

/// The link layer of a packet, and whether it is Ethernet's.
fn layers(packet: &Captured<'_>, protocol: u32) -> Result<(Layers, bool), Unmetered> {
    /// PPP in frames like HDLC's begins with address and control (RFC 1662 section 3.1).
    const ADDRESS_AND_CONTROL: u16 = 0xff03;
    Ok(match protocol {
        header_protocol::ETHERNET => (walk::ethernet_layers(packet)?, true),
        header_protocol::PPP | header_protocol::POS => {
            let is_framed = packet.u16(0) == Some(ADDRESS_AND_CONTROL);
            (walk::ppp(packet, if is_framed { 2 } else { 0 })?, false)
        }
        header_protocol::IPV4 => (Layers::plain(NetworkProtocol::V4, 0), false),
        header_protocol::IPV6 => (Layers::plain(NetworkProtocol::V6, 0), false),
        header_protocol::MPLS => (walk::layers(packet, number::ETHERTYPE_MPLS, 0)?, false),
        _ => return Err(Unmetered::NonIp),
    })
}
