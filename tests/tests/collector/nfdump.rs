//! nfdump agrees: the same datagrams in both collectors, the same filters, the same flows; and each reads the
//! other's files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use weir_exporter::Version;
use weir_tests::{
    filters::{self, Dialect},
    process::{built, succeed},
    traffic::Random,
};

use crate::both::{FLOWS, datagrams, nfcapd_collects, plain, weir_collects};

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
