//! The ways records leave: over TCP, in turn, from where they were asked to, and in each kind of record;
//! the totals are the same whichever it is.

use std::{
    fs,
    io::Read as _,
    net::{TcpListener, UdpSocket},
    path::Path,
    thread,
    time::Duration,
};

use serde_json::Value;
use weir_tests::{
    process::{Daemon, built},
    sent::{self, received},
    traffic::{self, Traffic},
};

use crate::world::{Decoded, assert_account, expect, json, of};

fn capture(folder: &Path) -> Traffic {
    let is_ip = |frame: &[u8]| matches!(frame[12..14], [8 | 0x81, 0] | [0x86, 0xdd]);
    let traffic = traffic::mix(2000, 11).filtered(is_ip);
    let frames = traffic.frames.iter().map(Vec::as_slice);
    let file = traffic::capture_file(frames, |index| 1_700_000_000_000_000 + 1000 * index);
    fs::write(folder.join("mix.pcap"), file).unwrap();
    traffic
}

/// Meters the capture; what the sensor counted.
fn meter(folder: &Path, arguments: &str) -> Value {
    let mut command = built("weir-sensor").unwrap();
    command.arg("-r").arg(folder.join("mix.pcap"));
    command.args(arguments.split_whitespace());
    command.args(["--statistics-json", "-"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !said.contains("panicked"),
        "{said}"
    );
    let found = serde_json::from_slice(&output.stdout).unwrap();
    assert_account(&found);
    found
}

fn socket() -> UdpSocket {
    sent::listen("127.0.0.1:0").unwrap()
}

#[test]
fn collectors_that_take_turns_get_a_share_each_without_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let traffic = capture(folder.path());
    let sockets = [socket(), socket(), socket()];
    let addresses = sockets
        .each_ref()
        .map(|socket| socket.local_addr().unwrap().to_string());
    let line = format!("-v 9 -l -n {}", addresses.join(","));
    let (datagrams, found) = received(&sockets, || meter(folder.path(), &line));
    expect(&found, &format!("packets={}", traffic.frames.len()));
    let (mut packets, mut octets) = (0, 0);
    for datagrams in &datagrams {
        let decoded = Decoded::of(datagrams);
        assert_eq!(decoded.unreadable, 0);
        for (index, (sequence, claimed, there)) in decoded.counts.iter().enumerate() {
            assert_eq!((*sequence as usize, claimed), (index, there));
        }
        let share = decoded.sums();
        assert!(share.0 > 0);
        packets += share.0;
        octets += share.1;
    }
    assert_eq!(
        (packets, octets),
        (of(&found, "packets_exported"), traffic.ip_octets)
    );
    let of_all: Vec<_> = datagrams.iter().map(Vec::len).collect();
    // What one has begun when its turn is over may leave for its age, before it is full: by the threads' luck one of
    // three has had a tenth more than another.
    let (least, most) = (of_all.iter().min().unwrap(), of_all.iter().max().unwrap());
    assert!((most - least) * 4 <= *most, "{of_all:?}");
}

/// Every kind of record a collector can be sent has the same packets and octets in it.
#[test]
fn whatever_the_layout_the_totals_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let traffic = capture(folder.path());
    for line in [
        "-v 9 -A sec",
        "-v 9 -A milli -x 10",
        "-v 10 -A micro --fields mac",
        "-v 10 -A nano -x 4",
        "-v 10 -T ether",
        "-v 10 -L 3 --dscp 46 -e 127.0.0.7",
        "-v 9 -P udp -S lo",
    ] {
        let sockets = [socket()];
        let address = sockets[0].local_addr().unwrap();
        let line = format!("{line} -n {address}");
        let (datagrams, found) = received(&sockets, || meter(folder.path(), &line));
        let decoded = Decoded::of(&datagrams[0]);
        assert_eq!(decoded.unreadable, 0, "{line}");
        let expected = (traffic.frames.len() as u64, traffic.ip_octets);
        assert_eq!(decoded.sums(), expected, "{line}");
        assert_eq!(
            decoded.records.len() as u64,
            of(&found, "records_exported"),
            "{line}"
        );
    }
}

#[test]
fn a_biflow_has_both_directions_packets() {
    let folder = tempfile::tempdir().unwrap();
    let traffic = capture(folder.path());
    let one_way = meter(folder.path(), "-v 10");
    let both_ways = meter(folder.path(), "-v 10 -b");
    for name in ["packets_exported", "octets_exported", "flows"] {
        assert_eq!(of(&one_way, name), of(&both_ways, name), "{name}");
    }
    assert_eq!(of(&both_ways, "octets_exported"), traffic.ip_octets);
    let (ones, pairs) = (
        of(&one_way, "records_exported"),
        of(&both_ways, "records_exported"),
    );
    assert!(pairs < ones && 2 * pairs >= ones, "{pairs} of {ones}");
}

