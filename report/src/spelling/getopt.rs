//! Options as getopt(3) reads them: letters in groups, arguments attached or in the next word, operands
//! anywhere.

/// A command line, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Letters in their order, each with its argument; empty for those that take none.
    pub options: Vec<(char, String)>,
    /// Everything else, in order.
    pub operands: Vec<String>,
}

/// Takes words apart. `letters` are the options there are; a colon behind one says that it takes an
/// argument, two that it may have one attached behind a `=`.
///
/// # Errors
/// A sentence that names the option.
pub fn parse(program: &str, letters: &str, words: &[String]) -> Result<Parsed, String> {
    let mut parsed = Parsed::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            parsed.operands.extend(words.cloned());
            break;
        }
        if word == "--help" {
            return Err(format!(
                "`weir {program}` takes the command line that {program}(1) tells of; with --native behind it Weir's own \
                 command is printed, and `weir help` tells of those"
            ));
        }
        if word.starts_with("--") {
            return Err(format!(
                "`weir {program}` takes {program}'s own options, and --native: leave {word} out, or use Weir's \
                 command (add --native to see it)"
            ));
        }
        let Some(group) = word.strip_prefix('-').filter(|group| !group.is_empty()) else {
            parsed.operands.push(word.clone());
            continue;
        };
        let mut rest = group.chars();
        while let Some(letter) = rest.next() {
            let Some((_, behind)) = letters
                .split_once(letter)
                .filter(|_| letter.is_ascii_alphanumeric())
            else {
                return Err(format!("{program} has no option -{letter}"));
            };
            let mut argument = String::new();
            if behind.starts_with("::") {
                if let Some(attached) = rest.as_str().strip_prefix('=') {
                    attached.clone_into(&mut argument);
                    rest = "".chars();
                }
            } else if behind.starts_with(':') {
                rest.as_str().clone_into(&mut argument);
                rest = "".chars();
                if argument.is_empty() {
                    let next = words.next().cloned();
                    argument = next.ok_or_else(|| format!("-{letter} needs an argument"))?;
                }
            }
            parsed.options.push((letter, argument));
        }
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Parsed, String> {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        parse("nfdump", "r:qNn:z::", &words)
    }

    #[test]
    fn letters_stand_as_getopt_has_them() {
        let found = parsed("-qNn10 tcp -r /flows -z=lz4 -z -- -x").unwrap();
        let options: Vec<_> = found
            .options
            .iter()
            .map(|(letter, argument)| format!("{letter}{argument}"))
            .collect();
        assert_eq!(options, ["q", "N", "n10", "r/flows", "zlz4", "z"]);
        assert_eq!(found.operands, ["tcp", "-x"]);
        assert!(parsed("-n").unwrap_err().contains("-n needs an argument"));
        assert!(parsed("-:").unwrap_err().contains("no option -:"));
        assert!(parsed("-y").unwrap_err().contains("no option -y"));
        assert!(parsed("--help").unwrap_err().contains("`weir help`"));
        assert!(parsed("--json").unwrap_err().contains("leave --json out"));
    }
}
