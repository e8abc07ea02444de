//! Lines for people, on standard error and standard output. The standard library's macros of these names
//! panic if nobody takes what they write: whoever read it has gone, the log's disk is full. No daemon ends
//! for that, no work on files stops half way, and nobody who asks is answered by a panic.

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
    sync::OnceLock,
};

/// Why standard output did not take everything.
static REFUSED: OnceLock<io::Error> = OnceLock::new();

/// As [`std::eprint!`]; what nobody takes is left out.
#[macro_export]
macro_rules! eprint {
    ($($text:tt)*) => {{
        $crate::lines::to_stderr(::std::format_args!($($text)*), "");
    }};
}

/// As [`std::eprintln!`]; what nobody takes is left out.
#[macro_export]
macro_rules! eprintln {
    ($($text:tt)*) => {{
        $crate::lines::to_stderr(::std::format_args!($($text)*), "\n");
    }};
}

/// As [`std::print!`]; what nobody takes is left out, and [`lines::status`](crate::lines::status) says so.
#[macro_export]
macro_rules! print {
    ($($text:tt)*) => {{
        $crate::lines::to_stdout(::std::format_args!($($text)*), "");
    }};
}

/// As [`std::println!`]; what nobody takes is left out, and [`lines::status`](crate::lines::status) says so.
#[macro_export]
macro_rules! println {
    ($($text:tt)*) => {{
        $crate::lines::to_stdout(::std::format_args!($($text)*), "\n");
    }};
}

/// Writes to standard error.
pub fn to_stderr(text: fmt::Arguments<'_>, ending: &str) {
    // In one piece: it has no buffer, and others write there, too.
    let _ = io::stderr().write_all(format!("{text}{ending}").as_bytes());
}

/// Writes to standard output.
pub fn to_stdout(text: fmt::Arguments<'_>, ending: &str) {
    if let Err(error) = io::stdout().write_all(format!("{text}{ending}").as_bytes()) {
        let _ = REFUSED.set(error);
    }
}

/// The exit status of a program that has come to this one: a failure, which is said, if standard output does
/// not have everything. A reader that went away had what it wanted: that is none.
#[must_use]
pub fn status(program: &str, code: ExitCode) -> ExitCode {
    match REFUSED.get() {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            crate::eprintln!("{program}: standard output does not have all of it: {error}");
            ExitCode::FAILURE
        }
        _ => code,
    }
}
