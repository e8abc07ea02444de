//! What came of trials, and what of it goes into the report.

use super::{
    Case, SHARE_PERCENT,
    collectors::{Left, Nfcapd, Who},
};
use crate::{
    bars::{Bar, Report},
    cpu::median,
    table::median_ratio,
};

/// What came of a trial.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub sent: u64,
    pub per_second: u64,
    pub kernel_drops: u64,
    /// Processor time while flows were sent and written.
    pub open_ns: u64,
    /// All that the machine did meanwhile, but for that: the sender, and softirqs.
    pub beside_ns: u64,
    /// Its files; and its processor time with its start and the closing of files.
    pub left: Left,
    pub memory_octets: u64,
    /// Windows that were open when all was written.
    pub windows_open: usize,
}

impl Outcome {
    /// Whether each flow that was sent is in the files, once.
    pub fn is_lossless(&self) -> bool {
        self.kernel_drops == 0 && self.left.flows == self.sent
    }

    /// Whether closing kept up: beside the window that is written one may be closed. One that waits after ten windows is
    /// ten that wait after a hundred.
    pub fn keeps_up(&self) -> bool {
        self.windows_open <= 2
    }

    /// The share of one flow.
    fn a_flow(&self, ns: f64) -> f64 {
        ns / self.sent.max(1) as f64
    }
}

/// One of those who collect, and its figures: one a round.
#[derive(Debug, Default)]
pub struct Figures {
    pub highest: u64,
    pub sender_is_limit: bool,
    pub open_ns: Vec<f64>,
    pub all_ns: Vec<f64>,
    pub beside_ns: Vec<f64>,
    pub octets: Vec<f64>,
    pub memory_mib: Vec<f64>,
    pub lost: u64,
}

impl Figures {
    /// Takes in a round.
    pub fn add(&mut self, outcome: &Outcome) {
        let a_flow = |figure: f64| outcome.a_flow(figure);
        self.open_ns.push(a_flow(outcome.open_ns as f64));
        self.all_ns.push(a_flow(outcome.left.cpu_ns));
        self.beside_ns.push(a_flow(outcome.beside_ns as f64));
        self.octets.push(a_flow(outcome.left.octets as f64));
        let mib = outcome.memory_octets as f64 / f64::from(1 << 20);
        self.memory_mib.push(mib);
        self.lost += outcome.sent.saturating_sub(outcome.left.flows);
    }
}

/// Adds what was found of a case to a report; Weir is the first of those who collected.
pub fn add(report: &mut Report, case: &Case, nfcapd: &Nfcapd, who: &[Who], figures: &[Figures]) {
    let name = case.name;
    let weir = &figures[0];
    let per_core = (!weir.open_ns.is_empty()).then(|| 1e3 / median(weir.open_ns.clone()));
    report.bar(
        format!("{name}: into the open window, one core"),
        "M flows/s",
        per_core,
        case.bar,
        format!(
            "processor time of the process, at {SHARE_PERCENT} % of its highest rate without loss; {} flows lost meanwhile",
            weir.lost
        ),
    );
    add_ratios(report, name, nfcapd, who, figures);
    for (who, figures) in who.iter().zip(figures) {
        let name = format!("{name}, {}", who.name());
        let limit = if figures.sender_is_limit {
            " (all that the sender makes)"
        } else {
            ""
        };
        report.context(
            format!("{name}: no loss up to{limit}"),
            figures.highest as f64 / 1e6,
            "M flows/s",
        );
        for (what, figures, unit) in [
            ("CPU until it is written", &figures.open_ns, "ns/flow"),
            ("CPU with closing", &figures.all_ns, "ns/flow"),
            ("beside it: sender, softirqs", &figures.beside_ns, "ns/flow"),
            ("as rotated", &figures.octets, "octets/flow"),
            ("most memory before closing", &figures.memory_mib, "MiB"),
        ] {
            if let Some(figure) = known(figures) {
                report.context(format!("{name}: {what}"), figure, unit);
            }
        }
    }
}

