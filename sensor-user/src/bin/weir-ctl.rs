//! `weir-ctl`: asks a running sensor, by the line protocol of softflowctl, as which it can be called
//! too. It also talks to softflowd.

// In place of the standard library's, which panic.
#[macro_use(eprint, eprintln)]
extern crate weir_service;

use std::{
    ffi::OsString,
    io::{self, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use weir_sensor::options::{ctl::Options, getopt::Getopt, is_called};
use weir_service::control::{self, LINE_OCTETS_MAX};

/// Patience with a sensor that says nothing: its loop may be waiting for a slow export.
const PATIENCE: Duration = Duration::from_secs(90);

/// How an answer begins that says why there is none.
const REFUSALS: [&[u8]; 2] = [UNKNOWN, b"Refused: "];
/// The one to a word that is none.
const UNKNOWN: &[u8] = b"Unknown control command";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if is_called(&arguments, "softflowctl") {
        return as_softflowctl(&arguments);
    }
    let options = Options::parse_from(&arguments);
    let socket = options.control.map_or_else(
        || control::find().map_err(|unclear| unclear.to_string()),
        Ok,
    );
    let answer =
        socket.and_then(|socket| ask(&socket, &options.words.join(" "), control::unanswered));
    match answer.and_then(|answer| show(answer, true)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("weir-ctl: {sentence}");
            ExitCode::FAILURE
        }
    }
}

/// softflowctl's options, messages and exit status.
fn as_softflowctl(arguments: &[OsString]) -> ExitCode {
    const USAGE: &str = "Usage: [-c ctlsock] softflowctl [command]\n";
    let words = arguments.iter().skip(1);
    let words: Vec<String> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let mut path = PathBuf::from(control::DEFAULT);
    let mut options = Getopt::new("hc:", &words);
    for option in options.by_ref() {
        match option {
            Ok(('c', argument)) => path = argument.into(),
            Ok(_) => {
                eprint!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            Err(_) => {
                eprint!("Invalid commandline option.\n{USAGE}");
                return ExitCode::FAILURE;
            }
        }
    }
    let [word] = options.operands.as_slice() else {
        eprint!("{USAGE}");
        return ExitCode::FAILURE;
    };
    match ask(&path, word, as_softflowctl_says).and_then(|answer| show(answer, false)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("{sentence}");
            ExitCode::FAILURE
        }
    }
}

/// Why there is no connection, in softflowctl's words.
fn as_softflowctl_says(path: &Path, error: &io::Error) -> String {
    let why = without_number(error);
    format!("ctl connect(\"{}\") error: {why}", path.display())
}

/// Sends a line; the answer comes through the stream. If there is no connection, `unanswered` says why.
fn ask(
    path: &Path,
    line: &str,
    unanswered: impl Fn(&Path, &io::Error) -> String,
) -> Result<UnixStream, String> {
    if line.len() > LINE_OCTETS_MAX {
        return Err(format!(
            "a request has {LINE_OCTETS_MAX} octets at most, and this one {}: shorten the filter (`net` takes many hosts at once)",
            line.len()
        ));
    }
    let mut stream = UnixStream::connect(path).map_err(|error| unanswered(path, &error))?;
    let line = line.replace('\n', " ");
    stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.write_all(format!("{line}\n").as_bytes()))
        .map_err(|error| format!("write: {}", without_number(&error)))?;
    Ok(stream)
}

/// Prints an answer as it comes. With `strict`, what the sensor does not understand or do is an error,
/// which it is not to softflowctl.
fn show(mut answer: impl io::Read, strict: bool) -> Result<(), String> {
    let mut buffer = vec![0; 64 << 10];
    let mut is_first = true;
    loop {
        let octets = match answer.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(octets) => octets,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let seconds = PATIENCE.as_secs();
                return Err(format!(
                    "nothing came for {seconds} seconds: is the sensor stuck?"
                ));
            }
            Err(error) => return Err(format!("read: {}", without_number(&error))),
        };
        let part = &buffer[..octets];
        if strict && is_first && REFUSALS.iter().any(|word| part.starts_with(word)) {
            let says = String::from_utf8_lossy(part);
            let says = says.trim_end();
            return Err(if part.starts_with(UNKNOWN) {
                format!("{says}: `weir-ctl --help` lists those there are")
            } else {
                says.to_owned()
            });
        }
        is_first = false;
        // Whoever reads it may have enough, as `head` does.
        match io::stdout().write_all(part) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(|error| format!("write: {}", without_number(&error)))?,
        }
    }
}

/// What strerror(3) says.
fn without_number(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Options as clap::CommandFactory>::command().debug_assert();
        let options = Options::parse_from(["weir-ctl", "-c", "/c", "statistics", "--json"]);
        assert_eq!(options.words, ["statistics", "--json"]);
    }

    #[test]
    fn errors_read_as_softflowctls() {
        let nowhere = Path::new("/no/such/socket");
        let error = ask(nowhere, "statistics", as_softflowctl_says).unwrap_err();
        assert_eq!(
            error,
            "ctl connect(\"/no/such/socket\") error: No such file or directory"
        );
        let error = ask(nowhere, "statistics", control::unanswered).unwrap_err();
        assert!(error.starts_with("no sensor answers at /no/such/socket"));
        assert!(show(&b"Unknown control command \"x\"\n"[..], true).is_err());
        assert_eq!(show(&b""[..], true), Ok(()));
    }
}
