//! flow-nfilter's files as text of the filter language. A file has primitives, lists of `permit` and
//! `deny` of one type, and definitions, which say what is matched with which: lines are AND-ed, `or`
//! begins another alternative, `invert` negates the whole.

mod item;

use std::collections::BTreeMap;

use super::rules;
use crate::{filter::error::nearest, names};
use item::{
    address, address_and_mask, comparison, date, flags, length_of, number_or_range, octet,
    octets_like, prefix,
};

/// A definition of a file, as a filter.
///
/// # Errors
/// A sentence that names the line.
pub fn filter(text: &str, name: &str) -> Result<String, String> {
    let file = File::read(text)?;
    let Some(definition) = file.definitions.get(name) else {
        let known: Vec<_> = file.definitions.keys().copied().collect();
        return Err(match nearest(name, known.iter().copied()) {
            Some(meant) => format!("it has no definition `{name}`; did you mean `{meant}`?"),
            None => format!(
                "it has no definition `{name}`; there are {}",
                known.join(", ")
            ),
        });
    };
    let mut alternatives = Vec::new();
    for group in &definition.groups {
        let mut conditions = Vec::new();
        for (line, field, primitive) in group {
            let at = |says: String| format!("line {line}: {says}");
            let Some(found) = file.primitives.get(primitive) else {
                return Err(at(format!("there is no filter-primitive `{primitive}`")));
            };
            conditions.push(found.condition(field).map_err(at)?);
        }
        alternatives.push(match conditions.len() {
            0 => rules::ALL.to_owned(),
            _ => format!("({})", conditions.join(" and ")),
        });
    }
    let filter = alternatives.join(" or ");
    Ok(if definition.is_inverted {
        format!("not ({filter})")
    } else {
        filter
    })
}

#[derive(Default)]
struct File<'a> {
    primitives: BTreeMap<&'a str, Primitive<'a>>,
    definitions: BTreeMap<&'a str, Definition<'a>>,
}

#[derive(Default)]
struct Primitive<'a> {
    kind: &'a str,
    /// Line, whether it permits, and what.
    lines: Vec<(u32, bool, String)>,
    fallback: bool,
    /// Which bits count, of ToS and TCP flags.
    mask: Option<u8>,
}

#[derive(Default)]
struct Definition<'a> {
    /// Of each alternative: line, field, name of the primitive.
    groups: Vec<Vec<(u32, &'a str, &'a str)>>,
    is_inverted: bool,
}

