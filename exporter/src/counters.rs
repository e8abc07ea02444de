//! What became of the records: each is in a datagram sent, or in one counter that says why not.

use crate::batch::Datagram;

/// Counts of an exporter, all since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportCounters {
    /// Records given to the exporter, with their packets and octets.
    pub records: Tally,
    /// Records that left in datagrams, after splitting.
    pub records_exported: Tally,
    /// Records the version cannot carry (IPv6 in v1 and v5).
    pub records_unsupported: Tally,
    /// Records in datagrams that could not be sent.
    pub records_unsent: Tally,
    /// Records that whoever was to send them took with it when it died.
    pub records_lost: Tally,
    /// Records added by splitting counts that do not fit the version's fields.
    pub records_split: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Octets of those, without UDP and IP headers.
    pub datagram_octets: u64,
    /// Datagrams that could not be sent.
    pub datagrams_unsent: u64,
    /// Datagrams that came back because the path takes less: their records left in shorter ones.
    pub datagrams_shortened: u64,
    /// Times the network said that an earlier datagram was not received (port closed, no route,
    /// longer than a router further on takes).
    pub refusals: u64,
}

impl ExportCounters {
    /// Counts a datagram that was given to the network, and its records.
    pub fn count_sent(&mut self, datagram: &Datagram) {
        self.datagrams_sent += 1;
        self.datagram_octets += datagram.octets.len() as u64;
        self.records_exported.merge(datagram.tally);
    }

    /// Counts a datagram that could not be, and its records.
    pub fn count_unsent(&mut self, datagram: &Datagram) {
        self.datagrams_unsent += 1;
        self.records_unsent.merge(datagram.tally);
    }

    /// Adds another destination's, where each got a share.
    pub fn merge(&mut self, other: &Self) {
        self.records.merge(other.records);
        self.records_exported.merge(other.records_exported);
        self.records_unsupported.merge(other.records_unsupported);
        self.records_unsent.merge(other.records_unsent);
        self.records_lost.merge(other.records_lost);
        self.records_split += other.records_split;
        self.datagrams_sent += other.datagrams_sent;
        self.datagram_octets += other.datagram_octets;
        self.datagrams_unsent += other.datagrams_unsent;
        self.datagrams_shortened += other.datagrams_shortened;
        self.refusals += other.refusals;
    }

    /// What is left without an earlier state of the same.
    #[must_use]
    pub fn without(&self, earlier: &Self) -> Self {
        Self {
            records: self.records.without(earlier.records),
            records_exported: self.records_exported.without(earlier.records_exported),
            records_unsupported: self
                .records_unsupported
                .without(earlier.records_unsupported),
            records_unsent: self.records_unsent.without(earlier.records_unsent),
            records_lost: self.records_lost.without(earlier.records_lost),
            records_split: self.records_split - earlier.records_split,
            datagrams_sent: self.datagrams_sent - earlier.datagrams_sent,
            datagram_octets: self.datagram_octets - earlier.datagram_octets,
            datagrams_unsent: self.datagrams_unsent - earlier.datagrams_unsent,
            datagrams_shortened: self.datagrams_shortened - earlier.datagrams_shortened,
            refusals: self.refusals - earlier.refusals,
        }
    }

    /// Counts as lost what was given and is in no other counter: who had it is gone.
    pub fn lose_the_rest(&mut self, given: Tally) {
        let mut explained = self.records_exported;
        explained.merge(self.records_unsupported);
        explained.merge(self.records_unsent);
        self.records = given;
        self.records_lost = Tally {
            records: (given.records + self.records_split).saturating_sub(explained.records),
            packets: given.packets.saturating_sub(explained.packets),
            octets: given.octets.saturating_sub(explained.octets),
        };
    }
}

/// A number of records and what they count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records.
    pub records: u64,
    /// Packets in them.
    pub packets: u64,
    /// Octets in them.
    pub octets: u64,
}

impl Tally {
    /// Adds a record, with what went either way.
    pub fn add(&mut self, record: &weir_netflow::FlowRecord) {
        let reverse = record.reverse.unwrap_or_default();
        self.merge(Self {
            records: 1,
            packets: record.packets.saturating_add(reverse.packets),
            octets: record.octets.saturating_add(reverse.octets),
        });
    }

    /// What is left without another tally, which is a part of it.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self {
            records: self.records.saturating_sub(other.records),
            packets: self.packets.saturating_sub(other.packets),
            octets: self.octets.saturating_sub(other.octets),
        }
    }

    /// Adds another tally.
    pub fn merge(&mut self, other: Self) {
        self.records += other.records;
        // Packets may claim 4 GiB each (jumbograms); a sum at its limit is no reason to stop.
        self.packets = self.packets.saturating_add(other.packets);
        self.octets = self.octets.saturating_add(other.octets);
    }
}
