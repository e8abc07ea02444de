//! What an answer covers, in words and as JSON.

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use serde_json::{Value, json};

use crate::{data::Coverage, output, text};

/// Says on standard error which files were left out, or the rest of which.
pub fn report_partial(left_out: &[(PathBuf, String)]) {
    let (marked, plain) = output::marks(io::stderr().is_terminal(), output::YELLOW);
    for (path, reason) in left_out {
        eprintln!(
            "weir: {marked}partial{plain}: {} was left out, or the rest of it: {reason}",
            path.display()
        );
    }
}

/// The coverage on standard error, for formats that have no place for it, if a person is watching.
pub fn report_coverage(coverage: &Coverage, flows: u64) {
    coverage.reading.bar().hide();
    if io::stderr().is_terminal() {
        eprint!("{}", coverage_text(coverage, flows));
    }
}

/// What an answer covers, in three lines.
#[must_use]
pub fn coverage_text(coverage: &Coverage, flows: u64) -> String {
    let skipped = match coverage.skipped {
        0 => String::new(),
        skipped => format!(" ({skipped} of them hold nothing that fits)"),
    };
    let mut lines = vec![format!(
        "{} of {} flows, from {} closed and {} open files{skipped}",
        text::count(flows),
        text::count(coverage.flows),
        coverage.closed,
        coverage.open,
    )];
    match coverage.left_out().len() {
        0 => {}
        1 => lines.push("partial: one file was left out, or the rest of it".to_owned()),
        files => lines.push(format!(
            "partial: {files} files were left out, or the rest of them"
        )),
    }
    let complete = coverage.complete_to_ns().map(text::time_to_second);
    match (coverage.flows_ns, complete) {
        (Some((first, last)), Some(complete)) => {
            let (first, last) = (text::time_to_second(first), text::time_to_second(last));
            lines.push(format!("{first} to {last} UTC, complete up to {complete}"));
            lines.push(loss_text(coverage));
            lines.extend(sampling_text(coverage));
        }
        // Nothing of the time asked for: it may not have come yet.
        (None, Some(complete)) => lines.push(format!(
            "no file has flows of that time; complete up to {complete} UTC"
        )),
        (_, None) if coverage.left_out().is_empty() => lines.push(
            "nothing was ever received here: is it the directory a collector writes to (its -w)?"
                .to_owned(),
        ),
        (_, None) => {}
    }
    lines.push(String::new());
    lines.join("\n")
}

fn loss_text(coverage: &Coverage) -> String {
    let (records, datagrams, exporters) = coverage.accounts.lost();
    let unnumbered = match coverage.accounts.without_numbers() {
        0 => "",
        _ => "; what is of v1 has no numbers, and what was lost of it is not known",
    };
    let lost = match (records, datagrams) {
        (0, 0) if !unnumbered.is_empty() => {
            "nothing that has numbers was lost on the way".to_owned()
        }
        (0, 0) => "nothing was lost on the way".to_owned(),
        _ => format!(
            "lost on the way: {} records (v5, IPFIX) and {} datagrams (v9, sFlow), of {exporters} exporters",
            text::count(records),
            text::count(datagrams),
        ),
    };
    let lost = lost + unnumbered;
    match (coverage.unaccounted, coverage.closed + coverage.open) {
        (0, _) => lost,
        (unaccounted, all) if unaccounted == all && coverage.closed == 0 => {
            "what was lost on the way is known when a file is closed".to_owned()
        }
        // What was imported or recovered never tells.
        (unaccounted, all) if unaccounted == all => {
            "these files do not tell what was lost on the way".to_owned()
        }
        (1, _) => format!("{lost}; one file says nothing of that yet"),
        (unaccounted, _) => format!("{lost}; {unaccounted} files say nothing of that"),
    }
}

/// That exporters did not look at all packets, and what counts are of.
fn sampling_text(coverage: &Coverage) -> Option<String> {
    let (least, most) = coverage.sampling.filter(|(_, most)| *most > 1)?;
    let looked_at = match least {
        0 | 1 => format!(
            "some flows are sampled, one packet in up to {}",
            text::count(most.into())
        ),
        least if least == most => format!(
            "flows are sampled, one packet in {}",
            text::count(most.into())
        ),
        least => format!(
            "flows are sampled, one packet in {} to {}",
            text::count(least.into()),
            text::count(most.into())
        ),
    };
    let counted = if coverage.is_scaled {
        "octets and packets are multiplied by that"
    } else {
        "octets and packets are of those that were looked at (--scaled multiplies them)"
    };
    Some(format!("{looked_at}: {counted}"))
}

