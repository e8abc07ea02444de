//! Every datagram of the test data, decoded: what is in them must equal what an independent decoder
//! found. Deviations are listed here, each with its reason.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use weir_netflow::{
    FlowRecord, Malformed, TimeBase, data, fixed, ipfix,
    options::{self, Sampler},
    set::{Definition, Set},
    template::Template,
    v9,
};
use weir_sensor::capture;
use weir_tests::testdata;

/// What differs, and why.
const DEVIATIONS: [(&str, &str); 6] = [
    (
        "ipfixcol/bad-length-in-set.ipfix",
        "a length beyond the datagram spoils the message; the other decoder takes what came before",
    ),
    (
        "ipfixcol/bad-template-field-count.ipfix",
        "fields beyond the set spoil the message; the other decoder goes on with the next set",
    ),
    (
        "libnetflow9/corpus-pcap-malform.bin",
        "an options template whose records have no octets is refused; the other decoder counts it",
    ),
    ("libnetflow9/malformed-OT.pcap", "likewise"),
    ("libnetflow9/malformed_2.pcap", "likewise"),
    ("libnetflow9/malformed_3.pcap", "likewise"),
];

/// Files whose templates are in files that are not named for it.
const TEMPLATES_ELSEWHERE: [(&str, &[&str]); 1] = [(
    "telegraf/ipfix_example-ipfix_",
    &[
        "telegraf/ipfix_example-ipfix_0.bin",
        "telegraf/ipfix_example-ipfix_1.bin",
        "telegraf/ipfix_example-ipfix_3.bin",
    ],
)];

/// What is in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    datagrams: usize,
    templates: usize,
    options_templates: usize,
    data_records: usize,
    options_records: usize,
    /// Data sets whose template is not known.
    undecodable_sets: usize,
}

#[derive(Debug)]
struct Expected {
    file: String,
    kind: String,
    counts: Counts,
}

fn expected(folder: &Path) -> Vec<Expected> {
    let text = fs::read_to_string(folder.join("datagrams-expected.tsv")).unwrap();
    let mut lines = text.lines();
    let names = lines.next().unwrap().trim_start_matches('#').split('\t');
    let names: Vec<_> = names.collect();
    let row = |line: &str| -> Expected {
        let row: HashMap<_, _> = names.iter().copied().zip(line.split('\t')).collect();
        let number = |name: &str| row[name].parse().unwrap();
        let oddities = row.get("oddities").copied().unwrap_or_default();
        let mut oddities = oddities.split(' ');
        let undecodable = oddities.find_map(|oddity| oddity.strip_prefix("undecodable_sets="));
        Expected {
            file: row["file"].to_owned(),
            kind: row["kind"].to_owned(),
            counts: Counts {
                datagrams: number("datagrams"),
                templates: number("templates"),
                options_templates: number("opt_templates"),
                data_records: number("data_records"),
                options_records: number("opt_records"),
                undecodable_sets: undecodable.map_or(0, |count| count.parse().unwrap()),
            },
        }
    };
    lines.map(row).collect()
}

/// The datagrams of a file, or the messages.
fn datagrams(path: &Path, kind: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    match kind {
        "pcap" => {
            let take = |frame: capture::Frame<'_>| {
                found.push(udp_payload(frame.captured.octets).to_vec());
            };
            capture::read(path, take).unwrap();
        }
        "ipfix-file" => {
            let octets = fs::read(path).unwrap();
            let mut rest = &octets[..];
            while !rest.is_empty() {
                let length = u16::from_be_bytes([rest[2], rest[3]]).into();
                // The last one may be cut off, or say a length that cannot be.
                let whole = rest.split_at_checked(length);
                let whole = whole.filter(|(message, _)| message.len() >= ipfix::HEADER_OCTETS);
                let (message, after) = whole.unwrap_or((rest, &[]));
                found.push(message.to_vec());
                rest = after;
            }
        }
        _ => found.push(fs::read(path).unwrap()),
    }
    found
}

