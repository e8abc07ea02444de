//! A collector that makes large files of small ones while it receives (`--recompact`).

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use weir_tests::traffic::Random;

use crate::site::{FLOWS, Site, UNDER_WAY, expect, of, send, with_closed_file};

/// Files of an hour of the past.
const FILES: usize = 12;
/// Longer than a file must not have been written to.
const QUIET: Duration = Duration::from_millis(2100);

/// A site with so many hours of small files, long ago, and the file that those are copies of; the flows in all.
fn with_hours(hours: usize, datagrams: u32) -> (Site, u64) {
    let site = with_closed_file(datagrams);
    let file = site.closed().remove(0);
    for hour in 0..hours {
        let folder = folder(&site, hour);
        fs::create_dir_all(&folder).unwrap();
        for minute in (0..60).step_by(60 / FILES) {
            let name = format!("flows-20260101T{hour:02}{minute:02}00Z.parquet");
            fs::copy(&file, folder.join(name)).unwrap();
        }
    }
    let copies = 1 + u64::try_from(hours * FILES).unwrap();
    let flows = u64::from(datagrams) * u64::from(FLOWS) * copies;
    assert_eq!(site.totals(), (flows, flows));
    (site, flows)
}

fn folder(site: &Site, hour: usize) -> PathBuf {
    site.flows().join(format!("date=2026-01-01/hour={hour:02}"))
}

/// Small files in the hours of the past.
fn small(site: &Site) -> usize {
    let closed = site.closed();
    let of_old = closed.iter().filter_map(|path| path.file_name()?.to_str());
    of_old
        .filter(|name| name.starts_with("flows-20260101T") && !name.contains("-hour"))
        .count()
}

fn hidden(site: &Site) -> Vec<PathBuf> {
    let entries = fs::read_dir(site.flows().join("date=2026-01-01")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_hidden = |path: &PathBuf| path.file_name().unwrap().as_encoded_bytes()[0] == b'.';
    paths.filter(is_hidden).collect()
}

/// Waits for the hours of the past to have a file each; whoever asks meanwhile gets each flow once.
#[track_caller]
fn wait(site: &Site, flows: u64) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while small(site) > 0 {
        assert!(Instant::now() < deadline, "{}", site.log());
        assert_eq!(site.totals(), (flows, flows));
    }
}

#[test]
fn hours_that_are_over_become_a_file_each_while_it_receives() {
    let (site, flows) = with_hours(3, 100);
    thread::sleep(QUIET);
    let daemon = site.start("-t 1 --recompact 1");
    let sent = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            for part in 0..20 {
                send(&site, part * 10..(part + 1) * 10);
                thread::sleep(Duration::from_millis(100));
            }
            200 * u64::from(FLOWS)
        });
        let deadline = Instant::now() + Duration::from_secs(120);
        let mut before = flows;
        while small(&site) > 0 || !sender.is_finished() {
            assert!(Instant::now() < deadline, "{}", site.log());
            let (now, _) = site.totals();
            assert!(now >= before, "{now} flows, and {before} before");
            before = now;
        }
        sender.join().unwrap()
    });
    let found = site.stop(daemon);
    expect(
        &found,
        "kernel_drops=0 windows_kept=0 records_unwritten=0 recompactions_failed=0",
    );
    // An hour may have ended meanwhile.
    assert!(of(&found, "folders_recompacted") >= 3, "{found:#}");
    assert!(of(&found, "files_recompacted") >= 36, "{found:#}");
    let log = site.log();
    assert!(log.contains("12 files are one: 24000 flows in "), "{log}");
    assert_eq!(site.totals(), (flows + sent, flows + sent));
    for hour in 0..3 {
        let large = format!("flows-20260101T{hour:02}0000Z-hour.parquet");
        assert!(folder(&site, hour).join(large).exists());
    }
    assert!(hidden(&site).is_empty());
    let (is_sound, said) = site.maintain("verify", "");
    assert!(is_sound, "{said}");
}

