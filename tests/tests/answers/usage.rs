//! Who uses the network, with whom and for what.

use std::{fs, process::Command};

use serde_json::{Value, json};
use weir_tests::process::succeed;

use crate::archive::{Archive, Flow, TCP, UDP, column};

#[test]
fn q1_who_takes_most_of_the_bandwidth() {
    let upload = Flow::new(30_000, "10.1.0.77", "203.0.113.9", TCP, 8443);
    let archive = Archive::of([upload.counts(40_000_000, 50_000_000_000).lasts(600)]);
    let answer = archive.json(&["top", "--by", "srcip/bytes/flows", "-n", "3"]);
    let statistics = &answer["statistics"];
    assert_eq!(statistics[0]["rows"][0]["key"], "10.1.0.77");
    assert_eq!(statistics[0]["rows"][0]["octets"], 50_000_000_000u64);
    assert!(statistics[0]["rows"][0]["share"].as_f64().unwrap() > 0.99);
    // By flows it is another: names are asked for most often.
    assert_eq!(statistics[1]["rows"][0]["key"], "10.0.0.53");
    let text = archive.text(&["top", "-n", "3"]);
    assert!(
        text.contains(" others ") && text.contains("\nall "),
        "{text}"
    );
    assert!(
        text.contains("flows, from 48 closed and 0 open files"),
        "{text}"
    );
}

/// Files have what was sent; what that stands for is had on request. Filters are of what is shown.
#[test]
fn q1_sampled_flows_count_for_all_packets_if_they_are_to() {
    let sampled = Flow::new(10, "10.1.0.7", "10.1.0.8", TCP, 80).counts(10, 5000);
    let other = Flow::new(20, "10.1.0.9", "10.1.0.8", TCP, 80).counts(20, 9000);
    let archive = Archive::new(&[sampled.sampled(100), other], false, 0);
    for (more, keys, octets, packets) in [
        (&[][..], ["10.1.0.9", "10.1.0.7"], [9000, 5000], [20, 10]),
        (
            &["--scaled"][..],
            ["10.1.0.7", "10.1.0.9"],
            [500_000, 9000],
            [1000, 20],
        ),
    ] {
        let answer = archive.json(&[&["top"][..], more].concat());
        let rows = &answer["statistics"][0]["rows"];
        assert_eq!(column(rows, "key"), keys);
        assert_eq!(column(rows, "octets"), octets);
        assert_eq!(column(rows, "packets"), packets);
        let large = archive.json(&[&["flows", "bytes > 100k"][..], more].concat());
        assert_eq!(
            large["flows"].as_array().unwrap().len(),
            more.len(),
            "{large:#}"
        );
    }
    // Whoever reads an answer is told.
    for (asked, words) in [
        (
            &["top"][..],
            "one packet in up to 100: octets and packets are of those",
        ),
        (
            &["top", "--scaled"][..],
            "one packet in up to 100: octets and packets are multiplied",
        ),
    ] {
        let text = archive.text(asked);
        assert!(text.contains(words), "{text}");
    }
    // nfdump's files have no place for the interval: what is exported into them is multiplied, and once.
    for (more, name) in [(&[][..], "one.nfdump"), (&["--scaled"][..], "two.nfdump")] {
        let file = archive.folder.path().join(name);
        let export = ["export", "-w", file.to_str().unwrap()];
        let said = archive.text(&[&export[..], more].concat());
        assert!(said.contains("octets and packets are multiplied"), "{said}");
        let mut nfdump = Command::new("nfdump");
        nfdump.args(["-q", "-N", "-o", "fmt:%pkt %byt", "-r"]);
        let text = succeed(nfdump.arg(&file).arg("any"));
        let lines = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut lines: Vec<_> = lines.filter(|words| !words.is_empty()).collect();
        lines.sort();
        assert_eq!(lines, [["1000", "500000"], ["20", "9000"]]);
    }
    // Who exports them would have them multiplied twice.
    let mut export = archive.command(&["export", "--scaled", "-w", "/no/such/folder/x.csv"]);
    let said = String::from_utf8(export.output().unwrap().stderr).unwrap();
    assert!(said.contains("leave --scaled out"), "{said}");
}