/// What a frame of Ethernet, IP and UDP carries; all of the captures are of that kind.
fn udp_payload(frame: &[u8]) -> &[u8] {
    let ip = &frame[14..];
    let (protocol, header_octets) = match frame[12..14] {
        [0x08, 0x00] => (ip[9], usize::from(ip[0] & 0x0f) * 4),
        [0x86, 0xdd] => (ip[6], 40),
        _ => panic!("neither IPv4 nor IPv6: {frame:?}"),
    };
    assert_eq!(protocol, 17);
    let udp = &ip[header_octets..];
    let length = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
    &udp[8..length.min(udp.len())]
}

/// What a file's name has before a word that says it holds templates.
fn template_prefix(name: &str) -> Option<&str> {
    let words = ["tpl", "template"].into_iter();
    let at = words.filter_map(|word| name.find(word)).min()?;
    let prefix = name[..at].strip_suffix("opt").unwrap_or(&name[..at]);
    Some(prefix.trim_end_matches(['_', '-', '+']))
}

/// Files to be read before this one, since they hold its templates; the best fit last.
fn templates_of<'a>(file: &str, all: &'a [Expected]) -> Vec<&'a Expected> {
    let (folder, name) = file.split_once('/').unwrap();
    let mut found: Vec<_> = all
        .iter()
        .filter(|other| other.file != file)
        .filter_map(|other| {
            for (prefix, elsewhere) in TEMPLATES_ELSEWHERE {
                if file.starts_with(prefix) && elsewhere.contains(&other.file.as_str()) {
                    return Some((0, other));
                }
            }
            let (other_folder, other_name) = other.file.split_once('/').unwrap();
            let prefix = template_prefix(other_name)?;
            let fits = folder == other_folder && name.starts_with(prefix);
            fits.then_some((prefix.len(), other))
        })
        .collect();
    found.sort_by_key(|(fit, other)| (*fit, other.file.clone()));
    found.into_iter().map(|(_, other)| other).collect()
}

/// A flow, and what came with it.
struct Flow {
    template: u16,
    sampler: Option<u64>,
    timed: bool,
    forward: FlowRecord,
    reverse: Option<FlowRecord>,
}

/// A collector with one exporter.
#[derive(Default)]
struct Collector {
    templates: HashMap<(u16, u32, u16), Template>,
    counts: Counts,
    flows: Vec<Flow>,
    rates: Vec<(Sampler, u32)>,
    boot_ms: Option<u64>,
}

impl Collector {
    /// One that has read a file, and before it the files with its templates; the counts are those
    /// of the file.
    fn of(folder: &Path, file: &str, all: &[Expected]) -> Self {
        let mut collector = Self::default();
        for before in templates_of(file, all) {
            collector.read(folder, before);
        }
        let templates = collector.templates;
        let mut collector = Self {
            templates,
            ..Self::default()
        };
        let it = all.iter().find(|expected| expected.file == file).unwrap();
        collector.read(folder, it);
        collector
    }

    fn read(&mut self, folder: &Path, file: &Expected) {
        let path: PathBuf = folder.join("datagrams").join(&file.file);
        for datagram in datagrams(&path, &file.kind) {
            let version = datagram.first_chunk::<2>();
            // What is malformed is counted as a datagram all the same, if it has a header.
            let _ = match version.map(|version| u16::from_be_bytes(*version)) {
                Some(v9::VERSION) => self.v9(&datagram),
                Some(ipfix::VERSION) => self.ipfix(&datagram),
                _ => self.fixed(&datagram),
            };
        }
    }

    fn fixed(&mut self, datagram: &[u8]) -> Result<(), Malformed> {
        let found = fixed::decode(datagram)?;
        self.counts.datagrams += 1;
        found.for_each(|forward| {
            self.counts.data_records += 1;
            self.flows.push(Flow {
                template: 0,
                sampler: None,
                timed: true,
                forward,
                reverse: None,
            });
        });
        Ok(())
    }

