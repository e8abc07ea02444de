//! nfdump's command line (1.7, and what 1.8 has beside) as Weir's: statistics become `top` and `group`,
//! aggregations `group`, lists `flows`. What Weir has not, or has elsewhere, is refused with the words to use.

mod moments;
mod refused;

use super::getopt;
use moments::{file_time, span, window};
use refused::{FORMATS_REFUSED, REFUSED};

/// nfdump's options, of 1.6 and 1.7.
const LETTERS: &str = "r:w:f:C:R:M:O:t:c:aA:bBIgD:G:H:s:S:n:o:6qi:v:E:x:z::yjJ:XZTVhNmP:l:L:K:W:e";
/// Lines of a statistic, if nothing else is said.
const LINES: &str = "10";

/// What was asked.
#[derive(Default)]
struct Asked {
    path: Option<String>,
    files: Option<String>,
    folders: Option<String>,
    filter_file: Option<String>,
    window: Option<String>,
    first: Option<String>,
    lines: Option<String>,
    order: Option<String>,
    format: Option<String>,
    /// Elements that are gathered by; empty: the 5-tuple.
    gathered: Option<String>,
    having: Option<String>,
    statistics: Vec<String>,
    /// `-b` or `-B`: both directions in one line.
    both: Option<char>,
    is_quiet: bool,
    is_summary: bool,
    is_health: bool,
}

/// The native words.
///
/// # Errors
/// A sentence that says what to use instead.
pub fn native(words: &[String]) -> Result<Vec<String>, String> {
    let parsed = getopt::parse("nfdump", LETTERS, words)?;
    let asked = Asked::of(parsed.options)?;
    let (folders, received) = asked.folders()?;
    let mut command = asked.command()?;
    // nfdump multiplies when it collects.
    command.push("--scaled".to_owned());
    for folder in folders {
        command.extend(["-r".to_owned(), folder]);
    }
    // In nfdump a filter on the command line takes the place of the file's.
    let own = parsed.operands.join(" ");
    if let Some(file) = asked.filter_file.filter(|_| own.is_empty()) {
        command.extend(["-f".to_owned(), file]);
    }
    let mut parts: Vec<String> = Vec::new();
    parts.extend(received);
    parts.extend(asked.window.as_deref().map(window).transpose()?);
    // Groups and lines of both directions have a -P of their own; sorted flows that fit fit the filter, too.
    let is_of_flows = asked.gathered.is_none() && asked.both.is_none();
    let behind = asked.having.filter(|_| is_of_flows);
    parts.extend(behind.map(|behind| format!("({behind}\n)")));
    let filter = match (own.is_empty(), parts.is_empty()) {
        (true, _) => parts.join(" and "),
        (false, true) => own,
        // A comment would swallow what comes behind it.
        (false, false) => format!("{} and ({own}\n)", parts.join(" and ")),
    };
    if !filter.is_empty() {
        command.push(filter);
    }
    Ok(command)
}

/// What to tell who asks for times here: nfdump takes them by the local clock. `ahead_s` is how far that is ahead of
/// UTC, seconds.
#[must_use]
pub fn times_note(words: &[String], ahead_s: i32) -> Option<String> {
    let options = getopt::parse("nfdump", LETTERS, words).ok()?.options;
    let is_time = |(letter, argument): &(char, String)| match letter {
        't' => true,
        'r' | 'R' => argument.contains("nfcapd.2"),
        _ => false,
    };
    if ahead_s == 0 || !options.iter().any(is_time) {
        return None;
    }
    let minutes = ahead_s.unsigned_abs() / 60;
    let sign = if ahead_s < 0 { '-' } else { '+' };
    Some(format!(
        "times are UTC here, in -t and in names of files too; nfdump takes them by the local clock, which is \
         UTC{sign}{:02}:{:02}",
        minutes / 60,
        minutes % 60
    ))
}

