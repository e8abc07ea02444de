//! The sensor's account: every packet seen is in a record or in a counter with a name, and every
//! record in a datagram sent or in a counter with a name.
#![expect(unsafe_code, reason = "memory that the kernel writes")]

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use weir_exporter::{ExportCounters, counters::Tally};
use weir_sensor_common::{
    Counter,
    counters::{self, COUNTERS_MAX},
    stage::Cpu,
};

use crate::{expiry::Reason, export::Exported, mapping::Mapping, summary::Summary, sweep::Taken};

/// All counts of a run.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// The program's counters, summed over CPUs.
    pub counters: [u64; COUNTERS_MAX as usize],
    /// Flows taken out of the table, by [`Reason`].
    pub expired: [Tally; Reason::ALL.len()],
    /// What those flows were like.
    pub summary: Summary,
    /// Whether exported flows are told as those of the summary, as softflowd does where it has templates; else
    /// each record is one.
    pub tells_conversations: bool,
    /// Flows thrown away unexported because a client of the control socket said so.
    pub deleted: Tally,
    /// Flows taken over from the tables of sensors that ended; in none of the counters.
    pub adopted: Tally,
    /// What the programs of such sensors counted, and no sensor told of.
    pub untold: Untold,
    /// Packets and octets left in a pinned table, for the next sensor.
    pub left: Option<(i128, i128)>,
    /// Frames of a capture whose link layer is not known; they are also `non_ip_packets`.
    pub unsupported_link_packets: u64,
    /// What became of the records, by destination: each gets all of them, or its share.
    pub export: Vec<Exported>,
    /// Whether the export thread died before its time.
    pub export_died: bool,
}

/// What a table's programs counted that is in no sensor's account yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Untold {
    /// Their counters, less what an account had of them.
    pub counters: [u64; COUNTERS_MAX as usize],
    /// Packets and octets that this account told as left in the table.
    pub left: (i64, i64),
}

impl Statistics {
    /// Reads the program's counters.
    pub fn read_counters(&mut self, states: &Mapping<Cpu>, cpus: u32) {
        self.counters = [0; COUNTERS_MAX as usize];
        for cpu in 0..cpus {
            // SAFETY: a valid block; the kernel writes it, hence volatile.
            let state = unsafe { states.at(cpu as usize).read_volatile() };
            for (sum, value) in self.counters.iter_mut().zip(state.counters.values) {
                *sum = sum.wrapping_add(value);
            }
        }
    }

    /// Packets with a usable IP header.
    #[must_use]
    pub fn ip_packets(&self) -> u64 {
        counters::ip_packets(&self.counters)
    }

