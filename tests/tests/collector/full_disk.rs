//! Fault cases D3 and D4: a disk that fills up under the collector, and is freed again.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use weir_tests::netns;

use crate::site::{FLOWS, Site, expect, of, send, unix_ns, with_closed_file};

/// The disk fills up and is freed again: the collector stays, counts, goes on by itself, and ends when
/// told. What it wrote can be read.
#[test]
fn d03_d04_a_full_disk_that_is_freed_is_written_to_again() {
    assert!(netns::possible(), "root is needed to mount");
    let site = Site::new();
    let disk = Disk::mount(&site.path("disk"), "6m");
    let flows = disk.0.join("flows");
    let mut daemon = site.start_in(&flows, "-t 86400");
    send(&site, 0..100);
    thread::sleep(Duration::from_secs(1));
    let ballast = disk.fill();
    send(&site, 100..800);
    daemon.wait_for("going on").unwrap();
    thread::sleep(Duration::from_secs(1));
    fs::remove_file(ballast).unwrap();
    send(&site, 800..1000);
    daemon.wait_for("writing again").unwrap();
    let found = site.stop(daemon);
    let (written, unwritten) = (
        of(&found, "records_written"),
        of(&found, "records_unwritten"),
    );
    assert_eq!(written + unwritten, 1000 * u64::from(FLOWS), "{found:#}");
    assert!(
        unwritten > 0 && written > 200 * u64::from(FLOWS),
        "{found:#}"
    );
    expect(&found, "kernel_drops=0 records_unreadable=0 windows_kept=0");
    let mut command = Site::command();
    let output = command.arg("verify").arg(&flows).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains(&format!("{written} flows in 1 sound files, 0 damaged")),
        "{said}"
    );
}

/// A window that ends while the disk is full stays readable, takes no room twice, and becomes a file once
/// there is room.
#[test]
fn d03_a_rotation_on_a_full_disk_is_done_later() {
    assert!(netns::possible(), "root is needed to mount");
    let site = Site::new();
    let disk = Disk::mount(&site.path("disk"), "6m");
    let flows = disk.0.join("flows");
    let mut daemon = site.start_in(&flows, "-t 6");
    // A window begins at whole six seconds: it has been written to when the disk fills up, and ends later.
    let into_ms = unix_ns() / 1_000_000 % 6000;
    thread::sleep(Duration::from_millis(6100 - into_ms));
    send(&site, 0..100);
    thread::sleep(Duration::from_millis(1500));
    let ballast = disk.fill();
    send(&site, 100..110);
    daemon.wait_for("stays open").unwrap();
    let names = fs::read_dir(flows.join(".open")).unwrap();
    let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!names.any(|name| name.ends_with(".partial")));
    fs::remove_file(ballast).unwrap();
    let found = site.stop(daemon);
    expect(&found, "kernel_drops=0 records_unreadable=0 windows_kept=0");
    let all = of(&found, "records_written") + of(&found, "records_unwritten");
    assert_eq!(all, 110 * u64::from(FLOWS), "{found:#}");
    let mut command = Site::command();
    let output = command.arg("verify").arg(&flows).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let written = of(&found, "records_written");
    assert!(said.contains(&format!("{written} flows in ")), "{said}");
}

/// Copies a site's files to the disk, and one of them twice into an hour that is long over: both folders.
fn with_old_hour(site: &Site, disk: &Disk) -> (PathBuf, PathBuf) {
    let flows = disk.0.join("flows");
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(site.flows()).arg(&flows);
    assert!(copy.status().unwrap().success());
    let hour = flows.join("date=2026-01-01/hour=00");
    fs::create_dir_all(&hour).unwrap();
    for minute in ["00", "05"] {
        let name = format!("flows-20260101T00{minute}00Z.parquet");
        fs::copy(&site.closed()[0], hour.join(name)).unwrap();
    }
    (flows, hour)
}

/// A large file that finds no room is not left half written where nothing counts it.
#[test]
fn d03_recompaction_on_a_full_disk_leaves_nothing_behind() {
    assert!(netns::possible(), "root is needed to mount");
    let site = with_closed_file(200);
    let disk = Disk::mount(&site.path("disk"), "6m");
    let (flows, hour) = with_old_hour(&site, &disk);
    let recompact = || {
        let mut command = Site::command();
        command.arg("recompact").arg(&flows).output().unwrap()
    };
    let ballast = disk.fill();
    let output = recompact();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && said.contains("No space left"),
        "{said}"
    );
    assert!(!hour.with_file_name(".hour=00").exists());
    assert_eq!(fs::read_dir(&hour).unwrap().count(), 2);
    fs::remove_file(ballast).unwrap();
    assert!(recompact().status.success());
    assert_eq!(fs::read_dir(&hour).unwrap().count(), 1);
}

/// A collector that finds no room to recompact says so once, goes on, and does it once there is room.
#[test]
fn d03_a_collector_recompacts_when_there_is_room_again() {
    assert!(netns::possible(), "root is needed to mount");
    let site = with_closed_file(200);
    let disk = Disk::mount(&site.path("disk"), "6m");
    let (flows, hour) = with_old_hour(&site, &disk);
    thread::sleep(Duration::from_millis(2100));
    let ballast = disk.fill();
    let mut daemon = site.start_in(&flows, "-t 86400 --recompact 1");
    daemon.wait_for("small files stay small for now").unwrap();
    assert!(site.log().contains("on the disk, and "), "{}", site.log());
    assert_eq!(fs::read_dir(&hour).unwrap().count(), 2);
    fs::remove_file(ballast).unwrap();
    // It is tried again after some seconds.
    daemon.wait_for("2 files are one").unwrap();
    let found = site.stop(daemon);
    expect(&found, "folders_recompacted=1 files_recompacted=2");
    let tries = of(&found, "recompactions_failed");
    assert!((1..5).contains(&tries), "{found:#}");
    assert_eq!(site.log().matches("small files stay small").count(), 1);
    assert_eq!(fs::read_dir(&hour).unwrap().count(), 1);
}

/// A file system of its own, gone when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, size: &str) -> Self {
        fs::create_dir(at).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        assert!(command.arg(at).status().unwrap().success());
        Self(at.to_owned())
    }

    /// A file that takes all that is left.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let size = 64 << 20;
        fs::write(&path, vec![0u8; size]).unwrap_err();
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
