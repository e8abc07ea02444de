//! Fault case D2, by the system calls of the real programs: what gets its name has reached the disk before, and
//! the name reaches it before anything goes that the file was made from. A power cut between any two of these
//! calls then leaves each flow in a file.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use weir_netflow::FlowRecord;
use weir_store::{nfdump, schema::StoredFlow};

use crate::site::{Site, expect, of, socket, v9_datagram};

/// What a power cut may come between.
const CALLS: &str = "trace=write,writev,pwrite64,ftruncate,fsync,fdatasync,renameat,renameat2,mkdirat,linkat,unlinkat,?rename,?mkdir,?link,?unlink,?rmdir";
/// Name ending of files that are not finished.
const PARTIAL: &str = ".partial";

/// What a thread did that changes files.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    /// To a file's octets.
    Write(PathBuf),
    /// A file or folder was brought to the disk.
    Sync(PathBuf),
    /// A file or folder got another name.
    Rename(PathBuf, PathBuf),
    /// A folder, or one more name of a file.
    Make(PathBuf),
    /// A name went.
    Remove(PathBuf),
}

impl Event {
    /// A line of strace's, if the call changed something.
    fn of(line: &str) -> Option<Self> {
        let (call, rest) = line.split_once('(')?;
        let (arguments, result) = rest.rsplit_once(" = ")?;
        if result.starts_with('-') {
            return None;
        }
        let mut named = arguments.split('"').skip(1).step_by(2).map(PathBuf::from);
        let opened = || {
            let (_, rest) = arguments.split_once('<')?;
            Some(PathBuf::from(rest.split_once('>')?.0))
        };
        Some(match call {
            "write" | "writev" | "pwrite64" | "ftruncate" => Self::Write(opened()?),
            "fsync" | "fdatasync" => Self::Sync(opened()?),
            "rename" | "renameat" | "renameat2" => Self::Rename(named.next()?, named.next()?),
            "mkdir" | "mkdirat" => Self::Make(named.next()?),
            "link" | "linkat" => Self::Make(named.nth(1)?),
            "unlink" | "unlinkat" | "rmdir" => Self::Remove(named.next()?),
            _ => return None,
        })
    }

    /// The name that there is since.
    fn new_name(&self) -> Option<&Path> {
        match self {
            Self::Rename(_, name) | Self::Make(name) => Some(name),
            _ => None,
        }
    }

    fn removes_flows(&self) -> bool {
        let Self::Remove(path) = self else {
            return false;
        };
        let endings = ["arrows", "parquet"];
        path.extension()
            .is_some_and(|ending| endings.iter().any(|known| ending == *known))
    }
}

/// `strace -ff` writes a file a thread; `-D` leaves the program this process's own child.
fn traced(trace: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-ff", "-y", "-s", "0", "-e", CALLS, "-o"]);
    command.arg(trace).arg(Site::command().get_program());
    command
}

