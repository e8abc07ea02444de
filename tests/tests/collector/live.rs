//! `weir live` in a real terminal, under changing traffic: what is on the screen is what was sent.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, UdpSocket},
    os::unix::net::UnixListener,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use weir_exporter::{
    Version,
    batch::{BatchOptions, Batcher},
};
use weir_netflow::{ExportTime, FlowRecord};
use weir_tests::{process::binaries, tmux::Screen};

use crate::site::{Site, of, socket, unix_ns};

const SECOND_NS: u64 = 1_000_000_000;

/// Who tells the collector of flows.
struct Exporter<'a> {
    site: &'a Site,
    socket: UdpSocket,
    batcher: Batcher,
    begun_ns: u64,
}

impl<'a> Exporter<'a> {
    fn new(site: &'a Site) -> Self {
        Self {
            site,
            socket: socket(),
            batcher: Batcher::new(BatchOptions::new(Version::V5)),
            begun_ns: unix_ns(),
        }
    }

    /// A flow of 10.0.0.`from` to 10.0.0.9, port 80, of 100 octets a packet.
    fn send(&mut self, from: u8, octets: u64) {
        let address = |last| Ipv4Addr::new(10, 0, 0, last).to_ipv6_mapped();
        let now_ns = unix_ns();
        let record = FlowRecord {
            source: address(from),
            destination: address(9),
            source_port: 1000 + u16::from(from),
            destination_port: 80,
            protocol: 6,
            tcp_flags: 0x1b,
            octets,
            packets: octets / 100,
            start_ns: now_ns - 2 * SECOND_NS,
            end_ns: now_ns - SECOND_NS,
            ..FlowRecord::default()
        };
        let time = ExportTime {
            unix_ns: now_ns,
            uptime_ms: 3_600_000 + (now_ns - self.begun_ns) / 1_000_000,
        };
        let mut datagrams: Vec<_> = self.batcher.push(&record, &time).into_iter().collect();
        datagrams.extend(self.batcher.flush(&time));
        for datagram in datagrams {
            let sent = self.socket.send_to(&datagram.octets, self.site.address());
            sent.unwrap();
        }
    }
}

fn weir() -> String {
    binaries().unwrap().join("weir").display().to_string()
}

fn live(site: &Site, words: &str) -> String {
    format!("{} live -r {} {words}", weir(), site.flows().display())
}

/// Whether one line, and only one, has these words behind one another, and the numbers anywhere.
fn has(lines: &[String], words: &str, numbers: &[&str]) -> bool {
    let found: Vec<_> = lines.iter().filter(|line| line.contains(words)).collect();
    let [line] = found[..] else {
        return false;
    };
    let line_words: Vec<&str> = line.split(' ').collect();
    numbers.iter().all(|number| line_words.contains(number))
}

#[expect(clippy::too_many_lines, reason = "one session, from beginning to end")]
#[test]
fn the_screen_follows_the_traffic_and_the_keys() {
    let site = Site::new();
    let collector = site.start("");
    let mut exporter = Exporter::new(&site);
    let screen = Screen::run(&live(&site, "-i 300ms")).unwrap();
    screen
        .wait_for("help", |lines| {
            lines.iter().any(|line| line.starts_with("q quit"))
        })
        .unwrap();
    exporter.send(1, 15_000);
    let first = "export tcp 10.0.0.1:1001 10.0.0.9:80";
    screen
        .wait_for("flow", |lines| has(lines, first, &["15,000", "150"]))
        .unwrap();
    // The same flow again is the same line.
    exporter.send(1, 5000);
    exporter.send(2, 3000);
    let second = "export tcp 10.0.0.2:1002 10.0.0.9:80";
    screen
        .wait_for("two flows", |lines| {
            has(lines, first, &["20,000", "200"]) && has(lines, second, &["3,000", "30"])
        })
        .unwrap();
    screen.write("/src ip 10.0.0.2").unwrap();
    screen
        .wait_for("filtered flow", |lines| {
            has(lines, second, &["3,000"]) && !lines.iter().any(|line| line.contains(first))
        })
        .unwrap();
    screen.press(&["Escape"]).unwrap();
    screen
        .wait_for("all flows", |lines| has(lines, first, &["20,000"]))
        .unwrap();
    // Once nothing comes, octets decide among hosts without rates: the server has most.
    screen.press(&["Tab"]).unwrap();
    screen
        .wait_for("hosts", |lines| {
            lines
                .get(2)
                .is_some_and(|line| line.starts_with("10.0.0.9 0 0 23,000 230 2 0"))
        })
        .unwrap();
    screen.press(&["Enter"]).unwrap();
    screen
        .wait_for("peers", |lines| {
            lines[0].contains("2 peers of 10.0.0.9") && lines[2].starts_with("10.0.0.1 ")
        })
        .unwrap();
    screen.press(&["Enter"]).unwrap();
    screen
        .wait_for("flows of two", |lines| {
            lines[0].contains("1 flows of 10.0.0.9 and 10.0.0.1") && has(lines, first, &["20,000"])
        })
        .unwrap();
    screen.press(&["p"]).unwrap();
    screen
        .wait_for("pause", |lines| lines[0].contains("PAUSED"))
        .unwrap();
    exporter.send(1, 700);
    thread::sleep(Duration::from_secs(3));
    assert!(has(&screen.lines().unwrap(), first, &["20,000"]));
    screen.press(&["p"]).unwrap();
    screen
        .wait_for("what came meanwhile", |lines| {
            has(lines, first, &["20,700"])
        })
        .unwrap();
    screen.press(&["q"]).unwrap();
    let lines = screen
        .wait_for("end", |lines| {
            lines.iter().any(|line| line == "cooked" || line == "raw")
        })
        .unwrap();
    assert!(
        lines.contains(&"ended 0".to_owned()) && lines.contains(&"cooked".to_owned()),
        "{lines:?}"
    );
    assert!(
        !lines.iter().any(|line| line.starts_with("q quit")),
        "{lines:?}"
    );
    assert!(collector.stop().unwrap().success());
}

