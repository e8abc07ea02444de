//! Settings from a file: TOML in which each long option of the command line is a key of the same name. Keys
//! become arguments that stand before the command line's own, so one table of options serves both, and the
//! command line wins: a key whose option stands there too is checked and not used.
//!
//! Flags are `true` or `false`; what may be repeated is a list; values are strings or whole numbers, as they
//! would be written on the command line. Every mistake is told with file, line and key.

mod file;

use std::{
    ffi::{OsStr, OsString},
    mem,
    os::unix::ffi::OsStrExt as _,
    path::{PathBuf, absolute},
};

use clap::{
    Command,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

use file::{Entry, Wrong, entries, find, read, said};

/// The option that names the file, by its id and its long name.
pub const OPTION: &str = "config";

/// Why there are no settings.
#[derive(Debug)]
pub enum Refused {
    /// The command line is wrong, or its help was asked for.
    Line(clap::Error),
    /// The file is: one line that says where and what.
    File(String),
}

/// A command line with what its file says.
#[derive(Debug)]
pub struct Arguments {
    /// The program's name, the file's arguments, the command line's.
    pub words: Vec<OsString>,
    file: Option<PathBuf>,
    /// The file's keys that are used, and their lines.
    keys: Vec<(String, usize)>,
}

/// Puts what the file of `--config` says before what the command line says, which begins with the program's
/// name. `command` has the options; those that a file can set have long names or are positional.
///
/// # Errors
/// What is wrong with the file.
pub fn arguments(command: &Command, line: &[OsString]) -> Result<Arguments, Refused> {
    let mut arguments = Arguments {
        words: line.to_vec(),
        file: None,
        keys: Vec::new(),
    };
    // What is wrong with the line is told when it is parsed in earnest, and so is its help.
    let partial = command.clone().ignore_errors(true);
    let Ok(matches) = partial.try_get_matches_from(line) else {
        return Ok(arguments);
    };
    let Some(file) = matches.try_get_one::<PathBuf>(OPTION).ok().flatten() else {
        return Ok(arguments);
    };
    let text = read(file).map_err(Refused::File)?;
    let program = line.first().cloned().unwrap_or_default();
    let mut words = vec![program.clone()];
    for Entry { key, line, value } in entries(&text).map_err(|wrong| wrong.at(file))? {
        let wrong = |sentence: String| {
            let key = key.clone();
            let wrong = Wrong {
                line,
                key,
                sentence,
            };
            wrong.at(file)
        };
        let option = find(command, &key).map_err(wrong)?;
        let said = said(option, &key, &value).map_err(wrong)?;
        let alone = [program.clone()].into_iter().chain(said.clone());
        if let Some(mistake) = mistake(command, alone) {
            return Err(wrong(mistake));
        }
        if matches.value_source(option.get_id().as_str()) != Some(ValueSource::CommandLine) {
            words.extend(said);
            arguments.keys.push((key, line));
        }
    }
    words.extend(line.iter().skip(1).cloned());
    arguments.words = words;
    arguments.file = Some(file.clone());
    Ok(arguments)
}

impl Arguments {
    /// Where a mistake is that was found when all of it was parsed: options that do not go together, say.
    #[must_use]
    pub fn refuse(&self, error: clap::Error) -> Refused {
        let Some(file) = self.file.as_deref().filter(|_| error.use_stderr()) else {
            return Refused::Line(error);
        };
        match self.keys.iter().find(|(key, _)| is_about(&error, key)) {
            Some((key, line)) => {
                let wrong = Wrong {
                    line: *line,
                    key: key.clone(),
                    sentence: sentence(&error),
                };
                wrong.at(file)
            }
            None => Refused::Line(error),
        }
    }

    /// Where a key stands whose value is used, as the beginning of a sentence: `FILE:LINE: KEY: `.
    #[must_use]
    pub fn place(&self, key: &str) -> Option<String> {
        let (_, line) = self.keys.iter().find(|(found, _)| found == key)?;
        Some(format!("{}:{line}: {key}: ", self.file.as_ref()?.display()))
    }
}

/// The same command line, with absolute paths behind these options (`--config`): it can be read once more from
/// another folder.
#[must_use]
pub fn anchored(line: Vec<OsString>, options: &[&str]) -> Vec<OsString> {
    let anchor =
        |path: &OsStr| absolute(path).map_or_else(|_| path.to_owned(), PathBuf::into_os_string);
    let mut is_path = false;
    let words = line.into_iter().map(|word| {
        if mem::take(&mut is_path) {
            return anchor(&word);
        }
        is_path = options.iter().any(|option| word == *option);
        let within = options.iter().find_map(|option| {
            let rest = word.as_bytes().strip_prefix(option.as_bytes())?;
            let path = OsStr::from_bytes(rest.strip_prefix(b"=")?);
            let mut word = OsString::from(option);
            word.push("=");
            word.push(anchor(path));
            Some(word)
        });
        within.unwrap_or(word)
    });
    words.collect()
}

/// What an error says, without the usage that follows it.
#[must_use]
pub fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let lines = text.lines().map(str::trim);
    let words: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
    words.join(" ")
}

