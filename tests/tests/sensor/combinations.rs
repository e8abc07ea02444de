//! Every version with every option that changes what is sent, by either name: the numbers are exact, the
//! totals the capture's, and Debian's collectors, tshark and Weir's own read it without a warning.

use std::{
    io::Read as _,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::unix::fs::symlink,
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use weir_tests::{
    process::binaries,
    sent::{self, Datagrams},
};

use crate::{
    peer::{capture, collect, faultless_streams, has_v6, nfacctd, nfcapd, nfdump_total, succeed},
    world::Decoded,
};

const PROGRAMS: [&str; 2] = ["weir-sensor", "softflowd"];
const OPTIONS: [&str; 8] = [
    "", "-A sec", "-A nano", "-b", "-x 10", "-s 10", "-L 9", "-T ether",
];
const FIELDS: &str = "--fields mac,inner-vlan,mpls,flow-label";

/// How messages come to the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Udp,
    /// To an IPv6 address.
    Udp6,
    /// To two collectors that take turns.
    InTurn,
    Tcp,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    program: &'static str,
    version: &'static str,
    options: &'static str,
    way: Way,
}

impl Row {
    /// Debian's collectors know nothing of the second direction in a record.
    fn is_biflow(&self) -> bool {
        self.version == "10" && self.options == "-b"
    }
}

/// What came to one collector.
struct Stream {
    row: Row,
    datagrams: Datagrams,
    decoded: Decoded,
}

fn rows(version: &'static str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |program, options, way| {
        rows.push(Row {
            program,
            version,
            options,
            way,
        });
    };
    for program in PROGRAMS {
        for options in OPTIONS {
            add(program, options, Way::Udp);
        }
        add(program, "", Way::Udp6);
        add(program, "", Way::InTurn);
        if version == "10" {
            add(program, "", Way::Tcp);
        }
    }
    if has_v6(version) {
        add("weir-sensor", FIELDS, Way::Udp);
    }
    rows
}

/// What a program under its name in the folder sends of a capture, to each of the collectors.
fn sent_of(folder: &Path, capture: &Path, row: Row) -> Vec<Datagrams> {
    let mut command = Command::new(folder.join(row.program));
    command.arg("-r").arg(capture).args(["-v", row.version]);
    command.args(row.options.split_whitespace());
    match row.way {
        Way::Udp => sent_to(&["127.0.0.1:0"], command),
        Way::Udp6 => sent_to(&["[::1]:0"], command),
        Way::InTurn => {
            command.arg("-l");
            sent_to(&["127.0.0.1:0"; 2], command)
        }
        Way::Tcp => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let reader = thread::spawn(move || {
                let mut octets = Vec::new();
                let (mut connection, _) = listener.accept().unwrap();
                connection.read_to_end(&mut octets).unwrap();
                octets
            });
            succeed(command.args(["-P", "tcp", "-n", &address]));
            vec![sent::messages(&reader.join().unwrap()).unwrap()]
        }
    }
}

/// What a program sends to collectors at addresses like these, to each of them.
fn sent_to(addresses: &[&str], mut command: Command) -> Vec<Datagrams> {
    let listen = |address: &&str| sent::listen(address).unwrap();
    let sockets: Vec<_> = addresses.iter().map(listen).collect();
    let bound = sockets
        .iter()
        .map(|socket| socket.local_addr().unwrap().to_string());
    command.args(["-n", &bound.collect::<Vec<_>>().join(",")]);
    let (datagrams, _) = sent::received(&sockets, || succeed(&mut command));
    datagrams
}

/// v5 numbers records, v9 datagrams (softflowd's from one), IPFIX data records; v1 has no numbers.
fn assert_numbers(row: Row, decoded: &Decoded) {
    let mut expected = usize::from(row.version == "9" && row.program == "softflowd");
    for (sequence, claimed, there) in &decoded.counts {
        assert_eq!((*sequence as usize, claimed), (expected, there), "{row:?}");
        expected += match row.version {
            "1" => 0,
            "9" => 1,
            _ => *there,
        };
    }
}

/// The errors that nfcapd 1.7.1 counts. It does not number IPFIX's options records, which RFC 7011 section 3.1
/// does: the message after some is one, if there were flows before.
fn nfcapd_errors(stream: &Stream) -> u64 {
    if stream.row.version != "10" {
        return 0;
    }
    let flows = |messages: usize| {
        let before = Decoded::of(&stream.datagrams[..messages]);
        let data: usize = before.counts.iter().map(|(_, _, data)| data).sum();
        data - before.announced
    };
    let (mut expected, mut errors) = (0, 0);
    for (index, (sequence, ..)) in stream.decoded.counts.iter().enumerate() {
        let before = flows(index);
        errors += u64::from(*sequence as usize != expected && before > 0);
        expected = *sequence as usize + flows(index + 1) - before;
    }
    errors
}

