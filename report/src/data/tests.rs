//! Closed files and open windows as one table, also when some cannot be read.

use std::fs;

use parquet::{
    arrow::ArrowWriter,
    file::{metadata::KeyValue, properties::WriterProperties},
};
use weir_netflow::FlowRecord;
use weir_store::{
    layout::{self, Directory},
    others::{Gathering, Other},
    recompact, rotate,
    schema::StoredFlow,
    window::Window,
};

use super::*;
use crate::filter::plan;

/// 2026-11-21 05:00:00 UTC.
const START_S: i64 = 1_795_237_200;

fn flow(packets: u64) -> StoredFlow {
    StoredFlow {
        record: FlowRecord {
            packets,
            start_ns: START_S.unsigned_abs() * 1_000_000_000,
            end_ns: START_S.unsigned_abs() * 1_000_000_000,
            ..FlowRecord::default()
        },
        received_ns: START_S.unsigned_abs() * 1_000_000_000,
        ..StoredFlow::default()
    }
}

/// What all of a directory covers.
fn covered(root: &Path) -> Coverage {
    let roots = BTreeSet::from([root.to_owned()]);
    look(&roots, &Filter::All(Vec::new())).unwrap().coverage
}

/// One with a MAC address and an element that no column has.
fn flow_of_version_2(packets: u64) -> StoredFlow {
    let mut gathering = Gathering::default();
    let other = Other {
        enterprise: 0,
        element: 95,
        octets: &[3, 0, 0, 80],
    };
    assert!(gathering.add(&other, 4));
    let mut flow = flow(packets);
    flow.record.source_mac = [2, 0, 0, 0, 0, 1];
    flow.others = gathering.finish();
    flow
}

/// A closed file as version 1 wrote it.
fn close_as_version_1(root: &Path, flows: &[StoredFlow]) {
    let path = layout::closed_path(root, START_S, &layout::window_stem(START_S));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let version = KeyValue::new("weir.schema_version".to_owned(), "1".to_owned());
    let properties = WriterProperties::builder()
        .set_key_value_metadata(Some(vec![version]))
        .build();
    let file = fs::File::create(path).unwrap();
    let columns = schema::earlier_schema();
    let mut writer = ArrowWriter::try_new(file, columns, Some(properties)).unwrap();
    writer
        .write(&schema::earlier_batch(flows).unwrap())
        .unwrap();
    writer.close().unwrap();
}

#[test]
fn who_asks_for_the_first_time_is_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("none");
    let says = unlisted(&root, read::list(&root).unwrap_err()).to_string();
    assert!(
        says.contains("no collector has written there") && says.contains("-r DIR"),
        "{says}"
    );
    // Root, as whom tests run, may read everything.
    let refused = |kind: io::ErrorKind| {
        let error = StoreError::Io {
            action: "list",
            path: root.join(".open"),
            error: kind.into(),
        };
        unlisted(&root, error).to_string()
    };
    let says = refused(io::ErrorKind::PermissionDenied);
    assert!(says.contains("`adduser NAME weir`"), "{says}");
    let says = refused(io::ErrorKind::NotADirectory);
    assert!(says.contains("cannot list"), "{says}");
    let file = folder.path().join("nfcapd.202611212300");
    fs::write(&file, "").unwrap();
    let says = unlisted(&file, read::list(&file).unwrap_err()).to_string();
    assert!(
        says.contains("is a file") && says.contains("weir-collector import"),
        "{says}"
    );
    let file = folder.path().join("evidence.parquet");
    fs::write(&file, "").unwrap();
    let says = unlisted(&file, read::list(&file).unwrap_err()).to_string();
    assert!(says.contains("put it into one of its own"), "{says}");
}

