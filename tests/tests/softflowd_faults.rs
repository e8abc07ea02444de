//! What softflowd 1.1.0 does wrong with capture files and on the wire: Debian's does it, and
//! weir-sensor by its name does not.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use weir_netflow::{
    EndReason, FlowRecord, data, ipfix,
    set::{Definition, Set},
    template::Template,
    v1, v9,
};
use weir_tests::{
    process::binaries,
    sent::{self, sent},
    traffic::{capture_file, ethernet, flood_frame, ipv4, ipv6},
};

/// A program's output, and its datagrams.
type Sent = (Output, Vec<Vec<u8>>);

struct Both {
    folder: tempfile::TempDir,
    ours: PathBuf,
}

impl Both {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ours = folder.path().join("softflowd");
        symlink(binaries().unwrap().join("weir-sensor"), &ours).unwrap();
        Self { folder, ours }
    }

    /// What softflowd and Weir send of these frames.
    fn meter(&self, arguments: &str, frames: &[Vec<u8>]) -> [Sent; 2] {
        let frames = frames.iter().map(Vec::as_slice);
        let file = capture_file(frames, |index| 1_700_000_000_000_000 + 1000 * index);
        self.meter_file(arguments, &file)
    }

    fn meter_file(&self, arguments: &str, file: &[u8]) -> [Sent; 2] {
        self.each(&format!("-a {arguments}"), file, |mut command| {
            sent(&mut command)
        })
    }

    /// Has each program read a file; `run` adds collectors.
    fn each<R>(
        &self,
        arguments: &str,
        file: &[u8],
        run: impl Fn(Command) -> io::Result<R>,
    ) -> [R; 2] {
        let path = self.folder.path().join("pcap");
        fs::write(&path, file).unwrap();
        [Path::new("softflowd"), self.ours.as_path()].map(|program| {
            let mut command = Command::new(program);
            command.args(arguments.split_whitespace());
            command.arg("-r").arg(&path);
            run(command).unwrap_or_else(|error| {
                let program = program.display();
                panic!("{program}: {error}; `cargo xtask setup --peers` installs it")
            })
        })
    }
}

fn flood(count: u32) -> Vec<Vec<u8>> {
    (0..count).map(flood_frame).collect()
}

/// v9 datagrams' records; those of options apart.
fn read_v9(datagrams: &[Vec<u8>]) -> Vec<FlowRecord> {
    let mut templates: HashMap<u16, Template> = HashMap::new();
    let mut records = Vec::new();
    for datagram in datagrams {
        let base = v9::decode_header(datagram).unwrap().time_base();
        for set in v9::decode_sets(datagram).unwrap() {
            match set {
                Set::Templates(new) => {
                    let new = new.iter().filter_map(Definition::template);
                    templates.extend(new.map(|one| (one.id(), one.clone())));
                }
                Set::Data { id, octets } if !templates[&id].is_options() => {
                    let found = data::records(&templates[&id], octets, base);
                    records.extend(found.map(|record| record.flow));
                }
                Set::Data { .. } | Set::Reserved => {}
            }
        }
    }
    records
}

/// Any host whose packets are seen can have softflowd send such records.
#[test]
fn icmp_of_the_other_family_shifts_no_record() {
    let v6 = |last: u8| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let frames = [
        ethernet(
            None,
            0x0800,
            &ipv4(
                [192, 0, 2, 1],
                [192, 0, 2, 2],
                58,
                &[8, 0, 0, 0, 0, 0, 0, 0],
            ),
        ),
        ethernet(
            None,
            0x86dd,
            &ipv6(v6(1), v6(2), 1, &[8, 0, 0, 0, 0, 0, 0, 0]),
        ),
    ];
    let [theirs, ours] = Both::new()
        .meter("-v 9", &frames)
        .map(|(_, sent)| read_v9(&sent));
    let protocols = |records: &[FlowRecord]| -> Vec<u8> {
        let mut found: Vec<_> = records.iter().map(|record| record.protocol).collect();
        found.sort_unstable();
        found
    };
    assert_ne!(protocols(&theirs), [1, 58], "softflowd has mended it");
    assert_eq!(protocols(&ours), [1, 58]);
}

#[test]
fn v9_counts_every_record_of_a_datagram() {
    let counts = Both::new().meter("-v 9", &flood(3)).map(|(_, sent)| {
        let header = v9::decode_header(&sent[0]).unwrap();
        (header.count, header.sequence)
    });
    // Four templates, one of options and its record, three flows.
    assert_eq!(counts, [(3, 1), (9, 1)]);
}

