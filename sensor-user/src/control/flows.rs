//! The answers to `dump-flows`, in softflowd's layout, and to `flows`, a line for each of Weir's
//! flows. Both walk the table in slices.

use std::fmt::Write as _;

use super::{
    order::Outlook,
    selection::Selection,
    task::Task,
    text::{Protocols, endpoint, utc_ms},
    view::{Conversation, Cursor, Seen, View},
};
use crate::{clock::Now, expiry::remaining_ns, ports::PortReport, sweep::Taken};

const SECOND_NS: u64 = 1_000_000_000;

/// Flows that are put into the order of their expiry together; more are so many after so many.
const SORTED_MAX: usize = 1 << 16;
/// Of those, told before the thread turns to its clients again.
const TOLD_MAX: usize = 256;

/// `dump-flows`.
pub struct Dump {
    outlook: Outlook,
    cursor: Cursor,
    /// When a flow is over, in seconds, and its number; sorted once the table was seen.
    found: Vec<(u64, u64)>,
    /// How many of those were told.
    told: usize,
    seen_all: bool,
}

impl Dump {
    /// Begins.
    #[must_use]
    pub fn new(outlook: Outlook) -> Self {
        Self {
            outlook,
            cursor: Cursor::default(),
            found: Vec::new(),
            told: 0,
            seen_all: false,
        }
    }

    fn gather(&mut self, view: &View, now: &Now) {
        let Self { outlook, found, .. } = self;
        let more = view.look_on(&mut self.cursor, |Seen { flow, number }| {
            if let Some(conversation) = view.conversation(flow) {
                let left_ns = left_ns(&conversation, outlook, now);
                found.push((now.monotonic_ns.saturating_add(left_ns) / SECOND_NS, number));
            }
        });
        self.seen_all = !more;
        if self.is_gathered() {
            self.found.sort_unstable();
        }
    }

    /// Whether enough was gathered to be told.
    fn is_gathered(&self) -> bool {
        self.seen_all || self.found.len() >= SORTED_MAX
    }
}

impl Task for Dump {
    fn step(&mut self, view: &View, now: &Now, output: &mut String) -> bool {
        let now = &now.with_ticks(self.outlook.ticks);
        if !self.is_gathered() {
            self.gather(view, now);
            return true;
        }
        let end = self.found.len().min(self.told + TOLD_MAX);
        for (_, number) in &self.found[self.told..end] {
            // It may be over by now.
            let conversation = view.again(*number);
            let conversation = conversation.and_then(|seen| view.conversation(seen.flow));
            if let Some(conversation) = conversation {
                dump(output, *number, &conversation, &self.outlook, now);
            }
        }
        self.told = end;
        if self.told == self.found.len() {
            self.found.clear();
            self.told = 0;
            return !self.seen_all;
        }
        true
    }
}

/// The lines of one flow. `>` is what the lower address sent.
fn dump(
    output: &mut String,
    number: u64,
    conversation: &Conversation,
    outlook: &Outlook,
    now: &Now,
) {
    let [low, high] = conversation.directions;
    // Whichever is there tells addresses and ports.
    let (Taken { key, extra, .. }, is_low) = match (low, high) {
        (Some(flow), _) => (flow, true),
        (None, Some(flow)) => (flow, false),
        (None, None) => return,
    };
    let source = endpoint_in_brackets(key.source_octets(), key.source_port());
    let destination = endpoint_in_brackets(key.destination_octets(), key.destination_port());
    let macs = (mac(extra.source_mac()), mac(extra.destination_mac()));
    let ((first, second), (first_mac, second_mac)) = if is_low {
        ((source, destination), macs)
    } else {
        ((destination, source), (macs.1, macs.0))
    };
    let of = |flow: Option<Taken>, number: fn(Taken) -> u64| flow.map_or(0, number);
    let flows = || conversation.directions.iter().flatten();
    let start_ns = flows().map(|flow| now.unix_ns_of(flow.first_tick)).min();
    let finish_ns = flows().map(|flow| now.unix_ns_of(flow.last_tick)).max();
    let _ = write!(
        output,
        "ACTIVE seq:{number} {first} <> {second} proto:{} ",
        key.protocol()
    );
    let _ = write!(
        output,
        "octets>:{} packets>:{} octets<:{} packets<:{} ",
        of(low, |flow| flow.octets),
        of(low, |flow| flow.packets),
        of(high, |flow| flow.octets),
        of(high, |flow| flow.packets)
    );
    let _ = write!(
        output,
        "start:{} finish:{} tcp>:{:02x} tcp<:{:02x} ",
        utc_ms(start_ns.unwrap_or(0)),
        utc_ms(finish_ns.unwrap_or(0)),
        of(low, |flow| flow.tcp_flags.into()),
        of(high, |flow| flow.tcp_flags.into())
    );
    // Flow labels and Ethernet addresses are in the table if --fields or -T ask for them, else zero.
    let _ = writeln!(
        output,
        "flowlabel>:{:08x} flowlabel<:{:08x} vlan>:{} vlan<:{} \
         ether:{first_mac} <> {second_mac}",
        of(low, |flow| flow.extra.flow_label.into()),
        of(high, |flow| flow.extra.flow_label.into()),
        of(low, |flow| flow.key.vlan().into()),
        of(high, |flow| flow.key.vlan().into())
    );
    let _ = match left_ns(conversation, outlook, now).div_ceil(SECOND_NS) {
        0 => writeln!(output, "EXPIRY EVENT for flow {number} now\n"),
        left_s => writeln!(
            output,
            "EXPIRY EVENT for flow {number} in {left_s} seconds\n"
        ),
    };
}

