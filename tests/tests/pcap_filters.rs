//! Filter expressions mean what they mean to tcpdump: over every capture of the test data, packet by
//! packet, in files; and what they mean there they mean to the kernel's programs.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use weir_sensor::{
    capture,
    kernel::{Kernel, ProgramOptions},
    prefilter::{
        FileFilter, PacketFilter,
        classic::{Encoded, Program},
        run::{self, Packet},
        translate::ROUNDS_MAX,
    },
    statistics::Statistics,
    table,
};
use weir_sensor_common::{Counter, KeyMask, hash::Seed, table::Shape};
use weir_tests::{
    testdata,
    traffic::{self, Random},
};

const EXPRESSIONS: [&str; 61] = [
    "ip",
    "ip6",
    "arp",
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "sctp",
    "tcp port 80",
    "udp port 53",
    "port 443",
    "portrange 1-1024",
    "src port 80",
    "dst port 53",
    "host 192.168.1.1",
    "src net 10.0.0.0/8",
    "dst net 192.168.0.0/16",
    "net 2001:db8::/32",
    "ip host 10.0.0.1 or ip6 host ::1",
    "not tcp",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "tcp[13] = 2",
    "ip[6:2] & 0x1fff != 0",
    "ip[0] & 0xf > 5",
    "ip6[6] = 58",
    "ip6 proto 17",
    "icmp[icmptype] = icmp-echo",
    "vlan",
    "vlan and ip",
    "vlan and vlan and tcp",
    "mpls",
    "mpls and ip",
    "pppoes",
    "pppoes and tcp port 80",
    "greater 200",
    "less 100",
    "len > 60 and len <= 1000",
    "ether broadcast",
    "ether multicast",
    "ip broadcast",
    "ip multicast",
    "ip6 multicast",
    "ether proto 0x88cc",
    "ether[0] & 1 = 0",
    "ether[1:4] > 0x01000000",
    "ether[12:2] > 0x600",
    "ether[100:4] != 0",
    "ether[ether[0]:2] = 0x0800",
    "ether[ether[13] & 15:4] > 0",
    "ip[200] = 0",
    "ip protochain 6",
    "ip6 protochain 17",
    "ip6 protochain 6 or ip protochain 17",
    "ip proto 47",
    "geneve",
    "tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420",
    "ip[ip[0]] / ip[1] = 3",
    "len % ip[2] > 5",
    "ip[8] << (ip[9] & 63) > 65535",
    "ip[8] >> ip[9] = 0",
    "len * 3 - ip[2:2] ^ 7 > 1000",
];

const ETHERNET: i32 = 1;
const RAW: i32 = 101;

/// A captured frame.
struct Frame {
    octets: Vec<u8>,
    wire_octets: u32,
}

impl Frame {
    fn packet(&self) -> Packet<'_> {
        Packet {
            octets: &self.octets,
            wire_octets: self.wire_octets,
        }
    }
}

