//! Fault cases of the files, with a collector that writes them and the words that look after them; those
//! of the formats alone are in `store/src`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use weir_store::{layout, window::Window};
use weir_tests::{
    netns,
    process::{Daemon, NOBODY, unprivileged},
    traffic::Random,
};

use crate::site::{FLOWS, Site, UNDER_WAY, expect, of, send, unix_ns, with_closed_file};

#[test]
fn d01_a_killed_collectors_flows_are_adopted() {
    let site = Site::new();
    let mut daemon = site.start("");
    send(&site, 0..500);
    thread::sleep(Duration::from_millis(1200));
    daemon.signal(libc::SIGKILL);
    daemon.wait(Duration::from_secs(5)).unwrap();
    let sent = 500 * u64::from(FLOWS);
    // Readable at once, and after the next start.
    assert_eq!(site.totals(), (sent, sent));
    let mut daemon = site.start("");
    daemon.wait_for("recovered").unwrap();
    site.stop(daemon);
    assert_eq!(site.totals(), (sent, sent));
    assert!(site.open(".arrows").is_empty());
    let (is_sound, said) = site.maintain("verify", "");
    assert!(
        is_sound && said.contains(&format!("{sent} flows in 1 sound files")),
        "{said}"
    );
}

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

/// A large file that finds no room is not left half written where nothing counts it.
#[test]
fn d03_recompaction_on_a_full_disk_leaves_nothing_behind() {
    assert!(netns::possible(), "root is needed to mount");
    let site = with_closed_file(200);
    let disk = Disk::mount(&site.path("disk"), "6m");
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

/// Windows of a second: whoever reads meanwhile sees each flow once, and never less than before.
#[test]
fn d08_rotations_lose_nothing_and_readers_see_all() {
    let site = Site::new();
    let daemon = site.start("-t 1");
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            for part in 0..20 {
                send(&site, part * 50..(part + 1) * 50);
                thread::sleep(Duration::from_millis(200));
            }
        });
        let mut before = 0;
        while !sender.is_finished() {
            let (flows, _) = site.totals();
            assert!(flows >= before, "{before} flows, then {flows}");
            before = flows;
        }
    });
    let found = site.stop(daemon);
    let sent = 1000 * u64::from(FLOWS);
    expect(
        &found,
        &format!("records={sent} records_written={sent} kernel_drops=0 windows_kept=0"),
    );
    assert_eq!(site.totals(), (sent, sent));
    assert!(site.closed().len() >= 4, "{:?}", site.closed());
    assert!(site.open(".arrows").is_empty());
}

/// Where clocks change twice a year, names do not: they are of UTC, whatever the collector's time zone.
#[test]
fn d08_names_are_of_utc_in_any_time_zone() {
    let site = Site::new();
    let mut command = Site::command();
    command.env("TZ", "America/St_Johns");
    let daemon = site.start_as(command, &site.flows(), "");
    let before_s = i64::try_from(unix_ns() / 1_000_000_000).unwrap();
    send(&site, 0..10);
    expect(&site.stop(daemon), "records_written=200");
    let path = site.closed().remove(0);
    let start_s = layout::window_start_s(&path).unwrap();
    assert!(
        (0..=305).contains(&(before_s - start_s + 5)),
        "{}",
        path.display()
    );
    let stem = path.file_stem().unwrap().to_str().unwrap();
    assert_eq!(path, layout::closed_path(&site.flows(), start_s, stem));
}

/// A collector that keeps little, and somebody who expires by hand beside it.
#[test]
fn d09_old_files_go_while_others_are_written() {
    let site = Site::new();
    let daemon = site.start("-t 1 --max-size 60K");
    for part in 0..12 {
        send(&site, part * 50..(part + 1) * 50);
        thread::sleep(Duration::from_millis(300));
        let (is_fine, said) = site.maintain("expire", "--max-size 50K");
        assert!(is_fine, "{said}");
        let (is_fine, said) = site.maintain("verify", "");
        assert!(is_fine, "{said}");
    }
    let found = site.stop(daemon);
    let sent = 600 * u64::from(FLOWS);
    // Each was written; the oldest are gone.
    expect(
        &found,
        &format!("records={sent} records_written={sent} windows_kept=0"),
    );
    let (left, _) = site.totals();
    assert!(left > 0 && left < sent, "{left} of {sent}");
    let octets: u64 = site
        .closed()
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert!(octets <= 60 << 10, "{octets}");
}

