//! Records into datagrams. A datagram opens with its first record and leaves when it is full, when
//! it is a second old, or on flush; its number, its count and its clocks are those of when it leaves, so
//! all its records' relative times are encoded then, and what is announced meanwhile has the number before.
//! One that turns out to be longer than the path takes is taken back: its records go into shorter ones.

use std::{collections::VecDeque, mem};

use weir_netflow::{
    ExportTime, FlowRecord, Layout, Optional, Sampling,
    announce::{Announcement, Part},
};

use crate::{
    counters::Tally,
    format::{Contents, Format, Version},
};

/// How the datagrams are made.
#[derive(Clone, Copy, Debug)]
pub struct BatchOptions {
    /// The format.
    pub version: Version,
    /// Octets a datagram may have, without UDP and IP headers; fewer once a path takes fewer.
    pub datagram_octets_max: usize,
    /// Templates are sent again after this many datagrams …
    pub template_datagrams: u32,
    /// … or this long, whichever is first.
    pub template_interval_ns: u64,
    /// v9's source id, IPFIX's domain, v5's engine type and id (its low 16 bits).
    pub source_id: u32,
    /// How packets were chosen.
    pub sampling: Sampling,
    /// What v9's and IPFIX's records have, and in which order.
    pub layout: Layout,
}

impl BatchOptions {
    /// Defaults for a format: softflowd's template count, a minute for quiet networks.
    #[must_use]
    pub const fn new(version: Version) -> Self {
        Self {
            version,
            datagram_octets_max: version.datagram_octets_max(),
            template_datagrams: 16,
            template_interval_ns: 60_000_000_000,
            source_id: 0,
            sampling: Sampling::NONE,
            layout: Layout::WEIR,
        }
    }

    /// Octets that a datagram needs at least: for the templates and one record; and any path is
    /// supposed to take 512 (RFC 7011 section 10.3.3).
    #[must_use]
    pub fn datagram_octets_min(&self) -> usize {
        self.format().datagram_octets_min()
    }

    fn format(&self) -> Format {
        Format::new(self.version, self.source_id, self.sampling, self.layout)
    }
}

/// A datagram ready to be sent, and what is in it.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// Its octets.
    pub octets: Vec<u8>,
    /// Its records.
    pub tally: Tally,
    records: Vec<FlowRecord>,
    sequence: u32,
}

/// Gathers records for one destination.
#[derive(Debug)]
pub struct Batcher {
    options: BatchOptions,
    format: Format,
    pending: Vec<FlowRecord>,
    /// Octets the pending records take, template and padding included.
    octets: usize,
    opened_ns: u64,
    /// Whether the open datagram has room for the templates, and so carries them; and what is said beside them.
    with_templates: bool,
    with_options: bool,
    sequence: u32,
    templates: TemplateState,
}

#[derive(Debug)]
struct TemplateState {
    due: bool,
    sent_ns: u64,
    datagrams: u32,
    /// When what is said beside them was sent; `None` if it may not have left.
    options_ns: Option<u64>,
}

impl Batcher {
    /// A batcher that has sent nothing yet.
    #[must_use]
    pub fn new(options: BatchOptions) -> Self {
        // softflowd's v9 counts from one.
        let counts_from_one = options.version == Version::V9 && options.layout.softflowd.is_some();
        Self {
            format: options.format(),
            options,
            pending: Vec::new(),
            octets: 0,
            opened_ns: 0,
            with_templates: false,
            with_options: false,
            sequence: u32::from(counts_from_one),
            templates: TemplateState {
                due: true,
                sent_ns: 0,
                datagrams: 0,
                options_ns: None,
            },
        }
    }

    /// Adds a record the format can carry; the datagram that this fills, if it does.
    pub fn push(&mut self, record: &FlowRecord, now: &ExportTime) -> Option<Datagram> {
        let mut full = None;
        if !self.fits(record) {
            full = self.flush(now);
        }
        if self.pending.is_empty() {
            self.open(now);
        }
        self.octets += self.octets_of(record);
        self.pending.push(*record);
        full
    }

    /// Closes the open datagram, if there is one.
    pub fn flush(&mut self, now: &ExportTime) -> Option<Datagram> {
        if self.pending.is_empty() {
            return None;
        }
        let mut tally = Tally::default();
        self.pending.iter().for_each(|record| tally.add(record));
        let sequence = self.sequence;
        let contents = Contents {
            format: &self.format,
            sequence,
            with_templates: self.with_templates,
            with_options: self.with_options,
            records: &self.pending,
        };
        let octets = contents.encode(now);
        self.sequence = sequence.wrapping_add(contents.units());
        if self.with_templates {
            self.templates = TemplateState {
                due: false,
                sent_ns: now.unix_ns,
                datagrams: 0,
                options_ns: self.templates.options_ns,
            };
        }
        if self.with_options {
            self.templates.options_ns = Some(now.unix_ns);
        }
        self.templates.datagrams = self.templates.datagrams.saturating_add(1);
        let room = Vec::with_capacity(self.pending.len());
        self.octets = 0;
        Some(Datagram {
            octets,
            tally,
            records: mem::replace(&mut self.pending, room),
            sequence,
        })
    }

