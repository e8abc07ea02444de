//! nfdump's command lines as Weir's.

use super::*;

fn words_of(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    // A quoted filter is one word.
    for (at, part) in line.split('\'').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

fn translated(line: &str) -> Result<String, String> {
    native(&words_of(line)).map(|words| words.join(" "))
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn nfdumps_words_have_native_ones() {
    for (line, expected) in [
        ("-r /f", "flows --scaled -r /f"),
        (
            "-R /f 'tcp and port 80'",
            "flows --scaled -r /f tcp and port 80",
        ),
        (
            "-r /f -o long -c 20 any",
            "flows -o long -n 20 --scaled -r /f any",
        ),
        (
            "-r /f -qN6 -o fmt:%sa",
            "flows -o fmt:%sa -q --scaled -r /f",
        ),
        ("-r /f -O bytes -n 5", "flows -O bytes -n 5 --scaled -r /f"),
        ("-r /f -n 0", "flows --scaled -r /f"),
        ("-m -r /f", "flows -O tstart --scaled -r /f"),
        ("-b -r /f", "flows -b --scaled -r /f"),
        ("-b -o biline -r /f", "flows -o biline -b --scaled -r /f"),
        (
            "-o bilong -c 5 -r /f",
            "flows -o fmt:%bilong -n 5 --scaled -r /f",
        ),
        (
            "-a -B -o bilong -O bytes -R /f tcp",
            "flows -o bilong -B -O bytes --scaled -r /f tcp",
        ),
        (
            "-R /f -s srcip/bytes -n 10 tcp",
            "top --by srcip/bytes -n 10 --scaled -r /f tcp",
        ),
        (
            "-R /f -s srcip",
            "top --by srcip/flows -n 10 --scaled -r /f",
        ),
        (
            "-R /f -s srcip/24",
            "top --by srcip/24/flows -n 10 --scaled -r /f",
        ),
        (
            "-R /f -s dstport:p/packets/bps -s proto/bytes -n 0 -o json",
            "top --by dstport:p/packets/bps --by proto/bytes --json -n 0 --scaled -r /f",
        ),
        // As nfsen-ng asks.
        (
            "-M /f/live -R 2026/11/21/nfcapd.202611211400:2026/11/21/nfcapd.202611211455 -n 10 -s dstip/bytes -o csv",
            "top --by dstip/bytes -o csv -n 10 --scaled -r /f/live received >= 2026-11-21T14:00:00 and received < \
             2026-11-21T15:00:00",
        ),
        (
            "-R /f -s srcip:p/bytes:a -q -o csv",
            "top --by srcip:p/bytes:a -o csv -q -n 10 --scaled -r /f",
        ),
        (
            "-R /f -A srcip,dsttos -O flows:d -q",
            "group --by srcip,dsttos --order flows:d -q --scaled -r /f",
        ),
        (
            "-R /f -a -o csv -q -n 5",
            "group -o csv -q -n 5 --scaled -r /f",
        ),
        ("-R /f -O bytes:a", "flows -O bytes:a --scaled -r /f"),
        (
            "-R /f -s record/bytes",
            "group --order bytes -n 10 --scaled -r /f",
        ),
        // An example of nfdump's manual.
        (
            "-R /f -s record/bytes -A srcip,dstip",
            "group --by srcip,dstip --order bytes -n 10 --scaled -r /f",
        ),
        (
            "-R /f -a -s record -P 'flows > 1' tcp",
            "group --order flows -P flows > 1 -n 10 --scaled -r /f tcp",
        ),
        (
            "-R /f -S bytes -n 3",
            "group --order bytes -n 3 --scaled -r /f",
        ),
        ("-R /f -a", "group --scaled -r /f"),
        (
            "-R /f -s srcip/obyte/opkg -s port:p/ibyte",
            "top --by srcip/obyte/opkg --by port:p/ibyte -n 10 --scaled -r /f",
        ),
        (
            "-R /f -A dstip -O obytes",
            "group --by dstip --order obytes --scaled -r /f",
        ),
        ("-R /f -a -Otstart", "group --order tstart --scaled -r /f"),
        (
            "-R /f -A srcip4/24,dstport -O bytes",
            "group --by srcip4/24,dstport --order bytes --scaled -r /f",
        ),
        (
            "-R /f -A srcip4/24,dstip6/64,srcip6/48,proto",
            "group --by srcip/24/48,dstip6/64,proto --scaled -r /f",
        ),
        (
            "-R /f -a -P 'flows > 10' -n 7",
            "group -P flows > 10 -n 7 --scaled -r /f",
        ),
        // Sorted flows are the flows: what fits behind is what fits.
        (
            "-r /f -O bytes -P 'bytes > 10' tcp",
            "flows -O bytes --scaled -r /f (bytes > 10\n) and (tcp\n)",
        ),
        (
            "-R /f -A srcip4,dstip4,srcip6",
            "group --by srcip/32/128,dstip4/32 --scaled -r /f",
        ),
        (
            "-r /f -B -O bytes -P 'out packets 0' tcp",
            "flows -B -P out packets 0 -O bytes --scaled -r /f tcp",
        ),
        ("-r /f -o nsel", "flows -o nsel --scaled -r /f"),
        ("-I -r /f", "stat summary --scaled -r /f"),
        ("-E /f", "health --scaled -r /f"),
        ("-r /f -f /x", "flows --scaled -r /f -f /x"),
        ("-r /f -f /x udp", "flows --scaled -r /f udp"),
        ("-M /f -z -j", "flows --scaled -r /f"),
        (
            "-M /f/live/one:two:/g/three -R . tcp",
            "flows --scaled -r /f/live/one/. -r /f/live/two/. -r /g/three/. tcp",
        ),
        (
            "-M /f/one/:two -r nfcapd.202611211400",
            "flows --scaled -r /f/one -r /f/two received >= 2026-11-21T14:00:00 and received < 2026-11-21T14:05:00",
        ),
        ("-M one:two", "flows --scaled -r one -r two"),
        ("-r /f -z=lz4:3", "flows --scaled -r /f"),
        (
            "-r /f -t 2026/11/21.14:00:00-2026/11/21.15:00:00",
            "flows --scaled -r /f first seen >= 2026-11-21T14:00:00 and last seen <= 2026-11-21T15:00:00",
        ),
        (
            "-r /f -t 2026/11/21 'tcp # all'",
            "flows --scaled -r /f first seen >= 2026-11-21 and (tcp # all\n)",
        ),
        (
            "-r /f/nfcapd.202611211400",
            "flows --scaled -r /f received >= 2026-11-21T14:00:00 and received < 2026-11-21T14:05:00",
        ),
        (
            "-R /f/nfcapd.202611211400:nfcapd.202611212355",
            "flows --scaled -r /f received >= 2026-11-21T14:00:00 and received < 2026-11-22T00:00:00",
        ),
        (
            "-R /f/nfcapd.202611211400",
            "flows --scaled -r /f received >= 2026-11-21T14:00:00",
        ),
    ] {
        assert_eq!(translated(line).as_deref(), Ok(expected), "{line}");
        let native = native(&words_of(line)).unwrap();
        let words = ["weir".to_owned()].into_iter().chain(native);
        let parsed = <crate::Options as clap::Parser>::try_parse_from(words);
        assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
    }
}

#[test]
fn what_cannot_be_is_refused_with_what_to_use() {
    for (line, words) in [
        ("tcp", "-r DIR"),
        ("-r /f -w /x", "weir export"),
        ("-r /f -b -s srcip", "stand alone"),
        ("-r /f -B -A srcip", "stand alone"),
        ("-r /f -b -c 5", "use -n"),
        ("-r /f -J 2", "recompact"),
        ("-v /f", "weir-collector verify"),
        ("-M /a/live@ -r x", "-M /flows/one:two"),
        ("-r /f -o pipe", "-o csv"),
        ("-r /f -x geodb.path=/x", "leave it out"),
        ("-r /f -s srcip -o fmt:%sa", "-o csv or -o json"),
        ("-r /f -s srcip -O bytes", "-s srcip/bytes"),
        ("-r /f -s srcip -c 9", "last 1h"),
        ("-r /f -a -s srcip", "weir group"),
        ("-r /f -s record/bytes/flows", "one order"),
        ("-r /f -s record -s srcip", "stands alone"),
        ("-r /f -c 5 -O bytes", "use -n"),
        ("-r /f -P 'flows > 1'", "-a, -A, -b, -B or -O"),
        ("-r /f -t +10", "last 10m"),
        ("-R /f/a:b", "from 14:00 to 15:00"),
        ("-r /f -k", "no option -k"),
        ("-h", "--native"),
    ] {
        let refused = translated(line).unwrap_err();
        assert!(refused.contains(words), "{line}: {refused}");
    }
}

#[test]
fn who_asks_for_times_is_told_whose_they_are() {
    let told = |line: &str, ahead_s| times_note(&words_of(line), ahead_s);
    let note = told("-r /f -t 2026/11/21.14:00:00", 3600).unwrap();
    assert!(note.contains("UTC+01:00"), "{note}");
    let note = told("-R /f/nfcapd.202611211400:nfcapd.202611211500", -12_600).unwrap();
    assert!(note.contains("UTC-03:30"), "{note}");
    assert_eq!(told("-r /f -t 2026/11/21.14:00:00", 0), None);
    assert_eq!(told("-r /f 'last 1h'", 3600), None);
}