/// Fault case D12: files and windows of both versions are one table.
#[test]
fn d12_both_versions_are_one_table() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let directory = Directory::lock(root).unwrap();
    close_as_version_1(root, &[flow(1), flow(2)]);
    let mut window = Window::create(&directory.window_path(START_S + 300)).unwrap();
    window.append(&[flow(4), flow_of_version_2(8)]).unwrap();
    rotate::close(root, window.path(), &[]).unwrap();
    let mut narrow = Window::create_narrow(&directory.window_path(START_S + 600)).unwrap();
    narrow.append(&[flow(16)]).unwrap();
    let mut open_window = Window::create(&directory.window_path(START_S + 900)).unwrap();
    open_window.append(&[flow_of_version_2(32)]).unwrap();

    let packets = |text: &str| -> Vec<u64> {
        let around = crate::filter::Surroundings {
            now_ns: 0,
            library: &crate::filter::sets::Library::new("/no/such/folder".into()),
            resolve: |_| Vec::new(),
        };
        let filter = crate::filter::parse(text, &around).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let batches = runtime.block_on(async {
            let context = SessionContext::new();
            let (flows, coverage) =
                open(&context, &[root.to_owned()], &filter, &Reading::default()).unwrap();
            assert!(coverage.unreadable.is_empty(), "{:?}", coverage.unreadable);
            assert_eq!((coverage.closed, coverage.open), (2, 2));
            let kept = flows.filter(plan::plan(&filter)).unwrap();
            kept.collect().await.unwrap()
        });
        let mut packets = Vec::new();
        for batch in &batches {
            assert!(batch.column_by_name("others").is_some());
            let column = batch.column_by_name("packets").unwrap();
            let column = column.as_primitive::<arrow::datatypes::UInt64Type>();
            packets.extend(column.values().iter().copied());
        }
        packets.sort_unstable();
        packets
    };
    assert_eq!(packets("any"), [1, 2, 4, 8, 16, 32]);
    assert_eq!(packets("src mac 2:0:0:0:0:1"), [8, 32]);
    assert_eq!(packets("not src mac 2:0:0:0:0:1"), [1, 2, 4, 16]);
    assert!(packets("mpls label > 0").is_empty());
}

/// What several collectors wrote is one table; what is in a directory that is named twice, or that is within another
/// one, counts once. All is complete up to where the first of them fell silent.
#[test]
fn several_directories_are_one_table() {
    const SECOND_NS: u64 = 1_000_000_000;
    let folder = tempfile::tempdir().unwrap();
    let roots = ["one", "one/inner", "two"].map(|name| folder.path().join(name));
    for (root, minutes) in roots.iter().zip([40, 30, 60]) {
        fs::create_dir_all(root).unwrap();
        let directory = Directory::lock(root).unwrap();
        let mut window = Window::create(&directory.window_path(START_S)).unwrap();
        let mut flow = flow(1);
        flow.received_ns += minutes * 60 * SECOND_NS;
        window.append(&[flow]).unwrap();
        rotate::close(root.as_path(), window.path(), &[]).unwrap();
    }
    let named = [&roots[2], &roots[0], &roots[1], &roots[0].join(".")].map(PathBuf::clone);
    let context = SessionContext::new();
    let all = Filter::All(Vec::new());
    let (flows, coverage) = open(&context, &named, &all, &Reading::default()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let batches = runtime.block_on(flows.collect()).unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
    assert_eq!((coverage.closed, coverage.flows), (3, 3));
    let complete_s = START_S + 30 * 60 - 300;
    assert_eq!(coverage.complete_to_ns(), Some(complete_s * 1_000_000_000));
    let named = [PathBuf::from("/no/such/folder")];
    assert!(open(&context, &named, &all, &Reading::default()).is_err());
}

/// Of collectors side by side in one directory one that fell silent is not hidden by one that goes on.
#[test]
fn each_collector_has_gaps_and_an_end_of_its_own() {
    const MINUTE_S: i64 = 60;
    let folder = tempfile::tempdir().unwrap();
    for (name, minutes) in [
        ("collector=a", &[0, 40][..]),
        ("collector=b", &[0, 8, 16, 24, 32, 40, 48, 56][..]),
    ] {
        let root = folder.path().join(name);
        let directory = Directory::lock(&root).unwrap();
        for minute in minutes {
            let start_s = START_S + minute * MINUTE_S;
            let mut window = Window::create(&directory.window_path(start_s)).unwrap();
            let received_ns = start_s.unsigned_abs() * 1_000_000_000;
            let flow = StoredFlow {
                received_ns,
                ..flow(1)
            };
            window.append(&[flow]).unwrap();
            rotate::close(root.as_path(), window.path(), &[]).unwrap();
        }
    }
    let at_ns = |minute: i64| (START_S + minute * MINUTE_S) * 1_000_000_000;
    let coverage = covered(folder.path());
    assert_eq!((coverage.closed, coverage.flows), (10, 10));
    assert_eq!(coverage.gaps_ns(), [(at_ns(0), at_ns(40))]);
    assert_eq!(coverage.complete_to_ns(), Some(at_ns(35)));
    assert_eq!(coverage.unheard(), "in one of the directories no exporter");
    // Who asks for one of them alone hears of it alone.
    let alone = covered(&folder.path().join("collector=b"));
    assert!(alone.gaps_ns().is_empty());
    assert_eq!(alone.complete_to_ns(), Some(at_ns(51)));
    assert_eq!(alone.unheard(), "no exporter");
}

/// Whichever directory they are in.
#[test]
fn closed_files_are_in_the_order_of_time() {
    let folder = tempfile::tempdir().unwrap();
    let roots = ["one", "two"].map(|name| folder.path().join(name));
    for (root, offset_s) in roots.iter().zip([0, 300]) {
        let directory = Directory::lock(root).unwrap();
        for start_s in [0, 600].map(|after_s| START_S + offset_s + after_s) {
            let mut window = Window::create(&directory.window_path(start_s)).unwrap();
            window.append(&[flow(1)]).unwrap();
            rotate::close(root.as_path(), window.path(), &[]).unwrap();
        }
    }
    let roots = BTreeSet::from(roots);
    let found = look(&roots, &Filter::All(Vec::new())).unwrap();
    let groups = found.groups.iter();
    let starts_s: Vec<_> = groups
        .map(|group| layout::window_start_s(&group.path).unwrap() - START_S)
        .collect();
    assert_eq!(starts_s, [0, 300, 600, 900]);
}

/// A day's folder is a part of the directory: what is a window there and a closed file here counts once, and what lies
/// deeper than one looks from above counts, too.
#[test]
fn a_folder_of_a_directory_is_a_part_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let directory = Directory::lock(root).unwrap();
    let mut window = Window::create(&directory.window_path(START_S)).unwrap();
    window.append(&[flow(1), flow(2)]).unwrap();
    let octets = fs::read(window.path()).unwrap();
    rotate::close(root, window.path(), &[]).unwrap();
    // Between the rename of the closed file and the end of its window.
    fs::write(window.path(), octets).unwrap();
    let day = root.join("date=2026-11-21");
    let deep = root.join("one/two/three/four/five");
    close_as_version_1(&deep, &[flow(4)]);
    let covered = |roots: &[&Path]| {
        let roots: BTreeSet<_> = roots.iter().map(|root| root.to_path_buf()).collect();
        let found = look(&roots, &Filter::All(Vec::new())).unwrap().coverage;
        (found.closed, found.open, found.flows)
    };
    assert_eq!(covered(&[root]), (1, 0, 2));
    assert_eq!(covered(&[root, &day]), (1, 0, 2));
    assert_eq!(covered(&[root, &day, &day.join("hour=05")]), (1, 0, 2));
    assert_eq!(covered(&[root, &deep]), (2, 0, 3));
    assert_eq!(covered(&[&day]), (1, 0, 2));
}

