//! What people know by heart from nfdump and flow-tools, as Weir's own words: their command lines
//! (`nfdump`, `flow_tools`) become native ones, their lists of filters (`nfilter`, `acl`) become text of
//! the filter language. Both are pure: words in, words or a sentence out.

pub mod acl;
pub mod flow_tools;
mod getopt;
pub mod nfdump;
pub mod nfilter;
mod rules;

use chrono::Local;
use clap::{
    Args,
    builder::StyledStr,
    error::{ContextKind, ContextValue, ErrorKind},
};

/// The word that has the native command printed.
const NATIVE: &str = "--native";

/// What to write in place of letters of nfdump's that Weir's own commands have not.
const LETTERS: [(&str, &str); 4] = [
    (
        "-t",
        "times belong to the filter: 'last 2h', 'from 12:00 to 13:00'",
    ),
    ("-M", "-r DIR may be repeated"),
    ("-a", "`weir group` gathers by the 5-tuple"),
    ("-A", "`weir group --by ELEMENTS` gathers"),
];

/// Says so, of a command line that was not understood. The parser's own advice, to write `--` before the letter,
/// would make a filter of it.
pub fn advise(error: &mut clap::Error) {
    if error.kind() != ErrorKind::UnknownArgument {
        return;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else {
        return;
    };
    let Some((_, says)) = LETTERS.iter().find(|(letter, _)| *letter == word.as_str()) else {
        return;
    };
    let all = "`weir nfdump` takes nfdump's own options; --native prints Weir's";
    let tips = [*says, all].map(StyledStr::from);
    error.insert(
        ContextKind::Suggested,
        ContextValue::StyledStrs(tips.to_vec()),
    );
}

/// Another program's words.
#[derive(Debug, Args)]
pub struct Words {
    /// The program's own options, and `--native` to see what they are in Weir's words
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "WORDS"
    )]
    words: Vec<String>,
}

impl Words {
    /// Weir's words for these; `None` if they were only to be shown, and were.
    ///
    /// # Errors
    /// A sentence that says what to use instead.
    pub fn translate(
        &self,
        native: fn(&[String]) -> Result<Vec<String>, String>,
    ) -> Result<Option<Vec<String>>, String> {
        let is_native = |word: &&String| word.as_str() == NATIVE;
        let words: Vec<String> = self
            .words
            .iter()
            .filter(|word| !is_native(word))
            .cloned()
            .collect();
        let translated = native(&words)?;
        if self.words.iter().any(|word| word == NATIVE) {
            println!("weir {}", shell(&translated));
            return Ok(None);
        }
        Ok(Some(translated))
    }

    /// What to tell beside the answer.
    #[must_use]
    pub fn note(&self, note: fn(&[String], i32) -> Option<String>) -> Option<String> {
        note(&self.words, Local::now().offset().local_minus_utc())
    }
}

/// Words as a shell takes them.
fn shell(words: &[String]) -> String {
    let quoted = |word: &String| {
        let is_plain =
            |letter: char| letter.is_ascii_alphanumeric() || "-_./:,=@+".contains(letter);
        if !word.is_empty() && word.chars().all(is_plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_pasted() {
        let words = ["flows", "-o", "fmt:%sa %da", "it's", ""].map(str::to_owned);
        assert_eq!(shell(&words), r"flows -o 'fmt:%sa %da' 'it'\''s' ''");
    }
}
