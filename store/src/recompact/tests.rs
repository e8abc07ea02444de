//! Flows before and after, and after a kill at each step.

use std::{
    fs::File,
    net::{Ipv4Addr, Ipv6Addr},
    process::Command,
};

use arrow::{
    array::{Array as _, AsArray as _},
    datatypes::UInt64Type,
};
use serde_json::{Value, json};
use weir_netflow::FlowRecord;

use super::{
    large::{order, sources, write_sorted},
    *,
};
use crate::{
    account,
    closed::ClosedWriter,
    footer,
    form::Compression,
    layout::Directory,
    schema::{self, StoredFlow},
    verify::{self, Fault},
};

/// 2026-11-21 05:00:00 UTC.
const START_S: i64 = 1_795_237_200;
const LATER_S: i64 = START_S + 100_000;

fn flow(number: u64) -> StoredFlow {
    let source = Ipv6Addr::from_bits(0xffff_0a00_0000 + u128::from(number * 7919 % 251));
    StoredFlow {
        record: FlowRecord {
            source,
            packets: number,
            start_ns: 1_700_000_000_000_000_000 + number,
            ..FlowRecord::default()
        },
        received_ns: 1_700_000_000_000_000_000,
        ..StoredFlow::default()
    }
}

/// A closed file of a window with these flows.
fn close(root: &Path, start_s: i64, numbers: std::ops::Range<u64>) -> PathBuf {
    let share = json!([{
        "exporter": "::1", "version": 9, "source_id": 7, "datagrams": 1, "lost": 2, "lost_unit": "datagrams",
    }]);
    let notes = [
        (account::TOTALS.to_owned(), "[]".to_owned()),
        (account::SHARE.to_owned(), share.to_string()),
    ];
    close_with(root, start_s, numbers, &notes)
}

/// The same with other notes.
fn close_with(
    root: &Path,
    start_s: i64,
    numbers: std::ops::Range<u64>,
    notes: &[(String, String)],
) -> PathBuf {
    let path = layout::closed_path(root, start_s, &layout::window_stem(start_s));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer = ClosedWriter::create(&path, notes).unwrap();
    let flows: Vec<_> = numbers.map(flow).collect();
    writer.write(&schema::batch(&flows).unwrap()).unwrap();
    writer.finish().unwrap();
    path
}

/// An hour of twelve files and one of a single file; 1,210 flows.
fn directory() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    Directory::lock(root).unwrap();
    for window in 0..12u64 {
        let start_s = START_S + 300 * window.cast_signed();
        close(root, start_s, 100 * window..100 * (window + 1));
    }
    close(root, START_S + 3600, 1200..1210);
    folder
}

/// The packets of all flows that readers see, sorted: each flow has its own number.
fn seen(root: &Path) -> Vec<u64> {
    let mut packets = Vec::new();
    for path in read::list(root).unwrap().closed {
        let verified = verify::read_sound(&path, |batch| {
            let column = batch.column_by_name("packets").unwrap();
            let numbers = column.as_primitive::<UInt64Type>().values();
            packets.extend(numbers.iter());
            Ok(())
        });
        assert!(verified.unwrap().faults.is_empty(), "{}", path.display());
    }
    packets.sort_unstable();
    packets
}

fn all() -> Vec<u64> {
    (0..1210).collect()
}

/// What was done, in words.
fn run(root: &Path, before_s: i64, is_dry: bool) -> Vec<String> {
    let mut done = Vec::new();
    recompact(root, before_s, is_dry, |hour| {
        done.push(match hour {
            Recompacted::Done { files, flows, .. } => format!("{files} files, {flows} flows"),
            Recompacted::Due { files, .. } => format!("{files} files due"),
            Recompacted::Flat { files, .. } => format!("{files} flat files stay"),
            Recompacted::Left { why, .. } => why.to_string(),
        });
    })
    .unwrap();
    done
}

