//! What an exporter said about itself in options records: sampling rates, what its interfaces are
//! called, its own counters, when it booted. Bounded, since an exporter may be anybody.

use hashbrown::HashMap;
use serde_json::{Map, Value, json};
use weir_netflow::{
    TimeBase,
    data::{self, DataRecord},
    options::{self, Announcement, COUNTERS, Sampler},
    template::Template,
};

use crate::exporter::RATE_NOT_TOLD;

/// Sampling rates remembered of an exporter.
const SAMPLERS_MAX: usize = 256;
/// Interfaces whose names are remembered of it.
const INTERFACES_MAX: usize = 4096;

/// How much the same boot's time may differ each time it is said.
const BOOT_TOLERANCE_MS: u64 = 1000;
/// Flows are exported sooner than that after their end.
const REMEMBERED_AGE_MAX_NS: u64 = 3_600_000_000_000;

/// What an exporter counted of itself, as [`COUNTERS`] names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted([Option<u64>; COUNTERS.len()]);

impl Counted {
    /// Takes what was said later; of what was not, what is known stays.
    pub fn take(&mut self, said: Self) {
        for (counter, said) in self.0.iter_mut().zip(said.0) {
            *counter = said.or(*counter);
        }
    }

    /// Adds what is known to an exporter's account.
    pub fn add_to_json(&self, object: &mut Map<String, Value>) {
        let counters = self.0.iter().zip(COUNTERS);
        let counters: Map<String, Value> = counters
            .filter_map(|(count, (_, name))| Some((name.to_owned(), Value::from((*count)?))))
            .collect();
        if !counters.is_empty() {
            object.insert("counters".to_owned(), Value::Object(counters));
        }
    }
}

/// What one exporter said last.
#[derive(Debug, Default)]
pub struct Announced {
    one_in: HashMap<Sampler, u32>,
    /// Whether an interface has one.
    are_by_interface: bool,
    /// The rate of all interfaces that have one, if it is the same.
    of_interfaces: Option<u32>,
    /// That of all samplers that have a number, likewise.
    of_samplers: Option<u32>,
    interfaces: HashMap<u32, Names>,
    /// What it counted.
    pub counted: Counted,
    /// When it booted, milliseconds since 1970-01-01 UTC.
    boot_ms: Option<u64>,
    /// Whether it said so to this collector, and not to an earlier one.
    is_boot_said: bool,
    /// Whether a rate, a name or the boot is another one; whoever notes it clears it.
    pub changed: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Names {
    name: String,
    description: String,
}

impl Names {
    /// What is said; of what is not, what was known: some say name and description in records of their own.
    fn of(said: &options::Interface<'_>, known: Option<&Self>) -> Self {
        let text = |said: &[u8], known: Option<&String>| {
            let text = options::text(said);
            match known {
                Some(known) if text.is_empty() => known.clone(),
                _ => text,
            }
        };
        Self {
            name: text(said.name, known.map(|known| &known.name)),
            description: text(said.description, known.map(|known| &known.description)),
        }
    }
}

impl Announced {
    /// Takes what an options record says. False if there was no room for all of it.
    pub fn take(&mut self, said: &Announcement<'_>) -> bool {
        let mut taken = true;
        if let Some((sampler, one_in)) = said.sampling {
            taken &= self.set_rate(sampler, one_in);
        }
        if let Some(interface) = said.interface {
            let known = self.interfaces.get(&interface.ifindex);
            if known.is_some() || self.interfaces.len() < INTERFACES_MAX {
                let names = Names::of(&interface, known);
                if known != Some(&names) {
                    self.changed = true;
                    self.interfaces.insert(interface.ifindex, names);
                }
            } else {
                taken = false;
            }
        }
        if let Some(boot_ms) = said.boot_ms {
            // What is reckoned anew from two clocks each time differs by their last digits.
            let is_other = |known: u64| known.abs_diff(boot_ms) > BOOT_TOLERANCE_MS;
            self.changed |= self.boot_ms.is_none_or(is_other);
            (self.boot_ms, self.is_boot_said) = (Some(boot_ms), true);
        }
        self.counted.take(Counted(said.counters));
        taken
    }

    /// When it booted, as far as it is known.
    #[must_use]
    pub fn boot_ms(&self) -> Option<u64> {
        self.boot_ms
    }

