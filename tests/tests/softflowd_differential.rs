//! Every capture of the test data through Debian's softflowd and through weir-sensor by that name, at
//! each track level and in each format; the records must be equal. What differs by intention is a
//! [`Rule`] with a name: frames it is about go to neither program, what it says of records is left out
//! of the comparison, and the sensor's list of differences has each of them, as has docs/softflowd.md. Nothing else may
//! differ.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    net::Ipv6Addr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use weir_netflow::{
    FlowRecord, TimeBase, data, fixed, ipfix, options,
    set::{Definition, Set},
    template::Template,
    v9,
};
use weir_sensor::{
    capture::{self, Frame},
    options::differences::{self, RECORDS},
};
use weir_sensor_common::{Walked, tunnel::Tunnels};
use weir_tests::{process::binaries, sent::sent, testdata};

/// What differs by intention. The names are those of the list of differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    /// Weir reads link layers that softflowd takes for no IP, and labels are no octets of the flow.
    LinkLayer,
    /// softflowd meters packets whose header contradicts itself.
    BadHeader,
    /// Octets are those of the IP header, softflowd's those of the frame: where they say more or less.
    Length,
    /// Likewise the padding of short frames; these are cut, and both read the rest.
    Padding,
    /// softflowd stops at headers that Weir follows, and has later IPv6 fragments as protocol 0.
    ExtensionHeaders,
    /// softflowd takes no ports from a transport header that is cut off.
    TruncatedTransport,
    /// It reads ports of TCP and UDP only.
    OtherPorts,
    /// It writes ICMP of the other family in a record that its template does not describe.
    OtherFamilysIcmp,
    /// It has the ToS of the packet that created the entry, and 0 for the other direction.
    Tos,
    /// At levels `vlan` and `ether` it has the two directions of tagged traffic as two flows.
    TaggedTimes,
    /// Its biflows of ICMP lose the type if the higher address sent.
    IcmpBiflows,
}

const NAMES: [(Rule, &str); 11] = [
    (Rule::LinkLayer, "link layers"),
    (Rule::BadHeader, "bad headers"),
    (Rule::Length, "octets"),
    (Rule::Padding, "padding"),
    (Rule::ExtensionHeaders, "extension headers"),
    (Rule::TruncatedTransport, "truncated headers"),
    (Rule::OtherPorts, "ports of SCTP, DCCP, UDP-Lite"),
    (Rule::OtherFamilysIcmp, "ICMP of the other family"),
    (Rule::Tos, "ToS"),
    (Rule::TaggedTimes, "tagged conversations"),
    (Rule::IcmpBiflows, "biflows of ICMP"),
];

/// How often each rule applied.
type Applied = BTreeMap<Rule, u64>;

/// A frame as both programs get it.
struct Kept {
    octets: Vec<u8>,
    wire_octets: usize,
    unix_us: u64,
}

const ETHERNET: i32 = 1;
const RAW: i32 = 101;
const COOKED: i32 = 113;

/// Where softflowd finds an IP header, and whether it is IPv6's; none if it does not.
fn ip_header(link: i32, octets: &[u8]) -> Option<(usize, bool)> {
    let u16_at = |at: usize| Some(u16::from_be_bytes([*octets.get(at)?, *octets.get(at + 1)?]));
    let (ethertype, offset) = match link {
        RAW => {
            let v6 = match octets.first()? >> 4 {
                4 => false,
                6 => true,
                _ => return None,
            };
            return Some((0, v6));
        }
        COOKED => (u16_at(14)?, 16),
        ETHERNET => match u16_at(12)? {
            // A priority tag's id is 0, which is none to softflowd.
            0x8100 if u16_at(14)? & 0x0fff != 0 => (u16_at(16)?, 18),
            ethertype => (ethertype, 14),
        },
        _ => return None,
    };
    match ethertype {
        0x0800 => Some((offset, false)),
        0x86dd => Some((offset, true)),
        _ => None,
    }
}

