//! Debian's programs agree: they read what Weir sends, and Weir reads what they send.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::Path,
    process::Command,
    time::Duration,
};

use serde_json::Value;
use weir_exporter::{Batcher, Version, batch::BatchOptions};
use weir_netflow::{
    ExportTime, FlowRecord, Sampling,
    announce::{Announcement, Interface, Lost},
};
use weir_tests::{
    port,
    process::{Daemon, built},
    sent::sent,
    traffic::{self, Traffic},
};

use crate::{
    peer::{
        capture, collect, faultless, has_v6, is_flow, nfacctd, nfcapd, nfdump_total, succeed, text,
        tshark,
    },
    world::Decoded,
};

/// Meters the capture with Weir. More words may follow the version.
fn metering(capture: &Path, version: &str) -> Command {
    let mut command = built("weir-sensor").unwrap();
    command.arg("-r").arg(capture);
    command.arg("-v").args(version.split_whitespace());
    command.args(["--statistics-json", "-"]);
    command
}

/// What Weir counted of the capture.
fn weir(capture: &Path, port: u16, version: &str) -> Value {
    let mut command = metering(capture, version);
    command.args(["-n", &format!("127.0.0.1:{port}")]);
    serde_json::from_str(&text(&succeed(&mut command))).unwrap()
}

#[test]
fn nfcapd_reads_what_weir_sends() {
    for version in [
        "1",
        "5",
        "9",
        "10",
        "9 -A milli",
        "10 -A milli",
        "9 -x 3",
        "10 -x 3",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (capture, _) = capture(folder.path(), has_v6(version));
        let mut sent = Value::Null;
        let (flows, log) = nfcapd(folder.path(), &[], |port| {
            sent = weir(&capture, port, version);
        });
        for (name, counter) in [
            ("Flows", "records_exported"),
            ("Packets", "packets_exported"),
            ("Bytes", "octets_exported"),
        ] {
            assert_eq!(
                nfdump_total(&flows, name),
                sent[counter].as_u64().unwrap(),
                "v{version} {name}\n{log}"
            );
        }
        // 1.7.1 does not number IPFIX's options records (RFC 7011 section 3.1): one comes with the first templates.
        let errors = u32::from(version.starts_with("10"));
        let counted = format!("Sequence Errors: {errors}, Bad Packets: 0");
        assert!(log.contains(&counted), "v{version}: {log}");
    }
}

/// The same totals, and no number that it did not expect.
#[test]
fn nfacctd_reads_what_weir_sends() {
    // It waits for a second before it reads, and tells each second.
    std::thread::scope(|scope| {
        for version in ["5", "9", "10", "9 -A milli", "10 -b"] {
            scope.spawn(move || assert_nfacctd_reads(version));
        }
    });
}

fn assert_nfacctd_reads(version: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (capture, traffic) = capture(folder.path(), has_v6(version));
    let is_biflow = version.ends_with("-b");
    // It makes one flow of a biflow's two directions, or leaves the second out: only that it reads
    // the first is compared there.
    let expected = if is_biflow { 1 } else { traffic.ip_octets };
    let (totals, log) = nfacctd(folder.path(), expected, |port| {
        weir(&capture, port, version);
    });
    if !is_biflow {
        let expected = (traffic.ip_octets, traffic.frames.len() as u64);
        assert_eq!(totals["127.0.0.1"], expected, "v{version}\n{log}");
    }
    assert!(
        !log.contains("expecting flow") && !log.contains("WARN"),
        "v{version}: {log}"
    );
}

fn export_time() -> ExportTime {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    ExportTime {
        unix_ns: u64::try_from(now.as_nanos()).unwrap(),
        uptime_ms: 60_000,
    }
}

/// A hundred flows of as many packets as their number says, in datagrams; before the first, in the middle
/// and after the last what Weir says of itself.
fn announced(version: Version) -> Vec<Vec<u8>> {
    const FLOWS: u64 = 100;
    let now = export_time();
    let interface = |ifindex, name: &str, description: &str| Interface {
        ifindex,
        name: name.to_owned(),
        description: description.to_owned(),
    };
    let said = Announcement {
        process: 77,
        messages: 5,
        records: 60,
        octets: 7000,
        not_sent: Lost::default().grown(1, 2, 80, now.unix_ns / 1_000_000),
        interfaces: vec![
            interface(3, "eth0", "to the moon"),
            interface(4, "eth1", ""),
        ],
        ..Announcement::default()
    };
    let mut batcher = Batcher::new(BatchOptions::new(version));
    let mut datagrams = Vec::new();
    for number in 1..=FLOWS + 1 {
        if number > FLOWS {
            datagrams.extend(batcher.flush(&now));
        }
        if [1, FLOWS / 2, FLOWS + 1].contains(&number) {
            let mut parts = batcher.parts(&said);
            while let Some(datagram) = batcher.announce(&mut parts, &now) {
                datagrams.push(datagram);
            }
        }
        if number <= FLOWS {
            datagrams.extend(batcher.push(&numbered(number, &now), &now));
        }
    }
    let datagrams = datagrams.into_iter().map(|datagram| datagram.octets);
    datagrams.collect()
}