    /// What it said of its boot to an earlier collector; it may have booted since.
    pub fn remember_boot(&mut self, boot_ms: Option<u64>) {
        (self.boot_ms, self.is_boot_said) = (boot_ms, false);
    }

    /// What the times in a data set count from, where its header does not say. A boot of which an earlier collector knew
    /// is not believed if it would have the set's first flow end long before it was exported.
    #[must_use]
    pub fn time_base(&self, export_ns: u64, template: &Template, octets: &[u8]) -> TimeBase {
        let base = TimeBase::booted(export_ns, self.boot_ms);
        if self.boot_ms.is_none() || self.is_boot_said {
            return base;
        }
        let first = data::records(template, octets, base).next();
        let is_believed = first.is_none_or(|first| {
            export_ns.saturating_sub(first.flow.end_ns) <= REMEMBERED_AGE_MAX_NS
        });
        if is_believed {
            base
        } else {
            TimeBase::booted(export_ns, None)
        }
    }

    /// Sets the rate of some packets. False if there was no room for it.
    pub fn set_rate(&mut self, sampler: Sampler, one_in: u32) -> bool {
        let room = self.one_in.len() < SAMPLERS_MAX || self.one_in.contains_key(&sampler);
        if room && self.one_in.insert(sampler, one_in) != Some(one_in) {
            self.changed = true;
            self.are_by_interface |= matches!(sampler, Sampler::Interface(_));
            self.of_interfaces =
                self.common_rate(|sampler| matches!(sampler, Sampler::Interface(_)));
            self.of_samplers = self.common_rate(|sampler| matches!(sampler, Sampler::Id(_)));
        }
        room
    }

    /// The rate of all of these, if it is the same.
    fn common_rate(&self, is_meant: impl Fn(&Sampler) -> bool) -> Option<u32> {
        let meant = self.one_in.iter().filter(|(sampler, _)| is_meant(sampler));
        let mut rates = meant.map(|(_, one_in)| *one_in);
        let first = rates.next()?;
        rates.all(|rate| rate == first).then_some(first)
    }

    /// Its sampling rates, in a stable order.
    #[must_use]
    pub fn rates(&self) -> Vec<(Sampler, u32)> {
        let mut rates: Vec<_> = self.one_in.iter().map(|(of, n)| (*of, *n)).collect();
        rates.sort_unstable();
        rates
    }

    /// Forgets what its interfaces are called, for want of room; over UDP they are named again.
    pub fn forget_interfaces(&mut self) {
        self.interfaces = HashMap::new();
    }

    /// Interfaces whose names are known.
    #[must_use]
    pub fn interfaces(&self) -> usize {
        self.interfaces.len()
    }

    /// What its interfaces are called, by their numbers, as JSON.
    #[must_use]
    pub fn interface_names(&self) -> Value {
        let mut interfaces: Vec<_> = self.interfaces.iter().collect();
        interfaces.sort_by_key(|(ifindex, _)| **ifindex);
        let interfaces = interfaces.into_iter().map(|(ifindex, names)| {
            let Names { name, description } = names;
            let names = json!({ "name": name, "description": description });
            (ifindex.to_string(), names)
        });
        Value::Object(interfaces.collect())
    }

    /// The sampling rate of all records of a template that name no sampler themselves, [`RATE_NOT_TOLD`] if nothing says
    /// one; none if each has that of its interfaces. As [`Self::one_in`] has it of one record.
    #[must_use]
    pub fn one_in_of_set(&self, template: u16) -> Option<u32> {
        let known = |sampler| self.one_in.get(&sampler).copied();
        let of_template = known(Sampler::Template(template));
        if of_template.is_none() && self.are_by_interface {
            return None;
        }
        let one_in = of_template.or_else(|| known(Sampler::All));
        one_in.or(self.of_samplers).or(Some(RATE_NOT_TOLD))
    }

    /// The sampling rate of a record of a template, by what says most about it; none if nothing does. That of
    /// an interface is that of its own records, and of those that name none if all interfaces have the same; so
    /// is that of a sampler with a number, which many routers announce and name in no record.
    #[must_use]
    pub fn one_in(&self, record: &DataRecord<'_>, template: u16) -> Option<u32> {
        if self.one_in.is_empty() {
            return None;
        }
        let known = |sampler| self.one_in.get(&sampler).copied();
        let interfaces = [record.flow.ingress_ifindex, record.flow.egress_ifindex];
        let of_all = if interfaces == [0, 0] {
            self.of_interfaces
        } else {
            None
        };
        record
            .sampler
            .and_then(|id| known(Sampler::Id(id)))
            .or_else(|| known(Sampler::Template(template)))
            .or_else(|| known(Sampler::Interface(interfaces[0])))
            .or_else(|| known(Sampler::Interface(interfaces[1])))
            .or_else(|| known(Sampler::All))
            .or(of_all)
            // A record that names another sampler, 0 mostly, was not chosen by these.
            .or(self.of_samplers.filter(|_| record.sampler.is_none()))
    }

