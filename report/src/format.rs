//! How flows are printed: nfdump's formats, compiled once from their tokens (`tokens.rs`); `row.rs` writes the
//! values.

use anyhow::{Result, bail};

use crate::{
    filter::error::nearest,
    question::Misasked,
    row::Columns,
    tokens::{Shown, TOKENS},
};

/// nfdump's formats, and Weir's tokens for what they show.
const FORMATS: [(&str, &str); 10] = [
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
    ("gline", "%ts %td %pr %gsap -> %gdap %pkt %byt %fl"),
    (
        "glong",
        "%ts %td %pr %gsap -> %gdap %flg %tos %pkt %byt %fl",
    ),
    (
        "nsel",
        "%ts %evt %xevt %pr %sap -> %dap %xsap -> %xdap %ibyt %obyt",
    ),
    ("nat", "%ts %nevt %pr %sap -> %dap %nsap -> %ndap"),
    // nfdump 1.6's word.
    ("nel", "%ts %nevt %pr %sap -> %dap %nsap -> %ndap"),
];

/// The tokens of `csv`.
const CSV: &str = "%ts,%td,%pr,%sa,%sp,%da,%dp,%pkt,%byt,%fl";

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
    is_of_both: bool,
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
            Some((name, tokens)) => {
                let is_of_both = name.starts_with("bi");
                Ok(Self {
                    is_of_both,
                    ..Self::compile(tokens, false)?
                })
            }
            None if text == "csv" || text == "csv-fast" => Self::compile(CSV, true),
            None => bail!(Misasked(format!(
                "no format is called `{text}`: there are line, long, extended, biline, bilong, gline, glong, \
                 nsel, nat, csv, json, ndjson, null, fmt:TOKENS and csv:TOKENS"
            ))),
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
                return Err(unknown(name).into());
            };
            let (heading, width) = if is_csv { (csv, 0) } else { (heading, width) };
            pieces.push(Piece::Token {
                shown,
                heading,
                width,
            });
        }
        Ok(Self {
            pieces,
            is_csv,
            is_of_both: false,
        })
    }

    /// Whether it is meant for both directions in one line: `biline` and `bilong`.
    #[must_use]
    pub fn is_of_both(&self) -> bool {
        self.is_of_both
    }

    /// Whether it shows what left apart from what came in.
    #[must_use]
    pub fn shows_out(&self) -> bool {
        self.pieces.iter().any(|piece| {
            let of_out = [Shown::OutPackets, Shown::OutOctets];
            matches!(piece, Piece::Token { shown, .. } if of_out.contains(shown))
        })
    }

    /// The columns that its lines are made of; one at least, which tells how many lines there are.
    #[must_use]
    pub fn columns(&self) -> Vec<&'static str> {
        let mut columns: Vec<_> = self
            .pieces
            .iter()
            .flat_map(|piece| -> &'static [&'static str] {
                match piece {
                    Piece::Literal(_) => &[],
                    Piece::Token { shown, .. } => shown.columns(),
                }
            })
            .copied()
            .collect();
        if columns.is_empty() {
            columns.push("flow_start");
        }
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// The line above the flows.
    #[must_use]
    pub fn heading(&self) -> String {
        let mut line = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => line.extend_from_slice(text.as_bytes()),
                Piece::Token { heading, width, .. } => {
                    pad(&mut line, *width, |line| {
                        line.extend_from_slice(heading.as_bytes());
                    });
                }
            }
        }
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }

    /// Whether each line is one of CSV.
    #[must_use]
    pub fn is_csv(&self) -> bool {
        self.is_csv
    }

    /// Appends a flow's line. `number`: how many were printed before.
    pub fn line(&self, columns: &Columns<'_>, row: usize, number: u64, line: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => match text.as_bytes() {
                    // Most are one letter, for which a copy would be a call.
                    [letter] => line.push(*letter),
                    text => line.extend_from_slice(text),
                },
                Piece::Token { shown, width, .. } => pad(line, *width, |line| {
                    columns.show(*shown, row, number, line);
                }),
            }
        }
        while line.last() == Some(&b' ') {
            line.pop();
        }
        line.push(b'\n');
    }
}

fn unknown(name: &str) -> Misasked {
    if let Some(meant) = nearest(name, TOKENS.iter().map(|token| token.0)) {
        return Misasked(format!(
            "no token is called %{name}; did you mean %{meant}?"
        ));
    }
    let known = TOKENS.iter().map(|token| format!("%{}", token.0));
    Misasked(format!(
        "Weir's flows have nothing for the token %{name}; there are {}",
        known.collect::<Vec<_>>().join(" ")
    ))
}