/// The frame for both programs, or the rule that keeps it from them; none if it is no IP to either.
fn classify(frame: &Frame<'_>, applied: &mut Applied) -> Option<Kept> {
    let (octets, wire_octets) = (frame.captured.octets, frame.captured.wire_octets);
    let found = ip_header(frame.link.0, octets);
    let walked = capture::walk(frame, Tunnels::NONE);
    let mut apply = |rule| *applied.entry(rule).or_default() += 1;
    let ((offset, v6), walked) = match (found, walked) {
        (Some(found), Ok(walked)) => (found, walked),
        (None, Ok(_)) => {
            apply(Rule::LinkLayer);
            return None;
        }
        (Some(_), Err(_)) => {
            apply(Rule::BadHeader);
            return None;
        }
        (None, Err(_)) => return None,
    };
    if walked.key.is_v6() != v6 {
        apply(Rule::BadHeader);
        return None;
    }
    let length_at = if v6 { offset + 4 } else { offset + 2 };
    let said = u16::from_be_bytes([octets[length_at], octets[length_at + 1]]);
    let said = usize::from(said) + if v6 { 40 } else { 0 };
    let end = offset + said;
    if said as u64 != walked.octets || (v6 && said == 40) || wire_octets < end {
        apply(Rule::Length);
        return None;
    }
    if wire_octets > end {
        apply(Rule::Padding);
    }
    let octets = &octets[..octets.len().min(end)];
    if let Some(rule) = transport_rule(octets, offset, &walked) {
        apply(rule);
        return None;
    }
    Some(Kept {
        octets: octets.to_vec(),
        wire_octets: end,
        unix_us: frame.unix_ns / 1000,
    })
}

/// What differs behind the IP header that begins at `offset`.
fn transport_rule(octets: &[u8], offset: usize, walked: &Walked) -> Option<Rule> {
    let (v6, protocol) = (walked.key.is_v6(), walked.key.protocol());
    let is_plain = if v6 {
        is_plain_v6(&octets[offset..])
    } else {
        // An authentication header is followed, too.
        octets[offset + 9] == protocol
    };
    if !is_plain {
        return Some(Rule::ExtensionHeaders);
    }
    if (v6 && protocol == 1) || (!v6 && protocol == 58) {
        return Some(Rule::OtherFamilysIcmp);
    }
    if matches!(protocol, 33 | 132 | 136) {
        return Some(Rule::OtherPorts);
    }
    let is_later_piece = walked.fragment & 0x1fff != 0;
    let needed = match protocol {
        _ if is_later_piece => 0,
        6 => 20,
        17 | 1 | 58 => 8,
        _ => 0,
    };
    let there = match usize::from(walked.transport_offset) {
        0 => 0,
        at => octets.len().saturating_sub(at),
    };
    (there < needed).then_some(Rule::TruncatedTransport)
}

/// Whether there are only extension headers that both follow alike, down to another header.
fn is_plain_v6(packet: &[u8]) -> bool {
    let (mut header, mut at) = (packet[6], 40);
    for _ in 0..8 {
        match header {
            // Hop-by-hop, routing, destination options.
            0 | 43 | 60 => {
                let Some([next, length]) = packet.get(at..at + 2) else {
                    return false;
                };
                header = *next;
                at += 8 * (usize::from(*length) + 1);
            }
            // Fragment, authentication, nothing, mobility, HIP, shim6.
            44 | 51 | 59 | 135 | 139 | 140 => return false,
            _ => return at <= packet.len(),
        }
    }
    false
}

