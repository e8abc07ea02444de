//! Fault cases of the files, with a collector that writes them and the words that look after them; those
//! of the formats alone are in `store/src`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
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

use crate::site::{FLOWS, Site, UNDER_WAY, expect, send, socket, unix_ns, with_closed_file};

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

/// Windows of a second: whoever reads meanwhile sees each flow once, and never less than before.
#[test]
fn d08_rotations_lose_nothing_and_readers_see_all() {
    let site = Site::new();
    let daemon = site.start("-t 1");
    let datagrams = thread::scope(|scope| {
        // As long as a busy machine takes to close so many.
        let sender = scope.spawn(|| {
            let mut numbers = 0..0;
            while site.closed().len() < 4 && numbers.end < 10_000 {
                numbers = numbers.end..numbers.end + 50;
                send(&site, numbers.clone());
                thread::sleep(Duration::from_millis(200));
            }
            numbers.end
        });
        let mut before = 0;
        while !sender.is_finished() {
            let (flows, _) = site.totals();
            assert!(flows >= before, "{before} flows, then {flows}");
            before = flows;
        }
        sender.join().unwrap()
    });
    let found = site.stop(daemon);
    let sent = u64::from(datagrams) * u64::from(FLOWS);
    expect(
        &found,
        &format!("records={sent} records_written={sent} kernel_drops=0 windows_kept=0"),
    );
    assert_eq!(site.totals(), (sent, sent));
    assert!(site.closed().len() >= 4, "{:?}", site.closed());
    assert!(site.open(".arrows").is_empty());
}

/// One that another program is writing, and one of a collector whose directory is below.
#[test]
fn d10_repair_leaves_alone_what_no_collector_wrote_here() {
    let site = Site::new();
    site.stop(site.start(""));
    let below = "site1/date=2026-01-01/hour=00/flows-20260101T000000Z.parquet";
    let others = ["report.parquet", below].map(|name| site.flows().join(name));
    for path in &others {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "half a file").unwrap();
    }
    let (_, said) = site.maintain("repair", "");
    assert_eq!(said.matches("left alone").count(), 2, "{said}");
    for path in &others {
        assert_eq!(fs::read_to_string(path).unwrap(), "half a file");
    }
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
    // A window, too.
    fs::remove_file(&shut).unwrap();
    let window = site.flows().join(".open/flows-20260101T000000Z.arrows");
    fs::write(&window, "").unwrap();
    fs::set_permissions(&window, fs::Permissions::from_mode(0o0)).unwrap();
    let (is_well, said) = maintain("verify");
    assert!(
        !is_well && said.contains("1 files could not be read"),
        "{said}"
    );
    fs::remove_file(&window).unwrap();
    fs::write(&shut, &octets).unwrap();
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o0)).unwrap();
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

/// Whoever looks after a directory, replays or anonymises it is told of what lies elsewhere.
#[test]
fn d10_links_that_are_not_followed_are_named() {
    let (site, elsewhere) = (with_closed_file(10), tempfile::tempdir().unwrap());
    let key = site.path("key");
    fs::write(&key, "00112233445566778899aabbccddeeff".repeat(2)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let receiver = socket();
    let to = receiver.local_addr().unwrap();
    // One that leads to what is looked at anyhow.
    let link = std::os::unix::fs::symlink::<PathBuf, PathBuf>;
    let day = site.closed()[0].ancestors().nth(2).unwrap().to_owned();
    link(day, site.flows().join("latest")).unwrap();
    for is_linked in [false, true] {
        if is_linked {
            link(elsewhere.path().to_owned(), site.flows().join("site=b")).unwrap();
        }
        let anonymised = site.path(&format!("anonymised-{is_linked}"));
        let into = format!("{} --key {}", anonymised.display(), key.display());
        for (word, options) in [
            ("verify", String::new()),
            ("repair", String::new()),
            ("recompact", String::new()),
            ("expire", "--max-size 1G".to_owned()),
            ("replay", format!("--to {to} --speed full")),
            ("anonymise", into),
        ] {
            let (is_well, said) = site.maintain(word, &options);
            let is_named = said.contains("site=b is a symbolic link, which is not followed");
            assert_eq!(
                (is_well, is_named),
                (!is_linked, is_linked),
                "{word}: {said}"
            );
            assert!(!said.contains("latest"), "{word}: {said}");
        }
    }
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
