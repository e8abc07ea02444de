//! One exporter's domain: its templates, what it announced, its sequence, and the data that waits for a
//! template. All of it is bounded.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    net::Ipv6Addr,
};

use weir_netflow::{
    TimeBase,
    data::{self, DataRecord},
    ipfix, options, plain,
    set::Definition,
    template::Template,
};

use weir_store::others::{Gathering, Other, Others};

use crate::{
    announced::Announced,
    copies::Copies,
    keeping::Keep,
    loss::{Numbering, Sequence},
    lru::Lru,
    outlet,
    sampled::{self, UptimeClock},
    samples::Samples,
    statistics::Statistics,
};

/// Templates remembered of each domain, the latest used.
pub const TEMPLATES_MAX: usize = 1024;
/// Fields in them, with those that each counts for besides.
const TEMPLATE_FIELDS_MAX: usize = 1 << 16;
/// A template takes as much besides its fields as so many do: of those of one field there would be a million else.
const TEMPLATE_OVERHEAD_FIELDS: usize = 16;
/// Octets of data that waits for its template, of each domain.
pub const WAITING_OCTETS_MAX: usize = 1 << 20;
/// How long it waits: exporters repeat templates after a minute or some.
pub const WAITING_MAX_NS: u64 = 120_000_000_000;
/// Records of waiting data that one datagram has decoded, and those of one more set: as many as a datagram
/// can hold itself. A template of records of an octet would make a million of a megabyte.
pub const LATE_RECORDS_MAX: u64 = 1 << 16;
/// The sampling interval of a flow of which nobody told one, until [`crate::exporters::Settings`] do.
pub(crate) const RATE_NOT_TOLD: u32 = 0;
/// Records of a set that are read member by member: fewer are read sooner one by one, since each column is a call.
const PLAIN_MIN: usize = 4;
/// What a waiting set takes besides its octets.
const WAITING_OVERHEAD_OCTETS: usize = 128;

/// What an exporter holds of what all share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Fields of its templates, some sixteen octets each, with those that each template counts for besides.
    pub template_fields: usize,
    /// Octets of its waiting data, with what each set takes besides.
    pub waiting_octets: usize,
    /// Interfaces whose names it said.
    pub interfaces: usize,
    /// Its sources of samples.
    pub sources: usize,
}

/// Records that a template explains.
#[derive(Clone, Copy, Debug)]
pub struct DataSet<'a> {
    /// The template's id.
    pub template: u16,
    /// The records, and perhaps padding.
    pub octets: &'a [u8],
    /// What its times count from.
    pub time: TimeBase,
    /// When its datagram came, nanoseconds since 1970-01-01 UTC.
    pub received_ns: u64,
}

/// What the sets of one datagram are taken with, and what comes of them.
pub struct Intake<'a, K> {
    /// Octets of data that waits for its template that the exporter may hold, by what the others hold.
    pub waiting_octets_max: usize,
    /// Whether it came over a connection, where templates can be withdrawn.
    pub in_session: bool,
    /// Who sent it.
    pub sender: Ipv6Addr,
    /// Counts of this datagram alone.
    pub counted: Statistics,
    /// Templates that were learned of it, by id, those of options first: for [`Exporter::release`].
    pub learned: BTreeSet<(bool, u16)>,
    /// Gets the records.
    pub keep: &'a mut K,
}

/// One without a template.
#[derive(Debug)]
struct Waiting {
    time: TimeBase,
    octets: Box<[u8]>,
    received_ns: u64,
}