/// All captures, one after the other, by link layer. Gaps are at most a second, and no frame is before
/// the one it follows: what follows from time is not compared here.
fn captures(folder: &Path, applied: &mut Applied) -> BTreeMap<i32, Vec<Kept>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder.join("pcap"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() > 100, "the test data is not whole");
    let mut kept: BTreeMap<i32, Vec<Kept>> = BTreeMap::new();
    let mut clocks: BTreeMap<i32, u64> = BTreeMap::new();
    for path in paths {
        let mut last_us = None;
        let read = capture::read(&path, |frame| {
            let link = frame.link.0;
            let Some(mut frame) = classify(&frame, applied) else {
                return;
            };
            let gap_us = last_us.map_or(1000, |last_us| frame.unix_us.saturating_sub(last_us));
            last_us = Some(frame.unix_us);
            let clock_us = clocks.entry(link).or_insert(1_700_000_000_000_000);
            *clock_us += gap_us.min(1_000_000);
            frame.unix_us = *clock_us;
            kept.entry(link).or_default().push(frame);
        });
        // Some are no captures at all.
        drop(read);
    }
    kept
}

fn capture_file(link: i32, frames: &[Kept]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut put = |field: u64| {
        let field = u32::try_from(field).unwrap();
        file.extend_from_slice(&field.to_le_bytes());
    };
    let header = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 1 << 18];
    header.into_iter().for_each(&mut put);
    put(u64::try_from(link).unwrap());
    for frame in frames {
        let (captured, at_us) = (frame.octets.len() as u64, frame.unix_us);
        let mut put = |field: u64| {
            let field = u32::try_from(field).unwrap();
            file.extend_from_slice(&field.to_le_bytes());
        };
        put(at_us / 1_000_000);
        put(at_us % 1_000_000);
        put(captured);
        put(frame.wire_octets as u64);
        file.extend_from_slice(&frame.octets);
    }
    file
}

/// What a program sends of a capture.
fn run(program: &Path, arguments: &str, capture: &Path) -> Vec<FlowRecord> {
    // Nothing is over before the capture is: softflowd's file mode knows no time, and so has none here.
    const TIMEOUTS: &str = "-t maxlife=0 -t tcp=1 -t udp=1 -t icmp=1 -t general=1 -m 300000";
    let mut command = Command::new(program);
    command
        .args(TIMEOUTS.split(' '))
        .args(arguments.split_whitespace());
    decode(&sent_by(command.args(["-a", "-r"]).arg(capture)))
}

fn sent_by(command: &mut Command) -> Vec<Vec<u8>> {
    let (output, datagrams) = sent(command).unwrap_or_else(|error| {
        panic!("{command:?}: {error}; `cargo xtask setup --peers` installs it")
    });
    assert!(output.status.success(), "{command:?}: {output:?}");
    datagrams
}

fn decode(datagrams: &[Vec<u8>]) -> Vec<FlowRecord> {
    let mut decoder = Decoder::default();
    for datagram in datagrams {
        match u16::from_be_bytes([datagram[0], datagram[1]]) {
            v9::VERSION => {
                let base = v9::decode_header(datagram).unwrap().time_base();
                decoder.sets(v9::decode_sets(datagram).unwrap(), |_| base);
            }
            ipfix::VERSION => {
                let header = ipfix::decode_header(datagram).unwrap();
                let sets = ipfix::decode_sets(datagram).unwrap();
                decoder.sets(sets, |boot_ms| header.time_base(boot_ms));
            }
            _ => {
                let found = fixed::decode(datagram).unwrap();
                found.for_each(|record| decoder.records.push(record));
            }
        }
    }
    decoder.records.retain(|record| record.packets > 0);
    decoder.records
}

#[derive(Default)]
struct Decoder {
    templates: HashMap<u16, Template>,
    boot_ms: Option<u64>,
    records: Vec<FlowRecord>,
}

impl Decoder {
    fn sets(&mut self, sets: Vec<Set<'_>>, base: impl Fn(Option<u64>) -> TimeBase) {
        for set in sets {
            match set {
                Set::Templates(new) => {
                    let new = new.iter().filter_map(Definition::template);
                    self.templates
                        .extend(new.map(|one| (one.id(), one.clone())));
                }
                Set::Data { id, octets } => {
                    let template = &self.templates[&id];
                    if template.is_options() {
                        for record in template.records(octets) {
                            let said = options::read(template, record);
                            self.boot_ms = said.boot_ms.or(self.boot_ms);
                        }
                        continue;
                    }
                    for record in data::records(template, octets, base(self.boot_ms)) {
                        self.records.push(record.flow);
                        self.records.extend(record.reverse());
                    }
                }
                Set::Reserved => panic!("a reserved set"),
            }
        }
    }
}

