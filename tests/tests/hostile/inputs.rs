//! Valid inputs for each way in, by Weir's own encoders and the tests' generators: what `main.rs` changes, and
//! what a fuzzer begins with.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
};

use weir_exporter::{
    Version,
    batch::{BatchOptions, Batcher},
};
use weir_netflow::{ExportTime, FlowRecord, Optional, Sampling, ipfix, v7, v8};
use weir_store::{
    StoreError,
    checksum::CHECKSUMS,
    closed::ClosedWriter,
    nfdump::{Compression, Writer},
    others::{Gathering, Other, Others},
    schema::{self, StoredFlow},
    window::Window,
};
use weir_tests::{
    sflow::{self, Header, Taken},
    traffic,
};

const NOW: ExportTime = ExportTime {
    unix_ns: 1_700_000_000_000_000_000,
    uptime_ms: 3_600_000,
};
/// Octets of a frame that are kept: more than its headers.
const FRAME_OCTETS: usize = 160;
/// Records of each version.
const RECORDS: u32 = 60;

/// Ethernet frames: a mix, one of many layers, and tunnels.
pub fn frames() -> Vec<Vec<u8>> {
    let mut frames = traffic::mix(10, 1).frames;
    frames.push(traffic::layered_frame());
    let inside = traffic::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 6, &[0; 20]);
    let gre = [&[0, 0, 8, 0][..], &inside].concat();
    for (protocol, payload) in [(4, &inside), (47, &gre)] {
        let packet = traffic::ipv4([192, 0, 2, 1], [192, 0, 2, 2], protocol, payload);
        frames.push(traffic::ethernet(Some(7), 0x0800, &packet));
    }
    for frame in &mut frames {
        frame.truncate(FRAME_OCTETS);
    }
    frames
}

fn address(v6: bool, side: u32, number: u32) -> Ipv6Addr {
    let low = 0x0a00_0000 | side << 16 | number;
    if v6 {
        Ipv6Addr::from_bits(0x2001_0db8_u128 << 96 | u128::from(low))
    } else {
        Ipv4Addr::from_bits(low).to_ipv6_mapped()
    }
}

fn record(number: u32, v6: bool) -> FlowRecord {
    FlowRecord {
        source: address(v6, 1, number),
        destination: address(v6, 2, number),
        v6,
        source_port: 40_000,
        destination_port: 443,
        protocol: 6,
        tcp_flags: 0x1b,
        packets: 1 + u64::from(number),
        octets: 100 * (1 + u64::from(number)),
        start_ns: NOW.unix_ns - 2_000_000_000,
        end_ns: NOW.unix_ns - 1_000_000_000,
        ingress_ifindex: 3,
        egress_ifindex: 4,
        vlan: 3,
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, 2],
        inner_vlan: 4,
        mpls_labels: [0x12_3451, 0, 0, 0],
        flow_label: 5,
        outer_source: address(v6, 3, number),
        outer_destination: address(v6, 4, number),
        ..FlowRecord::default()
    }
}

/// What Weir's exporter sends: with templates, everything there is, sampling and what goes with it.
pub fn exported(version: Version) -> Vec<Vec<u8>> {
    let mut options = BatchOptions::new(version);
    if version.has_templates() {
        options.sampling = Sampling {
            interval: 10,
            random: true,
        };
        options.layout.optional = Optional::MAC
            .and(Optional::INNER_VLAN)
            .and(Optional::MPLS)
            .and(Optional::FLOW_LABEL)
            .and(Optional::OUTER);
    }
    let mut batcher = Batcher::new(options);
    let mut datagrams = Vec::new();
    for number in 0..RECORDS {
        let v6 = version.has_templates() && number % 2 == 1;
        datagrams.extend(batcher.push(&record(number, v6), &NOW));
    }
    datagrams.extend(batcher.flush(&NOW));
    let datagrams = datagrams.into_iter().map(|datagram| datagram.octets);
    datagrams.collect()
}

/// The same with nothing on request, of another domain: as most exporters send, in runs of one template.
fn plain(version: Version) -> Vec<Vec<u8>> {
    let mut options = BatchOptions::new(version);
    options.source_id = 8;
    let mut batcher = Batcher::new(options);
    let mut datagrams = Vec::new();
    for v6 in [false, true] {
        for number in 0..RECORDS {
            datagrams.extend(batcher.push(&record(number, v6), &NOW));
        }
    }
    datagrams.extend(batcher.flush(&NOW));
    let datagrams = datagrams.into_iter().map(|datagram| datagram.octets);
    datagrams.collect()
}

/// v9 of both kinds.
pub fn v9() -> Vec<Vec<u8>> {
    [exported(Version::V9), plain(Version::V9)].concat()
}

