//! What weir-sensor does otherwise than softflowd, as two tables in its man page. The list is the sensor's.

use std::fmt::Write as _;

use weir_sensor::options::differences::{Difference, PROGRAM, RECORDS};

use crate::page::escaped;

/// The section, in roff for tbl(1).
pub fn section() -> String {
    [
        ".SH \"DIFFERENCES FROM SOFTFLOWD\"\n\
         Flags, defaults (by the name softflowd), timeouts, control words and layouts are softflowd 1.1.0\\(aqs.\n\
         Otherwise on purpose:\n",
        &table(PROGRAM),
        ".PP\nBy the name softflowd, which records there are, their contents and their times are softflowd\\(aqs, but for:\n",
        &table(RECORDS),
    ]
    .concat()
}

fn table(rows: &[Difference]) -> String {
    let mut text = String::from(
        ".PP\n.ad l\n.nh\n.TS\ntab(@);\nlbw(14n) lbw(25n) lbw(25n)\nlw(14n) lw(25n) lw(25n).\n\
         @softflowd@Weir\n",
    );
    for Difference {
        what,
        softflowd,
        weir,
    } in rows
    {
        // A row is followed by an empty one. A page has no marks for code.
        let cells = [what, softflowd, weir].map(|cell| escaped(&cell.replace('`', "")));
        let cells = cells.map(|cell| format!("T{{\n{cell}\nT}}"));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}\n.sp 0.4", cells.join("@"));
    }
    text.push_str(".TE\n.hy\n.ad\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_empty_or_ends_the_table() {
        for row in RECORDS.iter().chain(PROGRAM) {
            for cell in [row.what, row.softflowd, row.weir] {
                assert!(!cell.is_empty() && !cell.contains('@'), "{cell}");
                assert!(!cell.starts_with("T}"), "{cell}");
            }
        }
    }

    #[test]
    fn each_flag_without_effect_is_among_them() {
        let command = weir_sensor::options::command();
        let rows: Vec<&str> = PROGRAM.iter().map(|row| row.what).collect();
        for argument in command.get_arguments() {
            let heading = argument.get_help_heading().unwrap_or_default();
            if !heading.starts_with("Without effect") {
                continue;
            }
            let flag = format!("-{}", argument.get_short().unwrap());
            assert!(
                rows.iter()
                    .any(|row| row.split_whitespace().any(|word| word == flag)),
                "{flag} has no row"
            );
        }
    }
}
