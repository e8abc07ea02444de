//! The command line.

use std::{
    ffi::OsString,
    fs,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use weir_service::config::{self, Refused};
use weir_store::{
    expire::Limits,
    form::{Compression, Form, Layout},
};

use crate::{
    anonymise::Anonymise, exporters::Settings, import::Import, onward::Passing, prefix::Prefix,
    replay::Replay, socket::Join, units,
};

/// Receives NetFlow, IPFIX and sFlow from any exporter, says exactly what was lost, and keeps the flows in flat
/// files that any engine can read.
#[derive(Debug, Parser)]
#[command(
    name = "weir-collector",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct CommandLine {
    /// What to do with closed files; without one, it receives.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// How to receive.
    #[command(flatten)]
    pub receive: Receive,
}

impl CommandLine {
    /// Reads a command line, which begins with the program's name, and what its `--config` names.
    ///
    /// # Errors
    /// Why there is nothing to do: it is wrong, the file is, or its help was asked for.
    pub fn read(line: &[OsString]) -> Result<Self, Refused> {
        let arguments = config::arguments(&Self::command(), line)?;
        Self::try_parse_from(&arguments.words).map_err(|error| arguments.refuse(error))
    }
}

/// Tells why there is nothing to do; the exit status.
#[must_use]
pub fn tell(refused: &Refused) -> ExitCode {
    const USAGE_STATUS: u8 = 2;
    match refused {
        Refused::Line(error) => {
            // If it cannot be told, there is nobody to tell that.
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { USAGE_STATUS } else { 0 })
        }
        Refused::File(sentence) => {
            eprintln!("weir-collector: {sentence}");
            ExitCode::from(USAGE_STATUS)
        }
    }
}

/// Where it listens, if nothing is said: on all addresses of both families.
pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 2055);
/// Where it listens for sFlow, if nothing but that is said.
pub const SFLOW_LISTEN: &str = "[::]:6343";

/// How to receive.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option by itself")]
pub struct Receive {
    /// Directory for the flows
    #[arg(short = 'w', long = "write", value_name = "DIR", required = true)]
    pub directory: Option<PathBuf>,

    /// Address and port to listen on; `[::]` takes IPv4 too (left out: [::]:2055, or 0.0.0.0:2055 where there
    /// is no IPv6)
    #[arg(short = 'l', long = "listen", value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,

    /// Listen on another port too; alone, on sFlow's. Any port takes any version
    #[arg(
        long,
        value_name = "ADDR:PORT",
        num_args = 0..=1,
        default_missing_value = SFLOW_LISTEN
    )]
    pub sflow: Option<SocketAddr>,

    /// Sockets that share the port, each with a thread and a buffer of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub sockets: u16,

    /// Receive a multicast group too, on an interface (may be repeated)
    #[arg(long = "join", value_name = "GROUP[@IF]")]
    pub joins: Vec<Join>,

    /// Take IPFIX over TCP at this address and port too (IPFIX's port is 4739)
    #[arg(long, value_name = "ADDR:PORT")]
    pub tcp: Option<SocketAddr>,

    /// Listen to exporters in this prefix only (may be repeated)
    #[arg(long = "allow", value_name = "PREFIX")]
    pub allowed: Vec<Prefix>,

    /// Hold an exporter to the source port it was first heard from, until it is silent for 5 minutes
    #[arg(long)]
    pub pin_port: bool,

    /// Store what is in copies of datagrams again: networks double datagrams, exporters do not
    #[arg(long)]
    pub keep_copies: bool,

    /// Take flows whose exporter tells no sampling rate as of one packet in N
    #[arg(long = "sampling", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub default_one_in: u32,

    /// Take all flows as of one packet in N, whatever their exporters tell
    #[arg(long = "force-sampling", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub forced_one_in: Option<u32>,

    /// Seconds a window lasts before it becomes a Parquet file (0.1 to 86400)
    #[arg(short = 't', long = "rotate", value_name = "SECONDS", default_value = "300", value_parser = units::window_ms)]
    pub rotation_ms: u64,

    /// Run this program, without a shell, for each closed file, with the file's path as its argument
    #[arg(long, value_name = "CMD")]
    pub on_rotate: Option<PathBuf>,

    /// What closed files are like.
    #[command(flatten)]
    pub files: Files,

    /// Make one large sorted file of an hour's small ones (by --layout day, of a day's) this long after its end, for
    /// faster answers (10m); small files go then (left out: they stay)
    #[arg(long, value_name = "TIME", value_parser = units::seconds)]
    pub recompact: Option<u64>,

    /// What is kept of closed files, each minute anew.
    #[command(flatten)]
    pub keep: Keep,

    /// What is passed on.
    #[command(flatten)]
    pub passing: Passing,
    /// Tell every counter to Prometheus at this address: `GET /metrics` (left out: nowhere)
    #[arg(long, value_name = "ADDR:PORT")]
    pub metrics: Option<SocketAddr>,

    /// Keep all system calls (for systems whose kernel or C library the list does not fit)
    #[arg(long)]
    pub no_seccomp: bool,

    /// Take options from FILE, too, where their long names are keys (TOML); what the command line says wins
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Only look whether the settings are right, those of --config too
    #[arg(long)]
    pub check: bool,

    /// Write every counter to FILE at exit, as JSON (`-`: standard output)
    #[arg(long, value_name = "FILE")]
    pub statistics_json: Option<PathBuf>,
}

