//! Templates that outlive the collector: after a restart data is decoded at once, and not only once
//! each exporter has repeated its templates. One file, replaced as a whole:
//!
//! ```text
//! weir-templates 2 SECONDS OCTETS CHECKSUM
//! [{"exporter":"192.0.2.1","version":10,"domain":0,"sampling":[["all",0,100]],"booted_ms":1700000000000,
//!   "templates":[{"id":256,"scope_fields":null,"fields":[[8,4,0],[12,4,0]]}]}]
//! ```
//!
//! A field is its element, its octets (65535: of any length) and its enterprise; one packet in so many
//! was looked at of all, of a sampler, of a template or of an interface, by its number. When the exporter booted is null
//! if it did not say.
//!
//! The first line is the format's version, when it was written (Unix time), and the octets and FNV-1a
//! hash (64 bits) of what follows. A file that is damaged, of another version or too old is not used,
//! and says so; the next one takes its place.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use serde_json::{Value, json};
use weir_netflow::{
    options::Sampler,
    record::{display_address, mapped_address},
    template::{Field, Template},
};

use crate::exporters::{Key, Remembered};

/// The file's name, in the store's folder of open windows.
pub const FILE_NAME: &str = "templates";
const MAGIC: &str = "weir-templates";
const FORMAT_VERSION: &str = "2";
/// Older templates are not used: their exporter may have others by now, and repeats them soon.
const AGE_MAX_S: u64 = 86_400;
/// A larger file is none of ours.
const OCTETS_MAX: u64 = 256 << 20;

/// The file's content.
#[must_use]
pub fn encode(remembered: &[Remembered], unix_s: u64) -> String {
    let exporters: Value = remembered.iter().map(encode_exporter).collect();
    let body = exporters.to_string();
    let mut text = String::with_capacity(body.len() + 80);
    let hash = fnv1a(body.as_bytes());
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "{MAGIC} {FORMAT_VERSION} {unix_s} {} {hash:016x}",
        body.len()
    );
    text.push_str(&body);
    text
}

fn encode_exporter(exporter: &Remembered) -> Value {
    let Remembered {
        key,
        rates,
        booted_ms,
        templates,
    } = exporter;
    let template = |template: &Template| {
        let fields = template.fields().iter();
        let fields: Value = fields
            .map(|field| json!([field.element, field.octets, field.enterprise]))
            .collect();
        json!({ "id": template.id(), "scope_fields": template.scope_fields(), "fields": fields })
    };
    let rates: Value = rates.iter().map(encode_rate).collect();
    let templates: Value = templates.iter().map(template).collect();
    json!({
        "exporter": display_address(key.address).to_string(),
        "version": key.version,
        "domain": key.domain,
        "sampling": rates,
        "booted_ms": booted_ms,
        "templates": templates,
    })
}

fn encode_rate((sampler, one_in): &(Sampler, u32)) -> Value {
    let (kind, number) = match *sampler {
        Sampler::All => ("all", 0),
        Sampler::Id(id) => ("sampler", id),
        Sampler::Template(id) => ("template", id.into()),
        Sampler::Interface(ifindex) => ("interface", ifindex.into()),
    };
    json!([kind, number, one_in])
}

fn decode_rate(rate: &Value) -> Option<(Sampler, u32)> {
    let number = rate[1].as_u64()?;
    let sampler = match rate[0].as_str()? {
        "all" => Sampler::All,
        "sampler" => Sampler::Id(number),
        "template" => Sampler::Template(u16::try_from(number).ok()?),
        "interface" => Sampler::Interface(u32::try_from(number).ok()?),
        _ => return None,
    };
    let one_in = u32::try_from(rate[2].as_u64()?).ok()?;
    (one_in > 0).then_some((sampler, one_in))
}