/// What each thread did. The tracer may go on for a moment after the program.
fn events(trace: &Path) -> Vec<Vec<Event>> {
    const TRIES: u32 = 100;
    let name = trace.file_name().unwrap().to_str().unwrap();
    for _ in 0..TRIES {
        let entries = fs::read_dir(trace.parent().unwrap()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let own = paths.filter(|path| path.file_stem().is_some_and(|stem| stem == name));
        let threads: Vec<_> = own.map(|path| fs::read_to_string(path).unwrap()).collect();
        if !threads.is_empty()
            && threads
                .iter()
                .all(|lines| lines.contains("+++ exited with"))
        {
            let of_thread = |lines: &String| lines.lines().filter_map(Event::of).collect();
            return threads.iter().map(of_thread).collect();
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("strace (`cargo xtask setup --peers` installs it) did not end");
}

/// Holds a thread's calls against the order they must have; how many files got their name, by its ending.
#[track_caller]
fn check(events: &[Event], below: &Path, ending: &str) -> usize {
    let mut published = 0;
    for (at, event) in events.iter().enumerate() {
        if let Event::Rename(from, to) = event
            && from.to_str().unwrap().ends_with(PARTIAL)
        {
            let last = |wanted: Event| events[..at].iter().rposition(|event| *event == wanted);
            let (written, synced) = (
                last(Event::Write(from.clone())),
                last(Event::Sync(from.clone())),
            );
            assert!(
                written.is_some() && synced > written,
                "{} was not brought to the disk before it was named: {events:#?}",
                from.display()
            );
            published += usize::from(to.to_str().unwrap().ends_with(ending));
        }
        let Some(name) = event.new_name().filter(|name| name.starts_with(below)) else {
            continue;
        };
        let after = &events[at + 1..];
        let folder = Event::Sync(name.parent().unwrap().to_owned());
        let synced = after.iter().position(|event| *event == folder);
        let synced = synced.unwrap_or_else(|| {
            panic!(
                "the folder of {} was not synced: {events:#?}",
                name.display()
            )
        });
        let removed = after.iter().position(Event::removes_flows);
        assert!(
            removed.is_none_or(|removed| synced < removed),
            "what {} was made from went first: {events:#?}",
            name.display()
        );
    }
    published
}

/// The same of all threads.
#[track_caller]
fn check_all(site: &Site, trace: &Path, ending: &str) -> usize {
    let threads = events(trace);
    let below = site.flows();
    threads
        .iter()
        .map(|events| check(events, &below, ending))
        .sum()
}

/// Has the program do a word of its command line, traced.
fn run(site: &Site, trace: &Path, arguments: &[&Path]) {
    let output = traced(trace).args(arguments).output();
    let output = output
        .unwrap_or_else(|error| panic!("strace: {error}; `cargo xtask setup --peers` installs it"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{arguments:?} in {}: {said}",
        site.flows().display()
    );
}

/// A collector that closes some windows; its flows, and where its system calls are.
fn collected(site: &Site, name: &str) -> (u64, PathBuf) {
    let trace = site.path(name);
    let daemon = site.start_as(traced(&trace), &site.flows(), "-t 1");
    let exporter = socket();
    for number in 0..40 {
        let datagram = v9_datagram(0, number, 20, number == 0);
        exporter.send_to(&datagram, site.address()).unwrap();
        thread::sleep(Duration::from_millis(100));
    }
    let found = site.stop(daemon);
    expect(&found, "records_written=800 kernel_drops=0 windows_kept=0");
    (of(&found, "windows_closed"), trace)
}

#[test]
fn d02_a_rotation_syncs_the_file_then_its_folders_and_only_then_the_window_goes() {
    let site = Site::new();
    let (closed, trace) = collected(&site, "trace");
    assert!(closed >= 3, "{closed} windows");
    let published = check_all(&site, &trace, ".parquet");
    assert_eq!(published as u64, closed);
    // The templates', too, which the collector saves at its end.
    assert!(check_all(&site, &trace, "/templates") > 0);
    assert_eq!(site.totals(), (800, 800));
}

#[test]
fn d02_recompaction_and_repair_and_import_do_so_too() {
    let site = Site::new();
    collected(&site, "trace");
    let closed = site.closed();
    for (file, minute) in closed.iter().zip([0, 5, 10]) {
        let folder = site.flows().join("date=2026-01-01/hour=00");
        fs::create_dir_all(&folder).unwrap();
        fs::copy(
            file,
            folder.join(format!("flows-20260101T00{minute:02}00Z.parquet")),
        )
        .unwrap();
    }
    let trace = site.path("recompact");
    run(&site, &trace, &[Path::new("recompact"), &site.flows()]);
    assert!(check_all(&site, &trace, "-hour.parquet") > 0);

    // A collector that does it beside receiving, and takes a file in that came later.
    let hour = site.flows().join("date=2026-01-01/hour=00");
    fs::copy(&closed[0], hour.join("flows-20260101T001500Z.parquet")).unwrap();
    let trace = site.path("beside");
    let mut daemon = site.start_as(traced(&trace), &site.flows(), "--recompact 1");
    daemon.wait_for("2 files are one").unwrap();
    expect(&site.stop(daemon), "folders_recompacted=1");
    assert!(check_all(&site, &trace, "-hour.parquet") > 0);

    // A damaged file without anything sound is set aside.
    let hour = site.flows().join("date=2026-01-01/hour=00");
    let large = hour.join("flows-20260101T000000Z-hour.parquet");
    let mut octets = fs::read(&large).unwrap();
    octets[100] ^= 4;
    fs::write(&large, octets).unwrap();
    let trace = site.path("repair");
    run(&site, &trace, &[Path::new("repair"), &site.flows()]);
    check_all(&site, &trace, ".parquet");
    assert_eq!(site.open(".damaged").len(), 1);

    let archive = site.path("nfcapd");
    let none = nfdump::Compression::None;
    let mut writer = nfdump::Writer::create(&archive, none, 1_700_000_000).unwrap();
    let flow = StoredFlow {
        record: FlowRecord {
            packets: 1,
            ..FlowRecord::default()
        },
        received_ns: 1_700_000_000_000_000_000,
        ..StoredFlow::default()
    };
    writer.push(&flow).unwrap();
    writer.finish().unwrap();
    // Into a directory that there is not yet.
    let other = Site::new();
    let trace = other.path("import");
    run(
        &other,
        &trace,
        &[
            Path::new("import"),
            Path::new("-w"),
            &other.flows(),
            &archive,
        ],
    );
    assert_eq!(check_all(&other, &trace, ".parquet"), 1);
    assert_eq!(other.totals(), (1, 1));
}