/// What is to be equal, but for times.
type Key = (
    (Ipv6Addr, u16, [u8; 6]),
    (Ipv6Addr, u16, [u8; 6]),
    (bool, u8, u16),
    (u64, u64),
    u16,
);

fn key(record: &FlowRecord) -> Key {
    (
        (record.source, record.source_port, record.source_mac),
        (
            record.destination,
            record.destination_port,
            record.destination_mac,
        ),
        (record.v6, record.protocol, record.vlan),
        (record.packets, record.octets),
        record.tcp_flags,
    )
}

/// In an order of their own, with times from the first on.
fn sorted(mut records: Vec<FlowRecord>) -> Vec<FlowRecord> {
    let first_ns = records
        .iter()
        .map(|record| record.start_ns)
        .min()
        .unwrap_or(0);
    for record in &mut records {
        record.start_ns -= first_ns;
        record.end_ns -= first_ns;
    }
    records.sort_by_key(|record| (key(record), record.start_ns));
    records
}

/// Weir stamps flows to 1.05 ms, and both cut off.
const TIME_NS: u64 = 3_000_000;

fn compare(label: &str, theirs: Vec<FlowRecord>, ours: Vec<FlowRecord>, applied: &mut Applied) {
    let is_biflow = label.contains("-b");
    let splits_tagged = ["vlan", "ether"].iter().any(|level| label.contains(level));
    let mut apply = |rule| *applied.entry(rule).or_default() += 1;
    let comparable = |records: Vec<FlowRecord>| {
        let is_icmp = |record: &FlowRecord| matches!(record.protocol, 1 | 58);
        let (left_out, kept): (Vec<_>, Vec<_>) = records
            .into_iter()
            .partition(|record| is_biflow && is_icmp(record));
        (left_out.len(), sorted(kept))
    };
    let ((icmp, theirs), (_, ours)) = (comparable(theirs), comparable(ours));
    (0..icmp).for_each(|_| apply(Rule::IcmpBiflows));
    let keys = |records: &[FlowRecord]| records.iter().map(key).collect::<Vec<_>>();
    let (their_keys, our_keys) = (keys(&theirs), keys(&ours));
    if their_keys != our_keys {
        let set = |keys: &[Key]| keys.iter().copied().collect::<HashSet<_>>();
        let (their_set, our_set) = (set(&their_keys), set(&our_keys));
        let missing: Vec<_> = their_set.difference(&our_set).collect();
        let added: Vec<_> = our_set.difference(&their_set).collect();
        panic!(
            "{label}: {} records of softflowd's, {} of Weir's\nonly softflowd: {:#?}\nonly Weir: {:#?}",
            theirs.len(),
            ours.len(),
            &missing[..missing.len().min(10)],
            &added[..added.len().min(10)]
        );
    }
    assert!(!theirs.is_empty(), "{label}: nothing was compared");
    for (their, our) in theirs.iter().zip(&ours) {
        if their.tos != our.tos {
            assert_eq!(their.tos, 0, "{label}: {their:?} {our:?}");
            apply(Rule::Tos);
        }
        // v5 does not say which were tagged.
        if splits_tagged && (their.vlan != 0 || label.contains("-v 5")) {
            apply(Rule::TaggedTimes);
            continue;
        }
        let near = |their_ns: u64, our_ns: u64| their_ns.abs_diff(our_ns) <= TIME_NS;
        assert!(
            near(their.start_ns, our.start_ns) && near(their.end_ns, our.end_ns),
            "{label}: {their:?} {our:?}"
        );
    }
}

