//! Whether answers are of all there was.

use std::fs;

use serde_json::{Value, json};
use weir_store::{account, layout::Directory, rotate, window::Window};
use weir_tests::process::built;

use crate::archive::{Archive, BEGIN_S, Flow, HOUR_S, TCP, UDP, column, days};

#[test]
fn q11_is_the_data_complete() {
    let mut flows = days();
    let other = (0..12 * HOUR_S).step_by(600);
    flows.extend(
        other.map(|at| Flow::new(at, "10.7.0.1", "10.7.0.2", UDP, 53).exporter("192.0.2.2")),
    );
    let archive = Archive::new(&flows, false, 120);
    let answer = archive.json(&["health"]);
    assert_eq!(
        column(&answer["exporters"], "exporter"),
        ["192.0.2.1", "192.0.2.2"]
    );
    assert_eq!(
        column(&answer["exporters"], "lost"),
        [json!(120), Value::Null]
    );
    let findings = answer["findings"].to_string();
    assert!(
        findings.contains("192.0.2.1 (version 9, domain 7) lost 120 datagrams"),
        "{findings}"
    );
    assert!(
        findings.contains("192.0.2.2 (version 9, domain 7) fell silent at 2026-11-20 11:50:03"),
        "{findings}"
    );
    // Whose flows that fit are old may have sent others since.
    for (asked, is_told) in [("router ip 192.0.2.2", true), ("dst ip 10.7.0.2", false)] {
        let answer = archive.json(&["health", asked]);
        assert_eq!(column(&answer["exporters"], "exporter"), ["192.0.2.2"]);
        let findings = answer["findings"].to_string();
        assert_eq!(findings.contains("fell silent"), is_told, "{findings}");
    }
    // Who is the only one left is silent beside nobody: the time of day tells.
    for (asked, now, is_silent) in [
        ("last 1h", "2026-11-22T02:00", true),
        ("any", "2026-11-22T02:00", true),
        ("any", "2026-11-22T00:05", false),
        ("yesterday", "2026-11-22T02:00", false),
    ] {
        let answer = archive.json(&["health", asked, "--now", now]);
        let findings = answer["findings"].to_string();
        let told = findings.contains("nothing was received from 2026-11-21 23:59");
        assert_eq!(told, is_silent, "{asked} at {now}: {findings}");
    }
    // Each answer says so, for the files it is drawn from.
    assert_eq!(archive.json(&["top"])["coverage"]["lost_datagrams"], 120);
    let before = archive.json(&["top", "until 2026-11-20T00:30"]);
    assert_eq!(before["coverage"]["lost_datagrams"], 0);
}

/// Who sent nothing in the time asked for has no flow in it, and is known from the files before.
#[test]
fn q11_an_exporter_that_was_silent_all_the_time_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::lock(folder.path()).unwrap();
    for hour in 0..3u64 {
        let start_s = i64::try_from(BEGIN_S + hour * HOUR_S).unwrap();
        let mut window = Window::create(&directory.window_path(start_s)).unwrap();
        // The second exporter falls silent after the first hour, the third is new in the last.
        let exporters: &[&str] = match hour {
            0 => &["192.0.2.1", "192.0.2.2"],
            1 => &["192.0.2.1"],
            _ => &["192.0.2.1", "192.0.2.3"],
        };
        let mut share = Vec::new();
        for exporter in exporters {
            let flow = Flow::new(hour * HOUR_S + 60, "10.1.0.1", "10.1.0.2", UDP, 53);
            window.append(&[flow.exporter(exporter).stored()]).unwrap();
            share.push(json!({
                "exporter": exporter, "version": 9, "source_id": 7, "datagrams": 3, "records": 1,
                "lost": 1, "lost_unit": "datagrams",
            }));
        }
        let notes = [(account::SHARE.to_owned(), Value::Array(share).to_string())];
        rotate::close(folder.path(), window.path(), &notes).unwrap();
    }
    let archive = Archive { folder };
    let second_hour = "from 2026-11-20T01:00 to 2026-11-20T02:00";
    let answer = archive.json(&["health", second_hour]);
    let exporters = &answer["exporters"];
    assert_eq!(column(exporters, "exporter"), ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(column(exporters, "flows"), [1, 0]);
    assert_eq!(column(exporters, "coverage"), [0.75, 0.0]);
    let findings = answer["findings"].to_string();
    assert!(
        findings
            .contains("192.0.2.2 (version 9, domain 7) was heard until 2026-11-20 00:01:03 UTC"),
        "{findings}"
    );
    // Who is not asked for is not missed, and neither is who has other flows.
    for filter in [
        "router ip 192.0.2.1",
        "router ip not in [192.0.2.2]",
        "tcp and src port 1",
    ] {
        let answer = archive.json(&["health", &format!("{second_hour} and ({filter})")]);
        let listed = column(&answer["exporters"], "exporter");
        let is_listed = listed.contains(&json!("192.0.2.2"));
        assert_eq!(is_listed, filter.starts_with("tcp"), "{filter}: {listed:?}");
        assert!(
            !listed.contains(&json!("192.0.2.3")),
            "{filter}: {listed:?}"
        );
    }
}

