//! Lists of `permit` and `deny` as text of the filter language. Whatever decides between lines that
//! contradict one another, no parentheses stand within one another for it: a list may have thousands.

use std::fmt::Write as _;

/// Every flow.
pub const ALL: &str = "any";
/// No flow.
pub const NONE: &str = "not any";

/// Membership of a field in what a list permits. Of two lines that contradict one another the later
/// one holds; `fallback` is for what is in none.
#[must_use]
pub fn membership(field: &str, lines: &[(bool, String)], fallback: bool) -> String {
    // What the list says of members, against what is said of everything else.
    let lines = lines
        .iter()
        .map(|(permit, item)| (*permit != fallback, item));
    let mut set = String::new();
    let mut sign = false;
    for (adds, item) in lines {
        if set.is_empty() {
            // There is nothing yet to take out of.
            if adds {
                set.push('[');
                set.push_str(item);
            }
        } else if adds == sign {
            set.push(' ');
            set.push_str(item);
        } else {
            let _ = write!(set, "] {} [{item}", if adds { '+' } else { '-' });
        }
        sign = adds;
    }
    match (set.is_empty(), fallback) {
        (true, true) => ALL.to_owned(),
        (true, false) => NONE.to_owned(),
        (false, true) => format!("{field} not in {set}]"),
        (false, false) => format!("{field} in {set}]"),
    }
}

/// What the first line that fits says of a flow; `fallback` is for those that none fits.
#[must_use]
pub fn first_match(lines: &[(bool, String)], fallback: bool) -> String {
    let mut denied: Vec<&str> = Vec::new();
    let mut clauses = Vec::new();
    let mut run: Vec<&str> = Vec::new();
    let clause = |run: &[&str], denied: &[&str]| match denied {
        [] => any_of(run),
        denied => format!("({} and not {})", any_of(run), any_of(denied)),
    };
    for (permit, condition) in lines {
        if *permit {
            run.push(condition);
        } else {
            if !run.is_empty() {
                clauses.push(clause(&run, &denied));
                run.clear();
            }
            denied.push(condition);
        }
    }
    if fallback {
        run.push(ALL);
    }
    if !run.is_empty() {
        clauses.push(clause(&run, &denied));
    }
    if clauses.is_empty() {
        return NONE.to_owned();
    }
    clauses.join(" or ")
}

fn any_of(conditions: &[&str]) -> String {
    let each: Vec<_> = conditions
        .iter()
        .map(|condition| format!("({condition})"))
        .collect();
    format!("({})", each.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(bool, String)> {
        let line = |word: &str| (word.starts_with('+'), word[1..].to_owned());
        text.split_whitespace().map(line).collect()
    }

    #[test]
    fn later_lines_hold_against_earlier_ones() {
        for (text, fallback, expected) in [
            ("", false, "not any"),
            ("", true, "any"),
            ("-1", false, "not any"),
            ("+1 +2", false, "port in [1 2]"),
            ("-1 +2 -3 -4 +5", false, "port in [2] - [3 4] + [5]"),
            ("-1 -2", true, "port not in [1 2]"),
            ("+9 -1 +2", true, "port not in [1] - [2]"),
        ] {
            assert_eq!(
                membership("port", &lines(text), fallback),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn the_first_line_that_fits_decides() {
        for (text, fallback, expected) in [
            ("", false, "not any"),
            ("", true, "((any))"),
            ("+a +b", false, "((a) or (b))"),
            ("-a +b", false, "(((b)) and not ((a)))"),
            (
                "+a -b -c +d",
                false,
                "((a)) or (((d)) and not ((b) or (c)))",
            ),
            ("-a", true, "(((any)) and not ((a)))"),
        ] {
            assert_eq!(first_match(&lines(text), fallback), expected, "{text}");
        }
    }
}