impl Asked {
    fn of(options: Vec<(char, String)>) -> Result<Self, String> {
        let mut asked = Self::default();
        let has = |letters: &str| options.iter().any(|(letter, _)| letters.contains(*letter));
        let is_gathering = has("aAbB");
        let is_sorting = has("Om") && !has("sS");
        for (letter, argument) in options {
            match letter {
                'r' => asked.path = Some(argument),
                'R' => asked.files = Some(argument),
                'M' => asked.folders = Some(argument),
                'f' => asked.filter_file = Some(argument),
                't' => asked.window = Some(argument),
                'c' => asked.first = Some(argument),
                'n' => asked.lines = Some(argument),
                'O' => asked.order = Some(argument),
                'm' => asked.order = Some("tstart".to_owned()),
                'o' => asked.format = Some(argument),
                'a' => asked.gathered = asked.gathered.or(Some(String::new())),
                'A' => asked.gathered = Some(argument),
                'b' | 'B' => asked.both = Some(letter),
                's' => asked.statistics.push(argument),
                // 1.5's word for the statistic of records.
                'S' => asked
                    .statistics
                    .push(format!("record/{}", argument.trim_start_matches('/'))),
                'P' if is_gathering || is_sorting => asked.having = Some(argument),
                'q' => asked.is_quiet = true,
                'I' => asked.is_summary = true,
                // An argument there: the file.
                'E' => {
                    asked.is_health = true;
                    asked.path = Some(argument);
                }
                'C' if argument == "none" => {}
                // Numbers are plain, addresses whole, the engine has its threads, and nothing is written
                // that could be compressed.
                'N' | '6' | 'W' | 'z' | 'y' | 'j' => {}
                _ => {
                    let refused = REFUSED.iter().find(|(known, _)| *known == letter);
                    let says = refused.map(|(_, says)| (*says).to_owned());
                    return Err(says.unwrap_or_else(|| format!("nfdump has no option -{letter}")));
                }
            }
        }
        Ok(asked)
    }

    /// The command and its options, without what flows it is about.
    fn command(&self) -> Result<Vec<String>, String> {
        if self.is_health {
            return Ok(vec!["health".to_owned()]);
        }
        if self.is_summary {
            return Ok(vec!["stat".to_owned(), "summary".to_owned()]);
        }
        if let Some(letter) = self.both {
            // Without elements -a gathers connections, too.
            let is_of_flows = self.gathered.as_deref().is_none_or(str::is_empty);
            if !self.statistics.is_empty() || !is_of_flows {
                return Err(format!(
                    "-{letter} lists connections, both directions in a line: -A and -s count other things, and \
                     stand alone"
                ));
            }
            return self.flows();
        }
        match (&self.statistics[..], &self.gathered) {
            ([], None) => self.flows(),
            ([], Some(elements)) => {
                let mut words = self.group(elements)?;
                words.extend(option("-n", self.lines.as_ref()));
                Ok(words)
            }
            // It lists groups, of the 5-tuple unless -A says otherwise.
            ([record], Some(_)) if is_record(record) => self.top(&self.statistics),
            (_, Some(_)) => Err(
                "-a and -A change what -s counts: use `weir group --by …` for the one and `weir top --by …` \
                 for the other"
                    .to_owned(),
            ),
            (statistics, None) => self.top(statistics),
        }
    }

    fn flows(&self) -> Result<Vec<String>, String> {
        let mut words = vec!["flows".to_owned()];
        if let Some(format) = &self.format {
            if let Some((_, says)) = FORMATS_REFUSED.iter().find(|(name, _)| name == format) {
                return Err((*says).to_owned());
            }
            // These are names of columns there: only -b and -B join directions.
            let is_apart = self.both.is_none() && ["biline", "bilong"].contains(&format.as_str());
            let prefix = if is_apart { "fmt:%" } else { "" };
            words.extend(["-o".to_owned(), format!("{prefix}{format}")]);
        }
        words.extend(self.both.map(|letter| format!("-{letter}")));
        if self.both.is_some() {
            words.extend(option("-P", self.having.as_ref()));
        }
        words.extend(option("-O", self.order.as_ref()));
        if self.first.is_some() && (self.order.is_some() || self.both.is_some()) {
            return Err(
                "-c takes the first flows before they are sorted or joined, which are others each time: use -n"
                    .to_owned(),
            );
        }
        let lines = self.first.as_ref().or(self.lines.as_ref());
        // There is no limit unless one is said.
        words.extend(option("-n", lines.filter(|lines| *lines != "0")));
        if self.is_quiet {
            words.push("-q".to_owned());
        }
        Ok(words)
    }

