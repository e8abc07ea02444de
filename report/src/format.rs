//! How flows are printed: nfdump's formats and tokens, compiled once; `row.rs` writes the values.

use anyhow::{Result, bail};

use crate::{
    filter::error::nearest,
    row::{Columns, Shown},
};

/// nfdump's formats, and Weir's tokens for what they show.
const FORMATS: [(&str, &str); 5] = [
    ("line", "%ts %td %pr %sap -> %dap %pkt %byt %fl"),
    ("long", "%ts %td %pr %sap -> %dap %flg %tos %pkt %byt %fl"),
    (
        "extended",
        "%ts %td %pr %sap -> %dap %flg %tos %pkt %byt %pps %bps %bpp %fl",
    ),
    (
        "biline",
        "%ts %td %pr %sap <-> %dap %opkt %ipkt %obyt %ibyt %fl",
    ),
    (
        "bilong",
        "%ts %td %pr %sap <-> %dap %flg %tos %opkt %ipkt %obyt %ibyt %fl",
    ),
];

/// The tokens of `csv`.
const CSV: &str = "%ts,%td,%pr,%sa,%sp,%da,%dp,%pkt,%byt,%fl";

/// A token: its name, its heading in text and in CSV, its width (negative: aligned to the left), what
/// it shows.
type Token = (&'static str, &'static str, &'static str, i32, Shown);

static TOKENS: [Token; 68] = [
    ("ts", "Start (UTC)", "firstSeen", -23, Shown::Time(0)),
    ("tfs", "Start (UTC)", "firstSeen", -23, Shown::Time(0)),
    ("tsg", "Start (UTC)", "firstSeen", -23, Shown::Time(0)),
    ("te", "End (UTC)", "lastSeen", -23, Shown::Time(1)),
    ("teg", "End (UTC)", "lastSeen", -23, Shown::Time(1)),
    ("tr", "Received (UTC)", "received", -23, Shown::Time(2)),
    ("trg", "Received (UTC)", "received", -23, Shown::Time(2)),
    ("tsr", "Start (raw)", "firstSeenRaw", 14, Shown::RawTime(0)),
    ("ter", "End (raw)", "lastSeenRaw", 14, Shown::RawTime(1)),
    (
        "trr",
        "Received (raw)",
        "receivedRaw",
        14,
        Shown::RawTime(2),
    ),
    ("td", "Duration", "duration", 10, Shown::Duration),
    ("tds", "Duration", "duration", 10, Shown::Duration),
    ("pr", "Proto", "proto", -5, Shown::Protocol),
    ("sa", "Source address", "srcAddr", 15, Shown::Address(0)),
    ("da", "Dest. address", "dstAddr", 15, Shown::Address(1)),
    ("sap", "Source", "srcAddrPort", 21, Shown::Endpoint(0)),
    ("dap", "Destination", "dstAddrPort", -21, Shown::Endpoint(1)),
    ("sp", "SPort", "srcPort", 5, Shown::Port(0)),
    ("dp", "DPort", "dstPort", 5, Shown::Port(1)),
    ("it", "Type", "icmpType", 4, Shown::IcmpType),
    ("ic", "Code", "icmpCode", 4, Shown::IcmpCode),
    ("sn", "Source network", "srcNet", 18, Shown::Network(0)),
    ("dn", "Dest. network", "dstNet", 18, Shown::Network(1)),
    ("nh", "Next hop", "nextHop", 15, Shown::NextHop),
    ("ra", "Exporter", "exporter", 15, Shown::Exporter),
    ("sas", "SAS", "srcAS", 6, Shown::SourceAs),
    ("das", "DAS", "dstAS", 6, Shown::DestinationAs),
    ("smk", "SMask", "srcMask", 5, Shown::SourceMask),
    ("dmk", "DMask", "dstMask", 5, Shown::DestinationMask),
    ("in", "Input", "input", 6, Shown::Input),
    ("out", "Output", "output", 6, Shown::Output),
    ("pkt", "Packets", "packets", 8, Shown::Packets),
    ("ipkt", "In pkt", "inPackets", 8, Shown::Packets),
    ("opkt", "Out pkt", "outPackets", 8, Shown::Zero),
    ("byt", "Bytes", "bytes", 10, Shown::Octets),
    ("ibyt", "In byte", "inBytes", 10, Shown::Octets),
    ("obyt", "Out byte", "outBytes", 10, Shown::Zero),
    ("fl", "Flows", "flows", 5, Shown::One),
    ("flg", "Flags", "flags", -8, Shown::Flags),
    ("tos", "Tos", "tos", 3, Shown::Tos),
    ("stos", "STos", "srcTos", 4, Shown::Tos),
    ("dir", "Dir", "dir", 3, Shown::Direction),
    ("end", "End", "endReason", 3, Shown::EndReason),
    ("svln", "VLAN", "srcVlan", 5, Shown::Vlan),
    ("nhb", "BGP next hop", "bgpNextHop", 15, Shown::BgpNextHop),
    // Whichever of nfdump's pairs an exporter told is kept.
    ("ismc", "Source MAC", "srcMac", 17, Shown::Mac(0)),
    ("osmc", "Source MAC", "srcMac", 17, Shown::Mac(0)),
    ("odmc", "Dest. MAC", "dstMac", 17, Shown::Mac(1)),
    ("idmc", "Dest. MAC", "dstMac", 17, Shown::Mac(1)),
    ("ivln", "Inner", "innerVlan", 5, Shown::InnerVlan),
    ("mpls1", "MPLS 1", "mpls1", 11, Shown::Mpls(0)),
    ("mpls2", "MPLS 2", "mpls2", 11, Shown::Mpls(1)),
    ("mpls3", "MPLS 3", "mpls3", 11, Shown::Mpls(2)),
    ("mpls4", "MPLS 4", "mpls4", 11, Shown::Mpls(3)),
    ("mpls", "MPLS labels", "mpls", -24, Shown::MplsStack),
    ("v6fl", "Flow label", "flowLabel", 10, Shown::FlowLabel),
    ("tsa", "Tunnel source", "tunSrcAddr", 15, Shown::Tunnel(0)),
    ("tda", "Tunnel dest.", "tunDstAddr", 15, Shown::Tunnel(1)),
    ("bps", "bps", "bps", 10, Shown::Bps),
    ("pps", "pps", "pps", 8, Shown::Pps),
    ("bpp", "Bpp", "bpp", 6, Shown::Bpp),
    ("nfv", "Ver", "version", 3, Shown::Version),
    ("odid", "Domain", "domain", 8, Shown::SourceId),
    ("eng", "Engine", "engine", 7, Shown::Engine),
    ("smp", "Sampling", "sampling", 8, Shown::Sampling),
    ("ipv", "IPv", "ipVersion", 3, Shown::IpVersion),
    ("cnt", "Count", "count", 8, Shown::Count),
    ("n", "", "", 0, Shown::NewLine),
];

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Token {
        shown: Shown,
        heading: &'static str,
        width: i32,
    },
}

