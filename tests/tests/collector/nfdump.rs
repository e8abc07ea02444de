//! nfdump agrees: the same datagrams in both collectors, the same filters, the same flows; and each reads the
//! other's files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use weir_exporter::Version;
use weir_netflow::{ExportTime, v9};
use weir_tests::{
    filters::{self, Dialect},
    process::{built, succeed},
    traffic::Random,
};

use crate::{
    both::{FLOWS, datagrams, nfcapd_collects, plain, weir_collects},
    site::{push_set, unix_ns},
};

const FILTERS: usize = 150;

/// Rows of addresses, ports, packets and octets, in order.
fn rows(command: &mut Command, separator: char) -> Vec<Vec<String>> {
    let text = succeed(command);
    let fields = |line: &str| -> Vec<String> {
        let words = line.split(separator).map(str::trim);
        words.filter(|word| !word.is_empty()).map(plain).collect()
    };
    let is_row = |fields: &Vec<String>| fields.len() == 6 && fields[5].parse::<u64>().is_ok();
    let mut rows: Vec<_> = text.lines().map(fields).filter(is_row).collect();
    rows.sort();
    rows
}

fn of_weir(flows: &Path, filter: &str) -> Vec<Vec<String>> {
    let mut command = built("weir").unwrap();
    command.args(["flows", "-o", "csv:%sa,%sp,%da,%dp,%pkt,%byt", "-r"]);
    rows(command.arg(flows).arg(filter), ',')
}

fn of_nfdump(flows: &Path, filter: &str) -> Vec<Vec<String>> {
    let mut command = Command::new("nfdump");
    command.args([
        "-q",
        "-N",
        "-6",
        "-o",
        "fmt:%sa %sp %da %dp %pkt %byt",
        "-R",
    ]);
    rows(command.arg(flows).arg(filter), ' ')
}

#[test]
fn filters_keep_the_flows_that_nfdump_keeps() {
    for (version, seed) in [(Version::V5, 1), (Version::V9, 2)] {
        let folder = tempfile::tempdir().unwrap();
        let datagrams = datagrams(version, seed);
        let ours = weir_collects(folder.path(), &datagrams);
        let theirs = nfcapd_collects(folder.path(), &datagrams, &[]);
        let all = of_weir(&ours, "any");
        assert_eq!(all.len(), FLOWS, "{version:?}");
        assert_eq!(all, of_nfdump(&theirs, "any"), "{version:?}");
        let mut random = Random::new(100 + seed);
        let mut some = 0;
        for _ in 0..FILTERS {
            let filter = filters::filter(&mut random, Dialect::Nfdump);
            let kept = of_weir(&ours, &filter);
            assert_eq!(kept, of_nfdump(&theirs, &filter), "{version:?}: {filter}");
            some += usize::from(!kept.is_empty() && kept.len() < FLOWS);
        }
        assert!(
            some * 2 > FILTERS,
            "{some} of {FILTERS} filters tell flows apart"
        );
    }
}

/// Client, server and application: seconds and microseconds of each.
type Latencies = [u32; 6];

/// A v9 datagram of flows as nProbe sends them, with what it measured of each connection.
fn of_nprobe(rows: &[Latencies]) -> Vec<u8> {
    const TEMPLATE: u16 = 300;
    // Addresses, ports, protocol, octets, packets, last and first packet (RFC 3954 section 8); ntop's.
    let fields = [
        (8, 4),
        (12, 4),
        (7, 2),
        (11, 2),
        (4, 1),
        (1, 4),
        (2, 4),
        (21, 4),
        (22, 4),
        (57_554, 4),
        (57_555, 4),
        (57_556, 4),
        (57_557, 4),
        (57_558, 4),
        (57_559, 4_u16),
    ];
    let mut definition = Vec::new();
    let count = u16::try_from(fields.len()).unwrap();
    for number in [TEMPLATE, count]
        .into_iter()
        .chain(fields.into_iter().flat_map(<[u16; 2]>::from))
    {
        definition.extend(number.to_be_bytes());
    }
    let mut data = Vec::new();
    for (row, port) in rows.iter().zip(1000_u16..) {
        data.extend([192, 0, 2, 1, 198, 51, 100, 2]);
        data.extend([port.to_be_bytes(), 443_u16.to_be_bytes()].concat());
        data.push(6);
        for number in [1000, 10, 99_000, 90_000].iter().chain(row) {
            data.extend(u32::to_be_bytes(*number));
        }
    }
    let header = v9::encode_header(&v9::Header {
        count: u16::try_from(1 + rows.len()).unwrap(),
        time: ExportTime {
            unix_ns: unix_ns(),
            uptime_ms: 100_000,
        },
        sequence: 0,
        source_id: 1,
    });
    let mut datagram = header.to_vec();
    push_set(&mut datagram, v9::TEMPLATE_SET, &definition);
    push_set(&mut datagram, TEMPLATE, &data);
    datagram
}