/// One exporter's domain.
#[derive(Debug)]
pub struct Exporter {
    /// Its numbers.
    pub sequence: Sequence,
    /// Datagrams heard.
    pub datagrams: u64,
    /// Flow records in them.
    pub records: u64,
    /// The port it was heard from last.
    pub port: u16,
    /// When it was heard last, nanoseconds since 1970-01-01 UTC.
    pub heard_ns: u64,
    /// What it said about itself.
    pub announced: Announced,
    /// Its latest datagrams.
    pub copies: Copies,
    /// Its sources of samples, if it sends sFlow.
    pub samples: Samples,
    /// Its clock, if it sends sFlow, which has none.
    pub clock: UptimeClock,
    templates: Lru<u16, Template>,
    /// By template, then as they came: a template finds its own without looking at the others.
    waiting: BTreeMap<(u16, u64), Waiting>,
    /// Sets that ever waited.
    waited: u64,
    held: Held,
}

impl Exporter {
    /// One that was not heard yet.
    #[must_use]
    pub fn new(numbering: Numbering) -> Self {
        Self {
            sequence: Sequence::new(numbering),
            datagrams: 0,
            records: 0,
            port: 0,
            heard_ns: 0,
            announced: Announced::default(),
            copies: Copies::default(),
            samples: Samples::default(),
            clock: UptimeClock::default(),
            templates: Lru::new(TEMPLATES_MAX),
            waiting: BTreeMap::new(),
            waited: 0,
            held: Held::default(),
        }
    }

    /// What it holds.
    #[must_use]
    pub fn held(&self) -> Held {
        Held {
            interfaces: self.announced.interfaces(),
            sources: self.samples.sources(),
            ..self.held
        }
    }