/// Whichever signal ends it, the shell behind it gets its lines and its screen back, and is told of the signal.
#[test]
fn a_signal_gives_the_terminal_back() {
    let site = Site::new();
    let collector = site.start("");
    let is_help = |line: &String| line.starts_with("q quit");
    for (signal, status) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        // The shell makes way for the program, whose process id is then the one it wrote.
        let pid = site.path("pid");
        let command = format!(
            "sh -c 'echo $$ > {}; exec {}'",
            pid.display(),
            live(&site, "")
        );
        let screen = Screen::run(&command).unwrap();
        screen
            .wait_for("help", |lines| lines.iter().any(is_help))
            .unwrap();
        let kill = format!("kill -s {signal} $(cat {})", pid.display());
        let told = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(told.success(), "{signal}");
        let lines = screen
            .wait_for("end", |lines| {
                lines.iter().any(|line| line == "cooked" || line == "raw")
            })
            .unwrap();
        assert!(
            lines.contains(&"cooked".to_owned()) && !lines.iter().any(is_help),
            "{signal}: {lines:?}"
        );
        assert!(
            lines.contains(&format!("ended {status}")),
            "{signal}: {lines:?}"
        );
    }
    assert!(collector.stop().unwrap().success());
}

/// The socket of a sensor that cannot tell its flows.
fn old_sensor(site: &Site) -> PathBuf {
    let path = site.path("old-sensor");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Who only looked whether somebody listens has gone.
            let _ = BufReader::new(&stream).read_line(&mut String::new());
            let _ = (&stream).write_all(b"Unknown control command\n");
        }
    });
    path
}

#[test]
fn without_a_terminal_it_is_a_table_or_objects() {
    let site = Site::new();
    let collector = site.start("");
    Exporter::new(&site).send(1, 15_000);
    // The collector appends what it has at least once a second.
    thread::sleep(Duration::from_secs(2));
    let run = |words: &str| {
        let output = Command::new("sh")
            .args(["-c", &live(&site, words)])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            said,
        )
    };
    let (status, table, said) = run("-i 200ms");
    assert_eq!((status, said.as_str()), (Some(0), ""));
    assert!(
        table.lines().count() < 6 && table.contains("10.0.0.1:1001") && table.contains("15,000"),
        "{table}"
    );
    let (_, object, _) = run("-i 200ms --once --json dst port 80");
    let object: Value = serde_json::from_str(&object).unwrap();
    let line = &object["lines"][0];
    assert_eq!((of(line, "octets"), of(line, "packets")), (15_000, 150));
    assert_eq!(line["src"], "10.0.0.1:1001");
    let (status, _, said) = run("dst bort 80");
    assert!(
        status == Some(2) && said.contains("did you mean `port`?"),
        "{said}"
    );
    let (status, _, said) = run("-c /no/such/socket");
    assert!(
        status == Some(1) && said.contains("no sensor answers at /no/such/socket"),
        "{said}"
    );
    // One that cannot tell its flows: what arrived is shown, and is no whole answer.
    let path = old_sensor(&site);
    let (status, table, said) = run(&format!("-i 200ms --once -c {}", path.display()));
    assert!(
        status == Some(1) && table.contains("15,000") && said.contains("older than this weir"),
        "{table} {said}"
    );
    assert!(collector.stop().unwrap().success());
}