#[test]
fn an_hour_becomes_one_sorted_file_and_stays_so() {
    let folder = directory();
    let root = folder.path();
    assert_eq!(run(root, LATER_S, true), ["12 files due"]);
    assert_eq!(read::list(root).unwrap().closed.len(), 13);
    // The hour is not over yet.
    assert!(run(root, START_S + 3599, false).is_empty());
    assert_eq!(run(root, LATER_S, false), ["12 files, 1200 flows"]);
    let closed = read::list(root).unwrap().closed;
    assert_eq!(closed.len(), 2);
    assert!(closed[0].ends_with("date=2026-11-21/hour=05/flows-20261121T050000Z-hour.parquet"));
    assert_eq!(seen(root), all());
    let mut sources = Vec::new();
    verify::read_sound(&closed[0], |batch| {
        let column = batch.column_by_name("src_addr").unwrap();
        let column = column.as_fixed_size_binary();
        sources.extend((0..column.len()).map(|row| column.value(row).to_vec()));
        Ok(())
    })
    .unwrap();
    assert!(sources.is_sorted());
    let footer = footer::read(&closed[0]).unwrap();
    let share: Value = serde_json::from_str(footer.note(account::SHARE).unwrap()).unwrap();
    assert_eq!(
        (&share[0]["datagrams"], &share[0]["lost"]),
        (&json!(12), &json!(24))
    );
    // Again: nothing to do. A late file: it is taken in.
    assert!(run(root, LATER_S, false).is_empty());
    close(root, START_S + 7, 1210..1220);
    assert_eq!(run(root, LATER_S, false), ["2 files, 1210 flows"]);
    assert_eq!(seen(root), (0..1220).collect::<Vec<_>>());
}

/// What files were made of is told as JSON, and no deeper the more often late ones came.
#[test]
fn notes_of_an_hour_that_gets_late_files_again_and_again_are_as_deep_as_those_of_the_first() {
    let folder = directory();
    let root = folder.path();
    run(root, LATER_S, false);
    for late in 0..3 {
        close(root, START_S + 7, 1210 + 10 * late..1220 + 10 * late);
        run(root, LATER_S, false);
    }
    let large = read::list(root).unwrap().closed.remove(0);
    let footer = footer::read(&large).unwrap();
    let sources: Value = serde_json::from_str(footer.note("weir.recompacted").unwrap()).unwrap();
    let listed = |sources: &Value, is_summed: bool| -> Vec<(String, bool)> {
        let sources = sources.as_array().unwrap().iter();
        let told = |source: &Value| {
            let version = &source["window"][0]["version"];
            assert_eq!((version == 9, version.is_null()), (!is_summed, is_summed));
            assert_eq!(
                source["exporters"].is_array(),
                !is_large(source),
                "{source}"
            );
            (
                source["file"].as_str().unwrap().to_owned(),
                source["recompacted"].is_array(),
            )
        };
        sources.map(told).collect()
    };
    let direct = listed(&sources, false);
    assert_eq!(direct.iter().filter(|(_, is_made)| *is_made).count(), 1);
    assert_eq!(direct.len(), 2);
    let earlier = sources
        .as_array()
        .unwrap()
        .iter()
        .find(|source| is_large(source));
    let earlier = listed(&earlier.unwrap()["recompacted"], true);
    // Twelve small ones, two late ones, and the large ones of then.
    assert_eq!(earlier.len(), 16);
    assert!(earlier.iter().all(|(_, is_made)| !is_made), "{earlier:?}");
}