#[test]
fn q2_which_server_has_most_connections_and_clients() {
    let clients = (0..500u64).flat_map(|at| {
        let client = format!("172.20.{}.{}", at / 250, at % 250);
        let connection = Flow::new(1000 + at, &client, "10.2.0.80", TCP, 443);
        [connection, connection.back()]
    });
    // One client that comes back a thousand times is no thousand clients.
    let one = (0..1000u64).map(|at| Flow::new(at, "172.21.0.1", "10.2.0.81", TCP, 443));
    let archive = Archive::of(clients.chain(one));
    let servers = [
        "top",
        "--by",
        "dstip",
        "--order",
        "distinct(srcip)",
        "flags S and dst port 443",
    ];
    let answer = archive.json(&servers);
    let first = &answer["statistics"][0]["rows"][0];
    assert_eq!(first["key"], "10.2.0.80");
    assert_eq!(first["distinct(srcip)"], 500);
    // Who counts once for each server is no part of a whole.
    let headings = |text: String| text.lines().next().unwrap().to_owned();
    assert!(headings(archive.text(&servers)).ends_with("distinct(srcip)"));
    assert!(headings(archive.text(&["top"])).ends_with('%'));
    let busiest = archive.json(&["top", "--by", "dstip", "--order", "flows", "dst port 443"]);
    assert_eq!(busiest["statistics"][0]["rows"][0]["key"], "10.2.0.81");
}

#[test]
fn q3_who_uses_a_vpn() {
    let tunnel = Flow::new(20_000, "10.1.0.13", "198.18.7.7", UDP, 1194).lasts(3000);
    let archive = Archive::of([
        tunnel.counts(10_000, 9_000_000),
        tunnel.back().counts(9000, 30_000_000),
    ]);
    let answer = archive.json(&["who", "vpn"]);
    let users = &answer["users"];
    assert_eq!(column(users, "user"), ["10.1.0.13"]);
    let user = &users[0];
    assert_eq!(
        (&user["what"], &user["peer"]),
        (&json!("openvpn"), &json!("198.18.7.7"))
    );
    assert_eq!(user["answered"], true);
    assert_eq!(
        (&user["sent_octets"], &user["received_octets"]),
        (&json!(9_000_000), &json!(30_000_000))
    );
}

/// What was said and what was answered is one line, the side that began first.
#[test]
fn q3_a_conversation_is_one_line() {
    let tunnel = Flow::new(20_000, "10.1.0.13", "198.18.7.7", UDP, 1194).lasts(3000);
    let answer = Flow::new(20_001, "10.1.0.13", "198.18.7.7", UDP, 1194).lasts(3000);
    let archive = Archive::of([
        answer.back().counts(9000, 30_000_000),
        tunnel.counts(10_000, 9_000_000),
    ]);
    let filter = "host 198.18.7.7";
    let text = archive.text(&["flows", "-o", "bilong", filter]);
    let lines: Vec<_> = text.lines().collect();
    let words: Vec<_> = lines[1].split_whitespace().collect();
    assert_eq!(
        words[2..],
        [
            "3001.000",
            "UDP",
            "10.1.0.13:40000",
            "<->",
            "198.18.7.7:1194",
            "........",
            "0",
            "9000",
            "10000",
            "30000000",
            "9000000",
            "2"
        ],
        "{text}"
    );
    // Of both lines of the files, and no others.
    assert!(text.contains("\n2 of "), "{text}");
    let document = archive.json(&["flows", "-b", filter]);
    let [flow] = &document["flows"].as_array().unwrap()[..] else {
        panic!("{document}");
    };
    let counts = ["octets", "out_octets", "flows"].map(|name| flow[name].as_u64());
    assert_eq!(counts, [Some(9_000_000), Some(30_000_000), Some(2)]);
    // Of these lines only those that nobody answered: none of this tunnel.
    let unanswered = archive.json(&["flows", "-b", "-P", "out packets = 0", filter]);
    assert_eq!(unanswered["flows"], json!([]));
    let answered = archive.json(&["flows", "-b", "-P", "out bytes > bytes", filter]);
    assert_eq!(answered["flows"], document["flows"]);
    // Of groups as of statistics the whole is told, too.
    let groups = archive.json(&["group", "--by", "proto", filter]);
    assert_eq!(groups["total"]["octets"], 39_000_000);
    let connections = archive.json(&["group", "--biflow", "-n", "1", "any"]);
    assert_eq!(connections["connections_in_all"], 1568);
    let text = archive.text(&["group", "--biflow", "-n", "1", "any"]);
    assert!(
        text.contains("all, with 1,567 that are not shown"),
        "{text}"
    );
    // Most of it is web traffic: fewer lines than flows, sorted by what is asked.
    let most = archive.text(&["flows", "-b", "-O", "bytes", "-n", "1", "any"]);
    assert!(most.contains("198.18.7.7:1194"), "{most}");
}

