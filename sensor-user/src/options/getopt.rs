//! getopt(3) as the GNU library has it: letters that may stand together (`-dN`), arguments behind
//! their letter or in the next word (`-ieth0`, `-i eth0`), options before, between and behind other
//! words, and `--` before words that are none.

/// What is wrong with a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// There is no such letter.
    Unknown(char),
    /// Its argument is missing.
    ArgumentMissing(char),
}

/// Goes through a command line's options. The other words are in [`Getopt::operands`] at the end.
#[derive(Debug)]
pub struct Getopt<'a> {
    /// The letters, each with a colon behind it if it takes an argument.
    letters: &'static str,
    words: std::slice::Iter<'a, String>,
    /// What is left of a word of letters.
    rest: &'a str,
    /// The words that are no options.
    pub operands: Vec<String>,
}

impl<'a> Getopt<'a> {
    /// Goes through `words`, which are without the program's name.
    #[must_use]
    pub fn new(letters: &'static str, words: &'a [String]) -> Self {
        Self {
            letters,
            words: words.iter(),
            rest: "",
            operands: Vec::new(),
        }
    }

    /// Whether a letter takes an argument; `None` if there is no such letter.
    fn takes_argument(&self, letter: char) -> Option<bool> {
        let (_, behind) = self.letters.split_once(letter)?;
        (letter != ':').then(|| behind.starts_with(':'))
    }
}

impl<'a> Iterator for Getopt<'a> {
    /// A letter and its argument; empty if it takes none.
    type Item = Result<(char, &'a str), Wrong>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.rest.is_empty() {
            let word = self.words.next()?;
            match word.strip_prefix('-') {
                Some("-") => {
                    self.operands.extend(self.words.by_ref().cloned());
                    return None;
                }
                Some(letters) if !letters.is_empty() => self.rest = letters,
                _ => self.operands.push(word.clone()),
            }
        }
        let mut letters = self.rest.chars();
        let letter = letters.next()?;
        self.rest = letters.as_str();
        Some(match self.takes_argument(letter) {
            None => Err(Wrong::Unknown(letter)),
            Some(false) => Ok((letter, "")),
            Some(true) if self.rest.is_empty() => match self.words.next() {
                Some(argument) => Ok((letter, argument.as_str())),
                None => Err(Wrong::ArgumentMissing(letter)),
            },
            Some(true) => Ok((letter, std::mem::take(&mut self.rest))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Options as words, wrong ones with a mark, then a bar and the operands.
    fn parsed(line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(Into::into).collect();
        let mut options = Getopt::new("dNi:n:", &words);
        let mut found: Vec<String> = Vec::new();
        for option in options.by_ref() {
            found.push(match option {
                Ok((letter, argument)) => format!("{letter}{argument}"),
                Err(Wrong::Unknown(letter)) => format!("?{letter}"),
                Err(Wrong::ArgumentMissing(letter)) => format!("!{letter}"),
            });
        }
        format!("{} | {}", found.join(" "), options.operands.join(" "))
    }

    #[test]
    fn letters_cluster_and_arguments_stand_behind_or_apart() {
        for (line, expected) in [
            ("-d -N", "d N | "),
            ("-dN", "d N | "),
            ("-dieth0", "d ieth0 | "),
            ("-di eth0", "d ieth0 | "),
            ("-i -d", "i-d | "),
            ("-i eth0 tcp -d or udp", "ieth0 d | tcp or udp"),
            ("-d -- -N -x", "d | -N -x"),
            ("- -d", "d | -"),
            ("-i", "!i | "),
            ("-q", "?q | "),
            ("-dqN", "d ?q N | "),
            ("-:", "?: | "),
            ("--long", "?- ?l ?o ng | "),
        ] {
            assert_eq!(parsed(line), expected, "{line}");
        }
    }
}