/// Appends what `write` does, in so many columns; negative: aligned to the left. What is written is ASCII.
fn pad(line: &mut Vec<u8>, width: i32, write: impl FnOnce(&mut Vec<u8>)) {
    let wanted = usize::try_from(width.unsigned_abs()).unwrap_or(0);
    let start = line.len();
    if width <= 0 {
        write(line);
        let shown = line.len() - start;
        put_blanks(line, wanted.saturating_sub(shown));
        return;
    }
    // As many blanks as it may need are in front of it; those in whose place it is are taken away.
    put_blanks(line, wanted);
    let blanks_end = line.len();
    write(line);
    let shown = line.len() - blanks_end;
    let left = wanted.saturating_sub(shown);
    line.copy_within(blanks_end.., start + left);
    line.truncate(start + left + shown);
}

/// Appends so many blanks, some at a time: a copy of a fixed length is a move or two.
fn put_blanks(line: &mut Vec<u8>, count: usize) {
    const BLANKS: [u8; 16] = [b' '; 16];
    let end = line.len() + count;
    while line.len() < end {
        line.extend_from_slice(&BLANKS);
    }
    line.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_made_of_tokens_and_formats() {
        let heading = |format: &str| Format::parse(format).unwrap().heading();
        assert_eq!(heading("csv:%sa,%pkt"), "srcAddr,packets");
        assert_eq!(
            heading("csv:%ismc,%mpls1,%nhb"),
            "inSrcMac,mplsLabel1,bgpNextIP"
        );
        assert_eq!(heading("fmt:%pr|%sp"), "Proto|SPort");
        assert_eq!(
            heading("fmt:%line %ra"),
            format!("{}        Exporter", heading("line"))
        );
        assert_eq!(heading("nel"), heading("fmt:%nat"));
        assert!(heading("glong").contains("Flags"));
        assert!(heading("csv").starts_with("firstSeen,duration,proto,srcAddr,"));
        for (format, words) in [
            ("lines", "no format is called"),
            ("fmt:%sab", "did you mean %sa?"),
            ("fmt:%colour", "nothing for the token %colour"),
            ("fmt:100%", "nothing for the token %;"),
            ("csv:%line", "nothing for the token %line"),
        ] {
            let says = format!("{:#}", Format::parse(format).unwrap_err());
            assert!(says.contains(words), "{format}: {says}");
        }
    }
    /// What nfdump 1.7.1, 1.7.8 and 1.8 know.
    #[test]
    fn all_tokens_of_nfdumps_manual_are_known() {
        const MANUAL: &str = "cnt nfv ts tfs tsr te ter tr trr td pr exp eng lbl sa da sap dap sp dp it ic sn dn \
            nh nhb ra sas das nas pas in out pkt ipkt opkt byt ibyt obyt fl flg tos stos dtos dir smk dmk fwd \
            svln dvln ismc odmc idmc osmc mpls1 mpls2 mpls3 mpls4 mpls5 mpls6 mpls7 mpls8 mpls9 mpls10 mpls bps \
            pps bpp sc dc sloc dloc n ipl opl nbid ja3 sni nbnam odid opid nfc evt xevt msec xsa xda xsp xdp \
            uname nevt ivrf evrf nsa nda nsp ndp pbstart pbend pbstep pbsize cl sl al inam onam \
            gsa gda gsap gdap xsap xdap nsap ndap iacl eacl sgt idt tds minttl maxttl ttl gra bfd end frag eth stz dtz \
            sasn dasn stor dtor ja4 tls pfifn pfact pfrea pfdir pfrule tevt vrf ivrfnam evrfnam flid isid osid nats";
        for name in MANUAL.split_whitespace() {
            for prefix in ["fmt:%", "csv:%"] {
                let format = Format::parse(&format!("{prefix}{name}"));
                assert!(format.is_ok(), "{prefix}{name}");
            }
        }
    }

    #[test]
    fn only_what_is_shown_is_read() {
        let columns = |format: &str| Format::parse(format).unwrap().columns();
        assert_eq!(
            columns("fmt:%sap %sa"),
            ["protocol", "src_addr", "src_port"]
        );
        assert_eq!(columns("fmt:hello"), ["flow_start"]);
        assert_eq!(columns("csv").len(), 9);
        assert!(Format::parse("bilong").unwrap().is_of_both());
        assert!(!Format::parse("fmt:%bilong").unwrap().is_of_both());
    }

    #[test]
    fn values_stand_on_the_side_of_their_width() {
        let padded = |width: i32| {
            let mut line = b"|".to_vec();
            pad(&mut line, width, |line| line.extend_from_slice(b"abc"));
            String::from_utf8(line).unwrap()
        };
        assert_eq!(
            [5, -5, 2, 0].map(padded),
            ["|  abc", "|abc  ", "|abc", "|abc"]
        );
    }
}