fn weir_flows() -> Command {
    let mut command = built("weir").unwrap();
    command.arg("flows");
    command
}

/// Source ports with the latencies of client, server and application, as a program shows them.
fn latencies(mut command: Command, flows: &Path) -> Vec<Vec<String>> {
    let text = succeed(
        command
            .args(["-q", "-o", "fmt:%sp %cl %sl %al", "-R"])
            .arg(flows),
    );
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().map(str::to_owned).collect());
    let mut lines: Vec<Vec<String>> = lines.filter(|line: &Vec<String>| line.len() == 4).collect();
    lines.sort();
    lines
}

#[test]
fn latencies_of_nprobe_are_filtered_shown_and_counted_as_nfdump_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let datagrams = [of_nprobe(&[
        [0, 0, 0, 0, 0, 0],
        [0, 500, 0, 1500, 0, 2500],
        [0, 5000, 0, 6000, 0, 7000],
        [0, 5999, 1, 250_000, 2, 0],
        [3, 1, 0, 999_999, 0, 1],
    ])];
    let ours = weir_collects(folder.path(), &datagrams);
    let theirs = nfcapd_collects(folder.path(), &datagrams, &[]);
    let all = latencies(weir_flows(), &ours);
    assert_eq!(all[3], ["1003", "5.999", "1250.000", "2000.000"]);
    assert_eq!(all, latencies(Command::new("nfdump"), &theirs));
    // Whatever its manual says, every nfdump compares microseconds.
    for (filter, ports) in [
        ("client latency > 0", &["1001", "1002", "1003", "1004"][..]),
        ("client latency = 5000", &["1002"]),
        ("server latency >= 999999", &["1003", "1004"]),
        ("not client latency > 5", &["1000"]),
        (
            "client latency > 1k and server latency < 1M",
            &["1002", "1004"],
        ),
    ] {
        let ports: Vec<Vec<String>> = ports.iter().map(|port| vec![(*port).to_owned()]).collect();
        let source_ports = |rows: Vec<Vec<String>>| -> Vec<Vec<String>> {
            rows.into_iter().map(|row| vec![row[1].clone()]).collect()
        };
        assert_eq!(source_ports(of_weir(&ours, filter)), ports, "{filter}");
        assert_eq!(source_ports(of_nfdump(&theirs, filter)), ports, "{filter}");
    }
    let kept = of_weir(
        &ours,
        "client latency > 2ms and client latency < server latency",
    );
    assert_eq!(kept.len(), 2, "{kept:?}");
    let mut command = built("weir").unwrap();
    let text = succeed(
        command
            .args(["top", "--by", "cl", "--json", "-r"])
            .arg(&ours),
    );
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    let rows = answer["statistics"][0]["rows"].as_array().unwrap();
    let mut latencies: Vec<_> = rows
        .iter()
        .map(|row| row["key"].as_u64().unwrap())
        .collect();
    latencies.sort_unstable();
    assert_eq!(latencies, [0, 500, 5000, 5999, 3_000_001]);
}

/// nfcapd's closed files.
fn files(flows: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(flows)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_closed = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("nfcapd.") && !name.starts_with("nfcapd.current")
    };
    paths.filter(is_closed).collect()
}

/// Runs a program of ours: whether it succeeded, and what it said.
fn run(name: &str, arguments: &[&std::ffi::OsStr]) -> (bool, String) {
    let mut command = built(name).unwrap();
    let output = command.args(arguments).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    (output.status.success(), said)
}

#[test]
fn nfcapds_files_are_taken_over_whatever_their_compression() {
    for (version, compression, seed) in [
        (Version::V5, &[][..], 3),
        (Version::V9, &["-z"][..], 4),
        (Version::V5, &["-z"][..], 5),
        (Version::V9, &["-y"][..], 6),
        (Version::V9, &["-j"][..], 7),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let datagrams = datagrams(version, seed);
        let theirs = nfcapd_collects(folder.path(), &datagrams, compression);
        let files = files(&theirs);
        assert!(!files.is_empty());
        // Asked as they are, they are told apart from a directory in which nothing came.
        let (is_success, said) = run(
            "weir",
            &["nfdump".as_ref(), "-R".as_ref(), theirs.as_os_str()],
        );
        assert!(
            !is_success && said.contains("`weir-collector import"),
            "{said}"
        );
        let ours = folder.path().join("imported");
        let mut arguments = vec!["import".as_ref(), "-w".as_ref(), ours.as_os_str()];
        arguments.extend(files.iter().map(|file| file.as_os_str()));
        let (is_success, said) = run("weir-collector", &arguments);
        assert!(is_success, "{compression:?}: {said}");
        let counted = format!("{FLOWS} flows of {} files imported, 0 files", files.len());
        assert!(said.contains(&counted), "{compression:?}: {said}");
        let rows = of_weir(&ours, "any");
        assert_eq!(rows.len(), FLOWS);
        assert_eq!(
            rows,
            of_nfdump(&theirs, "any"),
            "{version:?} {compression:?}"
        );
        // The exporter, which is in a record of its own or in the flow's.
        let known = of_weir(&ours, "router ip 127.0.0.1");
        assert_eq!(known.len(), FLOWS, "{version:?} {compression:?}");
    }
}