/// Fault case D5: what can be read of it counts, and the answer says that it is partial.
#[test]
fn d05_a_window_that_was_cut_off_makes_a_partial_answer() {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::lock(folder.path()).unwrap();
    let mut window = Window::create(&directory.window_path(START_S)).unwrap();
    let flows = vec![flow(1); 10];
    window.append(&flows).unwrap();
    let coverage = covered(folder.path());
    assert_eq!((coverage.open, coverage.unreadable.len()), (1, 0));
    let whole = fs::metadata(window.path()).unwrap().len();
    window.append(&flows).unwrap();
    let file = fs::File::options().write(true).open(window.path()).unwrap();
    file.set_len(whole + 100).unwrap();
    let coverage = covered(folder.path());
    assert_eq!((coverage.open, coverage.flows), (1, 10));
    let [(path, reason)] = &coverage.unreadable[..] else {
        panic!("{:?}", coverage.unreadable);
    };
    assert_eq!(path, window.path());
    assert!(reason.contains("after its first 10 flows"), "{reason}");
}

/// Another collector's directory, linked into this one, is not looked at: the answer says that it is partial.
#[test]
fn a_symbolic_link_to_files_makes_a_partial_answer() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [root, elsewhere] =
        [&folder, &elsewhere].map(|folder| folder.path().canonicalize().unwrap());
    for root in [&root, &elsewhere] {
        drop(Directory::lock(root).unwrap());
    }
    close_as_version_1(&root, &[flow(1)]);
    let link = root.join("site=b");
    std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
    // One that leads to what is looked at anyhow, and one that has nothing to do with flows.
    std::os::unix::fs::symlink(root.join("date=2026-11-21"), root.join("latest")).unwrap();
    std::os::unix::fs::symlink("/dev/null", root.join("notes")).unwrap();
    let coverage = covered(&root);
    assert_eq!(coverage.flows, 1);
    let [(named, reason)] = &coverage.unreadable[..] else {
        panic!("{:?}", coverage.unreadable);
    };
    assert_eq!(named, &link);
    assert!(reason.contains("is not followed"), "{reason}");
    // It is no loss to who asks for both.
    let both = BTreeSet::from([root, elsewhere]);
    let coverage = look(&both, &Filter::All(Vec::new())).unwrap().coverage;
    assert!(coverage.unreadable.is_empty());
}

