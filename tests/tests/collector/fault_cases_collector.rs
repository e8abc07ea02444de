//! Fault cases of the collector's receiving side, with its sockets and threads; those of its state alone
//! are in `collector/tests`.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr, UdpSocket},
    thread,
    time::Duration,
};

use serde_json::Value;
use weir_store::{rows, schema::StoredFlow, verify};
use weir_tests::{
    netns,
    process::{Daemon, unprivileged},
};

use crate::site::{Site, UNDER_WAY, expect, of, push_set, socket, unix_ns, v9_datagram};

/// Sends datagrams slowly enough for a small buffer.
fn send(socket: &UdpSocket, site: &Site, datagrams: impl Iterator<Item = Vec<u8>>) {
    for (number, datagram) in (0u32..).zip(datagrams) {
        socket.send_to(&datagram, site.address()).unwrap();
        if number.is_multiple_of(16) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A line of the collector's /proc/PID/status, in KiB.
fn memory_kib(daemon: &Daemon, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn c01_runts_giants_and_unknown_versions_are_counted() {
    let site = Site::new();
    let daemon = site.start("");
    let socket = socket();
    let datagrams = [
        Vec::new(),
        vec![0],
        vec![0, 5],
        vec![0, 9, 0, 1],
        vec![0xff; 1400],
        vec![0, 77],
        vec![0; 65_507],
        v9_datagram(0, 0, 3, true),
    ];
    let octets: usize = datagrams.iter().map(Vec::len).sum();
    send(&socket, &site, datagrams.into_iter());
    let found = site.stop(daemon);
    expect(
        &found,
        "datagrams=8 malformed=4 unknown_version=3 records=3",
    );
    assert_eq!(of(&found, "datagram_octets"), octets as u64);
}

#[test]
fn c10_strangers_are_counted_and_not_listened_to() {
    let site = Site::new();
    let daemon = site.start("--allow 127.0.0.2 --allow 2001:db8::/32");
    let allowed = UdpSocket::bind("127.0.0.2:0").unwrap();
    send(
        &allowed,
        &site,
        (0..4).map(|number| v9_datagram(0, number, 5, true)),
    );
    send(
        &socket(),
        &site,
        (0..6).map(|number| v9_datagram(0, number, 5, true)),
    );
    let found = site.stop(daemon);
    let log = site.log();
    assert!(
        log.contains("127.0.0.1: it is in no prefix of --allow"),
        "{log}"
    );
    expect(
        &found,
        "datagrams=10 not_allowed=6 records=20 records_written=20",
    );
    assert_eq!(found["exporters"].as_array().unwrap().len(), 1);
}

/// A datagram each from a hundred thousand addresses, which loopback has; a known exporter goes on.
#[test]
fn c11_a_hundred_thousand_spoofed_exporters_take_flat_memory_and_few_lines() {
    let site = Site::new();
    // No rotation in between: it takes memory of its own.
    let daemon = site.start("-t 86400");
    let known = socket();
    send(
        &known,
        &site,
        (0..40).map(|number| v9_datagram(7, number, 1, true)),
    );
    let flood = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            let address = Ipv4Addr::from_bits(0x7f01_0000 + number);
            let spoofed = UdpSocket::bind((address, 0)).unwrap();
            let mut datagram = v9_datagram(number, 1, 1, true);
            push_set(&mut datagram, 999, &[1; 100]);
            spoofed.send_to(&datagram, site.address()).unwrap();
            // And one that is none.
            spoofed.send_to(&[0, 9, 1], site.address()).unwrap();
        }
        thread::sleep(UNDER_WAY);
    };
    // The first ones fill what there is to fill.
    flood(0..60_000);
    let before = memory_kib(&daemon, "VmRSS");
    flood(60_000..160_000);
    let after = memory_kib(&daemon, "VmRSS");
    // What waits for the writer is reused, and may have been filled only now, if the disk was slow for a moment: 16
    // times 4,096 flows of 288 octets.
    let waiting = 16 * 4096 * 288 / 1024;
    assert!(
        after < before + waiting + 8192,
        "{before} KiB, then {after} KiB"
    );
    // The known one's template and number are still there: one datagram of it was lost.
    send(&known, &site, std::iter::once(v9_datagram(7, 41, 1, false)));
    let found = site.stop(daemon);
    let lines = site.log().lines().count();
    assert!(lines < 60, "{lines} lines");
    let drops = of(&found, "kernel_drops");
    assert_eq!(of(&found, "datagrams") + drops, 320_041, "{found:#}");
    let exporters = found["exporters"].as_array().unwrap();
    assert_eq!(exporters.len(), 4096);
    let known = exporters
        .iter()
        .find(|exporter| exporter["source_id"] == 7 && exporter["datagrams"] == 41);
    let known = known.unwrap_or_else(|| panic!("the known exporter is forgotten: {found:#}"));
    expect(known, "records=41 lost=1");
}

/// Data, then templates; with a collector in between that was killed and one that was told to end.
#[test]
fn c12_templates_are_known_after_a_restart_and_data_waits_for_them() {
    let site = Site::new();
    let daemon = site.start("");
    let socket = socket();
    send(
        &socket,
        &site,
        (0..3).map(|number| v9_datagram(0, number, 10, false)),
    );
    send(&socket, &site, std::iter::once(v9_datagram(0, 3, 10, true)));
    let found = site.stop(daemon);
    expect(
        &found,
        "records=40 records_written=40 late_template_sets=3 unknown_template_sets=0",
    );
    assert_eq!(site.open("templates"), ["templates"]);

    let mut daemon = site.start("");
    send(
        &socket,
        &site,
        std::iter::once(v9_datagram(0, 4, 10, false)),
    );
    thread::sleep(Duration::from_secs(1));
    daemon.signal(libc::SIGKILL);
    daemon.wait(Duration::from_secs(5)).unwrap();

    let daemon = site.start("");
    send(
        &socket,
        &site,
        std::iter::once(v9_datagram(0, 5, 10, false)),
    );
    let found = site.stop(daemon);
    expect(
        &found,
        "records=10 late_template_sets=0 unknown_template_sets=0",
    );
    assert_eq!(site.totals(), (60, 60));

    // A damaged file is told of, and does no harm.
    let path = site.flows().join(".open/templates");
    let mut octets = fs::read(&path).unwrap();
    let last = octets.len() - 9;
    octets[last] ^= 1;
    fs::write(&path, octets).unwrap();
    let daemon = site.start("");
    send(
        &socket,
        &site,
        std::iter::once(v9_datagram(0, 6, 10, false)),
    );
    let found = site.stop(daemon);
    assert!(site.log().contains("checksum is another"), "{}", site.log());
    expect(&found, "records=0 unknown_template_sets=1");
}

/// A collector that ran for more than a day: the file is as young as its end, though no template changed.
#[test]
fn c12_templates_are_saved_at_the_end_though_none_changed() {
    let site = Site::new();
    let daemon = site.start("");
    send(
        &socket(),
        &site,
        std::iter::once(v9_datagram(0, 0, 1, true)),
    );
    site.stop(daemon);
    let path = site.flows().join(".open/templates");
    let head = |text: &str| text.split(' ').nth(2).unwrap().to_owned();
    let text = fs::read_to_string(&path).unwrap();
    let old = (unix_ns() / 1_000_000_000 - 80_000).to_string();
    fs::write(&path, text.replacen(&head(&text), &old, 1)).unwrap();
    let daemon = site.start("");
    site.stop(daemon);
    let again = fs::read_to_string(&path).unwrap();
    assert_ne!(head(&again), old);
    // The exporter's template is still in it.
    assert_eq!(
        again.split_once('\n').unwrap().1,
        text.split_once('\n').unwrap().1
    );
}

/// An exporter with many source ports: its datagrams meet one state, whichever socket they come through.
#[test]
fn c13_several_sockets_share_what_is_known_of_an_exporter() {
    let site = Site::new();
    let daemon = site.start("--sockets 4");
    let ports: Vec<_> = (0..16).map(|_| socket()).collect();
    // One socket after the other has taken its datagram before the next comes.
    for number in 0..400u32 {
        let port = &ports[usize::try_from(number % 16).unwrap()];
        let datagram = v9_datagram(3, number, 2, number == 0);
        port.send_to(&datagram, site.address()).unwrap();
        thread::sleep(Duration::from_millis(2));
    }
    let found = site.stop(daemon);
    expect(
        &found,
        "datagrams=400 records=800 records_written=800 kernel_drops=0 unknown_template_sets=0",
    );
    let exporters = found["exporters"].as_array().unwrap();
    assert_eq!(exporters.len(), 1, "{found:#}");
    expect(
        &exporters[0],
        "datagrams=400 lost=0 restarts=0 duplicated=0",
    );
}

/// Exporters without a clock, and with one of another century: their flows are kept, in the file of their
/// arrival, and their numbers count.
#[test]
fn c16_clocks_of_other_centuries_make_no_files_of_their_own() {
    let site = Site::new();
    let daemon = site.start("-t 86400");
    let clocks = [0, 1, 0x7fff_ffff, u32::MAX];
    let datagrams = (0..8).map(|number| {
        let mut datagram = v9_datagram(0, number, 5, number == 0);
        let clock = clocks[usize::try_from(number % 4).unwrap()];
        // unix_secs (RFC 3954 section 5.1); sysUptime is beyond any flow's First, or before it.
        datagram[8..12].copy_from_slice(&clock.to_be_bytes());
        if number >= 4 {
            datagram[4..8].copy_from_slice(&number.to_be_bytes());
        }
        datagram
    });
    send(&socket(), &site, datagrams);
    let found = site.stop(daemon);
    expect(&found, "records=40 records_written=40 malformed=0");
    expect(&found["exporters"][0], "lost=0 duplicated=0");
    assert_eq!(site.closed().len(), 1);
    assert_eq!(site.totals(), (40, 40));
    let mut flows = Vec::new();
    let verified = verify::read_sound(&site.closed()[0], |batch| {
        flows.extend(rows::flows(&batch).unwrap());
        Ok(())
    });
    assert!(verified.unwrap().faults.is_empty());
    assert_eq!(flows.len(), 40);
    let is_in_order = |flow: &StoredFlow| flow.record.start_ns <= flow.record.end_ns;
    assert!(flows.iter().all(is_in_order), "{flows:#?}");
}

/// While the collector stands still its buffer overflows: what it missed is in the account, and as a gap.
#[test]
fn c19_a_burst_beyond_the_buffer_is_seen_as_kernel_drops() {
    let site = Site::new();
    let daemon = site.start("");
    let socket = socket();
    send(&socket, &site, std::iter::once(v9_datagram(0, 0, 1, true)));
    thread::sleep(UNDER_WAY);
    daemon.signal(libc::SIGSTOP);
    let datagram = |number| v9_datagram(0, number, 20, false);
    let sent = 80_000;
    for number in 1..=sent {
        socket.send_to(&datagram(number), site.address()).unwrap();
    }
    daemon.signal(libc::SIGCONT);
    thread::sleep(Duration::from_secs(2));
    send(
        &socket,
        &site,
        [datagram(sent + 1), datagram(sent + 2)].into_iter(),
    );
    let found = site.stop(daemon);
    let drops = of(&found, "kernel_drops");
    assert!(drops > 0, "{found:#}");
    assert_eq!(
        of(&found, "datagrams") + drops,
        u64::from(sent) + 3,
        "{found:#}"
    );
    expect(
        &found["exporters"][0],
        &format!("lost={drops} restarts=0 duplicated=0 doubtful=0"),
    );
}

#[test]
fn c20_garbage_fills_no_log() {
    let site = Site::new();
    let daemon = site.start("");
    send(
        &socket(),
        &site,
        (0..20_000u32).map(|number| [&[0u8, 9][..], &number.to_be_bytes()].concat()),
    );
    let found = site.stop(daemon);
    expect(&found, "datagrams=20000 malformed=20000");
    let about = site.log().matches("127.0.0.1").count();
    assert_eq!(about, 1, "{}", site.log());
}

#[test]
fn one_socket_takes_both_families() {
    let site = Site::new();
    let daemon = site.start("");
    let Ok(v6) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) else {
        panic!("this machine has no IPv6");
    };
    v6.send_to(
        &v9_datagram(0, 0, 1, true),
        (Ipv6Addr::LOCALHOST, site.port),
    )
    .unwrap();
    send(
        &socket(),
        &site,
        std::iter::once(v9_datagram(0, 0, 1, true)),
    );
    let found = site.stop(daemon);
    let mut exporters: Vec<_> = found["exporters"].as_array().unwrap().iter().collect();
    exporters.sort_by_key(|exporter| exporter["exporter"].to_string());
    let addresses: Vec<_> = exporters
        .iter()
        .map(|exporter| &exporter["exporter"])
        .collect();
    assert_eq!(addresses, [&Value::from("127.0.0.1"), &Value::from("::1")]);
}