/// What the lines that follow belong to.
#[derive(Clone, Copy)]
enum Within<'a> {
    Nothing,
    Primitive(&'a str),
    Definition(&'a str),
}

impl<'a> File<'a> {
    fn read(text: &'a str) -> Result<Self, String> {
        let mut file = Self::default();
        let mut within = Within::Nothing;
        for (line, number) in text.lines().zip(1u32..) {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&'a str> = line.split_whitespace().collect();
            match (words.as_slice(), within) {
                ([], _) => {}
                (["filter-primitive", name], _) => {
                    file.primitives.insert(*name, Primitive::default());
                    within = Within::Primitive(name);
                }
                (["filter-definition", name], _) => {
                    let groups = vec![Vec::new()];
                    let definition = Definition {
                        groups,
                        ..Definition::default()
                    };
                    file.definitions.insert(*name, definition);
                    within = Within::Definition(name);
                }
                (words, Within::Primitive(name)) => {
                    let primitive = file.primitives.entry(name).or_default();
                    let read = primitive.read(number, words);
                    read.map_err(|says| format!("line {number}: {says}"))?;
                }
                (words, Within::Definition(name)) => {
                    let definition = file.definitions.entry(name).or_default();
                    let read = definition.read(number, words);
                    read.map_err(|says| format!("line {number}: {says}"))?;
                }
                ([word, ..], Within::Nothing) => {
                    return Err(format!(
                        "line {number}: `filter-primitive NAME` or `filter-definition NAME` fits here, not `{word}`"
                    ));
                }
            }
        }
        Ok(file)
    }
}

impl<'a> Definition<'a> {
    fn read(&mut self, line: u32, words: &[&'a str]) -> Result<(), String> {
        match words {
            ["match", field, primitive] => {
                if let Some(group) = self.groups.last_mut() {
                    group.push((line, *field, *primitive));
                }
            }
            ["or"] => self.groups.push(Vec::new()),
            ["invert"] => self.is_inverted = true,
            _ => return Err("`match TYPE PRIMITIVE`, `or` or `invert` fits here".to_owned()),
        }
        Ok(())
    }
}

impl<'a> Primitive<'a> {
    fn read(&mut self, line: u32, words: &[&'a str]) -> Result<(), String> {
        match words {
            ["type", kind] => self.kind = *kind,
            ["mask", mask] => self.mask = Some(octet(mask)?),
            ["default", word] => self.fallback = permits(word)?,
            [word @ ("permit" | "deny"), items @ ..] if !items.is_empty() => {
                let permit = permits(word)?;
                let items: Vec<String> = match self.kind {
                    "" => return Err("`type` comes first".to_owned()),
                    // A comparison, or an address and its mask, is several words.
                    "counter" | "double" | "time" | "time-date" | "ip-address-mask" => {
                        vec![items.join(" ")]
                    }
                    _ => {
                        let items = items.iter().flat_map(|word| word.split(','));
                        items
                            .filter(|item| !item.is_empty())
                            .map(str::to_owned)
                            .collect()
                    }
                };
                for item in items {
                    let item = self.item(&item)?;
                    self.lines.push((line, permit, item));
                }
            }
            _ => return Err("`type`, `permit`, `deny`, `mask` or `default` fits here".to_owned()),
        }
        Ok(())
    }

    /// An item as the filter language has it.
    fn item(&self, text: &str) -> Result<String, String> {
        match self.kind {
            "as" | "ifindex" => number_or_range(text, u32::MAX.into(), |_| None),
            "engine" | "ip-address-prefix-len" => number_or_range(text, u8::MAX.into(), |_| None),
            "ip-protocol" => {
                number_or_range(text, u8::MAX.into(), |name| names::protocol(name).map(u64::from))
            }
            "ip-port" => {
                number_or_range(text, u16::MAX.into(), |name| names::port(name).map(u64::from))
            }
            "ip-tos" | "ip-tcp-flags" => octet(text).map(|value| value.to_string()),
            "ip-address" => address(text).map(|address| address.to_string()),
            "ip-address-prefix" => prefix(text),
            "ip-address-mask" => address_and_mask(text),
            "counter" | "double" => comparison(text),
            "time-date" => date(text),
            "time" => Err(
                "times of day are not in the filter language: say `from 14:00 to 15:00` in the filter".to_owned(),
            ),
            "rate" => Err("the filter language takes no sample: leave random-sample out".to_owned()),
            "tag" | "tag-mask" => Err("Weir's flows carry no tags".to_owned()),
            kind => Err(format!("there is no type `{kind}`")),
        }
    }

    /// What a match with this primitive asks.
    fn condition(&self, field: &str) -> Result<String, String> {
        let (words, kinds) = field_of(field)?;
        if !kinds.contains(&self.kind) {
            return Err(format!(
                "`{field}` takes a primitive of type {}, not of `{}`",
                kinds.join(" or "),
                self.kind
            ));
        }
        let each_line = |each: &dyn Fn(&str) -> String| -> Vec<(bool, String)> {
            let lines = self.lines.iter();
            lines
                .map(|(_, permit, item)| (*permit, each(item)))
                .collect()
        };
        Ok(match self.kind {
            "counter" | "double" | "time-date" => {
                let lines = each_line(&|item| format!("{words} {item}"));
                format!("({})", rules::first_match(&lines, self.fallback))
            }
            "ip-tcp-flags" => {
                let mask = self.mask.unwrap_or(u8::MAX);
                let mut lines = each_line(&|item| flags(item, mask));
                // A table, where the last word on a value holds.
                lines.reverse();
                format!("({})", rules::first_match(&lines, self.fallback))
            }
            "ip-tos" => {
                let mask = self.mask.unwrap_or(u8::MAX);
                rules::membership(
                    words,
                    &each_line(&|item| octets_like(item, mask)),
                    self.fallback,
                )
            }
            "ip-address-prefix" => {
                let mut lines = each_line(&str::to_owned);
                // The longest prefix holds.
                lines.sort_by_key(|(_, network)| length_of(network));
                rules::membership(words, &lines, self.fallback)
            }
            "ip-address-mask" => {
                let mut lines = each_line(&str::to_owned);
                // A list, where the first line that fits holds.
                lines.reverse();
                rules::membership(words, &lines, self.fallback)
            }
            _ => rules::membership(words, &each_line(&str::to_owned), self.fallback),
        })
    }
}

/// What is matched, in the filter language, and which types of primitives fit.
fn field_of(field: &str) -> Result<(&'static str, &'static [&'static str]), String> {
    const ADDRESS: &[&str] = &["ip-address", "ip-address-prefix", "ip-address-mask"];
    const COUNTER: &[&str] = &["counter", "double"];
    Ok(match field {
        "source-as" => ("src as", &["as"]),
        "destination-as" => ("dst as", &["as"]),
        "ip-source-address" => ("src", ADDRESS),
        "ip-destination-address" => ("dst", ADDRESS),
        "ip-exporter-address" => ("router", ADDRESS),
        "ip-nexthop-address" => ("next", ADDRESS),
        "ip-protocol" => ("proto", &["ip-protocol"]),
        "ip-source-address-prefix-len" => ("src mask", &["ip-address-prefix-len"]),
        "ip-destination-address-prefix-len" => ("dst mask", &["ip-address-prefix-len"]),
        "ip-tos" => ("tos", &["ip-tos"]),
        "ip-tcp-flags" => ("flags", &["ip-tcp-flags"]),
        "ip-source-port" => ("src port", &["ip-port"]),
        "ip-destination-port" => ("dst port", &["ip-port"]),
        "input-interface" => ("in if", &["ifindex"]),
        "output-interface" => ("out if", &["ifindex"]),
        "engine-id" => ("engine id", &["engine"]),
        "engine-type" => ("engine type", &["engine"]),
        "start-time" => ("first seen", &["time-date"]),
        "end-time" => ("last seen", &["time-date"]),
        "flows" => ("flows", COUNTER),
        "octets" => ("octets", COUNTER),
        "packets" => ("packets", COUNTER),
        "duration" => ("duration", COUNTER),
        "pps" => ("pps", COUNTER),
        "bps" => ("bps", COUNTER),
        "source-tag" | "destination-tag" => return Err("Weir's flows carry no tags".to_owned()),
        "random-sample" => return Err("the filter language takes no sample".to_owned()),
        "ip-shortcut-address" | "ip-marked-tos" => {
            return Err(format!("Weir's files keep no {field}"));
        }
        _ => return Err(format!("there is no match type `{field}`")),
    })
}

fn permits(word: &str) -> Result<bool, String> {
    match word {
        "permit" => Ok(true),
        "deny" => Ok(false),
        _ => Err(format!("`permit` or `deny` fits here, not `{word}`")),
    }
}

#[cfg(test)]
mod tests;