    /// Its templates, in no order.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        self.templates.iter().map(|(_, template)| template)
    }

    /// Data sets that wait for a template.
    #[must_use]
    pub fn waiting_sets(&self) -> usize {
        self.waiting.len()
    }

    /// Takes a definition. It replaces what had its id, at once (RFC 3954 section 9), even if it cannot
    /// be used. Withdrawals are for connections; over UDP they are to be ignored (RFC 7011 sections 8.1
    /// and 8.4). True if anything changes.
    pub fn define<K: Keep>(&mut self, found: Definition, intake: &mut Intake<'_, K>) -> bool {
        match found {
            Definition::Template(template) => {
                intake.counted.templates += 1;
                self.learn(template, intake)
            }
            Definition::Refused(id) => {
                intake.counted.templates_refused += 1;
                self.remove(id)
            }
            Definition::Withdrawn(id) => {
                intake.counted.templates_withdrawn += 1;
                intake.in_session && self.withdraw(id)
            }
        }
    }

    /// Takes a template, of data or options; [`release`](Self::release) decodes the data that waited for it. True if
    /// it says anything new.
    pub fn learn<K: Keep>(&mut self, template: Template, intake: &mut Intake<'_, K>) -> bool {
        let (id, cost) = (template.id(), template_cost(&template));
        let learned = (!template.is_options(), id);
        if self
            .templates
            .get(&id)
            .is_some_and(|known| *known == template)
        {
            return false;
        }
        self.remove(id);
        let forgotten = self.templates.insert(id, template);
        self.held.template_fields += cost;
        self.forget_template(forgotten, &mut intake.counted);
        while self.held.template_fields > TEMPLATE_FIELDS_MAX {
            let oldest = self.templates.pop_oldest();
            self.forget_template(oldest, &mut intake.counted);
        }
        intake.learned.insert(learned);
        true
    }

    /// True if there was one with this id.
    fn remove(&mut self, id: u16) -> bool {
        let removed = self.templates.remove(&id);
        if let Some(template) = &removed {
            self.held.template_fields -= template_cost(template);
        }
        removed.is_some()
    }

    /// The ids of template sets stand for all templates of their kind.
    fn withdraw(&mut self, id: u16) -> bool {
        let are_options = match id {
            ipfix::TEMPLATE_SET => false,
            ipfix::OPTIONS_TEMPLATE_SET => true,
            id => return self.remove(id),
        };
        let ids: Vec<_> = self
            .templates()
            .filter(|template| template.is_options() == are_options)
            .map(Template::id)
            .collect();
        for id in &ids {
            self.remove(*id);
        }
        !ids.is_empty()
    }

    fn forget_template(&mut self, forgotten: Option<(u16, Template)>, counted: &mut Statistics) {
        if let Some((_, template)) = forgotten {
            self.held.template_fields -= template_cost(&template);
            counted.templates_forgotten += 1;
        }
    }

    /// Decodes the data that waited for the templates of a datagram, once all else in it is taken: the rates and the
    /// boot time in it may be those of that data. As far as this datagram has not decoded [`LATE_RECORDS_MAX`] yet.
    pub fn release<K: Keep>(&mut self, intake: &mut Intake<'_, K>) {
        for (_, id) in mem::take(&mut intake.learned) {
            // It may be withdrawn or forgotten by now.
            if self.templates.peek(&id).is_some() {
                self.release_of(id, intake);
            }
        }
    }

    fn release_of<K: Keep>(&mut self, id: u16, intake: &mut Intake<'_, K>) {
        while let Some(waiting) = self.next_waiting(id) {
            self.held.waiting_octets -= waiting_cost(&waiting.octets);
            if intake.counted.late_records >= LATE_RECORDS_MAX {
                intake.counted.late_sets_refused += 1;
                continue;
            }
            intake.counted.late_template_sets += 1;
            let set = DataSet {
                template: id,
                octets: &waiting.octets,
                time: waiting.time,
                received_ns: waiting.received_ns,
            };
            // The template is there: nothing waits again.
            let records = self.data(&set, intake);
            intake.counted.late_records += u64::from(records.unwrap_or(0));
        }
    }

    /// Takes the set out that has waited for this template the longest.
    fn next_waiting(&mut self, id: u16) -> Option<Waiting> {
        let mut of_template = self.waiting.range((id, 0)..=(id, u64::MAX));
        let key = *of_template.next()?.0;
        self.waiting.remove(&key)
    }

    /// Decodes a data set, or has it wait for its template. The number of its records, if it is known.
    pub fn data<K: Keep>(&mut self, set: &DataSet<'_>, intake: &mut Intake<'_, K>) -> Option<u32> {
        let Intake {
            waiting_octets_max,
            sender,
            counted,
            keep,
            ..
        } = intake;
        let Some(template) = self.templates.get(&set.template) else {
            self.wait(set, *waiting_octets_max, counted);
            return None;
        };
        let template: &Template = template;
        let Some(count) = template.record_count(set.octets) else {
            counted.malformed_sets += 1;
            return None;
        };
        if template.is_options() {
            counted.options_records += count as u64;
            for record in template.records(set.octets) {
                let said = options::read(template, record);
                let is_taken = self.announced.take(&said);
                counted.announcements_refused += u64::from(!is_taken);
            }
            return u32::try_from(count).ok();
        }
        // IPFIX headers have no sysUptime; options may have said when the exporter booted.
        let time = match set.time.uptime_ms {
            Some(_) => set.time,
            None => self
                .announced
                .time_base(set.time.export_ns, template, set.octets),
        };
        if count >= PLAIN_MIN
            && let Some(one_in) = self.announced.one_in_of_set(set.template)
            && let Some(records) = plain::records(template, set.octets, time)
            && let Some(untimed) = keep.plain(records, one_in, set.received_ns)
        {
            self.records += count as u64;
            counted.untimed_records += untimed;
            return u32::try_from(count).ok();
        }
        let mut gathering = Gathering::default();
        // A record is large. Here it is made where it is used, and copied once: to where it is kept.
        data::records(template, set.octets, time).for_each(|mut record| {
            let Some(is_sample) = take_section(&mut record, counted) else {
                return;
            };
            gather(&record, is_sample, *sender, &mut gathering, counted);
            counted.untimed_records += u64::from(!record.timed);
            let untold = if record.is_rate_told {
                1
            } else {
                RATE_NOT_TOLD
            };
            // Both directions have the rate.
            if record.flow.sampling_interval == 1 {
                let announced = self.announced.one_in(&record, set.template);
                record.flow.sampling_interval = announced.unwrap_or(untold);
            }
            self.records += 1;
            keep.flow(&record.flow, set.received_ns, gathering.finish());
            if let Some(reverse) = record.reverse() {
                counted.reverse_records += 1;
                keep.flow(&reverse, set.received_ns, Others::NONE);
            }
        });
        u32::try_from(count).ok()
    }

    fn wait(&mut self, set: &DataSet<'_>, octets_max: usize, counted: &mut Statistics) {
        let cost = waiting_cost(set.octets);
        let octets_max = octets_max.min(WAITING_OCTETS_MAX);
        // No record will ever come out of an empty set.
        if set.octets.is_empty() || self.held.waiting_octets + cost > octets_max {
            count_unknown(set.octets, counted);
            return;
        }
        self.held.waiting_octets += cost;
        let waiting = Waiting {
            time: set.time,
            octets: set.octets.into(),
            received_ns: set.received_ns,
        };
        self.waiting.insert((set.template, self.waited), waiting);
        self.waited += 1;
    }

    /// Gives up on data that has waited too long.
    pub fn expire(&mut self, now_ns: u64, counted: &mut Statistics) {
        let held = &mut self.held;
        self.waiting.retain(|_, set| {
            let stays = now_ns.saturating_sub(set.received_ns) <= WAITING_MAX_NS;
            if !stays {
                held.waiting_octets -= waiting_cost(&set.octets);
                count_unknown(&set.octets, counted);
            }
            stays
        });
    }

    /// Gives up on all data that waits.
    pub fn give_up(&mut self, counted: &mut Statistics) {
        for set in mem::take(&mut self.waiting).into_values() {
            count_unknown(&set.octets, counted);
        }
        self.held.waiting_octets = 0;
    }
}

