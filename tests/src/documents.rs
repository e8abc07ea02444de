//! The commands that README and `docs/` show: whoever knows a program's options holds them against these.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// A command in a document.
#[derive(Debug)]
pub struct Shown {
    /// The document.
    pub document: PathBuf,
    /// Its words, as a shell splits them.
    pub words: Vec<String>,
}

/// Every command of a program in which words follow its name (`weir-ctl`, `cargo xtask`), in lines of code and between
/// backticks; not those with an ellipsis.
///
/// # Errors
/// If a document cannot be read.
pub fn commands(program: &str) -> Result<Vec<Shown>> {
    let name: Vec<&str> = program.split(' ').collect();
    let is_wanted = |words: &[String]| {
        words.len() > name.len()
            && words.iter().zip(&name).all(|(word, name)| word == name)
            && words.iter().all(|word| word != "…")
    };
    let mut found = Vec::new();
    for document in documents()? {
        let text = fs::read_to_string(&document).with_context(|| document.display().to_string())?;
        let shown = shown(&text).into_iter().filter(|words| is_wanted(words));
        found.extend(shown.map(|words| Shown {
            document: document.clone(),
            words,
        }));
    }
    Ok(found)
}

fn documents() -> Result<Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut documents = vec![root.join("README.md")];
    for entry in fs::read_dir(root.join("docs"))? {
        documents.push(entry?.path());
    }
    Ok(documents)
}

/// What stands in a document's lines of code, then what is between backticks in the others, as words.
fn shown(text: &str) -> Vec<Vec<String>> {
    let text = text.replace("\\\n", " ");
    let (code, prose): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| line.starts_with("    "));
    let prose = prose.join("\n");
    let spans = prose.split('`').skip(1).step_by(2);
    code.into_iter().chain(spans).map(words).collect()
}

/// A command's words without their quotes. A comment, a pipe or another command end it.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in command.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if matches!(c, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if word.is_none() && matches!(c, '#' | '|' | '&' | ';' | '>') => break,
            None if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_in_code_and_in_prose() {
        let text =
            "Say `weir top`, or:\n\n    weir flows \\\n        -o 'fmt:%ts %byt' | head  # few\n";
        assert_eq!(
            shown(text),
            [
                vec!["weir", "flows", "-o", "fmt:%ts %byt"],
                vec!["weir", "top"]
            ]
        );
    }
}
