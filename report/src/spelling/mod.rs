//! What people know by heart from nfdump and flow-tools, as Weir's own words: their command lines
//! (`nfdump`, `flow_tools`) become native ones, their lists of filters (`nfilter`, `acl`) become text of
//! the filter language. Both are pure: words in, words or a sentence out.

pub mod acl;
pub mod flow_tools;
mod getopt;
pub mod nfdump;
pub mod nfilter;
mod rules;

use clap::Args;

/// The word that has the native command printed.
const NATIVE: &str = "--native";

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