#[test]
fn records_are_softflowds_but_for_what_is_listed() {
    let Some(testdata) = testdata::folder() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let ours = folder.path().join("softflowd");
    symlink(binaries().unwrap().join("weir-sensor"), &ours).unwrap();
    let mut applied = Applied::new();
    for (link, frames) in captures(&testdata, &mut applied) {
        let capture = folder.path().join(format!("{link}.pcap"));
        fs::write(&capture, capture_file(link, &frames)).unwrap();
        let levels = ["full", "ip", "proto", "port", "vlan", "ether"];
        // Levels are of keys, which are the same whatever was below them.
        let levels = &levels[..if link == ETHERNET { levels.len() } else { 1 }];
        let mut lines = Vec::new();
        for level in levels {
            lines.extend(["5", "9", "10"].map(|version| format!("-v {version} -T {level}")));
        }
        for more in [
            "9 -A milli",
            "10 -A milli",
            "10 -A nano -b",
            "10 -b",
            "10 -x 2",
        ] {
            lines.push(format!("-v {more} -T full"));
        }
        for line in lines {
            let label = format!("link {link}: {line}");
            let theirs = run(Path::new("softflowd"), &line, &capture);
            compare(&label, theirs, run(&ours, &line, &capture), &mut applied);
        }
    }
    for (rule, name) in NAMES {
        // No capture has such packets: `softflowd_faults.rs` does.
        assert!(
            applied.contains_key(&rule) || rule == Rule::OtherFamilysIcmp,
            "nothing differs by `{name}`: take it off the list"
        );
    }
}

#[test]
fn what_differs_is_on_the_list_and_the_list_is_in_the_documents() {
    for (_, name) in NAMES {
        let is_listed = RECORDS.iter().any(|row| row.what == name);
        assert!(
            is_listed,
            "sensor-user/src/options/differences.rs has no `{name}`"
        );
    }
    let table = format!(
        "\n| what | softflowd 1.1.0 | Weir by its name |\n|---|---|---|\n{}\n",
        differences::markdown(RECORDS)
    );
    assert!(
        include_str!("../../docs/softflowd.md").contains(&table),
        "docs/softflowd.md has another table than sensor-user/src/options/differences.rs: put this in its place\n{table}"
    );
}

/// Templates and options records, as octets: those of the first datagram.
fn definitions(program: &Path, arguments: &str, capture: &Path) -> BTreeMap<u16, Vec<(u16, u16)>> {
    let mut command = Command::new(program);
    command
        .args(arguments.split_whitespace())
        .args(["-a", "-r"]);
    let datagrams = sent_by(command.arg(capture));
    let datagram = &datagrams[0];
    let sets = if datagram[1] == 9 {
        v9::decode_sets(datagram)
    } else {
        ipfix::decode_sets(datagram)
    };
    let mut found = BTreeMap::new();
    for set in sets.unwrap() {
        if let Set::Templates(new) = set {
            for template in new.iter().filter_map(Definition::template) {
                let fields = template.fields().iter();
                let fields = fields.map(|field| (field.element, field.octets)).collect();
                found.insert(template.id(), fields);
            }
        }
    }
    found
}

#[test]
fn templates_have_softflowds_ids_and_fields_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let ours = folder.path().join("softflowd");
    symlink(binaries().unwrap().join("weir-sensor"), &ours).unwrap();
    let frames: Vec<_> = (0..3).map(weir_tests::traffic::flood_frame).collect();
    let frames = frames.iter().map(Vec::as_slice);
    let file = weir_tests::traffic::capture_file(frames, |index| 1_700_000_000_000_000 + index);
    let capture = folder.path().join("few.pcap");
    fs::write(&capture, file).unwrap();
    for version in ["9", "10"] {
        for more in [
            "",
            "-T vlan",
            "-T ether",
            "-A sec",
            "-A micro",
            "-x 10",
            "-b",
            "-T ether -x 3 -A nano -b",
        ] {
            let line = format!("-v {version} {more}");
            let theirs = definitions(Path::new("softflowd"), &line, &capture);
            assert_eq!(theirs.len(), 5, "{line}");
            assert_eq!(definitions(&ours, &line, &capture), theirs, "{line}");
        }
    }
}