#[test]
fn expire_says_what_it_would_do() {
    let site = with_closed_file(50);
    let (is_fine, said) = site.maintain("expire", "--max-age 1h --dry-run");
    assert!(is_fine && said.contains("0 files would expire"), "{said}");
    thread::sleep(Duration::from_millis(2100));
    let (is_fine, said) = site.maintain("expire", "--max-age 1s --dry-run");
    assert!(
        is_fine && said.contains("too old\n1 files would expire"),
        "{said}"
    );
    assert_eq!(site.closed().len(), 1);
    let (is_fine, said) = site.maintain("expire", "--max-age 1s");
    assert!(is_fine && said.contains("1 files expired"), "{said}");
    assert!(site.closed().is_empty());
    let (is_fine, said) = site.maintain("expire", "");
    assert!(
        !is_fine && said.contains("--max-age, --max-size or --min-free"),
        "{said}"
    );
}

#[test]
fn d06_a_damaged_file_is_found_and_what_is_sound_saved() {
    let site = with_closed_file(50);
    let path = &site.closed()[0];
    let octets = fs::read(path).unwrap();
    let mut damaged = octets.clone();
    damaged[100] ^= 4;
    fs::write(path, &damaged).unwrap();
    let (is_sound, said) = site.maintain("verify", "");
    assert!(
        !is_sound && said.contains("row group 0: its octets are not those"),
        "{said}"
    );
    assert!(said.contains("0 sound files, 1 damaged"), "{said}");

    // Nothing is repaired under a collector's hands.
    let daemon = site.start("");
    let (is_done, said) = site.maintain("repair", "");
    assert!(
        !is_done && said.contains("is written by another process"),
        "{said}"
    );
    site.stop(daemon);
    let (is_done, said) = site.maintain("repair", "");
    assert!(is_done && said.contains("kept as"), "{said}");
    let kept = site.open(".damaged");
    assert_eq!(
        fs::read(site.flows().join(".open").join(&kept[0])).unwrap(),
        damaged
    );
    let (is_sound, said) = site.maintain("verify", "");
    assert!(is_sound, "{said}");
    let (is_done, said) = site.maintain("repair", "");
    assert!(is_done && said.is_empty(), "{said}");
}

/// A file that may not be read is not said to be damaged, and the others are repaired whatever it is.
#[test]
fn d10_a_file_that_may_not_be_read_is_told_apart_and_holds_nothing_up() {
    assert!(netns::possible(), "root is needed to give up what it may");
    let site = with_closed_file(50);
    let path = &site.closed()[0];
    let mut octets = fs::read(path).unwrap();
    // By its name it comes first.
    let shut = path.with_file_name("flows-20260101T000000Z.parquet");
    fs::write(&shut, &octets).unwrap();
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o0)).unwrap();
    let maintain = |word: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", "-dac_override,-dac_read_search"]);
        command.arg(Site::command().get_program());
        let output = command.arg(word).arg(site.flows()).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.success(), said)
    };
    let (is_well, said) = maintain("verify");
    assert!(
        !is_well && said.contains("in 1 sound files, 0 damaged"),
        "{said}"
    );
    assert!(
        said.contains("1 files could not be read") && !said.contains("stop the collector"),
        "{said}"
    );
    octets[100] ^= 4;
    fs::write(path, octets).unwrap();
    let (is_well, said) = maintain("repair");
    assert!(
        !is_well && said.contains("stays as it is: cannot open"),
        "{said}"
    );
    assert!(said.contains("kept as"), "{said}");
}