    /// As entries of a JSON object, those that say something, in a stable order.
    pub fn add_to_json(&self, object: &mut Map<String, Value>) {
        let rates = self.rates();
        if !rates.is_empty() {
            let rates = rates
                .into_iter()
                .map(|(of, one_in)| (name_of(of), Value::from(one_in)));
            object.insert("sampling_one_in".to_owned(), Value::Object(rates.collect()));
        }
        if !self.interfaces.is_empty() {
            object.insert("interfaces".to_owned(), self.interface_names());
        }
    }
}

fn name_of(sampler: Sampler) -> String {
    match sampler {
        Sampler::All => "all".to_owned(),
        Sampler::Id(id) => format!("sampler {id}"),
        Sampler::Template(id) => format!("template {id}"),
        Sampler::Interface(ifindex) => format!("interface {ifindex}"),
    }
}

#[cfg(test)]
mod tests {
    use weir_netflow::{options::Interface, template::Field};

    use super::*;

    /// The rate of a record of template 256 that names a sampler and came in at interface 7.
    fn one_in(announced: &Announced, sampler: u8) -> u32 {
        one_in_at(announced, sampler, 7)
    }

    /// The same of another interface.
    fn one_in_at(announced: &Announced, sampler: u8, ifindex: u8) -> u32 {
        let template = Template::new(256, None, vec![Field::new(48, 1), Field::new(10, 1)]);
        let (template, base) = (template.unwrap(), TimeBase::booted(0, None));
        let octets = [sampler, ifindex];
        let record = data::records(&template, &octets, base).next().unwrap();
        announced.one_in(&record, template.id()).unwrap_or(1)
    }

    fn rate(sampler: Sampler, one_in: u32) -> Announcement<'static> {
        Announcement {
            sampling: Some((sampler, one_in)),
            ..Announcement::default()
        }
    }

    /// Fault case C17: where there is one, it is that of each record that names no sampler, whatever its interface.
    #[test]
    fn c17_the_rate_of_a_set_is_that_of_its_records() {
        let said = [
            Sampler::All,
            Sampler::Id(1),
            Sampler::Id(2),
            Sampler::Template(256),
            Sampler::Template(257),
            Sampler::Interface(7),
        ];
        let template = Template::new(256, None, vec![Field::new(10, 1)]).unwrap();
        for chosen in 0_u32..1 << said.len() {
            let mut announced = Announced::default();
            for (index, sampler) in said.into_iter().enumerate() {
                if chosen >> index & 1 == 1 {
                    // Both samplers with numbers have the same one.
                    let one_in = if index == 2 {
                        20
                    } else {
                        10 * (1 + u32::try_from(index).unwrap())
                    };
                    assert!(announced.set_rate(sampler, one_in));
                }
            }
            let of_set = announced.one_in_of_set(256);
            let may_differ = chosen & 0b10_1000 == 0b10_0000;
            assert_eq!(of_set.is_none(), may_differ, "{chosen:b}");
            for ifindex in [0, 7, 8] {
                let octets = [ifindex];
                let base = TimeBase::booted(0, None);
                let record = data::records(&template, &octets, base).next().unwrap();
                let one_in = announced.one_in(&record, 256).unwrap_or(RATE_NOT_TOLD);
                assert!(of_set.is_none_or(|of_set| of_set == one_in), "{chosen:b}");
            }
        }
    }

