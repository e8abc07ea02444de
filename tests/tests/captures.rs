//! Every capture of the test data through both paths: the file reader, and the loaded XDP program.
//! IP packets, octets and flows must equal the ground truth; deviations are listed here, each with
//! its reason.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::HashMap, path::Path};

use aya::programs::{TestRun as _, TestRunOptions};
use weir_sensor::{
    capture,
    clock::Now,
    grace,
    kernel::{Kernel, ProgramOptions},
    statistics::Statistics,
    sweep::{Sweep, Take},
    table,
};
use weir_sensor_common::{Counter, KeyMask, hash::Seed, stage::STAGES_MAX, table::Shape};
use weir_tests::testdata;

/// What differs, and why; both paths.
const DEVIATIONS: [(&str, &str); 1] = [(
    "suricata-frag-12.pcap",
    "a chain of 175 extension headers: the walk stops after V6_EXTENSIONS_MAX and counts the packet to the header it was left at, a flow more",
)];

/// What differs in the kernel only: `BPF_PROG_TEST_RUN` takes no such frame.
const NOT_RUNNABLE: [(&str, &str); 3] = [
    (
        "tcpdump-bigtcp-ipv4.pcap",
        "a frame of 80,066 octets: more than a test run takes",
    ),
    ("tcpdump-bigtcp-ipv6-hbh.pcap", "likewise"),
    ("tcpdump-bigtcp-ipv6.pcap", "likewise"),
];

#[derive(Debug)]
struct Expected {
    file: String,
    ethernet: bool,
    packets: u64,
    ip_packets: u64,
    ip_octets: u64,
    flows: u64,
}

fn expected(folder: &Path) -> Vec<Expected> {
    let text = std::fs::read_to_string(folder.join("pcap-expected.tsv")).unwrap();
    let mut lines = text.lines();
    let names: Vec<_> = lines
        .next()
        .unwrap()
        .trim_start_matches('#')
        .split('\t')
        .collect();
    lines
        .map(|line| {
            let row: HashMap<_, _> = names.iter().copied().zip(line.split('\t')).collect();
            let number = |name: &str| row[name].parse().unwrap();
            Expected {
                file: row["file"].to_owned(),
                ethernet: row["linktypes"] == "1",
                packets: number("packets"),
                ip_packets: number("ip_packets"),
                ip_octets: number("ip_bytes"),
                flows: number("flows_fragjoined"),
            }
        })
        .collect()
}

#[test]
fn files_equal_the_ground_truth() {
    let Some(folder) = testdata::folder() else {
        return;
    };
    let sensor = weir_tests::process::binaries().unwrap().join("weir-sensor");
    let mut differences = Vec::new();
    for expected in expected(&folder) {
        let output = std::process::Command::new(&sensor)
            .arg("-r")
            .arg(folder.join("pcap").join(&expected.file))
            .args([
                "--statistics-json",
                "-",
                "-t",
                "idle=500w",
                "-t",
                "active=0",
                "-t",
                "tcp.fin=0",
                "-t",
                "tcp.rst=0",
            ])
            .output()
            .unwrap();
        let found: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{}: {error}", expected.file));
        let of = |name: &str| found[name].as_i64().unwrap();
        let found = (
            of("packets"),
            of("ip_packets"),
            of("ip_octets"),
            of("flows"),
            of("unexplained_packets"),
            of("unexplained_octets"),
        );
        let wanted = [
            expected.packets,
            expected.ip_packets,
            expected.ip_octets,
            expected.flows,
        ]
        .map(|count| i64::try_from(count).unwrap());
        if found != (wanted[0], wanted[1], wanted[2], wanted[3], 0, 0) || !output.status.success() {
            differences.push((
                expected.file.clone(),
                format!("{found:?} instead of {expected:?}, {}", output.status),
            ));
        }
    }
    testdata::judge(&differences, &DEVIATIONS);
}

#[test]
fn the_loaded_program_equals_the_ground_truth() {
    assert!(
        weir_tests::netns::possible(),
        "root is needed to load the program"
    );
    let Some(folder) = testdata::folder() else {
        return;
    };
    let shape = Shape {
        bucket_mask: table::bucket_mask(100_000),
        seed: Seed::new([9, 8, 7, 6, 5]),
        key_mask: KeyMask::FULL.0,
    };
    let options = ProgramOptions {
        stages: STAGES_MAX,
        ring_flows: 1 << 14,
        fragments: 8192,
        ..ProgramOptions::new(shape)
    };
    let mut kernel = Kernel::load(&options).unwrap();
    weir_tests::wire::pin(0).unwrap();
    let mut differences = Vec::new();
    for expected in expected(&folder)
        .into_iter()
        .filter(|expected| expected.ethernet)
    {
        let path = folder.join("pcap").join(&expected.file);
        if let Err(difference) = run_capture(&mut kernel, &path, &expected) {
            differences.push((expected.file, difference));
        }
    }
    let allowed: Vec<_> = DEVIATIONS.iter().chain(&NOT_RUNNABLE).copied().collect();
    testdata::judge(&differences, &allowed);
}

/// Hands each frame to the program; compares what it counted and what the sweep took.
fn run_capture(kernel: &mut Kernel, path: &Path, expected: &Expected) -> Result<(), String> {
    let mut before = Statistics::default();
    before.read_counters(&kernel.states, kernel.cpus);
    let mut refused = Vec::new();
    let mut runts = 0u64;
    capture::read(path, |frame| {
        let octets = frame.captured.octets;
        // The kernel lends no frame shorter than an Ethernet header to a program.
        if octets.len() < 14 {
            runts += 1;
            return;
        }
        let run = TestRunOptions {
            data_in: Some(octets),
            ..TestRunOptions::new()
        };
        match kernel.ingress().unwrap().test_run(run) {
            Ok(result) => assert_eq!(result.return_value, 2, "the frame must pass"),
            Err(error) => refused.push(format!("{} octets: {error}", octets.len())),
        }
    })
    .map_err(|error| error.to_string())?;
    if !refused.is_empty() {
        return Err(format!("refused: {refused:?}"));
    }
    kernel.settle().map_err(|error| error.to_string())?;
    let mut sweep = Sweep::default();
    let (mut flows, mut packets, mut octets) = (0u64, 0, 0);
    sweep.close(&kernel.table, &Now::read(), Take::Everything);
    grace::wait().unwrap();
    sweep.collect(&mut kernel.table, |taken| {
        flows += 1;
        packets += taken.packets;
        octets += taken.octets;
    });
    let mut after = Statistics::default();
    after.read_counters(&kernel.states, kernel.cpus);
    let counted = |counter: Counter| after.get(counter) - before.get(counter);
    let ip_packets = after.ip_packets() - before.ip_packets();
    let found = (
        counted(Counter::Packets) + runts,
        ip_packets,
        counted(Counter::IpOctets),
        flows,
    );
    let wanted = (
        expected.packets,
        expected.ip_packets,
        expected.ip_octets,
        expected.flows,
    );
    if (packets, octets) != (ip_packets, counted(Counter::IpOctets)) {
        return Err(format!(
            "{packets} packets, {octets} octets taken, but counted {found:?}"
        ));
    }
    if found == wanted {
        Ok(())
    } else {
        Err(format!("{found:?} instead of {wanted:?}"))
    }
}
