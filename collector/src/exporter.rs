//! One exporter's domain: its templates, its sampling, its sequence, and the data that waits for a
//! template. All of it is bounded.

use std::mem;

use weir_netflow::{FlowRecord, v9};

use crate::{
    loss::{Numbering, Sequence},
    lru::Lru,
    statistics::Statistics,
};

/// Templates remembered of each domain, the latest used.
pub const TEMPLATES_MAX: usize = 1024;
/// Fields in them.
pub const TEMPLATE_FIELDS_MAX: usize = 1 << 16;
/// Octets of data that waits for its template, of each domain.
pub const WAITING_OCTETS_MAX: usize = 1 << 20;
/// How long it waits: exporters repeat templates after a minute or some.
pub const WAITING_MAX_NS: u64 = 120_000_000_000;
/// What a waiting set takes besides its octets.
const WAITING_OVERHEAD_OCTETS: usize = 64;

/// What an exporter holds of what all share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Fields of its templates, some four octets each.
    pub template_fields: usize,
    /// Octets of its waiting data, with what each set takes besides.
    pub waiting_octets: usize,
}

/// Records that a template explains.
#[derive(Clone, Copy, Debug)]
pub struct DataSet<'a> {
    /// The template's id.
    pub template: u16,
    /// The records, and perhaps padding.
    pub octets: &'a [u8],
    /// Of the datagram it came in.
    pub header: &'a v9::Header,
    /// When that came, nanoseconds since 1970-01-01 UTC.
    pub received_ns: u64,
}

/// One without a template.
#[derive(Debug)]
struct Waiting {
    template: u16,
    header: v9::Header,
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
    /// What it announced: one packet in this many is looked at.
    pub sampling_interval: Option<u32>,
    templates: Lru<u16, v9::Template>,
    waiting: Vec<Waiting>,
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
            sampling_interval: None,
            templates: Lru::new(TEMPLATES_MAX),
            waiting: Vec::new(),
            held: Held::default(),
        }
    }

    /// What it holds.
    #[must_use]
    pub fn held(&self) -> Held {
        self.held
    }

    /// Its templates, in no order.
    pub fn templates(&self) -> impl Iterator<Item = &v9::Template> {
        self.templates.iter().map(|(_, template)| template)
    }

    /// Data sets that wait for a template.
    #[must_use]
    pub fn waiting_sets(&self) -> usize {
        self.waiting.len()
    }

    /// Takes a template: it replaces the one before at once (RFC 3954 section 9), data or options. Data
    /// that waited for it is decoded. True if it says anything new.
    pub fn learn(
        &mut self,
        template: v9::Template,
        counted: &mut Statistics,
        flow: &mut impl FnMut(FlowRecord, u64),
    ) -> bool {
        let (id, fields) = (template.id, template.fields.len());
        if self
            .templates
            .get(&id)
            .is_some_and(|known| *known == template)
        {
            return false;
        }
        let known = self.templates.remove(&id);
        let forgotten = self.templates.insert(id, template);
        self.held.template_fields += fields;
        self.held.template_fields -= known.map_or(0, |known| known.fields.len());
        self.forget_template(forgotten, counted);
        while self.held.template_fields > TEMPLATE_FIELDS_MAX {
            let oldest = self.templates.pop_oldest();
            self.forget_template(oldest, counted);
        }
        self.release(id, counted, flow);
        true
    }

    fn forget_template(
        &mut self,
        forgotten: Option<(u16, v9::Template)>,
        counted: &mut Statistics,
    ) {
        if let Some((_, template)) = forgotten {
            self.held.template_fields -= template.fields.len();
            counted.templates_forgotten += 1;
        }
    }

    /// Decodes the data that waited for a template.
    fn release(
        &mut self,
        id: u16,
        counted: &mut Statistics,
        flow: &mut impl FnMut(FlowRecord, u64),
    ) {
        if self.waiting.is_empty() {
            return;
        }
        let (ready, waiting): (Vec<_>, Vec<_>) = mem::take(&mut self.waiting)
            .into_iter()
            .partition(|set| set.template == id);
        self.waiting = waiting;
        for set in ready {
            self.held.waiting_octets -= waiting_cost(&set.octets);
            counted.late_template_sets += 1;
            let set = DataSet {
                template: id,
                octets: &set.octets,
                header: &set.header,
                received_ns: set.received_ns,
            };
            // The template is there now: nothing waits again.
            self.data(&set, 0, counted, flow);
        }
    }

    /// Decodes a data set, or has it wait for its template, if it takes no more than `room` octets.
    pub fn data(
        &mut self,
        set: &DataSet<'_>,
        room: usize,
        counted: &mut Statistics,
        flow: &mut impl FnMut(FlowRecord, u64),
    ) {
        let Some(template) = self.templates.get(&set.template) else {
            self.wait(set, room, counted);
            return;
        };
        if template.is_options() {
            counted.options_records += v9::record_count(template, set.octets) as u64;
            let announced = set
                .octets
                .chunks_exact(template.record_octets().max(1))
                .find_map(|record| v9::sampling_interval(template, record));
            self.sampling_interval = announced.or(self.sampling_interval);
            return;
        }
        for mut record in v9::records(template, set.octets, set.header) {
            if let Some(interval) = self.sampling_interval
                && record.sampling_interval == 1
            {
                record.sampling_interval = interval.max(1);
            }
            self.records += 1;
            flow(record, set.received_ns);
        }
    }

    fn wait(&mut self, set: &DataSet<'_>, room: usize, counted: &mut Statistics) {
        let cost = waiting_cost(set.octets);
        if cost > room || self.held.waiting_octets + cost > WAITING_OCTETS_MAX {
            count_unknown(set.octets, counted);
            return;
        }
        self.held.waiting_octets += cost;
        self.waiting.push(Waiting {
            template: set.template,
            header: *set.header,
            octets: set.octets.into(),
            received_ns: set.received_ns,
        });
    }

    /// Gives up on data that has waited too long.
    pub fn expire(&mut self, now_ns: u64, counted: &mut Statistics) {
        let held = &mut self.held;
        self.waiting.retain(|set| {
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
        for set in mem::take(&mut self.waiting) {
            count_unknown(&set.octets, counted);
        }
        self.held.waiting_octets = 0;
    }
}

fn waiting_cost(octets: &[u8]) -> usize {
    octets.len() + WAITING_OVERHEAD_OCTETS
}

fn count_unknown(octets: &[u8], counted: &mut Statistics) {
    counted.unknown_template_sets += 1;
    counted.unknown_template_octets += octets.len() as u64;
}