/// A format, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    pieces: Vec<Piece>,
    is_csv: bool,
}

impl Format {
    /// A format by its name, or by its tokens behind `fmt:` or `csv:`.
    ///
    /// # Errors
    /// If a token is not known.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(tokens) = text.strip_prefix("fmt:") {
            return Self::compile(tokens, false);
        }
        if let Some(tokens) = text.strip_prefix("csv:") {
            return Self::compile(tokens, true);
        }
        match FORMATS.iter().find(|(name, _)| *name == text) {
            Some((_, tokens)) => Self::compile(tokens, false),
            None if text == "csv" || text == "csv-fast" => Self::compile(CSV, true),
            None => bail!(
                "no format is called `{text}`: there are line, long, extended, biline, bilong, csv, json, \
                 ndjson, null, fmt:TOKENS and csv:TOKENS"
            ),
        }
    }

    fn compile(tokens: &str, is_csv: bool) -> Result<Self> {
        let mut pieces = Vec::new();
        let mut rest = tokens;
        while !rest.is_empty() {
            let (literal, behind) = rest.split_at(rest.find('%').unwrap_or(rest.len()));
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.to_owned()));
            }
            let Some(behind) = behind.strip_prefix('%') else {
                break;
            };
            let end = behind.find(|letter: char| !letter.is_ascii_alphanumeric());
            let (name, behind) = behind.split_at(end.unwrap_or(behind.len()));
            rest = behind;
            let whole = FORMATS.iter().find(|(known, _)| *known == name);
            if let Some((_, tokens)) = whole.filter(|_| !is_csv) {
                pieces.extend(Self::compile(tokens, false)?.pieces);
                continue;
            }
            let token = TOKENS.iter().find(|token| token.0 == name);
            let Some(&(_, heading, csv, width, shown)) = token else {
                return Err(unknown(name));
            };
            let (heading, width) = if is_csv { (csv, 0) } else { (heading, width) };
            pieces.push(Piece::Token {
                shown,
                heading,
                width,
            });
        }
        Ok(Self { pieces, is_csv })
    }

    /// The line above the flows.
    #[must_use]
    pub fn heading(&self) -> String {
        let mut line = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => line.push_str(text),
                Piece::Token { heading, width, .. } => {
                    pad(&mut line, *width, |line| line.push_str(heading));
                }
            }
        }
        line.trim_end().to_owned()
    }

    /// Whether each line is one of CSV.
    #[must_use]
    pub fn is_csv(&self) -> bool {
        self.is_csv
    }

    /// Appends a flow's line. `number`: how many were printed before.
    pub fn line(&self, columns: &Columns<'_>, row: usize, number: u64, line: &mut String) {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => line.push_str(text),
                Piece::Token { shown, width, .. } => pad(line, *width, |line| {
                    columns.show(*shown, row, number, line);
                }),
            }
        }
        let shown = line.trim_end_matches(' ').len();
        line.truncate(shown);
        line.push('\n');
    }
}