/// Formats of one layout: v1, v5, v7, and v8 of every aggregation.
pub fn fixed() -> Vec<Vec<u8>> {
    const COUNT: u16 = 3;
    let header = v7::Header {
        count: COUNT,
        time: NOW,
        sequence: 1,
    };
    let header = v7::encode_header(&header);
    let mut switched = header.to_vec();
    for number in 0..u32::from(COUNT) {
        let record = v7::Record {
            flow: record(number, false),
            invalid_fields: 0,
            invalid_flows: 0,
            router_shortcut: Ipv4Addr::LOCALHOST,
        };
        v7::encode_record(&mut switched, &record, &NOW);
    }
    let mut datagrams = exported(Version::V1);
    datagrams.extend(exported(Version::V5));
    datagrams.push(switched);
    for (aggregation, scheme) in (1..).zip(&v8::SCHEMES) {
        let engine = [0, 1, aggregation, v8::AGGREGATION_VERSION, 0, 0, 0, 0];
        // The headers are alike up to there.
        let mut aggregated = [&header[..20], &engine].concat();
        aggregated[1] = 8;
        let octets = aggregated.len() + usize::from(COUNT) * scheme.record_octets();
        aggregated.resize(octets, 1);
        datagrams.push(aggregated);
    }
    datagrams
}

/// Messages of IPFIX: Weir's, and one with a name of any length and another enterprise's element.
pub fn ipfix() -> Vec<Vec<u8>> {
    const TEMPLATE: [u16; 16] = [
        2, 32, 300, 5, 8, 4, 12, 4, 1, 8, 82, 0xffff, 0x800e, 4, 0, 6871,
    ];
    const DATA: [u16; 2] = [300, 56];
    let words =
        |words: &[u16]| -> Vec<u8> { words.iter().flat_map(|word| word.to_be_bytes()).collect() };
    let addresses: [u8; 8] = [192, 0, 2, 1, 192, 0, 2, 2];
    let record = [
        &addresses[..],
        &9000u64.to_be_bytes(),
        b"\x05eth12",
        &[1, 2, 3, 4],
    ]
    .concat();
    let sets = [words(&TEMPLATE), words(&DATA), record.clone(), record].concat();
    let header = ipfix::encode_header(&ipfix::Header {
        length: u16::try_from(ipfix::HEADER_OCTETS + sets.len()).unwrap(),
        export_ns: NOW.unix_ns,
        sequence: 1,
        domain: 7,
    });
    let mut messages = [exported(Version::Ipfix), plain(Version::Ipfix)].concat();
    messages.push([&header[..], &sets].concat());
    messages
}

/// Datagrams of sFlow, with every kind of sample and record that is read.
pub fn sflow() -> Vec<Vec<u8>> {
    // Next hop, AS numbers, one segment of two AS numbers, no communities, preference.
    const PATH: [u32; 12] = [
        1,
        0x0a00_0001,
        64_496,
        64_497,
        64_498,
        1,
        2,
        2,
        64_499,
        64_500,
        0,
        100,
    ];
    let taken = Taken {
        sequence: 1,
        ifindex: 5,
        rate: 1000,
        drops: 0,
        interfaces: [5, 6],
    };
    let v4 = [(Ipv4Addr::LOCALHOST, 1); 2];
    let v6 = [(Ipv6Addr::LOCALHOST, 1); 2];
    let records = [
        sflow::header_record(1, 1518, &sflow::frame(7, 1234)),
        sflow::ipv4_record(40, v4),
        sflow::ipv6_record(60, v6),
        sflow::record(
            sflow::SAMPLED_ETHERNET,
            &[60, 0x0200_0000, 1 << 16, 0x0200_0000, 2 << 16, 0x0800],
        ),
        sflow::record(sflow::EXTENDED_SWITCH, &[100, 0, 200, 0]),
        sflow::record(sflow::EXTENDED_ROUTER, &[1, 0x0a00_0001, 24, 24]),
        sflow::record(sflow::EXTENDED_GATEWAY, &PATH),
        sflow::record(1007, &[9]),
    ];
    let samples = [
        sflow::flow_sample(&taken, &records),
        sflow::expanded_flow_sample(&taken, &records),
        sflow::counter_sample(1, 5),
    ];
    let datagram = |(sequence, sample): (u32, &Vec<u8>)| {
        let header = Header {
            agent: Ipv4Addr::LOCALHOST,
            sub_agent: 0,
            sequence,
            uptime_ms: 1000 * sequence,
        };
        sflow::datagram(&header, &[sample.clone(), samples[2].clone()])
    };
    (1..).zip(&samples).map(datagram).collect()
}

/// A flow as a collector has it.
fn stored(record: FlowRecord, others: Others) -> StoredFlow {
    StoredFlow {
        record,
        received_ns: NOW.unix_ns,
        exporter: Ipv6Addr::LOCALHOST,
        source_id: 7,
        version: 9,
        others,
    }
}