#[test]
fn files_stay_as_they_are_unless_it_is_asked_for() {
    let (site, flows) = with_hours(1, 10);
    thread::sleep(QUIET);
    // A process that was killed left this.
    let left = site.flows().join("date=2026-01-01/.hour=07");
    fs::create_dir(&left).unwrap();
    fs::write(
        left.join("flows-20260101T070000Z-hour.parquet.partial"),
        "PAR1",
    )
    .unwrap();
    let daemon = site.start("-t 1");
    thread::sleep(QUIET);
    expect(&site.stop(daemon), "folders_recompacted=0");
    assert_eq!(small(&site), FILES);
    assert!(!left.exists());
    // Nor before its time.
    let daemon = site.start("-t 1 --recompact 1h");
    thread::sleep(QUIET);
    expect(&site.stop(daemon), "folders_recompacted=0");
    assert_eq!((small(&site), site.totals()), (FILES, (flows, flows)));
}

/// The collector is killed again and again while it recompacts; readers see each flow once all the time, and it gets
/// done.
#[test]
fn d01_a_collector_that_is_killed_while_it_recompacts_loses_and_doubles_nothing() {
    let (site, flows) = with_hours(8, 200);
    thread::sleep(QUIET);
    let mut random = Random::new(13);
    let mut was_in_the_middle = false;
    for _ in 0..20 {
        let mut daemon = site.start("--recompact 1");
        thread::sleep(Duration::from_micros(random.below(60_000)));
        daemon.signal(libc::SIGKILL);
        daemon.wait(Duration::from_secs(5)).unwrap();
        was_in_the_middle |= !hidden(&site).is_empty();
        assert_eq!(site.totals(), (flows, flows));
    }
    let daemon = site.start("--recompact 1");
    wait(&site, flows);
    expect(&site.stop(daemon), "recompactions_failed=0");
    assert!(was_in_the_middle, "none was killed in the middle");
    assert!(hidden(&site).is_empty());
    assert_eq!((site.closed().len(), site.totals()), (9, (flows, flows)));
    let (is_sound, said) = site.maintain("verify", "");
    assert!(is_sound, "{said}");
}

/// Whoever ends it does not wait until an hour is done.
#[test]
fn its_end_waits_for_no_recompaction() {
    let (site, flows) = with_hours(8, 400);
    thread::sleep(QUIET);
    let mut random = Random::new(17);
    for turn in 0..10 {
        let daemon = site.start("--recompact 1");
        thread::sleep(Duration::from_micros(random.below(60_000)));
        let begun = Instant::now();
        expect(&site.stop(daemon), "recompactions_failed=0");
        assert!(begun.elapsed() < Duration::from_secs(2), "{}", site.log());
        assert!(turn > 0 || small(&site) > 0, "none was ended in the middle");
        assert_eq!(site.totals(), (flows, flows));
    }
}

/// One collector writes a directory, and one process at a time rearranges it.
#[test]
fn d10_words_by_hand_and_a_second_collector_are_refused_or_take_turns() {
    let (site, flows) = with_hours(8, 200);
    thread::sleep(QUIET);
    let daemon = site.start("--recompact 1");
    let mut second = Site::command();
    second.arg("-w").arg(site.flows());
    second.args(["-l", "127.0.0.1:0", "--recompact", "1"]);
    let second = second.output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(
        !second.status.success() && said.contains("is written by another process"),
        "{said}"
    );
    let deadline = Instant::now() + Duration::from_secs(120);
    while small(&site) > 0 {
        assert!(Instant::now() < deadline, "{}", site.log());
        let (is_done, said) = site.maintain("recompact", "--older-than 0");
        assert!(
            is_done || said.contains("is being recompacted or repaired by another process"),
            "{said}"
        );
    }
    thread::sleep(UNDER_WAY);
    expect(&site.stop(daemon), "recompactions_failed=0");
    assert_eq!((site.closed().len(), site.totals()), (9, (flows, flows)));
}
