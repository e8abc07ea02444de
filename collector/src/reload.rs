//! Settings read anew while it receives (SIGHUP): who is listened to, sampling rates and what is kept change,
//! the rest is named and stays. A file that is wrong changes nothing.

use std::ffi::OsString;

use weir_service::config::{self, Refused};

use crate::options::{CommandLine, Receive};

/// What it takes to read them again.
#[derive(Debug)]
pub struct Reload {
    line: Vec<OsString>,
    /// What the collector was started with; what may change, as last read.
    options: Receive,
}

impl Reload {
    /// From the command line, whose files have absolute paths, and what came of it.
    #[must_use]
    pub fn new(line: Vec<OsString>, options: Receive) -> Self {
        Self { line, options }
    }

    /// Reads them: the settings, and what has changed, in words.
    ///
    /// # Errors
    /// Why they are not used, as a sentence.
    pub fn read(&mut self) -> Result<(Receive, String), String> {
        let line = CommandLine::read(&self.line).map_err(|refused| match refused {
            Refused::Line(error) => config::sentence(&error),
            Refused::File(sentence) => sentence,
        })?;
        let fresh = line.receive;
        if let Some(sentence) = fresh.refusal() {
            return Err(sentence);
        }
        let done = changes(&self.options, &fresh);
        self.options.allowed.clone_from(&fresh.allowed);
        self.options.pin_port = fresh.pin_port;
        self.options.default_one_in = fresh.default_one_in;
        self.options.forced_one_in = fresh.forced_one_in;
        self.options.keep = fresh.keep.clone();
        Ok((fresh, done))
    }
}

/// What is different, in words; what cannot change is named as such.
fn changes(before: &Receive, after: &Receive) -> String {
    // Whoever adds an option decides about it here.
    let Receive {
        directory,
        listen,
        sflow,
        sockets,
        joins,
        tcp,
        allowed,
        pin_port,
        keep_copies,
        default_one_in,
        forced_one_in,
        rotation_ms,
        on_rotate,
        files,
        recompact,
        keep,
        passing,
        config: _,
        check: _,
        statistics_json,
        metrics,
        no_seccomp,
    } = before;
    let may = [
        ("allow", *allowed == after.allowed),
        ("pin-port", *pin_port == after.pin_port),
        ("sampling", *default_one_in == after.default_one_in),
        ("force-sampling", *forced_one_in == after.forced_one_in),
        ("max-age, max-size or min-free", *keep == after.keep),
    ];
    let may_not = [
        ("write", *directory == after.directory),
        ("listen", *listen == after.listen),
        ("sflow", *sflow == after.sflow),
        ("sockets", *sockets == after.sockets),
        ("join", *joins == after.joins),
        ("tcp", *tcp == after.tcp),
        ("keep-copies", *keep_copies == after.keep_copies),
        ("what is passed on", *passing == after.passing),
        ("rotate", *rotation_ms == after.rotation_ms),
        ("on-rotate", *on_rotate == after.on_rotate),
        ("layout or compression", *files == after.files),
        ("recompact", *recompact == after.recompact),
        ("statistics-json", *statistics_json == after.statistics_json),
        ("metrics", *metrics == after.metrics),
        ("no-seccomp", *no_seccomp == after.no_seccomp),
    ];
    let (changed, fixed) = (different(&may), different(&may_not));
    match (changed.is_empty(), fixed.is_empty()) {
        (true, true) => "nothing has changed".to_owned(),
        (false, true) => format!("{changed} changed"),
        (true, false) => format!("{fixed} cannot change while it runs: restart it"),
        (false, false) => {
            format!("{changed} changed; {fixed} cannot change while it runs: restart it")
        }
    }
}

/// The names of those that are not the same.
fn different(compared: &[(&str, bool)]) -> String {
    let different = compared.iter().filter(|(_, is_same)| !is_same);
    let names: Vec<&str> = different.map(|(name, _)| *name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_change_is_taken_over_and_the_rest_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("collector.toml");
        let write = |text: &str| std::fs::write(&file, text).unwrap();
        write("write = 'x'\nallow = '192.0.2.0/24'");
        let line: [OsString; 3] = [
            "weir-collector".into(),
            "--config".into(),
            file.clone().into(),
        ];
        let receive = CommandLine::read(&line).unwrap().receive;
        let mut reload = Reload::new(line.to_vec(), receive);
        assert_eq!(reload.read().unwrap().1, "nothing has changed");
        write("write = 'y'\nallow = '192.0.3.0/24'\nmax-age = '3d'");
        let (fresh, done) = reload.read().unwrap();
        assert_eq!(fresh.keep.limits().age_max_s, Some(3 * 86_400));
        assert_eq!(
            done,
            "allow, max-age, max-size or min-free changed; write cannot change while it runs: restart it"
        );
        assert_eq!(fresh.settings().default_one_in, 1);
        // What did change is not told again, what did not is.
        let (_, done) = reload.read().unwrap();
        assert_eq!(done, "write cannot change while it runs: restart it");
        write(
            "write = 'x'\nallow = '192.0.3.0/24'\nmax-age = '3d'\nsampling = 100\nforce-sampling = 7",
        );
        let (fresh, done) = reload.read().unwrap();
        assert_eq!(done, "sampling, force-sampling changed");
        let settings = fresh.settings();
        let rates = (settings.default_one_in, settings.forced_one_in);
        assert_eq!(rates, (100, Some(7)));
        write("sampling = 0");
        assert!(reload.read().unwrap_err().contains(":1: sampling: "));
        write("allow = 5");
        assert!(reload.read().unwrap_err().contains(":1: allow: "));
    }
}
