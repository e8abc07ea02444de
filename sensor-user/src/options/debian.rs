//! The configuration of an instance of Debian's softflowd, `/etc/softflowd/NAME.conf`: a shell
//! fragment with `interface=` and `options=`, which its unit makes this line of:
//! `softflowd -i $interface -p /run/softflowd/NAME.pid -c /run/softflowd/NAME.ctl $options`.

use std::{fs, iter::Peekable, path::Path, str::Chars};

use super::{Settings, softflowd};

/// What its package's unit puts before the instance's name.
const RUN_FOLDER: &str = "/run/softflowd";

/// An assignment, and the number of its line.
#[derive(Debug, PartialEq, Eq)]
struct Assignment {
    line: usize,
    key: String,
    value: String,
}

/// The settings in a file.
///
/// # Errors
/// A sentence that begins with file, line and key.
pub fn settings(path: &Path) -> Result<Settings, String> {
    let file = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {file}: {error}"))?;
    let assignments = assignments(&text).map_err(|error| format!("{file}:{error}"))?;
    let mut interface = None;
    let mut options = None;
    for assignment in assignments {
        let Assignment { line, key, value } = assignment;
        match key.as_str() {
            "interface" => interface = Some((line, value)),
            "options" => options = Some((line, value)),
            _ => {
                return Err(format!(
                    "{file}:{line}: {key}: there is `interface` and `options` only"
                ));
            }
        }
    }
    let Some((line, interface)) = interface else {
        return Err(format!(
            "{file}:1: interface: is missing: name the interface to meter, or any"
        ));
    };
    if interface.is_empty() {
        return Err(format!(
            "{file}:{line}: interface: is empty: name the interface to meter, or any"
        ));
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut words: Vec<String> = [
        "-i".to_owned(),
        interface,
        "-p".to_owned(),
        format!("{RUN_FOLDER}/{name}.pid"),
        "-c".to_owned(),
        format!("{RUN_FOLDER}/{name}.ctl"),
    ]
    .into();
    let (options_line, options) = options.unwrap_or((line, String::new()));
    let within = |message: String| {
        let sentence = message.lines().next().unwrap_or("asks for the help only");
        format!("{file}:{options_line}: options: {sentence}")
    };
    words.extend(split(&options).map_err(within)?);
    softflowd::settings(&words).map_err(|refused| within(refused.message))
}

/// Reads the assignments; values are in quotes of either kind, or none.
fn assignments(text: &str) -> Result<Vec<Assignment>, String> {
    let mut found = Vec::new();
    let mut line = 1;
    let mut characters = text.chars().peekable();
    while let Some(&next) = characters.peek() {
        if next == '#' {
            while characters.next_if(|c| *c != '\n').is_some() {}
        } else if next.is_whitespace() {
            line += usize::from(next == '\n');
            characters.next();
        } else {
            let (first_line, mut key) = (line, String::new());
            while let Some(c) = characters.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                key.push(c);
            }
            if key.is_empty() || characters.next() != Some('=') {
                let key = if key.is_empty() {
                    next.to_string()
                } else {
                    key
                };
                return Err(format!("{line}: {key}: write NAME='value'"));
            }
            let value = value(&mut characters, &mut line)
                .map_err(|error| format!("{first_line}: {key}: {error}"))?;
            found.push(Assignment {
                line: first_line,
                key,
                value,
            });
        }
    }
    Ok(found)
}

/// Reads one value, up to white space outside quotes.
fn value(characters: &mut Peekable<Chars<'_>>, line: &mut usize) -> Result<String, String> {
    let mut value = String::new();
    let mut quote = None;
    while let Some(&c) = characters.peek() {
        if quote.is_none() && c.is_whitespace() {
            return Ok(value);
        }
        characters.next();
        *line += usize::from(c == '\n');
        match c {
            '\'' | '"' if quote.is_none() => quote = Some(c),
            '\'' | '"' if quote == Some(c) => quote = None,
            '\\' if quote != Some('\'') => match characters.next() {
                Some('\n') => *line += 1,
                Some(escaped) => value.push(escaped),
                None => {}
            },
            '$' | '`' if quote != Some('\'') => {
                return Err(format!(
                    "`{c}` is not expanded here: write the value itself"
                ));
            }
            _ => value.push(c),
        }
    }
    match quote {
        None => Ok(value),
        Some(quote) => Err(format!("the closing {quote} is missing")),
    }
}

/// Splits a value into words at white space outside quotes, as systemd does.
fn split(options: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut characters = options.chars().peekable();
    loop {
        while characters.next_if(|c| c.is_whitespace()).is_some() {}
        if characters.peek().is_none() {
            return Ok(words);
        }
        words.push(value(&mut characters, &mut 0)?);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_a_shell_fragments() {
        let text = "# a comment\n\ninterface='eth0'\noptions=\"-v 9 \\\n -n 192.0.2.1:9995\" # more\nname=x\\ y\n";
        let found = assignments(text).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|a| (a.line, a.key.as_str(), a.value.as_str()))
            .collect();
        let expected = [
            (3, "interface", "eth0"),
            (4, "options", "-v 9  -n 192.0.2.1:9995"),
            (6, "name", "x y"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_assignment_is_told_with_its_line() {
        for (text, error) in [
            ("a='b'\nnonsense\n", "2: nonsense: write NAME='value'"),
            ("='x'", "1: =: write NAME='value'"),
            ("a='b\n\n", "1: a: the closing ' is missing"),
            ("\na=$HOME", "2: a: `$` is not expanded here"),
        ] {
            let found = assignments(text).unwrap_err();
            assert!(found.starts_with(error), "{found}");
        }
    }

    #[test]
    fn options_split_as_systemd_splits_them() {
        let words = split("  -n 'a b':1 \"tcp and\" port\t80 ").unwrap();
        assert_eq!(words, ["-n", "a b:1", "tcp and", "port", "80"]);
        assert!(split("").unwrap().is_empty());
        assert!(split("'open").is_err());
    }
}