/// Open windows with the columns of either version, made in a folder.
pub fn windows(folder: &Path) -> Vec<Vec<u8>> {
    const FLOWS: u32 = 20;
    let narrow: Vec<_> = (0..u64::from(FLOWS))
        .map(|packets| {
            let record = FlowRecord {
                packets,
                ..FlowRecord::default()
            };
            stored(record, Others::NONE)
        })
        .collect();
    let mut gathering = Gathering::default();
    let wide: Vec<_> = (0..FLOWS)
        .map(|number| {
            let other = Other {
                enterprise: 6871,
                element: 14,
                octets: &[3, 0, 0, 80],
            };
            gathering.add(&other, other.octets.len());
            stored(record(number, true), gathering.finish())
        })
        .collect();
    let written =
        |name: &str, create: fn(&Path) -> Result<Window, StoreError>, flows: &[StoredFlow]| {
            let path = folder.join(name);
            let mut window = create(&path).unwrap();
            for _ in 0..2 {
                window.append(flows).unwrap();
            }
            fs::read(path).unwrap()
        };
    vec![
        written("narrow", Window::create_narrow, &narrow),
        written("wide", Window::create, &wide),
    ]
}

/// A closed file of two row groups of twenty flows, made in a folder; and the same without checksums, as files were
/// before there were any: what is changed in it reaches the decoders.
pub fn closed(folder: &Path) -> Vec<Vec<u8>> {
    let path = folder.join("closed");
    let flow = |number: u32| stored(record(number, number % 2 == 1), Others::NONE);
    let flows: Vec<_> = (0..20).map(flow).collect();
    let batch = schema::batch(&flows).unwrap();
    let mut writer = ClosedWriter::create(&path, &[]).unwrap();
    for _ in 0..2 {
        writer.write(&batch).unwrap();
        writer.end_row_group().unwrap();
    }
    writer.finish().unwrap();
    let octets = fs::read(path).unwrap();
    let mut without = octets.clone();
    let key = CHECKSUMS.as_bytes();
    let mut found = without.windows(key.len());
    let at = found.rposition(|found| found == key).unwrap();
    without[at..at + key.len()].make_ascii_uppercase();
    vec![octets, without]
}

/// nfdump's files of twenty flows, made in a folder, and the beginning of one of flow-tools'.
pub fn archives(folder: &Path) -> Vec<Vec<u8>> {
    let path = folder.join("nfcapd");
    let written = |compression| {
        let mut writer = Writer::create(&path, compression, 1_700_000_000).unwrap();
        for number in 0..20 {
            let flow = stored(record(number, number % 2 == 1), Others::NONE);
            writer.push(&flow).unwrap();
        }
        writer.finish().unwrap();
        fs::read(&path).unwrap()
    };
    let mut archives = [Compression::None, Compression::Lz4, Compression::Zstd]
        .map(written)
        .to_vec();
    // Low octets first; a header that says export version 5 (field 2) and no more; a record's octets.
    let mut stream = vec![0xcf, 0x10, 1, 3, 14, 0, 0, 0, 2, 0, 2, 0, 5, 0];
    stream.extend([1; 64]);
    archives.push(stream);
    archives
}

/// Capture files: pcap, and pcapng with frames in both kinds of block, and blocks without any.
pub fn captures() -> Vec<Vec<u8>> {
    const PROCESS_BLOCK: u32 = 0x8000_0001;
    let frames: Vec<_> = frames().into_iter().take(20).collect();
    let pcap = traffic::capture_file(frames.iter().map(Vec::as_slice), |index| 1000 * index);
    let block = |kind: u32, body: &[u8]| {
        let padded = body.len().next_multiple_of(4);
        let length = u32::try_from(12 + padded).unwrap().to_le_bytes();
        let padding = vec![0u8; padded - body.len()];
        [&kind.to_le_bytes()[..], &length, body, &padding, &length].concat()
    };
    // Byte order, version 1.0, length not known; Ethernet with if_tsresol in nanoseconds.
    let section = [
        &0x1a2b_3c4d_u32.to_le_bytes()[..],
        &[1, 0, 0, 0],
        &[0xff; 8],
    ]
    .concat();
    let interface = [1, 0, 0, 0, 0, 0, 4, 0, 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0];
    let mut pcapng = [block(0x0a0d_0d0a, &section), block(1, &interface)].concat();
    for (number, frame) in (0u32..).zip(&frames) {
        let octets = u32::try_from(frame.len()).unwrap();
        let fields = [0, 0, number, octets, octets].map(u32::to_le_bytes);
        pcapng.extend(block(6, &[fields.as_flattened(), frame].concat()));
        pcapng.extend(block(3, &[&octets.to_le_bytes()[..], frame].concat()));
        pcapng.extend(block(PROCESS_BLOCK, &number.to_le_bytes()));
    }
    vec![pcap, pcapng]
}

/// Datagrams one after the other, as `entry::datagrams` wants them.
pub fn framed(datagrams: &[Vec<u8>]) -> Vec<u8> {
    let framed = datagrams.iter().flat_map(|datagram| {
        let length = u16::try_from(datagram.len()).unwrap().to_be_bytes();
        [&length[..], datagram].concat()
    });
    framed.collect()
}