/// Earlier versions told parts of a source as texts, and what it was made of in them.
#[test]
fn notes_of_a_large_file_of_an_earlier_version_become_those_of_this_one() {
    let folder = directory();
    let root = folder.path();
    let deepest = json!([{
        "file": "c", "octets": 3, "window": "[]", "exporters": "[]", "recompacted": null,
    }]);
    let earlier = json!([
        {
            "file": "a", "octets": 1, "window": "[]", "exporters": "[{\"version\":9}]",
            "recompacted": null,
        },
        {
            "file": "b", "octets": 2, "window": "[]", "exporters": null,
            "recompacted": deepest.to_string(),
        },
    ]);
    let notes = [
        (account::SHARE.to_owned(), "[]".to_owned()),
        ("weir.recompacted".to_owned(), earlier.to_string()),
    ];
    close_with(root, START_S + 7, 1210..1220, &notes);
    run(root, LATER_S, false);
    let large = read::list(root).unwrap().closed.remove(0);
    let footer = footer::read(&large).unwrap();
    let sources: Value = serde_json::from_str(footer.note("weir.recompacted").unwrap()).unwrap();
    let mut sources = sources.as_array().unwrap().iter();
    let earlier = sources.find(|source| source["recompacted"].is_array());
    let expected = json!([
        { "file": "a", "octets": 1, "exporters": [{ "version": 9 }], "recompacted": null },
        { "file": "b", "octets": 2, "exporters": null, "recompacted": null },
        { "file": "c", "octets": 3, "exporters": [], "recompacted": null },
    ]);
    assert_eq!(earlier.unwrap()["recompacted"], expected);
}