/// An exporter of which nothing can be shown is told of, with what may be wrong: its clock, or its templates.
#[test]
fn q11_an_exporter_without_flows_of_the_time_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::lock(folder.path()).unwrap();
    let start_s = i64::try_from(BEGIN_S).unwrap();
    let mut window = Window::create(&directory.window_path(start_s)).unwrap();
    let flow = |exporter| Flow::new(600, "10.1.0.1", "10.1.0.2", UDP, 53).exporter(exporter);
    let mut slow = flow("192.0.2.2").stored();
    slow.record.start_ns -= 3 * 86_400_000_000_000;
    slow.record.end_ns -= 3 * 86_400_000_000_000;
    window.append(&[flow("192.0.2.1").stored(), slow]).unwrap();
    let mut share = Vec::new();
    for (exporter, records, waiting, unit) in [
        ("192.0.2.1", 1, 0, Some("datagrams")),
        ("192.0.2.2", 1, 0, Some("datagrams")),
        ("192.0.2.3", 0, 2, Some("datagrams")),
        // Options only.
        ("192.0.2.4", 0, 0, Some("datagrams")),
        ("192.0.2.5\u{1b}[31m", 0, 0, None),
    ] {
        share.push(json!({
            "exporter": exporter, "version": 9, "source_id": 7, "datagrams": 3, "records": records,
            "waiting_sets": waiting, "lost": 0, "lost_unit": unit,
        }));
    }
    let notes = [(account::SHARE.to_owned(), Value::Array(share).to_string())];
    rotate::close(folder.path(), window.path(), &notes).unwrap();
    let archive = Archive { folder };
    let ask = |filter: &str| {
        let answer = archive.json(&["health", "--now", "2026-11-20T00:15", filter]);
        let exporters = column(&answer["exporters"], "exporter");
        (exporters, answer["findings"].clone())
    };
    let all = json!([
        "192.0.2.1",
        "192.0.2.2",
        "192.0.2.3",
        "192.0.2.4",
        "192.0.2.5.[31m"
    ]);
    let (exporters, findings) = ask("any");
    assert_eq!(json!(exporters), all);
    let slow = "192.0.2.2 (version 9, domain 7) has a clock that is behind by 3 d";
    let unread =
        "3 datagrams of 192.0.2.3 (version 9, domain 7) came, and no flow in them could be read";
    let findings: Vec<_> = findings.as_array().unwrap().iter().collect();
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(
        findings[0].as_str().unwrap().starts_with(slow),
        "{findings:?}"
    );
    assert!(
        findings[1].as_str().unwrap().starts_with(unread),
        "{findings:?}"
    );
    // Of the time asked for it has no flow, and was heard in it.
    let (exporters, findings) = ask("last 1h");
    assert_eq!(json!(exporters), all);
    let slow =
        "none of its flows is of the time asked for: is it silent since, or its clock wrong?";
    let findings: Vec<_> = findings.as_array().unwrap().iter().collect();
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings[0].as_str().unwrap().contains(slow), "{findings:?}");
    let (exporters, _) = ask("router ip 192.0.2.3");
    assert!(!exporters.contains(&json!("192.0.2.4")), "{exporters:?}");
    let coverage = &archive.json(&["top"])["coverage"];
    assert_eq!(coverage["exporters_without_numbers"], 1);
}