    fn v9(&mut self, datagram: &[u8]) -> Result<(), Malformed> {
        let header = v9::decode_header(datagram)?;
        self.counts.datagrams += 1;
        let key = (v9::VERSION, header.source_id);
        self.sets(key, v9::decode_sets(datagram)?, header.time_base());
        Ok(())
    }

    fn ipfix(&mut self, datagram: &[u8]) -> Result<(), Malformed> {
        self.counts.datagrams += usize::from(datagram.len() >= ipfix::HEADER_OCTETS);
        let header = ipfix::decode_header(datagram)?;
        let key = (ipfix::VERSION, header.domain);
        self.sets(key, ipfix::decode_sets(datagram)?, header.time_base(None));
        Ok(())
    }

    fn sets(&mut self, (version, domain): (u16, u32), sets: Vec<Set<'_>>, base: TimeBase) {
        for set in sets {
            match set {
                Set::Templates(found) => {
                    for definition in found {
                        self.define((version, domain), definition);
                    }
                }
                Set::Data { id, octets } => self.data((version, domain, id), octets, base),
                Set::Reserved => {}
            }
        }
    }

    fn define(&mut self, (version, domain): (u16, u32), definition: Definition) {
        match definition {
            Definition::Template(template) => {
                if template.is_options() {
                    self.counts.options_templates += 1;
                } else {
                    self.counts.templates += 1;
                }
                let key = (version, domain, template.id());
                self.templates.insert(key, template);
            }
            Definition::Refused(id) => {
                self.templates.remove(&(version, domain, id));
            }
            Definition::Withdrawn(_) => {}
        }
    }

    fn data(&mut self, key: (u16, u32, u16), octets: &[u8], base: TimeBase) {
        let template = self.templates.get(&key);
        let known = template.and_then(|template| Some((template, template.record_count(octets)?)));
        let Some((template, count)) = known else {
            self.counts.undecodable_sets += 1;
            return;
        };
        if template.is_options() {
            self.counts.options_records += count;
            for record in template.records(octets) {
                let said = options::read(template, record);
                self.rates.extend(said.sampling);
                self.boot_ms = said.boot_ms.or(self.boot_ms);
            }
            return;
        }
        self.counts.data_records += count;
        let base = match base.uptime_ms {
            Some(_) => base,
            None => TimeBase::booted(base.export_ns, self.boot_ms),
        };
        let flows = data::records(template, octets, base).map(|record| Flow {
            template: template.id(),
            sampler: record.sampler,
            timed: record.timed,
            forward: record.flow,
            reverse: record.reverse(),
        });
        self.flows.extend(flows);
    }
}

#[test]
fn every_file_has_what_an_independent_decoder_found() {
    let Some(folder) = testdata::folder() else {
        return;
    };
    let all = expected(&folder);
    assert!(all.len() > 100, "only {} files", all.len());
    let mut differences = Vec::new();
    for expected in &all {
        let found = Collector::of(&folder, &expected.file, &all);
        if found.counts != expected.counts {
            let difference = format!("{:?} instead of {:?}", found.counts, expected.counts);
            differences.push((expected.file.clone(), difference));
        }
        for flow in &found.flows {
            let (start_ns, end_ns) = (flow.forward.start_ns, flow.forward.end_ns);
            assert!(start_ns <= end_ns, "{}: {:?}", expected.file, flow.forward);
        }
    }
    testdata::judge(&differences, &DEVIATIONS);
}

/// What a collector makes of a file, if the files are there.
fn read(file: &str) -> Option<Collector> {
    let folder = testdata::folder()?;
    let all = expected(&folder);
    Some(Collector::of(&folder, file, &all))
}