/// Sends each stream from an address of its own, so that each is an exporter.
fn replay<'a>(streams: impl Iterator<Item = &'a (Ipv4Addr, Stream)>, port: u16) {
    for (from, stream) in streams {
        let socket = UdpSocket::bind((*from, 0)).unwrap();
        for datagram in &stream.datagrams {
            socket.send_to(datagram, ("127.0.0.1", port)).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn sums<'a>(streams: impl Iterator<Item = &'a (Ipv4Addr, Stream)>) -> (u64, u64) {
    streams.fold((0, 0), |(packets, octets), (_, stream)| {
        let (more_packets, more_octets) = stream.decoded.sums();
        (packets + more_packets, octets + more_octets)
    })
}

/// All rows of a version, each checked by itself.
fn streams(folder: &Path, version: &'static str) -> Vec<(Ipv4Addr, Stream)> {
    let (capture, traffic) = capture(folder, has_v6(version));
    for program in PROGRAMS {
        let ours = binaries().unwrap().join("weir-sensor");
        symlink(ours, folder.join(program)).unwrap();
    }
    let mut streams: Vec<(Ipv4Addr, Stream)> = Vec::new();
    for row in rows(version) {
        let first = streams.len();
        for datagrams in sent_of(folder, &capture, row) {
            let decoded = Decoded::of(&datagrams);
            assert_eq!(decoded.unreadable, 0, "{row:?}");
            assert_numbers(row, &decoded);
            let from = Ipv4Addr::new(127, 0, 1, u8::try_from(streams.len() + 1).unwrap());
            let stream = Stream {
                row,
                datagrams,
                decoded,
            };
            streams.push((from, stream));
        }
        let (packets, octets) = sums(streams[first..].iter());
        let all = traffic.frames.len() as u64;
        if row.options == "-s 10" {
            assert_eq!(packets, all.div_ceil(10), "{row:?}");
        } else {
            assert_eq!((packets, octets), (all, traffic.ip_octets), "{row:?}");
        }
    }
    streams
}

fn assert_read(version: &'static str) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let streams = streams(folder, version);
    let by_address = streams.iter().map(|(from, stream)| {
        eprintln!("{from}: {:?}", stream.row);
        (*from, stream.datagrams.as_slice())
    });
    faultless_streams(folder, &by_address.collect::<Vec<_>>());
    // With -s -1 it leaves sampled counts as they are; IPFIX's it leaves anyway, but with -s -1 takes each packet
    // for 2³² - 1.
    let as_they_are: &[&str] = if version == "10" { &[] } else { &["-s", "-1"] };
    let of_one_way = || streams.iter().filter(|(_, stream)| !stream.row.is_biflow());
    let (flows, log) = nfcapd(folder, as_they_are, |port| replay(of_one_way(), port));
    let (packets, octets) = sums(of_one_way());
    assert_eq!(nfdump_total(&flows, "Packets"), packets, "{log}");
    assert_eq!(nfdump_total(&flows, "Bytes"), octets, "{log}");
    let errors: u64 = of_one_way().map(|(_, stream)| nfcapd_errors(stream)).sum();
    let counted = format!("Sequence Errors: {errors}, Bad Packets: 0");
    assert!(log.contains(&counted), "not `{counted}`: {log}");
    // It does not know v1.
    if version != "1" {
        let (totals, log) = nfacctd(folder, octets, |port| replay(of_one_way(), port));
        for (from, stream) in of_one_way() {
            let (packets, octets) = stream.decoded.sums();
            let found = totals.get(&from.to_string());
            assert_eq!(found, Some(&(octets, packets)), "{:?}: {log}", stream.row);
        }
        assert!(
            !log.contains("expecting flow") && !log.contains("WARN"),
            "{log}"
        );
    }
    let found = collect(folder, |port| replay(streams.iter(), port));
    let (packets, octets) = sums(streams.iter());
    assert_eq!(found["packets"], packets, "{found:#}");
    assert_eq!(found["octets"], octets, "{found:#}");
    for counter in ["unknown_template_sets", "malformed", "unknown_version"] {
        assert_eq!(found[counter], 0, "{counter}: {found:#}");
    }
    let exporters = found["exporters"].as_array().unwrap();
    assert_eq!(exporters.len(), streams.len());
    for exporter in exporters {
        let lost = exporter["lost"].as_u64();
        // v1 has no numbers to tell by.
        let expected = (version != "1").then_some(0);
        assert_eq!(lost, expected, "{exporter:#}");
    }
}

#[test]
fn v1_is_read_whatever_the_options() {
    assert_read("1");
}

#[test]
fn v5_is_read_whatever_the_options() {
    assert_read("5");
}

#[test]
fn v9_is_read_whatever_the_options() {
    assert_read("9");
}

#[test]
fn ipfix_is_read_whatever_the_options() {
    assert_read("10");
}
