//! Debian's collectors and tshark, and Weir's collector beside them: each receives, and what it made of it is
//! told.

use std::{
    collections::HashMap,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use serde_json::Value;
use weir_tests::{
    port,
    process::{Daemon, built},
    traffic::{self, Traffic},
};

/// Where datagrams come from for tshark.
const EXPORTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The mix as a capture file, with frames no longer than their packets: softflowd counts padding.
pub fn capture(folder: &Path, v6: bool) -> (PathBuf, Traffic) {
    let traffic =
        traffic::mix(800, 3).filtered(|frame| frame.len() > 60 && (v6 || frame[12..14] == [8, 0]));
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let start_us = (now.as_secs() - 60) * 1_000_000;
    let frames = traffic.frames.iter().map(Vec::as_slice);
    let file = traffic::capture_file(frames, |index| start_us + 1000 * index);
    let path = folder.join("mix.pcap");
    fs::write(&path, file).unwrap();
    (path, traffic)
}

/// Whether the version can carry IPv6. More words may follow it.
pub fn has_v6(version: &str) -> bool {
    matches!(version.split_whitespace().next(), Some("9" | "10"))
}

pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; `cargo xtask setup --peers` installs it")
    });
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What Weir's collector makes of datagrams that `send` sends to the port.
pub fn collect(folder: &Path, send: impl FnOnce(u16)) -> Value {
    let port = port::free().unwrap();
    let mut command = built("weir-collector").unwrap();
    let statistics = folder.join("collector.json");
    command
        .arg("-w")
        .arg(folder.join("flows"))
        .args(["-l", &format!("127.0.0.1:{port}"), "--statistics-json"])
        .arg(&statistics);
    let mut collector = Daemon::start(command, &folder.join("collector.log")).unwrap();
    collector.wait_for("listening").unwrap();
    send(port);
    wait_until_read(port);
    assert!(collector.stop().unwrap().success());
    serde_json::from_str(&fs::read_to_string(statistics).unwrap()).unwrap()
}

/// Waits until who listens at a port of IPv4 has read all that came, and for a moment more.
fn wait_until_read(port: u16) {
    const AFTERWARDS: Duration = Duration::from_millis(100);
    let port = format!(":{port:04X}");
    let is_read = || {
        // A number, the address here, the one there, the state, octets to be sent and to be read.
        let sockets = fs::read_to_string("/proc/net/udp").unwrap();
        let mut sockets = sockets.lines().map(|line| line.split_whitespace());
        sockets.all(|mut words| {
            let is_other = words.nth(1).is_none_or(|here| !here.ends_with(&port));
            is_other
                || words
                    .nth(2)
                    .is_some_and(|queues| queues.ends_with(":00000000"))
        })
    };
    let mut tries = (0..1000).map(|_| std::thread::sleep(Duration::from_millis(10)));
    assert!(tries.any(|()| is_read()), "what came to {port} is not read");
    std::thread::sleep(AFTERWARDS);
}

/// A field of `nfdump -I`.
pub fn nfdump_total(folder: &Path, name: &str) -> u64 {
    let summary = text(&succeed(
        Command::new("nfdump").arg("-R").arg(folder).arg("-I"),
    ));
    let line = summary
        .lines()
        .find(|line| line.starts_with(&format!("{name}:")))
        .unwrap_or_else(|| panic!("{name} in {summary}"));
    line.split(':').nth(1).unwrap().trim().parse().unwrap()
}

/// Has nfcapd, with more words on its command line, receive what `send` sends; its folder and its log.
pub fn nfcapd(folder: &Path, more: &[&str], send: impl FnOnce(u16)) -> (PathBuf, String) {
    let (port, flows) = (port::free().unwrap(), folder.join("nfcapd"));
    fs::create_dir(&flows).unwrap();
    let mut command = Command::new("nfcapd");
    command
        .arg("-w")
        .arg(&flows)
        .args(["-b", "127.0.0.1", "-p", &port.to_string(), "-t", "3600"])
        .args(more);
    let mut daemon = Daemon::start(command, &folder.join("nfcapd.log")).unwrap();
    daemon
        .wait_for("Startup nfcapd")
        .or_else(|_| daemon.wait_for("Init"))
        .unwrap();
    // Its socket is bound before it says so.
    send(port);
    wait_until_read(port);
    let log = folder.join("nfcapd.log");
    assert!(daemon.stop().unwrap().success());
    (flows, fs::read_to_string(log).unwrap())
}