impl Receive {
    /// What is wrong with settings that are right each by itself, as a sentence: the start, `--check` and SIGHUP
    /// ask it.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let listen: Vec<_> = [Some(self.listen.unwrap_or(LISTEN)), self.sflow]
            .into_iter()
            .flatten()
            .collect();
        self.shared_output()
            .or_else(|| self.missing_folder())
            .or_else(|| self.passing.refusal(&listen))
            .or_else(|| self.unfit_command())
            .or_else(|| self.no_folders())
    }

    /// What `--recompact` needs and a flat layout has not, as a sentence.
    fn no_folders(&self) -> Option<String> {
        let is_flat = self.files.layout == Layout::Flat;
        (is_flat && self.recompact.is_some()).then(|| {
            "--recompact works by folders, and --layout flat has none: take hour or day, or leave --recompact out"
                .to_owned()
        })
    }

    /// A command of `--on-rotate` that cannot be run.
    fn unfit_command(&self) -> Option<String> {
        const EXECUTABLE: u32 = 0o111;
        let command = self.on_rotate.as_ref()?;
        // One without a folder is looked for where programs are.
        if command.components().count() < 2 {
            return None;
        }
        let why = match fs::metadata(command) {
            Ok(metadata) if !metadata.is_file() => "is no file".to_owned(),
            Ok(metadata) if metadata.permissions().mode() & EXECUTABLE == 0 => {
                "is no program: it cannot be executed".to_owned()
            }
            Ok(_) => return None,
            Err(error) => error.to_string(),
        };
        Some(format!("--on-rotate: {}: {why}", command.display()))
    }

    /// Flows and the statistics at one place, as a sentence. They do not mix; and whoever reads flows from
    /// standard output and stops would have the end wait for them for ever.
    fn shared_output(&self) -> Option<String> {
        let statistics = self.statistics_json.as_ref()?;
        let taps = [
            ("--json", &self.passing.json),
            ("--protobuf", &self.passing.protobuf),
        ];
        let mut taps = taps.into_iter();
        let (option, _) = taps.find(|(_, path)| *path == &self.statistics_json)?;
        let shown = statistics.display();
        Some(format!(
            "{option} and --statistics-json both write to `{shown}`: give one of them another file"
        ))
    }

    /// The account's folder is missing, as a sentence: at the end, when it is written, it would be too late.
    fn missing_folder(&self) -> Option<String> {
        let folder = self.statistics_json.as_ref()?.parent()?;
        let is_here = folder.as_os_str().is_empty();
        (!is_here && !folder.is_dir()).then(|| {
            let folder = folder.display();
            format!("--statistics-json: there is no folder {folder}: make it, or name another file")
        })
    }

    /// What is believed of exporters.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            allowed: self.allowed.clone(),
            pin_port: self.pin_port,
            keep_copies: self.keep_copies,
            default_one_in: self.default_one_in,
            forced_one_in: self.forced_one_in,
            ..Settings::default()
        }
    }
}

/// What closed files are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct Files {
    /// Compression of closed files: zstd, zstd:1 to zstd:22, lz4, snappy or none
    #[arg(long, value_name = "METHOD", default_value = "zstd")]
    pub compression: Compression,

    /// Folders of closed files: hour (date=DAY/hour=HOUR), day (date=DAY) or flat (none); all are read
    #[arg(long, value_name = "LAYOUT", default_value = "hour")]
    pub layout: Layout,
}

impl Files {
    /// As the store has it.
    #[must_use]
    pub fn form(&self) -> Form {
        Form {
            layout: self.layout,
            compression: self.compression,
        }
    }
}

/// What is kept of closed files.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Keep {
    /// Remove closed files older than this (30d, 12h); the collector itself counts from the newest file, if the clock is later
    #[arg(long, value_name = "TIME", value_parser = units::seconds)]
    pub max_age: Option<u64>,

    /// Remove the oldest closed files while all files together are larger (500G); those set aside count for half of it at
    /// most
    #[arg(long, value_name = "SIZE", value_parser = units::octets)]
    pub max_size: Option<u64>,

    /// Remove the oldest closed files while the file system has less than this left (20G)
    #[arg(long, value_name = "SIZE", value_parser = units::octets)]
    pub min_free: Option<u64>,
}

impl Keep {
    /// As the store has it.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            age_max_s: self.max_age,
            octets_max: self.max_size,
            free_octets_min: self.min_free,
        }
    }
}

