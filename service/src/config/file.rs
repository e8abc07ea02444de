//! The file: its keys with their lines, and what each says as arguments.

use std::{
    any::TypeId,
    ffi::OsString,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, Command};
use toml::de::{DeTable, DeValue};

use super::{OPTION, Refused};

/// Options that mean something on the command line only.
const LINE_ONLY: [&str; 5] = ["check", OPTION, "help", "softflowd-conf", "version"];
/// A larger file is no configuration.
const OCTETS_MAX: u64 = 1 << 20;

/// A mistake in the file.
#[derive(Debug)]
pub(super) struct Wrong {
    pub line: usize,
    pub key: String,
    pub sentence: String,
}

impl Wrong {
    pub(super) fn at(self, file: &Path) -> Refused {
        let Self {
            line,
            key,
            sentence,
        } = self;
        let file = file.display();
        Refused::File(if key.is_empty() {
            format!("{file}:{line}: {sentence}")
        } else {
            format!("{file}:{line}: {key}: {sentence}")
        })
    }
}

/// One of the file's keys.
pub(super) struct Entry<'a> {
    pub key: String,
    pub line: usize,
    pub value: DeValue<'a>,
}

pub(super) fn read(path: &Path) -> Result<String, String> {
    let name = path.display();
    let mut text = String::new();
    let file = File::open(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    file.take(OCTETS_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot read {name}: {error}"))?;
    if text.len() as u64 > OCTETS_MAX {
        return Err(format!("{name} is too large for a configuration"));
    }
    Ok(text)
}

/// The keys in the order of their lines.
pub(super) fn entries(text: &str) -> Result<Vec<Entry<'_>>, Wrong> {
    let table = DeTable::parse(text).map_err(|error| {
        let place = error.span().map_or(0, |span| span.start);
        let line = line_of(text, place);
        // What stands before the sign of equality, if it is a key.
        let (key, _) = text
            .lines()
            .nth(line - 1)
            .and_then(|line| line.split_once('='))
            .unwrap_or_default();
        let is_key = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let key = key.trim();
        Wrong {
            line,
            key: if key.chars().all(is_key) { key } else { "" }.to_owned(),
            sentence: error.message().to_owned(),
        }
    })?;
    let mut found: Vec<_> = table.into_inner().into_iter().collect();
    found.sort_by_key(|(key, _)| key.span().start);
    let entries = found.into_iter().map(|(key, value)| Entry {
        line: line_of(text, key.span().start),
        key: key.into_inner().into_owned(),
        value: value.into_inner(),
    });
    Ok(entries.collect())
}

/// The number of the line that an octet is in, from 1.
fn line_of(text: &str, place: usize) -> usize {
    let before = text.as_bytes().iter().take(place);
    1 + before.filter(|octet| **octet == b'\n').count()
}

/// The option that a key stands for.
pub(super) fn find<'a>(command: &'a Command, key: &str) -> Result<&'a Arg, String> {
    if LINE_ONLY.contains(&key) {
        return Err(format!("belongs on the command line, as --{key}"));
    }
    let is_it = |arg: &&Arg| match arg.get_long() {
        Some(long) => long == key,
        None => arg.is_positional() && arg.get_id().as_str() == key,
    };
    command.get_arguments().find(is_it).ok_or_else(|| {
        let name = command.get_name();
        format!("there is no such option: `{name} --help` lists them, keys are their long names")
    })
}

/// What a key says, as arguments.
pub(super) fn said(option: &Arg, key: &str, value: &DeValue<'_>) -> Result<Vec<OsString>, String> {
    if let ArgAction::SetTrue = option.get_action() {
        return match value {
            DeValue::Boolean(true) => Ok(vec![format!("--{key}").into()]),
            DeValue::Boolean(false) => Ok(Vec::new()),
            _ => Err("is true or false".to_owned()),
        };
    }
    // One that may stand without a value.
    let is_optional = option
        .get_num_args()
        .is_some_and(|values| values.min_values() == 0);
    match (value, option.get_action()) {
        (DeValue::Boolean(true), _) if is_optional => Ok(vec![format!("--{key}").into()]),
        (DeValue::Boolean(false), _) if is_optional => Ok(Vec::new()),
        (DeValue::Array(values), ArgAction::Append) => values
            .iter()
            .map(|value| word(option, key, value.get_ref()))
            .collect(),
        (DeValue::Array(_), _) => Err("has one value, and no list of them".to_owned()),
        _ => Ok(vec![word(option, key, value)?]),
    }
}

/// One value, as an argument.
fn word(option: &Arg, key: &str, value: &DeValue<'_>) -> Result<OsString, String> {
    let is_path = option.get_value_parser().type_id() == TypeId::of::<PathBuf>();
    let text = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) if !is_path => {
            i128::from_str_radix(number.as_str(), number.radix())
                .map_err(|_| "is too large a number".to_owned())?
                .to_string()
        }
        DeValue::Float(number) if !is_path => number.as_str().to_owned(),
        DeValue::Table(_) => {
            return Err("is no table: options stand by themselves, `name = value`".to_owned());
        }
        DeValue::Boolean(_) => return Err("has a value, which true and false are not".to_owned()),
        _ => return Err("put the value in quotes".to_owned()),
    };
    Ok(if option.is_positional() {
        text.into()
    } else {
        format!("--{key}={text}").into()
    })
}