/// How long a conversation has, if nothing more comes of it.
fn left_ns(conversation: &Conversation, outlook: &Outlook, now: &Now) -> u64 {
    let state = conversation.state(now, outlook.in_pairs);
    remaining_ns(&state, &outlook.timeouts)
}

/// As softflowd writes it: brackets around either family.
fn endpoint_in_brackets(octets: [u8; 16], port: u16) -> String {
    format!("[{}]:{port}", super::text::address(octets))
}

/// An Ethernet address with colons.
fn mac(octets: [u8; 6]) -> String {
    octets.map(|octet| format!("{octet:02x}")).join(":")
}

/// `flows`.
pub struct Flows {
    outlook: Outlook,
    selection: Selection,
    protocols: Protocols,
    cursor: Cursor,
    begun: bool,
}

impl Flows {
    /// Begins, with the flows that an expression means, or with all.
    ///
    /// # Errors
    /// A sentence about the expression.
    pub fn new(filter: Option<&str>, outlook: Outlook) -> Result<Self, String> {
        Ok(Self {
            outlook,
            selection: Selection::of(filter)?,
            protocols: Protocols::read(),
            cursor: Cursor::default(),
            begun: false,
        })
    }
}

impl Task for Flows {
    fn step(&mut self, view: &View, now: &Now, output: &mut String) -> bool {
        let now = now.with_ticks(self.outlook.ticks);
        if !self.begun {
            self.begun = true;
            let _ = writeln!(
                output,
                "{:<6} {:<22} {:<22} {:>10} {:>15} Flags {:>7} {:>7}  Seen",
                "Proto", "Source", "Destination", "Packets", "Octets", "Age", "Idle"
            );
        }
        let Self {
            outlook,
            selection,
            protocols,
            cursor,
            ..
        } = self;
        let more = view.look_on(cursor, |seen| {
            if selection.wants(&seen.flow) {
                line(output, &seen.flow, outlook, protocols, &now);
            }
        });
        if !more && self.cursor.changing > 0 {
            let _ = writeln!(
                output,
                "{} flows were changing and are not listed",
                self.cursor.changing
            );
        }
        more
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds to one place")]
fn line(output: &mut String, flow: &Taken, outlook: &Outlook, protocols: &Protocols, now: &Now) {
    let key = &flow.key;
    let protocol = match protocols.name(key.protocol()) {
        "Unknown" => key.protocol().to_string(),
        name => name.to_owned(),
    };
    let state = flow.state(now);
    let seconds = |ns: u64| ns as f64 / SECOND_NS as f64;
    let _ = writeln!(
        output,
        "{protocol:<6} {:<22} {:<22} {:>10} {:>15}    {:02x} {:>7.1} {:>7.1}  {}",
        endpoint(key.source_octets(), key.source_port()),
        endpoint(key.destination_octets(), key.destination_port()),
        flow.packets,
        flow.octets,
        flow.tcp_flags,
        seconds(state.age_ns),
        seconds(state.idle_ns),
        place(flow.hook, &outlook.interfaces)
    );
}

/// Where a flow was seen: `eth0 in`.
pub(super) fn place(hook: u8, interfaces: &[PortReport]) -> String {
    let way = if hook & 1 == 0 { "in" } else { "out" };
    match interfaces.get(usize::from(hook >> 1)) {
        Some(interface) => format!("{} {way}", interface.name),
        None => way.to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        clock::Ticks,
        control::view::tests::{Packet, at, view},
        expiry::Timeouts,
    };

    /// What the loop would say.
    pub fn outlook() -> Outlook {
        Outlook {
            timeouts: Timeouts::softflowd(),
            ticks: Ticks::default(),
            in_pairs: true,
            sampling_interval: 10,
            interfaces: vec![PortReport {
                name: "eth0".to_owned(),
                ifindex: 2,
                seen: None,
            }],
        }
    }

    /// The words of a line.
    pub fn words(line: &str) -> Vec<&str> {
        line.split_whitespace().collect()
    }

    /// A line of a table with one space between words.
    pub fn spaced(line: &str) -> String {
        words(line).join(" ")
    }

    /// All that a task has to say at a time.
    pub fn told(mut task: impl Task, view: &View, now: &Now) -> String {
        let mut output = String::new();
        while task.step(view, now, &mut output) {}
        output
    }

    /// As softflowd 1.1.0 prints it: in the order of expiry, lower address first.
    #[test]
    fn a_dump_has_softflowds_lines() {
        let view = view(&[
            Packet([9, 1], [80, 1234], 6, 1, 70, 1000),
            Packet([1, 9], [1234, 80], 6, 0, 50, 0),
            Packet([9, 3], [53, 7], 17, 0, 20, 2000),
        ]);
        let now = at(3500);
        let found = told(Dump::new(outlook()), &view, &now);
        let lines: Vec<_> = found.lines().collect();
        let [udp, udp_end, "", tcp, tcp_end, ""] = lines[..] else {
            panic!("{found}")
        };
        let number = |line: &str| -> u64 {
            let (_, rest) = line.split_once("seq:").unwrap();
            rest.split_once(' ').unwrap().0.parse().unwrap()
        };
        // Times are those of the tick.
        let time = utc_ms(now.unix_ns_of(at(2000).tick()));
        assert!(time.starts_with("2023-11-14T22:13:2"), "{time}");
        assert_eq!(
            udp,
            format!(
                "ACTIVE seq:{} [10.0.0.3]:7 <> [10.0.0.9]:53 proto:17 \
                 octets>:0 packets>:0 octets<:20 packets<:1 \
                 start:{time} finish:{time} tcp>:00 tcp<:00 \
                 flowlabel>:00000000 flowlabel<:00000000 vlan>:0 vlan<:0 \
                 ether:00:00:00:00:00:00 <> 00:00:00:00:00:00",
                number(udp)
            )
        );
        assert_eq!(
            udp_end,
            format!("EXPIRY EVENT for flow {} in 299 seconds", number(udp))
        );
        assert!(
            tcp.contains(" [10.0.0.1]:1234 <> [10.0.0.9]:80 proto:6 octets>:50 packets>:1 octets<:70 packets<:1 ")
                && tcp.contains(" tcp>:10 tcp<:30 "),
            "{tcp}"
        );
        assert_eq!(
            tcp_end,
            format!("EXPIRY EVENT for flow {} in 3598 seconds", number(tcp))
        );
    }

    #[test]
    fn a_flow_that_is_over_is_due_now() {
        let view = view(&[Packet([1, 2], [1, 2], 17, 0, 9, 0)]);
        let found = told(Dump::new(outlook()), &view, &at(400_000));
        assert!(found.trim_end().ends_with(" now"), "{found}");
    }

    #[test]
    fn flows_are_a_line_each() {
        let view = view(&[
            Packet([9, 1], [80, 1234], 6, 1, 70, 0),
            Packet([9, 3], [53, 7], 253, 0, 20, 1500),
        ]);
        let flows = Flows {
            protocols: Protocols::parse("tcp 6 TCP\n"),
            ..Flows::new(None, outlook()).unwrap()
        };
        let found = told(flows, &view, &at(3000));
        let mut lines: Vec<_> = found.lines().skip(1).map(spaced).collect();
        lines.sort();
        assert_eq!(
            lines,
            [
                "253 10.0.0.9:53 10.0.0.3:7 1 20 00 1.5 1.5 eth0 in",
                "tcp 10.0.0.9:80 10.0.0.1:1234 1 70 30 3.0 3.0 eth0 out"
            ]
        );
    }
}