/// The frames of every capture, by link layer; of each capture at most so many.
fn captures(folder: &Path, frames_max: usize) -> BTreeMap<i32, Vec<Frame>> {
    let mut frames: BTreeMap<i32, Vec<Frame>> = BTreeMap::new();
    let mut paths: Vec<_> = fs::read_dir(folder.join("pcap"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    for path in paths {
        let mut count = 0;
        // One that is cut off has frames before that.
        let _ = capture::read(&path, |frame| {
            count += 1;
            if count > frames_max {
                return;
            }
            let captured = frame.captured;
            frames
                .entry(frame.link.0 & 0xffff)
                .or_default()
                .push(Frame {
                    octets: captured.octets.to_vec(),
                    wire_octets: u32::try_from(captured.wire_octets).unwrap(),
                });
        });
    }
    frames
}

/// A pcap file of frames, each stamped with as many seconds as there are frames before it.
fn pcap(link: i32, frames: &[Frame]) -> Vec<u8> {
    let mut file = Vec::new();
    let put = |file: &mut Vec<u8>, field: u32| file.extend_from_slice(&field.to_le_bytes());
    for field in [
        0xa1b2_c3d4,
        0x0004_0002,
        0,
        0,
        262_144,
        link.cast_unsigned(),
    ] {
        put(&mut file, field);
    }
    for (second, frame) in (0..).zip(frames) {
        let captured = u32::try_from(frame.octets.len()).unwrap();
        for field in [second, 0, captured, frame.wire_octets] {
            put(&mut file, field);
        }
        file.extend_from_slice(&frame.octets);
    }
    file
}

/// Which frames tcpdump lets through, by their seconds; its words if it refuses the expression.
fn tcpdump(folder: &Path, file: &Path, expression: &str) -> Result<Vec<u64>, String> {
    let mut command = Command::new("tcpdump");
    command.args(["-w", "-", "-r"]).arg(file).arg(expression);
    let output = command.output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let matched = folder.join("matched.pcap");
    fs::write(&matched, output.stdout).unwrap();
    let mut seconds = Vec::new();
    capture::read(&matched, |frame| {
        seconds.push(frame.unix_ns / 1_000_000_000);
    })
    .unwrap();
    Ok(seconds)
}

/// The same by ours.
fn ours(link: i32, frames: &[Frame], expression: &str) -> Result<Vec<u64>, String> {
    let mut filter = FileFilter::new(expression)?;
    let mut seconds = Vec::new();
    for (second, frame) in (0..).zip(frames) {
        if filter.wants(link, frame.packet())? {
            seconds.push(second);
        }
    }
    Ok(seconds)
}

#[test]
fn files_are_filtered_as_tcpdump_filters_them() {
    let Some(testdata) = testdata::folder() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut matched = 0;
    for (link, frames) in captures(&testdata, usize::MAX) {
        let file = folder.path().join("all.pcap");
        fs::write(&file, pcap(link, &frames)).unwrap();
        for expression in EXPRESSIONS {
            let theirs = tcpdump(folder.path(), &file, expression);
            let ours = ours(link, &frames, expression);
            match (&theirs, &ours) {
                (Ok(theirs), Ok(ours)) => {
                    assert_eq!(theirs, ours, "`{expression}`, link layer {link}");
                    matched += ours.len();
                }
                (Err(_), Err(_)) => {}
                _ => panic!("`{expression}`, link layer {link}: {theirs:?}, {ours:?}"),
            }
        }
    }
    assert!(matched > 100_000, "only {matched} matches were compared");
}

/// The programs, and what they counted so far.
struct Programs {
    kernel: Kernel,
    statistics: Statistics,
}

impl Programs {
    fn load(raw: bool) -> Self {
        assert!(
            weir_tests::netns::possible(),
            "root is needed to load the program"
        );
        let shape = Shape {
            bucket_mask: table::bucket_mask(1000),
            seed: Seed::new([9, 8, 7, 6, 5]),
            key_mask: KeyMask::FULL.0,
        };
        let options = ProgramOptions {
            raw,
            filter: true,
            ..ProgramOptions::new(shape)
        };
        weir_tests::wire::pin(0).unwrap();
        Self {
            kernel: Kernel::load(&options).unwrap(),
            statistics: Statistics::default(),
        }
    }

    fn count(&mut self, counter: Counter) -> u64 {
        let kernel = &self.kernel;
        self.statistics.read_counters(&kernel.states, kernel.cpus);
        self.statistics.get(counter)
    }

    /// Whether XDP's program, or the one for what is sent, lets a frame through; `None` if the kernel
    /// does not run it on such a frame.
    fn wants(&mut self, octets: &[u8], sent: bool) -> Option<bool> {
        let before = self.count(Counter::Filtered);
        let run = TestRunOptions {
            data_in: Some(octets),
            ..TestRunOptions::new()
        };
        if sent {
            let program = self.kernel.program(Kernel::EGRESS).unwrap();
            let program: &mut SchedClassifier = program.try_into().unwrap();
            program.test_run(run).ok()?;
        } else {
            let result = self.kernel.ingress().unwrap().test_run(run).ok()?;
            assert_eq!(result.return_value, 2, "the frame must pass");
        }
        Some(self.count(Counter::Filtered) == before)
    }

    /// Holds both hooks' programs against the one that runs here; how many frames they let through.
    fn compare(&mut self, program: &Program, frames: &[Vec<u8>], what: &str) -> usize {
        let mut wanted = 0;
        let mut run_at_all = 0;
        for octets in frames {
            let packet = Packet {
                octets,
                wire_octets: u32::try_from(octets.len()).unwrap(),
            };
            let expected = run::matches_within(program, packet, ROUNDS_MAX);
            wanted += usize::from(expected);
            for sent in [false, true] {
                let Some(found) = self.wants(octets, sent) else {
                    continue;
                };
                run_at_all += 1;
                assert_eq!(found, expected, "{what}, sent: {sent}, {octets:x?}");
            }
        }
        // Neither runs on what is shorter than an Ethernet header, tc's not on what is large.
        assert!(run_at_all >= frames.len(), "{what}: {run_at_all}");
        assert_eq!(self.count(Counter::StepMissing), 0, "{what}");
        wanted
    }
}

/// The frames that a test run takes, of these.
fn runnable(frames: Vec<Frame>) -> Vec<Vec<u8>> {
    let octets = frames.into_iter().map(|frame| frame.octets);
    octets
        .filter(|octets| (14..16_384).contains(&octets.len()))
        .collect()
}

#[test]
fn the_kernels_programs_filter_as_files_are_filtered() {
    let Some(testdata) = testdata::folder() else {
        return;
    };
    let mut captures = captures(&testdata, 30);
    for (link, raw) in [(ETHERNET, false), (RAW, true)] {
        let frames = runnable(captures.remove(&link).unwrap());
        let mut programs = Programs::load(raw);
        let mut wanted = 0;
        for expression in EXPRESSIONS {
            let filter = PacketFilter::compile(expression, None).unwrap();
            let Ok(program) = filter.program(raw).cloned() else {
                continue;
            };
            let set = programs.kernel.set_filter(filter);
            set.unwrap_or_else(|error| panic!("`{expression}`: {error:#}"));
            wanted += programs.compare(&program, &frames, expression);
        }
        assert!(wanted > frames.len(), "{wanted} of {}", frames.len());
    }
}

/// A program of nonsense that classic BPF allows.
fn random_program(random: &mut Random) -> Vec<Encoded> {
    const LOADS: [u16; 3] = [0x20, 0x28, 0x30];
    const MEMORY: [u16; 4] = [0x60, 0x61, 0x02, 0x03];
    const ARITHMETIC: [u16; 10] = [0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xa0];
    const COMPARISONS: [u16; 4] = [0x10, 0x20, 0x30, 0x40];
    const BY_X: u16 = 0x08;
    let any = |random: &mut Random, codes: &[u16]| codes[index(random, codes.len())];
    let len = 3 + index(random, 30);
    let mut program: Vec<Encoded> = Vec::new();
    for at in 0..len {
        let by_x = if random.below(2) == 0 { BY_X } else { 0 };
        // Mostly within any packet, sometimes beyond most.
        let beyond = if random.below(8) == 0 { 110 } else { 0 };
        let mut encoded = Encoded {
            code: 0,
            jump_true: 0,
            jump_false: 0,
            k: beyond + number(random, 50),
        };
        match random.below(12) {
            0..3 => encoded.code = any(random, &LOADS),
            3 => (encoded.code, encoded.k) = (any(random, &LOADS) + 0x20, number(random, 60)),
            4 => encoded.code = 0xb1,
            // Often more than any packet has.
            5 => {
                let shift = number(random, 32);
                (encoded.code, encoded.k) = (any(random, &[0, 1]), number(random, 256) << shift);
            }
            6 => (encoded.code, encoded.k) = (any(random, &MEMORY), number(random, 16)),
            7 => encoded.code = any(random, &[0x80, 0x81, 0x07, 0x87, 0x84]),
            8 | 9 => {
                encoded.code = 0x04 | any(random, &ARITHMETIC) | by_x;
                encoded.k = 1 + number(random, 31);
            }
            _ => {
                let ahead = (len - at).min(9);
                encoded.code = 0x05 | any(random, &COMPARISONS) | by_x;
                encoded.jump_true = u8::try_from(index(random, ahead)).unwrap();
                encoded.jump_false = u8::try_from(index(random, ahead)).unwrap();
            }
        }
        program.push(encoded);
    }
    for code in [0x16, 0x06] {
        program.push(Encoded {
            code,
            jump_true: 0,
            jump_false: 0,
            k: 1,
        });
    }
    program
}

fn index(random: &mut Random, end: usize) -> usize {
    usize::try_from(random.below(end as u64)).unwrap()
}

fn number(random: &mut Random, end: u64) -> u32 {
    u32::try_from(random.below(end)).unwrap()
}

#[test]
fn any_program_does_the_same_in_the_kernel() {
    let mut random = Random::new(11);
    let mut frames = traffic::mix(40, 3).frames;
    frames.truncate(40);
    let mut programs = Programs::load(false);
    let (mut wanted, mut all) = (0, 0);
    for round in 0..200 {
        let encoded = random_program(&mut random);
        let program = Program::new(&encoded).unwrap();
        let what = format!("program {round}: {encoded:x?}");
        let filter = PacketFilter::of(program.clone(), program.clone());
        let set = programs.kernel.set_filter(filter);
        set.unwrap_or_else(|error| panic!("{what}: {error:#}"));
        wanted += programs.compare(&program, &frames, &what);
        all += frames.len();
    }
    let few = all / 50;
    assert!((few..all - few).contains(&wanted), "{wanted} of {all}");
}