#[test]
fn what_is_wrong_with_a_file_is_told_without_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flows-20261121T050000Z.parquet");
    fs::write(&path, "PAR1").unwrap();
    let coverage = covered(folder.path());
    let [(named, reason)] = &coverage.unreadable[..] else {
        panic!("{:?}", coverage.unreadable);
    };
    assert_eq!(named, &path);
    assert!(
        reason.contains("too short") && !reason.contains("flows-"),
        "{reason}"
    );
}

/// Twenty minutes of silence stay so when the hour's files become one.
#[test]
fn recompaction_leaves_gaps() {
    const SECOND_NS: i64 = 1_000_000_000;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let directory = Directory::lock(root).unwrap();
    for start_s in [0, 300, 1800, 2100].map(|after_s| START_S + after_s) {
        let mut window = Window::create(&directory.window_path(start_s)).unwrap();
        let received = |after_s: i64| StoredFlow {
            received_ns: ((start_s + after_s) * SECOND_NS).unsigned_abs(),
            ..flow(1)
        };
        window.append(&[received(0), received(299)]).unwrap();
        rotate::close(root, window.path(), &[]).unwrap();
    }
    let gap = [599, 1800].map(|after_s| (START_S + after_s) * SECOND_NS);
    for files in [4, 1] {
        let coverage = covered(root);
        assert_eq!((coverage.closed, coverage.flows), (files, 8));
        assert_eq!(coverage.gaps_ns(), [(gap[0], gap[1])]);
        recompact::recompact(root, START_S + 7200, false, |_| {}).unwrap();
    }
}

#[test]
fn stretches_without_datagrams_are_gaps() {
    const MINUTE_NS: i64 = 60_000_000_000;
    let minutes = |from: i64, to: i64| (from * MINUTE_NS, to * MINUTE_NS);
    let coverage = Coverage {
        heard_ns: vec![
            minutes(40, 45),
            minutes(0, 5),
            minutes(5, 20),
            minutes(7, 8),
            minutes(50, 51),
        ],
        ..Coverage::default()
    };
    assert_eq!(coverage.gaps_ns(), [minutes(20, 40)]);
    assert_eq!(coverage.complete_to_ns(), Some(46 * MINUTE_NS));
    for (from, to, gap) in [
        (0, 30, Some((20, 30))),
        (30, 60, Some((30, 40))),
        (0, 20, None),
        (40, 60, None),
    ] {
        let coverage = Coverage {
            asked_ns: (Some(from * MINUTE_NS), Some(to * MINUTE_NS)),
            ..coverage.clone()
        };
        let gap: Vec<_> = gap
            .into_iter()
            .map(|(from, to)| minutes(from, to))
            .collect();
        assert_eq!(coverage.gaps_ns(), gap, "{from} to {to}");
    }
    assert_eq!(Coverage::default().complete_to_ns(), None);
}

/// What one directory misses another's exporters do not make up for.
#[test]
fn each_directory_has_gaps_of_its_own() {
    const MINUTE_NS: i64 = 60_000_000_000;
    let minutes = |from: i64, to: i64| (from * MINUTE_NS, to * MINUTE_NS);
    let mut coverage = Coverage::default();
    for heard in [
        &[minutes(0, 200)][..],
        &[minutes(0, 10), minutes(30, 60), minutes(90, 200)],
        // Its first gap overlaps with the second of the one before; another has no files.
        &[minutes(50, 55), minutes(75, 100), minutes(150, 200)],
        &[],
    ] {
        let before = coverage.heard_ns.len();
        coverage.heard_ns.extend(heard);
        coverage.end_directory(before);
    }
    let gaps = [minutes(10, 30), minutes(55, 90), minutes(100, 150)];
    assert_eq!(coverage.gaps_ns(), gaps);
    assert_eq!(coverage.unheard(), "in one of the directories no exporter");
}

#[test]
fn an_answer_is_complete_up_to_what_was_left_out() {
    const SECOND_NS: i64 = 1_000_000_000;
    let mut coverage = Coverage {
        heard_ns: vec![(0, 10_000 * SECOND_NS)],
        began_ns: [("/known".into(), 5000 * SECOND_NS)].into(),
        ..Coverage::default()
    };
    let complete_s = |coverage: &Coverage| coverage.complete_to_ns().unwrap() / SECOND_NS;
    assert_eq!(complete_s(&coverage), 9700);
    coverage
        .reading
        .leave_out("/known".into(), "damaged".to_owned());
    assert_eq!(complete_s(&coverage), 4700);
    // Of what has no footer its name tells when it began.
    let name = "/flows-19700101T010000Z.parquet";
    coverage
        .unreadable
        .push((name.into(), "foreign".to_owned()));
    assert_eq!(complete_s(&coverage), 3300);
    assert_eq!(coverage.left_out().len(), 2);
}