    /// Fault case C17.
    #[test]
    fn c17_each_record_has_the_rate_that_says_most_about_it() {
        let mut announced = Announced::default();
        assert_eq!(one_in(&announced, 1), 1);
        assert!(announced.take(&rate(Sampler::Interface(8), 800)));
        // Of another interface it says nothing; of one that is not named it is all there is to go by.
        assert_eq!(one_in(&announced, 1), 1);
        assert_eq!(one_in_at(&announced, 1, 8), 800);
        assert_eq!(one_in_at(&announced, 1, 0), 800);
        assert!(announced.take(&rate(Sampler::Interface(9), 800)));
        assert_eq!(one_in_at(&announced, 1, 0), 800);
        assert!(announced.take(&rate(Sampler::Interface(9), 900)));
        assert_eq!(one_in_at(&announced, 1, 0), 1);
        assert!(announced.take(&rate(Sampler::All, 10)));
        assert_eq!(one_in(&announced, 1), 10);
        assert!(announced.take(&rate(Sampler::Interface(7), 70)));
        assert_eq!(one_in(&announced, 1), 70);
        assert!(announced.take(&rate(Sampler::Template(256), 256)));
        assert_eq!(one_in(&announced, 1), 256);
        assert!(announced.take(&rate(Sampler::Id(1), 1000)));
        assert_eq!((one_in(&announced, 1), one_in(&announced, 2)), (1000, 256));
        // It changes.
        assert!(announced.take(&rate(Sampler::Id(1), 2000)));
        assert_eq!(one_in(&announced, 1), 2000);
    }

    /// Fault case C17: a sampler is announced by its number, and records name none.
    #[test]
    fn c17_a_record_that_names_no_sampler_has_the_rate_that_all_of_them_have() {
        let mut announced = Announced::default();
        let unnamed = |announced: &Announced| {
            let template = Template::new(256, None, vec![Field::new(10, 1)]).unwrap();
            let base = TimeBase::booted(0, None);
            let record = data::records(&template, &[7], base).next().unwrap();
            announced.one_in(&record, template.id())
        };
        assert_eq!(unnamed(&announced), None);
        announced.take(&rate(Sampler::Id(1), 512));
        assert_eq!(unnamed(&announced), Some(512));
        // 0 says that it was not sampled, 2 that it was by one that is not known.
        assert_eq!((one_in(&announced, 0), one_in(&announced, 2)), (1, 1));
        announced.take(&rate(Sampler::Id(2), 512));
        assert_eq!(unnamed(&announced), Some(512));
        announced.take(&rate(Sampler::Id(2), 1024));
        assert_eq!(unnamed(&announced), None, "it may be either");
        announced.take(&rate(Sampler::All, 10));
        assert_eq!(unnamed(&announced), Some(10));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut announced = Announced::default();
        for id in 0..1000 {
            let taken = announced.take(&rate(Sampler::Id(id), 5));
            assert_eq!(taken, id < 256);
        }
        let named = |ifindex| Announcement {
            interface: Some(Interface {
                ifindex,
                name: b"eth0",
                description: b"",
            }),
            ..Announcement::default()
        };
        for ifindex in 0..5000 {
            assert_eq!(announced.take(&named(ifindex)), ifindex < 4096);
        }
        assert!(announced.take(&named(1)));
        assert_eq!(announced.interfaces(), 4096);
    }

    #[test]
    fn a_name_and_a_description_may_come_apart() {
        let said = |name: &'static [u8], description: &'static [u8]| Announcement {
            interface: Some(Interface {
                ifindex: 3,
                name,
                description,
            }),
            ..Announcement::default()
        };
        let mut announced = Announced::default();
        let all: [(&[u8], &[u8]); 3] = [(b"eth0", b""), (b"", b"uplink"), (b"eth1", b"")];
        for (name, description) in all {
            assert!(announced.take(&said(name, description)));
        }
        let expected = json!({ "3": { "name": "eth1", "description": "uplink" } });
        assert_eq!(announced.interface_names(), expected);
    }

    #[test]
    fn what_was_said_is_told() {
        let mut announced = Announced::default();
        let mut object = Map::new();
        announced.add_to_json(&mut object);
        assert!(object.is_empty());
        let mut said = rate(Sampler::All, 100);
        said.counters[2] = Some(7);
        said.interface = Some(Interface {
            ifindex: 3,
            name: b"Te0/0/2\0",
            description: b"uplink",
        });
        announced.take(&said);
        announced.add_to_json(&mut object);
        announced.counted.add_to_json(&mut object);
        let expected = json!({
            "sampling_one_in": { "all": 100 },
            "interfaces": { "3": { "name": "Te0/0/2", "description": "uplink" } },
            "counters": { "exported_flows": 7 },
        });
        assert_eq!(Value::Object(object), expected);
    }
}