#[test]
fn d10_a_symbolic_link_in_the_directory_is_not_followed() {
    let (site, elsewhere) = (Site::new(), tempfile::tempdir().unwrap());
    fs::create_dir(site.flows()).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), site.flows().join(".open")).unwrap();
    let mut command = Site::command();
    command
        .arg("-w")
        .arg(site.flows())
        .args(["-l", "127.0.0.1:0"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("a symbolic link"),
        "{said}"
    );
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

/// Somebody who may put links and pipes in the places of files gets nothing written elsewhere, and holds up nobody.
#[test]
fn d10_links_and_pipes_in_the_directory_hold_up_nothing() {
    let (site, elsewhere) = (Site::new(), tempfile::tempdir().unwrap());
    let open = site.flows().join(".open");
    fs::create_dir_all(&open).unwrap();
    let mut mkfifo = Command::new("mkfifo");
    for name in ["flows-20260101T000000Z.arrows", "templates"] {
        mkfifo.arg(open.join(name));
    }
    assert!(mkfifo.status().unwrap().success());
    let today_s = i64::try_from(unix_ns() / 1_000_000_000).unwrap();
    let hour = layout::hour_folder(&site.flows(), today_s);
    let day = hour.parent().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), day).unwrap();
    let mut daemon = site.start("-t 1");
    send(&site, 0..50);
    daemon.wait_for("is no folder, or a symbolic link").unwrap();
    // What was written meanwhile becomes files when it may.
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    fs::remove_file(day).unwrap();
    let found = site.stop(daemon);
    expect(&found, "records_written=1000 windows_kept=0");
    assert_eq!(site.totals(), (1000, 1000));
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

/// A collector without privileges in a directory that is root's, and in one of its own where root left a window.
#[test]
fn d10_what_belongs_to_somebody_else_is_told_and_left_alone() {
    assert!(netns::possible(), "root is needed to give it up");
    let site = Site::new();
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let flows = folder.path().join("flows");
    let open = flows.join(".open");
    fs::create_dir_all(&open).unwrap();
    let command = || {
        let mut command = unprivileged("weir-collector", folder.path()).unwrap();
        command.arg("-w").arg(&flows);
        command.args(["-l", &site.address().to_string()]);
        command
    };
    let output = command().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && said.contains("run as the user whose directory it is"),
        "{said}"
    );

    for path in [&flows, &open] {
        std::os::unix::fs::chown(path, Some(NOBODY), None).unwrap();
    }
    let left = open.join("flows-20260101T000000Z.arrows");
    Window::create(&left).unwrap();
    fs::set_permissions(&left, fs::Permissions::from_mode(0o600)).unwrap();
    let octets = fs::read(&left).unwrap();
    let mut daemon = Daemon::start(command(), &site.path("log")).unwrap();
    daemon.wait_for("stays open").unwrap();
    daemon.wait_for("listening").unwrap();
    send(&site, 0..10);
    thread::sleep(UNDER_WAY);
    assert!(daemon.stop().unwrap().success());
    assert!(site.log().contains("200 flows in "), "{}", site.log());
    assert_eq!(fs::read(&left).unwrap(), octets);
}

/// Recompaction is killed again and again; readers see each flow once all the time, and it gets done.
#[test]
fn d01_recompaction_that_is_killed_loses_and_doubles_nothing() {
    let site = with_closed_file(200);
    let file = site.closed().remove(0);
    let (each, _) = site.totals();
    for (hour, minute) in
        (0..8).flat_map(|hour| (0..60).step_by(5).map(move |minute| (hour, minute)))
    {
        let folder = site.flows().join(format!("date=2026-01-01/hour={hour:02}"));
        fs::create_dir_all(&folder).unwrap();
        let name = format!("flows-20260101T{hour:02}{minute:02}00Z.parquet");
        fs::copy(&file, folder.join(name)).unwrap();
    }
    let all = each * (8 * 12 + 1);
    assert_eq!(site.totals(), (all, all));
    let mut random = Random::new(11);
    for _ in 0..25 {
        let mut command = Site::command();
        command
            .arg("recompact")
            .arg(site.flows())
            .stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        thread::sleep(Duration::from_micros(random.below(60_000)));
        // SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(site.totals(), (all, all));
    }
    let (is_done, said) = site.maintain("recompact", "");
    assert!(is_done, "{said}");
    assert_eq!(site.closed().len(), 9);
    assert_eq!(site.totals(), (all, all));
    let (is_done, said) = site.maintain("recompact", "");
    assert!(is_done && said.is_empty(), "{said}");
    let hidden = Command::new("find")
        .arg(site.flows())
        .args(["-name", ".hour=*"])
        .output()
        .unwrap();
    assert!(hidden.stdout.is_empty());
    let (is_sound, said) = site.maintain("verify", "");
    assert!(is_sound, "{said}");
}