/// Weir's own collector over TCP: all of it, and IPFIX's numbers fit.
#[test]
fn a_collector_takes_everything_over_tcp() {
    let folder = tempfile::tempdir().unwrap();
    let traffic = capture(folder.path());
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut command = built("weir-collector").unwrap();
    let statistics = folder.path().join("collector.json");
    command.arg("-w").arg(folder.path().join("flows"));
    let unused = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    command.args([
        "-l",
        &unused.to_string(),
        "--tcp",
        &format!("127.0.0.1:{port}"),
    ]);
    command.arg("--statistics-json").arg(&statistics);
    let mut collector = Daemon::start(command, &folder.path().join("log")).unwrap();
    collector.wait_for("listening").unwrap();
    let line = format!("-v 10 -P tcp -n 127.0.0.1:{port}");
    let sent = meter(folder.path(), &line);
    thread::sleep(Duration::from_millis(500));
    assert!(collector.stop().unwrap().success());
    let found = json(&statistics);
    expect(&sent, "records_unsent.records=0 datagrams_refused=0");
    assert_eq!(
        of(&found, "packets"),
        traffic.frames.len() as u64,
        "{found:#}"
    );
    assert_eq!(of(&found, "octets"), traffic.ip_octets);
    assert_eq!(of(&found, "records"), of(&sent, "records_exported"));
    // The connection has ended, and its exporter is still told of.
    let exporters = found["exporters"].as_array().unwrap();
    assert_eq!(exporters.len(), 1, "{found:#}");
    assert_eq!(of(&exporters[0], "records"), of(&found, "records"));
    assert_eq!(of(&exporters[0], "datagrams"), of(&found, "datagrams"));
    // What the sensor said last is what it counted.
    let told = &found["exporters"][0]["counters"];
    assert_eq!(of(told, "exported_flows"), of(&sent, "records_exported"));
    expect(told, "not_sent_flows=0 ignored_packets=0");
    let said = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(said.contains("lost on the way: 0 records, "), "{said}");
}

#[test]
fn a_collector_that_is_away_is_counted_and_waited_for_by_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let traffic = capture(folder.path());
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let there = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = there.local_addr().unwrap();
    let reader = thread::spawn(move || {
        let mut octets = Vec::new();
        there.accept().unwrap().0.read_to_end(&mut octets).unwrap();
        octets
    });
    let found = meter(folder.path(), &format!("-v 10 -P tcp -n {address},{gone}"));
    let [first, second] = [0, 1].map(|index| found["destinations"][index].clone());
    assert_eq!(of(&first, "packets_exported"), traffic.frames.len() as u64);
    assert_eq!(
        of(&second, "records_unsent.packets"),
        traffic.frames.len() as u64
    );
    // What came is whole messages, one after the other, by their lengths.
    let messages = sent::messages(&reader.join().unwrap()).unwrap();
    let decoded = Decoded::of(&messages);
    assert_eq!(
        decoded.sums(),
        (traffic.frames.len() as u64, traffic.ip_octets)
    );
    let mut expected = 0;
    for (sequence, _, records) in decoded.counts {
        assert_eq!(sequence as usize, expected);
        expected += records;
    }
}

#[test]
fn a_way_that_is_not_there_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    capture(folder.path());
    for (arguments, words) in [
        ("-S nosuchif0", "by nosuchif0"),
        ("-e 192.0.2.77", "from 192.0.2.77"),
        ("-e ::1", "from ::1"),
        ("-P sctp", "-P sctp"),
    ] {
        let mut command = built("weir-sensor").unwrap();
        command.arg("-r").arg(folder.path().join("mix.pcap"));
        command
            .args(["-n", "127.0.0.1:9"])
            .args(arguments.split(' '));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(words) && !said.contains("panicked"), "{said}");
    }
}

/// softflowd's own count of which packets are looked at, and what it says about it.
#[test]
fn a_capture_is_sampled_as_softflowd_does() {
    let folder = tempfile::tempdir().unwrap();
    let traffic = capture(folder.path());
    let frames = traffic.frames.len() as u64;
    let found = meter(folder.path(), "-v 9 -s 10");
    let metered = frames.div_ceil(10);
    expect(&found, &format!("packets={frames} ip_packets={metered}"));
    expect(&found, &format!("sampled_out_packets={}", frames - metered));
}

/// A filter comes before sampling, in files as in the kernel: of what it keeps one packet in ten is metered,
/// the first of each ten.
#[test]
fn what_a_filter_keeps_of_a_capture_is_sampled() {
    let folder = tempfile::tempdir().unwrap();
    let traffic = capture(folder.path());
    let frames = traffic.frames.len() as u64;
    // Without a tag: libpcap's `udp` does not look behind one.
    let is_udp = |frame: &[u8]| match frame[12..14] {
        [8, 0] => frame[23] == 17,
        [0x86, 0xdd] => frame[20] == 17,
        _ => false,
    };
    let kept = traffic.filtered(is_udp).frames;
    let metered: Vec<_> = kept.iter().step_by(10).collect();
    let octets: u64 = metered.iter().map(|frame| ip_octets(frame)).sum();
    let found = meter(folder.path(), "-v 9 -s 10 udp");
    let (kept, metered) = (kept.len() as u64, metered.len() as u64);
    assert!(metered > 10 && kept < frames / 2, "{kept} of {frames}");
    expect(
        &found,
        &format!("packets={frames} filtered_packets={}", frames - kept),
    );
    expect(
        &found,
        &format!(
            "sampled_out_packets={} ip_packets={metered}",
            kept - metered
        ),
    );
    expect(
        &found,
        &format!("ip_octets={octets} packets_exported={metered} octets_exported={octets}"),
    );
}

/// Octets of a frame's packet by its IP header; the frame has no tag.
fn ip_octets(frame: &[u8]) -> u64 {
    let number = |at: usize| u64::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    match frame[12] {
        8 => number(16),
        _ => 40 + number(18),
    }
}