/// Who cannot tell what a file was made of must not take it for one that was made of nothing.
#[test]
fn a_list_of_sources_that_cannot_be_read_is_an_error() {
    let folder = directory();
    let root = folder.path();
    for (at, list) in (0..).zip(["[{", "{}", r#"[{"file":"a"}]"#]) {
        let notes = [("weir.recompacted".to_owned(), list.to_owned())];
        let path = close_with(root, START_S + 7 + at, 1210..1220, &notes);
        let refused = sources(&path).unwrap_err().to_string();
        assert!(refused.contains("what it was made of"), "{list}: {refused}");
        // It is `repair` that says so, too.
        assert!(
            refused.contains("move it out of the directory"),
            "{refused}"
        );
    }
}

fn is_large(source: &Value) -> bool {
    source["file"]
        .as_str()
        .is_some_and(|name| name.ends_with("-hour.parquet"))
}

/// A file as version 1 wrote it, with these flows.
fn close_as_version_1(root: &Path, start_s: i64, numbers: std::ops::Range<u64>) {
    use parquet::{
        arrow::ArrowWriter,
        file::{metadata::KeyValue, properties::WriterProperties},
    };
    let path = layout::closed_path(root, start_s, &layout::window_stem(start_s));
    let version = KeyValue::new("weir.schema_version".to_owned(), "1".to_owned());
    let properties = WriterProperties::builder()
        .set_key_value_metadata(Some(vec![version]))
        .build();
    let file = File::create(path).unwrap();
    let columns = schema::earlier_schema();
    let mut writer = ArrowWriter::try_new(file, columns, Some(properties)).unwrap();
    let flows: Vec<_> = numbers.map(flow).collect();
    writer
        .write(&schema::earlier_batch(&flows).unwrap())
        .unwrap();
    writer.close().unwrap();
}

/// Fault case D12: files of both versions become one of the later.
#[test]
fn d12_files_of_both_versions_become_one() {
    let folder = directory();
    let root = folder.path();
    close_as_version_1(root, START_S + 7, 1210..1220);
    let all: Vec<_> = (0..1220).collect();
    assert_eq!(seen(root), all);
    assert_eq!(run(root, LATER_S, false), ["13 files, 1210 flows"]);
    assert_eq!(seen(root), all);
    let large = read::list(root).unwrap().closed.remove(0);
    let footer = footer::read(&large).unwrap();
    assert_eq!(
        footer.note("weir.schema_version"),
        Some(schema::SCHEMA_VERSION)
    );
    assert_eq!(
        footer.note(account::SHARE),
        None,
        "one of them does not say"
    );
}

/// A large file's row groups are what was sorted at a time: by flows, by octets, and a batch at least.
#[test]
fn a_piece_at_a_time_is_sorted_and_becomes_a_row_group() {
    let folder = directory();
    let root = folder.path();
    let files = &expire::list(root).unwrap()[..12];
    let large = root.join(".large");
    let groups = |rows, octets| {
        let making = Making {
            compression: Compression::default(),
            piece: Piece { rows, octets },
            goes_on: &|| true,
        };
        assert_eq!(write_sorted(files, &large, making).unwrap(), Ok(1200));
        let (mut groups, mut packets) = (0, Vec::<u64>::new());
        let verified = verify::read_sound(&large, |batch| {
            let sources = batch.column_by_name("src_addr").unwrap();
            let sources = sources.as_fixed_size_binary();
            assert!((1..sources.len()).all(|row| sources.value(row - 1) <= sources.value(row)));
            let column = batch.column_by_name("packets").unwrap();
            packets.extend(column.as_primitive::<UInt64Type>().values().iter());
            groups += 1;
            Ok(())
        });
        let verified = verified.unwrap();
        assert!(verified.faults.is_empty() && verified.has_checksums);
        packets.sort_unstable();
        assert_eq!(packets, (0..1200).collect::<Vec<u64>>());
        groups
    };
    assert_eq!(groups(usize::MAX, usize::MAX), 1);
    assert_eq!(groups(300, usize::MAX), 4);
    assert_eq!(groups(350, usize::MAX), 4);
    assert_eq!(groups(1, usize::MAX), 12);
    assert_eq!(groups(usize::MAX, 1), 12);
    // A flow takes 118 octets in the columns that have something, and 220 in all.
    assert_eq!(groups(usize::MAX, 200_000), 1);
}

/// Which port was drawn for a connection tells nothing; that it went to or came from a service does.
#[test]
fn rows_are_in_the_order_of_hosts_services_and_sizes() {
    let ports = [
        (443, 50_000),
        (53, 60_000),
        (40_000, 22),
        (443, 40_000),
        (53, 33_000),
    ];
    let flows = (0..).zip(ports).map(|(number, (from, to))| {
        let mut flow = flow(9 - number);
        flow.record.source = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped();
        (flow.record.source_port, flow.record.destination_port) = (from, to);
        flow
    });
    let flows: Vec<_> = flows.collect();
    let batch = schema::batch(&flows).unwrap();
    let order = order(&[batch.slice(0, 2), batch.slice(2, 3)]).unwrap();
    assert_eq!(order, [(1, 0), (1, 2), (0, 1), (1, 1), (0, 0)]);
}

/// Recompacts the one hour that is due.
fn run_one(root: &Path, goes_on: &dyn Fn() -> bool) -> Recompacted {
    let lock = Rearranging::lock(root).unwrap();
    clear(root, &lock).unwrap();
    let due = due(root, LATER_S).unwrap();
    assert_eq!(due.len(), 1);
    recompact_folder(root.into(), &due[0], &lock, goes_on).unwrap()
}

#[test]
fn who_is_told_to_stop_leaves_all_as_it_was() {
    let folder = directory();
    let root = folder.path();
    // At the first flows, in their middle, when the large file is looked at, and not any more.
    for (asked_max, is_done) in [(0, false), (5, false), (12, false), (1000, true)] {
        let asked = std::cell::Cell::new(0);
        let found = run_one(root, &|| {
            asked.set(asked.get() + 1);
            asked.get() <= asked_max
        });
        match found {
            Recompacted::Done { files: 12, .. } => assert!(is_done),
            Recompacted::Left {
                why: Why::Stopped, ..
            } => assert!(!is_done),
            other => panic!("{other:?}"),
        }
        assert!(!hidden_folder(&layout::hour_folder(root, START_S)).exists());
        assert_eq!(seen(root), all());
    }
}

/// What comes while a large file is made is neither hidden with the small ones nor lost: the hour waits.
#[test]
fn files_that_come_or_go_meanwhile_leave_the_hour_as_it_is() {
    let folder = directory();
    let root = folder.path();
    let is_first = std::cell::Cell::new(true);
    let found = run_one(root, &|| {
        if is_first.replace(false) {
            close(root, START_S + 7, 1210..1220);
        }
        true
    });
    assert!(
        matches!(
            &found,
            Recompacted::Left {
                why: Why::Changed(_),
                ..
            }
        ),
        "{found:?}"
    );
    assert_eq!(seen(root), (0..1220).collect::<Vec<_>>());
    // One that expires when it was read already does not come back.
    let last = layout::closed_path(root, START_S, &layout::window_stem(START_S + 7));
    let asked = std::cell::Cell::new(0);
    let found = run_one(root, &|| {
        asked.set(asked.get() + 1);
        if asked.get() == 13 {
            fs::remove_file(&last).unwrap();
        }
        true
    });
    assert!(
        matches!(
            &found,
            Recompacted::Left {
                why: Why::Changed(_),
                ..
            }
        ),
        "{found:?}"
    );
    assert_eq!(seen(root), all());
    assert!(matches!(
        run_one(root, &|| true),
        Recompacted::Done { files: 12, .. }
    ));
    assert_eq!(seen(root), all());
}

/// Whether the small ones are in the large one cannot be told then: beside it they would be there twice.
#[test]
fn small_files_stay_hidden_while_the_large_one_cannot_be_read() {
    let folder = directory();
    let root = folder.path();
    let shown = layout::hour_folder(root, START_S);
    let kept = root.join("kept");
    fs::create_dir(&kept).unwrap();
    for file in &due(root, LATER_S).unwrap()[0].files {
        fs::copy(&file.path, kept.join(name(&file.path))).unwrap();
    }
    run(root, LATER_S, false);
    // As if a collector had been killed before it cleared them.
    let hidden = hidden_folder(&shown);
    fs::rename(&kept, &hidden).unwrap();
    let large = shown.join("flows-20261121T050000Z-hour.parquet");
    let aside = root.join("aside");
    fs::rename(&large, &aside).unwrap();
    // What leads to itself is not opened.
    std::os::unix::fs::symlink(&large, &large).unwrap();
    // Others are cleared all the same, and a pipe in one is not waited for.
    let later = layout::hour_folder(root, START_S + 7200);
    let other = hidden_folder(&later);
    fs::create_dir_all(&other).unwrap();
    let made = Command::new("mkfifo").arg(other.join("pipe")).status();
    assert!(made.unwrap().success());
    let lock = Rearranging::lock(root).unwrap();
    let files = |folder: &Path| fs::read_dir(folder).unwrap().count();
    for _ in 0..2 {
        clear(root, &lock).unwrap_err();
        assert_eq!((files(&hidden), files(&shown)), (12, 1));
        assert!(!other.exists() && files(&later) == 1);
    }
    fs::remove_dir_all(&later).unwrap();
    fs::remove_file(&large).unwrap();
    fs::rename(&aside, &large).unwrap();
    clear(root, &lock).unwrap();
    assert!(!hidden.exists());
    assert_eq!(seen(root), all());
}

/// Old files do not go for what a recompaction takes in passing.
#[test]
fn octets_under_way_are_those_of_hidden_folders() {
    let folder = directory();
    let root = folder.path();
    assert_eq!(octets_under_way(root), 0);
    let hidden = hidden_folder(&layout::hour_folder(root, START_S));
    fs::create_dir(&hidden).unwrap();
    fs::write(hidden.join("flows-hour.parquet.partial"), "PAR1").unwrap();
    let by_day = root.join(".date=2026-11-20");
    fs::create_dir(&by_day).unwrap();
    fs::write(by_day.join("flows-day.parquet.partial"), "PAR").unwrap();
    assert_eq!(octets_under_way(root), 7);
}

#[test]
fn an_hour_that_is_not_finished_or_damaged_is_left() {
    let folder = directory();
    let root = folder.path();
    // Whether its file is there already or not.
    for stem in ["flows-20261121T050500Z", "flows-20261121T050501Z"] {
        let window = layout::open_folder(root).join(format!("{stem}.arrows"));
        fs::write(&window, "").unwrap();
        let done = run(root, LATER_S, false);
        assert!(done[0].ends_with("is still there"), "{done:?}");
        fs::remove_file(window).unwrap();
    }
    let damaged = &read::list(root).unwrap().closed[3];
    let octets = fs::read(damaged).unwrap();
    let mut flipped = octets.clone();
    flipped[10] ^= 1;
    fs::write(damaged, flipped).unwrap();
    let done = run(root, LATER_S, false);
    assert!(done[0].contains("`repair` comes first"), "{done:?}");
    let faults = verify::verify(damaged).unwrap().faults;
    assert!(matches!(faults[..], [Fault::RowGroup(0, _)]));
    fs::write(damaged, octets).unwrap();
    assert_eq!(seen(root), all());
    assert_eq!(run(root, LATER_S, false), ["12 files, 1200 flows"]);
}

/// The folder as a process leaves it that is killed after each step; then another one runs.
#[test]
fn d01_killed_at_any_step_each_flow_is_in_one_file() {
    type Kill = fn(shown: &Path, hidden: &Path, large: &Path);
    let steps: [(&str, Kill); 7] = [
        ("an empty folder", |_, _, _| {}),
        ("half a file", |_, hidden, large| {
            let octets = fs::read(large).unwrap();
            let partial = hidden.join("flows-20261121T050000Z-hour.parquet.partial");
            fs::write(partial, &octets[..octets.len() / 2]).unwrap();
        }),
        ("a whole file", |_, hidden, large| {
            fs::copy(large, hidden.join(name(large))).unwrap();
        }),
        ("exchanged", |shown, hidden, large| {
            fs::copy(large, hidden.join(name(large))).unwrap();
            system::exchange(shown, hidden).unwrap();
        }),
        ("half cleared", |shown, hidden, large| {
            fs::copy(large, hidden.join(name(large))).unwrap();
            system::exchange(shown, hidden).unwrap();
            for entry in fs::read_dir(hidden).unwrap().take(5) {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }),
        (
            "a file that came before the exchange",
            |shown, hidden, large| {
                fs::copy(large, hidden.join(name(large))).unwrap();
                let root = shown.ancestors().nth(2).unwrap();
                close(root, START_S + 7, 1210..1220);
                system::exchange(shown, hidden).unwrap();
            },
        ),
        (
            "a file that came before the exchange, and again from its window, which was recovered",
            |shown, hidden, large| {
                fs::copy(large, hidden.join(name(large))).unwrap();
                let root = shown.ancestors().nth(2).unwrap();
                close(root, START_S + 7, 1210..1220);
                system::exchange(shown, hidden).unwrap();
                close_with(root, START_S + 7, 1210..1220, &crate::recover::notes());
            },
        ),
    ];
    let prepared = directory();
    run(prepared.path(), LATER_S, false);
    let large = read::list(prepared.path()).unwrap().closed.remove(0);
    for (step, kill) in steps {
        let folder = directory();
        let root = folder.path();
        // The sizes that the large file lists are those of the same files here.
        let shown = layout::hour_folder(root, START_S);
        let hidden = hidden_folder(&shown);
        fs::create_dir(&hidden).unwrap();
        kill(&shown, &hidden, &large);
        for _ in 0..2 {
            run(root, LATER_S, false);
            assert!(!hidden.exists(), "{step}");
            let expected = if step.starts_with("a file that came") {
                (0..1220).collect()
            } else {
                all()
            };
            assert_eq!(seen(root), expected, "{step}");
            assert_eq!(read::list(root).unwrap().closed.len(), 2, "{step}");
        }
    }
}

/// A disk that is full by the time a large file is half written.
#[test]
fn d03_what_came_to_nothing_takes_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let hidden = folder.path().join(".hour=05");
    let make = |made: Result<Result<u64, String>, StoreError>| {
        let made = in_hidden(&hidden, || {
            fs::write(hidden.join("flows-hour.parquet.partial"), "PAR1").unwrap();
            made
        });
        (made, hidden.exists())
    };
    let full = std::io::ErrorKind::StorageFull.into();
    let (made, exists) = make(Err(StoreError::io("write", folder.path())(full)));
    assert!(made.unwrap_err().to_string().starts_with("cannot write "));
    assert!(!exists);
    let (made, exists) = make(Ok(Err("left".to_owned())));
    assert_eq!(
        (made.unwrap().unwrap_err(), exists),
        ("left".to_owned(), false)
    );
    let (made, exists) = make(Ok(Ok(7)));
    assert_eq!((made.unwrap(), exists), (Ok(7), true));
}

#[test]
fn one_process_at_a_time() {
    let folder = directory();
    let _lock = Rearranging::lock(folder.path()).unwrap();
    let refused = recompact(folder.path(), LATER_S, false, |_| {}).unwrap_err();
    assert!(
        matches!(refused, StoreError::Rearranged { .. }),
        "{refused}"
    );
}

/// The age of flows does not begin anew when they are recompacted.
#[test]
fn a_large_file_is_as_old_as_the_latest_small_one() {
    let folder = directory();
    let root = folder.path();
    for (number, file) in (0..).zip(expire::list(root).unwrap()) {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000 + number);
        let file = File::options().append(true).open(file.path).unwrap();
        file.set_modified(time).unwrap();
    }
    run(root, LATER_S, false);
    assert_eq!(expire::list(root).unwrap()[0].written_s, 1_000_011);
}