/// softflowd metered one capture in four formats: 7,451 packets of 665 flows, half of them told as
/// the reverse of the others where it sends biflows.
#[test]
fn formats_of_one_capture_say_the_same() {
    for (file, reverses) in [
        ("generated/softflowd-v9.pcap", 0),
        ("generated/softflowd-ipfix.pcap", 0),
        ("generated/softflowd-ipfix-milli.pcap", 0),
        ("generated/softflowd-ipfix-biflow.pcap", 331),
    ] {
        let Some(found) = read(file) else { return };
        let flows = found.flows.iter();
        let flows: Vec<_> = flows
            .flat_map(|flow| [Some(flow.forward), flow.reverse])
            .flatten()
            .collect();
        let packets: u64 = flows.iter().map(|flow| flow.packets).sum();
        let octets: u64 = flows.iter().map(|flow| flow.octets).sum();
        assert_eq!(
            (flows.len(), packets, octets),
            (665, 7451, 2_630_323),
            "{file}"
        );
        let found_reverses = found.flows.iter().filter(|flow| flow.reverse.is_some());
        assert_eq!(found_reverses.count(), reverses, "{file}");
    }
}

/// Times relative to a boot that only options tell are those told in milliseconds.
#[test]
fn relative_times_of_ipfix_are_found_by_the_boot_time_in_options() {
    let spans = |file| {
        let found: Collector = read(file)?;
        assert!(found.flows.iter().all(|flow| flow.timed), "{file}");
        let flows = found.flows.iter();
        let mut spans: Vec<_> = flows
            .map(|flow| (flow.forward.start_ns, flow.forward.end_ns))
            .collect();
        spans.sort_unstable();
        Some(spans)
    };
    let relative = spans("generated/softflowd-ipfix.pcap");
    let absolute = spans("generated/softflowd-ipfix-milli.pcap");
    let (Some(relative), Some(absolute)) = (relative, absolute) else {
        return;
    };
    assert_eq!(relative.len(), absolute.len());
    // softflowd rounds the one and cuts the other.
    let near = |one: u64, other: u64| one.abs_diff(other) <= 1_000_000;
    for (one, other) in relative.iter().zip(&absolute) {
        assert!(
            near(one.0, other.0) && near(one.1, other.1),
            "{one:?} {other:?}"
        );
    }
    // The first packet of the capture.
    assert_eq!(absolute[0].0, 1_609_829_736_669_000_000);
}

/// Fault case C17: samplers by their number, by template, for all, and in the record itself.
#[test]
fn c17_rates_are_found_where_vendors_put_them() {
    let rates = |file| Some(read(file)?.rates);
    let Some(several) = rates("akvorado/multiplesamplingrates-options-data.pcap") else {
        return;
    };
    let expected = [(Sampler::Id(1), 2000), (Sampler::Id(2), 4000)];
    assert_eq!(several, expected);
    let of_template = rates("akvorado/mpls.pcap").unwrap();
    assert_eq!(of_template, [(Sampler::Template(2510), 10)]);
    let of_selector = rates("pmacct/104-IPFIXv10-IPv6-CISCO-sampling_option.pcap").unwrap();
    assert_eq!(of_selector, [(Sampler::Id(1), 256)]);
    let of_all = rates("akvorado/data+templates.pcap").unwrap();
    assert_eq!(of_all, [(Sampler::All, 100)]);
    let data = read("akvorado/multiplesamplingrates-data.pcap").unwrap();
    let samplers = data.flows.iter().map(|flow| flow.sampler);
    assert!(samplers.clone().all(|id| matches!(id, Some(1 | 2))));
    assert!(samplers.clone().any(|id| id == Some(1)) && samplers.clone().any(|id| id == Some(2)));
    let in_records = read("akvorado/samplingrate-data.pcap").unwrap();
    for flow in &in_records.flows {
        let interval = flow.forward.sampling_interval;
        assert_eq!(interval, 2048, "template {}", flow.template);
    }
}