/// Weir's processor time over nfcapd's. The must is one over zstd. Without it the must stays open, which is
/// nothing that Weir missed; LZ4, which costs nfcapd less, is held against the same bar in its stead.
fn add_ratios(
    report: &mut Report,
    name: &str,
    nfcapd: &Nfcapd,
    everybody: &[Who],
    figures: &[Figures],
) {
    let ratio = |other: Who| {
        let index = everybody.iter().position(|who| *who == other)?;
        let (weir, other) = (&figures[0].all_ns, &figures[index].all_ns);
        (!weir.is_empty() && weir.len() == other.len()).then(|| median_ratio(weir, other))
    };
    let version = &nfcapd.version;
    let (bar, note) = if nfcapd.has_zstd {
        (Bar::at_most(1.0, 1.0), version.clone())
    } else {
        let note = format!(
            "the must (≤ 1) stays open: {version} has no zstd; put an nfcapd and nfdump of 1.7.2 or newer, built with it, first on the path"
        );
        (Bar::aim_at_most(1.0), note)
    };
    report.bar(
        format!("{name}: CPU a flow with Parquet / nfcapd with zstd"),
        "×",
        ratio(Who::Zstd),
        bar,
        note,
    );
    let (stand_in, note) = if nfcapd.has_zstd {
        ("", String::new())
    } else {
        (
            ", stand-in for zstd",
            "; it costs nfcapd less than zstd: at most 1 here is less there too, more decides nothing"
                .to_owned(),
        )
    };
    report.bar(
        format!("{name}: CPU a flow with Parquet / nfcapd with lz4{stand_in}"),
        "×",
        ratio(Who::Lz4),
        Bar::aim_at_most(1.0),
        format!("{version}, {}{note}", nfcapd.option(Who::Lz4)),
    );
}

fn known(figures: &[f64]) -> Option<f64> {
    (!figures.is_empty()).then(|| median(figures.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_that_is_not_in_the_files_is_lost_whoever_dropped_it() {
        let outcome = |flows, kernel_drops| Outcome {
            sent: 100,
            per_second: 1,
            kernel_drops,
            open_ns: 0,
            beside_ns: 0,
            left: Left {
                flows,
                ..Left::default()
            },
            memory_octets: 0,
            windows_open: 3,
        };
        let mut outcome_of = outcome(100, 0);
        assert!(!outcome_of.keeps_up());
        outcome_of.windows_open = 2;
        assert!(outcome_of.keeps_up());
        assert!(outcome(100, 0).is_lossless());
        assert!(!outcome(99, 0).is_lossless());
        assert!(!outcome(100, 1).is_lossless());
        assert!(!outcome(101, 0).is_lossless());
    }

    /// A report of v5 with figures of Weir and the others, and its lines.
    fn report(version: &str, who: &[Who], weir_ns: f64) -> (Report, String) {
        let nfcapd = Nfcapd::of_usage(version, "-z=lz4 -z=zstd");
        let figures = |all_ns| Figures {
            highest: 1_000_000,
            open_ns: vec![100.0],
            all_ns: vec![all_ns],
            octets: vec![14.0],
            ..Figures::default()
        };
        let figures: Vec<_> = (0..who.len())
            .map(|index| figures(if index == 0 { weir_ns } else { 200.0 }))
            .collect();
        let mut report = Report::default();
        add(&mut report, &super::super::CASES[0], &nfcapd, who, &figures);
        let text = report.to_markdown();
        (report, text)
    }

    #[test]
    fn without_zstd_its_must_stays_open_and_lz4_stands_in() {
        let version = "Version: 1.7.4 Options: BZIP2";
        let (report, text) = report(version, &[Who::Weir, Who::Lz4], 300.0);
        assert_eq!(report.misses(), Vec::<String>::new());
        let line = |words: &str| {
            let line = text.lines().find(|line| line.contains(words));
            line.unwrap_or_else(|| panic!("{text}"))
        };
        let open = line("nfcapd with zstd");
        assert!(
            open.contains("not measured") && open.contains("stays open"),
            "{open}"
        );
        let stand_in = line("lz4, stand-in for zstd");
        assert!(
            stand_in.contains("1.50") && stand_in.contains("aim missed"),
            "{stand_in}"
        );
    }

    #[test]
    fn with_zstd_the_must_is_one() {
        let version = "Version: 1.7.4 Options: ZSTD BZIP2";
        let everybody = [Who::Weir, Who::Lz4, Who::Zstd];
        let (report, text) = report(version, &everybody, 300.0);
        let missed = report.misses();
        assert!(
            missed.len() == 1 && missed[0].contains("nfcapd with zstd: 1.50"),
            "{missed:?}"
        );
        assert!(!text.contains("stand-in"), "{text}");
        let (report, _) = self::report(version, &everybody, 150.0);
        assert_eq!(report.misses(), Vec::<String>::new());
    }
}
