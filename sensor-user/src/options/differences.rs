//! What weir-sensor does otherwise than softflowd, on purpose: the one list, of which the man page has all, and
//! docs/softflowd.md what is about records. A test puts every capture through both programs, and allows no other
//! differences of records. What is the same is not here.

use std::fmt::Write as _;

/// Something that both do, each in its way. Words of code are in backticks.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// What it is about.
    pub what: &'static str,
    /// How softflowd 1.1.0 has it.
    pub softflowd: &'static str,
    /// And how Weir does.
    pub weir: &'static str,
}

const fn difference(what: &'static str, softflowd: &'static str, weir: &'static str) -> Difference {
    Difference {
        what,
        softflowd,
        weir,
    }
}

/// Which records there are and what is in them, by the name softflowd.
pub const RECORDS: &[Difference] = &[
    difference(
        "link layers",
        "stacked tags, 802.1ad, PPPoE, LLC, cooked v2 and most others are no IP; MPLS labels and their TTL tell flows apart",
        "all of them are read, what is left has counters by reason; labels are not in the key",
    ),
    difference(
        "bad headers",
        "metered, by what the frame has",
        "`bad_ip_packets`",
    ),
    difference(
        "octets",
        "the frame's, without its link layer: padding and MPLS labels count",
        "the IP header's (RFC 3954: IN_BYTES)",
    ),
    difference("padding", "of short frames is octets", "is none"),
    difference(
        "extension headers",
        "later IPv6 fragments are protocol 0; AH ends the walk",
        "fragments have their protocol; AH is followed",
    ),
    difference(
        "truncated headers",
        "ports 0 if a TCP header has less than 20 octets in the capture",
        "ports if they are there",
    ),
    difference("ports of SCTP, DCCP, UDP-Lite", "0", "read"),
    difference(
        "ICMP of the other family",
        "a record its template does not describe: all behind it are garbled",
        "a record as others",
    ),
    difference(
        "ToS",
        "that of the packet that came first, 0 for the other direction",
        "of each direction's first packet",
    ),
    difference(
        "tagged conversations",
        "two flows at `-T vlan` and `ether`",
        "one, of two directions",
    ),
    difference(
        "biflows of ICMP",
        "the type is lost if the higher address sent",
        "the sender is the source",
    ),
    difference(
        "packets out of order",
        "a flow ends with the packet that came last, even before it starts",
        "it starts with its earliest packet and ends with its latest",
    ),
    difference(
        "direction (IE 61)",
        "which address is the lower one",
        "received or sent",
    ),
    difference(
        "end reason",
        "of a flow that is flushed or pushed out, the one it would have had without that",
        "4 when flushed, 5 when pushed out",
    ),
    difference(
        "numbers and counts",
        "IPFIX's number includes the message itself, v9 counts flows only, v1 has too many records",
        "RFC 7011, RFC 3954, 24 records",
    ),
    difference("options", "sets are not padded", "padded to four octets"),
    difference(
        "with `-l`",
        "one row of numbers for all, so gaps for each",
        "each collector has its own",
    ),
    difference("`-L`", "multicast only", "unicast, too"),
    difference(
        "`-x` above 4",
        "up to ten labels of a packet",
        "its first four, those after them are 0",
    ),
    difference(
        "`-r` without `-a`",
        "packets are before the start, so their times wrap into years to come",
        "times are the packets', as with `-a`",
    ),
    difference(
        "`-P tcp`",
        "ends when the collector does",
        "looks for it; IPFIX begins a new session",
    ),
    difference(
        "a flow pushed out of a full table",
        "both directions",
        "one direction, the other stays",
    ),
    difference(
        "expiry at `-T proto`",
        "ends of connections are not looked for",
        "FIN and RST end a flow",
    ),
    difference(
        "`-t maxlife` with `-r`",
        "looked at after a batch of packets",
        "at once; the other timeouts are without effect there, as in softflowd",
    ),
    difference(
        "`-v psamp`, `-R`",
        "sends each packet in a datagram of its own, for another softflowd to meter",
        "refused: packets are counted where they arrive, and none is copied; `-v 10` sends their flows, with `-s N` of one packet in N, and weir-collector reads the samples of sFlow. `-R` beside `-i` or `-r` is without effect, as there",
    ),
    difference("`-P sctp`", "SCTP", "refused: `-P tcp` is as reliable"),
    difference(
        "`-s` above 16383",
        "v5 says the low 14 bits of it",
        "refused with `-v 5`, which has no room for it",
    ),
];

/// What the program is like, by any name.
pub const PROGRAM: &[Difference] = &[
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
        "a flow",
        "of both directions, which share their times and are exported as two records",
        "of one direction, with times of its own (by softflowd\u{2019}s name: as there)",
    ),
    difference(
        "fragments",
        "later ones are a flow of their own, with ports 0",
        "they belong to the flow of the first (--fragments off, and by softflowd\u{2019}s name: as there)",
    ),
    difference(
        "-m",
        "of all, looked at after a batch of packets: the table may grow to twice that",
        "of each CPU, rounded up to what a power of two holds; beyond that a new flow pushes one out, which is exported",
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
        "templates",
        "every 16 datagrams: a quiet network waits for hours",
        "every 16 datagrams, and every minute",
    ),
    difference(
        "interface",
        "the same number twice, 0 unless -i has one",
        "the number the kernel has for it, or that of -i; 0 for the side that is not known (by softflowd\u{2019}s name: twice, as there)",
    ),
    difference(
        "-n",
        "one that is dead, or all, fail together",
        "each by itself, with its own sequence numbers and counters",
    ),
    difference(
        "-6 -a -B -C -M -H -I",
        "change what is captured, and how",
        "taken, and said to be without effect (by softflowd\u{2019}s name -6 with -v 1 and 5: as there)",
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
        "statistics",
        "a flow that could not be sent is two failures",
        "a record that could not be sent is one failure; Weir\u{2019}s own account stands below",
    ),
    difference(
        "dump-flows",
        "flow labels have their octets in reverse; a time may end in .1000",
        "flow labels as they are; these and Ethernet addresses are zeros unless --fields or -T ether has them read",
    ),
    difference(
        "-e (1.1.1)",
        "elements 131 and 403 have octets of something else",
        "have the address",
    ),
    difference(
        "signals",
        "SIGUSR1, SIGHUP and others end it without its flows, and so does Ctrl-C with -r",
        "SIGHUP has the settings read again; whatever ends it, flows are exported",
    ),
    difference(
        "hostile packets",
        "an IPv6 header chain that ends in its middle hangs it (1.1.1); protocol 58 over IPv4 spoils the datagram",
        "a counter",
    ),
];

/// Rows of a table in Markdown.
#[must_use]
pub fn markdown(rows: &[Difference]) -> String {
    let mut text = String::new();
    for Difference {
        what,
        softflowd,
        weir,
    } in rows
    {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {what} | {softflowd} | {weir} |");
    }
    text
}