/// A group of the loopback interface; each datagram comes once, however many sockets there are.
#[test]
fn a_multicast_group_is_received_once() {
    let site = Site::new();
    let daemon = site.start("--join 239.195.7.1@lo --sockets 3");
    let group = Ipv4Addr::new(239, 195, 7, 1);
    let exporter = socket();
    exporter.set_multicast_loop_v4(true).unwrap();
    for number in 0..20 {
        // From 127.0.0.1 the way to a group is over the loopback interface.
        let datagram = v9_datagram(0, number, 1, true);
        exporter.send_to(&datagram, (group, site.port)).unwrap();
    }
    let found = site.stop(daemon);
    expect(&found, "datagrams=20 records=20");
    expect(&found["exporters"][0], "duplicated=0 lost=0");
}

#[test]
fn a_group_that_cannot_be_joined_is_told() {
    let site = Site::new();
    let mut command = Site::command();
    command.arg("-w").arg(site.flows());
    command.args(["-l", "127.0.0.1:0", "--join", "239.1.1.1@nosuchif0"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("cannot join 239.1.1.1 on nosuchif0"),
        "{said}"
    );
}

/// Without root the kernel grants what its limit says; the hint names the limit.
#[test]
fn a_small_buffer_is_told_with_its_remedy() {
    assert!(netns::possible(), "root is needed to give it up");
    let site = Site::new();
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(folder.path(), everybody).unwrap();
    let limit: u64 = fs::read_to_string("/proc/sys/net/core/rmem_max")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    if limit >= 32 << 20 {
        eprintln!("skipped: this machine's limit is {limit} octets already");
        return;
    }
    let mut command = unprivileged("weir-collector", folder.path()).unwrap();
    command.arg("-w").arg(folder.path().join("flows"));
    command.args(["-l", &format!("127.0.0.1:{}", site.port)]);
    let mut daemon = Daemon::start(command, &site.path("log")).unwrap();
    daemon.wait_for("listening").unwrap();
    assert!(daemon.stop().unwrap().success());
    assert!(
        site.log().contains("sysctl -w net.core.rmem_max="),
        "{}",
        site.log()
    );
}
