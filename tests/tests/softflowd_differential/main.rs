//! Every capture of the test data through Debian's softflowd and through weir-sensor by that name, at
//! each track level and in each format; the records must be equal. What differs by intention is a
//! [`Rule`] with a name: frames it is about go to neither program, what it says of records is left out
//! of the comparison, and the sensor's list of differences has each of them, as has docs/softflowd.md. Nothing else may
//! differ.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod records;
mod rules;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use weir_netflow::{
    FlowRecord, ipfix,
    set::{Definition, Set},
    v9,
};
use weir_sensor::{
    capture,
    options::differences::{self, RECORDS},
};
use weir_tests::{process::binaries, sent::sent, testdata, traffic};

use records::{compare, decode};
use rules::{Applied, ETHERNET, Kept, NAMES, Rule, classify};

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
        include_str!("../../../docs/softflowd.md").contains(&table),
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
    let frames = traffic::flood_frames(0..3);
    let frames = frames.iter().map(Vec::as_slice);
    let file = traffic::capture_file(frames, |index| 1_700_000_000_000_000 + index);
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