/// A collector that began anew within a window counts from zero, and its file sorts before the other; the
/// oldest files expire. Each file says what was lost in it.
#[test]
fn q11_losses_are_each_files_own() {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::lock(folder.path()).unwrap();
    let mut files = Vec::new();
    for (at_s, datagrams, lost_before, lost) in [
        (0, 100, 0, 50),
        (1, 500, 0, 30),
        (300, 510, 30, 2),
        (600, 520, 32, 0),
    ] {
        // The second one is of the first one's window.
        let start_s = i64::try_from(BEGIN_S + at_s / 300 * 300).unwrap();
        let mut window = Window::create(&directory.window_path(start_s)).unwrap();
        let flow = Flow::new(at_s, "10.1.0.1", "10.1.0.2", UDP, 53);
        window.append(&[flow.stored()]).unwrap();
        let account = |lost: u64| {
            let stream = json!({
                "exporter": "192.0.2.1", "version": 9, "source_id": 7, "datagrams": datagrams,
                "records": datagrams, "lost": lost, "lost_unit": "datagrams",
            });
            json!([stream]).to_string()
        };
        let notes = [
            (account::TOTALS.to_owned(), account(lost_before + lost)),
            (account::SHARE.to_owned(), account(lost)),
        ];
        files.push(
            rotate::close(folder.path(), window.path(), &notes)
                .unwrap()
                .path
                .unwrap(),
        );
    }
    let archive = Archive { folder };
    let lost = || archive.json(&["top"])["coverage"]["lost_datagrams"].clone();
    assert_eq!(lost(), 82);
    fs::remove_file(&files[0]).unwrap();
    assert_eq!(lost(), 32);
    fs::remove_file(&files[1]).unwrap();
    assert_eq!(lost(), 2);
}

/// Exporters choose what they count: sums end at what 64 bits hold, and do not begin anew.
#[test]
fn sums_of_what_exporters_say_do_not_wrap() {
    let most = u64::MAX - 5;
    let flow = Flow::new(60, "10.1.0.1", "10.1.0.2", TCP, 443).counts(most, most);
    let small = flow.back().counts(1, 100);
    let archive = Archive::new(&[flow, flow, flow, small], false, 0);
    let answer = archive.json(&["top", "--by", "srcip", "--order", "octets,distinct(dstip)"]);
    let first = &answer["statistics"][0]["rows"][0];
    assert_eq!(
        (&first["key"], &first["octets"]),
        (&json!("10.1.0.1"), &json!(u64::MAX))
    );
    assert_eq!(answer["total"]["packets"], u64::MAX);
    let answer = archive.json(&["group", "--by", "srcip", "--having", "bytes > 1000"]);
    assert_eq!(column(&answer["groups"], "octets"), [u64::MAX]);
    let answer = archive.json(&["host", "10.1.0.1"]);
    assert_eq!(column(&answer["peers"], "sent_octets"), [u64::MAX]);
    assert_eq!(column(&answer["peers"], "received_octets"), [100]);
    let in_sql = "select src_addr, sum(octets) as octets from flows group by 1 order by 2 desc";
    let answer = archive.json(&["sql", in_sql]);
    assert_eq!(column(&answer["rows"], "octets"), [u64::MAX, 100]);
    // No wrap in the durations either; a flow of two seconds is one of two seconds.
    let answer = archive.json(&["stat", "summary"]);
    let seconds = answer["summary"].as_array().unwrap().iter();
    let mut seconds = seconds.filter(|row| row["figure"] == "seconds a flow");
    assert_eq!(seconds.next().unwrap()["value"], 2000);
    // No flow is the first of none.
    let answer = archive.json(&["stat", "summary", "src port 1 and dst port 1"]);
    let mut figures = answer["summary"].as_array().unwrap().iter();
    let first = figures.find(|row| row["figure"] == "first flow (UTC)");
    assert_eq!(first.unwrap()["value"], Value::Null);
}

/// What is exported is a directory of its own.
#[test]
fn an_export_answers_as_its_source_does() {
    let archive = Archive::of([]);
    let target = tempfile::tempdir().unwrap();
    for name in ["flows.parquet", "flows.csv"] {
        let path = target.path().join(name);
        let path = path.to_str().unwrap();
        archive.text(&["export", "-w", path, "dst port 443"]);
        let again = archive.command(&["export", "-w", path]).output().unwrap();
        assert_eq!(again.status.code(), Some(1), "a file is not written over");
    }
    let mut command = built("weir").unwrap();
    command.args(["top", "--json", "-r"]).arg(target.path());
    let output = command.output().unwrap();
    let exported: Value = serde_json::from_slice(&output.stdout).unwrap();
    let source = archive.json(&["top", "dst port 443"]);
    assert_eq!(exported["total"], source["total"]);
    let lines = fs::read_to_string(target.path().join("flows.csv"))
        .unwrap()
        .lines()
        .count();
    assert_eq!(source["total"]["flows"], lines - 1);
}