    /// A counter's value.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.counters[counter as usize]
    }

    /// Adds to a counter.
    pub fn add(&mut self, counter: Counter, count: u64) {
        let value = &mut self.counters[counter as usize];
        *value = value.saturating_add(count);
    }

    /// Counts a flow taken out of the table.
    pub fn count_taken(&mut self, taken: &Taken) {
        self.expired[taken.reason as usize].merge(one(taken));
    }

    /// Counts a flow taken out of the table and thrown away.
    pub fn count_deleted(&mut self, taken: &Taken) {
        self.deleted.merge(one(taken));
    }

    /// Counts a flow taken over.
    pub fn count_adopted(&mut self, taken: &Taken) {
        self.adopted.merge(one(taken));
    }

    /// Counts what a dead sensor's programs counted.
    pub fn count_untold(&mut self, untold: &Untold) {
        for (sum, count) in self.untold.counters.iter_mut().zip(untold.counters) {
            *sum = sum.saturating_add(count);
        }
        self.untold.left.0 += untold.left.0;
        self.untold.left.1 += untold.left.1;
    }

    /// Counts what is in a pinned table as left there.
    pub fn leave(&mut self) {
        self.left = None;
        self.left = Some(self.unexplained());
    }

    /// IP packets and octets that are neither in a record nor in a counter; 0 once the table is
    /// empty.
    #[must_use]
    pub fn unexplained(&self) -> (i128, i128) {
        let (lost_packets, lost_octets) = lost(&self.counters);
        let difference = |seen: u64, taken: u64, lost: u64| {
            i128::from(seen) - i128::from(taken) - i128::from(lost)
        };
        let taken = self.taken();
        let (left_packets, left_octets) = self.left.unwrap_or_default();
        (
            difference(self.ip_packets(), taken.packets, lost_packets) - left_packets,
            difference(self.get(Counter::IpOctets), taken.octets, lost_octets) - left_octets,
        )
    }

    /// Packets and octets of flows that dead sensors had taken out of their tables and never told
    /// of: they exported them, or were killed on the way to it.
    fn adopted_taken(&self) -> (i128, i128) {
        let Untold { counters, left } = &self.untold;
        let (lost_packets, lost_octets) = lost(counters);
        let taken = |seen: u64, left: i64, lost: u64, found: u64| {
            i128::from(seen) + i128::from(left) - i128::from(lost) - i128::from(found)
        };
        let ip_octets = counters[Counter::IpOctets as usize];
        let ip_packets = counters::ip_packets(counters);
        (
            taken(ip_packets, left.0, lost_packets, self.adopted.packets),
            taken(ip_octets, left.1, lost_octets, self.adopted.octets),
        )
    }

    /// Everything that was taken out of the table, exported or thrown away.
    fn taken(&self) -> Tally {
        let mut sum = self.deleted;
        self.expired.iter().for_each(|tally| sum.merge(*tally));
        sum
    }

    /// As one JSON object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut object = named(&self.counters);
        object.insert("ip_packets".to_owned(), json!(self.ip_packets()));
        object.insert(
            "unsupported_link_packets".to_owned(),
            json!(self.unsupported_link_packets),
        );
        let expired: Map<_, _> = Reason::ALL
            .iter()
            .map(|reason| {
                (
                    reason.name().to_owned(),
                    tally(&self.expired[*reason as usize]),
                )
            })
            .collect();
        object.insert("expired".to_owned(), Value::Object(expired));
        let (unexplained_packets, unexplained_octets) = self.unexplained();
        let (left_packets, left_octets) = self.left.unwrap_or_default();
        let (adopted_lost_packets, adopted_lost_octets) = lost(&self.untold.counters);
        let (adopted_taken_packets, adopted_taken_octets) = self.adopted_taken();
        let mut seen = named(&self.untold.counters);
        let ip_packets = counters::ip_packets(&self.untold.counters);
        seen.insert("ip_packets".to_owned(), json!(ip_packets));
        let rest = json!({
            "deleted_flows": self.deleted.records,
            "deleted_packets": self.deleted.packets,
            "deleted_octets": self.deleted.octets,
            "adopted_flows": self.adopted.records,
            "adopted_packets": self.adopted.packets,
            "adopted_octets": self.adopted.octets,
            "adopted_lost_packets": adopted_lost_packets,
            "adopted_lost_octets": adopted_lost_octets,
            "adopted_taken_packets": number(adopted_taken_packets),
            "adopted_taken_octets": number(adopted_taken_octets),
            "adopted_left_packets": self.untold.left.0,
            "adopted_left_octets": self.untold.left.1,
            "adopted_seen": seen,
            "left_packets": number(left_packets),
            "left_octets": number(left_octets),
            "unexplained_packets": number(unexplained_packets),
            "unexplained_octets": number(unexplained_octets),
        });
        for part in [rest, destination(&Exported::whole(&self.export))] {
            if let Value::Object(part) = part {
                object.extend(part);
            }
        }
        let destinations = self.export.iter().map(|exported| {
            let mut object = destination(&exported.counters);
            object["address"] = json!(exported.address.map(|address| address.to_string()));
            object["partial"] = json!(exported.is_partial);
            object
        });
        object.insert("destinations".to_owned(), destinations.collect());
        Value::Object(object)
    }

    /// As aligned text: what was seen, where it went; lines that are zero and mean trouble are left
    /// out.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut line = |label: &str, count: u64| {
            let _ = writeln!(text, "{label:<28}{count:>16}");
        };
        line("Packets seen", self.get(Counter::Packets));
        line("  IP packets", self.ip_packets());
        line("  IP octets", self.get(Counter::IpOctets));
        for (label, counter) in [
            ("  not IP", Counter::NonIp),
            ("  too short", Counter::TooShort),
            ("  bad IP header", Counter::BadIp),
            ("  too many tags or labels", Counter::TooDeep),
        ] {
            line(label, self.get(counter));
        }
        for (label, counter) in [
            ("  not wanted by the filter", Counter::Filtered),
            ("  fragments", Counter::Fragments),
            ("  left out by sampling", Counter::SampledOut),
            ("  metered where they came in", Counter::AlreadyMetered),
            ("  next step missing", Counter::StepMissing),
        ] {
            if self.get(counter) > 0 {
                line(label, self.get(counter));
            }
        }
        if self.untold != Untold::default() {
            let (lost, _) = lost(&self.untold.counters);
            let (taken, _) = self.adopted_taken();
            let seen = self.untold.counters[Counter::Packets as usize];
            line("Seen before, untold, packets", seen);
            line("  flows taken over", self.adopted.records);
            line("  packets in those", self.adopted.packets);
            line("  lost, packets", lost);
            line(
                "  exported then, packets",
                u64::try_from(taken).unwrap_or(0),
            );
        }
        if let Some((packets, _)) = self.left {
            line(
                "Left in the table, packets",
                u64::try_from(packets).unwrap_or(0),
            );
        }
        // One that two of them saw is merged when it is exported.
        line("Flows, on each CPU", self.get(Counter::FlowsCreated));
        for reason in Reason::ALL {
            let count = self.expired[*reason as usize].records;
            if count > 0 {
                line(&format!("  expired: {}", reason.name()), count);
            }
        }
        if self.deleted.records > 0 {
            line("Deleted by order, flows", self.deleted.records);
            line("Deleted by order, packets", self.deleted.packets);
        }
        for (label, counter) in [
            ("Lost: ring full, packets", Counter::LostRingPackets),
            ("Lost: table busy, packets", Counter::LostBusyPackets),
        ] {
            if self.get(counter) > 0 {
                line(label, self.get(counter));
            }
        }
        self.export_to_text(&mut text);
        let (packets, _) = self.unexplained();
        let _ = writeln!(text, "{:<28}{packets:>16}", "Packets unexplained");
        text
    }

    fn export_to_text(&self, text: &mut String) {
        for exported in &self.export {
            let Exported {
                address,
                is_partial,
                counters,
                ..
            } = exported;
            if let Some(address) = address.filter(|_| self.export.len() > 1) {
                let some = if *is_partial {
                    ", for a part of the time"
                } else {
                    ""
                };
                let _ = writeln!(text, "To {address}{some}");
            }
            let mut line = |label: &str, count: u64| {
                let _ = writeln!(text, "{label:<28}{count:>16}");
            };
            line("Records exported", counters.records_exported.records);
            line("Datagrams sent", counters.datagrams_sent);
            for (label, count) in [
                (
                    "Records not in this version",
                    counters.records_unsupported.records,
                ),
                ("Records not sent", counters.records_unsent.records),
                ("Records lost in export", counters.records_lost.records),
                ("Packets lost in export", counters.records_lost.packets),
                ("Datagrams refused", counters.refusals),
                ("Datagrams shortened", counters.datagrams_shortened),
            ] {
                if count > 0 {
                    line(label, count);
                }
            }
        }
    }
}