/// The command gets each closed file's path as its one argument, spaces and all; one that fails is told.
#[test]
fn a_command_is_run_for_each_closed_file() {
    let site = Site::new();
    let script = site.path("on rotate $(false)");
    let list = site.path("list");
    let text = format!(
        "#!/bin/sh\n[ $# = 1 ] && [ -f \"$1\" ] && echo \"$1\" >> '{}'\n",
        list.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let flows = site.path("flows of a; site");
    let mut command = Site::command();
    command.arg("--on-rotate").arg(&script);
    let daemon = site.start_as(command, &flows, "-t 1");
    for part in 0..3 {
        send(&site, part * 10..(part + 1) * 10);
        thread::sleep(Duration::from_millis(1500));
    }
    let found = site.stop(daemon);
    let told = fs::read_to_string(&list).unwrap();
    assert_eq!(
        told.lines().count() as u64,
        of(&found, "windows_closed"),
        "{told}"
    );
    expect(
        &found,
        &format!("commands={} commands_failed=0", told.lines().count()),
    );

    let mut failing = site.start("-t 1 --on-rotate /bin/false");
    send(&site, 100..110);
    failing.wait_for("--on-rotate command for").unwrap();
    thread::sleep(UNDER_WAY);
    let found = site.stop(failing);
    assert!(of(&found, "commands_failed") > 0, "{found:#}");
    assert!(site.log().contains("exit status: 1"), "{}", site.log());
}

/// Commands have all system calls, and no privileges; the collector that has them run has given its calls up.
#[test]
fn commands_keep_the_system_calls_that_the_collector_gives_up() {
    let site = Site::new();
    let (script, list) = (site.path("on-rotate"), site.path("list"));
    let text = format!(
        "#!/bin/sh\ngrep -e Seccomp_filters -e CapEff /proc/self/status >> '{}'\n",
        list.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let field = |status: &str, name: &str| -> Vec<u64> {
        let values = status.lines().filter_map(|line| line.strip_prefix(name));
        let number = |value: &str| u64::from_str_radix(value.trim(), 16).unwrap();
        values.map(number).collect()
    };
    let filters = |status: &str| field(status, "Seccomp_filters:");
    let own = filters(&fs::read_to_string("/proc/self/status").unwrap())[0];
    let daemon = site.start(&format!("-t 1 --on-rotate {}", script.display()));
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    assert_eq!(filters(&status), [own + 1]);
    send(&site, 0..10);
    thread::sleep(Duration::from_millis(2500));
    // What is closed at the end has its command, too.
    send(&site, 10..20);
    let found = site.stop(daemon);
    let told = fs::read_to_string(&list).unwrap();
    assert_eq!(of(&found, "commands_failed"), 0, "{found:#}");
    let count = usize::try_from(of(&found, "windows_closed")).unwrap();
    assert_eq!(filters(&told), vec![own; count], "{told}");
    assert_eq!(field(&told, "CapEff:"), vec![0; count], "{told}");
}

/// Whatever folders and compression files were written with, each word finds them, and readers do.
#[test]
fn files_of_each_layout_and_compression_are_found_by_all() {
    let site = Site::new();
    for (number, form) in (0..).zip([
        "--layout day --compression lz4",
        "--layout flat --compression none",
        "--layout hour --compression snappy",
    ]) {
        let daemon = site.start(&format!("-t 86400 {form}"));
        send(&site, 10 * number..10 * (number + 1));
        expect(&site.stop(daemon), "windows_closed=1 windows_kept=0");
    }
    let depth = |path: &PathBuf| path.strip_prefix(site.flows()).unwrap().iter().count();
    let mut depths: Vec<_> = site.closed().iter().map(depth).collect();
    depths.sort_unstable();
    assert_eq!(depths, [1, 2, 3]);
    let flows = 30 * u64::from(FLOWS);
    assert_eq!(site.totals(), (flows, flows));
    let (is_sound, said) = site.maintain("verify", "");
    let sound = format!("{flows} flows in 3 sound files, 0 damaged");
    assert!(is_sound && said.contains(&sound), "{said}");
    let (is_well, said) = site.maintain("repair", "");
    assert!(is_well && said.is_empty(), "{said}");
    let (is_well, said) = site.maintain("expire", "--max-size 0");
    assert!(is_well && said.contains("3 files expired"), "{said}");
    assert!(site.closed().is_empty());
}
