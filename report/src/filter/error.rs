//! A filter, or SQL, that cannot be understood: the line, a caret under the word, and what would fit there.

use std::{fmt, ops::Range};

/// Characters of the line that are shown.
const SHOWN_MAX: usize = 100;
/// Characters shown before the word, at most.
const BEFORE_MAX: usize = 60;

/// What is wrong with a piece of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misread {
    /// Where, in octets.
    pub at: Range<usize>,
    /// What, and what would fit.
    pub says: String,
}

impl Misread {
    /// Something wrong there.
    #[must_use]
    pub fn new(at: Range<usize>, says: impl Into<String>) -> Self {
        Self {
            at,
            says: says.into(),
        }
    }

    /// With the text it is in.
    #[must_use]
    pub fn within(self, text: &str) -> Misunderstood {
        self.within_a("filter", text)
    }

    /// With the text it is in, and what that is.
    #[must_use]
    pub fn within_a(self, what: &'static str, text: &str) -> Misunderstood {
        Misunderstood {
            what,
            text: text.to_owned(),
            misread: self,
        }
    }
}

/// A text, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misunderstood {
    what: &'static str,
    text: String,
    misread: Misread,
}

impl std::error::Error for Misunderstood {}

impl Misunderstood {
    /// What is wrong, without the text.
    #[must_use]
    pub fn says(&self) -> &str {
        &self.misread.says
    }

    /// Line (from 1), its text, the character in it where the word begins (from 0), and the
    /// characters of the word in it.
    fn place(&self) -> (usize, &str, usize, usize) {
        let start = self.misread.at.start.min(self.text.len());
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = &self.text[start..];
        let line_end = start + rest.find('\n').unwrap_or(rest.len());
        let end = self.misread.at.end.clamp(start, line_end);
        (
            before.matches('\n').count() + 1,
            &self.text[line_start..line_end],
            self.text[line_start..start].chars().count(),
            self.text[start..end].chars().count().max(1),
        )
    }
}

impl fmt::Display for Misunderstood {
    fn fmt(&self, output: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, line, column, width) = self.place();
        let skipped = column.saturating_sub(BEFORE_MAX);
        let shown: String = line
            .chars()
            .skip(skipped)
            .take(SHOWN_MAX)
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .collect();
        let indent = column - skipped;
        let caret = "^".repeat(width.min(SHOWN_MAX - indent));
        let what = self.what;
        match number {
            1 => writeln!(output, "this {what} cannot be understood:")?,
            _ => writeln!(output, "this {what} cannot be understood, line {number}:")?,
        }
        writeln!(output, "  {shown}")?;
        write!(output, "  {:indent$}{caret} {}", "", self.misread.says)
    }
}

/// The known word that was probably meant.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LETTERS_MAX: usize = 24;
    if word.len() > LETTERS_MAX {
        return None;
    }
    // Of a word of two letters, one must be right.
    let most = match word.len() {
        0 | 1 => return None,
        2..=4 => 1,
        _ => 2,
    };
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(steps, _)| *steps <= most)
        .min_by_key(|(steps, _)| *steps)
        .map(|(_, candidate)| candidate)
}

/// Letters to change, leave out or put in to make one word the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, letter) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, other) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(!letter.eq_ignore_ascii_case(&other));
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_is_under_the_word() {
        let text = "tcp and\nsrc bort 80";
        let error = Misread::new(12..16, "no such condition").within(text);
        let lines: Vec<_> = error.to_string().lines().map(str::to_owned).collect();
        assert_eq!(
            lines,
            [
                "this filter cannot be understood, line 2:",
                "  src bort 80",
                "      ^^^^ no such condition"
            ]
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_word() {
        let text = format!("{}wrong{}", "any or ".repeat(1000), " or any".repeat(1000));
        let error = Misread::new(7000..7005, "that").within(&text).to_string();
        let lines: Vec<_> = error.lines().collect();
        assert!(
            lines.iter().all(|line| line.chars().count() < 110),
            "{error}"
        );
        let caret = lines[2].find('^').unwrap();
        assert_eq!(&lines[1][caret..caret + 5], "wrong");
    }

    #[test]
    fn what_was_meant_is_near() {
        let known = ["port", "proto", "packets", "ip"];
        for (word, meant) in [
            ("bort", Some("port")),
            ("porto", Some("port")),
            ("paket", Some("packets")),
            ("pi", None),
            ("i", None),
            ("colour", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
    }
}