/// Has a record that says no addresses be the flow of its packet's first octets; whether it is. None if they are all it
/// says, and no IP packet's: what was counted is a flow, whatever it was counted of.
#[inline]
fn take_section(record: &mut DataRecord<'_>, counted: &mut Statistics) -> Option<bool> {
    if !record.is_of_section() {
        return Some(false);
    }
    let header = record.sampled_header();
    let is_read = header.is_some_and(|header| sampled::fill(&mut record.flow, &header));
    let has_counts =
        record.flow.packets > 0 || record.flow.octets > 0 || record.reverse().is_some();
    if is_read || !has_counts {
        counted.flow_samples += 1;
    }
    if !is_read && !has_counts {
        counted.samples_not_ip += 1;
        return None;
    }
    Some(is_read)
}

/// Gathers what a record says that its flow has no place for, but that it is its sender's. Of a sample the flow says what
/// its octets do.
#[inline]
fn gather(
    record: &DataRecord<'_>,
    is_sample: bool,
    sender: Ipv6Addr,
    gathering: &mut Gathering,
    counted: &mut Statistics,
) {
    if !record.has_aside() {
        return;
    }
    for aside in record.aside() {
        if is_sample && aside.is_section() {
            continue;
        }
        let other = Other {
            enterprise: aside.enterprise,
            element: aside.element,
            octets: aside.octets,
        };
        if outlet::exporter(&other) == Some(sender) {
            continue;
        }
        let is_whole = gathering.add(&other, aside.length);
        counted.values_not_stored += u64::from(!is_whole);
    }
}

fn template_cost(template: &Template) -> usize {
    template.fields().len() + TEMPLATE_OVERHEAD_FIELDS
}

fn waiting_cost(octets: &[u8]) -> usize {
    octets.len() + WAITING_OVERHEAD_OCTETS
}

fn count_unknown(octets: &[u8], counted: &mut Statistics) {
    counted.unknown_template_sets += 1;
    counted.unknown_template_octets += octets.len() as u64;
}
