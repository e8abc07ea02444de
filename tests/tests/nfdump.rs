//! nfdump agrees: the same datagrams in both collectors, the same filters, the same flows.
#![expect(clippy::disallowed_methods, reason = "flows are of now")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod both;

use std::{path::Path, process::Command};

use both::{FLOWS, datagrams, nfcapd_collects, plain, weir_collects};
use weir_exporter::Version;
use weir_tests::{
    filters::{self, Dialect},
    process::binaries,
    traffic::Random,
};

const FILTERS: usize = 150;

/// Rows of addresses, ports, packets and octets, in order.
fn rows(command: &mut Command, separator: char) -> Vec<Vec<String>> {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    let text = String::from_utf8(output.stdout).unwrap();
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
    let mut command = Command::new(binaries().unwrap().join("weir"));
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
        let theirs = nfcapd_collects(folder.path(), &datagrams);
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