    fn top(&self, statistics: &[String]) -> Result<Vec<String>, String> {
        let lines = self.lines.as_deref().unwrap_or(LINES).to_owned();
        let mut words = match statistics {
            [record] if is_record(record) => {
                let mut orders = record.split('/').skip(1).filter(|order| !order.is_empty());
                let order = orders.next().unwrap_or("flows").to_owned();
                if orders.next().is_some() {
                    return Err(
                        "of -s record Weir takes one order at a time: repeat the command for the others".to_owned(),
                    );
                }
                let sorted = Self {
                    order: Some(order),
                    format: self.format.clone(),
                    first: self.first.clone(),
                    having: self.having.clone(),
                    is_quiet: self.is_quiet,
                    ..Self::default()
                };
                sorted.group(self.gathered.as_deref().unwrap_or_default())?
            }
            several if several.iter().any(|statistic| is_record(statistic)) => {
                return Err(
                    "-s record stands alone: repeat the command for the other statistics"
                        .to_owned(),
                );
            }
            elements => {
                if let Some(order) = &self.order {
                    return Err(format!(
                        "-O {order} sorts flows: behind -s the order stands as in -s srcip/{order}"
                    ));
                }
                let mut words = vec!["top".to_owned()];
                for element in elements {
                    words.extend(["--by".to_owned(), with_order(element)]);
                }
                words.extend(self.shape("statistics")?);
                words
            }
        };
        words.extend(["-n".to_owned(), lines]);
        Ok(words)
    }

    fn group(&self, elements: &str) -> Result<Vec<String>, String> {
        let mut words = vec!["group".to_owned()];
        if !elements.is_empty() {
            words.extend(["--by".to_owned(), merged(elements)]);
        }
        words.extend(option("--order", self.order.as_ref()));
        words.extend(option("-P", self.having.as_ref()));
        words.extend(self.shape("groups")?);
        Ok(words)
    }

    /// How statistics and groups are printed.
    fn shape(&self, what: &str) -> Result<Vec<String>, String> {
        if self.first.is_some() {
            return Err(format!(
                "-c takes the first flows only, which are others each time: for {what} of fewer flows say `last 1h`"
            ));
        }
        let mut words: Vec<&str> = match self.format.as_deref() {
            Some("json" | "ndjson") => vec!["--json"],
            Some("csv" | "csv-fast") => vec!["-o", "csv"],
            // nfdump picks the columns by itself, and so does Weir.
            None | Some("line" | "long" | "extended") => Vec::new(),
            Some(format) => {
                return Err(format!(
                    "{what} are printed as a table, or with -o csv or -o json for programs: leave -o {format} out"
                ));
            }
        };
        if self.is_quiet {
            words.push("-q");
        }
        Ok(words.into_iter().map(str::to_owned).collect())
    }