/// Where files lie by day a day's become one, unless folders of hours would go with them; flat ones stay.
#[test]
fn files_by_day_become_one_a_day_and_flat_ones_stay() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    Directory::lock(root).unwrap();
    let close_in = |layout: Layout, start_s: i64, numbers| {
        let path = close(root, start_s, numbers);
        let to = layout.folder(root, start_s).join(name(&path));
        fs::rename(&path, to).unwrap();
        fs::remove_dir(path.parent().unwrap()).unwrap();
    };
    for window in 0..3u64 {
        let start_s = START_S + 3600 * window.cast_signed();
        close_in(Layout::Day, start_s, 100 * window..100 * (window + 1));
    }
    for window in 0..2u64 {
        let start_s = START_S + 300 * window.cast_signed();
        close_in(Layout::Flat, start_s, 300 + 10 * window..310 + 10 * window);
    }
    // They are told of once, however many days they are of.
    let flat = "2 flat files stay";
    assert_eq!(run(root, LATER_S, true), ["3 files due", flat]);
    // The day is not over yet.
    assert!(run(root, START_S + 7200, false).is_empty());
    assert_eq!(run(root, LATER_S, false), ["3 files, 300 flows", flat]);
    let large = root.join("date=2026-11-21/flows-20261121T000000Z-day.parquet");
    let closed = read::list(root).unwrap().closed;
    assert!(closed.len() == 3 && closed.contains(&large), "{closed:?}");
    assert_eq!(expire::list(root).unwrap().len(), 3);
    assert!(!hidden_folder(large.parent().unwrap()).exists());
    assert_eq!(seen(root), (0..320).collect::<Vec<_>>());
    // The layout was another one for some hours.
    close_in(Layout::Day, START_S + 7200, 320..330);
    close(root, START_S, 330..340);
    assert_eq!(
        run(root, LATER_S, false),
        ["there are folders of hours in it, too", flat]
    );
    assert_eq!(seen(root), (0..340).collect::<Vec<_>>());
    // One that was killed after the folders had changed places.
    let shown = layout::hour_folder(root, START_S);
    fs::remove_dir_all(&shown).unwrap();
    let date = large.parent().unwrap();
    let hidden = hidden_folder(date);
    fs::create_dir(&hidden).unwrap();
    system::exchange(date, &hidden).unwrap();
    run(root, LATER_S, false);
    assert!(!hidden.exists());
    assert_eq!(seen(root), (0..330).collect::<Vec<_>>());
}