/// Reads the file's content.
///
/// # Errors
/// Why it cannot be used, as the end of a sentence.
pub fn decode(text: &str, unix_s: u64) -> Result<Vec<Remembered>, String> {
    let (head, body) = text.split_once('\n').unwrap_or((text, ""));
    let words: Vec<_> = head.split(' ').collect();
    let [magic, version, written_s, octets, hash] = words[..] else {
        return Err("its first line is not as Weir writes it".to_owned());
    };
    if magic != MAGIC {
        return Err("its first line is not as Weir writes it".to_owned());
    }
    if version != FORMAT_VERSION {
        return Err(format!(
            "it has version {version}, and this collector reads version {FORMAT_VERSION}"
        ));
    }
    let whole = octets.parse() == Ok(body.len())
        && u64::from_str_radix(hash, 16) == Ok(fnv1a(body.as_bytes()));
    let (true, Ok(written_s)) = (whole, written_s.parse::<u64>()) else {
        return Err("it is damaged: its checksum is another".to_owned());
    };
    if unix_s.abs_diff(written_s) > AGE_MAX_S {
        return Err("it was written more than a day ago".to_owned());
    }
    let exporters: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
    let exporters = exporters.as_array().ok_or("it holds no list")?;
    exporters
        .iter()
        .map(|exporter| decode_exporter(exporter).ok_or_else(|| format!("it holds {exporter}")))
        .collect()
}

fn decode_exporter(exporter: &Value) -> Option<Remembered> {
    let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    let address = exporter["exporter"].as_str()?.parse().ok()?;
    let rates = exporter["sampling"].as_array()?.iter();
    let templates = exporter["templates"].as_array()?.iter();
    Some(Remembered {
        key: Key {
            address: mapped_address(address),
            version: u16::try_from(number(&exporter["version"])?).ok()?,
            domain: number(&exporter["domain"])?,
            session: 0,
        },
        rates: rates.map(decode_rate).collect::<Option<_>>()?,
        booted_ms: match &exporter["booted_ms"] {
            Value::Null => None,
            booted_ms => Some(booted_ms.as_u64()?),
        },
        templates: templates.map(decode_template).collect::<Option<_>>()?,
    })
}

/// A template like one from a datagram, with the same bounds.
fn decode_template(template: &Value) -> Option<Template> {
    let small = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
    let field = |field: &Value| {
        Some(Field {
            enterprise: u32::try_from(field[2].as_u64()?).ok()?,
            element: small(&field[0])?,
            octets: small(&field[1])?,
        })
    };
    let scope_fields = match &template["scope_fields"] {
        Value::Null => None,
        count => Some(usize::from(small(count)?)),
    };
    let fields = template["fields"].as_array()?.iter();
    let fields = fields.map(field).collect::<Option<_>>()?;
    Template::new(small(&template["id"])?, scope_fields, fields).ok()
}

/// FNV-1a: it notices what a disk or a hand changes.
fn fnv1a(octets: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    octets.iter().fold(OFFSET, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(PRIME)
    })
}

/// Writes the file.
///
/// # Errors
/// What the operating system says; the file that was there stays.
pub fn write(folder: &Path, remembered: &[Remembered], unix_s: u64) -> io::Result<()> {
    replace(folder, FILE_NAME, &encode(remembered, unix_s))
}

/// Writes a file beside its place, and gives it its name once it is on the disk.
///
/// # Errors
/// What the operating system says; the file that was there stays.
pub fn replace(folder: &Path, name: &str, content: &str) -> io::Result<()> {
    let partial = folder.join(format!("{name}.partial"));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&partial)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, folder.join(name))?;
    File::open(folder)?.sync_all()
}

/// Reads the file; nothing if there is none.
///
/// # Errors
/// Why it cannot be used, as the end of a sentence.
pub fn read(folder: &Path, unix_s: u64) -> Result<Vec<Remembered>, String> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(folder.join(FILE_NAME));
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let mut text = String::new();
    file.take(OCTETS_MAX)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    decode(&text, unix_s)
}

#[cfg(test)]
mod tests {
    use weir_netflow::template::VARIABLE;

    use super::*;

    const UNIX_S: u64 = 1_700_000_000;