/// Has pmacct's collector receive what `send` sends, until it has so many octets: those and the packets by
/// the address they came from, and its log.
pub fn nfacctd(
    folder: &Path,
    octets: u64,
    send: impl FnOnce(u16),
) -> (HashMap<String, (u64, u64)>, String) {
    let (port, flows) = (port::free().unwrap(), folder.join("flows.json"));
    let configuration = folder.join("nfacctd.conf");
    let lines = format!(
        "daemonize: false\nnfacctd_ip: 127.0.0.1\nnfacctd_port: {port}\nnfacctd_disable_checks: false\nplugins: print\n\
         aggregate: peer_src_ip, proto\nprint_refresh_time: 1\nprint_output: json\nprint_output_file: {}\nprint_output_file_append: true\n",
        flows.display()
    );
    fs::write(&configuration, lines).unwrap();
    let mut command = Command::new("nfacctd");
    command.arg("-f").arg(&configuration);
    let mut daemon = Daemon::start(command, &folder.join("nfacctd.log")).unwrap();
    daemon.wait_for("waiting for NetFlow/IPFIX data").unwrap();
    // Its plugin, a process of its own, is not there yet: what came now would not reach it. Each second it says this.
    daemon.wait_for("Purging cache - END").unwrap();
    send(port);
    let totals = || {
        let text = fs::read_to_string(&flows).unwrap_or_default();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut totals: HashMap<String, (u64, u64)> = HashMap::new();
        for line in lines {
            let from = line["peer_ip_src"].as_str().unwrap_or_default();
            let total = totals.entry(from.to_owned()).or_default();
            total.0 += line["bytes"].as_u64().unwrap_or(0);
            total.1 += line["packets"].as_u64().unwrap_or(0);
        }
        totals
    };
    let sum = || totals().values().map(|(octets, _)| octets).sum::<u64>();
    let mut tries = (0..400).map(|_| std::thread::sleep(Duration::from_millis(50)));
    let came = tries.any(|()| sum() >= octets);
    // It takes a minute to end by itself.
    let log = daemon.log();
    assert!(came, "{} of {octets}\n{log}", sum());
    (totals(), log)
}

/// What tshark makes of datagrams, wrapped in a capture file.
pub fn tshark(folder: &Path, datagrams: &[Vec<u8>], output: &[&str]) -> String {
    decoded(folder, &[(EXPORTER, datagrams)], output)
}

/// All of it; it must not find fault with them.
pub fn faultless(folder: &Path, datagrams: &[Vec<u8>]) -> String {
    faultless_streams(folder, &[(EXPORTER, datagrams)])
}

/// The same of datagrams from several addresses.
pub fn faultless_streams(folder: &Path, streams: &[(Ipv4Addr, &[Vec<u8>])]) -> String {
    let decoded = decoded(folder, streams, &["-V"]);
    let mut addresses = "";
    for line in decoded.lines() {
        if line.starts_with("Internet Protocol") {
            addresses = line;
        }
        let words = ["Malformed", "Expert Info", "No template found", "Unknown"];
        let is_fault = words.iter().any(|word| line.contains(word));
        assert!(
            !is_fault || line.contains("Unknown (0)"),
            "{line} ({addresses})"
        );
    }
    decoded
}

fn decoded(folder: &Path, streams: &[(Ipv4Addr, &[Vec<u8>])], output: &[&str]) -> String {
    let path = folder.join("datagrams.pcap");
    fs::write(&path, pcap_of(streams)).unwrap();
    let mut command = Command::new("tshark");
    command.arg("-r").arg(&path);
    command.args(["-d", "udp.port==2055,cflow"]).args(output);
    text(&succeed(&mut command))
}

/// tshark's heading of a flow of v9 or IPFIX, or of a record of v1 or v5.
pub fn is_flow(line: &str) -> bool {
    let line = line.trim_start();
    ["Flow ", "pdu "].iter().any(|word| {
        line.strip_prefix(word)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    })
}

fn pcap_of(streams: &[(Ipv4Addr, &[Vec<u8>])]) -> Vec<u8> {
    let mut frames = Vec::new();
    for (from, datagrams) in streams {
        frames.extend(datagrams.iter().map(|datagram| in_udp(*from, datagram)));
    }
    traffic::capture_file(frames.iter().map(Vec::as_slice), |_| 1_700_000_000_000_000)
}

/// A frame with the datagram, to port 2055.
fn in_udp(from: Ipv4Addr, datagram: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    payload.extend_from_slice(&40_000u16.to_be_bytes());
    payload.extend_from_slice(&2055u16.to_be_bytes());
    payload.extend_from_slice(&u16::try_from(8 + datagram.len()).unwrap().to_be_bytes());
    payload.extend_from_slice(&[0, 0]);
    payload.extend_from_slice(datagram);
    traffic::ethernet(
        None,
        0x0800,
        &traffic::ipv4(from.octets(), [192, 0, 2, 2], 17, &payload),
    )
}
