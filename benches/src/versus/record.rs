//! What is kept of a comparison: a table to be quoted, the same for programs, and a picture.

use std::{fmt::Write as _, fs};

use anyhow::Result;
use serde_json::json;

use super::{CASES, Figures, N, RECEIVERS, SHARE_PERCENT, SOFTFLOWD, Table, plot};
use crate::{
    bars::Report,
    record::{Origin, folder, output},
};

/// Writes `versus.md`, `versus.json` and `versus.svg`, whatever is known by now.
pub fn write(report: &Report, table: &Table) -> Result<()> {
    let (folder, origin, peers) = (folder()?, Origin::read()?, peers());
    let unfinished = if is_complete(table) {
        ""
    } else {
        "\n**Not finished**: what is missing was not measured.\n"
    };
    let text = format!(
        "# Weir beside softflowd, nfpcapd and pmacctd\n\n{}\nPeers: {peers}.\n{unfinished}{}\n![Rates and processor time](versus.svg)\n\n## Bars\n{}",
        origin.sentence("versus"),
        markdown(table),
        report.to_markdown()
    );
    fs::write(folder.join("versus.md"), text)?;
    let rows = rows(table).map(|(flows, receiver, figures)| {
        json!({
            "flows": flows,
            "receiver": receiver,
            "zero_loss_mpps": figures.zero_loss_pps as f64 / 1e6,
            "generator_is_limit": figures.generator_is_limit,
            "cpu_ns_per_packet": figures.cpu_ns,
            "lost_while_measuring_cpu": figures.lost,
        })
    });
    let object = origin.with(json!({
        "peers": peers,
        "complete": is_complete(table),
        "rows": rows.collect::<Vec<_>>(),
        "bars": report.to_json()["bars"],
    }));
    fs::write(folder.join("versus.json"), format!("{object:#}\n"))?;
    plot::draw(&folder.join("versus.svg"), table)
}

/// The table, and what its figures mean.
pub fn markdown(table: &Table) -> String {
    let mut text = String::from(
        "\n| flows | receiver | no loss up to, Mpps | CPU, ns a packet | softflowd's, times | lost while measuring CPU |\n|---|---|---:|---:|---:|---:|\n",
    );
    for ((flows, ..), row) in CASES.iter().zip(table) {
        let softflowd_ns = row[SOFTFLOWD].and_then(|figures| figures.cpu_ns);
        for (receiver, figures) in RECEIVERS.iter().zip(row) {
            let Some(figures) = figures else { continue };
            let Figures {
                zero_loss_pps,
                generator_is_limit,
                cpu_ns,
                lost,
            } = figures;
            let limit = if *generator_is_limit { "≥ " } else { "" };
            let mpps = *zero_loss_pps as f64 / 1e6;
            let cpu = cpu_ns.map_or_else(dash, |cpu_ns| format!("{cpu_ns:.0}"));
            let above_zero = cpu_ns.filter(|cpu_ns| *cpu_ns > 0.0);
            let times = softflowd_ns.zip(above_zero);
            let times = times.map_or_else(dash, |(of, by)| format!("{:.1}", of / by));
            let name = receiver.name();
            let _ = writeln!(
                text,
                "| {flows} | {name} | {limit}{mpps:.2} | {cpu} | {times} | {lost} |"
            );
        }
    }
    let _ = writeln!(
        text,
        "\nTCP frames of 60 octets over a veth pair, drawn evenly from flows that are known before; ≥: no \
         loss at all the generator makes. No loss: every packet sent is counted by the receiver, \
         none dropped by its ring. CPU: of all cores, softirqs included, at {SHARE_PERCENT} % of that rate, less \
         what the same traffic takes without a receiver; the median of rounds in which all take turns. \
         Nothing expires meanwhile, so export is in none of the figures."
    );
    text
}

/// The known figures, with flows and receiver.
pub fn rows(table: &Table) -> impl Iterator<Item = (&'static str, &'static str, Figures)> {
    CASES.iter().zip(table).flat_map(|((flows, ..), row)| {
        RECEIVERS
            .iter()
            .zip(row)
            .filter_map(move |(receiver, figures)| Some((*flows, receiver.name(), (*figures)?)))
    })
}

/// Whether each receiver has all its figures, or lost packets at every rate.
fn is_complete(table: &Table) -> bool {
    let complete = |figures: Figures| figures.cpu_ns.is_some() || figures.zero_loss_pps == 0;
    let known = rows(table).filter(|(_, _, figures)| complete(*figures));
    known.count() == CASES.len() * N
}

/// Packages and versions of those it is compared with.
fn peers() -> String {
    let format = "-f=${Package} ${Version}\n";
    let list = output(
        "dpkg-query",
        &["-W", format, "softflowd", "nfdump", "pmacct"],
    );
    list.lines().collect::<Vec<_>>().join(", ")
}

fn dash() -> String {
    "–".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shows_what_is_known() {
        let mut table = Table::default();
        assert!(!is_complete(&table));
        table[0][SOFTFLOWD] = Some(Figures {
            zero_loss_pps: 740_000,
            generator_is_limit: false,
            cpu_ns: Some(1200.0),
            lost: 0,
        });
        table[0][N - 1] = Some(Figures {
            zero_loss_pps: 4_500_000,
            generator_is_limit: true,
            cpu_ns: Some(60.0),
            lost: 3,
        });
        let text = markdown(&table);
        assert!(
            text.contains("| 1k flows | softflowd | 0.74 | 1200 | 1.0 | 0 |"),
            "{text}"
        );
        assert!(
            text.contains("| 1k flows | weir-sensor | ≥ 4.50 | 60 | 20.0 | 3 |"),
            "{text}"
        );
        assert!(!text.contains("nfpcapd |") && rows(&table).count() == 2);
        assert!(!is_complete(&table));
        for row in &mut table {
            *row = [Some(Figures::default()); N];
        }
        assert!(is_complete(&table), "all lost packets at every rate");
        assert!(markdown(&table).contains("| 1M flows | pmacctd | 0.00 | – | – | 0 |"));
    }
}