#[test]
fn a_file_that_holds_less_than_it_says_is_left_out_unless_it_is_to_be_salvaged() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = nfcapd_collects(folder.path(), &datagrams(Version::V9, 8), &["-y"]);
    let file = files(&theirs).remove(0);
    let whole = fs::read(&file).unwrap();
    // Its block has a few records less than it should: the last is of no flow.
    let mut changed = whole;
    changed[40] -= 5;
    fs::write(&file, changed).unwrap();
    let ours = folder.path().join("imported");
    let mut arguments = vec![
        "import".as_ref(),
        "-w".as_ref(),
        ours.as_os_str(),
        file.as_os_str(),
    ];
    let (is_success, said) = run("weir-collector", &arguments);
    assert!(!is_success && said.contains("its statistics say"), "{said}");
    assert!(
        said.contains("0 flows of 0 files imported, 1 files"),
        "{said}"
    );
    arguments.push("--salvage".as_ref());
    let (is_success, said) = run("weir-collector", &arguments);
    assert!(!is_success && said.contains("of it are imported"), "{said}");
    let flows = of_weir(&ours, "any").len();
    assert!((FLOWS - 5..FLOWS).contains(&flows), "{flows}");
}

#[test]
fn exported_files_are_nfdumps() {
    for (version, compression, seed) in [
        (Version::V5, "none", 9),
        (Version::V9, "lz4", 10),
        (Version::V9, "none", 11),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let ours = weir_collects(folder.path(), &datagrams(version, seed));
        let exported = folder.path().join("exported");
        fs::create_dir(&exported).unwrap();
        let file = exported.join("nfcapd.202611210500");
        let (is_success, said) = run(
            "weir",
            &[
                "export".as_ref(),
                "-r".as_ref(),
                ours.as_os_str(),
                "-w".as_ref(),
                file.as_os_str(),
                "--compression".as_ref(),
                compression.as_ref(),
            ],
        );
        assert!(is_success, "{said}");
        let mut nfdump = Command::new("nfdump");
        nfdump.args([
            "-q",
            "-N",
            "-6",
            "-o",
            "fmt:%sa %sp %da %dp %pkt %byt",
            "-r",
        ]);
        let read = rows(nfdump.arg(&file).arg("any"), ' ');
        assert_eq!(read, of_weir(&ours, "any"), "{version:?} {compression}");
        // Its statistics, too.
        let output = Command::new("nfdump")
            .arg("-I")
            .arg("-r")
            .arg(&file)
            .output();
        let statistics = String::from_utf8(output.unwrap().stdout).unwrap();
        let flows = statistics
            .lines()
            .find_map(|line| line.strip_prefix("Flows:"));
        assert_eq!(
            flows.map(str::trim),
            Some(FLOWS.to_string().as_str()),
            "{statistics}"
        );
        // And back again.
        let back = folder.path().join("back");
        let (is_success, said) = run(
            "weir-collector",
            &[
                "import".as_ref(),
                file.as_os_str(),
                "-w".as_ref(),
                back.as_os_str(),
            ],
        );
        assert!(is_success, "{said}");
        assert_eq!(of_weir(&back, "any"), read);
    }
}

#[test]
fn latencies_come_out_of_nfcapds_files_and_go_into_them() {
    let folder = tempfile::tempdir().unwrap();
    let datagrams = [of_nprobe(&[[0, 500, 1, 250_000, 2, 0]])];
    let theirs = nfcapd_collects(folder.path(), &datagrams, &[]);
    let expected = [["1000", "0.500", "1250.000", "2000.000"]];
    assert_eq!(latencies(Command::new("nfdump"), &theirs), expected);
    let files = files(&theirs);
    let ours = folder.path().join("imported");
    let mut arguments = vec!["import".as_ref(), "-w".as_ref(), ours.as_os_str()];
    arguments.extend(files.iter().map(|file| file.as_os_str()));
    let (is_success, said) = run("weir-collector", &arguments);
    assert!(is_success, "{said}");
    assert_eq!(latencies(weir_flows(), &ours), expected);
    let exported = folder.path().join("exported");
    fs::create_dir(&exported).unwrap();
    let file = exported.join("nfcapd.202611210500");
    let (is_success, said) = run(
        "weir",
        &[
            "export".as_ref(),
            "-r".as_ref(),
            ours.as_os_str(),
            "-w".as_ref(),
            file.as_os_str(),
        ],
    );
    assert!(is_success, "{said}");
    assert_eq!(latencies(Command::new("nfdump"), &exported), expected);
}