    /// The directories, and what tells the files' times.
    fn folders(&self) -> Result<(Vec<String>, Option<String>), String> {
        let sources = self.folders.as_deref().map(sources).transpose()?;
        let Some(path) = self.files.as_ref().or(self.path.as_ref()) else {
            let says = "say where the flows are: -r DIR or -R DIR, the collector's -w";
            return sources
                .map(|folders| (folders, None))
                .ok_or_else(|| says.to_owned());
        };
        let (first, last) = path.split_once(':').unwrap_or((path, ""));
        let (within, name) = first.rsplit_once('/').unwrap_or((".", first));
        if !name.starts_with("nfcapd.") {
            if !last.is_empty() {
                return Err(format!(
                    "`{path}` names files that are not nfcapd's: say the directory, and the time in the filter (`from \
                     14:00 to 15:00`)"
                ));
            }
            let below = |folder: String| format!("{folder}/{first}");
            let folders = match sources {
                Some(folders) => folders.into_iter().map(below).collect(),
                None => vec![first.to_owned()],
            };
            return Ok((folders, None));
        }
        let from = file_time(name)?;
        let last = last.rsplit('/').next().unwrap_or_default();
        let condition = match (last, self.files.is_some()) {
            // Of one file, what came within its five minutes.
            ("", false) => span(&from, &from),
            ("", true) => format!("received >= {from}"),
            (last, _) => span(&from, &file_time(last)?),
        };
        // Folders of days below -M's are nfcapd's: Weir finds its own.
        let folders = sources.unwrap_or_else(|| vec![within.to_owned()]);
        Ok((folders, Some(condition)))
    }
}

/// Whether a statistic is that of records.
fn is_record(statistic: &str) -> bool {
    statistic.split(['/', ':']).next() == Some("record")
}

/// The directories of `-M /flows/one:two`: the others stand beside the first.
fn sources(list: &str) -> Result<Vec<String>, String> {
    if list.ends_with('@') {
        return Err(format!(
            "`{list}` is every directory there: name them, as in -M /flows/one:two"
        ));
    }
    let mut names = list.split(':').filter(|name| !name.is_empty());
    let first = names.next().unwrap_or_default().trim_end_matches('/');
    let beside = first.rsplit_once('/').map(|(beside, _)| beside);
    let others = names.map(|name| match beside {
        Some(beside) if !name.starts_with('/') => format!("{beside}/{name}"),
        _ => name.to_owned(),
    });
    Ok([first.to_owned()].into_iter().chain(others).collect())
}

fn option(name: &str, value: Option<&String>) -> Vec<String> {
    let words = value.map(|value| vec![name.to_owned(), value.clone()]);
    words.unwrap_or_default()
}

/// Elements of -A. There `srcip4/24,srcip6/64` are one key, whatever the family; here that is
/// `srcip/24/64`.
fn merged(elements: &str) -> String {
    let mut merged: Vec<String> = Vec::new();
    for element in elements.split(',') {
        let lower = element.to_ascii_lowercase();
        let base = ["srcip", "dstip"].into_iter().find_map(|base| {
            let (family, bits) = match lower.strip_prefix(base)? {
                "4" => ("4", "32"),
                "6" => ("6", "128"),
                rest => rest.split_once('/')?,
            };
            matches!(family, "4" | "6").then(|| (base, family == "4", bits.to_owned()))
        });
        let Some((base, is_v4, bits)) = base else {
            merged.push(element.to_owned());
            continue;
        };
        let other = format!("{base}{}/", if is_v4 { '6' } else { '4' });
        let place = merged.iter_mut().find(|known| known.starts_with(&other));
        match place {
            Some(known) => {
                let other_bits = known[other.len()..].to_owned();
                let (v4, v6) = if is_v4 {
                    (bits, other_bits)
                } else {
                    (other_bits, bits)
                };
                *known = format!("{base}/{v4}/{v6}");
            }
            None => merged.push(format!("{base}{}/{bits}", if is_v4 { '4' } else { '6' })),
        }
    }
    merged.join(",")
}

/// A statistic with nfdump's default order: flows.
fn with_order(statistic: &str) -> String {
    let is_length = |part: &str| part.bytes().all(|digit| digit.is_ascii_digit());
    let has_order = statistic.split('/').skip(1).any(|part| !is_length(part));
    if has_order {
        statistic.to_owned()
    } else {
        format!("{}/flows", statistic.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests;
