//! What weir-sensor does otherwise than softflowd, on purpose: the table in its man page. What is the same is
//! not here; what is refused for now says so itself.

use std::fmt::Write as _;

use crate::page::escaped;

/// Something that both do, each in its way.
struct Difference {
    what: &'static str,
    softflowd: &'static str,
    weir: &'static str,
}

const fn difference(what: &'static str, softflowd: &'static str, weir: &'static str) -> Difference {
    Difference {
        what,
        softflowd,
        weir,
    }
}

const DIFFERENCES: &[Difference] = &[
    difference(
        "packets",
        "a copy, from a capture buffer that overflows when it is too slow",
        "counted by the kernel where they arrive, without a copy",
    ),
    difference(
        "merged packets",
        "seen as the stack merged them (GRO)",
        "seen one by one by native XDP and by tc",
    ),
    difference(
        "octets",
        "of the frame without its link header: padding and MPLS labels count",
        "by the length in the IP header",
    ),
    difference(
        "a flow",
        "of both directions, which share their times and are exported as two records",
        "of one direction, with times of its own (by softflowd\u{2019}s name: as there)",
    ),
    difference(
        "ToS, VLAN",
        "of the packet that opened the flow; 0 the other way",
        "of the first packet of each direction",
    ),
    difference(
        "-T vlan, ether",
        "the two directions of tagged traffic are told as strangers",
        "each direction has its own tag and its own record",
    ),
    difference(
        "MPLS",
        "a label whose TTL changes is another flow",
        "labels are no part of what tells flows apart",
    ),
    difference(
        "not IP",
        "stacked VLAN tags, PPPoE and LLC/SNAP among it",
        "these are entered; what is left has counters by reason",
    ),
    difference(
        "fragments",
        "later ones are a flow of their own, with ports 0",
        "they belong to the flow of the first (--fragments off, and by softflowd\u{2019}s name: as there)",
    ),
    difference(
        "-m",
        "looked at after a batch of packets: the table may grow to twice that",
        "never exceeded; the flow that is pushed out is exported",
    ),
    difference(
        "-m 8k, -s 4x",
        "what follows the digits is left out",
        "refused",
    ),
    difference(
        "expiry",
        "in bursts on the minute (expint), up to two seconds late",
        "by the clock, at a pace that a collector can follow",
    ),
    difference(
        "-v 1",
        "up to 28 records, more than the format has room for",
        "24 records",
    ),
    difference(
        "-v 9",
        "a count and a padding that RFC 3954 does not have",
        "as in RFC 3954; template numbers and order of fields are the same",
    ),
    difference(
        "-v 10",
        "sequence numbers one message ahead",
        "as in RFC 7011; template numbers and order of fields are the same",
    ),
    difference(
        "templates",
        "every 16 datagrams: a quiet network waits for hours",
        "every 16 datagrams, and every minute",
    ),
    difference(
        "interface",
        "the same number twice, 0 unless -i has one",
        "the number the kernel has for it, or that of -i; 0 for the side that is not known (by softflowd\u{2019}s name: twice, as there)",
    ),
    difference("direction", "which address is lower", "received or sent"),
    difference(
        "end reason",
        "of a flow that is pushed out or flushed: the one it would have had without that",
        "lack of resources (5), forced end (4)",
    ),
    difference(
        "-n",
        "one that is dead, or all, fail together",
        "each by itself, with its own sequence numbers and counters",
    ),
    difference("-P sctp", "taken", "refused: no collector in use takes it"),
    difference(
        "-v psamp, -R",
        "a packet format of its own",
        "refused: only flows are exported; -R beside -i or -r is without effect, as there",
    ),
    difference(
        "-6 -a -B -C -M -H -I",
        "change what is captured, and how",
        "taken, and said to be without effect",
    ),
    difference(
        "-d, -D",
        "flows are lost at the end; root all the time",
        "flows are exported; privileges are given up",
    ),
    difference(
        "start",
        "succeeds before it has failed: a second one on a pidfile ends in silence",
        "whoever starts it learns of it, with a sentence",
    ),
    difference(
        "privileges",
        "nobody, in a chroot",
        "who it was started as, without the capabilities it does not need, for good",
    ),
    difference(
        "control socket",
        "a client that says nothing stops capture and export; the file is left behind",
        "served apart, within bounds; removed at the end",
    ),
    difference("pidfile", "left behind", "removed at the end"),
    difference(
        "-r",
        "pcap with the older link types",
        "pcapng, gzip and cooked v2 too",
    ),
    difference(
        "hostile packets",
        "an IPv6 header chain that ends in its middle hangs it (1.1.1); protocol 58 over IPv4 spoils the datagram",
        "a counter",
    ),
];

/// The table, as a section in roff for tbl(1).
pub fn section() -> String {
    let mut text = String::from(
        ".SH \"DIFFERENCES FROM SOFTFLOWD\"\n\
         Flags, defaults (by the name softflowd), timeouts, control words and layouts are softflowd 1.1.0\\(aqs.\n\
         Otherwise on purpose:\n\
         .PP\n.ad l\n.nh\n.TS\ntab(@);\nlbw(14n) lbw(25n) lbw(25n)\nlw(14n) lw(25n) lw(25n).\n\
         @softflowd@Weir\n",
    );
    for Difference {
        what,
        softflowd,
        weir,
    } in DIFFERENCES
    {
        // A row is followed by an empty one.
        let cells = [what, softflowd, weir].map(|cell| format!("T{{\n{}\nT}}", escaped(cell)));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}\n.sp 0.4", cells.join("@"));
    }
    text.push_str(".TE\n.hy\n.ad\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_empty_or_ends_the_table() {
        for row in DIFFERENCES {
            for cell in [row.what, row.softflowd, row.weir] {
                assert!(!cell.is_empty() && !cell.contains('@'), "{cell}");
                assert!(!cell.starts_with("T}"), "{cell}");
            }
        }
    }

    #[test]
    fn each_flag_without_effect_is_among_them() {
        let command = weir_sensor::options::command();
        let rows: Vec<&str> = DIFFERENCES.iter().map(|row| row.what).collect();
        for argument in command.get_arguments() {
            let heading = argument.get_help_heading().unwrap_or_default();
            if !heading.starts_with("Without effect") {
                continue;
            }
            let flag = format!("-{}", argument.get_short().unwrap());
            assert!(
                rows.iter()
                    .any(|row| row.split_whitespace().any(|word| word == flag)),
                "{flag} has no row"
            );
        }
    }
}