#[test]
fn q7_which_ports_are_used_most() {
    let archive = Archive::of([Flow::new(100, "10.1.0.8", "10.1.0.9", TCP, 9999).counts(1, 60)]);
    let answer = archive.json(&[
        "top",
        "--by",
        "dstport:p",
        "--order",
        "flows",
        "dst port < 1024",
    ]);
    let first = &answer["statistics"][0]["rows"][0];
    assert_eq!(
        (&first["proto"], &first["dstport"]),
        (&json!("tcp"), &json!(443))
    );
    let stat = archive.text(&["stat", "5", "-S2", "-n", "3"]);
    let words =
        |line: usize| -> Vec<&str> { stat.lines().nth(line).unwrap().split_whitespace().collect() };
    assert_eq!(
        words(0),
        ["Destination", "port", "Flows", "Octets", "Packets"]
    );
    assert_eq!((words(1)[0], words(2)[0]), ("40000", "443"), "{stat}");
    let all = archive.json(&["stat", "9", "-s1"]);
    let least = archive.json(&["stat", "9", "-s1", "-n", "3"]);
    let lines = all["lines"].as_array().unwrap();
    assert_eq!(least["lines"].as_array().unwrap()[..], lines[..3]);
    assert_eq!(least["groups_in_all"], lines.len());
    assert_eq!(all["groups_in_all"], Value::Null);
    let groups = archive.json(&["group", "--by", "srcip/16", "--having", "flows > 5000"]);
    assert_eq!(column(&groups["groups"], "srcip/16"), ["10.1.0.0/16"]);
}

#[track_caller]
fn is_refused(archive: &Archive, asked: &[&str], words: &str) {
    let output = archive.command(asked).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{asked:?}: {said}");
    assert!(said.contains(words), "{asked:?}: {said}");
}

/// A file that a question takes words from is a part of it, whichever it is.
#[test]
fn a_wrong_file_is_a_wrong_question() {
    let archive = Archive::new(&[Flow::new(60, "10.1.0.1", "10.1.0.2", TCP, 443)], false, 0);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let wrong = file("wrong", b"\nsrc bort 80\n");
    let octets = file("octets", b"\xff\xfe");
    let network = file("names.csv", b"10.0.0.0/33,web\n");
    let database = file("names.mmdb", b"no database");
    let unnamed = file("unnamed.toml", b"[a]\nabout = 'no filter'\n");
    let broken = file("broken.toml", b"[a");
    let misread = file("misread.toml", b"[a]\nfilter = 'src bort 80'\n");
    let (within, included) = (format!("src ip in @{wrong}"), format!("@include {wrong}"));
    for (asked, words) in [
        (&["top", "-f", &wrong][..], "^^^^ "),
        (&["top", "-f", "/no/such/file"][..], "cannot read /no/such/"),
        (&["top", "-f", &octets][..], "no text (UTF-8)"),
        (&["top", "-f", "/dev/zero"][..], "more than 64 MiB"),
        (&["top", &within][..], "line 2: "),
        (&["top", &included][..], "/wrong: "),
        (&["top", "src ip in @/no/such/set"][..], "there is no file"),
        (&["top", "@include /no/such/file"][..], "there is no file"),
        (&["top", "--acl", &wrong, "edge"][..], "line 2: "),
        (
            &["top", "--acl", "/no/list", "edge"][..],
            "cannot read /no/list",
        ),
        (&["top", "-F", &wrong, "edge"][..], "line 2: "),
        (
            &["top", "-F", "/no/list", "edge"][..],
            "cannot read /no/list",
        ),
        (&["top", "--names", &network][..], "line 1: at most 32"),
        (&["top", "--names", &database][..], "cannot take names from"),
        (
            &["top", "--names", "/no/names"][..],
            "cannot take names from",
        ),
        (&["who", &wrong][..], "line 2: write LABEL: FILTER"),
        (&["who", &octets][..], "no text (UTF-8)"),
        (
            &["signature", "--check", &unnamed][..],
            "a `filter` is missing",
        ),
        (&["signature", "--check", &broken][..], "this is no TOML"),
        (&["signature", "--check", &misread][..], "signature a: "),
        (
            &["signature", "--check", "/no/file"][..],
            "cannot read /no/file",
        ),
    ] {
        is_refused(&archive, asked, words);
    }
}