/// What to do with closed files.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Remove old closed files, the oldest first; never the open window
    Expire {
        /// Directory of the flows
        #[arg(value_name = "DIR")]
        directory: PathBuf,

        /// What is kept.
        #[command(flatten)]
        keep: Keep,

        /// Only say which files would go
        #[arg(long)]
        dry_run: bool,
    },
    /// Read every file to its end: checksums, counts, columns
    Verify {
        /// Directory of the flows
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Save what is sound in damaged files, and clear away what a killed process left; while no
    /// collector runs
    Repair {
        /// Directory of the flows
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Make one large sorted file of each hour's small ones, or each day's; a collector may run
    Recompact {
        /// Directory of the flows
        #[arg(value_name = "DIR")]
        directory: PathBuf,

        /// Compression of the large files: zstd, zstd:1 to zstd:22, lz4, snappy or none
        #[arg(long, value_name = "METHOD", default_value = "zstd")]
        compression: Compression,

        /// Leave hours that ended less than this ago
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = units::seconds)]
        older_than: u64,

        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Take over files of nfdump and flow-tools
    Import(Import),
    /// Send the flows of closed files to a collector
    Replay(Replay),
    /// Copy closed files with other addresses (Crypto-PAn)
    Anonymise(Anonymise),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<CommandLine, clap::Error> {
        let words = line.split_whitespace();
        CommandLine::try_parse_from(std::iter::once("weir-collector").chain(words))
    }

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn receiving_needs_no_word_for_it() {
        let line = parse("-w flows -l 0.0.0.0:9995 --allow 192.0.2.0/24 --max-age 30d").unwrap();
        assert!(line.command.is_none());
        assert_eq!(line.receive.directory, Some("flows".into()));
        assert_eq!(line.receive.keep.limits().age_max_s, Some(2_592_000));
        assert_eq!(line.receive.settings().allowed.len(), 1);
    }

    #[test]
    fn sflow_has_its_port() {
        let sflow = |line: &str| parse(line).unwrap().receive.sflow;
        assert_eq!(sflow("-w flows"), None);
        let expected = "[::]:6343".parse().unwrap();
        assert_eq!(sflow("--sflow -w flows"), Some(expected));
        let expected = "0.0.0.0:7000".parse().unwrap();
        assert_eq!(sflow("-w flows --sflow 0.0.0.0:7000"), Some(expected));
    }

    #[test]
    fn flows_and_statistics_go_to_places_of_their_own() {
        let refusal = |line: &str| parse(line).unwrap().receive.refusal();
        for line in [
            "-w flows --json - --statistics-json -",
            "-w flows --json flows.json --protobuf - --statistics-json -",
            "-w flows --protobuf same --statistics-json same",
        ] {
            let sentence = refusal(line).unwrap();
            assert!(
                sentence.contains("give one of them another file"),
                "{sentence}"
            );
        }
        for line in [
            "-w flows --json - --statistics-json file",
            "-w flows --json file --statistics-json -",
            "-w flows --json -",
            "-w flows --statistics-json -",
        ] {
            assert_eq!(refusal(line), None, "{line}");
        }
    }

    #[test]
    fn recompaction_is_asked_for_and_has_folders() {
        let receive = |line: &str| parse(line).unwrap().receive;
        assert_eq!(receive("-w flows").recompact, None);
        let by_day = receive("-w flows --recompact 10m --layout day");
        assert_eq!((by_day.recompact, by_day.refusal()), (Some(600), None));
        let sentence = receive("-w flows --recompact 10m --layout flat").refusal();
        assert!(sentence.is_some_and(|sentence| sentence.contains("--layout flat has none")));
        assert_eq!(receive("-w flows --layout flat").refusal(), None);
    }

    #[test]
    fn the_account_has_a_folder_before_there_is_one() {
        let refusal = |line: &str| parse(line).unwrap().receive.refusal();
        let sentence = refusal("-w flows --statistics-json /no/such/folder/file").unwrap();
        assert!(sentence.contains("there is no folder /no/such/folder"));
        assert_eq!(refusal("-w flows --statistics-json /file"), None);
    }

    #[test]
    fn the_other_words_need_no_directory_to_write_to() {
        let line = parse("expire flows --max-size 1G --dry-run").unwrap();
        let Some(Command::Expire { keep, dry_run, .. }) = line.command else {
            panic!("{line:?}");
        };
        assert!(dry_run);
        assert_eq!(keep.limits().octets_max, Some(1 << 30));
        parse("recompact flows --compression zstd:19").unwrap();
        let line = parse("-w flows --layout day --compression lz4").unwrap();
        let form = Form {
            layout: Layout::Day,
            compression: Compression::Lz4,
        };
        assert_eq!(line.receive.files.form(), form);
        assert_eq!(
            parse("-w flows").unwrap().receive.files.form(),
            Form::default()
        );
        parse("import a b -w flows --salvage").unwrap();
        parse("replay flows --to 192.0.2.1:2055 -v 5 --speed 10").unwrap();
        parse("anonymise flows others --key key").unwrap();
        for wrong in [
            "",
            "flows",
            "verify",
            "-w flows verify flows",
            "-w flows --sockets 0",
            "-w flows --layout week",
            "-w flows --compression zstd:99",
            "-w flows --repeat-source",
            "-w flows --forward v9:192.0.2.1:2055=bytes",
            "import -w flows",
            "replay flows",
            "replay flows --to 192.0.2.1:2055 -v 7",
        ] {
            parse(wrong).unwrap_err();
        }
    }
}