/// The time of day of an object, seconds.
fn time_s(object: &Value) -> f64 {
    let text = object["time"].as_str().unwrap();
    let clock = text.split_once('T').unwrap().1.trim_end_matches('Z');
    let parts = clock.split(':').map(|part| part.parse::<f64>().unwrap());
    parts.fold(0.0, |sum, part| sum * 60.0 + part)
}

/// Rates times the time between looks are the octets that came.
#[test]
#[expect(clippy::cast_precision_loss, reason = "octets to a tenth")]
fn rates_add_up_to_what_was_sent() {
    const SENT: u64 = 10;
    let site = Site::new();
    let collector = site.start("");
    let mut exporter = Exporter::new(&site);
    let mut command = Command::new(weir());
    command
        .args(["live", "--json", "-i", "400ms", "-r"])
        .arg(site.flows());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let mut before_s = time_s(&next());
    for _ in 0..SENT {
        exporter.send(1, 100_000);
        thread::sleep(Duration::from_millis(300));
    }
    let mut octets = 0.0;
    for _ in 0..60 {
        let object = next();
        let now_s = time_s(&object);
        let line = &object["lines"][0];
        if let Some(bits) = line["bps"].as_u64() {
            // Midnight may come in between.
            octets += bits as f64 / 8.0 * (now_s - before_s).rem_euclid(86_400.0);
        }
        before_s = now_s;
        let is_all = line["octets"] == SENT * 100_000;
        if is_all && line["bps"] == 0 {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let sent = (SENT * 100_000) as f64;
    assert!((octets / sent - 1.0).abs() < 0.1, "{octets} of {sent}");
    assert!(collector.stop().unwrap().success());
}

/// Signatures over what arrives: who begins to match is told of once, with `--once` who does now.
#[test]
fn signatures_are_looked_for_in_what_arrives() {
    let site = Site::new();
    let collector = site.start("");
    let mut exporter = Exporter::new(&site);
    let library = site.path("library");
    std::fs::create_dir_all(library.join("signatures")).unwrap();
    let own = "[probe]\nfilter = 'dst port 80 and packets = 3'\nby = 'destination'\ntargets = 3\n\
        [prober]\nfilter = 'dst port 80 and packets = 3'\n";
    std::fs::write(library.join("signatures/own.toml"), own).unwrap();
    let command = |name: &str, more: &[&str]| {
        let mut command = Command::new(weir());
        command.args(["signature", name, "--live", "--json", "-i", "200ms"]);
        command.args(more).arg("-r").arg(site.flows());
        command.arg("--library").arg(&library);
        command
    };
    let mut child = command("probe", &[])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // Two of them are no match, and a flow of another kind makes none.
    for (from, octets) in [(1, 300), (2, 300), (3, 900)] {
        exporter.send(from, octets);
    }
    thread::sleep(Duration::from_secs(2));
    let now = || -> Value {
        let output = command("probe", &["--once"]).output().unwrap();
        assert!(output.status.success());
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert_eq!(now(), serde_json::json!([]));
    exporter.send(4, 300);
    let object: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    for found in [&object, &now()[0]] {
        assert_eq!(found["signature"], "probe");
        assert_eq!(found["host"], "10.0.0.9");
        let counts = ["targets", "flows", "open_flows", "octets"].map(|name| of(found, name));
        assert_eq!(counts, [3, 3, 0, 900]);
    }
    // The first object was the only one: the others were no match.
    assert!(lines.next().is_none());
    // Three have probed: a look tells of one, and of how many more there are.
    let mut command_of_one = command("prober", &["-n", "1"]);
    let piped = command_of_one.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let said = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = said.map(Result::unwrap);
    assert!(said.any(|line| line.contains("2 hosts more match")));
    child.kill().unwrap();
    child.wait().unwrap();
    let told = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(told.count(), 1);
    // What arrived is told, and is no whole answer without what is open.
    let path = old_sensor(&site);
    let output = command("probe", &["--once", "-c", path.to_str().unwrap()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.matches("older than this weir").count(), 1, "{said}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found[0]["host"], "10.0.0.9");
    let output = command("probe", &["-c", "/no/such/socket"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && said.contains("no sensor answers at /no/such/socket"),
        "{said}"
    );
    assert!(collector.stop().unwrap().success());
    // The window is closed, and what was in it arrived a moment ago nevertheless.
    assert_eq!(of(&now()[0], "flows"), 3);
}