/// What is asked wrongly is a usage error, and what a command cannot heed is not ignored.
#[test]
fn what_is_asked_wrongly_is_told() {
    let archive = Archive::new(&[Flow::new(60, "10.1.0.1", "10.1.0.2", TCP, 443)], false, 0);
    for (asked, words) in [
        (&["flows", "-O", "size"][..], "no order is called `size`"),
        (&["flows", "-o", "fmt:%nosuch"][..], "token %nosuch"),
        (
            &["flows", "-P", "flows > 1"][..],
            "lines of both directions",
        ),
        (&["flows", "-b", "-P", "src vlan 1"][..], "has no `vlan`"),
        (&["flows", "-o", "csv", "--json"][..], "cannot be used with"),
        (&["top", "-o", "csv", "--json"][..], "cannot be used with"),
        (&["top", "--order", "size"][..], "no order is called `size`"),
        (
            &["top", "--by", "srcip/bytes", "--order", "flows"][..],
            "orders of their own",
        ),
        (&["top", "--order", "distinct(size)"][..], "no element"),
        (&["top", "--distinct", "ip"][..], "on both sides of a flow"),
        (&["top", "--acl", "/dev/null", "edge"][..], "no list `edge`"),
        (
            &["group", "--by", "srcip", "--having", "dst port 1"][..],
            "the groups have no dst_port",
        ),
        (&["stat", "0", "-S2"][..], "has no lines to sort"),
        (&["stat", "9", "-S9"][..], "there is no column 9"),
        (&["signature", "nosuch"][..], "no signature is called"),
        (
            &["signature", "--list", "-n", "3"][..],
            "cannot be used with",
        ),
        (&["signature", "all", "-i", "1s"][..], "--live"),
        (&["who", "nosuch"][..], "no catalogue"),
        (&["top", "--by", "srcname"][..], "no names are known"),
        (&["top", "--by", "srccountry"][..], "a MaxMind database"),
        (
            &["export", "-w", "x.csv", "--compression", "zstd"][..],
            "leave it out",
        ),
        (&["series", "--every", "1ns"][..], "fits here"),
        (&["sql", "selct 1"][..], "an SQL statement fits here"),
    ] {
        is_refused(&archive, asked, words);
    }
    // 0 is no limit, as everywhere.
    let flows = archive.json(&["flows", "-n", "0"]);
    assert_eq!(flows["flows"].as_array().unwrap().len(), 1);
    // Who asks where nothing ever came is told.
    let empty = Archive::new(&[], false, 0);
    let text = empty.text(&["top"]);
    assert!(text.contains("nothing was ever received here"), "{text}");
}

/// As in nfdump: traffic classes and the bottom of a stack make no other label.
#[test]
fn q7_labels_are_counted_whatever_stands_beside_them() {
    let labelled =
        |at_s: u64, entry: u32| Flow::new(at_s, "10.1.0.7", "10.1.0.8", TCP, 80).labelled(entry);
    let flows = [(0, 163 << 4), (1, (163 << 4) | 0xb), (2, (17 << 4) | 1)];
    let flows = flows.map(|(at_s, entry)| labelled(at_s, entry));
    let answer = Archive::new(&flows, false, 0).json(&["top", "--by", "mpls1/flows"]);
    let rows = &answer["statistics"][0]["rows"];
    assert_eq!(column(rows, "key"), [163, 17]);
    assert_eq!(column(rows, "flows"), [2, 1]);
}