    /// Has records carry these fields, too, from here on. The open datagram, whose records have not, is closed
    /// and returned. Templates of other fields have other ids, so that both definitions hold.
    pub fn widen(&mut self, optional: Optional, now: &ExportTime) -> Option<Datagram> {
        let datagram = self.flush(now);
        let layout = self.options.layout;
        self.relayout(Layout {
            optional: layout.optional.and(optional),
            ..layout
        });
        datagram
    }

    /// Has records be laid out so from here on, where no datagram is open: flush it before. Numbers go on, and the
    /// next datagram has the templates.
    pub fn relayout(&mut self, layout: Layout) {
        self.options.layout = layout;
        self.format = self.options.format();
        self.send_templates_again();
    }

    /// What is announced, in parts, as the version has it; nothing if it has no templates.
    #[must_use]
    pub fn parts(&self, said: &Announcement) -> VecDeque<Part> {
        self.format.parts(said).into()
    }

    /// Makes a datagram of the first of these parts, as many as fit and one at least, and takes them out;
    /// none if none are left. An open datagram leaves after it, and has its number when it does.
    pub fn announce(&mut self, parts: &mut VecDeque<Part>, now: &ExportTime) -> Option<Datagram> {
        let mut octets = self.options.version.header_octets();
        let mut taken = Vec::new();
        while let Some(part) = parts.front() {
            octets += part.octets.len();
            if octets > self.options.datagram_octets_max && !taken.is_empty() {
                break;
            }
            taken.extend(parts.pop_front());
        }
        if taken.is_empty() {
            return None;
        }
        let sequence = self.sequence;
        let (octets, units) = self.format.encode_parts(&taken, sequence, now);
        self.sequence = sequence.wrapping_add(units);
        Some(Datagram {
            octets,
            tally: Tally::default(),
            records: Vec::new(),
            sequence,
        })
    }

    /// Takes the last datagram back, since it did not leave, and makes shorter ones from here on.
    /// Its number is the next one's, which has the templates: they may have been in this one.
    /// Returns its records and those that waited behind them, to be pushed again.
    #[must_use]
    pub fn take_back(&mut self, datagram: Datagram, octets_max: usize) -> Vec<FlowRecord> {
        let options = &mut self.options;
        options.datagram_octets_max = options.datagram_octets_max.min(octets_max);
        self.sequence = datagram.sequence;
        self.send_templates_again();
        let mut records = datagram.records;
        records.append(&mut self.pending);
        self.octets = 0;
        records
    }

    /// Takes the last datagram back, since it did not leave, and begins anew: the collector knows
    /// nothing of what was sent before. IPFIX numbers records from zero in each session (RFC 7011
    /// section 3.1); other versions know no sessions, and their numbers go on. Returns its records and
    /// those that waited behind them, to be pushed again.
    #[must_use]
    pub fn begin_anew(&mut self, datagram: Datagram) -> Vec<FlowRecord> {
        let records = self.take_back(datagram, usize::MAX);
        if self.options.version == Version::Ipfix {
            self.sequence = 0;
        }
        records
    }

    /// How the datagrams are made.
    #[must_use]
    pub fn options(&self) -> &BatchOptions {
        &self.options
    }

    /// When the open datagram was opened, by the wall clock.
    #[must_use]
    pub fn opened_ns(&self) -> Option<u64> {
        (!self.pending.is_empty()).then_some(self.opened_ns)
    }

    /// Puts the templates into the next datagram: the one they were in was not sent.
    pub fn send_templates_again(&mut self) {
        self.templates.due = true;
        self.templates.options_ns = None;
    }

    fn open(&mut self, now: &ExportTime) {
        self.opened_ns = now.unix_ns;
        let templates = &mut self.templates;
        let is_long_ago =
            |sent_ns: u64| now.unix_ns.abs_diff(sent_ns) >= self.options.template_interval_ns;
        templates.due |= templates.datagrams >= self.options.template_datagrams
            || is_long_ago(templates.sent_ns);
        let says_options =
            self.format.needs_options() || templates.options_ns.is_none_or(is_long_ago);
        let version = self.options.version;
        self.with_templates = templates.due && version.has_templates();
        self.octets = version.header_octets();
        if self.with_templates {
            self.octets += self.format.templates_octets();
        }
        self.with_options = self.with_templates && says_options;
        if self.with_options {
            self.octets += self.format.options_octets();
        }
    }

    fn fits(&self, record: &FlowRecord) -> bool {
        self.pending.is_empty()
            || self.octets + self.octets_of(record) <= self.options.datagram_octets_max
    }

    /// Octets a record adds, with its set's header and padding if it begins one.
    fn octets_of(&self, record: &FlowRecord) -> usize {
        let last = self.pending.last();
        let begins_set = last.is_none_or(|last| !self.format.share_set(last, record));
        self.format.record_octets(record, begins_set)
    }
}

#[cfg(test)]
mod tests;