#[test]
fn ipfix_numbers_the_records_before_a_message() {
    let sequences = Both::new().meter("-v 10", &flood(200)).map(|(_, sent)| {
        let sequences = sent
            .iter()
            .map(|message| ipfix::decode_header(message).unwrap().sequence);
        sequences.collect::<Vec<_>>()
    });
    let [theirs, ours] = sequences;
    assert_ne!(theirs[0], 0, "softflowd has mended it");
    assert_eq!(ours[0], 0);
    assert!(ours.is_sorted() && ours.len() > 2);
}

#[test]
fn v1_has_no_more_records_than_it_may() {
    let most = Both::new().meter("-v 1", &flood(100)).map(|(_, sent)| {
        let counts = sent.iter().map(|datagram| datagram[3]);
        counts.max().unwrap()
    });
    assert!(
        usize::from(most[0]) > v1::RECORDS_MAX,
        "softflowd has mended it"
    );
    assert_eq!(usize::from(most[1]), v1::RECORDS_MAX);
}

/// Sets that are not padded leave those behind them unaligned.
#[test]
fn every_set_begins_on_four_octets() {
    let odd = |datagram: &[u8], header_octets: usize| {
        let (mut at, mut odd) = (header_octets, 0);
        while let Some([high, low]) = datagram.get(at + 2..at + 4) {
            odd += usize::from(!at.is_multiple_of(4));
            at += usize::from(u16::from_be_bytes([*high, *low])).max(4);
        }
        odd
    };
    for (version, header_octets) in [("9", 20), ("10", 16)] {
        let line = format!("-v {version}");
        let found = Both::new().meter(&line, &flood(3));
        let [theirs, ours] = found.map(|(_, sent)| odd(&sent[0], header_octets));
        assert!(theirs > 0, "softflowd has mended it");
        assert_eq!(ours, 0, "v{version}");
    }
}