/// Packets and octets that the programs lost by name: ring full, table busy.
fn lost(counters: &[u64; COUNTERS_MAX as usize]) -> (u64, u64) {
    let sum = |ring: Counter, busy: Counter| counters[ring as usize] + counters[busy as usize];
    (
        sum(Counter::LostRingPackets, Counter::LostBusyPackets),
        sum(Counter::LostRingOctets, Counter::LostBusyOctets),
    )
}

/// Counters by their names.
fn named(counters: &[u64; COUNTERS_MAX as usize]) -> Map<String, Value> {
    let entry = |counter: &Counter| {
        let value = counters[*counter as usize];
        (counter.name().to_owned(), json!(value))
    };
    Counter::ALL.iter().map(entry).collect()
}

/// A destination's account.
fn destination(counters: &ExportCounters) -> Value {
    let ExportCounters {
        records,
        records_exported,
        records_unsupported,
        records_unsent,
        records_lost,
        records_split,
        datagrams_sent,
        datagram_octets,
        datagrams_unsent,
        datagrams_shortened,
        refusals,
    } = counters;
    json!({
        "records": records.records,
        "records_exported": records_exported.records,
        "packets_exported": records_exported.packets,
        "octets_exported": records_exported.octets,
        "records_split": records_split,
        "records_unsupported": tally(records_unsupported),
        "records_unsent": tally(records_unsent),
        "records_lost": tally(records_lost),
        "datagrams_sent": datagrams_sent,
        "datagram_octets": datagram_octets,
        "datagrams_unsent": datagrams_unsent,
        "datagrams_shortened": datagrams_shortened,
        "datagrams_refused": refusals,
    })
}

/// A flow, as tallies count it.
fn one(taken: &Taken) -> Tally {
    Tally {
        records: 1,
        packets: taken.packets,
        octets: taken.octets,
    }
}

fn tally(tally: &Tally) -> Value {
    json!({ "records": tally.records, "packets": tally.packets, "octets": tally.octets })
}

fn number(difference: i128) -> i64 {
    i64::try_from(difference).unwrap_or(i64::MAX)
}
