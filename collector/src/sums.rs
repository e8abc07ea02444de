//! What is told of a stream (an exporter, a version, a domain): its counts, over all its TCP connections, those
//! that ended among them. How many streams of ended connections are remembered is bounded; of those that were
//! longest without one, the sums are told together ([`OTHERS`]).

use serde_json::{Value, json};
use weir_netflow::{ipfix, record::display_address, sflow, v1, v9};

use crate::{
    announced::Counted,
    exporter::Exporter,
    exporters::Key,
    loss::{Counts, Numbering},
};

/// Whose counts those are that no exporter's line has any more.
pub const OTHERS: &str = "others, whose connections ended";

/// What an exporter's numbers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Records,
    Datagrams,
}

impl Unit {
    /// v1 has no numbers: what was lost cannot be told.
    pub fn of(version: u16) -> Option<Self> {
        match version {
            v1::VERSION => None,
            v9::VERSION | sflow::VERSION_NUMBER => Some(Self::Datagrams),
            _ => Some(Self::Records),
        }
    }

    /// That of a stream's numbers, which are by the other one if it counts so.
    pub fn of_stream(version: u16, counts_other_unit: bool) -> Option<Self> {
        let unit = Self::of(version)?;
        Some(match (unit, counts_other_unit) {
            (unit, false) => unit,
            (Self::Records, true) => Self::Datagrams,
            (Self::Datagrams, true) => Self::Records,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Datagrams => "datagrams",
        }
    }
}

/// How each version numbers (RFC 3954 section 5.1, RFC 7011 section 3.1).
pub(crate) fn numbering(version: u16) -> Numbering {
    match (version, Unit::of(version)) {
        (_, Some(Unit::Datagrams)) => Numbering::Datagrams,
        (ipfix::VERSION, _) => Numbering::RecordsEitherWay,
        _ => Numbering::Records,
    }
}

/// The counts of one stream, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// The port that was heard last.
    port: u16,
    datagrams: u64,
    records: u64,
    counts: Counts,
    counts_other_unit: bool,
    templates: usize,
    waiting_sets: usize,
    /// What it said last that it counted itself; of several streams nothing.
    pub counted: Counted,
}

impl Sums {
    /// Those of one connection, or of all that came by UDP.
    pub(crate) fn of(exporter: &Exporter) -> Self {
        Self {
            port: exporter.port,
            datagrams: exporter.datagrams,
            records: exporter.records,
            counts: exporter.sequence.counts(),
            counts_other_unit: exporter.sequence.counts_other_unit(),
            templates: exporter.templates().count(),
            waiting_sets: exporter.waiting_sets(),
            counted: exporter.announced.counted,
        }
    }

    /// What is left of them when the connection ended.
    pub(crate) fn ended(self) -> Self {
        Self {
            templates: 0,
            waiting_sets: 0,
            ..self
        }
    }

    /// Adds those of another connection, the later one.
    pub(crate) fn add(&mut self, other: &Self) {
        self.port = other.port;
        self.datagrams += other.datagrams;
        self.records += other.records;
        self.counts.add(&other.counts);
        self.counts_other_unit |= other.counts_other_unit;
        self.templates += other.templates;
        self.waiting_sets += other.waiting_sets;
        self.counted.take(other.counted);
    }

    /// A stream's account.
    pub(crate) fn to_json(self, key: &Key) -> Value {
        let exporter = display_address(key.address).to_string();
        self.named(&exporter, key.version, key.domain)
    }

    /// The account of those without a line of their own: of IPFIX, since nothing else comes by TCP.
    pub(crate) fn others_to_json(self) -> Value {
        self.named(OTHERS, ipfix::VERSION, 0)
    }

    fn named(self, exporter: &str, version: u16, domain: u32) -> Value {
        let counts = self.counts;
        let unit = Unit::of_stream(version, self.counts_other_unit);
        let known = |count: u64| unit.map(|_| count);
        json!({
            "exporter": exporter,
            "version": version,
            "source_id": domain,
            "port": self.port,
            "datagrams": self.datagrams,
            "records": self.records,
            "templates": self.templates,
            "waiting_sets": self.waiting_sets,
            "lost": known(counts.lost),
            "lost_unit": unit.map(Unit::name),
            "reordered": known(counts.reordered),
            "duplicated": known(counts.duplicated),
            "restarts": known(counts.restarts),
            "doubtful": known(counts.doubtful),
        })
    }
}