/// nfdump's orders by what left: v9's OUT counters.
#[test]
fn what_left_orders_statistics_and_groups() {
    let flow = |last: u8| Flow::new(60, &format!("10.1.0.{last}"), "10.1.0.9", TCP, 443);
    let flows = [
        flow(1).out(10, 700).sampled(10),
        flow(1).out(5, 100),
        flow(2).out(20, 900),
        // Not counted apart.
        flow(3),
    ];
    let archive = Archive::new(&flows, false, 0);
    let answer = archive.json(&["top", "--by", "srcip/obyte/opkg/obpp", "-n", "2"]);
    for (at, name, keys, measures) in [
        (0, "out_octets", ["10.1.0.2", "10.1.0.1"], [900, 800]),
        (1, "out_packets", ["10.1.0.2", "10.1.0.1"], [20, 15]),
        (2, "out_bpp", ["10.1.0.1", "10.1.0.2"], [53, 45]),
    ] {
        let rows = &answer["statistics"][at]["rows"];
        assert_eq!(column(rows, "key"), keys, "{name}");
        assert_eq!(column(rows, name), measures, "{name}");
    }
    // 900 of 1700 octets.
    let share = &answer["statistics"][0]["rows"][0]["share"];
    assert_eq!(*share, json!(0.52941));
    let groups = archive.json(&["group", "--by", "srcip", "--order", "obytes", "--scaled"]);
    let groups = &groups["groups"];
    assert_eq!(
        column(groups, "srcip"),
        ["10.1.0.1", "10.1.0.2", "10.1.0.3"]
    );
    assert_eq!(column(groups, "out_octets"), [7100, 900, 0]);
    assert_eq!(column(groups, "out_packets"), [105, 20, 0]);
    // Where flows are ordered and chosen they are what is shown: 7000, 900, 100 and 0.
    let lines = archive.text(&["flows", "-q", "-o", "fmt:%obyt", "-O", "obytes", "--scaled"]);
    let octets: Vec<_> = lines.split_whitespace().collect();
    assert_eq!(octets, ["7000", "900", "100", "0"]);
    for (filter, few, many) in [("out bytes > 800", 1, 2), ("out packets = 100", 0, 1)] {
        for (scaled, fitting) in [(&[][..], few), (&["--scaled"][..], many)] {
            let flows = archive.json(&[&["flows", filter], scaled].concat());
            let found = flows["flows"].as_array().unwrap().len();
            assert_eq!(found, fitting, "{filter} {scaled:?}");
        }
    }
}

/// As nfdump's `-a -O tstart` has it: the earliest first, unless the latest is asked for.
#[test]
fn groups_are_sorted_by_when_they_were() {
    let flow = |at_s: u64, from: &str| Flow::new(at_s, from, "10.1.0.9", TCP, 443);
    let flows = [
        flow(30, "10.1.0.1").lasts(500),
        flow(20, "10.1.0.2"),
        flow(40, "10.1.0.3"),
    ];
    let archive = Archive::new(&flows, false, 0);
    let sources = |order: &str| {
        let answer = archive.json(&["group", "--by", "srcip", "--order", order]);
        column(&answer["groups"], "srcip")
    };
    assert_eq!(sources("tstart"), ["10.1.0.2", "10.1.0.1", "10.1.0.3"]);
    assert_eq!(sources("tend:d"), ["10.1.0.1", "10.1.0.3", "10.1.0.2"]);
    let answer = archive.json(&["top", "--by", "srcip/tstart"]);
    let rows = &answer["statistics"][0]["rows"];
    assert_eq!(column(rows, "key"), ["10.1.0.2", "10.1.0.1", "10.1.0.3"]);
}

/// A flow has an address at each end, and is one flow all the same.
#[test]
fn what_is_on_both_sides_does_not_count_twice_in_the_whole() {
    let flow = Flow::new(60, "10.1.0.1", "10.1.0.2", TCP, 443);
    let archive = Archive::new(&[flow.counts(7, 900), flow.back().counts(3, 100)], false, 0);
    let text = archive.text(&["group", "--by", "ip"]);
    let all: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("all "))
        .collect();
    assert_eq!(all.len(), 1, "{text}");
    let words: Vec<_> = all[0].split_whitespace().collect();
    assert_eq!(words, ["all", "1,000", "10", "2"], "{text}");
    // Of groups that a filter chose nobody can tell which flows are in two of them.
    let text = archive.text(&["group", "--by", "ip", "--having", "flows > 0"]);
    assert!(!text.contains("\nall "), "{text}");
    let answer = archive.json(&["stat", "ip-address", "-P"]);
    assert_eq!(column(&answer["lines"], "flows"), [1.0, 1.0]);
    assert_eq!(column(&answer["lines"], "octets"), [1.0, 1.0]);
}