/// What is wrong with an option by itself.
fn mistake(command: &Command, words: impl Iterator<Item = OsString>) -> Option<String> {
    let error = command.clone().try_get_matches_from(words).err()?;
    let is_its_own = !matches!(
        error.kind(),
        // It lacks others, or disagrees with what is not there: told when all are together.
        ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::ArgumentConflict
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    is_its_own.then(|| sentence(&error))
}

/// Whether an error names an option as what it is about.
fn is_about(error: &clap::Error, key: &str) -> bool {
    let option = format!("--{key}");
    let names = |text: &String| {
        text.strip_prefix(&option)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '=']))
    };
    error.context().any(|(kind, value)| {
        let is_arg = matches!(kind, ContextKind::InvalidArg | ContextKind::PriorArg);
        is_arg
            && match value {
                ContextValue::String(text) => names(text),
                ContextValue::Strings(texts) => texts.iter().any(names),
                _ => false,
            }
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "weir-test", args_override_self = true)]
    struct Options {
        #[arg(long)]
        config: Option<PathBuf>,
        #[arg(long)]
        check: bool,
        #[arg(short = 'n', long, value_delimiter = ',')]
        collector: Vec<String>,
        #[arg(long, default_value_t = 1)]
        sampling: u16,
        #[arg(long)]
        exact_clock: bool,
        #[arg(long, conflicts_with = "exact_clock")]
        pin: Option<PathBuf>,
        #[arg()]
        filter: Vec<String>,
    }

    fn parse(text: &str, line: &str) -> Result<Options, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("edge.toml");
        fs::write(&file, text).unwrap();
        let mut words: Vec<OsString> = vec!["weir-test".into(), "--config".into()];
        words.push(file.clone().into());
        words.extend(line.split_whitespace().map(OsString::from));
        let tell = |refused| match refused {
            Refused::Line(error) => format!("line: {}", sentence(&error)),
            Refused::File(sentence) => {
                let rest = sentence.strip_prefix(&format!("{}:", file.display()));
                rest.unwrap_or(&sentence).to_owned()
            }
        };
        let arguments = arguments(&Options::command(), &words).map_err(tell)?;
        Options::try_parse_from(&arguments.words).map_err(|error| tell(arguments.refuse(error)))
    }

    #[test]
    fn keys_are_options_and_the_command_line_wins() {
        let text = "# where to\ncollector = ['a:1', \"b:2\"]\nsampling = 0x10\nexact-clock = true\nfilter = 'tcp or udp'\n";
        let options = parse(text, "").unwrap();
        assert_eq!(options.collector, ["a:1", "b:2"]);
        assert_eq!((options.sampling, options.exact_clock), (16, true));
        assert_eq!(options.filter, ["tcp or udp"]);
        assert!(!options.check && options.config.is_some());
        let options = parse(text, "-n c:3 --sampling 2 icmp").unwrap();
        assert_eq!(options.collector, ["c:3"]);
        assert_eq!(options.sampling, 2);
        assert_eq!(options.filter, ["icmp"]);
        let options = parse("collector = 'a:1,b:2'\nexact-clock = false", "").unwrap();
        assert_eq!(options.collector, ["a:1", "b:2"]);
        assert!(!options.exact_clock);
        assert!(parse("", "").is_ok());
    }

    #[test]
    fn mistakes_are_told_with_line_and_key() {
        for (text, told) in [
            ("\nno-such = 1", "2: no-such: there is no such option"),
            (
                "exact_clock = true",
                "1: exact_clock: there is no such option",
            ),
            (
                "sampling = 99999999",
                "1: sampling: invalid value '99999999'",
            ),
            ("sampling = 'many'", "1: sampling: invalid value 'many'"),
            ("sampling = 1.5", "1: sampling: invalid value '1.5'"),
            ("pin = 1.5", "1: pin: put the value in quotes"),
            ("sampling = [1, 2]", "1: sampling: has one value"),
            ("sampling = true", "1: sampling: has a value"),
            (
                "\n\nexact-clock = 'yes'",
                "3: exact-clock: is true or false",
            ),
            ("pin = 7", "1: pin: put the value in quotes"),
            ("[pin]\nx = 1", "1: pin: is no table"),
            ("check = true", "1: check: belongs on the command line"),
            ("config = 'x'", "1: config: belongs on the command line"),
            (
                "collector = [['a']]",
                "1: collector: put the value in quotes",
            ),
            ("sampling = \n", "1: sampling: "),
            ("sampling = 1\nsampling = 2", "2: sampling: "),
            ("pin = '/x'\nexact-clock = true", "1: pin: "),
        ] {
            let sentence = parse(text, "").unwrap_err();
            assert!(sentence.starts_with(told), "{text}: {sentence}");
            assert!(!sentence.contains('\n'), "{text}: {sentence}");
        }
        // A key that is not used is checked all the same.
        assert!(parse("sampling = 'many'", "--sampling 2").is_err());
        let told = parse("", "--no-such-option").unwrap_err();
        assert!(told.starts_with("line: "), "{told}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let words = ["weir-test", "--config", "/no/such/file"].map(OsString::from);
        let refused = arguments(&Options::command(), &words).unwrap_err();
        assert!(
            matches!(&refused, Refused::File(told) if told.contains("/no/such/file")),
            "{refused:?}"
        );
    }

    #[test]
    fn paths_are_anchored_and_nothing_else() {
        let line = ["x", "--config", "a", "--config=b", "--configs", "c", "/d"];
        let found = anchored(line.map(OsString::from).to_vec(), &["--config"]);
        let here = std::env::current_dir().unwrap();
        let expected = [
            "x".into(),
            "--config".into(),
            here.join("a").into_os_string(),
            format!("--config={}", here.join("b").display()).into(),
            "--configs".into(),
            "c".into(),
            "/d".into(),
        ];
        assert_eq!(found, expected);
    }
}