/// What an answer covers, as JSON.
#[must_use]
pub fn coverage_json(coverage: &Coverage, flows: u64) -> Value {
    let (records, datagrams, exporters) = coverage.accounts.lost();
    let left_out = coverage.left_out();
    let unreadable = left_out.iter();
    let unreadable: Vec<_> = unreadable
        .map(|(path, reason)| json!({ "file": path.display().to_string(), "reason": reason }))
        .collect();
    json!({
        "flows": flows,
        "flows_in_files": coverage.flows,
        "closed_files": coverage.closed,
        "open_files": coverage.open,
        "files_skipped": coverage.skipped,
        "first_flow": coverage.flows_ns.map(|(first, _)| text::time_json(first)),
        "last_flow": coverage.flows_ns.map(|(_, last)| text::time_json(last)),
        "complete_to": coverage.complete_to_ns().map(text::time_json),
        "lost_records": records,
        "lost_datagrams": datagrams,
        "exporters_with_loss": exporters,
        "exporters_without_numbers": coverage.accounts.without_numbers(),
        "files_without_account": coverage.unaccounted,
        "sampling_interval_max": coverage.sampling.map(|(_, most)| most),
        "scaled": coverage.is_scaled,
        "unreadable": unreadable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_without_an_account_tell_of_no_loss() {
        let ends = (1_700_000_000_000_000_000, 1_700_000_900_000_000_000);
        for (closed, open, expected) in [
            (0, 1, "is known when a file is closed"),
            (2, 0, "these files do not tell"),
            (2, 1, "these files do not tell"),
        ] {
            let coverage = Coverage {
                closed,
                open,
                unaccounted: closed + open,
                flows_ns: Some(ends),
                heard_ns: vec![ends],
                ..Coverage::default()
            };
            let says = coverage_text(&coverage, 7);
            assert!(says.contains(expected), "{closed} {open}: {says}");
        }
    }

    #[test]
    fn the_end_of_an_answer_says_what_it_covers() {
        let mut coverage = Coverage {
            closed: 3,
            skipped: 1,
            flows: 12_345,
            flows_ns: Some((1_700_000_000_000_000_000, 1_700_000_900_000_000_000)),
            heard_ns: vec![(1_700_000_000_000_000_000, 1_700_000_900_000_000_000)],
            ..Coverage::default()
        };
        assert_eq!(
            coverage_text(&coverage, 7),
            "7 of 12,345 flows, from 3 closed and 0 open files (1 of them hold nothing that fits)\n\
             2023-11-14 22:13:20 to 2023-11-14 22:28:20 UTC, complete up to 2023-11-14 22:23:20\n\
             nothing was lost on the way\n"
        );
        coverage.open = 1;
        coverage.unaccounted = 1;
        assert!(coverage_text(&coverage, 7).ends_with("; one file says nothing of that yet\n"));
        assert_eq!(
            coverage_text(&Coverage::default(), 0),
            "0 of 0 flows, from 0 closed and 0 open files\n\
             nothing was ever received here: is it the directory a collector writes to (its -w)?\n"
        );
        // Who asks for the last minutes sees why there is nothing yet.
        let nothing = Coverage {
            heard_ns: coverage.heard_ns.clone(),
            ..Coverage::default()
        };
        assert_eq!(
            coverage_text(&nothing, 0),
            "0 of 0 flows, from 0 closed and 0 open files\n\
             no file has flows of that time; complete up to 2023-11-14 22:23:20 UTC\n"
        );
        let json = coverage_json(&coverage, 7);
        assert_eq!(json["complete_to"], "2023-11-14T22:23:20.000000000Z");
        for (sampling, is_scaled, expected) in [
            (Some((1, 1)), false, None),
            (
                Some((1, 1000)),
                false,
                Some(
                    "some flows are sampled, one packet in up to 1,000: octets and packets are of",
                ),
            ),
            (
                Some((100, 100)),
                false,
                Some("flows are sampled, one packet in 100: octets and packets are of"),
            ),
            (
                Some((10, 100)),
                true,
                Some(
                    "flows are sampled, one packet in 10 to 100: octets and packets are multiplied",
                ),
            ),
        ] {
            coverage.sampling = sampling;
            coverage.is_scaled = is_scaled;
            let says = coverage_text(&coverage, 7);
            let last = says
                .lines()
                .next_back()
                .filter(|line| line.contains("sampled"));
            assert_eq!(last.is_some(), expected.is_some(), "{says}");
            assert!(
                last.unwrap_or_default()
                    .starts_with(expected.unwrap_or_default()),
                "{says}"
            );
        }
    }
}