fn unknown(name: &str) -> anyhow::Error {
    match nearest(name, TOKENS.iter().map(|token| token.0)) {
        Some(meant) => anyhow::anyhow!("no token is called %{name}; did you mean %{meant}?"),
        None => anyhow::anyhow!(
            "Weir's flows have nothing for the token %{name}; there are {}",
            TOKENS.map(|token| format!("%{}", token.0)).join(" ")
        ),
    }
}

/// Appends what `write` does, in so many columns; negative: aligned to the left.
fn pad(line: &mut String, width: i32, write: impl FnOnce(&mut String)) {
    let start = line.len();
    write(line);
    let wanted = usize::try_from(width.unsigned_abs()).unwrap_or(0);
    // What is written is ASCII.
    let missing = wanted.saturating_sub(line.len() - start);
    for _ in 0..missing {
        if width < 0 {
            line.push(' ');
        } else {
            line.insert(start, ' ');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_made_of_tokens_and_formats() {
        let heading = |format: &str| Format::parse(format).unwrap().heading();
        assert_eq!(heading("csv:%sa,%pkt"), "srcAddr,packets");
        assert_eq!(heading("csv:%ismc,%mpls1,%nhb"), "srcMac,mpls1,bgpNextHop");
        assert_eq!(heading("fmt:%pr|%sp"), "Proto|SPort");
        assert_eq!(
            heading("fmt:%line %ra"),
            format!("{}        Exporter", heading("line"))
        );
        assert!(heading("csv").starts_with("firstSeen,duration,proto,srcAddr,"));
        for (format, words) in [
            ("lines", "no format is called"),
            ("fmt:%sab", "did you mean %sa?"),
            ("fmt:%eventtime", "nothing for the token %eventtime"),
            ("fmt:100%", "nothing for the token %;"),
            ("csv:%line", "nothing for the token %line"),
        ] {
            let says = format!("{:#}", Format::parse(format).unwrap_err());
            assert!(says.contains(words), "{format}: {says}");
        }
    }
}