    fn example() -> Vec<Remembered> {
        let template = |id, scope_fields| {
            let of_ntop = Field::of_ntop(396, VARIABLE);
            let fields = vec![Field::new(8, 4), Field::new(34, 2), of_ntop];
            Template::new(id, scope_fields, fields).unwrap()
        };
        let rates = [
            (Sampler::All, 1000),
            (Sampler::Id(1 << 40), 10),
            (Sampler::Template(256), 20),
            (Sampler::Interface(70_000), 30),
        ];
        let exporter = |address: &str, domain| Remembered {
            key: Key {
                address: address.parse().unwrap(),
                version: 9,
                domain,
                session: 0,
            },
            rates: if domain > 0 { rates.to_vec() } else { vec![] },
            booted_ms: (domain > 0).then_some(UNIX_S * 1000),
            templates: vec![template(256, None), template(1024, Some(1))],
        };
        vec![exporter("::ffff:192.0.2.1", 0), exporter("2001:db8::1", 7)]
    }

    #[test]
    fn templates_come_back() {
        let text = encode(&example(), UNIX_S);
        assert_eq!(decode(&text, UNIX_S + 3600), Ok(example()));
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path(), UNIX_S), Ok(Vec::new()));
        write(folder.path(), &example(), UNIX_S).unwrap();
        write(folder.path(), &example()[..1], UNIX_S).unwrap();
        assert_eq!(read(folder.path(), UNIX_S).unwrap(), example()[..1]);
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let text = encode(&example(), UNIX_S).into_bytes();
        for at in 0..text.len() {
            let mut flipped = text.clone();
            flipped[at] ^= 1;
            let flipped = String::from_utf8(flipped).unwrap();
            // Only the time it was written may differ by some.
            let read = decode(&flipped, UNIX_S);
            assert!(
                read.is_err() || read == Ok(example()),
                "octet {at}: {flipped}"
            );
        }
        for cut in 0..text.len() {
            let cut = std::str::from_utf8(&text[..cut]).unwrap();
            decode(cut, UNIX_S).unwrap_err();
        }
    }

    #[test]
    fn d12_another_version_and_an_old_file_are_told() {
        let text = encode(&example(), UNIX_S);
        let other = text.replacen(" 2 ", " 3 ", 1);
        assert!(decode(&other, UNIX_S).unwrap_err().contains("version 3"));
        let old = decode(&text, UNIX_S + 100_000).unwrap_err();
        assert!(old.contains("a day ago"), "{old}");
        assert!(decode("", UNIX_S).is_err() && decode("[]\n[]", UNIX_S).is_err());
    }

    /// What a hand may write, with the right checksum.
    #[test]
    fn impossible_templates_are_refused() {
        for body in [
            r#"[{"exporter":"x","version":9,"domain":0,"sampling":[],"templates":[]}]"#,
            r#"[{"exporter":"::1","version":9,"domain":0,"sampling":[["all",0,0]],"templates":[]}]"#,
            r#"[{"exporter":"::1","version":9,"domain":0,"sampling":[],"booted_ms":-1,"templates":[]}]"#,
            r#"[{"exporter":"::1","version":9,"domain":0,"sampling":[["one",0,10]],"templates":[]}]"#,
            r#"[{"exporter":"::1","version":9,"domain":0,"sampling":[],"templates":[{"id":255,"scope_fields":null,"fields":[[8,4,0]]}]}]"#,
            r#"[{"exporter":"::1","version":9,"domain":0,"sampling":[],"templates":[{"id":256,"scope_fields":null,"fields":[]}]}]"#,
            r#"[{"exporter":"::1","version":9,"domain":0,"sampling":[],"templates":[{"id":256,"scope_fields":2,"fields":[[8,4,0]]}]}]"#,
            r#"[{"exporter":"::1","version":9,"domain":0,"sampling":[],"templates":[{"id":256,"scope_fields":null,"fields":[[8,0,0]]}]}]"#,
            r#"[{"exporter":"::1","version":9,"domain":0,"sampling":[],"templates":[{"id":256,"scope_fields":null,"fields":[[8,4]]}]}]"#,
            r#"[{"exporter":"::1","version":9,"domain":0,"sampling":[],"templates":[{"id":256,"scope_fields":null,"fields":[[8,65534,0],[8,2,0]]}]}]"#,
            "{}",
            "[",
        ] {
            let hash = fnv1a(body.as_bytes());
            let text = format!(
                "{MAGIC} {FORMAT_VERSION} {UNIX_S} {} {hash:016x}\n{body}",
                body.len()
            );
            decode(&text, UNIX_S).unwrap_err();
        }
    }
}