/// What tcpdump writes of `any` today.
#[test]
fn linux_cooked_captures_of_the_second_kind_are_read() {
    const COOKED_2: u8 = 20;
    let packet = ipv4(
        [192, 0, 2, 1],
        [192, 0, 2, 2],
        17,
        &[0x12, 0x34, 0, 53, 0, 8, 0, 0],
    );
    let mut frame = vec![0x08, 0x00, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6];
    frame.extend_from_slice(&[2, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(frame.len(), usize::from(COOKED_2));
    frame.extend_from_slice(&packet);
    let mut file = capture_file([&frame[..]].into_iter(), |_| 1_700_000_000_000_000);
    // The link type.
    file[20..24].copy_from_slice(&276u32.to_le_bytes());
    let [theirs, ours] = Both::new().meter_file("-v 9", &file);
    assert!(!theirs.0.status.success(), "softflowd has learned it");
    assert!(ours.0.status.success());
    assert_eq!(read_v9(&ours.1).len(), 1);
}

/// Stacked tags are no IP to softflowd.
#[test]
fn stacked_tags_are_followed() {
    let packet = ipv4(
        [192, 0, 2, 1],
        [192, 0, 2, 2],
        17,
        &[0x12, 0x34, 0, 53, 0, 8, 0, 0],
    );
    let mut inner = vec![0, 5, 0x08, 0x00];
    inner.extend_from_slice(&packet);
    let frame = ethernet(Some(7), 0x8100, &inner);
    let found = Both::new()
        .meter("-v 9 -T vlan", &[frame])
        .map(|(_, sent)| read_v9(&sent));
    assert_eq!(found[0].len(), 0);
    assert_eq!((found[1].len(), found[1][0].vlan), (1, 7));
}

fn question(from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
    ipv4(from, to, 17, &[0x12, 0x34, 0, 53, 0, 8, 0, 0])
}

/// The directions of tagged traffic are two flows to softflowd.
#[test]
fn a_tagged_conversation_is_one_flow() {
    let (a, b) = ([192, 0, 2, 1], [192, 0, 2, 2]);
    let mut answer = question(b, a);
    answer[20..24].copy_from_slice(&[0, 53, 0x12, 0x34]);
    let frames = [question(a, b), answer].map(|packet| ethernet(Some(7), 0x0800, &packet));
    let found = Both::new().meter("-v 9 -T vlan", &frames);
    let expired = found.map(|(output, _)| {
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find(|line| line.starts_with("Flows expired"));
        line.unwrap().to_owned()
    });
    assert_eq!(
        expired,
        ["Flows expired: 2 (0 forced)", "Flows expired: 1 (0 forced)"]
    );
}

#[test]
fn later_ipv6_fragments_have_their_protocol() {
    let address = |last| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    // UDP; the second eight octets.
    let piece = [17, 0, 0, 8, 0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8];
    let packet = ipv6(address(1), address(2), 44, &piece);
    let found = Both::new().meter("-v 9", &[ethernet(None, 0x86dd, &packet)]);
    let protocols = found.map(|(_, sent)| read_v9(&sent)[0].protocol);
    assert_eq!(protocols, [0, 17]);
}

/// A flow that the end of the file ends was not idle.
#[test]
fn what_is_flushed_says_so() {
    let found = Both::new().meter("-v 9", &flood(1));
    let reasons = found.map(|(_, sent)| read_v9(&sent)[0].end_reason);
    assert_eq!(reasons, [EndReason::IdleTimeout, EndReason::ForcedEnd]);
}

/// softflowd's clock is that of the machine without `-a`, and what lies before its start wraps.
#[test]
fn times_are_the_packets_without_a_flag_for_it() {
    const PACKET_S: u64 = 1_700_000_000;
    let frames = flood(1);
    let file = capture_file(frames.iter().map(Vec::as_slice), |_| PACKET_S * 1_000_000);
    let both = Both::new();
    let starts_s = both.each("-v 5", &file, |mut command| {
        let (_, datagrams) = sent(&mut command)?;
        let mut start_ns = 0;
        let records = weir_netflow::fixed::decode(&datagrams[0]).unwrap();
        records.for_each(|record| start_ns = record.start_ns);
        Ok(start_ns / 1_000_000_000)
    });
    assert!(starts_s[0] > PACKET_S + 86_400, "softflowd has mended it");
    assert!(starts_s[1].abs_diff(PACKET_S) <= 1, "{}", starts_s[1]);
}

/// With `-l` softflowd has one row of numbers for all.
#[test]
fn each_collector_has_numbers_without_gaps() {
    let frames = flood(300);
    let file = capture_file(frames.iter().map(Vec::as_slice), |_| 1_700_000_000_000_000);
    let both = Both::new();
    let gaps = both.each("-a -v 9 -l", &file, |mut command| {
        let sockets = [sent::listen("127.0.0.1:0")?, sent::listen("127.0.0.1:0")?];
        let [one, other] = [sockets[0].local_addr()?, sockets[1].local_addr()?];
        command.args(["-n", &format!("{one},{other}")]);
        let (streams, output) = sent::received(&sockets, || command.output());
        output?;
        let gaps = streams.iter().map(|datagrams| {
            let numbers = datagrams
                .iter()
                .map(|datagram| v9::decode_header(datagram).unwrap().sequence);
            let numbers: Vec<_> = numbers.collect();
            assert!(numbers.len() > 3, "{numbers:?}");
            numbers
                .windows(2)
                .filter(|two| two[1] != two[0] + 1)
                .count()
        });
        Ok(gaps.sum::<usize>())
    });
    assert!(gaps[0] > 0, "softflowd has mended it");
    assert_eq!(gaps[1], 0);
}

/// Each direction has the ToS of its own first packet.
#[test]
fn both_directions_have_their_tos() {
    let tcp = |from: u16, to: u16, flags: u8| {
        let mut header = [from.to_be_bytes(), to.to_be_bytes()].concat();
        header.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 16, 0, 0, 0, 0, 0]);
        header
    };
    let packet = |from, to, tos, payload: &[u8]| {
        let mut packet = ipv4(from, to, 6, payload);
        packet[1] = tos;
        ethernet(None, 0x0800, &packet)
    };
    let (a, b) = ([192, 0, 2, 1], [192, 0, 2, 2]);
    let frames = [
        packet(a, b, 0x10, &tcp(1000, 80, 0x02)),
        packet(b, a, 0x20, &tcp(80, 1000, 0x12)),
    ];
    let found = Both::new().meter("-v 5", &frames).map(|(_, sent)| {
        let mut found = Vec::new();
        let datagram = weir_netflow::fixed::decode(&sent[0]).unwrap();
        datagram.for_each(|record| found.push(record.tos));
        found
    });
    assert_eq!(found, [[0x10, 0], [0x10, 0x20]]);
}
