//! What is said of filters that are wrong, and where it points.

use super::parsed;

/// Filters with the column at which they go wrong and words of what is said of it.
const WRONG: &[(&str, usize, &str)] = &[
    ("srcc ip 1.2.3.4", 1, "did you mean `src`?"),
    ("src ip 1.2.3.4 und tcp", 16, "`and` or `or`"),
    ("src bort 80", 5, "did you mean `port`?"),
    ("port 70000", 6, "at most 65535"),
    ("src ip 1.2.3", 8, "no IPv4 or IPv6 address"),
    ("src ip mail.example", 8, "no host of that name"),
    ("net 10.0.0.0/33", 14, "at most 32"),
    ("net 10.0.0.0", 13, "length"),
    ("net 10.1/33", 10, "at most 32"),
    ("net 10.300/16", 5, "no IPv4 or IPv6 address"),
    ("net 1.2.3.4.5/8", 5, "no IPv4 or IPv6 address"),
    ("net 10.0.0.0 255.0.255.0", 14, "without gaps"),
    ("tcp and", 8, "a condition fits here"),
    ("tcpx", 1, "did you mean `tcp`?"),
    ("port 80 )", 9, "`and`, `or` or the end"),
    ("(tcp", 1, "not closed"),
    ("port in [80", 9, "not closed"),
    ("payload content 'GET", 17, "not closed"),
    ("port in [80 htps]", 13, "did you mean `https`?"),
    ("port in 80/8", 11, "no length"),
    ("ip in @nosuch", 7, "there is no set @nosuch"),
    ("ip in", 6, "a set fits here"),
    (
        "@include /no/such/file",
        1,
        "there is no file /no/such/file",
    ),
    ("flags SQ", 7, "FSRPAUEC"),
    ("flags > S", 7, "`=` or `!=`"),
    ("proto txp", 7, "did you mean `tcp`?"),
    ("port = src port", 8, "which side"),
    ("src port = dst ip", 12, "not of the kind"),
    ("src vlan = dst mac", 12, "not of the kind"),
    ("mac = dst mac", 7, "which side"),
    ("src mac > dst mac", 9, "`=` or `!=`"),
    ("src as = next port", 15, "`ip` or `as` fits here"),
    ("next ip = bgp next as", 20, "`ip` fits here"),
    ("src ip = src nat net", 18, "`ip` or `port` fits here"),
    ("src port > [80]", 12, "a port, a service"),
    ("port > 80-90", 8, "one number"),
    ("last 2 fortnights", 6, "a stretch of time"),
    ("last 1M", 6, "minutes or months"),
    ("last 1 M", 6, "minutes or months"),
    ("since now 05:00", 11, "a condition ends before this"),
    ("from 15:00 to 14:00", 15, "not after the beginning"),
    ("first seen > 2026-13", 14, "a time such as"),
    ("src mac 00:11:22:33:44", 9, "a MAC address such as"),
    ("src mac > 00:11:22:33:44:55", 9, "`=` or `!=`"),
    ("src mac in [00:11:22]", 13, "a MAC address such as"),
    ("in src ip 192.0.2.1", 4, "`if`, `packets`"),
    ("mpls label11 = 5", 6, "from 1, the top, to 10"),
    ("mpls eos5 5", 6, "`label1`, `exp1`"),
    ("mpls label1 1048576", 13, "at most 1048575"),
    ("inner port 5", 7, "`vlan` fits here"),
    ("nat event ad", 11, "did you mean `add`?"),
    ("port in nat block", 13, "`pblock` fits here"),
    ("min tt 5", 5, "`ttl` fits here"),
    ("fwdstat dropp", 9, "did you mean `drop`?"),
    ("asa evnt 5", 5, "did you mean `event`?"),
    ("ingress port 5", 9, "`vrf`, `ACL`"),
    ("src tun port 5", 9, "`ip`, `net` or `in`"),
    ("bgp ip 10.0.0.1", 5, "`next ip` fits here"),
    ("exporter id 5", 10, "`router ip` tells them apart"),
    ("out flows > 5", 5, "`packets` or `bytes`"),
    ("tcp and ümlaut", 9, "a condition fits here"),
    ("tcp ,", 5, "`and`, `or` or the end"),
];

#[test]
fn what_does_not_fit_is_pointed_at() {
    for &(text, column, words) in WRONG {
        let error = parsed(text).expect_err(text).to_string();
        let lines: Vec<_> = error.lines().collect();
        assert_eq!(lines.len(), 3, "{text}: {error}");
        let caret = lines[2].chars().position(|letter| letter == '^');
        assert_eq!(caret, Some(column + 1), "{text}:\n{error}");
        assert!(error.contains(words), "{text}:\n{error}");
    }
}