/// A flow of so many packets of 100 octets.
fn numbered(number: u64, now: &ExportTime) -> FlowRecord {
    FlowRecord {
        v6: number.is_multiple_of(2),
        protocol: 17,
        packets: number,
        octets: 100 * number,
        start_ns: now.unix_ns - 2_000_000_000,
        end_ns: now.unix_ns - 1_000_000_000,
        ..FlowRecord::default()
    }
}

fn send(datagrams: &[Vec<u8>], port: u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in datagrams {
        socket.send_to(datagram, ("127.0.0.1", port)).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Options in the middle of flows: all of these read them, or pass them over without a word.
#[test]
fn what_weir_says_of_itself_disturbs_nobody() {
    const PACKETS: u64 = 5050;
    // nfcapd 1.7.1 does not number IPFIX's options records, which RFC 7011 section 3.1 does.
    for (version, errors) in [(Version::V9, 0), (Version::Ipfix, 2)] {
        let folder = tempfile::tempdir().unwrap();
        let datagrams = announced(version);
        let (flows, log) = nfcapd(folder.path(), &[], |port| send(&datagrams, port));
        assert_eq!(nfdump_total(&flows, "Packets"), PACKETS, "{log}");
        let counted = format!("Sequence Errors: {errors}, Bad Packets: 0");
        assert!(log.contains(&counted), "{version:?}: {log}");
        let complaint = log.lines().find(|line| {
            line.contains("Proces ") || line.starts_with("Process_") && !line.contains(": New ")
        });
        assert_eq!(complaint, None, "{log}");
        let (totals, log) = nfacctd(folder.path(), 100 * PACKETS, |port| send(&datagrams, port));
        assert_eq!(totals["127.0.0.1"], (100 * PACKETS, PACKETS), "{log}");
        assert!(
            !log.contains("expecting flow") && !log.contains("WARN"),
            "{version:?}: {log}"
        );
        let decoded = faultless(folder.path(), &datagrams);
        for name in ["eth0", "eth1", "to the moon"] {
            assert!(decoded.contains(name), "{version:?} {name}: {decoded}");
        }
        let found = collect(folder.path(), |port| send(&datagrams, port));
        assert_eq!(found["packets"], PACKETS, "{found:#}");
        let exporter = &found["exporters"][0];
        assert_eq!(exporter["lost"], 0, "{found:#}");
        let told = serde_json::json!({
            "3": { "name": "eth0", "description": "to the moon" },
            "4": { "name": "eth1", "description": "" },
        });
        assert_eq!(exporter["interfaces"], told);
        let told = serde_json::json!({
            "exported_octets": 7000, "exported_messages": 5, "exported_flows": 60,
            "ignored_packets": 0, "ignored_octets": 0,
            "not_sent_flows": 1, "not_sent_packets": 2, "not_sent_octets": 80,
        });
        assert_eq!(exporter["counters"], told);
        for counter in [
            "unknown_template_sets",
            "malformed",
            "announcements_refused",
        ] {
            assert_eq!(found[counter], 0, "{counter}: {found:#}");
        }
    }
}

/// Datagrams of flows of which one packet in ten was metered: packets and octets in them.
fn sampled(random: bool) -> (Vec<Vec<u8>>, u64, u64) {
    let now = export_time();
    let mut batcher = Batcher::new(BatchOptions {
        sampling: Sampling {
            interval: 10,
            random,
        },
        ..BatchOptions::new(Version::V9)
    });
    let (mut datagrams, mut packets, mut octets) = (Vec::new(), 0, 0);
    for number in 1..=100u64 {
        let record = numbered(number, &now);
        packets += record.packets;
        octets += record.octets;
        datagrams.extend(batcher.push(&record, &now));
    }
    datagrams.extend(batcher.flush(&now));
    let datagrams = datagrams.into_iter().map(|datagram| datagram.octets);
    (datagrams.collect(), packets, octets)
}

/// nfcapd multiplies as it stores. (It does so with v5 as well, but 1.7.1 takes one in N as one in
/// N + 1 there.)
#[test]
fn nfcapd_applies_the_sampling_weir_tells() {
    for random in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (datagrams, packets, octets) = sampled(random);
        let (flows, log) = nfcapd(folder.path(), &[], |port| send(&datagrams, port));
        assert_eq!(nfdump_total(&flows, "Flows"), 100, "{log}");
        assert_eq!(nfdump_total(&flows, "Packets"), 10 * packets, "{log}");
        assert_eq!(nfdump_total(&flows, "Bytes"), 10 * octets, "{log}");
        let mut nfdump = Command::new("nfdump");
        let raw = text(&succeed(nfdump.arg("-R").arg(&flows).args(["-o", "raw"])));
        let flags = raw.lines().filter(|line| line.contains("Flags "));
        let sampled = flags.filter(|line| line.ends_with(" Sampled"));
        assert_eq!(sampled.count(), 100, "{raw}");
    }
}

#[test]
fn tshark_decodes_what_weir_says_about_sampling() {
    let folder = tempfile::tempdir().unwrap();
    for (random, algorithm) in [(false, "Deterministic"), (true, "Random")] {
        let (datagrams, ..) = sampled(random);
        let decoded = faultless(folder.path(), &datagrams);
        for expected in ["Sampling interval: 10", &format!("algorithm: {algorithm}")] {
            assert!(decoded.contains(expected), "{expected} in {decoded}");
        }
    }
}

/// The datagrams Weir sends of a capture, and its statistics.
fn sent_by_weir(capture: &Path, version: &str) -> (Value, Vec<Vec<u8>>) {
    let (output, datagrams) = sent(&mut metering(capture, version)).unwrap();
    assert!(output.status.success(), "{version}: {output:?}");
    let sent: Value = serde_json::from_str(&text(&output)).unwrap();
    assert_eq!(sent["datagrams_sent"], datagrams.len());
    (sent, datagrams)
}

#[test]
fn tshark_decodes_what_weir_sends_without_a_warning() {
    for version in [
        "1",
        "5",
        "9",
        "10",
        "9 -A sec",
        "9 -A nano -x 10",
        "10 -A micro -x 10",
        "10 -b",
        "9 -T ether --tunnels gre --fields inner-vlan,mpls,flow-label,outer",
        "10 -T ether --tunnels gre --fields inner-vlan,mpls,flow-label,outer",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (capture, _) = capture(folder.path(), has_v6(version));
        let (sent, datagrams) = sent_by_weir(&capture, version);
        let decoded = faultless(folder.path(), &datagrams);
        // Records of options have the same heading.
        let flows = decoded.lines().filter(|line| is_flow(line)).count();
        let announced = Decoded::of(&datagrams).announced;
        let expected = announced as u64 + sent["records_exported"].as_u64().unwrap();
        assert_eq!(flows as u64, expected, "v{version}");
    }
}

#[test]
fn tshark_reads_the_fields_that_were_asked_for() {
    const FIELDS: [(&str, &str); 6] = [
        ("srcmac", "02:00:00:00:00:01"),
        ("dot1q_customer_vlan_id", "4"),
        ("mpls_label", "74565,16,0,0"),
        ("ipv6flowlabel", "843505"),
        ("pie.ntop.untunneled_ipv4_src_addr", "203.0.113.1"),
        ("pie.ntop.untunneled_ipv4_dst_addr", "203.0.113.2"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let frame = traffic::layered_frame();
    let path = folder.path().join("frame.pcap");
    let file = traffic::capture_file([&frame[..]].into_iter(), |_| 1_700_000_000_000_000);
    fs::write(&path, file).unwrap();
    // RFC 3954's destination is what IANA, and so IPFIX, has as the one behind the observation point.
    for (version, destination) in [("9", "post_dstmac"), ("10", "dstmac")] {
        let fields = [&[(destination, "02:00:00:00:00:02")][..], &FIELDS].concat();
        let mut output = vec!["-T".to_owned(), "fields".to_owned()];
        for (name, _) in &fields {
            output.extend(["-e".to_owned(), format!("cflow.{name}")]);
        }
        let output: Vec<_> = output.iter().map(String::as_str).collect();
        let arguments =
            format!("{version} --tunnels vxlan --fields mac,inner-vlan,mpls,flow-label,outer");
        let (_, datagrams) = sent_by_weir(&path, &arguments);
        let decoded = tshark(folder.path(), &datagrams, &output);
        // A line for each datagram; those that tell of the exporter have none of the fields.
        let mut lines = decoded.lines().filter(|line| !line.trim().is_empty());
        let found: Vec<_> = lines.next().unwrap().split('\t').collect();
        let expected: Vec<_> = fields.iter().map(|(_, value)| *value).collect();
        assert_eq!(found, expected, "v{version}");
    }
}

/// The collector took all of it, and nothing was wrong with it.
fn assert_clean(label: &str, found: &Value, traffic: &Traffic) {
    assert_eq!(
        found["packets"].as_u64().unwrap(),
        traffic.frames.len() as u64,
        "{label}: {found:#}"
    );
    assert_eq!(
        found["octets"].as_u64().unwrap(),
        traffic.ip_octets,
        "{label}: {found:#}"
    );
    assert_eq!(
        found["records"], found["records_written"],
        "{label}: {found:#}"
    );
    for counter in [
        "unknown_template_sets",
        "malformed",
        "unknown_version",
        "kernel_drops",
    ] {
        assert_eq!(found[counter], 0, "{label}: {found:#}");
    }
    // v1 has no numbers.
    let exporter = &found["exporters"][0];
    let lost = match exporter["version"].as_u64() {
        Some(1) => Value::Null,
        _ => Value::from(0),
    };
    assert_eq!(exporter["lost"], lost, "{label}: {found:#}");
}

#[test]
fn weir_reads_what_softflowd_sends() {
    // Its IPFIX numbers messages wrongly, see softflowd-facts: that is for a test of loss.
    for version in ["1", "5", "9"] {
        let folder = tempfile::tempdir().unwrap();
        let (capture, traffic) = capture(folder.path(), has_v6(version));
        let run = |port: u16| -> String {
            let mut command = Command::new("softflowd");
            command.arg("-r").arg(&capture).args([
                "-a",
                "-v",
                version,
                "-n",
                &format!("127.0.0.1:{port}"),
            ]);
            text(&succeed(&mut command))
        };
        let mut statistics = String::new();
        let found = collect(folder.path(), |port| statistics = run(port));
        assert_clean(&format!("softflowd v{version}"), &found, &traffic);
        // Its own account, and what nfcapd makes of the same flows; but not of v1, of which it drops
        // datagrams with more than 24 records, as softflowd sends them.
        let processed = statistics
            .lines()
            .find_map(|line| line.strip_prefix("Packets processed: "))
            .unwrap();
        assert_eq!(
            found["packets"].to_string(),
            processed.trim(),
            "v{version}\n{statistics}"
        );
        if version == "1" {
            continue;
        }
        let (flows, log) = nfcapd(folder.path(), &[], |port| drop(run(port)));
        for (name, counter) in [
            ("Flows", "records"),
            ("Packets", "packets"),
            ("Bytes", "octets"),
        ] {
            assert_eq!(
                nfdump_total(&flows, name),
                found[counter].as_u64().unwrap(),
                "v{version} {name}\n{log}"
            );
        }
    }
}

#[test]
fn weir_reads_what_pmacctd_sends() {
    // It waits for seconds before it reads and before it ends.
    std::thread::scope(|scope| {
        for version in ["5", "9", "10"] {
            scope.spawn(move || assert_pmacctd_is_read(version));
        }
    });
}

fn assert_pmacctd_is_read(version: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (capture, traffic) = capture(folder.path(), has_v6(version));
    let found = collect(folder.path(), |port| {
        let configuration = folder.path().join("pmacctd.conf");
        let lines = format!(
            "daemonize: false\npcap_savefile: {}\nplugins: nfprobe\naggregate: src_host,dst_host,src_port,dst_port,proto,tos\n\
             nfprobe_receiver: 127.0.0.1:{port}\nnfprobe_version: {version}\nnfprobe_maxflows: 65536\n",
            capture.display()
        );
        fs::write(&configuration, lines).unwrap();
        let mut command = Command::new("pmacctd");
        command.arg("-f").arg(&configuration);
        let mut daemon = Daemon::start(command, &folder.path().join("pmacctd.log")).unwrap();
        // It ends by itself when the file does; some versions wait to be told.
        if daemon.wait(Duration::from_secs(8)).is_err() {
            let _ = daemon.stop();
        }
    });
    assert_clean(&format!("pmacctd v{version}"), &found, &traffic);
}

/// A socket that takes nothing: the sensor says so, counts, and goes on.
#[test]
fn a_port_where_nobody_listens_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = capture(folder.path(), true);
    let nobody: SocketAddr = ([127, 0, 0, 1], port::free().unwrap()).into();
    let sent = weir(&capture, nobody.port(), "9");
    assert!(sent["datagrams_refused"].as_u64().unwrap() > 0, "{sent:#}");
    assert_eq!(sent["unexplained_packets"], 0);
}
